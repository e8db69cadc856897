//! Three node processes of this same binary on loopback addresses, and everything that is needed to have them: directory,
//! authority, tokens, volume. Used by `mainstay demo` and its plays.

use crate::launch::{LaunchError, Launcher, NodeProcess, NodeSpec, Place, admin_path};
use mainstay_cluster::{Access, ExportClient, ExportSettings, Squash};
use mainstay_node::admin::api::{ClusterStatus, NewVolume, ProposalDetails, VolumeStatus};
use mainstay_node::admin::client::{AdminClient, AdminConfig, ClientError};
use mainstay_node::directory::Kind;
use mainstay_protocol::VolumeId;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub const VOLUME: &str = "files";
pub const SERVICE: &str = "127.0.0.10:12049";
const NODES: [(&str, &str, Kind); 3] =
    [("a", "127.0.0.11", Kind::FileServer), ("b", "127.0.0.12", Kind::FileServer), ("w", "127.0.0.13", Kind::Witness)];
const ADMIN_PORT: u16 = 7400;
const PEER_PORT: u16 = 7401;
/// In a directory of the demo, and in no other.
const MARK: &str = "mainstay-demo";
/// For one step of building the cluster up.
const STEP_TIME_MAX: Duration = Duration::from_secs(60);
const STOP_TIME_MAX: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);
/// Small segments: the demo lives in a temporary directory.
const SEGMENT_MIB: u64 = 16;

#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("{address} is in use: is another demo running?")]
    InUse { address: SocketAddr },
    #[error("cannot listen on {address}: {source}")]
    Address { address: SocketAddr, source: std::io::Error },
    #[error("{0} holds something else; give --dir an empty directory, or one that a demo made")]
    NotOurs(PathBuf),
    #[error("{path}: {source}")]
    Path { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Launch(#[from] LaunchError),
    #[error("{what} did not happen within {} s: {last}", STEP_TIME_MAX.as_secs())]
    Late { what: String, last: String },
    #[error("{0}")]
    Setup(String),
}

fn setup(error: impl std::fmt::Display) -> DemoError {
    DemoError::Setup(error.to_string())
}

/// The running cluster. Dropping it ends the processes at once; [`Cluster::stop`] is the graceful way.
pub struct Cluster {
    pub dir: PathBuf,
    pub admin: AdminClient,
    temporary: bool,
    launcher: Launcher,
    nodes: Vec<NodeProcess>,
    died: Vec<(String, Instant)>,
}

impl Cluster {
    /// In `dir`, from where it goes on if a demo was there before, or in a temporary directory.
    pub async fn start(dir: Option<PathBuf>, say: impl Fn(&str)) -> Result<Cluster, DemoError> {
        Cluster::start_with(Launcher::this_program(SEGMENT_MIB).map_err(setup)?, dir, say).await
    }

    /// The same, with another program: tests are not `mainstay` themselves.
    pub async fn start_with(launcher: Launcher, dir: Option<PathBuf>, say: impl Fn(&str)) -> Result<Cluster, DemoError> {
        check_addresses()?;
        let temporary = dir.is_none();
        let dir = dir.unwrap_or_else(|| std::env::temp_dir().join(format!("mainstay-demo-{}", std::process::id())));
        if !is_new(&dir)? {
            return Cluster::resume(launcher, &dir, &say).await;
        }
        let made = Cluster::create(launcher, &dir, temporary, &say).await;
        if made.is_err() && temporary {
            let _ = std::fs::remove_dir_all(&dir);
        }
        made
    }

    async fn create(launcher: Launcher, dir: &Path, temporary: bool, say: &impl Fn(&str)) -> Result<Cluster, DemoError> {
        let path = |source| DemoError::Path { path: dir.into(), source };
        std::fs::create_dir_all(dir).map_err(path)?;
        let dir = dir.canonicalize().map_err(path)?;
        std::fs::write(dir.join(MARK), "made by `mainstay demo`; it can be started again from here\n").map_err(path)?;
        say("founding the cluster on a; b and w join");
        let (nodes, admin) = launcher.found(&dir, "demo", &specs()).await?;
        let admin = AdminClient::new(&admin).map_err(setup)?;
        let mut cluster = Cluster { dir, admin, temporary, launcher, nodes, died: Vec::new() };
        say("making volume files on a and b");
        cluster.make_volume().await?;
        cluster
            .until("the volume serves", |status| volume(status).is_some_and(|v| v.state == "serving" && v.in_sync.len() == 2))
            .await?;
        Ok(cluster)
    }

    async fn make_volume(&self) -> Result<(), DemoError> {
        let (host, port) = SERVICE.rsplit_once(':').expect("ADDRESS:PORT");
        let anybody_here = ExportClient { network: "127.0.0.0/8".into(), access: Access::ReadWrite, squash: Squash::None };
        let export = ExportSettings {
            service_address: host.into(),
            port: port.parse().expect("a port"),
            clients: vec![anybody_here],
            ..ExportSettings::default()
        };
        let new = NewVolume {
            name: VOLUME.into(),
            replicas: vec!["a".into(), "b".into()],
            primary: "a".into(),
            export,
            serve_reads: true,
            policy: mainstay_cluster::Policy::Manual,
        };
        let since = Instant::now();
        loop {
            match self.admin.create_volume(&new).await {
                Ok(_) => return Ok(()),
                Err(error) if since.elapsed() > STEP_TIME_MAX => return Err(setup(error)),
                Err(_) => tokio::time::sleep(POLL).await,
            }
        }
    }

    async fn resume(launcher: Launcher, dir: &Path, say: &impl Fn(&str)) -> Result<Cluster, DemoError> {
        let dir = dir.canonicalize().map_err(|source| DemoError::Path { path: dir.into(), source })?;
        say("starting the nodes from where they stopped");
        let admin = AdminClient::new(&AdminConfig::load(&admin_path(&dir)).map_err(setup)?).map_err(setup)?;
        let mut cluster = Cluster { dir, admin, temporary: false, launcher, nodes: Vec::new(), died: Vec::new() };
        for (name, _, _) in &NODES {
            cluster.spawn(name)?;
        }
        cluster.until("a majority of the nodes is up", |status| status.quorum).await?;
        // Nobody is primary after a stop (R3). Starting the demo again is the person's word that one may be.
        let proposal = cluster.proposal(STEP_TIME_MAX).await?;
        say(&format!(
            "no primary after the stop: approving proposal {} ({} for {VOLUME}) on your behalf",
            proposal.id, proposal.candidate
        ));
        cluster.admin.approve(proposal.id, &proposal.evidence_hash).await.map_err(setup)?;
        cluster.until("the volume serves", |status| volume(status).is_some_and(|v| v.state == "serving")).await?;
        Ok(cluster)
    }

    // ---- processes ---------------------------------------------------------------------------------------------------

    pub fn spawn(&mut self, name: &str) -> Result<(), DemoError> {
        self.died.retain(|(dead, _)| dead != name);
        self.nodes.push(self.launcher.spawn(&self.dir, name)?);
        Ok(())
    }

    fn take(&mut self, name: &str) -> Option<NodeProcess> {
        let index = self.nodes.iter().position(|node| node.name == name)?;
        Some(self.nodes.swap_remove(index))
    }

    pub fn pid(&self, name: &str) -> Option<u32> {
        self.nodes.iter().find(|node| node.name == name).map(NodeProcess::id)
    }

    /// SIGKILL: no goodbye of any kind.
    pub fn kill(&mut self, name: &str) {
        if let Some(node) = self.take(name) {
            node.kill();
        }
    }

    /// SIGTERM, and time to hand over.
    pub async fn terminate(&mut self, name: &str) {
        if let Some(node) = self.take(name) {
            let _ = tokio::task::spawn_blocking(move || node.stop(STOP_TIME_MAX)).await;
        }
    }

    /// A node that died is somebody else's from now on.
    pub fn forget(&mut self, name: &str) {
        self.died.retain(|(dead, _)| dead != name);
    }

    /// The directory stays, also a temporary one.
    pub fn keep(&mut self) {
        self.temporary = false;
    }

    /// Nodes whose process has ended by itself, with how long ago.
    pub fn dead(&mut self) -> Vec<(String, Duration)> {
        let ended = |node: &mut NodeProcess| node.ended().map(|_| node.name.clone());
        let names: Vec<String> = self.nodes.iter_mut().filter_map(ended).collect();
        for name in names {
            drop(self.take(&name));
            self.died.push((name, Instant::now()));
        }
        self.died.iter().map(|(name, at)| (name.clone(), at.elapsed())).collect()
    }

    /// The primary first, while the others can still decide that it stepped down.
    pub async fn stop(&mut self) {
        let primary = self.admin.status().await.ok().and_then(|status| volume(&status)?.primary.clone());
        let mut names: Vec<String> = NODES.iter().map(|(name, _, _)| name.to_string()).collect();
        names.sort_by_key(|name| (Some(name) != primary.as_ref(), name == "w"));
        for name in names {
            self.terminate(&name).await;
        }
    }

    /// Where a node keeps its copy of the volume.
    pub fn copy(&self, node: &str, volume: VolumeId) -> PathBuf {
        Place::of(&self.dir, node).data.join("volumes").join(volume.to_string())
    }

    // ---- looking on ----------------------------------------------------------------------------------------------------

    /// Polls the status until `holds`; what was seen last goes into the error.
    pub async fn until(&mut self, what: &str, holds: impl Fn(&ClusterStatus) -> bool) -> Result<ClusterStatus, DemoError> {
        let since = Instant::now();
        let mut last = String::from("no answer yet");
        while since.elapsed() < STEP_TIME_MAX {
            match self.admin.status().await {
                Ok(status) if holds(&status) => return Ok(status),
                Ok(status) => last = serde_json::to_string(&status).unwrap_or_default(),
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(POLL).await;
        }
        Err(DemoError::Late { what: what.into(), last })
    }

    /// The pending proposal, when there is one within `limit`.
    pub async fn proposal(&self, limit: Duration) -> Result<ProposalDetails, DemoError> {
        let since = Instant::now();
        let mut last = String::from("none");
        while since.elapsed() < limit {
            match self.admin.proposals().await {
                Ok(proposals) => {
                    if let Some(pending) = proposals.into_iter().find(|proposal| proposal.state == "pending") {
                        return Ok(pending);
                    }
                }
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(POLL).await;
        }
        Err(DemoError::Late { what: "a proposal".into(), last })
    }

    pub async fn status(&self) -> Result<ClusterStatus, ClientError> {
        self.admin.status().await
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Killed when dropped; the directory can only go after them.
        self.nodes.clear();
        if self.temporary {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

pub fn volume(status: &ClusterStatus) -> Option<&VolumeStatus> {
    status.volumes.iter().find(|volume| volume.name == VOLUME)
}

fn specs() -> Vec<NodeSpec> {
    let address = |host: &str, port| format!("{host}:{port}").parse().expect("an address");
    let spec = |(name, host, kind): &(&str, &str, Kind)| NodeSpec {
        name: name.to_string(),
        kind: *kind,
        peer_address: address(host, PEER_PORT),
        admin_address: address(host, ADMIN_PORT),
    };
    NODES.iter().map(spec).collect()
}

/// Every address that the demo will use must be free, before anything is made.
fn check_addresses() -> Result<(), DemoError> {
    let nodes = specs().into_iter().flat_map(|spec| [spec.admin_address, spec.peer_address]);
    for address in nodes.chain([SERVICE.parse().expect("an address")]) {
        match TcpListener::bind(address) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => return Err(DemoError::InUse { address }),
            Err(source) => return Err(DemoError::Address { address, source }),
        }
    }
    Ok(())
}

fn is_new(dir: &Path) -> Result<bool, DemoError> {
    if dir.join(MARK).is_file() && admin_path(dir).is_file() {
        return Ok(false);
    }
    match std::fs::read_dir(dir).map(Iterator::count) {
        Ok(0) => Ok(true),
        Ok(_) => Err(DemoError::NotOurs(dir.into())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(source) => Err(DemoError::Path { path: dir.into(), source }),
    }
}
