//! Full disks, compaction, and space that returns.

use crate::rig::{Rig, Rng, options};
use mainstay_protocol::{FileError, FileId, FileOk, FileRequest};
use mainstay_volume::{MemDisk, Options};
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
