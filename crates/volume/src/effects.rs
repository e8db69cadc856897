//! What the volume asks of the disk, and what comes back. Effects own everything they need and may run on any thread;
//! [`perform`] is the only executor, for the daemon's threads and for the simulator alike.

use crate::compact::{ListJob, Listed};
use crate::digest::DigestJob;
use crate::disk::{Disk, Space};
use crate::log::read::{ReadDone, ReadJob, RecordsDone, RecordsJob};
use crate::log::segments::{GiveUpDone, GiveUpJob, PrepareDone, PrepareJob};
use crate::log::write::{LogBatch, LogDone};
use crate::place::ViewDigest;
use crate::view::{CheckpointJob, Garbage, ViewError, Written};
use mainstay_protocol::Position;

/// Which thread an effect belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Strictly in order, one at a time: the flusher. It may merge what waits ([`LogBatch::merge`]).
    Log,
    /// In any order, several at a time; a client waits.
    Read,
    /// In any order, one or few at a time; nobody waits.
    Background,
}

#[derive(Debug)]
pub enum DiskEffect {
    /// Appends, and perhaps a sync. In order.
    Log(LogBatch),
    /// Data of a file, or a part of a resync.
    Read(ReadJob),
    /// Retained records for a secondary that lags.
    ReadRecords(RecordsJob),
    /// One transaction of the view.
    Checkpoint(CheckpointJob),
    Background(BackgroundJob),
}

/// Work that nobody waits for.
#[derive(Debug)]
pub enum BackgroundJob {
    /// A segment ahead of need.
    Prepare(PrepareJob),
    /// One of those less: the view needs the room.
    GiveUp(GiveUpJob),
    /// What compaction may find in a segment.
    List(ListJob),
    /// Compaction's and the scrub's reading.
    Read(ReadJob),
    /// A part of the digest of a checkpoint.
    Digest(DigestJob),
    /// Memory of a written checkpoint: freeing it takes a while.
    Free(Garbage),
    /// Is there room again?
    LookAtSpace,
}

/// What an effect came to. Errors are inside: handing one to the volume never fails.
#[derive(Debug)]
pub enum DiskEvent {
    LogDone(LogDone),
    ReadDone(ReadDone),
    RecordsRead(RecordsDone),
    CheckpointDone(Result<Written, ViewError>),
    BackgroundDone(BackgroundDone),
}

#[derive(Debug)]
pub enum BackgroundDone {
    Prepared(PrepareDone),
    GivenUp(GiveUpDone),
    Listed(Listed),
    Freed,
    Digest(Result<Digested, ViewError>),
    Space(Option<Space>),
}

#[derive(Debug)]
pub enum Digested {
    /// To be handed out again.
    More(DigestJob),
    Done(Position, ViewDigest),
}

/// Rows that one step of a digest looks at, so that other background work gets its turn.
const DIGEST_ROWS: usize = 100_000;

fn digest(mut job: DigestJob) -> Result<Digested, ViewError> {
    Ok(match job.step(DIGEST_ROWS)? {
        Some(digest) => Digested::Done(job.point().position, digest),
        None => Digested::More(job),
    })
}

impl DiskEffect {
    pub fn lane(&self) -> Lane {
        match self {
            DiskEffect::Log(_) => Lane::Log,
            DiskEffect::Read(_) | DiskEffect::ReadRecords(_) => Lane::Read,
            DiskEffect::Checkpoint(_) | DiskEffect::Background(_) => Lane::Background,
        }
    }
}

/// Runs one effect to its end. Blocks; never panics on what the disk does.
pub fn perform(effect: DiskEffect, disk: &dyn Disk) -> DiskEvent {
    match effect {
        DiskEffect::Log(batch) => DiskEvent::LogDone(batch.run(disk)),
        DiskEffect::Read(job) => DiskEvent::ReadDone(job.run(disk)),
        DiskEffect::ReadRecords(job) => DiskEvent::RecordsRead(job.run(disk)),
        DiskEffect::Checkpoint(job) => DiskEvent::CheckpointDone(job.run()),
        DiskEffect::Background(job) => job.run(disk),
    }
}

impl BackgroundJob {
    fn run(self, disk: &dyn Disk) -> DiskEvent {
        let done = match self {
            BackgroundJob::Read(job) => return DiskEvent::ReadDone(job.run(disk)),
            BackgroundJob::Prepare(job) => BackgroundDone::Prepared(job.run(disk)),
            BackgroundJob::GiveUp(job) => BackgroundDone::GivenUp(job.run(disk)),
            BackgroundJob::List(job) => BackgroundDone::Listed(job.run(disk)),
            BackgroundJob::Digest(job) => BackgroundDone::Digest(digest(job)),
            BackgroundJob::Free(garbage) => {
                drop(garbage);
                BackgroundDone::Freed
            }
            BackgroundJob::LookAtSpace => BackgroundDone::Space(disk.space().ok()),
        };
        DiskEvent::BackgroundDone(done)
    }
}
