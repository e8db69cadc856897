//! openraft's way to the other nodes, over the [`Transport`] that the node gives.

use super::machine::Snapshot;
use super::types::{LogId, Types, Vote};
use super::wire::{self, CHUNK_BYTES_MAX, Chunk, ChunkReply, Reply, Request};
use bytes::Bytes;
use mainstay_cluster::limits::NODES_MAX;
use mainstay_protocol::{ClusterId, NodeId};
use openraft::EmptyNode;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse, VoteRequest,
    VoteResponse,
};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// Times a snapshot's receiver may send its sender elsewhere than forward, before the transfer starts anew.
const RESTARTS_MAX: usize = 4;

pub type TransportFuture<'a> = Pin<Box<dyn Future<Output = Result<Bytes, TransportError>> + Send + 'a>>;

/// Carries one request to another node and its reply back. Requests to one node may overtake each other.
///
/// The future may be dropped at any time (the caller bounds it in time); the reply is then thrown away. Requests and replies are
/// at most [`wire::MESSAGE_BYTES_MAX`] long.
pub trait Transport: Send + Sync + 'static {
    fn call(&self, to: NodeId, request: Bytes) -> TransportFuture<'_>;
}

/// The difference decides whether a proposal may be sent again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The request surely never left: no address, no connection.
    #[error("not sent: {0}")]
    NotSent(String),
    /// The request may have arrived; no reply came.
    #[error("no reply: {0}")]
    Lost(String),
}

/// Sends requests, bounded in time. Shared by openraft's tasks and by forwarded proposals.
#[derive(Clone)]
pub struct Caller {
    pub cluster: ClusterId,
    pub transport: Arc<dyn Transport>,
}

impl Caller {
    /// # Errors
    /// [`TransportError::Lost`] also when the time is up or the reply cannot be decoded.
    pub async fn call(&self, to: NodeId, request: &Request, limit: Duration) -> Result<Reply, TransportError> {
        let bytes = wire::encode(self.cluster, request);
        let answered = tokio::time::timeout(limit, self.transport.call(to, bytes)).await;
        let reply = answered.map_err(|_| TransportError::Lost(format!("nothing within {} ms", limit.as_millis())))??;
        wire::decode(self.cluster, &reply).map_err(|e| TransportError::Lost(format!("bad reply from {to}: {e}")))
    }
}

/// Makes [`Link`]s.
pub struct Links {
    pub caller: Caller,
    /// How long an append may take: a follower answers when it has synced.
    pub append_limit: Duration,
    pub confirmed: Arc<Confirmed>,
}

/// What followers have confirmed to hold while this node led, and who lacks it now.
pub struct Confirmed {
    /// Under which vote, and up to which index.
    by_node: Mutex<BTreeMap<NodeId, (Vote, Option<u64>)>>,
    lacking: mpsc::Sender<NodeId>,
}

impl Confirmed {
    /// The receiver gets each node that is seen to lack something, once for each time, and holds as many as there can be nodes.
    pub fn new() -> (Confirmed, mpsc::Receiver<NodeId>) {
        let (lacking, receiver) = mpsc::channel(NODES_MAX);
        (Confirmed { by_node: Mutex::default(), lacking }, receiver)
    }

    /// A follower answers for what it has synced: if it then has no entry where it had one, its disk is not the same any more. Under
    /// another leader's vote it may rightly have been told to forget.
    fn answered(
        &self,
        node: NodeId,
        vote: Vote,
        before: Option<LogId>,
        sent: Option<LogId>,
        response: &AppendEntriesResponse<Types>,
    ) {
        let mut by_node = self.by_node.lock().unwrap_or_else(PoisonError::into_inner);
        let known = by_node.entry(node).or_insert((vote, None));
        if vote < known.0 {
            return;
        }
        if vote > known.0 {
            *known = (vote, None);
        }
        let up_to = match response {
            AppendEntriesResponse::Success => sent.or(before),
            AppendEntriesResponse::PartialSuccess(up_to) => *up_to,
            AppendEntriesResponse::Conflict => {
                if before.is_some_and(|before| Some(before.index) <= known.1) {
                    known.1 = None;
                    // Full: as many wait to be told to people as there are nodes; one more says nothing new.
                    let _ = self.lacking.try_send(node);
                }
                return;
            }
            AppendEntriesResponse::HigherVote(_) => return,
        };
        known.1 = known.1.max(up_to.map(|id| id.index));
    }
}

impl RaftNetworkFactory<Types> for Links {
    type Network = Link;

    async fn new_client(&mut self, target: u64, _node: &EmptyNode) -> Link {
        let (caller, confirmed) = (self.caller.clone(), self.confirmed.clone());
        Link { caller, target: node_id(target), append_limit: self.append_limit, confirmed }
    }
}

/// Raft's ids are wider than ours; ours are where all of them come from.
pub fn node_id(raft: u64) -> NodeId {
    NodeId(u16::try_from(raft).unwrap_or(u16::MAX))
}

/// The way to one node.
pub struct Link {
    caller: Caller,
    target: NodeId,
    append_limit: Duration,
    confirmed: Arc<Confirmed>,
}

impl Link {
    async fn call(&self, request: Request, limit: Duration) -> Result<Reply, RPCError<Types>> {
        match self.caller.call(self.target, &request, limit).await {
            Ok(Reply::Failed(why)) => Err(RPCError::Unreachable(Unreachable::from_string(why))),
            Ok(reply) => Ok(reply),
            // openraft waits a little before it tries an unreachable node again, and retries other failures at once.
            Err(error @ TransportError::NotSent(_)) => Err(RPCError::Unreachable(Unreachable::new(&error))),
            Err(error @ TransportError::Lost(_)) => Err(RPCError::Network(NetworkError::new(&error))),
        }
    }
}

fn unexpected<T>() -> Result<T, RPCError<Types>> {
    Err(RPCError::Network(NetworkError::from_string("the reply does not fit the request")))
}

impl RaftNetworkV2<Types> for Link {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let (vote, before, sent) = (request.vote, request.prev_log_id, request.entries.last().map(|entry| entry.log_id));
        match self.call(Request::Append(request), self.append_limit).await? {
            Reply::Append(response) => {
                self.confirmed.answered(self.target, vote, before, sent, &response);
                Ok(response)
            }
            _ => unexpected(),
        }
    }

    async fn vote(&mut self, request: VoteRequest<Types>, option: RPCOption) -> Result<VoteResponse<Types>, RPCError<Types>> {
        match self.call(Request::Vote(request), option.hard_ttl()).await? {
            Reply::Vote(response) => Ok(response),
            _ => unexpected(),
        }
    }

    async fn pre_vote(&mut self, request: VoteRequest<Types>, option: RPCOption) -> Result<VoteResponse<Types>, RPCError<Types>> {
        match self.call(Request::PreVote(request), option.hard_ttl()).await? {
            Reply::Vote(response) => Ok(response),
            _ => unexpected(),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = self.send_snapshot(vote, &snapshot, option.hard_ttl()) => sent,
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        match self.call(Request::TransferLeader(request), option.hard_ttl()).await? {
            Reply::TransferLeader(response) => Ok(response),
            _ => unexpected(),
        }
    }
}

impl Link {
    /// One chunk after the other, each within `limit`.
    async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: &Snapshot,
        limit: Duration,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let whole = &snapshot.snapshot;
        let sum = xxhash_rust::xxh3::xxh3_64(whole);
        let (mut offset, mut restarts) = (0, 0);
        while restarts < RESTARTS_MAX {
            let end = whole.len().min(offset + CHUNK_BYTES_MAX);
            let chunk = Chunk {
                vote,
                meta: snapshot.meta.clone(),
                total_bytes: whole.len() as u64,
                sum,
                offset: offset as u64,
                data: whole.slice(offset..end),
            };
            match self.call(Request::Snapshot(chunk), limit).await.map_err(streaming)? {
                Reply::Chunk(ChunkReply::Installed(response)) => return Ok(response),
                Reply::Chunk(ChunkReply::Next(next)) => {
                    restarts += usize::from(next != end as u64);
                    offset = usize::try_from(next).unwrap_or(0).min(whole.len());
                }
                _ => break,
            }
        }
        Err(StreamingError::Network(NetworkError::from_string("the receiver does not take the snapshot")))
    }
}

fn streaming(error: RPCError<Types>) -> StreamingError<Types> {
    match error {
        RPCError::Timeout(e) => e.into(),
        RPCError::Unreachable(e) => e.into(),
        RPCError::Network(e) => e.into(),
        RPCError::RemoteError(e) => NetworkError::new(&e).into(),
    }
}
