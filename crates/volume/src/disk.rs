//! The disk as the volume sees it. [`crate::FileDisk`] is a real directory, [`crate::MemDisk`] memory; the simulator brings
//! its own, which loses, tears and delays what was not synced.
//!
//! What is assumed (docs/FORMAT.md, "Assumptions"): bytes are on stable storage once `sync` returned; before that any subset of
//! the written sectors may survive, in any order; after a failed `sync` nothing is believed any more, by a later process neither:
//! that is what [`Disk::reread`] is for.

use std::io;
use std::sync::Arc;

/// Room on the disk that holds a volume's directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    pub total_bytes: u64,
    pub free_bytes: u64,
}

/// Blocking access to one volume's directory. Used directly while opening, creating and rolling back, otherwise by
/// [`crate::perform`] on whichever thread runs effects.
pub trait Disk: Send + Sync + 'static {
    /// File names, sorted.
    fn list(&self) -> io::Result<Vec<String>>;
    /// `NotFound` when missing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// A new file of `bytes` zeros: written (not only allocated) and synced, so later writes inside it cannot meet a full disk.
    /// `AlreadyExists` when the name is taken. On an error nothing is left behind.
    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn DiskFile>>;
    /// Durable when it returns (the directory is synced). `to` must not exist.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    fn remove(&self, name: &str) -> io::Result<()>;
    fn space(&self) -> io::Result<Space>;
    /// Before a volume is opened: from now on its files show what the medium holds. After a failed sync Linux keeps the pages and
    /// calls them clean, so that a later process would read, and take for durable, what the medium never got (Rebello et al.,
    /// "Can Applications Recover from fsync Failures?", USENIX ATC 2020).
    fn reread(&self) -> io::Result<()>;
    /// The view's file, made when missing.
    fn store(&self, name: &str) -> io::Result<Box<dyn redb::StorageBackend>>;
}

pub trait DiskFile: Send + Sync {
    fn len(&self) -> io::Result<u64>;
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Fills `buf` whole; `UnexpectedEof` past the end.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;
    /// Writes all of `bufs` back to back from `offset` on.
    fn write_at(&self, offset: u64, bufs: &[&[u8]]) -> io::Result<()>;
    /// Data to stable storage (fdatasync).
    fn sync(&self) -> io::Result<()>;
}
