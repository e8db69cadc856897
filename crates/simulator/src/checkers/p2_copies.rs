//! Before P2 can be violated: a copy that is taken away is one of enough (R4). Judged by the copies themselves, not by what the cluster
//! believes of them.

use super::{Finding, Nodes};
use crate::world::VOLUME;
use mainstay_cluster::{ChangeState, ClusterState, Rule, Wish};
use mainstay_protocol::NodeId;

/// Whether two people have just agreed that one copy is enough.
fn agreed(before: &ClusterState, after: &ClusterState, node: NodeId) -> bool {
    after.control.changes.iter().any(|(id, change)| {
        let new = before.control.changes.get(id).is_none_or(|old| old.state == ChangeState::Pending);
        let of = matches!(&change.wish, Wish::RemoveReplica { node: of, .. } if *of == node);
        match &change.state {
            ChangeState::Done { by, .. } => new && of && *by != change.asked_by,
            _ => false,
        }
    })
}

/// Copies that hold all that the primary has made durable with the others: complete, and of the agreed set.
fn whole(after: &ClusterState, nodes: &Nodes) -> usize {
    let volume = &after.volumes[&VOLUME];
    let complete = |node: &&NodeId| {
        let copy = nodes.get(node).and_then(|known| known.process.as_ref()).map(|process| process.replica.volume());
        // Who does not run at this moment cannot be asked.
        copy.is_none_or(|copy| copy.is_some_and(|copy| copy.complete()))
    };
    volume.in_sync.keys().filter(complete).count()
}

pub fn decided(before: &ClusterState, after: &ClusterState, nodes: &Nodes) -> Option<Finding> {
    let (old, new) = (before.volumes.get(&VOLUME)?, after.volumes.get(&VOLUME)?);
    let node = *old.replicas.difference(&new.replicas).next()?;
    let name = after.node_name(node);
    if old.primary() == Some(node) {
        return Some((Rule::R4, format!("the copy on {name} was taken away while it was the primary")));
    }
    let left = whole(after, nodes);
    (left < 2 && !agreed(before, after, node))
        .then(|| (Rule::R4, format!("the copy on {name} was taken away by one person, and {left} whole copy stays")))
}
