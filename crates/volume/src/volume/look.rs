//! Looking at a copy from outside, for people who compare it with something else: names, rows and data as they are now. Nothing
//! is locked or reserved for it; what moves meanwhile is said to have moved.

use super::{Volume, reads::piece_of};
use crate::disk::Disk;
use crate::error::VolumeError;
use crate::extents;
use crate::log::read::ReadJob;
use bytes::Bytes;
use mainstay_protocol::limits::PAYLOAD_BYTES_MAX;
use mainstay_protocol::{FileKind, InodeRow, Position, RecordBody, RecordHeader, Timestamp};
use std::ops::Range;

/// An entry of a directory, with as much as a walk through the tree needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub name: Bytes,
    pub inode: u64,
    /// For [`Volume::names_after`] to go on from.
    pub cookie: u64,
    pub directory: bool,
}

impl Volume {
    pub fn row(&self, inode: u64) -> Result<Option<InodeRow>, VolumeError> {
        self.view.inode(inode).map_err(|error| VolumeError::View(error.to_string()))
    }

    pub fn entry(&self, dir: u64, name: &Bytes) -> Result<Option<u64>, VolumeError> {
        let entry = self.view.entry(dir, name).map_err(|error| VolumeError::View(error.to_string()))?;
        Ok(entry.map(|entry| entry.file.inode))
    }

    /// Up to `limit` entries of `dir` behind `cookie`.
    pub fn names_after(&self, dir: u64, cookie: u64, limit: usize) -> Result<Vec<Named>, VolumeError> {
        let failed = |error: crate::view::ViewError| VolumeError::View(error.to_string());
        let mut found = Vec::new();
        for entry in self.view.entries_after(dir, cookie).map_err(failed)?.take(limit) {
            let entry = entry.map_err(failed)?;
            let directory = self.row(entry.file.inode)?.is_some_and(|row| row.kind == FileKind::Directory);
            found.push(Named { name: entry.name, inode: entry.file.inode, cookie: entry.cookie, directory });
        }
        Ok(found)
    }

    /// When the newest change that this copy holds was made, by the clock of the primary of then.
    pub fn newest_change(&self) -> Timestamp {
        self.view.now.clock
    }

    /// What the next `limit` records behind `after` say, and the position of the last one looked at. Blocks; `Gone` when the log does
    /// not reach back that far.
    pub fn records_behind(&self, after: Position, limit: u64) -> Result<(Vec<(RecordHeader, RecordBody)>, Position), VolumeError> {
        let to = Position(after.0.saturating_add(limit)).min(self.last().position);
        let mut found = Vec::new();
        self.log.each_record(&*self.disk, after, to, &mut |record, _| {
            found.push((record.header, record.body()?));
            Ok(())
        })?;
        Ok((found, to.max(after)))
    }

    /// How `range` of a file, of which the first [`PAYLOAD_BYTES_MAX`] bytes count, would be read now; [`peek`] does it, on whatever
    /// thread may block.
    pub fn peek(&self, inode: u64, range: Range<u64>) -> Result<ReadJob, VolumeError> {
        let failed = |error: crate::view::ViewError| VolumeError::View(error.to_string());
        let runs = self.view.extents_in(inode, range.start, range.end).map_err(failed)?;
        let count = range.end.saturating_sub(range.start).min(PAYLOAD_BYTES_MAX as u64) as u32;
        let pieces = extents::read_plan(&runs, range.start, count);
        Ok(ReadJob { ticket: 0, volume: self.id, pieces: pieces.iter().map(|piece| piece_of(&self.log, piece)).collect() })
    }
}

/// Reads what [`Volume::peek`] planned, checked block by block. A segment that was used again since is noticed and is an error.
pub fn peek(job: ReadJob, disk: &dyn Disk) -> Result<Vec<Bytes>, VolumeError> {
    let unreadable = |problem: String| VolumeError::Unreadable(problem);
    job.run(disk).pieces.into_iter().map(|piece| piece.map_err(|damage| unreadable(damage.problem))).collect()
}
