//! Transcripts of whole cluster lives, in `transcripts/*.txt`: read them to learn what the cluster does.

mod runner;

use runner::Runner;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Reasons that no transcript can give; `tests/bounds.rs` does.
const ELSEWHERE: [&str; 2] = ["EpochExhausted", "LimitReached"];

#[test]
fn transcripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut reached = BTreeSet::new();
    for file in files {
        let mut runner = Runner::new();
        check(&file, &mut runner);
        reached.append(&mut runner.reached);
    }
    let missing: Vec<_> =
        reasons().into_iter().filter(|name| !reached.contains(name) && !ELSEWHERE.contains(&name.as_str())).collect();
    assert!(missing.is_empty(), "no transcript reaches the refusals {missing:?}");
}

fn check(file: &Path, runner: &mut Runner) {
    let expected = fs::read_to_string(file).unwrap();
    let found = runner.run(&expected);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(file, &found).unwrap();
    } else if let Some((line, (a, b))) = expected.lines().zip(found.lines()).enumerate().find(|(_, (a, b))| a != b) {
        panic!("{}:{}\n  expected: {a}\n     found: {b}", file.display(), line + 1);
    } else {
        assert_eq!(expected.lines().count(), found.lines().count(), "{}", file.display());
    }
}

/// The variants of `RefusalKind`, from its source: every reason has a transcript that shows it.
fn reasons() -> Vec<String> {
    let source = include_str!("../src/refusal.rs");
    let body = source.split("pub enum RefusalKind {").nth(1).and_then(|rest| rest.split("\n}").next()).unwrap();
    let variants = body.lines().map(str::trim).filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()));
    let names: Vec<String> = variants.map(|line| line.chars().take_while(char::is_ascii_alphanumeric).collect()).collect();
    assert!(names.len() > 50, "{names:?}");
    names
}
