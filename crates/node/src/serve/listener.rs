//! Service addresses: bound while a volume on them is served here, released with a reset of every connection when not.

use super::address::Addresses;
use super::connection::{self, CurrentFront, current};
use super::{CONNECTIONS_MAX, Common, FrontKey, exports_at, service_address};
use mainstay_cluster::ClusterState;
use mainstay_nfs::{Export, Front};
use mainstay_protocol::VolumeId;
use mainstay_replica::ServeMode;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

/// Pause between attempts to bind: the previous primary may be about to release the address.
const BIND_RETRY: Duration = Duration::from_millis(25);
const KEEPALIVE: Duration = Duration::from_secs(60);
/// The kernel's queue of connections that are not accepted yet.
const BACKLOG: u32 = 256;

/// How the addresses stand: `Ok` when bound, else why not yet.
pub type Bindings = Arc<Mutex<BTreeMap<SocketAddr, Result<(), String>>>>;

/// Told of every new mode, after the address is as it says.
pub type Tell = Box<dyn Fn(VolumeId, ServeMode, &ClusterState) + Send + Sync>;

/// What the listener works with beside the volumes.
pub struct Around {
    pub bindings: Bindings,
    pub addresses: Addresses,
    pub tell: Tell,
}

/// Follows the volumes' modes and the exports until `stop` says so; then every address is free.
pub async fn run(
    key: FrontKey,
    common: Arc<Common>,
    mut state: watch::Receiver<Arc<ClusterState>>,
    mut modes: mpsc::UnboundedReceiver<(VolumeId, ServeMode)>,
    around: Around,
    mut stop: watch::Receiver<bool>,
) {
    let Around { bindings, addresses, tell } = around;
    let mut service = Service { key, common, bindings, addresses, modes: BTreeMap::new(), listening: BTreeMap::new() };
    service.addresses.clear(&state.borrow().clone());
    loop {
        let mut told = None;
        tokio::select! {
            changed = modes.recv() => match changed {
                Some((volume, mode)) => {
                    service.modes.insert(volume, mode);
                    told = Some((volume, mode));
                }
                None => break,
            },
            changed = state.changed() => if changed.is_err() { break },
            _ = stop.changed() => break,
        }
        let now = state.borrow_and_update().clone();
        service.follow(&now).await;
        if let Some((volume, mode)) = told {
            tell(volume, mode, &now);
        }
    }
    service.modes.clear();
    service.follow(&ClusterState::default()).await;
}

struct Service {
    key: FrontKey,
    common: Arc<Common>,
    bindings: Bindings,
    addresses: Addresses,
    modes: BTreeMap<VolumeId, ServeMode>,
    listening: BTreeMap<SocketAddr, Listening>,
}

struct Listening {
    exports: Vec<Export>,
    front: Arc<CurrentFront>,
    task: JoinHandle<()>,
}

impl Service {
    async fn follow(&mut self, state: &ClusterState) {
        self.addresses.clear(state);
        let served = self.modes.iter().filter(|(_, mode)| **mode != ServeMode::Closed);
        let address = |(volume, _): (&VolumeId, _)| service_address(&state.volumes.get(volume)?.export);
        let wanted: BTreeSet<SocketAddr> = served.filter_map(address).collect();
        let surplus: Vec<SocketAddr> = self.listening.keys().filter(|address| !wanted.contains(address)).copied().collect();
        for address in surplus {
            self.release(address).await;
        }
        for address in wanted {
            self.keep(address, exports_at(state, address));
        }
    }

    /// On return the address is free and every connection is reset.
    async fn release(&mut self, address: SocketAddr) {
        if let Some(listening) = self.listening.remove(&address) {
            listening.task.abort();
            let _ = listening.task.await;
            lock(&self.bindings).remove(&address);
            // Not before: the resets leave from this address.
            self.addresses.give_up(address.ip());
            tracing::info!(%address, "service address released");
        }
    }

    fn keep(&mut self, address: SocketAddr, exports: Vec<Export>) {
        if self.listening.get(&address).is_some_and(|listening| listening.exports == exports) {
            return;
        }
        let front = match Front::new(self.key.cluster, self.key.key, exports.clone(), address.port()) {
            Ok(front) => Arc::new(front),
            Err(error) => {
                tracing::error!(%address, %error, "the exports at this address cannot be served as they are");
                return;
            }
        };
        if let Some(listening) = self.listening.get_mut(&address) {
            *listening.front.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = front;
            listening.exports = exports;
            return;
        }
        let front = Arc::new(RwLock::new(front));
        let missing = self.addresses.take_up(address.ip());
        let task = tokio::spawn(listen(address, front.clone(), self.common.clone(), self.bindings.clone(), missing));
        self.listening.insert(address, Listening { exports, front, task });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Ends by being aborted; the connections end with it.
/// `missing`: why the address was not added to the interface, if that was tried; where it is anyway it is bound all the same.
async fn listen(address: SocketAddr, front: Arc<CurrentFront>, common: Arc<Common>, bindings: Bindings, missing: Option<String>) {
    let listener = bind_patiently(address, &bindings, missing.as_deref()).await;
    tracing::info!(%address, "service address bound");
    accept(listener, front, common).await;
}

async fn bind_patiently(address: SocketAddr, bindings: &Bindings, missing: Option<&str>) -> TcpListener {
    let mut said = String::new();
    loop {
        match bind(address) {
            Ok(listener) => {
                lock(bindings).insert(address, Ok(()));
                return listener;
            }
            Err(error) => {
                let message = missing.map_or_else(|| error.to_string(), |why| format!("{error}; {why}"));
                if message != said {
                    // In use: the node that had it is about to let go. Not available: no interface has it, a person must look.
                    match error.kind() {
                        io::ErrorKind::AddrNotAvailable => {
                            tracing::error!(%address, "no interface of this node has the service address: add it, clients cannot come")
                        }
                        _ => tracing::warn!(%address, %error, "cannot bind the service address yet"),
                    }
                    lock(bindings).insert(address, Err(message.clone()));
                    said = message;
                }
                tokio::time::sleep(BIND_RETRY).await;
            }
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Connections of the previous reign linger in TIME_WAIT on the same machine.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

pub(super) async fn accept(listener: TcpListener, front: Arc<CurrentFront>, common: Arc<Common>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        common.counters.connections.store(connections.len() as u64, Ordering::Relaxed);
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    // Before any memory is given.
                    let welcome = connections.len() < CONNECTIONS_MAX && current(&front).allows(peer.ip());
                    if welcome && prepare(&stream).is_ok() {
                        connections.spawn(serve(stream, peer.ip(), front.clone(), common.clone()));
                    } else {
                        common.counters.connections_refused.fetch_add(1, Ordering::Relaxed);
                        tracing::warn!(client = %peer, connections = connections.len(), "refused a client's connection");
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a client's connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Closing resets (`SO_LINGER` 0), whatever the reason: when the address moves, the client must learn at once.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = socket2::SockRef::from(stream);
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(KEEPALIVE))
}

async fn serve(stream: TcpStream, client: IpAddr, front: Arc<CurrentFront>, common: Arc<Common>) {
    tracing::debug!(%client, "client connected");
    let (reader, writer) = stream.into_split();
    let ended = connection::run(reader, writer, client, front, common).await;
    match ended {
        connection::Ended::Io(_) | connection::Ended::Closed => tracing::debug!(%client, reason = %ended, "client left"),
        _ => tracing::warn!(%client, reason = %ended, "cut a client's connection"),
    }
}
