//! The answering side: requests of other nodes, and of this one when it asks itself.

use super::network::node_id;
use super::types::{Decision, LogId, Outcome, SnapshotMeta, Types, Vote};
use super::wire::{self, Answer, CHUNK_BYTES_MAX, Chunk, ChunkReply, MemberChange, Reply, Request, SNAPSHOT_BYTES_MAX};
use super::{Shared, WAIT_MAX};
use bytes::Bytes;
use mainstay_cluster::ClusterState;
use mainstay_protocol::NodeId;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, LinearizableReadError, RaftError};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};
use openraft::{ChangeMembers, EmptyNode, ReadPolicy};
use std::collections::BTreeSet;
use std::fmt::Display;
use std::future::Future;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::time::Instant;

type WriteError = RaftError<Types, ClientWriteError<Types>>;

/// A snapshot of which a part has arrived.
pub struct Incoming {
    vote: Vote,
    meta: SnapshotMeta,
    sum: u64,
    total_bytes: u64,
    data: Vec<u8>,
}

impl Incoming {
    fn begin(chunk: &Chunk) -> Incoming {
        // Grows with what arrives, not with what is announced.
        Incoming { vote: chunk.vote, meta: chunk.meta.clone(), sum: chunk.sum, total_bytes: chunk.total_bytes, data: Vec::new() }
    }

    fn is_of(&self, chunk: &Chunk) -> bool {
        self.vote == chunk.vote && self.meta == chunk.meta && self.sum == chunk.sum && self.total_bytes == chunk.total_bytes
    }
}

impl Shared {
    /// Bytes in, bytes out; whatever is wrong with the request, its sender gets an answer and this node goes on.
    pub(super) async fn handle(&self, request: &[u8]) -> Bytes {
        let reply = match wire::decode(self.cluster, request) {
            Ok(request) => self.serve(request).await,
            Err(error) => Reply::Failed(error.to_string()),
        };
        wire::encode(self.cluster, &reply)
    }

    /// One request, from another node or from this one.
    pub(super) async fn serve(&self, request: Request) -> Reply {
        match request {
            Request::Append(request) => self.append(request).await,
            Request::Vote(request) => or_failed(self.core.vote(request).await, Reply::Vote),
            Request::PreVote(request) => or_failed(self.core.pre_vote(request).await, Reply::Vote),
            Request::Snapshot(chunk) => self.receive(chunk).await,
            Request::TransferLeader(request) => or_failed(self.core.handle_transfer_leader(request).await, Reply::TransferLeader),
            Request::Propose { decision, wait_ms } => Reply::Proposed(self.decide(decision, limit(wait_ms)).await),
            Request::ReadIndex => Reply::ReadIndex(self.read_index().await),
            Request::Change { change, wait_ms } => Reply::Changed(self.change(change, limit(wait_ms)).await),
            Request::Survey => Reply::Survey(self.survey().await),
            Request::Present => self.present().await,
        }
    }

    async fn append(&self, request: AppendEntriesRequest<Types>) -> Reply {
        // An append of an overruled leader is no sign that the cluster lives, so only an accepted one counts as heard.
        let response = self.core.append_entries(request).await;
        if matches!(&response, Ok(response) if !matches!(response, AppendEntriesResponse::HigherVote(_))) {
            *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        or_failed(response, Reply::Append)
    }

    /// Has the leader in this process decide. `NotLeader` only when the command surely is in no log.
    async fn decide(&self, decision: Decision, limit: Duration) -> Answer<Outcome> {
        within(limit, self.core.client_write(decision)).await.map(|written| written.data)
    }

    /// Up to where a read must have applied. Confirmed by a majority now, not by the leader's lease: no clock is trusted.
    async fn read_index(&self) -> Answer<LogId> {
        match self.core.get_read_log_id(ReadPolicy::ReadIndex).await {
            Ok((id, _)) => Answer::Done(*id.log_id()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(to))) => Answer::NotLeader(to.leader_id.map(node_id)),
            Err(error) => Answer::Rejected(error.to_string()),
        }
    }

    /// Changes the members, one step after the other; each may be repeated, so the asker may ask again after any failure.
    async fn change(&self, change: MemberChange, limit: Duration) -> Answer<()> {
        let deadline = Instant::now() + limit;
        let (MemberChange::AddLearner(node) | MemberChange::AddVoter(node) | MemberChange::Remove(node)) = change;
        let id = u64::from(node.0);
        let (is_voter, is_member) = self.membership_of(node);
        let step = match change {
            MemberChange::AddLearner(_) | MemberChange::AddVoter(_) if is_voter => return Answer::Done(()),
            MemberChange::Remove(_) if !is_member => return self.leads().await,
            MemberChange::AddLearner(_) => return within(limit, self.core.add_learner(id, EmptyNode {}, false)).await.map(drop),
            MemberChange::AddVoter(_) => match within(limit, self.core.add_learner(id, EmptyNode {}, true)).await {
                Answer::Done(_) => ChangeMembers::AddVoterIds(BTreeSet::from([id])),
                other => return other.map(drop),
            },
            MemberChange::Remove(_) if is_voter => ChangeMembers::RemoveVoters(BTreeSet::from([id])),
            MemberChange::Remove(_) => ChangeMembers::RemoveNodes(BTreeSet::from([id])),
        };
        let left = deadline.saturating_duration_since(Instant::now());
        within(left, self.core.change_membership(step, false)).await.map(drop)
    }

    /// Only the leader's word that nothing is to do counts; a follower's view may be old.
    async fn leads(&self) -> Answer<()> {
        self.read_index().await.map(drop)
    }

    fn membership_of(&self, node: NodeId) -> (bool, bool) {
        let metrics = self.core.metrics();
        let metrics = metrics.borrow_watched();
        let members = metrics.membership_config.membership();
        let id = u64::from(node.0);
        (members.voter_ids().any(|voter| voter == id), members.get_node(&id).is_some())
    }

    /// Takes the next piece of a snapshot, and says where to go on. One transfer at a time; a newer one replaces it.
    async fn receive(&self, chunk: Chunk) -> Reply {
        let end = chunk.offset.saturating_add(chunk.data.len() as u64);
        if chunk.total_bytes > SNAPSHOT_BYTES_MAX || chunk.data.len() > CHUNK_BYTES_MAX || end > chunk.total_bytes {
            return Reply::Failed(format!("a snapshot of {} bytes is not taken", chunk.total_bytes));
        }
        let mut slot = self.incoming.lock().await;
        if chunk.offset == 0 {
            *slot = Some(Incoming::begin(&chunk));
        }
        let Some(incoming) = slot.as_mut().filter(|incoming| incoming.is_of(&chunk)) else {
            return Reply::Chunk(ChunkReply::Next(0));
        };
        if incoming.data.len() as u64 == chunk.offset {
            incoming.data.extend_from_slice(&chunk.data);
        }
        if (incoming.data.len() as u64) < incoming.total_bytes {
            return Reply::Chunk(ChunkReply::Next(incoming.data.len() as u64));
        }
        match slot.take() {
            Some(whole) => self.install(whole).await,
            None => Reply::Chunk(ChunkReply::Next(0)),
        }
    }

    /// A snapshot that cannot be read is refused here; inside openraft it would stop this node.
    async fn install(&self, whole: Incoming) -> Reply {
        if xxhash_rust::xxh3::xxh3_64(&whole.data) != whole.sum {
            return Reply::Chunk(ChunkReply::Next(0));
        }
        if let Err(error) = ClusterState::decode(&whole.data) {
            return Reply::Failed(error.to_string());
        }
        let snapshot = super::machine::Snapshot { meta: whole.meta, snapshot: whole.data.into() };
        let installed = self.core.install_full_snapshot(whole.vote, snapshot).await;
        or_failed(installed, |response| Reply::Chunk(ChunkReply::Installed(response)))
    }
}

fn limit(wait_ms: u64) -> Duration {
    Duration::from_millis(wait_ms).min(WAIT_MAX)
}

fn or_failed<T, E: Display>(result: Result<T, E>, reply: impl FnOnce(T) -> Reply) -> Reply {
    result.map_or_else(|error| Reply::Failed(error.to_string()), reply)
}

/// Waits for something that is written to the log. When time is up it may still be committed later.
async fn within<T>(limit: Duration, write: impl Future<Output = Result<T, WriteError>>) -> Answer<T> {
    match tokio::time::timeout(limit, write).await {
        Ok(Ok(written)) => Answer::Done(written),
        Ok(Err(error)) => explain(error),
        Err(_) => Answer::Unknown("no majority confirmed it in time".into()),
    }
}

fn explain<T>(error: WriteError) -> Answer<T> {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(to)) => Answer::NotLeader(to.leader_id.map(node_id)),
        // Another change of the members is under way, or this leader is new: the asker comes again.
        RaftError::APIError(ClientWriteError::ChangeMembershipError(
            ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_),
        )) => Answer::NotLeader(None),
        RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => Answer::Rejected(error.to_string()),
        error => Answer::Unknown(error.to_string()),
    }
}

impl<T> Answer<T> {
    fn map<U>(self, f: impl FnOnce(T) -> U) -> Answer<U> {
        match self {
            Answer::Done(value) => Answer::Done(f(value)),
            Answer::NotLeader(leader) => Answer::NotLeader(leader),
            Answer::Rejected(why) => Answer::Rejected(why),
            Answer::Unknown(why) => Answer::Unknown(why),
        }
    }
}

/// The answer inside a reply; nothing when the node could not serve at all.
impl Reply {
    pub(super) fn proposed(self) -> Option<Answer<Outcome>> {
        if let Reply::Proposed(answer) = self { Some(answer) } else { None }
    }
    pub(super) fn read_index(self) -> Option<Answer<LogId>> {
        if let Reply::ReadIndex(answer) = self { Some(answer) } else { None }
    }
    pub(super) fn changed(self) -> Option<Answer<()>> {
        if let Reply::Changed(answer) = self { Some(answer) } else { None }
    }
}
