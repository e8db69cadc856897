//! Judges of the properties in SCENARIOS.md, one file each. They see what happens between nodes, clients and operators, and the
//! cluster's decisions; they know nothing of how the code under test comes to what it does.
//!
//! P2 is judged by the workers' models ([`crate::files`]), by [`p2_trees`] and by [`registers`]; P7 by [`crate::World::heal`].

pub mod p1_one_writer;
pub mod p2_trees;
pub mod p3_verified_copies;
pub mod p4_approvals;
pub mod p6_resync;
pub mod r2_promises;
pub mod registers;

use crate::queue::Time;
use crate::world::{Node, VOLUME, Violation};
use mainstay_cluster::{ClusterState, Digest, VolumeState};
use mainstay_protocol::peer::Envelope;
use mainstay_protocol::{FileResult, Incarnation, NodeId, ProposalId};
use mainstay_replica::ServeMode;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub struct Checkers {
    pub p1: p1_one_writer::OneWriter,
    pub p3: p3_verified_copies::VerifiedCopies,
    pub p4: p4_approvals::Approvals,
    pub p6: p6_resync::Resync,
    pub registers: [registers::History; 3],
    /// When the loss epoch rose.
    pub losses: Vec<Time>,
    /// Some disk was made full: then the volume may refuse changes until space is back.
    pub disk_was_full: bool,
    /// Disks that were told to fail: a copy there may be given up.
    pub faulty_disks: BTreeSet<NodeId>,
}

/// A grant: who, in which boot, may write in the epoch that the volume is in now.
pub struct Grant<'a> {
    pub before: Option<&'a VolumeState>,
    pub after: &'a VolumeState,
    pub node: NodeId,
    pub incarnation: Incarnation,
}

/// The grant that this decision made, if it made one.
fn grant<'a>(before: &'a ClusterState, after: &'a ClusterState) -> Option<Grant<'a>> {
    let (old, new) = (before.volumes.get(&VOLUME), after.volumes.get(&VOLUME)?);
    let raised = old.map_or(0, |old| old.epoch.0) != new.epoch.0;
    let reign = new.reign.filter(|_| raised)?;
    Some(Grant { before: old, after: new, node: reign.node, incarnation: reign.incarnation })
}

impl Checkers {
    pub fn decided(
        &mut self,
        now: Time,
        before: &ClusterState,
        after: &ClusterState,
        nodes: &BTreeMap<NodeId, Node>,
        violations: &mut Vec<Violation>,
    ) {
        let Some(grant) = grant(before, after) else { return };
        if grant.before.is_some_and(|volume| volume.loss_epoch != grant.after.loss_epoch) {
            self.losses.push(now);
        }
        let mut judge = |property, verdict: Result<(), String>| {
            if let Err(text) = verdict {
                violations.push(Violation { property, at: now, text });
            }
        };
        judge("P1", self.p1.granted(&grant));
        if grant.before.is_some() {
            judge("P3", self.p3.granted(&grant, nodes));
            judge("P4", self.p4.granted(&grant, before, after));
        }
    }

    pub fn sent(&mut self, now: Time, envelope: &Envelope, decided: &ClusterState, violations: &mut Vec<Violation>) {
        if let Err(text) = self.p1.sent(envelope) {
            violations.push(Violation { property: "P1", at: now, text });
        }
        self.p3.sent(envelope, decided);
    }

    pub fn replied(
        &mut self,
        now: Time,
        from: (NodeId, Incarnation),
        mode: ServeMode,
        result: &FileResult,
        decided: &ClusterState,
        violations: &mut Vec<Violation>,
    ) {
        if let Err(text) = self.p1.replied(from, mode, result, decided) {
            violations.push(Violation { property: "P1", at: now, text });
        }
    }

    pub fn approved(&mut self, proposal: ProposalId, evidence: Digest) {
        self.p4.approved(proposal, evidence);
    }
}
