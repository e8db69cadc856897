//! Resync by change between two whole volumes, interrupted at will.

use crate::crash_disk::{CrashDisk, LOSSES};
use crate::rig::{CLUSTER, Rig, Rng, VOLUME, options};
use mainstay_protocol::peer::ListQuery;
use mainstay_protocol::{FileId, LogPoint, Position};
use mainstay_volume::{AppendError, Disk, MemDisk, Options, Volume, VolumeError, VolumeEvent};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

fn small_log() -> Options {
    Options { retain_bytes: 2 << 20, ..options() }
}

/// A primary whose log no longer reaches back, and what its files hold.
struct Source {
    rig: Rig,
    files: BTreeMap<String, FileId>,
    rng: Rng,
}

impl Source {
    fn new() -> Source {
        Source { rig: Rig::new(Arc::new(MemDisk::new()), small_log()), files: BTreeMap::new(), rng: Rng(21) }
    }

    fn work(&mut self, rounds: usize) {
        for _ in 0..rounds {
            let name = format!("f{}", self.rng.below(40));
            if self.rng.below(6) == 0 && self.files.remove(&name).is_some() {
                self.rig.remove(&name).unwrap();
                continue;
            }
            let file = match self.files.get(&name) {
                Some(file) => *file,
                None => self.rig.create(&name),
            };
            self.files.insert(name, file);
            let (offset, len) = (self.rng.below(100_000), 1 + self.rng.below(60_000));
            let data = self.rng.bytes(len as usize);
            self.rig.write(file, offset, data).unwrap();
            if self.rng.below(4) == 0 {
                self.rig.settle();
            }
        }
        self.rig.settle();
    }

    fn base(&mut self) -> LogPoint {
        self.rig.volume.last()
    }
}

fn target(disk: Arc<dyn Disk>) -> Rig {
    Volume::create(disk.clone(), CLUSTER, VOLUME, small_log()).unwrap();
    Rig::open(disk, small_log()).unwrap()
}

/// Sends retained records; false when they are gone.
fn stream(source: &mut Source, target: &mut Rig) -> bool {
    let Some(records) = source.rig.records_after(target.volume.last().position) else { return false };
    for record in records {
        loop {
            match target.volume.append(record.clone()) {
                Ok(()) => break,
                Err(AppendError::Busy) => {
                    // As every message of a primary tells: what is committed does not hang on this copy.
                    target.volume.set_committed(source.rig.volume.durable().min(target.volume.last().position));
                    target.settle();
                }
                Err(AppendError::Failed(_)) => return true,
                Err(error) => panic!("{error}"),
            }
        }
        target.pump();
    }
    target.settle();
    target.epoch = target.volume.last().epoch;
    true
}

/// One question and its answers. False when the walk is over.
fn walk(source: &mut Source, target: &mut Rig) -> Result<bool, VolumeError> {
    let Some(cursor) = target.volume.resync_cursor() else { return Ok(false) };
    let ticket = source.rig.volume.changes(cursor, 200_000);
    source.rig.pump();
    let found = source.rig.events.drain(..).find_map(|event| match event {
        VolumeEvent::Changes { ticket: of, result } if of == ticket => Some(result),
        _ => None,
    });
    let (batch, payload) = found.expect("changes are answered")?;
    let mut lists: VecDeque<ListQuery> = loop {
        match target.volume.install(cursor, batch.clone(), payload.clone()) {
            Err(VolumeError::Busy(_)) => target.settle(),
            other => break other?.into(),
        }
    };
    while let Some(query) = lists.pop_front() {
        let (items, done) = source.rig.volume.list(query, 7)?;
        lists.extend(target.volume.install_list(query, items, done)?);
    }
    target.settle();
    Ok(true)
}

fn compare(source: &mut Source, target: &mut Rig) {
    assert_eq!(target.volume.last(), source.rig.volume.last());
    assert!(target.volume.complete());
    target.epoch = target.volume.last().epoch;
    for (name, file) in &source.files {
        assert!(target.read(*file).unwrap() == source.rig.read(*file).unwrap(), "{name} differs");
    }
    assert_eq!(target.volume.stats().inodes, source.rig.volume.stats().inodes);
    assert_eq!(target.volume.stats().live_bytes, source.rig.volume.stats().live_bytes);
}

#[test]
fn an_empty_copy_is_made_whole_while_the_source_goes_on() {
    let mut source = Source::new();
    source.work(300);
    let mut target = target(Arc::new(MemDisk::new()));
    assert!(!stream(&mut source, &mut target), "the log is gone");
    let base = source.base();
    let lineage = source.rig.volume.lineage().to_vec();
    let cursor = target.volume.begin_resync(base, lineage).unwrap();
    assert_eq!(cursor.since, Position(0));
    assert!(!target.volume.complete());
    while walk(&mut source, &mut target).unwrap() {
        source.work(3);
        let record = source.rig.records_after(Position(source.rig.volume.last().position.0 - 1)).unwrap().remove(0);
        assert!(target.volume.resync_cursor().is_none() || target.volume.append(record).is_err());
    }
    assert_eq!(target.volume.last(), base);
    assert!(stream(&mut source, &mut target));
    compare(&mut source, &mut target);
    // Both go on as if nothing had been.
    source.work(50);
    assert!(stream(&mut source, &mut target));
    compare(&mut source, &mut target);
}

#[test]
fn only_what_changed_moves() {
    let mut source = Source::new();
    source.work(60);
    let mut target = target(Arc::new(MemDisk::new()));
    assert!(stream(&mut source, &mut target) || source.rig.volume.log_start() > Position(1));
    let big = source.rig.create("big");
    source.files.insert("big".into(), big);
    for n in 0..20 {
        let data = source.rng.bytes(400_000);
        source.rig.write(big, n * 400_000, data).unwrap();
        source.rig.settle();
        stream(&mut source, &mut target);
    }
    let since = target.volume.last().position;
    // Far more log than is kept, but of few bytes that stay.
    let hot = source.rig.create("hot");
    source.files.insert("hot".into(), hot);
    for _ in 0..60 {
        let data = source.rng.bytes(150_000);
        source.rig.write(hot, 0, data).unwrap();
        source.rig.settle();
    }
    source.rig.rest();
    assert!(!stream(&mut source, &mut target));
    let base = source.base();
    let lineage = source.rig.volume.lineage().to_vec();
    assert_eq!(target.volume.begin_resync(base, lineage).unwrap().since, since);
    let mut moved = 0;
    while let Some(cursor) = target.volume.resync_cursor() {
        let ticket = source.rig.volume.changes(cursor, 1 << 20);
        source.rig.pump();
        let found = source.rig.events.drain(..).find_map(|event| match event {
            VolumeEvent::Changes { ticket: of, result } if of == ticket => Some(result.unwrap()),
            _ => None,
        });
        let (batch, payload) = found.unwrap();
        moved += payload.len();
        let lists = target.volume.install(cursor, batch, payload).unwrap();
        assert!(lists.is_empty() || moved > 0);
        for query in lists {
            let (items, done) = source.rig.volume.list(query, 1000).unwrap();
            target.volume.install_list(query, items, done).unwrap();
        }
        target.settle();
    }
    assert!(moved < 1_000_000, "{moved} bytes moved of 8 MB");
    assert!(stream(&mut source, &mut target));
    compare(&mut source, &mut target);
}

#[test]
fn a_resync_survives_power_loss_at_any_point() {
    for seed in 0..12 {
        let mut rng = Rng(seed);
        let mut source = Source::new();
        source.work(250);
        let mut disk = CrashDisk::default();
        let mut target = target(Arc::new(disk.clone()));
        let mut crashes = 0;
        loop {
            disk.die_after((crashes < 12).then(|| rng.below(150)));
            let mut durable = target.volume.durable();
            let whole = (|| {
                if target.volume.resync_cursor().is_none() && !stream(&mut source, &mut target) {
                    let base = source.base();
                    let lineage = source.rig.volume.lineage().to_vec();
                    target.volume.begin_resync(base, lineage)?;
                }
                while walk(&mut source, &mut target)? {
                    source.work(1);
                    durable = durable.max(target.volume.durable());
                }
                if target.volume.failure().is_none() && !stream(&mut source, &mut target) {
                    return Ok(false);
                }
                durable = durable.max(target.volume.durable());
                Ok::<bool, VolumeError>(target.volume.failure().is_none() && target.volume.last() == source.rig.volume.last())
            })();
            if matches!(whole, Ok(true)) && crashes >= 12 {
                break;
            }
            crashes += 1;
            assert!(crashes < 60, "no progress: {whole:?} {:?}", target.volume.stats());
            if target.volume.failure().is_none() && rng.below(2) == 0 {
                continue;
            }
            drop(target);
            disk = disk.after_crash(LOSSES[rng.below(LOSSES.len() as u64) as usize], &mut rng);
            target = Rig::open(Arc::new(disk.clone()), small_log()).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            assert!(target.volume.last().position >= durable, "seed {seed}: {} after {durable} was durable", target.volume.last());
        }
        compare(&mut source, &mut target);
    }
}

/// A secondary booted, and its first checkpoint waited to be committed; then it had to be resynced. When that old checkpoint came to
/// the disk after the walk, records behind the walk were called durable, and a restart threw them away.
#[test]
fn a_checkpoint_from_before_the_walk_does_not_end_its_hold() {
    let mut source = Source::new();
    source.work(10);
    let disk = Arc::new(MemDisk::new());
    let mut target = target(disk.clone());
    target.commits = false;
    assert!(stream(&mut source, &mut target));
    target.tick(3_600_000);
    let set_aside = target.volume.last();
    assert_eq!(target.volume.stats().checkpoints, 0, "it waits to be committed");
    source.work(300);
    assert!(!stream(&mut source, &mut target), "the log is gone");
    let base = source.base();
    target.volume.begin_resync(base, source.rig.volume.lineage().to_vec()).unwrap();
    while walk(&mut source, &mut target).unwrap() {}
    assert_eq!((target.volume.last(), target.volume.durable()), (base, set_aside.position), "nothing new is durable yet");
    // What a primary that serves alone has committed.
    target.volume.set_committed(base.position);
    target.pump();
    target.commits = true;
    source.work(5);
    assert!(stream(&mut source, &mut target));
    let told = target.volume.durable();
    assert_eq!(told, source.rig.volume.last().position, "it comes to be durable");
    drop(target);
    let mut target = Rig::open(disk, small_log()).unwrap();
    assert!(target.volume.last().position >= told, "{} after {told} was durable", target.volume.last());
    compare(&mut source, &mut target);
}

/// A copy whose disk is full while it is made whole was given up for good.
#[test]
fn a_full_disk_interrupts_a_resync_until_there_is_room() {
    let mut source = Source::new();
    for n in 0..150 {
        let file = source.rig.create(&format!("big{n}"));
        let data = source.rng.bytes(100_000);
        source.rig.write(file, 0, data).unwrap();
        source.files.insert(format!("big{n}"), file);
        source.rig.settle();
    }
    let disk = Arc::new(MemDisk::new());
    let mut target = target(disk.clone());
    assert!(!stream(&mut source, &mut target));
    target.rest();
    target.volume.begin_resync(source.base(), source.rig.volume.lineage().to_vec()).unwrap();
    let mut refused = 0;
    for round in 0.. {
        // Room for a little more, then for nothing, and so on.
        let space = disk.space().unwrap();
        let used = space.total_bytes - space.free_bytes;
        disk.set_capacity(if refused > 40 { None } else { Some(used + round % 3 * 100_000) });
        match walk(&mut source, &mut target) {
            Ok(true) => {}
            Ok(false) => break,
            Err(VolumeError::NoSpace(_)) => {
                refused += 1;
                target.tick(2_000);
            }
            Err(error) => panic!("{error}"),
        }
        assert_eq!(target.volume.failure(), None);
    }
    assert!(refused > 0);
    target.rest();
    assert!(stream(&mut source, &mut target));
    compare(&mut source, &mut target);
}
