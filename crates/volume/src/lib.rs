//! Ordered file operations to durable files: append-only segments (the log, which holds the file data too) and a metadata
//! view, both reached only through [`disk::Disk`].
//!
//! Architecture invariant: nothing here is async, spawns a thread, reads a clock or draws randomness. Work that may block is
//! handed out as a [`effects::DiskEffect`] and comes back as a [`effects::DiskEvent`]; only [`effects::perform`], opening,
//! creating, rolling back and the look-ups of [`volume::Volume::point`] touch the disk themselves.

mod compact;
mod damage;
pub mod digest;
pub mod disk;
pub mod effects;
pub mod error;
pub mod extents;
pub mod file_disk;
pub mod log;
pub mod mem_disk;
pub mod options;
pub mod place;
pub mod plan;
pub mod quarantine;
pub mod resync;
mod scrub;
pub mod segment;
pub mod view;
pub mod volume;

pub use disk::{Disk, DiskFile, Space};
pub use effects::{DiskEffect, DiskEvent, Lane, perform};
pub use error::{AppendError, DiskError, OpenError, VolumeError};
pub use file_disk::FileDisk;
pub use log::write::LogBatch;
pub use mem_disk::MemDisk;
pub use options::{Options, Stats};
pub use place::{Move, Place, SegmentId, StoredExtent, ViewDigest};
pub use volume::{KeptTail, Outcome, RecordsAfter, RolledBack, Volume, VolumeEvent};
