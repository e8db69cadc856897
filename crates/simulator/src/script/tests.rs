use super::arguments::{Argument, GAPS, Values};
use super::forms::ACTIONS;
use super::lex::lines;
use super::pattern::{Cursor, find};
use super::statements::Names;
use super::value::{Draw, Span, Unit};
use super::{action_patterns, action_text, parse, print, setting_patterns};
use crate::rng::Rng;
use crate::scenario::{A, Action, Approvals, B, Hook, NODES, Plan};
use crate::scenarios;
use crate::sizing::Sizing;
use mainstay_cluster::WithoutPrimary;

fn plan(text: &str) -> Plan {
    script_plan(text, 1)
}

fn script_plan(text: &str, seed: u64) -> Plan {
    parse("test", text).unwrap_or_else(|error| panic!("{error}")).plan(&mut Rng::new(seed))
}

/// Every action with random values in its gaps.
fn random_actions(rng: &mut Rng) -> Vec<Action> {
    let exact = |value: i64| Argument::Number(Draw(vec![Span { low: value, high: value, log: false }]));
    let build = |form: &super::forms::ActionForm, rng: &mut Rng| {
        let gaps = form.pattern.split(' ').filter(|part| GAPS.iter().any(|gap| gap.name == *part));
        let arguments: Vec<Argument> = gaps
            .map(|gap| match gap {
                "NODE" => Argument::Node(super::ast::NodeRef::Literal(*rng.pick(&NODES))),
                "SERVER" => Argument::Node(super::ast::NodeRef::Literal(*rng.pick(&[A, B]))),
                "RANGE" => Argument::Range(rng.below(1_000_000_000), rng.range(1_000_000_000, 90_000_000_000)),
                "TEXT" => Argument::Text("a \"quoted\" \\ text # no comment".into()),
                "QUALITY" => Argument::Quality((0..rng.range(0, 7) as usize).map(|field| (field, one(rng, 1_000_000))).collect()),
                "FAULTS" => Argument::Faults((0..5).map(|field| (field, one(rng, 1_000_000))).collect()),
                "FACTOR" => exact(rng.range(1, 100_000) as i64),
                "DRIFT" => exact(rng.range(0, 40_000) as i64 - 20_000),
                // Kept in whole milliseconds.
                "JUMP" => exact((rng.range(0, 7_200_000) as i64 - 3_600_000) * 1_000_000),
                "BYTES" => exact(rng.range(1, 1 << 30) as i64),
                "TIME" => exact(rng.log_range(1, 1 << 50) as i64),
                other => panic!("no random value for {other}"),
            })
            .collect();
        (form.build)(&Values::draw(&arguments, rng, &[]))
    };
    ACTIONS.iter().map(|form| build(form, rng)).collect()
}

fn one(rng: &mut Rng, max: u64) -> Draw {
    let value = rng.range(1, max) as i64;
    Draw(vec![Span { low: value, high: value, log: false }])
}

fn round_trip(plan: &Plan, seed: u64) {
    let text = print(plan);
    for other in [seed, seed + 1] {
        assert_eq!(script_plan(&text, other), *plan, "{text}");
    }
}

#[test]
fn what_is_printed_parses_to_the_same_plan_whatever_the_seed() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let mut plan = Plan::calm(rng.range(1, 1 << 40));
        plan.mass_changes = rng.percent(50);
        plan.resync_bytes_per_second = rng.range(64 << 10, 1 << 40);
        plan.approvals =
            *rng.pick(&[Approvals::None, Approvals::Late(1, 2), Approvals::Opposite(3, 3), Approvals::Erratic(0, 1 << 33)]);
        plan.cluster.approval_ms = rng.range(1_000, 86_400_000);
        plan.cluster.contact_lost_ms = rng.percent(50).then(|| rng.range(100, 600_000));
        plan.cluster.without_primary = *rng.pick(&[WithoutPrimary::ServeReads, WithoutPrimary::Close]);
        plan.cluster.primary = *rng.pick(&[A, B]);
        plan.cluster.breaker_open = rng.percent(50);
        plan.cluster.hook = *rng.pick(&[Hook::Absent, Hook::Works, Hook::Fails, Hook::Hangs, Hook::Lies, Hook::Mixed]);
        plan.sizing = rng.percent(50).then(|| Sizing {
            volume_bytes: rng.log_range(1, 1 << 60),
            changed_bytes: rng.log_range(1, 1 << 60),
            link_bytes_per_s: rng.log_range(1, 1 << 50),
            disk_bytes_per_s: rng.log_range(1, 1 << 50),
            rtt_ns: rng.log_range(1, 1 << 40),
        });
        plan.expect.no_role_change = rng.percent(50);
        plan.expect.role_changes_max = rng.percent(50).then_some(3);
        plan.expect.answered_within = rng.percent(50).then_some(4_000_000_001);
        plan.expect.moves_only_changes = rng.percent(50).then_some(B);
        plan.expect.damage = rng.percent(50);
        for action in random_actions(&mut rng) {
            // Out of order and at one moment too.
            let at = rng.log_range(1, 1 << 40);
            plan.at(at, action.clone()).at(at, action);
        }
        round_trip(&plan, seed);
    }
}

#[test]
fn every_plan_of_the_library_can_be_printed_and_read_again() {
    for scenario in scenarios::all() {
        for seed in 0..20 {
            round_trip(&scenario.plan(&mut Rng::new(seed)), seed);
        }
    }
}

#[test]
fn every_action_of_the_table_reads_as_itself() {
    let mut rng = Rng::new(9);
    for (form, action) in ACTIONS.iter().zip(random_actions(&mut rng)) {
        let text = action_text(&action);
        let lines = lines(&text).unwrap();
        let mut cursor = Cursor { tokens: &lines[0].tokens, line: 1 };
        let (found, arguments) = find(&mut cursor, &Names::default(), ACTIONS, |form| form.pattern, "an action").unwrap();
        assert_eq!((found.build)(&Values::draw(&arguments, &mut rng, &[])), action, "{} as {text}", form.pattern);
        assert!(cursor.ended(), "{text}");
    }
}

#[test]
fn the_page_lists_every_action_and_setting() {
    let page = include_str!("../../../../docs/SCENARIO-FORMAT.md");
    for pattern in action_patterns().chain(setting_patterns()) {
        assert!(page.contains(&format!("`{pattern}`")), "docs/SCENARIO-FORMAT.md does not list `{pattern}`");
    }
}

#[test]
fn quantities_are_exact_and_print_as_people_write_them() {
    let cases = [
        (Unit::Time, 0, "0s"),
        (Unit::Time, 660_000_000, "660ms"),
        (Unit::Time, 1_500_000_000, "1.5s"),
        (Unit::Time, 120_000_000_000, "2min"),
        (Unit::Time, 90_000_000_000, "90s"),
        (Unit::Time, 4_123_456_789, "4.123456789s"),
        (Unit::Time, 7_200_000_000_000, "2h"),
        (Unit::Time, 61_000_000_001, "61.000000001s"),
        (Unit::Time, 17, "17ns"),
        (Unit::Share, 20_000, "2%"),
        (Unit::Share, 500, "500ppm"),
        (Unit::Bytes, 4 << 20, "4MiB"),
        (Unit::Rate, 1_000_000, "1MB/s"),
        (Unit::Rate, 12_345, "12345B/s"),
    ];
    for (unit, value, text) in cases {
        assert_eq!(unit.print(value), text);
        assert_eq!(unit.parse(text), Ok(value as i64));
    }
    assert_eq!(Unit::Rate.parse("1Gbit/s"), Ok(125_000_000));
    assert_eq!(Unit::Share.parse("0.1%"), Ok(1_000));
    assert!(Unit::Time.parse("0.5ns").is_err() && Unit::Time.parse("99999999999999999999s").is_err());
    assert!(Unit::Time.parse("1.2.3s").is_err() && Unit::Time.parse("5").is_err() && Unit::Count.parse("5s").is_err());
}

const MS: u64 = 1_000_000;

#[test]
fn times_follow_the_text() {
    let text = "scenario x\nat 5s as away\n  crash b; start b after 10ms\n  wait 1s as later\n  crash b\nat later + 2s - 500ms: stop a\n\
                at end - 1s: heal\nlasts 30s\nrepeat 2 times from away, every 3s\n  pause w, wait 1s, resume w\n";
    let at = |ms: u64, action: Action| (ms * MS, action);
    let crash = Action::Crash(B, crate::disk::Crash::Process);
    let (pause, resume) = (|at_ms| at(at_ms, Action::Pause(NODES[2])), |at_ms| at(at_ms, Action::Resume(NODES[2])));
    let mut expected = vec![at(5_000, crash.clone()), at(5_010, Action::Start(B)), at(6_000, crash), at(7_500, Action::Stop(A))];
    // `end` is what the file has said so far: settings stand first.
    expected.push(at(59_000, Action::HealLinks));
    expected.extend([pause(5_000), resume(6_000), pause(8_000), resume(9_000)]);
    assert_eq!(plan(text).script, expected);
}

#[test]
fn chance_stays_inside_of_its_bounds_and_reaches_all_of_them() {
    let text = "scenario x\nmaybe 50%: large writes\nat 1s..2s\n  let one = a | b\n  one of crash one | nothing\n  wait 1ms..1s log\n\
                \x20 crash other of one\n  link a b rate 1MB/s | 2MB/s..3MB/s\nvariant p: soft 0%\nvariant q: soft 100%\n";
    let plans: Vec<Plan> = (0..200).map(|seed| script_plan(text, seed)).collect();
    let firsts = plans.iter().map(|plan| plan.script[0].0);
    assert!(firsts.clone().all(|at| (1_000 * MS..=3_000 * MS).contains(&at)));
    let share = |wanted: &dyn Fn(&Plan) -> bool| plans.iter().filter(|plan| wanted(plan)).count();
    assert!((70..130).contains(&share(&|plan| plan.large_writes)));
    assert!((70..130).contains(&share(&|plan| plan.soft_percent == 0)));
    assert!((70..130).contains(&share(&|plan| plan.script.len() == 3)));
    assert!(plans.iter().all(|plan| plan.script.len() < 3 || plan.script[0].1 != plan.script[1].1));
    assert_eq!(share(&|plan| plan.soft_percent == 30), 0, "one variant is always drawn");
    let script = parse("test", text).unwrap().with_variant("q").unwrap();
    assert!((0..20).all(|seed| script.plan(&mut Rng::new(seed)).soft_percent == 100) && &*script.name == "x:q");
}

#[test]
fn a_choice_may_follow_a_colon_and_go_on_below() {
    let text = "scenario x\nat 9s: one of crash w | stop w\n  all of\n    heal\n    heal a b\n  nothing\n";
    let lengths: std::collections::BTreeSet<usize> = (0..50).map(|seed| script_plan(text, seed).script.len()).collect();
    assert_eq!(lengths, [0, 1, 2].into());
}

#[test]
fn a_repeat_that_asks_for_too_much_ends() {
    let text = "scenario x\nlasts 1h\nrepeat every 1ms\n  repeat 10000 times\n    repeat 10000 times: heal\n";
    assert!(plan(text).script.len() <= super::draw::STEPS_MAX);
}

mod wrong;
