//! P5: what failed is not tried again until a person acts (R8).

use super::{Finding, Grant};
use crate::world::VOLUME;
use mainstay_cluster::{ClusterState, ProposalState, ReignState, Rule};
use mainstay_protocol::{Incarnation, NodeId};
use std::collections::BTreeMap;

/// A promotion: whom, in which boot, and who was in sync.
type Plan = (NodeId, Incarnation, Vec<NodeId>);

#[derive(Default)]
pub struct Breaker {
    /// Plans that failed since something served, and why.
    failed: BTreeMap<Plan, String>,
}

impl Breaker {
    /// A person has seen to it.
    pub fn reset(&mut self) {
        self.failed.clear();
    }

    pub fn decided(&mut self, before: &ClusterState, after: &ClusterState) {
        let (Some(old), Some(new)) = (before.volumes.get(&VOLUME), after.volumes.get(&VOLUME)) else { return };
        let serves = |reign: &mainstay_cluster::Reign| reign.state == ReignState::Serving;
        if new.reign.as_ref().is_some_and(serves) && !old.reign.as_ref().is_some_and(serves) {
            self.failed.clear();
        }
        for (id, proposal) in &after.proposals {
            let open = before.proposals.get(id).is_some_and(|old| old.state.open());
            if let (ProposalState::Failed { reason }, true) = (&proposal.state, open) {
                let boot = before.nodes.get(&proposal.candidate).map_or(Incarnation(0), |node| node.incarnation);
                let plan = (proposal.candidate, boot, old.in_sync.keys().copied().collect());
                self.failed.insert(plan, reason.clone());
            }
        }
    }

    pub fn granted(&mut self, grant: &Grant) -> Vec<Finding> {
        let Some(before) = grant.before else { return Vec::new() };
        let (epoch, name) = (grant.after.epoch, &grant.name);
        let mut found = Vec::new();
        let plan = (grant.node, grant.incarnation, before.in_sync.keys().copied().collect());
        if let Some(reason) = self.failed.get(&plan) {
            found.push((
                Rule::R8,
                format!("{name} was promoted again ({epoch}), unchanged, after its promotion had failed: {reason}"),
            ));
        } else if before.breaker.open {
            found.push((Rule::R8, format!("{epoch} was granted to {name} although the breaker was open")));
        }
        found
    }
}
