//! Fencing hooks: a command that switches a machine off, and one that says whether it is. What the first does is the plan's; the
//! second is honest, because everything rests on it (docs/decisions/0013-fencing-hooks.md).

use super::node::{NodeEvent, NodeState};
use super::{Event, World};
use crate::disk::Crash;
use crate::queue::{MILLISECOND, SECOND, Time};
use crate::scenario::{A, B, Hook};
use crate::timeline::MarkKind;
use crate::trace::Trace;
use mainstay_protocol::{NodeId, ProposalId};
use mainstay_replica::{Event as ReplicaEvent, FenceOrder, FenceResult};

/// Both commands together get so long.
const TIME_MAX: Time = 10 * SECOND;

impl World {
    /// What `node.toml` says: each file server can switch the other one off.
    pub(super) fn set_hooks(&mut self, id: NodeId) {
        if self.plan.cluster.hook == Hook::Absent {
            return;
        }
        let others = [A, B].into_iter().filter(|other| *other != id).map(|other| self.decided().node_name(other));
        let hooks = others.collect();
        self.step(id, ReplicaEvent::FenceHooks(hooks));
    }

    pub(super) fn fence(&mut self, id: NodeId, order: FenceOrder) {
        let hook = match self.plan.cluster.hook {
            Hook::Mixed => *self.rng.pick(&[Hook::Works, Hook::Works, Hook::Fails, Hook::Hangs, Hook::Lies]),
            hook => hook,
        };
        self.trace(Trace::Brief, || format!("{id} has {} switched off ({hook:?})", order.target));
        let takes = self.rng.log_range(20 * MILLISECOND, 5 * SECOND);
        let proposal = order.proposal;
        let (off_after, ends_after) = match hook {
            Hook::Works => (Some(takes), takes + self.rng.range(MILLISECOND, SECOND)),
            // It may have done something before it hung, or not.
            Hook::Hangs => (self.rng.percent(50).then_some(takes), TIME_MAX),
            _ => (None, takes),
        };
        if let Some(after) = off_after {
            self.fence_event(id, after, NodeEvent::SwitchOff(order));
        }
        let verifies = matches!(hook, Hook::Works | Hook::Lies);
        self.fence_event(id, ends_after, NodeEvent::FenceEnds { proposal, verifies });
    }

    fn fence_event(&mut self, id: NodeId, after: Time, event: NodeEvent) {
        let boot = self.nodes[&id].boot;
        self.queue.after(after, Event::Node { node: id, boot, event });
    }

    /// The command is killed. It may just have done its work.
    pub(super) fn stop_fence(&mut self, id: NodeId, proposal: ProposalId) {
        self.process(id).fences_stopped.insert(proposal);
        self.fence_event(id, MILLISECOND, NodeEvent::FenceEnds { proposal, verifies: false });
    }

    /// A machine loses its power; a person looks after it later.
    pub(super) fn switch_off(&mut self, by: NodeId, order: &FenceOrder) {
        let target = order.target;
        if self.process(by).fences_stopped.contains(&order.proposal) {
            return;
        }
        self.trace(Trace::Brief, || format!("{target} is switched off by {by}"));
        self.mark(target, MarkKind::Crash, || "switched off".into());
        if let Some(text) = self.checkers.fencing.switched_off(order, &self.decided.clone()) {
            self.violate("P4", Some(mainstay_cluster::Rule::R2), text);
        }
        self.crash(target, Crash::Power);
        let back = self.rng.range(2 * SECOND, 30 * SECOND);
        self.queue.after(back, Event::SwitchOn(target));
    }

    pub(super) fn fence_ends(&mut self, id: NodeId, proposal: ProposalId, verifies: bool) {
        let Some(fence) = self.decided.proposals.get(&proposal).and_then(|known| known.fence.clone()) else { return };
        let off = matches!(self.nodes[&fence.target].state, NodeState::Off);
        let result = match (verifies, off) {
            (true, true) => FenceResult::Confirmed,
            (true, false) => FenceResult::Failed("the verify command says that it is on".into()),
            (false, _) => FenceResult::Failed("the command failed, or did not end in time".into()),
        };
        self.step(id, ReplicaEvent::Fenced { proposal, result });
    }
}
