//! P3: only verified copies are promoted: a member of the in-sync set, whose copy is whole and holds everything that was ever
//! announced as committed.

use super::Grant;
use crate::world::{Node, VOLUME};
use mainstay_cluster::ClusterState;
use mainstay_protocol::peer::Envelope;
use mainstay_protocol::{Incarnation, NodeId, PeerMessage, Position};
use std::collections::BTreeMap;

#[derive(Default)]
pub struct VerifiedCopies {
    /// Highest commit points that a lawful primary has told a secondary.
    commit: Position,
    commit_durable: Position,
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

    pub fn granted(&mut self, grant: &Grant, nodes: &BTreeMap<NodeId, Node>) -> Result<(), String> {
        let before = grant.before.expect("the first grant is not judged");
        let Some(verified) = before.in_sync.get(&grant.node) else {
            return Err(format!("{} was granted {} but was not in sync: {:?}", grant.node, grant.after.epoch, before.in_sync));
        };
        let node = &nodes[&grant.node];
        let Some(volume) = node.process.as_ref().and_then(|process| process.replica.volume()) else {
            // It died between its word and the grant; what its disk holds is judged by P2 at its next life.
            return Ok(());
        };
        if !volume.complete() {
            return Err(format!("{} was granted {} with a copy in resync", grant.node, grant.after.epoch));
        }
        // Unsynced records may be gone with an earlier life's memory; the verifier says so (loss epoch).
        let whole_memory = *verified == Incarnation(node.incarnation);
        let needed = if whole_memory { self.commit } else { self.commit_durable };
        if !whole_memory {
            self.commit = self.commit_durable.max(volume.last().position);
        }
        match volume.last().position {
            last if last >= needed => Ok(()),
            last => {
                Err(format!("{} was granted {} with a copy up to {last}, {needed} is committed", grant.node, grant.after.epoch))
            }
        }
    }
}
