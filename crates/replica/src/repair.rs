//! Repair of damaged blocks from the other replicas, one after the other: the reader waits for each of them for a bounded time, then gets
//! an I/O error.

use crate::core::Core;
use crate::event::Note;
use bytes::Bytes;
use mainstay_protocol::marks::mark;
use mainstay_protocol::{Epoch, Extent, FileId, Incarnation, Mono, NodeId, Now, PeerMessage, Position};
use std::collections::{BTreeMap, BTreeSet};

/// The volume's ticket and what is damaged.
pub type Wanted = (u64, FileId, Extent, Position);

/// Repairs under way at one time; more wait for the next scrub or read.
const REPAIRS_MAX: usize = 256;

#[derive(Debug, Default)]
pub struct Repairs {
    /// Asked of a peer, by the ticket that it was given.
    asked: BTreeMap<u64, Asked>,
    /// Being read here for a peer, by the volume's ticket.
    helping: BTreeMap<u64, Asker>,
}

/// Who asked, in which boot, under which ticket of theirs.
pub type Asker = (NodeId, Incarnation, u64);

#[derive(Debug)]
struct Asked {
    wanted: Wanted,
    epoch: Epoch,
    /// Whose turn it is.
    of: NodeId,
    /// Everybody who was asked; the last one has until `give_up_at`.
    tried: BTreeSet<NodeId>,
    give_up_at: Mono,
}

impl Repairs {
    pub fn wanted(&mut self, core: &mut Core, wanted: Wanted, epoch: Epoch, now: Now) {
        match self.asked.len() < REPAIRS_MAX {
            true => {
                self.ask_next(core, Asked { wanted, epoch, of: core.me.node, tried: BTreeSet::new(), give_up_at: now.mono }, now)
            }
            false => Self::finish(core, wanted, None),
        }
    }

    /// Asks the best replica that was not asked yet; when there is none, nobody can help.
    fn ask_next(&mut self, core: &mut Core, mut asked: Asked, now: Now) {
        let Some(to) = helper(core, &asked.tried, now.mono) else { return Self::finish(core, asked.wanted, None) };
        let (ticket, epoch, (_, file, extent, position)) = (core.ticket(), asked.epoch, asked.wanted);
        let of = written_in(core, position);
        asked.tried.insert(to);
        asked.of = to;
        asked.give_up_at = now.mono.after_ms(core.timing.lease_ms);
        // A ticket of its own: a late word of the one before must not be taken for this one's.
        self.asked.insert(ticket, asked);
        core.send(to, PeerMessage::RepairRequest { epoch, ticket, file, extent, position, of });
    }

    /// A copy that failed, or whose history is another one at that place, has nothing to give.
    pub fn requested(&mut self, core: &mut Core, asker: Asker, (file, extent, position): (FileId, Extent, Position), of: Epoch) {
        if self.helping.len() >= REPAIRS_MAX {
            return;
        }
        if core.failed.is_some() || written_in(core, position) != of {
            return Self::help(core, asker, None);
        }
        if let Some(volume) = core.volume.as_mut() {
            let ours = volume.read_for_repair(file, extent, position);
            self.helping.insert(ours, asker);
        }
    }

    pub fn read(&mut self, core: &mut Core, ours: u64, data: Option<Bytes>) {
        if let Some(asker) = self.helping.remove(&ours) {
            Self::help(core, asker, data);
        }
    }

    fn help(core: &mut Core, (to, boot, ticket): Asker, data: Option<Bytes>) {
        let epoch = core.view_epoch();
        core.send_with(to, PeerMessage::Repair { epoch, ticket, boot }, data.into_iter().collect());
    }

    /// Of the boot that asked, and of whom it asked: anything else is an answer to another question.
    pub fn answered(&mut self, core: &mut Core, from: NodeId, boot: Incarnation, ticket: u64, data: Bytes) {
        if boot != core.me.incarnation || self.asked.get(&ticket).is_none_or(|asked| asked.of != from) {
            return;
        }
        match self.asked.remove(&ticket) {
            Some(asked) if !data.is_empty() => Self::finish(core, asked.wanted, Some(data)),
            // It has nothing: the next tick turns to the next one.
            Some(asked) => _ = self.asked.insert(ticket, Asked { give_up_at: Mono::ZERO, ..asked }),
            None => {}
        }
    }

    pub fn tick(&mut self, core: &mut Core, now: Now) {
        let late: Vec<u64> =
            self.asked.iter().filter(|(_, asked)| now.mono >= asked.give_up_at).map(|(ticket, _)| *ticket).collect();
        for ticket in late {
            if let Some(asked) = self.asked.remove(&ticket) {
                self.ask_next(core, asked, now);
            }
        }
    }

    fn finish(core: &mut Core, (ticket, _, _, position): Wanted, data: Option<Bytes>) {
        mark(if data.is_some() { "repair: healed" } else { "repair: nobody can help" });
        core.note(Note::Damage { position, repaired: data.is_some() });
        if let Some(volume) = core.volume.as_mut() {
            volume.repair(ticket, data);
        }
    }

    pub fn next_timer(&self) -> Option<Mono> {
        self.asked.values().map(|asked| asked.give_up_at).min()
    }
}

/// The epoch of the record at `position` in the history of this copy.
fn written_in(core: &Core, position: Position) -> Epoch {
    core.volume.as_ref().map_or(Epoch(0), |volume| volume.written_in(position))
}

/// Who is up, was not asked yet, and is the likeliest to have what is wanted: an in-sync member, else one whose copy is whole.
fn helper(core: &Core, tried: &BTreeSet<NodeId>, now: Mono) -> Option<NodeId> {
    let state = core.state()?;
    let whole = |node: NodeId| core.contacts.get(node).and_then(|contact| contact.said.as_ref()).is_some_and(|said| said.complete);
    let live = |node: NodeId| core.contacts.silent_ms(node, now).is_some_and(|ms| ms < core.timing.lease_ms);
    let others = state.replicas.iter().copied().filter(|node| *node != core.me.node && !tried.contains(node) && live(*node));
    others.min_by_key(|node| (!state.in_sync.contains_key(node), !whole(*node)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contacts::Said;
    use crate::event::{Effect, Settings};
    use mainstay_cluster::{
        Actor, ClusterState, Command, ExportSettings, NodeKind, Policy, Settings as ClusterSettings, WithoutPrimary,
    };
    use mainstay_protocol::{ClusterId, Incarnation, Timestamp, VolumeId};
    use std::sync::Arc;

    const ME: NodeId = NodeId(1);
    const VOLUME: VolumeId = VolumeId(1);

    fn now(ms: u64) -> Now {
        Now { mono: Mono::ZERO.after_ms(ms), wall: Timestamp::new(1_700_000_000, 0) }
    }

    /// Five replicas on nodes 1 to 5, of which 1 and 4 are in sync.
    fn cluster() -> ClusterState {
        let (actor, at) = (Actor::Person("ada".into()), now(0).wall);
        let mut state = ClusterState::default();
        let mut decide = |command: Command| assert!(state.apply(&command).is_ok(), "{command:?}");
        decide(Command::Init {
            cluster: ClusterId([7; 16]),
            name: "test".into(),
            settings: ClusterSettings::default(),
            node: "a".into(),
            kind: NodeKind::FileServer,
            peer_address: "10.0.0.1:1".into(),
            admin_address: "10.0.0.1:2".into(),
            actor: actor.clone(),
            at,
        });
        for node in 2..=5 {
            let (peer_address, admin_address) = (format!("10.0.0.{node}:1"), format!("10.0.0.{node}:2"));
            let (name, kind) = (format!("n{node}"), NodeKind::FileServer);
            decide(Command::AddNode { name, kind, peer_address, admin_address, actor: actor.clone(), at });
        }
        (1..=5).for_each(|node| {
            decide(Command::Booted { node: NodeId(node), incarnation: Incarnation(1), software: "0.1.0".into(), at })
        });
        decide(Command::CreateVolume {
            name: "files".into(),
            replicas: (1..=5).map(NodeId).collect(),
            primary: ME,
            policy: Policy::Manual,
            without_primary: WithoutPrimary::ServeReads,
            export: ExportSettings::default(),
            actor,
            at,
        });
        state.volumes.get_mut(&VOLUME).expect("just made").in_sync = [1, 4].map(|node| (NodeId(node), Incarnation(1))).into();
        state
    }

    fn heard(core: &mut Core, node: NodeId, complete: bool, at: Mono) {
        core.contacts.heard(node, Incarnation(1), at);
        let said = Said {
            at,
            epoch: Epoch(1),
            last: Default::default(),
            durable: Position(0),
            committed: Position(0),
            complete,
            health: Default::default(),
            idle: false,
            leaving: false,
            seen: vec![],
            up_ms: 0,
            clock_ms: 0,
        };
        core.contacts.said(node, said);
    }

    /// Who was asked since the last call, under which ticket.
    fn asked(core: &mut Core) -> Vec<(NodeId, u64)> {
        let request = |effect: Effect| match effect {
            Effect::Send { to, envelope } => match envelope.message {
                PeerMessage::RepairRequest { ticket, .. } => Some((to, ticket)),
                _ => None,
            },
            _ => None,
        };
        core.out.drain(..).filter_map(request).collect()
    }

    /// The lowest-numbered replica may be one that was just begun, and is live and empty.
    #[test]
    fn every_replica_that_is_up_is_asked_once_the_likeliest_first() {
        let me = Settings { node: ME, incarnation: Incarnation(1), volume: VOLUME };
        let mut core = Core::new(me, None, Default::default(), Arc::new(cluster()), now(0));
        // 5 was never heard.
        for (node, complete) in [(2, false), (3, true), (4, true)] {
            heard(&mut core, NodeId(node), complete, now(0).mono);
        }
        let mut repairs = Repairs::default();
        let extent = Extent { offset: 0, len: 10, payload_offset: 0 };
        repairs.wanted(&mut core, (7, FileId::ROOT, extent, Position(9)), Epoch(1), now(1));
        let [(NodeId(4), first)] = asked(&mut core)[..] else { panic!("not the in-sync member") };
        // Somebody else's word, and an answer to an earlier boot of this node.
        repairs.answered(&mut core, NodeId(3), Incarnation(1), first, Bytes::from_static(b"0123456789"));
        repairs.answered(&mut core, NodeId(4), Incarnation(0), first, Bytes::from_static(b"0123456789"));
        repairs.tick(&mut core, now(1));
        assert!(core.out.is_empty(), "it still waits for the one that it asked");
        // It has nothing, and says so twice.
        repairs.answered(&mut core, NodeId(4), Incarnation(1), first, Bytes::new());
        repairs.tick(&mut core, now(2));
        let [(NodeId(3), second)] = asked(&mut core)[..] else { panic!("not the whole copy") };
        repairs.answered(&mut core, NodeId(4), Incarnation(1), first, Bytes::new());
        repairs.tick(&mut core, now(3));
        assert_eq!(asked(&mut core), []);
        // The next one does not answer, while all of them are heard.
        let patience = core.timing.lease_ms + 2;
        (2..=4).for_each(|node| heard(&mut core, NodeId(node), node != 2, now(patience).mono));
        repairs.tick(&mut core, now(patience));
        let [(NodeId(2), third)] = asked(&mut core)[..] else { panic!("not the last one") };
        assert!(second != third && repairs.next_timer().is_some());
        // A fourth does not exist.
        repairs.answered(&mut core, NodeId(2), Incarnation(1), third, Bytes::new());
        repairs.tick(&mut core, now(patience + 1));
        let given_up = |effect: &Effect| matches!(effect, Effect::Note(Note::Damage { position: Position(9), repaired: false }));
        assert!(core.out.iter().any(given_up) && repairs.next_timer().is_none());
    }

    /// Two histories have different records at the same position: the old primary's, and those that replaced them.
    #[test]
    fn nothing_is_given_of_another_history() {
        let me = Settings { node: ME, incarnation: Incarnation(1), volume: VOLUME };
        let mut core = Core::new(me, None, Default::default(), Arc::new(cluster()), now(0));
        let mut repairs = Repairs::default();
        let extent = Extent { offset: 0, len: 10, payload_offset: 0 };
        let asker = (NodeId(3), Incarnation(5), 8);
        repairs.requested(&mut core, asker, (FileId::ROOT, extent, Position(9)), Epoch(2));
        let [Effect::Send { to: NodeId(3), ref envelope }] = core.out[..] else { panic!("no answer at once") };
        assert!(
            matches!(envelope.message, PeerMessage::Repair { ticket: 8, boot: Incarnation(5), .. }) && envelope.payload.is_empty()
        );
    }
}
