//! Writing: batches of appends, executed in order by the flusher, merged while they wait.

use crate::disk::Disk;
use crate::error::DiskError;
use crate::place::{Place, SegmentId};
use crate::segment;
use bytes::Bytes;
use mainstay_protocol::planted::{Bug, planted};
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One step of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Bytes back to back from `offset` of a segment's file.
    Write { segment: SegmentId, offset: u32, len: u32, parts: Vec<Bytes> },
    /// Before anything is written to the next segment of the log, the one before is whole on disk: then a record in the next
    /// one proves that this one lacks nothing, and a hole in it is damage, not an unsynced tail.
    Sync(SegmentId),
}

/// Shared by the batches of one log: once one of them failed, no later one touches the disk. The flusher may have them already, and what
/// they would write (a mark, the header of the next segment) says that everything before it is there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failed(Arc<AtomicBool>);

impl PartialEq for Failed {
    fn eq(&self, other: &Failed) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Failed {}

/// What the flusher does in one go. Batches are executed in the order in which they were handed out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogBatch {
    pub(crate) steps: Vec<Step>,
    /// Whether the batch ends with a sync of everything written so far.
    pub(crate) sync: bool,
    /// Segments with unsynced bytes once the steps are done.
    pub(crate) dirty: BTreeSet<SegmentId>,
    /// Number of the last write in it, counted from opening.
    pub(crate) through: u64,
    pub(crate) failed: Failed,
}

/// A batch is done, or failed: then the volume stops, for a failed sync cannot be repeated and believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDone {
    pub(crate) through: u64,
    pub(crate) synced: bool,
    pub(crate) result: Result<(), DiskError>,
}

impl LogDone {
    pub fn failed(&self) -> bool {
        self.result.is_err()
    }
}

impl LogBatch {
    /// Whether somebody waits for the disk, so the batch should not be held back.
    pub fn wants_sync(&self) -> bool {
        self.sync
    }

    /// Takes in the batch that was handed out right after this one: one group write and one sync for both.
    pub fn merge(&mut self, next: LogBatch) {
        assert!(next.through >= self.through, "batches are merged in order");
        next.steps.into_iter().for_each(|step| self.push(step));
        self.sync |= next.sync;
        self.dirty.extend(next.dirty);
        self.through = next.through;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Adds a step, joined to the last one where the bytes touch.
    pub(crate) fn push(&mut self, step: Step) {
        match step {
            Step::Write { segment, offset, len, parts } => self.write(Place { segment, offset }, len, parts),
            Step::Sync(_) => self.steps.push(step),
        }
    }

    pub(crate) fn write(&mut self, place: Place, bytes: u32, added: impl IntoIterator<Item = Bytes>) {
        match self.steps.last_mut() {
            Some(Step::Write { segment, offset, len, parts }) if *segment == place.segment && *offset + *len == place.offset => {
                *len += bytes;
                parts.extend(added);
            }
            _ => {
                let parts = added.into_iter().collect();
                self.steps.push(Step::Write { segment: place.segment, offset: place.offset, len: bytes, parts });
            }
        }
    }

    pub(crate) fn run(self, disk: &dyn Disk) -> LogDone {
        LogDone { through: self.through, synced: self.sync, result: self.execute(disk) }
    }

    /// Of one log one after the other, so the flag needs no order with anything else.
    fn execute(&self, disk: &dyn Disk) -> Result<(), DiskError> {
        if self.failed.0.load(Ordering::Relaxed) && !planted(Bug::WriteAfterFailure) {
            return Err(DiskError::new("write", "the log", &io::Error::other("a write before this one failed")));
        }
        let result = self.execute_steps(disk);
        if result.is_err() {
            self.failed.0.store(true, Ordering::Relaxed);
        }
        result
    }

    fn execute_steps(&self, disk: &dyn Disk) -> Result<(), DiskError> {
        for step in &self.steps {
            match step {
                Step::Write { segment, offset, parts, .. } => write(disk, *segment, *offset, parts)?,
                Step::Sync(segment) => sync(disk, *segment)?,
            }
        }
        if self.sync && !planted(Bug::SkipSync) { self.dirty.iter().try_for_each(|segment| sync(disk, *segment)) } else { Ok(()) }
    }
}

fn write(disk: &dyn Disk, segment: SegmentId, offset: u32, parts: &[Bytes]) -> Result<(), DiskError> {
    let name = segment::file_name(segment);
    let parts: Vec<&[u8]> = parts.iter().map(|part| &part[..]).collect();
    let file = disk.open(&name).map_err(|error| DiskError::new("open", &name, &error))?;
    file.write_at(offset as u64, &parts).map_err(|error| DiskError::new("write", &name, &error))
}

fn sync(disk: &dyn Disk, segment: SegmentId) -> Result<(), DiskError> {
    let name = segment::file_name(segment);
    let file = disk.open(&name).map_err(|error| DiskError::new("open", &name, &error))?;
    file.sync().map_err(|error| DiskError::new("sync", &name, &error))
}
