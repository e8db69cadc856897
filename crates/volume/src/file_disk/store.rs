//! The view's file on a real disk.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

/// Room is taken in pieces of this size.
const CHUNK_BYTES: u64 = 1 << 20;

/// Takes room before it writes. A file that only has a length meets a full disk when its pages are written back, at a sync:
/// then what was written may be lost, and nothing can be believed any more. So the write itself must fail.
#[derive(Debug)]
pub(super) struct Store {
    file: File,
    /// Chunks that have their room, as far as is known since opening.
    taken: Mutex<BTreeSet<u64>>,
}

impl Store {
    pub fn new(file: File) -> Store {
        Store { file, taken: Mutex::default() }
    }

    fn take_room(&self, offset: u64, len: u64) -> io::Result<()> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let chunks = offset / CHUNK_BYTES..=(offset + len.max(1) - 1) / CHUNK_BYTES;
        for chunk in chunks.filter(|chunk| !taken.contains(chunk)).collect::<Vec<_>>() {
            match self.allocate(chunk * CHUNK_BYTES, CHUNK_BYTES) {
                Ok(()) => _ = taken.insert(chunk),
                // A piece of it may have its room, or fit.
                Err(_) => return self.allocate(offset, len),
            }
        }
        Ok(())
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.file, rustix::fs::FallocateFlags::KEEP_SIZE, offset, len) {
            // Where the file system cannot, its writes are believed to say so themselves.
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl redb::StorageBackend for Store {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.split_off(&(len / CHUNK_BYTES));
        self.file.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.take_room(offset, data.len() as u64)?;
        self.file.write_all_at(data, offset)
    }
}
