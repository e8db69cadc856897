//! The audit log: what happened, who did it, when; hash-chained, so that a removed or changed event is noticed.

mod chain;

pub use chain::{ChainCheck, ChainFault};

use crate::command::Actor;
use crate::digest::Digest;
use crate::evidence::EvidenceField;
use crate::limits::AUDIT_EVENTS_MAX;
use crate::policy::{ChangeId, VolumeSettings};
use crate::refusal::Rule;
use crate::state::{MaintenanceId, StopCause};
use mainstay_protocol::{Epoch, Incarnation, NodeId, Position, ProposalId, Timestamp, VolumeId};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;

/// What happened, for programs. Append variants only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    ClusterCreated,
    NodeAdded {
        node: NodeId,
    },
    NodeBooted {
        node: NodeId,
        incarnation: Incarnation,
    },
    VolumeCreated {
        primary: NodeId,
    },
    InSyncShrunk {
        removed: NodeId,
    },
    InSyncGrown {
        added: NodeId,
        incarnation: Incarnation,
        position: Position,
    },
    Proposed {
        proposal: ProposalId,
        candidate: NodeId,
        evidence_hash: Digest,
    },
    Approved {
        proposal: ProposalId,
        evidence_hash: Digest,
    },
    Denied {
        proposal: ProposalId,
    },
    Voided {
        proposal: ProposalId,
        field: EvidenceField,
    },
    Expired {
        proposal: ProposalId,
    },
    /// One node's word towards a grant (R13).
    PromiseLapsed {
        proposal: ProposalId,
        node: NodeId,
    },
    /// The moment that a primary changes; names what was approved (R14).
    Granted {
        proposal: ProposalId,
        epoch: Epoch,
        primary: NodeId,
        evidence_hash: Digest,
    },
    Serving {
        epoch: Epoch,
        primary: NodeId,
    },
    /// Granted, but never served: the plan is remembered (R8).
    PromotionFailed {
        proposal: ProposalId,
        epoch: Epoch,
        candidate: NodeId,
    },
    BreakerOpened,
    BreakerReset,
    /// By the word of the node itself. The volume has no primary from here on.
    ReignEnded {
        epoch: Epoch,
        node: NodeId,
    },
    LossEpochRaised {
        loss_epoch: u64,
    },
    MaintenanceBegun {
        maintenance: MaintenanceId,
        node: NodeId,
    },
    /// The operator ended it; it closes when the node is in sync (R10).
    MaintenanceEnding {
        maintenance: MaintenanceId,
        node: NodeId,
    },
    MaintenanceClosed {
        maintenance: MaintenanceId,
        node: NodeId,
    },
    TokenMinted {
        token: Digest,
    },
    TokenUsed {
        token: Digest,
    },
    Refused {
        rule: Rule,
        command: String,
    },
    Note,
    VolumeSet {
        to: VolumeSettings,
    },
    HoldBegan,
    HoldLifted,
    /// Somebody asks for something laxer; another person decides (R7).
    ChangeAsked {
        change: ChangeId,
        digest: Digest,
    },
    ChangeApproved {
        change: ChangeId,
        digest: Digest,
    },
    ChangeDenied {
        change: ChangeId,
    },
    /// Expired or void.
    ChangeOver {
        change: ChangeId,
    },
    /// A promotion waits for a person in spite of policy `guarded`.
    GuardFailed {
        proposal: ProposalId,
    },
    DrillRecorded,
    /// In order: it was asked to stop.
    NodeLeft {
        node: NodeId,
        incarnation: Incarnation,
        cause: StopCause,
    },
    MaintenanceExtended {
        maintenance: MaintenanceId,
        ends_at: Timestamp,
    },
    /// Pages a person; nothing else happens (R10).
    MaintenanceOverdue {
        maintenance: MaintenanceId,
        node: NodeId,
    },
    /// A person asked for it, which is the approval of this evidence.
    SwitchoverBegun {
        proposal: ProposalId,
        candidate: NodeId,
        evidence_hash: Digest,
    },
    /// The primary has stopped serving, and the candidate holds everything.
    Drained {
        proposal: ProposalId,
        node: NodeId,
    },
    /// A switchover was called off after that word: a proposal to give the volume back, under the same approval.
    GivenBack {
        proposal: ProposalId,
        of: ProposalId,
        candidate: NodeId,
        evidence_hash: Digest,
    },
    /// To be made again from the primary when its node starts next.
    CopySetAside {
        node: NodeId,
    },
    ReplicaAdded {
        node: NodeId,
    },
    /// Its copy is set aside where it is.
    ReplicaRemoved {
        node: NodeId,
    },
    NodeRemoved {
        node: NodeId,
    },
    /// A machine is about to be switched off, for a promotion.
    FenceBegun {
        proposal: ProposalId,
        target: NodeId,
        incarnation: Incarnation,
    },
    /// The machine was seen to be off.
    FenceConfirmed {
        proposal: ProposalId,
        target: NodeId,
        incarnation: Incarnation,
    },
    /// Pages a person: what is meant to switch machines off does not. The promotion goes on without it.
    FenceFailed {
        proposal: ProposalId,
        target: NodeId,
        incarnation: Incarnation,
    },
    /// A person has a machine switched off.
    FenceAsked {
        target: NodeId,
        incarnation: Incarnation,
    },
    /// Two people went on without a majority, with this node alone.
    QuorumForced {
        survivor: NodeId,
    },
    /// This person's word counts no more.
    Revoked {
        name: String,
    },
    /// It lacks decisions that it had confirmed to hold (R13).
    NodeSetBack {
        node: NodeId,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEvent {
    /// 1, 2, 3, … for the life of the cluster.
    pub number: u64,
    /// Wall clock of the node that sent the command.
    pub at: Timestamp,
    pub actor: Actor,
    pub volume: Option<VolumeId>,
    pub event: Event,
    /// One line for people.
    pub text: String,
    /// SHA-256 over the previous event's hash and everything above.
    pub hash: Digest,
}

/// The newest events, and where their chain starts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// Oldest first; shared, because the state is cloned for every decision.
    pub events: VecDeque<Arc<AuditEvent>>,
    /// Events ever recorded.
    pub count: u64,
    /// Hash of the event before the first that is kept.
    pub base: Digest,
    /// Hash of the newest event.
    pub head: Digest,
}

/// The chain does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    #[error("audit event {0} was changed, or one before it was removed: its hash does not follow")]
    Broken(u64),
    #[error("audit events are missing: {found} where {expected} is expected")]
    Gap { expected: u64, found: u64 },
    #[error("the newest audit event was removed: the chain does not end at its recorded head")]
    Head,
}

impl AuditEvent {
    /// The numbers and times are inside of the hash too, so that events cannot be reordered or redated.
    fn link(&self, previous: Digest) -> Digest {
        let told = (previous, self.number, self.at, &self.actor, self.volume, &self.event, &self.text);
        Digest::of_value("mainstay audit 1", &told)
    }
}

impl Audit {
    /// Appends, and forgets the oldest; the chain then starts at the hash of the last forgotten one.
    pub(crate) fn push(
        &mut self,
        at: Timestamp,
        actor: Actor,
        volume: Option<VolumeId>,
        event: Event,
        text: String,
    ) -> Arc<AuditEvent> {
        self.count += 1;
        let mut event = AuditEvent { number: self.count, at, actor, volume, event, text, hash: Digest::default() };
        event.hash = event.link(self.head);
        self.head = event.hash;
        let event = Arc::new(event);
        self.events.push_back(event.clone());
        while self.events.len() > AUDIT_EVENTS_MAX {
            self.base = self.events.pop_front().map_or(self.base, |gone| gone.hash);
        }
        event
    }

    /// Events with a higher number than `number`, oldest first.
    pub fn after(&self, number: u64) -> impl Iterator<Item = &Arc<AuditEvent>> {
        self.events.iter().filter(move |event| event.number > number)
    }

    /// Follows the chain over what is kept.
    pub fn verify(&self) -> Result<(), AuditError> {
        let end = verify_chain(self.base, self.events.iter().map(AsRef::as_ref))?;
        // A damaged count must not take the reader down: snapshots come from peers and disks.
        let forgotten = self.count.checked_sub(self.events.len() as u64).ok_or(AuditError::Head)?;
        let expected = forgotten.saturating_add(1);
        let first = self.events.front().map_or(expected, |event| event.number);
        if first != expected {
            return Err(AuditError::Gap { expected, found: first });
        }
        if end == self.head { Ok(()) } else { Err(AuditError::Head) }
    }
}

/// Follows the chain over `events`, which must be consecutive, from the hash `base` before them; gives the last hash. For
/// logs that nodes keep themselves.
pub fn verify_chain<'a>(base: Digest, events: impl Iterator<Item = &'a AuditEvent>) -> Result<Digest, AuditError> {
    let mut previous = base;
    let mut number = None;
    for event in events {
        let expected = number.map_or(event.number, |n| n + 1);
        if event.number != expected {
            return Err(AuditError::Gap { expected, found: event.number });
        }
        if event.hash != event.link(previous) {
            return Err(AuditError::Broken(event.number));
        }
        previous = event.hash;
        number = Some(event.number);
    }
    Ok(previous)
}
