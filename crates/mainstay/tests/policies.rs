//! Policies on real processes: what takes two people, a failover that no person sees, a hold that no approval passes, two copies or none.

use mainstay::launch::{Launcher, NodeProcess, NodeSpec, Place, admin_path, wait_answer};
use mainstay::nfs_client::{Client, Options};
use mainstay_cluster::{Access, ExportClient, ExportSettings, Policy, Squash};
use mainstay_node::admin::api::{ClusterStatus, NewVolume, VolumeStatus};
use mainstay_node::admin::client::AdminClient;
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

const PATIENCE: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(50);
const PROGRAM: &str = env!("CARGO_BIN_EXE_mainstay");
/// Kills that are measured; `MAINSTAY_KILLS` says another number.
const KILLS: usize = 2;

fn free(ip: &str) -> SocketAddr {
    TcpListener::bind((ip, 0)).and_then(|listener| listener.local_addr()).expect("loopback has a free port")
}

fn launcher() -> Launcher {
    Launcher { program: PROGRAM.into(), segment_mib: 2 }
}

/// Three nodes, and two people: `admin` with every role, and bob, who may approve.
struct Cluster {
    dir: tempfile::TempDir,
    nodes: Vec<NodeProcess>,
    client: AdminClient,
    bob: PathBuf,
    service: SocketAddr,
}

impl Cluster {
    async fn found() -> Cluster {
        let dir = tempfile::tempdir().unwrap();
        let spec =
            |name: &str, kind, ip: &str| NodeSpec { name: name.into(), kind, peer_address: free(ip), admin_address: free(ip) };
        let specs = [
            spec("a", Kind::FileServer, "127.0.72.11"),
            spec("b", Kind::FileServer, "127.0.72.12"),
            spec("w", Kind::Witness, "127.0.72.13"),
        ];
        let (nodes, config) = launcher().found(dir.path(), "shop", &specs).await.unwrap();
        let first = NodeConfig::load(&Place::of(dir.path(), "a").config).unwrap();
        let bob = dir.path().join("bob.toml");
        let credentials = founding::issue(&first, "bob", &[Role::Viewer, Role::Approver], config.endpoints.clone()).unwrap();
        credentials.save(&bob).unwrap();
        let client = AdminClient::new(&config).unwrap();
        let cluster = Cluster { dir, nodes, client, bob, service: free("127.0.72.10") };
        cluster.create().await;
        cluster
    }

    async fn create(&self) {
        let anybody = ExportClient { network: "127.0.0.0/8".into(), access: Access::ReadWrite, squash: Squash::None };
        let export = ExportSettings {
            service_address: self.service.ip().to_string(),
            port: self.service.port(),
            clients: vec![anybody],
            ..ExportSettings::default()
        };
        let (name, primary) = ("files".into(), "a".into());
        let new = NewVolume { name, replicas: vec![], primary, export, serve_reads: true, policy: Policy::Manual };
        self.client.create_volume(&new).await.unwrap();
        self.until("both replicas are in sync", |status| serves(status, "a", 2)).await;
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

    fn run_as(&self, config: &Path, args: &[&str]) -> Output {
        Command::new(PROGRAM).args(args).arg("--config").arg(config).output().unwrap()
    }

    /// As `admin`: exit code and everything that was said.
    fn run(&self, args: &[&str]) -> (i32, String) {
        said(&self.run_as(&admin_path(self.dir.path()), args))
    }

    fn bob(&self, args: &[&str]) -> (i32, String) {
        said(&self.run_as(&self.bob, args))
    }

    /// Bob approves the change that waits.
    async fn second_person(&self) {
        let waits = self.client.changes().await.unwrap().into_iter().find(|change| change.state == "pending").expect("it waits");
        let (code, text) = self.bob(&["approve", &format!("c{}", waits.id), "--evidence", &waits.digest[..12]]);
        assert_eq!(code, 0, "{text}");
    }

    fn nfs(&self) -> Client {
        Client::connect(self.service, "/files", Options::default()).unwrap()
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
}

fn said(output: &Output) -> (i32, String) {
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text)
}

fn files(status: &ClusterStatus) -> &VolumeStatus {
    &status.volumes[0]
}

fn serves(status: &ClusterStatus, primary: &str, in_sync: usize) -> bool {
    let volume = files(status);
    volume.state == "serving" && volume.primary.as_deref() == Some(primary) && volume.in_sync.len() == in_sync
}

fn write(client: &mut Client, name: &str) {
    let root = client.root();
    let file = client.create(&root, name, CreateHow::Unchecked(Default::default())).unwrap();
    client.write(&file, 0, name.to_string().into_bytes().into(), Stability::FileSync).unwrap();
}

fn read(client: &mut Client, name: &str) -> Vec<u8> {
    let root = client.root();
    let file = client.lookup(&root, name).unwrap();
    client.read(&file, 0, 4096).unwrap().data.to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_on_real_processes() {
    let mut cluster = Cluster::found().await;
    two_people(&cluster).await;
    guarded_failover(&mut cluster).await;
    two_copies(&mut cluster).await;
    revoked(&cluster).await;
    on_hold(&mut cluster).await;
}

/// What is laxer waits for another person, who approves what was shown.
async fn two_people(cluster: &Cluster) {
    let (code, text) = cluster.run(&["volume", "set", "files", "--policy", "guarded", "--reason", "nobody is on call at night"]);
    assert_eq!(code, 4, "{text}");
    assert!(text.contains("mainstay approve c1 --evidence"), "{text}");
    assert_eq!(files(&cluster.client.status().await.unwrap()).policy, "manual", "asking changes nothing");
    let (code, status) = cluster.run(&["status"]);
    assert!(code == 0 && status.contains("change c1 (files: policy manual → guarded)"), "{status}");
    let digest = cluster.client.changes().await.unwrap()[0].digest.clone();
    let (code, text) = cluster.run(&["approve", "c1", "--evidence", &digest]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("R7") && text.contains("mainstay credentials"), "{text}");
    let (code, text) = cluster.bob(&["approve", "c1", "--evidence", "0123456789abcdef"]);
    assert!(code == 3 && text.contains("R14"), "{text}");
    cluster.second_person().await;
    assert_eq!(files(&cluster.client.status().await.unwrap()).policy, "guarded");
    // Stricter needs nobody else; and to ask for what is so already changes nothing.
    let (code, text) = cluster.run(&["volume", "set", "files", "--role-changes-window", "60", "--reason", "to be careful"]);
    assert_eq!(code, 0, "{text}");
    let (code, text) = cluster.run(&["volume", "set", "files", "--reason", "nothing at all"]);
    assert_eq!(code, 64, "{text}");
    let (code, text) =
        cluster.run(&["volume", "set", "files", "--role-changes-max", "31", "--reason", "we kill it many times today"]);
    assert_eq!(code, 4, "{text}");
    cluster.second_person().await;
    let (_, text) = cluster.run(&["volume", "show", "files"]);
    assert!(text.contains("policy           guarded") && text.contains("more than 31 within 60 min"), "{text}");
}

/// A third person loses a laptop: what is on it opens nothing any more, not even to look.
async fn revoked(cluster: &Cluster) {
    let config = NodeConfig::load(&Place::of(cluster.dir.path(), "a").config).unwrap();
    let carl = cluster.dir.path().join("carl.toml");
    let roles = [Role::Viewer, Role::Approver, Role::Admin];
    founding::issue(&config, "carl", &roles, cluster.client.endpoints().to_vec()).unwrap().save(&carl).unwrap();
    assert_eq!(said(&cluster.run_as(&carl, &["status"])).0, 0);
    let (code, text) = cluster.run(&["revoke", "carl", "--reason", "his laptop was stolen"]);
    assert_eq!(code, 0, "{text}");
    for asked in [&["status"][..], &["hold", "on", "--reason", "mischief"], &["revoke", "bob", "--reason", "mischief"]] {
        let (code, text) = said(&cluster.run_as(&carl, asked));
        assert!(code != 0 && text.contains("carl was revoked by") && text.contains("his laptop was stolen"), "{asked:?}: {text}");
    }
    let (_, text) = cluster.run(&["events"]);
    assert!(text.contains("revoked carl: his laptop was stolen"), "{text}");
}

/// SIGKILL, and writes go on without a person.
async fn guarded_failover(cluster: &mut Cluster) {
    let kills = std::env::var("MAINSTAY_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    let mut client = cluster.nfs();
    let mut took = Vec::new();
    for round in 0..kills {
        let (primary, other) = if round % 2 == 0 { ("a", "b") } else { ("b", "a") };
        write(&mut client, &format!("before-{round}"));
        let begun = Instant::now();
        cluster.kill(primary);
        write(&mut client, &format!("after-{round}"));
        took.push(begun.elapsed());
        let status = cluster.until("the other one serves", |status| serves(status, other, 1)).await;
        assert!(status.proposals.is_empty(), "nothing waits for a person: {:?}", status.proposals);
        assert_eq!(read(&mut client, &format!("before-{round}")), format!("before-{round}").into_bytes());
        cluster.start(primary).await;
        cluster.until("it is back as a secondary", |status| serves(status, other, 2)).await;
    }
    for round in 0..kills {
        assert_eq!(read(&mut client, &format!("after-{round}")), format!("after-{round}").into_bytes());
    }
    let (_, events) = cluster.run(&["events"]);
    assert!(events.contains("the cluster approved #1 by policy guarded, set by admin as c1, approved by bob"), "{events}");
    took.sort();
    println!("kill to first write, {kills} times: median {:?}, longest {:?}", took[kills / 2], took[kills - 1]);
    // Back to where a person decides, and to a as the primary, whatever the number of kills was.
    let (code, text) = cluster.run(&["volume", "set", "files", "--policy", "manual", "--reason", "somebody is on call"]);
    assert_eq!(code, 0, "{text}");
}

/// `alone read-only`: with one copy in sync, changes wait, reads go on, and nothing is lost.
async fn two_copies(cluster: &mut Cluster) {
    let (code, text) = cluster.run(&["volume", "set", "files", "--alone", "read-only", "--reason", "two copies or nothing"]);
    assert_eq!(code, 0, "{text}");
    let status = cluster.client.status().await.unwrap();
    let primary = files(&status).primary.clone().expect("somebody serves");
    let other = if primary == "a" { "b" } else { "a" };
    let mut client = cluster.nfs();
    write(&mut client, "with-two");
    cluster.kill(other);
    let status = cluster.until("it is alone", |status| files(status).waits_for_second_copy).await;
    assert!(serves(&status, &primary, 1));
    assert_eq!(read(&mut client, "with-two"), b"with-two");
    let mut writer = cluster.nfs();
    let (done, answered) = std::sync::mpsc::channel();
    let waiting = std::thread::spawn(move || {
        write(&mut writer, "when-two-again");
        let _ = done.send(());
    });
    let (_, text) = cluster.run(&["status"]);
    assert!(text.contains("wants two copies and has one in sync"), "{text}");
    assert!(answered.try_recv().is_err(), "a change was acknowledged with one copy");
    cluster.start(other).await;
    tokio::task::spawn_blocking(move || waiting.join().unwrap()).await.unwrap();
    let status = cluster.until("both are in sync", |status| files(status).in_sync.len() == 2).await;
    assert!(!files(&status).waits_for_second_copy);
    assert_eq!(read(&mut client, "when-two-again"), b"when-two-again");
    let (code, text) = cluster.run(&["volume", "set", "files", "--alone", "serve", "--reason", "one copy will do"]);
    assert_eq!(code, 0, "{text}");
}

/// Nothing is promoted, not even what is approved, until another person agrees to lift it.
async fn on_hold(cluster: &mut Cluster) {
    let primary = files(&cluster.client.status().await.unwrap()).primary.clone().expect("somebody serves");
    let other = if primary == "a" { "b" } else { "a" };
    cluster.kill(&primary);
    let status =
        cluster.until("it is proposed", |status| status.proposals.iter().any(|proposal| proposal.state == "pending")).await;
    let (id, hash) = (status.proposals[0].id.to_string(), status.proposals[0].evidence_hash.clone());
    let (code, text) = cluster.run(&["hold", "on", "--reason", "the provider works on the network"]);
    assert_eq!(code, 0, "{text}");
    let (code, text) = cluster.run(&["approve", &id, "--evidence", &hash]);
    assert!(code == 3 && text.contains("void"), "{text}");
    let (code, text) = cluster.run(&["propose", "files", "--candidate", other]);
    assert!(code == 3 && text.contains("on hold"), "{text}");
    let (_, text) = cluster.run(&["status"]);
    assert!(text.contains("ON HOLD (admin: the provider works on the network)"), "{text}");
    let (code, text) = cluster.run(&["hold", "off", "--reason", "they are done"]);
    assert_eq!(code, 4, "{text}");
    cluster.second_person().await;
    let waits = |status: &ClusterStatus| status.proposals.iter().any(|proposal| proposal.state == "pending");
    let status = cluster.until("it is proposed again", waits).await;
    // A person's no: nodes do not repeat it, a person may.
    let proposal = &status.proposals[0];
    let (code, text) = cluster.bob(&["deny", &format!("p{}", proposal.id), "--reason", "not yet"]);
    assert_eq!(code, 0, "{text}");
    let (code, text) = cluster.run(&["propose", "files", "--candidate", other]);
    assert_eq!(code, 4, "{text}");
    let status = cluster.until("it is there", waits).await;
    let proposal = &status.proposals[0];
    assert_eq!(proposal.candidate, other);
    let (code, text) = cluster.bob(&["approve", &format!("p{}", proposal.id), "--evidence", &proposal.evidence_hash]);
    assert_eq!(code, 0, "{text}");
    cluster.until("the other one serves", |status| serves(status, other, 1)).await;
}
