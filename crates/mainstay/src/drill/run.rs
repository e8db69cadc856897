//! `drill run`: some seeds of one scenario, or of all.

use super::args;
use super::fork::Fork;
use super::given::{Given, Rules};
use super::library::{self, Card};
use super::one::{self, Options, Run};
use super::out::{self, Clock, Out};
use super::progress::{Goal, Progress};
use super::record::Record;
use super::report::{self, Drill, Report, Setting};
use super::{fork, pool, spec, verdict_code};
use crate::bench::progress::interrupts;
use crate::cli::CliError;
use crate::cli::args::Format;
use mainstay_simulator::{Sizing, Trace};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Seeds of each scenario when nobody says: enough for an answer at once, the same every time.
const SEEDS: u64 = 3;

/// # Errors
/// Bad input, and output that cannot be written.
pub fn run(args: &args::Run, config: Option<&Path>, format: Format) -> Result<u8, CliError> {
    let clock = Clock::start();
    let cards = library::named(&args.name)?;
    let seeds = seeds(args)?;
    let jobs = pool::jobs(args.jobs)?;
    let spec = args.spec.as_deref().map(spec::load).transpose()?.unwrap_or_default();
    let out = Out::new(args.out.as_deref(), format)?;
    if args.record.is_some() && (args.rules.rules() != Rules::default() || !args.plant.bugs()?.is_empty()) {
        return Err(CliError::Usage("--record: only a drill of the cluster as it is can be recorded".into()));
    }
    let record = args.record.as_deref().map(|volume| Record::prepare(volume, config)).transpose()?;
    let live = config.map(live).transpose()?;
    let given = live.as_ref().map(Fork::given).unwrap_or_default();
    let (sizing, rules) = merge(&args.sizing, &args.rules, &spec, &given)?;
    let setting = Setting { sizing, rules, bugs: args.plant.bugs()?, keep_going: !args.stop_at_first };
    let mut notes = notes(args, &seeds, cards.len());
    notes.extend(live.iter().map(Fork::note));
    notes.extend(live.iter().filter_map(|live| live.names.note()));
    let work = Work { cards: &cards, seeds, jobs, setting, notes, cluster: spec.name.or(live.map(|live| live.cluster)) };
    let code = rehearse(work, &clock, &out)?;
    match record.filter(|_| code == crate::cli::exit::OK) {
        Some(record) => record.passed(&args.name).map(|()| code),
        None => Ok(code),
    }
}

/// What is to be run, and what its reader should know.
pub struct Work<'a> {
    pub cards: &'a [Card],
    pub seeds: Range<u64>,
    pub jobs: usize,
    pub setting: Setting,
    pub notes: Vec<String>,
    pub cluster: Option<String>,
}

/// Runs and reports.
///
/// # Errors
/// Output that cannot be written.
pub fn rehearse(work: Work<'_>, clock: &Clock, out: &Out) -> Result<u8, CliError> {
    let Work { cards, seeds, jobs, setting, notes, cluster } = work;
    let ended = interrupts().map_err(|error| CliError::Failed(error.to_string()))?;
    let runs = all(cards, &seeds, jobs, (setting, out.wants_timelines()), &ended);
    let drills = drills(cards, runs, (setting, out.wants_timelines()));
    let mut meta = clock.meta(ended.load(Ordering::Relaxed));
    meta.notes = notes;
    meta.notes.extend(one::note(setting.sizing));
    meta.sizing = report::sizing_flags(setting.sizing);
    meta.sizing.extend(setting.rules.flags());
    meta.cluster = cluster;
    let report = Report { version: report::VERSION, meta, drills };
    out.write(&report)?;
    Ok(verdict_code(report.held(), ended.load(Ordering::Relaxed)))
}

/// The live cluster.
///
/// # Errors
/// It does not answer, or is of a shape that the simulator does not have.
pub fn live(config: &Path) -> Result<Fork, CliError> {
    Fork::of(&fork::ask(config)?, None, None, out::unix_now())
}

/// Flags win over the spec, the spec over what the cluster says.
///
/// # Errors
/// Sizes that cannot be rehearsed.
pub fn merge(
    sizing: &args::SizingFlags,
    rules: &args::RuleFlags,
    spec: &Given,
    live: &Given,
) -> Result<(Option<Sizing>, Rules), CliError> {
    let below = spec.sizing.over(live.sizing).changing(spec.change_rate.or(live.change_rate));
    let sizing = sizing.over(below).map_err(CliError::Usage)?.map(one::Sizing::whole).transpose()?;
    Ok((sizing, rules.rules().over(spec.rules).over(live.rules)))
}

fn seeds(args: &args::Run) -> Result<Range<u64>, CliError> {
    let first = args.seed.unwrap_or(0);
    let count = args.seeds.unwrap_or(if args.seed.is_some() { 1 } else { SEEDS });
    let end =
        first.checked_add(count).ok_or_else(|| CliError::Usage(format!("--seed {first}: there are not so many seeds after it")))?;
    Ok(first..end)
}

fn notes(args: &args::Run, seeds: &Range<u64>, cards: usize) -> Vec<String> {
    let mut notes = Vec::new();
    if args.seed.is_none() && args.seeds.is_none() {
        let each = if cards > 1 { " of each scenario" } else { "" };
        notes.push(format!("seeds {} to {}{each}, as always when neither --seed nor --seeds is given", seeds.start, seeds.end - 1));
    }
    notes
}

/// Every seed of every scenario, with the scenario's place in `cards`.
fn all(
    cards: &[Card],
    seeds: &Range<u64>,
    jobs: usize,
    (setting, timelines): (Setting, bool),
    ended: &AtomicBool,
) -> Vec<(usize, Run)> {
    let count = cards.len() as u64;
    let total = count.saturating_mul(seeds.end - seeds.start);
    let work = |n: u64| {
        let (which, seed) = ((n % count) as usize, seeds.start + n / count);
        // One timeline of each scenario is shown; a violated run is recorded when it is known.
        let timeline = timelines && seed == seeds.start;
        (n < total).then(|| (which, once(&cards[which], seed, setting, timeline)))
    };
    let mut progress = Progress::new(Goal::Runs(total));
    let mut runs = Vec::new();
    pool::run(jobs, &|| ended.load(Ordering::Relaxed), &work, &mut progress, |(which, run), progress| {
        progress.add(run.numbers.simulated_ns);
        runs.push((which, run));
        true
    });
    runs
}

/// One run, silent.
pub fn once(card: &Card, seed: u64, setting: Setting, timeline: bool) -> Run {
    one::run(seed, &card.scenario, &setting.rules, Options { trace: Trace::Off, timeline, ..setting.options() })
}

/// In the order of `cards`; scenarios that were never run are left out.
fn drills(cards: &[Card], runs: Vec<(usize, Run)>, (setting, timelines): (Setting, bool)) -> Vec<Drill> {
    let mut of_card: Vec<Vec<Run>> = cards.iter().map(|_| Vec::new()).collect();
    runs.into_iter().for_each(|(which, run)| of_card[which].push(run));
    let with_runs = cards.iter().zip(of_card).filter(|(_, runs)| !runs.is_empty());
    with_runs
        .map(|(card, runs)| {
            let mut drill = Drill::of(card, runs, setting);
            if timelines && drill.timeline.is_none() {
                drill.timeline = once(card, drill.shown_seed, setting, true).timeline;
            }
            drill
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_run_before_an_interruption_is_kept() {
        let cards = library::named("all").unwrap();
        let first = once(&cards[0], 0, Setting::default(), false);
        let drills = drills(&cards, vec![(0, first)], (Setting::default(), false));
        assert_eq!((drills.len(), drills[0].name.as_str()), (1, cards[0].name.as_str()));
        let report = Report { version: report::VERSION, meta: Clock::start().meta(true), drills };
        let directory = tempfile::tempdir().unwrap();
        Out::new(Some(directory.path()), Format::Json).unwrap().write(&report).unwrap();
        let journal = std::fs::read_to_string(directory.path().join(out::JOURNAL)).unwrap();
        let journal: serde_json::Value = serde_json::from_str(&journal).unwrap();
        assert_eq!((&journal["status"], journal["run"].as_array().unwrap().len()), (&"interrupted".into(), 1));
        assert_eq!(verdict_code(true, true), 130);
    }

    #[test]
    fn flags_win_over_the_spec_and_the_spec_over_the_cluster() {
        let sizing = |volume_bytes, link| one::Sizing { volume_bytes, link_bytes_per_second: link, ..one::Sizing::default() };
        let rules = |lease_ms, approval_ms| Rules { lease_ms, approval_ms, ..Rules::default() };
        let live = Given {
            sizing: sizing(Some(1 << 40), None),
            rules: rules(Some(9_000), Some(60_000)),
            change_rate: Some(1_000_000),
            name: None,
        };
        let spec = Given { sizing: sizing(None, Some(50_000_000)), rules: rules(Some(7_000), None), ..Given::default() };
        let size_flags = args::SizingFlags { link: Some(10_000_000), ..args::SizingFlags::default() };
        let rule_flags = args::RuleFlags { lease: Some(5_000), ..args::RuleFlags::default() };
        let (sized, set) = merge(&size_flags, &rule_flags, &spec, &live).unwrap();
        let sized = sized.unwrap();
        assert_eq!((sized.volume_bytes, sized.link_bytes_per_s), (1 << 40, 10_000_000));
        assert_eq!(sized.changed_bytes, 1_800_000_000, "what changes in half an hour at the measured rate");
        assert_eq!((set.lease_ms, set.approval_ms), (Some(5_000), Some(60_000)));
        let (_, set) = merge(&args::SizingFlags::default(), &args::RuleFlags::default(), &spec, &live).unwrap();
        assert_eq!(set.lease_ms, Some(7_000));
        let nothing = merge(&args::SizingFlags::default(), &args::RuleFlags::default(), &Given::default(), &Given::default());
        assert_eq!(nothing.unwrap(), (None, Rules::default()));
    }
}
