//! What a healthy volume does.

use crate::rig::{CLUSTER, Rig, Rng, VOLUME, options};
use bytes::Bytes;
use mainstay_protocol::{Epoch, FileOk, FileRequest, LogPoint, Position, Stability};
use mainstay_volume::{DiskEffect, Lane, LogBatch, MemDisk, OpenError, Outcome, Volume, VolumeEvent, perform};
use std::sync::Arc;

fn rig() -> Rig {
    Rig::new(Arc::new(MemDisk::new()), options())
}

#[test]
fn files_survive_reopening_wherever_they_lie() {
    let disk = Arc::new(MemDisk::new());
    let mut rig = Rig::new(disk.clone(), options());
    let mut rng = Rng(1);
    let (small, large) = (rig.create("small"), rig.create("large"));
    let data = rng.bytes(5_000_000);
    for (index, piece) in data.chunks(300_000).enumerate() {
        rig.write(large, index as u64 * 300_000, Bytes::copy_from_slice(piece)).unwrap();
        rig.settle();
    }
    rig.write(small, 70_000, Bytes::from_static(b"behind a hole")).unwrap();
    assert_eq!(rig.read(large).unwrap(), data);
    rig.settle();
    for _ in 0..3 {
        let last = rig.volume.last();
        rig = Rig::open(disk.clone(), options()).unwrap();
        assert_eq!((rig.volume.last(), rig.volume.durable()), (last, last.position));
        assert_eq!(rig.read(large).unwrap(), data);
        let mut expected = vec![0; 70_000];
        expected.extend_from_slice(b"behind a hole");
        assert_eq!(rig.read(small).unwrap(), expected);
        rig.create(&format!("again-{}", last.position.0));
        rig.settle();
    }
}

#[test]
fn unwritten_data_is_read_from_memory_without_a_copy() {
    let mut rig = rig();
    let file = rig.create("f");
    let data = Rng(2).bytes(40_000);
    let request = rig.request(FileRequest::Write { file, offset: 0, data: data.clone(), stability: Stability::Unstable });
    assert!(matches!(rig.volume.execute(rig.now.wall, rig.epoch, &request), Outcome::Done { durable: false, record: Some(_), .. }));
    let request = rig.request(FileRequest::Read { file, offset: 100, count: 30_000 });
    match rig.volume.execute(rig.now.wall, rig.epoch, &request) {
        Outcome::Done { result: Ok(FileOk::Data { pieces, .. }), at, .. } => {
            assert_eq!(at, rig.volume.last().position);
            assert_eq!(pieces.len(), 1);
            assert_eq!(pieces[0].as_ptr(), data[100..].as_ptr(), "by reference");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn durable_rises_only_with_a_sync() {
    let mut rig = rig();
    let before = rig.volume.durable();
    rig.create("a");
    rig.pump();
    assert_eq!(rig.volume.durable(), before, "written, not synced");
    rig.volume.want_sync(rig.volume.last().position);
    rig.pump();
    assert_eq!(rig.volume.durable(), rig.volume.last().position);
    assert!(rig.events.contains(&VolumeEvent::Durable(rig.volume.last().position)));
}

#[test]
fn batches_merge_into_one() {
    let mut rig = rig();
    let file = rig.create("f");
    rig.settle();
    let mut batches: Vec<LogBatch> = Vec::new();
    for n in 0..5 {
        let request = rig.request(FileRequest::Write {
            file,
            offset: n * 10,
            data: Bytes::from_static(b"0123456789"),
            stability: Stability::FileSync,
        });
        rig.volume.execute(rig.now.wall, rig.epoch, &request);
        rig.volume.want_sync(rig.volume.last().position);
        for effect in rig.effects() {
            assert_eq!(effect.lane(), Lane::Log);
            if let DiskEffect::Log(batch) = effect {
                batches.push(batch);
            }
        }
    }
    assert_eq!(batches.len(), 5);
    let mut merged = batches.remove(0);
    batches.into_iter().for_each(|batch| merged.merge(batch));
    assert!(merged.wants_sync());
    let done = perform(DiskEffect::Log(merged), &*rig.disk);
    rig.volume.handle(done);
    assert_eq!(rig.volume.durable(), rig.volume.last().position);
    assert_eq!(rig.read(file).unwrap(), b"01234567890123456789012345678901234567890123456789");
}

#[test]
fn a_duplicate_gets_the_first_answer() {
    let mut rig = rig();
    let dir = mainstay_protocol::FileId::ROOT;
    let request = rig.request(FileRequest::MakeDirectory { dir, name: Bytes::from_static(b"d"), set: Default::default() });
    let first = rig.ask_once(&request);
    assert!(first.is_ok());
    let last = rig.volume.last();
    match rig.volume.execute(rig.now.wall, rig.epoch, &request) {
        Outcome::Done { result, at, durable, record: None } => assert_eq!((result, at, durable), (first, last.position, true)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_secondary_follows_record_by_record() {
    let mut primary = rig();
    let disk = Arc::new(MemDisk::new());
    Volume::create(disk.clone(), CLUSTER, VOLUME, options()).unwrap();
    let mut secondary = Rig::open(disk, options()).unwrap();
    let file = primary.create("f");
    let mut rng = Rng(3);
    for n in 0..40 {
        primary.write(file, n * 100_000, rng.bytes(100_000)).unwrap();
        primary.settle();
    }
    // More than the tail cache holds: the older ones come from disk.
    let records = primary.records_after(Position(0)).unwrap();
    assert_eq!(records.len() as u64, primary.volume.last().position.0);
    for record in records {
        while secondary.volume.append(record.clone()) == Err(mainstay_volume::AppendError::Busy) {
            secondary.settle();
        }
        secondary.pump();
    }
    secondary.settle();
    assert_eq!(secondary.volume.last(), primary.volume.last());
    assert_eq!(secondary.volume.lineage(), primary.volume.lineage());
    secondary.epoch = primary.epoch;
    assert_eq!(secondary.read(file).unwrap(), primary.read(file).unwrap());
    // Every point is the same on both.
    for at in 0..=primary.volume.last().position.0 {
        let point = primary.volume.point(Position(at)).unwrap();
        assert_eq!(secondary.volume.point(Position(at)), Some(point));
    }
    // Gaps, repetitions and foreign histories are refused, and change nothing.
    let again = primary.records_after(Position(5)).unwrap().remove(0);
    assert!(matches!(secondary.volume.append(again), Err(mainstay_volume::AppendError::Record(_))));
    assert_eq!(secondary.volume.last(), primary.volume.last());
}

#[test]
fn digests_agree_and_epochs_go_on() {
    let mut rig = rig();
    rig.create("a");
    let mark = rig.volume.mark(rig.now.wall, rig.epoch).unwrap();
    rig.settle();
    rig.settle();
    let at = mark.header.position;
    let digest = |rig: &Rig| {
        rig.events.iter().find_map(|event| match event {
            VolumeEvent::Digest { position, digest } if *position == at => Some(*digest),
            _ => None,
        })
    };
    assert!(digest(&rig).is_some_and(|digest| digest.inodes == 2 && digest.entries == 1), "{:?}", rig.events);
    assert!(rig.volume.start_epoch(rig.now.wall, Epoch(1), 1).is_err(), "an epoch is never begun twice");
    let verifier = rig.volume.write_verifier();
    rig.volume.start_epoch(rig.now.wall, Epoch(4), 2).unwrap();
    assert_ne!(rig.volume.write_verifier(), verifier);
    assert_eq!(rig.volume.lineage().last().map(|start| start.epoch), Some(Epoch(4)));
}

#[test]
fn old_log_is_let_go_but_never_what_a_restart_needs() {
    let disk = Arc::new(MemDisk::new());
    let mut rig = Rig::new(disk.clone(), options());
    let file = rig.create("f");
    let mut rng = Rng(4);
    for _ in 0..200 {
        // The same bytes again and again: nearly everything in the log is dead.
        rig.write(file, 0, rng.bytes(200_000)).unwrap();
        rig.settle();
    }
    rig.rest();
    let stats = rig.volume.stats();
    assert!(stats.log_start > Position(100), "{stats:?}");
    assert!(stats.segment_bytes < 40 << 20, "files are recycled: {stats:?}");
    assert!(rig.volume.records_after(Position(1), 1000) == mainstay_volume::RecordsAfter::Gone);
    assert!(rig.records_after(Position(stats.log_start.0 - 1)).is_some());
    let content = rig.read(file).unwrap();
    let mut rig = Rig::open(disk, options()).unwrap();
    assert_eq!(rig.read(file).unwrap(), content);
}

#[test]
fn a_directory_with_a_volume_is_not_made_again_and_an_unfinished_one_is() {
    let disk = Arc::new(MemDisk::new());
    assert_eq!(Volume::open(disk.clone(), CLUSTER, VOLUME, options()).err(), Some(OpenError::Missing));
    // A crash before the first header: an empty view and prepared segments.
    mainstay_volume::Disk::create(&*disk, "log-00000001.seg", 2 << 20).unwrap();
    Volume::create(disk.clone(), CLUSTER, VOLUME, options()).unwrap();
    assert!(matches!(Volume::create(disk.clone(), CLUSTER, VOLUME, options()), Err(OpenError::Exists(_))));
    let rig = Rig::open(disk, options()).unwrap();
    assert_eq!(rig.volume.last(), LogPoint::default());
    assert_eq!(rig.volume.point(Position(0)), Some(LogPoint::default()));
}

#[test]
fn impossible_options_are_refused_by_name() {
    let bad = mainstay_volume::Options { segment_bytes: 1000, ..options() };
    let error = Volume::create(Arc::new(MemDisk::new()), CLUSTER, VOLUME, bad).unwrap_err();
    assert!(error.to_string().contains("segment_bytes"), "{error}");
}
