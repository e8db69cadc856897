//! Hooks on real processes: a fence that is tried out and then confirmed in a failover, and what runs when a volume begins to be served.

use mainstay::launch::{Launcher, NodeProcess, NodeSpec, Place, admin_path, wait_answer};
use mainstay_cluster::{ExportSettings, Policy};
use mainstay_node::admin::api::{ClusterStatus, NewVolume};
use mainstay_node::admin::client::AdminClient;
use mainstay_node::config::{FenceConfig, HooksConfig, NodeConfig, Seconds};
use mainstay_node::directory::Kind;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(50);
const PROGRAM: &str = env!("CARGO_BIN_EXE_mainstay");

fn free(ip: &str) -> SocketAddr {
    TcpListener::bind((ip, 0)).and_then(|listener| listener.local_addr()).expect("loopback has a free port")
}

fn shell(script: String) -> Vec<String> {
    vec!["/bin/sh".into(), "-c".into(), script]
}

struct Cluster {
    dir: tempfile::TempDir,
    nodes: Vec<NodeProcess>,
    client: AdminClient,
}

fn launcher() -> Launcher {
    Launcher { program: PROGRAM.into(), segment_mib: 2 }
}

impl Cluster {
    async fn found() -> Cluster {
        let dir = tempfile::tempdir().unwrap();
        let spec =
            |name: &str, kind, ip: &str| NodeSpec { name: name.into(), kind, peer_address: free(ip), admin_address: free(ip) };
        let specs = [
            spec("a", Kind::FileServer, "127.0.74.11"),
            spec("b", Kind::FileServer, "127.0.74.12"),
            spec("w", Kind::Witness, "127.0.74.13"),
        ];
        let (nodes, config) = launcher().found(dir.path(), "shop", &specs).await.unwrap();
        let cluster = Cluster { dir, nodes, client: AdminClient::new(&config).unwrap() };
        let service = free("127.0.74.10");
        let export =
            ExportSettings { service_address: service.ip().to_string(), port: service.port(), ..ExportSettings::default() };
        let (name, primary) = ("files".into(), "a".into());
        let new = NewVolume { name, replicas: vec![], primary, export, serve_reads: true, policy: Policy::Manual };
        cluster.client.create_volume(&new).await.unwrap();
        cluster.until("both replicas are in sync", |status| serves(status, "a", 2)).await;
        cluster
    }

    async fn until(&self, what: &str, holds: impl Fn(&ClusterStatus) -> bool) -> ClusterStatus {
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

    fn run(&self, args: &[&str]) -> (i32, String) {
        let output = Command::new(PROGRAM).args(args).arg("--config").arg(admin_path(self.dir.path())).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code().unwrap_or(-1), text)
    }

    fn kill(&mut self, name: &str) {
        let at = self.nodes.iter().position(|node| node.name == name).unwrap();
        self.nodes.remove(at).kill();
    }

    async fn start(&mut self, name: &str) {
        let mut node = launcher().spawn(self.dir.path(), name).unwrap();
        wait_answer(&self.client, &mut node).await.unwrap();
        self.nodes.push(node);
    }

    /// Until an event says so; the events.
    async fn told(&self, what: &str) -> String {
        let begun = Instant::now();
        loop {
            let (_, events) = self.run(&["events"]);
            if events.contains(what) {
                return events;
            }
            assert!(begun.elapsed() < PATIENCE, "no event says {what:?}: {events}");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn serves(status: &ClusterStatus, primary: &str, in_sync: usize) -> bool {
    let volume = &status.volumes[0];
    volume.state == "serving" && volume.primary.as_deref() == Some(primary) && volume.in_sync.len() == in_sync
}

/// All nodes answer in the boot that the cluster knows, and both copies are in sync in it.
fn whole(status: &ClusterStatus) -> bool {
    let up = status.nodes.iter().all(|node| node.state == "up");
    let current = status.volumes[0].replicas.iter().all(|replica| ["primary", "in-sync"].contains(&replica.state.as_str()));
    up && current && serves(status, "a", 2)
}

/// `b` can switch `a` off, as far as anybody can tell, and says when it begins to serve.
fn set_up_hooks(dir: &Path) {
    let place = Place::of(dir, "b").config;
    let mut config = NodeConfig::load(&place).unwrap();
    let off = dir.join("off");
    config.fence = vec![FenceConfig {
        node: "a".into(),
        command: shell(format!("echo $MAINSTAY_TARGET $MAINSTAY_EPOCH $MAINSTAY_PROPOSAL > {}", off.display())),
        verify: shell(format!("test -e {}", off.display())),
        timeout: Seconds(Duration::from_secs(20)),
    }];
    let told = shell(format!(
        "echo $MAINSTAY_HOOK $MAINSTAY_VOLUME $MAINSTAY_EPOCH $MAINSTAY_NODE >> {}; exit 7",
        dir.join("told").display()
    ));
    config.hooks = HooksConfig { on_promoted: told.clone(), on_demoted: told, ..HooksConfig::default() };
    config.save(&place).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_on_real_processes() {
    let mut cluster = Cluster::found().await;
    let dir = cluster.dir.path().to_owned();
    cluster.kill("b");
    set_up_hooks(&dir);
    cluster.start("b").await;
    cluster.until("b is back", whole).await;

    // Tried out: nothing is switched off, and the cluster would refuse.
    let (code, text) = cluster.run(&["fence", "a", "--dry-run"]);
    assert!(code == 3 && text.contains("through  b") && text.contains("does not say that it is off"), "{code}: {text}");
    assert!(text.contains("is the primary of files") && !dir.join("off").exists(), "{text}");
    let (code, text) = cluster.run(&["fence", "a", "--reason", "it hangs"]);
    assert!(code == 3 && text.contains("R7"), "{code}: {text}");
    let (code, text) = cluster.run(&["fence", "w", "--dry-run"]);
    assert!(code == 1 && text.contains("no [[fence]] for it"), "{code}: {text}");
    assert_eq!(cluster.run(&["fence", "a"]).0, 64);

    // A failover, with a person's approval, in which b has a switched off.
    cluster.kill("a");
    let waiting = |status: &ClusterStatus| status.proposals.iter().any(|proposal| proposal.candidate == "b");
    let status = cluster.until("b is proposed", waiting).await;
    let (id, hash) = (status.proposals[0].id.to_string(), status.proposals[0].evidence_hash.clone());
    let (code, text) = cluster.run(&["approve", &id, "--evidence", &hash]);
    assert_eq!(code, 0, "{text}");
    cluster.until("b serves", |status| serves(status, "b", 1)).await;
    cluster.told("external fence confirmed: a (boot").await;
    assert_eq!(fs::read_to_string(dir.join("off")).unwrap(), format!("a 1 {id}\n"));
    let (_, shown) = cluster.run(&["proposals", "show", &id]);
    assert!(shown.contains("external fence confirmed: it is off"), "{shown}");

    // What failed is on record, and the volume is served all the same.
    cluster.told("hook on_promoted of files failed on b in epoch e2: exit code 7").await;
    assert!(fs::read_to_string(dir.join("told")).unwrap().starts_with("on_promoted files 2 b\n"));
    cluster.until("b serves on", |status| serves(status, "b", 1)).await;
}
