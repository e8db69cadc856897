//! Commands that hang, lie, print without end, are not there or leave something behind.

use super::fence::{About, Fences};
use super::roles::RoleHooks;
use super::run::{Ended, Errand, FLOOD_BYTES_MAX, OUTPUT_BYTES_MAX, Outcome, Stop, run};
use crate::config::{FenceConfig, HooksConfig, Seconds};
use crate::test_dir::TestDir;
use mainstay_protocol::{Epoch, VolumeId};
use mainstay_replica::{FenceResult, ServeMode};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Nothing here takes so long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);

fn shell(script: &str) -> Vec<String> {
    ["/bin/sh", "-c", script].map(String::from).into()
}

fn errand(command: Vec<String>, time: Duration) -> Errand {
    Errand { command, environment: vec![], deadline: Instant::now() + time }
}

fn outcome(script: &str) -> Outcome {
    run(&errand(shell(script), PATIENCE), &Stop::default())
}

/// Whether a process is gone, or just waits to be noticed as dead. It was killed: that takes a moment to have happened.
fn dies(pid: &str) -> bool {
    let alive = || fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    let begun = Instant::now();
    while alive() && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(5));
    }
    !alive()
}

#[test]
fn exit_codes_signals_and_output_are_told() {
    assert_eq!(outcome("echo fine; exit 0"), Outcome { ended: Ended::Exit(0), output: "fine\n".into() });
    assert_eq!(outcome("echo no >&2; exit 3").text(), "exit code 3 (\"no\")");
    assert_eq!(outcome("kill -9 $$").ended, Ended::Signal(9));
    assert!(!outcome("printf '\\033[31mred\\000'").output.contains(char::is_control), "a terminal is not played with");
}

#[test]
fn what_hangs_is_killed_with_everything_that_it_started() {
    let begun = Instant::now();
    let hung = run(&errand(shell("sleep 600 & echo $!; wait"), Duration::from_millis(300)), &Stop::default());
    assert_eq!(hung.ended, Ended::TimedOut);
    assert!(begun.elapsed() < PATIENCE && dies(hung.output.trim()), "{hung:?}");
}

#[test]
fn what_is_left_in_the_background_ends_too() {
    let left = outcome("sleep 600 & echo $!");
    assert!(left.succeeded() && dies(left.output.trim()), "{left:?}");
}

#[test]
fn a_flood_is_stopped_and_not_kept() {
    let flood = outcome("exec cat /dev/zero");
    assert_eq!(flood.ended, Ended::Flooded);
    assert!(flood.output.len() <= OUTPUT_BYTES_MAX);
    let long = outcome(&format!("head -c {} /dev/zero | tr '\\000' x", FLOOD_BYTES_MAX / 2));
    assert_eq!((long.ended, long.output.len()), (Ended::Exit(0), OUTPUT_BYTES_MAX), "much output alone is no crime");
}

#[test]
fn what_cannot_be_started_says_why() {
    let dir = TestDir::new("hooks");
    let plain = dir.path().join("plain");
    fs::write(&plain, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o644)).unwrap();
    for (program, want) in [("/nowhere/hook".to_string(), "No such file"), (plain.display().to_string(), "Permission denied")] {
        let Ended::NotStarted(why) = run(&errand(vec![program.clone()], PATIENCE), &Stop::default()).ended else {
            panic!("{program} was started")
        };
        assert!(why.contains(&program) && why.contains(want), "{why}");
    }
    assert!(matches!(run(&errand(vec![], PATIENCE), &Stop::default()).ended, Ended::NotStarted(_)));
}

#[test]
fn it_can_be_called_off() {
    let stop = Stop::default();
    stop.store(true, Ordering::Relaxed);
    assert_eq!(run(&errand(shell("sleep 600"), PATIENCE), &stop).ended, Ended::Stopped);
}

/// The result of a fence of `b`, and whether its verify command was asked.
fn fenced(command: &str, verify: &str) -> (FenceResult, bool) {
    let dir = TestDir::new("fence");
    let asked = dir.path().join("asked");
    let verify = format!("touch {}; {verify}", asked.display());
    let hook =
        FenceConfig { node: "b".into(), command: shell(command), verify: shell(&verify), timeout: Seconds(Duration::from_secs(1)) };
    let about = About { target: "b".into(), incarnation: 5, epoch: 7, proposal: "3".into() };
    (Fences::new(&[hook]).perform(&about, &Stop::default()), asked.exists())
}

fn failure(command: &str, verify: &str) -> String {
    match fenced(command, verify).0 {
        FenceResult::Failed(why) => why,
        FenceResult::Confirmed => panic!("{command:?} with {verify:?} counts as proof"),
    }
}

#[test]
fn only_the_verify_command_confirms_a_fence() {
    assert_eq!(fenced("exit 0", "exit 0"), (FenceResult::Confirmed, true));
    assert!(failure("echo done", "echo off; exit 1").contains("does not say that it is off: exit code 1 (\"off\")"));
    assert!(failure("exit 0", "kill -9 $$").contains("killed by signal 9"));
    assert!(failure("exit 0", "sleep 600").contains("did not end in time"));
    assert!(failure("exit 0", "exec cat /dev/zero").contains("printed more than"));
}

#[test]
fn a_command_that_fails_is_not_even_verified() {
    for (command, want) in [("exit 1", "exit code 1"), ("sleep 600", "did not end in time"), ("kill -9 $$", "signal 9")] {
        let (result, asked) = fenced(command, "exit 0");
        assert!(matches!(&result, FenceResult::Failed(why) if why.contains(want)), "{command}: {result:?}");
        assert!(!asked, "{command}: nobody is asked about what was not done");
    }
}

#[test]
fn power_takes_a_moment_to_go() {
    let dir = TestDir::new("fence");
    let file = dir.path().join("looked");
    // On at the first look, off at the second.
    let script = format!("test -e {0} || {{ touch {0}; exit 1; }}", file.display());
    let hook = FenceConfig { node: "b".into(), command: shell("exit 0"), verify: shell(&script), timeout: Seconds(PATIENCE) };
    let about = About { target: "b".into(), incarnation: 5, epoch: 7, proposal: "3".into() };
    assert_eq!(Fences::new(&[hook]).perform(&about, &Stop::default()), FenceResult::Confirmed);
}

#[test]
fn hooks_know_whom_and_what_for() {
    let dir = TestDir::new("fence");
    let told = dir.path().join("told");
    let words = "$1 $MAINSTAY_TARGET $MAINSTAY_TARGET_INCARNATION $MAINSTAY_EPOCH $MAINSTAY_PROPOSAL";
    let mut command = shell(&format!("echo {words} > {}", told.display()));
    command.extend(["sh", "{target}/{incarnation}/{epoch}/{proposal}/{other}"].map(String::from));
    let hook = FenceConfig { node: "b".into(), command, verify: shell("exit 0"), timeout: Seconds(PATIENCE) };
    let about = About { target: "b".into(), incarnation: 5, epoch: 7, proposal: "3".into() };
    let fences = Fences::new(&[hook]);
    assert_eq!(fences.perform(&about, &Stop::default()), FenceResult::Confirmed);
    assert_eq!(fs::read_to_string(&told).unwrap(), "b/5/7/3/{other} b 5 7 3\n");
    let unknown = About { target: "c".into(), ..about };
    assert!(matches!(fences.perform(&unknown, &Stop::default()), FenceResult::Failed(why) if why.contains("no [[fence]] for c")));
}

const FILES: VolumeId = VolumeId(1);

/// Role hooks that write down what they are told, and what failed.
fn roles(dir: &Path, on_promoted: &str) -> (RoleHooks, Arc<Mutex<Vec<String>>>) {
    let told = format!("echo $MAINSTAY_HOOK $MAINSTAY_VOLUME $MAINSTAY_EPOCH $MAINSTAY_NODE >> {}", dir.join("told").display());
    let config =
        HooksConfig { on_promoted: shell(&format!("{told}; {on_promoted}")), on_demoted: shell(&told), timeout: Seconds(PATIENCE) };
    let failed = Arc::new(Mutex::new(Vec::new()));
    let failures = failed.clone();
    (RoleHooks::new("a", config, move |_, text| failures.lock().unwrap().push(text)), failed)
}

fn lines(dir: &Path) -> Vec<String> {
    fs::read_to_string(dir.join("told")).unwrap_or_default().lines().map(String::from).collect()
}

#[tokio::test]
async fn hooks_follow_the_reign_in_order() {
    let dir = TestDir::new("roles");
    let (hooks, failed) = roles(dir.path(), "exit 0");
    hooks.serves(FILES, "files", ServeMode::Closed, Epoch(1));
    hooks.serves(FILES, "files", ServeMode::ReadOnly, Epoch(1));
    hooks.idle().await;
    assert!(lines(dir.path()).is_empty(), "nobody was promoted");
    for (mode, epoch) in [(ServeMode::ReadWrite, 1), (ServeMode::Closed, 2), (ServeMode::ReadOnly, 2), (ServeMode::ReadWrite, 3)] {
        hooks.serves(FILES, "files", mode, Epoch(epoch));
        hooks.idle().await;
    }
    let expected = ["on_promoted files 1 a", "on_demoted files 1 a", "on_promoted files 3 a"];
    assert_eq!(lines(dir.path()), expected, "the end of a reign is told with the epoch of that reign");
    assert!(failed.lock().unwrap().is_empty());
}

#[tokio::test]
async fn of_what_comes_while_a_hook_runs_the_newest_counts() {
    let dir = TestDir::new("roles");
    let go = dir.path().join("go");
    let (hooks, _failed) = roles(dir.path(), &format!("while ! test -e {}; do sleep 0.01; done", go.display()));
    hooks.serves(FILES, "files", ServeMode::ReadWrite, Epoch(1));
    while lines(dir.path()).is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for (mode, epoch) in [(ServeMode::Closed, 1), (ServeMode::ReadWrite, 3), (ServeMode::Closed, 4)] {
        hooks.serves(FILES, "files", mode, Epoch(epoch));
    }
    fs::write(&go, "").unwrap();
    hooks.idle().await;
    assert_eq!(lines(dir.path()), ["on_promoted files 1 a", "on_demoted files 3 a"]);
}

#[tokio::test]
async fn a_hook_that_fails_is_on_record_and_the_next_one_runs() {
    let dir = TestDir::new("roles");
    let (hooks, failed) = roles(dir.path(), "echo no route >&2; exit 4");
    hooks.serves(FILES, "files", ServeMode::ReadWrite, Epoch(1));
    hooks.idle().await;
    hooks.serves(FILES, "files", ServeMode::Closed, Epoch(1));
    hooks.idle().await;
    assert_eq!(lines(dir.path()).last().map(String::as_str), Some("on_demoted files 1 a"));
    let failed = failed.lock().unwrap();
    assert_eq!(*failed, ["hook on_promoted of files failed on a in epoch e1: exit code 4 (\"no route\")"]);
}
