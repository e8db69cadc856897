//! A real log (maintenance of b, then the loss of the primary) becomes a scenario that runs; what is inferred of absences; and
//! everything that can be wrong with a file.

use super::*;
use mainstay_cluster::{Actor, Digest};
use mainstay_protocol::{Epoch, Incarnation, NodeId, Position, ProposalId, Timestamp};
use mainstay_simulator::Options;

const REAL: &str = include_str!("../fixtures/events.jsonl");

fn args() -> args::FromEvents {
    args::FromEvents {
        file: "events.json".into(),
        after: 0,
        until: u64::MAX,
        volume: None,
        out: None,
        run: false,
        spec: None,
        seed: 0,
        seeds: 1,
        sizing: args::SizingFlags::default(),
        rules: args::RuleFlags::default(),
    }
}

fn turned(text: &str) -> Result<Turned, String> {
    turn(log::parse(text)?, &args(), super::super::given::Rules::default())
}

fn error(text: &str) -> String {
    turned(text).err().unwrap()
}

/// Acts as they are written, with the number of the event that tells of each.
fn acts(turned: &Turned) -> Vec<(u64, &str)> {
    turned.acts.iter().map(|act| (act.event, act.act.as_str())).collect()
}

#[test]
fn a_real_log_becomes_what_happened_and_what_people_did() {
    let turned = turned(REAL).unwrap();
    let wanted = [
        (14, "maintenance begin b for 34s"),
        (16, "maintenance end b"),
        (18, "maintenance begin b for 22s"),
        (19, "stop b"),
        (20, "start b"),
        (22, "maintenance end b"),
        (24, "crash a"),
        (25, "approve after 0s..50ms"),
        (30, "start a"),
        (25, "approve nobody"),
    ];
    assert_eq!(acts(&turned), wanted);
    assert_eq!(turned.warnings, Vec::<String>::new(), "the chain of a real log holds");
    assert_eq!((turned.left_to_the_rules["promotions"], turned.left_to_the_rules["refusals"]), (1, 1));
    assert_eq!(turned.not_rehearsed, []);
    // Relative times are those of the log.
    let at = |number: u64| turned.acts.iter().find(|act| act.event == number).unwrap().at_ns;
    assert_eq!((at(18) - at(14)) / 1_000_000_000, 75);
}

#[test]
fn the_scenario_of_a_real_log_runs_as_it_was() {
    let text = turned(REAL).unwrap().scenario;
    let scenario = Scenario::from(script::parse("test", &text).unwrap_or_else(|error| panic!("{error}")));
    let outcome = mainstay_simulator::run(0, &scenario, Options { timeline: true, ..Options::default() });
    assert!(outcome.ok(), "{}", outcome.report());
    assert_eq!((outcome.numbers.promotions, outcome.numbers.role_changes), (1, 1));
    let grants: Vec<String> =
        outcome.timeline.unwrap().marks(mainstay_simulator::timeline::MarkKind::Epoch).map(|mark| mark.text.clone()).collect();
    assert_eq!(grants.len(), 1);
    assert!(grants[0].ends_with("granted to b"), "{grants:?}");
}

#[test]
fn a_part_of_a_log_is_rehearsed_from_the_state_that_it_had() {
    // After the promotion: b reigns, a comes back.
    let part = args::FromEvents { after: 28, ..args() };
    let turned = turn(log::parse(REAL).unwrap(), &part, super::super::given::Rules::default()).unwrap();
    assert!(turned.scenario.contains("\nprimary  b\n"), "{}", turned.scenario);
    assert_eq!(acts(&turned), [(30, "crash a"), (30, "start a")]);
    let none = |after, until| {
        let args = args::FromEvents { after, until, ..args() };
        turn(log::parse(REAL).unwrap(), &args, super::super::given::Rules::default()).err().unwrap()
    };
    assert_eq!(none(99, u64::MAX), "there is no event after 99");
    assert_eq!(none(40, 50), "there is no event from 41 to 50");
}

// ---- logs made by hand -------------------------------------------------------------------------------------------------------

fn event(number: u64, at_ms: i64, actor: Actor, event: Event, text: &str) -> String {
    let volume = matches!(actor, Actor::Node(_)).then_some(VolumeId(1));
    let at = Timestamp::from_millis(1_700_000_000_000 + at_ms);
    let event = AuditEvent { number, at, actor, volume, event, text: text.into(), hash: Digest::default() };
    serde_json::to_string(&event).unwrap() + "\n"
}

fn node(id: u16) -> Actor {
    Actor::Node(NodeId(id))
}

fn shrunk(number: u64, at_ms: i64, by: u16, removed: u16, silent_ms: u64) -> String {
    let text = format!("n{removed} left the in-sync set of files: silent for {silent_ms} ms");
    event(number, at_ms, node(by), Event::InSyncShrunk { removed: NodeId(removed) }, &text)
}

fn grown(number: u64, at_ms: i64, by: u16, added: u16) -> String {
    let grown = Event::InSyncGrown { added: NodeId(added), incarnation: Incarnation(1), position: Position(9) };
    event(number, at_ms, node(by), grown, "in sync")
}

fn proposed(number: u64, at_ms: i64, candidate: u16) -> String {
    let (proposal, evidence_hash) = (ProposalId(1), Digest::default());
    event(number, at_ms, node(candidate), Event::Proposed { proposal, candidate: NodeId(candidate), evidence_hash }, "proposes")
}

fn granted(number: u64, at_ms: i64, primary: u16) -> String {
    let grant =
        Event::Granted { proposal: ProposalId(1), epoch: Epoch(2), primary: NodeId(primary), evidence_hash: Digest::default() };
    event(number, at_ms, node(primary), grant, "granted")
}

fn times(turned: &Turned) -> Vec<(f64, &str)> {
    let after = |at: u64| (at as i64 - story::FIRST_AT as i64) as f64 / 1e9;
    turned.acts.iter().map(|act| (after(act.at_ns), act.act.as_str())).collect()
}

#[test]
fn who_left_without_a_boot_was_cut_off_and_who_never_returned_is_gone() {
    let cut = turned(&[shrunk(7, 0, 1, 2, 2_000), grown(8, 60_000, 1, 2)].concat()).unwrap();
    assert_eq!(times(&cut), [(-2.0, "cut a b"), (58.0, "heal a b")]);
    let gone = turned(&[shrunk(7, 0, 1, 2, 2_000), shrunk(8, 9_000, 1, 2, 500)].concat()).unwrap();
    assert_eq!(times(&gone), [(-2.0, "crash b")]);
    // The primary was replaced and came back in the same boot: it was alone meanwhile.
    let alone =
        turned(&[grown(1, -90_000, 1, 2), proposed(2, 0, 2), granted(3, 9_000, 2), grown(4, 60_000, 2, 1)].concat()).unwrap();
    let acts: Vec<&str> = times(&alone).iter().map(|(_, act)| *act).collect();
    assert_eq!(acts, ["isolate a", "heal"]);
}

#[test]
fn what_cannot_be_done_again_is_listed() {
    let person = || Actor::Person("olga".into());
    let strange = event(9, 3_000, person(), Event::Note, "looked at it").replace("\"Note\"", "{\"MoonRose\":{\"over\":3}}");
    let denied = event(8, 2_000, person(), Event::Denied { proposal: ProposalId(1) }, "olga denied #1");
    let elsewhere = shrunk(10, 4_000, 1, 2, 100).replace("\"volume\":1", "\"volume\":2");
    let reset = event(11, 5_000, person(), Event::BreakerReset, "olga reset the breaker");
    let turned = turned(&[shrunk(7, 0, 1, 2, 2_000), denied, strange, elsewhere, reset].concat()).unwrap();
    let left: Vec<(u64, &str)> = turned.not_rehearsed.iter().map(|left| (left.number, left.why.as_str())).collect();
    assert_eq!(left[0], (8, "a denial: in the simulation the proposal stays undecided"));
    assert_eq!(left[1], (9, "MoonRose, which this program does not know"));
    assert_eq!(left[2], (10, "1 events of other volumes, from here on (--volume)"));
    assert!(acts(&turned).contains(&(11, "reset breaker")));
    assert!(turned.scenario.contains("# Not rehearsed: event 9: MoonRose"), "{}", turned.scenario);
}

#[test]
fn a_changed_log_is_told_and_used() {
    let changed = REAL.replace("kernel update", "lunch");
    let turned = turned(&changed).unwrap();
    assert!(turned.warnings[0].contains("event 14 was changed"), "{:?}", turned.warnings);
}

// ---- what can be wrong -------------------------------------------------------------------------------------------------------

#[test]
fn what_is_no_log_is_said_with_its_place() {
    assert!(error("").contains("there is no event in it; what `mainstay events -o json` prints is expected"));
    assert!(error("[]").contains("there is no event in it"));
    let table = error("     1  2026-11-23 20:18:27 UTC  41842171eb5a  cluster demo was made\n");
    assert!(table.starts_with("line 1, column ") && table.contains("`mainstay events -o json`"), "{table}");
    let other = error("{\"name\": \"something else\"}");
    assert!(other.starts_with("line 1, column 1: no audit event (missing field `number`"), "{other}");
    let cut = &REAL[..REAL.len() - 40];
    let lines = REAL.lines().count();
    let last = cut.lines().last().unwrap().chars().count();
    assert_eq!(error(cut), format!("line {lines}, column {last}: it ends in the middle of an event; the file was cut off"));
    let typo = REAL.replacen("\"primary\":1", "\"primary\":\"one\"", 1);
    let typo = error(&typo);
    assert!(typo.starts_with("line 12, column 1: event 12, VolumeCreated: "), "{typo}");
}

#[test]
fn a_newer_log_is_refused_and_an_older_one_is_read() {
    let newer = REAL.replace("\"version\":1,", "\"version\":2,");
    assert!(error(&newer).starts_with("line 1, column 1: events of version 2; this program knows them up to version 1"));
    let older = REAL.replace("\"version\":1,", "");
    let as_list = format!("[{}]", REAL.trim_end().replace('\n', ",\n"));
    let as_the_api_gives_it = format!("{{\"events\": {as_list}, \"last\": 31, \"forgotten\": 0}}");
    for text in [older, as_list, as_the_api_gives_it, [REAL, REAL].concat()] {
        assert_eq!(acts(&turned(&text).unwrap()), acts(&turned(REAL).unwrap()));
    }
}

#[test]
fn a_larger_cluster_is_refused_by_name() {
    let third = event(32, 9_000, node(4), Event::NodeBooted { node: NodeId(4), incarnation: Incarnation(5) }, "c booted, boot i5");
    let third = [REAL, &third].concat();
    assert_eq!(
        error(&third),
        "it tells of 4 nodes (a, b, w, c), 2 of them file servers; two file servers and a witness can be rehearsed"
    );
    let different = REAL.replacen("\"number\":13", "\"number\":12", 1);
    assert!(error(&different).contains("two different events have number 12"), "{}", error(&different));
    let far = [shrunk(7, 0, 1, 2, 2_000), grown(8, 9 * 24 * 3_600_000, 1, 2)].concat();
    assert_eq!(error(&far), "its events are 9 days apart; at most 7 can be rehearsed: --after and --until take a part");
    let made_only: String = REAL.lines().take(12).map(|line| format!("{line}\n")).collect();
    assert!(error(&made_only).contains("the making of the cluster only"), "{}", error(&made_only));
}
