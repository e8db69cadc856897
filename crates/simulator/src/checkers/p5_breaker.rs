//! P5: what failed is not tried again until a person acts (R8).

use super::{Finding, Grant};
use crate::queue::{MILLISECOND, SECOND, Time};
use crate::world::VOLUME;
use mainstay_cluster::{ClusterState, Event, ProposalState, ReignState, Rule, VolumeState};
use mainstay_protocol::{Incarnation, NodeId};
use std::collections::BTreeMap;

const MINUTE: Time = 60 * SECOND;

/// A promotion: whom, in which boot, and who was in sync.
type Plan = (NodeId, Incarnation, Vec<NodeId>);

#[derive(Default)]
pub struct Breaker {
    /// Plans that failed since something served, and why.
    failed: BTreeMap<Plan, String>,
    /// When roles changed since a person acted last, by the world's own clock.
    changes: Vec<Time>,
    /// Some wall clock was set: then nobody in the cluster can count by the clock as this judge does.
    pub clocks_were_set: bool,
}

impl Breaker {
    pub fn decided(&mut self, before: &ClusterState, after: &ClusterState) {
        let (Some(old), Some(new)) = (before.volumes.get(&VOLUME), after.volumes.get(&VOLUME)) else { return };
        // A person has seen to it: from when that is decided, which may be long after it was said.
        let reset = |event: &Event| matches!(event, Event::BreakerReset);
        if after.audit.after(before.audit.count).any(|event| reset(&event.event) && event.volume == Some(VOLUME)) {
            self.failed.clear();
            self.changes.clear();
        }
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

    /// `planned`: a switchover, or its way back. A person drives each, so that none is part of a loop.
    pub fn granted(&mut self, now: Time, grant: &Grant, planned: bool) -> Vec<Finding> {
        let Some(before) = grant.before else { return Vec::new() };
        let (epoch, name) = (grant.after.epoch, &grant.name);
        let too_often = if planned { None } else { self.too_often(now, grant, before) };
        let mut found: Vec<Finding> = too_often.into_iter().collect();
        let plan = (grant.node, grant.incarnation, before.in_sync.keys().copied().collect());
        if let Some(reason) = self.failed.get(&plan) {
            found.push((
                Rule::R8,
                format!("{name} was promoted again ({epoch}), unchanged, after its promotion had failed: {reason}"),
            ));
        } else if before.breaker.open && found.is_empty() {
            found.push((Rule::R8, format!("{epoch} was granted to {name} although the breaker was open")));
        }
        found
    }

    /// One more than the volume allows opens the breaker; whatever comes after that waits for a person.
    fn too_often(&mut self, now: Time, grant: &Grant, before: &VolumeState) -> Option<Finding> {
        // Commands carry the time at which they were given, which may be some seconds before they are decided.
        let window = before.rules.role_changes_window_ms * MILLISECOND - MINUTE / 2;
        let most = before.rules.role_changes_max as usize;
        let latched = self.changes.len() > most && {
            let recent = &self.changes[self.changes.len() - most - 1..];
            recent.last()? - recent.first()? < window
        };
        self.changes.push(now);
        (latched && !self.clocks_were_set).then(|| {
            let text = format!(
                "{} was granted to {} after more than {most} role changes, and no person acted since",
                grant.after.epoch, grant.name
            );
            (Rule::R8, text)
        })
    }
}
