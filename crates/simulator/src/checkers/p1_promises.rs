//! Part of P1: promises to reject what is old (R2). Seen from outside: what is on the nodes' disks when an epoch is granted, and that
//! a copy does not grow by records that its node has promised to reject.

use super::{Finding, Grant, Nodes};
use mainstay_cluster::{ClusterState, Rule};
use mainstay_protocol::{Epoch, LogPoint, NodeId, PeerMessage};
use mainstay_replica::{Replica, StoredPromise};
use std::collections::BTreeSet;

#[derive(Default)]
pub struct Promises {
    /// Nodes whose disk was set back on purpose: what they promised is gone.
    pub set_back: BTreeSet<NodeId>,
}

impl Promises {
    /// Before an epoch is granted, a majority and the node that will serve have promised it durably.
    pub fn granted(&self, grant: &Grant, after: &ClusterState, nodes: &Nodes) -> Option<Finding> {
        let epoch = grant.after.epoch;
        let kept = |id: &&NodeId| nodes.get(id).is_some_and(|node| node.promise.epoch >= epoch) || self.set_back.contains(id);
        let promised: BTreeSet<NodeId> = after.voters().filter(|id| kept(&id)).collect();
        if promised.contains(&grant.node) && promised.len() >= after.majority() {
            return None;
        }
        let names: Vec<String> = promised.iter().map(|node| after.node_name(*node)).collect();
        let who = if names.is_empty() { "none".into() } else { format!("only {}", names.join(" and ")) };
        let text = format!(
            "{epoch} was granted to {} when of {} nodes {who} had the promise to reject older epochs on disk; {} must, {} among them",
            grant.name,
            after.voters().count(),
            after.majority(),
            grant.name
        );
        Some((Rule::R2, text))
    }
}

/// A message with records of an older epoch than the node's promise, and where the copy ended before it.
#[derive(Clone, Copy, Debug)]
pub struct Stale {
    epoch: Epoch,
    promised: Epoch,
    last: LogPoint,
}

fn last(replica: &Replica) -> Option<LogPoint> {
    replica.volume().map(|volume| volume.last())
}

/// Whether a message must be rejected; looked at before it is handed to the replica.
pub fn before(message: &PeerMessage, promise: StoredPromise, replica: &Replica) -> Option<Stale> {
    match message {
        PeerMessage::Append { epoch, count: 1.., .. } if *epoch < promise.epoch => {
            Some(Stale { epoch: *epoch, promised: promise.epoch, last: last(replica)? })
        }
        _ => None,
    }
}

/// Whether it was rejected.
pub fn after(stale: Stale, replica: &Replica, name: &str) -> Option<Finding> {
    let now = last(replica).filter(|now| now.position > stale.last.position)?;
    let text = format!(
        "{name} took records of {} after it had promised {}: its copy grew from {} to {now}",
        stale.epoch, stale.promised, stale.last
    );
    Some((Rule::R2, text))
}
