//! The world: one event loop over everything that happens, from one seed, on one thread.
//!
//! What a real node does around a `Replica` (sockets, threads, timers, the promise's file) is imitated here as thinly as it
//! can be: effects are executed as they are, later; nothing here decides.

mod clients;
mod faults;
mod fencing;
mod healing;
mod members;
mod node;
pub mod operators;
mod policies;
mod record;
mod shell;
mod watch;

pub use clients::{Client, ClientEvent};
pub use node::{Node, NodeEvent, NodeState};
pub use watch::Watch;

use crate::checkers::Checkers;
use crate::network::Network;
use crate::numbers::Tally;
use crate::queue::{MILLISECOND, Queue, SECOND, Time};
use crate::rng::Rng;
use crate::scenario::{A, Approvals, B, NODES, Plan, SPARES, W};
use crate::timeline::MarkKind;
use crate::trace::{Trace, TraceHash};
use mainstay_cluster::{Actor, ClusterState, Command, ExportSettings, NodeKind, Policy, Rule, Settings};
use mainstay_coordination::model::{self, DeliveryKind, Model};
use mainstay_protocol::planted::{self, Bugs};
use mainstay_protocol::{ClusterId, Incarnation, Mono, NodeId, Timestamp, VolumeId};
use mainstay_replica::{Effect, ProposeResult};
use mainstay_volume::{Options as VolumeOptions, Volume};
use operators::Operators;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Write;
use std::sync::Arc;

/// Commands that are remembered, to arrive once more.
const ECHOES_MAX: usize = 64;
pub const CLUSTER: ClusterId = ClusterId(*b"simulated-world!");
pub const VOLUME: VolumeId = VolumeId(1);
/// Passes of the scrub over everything in one run, about.
const SCRUBS: Time = 3;
/// Disk of each file server.
const DISK_BYTES: u64 = 1 << 30;
/// The same where what changes is stored by size and rate: twice all of it fits.
const SIZED_DISK_BYTES: u64 = 4 << 30;

/// Anything that is going to happen.
pub enum Event {
    /// For one life of a node's process; `boot` 0: for whichever runs then.
    Node {
        node: NodeId,
        boot: u64,
        event: NodeEvent,
    },
    Boot {
        node: NodeId,
        boot: u64,
    },
    Coordination,
    Client {
        client: u32,
        event: ClientEvent,
    },
    Operators,
    Script(usize),
    /// A node that was removed belongs to coordination no longer.
    Depart(NodeId),
    /// Somebody switches a machine on again.
    SwitchOn(NodeId),
}

/// Counts for the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub events: u64,
    /// Client operations answered.
    pub ops: u64,
    pub retries: u64,
    pub given_up: u64,
    /// Grants after the first.
    pub failovers: u64,
    pub boots: u64,
    /// Payload bytes between nodes.
    pub bytes_moved: u64,
    pub messages: u64,
    pub resyncs_by_change: u64,
    pub roll_backs: u64,
    pub simulated: Time,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// As in SCENARIOS.md, or `panic`.
    pub property: &'static str,
    /// Which rule was broken, where the judge can know.
    pub rule: Option<Rule>,
    /// For the first time.
    pub at: Time,
    pub text: String,
    /// How often it happened; once, unless the run went on ([`crate::Options::keep_going`]).
    pub times: u64,
}

impl Violation {
    /// Its time is known when it is recorded.
    pub fn new(property: &'static str, rule: Option<Rule>, text: String) -> Violation {
        Violation { property, rule, at: 0, text, times: 1 }
    }

    /// `P4 (R7)`
    pub fn name(&self) -> String {
        self.rule.map_or_else(|| self.property.to_string(), |rule| format!("{} ({rule})", self.property))
    }
}

pub struct World {
    pub queue: Queue<Event>,
    pub rng: Rng,
    pub network: Network,
    pub nodes: BTreeMap<NodeId, Node>,
    pub clients: Vec<Client>,
    pub model: Model,
    /// The newest decision that the checkers have seen.
    decided: Arc<ClusterState>,
    coordination_at: Time,
    pub operators: Operators,
    pub checkers: Checkers,
    pub plan: Plan,
    pub stats: Stats,
    /// In the order in which they happened; one for each pair of property and rule.
    pub violations: Vec<Violation>,
    /// The run goes on after a violation, until the faults end.
    pub keep_going: bool,
    pub hash: TraceHash,
    trace: Trace,
    /// The faults are over.
    pub healing: bool,
    /// Clients finish what they have and begin nothing new.
    closing: bool,
    /// Two people gave up acknowledged writes.
    given_up: bool,
    /// A quorum was forced out of a node that was out of sync: what it lacks is given up with its grant.
    forced_loss: bool,
    /// Nodes whose copy the cluster has left behind since, until it is set aside.
    superseded: BTreeSet<NodeId>,
    marks: healing::Marks,
    /// Of one poll; kept for its memory.
    effects: Vec<Effect>,
    /// Bytes between nodes that stand for more, in a sized run.
    bulk_moved: u64,
    tally: Tally,
    /// Only when the timeline is wanted.
    /// Commands that may be echoed, newest last; at most [`ECHOES_MAX`].
    said: VecDeque<Command>,
    recording: Option<Box<record::Recording>>,
    watch: Option<Watch>,
    /// Whoever watched has seen enough.
    stopped: bool,
}

impl World {
    pub fn new(seed: u64, plan: impl FnOnce(&mut Rng) -> Plan, trace: Trace, bugs: Bugs) -> World {
        // A run that was to show a bug and cannot must not look like one in which all is well.
        assert!(bugs.is_empty() || planted::AVAILABLE, "this build cannot plant bugs");
        planted::plant(bugs);
        let mut rng = Rng::new(seed);
        let plan = plan(&mut rng.fork());
        let state = initial_state(&plan);
        let coordination = if plan.rough_coordination { model::Settings::ROUGH } else { model::Settings::CALM };
        let model = Model::new(rng.next(), coordination, &NODES, state);
        let disk_bytes = disk_bytes(&plan);
        let mut nodes: BTreeMap<_, _> =
            NODES.map(|id| (id, Node::new(id, (id != W).then_some(disk_bytes), &mut rng))).into_iter().collect();
        for id in SPARES.into_iter().take(plan.cluster.spares.into()) {
            nodes.insert(id, Node { state: NodeState::Off, ..Node::new(id, Some(disk_bytes), &mut rng) });
        }
        let mut world = World {
            queue: Queue::default(),
            network: Network::new(rng.fork()),
            nodes,
            clients: Vec::new(),
            decided: model.newest(),
            model,
            coordination_at: Time::MAX,
            operators: Operators::new(rng.fork(), plan.approvals),
            checkers: Checkers::default(),
            plan,
            stats: Stats::default(),
            violations: Vec::new(),
            keep_going: false,
            hash: TraceHash::default(),
            trace,
            healing: false,
            closing: false,
            given_up: false,
            forced_loss: false,
            superseded: BTreeSet::new(),
            marks: healing::Marks::default(),
            effects: Vec::new(),
            bulk_moved: 0,
            tally: Tally::default(),
            said: VecDeque::new(),
            recording: None,
            watch: None,
            stopped: false,
            rng,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for node in [A, B] {
            let disk = self.nodes[&node].disk().expect("a file server");
            Volume::create(Arc::new(disk), CLUSTER, VOLUME, volume_options(&self.plan)).expect("a new volume on an empty disk");
        }
        let newest = self.model.newest();
        let found = self.checkers.decided(0, &ClusterState::default(), &newest, &self.nodes);
        self.record(found);
        for node in NODES {
            // The first boot is the one that `initial_state` knows.
            let delay = self.rng.below(SECOND / 10);
            let boot = self.nodes[&node].boot;
            self.queue.after(delay, Event::Boot { node, boot });
        }
        self.add_clients();
        self.set_sized_links();
        for index in 0..self.plan.script.len() {
            self.queue.at(self.plan.script[index].0, Event::Script(index));
        }
        self.queue.after(SECOND, Event::Operators);
    }

    /// Runs until `until`, or until something is wrong.
    pub fn run_until(&mut self, until: Time) {
        while self.goes_on() {
            let Some(event) = self.queue.pop(until) else { break };
            self.happen(event);
        }
        self.stats.simulated = self.queue.now();
    }

    /// Runs until `done`, at most until `until`. False: it was not done in time.
    pub fn run_while(&mut self, until: Time, mut done: impl FnMut(&World) -> bool) -> bool {
        while self.goes_on() {
            if done(self) {
                return true;
            }
            let Some(event) = self.queue.pop(until) else { return false };
            self.happen(event);
        }
        false
    }

    pub fn now(&self) -> Time {
        self.queue.now()
    }

    fn goes_on(&self) -> bool {
        (self.keep_going || self.violations.is_empty()) && !self.stopped
    }

    fn happen(&mut self, event: Event) {
        if self.watch.is_some() && !self.shown(&event) {
            return;
        }
        self.stats.events += 1;
        self.hash.mix(self.queue.now());
        match event {
            Event::Node { node, boot, event } => self.node_event(node, boot, event),
            Event::Boot { node, boot } => self.boot(node, boot),
            Event::Coordination => self.coordinate(),
            Event::Client { client, event } => self.client_event(client, event),
            Event::Operators => self.operate(),
            Event::Depart(node) => self.depart(node),
            Event::SwitchOn(node) => self.start(node),
            // What was planned for later is a fault like the others: over.
            Event::Script(_) if self.healing => {}
            Event::Script(index) => {
                let action = self.plan.script[index].1.clone();
                self.act(action);
            }
        }
        if self.recording.is_some() {
            self.observe();
        }
    }

    /// Text of what happens, made only when somebody reads it.
    pub fn trace(&self, level: Trace, text: impl FnOnce() -> String) {
        if self.trace != Trace::Off && (level == Trace::Brief || self.trace == Trace::Full) {
            let now = self.queue.now();
            // A reader that went away (`| head`) is no finding.
            let _ = writeln!(std::io::stdout(), "{:>4}.{:06} {}", now / SECOND, now % SECOND / 1_000, text());
        }
    }

    pub fn violate(&mut self, property: &'static str, rule: Option<Rule>, text: String) {
        self.record([Violation::new(property, rule, text)]);
    }

    /// The same again is counted, so that a run that goes on stays readable.
    fn record(&mut self, found: impl IntoIterator<Item = Violation>) {
        for violation in found {
            let same = |known: &&mut Violation| (known.property, known.rule) == (violation.property, violation.rule);
            if let Some(known) = self.violations.iter_mut().find(same) {
                known.times += 1;
                continue;
            }
            self.trace(Trace::Brief, || format!("VIOLATION {}: {}", violation.name(), violation.text));
            self.mark_violation(&violation);
            self.violations.push(Violation { at: self.queue.now(), ..violation });
        }
    }

    /// What must be so when the faults are over, before anything heals.
    pub fn end_of_faults(&mut self) {
        if self.goes_on() {
            self.late_at_the_end();
        }
    }

    // ---- coordination --------------------------------------------------------------------------------------------------

    fn propose(&mut self, from: NodeId, ticket: u64, command: Command) {
        self.trace(Trace::Brief, || format!("{from} proposes {command:?}"));
        self.said.push_back(command.clone());
        if self.said.len() > ECHOES_MAX {
            self.said.pop_front();
        }
        let found = self.checkers.asked(self.queue.now(), from, &command, &self.decided, &self.nodes);
        self.record(found);
        self.hand_in(from, ticket, command);
    }

    /// What `from` has said is on its way to be decided.
    fn hand_in(&mut self, from: NodeId, ticket: u64, command: Command) {
        self.model.propose(Mono(self.queue.now()), from, ticket, command);
        self.schedule_coordination();
    }

    fn schedule_coordination(&mut self) {
        let Some(at) = self.model.next_event().map(|at| at.0.max(self.queue.now())) else { return };
        if at < self.coordination_at {
            self.coordination_at = at;
            self.queue.at(at, Event::Coordination);
        }
    }

    fn coordinate(&mut self) {
        if self.coordination_at > self.queue.now() {
            return;
        }
        self.coordination_at = Time::MAX;
        let deliveries = self.model.take(Mono(self.queue.now()));
        self.see_decisions();
        for delivery in deliveries {
            let node = delivery.node;
            let event = match delivery.kind {
                DeliveryKind::Decided(view) => Some(NodeEvent::Decided(view)),
                DeliveryKind::Proposed { ticket, result } => self.answered(node, ticket, result),
            };
            if let Some(event) = event {
                let boot = self.nodes[&node].boot;
                self.node_event(node, boot, event);
            }
        }
        self.schedule_coordination();
    }

    /// What came of a command, for who waits for it: a node, or a person, whose answer is judged and is no event of the node's.
    fn answered(&mut self, node: NodeId, ticket: u64, result: model::ProposeResult) -> Option<NodeEvent> {
        let result = match result {
            model::ProposeResult::Accepted(_) => ProposeResult::Accepted,
            model::ProposeResult::Refused(refusal) => {
                self.tally.refused(refusal.rule);
                self.trace(Trace::Brief, || format!("{node} is refused: {}", refusal.message));
                self.mark(node, MarkKind::Refusal, || refusal.message.clone());
                ProposeResult::Refused(refusal)
            }
            model::ProposeResult::Unknown => ProposeResult::Unknown,
        };
        let Some(word) = self.operators.answered(ticket) else {
            return Some(NodeEvent::Proposed { ticket, result: Box::new(result) });
        };
        if let ProposeResult::Accepted = result {
            self.trace(Trace::Brief, || format!("{} is told that the word on {} counts", word.by, word.proposal));
            let found = self.checkers.told(&word, &self.decided);
            self.record(found);
        }
        None
    }

    fn see_decisions(&mut self) {
        let newest = self.model.newest();
        if Arc::ptr_eq(&newest, &self.decided) {
            return;
        }
        let before = std::mem::replace(&mut self.decided, newest.clone());
        let now = self.queue.now();
        self.trace(Trace::Brief, || decision_text(&before, &newest));
        self.note_decision(&before, &newest);
        self.follow_members(&before, &newest);
        // Judges who can name a rule speak first.
        let found = self.checkers.decided(now, &before, &newest, &self.nodes);
        self.record(found);
        let forced = self.forced_loss && crate::checkers::granted_anew(&before, &newest);
        if forced || crate::checkers::gave_up(&before, &newest) {
            (self.given_up, self.forced_loss) = (true, false);
            self.forget_what_was_given_up();
        }
        if let Some(node) = set_aside(&before, &newest) {
            self.copy_was_set_aside(node);
        }
        let (old, new) = (before.volumes.get(&VOLUME), newest.volumes.get(&VOLUME));
        if old.map(|volume| volume.epoch) != new.map(|volume| volume.epoch) {
            self.stats.failovers += 1;
            if self.plan.expect.no_role_change && !self.healing {
                self.violate("P4", None, "the primary changed, which this scenario gives no reason for".into());
            }
            self.check_budget();
        }
    }

    /// P5, as far as the scenario sets a bound.
    fn check_budget(&mut self) {
        // The first grant, before the run, is not counted by anybody.
        let (changes, most) = (self.stats.failovers, self.plan.expect.role_changes_max);
        if let Some(most) = most.filter(|most| changes > *most as u64 && !self.healing) {
            self.violate("P5", None, format!("the primary changed {changes} times, at most {most} are allowed in this scenario"));
        }
    }

    /// The newest decision, which perhaps no node knows yet.
    pub fn decided(&self) -> &Arc<ClusterState> {
        &self.decided
    }
}

/// The node whose copy somebody has set aside by this decision.
fn set_aside(before: &ClusterState, after: &ClusterState) -> Option<NodeId> {
    after.audit.after(before.audit.count).find_map(|event| match event.event {
        mainstay_cluster::Event::CopySetAside { node } => Some(node),
        _ => None,
    })
}

fn decision_text(before: &ClusterState, after: &ClusterState) -> String {
    let Some(volume) = after.volumes.get(&VOLUME) else { return format!("decided v{}", after.version) };
    let proposals =
        after.proposals.iter().filter(|(id, proposal)| before.proposals.get(id).map(|old| &old.state) != Some(&proposal.state));
    let proposals: Vec<String> =
        proposals.map(|(id, proposal)| format!("{id} {} {:?}", proposal.candidate, proposal.state)).collect();
    format!(
        "decided v{}: {} reign {:?} in-sync {:?} (v{}) loss {} {}{}",
        after.version,
        volume.epoch,
        volume.reign.map(|reign| (reign.node, reign.incarnation, reign.state)),
        volume.in_sync,
        volume.in_sync_version,
        volume.loss_epoch,
        if volume.fenced { "fenced " } else { "" },
        proposals.join(" ")
    )
}

/// Small enough that rotation, checkpoints, compaction and resync by change all happen within a simulated minute. Everything is
/// scrubbed a few times in a run of any length: in a quiet hour that would otherwise be most of the work.
pub fn volume_options(plan: &Plan) -> VolumeOptions {
    let options = VolumeOptions {
        segment_bytes: 2 << 20,
        retain_bytes: 4 << 20,
        reserve_bytes: 6 << 20,
        prepared_segments: 1,
        tail_cache_bytes: 256 << 10,
        checkpoint_bytes: 512 << 10,
        checkpoint_ms: 3_000,
        compact_bytes_per_s: 8 << 20,
        scrub_bytes_per_s: 1 << 20,
        scrub_pause_ms: (plan.faults_end / MILLISECOND / SCRUBS).max(20_000),
        ..VolumeOptions::default()
    };
    match &plan.sized {
        // At this scale the scrub and compaction would be most of what the disk does: one copy of it keeps it for minutes.
        Some(sized) => VolumeOptions {
            retain_bytes: sized.retain_bytes.max(options.retain_bytes),
            scrub_bytes_per_s: 0,
            compact_below_percent: 0,
            ..options
        },
        None => options,
    }
}

/// Of each file server.
fn disk_bytes(plan: &Plan) -> u64 {
    if plan.sized.is_some() { SIZED_DISK_BYTES } else { DISK_BYTES }
}

fn person(name: &str) -> Actor {
    Actor::Person(name.into())
}

/// What `init`, two joins and `volume create` have decided before the run begins; all nodes know it.
fn initial_state(plan: &Plan) -> ClusterState {
    let at = Timestamp::from_millis(0);
    let settings = Settings {
        lease_ms: plan.lease_ms,
        contact_lost_ms: plan.cluster.contact_lost_ms.unwrap_or(plan.lease_ms),
        approval_ms: plan.cluster.approval_ms,
        // The least that a long lease allows.
        margin_ms: Settings::default().margin_ms.max(plan.lease_ms.div_ceil(50)),
        ..Settings::default()
    };
    let address = |name: &str| format!("{name}:1");
    let (init, witness) = (person("admin"), NodeKind::Witness);
    let mut commands = vec![Command::Init {
        cluster: CLUSTER,
        name: "simulated".into(),
        settings,
        node: "a".into(),
        kind: NodeKind::FileServer,
        peer_address: address("a"),
        admin_address: address("a"),
        actor: init.clone(),
        at,
    }];
    for (name, kind) in [("b", NodeKind::FileServer), ("w", witness)] {
        let (peer_address, admin_address) = (address(name), address(name));
        commands.push(Command::AddNode { name: name.into(), kind, peer_address, admin_address, actor: init.clone(), at });
    }
    let software = || shell::software(false).to_string();
    commands.extend(NODES.map(|node| Command::Booted { node, incarnation: Incarnation(1), software: software(), at }));
    commands.push(Command::CreateVolume {
        name: "files".into(),
        replicas: BTreeSet::from([A, B]),
        primary: plan.cluster.primary,
        policy: Policy::Manual,
        without_primary: plan.cluster.without_primary,
        export: ExportSettings::default(),
        actor: init,
        at,
    });
    let mut state = ClusterState::default();
    for command in &commands {
        state.apply(command).expect("the first commands are lawful");
    }
    // Scaled, it may be less than anybody may set.
    state.settings.resync_bytes_per_second = plan.resync_bytes_per_second;
    let cluster = &plan.cluster;
    state.volumes.values_mut().for_each(|volume| {
        volume.breaker.open = cluster.breaker_open;
        volume.rules.alone = cluster.alone;
        volume.rules.role_changes_max = cluster.role_changes_max;
        volume.policy = cluster.policy;
    });
    state
}

/// Operators become helpful, whatever they were before.
pub const HELPFUL: Approvals = Approvals::After(SECOND / 10, SECOND / 2);
