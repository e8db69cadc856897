//! One node: what survives its process, and the process.

use crate::clock::Clock;
use crate::disk::{Platter, SimDisk};
use crate::queue::Time;
use crate::rng::Rng;
use mainstay_cluster::ClusterState;
use mainstay_protocol::peer::Envelope;
use mainstay_protocol::{ClientRequest, Epoch, NodeId, ProposalId, Timestamp};
use mainstay_replica::{FenceOrder, ProposeResult, Replica, ServeMode, StoredPromise};
use mainstay_volume::{DiskEffect, DiskEvent};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    Off,
    /// Powered on; the process is not there yet.
    Booting,
    Running,
    /// Everything for it waits: sockets, timers, threads.
    Paused,
}

/// Who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    pub client: u32,
    pub connection: u64,
    pub slot: usize,
    pub sequence: u64,
}

pub enum NodeEvent {
    // Large things are boxed: an event is moved several times on its way.
    Peer(Box<Envelope>),
    Call {
        caller: Caller,
        request: Box<ClientRequest>,
    },
    Poll,
    /// The timer that was set for this time.
    Wake(Time),
    /// The disk gets to this effect.
    DiskRun(u64),
    DiskDone {
        id: u64,
        event: Box<DiskEvent>,
    },
    PromiseStored(StoredPromise),
    Decided(Arc<ClusterState>),
    Proposed {
        ticket: u64,
        result: Box<ProposeResult>,
    },
    /// Tell the cluster of this boot, until it knows.
    Announce,
    /// A fencing hook of this node does its work.
    SwitchOff(FenceOrder),
    /// As a person asked.
    SwitchOffByHand {
        epoch: Epoch,
    },
    /// A look whether a wish for which nothing was run is on record.
    FenceByHandNotRun {
        asked_at: Timestamp,
    },
    /// And what came of it is told.
    FenceByHandEnds {
        asked_at: Timestamp,
        verifies: bool,
    },
    /// And has ended, with a look at the machine or without.
    FenceEnds {
        proposal: ProposalId,
        verifies: bool,
    },
}

/// Effects of one kind, one at a time.
#[derive(Default)]
pub struct Lane {
    pub queue: VecDeque<DiskEffect>,
    pub running: Option<(u64, DiskEffect)>,
    /// The effect is done, the news of it is on its way.
    pub finishing: Option<u64>,
}

pub struct Process {
    pub replica: Replica,
    pub mode: ServeMode,
    /// A poll is scheduled.
    pub polling: bool,
    /// When this turn began, the volume waited for a second copy.
    pub began_alone: bool,
    pub wake_at: Time,
    pub log: Lane,
    pub background: Lane,
    pub reads: BTreeMap<u64, DiskEffect>,
    pub effect_last: u64,
    pub callers: BTreeMap<u64, Caller>,
    pub ticket_last: u64,
    /// Wishes of persons to switch the other machine off, by ticket, of which it is not known what was decided.
    pub asked_by_hand: BTreeMap<u64, Timestamp>,
    /// Attempts that were called off.
    pub fences_stopped: BTreeSet<ProposalId>,
}

pub struct Node {
    pub id: NodeId,
    pub state: NodeState,
    /// Counts lives of the process, so that what was meant for an earlier one finds nobody.
    pub boot: u64,
    /// On disk; rises before a process starts.
    pub incarnation: u64,
    pub clock: Clock,
    pub drift_ppm: i64,
    pub platter: Option<Arc<Mutex<Platter>>>,
    pub promise: StoredPromise,
    pub promises_writing: Vec<StoredPromise>,
    pub process: Option<Box<Process>>,
    /// What came while it was paused.
    pub inbox: VecDeque<(u64, NodeEvent)>,
    pub hang_until: Time,
    /// Its disk takes so many times as long as usual.
    pub slow: u64,
    /// Paused as a machine: what is sent to it is lost.
    pub asleep: bool,
    /// It answered for the service address once, so somebody's old entry may still lead to it.
    pub had_address: bool,
    /// The process was asked to stop.
    pub leaving: bool,
    /// Its copy was a whole prefix, and not failed, when its last process ended.
    pub usable: bool,
    /// A backup of its promise.
    pub remembered: Option<StoredPromise>,
    /// Its directory holds that backup, and nobody has noticed yet.
    pub set_back: bool,
    /// Its boots run the next version of the program.
    pub upgraded: bool,
    /// The present one does.
    pub runs_next: bool,
    /// When somebody last set its wall clock.
    pub clock_set: Time,
    pub rng: Rng,
}

impl Node {
    /// `disk_bytes`: of a file server's disk.
    pub fn new(id: NodeId, disk_bytes: Option<u64>, rng: &mut Rng) -> Node {
        let mut rng = rng.fork();
        let drift_ppm = Clock::drift(&mut rng);
        let wall_offset_ns = rng.below(4_000_000_000) as i128 - 2_000_000_000;
        let platter = disk_bytes.map(|bytes| Arc::new(Mutex::new(Platter::new(rng.fork(), bytes))));
        Node {
            id,
            state: NodeState::Booting,
            boot: 1,
            incarnation: 0,
            clock: Clock::boot(&mut rng, 0, drift_ppm, wall_offset_ns),
            drift_ppm,
            platter,
            promise: StoredPromise::default(),
            promises_writing: Vec::new(),
            process: None,
            inbox: VecDeque::new(),
            hang_until: 0,
            slow: 1,
            asleep: false,
            had_address: false,
            leaving: false,
            usable: true,
            remembered: None,
            set_back: false,
            upgraded: false,
            runs_next: false,
            clock_set: 0,
            rng,
        }
    }

    /// This life's handle of its disk.
    pub fn disk(&self) -> Option<SimDisk> {
        self.platter.as_ref().map(SimDisk::boot)
    }

    /// The monotonic clock begins anew, the wall clock goes on.
    pub fn restart_clock(&mut self, now: Time) {
        self.clock = Clock::boot(&mut self.rng, now, self.drift_ppm, self.clock.wall_offset_ns());
    }

    pub fn serves(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.mode != ServeMode::Closed)
    }

    pub fn up(&self) -> bool {
        matches!(self.state, NodeState::Running | NodeState::Paused)
    }
}

impl Process {
    pub fn new(replica: Replica) -> Process {
        Process {
            replica,
            mode: ServeMode::Closed,
            polling: false,
            began_alone: false,
            wake_at: Time::MAX,
            log: Lane::default(),
            background: Lane::default(),
            reads: BTreeMap::new(),
            effect_last: 0,
            callers: BTreeMap::new(),
            ticket_last: 0,
            asked_by_hand: BTreeMap::new(),
            fences_stopped: BTreeSet::new(),
        }
    }
}
