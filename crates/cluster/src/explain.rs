//! `mainstay explain promote NODE VOLUME`: every check with its value, from the list that `apply` judges by; and the evidence
//! as a person reads it.

use crate::checks::{Check, Plan, Verdict, check, known_copy, reach, silent_ms};
use crate::evidence::{
    Basis, Contact, CopyReport, CopyState, Evidence, EvidenceField, FencingProof, Loss, LostFile, LostFiles, NamedLoss, Observed,
};
use crate::refusal::{Refusal, RefusalKind, Rule, instant};
use crate::state::{ClusterState, Policy, ProposalState, VolumeState, WithoutPrimary};
use mainstay_protocol::peer::CopyHealth;
use mainstay_protocol::{NodeId, VolumeId};
use serde::{Deserialize, Serialize};
use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    pub volume: VolumeId,
    pub volume_name: String,
    pub candidate: NodeId,
    pub candidate_name: String,
    pub checks: Vec<Check>,
    /// Of policy `guarded`: what must hold as well for a promotion without a person. Empty with other policies.
    #[serde(default)]
    pub guards: Vec<Check>,
}

impl Explanation {
    /// Whether a proposal would be accepted now.
    pub fn promotable(&self) -> bool {
        self.checks.iter().all(|check| check.verdict == Verdict::Holds)
    }
    /// Whether the policy would approve it at once.
    pub fn automatic(&self) -> bool {
        self.promotable() && !self.guards.is_empty() && self.guards.iter().all(|guard| guard.verdict == Verdict::Holds)
    }
    /// The answer, as the end of a sentence.
    pub fn verdict(&self) -> &'static str {
        match (self.promotable(), self.automatic()) {
            (false, _) => "is refused",
            (true, true) => "can be proposed; the policy then approves it",
            (true, false) => "can be proposed; a person then decides",
        }
    }
    /// What stands in the way.
    pub fn blockers(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.verdict != Verdict::Holds)
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Promotion of {} for volume {} {}.", self.candidate_name, self.volume_name, self.verdict())?;
        self.checks.iter().try_for_each(|check| line(f, &check.rule.to_string(), check))?;
        self.guards.iter().try_for_each(|check| line(f, "guard", check))
    }
}

pub(crate) fn line(f: &mut fmt::Formatter<'_>, name: &str, check: &Check) -> fmt::Result {
    let mark = match check.verdict {
        Verdict::Holds => "holds  ",
        Verdict::Fails => "FAILS  ",
        Verdict::Unknown => "UNKNOWN",
    };
    writeln!(f, "{mark} {name:<5} {}: {}", check.claim, check.value)?;
    match check.clears.as_str() {
        "" => Ok(()),
        clears => writeln!(f, "              → {clears}"),
    }
}

impl ClusterState {
    /// Every check of a promotion of `candidate`, judged by the functions that `apply` judges a proposal by.
    pub fn explain_promote(&self, candidate: NodeId, volume: VolumeId, observed: &Observed) -> Explanation {
        let (checks, guards) = match self.evidence(candidate, volume, observed) {
            None => (vec![check(Rule::Input, "node and volume exist", Err(self.unknown(candidate, volume)))], vec![]),
            Some(evidence) => self.judge(candidate, volume, &evidence),
        };
        let volume_name = self.volumes.get(&volume).map_or_else(|| volume.to_string(), |known| known.name.clone());
        Explanation { volume, volume_name, candidate, candidate_name: self.node_name(candidate), checks, guards }
    }

    fn judge(&self, candidate: NodeId, volume: VolumeId, evidence: &Evidence) -> (Vec<Check>, Vec<Check>) {
        let parent_epoch = evidence.basis.parent_epoch;
        let Ok(plan) = self.plan(volume, candidate, parent_epoch, evidence, None) else { return (vec![], vec![]) };
        let guarded = plan.volume.policy == Policy::Guarded;
        (plan.checks(), if guarded { plan.guards(None) } else { vec![] })
    }

    fn unknown(&self, candidate: NodeId, volume: VolumeId) -> RefusalKind {
        match self.volumes.contains_key(&volume) {
            true => RefusalKind::UnknownNode(candidate),
            false => RefusalKind::UnknownVolume(volume),
        }
    }

    pub(crate) fn plan<'a>(
        &'a self,
        id: VolumeId,
        candidate: NodeId,
        parent_epoch: mainstay_protocol::Epoch,
        evidence: &'a Evidence,
        own: Option<mainstay_protocol::ProposalId>,
    ) -> Result<Plan<'a>, RefusalKind> {
        let volume = self.volumes.get(&id).ok_or(RefusalKind::UnknownVolume(id))?;
        let node = self.nodes.get(&candidate).ok_or(RefusalKind::UnknownNode(candidate))?;
        Ok(Plan { state: self, id, volume, candidate, node, parent_epoch, evidence, own })
    }

    /// R15: whether `node` may serve reads, marked as such, while the volume has no primary. `complete` says whether its copy is
    /// a complete prefix.
    pub fn may_serve_reads(&self, volume: VolumeId, node: NodeId, complete: bool) -> Result<(), Refusal> {
        let what = || format!("reading volume {} from {}", self.volume_label(volume), self.node_name(node));
        let judge = || {
            let state = self.volumes.get(&volume).ok_or(RefusalKind::UnknownVolume(volume))?;
            self.holds_data(node, &state.name, &state.replicas)?;
            self.reads_open(state, node, complete)
        };
        judge().map_err(|kind| Refusal::new(&what(), kind))
    }

    fn reads_open(&self, volume: &VolumeState, node: NodeId, complete: bool) -> Result<(), RefusalKind> {
        match volume.reign {
            Some(reign) => Err(RefusalKind::HasPrimary(self.node_name(reign.node))),
            None if volume.without_primary == WithoutPrimary::Close => Err(RefusalKind::ClosedWithoutPrimary),
            None if !complete => Err(RefusalKind::IncompletePrefix(self.node_name(node))),
            None => Ok(()),
        }
    }

    pub(crate) fn volume_label(&self, volume: VolumeId) -> String {
        self.volumes.get(&volume).map_or_else(|| volume.to_string(), |known| known.name.clone())
    }
}

impl fmt::Display for ProposalState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProposalState::Pending => f.write_str("waiting for approval"),
            ProposalState::Fencing => f.write_str("approved, fencing"),
            ProposalState::CatchingUp => f.write_str("granted, catching up"),
            ProposalState::Serving => f.write_str("done, serving"),
            ProposalState::Failed { reason } => write!(f, "failed ({reason})"),
            ProposalState::Denied { by, reason } => write!(f, "denied by {by} ({reason})"),
            ProposalState::Expired => f.write_str("expired"),
            ProposalState::Void { seen, .. } => write!(f, "void ({seen})"),
            ProposalState::Draining => f.write_str("approved, draining"),
        }
    }
}

impl fmt::Display for EvidenceField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EvidenceField::Epoch => "the epoch",
            EvidenceField::CandidateIncarnation => "the candidate's boot",
            EvidenceField::PrimaryIncarnation => "the old primary",
            EvidenceField::InSync => "the in-sync set",
            EvidenceField::Maintenance => "maintenance",
            EvidenceField::Loss => "the loss",
            EvidenceField::Config => "the configuration",
            EvidenceField::PrimaryHeard => "the contact with the primary",
            EvidenceField::Positions => "the position of a copy",
            EvidenceField::CandidateCopy => "the candidate's copy",
            EvidenceField::Blocked => "the plan",
            EvidenceField::Drain => "the drain",
            EvidenceField::Policy => "the policy",
            EvidenceField::People => "who spoke for it",
            EvidenceField::Programs => "the version of the programs",
        })
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Loss::None => "nothing that was acknowledged",
            Loss::Unsynced => "writes that were not synced may be missing: clients are told and send them again",
            Loss::Unknown => "UNKNOWN",
        })
    }
}

impl fmt::Display for LostFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LostFile { path, bytes, first, last } = self;
        match first == last {
            true => write!(f, "{path} ({bytes} bytes written, at {})", instant(*first)),
            false => write!(f, "{path} ({bytes} bytes written, {} to {})", instant(*first), instant(*last)),
        }
    }
}

impl fmt::Display for FencingProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FencingProof::LeaseLapse { wait_ms } => write!(f, "every node waits out the lease, {}", seconds(*wait_ms)),
            FencingProof::OwnDemotion => f.write_str("the old primary stepped down or restarted, nothing to wait for"),
            FencingProof::HandOver { from, incarnation } => {
                write!(f, "{from} in boot {incarnation} hands over by its own word, and gets it back if this is called off")
            }
            FencingProof::GivenBack { of } => write!(f, "{of} was called off after the primary's own word"),
            FencingProof::Forced => f.write_str("NONE: two people said that the machine is gone"),
            FencingProof::ExternalFence { by } => {
                write!(f, "external fence confirmed ({by}): the old primary's machine was off, nothing to wait for")
            }
        }
    }
}

fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

/// Capitals where somebody tired must not read over it.
pub(crate) fn health_line(health: &CopyHealth) -> String {
    let room = match health {
        CopyHealth { full: true, .. } | CopyHealth { free_bytes: 0, .. } => "DISK FULL".to_string(),
        CopyHealth { free_bytes, .. } => format!("room for {}", size(*free_bytes)),
    };
    let damage = match health.damaged {
        0 => "no damage found".to_string(),
        times => format!("DAMAGED, and not mended: {times} times since its start"),
    };
    let failed = if health.failed { "FAILED, " } else { "" };
    format!("{failed}{room}, {damage}")
}

/// Rounded down.
fn size(bytes: u64) -> String {
    let (unit, shift) = match bytes {
        0..1_048_576 => ("KiB", 10),
        1_048_576..1_073_741_824 => ("MiB", 20),
        1_073_741_824..1_099_511_627_776 => ("GiB", 30),
        _ => ("TiB", 40),
    };
    let tenths = (u128::from(bytes) * 10) >> shift;
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

fn copy_line(report: Option<CopyReport>) -> String {
    let Some(copy) = report else { return "UNKNOWN".into() };
    let state = match copy.state {
        CopyState::Complete => "complete",
        CopyState::Resync => "IN RESYNC",
        CopyState::Diverged => "DIVERGED",
        CopyState::Failed => "FAILED",
    };
    format!(
        "{state} up to {}, synced up to {}, committed up to {}, boot {}, told {} ago",
        copy.last,
        copy.durable,
        copy.committed,
        copy.incarnation,
        seconds(copy.age_ms)
    )
}

impl Evidence {
    /// What it is evidence for, with names from `state`.
    pub fn title(&self, state: &ClusterState) -> String {
        let Basis { volume, candidate, parent_epoch, .. } = &self.basis;
        let (candidate, volume) = (state.node_name(*candidate), state.volume_label(*volume));
        format!("Promote {candidate} to primary of volume {volume} ({parent_epoch} → {})", parent_epoch.next())
    }

    /// For a person who has to decide.
    pub fn render(&self, state: &ClusterState) -> String {
        let mut text = self.title(state);
        for (name, value) in self.lines(state) {
            text += &format!("\n  {name:<14}{value}");
        }
        text + &format!("\n  {:<14}{}", "evidence", self.hash())
    }

    /// Name and value of each piece, the most telling first.
    pub fn lines(&self, state: &ClusterState) -> Vec<(&'static str, String)> {
        let basis = &self.basis;
        let candidate = state.node_name(basis.candidate);
        let mut lines = Vec::new();
        let mut line = |name: &'static str, value: String| lines.push((name, value));
        line("old primary", self.old_primary_line(state));
        line("candidate", format!("{candidate}, boot {}", basis.candidate_incarnation));
        // Of a switchover nobody is asked: who is in sync in its present boot holds everything, and the primary says where it ends.
        if !self.fencing.planned() {
            let copy = known_copy(&self.observed, basis.candidate);
            line("its copy", copy_line(copy));
            line("its health", copy.map_or("UNKNOWN".into(), |copy| health_line(&copy.health)));
            let others = state.volumes.get(&basis.volume).map(|volume| volume.replicas.clone()).unwrap_or_default();
            for other in others.into_iter().filter(|node| *node != basis.candidate) {
                line("other copy", format!("{}: {}", state.node_name(other), copy_line(known_copy(&self.observed, other))));
            }
        }
        line("in-sync set", state.names(basis.in_sync.keys()));
        for (node, left) in &basis.left_in_sync {
            let (node, by) = (state.node_name(*node), state.node_name(left.by));
            line("left out", format!("{node} since {}, by {by}: {}", instant(left.at), left.reason));
        }
        line("fencing", self.fencing_line(state));
        if let Some(forced) = &self.forced {
            line("QUORUM FORCED", format!("{}: {forced}", instant(forced.at)));
            line("GIVES UP", "what they decided and acknowledged without this copy: how much that is is UNKNOWN".into());
        }
        match &self.loss {
            None => line("loss", basis.loss.to_string()),
            Some(loss) => self.loss_lines(loss).into_iter().for_each(|(name, value)| line(name, value)),
        }
        let maintained = if basis.maintenance.is_empty() { "none".into() } else { state.names(basis.maintenance.iter()) };
        line("maintenance", maintained);
        line("configuration", basis.config.short());
        line("programs", crate::drift::software(state, &basis.software).text);
        if !self.fencing.planned() {
            line("clocks", crate::drift::clocks(state, &self.observed).text);
        }
        lines
    }

    /// Capitals where somebody tired must not read over it.
    fn loss_lines(&self, loss: &NamedLoss) -> Vec<(&'static str, String)> {
        let held = self.observed.copies.iter().filter(|(node, _)| **node != self.basis.candidate);
        let farthest = held.filter_map(|(node, _)| known_copy(&self.observed, *node)).max_by_key(|copy| reach(copy.last));
        let known = match farthest.filter(|other| other.last.position > loss.after.position) {
            Some(other) => {
                let records = other.last.position.0 - loss.after.position.0;
                format!("at least {records} records, up to {}, and what came later", other.last)
            }
            None => "HOW MUCH IS UNKNOWN: nobody that is heard knows how far the lost copies reached".into(),
        };
        let newest = loss.newest_kept.map_or("UNKNOWN".into(), instant);
        let left = loss.left.map_or("since when is UNKNOWN".into(), |left| format!("since {}", instant(left)));
        let mut lines = vec![
            ("GIVES UP", format!("everything acknowledged after {}: {known}", loss.after)),
            ("kept", format!("every change up to {newest}; it was not in sync {left}")),
            ("why", loss.reason.clone()),
        ];
        match &loss.files {
            LostFiles::Unknown(why) => lines.push(("lost files", format!("UNKNOWN: {why}"))),
            LostFiles::Known { files, more } => {
                lines.extend(files.iter().map(|file| ("lost file", file.to_string())));
                lines.extend((*more > 0).then(|| ("lost files", format!("and {more} more"))));
            }
        }
        lines
    }

    fn fencing_line(&self, state: &ClusterState) -> String {
        match self.fencing {
            FencingProof::HandOver { from, incarnation } => {
                let from = state.node_name(from);
                format!("{from} in boot {incarnation} hands over by its own word, and gets it back if this is called off then")
            }
            other => other.to_string(),
        }
    }

    fn old_primary_line(&self, state: &ClusterState) -> String {
        let Some((node, boot)) = self.basis.old_primary else {
            let lost = self.forced.as_ref().and_then(|forced| forced.primary.as_ref());
            return lost.map_or("none".into(), |name| format!("{name}, which is gone; nobody can say when it was last heard"));
        };
        if self.fencing.planned() {
            return format!("{}, boot {boot}", state.node_name(node));
        }
        let heard = self.observed.contacts.iter().map(|(by, contact)| {
            let by = state.node_name(*by);
            match (contact, silent_ms(*contact)) {
                (Contact::SilentSinceBoot { .. }, Some(ms)) => format!("not by {by} since its boot {} ago", seconds(ms)),
                (_, Some(ms)) => format!("by {by} {} ago", seconds(ms)),
                (_, None) => format!("by {by} UNKNOWN"),
            }
        });
        format!("{}, boot {boot}; last heard: {}", state.node_name(node), heard.collect::<Vec<_>>().join(", "))
    }
}
