//! From a proposal to a grant: the only code that makes a primary of a volume that had one.
//!
//! ```text
//! Pending ──Approve──▶ Fencing ──majority and candidate Lapsed──▶ CatchingUp ──Serving──▶ Serving
//!    │ Deny, Void, Expire   │ Deny, Void, Expire                     │ GrantFailed, restart, given up, superseded
//!    ▼                      ▼                                        ▼
//! Denied, Void, Expired  Denied, Void, Expired                     Failed
//! ```
//!
//! A switchover begins approved, as `Draining`, and is `Fencing` with the primary's own word ([`super::switchover`]).

use super::Applied;
use crate::audit::Event;
use crate::checks::{Plan, difference, forgotten, known_copy, reach};
use crate::command::{Actor, Command};
use crate::digest::Digest;
use crate::evidence::{Basis, Evidence, EvidenceField, FencingProof, Loss, LostFiles};
use crate::input;
use crate::limits::{LOST_FILES_MAX, LOST_PATH_BYTES_MAX, LOST_PATHS_BYTES_MAX, PROPOSALS_CLOSED_MAX};
use crate::refusal::{RefusalKind, Rule};
use crate::state::{Approval, ClusterState, LapsedPromise, LeftInSync, Proposal, ProposalState, Reign, ReignState};
use mainstay_protocol::planted::{Bug, planted};
use mainstay_protocol::{Epoch, Incarnation, LogPoint, NodeId, ProposalId, Timestamp, VolumeId};
use std::collections::BTreeMap;

impl ClusterState {
    /// A plan is accepted only when nothing stands in its way now; it then takes the volume's one place (R8).
    pub(super) fn propose(&mut self, command: &Command) -> Applied {
        let Command::Propose { volume, candidate, parent_epoch, evidence, proposer, at } = command else { return Ok(()) };
        self.check_proposer(proposer)?;
        // Evidence of a switchover is judged less strictly, and made by the cluster alone.
        if evidence.fencing.planned() {
            let primary = self.known_volume(*volume)?.last_primary.map(|node| self.node_name(node));
            return Err(RefusalKind::NotFenced(primary.unwrap_or_default()));
        }
        let plan = self.plan(*volume, *candidate, *parent_epoch, evidence, None)?;
        self.check_bounds(evidence)?;
        named_by_a_person(evidence, proposer)?;
        if let Some(kind) = plan.refusal() {
            return Err(kind);
        }
        self.not_being_fenced(*candidate, *at)?;
        if let (Actor::Node(_), Some(kind)) = (proposer, self.denied_before(*volume, *candidate, *at)) {
            return Err(kind);
        }
        // From here on nothing can refuse.
        self.supersede(*volume, *at);
        self.last_proposal = ProposalId(self.last_proposal.0 + 1);
        let id = self.last_proposal;
        let evidence_hash = evidence.hash();
        let returns =
            planted(Bug::PromoteOnReturn) && *proposer == Actor::Node(*candidate) && self.nodes[candidate].incarnation.0 > 1;
        let retried = planted(Bug::RetryForever) && self.failed_last(*volume, *candidate);
        let unasked = (returns || retried).then(|| {
            let expires_at = self.after_approval_time(*at);
            Approval { actor: proposer.clone(), evidence_hash, at: *at, expires_at, allowed_by: None }
        });
        let proposal = Proposal {
            volume: *volume,
            candidate: *candidate,
            parent_epoch: *parent_epoch,
            evidence: Evidence::clone(evidence),
            evidence_hash,
            proposer: proposer.clone(),
            at: *at,
            expires_at: self.after_approval_time(*at),
            state: if unasked.is_some() { ProposalState::Fencing } else { ProposalState::Pending },
            approval: unasked,
            lapsed: BTreeMap::new(),
            granted: None,
            drained: None,
            by_hand: None,
            fence: None,
        };
        self.proposals.insert(id, proposal);
        self.with_volume(*volume, |volume| volume.open_proposal = Some(id));
        let label = self.volume_label(*volume);
        let text = format!(
            "{} proposes {id}: {} for {label}, evidence {}{}",
            self.actor_name(proposer),
            self.node_name(*candidate),
            evidence_hash.short(),
            given_up(evidence)
        );
        let event = Event::Proposed { proposal: id, candidate: *candidate, evidence_hash };
        self.record(*at, proposer, Some(*volume), event, text);
        if !returns && !retried {
            self.approve_by_policy(id, *at);
        }
        Ok(())
    }

    /// Whether the promotion that failed last was this node's.
    fn failed_last(&self, volume: VolumeId, candidate: NodeId) -> bool {
        let failed = self.volumes.get(&volume).and_then(|volume| volume.breaker.failed.last());
        failed.and_then(|failed| self.proposals.get(&failed.proposal)).is_some_and(|failed| failed.candidate == candidate)
    }

    fn check_proposer(&self, proposer: &Actor) -> Applied {
        match proposer {
            Actor::Person(_) => input::person(proposer),
            Actor::Node(node) => self.known_node(*node).map(|_| ()),
            Actor::Cluster => Err(RefusalKind::NotAPerson(proposer.clone())),
        }
    }

    /// Evidence is kept in the state, so it names only nodes that there are.
    fn check_bounds(&self, evidence: &Evidence) -> Applied {
        let observed = &evidence.observed;
        let Basis { in_sync, left_in_sync, maintenance, software, .. } = &evidence.basis;
        let basis = in_sync.keys().chain(left_in_sync.keys()).chain(maintenance).chain(software.keys());
        let seen = observed.copies.keys().chain(observed.contacts.keys()).chain(observed.clocks.keys());
        let named = seen.chain([&observed.by]).chain(basis);
        named.copied().try_for_each(|node| self.known_node(node).map(|_| ()))
    }

    /// A grant whose candidate went missing (the checks saw to that) has had its outcome: it failed.
    fn supersede(&mut self, volume: VolumeId, at: Timestamp) {
        self.fail_granted(volume, "its candidate went missing before it served", &Actor::Cluster, at);
    }

    /// Proposals and approvals live equally long. Saturates: a time from a broken clock makes it expire, not overflow.
    pub(super) fn after_approval_time(&self, at: Timestamp) -> Timestamp {
        Timestamp::from_millis(input::millis(at).saturating_add(self.settings.approval_ms as i64))
    }

    /// The proposal as a plan again, to be judged by the same checks as when it was made.
    pub(super) fn own_plan<'a>(&'a self, id: ProposalId, proposal: &'a Proposal) -> Result<Plan<'a>, RefusalKind> {
        self.plan(proposal.volume, proposal.candidate, proposal.parent_epoch, &proposal.evidence, Some(id))
    }

    pub(super) fn closed(&self, id: ProposalId, proposal: &Proposal) -> RefusalKind {
        let state = match proposal.hand_over().filter(|_| proposal.state == ProposalState::Serving) {
            // There is nothing to call off any more, and a way back like the way there.
            Some((from, _)) => {
                let (volume, from) = (self.volume_label(proposal.volume), self.node_name(from));
                format!("{} (`mainstay switchover {volume} --to {from}` goes back)", proposal.state)
            }
            None => proposal.state.to_string(),
        };
        RefusalKind::ProposalClosed { proposal: id, state }
    }

    /// R7, R14: a person's word for exactly this evidence, once, in time. In time by the clock that nobody sets, like all of it: a
    /// proposer whose wall clock is behind would make what nobody else may approve.
    pub(super) fn approve(
        &mut self,
        id: ProposalId,
        evidence_hash: Digest,
        actor: &Actor,
        waited_ms: u64,
        at: Timestamp,
    ) -> Applied {
        input::person(actor)?;
        let proposal = self.known_proposal(id)?;
        if let Some(approval) = proposal.approval.as_ref().filter(|_| proposal.state.open()) {
            return Err(RefusalKind::AlreadyApproved { proposal: id, by: approval.actor.clone() });
        }
        if proposal.state != ProposalState::Pending {
            return Err(RefusalKind::ApprovalTooLate { proposal: id, state: proposal.state.to_string() });
        }
        if evidence_hash != proposal.evidence_hash {
            return Err(RefusalKind::HashMismatch { given: evidence_hash, current: proposal.evidence_hash });
        }
        let limit_ms = self.settings.approval_ms;
        if waited_ms >= limit_ms {
            return Err(RefusalKind::Expired { proposal: id, waited_ms, limit_ms });
        }
        if proposal.evidence.loss.is_some() && proposal.proposer == *actor && !planted(Bug::LossByOne) {
            return Err(RefusalKind::LossByOne { proposal: id, by: actor.clone() });
        }
        if let Some(kind) = self.own_plan(id, proposal)?.refusal() {
            return Err(kind);
        }
        self.accept(id, evidence_hash, actor, None, at);
        Ok(())
    }

    /// The one way past the gate: a person's word, or the policy's while every guard holds (`allowed_by`).
    pub(super) fn accept(&mut self, id: ProposalId, hash: Digest, actor: &Actor, allowed_by: Option<String>, at: Timestamp) {
        let Some(proposal) = self.proposals.get(&id) else { return };
        let (volume, given_up) = (proposal.volume, given_up(&proposal.evidence));
        let (candidate, label) = (self.node_name(proposal.candidate), self.volume_label(volume));
        let by = allowed_by.as_ref().map_or(String::new(), |allowed| format!(" by {allowed}"));
        // Nobody approves what is not there yet: a clock that says so is behind, and must not shorten what a person said.
        let expires_at = self.after_approval_time(at.max(proposal.at));
        let approval = Approval { actor: actor.clone(), evidence_hash: hash, at, expires_at, allowed_by };
        self.with_proposal(id, |proposal| {
            assert!(
                proposal.state == ProposalState::Pending && proposal.evidence_hash == hash,
                "R14: an approval is of what it names"
            );
            proposal.approval = Some(approval);
            proposal.state = ProposalState::Fencing;
        });
        let text = format!("{actor} approved {id}{by}: {candidate} for {label}, evidence {}{given_up}", hash.short());
        self.record(at, actor, Some(volume), Event::Approved { proposal: id, evidence_hash: hash }, text);
    }

    /// A person says no: before the grant it ends the proposal; after it, it gives up on a candidate that does not come to
    /// serve. The grant itself stays with that candidate until another epoch is granted (R1).
    pub(super) fn deny(&mut self, id: ProposalId, reason: &str, actor: &Actor, at: Timestamp) -> Applied {
        input::person(actor)?;
        input::text("reason", reason)?;
        let proposal = self.known_proposal(id)?;
        let volume = proposal.volume;
        match proposal.state {
            ref state if state.undecided() => {}
            ProposalState::CatchingUp => {
                self.fail_granted(volume, &format!("given up by {actor}: {reason}"), actor, at);
                return Ok(());
            }
            _ => return Err(self.closed(id, proposal)),
        }
        // Who calls a switchover off has said nothing of a failover.
        if !proposal.evidence.fencing.planned() {
            self.remember_denial(id, actor, reason, at);
        }
        self.close(id, ProposalState::Denied { by: actor.clone(), reason: reason.to_string() });
        self.record(at, actor, Some(volume), Event::Denied { proposal: id }, format!("{actor} denied {id}: {reason}"));
        self.give_back(id, at);
        Ok(())
    }

    /// R14: what an observer saw no longer fits the evidence.
    pub(super) fn void(&mut self, id: ProposalId, field: EvidenceField, seen: &str, by: NodeId, at: Timestamp) -> Applied {
        self.known_node(by)?;
        let proposal = self.known_proposal(id)?;
        if !proposal.state.undecided() {
            return Err(self.closed(id, proposal));
        }
        self.make_void(id, field, input::clip(seen), &Actor::Node(by), at);
        Ok(())
    }

    /// Promises given for it stay durable on their nodes until those see that it is closed ([`Self::promise_floor`]).
    fn make_void(&mut self, id: ProposalId, field: EvidenceField, seen: String, actor: &Actor, at: Timestamp) {
        let volume = self.proposals.get(&id).map(|proposal| proposal.volume);
        let text = format!("proposal {id} is void: {seen}");
        self.close(id, ProposalState::Void { field, seen });
        self.record(at, actor, volume, Event::Voided { proposal: id, field }, text);
        self.give_back(id, at);
    }

    /// R14: after every decision, whatever it was, an open proposal whose basis changed is void.
    pub(super) fn void_what_changed(&mut self, at: Timestamp) {
        let open: Vec<ProposalId> = self.volumes.values().filter_map(|volume| volume.open_proposal).collect();
        for id in open {
            if let Some((field, seen)) = self.what_changed(id, at) {
                self.make_void(id, field, seen, &Actor::Cluster, at);
            }
        }
    }

    fn what_changed(&self, id: ProposalId, at: Timestamp) -> Option<(EvidenceField, String)> {
        let proposal = self.proposals.get(&id)?;
        if !proposal.state.undecided() || planted(Bug::ApproveUnseen) {
            return None;
        }
        let volume = self.volumes.get(&proposal.volume)?;
        let way_back = matches!(proposal.evidence.fencing, FencingProof::GivenBack { .. });
        if let Some(held) = self.held(volume).filter(|_| !way_back && !planted(Bug::HoldKeepsApproved)) {
            return Some((EvidenceField::Policy, held.to_string()));
        }
        if let Some(revoked) = self.spoken_for_in_vain(proposal).filter(|_| !way_back) {
            return Some((EvidenceField::People, revoked.to_string()));
        }
        let now = self.basis_beside(&proposal.evidence, proposal.candidate, proposal.volume, volume);
        if let Some((field, then, now)) = difference(self, &proposal.evidence.basis, &now) {
            return Some((field, format!("{field} was {then}, and is {now}")));
        }
        let blocked = self.own_plan(id, proposal).ok()?.refusal().map(|kind| kind.to_string());
        let fenced = || self.not_being_fenced(proposal.candidate, at).err().map(|kind| kind.to_string());
        let unguarded = || self.no_longer_guarded(id, proposal, at);
        blocked.or_else(fenced).or_else(unguarded).map(|why| (EvidenceField::Blocked, why))
    }

    /// Any node that has known it for its whole time may say that it is too late. The candidate is always one that can: a boot of it
    /// after the proposal was made is another basis. By wall clocks it would be the one that is farthest ahead that decides, and a
    /// single one that is wrong would end every promotion (R14).
    pub(super) fn expire(&mut self, id: ProposalId, (approved, waited_ms): (bool, u64), at: Timestamp) -> Applied {
        let proposal = self.known_proposal(id)?;
        // Granted is granted: only its outcome closes it (R8).
        if !proposal.state.undecided() {
            return Err(self.closed(id, proposal));
        }
        // Who waited for an approval that has come meanwhile has not waited for what comes of it.
        if approved != proposal.approval.is_some() || waited_ms < self.settings.approval_ms {
            let until = proposal.approval.as_ref().map_or(proposal.expires_at, |approval| approval.expires_at);
            return Err(RefusalKind::NotExpired { proposal: id, until });
        }
        let volume = proposal.volume;
        self.close(id, ProposalState::Expired);
        let text = format!("proposal {id} expired: nothing came of it in time");
        self.record(at, &Actor::Cluster, Some(volume), Event::Expired { proposal: id }, text);
        self.give_back(id, at);
        Ok(())
    }

    /// R2, R13: one node's durable word that the old epoch is over for it.
    pub(super) fn lapsed(&mut self, command: &Command) -> Applied {
        let Command::Lapsed { proposal: id, node, incarnation, promised, last, at, .. } = command else { return Ok(()) };
        let proposal = self.known_proposal(*id)?;
        let known = self.known_node(*node)?;
        if proposal.lapsed.get(node).is_some_and(|old| old.incarnation == *incarnation) {
            return Ok(());
        }
        if proposal.state != ProposalState::Fencing {
            return Err(self.closed(*id, proposal));
        }
        self.check_lapsed(proposal, command)?;
        let (volume, name) = (proposal.volume, known.name.clone());
        let end = last.map_or("no copy".to_string(), |last| format!("copy up to {last}"));
        let text = format!("{name} promised {promised} for {id}: its word to {} is over, {end}", proposal.parent_epoch);
        let promise = LapsedPromise { incarnation: *incarnation, promised: *promised, last: *last };
        let shrunk = self.shrunk_copy(proposal, *node, last.map(|last| last.position.0));
        let shrunk = shrunk.or_else(|| self.longer_word(proposal, *node, &promise));
        let shrunk = shrunk.or_else(|| self.not_where_drained(proposal, *node, *last));
        self.with_proposal(*id, |proposal| proposal.lapsed.insert(*node, promise));
        self.record(*at, &Actor::Node(*node), Some(volume), Event::PromiseLapsed { proposal: *id, node: *node }, text);
        match shrunk {
            Some(seen) => self.make_void(*id, EvidenceField::Positions, seen, &Actor::Cluster, *at),
            None => self.grant_when_ready(*id, *at),
        }
        Ok(())
    }

    /// Whether the word counts: of the present boot, high enough, of a history that the state knows, and in time. Time is what the node
    /// has seen pass since the approval: of the candidate, whose word is needed and which has not restarted, that is all of it (R14).
    fn check_lapsed(&self, proposal: &Proposal, command: &Command) -> Applied {
        let Command::Lapsed { proposal: id, node, incarnation, promised, last, waited_ms, .. } = command else { return Ok(()) };
        let known = self.known_node(*node)?;
        if *incarnation != known.incarnation {
            let (given, current) = (*incarnation, known.incarnation);
            return Err(RefusalKind::OldBoot { node: known.name.clone(), given, current });
        }
        let needed = proposal.parent_epoch.next();
        if *promised < needed {
            return Err(RefusalKind::PromiseTooLow { node: known.name.clone(), promised: *promised, needed });
        }
        if let Some(last) = last {
            self.epoch_not_behind(*node, last.epoch, proposal.parent_epoch)?;
        }
        if *node == proposal.candidate && last.is_none() && !planted(Bug::PromoteOnReturn) {
            return Err(RefusalKind::MissingEvidence(format!("the end of the copy on {}", known.name)));
        }
        let limit_ms = self.settings.approval_ms;
        if *waited_ms >= limit_ms {
            return Err(RefusalKind::ApprovalTooOld { proposal: *id, waited_ms: *waited_ms, limit_ms });
        }
        Ok(())
    }

    /// The candidate's copy must still reach as far as the evidence says.
    fn shrunk_copy(&self, proposal: &Proposal, node: NodeId, last: Option<u64>) -> Option<String> {
        let shown = known_copy(&proposal.evidence.observed, node)?.last.position;
        let short = node == proposal.candidate && last.is_some_and(|last| last < shown.0);
        short.then(|| format!("the copy on {} reached {shown}, and ends at p{}", self.node_name(node), last.unwrap_or(0)))
    }

    /// R5: with its word a node says where its copy ends for good. A member that holds more than a candidate that restarted is the
    /// one to promote, whatever was known of it when the evidence was gathered.
    fn longer_word(&self, proposal: &Proposal, node: NodeId, word: &LapsedPromise) -> Option<String> {
        let volume = self.volumes.get(&proposal.volume)?;
        let (candidate, boot) = (proposal.candidate, proposal.evidence.basis.candidate_incarnation);
        let named = proposal.evidence.loss.is_some();
        if !named && volume.in_sync.get(&candidate) == Some(&boot) || forgotten(boot, Rule::R5) {
            return None;
        }
        // What is given up must not be there after all: then any longer copy is the one to promote.
        let counts = |node: &NodeId| named || volume.in_sync.contains_key(node);
        let words = proposal.lapsed.iter().chain([(&node, word)]).filter(|(node, _)| counts(node));
        let ends: BTreeMap<NodeId, LogPoint> = words.filter_map(|(node, word)| Some((*node, word.last?))).collect();
        let own = *ends.get(&candidate)?;
        let (other, longer) = ends.into_iter().find(|(_, last)| reach(*last) > reach(own))?;
        Some(self.longer_copy(candidate, own, other, longer).to_string())
    }

    /// R13: the approval, the candidate's word in its present boot, and a majority's. Witness and file servers count alike.
    fn grant_ready(&self, id: ProposalId) -> bool {
        let Some(proposal) = self.proposals.get(&id) else { return false };
        let approved = proposal.approval.as_ref().is_some_and(|approval| approval.evidence_hash == proposal.evidence_hash);
        let candidate = self.promised_in_this_boot(proposal, proposal.candidate);
        let majority = self.promised_by_majority(proposal) || planted(Bug::GrantWithoutMajority);
        let unblocked = self.own_plan(id, proposal).is_ok_and(|plan| plan.refusal().is_none());
        proposal.state == ProposalState::Fencing && approved && candidate && majority && unblocked
    }

    /// A node that rebooted after its word still keeps it, but what it held in memory is gone.
    fn promised_in_this_boot(&self, proposal: &Proposal, node: NodeId) -> bool {
        let boot = self.nodes.get(&node).map(|known| known.incarnation);
        proposal.lapsed.get(&node).map(|promise| promise.incarnation) == boot
    }

    /// The grant (R1): epoch + 1 to the candidate's present boot.
    fn grant_when_ready(&mut self, id: ProposalId, at: Timestamp) {
        if !self.grant_ready(id) {
            return;
        }
        let proposal = &self.proposals[&id];
        let (volume_id, candidate, evidence_hash) = (proposal.volume, proposal.candidate, proposal.evidence_hash);
        let incarnation = self.nodes[&candidate].incarnation;
        let in_sync = self.granted_set(proposal, incarnation);
        let given_up = proposal.evidence.loss.is_some() || proposal.evidence.forced.is_some();
        let raised = proposal.evidence.basis.loss != Loss::None || given_up;
        let (parent, members) = (proposal.parent_epoch, self.membership.number);
        let epoch = self.with_volume(volume_id, |volume| {
            assert_eq!(volume.epoch, parent, "R1: a grant follows the epoch that was approved");
            volume.epoch = volume.epoch.next();
            volume.loss_epoch += u64::from(raised);
            volume.reign = Some(Reign { node: candidate, incarnation, state: ReignState::CatchingUp });
            volume.last_primary = Some(candidate);
            volume.members.known = members;
            volume.fenced = false;
            for node in volume.in_sync.keys().filter(|node| !in_sync.contains_key(node)) {
                let reason = format!("epoch {} was granted without it", volume.epoch);
                volume.left_in_sync.insert(*node, LeftInSync { at, by: candidate, reason });
            }
            volume.left_in_sync.remove(&candidate);
            (volume.fenced_by, volume.forced) = (None, None);
            volume.in_sync = in_sync;
            volume.in_sync_version += 1;
            volume.epoch
        });
        let epoch = epoch.unwrap_or_default();
        self.with_proposal(id, |proposal| {
            proposal.state = ProposalState::CatchingUp;
            proposal.granted = Some(epoch);
        });
        self.record_grant(id, epoch, volume_id, candidate, evidence_hash, raised, at);
        // A person drives each switchover, so they make no loop; and they must not use up what failovers may (R8).
        if !self.proposals[&id].evidence.fencing.planned() {
            self.count_role_change(volume_id, at);
        }
    }

    /// The candidate, and the old members that promised in their present boot. A member keeps the incarnation that it was
    /// recorded with: if it rebooted since, unsynced writes may be missing on it, and that must still be seen when it is the
    /// next candidate.
    fn granted_set(&self, proposal: &Proposal, incarnation: Incarnation) -> BTreeMap<NodeId, Incarnation> {
        let old = self.volumes.get(&proposal.volume).map(|volume| volume.in_sync.clone()).unwrap_or_default();
        // A member without a usable copy (its disk failed) has a vote, but is not waited for.
        let copy = |node: &NodeId| proposal.lapsed.get(node).is_some_and(|promise| promise.last.is_some());
        // Of a promotion that gives something up nobody else is known to hold what stays, and nothing else.
        let whole = proposal.evidence.loss.is_none();
        let promised = |node: &NodeId| whole && copy(node) && self.promised_in_this_boot(proposal, *node);
        let mut set: BTreeMap<_, _> = old.into_iter().filter(|(node, _)| promised(node)).collect();
        set.insert(proposal.candidate, incarnation);
        set.extend(self.handed_over_by(proposal));
        set
    }

    #[allow(clippy::too_many_arguments)]
    fn record_grant(
        &mut self,
        id: ProposalId,
        epoch: Epoch,
        volume: VolumeId,
        node: NodeId,
        hash: Digest,
        raised: bool,
        at: Timestamp,
    ) {
        let (name, label) = (self.node_name(node), self.volume_label(volume));
        let in_sync = self.names(self.volumes[&volume].in_sync.keys());
        let text = format!("epoch {epoch} of {label} was granted to {name} by {id}, in sync {in_sync}, evidence {}", hash.short());
        let event = Event::Granted { proposal: id, epoch, primary: node, evidence_hash: hash };
        self.record(at, &Actor::Cluster, Some(volume), event, text);
        if raised {
            let loss_epoch = self.volumes[&volume].loss_epoch;
            let evidence = self.proposals.get(&id).map(|proposal| &proposal.evidence);
            let what = match evidence.map(|evidence| (&evidence.loss, &evidence.forced)) {
                Some((Some(loss), _)) => format!("everything in {label} after {} is given up, as two people decided", loss.after),
                Some((None, Some(_))) => format!("what the lost nodes acknowledged in {label} by themselves is given up"),
                _ => format!("unsynced writes to {label} may be missing"),
            };
            let text = format!("{what}: clients are told (loss epoch {loss_epoch})");
            self.record(at, &Actor::Cluster, Some(volume), Event::LossEpochRaised { loss_epoch }, text);
        }
    }

    /// The primary serves: its promotion is done, and one that somebody proposed meanwhile has no ground any more.
    pub(super) fn served(&mut self, volume: VolumeId, primary: NodeId, at: Timestamp) {
        let Some((id, open)) = self.open_proposal(volume) else { return };
        if open.state == ProposalState::CatchingUp {
            self.close(id, ProposalState::Serving);
        } else {
            let seen = format!("{} serves", self.node_name(primary));
            self.make_void(id, EvidenceField::PrimaryHeard, seen, &Actor::Cluster, at);
        }
    }

    pub(super) fn with_proposal<T>(&mut self, id: ProposalId, change: impl FnOnce(&mut Proposal) -> T) -> Option<T> {
        self.proposals.get_mut(&id).map(change)
    }

    /// Gives the volume's one place free and keeps the proposal for people to look at.
    pub(super) fn close(&mut self, id: ProposalId, state: ProposalState) {
        assert!(!state.open(), "closing means a final state");
        let volume = self.with_proposal(id, |proposal| {
            assert!(proposal.state.open(), "a closed proposal stays closed");
            proposal.state = state;
            proposal.volume
        });
        if let Some(volume) = volume {
            self.with_volume(volume, |volume| volume.open_proposal = None);
        }
        let closed: Vec<ProposalId> = self.proposals.iter().filter(|(_, p)| !p.state.open()).map(|(id, _)| *id).collect();
        let surplus = closed.len().saturating_sub(PROPOSALS_CLOSED_MAX);
        closed.into_iter().take(surplus).for_each(|old| drop(self.proposals.remove(&old)));
    }
}

/// R5: what is given up is named by who asks for it, and no node can.
fn named_by_a_person(evidence: &Evidence, proposer: &Actor) -> Applied {
    let Some(loss) = &evidence.loss else { return Ok(()) };
    input::person(proposer)?;
    input::text("reason", &loss.reason)?;
    if let LostFiles::Known { files, .. } = &loss.files {
        let lengths = || files.iter().map(|file| file.path.len());
        let (longest, all) = (lengths().max().unwrap_or(0), lengths().sum::<usize>());
        if files.len() > LOST_FILES_MAX || longest > LOST_PATH_BYTES_MAX || all > LOST_PATHS_BYTES_MAX {
            let most = format!(
                "lists more than {LOST_FILES_MAX} files, a path of more than {LOST_PATH_BYTES_MAX} bytes, or more than \
                 {LOST_PATHS_BYTES_MAX} bytes of paths"
            );
            return Err(input::bad("loss", &files.len().to_string(), &most));
        }
    }
    Ok(())
}

/// For the audit log, where nobody should have to look twice.
fn given_up(evidence: &Evidence) -> String {
    let Some(loss) = &evidence.loss else { return String::new() };
    format!(", GIVING UP everything acknowledged after {} ({})", loss.after, input::clip(&loss.reason))
}
