//! Resync by change between two copies, the source busy all the time, the target interrupted again and again: in the end both
//! are the same, and what was moved is what had changed.
#![allow(clippy::result_large_err)]

#[path = "support/generate.rs"]
mod generate;
#[path = "support/mod.rs"]
mod support;

use crate::generate::Generator;
use bytes::Bytes;
use mainstay_protocol::file::FileOk;
use mainstay_protocol::peer::{ListQuery, ResyncCursor};
use mainstay_protocol::record::Change;
use mainstay_protocol::{Caller, Epoch, FileKind, FileRequest, OpKind, Position};
use mainstay_volume::view::{ResyncState, View, ViewOptions};
use mainstay_volume::{Place, SegmentId};
use support::{CLUSTER, Host, MemStore, Random, VOLUME, seeds};

/// Segments of a target from here on hold fragments.
const FRAGMENTS_FROM: u32 = 1 << 20;

struct Pair {
    source: Host,
    target: Host,
    requests: Generator,
    random: Random,
    fragments: u32,
    base: Position,
    /// Whether the copy may be one in which nothing can be taken for granted.
    anew_allowed: bool,
    /// File data that the walk moved.
    moved: u64,
    batches: u64,
    lists: u64,
}

impl Pair {
    fn new(seed: u64) -> Pair {
        let source = Host::new(ViewOptions::default());
        let mut target = Host::empty(ViewOptions::default());
        target.take(source.log[&1].clone());
        let (requests, random) = (Generator::new(true), Random(seed));
        Pair {
            source,
            target,
            requests,
            random,
            fragments: FRAGMENTS_FROM,
            base: Position(0),
            anew_allowed: false,
            moved: 0,
            batches: 0,
            lists: 0,
        }
    }

    /// The source serves some requests.
    fn work(&mut self, requests: u64) {
        for _ in 0..requests {
            let request = self.requests.request(&mut self.random);
            let result = self.source.execute(&Caller::default(), None, request);
            if let Ok(FileOk::Made { attributes, .. } | FileOk::Found { attributes, .. }) = result {
                self.requests.made(attributes.file, attributes.kind);
            }
            if self.random.chance(1) {
                self.source.checkpoint();
            }
        }
    }

    /// The target takes the records that it lacks.
    fn stream(&mut self) {
        while self.target.view.point() != self.source.view.point() {
            let next = self.target.view.point().position.0 + 1;
            self.target.take(self.source.log[&next].clone());
            if self.random.chance(1) {
                self.interrupt();
            }
        }
    }

    /// A crash, with or without a checkpoint before it.
    fn interrupt(&mut self) {
        if self.random.chance(60) {
            self.target.checkpoint();
        }
        self.target.reopen();
    }

    fn begin(&mut self, base: Position) -> ResyncCursor {
        self.base = base;
        let base = self.source.log[&base.0].point();
        self.target.view.begin_resync(base, self.source.view.lineage().to_vec()).unwrap()
    }

    /// One batch with its lists; the source works on between any two steps.
    fn batch(&mut self, busy: bool) {
        let Some(from) = self.target.view.resync_cursor() else { return };
        let bytes_max = 1 + self.random.below(1_500) as usize;
        let changes = self.source.view.changes(from, bytes_max).unwrap();
        self.batches += 1;
        assert!(self.anew_allowed || from.since > Position(0), "an undamaged copy was fetched anew");
        let mut places = Vec::new();
        for run in &changes.data {
            let place = Place { segment: SegmentId(self.fragments), offset: 0 };
            self.fragments += 1;
            self.moved += run.len as u64;
            self.target.fragments.insert(place, (run.payload_offset, self.source.data(run)));
            places.push(place);
        }
        self.between(busy);
        let mut wanted = self.target.view.install(from, &changes.batch, &places).unwrap();
        while let Some(query) = wanted.pop() {
            self.between(busy);
            self.lists += 1;
            let (items, done) = self.source.view.list(query, 1 + self.random.below(6) as usize).unwrap();
            wanted.extend(self.target.view.install_list(query, &items, done).unwrap());
        }
    }

    fn between(&mut self, busy: bool) {
        if busy {
            let requests = self.random.below(6);
            self.work(requests);
        }
    }

    fn walk(&mut self, busy: bool, interrupted: bool) {
        for _ in 0..2000 {
            if self.target.view.resync_cursor().is_none() {
                // The log goes on after the base only when the view durably stands there.
                while self.target.view.base().resync.as_ref() != self.target.view.resync() {
                    self.target.checkpoint();
                }
                return;
            }
            self.batch(busy);
            if interrupted && self.random.chance(20) {
                let base = self.base;
                self.interrupt();
                // A crash before the first checkpoint: the copy does not know of the walk.
                if self.target.view.complete() && self.target.view.point().position < base {
                    self.begin(base);
                }
            } else if self.random.chance(30) {
                self.target.checkpoint();
            }
        }
        panic!("the walk does not end");
    }

    fn finish(&mut self) {
        self.stream();
        assert!(self.target.view.complete());
        self.compare();
    }

    fn compare(&mut self) {
        let rows = |view: &View| view.inodes_after(0).unwrap().map(Result::unwrap).collect::<Vec<_>>();
        let inodes = rows(&self.source.view);
        assert_eq!(inodes, rows(&self.target.view));
        for row in &inodes {
            let entries = |view: &View| view.entries_after(row.file.inode, 0).unwrap().map(Result::unwrap).collect::<Vec<_>>();
            assert_eq!(entries(&self.source.view), entries(&self.target.view), "directory {}", row.file.inode);
            if row.kind == FileKind::Regular {
                assert_eq!(runs(&self.source, row.file.inode), runs(&self.target, row.file.inode), "file {}", row.file.inode);
                let request = FileRequest::Read { file: row.file, offset: 0, count: 1 << 20 };
                let read = |host: &mut Host| host.execute(&Caller::default(), None, request.clone());
                assert_eq!(data(read(&mut self.source)), data(read(&mut self.target)));
            }
        }
        assert_eq!(self.source.view.lineage(), self.target.view.lineage());
        assert!(self.target.view.clock() >= self.source.view.clock());
        assert_eq!(self.source.view.bytes_used(), self.target.view.bytes_used());
        self.target.check_live_bytes();
        self.source.check_live_bytes();
        assert_eq!(self.source.digest(), self.target.digest());
    }

    /// Payload of the source's records after a position.
    fn written_after(&self, position: Position) -> u64 {
        self.source.log.range(position.0 + 1..).map(|(_, record)| record.payload.len() as u64).sum()
    }
}

fn runs(host: &Host, inode: u64) -> Vec<(u64, u32, Position)> {
    host.view.extents_after(inode, 0).unwrap().map(Result::unwrap).map(|run| (run.offset, run.len, run.position)).collect()
}

fn data(result: mainstay_protocol::FileResult) -> Vec<u8> {
    match result {
        Ok(FileOk::Data { pieces, .. }) => pieces.concat(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_quiet_source_is_copied_and_only_what_changed_moves() {
    for seed in 0..15 {
        let mut pair = Pair::new(seed);
        pair.work(400);
        pair.stream();
        let since = pair.target.view.point().position;
        pair.work(150);
        let base = pair.source.view.point().position;
        pair.begin(base);
        pair.walk(false, false);
        assert!(pair.moved <= pair.written_after(since), "{} bytes moved, {} changed", pair.moved, pair.written_after(since));
        assert_eq!(pair.target.view.point(), pair.source.view.point());
        pair.finish();
    }
}

#[test]
fn a_busy_source_and_an_interrupted_target_end_up_equal() {
    let (mut batches, mut lists) = (0, 0);
    for seed in seeds(100..140) {
        let mut pair = Pair::new(seed);
        pair.work(300);
        pair.stream();
        let since = pair.target.view.point().position;
        pair.work(100);
        // The base may lie before the walk's beginning: its records then bring kept replies along.
        let base = Position(since.0 + pair.random.below(pair.source.view.point().position.0 - since.0 + 1));
        pair.begin(base);
        pair.walk(true, true);
        pair.work(20);
        pair.finish();
        pair.work(50);
        pair.stream();
        pair.compare();
        (batches, lists) = (batches + pair.batches, lists + pair.lists);
    }
    assert!(batches > 500 && lists > 100, "the test no longer interrupts anything: {batches} batches, {lists} lists");
}

/// A second copy of the same history up to `fork`, which then goes its own way in the next epoch.
fn successor(source: &Host, fork: u64) -> Host {
    let mut host = Host::empty(ViewOptions::default());
    source.log.range(..=fork).for_each(|(_, record)| host.take(record.clone()));
    host.epoch = Epoch(source.epoch.0 + 1);
    host.wall = source.wall;
    host.append(OpKind::EpochStart, host.view.next_time(host.wall), vec![Change::SetLossEpoch(1)], Bytes::new(), None);
    host
}

#[test]
fn a_walk_goes_on_from_a_successor_also_when_it_saw_what_was_lost() {
    for seed in seeds(200..230) {
        let mut pair = Pair::new(seed);
        pair.work(200);
        pair.stream();
        pair.work(100);
        let base = pair.source.view.point().position;
        pair.begin(base);
        for _ in 0..pair.random.below(12) {
            pair.batch(true);
        }
        let last = pair.source.view.point().position.0;
        let fork = base.0 + pair.random.below(last - base.0 + 1);
        pair.source = successor(&pair.source, fork);
        pair.anew_allowed = true;
        pair.requests = Generator::new(true);
        pair.work(60);
        let base = pair.source.view.point().position;
        pair.begin(base);
        pair.walk(true, true);
        pair.finish();
    }
}

#[test]
fn the_same_base_goes_on_at_the_cursor() {
    let mut pair = Pair::new(7);
    pair.work(200);
    pair.stream();
    pair.work(200);
    let base = pair.source.view.point().position;
    let first = pair.begin(base);
    (0..2).for_each(|_| pair.batch(false));
    let cursor = pair.target.view.resync_cursor().unwrap();
    assert!(cursor != first);
    pair.target.checkpoint();
    pair.target.reopen();
    assert_eq!(pair.target.view.resync_cursor(), Some(cursor));
    assert_eq!(pair.begin(base), cursor);
    pair.walk(false, false);
    pair.finish();
}

#[test]
fn a_copy_that_lacks_something_old_is_fetched_anew() {
    let mut pair = Pair::new(8);
    pair.work(300);
    // A target that claims a point whose files it never had.
    let options = ViewOptions::default();
    let mut gaps = Host::empty(options);
    gaps.store = MemStore::default();
    gaps.view = View::create(Box::new(gaps.store.clone()), CLUSTER, VOLUME, options).unwrap();
    for record in pair.source.log.values() {
        let mut body = record.body().unwrap();
        body.changes.retain(|change| change.owner().is_none_or(|owner| owner % 3 != 0));
        gaps.view.apply(&record.header, &body, support::place_of(record.header.position)).unwrap();
        gaps.log.insert(record.header.position.0, record.clone());
    }
    pair.target = gaps;
    pair.anew_allowed = true;
    pair.work(50);
    let base = pair.source.view.point().position;
    assert!(pair.begin(base).since > Position(0));
    pair.walk(true, false);
    pair.finish();
}

#[test]
fn nonsense_from_a_peer_is_refused_and_late_answers_are_ignored() {
    let mut pair = Pair::new(9);
    pair.work(200);
    let base = pair.source.view.point().position;
    let from = pair.begin(base);
    let changes = pair.source.view.changes(from, 5000).unwrap();
    let places = vec![Place::default(); changes.data.len()];
    assert!(!changes.data.is_empty());
    let mut back = changes.batch.clone();
    back.next.since = Position(99);
    assert!(pair.target.view.install(from, &back, &places).is_err());
    assert!(pair.target.view.install(from, &changes.batch, &places[1..]).is_err());
    let mut outside = changes.batch.clone();
    outside.next.inode = from.inode;
    outside.next.within = 0;
    assert!(pair.target.view.install(from, &outside, &places).is_err());
    let late = ResyncCursor { inode: 5, ..from };
    assert_eq!(pair.target.view.install(late, &changes.batch, &places), Ok(Vec::new()));
    assert_eq!(pair.target.view.install_list(ListQuery::Entries { dir: 1, after: 0 }, &[], true), Ok(Vec::new()));
    assert_eq!(pair.target.view.resync_cursor(), Some(from));
    let record = pair.source.log[&2].clone();
    let body = record.body().unwrap();
    assert!(pair.target.view.apply(&record.header, &body, Place::default()).is_err(), "records do not mix with a walk");
    assert!(matches!(pair.target.view.resync(), Some(ResyncState::Walking { .. })));
}
