//! The timeline and the figures of a run whose story is known in advance.

use mainstay_simulator::disk::Crash;
use mainstay_simulator::queue::{MILLISECOND, SECOND};
use mainstay_simulator::scenario::{A, Action, Approvals, B};
use mainstay_simulator::timeline::{MarkKind, SpanKind};
use mainstay_simulator::{Bugs, Numbers, Options, Outcome, Plan, Timeline, run_plan};

const RECORDED: Options =
    Options { trace: mainstay_simulator::Trace::Off, bugs: Bugs::NONE, keep_going: false, timeline: true, sizing: None };
const DIES: u64 = 8 * SECOND;
const RETURNS: u64 = 20 * SECOND;

/// A loses its power, B is promoted by approval, A comes back as a secondary.
fn failover() -> Plan {
    let mut plan = Plan::calm(30 * SECOND);
    plan.soft_percent = 0;
    plan.approvals = Approvals::After(SECOND, SECOND);
    plan.at(DIES, Action::Crash(A, Crash::Power)).at(RETURNS, Action::Start(A));
    plan
}

fn recorded() -> (Outcome, Timeline) {
    let mut outcome = run_plan(7, "failover", failover(), RECORDED);
    assert!(outcome.ok(), "{}", outcome.report());
    let timeline = outcome.timeline.take().expect("it was asked for");
    (outcome, timeline)
}

#[test]
fn a_failover_is_told_once_and_in_order() {
    let (_, timeline) = recorded();
    let at = |kind| {
        let marks: Vec<_> = timeline.marks(kind).map(|mark| mark.at_ns).collect();
        assert_eq!(marks.len(), 1, "{kind:?}: {marks:?}");
        marks[0]
    };
    assert_eq!(at(MarkKind::PowerLoss), DIES);
    let (proposed, approved, granted) = (at(MarkKind::Proposal), at(MarkKind::Approval), at(MarkKind::Epoch));
    assert!(DIES < proposed && proposed + SECOND <= approved && approved <= granted, "{proposed} {approved} {granted}");
    assert_eq!(timeline.marks(MarkKind::Crash).count(), 0);
    assert_eq!(timeline.marks(MarkKind::Violation).count(), 0);
    let a = timeline.lane("a").expect("a lane for each node");
    let down: Vec<_> = a.spans(SpanKind::Down).filter(|span| span.from_ns > SECOND).collect();
    assert_eq!(down.len(), 1);
    assert_eq!(down[0].from_ns, DIES);
    assert!((RETURNS..RETURNS + 2 * SECOND).contains(&down[0].to_ns));
    let roles: Vec<&str> = a.spans(SpanKind::Role).map(|span| span.text.as_str()).collect();
    assert_eq!(roles, ["primary of e1", "secondary"]);
}

#[test]
fn the_outage_is_what_the_clients_saw() {
    let (outcome, timeline) = recorded();
    let clients = timeline.lane("clients").expect("a lane for the clients");
    let longest = clients.spans(SpanKind::Outage).max_by_key(|span| span.to_ns - span.from_ns).expect("an outage");
    let granted = timeline.marks(MarkKind::Epoch).next().expect("a grant").at_ns;
    // From the loss (the last answers were a little earlier) to the first answer of the new primary.
    assert!(longest.from_ns.abs_diff(DIES) < 300 * MILLISECOND, "{longest:?}");
    assert!((granted..granted + 5 * SECOND).contains(&longest.to_ns), "{longest:?}");
    assert_eq!(outcome.numbers.outage_ns, longest.to_ns - longest.from_ns);
    // The secondary answered reads in between, marked as possibly old.
    assert!(outcome.numbers.read_outage_ns < outcome.numbers.outage_ns);
}

#[test]
fn figures_are_those_of_the_story() {
    let (outcome, timeline) = recorded();
    let Numbers { without_redundancy_ns, in_sync_after_ns, promotions, role_changes, client_errors, alerts, .. } = outcome.numbers;
    let b = timeline.lane("b").expect("a lane for each node");
    assert!(b.spans(SpanKind::InSync).count() == 1);
    assert!((RETURNS - DIES..RETURNS - DIES + 8 * SECOND).contains(&without_redundancy_ns), "{without_redundancy_ns}");
    assert!((1..8 * SECOND).contains(&in_sync_after_ns), "{in_sync_after_ns}");
    assert_eq!((promotions, role_changes, client_errors, alerts), (1, 1, 0, 0));
    assert!(outcome.numbers.bytes_moved > outcome.numbers.bytes_changed / 2 && outcome.numbers.operations > 500);
    assert_eq!(outcome.numbers.simulated_ns, timeline.end_ns);
}

#[test]
fn a_timeline_survives_json_and_changes_nothing() {
    let (outcome, timeline) = recorded();
    let text = serde_json::to_string(&(&timeline, &outcome.numbers)).expect("plain data");
    let again: (Timeline, Numbers) = serde_json::from_str(&text).expect("what was written");
    assert_eq!(again, (timeline, outcome.numbers));
    assert!(text.contains(r#""kind":"power-loss""#) && text.contains(r#""kind":"in-sync""#));
    let silent = run_plan(7, "failover", failover(), Options::default());
    assert_eq!((silent.trace_hash, silent.stats), (outcome.trace_hash, outcome.stats));
    assert!(silent.timeline.is_none());
    let b_is_known = run_plan(7, "failover", failover(), RECORDED).timeline.is_some_and(|timeline| timeline.lane("b").is_some());
    assert!(b_is_known && B.0 == 2);
}
