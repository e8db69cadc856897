//! A disk that loses power. What was not synced survives in part: any subset of its sectors, in any order. Operations fail from
//! the moment of death on.

use crate::rig::Rng;
use mainstay_volume::mem_disk::SparseBytes;
use mainstay_volume::{Disk, DiskFile, Space};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

/// What a disk writes whole or not at all.
const SECTOR_BYTES: u64 = 512;

/// Which unsynced writes survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    Everything,
    Nothing,
    /// Some of the writes, whole.
    Writes,
    /// Some of the sectors.
    Sectors,
    /// All sectors of the first writes, none of the last: a torn tail.
    Tail,
}

pub const LOSSES: [Loss; 5] = [Loss::Everything, Loss::Nothing, Loss::Writes, Loss::Sectors, Loss::Tail];

#[derive(Clone)]
enum Op {
    Write(u64, Vec<u8>),
    SetLen(u64),
}

#[derive(Default)]
struct Content {
    now: SparseBytes,
    durable: SparseBytes,
    pending: Vec<Op>,
}

/// Operations left until the power fails.
#[derive(Debug, Default)]
struct Power {
    left: Option<u64>,
    refuses_reads: bool,
}

impl Power {
    fn use_some(&mut self) -> io::Result<()> {
        match &mut self.left {
            Some(0) => Err(io::Error::other("the power is off")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

struct CrashFile {
    content: Mutex<Content>,
    power: Arc<Mutex<Power>>,
}

#[derive(Clone, Default)]
pub struct CrashDisk {
    files: Arc<Mutex<BTreeMap<String, Arc<CrashFile>>>>,
    power: Arc<Mutex<Power>>,
}

impl CrashDisk {
    /// The power fails after this many more changing operations.
    pub fn die_after(&self, operations: Option<u64>) {
        self.power.lock().unwrap().left = operations;
    }

    /// Reads fail from now on, or do not any more.
    pub fn refuse_reads(&self, refuse: bool) {
        self.power.lock().unwrap().refuses_reads = refuse;
    }

    /// The disk as it is when the power is back.
    pub fn after_crash(&self, loss: Loss, rng: &mut Rng) -> CrashDisk {
        let power: Arc<Mutex<Power>> = Arc::default();
        let files = self.files.lock().unwrap();
        let survivors = files.iter().map(|(name, file)| {
            let bytes = surviving(&file.content.lock().unwrap(), loss, rng);
            let content = Content { now: bytes.clone(), durable: bytes, pending: Vec::new() };
            (name.clone(), Arc::new(CrashFile { content: Mutex::new(content), power: power.clone() }))
        });
        CrashDisk { files: Arc::new(Mutex::new(survivors.collect())), power: power.clone() }
    }

    fn file(&self, name: &str) -> io::Result<Arc<CrashFile>> {
        self.files.lock().unwrap().get(name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
    fn use_power(&self) -> io::Result<()> {
        self.power.lock().unwrap().use_some()
    }
}

fn surviving(content: &Content, loss: Loss, rng: &mut Rng) -> SparseBytes {
    let mut bytes = content.durable.clone();
    let cut = rng.below(content.pending.len() as u64 + 1) as usize;
    for (index, op) in content.pending.iter().enumerate() {
        let kept = match loss {
            Loss::Everything => false,
            Loss::Nothing | Loss::Sectors => true,
            Loss::Writes => rng.below(2) == 0,
            Loss::Tail => index <= cut,
        };
        match op {
            Op::SetLen(len) if kept => bytes.set_len(*len),
            Op::Write(offset, data) if kept => {
                let torn = loss == Loss::Sectors || (loss == Loss::Tail && index == cut);
                write_sectors(&mut bytes, *offset, data, torn, rng);
            }
            _ => {}
        }
    }
    bytes
}

fn write_sectors(bytes: &mut SparseBytes, offset: u64, data: &[u8], torn: bool, rng: &mut Rng) {
    let mut at = 0;
    while at < data.len() {
        let rest = SECTOR_BYTES - (offset + at as u64) % SECTOR_BYTES;
        let end = data.len().min(at + rest as usize);
        if !torn || rng.below(2) == 0 {
            let from = offset + at as u64;
            bytes.set_len(bytes.len().max(from + (end - at) as u64));
            bytes.write(from, &data[at..end]).unwrap();
        }
        at = end;
    }
}

impl Content {
    fn sync(&mut self) {
        for op in self.pending.drain(..) {
            match op {
                Op::SetLen(len) => self.durable.set_len(len),
                Op::Write(offset, data) => {
                    self.durable.set_len(self.durable.len().max(offset + data.len() as u64));
                    self.durable.write(offset, &data).unwrap();
                }
            }
        }
    }
}

impl CrashFile {
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let alive = self.power.lock().unwrap().use_some();
        let mut content = self.content.lock().unwrap();
        content.now.write(offset, data)?;
        content.pending.push(Op::Write(offset, data.to_vec()));
        // The write during which the power fails may reach the disk in part.
        alive
    }
}

impl DiskFile for CrashFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.content.lock().unwrap().now.len())
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        if self.power.lock().unwrap().refuses_reads {
            return Err(io::Error::other("the sector cannot be read"));
        }
        self.content.lock().unwrap().now.read(offset, buf)
    }
    fn write_at(&self, offset: u64, bufs: &[&[u8]]) -> io::Result<()> {
        self.write(offset, &bufs.concat())
    }
    fn sync(&self) -> io::Result<()> {
        self.power.lock().unwrap().use_some()?;
        self.content.lock().unwrap().sync();
        Ok(())
    }
}

impl Disk for CrashDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files.lock().unwrap().keys().cloned().collect())
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(name)?)
    }
    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        self.use_power()?;
        let content = Content { now: SparseBytes::zeros(bytes), durable: SparseBytes::zeros(bytes), pending: Vec::new() };
        let file = Arc::new(CrashFile { content: Mutex::new(content), power: self.power.clone() });
        self.files.lock().unwrap().insert(name.to_string(), file.clone());
        Ok(file)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.use_power()?;
        let mut files = self.files.lock().unwrap();
        assert!(!files.contains_key(to), "{to} exists");
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_string(), file);
        Ok(())
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.use_power()?;
        self.files.lock().unwrap().remove(name).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
    fn space(&self) -> io::Result<Space> {
        Ok(Space { total_bytes: 1 << 40, free_bytes: 1 << 39 })
    }
    fn reread(&self) -> io::Result<()> {
        Ok(())
    }
    fn store(&self, name: &str) -> io::Result<Box<dyn redb::StorageBackend>> {
        let mut files = self.files.lock().unwrap();
        let made = || Arc::new(CrashFile { content: Mutex::default(), power: self.power.clone() });
        Ok(Box::new(Store(files.entry(name.to_string()).or_insert_with(made).clone())))
    }
}

struct Store(Arc<CrashFile>);

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

impl redb::StorageBackend for Store {
    fn len(&self) -> io::Result<u64> {
        DiskFile::len(&*self.0)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.power.lock().unwrap().use_some()?;
        let mut content = self.0.content.lock().unwrap();
        content.now.set_len(len);
        content.pending.push(Op::SetLen(len));
        Ok(())
    }
    fn sync_data(&self) -> io::Result<()> {
        DiskFile::sync(&*self.0)
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}
