//! A switchover: both sides are alive, and a person says where the volume is to be. It is a proposal like any other, in the volume's
//! one place (R8), approved by asking for it (R7), and ends in the same grant ([`super::promotion`]). What differs is its beginning,
//! and that it has a way back.
//!
//! ```text
//! Switchover ──▶ Draining ──Drained: the primary's own word──▶ Fencing ──▶ as any promotion
//!                   │ Deny, Void, Expire                          │ Deny, Void, Expire
//!                   ▼                                             ▼
//!            the primary serves on               a new proposal, Fencing, gives it back to the old primary
//! ```

use super::Applied;
use super::volumes::Boot;
use crate::audit::Event;
use crate::command::{Actor, Command};
use crate::evidence::{Evidence, EvidenceField, FencingProof, Observed};
use crate::input;
use crate::refusal::RefusalKind;
use crate::state::{Approval, ClusterState, Proposal, ProposalState};
use mainstay_protocol::planted::{Bug, planted};
use mainstay_protocol::{LogPoint, NodeId, ProposalId, Timestamp, VolumeId};
use std::collections::BTreeMap;

impl ClusterState {
    /// What a switchover of `volume` to `to` rests on: the state alone, since nobody has to be asked what it saw.
    pub fn switchover_evidence(&self, to: NodeId, volume: VolumeId) -> Option<Evidence> {
        let state = self.volumes.get(&volume)?;
        self.nodes.get(&to)?;
        // Without a primary the checks refuse, whatever stands here.
        let (from, incarnation) = state.reign.map_or_else(Default::default, |reign| (reign.node, reign.incarnation));
        let observed = Observed { by: to, ..Observed::default() };
        Some(Evidence {
            basis: self.basis(to, volume, state),
            observed,
            fencing: FencingProof::HandOver { from, incarnation },
            loss: None,
            forced: None,
        })
    }

    pub(super) fn switchover(&mut self, command: &Command) -> Applied {
        let &Command::Switchover { volume: id, to, parent_epoch, after, ref actor, at } = command else { return Ok(()) };
        input::person(actor)?;
        self.known_volume(id)?;
        self.known_node(to)?;
        let Some(evidence) = self.switchover_evidence(to, id) else { return Err(RefusalKind::UnknownVolume(id)) };
        if let Some(kind) = self.plan(id, to, parent_epoch, &evidence, None)?.refusal() {
            return Err(kind);
        }
        self.not_being_fenced(to, at)?;
        if after != self.last_proposal {
            let (then, now) = (format!("the next after {after}"), format!("the next after {}", self.last_proposal));
            return Err(RefusalKind::EvidenceOutdated { field: EvidenceField::Blocked, then, now });
        }
        let evidence_hash = evidence.hash();
        let approval =
            Approval { actor: actor.clone(), evidence_hash, at, expires_at: self.after_approval_time(at), allowed_by: None };
        let from = self.known_volume(id)?.primary().map_or("nobody".into(), |from| self.node_name(from));
        let proposal = self.open_approved(id, evidence, (actor.clone(), approval), ProposalState::Draining, at);
        let (label, to_name, short) = (self.volume_label(id), self.node_name(to), evidence_hash.short());
        let text = format!("{actor} switches {label} over from {from} to {to_name} ({proposal}), evidence {short}");
        self.record(at, actor, Some(id), Event::SwitchoverBegun { proposal, candidate: to, evidence_hash }, text);
        Ok(())
    }

    /// Takes the volume's one place for what a person has approved already.
    fn open_approved(
        &mut self,
        volume: VolumeId,
        evidence: Evidence,
        (proposer, approval): (Actor, Approval),
        state: ProposalState,
        at: Timestamp,
    ) -> ProposalId {
        self.last_proposal = ProposalId(self.last_proposal.0 + 1);
        let id = self.last_proposal;
        let proposal = Proposal {
            volume,
            candidate: evidence.basis.candidate,
            parent_epoch: evidence.basis.parent_epoch,
            evidence_hash: approval.evidence_hash,
            evidence,
            proposer,
            at,
            expires_at: approval.expires_at,
            state,
            approval: Some(approval),
            lapsed: BTreeMap::new(),
            granted: None,
            drained: None,
            by_hand: None,
            fence: None,
        };
        self.proposals.insert(id, proposal);
        self.with_volume(volume, |volume| volume.open_proposal = Some(id));
        id
    }

    /// R13: the primary's own word is the proof that it serves no more. From here on the nodes promise the next epoch.
    pub(super) fn drained(&mut self, id: ProposalId, boot: Boot, last: LogPoint, at: Timestamp) -> Applied {
        let proposal = self.known_proposal(id)?;
        // Said again because the answer was lost.
        if proposal.drained.is_some() && proposal.hand_over() == Some(boot) {
            return Ok(());
        }
        if proposal.state != ProposalState::Draining {
            return Err(self.closed(id, proposal));
        }
        let (volume, epoch) = (proposal.volume, proposal.parent_epoch);
        self.reigning(volume, epoch, boot)?;
        self.epoch_not_behind(boot.0, last.epoch, epoch)?;
        let to = self.node_name(proposal.candidate);
        self.with_proposal(id, |proposal| {
            proposal.drained = Some(last);
            proposal.state = ProposalState::Fencing;
        });
        let text = format!("{} stopped serving for {id}, its copy ends at {last}", self.node_name(boot.0));
        self.record(at, &Actor::Node(boot.0), Some(volume), Event::Drained { proposal: id, node: boot.0 }, text);
        self.end_reign(volume, &format!("it hands over to {to}"), at);
        Ok(())
    }

    /// The two copies of a switchover end at the same record, or the candidate's is not what it was.
    pub(super) fn not_where_drained(&self, proposal: &Proposal, node: NodeId, last: Option<LogPoint>) -> Option<String> {
        let (drained, last) = (proposal.drained?, last?);
        let other = node == proposal.candidate && last != drained && !planted(Bug::DrainUnconfirmed);
        other.then(|| format!("the copy on {} ends at {last}, and the primary's at {drained}", self.node_name(node)))
    }

    /// Who handed over holds what the candidate holds. It stays a member whether or not its promise came in time: the successor waits
    /// for it from its first record on, so that no moment is without redundancy.
    pub(super) fn handed_over_by(&self, proposal: &Proposal) -> Option<Boot> {
        let boot = proposal.hand_over().filter(|_| proposal.drained.is_some())?;
        self.still_member(proposal.volume, boot).then_some(boot)
    }

    fn still_member(&self, volume: VolumeId, (node, boot): Boot) -> bool {
        let up = self.nodes.get(&node).is_some_and(|known| known.incarnation == boot);
        up && self.volumes.get(&volume).is_some_and(|volume| volume.in_sync.get(&node) == Some(&boot))
    }

    /// A proposal was closed without a grant. If it was a switchover whose primary has stopped serving already, that one gets the
    /// volume back, through the same gate: the person who asked approved this way back with the evidence. A way back that fails is
    /// not tried again: then people decide.
    pub(super) fn give_back(&mut self, of: ProposalId, at: Timestamp) {
        let Some(closed) = self.proposals.get(&of) else { return };
        let (Some(boot), Some(drained), Some(approval)) = (closed.hand_over(), closed.drained, closed.approval.clone()) else {
            return;
        };
        let volume = closed.volume;
        // The boot that it would go back to has ended.
        if self.volumes.get(&volume).is_some_and(|volume| volume.forced.is_some()) {
            return;
        }
        let Some(evidence) = self.way_back(of, volume, boot.0) else { return };
        let (name, label) = (self.node_name(boot.0), self.volume_label(volume));
        if let Some(why) = self.not_given_back(volume, boot, &evidence) {
            let text = format!("{label} is not given back to {name}: {why}; a person decides who serves it");
            return self.record(at, &Actor::Cluster, Some(volume), Event::Note, text);
        }
        let evidence_hash = evidence.hash();
        let text_by = approval.actor.clone();
        let approval = Approval { evidence_hash, expires_at: self.after_approval_time(at), ..approval };
        let proposal = self.open_approved(volume, evidence, (Actor::Cluster, approval), ProposalState::Fencing, at);
        self.with_proposal(proposal, |proposal| proposal.drained = Some(drained));
        let text = format!("{label} goes back to {name} ({proposal}), as {text_by} approved with {of}");
        self.record(at, &Actor::Cluster, Some(volume), Event::GivenBack { proposal, of, candidate: boot.0, evidence_hash }, text);
    }

    fn way_back(&self, of: ProposalId, volume: VolumeId, to: NodeId) -> Option<Evidence> {
        let basis = self.basis(to, volume, self.volumes.get(&volume)?);
        let observed = Observed { by: to, ..Observed::default() };
        Some(Evidence { basis, observed, fencing: FencingProof::GivenBack { of }, loss: None, forced: None })
    }

    /// The approval names a boot: what that boot held is in its memory.
    fn not_given_back(&self, volume: VolumeId, boot: Boot, evidence: &Evidence) -> Option<String> {
        if !self.still_member(volume, boot) {
            return Some(format!("it restarted since its word in boot {}, or left the in-sync set", boot.1));
        }
        let plan = self.plan(volume, boot.0, evidence.basis.parent_epoch, evidence, None);
        plan.map_or_else(Some, |plan| plan.refusal()).map(|kind| kind.to_string())
    }
}
