//! A disk in memory, for tests and benches. Sparse: zeros cost nothing, so many small volumes are cheap.

use crate::disk::{Disk, DiskFile, Space};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const CHUNK_BYTES: usize = 4096;

/// Bytes of one file; chunks that were never written read as zeros.
#[derive(Clone, Debug, Default)]
pub struct SparseBytes {
    len: u64,
    /// Shared with snapshots until written.
    chunks: BTreeMap<u64, Arc<[u8; CHUNK_BYTES]>>,
}

impl SparseBytes {
    pub fn zeros(len: u64) -> SparseBytes {
        SparseBytes { len, chunks: BTreeMap::new() }
    }
    pub fn len(&self) -> u64 {
        self.len
    }
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that take memory.
    fn held(&self) -> u64 {
        (self.chunks.len() * CHUNK_BYTES) as u64
    }

    /// How many more a write would take.
    fn more_for(&self, offset: u64, data: &[u8]) -> u64 {
        let new = |(index, _, range): &(u64, usize, std::ops::Range<usize>)| {
            !self.chunks.contains_key(index) && data[range.clone()].iter().any(|byte| *byte != 0)
        };
        (pieces(offset, data.len()).filter(new).count() * CHUNK_BYTES) as u64
    }

    pub fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.chunks.retain(|index, _| index * (CHUNK_BYTES as u64) < len);
            // What lies between the new end and its chunk's end must read as zeros when the file grows again.
            let rest = (len % CHUNK_BYTES as u64) as usize;
            if let Some(chunk) = self.chunks.get_mut(&(len / CHUNK_BYTES as u64)) {
                Arc::make_mut(chunk)[rest..].fill(0);
            }
        }
        self.len = len;
    }

    pub fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.check_end(offset, out.len())?;
        for (index, within, range) in pieces(offset, out.len()) {
            let target = &mut out[range];
            match self.chunks.get(&index) {
                Some(chunk) => target.copy_from_slice(&chunk[within..within + target.len()]),
                None => target.fill(0),
            }
        }
        Ok(())
    }

    pub fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check_end(offset, data.len())?;
        for (index, within, range) in pieces(offset, data.len()) {
            let source = &data[range];
            // Zeros over zeros stay sparse.
            if !self.chunks.contains_key(&index) && source.iter().all(|byte| *byte == 0) {
                continue;
            }
            let chunk = self.chunks.entry(index).or_insert_with(|| Arc::new([0; CHUNK_BYTES]));
            Arc::make_mut(chunk)[within..within + source.len()].copy_from_slice(source);
        }
        Ok(())
    }

    fn check_end(&self, offset: u64, len: usize) -> io::Result<()> {
        match offset.checked_add(len as u64) {
            Some(end) if end <= self.len => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{len} bytes at {offset} of a file of {}", self.len))),
        }
    }
}

/// Splits a range at chunk borders: (chunk, offset in it, range of the caller's buffer).
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        (done < len).then(|| {
            let at = offset + done as u64;
            let within = (at % CHUNK_BYTES as u64) as usize;
            let take = (CHUNK_BYTES - within).min(len - done);
            let piece = (at / CHUNK_BYTES as u64, within, done..done + take);
            done += take;
            piece
        })
    })
}

#[derive(Debug, Default)]
pub struct MemFile(Mutex<SparseBytes>);

impl MemFile {
    fn bytes(&self) -> MutexGuard<'_, SparseBytes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DiskFile for MemFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes().len())
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.bytes().read(offset, buf)
    }
    fn write_at(&self, offset: u64, bufs: &[&[u8]]) -> io::Result<()> {
        let mut bytes = self.bytes();
        let mut at = offset;
        for buf in bufs {
            bytes.write(at, buf)?;
            at += buf.len() as u64;
        }
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Clones share the files; [`MemDisk::snapshot`] does not.
#[derive(Clone, Debug, Default)]
pub struct MemDisk(Arc<Mutex<Files>>);

#[derive(Debug, Default)]
struct Files {
    files: BTreeMap<String, Arc<MemFile>>,
    /// The view's file takes room where it is written, as in most file systems; the others are filled when they are made.
    stores: BTreeSet<String>,
    /// All files may take this much together.
    capacity_bytes: Option<u64>,
}

/// What a memory disk claims as its size when none is set.
const TOTAL_BYTES: u64 = 1 << 40;

impl MemDisk {
    pub fn new() -> MemDisk {
        MemDisk::default()
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for files from now on; what exists stays.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.files().capacity_bytes = bytes;
    }

    /// The same bytes, independent from here on.
    pub fn snapshot(&self) -> MemDisk {
        let files = self.files();
        let copies = files.files.iter().map(|(name, file)| (name.clone(), Arc::new(MemFile(Mutex::new(file.bytes().clone())))));
        let copy = Files { files: copies.collect(), stores: files.stores.clone(), capacity_bytes: files.capacity_bytes };
        MemDisk(Arc::new(Mutex::new(copy)))
    }

    /// Cuts or grows a file, as a test's damage.
    pub fn set_len(&self, name: &str, len: u64) -> io::Result<()> {
        self.file(name)?.bytes().set_len(len);
        Ok(())
    }

    fn file(&self, name: &str) -> io::Result<Arc<MemFile>> {
        self.files().files.get(name).cloned().ok_or_else(|| missing(name))
    }
}

fn missing(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{name}: no such file"))
}

impl Files {
    fn used(&self) -> u64 {
        let used = |(name, file): (&String, &Arc<MemFile>)| {
            let bytes = file.bytes();
            if self.stores.contains(name) { bytes.held() } else { bytes.len() }
        };
        self.files.iter().map(used).sum()
    }
    fn space(&self) -> Space {
        let total_bytes = self.capacity_bytes.unwrap_or(TOTAL_BYTES);
        Space { total_bytes, free_bytes: total_bytes.saturating_sub(self.used()) }
    }
}

impl Disk for MemDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files().files.keys().cloned().collect())
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(name)?)
    }
    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        let mut files = self.files();
        if files.files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if files.capacity_bytes.is_some() && files.space().free_bytes < bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = Arc::new(MemFile(Mutex::new(SparseBytes::zeros(bytes))));
        files.files.insert(name.to_string(), file.clone());
        Ok(file)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.files();
        if files.files.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = files.files.remove(from).ok_or_else(|| missing(from))?;
        files.files.insert(to.to_string(), file);
        Ok(())
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.files().files.remove(name).map(|_| ()).ok_or_else(|| missing(name))
    }
    fn space(&self) -> io::Result<Space> {
        Ok(self.files().space())
    }
    fn reread(&self) -> io::Result<()> {
        Ok(())
    }
    fn store(&self, name: &str) -> io::Result<Box<dyn redb::StorageBackend>> {
        let mut files = self.files();
        files.stores.insert(name.to_string());
        let file = files.files.entry(name.to_string()).or_default().clone();
        Ok(Box::new(Store { file, disk: self.clone() }))
    }
}

/// The view's file for redb.
#[derive(Debug)]
struct Store {
    file: Arc<MemFile>,
    disk: MemDisk,
}

impl redb::StorageBackend for Store {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.bytes().len())
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.bytes().read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.bytes().set_len(len);
        Ok(())
    }
    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let files = self.disk.files();
        if files.capacity_bytes.is_some() {
            let more = self.file.bytes().more_for(offset, data);
            if more > 0 && files.space().free_bytes < more {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        self.file.bytes().write(offset, data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_where_they_were_written() {
        let disk = MemDisk::new();
        let file = disk.create("a", 20_000).unwrap();
        file.write_at(4090, &[b"hello ", b"over the border"]).unwrap();
        let mut back = [0; 22];
        file.read_at(4090, &mut back).unwrap();
        assert_eq!(&back, b"hello over the border\0");
        assert_eq!(file.write_at(19_999, &[b"xy"]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        let old = disk.snapshot();
        file.write_at(4090, &[b"HELLO"]).unwrap();
        old.open("a").unwrap().read_at(4090, &mut back[..5]).unwrap();
        assert_eq!(&back[..5], b"hello");
    }

    #[test]
    fn a_cut_file_reads_as_zeros_when_it_grows_again() {
        let mut bytes = SparseBytes::zeros(10_000);
        bytes.write(0, &[7; 10_000]).unwrap();
        bytes.set_len(5_000);
        bytes.set_len(10_000);
        let mut back = vec![1; 10_000];
        bytes.read(0, &mut back).unwrap();
        assert!(back[..5_000].iter().all(|byte| *byte == 7) && back[5_000..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn capacity_refuses_and_returns() {
        let disk = MemDisk::new();
        disk.set_capacity(Some(10_000));
        disk.create("a", 8_000).unwrap();
        assert_eq!(disk.create("b", 8_000).err().map(|error| error.kind()), Some(io::ErrorKind::StorageFull));
        disk.remove("a").unwrap();
        disk.create("b", 8_000).unwrap();
        disk.rename("b", "c").unwrap();
        assert_eq!(disk.list().unwrap(), ["c"]);
        let store = disk.store("view").unwrap();
        store.set_len(9_000).unwrap();
        assert_eq!(store.write(5_000, b"x").unwrap_err().kind(), io::ErrorKind::StorageFull);
        disk.set_capacity(Some(8_000 + 4_096));
        store.write(5_000, b"x").unwrap();
        assert_eq!(disk.space().unwrap().free_bytes, 0);
    }
}
