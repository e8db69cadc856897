//! The one function that changes the cluster state.
//!
//! Every handler judges first and changes afterwards, so a refused command leaves nothing behind but its line in the audit log.

mod fence;
pub mod force;
mod maintenance;
mod membership;
mod nodes;
mod people;
mod policy;
mod promotion;
mod switchover;
mod volumes;

use crate::audit::{AuditEvent, Event};
use crate::command::{Actor, Command};
use crate::limits::REFUSAL_REPEAT_WINDOW;
use crate::refusal::{Refusal, RefusalKind};
use crate::state::{ClusterState, Node, Proposal, VolumeState};
use mainstay_protocol::{NodeId, ProposalId, Timestamp, VolumeId};

/// Judges, then changes.
type Applied = Result<(), RefusalKind>;

impl ClusterState {
    /// Applies one decided command and gives what goes into the audit log. A refused command changes nothing but `version` and
    /// the audit log; changes that nobody decided in time are over whatever comes of it. A command that has no more to do (a repetition) gives no events.
    pub fn apply(&mut self, command: &Command) -> Result<Vec<AuditEvent>, Refusal> {
        self.version += 1;
        let before = self.audit.count;
        self.expire_changes(command.at());
        let recorded = self.audit.count;
        let epochs: Vec<_> = self.volumes.iter().map(|(id, volume)| (*id, volume.epoch)).collect();
        if let Err(kind) = self.dispatch(command) {
            assert_eq!(self.audit.count, recorded, "a handler changes nothing before it has judged");
            let refusal = Refusal::new(&self.describe(command), kind);
            self.record_refusal(command, &refusal);
            return Err(refusal);
        }
        self.settle_members();
        self.void_changes(command.at());
        self.void_what_changed(command.at());
        self.close_maintenance(command.at());
        assert!(epochs.iter().all(|(id, epoch)| self.volumes[id].epoch >= *epoch), "R1: an epoch never falls");
        self.assert_invariants();
        Ok(self.audit.after(before).map(|event| AuditEvent::clone(event)).collect())
    }

    fn dispatch(&mut self, command: &Command) -> Applied {
        if !self.initialised() && !matches!(command, Command::Init { .. }) {
            return Err(RefusalKind::NotInitialised);
        }
        self.not_revoked(&command.actor())?;
        match command {
            Command::Init { .. } => self.init(command),
            Command::AddNode { .. } => self.add_node(command),
            Command::Booted { node, incarnation, software, at } => self.booted(*node, *incarnation, software, *at),
            Command::MintToken { token, expires_at, actor, at } => self.mint_token(*token, *expires_at, actor, *at),
            Command::UseToken { token, name, at } => self.use_token(*token, name, *at),
            Command::CreateVolume { .. } => self.create_volume(command),
            Command::ShrinkInSync { .. } => self.shrink_in_sync(command),
            Command::GrowInSync { .. } => self.grow_in_sync(command),
            Command::Serving { volume, epoch, node, incarnation, at } => self.serving(*volume, *epoch, (*node, *incarnation), *at),
            Command::GrantFailed { volume, epoch, node, incarnation, reason, at } => {
                self.grant_failed(*volume, *epoch, (*node, *incarnation), reason, *at)
            }
            Command::StepDown { volume, epoch, node, incarnation, at } => {
                self.step_down(*volume, *epoch, (*node, *incarnation), *at)
            }
            Command::Propose { .. } => self.propose(command),
            Command::Approve { proposal, evidence_hash, actor, waited_ms, at } => {
                self.approve(*proposal, *evidence_hash, actor, *waited_ms, *at)
            }
            Command::Deny { proposal, reason, actor, at } => self.deny(*proposal, reason, actor, *at),
            Command::Void { proposal, field, seen, by, at } => self.void(*proposal, *field, seen, *by, *at),
            Command::Expire { proposal, approved, waited_ms, at } => self.expire(*proposal, (*approved, *waited_ms), *at),
            Command::Lapsed { .. } => self.lapsed(command),
            Command::BeginMaintenance { .. } => self.begin_maintenance(command),
            Command::EndMaintenance { maintenance, answers, actor, at } => self.end_maintenance(*maintenance, *answers, actor, *at),
            Command::ResetBreaker { volume, reason, actor, at } => self.reset_breaker(*volume, reason, actor, *at),
            Command::Note { volume, text, actor, at } => self.note(*volume, text, actor, *at),
            Command::SetVolume { .. } => self.set_volume(command),
            Command::SetHold { on, reason, actor, at } => self.set_hold(*on, reason, actor, *at),
            Command::ApproveChange { change, digest, actor, at } => self.approve_change(*change, *digest, actor, *at),
            Command::DenyChange { change, reason, actor, at } => self.deny_change(*change, reason, actor, *at),
            Command::DrillPassed { .. } => self.drill_passed(command),
            Command::Leaving { node, incarnation, cause, at } => self.leaving(*node, *incarnation, *cause, *at),
            Command::ExtendMaintenance { maintenance, ends_at, actor, at } => {
                self.extend_maintenance(*maintenance, *ends_at, actor, *at)
            }
            Command::MaintenanceOverdue { maintenance, by, at } => self.maintenance_overdue(*maintenance, *by, *at),
            Command::Switchover { .. } => self.switchover(command),
            Command::Drained { proposal, node, incarnation, last, at } => {
                self.drained(*proposal, (*node, *incarnation), *last, *at)
            }
            Command::SetAsideCopy { volume, node, reason, actor, at } => self.set_aside_copy(*volume, *node, reason, actor, *at),
            Command::AddReplica { .. } => self.add_replica(command),
            Command::RemoveReplica { .. } => self.remove_replica(command),
            Command::RemoveNode { .. } => self.remove_node(command),
            Command::MembersKnown { volume, epoch, node, incarnation, members, .. } => {
                self.members_known(*volume, *epoch, (*node, *incarnation), *members)
            }
            Command::FenceBegun { .. } => self.fence_begun(command),
            Command::Fenced { .. } => self.fenced(command),
            Command::FenceAsked { .. } => self.fence_asked(command),
            Command::FenceEnded { .. } => self.fence_ended(command),
            Command::Revoke { name, reason, actor, at } => self.revoke(name, reason, actor, *at),
            Command::SetBack { node, by, at } => self.set_back(*node, *by, *at),
        }
    }

    fn record(&mut self, at: Timestamp, actor: &Actor, volume: Option<VolumeId>, event: Event, text: String) {
        self.audit.push(at, actor.clone(), volume, event, text);
    }

    fn actor_name(&self, actor: &Actor) -> String {
        match actor {
            Actor::Node(node) => format!("node {}", self.node_name(*node)),
            other => other.to_string(),
        }
    }

    /// A node that insists is recorded once, so that it cannot push everything else out of the log.
    fn record_refusal(&mut self, command: &Command, refusal: &Refusal) {
        let event = Event::Refused { rule: refusal.rule, command: command.name().to_string() };
        let (actor, volume) = (command.actor(), self.volume_of(command));
        let same = |old: &AuditEvent| old.event == event && old.actor == actor && old.volume == volume;
        let repeated = self.audit.events.iter().rev().take(REFUSAL_REPEAT_WINDOW).any(|old| same(old));
        if self.initialised() && command.recorded_when_refused() && !repeated {
            self.record(command.at(), &actor, volume, event, refusal.message.clone());
        }
    }

    fn volume_of(&self, command: &Command) -> Option<VolumeId> {
        let named = command.proposal().and_then(|id| self.proposals.get(&id)).map(|proposal| proposal.volume);
        command.volume().or(named)
    }

    /// What a command asks for, as a person would say it.
    fn describe(&self, command: &Command) -> String {
        let volume =
            || self.volume_of(command).map_or("an unknown volume".into(), |id| format!("volume {}", self.volume_label(id)));
        match command {
            Command::Init { name, .. } => format!("making cluster {name:?}"),
            Command::AddNode { name, .. } => format!("adding node {name:?}"),
            Command::Booted { node, .. } => format!("boot of {}", self.node_name(*node)),
            Command::CreateVolume { name, .. } => format!("creating volume {name:?}"),
            Command::ShrinkInSync { remove, .. } => {
                format!("taking {} out of the in-sync set of {}", self.node_name(*remove), volume())
            }
            Command::GrowInSync { add, .. } => format!("adding {} to the in-sync set of {}", self.node_name(*add), volume()),
            Command::Propose { candidate, .. } => format!("promotion of {} for {}", self.node_name(*candidate), volume()),
            Command::Approve { proposal, .. } => format!("approval of {proposal}"),
            Command::Deny { proposal, .. } => format!("denial of {proposal}"),
            Command::Void { proposal, .. } => format!("voiding {proposal}"),
            Command::Expire { proposal, .. } => format!("expiry of {proposal}"),
            Command::Lapsed { proposal, node, .. } => format!("promise of {} for {proposal}", self.node_name(*node)),
            Command::Serving { node, .. } => format!("serving of {} by {}", volume(), self.node_name(*node)),
            Command::GrantFailed { node, .. } => format!("failure of {} to serve {}", self.node_name(*node), volume()),
            Command::StepDown { node, .. } => format!("stepping down of {} for {}", self.node_name(*node), volume()),
            Command::BeginMaintenance { node, .. } => format!("maintenance of {}", self.node_name(*node)),
            Command::EndMaintenance { maintenance, .. } => format!("end of maintenance {maintenance}"),
            Command::MintToken { .. } => "making a join token".into(),
            Command::UseToken { name, .. } => format!("join token for node {name:?}"),
            Command::ResetBreaker { .. } => format!("resetting the breaker of {}", volume()),
            Command::Note { .. } => "note".into(),
            Command::SetVolume { .. } => format!("setting {}", volume()),
            Command::SetHold { on, .. } => format!("hold {}", if *on { "on" } else { "off" }),
            Command::ApproveChange { change, .. } => format!("approval of {change}"),
            Command::DenyChange { change, .. } => format!("denial of {change}"),
            Command::DrillPassed { scenario, .. } => format!("recording drill {scenario:?} of {}", volume()),
            Command::Leaving { node, .. } => format!("leaving of {}", self.node_name(*node)),
            Command::ExtendMaintenance { maintenance, .. } => format!("new end of maintenance {maintenance}"),
            Command::MaintenanceOverdue { maintenance, .. } => format!("overrun of maintenance {maintenance}"),
            Command::Switchover { to, .. } => format!("switchover of {} to {}", volume(), self.node_name(*to)),
            Command::Drained { proposal, node, .. } => format!("word of {} for {proposal}", self.node_name(*node)),
            Command::SetAsideCopy { node, .. } => format!("setting aside the copy of {} on {}", volume(), self.node_name(*node)),
            Command::AddReplica { node, .. } => format!("adding a replica of {} on {}", volume(), self.node_name(*node)),
            Command::RemoveReplica { node, .. } => format!("removing the replica of {} on {}", volume(), self.node_name(*node)),
            Command::RemoveNode { node, .. } => format!("removing node {}", self.node_name(*node)),
            Command::MembersKnown { node, .. } => format!("word of {} about the members for {}", self.node_name(*node), volume()),
            Command::FenceBegun { proposal, target, .. } | Command::Fenced { proposal, target, .. } => {
                format!("fencing of {} for {proposal}", self.node_name(*target))
            }
            Command::FenceAsked { target, .. } | Command::FenceEnded { target, .. } => {
                format!("fencing of {}", self.node_name(*target))
            }
            Command::Revoke { name, .. } => format!("revoking {name:?}"),
            Command::SetBack { node, .. } => format!("word that {} was set back", self.node_name(*node)),
        }
    }

    fn known_node(&self, node: NodeId) -> Result<&Node, RefusalKind> {
        self.nodes.get(&node).ok_or(RefusalKind::UnknownNode(node))
    }
    fn known_volume(&self, volume: VolumeId) -> Result<&VolumeState, RefusalKind> {
        self.volumes.get(&volume).ok_or(RefusalKind::UnknownVolume(volume))
    }
    fn known_proposal(&self, proposal: ProposalId) -> Result<&Proposal, RefusalKind> {
        self.proposals.get(&proposal).ok_or(RefusalKind::UnknownProposal(proposal))
    }
}
