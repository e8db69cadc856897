//! Embedded Raft: openraft with its log, vote and snapshots in one redb file, over a transport that the node gives.
//!
//! openraft's types stay inside this module and its children; the version is pinned and the reasons are in
//! `docs/decisions/0001-consensus.md`.

mod anew;
mod disk;
mod log;
mod machine;
mod network;
mod reach;
mod serve;
#[cfg(test)]
mod tests;
mod types;
mod wire;

pub use anew::{Remains, found_anew, remains};
pub use disk::{FILE_NAME, OpenError, Storage};
pub use network::{Transport, TransportError, TransportFuture};
pub use wire::{MESSAGE_BYTES_MAX, MemberChange, WireError};

use disk::Disk;
use log::LogStore;
use machine::Machine;
use mainstay_cluster::limits::COMMAND_BYTES_MAX;
use mainstay_cluster::{ClusterState, Command, Refusal};
use mainstay_protocol::{ClusterId, NodeId};
use network::{Caller, Confirmed, Links, node_id};
use openraft::async_runtime::WatchReceiver;
use openraft::errors::Fatal;
use openraft::{EmptyNode, Instant as _, ServerState, SnapshotPolicy};
use serve::Incoming;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use types::{Decision, LogId, Outcome, Types};
use wire::{Answer, Reply, Request};

type Core = openraft::Raft<Types, Machine>;
type Metrics = openraft::RaftMetrics<Types>;

/// Pause before a proposal looks for the leader again.
const RETRY: Duration = Duration::from_millis(50);
/// What a forwarded request leaves for its own way back.
const RETURN: Duration = Duration::from_millis(50);
/// Longest that anything here waits for the cluster, whatever the caller asked for.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// Log entries kept behind the snapshot, for followers that are a little late.
const KEPT_ENTRIES: u64 = 256;
/// Log entries in one append; their bytes are bounded apart ([`wire::APPEND_BYTES_MAX`]).
const APPEND_ENTRIES_MAX: u64 = 256;
/// Pauses between attempts to reach a node that cannot be reached: short, since a node that returns should see decisions soon.
const BACKOFF: &str = "50ms 100ms 200ms ...300ms";
/// Longest that one piece of a snapshot may take.
const CHUNK_MS_MAX: u64 = 5_000;

/// How fast Raft notices. A leader is replaced after about `election_ms_max` (the followers' lease) plus one election timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    pub heartbeat_ms: u64,
    /// Election timeouts are drawn from `election_ms_min..election_ms_max`.
    pub election_ms_min: u64,
    pub election_ms_max: u64,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing { heartbeat_ms: 100, election_ms_min: 400, election_ms_max: 800 }
    }
}

/// What a node needs to take part.
pub struct Config {
    pub node: NodeId,
    pub cluster: ClusterId,
    pub storage: Storage,
    pub timing: Timing,
    /// Decisions between two snapshots; the log is purged behind each.
    pub snapshot_every: u64,
}

impl Config {
    pub fn new(node: NodeId, cluster: ClusterId, storage: Storage) -> Config {
        Config { node, cluster, storage, timing: Timing::default(), snapshot_every: 1_000 }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("coordination settings: {0}")]
    Config(String),
    #[error("coordination cannot start: {0}")]
    Start(String),
}

/// Why a command was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Decided, and refused by a rule.
    #[error(transparent)]
    Refused(Refusal),
    /// Surely not decided, now or later: no leader took it.
    #[error("no decision can be made: {0}")]
    Unavailable(String),
    /// It may have been decided, or may be decided yet.
    #[error("no answer in time, the command may have happened: {0}")]
    Unknown(String),
}

/// Why the members are not (known to be) as asked. Asking again is harmless.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemberError {
    #[error("the members cannot be changed so: {0}")]
    Rejected(String),
    #[error("no leader could be asked: {0}")]
    Unavailable(String),
    #[error("no answer in time, the members may have changed: {0}")]
    Unknown(String),
}

/// A read that would be as fresh as the cluster is not to be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no fresh view of the cluster: {0}")]
pub struct ReadError(pub String);

/// This node's part in Raft. Says nothing about volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Leader,
    Follower,
    Candidate,
    Learner,
    Stopped,
}

/// How coordination stands, as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    pub role: Role,
    pub leader: Option<NodeId>,
    /// A leader: a majority answered within `election_ms_max`. Others: a leader was heard within that time.
    pub quorum: bool,
    pub term: u64,
    pub voters: BTreeSet<NodeId>,
    pub learners: BTreeSet<NodeId>,
    /// A leader: voters that acknowledged something within `election_ms_max`, and itself. Nobody otherwise.
    pub answering: BTreeSet<NodeId>,
    /// Raft's index of the first entry that is still in the log, of the newest, and of the newest one applied.
    pub first_log: u64,
    pub last_log: u64,
    pub applied: u64,
    /// Version of the cluster state that this node shows.
    pub version: u64,
    /// Why coordination stopped for good, such as a failed disk.
    pub failed: Option<String>,
}

/// This node's share of the cluster's coordination. Clones are the same one.
#[derive(Clone)]
pub struct Raft {
    shared: Arc<Shared>,
}

struct Shared {
    node: NodeId,
    cluster: ClusterId,
    timing: Timing,
    core: Core,
    caller: Caller,
    state: watch::Receiver<Arc<ClusterState>>,
    disk: Disk,
    writer: Mutex<Option<std::thread::JoinHandle<()>>>,
    /// When a leader's append was last accepted.
    heard: Mutex<Option<Instant>>,
    /// Nodes that lack what they had confirmed.
    set_back: tokio::sync::Mutex<mpsc::Receiver<NodeId>>,
    /// A snapshot that is being received.
    incoming: tokio::sync::Mutex<Option<Incoming>>,
}

impl Raft {
    /// Opens the file, rebuilds the state and takes part. Without members (a new file) it waits until it is initialized or
    /// added by a leader.
    ///
    /// # Errors
    /// Another node's or cluster's file, a damaged or newer one, or one in use; settings that contradict each other.
    pub async fn start(config: Config, transport: Arc<dyn Transport>) -> Result<Raft, StartError> {
        let Config { node, cluster, storage, timing, snapshot_every } = config;
        let settings = Arc::new(settings(cluster, timing, snapshot_every)?);
        let opened = tokio::task::spawn_blocking(move || Disk::open(storage, cluster, node)).await;
        let (disk, contents, writer) = opened.map_err(|e| StartError::Start(e.to_string()))??;
        let log = LogStore::new(disk.clone(), &contents)?;
        let (machine, state) = Machine::new(disk.clone(), &contents)?;
        let caller = Caller { cluster, transport };
        let (confirmed, set_back) = Confirmed::new();
        let append_limit = Duration::from_millis(timing.election_ms_min);
        let links = Links { caller: caller.clone(), append_limit, confirmed: Arc::new(confirmed) };
        let started = Core::new(node.0.into(), settings, links, log, machine).await;
        let core = started.map_err(|e| StartError::Start(e.to_string()))?;
        let shared = Shared {
            node,
            cluster,
            timing,
            core,
            caller,
            state,
            disk,
            writer: Mutex::new(Some(writer)),
            heard: Mutex::new(None),
            set_back: tokio::sync::Mutex::new(set_back),
            incoming: tokio::sync::Mutex::new(None),
        };
        let shared = Arc::new(shared);
        tokio::spawn(reach::watch(Arc::downgrade(&shared), timing));
        Ok(Raft { shared })
    }

    /// Makes a new cluster whose only voter is this node. Harmless when it already has members.
    ///
    /// # Errors
    /// Coordination has stopped.
    pub async fn initialize(&self) -> Result<(), MemberError> {
        use openraft::errors::{InitializeError, RaftError};
        let only = BTreeMap::from([(u64::from(self.shared.node.0), EmptyNode {})]);
        match self.shared.core.initialize(only).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(error) => Err(MemberError::Rejected(error.to_string())),
        }
    }

    /// The cluster state that this node knows, now and from now on. States in between may be skipped, never reordered.
    pub fn watch(&self) -> watch::Receiver<Arc<ClusterState>> {
        self.shared.state.clone()
    }

    /// The cluster state that this node knows.
    pub fn state(&self) -> Arc<ClusterState> {
        self.shared.state.borrow().clone()
    }

    /// Has the command decided, by way of the leader, and gives the version of the state that it made.
    ///
    /// A command is sent a second time only when the first surely did not arrive.
    ///
    /// # Errors
    /// See [`ProposeError`]; within `limit`.
    pub async fn propose(&self, command: Command, limit: Duration) -> Result<u64, ProposeError> {
        let bytes = command.encode().len();
        if bytes > COMMAND_BYTES_MAX {
            return Err(ProposeError::Unavailable(format!("a command of {bytes} bytes is over the bound of {COMMAND_BYTES_MAX}")));
        }
        let request = |wait_ms| Request::Propose { decision: Decision(command.clone()), wait_ms };
        match self.shared.ask_leader(limit, Question::Once, request, Reply::proposed).await {
            Asked::Answer(Outcome { refused: Some(refusal), .. }) => Err(ProposeError::Refused(refusal)),
            Asked::Answer(outcome) => Ok(outcome.version),
            Asked::Rejected(why) | Asked::Unavailable(why) => Err(ProposeError::Unavailable(why)),
            Asked::Unknown(why) => Err(ProposeError::Unknown(why)),
        }
    }

    /// The cluster state as of now: everything that was decided before the call is in it. Costs a round to a majority.
    ///
    /// # Errors
    /// No leader with a majority answered within `limit`.
    pub async fn read(&self, limit: Duration) -> Result<Arc<ClusterState>, ReadError> {
        let deadline = Instant::now() + limit.min(WAIT_MAX);
        let index = match self.shared.ask_leader(limit, Question::Repeatable, |_| Request::ReadIndex, Reply::read_index).await {
            Asked::Answer(id) => id.index,
            Asked::Rejected(why) | Asked::Unavailable(why) | Asked::Unknown(why) => return Err(ReadError(why)),
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let wait = self.shared.core.wait(Some(left));
        wait.applied_index_at_least(Some(index), "linearizable read").await.map_err(|e| ReadError(e.to_string()))?;
        Ok(self.state())
    }

    /// Adds a node that follows without a vote. Its address must be known to the transports.
    ///
    /// # Errors
    /// See [`MemberError`].
    pub async fn add_learner(&self, node: NodeId, limit: Duration) -> Result<(), MemberError> {
        self.change(MemberChange::AddLearner(node), limit).await
    }

    /// Adds a node, lets it catch up and gives it a vote.
    ///
    /// # Errors
    /// See [`MemberError`].
    pub async fn add_voter(&self, node: NodeId, limit: Duration) -> Result<(), MemberError> {
        self.change(MemberChange::AddVoter(node), limit).await
    }

    /// Takes a node out, voter or learner.
    ///
    /// # Errors
    /// See [`MemberError`]; the last voter cannot be removed.
    pub async fn remove(&self, node: NodeId, limit: Duration) -> Result<(), MemberError> {
        self.change(MemberChange::Remove(node), limit).await
    }

    async fn change(&self, change: MemberChange, limit: Duration) -> Result<(), MemberError> {
        let request = |wait_ms| Request::Change { change, wait_ms };
        match self.shared.ask_leader(limit, Question::Repeatable, request, Reply::changed).await {
            Asked::Answer(()) => Ok(()),
            Asked::Rejected(why) => Err(MemberError::Rejected(why)),
            Asked::Unavailable(why) => Err(MemberError::Unavailable(why)),
            Asked::Unknown(why) => Err(MemberError::Unknown(why)),
        }
    }

    /// How coordination stands.
    pub fn health(&self) -> Health {
        self.shared.health()
    }

    /// Waits until coordination has failed on this node, such as by its disk, and says why. Never ends otherwise.
    pub async fn failed(&self) -> String {
        let mut metrics = self.shared.core.metrics();
        loop {
            match &metrics.borrow_and_update().running_state {
                Ok(()) | Err(Fatal::Stopped) => {}
                Err(why) => return why.to_string(),
            }
            if metrics.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until this node, as the leader, sees that another one lacks decisions that it had confirmed to hold: its disk was set back.
    /// They are given to it again. What that one knew while another node led is not looked at.
    pub async fn set_back(&self) -> NodeId {
        match self.shared.set_back.lock().await.recv().await {
            Some(node) => node,
            // Coordination has stopped.
            None => std::future::pending().await,
        }
    }

    /// Answers a request that another node's [`Transport`] carried here. Bad bytes get an error reply.
    pub async fn handle(&self, request: &[u8]) -> bytes::Bytes {
        self.shared.handle(request).await
    }

    /// Hands leadership on if this node has it, then stops.
    pub async fn shutdown(&self) {
        self.shared.hand_over().await;
        self.stop().await;
    }

    /// Stops at once and closes the file; the others notice by themselves.
    pub async fn stop(&self) {
        // An error here means that it had stopped already.
        let _ = self.shared.core.shutdown().await;
        self.shared.disk.close();
        let writer = self.shared.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            let _ = tokio::task::spawn_blocking(move || writer.join()).await;
        }
    }
}

/// openraft's settings.
fn settings(cluster: ClusterId, timing: Timing, snapshot_every: u64) -> Result<openraft::Config, StartError> {
    let settings = openraft::Config {
        cluster_name: cluster.to_string(),
        heartbeat_interval: timing.heartbeat_ms,
        election_timeout_min: timing.election_ms_min,
        election_timeout_max: timing.election_ms_max,
        install_snapshot_timeout: CHUNK_MS_MAX,
        max_payload_entries: APPEND_ENTRIES_MAX,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(snapshot_every.max(1)),
        max_in_snapshot_log_to_keep: KEPT_ENTRIES.min(snapshot_every),
        replication_lag_threshold: snapshot_every.saturating_mul(2),
        backoff: BACKOFF.into(),
        // A node that was cut off asks before it raises the term, so its return disturbs nobody.
        enable_pre_vote: Some(true),
        // A leader that hears nobody falls silent, so that a one-way broken link cannot keep its followers from electing.
        quorum_loss_probe_interval: Some(timing.election_ms_max.saturating_mul(2)),
        // Plain Raft: leadership comes from votes of this boot only.
        enable_leader_restore: Some(false),
        // A follower whose disk was set back is filled up again, as one whose disk is slow would be. Otherwise the leader ends
        // with a failed assertion: one node's bad disk would take down another node, and the volume with it.
        // What this relies on stands in docs/SAFETY.md: a decision is lost when those that know it are away meanwhile.
        allow_log_reversion: Some(true),
        ..openraft::Config::default()
    };
    settings.validate().map_err(|e| StartError::Config(e.to_string()))
}

/// Whether a question may be asked again when its answer was lost.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Question {
    Once,
    Repeatable,
}

/// What came of asking the leader.
enum Asked<T> {
    Answer(T),
    Rejected(String),
    Unavailable(String),
    Unknown(String),
}

impl Shared {
    /// Asks this node first, since it knows best who leads, then whom it names, until somebody answers or time is up.
    async fn ask_leader<T>(
        &self,
        limit: Duration,
        question: Question,
        request: impl Fn(u64) -> Request,
        answer: impl Fn(Reply) -> Option<Answer<T>>,
    ) -> Asked<T> {
        let deadline = Instant::now() + limit.min(WAIT_MAX);
        let mut asked = Asked::Unavailable("no leader is known".into());
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return asked;
            }
            let own = answer(self.serve(request(left.as_millis() as u64)).await);
            match own {
                Some(Answer::NotLeader(Some(leader))) if leader != self.node => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    let wait_ms = left.saturating_sub(RETURN).as_millis() as u64;
                    asked = self.forward(leader, &request(wait_ms), left, &answer).await;
                }
                Some(Answer::NotLeader(_)) => {}
                Some(other) => return other.into(),
                None => return Asked::Unavailable("coordination has stopped".into()),
            }
            match asked {
                Asked::Answer(_) | Asked::Rejected(_) => return asked,
                Asked::Unknown(_) if question == Question::Once => return asked,
                Asked::Unavailable(_) | Asked::Unknown(_) => tokio::time::sleep(RETRY).await,
            }
        }
    }

    /// Asks the leader. [`Asked::Unavailable`] is something that the next attempt may find otherwise.
    async fn forward<T>(
        &self,
        leader: NodeId,
        request: &Request,
        limit: Duration,
        answer: impl Fn(Reply) -> Option<Answer<T>>,
    ) -> Asked<T> {
        let reply = tokio::select! {
            reply = self.caller.call(leader, request, limit) => reply,
            () = self.led_by_another(leader) => Err(TransportError::Lost("it does not lead any more".into())),
        };
        match reply.map(answer) {
            Ok(Some(Answer::NotLeader(_))) => Asked::Unavailable(format!("{leader} does not lead")),
            Ok(Some(other)) => other.into(),
            // `Failed`: the node could not even look at it.
            Ok(None) => Asked::Unavailable(format!("{leader} does not serve")),
            Err(TransportError::NotSent(error)) => Asked::Unavailable(format!("{leader}: {error}")),
            Err(TransportError::Lost(error)) => Asked::Unknown(format!("{leader}: {error}")),
        }
    }

    /// Waits until this node knows another leader. A leader that fell silent answers nothing any more, and whoever waits for it
    /// had better ask anew.
    async fn led_by_another(&self, leader: NodeId) {
        let mut metrics = self.core.metrics();
        loop {
            let current = metrics.borrow_and_update().current_leader;
            if current.is_some_and(|current| node_id(current) != leader) {
                return;
            }
            if metrics.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    fn health(&self) -> Health {
        let metrics = self.core.metrics().borrow_watched().clone();
        let recent = Duration::from_millis(self.timing.election_ms_max);
        let role = match metrics.state {
            ServerState::Leader => Role::Leader,
            ServerState::Follower => Role::Follower,
            ServerState::Candidate => Role::Candidate,
            ServerState::Learner => Role::Learner,
            ServerState::Shutdown => Role::Stopped,
        };
        let heard = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let quorum = match role {
            Role::Leader => metrics.last_quorum_acked.is_some_and(|at| at.elapsed() < recent),
            Role::Follower | Role::Learner => heard.is_some_and(|at| at.elapsed() < recent),
            Role::Candidate | Role::Stopped => false,
        };
        let members = metrics.membership_config.membership();
        Health {
            role: if metrics.running_state.is_ok() { role } else { Role::Stopped },
            leader: metrics.current_leader.map(node_id),
            quorum: quorum && metrics.running_state.is_ok(),
            term: metrics.current_term,
            voters: members.voter_ids().map(node_id).collect(),
            learners: members.learner_ids().map(node_id).collect(),
            answering: self.alive(&metrics).into_iter().map(node_id).collect(),
            first_log: metrics.purged.map_or(0, |id: LogId| id.index + 1),
            last_log: metrics.last_log_index.unwrap_or(0),
            applied: metrics.last_applied.map_or(0, |id: LogId| id.index),
            version: self.state.borrow().version,
            failed: metrics.running_state.err().map(|e| e.to_string()),
        }
    }

    /// Gives leadership to the voter that is nearest and alive, so that a planned stop costs no election timeout.
    async fn hand_over(&self) {
        let metrics = self.core.metrics().borrow_watched().clone();
        let own = u64::from(self.node.0);
        let Some(replication) = &metrics.replication else { return };
        let alive = self.alive(&metrics).into_iter().filter(|id| *id != own);
        let Some(next) = alive.max_by_key(|id| replication.get(id).copied().flatten()) else { return };
        if self.core.trigger().transfer_leader(next).await.is_ok() {
            let wait = self.core.wait(Some(Duration::from_millis(self.timing.election_ms_max)));
            let _ = wait.metrics(|m| m.current_leader != Some(own), "leadership handed over").await;
        }
    }
}

impl<T> From<Answer<T>> for Asked<T> {
    fn from(answer: Answer<T>) -> Asked<T> {
        match answer {
            Answer::Done(value) => Asked::Answer(value),
            Answer::NotLeader(_) => Asked::Unavailable("no leader is known".into()),
            Answer::Rejected(why) => Asked::Rejected(why),
            Answer::Unknown(why) => Asked::Unknown(why),
        }
    }
}
