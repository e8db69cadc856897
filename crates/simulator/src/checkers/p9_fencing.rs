//! P9: that a machine is off is believed only when it is, and nothing is switched off that the order does not mean (R2, R6). Judged by
//! the machines themselves.

use super::{Finding, Nodes};
use crate::world::VOLUME;
use mainstay_cluster::{ClusterState, Command, Fence, FenceOutcome, Rule};
use mainstay_protocol::{Incarnation, NodeId};
use mainstay_replica::FenceOrder;

#[derive(Default)]
pub struct Fencing;

/// Whether this very boot still runs.
fn runs(nodes: &Nodes, target: NodeId, incarnation: Incarnation) -> bool {
    nodes.get(&target).is_some_and(|node| node.process.is_some() && Incarnation(node.incarnation) == incarnation)
}

impl Fencing {
    /// "It is off."
    pub fn asked(&self, command: &Command, nodes: &Nodes) -> Option<Finding> {
        let Command::Fenced { target, target_incarnation, outcome: FenceOutcome::Confirmed, .. } = command else { return None };
        runs(nodes, *target, *target_incarnation).then(|| (Rule::R6, format!("{target} is said to be off, and runs")))
    }

    /// The end of a reign, because its machine is off.
    pub fn decided(&self, before: &ClusterState, after: &ClusterState, nodes: &Nodes) -> Option<Finding> {
        let (old, new) = (before.volumes.get(&VOLUME)?, after.volumes.get(&VOLUME)?);
        let by = new.fenced_by.filter(|_| old.fenced_by.is_none())?;
        let Some(Fence { target, target_incarnation, .. }) = after.proposals.get(&by).and_then(|known| known.fence.as_ref()) else {
            return Some((Rule::R13, format!("the primary counts as switched off by {by}, which switched nothing off")));
        };
        let runs = runs(nodes, *target, *target_incarnation);
        runs.then(|| (Rule::R13, format!("{target} in boot {target_incarnation} counts as switched off ({by}), and runs")))
    }

    /// Late as it may be, it must not hit who was granted the volume since.
    pub fn switched_off(&self, order: &FenceOrder, decided: &ClusterState) -> Option<String> {
        let volume = decided.volumes.get(&VOLUME)?;
        let reigns = volume.primary() == Some(order.target) && volume.epoch > order.epoch;
        reigns.then(|| format!("{} is switched off for {}, and reigns in {} by now", order.target, order.proposal, volume.epoch))
    }
}
