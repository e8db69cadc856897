//! The live cluster, as the simulator knows clusters: from its status alone, so that a saved one will do.

use super::given::{Given, Rules};
use super::one::Sizing;
use crate::cli::{CliError, output};
use mainstay_cluster::WithoutPrimary;
use mainstay_node::admin::api::{ClusterStatus, NodeStatus, ReplicaStatus, ResyncProgress, VolumeStatus};
use mainstay_node::admin::client::{AdminClient, AdminConfig};
use mainstay_protocol::NodeId;
use mainstay_simulator::scenario::{A, B, NODES};
use std::collections::BTreeSet;
use std::path::Path;

const SECOND: u64 = 1_000_000_000;
/// Less than this in a volume needs no sizes: everything is stored in any case.
const SIZED_BYTES_MIN: u64 = 1 << 30;
/// A rate over less time than this says nothing of the next hour.
const MEASURED_MS_MIN: u64 = 10_000;

/// What the nodes are called; the simulator knows two file servers, `a` and `b`, and a witness, `w`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names([String; 3]);

impl Default for Names {
    fn default() -> Names {
        Names(["a", "b", "w"].map(str::to_string))
    }
}

impl Names {
    pub fn new(a: &str, b: &str, w: &str) -> Names {
        Names([a, b, w].map(str::to_string))
    }

    pub fn of(&self, node: NodeId) -> &str {
        NODES.iter().zip(&self.0).find(|(id, _)| **id == node).map_or("?", |(_, name)| name.as_str())
    }

    pub fn find(&self, name: &str) -> Option<NodeId> {
        NODES.into_iter().zip(&self.0).find(|(_, known)| *known == name).map(|(id, _)| id)
    }

    pub fn all(&self) -> String {
        self.0.join(", ")
    }

    pub fn list<'a>(&self, nodes: impl IntoIterator<Item = &'a NodeId>) -> String {
        nodes.into_iter().map(|node| self.of(*node)).collect::<Vec<_>>().join(" ")
    }

    /// For those who read a scenario or a timeline; nothing when the names are the simulator's own.
    pub fn note(&self) -> Option<String> {
        let [a, b, w] = &self.0;
        (*self != Names::default()).then(|| format!("in the simulation a is {a}, b is {b} and w is {w}"))
    }
}

/// One volume of one cluster, at one moment.
#[derive(Clone, Debug)]
pub struct Fork {
    pub cluster: String,
    pub state_version: u64,
    pub answered_by: String,
    pub names: Names,
    pub volume: String,
    pub other_volumes: Vec<String>,
    pub rules: Rules,
    /// Who reigns, or whose copy is the newest.
    pub primary: NodeId,
    pub has_primary: bool,
    pub in_sync: BTreeSet<NodeId>,
    pub breaker_open: bool,
    /// Nodes that do not run.
    pub away: BTreeSet<NodeId>,
    /// File servers that run and are not in sync.
    pub behind: BTreeSet<NodeId>,
    /// What such a copy still misses, where that is known.
    pub missing_bytes: Option<u64>,
    /// Nanoseconds that each maintenance has left.
    pub maintenance: Vec<(NodeId, u64)>,
    pub live_bytes: Option<u64>,
    /// Bytes per second, and over how long they were measured, milliseconds.
    pub change_rate: Option<(u64, u64)>,
    /// What the simulation does not take over.
    pub left_out: Vec<String>,
}

/// Asks the cluster that `path` (an admin.toml) is for.
///
/// # Errors
/// The file cannot be used, or no node answers.
pub fn ask(path: &Path) -> Result<ClusterStatus, CliError> {
    let client = AdminClient::new(&AdminConfig::load(path)?)?;
    Ok(crate::cli::runtime()?.block_on(client.status())?)
}

/// A status that was kept: `mainstay status -o json`.
///
/// # Errors
/// It cannot be read, or is none; with line and column.
pub fn saved(path: &Path) -> Result<ClusterStatus, CliError> {
    let failed = |error: String| CliError::Failed(format!("{}: {error}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| failed(format!("not what `mainstay status -o json` prints: {error}")))
}

fn names(status: &ClusterStatus) -> Result<Names, CliError> {
    let of =
        |kind: &str| -> Vec<&str> { status.nodes.iter().filter(|node| node.kind == kind).map(|node| node.name.as_str()).collect() };
    match (of("file-server").as_slice(), of("witness").as_slice()) {
        ([a, b], [w]) => Ok(Names::new(a, b, w)),
        (servers, witnesses) => Err(CliError::Failed(format!(
            "cluster {} has {} file servers and {} witnesses; two and one can be rehearsed",
            status.cluster,
            servers.len(),
            witnesses.len()
        ))),
    }
}

/// The volume of that name, or the one for which most depends on `about`.
fn choose<'a>(status: &'a ClusterStatus, wanted: Option<&str>, about: Option<&str>) -> Result<&'a VolumeStatus, CliError> {
    let known = || status.volumes.iter().map(|volume| volume.name.as_str()).collect::<Vec<_>>().join(", ");
    let weight = |volume: &&VolumeStatus| {
        let reigns = about.is_some() && volume.primary.as_deref() == about;
        (volume.state != "serving", reigns, about.is_some_and(|node| volume.in_sync.iter().any(|member| member == node)))
    };
    let found = match wanted {
        Some(name) => status.volumes.iter().find(|volume| volume.name == name),
        // The first of those that weigh most.
        None => status.volumes.iter().rev().max_by_key(weight),
    };
    let cluster = &status.cluster;
    found.ok_or_else(|| match (wanted, status.volumes.is_empty()) {
        (_, true) => CliError::Failed(format!("cluster {cluster} has no volume yet: there is nothing to rehearse")),
        (name, _) => CliError::Usage(format!("--volume {}: the volumes of {cluster} are {}", name.unwrap_or_default(), known())),
    })
}

impl Fork {
    /// `now`: Unix time in seconds. `about`: the node of the step, to choose the volume by when there are several.
    ///
    /// # Errors
    /// A cluster of a shape that the simulator does not have, no volume, or not the one that is asked for.
    pub fn of(status: &ClusterStatus, volume: Option<&str>, about: Option<&str>, now: i64) -> Result<Fork, CliError> {
        let names = names(status)?;
        let volume = choose(status, volume, about)?;
        let known = |name: &String| names.find(name);
        let in_sync: BTreeSet<NodeId> = volume.in_sync.iter().filter_map(known).collect();
        let up = |name: &str| status.nodes.iter().any(|node| node.name == name && node.state == "up");
        let away: BTreeSet<NodeId> = NODES.into_iter().filter(|node| !up(names.of(*node))).collect();
        let behind: BTreeSet<NodeId> = [A, B].into_iter().filter(|node| !in_sync.contains(node) && !away.contains(node)).collect();
        let reigns = volume.primary.as_ref().and_then(known);
        let primary = reigns.unwrap_or_else(|| newest(volume, &names, &in_sync));
        let storage = replica(volume, names.of(primary)).and_then(|replica| replica.storage);
        let lagging = volume.replicas.iter().find(|replica| names.find(&replica.node).is_some_and(|node| behind.contains(&node)));
        let begun = |ends_at: i64| u64::try_from(ends_at - now).unwrap_or(0).max(1) * SECOND;
        let active = status.maintenance.iter().filter(|one| one.state == "active");
        Ok(Fork {
            cluster: status.cluster.clone(),
            state_version: status.version,
            answered_by: status.answered_by.clone(),
            volume: volume.name.clone(),
            other_volumes: status.volumes.iter().map(|other| other.name.clone()).filter(|name| *name != volume.name).collect(),
            rules: rules(status, volume),
            primary,
            has_primary: reigns.is_some() && !away.contains(&primary),
            breaker_open: volume.breaker_open,
            missing_bytes: lagging.and_then(|replica| missing(replica, storage.map(|storage| storage.live_bytes))),
            maintenance: active.filter_map(|one| Some((known(&one.node)?, begun(one.ends_at)))).collect(),
            live_bytes: storage.map(|storage| storage.live_bytes),
            change_rate: storage
                .filter(|storage| storage.running_ms >= MEASURED_MS_MIN)
                .map(|storage| (per_second(storage.appended_bytes, storage.running_ms), storage.running_ms)),
            left_out: left_out(status, volume),
            in_sync,
            away,
            behind,
            names,
        })
    }

    /// Whether it holds a copy.
    pub fn replica(&self, node: NodeId) -> bool {
        [A, B].contains(&node)
    }

    pub fn maintained(&self, node: NodeId) -> bool {
        self.maintenance.iter().any(|(maintained, _)| *maintained == node)
    }

    /// What of it a drill of the library is told.
    pub fn note(&self) -> String {
        let flags: Vec<String> = self.rules.flags().into_iter().map(|(flag, value)| format!("{flag} {value}")).collect();
        let size = match self.live_bytes {
            Some(bytes) if bytes >= SIZED_BYTES_MIN => format!("volume {} of {}", self.volume, output::bytes(bytes)),
            Some(bytes) => format!("volume {} holds {}, too little to need sizes", self.volume, output::bytes(bytes)),
            None => format!("how large volume {} is, is not known", self.volume),
        };
        format!("as cluster {} is: {}; {size}", self.cluster, flags.join(" "))
    }

    /// For scenarios of the library: how the cluster is set and how large it is, not the state that it is in.
    pub fn given(&self) -> Given {
        let large = self.live_bytes.filter(|bytes| *bytes >= SIZED_BYTES_MIN);
        Given {
            name: Some(self.cluster.clone()),
            sizing: Sizing { volume_bytes: large, ..Sizing::default() },
            rules: self.rules,
            change_rate: large.and(self.change_rate).map(|(rate, _)| rate),
        }
    }
}

fn per_second(bytes: u64, ms: u64) -> u64 {
    (bytes as u128 * 1_000 / ms.max(1) as u128) as u64
}

fn replica<'a>(volume: &'a VolumeStatus, node: &str) -> Option<&'a ReplicaStatus> {
    volume.replicas.iter().find(|replica| replica.node == node)
}

/// Without a primary: a member of the in-sync set with the newest copy.
fn newest(volume: &VolumeStatus, names: &Names, in_sync: &BTreeSet<NodeId>) -> NodeId {
    let position = |node: &NodeId| replica(volume, names.of(*node)).map_or(0, |replica| replica.position);
    [B, A].into_iter().max_by_key(|node| (in_sync.contains(node), position(node))).unwrap_or(A)
}

fn rules(status: &ClusterStatus, volume: &VolumeStatus) -> Rules {
    let settings = status.settings.as_ref();
    Rules {
        lease_ms: settings.map(|settings| settings.lease_ms),
        approval_ms: settings.map(|settings| settings.approval_ms),
        contact_lost_ms: settings.map(|settings| settings.contact_lost_ms),
        resync_bytes_per_second: settings.map(|settings| settings.resync_bytes_per_second),
        without_primary: match volume.without_primary.as_str() {
            "serve-reads" => Some(WithoutPrimary::ServeReads),
            "close" => Some(WithoutPrimary::Close),
            _ => None,
        },
    }
}

/// From the log what lags; from a resync by change what its inodes so far let expect. Never more than there is.
fn missing(replica: &ReplicaStatus, live_bytes: Option<u64>) -> Option<u64> {
    let by_change = |resync: ResyncProgress| {
        let left = resync.inodes_total.saturating_sub(resync.inode) as u128;
        (resync.inode > 0).then(|| (resync.bytes_done as u128 * left / resync.inode as u128) as u64)
    };
    let found = match replica.resync {
        Some(resync) => by_change(resync),
        None => replica.lag_bytes,
    };
    found.map(|bytes| bytes.min(live_bytes.unwrap_or(u64::MAX)))
}

fn left_out(status: &ClusterStatus, volume: &VolumeStatus) -> Vec<String> {
    let mut list = Vec::new();
    let open = status.proposals.iter().filter(|proposal| proposal.volume == volume.name);
    list.extend(open.map(|proposal| format!("proposal {} ({}), which is {}", proposal.id, proposal.candidate, proposal.state)));
    // The simulated cluster's first node leads; who does decides what a cut link between two of three nodes does.
    let leads = |node: &&NodeStatus| node.coordination.as_deref() == Some("leader");
    let first = status.nodes.first().map(|node| &node.name);
    if let Some(leader) = status.nodes.iter().find(leads).filter(|leader| Some(&leader.name) != first) {
        let first = first.map_or("a", String::as_str);
        list.push(format!("that {} leads the consensus group: in the simulation {first} does", leader.name));
    }
    for replica in &volume.replicas {
        if let Some(failure) = &replica.failure {
            list.push(format!("the copy on {} has failed: {failure}", replica.node));
        }
        if replica.state == "empty" {
            list.push(format!("that the copy on {} is empty", replica.node));
        }
        if replica.waits_for_space {
            list.push(format!("the disk of {} is full", replica.node));
        }
    }
    list
}
