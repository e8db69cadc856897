//! Three replicas in one thread, with disks in memory, a perfect network and decisions that are seen at once: the life of a
//! volume that the simulator's rough weather builds on. Everything happens in steps of one simulated millisecond.

use bytes::Bytes;
use mainstay_cluster::{
    Actor, ClusterState, Command, ExportSettings, NodeKind, Policy, ProposalState, ReignState, Settings as ClusterSettings,
    StopCause, WithoutPrimary,
};
use mainstay_protocol::file::{CreateHow, SetAttributes};
use mainstay_protocol::{
    Caller, ClientRequest, ClusterId, FileId, FileOk, FileRequest, FileResult, Incarnation, Mono, NodeId, Now, RequestId,
    Stability, Timestamp, VolumeId,
};
use mainstay_replica::{Effect, Event, ProposeResult, Replica, ServeMode, Settings, StoredPromise};
use mainstay_volume::{MemDisk, Options, Volume, perform};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const W: NodeId = NodeId(3);
const VOLUME: VolumeId = VolumeId(1);
const CLUSTER: ClusterId = ClusterId([7; 16]);

struct Node {
    replica: Option<Replica>,
    disk: Option<Arc<MemDisk>>,
    promise: StoredPromise,
    incarnation: Incarnation,
    inbox: VecDeque<Event>,
    serve: ServeMode,
    stopped: bool,
}

struct World {
    ms: u64,
    state: Arc<ClusterState>,
    nodes: BTreeMap<NodeId, Node>,
    /// Links that lose everything, one way.
    cut: BTreeSet<(NodeId, NodeId)>,
    replies: BTreeMap<u64, FileResult>,
    abandoned: BTreeSet<u64>,
    next_ticket: u64,
}

fn options() -> Options {
    Options {
        segment_bytes: 4 << 20,
        reserve_bytes: 8 << 20,
        tail_cache_bytes: 1 << 20,
        retain_bytes: 16 << 20,
        ..Options::default()
    }
}

fn person() -> Actor {
    Actor::Person("ada".into())
}

impl World {
    fn new() -> World {
        let mut world = World {
            ms: 1_000,
            state: Arc::default(),
            nodes: BTreeMap::new(),
            cut: BTreeSet::new(),
            replies: BTreeMap::new(),
            abandoned: BTreeSet::new(),
            next_ticket: 0,
        };
        let at = world.wall();
        world.decide(Command::Init {
            cluster: CLUSTER,
            name: "test".into(),
            settings: ClusterSettings::default(),
            node: "a".into(),
            kind: NodeKind::FileServer,
            peer_address: "10.0.0.1:1".into(),
            admin_address: "10.0.0.1:2".into(),
            actor: person(),
            at,
        });
        for (name, kind, host) in [("b", NodeKind::FileServer, "10.0.0.2"), ("w", NodeKind::Witness, "10.0.0.3")] {
            let (peer_address, admin_address) = (format!("{host}:1"), format!("{host}:2"));
            world.decide(Command::AddNode { name: name.into(), kind, peer_address, admin_address, actor: person(), at });
        }
        for node in [A, B, W] {
            world.decide(Command::Booted { node, incarnation: Incarnation(1), software: "0.1.0".into(), at });
        }
        world.decide(Command::CreateVolume {
            name: "files".into(),
            replicas: [A, B].into(),
            primary: A,
            policy: Policy::Manual,
            without_primary: WithoutPrimary::ServeReads,
            export: ExportSettings::default(),
            actor: person(),
            at,
        });
        for node in [A, B, W] {
            let disk = (node != W).then(|| Arc::new(MemDisk::default()));
            if let Some(disk) = &disk {
                Volume::create(disk.clone(), CLUSTER, VOLUME, options()).expect("an empty disk");
            }
            let new = Node {
                replica: None,
                disk,
                promise: StoredPromise::default(),
                incarnation: Incarnation(1),
                inbox: VecDeque::new(),
                serve: ServeMode::Closed,
                stopped: false,
            };
            world.nodes.insert(node, new);
            world.boot(node);
        }
        world
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + self.ms as i64)
    }

    /// Every node's own clock differs: nothing may depend on comparing them.
    fn now(&self, node: NodeId) -> Now {
        Now { mono: Mono((self.ms + 10_000 * node.0 as u64) * 1_000_000), wall: self.wall() }
    }

    fn decide(&mut self, command: Command) -> ProposeResult {
        let mut state = ClusterState::clone(&self.state);
        let result = state.apply(&command);
        self.state = Arc::new(state);
        for id in [A, B, W] {
            self.tell(id);
        }
        result.map_or_else(ProposeResult::Refused, |_| ProposeResult::Accepted)
    }

    /// A node that is cut off from all others sees no decisions and makes none.
    fn isolated(&self, id: NodeId) -> bool {
        [A, B, W].iter().filter(|other| **other != id).all(|other| self.cut.contains(&(id, *other)))
    }

    fn tell(&mut self, id: NodeId) {
        let state = self.state.clone();
        if !self.isolated(id)
            && let Some(node) = self.nodes.get_mut(&id)
        {
            node.inbox.push_back(Event::Decided(state));
        }
    }

    fn heal(&mut self) {
        self.cut.clear();
        [A, B, W].into_iter().for_each(|id| self.tell(id));
    }

    fn boot(&mut self, id: NodeId) {
        let now = self.now(id);
        let view = self.state.clone();
        let node = self.nodes.get_mut(&id).expect("a node");
        let volume = node.disk.as_ref().map(|disk| Volume::open(disk.clone(), CLUSTER, VOLUME, options()).expect("opens"));
        let settings = Settings { node: id, incarnation: node.incarnation, volume: VOLUME };
        node.inbox.clear();
        node.stopped = false;
        node.replica = Some(Replica::new(settings, volume, node.promise, view, now));
    }

    /// The process is gone; what it had written to the disk's cache stays (SIGKILL, not a power cut).
    fn kill(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).expect("a node");
        node.replica = None;
        node.serve = ServeMode::Closed;
        node.inbox.clear();
    }

    fn restart(&mut self, id: NodeId) {
        let at = self.wall();
        let incarnation = Incarnation(self.nodes[&id].incarnation.0 + 1);
        self.nodes.get_mut(&id).expect("a node").incarnation = incarnation;
        self.boot(id);
        self.decide(Command::Booted { node: id, incarnation, software: "0.1.0".into(), at });
    }

    fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.ms += 1;
            for id in [A, B, W] {
                self.turn(id);
            }
        }
    }

    /// One batch of inputs, one poll, and the effects carried out.
    fn turn(&mut self, id: NodeId) {
        let now = self.now(id);
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let Some(replica) = node.replica.as_mut() else { return };
        while let Some(event) = node.inbox.pop_front() {
            replica.step(now, event);
        }
        let mut effects = Vec::new();
        replica.poll(now, &mut effects);
        effects.into_iter().for_each(|effect| self.perform(id, effect));
    }

    fn perform(&mut self, id: NodeId, effect: Effect) {
        let mut back = Vec::new();
        match effect {
            Effect::Send { to, envelope } => {
                let alive = self.nodes.get(&to).is_some_and(|node| node.replica.is_some());
                if alive && !self.cut.contains(&(id, to)) {
                    self.nodes.get_mut(&to).expect("alive").inbox.push_back(Event::Peer(envelope));
                }
            }
            Effect::Reply { ticket, result } => assert!(self.replies.insert(ticket, result).is_none(), "one reply per ticket"),
            Effect::Abandon { ticket } => assert!(self.abandoned.insert(ticket)),
            Effect::Disk(effect) => {
                let disk = self.nodes[&id].disk.clone().expect("a file server");
                back.push(Event::Disk(perform(effect, &*disk)));
            }
            Effect::StorePromise(promise) => {
                self.nodes.get_mut(&id).expect("a node").promise = promise;
                back.push(Event::PromiseStored(promise));
            }
            Effect::Propose { ticket, command } => {
                let result = if self.isolated(id) { ProposeResult::Unknown } else { self.decide(command) };
                back.push(Event::Proposed { ticket, result });
            }
            Effect::Serve(mode) => {
                self.nodes.get_mut(&id).expect("a node").serve = mode;
                let writers = self.nodes.values().filter(|node| node.serve == ServeMode::ReadWrite).count();
                assert!(writers <= 1, "two nodes serve writes");
            }
            Effect::Stopped => self.nodes.get_mut(&id).expect("a node").stopped = true,
            Effect::Marked { .. } | Effect::Digest { .. } | Effect::Note(_) => {}
            Effect::Fence(_) | Effect::StopFence(_) => {}
        }
        self.nodes.get_mut(&id).expect("a node").inbox.extend(back);
    }

    fn ask(&mut self, node: NodeId, request: FileRequest) -> u64 {
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        self.ask_as(node, request, ticket)
    }

    /// With an identity of its own, so that it can be repeated.
    fn ask_as(&mut self, node: NodeId, request: FileRequest, xid: u64) -> u64 {
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        let identity = request.changes().then_some(RequestId { client: [1; 16], xid: xid as u32, procedure: 1, checksum: xid });
        let request = ClientRequest { caller: Caller::default(), identity, request };
        self.nodes.get_mut(&node).expect("a node").inbox.push_back(Event::Client { ticket, request });
        ticket
    }

    /// Asks and waits; panics when no answer comes within five simulated seconds.
    fn call(&mut self, node: NodeId, request: FileRequest) -> FileResult {
        let ticket = self.ask(node, request);
        self.answer(ticket)
    }

    fn answer(&mut self, ticket: u64) -> FileResult {
        for _ in 0..5_000 {
            if let Some(result) = self.replies.remove(&ticket) {
                return result;
            }
            self.run(1);
        }
        panic!("no answer to {ticket} after 5 s");
    }

    fn create(&mut self, node: NodeId, name: &str) -> FileId {
        match self.call(node, create(name)) {
            Ok(FileOk::Made { attributes, .. }) => attributes.file,
            other => panic!("create {name}: {other:?}"),
        }
    }

    fn write(&mut self, node: NodeId, file: FileId, data: &'static [u8]) {
        let request = FileRequest::Write { file, offset: 0, data: Bytes::from_static(data), stability: Stability::FileSync };
        assert!(matches!(self.call(node, request), Ok(FileOk::Written { .. })));
    }

    fn read(&mut self, node: NodeId, file: FileId) -> Vec<u8> {
        match self.call(node, FileRequest::Read { file, offset: 0, count: 1 << 20 }) {
            Ok(FileOk::Data { pieces, .. }) => pieces.concat(),
            other => panic!("read: {other:?}"),
        }
    }

    fn primary(&self) -> Option<NodeId> {
        let reign = self.state.volumes[&VOLUME].reign?;
        (reign.state == ReignState::Serving).then_some(reign.node)
    }

    fn in_sync(&self) -> Vec<NodeId> {
        self.state.volumes[&VOLUME].in_sync.keys().copied().collect()
    }

    /// Waits for a proposal and approves it, as a person would.
    fn approve(&mut self) {
        for _ in 0..10_000 {
            if let Some((id, proposal)) = self.state.open_proposal(VOLUME)
                && proposal.state == ProposalState::Pending
            {
                let (evidence_hash, at) = (proposal.evidence_hash, self.wall());
                let result = self.decide(Command::Approve { proposal: id, evidence_hash, actor: person(), waited_ms: 0, at });
                assert!(matches!(result, ProposeResult::Accepted), "{result:?}");
                return;
            }
            self.run(1);
        }
        panic!("no proposal within 10 s: {}", self.account());
    }

    fn account(&self) -> String {
        let statuses: Vec<_> =
            self.nodes.iter().filter_map(|(id, node)| Some(node.replica.as_ref()?.status(self.now(*id)))).collect();
        format!("{statuses:#?}\n{:#?}", self.state.audit.events.iter().map(|event| &event.text).collect::<Vec<_>>())
    }

    fn position(&self, id: NodeId) -> u64 {
        self.nodes[&id].replica.as_ref().and_then(Replica::volume).map_or(0, |volume| volume.last().position.0)
    }
}

fn create(name: &str) -> FileRequest {
    let how = CreateHow::Guarded(SetAttributes { mode: Some(0o644), ..SetAttributes::default() });
    FileRequest::Create { dir: FileId::ROOT, name: Bytes::copy_from_slice(name.as_bytes()), how }
}

#[test]
fn a_volume_serves_and_both_copies_hold_what_was_acknowledged() {
    let mut world = World::new();
    world.run(100);
    assert_eq!(world.primary(), Some(A));
    let file = world.create(A, "one");
    world.write(A, file, b"hello");
    assert_eq!(world.read(A, file), b"hello");
    world.run(1_000);
    assert_eq!(world.in_sync(), [A, B]);
    assert_eq!(world.position(A), world.position(B));
    assert_eq!(world.nodes[&B].serve, ServeMode::Closed);
}

#[test]
fn a_killed_primary_is_replaced_after_approval_and_returns_as_a_secondary() {
    let mut world = World::new();
    world.run(100);
    let file = world.create(A, "one");
    world.write(A, file, b"before");
    world.kill(A);
    world.run(2_600);
    assert_eq!(world.primary(), Some(A), "R7: nobody is promoted without an approval");
    assert_eq!(world.nodes[&B].serve, ServeMode::ReadOnly, "R15: reads go on");
    assert_eq!(world.read(B, file), b"before");
    let held = world.ask(B, create("two"));
    world.run(500);
    assert!(!world.replies.contains_key(&held), "a change waits for a primary; `later` would lose its number");
    world.approve();
    world.run(2_500);
    assert!(matches!(world.answer(held), Ok(FileOk::Made { .. })));
    assert_eq!(world.primary(), Some(B));
    assert_eq!(world.state.volumes[&VOLUME].epoch.0, 2);
    world.write(B, file, b"after!");
    world.restart(A);
    world.run(3_000);
    assert_eq!(world.primary(), Some(B), "R9: no failback");
    assert_eq!(world.in_sync(), [A, B]);
    assert_eq!(world.position(A), world.position(B));
    assert_eq!(world.read(B, file), b"after!");
}

/// The story: the witness was restarted a moment before the primary died, and never heard it in its new life. "Unknown", it said for
/// ever, and nobody could be promoted until the dead node was back.
#[test]
fn who_booted_after_the_primary_died_does_not_stand_in_the_way() {
    for booted in [W, B] {
        let mut world = World::new();
        world.run(100);
        world.create(A, "kept");
        world.kill(A);
        world.restart(booted);
        world.run(1_500);
        assert!(world.state.open_proposal(VOLUME).is_none(), "R6: it listens not long enough to miss anybody");
        world.approve();
        world.run(4_500);
        assert_eq!(world.primary(), Some(B), "{booted} was restarted: {}", world.account());
        world.create(B, "new");
    }
}

/// The story: a secondary was back before its word for the lease was, and was waited for at once: the lease was over, the service
/// address was released, and clients had to ask again, in the middle of a planned return.
#[test]
fn a_secondary_that_returns_does_not_end_the_lease() {
    for away_ms in (1_100..3_500).step_by(30) {
        let mut world = World::new();
        world.run(100);
        world.kill(B);
        world.run(away_ms);
        assert_eq!(world.in_sync(), [A]);
        world.restart(B);
        for ms in 0..3_000 {
            world.run(1);
            assert_eq!(world.nodes[&A].serve, ServeMode::ReadWrite, "{ms} ms after its return, away for {away_ms} ms");
        }
        assert_eq!(world.in_sync(), [A, B]);
    }
}

#[test]
fn a_retry_after_a_failover_gets_the_first_answer() {
    let mut world = World::new();
    world.run(100);
    let first = world.ask_as(A, create("once"), 77);
    let first = world.answer(first);
    world.kill(A);
    world.run(2_600);
    // Asked while there is no primary, answered by the next one.
    let again = world.ask_as(B, create("once"), 77);
    world.approve();
    world.run(2_500);
    assert_eq!(world.answer(again), first);
}

#[test]
fn a_silent_secondary_leaves_the_set_before_anything_is_acknowledged_without_it() {
    let mut world = World::new();
    world.run(100);
    world.create(A, "one");
    world.kill(B);
    let ticket = world.ask(A, create("two"));
    world.run(400);
    assert!(!world.replies.contains_key(&ticket), "R4: B is in the set and has not got it");
    world.run(1_000);
    assert!(world.replies.contains_key(&ticket), "{}", world.account());
    assert_eq!(world.in_sync(), [A]);
    assert_eq!(world.nodes[&A].serve, ServeMode::ReadWrite, "clients saw a pause, not a loss of service");
    world.restart(B);
    world.run(2_000);
    assert_eq!(world.in_sync(), [A, B]);
    assert_eq!(world.position(A), world.position(B));
}

#[test]
fn a_secondary_that_is_asked_to_stop_leaves_the_set_at_once() {
    let mut world = World::new();
    world.run(100);
    world.create(A, "one");
    world.nodes.get_mut(&B).expect("b").inbox.push_back(Event::Stop(StopCause::Asked));
    world.run(20);
    let ticket = world.ask(A, create("two"));
    world.run(80);
    assert!(world.replies.contains_key(&ticket), "its word is enough, nobody waits for its silence: {}", world.account());
    assert_eq!(world.in_sync(), [A], "R4");
    assert!(world.nodes[&B].stopped);
    world.kill(B);
    world.restart(B);
    world.run(2_000);
    assert_eq!(world.in_sync(), [A, B], "the next boot is welcome");
}

#[test]
fn an_isolated_primary_stops_and_its_tail_is_quarantined() {
    let mut world = World::new();
    world.run(100);
    world.create(A, "kept");
    world.cut.extend([(A, B), (A, W), (B, A), (W, A)]);
    let ticket = world.ask(A, create("never acknowledged"));
    world.run(2_300);
    assert_eq!(world.nodes[&A].serve, ServeMode::Closed, "R13: no lease, no service");
    assert!(!world.replies.contains_key(&ticket));
    world.approve();
    world.run(2_500);
    assert_eq!(world.primary(), Some(B));
    world.create(B, "new");
    world.heal();
    world.run(3_000);
    assert!(world.abandoned.contains(&ticket), "nobody may say what became of it");
    assert_eq!(world.in_sync(), [A, B]);
    assert_eq!(world.position(A), world.position(B));
}

#[test]
fn a_clean_stop_hands_the_epoch_back() {
    let mut world = World::new();
    world.run(100);
    world.create(A, "one");
    world.nodes.get_mut(&A).expect("a").inbox.push_back(Event::Stop(StopCause::Asked));
    world.run(300);
    assert!(world.nodes[&A].stopped);
    assert!(world.state.volumes[&VOLUME].reign.is_none());
    world.kill(A);
    world.approve();
    world.run(100);
    assert_eq!(world.primary(), Some(B), "fenced by its own word: no lease to wait for {}", world.account());
}
