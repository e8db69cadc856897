//! A majority is gone for good. Two people go on with the one node that is left, and make the cluster whole again.

use mainstay::demo::cluster::{Cluster, SERVICE, volume};
use mainstay::launch::{Launcher, NodeProcess, NodeSpec, Place, admin_path};
use mainstay::nfs_client::{Client, Options};
use mainstay_node::config::NodeConfig;
use mainstay_node::directory::Kind;
use mainstay_node::founding;
use mainstay_node::pki::{AUTHORITY_KEY, Role};
use mainstay_protocol::Stability;
use mainstay_protocol::file::CreateHow;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mainstay");
const PATIENCE: Duration = Duration::from_secs(60);

fn launcher() -> Launcher {
    Launcher { program: PROGRAM.into(), segment_mib: 2 }
}

/// Exit code and everything that was said.
fn run(args: &[&str], config: &Path) -> (i32, String) {
    let output = Command::new(PROGRAM).args(args).arg("--config").arg(config).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text)
}

/// Credentials, made where the authority's key is.
fn person(cluster: &Cluster, name: &str, role: Role) -> PathBuf {
    let config = NodeConfig::load(&Place::of(&cluster.dir, "a").config).unwrap();
    let path = cluster.dir.join(format!("{name}.toml"));
    let endpoints = cluster.admin.endpoints().to_vec();
    founding::issue(&config, name, &[Role::Viewer, role], endpoints).unwrap().save(&path).unwrap();
    path
}

fn write(name: &str, text: &'static [u8]) {
    let mut client = Client::connect(SERVICE.parse().unwrap(), "/files", Options::default()).unwrap();
    let root = client.root();
    let file = client.create(&root, name, CreateHow::Unchecked(Default::default())).unwrap();
    client.write(&file, 0, text.into(), Stability::FileSync).unwrap();
}

fn read(name: &str) -> Vec<u8> {
    let mut client = Client::connect(SERVICE.parse().unwrap(), "/files", Options::default()).unwrap();
    let root = client.root();
    let file = client.lookup(&root, name).unwrap();
    client.read(&file, 0, 4096).unwrap().data.to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_is_left_and_two_people_go_on_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let place = Some(dir.path().join("cluster"));
    let mut cluster = Cluster::start_with(launcher(), place, |_| {}).await.unwrap();
    write("before", b"acknowledged by both");
    let [ann, bob] = ["ann", "bob"].map(|name| person(&cluster, name, Role::Approver));
    let carl = person(&cluster, "carl", Role::Operator);
    let b = Place::of(&cluster.dir, "b");
    refused_while_there_is_no_need(&mut cluster, [&ann, &bob, &carl], &b).await;

    let [ann_path, bob_path] = [&ann, &bob].map(|path| path.to_str().unwrap().to_owned());
    let force = |reason: &'static str| {
        let people = ["--approver", &ann_path, "--approver", &bob_path];
        let (code, text) = run(&[&["force-quorum", "--lost", "a,w", "--reason", reason][..], &people].concat(), &b.config);
        (code, text)
    };
    assert!(force("").1.contains("the reason"), "a reason is needed");
    let (code, text) = force("the room burnt");
    assert!(code == 0 && text.contains("b goes on alone, by the word of ann and bob"), "{text}");
    assert!(b.data.join("coordination/coordination.redb").exists(), "what was is kept");
    // Done again: nobody else is there to be lost.
    let (code, text) = run(&["force-quorum"], &b.config);
    assert!(code == 0 && text.contains("epoch e1048577, primary none"), "{text}");

    cluster.spawn("b").unwrap();
    promoted(&mut cluster, &bob).await;
    assert_eq!(read("before"), b"acknowledged by both");
    write("alone", b"by the one that is left");
    let _others = made_whole(&mut cluster, &b).await;
    a_lost_node_comes_back(&mut cluster).await;
}

/// With its daemon running, with a node that answers, with the wrong people or names.
async fn refused_while_there_is_no_need(cluster: &mut Cluster, people: [&PathBuf; 3], b: &Place) {
    let [ann, bob, carl] = people.map(|path| path.to_str().unwrap());
    let both = ["--approver", ann, "--approver", bob];
    let force =
        |lost: &str, more: &[&str]| run(&[&["force-quorum", "--lost", lost, "--reason", "fire"][..], more].concat(), &b.config);
    assert!(force("a,w", &both).1.contains("in use by another mainstay process"), "its daemon runs");
    cluster.kill("b");
    let (code, text) = force("a,w", &both);
    assert!(code != 0 && text.contains("a (n1) answers"), "{text}");
    cluster.kill("w");
    cluster.kill("a");
    let (code, looked) = run(&["force-quorum"], &b.config);
    assert!(code == 0 && looked.contains("volume      files: epoch e1, primary a, in sync a, b; b is in sync"), "{looked}");
    assert!(looked.contains("no keys/authority.key") && looked.contains("--lost a,w"), "{looked}");
    for (people, why) in [
        (vec!["--approver", ann], "two people"),
        (vec!["--approver", ann, "--approver", ann], "ann named it alone"),
        (vec!["--approver", ann, "--approver", carl], "carl is no approver"),
    ] {
        let (code, text) = force("a,w", &people);
        assert!(code != 0 && text.contains(why), "{why}: {text}");
    }
    assert!(force("a", &both).1.contains("--lost a,w"), "w was left out");
    assert!(force("a,w", &[&both[..], &["--without", "files"]].concat()).1.contains("R5"), "b has a copy of files");
    let (_, again) = run(&["force-quorum"], &b.config);
    assert_eq!(looked, again, "what was refused changed nothing");
}

/// As after any failover; the evidence says what it is worth.
async fn promoted(cluster: &mut Cluster, bob: &Path) {
    let proposal = cluster.proposal(PATIENCE).await.unwrap();
    let (_, shown) = run(&["proposals", "show", &proposal.id.to_string()], &admin_path(&cluster.dir));
    assert!(shown.contains("ann and bob said that a, w never come back (the room burnt)"), "{shown}");
    let (code, text) = run(&["approve", &proposal.id.to_string(), "--evidence", &proposal.evidence_hash], bob);
    assert_eq!(code, 0, "{text}");
    cluster.until("b serves", |status| volume(status).is_some_and(|volume| volume.state == "serving")).await.unwrap();
}

/// The authority's key comes from a backup; a file server and a witness join, and everything is in sync.
async fn made_whole(cluster: &mut Cluster, b: &Place) -> [NodeProcess; 2] {
    cluster.kill("b");
    std::fs::copy(Place::of(&cluster.dir, "a").data.join("keys").join(AUTHORITY_KEY), b.data.join("keys").join(AUTHORITY_KEY))
        .unwrap();
    cluster.spawn("b").unwrap();
    let proposal = cluster.proposal(PATIENCE).await.unwrap();
    cluster.admin.approve(proposal.id, &proposal.evidence_hash).await.unwrap();
    cluster.until("b serves again", |status| volume(status).is_some_and(|volume| volume.state == "serving")).await.unwrap();
    let free = |ip: &str| std::net::TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap();
    let spec = |name: &str, kind, ip: &str| NodeSpec { name: name.into(), kind, peer_address: free(ip), admin_address: free(ip) };
    let d = launcher().join(&cluster.dir, &cluster.admin, &spec("d", Kind::FileServer, "127.0.75.11")).await.unwrap();
    let v = launcher().join(&cluster.dir, &cluster.admin, &spec("v", Kind::Witness, "127.0.75.12")).await.unwrap();
    let (code, text) = run(&["volume", "add-replica", "files", "d", "--reason", "two copies again"], &admin_path(&cluster.dir));
    assert_eq!(code, 0, "{text}");
    let both =
        |status: &mainstay_node::admin::api::ClusterStatus| volume(status).is_some_and(|volume| volume.in_sync == ["b", "d"]);
    cluster.until("d is in sync", both).await.unwrap();
    let (code, text) = run(&["verify", "files"], &admin_path(&cluster.dir));
    assert_eq!(code, 0, "{text}");
    assert_eq!(read("alone"), b"by the one that is left");
    let (code, text) = run(&["events", "verify"], &admin_path(&cluster.dir));
    assert_eq!(code, 0, "{text}");
    [d, v]
}

/// It learns that it was given up, says so and ends; its directory is as it was.
async fn a_lost_node_comes_back(cluster: &mut Cluster) {
    cluster.spawn("a").unwrap();
    let since = std::time::Instant::now();
    while !cluster.dead().iter().any(|(name, _)| name == "a") {
        assert!(since.elapsed() < PATIENCE, "a lost node runs on");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let log = std::fs::read_to_string(Place::of(&cluster.dir, "a").log).unwrap();
    assert!(log.contains("says that this node is no member of cluster demo any more"), "{log}");
}
