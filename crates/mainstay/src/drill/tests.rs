//! The report as a whole: a real run as a table, a journal and a page; and the page in a real browser.

use super::report::{Drill, Finding, Meta, Report, Setting, VERSION};
use super::{html, journal, library, run, table};
use crate::cli::output::Style;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The shape of the outage that all of this exists for, with everything that a timeline can hold.
const LOOP: &str = include_str!("fixtures/loop.json");
const SEVERAL: &str = include_str!("fixtures/several.json");

fn real_report() -> Report {
    let card = library::one("the-incident").unwrap();
    let run = run::once(&card, 0, Setting::default(), true);
    let drill = Drill::of(&card, vec![run], Setting::default());
    let meta = Meta {
        status: "completed",
        command: "mainstay drill run the-incident".into(),
        started: "2026-01-01T00:00:00Z".into(),
        ended: "2026-01-01T00:00:01Z".into(),
        took_ms: 1000,
        ..Meta::default()
    };
    Report { version: VERSION, meta, drills: vec![drill] }
}

fn violated_report() -> Report {
    let mut report = real_report();
    let verdict = report.drills[0].verdicts.iter_mut().find(|verdict| verdict.property == "P4").unwrap();
    (verdict.held, verdict.violated_in, verdict.at_ns, verdict.seed) = (false, 1, Some(4_500_000_000), Some(0));
    verdict.text = "the primary changed, which nobody had approved".into();
    let text = verdict.text.clone();
    verdict.findings = vec![Finding { seed: 0, at_ns: 4_500_000_000, rule: Some("R7".into()), text, times: 3 }];
    report
}

#[test]
fn a_table_says_the_verdict_the_numbers_and_how_to_see_it_again() {
    let plain = Style { colour: false };
    let text = table::render(&real_report(), plain);
    for part in ["S01 the-incident   seed 0   held", "P4        held", "writes unanswered for", "role changes", "bytes moved"] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert!(text.contains("see it again:  mainstay drill replay 0 --scenario the-incident\n"), "{text}");
    let text = table::render(&violated_report(), plain);
    let sentence = "P4 (R7) is violated 4.5 s into seed 0: the primary changed, which nobody had approved (3 times)\n";
    assert!(text.contains(sentence) && text.contains("rules that were broken: R7 "), "{text}");
    let mut both = real_report();
    both.drills.push(violated_report().drills.remove(0));
    let text = table::render(&both, plain);
    assert!(text.contains("2 scenarios, 2 runs: 1 scenarios are violated") && text.contains("P4 (R7) is violated"), "{text}");
}

#[test]
fn the_list_has_two_lines_for_each_scenario() {
    let mut card = library::one("the-incident").unwrap();
    card.story = "B leaves. It comes back.".into();
    card.properties = vec!["P3".into(), "P4".into()];
    card.rules = vec!["R7".into()];
    card.unchecked = None;
    let text = table::list(&[card.clone()]);
    assert_eq!(text, "ID   NAME          PROPERTIES  RULES\nS01  the-incident  P3 P4       R7\n      B leaves.\n");
    let json = serde_json::to_value(&card).unwrap();
    let wanted = json!({
        "id": "S01", "name": "the-incident", "story": "B leaves. It comes back.", "properties": ["P3", "P4"], "rules": ["R7"],
        "unchecked": null
    });
    assert_eq!(json, wanted);
}

/// Every key with the type of its value; of lists, the first member.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), shape(value))).collect(),
        Value::Array(list) => list.iter().take(1).map(shape).collect(),
        Value::String(_) => json!("text"),
        Value::Number(_) => json!("number"),
        Value::Bool(_) => json!("yes or no"),
        Value::Null => Value::Null,
    }
}

#[test]
fn the_journal_keeps_its_shape() {
    let journal = journal::journal(&violated_report());
    // What other tools look at, whatever else there is.
    for key in ["experiment", "status", "start", "end", "duration", "deviated", "steady_states", "run", "rollbacks"] {
        assert!(journal.get(key).is_some(), "{key} is missing");
    }
    assert_eq!((&journal["status"], &journal["deviated"]), (&json!("completed"), &json!(true)));
    assert_eq!(journal["steady_states"]["after"]["steady_state_met"], json!(false));
    assert_eq!(journal::journal(&real_report())["deviated"], json!(false));
    let golden: Value = serde_json::from_str(include_str!("fixtures/journal-shape.json")).unwrap();
    let found = shape(&journal);
    assert!(found == golden, "the journal's shape is now\n{found:#}");
}

#[test]
fn nothing_in_a_report_can_end_its_element() {
    let mut report = violated_report();
    report.drills[0].verdicts[0].text = "</script><script>alert(1)</script>".into();
    report.drills[0].name = "<b>{{data}}</b>".into();
    let page = html::page(&report);
    assert!(!page.contains("</script><script>alert") && !page.contains("<b>{{data}}"));
    assert!(!page.contains("http:") || page.matches("http:").count() == 1, "only the name of SVG looks like an address");
    assert!(!page.contains("https:"));
}

// ---- in a browser ----------------------------------------------------------------------------------------------------------

fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = std::env::split_paths(&path).find_map(|dir| names.iter().map(|name| dir.join(name)).find(|file| file.is_file()));
    let required = std::env::var_os("MAINSTAY_REQUIRE_ALL").is_some_and(|value| value == "1");
    assert!(found.is_some() || !required, "no Chromium, and MAINSTAY_REQUIRE_ALL=1 leaves nothing out");
    if found.is_none() {
        eprintln!("skipped: no Chromium here");
    }
    found
}

struct Seen {
    dom: String,
    /// What the page said to the console.
    console: Vec<String>,
    picture_bytes: u64,
}

/// Loads the page, waits until it has drawn itself, and takes a picture of it.
fn look(browser: &Path, page: &str, width: u32) -> Seen {
    let directory = tempfile::tempdir().unwrap();
    let (file, picture) = (directory.path().join("report.html"), directory.path().join("picture.png"));
    std::fs::write(&file, page).unwrap();
    let output = Command::new(browser)
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars"])
        .args(["--enable-logging=stderr", "--virtual-time-budget=4000", "--dump-dom"])
        .arg(format!("--window-size={width},1600"))
        .arg(format!("--user-data-dir={}", directory.path().join("profile").display()))
        .arg(format!("--screenshot={}", picture.display()))
        .arg(format!("file://{}", file.display()))
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    Seen {
        dom: String::from_utf8_lossy(&output.stdout).into_owned(),
        console: log.lines().filter(|line| line.contains("CONSOLE")).map(str::to_string).collect(),
        picture_bytes: std::fs::metadata(&picture).map_or(0, |data| data.len()),
    }
}

/// Numbers of spans and marks that the timeline says it has.
fn timeline(dom: &str) -> (u64, u64) {
    let number = |name: &str| {
        let (_, rest) = dom.split_once(&format!("{name}=\"")).unwrap_or_default();
        rest.split('"').next().and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    (number("data-spans"), number("data-marks"))
}

#[test]
fn the_page_draws_itself_in_a_browser_without_an_error() {
    let Some(browser) = browser() else { return };
    let loop_page = html::fill("loop", LOOP);
    for (page, width, spans_min, marks_min) in [(loop_page.as_str(), 1400, 50, 30), (&html::page(&real_report()), 600, 5, 1)] {
        let seen = look(&browser, page, width);
        assert_eq!(seen.console, Vec::<String>::new());
        assert!(seen.dom.contains("data-ready=\"true\""), "the page is not complete:\n{}", seen.dom);
        let (spans, marks) = timeline(&seen.dom);
        assert!(spans >= spans_min && marks >= marks_min, "the timeline is empty: {spans} spans, {marks} marks");
        assert!(seen.dom.matches("<rect class=\"primary\"").count() > 0, "no primary is drawn");
        assert!(seen.picture_bytes > 20_000, "the picture is empty: {} bytes", seen.picture_bytes);
    }
}

#[test]
fn a_page_of_several_scenarios_opens_at_the_one_that_is_violated() {
    let Some(browser) = browser() else { return };
    let seen = look(&browser, &html::fill("several", SEVERAL), 800);
    assert_eq!(seen.console, Vec::<String>::new());
    assert!(seen.dom.contains("One scenario is violated: S04 zombie-primary."));
    assert!(seen.dom.contains("<h2>S04 zombie-primary</h2>") && seen.dom.contains("P4 is violated at"));
}

/// The test before this one must be able to fail.
#[test]
fn an_error_in_the_page_is_noticed() {
    let Some(browser) = browser() else { return };
    let seen = look(&browser, &html::fill("broken", "{\"drills\":[{}]}"), 800);
    assert!(!seen.console.is_empty() && !seen.dom.contains("data-ready"), "{:?}", seen.console);
}
