//! What the volume asks of the disk, and what comes back. Effects own everything they need and may run on any thread;
//! [`perform`] is the only executor, for the daemon's threads and for the simulator alike.

use crate::disk::Disk;
use crate::log::write::{LogBatch, LogDone};

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

pub enum DiskEffect {
    Log(LogBatch),
}

#[derive(Clone, Debug)]
pub enum DiskEvent {
    LogDone(LogDone),
}

impl DiskEffect {
    pub fn lane(&self) -> Lane {
        match self {
            DiskEffect::Log(_) => Lane::Log,
        }
    }
}

/// Runs one effect to its end. Blocks; never panics on what the disk does.
pub fn perform(effect: DiskEffect, disk: &dyn Disk) -> DiskEvent {
    match effect {
        DiskEffect::Log(batch) => DiskEvent::LogDone(batch.run(disk)),
    }
}
