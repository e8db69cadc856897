//! One seed, one history: the hash over everything that happened is the same in every run, also on another thread beside others.

mod common;

use common::{named, run_all};
use mainstay_simulator::{Options, run, scenarios};

#[test]
fn a_seed_replays_to_the_same_hash() {
    let chosen = ["random_mix", "S28", "S20"].map(named);
    let outcomes = run_all(&chosen, 0..2, Options::default());
    assert_eq!(outcomes.len(), 6);
    for outcome in &outcomes {
        let scenario = scenarios::named(&outcome.scenario).expect("it just ran");
        let again = run(outcome.seed, &scenario, Options::default());
        assert_eq!(again.trace_hash, outcome.trace_hash, "{} seed {}", outcome.scenario, outcome.seed);
        assert_eq!(again.stats, outcome.stats);
    }
    let hashes: std::collections::BTreeSet<u64> = outcomes.iter().map(|outcome| outcome.trace_hash).collect();
    assert_eq!(hashes.len(), outcomes.len(), "different seeds and scenarios give different histories");
}
