//! What goes into a replica and what comes out.

use mainstay_cluster::{ClusterState, Command, Refusal, StopCause};
use mainstay_protocol::peer::Envelope;
use mainstay_protocol::{ClientRequest, Epoch, FileResult, Incarnation, NodeId, Position, ProposalId, VolumeId};
use mainstay_volume::{DiskEffect, DiskEvent, ViewDigest};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Who this replica is. Everything that may change at run time comes from the cluster state instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    pub node: NodeId,
    pub incarnation: Incarnation,
    pub volume: VolumeId,
}

/// What this node promised to reject everything below of (R2), as the shell keeps it on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StoredPromise {
    pub epoch: Epoch,
    /// Version of the cluster state that asked for the promise. A later state in which that promotion was called off releases
    /// it: a grant counts only promises that were made for the proposal itself.
    pub version: u64,
}

/// An input. The shell may hand in several, then calls `poll` once: that is how batches form.
#[derive(Debug)]
pub enum Event {
    Peer(Envelope),
    /// Answered by exactly one [`Effect::Reply`] or [`Effect::Abandon`] with the same ticket.
    Client {
        ticket: u64,
        request: ClientRequest,
    },
    Disk(DiskEvent),
    /// The cluster state as this node knows it now; may lag, never goes back.
    Decided(Arc<ClusterState>),
    /// [`Effect::StorePromise`] is on disk.
    PromiseStored(StoredPromise),
    Proposed {
        ticket: u64,
        result: ProposeResult,
    },
    /// Append a mark for `mainstay verify`; answered by [`Effect::Marked`].
    Mark {
        ticket: u64,
    },
    /// Graceful stop: hand the epoch back, make everything durable, then [`Effect::Stopped`].
    Stop(StopCause),
    /// `next_timer` has come.
    Tick,
    /// The names of the nodes that this one is set up to switch off.
    FenceHooks(BTreeSet<String>),
    /// [`Effect::Fence`] has ended by itself or by [`Effect::StopFence`]: nothing of it is left that could still switch anything off.
    Fenced {
        proposal: ProposalId,
        result: FenceResult,
    },
}

/// One machine to be switched off, in one boot, for one promotion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FenceOrder {
    pub proposal: ProposalId,
    /// That of the old primary.
    pub epoch: Epoch,
    pub target: NodeId,
    pub target_name: String,
    pub target_incarnation: Incarnation,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FenceResult {
    /// The verify command said, after the order, that the machine is off.
    Confirmed,
    /// Anything else.
    Failed(String),
}

#[derive(Clone, Debug)]
pub enum ProposeResult {
    Accepted,
    Refused(Refusal),
    /// No quorum or a time-out: it may or may not be decided later.
    Unknown,
}

pub enum Effect {
    Send {
        to: NodeId,
        envelope: Envelope,
    },
    Reply {
        ticket: u64,
        result: FileResult,
    },
    /// The outcome is not known here any more (this node stopped being the primary): no answer may be given. The client's
    /// connection is reset, it asks again, and the new primary's duplicate request cache knows.
    Abandon {
        ticket: u64,
    },
    Disk(DiskEffect),
    /// Write durably, then give [`Event::PromiseStored`] (R2).
    StorePromise(StoredPromise),
    Propose {
        ticket: u64,
        command: Command,
    },
    Serve(ServeMode),
    /// The mark is at this position (`None`: this node is not the primary).
    Marked {
        ticket: u64,
        position: Option<Position>,
    },
    Digest {
        position: Position,
        digest: ViewDigest,
    },
    Note(Note),
    Stopped,
    /// Have the machine switched off, then give [`Event::Fenced`], whatever happens.
    Fence(FenceOrder),
    /// What it is for is over: end it, then give [`Event::Fenced`] as before.
    StopFence(ProposalId),
}

/// What the service address may do on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServeMode {
    /// Released; connections are reset.
    Closed,
    /// Reads only, because there is no primary (R15).
    ReadOnly,
    ReadWrite,
}

/// Something that a person may want to read. Handled once, by the shell's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    Role {
        epoch: Epoch,
        role: &'static str,
    },
    LeaseLost {
        epoch: Epoch,
    },
    LeaseHeld {
        epoch: Epoch,
    },
    Fenced {
        by: NodeId,
        promised: Epoch,
    },
    RefusedOld {
        from: NodeId,
        epoch: Epoch,
    },
    PeerLost {
        node: NodeId,
        silent_ms: u64,
    },
    /// It is heard, but confirms nothing of what waits for it.
    PeerStalled {
        node: NodeId,
        stalled_ms: u64,
    },
    PeerInStep {
        node: NodeId,
        position: Position,
    },
    RolledBack {
        to: Position,
        records: u64,
        quarantine: String,
    },
    /// The cluster went another way below what this copy has made durable: it must be set aside whole. The records that only it has
    /// are kept in quarantine, where its log still reaches back to them.
    Superseded {
        records: u64,
        quarantine: Option<String>,
    },
    ResyncByChange {
        since: Position,
    },
    ResyncDone {
        position: Position,
        bytes: u64,
    },
    BadPeer {
        from: NodeId,
        reason: String,
    },
    VolumeFailed {
        reason: String,
    },
    Damage {
        position: Position,
        repaired: bool,
    },
    ProposeRefused {
        reason: String,
    },
}

/// A replica's own account, for `status` and metrics.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    pub volume: VolumeId,
    pub node: NodeId,
    pub incarnation: Incarnation,
    /// `voter`, `secondary`, `catching-up`, `resyncing`, `primary`, `failed`
    pub role: &'static str,
    pub epoch: Epoch,
    pub promised: Epoch,
    pub serve: ServeMode,
    pub position: Position,
    pub durable: Position,
    pub applied: Position,
    pub commit: Position,
    pub commit_durable: Position,
    /// Remaining lease of the primary, zero elsewhere.
    pub lease_ms: u64,
    pub clients_waiting: usize,
    pub peers: BTreeMap<NodeId, PeerStatus>,
    /// Milliseconds since each node was last heard.
    pub heard_ms: BTreeMap<NodeId, u64>,
    pub resync: Option<ResyncStatus>,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub requests_fenced: u64,
    /// The disk is so full that the view's file cannot grow; it goes on when there is room.
    pub waits_for_space: bool,
    /// It serves, but the volume wants two copies and it is the only one: it acknowledges no change.
    pub waits_for_second_copy: bool,
    pub failure: Option<String>,
}

/// What the primary knows of a secondary.
#[derive(Clone, Debug, Serialize)]
pub struct PeerStatus {
    /// `unknown`, `rolling-back`, `resyncing`, `catching-up`, `in-step`
    pub state: &'static str,
    pub in_sync: bool,
    pub received: Position,
    pub durable: Position,
    pub applied: Position,
    pub lag_bytes: u64,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct ResyncStatus {
    pub since: Position,
    pub base: Position,
    pub inode: u64,
    pub inodes_total: u64,
    pub bytes_done: u64,
}
