//! Freezing, writing, opening again, reclaiming, moving, digesting.

use crate::Root;
use crate::support::{CLUSTER, Host, MemStore, VOLUME};
use bytes::Bytes;
use mainstay_protocol::record::Change;
use mainstay_protocol::{ClusterId, Extent, FileId, FileRequest, OpKind, VolumeId};
use mainstay_volume::digest::DigestJob;
use mainstay_volume::view::{CheckpointDone, CheckpointJob, Garbage, View, ViewError, ViewOptions};
use mainstay_volume::{Move, Place, SegmentId};
use std::thread;

#[test]
fn work_for_other_threads_can_be_sent_to_them() {
    fn send<T: Send>() {}
    let _: [(); 5] = [send::<View>(), send::<CheckpointJob>(), send::<CheckpointDone>(), send::<Garbage>(), send::<DigestJob>()];
}

#[test]
fn reads_and_changes_go_on_while_a_checkpoint_is_written() {
    let mut root = Root::fresh();
    for round in 0..20u64 {
        let dir = root.make_directory(FileId::ROOT, &format!("dir{round}"));
        (0..50).for_each(|file| _ = root.create(dir, &format!("file{file}")));
        assert!(root.host.view.freeze(root.host.view.point()));
        let frozen_at = root.host.view.point();
        let job = root.host.view.checkpoint_job().unwrap();
        assert!(root.host.view.checkpoint_job().is_none(), "one at a time");
        let writer = thread::spawn(move || job.run().unwrap().done().unwrap());
        for file in 0..50 {
            assert!(root.remove(dir, &format!("file{file}")).is_ok());
            root.create(FileId::ROOT, &format!("round{round}-{file}"));
        }
        assert!(!root.host.view.freeze(root.host.view.point()), "one is frozen already");
        let done = writer.join().unwrap();
        assert_eq!(done.point(), frozen_at);
        drop(root.host.view.checkpoint_done(done));
        assert_eq!(root.host.view.base().point, frozen_at);
    }
    let before = root.host.digest();
    root.host.reopen();
    assert_eq!(before, root.host.digest());
    assert_eq!(root.host.view.inodes(), 1 + 20 + 20 * 50);
}

#[test]
fn a_view_is_opened_only_where_it_belongs() {
    let options = ViewOptions::default();
    let open = |store: &MemStore, cluster, volume| View::open(Box::new(store.clone()), cluster, volume, options).map(drop);
    assert_eq!(open(&MemStore::default(), CLUSTER, VOLUME), Err(ViewError::Missing));
    let host = Host::new(options);
    let store = host.store.clone();
    drop(host);
    let other = ClusterId([9; 16]);
    assert_eq!(open(&store, other, VOLUME), Err(ViewError::OtherCluster { found: CLUSTER, expected: other }));
    let found = Err(ViewError::OtherVolume { found: VOLUME, expected: VolumeId(99) });
    assert_eq!(open(&store, CLUSTER, VolumeId(99)), found);
    assert_eq!(open(&store, CLUSTER, VOLUME), Ok(()));
    let again = View::create(Box::new(store), CLUSTER, VOLUME, options).map(drop);
    assert_eq!(again, Err(ViewError::Exists));
}

#[test]
fn records_are_applied_in_order_and_impossible_ones_refused() {
    let mut root = Root::fresh();
    let file = root.create(FileId::ROOT, "file");
    let record = root.host.log[&2].clone();
    let again = root.host.view.apply(&record.header, &record.body().unwrap(), Place::default());
    assert!(matches!(again, Err(ViewError::Order { .. })));
    let too_long = Extent { offset: 0, len: 11, payload_offset: 0 };
    let mut body = record.body().unwrap();
    (body.kind, body.changes) = (OpKind::Write, vec![Change::PutExtent { inode: file.inode, extent: too_long }]);
    let point = root.host.view.point();
    let time = root.host.view.next_time(root.host.wall);
    let record =
        mainstay_protocol::Record::encode(VOLUME, point, root.host.epoch, time, true, &body, Bytes::from_static(b"ten bytes."));
    let refused = root.host.view.apply(&record.header, &body, Place::default());
    assert!(matches!(refused, Err(ViewError::Malformed { .. })));
}

/// Alternating blocks, so that no two runs touch.
fn scattered(root: &mut Root, name: &str, runs: u64) -> FileId {
    let file = root.create(FileId::ROOT, name);
    (0..runs).for_each(|run| root.write(file, run * 20, b"0123456789"));
    file
}

#[test]
fn a_large_file_goes_at_once_and_its_runs_in_steps() {
    let mut root = Root::fresh();
    scattered(&mut root, "large", 500);
    root.host.checkpoint();
    let live: u64 = root.host.view.segments().values().sum();
    assert_eq!(live, 5000);
    assert!(root.remove(FileId::ROOT, "large").is_ok());
    assert!(root.host.view.overlay_rows() < 10, "the removal touched every run");
    assert_eq!(root.host.view.bytes_used(), 0);
    let digest = root.host.digest();
    assert!(root.host.view.reclaim(100).unwrap());
    assert_eq!(root.host.view.segments().values().sum::<u64>(), 4000);
    root.host.checkpoint();
    root.host.reopen();
    assert_eq!(digest, root.host.digest(), "what is left of removed files does not count");
    let mut steps = 0;
    while root.host.view.reclaim(100).unwrap() {
        steps += 1;
    }
    assert_eq!((steps, root.host.view.segments().len()), (4, 0));
    root.host.check_live_bytes();
}

#[test]
fn moved_data_is_found_and_only_what_still_lives_moves() {
    let mut root = Root::fresh();
    let file = root.create(FileId::ROOT, "file");
    root.write(file, 0, &[1; 100]);
    let run = root.host.view.extents_in(file.inode, 0, 100).unwrap()[0];
    let moved = Move { inode: file.inode, extent: run, to: Place { segment: SegmentId(77), offset: 8 } };
    root.write(file, 40, &[2; 20]);
    let digest = root.host.digest();
    root.host.view.relocate(&[moved]).unwrap();
    let fragment = root.host.log[&run.position.0].payload.clone();
    root.host.fragments.insert(moved.to, (0, fragment));
    assert_eq!(root.host.view.live_bytes(SegmentId(77)), 80);
    let read = root.read(file, 0, 100);
    assert_eq!(read, [vec![1; 40], vec![2; 20], vec![1; 40]].concat());
    assert_eq!(digest, root.host.digest(), "places are no part of the digest");
    root.host.check_live_bytes();
    // The old place has nothing any more, so a second move of it does nothing.
    root.host.view.relocate(&[Move { to: Place { segment: SegmentId(78), offset: 0 }, ..moved }]).unwrap();
    assert_eq!(root.host.view.live_bytes(SegmentId(78)), 0);
}

#[test]
fn digests_differ_when_anything_differs() {
    let digest = |change: &dyn Fn(&mut Root)| {
        let mut root = Root::fresh();
        let file = root.create(FileId::ROOT, "file");
        root.write(file, 0, b"some data");
        change(&mut root);
        root.host.digest().1
    };
    let same = digest(&|_| ());
    assert_eq!(same, digest(&|root| root.host.checkpoint()));
    let file = FileId { inode: 2, generation: 1 };
    let set = mainstay_protocol::file::SetAttributes { mode: Some(0o600), ..Default::default() };
    let changed = [
        digest(&|root| drop(root.run(FileRequest::SetAttributes { file, set, guard_ctime: None }))),
        digest(&|root| root.write(file, 3, b"x")),
        digest(&|root| _ = root.create(FileId::ROOT, "other")),
        digest(&|root| drop(root.remove(FileId::ROOT, "file"))),
    ];
    changed.iter().for_each(|other| assert_ne!(same, *other));
}
