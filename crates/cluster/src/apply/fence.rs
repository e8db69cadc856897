//! Fencing hooks: the candidate of an approved promotion has the old primary's machine switched off. It shortens the wait for the lease
//! and can do nothing else; why that is sound is in docs/decisions/0013-fencing-hooks.md.
//!
//! ```text
//! Fencing ──FenceBegun (candidate, once)──▶ the command runs ──Fenced(Confirmed)──▶ the reign is over, nobody waits
//!    │                                          └──Fenced(Failed)──▶ on record; every node waits for its promise as ever (R13)
//!    └── nobody waits for it: a grant may come first
//! ```
//!
//! Both commands are compared with the state when they are decided: what is to be hit is one boot of one node, for one proposal.

use super::Applied;
use super::volumes::Boot;
use crate::audit::Event;
use crate::command::{Actor, Command};
use crate::input;
use crate::limits::FENCE_UNDER_WAY_MS_MAX;
use crate::refusal::RefusalKind;
use crate::state::{ClusterState, Fence, FenceOutcome, OffAsked, Proposal, ProposalState};
use mainstay_protocol::planted::{Bug, planted};
use mainstay_protocol::{Incarnation, NodeId, ProposalId, Timestamp, VolumeId};

impl ClusterState {
    /// R8: only the candidate of the promotion, once; R2: only the boot that the evidence names; R7: nothing else than was approved.
    pub(super) fn fence_begun(&mut self, command: &Command) -> Applied {
        let &Command::FenceBegun { proposal: id, node, incarnation, target, target_incarnation, at } = command else {
            return Ok(());
        };
        let proposal = self.known_proposal(id)?;
        self.check_fencer(id, proposal, (node, incarnation))?;
        if proposal.fence.as_ref().is_some_and(|fence| fence.outcome.is_none() && fence.incarnation == incarnation) {
            return Ok(());
        }
        if let Some(fence) = &proposal.fence {
            return Err(self.fenced_once(id, fence));
        }
        let boot = (target, target_incarnation);
        self.check_target(id, proposal, boot)?;
        self.not_being_fenced(target, at)?;
        self.holds_nothing_else(target, Some(id))?;
        let volume = proposal.volume;
        let fence = Fence { by: node, incarnation, target, target_incarnation, begun_at: at, outcome: None };
        self.with_proposal(id, |proposal| proposal.fence = Some(fence));
        let (name, by) = (self.node_name(target), self.node_name(node));
        let text = format!("{by} has {name} (boot {target_incarnation}) switched off for {id}");
        let event = Event::FenceBegun { proposal: id, target, incarnation: target_incarnation };
        self.record(at, &Actor::Node(node), Some(volume), event, text);
        Ok(())
    }

    fn check_fencer(&self, id: ProposalId, proposal: &Proposal, by: Boot) -> Applied {
        let known = self.known_node(by.0)?;
        if proposal.candidate != by.0 {
            let candidate = self.node_name(proposal.candidate);
            return Err(RefusalKind::NotTheFencer { proposal: id, candidate, node: known.name.clone() });
        }
        match known.incarnation == by.1 {
            true => Ok(()),
            false => Err(RefusalKind::OldBoot { node: known.name.clone(), given: by.1, current: known.incarnation }),
        }
    }

    fn fenced_once(&self, id: ProposalId, fence: &Fence) -> RefusalKind {
        let outcome = fence.outcome.as_ref().map_or("its outcome is not known".to_string(), ToString::to_string);
        RefusalKind::FencedOnce { proposal: id, node: self.node_name(fence.target), outcome }
    }

    /// Before the command runs: the promotion is approved and not granted, and the target is what the approved evidence names.
    fn check_target(&self, id: ProposalId, proposal: &Proposal, target: Boot) -> Applied {
        let known = self.known_node(target.0)?;
        match &proposal.state {
            ProposalState::Fencing => {}
            ProposalState::Pending => {
                return Err(RefusalKind::FencesUnapproved { proposal: id, state: proposal.state.to_string() });
            }
            _ => return Err(self.closed(id, proposal)),
        }
        let volume = self.known_volume(proposal.volume)?;
        if volume.fenced || volume.reign.is_none() {
            return Err(RefusalKind::NothingToFence(known.name.clone()));
        }
        match proposal.evidence.basis.old_primary == Some(target) && volume.reigns(target.0, target.1) {
            true => Ok(()),
            false => Err(self.fences_another(target)),
        }
    }

    fn fences_another(&self, (target, given): Boot) -> RefusalKind {
        let now = self.nodes.get(&target).map_or_else(Incarnation::default, |known| known.incarnation);
        let current = if now == given { "not the primary that was to be replaced".into() } else { format!("its boot {now}") };
        RefusalKind::FencesAnother { node: self.node_name(target), given, current }
    }

    /// R7: whoever approved this promotion knew of one volume. What the machine does for others is nobody's to take away: what it
    /// reigns over and what it is about to be granted.
    fn holds_nothing_else(&self, target: NodeId, own: Option<ProposalId>) -> Applied {
        let node = self.node_name(target);
        let own_volume = own.and_then(|id| self.proposals.get(&id)).map(|proposal| proposal.volume);
        let leaves = |id: VolumeId| {
            let open = self.open_proposal(id).map(|(_, open)| open);
            open.is_some_and(|open| open.state == ProposalState::Fencing && open.candidate != target)
        };
        let held = self.volumes.iter().filter(|(id, volume)| volume.primary() == Some(target) && Some(**id) != own_volume);
        let held: Vec<&str> = held.filter(|(id, _)| !leaves(**id)).map(|(_, volume)| volume.name.as_str()).collect();
        if !held.is_empty() {
            return Err(RefusalKind::FencesOthers { node, holds: format!("is the primary of {}", held.join(", ")) });
        }
        let mut coming = self.proposals.iter().filter(|(_, p)| p.candidate == target && p.state.open() && p.approval.is_some());
        match coming.next() {
            Some((id, _)) => Err(RefusalKind::FencesOthers { node, holds: format!("is about to be promoted ({id})") }),
            None => Ok(()),
        }
    }

    /// Whether an attempt that was begun still means what it was begun for. While it does not, the command is stopped, and its outcome
    /// counts for nothing. After the grant it goes on as long as the old primary is not seen again: a machine that hangs may still
    /// have the service address.
    pub fn fence_stands(&self, id: ProposalId) -> Result<(), RefusalKind> {
        let proposal = self.known_proposal(id)?;
        let (Some(fence), Some(volume)) = (&proposal.fence, self.volumes.get(&proposal.volume)) else {
            return Err(self.closed(id, proposal));
        };
        let target = (fence.target, fence.target_incarnation);
        let same_boot = self.nodes.get(&target.0).is_some_and(|known| known.incarnation == target.1);
        let answered = proposal.lapsed.contains_key(&target.0);
        let granted = proposal.granted == Some(volume.epoch) && volume.primary() == Some(proposal.candidate);
        match &proposal.state {
            _ if !same_boot || answered => Err(self.fences_another(target)),
            ProposalState::Fencing if volume.fenced => Err(RefusalKind::NothingToFence(self.node_name(target.0))),
            ProposalState::Fencing => self.holds_nothing_else(target.0, Some(id)),
            ProposalState::CatchingUp | ProposalState::Serving if granted && !volume.in_sync.contains_key(&target.0) => {
                self.holds_nothing_else(target.0, Some(id))
            }
            _ => Err(self.closed(id, proposal)),
        }
    }

    /// R13: a confirmed fence is the end of every reign of that boot. A failure is on record, and proves nothing.
    pub(super) fn fenced(&mut self, command: &Command) -> Applied {
        let Command::Fenced { proposal: id, node, incarnation, target, target_incarnation, outcome, at } = command else {
            return Ok(());
        };
        let proposal = self.known_proposal(*id)?;
        self.check_fencer(*id, proposal, (*node, *incarnation))?;
        let boot = (*target, *target_incarnation);
        let begun = proposal.fence.as_ref().filter(|fence| (fence.target, fence.target_incarnation) == boot);
        let Some(begun) = begun.filter(|fence| fence.by == *node && fence.incarnation == *incarnation) else {
            return Err(self.fences_another(boot));
        };
        if begun.outcome.is_some() {
            return Ok(());
        }
        let confirmed = match outcome {
            FenceOutcome::Confirmed => true,
            FenceOutcome::Failed(_) => planted(Bug::CountFailedFence),
        };
        if confirmed && !planted(Bug::CountFailedFence) {
            self.fence_stands(*id)?;
        }
        let outcome = match outcome {
            FenceOutcome::Confirmed => FenceOutcome::Confirmed,
            FenceOutcome::Failed(reason) => FenceOutcome::Failed(input::clip(reason)),
        };
        self.with_proposal(*id, |proposal| proposal.fence.iter_mut().for_each(|fence| fence.outcome = Some(outcome.clone())));
        self.record_fence(*id, boot, &outcome, *node, *at);
        if confirmed {
            self.end_reigns_of(boot, *id, *at);
        }
        Ok(())
    }

    fn record_fence(&mut self, id: ProposalId, (target, incarnation): Boot, outcome: &FenceOutcome, by: NodeId, at: Timestamp) {
        let Some(proposal) = self.proposals.get(&id) else { return };
        let (volume, name) = (proposal.volume, self.node_name(target));
        let granted = if proposal.granted.is_some() { ", after the grant" } else { "" };
        let (event, text) = match outcome {
            FenceOutcome::Confirmed => {
                let event = Event::FenceConfirmed { proposal: id, target, incarnation };
                (event, format!("external fence confirmed: {name} (boot {incarnation}) is off ({id}{granted})"))
            }
            FenceOutcome::Failed(reason) => {
                let event = Event::FenceFailed { proposal: id, target, incarnation };
                (
                    event,
                    format!("FENCE FAILED: {name} may be on or off ({id}{granted}): {reason}. The lease decides, as without it"),
                )
            }
        };
        self.record(at, &Actor::Node(by), Some(volume), event, text);
    }

    /// A machine that is off serves none of its volumes, as one that restarted does not ([`Self::booted`]).
    fn end_reigns_of(&mut self, boot: Boot, by: ProposalId, at: Timestamp) {
        let reigns = self.volumes.iter().filter(|(_, volume)| volume.reigns(boot.0, boot.1)).map(|(id, _)| *id);
        for id in reigns.collect::<Vec<_>>() {
            self.end_reign(id, &format!("its machine was switched off ({by})"), at);
            self.with_volume(id, |volume| volume.fenced_by = Some(by));
            // Words that were given before count already; perhaps nothing but this was missing.
            debug_assert!(self.volumes[&id].fenced);
        }
    }

    /// R2: nobody is promoted on a machine that may be switched off in the next moment.
    pub(super) fn not_being_fenced(&self, node: NodeId, at: Timestamp) -> Applied {
        let since_ms = |begun: Timestamp| input::millis(at).saturating_sub(input::millis(begun));
        let under_way = |fence: &Fence| {
            let there = self.nodes.get(&fence.by).is_some_and(|by| by.incarnation == fence.incarnation);
            fence.target == node && fence.outcome.is_none() && there && since_ms(fence.begun_at) < FENCE_UNDER_WAY_MS_MAX
        };
        let promotion = self.proposals.iter().find(|(_, proposal)| proposal.fence.as_ref().is_some_and(under_way));
        let by_hand = self.nodes.get(&node).and_then(|known| known.off_asked).filter(|asked| {
            let there = self.nodes.get(&asked.by).is_some_and(|by| by.incarnation == asked.incarnation);
            there && since_ms(asked.at) < FENCE_UNDER_WAY_MS_MAX
        });
        let why = match (promotion, by_hand) {
            (Some((id, _)), _) => format!("for {id}"),
            (None, Some(asked)) => format!("by hand, through {}", self.node_name(asked.by)),
            (None, None) => return Ok(()),
        };
        Err(RefusalKind::BeingFenced { node: self.node_name(node), why })
    }

    /// A person's own doing: on record with its reason before the command runs, bound to the boot that the person saw.
    pub(super) fn fence_asked(&mut self, command: &Command) -> Applied {
        let Command::FenceAsked { node, target, target_incarnation, allow_primary, reason, actor, at } = command else {
            return Ok(());
        };
        input::person(actor)?;
        input::text("reason", reason)?;
        let (through, incarnation) = self.known_node(*node).map(|known| (known.name.clone(), known.incarnation))?;
        let known = self.known_node(*target)?;
        let name = known.name.clone();
        if node == target {
            return Err(input::bad("node to switch off", &name, "is the one that would have to do it"));
        }
        if known.incarnation != *target_incarnation {
            return Err(self.fences_another((*target, *target_incarnation)));
        }
        self.not_being_fenced(*target, *at)?;
        if !allow_primary {
            self.holds_nothing_else(*target, None)?;
        }
        let text = format!("{actor} has {name} (boot {target_incarnation}) switched off through {through}: {reason}");
        self.record(*at, actor, None, Event::FenceAsked { target: *target, incarnation: *target_incarnation }, text);
        if let Some(known) = self.nodes.get_mut(target) {
            known.off_asked = Some(OffAsked { by: *node, incarnation, target_incarnation: *target_incarnation, at: *at });
        }
        Ok(())
    }

    /// The command is over: what it did it has done.
    pub(super) fn fence_ended(&mut self, command: &Command) -> Applied {
        let Command::FenceEnded { node, target, asked_at, outcome, at } = command else { return Ok(()) };
        let through = self.known_node(*node)?.name.clone();
        let known = self.known_node(*target)?;
        if known.off_asked.map(|asked| (asked.by, asked.at)) != Some((*node, *asked_at)) {
            return Err(self.fences_another((*target, known.incarnation)));
        }
        let text = format!("switching {} off by hand, through {through}: {outcome}", known.name);
        self.record(*at, &Actor::Node(*node), None, Event::Note, input::clip(&text));
        if let Some(known) = self.nodes.get_mut(target) {
            known.off_asked = None;
        }
        Ok(())
    }
}
