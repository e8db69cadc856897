//! What the simulator is going to give by itself: the timeline, the numbers, sizes, minimising and scenario files. Here only so that
//! the commands can be built on their final shapes.

use mainstay_cluster::{Actor, ClusterState, ProposalState};
use mainstay_protocol::NodeId;
use mainstay_simulator::network::End;
use mainstay_simulator::queue::{MILLISECOND, SECOND};
use mainstay_simulator::scenario::{A, Action, B, NODES, W};
use mainstay_simulator::world::{Event, NodeState, VOLUME};
use mainstay_simulator::{Bug, Outcome, Scenario, Trace, World};
use serde::Serialize;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

#[derive(Clone, Debug, Default, Serialize)]
pub struct Timeline {
    pub end_ns: u64,
    pub lanes: Vec<Lane>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Lane {
    pub name: String,
    pub kind: &'static str,
    pub spans: Vec<Span>,
    pub marks: Vec<Mark>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Span {
    pub from_ns: u64,
    pub to_ns: u64,
    pub kind: &'static str,
    pub text: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct Mark {
    pub at_ns: u64,
    pub kind: &'static str,
    pub text: String,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Numbers {
    pub outage_ns: u64,
    pub read_outage_ns: u64,
    pub without_redundancy_ns: u64,
    pub bytes_moved: u64,
    pub bytes_changed: u64,
    pub in_sync_after_ns: Option<u64>,
    pub role_changes: u64,
    pub promotions: u64,
    pub client_errors: u64,
    pub operations: u64,
    pub simulated_ns: u64,
    pub alerts: u64,
    pub refusals: BTreeMap<String, u64>,
}

/// Bytes, bytes per second and nanoseconds; `None`: as the scenario has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizing {
    pub volume_bytes: Option<u64>,
    pub changed_bytes: Option<u64>,
    pub link_bytes_per_second: Option<u64>,
    pub disk_bytes_per_second: Option<u64>,
    pub rtt_ns: Option<u64>,
}

#[allow(dead_code)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    pub trace: Trace,
    pub bug: Option<Bug>,
    pub timeline: bool,
    pub sizing: Option<Sizing>,
}

pub struct Run {
    pub outcome: Outcome,
    pub timeline: Option<Timeline>,
    pub numbers: Numbers,
}

pub fn run(seed: u64, scenario: &Scenario, options: &Options) -> Run {
    let mut world = World::new(seed, scenario.plan, options.trace, options.bug);
    let recorder = Rc::new(RefCell::new(Recorder::new(&world)));
    let watcher = recorder.clone();
    world.watch(Box::new(move |world, event| {
        watcher.borrow_mut().see(world, event);
        true
    }));
    mainstay_simulator::drive(&mut world);
    let mut recorder = recorder.borrow_mut();
    let mut numbers = recorder.numbers.clone();
    numbers.bytes_moved = world.stats.bytes_moved;
    numbers.role_changes = world.stats.failovers;
    numbers.promotions = world.stats.failovers;
    numbers.client_errors = world.stats.given_up;
    numbers.operations = world.stats.ops;
    numbers.simulated_ns = world.stats.simulated;
    let timeline = options.timeline.then(|| recorder.finish(&world));
    let outcome = Outcome {
        scenario: scenario.name,
        seed,
        trace_hash: world.hash.value(),
        stats: world.stats,
        violations: std::mem::take(&mut world.violations),
    };
    Run { outcome, timeline, numbers }
}

/// Nothing is left out yet.
pub fn minimise(seed: u64, scenario: &Scenario) -> String {
    print(seed, scenario)
}

/// What a violated run is kept as.
pub fn print(seed: u64, scenario: &Scenario) -> String {
    format!("# mainstay drill replay FILE\nscenario {}\nseed {seed}\n", scenario.name)
}

/// Scenario name and seed of such a file; errors say line and column.
pub fn parse(text: &str) -> Result<(String, u64), String> {
    let (mut scenario, mut seed) = (None, None);
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "" | "#" => {}
            "scenario" => scenario = Some(rest.to_string()),
            "seed" => {
                let value =
                    rest.parse().map_err(|_| format!("line {number}, column 6: {rest:?} is not a seed (a whole number)"))?;
                seed = Some(value);
            }
            other => return Err(format!("line {number}, column 1: unknown word {other:?}; scenario and seed are known")),
        }
    }
    let last = text.lines().count() + 1;
    let missing = |word: &str| format!("line {last}, column 1: the file ends without a {word}");
    Ok((scenario.ok_or_else(|| missing("scenario"))?, seed.ok_or_else(|| missing("seed"))?))
}

const SAMPLE: u64 = 20 * MILLISECOND;
const OUTAGE: u64 = SECOND;
/// Lanes by index: the three nodes, then these.
const CLIENTS: usize = 3;
const OPERATORS: usize = 4;
const NETWORK: usize = 5;

struct Recorder {
    timeline: Timeline,
    open: BTreeMap<(usize, &'static str), (u64, String)>,
    sampled: Option<u64>,
    decided: Arc<ClusterState>,
    answered: (u64, u64),
    numbers: Numbers,
    alone_since: Option<u64>,
}

fn letter(node: NodeId) -> &'static str {
    match node {
        A => "a",
        B => "b",
        W => "w",
        _ => "?",
    }
}

fn lane_of(node: NodeId) -> usize {
    NODES.iter().position(|id| *id == node).unwrap_or(0)
}

impl Recorder {
    fn new(world: &World) -> Recorder {
        let lane = |name: &str, kind| Lane { name: name.into(), kind, spans: vec![], marks: vec![] };
        let mut lanes: Vec<Lane> = NODES.iter().map(|node| lane(letter(*node), "node")).collect();
        lanes.extend([lane("clients", "clients"), lane("operators", "operators"), lane("network", "network")]);
        Recorder {
            timeline: Timeline { end_ns: 0, lanes },
            open: BTreeMap::new(),
            sampled: None,
            decided: world.decided().clone(),
            answered: (0, 0),
            numbers: Numbers::default(),
            alone_since: None,
        }
    }

    fn mark(&mut self, lane: usize, at_ns: u64, kind: &'static str, text: impl Into<String>) {
        self.timeline.lanes[lane].marks.push(Mark { at_ns, kind, text: text.into() });
    }

    fn keep(&mut self, lane: usize, kind: &'static str, now: u64, text: Option<String>) {
        if self.open.get(&(lane, kind)).map(|(_, text)| text) == text.as_ref() {
            return;
        }
        if let Some((from_ns, text)) = self.open.remove(&(lane, kind)) {
            self.timeline.lanes[lane].spans.push(Span { from_ns, to_ns: now, kind, text });
        }
        if let Some(text) = text {
            self.open.insert((lane, kind), (now, text));
        }
    }

    fn see(&mut self, world: &World, event: &Event) {
        if let Event::Script(index) = event
            && !world.healing
        {
            self.action(world.now(), &world.plan.script[*index].1);
        }
        let now = world.now();
        if self.sampled.is_some_and(|last| now < last + SAMPLE) {
            return;
        }
        self.sampled = Some(now);
        NODES.iter().for_each(|node| self.node(world, *node));
        self.clients(world);
        self.decisions(world);
    }

    fn node(&mut self, world: &World, id: NodeId) {
        let (now, lane, node) = (world.now(), lane_of(id), &world.nodes[&id]);
        let status = node.process.as_ref().map(|process| process.replica.status(node.clock.now(now)));
        let role = status.as_ref().map(|status| match status.role {
            "catching-up" | "resyncing" => "secondary",
            role => role,
        });
        self.keep(lane, "role", now, role.map(str::to_string));
        self.keep(lane, "down", now, (!node.up() && node.state != NodeState::Paused).then(|| "off".into()));
        self.keep(lane, "paused", now, (node.state == NodeState::Paused).then(|| "paused".into()));
        let lease = status.as_ref().filter(|status| status.lease_ms > 0).map(|_| "lease held".to_string());
        self.keep(lane, "lease", now, lease);
        let volume = self.decided.volumes.get(&VOLUME);
        let in_sync = id != W && status.is_some() && volume.is_some_and(|volume| volume.in_sync.contains_key(&id));
        self.keep(lane, "in-sync", now, in_sync.then(|| "in sync".into()));
        let resync = status.and_then(|status| status.resync).map(|resync| {
            let per_cent = (100 * resync.inode).checked_div(resync.inodes_total).unwrap_or(0).min(100);
            format!("{} %", per_cent / 5 * 5)
        });
        self.keep(lane, "resync", now, resync);
        let lost: Vec<&str> = NODES
            .iter()
            .filter(|to| **to != id && world.network.is_cut(End::Node(id), End::Node(**to)))
            .map(|to| letter(*to))
            .collect();
        self.keep(lane, "cut", now, (!lost.is_empty()).then(|| format!("cannot reach {}", lost.join(" and "))));
        self.keep(lane, "disk", now, (node.hang_until > now).then(|| "disk hangs".into()));
    }

    fn clients(&mut self, world: &World) {
        let now = world.now();
        if world.stats.ops != self.answered.1 {
            self.answered = (now, world.stats.ops);
        }
        let waiting: usize = world.clients.iter().map(|client| client.waiting()).sum();
        let silent = now - self.answered.0;
        let out = waiting > 0 && silent >= OUTAGE;
        if out {
            self.numbers.outage_ns = self.numbers.outage_ns.max(silent);
            self.open.entry((CLIENTS, "outage")).or_insert((now - silent, "no write answered".into()));
        } else {
            self.keep(CLIENTS, "outage", now, None);
        }
        let alone = self.decided.volumes.get(&VOLUME).is_some_and(|volume| volume.in_sync.len() < 2);
        match (alone, self.alone_since) {
            (true, None) => self.alone_since = Some(now),
            (false, Some(since)) => {
                self.numbers.without_redundancy_ns += now - since;
                self.numbers.in_sync_after_ns = Some(now - since);
                self.alone_since = None;
            }
            _ => {}
        }
    }

    fn decisions(&mut self, world: &World) {
        let (before, after) = (self.decided.clone(), world.decided().clone());
        if Arc::ptr_eq(&before, &after) {
            return;
        }
        let now = world.now();
        let (Some(old), Some(new)) = (before.volumes.get(&VOLUME), after.volumes.get(&VOLUME)) else { return };
        if let (true, Some(node)) = (old.epoch != new.epoch, new.primary()) {
            self.mark(lane_of(node), now, "epoch", format!("primary of epoch {}", new.epoch.0));
        }
        let owner = new.primary().or(old.primary()).map_or(NETWORK, lane_of);
        match new.in_sync.len().cmp(&old.in_sync.len()) {
            std::cmp::Ordering::Less => self.mark(owner, now, "shrink", "in-sync set shrinks"),
            std::cmp::Ordering::Greater => self.mark(owner, now, "grow", "in-sync set grows"),
            std::cmp::Ordering::Equal => {}
        }
        for (id, proposal) in &after.proposals {
            if before.proposals.get(id).map(|old| &old.state) == Some(&proposal.state) {
                continue;
            }
            let what = format!("proposal {}: {} as the primary", id.0, letter(proposal.candidate));
            match &proposal.state {
                ProposalState::Pending => self.mark(OPERATORS, now, "proposal", what),
                ProposalState::Fencing => self.mark(OPERATORS, now, "approval", format!("approved {what}")),
                ProposalState::Denied { by: Actor::Person(name), .. } => {
                    self.mark(OPERATORS, now, "denial", format!("{name} denied {what}"));
                }
                _ => {}
            }
        }
        self.decided = after;
    }

    fn action(&mut self, now: u64, action: &Action) {
        let text = format!("{action:?}");
        let (lane, kind) = match action {
            Action::Crash(node, _) => (lane_of(*node), "crash"),
            Action::Start(node) => (lane_of(*node), "boot"),
            Action::Stop(node) | Action::Pause(node) | Action::Resume(node) => (lane_of(*node), "message"),
            Action::BeginMaintenance(_) => (OPERATORS, "maintenance-begin"),
            Action::EndMaintenance(_) => (OPERATORS, "maintenance-end"),
            _ => (NETWORK, "message"),
        };
        self.mark(lane, now, kind, text);
    }

    fn finish(&mut self, world: &World) -> Timeline {
        let now = world.now();
        let open: Vec<(usize, &'static str)> = self.open.keys().copied().collect();
        open.into_iter().for_each(|(lane, kind)| self.keep(lane, kind, now, None));
        for violation in &world.violations {
            self.mark(NETWORK, violation.at, "violation", format!("{}: {}", violation.property, violation.text));
        }
        self.timeline.end_ns = now;
        std::mem::take(&mut self.timeline)
    }
}

/// Properties and rules of a scenario, until scenarios say so themselves.
pub fn checks(name: &str) -> (&'static [&'static str], &'static [&'static str]) {
    const ALL: &[&str] = &["P1", "P2", "P3", "P4", "P6", "P7"];
    let rules: &[&str] = match name.split(' ').next().unwrap_or(name) {
        "S01" => &["R3", "R7", "R9", "R10", "R11"],
        "S03" => &["R3", "R5", "R9"],
        "S04" => &["R2", "R9", "R13"],
        "S06" | "R4" => &["R4", "R5"],
        "S07" | "S08" => &["R1", "R13"],
        "S12" => &["R2", "R13"],
        "S18" | "S20" => &["R11"],
        "R2" => &["R2"],
        "S30" | "R9" => &["R9"],
        _ => &[],
    };
    (ALL, rules)
}

/// What a reader must know as long as sizes are only checked.
pub fn note(sizing: Option<Sizing>) -> Option<String> {
    sizing.map(|_| "sizes and rates were checked, but this build does not simulate them: the scenario's own were used".into())
}
