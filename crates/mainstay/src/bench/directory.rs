//! A local directory as target: the limit that a file server on this disk could reach. A thread per slot; files are opened for
//! each operation, durable means `fdatasync`. Directories are not synced, as a local program would not do it either.

use super::BenchError;
use super::content::Content;
use super::engine::{Engine, Sample};
use super::operation::{BLOCK_BYTES, CHUNK_BYTES, FILE_BYTES, Operation};
use super::phase::{DIRECTORIES, File, Ground, Large, Phase, Place};
use super::progress::Watch;
use bytes::Bytes;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often it is looked whether all slots have ended: short beside a phase, and cheap.
const LOOK: Duration = Duration::from_millis(2);

pub struct DirectoryEngine {
    home: PathBuf,
    large: Option<fs::File>,
}

/// Shared by the slots' threads of a phase.
struct Run<'a> {
    phase: &'a Phase,
    ground: &'a Ground,
    content: &'a Content,
    home: &'a Path,
    large: Option<&'a fs::File>,
    started: Instant,
    operations: AtomicU64,
    stop: AtomicBool,
}

/// A slot's part of the sample, and how it ended.
type Ended = (Sample, Result<(), Failure>);

/// Why a slot stops early.
enum Failure {
    Io(io::Error),
    Wrong(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Io(error)
    }
}

impl DirectoryEngine {
    pub fn open(directory: &Path, home_name: &str) -> Result<DirectoryEngine, BenchError> {
        let home = directory.join(home_name);
        let failed = |source| BenchError::Io { path: home.display().to_string(), source };
        fs::create_dir(&home).map_err(failed)?;
        let mut engine = DirectoryEngine { home: home.clone(), large: None };
        let made = (0..DIRECTORIES).try_for_each(|number| fs::create_dir(home.join(format!("d{number:02}"))));
        match made {
            Ok(()) => Ok(engine),
            Err(error) => engine.sweep().and(Err(failed(error))),
        }
    }

    fn failed(&self, source: io::Error) -> BenchError {
        BenchError::Io { path: self.home.display().to_string(), source }
    }
}

fn path(home: &Path, file: &File) -> PathBuf {
    home.join(format!("d{:02}", file.directory())).join(file.name())
}

impl Run<'_> {
    /// A thread for each slot; this one looks after the progress bar and Ctrl-C.
    fn all_slots(&self, watch: &mut Watch) -> Result<Vec<Ended>, BenchError> {
        let mut watched = Ok(());
        let slots = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.phase.depth).map(|slot| scope.spawn(move || self.slot(slot))).collect();
            while watched.is_ok() && threads.iter().any(|thread| !thread.is_finished()) {
                watched = watch.tick(Instant::now(), self.operations.load(Ordering::Relaxed));
                std::thread::park_timeout(LOOK);
            }
            if watched.is_err() {
                self.stop.store(true, Ordering::Relaxed);
            }
            let joined = threads.into_iter().map(|thread| thread.join());
            joined.map(|slot| slot.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        watched.map(|()| slots)
    }

    /// One slot, from its first operation to its last.
    fn slot(&self, slot: u64) -> Ended {
        let mut sample = Sample::default();
        let mut buffer = vec![0; self.phase.operation.bytes()];
        let mut n = 0;
        let mut result = Ok(());
        while let Some(place) = self.phase.place(slot, n) {
            let began = Instant::now();
            if self.phase.is_over(self.started, began) || self.stop.load(Ordering::Relaxed) {
                break;
            }
            result = self.one(place, &mut buffer);
            if result.is_err() {
                self.stop.store(true, Ordering::Relaxed);
                break;
            }
            sample.latency.record(began.elapsed());
            self.operations.fetch_add(1, Ordering::Relaxed);
            n += 1;
        }
        sample.done.push(n);
        sample.elapsed = self.started.elapsed();
        (sample, result)
    }

    fn one(&self, place: Place, buffer: &mut [u8]) -> Result<(), Failure> {
        let operation = self.phase.operation;
        match operation {
            Operation::SeqWrite | Operation::SeqRead | Operation::RandWrite => return self.one_large(place, buffer),
            Operation::Create | Operation::Read | Operation::Getattr | Operation::Rename | Operation::Remove => {}
        }
        let own = self.ground.file(operation, place);
        // Only renames change a name, once in every lap.
        let file = if operation == Operation::Rename { own.after(place.lap) } else { own };
        let path = path(self.home, &file);
        match operation {
            Operation::Create => {
                let mut made = fs::File::create_new(path)?;
                made.write_all(&self.content.file(own.id))?;
                made.sync_data()?;
            }
            Operation::Read => {
                fs::File::open(path)?.read_exact_at(buffer, 0)?;
                same(buffer, &self.content.file(own.id), || own.name())?;
            }
            Operation::Getattr => {
                let len = fs::metadata(path)?.len();
                if len != FILE_BYTES as u64 {
                    return Err(Failure::Wrong(format!("{} has {len} bytes, not {FILE_BYTES}", own.name())));
                }
            }
            Operation::Rename => fs::rename(path, self::path(self.home, &file.after(1)))?,
            _ => fs::remove_file(path)?,
        }
        Ok(())
    }

    fn one_large(&self, place: Place, buffer: &mut [u8]) -> Result<(), Failure> {
        let large = self.large.expect("phases that need the large file run after it was made");
        let generation = self.ground.large.generation;
        let offset = place.unit * CHUNK_BYTES as u64;
        match self.phase.operation {
            Operation::SeqWrite => large.write_all_at(&self.content.chunk(generation, place.unit), offset)?,
            Operation::SeqRead => {
                large.read_exact_at(buffer, offset)?;
                same(buffer, &self.content.chunk(generation, place.unit), || format!("MiB {} of the large file", place.unit))?;
            }
            _ => {
                let block = self.phase.block(place.unit);
                let version = self.ground.large.versions[block as usize] + place.lap + 1;
                large.write_all_at(&self.content.block(generation, block, version), block * BLOCK_BYTES as u64)?;
                large.sync_data()?;
            }
        }
        Ok(())
    }
}

fn same(found: &[u8], expected: &[u8], what: impl Fn() -> String) -> Result<(), Failure> {
    if found == expected { Ok(()) } else { Err(Failure::Wrong(format!("{} has not what was written", what()))) }
}

impl Engine for DirectoryEngine {
    fn name(&self) -> String {
        self.home.display().to_string()
    }

    fn run(&mut self, phase: &Phase, ground: &Ground, content: &Content, watch: &mut Watch) -> Result<Sample, BenchError> {
        let run = Run {
            phase,
            ground,
            content,
            home: &self.home,
            large: self.large.as_ref(),
            started: Instant::now(),
            operations: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        };
        let slots = run.all_slots(watch)?;
        let mut sample = Sample::default();
        for (slot, result) in slots {
            sample.done.extend(slot.done);
            sample.latency.merge(&slot.latency);
            // The threads' own time: who waited for them woke up later.
            sample.elapsed = sample.elapsed.max(slot.elapsed);
            result.map_err(|failure| match failure {
                Failure::Io(source) => self.failed(source),
                Failure::Wrong(what) => BenchError::WrongData { target: self.name(), what },
            })?;
        }
        // Making the sequential writes durable belongs to their time.
        if let (Operation::SeqWrite, Some(large)) = (phase.operation, &self.large) {
            let syncing = Instant::now();
            large.sync_data().map_err(|source| self.failed(source))?;
            sample.elapsed += syncing.elapsed();
        }
        Ok(sample)
    }

    fn renew_large(&mut self, old: u64, new: u64) -> Result<(), BenchError> {
        if self.large.take().is_some() {
            fs::remove_file(self.home.join(Large::name(old))).map_err(|source| self.failed(source))?;
        }
        let options = fs::OpenOptions::new().read(true).write(true).create_new(true).open(self.home.join(Large::name(new)));
        self.large = Some(options.map_err(|source| self.failed(source))?);
        Ok(())
    }

    fn read_file(&mut self, file: &File, len: u32) -> Result<Option<Bytes>, BenchError> {
        let mut data = Vec::new();
        match fs::File::open(path(&self.home, file)).and_then(|file| file.take(len.into()).read_to_end(&mut data)) {
            Ok(_) => Ok(Some(Bytes::from(data))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn read_large(&mut self, _generation: u64, offset: u64, len: u32) -> Result<Bytes, BenchError> {
        let mut data = vec![0; len as usize];
        let large = self.large.as_ref().expect("checked after it was made");
        large.read_exact_at(&mut data, offset).map_err(|source| self.failed(source))?;
        Ok(Bytes::from(data))
    }

    fn sweep(&mut self) -> Result<(), BenchError> {
        fs::remove_dir_all(&self.home).map_err(|source| self.failed(source))
    }
}
