//! The checks of a promotion: one list, judged by `apply` before it accepts, approves or grants anything, and shown whole by
//! `explain`. A check is a claim, a rule, and a function that gives either the value seen or the refusal.

mod hand_over;
mod named_loss;

use crate::digest::Digest;
use crate::drift;
use crate::evidence::{
    Basis, Contact, CopyReport, CopyState, Evidence, EvidenceField, FencingProof, Known, Loss, LostFiles, NamedLoss, Observed,
};
use crate::policy::{TooMany, VolumeSettings, not_held};
use crate::refusal::{RefusalKind, Rule, instant};
use crate::state::{ClusterState, MaintenanceState, Node, Policy, ProposalState, ReignState, VolumeState, WithoutPrimary};
use mainstay_protocol::marks::mark_variant;
use mainstay_protocol::planted::{Bug, planted};
use mainstay_protocol::{Epoch, Incarnation, LogPoint, NodeId, Position, ProposalId, Timestamp, VolumeId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    Holds,
    Fails,
    /// Not known, which refuses as well (R6).
    Unknown,
}

/// One rule, judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub rule: Rule,
    /// What must hold.
    pub claim: String,
    pub verdict: Verdict,
    /// What was seen.
    pub value: String,
    /// What would make it hold; empty when it does.
    pub clears: String,
}

/// What somebody has to do, or to wait for, so that checks hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub does: String,
    /// Whose checks it clears.
    pub rules: Vec<Rule>,
}

/// The fewest steps that clear everything that does not hold: what clears several checks is one step.
pub fn steps<'a>(checks: impl IntoIterator<Item = &'a Check>) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let open = checks.into_iter().filter(|check| check.verdict != Verdict::Holds && !check.clears.is_empty());
    for check in open {
        match steps.iter_mut().find(|step| step.does == check.clears) {
            Some(step) if step.rules.contains(&check.rule) => {}
            Some(step) => step.rules.push(check.rule),
            None => steps.push(Step { does: check.clears.clone(), rules: vec![check.rule] }),
        }
    }
    steps
}

/// A promotion to be judged.
pub(crate) struct Plan<'a> {
    pub state: &'a ClusterState,
    pub id: VolumeId,
    pub volume: &'a VolumeState,
    pub candidate: NodeId,
    pub node: &'a Node,
    pub parent_epoch: Epoch,
    pub evidence: &'a Evidence,
    /// The proposal itself, once it exists: it does not stand in its own way (R8).
    pub own: Option<ProposalId>,
}

/// The value seen, or why not.
type Judgement = Result<String, RefusalKind>;

type CheckFunction = fn(&Plan) -> Judgement;

type Row = (Rule, &'static str, CheckFunction);

// The most telling reason first: a refusal names the first that fails. Shown in the order of the rules.
const OF_THE_COPY: &[Row] = &[
    (Rule::R12, "the candidate is a file server that holds the volume", holds_data),
    (Rule::R1, "the new epoch follows the present one, and no copy is of a later one", follows_epoch),
    (Rule::R1, "the candidate is not the primary already", not_primary),
    (Rule::R9, "the candidate holds nothing that the cluster does not have", not_diverged),
    (Rule::R11, "the candidate's copy is a complete prefix", not_in_resync),
    (Rule::R6, "the candidate's copy can be trusted", copy_trusted),
];

/// Nothing is lost.
const OF_A_MEMBER: &[Row] = &[
    (Rule::R5, "the candidate is in the in-sync set", in_sync),
    (Rule::R5, "the candidate's copy still holds what made it a member", copy_reaches),
    (Rule::R5, "no member that is heard holds more than a candidate that restarted", longest),
];

const OF_THE_MOMENT: &[Row] = &[
    (Rule::R7, "nothing is on hold", not_held),
    (Rule::R10, "neither the candidate nor the missing primary is in maintenance", no_maintenance),
    (Rule::R8, "no other promotion of the volume is under way", single),
    (Rule::R8, "this very plan did not fail before", not_failed_before),
    (Rule::R8, "the breaker is closed", breaker),
    (Rule::R3, "the candidate is booted, and its copy was reported by this boot", booted),
    (Rule::R13, "the old primary cannot serve any more, or its lease will lapse", fencing),
    (Rule::R6, "everything that decides is known", all_known),
    (Rule::R14, "the evidence is of the present state", up_to_date),
    (Rule::R2, "the nodes promise the new epoch durably before it is granted", promise_comes),
    (Rule::R15, "what replicas do meanwhile", meanwhile),
];

/// What refuses nothing, and is worth knowing.
const OF_WHO_DECIDES: &[Row] = &[
    (Rule::R4, "the in-sync set is the one that the primary last waited for", set_recorded),
    (Rule::R7, "who decides is known", policy),
    (Rule::R14, "how far programs and clocks differ", drifted),
];

/// Of a volume whose quorum two people forced.
const OF_THE_FORCED: &[Row] = &[(Rule::R5, "what the lost nodes knew is unknown, and two people gave it up", given_up_unseen)];

/// Rules that a planted bug has made the cluster forget. A node that was never away has not come back.
pub(crate) fn forgotten(boot: Incarnation, rule: Rule) -> bool {
    let returning = planted(Bug::PromoteOnReturn) && boot.0 > 1;
    match rule {
        Rule::R3 | Rule::R5 | Rule::R6 | Rule::R11 => returning,
        Rule::R10 => returning || planted(Bug::IgnoreMaintenance),
        // Refused here and made void there: without both, an approval executes something else than was approved.
        Rule::R14 => planted(Bug::ApproveUnseen),
        Rule::R13 => returning || planted(Bug::PromoteOverLivePrimary),
        _ => false,
    }
}

impl Plan<'_> {
    /// The refusal, if any check refuses. What is known to be wrong goes before what is not known.
    pub fn refusal(&self) -> Option<RefusalKind> {
        let refusals =
            self.list().filter(|(rule, ..)| !forgotten(self.node.incarnation, *rule)).filter_map(|(_, _, judge)| judge(self).err());
        let (unknown, wrong): (Vec<_>, Vec<_>) = refusals.partition(RefusalKind::unknown);
        wrong.into_iter().chain(unknown).next()
    }

    /// What has to hold: of a switchover less, because the primary itself is asked; of a named loss all but membership (R5).
    fn list(&self) -> impl Iterator<Item = &'static Row> {
        let lists: &[&'static [Row]] = match self.evidence.fencing {
            _ if self.evidence.loss.is_some() => &[OF_THE_COPY, named_loss::CHECKS, OF_THE_MOMENT],
            FencingProof::HandOver { .. } => &[hand_over::CHECKS],
            FencingProof::GivenBack { .. } => &[hand_over::WAY_BACK],
            FencingProof::LeaseLapse { .. }
            | FencingProof::OwnDemotion
            | FencingProof::ExternalFence { .. }
            | FencingProof::Forced => &[OF_THE_COPY, OF_A_MEMBER, OF_THE_MOMENT, OF_WHO_DECIDES],
        };
        let forced: &[Row] = if self.volume.forced.is_some() { OF_THE_FORCED } else { &[] };
        lists.iter().copied().flatten().chain(forced)
    }

    pub fn checks(&self) -> Vec<Check> {
        let known = self.list().filter(|(rule, ..)| !forgotten(self.node.incarnation, *rule));
        let mut checks: Vec<Check> = known.map(|(rule, claim, judge)| check(*rule, claim, judge(self))).collect();
        checks.sort_by_key(|check| check.rule);
        checks
    }

    pub(crate) fn copy(&self) -> Option<CopyReport> {
        known_copy(&self.evidence.observed, self.candidate)
    }
    fn missing_copy(&self) -> RefusalKind {
        RefusalKind::MissingEvidence(format!("the state of the copy on {}", self.node.name))
    }
}

pub(crate) fn known_copy(observed: &Observed, node: NodeId) -> Option<CopyReport> {
    match observed.copies.get(&node) {
        Some(Known::Known(report)) => Some(*report),
        _ => None,
    }
}

pub(crate) fn check(rule: Rule, claim: &str, judgement: Judgement) -> Check {
    if let Err(kind) = &judgement {
        mark_variant(kind);
    }
    let (verdict, value, clears) = match judgement {
        Ok(value) => (Verdict::Holds, value, String::new()),
        Err(kind) if kind.unknown() => (Verdict::Unknown, kind.to_string(), kind.clears().to_string()),
        Err(kind) => (Verdict::Fails, kind.to_string(), kind.clears().to_string()),
    };
    Check { rule, claim: claim.to_string(), verdict, value, clears }
}

fn follows_epoch(plan: &Plan) -> Judgement {
    let current = plan.volume.epoch;
    if plan.parent_epoch != current {
        return Err(RefusalKind::ParentEpoch { given: plan.parent_epoch, current });
    }
    // Never wraps: an epoch is not reused, not even after 2^64 of them.
    if current.0 == u64::MAX {
        return Err(RefusalKind::EpochExhausted);
    }
    // A copy with records of a later epoch: the cluster state is older than the data, restored from a backup perhaps.
    let reported = plan.volume.replicas.iter().filter_map(|node| Some((*node, known_copy(&plan.evidence.observed, *node)?)));
    for (node, copy) in reported {
        plan.state.epoch_not_behind(node, copy.last.epoch, current)?;
    }
    Ok(format!("{current} → {}", current.next()))
}

/// Also while it is catching up: the epoch is its own already.
fn not_primary(plan: &Plan) -> Judgement {
    match plan.volume.reign {
        Some(reign) if reign.node == plan.candidate => Err(RefusalKind::AlreadyPrimary(plan.node.name.clone())),
        Some(reign) => Ok(format!("{} is the primary on record", plan.state.node_name(reign.node))),
        None => Ok("there is no primary".into()),
    }
}

/// Asked for after the approval, so it cannot be judged before; `check_lapsed` judges it then (R2).
fn promise_comes(plan: &Plan) -> Judgement {
    Ok(format!("{} of {} nodes, the candidate among them, after the approval", plan.state.majority(), plan.state.voters().count()))
}

/// A report of an earlier boot speaks of memory that is gone.
fn booted(plan: &Plan) -> Judgement {
    let current = plan.node.incarnation;
    if current.0 == 0 {
        return Err(RefusalKind::NeverBooted(plan.node.name.clone()));
    }
    stays(plan)?;
    match plan.copy() {
        Some(copy) if copy.incarnation != current => {
            Err(RefusalKind::OldBoot { node: plan.node.name.clone(), given: copy.incarnation, current })
        }
        Some(_) => Ok(format!("boot {current}")),
        None => Err(plan.missing_copy()),
    }
}

/// A boot that said that it ends would take the volume with it.
fn stays(plan: &Plan) -> Result<(), RefusalKind> {
    match plan.node.left.filter(|_| !planted(Bug::PromoteLeaver)) {
        Some(left) => Err(RefusalKind::CandidateLeft { node: plan.node.name.clone(), cause: left.cause }),
        None => Ok(()),
    }
}

/// Holds by construction: the set is changed by its primary before it stops waiting for a member (R4).
fn set_recorded(plan: &Plan) -> Judgement {
    let known = plan.state.names(plan.volume.in_sync.keys());
    Ok(if plan.volume.forced.is_some() { format!("{known}, as far as {} knew", plan.node.name) } else { known })
}

fn in_sync(plan: &Plan) -> Judgement {
    let in_sync = plan.state.names(plan.volume.in_sync.keys());
    match plan.volume.in_sync.contains_key(&plan.candidate) {
        true => Ok(format!("{} is in {in_sync}", plan.node.name)),
        false => Err(RefusalKind::NotInSync { node: plan.node.name.clone(), in_sync }),
    }
}

/// A member's copy that ends before the first record of the last epoch that was served is not the copy that it was: a replaced
/// disk, a directory from a backup. What its boot number alone would call "unsynced writes may be missing" is worse here.
fn copy_reaches(plan: &Plan) -> Judgement {
    let served = plan.volume.served_epoch;
    match plan.copy() {
        None => Err(plan.missing_copy()),
        Some(copy) if copy.last.epoch < served => {
            Err(RefusalKind::CopyTooShort { node: plan.node.name.clone(), last: copy.last.to_string(), served })
        }
        Some(copy) => Ok(format!("{} is of the last epoch that was served, {served}, or later", copy.last)),
    }
}

/// A candidate that restarted may have lost what was in memory only, or more, when its disk lied. Where a member that is up holds
/// more, that one is promoted, and nothing is lost. (One that did not restart holds all that was acknowledged.)
fn longest(plan: &Plan) -> Judgement {
    let Some(copy) = plan.copy() else { return Err(plan.missing_copy()) };
    if plan.volume.in_sync.get(&plan.candidate) == Some(&plan.node.incarnation) {
        return Ok("it holds in memory all that was acknowledged".into());
    }
    longest_of(plan, copy.last, plan.volume.in_sync.keys())
}

/// A copy that was only heard of long ago does not count: nobody can promote it.
fn longest_of<'a>(plan: &Plan, last: LogPoint, nodes: impl Iterator<Item = &'a NodeId>) -> Judgement {
    let limit_ms = plan.state.settings.contact_lost_ms;
    let others = nodes.filter(|node| **node != plan.candidate);
    let heard = others.filter_map(|node| Some((*node, known_copy(&plan.evidence.observed, *node)?)));
    let mut usable = heard.filter(|(_, other)| other.age_ms < limit_ms && other.state == CopyState::Complete);
    match usable.find(|(_, other)| reach(other.last) > reach(last)) {
        Some((node, other)) => Err(plan.state.longer_copy(plan.candidate, last, node, other.last)),
        None => Ok(format!("{last} is the longest copy that is heard")),
    }
}

/// How far a copy reaches: of two histories, the one with the later epoch is the cluster's.
pub(crate) fn reach(last: LogPoint) -> (Epoch, Position) {
    (last.epoch, last.position)
}

/// Observers: every node but the old primary. A majority of the cluster must have told when it last heard the old primary,
/// and the candidate must be among them; not needed when the old primary gave up by itself.
fn all_known(plan: &Plan) -> Judgement {
    if plan.copy().is_none() {
        return Err(plan.missing_copy());
    }
    if plan.volume.fenced || plan.volume.last_primary.is_none() {
        let how = match (&plan.volume.forced, plan.volume.fenced_by) {
            (Some(_), _) if !plan.volume.fenced => "is gone, as two people said",
            (_, Some(_)) => "was switched off",
            _ => "gave up by itself",
        };
        return Ok(format!("the candidate's copy; the old primary {how}"));
    }
    let limit_ms = plan.state.settings.contact_lost_ms;
    let told = observers(plan).filter(|(_, contact)| told_ms(*contact, limit_ms).is_some());
    let told: BTreeSet<NodeId> = told.map(|(node, _)| node).collect();
    let needed = plan.state.majority();
    if !told.contains(&plan.candidate) || told.len() < needed {
        let known = format!(
            "{} of {} nodes told when they last heard the primary, {needed} must, the candidate among them",
            told.len(),
            plan.state.voters().count()
        );
        return Err(RefusalKind::MissingEvidence(format!("contact with the primary ({known})")));
    }
    Ok(format!("the candidate's copy; {} told when they last heard the primary", plan.state.names(told.iter())))
}

fn observers<'a>(plan: &'a Plan) -> impl Iterator<Item = (NodeId, Contact)> + 'a {
    let all = plan.evidence.observed.contacts.iter().map(|(node, contact)| (*node, *contact));
    all.filter(|(node, _)| plan.state.nodes.contains_key(node) && Some(*node) != plan.volume.last_primary)
}

/// Milliseconds of silence of the old primary; None when the observer does not know.
pub(crate) fn silent_ms(contact: Contact) -> Option<u64> {
    match contact {
        Contact::Unknown => None,
        Contact::Heard { ms_ago } | Contact::SilentSinceBoot { ms_ago } => Some(ms_ago),
    }
}

/// As [`silent_ms`]; but an observer that booted a moment ago cannot tell that anybody is missing.
fn told_ms(contact: Contact, limit_ms: u64) -> Option<u64> {
    match contact {
        Contact::SilentSinceBoot { ms_ago } if ms_ago < limit_ms => None,
        other => silent_ms(other),
    }
}

fn copy_trusted(plan: &Plan) -> Judgement {
    match plan.copy() {
        None => Err(plan.missing_copy()),
        Some(copy) if copy.state == CopyState::Failed => Err(RefusalKind::CopyFailed(plan.node.name.clone())),
        Some(copy) => Ok(format!("up to {}, synced up to {}", copy.last, copy.durable)),
    }
}

/// Blocks nothing ([`not_held`] does); the guards are judged when it is proposed.
fn policy(plan: &Plan) -> Judgement {
    Ok(match plan.volume.policy {
        Policy::Manual => "policy manual: nothing happens before an approval".into(),
        Policy::Guarded => format!("{}: approved at once when every guard holds, by a person otherwise", plan.volume.allowed_by()),
        Policy::Hold => "policy hold: nobody".into(),
    })
}

/// A granted promotion whose candidate went missing before it served is closed by the next proposal: that is its outcome.
/// Whether the candidate really is missing is R13's question.
fn single(plan: &Plan) -> Judgement {
    match plan.state.open_proposal(plan.id) {
        None => Ok("none".into()),
        Some((id, _)) if Some(id) == plan.own => Ok(format!("{id} itself")),
        Some((id, open)) if open.state == ProposalState::CatchingUp => Ok(format!("{id} was granted, but never served")),
        Some((id, open)) => Err(RefusalKind::ProposalOpen {
            open: id,
            candidate: plan.state.node_name(open.candidate),
            state: open.state.to_string(),
        }),
    }
}

/// Open for every plan, because the cause of a failure may not be the candidate (a taken address, a full disk).
fn breaker(plan: &Plan) -> Judgement {
    let breaker = &plan.volume.breaker;
    match breaker.open {
        _ if planted(Bug::RetryForever) => Ok("not looked at".into()),
        false => Ok("closed".into()),
        true => Err(match breaker.too_many {
            Some(TooMany { changes, window_ms, .. }) => RefusalKind::TooManyRoleChanges { changes, minutes: window_ms / 60_000 },
            None => RefusalKind::BreakerOpen(breaker.failed.last().map_or(String::new(), |failed| failed.reason.clone())),
        }),
    }
}

/// A plan is the same while candidate, its boot and the in-sync set are.
fn not_failed_before(plan: &Plan) -> Judgement {
    let digest = plan.state.plan_digest(plan.id, plan.candidate);
    match plan.volume.breaker.failed.iter().find(|failed| failed.plan == digest) {
        Some(_) if planted(Bug::RetryForever) => Ok("it did, and is tried again".into()),
        None => Ok(format!("plan {}{}", digest.short(), denied(plan))),
        Some(failed) => Err(RefusalKind::PlanFailedBefore { failed: failed.proposal, reason: failed.reason.clone() }),
    }
}

/// A person may propose it again at any time, so this blocks nothing; nodes wait.
fn denied(plan: &Plan) -> String {
    let digest = plan.state.question_digest(plan.id, plan.candidate);
    let denied = plan.volume.rules.denied.iter().find(|denied| denied.plan == digest);
    denied.map_or(String::new(), |denied| format!(", denied by {} as {} ({})", denied.by, denied.proposal, denied.reason))
}

fn not_diverged(plan: &Plan) -> Judgement {
    match plan.copy() {
        None => Err(plan.missing_copy()),
        Some(copy) if copy.state == CopyState::Diverged => Err(RefusalKind::Diverged(plan.node.name.clone())),
        Some(_) => Ok("its history is the cluster's".into()),
    }
}

/// Also of the missing primary: it is missing on purpose (R10). Its end has no say in it, only its operator.
fn no_maintenance(plan: &Plan) -> Judgement {
    for node in [Some(plan.candidate), plan.volume.last_primary].into_iter().flatten() {
        plan.state.not_maintained(node)?;
    }
    Ok("none".into())
}

fn not_in_resync(plan: &Plan) -> Judgement {
    match plan.copy() {
        None => Err(plan.missing_copy()),
        Some(copy) if copy.state == CopyState::Resync => Err(RefusalKind::InResync(plan.node.name.clone())),
        Some(_) => Ok("complete".into()),
    }
}

fn holds_data(plan: &Plan) -> Judgement {
    plan.state.holds_data(plan.candidate, &plan.volume.name, &plan.volume.replicas).map(|()| "yes".into())
}

/// One observer that heard the primary is enough to refuse: it may be cut off from the others only (S06, S08).
fn fencing(plan: &Plan) -> Judgement {
    let Some(primary) = plan.volume.last_primary.map(|node| plan.state.node_name(node)) else {
        let known = plan.volume.forced.as_ref().map(|forced| format!("NOT PROVEN, taken on their word: {forced}"));
        return Ok(known.unwrap_or("there never was one".into()));
    };
    match (plan.volume.fenced, plan.volume.fenced_by) {
        (true, Some(by)) => {
            return Ok(format!("external fence confirmed ({by}): the machine of {primary} was off, nothing to wait for"));
        }
        (true, None) => return Ok(format!("{primary} stepped down or restarted: nothing to wait for")),
        (false, _) => {}
    }
    if !matches!(plan.evidence.fencing, FencingProof::LeaseLapse { .. }) {
        return Err(RefusalKind::NotFenced(primary));
    }
    let limit_ms = plan.state.settings.contact_lost_ms;
    let silences = observers(plan).filter_map(|(node, contact)| Some((told_ms(contact, limit_ms)?, node)));
    match silences.min() {
        None => Err(RefusalKind::MissingEvidence(format!("when {primary} was last heard"))),
        Some((ms_ago, by)) if ms_ago < limit_ms => {
            Err(RefusalKind::PrimaryHeard { primary, by: plan.state.node_name(by), ms_ago, limit_ms })
        }
        Some((ms_ago, _)) => Ok(format!(
            "{primary} was not heard for {ms_ago} ms; each node waits {} ms for the lease",
            plan.state.settings.lapse_ms()
        )),
    }
}

/// The state's half is derived again and compared; evidence that a slow node gathered is refused (R14).
fn up_to_date(plan: &Plan) -> Judgement {
    let now = plan.state.basis_beside(plan.evidence, plan.candidate, plan.id, plan.volume);
    // Once it is proposed an upgrade voids nothing, but what is shown must have been so.
    let then = &plan.evidence.basis.software;
    if plan.own.is_none() && *then != now.software {
        let (then, now) = (drift::software(plan.state, then).text, drift::software(plan.state, &now.software).text);
        return Err(RefusalKind::EvidenceOutdated { field: EvidenceField::Programs, then, now });
    }
    match difference(plan.state, &plan.evidence.basis, &now) {
        None => Ok(format!("evidence {}", plan.evidence.hash().short())),
        Some((field, then, now)) => Err(RefusalKind::EvidenceOutdated { field, then, now }),
    }
}

/// Blocks nothing: it was decided when the quorum was forced, and must be read again before this.
fn given_up_unseen(plan: &Plan) -> Judgement {
    Ok(plan.volume.forced.as_ref().map_or(String::new(), |forced| {
        let primary = forced.primary.as_deref().unwrap_or("none");
        format!("primary on record {primary}; {forced}, {}", instant(forced.at))
    }))
}

/// Blocks nothing; a person wants to know it before deciding (R15).
fn meanwhile(plan: &Plan) -> Judgement {
    let reads = match plan.volume.without_primary {
        WithoutPrimary::ServeReads => "complete replicas serve reads, marked as such",
        WithoutPrimary::Close => "closed until there is a primary",
    };
    match plan.volume.reign {
        Some(reign) if reign.state == ReignState::Serving => Ok("the primary on record serves while it has its lease".into()),
        _ => Ok(reads.into()),
    }
}

/// Blocks nothing that a person decides; the guards ask for more.
fn drifted(plan: &Plan) -> Judgement {
    let Evidence { basis, observed, .. } = plan.evidence;
    let (software, clocks) = (drift::software(plan.state, &basis.software), drift::clocks(plan.state, observed));
    let clocks = if plan.evidence.fencing.planned() { String::new() } else { format!("; clocks: {}", clocks.text) };
    Ok(format!("{}{clocks}", software.text))
}

/// The first piece in which two bases differ, and both values for people.
pub(crate) fn difference(state: &ClusterState, then: &Basis, now: &Basis) -> Option<(EvidenceField, String, String)> {
    fn differ<T: PartialEq>(
        field: EvidenceField,
        a: &T,
        b: &T,
        show: impl Fn(&T) -> String,
    ) -> Option<(EvidenceField, String, String)> {
        (a != b).then(|| (field, show(a), show(b)))
    }
    let boot = |old: &Option<_>| old.map_or("none".to_string(), |(node, boot)| format!("{} in boot {boot}", state.node_name(node)));
    let set = |basis: &Basis| {
        let each = basis.in_sync.iter().map(|(node, boot)| format!("{} ({boot})", state.node_name(*node)));
        format!("{{{}}}", each.collect::<Vec<_>>().join(", "))
    };
    use EvidenceField::*;
    differ(Epoch, &then.parent_epoch, &now.parent_epoch, ToString::to_string)
        .or_else(|| differ(CandidateIncarnation, &then.candidate_incarnation, &now.candidate_incarnation, ToString::to_string))
        .or_else(|| differ(PrimaryIncarnation, &then.old_primary, &now.old_primary, boot))
        .or_else(|| (then.in_sync != now.in_sync).then(|| (InSync, set(then), set(now))))
        .or_else(|| differ(Maintenance, &then.maintenance, &now.maintenance, |nodes| state.names(nodes.iter())))
        .or_else(|| differ(Loss, &(then.loss, then.loss_epoch), &(now.loss, now.loss_epoch), |(loss, _)| format!("{loss:?}")))
        .or_else(|| differ(Config, &then.config, &now.config, Digest::short))
        .or_else(|| differ(Blocked, &(then.volume, then.candidate), &(now.volume, now.candidate), |(v, n)| format!("{v} to {n}")))
}

impl ClusterState {
    /// `{a, b}`
    pub(crate) fn names<'a>(&self, nodes: impl Iterator<Item = &'a NodeId>) -> String {
        format!("{{{}}}", nodes.map(|node| self.node_name(*node)).collect::<Vec<_>>().join(", "))
    }

    pub(crate) fn longer_copy(&self, node: NodeId, last: LogPoint, other: NodeId, reaches: LogPoint) -> RefusalKind {
        let (node, other) = (self.node_name(node), self.node_name(other));
        RefusalKind::LongerCopy { node, last: last.to_string(), other, reaches: reaches.to_string() }
    }

    /// R1: an epoch is never granted twice, also when the state is older than the data.
    pub(crate) fn epoch_not_behind(&self, node: NodeId, held: Epoch, current: Epoch) -> Result<(), RefusalKind> {
        match held > current {
            true => Err(RefusalKind::EpochBehindCopies { node: self.node_name(node), held, current }),
            false => Ok(()),
        }
    }

    /// R12: witnesses never gate data; R5: only replicas have a copy at all.
    pub(crate) fn holds_data(&self, node: NodeId, volume: &str, replicas: &BTreeSet<NodeId>) -> Result<(), RefusalKind> {
        let known = self.nodes.get(&node).ok_or(RefusalKind::UnknownNode(node))?;
        if known.kind == crate::state::NodeKind::Witness {
            return Err(RefusalKind::Witness(known.name.clone()));
        }
        match replicas.contains(&node) {
            true => Ok(()),
            false => Err(RefusalKind::NotAReplica { node: known.name.clone(), volume: volume.to_string() }),
        }
    }

    /// SHA-256 of what a promotion of the volume depends on among settings: changes of it void an approval (R14).
    pub fn config_digest(&self, volume: &VolumeState) -> Digest {
        let voters = self.nodes.iter().filter(|(_, n)| n.incarnation.0 > 0);
        let nodes: Vec<_> = voters.map(|(id, n)| (id, &n.name, n.kind, &n.peer_address)).collect();
        let own = (&volume.name, &volume.replicas, volume.policy, volume.without_primary, &volume.export);
        let config = Digest::of_value("mainstay config 1", &(self.id, &self.settings, nodes, own));
        // Settings that came later count where they were set: an upgrade alone makes no approval void.
        let set = VolumeSettings { policy: volume.policy, without_primary: volume.without_primary, ..VolumeSettings::default() };
        match volume.settings() {
            now if now == set => config,
            now => Digest::of_value("mainstay config 2", &(config, now)),
        }
    }

    /// What makes a plan the same plan (R8): not its epoch, which a failed grant raised, and not the configuration: who lets a node join
    /// has not looked at what failed.
    pub(crate) fn plan_digest(&self, id: VolumeId, candidate: NodeId) -> Digest {
        let volume = self.volumes.get(&id);
        let set: Vec<_> = volume.iter().flat_map(|v| v.in_sync.keys()).collect();
        let boot = self.nodes.get(&candidate).map(|node| node.incarnation);
        Digest::of_value("mainstay plan 2", &(id, candidate, boot, set))
    }

    /// What a person's no is said to: with another configuration the question is another one.
    pub(crate) fn question_digest(&self, id: VolumeId, candidate: NodeId) -> Digest {
        let config = self.volumes.get(&id).map(|volume| self.config_digest(volume));
        Digest::of_value("mainstay question 1", &(self.plan_digest(id, candidate), config))
    }

    /// What the state says about promoting `candidate`.
    pub(crate) fn basis(&self, candidate: NodeId, id: VolumeId, volume: &VolumeState) -> Basis {
        let boot = |node: NodeId| self.nodes.get(&node).map_or_else(Default::default, |known| known.incarnation);
        let candidate_incarnation = boot(candidate);
        let loss = match volume.in_sync.get(&candidate) {
            Some(recorded) if *recorded == candidate_incarnation => Loss::None,
            Some(_) => Loss::Unsynced,
            None => Loss::Unknown,
        };
        let active = self.maintenance.values().filter(|m| m.state == MaintenanceState::Active);
        Basis {
            volume: id,
            candidate,
            candidate_incarnation,
            parent_epoch: volume.epoch,
            old_primary: volume.last_primary.map(|node| (node, boot(node))),
            in_sync: volume.in_sync.clone(),
            left_in_sync: volume.left_in_sync.clone(),
            maintenance: active.map(|m| m.node).filter(|node| volume.replicas.contains(node)).collect(),
            software: self.nodes.iter().map(|(id, node)| (*id, node.software.clone())).collect(),
            loss,
            loss_epoch: volume.loss_epoch,
            config: self.config_digest(volume),
        }
    }

    /// The same beside what an evidence says, without what does not touch its plan: who is handed over from may be in maintenance, and
    /// once it has given its word it may restart.
    pub(crate) fn basis_beside(&self, evidence: &Evidence, candidate: NodeId, id: VolumeId, volume: &VolumeState) -> Basis {
        let then = &evidence.basis;
        let mut now = self.basis(candidate, id, volume);
        if evidence.fencing.planned() {
            now.maintenance = then.maintenance.clone();
        }
        if evidence.fencing.planned() && volume.fenced {
            now.old_primary = then.old_primary;
        }
        // A policy that somebody sets meanwhile must not leave the volume without its primary.
        if matches!(evidence.fencing, FencingProof::GivenBack { .. }) {
            now.config = then.config;
        }
        now
    }

    /// The evidence for promoting `candidate`: the state's half, and what nodes saw. None when node or volume is unknown.
    pub fn evidence(&self, candidate: NodeId, volume: VolumeId, observed: &Observed) -> Option<Evidence> {
        let state = self.volumes.get(&volume)?;
        self.nodes.get(&candidate)?;
        let fencing = match state.fenced || state.last_primary.is_none() {
            true if state.forced.is_some() && !state.fenced => FencingProof::Forced,
            true => state.fenced_by.map_or(FencingProof::OwnDemotion, |by| FencingProof::ExternalFence { by }),
            false => FencingProof::LeaseLapse { wait_ms: self.settings.lapse_ms() },
        };
        let (basis, forced) = (self.basis(candidate, volume, state), state.forced.clone());
        Some(Evidence { basis, observed: observed.clone(), fencing, loss: None, forced })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clears_several_checks_is_one_step() {
        let check =
            |rule, verdict, clears: &str| Check { rule, claim: "c".into(), verdict, value: "v".into(), clears: clears.into() };
        let checks = [
            check(Rule::R8, Verdict::Fails, "reset the breaker"),
            check(Rule::R5, Verdict::Unknown, "wait"),
            check(Rule::R1, Verdict::Holds, ""),
            check(Rule::R8, Verdict::Fails, "reset the breaker"),
            check(Rule::R11, Verdict::Fails, "wait"),
        ];
        let told: Vec<(String, Vec<Rule>)> = steps(&checks).into_iter().map(|step| (step.does, step.rules)).collect();
        assert_eq!(told, [("reset the breaker".into(), vec![Rule::R8]), ("wait".into(), vec![Rule::R5, Rule::R11])]);
    }
}
