//! Fencing hooks: a command that switches a machine off, and one that says whether it is. What the first does is the plan's; the
//! second is honest, because everything rests on it (docs/decisions/0013-fencing-hooks.md).

use super::node::{NodeEvent, NodeState};
use super::shell::{ANNOUNCE_TICKET, BY_HAND_TICKETS};
use super::{Event, VOLUME, World};
use crate::disk::Crash;
use crate::queue::{MILLISECOND, SECOND, Time};
use crate::scenario::{A, B, Hook};
use crate::timeline::MarkKind;
use crate::trace::Trace;
use mainstay_cluster::{Command, FenceOutcome};
use mainstay_protocol::{Epoch, NodeId, ProposalId, Timestamp};
use mainstay_replica::{Event as ReplicaEvent, FenceOrder, FenceResult, ProposeResult};

/// Both commands together get so long.
const TIME_MAX: Time = 10 * SECOND;

/// How often a node looks whether a wish whose fate was not known is on record by now.
const LOOKS_EVERY: Time = 5 * SECOND;

/// What becomes of one run of a hook.
struct HookDoes {
    off_after: Option<Time>,
    ends_after: Time,
    verifies: bool,
}

fn other(server: NodeId) -> NodeId {
    if server == A { B } else { A }
}

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
        let proposal = order.proposal;
        let does = self.hook_does(id, order.target);
        if let Some(after) = does.off_after {
            self.fence_event(id, after, NodeEvent::SwitchOff(order));
        }
        self.fence_event(id, does.ends_after, NodeEvent::FenceEnds { proposal, verifies: does.verifies });
    }

    fn hook_does(&mut self, id: NodeId, target: NodeId) -> HookDoes {
        let hook = match self.plan.cluster.hook {
            Hook::Mixed => *self.rng.pick(&[Hook::Works, Hook::Works, Hook::Fails, Hook::Hangs, Hook::Lies]),
            hook => hook,
        };
        self.trace(Trace::Brief, || format!("{id} has {target} switched off ({hook:?})"));
        let takes = self.rng.log_range(20 * MILLISECOND, 5 * SECOND);
        let (off_after, ends_after) = match hook {
            Hook::Works => (Some(takes), takes + self.rng.range(MILLISECOND, SECOND)),
            // It may have done something before it hung, or not.
            Hook::Hangs => (self.rng.percent(50).then_some(takes), TIME_MAX),
            _ => (None, takes),
        };
        HookDoes { off_after, ends_after, verifies: matches!(hook, Hook::Works | Hook::Lies) }
    }

    /// `mainstay fence`, as somebody asks who looks at the cluster through the node that has the hook.
    pub(super) fn fence_by_hand(&mut self, target: NodeId, as_primary: bool) {
        let through = other(target);
        let known = self.model.view(through).nodes.get(&target).map(|node| node.incarnation);
        let (Some(target_incarnation), true) = (known, self.nodes[&through].process.is_some()) else { return };
        if self.plan.cluster.hook == Hook::Absent {
            return;
        }
        let (reason, actor, at) = ("it hangs".to_string(), self.operators.olga(), self.wall_of(through));
        self.trace(Trace::Brief, || format!("an operator has {target} switched off through {through}"));
        let command =
            Command::FenceAsked { node: through, target, target_incarnation, allow_primary: as_primary, reason, actor, at };
        let process = self.process(through);
        process.ticket_last += 1;
        let ticket = BY_HAND_TICKETS + process.ticket_last;
        process.asked_by_hand.insert(ticket, at);
        self.propose(through, ticket, command);
    }

    /// It is on record, so the hook runs. What comes of it proves nothing, but until it is told nobody promotes the target.
    pub(super) fn by_hand_decided(&mut self, id: NodeId, ticket: u64, result: &ProposeResult) {
        let Some(asked_at) = self.process(id).asked_by_hand.remove(&ticket) else { return };
        match result {
            ProposeResult::Accepted => {}
            ProposeResult::Refused(_) => return,
            // Nothing is run, and nobody is to wait for it: it may be decided yet, also after an hour without a majority.
            ProposeResult::Unknown => return self.fence_event(id, SECOND, NodeEvent::FenceByHandNotRun { asked_at }),
        }
        let does = self.hook_does(id, other(id));
        let epoch = self.decided.volumes.get(&VOLUME).map_or(Epoch(0), |volume| volume.epoch);
        if let Some(after) = does.off_after {
            self.fence_event(id, after, NodeEvent::SwitchOffByHand { epoch });
        }
        self.fence_event(id, does.ends_after, NodeEvent::FenceByHandEnds { asked_at, verifies: does.verifies });
    }

    fn on_record(&self, id: NodeId, asked_at: Timestamp) -> bool {
        let asked = self.decided.nodes.get(&other(id)).and_then(|known| known.off_asked);
        asked.is_some_and(|asked| (asked.by, asked.at) == (id, asked_at))
    }

    /// As soon as the wish is on record, it is over.
    pub(super) fn fence_by_hand_not_run(&mut self, id: NodeId, asked_at: Timestamp) {
        if self.on_record(id, asked_at) {
            return self.fence_by_hand_ends(id, asked_at, false);
        }
        self.fence_event(id, LOOKS_EVERY, NodeEvent::FenceByHandNotRun { asked_at });
    }

    /// Said until it is decided, as the daemon does it.
    pub(super) fn fence_by_hand_ends(&mut self, id: NodeId, asked_at: Timestamp, verifies: bool) {
        if !self.on_record(id, asked_at) {
            return;
        }
        let target = other(id);
        let off = verifies && matches!(self.nodes[&target].state, NodeState::Off);
        let outcome = if off { FenceOutcome::Confirmed } else { FenceOutcome::Failed("it is on, or nobody knows".into()) };
        let at = self.wall_of(id);
        self.propose(id, ANNOUNCE_TICKET, Command::FenceEnded { node: id, target, asked_at, outcome, at });
        self.fence_event(id, 2 * SECOND, NodeEvent::FenceByHandEnds { asked_at, verifies });
    }

    /// `epoch`: the newest one when it was asked for.
    pub(super) fn switch_off_by_hand(&mut self, by: NodeId, epoch: Epoch) {
        let target = other(by);
        let volume = self.decided.volumes.get(&VOLUME);
        if volume.is_some_and(|volume| volume.primary() == Some(target) && volume.epoch > epoch) {
            let text =
                format!("{target} was granted the volume after somebody had asked to switch it off, and is switched off now");
            self.violate("P4", Some(mainstay_cluster::Rule::R2), text);
        }
        self.lose_power(target, by);
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
        if let Some(text) = self.checkers.fencing.switched_off(order, &self.decided.clone()) {
            self.violate("P4", Some(mainstay_cluster::Rule::R2), text);
        }
        self.lose_power(target, by);
    }

    fn lose_power(&mut self, target: NodeId, by: NodeId) {
        self.trace(Trace::Brief, || format!("{target} is switched off by {by}"));
        self.mark(target, MarkKind::Crash, || "switched off".into());
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
