//! A quorum that two people make out of one node, because a majority is gone for good (docs/decisions/0014-forced-quorum.md).
//!
//! No command: nobody can propose it, and no majority decides it. It is applied once, offline, to what the survivor knows, where its
//! consensus group is made anew.

use super::Applied;
use crate::audit::{AuditEvent, Event};
use crate::command::Actor;
use crate::input;
use crate::policy::ChangeId;
use crate::refusal::{Refusal, RefusalKind};
use crate::state::{ClusterState, Forced, MaintenanceId, NodeKind, Policy, VolumeState};
use mainstay_protocol::planted::{Bug, planted};
use mainstay_protocol::{Epoch, NodeId, ProposalId, Timestamp, VolumeId};
use std::collections::BTreeSet;

/// Epochs that the lost nodes may have granted each other unseen. None of them is granted again (R1).
const EPOCHS_SKIPPED: u64 = 1 << 20;
/// Numbers of proposals, changes, maintenances and volumes that they may have given out.
const NUMBERS_SKIPPED: u32 = 1 << 10;
/// Numbers of nodes: certificates name them.
const NODES_SKIPPED: u16 = 1 << 6;

/// What two people say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForcedQuorum {
    /// Goes on alone; every other node is lost, and none of them ever comes back as it was.
    pub survivor: NodeId,
    /// The volumes of which the survivor has no copy, by name: they are given up. And any that it is out of sync for, where its copy can
    /// be of no use: nothing but this ever takes such a volume away.
    pub without: BTreeSet<String>,
    pub by: (Actor, Actor),
    pub reason: String,
    pub at: Timestamp,
}

impl ClusterState {
    /// Makes the survivor the only node there is. No volume has a primary afterwards, nothing that was open stays open, and who serves is
    /// proposed and approved as ever.
    ///
    /// # Errors
    /// One person, a witness, or another list of volumes than those that would be gone. Nothing has changed then.
    pub fn force_quorum(&mut self, forced: &ForcedQuorum) -> Result<Vec<AuditEvent>, Refusal> {
        let refused = |kind| Refusal::new("forcing a quorum", kind);
        self.check_forced(forced).map_err(refused)?;
        self.version += 1;
        let before = self.audit.count;
        let lost: Vec<String> = self.nodes.iter().filter(|(id, _)| **id != forced.survivor).map(|(_, n)| n.name.clone()).collect();
        let ids: Vec<VolumeId> = self.volumes.keys().copied().collect();
        for id in ids {
            self.force_volume(id, forced, &lost);
        }
        self.forget_lost(forced.survivor);
        self.skip_numbers();
        self.count_members();
        let number = self.membership.number;
        self.volumes.values_mut().for_each(|volume| volume.members.known = number);
        self.settle_members();
        let (first, second) = &forced.by;
        let text = format!(
            "{first} and {second} FORCED A QUORUM of {} alone: {} never come back. What they decided unseen is unknown: {}",
            self.node_name(forced.survivor),
            lost.join(", "),
            input::clip(&forced.reason)
        );
        self.record(forced.at, first, None, Event::QuorumForced { survivor: forced.survivor }, text);
        self.void_changes(forced.at);
        self.void_what_changed(forced.at);
        self.close_maintenance(forced.at);
        self.assert_invariants();
        Ok(self.audit.after(before).map(|event| AuditEvent::clone(event)).collect())
    }

    fn check_forced(&self, forced: &ForcedQuorum) -> Applied {
        let (first, second) = &forced.by;
        input::person(first)?;
        input::person(second)?;
        input::text("reason", &forced.reason)?;
        self.not_revoked(first)?;
        self.not_revoked(second)?;
        if first == second {
            return Err(RefusalKind::ForcedByOne(first.clone()));
        }
        let known = self.known_node(forced.survivor)?;
        if known.kind == NodeKind::Witness {
            return Err(RefusalKind::Witness(known.name.clone()));
        }
        if self.nodes.len() == 1 {
            return Err(RefusalKind::ForcedAlone(known.name.clone()));
        }
        let without = |held: fn(&VolumeState, &NodeId) -> bool| -> BTreeSet<&String> {
            self.volumes.values().filter(|volume| !held(volume, &forced.survivor)).map(|volume| &volume.name).collect()
        };
        let gone = without(|volume, node| volume.replicas.contains(node));
        let lacking = without(|volume, node| volume.in_sync.contains_key(node));
        let named: BTreeSet<&String> = forced.without.iter().collect();
        let unnamed: Vec<&str> = gone.difference(&named).map(|name| name.as_str()).collect();
        if !unnamed.is_empty() {
            return Err(RefusalKind::ForcedWithout { node: known.name.clone(), volumes: unnamed.join(", ") });
        }
        match named.difference(&lacking).next() {
            Some(name) => Err(RefusalKind::ForcedForNothing((*name).clone(), known.name.clone())),
            None => Ok(()),
        }
    }

    fn force_volume(&mut self, id: VolumeId, forced: &ForcedQuorum, newly_lost: &[String]) {
        let (first, at) = (&forced.by.0, forced.at);
        self.fail_granted(id, "a quorum was forced", first, at);
        if forced.without.contains(&self.volumes[&id].name) {
            let text = format!("volume {} is gone: it was given up by name", self.volume_label(id));
            self.volumes.remove(&id);
            self.proposals.retain(|_, proposal| proposal.volume != id);
            return self.record(at, first, Some(id), Event::Note, text);
        }
        let primary = self.volumes[&id].last_primary;
        // Forced before, and nothing was granted since: what was given up then is still given up.
        let before = self.volumes[&id].forced.clone();
        let mut lost = before.iter().flat_map(|before| before.lost.clone()).collect::<Vec<_>>();
        lost.extend(newly_lost.iter().filter(|name| !lost.contains(name)).cloned().collect::<Vec<_>>());
        let word = Forced {
            at,
            by: forced.by.clone(),
            reason: input::clip(&forced.reason),
            lost,
            primary: primary.map(|node| self.node_name(node)).or(before.and_then(|before| before.primary)),
        };
        let boot = self.nodes[&forced.survivor].incarnation;
        self.with_volume(id, |volume| {
            cut_down(volume, forced.survivor, word);
            if planted(Bug::ForcedIsWhole) {
                volume.in_sync.insert(forced.survivor, boot);
            }
        });
    }

    fn forget_lost(&mut self, survivor: NodeId) {
        self.nodes.retain(|id, _| *id == survivor);
        self.maintenance.retain(|_, maintenance| maintenance.node == survivor);
        // A token that was spent unseen must not be spent again.
        self.tokens.clear();
    }

    fn skip_numbers(&mut self) {
        let skipped = u64::from(NUMBERS_SKIPPED);
        self.last_node = NodeId(self.last_node.0.saturating_add(NODES_SKIPPED));
        self.last_volume = VolumeId(self.last_volume.0.saturating_add(NUMBERS_SKIPPED));
        self.last_proposal = ProposalId(self.last_proposal.0.saturating_add(skipped));
        self.last_maintenance = MaintenanceId(self.last_maintenance.0.saturating_add(skipped));
        self.control.last_change = ChangeId(self.control.last_change.0.saturating_add(skipped));
    }
}

/// The survivor's copy is all there is. Whether it was in sync stays as it is known: otherwise two people name the loss (R5).
fn cut_down(volume: &mut VolumeState, survivor: NodeId, word: Forced) {
    // The survivor's own process is not running while this is done, so it serves nothing.
    volume.fenced = volume.last_primary == Some(survivor);
    volume.last_primary = volume.last_primary.filter(|node| *node == survivor);
    volume.reign = None;
    volume.fenced_by = None;
    volume.epoch = Epoch(volume.epoch.0.saturating_add(EPOCHS_SKIPPED));
    volume.replicas = BTreeSet::from([survivor]);
    volume.in_sync.retain(|node, _| *node == survivor);
    volume.in_sync_version += 1;
    volume.left_in_sync.retain(|node, _| *node == survivor);
    volume.members.version += 1;
    volume.members.removed.retain(|node, _| *node == survivor);
    if volume.policy == Policy::Guarded {
        volume.policy = Policy::Manual;
    }
    volume.forced = Some(word);
}
