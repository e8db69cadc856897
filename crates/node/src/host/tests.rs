//! One volume on a cluster of one node: real threads, a real directory, everything else pretended.

use super::*;
use crate::test_dir::TestDir;
use mainstay_cluster::{Actor, ExportSettings, NodeKind, Policy, StopCause, WithoutPrimary};
use mainstay_protocol::{Epoch, Timestamp};
use std::sync::mpsc;

const ME: NodeId = NodeId(1);
const FILES: VolumeId = VolumeId(1);
const BOOT: Incarnation = Incarnation(7);
const PATIENCE: Duration = Duration::from_secs(20);

/// Decides by itself, as a cluster of one does.
pub struct Alone {
    state: Mutex<ClusterState>,
    host: Mutex<Option<Host>>,
    modes: mpsc::Sender<ServeMode>,
    pub promises: Mutex<Vec<StoredPromise>>,
}

impl Outside for Alone {
    fn send(&self, _: NodeId, _: Envelope) {}

    fn propose(&self, command: Command, done: Box<dyn FnOnce(ProposeResult) + Send>) {
        let mut state = lock(&self.state);
        done(match state.apply(&command) {
            Ok(_) => ProposeResult::Accepted,
            Err(refusal) => ProposeResult::Refused(refusal),
        });
        let view = Arc::new(state.clone());
        if let Some(host) = &*lock(&self.host) {
            host.decided(view);
        }
    }

    fn store_promise(&self, _: VolumeId, promise: StoredPromise, done: Box<dyn FnOnce() + Send>) {
        lock(&self.promises).push(promise);
        done();
    }

    fn serve(&self, _: VolumeId, mode: ServeMode) {
        let _ = self.modes.send(mode);
    }
}

fn at() -> Timestamp {
    Timestamp::new(1_000, 0)
}

pub fn cluster_of_one() -> ClusterState {
    let mut state = ClusterState::default();
    let person = Actor::Person("ann".into());
    let commands = [
        Command::Init {
            cluster: ClusterId([1; 16]),
            name: "t".into(),
            settings: mainstay_cluster::Settings::default(),
            node: "a".into(),
            kind: NodeKind::FileServer,
            peer_address: "127.0.0.1:1".into(),
            admin_address: "127.0.0.1:2".into(),
            actor: person.clone(),
            at: at(),
        },
        Command::Booted { node: ME, incarnation: BOOT, software: "0.1.0".into(), at: at() },
        Command::CreateVolume {
            name: "files".into(),
            replicas: [ME].into(),
            primary: ME,
            policy: Policy::Manual,
            without_primary: WithoutPrimary::ServeReads,
            export: ExportSettings { service_address: "127.0.0.1".into(), port: 2049, ..ExportSettings::default() },
            actor: person,
            at: at(),
        },
    ];
    for command in &commands {
        state.apply(command).expect("each is in order");
    }
    state
}

/// A host on `dir`, and the modes that it asks for.
pub fn start(dir: &TestDir, holds: bool) -> (Host, Arc<Alone>, mpsc::Receiver<ServeMode>) {
    let state = cluster_of_one();
    let (modes, asked) = mpsc::channel();
    let alone = Arc::new(Alone { state: Mutex::new(state.clone()), host: Mutex::default(), modes, promises: Mutex::default() });
    let settings = Settings {
        node: ME,
        incarnation: BOOT,
        cluster: state.id,
        volume: FILES,
        name: "files".into(),
        directory: holds.then(|| dir.path().join("v1")),
        options: Options { segment_bytes: 2 << 20, reserve_bytes: 6 << 20, ..Options::default() },
        promised: StoredPromise::default(),
    };
    let host = Host::start(settings, Arc::new(state), alone.clone()).unwrap();
    *lock(&alone.host) = Some(host.clone());
    // What was decided before the line above reached nobody.
    host.decided(Arc::new(lock(&alone.state).clone()));
    (host, alone, asked)
}

pub fn wait_for(modes: &mpsc::Receiver<ServeMode>, wanted: ServeMode) {
    while modes.recv_timeout(PATIENCE).expect("the mode comes in time") != wanted {}
}

#[tokio::test]
async fn a_volume_is_made_served_marked_and_stopped() {
    let dir = TestDir::new("host");
    let (host, _alone, modes) = start(&dir, true);
    wait_for(&modes, ServeMode::ReadWrite);
    let status = host.inspect(|replica, now| replica.status(now)).await.unwrap();
    assert_eq!((status.role, status.epoch), ("primary", Epoch(1)));
    let position = host.mark().await.expect("the primary marks");
    let digest = async {
        while host.digest(position).is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, digest).await.expect("the digest is computed");
    assert_eq!(host.digest(Position(position.0 + 1)), None);
    assert!(host.shared.syncs.count() > 0, "the epoch's first record was synced");
    host.stop(StopCause::Asked);
    tokio::time::timeout(PATIENCE, host.shared.stopped.notified()).await.expect("it stops");
    wait_for(&modes, ServeMode::Closed);
}

#[tokio::test]
async fn a_copy_that_cannot_be_opened_leaves_a_voter_that_says_why() {
    let dir = TestDir::new("host");
    std::fs::write(dir.path().join("v1"), "a file where the directory should be").unwrap();
    let (host, _alone, modes) = start(&dir, true);
    let status = host.inspect(|replica, now| replica.status(now)).await.unwrap();
    assert_eq!(status.role, "voter");
    assert!(host.unopened().unwrap().contains("v1"));
    assert_eq!(host.mark().await, None);
    assert!(modes.try_iter().all(|mode| mode == ServeMode::Closed));
}

#[tokio::test]
async fn peers_cannot_pile_up_more_than_the_bound() {
    let dir = TestDir::new("host");
    let (host, ..) = start(&dir, false);
    host.shared.peer_bytes_waiting.store(PEER_BYTES_MAX - 10, Ordering::Relaxed);
    let envelope = |payload: usize| Envelope {
        volume: FILES,
        from: NodeId(2),
        incarnation: Incarnation(1),
        message: mainstay_protocol::PeerMessage::Fenced { promised: Epoch(1) },
        payload: vec![bytes::Bytes::from(vec![0; payload])],
    };
    assert!(!host.peer(envelope(11)));
    assert!(host.peer(envelope(10)));
    assert_eq!(host.shared.peer_messages_dropped.load(Ordering::Relaxed), 1);
    // The thread takes the one that was let in, and its bytes are free again.
    host.inspect(|_, _| ()).await.unwrap();
    assert_eq!(host.shared.peer_bytes_waiting.load(Ordering::Relaxed), PEER_BYTES_MAX - 10);
}
