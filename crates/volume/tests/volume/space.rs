//! Full disks, compaction, and space that returns.

use crate::rig::{Rig, Rng, options};
use mainstay_protocol::{FileError, FileId, FileOk, FileRequest};
use mainstay_volume::{Disk, MemDisk, Options};
use std::sync::Arc;

const FILE_BYTES: u64 = 100_000;

/// Writes files until the volume is full; returns how many fit.
fn fill(rig: &mut Rig, files: &mut Vec<FileId>) -> usize {
    for n in 0..10_000 {
        let name = format!("f{}", files.len());
        let made = rig.ask(FileRequest::Create {
            dir: FileId::ROOT,
            name: name.into(),
            how: mainstay_protocol::file::CreateHow::Unchecked(Default::default()),
        });
        let file = match made {
            Ok(FileOk::Made { attributes, .. }) => attributes.file,
            Err(failure) => {
                assert_eq!(failure.error, FileError::NoSpace);
                return n;
            }
            other => panic!("{other:?}"),
        };
        files.push(file);
        match rig.write(file, 0, Rng(file.inode).bytes(FILE_BYTES as usize)) {
            Ok(_) => {}
            Err(failure) => {
                assert_eq!(failure.error, FileError::NoSpace, "after {n} files");
                rig.remove(&format!("f{}", files.len() - 1)).unwrap();
                files.pop();
                return n;
            }
        }
        if n % 10 == 0 {
            rig.settle();
        }
    }
    panic!("the volume never filled");
}

fn check(rig: &mut Rig, files: &[FileId]) {
    for file in files {
        assert_eq!(rig.read(*file).unwrap(), Rng(file.inode).bytes(FILE_BYTES as usize));
    }
}

#[test]
fn a_full_volume_refuses_keeps_everything_and_recovers() {
    let disk = Arc::new(MemDisk::new());
    let options = Options { capacity_bytes: Some(40 << 20), ..options() };
    let mut rig = Rig::new(disk.clone(), options.clone());
    let mut files = Vec::new();
    let first = fill(&mut rig, &mut files);
    assert!(first > 150, "{first} files fit into 40 MiB");
    assert!(rig.volume.stats().segment_bytes <= 40 << 20);
    check(&mut rig, &files);
    // It can be restarted while full, and emptied: removals work from the reserve.
    drop(rig);
    let mut rig = Rig::open(disk.clone(), options.clone()).unwrap();
    check(&mut rig, &files);
    for round in 0..3 {
        let half = files.len() / 2;
        for index in (half..files.len()).rev() {
            rig.remove(&format!("f{index}")).unwrap_or_else(|failure| panic!("round {round}: {failure:?}"));
            files.pop();
        }
        rig.rest();
        let more = fill(&mut rig, &mut files);
        assert!(more * 10 > first * 3, "round {round}: {more} files fit again, {first} at first");
        check(&mut rig, &files);
    }
    drop(rig);
    check(&mut Rig::open(disk, options).unwrap(), &files);
}

#[test]
fn a_full_disk_is_waited_for() {
    let disk = Arc::new(MemDisk::new());
    disk.set_capacity(Some(40 << 20));
    let mut rig = Rig::new(disk.clone(), options());
    let mut files = Vec::new();
    fill(&mut rig, &mut files);
    check(&mut rig, &files);
    disk.set_capacity(Some(80 << 20));
    for _ in 0..40 {
        rig.settle();
    }
    let more = fill(&mut rig, &mut files);
    assert!(more > 100, "{more} files after the disk grew");
    check(&mut rig, &files);
}

#[test]
fn compaction_empties_mostly_dead_segments_and_keeps_the_rest() {
    let disk = Arc::new(MemDisk::new());
    let options = Options { retain_bytes: 4 << 20, ..options() };
    let mut rig = Rig::new(disk.clone(), options.clone());
    let mut files = Vec::new();
    for n in 0..300u64 {
        let file = rig.create(&format!("f{n}"));
        rig.write(file, 0, Rng(file.inode).bytes(FILE_BYTES as usize)).unwrap();
        files.push(file);
        if n % 10 == 0 {
            rig.settle();
        }
    }
    // Every segment keeps a few files, scattered.
    let kept: Vec<FileId> = files.iter().copied().enumerate().filter(|(n, _)| n % 7 == 0).map(|(_, file)| file).collect();
    for n in (0..300).filter(|n| n % 7 != 0) {
        rig.remove(&format!("f{n}")).unwrap();
    }
    rig.rest();
    rig.rest();
    let stats = rig.volume.stats();
    assert!(stats.compacted_bytes > 0 && stats.segments_fragments > 0, "{stats:?}");
    // Two more files' worth of rounds, so that freed segments are used instead of new ones.
    let before = rig.volume.stats().segment_bytes;
    for n in 0..100 {
        let file = rig.create(&format!("g{n}"));
        rig.write(file, 0, Rng(file.inode).bytes(FILE_BYTES as usize)).unwrap();
        rig.settle();
    }
    let after = rig.volume.stats().segment_bytes;
    assert!(after <= before, "dead segments are used again: {before} before, {after} after");
    check(&mut rig, &kept);
    drop(rig);
    check(&mut Rig::open(disk, options).unwrap(), &kept);
}

#[test]
fn free_space_is_told_truthfully() {
    let options = Options { capacity_bytes: Some(40 << 20), ..options() };
    let mut rig = Rig::new(Arc::new(MemDisk::new()), options);
    let space = |rig: &mut Rig| match rig.ask(FileRequest::FileSystemStat { file: FileId::ROOT }) {
        Ok(FileOk::Space { space, .. }) => space,
        other => panic!("{other:?}"),
    };
    let before = space(&mut rig);
    assert!(
        before.total_bytes <= 40 << 20 && before.free_bytes <= before.total_bytes && before.free_bytes > 20 << 20,
        "{before:?}"
    );
    let file = rig.create("f");
    rig.write(file, 0, Rng(1).bytes(1 << 20)).unwrap();
    assert_eq!(space(&mut rig).free_bytes, before.free_bytes - (1 << 20));
    rig.remove("f").unwrap();
    assert_eq!(space(&mut rig).free_bytes, before.free_bytes);
}

/// Nothing is left on the disk.
fn fill_up(disk: &MemDisk) {
    let space = disk.space().unwrap();
    disk.set_capacity(Some(space.total_bytes - space.free_bytes));
}

/// Files with long names until one is refused, which takes room in the view; now and then one has data. Answers their numbers.
fn crowd(rig: &mut Rig, from: usize, data_every: usize) -> Vec<usize> {
    let mut made = Vec::new();
    for n in from..from + 400_000 {
        let how = mainstay_protocol::file::CreateHow::Unchecked(Default::default());
        match rig.ask(FileRequest::Create { dir: FileId::ROOT, name: crowd_name(n).into(), how }) {
            Ok(FileOk::Made { attributes, .. }) => {
                made.push(n);
                if n % data_every == 0 && rig.write(attributes.file, 0, Rng(n as u64).bytes(FILE_BYTES as usize)).is_err() {
                    return made;
                }
            }
            Ok(other) => panic!("{other:?}"),
            Err(failure) => {
                assert_eq!(failure.error, FileError::NoSpace, "{:?}", rig.volume.stats());
                return made;
            }
        }
        if n % 200 == 0 {
            rig.settle();
        }
    }
    panic!("the disk never filled");
}

fn crowd_name(n: usize) -> String {
    format!("{n:08}-{}", "a long name ".repeat(12))
}

fn is_there(rig: &mut Rig, n: usize) -> bool {
    match rig.ask(FileRequest::Lookup { dir: FileId::ROOT, name: crowd_name(n).into() }) {
        Ok(_) => true,
        Err(failure) => {
            assert_eq!(failure.error, FileError::NotFound);
            false
        }
    }
}

/// A disk without room for the view's next checkpoint made the volume fail until the next start: "view: No space left".
#[test]
fn a_view_that_cannot_grow_refuses_and_goes_on_when_there_is_room() {
    let disk = Arc::new(MemDisk::new());
    let mut rig = Rig::new(disk.clone(), options());
    let file = rig.create("data");
    rig.write(file, 0, Rng(1).bytes(FILE_BYTES as usize)).unwrap();
    let made: Vec<usize> = (0..6_000).collect();
    for n in &made {
        rig.create(&crowd_name(*n));
        if n % 100 == 0 {
            rig.pump();
        }
    }
    // Somebody else takes what there is, also what the volume gives up for its view.
    disk.set_capacity(Some(1));
    rig.rest();
    let stats = rig.volume.stats();
    assert!(rig.volume.failure().is_none() && stats.view_waits_for_space, "{stats:?}");
    let how = mainstay_protocol::file::CreateHow::Unchecked(Default::default());
    let refused = rig.ask(FileRequest::Create { dir: FileId::ROOT, name: "one more".into(), how });
    assert_eq!(refused.map_err(|failure| failure.error), Err(FileError::NoSpace));
    // Reads and removals go on; every second file goes.
    let (gone, kept): (Vec<usize>, Vec<usize>) = made.iter().partition(|n| *n % 2 == 0);
    gone.iter().take(500).for_each(|n| drop(rig.remove(&crowd_name(*n)).unwrap()));
    rig.rest();
    assert_eq!(rig.volume.failure(), None);
    let look = |rig: &mut Rig| {
        assert!(gone.iter().take(500).all(|n| !is_there(rig, *n)) && kept.iter().all(|n| is_there(rig, *n)));
        assert_eq!(rig.read(file).unwrap(), Rng(1).bytes(FILE_BYTES as usize));
    };
    look(&mut rig);
    // Power fails meanwhile: nothing is lost, on the full disk as on one that has room.
    for room in [false, true] {
        let copy = disk.snapshot();
        if room {
            copy.set_capacity(None);
        }
        let mut rig = Rig::open(Arc::new(copy), options()).unwrap();
        look(&mut rig);
        rig.rest();
        assert_eq!((rig.volume.failure(), rig.volume.stats().view_waits_for_space), (None, !room));
        look(&mut rig);
    }
    // Room comes back: everything proceeds by itself.
    let before = rig.volume.stats().checkpoint;
    disk.set_capacity(None);
    rig.rest();
    let stats = rig.volume.stats();
    assert!(stats.checkpoint > before && !stats.view_waits_for_space, "{stats:?}");
    assert!(stats.segments_prepared >= 4, "{stats:?}");
    rig.create("more");
    rig.settle();
    let last = rig.volume.last();
    drop(rig);
    let mut rig = Rig::open(disk, options()).unwrap();
    assert_eq!(rig.volume.last(), last);
    look(&mut rig);
}

/// A volume that has the disk to itself must not get into a state that only more disk helps out of.
#[test]
fn a_full_disk_can_be_emptied_without_more_disk() {
    let disk = Arc::new(MemDisk::new());
    disk.set_capacity(Some(40 << 20));
    let mut rig = Rig::new(disk.clone(), options());
    for round in 0..4 {
        let mut made = crowd(&mut rig, round * 1_000_000, 100);
        assert!(made.len() > 1_000, "round {round}: {} {:?}", made.len(), rig.volume.stats());
        for n in made.drain(..) {
            let removed = rig.remove(&crowd_name(n));
            assert!(removed.is_ok(), "round {round}, file {n}: {removed:?} {:?}", rig.volume.stats());
            if n % 200 == 0 {
                rig.settle();
            }
        }
        rig.rest();
        let stats = rig.volume.stats();
        assert!(rig.volume.failure().is_none() && !stats.view_waits_for_space, "round {round}: {stats:?}");
    }
    let last = rig.volume.last();
    drop(rig);
    assert_eq!(Rig::open(disk, options()).unwrap().volume.last(), last);
}

/// Segments of another size are replaced when they are used again. On a full disk the old one went, no new one could be made,
/// and the table went on to name the file that was gone.
#[test]
fn segments_of_another_size_are_replaced_when_there_is_room() {
    let disk = Arc::new(MemDisk::new());
    let mut rig = Rig::new(disk.clone(), options());
    let file = rig.create("data");
    rig.write(file, 0, Rng(1).bytes(FILE_BYTES as usize)).unwrap();
    rig.rest();
    drop(rig);
    fill_up(&disk);
    let larger = Options { segment_bytes: 64 << 20, reserve_bytes: 128 << 20, ..options() };
    let mut rig = Rig::open(disk.clone(), larger.clone()).unwrap();
    rig.rest();
    assert_eq!(rig.volume.failure(), None);
    disk.set_capacity(None);
    rig.rest();
    assert!(rig.volume.stats().segments_prepared >= 4, "{:?}", rig.volume.stats());
    assert_eq!(rig.read(file).unwrap(), Rng(1).bytes(FILE_BYTES as usize));
    drop(rig);
    let mut rig = Rig::open(disk, larger).unwrap();
    assert_eq!(rig.read(file).unwrap(), Rng(1).bytes(FILE_BYTES as usize));
}

/// Room comes and goes under slow threads and restarts: nothing fails for good, and nothing that was answered is lost.
#[test]
fn room_that_comes_and_goes_costs_nothing() {
    for seed in 0..10 {
        let mut rng = Rng(seed);
        let disk = Arc::new(MemDisk::new());
        let options = || Options { retain_bytes: 2 << 20, checkpoint_bytes: 1 << 20, ..options() };
        let mut rig = Rig::new(disk.clone(), options());
        let mut files: std::collections::BTreeMap<String, (FileId, u64)> = Default::default();
        for step in 0..1_500 {
            rig.lazy = (step % 100 < 90).then(|| Rng(rng.next()));
            match rng.below(40) {
                0 => {
                    let space = disk.space().unwrap();
                    disk.set_capacity(Some(space.total_bytes - space.free_bytes + rng.below(6 << 20)));
                }
                1 => disk.set_capacity(Some(1)),
                2 => disk.set_capacity(None),
                3 if rng.below(4) == 0 => {
                    rig.lazy = None;
                    rig.settle();
                    drop(rig);
                    rig = Rig::open(disk.clone(), options()).unwrap();
                }
                4..12 => rig.settle(),
                12..20 => {
                    let name = files.keys().nth(rng.below(files.len().max(1) as u64) as usize).cloned();
                    if let Some(name) = name.filter(|name| rig.remove(name).is_ok()) {
                        files.remove(&name);
                    }
                }
                _ => change(&mut rig, &mut files, rng.next(), step),
            }
            assert_eq!(rig.volume.failure(), None, "seed {seed}, step {step}");
        }
        rig.lazy = None;
        disk.set_capacity(None);
        rig.rest();
        let stats = rig.volume.stats();
        assert!(!stats.view_waits_for_space && stats.checkpoint == stats.last.position, "seed {seed}: {stats:?}");
        for rig in [&mut rig, &mut Rig::open(Arc::new(disk.snapshot()), options()).unwrap()] {
            for (file, data) in files.values() {
                let expected = if *data == 0 { Vec::new() } else { Rng(*data).bytes(60_000).to_vec() };
                assert!(rig.read(*file).unwrap() == expected, "seed {seed}: {file:?}");
            }
            rig.create("one more");
        }
    }
}

fn change(rig: &mut Rig, files: &mut std::collections::BTreeMap<String, (FileId, u64)>, data: u64, step: u64) {
    let name = format!("{}-{}", step % 300, "a long name ".repeat(12));
    let how = mainstay_protocol::file::CreateHow::Unchecked(Default::default());
    if let Ok(FileOk::Made { attributes, .. }) = rig.ask(FileRequest::Create { dir: FileId::ROOT, name: name.clone().into(), how })
    {
        let known = files.entry(name).or_insert((attributes.file, 0));
        if data.is_multiple_of(3) && rig.write(known.0, 0, Rng(data).bytes(60_000)).is_ok() {
            known.1 = data;
        }
    }
}
