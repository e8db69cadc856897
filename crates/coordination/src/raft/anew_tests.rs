//! One node of three is left, and becomes a group of its own.

use super::*;
use crate::raft::types::Decision;
use crate::raft::{Config, Raft, Role, StartError, Transport, TransportError, TransportFuture};
use mainstay_cluster::{Actor, Command, ForcedQuorum, NodeKind, Settings};
use mainstay_protocol::{Incarnation, Timestamp};
use std::sync::Arc;
use std::time::Duration;

const LOST: ClusterId = ClusterId([3; 16]);
const ANEW: ClusterId = ClusterId([4; 16]);
const NODE: NodeId = NodeId(1);
const LIMIT: Duration = Duration::from_secs(10);

/// Reaches nobody.
struct Nowhere;

impl Transport for Nowhere {
    fn call(&self, to: NodeId, _request: Bytes) -> TransportFuture<'_> {
        Box::pin(async move { Err(TransportError::NotSent(format!("no way to {to}"))) })
    }
}

async fn start(directory: &Path, group: ClusterId) -> Result<Raft, StartError> {
    Raft::start(Config::new(NODE, group, Storage::Directory(directory.to_owned())), Arc::new(Nowhere)).await
}

fn person(name: &str) -> Actor {
    Actor::Person(name.into())
}

fn init() -> Command {
    Command::Init {
        cluster: LOST,
        name: "shop".into(),
        settings: Settings::default(),
        node: "a".into(),
        kind: NodeKind::FileServer,
        peer_address: "127.0.0.1:1".into(),
        admin_address: "127.0.0.1:2".into(),
        actor: person("init"),
        at: Timestamp::default(),
    }
}

fn add(name: &str, port: u16) -> Command {
    let (peer_address, admin_address) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{}", port + 1));
    Command::AddNode {
        name: name.into(),
        kind: NodeKind::FileServer,
        peer_address,
        admin_address,
        actor: person("ann"),
        at: Timestamp::default(),
    }
}

/// An entry that another leader gave this node, of which it never heard that a majority had it.
fn append_unheard(directory: &Path, last: LogId, command: Command) {
    let id = LogId::new(last.leader_id, last.index + 1);
    let entry = Entry { log_id: id, payload: EntryPayload::Normal(Decision(command)) };
    write(directory.to_owned(), LOST, NODE, vec![Change::Put(id.index, encode(&entry).unwrap())]).unwrap();
}

#[tokio::test]
async fn one_of_a_lost_group_goes_on_alone_with_all_that_it_may_know() {
    let place = tempfile::tempdir().unwrap();
    let (old, new) = (place.path().join("old"), place.path().join("new"));
    let raft = start(&old, LOST).await.unwrap();
    raft.initialize().await.unwrap();
    raft.propose(init(), LIMIT).await.unwrap();
    raft.propose(add("b", 10), LIMIT).await.unwrap();
    // b takes its vote along, and nothing is decided without it.
    let booted = Command::Booted { node: NODE, incarnation: Incarnation(1), software: "0.1.0".into(), at: Timestamp::default() };
    raft.propose(booted, LIMIT).await.unwrap();
    raft.stop().await;
    let before = remains(&old, LOST, NODE).unwrap();
    append_unheard(&old, before.last, add("c", 20));
    let found = remains(&old, LOST, NODE).unwrap();
    assert_eq!((found.unconfirmed, found.reach().1), (before.unconfirmed + 1, before.reach().1 + 1));
    assert!(found.state.node_named("c").is_some(), "what may have been decided counts");

    let mut state = found.state.clone();
    let by = (person("ann"), person("bob"));
    let forced = ForcedQuorum { survivor: NODE, without: Default::default(), by, reason: "fire".into(), at: Timestamp::default() };
    state.force_quorum(&forced).unwrap();
    found_anew(&new, ANEW, NODE, &state, &found).unwrap();
    assert!(found_anew(&new, ANEW, NODE, &state, &found).is_err(), "never over something that is there");
    assert!(matches!(start(&new, LOST).await, Err(StartError::Open(OpenError::OtherCluster { .. }))));

    for round in 0..2 {
        let raft = start(&new, ANEW).await.unwrap();
        raft.initialize().await.unwrap();
        let note = Command::Note { volume: None, text: format!("round {round}"), actor: person("ann"), at: Timestamp::default() };
        let version = raft.propose(note, LIMIT).await.unwrap();
        assert_eq!(version, state.version + 1 + round);
        let health = raft.health();
        assert_eq!((health.role, health.voters), (Role::Leader, BTreeSet::from([NODE])));
        assert_eq!(raft.state().nodes.len(), 1);
        raft.stop().await;
    }
    assert_eq!(remains(&old, LOST, NODE).unwrap().reach(), found.reach(), "the old file is as it was");
}

#[tokio::test]
async fn a_file_that_knows_nothing_or_is_not_there_makes_no_group() {
    let place = tempfile::tempdir().unwrap();
    assert!(matches!(remains(&place.path().join("none"), LOST, NODE), Err(OpenError::Directory { .. })));
    let empty = place.path().join("empty");
    start(&empty, LOST).await.unwrap().stop().await;
    let error = remains(&empty, LOST, NODE).err().unwrap().to_string();
    assert!(error.contains("knows of no cluster"), "{error}");
}
