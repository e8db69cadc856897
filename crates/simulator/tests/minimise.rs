//! A violated run becomes a small one that still fails.

use mainstay_simulator::minimise::{minimise_within, same_property};
use mainstay_simulator::queue::SECOND;
use mainstay_simulator::{Bug, Options, Outcome, plan, run, run_plan, scenarios};

/// Enough to come to a handful; the whole budget would only cost time here.
const RUNS: u32 = 90;

#[test]
fn a_violated_mix_becomes_a_handful_of_faults() {
    let options = Options { bugs: Bug::AckBeforeSync.into(), ..Options::default() };
    let mix = &scenarios::named("random_mix").expect("it is in the library");
    let many = |seed: &u64| plan(*seed, mix).script.len() > 12;
    // What shows soon is soon made small.
    let soon = |outcome: &Outcome| outcome.violations.first().is_some_and(|violation| violation.at < 120 * SECOND);
    let found = (0..60).filter(many).map(|seed| run(seed, mix, options)).find(soon);
    let found = found.expect("the bug is found in the mix, too");
    let small =
        minimise_within(RUNS, found.seed, &mix.name, plan(found.seed, mix), options, same_property(&found)).expect("it fails");
    assert_eq!(small.from_actions, plan(found.seed, mix).script.len());
    assert!(small.runs <= RUNS && small.to_actions <= 6, "{} of {} actions are left", small.to_actions, small.from_actions);
    assert_eq!(small.plan.script.len(), small.to_actions);
    // It replays, and without the bug it holds: what is left shows the bug and nothing else.
    let again = run_plan(small.seed, &mix.name, small.plan.clone(), options);
    assert_eq!(again.violations, small.outcome.violations);
    assert_eq!(again.violations[0].property, found.violations[0].property);
    let sound = run_plan(small.seed, &mix.name, small.plan, Options::default());
    assert!(sound.ok(), "{}", sound.report());
}

#[test]
fn what_does_not_fail_is_not_minimised() {
    let mix = &scenarios::named("random_mix").expect("it is in the library");
    assert!(minimise_within(5, 0, &mix.name, plan(0, mix), Options::default(), |outcome| !outcome.ok()).is_none());
}
