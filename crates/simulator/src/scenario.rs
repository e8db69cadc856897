//! What a run consists of: the cluster, its clients and operators, and a script of faults. Scenarios are functions from a seed's
//! chance to a [`Plan`], so that one scenario gives many schedules.

use crate::disk::{Crash, DiskFaults};
use crate::network::Quality;
use crate::queue::{MILLISECOND, SECOND, Time};
use crate::rng::Rng;
use crate::sizing::Scaled;
use mainstay_protocol::NodeId;

/// The two file servers and the witness of every run, by the letters of SCENARIOS.md.
pub const A: NodeId = NodeId(1);
pub const B: NodeId = NodeId(2);
pub const W: NodeId = NodeId(3);
pub const NODES: [NodeId; 3] = [A, B, W];

/// One thing that happens to the world.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Crash(NodeId, Crash),
    /// Whoever serves just then.
    CrashPrimary(Crash),
    StopPrimary,
    /// Boots a node that is off.
    Start(NodeId),
    /// Asks the daemon to stop; it hands over and exits.
    Stop(NodeId),
    /// SIGSTOP, a frozen VM, a long garbage collection of the host.
    Pause(NodeId),
    Resume(NodeId),
    /// One direction.
    Cut(NodeId, NodeId),
    /// Both directions.
    CutBoth(NodeId, NodeId),
    /// From everybody, clients too.
    Isolate(NodeId),
    /// All links open; their quality stays.
    HealLinks,
    Quality(Quality),
    LinkQuality(NodeId, NodeId, Quality),
    JumpWall(NodeId, i64),
    DiskFaults(NodeId, DiskFaults),
    /// The disk does nothing for this long.
    DiskHang(NodeId, Time),
    /// Leaves so many bytes free.
    DiskFull(NodeId, u64),
    DiskRoom(NodeId),
    /// Flips a bit in a segment.
    Rot(NodeId),
    DeposeLeader,
    StallCoordination(NodeId, Time),
    BeginMaintenance(NodeId),
    EndMaintenance(NodeId),
    /// Operators approve what is proposed (or stop doing so).
    Approvals(Approvals),
    /// Clients issue operations this often; zero stops them.
    Think(Time, Time),
    /// Does nothing.
    Note(&'static str),
}

/// How operators treat proposals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approvals {
    /// Nobody looks.
    None,
    /// After a while that lies in this range.
    After(Time, Time),
    /// As `After`, but some are denied, and some approvals name other evidence.
    Erratic(Time, Time),
}

/// Everything that a run is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    pub script: Vec<(Time, Action)>,
    /// When the faults end and the must-heal phase begins.
    pub faults_end: Time,
    /// How long healing may take.
    pub heal_within: Time,
    pub clients: u32,
    pub workers_per_client: u32,
    pub register_workers: u32,
    /// Pause of a worker between two operations.
    pub think: (Time, Time),
    pub large_writes: bool,
    /// Percent of the clients that give up on an operation after some seconds.
    pub soft_percent: u64,
    pub lease_ms: u64,
    pub rough_coordination: bool,
    pub approvals: Approvals,
    /// Late copies of requests arrive after their connection is gone.
    pub late_copies: bool,
    /// Percent of the clients whose requests and answers go through the NFS wire.
    pub nfs_percent: u64,
    /// Throttle of resync by change.
    pub resync_bytes_per_second: u64,
    pub expect: Expect,
    /// Made by [`crate::Sizing::fit`]: the run stands for a larger one.
    pub sized: Option<Scaled>,
}

/// What a scenario demands beyond the properties.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expect {
    /// The primary never changes.
    pub no_role_change: bool,
    /// No client operation is refused, given up or waits longer than this.
    pub answered_within: Option<Time>,
    /// P6, exactly: everything that moves to this node is little more than what was written, counted once.
    pub moves_only_changes: Option<NodeId>,
    /// A node may refuse to open a copy that was damaged on purpose.
    pub damage: bool,
}

impl Plan {
    /// A calm cluster with a few clients.
    pub fn calm(duration: Time) -> Plan {
        Plan {
            script: Vec::new(),
            faults_end: duration,
            heal_within: 120 * SECOND,
            clients: 3,
            workers_per_client: 2,
            register_workers: 3,
            think: (5 * MILLISECOND, 60 * MILLISECOND),
            large_writes: false,
            soft_percent: 30,
            lease_ms: 2_000,
            rough_coordination: false,
            approvals: Approvals::After(SECOND, 4 * SECOND),
            late_copies: true,
            nfs_percent: 30,
            resync_bytes_per_second: 200_000_000,
            expect: Expect::default(),
            sized: None,
        }
    }

    pub fn at(&mut self, time: Time, action: Action) -> &mut Plan {
        self.script.push((time, action));
        self
    }
}

/// A named way to make plans.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// As in SCENARIOS.md.
    pub name: &'static str,
    /// What happens, for people.
    pub story: &'static str,
    pub plan: fn(&mut Rng) -> Plan,
}
