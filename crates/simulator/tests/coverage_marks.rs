//! The simulator is tested itself: some seed comes through every marked branch of the replica's roles, and through every refusal
//! that a running cluster can meet. A rule that no drill reaches is not rehearsed.

mod common;

use common::{named, run_all};
use mainstay_simulator::Options;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Refusals of requests that are wrong whatever the state is, or that only a person's command can meet which the simulated
/// operators do not give: the transcripts of `cluster` show each.
const NOT_FOR_DRILLS: &[&str] = &[];

fn source(of: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(of);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of all marks in a crate's source: every text between quotes within the brackets of `mark(…)`.
fn marks_in(directory: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(directory);
    let files = fs::read_dir(&path).expect("the crate's source").map(|entry| entry.expect("an entry").path());
    let text: String = files.filter_map(|file| fs::read_to_string(file).ok()).collect();
    let calls = text.split("mark(").skip(1).map(|rest| rest.split(')').next().unwrap_or_default());
    calls.flat_map(|call| call.split('"').skip(1).step_by(2)).map(String::from).collect()
}

fn refusals() -> BTreeSet<String> {
    let source = source("cluster/src/refusal.rs");
    let body = source.split("pub enum RefusalKind {").nth(1).and_then(|rest| rest.split("\n}").next()).expect("the enum");
    let lines = body.lines().map(str::trim).filter(|line| line.starts_with(|letter: char| letter.is_ascii_uppercase()));
    lines.filter_map(|line| line.split(|letter: char| !letter.is_alphanumeric()).next()).map(String::from).collect()
}

#[test]
fn every_mark_and_every_refusal_of_a_running_cluster_is_reached() {
    let mut missing: BTreeSet<String> = marks_in("replica/src");
    assert!(missing.len() > 40, "marks are found in the source: {missing:?}");
    missing.extend(refusals().into_iter().filter(|name| !NOT_FOR_DRILLS.contains(&name.as_str())));
    let mut reach = |scenario: &str, seeds: u64| {
        if missing.is_empty() {
            return;
        }
        for outcome in run_all(&[named(scenario)], 0..seeds, Options::default()) {
            outcome.marks.iter().for_each(|mark| _ = missing.remove(mark.as_ref()));
        }
        println!("after {scenario}: {missing:?}");
    };
    reach("random_mix", 24);
    for scenario in mainstay_simulator::scenarios::all() {
        reach(&scenario.name, 2);
    }
    assert!(missing.is_empty(), "no seed came through {missing:?}");
}
