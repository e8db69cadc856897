//! The whole benchmark against an honest server, and against servers that are wrong in one way each.

use super::*;
use crate::nfs_client::fake_server::{FakeServer, Faults, quick};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

fn args(target: String) -> BenchArgs {
    BenchArgs { target, against: None, only: Vec::new(), in_flight: vec![1, 8], seconds: None, ops: Some(40), rounds: 1 }
}

fn url(server: &FakeServer) -> String {
    format!("nfs://{}/files", server.address)
}

fn bench(args: &BenchArgs) -> Result<Report, BenchError> {
    measure(args, &quick(), &Progress::new(Arc::new(AtomicBool::new(false))))
}

/// The benchmark's error against a server with `faults`; nothing may be left behind.
fn fails(faults: Faults, only: &[Operation]) -> BenchError {
    let server = FakeServer::start(faults);
    let error = bench(&BenchArgs { only: only.to_vec(), ..args(url(&server)) }).err().expect("an error");
    assert_eq!(server.inodes(), 0, "left behind after: {error}");
    error
}

fn wrong_data(faults: Faults, only: &[Operation]) -> String {
    let error = fails(faults, only);
    assert!(matches!(error, BenchError::WrongData { .. }), "{error}");
    assert_eq!(error.exit_code(), 2);
    error.to_string()
}

/// Every operation at every depth has the asked number of operations.
fn complete(report: &Report, targets: usize, operations: u64) {
    assert_eq!(report.rows.len(), 2 * Operation::ALL.len());
    for row in &report.rows {
        assert_eq!(row.targets.len(), targets);
        for figures in row.targets.iter().flatten() {
            assert_eq!(figures.operations, operations, "{} at {}", row.operation.title(), row.depth);
            assert!(figures.per_second > 0.0 && figures.p50_ns > 0 && figures.p50_ns <= figures.max_ns);
        }
    }
}

#[test]
fn an_honest_server_passes_and_is_left_as_it_was() {
    let server = FakeServer::start(Faults::default());
    let report = bench(&BenchArgs { rounds: 2, ..args(url(&server)) }).unwrap();
    complete(&report, 1, 40);
    assert!(report.rows.iter().all(|row| row.targets[0].len() == 2) && report.notes.is_empty());
    assert_eq!(server.inodes(), 0);
}

#[test]
fn each_operation_alone_makes_what_it_needs() {
    let server = FakeServer::start(Faults::default());
    for operation in Operation::ALL {
        let report = bench(&BenchArgs { only: vec![operation], in_flight: vec![4], ..args(url(&server)) }).unwrap();
        assert_eq!(report.rows.len(), 1);
        assert_eq!(report.rows[0].targets[0][0].operations, 40, "{}", operation.title());
        assert_eq!(server.inodes(), 0);
    }
}

#[test]
fn two_targets_take_turns_and_are_compared() {
    let server = FakeServer::start(Faults::default());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap().to_owned();
    let report = bench(&BenchArgs { against: Some(path), ..args(url(&server)) }).unwrap();
    complete(&report, 2, 40);
    assert!(report.json()["results"][0]["ratio"]["medians"].as_f64().unwrap() > 0.0);
    assert_eq!((server.inodes(), directory.path().read_dir().unwrap().count()), (0, 0));
}

#[test]
fn time_ends_a_phase() {
    let server = FakeServer::start(Faults::default());
    let only = vec![Operation::Create, Operation::Getattr, Operation::Rename];
    let started = Instant::now();
    let report = bench(&BenchArgs { only, seconds: Some(0.2), ops: None, in_flight: vec![3], ..args(url(&server)) }).unwrap();
    assert!(started.elapsed() >= Duration::from_millis(600));
    assert!(report.rows.iter().all(|row| row.targets[0][0].operations > 10));
    assert_eq!(server.inodes(), 0);
}

#[test]
fn a_flaky_server_is_slow_but_right() {
    let server = FakeServer::start(Faults { lose_reply_every: 61, try_later_every: 17, ..Faults::default() });
    let report = bench(&args(url(&server))).unwrap();
    complete(&report, 1, 40);
    assert!(report.notes[0].contains("connections broke"), "{:?}", report.notes);
    assert!(server.with(|state| state.repeated) > 0);
    assert_eq!(server.inodes(), 0);
}

#[test]
fn a_wrong_server_cannot_win() {
    let corrupt = Faults { corrupt_reads: true, ..Faults::default() };
    let forgets = Faults { forget_writes: true, ..Faults::default() };
    for operation in [Operation::Create, Operation::Read, Operation::SeqWrite, Operation::SeqRead, Operation::RandWrite] {
        wrong_data(corrupt, &[operation]);
        wrong_data(forgets, &[operation]);
    }
}

/// This server keeps what was removed, so the benchmark cannot clean up either; what counts is that it says so.
#[test]
fn a_remove_that_does_nothing_is_noticed() {
    let server = FakeServer::start(Faults::default());
    let mut engine = open(&url(&server), &quick()).unwrap();
    let content = Content::new(1);
    let progress = Progress::new(Arc::new(AtomicBool::new(false)));
    let mut watch = progress.watch("test".into(), (0, 1), |_, _| 0.0);
    engine.renew_large(0, 1).unwrap();
    let mut session = Session::new(engine, Limit::Operations(10), &content);
    server.with(|state| state.faults.forget_removes = true);
    let error = session.phase(Operation::Remove, 2, &mut watch, &progress).unwrap_err();
    assert!(error.to_string().contains("still there after it was removed"), "{error}");
    server.with(|state| state.faults.forget_removes = false);
    session.finish().unwrap();
    assert_eq!(server.inodes(), 0);
}

#[test]
fn writes_lost_before_commit_are_written_again_or_reported() {
    let server = FakeServer::start(Faults { new_verifier_every: 3, ..Faults::default() });
    let report = bench(&BenchArgs { only: vec![Operation::Create], in_flight: vec![1], ..args(url(&server)) }).unwrap();
    assert_eq!(report.rows[0].targets[0][0].operations, 40);
    let error = fails(Faults { new_verifier_every: 1, ..Faults::default() }, &[Operation::SeqWrite]);
    assert!(matches!(error, BenchError::LostWrites { .. }), "{error}");
}

#[test]
fn what_hinders_is_said_and_nothing_is_left() {
    let error = fails(Faults { space_bytes: Some(200_000), ..Faults::default() }, &[]);
    assert!(error.to_string().contains("no space left") && error.to_string().contains("--ops"), "{error}");
    let error = fails(Faults { read_only: true, ..Faults::default() }, &[]);
    assert!(error.to_string().contains("making a directory to work in: MKDIR: read-only"), "{error}");
    let server = FakeServer::start(Faults::default());
    let error = bench(&args(format!("nfs://{}/other", server.address))).err().unwrap();
    assert!(error.to_string().contains("it exports /files"), "{error}");
    // The first target is cleaned up when the second cannot be used.
    let against = Some("nfs://127.0.0.1:1/files".to_owned());
    let error = bench(&BenchArgs { against, ..args(url(&server)) }).err().unwrap();
    assert!(matches!(error, BenchError::Connect(_)), "{error}");
    assert_eq!(server.inodes(), 0);
}

#[test]
fn bad_arguments_are_usage_errors() {
    let seconds = |seconds| BenchArgs { seconds: Some(seconds), ops: None, ..args("/".into()) };
    let cases = [args("nfs://h".into()), args("/no/such/directory".into()), seconds(0.0), seconds(f64::NAN), seconds(1e9)];
    for case in cases {
        let error = bench(&case).err().unwrap();
        assert_eq!(error.exit_code(), 64, "{error}");
    }
}

#[test]
fn an_interrupt_ends_it_and_removes_everything() {
    let server = FakeServer::start(Faults::default());
    let flag = Arc::new(AtomicBool::new(false));
    let raised = flag.clone();
    let watched = server.state.clone();
    std::thread::spawn(move || {
        // Some way into the first phase.
        while watched.lock().unwrap().calls < 500 {
            std::thread::yield_now();
        }
        raised.store(true, Ordering::Relaxed);
    });
    let args = BenchArgs { seconds: Some(600.0), ops: None, ..args(url(&server)) };
    let error = measure(&args, &quick(), &Progress::new(flag)).err().unwrap();
    assert!(matches!(error, BenchError::Interrupted), "{error}");
    assert_eq!(server.inodes(), 0);
}
