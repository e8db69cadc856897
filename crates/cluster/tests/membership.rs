//! Random lives of members and replicas, against what must hold whatever is asked: a majority that a lease rests on meets every
//! majority that a grant can rest on (R13), and no person alone takes a volume down to one copy (R4).

use mainstay_cluster::*;
use mainstay_protocol::*;
use std::collections::{BTreeMap, BTreeSet};

const SEEDS: u64 = 60;
const COMMANDS: u64 = 600;
const VOLUME: VolumeId = VolumeId(1);

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

struct Life {
    rng: Rng,
    state: ClusterState,
    at: Timestamp,
    /// The members that the primary counts its lease with, and their number.
    counts: (u64, BTreeSet<NodeId>),
    done: BTreeMap<&'static str, u64>,
}

fn ann() -> Actor {
    Actor::Person("ann".into())
}

impl Life {
    fn new(seed: u64) -> Life {
        let mut life = Life {
            rng: Rng(seed),
            state: ClusterState::default(),
            at: Timestamp::new(1_700_000_000, 0),
            counts: Default::default(),
            done: BTreeMap::new(),
        };
        let at = life.at;
        let mut commands = vec![Command::Init {
            cluster: ClusterId([7; 16]),
            name: "main".into(),
            settings: Settings::default(),
            node: "n1".into(),
            kind: NodeKind::FileServer,
            peer_address: "127.0.0.1:1001".into(),
            admin_address: "127.0.0.1:2001".into(),
            actor: ann(),
            at,
        }];
        commands.extend([2, 3].map(|number| life.add(number)));
        commands.extend([1, 2, 3].map(|node| Command::Booted {
            node: NodeId(node),
            incarnation: Incarnation(1),
            software: "0.1.0".into(),
            at,
        }));
        commands.push(Command::CreateVolume {
            name: "files".into(),
            replicas: [NodeId(1), NodeId(2)].into(),
            primary: NodeId(1),
            policy: Policy::Manual,
            without_primary: WithoutPrimary::ServeReads,
            export: ExportSettings::default(),
            actor: ann(),
            at,
        });
        let (node, incarnation) = (NodeId(1), Incarnation(1));
        commands.push(Command::Serving { volume: VOLUME, epoch: Epoch(1), node, incarnation, at });
        commands.iter().for_each(|command| drop(life.state.apply(command).unwrap()));
        life.counts = life.present();
        life
    }

    fn add(&self, number: u16) -> Command {
        // The third of the first three is a witness.
        let kind = if number == 3 { NodeKind::Witness } else { NodeKind::FileServer };
        let (peer_address, admin_address) = (format!("127.0.0.1:{}", 1000 + number), format!("127.0.0.1:{}", 2000 + number));
        Command::AddNode { name: format!("n{number}"), kind, peer_address, admin_address, actor: ann(), at: self.at }
    }

    fn present(&self) -> (u64, BTreeSet<NodeId>) {
        (self.state.membership.number, self.state.voters().collect())
    }

    fn volume(&self) -> &VolumeState {
        &self.state.volumes[&VOLUME]
    }

    fn anybody(&mut self) -> NodeId {
        let nodes: Vec<NodeId> = self.state.nodes.keys().copied().collect();
        nodes[self.rng.below(nodes.len() as u64) as usize]
    }

    fn random(&mut self) -> Command {
        let (node, at, actor, reason) = (self.anybody(), self.at, ann(), "because".to_string());
        let expected = self.volume().members.version - self.rng.below(8).saturating_sub(6).min(self.volume().members.version);
        let (volume, primary) = (VOLUME, self.volume().reign.unwrap().node);
        let (epoch, incarnation, boot) = (Epoch(1), Incarnation(1), self.state.nodes[&node].incarnation);
        let set = self.volume().in_sync_version;
        match self.rng.below(12) {
            0 if self.state.nodes.len() < 7 => self.add(self.state.last_node.0 + 1),
            0 | 1 => {
                // All answer, most times.
                let deaf = self.rng.below(8) == 0;
                let answering = self.state.nodes.keys().copied().filter(|node| !deaf || node.0.is_multiple_of(3)).collect();
                Command::RemoveNode { node, answering, reason, actor, at }
            }
            2 | 3 if node != primary => {
                Command::Booted { node, incarnation: Incarnation(boot.0 + 1), software: "0.1.0".into(), at }
            }
            4 | 5 => Command::AddReplica { volume, node, expected, reason, actor, at },
            6 | 7 => {
                let accept_single = self.rng.below(4) == 0;
                Command::RemoveReplica { volume, node, expected, accept_single, reason, actor, at }
            }
            8 | 9 => {
                let position = Position(9);
                let (add, added_incarnation, node) = (node, boot, primary);
                Command::GrowInSync { volume, epoch, node, incarnation, add, added_incarnation, position, expected: set, at }
            }
            10 if node != primary => {
                Command::ShrinkInSync { volume, epoch, node: primary, incarnation, remove: node, expected: set, reason, at }
            }
            _ => {
                // It goes over to what it has seen, and says so; the word may come later than the next change.
                if self.rng.below(2) == 0 {
                    self.counts = self.present();
                }
                Command::MembersKnown { volume, epoch, node: primary, incarnation, members: self.counts.0, at }
            }
        }
    }

    fn step(&mut self) {
        self.at = Timestamp::from_millis(self.at.as_millis() + 100);
        let (command, before) = (self.random(), self.state.clone());
        if self.state.apply(&command).is_err() {
            *self.done.entry("refused").or_default() += 1;
            return;
        }
        *self.done.entry(command.name()).or_default() += 1;
        self.state.validate().unwrap();
        self.majorities_meet(&command);
        self.copies_stay(&before, &command);
    }

    fn majorities_meet(&self, command: &Command) {
        let (counted, now) = (&self.counts.1, self.present().1);
        let all = counted.union(&now).count();
        let (lease, grant) = (counted.len() / 2 + 1, now.len() / 2 + 1);
        assert!(lease + grant > all, "R13: a lease of {counted:?} and a grant of {now:?} may miss each other: {command:?}");
    }

    fn copies_stay(&mut self, before: &ClusterState, command: &Command) {
        let (old, new) = (&before.volumes[&VOLUME], self.volume());
        let Command::RemoveReplica { node, .. } = command else { return };
        if new.replicas == old.replicas {
            // Waits for another person.
            return *self.done.entry("asked").or_default() += 1;
        }
        assert!(new.in_sync.len() >= 2 && !new.in_sync.contains_key(node), "R4: {command:?}");
        assert!(new.in_sync.contains_key(&new.reign.unwrap().node), "R4: the primary's copy went");
        assert!(new.in_sync_version > old.in_sync_version, "a growth under way would bring it back");
        assert_eq!(new.members.removed[node], before.nodes[node].incarnation);
    }
}

#[test]
fn members_change_one_by_one_and_copies_stay() {
    let mut done: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..SEEDS {
        let mut life = Life::new(seed);
        (0..COMMANDS).for_each(|_| life.step());
        life.done.iter().for_each(|(what, times)| *done.entry(what).or_default() += times);
    }
    for what in ["AddNode", "RemoveNode", "AddReplica", "RemoveReplica", "GrowInSync", "MembersKnown", "asked", "refused"] {
        assert!(done.get(what).is_some_and(|times| *times >= SEEDS), "{what} is hardly reached: {done:?}");
    }
}
