//! The simulator is tested itself: each of these bugs, planted in every replica, must be found within a bounded number of seeds.
//! The same seeds are clean without it (`scenarios.rs`, `random_mix.rs`). docs/PLANTED-BUGS.md tells what finds each, and how soon.

mod common;

use common::{named, run_all};
use mainstay_simulator::planted::{self, SHOWN, Shown};
use mainstay_simulator::queue::SECOND;
use mainstay_simulator::sizing::Sizing;
use mainstay_simulator::timeline::{MarkKind, SpanKind};
use mainstay_simulator::{Bug, Bugs, Options, run};

/// Bugs and where they show are listed once, for this test and for the table in the documentation.
fn shows(shown: &Shown) -> Result<(), String> {
    let options = Options { bugs: shown.bug.into(), ..Options::default() };
    let outcomes = run_all(&[named(shown.scenario)], 0..shown.within_seeds, options);
    let (bug, scenario, within) = (shown.bug.name(), shown.scenario, shown.within_seeds);
    let Some(found) = outcomes.into_iter().find(|outcome| !outcome.ok()) else {
        return Err(format!("{bug} was not found in {within} seeds of {scenario}"));
    };
    let first = &found.violations[0];
    let expected = shown.property.contains(first.property);
    if expected { Ok(()) } else { Err(format!("{bug} violates {} now: {}", first.name(), found.report())) }
}

/// A third of the bugs for each test, so that a failing one is soon known.
fn share(part: usize) {
    let failed: Vec<String> = SHOWN.iter().skip(part).step_by(3).filter_map(|shown| shows(shown).err()).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn planted_bugs_are_found_1() {
    share(0);
}

#[test]
fn planted_bugs_are_found_2() {
    share(1);
}

#[test]
fn planted_bugs_are_found_3() {
    share(2);
}

#[test]
fn every_bug_has_its_scenario_and_none_takes_many_seeds() {
    let listed: Vec<Bug> = SHOWN.iter().map(|shown| shown.bug).collect();
    assert_eq!(listed, Bug::ALL);
    assert!(SHOWN.iter().all(|shown| shown.within_seeds <= planted::SEEDS_MAX));
}

const LARGE: Sizing = Sizing {
    volume_bytes: 20 << 40,
    changed_bytes: 200 << 30,
    link_bytes_per_s: 125_000_000,
    disk_bytes_per_s: 500_000_000,
    rtt_ns: 500_000,
};

/// The outage that all this is about. The returned secondary is promoted although the primary is healthy, the synchronisation
/// times out because so much changed, the promotion fails and is tried again, over and over, and nobody is served.
#[test]
fn the_incident_with_its_three_bugs_is_the_loop_of_the_outage() {
    let bugs: Bugs = [Bug::PromoteOnReturn, Bug::SyncDeadline, Bug::RetryForever].into_iter().collect();
    let options = Options { bugs, sizing: Some(LARGE), timeline: true, keep_going: true, ..Options::default() };
    // In this variant the maintenance is still on when B comes back.
    let mut outcome = run(0, &named("the-incident:preferred-node"), options);
    let rules: Vec<String> = outcome.violations.iter().filter_map(|violation| Some(violation.rule?.to_string())).collect();
    for rule in ["R5", "R7", "R8", "R9", "R10", "R11", "R13"] {
        assert!(rules.iter().any(|broken| broken == rule), "{rule} is not named: {}", outcome.report());
    }
    assert_eq!(outcome.violations[0].rule.map(|rule| rule.to_string()).as_deref(), Some("R13"), "{}", outcome.report());
    let numbers = &outcome.numbers;
    assert!(numbers.promotions > 100 && numbers.role_changes > 200, "{numbers:?}");
    assert!(numbers.outage_ns > 1_500 * SECOND, "{numbers:?}");
    assert_eq!(numbers.in_sync_after_ns, 0, "B never came to hold everything");
    let timed_out = |text: &str| text.contains("synchronisation timed out");
    let timeline = outcome.timeline.take().expect("it was asked for");
    assert!(timeline.marks(MarkKind::Failure).filter(|mark| timed_out(&mark.text)).count() > 100);
    let (b, clients) = (timeline.lane("b").expect("a lane"), timeline.lane("clients").expect("a lane"));
    assert!(b.spans(SpanKind::Role).filter(|span| span.text.starts_with("primary of e")).count() > 100);
    let outage = clients.spans(SpanKind::Outage).max_by_key(|span| span.to_ns - span.from_ns).expect("an outage");
    assert_eq!(outage.to_ns - outage.from_ns, numbers.outage_ns);

    // Without the bugs the same day passes unnoticed.
    let sound = run(0, &named("the-incident:preferred-node"), Options { bugs: Bugs::NONE, ..options });
    assert!(sound.ok(), "{}", sound.report());
    let numbers = &sound.numbers;
    assert_eq!((numbers.role_changes, numbers.promotions, numbers.client_errors), (0, 0, 0));
    assert!(
        numbers.outage_ns < SECOND && numbers.bytes_moved.abs_diff(LARGE.changed_bytes) < LARGE.changed_bytes / 10,
        "{numbers:?}"
    );
}
