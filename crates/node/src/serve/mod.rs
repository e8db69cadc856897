//! NFS for clients: the service addresses, which follow the primary, and the memory that requests may take.
//!
//! Memory: an idle connection costs about 20 KiB. Requests in progress, with the larger of their own and their reply's bytes,
//! take at most [`CONNECTION_BYTES_MAX`] per connection and [`TOTAL_BYTES_MAX`] in all, half-arrived large writes included.
//! A client that does not read its replies holds its own share for [`WRITE_TIME_MAX`] at most, then loses its connection.
//!
//! With `[service]` in node.toml the addresses come and go with the reign ([`address`]); without it they are bound where they are.

pub mod address;
mod announce;
mod connection;
pub mod listener;
mod slot;

pub use slot::{Slot, reply_all};

use crate::host::Host;
use crate::metrics::Histogram;
use mainstay_cluster::{Access, ClusterState, ExportSettings, Squash};
use mainstay_nfs::{ClientRule, Export, HandleKey, Procedure};
use mainstay_protocol::VolumeId;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, RwLock};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Requests in progress, per connection: the Linux client sends up to 128 (its slot table) at once.
pub const CONNECTION_REQUESTS_MAX: usize = 256;
pub const CONNECTION_BYTES_MAX: usize = 32 << 20;
pub const TOTAL_BYTES_MAX: usize = 256 << 20;
/// Connections per service address.
pub const CONNECTIONS_MAX: usize = 1024;
/// A client must take a batch of replies within this.
pub const WRITE_TIME_MAX: Duration = Duration::from_secs(60);
/// A record that has begun must arrive within this.
pub const RECORD_TIME_MAX: Duration = Duration::from_secs(60);
/// What the budgets count in, bytes.
const UNIT: usize = 1 << 10;

/// The volumes of this node by id; filled by the supervisor, read for every request.
#[derive(Default)]
pub struct Hosts(RwLock<BTreeMap<VolumeId, Host>>);

impl Hosts {
    pub fn get(&self, volume: VolumeId) -> Option<Host> {
        self.0.read().unwrap_or_else(|poisoned| poisoned.into_inner()).get(&volume).cloned()
    }

    pub fn insert(&self, host: Host) {
        self.0.write().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(host.volume, host);
    }

    pub fn remove(&self, volume: VolumeId) {
        self.0.write().unwrap_or_else(|poisoned| poisoned.into_inner()).remove(&volume);
    }

    pub fn all(&self) -> Vec<Host> {
        self.0.read().unwrap_or_else(|poisoned| poisoned.into_inner()).values().cloned().collect()
    }
}

/// Figures of the NFS side; they only rise, but for `connections`.
#[derive(Default)]
pub struct Counters {
    pub requests: [Histogram; Procedure::ALL.len()],
    pub connections: AtomicU64,
    pub connections_refused: AtomicU64,
    pub bad_records: AtomicU64,
}

/// What all connections share.
pub struct Common {
    pub hosts: Arc<Hosts>,
    pub counters: Arc<Counters>,
    budget: Arc<Semaphore>,
}

impl Common {
    pub fn new(hosts: Arc<Hosts>) -> Common {
        Common { hosts, counters: Arc::default(), budget: Arc::new(Semaphore::new(TOTAL_BYTES_MAX / UNIT)) }
    }
}

/// The cluster's secret for file handles and what else every front needs.
#[derive(Clone, Copy, Debug)]
pub struct FrontKey {
    pub cluster: mainstay_protocol::ClusterId,
    pub key: HandleKey,
}

/// Where a volume is served.
pub fn service_address(export: &ExportSettings) -> Option<SocketAddr> {
    Some(SocketAddr::new(export.service_address.parse().ok()?, export.port))
}

/// Everything that is exported at one address, whether this node serves it now or not: a client that asks for the wrong volume
/// is then told "later" and not "no such thing".
fn exports_at(state: &ClusterState, address: SocketAddr) -> Vec<Export> {
    let here = state.volumes.iter().filter(|(_, volume)| service_address(&volume.export) == Some(address));
    here.map(|(id, volume)| export(*id, &volume.name, &volume.export)).collect()
}

fn export(volume: VolumeId, name: &str, settings: &ExportSettings) -> Export {
    let rule = |client: &mainstay_cluster::ExportClient| {
        let access = match client.access {
            Access::ReadOnly => mainstay_nfs::Access::ReadOnly,
            Access::ReadWrite => mainstay_nfs::Access::ReadWrite,
        };
        // The cluster has checked the network when the volume was made.
        Some(ClientRule { network: client.network.parse().ok()?, access })
    };
    // The front squashes per export; the strictest of the clients' settings counts.
    let squash = settings.clients.iter().map(|client| client.squash).max_by_key(strictness).unwrap_or_default();
    Export {
        clients: settings.clients.iter().filter_map(rule).collect(),
        squash: match squash {
            Squash::None => mainstay_nfs::Squash::None,
            Squash::Root => mainstay_nfs::Squash::Root,
            Squash::All => mainstay_nfs::Squash::All,
        },
        anonymous_uid: settings.anonymous_uid,
        anonymous_gid: settings.anonymous_gid,
        ..Export::new(format!("/{name}"), volume)
    }
}

fn strictness(squash: &Squash) -> u8 {
    match squash {
        Squash::None => 0,
        Squash::Root => 1,
        Squash::All => 2,
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
