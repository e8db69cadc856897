//! Who is in the cluster and who holds what, while it runs: replicas added and removed (R4), nodes removed, and the one rule about
//! majorities: they change by one node at a time (R13, docs/decisions/0012-membership.md).

use super::Applied;
use super::volumes::Boot;
use crate::audit::Event;
use crate::command::{Actor, Command};
use crate::input;
use crate::limits::REPLICAS_MAX;
use crate::policy::{Alone, Wish};
use crate::refusal::RefusalKind;
use crate::state::{ClusterState, NodeKind, Proposal, ReignState, VolumeState};
use mainstay_protocol::planted::{Bug, planted};
use mainstay_protocol::{Epoch, NodeId, Timestamp, VolumeId};
use std::collections::BTreeSet;

/// Copies in sync below which one person alone removes no replica.
pub(super) const COPIES_MIN: usize = 2;
/// Two sets of members that differ by more have majorities that do not meet.
const MEMBERS_APART_MAX: usize = 1;

impl ClusterState {
    // ---- replicas ------------------------------------------------------------------------------------------------------

    /// It begins empty and outside of the in-sync set, so nothing waits for it and nobody promotes it (R11).
    pub(super) fn add_replica(&mut self, command: &Command) -> Applied {
        let Command::AddReplica { volume: id, node, expected, reason, actor, at } = command else { return Ok(()) };
        input::person(actor)?;
        input::text("reason", reason)?;
        let volume = self.known_volume(*id)?;
        let known = self.known_node(*node)?;
        if known.kind == NodeKind::Witness {
            return Err(RefusalKind::Witness(known.name.clone()));
        }
        if volume.replicas.contains(node) {
            return Ok(());
        }
        Self::replicas_as_seen(volume, *expected)?;
        let (boot, name, label) = (known.incarnation, known.name.clone(), volume.name.clone());
        match volume.members.removed.get(node) {
            _ if boot.0 == 0 => return Err(RefusalKind::NeverBooted(name)),
            Some(then) if *then >= boot => return Err(RefusalKind::RemovedInThisBoot { node: name, volume: label, boot }),
            _ if volume.replicas.len() >= REPLICAS_MAX => {
                return Err(RefusalKind::LimitReached { what: format!("replicas of {label}"), max: REPLICAS_MAX });
            }
            _ => {}
        }
        self.with_volume(*id, |volume| {
            volume.replicas.insert(*node);
            volume.members.removed.remove(node);
            volume.members.version += 1;
        });
        let text = format!("{actor} added a replica of {label} on {name}; it begins empty: {reason}");
        self.record(*at, actor, Some(*id), Event::ReplicaAdded { node: *node }, text);
        Ok(())
    }

    /// R4: never the primary's, never one that may be missed, and never down to one copy unless two people say so.
    pub(super) fn remove_replica(&mut self, command: &Command) -> Applied {
        let Command::RemoveReplica { volume: id, node, expected, accept_single, reason, actor, at } = command else {
            return Ok(());
        };
        input::person(actor)?;
        input::text("reason", reason)?;
        let volume = self.known_volume(*id)?;
        self.holds_data(*node, &volume.name, &volume.replicas)?;
        Self::replicas_as_seen(volume, *expected)?;
        let left = self.left_without(volume, *node)?;
        if left.len() >= COPIES_MIN || planted(Bug::RemoveLastCopies) {
            self.drop_replica(*id, *node, actor, reason, *at);
            return Ok(());
        }
        if *accept_single {
            return self.ask(Wish::RemoveReplica { volume: *id, node: *node, left }, reason, actor, *at);
        }
        let (node, volume) = (self.node_name(*node), volume.name.clone());
        Err(RefusalKind::RemovesRedundancy { node, volume, left: self.names(left.iter()) })
    }

    fn replicas_as_seen(volume: &VolumeState, expected: u64) -> Applied {
        match volume.members.version {
            current if current == expected => Ok(()),
            current => Err(RefusalKind::ReplicasChanged { volume: volume.name.clone(), expected, current }),
        }
    }

    /// The copies that stay and are known to be whole: in sync in the boot that they are in, and not on their way out. The primary is
    /// always among them.
    fn left_without(&self, volume: &VolumeState, node: NodeId) -> Result<BTreeSet<NodeId>, RefusalKind> {
        let name = volume.name.clone();
        match volume.reign {
            Some(reign) if reign.node == node => {
                return Err(RefusalKind::RemovesPrimary { node: self.node_name(node), volume: name });
            }
            // Which copy reaches farthest is known when one serves; before, this one may be it.
            Some(reign) if reign.state == ReignState::Serving => {}
            _ => return Err(RefusalKind::RemovesUnserved { volume: name }),
        }
        if volume.replicas.len() <= COPIES_MIN && volume.rules.alone == Alone::ReadOnly {
            return Err(RefusalKind::WantsTwoReplicas(name));
        }
        let whole = |(id, boot): (&NodeId, &_)| {
            self.nodes.get(id).is_some_and(|known| known.incarnation == *boot && known.left.is_none()) && *id != node
        };
        let left: BTreeSet<NodeId> = volume.in_sync.iter().filter(|copy| whole(*copy)).map(|(id, _)| *id).collect();
        Ok(left.into_iter().chain(volume.primary()).collect())
    }

    /// A change that two people make is void when other copies would stay than they looked at (R14).
    pub(super) fn still_removable(&self, id: VolumeId, node: NodeId, left: &BTreeSet<NodeId>) -> bool {
        let volume = self.volumes.get(&id).filter(|volume| volume.replicas.contains(&node));
        volume.is_some_and(|volume| self.left_without(volume, node).is_ok_and(|now| now == *left))
    }

    /// The set shrinks with it, before the primary can stop waiting for it (R4); a growth that is still under way finds another version.
    pub(super) fn drop_replica(&mut self, id: VolumeId, node: NodeId, actor: &Actor, reason: &str, at: Timestamp) {
        let boot = self.nodes.get(&node).map(|known| known.incarnation).unwrap_or_default();
        self.with_volume(id, |volume| {
            assert!(volume.primary() != Some(node), "R4: the primary's copy is never removed");
            volume.replicas.remove(&node);
            volume.in_sync.remove(&node);
            volume.left_in_sync.remove(&node);
            volume.in_sync_version += 1;
            volume.members.version += 1;
            volume.members.removed.insert(node, boot);
        });
        let (name, label) = (self.node_name(node), self.volume_label(id));
        let text = format!("{actor} removed the replica of {label} on {name}, which sets its copy aside: {}", input::clip(reason));
        self.record(at, actor, Some(id), Event::ReplicaRemoved { node }, text);
    }

    // ---- nodes ---------------------------------------------------------------------------------------------------------

    /// For good: its name may come back, its number never does.
    pub(super) fn remove_node(&mut self, command: &Command) -> Applied {
        let Command::RemoveNode { node, answering, reason, actor, at } = command else { return Ok(()) };
        input::person(actor)?;
        input::text("reason", reason)?;
        let name = self.known_node(*node)?.name.clone();
        let held: Vec<&str> = self.volumes.values().filter(|v| v.replicas.contains(node)).map(|v| v.name.as_str()).collect();
        if !held.is_empty() {
            return Err(RefusalKind::HoldsVolumes { node: name, volumes: held.join(", ") });
        }
        let stay: BTreeSet<NodeId> = self.voters().filter(|other| other != node).collect();
        self.answered_by_majority(&stay, answering)?;
        self.members_may_be(&stay)?;
        self.nodes.remove(node);
        self.tokens.retain(|_, token| token.used_for.as_deref() != Some(name.as_str()));
        self.maintenance.retain(|_, maintenance| maintenance.node != *node);
        self.volumes.values_mut().for_each(|volume| volume.members.removed.retain(|known, _| known != node));
        self.count_members();
        let text = format!("{actor} removed {name} ({node}) from the cluster: {reason}");
        self.record(*at, actor, None, Event::NodeRemoved { node: *node }, text);
        Ok(())
    }

    /// Those that stay must be able to decide, and to hold a lease, alone. Whoever is in maintenance may go at any moment.
    fn answered_by_majority(&self, stay: &BTreeSet<NodeId>, answering: &BTreeSet<NodeId>) -> Applied {
        let there = |node: &&NodeId| answering.contains(node) && self.maintenance_of(**node).is_none();
        let there: BTreeSet<NodeId> = stay.iter().filter(there).copied().collect();
        let needed = stay.len() / 2 + 1;
        if there.len() >= needed {
            return Ok(());
        }
        Err(RefusalKind::RemovesMajority { stay: self.names(stay.iter()), answering: self.names(there.iter()), needed })
    }

    // ---- majorities ----------------------------------------------------------------------------------------------------

    /// Whether these may be the members: no primary may count its lease with a set of which a majority misses one of theirs.
    pub(super) fn members_may_be(&self, next: &BTreeSet<NodeId>) -> Applied {
        let apart = |set: &BTreeSet<NodeId>| set.symmetric_difference(next).count() > MEMBERS_APART_MAX;
        for volume in self.volumes.values() {
            let Some(reign) = volume.reign else { continue };
            let mut counted = self.membership.counted.range(volume.members.known..).map(|(_, set)| set);
            if let Some(set) = counted.find(|set| apart(set)) {
                let (counted, next) = (self.names(set.iter()), self.names(next.iter()));
                let primary = self.node_name(reign.node);
                return Err(RefusalKind::MembersUnsettled { primary, volume: volume.name.clone(), counted, next });
            }
        }
        Ok(())
    }

    /// Gives the present members a number of their own, if they are others than before.
    pub(super) fn count_members(&mut self) {
        let now: BTreeSet<NodeId> = self.voters().collect();
        if self.membership.counted.last_key_value().map(|(_, set)| set) != Some(&now) {
            self.membership.number += 1;
            self.membership.counted.insert(self.membership.number, now);
        }
    }

    /// Forgets the members that no primary can count with any more.
    pub(super) fn settle_members(&mut self) {
        let reigns = self.volumes.values().filter(|volume| volume.reign.is_some());
        let oldest = reigns.map(|volume| volume.members.known).min().unwrap_or(self.membership.number);
        self.membership.counted.retain(|number, _| *number >= oldest.min(self.membership.number));
    }

    /// The primary's word. It never goes back to older members, so a late one says nothing new.
    pub(super) fn members_known(&mut self, id: VolumeId, epoch: Epoch, boot: Boot, members: u64) -> Applied {
        self.reigning(id, epoch, boot)?;
        let number = self.membership.number;
        if members > number {
            let (field, value) = ("number of the members", members.to_string());
            return Err(input::bad(field, &value, "was never given out"));
        }
        self.with_volume(id, |volume| volume.members.known = volume.members.known.max(members));
        Ok(())
    }

    /// R13: words of a majority of the members as they are now. A change of members voids the proposal, so every word is of a member.
    pub(super) fn promised_by_majority(&self, proposal: &Proposal) -> bool {
        let members: BTreeSet<NodeId> = self.voters().collect();
        let promised = proposal.lapsed.keys().filter(|node| members.contains(node)).count();
        // The planted bug: whoever joined last is not counted among all.
        let all = members.len() - usize::from(planted(Bug::OldMajority) && members.len() > 3);
        promised > all / 2
    }
}
