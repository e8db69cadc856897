//! Files that were cut, flipped, lost or swapped: a clear error or a repair, never silent loss.

use crate::crash_disk::CrashDisk;
use crate::rig::{CLUSTER, Rig, Rng, VOLUME, options};
use bytes::Bytes;
use mainstay_protocol::{ClusterId, FileError, FileId, FileRequest, Position, Stability, VolumeId};
use mainstay_volume::{
    AppendError, Disk, DiskEvent, Lane, MemDisk, OpenError, Options, Outcome, RecordsAfter, Volume, VolumeError, VolumeEvent,
    perform,
};
use std::sync::Arc;

/// A volume with a few megabytes in one file, at rest, with a checkpoint.
fn filled(options: Options) -> (Arc<MemDisk>, FileId, Bytes) {
    let disk = Arc::new(MemDisk::new());
    let mut rig = Rig::new(disk.clone(), options);
    let file = rig.create("f");
    let data = Rng(9).bytes(5_000_000);
    for (index, piece) in data.chunks(100_000).enumerate() {
        rig.write(file, index as u64 * 100_000, Bytes::copy_from_slice(piece)).unwrap();
    }
    rig.settle();
    (disk, file, data)
}

fn flip(disk: &MemDisk, name: &str, offset: u64) {
    let file = disk.open(name).unwrap();
    let mut byte = [0];
    file.read_at(offset, &mut byte).unwrap();
    file.write_at(offset, &[&[byte[0] ^ 0x20]]).unwrap();
}

fn error(disk: &MemDisk) -> OpenError {
    Volume::open(Arc::new(disk.snapshot()), CLUSTER, VOLUME, options()).err().expect("it must not open")
}

fn segments(disk: &MemDisk) -> Vec<String> {
    let used = |name: &String| {
        let mut first = [0; 4];
        name.ends_with(".seg") && disk.open(name).is_ok_and(|file| file.read_at(0, &mut first).is_ok() && first != [0; 4])
    };
    disk.list().unwrap().into_iter().filter(used).collect()
}

#[test]
fn a_foreign_directory_is_named_as_such() {
    let (disk, _, _) = filled(options());
    let other = Volume::open(Arc::new(disk.snapshot()), ClusterId([9; 16]), VOLUME, options()).err().unwrap();
    assert!(matches!(other, OpenError::OtherCluster { .. }), "{other}");
    let other = Volume::open(Arc::new(disk.snapshot()), CLUSTER, VolumeId(8), options()).err().unwrap();
    assert!(matches!(other, OpenError::OtherVolume { .. }), "{other}");
}

#[test]
fn a_missing_or_cut_segment_is_refused_with_what_to_do() {
    let (disk, _, _) = filled(options());
    for name in segments(&disk) {
        let copy = disk.snapshot();
        copy.remove(&name).unwrap();
        let refused = error(&copy);
        assert!(
            matches!(
                refused,
                OpenError::SegmentMissing { .. }
                    | OpenError::Hole { .. }
                    | OpenError::ViewForeign { .. }
                    | OpenError::DamagedRecord { .. }
            ),
            "{name}: {refused:?}"
        );
        assert!(refused.to_string().contains("move this volume's directory away"), "{refused}");
        let copy = disk.snapshot();
        copy.set_len(&name, 1_000_000).unwrap();
        let refused = error(&copy);
        assert!(matches!(&refused, OpenError::Damaged { file, .. } if *file == name), "{name}: {refused:?}");
    }
}

#[test]
fn every_flipped_byte_of_a_segment_header_is_refused() {
    let (disk, _, _) = filled(options());
    for name in segments(&disk) {
        for offset in 0..128 {
            let copy = disk.snapshot();
            flip(&copy, &name, offset);
            let refused = error(&copy);
            assert!(refused.to_string().contains("move this volume's directory away"), "{name} {offset}: {refused}");
        }
    }
}

#[test]
fn a_swapped_segment_is_noticed() {
    let (disk, _, _) = filled(options());
    let names = segments(&disk);
    disk.rename(&names[0], "aside").unwrap();
    disk.rename(&names[1], &names[0]).unwrap();
    disk.rename("aside", &names[1]).unwrap();
    assert!(matches!(error(&disk), OpenError::Damaged { problem, .. } if problem.contains("renamed or copied")));
}

#[test]
fn the_view_missing_cut_or_flipped_is_refused() {
    let (disk, _, _) = filled(options());
    let copy = disk.snapshot();
    copy.remove("view.redb").unwrap();
    assert!(matches!(error(&copy), OpenError::ViewMissing { .. }));
    let copy = disk.snapshot();
    copy.set_len("view.redb", 0).unwrap();
    assert!(matches!(error(&copy), OpenError::ViewMissing { .. }));
    let len = disk.open("view.redb").unwrap().len().unwrap();
    for cut in [1, 100, 4096, len / 2, len - 4096] {
        let copy = disk.snapshot();
        copy.set_len("view.redb", cut).unwrap();
        assert!(error(&copy).to_string().contains("view"), "cut at {cut}");
    }
    let mut rng = Rng(5);
    for _ in 0..60 {
        let copy = disk.snapshot();
        flip(&copy, "view.redb", rng.below(len));
        // A flip in a page that nothing uses does no harm; any other is refused. Never a panic, never another content.
        if let Err(refused) = Volume::open(Arc::new(copy), CLUSTER, VOLUME, options()) {
            assert!(refused.to_string().contains("view"), "{refused}");
        }
    }
}

#[test]
fn damage_in_synced_records_is_not_taken_for_a_torn_tail() {
    // No checkpoint, so that every record is scanned at opening.
    let options = Options { checkpoint_bytes: u64::MAX, checkpoint_ms: u64::MAX, ..options() };
    let disk = Arc::new(MemDisk::new());
    let mut rig = Rig::new(disk.clone(), options.clone());
    let mut ends = Vec::new();
    for n in 0..30 {
        rig.create(&format!("f{n}"));
        rig.settle();
        ends.push(rig.volume.last().position);
    }
    // The last record is synced, too, and its mark was written when the volume came to rest.
    rig.settle();
    let name = segments(&disk).remove(0);
    let mut refusals = 0;
    for offset in (4096..9000).step_by(37) {
        let copy = disk.snapshot();
        let mut byte = [0];
        copy.open(&name).unwrap().read_at(offset, &mut byte).unwrap();
        flip(&copy, &name, offset);
        match Volume::open(Arc::new(copy), CLUSTER, VOLUME, options.clone()) {
            Err(OpenError::DamagedRecord { position, .. }) => {
                assert!(position <= *ends.last().unwrap());
                refusals += 1;
            }
            // A mark was hit, or the zeros behind the end: no record is affected.
            Ok(volume) => assert_eq!(volume.last(), rig.volume.last(), "flip at {offset}"),
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refusals > 60, "{refusals}");
}

#[test]
fn an_unsynced_tail_is_dropped_and_never_returns() {
    let options = Options { checkpoint_bytes: u64::MAX, checkpoint_ms: u64::MAX, ..options() };
    let disk = Arc::new(MemDisk::new());
    let mut rig = Rig::new(disk.clone(), options.clone());
    rig.create("kept");
    rig.settle();
    let kept = rig.volume.last();
    let torn = rig.volume.last().position.next();
    for n in 0..5 {
        rig.create(&format!("lost{n}"));
        rig.pump();
    }
    // The first of the unsynced records did not reach the disk whole, the others did.
    let name = segments(&disk).remove(0);
    let file = disk.open(&name).unwrap();
    let mut bytes = vec![0; 60_000];
    file.read_at(0, &mut bytes).unwrap();
    let magic = [&b"MSR1"[..]].concat();
    let starts: Vec<usize> = bytes.windows(4).enumerate().filter(|(_, four)| *four == magic).map(|(at, _)| at).collect();
    flip(&disk, &name, starts[torn.0 as usize - 1] as u64 + 90);
    let mut rig = Rig::open(disk.clone(), options.clone()).unwrap();
    assert_eq!(rig.volume.last(), kept);
    assert!(rig.volume.stats().erased_bytes > 0);
    rig.create("lost0");
    rig.settle();
    let again = rig.volume.last();
    assert_eq!(again.position, torn);
    let rig = Rig::open(disk, options).unwrap();
    assert_eq!(rig.volume.last(), again, "nothing of the old tail came back behind the new record");
}

/// A piece of the data that is nowhere else: writes are 100,000 bytes, and every sector of a write carries its own stamp.
fn sector(data: &[u8], index: usize) -> &[u8] {
    &data[index * 512..index * 512 + 128]
}

/// Flips a byte of the file's data wherever it lies, and says in which segment.
fn rot(disk: &MemDisk, needle: &[u8]) -> (String, u64) {
    for name in segments(disk) {
        let file = disk.open(&name).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_at(0, &mut bytes).unwrap();
        if let Some(at) = bytes.windows(needle.len()).position(|window| window == needle) {
            flip(disk, &name, at as u64);
            return (name, at as u64);
        }
    }
    panic!("the data is nowhere");
}

#[test]
fn a_damaged_block_is_repaired_from_the_peer_and_written_again() {
    let (disk, file, data) = filled(options());
    let mut rig = Rig::open(disk.clone(), options()).unwrap();
    rot(&disk, sector(&data, 2000));
    // Without a peer: an I/O error, not other bytes.
    assert_eq!(rig.read(file).unwrap_err(), FileError::Io);
    assert_eq!(rig.volume.stats().unrepaired, 1);
    let good = data.clone();
    rig.peer =
        Some(Box::new(move |_, extent, _| Some(good.slice(extent.offset as usize..extent.offset as usize + extent.len as usize))));
    assert_eq!(rig.read(file).unwrap(), data);
    let repaired = rig.volume.stats().repaired;
    assert!(repaired >= 1);
    // It stays repaired, also after a restart, without the peer: a checkpoint holds the new place.
    rig.rest();
    rig.peer = None;
    assert_eq!(rig.read(file).unwrap(), data);
    drop(rig);
    let mut rig = Rig::open(disk, options()).unwrap();
    assert_eq!(rig.read(file).unwrap(), data);
    assert_eq!(rig.volume.stats().checksum_errors, 0);
}

/// Records that a restart reads again are kept in memory, for reads and for secondaries. One of them is damaged on the disk.
#[test]
fn what_is_damaged_where_the_log_is_read_again_is_neither_served_nor_sent() {
    // No checkpoint, and room for everything in memory.
    let options = Options {
        checkpoint_bytes: u64::MAX,
        checkpoint_ms: u64::MAX,
        segment_bytes: 16 << 20,
        tail_cache_bytes: 64 << 20,
        ..options()
    };
    let (disk, file, data) = filled(options.clone());
    rot(&disk, sector(&data, 2000));
    let mut rig = Rig::open(disk.clone(), options.clone()).unwrap();
    assert_eq!(rig.volume.health().damaged, 1, "it says so before anybody reads it");
    assert_eq!(rig.read(file).unwrap_err(), FileError::Io, "without a peer: an error, not other bytes");
    // The write that holds sector 2000 begins at byte 1,000,000; other data is served as it is.
    assert_eq!(rig.read_at(file, 0, 1_000_000).unwrap(), data[..1_000_000]);
    assert_eq!(rig.read_at(file, 1_100_000, 100_000).unwrap(), data[1_100_000..1_200_000]);
    // A secondary that needs the damaged record, or one before it, gets the files' present state instead (R11).
    let damaged = Position(rig.volume.log_start().0 - 1);
    assert!(damaged > Position(1) && damaged < rig.volume.last().position, "{damaged}");
    for after in [Position(1), Position(damaged.0 - 1)] {
        assert_eq!(rig.volume.records_after(after, 1 << 20), RecordsAfter::Gone);
    }
    assert!(matches!(rig.volume.records_after(damaged, 1 << 20), RecordsAfter::Ready(records) if !records.is_empty()));
    assert!(rig.volume.resync_base().position >= damaged, "where such a secondary begins is behind the damage");
    assert_eq!(rig.volume.damage_in_the_way(Position(1)), Some(damaged), "that could not be read for it either");
    assert_eq!(rig.volume.damage_in_the_way(damaged), None);
    // The history is known all the same.
    assert!(rig.volume.point(damaged).is_some());

    // The peer comes: what is remembered is mended without anybody asking.
    let good = data.clone();
    rig.peer =
        Some(Box::new(move |_, extent, _| Some(good.slice(extent.offset as usize..extent.offset as usize + extent.len as usize))));
    (0..60).for_each(|_| rig.tick(1_000));
    assert_eq!(rig.volume.health().damaged, 0);
    assert_eq!(rig.volume.damage_in_the_way(Position(1)), None);
    rig.peer = None;
    assert_eq!(rig.read(file).unwrap(), data);
}

/// Written over whole, or only the blocks that are damaged: what is left of the run then begins elsewhere.
#[test]
fn damage_that_is_written_over_is_forgotten() {
    for bytes in [100_000, 40_000] {
        let (disk, file, data) = filled(options());
        let mut rig = Rig::open(disk.clone(), options()).unwrap();
        rot(&disk, sector(&data, 2000));
        assert_eq!(rig.read(file).unwrap_err(), FileError::Io);
        assert_eq!(rig.volume.health().damaged, 1);
        rig.write(file, 1_000_000, Bytes::from(vec![7; bytes])).unwrap();
        (0..60).for_each(|_| rig.tick(1_000));
        assert_eq!(rig.volume.health().damaged, 0, "after {bytes} bytes");
        assert!(rig.read(file).is_ok());
    }
}

/// The peer has the data, but this disk has no room for it: readers get it, and the block stays known as damaged.
#[test]
fn what_is_repaired_without_room_for_it_is_mended_later() {
    let (disk, file, data) = filled(options());
    let used = segments(&disk);
    let prepared = |name: &String| name.ends_with(".seg") && !used.contains(name);
    disk.list().unwrap().iter().filter(|name| prepared(name)).for_each(|name| disk.remove(name).unwrap());
    let mut rig = Rig::open(disk.clone(), options()).unwrap();
    disk.set_capacity(Some(0));
    rot(&disk, sector(&data, 4000));
    let good = data.clone();
    rig.peer =
        Some(Box::new(move |_, extent, _| Some(good.slice(extent.offset as usize..extent.offset as usize + extent.len as usize))));
    assert_eq!(rig.read(file).unwrap(), data);
    assert_eq!(rig.volume.health().damaged, 1);
    disk.set_capacity(None);
    (0..60).for_each(|_| rig.tick(1_000));
    assert_eq!(rig.volume.health().damaged, 0);
    rig.peer = None;
    assert_eq!(rig.read(file).unwrap(), data);
}

/// A secondary far behind needs records from the disk, of which one is damaged: what comes before it is sent, then it is another way.
#[test]
fn a_damaged_record_on_disk_ends_the_stream_not_the_resync() {
    let (disk, _, data) = filled(options());
    let mut rig = Rig::open(disk.clone(), options()).unwrap();
    rot(&disk, sector(&data, 4000));
    let (mut at, mut sent) = (Position(rig.volume.log_start().0 - 1), 0);
    let ended = loop {
        match rig.volume.records_after(at, 64 << 10) {
            RecordsAfter::Gone => break true,
            RecordsAfter::Ready(records) if records.is_empty() => break false,
            RecordsAfter::Ready(records) => at = records[records.len() - 1].header.position,
            RecordsAfter::Later(wanted) => {
                rig.pump();
                let read = rig.events.drain(..).find_map(|event| match event {
                    VolumeEvent::Records { ticket, result } if ticket == wanted => Some(result),
                    _ => None,
                });
                at = read.unwrap().map_or(at, |records| records[records.len() - 1].header.position);
            }
        }
        sent += 1;
        assert!(sent < 10_000, "it asks for the same record for ever");
    };
    assert!(ended && at < rig.volume.last().position, "the stream went over the damaged record");
    assert_eq!(rig.volume.log_start(), Position(at.0 + 2));
    assert!(rig.volume.resync_base().position > at);
    assert_eq!(rig.volume.health().damaged, 1, "what the record holds of the file is known, too");
    assert_eq!(rig.volume.damage_in_the_way(at), Some(at.next()));
}

/// A failure of the disk says nothing of the record.
#[test]
fn a_record_is_not_given_up_for_a_read_that_failed() {
    let disk = CrashDisk::default();
    let mut rig = Rig::new(Arc::new(disk.clone()), options());
    let file = rig.create("f");
    (0..30).for_each(|piece| drop(rig.write(file, piece * 100_000, Rng(piece).bytes(100_000)).unwrap()));
    rig.settle();
    let after = Position(rig.volume.log_start().0 - 1);
    // None when the volume does not even try.
    let mut read = |refuse| {
        let RecordsAfter::Later(_) = rig.volume.records_after(after, 1 << 20) else { return None };
        disk.refuse_reads(refuse);
        for effect in rig.effects() {
            let done = perform(effect, &disk);
            rig.volume.handle(done);
        }
        disk.refuse_reads(false);
        std::iter::from_fn(|| rig.volume.poll_event()).find_map(|event| match event {
            VolumeEvent::Records { result, .. } => Some(result),
            _ => None,
        })
    };
    for _ in 0..3 {
        assert!(matches!(read(true), Some(Err(VolumeError::Unreadable(_)))));
    }
    (0..100).for_each(|_| assert!(matches!(read(true), Some(Err(VolumeError::Unreadable(_)))), "it gave up"));
    assert!(read(false).unwrap().is_ok_and(|records| !records.is_empty()));
    assert_eq!(rig.volume.log_start(), Position(after.0 + 1));
}

/// The disk is slow: a secondary's records were asked for in an earlier reign, and come after the roll-back that took them away.
#[test]
fn a_damaged_record_that_was_rolled_back_meanwhile_hides_no_other() {
    let options = Options { checkpoint_bytes: u64::MAX, checkpoint_ms: u64::MAX, tail_cache_bytes: 64 << 10, ..options() };
    let disk = Arc::new(MemDisk::new());
    let mut rig = Rig::new(disk.clone(), options);
    rig.commits = false;
    let file = rig.create("f");
    let data = Rng(9).bytes(2_000_000);
    let fill = |rig: &mut Rig| {
        for (index, piece) in data.chunks(100_000).enumerate() {
            rig.write(file, index as u64 * 100_000, Bytes::copy_from_slice(piece)).unwrap();
        }
        rig.settle();
    };
    fill(&mut rig);
    // In the fifth record from the end.
    rot(&disk, sector(&data, 2950));
    let (start, last) = (rig.volume.log_start(), rig.volume.last().position);
    let RecordsAfter::Later(_) = rig.volume.records_after(Position(last.0 - 5), 1 << 20) else { panic!("in memory") };
    let late = rig.effects();
    let to = rig.volume.point(Position(last.0 - 10)).unwrap();
    rig.volume.roll_back(to, "b-1").unwrap();
    for effect in late {
        let done = perform(effect, &*disk);
        rig.volume.handle(done);
    }
    assert!(
        std::iter::from_fn(|| rig.volume.poll_event())
            .any(|event| matches!(event, VolumeEvent::Records { result: Err(VolumeError::Unreadable(_)), .. }))
    );
    assert!(rig.volume.log_start() <= rig.volume.last().position.next());
    fill(&mut rig);
    assert_eq!(rig.volume.log_start(), start, "the records that came instead are sound");
}

#[test]
fn a_wrong_repair_is_not_accepted() {
    let (disk, file, data) = filled(options());
    let mut rig = Rig::open(disk.clone(), options()).unwrap();
    rot(&disk, sector(&data, 4000));
    rig.peer = Some(Box::new(|_, extent, _| Some(Bytes::from(vec![0xee; extent.len as usize]))));
    assert_eq!(rig.read(file).unwrap_err(), FileError::Io);
    rig.peer = Some(Box::new(|_, extent, _| Some(Bytes::from(vec![0xee; extent.len as usize / 2]))));
    assert_eq!(rig.read(file).unwrap_err(), FileError::Io);
    assert_eq!(rig.volume.stats().repaired, 0);
}

#[test]
fn the_scrub_finds_and_repairs_what_nobody_reads() {
    let options = Options { scrub_bytes_per_s: 1 << 30, scrub_pause_ms: 1_000_000_000, ..options() };
    let (disk, file, data) = filled(options.clone());
    let mut rig = Rig::open(disk.clone(), options).unwrap();
    rot(&disk, sector(&data, 1));
    rot(&disk, sector(&data, 6000));
    let good = data.clone();
    rig.peer =
        Some(Box::new(move |_, extent, _| Some(good.slice(extent.offset as usize..extent.offset as usize + extent.len as usize))));
    rig.rest();
    assert_eq!(rig.volume.stats().scrubs, 0, "not before its time");
    rig.volume.scrub_now();
    rig.rest();
    let stats = rig.volume.stats();
    assert_eq!((stats.scrubs, stats.checksum_errors, stats.repaired, stats.unrepaired), (1, 2, 2, 0));
    assert!(stats.scrubbed_bytes >= data.len() as u64);
    rig.peer = None;
    assert_eq!(rig.read(file).unwrap(), data);
}

#[test]
fn one_replica_repairs_the_other() {
    let (disk, file, data) = filled(options());
    let mut good = Rig::open(Arc::new(disk.snapshot()), options()).unwrap();
    let mut bad = Rig::open(disk.clone(), options()).unwrap();
    rot(&disk, sector(&data, 4000));
    bad.peer = Some(Box::new(move |file, extent, position| {
        let ticket = good.volume.read_for_repair(file, extent, position);
        good.pump();
        good.events.drain(..).find_map(|event| match event {
            VolumeEvent::RepairData { ticket: of, data } if of == ticket => data,
            _ => None,
        })
    }));
    assert_eq!(bad.read(file).unwrap(), data);
    // Asked for data that it does not have in that form, a replica says so.
    let extent = mainstay_protocol::Extent { offset: 0, len: 10, payload_offset: 0 };
    let ticket = bad.volume.read_for_repair(file, extent, Position(9999));
    bad.pump();
    assert!(bad.events.contains(&VolumeEvent::RepairData { ticket, data: None }));
}

#[test]
fn a_failed_write_or_sync_stops_the_volume_for_good() {
    for operations in 0..2 {
        let disk = CrashDisk::default();
        let mut rig = Rig::new(Arc::new(disk.clone()), options());
        rig.create("a");
        rig.settle();
        let (durable, last) = (rig.volume.durable(), rig.volume.last());
        let request = rig.request(FileRequest::MakeDirectory { dir: FileId::ROOT, name: "d".into(), set: Default::default() });
        let made = rig.volume.execute(rig.now.wall, rig.epoch, &request);
        let Outcome::Done { record: Some(record), .. } = made else { panic!("{made:?}") };
        rig.volume.want_sync(rig.volume.last().position);
        // The write fails, or the write goes well and the sync fails.
        disk.die_after(Some(operations));
        rig.pump();
        assert!(rig.events.iter().any(|event| matches!(event, VolumeEvent::Failed(_))), "{:?}", rig.events);
        disk.die_after(None);
        rig.volume.want_sync(rig.volume.last().position);
        rig.settle();
        assert_eq!(rig.volume.durable(), durable, "what a failed sync left is not believed later");
        assert_eq!(rig.ask(FileRequest::GetAttributes { file: FileId::ROOT }).unwrap_err().error, FileError::Io);
        assert!(matches!(rig.volume.append(record), Err(AppendError::Failed(_))));
        assert!(matches!(rig.volume.roll_back(last, "x"), Err(VolumeError::Failed(_))));
        assert!(matches!(rig.volume.mark(rig.now.wall, rig.epoch), Err(VolumeError::Failed(_))));
        assert!(rig.volume.poll_effect().is_none());
        let rig = Rig::open(Arc::new(disk), options()).unwrap();
        assert!(rig.volume.last().position >= durable);
    }
}

/// The flusher has the next batches already when a write fails. The header of the next segment says that the one before is whole, and a
/// copy with a hole before such a header could never be opened again, although nothing of it was acknowledged.
#[test]
fn nothing_is_written_behind_a_write_that_failed() {
    let disk = CrashDisk::default();
    // Nobody is told to wait for the disk.
    let roomy = Options { tail_cache_bytes: 8 << 20, ..options() };
    let mut rig = Rig::new(Arc::new(disk.clone()), roomy);
    let file = rig.create("f");
    rig.write(file, 0, Rng(1).bytes(100_000)).unwrap();
    rig.settle();
    let durable = rig.volume.durable();
    let mut batches = Vec::new();
    // More than a segment holds.
    for piece in 0..30 {
        let data = Rng(piece).bytes(100_000);
        let request = rig.request(FileRequest::Write { file, offset: piece * 100_000, data, stability: Stability::Unstable });
        rig.ask_once(&request).unwrap();
        batches.extend(rig.effects().into_iter().filter(|effect| effect.lane() == Lane::Log));
    }
    assert!(batches.len() > 20, "{} batches", batches.len());
    let middle = batches.len() / 3;
    for (number, batch) in batches.into_iter().enumerate() {
        disk.die_after((number == middle).then_some(0));
        let DiskEvent::LogDone(done) = perform(batch, &disk) else { panic!("not of the log") };
        assert_eq!(done.failed(), number >= middle, "batch {number}");
        rig.volume.handle(DiskEvent::LogDone(done));
    }
    assert!(rig.volume.failure().is_some());
    drop(rig);
    let mut again = Rig::open(Arc::new(disk), options()).unwrap_or_else(|error| panic!("{error}"));
    assert!(again.volume.last().position >= durable);
    assert_eq!(again.read(file).unwrap().len() as u64 % 100_000, 0);
}
