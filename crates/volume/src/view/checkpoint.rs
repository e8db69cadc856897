//! Freezing the overlay and writing it into the view's file, and the file's opening.

use crate::place::SegmentId;
use crate::view::View;
use crate::view::checked::{Checked, Handle};
use crate::view::error::ViewError;
use crate::view::overlay::Layer;
use crate::view::tables::*;
use mainstay_protocol::LogPoint;
use redb::{Database, ReadableDatabase, ReadableTable, WriteTransaction};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Opens redb over a backend that verifies its pages. redb trusts some fields of its header; should one of them be wrong in
/// spite of the checksums, its panic is caught and reported as damage.
pub(crate) fn open_database(store: &Arc<Checked>, cache_bytes: usize) -> Result<Database, ViewError> {
    let handle = Handle(store.clone());
    let open = AssertUnwindSafe(|| {
        let mut builder = Database::builder();
        builder.set_cache_size(cache_bytes);
        builder.create_with_backend(handle)
    });
    match catch_unwind(open) {
        Ok(opened) => Ok(opened?),
        Err(_) => Err(ViewError::damaged("it cannot be opened")),
    }
}

/// First transaction of a new view.
pub(crate) fn write_empty(database: &Database, mark: &FileMark) -> Result<(), ViewError> {
    let write = begin(database)?;
    for table in ALL {
        write.open_table(table)?;
    }
    {
        let mut base = write.open_table(BASE)?;
        if base.get(FILE_KEY)?.is_some() {
            return Err(ViewError::Exists);
        }
        base.insert(FILE_KEY, &mark.encode()[..])?;
        base.insert(BASE_KEY, &encode_base(&Base::default())[..])?;
    }
    Ok(write.commit()?)
}

/// Refuses the file of another cluster or volume, of a newer program, or none at all.
pub(crate) fn check_mark(database: &Database, expected: &FileMark) -> Result<(), ViewError> {
    let read = database.begin_read()?;
    let base = read.open_table(BASE)?;
    let row = base.get(FILE_KEY)?.ok_or_else(|| ViewError::damaged("it says not whose it is"))?;
    FileMark::decode(row.value()).ok_or_else(|| ViewError::damaged("it says not whose it is"))?.check(expected)
}

pub(crate) fn read_numbers(rows: &Rows) -> Result<BTreeSet<u64>, ViewError> {
    rows.iter()?.map(|row| decode_number(row?.0.value())).collect()
}

pub(crate) fn read_segments(snapshot: &Snapshot) -> Result<BTreeMap<SegmentId, u64>, ViewError> {
    let mut segments = BTreeMap::new();
    for row in snapshot.segments.iter()? {
        let (key, value) = row?;
        let damaged = || ViewError::damaged("a segment row has a wrong length");
        let id = u32::from_be_bytes(key.value().try_into().map_err(|_| damaged())?);
        let live = u64::from_le_bytes(value.value().try_into().map_err(|_| damaged())?);
        segments.insert(SegmentId(id), live);
    }
    Ok(segments)
}

/// Quick repair also saves the allocator's state with every commit, so that opening after a crash takes milliseconds.
fn begin(database: &Database) -> Result<WriteTransaction, ViewError> {
    let mut write = database.begin_write()?;
    write.set_quick_repair(true);
    Ok(write)
}

/// Writes the frozen overlay into the file. Send: it runs on a background thread.
pub struct CheckpointJob {
    database: Arc<Database>,
    store: Arc<Checked>,
    layer: Arc<Layer>,
    /// As far as redb is concerned it is written, but the disk is full.
    withheld: Option<CheckpointDone>,
}

/// What became of a checkpoint.
#[derive(Debug)]
pub enum Written {
    Done(CheckpointDone),
    /// The disk is full: to be run again later, see [`View::checkpoint_postponed`]. The file holds the checkpoint before.
    NoRoom(CheckpointJob),
}

/// A written checkpoint, to be handed to [`View::checkpoint_done`].
pub struct CheckpointDone {
    snapshot: Arc<Snapshot>,
}

/// Memory of a written overlay. Freeing it takes a while: drop it on a background thread.
#[must_use = "freeing it takes a while: drop it away from the volume's thread"]
pub struct Garbage {
    _layer: Option<Arc<Layer>>,
}

impl fmt::Debug for CheckpointJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CheckpointJob({})", self.layer.base.point)
    }
}
impl fmt::Debug for CheckpointDone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CheckpointDone({})", self.snapshot.base.point)
    }
}
impl fmt::Debug for Garbage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Garbage")
    }
}
impl Clone for CheckpointDone {
    fn clone(&self) -> CheckpointDone {
        CheckpointDone { snapshot: self.snapshot.clone() }
    }
}

impl Written {
    pub fn done(self) -> Option<CheckpointDone> {
        match self {
            Written::Done(done) => Some(done),
            Written::NoRoom(_) => None,
        }
    }
}

impl CheckpointDone {
    pub fn point(&self) -> LogPoint {
        self.snapshot.base.point
    }
}

impl CheckpointJob {
    pub fn point(&self) -> LogPoint {
        self.layer.base.point
    }

    /// One transaction with everything. After an error the file still holds the checkpoint before.
    pub fn run(mut self) -> Result<Written, ViewError> {
        // One transaction waits for room at a time: that bounds the memory which it takes.
        if !self.store.release()? {
            return Ok(Written::NoRoom(self));
        }
        let done = match self.withheld.take() {
            Some(done) => done,
            None => self.write()?,
        };
        match self.store.release()? {
            true => Ok(Written::Done(done)),
            false => Ok(Written::NoRoom(CheckpointJob { withheld: Some(done), ..self })),
        }
    }

    fn write(&self) -> Result<CheckpointDone, ViewError> {
        let write = begin(&self.database)?;
        write_layer(&write, &self.layer)?;
        write.open_table(BASE)?.insert(BASE_KEY, &encode_base(&self.layer.base)[..])?;
        write.commit()?;
        Ok(CheckpointDone { snapshot: Arc::new(Snapshot::open(&self.database)?) })
    }
}

fn write_layer(write: &WriteTransaction, layer: &Layer) -> Result<(), ViewError> {
    write_rows(write, INODES, &layer.inodes, |inode| inode.to_be_bytes(), encode_row)?;
    write_rows(write, ENTRIES, &layer.entries, |(dir, name)| entry_key(*dir, name), encode_entry)?;
    write_rows(write, COOKIES, &layer.cookies, |(dir, cookie)| pair_key(*dir, *cookie), |(name, file)| encode_cookie(name, *file))?;
    write_rows(write, EXTENTS, &layer.runs, |(inode, end)| pair_key(*inode, *end), encode_run)?;
    write_rows(write, TARGETS, &layer.targets, |inode| inode.to_be_bytes(), |target| target.clone())?;
    write_rows(write, REPLIES, &layer.replies, |position| position.to_be_bytes(), encode_reply)?;
    write_rows(write, RECLAIM, &layer.reclaim, |inode| inode.to_be_bytes(), |()| [])?;
    write_rows(write, SEGMENTS, &layer.segments, |segment| segment.0.to_be_bytes(), |live| live.to_le_bytes())
}

fn write_rows<K, V, A: AsRef<[u8]>, B: AsRef<[u8]>>(
    write: &WriteTransaction,
    table: Definition,
    rows: &BTreeMap<K, Option<V>>,
    key: impl Fn(&K) -> A,
    value: impl Fn(&V) -> B,
) -> Result<(), ViewError> {
    let mut table = write.open_table(table)?;
    for (found, row) in rows {
        match row {
            Some(row) => drop(table.insert(key(found).as_ref(), value(row).as_ref())?),
            None => drop(table.remove(key(found).as_ref())?),
        }
    }
    Ok(())
}

impl View {
    /// Sets the overlay aside as it is at `point`, which must be [`View::point`]. False when one is set aside already.
    pub fn freeze(&mut self, point: LogPoint) -> bool {
        assert_eq!(point, self.now.point, "a view is frozen where it stands");
        if self.frozen.is_some() {
            return false;
        }
        let mut layer = std::mem::take(&mut self.overlay);
        layer.base = self.now.clone();
        self.below = self.now.inode_max;
        self.frozen = Some(Arc::new(layer));
        true
    }

    /// Where the frozen overlay stands, from [`View::freeze`] to [`View::checkpoint_done`].
    pub fn frozen(&self) -> Option<LogPoint> {
        self.frozen.as_ref().map(|layer| layer.base.point)
    }

    /// The work of writing the frozen overlay, once.
    pub fn checkpoint_job(&mut self) -> Option<CheckpointJob> {
        if self.writing {
            return self.postponed.take();
        }
        let layer = self.frozen.clone()?;
        self.writing = true;
        Some(CheckpointJob { database: self.database.clone(), store: self.store.clone(), layer, withheld: None })
    }

    /// The job found the disk full: [`View::checkpoint_job`] gives it again.
    pub fn checkpoint_postponed(&mut self, job: CheckpointJob) {
        self.postponed = Some(job);
    }

    /// The frozen overlay is in the file now. (After a failed job the volume stops; there is nothing to tell the view.)
    pub fn checkpoint_done(&mut self, done: CheckpointDone) -> Garbage {
        assert_eq!(Some(done.point()), self.frozen(), "the checkpoint is of the frozen overlay");
        self.snapshot = done.snapshot;
        self.writing = false;
        Garbage { _layer: self.frozen.take() }
    }
}
