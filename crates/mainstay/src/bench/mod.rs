//! `mainstay bench`: how fast a file server is, and whether it is right.
//!
//! The same operations against any NFSv3 server or a local directory, at several depths. Everything read is compared with what
//! was written, and what a phase claims to have done is checked after it, outside of its time: a wrong server cannot win. With
//! `--against` the phases of two targets take turns, so that a drift of the machine's speed hits both; quote the ratios.

mod content;
mod directory;
mod engine;
mod error;
mod histogram;
mod nfs;
mod operation;
mod phase;
pub(crate) mod progress;
mod report;
mod session;

#[cfg(test)]
mod tests;

pub use error::BenchError;

use crate::nfs_client::{Options, Target};
use content::Content;
use engine::Engine;
use operation::Operation;
use phase::Limit;
use progress::Progress;
use report::Report;
use session::Session;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;
use std::time::Duration;

/// Most operations in flight that are worth a thread each.
const IN_FLIGHT_MAX: u64 = 1024;
const ROUNDS_MAX: u64 = 1000;
const SECONDS: f64 = 1.0;
const SECONDS_MAX: f64 = 3600.0;

/// Measure a file server or a directory
#[derive(clap::Args, Clone, Debug)]
pub struct BenchArgs {
    /// nfs://HOST[:PORT]/EXPORT[?mountport=N&uid=N&gid=N&nconnect=N] or a local directory
    pub target: String,
    /// Compare with a second target: their phases take turns, ratios are printed
    #[arg(long, value_name = "TARGET")]
    pub against: Option<String>,
    /// Only these operations
    #[arg(long, value_name = "OPERATION,…", value_delimiter = ',')]
    pub only: Vec<Operation>,
    /// Operations in flight
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,8,32",
          value_parser = clap::value_parser!(u64).range(1..=IN_FLIGHT_MAX))]
    pub in_flight: Vec<u64>,
    /// Time for each operation at each depth in each round [default: 1]
    #[arg(long, conflicts_with = "ops")]
    pub seconds: Option<f64>,
    /// Count for each operation at each depth in each round, instead of a time
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub ops: Option<u64>,
    /// The median of so many rounds is shown
    #[arg(long, default_value = "3", value_parser = clap::value_parser!(u64).range(1..=ROUNDS_MAX))]
    pub rounds: u64,
}

impl BenchArgs {
    fn limit(&self) -> Result<Limit, BenchError> {
        if let Some(operations) = self.ops {
            return Ok(Limit::Operations(operations));
        }
        let seconds = self.seconds.unwrap_or(SECONDS);
        if !(seconds > 0.0 && seconds <= SECONDS_MAX) {
            return Err(BenchError::Arguments(format!("--seconds: a number above 0 and up to {SECONDS_MAX} is expected")));
        }
        Ok(Limit::Time(Duration::from_secs_f64(seconds)))
    }

    fn operations(&self) -> Vec<Operation> {
        let chosen = |operation: &Operation| self.only.is_empty() || self.only.contains(operation);
        Operation::ALL.into_iter().filter(chosen).collect()
    }

    fn targets(&self) -> Vec<String> {
        std::iter::once(&self.target).chain(&self.against).cloned().collect()
    }
}

/// Runs the benchmark and writes its result to stdout. What was made is removed, also after an error or Ctrl-C.
pub fn run(args: &BenchArgs, json: bool) -> Result<(), BenchError> {
    let progress = Progress::new(progress::interrupts().map_err(BenchError::Output)?);
    let report = measure(args, &Options::default(), &progress)?;
    drop(progress);
    report.notes.iter().for_each(|note| eprintln!("mainstay: {note}"));
    let text = if json { format!("{:#}\n", report.json()) } else { report.table() };
    std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes()).map_err(BenchError::Output)
}

fn measure(args: &BenchArgs, options: &Options, progress: &Progress) -> Result<Report, BenchError> {
    let (limit, operations) = (args.limit()?, args.operations());
    let content = Content::new(random());
    let mut sessions = Vec::new();
    let mut result = Ok(());
    for target in args.targets() {
        match open(&target, options) {
            Ok(engine) => sessions.push(Session::new(engine, limit, &content)),
            Err(error) => result = result.and(Err(error)),
        }
    }
    let shown = match limit {
        Limit::Time(time) => format!("{} s", time.as_secs_f64()),
        Limit::Operations(operations) => format!("{operations} operations"),
    };
    let (targets, rounds) = (args.targets(), args.rounds as usize);
    let mut report = Report { targets, limit: shown, rounds, rows: Vec::new(), notes: Vec::new() };
    let plan = Plan { args, operations: &operations, limit, progress };
    result = result.and_then(|()| plan.rounds(&mut sessions, &mut report));
    progress.say("removing what was made");
    report.notes = sessions.iter().filter_map(Session::note).collect();
    // Each target is swept, whatever happened to the other; the first error is the one that explains the rest.
    let swept: Vec<_> = sessions.into_iter().map(Session::finish).collect();
    swept.into_iter().fold(result, Result::and)?;
    report.sort();
    Ok(report)
}

struct Plan<'a> {
    args: &'a BenchArgs,
    operations: &'a [Operation],
    limit: Limit,
    progress: &'a Progress,
}

impl Plan<'_> {
    /// Each operation at each depth on one target after the other; who begins changes from round to round.
    fn rounds(&self, sessions: &mut [Session], report: &mut Report) -> Result<(), BenchError> {
        for round in 0..self.args.rounds as usize {
            for (nth, depth) in self.args.in_flight.iter().enumerate() {
                self.progress.say("preparing");
                sessions.iter_mut().try_for_each(|session| session.clear(self.progress))?;
                let before = (round * self.args.in_flight.len() + nth) * self.operations.len();
                for (index, operation) in (before..).zip(self.operations) {
                    self.turns(sessions, report, (*operation, *depth), (round, index))?;
                }
            }
        }
        Ok(())
    }

    /// One operation at one depth on each target.
    fn turns(
        &self,
        sessions: &mut [Session],
        report: &mut Report,
        (operation, depth): (Operation, u64),
        (round, index): (usize, usize),
    ) -> Result<(), BenchError> {
        let targets = sessions.len();
        let count = self.args.rounds as usize * self.args.in_flight.len() * self.operations.len() * targets;
        for turn in 0..targets {
            let target = (turn + round) % targets;
            let label = format!("{} {} ×{depth}", report.targets[target], operation.name());
            let fraction = |done: u64, elapsed: Duration| match self.limit {
                Limit::Time(time) => elapsed.as_secs_f64() / time.as_secs_f64(),
                Limit::Operations(all) => done as f64 / all as f64,
            };
            let mut watch = self.progress.watch(label, (index * targets + turn, count), fraction);
            let figures = sessions[target].phase(operation, depth, &mut watch, self.progress)?;
            report.add(operation, depth, target, figures);
        }
        Ok(())
    }
}

fn open(target: &str, options: &Options) -> Result<Box<dyn Engine>, BenchError> {
    let home = format!("mainstay-bench-{}-{:08x}", std::process::id(), random() as u32);
    if target.contains("://") {
        let target: Target = target.parse()?;
        return Ok(Box::new(nfs::NfsEngine::open(&target, options.clone(), home)?));
    }
    if !Path::new(target).is_dir() {
        return Err(BenchError::NeitherKind(target.to_owned()));
    }
    Ok(Box::new(directory::DirectoryEngine::open(Path::new(target), &home)?))
}

/// The standard library's hash seed: different in every run.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
