//! Judges of the properties in SCENARIOS.md, one file each. They see what happens between nodes, clients and operators, what is on
//! the disks, and the cluster's decisions; they know nothing of how the code under test comes to what it does.
//!
//! P2 is judged by the workers' models ([`crate::files`]), by [`p2_trees`] and [`registers`], and by [`p2_kept_records`] before a client
//! can notice; P7 by [`crate::World::heal`].

pub mod p1_leases;
pub mod p1_one_writer;
pub mod p1_promises;
pub mod p2_alone;
pub mod p2_copies;
pub mod p2_empty;
pub mod p2_in_sync;
pub mod p2_kept_records;
pub mod p2_trees;
pub mod p3_verified_copies;
pub mod p4_approvals;
pub mod p4_drift;
pub mod p4_live_primary;
pub mod p5_breaker;
pub mod p6_no_deadline;
pub mod p6_resync;
pub mod p8_overdue;
pub mod p9_fencing;
pub mod registers;

use crate::queue::Time;
use crate::world::operators::Word;
use crate::world::{Node, VOLUME, Violation};
use mainstay_cluster::{ClusterState, Command, Digest, Rule, VolumeState};
use mainstay_protocol::peer::Envelope;
use mainstay_protocol::{FileResult, Incarnation, NodeId, ProposalId};
use mainstay_replica::ServeMode;
use std::collections::{BTreeMap, BTreeSet};

/// The nodes of a world, as judges see them.
pub type Nodes = BTreeMap<NodeId, Node>;

/// A rule that was broken, and a sentence about it.
pub type Finding = (Rule, String);

#[derive(Default)]
pub struct Checkers {
    pub p1: p1_one_writer::OneWriter,
    pub leases: p1_leases::Leases,
    pub promises: p1_promises::Promises,
    pub alone: p2_alone::Alone,
    pub in_sync: p2_in_sync::InSync,
    pub kept: p2_kept_records::KeptRecords,
    pub p3: p3_verified_copies::VerifiedCopies,
    pub p4: p4_approvals::Approvals,
    pub live: p4_live_primary::LivePrimary,
    pub drift: p4_drift::Drift,
    pub p5: p5_breaker::Breaker,
    pub p6: p6_resync::Resync,
    pub p8: p8_overdue::Overdue,
    pub fencing: p9_fencing::Fencing,
    pub registers: [registers::History; 3],
    /// When the loss epoch rose.
    pub losses: Vec<Time>,
    /// Some disk was made full: then the volume may refuse changes until space is back.
    pub disk_was_full: bool,
    /// Disks that were told to fail: a copy there may be given up.
    pub faulty_disks: BTreeSet<NodeId>,
    /// Disks whose bits rotted: what was kept there may be gone.
    pub rotten_disks: BTreeSet<NodeId>,
    /// Nodes that got another disk: what they had told of the old one is gone.
    pub new_disks: BTreeSet<NodeId>,
}

/// A grant: who, in which boot, may write in the epoch that the volume is in now.
pub struct Grant<'a> {
    pub before: Option<&'a VolumeState>,
    pub after: &'a VolumeState,
    pub node: NodeId,
    pub incarnation: Incarnation,
    /// For people.
    pub name: String,
}

/// The grant that this decision made, if it made one.
fn grant<'a>(before: &'a ClusterState, after: &'a ClusterState) -> Option<Grant<'a>> {
    let (old, new) = (before.volumes.get(&VOLUME), after.volumes.get(&VOLUME)?);
    let raised = old.map_or(0, |old| old.epoch.0) != new.epoch.0;
    let reign = new.reign.filter(|_| raised)?;
    Some(Grant { before: old, after: new, node: reign.node, incarnation: reign.incarnation, name: after.node_name(reign.node) })
}

/// Whether this decision granted an epoch.
pub fn granted_anew(before: &ClusterState, after: &ClusterState) -> bool {
    grant(before, after).is_some()
}

/// Whether this decision granted an epoch to a copy that lacks something, which two people named.
pub fn gave_up(before: &ClusterState, after: &ClusterState) -> bool {
    let granted = grant(before, after).map(|grant| grant.after.epoch);
    granted.is_some_and(|epoch| after.proposals.values().any(|known| known.granted == Some(epoch) && known.evidence.loss.is_some()))
}

fn of(property: &'static str) -> impl Fn(Finding) -> Violation {
    move |(rule, text)| Violation::new(property, Some(rule), text)
}

impl Checkers {
    /// Everything that a decision tells.
    pub fn decided(&mut self, now: Time, before: &ClusterState, after: &ClusterState, nodes: &Nodes) -> Vec<Violation> {
        let mut found: Vec<Violation> = Vec::new();
        found.extend(self.live.decided(before, after).map(of("P4")));
        found.extend(self.in_sync.decided(before, after, nodes).map(of("P2")));
        self.p3.decided(before, after);
        found.extend(p2_copies::decided(before, after, nodes).map(of("P2")));
        self.p4.decided(now, before, after);
        if let Some(grant) = grant(before, after) {
            self.granted(now, &grant, (before, after), nodes, &mut found);
        }
        self.p5.decided(before, after);
        found.extend(self.p8.decided(before, after).map(of("P8")));
        found.extend(self.fencing.decided(before, after, nodes).map(of("P9")));
        found
    }

    fn granted(
        &mut self,
        now: Time,
        grant: &Grant,
        (before, after): (&ClusterState, &ClusterState),
        nodes: &Nodes,
        found: &mut Vec<Violation>,
    ) {
        if grant.before.is_some_and(|volume| volume.loss_epoch != grant.after.loss_epoch) {
            self.losses.push(now);
        }
        found.extend(self.p1.granted(grant).map(of("P1")));
        if grant.before.is_some() {
            found.extend(self.promises.granted(grant, after, nodes).map(of("P1")));
            found.extend(self.p3.granted(grant, after, nodes).into_iter().map(of("P3")));
            found.extend(p3_verified_copies::handed_over(grant, after, nodes).map(of("P3")));
            found.extend(self.p4.granted(now, grant, before, after).into_iter().map(of("P4")));
            let proposal = after.proposals.values().find(|proposal| proposal.granted == Some(grant.after.epoch));
            found.extend(self.drift.granted(grant, proposal).map(of("P4")));
            let planned = proposal.is_some_and(|proposal| proposal.evidence.fencing.planned());
            found.extend(self.p5.granted(now, grant, planned).into_iter().map(of("P5")));
        }
    }

    /// Two people went on with one node, by what it knows. `whole`: the lost nodes had not decided that it is out of sync; it may not know
    /// that they had.
    pub fn forced(&mut self, after: &ClusterState, whole: bool, knows_that_it_lacks: bool) -> Vec<Violation> {
        self.p3.forced(whole, knows_that_it_lacks);
        let epoch = after.volumes.get(&VOLUME).map_or_else(Default::default, |volume| volume.epoch);
        self.p1.forced(epoch).map(of("P1")).into_iter().collect()
    }

    /// A node, or a person through it, asks for a decision.
    pub fn asked(&mut self, now: Time, from: NodeId, command: &Command, decided: &ClusterState, nodes: &Nodes) -> Vec<Violation> {
        self.live.asked(now, command, decided);
        self.drift.asked(now, command, decided, &self.live, nodes);
        let word = self.leases.asked(now, command, decided).map(of("P1"));
        let given_up = p6_no_deadline::asked(from, command, nodes).map(of("P6"));
        let off = self.fencing.asked(command, nodes).map(of("P9"));
        let leaver = p3_verified_copies::asked(from, command, decided, nodes).map(of("P3"));
        word.into_iter().chain(given_up).chain(off).chain(leaver).collect()
    }

    pub fn sent(&mut self, now: Time, to: NodeId, envelope: &Envelope, decided: &ClusterState, nodes: &Nodes) -> Option<Violation> {
        self.leases.sent(now, envelope);
        self.kept.sent(envelope);
        self.p3.sent(envelope, decided);
        let found = self.p1.sent(envelope).map(of("P1"));
        found.or_else(|| self.in_sync.sent(to, envelope, decided, nodes).map(of("P2")))
    }

    pub fn replied(
        &mut self,
        from: (NodeId, Incarnation),
        mode: ServeMode,
        result: &FileResult,
        decided: &ClusterState,
    ) -> Option<Violation> {
        self.p1.replied(from, mode, result, decided).map(of("P1"))
    }

    /// A person was told that a word on a proposal counts.
    pub fn told(&mut self, word: &Word, decided: &ClusterState) -> Option<Violation> {
        self.p4.told(word, decided).map(of("P4"))
    }

    pub fn approved(&mut self, now: Time, proposal: ProposalId, evidence: Digest) {
        self.p4.approved(now, proposal, evidence);
    }
}
