//! What a run consists of: the cluster, its clients and operators, and a script of faults. A scenario makes a [`Plan`] from a
//! seed's chance, so that one scenario gives many schedules.

use crate::disk::{Crash, DiskFaults};
use crate::network::Quality;
use crate::queue::{MILLISECOND, SECOND, Time};
use crate::rng::Rng;
use crate::script::Script;
use crate::sizing::{Scaled, Sizing};
use mainstay_cluster::{Alone, Policy, Settings, WithoutPrimary};
use mainstay_protocol::NodeId;
use std::sync::Arc;

/// The two file servers and the witness of every run, by the letters of SCENARIOS.md.
pub const A: NodeId = NodeId(1);
pub const B: NodeId = NodeId(2);
pub const W: NodeId = NodeId(3);
pub const NODES: [NodeId; 3] = [A, B, W];
/// Further file servers, which may join a run that has them ([`Cluster::spares`]), in the order of joining.
pub const D: NodeId = NodeId(4);
pub const E: NodeId = NodeId(5);
pub const SPARES: [NodeId; 2] = [D, E];

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
    /// The whole machine sleeps: what is sent to it is lost, and its clocks go on (R13).
    Suspend(NodeId),
    /// Ends a pause or a sleep.
    Resume(NodeId),
    /// One direction.
    Cut(NodeId, NodeId),
    /// Both directions.
    CutBoth(NodeId, NodeId),
    /// From all clients, both directions; nodes still hear it.
    CutClients(NodeId),
    /// From everybody, clients too.
    Isolate(NodeId),
    /// All links open; their quality stays.
    HealLinks,
    /// Both directions of one.
    HealLink(NodeId, NodeId),
    Quality(Quality),
    LinkQuality(NodeId, NodeId, Quality),
    /// One direction.
    LinkQualityTo(NodeId, NodeId, Quality),
    /// Sets the wall clock forward or back, milliseconds.
    JumpWall(NodeId, i64),
    /// From now on the oscillator is this far off, parts per million.
    Drift(NodeId, i64),
    DiskFaults(NodeId, DiskFaults),
    /// The disk does nothing for this long.
    DiskHang(NodeId, Time),
    /// Everything takes so many times as long; 1: as usual.
    DiskSlow(NodeId, u64),
    /// Leaves so many bytes free.
    DiskFull(NodeId, u64),
    DiskRoom(NodeId),
    /// The disk that holds the volumes is another one, empty, if the machine is off.
    DiskNew(NodeId),
    /// Flips a bit in a segment.
    Rot(NodeId),
    DeposeLeader,
    StallCoordination(NodeId, Time),
    BeginMaintenance(NodeId),
    /// Maintenance that ends after a while. Not `confirmed`: the operator does not know that the volume loses its primary by it,
    /// if that is so.
    PlanMaintenance {
        node: NodeId,
        lasts: Time,
        confirmed: bool,
    },
    EndMaintenance(NodeId),
    /// Another end of a node's maintenance, so long from now.
    ExtendMaintenance {
        node: NodeId,
        lasts: Time,
    },
    /// A person, or a tool on a person's behalf, asks for this node to become the primary.
    Promote(NodeId),
    ResetBreaker,
    /// Somebody asks for it; where it is laxer, a second person decides as people decide on proposals.
    SetPolicy(Policy),
    SetAlone(Alone),
    /// Of the whole cluster: on at once, off when a second person agrees.
    Hold(bool),
    /// A command that was given before arrives once more: of a node, or somebody's word on a proposal.
    Echo,
    /// A backup is made of what the witness has promised.
    Remember(NodeId),
    /// Its disk holds that backup again.
    Restore(NodeId),
    /// Its next boots run the next version of the program, or the present one again.
    Upgrade {
        node: NodeId,
        next: bool,
    },
    /// Operators approve what is proposed (or stop doing so).
    Approvals(Approvals),
    /// Clients issue operations this often; zero stops them.
    Think(Time, Time),
    /// Figures count from here: what came before was to make the world what it is.
    Measure,
    /// Does nothing.
    Note(String),
    /// A person hands the volume over to this node, whoever serves.
    Switchover(NodeId),
    /// To the file server that is not the primary.
    SwitchoverAway,
    /// A person calls off what was begun and is not granted yet.
    CallOff,
    /// A person proposes to promote this node in spite of what it lacks, and names that loss; a second one decides.
    GiveUp(NodeId),
    /// The next spare file server joins, and starts when it is let in.
    Join,
    /// A person has another file server hold the volume.
    AddReplica(NodeId),
    /// A person takes a copy away, whatever it is; now and then down to one, which a second person approves as any change.
    RemoveReplica {
        node: NodeId,
        accept_single: bool,
    },
    /// A person takes a node out of the cluster, for good.
    RemoveNode(NodeId),
    /// The credentials of who does most things are stolen, and revoked; whoever has them goes on using them.
    Steal,
    /// A person has the other file server's hook switch this one off; `as_primary`: whatever it serves.
    Fence {
        node: NodeId,
        as_primary: bool,
    },
    /// Two people go on with this node alone, if none of the others runs. They never come back.
    ForceQuorum(NodeId),
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
    /// They look at once and act after a while, whatever has changed since (R14).
    Late(Time, Time),
    /// Two people: one approves and one denies.
    Opposite(Time, Time),
}

/// Everything that a run is made of.
#[derive(Clone, Debug, PartialEq)]
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
    /// Mostly creates, renames and removes.
    pub mass_changes: bool,
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
    pub cluster: Cluster,
    pub expect: Expect,
    /// Rehearsed at this size, which [`Sizing::check`] has accepted, unless the caller says another.
    pub sizing: Option<Sizing>,
    /// Made by [`crate::Sizing::fit`]: the run stands for a larger one.
    pub sized: Option<Scaled>,
}

/// How the cluster is set and how it begins, where a plan seldom says anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cluster {
    pub approval_ms: u64,
    /// `None`: as long as the lease.
    pub contact_lost_ms: Option<u64>,
    pub without_primary: WithoutPrimary,
    /// Who reigns at first.
    pub primary: NodeId,
    /// Nothing may be promoted until a person resets it.
    pub breaker_open: bool,
    pub policy: Policy,
    pub alone: Alone,
    /// Role changes within the window that do not open the breaker.
    pub role_changes_max: u32,
    /// File servers that may join while it runs, at most [`SPARES`].
    pub spares: u16,
    /// What switches a file server off, for the other one's promotion.
    pub hook: Hook,
}

/// What a fencing hook does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hook {
    /// None is set up.
    #[default]
    Absent,
    Works,
    /// Says that it failed, and switched nothing off.
    Fails,
    /// Never ends; it may have switched the machine off before.
    Hangs,
    /// Says that all went well, and switched nothing off.
    Lies,
    /// Each time one of these.
    Mixed,
}

impl Default for Cluster {
    fn default() -> Cluster {
        Cluster {
            approval_ms: Settings::default().approval_ms,
            contact_lost_ms: None,
            without_primary: WithoutPrimary::ServeReads,
            primary: A,
            breaker_open: false,
            policy: Policy::Manual,
            alone: Alone::Serve,
            role_changes_max: mainstay_cluster::policy::ROLE_CHANGES_MAX,
            spares: 0,
            hook: Hook::Absent,
        }
    }
}

/// What a scenario demands beyond the properties.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expect {
    /// The primary never changes.
    pub no_role_change: bool,
    /// P5: it changes at most so often until the faults end.
    pub role_changes_max: Option<u32>,
    /// No client operation is refused, given up or waits longer than this.
    pub answered_within: Option<Time>,
    /// P6, exactly: everything that moves to this node is little more than what was written, counted once.
    pub moves_only_changes: Option<NodeId>,
    /// A node may refuse to open a copy that was damaged on purpose.
    pub damage: bool,
    /// P8: people are told, while the faults last, that a maintenance runs over.
    pub overrun: bool,
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
            mass_changes: false,
            soft_percent: 30,
            lease_ms: 2_000,
            rough_coordination: false,
            approvals: Approvals::After(SECOND, 4 * SECOND),
            late_copies: true,
            nfs_percent: 30,
            resync_bytes_per_second: 200_000_000,
            cluster: Cluster::default(),
            expect: Expect::default(),
            sizing: None,
            sized: None,
        }
    }

    pub fn at(&mut self, time: Time, action: Action) -> &mut Plan {
        self.script.push((time, action));
        self
    }
}

/// A named way to make plans.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// As in SCENARIOS.md, with `:variant` if only that one is run.
    pub name: Arc<str>,
    /// What happens and what must hold, for people.
    pub story: Arc<str>,
    /// Properties that it aims at (P1 to P9); all are checked in every run.
    pub checks: Vec<String>,
    /// Rules that it rehearses (R1 to R15).
    pub rules: Vec<String>,
    /// What it should check and does not yet.
    pub unchecked: Option<Arc<str>>,
    pub source: Source,
}

/// Where plans come from.
#[derive(Clone, Debug)]
pub enum Source {
    Function(fn(&mut Rng) -> Plan),
    Script(Arc<Script>),
}

impl Scenario {
    /// A scenario that is code. It aims at everything.
    pub fn function(name: &str, story: &str, plan: fn(&mut Rng) -> Plan) -> Scenario {
        Scenario {
            name: name.into(),
            story: story.into(),
            checks: vec![],
            rules: vec![],
            unchecked: None,
            source: Source::Function(plan),
        }
    }

    /// One schedule.
    pub fn plan(&self, rng: &mut Rng) -> Plan {
        match &self.source {
            Source::Function(plan) => plan(rng),
            Source::Script(script) => script.plan(rng),
        }
    }

    /// Names of its variants; empty if it has none.
    pub fn variants(&self) -> &[Arc<str>] {
        match &self.source {
            Source::Function(_) => &[],
            Source::Script(script) => &script.variants,
        }
    }

    /// The same with its variant fixed, if there is one of that name.
    pub fn with_variant(&self, name: &str) -> Option<Scenario> {
        match &self.source {
            Source::Function(_) => None,
            Source::Script(script) => script.with_variant(name).map(Scenario::from),
        }
    }

    /// Whether somebody may call it so: by its whole name, its id (`S20`) or the name after it.
    pub fn is_called(&self, name: &str) -> bool {
        &*self.name == name || self.name.split(' ').any(|part| part == name)
    }
}

impl From<Script> for Scenario {
    fn from(script: Script) -> Scenario {
        Scenario {
            name: script.name.clone(),
            story: script.story.clone(),
            checks: script.checks.clone(),
            rules: script.rules.clone(),
            unchecked: script.unchecked.clone(),
            source: Source::Script(Arc::new(script)),
        }
    }
}
