//! One run of the simulator, and the file that a violated one is kept as.

use crate::cli::CliError;
use mainstay_simulator::minimise::{minimise, same_property};
use mainstay_simulator::{Bug, Minimised, Outcome, Scenario, Trace, plan, script};
pub use mainstay_simulator::{Numbers, Timeline};
use std::path::Path;

/// Bytes, bytes per second and nanoseconds; `None`: as the scenario has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizing {
    pub volume_bytes: Option<u64>,
    pub changed_bytes: Option<u64>,
    pub link_bytes_per_second: Option<u64>,
    pub disk_bytes_per_second: Option<u64>,
    pub rtt_ns: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    pub trace: Trace,
    pub bug: Option<Bug>,
    pub timeline: bool,
}

pub struct Run {
    pub outcome: Outcome,
    pub timeline: Option<Timeline>,
    pub numbers: Numbers,
}

pub fn run(seed: u64, scenario: &Scenario, options: Options) -> Run {
    let Options { trace, bug, timeline } = options;
    let mut outcome = mainstay_simulator::run(seed, scenario, mainstay_simulator::Options { trace, bug, timeline });
    Run { timeline: outcome.timeline.take(), numbers: outcome.numbers.clone(), outcome }
}

/// The violated run with as little as it needs to fail in the same way, as a scenario file. `None`: it violates nothing.
pub fn smaller(seed: u64, scenario: &Scenario, bug: Option<Bug>) -> Option<String> {
    let options = mainstay_simulator::Options { bug, ..Default::default() };
    let first = mainstay_simulator::run(seed, scenario, options);
    let found = minimise(seed, &scenario.name, plan(seed, scenario), options, same_property(&first))?;
    Some(file(&found, &first))
}

/// The seed stands in a comment: it decides what a schedule leaves open.
fn file(found: &Minimised, first: &Outcome) -> String {
    let Minimised { plan, seed, outcome, from_actions, to_actions, .. } = found;
    let why = outcome.violations.first().map(|violation| format!("# {}: {}\n", violation.property, violation.text));
    format!(
        "# mainstay drill replay FILE\n{SEED} {seed}\n# {to_actions} of the {from_actions} actions of {} seed {}\n{}{}",
        first.scenario,
        first.seed,
        why.unwrap_or_default().replace("\n#", " "),
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
    Ok((Scenario::from(script), seed))
}

/// What a reader must know as long as sizes are only checked.
pub fn note(sizing: Option<Sizing>) -> Option<String> {
    sizing.map(|_| "sizes and rates were checked, but this build does not simulate them: the scenario's own were used".into())
}
