//! The simulator is tested itself: some seed comes through every marked branch of the replica's roles, and through every refusal
//! that a running cluster can meet. A rule that no drill reaches is not rehearsed.

mod common;

use common::{named, run_all};
use mainstay_simulator::Options;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Not for drills, but each with a transcript of `cluster`. Requests that are wrong whatever the state is:
const WRONG_ANYWAY: &[&str] = &[
    "AlreadyInitialised",
    "BadLabel",
    "BadValue",
    "DrillOutdated",
    // Asked of a node's directory, never of a cluster.
    "ForcedAlone",
    "ForcedByOne",
    "ForcedForNothing",
    "ForcedWithout",
    "GuardedPolicy",
    "LimitReached",
    "NotAPerson",
    "NotInitialised",
    "PrimaryNotReplica",
    "Taken",
    "TokenExpired",
    "TokenMissing",
    "TokenUsed",
    "UnknownChange",
    "UnknownNode",
    "UnknownProposal",
    "UnknownToken",
    "UnknownVolume",
];
/// What only a node that is broken would say, or asks nobody in a drill: reads without a primary are decided by the replica itself.
const NOBODY_SAYS: &[&str] = &[
    // Nodes count, and say that it expired.
    "ApprovalTooOld",
    "ClosedWithoutPrimary",
    "CopyTooShort",
    // Nodes look before they ask.
    "DeniedBefore",
    "Diverged",
    "EmptyCopy",
    "EpochExhausted",
    // As the first: who has waited that long says so before anybody can approve.
    "Expired",
    // Of a cluster with one volume, and of candidates that look before they ask.
    "FencesOthers",
    "FencesUnapproved",
    "HasPrimary",
    "IncompletePrefix",
    "LossMisnamed",
    "NeverBooted",
    "NotAReplica",
    "NotExpired",
    "NotFenced",
    "NotOverdue",
    "NotTheFencer",
    "NotThePrimary",
    "PromiseTooLow",
    "RemovesItself",
];

/// No seed has been shown to come through these yet: a debt. Each needs an unlucky moment at a grant (a log without room, an answer of
/// coordination that is lost).
const NOT_REACHED: &[&str] = &["replica: grant waits for the volume"];

/// Scenarios that together come through everything, the cheapest first, with how many seeds of each one round takes.
const PATHS: &[(&str, u64)] = &[
    ("random_mix", 12),
    ("strange-wishes", 24),
    ("failed-promotion", 2),
    ("see-saw-breaker", 1),
    ("two-copies", 1),
    ("given-up", 12),
    ("on-hold", 6),
    ("S37", 16),
    ("S11", 2),
    ("S20", 2),
    ("S24", 8),
    ("S36", 8),
    ("log-outrun", 6),
    ("backlog", 8),
    ("switchover:rough", 12),
    ("switchover:stuck", 2),
    ("fencing:comes-back", 6),
    ("fencing:learns-late", 10),
    ("fencing:called-off", 6),
    ("fencing:restarts", 12),
    ("moving-base", 2),
    ("S17", 3),
    ("candidate-fails", 2),
    ("failed-primary", 2),
    ("expires", 3),
    ("longer-copy", 8),
    ("late-reads", 8),
    ("members", 16),
    ("moving", 4),
];
/// Every change of the core draws new schedules: what one round misses, the next ones find.
const ROUNDS: u64 = 8;

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
    missing.extend(refusals().into_iter().filter(|name| !WRONG_ANYWAY.iter().chain(NOBODY_SAYS).any(|not| not == name)));
    let mut left: BTreeSet<String> = missing.iter().filter(|place| !NOT_REACHED.contains(&place.as_str())).cloned().collect();
    for (round, (scenario, seeds)) in (0..ROUNDS).flat_map(|round| PATHS.iter().map(move |path| (round, path))) {
        if left.is_empty() {
            break;
        }
        for outcome in run_all(&[named(scenario)], round * seeds..(round + 1) * seeds, Options::default()) {
            assert!(outcome.ok(), "{}", outcome.report());
            outcome.marks.iter().for_each(|mark| _ = missing.remove(mark.as_ref()));
        }
        let before = left.len();
        left.retain(|place| missing.contains(place));
        println!("{scenario}, round {round}: {} more, {} to go: {left:?}", before - left.len(), left.len());
    }
    let mut known = |place: &&&str| missing.remove(**place);
    let unreached: Vec<&&str> = NOT_REACHED.iter().filter(|place| known(place)).collect();
    assert!(missing.is_empty(), "no seed came through {missing:?}");
    assert_eq!(unreached.len(), NOT_REACHED.len(), "some are reached now: take them off the list, only {unreached:?} are not");
}
