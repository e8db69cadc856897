//! Volumes: creation, the in-sync set (R4), and the beginning and end of a reign.

use super::Applied;
use crate::audit::Event;
use crate::command::{Actor, Command};
use crate::input;
use crate::limits::{FAILED_PLANS_MAX, VOLUMES_MAX};
use crate::policy::{PolicySet, VolumeRules};
use crate::refusal::RefusalKind;
use crate::state::{
    Breaker, ClusterState, FailedPlan, LeftInSync, NodeKind, Policy, ProposalState, Reign, ReignState, VolumeMembers, VolumeState,
};
use mainstay_protocol::{Epoch, Incarnation, NodeId, ProposalId, Timestamp, VolumeId};
use std::collections::{BTreeMap, BTreeSet};

/// A node in one of its boots.
pub(super) type Boot = (NodeId, Incarnation);

impl ClusterState {
    /// R7: creating is the person's approval of the first grant. All copies are empty, hence equal.
    pub(super) fn create_volume(&mut self, command: &Command) -> Applied {
        let Command::CreateVolume { name, replicas, primary, policy, without_primary, export, actor, at } = command else {
            return Ok(());
        };
        input::person(actor)?;
        input::label("volume", name)?;
        input::export(export)?;
        self.check_new_volume(name, &export.service_address)?;
        if *policy == Policy::Guarded {
            return Err(RefusalKind::GuardedPolicy);
        }
        let in_sync = self.first_in_sync(replicas)?;
        let Some(incarnation) = in_sync.get(primary).copied() else {
            return Err(RefusalKind::PrimaryNotReplica(self.node_name(*primary)));
        };
        let made_so = PolicySet { by: actor.clone(), reason: "it was made so".into(), at: *at, approved: None };
        self.last_volume = VolumeId(self.last_volume.0 + 1);
        let volume = VolumeState {
            name: name.clone(),
            epoch: Epoch(1),
            served_epoch: Epoch(0),
            loss_epoch: 1,
            reign: Some(Reign { node: *primary, incarnation, state: ReignState::CatchingUp }),
            last_primary: Some(*primary),
            fenced: false,
            in_sync,
            in_sync_version: 1,
            replicas: replicas.clone(),
            policy: *policy,
            without_primary: *without_primary,
            open_proposal: None,
            breaker: Breaker::default(),
            export: export.clone(),
            created_at: *at,
            rules: VolumeRules { policy_set: Some(made_so), ..VolumeRules::default() },
            left_in_sync: BTreeMap::new(),
            members: VolumeMembers { known: self.membership.number, ..VolumeMembers::default() },
            fenced_by: None,
            forced: None,
        };
        let text = format!("{actor} made volume {name} on {}, primary {}", self.names(replicas.iter()), self.node_name(*primary));
        assert!(self.volumes.insert(self.last_volume, volume).is_none(), "a volume's id is never reused");
        self.record(*at, actor, Some(self.last_volume), Event::VolumeCreated { primary: *primary }, text);
        Ok(())
    }

    /// Names end up in export paths, addresses on interfaces: neither can be shared.
    fn check_new_volume(&self, name: &str, service_address: &str) -> Applied {
        if self.volumes.len() >= VOLUMES_MAX {
            return Err(RefusalKind::LimitReached { what: "volumes".into(), max: VOLUMES_MAX });
        }
        let taken = |what: &str, value: &str, owner: &VolumeState| {
            Err(RefusalKind::Taken { what: what.into(), value: value.into(), owner: format!("volume {}", owner.name) })
        };
        for other in self.volumes.values() {
            if other.name.eq_ignore_ascii_case(name) {
                return taken("volume name", name, other);
            }
            // An address follows one primary.
            if other.export.service_address == service_address {
                return taken("service address", service_address, other);
            }
        }
        Ok(())
    }

    /// Every replica, in the boot that it is in: all copies are empty, so all are complete.
    fn first_in_sync(&self, replicas: &BTreeSet<NodeId>) -> Result<BTreeMap<NodeId, Incarnation>, RefusalKind> {
        let boot = |id: &NodeId| {
            let node = self.known_node(*id)?;
            match node.kind {
                NodeKind::Witness => Err(RefusalKind::Witness(node.name.clone())),
                NodeKind::FileServer if node.incarnation.0 == 0 => Err(RefusalKind::NeverBooted(node.name.clone())),
                NodeKind::FileServer => Ok((*id, node.incarnation)),
            }
        };
        replicas.iter().map(boot).collect()
    }

    /// The volume, if `boot` holds the grant of `epoch` (R2, R3).
    pub(super) fn reigning(&self, id: VolumeId, epoch: Epoch, boot: Boot) -> Result<&VolumeState, RefusalKind> {
        let volume = self.known_volume(id)?;
        let node = self.known_node(boot.0)?.name.clone();
        if epoch != volume.epoch {
            return Err(RefusalKind::StaleEpoch { given: epoch, current: volume.epoch });
        }
        if volume.reigns(boot.0, boot.1) {
            return Ok(volume);
        }
        let held = |reign: Reign| format!("held by {} in boot {}", self.node_name(reign.node), reign.incarnation);
        let holder = volume.reign.map_or("over".to_string(), held);
        Err(RefusalKind::NotGranted { node, given: boot.1, epoch, holder })
    }

    /// As [`Self::reigning`], for changes of the in-sync set: only the primary makes them, and only of the set that it decided
    /// on (R4).
    fn set_owner(&self, id: VolumeId, epoch: Epoch, boot: Boot, expected: u64) -> Result<&VolumeState, RefusalKind> {
        let volume = self.known_volume(id)?;
        let node = self.known_node(boot.0)?.name.clone();
        match volume.reign {
            Some(reign) if reign.node != boot.0 && epoch == volume.epoch => {
                return Err(RefusalKind::NotThePrimary { node, primary: self.node_name(reign.node) });
            }
            _ => self.reigning(id, epoch, boot)?,
        };
        match volume.in_sync_version == expected {
            true => Ok(volume),
            false => Err(RefusalKind::SetChanged { expected, current: volume.in_sync_version }),
        }
    }

    /// R4: decided before the primary acknowledges anything without `remove`.
    pub(super) fn shrink_in_sync(&mut self, command: &Command) -> Applied {
        let Command::ShrinkInSync { volume: id, epoch, node, incarnation, remove, expected, reason, at } = command else {
            return Ok(());
        };
        let volume = self.set_owner(*id, *epoch, (*node, *incarnation), *expected)?;
        let name = self.known_node(*remove)?.name.clone();
        if remove == node {
            return Err(RefusalKind::RemovesItself(name));
        }
        let member = volume.in_sync.contains_key(remove);
        // The version moves even when there is nothing to remove: a growth of `remove` that is still under way somewhere can
        // then never be decided, and the primary may stop waiting for it.
        let left = LeftInSync { at: *at, by: *node, reason: input::clip(reason) };
        self.with_volume(*id, |volume| {
            volume.in_sync.remove(remove);
            volume.in_sync_version += 1;
            if member {
                volume.left_in_sync.insert(*remove, left);
            }
        });
        if !member {
            return Ok(());
        }
        let alone = self.volumes.get(id).is_some_and(|volume| volume.waits_for_second_copy());
        let waits = if alone { "; no change is acknowledged until a second copy is in sync" } else { "" };
        let text = format!("{name} left the in-sync set of {}: {}{waits}", self.volume_label(*id), input::clip(reason));
        self.record(*at, &Actor::Node(*node), Some(*id), Event::InSyncShrunk { removed: *remove }, text);
        Ok(())
    }

    /// R9: a node that returned is added in the boot that was verified, and in no other.
    pub(super) fn grow_in_sync(&mut self, command: &Command) -> Applied {
        let Command::GrowInSync { volume: id, epoch, node, incarnation, add, added_incarnation, position, expected, at } = command
        else {
            return Ok(());
        };
        let volume = self.set_owner(*id, *epoch, (*node, *incarnation), *expected)?;
        self.holds_data(*add, &volume.name, &volume.replicas)?;
        let added = self.known_node(*add)?;
        let (given, current) = (*added_incarnation, added.incarnation);
        if given != current {
            return Err(RefusalKind::ReturnedUnverified { node: added.name.clone(), given, current });
        }
        if volume.in_sync.get(add) == Some(&given) {
            return Ok(());
        }
        let text = format!("{} is in sync for {} at {position}, boot {given}", added.name, volume.name);
        self.with_volume(*id, |volume| {
            volume.in_sync.insert(*add, given);
            volume.in_sync_version += 1;
            volume.left_in_sync.remove(add);
        });
        let event = Event::InSyncGrown { added: *add, incarnation: given, position: *position };
        self.record(*at, &Actor::Node(*node), Some(*id), event, text);
        Ok(())
    }

    /// A report, not a gate: the grant is what lets it serve. It closes the promotion by its good outcome (R8).
    pub(super) fn serving(&mut self, id: VolumeId, epoch: Epoch, boot: Boot, at: Timestamp) -> Applied {
        let volume = self.reigning(id, epoch, boot)?;
        if volume.reign.is_some_and(|reign| reign.state == ReignState::Serving) {
            return Ok(());
        }
        self.with_volume(id, |volume| {
            if let Some(reign) = &mut volume.reign {
                reign.state = ReignState::Serving;
            }
            volume.served_epoch = epoch;
            // What failed before an epoch that served is not the same plan any more. A breaker that is open stays for a person.
            if !volume.breaker.open {
                volume.breaker.failed.clear();
            }
        });
        let text = format!("{} serves {} in epoch {epoch}", self.node_name(boot.0), self.volume_label(id));
        self.record(at, &Actor::Node(boot.0), Some(id), Event::Serving { epoch, primary: boot.0 }, text);
        self.served(id, boot.0, at);
        Ok(())
    }

    /// The granted node's own word that it cannot serve. A promotion that fails so opens the breaker (R8).
    pub(super) fn grant_failed(&mut self, id: VolumeId, epoch: Epoch, boot: Boot, reason: &str, at: Timestamp) -> Applied {
        if self.gave_up(id, epoch, boot) {
            return Ok(());
        }
        let volume = self.reigning(id, epoch, boot)?;
        let promoted = volume.reign.is_some_and(|reign| reign.state == ReignState::CatchingUp);
        let reason = input::clip(reason);
        if promoted {
            self.open_breaker(id, boot.0, &reason, at);
        }
        self.end_reign(id, &reason, at);
        Ok(())
    }

    /// R13: the primary's own demotion is proof that its lease is over.
    pub(super) fn step_down(&mut self, id: VolumeId, epoch: Epoch, boot: Boot, at: Timestamp) -> Applied {
        if self.gave_up(id, epoch, boot) {
            return Ok(());
        }
        self.reigning(id, epoch, boot)?;
        self.end_reign(id, "it stepped down", at);
        Ok(())
    }

    /// Whether this boot's reign of `epoch` ended by its own word already: a repetition.
    fn gave_up(&self, id: VolumeId, epoch: Epoch, boot: Boot) -> bool {
        let same_boot = self.nodes.get(&boot.0).is_some_and(|node| node.incarnation == boot.1);
        let over = |v: &VolumeState| v.epoch == epoch && v.reign.is_none() && v.fenced && v.last_primary == Some(boot.0);
        same_boot && self.volumes.get(&id).is_some_and(over)
    }

    /// Ends a reign by the word of the node that held it. The epoch stays: it is spent.
    pub(super) fn end_reign(&mut self, id: VolumeId, why: &str, at: Timestamp) {
        let Some(reign) = self.volumes.get(&id).and_then(|volume| volume.reign) else { return };
        let epoch = self.volumes[&id].epoch;
        self.with_volume(id, |volume| {
            volume.reign = None;
            volume.fenced = true;
        });
        let (name, volume) = (self.node_name(reign.node), self.volume_label(id));
        let text = format!("{volume} has no primary: {name} ended its reign of epoch {epoch}: {why}");
        self.record(at, &Actor::Node(reign.node), Some(id), Event::ReignEnded { epoch, node: reign.node }, text);
        self.fail_granted(id, &format!("{name}: {why}"), &Actor::Cluster, at);
    }

    /// Nothing is promoted until a person acts: neither this candidate, nor another that would meet the same cause (P5).
    fn open_breaker(&mut self, id: VolumeId, candidate: NodeId, reason: &str, at: Timestamp) {
        let epoch = self.volumes.get(&id).map(|volume| volume.epoch);
        let granted = self.proposals.iter().find(|(_, p)| p.volume == id && p.granted.is_some() && p.granted == epoch);
        // Zero stands for the grant that came with the volume's creation.
        let proposal = granted.map_or(ProposalId(0), |(proposal, _)| *proposal);
        self.remember_failure(id, candidate, proposal, reason, at);
        self.with_volume(id, |volume| volume.breaker.open = true);
        let text = format!("breaker of {} opened: {reason}", self.volume_label(id));
        self.record(at, &Actor::Cluster, Some(id), Event::BreakerOpened, text);
    }

    /// R8: the same plan is not tried again unchanged.
    pub(super) fn remember_failure(&mut self, id: VolumeId, candidate: NodeId, proposal: ProposalId, reason: &str, at: Timestamp) {
        let failed = FailedPlan { plan: self.plan_digest(id, candidate), proposal, reason: reason.to_string(), at };
        self.with_volume(id, |volume| {
            let plans = &mut volume.breaker.failed;
            plans.retain(|old| old.plan != failed.plan);
            plans.push(failed);
            if plans.len() > FAILED_PLANS_MAX {
                plans.remove(0);
            }
        });
    }

    /// Closes the promotion whose grant ended before it served.
    pub(super) fn fail_granted(&mut self, id: VolumeId, reason: &str, actor: &Actor, at: Timestamp) {
        let Some((proposal, open)) = self.open_proposal(id) else { return };
        if open.state != ProposalState::CatchingUp {
            return;
        }
        let candidate = open.candidate;
        let epoch = open.granted.unwrap_or_default();
        self.remember_failure(id, candidate, proposal, reason, at);
        self.close(proposal, ProposalState::Failed { reason: reason.to_string() });
        let text = format!("promotion {proposal} of {} failed: {reason}", self.node_name(candidate));
        self.record(at, actor, Some(id), Event::PromotionFailed { proposal, epoch, candidate }, text);
    }

    /// R5: only a copy that nobody needs, while another one serves that it can be made again from. The node does it when it starts next.
    pub(super) fn set_aside_copy(&mut self, id: VolumeId, node: NodeId, reason: &str, actor: &Actor, at: Timestamp) -> Applied {
        input::person(actor)?;
        input::text("reason", reason)?;
        let volume = self.known_volume(id)?;
        self.holds_data(node, &volume.name, &volume.replicas)?;
        let name = self.node_name(node);
        if volume.in_sync.contains_key(&node) || volume.primary() == Some(node) {
            return Err(RefusalKind::CopyNeeded(name));
        }
        if !volume.reign.is_some_and(|reign| reign.state == ReignState::Serving) {
            return Err(RefusalKind::NothingToCopyFrom(volume.name.clone(), name));
        }
        let text = format!("{actor} has the copy of {} on {name} set aside and made again: {reason}", volume.name);
        self.record(at, actor, Some(id), Event::CopySetAside { node }, text);
        Ok(())
    }

    /// The volume is known to exist wherever this is called; None keeps a bug from becoming a panic.
    pub(super) fn with_volume<T>(&mut self, id: VolumeId, change: impl FnOnce(&mut VolumeState) -> T) -> Option<T> {
        self.volumes.get_mut(&id).map(change)
    }
}
