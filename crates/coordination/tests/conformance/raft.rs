//! Embedded Raft as a cluster of the suite: several nodes in this process, files in temporary directories, and a network that
//! can be cut. And what is special to it.

use crate::cluster::{Cluster, Told, init, note, notes};
use bytes::Bytes;
use mainstay_cluster::{ClusterState, Command};
use mainstay_coordination::{Config, ProposeError, Raft, Role, Storage, Transport, TransportError, TransportFuture};
use mainstay_protocol::{ClusterId, NodeId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

const CLUSTER: ClusterId = ClusterId([7; 16]);
/// A test that takes longer has failed; generous, since the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(240);
/// How long a proposer waits.
const LIMIT: Duration = Duration::from_secs(5);
/// Small, so that the suite sees snapshots.
const SNAPSHOT_EVERY: u64 = 20;

/// Which nodes run, and who is cut off. A request over a cut link vanishes; one to a node that is down is refused.
#[derive(Default)]
struct Net {
    running: Mutex<BTreeMap<NodeId, Raft>>,
    isolated: Mutex<BTreeSet<NodeId>>,
    /// Directions that carry nothing.
    cut: Mutex<BTreeSet<(NodeId, NodeId)>>,
    /// Requests carried, for tests that count.
    carried: Mutex<u64>,
}

impl Net {
    fn open(&self, from: NodeId, to: NodeId) -> bool {
        let isolated = self.isolated.lock().unwrap();
        !isolated.contains(&from) && !isolated.contains(&to) && !self.cut.lock().unwrap().contains(&(from, to))
    }
}

/// One node's end of the network.
struct End {
    node: NodeId,
    net: Arc<Net>,
}

impl Transport for End {
    fn call(&self, to: NodeId, request: Bytes) -> TransportFuture<'_> {
        Box::pin(async move {
            let down = || TransportError::NotSent(format!("{to} is down"));
            if !self.net.running.lock().unwrap().contains_key(&self.node) {
                return Err(down());
            }
            if !self.net.open(self.node, to) {
                std::future::pending::<()>().await;
            }
            let target = self.net.running.lock().unwrap().get(&to).cloned().ok_or_else(down)?;
            *self.net.carried.lock().unwrap() += 1;
            let reply = target.handle(&request).await;
            if !self.net.open(to, self.node) {
                std::future::pending::<()>().await;
            }
            Ok(reply)
        })
    }
}

pub struct RaftCluster {
    runtime: Runtime,
    net: Arc<Net>,
    directories: BTreeMap<NodeId, TempDir>,
    /// What a node that is down showed last.
    last_views: BTreeMap<NodeId, Arc<ClusterState>>,
    asked: BTreeMap<u64, JoinHandle<Told>>,
    began: Instant,
}

impl RaftCluster {
    pub fn new(nodes: u16) -> RaftCluster {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let mut cluster = RaftCluster {
            runtime,
            net: Arc::default(),
            directories: BTreeMap::new(),
            last_views: BTreeMap::new(),
            asked: BTreeMap::new(),
            began: Instant::now(),
        };
        cluster.boot(NodeId(1));
        cluster.runtime.block_on(cluster.node(NodeId(1)).initialize()).unwrap();
        (2..=nodes).map(NodeId).for_each(|node| cluster.add(node));
        cluster
    }

    /// Starts a node's process on its directory.
    fn boot(&mut self, node: NodeId) {
        let directory = self.directories.entry(node).or_insert_with(|| TempDir::new().unwrap());
        let mut config = Config::new(node, CLUSTER, Storage::Directory(directory.path().to_owned()));
        config.snapshot_every = SNAPSHOT_EVERY;
        let transport = Arc::new(End { node, net: self.net.clone() });
        let raft = self.runtime.block_on(Raft::start(config, transport)).unwrap();
        self.net.running.lock().unwrap().insert(node, raft);
    }

    fn node(&self, node: NodeId) -> Raft {
        self.net.running.lock().unwrap()[&node].clone()
    }

    fn until_led(&mut self) -> NodeId {
        self.until("a leader with a majority", |cluster| cluster.leader().is_some());
        self.leader().expect("just seen")
    }

    fn term(&self, node: NodeId) -> u64 {
        self.node(node).health().term
    }

    /// Somebody who is neither of these.
    fn other(&self, than: &[NodeId]) -> NodeId {
        self.nodes().into_iter().find(|node| !than.contains(node)).expect("enough nodes")
    }
}

impl Cluster for RaftCluster {
    fn nodes(&self) -> Vec<NodeId> {
        self.directories.keys().copied().collect()
    }
    fn leader(&self) -> Option<NodeId> {
        let running = self.net.running.lock().unwrap();
        let leads = |raft: &Raft| Some(raft.health()).is_some_and(|health| health.role == Role::Leader && health.quorum);
        running.iter().find(|(_, raft)| leads(raft)).map(|(node, _)| *node)
    }
    fn view(&self, node: NodeId) -> Arc<ClusterState> {
        let running = self.net.running.lock().unwrap();
        running.get(&node).map_or_else(|| self.last_views[&node].clone(), Raft::state)
    }
    fn begin(&mut self, from: NodeId, command: Command) -> u64 {
        let ticket = self.asked.len() as u64;
        let running = self.net.running.lock().unwrap().get(&from).cloned();
        let proposal = async move {
            let Some(raft) = running else { return Told::Unavailable };
            match raft.propose(command, LIMIT).await {
                Ok(version) => Told::Accepted(version),
                Err(ProposeError::Refused(refusal)) => Told::Refused(refusal),
                Err(ProposeError::Unavailable(_)) => Told::Unavailable,
                Err(ProposeError::Unknown(_)) => Told::Unknown,
            }
        };
        self.asked.insert(ticket, self.runtime.spawn(proposal));
        ticket
    }
    fn answer(&mut self, ticket: u64) -> Option<Told> {
        let asked = self.asked.get_mut(&ticket).filter(|asked| asked.is_finished())?;
        // A task can be awaited once; afterwards a finished empty one takes its place.
        let finished = std::mem::replace(asked, self.runtime.spawn(std::future::pending()));
        Some(self.runtime.block_on(finished).unwrap())
    }
    fn isolate(&mut self, node: NodeId) {
        self.net.isolated.lock().unwrap().insert(node);
    }
    fn cut(&mut self, from: NodeId, to: NodeId) {
        self.net.cut.lock().unwrap().insert((from, to));
    }
    fn heal(&mut self) {
        self.net.isolated.lock().unwrap().clear();
        self.net.cut.lock().unwrap().clear();
    }
    fn crash(&mut self, node: NodeId) {
        let Some(raft) = self.net.running.lock().unwrap().remove(&node) else { return };
        self.last_views.insert(node, raft.state());
        self.runtime.block_on(raft.stop());
    }
    fn start(&mut self, node: NodeId) {
        self.boot(node);
    }
    /// Whatever became of its process.
    fn remove(&mut self, node: NodeId) {
        let by = self.other(&[node]);
        let running = |cluster: &RaftCluster| cluster.net.running.lock().unwrap().keys().copied().find(|other| *other != node);
        self.until("its removal", |cluster| {
            let by = running(cluster).unwrap_or(by);
            let raft = cluster.node(by);
            cluster.runtime.block_on(raft.remove(node, LIMIT)).is_ok()
        });
        self.crash(node);
        self.directories.remove(&node);
        self.last_views.remove(&node);
    }
    fn add(&mut self, node: NodeId) {
        self.boot(node);
        let by = self.node(NodeId(1));
        self.until("a further voter", |cluster| cluster.runtime.block_on(by.add_voter(node, LIMIT)).is_ok());
    }
    fn run(&mut self) {
        std::thread::sleep(Duration::from_millis(5));
    }
    fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
    fn late(&self) -> bool {
        self.began.elapsed() > PATIENCE
    }
}

impl Drop for RaftCluster {
    fn drop(&mut self) {
        let running = std::mem::take(&mut *self.net.running.lock().unwrap());
        running.values().for_each(|raft| self.runtime.block_on(raft.stop()));
    }
}

/// The story: one node's network fails for a while and comes back. Without PreVote the node returns with a raised term and
/// every node has to elect again. The lease of a volume's primary does not hang on Raft, but the changes of its in-sync set do,
/// so even that pause is better not had.
///
/// On a machine that is very busy a leader may change for want of heartbeats, so the story is told up to three times; without
/// PreVote it never ends well.
#[test]
fn a_follower_that_was_cut_off_and_returns_changes_neither_leader_nor_term() {
    let mut cluster = RaftCluster::new(3);
    cluster.decide(NodeId(1), init());
    assert!((0..3).any(|_| returns_unnoticed(&mut cluster)), "its return disturbed the others each time");
}

fn returns_unnoticed(cluster: &mut RaftCluster) -> bool {
    let leader = cluster.until_led();
    let term = cluster.term(leader);
    let lost = cluster.other(&[leader]);
    cluster.isolate(lost);
    cluster.until("that the lost node notices", |cluster| !cluster.node(lost).health().quorum);
    // Long enough for several elections of the lost node.
    let left = Instant::now();
    cluster.until("several election timeouts", |_| left.elapsed() > Duration::from_secs(4));
    cluster.decide(leader, note("meanwhile"));
    let while_away = cluster.term(lost);
    cluster.heal();
    cluster.until("that the lost node hears a leader", |cluster| cluster.node(lost).health().quorum);
    cluster.decide(lost, note("back again"));
    cluster.agree(3);
    let healths: Vec<_> = cluster.nodes().into_iter().map(|node| cluster.node(node).health()).collect();
    while_away == term && healths.iter().all(|health| (health.leader, health.term) == (Some(leader), term))
}

/// The story: the witness's disk was set back to yesterday's, and the leader, which was the volume's primary too, ended with a
/// failed assertion about a log that goes backwards. The other two remember everything; the one that forgot is filled up.
#[test]
fn a_follower_whose_disk_was_set_back_is_filled_up_and_nobody_else_falls() {
    let mut cluster = RaftCluster::new(3);
    cluster.decide(NodeId(1), init());
    let leader = cluster.until_led();
    let forgetful = cluster.other(&[leader]);
    cluster.agree(1);
    cluster.crash(forgetful);
    let files = |directory: &TempDir| -> Vec<(std::path::PathBuf, Vec<u8>)> {
        let entries = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.is_file()).map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
    };
    let yesterday = files(&cluster.directories[&forgetful]);
    assert!(!yesterday.is_empty());
    cluster.start(forgetful);
    (0..20).for_each(|number| cluster.decide(leader, note(&format!("forgotten {number}"))));
    cluster.agree(21);
    cluster.crash(forgetful);
    yesterday.iter().for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
    cluster.start(forgetful);
    cluster.decide(leader, note("remembered"));
    cluster.agree(22);
    assert!(cluster.node(leader).health().quorum);
    let noticed = |cluster: &RaftCluster| {
        let raft = cluster.node(leader);
        cluster.runtime.block_on(async { tokio::time::timeout(Duration::from_millis(100), raft.set_back()).await.ok() })
    };
    assert_eq!(noticed(&cluster), Some(forgetful), "the leader sees who lacks what it had confirmed");
    // Whoever merely restarts lacks nothing.
    cluster.crash(forgetful);
    cluster.start(forgetful);
    cluster.decide(leader, note("as before"));
    cluster.agree(23);
    assert_eq!(noticed(&cluster), None);
}

#[test]
fn a_leader_that_was_cut_off_is_replaced_and_follows_when_it_returns() {
    let mut cluster = RaftCluster::new(3);
    cluster.decide(NodeId(1), init());
    let old = cluster.until_led();
    let term = cluster.term(old);
    cluster.isolate(old);
    let cut = Instant::now();
    let other = cluster.other(&[old]);
    cluster.decide(other, note("under a new leader"));
    println!("a decision {} ms after the leader was cut off", cut.elapsed().as_millis());
    cluster.until("that the old leader notices", |cluster| !cluster.node(old).health().quorum);
    cluster.heal();
    let healed = Instant::now();
    cluster.agree(2);
    println!("the old leader knows it {} ms after it returned", healed.elapsed().as_millis());
    cluster.until("one leader", |cluster| {
        let leaders: BTreeSet<_> = cluster.nodes().into_iter().map(|node| cluster.node(node).health().leader).collect();
        leaders.len() == 1 && !leaders.contains(&Some(old)) && !leaders.contains(&None)
    });
    let risen = cluster.term(old) - term;
    assert!(risen <= 8, "one election needs few terms, here {risen}");
}

#[test]
fn a_leader_that_stops_in_order_hands_over_at_once() {
    let mut cluster = RaftCluster::new(3);
    cluster.decide(NodeId(1), init());
    let leader = cluster.until_led();
    cluster.agree(1);
    let began = Instant::now();
    let raft = cluster.node(leader);
    cluster.runtime.block_on(raft.shutdown());
    cluster.net.running.lock().unwrap().remove(&leader);
    cluster.last_views.insert(leader, raft.state());
    let next = cluster.until_led();
    println!("{next} leads {} ms after {leader} was asked to stop", began.elapsed().as_millis());
    assert_ne!(next, leader);
    assert_eq!(raft.health().role, Role::Stopped);
    assert!(matches!(
        cluster.runtime.block_on(raft.propose(note("too late"), LIMIT)),
        Err(ProposeError::Unavailable(_) | ProposeError::Unknown(_))
    ));
}

#[test]
fn a_linearizable_read_sees_what_was_decided_before_it_and_fails_without_a_majority() {
    let mut cluster = RaftCluster::new(3);
    cluster.decide(NodeId(1), init());
    for nth in 0..9 {
        let (writer, reader) = (NodeId(1 + nth % 3), NodeId(1 + (nth + 1) % 3));
        let text = format!("{nth}");
        cluster.decide(writer, note(&text));
        let raft = cluster.node(reader);
        let mut state = None;
        cluster.until("a read", |cluster| {
            state = cluster.runtime.block_on(raft.read(LIMIT)).ok();
            state.is_some()
        });
        assert!(notes(&state.expect("just read")).contains(&text), "{reader} read an old state");
    }
    cluster.isolate(NodeId(3));
    let alone = cluster.node(NodeId(3));
    let read = cluster.runtime.block_on(alone.read(Duration::from_secs(2)));
    assert!(read.is_err(), "a node alone cannot know: {read:?}");
}

#[test]
fn snapshots_replace_the_log_and_bring_a_late_node_up() {
    let mut cluster = RaftCluster::new(3);
    cluster.decide(NodeId(1), init());
    cluster.agree(1);
    cluster.crash(NodeId(3));
    let before = cluster.view(NodeId(3)).version;
    for nth in 0..SNAPSHOT_EVERY * 4 {
        cluster.decide(NodeId(1), note(&format!("{nth}")));
    }
    // What the late node needs next is in nobody's log any more.
    for node in [NodeId(1), NodeId(2)] {
        cluster.until("the log is short", |cluster| cluster.node(node).health().first_log > before + 10);
    }
    cluster.start(NodeId(3));
    cluster.agree(SNAPSHOT_EVERY * 4 + 1);
    // And its own file holds what it was sent.
    let version = cluster.view(NodeId(3)).version;
    cluster.crash(NodeId(3));
    cluster.isolate(NodeId(3));
    cluster.start(NodeId(3));
    assert!(cluster.view(NodeId(3)).version >= version);
}

#[test]
fn members_come_and_go() {
    let mut cluster = RaftCluster::new(3);
    cluster.decide(NodeId(1), init());
    let by = cluster.node(NodeId(2));
    cluster.boot(NodeId(4));
    cluster.until("a learner", |cluster| cluster.runtime.block_on(by.add_learner(NodeId(4), LIMIT)).is_ok());
    cluster.agree(1);
    cluster.until("that everybody knows", |cluster| {
        cluster.nodes().iter().all(|node| cluster.node(*node).health().learners.contains(&NodeId(4)))
    });
    assert_eq!(cluster.node(NodeId(4)).health().role, Role::Learner);
    // Twice is as good as once.
    for _ in 0..2 {
        cluster.until("its vote", |cluster| cluster.runtime.block_on(by.add_voter(NodeId(4), LIMIT)).is_ok());
    }
    for _ in 0..2 {
        cluster.until("its removal", |cluster| cluster.runtime.block_on(by.remove(NodeId(1), LIMIT)).is_ok());
    }
    let voters = BTreeSet::from([NodeId(2), NodeId(3), NodeId(4)]);
    cluster.until("the new members", |cluster| [2, 3, 4].iter().all(|node| cluster.node(NodeId(*node)).health().voters == voters));
    cluster.decide(NodeId(4), note("without the first"));
}

#[test]
fn a_single_node_decides_alone_and_again_after_a_restart() {
    let mut cluster = RaftCluster::new(1);
    cluster.decide(NodeId(1), init());
    cluster.until("its own majority", |cluster| cluster.node(NodeId(1)).health().quorum);
    cluster.crash(NodeId(1));
    cluster.start(NodeId(1));
    assert_eq!(cluster.view(NodeId(1)).version, 1);
    cluster.decide(NodeId(1), note("again"));
}
