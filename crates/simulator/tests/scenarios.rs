//! Every drill of the library, a few schedules each.

mod common;

use common::{all_hold, seeds};
use mainstay_simulator::{Scenario, scenarios};

fn drill(scenario: Scenario) -> Vec<mainstay_simulator::Outcome> {
    all_hold(&[scenario], seeds(3))
}

#[test]
fn s01_the_incident() {
    let outcomes = drill(scenarios::THE_INCIDENT);
    // B was away for so long that it caught up by what changed: the drill is worth nothing otherwise.
    assert!(outcomes.iter().all(|outcome| outcome.stats.resyncs_by_change > 0));
}

#[test]
fn s03_see_saw() {
    drill(scenarios::SEE_SAW);
}

#[test]
fn s04_zombie_primary() {
    let outcomes = drill(scenarios::ZOMBIE_PRIMARY);
    assert!(outcomes.iter().all(|outcome| outcome.stats.failovers > 0));
}

#[test]
fn s06_peer_link_cut() {
    drill(scenarios::PEER_LINK_CUT);
}

#[test]
fn s07_isolated_primary() {
    drill(scenarios::ISOLATED_PRIMARY);
}

#[test]
fn s08_one_way() {
    drill(scenarios::ONE_WAY);
}

#[test]
fn s12_pause() {
    drill(scenarios::PAUSE);
}

#[test]
fn s18_slow_but_moving() {
    drill(scenarios::SLOW_BUT_MOVING);
}

#[test]
fn s20_sync_interrupted() {
    let outcomes = drill(scenarios::SYNC_INTERRUPTED);
    assert!(outcomes.iter().all(|outcome| outcome.stats.resyncs_by_change > 0));
}

#[test]
fn s27_lying_fsync() {
    drill(scenarios::LYING_FSYNC);
}

#[test]
fn s28_torn_log() {
    drill(scenarios::TORN_LOG);
}

#[test]
fn s30_diverged() {
    let outcomes = drill(scenarios::DIVERGED);
    assert!(outcomes.iter().any(|outcome| outcome.stats.roll_backs > 0), "no schedule made histories diverge");
}

#[test]
fn hunts() {
    all_hold(&[scenarios::UNHEARD_MEMBER, scenarios::BACKLOG, scenarios::HANGING_DISK], seeds(2));
}

#[test]
fn every_scenario_has_a_test_and_a_story() {
    assert_eq!(scenarios::ALL.len(), 16);
    for scenario in scenarios::ALL {
        assert!(scenario.story.len() > 60, "{}", scenario.name);
        assert!(scenarios::named(scenario.name).is_some());
    }
    assert_eq!(scenarios::named("S20").map(|scenario| scenario.name), Some("S20 sync-interrupted"));
    assert!(scenarios::named("S99").is_none());
}
