//! Everything that can happen, at random, with random operators.

use crate::disk::{Crash, DiskFaults};
use crate::network::Quality;
use crate::queue::{MICROSECOND, MILLISECOND, SECOND, Time};
use crate::rng::Rng;
use crate::scenario::{A, Action, Approvals, B, D, E, Hook, NODES, Plan, SPARES, Scenario, W};
use mainstay_cluster::{Alone, Policy};
use mainstay_protocol::NodeId;

pub fn random_mix() -> Scenario {
    let story = "Hours as a cluster has them: long quiet stretches, and between them rushes of work in which faults of every kind \
                 come thick and fast on every node, with operators who are sometimes wrong. Afterwards everything must come together \
                 again.";
    Scenario::function("random_mix", story, plan)
}

const MINUTE: Time = 60 * SECOND;
const SHORTEST: Time = 4 * MINUTE;
const LONGEST: Time = 90 * MINUTE;
/// Runs in which people give up acknowledged writes where they might: what is judged of what came before is less then.
const LOSSES_PERCENT: u64 = 8;
/// Runs in which a majority is gone for good at some time, and two people go on with what is left.
const FORCED_PERCENT: u64 = 5;
/// Runs in which members and copies change.
const MEMBERS_PERCENT: u64 = 20;
/// Pauses of a worker between two operations, while there is much to do.
const RUSHES: [(Time, Time); 3] =
    [(MILLISECOND, 20 * MILLISECOND), (5 * MILLISECOND, 80 * MILLISECOND), (20 * MILLISECOND, 200 * MILLISECOND)];

/// How much of each fault this run has: runs that mix everything hide what runs of one kind show.
struct Mood {
    crashes: u64,
    pauses: u64,
    cuts: u64,
    disks: u64,
    clocks: u64,
    operators: u64,
}

fn plan(rng: &mut Rng) -> Plan {
    let mut plan = Plan::calm(rng.log_range(SHORTEST, LONGEST));
    plan.clients = 8;
    plan.workers_per_client = 1;
    // Heartbeats are most of what happens in a quiet hour: short leases are for short runs.
    let leases: &[u64] = if plan.faults_end < 8 * MINUTE { &[500, 1_000, 2_000] } else { &[1_000, 2_000, 3_000] };
    plan.lease_ms = *rng.pick(leases);
    plan.rough_coordination = rng.percent(50);
    plan.approvals = *rng.pick(&[
        Approvals::After(SECOND / 2, 3 * SECOND),
        Approvals::After(100 * MILLISECOND, 10 * SECOND),
        Approvals::Erratic(SECOND / 2, 5 * SECOND),
    ]);
    plan.large_writes = rng.percent(30);
    plan.soft_percent = *rng.pick(&[0, 30, 100]);
    plan.cluster.policy = *rng.pick(&[Policy::Manual, Policy::Manual, Policy::Guarded]);
    plan.cluster.alone = *rng.pick(&[Alone::Serve, Alone::Serve, Alone::Serve, Alone::ReadOnly]);
    if rng.percent(50) {
        plan.at(0, Action::Quality(weather(rng)));
    }
    let mut level = || *rng.pick(&[0, 0, 1, 3]);
    let mood = Mood { crashes: level() + 1, pauses: level(), cuts: level(), disks: level(), clocks: level(), operators: level() };
    let mut at = 2 * SECOND;
    while at < plan.faults_end {
        let end = rush(rng, &mut plan, &mood, at);
        at = end + quiet(rng, &mut plan, end);
    }
    plan.think = RUSHES[1];
    if rng.percent(LOSSES_PERCENT) {
        give_up_at_times(rng, &mut plan);
    }
    if rng.percent(MEMBERS_PERCENT) {
        members(rng, &mut plan);
    } else if rng.percent(FORCED_PERCENT) {
        force_quorum(rng, &mut plan);
    }
    plan.cluster.hook = *rng.pick(&[Hook::Absent, Hook::Works, Hook::Mixed]);
    plan
}

/// Machines join and leave, and copies come and go, whatever else happens.
fn members(rng: &mut Rng, plan: &mut Plan) {
    plan.cluster.spares = SPARES.len() as u16;
    for _ in SPARES {
        let at = rng.range(SECOND, plan.faults_end / 2);
        plan.at(at, Action::Join);
    }
    for _ in 0..rng.range(2, 16) {
        let (at, node) = (rng.range(SECOND, plan.faults_end), *rng.pick(&[A, B, D, E]));
        let wish = match rng.below(8) {
            0..3 => Action::AddReplica(node),
            3..6 => Action::RemoveReplica { node, accept_single: rng.one_in(8) },
            6 => Action::RemoveNode(node),
            _ => Action::Switchover(node),
        };
        plan.at(at, wish);
    }
}

/// Two of three machines burn. Where somebody starts one of them in time, or what is left is of no use, nothing comes of it.
fn force_quorum(rng: &mut Rng, plan: &mut Plan) {
    let at = rng.range(plan.faults_end / 4, plan.faults_end);
    let (left, lost) = *rng.pick(&[(A, B), (B, A)]);
    plan.at(at, Action::Crash(lost, Crash::Power));
    let after = at + rng.below(5 * SECOND);
    plan.at(after, Action::Crash(W, Crash::Power))
        .at(after, Action::Crash(lost, Crash::Power))
        .at(after, Action::ForceQuorum(left));
    for _ in 0..rng.below(4) {
        let later = after + rng.range(2 * SECOND, MINUTE);
        plan.at(later, Action::GiveUp(left));
    }
}

/// Half of those who ask for a promotion do so whatever it loses, and more people ask.
fn give_up_at_times(rng: &mut Rng, plan: &mut Plan) {
    for (_, action) in plan.script.iter_mut() {
        match action {
            Action::Promote(node) if rng.percent(50) => *action = Action::GiveUp(*node),
            Action::Echo => *action = Action::GiveUp(*rng.pick(&[A, B])),
            _ => {}
        }
    }
    for _ in 0..rng.below(6) {
        let at = rng.range(4 * SECOND, plan.faults_end);
        plan.at(at, Action::GiveUp(*rng.pick(&[A, B])));
    }
}

/// Some seconds of load with faults. Returns when it is over.
fn rush(rng: &mut Rng, plan: &mut Plan, mood: &Mood, begins: Time) -> Time {
    let (low, high) = *rng.pick(&RUSHES);
    plan.at(begins, Action::Think(low, high));
    let ends = begins + rng.range(8 * SECOND, 30 * SECOND);
    let mut at = begins + rng.log_range(200 * MILLISECOND, 2 * SECOND);
    while at < ends {
        fault(rng, plan, mood, at);
        at += rng.log_range(200 * MILLISECOND, 12 * SECOND);
    }
    ends + rng.range(0, 5 * SECOND)
}

/// Little or nothing is asked; what a fault has left behind goes on. Returns how long.
fn quiet(rng: &mut Rng, plan: &mut Plan, begins: Time) -> Time {
    let (low, high) = *rng.pick(&[(MINUTE, 20 * MINUTE), (20 * SECOND, 4 * MINUTE)]);
    plan.at(begins, Action::Think(low, high));
    rng.log_range(MINUTE, 90 * MINUTE)
}

fn weather(rng: &mut Rng) -> Quality {
    Quality {
        delay: rng.log_range(50 * MICROSECOND, 20 * MILLISECOND),
        jitter: rng.log_range(50 * MICROSECOND, 20 * MILLISECOND),
        loss_ppm: *rng.pick(&[0, 1_000, 20_000]),
        duplicate_ppm: *rng.pick(&[0, 1_000, 20_000]),
        reorder_ppm: *rng.pick(&[0, 10_000, 100_000]),
        bytes_per_second: *rng.pick(&[0, 0, 20_000_000]),
        mtu_bytes: 0,
    }
}

fn length(rng: &mut Rng) -> Time {
    rng.log_range(100 * MILLISECOND, 15 * SECOND)
}

fn fault(rng: &mut Rng, plan: &mut Plan, mood: &Mood, at: Time) {
    let kinds = [mood.crashes, mood.pauses, mood.cuts, mood.disks, mood.clocks, mood.operators];
    let mut drawn = rng.below(kinds.iter().sum());
    let kind = kinds.iter().position(|weight| {
        let hit = drawn < *weight;
        drawn = drawn.saturating_sub(*weight);
        hit
    });
    let node = *rng.pick(&NODES);
    match kind {
        Some(0) => crash(rng, plan, node, at),
        Some(1) => {
            plan.at(at, Action::Pause(node));
            let end = at + length(rng);
            plan.at(end, Action::Resume(node));
        }
        Some(2) => cut(rng, plan, node, at),
        Some(3) => {
            let node = *rng.pick(&[A, B]);
            disk(rng, plan, node, at)
        }
        Some(4) => {
            plan.at(at, Action::JumpWall(node, rng.range(0, 7_200_000) as i64 - 3_600_000));
        }
        _ => operators(rng, plan, node, at),
    }
}

fn crash(rng: &mut Rng, plan: &mut Plan, node: NodeId, at: Time) {
    let kind = if rng.percent(50) { Crash::Process } else { Crash::Power };
    match rng.below(8) {
        0 => plan.at(at, Action::Stop(node)),
        1 => {
            let gap = rng.log_range(MILLISECOND, 3 * SECOND);
            plan.at(at, Action::Crash(A, kind)).at(at + gap, Action::Crash(B, kind));
            let back = at + gap + length(rng);
            plan.at(back, Action::Start(*rng.pick(&[A, B])));
            let (a, b) = (back + length(rng), back + length(rng));
            plan.at(a, Action::Start(A)).at(b, Action::Start(B))
        }
        _ => plan.at(at, Action::Crash(node, kind)),
    };
    let back = at + length(rng);
    plan.at(back, Action::Start(node));
    // Stopping may take longer than that.
    plan.at(back + 10 * SECOND, Action::Start(node));
}

fn cut(rng: &mut Rng, plan: &mut Plan, node: NodeId, at: Time) {
    let other = *rng.pick(&NODES);
    let end = at + length(rng);
    match rng.below(5) {
        0 => plan.at(at, Action::Isolate(node)),
        1 if other != node => plan.at(at, Action::CutBoth(node, other)),
        2 => plan.at(at, Action::Quality(weather(rng))),
        3 => {
            let swallows = Quality { mtu_bytes: rng.log_range(1_400, 64 << 10), ..Quality::GOOD };
            plan.at(at, Action::LinkQuality(A, B, swallows)).at(end, Action::LinkQuality(A, B, Quality::GOOD))
        }
        _ if other != node => plan.at(at, Action::Cut(node, other)),
        _ => plan.at(at, Action::DeposeLeader),
    };
    plan.at(end, Action::HealLinks);
}

fn disk(rng: &mut Rng, plan: &mut Plan, node: NodeId, at: Time) {
    match rng.below(8) {
        0 => {
            let faults = DiskFaults {
                read_error_ppm: *rng.pick(&[0, 2_000]),
                write_error_ppm: *rng.pick(&[0, 500]),
                sync_error_ppm: *rng.pick(&[0, 500]),
                ..DiskFaults::default()
            };
            plan.at(at, Action::DiskFaults(node, faults));
            let end = at + length(rng);
            plan.at(end, Action::DiskFaults(node, DiskFaults::default()));
        }
        1..3 => {
            plan.at(at, Action::DiskFull(node, rng.below(8 << 20)));
            let end = at + length(rng);
            plan.at(end, Action::DiskRoom(node));
        }
        _ => {
            let time = rng.log_range(10 * MILLISECOND, 8 * SECOND);
            plan.at(at, Action::DiskHang(node, time));
        }
    }
}

fn operators(rng: &mut Rng, plan: &mut Plan, node: NodeId, at: Time) {
    match rng.below(13) {
        12 => {
            plan.at(at, Action::Steal);
        }
        7..=10 => policies(rng, plan, at),
        11 => {
            let as_primary = rng.one_in(2);
            plan.at(at, Action::Fence { node: *rng.pick(&[A, B]), as_primary });
        }
        0 => {
            let (end, lasts, confirmed) = (at + length(rng), length(rng), rng.one_in(2));
            plan.at(at, Action::PlanMaintenance { node, lasts, confirmed });
            if rng.one_in(3) {
                plan.at(rng.range(at, end), Action::ExtendMaintenance { node, lasts });
            }
            plan.at(end, Action::EndMaintenance(node));
        }
        1 => {
            plan.at(at, Action::Approvals(Approvals::None));
            let (end, approvals) = (at + length(rng), plan.approvals);
            plan.at(end, Action::Approvals(approvals));
        }
        2 => {
            plan.at(at, Action::Echo);
        }
        3 => {
            // Often refused, and the rules say why.
            plan.at(at, Action::Promote(*rng.pick(&[A, B])));
        }
        4 | 5 => {
            plan.at(at, Action::SwitchoverAway);
            if rng.percent(30) {
                let changes_mind = at + rng.log_range(MILLISECOND, SECOND);
                plan.at(changes_mind, Action::CallOff);
            }
        }
        _ => {
            let time = length(rng);
            plan.at(at, Action::StallCoordination(node, time));
        }
    }
}

/// What people set while all that goes on. Whatever is laxer waits for a second person.
fn policies(rng: &mut Rng, plan: &mut Plan, at: Time) {
    match rng.below(5) {
        0 => {
            plan.at(at, Action::Hold(true));
            let end = at + length(rng);
            plan.at(end, Action::Hold(false));
        }
        1 => {
            plan.at(at, Action::SetPolicy(Policy::Hold));
            let end = at + length(rng);
            plan.at(end, Action::SetPolicy(*rng.pick(&[Policy::Manual, Policy::Guarded])));
        }
        2 => {
            plan.at(at, Action::SetPolicy(*rng.pick(&[Policy::Manual, Policy::Guarded])));
        }
        3 => {
            plan.at(at, Action::SetAlone(*rng.pick(&[Alone::Serve, Alone::ReadOnly])));
        }
        _ => {
            plan.at(at, Action::ResetBreaker);
        }
    }
}
