//! One run: a scenario, a seed, a verdict.

use crate::numbers::Numbers;
use crate::rng::Rng;
use crate::scenario::{Plan, Scenario};
use crate::sizing::Sizing;
use crate::timeline::Timeline;
use crate::trace::Trace;
use crate::units;
use crate::world::{Stats, Violation, World};
use mainstay_protocol::marks::take_marks;
use mainstay_protocol::planted::Bugs;
use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What is not part of the seed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    pub trace: Trace,
    /// Bugs to plant in every replica, to prove that they are found.
    pub bugs: Bugs,
    /// Goes on after a violation, until the faults end: what comes of it is worth seeing in a rehearsal. Each pair of property and
    /// rule is reported once, with how often it happened. Healing is left out then.
    pub keep_going: bool,
    /// Records what can be drawn. Changes nothing else.
    pub timeline: bool,
    /// Rehearses at this size, which [`Sizing::check`] has accepted, instead of the plan's own; figures are in real bytes.
    pub sizing: Option<Sizing>,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub scenario: Arc<str>,
    /// What was planted.
    pub bugs: Bugs,
    pub seed: u64,
    /// Equal for two runs of one seed.
    pub trace_hash: u64,
    pub stats: Stats,
    pub numbers: Numbers,
    /// With [`Options::timeline`].
    pub timeline: Option<Timeline>,
    /// Coverage marks that were reached; none in a build without them.
    pub marks: Vec<Cow<'static, str>>,
    /// Empty: every property held.
    pub violations: Vec<Violation>,
}

impl Outcome {
    pub fn ok(&self) -> bool {
        self.violations.is_empty()
    }

    /// For people: what went wrong and how to see it again.
    pub fn report(&self) -> String {
        let mut text = format!("{} seed {}: ", self.scenario, self.seed);
        match self.violations.as_slice() {
            [] => text += "every property held",
            found => {
                for violation in found {
                    text += &format!("{} violated at {}: {}\n", violation.name(), units::instant(violation.at), violation.text);
                }
                // By its name alone: `S20 sync-interrupted` are two words.
                let name = self.scenario.split(' ').next_back().unwrap_or_default();
                let bugs = if self.bugs.is_empty() { String::new() } else { format!(" --plant {}", self.bugs) };
                text += &format!("replay: mainstay drill replay {} --scenario {name}{bugs}", self.seed);
            }
        }
        text
    }
}

/// The plan that a scenario makes of a seed: what [`run`] runs.
pub fn plan(seed: u64, scenario: &Scenario) -> Plan {
    // As `World::new` draws it.
    scenario.plan(&mut Rng::new(seed).fork())
}

/// Runs a scenario from a seed: the script with its faults, then the phase in which everything must heal.
pub fn run(seed: u64, scenario: &Scenario, options: Options) -> Outcome {
    run_plan(seed, &scenario.name, plan(seed, scenario), options)
}

/// As [`run`], with a plan of any origin. The seed decides everything that the plan leaves open.
pub fn run_plan(seed: u64, name: &str, plan: Plan, options: Options) -> Outcome {
    let plan = match options.sizing.or(plan.sizing) {
        Some(sizing) => sizing.fit(plan),
        None => plan,
    };
    take_marks();
    let mut world = World::new(seed, |_| plan, options.trace, options.bugs);
    world.keep_going = options.keep_going;
    if options.timeline {
        world.record_timeline();
    }
    drive(&mut world);
    Outcome {
        scenario: name.into(),
        bugs: options.bugs,
        seed,
        trace_hash: world.hash.value(),
        stats: world.stats,
        numbers: world.take_numbers(),
        timeline: world.take_timeline(),
        marks: take_marks(),
        violations: std::mem::take(&mut world.violations),
    }
}

/// The script, then the healing, of a world that was just made. What goes wrong is in its `violations`.
pub fn drive(world: &mut World) {
    // A panic is a finding like any other; the world is only read after it.
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let faults_end = world.plan.faults_end;
        world.run_until(faults_end);
        world.end_of_faults();
        if world.violations.is_empty() {
            world.heal();
        }
    }));
    if let Err(panic) = panicked {
        let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
        world.violate("panic", None, text.unwrap_or_default());
    }
    world.stats.simulated = world.now();
}
