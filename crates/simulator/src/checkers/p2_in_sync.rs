//! Before P2 can be violated: what a primary calls committed is held by every member of the in-sync set that the cluster has decided
//! (R4), whether or not the primary knows of that decision yet. A member without it would be promoted without it.

use super::{Finding, Nodes};
use crate::world::VOLUME;
use mainstay_cluster::{ClusterState, Rule};
use mainstay_protocol::peer::Envelope;
use mainstay_protocol::{Epoch, Incarnation, NodeId, PeerMessage, Position};

/// Highest durable commit point that the primary of an epoch has announced.
#[derive(Default)]
pub struct InSync {
    epoch: Epoch,
    durable: Position,
}

/// What a running copy has on its disk; `None`: it does not run, and nobody can ask it.
fn durable(nodes: &Nodes, node: NodeId) -> Option<Position> {
    let replica = &nodes.get(&node)?.process.as_ref()?.replica;
    Some(replica.volume()?.durable())
}

fn lacks(decided: &ClusterState, node: NodeId, (has, needed): (Position, Position)) -> Finding {
    let name = decided.node_name(node);
    (Rule::R4, format!("{needed} is committed, but {name}, which is in the in-sync set, has only {has} on its disk"))
}

impl InSync {
    /// The primary tells how far everything is committed.
    pub fn sent(&mut self, to: NodeId, envelope: &Envelope, decided: &ClusterState, nodes: &Nodes) -> Option<Finding> {
        let PeerMessage::Append { epoch, commit_durable, .. } = envelope.message else { return None };
        let volume = &decided.volumes[&VOLUME];
        if volume.epoch != epoch || !volume.reigns(envelope.from, envelope.incarnation) {
            return None;
        }
        self.durable = if self.epoch == epoch { self.durable.max(commit_durable) } else { commit_durable };
        self.epoch = epoch;
        // The member that is spoken to; there are two copies, and the other one speaks.
        let member = volume.in_sync.contains_key(&to);
        let has = durable(nodes, to).filter(|has| member && *has < self.durable)?;
        Some(lacks(decided, to, (has, self.durable)))
    }

    /// A new member holds everything from before.
    pub fn decided(&mut self, before: &ClusterState, after: &ClusterState, nodes: &Nodes) -> Option<Finding> {
        let (old, new) = (before.volumes.get(&VOLUME)?, after.volumes.get(&VOLUME)?);
        if old.epoch != new.epoch || new.epoch != self.epoch {
            return None;
        }
        let added = |(node, boot): &(&NodeId, &Incarnation)| old.in_sync.get(node) != Some(boot);
        new.in_sync.iter().filter(added).find_map(|(node, _)| {
            let has = durable(nodes, *node).filter(|has| *has < self.durable)?;
            Some(lacks(after, *node, (has, self.durable)))
        })
    }
}
