//! P3: only verified copies are promoted: a member of the in-sync set, whose copy is whole and holds everything that was ever
//! announced as committed.

use super::{Finding, Grant, Nodes};
use crate::world::VOLUME;
use mainstay_cluster::{Actor, ClusterState, Command, Proposal, Rule, VolumeState};
use mainstay_protocol::peer::Envelope;
use mainstay_protocol::{Incarnation, NodeId, PeerMessage, Position};
use mainstay_volume::Volume;
use std::collections::BTreeMap;

#[derive(Default)]
pub struct VerifiedCopies {
    /// Highest commit points that a lawful primary has told a secondary.
    commit: Position,
    commit_durable: Position,
    /// The durable one, when a node left the in-sync set: that much is on its disk.
    left: BTreeMap<NodeId, Position>,
    /// A quorum was forced with a copy that is known to lack something: two people name that before anybody is promoted.
    must_name: bool,
}

impl VerifiedCopies {
    pub fn sent(&mut self, envelope: &Envelope, decided: &ClusterState) {
        let PeerMessage::Append { epoch, commit, commit_durable, .. } = envelope.message else { return };
        let volume = &decided.volumes[&VOLUME];
        if volume.epoch == epoch && volume.reigns(envelope.from, envelope.incarnation) {
            self.commit = self.commit.max(commit);
            self.commit_durable = self.commit_durable.max(commit_durable);
        }
    }

    pub fn decided(&mut self, before: &ClusterState, after: &ClusterState) {
        let (Some(old), Some(new)) = (before.volumes.get(&VOLUME), after.volumes.get(&VOLUME)) else { return };
        for node in old.in_sync.keys().filter(|node| !new.in_sync.contains_key(node)) {
            self.left.insert(*node, self.commit_durable);
        }
        new.in_sync.keys().for_each(|node| _ = self.left.remove(node));
    }

    /// A quorum was forced. A survivor that was no member has nothing to be measured by: what was committed without it is given up.
    pub fn forced(&mut self, whole: bool, knows_that_it_lacks: bool) {
        if !whole {
            *self = VerifiedCopies::default();
        }
        self.must_name = knows_that_it_lacks;
    }

    /// Two people have named what is given up (R5): then no more than that is gone.
    fn given_up(&mut self, grant: &Grant, proposal: &Proposal, nodes: &Nodes) -> Vec<Finding> {
        let node = &nodes[&grant.node];
        let (epoch, name) = (grant.after.epoch, &grant.name);
        let mut found = Vec::new();
        let people = [Some(&proposal.proposer), proposal.approval.as_ref().map(|approval| &approval.actor)];
        let two = matches!(people, [Some(Actor::Person(first)), Some(Actor::Person(second))] if first != second);
        if !two {
            let text = format!("{name} was granted {epoch} although it lacks acknowledged writes, by the word of {people:?} alone");
            found.push((Rule::R5, text));
        }
        let Some(volume) = node.process.as_ref().and_then(|process| process.replica.volume()) else { return found };
        found.extend(in_resync(grant, volume));
        let last = volume.last().position;
        let named = proposal.evidence.loss.as_ref().map_or(Position(0), |loss| loss.after.position);
        let held = self.left.get(&grant.node).copied().unwrap_or_default();
        if last < named || last < held {
            let text = format!(
                "{name} was granted {epoch} with a copy that ends at {last}, but {named} was named, and {held} was committed when it left the set"
            );
            found.push((Rule::R5, text));
        }
        (self.commit, self.commit_durable) = (last, self.commit_durable.min(last));
        self.left.clear();
        found
    }

    pub fn granted(&mut self, grant: &Grant, after: &ClusterState, nodes: &Nodes) -> Vec<Finding> {
        let before = grant.before.expect("the first grant is not judged");
        let proposal = after.proposals.values().find(|proposal| proposal.granted == Some(grant.after.epoch));
        let must_name = std::mem::take(&mut self.must_name);
        if let Some(proposal) = proposal.filter(|proposal| proposal.evidence.loss.is_some()) {
            return self.given_up(grant, proposal, nodes);
        }
        let node = &nodes[&grant.node];
        let mut found = Vec::from_iter(not_in_sync(grant, before, node.incarnation));
        if must_name {
            let text = format!(
                "{} was granted {} by a forced quorum, and nobody named what its copy lacks",
                grant.name, grant.after.epoch
            );
            found.push((Rule::R5, text));
        }
        // If it died between its word and the grant, what its disk holds is judged by P2 at its next life.
        if let Some(volume) = node.process.as_ref().and_then(|process| process.replica.volume()) {
            let whole_memory = before.in_sync.get(&grant.node) == Some(&Incarnation(node.incarnation));
            found.extend(in_resync(grant, volume));
            found.extend(self.too_short(grant, volume, whole_memory));
        }
        found
    }

    fn too_short(&mut self, grant: &Grant, volume: &Volume, whole_memory: bool) -> Option<Finding> {
        // Unsynced records may be gone with an earlier life's memory; the verifier says so (loss epoch).
        let needed = if whole_memory { self.commit } else { self.commit_durable };
        let last = volume.last().position;
        if !whole_memory {
            self.commit = self.commit_durable.max(last);
        }
        let (name, epoch) = (&grant.name, grant.after.epoch);
        (last < needed).then(|| {
            let lost = needed.0 - last.0;
            (
                Rule::R5,
                format!("{name} was granted {epoch} with a copy that ends at {last}, {lost} records before what is committed"),
            )
        })
    }
}

/// A boot that was asked to stop does not offer itself: granted to it, the volume could have nobody else in sync when it is gone.
pub fn asked(from: NodeId, command: &Command, decided: &ClusterState, nodes: &Nodes) -> Option<Finding> {
    let Command::Lapsed { proposal, .. } = command else { return None };
    let candidate = decided.proposals.get(proposal)?.candidate;
    (candidate == from && nodes.get(&from)?.leaving).then(|| {
        let name = decided.node_name(from);
        (Rule::R3, format!("{name} was asked to stop, and gives its word as the candidate of {proposal}"))
    })
}

fn not_in_sync(grant: &Grant, before: &VolumeState, boot: u64) -> Option<Finding> {
    let (name, epoch) = (&grant.name, grant.after.epoch);
    (!before.in_sync.contains_key(&grant.node))
        .then(|| (Rule::R5, format!("{name} (boot {boot}) was granted {epoch}, but its copy was not in sync")))
}

fn in_resync(grant: &Grant, volume: &Volume) -> Option<Finding> {
    let (name, epoch) = (&grant.name, grant.after.epoch);
    (!volume.complete()).then(|| (Rule::R11, format!("{name} was granted {epoch} in the middle of its resync")))
}

/// In a switchover both copies end at the same record when the epoch is granted: nothing is left behind, and nothing has to be set
/// aside on the way back into the set.
pub fn handed_over(grant: &Grant, after: &ClusterState, nodes: &Nodes) -> Option<Finding> {
    let proposal = after.proposals.values().find(|proposal| proposal.granted == Some(grant.after.epoch))?;
    let (from, boot) = proposal.hand_over()?;
    let end = |node| Some(nodes.get(&node)?.process.as_ref()?.replica.volume()?.last());
    // One that has died since its word is judged at its next life.
    let old = end(from).filter(|_| nodes.get(&from).is_some_and(|node| Incarnation(node.incarnation) == boot))?;
    let new = end(grant.node).filter(|new| *new != old)?;
    let (name, from, epoch) = (&grant.name, after.node_name(from), grant.after.epoch);
    let text =
        format!("{name} was granted {epoch} by a switchover with a copy that ends at {new}, and that of {from} ends at {old}");
    Some((Rule::R5, text))
}
