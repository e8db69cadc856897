//! The node's part in a promotion: noticing that the primary is missing, proposing with evidence, and giving its word that the
//! old epoch is over. It decides nothing: the one gate is `ClusterState::apply` (R7).

use crate::core::{Core, Purpose};
use crate::event::Note;
use crate::secondary::first_in_line;
use mainstay_cluster::limits::DRAIN_MS_MAX;
use mainstay_cluster::{
    Actor, Command, Contact, CopyReport, CopyState, EvidenceField, Explanation, Known, Observed, Proposal, ProposalState, Verdict,
};
use mainstay_protocol::marks::mark;
use mainstay_protocol::planted::{Bug, planted};
use mainstay_protocol::{LogPoint, Mono, NodeId, Now, ProposalId};
use std::cmp::Reverse;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub struct Gate {
    /// When the reigning primary last asked for its lease here.
    pub lease_asked: Option<Mono>,
    /// Why no proposal is made, said once per reason.
    last_refusal: Option<String>,
    /// Since when a switchover's primary has stopped serving, as seen here, and nobody else was granted the volume.
    handed_over: Option<(ProposalId, Mono)>,
    /// The open proposal, and since when this node knows of it and of its approval.
    known: Option<(ProposalId, Mono, Option<Mono>)>,
    /// When this node asked for its last proposal: its own it knows from then on, however late it hears that it was decided.
    proposed: Mono,
    next_attempt: Mono,
}

impl Gate {
    /// A new reign is given the same patience as one that was heard just now.
    pub fn reign_changed(&mut self, now: Mono) {
        self.lease_asked = Some(now);
        self.last_refusal = None;
    }

    /// Keeps the promise where the cluster state wants it (R2).
    pub fn follow_view(&mut self, core: &mut Core) {
        let floor = core.view.promise_floor(core.me.volume);
        let version = core.view.version;
        core.store_promise(floor);
        if let Some(promise) = core.promise.release(floor, version) {
            mark("gate: promise released");
            core.out.push(crate::event::Effect::StorePromise(promise));
        }
    }

    /// `able`: this node may become a candidate (it is not reigning, and not stopping). `stopping`: it was asked to end.
    pub fn poll(&mut self, core: &mut Core, able: bool, stopping: bool, now: Now) {
        // The view is shared: a proposal with its evidence is too large to be copied at every poll.
        let view = core.view.clone();
        match view.open_proposal(core.me.volume) {
            // Granted, and not heard to serve: if the candidate is missing, the next proposal closes it.
            Some((_, proposal)) if proposal.state == ProposalState::CatchingUp && able => self.watch(core, now),
            // Granted to a boot that ends, the volume would have nobody else in sync: the others' words may be too late to count.
            Some((_, proposal)) if stopping && proposal.candidate == core.me.node && !planted(Bug::PromoteLeaver) => {
                mark("gate: a candidate that stops gives no word");
            }
            Some((id, proposal)) => self.tend(core, id, proposal, now),
            None if able => self.watch(core, now),
            None => {}
        }
    }

    fn tend(&mut self, core: &mut Core, id: ProposalId, proposal: &Proposal, now: Now) {
        let overdue = self.hand_over_overdue(id, proposal, now);
        let waited_ms = self.known_ms(core, id, proposal, now);
        let void = |field, seen: &str| Command::Void { proposal: id, field, seen: seen.into(), by: core.me.node, at: now.wall };
        let changed = if proposal.state.undecided() { copies_changed(core, proposal, waited_ms, now) } else { None };
        if let Some((field, seen)) = changed {
            let command = void(field, &seen);
            core.propose(Purpose::Void, now, command);
            return;
        }
        let command = match proposal.state {
            ProposalState::Pending if self.primary_heard(core, now) => {
                mark("gate: void because the primary is heard");
                void(EvidenceField::PrimaryHeard, "the primary asks for its lease again")
            }
            ref state if state.undecided() && Self::candidate_gone(core, proposal, now) => {
                mark("gate: void because the candidate is gone");
                void(EvidenceField::CandidateCopy, "the candidate is not heard any more")
            }
            ProposalState::Draining if self.primary_gone(core, now) => {
                mark("gate: void because the draining primary is gone");
                void(EvidenceField::Drain, "the primary is not heard any more")
            }
            ProposalState::Fencing if overdue => {
                mark("gate: void because the hand-over takes too long");
                void(EvidenceField::Drain, "the target did not come to be granted the volume in time")
            }
            ref state if state.undecided() && waited_ms >= core.view.settings.approval_ms => {
                mark("gate: expired");
                Command::Expire { proposal: id, approved: proposal.approval.is_some(), waited_ms, at: now.wall }
            }
            ProposalState::Fencing => return self.give_word(core, id, proposal, waited_ms, now),
            _ => return,
        };
        core.propose(Purpose::Void, now, command);
    }

    /// So long this node has known the proposal, or its approval, by the clock that nobody sets. An approval is never younger than it
    /// can be: whoever is asked approves nothing that it has known for its whole life.
    fn known_ms(&mut self, core: &Core, id: ProposalId, proposal: &Proposal, now: Now) -> u64 {
        let own = proposal.proposer == Actor::Node(core.me.node) && self.proposed != Mono::ZERO;
        let first = if own { self.proposed } else { now.mono };
        let (_, since, approved) = self.known.filter(|(of, ..)| *of == id).unwrap_or((id, first, None));
        let approved = proposal.approval.as_ref().map(|_| approved.unwrap_or(now.mono));
        self.known = Some((id, since, approved));
        let proposed_ms = now.mono.ms_since(since);
        let limit_ms = core.view.settings.approval_ms;
        if planted(Bug::OldApproval) {
            return 0;
        }
        approved.map_or(proposed_ms, |approved| {
            // The candidate has seen the proposal's whole life: what it learns when that is over came too late for it.
            let late = proposal.candidate == core.me.node && approved.ms_since(since) >= limit_ms;
            let floor_ms = if late { limit_ms } else { proposed_ms.saturating_sub(limit_ms) };
            now.mono.ms_since(approved).max(floor_ms)
        })
    }

    pub fn proposed_ms(&self, id: ProposalId, now: Now) -> u64 {
        let known = self.known.filter(|(known, ..)| *known == id && !planted(Bug::OldApproval));
        known.map_or(0, |(_, since, _)| now.mono.ms_since(since))
    }

    /// Said only by a node that was up long enough to have heard it, and that hears a majority itself.
    /// Clients wait for a switchover, and calling it off costs nothing but that: then less patience will do.
    fn candidate_gone(core: &Core, proposal: &Proposal, now: Now) -> bool {
        let candidate = proposal.candidate;
        let patience_ms = if proposal.hand_over().is_some() { core.timing.shrink_ms } else { core.timing.missing_ms };
        let silent_ms = core.contacts.silent_ms(candidate, now.mono).unwrap_or(core.contacts.up_ms(now.mono));
        candidate != core.me.node && silent_ms >= patience_ms && core.hears_majority(now.mono)
    }

    /// Of a reign that has to drain: then nobody else can be waited for.
    fn primary_gone(&self, core: &Core, now: Now) -> bool {
        let reigns = core.state().is_some_and(|state| state.reigns(core.me.node, core.me.incarnation));
        !reigns && self.primary_missing(core, now) && core.hears_majority(now.mono)
    }

    /// Without a bound a target that is heard, but cannot store its promise, would leave the volume without a primary.
    fn hand_over_overdue(&mut self, id: ProposalId, proposal: &Proposal, now: Now) -> bool {
        let handed_over = proposal.state == ProposalState::Fencing && proposal.hand_over().is_some();
        let known = self.handed_over.filter(|(of, _)| *of == id).unwrap_or((id, now.mono));
        self.handed_over = handed_over.then_some(known);
        handed_over && now.mono.ms_since(known.1) >= DRAIN_MS_MAX
    }

    /// "My promise to the old epoch has lapsed, and I have durably promised the new one" (R2, R13).
    fn give_word(&mut self, core: &mut Core, id: ProposalId, proposal: &Proposal, waited_ms: u64, now: Now) {
        let promised = proposal.parent_epoch.next();
        let given = proposal.lapsed.get(&core.me.node).is_some_and(|word| word.incarnation == core.me.incarnation);
        let fenced = core.state().is_some_and(|state| state.fenced);
        let over = core.promise.lapsed(now.mono) || fenced;
        if !given && !over {
            mark("gate: waits for its own promise to lapse");
        }
        if given || !over || core.promise.settled().is_none_or(|settled| settled < promised) {
            return;
        }
        let last = core.volume.as_ref().filter(|volume| volume.complete() && core.failed.is_none()).map(|volume| volume.last());
        let (node, incarnation) = (core.me.node, core.me.incarnation);
        mark("gate: gives its word");
        let command = Command::Lapsed { proposal: id, node, incarnation, promised, last, waited_ms, at: now.wall };
        core.propose(Purpose::Lapsed(id), now, command);
    }

    fn primary_heard(&self, core: &Core, now: Now) -> bool {
        let reigns = core.state().is_some_and(|state| state.reign.is_some());
        reigns && self.lease_asked.is_some_and(|at| now.mono.ms_since(at) < core.timing.shrink_ms)
    }

    fn primary_missing(&self, core: &Core, now: Now) -> bool {
        let Some(state) = core.state() else { return false };
        let silent_ms = self.lease_asked.map_or(core.contacts.up_ms(now.mono), |at| now.mono.ms_since(at));
        state.reign.is_none() || silent_ms >= core.timing.missing_ms
    }

    /// Proposes when the primary is missing and this node is the one to say so.
    fn watch(&mut self, core: &mut Core, now: Now) {
        if planted(Bug::PromoteOnReturn) && Self::just_returned(core, now) {
            return self.propose(core, core.me.node, &observe(core, now), now);
        }
        if let Some(again) = failed_before(core).filter(|_| self.primary_missing(core, now) && now.mono >= self.next_attempt) {
            self.next_attempt = now.mono.after_ms(core.timing.retry_ms);
            return self.propose(core, again, &observe(core, now), now);
        }
        let member = core.state().is_some_and(|state| state.in_sync.contains_key(&core.me.node));
        let fit = core.failed.is_none() && core.volume.as_ref().is_some_and(|volume| volume.complete());
        let soon = now.mono < self.next_attempt || Self::not_heard_yet(core, now);
        if soon
            || !member
            || !fit
            || !self.primary_missing(core, now)
            || !core.hears_majority(now.mono)
            || !first_in_line(core, now)
        {
            return;
        }
        self.next_attempt = now.mono.after_ms(core.timing.retry_ms << contradicted(core).min(CONTRADICTED_DOUBLINGS_MAX));
        let observed = observe(core, now);
        let Some(candidate) = choose(core, &observed, now) else { return };
        self.propose(core, candidate, &observed, now);
    }

    /// After a boot the other members get some time to say where their copies end: one of them may be the better candidate.
    fn not_heard_yet(core: &Core, now: Now) -> bool {
        let said = |node: &NodeId| core.contacts.get(*node).is_some_and(|contact| contact.said.is_some());
        let members = core.state().map(|state| &state.in_sync);
        let silent = members.is_some_and(|set| set.keys().any(|node| *node != core.me.node && !said(node)));
        silent && core.contacts.up_ms(now.mono) < core.timing.missing_ms
    }

    /// For the planted bug: this boot is not the first, is young, and is not the primary.
    fn just_returned(core: &Core, now: Now) -> bool {
        let away = core.me.incarnation.0 > 1 && core.contacts.up_ms(now.mono) < 2 * core.timing.missing_ms;
        let reigns = core.state().is_some_and(|state| state.reigns(core.me.node, core.me.incarnation));
        away && !reigns && core.view.open_proposal(core.me.volume).is_none()
    }

    fn propose(&mut self, core: &mut Core, candidate: NodeId, observed: &Observed, now: Now) {
        let explanation = core.view.explain_promote(candidate, core.me.volume, observed);
        if !explanation.promotable() {
            mark("gate: the rules stand against it");
            return self.explain_once(core, blockers(&explanation));
        }
        if let Some(denied) = core.view.denied_before(core.me.volume, candidate, now.wall) {
            mark("gate: a person denied this plan");
            return self.explain_once(core, denied.to_string());
        }
        let Some(evidence) = core.view.evidence(candidate, core.me.volume, observed) else { return };
        let command = Command::Propose {
            volume: core.me.volume,
            candidate,
            parent_epoch: core.view_epoch(),
            evidence: Box::new(evidence),
            proposer: Actor::Node(core.me.node),
            at: now.wall,
        };
        mark("gate: proposes");
        if core.propose(Purpose::Promotion, now, command) {
            self.proposed = now.mono;
        }
    }

    fn explain_once(&mut self, core: &mut Core, reason: String) {
        if self.last_refusal.as_ref() != Some(&reason) {
            core.note(Note::ProposeRefused { reason: reason.clone() });
            self.last_refusal = Some(reason);
        }
    }

    pub fn next_timer(&self, core: &Core, now: Now) -> Mono {
        let lapse = core.promise.lapses_at();
        let soon = now.mono.after_ms(core.timing.heartbeat_ms);
        let missing = self.lease_asked.map_or(soon, |asked| asked.after_ms(core.timing.missing_ms));
        [lapse, missing].into_iter().filter(|at| *at > now.mono).fold(soon, Mono::min)
    }
}

/// What this node saw, and what others told it that they saw.
pub fn observe(core: &Core, now: Now) -> Observed {
    let replicas = core.state().map(|state| state.replicas.clone()).unwrap_or_default();
    let old = core.state().and_then(|state| state.primary().or(state.last_primary));
    let copies = replicas.iter().map(|node| (*node, copy_of(core, *node, now))).collect();
    let observers = core.view.nodes.keys().filter(|node| Some(**node) != old);
    let contacts: BTreeMap<NodeId, Contact> = match old {
        Some(old) => observers.map(|node| (*node, contact_with(core, *node, old, now))).collect(),
        None => BTreeMap::new(),
    };
    let known = |(node, _): &(NodeId, i64)| core.view.nodes.contains_key(node);
    let clocks = core.contacts.clocks(now.mono, core.view.settings.contact_lost_ms).filter(known).collect();
    Observed { by: core.me.node, copies, contacts, clocks }
}

fn copy_of(core: &Core, node: NodeId, now: Now) -> Known<CopyReport> {
    if node == core.me.node {
        let Some(volume) = core.volume.as_ref() else { return Known::Unknown };
        let state = match (core.failed.is_some(), volume.complete()) {
            (true, _) => CopyState::Failed,
            (_, true) => CopyState::Complete,
            _ => CopyState::Resync,
        };
        let (last, durable, committed, health) = (volume.last(), volume.durable(), volume.committed(), core.health());
        return Known::Known(CopyReport { last, durable, committed, state, health, incarnation: core.me.incarnation, age_ms: 0 });
    }
    let Some(contact) = core.contacts.get(node) else { return Known::Unknown };
    let Some(said) = contact.said.as_ref() else { return Known::Unknown };
    Known::Known(CopyReport {
        last: said.last,
        durable: said.durable,
        committed: said.committed,
        state: match (said.health.failed, said.complete) {
            (true, _) => CopyState::Failed,
            (_, true) => CopyState::Complete,
            _ => CopyState::Resync,
        },
        health: said.health,
        incarnation: contact.incarnation,
        age_ms: now.mono.ms_since(said.at),
    })
}

/// When `observer` last heard the old primary. One that booted since, and never heard it, says how long it has been listening: a
/// witness that restarts while the primary is dead would otherwise stand in the way until the primary is back.
fn contact_with(core: &Core, observer: NodeId, old: NodeId, now: Now) -> Contact {
    if observer == core.me.node {
        let silent = Contact::SilentSinceBoot { ms_ago: core.contacts.up_ms(now.mono) };
        return core.contacts.silent_ms(old, now.mono).map_or(silent, |ms_ago| Contact::Heard { ms_ago });
    }
    let Some(said) = core.contacts.get(observer).and_then(|contact| contact.said.as_ref()) else { return Contact::Unknown };
    let age_ms = now.mono.ms_since(said.at);
    match said.seen.iter().find(|(node, _)| *node == old) {
        Some((_, ms_ago)) => Contact::Heard { ms_ago: ms_ago.saturating_add(age_ms) },
        None => Contact::SilentSinceBoot { ms_ago: said.up_ms.saturating_add(age_ms) },
    }
}

/// After so many, no longer pause between two proposals: with a lease of 2 s a minute.
const CONTRADICTED_DOUBLINGS_MAX: u32 = 7;

/// How many proposals of this node, the newest ones, others have called void because of what they hear of the copies. Where this node does
/// not hear it the next one will fare the same, and people are to have time to read.
fn contradicted(core: &Core) -> u32 {
    let of_volume = core.view.proposals.values().rev().filter(|proposal| proposal.volume == core.me.volume);
    let contradicted = |proposal: &&Proposal| {
        let field = match &proposal.state {
            ProposalState::Void { field, .. } => Some(*field),
            _ => None,
        };
        let copies = matches!(field, Some(EvidenceField::Positions | EvidenceField::CandidateCopy));
        copies && proposal.proposer == Actor::Node(core.me.node)
    };
    of_volume.take_while(contradicted).count() as u32
}

/// R14: what the copies say of themselves since the proposal is known here, and what no longer fits its evidence.
fn copies_changed(core: &Core, proposal: &Proposal, known_ms: u64, now: Now) -> Option<(EvidenceField, String)> {
    if planted(Bug::PromoteOnReturn) {
        return None;
    }
    let said = |node: NodeId| match copy_of(core, node, now) {
        Known::Known(copy) if copy.age_ms <= known_ms => Some(copy),
        _ => None,
    };
    let (basis, candidate) = (&proposal.evidence.basis, proposal.candidate);
    let same_boot = said(candidate).filter(|copy| copy.incarnation == basis.candidate_incarnation);
    if same_boot.is_some_and(|copy| copy.state != CopyState::Complete) {
        mark("gate: void because the candidate's copy failed");
        return Some((
            EvidenceField::CandidateCopy,
            format!("the copy on {} is not whole any more", core.view.node_name(candidate)),
        ));
    }
    // A candidate that did not restart holds all that was acknowledged, and a switchover's primary is asked itself.
    let named = proposal.evidence.loss.is_some();
    let restarted = basis.in_sync.get(&candidate) != Some(&basis.candidate_incarnation);
    if proposal.evidence.fencing.planned() || !named && !restarted {
        return None;
    }
    let Some(Known::Known(shown)) = proposal.evidence.observed.copies.get(&candidate) else { return None };
    let reach = |last: LogPoint| (last.epoch, last.position);
    let counts = |node: &NodeId| *node != candidate && (named || basis.in_sync.contains_key(node));
    let mut others = core.state()?.replicas.iter().filter(|node| counts(node)).filter_map(|node| Some((*node, said(*node)?)));
    let (node, copy) = others.find(|(_, copy)| copy.state == CopyState::Complete && reach(copy.last) > reach(shown.last))?;
    mark("gate: void because a longer copy is heard");
    Some((EvidenceField::Positions, format!("the copy on {} is whole, and reaches {}", core.view.node_name(node), copy.last)))
}

/// With the bug planted: the candidate of the promotion that failed last.
fn failed_before(core: &Core) -> Option<NodeId> {
    let failed = core.state()?.breaker.failed.last().filter(|_| planted(Bug::RetryForever))?;
    Some(core.view.proposals.get(&failed.proposal)?.candidate)
}

/// The best candidate among the in-sync members that are alive: one whose memory is whole before one that restarted, and of those
/// the one whose copy reaches farthest.
fn choose(core: &Core, observed: &Observed, now: Now) -> Option<NodeId> {
    let state = core.state()?;
    let alive = |node: NodeId| {
        if core.leaves(node) && !planted(Bug::PromoteLeaver) {
            mark("gate: a member that stops is no candidate");
            return None;
        }
        let heard = node == core.me.node || core.contacts.silent_ms(node, now.mono).is_some_and(|ms| ms < core.timing.lease_ms);
        match observed.copies.get(&node) {
            Some(Known::Known(copy)) if heard && copy.state == CopyState::Complete => Some(copy),
            _ => None,
        }
    };
    let candidates = state.in_sync.iter().filter_map(|(node, incarnation)| {
        let copy = alive(*node)?;
        let restarted = copy.incarnation != *incarnation;
        let reach = if restarted { (copy.last.epoch, copy.last.position) } else { Default::default() };
        Some((restarted, Reverse(reach), *node))
    });
    candidates.min().map(|(.., node)| node)
}

/// The rules that stand against the promotion, on one line.
fn blockers(explanation: &Explanation) -> String {
    let failing = explanation.checks.iter().filter(|check| check.verdict != Verdict::Holds);
    failing.map(|check| format!("{}: {} ({})", check.rule, check.claim, check.value)).collect::<Vec<_>>().join("; ")
}
