//! What a running node consists of, and what volume threads get done through it.

use crate::admin::client::AdminClient;
use crate::config::NodeConfig;
use crate::directory::{Identity, Promises};
use crate::hooks::fence::Fences;
use crate::host::Outside;
use crate::peers::{Inbound, Peers};
use crate::pki::Authority;
use crate::serve::listener::Bindings;
use crate::serve::{Common, FrontKey, Hosts};
use bytes::Bytes;
use mainstay_cluster::{ClusterState, Command, Rule};
use mainstay_coordination::{ProposeError, Raft, Transport, TransportError, TransportFuture};
use mainstay_protocol::peer::Envelope;
use mainstay_protocol::{Incarnation, NodeId, ProposalId, VolumeId};
use mainstay_replica::{FenceOrder, FenceResult, ProposeResult, ServeMode, StoredPromise};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedSender;

/// How long a volume's proposal may look for a quorum; the core asks again if it still wants it then.
pub const PROPOSE_TIME_MAX: Duration = Duration::from_secs(5);
/// Pause before a promise that could not be written is tried again.
const PROMISE_RETRY: Duration = Duration::from_secs(1);

/// Everything that the daemon's parts share.
pub struct App {
    pub config: NodeConfig,
    pub identity: Identity,
    pub incarnation: Incarnation,
    pub raft: Raft,
    pub peers: Peers,
    pub hosts: Arc<Hosts>,
    pub common: Arc<Common>,
    pub bindings: Bindings,
    /// On the node that made the cluster.
    pub authority: Option<Authority>,
    pub authority_fingerprint: [u8; 32],
    pub front_key: FrontKey,
    /// Asks other nodes in this node's name.
    pub colleague: AdminClient,
    pub fences: Fences,
    pub started: Instant,
    /// Promotions, approvals and denials that the audit log shows as refused since this node started, by rule.
    pub refused: Mutex<BTreeMap<Rule, u64>>,
}

impl App {
    pub fn me(&self) -> NodeId {
        self.identity.node_id()
    }

    pub fn state(&self) -> Arc<ClusterState> {
        self.raft.state()
    }
}

/// Carries Raft's messages over the peers' connections.
pub struct PeerTransport(pub Peers);

impl Transport for PeerTransport {
    fn call(&self, to: NodeId, request: Bytes) -> TransportFuture<'_> {
        use crate::peers::CallError::{Lost, NotConnected, TooLarge};
        Box::pin(async move {
            self.0.call(to, request).await.map_err(|error| match error {
                NotConnected | TooLarge => TransportError::NotSent(error.to_string()),
                Lost => TransportError::Lost(error.to_string()),
            })
        })
    }
}

/// Hands what peers send to the volumes and to coordination. Raft needs the transport and the transport a receiver, so Raft is
/// put in when it is there; until then nobody is a member.
pub struct Reception {
    pub me: NodeId,
    pub raft: OnceLock<Raft>,
    pub hosts: Arc<Hosts>,
}

impl Inbound for Reception {
    /// A node that has not learned of its own membership yet knows too little to refuse anybody whom the authority signed.
    fn member(&self, node: NodeId) -> bool {
        self.raft.get().is_some_and(|raft| {
            let nodes = &raft.state().nodes;
            !nodes.contains_key(&self.me) || nodes.contains_key(&node)
        })
    }

    fn peer(&self, envelope: Envelope) -> bool {
        self.hosts.get(envelope.volume).is_some_and(|host| host.peer(envelope))
    }

    fn coordination(&self, from: NodeId, request: Bytes) -> Pin<Box<dyn Future<Output = Bytes> + Send>> {
        // A connection outlives the membership of who made it.
        let raft = self.raft.get().filter(|_| self.member(from)).cloned();
        Box::pin(async move {
            match raft {
                Some(raft) => raft.handle(&request).await,
                None => Bytes::new(),
            }
        })
    }
}

/// One promise to make durable.
pub struct PromiseJob {
    volume: VolumeId,
    promise: StoredPromise,
    done: Box<dyn FnOnce() + Send>,
}

/// The thread that writes promises, in the order in which they were asked for.
pub fn write_promises(mut promises: Promises, jobs: &Receiver<PromiseJob>) {
    for job in jobs {
        while let Err(error) = promises.store(job.volume, job.promise) {
            // Without the file there is no promise; the node takes part in nothing new until the disk is mended.
            tracing::error!(volume = %job.volume, %error, "cannot store a promise: look at the disk");
            std::thread::sleep(PROMISE_RETRY);
        }
        (job.done)();
    }
}

/// The volumes' way out.
pub struct Shell {
    pub peers: Peers,
    pub raft: Raft,
    pub runtime: tokio::runtime::Handle,
    pub promises: Sender<PromiseJob>,
    pub modes: UnboundedSender<(VolumeId, ServeMode)>,
    pub fences: Fences,
}

impl Outside for Shell {
    fn send(&self, to: NodeId, envelope: Envelope) {
        self.peers.send(to, envelope);
    }

    fn propose(&self, command: Command, done: Box<dyn FnOnce(ProposeResult) + Send>) {
        let raft = self.raft.clone();
        self.runtime.spawn(async move {
            let name = command.name();
            done(match raft.propose(command, PROPOSE_TIME_MAX).await {
                Ok(_) => ProposeResult::Accepted,
                Err(ProposeError::Refused(refusal)) => ProposeResult::Refused(refusal),
                Err(error) => {
                    tracing::warn!(command = name, %error, "a proposal of this node found no decision");
                    ProposeResult::Unknown
                }
            });
        });
    }

    fn store_promise(&self, volume: VolumeId, promise: StoredPromise, done: Box<dyn FnOnce() + Send>) {
        // The thread ends with the process only.
        let _ = self.promises.send(PromiseJob { volume, promise, done });
    }

    fn serve(&self, volume: VolumeId, mode: ServeMode) {
        let _ = self.modes.send((volume, mode));
    }

    fn fence_hooks(&self) -> BTreeSet<String> {
        self.fences.targets()
    }

    fn fence(&self, volume: VolumeId, order: FenceOrder, done: Box<dyn FnOnce(FenceResult) + Send>) {
        self.fences.begin(volume, order, done);
    }

    fn stop_fence(&self, volume: VolumeId, proposal: ProposalId) {
        self.fences.stop(volume, proposal);
    }
}
