//! Divergent tails (R9).

use crate::rig::{Rig, Rng, options};
use bytes::Bytes;
use mainstay_protocol::{FileId, LogPoint, Position, Record};
use mainstay_volume::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, SegmentKind, SegmentUse};
use mainstay_volume::{Disk, MemDisk, Options, VolumeError};
use std::sync::Arc;

struct Case {
    disk: Arc<MemDisk>,
    rig: Rig,
    file: FileId,
    at: LogPoint,
    before: Vec<u8>,
}

/// A committed prefix, then a tail of `tail` writes of 150 KB.
fn case(tail: u64, written: bool) -> Case {
    let disk = Arc::new(MemDisk::new());
    // Room for the whole tail in memory.
    let options = Options { tail_cache_bytes: 32 << 20, prepared_segments: 8, ..options() };
    let mut rig = Rig::new(disk.clone(), options);
    let file = rig.create("f");
    let mut rng = Rng(11);
    for n in 0..10 {
        rig.write(file, n * 150_000, rng.bytes(150_000)).unwrap();
    }
    rig.settle();
    let (at, before) = (rig.volume.last(), rig.read(file).unwrap());
    for n in 0..tail {
        // The tail is written to disk, or only queued.
        let request = mainstay_protocol::FileRequest::Write {
            file,
            offset: n * 100_000,
            data: rng.bytes(150_000),
            stability: mainstay_protocol::Stability::Unstable,
        };
        let request = rig.request(request);
        rig.volume.execute(rig.now.wall, rig.epoch, &request);
        if written {
            rig.pump();
        }
    }
    assert_eq!(rig.volume.last().position.0, at.position.0 + tail);
    Case { disk, rig, file, at, before }
}

/// The records in a quarantine file, checked by its own header.
fn quarantined(disk: &MemDisk, name: &str) -> (SegmentHeader, Vec<Record>) {
    let file = disk.open(name).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(0, &mut bytes).unwrap();
    let mut bytes = Bytes::from(bytes);
    let head = bytes.split_to(SEGMENT_HEADER_BYTES);
    let SegmentUse::Used(header) = SegmentHeader::decode(name, &head).unwrap() else { panic!("no header") };
    let (mut records, mut point) = (Vec::new(), header.base);
    while !bytes.is_empty() {
        let record = Record::decode(&mut bytes).unwrap();
        record.check_follows(point).unwrap();
        point = record.point();
        records.push(record);
    }
    (header, records)
}

#[test]
fn a_tail_goes_to_quarantine_and_the_state_goes_back() {
    for (tail, written) in [(1, true), (1, false), (5, false), (40, true)] {
        let Case { disk, mut rig, file, at, before } = case(tail, written);
        let from = rig.volume.last();
        let dropped = rig.records_after(at.position).unwrap();
        let rolled = rig.volume.roll_back(at, "n2-e1").unwrap();
        assert_eq!((rolled.from, rolled.to, rolled.records), (from, at, tail));
        let name = rolled.file.unwrap();
        assert_eq!(name, format!("quarantine-n2-e1-{}-{}.log", at.position.0 + 1, from.position.0));
        let (header, records) = quarantined(&disk, &name);
        assert_eq!((header.kind, header.base), (SegmentKind::Quarantine, at));
        assert_eq!(records, dropped);
        assert_eq!((rig.volume.last(), rig.volume.durable()), (at, at.position));
        assert_eq!(rig.read(file).unwrap(), before);
        rig.pump();
        rig.volume.start_epoch(rig.now.wall, rig.epoch.next(), 1).unwrap();
        rig.epoch = rig.epoch.next();
        rig.write(file, 0, Bytes::from_static(b"another history")).unwrap();
        rig.settle();
        let last = rig.volume.last();
        let mut rig = Rig::open(disk, options()).unwrap();
        assert_eq!(rig.volume.last(), last);
        assert_eq!(&rig.read(file).unwrap()[..15], b"another history");
        assert_eq!(&rig.read(file).unwrap()[15..], &before[15..]);
        assert_eq!(rig.volume.point(at.position), Some(at));
        assert!(rig.volume.point(Position(at.position.0 + 1)).is_some_and(|point| point.epoch == rig.epoch));
    }
}

#[test]
fn batches_that_are_still_on_their_way_do_no_harm() {
    let Case { disk, mut rig, file, at, before } = case(40, false);
    // The flusher has these in hand while the roll-back happens; they land afterwards.
    let late = rig.effects();
    rig.volume.roll_back(at, "x").unwrap();
    for effect in late {
        let done = mainstay_volume::perform(effect, &*disk);
        rig.volume.handle(done);
        rig.volume.check_invariants();
    }
    rig.pump();
    assert_eq!((rig.volume.last(), rig.volume.durable()), (at, at.position));
    rig.epoch = rig.epoch.next();
    rig.volume.start_epoch(rig.now.wall, rig.epoch, 1).unwrap();
    for n in 0..60 {
        rig.write(file, 2_000_000 + n * 100_000, Rng(n).bytes(100_000)).unwrap();
        rig.settle();
    }
    assert_eq!(&rig.read(file).unwrap()[..before.len()], &before[..]);
    let last = rig.volume.last();
    let mut rig = Rig::open(disk, options()).unwrap();
    assert_eq!(rig.volume.last(), last);
    assert_eq!(&rig.read(file).unwrap()[..before.len()], &before[..]);
}

#[test]
fn no_further_than_the_committed_base_and_nowhere_else() {
    let Case { mut rig, at, .. } = case(3, true);
    let strange = LogPoint { chain: mainstay_protocol::Chain(5), ..at };
    assert_eq!(rig.volume.roll_back(strange, "x"), Err(VolumeError::NotInHistory { to: strange }));
    let last = rig.volume.last();
    assert_eq!(rig.volume.roll_back(last, "x").unwrap().file, None);
    rig.settle();
    rig.tick(10_000);
    rig.settle();
    assert!(rig.volume.stats().checkpoint > at.position, "a checkpoint was made");
    assert!(matches!(rig.volume.roll_back(at, "x"), Err(VolumeError::BelowBase { .. })));
    assert!(rig.volume.failure().is_none());
}

#[test]
fn the_same_positions_can_be_dropped_twice() {
    let Case { disk, mut rig, at, .. } = case(2, true);
    rig.volume.roll_back(at, "../odd name").unwrap();
    rig.create("other");
    rig.create("another");
    let rolled = rig.volume.roll_back(at, "../odd name").unwrap();
    assert!(rolled.file.is_some_and(|name| name.starts_with("quarantine-.._odd_name-") && name.ends_with("-1.log")));
    assert_eq!(disk.list().unwrap().iter().filter(|name| name.starts_with("quarantine")).count(), 2);
}

/// A roll-back let go of segments that had been written but not synced; one was recycled under another name, and the next sync
/// still asked for it: "open log-00000002.seg: NotFound" stopped the volume.
#[test]
fn a_segment_is_used_again_only_when_no_batch_speaks_of_it_any_more() {
    for polled_before in [false, true] {
        let Case { disk, mut rig, file, at, before } = case(40, true);
        rig.volume.roll_back(at, "x").unwrap();
        rig.epoch = rig.epoch.next();
        rig.volume.start_epoch(rig.now.wall, rig.epoch, 1).unwrap();
        let mut late = Vec::new();
        if polled_before {
            rig.volume.want_sync(rig.volume.last().position);
            late = rig.effects();
            assert!(late.iter().any(|effect| effect.lane() == mainstay_volume::Lane::Log));
        }
        // Upkeep makes prepared segments out of what the roll-back let go, while the flusher has not come to its batch yet.
        for _ in 0..5 {
            rig.now.mono = rig.now.mono.after_ms(100);
            rig.volume.tick(rig.now);
            for effect in rig.effects() {
                match effect.lane() {
                    mainstay_volume::Lane::Log => late.push(effect),
                    _ => rig.volume.handle(mainstay_volume::perform(effect, &*disk)),
                }
            }
        }
        late.into_iter().for_each(|effect| rig.volume.handle(mainstay_volume::perform(effect, &*disk)));
        rig.settle();
        assert_eq!(rig.volume.failure(), None, "polled before: {polled_before}");
        let prepared = rig.volume.stats().segments_prepared;
        rig.rest();
        assert!(rig.volume.stats().segments_prepared >= prepared && rig.volume.failure().is_none());
        assert_eq!(rig.read(file).unwrap(), before);
        let last = rig.volume.last();
        assert_eq!(Rig::open(disk, options()).unwrap().volume.last(), last);
    }
}

#[test]
fn a_roll_back_without_room_for_the_quarantine_file_is_refused_and_works_later() {
    let Case { disk, mut rig, file, at, before } = case(5, true);
    let from = rig.volume.last();
    disk.set_capacity(Some(1));
    assert!(matches!(rig.volume.roll_back(at, "x"), Err(VolumeError::NoSpace(_))));
    assert_eq!((rig.volume.failure(), rig.volume.last()), (None, from));
    disk.set_capacity(None);
    assert_eq!(rig.volume.roll_back(at, "x").unwrap().records, 5);
    assert_eq!(rig.read(file).unwrap(), before);
}
