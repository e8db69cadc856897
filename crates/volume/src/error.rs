//! One error type per operation of the volume. Texts say what happened, to which file, and what to do.

use crate::place::SegmentId;
use mainstay_protocol::record::RecordError;
use mainstay_protocol::{ClusterId, Epoch, LogPoint, Position, VolumeId};
use std::io;

/// A disk operation that failed; cloneable, so that it can be reported more than once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{operation} {file}: {message}")]
pub struct DiskError {
    pub operation: &'static str,
    pub file: String,
    pub kind: io::ErrorKind,
    pub message: String,
}

impl DiskError {
    pub fn new(operation: &'static str, file: impl Into<String>, error: &io::Error) -> DiskError {
        DiskError { operation, file: file.into(), kind: error.kind(), message: error.to_string() }
    }
    pub fn is_full(&self) -> bool {
        is_full(self.kind)
    }
}

/// No room, which is waited for; every other failure of a disk stops the volume.
pub(crate) fn is_full(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// What to do when a replica's own files cannot be trusted: said at the end of every such error.
pub(crate) const RESTORE: &str = "put the file back if you have it; else move this volume's directory away on this node, and it is copied again from the other replica";

/// Why a volume could not be created or opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("there is no volume in this directory (no segment file): create it or join it to its cluster first")]
    Missing,
    #[error("this directory holds a volume already ({0})")]
    Exists(String),
    #[error("options: {0}")]
    Options(String),
    #[error("{file} belongs to cluster {found}, this node to {expected}: wrong data directory")]
    OtherCluster { file: String, found: ClusterId, expected: ClusterId },
    #[error("{file} belongs to volume {found}, not to {expected}: wrong data directory")]
    OtherVolume { file: String, found: VolumeId, expected: VolumeId },
    #[error("{file} has format version {found}, this program knows up to {known}: it was written by a newer release; upgrade")]
    NewerFormat { file: String, found: u32, known: u32 },
    #[error("{file}: {problem}; {RESTORE}")]
    Damaged { file: String, problem: String },
    #[error("segment {segment} is missing, {live_bytes} bytes of file data are kept in it; {RESTORE}")]
    SegmentMissing { segment: SegmentId, live_bytes: u64 },
    #[error("the log has a hole: it ends at {end}, but segment {segment} goes on after {base}; {RESTORE}")]
    Hole { end: LogPoint, segment: SegmentId, base: LogPoint },
    #[error("record {position} in {file} at byte {offset} is damaged ({problem}) although it had been synced; {RESTORE}")]
    DamagedRecord { file: String, offset: u64, position: Position, problem: String },
    #[error("the view ({file}) is missing although there are segments; {RESTORE}")]
    ViewMissing { file: String },
    #[error("the view ({file}) cannot be used: {problem}; {RESTORE}")]
    View { file: String, problem: String },
    #[error("the view is of {view}, which is not in the log: they are not of one copy; {RESTORE}")]
    ViewForeign { view: LogPoint },
}

/// Why the volume refuses, after it was opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VolumeError {
    /// Fail-stop: after a failed write or sync, or damage in memory, nothing more is believed until the node starts again.
    #[error("the volume stopped: {0}")]
    Failed(String),
    #[error("no space left: {0}")]
    NoSpace(&'static str),
    #[error("try again shortly: {0}")]
    Busy(&'static str),
    #[error("epoch {asked} is older than the log's {last}")]
    OldEpoch { asked: Epoch, last: Epoch },
    #[error("the copy is not complete: it is in resync")]
    Incomplete,
    #[error("{to} is not in this copy's history")]
    NotInHistory { to: LogPoint },
    #[error("cannot go back to {to}: the view is committed up to {base}")]
    BelowBase { to: LogPoint, base: LogPoint },
    #[error("resync: {0}")]
    Resync(String),
    #[error("records from {from} on are not kept any more")]
    Gone { from: Position },
    #[error("cannot be read: {0}")]
    Unreadable(String),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("view: {0}")]
    View(String),
}

/// Why a record from the primary was not appended. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// It does not continue this copy's history, or is damaged.
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("record is of volume {found}, not {expected}")]
    OtherVolume { found: VolumeId, expected: VolumeId },
    /// A segment is being prepared, or the disk is behind: offer the record again shortly.
    #[error("no room at the moment")]
    Busy,
    #[error("no space left on this replica's disk")]
    NoSpace,
    #[error("the copy is being resynchronised by change; records come afterwards")]
    Resync,
    #[error("the volume stopped: {0}")]
    Failed(String),
}
