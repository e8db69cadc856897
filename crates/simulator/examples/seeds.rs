//! Runs many seeds of a scenario on all cores, or replays one with its story.
//!
//! ```text
//! cargo run --release -p mainstay-simulator --example seeds -- --scenario random_mix --seeds 0..2000
//! cargo run --release -p mainstay-simulator --example seeds -- --scenario random_mix --seed 17 --trace
//! ```

use mainstay_simulator::{Bug, Bugs, Options, Outcome, Scenario, Stats, Trace, run, scenarios, script};
use std::ops::Range;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const USAGE: &str =
    "usage: seeds [--scenario NAME|FILE|all] [--seeds FROM..TO | --seed N] [--trace | --trace-all] [--bug NAME,NAME]
                [--jobs N] [--keep-going: run the other seeds] [--to-the-end: go on after a violation]
                [--mark TEXT: name the seeds that come through such a mark]";

struct Arguments {
    scenarios: Vec<Scenario>,
    seeds: Range<u64>,
    options: Options,
    jobs: usize,
    keep_going: bool,
    mark: Option<String>,
}

fn arguments() -> Result<Arguments, String> {
    let jobs = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let scenarios = scenarios_named("random_mix")?;
    let mut parsed = Arguments { scenarios, seeds: 0..100, options: Options::default(), jobs, keep_going: false, mark: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value\n{USAGE}"));
        match word.as_str() {
            "--scenario" => parsed.scenarios = scenarios_named(&value()?)?,
            "--seeds" => parsed.seeds = range(&value()?)?,
            "--seed" => {
                let seed = number(&value()?)?;
                parsed.seeds = seed..seed + 1;
            }
            "--trace" => parsed.options.trace = Trace::Brief,
            "--trace-all" => parsed.options.trace = Trace::Full,
            "--bug" => parsed.options.bugs = bugs_named(&value()?)?,
            "--to-the-end" => parsed.options.keep_going = true,
            "--jobs" => parsed.jobs = number(&value()?)? as usize,
            "--keep-going" => parsed.keep_going = true,
            "--mark" => parsed.mark = Some(value()?),
            _ => return Err(format!("{word}?\n{USAGE}")),
        }
    }
    Ok(parsed)
}

fn scenarios_named(name: &str) -> Result<Vec<Scenario>, String> {
    if name == "all" {
        return Ok(scenarios::all().to_vec());
    }
    if name.ends_with(".scenario") {
        return script::load_file(name.as_ref()).map(|scenario| vec![scenario]).map_err(|error| error.to_string());
    }
    let known = || scenarios::all().iter().map(|scenario| scenario.name.to_string()).collect::<Vec<_>>().join(", ");
    scenarios::named(name).map(|scenario| vec![scenario]).ok_or_else(|| format!("no scenario {name}; there are {}", known()))
}

fn bugs_named(names: &str) -> Result<Bugs, String> {
    let known = || Bug::ALL.iter().map(|bug| bug.name()).collect::<Vec<_>>().join(", ");
    names.split(',').map(|name| Bug::named(name).ok_or_else(|| format!("no bug {name}; there are {}", known()))).collect()
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text} is not a number"))
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or_else(|| format!("{text} is not FROM..TO"))?;
    Ok(number(from)?..number(to)?)
}

#[derive(Default)]
struct Totals {
    runs: u64,
    failed: Vec<Outcome>,
    stats: Stats,
}

fn add(totals: &mut Totals, outcome: Outcome) {
    totals.runs += 1;
    let (sum, one) = (&mut totals.stats, &outcome.stats);
    sum.events += one.events;
    sum.ops += one.ops;
    sum.retries += one.retries;
    sum.given_up += one.given_up;
    sum.failovers += one.failovers;
    sum.boots += one.boots;
    sum.bytes_moved += one.bytes_moved;
    sum.resyncs_by_change += one.resyncs_by_change;
    sum.roll_backs += one.roll_backs;
    sum.simulated += one.simulated;
    if !outcome.ok() {
        eprintln!("{}\n", outcome.report());
        totals.failed.push(outcome);
    }
}

fn summary(totals: &Totals, took: Duration, jobs: usize) -> String {
    let Stats { ops, retries, given_up, failovers, boots, bytes_moved, resyncs_by_change, roll_backs, simulated, events, .. } =
        totals.stats;
    format!(
        "{} runs, {} failed, {:.1} s; {ops} operations ({retries} retries, {given_up} given up), {failovers} failovers, {boots} boots, \
         {} MiB moved, {resyncs_by_change} resyncs by change, {roll_backs} roll-backs, {} simulated minutes, {events} events; {:.0} cluster-hours per hour and job",
        totals.runs,
        totals.failed.len(),
        took.as_secs_f64(),
        bytes_moved >> 20,
        simulated / 60_000_000_000,
        simulated as f64 / 1e9 / took.as_secs_f64() / jobs as f64,
    )
}

fn run_all(arguments: &Arguments) -> Totals {
    let count = arguments.seeds.end.saturating_sub(arguments.seeds.start) * arguments.scenarios.len() as u64;
    let (next, totals, began) = (AtomicU64::new(0), Mutex::new(Totals::default()), Instant::now());
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let stop =
                !arguments.keep_going && totals.lock().is_ok_and(|totals: std::sync::MutexGuard<Totals>| !totals.failed.is_empty());
            if index >= count || stop {
                return;
            }
            let scenario = &arguments.scenarios[index as usize % arguments.scenarios.len()];
            let seed = arguments.seeds.start + index / arguments.scenarios.len() as u64;
            let outcome = run(seed, scenario, arguments.options);
            let wanted =
                |mark: &&std::borrow::Cow<'static, str>| arguments.mark.as_ref().is_some_and(|text| mark.contains(text.as_str()));
            outcome.marks.iter().filter(wanted).for_each(|mark| println!("{} seed {seed}: {mark}", scenario.name));
            let Ok(mut totals) = totals.lock() else { return };
            add(&mut totals, outcome);
            if totals.runs.is_multiple_of(50) {
                eprintln!("{}", summary(&totals, began.elapsed(), arguments.jobs));
            }
        }
    };
    std::thread::scope(|scope| (0..arguments.jobs.max(1)).for_each(|_| _ = scope.spawn(work)));
    let totals = totals.into_inner().expect("workers do not panic");
    eprintln!("{}", summary(&totals, began.elapsed(), arguments.jobs));
    totals
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::from(2);
        }
    };
    let totals = run_all(&arguments);
    if arguments.seeds.end - arguments.seeds.start == 1 && arguments.scenarios.len() == 1 && totals.failed.is_empty() {
        let outcome = run(arguments.seeds.start, &arguments.scenarios[0], Options { trace: Trace::Off, ..arguments.options });
        println!("{} (trace hash {:016x})\n{:?}", outcome.report(), outcome.trace_hash, outcome.numbers);
    }
    if totals.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
