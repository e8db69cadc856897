//! Connections between nodes: frames over TLS 1.3 with both certificates checked.
//!
//! Each node dials every other one twice, and sends only over what it dialled: *control* (leases, contacts, coordination) and
//! *bulk* (the replication stream), so that a lease never waits behind megabytes of records. Answers to coordination requests
//! come back on the connection that asked. A connection that breaks loses what it held; the core repeats.

mod accept;
mod dial;
pub mod frame;

use crate::outlet::Outlet;
use crate::tls::{TlsError, TlsIdentity};
use bytes::Bytes;
use frame::Outgoing;
use mainstay_protocol::peer::{Envelope, FrameKind};
use mainstay_protocol::{ClusterId, NodeId};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Frames waiting for a peer, bytes, per class. Bulk holds some batches of the largest size; the core's window is below it.
const CONTROL_BYTES_MAX: usize = 16 << 20;
const BULK_BYTES_MAX: usize = 64 << 20;
/// A frame up to this is encrypted and written by the volume's own thread; larger ones would keep it from its work for longer than
/// waking the connection's task takes.
const DIRECT_BYTES_MAX: usize = 16 << 10;
/// TCP connection and handshake together.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// Sent data that the peer's kernel does not acknowledge within this ends the connection (`TCP_USER_TIMEOUT`).
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Coordination requests of one peer being worked on at once; more wait in its socket.
const REQUESTS_MAX: usize = 64;

/// What arrives from other nodes, already authenticated.
pub trait Inbound: Send + Sync + 'static {
    /// Whether the node is a member still; asked at every new connection, so removing a node shuts it out.
    fn member(&self, node: NodeId) -> bool;
    /// False when the message was dropped because too much is waiting.
    fn peer(&self, envelope: Envelope) -> bool;
    fn coordination(&self, from: NodeId, request: Bytes) -> Pin<Box<dyn Future<Output = Bytes> + Send>>;
}

/// Counters for monitoring; they only rise.
#[derive(Debug, Default)]
pub struct Counters {
    pub frames_sent: AtomicU64,
    pub bytes_sent: AtomicU64,
    pub frames_received: AtomicU64,
    pub bytes_received: AtomicU64,
    pub frames_dropped: AtomicU64,
    pub refused: AtomicU64,
    pub connects: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    #[error("no connection to the node")]
    NotConnected,
    #[error("the connection broke before the answer came")]
    Lost,
    #[error("the request is larger than a frame may be")]
    TooLarge,
}

#[derive(Debug, thiserror::Error)]
pub enum PeersError {
    #[error("cannot listen on peer_address {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
}

type Pending = Mutex<HashMap<u64, oneshot::Sender<Bytes>>>;

/// One peer as this node dials it.
struct Link {
    address: SocketAddr,
    control: Outlet<Outgoing>,
    bulk: Outlet<Outgoing>,
    pending: Pending,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Link {
    fn stop(&self) {
        lock(&self.tasks).drain(..).for_each(|task| task.abort());
        self.control.close();
        self.bulk.close();
        lock(&self.pending).clear();
    }
}

struct Inner {
    me: NodeId,
    cluster: ClusterId,
    connector: TlsConnector,
    acceptor: TlsAcceptor,
    links: RwLock<BTreeMap<NodeId, Arc<Link>>>,
    next_id: AtomicU64,
    counters: Arc<Counters>,
}

/// Handle to all peers; cheap to clone.
#[derive(Clone)]
pub struct Peers(Arc<Inner>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Peers {
    pub fn new(me: NodeId, tls: &TlsIdentity) -> Result<Peers, TlsError> {
        Ok(Peers(Arc::new(Inner {
            me,
            cluster: tls.cluster,
            connector: TlsConnector::from(tls.peer_client()?),
            acceptor: TlsAcceptor::from(tls.peer_server()?),
            links: RwLock::default(),
            next_id: AtomicU64::new(1),
            counters: Arc::default(),
        })))
    }

    /// Starts to accept other nodes. The port being taken is said at once, not later in a log.
    pub async fn listen(&self, address: SocketAddr, inbound: Arc<dyn Inbound>) -> Result<JoinHandle<()>, PeersError> {
        let listener = TcpListener::bind(address).await.map_err(|source| PeersError::Listen { address, source })?;
        Ok(tokio::spawn(accept::run(self.clone(), listener, inbound)))
    }

    /// Dials exactly these nodes from now on.
    pub fn set_members(&self, members: &BTreeMap<NodeId, SocketAddr>) {
        let mut links = self.0.links.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        links.retain(|node, link| {
            let stays = members.get(node) == Some(&link.address);
            if !stays {
                link.stop();
            }
            stays
        });
        for (node, address) in members.iter().filter(|(node, _)| **node != self.0.me) {
            links.entry(*node).or_insert_with(|| self.dial(*node, *address));
        }
    }

    fn dial(&self, node: NodeId, address: SocketAddr) -> Arc<Link> {
        let link = Arc::new(Link {
            address,
            control: Outlet::new((), CONTROL_BYTES_MAX),
            bulk: Outlet::new((), BULK_BYTES_MAX),
            pending: Pending::default(),
            tasks: Mutex::default(),
        });
        let tasks =
            [dial::Class::Control, dial::Class::Bulk].map(|class| tokio::spawn(dial::run(self.clone(), node, link.clone(), class)));
        lock(&link.tasks).extend(tasks);
        link
    }

    fn link(&self, node: NodeId) -> Option<Arc<Link>> {
        self.0.links.read().unwrap_or_else(|poisoned| poisoned.into_inner()).get(&node).cloned()
    }

    /// Never blocks and may lose the message; the core copes with both.
    pub fn send(&self, to: NodeId, mut envelope: Envelope) {
        let control = envelope.message.is_control();
        let sent = self.link(to).is_some_and(|link| {
            let outlet = if control { &link.control } else { &link.bulk };
            // Encoding is skipped for a peer that is away.
            outlet.is_open() && Outgoing::envelope(&mut envelope).is_some_and(|frame| self.hand(outlet, frame))
        });
        if !sent {
            self.0.counters.frames_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// False when the frame was dropped. The core tolerates loss and repeats what matters; the newest is dropped, because a frame
    /// that waited long is worth no less than the one behind it, whose position it must precede.
    fn hand(&self, outlet: &Outlet<Outgoing>, frame: Outgoing) -> bool {
        let bytes = frame.bytes;
        if !outlet.push(frame) {
            return false;
        }
        if bytes <= DIRECT_BYTES_MAX {
            outlet.write_now()
        } else {
            outlet.wake()
        }
        self.0.counters.frames_sent.fetch_add(1, Ordering::Relaxed);
        self.0.counters.bytes_sent.fetch_add(bytes as u64, Ordering::Relaxed);
        true
    }

    /// One coordination request and its answer. The caller sets the time limit.
    pub async fn call(&self, to: NodeId, request: Bytes) -> Result<Bytes, CallError> {
        let link = self.link(to).ok_or(CallError::NotConnected)?;
        let id = self.0.next_id.fetch_add(1, Ordering::Relaxed);
        let frame = Outgoing::new(FrameKind::CoordinationRequest, id, b"", vec![request]).ok_or(CallError::TooLarge)?;
        let (sender, answer) = oneshot::channel();
        lock(&link.pending).insert(id, sender);
        let forget = Forget { link: &link, id };
        if !self.hand(&link.control, frame) {
            return Err(CallError::NotConnected);
        }
        let answer = answer.await.map_err(|_| CallError::Lost);
        drop(forget);
        answer
    }

    pub fn connected(&self, node: NodeId) -> bool {
        self.link(node).is_some_and(|link| link.control.is_open() && link.bulk.is_open())
    }

    pub fn counters(&self) -> Arc<Counters> {
        self.0.counters.clone()
    }

    /// Ends every connection that this node dialled.
    pub fn stop(&self) {
        self.set_members(&BTreeMap::new());
    }
}

/// A caller that gives up leaves nothing behind.
struct Forget<'a> {
    link: &'a Link,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        lock(&self.link.pending).remove(&self.id);
    }
}

/// Small and urgent. The rest is one ordered stream: an Append that overtook another would look like a gap.
#[cfg(test)]
#[path = "tests.rs"]
mod tests;
