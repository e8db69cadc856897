//! The metadata view of the log: overlay → frozen overlay → the view's file (redb).
//!
//! Applying a record changes the overlay only, in memory. From time to time the overlay is frozen at a record's boundary and a
//! [`CheckpointJob`] writes it into the file in one transaction, on another thread, while a new overlay goes on. Look-ups ask
//! the layers from the top; the file is read through a snapshot that stays open from one checkpoint to the next, so reads
//! never wait for a checkpoint.

mod apply;
mod checked;
mod checkpoint;
mod error;
mod overlay;
mod replies;
mod rewind;
pub(crate) mod tables;
mod withheld;

pub use checkpoint::{CheckpointDone, CheckpointJob, Garbage, Written};
pub use error::ViewError;
pub use replies::{KeptReply, REPLIES_KEPT_MIN};
pub use tables::{Base, Entry, ResyncState, VIEW_FORMAT};

use crate::place::{SegmentId, StoredExtent};
use crate::resync::Walk;
use bytes::Bytes;
use checked::Checked;
use mainstay_protocol::peer::EpochStart;
use mainstay_protocol::{ClusterId, FileId, InodeRow, LogPoint, Position, Timestamp, VolumeId};
use overlay::{Layer, Merged};
use redb::{Database, StorageBackend};
use replies::Replies;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tables::{FileMark, RunItem, Snapshot};

/// Pages of the view's file kept in memory, for reads and for the pages of a checkpoint that is being written.
pub const CACHE_BYTES: usize = 64 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewOptions {
    /// First answers to requests are kept this long, by the time of their records…
    pub reply_keep_ms: u64,
    /// So many of the newest answers are kept whatever their age (never more than `reply_bytes_max`).
    pub reply_keep_min: usize,
    /// …but never more than this many bytes of them.
    pub reply_bytes_max: u64,
    pub cache_bytes: usize,
}

impl Default for ViewOptions {
    fn default() -> ViewOptions {
        ViewOptions {
            reply_keep_ms: 150_000,
            reply_keep_min: replies::REPLIES_KEPT_MIN,
            reply_bytes_max: 64 << 20,
            cache_bytes: CACHE_BYTES,
        }
    }
}

/// An entry in the order of a directory's cookies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieEntry {
    pub cookie: u64,
    pub name: Bytes,
    pub file: FileId,
}

/// See the module's text. All look-ups may read the view's file; their errors mean that the volume must stop.
pub struct View {
    database: Arc<Database>,
    store: Arc<Checked>,
    snapshot: Arc<Snapshot>,
    frozen: Option<Arc<Layer>>,
    /// The frozen layer was handed out as a job.
    writing: bool,
    /// The job, back because the disk is full.
    postponed: Option<CheckpointJob>,
    overlay: Layer,
    /// What the three layers together stand at.
    pub(crate) now: Base,
    /// No row below the overlay is keyed by a higher inode number.
    below: u64,
    segments: BTreeMap<SegmentId, u64>,
    reclaim: BTreeSet<u64>,
    replies: Replies,
    pub(crate) walk: Walk,
    options: ViewOptions,
}

impl View {
    /// Makes the view of an empty log in an empty backend.
    pub fn create(
        backend: Box<dyn StorageBackend>,
        cluster: ClusterId,
        volume: VolumeId,
        options: ViewOptions,
    ) -> Result<View, ViewError> {
        let mark = FileMark { format: VIEW_FORMAT, cluster, volume };
        let store = Arc::new(Checked::create(backend)?);
        let database = checkpoint::open_database(&store, options.cache_bytes)?;
        checkpoint::write_empty(&database, &mark)?;
        match store.release()? {
            true => View::over(database, store, options),
            false => Err(ViewError::NoRoom),
        }
    }

    /// Opens a view where its last checkpoint left it. [`ViewError::Missing`] for an empty backend: never an empty view.
    pub fn open(
        backend: Box<dyn StorageBackend>,
        cluster: ClusterId,
        volume: VolumeId,
        options: ViewOptions,
    ) -> Result<View, ViewError> {
        let mark = FileMark { format: VIEW_FORMAT, cluster, volume };
        let store = Arc::new(Checked::open(backend)?);
        let database = checkpoint::open_database(&store, options.cache_bytes)?;
        checkpoint::check_mark(&database, &mark)?;
        View::over(database, store, options)
    }

    fn over(database: Database, store: Arc<Checked>, options: ViewOptions) -> Result<View, ViewError> {
        let snapshot = Snapshot::open(&database)?;
        let now = snapshot.base.clone();
        let segments = checkpoint::read_segments(&snapshot)?;
        let reclaim = checkpoint::read_numbers(&snapshot.reclaim)?;
        let replies = Replies::load(&snapshot)?;
        Ok(View {
            database: Arc::new(database),
            store,
            below: now.inode_max,
            snapshot: Arc::new(snapshot),
            frozen: None,
            writing: false,
            postponed: None,
            overlay: Layer::default(),
            now,
            segments,
            reclaim,
            replies,
            walk: Walk::default(),
            options,
        })
    }

    // Where it stands -----------------------------------------------------------------------------------------------------

    /// What the file holds: after a crash, records are applied from here.
    pub fn base(&self) -> &Base {
        &self.snapshot.base
    }
    /// Newest record applied.
    pub fn point(&self) -> LogPoint {
        self.now.point
    }
    pub fn lineage(&self) -> &[EpochStart] {
        &self.now.lineage
    }
    pub fn loss_epoch(&self) -> u64 {
        self.now.loss_epoch
    }
    pub fn clock(&self) -> Timestamp {
        self.now.clock
    }
    /// The stamp of the next record: the wall clock, unless that stands still or went back (NFS.md, "attributes").
    pub fn next_time(&self, wall: Timestamp) -> Timestamp {
        wall.max(self.now.clock.next())
    }
    pub fn inodes(&self) -> u64 {
        self.now.inodes
    }
    pub fn bytes_used(&self) -> u64 {
        self.now.bytes_used
    }
    /// Whether the rows are exactly those of a prefix of the history.
    pub fn complete(&self) -> bool {
        self.now.resync.is_none()
    }
    pub fn resync(&self) -> Option<&ResyncState> {
        self.now.resync.as_ref()
    }
    /// Rows in memory that no checkpoint has taken yet.
    pub fn overlay_rows(&self) -> usize {
        self.overlay.rows()
    }

    // Look-ups ------------------------------------------------------------------------------------------------------------

    pub fn inode(&self, inode: u64) -> Result<Option<InodeRow>, ViewError> {
        if let Some(row) = self.overlay.inodes.get(&inode) {
            return Ok(row.clone());
        }
        if let Some(row) = self.frozen.as_ref().and_then(|layer| layer.inodes.get(&inode)) {
            return Ok(row.clone());
        }
        if self.not_in_file(inode) { Ok(None) } else { self.snapshot.inode(inode) }
    }

    pub fn entry(&self, dir: u64, name: &Bytes) -> Result<Option<Entry>, ViewError> {
        let key = (dir, name.clone());
        if let Some(entry) = self.overlay.entries.get(&key) {
            return Ok(*entry);
        }
        if let Some(entry) = self.frozen.as_ref().and_then(|layer| layer.entries.get(&key)) {
            return Ok(*entry);
        }
        if self.not_in_file(dir) { Ok(None) } else { self.snapshot.entry(dir, name) }
    }

    /// Target of a symbolic link.
    pub fn target(&self, inode: u64) -> Result<Option<Bytes>, ViewError> {
        if let Some(target) = self.overlay.targets.get(&inode) {
            return Ok(target.clone());
        }
        if let Some(target) = self.frozen.as_ref().and_then(|layer| layer.targets.get(&inode)) {
            return Ok(target.clone());
        }
        if self.not_in_file(inode) { Ok(None) } else { self.snapshot.target(inode) }
    }

    /// Entries of `dir` with cookies above `after`, by cookie.
    pub fn entries_after(
        &self,
        dir: u64,
        after: u64,
    ) -> Result<impl Iterator<Item = Result<CookieEntry, ViewError>> + '_, ViewError> {
        let range = (dir, after.saturating_add(1))..=(dir, u64::MAX);
        let merged = Merged {
            overlay: self.overlay.cookies.range(range.clone()).peekable(),
            frozen: self.frozen.as_ref().map(|layer| layer.cookies.range(range).peekable()),
            file: if self.not_in_file(dir) { None } else { Some(self.snapshot.cookies_after(dir, after)?.peekable()) },
        };
        Ok(merged.map(|row| row.map(|((_, cookie), (name, file))| CookieEntry { cookie, name, file })))
    }

    /// Runs of a file's data that end after `offset`, in file order.
    pub fn extents_after(
        &self,
        inode: u64,
        offset: u64,
    ) -> Result<impl Iterator<Item = Result<StoredExtent, ViewError>> + '_, ViewError> {
        let range = (inode, offset.saturating_add(1))..=(inode, u64::MAX);
        let merged: Merged<'_, _, _, Box<dyn Iterator<Item = RunItem>>> = Merged {
            overlay: self.overlay.runs.range(range.clone()).peekable(),
            frozen: self.frozen.as_ref().map(|layer| layer.runs.range(range).peekable()),
            file: match self.not_in_file(inode) {
                true => None,
                false => {
                    let rows: Box<dyn Iterator<Item = RunItem>> = Box::new(self.snapshot.runs_after(inode, offset)?);
                    Some(rows.peekable())
                }
            },
        };
        Ok(merged.map(|row| row.map(|((_, end), run)| run.ending_at(end))))
    }

    /// The runs that share a byte with `offset..end`.
    pub fn extents_in(&self, inode: u64, offset: u64, end: u64) -> Result<Vec<StoredExtent>, ViewError> {
        let mut found = Vec::new();
        for extent in self.extents_after(inode, offset)? {
            let extent = extent?;
            if extent.offset >= end {
                break;
            }
            found.push(extent);
        }
        Ok(found)
    }

    /// Inodes above `after`, by number.
    pub fn inodes_after(&self, after: u64) -> Result<impl Iterator<Item = Result<InodeRow, ViewError>> + '_, ViewError> {
        let range = after.saturating_add(1)..;
        let merged = Merged {
            overlay: self.overlay.inodes.range(range.clone()).peekable(),
            frozen: self.frozen.as_ref().map(|layer| layer.inodes.range(range).peekable()),
            file: if self.not_in_file(after.saturating_add(1)) {
                None
            } else {
                Some(self.snapshot.inodes_after(after)?.peekable())
            },
        };
        Ok(merged.map(|row| row.map(|(_, row)| row)))
    }

    /// Bytes of a segment that some file's data is in.
    pub fn live_bytes(&self, segment: SegmentId) -> u64 {
        self.segments.get(&segment).copied().unwrap_or(0)
    }
    /// Every segment that holds live data.
    pub fn segments(&self) -> &BTreeMap<SegmentId, u64> {
        &self.segments
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.clone()
    }
    fn not_in_file(&self, inode: u64) -> bool {
        inode > self.snapshot.base.inode_max
    }
    fn fuzzy(&self) -> Option<Position> {
        match self.now.resync {
            Some(ResyncState::Replaying { until, .. }) => Some(until),
            _ => None,
        }
    }
}
