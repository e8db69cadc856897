//! Resync by change (R11), the metadata part: what a source tells about what changed, and how a target takes it.
//!
//! The target's copy was a complete prefix up to `since`. It walks the source's inodes in number order and receives, of every
//! inode with a newer `changed_at`, the row, the entries with newer cookies and the runs of data with newer positions. What was
//! removed is found by comparing [`SetDigest`]s of whatever a batch covers, and listing where they differ. The source goes on
//! changing meanwhile; afterwards the target applies the log from where the walk began (`base`) and skips what its copy has
//! already. That is sound because
//!
//! - a batch is read at one position (`at`), so a row and what came with it fit each other;
//! - an inode that comes in several parts keeps the row of its *first* part, so that every record after that is applied; runs
//!   of data judge for themselves by their positions;
//! - whatever a list says is from before the next batch, and the walk ends only with a batch that needed no list, so the
//!   highest `at` is not before anything that the target saw.

mod source;
mod target;

pub use source::Changes;

use crate::view::{View, ViewError};
use mainstay_protocol::peer::{EpochStart, ListQuery, ResyncCursor, SetDigest};
use mainstay_protocol::{Epoch, Position};

/// A batch whose lists are being fetched; not durable, an interruption costs this batch.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    pub pending: Option<Pending>,
}

#[derive(Debug)]
pub(crate) struct Pending {
    pub next: ResyncCursor,
    /// Lists that are not whole yet, and up to where each is wanted.
    pub lists: Vec<(ListQuery, u64)>,
}

impl Pending {
    pub fn queries(&self) -> Vec<ListQuery> {
        self.lists.iter().map(|(query, _)| *query).collect()
    }
}

/// The epoch of the record at `position` in a history.
pub(crate) fn epoch_at(lineage: &[EpochStart], position: Position) -> Epoch {
    lineage.iter().rev().find(|start| start.first <= position).map_or(Epoch(0), |start| start.epoch)
}

/// Digest of the entries of `dir` with cookies in `(after, to]`.
fn entries_digest(view: &View, dir: u64, after: u64, to: u64) -> Result<SetDigest, ViewError> {
    let mut digest = SetDigest::default();
    for entry in view.entries_after(dir, after)? {
        let cookie = entry?.cookie;
        if cookie > to {
            break;
        }
        digest.add(&[cookie]);
    }
    Ok(digest)
}

/// Digest of the runs of a file that end in `(after, to]`.
fn extents_digest(view: &View, inode: u64, after: u64, to: u64) -> Result<SetDigest, ViewError> {
    let mut digest = SetDigest::default();
    for run in view.extents_after(inode, after)? {
        let run = run?;
        if run.end() > to {
            break;
        }
        digest.add(&[run.offset, run.len as u64, run.position.0]);
    }
    Ok(digest)
}

/// Digest of the inodes in `(after, to]`.
fn inodes_digest(view: &View, after: u64, to: u64) -> Result<SetDigest, ViewError> {
    let mut digest = SetDigest::default();
    for row in view.inodes_after(after)? {
        let file = row?.file;
        if file.inode > to {
            break;
        }
        digest.add(&[file.inode, file.generation]);
    }
    Ok(digest)
}
