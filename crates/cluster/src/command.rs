//! What can be asked of the cluster. Append variants only: postcard is positional, and old logs are read for ever.

use crate::digest::Digest;
use crate::evidence::{Evidence, EvidenceField};
use crate::policy::{ChangeId, VolumeWish};
use crate::state::{ExportSettings, FenceOutcome, MaintenanceId, NodeKind, Policy, Settings, StopCause, WithoutPrimary};
use mainstay_protocol::{ClusterId, Epoch, Incarnation, LogPoint, NodeId, Position, ProposalId, Timestamp, VolumeId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// Who asks. Admin identities are persons; nodes act in their own name and can never approve (R7).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Actor {
    Person(String),
    Node(NodeId),
    /// What follows from a decision by itself: a void proposal, a closed maintenance. No command is accepted from it.
    Cluster,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Actor::Person(name) => f.write_str(name),
            Actor::Node(node) => write!(f, "node {node}"),
            Actor::Cluster => f.write_str("the cluster"),
        }
    }
}

/// `at` is the wall clock of the node that sent the command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// First command of a cluster: makes node 1.
    Init {
        cluster: ClusterId,
        name: String,
        settings: Settings,
        node: String,
        kind: NodeKind,
        peer_address: String,
        admin_address: String,
        actor: Actor,
        at: Timestamp,
    },
    /// A node's id is given out by `apply` ([`crate::ClusterState::node_named`] finds it). From a node, a token must have been
    /// used for this name; a person needs none.
    AddNode {
        name: String,
        kind: NodeKind,
        peer_address: String,
        admin_address: String,
        actor: Actor,
        at: Timestamp,
    },
    /// A boot: the incarnation must rise. Ends the node's reigns of older incarnations (R3).
    Booted {
        node: NodeId,
        incarnation: Incarnation,
        /// Version of the program that runs in this boot: at most 63 letters, digits, `-`, `_`, `.`, and one `+`.
        software: String,
        at: Timestamp,
    },
    /// Creating is the person's approval of the first grant: epoch 1 to `primary`.
    CreateVolume {
        name: String,
        replicas: BTreeSet<NodeId>,
        primary: NodeId,
        policy: Policy,
        without_primary: WithoutPrimary,
        export: ExportSettings,
        actor: Actor,
        at: Timestamp,
    },
    /// The primary can go on without `remove` once this is decided (R4).
    ShrinkInSync {
        volume: VolumeId,
        epoch: Epoch,
        node: NodeId,
        incarnation: Incarnation,
        remove: NodeId,
        /// [`crate::VolumeState::in_sync_version`] that this was decided on: compare-and-swap, so that a late duplicate can never
        /// change the set behind the primary's back. Another version is refused with R4.
        expected: u64,
        reason: String,
        at: Timestamp,
    },
    /// `add`, in this incarnation, holds everything that was acknowledged, and the primary waits for it from here on. Also
    /// sent for a member that rebooted and caught up: it renews the incarnation in the set.
    GrowInSync {
        volume: VolumeId,
        epoch: Epoch,
        node: NodeId,
        incarnation: Incarnation,
        add: NodeId,
        added_incarnation: Incarnation,
        position: Position,
        /// As in `ShrinkInSync`.
        expected: u64,
        at: Timestamp,
    },
    Propose {
        volume: VolumeId,
        candidate: NodeId,
        parent_epoch: Epoch,
        evidence: Box<Evidence>,
        proposer: Actor,
        at: Timestamp,
    },
    /// A person's word for exactly this evidence (R14).
    Approve {
        proposal: ProposalId,
        evidence_hash: Digest,
        actor: Actor,
        /// Milliseconds since the node that was asked has known the proposal, on the clock that nobody sets.
        waited_ms: u64,
        at: Timestamp,
    },
    /// Refuses a pending proposal, calls off one whose fencing is not finished, or gives up on one that never came to serve.
    Deny {
        proposal: ProposalId,
        reason: String,
        actor: Actor,
        at: Timestamp,
    },
    /// An observer saw that a piece of the evidence is no longer so, such as "the primary was heard again" (R14).
    Void {
        proposal: ProposalId,
        field: EvidenceField,
        seen: String,
        by: NodeId,
        at: Timestamp,
    },
    /// The proposal, or its approval when it is `approved`, is past its time. `waited_ms`: so long the sender has known it, by the clock
    /// that nobody sets; the wall clocks of two nodes may be hours apart.
    Expire {
        proposal: ProposalId,
        approved: bool,
        waited_ms: u64,
        at: Timestamp,
    },
    /// The node's promise to the old epoch has lapsed, and it has durably promised `promised` (R2, R13). `last` is the end of
    /// its copy, for file servers. `waited_ms`: so long it has known the approval, as in [`Command::Expire`].
    Lapsed {
        proposal: ProposalId,
        node: NodeId,
        incarnation: Incarnation,
        promised: Epoch,
        last: Option<LogPoint>,
        waited_ms: u64,
        at: Timestamp,
    },
    /// The granted node serves.
    Serving {
        volume: VolumeId,
        epoch: Epoch,
        node: NodeId,
        incarnation: Incarnation,
        at: Timestamp,
    },
    /// The granted node cannot serve and has stopped trying: its own word, so it is fenced.
    GrantFailed {
        volume: VolumeId,
        epoch: Epoch,
        node: NodeId,
        incarnation: Incarnation,
        reason: String,
        at: Timestamp,
    },
    /// The primary has stopped serving, of its own: immediate proof of fencing (R13).
    StepDown {
        volume: VolumeId,
        epoch: Epoch,
        node: NodeId,
        incarnation: Incarnation,
        at: Timestamp,
    },
    /// `allow_primary` says that the operator knows that volumes lose their primary by it (drill S32).
    BeginMaintenance {
        node: NodeId,
        owner: String,
        reason: String,
        ends_at: Timestamp,
        allow_primary: bool,
        actor: Actor,
        at: Timestamp,
    },
    EndMaintenance {
        maintenance: MaintenanceId,
        /// Whether the asked node has just heard the one that is maintained.
        answers: bool,
        actor: Actor,
        at: Timestamp,
    },
    /// `token` is the SHA-256 of the secret; the secret itself is never in the state.
    MintToken {
        token: Digest,
        expires_at: Timestamp,
        actor: Actor,
        at: Timestamp,
    },
    /// Spends a token for the node that will be called `name`.
    UseToken {
        token: Digest,
        name: String,
        at: Timestamp,
    },
    /// A person has seen to what made promotions fail (R8); `reason` says what was mended.
    ResetBreaker {
        volume: VolumeId,
        reason: String,
        actor: Actor,
        at: Timestamp,
    },
    /// For the audit log only.
    Note {
        volume: Option<VolumeId>,
        text: String,
        actor: Actor,
        at: Timestamp,
    },
    /// Sets what is stricter at once; what is laxer becomes a [`crate::Change`] that another person approves (R7).
    SetVolume {
        volume: VolumeId,
        wish: VolumeWish,
        reason: String,
        actor: Actor,
        at: Timestamp,
    },
    /// Nothing is promoted in the whole cluster while it is on; off is a change that another person approves.
    SetHold {
        on: bool,
        reason: String,
        actor: Actor,
        at: Timestamp,
    },
    /// Another person's word for exactly this change (R14).
    ApproveChange {
        change: ChangeId,
        digest: Digest,
        actor: Actor,
        at: Timestamp,
    },
    DenyChange {
        change: ChangeId,
        reason: String,
        actor: Actor,
        at: Timestamp,
    },
    /// A person rehearsed this configuration, and every property held.
    DrillPassed {
        volume: VolumeId,
        config: Digest,
        scenario: String,
        actor: Actor,
        at: Timestamp,
    },
    /// The node was asked to stop, and does so in order: its silence from here on is no failure. Said once per boot.
    Leaving {
        node: NodeId,
        incarnation: Incarnation,
        cause: StopCause,
        at: Timestamp,
    },
    /// Another end of an active maintenance, later or earlier, but not in the past (R10).
    ExtendMaintenance {
        maintenance: MaintenanceId,
        ends_at: Timestamp,
        actor: Actor,
        at: Timestamp,
    },
    /// A node's clock is past the end of an active maintenance: people are told, and nothing else happens (R10).
    MaintenanceOverdue {
        maintenance: MaintenanceId,
        by: NodeId,
        at: Timestamp,
    },
    /// A person hands a volume from its primary, which is alive, to a member of the in-sync set. Asking is the approval: the plan is
    /// named in full, and it can lose nothing.
    Switchover {
        volume: VolumeId,
        to: NodeId,
        /// The reign that the person saw, and the newest proposal of the cluster: compare-and-swap, so that a late duplicate can
        /// never begin again what was called off, nor undo what was decided since.
        parent_epoch: Epoch,
        after: ProposalId,
        actor: Actor,
        at: Timestamp,
    },
    /// The primary's word in a switchover: it serves nothing any more, and the candidate holds everything up to `last` durably.
    Drained {
        proposal: ProposalId,
        node: NodeId,
        incarnation: Incarnation,
        last: LogPoint,
        at: Timestamp,
    },
    /// A person has a copy that cannot be used any more set aside on its node, as it is, and made again from the primary. It is done at
    /// the node's next start, so that no word of the old copy can be taken for the new one's (R3, R9).
    SetAsideCopy {
        volume: VolumeId,
        node: NodeId,
        reason: String,
        actor: Actor,
        at: Timestamp,
    },
    /// Another file server is to hold the volume. It begins empty, and is in sync when resync has filled it (R11).
    AddReplica {
        volume: VolumeId,
        node: NodeId,
        /// [`crate::VolumeMembers::version`] that the person saw: compare-and-swap, so that a late duplicate undoes nothing.
        expected: u64,
        reason: String,
        actor: Actor,
        at: Timestamp,
    },
    /// The volume is no longer held there; the node sets its copy aside. `accept_single` says that the person knows that fewer than
    /// two copies stay in sync: then another person must approve it (R4).
    RemoveReplica {
        volume: VolumeId,
        node: NodeId,
        expected: u64,
        accept_single: bool,
        reason: String,
        actor: Actor,
        at: Timestamp,
    },
    /// A node that holds nothing leaves the cluster for good. `answering` are those that the asked node has just heard.
    RemoveNode {
        node: NodeId,
        answering: BTreeSet<NodeId>,
        reason: String,
        actor: Actor,
        at: Timestamp,
    },
    /// The primary counts its lease with these members, and with no older ones any more (R13).
    MembersKnown {
        volume: VolumeId,
        epoch: Epoch,
        node: NodeId,
        incarnation: Incarnation,
        members: u64,
        at: Timestamp,
    },
    /// The candidate of an approved promotion is about to have the old primary's machine switched off: compare-and-swap, decided before
    /// the command runs. One attempt for each proposal (R8).
    FenceBegun {
        proposal: ProposalId,
        node: NodeId,
        incarnation: Incarnation,
        target: NodeId,
        target_incarnation: Incarnation,
        at: Timestamp,
    },
    /// What came of it. Only [`FenceOutcome::Confirmed`] proves anything (R13), and only while it still means this boot of the target.
    Fenced {
        proposal: ProposalId,
        node: NodeId,
        incarnation: Incarnation,
        target: NodeId,
        target_incarnation: Incarnation,
        outcome: FenceOutcome,
        at: Timestamp,
    },
    /// A person has a machine switched off through `node`, outside of a promotion. Proves nothing: leases run out by themselves.
    FenceAsked {
        node: NodeId,
        target: NodeId,
        target_incarnation: Incarnation,
        /// The person knows that volumes lose their primary by it.
        allow_primary: bool,
        reason: String,
        actor: Actor,
        at: Timestamp,
    },
    /// What came of it. Until then nobody promotes the target.
    FenceEnded {
        node: NodeId,
        target: NodeId,
        /// [`Command::FenceAsked`]'s own time: another wish that came in between is not over by this.
        asked_at: Timestamp,
        outcome: FenceOutcome,
        at: Timestamp,
    },
    /// Whatever the person of this name says from now on counts for nothing.
    Revoke {
        name: String,
        reason: String,
        actor: Actor,
        at: Timestamp,
    },
    /// `node` lacks decisions that it had confirmed to hold, as `by` saw who leads the coordination: its directory was set back (an old
    /// backup, a snapshot of the machine), or its disk lost what it said was synced (R13).
    SetBack {
        node: NodeId,
        by: NodeId,
        at: Timestamp,
    },
}

impl Command {
    /// Wall clock of the node that sent it.
    pub fn at(&self) -> Timestamp {
        use Command::*;
        match self {
            Init { at, .. } | AddNode { at, .. } | Booted { at, .. } | CreateVolume { at, .. } => *at,
            ShrinkInSync { at, .. } | GrowInSync { at, .. } | Serving { at, .. } | GrantFailed { at, .. } => *at,
            Propose { at, .. } | Approve { at, .. } | Deny { at, .. } | Void { at, .. } | Expire { at, .. } => *at,
            Lapsed { at, .. } | StepDown { at, .. } | BeginMaintenance { at, .. } | EndMaintenance { at, .. } => *at,
            MintToken { at, .. } | UseToken { at, .. } | ResetBreaker { at, .. } | Note { at, .. } => *at,
            SetVolume { at, .. } | SetHold { at, .. } | ApproveChange { at, .. } | DenyChange { at, .. } => *at,
            DrillPassed { at, .. } => *at,
            Leaving { at, .. } | ExtendMaintenance { at, .. } | MaintenanceOverdue { at, .. } => *at,
            Switchover { at, .. } | Drained { at, .. } | SetAsideCopy { at, .. } => *at,
            AddReplica { at, .. } | RemoveReplica { at, .. } | RemoveNode { at, .. } | MembersKnown { at, .. } => *at,
            FenceBegun { at, .. } | Fenced { at, .. } | FenceAsked { at, .. } | FenceEnded { at, .. } | Revoke { at, .. } => *at,
            SetBack { at, .. } => *at,
        }
    }

    /// The variant's name, for events and metrics.
    pub fn name(&self) -> &'static str {
        use Command::*;
        match self {
            Init { .. } => "Init",
            AddNode { .. } => "AddNode",
            Booted { .. } => "Booted",
            CreateVolume { .. } => "CreateVolume",
            ShrinkInSync { .. } => "ShrinkInSync",
            GrowInSync { .. } => "GrowInSync",
            Propose { .. } => "Propose",
            Approve { .. } => "Approve",
            Deny { .. } => "Deny",
            Void { .. } => "Void",
            Expire { .. } => "Expire",
            Lapsed { .. } => "Lapsed",
            Serving { .. } => "Serving",
            GrantFailed { .. } => "GrantFailed",
            StepDown { .. } => "StepDown",
            BeginMaintenance { .. } => "BeginMaintenance",
            EndMaintenance { .. } => "EndMaintenance",
            MintToken { .. } => "MintToken",
            UseToken { .. } => "UseToken",
            ResetBreaker { .. } => "ResetBreaker",
            Note { .. } => "Note",
            SetVolume { .. } => "SetVolume",
            SetHold { .. } => "SetHold",
            ApproveChange { .. } => "ApproveChange",
            DenyChange { .. } => "DenyChange",
            DrillPassed { .. } => "DrillPassed",
            Leaving { .. } => "Leaving",
            ExtendMaintenance { .. } => "ExtendMaintenance",
            MaintenanceOverdue { .. } => "MaintenanceOverdue",
            Switchover { .. } => "Switchover",
            Drained { .. } => "Drained",
            SetAsideCopy { .. } => "SetAsideCopy",
            AddReplica { .. } => "AddReplica",
            RemoveReplica { .. } => "RemoveReplica",
            RemoveNode { .. } => "RemoveNode",
            MembersKnown { .. } => "MembersKnown",
            FenceBegun { .. } => "FenceBegun",
            Fenced { .. } => "Fenced",
            FenceAsked { .. } => "FenceAsked",
            FenceEnded { .. } => "FenceEnded",
            Revoke { .. } => "Revoke",
            SetBack { .. } => "SetBack",
        }
    }

    pub fn actor(&self) -> Actor {
        use Command::*;
        match self {
            Init { actor, .. } | AddNode { actor, .. } | CreateVolume { actor, .. } | Approve { actor, .. } => actor.clone(),
            Deny { actor, .. } | BeginMaintenance { actor, .. } | EndMaintenance { actor, .. } => actor.clone(),
            MintToken { actor, .. } | ResetBreaker { actor, .. } | Note { actor, .. } => actor.clone(),
            Propose { proposer, .. } => proposer.clone(),
            Booted { node, .. } | ShrinkInSync { node, .. } | GrowInSync { node, .. } | Serving { node, .. } => Actor::Node(*node),
            GrantFailed { node, .. } | StepDown { node, .. } | Lapsed { node, .. } => Actor::Node(*node),
            Void { by, .. } | MaintenanceOverdue { by, .. } | SetBack { by, .. } => Actor::Node(*by),
            Leaving { node, .. } => Actor::Node(*node),
            ExtendMaintenance { actor, .. } => actor.clone(),
            Expire { .. } | UseToken { .. } => Actor::Cluster,
            Switchover { actor, .. } | SetAsideCopy { actor, .. } => actor.clone(),
            Drained { node, .. } => Actor::Node(*node),
            SetVolume { actor, .. } | SetHold { actor, .. } | DrillPassed { actor, .. } => actor.clone(),
            ApproveChange { actor, .. } | DenyChange { actor, .. } => actor.clone(),
            AddReplica { actor, .. } | RemoveReplica { actor, .. } | RemoveNode { actor, .. } => actor.clone(),
            MembersKnown { node, .. } => Actor::Node(*node),
            FenceBegun { node, .. } | Fenced { node, .. } | FenceEnded { node, .. } => Actor::Node(*node),
            FenceAsked { actor, .. } | Revoke { actor, .. } => actor.clone(),
        }
    }

    /// The volume that it names itself.
    pub fn volume(&self) -> Option<VolumeId> {
        use Command::*;
        match self {
            ShrinkInSync { volume, .. } | GrowInSync { volume, .. } | Propose { volume, .. } | Serving { volume, .. } => {
                Some(*volume)
            }
            GrantFailed { volume, .. } | StepDown { volume, .. } | ResetBreaker { volume, .. } => Some(*volume),
            Note { volume, .. } => *volume,
            Switchover { volume, .. } | SetAsideCopy { volume, .. } => Some(*volume),
            SetVolume { volume, .. } | DrillPassed { volume, .. } => Some(*volume),
            AddReplica { volume, .. } | RemoveReplica { volume, .. } | MembersKnown { volume, .. } => Some(*volume),
            _ => None,
        }
    }

    /// The proposal that it names.
    pub fn proposal(&self) -> Option<ProposalId> {
        use Command::*;
        match self {
            Approve { proposal, .. } | Deny { proposal, .. } | Void { proposal, .. } | Expire { proposal, .. } => Some(*proposal),
            Lapsed { proposal, .. } | Drained { proposal, .. } => Some(*proposal),
            FenceBegun { proposal, .. } | Fenced { proposal, .. } => Some(*proposal),
            _ => None,
        }
    }

    /// Whether a refusal goes into the audit log: what people ask for, and a node that acts against its role. Nodes also repeat
    /// themselves when an answer was lost, and race each other to close a proposal; that is no event.
    pub(crate) fn recorded_when_refused(&self) -> bool {
        use Command::*;
        let races =
            matches!(self, Leaving { .. } | MaintenanceOverdue { .. } | MembersKnown { .. } | FenceBegun { .. } | Fenced { .. })
                || matches!(self, FenceEnded { .. });
        !races && !matches!(self, Void { .. } | Expire { .. } | Lapsed { .. } | Serving { .. } | StepDown { .. } | Drained { .. })
    }
}
