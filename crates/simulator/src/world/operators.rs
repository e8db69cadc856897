//! The people: they see proposals through some node's eyes, take their time, and are sometimes wrong.

use super::{Event, HELPFUL, VOLUME, World, person};
use crate::disk::Crash;
use crate::queue::{MILLISECOND, SECOND, Time};
use crate::rng::Rng;
use crate::scenario::{A, Approvals, B};
use crate::trace::Trace;
use mainstay_cluster::{
    Actor, Alone, ChangeId, ClusterState, Command, Digest, LostFiles, MaintenanceState, Proposal, ProposalState, ReignState,
    VolumeWish,
};
use mainstay_protocol::{NodeId, ProposalId, Timestamp};
use std::collections::BTreeMap;

/// How often somebody looks at the panel.
const LOOK: Time = 250 * MILLISECOND;
/// A second person decides at most so much later than the first.
const SECOND_THOUGHT: Time = 3 * SECOND;
/// Tickets of operators' commands; nobody waits for their answers.
pub(super) const OPERATOR_TICKET: u64 = super::shell::ANNOUNCE_TICKET;
/// But for their words on proposals, which have tickets of their own from here on: what people are told is judged.
const WORD_TICKETS: u64 = 1 << 62;

/// What a person said about a proposal.
#[derive(Clone, Debug)]
pub struct Word {
    pub proposal: ProposalId,
    pub approves: bool,
    pub by: Actor,
}

pub struct Operators {
    pub(super) rng: Rng,
    pub approvals: Approvals,
    /// Of the person who does most things.
    name: String,
    /// What is said in names that were hers is said by somebody else.
    stolen: Vec<String>,
    /// When each proposal that was seen will be decided on.
    pending: BTreeMap<ProposalId, Time>,
    /// What somebody has looked at and will approve later, whatever becomes of it.
    read: BTreeMap<ProposalId, Digest>,
    /// What a second person will say: when, whether to approve, and what.
    second: BTreeMap<ProposalId, (Time, bool, Digest)>,
    /// When each change that was seen will be decided on.
    pub(super) changes: BTreeMap<ChangeId, Time>,
    /// By ticket, until they are answered.
    words: BTreeMap<u64, Word>,
    last_word: u64,
}

impl Operators {
    pub fn new(rng: Rng, approvals: Approvals) -> Operators {
        Operators {
            rng,
            approvals,
            name: "olga".into(),
            stolen: Vec::new(),
            pending: BTreeMap::new(),
            read: BTreeMap::new(),
            second: BTreeMap::new(),
            changes: BTreeMap::new(),
            words: BTreeMap::new(),
            last_word: WORD_TICKETS,
        }
    }

    fn word(&mut self, proposal: ProposalId, approves: bool, by: Actor) -> u64 {
        self.last_word += 1;
        self.words.insert(self.last_word, Word { proposal, approves, by });
        self.last_word
    }

    /// Whose answer this is, if it is one that a person waits for.
    pub(super) fn answered(&mut self, ticket: u64) -> Option<Word> {
        self.words.remove(&ticket)
    }

    pub(super) fn olga(&self) -> Actor {
        person(&self.name)
    }

    /// When to act on a proposal first seen now; `None`: nobody does.
    pub(super) fn patience(&mut self) -> Option<Time> {
        match self.approvals {
            Approvals::None => None,
            Approvals::After(low, high) | Approvals::Erratic(low, high) => Some(self.rng.range(low, high)),
            Approvals::Late(low, high) | Approvals::Opposite(low, high) => Some(self.rng.range(low, high)),
        }
    }
}

impl World {
    pub(super) fn operate(&mut self) {
        self.queue.after(LOOK, Event::Operators);
        if self.healing && !self.closing {
            self.restart_failed();
        }
        let Some(through) = self.anybody() else { return };
        let view = self.model.view(through);
        if self.healing {
            self.tidy_up(through, &view);
        }
        self.tend_policies(through, &view);
        self.set_superseded_aside(through, &view);
        self.approve_late(through);
        self.decide_second(through);
        self.approve_stolen(through, &view);
        if let Some((id, proposal)) = view.open_proposal(VOLUME) {
            match proposal.state {
                ProposalState::Pending => self.consider(through, id, proposal),
                // A candidate that never comes to serve blocks every other promotion until a person gives up on it (R8).
                ProposalState::Draining | ProposalState::Fencing | ProposalState::CatchingUp => self.reconsider(through, id),
                _ => {}
            }
        }
    }

    fn consider(&mut self, through: NodeId, id: ProposalId, proposal: &Proposal) {
        let now = self.queue.now();
        let Some(due) = self.decision_time(id) else { return };
        if matches!(self.operators.approvals, Approvals::Late(..)) {
            self.operators.read.entry(id).or_insert(proposal.evidence_hash);
            return;
        }
        if now < due {
            return self.approve_alone(through, id, proposal);
        }
        self.operators.pending.insert(id, now + 30 * SECOND);
        if matches!(self.operators.approvals, Approvals::Opposite(..)) {
            return self.decide_first(through, id, proposal.evidence_hash);
        }
        let erratic = matches!(self.operators.approvals, Approvals::Erratic(..));
        match self.operators.rng.below(10) {
            0 if erratic => self.deny(through, id, "not convinced"),
            1 if erratic => self.approve(through, id, Digest::of_value("other evidence", &id)),
            _ => self.approve(through, id, proposal.evidence_hash),
        }
    }

    /// Approves what was read a while ago.
    fn approve_late(&mut self, through: NodeId) {
        let now = self.queue.now();
        let due = |id: &ProposalId| self.operators.pending.get(id).is_some_and(|due| *due <= now);
        let Some(id) = self.operators.read.keys().copied().find(due) else { return };
        if let Some(evidence_hash) = self.operators.read.remove(&id) {
            self.operators.pending.insert(id, now + 30 * SECOND);
            self.approve(through, id, evidence_hash);
        }
    }

    /// One of two people decides; the other, who read the same, will say the opposite a little later, whatever becomes of it.
    fn decide_first(&mut self, through: NodeId, id: ProposalId, evidence_hash: Digest) {
        let approves = self.operators.rng.percent(50);
        let due = self.queue.now() + self.operators.rng.below(SECOND_THOUGHT);
        self.operators.second.insert(id, (due, !approves, evidence_hash));
        self.decide(through, id, approves, evidence_hash);
    }

    fn decide_second(&mut self, through: NodeId) {
        let now = self.queue.now();
        let Some(id) = self.operators.second.iter().find(|(_, (due, ..))| *due <= now).map(|(id, _)| *id) else { return };
        if let Some((_, approves, evidence_hash)) = self.operators.second.remove(&id) {
            self.decide(through, id, approves, evidence_hash);
        }
    }

    fn decide(&mut self, through: NodeId, id: ProposalId, approves: bool, evidence_hash: Digest) {
        if approves { self.approve(through, id, evidence_hash) } else { self.deny(through, id, "not today") }
    }

    fn decision_time(&mut self, id: ProposalId) -> Option<Time> {
        if let Some(due) = self.operators.pending.get(&id) {
            return Some(*due);
        }
        let due = self.queue.now() + self.operators.patience()?;
        self.operators.pending.insert(id, due);
        Some(due)
    }

    /// Her laptop is gone: peter revokes what is on it, and she works on under another name.
    pub(super) fn steal(&mut self) {
        let Some(through) = self.anybody() else { return };
        let (at, old) = (self.wall_of(through), self.operators.name.clone());
        self.operators.stolen.push(old.clone());
        self.operators.name = format!("olga-{}", self.operators.stolen.len() + 1);
        self.trace(Trace::Brief, || format!("peter revokes {old} through {through}"));
        let reason = "her laptop was stolen".into();
        self.propose(through, OPERATOR_TICKET, Command::Revoke { name: old, reason, actor: person("peter"), at });
    }

    /// Whoever has the laptop says yes to everything.
    fn approve_stolen(&mut self, through: NodeId, view: &ClusterState) {
        let Some(name) = self.operators.stolen.last().cloned() else { return };
        let open = view.open_proposal(VOLUME).filter(|(_, proposal)| proposal.state == ProposalState::Pending);
        let Some((id, evidence_hash)) = open.map(|(id, proposal)| (id, proposal.evidence_hash)) else { return };
        if self.operators.rng.one_in(2) {
            // Until it is decided that she is revoked her word counts.
            self.approve_as(through, person(&name), id, evidence_hash);
        }
    }

    fn reconsider(&mut self, through: NodeId, id: ProposalId) {
        let now = self.queue.now();
        let due = *self.operators.pending.entry(id).or_insert(now + 30 * SECOND);
        if now >= due && self.operators.approvals != Approvals::None {
            self.operators.pending.insert(id, now + 30 * SECOND);
            self.deny(through, id, "it does not come to serve");
        }
    }

    fn approve(&mut self, through: NodeId, id: ProposalId, evidence_hash: Digest) {
        self.trace(Trace::Brief, || format!("an operator approves {id} through {through}"));
        self.approve_as(through, self.operators.olga(), id, evidence_hash);
    }

    fn approve_as(&mut self, through: NodeId, actor: Actor, id: ProposalId, evidence_hash: Digest) {
        self.checkers.approved(self.queue.now(), id, evidence_hash);
        let now = self.nodes[&through].clock.now(self.queue.now());
        let waited_ms = self.nodes[&through].process.as_ref().map_or(0, |process| process.replica.known_ms(id, now));
        let ticket = self.operators.word(id, true, actor.clone());
        self.propose(through, ticket, Command::Approve { proposal: id, evidence_hash, actor, waited_ms, at: now.wall });
    }

    fn deny(&mut self, through: NodeId, id: ProposalId, reason: &str) {
        let at = self.wall_of(through);
        let actor = self.operators.olga();
        let ticket = self.operators.word(id, false, actor.clone());
        self.propose(through, ticket, Command::Deny { proposal: id, reason: reason.into(), actor, at });
    }

    /// While healing: what latches until a person acts is acted upon.
    fn tidy_up(&mut self, through: NodeId, view: &ClusterState) {
        self.operators.approvals = HELPFUL;
        let at = self.wall_of(through);
        let latched = |volume: &mainstay_cluster::VolumeState| volume.breaker != mainstay_cluster::Breaker::default();
        self.lift_holds(view);
        if view.volumes.get(&VOLUME).is_some_and(latched) && self.operators.rng.one_in(4) {
            self.reset_breaker("the faults have ended");
        }
        self.go_on_alone(view);
        // One whose node did not answer then is ended again when it does.
        let open =
            view.maintenance.iter().find(|(_, m)| m.state == MaintenanceState::Active || !m.back && self.nodes[&m.node].up());
        if let Some((id, known)) = open {
            let (maintenance, answers) = (*id, self.nodes[&known.node].up());
            let command = Command::EndMaintenance { maintenance, answers, actor: self.operators.olga(), at };
            self.propose(through, OPERATOR_TICKET, command);
        }
    }

    /// A quorum was forced: no second copy and nothing better ever comes back.
    fn go_on_alone(&mut self, view: &ClusterState) {
        let Some(volume) = view.volumes.get(&VOLUME).filter(|volume| volume.replicas.len() == 1) else { return };
        if volume.rules.alone == Alone::ReadOnly {
            self.ask_to_set(VolumeWish { alone: Some(Alone::Serve), ..VolumeWish::default() });
        }
        let lacking = volume.forced.is_some() && volume.in_sync.is_empty() && view.open_proposal(VOLUME).is_none();
        if let Some(survivor) = volume.replicas.first().copied().filter(|_| lacking && self.operators.rng.one_in(8)) {
            self.give_up_for(survivor);
        }
    }

    pub(super) fn reset_breaker(&mut self, reason: &str) {
        let Some(through) = self.anybody() else { return };
        let (at, reason) = (self.wall_of(through), reason.to_string());
        self.propose(through, OPERATOR_TICKET, Command::ResetBreaker { volume: VOLUME, reason, actor: self.operators.olga(), at });
    }

    /// Retries, and networks that repeat: what was said once may be heard again, much later, and must change nothing that it should
    /// not. What a person says about the cluster, rather than about one proposal, is not among it: said again, it is meant again.
    pub(super) fn echo(&mut self) {
        let Some(through) = self.anybody() else { return };
        let meant = |command: &Command| {
            use Command::*;
            let upkeep = matches!(command, BeginMaintenance { .. } | EndMaintenance { .. } | ExtendMaintenance { .. });
            // The name of who joined is free again when it is gone.
            let upkeep = upkeep || matches!(command, AddNode { .. });
            // Its node says once what came of it.
            let upkeep = upkeep || matches!(command, FenceAsked { .. });
            upkeep || matches!(command, ResetBreaker { .. } | SetVolume { .. } | SetHold { .. })
        };
        let again = |command: &&Command| !meant(command);
        let heard: Vec<Command> = self.said.iter().filter(again).cloned().collect();
        if !heard.is_empty() {
            let command = self.operators.rng.pick(&heard).clone();
            self.trace(Trace::Brief, || format!("{through} hears again {command:?}"));
            self.hand_in(through, OPERATOR_TICKET, command);
        }
    }

    /// `mainstay promote`: a proposal with what the asked node has seen, whether or not it may be.
    pub(super) fn ask_to_promote(&mut self, candidate: NodeId) {
        let Some(through) = self.anybody() else { return };
        let (now, view) = (self.nodes[&through].clock.now(self.queue.now()), self.model.view(through));
        let Some(process) = self.nodes[&through].process.as_ref() else { return };
        let Some(evidence) = view.evidence(candidate, VOLUME, &process.replica.observed(now)) else { return };
        let Some(parent_epoch) = view.volumes.get(&VOLUME).map(|volume| volume.epoch) else { return };
        let (evidence, proposer, at) = (Box::new(evidence), person("peter"), now.wall);
        let command = Command::Propose { volume: VOLUME, candidate, parent_epoch, evidence, proposer, at };
        self.propose(through, OPERATOR_TICKET, command);
    }

    /// `mainstay propose --give-up`: as [`World::ask_to_promote`], and what is lost by it is named.
    pub(super) fn give_up_for(&mut self, candidate: NodeId) {
        let Some(through) = self.anybody() else { return };
        let (now, view) = (self.nodes[&through].clock.now(self.queue.now()), self.model.view(through));
        let Some(process) = self.nodes[&through].process.as_ref() else { return };
        let observed = process.replica.observed(now);
        let named = (None, LostFiles::Unknown("nobody can read the other copy".into()), "it does not come back".to_string());
        let Some(evidence) = view.evidence_with_loss(candidate, VOLUME, &observed, named) else { return };
        let (parent_epoch, proposer, at) = (evidence.basis.parent_epoch, person("peter"), now.wall);
        self.trace(Trace::Brief, || format!("peter proposes {candidate} through {through}, whatever is lost by it"));
        let command = Command::Propose { volume: VOLUME, candidate, parent_epoch, evidence: Box::new(evidence), proposer, at };
        self.propose(through, OPERATOR_TICKET, command);
    }

    /// Who proposed to give something up is asked now and then to approve it, too: that must not do.
    fn approve_alone(&mut self, through: NodeId, id: ProposalId, proposal: &Proposal) {
        if proposal.evidence.loss.is_some() && self.operators.rng.one_in(4) {
            self.trace(Trace::Brief, || format!("{} approves {id} through {through}", proposal.proposer));
            self.approve_as(through, proposal.proposer.clone(), id, proposal.evidence_hash);
        }
    }

    /// `mainstay copy set-aside`, and a restart: what a person does with a copy that the cluster has left behind.
    pub(super) fn set_superseded_aside(&mut self, through: NodeId, view: &ClusterState) {
        // Erratic people also ask for copies that are needed; the cluster refuses, and a sound copy its own node.
        let erratic = matches!(self.operators.approvals, Approvals::Erratic(..)) && self.operators.rng.one_in(64);
        let any = if erratic { Some(*self.operators.rng.pick(&[A, B])) } else { None };
        let Some(node) = any.or(self.superseded.first().copied()) else { return };
        let serving = view
            .volumes
            .get(&VOLUME)
            .is_some_and(|volume| volume.reign.is_some_and(|reign| reign.state == ReignState::Serving && reign.node != node));
        if any.is_none() && (!serving || !self.operators.rng.one_in(8)) {
            return;
        }
        let (reason, actor, at) = ("two people gave it up".to_string(), self.operators.olga(), self.wall_of(through));
        self.propose(through, OPERATOR_TICKET, Command::SetAsideCopy { volume: VOLUME, node, reason, actor, at });
    }

    /// Decided: the node does it when it starts next, and it is started now.
    pub(super) fn copy_was_set_aside(&mut self, node: NodeId) {
        if self.superseded.remove(&node) {
            self.crash(node, Crash::Process);
            self.rebuild(node);
            self.start(node);
        }
    }

    /// `mainstay switchover`, as somebody asks who looks at the cluster through one node.
    pub(super) fn switch_over(&mut self, to: NodeId) {
        let Some(through) = self.anybody() else { return };
        let (view, at) = (self.model.view(through), self.wall_of(through));
        let Some(parent_epoch) = view.volumes.get(&VOLUME).map(|volume| volume.epoch) else { return };
        let (after, actor) = (view.last_proposal, self.operators.olga());
        self.checkers.p4.asked(to, parent_epoch, after);
        self.trace(Trace::Brief, || format!("an operator asks {through} to switch over to {to}"));
        self.propose(through, OPERATOR_TICKET, Command::Switchover { volume: VOLUME, to, parent_epoch, after, actor, at });
    }

    pub(super) fn switch_away(&mut self) {
        if let Some(primary) = self.serving() {
            self.switch_over(if primary == A { B } else { A });
        }
    }

    /// Whatever is open; too late when it was granted, or never begun.
    pub(super) fn call_off(&mut self) {
        let Some(through) = self.anybody() else { return };
        let view = self.model.view(through);
        let open = view.open_proposal(VOLUME).filter(|(_, proposal)| proposal.state.undecided());
        if let Some((id, _)) = open {
            self.deny(through, id, "called off");
        }
    }

    pub(super) fn begin_maintenance(&mut self, node: NodeId, lasts: Time, confirmed: bool) {
        let Some(through) = self.anybody() else { return };
        let at = self.wall_of(through);
        let command = Command::BeginMaintenance {
            node,
            owner: self.operators.name.clone(),
            reason: "planned by the provider".into(),
            ends_at: Timestamp::from_millis(at.as_millis() + (lasts / MILLISECOND) as i64),
            allow_primary: confirmed,
            actor: self.operators.olga(),
            at,
        };
        self.propose(through, OPERATOR_TICKET, command);
    }

    pub(super) fn extend_maintenance(&mut self, node: NodeId, lasts: Time) {
        let Some(through) = self.anybody() else { return };
        let at = self.wall_of(through);
        let ends_at = Timestamp::from_millis(at.as_millis() + (lasts / MILLISECOND) as i64);
        // Also one that was ended: people do not always know.
        let open = self.decided().maintenance.iter().find(|(_, maintenance)| maintenance.node == node).map(|(id, _)| *id);
        if let Some(maintenance) = open {
            let command = Command::ExtendMaintenance { maintenance, ends_at, actor: self.operators.olga(), at };
            self.propose(through, OPERATOR_TICKET, command);
        }
    }

    pub(super) fn end_maintenance(&mut self, node: NodeId) {
        let Some(through) = self.anybody() else { return };
        let at = self.wall_of(through);
        if let Some((maintenance, _)) = self.decided().maintenance_of(node) {
            let (answers, actor) = (self.nodes[&node].up(), self.operators.olga());
            self.propose(through, OPERATOR_TICKET, Command::EndMaintenance { maintenance, answers, actor, at });
        }
    }

    pub(super) fn anybody(&mut self) -> Option<NodeId> {
        let up: Vec<NodeId> = self.nodes.values().filter(|node| node.process.is_some()).map(|node| node.id).collect();
        (!up.is_empty()).then(|| *self.operators.rng.pick(&up))
    }

    pub(super) fn wall_of(&self, node: NodeId) -> Timestamp {
        self.nodes[&node].clock.now(self.queue.now()).wall
    }
}
