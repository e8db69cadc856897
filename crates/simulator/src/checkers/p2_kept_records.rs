//! Before P2 can be violated: what a copy has called durable is there after any loss of power, and what the primary holds as well is
//! never taken back (R4, R9).

use super::{Finding, Nodes};
use crate::world::VOLUME;
use mainstay_cluster::{ClusterState, Rule};
use mainstay_protocol::peer::Envelope;
use mainstay_protocol::{LogPoint, NodeId, PeerMessage, Position};
use mainstay_replica::{Note, Replica};
use mainstay_volume::Volume;
use std::collections::BTreeMap;

/// Up to where each node has told the other that its copy is on disk.
#[derive(Default)]
pub struct KeptRecords {
    durable: BTreeMap<NodeId, Position>,
}

impl KeptRecords {
    pub fn sent(&mut self, envelope: &Envelope) {
        let (PeerMessage::Acknowledge { durable, .. } | PeerMessage::Append { commit_durable: durable, .. }) = envelope.message
        else {
            return;
        };
        let known = self.durable.entry(envelope.from).or_default();
        *known = durable.max(*known);
    }

    /// A copy that goes back, or begins to take over what changed, is another copy from there on.
    pub fn noted(&mut self, node: NodeId, note: &Note) {
        match note {
            Note::RolledBack { to, .. } => {
                let known = self.durable.entry(node).or_default();
                *known = (*known).min(*to);
            }
            Note::ResyncByChange { .. } => _ = self.durable.remove(&node),
            _ => {}
        }
    }

    /// A person has set the copy aside.
    pub fn rebuilt(&mut self, node: NodeId) {
        self.durable.remove(&node);
    }

    /// A copy was opened: it must reach as far as its node has told.
    pub fn opened(&mut self, node: NodeId, name: &str, volume: &Volume) -> Option<Finding> {
        let (told, has) = (self.durable.remove(&node)?, volume.durable());
        (has < told).then(|| {
            (Rule::R4, format!("{name} had told that its copy is on disk up to {told}; after its restart it ends at {has}"))
        })
    }
}

/// Where a copy ended before it was told to go back; looked at before the message is handed over.
pub fn before(message: &PeerMessage, replica: &Replica) -> Option<LogPoint> {
    match message {
        PeerMessage::RollBack { .. } => Some(replica.volume()?.last()),
        _ => None,
    }
}

/// Whether what it took back is the primary's history, too.
pub fn after(last: LogPoint, node: NodeId, decided: &ClusterState, nodes: &Nodes) -> Option<Finding> {
    let replica = |node: NodeId| Some(&nodes.get(&node)?.process.as_ref()?.replica);
    let now = replica(node)?.volume()?.last();
    let primary = decided.volumes.get(&VOLUME)?.primary().filter(|primary| *primary != node)?;
    let same = replica(primary)?.volume()?.point(last.position) == Some(last);
    (now.position < last.position && same).then(|| {
        let (name, primary) = (decided.node_name(node), decided.node_name(primary));
        (Rule::R9, format!("{name} took back its records from {now} to {last}, although {primary}, the primary, holds the same"))
    })
}
