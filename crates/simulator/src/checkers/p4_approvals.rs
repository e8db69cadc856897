//! P4: no role change that no person approved; none of, or because of, a node in maintenance.

use super::{Finding, Grant};
use crate::queue::{MILLISECOND, SECOND, Time};
use crate::world::operators::Word;
use mainstay_cluster::{Actor, ClusterState, Digest, FencingProof, Policy, Proposal, Rule};
use mainstay_protocol::{Epoch, NodeId, ProposalId};
use std::collections::{BTreeMap, BTreeSet};

/// What a decision may take, and a clock that is slow by a fiftieth, on top of what an approval is good for.
const SLACK: Time = 8 * SECOND;
const DRIFT_PARTS: Time = 40;

#[derive(Clone, Copy)]
struct Times {
    proposed: Time,
    /// First and last.
    approved: Option<(Time, Time)>,
}

#[derive(Default)]
pub struct Approvals {
    /// What operators have approved, in their own hand.
    approved: BTreeMap<ProposalId, BTreeSet<Digest>>,
    used: BTreeSet<ProposalId>,
    /// True time of the first decision that showed it, of the first approval that was asked for, and of the last.
    times: BTreeMap<ProposalId, Times>,
    /// Whose approval counts, as that person was told; and what was denied, by the same.
    told: BTreeMap<ProposalId, Actor>,
    denied: BTreeSet<ProposalId>,
    /// Switchovers that somebody asked for: to whom, from which epoch, and which proposal was the newest then.
    asked: BTreeSet<(NodeId, Epoch, ProposalId)>,
}

impl Approvals {
    pub fn approved(&mut self, now: Time, proposal: ProposalId, evidence: Digest) {
        if let Some(times) = self.times.get_mut(&proposal) {
            times.approved = Some((times.approved.map_or(now, |(first, _)| first), now));
        }
        self.approved.entry(proposal).or_default().insert(evidence);
    }

    pub fn asked(&mut self, to: NodeId, from: Epoch, after: ProposalId) {
        self.asked.insert((to, from, after));
    }

    /// Who asks for a switchover approves it, once: of two that came of one wish, the second is nobody's.
    pub fn decided(&mut self, now: Time, before: &ClusterState, after: &ClusterState) {
        let Some((id, proposal)) = after.proposals.iter().next_back().filter(|(id, _)| !before.proposals.contains_key(id)) else {
            return;
        };
        self.times.insert(*id, Times { proposed: now, approved: None });
        let wish = (proposal.candidate, proposal.parent_epoch, before.last_proposal);
        if proposal.hand_over().is_some() && self.asked.remove(&wish) {
            self.approved(now, *id, proposal.evidence_hash);
        }
    }

    /// A switchover that was called off after its primary had stopped: the approval names the way back, to that boot.
    fn given_back(&self, grant: &Grant, after: &ClusterState, proposal: &Proposal) -> bool {
        let FencingProof::GivenBack { of } = proposal.evidence.fencing else { return false };
        let first = after.proposals.get(&of).filter(|_| self.approved.contains_key(&of));
        first.is_some_and(|first| first.granted.is_none() && first.hand_over() == Some((grant.node, grant.incarnation)))
    }

    pub fn granted(&mut self, now: Time, grant: &Grant, before: &ClusterState, after: &ClusterState) -> Vec<Finding> {
        let returned = self.returned(grant, after);
        let found = self.unapproved(grant, before, after).into_iter().chain(outdated(grant, after));
        let found = found.chain(on_hold(grant, before, after)).chain(revoked(grant, before, after));
        let late = self.late(now, grant, after);
        found.chain(in_maintenance(grant, before, after)).chain(returned).chain(late).collect()
    }

    /// One of those who decide at the same time is told that it counts, and what is done is what that one said.
    pub fn told(&mut self, word: &Word, decided: &ClusterState) -> Option<Finding> {
        let Word { proposal: id, approves, by } = word;
        let known = decided.proposals.get(id);
        if !approves {
            self.denied.insert(*id);
            let undecided = known.is_some_and(|proposal| proposal.state.undecided());
            return undecided.then(|| (Rule::R14, format!("{by} was told that {id} is denied, and it goes on")));
        }
        let approval = known.and_then(|proposal| proposal.approval.as_ref());
        if approval.is_some_and(|approval| approval.actor != *by) || known.is_some() && approval.is_none() {
            return Some((Rule::R14, format!("{by} was told that the approval of {id} counts, and it is not in its record")));
        }
        let first = self.told.insert(*id, by.clone())?;
        Some((Rule::R14, format!("{by} was told that the approval of {id} counts, as {first} was before")))
    }

    /// By the time that nobody's clock shows. Of several approvals one was taken: too late is what all of them would be.
    fn late(&self, now: Time, grant: &Grant, after: &ClusterState) -> Option<Finding> {
        let (id, _) = after.proposals.iter().find(|(_, proposal)| proposal.granted == Some(grant.after.epoch))?;
        if self.denied.contains(id) {
            return Some((Rule::R14, format!("{} was granted to {} by {id}, which was denied", grant.after.epoch, grant.name)));
        }
        let Times { proposed, approved } = self.times.get(id)?;
        let (first, last) = (*approved)?;
        let limit = after.settings.approval_ms * MILLISECOND;
        let limit = limit + limit / DRIFT_PARTS + SLACK;
        let (waited, old) = (first.saturating_sub(*proposed), now.saturating_sub(last));
        (waited > limit || old > limit).then(|| {
            let (epoch, name) = (grant.after.epoch, &grant.name);
            let (waited, old) = (waited / SECOND, old / SECOND);
            (Rule::R14, format!("{epoch} was granted to {name} by {id}, which was approved after {waited} s and {old} s ago"))
        })
    }

    fn unapproved(&mut self, grant: &Grant, before: &ClusterState, after: &ClusterState) -> Option<Finding> {
        let (epoch, name) = (grant.after.epoch, &grant.name);
        let Some((id, proposal)) = after.proposals.iter().find(|(_, proposal)| proposal.granted == Some(epoch)) else {
            return Some((Rule::R7, format!("{epoch} was granted to {name} without a proposal")));
        };
        if proposal.approval.as_ref().is_some_and(|approval| approval.allowed_by.is_some()) {
            return unguarded(grant, *id, proposal, before);
        }
        let approved = self.approved.get(id);
        let given_back = self.given_back(grant, after, proposal);
        if !given_back && !approved.is_some_and(|evidence| evidence.contains(&proposal.evidence_hash)) {
            return Some(nobody_approved(grant, *id, proposal, approved.is_some()));
        }
        let again = !self.used.insert(*id);
        again.then(|| (Rule::R14, format!("the approval of {id} was used twice, now for {epoch}")))
    }

    /// A node that came back is a secondary first, and in sync, before it can be anything else.
    fn returned(&self, grant: &Grant, after: &ClusterState) -> Option<Finding> {
        let proposal = after.proposals.values().find(|proposal| proposal.granted == Some(grant.after.epoch));
        // Two people may make it the primary in spite of what it lacks; P3 judges that.
        let named = proposal.is_some_and(|proposal| proposal.evidence.loss.is_some());
        let member = named || grant.before.is_some_and(|before| before.in_sync.contains_key(&grant.node));
        let boot = after.nodes.get(&grant.node).map_or(0, |node| node.incarnation.0);
        (!member && boot > 1).then(|| {
            let (name, epoch) = (&grant.name, grant.after.epoch);
            (Rule::R9, format!("{name} came back as the primary of {epoch}, and not as a secondary"))
        })
    }
}

/// Whose word counts no more approves nothing; what a switchover took away may come back all the same.
fn revoked(grant: &Grant, before: &ClusterState, after: &ClusterState) -> Option<Finding> {
    let proposal = after.proposals.values().find(|proposal| proposal.granted == Some(grant.after.epoch))?;
    let Actor::Person(name) = &proposal.approval.as_ref()?.actor else { return None };
    let way_back = matches!(proposal.evidence.fencing, FencingProof::GivenBack { .. });
    let found = !way_back && before.control.revoked.contains_key(name);
    found.then(|| (Rule::R7, format!("{} was granted to {} by the word of {name}, who was revoked", grant.after.epoch, grant.name)))
}

/// Whatever was approved, and when. What a switchover took away may come back: nobody's role changes by that.
fn on_hold(grant: &Grant, before: &ClusterState, after: &ClusterState) -> Option<Finding> {
    let proposal = after.proposals.values().find(|proposal| proposal.granted == Some(grant.after.epoch));
    if proposal.is_some_and(|proposal| matches!(proposal.evidence.fencing, FencingProof::GivenBack { .. })) {
        return None;
    }
    let volume = grant.before?.policy == Policy::Hold;
    let cluster = before.control.hold.is_some();
    (volume || cluster).then(|| {
        let what = if cluster { "the cluster" } else { "the volume" };
        (Rule::R7, format!("{} was granted to {} although {what} was on hold", grant.after.epoch, grant.name))
    })
}

/// What the policy approved without a person: the guards once more, read from the agreed state as it was before the grant.
fn unguarded(grant: &Grant, id: ProposalId, proposal: &Proposal, before: &ClusterState) -> Option<Finding> {
    let volume = grant.before?;
    let boot = before.nodes.get(&grant.node).map(|node| node.incarnation);
    let by_a_person = proposal.approval.as_ref().is_some_and(|approval| approval.actor != Actor::Cluster);
    let missing = match () {
        _ if volume.policy != Policy::Guarded => format!("the policy was {}", volume.policy),
        _ if by_a_person => "it is signed by a person who never saw it".into(),
        _ if volume.in_sync.get(&grant.node).copied() != boot => "the candidate had restarted since it was in sync".into(),
        _ if !before.maintenance.is_empty() => "a node was in maintenance".into(),
        _ if before.nodes.values().any(|node| node.set_back.is_some()) => "a node had been set back".into(),
        _ if volume.breaker.open => "the breaker was open".into(),
        _ if proposal.lapsed.len() + 1 < before.majority() => "no majority had given its word".into(),
        _ => return None,
    };
    let (epoch, name) = (grant.after.epoch, &grant.name);
    Some((Rule::R7, format!("{epoch} was granted to {name} by {id} without a person, although {missing}")))
}

/// An approval is of what its evidence says, and of nothing that came later.
fn outdated(grant: &Grant, after: &ClusterState) -> Option<Finding> {
    let (epoch, name) = (grant.after.epoch, &grant.name);
    let (id, proposal) = after.proposals.iter().find(|(_, proposal)| proposal.granted == Some(epoch))?;
    let (before, basis) = (grant.before?, &proposal.evidence.basis);
    let changed = match after.nodes.get(&grant.node).map(|node| node.incarnation) {
        Some(boot) if boot != basis.candidate_incarnation => {
            format!("it has booted since ({} then, {boot} now)", basis.candidate_incarnation)
        }
        _ if before.in_sync != basis.in_sync => "the in-sync set is another one now".into(),
        _ => return None,
    };
    Some((Rule::R14, format!("{epoch} was granted to {name} by {id} on evidence that was no longer true: {changed}")))
}

fn nobody_approved(grant: &Grant, id: ProposalId, proposal: &Proposal, other: bool) -> Finding {
    let (epoch, name) = (grant.after.epoch, &grant.name);
    let by = proposal.approval.as_ref().map_or("nothing".into(), |approval| approval.actor.to_string());
    match other {
        false => {
            (Rule::R7, format!("{epoch} was granted to {name} by {id}, which no person approved; its approval is signed by {by}"))
        }
        true => (Rule::R14, format!("{epoch} was granted to {name} by {id}, which was approved with other evidence")),
    }
}

/// Of a switchover the old primary may be in maintenance, and it may get back what it gave: it is not missing.
fn in_maintenance(grant: &Grant, before: &ClusterState, after: &ClusterState) -> Option<Finding> {
    let (epoch, name) = (grant.after.epoch, &grant.name);
    let proposal = after.proposals.values().find(|proposal| proposal.granted == Some(epoch));
    let fencing = proposal.map(|proposal| proposal.evidence.fencing);
    if matches!(fencing, Some(FencingProof::GivenBack { .. })) {
        return None;
    }
    if let Some((maintenance, _)) = before.maintenance_of(grant.node) {
        return Some((Rule::R10, format!("{epoch} was granted to {name}, which is in maintenance {maintenance}")));
    }
    if fencing.is_some_and(FencingProof::planned) {
        return None;
    }
    let missing = grant.before?.last_primary?;
    let (maintenance, _) = before.maintenance_of(missing)?;
    let missing = before.node_name(missing);
    Some((Rule::R10, format!("{epoch} was granted to {name} because {missing} was missing, which is in maintenance {maintenance}")))
}
