//! What a person approves (R14): everything that speaks for and against a promotion, as it was known at one moment.
//!
//! Evidence has two halves. The [`Basis`] is what the cluster state itself says; `apply` derives it again whenever the state
//! changes, and a proposal whose basis differs is void. [`Observed`] is what nodes saw, which the state cannot know; it is
//! fixed when the proposal is made, and an observer that sees it change says so with `Command::Void`.

use crate::digest::Digest;
use crate::state::{Forced, LeftInSync};
use mainstay_protocol::peer::CopyHealth;
use mainstay_protocol::{Epoch, Incarnation, LogPoint, NodeId, Position, ProposalId, Timestamp, VolumeId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A piece of evidence that may be missing. Missing never counts as good (R6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Known<T> {
    #[default]
    Unknown,
    Known(T),
}

/// Whether a copy is a complete prefix of the volume's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CopyState {
    Complete,
    /// In resync by change: not a prefix of any history, so structurally not promotable (R11).
    Resync,
    /// Holds records that the cluster does not have; they must be quarantined first (R9).
    Diverged,
    /// The volume failed on this node (disk, damage).
    Failed,
}

/// One replica's copy, as last reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyReport {
    /// End of the copy in memory. One that is complete is applied up to here.
    pub last: LogPoint,
    /// Synced up to here.
    pub durable: Position,
    /// By what its node was told, all in-sync copies are synced up to here; more may have been acknowledged since.
    #[serde(default)]
    pub committed: Position,
    pub state: CopyState,
    pub health: CopyHealth,
    /// The boot that reported it.
    pub incarnation: Incarnation,
    /// Milliseconds since the report, on the gathering node's clock.
    pub age_ms: u64,
}

/// When an observer last heard the old primary, milliseconds on the observer's own clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Contact {
    #[default]
    Unknown,
    Heard {
        ms_ago: u64,
    },
    /// Not heard since the observer itself booted, that long ago.
    SilentSinceBoot {
        ms_ago: u64,
    },
}

/// What nodes saw.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// Who gathered it.
    pub by: NodeId,
    /// Every replica's copy; a replica that is not listed is unknown.
    pub copies: BTreeMap<NodeId, Known<CopyReport>>,
    /// Observer → when it last heard the old primary; an observer that is not listed is unknown. The old primary itself is not
    /// asked.
    pub contacts: BTreeMap<NodeId, Contact>,
    /// Node that was heard of late → how far its wall clock was ahead of that of `by`, milliseconds, less what the message took.
    /// No rule rests on wall clocks; times in this evidence are told by them, and policy `guarded` wants them to agree.
    pub clocks: BTreeMap<NodeId, i64>,
}

/// How it is known that the old primary serves no more (R13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FencingProof {
    /// Every promise is waited out: lease plus margin, on each node's own clock.
    LeaseLapse { wait_ms: u64 },
    /// The old primary stepped down or restarted: its own word, nothing to wait for.
    OwnDemotion,
    /// A switchover: the primary, in this boot, drains and then gives its own word. Who approves this approves the way back, too: if
    /// it comes to nothing after that word, the same boot of the same node gets the volume back.
    HandOver { from: NodeId, incarnation: Incarnation },
    /// That way back: the switchover `of` was called off after its primary had stopped serving.
    GivenBack { of: ProposalId },
    /// The old primary's machine was seen to be off by a fencing hook, in the course of the promotion `by`: nothing to wait for.
    ExternalFence { by: ProposalId },
    /// Two people's word that the machine is gone for good, when they forced a quorum. Weaker than any other: nothing was observed.
    Forced,
}

impl FencingProof {
    /// Part of a switchover: the primary itself is asked, so nobody has to have missed it.
    pub fn planned(self) -> bool {
        matches!(self, FencingProof::HandOver { .. } | FencingProof::GivenBack { .. })
    }
}

/// What clients were told that may not be there any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Loss {
    /// Nothing that was acknowledged.
    None,
    /// The candidate restarted since it was in sync: unstable writes, which clients keep until COMMIT, may be missing. The
    /// write verifier changes (loss epoch + 1), so that clients send them again.
    Unsynced,
    /// Not known, which refuses (R5, R6).
    Unknown,
}

/// What the cluster state says, at the moment of the proposal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Basis {
    pub volume: VolumeId,
    pub candidate: NodeId,
    pub candidate_incarnation: Incarnation,
    /// The epoch that the new one follows.
    pub parent_epoch: Epoch,
    /// Who reigned last, and in which boot that node is now.
    pub old_primary: Option<(NodeId, Incarnation)>,
    /// Who may be promoted, each with the boot that is known to hold everything (R5).
    pub in_sync: BTreeMap<NodeId, Incarnation>,
    /// Which replicas are not waited for: since when, by whose decision, why (R4). Changes with the set only.
    #[serde(default)]
    pub left_in_sync: BTreeMap<NodeId, LeftInSync>,
    /// Nodes in maintenance among the volume's replicas.
    pub maintenance: BTreeSet<NodeId>,
    /// Version of the program that each node runs. Shown as it was; another one voids nothing.
    pub software: BTreeMap<NodeId, String>,
    /// Follows from the boots: a candidate in another boot than the recorded one lost its memory since.
    pub loss: Loss,
    pub loss_epoch: u64,
    /// SHA-256 of settings, membership and the volume's own settings.
    pub config: Digest,
}

/// What a person approves; an approval names its [`Evidence::hash`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    pub basis: Basis,
    pub observed: Observed,
    /// Expected when the proposal was made. The old primary may still step down later, which only shortens the wait.
    pub fencing: FencingProof,
    /// Of a promotion that gives up acknowledged writes: which. None: it may lose nothing (R5).
    #[serde(default)]
    pub loss: Option<NamedLoss>,
    /// The quorum was forced since the volume was granted last: what came of that before is not known.
    #[serde(default)]
    pub forced: Option<Forced>,
}

/// What a promotion of a copy that does not hold everything gives up, as far as anybody can know it (R5). Two people say yes to it:
/// who proposes it, and another one who approves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedLoss {
    /// Everything up to here is on the candidate, and stays. What comes behind it is given up.
    pub after: LogPoint,
    /// When the newest change that the candidate holds was made, by the clock of the primary of then.
    pub newest_kept: Option<Timestamp>,
    /// When the candidate left the in-sync set: all that was acknowledged before is on it. None: nobody knows.
    pub left: Option<Timestamp>,
    pub files: LostFiles,
    /// Why it has to be, in the proposer's words.
    pub reason: String,
}

/// Files that what is given up has touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LostFiles {
    /// No copy that holds more than the candidate can be read. The text says who was asked.
    Unknown(String),
    /// Exactly these, as read from another copy; and so many more that are not listed.
    Known { files: Vec<LostFile>, more: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostFile {
    pub path: String,
    /// Of data that was written to it.
    pub bytes: u64,
    /// The first and the newest change of it that would be gone.
    pub first: Timestamp,
    pub last: Timestamp,
}

/// The piece of evidence that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum EvidenceField {
    Epoch,
    /// The candidate restarted: its memory is gone.
    CandidateIncarnation,
    /// The old primary restarted.
    PrimaryIncarnation,
    InSync,
    /// Began or ended on a replica (R10).
    Maintenance,
    Loss,
    /// Settings, membership or the volume's own settings: a majority may be another one now.
    Config,
    /// The old primary was heard again.
    PrimaryHeard,
    /// A copy is not where it was.
    Positions,
    /// The candidate is not what it was: disk failed, resync, diverged.
    CandidateCopy,
    /// A rule that held when it was proposed holds no longer, such as R8 after the breaker opened.
    Blocked,
    /// A switchover's primary does not come to give its word.
    Drain,
    /// Somebody put the volume or the cluster on hold (R7).
    Policy,
    /// Who approved it, or proposed it, was revoked (R7).
    People,
    /// Nodes run other versions than it says.
    Programs,
}

impl Evidence {
    /// SHA-256 of the canonical encoding (postcard, fields in order, maps sorted by key).
    pub fn hash(&self) -> Digest {
        let Evidence { basis, observed, fencing, loss, forced } = self;
        match (loss, forced) {
            (None, None) => Digest::of_value("mainstay evidence 1", &(basis, observed, fencing)),
            (Some(loss), None) => Digest::of_value("mainstay evidence 2", &(basis, observed, fencing, Some(loss))),
            (_, Some(_)) => Digest::of_value("mainstay evidence 3", self),
        }
    }
}
