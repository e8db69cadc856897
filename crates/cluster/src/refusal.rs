//! Why something was refused: typed, with the rule, the values and what to do.

use crate::command::Actor;
use crate::digest::Digest;
use crate::evidence::EvidenceField;
use crate::policy::ChangeId;
use crate::state::{MaintenanceId, StopCause};
use mainstay_protocol::marks::mark_variant;
use mainstay_protocol::{Epoch, Incarnation, NodeId, ProposalId, Timestamp, VolumeId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The rules of the design (docs/SAFETY.md); `Input` is for requests that are wrong whatever the rules say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Rule {
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    R10,
    R11,
    R12,
    R13,
    R14,
    R15,
    Input,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A refused command. `message` is the whole for a person: what, by which rule, why, what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub rule: Rule,
    pub kind: Box<RefusalKind>,
    pub message: String,
}

impl Refusal {
    /// `what` was asked for, such as "promotion of b for volume files".
    pub fn new(what: &str, kind: RefusalKind) -> Refusal {
        mark_variant(&kind);
        let rule = kind.rule();
        let by = if rule == Rule::Input { String::new() } else { format!(" by {rule}") };
        let message = format!("{what} refused{by}: {kind}. {}.", kind.clears());
        Refusal { rule, kind: Box::new(kind), message }
    }
}

/// The typed reason. Nodes and volumes are given by name, for people; Display is the "why". Append variants only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum RefusalKind {
    // Wrong whatever the rules say: unknown, taken, too long, too many.
    #[error("the cluster is not initialised")]
    NotInitialised,
    #[error("the cluster is initialised already, as {0:?}")]
    AlreadyInitialised(String),
    #[error("there is no node {0}")]
    UnknownNode(NodeId),
    #[error("there is no volume {0}")]
    UnknownVolume(VolumeId),
    #[error("there is no proposal {0}, or it is so old that it was forgotten")]
    UnknownProposal(ProposalId),
    #[error("there is no open maintenance {0}")]
    UnknownMaintenance(MaintenanceId),
    #[error("the name {label:?} of a {what} {why}")]
    BadLabel { what: String, label: String, why: String },
    #[error("the {what} {value:?} is taken by {owner}")]
    Taken { what: String, value: String, owner: String },
    #[error("the {what} {value:?} {why}")]
    BadValue { what: String, value: String, why: String },
    #[error("there are {max} {what} already, the most that one cluster may have")]
    LimitReached { what: String, max: usize },
    #[error("the primary {0} is not among the replicas")]
    PrimaryNotReplica(String),
    #[error("the join token is unknown")]
    UnknownToken,
    #[error("the join token was used already, for node {0:?}")]
    TokenUsed(String),
    #[error("the join token expired at {}", instant(*.0))]
    TokenExpired(Timestamp),
    #[error("no join token was used for node {0:?}")]
    TokenMissing(String),
    #[error("the breaker of volume {0} is closed and no plan failed")]
    NothingToReset(String),

    // R1: one primary per epoch; a grant raises it by one, and none is used twice, not even after a restore.
    #[error("it follows epoch {given}, but the volume is at {current}; an epoch is never reused")]
    ParentEpoch { given: Epoch, current: Epoch },
    #[error("{0} is the primary already")]
    AlreadyPrimary(String),
    #[error("{node} holds records of epoch {held}, but the state knows {current} only: the state is older than the data")]
    EpochBehindCopies { node: String, held: Epoch, current: Epoch },
    #[error("the epoch has reached its largest number")]
    EpochExhausted,
    // R2: whoever speaks for a lower epoch is rejected by the receiver, here too.
    #[error("it speaks for epoch {given}, the volume is at {current}")]
    StaleEpoch { given: Epoch, current: Epoch },
    #[error("{node} has promised epoch {promised} only; {needed} is about to be granted")]
    PromiseTooLow { node: String, promised: Epoch, needed: Epoch },
    // R3: a grant is made to one boot. A later boot of the same node holds nothing.
    #[error("{node} in boot {given} holds no grant of epoch {epoch}: the grant is {holder}")]
    NotGranted { node: String, given: Incarnation, epoch: Epoch, holder: String },
    #[error("{node} reports boot {given}, but boot {current} is known: a boot must have a higher number than all before")]
    IncarnationNotRisen { node: String, given: Incarnation, current: Incarnation },
    #[error("it was sent by boot {given} of {node}, which is in boot {current} now")]
    OldBoot { node: String, given: Incarnation, current: Incarnation },
    // R4: what may be promoted is decided before anything is acknowledged without it, by the one who acknowledges.
    #[error("only the primary changes the in-sync set: {node} asked, the primary is {primary}")]
    NotThePrimary { node: String, primary: String },
    #[error("the primary {0} cannot leave its own in-sync set")]
    RemovesItself(String),
    #[error("it was decided on version {expected} of the in-sync set, which is at {current}")]
    SetChanged { expected: u64, current: u64 },
    // R5: only members hold everything that was acknowledged.
    #[error("{node} is not in the in-sync set {in_sync}, so acknowledged writes may be missing on it")]
    NotInSync { node: String, in_sync: String },
    #[error("the copy on {node} ends at {last}, before epoch {served} was served: it is not the copy that was in sync")]
    CopyTooShort { node: String, last: String, served: Epoch },
    #[error("the copy on {node} ends at {last}, and that of {other}, which is heard, reaches {reaches}")]
    LongerCopy { node: String, last: String, other: String, reaches: String },
    // R6: what nobody could tell is not taken for good. These come after every reason that is certain.
    #[error("evidence is missing: {0} is unknown, and unknown is never healthy")]
    MissingEvidence(String),
    #[error("{0} has not booted yet, so nothing is known of it")]
    NeverBooted(String),
    #[error("the volume has failed on {0}: its copy cannot be trusted")]
    CopyFailed(String),
    // R7: one gate, and a person stands at it.
    #[error("{0} is not a person, and only a person decides this")]
    NotAPerson(Actor),
    #[error("the policy `guarded` lets the cluster promote without a person, and one person alone does not set it")]
    GuardedPolicy,
    // R8: one promotion at a time, closed by what became of it; no repetition of what failed.
    #[error("promotion {open} of {candidate} is {state} for this volume, and there is one at a time")]
    ProposalOpen { open: ProposalId, candidate: String, state: String },
    #[error("this very plan failed before ({failed}: {reason})")]
    PlanFailedBefore { failed: ProposalId, reason: String },
    #[error("the breaker is open since a promotion failed ({0})")]
    BreakerOpen(String),
    #[error("{proposal} is {state} and stays so")]
    ProposalClosed { proposal: ProposalId, state: String },
    // R9: a node that comes back is a secondary until it is verified in its present boot.
    #[error("{0} holds records that the cluster does not have")]
    Diverged(String),
    #[error("{node} came back in boot {current}, but boot {given} is to be added: it is not verified in this boot")]
    ReturnedUnverified { node: String, given: Incarnation, current: Incarnation },
    // R10: what somebody took out of service on purpose is no failure.
    #[error("{node} is in maintenance {maintenance} of {owner} until {} ({reason})", instant(*.ends_at))]
    InMaintenance { node: String, maintenance: MaintenanceId, owner: String, reason: String, ends_at: Timestamp },
    #[error("{node} is the primary of {volumes}")]
    MaintainsPrimary { node: String, volumes: String },
    #[error("without {away} there is no majority: nodes that stay {left}, needed to decide anything and to hold a lease {needed}")]
    MaintainsMajority { away: String, left: usize, needed: usize },
    #[error("maintenance {0} was ended already, and closes when its node is in sync")]
    MaintenanceEnded(MaintenanceId),
    #[error("maintenance {maintenance} goes on until {}", instant(*.until))]
    NotOverdue { maintenance: MaintenanceId, until: Timestamp },
    // R11: half a copy is no copy.
    #[error("{0} is in resync: its copy is no complete prefix of the volume's history")]
    InResync(String),
    // R12: the witness votes and nothing else.
    #[error("{0} is a witness: it votes and holds no data")]
    Witness(String),
    #[error("{node} is not a replica of {volume}")]
    NotAReplica { node: String, volume: String },
    // R13: two leases never overlap.
    #[error("{by} heard the primary {primary} {ms_ago} ms ago (missing means {limit_ms} ms): its lease is alive")]
    PrimaryHeard { primary: String, by: String, ms_ago: u64, limit_ms: u64 },
    #[error("the evidence says that the old primary {0} gave up by itself, but it did not")]
    NotFenced(String),
    // R14: what was approved is what is done, once, soon, or not at all.
    #[error("the evidence is of an older state: {field} was {then}, and is {now}")]
    EvidenceOutdated { field: EvidenceField, then: String, now: String },
    #[error("the approval names evidence {given}, the proposal's is {current}")]
    HashMismatch { given: Digest, current: Digest },
    #[error("{proposal} was approved already by {by}; an approval is used once")]
    AlreadyApproved { proposal: ProposalId, by: Actor },
    #[error("{proposal} is {state}, and an approval of it means nothing any more")]
    ApprovalTooLate { proposal: ProposalId, state: String },
    #[error("{proposal} was proposed {} s ago, and a proposal is good for {} s", *.waited_ms / 1_000, *.limit_ms / 1_000)]
    Expired { proposal: ProposalId, waited_ms: u64, limit_ms: u64 },
    #[error("{proposal} is good until {}", instant(*.until))]
    NotExpired { proposal: ProposalId, until: Timestamp },
    // R15: reads without a primary are a choice, and never of half a copy.
    #[error("the volume has a primary, {0}: reads are its own")]
    HasPrimary(String),
    #[error("the volume is set to stay closed without a primary")]
    ClosedWithoutPrimary,
    #[error("the copy on {0} is no complete prefix of the volume's history")]
    IncompletePrefix(String),
    // Of a switchover: R13, nobody can give the old primary's word but itself; R5, what was in memory counts, too.
    #[error("{0} has no primary that serves, so nobody can hand it over")]
    NothingToHandOver(String),
    #[error("{node} restarted since it was in sync (then boot {member}, now {current}), and is not verified yet")]
    RestartedSince { node: String, member: Incarnation, current: Incarnation },
    // R7, appended.
    #[error("{what} is on hold: {by} said {reason:?}, and nothing is promoted until it is lifted")]
    OnHold { what: String, by: Actor, reason: String },
    #[error("{by} asked for {change}, and another person must approve it")]
    SamePerson { change: ChangeId, by: Actor },
    // R8, appended.
    #[error("{by} denied this very plan ({proposal}: {reason}), and nodes do not repeat it before {}", instant(*.until))]
    DeniedBefore { proposal: ProposalId, by: Actor, reason: String, until: Timestamp },
    #[error("the breaker is open since there were {changes} role changes within {minutes} min")]
    TooManyRoleChanges { changes: u32, minutes: u64 },
    // R14, appended.
    #[error("{change} is {state}")]
    ChangeClosed { change: ChangeId, state: String },
    #[error("the approval names {given}, the change's digest is {current}: {change} is not what was looked at")]
    ChangeMismatch { change: ChangeId, given: Digest, current: Digest },
    #[error("it was a drill of configuration {}, the present one is {}", .given.short(), .current.short())]
    DrillOutdated { given: Digest, current: Digest },
    // Appended.
    #[error("there is no change {0}")]
    UnknownChange(ChangeId),
    // R5, appended: a loss is named, by two people, and is none that could be had back.
    #[error("{proposal} gives up acknowledged writes, and {by} proposed it: a second person must approve it")]
    LossByOne { proposal: ProposalId, by: Actor },
    #[error("the loss is not named as it is: the copy on {node} ends at {last}")]
    LossMisnamed { node: String, last: String },
    #[error("the copy on {0} is empty: nothing of the volume would be left")]
    EmptyCopy(String),
    #[error("{0} is a member of the in-sync set, or the primary: its copy may be the only one with everything")]
    CopyNeeded(String),
    #[error("{0} has no primary that serves: the copy on {1} could not be made again from anything")]
    NothingToCopyFrom(String, String),
    // Of membership. R4: a copy goes only when enough others stay.
    #[error("{node} is the primary of {volume}")]
    RemovesPrimary { node: String, volume: String },
    #[error("without {node} the copies of {volume} in sync, each in its present boot, are {left}")]
    RemovesRedundancy { node: String, volume: String, left: String },
    #[error("{volume} has no primary that serves, and a copy less may be the copy that is missed")]
    RemovesUnserved { volume: String },
    #[error("it was decided on version {expected} of the replicas of {volume}, which are at {current}")]
    ReplicasChanged { volume: String, expected: u64, current: u64 },
    #[error("{node} holds {volumes}")]
    HoldsVolumes { node: String, volumes: String },
    // R9: what is under way of a copy that was removed must not meet a new one.
    #[error("the copy that {node} had of {volume} was removed in its present boot {boot}")]
    RemovedInThisBoot { node: String, volume: String, boot: Incarnation },
    // R13: any two majorities must meet.
    #[error(
        "the primary {primary} of {volume} may still count its lease with other members: {counted}, and {next} differ from them by more than one"
    )]
    MembersUnsettled { primary: String, volume: String, counted: String, next: String },
    #[error("of the members that stay ({stay}) only {answering} answer, and {needed} must")]
    RemovesMajority { stay: String, answering: String, needed: usize },
    // Of fencing hooks. R2: an external action names the boot and the reign that it is for, and hits no other.
    #[error("it is for boot {given} of {node}; what it would hit now is {current}")]
    FencesAnother { node: String, given: Incarnation, current: String },
    #[error("{node} is being switched off {why}, or was a moment ago")]
    BeingFenced { node: String, why: String },
    // R8: one side, once.
    #[error("only the candidate {candidate} may have the old primary switched off for {proposal}, not {node}")]
    NotTheFencer { proposal: ProposalId, candidate: String, node: String },
    #[error("{proposal} had its one attempt to switch {node} off: {outcome}")]
    FencedOnce { proposal: ProposalId, node: String, outcome: String },
    // R7: an approval covers one volume.
    #[error("{node} {holds}, and nobody has approved that it is taken away")]
    FencesOthers { node: String, holds: String },
    #[error("{proposal} is {state}, and nothing is switched off before somebody has approved it")]
    FencesUnapproved { proposal: ProposalId, state: String },
    // R13.
    #[error("{0} serves nothing any more: there is nothing to shorten by switching it off")]
    NothingToFence(String),
    // R4, appended.
    #[error("{0} is to acknowledge nothing while one copy is all there is (`alone read-only`), and it would have one replica")]
    WantsTwoReplicas(String),
    // R3, appended: a reign belongs to a boot, and this one ends.
    #[error("{node} is stopping, or has stopped: {cause}")]
    CandidateLeft { node: String, cause: StopCause },
    // R7, appended.
    #[error("{name} was revoked by {by} at {}: {reason}", instant(*.at))]
    Revoked { name: String, by: Actor, at: Timestamp, reason: String },
    // Of a forced quorum. R5: what is given up is named.
    #[error("{node} has no copy of {volumes}")]
    ForcedWithout { node: String, volumes: String },
    #[error("{0} was named as given up, and is no volume of which {1} lacks anything")]
    ForcedForNothing(String, String),
    // R7: two people.
    #[error("{0} named it alone")]
    ForcedByOne(Actor),
    #[error("{0} is the only node of the cluster: it decides alone already")]
    ForcedAlone(String),
    #[error("{proposal} was approved {} s ago, and an approval is good for {} s", waited_ms / 1_000, limit_ms / 1_000)]
    ApprovalTooOld { proposal: ProposalId, waited_ms: u64, limit_ms: u64 },
}

const DECIDE_ANEW: &str = "Look at the proposals as they are now and decide anew";

impl RefusalKind {
    pub fn rule(&self) -> Rule {
        use RefusalKind::*;
        match self {
            ParentEpoch { .. } | AlreadyPrimary(_) | EpochExhausted | EpochBehindCopies { .. } => Rule::R1,
            StaleEpoch { .. } | PromiseTooLow { .. } => Rule::R2,
            NotGranted { .. } | IncarnationNotRisen { .. } | OldBoot { .. } | CandidateLeft { .. } => Rule::R3,
            NotThePrimary { .. } | RemovesItself(_) | SetChanged { .. } => Rule::R4,
            NotInSync { .. } | CopyTooShort { .. } | LongerCopy { .. } => Rule::R5,
            ForcedWithout { .. } | ForcedForNothing(..) | ForcedByOne(_) | ForcedAlone(_) => Rule::R5,
            MissingEvidence(_) | NeverBooted(_) | CopyFailed(_) => Rule::R6,
            NotAPerson(_) | GuardedPolicy | Revoked { .. } => Rule::R7,
            ProposalOpen { .. } | PlanFailedBefore { .. } | BreakerOpen(_) | ProposalClosed { .. } => Rule::R8,
            Diverged(_) | ReturnedUnverified { .. } => Rule::R9,
            InMaintenance { .. } | MaintainsPrimary { .. } | MaintainsMajority { .. } => Rule::R10,
            MaintenanceEnded(_) | NotOverdue { .. } => Rule::R10,
            InResync(_) => Rule::R11,
            Witness(_) | NotAReplica { .. } => Rule::R12,
            PrimaryHeard { .. } | NotFenced(_) => Rule::R13,
            EvidenceOutdated { .. } | HashMismatch { .. } | AlreadyApproved { .. } => Rule::R14,
            ApprovalTooLate { .. } | Expired { .. } | NotExpired { .. } | ApprovalTooOld { .. } => Rule::R14,
            HasPrimary(_) | ClosedWithoutPrimary | IncompletePrefix(_) => Rule::R15,
            // Named one by one, so that a new reason cannot miss its rule.
            NotInitialised | AlreadyInitialised(_) | UnknownNode(_) | UnknownVolume(_) | UnknownProposal(_) => Rule::Input,
            UnknownMaintenance(_) | BadLabel { .. } | Taken { .. } | BadValue { .. } | LimitReached { .. } => Rule::Input,
            PrimaryNotReplica(_) | UnknownToken | TokenUsed(_) | TokenExpired(_) | TokenMissing(_) => Rule::Input,
            NothingToHandOver(_) => Rule::R13,
            RestartedSince { .. } => Rule::R5,
            NothingToReset(_) | UnknownChange(_) => Rule::Input,
            OnHold { .. } | SamePerson { .. } => Rule::R7,
            DeniedBefore { .. } | TooManyRoleChanges { .. } => Rule::R8,
            ChangeClosed { .. } | ChangeMismatch { .. } | DrillOutdated { .. } => Rule::R14,
            LossByOne { .. } | LossMisnamed { .. } | EmptyCopy(_) | CopyNeeded(_) | NothingToCopyFrom(..) => Rule::R5,
            RemovesPrimary { .. } | RemovesRedundancy { .. } | ReplicasChanged { .. } | HoldsVolumes { .. } => Rule::R4,
            RemovesUnserved { .. } => Rule::R5,
            WantsTwoReplicas(_) => Rule::R4,
            RemovedInThisBoot { .. } => Rule::R9,
            MembersUnsettled { .. } | RemovesMajority { .. } => Rule::R13,
            FencesAnother { .. } | BeingFenced { .. } => Rule::R2,
            NotTheFencer { .. } | FencedOnce { .. } => Rule::R8,
            FencesOthers { .. } | FencesUnapproved { .. } => Rule::R7,
            NothingToFence(_) => Rule::R13,
        }
    }

    /// Whether it refuses for what is not known, rather than for what is known (R6).
    pub fn unknown(&self) -> bool {
        matches!(self, RefusalKind::MissingEvidence(_) | RefusalKind::NeverBooted(_))
    }

    /// What to do about it.
    pub fn clears(&self) -> &'static str {
        use RefusalKind::*;
        match self {
            StaleEpoch { .. } | NotGranted { .. } | OldBoot { .. } | NotThePrimary { .. } => self.node_clears(),
            PromiseTooLow { .. } | IncarnationNotRisen { .. } | SetChanged { .. } | RemovesItself(_) => self.node_clears(),
            ReturnedUnverified { .. } | HasPrimary(_) | ClosedWithoutPrimary | IncompletePrefix(_) => self.node_clears(),
            NotExpired { .. } | NotOverdue { .. } => self.node_clears(),
            ParentEpoch { .. } | EvidenceOutdated { .. } | NotFenced(_) => "Propose again from the present state",
            AlreadyPrimary(_) | ForcedAlone(_) => "Nothing needs to be done",
            EpochBehindCopies { .. } => {
                "If the coordination state was restored from a backup, bring back the newest one; nothing is promoted until then"
            }
            EpochExhausted => "Make a new volume and copy the data",
            NotInSync { .. } => {
                "Promote a member of the set, or bring one back. If none can ever come back: `mainstay propose VOLUME --candidate NODE \
                 --give-up WHY` names what is lost, and a second person approves"
            }
            CopyTooShort { .. } => {
                "Promote another member; if its disk was replaced or restored, let it copy everything again first"
            }
            LongerCopy { .. } => "Promote the node with the longer copy: it holds everything that this one holds, and more",
            MissingEvidence(_) => "Bring back the node that can tell, then propose again",
            NeverBooted(_) | CandidateLeft { .. } => "Start it, then try again",
            ForcedWithout { .. } => {
                "Force the quorum on a node that has one. If none is left, they are gone: name each with `--without VOLUME`"
            }
            ForcedForNothing(..) => "Name only what would be gone",
            ForcedByOne(_) => "Another person's credentials are needed beside the first's",
            CopyFailed(_) => "Look at its disk and log",
            Revoked { .. } => "That name stays so: `mainstay credentials`, on the node that made the cluster, makes another one",
            NotAPerson(_) => "Ask a person to decide it",
            GuardedPolicy => {
                "Make it with `manual`, then ask with `mainstay volume set NAME --policy guarded --reason …`, which another person approves"
            }
            ProposalOpen { .. } => "Approve or deny that one first",
            PlanFailedBefore { .. } | BreakerOpen(_) => "Mend the cause, then reset the breaker with what was mended",
            Diverged(_) => "It follows the next primary by itself: the records go to quarantine first",
            InMaintenance { .. } => "End the maintenance first, if it is over (`mainstay maintenance end`)",
            MaintainsMajority { .. } => "Bring one of them back first, or say that the volumes may lose their primary",
            MaintenanceEnded(_) => "Begin a new one if there is more to do",
            MaintainsPrimary { .. } => "Hand it over first (`--switchover`), or say that the volumes may lose their primary",
            InResync(_) => "Wait for it to be in sync",
            Witness(_) | NotAReplica { .. } => "Choose a file server that is a replica",
            PrimaryHeard { .. } => "For a planned change use `mainstay switchover`: the primary then hands over by itself",
            HashMismatch { .. } | AlreadyApproved { .. } | ProposalClosed { .. } => DECIDE_ANEW,
            ApprovalTooLate { .. } | ApprovalTooOld { .. } => DECIDE_ANEW,
            Expired { .. } => {
                "Look at `mainstay proposals`: the nodes make the next one by themselves, and a person's is asked for again"
            }
            NothingToHandOver(_) => "Wait until it serves; if its primary is gone this is a failover: look at `mainstay proposals`",
            RestartedSince { .. } => "Wait until it is in sync again, in this boot",
            OnHold { .. } | SamePerson { .. } | DeniedBefore { .. } | TooManyRoleChanges { .. } => self.policy_clears(),
            ChangeClosed { .. } | ChangeMismatch { .. } | DrillOutdated { .. } | UnknownChange(_) => self.policy_clears(),
            LossByOne { .. } => "Ask another approver to read the evidence and approve it",
            LossMisnamed { .. } => "Propose again: the loss is then named from the present state",
            EmptyCopy(_) => "Bring back a node that holds something, its disk in other hardware if need be",
            CopyNeeded(_) => "Wait until another copy is in sync and this one has left the set",
            NothingToCopyFrom(..) => "Let another copy serve first",
            RemovesPrimary { .. } | RemovesRedundancy { .. } | ReplicasChanged { .. } | HoldsVolumes { .. } => self.members_clear(),
            RemovesUnserved { .. } | RemovedInThisBoot { .. } | MembersUnsettled { .. } | RemovesMajority { .. } => {
                self.members_clear()
            }
            WantsTwoReplicas(_) => {
                "Add another replica first, or ask for `mainstay volume set NAME --alone serve`, which another person approves"
            }
            FencesAnother { .. } | BeingFenced { .. } | NotTheFencer { .. } | FencedOnce { .. } => self.fence_clears(),
            FencesOthers { .. } | FencesUnapproved { .. } | NothingToFence(_) => self.fence_clears(),
            _ => self.input_clears(),
        }
    }

    /// For who is in the cluster and who holds what.
    fn members_clear(&self) -> &'static str {
        use RefusalKind::*;
        match self {
            RemovesPrimary { .. } => "Hand it over first: `mainstay switchover VOLUME --to NODE`",
            RemovesRedundancy { .. } => {
                "Add another replica first (`mainstay volume add-replica`) and wait until it is in sync. If one copy is meant to be \
                 enough, `--accept-single`; another person then approves it"
            }
            ReplicasChanged { .. } => "Look at the volume as it is now and decide anew",
            HoldsVolumes { .. } => {
                "Move its copies first: `mainstay volume add-replica` on another node, then `mainstay volume remove-replica`; \
                 `mainstay node replace` does both"
            }
            RemovesUnserved { .. } => "Decide who serves it first: `mainstay recover`",
            RemovedInThisBoot { .. } => "Restart Mainstay on that node, then add the replica",
            MembersUnsettled { .. } => {
                "Wait a moment and ask again. If that primary is gone for good, its failover comes first: `mainstay proposals`"
            }
            _ => "Bring one of them back first, or add a node in its place",
        }
    }

    /// For what people set about promotions.
    fn policy_clears(&self) -> &'static str {
        use RefusalKind::*;
        match self {
            OnHold { .. } => {
                "Ask to lift it, with `mainstay hold off` or `mainstay volume set NAME --policy manual`; another person approves"
            }
            SamePerson { .. } => {
                "Ask another approver. If there is only you, `mainstay credentials NAME --role approver`, on the node that made the \
                 cluster, makes another person"
            }
            DeniedBefore { .. } => "A person can ask for it: `mainstay propose VOLUME --candidate NODE`",
            TooManyRoleChanges { .. } => "Find out why roles change, mend it, then reset the breaker with what was mended",
            ChangeClosed { .. } | ChangeMismatch { .. } => "Look at `mainstay changes` as they are now and decide anew",
            DrillOutdated { .. } => "Run the drill again with the present configuration",
            _ => "`mainstay changes` lists the changes",
        }
    }

    /// For what switches machines off.
    fn fence_clears(&self) -> &'static str {
        use RefusalKind::*;
        match self {
            BeingFenced { .. } => "Wait until it is through (`mainstay events`), and until the machine is up and in sync again",
            FencesOthers { .. } => "Switch those volumes over first, or say that they may lose their primary (`--primary`)",
            NothingToFence(_) => "Nothing needs to be done",
            FencesUnapproved { .. } => "Approve or deny it first (`mainstay proposals`)",
            FencesAnother { .. } => {
                "Nothing is switched off; a promotion goes on without, as the old primary's lease runs out by itself"
            }
            _ => "The promotion goes on without it: the old primary's lease runs out by itself",
        }
    }

    /// For what nodes ask by themselves.
    fn node_clears(&self) -> &'static str {
        use RefusalKind::*;
        match self {
            StaleEpoch { .. } | NotGranted { .. } | OldBoot { .. } => "It must stop acting for that grant and follow the state",
            NotThePrimary { .. } => "It must follow the primary",
            PromiseTooLow { .. } => "It must promise the new epoch durably first",
            IncarnationNotRisen { .. } => "If its data directory was restored or copied, join it again as a new node",
            RemovesItself(_) => "It steps down instead",
            SetChanged { .. } => "It must look at the set as it is now and decide anew",
            ReturnedUnverified { .. } => "The primary must verify it in its present boot",
            HasPrimary(_) => "Read from the primary",
            ClosedWithoutPrimary | IncompletePrefix(_) => "Wait for a primary",
            _ => "Nothing needs to be done",
        }
    }

    fn input_clears(&self) -> &'static str {
        use RefusalKind::*;
        match self {
            NotInitialised => "Run `mainstay init` first",
            AlreadyInitialised(_) => "Join nodes to it, or use an empty directory for another cluster",
            UnknownNode(_) => "`mainstay status` lists the nodes",
            UnknownVolume(_) => "`mainstay volume list` lists the volumes",
            UnknownProposal(_) => "`mainstay proposals` lists the proposals",
            UnknownMaintenance(_) => "`mainstay maintenance list` lists them",
            Taken { .. } => "Choose another",
            BadLabel { .. } => "Use 1 to 63 letters, digits, `-`, `_` or `.`, with a letter or digit first",
            LimitReached { .. } => "Remove what is no longer needed",
            PrimaryNotReplica(_) => "Name one of the replicas",
            UnknownToken | TokenUsed(_) | TokenExpired(_) | TokenMissing(_) => "Make a new one with `mainstay token`",
            NothingToReset(_) => "Nothing needs to be done",
            _ => "Correct it and try again",
        }
    }
}

/// `2024-05-06 07:08:09 UTC`, for people. Civil date from days as in the proleptic Gregorian calendar.
pub fn instant(at: Timestamp) -> String {
    let days = at.seconds.div_euclid(86_400);
    let second = at.seconds.rem_euclid(86_400);
    // Days counted from 0000-03-01, so that the leap day ends a year; 146,097 days are 400 years.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", second / 3600, second / 60 % 60, second % 60)
}
