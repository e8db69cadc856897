//! Seeds on all cores.

use mainstay_simulator::{Options, Outcome, Scenario, run};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Runs `seeds` of every scenario, until one fails. Outcomes of all that ran, in no order.
pub fn run_all(scenarios: &[Scenario], seeds: Range<u64>, options: Options) -> Vec<Outcome> {
    let jobs: Vec<(&Scenario, u64)> = seeds.flat_map(|seed| scenarios.iter().map(move |scenario| (scenario, seed))).collect();
    let (next, outcomes) = (AtomicU64::new(0), Mutex::new(Vec::<Outcome>::new()));
    let work = || {
        while let Some((scenario, seed)) = jobs.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
            let outcome = run(*seed, scenario, options);
            let found = !outcome.ok();
            outcomes.lock().expect("workers do not panic").push(outcome);
            if found {
                next.store(u64::MAX / 2, Ordering::Relaxed);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    std::thread::scope(|scope| (0..threads).for_each(|_| _ = scope.spawn(work)));
    outcomes.into_inner().expect("workers do not panic")
}

/// Of the library.
#[allow(dead_code)]
pub fn named(name: &str) -> Scenario {
    mainstay_simulator::scenarios::named(name).unwrap_or_else(|| panic!("no scenario {name}"))
}

/// Every property held in every run; otherwise says which seed to replay.
#[allow(dead_code)]
pub fn all_hold(scenarios: &[Scenario], seeds: Range<u64>) -> Vec<Outcome> {
    let outcomes = run_all(scenarios, seeds, Options::default());
    let found: Vec<String> = outcomes.iter().filter(|outcome| !outcome.ok()).map(Outcome::report).collect();
    assert!(found.is_empty(), "{}", found.join("\n\n"));
    outcomes
}

/// `MAINSTAY_SEEDS=2000 cargo test --release` runs more than the few that every build can afford.
#[allow(dead_code)]
pub fn seeds(few: u64) -> Range<u64> {
    let wanted = std::env::var("MAINSTAY_SEEDS").ok().and_then(|text| text.parse().ok());
    0..wanted.unwrap_or(few)
}
