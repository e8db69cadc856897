//! Every drill of the library, a few schedules each.

mod common;

use common::{all_hold, named, seeds};
use mainstay_simulator::scenarios;

fn drill(name: &str) -> Vec<mainstay_simulator::Outcome> {
    all_hold(&[named(name)], seeds(3))
}

#[test]
fn s01_the_incident() {
    let outcomes = drill("S01");
    // B was away for so long that it caught up by what changed: the drill is worth nothing otherwise.
    assert!(outcomes.iter().all(|outcome| outcome.stats.resyncs_by_change > 0));
}

#[test]
fn s03_see_saw() {
    drill("S03");
}

#[test]
fn s04_zombie_primary() {
    let outcomes = drill("S04");
    assert!(outcomes.iter().all(|outcome| outcome.stats.failovers > 0));
}

#[test]
fn s06_peer_link_cut() {
    drill("S06");
}

#[test]
fn s07_isolated_primary() {
    drill("S07");
}

#[test]
fn s08_one_way() {
    drill("S08");
}

#[test]
fn s12_pause() {
    drill("S12");
}

#[test]
fn s18_slow_but_moving() {
    drill("S18");
}

#[test]
fn s20_sync_interrupted() {
    let outcomes = drill("S20");
    assert!(outcomes.iter().all(|outcome| outcome.stats.resyncs_by_change > 0));
}

#[test]
fn s27_lying_fsync() {
    drill("S27");
}

#[test]
fn s28_torn_log() {
    drill("S28");
}

#[test]
fn s30_diverged() {
    let outcomes = drill("S30");
    assert!(outcomes.iter().any(|outcome| outcome.stats.roll_backs > 0), "no schedule made histories diverge");
}

#[test]
fn hunts() {
    all_hold(&["unheard-member", "backlog", "hanging-disk"].map(named), seeds(2));
}

#[test]
fn every_scenario_has_a_test_and_a_story() {
    assert_eq!(scenarios::all().len(), 16);
    for scenario in scenarios::all() {
        assert!(scenario.story.len() > 60, "{}", scenario.name);
        assert!(scenarios::named(&scenario.name).is_some());
    }
    assert_eq!(scenarios::named("S20").map(|scenario| scenario.name).as_deref(), Some("S20 sync-interrupted"));
    assert_eq!(
        scenarios::named("the-incident:witness-blip").map(|found| found.name).as_deref(),
        Some("S01 the-incident:witness-blip")
    );
    assert!(scenarios::named("S99").is_none() && scenarios::named("S01:nothing-such").is_none());
}
