//! What coordination says between nodes: a version byte, the cluster's id, and one postcard value. Append variants only.

use super::types::{Decision, LogId, Outcome, SnapshotMeta, Types, Vote};
use bytes::Bytes;
use mainstay_cluster::limits::{COMMAND_BYTES_MAX, STATE_BYTES_MAX};
use mainstay_protocol::limits::FRAME_BODY_BYTES_MAX;
use mainstay_protocol::{ClusterId, NodeId};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse, VoteRequest,
    VoteResponse,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Version of the messages below.
pub const WIRE_VERSION: u8 = 1;
/// Version byte and cluster id.
const HEADER_BYTES: usize = 1 + 16;
/// Longest message either way: it travels as the body of one frame.
pub const MESSAGE_BYTES_MAX: usize = FRAME_BODY_BYTES_MAX;
/// Entries of one append, in stored form. One entry always fits.
pub const APPEND_BYTES_MAX: usize = 2 << 20;
/// Snapshot bytes in one message.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;
/// Largest snapshot that a node takes from another.
pub const SNAPSHOT_BYTES_MAX: u64 = STATE_BYTES_MAX as u64;

/// Room for ids, membership and the message around the data.
const SLACK_BYTES: usize = 64 << 10;
const _: () = assert!(APPEND_BYTES_MAX + COMMAND_BYTES_MAX + SLACK_BYTES <= MESSAGE_BYTES_MAX);
const _: () = assert!(CHUNK_BYTES_MAX + SLACK_BYTES <= MESSAGE_BYTES_MAX);

#[derive(Serialize, Deserialize)]
pub enum Request {
    Append(AppendEntriesRequest<Types>),
    Vote(VoteRequest<Types>),
    PreVote(VoteRequest<Types>),
    Snapshot(Chunk),
    TransferLeader(TransferLeaderRequest<Types>),
    /// To the leader: decide this, within so many milliseconds.
    Propose {
        decision: Decision,
        wait_ms: u64,
    },
    /// To the leader: up to where must I have applied so that I read everything that was decided before now?
    ReadIndex,
    /// To the leader: change the members.
    Change {
        change: MemberChange,
        wait_ms: u64,
    },
    /// From the leader: which voters answer you?
    Survey,
    /// Are you there, as one whose appends would be acknowledged?
    Present,
}

#[derive(Serialize, Deserialize)]
pub enum Reply {
    Append(AppendEntriesResponse<Types>),
    Vote(VoteResponse<Types>),
    Chunk(ChunkReply),
    TransferLeader(TransferLeaderResponse<Types>),
    Proposed(Answer<Outcome>),
    ReadIndex(Answer<LogId>),
    Changed(Answer<()>),
    /// The receiver cannot serve this at all: stopped, another cluster, garbage.
    Failed(String),
    /// The asked one among them.
    Survey(BTreeSet<NodeId>),
    Present,
}

/// The leader's answer to something that only a leader can do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer<T> {
    Done(T),
    /// Surely not done; perhaps this node can.
    NotLeader(Option<NodeId>),
    /// Surely not done, and asking again now does not help.
    Rejected(String),
    /// May have been done, or may be done yet.
    Unknown(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberChange {
    /// Follows the log without a vote.
    AddLearner(NodeId),
    /// Added as a learner first, and given its vote when it has caught up.
    AddVoter(NodeId),
    Remove(NodeId),
}

/// A piece of a snapshot.
#[derive(Serialize, Deserialize)]
pub struct Chunk {
    /// The leader's vote; also tells two transfers apart.
    pub vote: Vote,
    pub meta: SnapshotMeta,
    pub total_bytes: u64,
    /// xxh3-64 of the whole.
    pub sum: u64,
    pub offset: u64,
    pub data: Bytes,
}

#[derive(Serialize, Deserialize)]
pub enum ChunkReply {
    /// Send on from here (elsewhere than expected when the receiver restarted in between).
    Next(u64),
    Installed(SnapshotResponse<Types>),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("message of {0} bytes is over the bound of {MESSAGE_BYTES_MAX}")]
    Length(usize),
    #[error("peer speaks coordination version {0}, this node {WIRE_VERSION}: upgrade the older one")]
    Version(u8),
    #[error("message of cluster {0}")]
    Cluster(ClusterId),
    #[error("message cannot be decoded")]
    Damaged,
}

pub fn encode<T: Serialize>(cluster: ClusterId, message: &T) -> Bytes {
    let mut out = Vec::with_capacity(256);
    out.push(WIRE_VERSION);
    out.extend_from_slice(&cluster.0);
    postcard::to_extend(message, out).expect("a message always encodes").into()
}

/// # Errors
/// Whatever is wrong with bytes from outside; the length is checked before anything is given for it.
pub fn decode<T: DeserializeOwned>(cluster: ClusterId, bytes: &[u8]) -> Result<T, WireError> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(WireError::Length(bytes.len()));
    }
    let (header, body) = bytes.split_at_checked(HEADER_BYTES).ok_or(WireError::Damaged)?;
    if header[0] != WIRE_VERSION {
        return Err(WireError::Version(header[0]));
    }
    let mut sender = ClusterId::default();
    sender.0.copy_from_slice(&header[1..]);
    if sender != cluster {
        return Err(WireError::Cluster(sender));
    }
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Ok(message),
        _ => Err(WireError::Damaged),
    }
}
