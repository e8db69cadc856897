//! A real directory. Files are opened once and kept open, within a bound.

mod store;

use crate::disk::{Disk, DiskFile, Space};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Open files kept per volume; the least recently used is closed first.
const HANDLES_MAX: usize = 256;
/// Buffers of one pwritev (Linux `IOV_MAX`).
const VECTORS_MAX: usize = 1024;
/// Zeros are written in pieces of this size.
const ZEROS_BYTES: usize = 1 << 20;
/// Held (flock) while a process uses the directory.
const LOCK_FILE: &str = "lock";
/// Files being made; removed when found at opening.
const UNFINISHED: &str = ".unfinished";

/// See the module's text. The directory is locked against a second process for as long as this lives.
pub struct FileDisk {
    root: PathBuf,
    directory: File,
    _lock: File,
    handles: Mutex<Handles>,
}

#[derive(Default)]
struct Handles {
    open: BTreeMap<String, (Arc<RealFile>, u64)>,
    clock: u64,
}

struct RealFile(File);

impl FileDisk {
    /// Makes the directory when it is missing. `WouldBlock` when another process has it.
    pub fn open(root: impl AsRef<Path>) -> io::Result<FileDisk> {
        let root = root.as_ref().to_path_buf();
        fs::create_dir_all(&root)?;
        let directory = File::open(&root)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(root.join(LOCK_FILE))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => {
                io::Error::new(io::ErrorKind::WouldBlock, format!("{} is in use by another process", root.display()))
            }
            fs::TryLockError::Error(error) => error,
        })?;
        let disk = FileDisk { root, directory, _lock: lock, handles: Mutex::default() };
        disk.remove_unfinished()?;
        Ok(disk)
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    fn remove_unfinished(&self) -> io::Result<()> {
        for name in self.names()?.iter().filter(|name| name.ends_with(UNFINISHED)) {
            fs::remove_file(self.root.join(name))?;
        }
        Ok(())
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            if let (true, Ok(name)) = (entry.file_type()?.is_file(), entry.file_name().into_string()) {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn handles(&self) -> MutexGuard<'_, Handles> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.directory.sync_all()
    }
}

impl Handles {
    fn get(&mut self, name: &str) -> Option<Arc<RealFile>> {
        self.clock += 1;
        let (file, used) = self.open.get_mut(name)?;
        *used = self.clock;
        Some(file.clone())
    }

    fn put(&mut self, name: &str, file: Arc<RealFile>) {
        if self.open.len() >= HANDLES_MAX
            && let Some(oldest) = self.open.iter().min_by_key(|(_, (_, used))| *used).map(|(name, _)| name.clone())
        {
            self.open.remove(&oldest);
        }
        self.open.insert(name.to_string(), (file, self.clock));
    }
}

/// Zeros through the whole file, then synced: later writes inside it neither allocate nor change metadata.
fn fill_with_zeros(path: &Path, bytes: u64) -> io::Result<File> {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
    let zeros = vec![0; ZEROS_BYTES.min(bytes as usize)];
    let mut left = bytes;
    while left > 0 {
        let piece = left.min(ZEROS_BYTES as u64) as usize;
        file.write_all(&zeros[..piece])?;
        left -= piece as u64;
    }
    file.sync_all()?;
    Ok(file)
}

impl Disk for FileDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = self.names()?;
        names.retain(|name| name != LOCK_FILE);
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut handles = self.handles();
        if let Some(file) = handles.get(name) {
            return Ok(file);
        }
        let file = Arc::new(RealFile(OpenOptions::new().read(true).write(true).open(self.root.join(name))?));
        handles.put(name, file.clone());
        Ok(file)
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.root.join(name);
        if path.try_exists()? {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} exists", path.display())));
        }
        // Under another name until it is whole, so a crash leaves no half-made segment behind.
        let unfinished = self.root.join(format!("{name}{UNFINISHED}"));
        let made = fill_with_zeros(&unfinished, bytes)
            .and_then(|file| fs::rename(&unfinished, &path).map(|()| file))
            .and_then(|file| self.sync_directory().map(|()| file));
        let file = made.inspect_err(|_| {
            // Space comes back at once when the disk is full; a failure here is mended at the next opening.
            let _ = fs::remove_file(&unfinished);
        })?;
        let file = Arc::new(RealFile(file));
        self.handles().put(name, file.clone());
        Ok(file)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let target = self.root.join(to);
        if target.try_exists()? {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} exists", target.display())));
        }
        self.handles().open.remove(from);
        fs::rename(self.root.join(from), target)?;
        self.sync_directory()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.handles().open.remove(name);
        fs::remove_file(self.root.join(name))?;
        self.sync_directory()
    }

    fn space(&self) -> io::Result<Space> {
        let stat = rustix::fs::fstatvfs(&self.directory)?;
        Ok(Space { total_bytes: stat.f_blocks * stat.f_frsize, free_bytes: stat.f_bavail * stat.f_frsize })
    }

    /// A sync that fails here is no news: it was one that failed before, and what it left is not read.
    fn reread(&self) -> io::Result<()> {
        for name in self.list()? {
            let file = File::options().read(true).write(true).open(self.root.join(&name))?;
            let _ = file.sync_data();
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
        }
        self.sync_directory()
    }

    fn store(&self, name: &str) -> io::Result<Box<dyn redb::StorageBackend>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(self.root.join(name))?;
        self.sync_directory()?;
        Ok(Box::new(store::Store::new(file)))
    }
}

impl DiskFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buf, offset)
    }
    fn write_at(&self, offset: u64, bufs: &[&[u8]]) -> io::Result<()> {
        let mut at = offset;
        for group in bufs.chunks(VECTORS_MAX) {
            let mut slices: Vec<IoSlice> = group.iter().map(|buf| IoSlice::new(buf)).collect();
            at = write_group(&self.0, at, &mut slices)?;
        }
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// Returns the offset behind what was written.
fn write_group(file: &File, mut at: u64, mut slices: &mut [IoSlice<'_>]) -> io::Result<u64> {
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        match rustix::io::pwritev(file, slices, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                at += written as u64;
                IoSlice::advance_slices(&mut slices, written);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("mainstay-file-disk-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn a_directory_behaves_as_memory_does() {
        let root = scratch("basics");
        let disk = FileDisk::open(&root).unwrap();
        let file = disk.create("log-1.seg", 3 << 20).unwrap();
        // More buffers than one pwritev takes.
        let bufs: Vec<[u8; 3]> = (0..3000u32).map(|n| [n as u8, (n >> 8) as u8, 9]).collect();
        let slices: Vec<&[u8]> = bufs.iter().map(|buf| &buf[..]).collect();
        file.write_at(100, &slices).unwrap();
        file.sync().unwrap();
        let mut back = vec![0; 9000];
        file.read_at(100, &mut back).unwrap();
        assert_eq!(back, slices.concat());
        assert_eq!(file.read_at(3 << 20, &mut back).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(disk.create("log-1.seg", 10).err().map(|error| error.kind()), Some(io::ErrorKind::AlreadyExists));
        disk.rename("log-1.seg", "log-2.seg").unwrap();
        assert_eq!(disk.open("log-1.seg").err().map(|error| error.kind()), Some(io::ErrorKind::NotFound));
        assert_eq!(disk.list().unwrap(), ["log-2.seg"]);
        assert!(disk.space().unwrap().free_bytes > 0);
        disk.remove("log-2.seg").unwrap();
        drop(disk);
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_second_process_is_refused_and_unfinished_files_vanish() {
        let root = scratch("lock");
        let disk = FileDisk::open(&root).unwrap();
        assert_eq!(FileDisk::open(&root).err().map(|error| error.kind()), Some(io::ErrorKind::WouldBlock));
        drop(disk);
        fs::write(root.join(format!("log-3.seg{UNFINISHED}")), b"half").unwrap();
        let disk = FileDisk::open(&root).unwrap();
        assert!(disk.list().unwrap().is_empty());
        drop(disk);
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn the_view_has_its_room_before_it_is_written() {
        use std::os::unix::fs::MetadataExt;
        let root = scratch("store");
        let disk = FileDisk::open(&root).unwrap();
        let store = disk.store("view").unwrap();
        store.set_len(8 << 20).unwrap();
        let held = || fs::metadata(root.join("view")).unwrap().blocks() * 512;
        assert!(held() < 1 << 20);
        store.write((3 << 20) - 2, b"over the border").unwrap();
        assert!((2 << 20..=3 << 20).contains(&held()), "{}", held());
        store.set_len(3 << 20).unwrap();
        store.set_len(8 << 20).unwrap();
        store.write(4 << 20, b"again").unwrap();
        let mut back = [1; 5];
        store.read((3 << 20) - 2, &mut back).unwrap();
        assert_eq!((&back, store.len().unwrap()), (b"ov\0\0\0", 8 << 20));
        drop((store, disk));
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn more_files_than_handles_can_be_used() {
        let root = scratch("handles");
        let disk = FileDisk::open(&root).unwrap();
        for n in 0..HANDLES_MAX + 40 {
            disk.create(&format!("f{n}"), 16).unwrap().write_at(0, &[&(n as u64).to_le_bytes()]).unwrap();
        }
        for n in 0..HANDLES_MAX + 40 {
            let mut back = [0; 8];
            disk.open(&format!("f{n}")).unwrap().read_at(0, &mut back).unwrap();
            assert_eq!(u64::from_le_bytes(back), n as u64);
        }
        assert!(disk.handles().open.len() <= HANDLES_MAX);
        drop(disk);
        fs::remove_dir_all(&root).unwrap();
    }
}
