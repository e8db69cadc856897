//! `drill what-if`: the live cluster's state, forked into the simulator, and one step in it.

mod answer;
mod step;
mod text;
mod world;

use super::args;
use super::fork::{self, Fork};
use super::given::Given;
use super::library::Card;
use super::one::{self, Options, Run};
use super::out::{self, Clock};
use super::progress::{Goal, Progress};
use super::report::{self, Drill, Report, Setting};
use super::{html, journal, pool, spec};
use crate::bench::progress::interrupts;
use crate::cli::args::Format;
use crate::cli::{CliError, exit, output};
use answer::{Span, Told};
use mainstay_simulator::{Plan, Scenario, Trace, script};
use serde::Serialize;
use std::path::Path;
use std::sync::atomic::Ordering;
pub use step::{Kind, Step};
use world::Thought;

/// Changes when a field changes its meaning; fields may be added without.
const VERSION: u32 = 1;
/// Of `--out`.
const SCENARIO: &str = "what-if.scenario";
const NAME: &str = "what-if";

/// One answer, for programs; the text is made of it, too.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    version: u32,
    step: String,
    cluster: String,
    volume: String,
    /// Whose view of the cluster it began with.
    answered_by: String,
    state_version: u64,
    #[serde(flatten)]
    told: Told,
    one_copy_only: String,
    roles: String,
    begins_with: Vec<String>,
    measured: Vec<String>,
    assumed: Vec<String>,
    left_out: Vec<String>,
}

impl Answer {
    pub fn good(&self) -> bool {
        self.told.good
    }

    pub fn reasons(&self) -> &[String] {
        &self.told.reasons
    }
}

/// Exit code 0 when nobody would notice anything, 2 when somebody would, or when a property fails.
///
/// # Errors
/// Bad input, a cluster that does not answer or that cannot be simulated, and output that cannot be written.
pub fn what_if(args: &args::WhatIf, config: &Path, format: Format) -> Result<u8, CliError> {
    let clock = Clock::start();
    let words = step::words(&args.step);
    let given = args.spec.as_deref().map(spec::load).transpose()?.unwrap_or_default();
    args.out.as_deref().map_or(Ok(()), out::writable)?;
    let status = match &args.status {
        Some(path) => fork::saved(path)?,
        None => fork::ask(config)?,
    };
    let fork = Fork::of(&status, args.volume.as_deref(), step::about(&words), out::unix_now())?;
    let step = step::parse(&words, &fork.names).map_err(CliError::Usage)?;
    let thought = thought(args, &given, &fork)?;
    let world = world::plan(&fork, &step, &thought)?;
    let ended = interrupts().map_err(|error| CliError::Failed(error.to_string()))?;
    let mut runs = Vec::new();
    let mut progress = Progress::new(Goal::Runs(args.seeds));
    rehearse(&world, args.seed, args.seeds, &|| ended.load(Ordering::Relaxed), &mut progress, &mut runs);
    drop(progress);
    if runs.is_empty() {
        return Err(CliError::Failed("interrupted before the first run was over".into()));
    }
    let interrupted = ended.load(Ordering::Relaxed);
    let drill = args.out.as_ref().map(|_| drill(&fork, &words.join(" "), &world, &runs));
    let answer = answer(&fork, &step, &words.join(" "), &thought, &world, runs);
    if let (Some(directory), Some(drill)) = (&args.out, drill) {
        keep(directory, &world, &answer, Report { version: report::VERSION, meta: clock.meta(interrupted), drills: vec![drill] })?;
    }
    output::show(format, &answer, |answer| text::render(answer, output::Style::detect()));
    Ok(if answer.good() { exit::OK } else { exit::VIOLATED })
}

/// Flags win over the spec, the spec over what was measured.
fn thought(args: &args::WhatIf, given: &Given, fork: &Fork) -> Result<Thought, CliError> {
    let flags = args.sizing.over(given.sizing).map_err(CliError::Usage)?.unwrap_or_default();
    Ok(Thought {
        rules: args.rules.rules().over(given.rules).over(fork.rules),
        sizing: flags,
        change_rate: args.change_rate.or(given.change_rate).or(fork.change_rate.map(|(rate, _)| rate)).unwrap_or(0),
        approve_after: args.approve_after,
    })
}

/// What a step would do that was not asked for by `drill what-if`: everything as measured, or as is usual. `window`: the time,
/// perhaps longer than the step, in which something changes.
///
/// # Errors
/// Sizes that cannot be rehearsed.
pub fn usual(
    fork: &Fork,
    step: &Step,
    window: u64,
    seeds: u64,
    ended: &(dyn Fn() -> bool + Sync),
) -> Result<Option<Answer>, CliError> {
    let rate = fork.change_rate.map_or(0, |(rate, _)| rate);
    let longer = u128::from(window.max(step.lasts)) * 1_000 / u128::from(step.lasts.max(1));
    let change_rate = u64::try_from(u128::from(rate) * longer / 1_000).unwrap_or(u64::MAX);
    let thought = Thought { rules: fork.rules, sizing: Default::default(), change_rate, approve_after: APPROVE_AFTER };
    let world = world::plan(fork, step, &thought)?;
    let mut runs = Vec::new();
    rehearse(&world, 0, seeds, ended, &mut Progress::new(Goal::Runs(seeds)), &mut runs);
    Ok((!runs.is_empty()).then(|| answer(fork, step, &step::sentence(step, &fork.names), &thought, &world, runs)))
}

/// As `--approve-after` has it when it is not given: five minutes.
const APPROVE_AFTER: u64 = 300 * world::SECOND;

fn rehearse(plan: &Plan, first: u64, seeds: u64, ended: &(dyn Fn() -> bool + Sync), progress: &mut Progress, runs: &mut Vec<Run>) {
    let options = Options { trace: Trace::Off, timeline: true, ..Options::default() };
    let work = |n: u64| (n < seeds).then(|| one::run_plan(first.wrapping_add(n), NAME, plan.clone(), options));
    let jobs = pool::jobs(None).unwrap_or(1);
    pool::run(jobs, ended, &work, progress, |run: Run, progress| {
        progress.add(run.numbers.simulated_ns);
        runs.push(run);
        true
    });
}

/// Where the step lies in a run: what changes meanwhile may make it longer.
fn span(plan: &Plan, thought: &Thought) -> Span {
    let fitted = plan.sizing.map_or_else(|| plan.clone(), |sizing| sizing.fit(plan.clone()));
    let measure = fitted.script.iter().find(|(_, action)| *action == mainstay_simulator::scenario::Action::Measure);
    let begins = measure.map_or(0, |(at, _)| *at);
    // Before the end of the faults a person has the time that approving takes.
    Span { begins, ends: fitted.faults_end.max(begins + thought.approve_after) }
}

fn answer(fork: &Fork, step: &Step, words: &str, thought: &Thought, world: &Plan, runs: Vec<Run>) -> Answer {
    let worst = report::worst(&runs);
    let told = answer::tell(fork, step, span(world, thought), runs, worst);
    Answer {
        version: VERSION,
        step: words.into(),
        cluster: fork.cluster.clone(),
        volume: fork.volume.clone(),
        answered_by: fork.answered_by.clone(),
        state_version: fork.state_version,
        one_copy_only: answer::redundancy(fork, step, &told.numbers),
        roles: answer::roles(fork, &told),
        begins_with: text::begins_with(fork, world),
        measured: text::measured(fork),
        assumed: text::assumed(fork, step, thought, world),
        left_out: text::left_out(fork),
        told,
    }
}

fn card(fork: &Fork, words: &str) -> Card {
    let story = format!("What \"{words}\" would do to volume {} of cluster {}.", fork.volume, fork.cluster);
    Card::of(&Scenario::function(NAME, &story, |_| Plan::calm(0)))
}

fn drill(fork: &Fork, words: &str, world: &Plan, runs: &[Run]) -> Drill {
    let again = |run: &Run| Run { outcome: run.outcome.clone(), timeline: run.timeline.clone(), numbers: run.numbers.clone() };
    let mut drill =
        Drill::of(&card(fork, words), runs.iter().map(again).collect(), Setting { sizing: world.sizing, ..Setting::default() });
    drill.replay = format!("mainstay drill replay {SCENARIO}");
    drill
}

fn keep(directory: &Path, world: &Plan, answer: &Answer, mut report: Report) -> Result<(), CliError> {
    let story = format!("What `{}` would do to volume {} of cluster {}.", answer.step, answer.volume, answer.cluster);
    let scenario = format!("# seed {}\n{}", answer.told.seed, script::print_as(NAME, &story, world));
    out::keep(&directory.join(SCENARIO), &scenario)?;
    report.meta.notes = answer.assumed.iter().map(|one| format!("assumed: {one}")).collect();
    report.meta.notes.extend(answer.begins_with.iter().cloned());
    report.meta.cluster = Some(answer.cluster.clone());
    out::keep(&directory.join(out::PAGE), &html::page(&report))?;
    out::keep(&directory.join(out::JOURNAL), &output::json(&journal::journal(&report)))?;
    eprintln!("mainstay: {SCENARIO}, {} and {} are in {}", out::PAGE, out::JOURNAL, directory.display());
    Ok(())
}

/// For the line before `maintenance begin`.
pub fn brief(answer: &Answer, style: output::Style) -> String {
    text::brief(answer, style)
}

#[cfg(test)]
mod tests;
