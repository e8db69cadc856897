//! `drill fuzz`: seed after seed of random faults, until one violates something, or until it is enough.

use super::args;
use super::library::{self, Card};
use super::one::{self, Run};
use super::out::{self, Clock};
use super::progress::{Goal, Progress};
use super::report::{self, Drill, Report, Setting};
use super::{journal, pool, run, verdict_code};
use crate::bench::progress::interrupts;
use crate::cli::args::Format;
use crate::cli::{CliError, output};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// When neither `--seeds` nor `--for` is given.
const TIME: Duration = Duration::from_secs(60);

/// # Errors
/// Bad input, and output that cannot be written.
pub fn fuzz(args: &args::Fuzz, format: Format) -> Result<u8, CliError> {
    let clock = Clock::start();
    let card = library::one(library::RANDOM)?;
    let jobs = pool::jobs(args.jobs)?;
    let setting = Setting { bugs: args.plant.bugs()?, ..Setting::default() };
    out::writable(&args.out)?;
    let goal = args.seeds.map_or_else(|| Goal::Time(args.time.map_or(TIME, Duration::from_nanos)), Goal::Runs);
    let interrupted = interrupts().map_err(|error| CliError::Failed(error.to_string()))?;

    let until = Instant::now();
    let ended = || interrupted.load(Ordering::Relaxed) || matches!(goal, Goal::Time(time) if until.elapsed() >= time);
    let mut progress = Progress::new(goal);
    let found = hunt(args, &card, (setting, jobs, goal), &ended, &mut progress);
    let summary = progress.summary();
    drop(progress);

    let interrupted = interrupted.load(Ordering::Relaxed);
    let mut meta = clock.meta(interrupted);
    meta.notes = vec![format!("{summary}, from seed {}", args.seed)];
    let held = found.is_empty();
    let mut drill = Drill::of(&card, found, setting);
    if !held {
        drill.replay = keep_smaller(&args.out, &card, &drill, setting)?;
    }
    show(&Report { version: report::VERSION, meta, drills: vec![drill] }, format);
    Ok(verdict_code(held, interrupted))
}

type Search = (Setting, usize, Goal);

/// The runs that violated something: none, one, or what other cores found while the first was found.
fn hunt(
    args: &args::Fuzz,
    card: &Card,
    (setting, jobs, goal): Search,
    ended: &(dyn Fn() -> bool + Sync),
    progress: &mut Progress,
) -> Vec<Run> {
    let work = |n: u64| {
        let wanted = !matches!(goal, Goal::Runs(all) if n >= all);
        wanted.then(|| run::once(card, args.seed.wrapping_add(n), setting, false))
    };
    let mut found = Vec::new();
    pool::run(jobs, ended, &work, progress, |run: Run, progress| {
        progress.add(run.numbers.simulated_ns);
        if !run.outcome.ok() {
            found.push(run);
        }
        found.is_empty()
    });
    found
}

/// Writes the violated run, made as small as it can be; gives the command that replays it.
fn keep_smaller(directory: &Path, card: &Card, drill: &Drill, setting: Setting) -> Result<String, CliError> {
    let path = directory.join(format!("{}-{}.scenario", card.handle(), drill.shown_seed));
    // Kept first, so that whoever does not wait has it.
    out::keep(&path, &one::whole(drill.shown_seed, &card.scenario, setting))?;
    let (seed, shown) = (drill.shown_seed, path.display());
    eprintln!("mainstay: seed {seed} violates a property; kept in {shown}, which is made smaller now, for a minute or two");
    let smaller = one::smaller(drill.shown_seed, &card.scenario, setting)
        .ok_or_else(|| CliError::Failed(format!("seed {} does not fail again: please report this", drill.shown_seed)))?;
    out::keep(&path, &smaller)?;
    let plant = drill.replay.find(" --plant").map_or("", |at| &drill.replay[at..]);
    Ok(format!("mainstay drill replay {}{plant}", path.display()))
}

fn show(report: &Report, format: Format) {
    if format == Format::Json {
        return output::print(&output::json(&journal::journal(report)));
    }
    let style = output::Style::detect();
    let mut text = String::new();
    for drill in &report.drills {
        text += &super::table::explanation(drill, style);
        if drill.held() {
            text += &format!("{}: {}\n", drill.title(), style.good("no violation"));
        } else {
            text += &format!("see it again:  {}\n", drill.replay);
        }
    }
    report.meta.notes.iter().for_each(|note| text += &format!("{note}\n"));
    if report.meta.status == "interrupted" {
        text += "interrupted: this is what had been run by then\n";
    }
    output::print(&text);
}
