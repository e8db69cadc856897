//! Every drill of the library, a few schedules each.

mod common;

use common::{all_hold, named, seeds};
use mainstay_simulator::queue::SECOND;
use mainstay_simulator::{Options, Scenario, run, scenarios, script};

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

/// What has no test of its own above; thousands of seeds are the `seeds` example's part.
#[test]
fn the_rest_of_the_library() {
    let own = ["S01", "S03", "S04", "S06", "S07", "S08", "S12", "S18", "S20", "S27", "S28", "S30"];
    let hunts = |scenario: &Scenario| scenario.checks.is_empty() || scenario.name.starts_with('R');
    let tested = |scenario: &Scenario| own.iter().any(|id| scenario.is_called(id)) || hunts(scenario);
    let rest: Vec<Scenario> = scenarios::all().iter().filter(|scenario| !tested(scenario)).cloned().collect();
    assert_eq!(rest.len(), 44 - own.len());
    all_hold(&rest, seeds(1));
}

#[test]
fn every_variant_of_the_incident() {
    let incident = named("S01");
    assert_eq!(incident.variants().len(), 5);
    let variants: Vec<Scenario> = incident.variants().iter().filter_map(|name| incident.with_variant(name)).collect();
    all_hold(&variants, seeds(1));
}

#[test]
fn scenarios_of_a_directory_are_loaded_and_mistakes_are_all_told() {
    let dir = std::env::temp_dir().join(format!("mainstay-scenarios-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a temporary directory");
    let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).expect("writable");
    write("a.scenario", "scenario mine\nat 5s: crash b\n");
    write("ignored.txt", "not a scenario");
    let found = script::load_dir(&dir).expect("one good file");
    assert_eq!(found.iter().map(|scenario| &*scenario.name).collect::<Vec<_>>(), ["mine"]);
    write("b.scenario", "scenario mine\n");
    write("c.scenario", "scenario other\nat 5s: crash q\n");
    std::fs::write(dir.join("d.scenario"), [0xff, 0xfe]).expect("writable");
    let errors = script::load_dir(&dir).expect_err("three bad files");
    let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert!(
        told.len() == 3 && told[0].contains("already") && told[1].contains("c.scenario:2:14") && told[2].contains("UTF-8"),
        "{told:?}"
    );
    std::fs::remove_dir_all(&dir).expect("it was made above");
    assert!(script::load_dir(&dir).expect_err("gone")[0].message.contains("cannot be read"));
}

#[test]
fn hunts() {
    let found: Vec<Scenario> = scenarios::all().iter().filter(|scenario| scenario.name.starts_with('R')).cloned().collect();
    assert_eq!(found.len(), 36);
    all_hold(&found, seeds(2));
}

#[test]
fn every_scenario_has_a_test_and_a_story() {
    assert_eq!(scenarios::all().len(), 81);
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

/// R15: the empty copy shows nothing, and stands in nobody's way: the whole one serves reads while no person is there to approve.
#[test]
fn a_whole_member_serves_reads_beside_an_empty_one() {
    let text = "scenario whole\nlasts 70s\nclients 3, think 5ms..40ms\napprove nobody\nat 8s\n  crash a, crash b\n  disk a new after 300ms\n  \
                start a after 1s\n  start b after 6s\nat 60s: approve after 100ms..1s\n";
    let script = script::parse("whole", text).unwrap_or_else(|error| panic!("{error}"));
    for seed in 0..4 {
        let outcome = run(seed, &Scenario::from(script.clone()), Options::default());
        assert!(outcome.ok(), "{}", outcome.report());
        let silent = outcome.numbers.read_outage_ns / SECOND;
        assert!((5..25).contains(&silent), "reads were unanswered for {silent} s, and b was back after 6");
    }
}
