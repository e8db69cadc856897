//! The view's file cut, flipped and torn: never a wrong answer, never a panic, always the last checkpoint after a crash.

use crate::Root;
use crate::generate::Generator;
use crate::support::{CLUSTER, Host, MemStore, Random, VOLUME};
use mainstay_protocol::{Caller, LogPoint};
use mainstay_volume::ViewDigest;
use mainstay_volume::view::{View, ViewError, ViewOptions};
use std::io;
use std::sync::{Arc, Mutex};

/// Everything that can be read, in one number; or the first error.
fn look_through(store: &MemStore) -> Result<(LogPoint, ViewDigest), ViewError> {
    let view = View::open(Box::new(store.clone()), CLUSTER, VOLUME, ViewOptions::default())?;
    for row in view.inodes_after(0)? {
        let row = row?;
        for entry in view.entries_after(row.file.inode, 0)? {
            let entry = entry?;
            if view.entry(row.file.inode, &entry.name)?.map(|found| found.cookie) != Some(entry.cookie) {
                return Err(ViewError::Damaged("entries and cookies differ".into()));
            }
        }
        view.extents_after(row.file.inode, 0)?.try_for_each(|run| run.map(drop))?;
    }
    let mut job = view.digest_job().ok_or(ViewError::Missing)?;
    loop {
        if let Some(digest) = job.step(1000)? {
            return Ok((job.point(), digest));
        }
    }
}

fn busy_host(seed: u64, requests: u64) -> Host {
    let mut host = Host::new(ViewOptions::default());
    let (mut random, mut generator) = (Random(seed), Generator::new(true));
    for _ in 0..requests {
        let request = generator.request(&mut random);
        if let Ok(mainstay_protocol::FileOk::Made { attributes, .. }) = host.execute(&Caller::default(), None, request) {
            generator.made(attributes.file, attributes.kind);
        }
        if random.chance(5) {
            host.checkpoint();
        }
    }
    host
}

#[test]
fn a_flipped_bit_is_an_error_or_makes_no_difference() {
    let mut host = busy_host(1, 400);
    let expected = host.digest();
    let store = host.store.clone();
    drop(host);
    let good = store.0.lock().unwrap().clone();
    let mut random = Random(2);
    let mut noticed = 0;
    for _ in 0..1500 {
        let copy = MemStore(Arc::new(Mutex::new(good.clone())));
        let at = random.below(good.len() as u64) as usize;
        copy.0.lock().unwrap()[at] ^= 1 << random.below(8);
        match look_through(&copy) {
            Ok(found) => assert_eq!(found, expected, "a flip at {at} changed what is read"),
            Err(_) => noticed += 1,
        }
    }
    assert!(noticed > 100, "only {noticed} flips were noticed");
}

#[test]
fn a_cut_file_is_an_error() {
    let mut host = busy_host(3, 300);
    let expected = host.digest();
    let store = host.store.clone();
    drop(host);
    let good = store.0.lock().unwrap().clone();
    for len in (1..good.len()).step_by(4099) {
        let copy = MemStore(Arc::new(Mutex::new(good[..len].to_vec())));
        if let Ok(found) = look_through(&copy) {
            assert_eq!(found, expected, "cut to {len}");
        }
    }
}

/// Behind the first sum page.
const HEADER_AT: usize = 4096;
/// What redb uses of its header page.
const HEADER_BYTES: usize = 320;

/// A disk that keeps what was synced, and of the rest any sectors.
#[derive(Clone, Debug, Default)]
struct Torn {
    state: Arc<Mutex<TornState>>,
}

#[derive(Debug, Default)]
struct TornState {
    now: Vec<u8>,
    synced: Vec<u8>,
    /// Offsets of sectors written since the last sync.
    written: std::collections::BTreeSet<usize>,
    syncs: u64,
    /// The power goes at this sync.
    fails_at: u64,
}

const SECTOR: usize = 512;

impl Torn {
    /// What may be on the disk after the power went.
    fn after_crash(&self, random: &mut Random) -> MemStore {
        let state = self.state.lock().unwrap();
        let keep_len = random.chance(50);
        let mut bytes = state.synced.clone();
        if keep_len && state.now.len() > bytes.len() {
            bytes.resize(state.now.len(), 0);
        }
        for at in &state.written {
            let end = (*at + SECTOR).min(bytes.len()).min(state.now.len());
            if *at < end && random.chance(50) {
                bytes[*at..end].copy_from_slice(&state.now[*at..end]);
            }
        }
        MemStore(Arc::new(Mutex::new(bytes)))
    }
}

impl redb::StorageBackend for Torn {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state.lock().unwrap().now.len() as u64)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state.lock().unwrap();
        let from = offset as usize;
        out.copy_from_slice(state.now.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.state.lock().unwrap().now.resize(len as usize, 0);
        Ok(())
    }
    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        state.syncs += 1;
        if state.syncs >= state.fails_at {
            return Err(io::Error::other("the power is gone"));
        }
        state.synced = state.now.clone();
        state.written.clear();
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        let (from, end) = (offset as usize, offset as usize + data.len());
        if state.now.len() < end {
            state.now.resize(end, 0);
        }
        state.now[from..end].copy_from_slice(data);
        state.written.extend((from / SECTOR..=(end - 1) / SECTOR).map(|sector| sector * SECTOR));
        Ok(())
    }
}

#[test]
fn after_a_crash_the_last_checkpoint_is_there() {
    let mut random = Random(11);
    for seed in 0..60 {
        let source = busy_host(seed, 120);
        let records: Vec<_> = source.log.values().cloned().collect();
        let torn = Torn::default();
        torn.state.lock().unwrap().fails_at = u64::MAX;
        let view = View::create(Box::new(torn.clone()), CLUSTER, VOLUME, ViewOptions::default()).unwrap();
        {
            let mut state = torn.state.lock().unwrap();
            state.fails_at = state.syncs + 1 + random.below(25);
        }
        let mut host = Host::empty(ViewOptions::default());
        host.view = view;
        let mut written = Vec::from([(LogPoint::default())]);
        for record in records {
            host.take(record);
            if !random.chance(12) {
                continue;
            }
            assert!(host.view.freeze(host.view.point()));
            let point = host.view.point();
            let Ok(done) = host.view.checkpoint_job().unwrap().run() else {
                // Whether it counts depends on how far it came.
                written.push(point);
                break;
            };
            drop(host.view.checkpoint_done(done.done().unwrap()));
            written.push(point);
        }
        for _ in 0..5 {
            let (point, _) = look_through(&torn.after_crash(&mut random)).expect("it opens");
            assert!(written.iter().rev().take(2).any(|known| *known == point), "{point} is none of the newest of {written:?}");
        }
    }
}

#[test]
fn a_failed_checkpoint_leaves_the_one_before() {
    let torn = Torn::default();
    torn.state.lock().unwrap().fails_at = u64::MAX;
    let view = View::create(Box::new(torn.clone()), CLUSTER, VOLUME, ViewOptions::default()).unwrap();
    let mut root = Root::fresh();
    let format = root.host.log[&1].clone();
    root.host.view = view;
    root.host.take(format);
    root.host.checkpoint();
    root.create(mainstay_protocol::FileId::ROOT, "file");
    torn.state.lock().unwrap().fails_at = 0;
    assert!(root.host.view.freeze(root.host.view.point()));
    let error = root.host.view.checkpoint_job().unwrap().run().unwrap_err();
    assert!(matches!(&error, ViewError::Storage(text) if text.contains("power")), "{error}");
    let (point, _) = look_through(&torn.after_crash(&mut Random(1))).unwrap();
    assert_eq!(point.position.0, 1);
}

/// redb's header is written in place and has checksums of its own; the page checksums leave it out.
#[test]
fn every_flipped_bit_of_the_header_is_an_error_or_makes_no_difference() {
    let mut host = busy_host(5, 200);
    let expected = host.digest();
    let store = host.store.clone();
    drop(host);
    let good = store.0.lock().unwrap().clone();
    let mut noticed = 0;
    for bit in 0..8 * HEADER_BYTES {
        let copy = MemStore(Arc::new(Mutex::new(good.clone())));
        copy.0.lock().unwrap()[HEADER_AT + bit / 8] ^= 1 << (bit % 8);
        match look_through(&copy) {
            Ok(found) => assert_eq!(found, expected, "bit {bit}"),
            Err(_) => noticed += 1,
        }
    }
    assert!(noticed > 500, "only {noticed} flips were noticed");
}
