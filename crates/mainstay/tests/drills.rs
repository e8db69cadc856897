//! What can be wrong with the input of a drill: each is said in one message with what would be right, before any work is done.

use std::path::Path;
use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mainstay");
const EVENTS: &str = include_str!("../src/drill/fixtures/events.jsonl");
const STATUS: &str = include_str!("../src/drill/fixtures/status.json");
/// Exit codes of the program.
const ERROR: i32 = 1;
const VIOLATED: i32 = 2;
const USAGE: i32 = 64;

fn run(directory: &Path, args: &[&str]) -> Output {
    Command::new(PROGRAM).current_dir(directory).env_remove("MAINSTAY_CONFIG").args(args).output().unwrap()
}

#[track_caller]
fn refused(directory: &Path, args: &[&str], code: i32, parts: &[&str]) {
    let output = run(directory, args);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
    parts.iter().for_each(|part| assert!(text.contains(part), "{args:?} does not say {part:?}:\n{text}"));
    assert!(output.stdout.is_empty(), "{args:?} prints {}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_wrong_name_size_or_number_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let wrong = |args: &[&str], parts: &[&str]| refused(directory.path(), args, USAGE, parts);
    wrong(&["drill", "run", "the-incidnt"], &["no scenario is called the-incidnt", "did you mean the-incident?"]);
    wrong(&["drill", "run", "S01", "--volume-size", "4Tb"], &["4Tb: this unit is not known", "200GiB or 4TiB"]);
    wrong(&["drill", "run", "S01", "--volume-size", "1GiB", "--changed", "2GiB"], &["cannot change on a volume of"]);
    wrong(&["drill", "run", "S01", "--volume-size", "100TiB", "--changed", "100TiB", "--link", "1kbit"], &["more than 30 days"]);
    wrong(&["drill", "run", "S01", "--link", "0Gbit"], &["a rate above 0 is expected"]);
    wrong(&["drill", "run", "S01", "--lease", "2h"], &["a lease is from 100 ms to 60.0 s"]);
    wrong(&["drill", "run", "S01", "--jobs", "1000000"], &["--jobs 1000000: this machine has", "cores"]);
    wrong(&["drill", "run", "S01", "-o", "html", "--jobs", "0"], &["--jobs 0"]);
    wrong(&["drill", "fuzz", "-o", "html"], &["make a page"]);
}

#[test]
fn a_wrong_file_is_said_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let wrong = |args: &[&str], parts: &[&str]| refused(directory.path(), args, ERROR, parts);
    std::fs::write(path("typo.scenario"), "scenario mine\nlasts 60s\nat 5s\n  carsh b\n").unwrap();
    for command in [["drill", "run", "typo.scenario"], ["drill", "replay", "typo.scenario"], ["drill", "minimise", "typo.scenario"]]
    {
        wrong(&command, &["typo.scenario:4:3", "carsh", "crash"]);
    }
    let large = "scenario mine\nvolume 1GiB changed 2GiB link 1Gbit/s disk 100MB/s rtt 1ms\n";
    std::fs::write(path("large.scenario"), large).unwrap();
    wrong(&["drill", "replay", "large.scenario"], &["its sizes cannot be rehearsed", "more changes than the volume holds"]);
    wrong(&["drill", "run", "none.scenario"], &["none.scenario", "No such file"]);
    std::fs::write(path("spec.toml"), "volume_size = \"4TiB\"\nlnik = \"1Gbit\"\n").unwrap();
    wrong(&["drill", "run", "S01", "--spec", "spec.toml"], &["spec.toml", "line 2, column 1", "unknown field `lnik`", "`link`"]);
    std::fs::write(path("newer.json"), EVENTS.replace("\"version\":1,", "\"version\":7,")).unwrap();
    wrong(&["drill", "from-events", "newer.json"], &["newer.json: line 1, column 1: events of version 7", "up to version 1"]);
    std::fs::write(path("cut.json"), &EVENTS[..EVENTS.len() - 30]).unwrap();
    wrong(&["drill", "from-events", "cut.json"], &["cut.json: line 31, column", "the file was cut off"]);
    wrong(&["drill", "from-events", "nothing.json"], &["nothing.json", "No such file"]);
}

#[test]
fn an_output_that_cannot_be_written_is_said_before_any_work() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), "").unwrap();
    std::fs::write(directory.path().join("events.json"), EVENTS).unwrap();
    std::fs::write(directory.path().join("status.json"), STATUS).unwrap();
    for args in [
        &["drill", "run", "all", "--out", "file/below"][..],
        &["drill", "fuzz", "--out", "file/below"],
        &["drill", "from-events", "events.json", "--out", "file/below/x.scenario"],
        &["drill", "what-if", "stop b", "--status", "status.json", "--out", "file/below"],
    ] {
        refused(directory.path(), args, ERROR, &["file/below", "cannot be written"]);
    }
}

#[test]
fn a_configuration_that_no_longer_loads_is_said_without_its_key() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("admin.toml");
    let old = "cluster = \"c8e2bd69ae49fa659a1721e576a0ddf5\"\nendpoints = [\"127.0.0.1:9\"]\nauthority = \"x\"\ncertificate = \"x\"\n\
               key_file = \"-----BEGIN PRIVATE KEY-----\"\n";
    std::fs::write(&config, old).unwrap();
    for args in [&["drill", "run", "S01", "--config", "admin.toml"][..], &["drill", "what-if", "stop b", "--config", "admin.toml"]]
    {
        refused(directory.path(), args, ERROR, &["admin.toml: line 5, column 1: unknown field `key_file`"]);
        let text = String::from_utf8_lossy(&run(directory.path(), args).stderr).into_owned();
        assert!(!text.contains("PRIVATE"), "{text}");
    }
    refused(directory.path(), &["drill", "what-if", "stop b", "--config", "none.toml"], ERROR, &["cannot read none.toml"]);
}

#[test]
fn a_step_that_cannot_be_is_said() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("status.json"), STATUS).unwrap();
    let wrong = |step: &str, parts: &[&str]| {
        refused(directory.path(), &["drill", "what-if", step, "--status", "status.json"], USAGE, parts);
    };
    wrong("maintenance c 30m", &["c: there is no such node; the nodes are a, b, w"]);
    wrong("maintenance b", &["for how long?"]);
    wrong("maintainance b 1h", &["did you mean maintenance?"]);
    wrong("switchover c", &["c: there is no such node; the nodes are a, b, w"]);
}

/// What an operator gets: an answer, its exit code, and a file that replays.
#[test]
fn a_saved_status_is_enough_to_ask_what_if() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("status.json"), STATUS).unwrap();
    let ask = |step: &str| {
        run(directory.path(), &["drill", "what-if", step, "--status", "status.json", "--seeds", "1", "-o", "json", "--out", "kept"])
    };
    let good = ask("maintenance b 1m");
    assert_eq!(good.status.code(), Some(0), "{}", String::from_utf8_lossy(&good.stderr));
    let answer: serde_json::Value = serde_json::from_slice(&good.stdout).unwrap();
    assert_eq!((&answer["good"], &answer["numbers"]["promotions"]), (&true.into(), &0.into()));
    assert!(!answer["story"].as_array().unwrap().is_empty());
    let replay = run(directory.path(), &["drill", "replay", "kept/what-if.scenario", "-o", "json"]);
    assert_eq!(replay.status.code(), Some(0), "{}", String::from_utf8_lossy(&replay.stderr));
    let journal: serde_json::Value = serde_json::from_slice(&replay.stdout).unwrap();
    assert_eq!(journal["run"][0]["output"]["numbers"]["bytes_moved"], answer["numbers"]["bytes_moved"], "the same run");
    assert!(directory.path().join("kept/report.html").is_file());
    let bad = ask("stop a 1m");
    assert_eq!(bad.status.code(), Some(VIOLATED));
}
