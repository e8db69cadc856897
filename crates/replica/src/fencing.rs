//! The candidate's part in fencing: has it decided that the old primary's machine may be switched off, has the shell do it, and says
//! what came of it. Whether it may, and whether the outcome still counts, is decided in `cluster`; nobody waits for it.

use crate::core::{Core, Purpose};
use crate::event::{Effect, FenceOrder, FenceResult};
use mainstay_cluster::{Command, FenceOutcome, Proposal, ProposalState};
use mainstay_protocol::marks::mark;
use mainstay_protocol::{Mono, Now, ProposalId};
use std::collections::BTreeSet;

#[derive(Debug, Default)]
pub struct Fencing {
    /// Names of the nodes that this one is set up to switch off.
    hooks: BTreeSet<String>,
    /// When the cluster was first asked, for which proposal: a decision that comes too late after that is not acted on.
    asked: Option<(ProposalId, Mono)>,
    /// What the shell is at.
    running: Option<ProposalId>,
    /// It was told to stop.
    stopping: bool,
    /// To be told to the cluster.
    result: Option<(ProposalId, FenceResult)>,
}

impl Fencing {
    pub fn configured(&mut self, hooks: BTreeSet<String>) {
        self.hooks = hooks;
    }

    /// From the shell: the command has ended, and nothing of it is left.
    pub fn ended(&mut self, proposal: ProposalId, result: FenceResult) {
        if self.running == Some(proposal) {
            self.running = None;
            self.stopping = false;
            self.result = Some((proposal, result));
        }
    }

    pub fn poll(&mut self, core: &mut Core, now: Now) {
        self.tell(core, now);
        self.stop_what_is_over(core);
        if self.running.is_some() || self.result.is_some() {
            return;
        }
        if let Some((id, at)) = self.asked
            && self.mine(core, id)
        {
            return self.run(core, id, at, now);
        }
        let Some((id, proposal)) = core.view.open_proposal(core.me.volume) else { return };
        if let Some(command) = self.wanted(core, id, proposal, now) {
            mark("fencing: asks whether it may");
            self.asked = Some(self.asked.filter(|(asked, _)| *asked == id).unwrap_or((id, now.mono)));
            core.propose(Purpose::FenceBegun(id), now, command);
        }
    }

    /// The cluster has it that this boot is at it.
    fn mine(&self, core: &Core, id: ProposalId) -> bool {
        let fence = core.view.proposals.get(&id).and_then(|proposal| proposal.fence.as_ref());
        fence.is_some_and(|fence| (fence.by, fence.incarnation) == (core.me.node, core.me.incarnation) && fence.outcome.is_none())
    }

    /// While the promises are waited for, and there is still somebody whose lease they are.
    fn wanted(&self, core: &Core, id: ProposalId, proposal: &Proposal, now: Now) -> Option<Command> {
        let (target, target_incarnation) = proposal.evidence.basis.old_primary?;
        let fenced = core.state().is_none_or(|state| state.fenced || state.reign.is_none());
        let hooked = self.hooks.contains(&core.view.node_name(target));
        let mine = proposal.candidate == core.me.node && proposal.fence.is_none();
        if proposal.state != ProposalState::Fencing || fenced || !hooked || !mine {
            return None;
        }
        let (node, incarnation) = (core.me.node, core.me.incarnation);
        Some(Command::FenceBegun { proposal: id, node, incarnation, target, target_incarnation, at: now.wall })
    }

    /// Once per proposal, and only right after the decision: whoever is cut off, or was stopped meanwhile, sees it late, and knows
    /// nothing of what was decided since.
    fn run(&mut self, core: &mut Core, id: ProposalId, asked: Mono, now: Now) {
        let Some(order) = order(core, id) else { return };
        let stands = core.view.fence_stands(id);
        if let Err(why) = stands {
            mark("fencing: over before it began");
            self.result = Some((id, FenceResult::Failed(format!("nothing was switched off: {why}"))));
        } else if now.mono.ms_since(asked) >= core.timing.lease_ms {
            mark("fencing: decided too late to be acted on");
            self.result =
                Some((id, FenceResult::Failed("nothing was switched off: the decision came too late to act on it".into())));
        } else {
            mark("fencing: runs");
            self.running = Some(id);
            core.out.push(Effect::Fence(order));
        }
    }

    /// What the attempt was for has changed: what is still running must not hit what is there now (R2).
    fn stop_what_is_over(&mut self, core: &mut Core) {
        let Some(id) = self.running.filter(|_| !self.stopping) else { return };
        if core.view.fence_stands(id).is_err() {
            mark("fencing: stopped");
            self.stopping = true;
            core.out.push(Effect::StopFence(id));
        }
    }

    /// Said until the state shows it, whatever became of the proposal: while it is not known, nobody is promoted there.
    fn tell(&mut self, core: &mut Core, now: Now) {
        let Some((id, result)) = &self.result else { return };
        let fence =
            core.view.proposals.get(id).and_then(|proposal| proposal.fence.as_ref()).filter(|fence| fence.outcome.is_none());
        let Some(fence) = fence else {
            self.result = None;
            return;
        };
        let outcome = match result {
            FenceResult::Failed(reason) => FenceOutcome::Failed(reason.clone()),
            FenceResult::Confirmed => match core.view.fence_stands(*id) {
                Ok(()) => FenceOutcome::Confirmed,
                Err(why) => {
                    mark("fencing: confirmed too late");
                    FenceOutcome::Failed(format!("it was confirmed, but too late to count: {why}"))
                }
            },
        };
        let (node, incarnation) = (core.me.node, core.me.incarnation);
        let (proposal, target, target_incarnation) = (*id, fence.target, fence.target_incarnation);
        let command = Command::Fenced { proposal, node, incarnation, target, target_incarnation, outcome, at: now.wall };
        core.propose(Purpose::Fenced(proposal), now, command);
    }
}

/// What the shell needs to know, as the state has it.
fn order(core: &Core, id: ProposalId) -> Option<FenceOrder> {
    let proposal = core.view.proposals.get(&id)?;
    let fence = proposal.fence.as_ref()?;
    Some(FenceOrder {
        proposal: id,
        epoch: proposal.parent_epoch,
        target: fence.target,
        target_name: core.view.node_name(fence.target),
        target_incarnation: fence.target_incarnation,
    })
}
