//! Random lives of a cluster, judged by a model that knows none of the code under test: it watches commands and results only.

use mainstay_cluster::state::MaintenanceId;
use mainstay_cluster::*;
use mainstay_protocol::peer::CopyHealth;
use mainstay_protocol::*;
use std::collections::{BTreeMap, BTreeSet};

const SEEDS: u64 = 60;
const COMMANDS: usize = 300;
const VOLUME: VolumeId = VolumeId(1);

/// splitmix64
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
    /// True once in `times`.
    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
    fn node(&mut self) -> NodeId {
        NodeId(1 + self.below(4) as u16)
    }
}

/// What the model remembers of accepted commands.
#[derive(Default)]
struct Model {
    reigns: BTreeMap<Epoch, (NodeId, Incarnation)>,
    approvals: BTreeMap<ProposalId, Digest>,
    /// What an approval was used for.
    used: BTreeSet<ProposalId>,
    promised: BTreeMap<ProposalId, BTreeMap<NodeId, Incarnation>>,
    /// The last epoch that was served.
    served: Epoch,
    /// The in-sync set and the candidate's boot when it was proposed.
    proposed: BTreeMap<ProposalId, (BTreeMap<NodeId, Incarnation>, Incarnation)>,
    /// Outcomes seen, so that the test proves that it reaches them.
    reached: BTreeMap<&'static str, u64>,
}

struct Life {
    rng: Rng,
    now: Timestamp,
    state: ClusterState,
    /// Applies the same bytes.
    twin: ClusterState,
    model: Model,
}

fn person(rng: &mut Rng) -> Actor {
    match rng.below(8) {
        0 => Actor::Node(rng.node()),
        1 => Actor::Cluster,
        _ => Actor::Person(["ann", "bob"][rng.below(2) as usize].into()),
    }
}

impl Life {
    /// Three file servers and a witness, and one volume on the three.
    fn new(seed: u64) -> Life {
        let (state, twin) = (ClusterState::default(), ClusterState::default());
        let mut life = Life { rng: Rng(seed), now: Timestamp::new(1_700_000_000, 0), state, twin, model: Model::default() };
        let actor = Actor::Person("ann".into());
        let (at, settings) = (life.now, Settings::default());
        let address = |port: u16| format!("127.0.0.1:{port}");
        let init = Command::Init {
            cluster: ClusterId([1; 16]),
            name: "main".into(),
            settings,
            node: "a".into(),
            kind: NodeKind::FileServer,
            peer_address: address(1),
            admin_address: address(2),
            actor: actor.clone(),
            at,
        };
        life.must(init);
        for (name, kind, port) in [("b", NodeKind::FileServer, 3), ("c", NodeKind::FileServer, 5), ("w", NodeKind::Witness, 7)] {
            let (peer_address, admin_address) = (address(port), address(port + 1));
            life.must(Command::AddNode { name: name.into(), kind, peer_address, admin_address, actor: actor.clone(), at });
        }
        (1..=4).for_each(|node| {
            life.must(Command::Booted { node: NodeId(node), incarnation: Incarnation(1), software: "0.1.0".into(), at })
        });
        life.must(Command::CreateVolume {
            name: "files".into(),
            replicas: [1, 2, 3].map(NodeId).into(),
            primary: NodeId(1),
            policy: Policy::Manual,
            without_primary: WithoutPrimary::ServeReads,
            export: ExportSettings::default(),
            actor,
            at,
        });
        life
    }

    fn must(&mut self, command: Command) {
        assert!(self.step(&command), "{command:?}");
    }

    fn step(&mut self, command: &Command) -> bool {
        let before = self.state.clone();
        let result = self.state.apply(command);
        let twin = self.twin.apply(&Command::decode(&command.encode()).unwrap());
        assert_eq!(result, twin, "the same command has the same result everywhere");
        assert_eq!(self.state.version, before.version + 1);
        match &result {
            Err(refusal) => {
                let now = ClusterState { version: before.version, audit: before.audit.clone(), ..self.state.clone() };
                let mut expected = before.clone();
                // What nobody decided in time is over whatever else is judged.
                for change in expected.control.changes.values_mut() {
                    if change.state == ChangeState::Pending && command.at() >= change.expires_at {
                        change.state = ChangeState::Expired;
                    }
                }
                assert!(now == expected, "a refused command changed the state: {command:?}");
                assert!(refusal.message.contains("refused") && refusal.message.len() > 30, "{refusal}");
                count(&mut self.model, "refused");
            }
            Ok(_) => self.watch(command),
        }
        if let (Some(old), Some(new)) = (before.volumes.get(&VOLUME), self.state.volumes.get(&VOLUME)) {
            self.model.judge(&before, old, &self.state, new);
        }
        result.is_ok()
    }

    /// Remembers what an accepted command was.
    fn watch(&mut self, command: &Command) {
        match command {
            Command::Approve { proposal, evidence_hash, actor, waited_ms, .. } => {
                assert!(matches!(actor, Actor::Person(_)), "R7: only persons approve");
                assert!(*waited_ms < self.state.settings.approval_ms, "R14: approved too late");
                let second = self.model.approvals.insert(*proposal, *evidence_hash);
                assert!(second.is_none(), "R14: approved twice");
            }
            Command::Lapsed { proposal, node, incarnation, waited_ms, .. } => {
                let known = self.model.promised.entry(*proposal).or_default().insert(*node, *incarnation);
                let counts = known == Some(*incarnation) || *waited_ms < self.state.settings.approval_ms;
                assert!(counts, "R14: the approval was too old");
            }
            Command::Serving { epoch, .. } => self.model.served = *epoch,
            Command::Propose { candidate, .. } => {
                let seen = (self.volume().in_sync.clone(), self.state.nodes[candidate].incarnation);
                self.model.proposed.insert(self.state.last_proposal, seen);
                self.watch_policy();
            }
            _ => {}
        }
    }

    /// What the policy approves without a person, judged by other means than the guards themselves.
    fn watch_policy(&mut self) {
        let (id, volume) = (self.state.last_proposal, self.volume());
        let Some(approval) = self.state.proposals[&id].approval.clone() else { return };
        assert!(volume.policy == Policy::Guarded && approval.allowed_by.is_some() && approval.actor == Actor::Cluster, "R7");
        assert!(self.state.maintenance.is_empty() && !volume.breaker.open && self.state.control.hold.is_none(), "R7: unguarded");
        self.model.approvals.insert(id, approval.evidence_hash);
        count(&mut self.model, "by policy");
    }

    fn random(&mut self) -> Command {
        self.now = Timestamp::from_millis(self.now.as_millis() + 1 + self.rng.below(2_000) as i64);
        if self.rng.once_in(40) {
            self.now = Timestamp::from_millis(self.now.as_millis() + 1_000_000);
        }
        if let Some(command) = self.unblock().filter(|_| self.rng.once_in(2)) {
            return command;
        }
        if let Some(command) = self.fence() {
            return command;
        }
        // Mostly what moves a promotion on, so that many come to their end; anything else now and then.
        if self.volume().open_proposal.is_some() && !self.rng.once_in(10) {
            return if self.rng.once_in(3) { self.reign_change() } else { self.decide() };
        }
        match self.rng.below(20) {
            0 => self.boot(),
            1..=4 => self.set_change(),
            5..=12 => self.propose(),
            13..=14 => self.decide(),
            15..=17 => self.reign_change(),
            _ => self.upkeep(),
        }
    }

    fn volume(&self) -> &VolumeState {
        &self.state.volumes[&VOLUME]
    }

    /// The boot of a node, now and then a wrong one.
    fn boot_of(&mut self, node: NodeId) -> Incarnation {
        let known = self.state.nodes[&node].incarnation;
        if self.rng.once_in(12) { Incarnation(known.0 + self.rng.below(3)) } else { known }
    }

    fn boot(&mut self) -> Command {
        let node = self.rng.node();
        let incarnation = Incarnation(self.state.nodes[&node].incarnation.0 + self.rng.below(4).min(2));
        Command::Booted { node, incarnation, software: "0.1.0".into(), at: self.now }
    }

    /// Mostly the primary, now and then anybody.
    fn somebody(&mut self) -> (Epoch, NodeId, Incarnation) {
        let primary = self.volume().primary().filter(|_| !self.rng.once_in(8));
        let node = primary.unwrap_or_else(|| self.rng.node());
        let incarnation = self.boot_of(node);
        let epoch = if self.rng.once_in(12) { Epoch(self.rng.below(9)) } else { self.volume().epoch };
        (epoch, node, incarnation)
    }

    fn set_change(&mut self) -> Command {
        let (epoch, node, incarnation) = self.somebody();
        let (volume, at) = (VOLUME, self.now);
        let other = self.rng.node();
        let expected = self.volume().in_sync_version - u64::from(self.rng.once_in(8));
        if self.rng.once_in(4) {
            return Command::ShrinkInSync { volume, epoch, node, incarnation, remove: other, expected, reason: "x".into(), at };
        }
        let added_incarnation = self.boot_of(other);
        Command::GrowInSync { volume, epoch, node, incarnation, add: other, added_incarnation, position: Position(5), expected, at }
    }

    fn observed(&mut self) -> Observed {
        let by = self.rng.node();
        let mut observed = Observed { by, ..Observed::default() };
        for node in [1, 2, 3].map(NodeId) {
            let state = match self.rng.below(20) {
                0 => CopyState::Resync,
                1 => CopyState::Diverged,
                2 => CopyState::Failed,
                _ => CopyState::Complete,
            };
            let epoch = if self.rng.once_in(15) { Epoch(self.rng.below(3)) } else { self.volume().epoch };
            let last = LogPoint { epoch, position: Position(5 + self.rng.below(3)), chain: Chain(1) };
            let incarnation = self.state.nodes[&node].incarnation;
            let health = CopyHealth { free_bytes: 1 << 30, full: self.rng.once_in(30), ..CopyHealth::default() };
            let report =
                CopyReport { last, durable: last.position, committed: last.position, state, health, incarnation, age_ms: 10 };
            if !self.rng.once_in(15) {
                observed.copies.insert(node, Known::Known(report));
            }
        }
        for node in [1, 2, 3, 4].map(NodeId) {
            let ahead_ms = if self.rng.once_in(12) { 60_000 } else { 80 };
            observed.clocks.insert(node, ahead_ms);
            let contact = match self.rng.below(12) {
                0 => Contact::Unknown,
                1 => Contact::Heard { ms_ago: 10 },
                2 => Contact::SilentSinceBoot { ms_ago: 10_000 },
                _ => Contact::Heard { ms_ago: 5_000 },
            };
            observed.contacts.insert(node, contact);
        }
        observed
    }

    fn propose(&mut self) -> Command {
        let observed = self.observed();
        let candidate = self.rng.node();
        let mut evidence = self.state.evidence(candidate, VOLUME, &observed).unwrap();
        if self.rng.once_in(15) {
            evidence.basis.loss = Loss::Unknown;
        }
        let parent_epoch = if self.rng.once_in(15) { Epoch(self.rng.below(9)) } else { self.volume().epoch };
        let proposer = if self.rng.once_in(3) { Actor::Person("ann".into()) } else { Actor::Node(candidate) };
        Command::Propose { volume: VOLUME, candidate, parent_epoch, evidence: Box::new(evidence), proposer, at: self.now }
    }

    fn decide(&mut self) -> Command {
        let at = self.now;
        let newest = self.volume().open_proposal.unwrap_or(self.state.last_proposal);
        let proposal = if self.rng.once_in(12) { ProposalId(self.rng.below(9)) } else { newest };
        let known = self.state.proposals.get(&proposal);
        let evidence_hash = known.map_or(Digest::default(), |known| known.evidence_hash);
        let parent = known.map_or(Epoch(0), |known| known.parent_epoch);
        match self.rng.below(24) {
            0 => Command::Deny { proposal, reason: "no".into(), actor: person(&mut self.rng), at },
            1 => Command::Void { proposal, field: EvidenceField::PrimaryHeard, seen: "heard".into(), by: self.rng.node(), at },
            2 => {
                let approved = known.is_some_and(|known| known.approval.is_some()) != self.rng.once_in(8);
                Command::Expire { proposal, approved, waited_ms: self.rng.below(2) * self.state.settings.approval_ms, at }
            }
            3..=8 => {
                let odd = self.rng.below(20);
                let evidence_hash = if odd < 2 { Digest::of(b"other") } else { evidence_hash };
                let waited_ms = if odd == 2 { self.state.settings.approval_ms } else { 0 };
                Command::Approve { proposal, evidence_hash, actor: person(&mut self.rng), waited_ms, at }
            }
            _ => {
                let node = self.rng.node();
                let incarnation = self.boot_of(node);
                let promised = if self.rng.once_in(15) { parent } else { parent.next() };
                let last = LogPoint { epoch: Epoch(1), position: Position(4 + self.rng.below(20)), chain: Chain(1) };
                let last = Some(last).filter(|_| node != NodeId(4));
                let waited_ms = if self.rng.once_in(15) { self.state.settings.approval_ms } else { self.rng.below(10_000) };
                Command::Lapsed { proposal, node, incarnation, promised, last, waited_ms, at }
            }
        }
    }

    /// While a promotion waits for promises and its old primary reigns; of any other, now and then.
    fn fence(&mut self) -> Option<Command> {
        let open = self.volume().open_proposal;
        let proposal = open.unwrap_or(self.state.last_proposal);
        let known = self.state.proposals.get(&proposal)?;
        let (begun, fencing) = (known.fence.is_some(), known.state == ProposalState::Fencing && self.volume().reign.is_some());
        if self.rng.below(40) >= if fencing { 26 } else { 1 } {
            return None;
        }
        Some(if begun != self.rng.once_in(8) { self.fence_outcome(proposal) } else { self.fence_begun(proposal) })
    }

    /// Mostly as the candidate would say it, now and then by anybody, of anybody.
    fn fence_begun(&mut self, proposal: ProposalId) -> Command {
        let known = self.state.proposals.get(&proposal);
        let candidate = known.map(|known| known.candidate).filter(|_| !self.rng.once_in(6));
        let old = self.volume().last_primary.filter(|_| !self.rng.once_in(6));
        let (node, target) = (candidate.unwrap_or_else(|| self.rng.node()), old.unwrap_or_else(|| self.rng.node()));
        let (incarnation, target_incarnation) = (self.boot_of(node), self.boot_of(target));
        Command::FenceBegun { proposal, node, incarnation, target, target_incarnation, at: self.now }
    }

    fn fence_outcome(&mut self, proposal: ProposalId) -> Command {
        let begun = self.state.proposals.get(&proposal).and_then(|known| known.fence.clone());
        let (node, target) = begun.map_or_else(|| (self.rng.node(), self.rng.node()), |fence| (fence.by, fence.target));
        let (incarnation, target_incarnation) = (self.boot_of(node), self.boot_of(target));
        let failed = self.rng.once_in(3);
        let outcome = if failed { FenceOutcome::Failed("no".into()) } else { FenceOutcome::Confirmed };
        Command::Fenced { proposal, node, incarnation, target, target_incarnation, outcome, at: self.now }
    }

    fn reign_change(&mut self) -> Command {
        let (epoch, node, incarnation) = self.somebody();
        let (volume, at) = (VOLUME, self.now);
        match self.rng.below(8) {
            0 => Command::StepDown { volume, epoch, node, incarnation, at },
            1 => Command::GrantFailed { volume, epoch, node, incarnation, reason: "x".into(), at },
            _ => Command::Serving { volume, epoch, node, incarnation, at },
        }
    }

    fn upkeep(&mut self) -> Command {
        let (at, actor, reason) = (self.now, person(&mut self.rng), "because".to_string());
        let maintenance = self.state.maintenance.keys().next().copied().unwrap_or(MaintenanceId(1));
        match self.rng.below(17) {
            6 => Command::ExtendMaintenance { maintenance, ends_at: Timestamp::from_millis(at.as_millis() + 5_000), actor, at },
            7 => Command::MaintenanceOverdue { maintenance, by: self.rng.node(), at },
            8 => {
                let node = self.rng.node();
                Command::Leaving { node, incarnation: self.boot_of(node), cause: StopCause::Asked, at }
            }
            9..=16 => self.policies(),
            0 => {
                let ends_at = Timestamp::from_millis(at.as_millis() + self.rng.below(9_000) as i64);
                let (node, allow_primary) = (self.rng.node(), self.rng.once_in(2));
                Command::BeginMaintenance { node, owner: "ann".into(), reason, ends_at, allow_primary, actor, at }
            }
            1..=3 => Command::EndMaintenance { maintenance, answers: !self.rng.once_in(8), actor, at },
            _ => Command::ResetBreaker { volume: VOLUME, reason, actor, at },
        }
    }
}

impl Life {
    /// What people do about what stands still, so that many promotions come to their end.
    fn unblock(&self) -> Option<Command> {
        let (at, actor, reason) = (self.now, Actor::Person("ann".into()), "enough of it".to_string());
        let control = &self.state.control;
        let pending = control.changes.iter().find(|(_, change)| change.state == ChangeState::Pending);
        if let Some((id, change)) = pending {
            return Some(Command::ApproveChange { change: *id, digest: change.digest, actor: Actor::Person("second".into()), at });
        }
        if self.volume().breaker.open {
            return Some(Command::ResetBreaker { volume: VOLUME, reason, actor, at });
        }
        if control.hold.is_some() {
            return Some(Command::SetHold { on: false, reason, actor, at });
        }
        let wish = VolumeWish { policy: Some(Policy::Guarded), ..VolumeWish::default() };
        (self.volume().policy == Policy::Hold).then_some(Command::SetVolume { volume: VOLUME, wish, reason, actor, at })
    }

    fn policies(&mut self) -> Command {
        let (at, actor, reason) = (self.now, person(&mut self.rng), "because".to_string());
        let change = self.state.control.last_change;
        let digest = self.state.control.changes.get(&change).map_or(Digest::default(), |known| known.digest);
        match self.rng.below(8) {
            0 => {
                let policy = [Policy::Hold, Policy::Manual, Policy::Guarded, Policy::Guarded][self.rng.below(4) as usize];
                let role_changes_max = self.rng.once_in(2).then_some(1 + self.rng.below(9) as u32);
                let wish = VolumeWish { policy: Some(policy), role_changes_max, ..VolumeWish::default() };
                Command::SetVolume { volume: VOLUME, wish, reason, actor, at }
            }
            1 => Command::SetHold { on: self.rng.once_in(4), reason, actor, at },
            2 => Command::DenyChange { change, reason, actor, at },
            _ => Command::ApproveChange { change, digest, actor: Actor::Person(format!("p{}", self.rng.below(3))), at },
        }
    }
}

fn count(model: &mut Model, what: &'static str) {
    *model.reached.entry(what).or_default() += 1;
}

impl Model {
    fn judge(&mut self, before: &ClusterState, old: &VolumeState, after: &ClusterState, new: &VolumeState) {
        assert!(new.epoch >= old.epoch, "R1: the epoch fell");
        assert!(!new.in_sync.is_empty());
        let open = after.proposals.values().filter(|proposal| proposal.state.open()).count();
        assert!(open <= 1, "R8: {open} open proposals");
        if let Some(reign) = new.reign {
            let holder = (reign.node, reign.incarnation);
            assert_eq!(*self.reigns.entry(new.epoch).or_insert(holder), holder, "R1: two reigns of one epoch");
            assert!(new.in_sync.contains_key(&reign.node));
            assert_eq!(after.nodes[&reign.node].incarnation, reign.incarnation, "R3");
        }
        if new.epoch != old.epoch {
            self.judge_grant(before, old, after, new);
        }
        self.judge_fence(before, old, after, new);
        assert!(new.in_sync == old.in_sync || new.in_sync_version > old.in_sync_version, "the set changed, not its version");
        for (id, proposal) in &after.proposals {
            if before.proposals.get(id).is_some_and(|then| then.state == proposal.state) {
                continue;
            }
            let outcome = match proposal.state {
                ProposalState::Serving => "serving",
                ProposalState::Failed { .. } => "failed",
                ProposalState::Denied { .. } => "denied",
                ProposalState::Expired => "expired",
                ProposalState::Void { .. } => "void",
                _ => continue,
            };
            count(self, outcome);
        }
    }

    /// R13: a reign that ended by an external fence ended because the candidate of an approved proposal confirmed it, of that very boot.
    fn judge_fence(&mut self, before: &ClusterState, old: &VolumeState, after: &ClusterState, new: &VolumeState) {
        if let (Some(by), None) = (new.fenced_by, old.fenced_by) {
            let (reign, proposal) = (old.reign.expect("somebody reigned"), &before.proposals[&by]);
            let fence = after.proposals[&by].fence.clone().expect("it was begun");
            assert_eq!((fence.target, fence.target_incarnation), (reign.node, reign.incarnation), "R2: another boot was hit");
            assert_eq!((fence.by, fence.outcome), (proposal.candidate, Some(FenceOutcome::Confirmed)), "R13");
            assert!(proposal.state == ProposalState::Fencing && self.approvals.contains_key(&by), "R7: fenced without an approval");
            count(self, "fenced");
        }
        assert!(new.fenced || new.fenced_by.is_none(), "R13: a proof that outlived its reign");
    }

    fn judge_grant(&mut self, before: &ClusterState, old: &VolumeState, after: &ClusterState, new: &VolumeState) {
        assert_eq!(new.epoch, old.epoch.next(), "R1: a grant raises the epoch by one");
        let reign = new.reign.expect("a grant has a holder");
        let id = old.open_proposal.expect("R7: only a proposal is granted");
        let proposal = &after.proposals[&id];
        let hash = self.approvals.get(&id).expect("R7: nobody approved this");
        assert_eq!(*hash, proposal.evidence.hash(), "R14: approved was other evidence");
        assert!(self.used.insert(id), "R14: the approval was used before");
        let promised = &self.promised[&id];
        assert!(promised.len() * 2 > after.nodes.len() && promised.contains_key(&reign.node), "R13: granted without a majority");
        assert_eq!(reign.node, proposal.candidate);
        assert!(old.in_sync.contains_key(&reign.node), "R5: promoted from outside of the set");
        let copy = proposal.evidence.observed.copies[&reign.node];
        assert!(matches!(copy, Known::Known(copy) if copy.last.epoch >= self.served), "R5: promoted a copy that lost its disk");
        assert!(before.maintenance_of(reign.node).is_none(), "R10: promoted during maintenance");
        assert!(old.last_primary.is_none_or(|node| before.maintenance_of(node).is_none()), "R10: because of maintenance");
        assert!(!old.breaker.open, "R8: promoted with an open breaker");
        assert!(before.held(old).is_none(), "R7: promoted on hold");
        if proposal.approval.as_ref().is_some_and(|approval| approval.allowed_by.is_some()) {
            assert!(old.policy == Policy::Guarded && before.maintenance.is_empty(), "R7: the policy approved it, and a guard fell");
        }
        assert_eq!(
            new.loss_epoch > old.loss_epoch,
            old.in_sync[&reign.node] != reign.incarnation,
            "loss is told exactly when it may be"
        );
        assert_eq!(self.proposed[&id], (old.in_sync.clone(), reign.incarnation), "R14: granted on another state than was proposed");
        for (node, recorded) in new.in_sync.iter().filter(|(node, _)| **node != reign.node) {
            assert_eq!(old.in_sync.get(node), Some(recorded), "a grant renews nobody's boot");
            assert_eq!(promised.get(node), Some(&after.nodes[node].incarnation), "in sync without a promise of the present boot");
        }
        count(self, "granted");
    }
}

#[test]
fn random_lives_keep_the_rules() {
    let mut reached: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..SEEDS {
        let mut life = Life::new(seed);
        for step in 0..COMMANDS {
            let command = life.random();
            life.step(&command);
            if step % 100 == 99 {
                life.state.validate().unwrap();
                assert_eq!(ClusterState::decode(&life.state.encode()).unwrap(), life.state);
                let json = serde_json::to_string(&life.state).unwrap();
                assert_eq!(serde_json::from_str::<ClusterState>(&json).unwrap(), life.state);
            }
        }
        assert_eq!(life.state, life.twin, "seed {seed}");
        life.model.reached.iter().for_each(|(what, times)| *reached.entry(what).or_default() += times);
    }
    println!("{reached:?}");
    for outcome in ["granted", "serving", "failed", "denied", "expired", "void", "refused", "by policy", "fenced"] {
        assert!(reached.get(outcome).is_some_and(|times| *times >= SEEDS / 4), "{outcome} is hardly reached: {reached:?}");
    }
}
