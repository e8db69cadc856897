//! From a violated run to a small one: delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing
//! Input", 2002) over the script of faults, then shorter times and a smaller cluster of clients.
//!
//! What a run does between its faults hangs on one stream of chance, so a script without one action is another history from
//! there on. A candidate therefore gets a few seeds before it counts as passing, and the seed is part of the result.

use crate::queue::{MILLISECOND, Time};
use crate::run::{Options, Outcome, run_plan};
use crate::scenario::{Action, Plan};
use crate::trace::Trace;

/// Runs of one minimisation, at most, unless the caller says otherwise.
pub const RUNS_MAX: u32 = 500;
/// Seeds that one candidate gets.
const SEEDS: u64 = 3;
/// What a violated run is cut to, after the violation.
const AFTER: Time = MILLISECOND;

/// A smaller run that fails alike.
#[derive(Clone, Debug)]
pub struct Minimised {
    pub plan: Plan,
    /// `plan` fails with this seed, which may not be the one that the search began with.
    pub seed: u64,
    /// Of `plan` with `seed`.
    pub outcome: Outcome,
    pub runs: u32,
    pub from_actions: usize,
    pub to_actions: usize,
}

/// Whether an outcome violates what `violated` violates: the same property, whatever the text.
pub fn same_property(violated: &Outcome) -> impl Fn(&Outcome) -> bool + use<> {
    let property = violated.violations.first().map(|violation| violation.property);
    move |outcome| property.is_some() && outcome.violations.first().map(|violation| violation.property) == property
}

/// Makes the run of `plan` from `seed` as small as it gets in [`RUNS_MAX`] runs, `still_fails` judging each. `None`: it does not
/// fail to begin with. The same arguments give the same result.
pub fn minimise(
    seed: u64,
    name: &str,
    plan: Plan,
    options: Options,
    still_fails: impl FnMut(&Outcome) -> bool,
) -> Option<Minimised> {
    minimise_within(RUNS_MAX, seed, name, plan, options, still_fails)
}

/// As [`minimise`], in at most `runs_max` runs.
pub fn minimise_within(
    runs_max: u32,
    seed: u64,
    name: &str,
    plan: Plan,
    options: Options,
    mut still_fails: impl FnMut(&Outcome) -> bool,
) -> Option<Minimised> {
    let from_actions = plan.script.len();
    let options = Options { trace: Trace::Off, timeline: false, ..options };
    let outcome = run_plan(seed, name, plan.clone(), options);
    if !still_fails(&outcome) {
        return None;
    }
    let mut search = Search { first_seed: seed, options, still_fails: &mut still_fails, best: outcome, plan, runs: 1, runs_max };
    search.cut_tail();
    search.fewer_actions();
    search.simpler();
    search.sooner();
    search.fewer_actions();
    let Search { plan, best: outcome, runs, .. } = search;
    Some(Minimised { to_actions: plan.script.len(), plan, seed: outcome.seed, outcome, runs, from_actions })
}

struct Search<'a> {
    first_seed: u64,
    options: Options,
    still_fails: &'a mut dyn FnMut(&Outcome) -> bool,
    /// Of `plan`.
    best: Outcome,
    plan: Plan,
    runs: u32,
    runs_max: u32,
}

impl Search<'_> {
    /// Takes a candidate that fails with some seed.
    fn attempt(&mut self, candidate: Plan) -> bool {
        let others = (0..SEEDS - 1).map(|index| self.first_seed.wrapping_add(1_000_003 * (index + 1)));
        for seed in std::iter::once(self.best.seed).chain(others) {
            if self.runs >= self.runs_max {
                return false;
            }
            self.runs += 1;
            let outcome = run_plan(seed, &self.best.scenario, candidate.clone(), self.options);
            if (self.still_fails)(&outcome) {
                (self.plan, self.best) = (candidate, outcome);
                return true;
            }
        }
        false
    }

    /// What comes after the violation had no part in it.
    fn cut_tail(&mut self) {
        let Some(at) = self.best.violations.first().map(|violation| violation.at) else { return };
        let mut shorter = self.plan.clone();
        shorter.script.retain(|(time, _)| *time <= at);
        shorter.faults_end = shorter.faults_end.min(at + AFTER);
        if shorter.script.len() < self.plan.script.len() || shorter.faults_end < self.plan.faults_end {
            self.attempt(shorter);
        }
    }

    /// ddmin: leaves out halves, quarters and so on, down to single actions.
    fn fewer_actions(&mut self) {
        let mut pieces = 2;
        while !self.plan.script.is_empty() && self.runs < self.runs_max {
            let len = self.plan.script.len();
            let size = len.div_ceil(pieces.min(len));
            let reduced = (0..len).step_by(size).any(|from| {
                let mut candidate = self.plan.clone();
                candidate.script.drain(from..(from + size).min(len));
                self.attempt(candidate)
            });
            match reduced {
                true => {
                    self.cut_tail();
                    pieces = (pieces - 1).max(2);
                }
                false if size == 1 => break,
                false => pieces *= 2,
            }
        }
    }

    /// One knob at a time to its plainest value.
    fn simpler(&mut self) {
        let knobs: [fn(&mut Plan); 8] = [
            |plan| plan.clients = 1,
            |plan| plan.clients = plan.clients.div_ceil(2),
            |plan| plan.workers_per_client = 1,
            |plan| plan.register_workers = 0,
            |plan| plan.nfs_percent = 0,
            |plan| plan.soft_percent = 0,
            |plan| plan.rough_coordination = false,
            |plan| plan.large_writes = false,
        ];
        for knob in knobs {
            let mut candidate = self.plan.clone();
            knob(&mut candidate);
            if !same(&candidate, &self.plan) {
                self.attempt(candidate);
            }
        }
    }

    /// Shorter waits before actions and shorter actions; whole milliseconds, which read better.
    fn sooner(&mut self) {
        let mut rounded = self.plan.clone();
        rounded.script.sort_by_key(|(time, _)| *time);
        rounded.script.iter_mut().for_each(|(time, _)| *time -= *time % MILLISECOND);
        self.attempt(rounded);
        for index in 0..self.plan.script.len() {
            while self.halve_wait(index) {}
            while self.halve_duration(index) {}
        }
        self.cut_tail();
    }

    fn halve_wait(&mut self, index: usize) -> bool {
        let before = index.checked_sub(1).map_or(0, |before| self.plan.script[before].0);
        let wait = self.plan.script[index].0.saturating_sub(before);
        let less = wait / 2 / MILLISECOND * MILLISECOND;
        if less < 50 * MILLISECOND {
            return false;
        }
        let mut candidate = self.plan.clone();
        candidate.script[index..].iter_mut().for_each(|(time, _)| *time -= less);
        candidate.faults_end = candidate.faults_end.saturating_sub(less);
        self.attempt(candidate)
    }

    fn halve_duration(&mut self, index: usize) -> bool {
        let mut candidate = self.plan.clone();
        let (Action::DiskHang(_, time) | Action::StallCoordination(_, time)) = &mut candidate.script[index].1 else { return false };
        *time = *time / 2 / MILLISECOND * MILLISECOND;
        *time >= 50 * MILLISECOND && self.attempt(candidate)
    }
}

fn same(a: &Plan, b: &Plan) -> bool {
    let knobs = |plan: &Plan| {
        let counts = (plan.clients, plan.workers_per_client, plan.register_workers, plan.nfs_percent, plan.soft_percent);
        (counts, plan.rough_coordination, plan.large_writes)
    };
    knobs(a) == knobs(b)
}
