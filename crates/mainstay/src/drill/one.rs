//! One run of the simulator, and the file that a violated one is kept as.

use super::given::Rules;
use super::report::Setting;
use super::units;
use crate::cli::CliError;
use crate::cli::output::bytes;
use mainstay_simulator::minimise::{self, minimise_within, same_property};
use mainstay_simulator::{Minimised, Outcome, Plan, Scenario, script};
pub use mainstay_simulator::{Numbers, Options, Timeline};
use std::path::Path;
use std::time::{Duration, Instant};

/// As flags and a spec give it: bytes, bytes per second and nanoseconds; `None`: not said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizing {
    pub volume_bytes: Option<u64>,
    pub changed_bytes: Option<u64>,
    pub link_bytes_per_second: Option<u64>,
    pub disk_bytes_per_second: Option<u64>,
    pub rtt_ns: Option<u64>,
}

/// How long a node is thought to be away when only a rate is known of what changes meanwhile.
const AWAY_S: u64 = 1_800;

impl Sizing {
    pub fn over(self, below: Sizing) -> Sizing {
        Sizing {
            volume_bytes: self.volume_bytes.or(below.volume_bytes),
            changed_bytes: self.changed_bytes.or(below.changed_bytes),
            link_bytes_per_second: self.link_bytes_per_second.or(below.link_bytes_per_second),
            disk_bytes_per_second: self.disk_bytes_per_second.or(below.disk_bytes_per_second),
            rtt_ns: self.rtt_ns.or(below.rtt_ns),
        }
    }

    /// What changes in half an hour at this rate, unless somebody says how much does.
    pub fn changing(self, bytes_per_second: Option<u64>) -> Sizing {
        let changed = bytes_per_second.map(|rate| rate.saturating_mul(AWAY_S).max(1));
        let changed = changed.map(|bytes| self.volume_bytes.map_or(bytes, |volume| bytes.min(volume)));
        Sizing { changed_bytes: self.changed_bytes.or(changed), ..self }
    }

    /// With what nobody said: a volume of a terabyte on a disk of 500 MB/s, a tenth of it changed, behind a gigabit and half a
    /// millisecond.
    ///
    /// # Errors
    /// What cannot be rehearsed, as a usage error.
    pub fn whole(self) -> Result<mainstay_simulator::Sizing, CliError> {
        let volume_bytes = self.volume_bytes.unwrap_or(1 << 40).max(self.changed_bytes.unwrap_or(0));
        let sizing = mainstay_simulator::Sizing {
            volume_bytes,
            changed_bytes: self.changed_bytes.unwrap_or(volume_bytes / 10),
            link_bytes_per_s: self.link_bytes_per_second.unwrap_or(125_000_000),
            disk_bytes_per_s: self.disk_bytes_per_second.unwrap_or(500_000_000),
            rtt_ns: self.rtt_ns.unwrap_or(500_000),
        };
        sizing.check().map_err(|error| CliError::Usage(format!("these sizes cannot be rehearsed: {error}")))?;
        Ok(sizing)
    }
}

pub struct Run {
    pub outcome: Outcome,
    pub timeline: Option<Timeline>,
    pub numbers: Numbers,
}

/// What a seed makes of a scenario on a cluster that is set like this.
pub fn plan(seed: u64, scenario: &Scenario, rules: &Rules) -> Plan {
    let mut plan = mainstay_simulator::plan(seed, scenario);
    rules.apply(&mut plan);
    plan
}

pub fn run(seed: u64, scenario: &Scenario, rules: &Rules, options: Options) -> Run {
    run_plan(seed, &scenario.name, plan(seed, scenario, rules), options)
}

pub fn run_plan(seed: u64, name: &str, plan: Plan, options: Options) -> Run {
    let mut outcome = mainstay_simulator::run_plan(seed, name, plan, options);
    Run { timeline: outcome.timeline.take(), numbers: outcome.numbers.clone(), outcome }
}

/// The violated run with as little as it needs to fail in the same way, as a scenario file. `None`: it violates nothing.
/// Sizes and settings go into the file, so that it needs no flags.
pub fn smaller(seed: u64, scenario: &Scenario, setting: Setting) -> Option<String> {
    let options = Options { bugs: setting.bugs, ..Options::default() };
    let mut plan = plan(seed, scenario, &setting.rules);
    plan.sizing = setting.sizing.or(plan.sizing);
    let begun = Instant::now();
    let first = mainstay_simulator::run_plan(seed, &scenario.name, plan.clone(), options);
    // A run may take seconds, and somebody waits for this.
    let runs_max = SMALLER_TIME.as_secs_f64() / begun.elapsed().as_secs_f64().max(1e-3);
    let runs_max = (runs_max as u32).clamp(RUNS_MIN, minimise::RUNS_MAX);
    let found = minimise_within(runs_max, seed, &scenario.name, plan, options, same_property(&first))?;
    Some(file(&found, &first))
}

/// The whole schedule of a seed, as a scenario file.
pub fn whole(seed: u64, scenario: &Scenario, setting: Setting) -> String {
    let mut plan = plan(seed, scenario, &setting.rules);
    plan.sizing = setting.sizing.or(plan.sizing);
    format!("# mainstay drill replay FILE\n{SEED} {seed}\n{}", script::print(&plan))
}

/// About how long making a schedule smaller may take.
const SMALLER_TIME: Duration = Duration::from_secs(90);
/// And how many runs it gets, however long one takes.
const RUNS_MIN: u32 = 40;

/// The seed stands in a comment: it decides what a schedule leaves open.
fn file(found: &Minimised, first: &Outcome) -> String {
    let Minimised { plan, seed, outcome, from_actions, to_actions, .. } = found;
    // On one line, or the rest of it would be read as part of the schedule.
    let one_line = |text: &str| text.lines().collect::<Vec<_>>().join(" ");
    let why = outcome.violations.first().map(|violation| format!("# {}: {}\n", violation.name(), one_line(&violation.text)));
    format!(
        "# mainstay drill replay FILE\n{SEED} {seed}\n# {to_actions} of the {from_actions} actions of {} seed {}\n{}{}",
        first.scenario,
        first.seed,
        why.unwrap_or_default(),
        script::print(plan)
    )
}

const SEED: &str = "# seed";

/// A scenario file with its seed, zero if it names none.
///
/// # Errors
/// A file that cannot be read, and the line and column of what is wrong in it.
pub fn load(path: &Path) -> Result<(Scenario, u64), CliError> {
    let wrong = |error: &dyn std::fmt::Display| CliError::Failed(format!("{}: {error}", path.display()));
    let text =
        std::fs::read_to_string(path).map_err(|error| wrong(&format!("neither a seed nor a file that can be read ({error})")))?;
    let seed = text.lines().find_map(|line| line.strip_prefix(SEED));
    let seed =
        seed.map_or(Ok(0), |seed| seed.trim().parse()).map_err(|_| wrong(&"the seed in its comment is not a whole number"))?;
    let script = script::parse(&path.display().to_string(), &text).map_err(|error| CliError::Failed(error.to_string()))?;
    let scenario = Scenario::from(script);
    let sizing = mainstay_simulator::plan(seed, &scenario).sizing;
    sizing.map_or(Ok(()), |sizing| sizing.check()).map_err(|error| wrong(&format!("its sizes cannot be rehearsed: {error}")))?;
    Ok((scenario, seed))
}

/// What a reader must know of a rehearsal by size and rate.
pub fn note(sizing: Option<mainstay_simulator::Sizing>) -> Option<String> {
    let sizing = sizing?;
    Some(format!(
        "by size and rate: a volume of {}, {} of it changed while a node is away, link {}, disk {}; what did not change is not stored",
        bytes(sizing.volume_bytes),
        bytes(sizing.changed_bytes),
        units::show_rate(sizing.link_bytes_per_s),
        units::show_rate(sizing.disk_bytes_per_s)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_simulator::{Violation, scenarios};

    /// What is kept must replay whatever the violation says of itself.
    #[test]
    fn a_kept_file_is_read_back_as_the_run_that_it_was() {
        let scenario = scenarios::named("see-saw").unwrap();
        let mut outcome = mainstay_simulator::run(4, &scenario, Options::default());
        assert!(outcome.ok());
        let text = "left\nright\nat 1s\n  crash a";
        outcome.violations.push(Violation::new("P2", None, text.into()));
        // A rehearsal by size on a cluster of its own settings: the file needs no flags.
        let rules = Rules { lease_ms: Some(5_000), approval_ms: Some(60_000), ..Rules::default() };
        let mut plan = plan(4, &scenario, &rules);
        plan.sizing = Some(Sizing::default().whole().unwrap());
        let (from_actions, to_actions) = (plan.script.len(), plan.script.len());
        let found = Minimised { plan: plan.clone(), seed: 4, outcome: outcome.clone(), runs: 1, from_actions, to_actions };
        let kept = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(kept.path(), file(&found, &outcome)).unwrap();
        let (loaded, seed) = load(kept.path()).unwrap();
        assert_eq!((mainstay_simulator::plan(seed, &loaded), seed), (plan, 4));
    }
}
