//! One volume on one node: the log and its view behind one face. Everything here is a quick step in memory; disk work comes
//! out of [`Volume::poll_effect`] and goes back in through [`Volume::handle`].

use crate::disk::Disk;
use crate::effects::{DiskEffect, DiskEvent};
use crate::error::{AppendError, OpenError, VolumeError};
use crate::options::{Options, Stats};
use crate::place::ViewDigest;
use bytes::Bytes;
use mainstay_protocol::peer::{ChangeBatch, EpochStart, ListItem, ListQuery, ResyncCursor};
use mainstay_protocol::{
    ClientRequest, ClusterId, Epoch, Extent, FileError, FileId, FileResult, LogPoint, Mono, Now, Position, Record, Timestamp,
    VolumeId,
};
use std::sync::Arc;

/// What became of a client's request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Reply `result` once `at` is committed, durably if `durable`. A record that the request made is `record`, at
    /// [`Volume::last`].
    Done { result: FileResult, at: Position, durable: bool, record: Option<Record> },
    /// Data is being read: [`VolumeEvent::Read`] brings the result; reply then once `at` is committed in memory.
    Read { ticket: u64, at: Position },
}

/// Where the records after a position are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordsAfter {
    /// At least one record, unless there is none after the position.
    Ready(Vec<Record>),
    /// Being read from disk: [`VolumeEvent::Records`] brings them.
    Later(u64),
    /// Not kept any more, or not in this history: resync by change.
    Gone,
}

/// What a roll-back took away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolledBack {
    pub from: LogPoint,
    pub to: LogPoint,
    pub records: u64,
    pub bytes: u64,
    /// The quarantine file that keeps them; `None` when there was nothing to keep.
    pub file: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeEvent {
    /// Everything up to here is synced on the local disk.
    Durable(Position),
    Read {
        ticket: u64,
        result: FileResult,
    },
    Records {
        ticket: u64,
        result: Result<Vec<Record>, VolumeError>,
    },
    Changes {
        ticket: u64,
        result: Result<(ChangeBatch, Bytes), VolumeError>,
    },
    /// A block of this copy is damaged: ask the peer, then call [`Volume::repair`].
    RepairWanted {
        ticket: u64,
        file: FileId,
        extent: Extent,
        position: Position,
    },
    RepairData {
        ticket: u64,
        data: Option<Bytes>,
    },
    Digest {
        position: Position,
        digest: ViewDigest,
    },
    Checkpointed(Position),
    /// Fail-stop: the volume refuses everything from here on.
    Failed(VolumeError),
}

/// See the module's text.
pub struct Volume {
    _private: (),
}

impl Volume {
    /// An empty log and view in an empty directory.
    pub fn create(_disk: Arc<dyn Disk>, _cluster: ClusterId, _id: VolumeId, _options: Options) -> Result<(), OpenError> {
        Err(OpenError::Missing)
    }
    /// Recovery: the newest whole prefix that the disk holds, made durable.
    pub fn open(_disk: Arc<dyn Disk>, _cluster: ClusterId, _id: VolumeId, _options: Options) -> Result<Volume, OpenError> {
        Err(OpenError::Missing)
    }
    /// Newest record applied in memory.
    pub fn last(&self) -> LogPoint {
        LogPoint::default()
    }
    /// Synced on the local disk.
    pub fn durable(&self) -> Position {
        Position(0)
    }
    /// First record that can still be read: `log_start()..=last()`.
    pub fn log_start(&self) -> Position {
        Position(1)
    }
    /// The point at a position; `None` when it is not retained. May read a little from the disk.
    pub fn point(&self, _at: Position) -> Option<LogPoint> {
        None
    }
    pub fn lineage(&self) -> &[EpochStart] {
        &[]
    }
    pub fn loss_epoch(&self) -> u64 {
        0
    }
    /// False while the copy is not a prefix of the history (resync by change).
    pub fn complete(&self) -> bool {
        true
    }
    pub fn execute(&mut self, _wall: Timestamp, _epoch: Epoch, _request: &ClientRequest) -> Outcome {
        Outcome::Done { result: Err(FileError::TryLater.into()), at: Position(0), durable: false, record: None }
    }
    /// The epoch's first record: `Format` at position 1, else `EpochStart`; with the loss epoch when it differs.
    pub fn start_epoch(&mut self, _wall: Timestamp, _epoch: Epoch, _loss_epoch: u64) -> Result<Record, VolumeError> {
        Err(VolumeError::Busy("starting"))
    }
    pub fn mark(&mut self, _wall: Timestamp, _epoch: Epoch) -> Result<Record, VolumeError> {
        Err(VolumeError::Busy("starting"))
    }
    pub fn append(&mut self, _record: Record) -> Result<(), AppendError> {
        Err(AppendError::Busy)
    }
    pub fn want_sync(&mut self, _up_to: Position) {}
    pub fn set_committed(&mut self, _durable_commit: Position) {}
    pub fn records_after(&mut self, _after: Position, _bytes_max: usize) -> RecordsAfter {
        RecordsAfter::Gone
    }
    pub fn roll_back(&mut self, to: LogPoint, _label: &str) -> Result<RolledBack, VolumeError> {
        Err(VolumeError::NotInHistory { to })
    }
    pub fn tick(&mut self, _now: Now) {}
    pub fn handle(&mut self, _event: DiskEvent) {}
    pub fn poll_effect(&mut self) -> Option<DiskEffect> {
        None
    }
    pub fn poll_event(&mut self) -> Option<VolumeEvent> {
        None
    }
    pub fn next_timer(&self) -> Mono {
        Mono(u64::MAX)
    }
    pub fn changes(&mut self, _cursor: ResyncCursor, _bytes_max: usize) -> u64 {
        0
    }
    pub fn list(&self, _query: ListQuery, _items_max: usize) -> Result<(Vec<ListItem>, bool), VolumeError> {
        Err(VolumeError::Incomplete)
    }
    pub fn begin_resync(&mut self, _base: LogPoint, _lineage: Vec<EpochStart>) -> Result<ResyncCursor, VolumeError> {
        Err(VolumeError::Incomplete)
    }
    pub fn resync_cursor(&self) -> Option<ResyncCursor> {
        None
    }
    pub fn install(&mut self, _from: ResyncCursor, _batch: ChangeBatch, _payload: Bytes) -> Result<Vec<ListQuery>, VolumeError> {
        Err(VolumeError::Incomplete)
    }
    pub fn install_list(&mut self, _query: ListQuery, _items: Vec<ListItem>, _done: bool) -> Result<Vec<ListQuery>, VolumeError> {
        Err(VolumeError::Incomplete)
    }
    pub fn read_for_repair(&mut self, _file: FileId, _extent: Extent, _position: Position) -> u64 {
        0
    }
    pub fn repair(&mut self, _ticket: u64, _data: Option<Bytes>) {}
    pub fn stats(&self) -> Stats {
        Stats::default()
    }
    pub fn check_invariants(&self) {}
}
