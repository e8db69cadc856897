//! Random faults, random operators. A bounded number of seeds in every build; thousands with `MAINSTAY_SEEDS` or the `seeds`
//! example.

mod common;

use common::{all_hold, named, seeds};

#[test]
fn random_mix() {
    let outcomes = all_hold(&[named("random_mix")], seeds(16));
    let sum = |count: fn(&mainstay_simulator::Stats) -> u64| outcomes.iter().map(|outcome| count(&outcome.stats)).sum::<u64>();
    // It must really be a mix: things failed, moved and were retried, and work was done.
    assert!(sum(|stats| stats.ops) > 10_000);
    assert!(sum(|stats| stats.failovers) > 10);
    assert!(sum(|stats| stats.boots) > 50);
    assert!(sum(|stats| stats.retries) > 100);
}
