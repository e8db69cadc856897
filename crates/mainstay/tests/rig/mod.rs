//! Three processes of this build on loopback addresses of their own: two file servers, a witness, volume `files`. What the tests of
//! real processes share; none of them uses all of it.
#![allow(dead_code)]

use mainstay::launch::{Launcher, NodeProcess, NodeSpec, Place, admin_path, wait_answer};
use mainstay::nfs_client::{Client, Options};
use mainstay_cluster::{Access, ExportClient, ExportSettings, Policy, Squash};
use mainstay_node::admin::api::{ClusterStatus, NewVolume, VolumeStatus};
use mainstay_node::admin::client::{AdminClient, AdminConfig, ClientError};
use mainstay_node::config::NodeConfig;
use mainstay_node::directory::Kind;
use mainstay_node::founding;
use mainstay_node::pki::Role;
use mainstay_protocol::Stability;
use mainstay_protocol::file::CreateHow;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

pub const PATIENCE: Duration = Duration::from_secs(90);
pub const PAUSE: Duration = Duration::from_millis(50);
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_mainstay");

pub struct Cluster {
    pub dir: tempfile::TempDir,
    pub nodes: Vec<NodeProcess>,
    pub config: AdminConfig,
    pub client: AdminClient,
    pub service: SocketAddr,
}

impl Cluster {
    /// `net`: the first three numbers of addresses that no other test uses.
    pub async fn found(net: &str) -> Cluster {
        let dir = tempfile::tempdir().unwrap();
        let specs = [
            spec("a", Kind::FileServer, &format!("{net}.11")),
            spec("b", Kind::FileServer, &format!("{net}.12")),
            spec("w", Kind::Witness, &format!("{net}.13")),
        ];
        let (nodes, config) = launcher().found(dir.path(), "shop", &specs).await.unwrap();
        let client = AdminClient::new(&config).unwrap();
        Cluster { dir, nodes, config, client, service: free(&format!("{net}.10")) }
    }

    /// The same with volume `files` on a and b, in sync.
    pub async fn with_volume(net: &str) -> Cluster {
        let cluster = Cluster::found(net).await;
        cluster.create("files").await.unwrap();
        cluster.until("both replicas are in sync", |status| all_in_sync(status, "a")).await;
        cluster
    }

    pub async fn create(&self, name: &str) -> Result<(), ClientError> {
        let anybody = ExportClient { network: "127.0.0.0/8".into(), access: Access::ReadWrite, squash: Squash::None };
        let (service_address, port) = (self.service.ip().to_string(), self.service.port());
        let export = ExportSettings { service_address, port, clients: vec![anybody], ..ExportSettings::default() };
        let (name, primary, policy) = (name.into(), "a".into(), Policy::Manual);
        self.client.create_volume(&NewVolume { name, replicas: vec![], primary, export, serve_reads: true, policy }).await.map(drop)
    }

    pub async fn until(&self, what: &str, holds: impl Fn(&ClusterStatus) -> bool) -> ClusterStatus {
        let begun = Instant::now();
        loop {
            let status = self.client.status().await;
            if let Ok(status) = &status
                && holds(status)
            {
                return status.clone();
            }
            assert!(begun.elapsed() < PATIENCE, "{what}: not in time; last seen {status:#?}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    pub fn run_as(&self, config: &Path, args: &[&str]) -> Output {
        Command::new(PROGRAM).args(args).arg("--config").arg(config).output().unwrap()
    }

    /// As `admin`.
    pub fn output(&self, args: &[&str]) -> Output {
        self.run_as(&admin_path(self.dir.path()), args)
    }

    /// As `admin`: exit code and everything that was said.
    pub fn run(&self, args: &[&str]) -> (i32, String) {
        said(&self.output(args))
    }

    /// Credentials of one more person, made where the authority's key is.
    pub fn person(&self, name: &str, roles: &[Role]) -> PathBuf {
        let first = NodeConfig::load(&Place::of(self.dir.path(), "a").config).unwrap();
        let path = self.dir.path().join(format!("{name}.toml"));
        founding::issue(&first, name, roles, self.config.endpoints.clone()).unwrap().save(&path).unwrap();
        path
    }

    pub fn nfs(&self) -> Client {
        Client::connect(self.service, "/files", Options::default()).unwrap()
    }

    pub fn take(&mut self, name: &str) -> NodeProcess {
        let at = self.nodes.iter().position(|node| node.name == name).expect("it runs");
        self.nodes.remove(at)
    }

    pub fn kill(&mut self, name: &str) {
        self.take(name).kill();
    }

    /// The process starts, and is not waited for: without a quorum there is nothing to wait for.
    pub fn spawn(&mut self, name: &str) {
        self.nodes.push(launcher().spawn(self.dir.path(), name).unwrap());
    }

    /// Until it answers and sees a quorum.
    pub async fn start(&mut self, name: &str) {
        let mut node = launcher().spawn(self.dir.path(), name).unwrap();
        wait_answer(&self.client, &mut node).await.unwrap();
        self.nodes.push(node);
    }
}

/// A port that was free a moment ago, on an address of its own so that two tests do not meet.
pub fn free(ip: &str) -> SocketAddr {
    TcpListener::bind((ip, 0)).and_then(|listener| listener.local_addr()).expect("loopback has a free port")
}

pub fn spec(name: &str, kind: Kind, ip: &str) -> NodeSpec {
    NodeSpec { name: name.into(), kind, peer_address: free(ip), admin_address: free(ip) }
}

pub fn launcher() -> Launcher {
    Launcher { program: PROGRAM.into(), segment_mib: 2 }
}

pub fn said(output: &Output) -> (i32, String) {
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text)
}

pub fn files(status: &ClusterStatus) -> &VolumeStatus {
    &status.volumes[0]
}

pub fn serves(status: &ClusterStatus, primary: &str, in_sync: usize) -> bool {
    let volume = files(status);
    volume.state == "serving" && volume.primary.as_deref() == Some(primary) && volume.in_sync.len() == in_sync
}

/// Two copies are, in the boots that run.
pub fn all_in_sync(status: &ClusterStatus, primary: &str) -> bool {
    let calm = |state: &str| matches!(state, "primary" | "in-sync");
    serves(status, primary, 2) && files(status).replicas.iter().all(|replica| calm(&replica.state))
}

pub fn write(client: &mut Client, name: &str, text: &[u8]) {
    let root = client.root();
    let file = client.create(&root, name, CreateHow::Unchecked(Default::default())).unwrap();
    client.write(&file, 0, text.to_vec().into(), Stability::FileSync).unwrap();
}

pub fn read(client: &mut Client, name: &str) -> Vec<u8> {
    let root = client.root();
    let file = client.lookup(&root, name).unwrap();
    client.read(&file, 0, 4096).unwrap().data.to_vec()
}
