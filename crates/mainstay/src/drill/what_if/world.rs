//! The simulated world that begins as the live cluster is, and the step in it.

use super::super::fork::Fork;
use super::super::given::Rules;
use super::super::one::Sizing;
use super::step::{Kind, Step};
use crate::cli::CliError;
use mainstay_simulator::Plan;
use mainstay_simulator::disk::Crash;
use mainstay_simulator::scenario::{Action, Approvals};

const MILLISECOND: u64 = 1_000_000;
pub const SECOND: u64 = 1_000 * MILLISECOND;
/// When the cluster is brought into the state that it has: all nodes run by then and both copies are in sync.
const SETTLED: u64 = 3 * SECOND;
/// The story goes on for so long after a person could have approved.
const TAIL: u64 = 60 * SECOND;
/// A sized run needs something that changes.
const CHANGED_BYTES_MIN: u64 = 1 << 20;
/// Clients that measure how long somebody waits. With few, all may wait for a write, and nobody asks whether reads go on.
const CLIENTS: u32 = 8;

/// What is thought where nothing was measured, and what flags and spec say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thought {
    pub rules: Rules,
    pub sizing: Sizing,
    /// Bytes per second.
    pub change_rate: u64,
    /// Nanoseconds that a person takes to approve.
    pub approve_after: u64,
}

/// # Errors
/// Sizes that cannot be rehearsed.
pub fn plan(fork: &Fork, step: &Step, thought: &Thought) -> Result<Plan, CliError> {
    let mut plan = Plan::calm(0);
    thought.rules.apply(&mut plan);
    (plan.clients, plan.workers_per_client, plan.register_workers) = (CLIENTS, 0, CLIENTS);
    plan.think = think(step.lasts);
    plan.soft_percent = 0;
    plan.approvals = Approvals::None;
    plan.cluster.primary = fork.primary;
    let begins = SETTLED + 3 * missing_after(&plan) + 10 * SECOND;
    make_state(&mut plan, fork, step, begins);
    plan.at(begins, Action::Measure);
    plan.at(begins, Action::Approvals(Approvals::After(thought.approve_after, thought.approve_after + SECOND)));
    take(&mut plan, fork, step, begins);
    plan.cluster.breaker_open = fork.breaker_open;
    plan.faults_end = begins + step.lasts + thought.approve_after + TAIL;
    plan.sizing = Some(sizing(fork, step, thought)?);
    Ok(plan)
}

/// In a long step clients ask less often, so that it is not simulated for minutes.
fn think(lasts: u64) -> (u64, u64) {
    match lasts / (60 * SECOND) {
        0..10 => (200 * MILLISECOND, SECOND),
        10..60 => (SECOND, 4 * SECOND),
        _ => (2 * SECOND, 10 * SECOND),
    }
}

fn missing_after(plan: &Plan) -> u64 {
    plan.cluster.contact_lost_ms.unwrap_or(plan.lease_ms).max(plan.lease_ms) * MILLISECOND
}

/// Everything that is not as it should be in the live cluster happens before the figures begin.
fn make_state(plan: &mut Plan, fork: &Fork, step: &Step, begins: u64) {
    for (node, left) in &fork.maintenance {
        plan.at(SETTLED, Action::PlanMaintenance { node: *node, lasts: begins - SETTLED + *left, confirmed: true });
    }
    for node in &fork.away {
        plan.at(SETTLED + SECOND, Action::Crash(*node, Crash::Process));
    }
    if !fork.has_primary && !fork.away.contains(&fork.primary) {
        // It runs and reigns no more: as after a restart.
        plan.at(SETTLED + SECOND, Action::Crash(fork.primary, Crash::Process));
        plan.at(SETTLED + 2 * SECOND, Action::Start(fork.primary));
    }
    for node in fork.behind.iter().filter(|node| **node != fork.primary) {
        plan.at(SETTLED + SECOND, Action::Crash(*node, Crash::Process));
        // Who returns at the end of the step anyway need not run before.
        let returns = if step.absent() == Some(*node) { begins - MILLISECOND } else { begins - 2 * SECOND };
        plan.at(returns, Action::Start(*node));
    }
}

fn take(plan: &mut Plan, fork: &Fork, step: &Step, begins: u64) {
    let over = begins + step.lasts;
    match step.kind {
        Kind::Maintenance(node) => {
            // Of a node in maintenance none can begin; it is what the machine does that matters.
            if !fork.maintained(node) {
                plan.at(begins, Action::PlanMaintenance { node, lasts: step.lasts, confirmed: true });
            }
            // An operator types, then the machine goes down.
            plan.at(begins + SECOND, Action::Stop(node));
            plan.at(over, Action::Start(node));
            plan.at(over + SECOND, Action::EndMaintenance(node));
        }
        Kind::Stop(node) => {
            plan.at(begins, Action::Stop(node)).at(over, Action::Start(node));
        }
        Kind::Crash(node) => {
            plan.at(begins, Action::Crash(node, Crash::Process)).at(over, Action::Start(node));
        }
        Kind::Cut(one, other) => {
            plan.at(begins, Action::CutBoth(one, other)).at(over, Action::HealLink(one, other));
        }
        Kind::Promote(node) => {
            plan.at(begins, Action::Promote(node));
        }
        Kind::Switchover(node) => {
            plan.at(begins, Action::Switchover(node));
        }
    }
}

/// What changes while somebody is away, and what a copy misses already.
fn sizing(fork: &Fork, step: &Step, thought: &Thought) -> Result<mainstay_simulator::Sizing, CliError> {
    // Without a primary nothing can be written.
    let rate = if fork.has_primary { thought.change_rate } else { 0 };
    let meanwhile = (rate as u128 * step.lasts as u128 / SECOND as u128).min(u64::MAX as u128) as u64;
    let missing = if fork.behind.is_empty() { 0 } else { fork.missing_bytes.unwrap_or(0) };
    let changed = thought.sizing.changed_bytes.unwrap_or(meanwhile.saturating_add(missing)).max(CHANGED_BYTES_MIN);
    // What is written over again and again moves once: no more than there is.
    let volume = thought.sizing.volume_bytes.or(fork.live_bytes).unwrap_or(changed).max(CHANGED_BYTES_MIN);
    Sizing { volume_bytes: Some(volume), changed_bytes: Some(changed.min(volume)), ..thought.sizing }.whole()
}
