//! A disk that is as unkind as the volume's assumptions allow (docs/FORMAT.md, "Assumptions"): what was written is seen at once
//! but survives a loss of power only after a sync; before that every sector may be lost or kept by itself, in any order.
//!
//! A [`SimDisk`] is one boot's handle. When the process dies, all handles of its session are dead, so nothing that is dropped
//! later (a database that wants to close tidily) can change the platter.

mod platter;
#[cfg(test)]
mod tests;

pub use platter::{Crash, DiskFaults, Platter};

use crate::sizing::BULK_BYTES_MIN;
use mainstay_volume::{Disk, DiskFile, Space};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One boot's access to a [`Platter`].
#[derive(Clone)]
pub struct SimDisk {
    platter: Arc<Mutex<Platter>>,
    session: u64,
}

struct SimFile {
    disk: SimDisk,
    id: u64,
}

impl SimDisk {
    /// A handle for a new boot; handles of earlier boots stay dead.
    pub fn boot(platter: &Arc<Mutex<Platter>>) -> SimDisk {
        let session = lock(platter).session();
        SimDisk { platter: platter.clone(), session }
    }

    /// See [`Platter::die_after`].
    pub fn die_after(&self, operations: u64) {
        lock(&self.platter).die_after(operations);
    }

    /// Bytes of file data that were written, in pieces that a sized run scales.
    pub fn bulk_written(&self) -> u64 {
        lock(&self.platter).bulk_written
    }

    fn platter(&self) -> io::Result<MutexGuard<'_, Platter>> {
        let platter = lock(&self.platter);
        if platter.session() == self.session { Ok(platter) } else { Err(io::Error::other("simulated: this process is dead")) }
    }

    fn file(&self, id: u64) -> SimFile {
        SimFile { disk: self.clone(), id }
    }
}

/// Never contended: a run has one thread. The lock is there because the volume's traits ask for `Sync`.
pub fn lock(platter: &Arc<Mutex<Platter>>) -> MutexGuard<'_, Platter> {
    platter.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.platter()?.names())
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let id = self.platter()?.open(name)?;
        Ok(Arc::new(self.file(id)))
    }
    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        let id = self.platter()?.create(name, bytes)?;
        Ok(Arc::new(self.file(id)))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.platter()?.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.platter()?.remove(name)
    }
    fn space(&self) -> io::Result<Space> {
        let (total_bytes, free_bytes) = self.platter()?.space();
        Ok(Space { total_bytes, free_bytes })
    }
    fn reread(&self) -> io::Result<()> {
        self.platter()?.reread()
    }
    fn store(&self, name: &str) -> io::Result<Box<dyn redb::StorageBackend>> {
        let id = self.platter()?.store(name)?;
        Ok(Box::new(self.file(id)))
    }
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.disk.platter()?.file_len(self.id)
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.disk.platter()?.read(self.id, offset, buf)
    }
    fn write_at(&self, offset: u64, bufs: &[&[u8]]) -> io::Result<()> {
        let mut platter = self.disk.platter()?;
        let mut at = offset;
        for buf in bufs {
            platter.bulk_written += if buf.len() >= BULK_BYTES_MIN { buf.len() as u64 } else { 0 };
            platter.write(self.id, at, buf)?;
            at += buf.len() as u64;
        }
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        self.disk.platter()?.sync(self.id)
    }
}

impl std::fmt::Debug for SimFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "simulated file {}", self.id)
    }
}

impl redb::StorageBackend for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.disk.platter()?.file_len(self.id)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.disk.platter()?.read(self.id, offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.platter()?.set_len(self.id, len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.disk.platter()?.sync(self.id)
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk.platter()?.write(self.id, offset, data)
    }
}
