//! Members and replicas on real processes: a replica moves from b to d by a file that says so, a dead node is replaced, and what
//! clients wrote is there byte for byte, read from the copies that were not there when it was written.

mod rig;

use mainstay::launch::admin_path;
use mainstay_node::admin::api::ClusterStatus;
use mainstay_node::directory::Kind;
use mainstay_protocol::Stability;
use mainstay_protocol::file::CreateHow;
use rig::{PATIENCE, PAUSE, PROGRAM, launcher, spec};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Files of each round, and bytes of each.
const FILES: u64 = 24;
const FILE_BYTES: usize = 48 << 10;

struct Cluster {
    rig: rig::Cluster,
    /// What clients wrote, by name.
    written: BTreeMap<String, Vec<u8>>,
}

impl Deref for Cluster {
    type Target = rig::Cluster;
    fn deref(&self) -> &rig::Cluster {
        &self.rig
    }
}

impl DerefMut for Cluster {
    fn deref_mut(&mut self) -> &mut rig::Cluster {
        &mut self.rig
    }
}

impl Cluster {
    async fn found() -> Cluster {
        Cluster { rig: rig::Cluster::with_volume("127.0.77").await, written: BTreeMap::new() }
    }

    async fn join(&mut self, name: &str, kind: Kind, ip: &str) {
        let node = launcher().join(self.dir.path(), &self.client, &spec(name, kind, ip)).await.unwrap();
        self.nodes.push(node);
    }

    fn refused(&self, args: &[&str], by: &str) {
        let (code, text) = self.run(args);
        assert!(code == 3 && text.contains(&format!("refused by {by}")), "{args:?}: {code} {text}");
    }

    fn write_files(&mut self, round: u64) {
        let mut client = self.nfs();
        let root = client.root();
        for number in 0..FILES {
            let name = format!("round-{round}-{number}");
            let content = content(round * FILES + number);
            let file = client.create(&root, &name, CreateHow::Unchecked(Default::default())).unwrap();
            client.write(&file, 0, content.clone().into(), Stability::FileSync).unwrap();
            self.written.insert(name, content);
        }
    }

    fn read_files(&self) {
        let mut client = self.nfs();
        let root = client.root();
        for (name, content) in &self.written {
            let file = client.lookup(&root, name).unwrap();
            let read = client.read(&file, 0, FILE_BYTES as u32).unwrap().data;
            assert!(read == content.as_slice(), "{name} is not what was written");
        }
    }

    /// The digests of all replicas are equal.
    fn verify(&self) {
        let (code, text) = self.run(&["verify", "files"]);
        assert_eq!(code, 0, "{text}");
    }
}

/// The same for a number, different for each.
fn content(number: u64) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..FILE_BYTES).map(|_| next()).collect()
}

fn in_sync(status: &ClusterStatus, nodes: &[&str]) -> bool {
    let volume = &status.volumes[0];
    let held: Vec<&str> = volume.replicas.iter().map(|replica| replica.node.as_str()).collect();
    volume.state == "serving" && volume.in_sync == nodes && held == nodes
}

fn copies_aside(dir: &Path, node: &str) -> usize {
    std::fs::read_dir(dir.join(node).join("data/removed")).map_or(0, |list| list.count())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_on_real_processes() {
    let mut cluster = Cluster::found().await;
    cluster.write_files(0);
    a_replica_moves_as_the_file_says(&mut cluster).await;
    a_dead_node_is_replaced(&mut cluster).await;
    a_lost_witness_is_made_anew(&mut cluster).await;
    the_new_copies_serve(&mut cluster).await;
}

async fn a_replica_moves_as_the_file_says(cluster: &mut Cluster) {
    let file = cluster.dir.path().join("cluster.toml");
    let (code, text) = cluster.run(&["plan", "--export"]);
    assert_eq!(code, 0, "{text}");
    std::fs::write(&file, &text).unwrap();
    let path = file.to_str().unwrap().to_string();
    let (code, same) = cluster.run(&["plan", &path]);
    assert_eq!((code, same.contains("as the file says")), (0, true), "{same}");

    let moved = text.replace("[\"a\", \"b\"]", "[\"a\", \"d\"]") + "\n[nodes.d]\n";
    std::fs::write(&file, moved).unwrap();
    // d is not there yet: a person has to see to that.
    let (code, text) = cluster.run(&["apply", &path, "--yes"]);
    assert!(code == 4 && text.contains("mainstay join TOKEN --name d"), "{code} {text}");
    cluster.join("d", Kind::FileServer, "127.0.77.14").await;

    let (code, text) = cluster.run(&["plan", &path]);
    let order = ["add a replica of files on d", "wait until d is in sync for files", "remove the replica of files on b"];
    let at: Vec<Option<usize>> = order.iter().map(|step| text.find(step)).collect();
    assert!(code == 2 && at.is_sorted() && at[0].is_some(), "{code} {text}");
    let (code, text) = cluster.run(&["apply", &path, "--yes", "--reason", "b is old"]);
    assert_eq!(code, 0, "{text}");
    cluster.until("a and d hold it", |status| in_sync(status, &["a", "d"])).await;
    let (code, text) = cluster.run(&["apply", &path, "--yes"]);
    assert_eq!(code, 0, "{text}");

    let begun = Instant::now();
    while copies_aside(cluster.dir.path(), "b") == 0 {
        assert!(begun.elapsed() < PATIENCE, "b keeps its copy where it was");
        tokio::time::sleep(PAUSE).await;
    }
    assert!(!cluster.dir.path().join("b/data/volumes/v1").exists(), "it is moved, not copied");
    cluster.refused(&["volume", "remove-replica", "files", "d", "--reason", "x"], "R4");
    cluster.refused(&["volume", "remove-replica", "files", "a", "--reason", "x"], "R4");
    cluster.refused(&["volume", "add-replica", "files", "b"], "R9");
    cluster.refused(&["volume", "add-replica", "files", "w"], "R12");
    cluster.refused(&["node", "remove", "d", "--reason", "x"], "R4");
    cluster.write_files(1);
    cluster.read_files();
    cluster.verify();
}

async fn a_dead_node_is_replaced(cluster: &mut Cluster) {
    cluster.kill("d");
    cluster.until("the primary goes on alone", |status| status.volumes[0].in_sync == ["a"]).await;
    cluster.write_files(2);
    let (code, text) = cluster.run(&["node", "replace", "d", "--with", "e", "--reason", "its board is dead"]);
    assert!(code == 1 && text.contains("e has not joined"), "{code} {text}");
    cluster.join("e", Kind::FileServer, "127.0.77.15").await;
    let (code, text) = cluster.run(&["node", "replace", "d", "--with", "e", "--reason", "its board is dead"]);
    assert_eq!(code, 0, "{text}");
    cluster.until("a and e hold it", |status| in_sync(status, &["a", "e"])).await;
    cluster.until("d is nobody", |status| status.nodes.iter().all(|node| node.name != "d")).await;

    // The machine comes back from the dead: nobody knows it, and it says so and ends.
    let mut back = launcher().spawn(cluster.dir.path(), "d").unwrap();
    let begun = Instant::now();
    let ended = loop {
        if let Some(status) = back.ended() {
            break status;
        }
        assert!(begun.elapsed() < PATIENCE, "a removed node goes on");
        tokio::time::sleep(PAUSE).await;
    };
    let log = std::fs::read_to_string(&back.place.log).unwrap();
    assert!(!ended.success() && log.contains("is no member of cluster shop any more"), "{ended} {log}");
}

async fn a_lost_witness_is_made_anew(cluster: &mut Cluster) {
    let reseed = ["witness", "reseed", "w", "--with", "v", "--reason", "its disk is dead"];
    let (code, text) = cluster.run(&reseed);
    assert!(code == 1 && text.contains("w answers"), "{code} {text}");
    cluster.kill("w");
    cluster.until("w is missed", |status| status.nodes.iter().any(|node| node.name == "w" && node.state != "up")).await;
    let mut command = Command::new(PROGRAM);
    command.args(reseed).arg("--config").arg(admin_path(cluster.dir.path())).stderr(Stdio::piped()).stdout(Stdio::piped());
    let mut waiting = command.spawn().unwrap();
    let mut lines = BufReader::new(waiting.stderr.take().unwrap()).lines().map(Result::unwrap);
    let told = lines.by_ref().find(|line| line.contains("mainstay join")).expect("it says what to type");
    assert!(told.contains("--name v --witness"), "{told}");
    cluster.join("v", Kind::Witness, "127.0.77.16").await;
    let rest: Vec<String> = lines.collect();
    assert!(waiting.wait().unwrap().success(), "{rest:?}");
    cluster.until("v votes in its place", |status| status.nodes.iter().all(|node| node.name != "w")).await;
    let (code, text) = cluster.run(&reseed);
    assert_eq!(code, 0, "it was done before: {text}");
}

async fn the_new_copies_serve(cluster: &mut Cluster) {
    let (code, text) = cluster.run(&["switchover", "files", "--to", "e", "--no-preflight"]);
    assert_eq!(code, 0, "{text}");
    cluster.read_files();
    cluster.write_files(3);
    cluster.verify();
    // b holds nothing any more and leaves; it runs, hears of it and ends.
    let (code, text) = cluster.run(&["node", "remove", "b", "--reason", "b is old"]);
    assert_eq!(code, 0, "{text}");
    let mut b = cluster.take("b");
    let begun = Instant::now();
    while b.ended().is_none() {
        assert!(begun.elapsed() < PATIENCE, "a removed node goes on");
        tokio::time::sleep(PAUSE).await;
    }
    let log = std::fs::read_to_string(&b.place.log).unwrap();
    assert!(log.contains("removed b (n2) from the cluster: b is old"), "{log}");
    // Of a, v and e two are a majority: it holds although one of them goes.
    cluster.kill("v");
    cluster.write_files(4);
    cluster.read_files();
}
