//! A disk that is full under the view's file.

use crate::Root;
use crate::support::{CLUSTER, Host, MemStore, Random, VOLUME};
use mainstay_protocol::{FileId, LogPoint};
use mainstay_volume::view::{View, ViewError, ViewOptions, Written};
use redb::StorageBackend;
use std::io;
use std::sync::{Arc, Mutex};

/// Refuses to grow beyond `length_max`, and writes once `writes_left` are done; keeps what a loss of power would leave.
#[derive(Clone, Debug, Default)]
struct Cramped {
    now: MemStore,
    limits: Arc<Mutex<Limits>>,
}

#[derive(Debug, Default)]
struct Limits {
    length_max: Option<u64>,
    writes_left: Option<u64>,
    /// The file as it was at every change since this is watched.
    seen: Option<Vec<Vec<u8>>>,
}

impl Cramped {
    fn set(&self, length_max: Option<u64>, writes_left: Option<u64>) {
        let mut limits = self.limits.lock().unwrap();
        (limits.length_max, limits.writes_left) = (length_max, writes_left);
    }
    fn copy(&self) -> Vec<u8> {
        self.now.0.lock().unwrap().clone()
    }
    fn watched(&self) {
        let copy = self.copy();
        if let Some(seen) = &mut self.limits.lock().unwrap().seen {
            seen.push(copy);
        }
    }
}

fn full() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

impl StorageBackend for Cramped {
    fn len(&self) -> io::Result<u64> {
        self.now.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.now.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        if self.limits.lock().unwrap().length_max.is_some_and(|max| len > max) {
            return Err(full());
        }
        self.now.set_len(len)?;
        self.watched();
        Ok(())
    }
    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        match &mut self.limits.lock().unwrap().writes_left {
            Some(0) => return Err(full()),
            Some(left) => *left -= 1,
            None => {}
        }
        self.now.write(offset, data)?;
        self.watched();
        Ok(())
    }
}

/// Files over a cramped store, one checkpoint written.
fn host() -> (Root, Cramped) {
    let store = Cramped::default();
    let mut root = Root::fresh();
    let format = root.host.log[&1].clone();
    root.host.view = View::create(Box::new(store.clone()), CLUSTER, VOLUME, ViewOptions::default()).unwrap();
    root.host.take(format);
    (0..200).for_each(|n| _ = root.create(FileId::ROOT, &format!("file{n}")));
    root.host.checkpoint();
    (root, store)
}

fn stands_at(bytes: Vec<u8>) -> LogPoint {
    let store = MemStore(Arc::new(Mutex::new(bytes)));
    View::open(Box::new(store), CLUSTER, VOLUME, ViewOptions::default()).unwrap().base().point
}

fn look(host: &Host, files: u64) {
    assert_eq!(host.view.inodes(), files + 1);
    assert_eq!(host.view.inodes_after(0).unwrap().filter(Result::is_ok).count() as u64, files + 1);
}

/// Wherever the room ends, the file stays at the checkpoint before, everything can be read, and when room comes back, in small
/// portions, each state on the way opens at this checkpoint or at that.
#[test]
fn a_checkpoint_waits_for_room_and_the_file_is_whole_at_every_moment() {
    let mut random = Random(4);
    for case in 0..40u64 {
        let (mut root, store) = host();
        let before = root.host.view.base().point;
        (0..3_000).for_each(|n| _ = root.create(FileId::ROOT, &format!("more{n}")));
        assert!(root.host.view.freeze(root.host.view.point()));
        let after = root.host.view.point();
        match case {
            0 => store.set(Some(store.len().unwrap()), None),
            _ => store.set(None, Some(random.below(700))),
        }
        let mut job = match root.host.view.checkpoint_job().unwrap().run().unwrap() {
            Written::NoRoom(job) => job,
            Written::Done(done) => {
                assert_eq!(done.point(), after);
                continue;
            }
        };
        assert_eq!(stands_at(store.copy()), before);
        store.limits.lock().unwrap().seen = Some(Vec::new());
        let done = loop {
            root.host.view.checkpoint_postponed(job);
            root.create(FileId::ROOT, &format!("meanwhile{}", root.host.view.inodes()));
            look(&root.host, root.host.view.inodes() - 1);
            store.set(None, Some(1 + random.below(200)));
            match root.host.view.checkpoint_job().unwrap().run().unwrap() {
                Written::NoRoom(again) => job = again,
                Written::Done(done) => break done,
            }
            assert_eq!(root.host.view.base().point, before);
        };
        let seen = store.limits.lock().unwrap().seen.take().unwrap();
        let step = 1 + seen.len() / 12;
        let (early, late) = seen.split_at(seen.len().saturating_sub(6));
        for bytes in early.iter().step_by(step).chain(late) {
            let point = stands_at(bytes.clone());
            assert!(point == before || point == after, "{point}");
        }
        assert_eq!(stands_at(store.copy()), after);
        drop(root.host.view.checkpoint_done(done));
        store.set(None, None);
        root.host.checkpoint();
        look(&root.host, root.host.view.inodes() - 1);
        assert_eq!(stands_at(store.copy()), root.host.view.point());
    }
}

#[test]
fn a_view_is_not_made_where_there_is_no_room_for_it() {
    let store = Cramped::default();
    store.set(Some(0), None);
    let made = View::create(Box::new(store), CLUSTER, VOLUME, ViewOptions::default()).map(drop);
    assert_eq!(made, Err(ViewError::NoRoom));
}

/// Closing the file of a view writes to it, too.
#[test]
fn a_view_that_waits_for_room_can_be_closed_and_opened() {
    let (mut root, store) = host();
    let before = root.host.view.base().point;
    store.set(Some(store.len().unwrap()), Some(0));
    (0..3_000).for_each(|n| _ = root.create(FileId::ROOT, &format!("more{n}")));
    assert!(root.host.view.freeze(root.host.view.point()));
    let job = root.host.view.checkpoint_job().unwrap().run().unwrap();
    assert!(matches!(job, Written::NoRoom(_)));
    drop((job, root));
    assert_eq!(stands_at(store.copy()), before);
    // Opened while the disk is still full.
    let view = View::open(Box::new(store.clone()), CLUSTER, VOLUME, ViewOptions::default()).unwrap();
    assert_eq!((view.base().point, view.inodes()), (before, 201));
    drop(view);
    assert_eq!(stands_at(store.copy()), before);
}
