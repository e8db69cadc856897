//! Clients that write, rename, remove and read back without a pause, and remember every answer. What they were told is the
//! truth that the volume is held to at the end.

use crate::nfs_client::{CallError, Client, Handle, Options};
use bytes::Bytes;
use mainstay_protocol::file::{CreateHow, SetAttributes};
use mainstay_protocol::{FileError, Stability};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Files that one client keeps; more are removed again.
const FILES_MAX: usize = 96;
/// Largest file that it writes.
const FILE_BYTES_MAX: u64 = 96 << 10;
/// A call that gets no answer for so long is counted as an error: longer than any failover that a person attends to.
const CALL_TIME_MAX: Duration = Duration::from_secs(120);

/// What all clients saw together.
#[derive(Debug, Default)]
pub struct Seen {
    /// Calls that were answered.
    pub operations: u64,
    /// Calls that were sent again over a new connection, or asked again because the server said "later".
    pub retried: u64,
    pub errors: Vec<String>,
    /// Answers that contradict an earlier acknowledgement.
    pub lost: Vec<String>,
    pub bytes_written: u64,
    pub last_reply: Option<Instant>,
    /// Longest time in which no client got any answer, and when it ended.
    pub longest_gap: Duration,
    pub gap_ended: Option<Instant>,
    /// Longest time that one client waited for one answer, since somebody last set it back.
    pub waited: Duration,
}

impl Seen {
    fn reply(&mut self, now: Instant, asked: Instant) {
        self.waited = self.waited.max(now.saturating_duration_since(asked));
        let gap = self.last_reply.map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        if gap > self.longest_gap {
            self.longest_gap = gap;
            self.gap_ended = Some(now);
        }
        self.operations += 1;
        self.last_reply = Some(now);
    }
}

/// Running clients; stopped and verified by [`Workload::finish`].
pub struct Workload {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Workload {
    pub fn start(address: SocketAddr, export: &str, clients: usize) -> Workload {
        let (seen, stop) = (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicBool::new(false)));
        let spawn = |number: usize| {
            let (seen, stop, export) = (seen.clone(), stop.clone(), export.to_string());
            std::thread::spawn(move || {
                if let Err(error) = run(address, &export, number, &seen, &stop) {
                    lock(&seen).errors.push(format!("client {number}: {error}"));
                }
            })
        };
        let clients = (0..clients).map(spawn).collect();
        Workload { seen, stop, clients }
    }

    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }

    /// Every client reads back everything that it was told is there, then stops.
    pub fn finish(mut self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        for client in std::mem::take(&mut self.clients) {
            if client.join().is_err() {
                lock(&self.seen).errors.push("a client ended by a panic".into());
            }
        }
        std::mem::take(&mut *lock(&self.seen))
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn run(address: SocketAddr, export: &str, number: usize, seen: &Mutex<Seen>, stop: &AtomicBool) -> Result<(), String> {
    let options = Options { call_timeout: CALL_TIME_MAX, ..Options::default() };
    let mut client = Client::connect(address, export, options).map_err(|error| error.to_string())?;
    let root = client.root();
    let name = format!("client-{number}-{}", std::process::id());
    let dir =
        client.mkdir(&root, &name, SetAttributes { mode: Some(0o755), ..Default::default() }).map_err(|error| error.to_string())?;
    let mut worker = Worker {
        client,
        dir,
        files: BTreeMap::new(),
        random: 0x9e37_79b9 + number as u64,
        made: 0,
        counted: 0,
        answered_at: Instant::now(),
        seen,
    };
    while !stop.load(Ordering::Relaxed) {
        worker.one_operation().map_err(|error| error.to_string())?;
    }
    worker.verify_all().map_err(|error| error.to_string())
}

struct Worker<'a> {
    client: Client,
    dir: Handle,
    /// What the server acknowledged: name → handle and content.
    files: BTreeMap<String, (Handle, Vec<u8>)>,
    random: u64,
    made: u64,
    /// Retries that were added to the total already.
    counted: u64,
    /// It asks again at once, so this is when it asked.
    answered_at: Instant,
    seen: &'a Mutex<Seen>,
}

impl Worker<'_> {
    fn draw(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) % below
    }

    fn answered(&mut self) {
        let stats = self.client.stats();
        let retried = stats.resent + stats.delayed;
        let mut seen = lock(self.seen);
        let now = Instant::now();
        seen.reply(now, self.answered_at);
        self.answered_at = now;
        seen.retried += retried - self.counted;
        self.counted = retried;
    }

    fn any_file(&mut self) -> Option<String> {
        let index = self.draw(self.files.len().max(1) as u64) as usize;
        self.files.keys().nth(index).cloned()
    }

    fn one_operation(&mut self) -> Result<(), CallError> {
        if self.files.len() >= FILES_MAX {
            return self.remove();
        }
        match self.draw(10) {
            0..=3 => self.create(),
            4 | 5 => self.overwrite(),
            6 => self.rename(),
            7 => self.remove(),
            _ => self.read_back(),
        }
    }

    /// A new file, written either stably or unstably and committed.
    fn create(&mut self) -> Result<(), CallError> {
        self.made += 1;
        let name = format!("f{}", self.made);
        // A retry whose first try was done must still be told success: the duplicate request cache is under test here.
        let how = CreateHow::Guarded(SetAttributes { mode: Some(0o644), ..Default::default() });
        let file = self.client.create(&self.dir, &name, how)?;
        self.answered();
        let size = 1 + self.draw(FILE_BYTES_MAX);
        let data = self.content(size as usize);
        self.write(&file, 0, &data)?;
        self.files.insert(name, (file, data));
        Ok(())
    }

    fn overwrite(&mut self) -> Result<(), CallError> {
        let Some(name) = self.any_file() else { return Ok(()) };
        let (file, mut data) = self.files[&name].clone();
        let at = self.draw(data.len() as u64) as usize;
        let patch = self.content((data.len() - at).min(4096));
        self.write(&file, at as u64, &patch)?;
        data[at..at + patch.len()].copy_from_slice(&patch);
        self.files.insert(name, (file, data));
        Ok(())
    }

    fn write(&mut self, file: &Handle, offset: u64, data: &[u8]) -> Result<(), CallError> {
        let stable = self.draw(2) == 0;
        let stability = if stable { Stability::FileSync } else { Stability::Unstable };
        let written = self.client.write(file, offset, Bytes::copy_from_slice(data), stability)?;
        self.answered();
        if !stable {
            let verifier = self.client.commit(file)?;
            self.answered();
            if verifier != written.verifier {
                // As the protocol wants it: unsynced data may be gone, so it is sent again.
                self.client.write(file, offset, Bytes::copy_from_slice(data), Stability::FileSync)?;
                self.answered();
            }
        }
        lock(self.seen).bytes_written += data.len() as u64;
        Ok(())
    }

    fn rename(&mut self) -> Result<(), CallError> {
        let Some(from) = self.any_file() else { return Ok(()) };
        self.made += 1;
        let to = format!("r{}", self.made);
        self.client.rename(&self.dir, &from, &self.dir, &to)?;
        self.answered();
        if let Some(file) = self.files.remove(&from) {
            self.files.insert(to, file);
        }
        Ok(())
    }

    fn remove(&mut self) -> Result<(), CallError> {
        let Some(name) = self.any_file() else { return Ok(()) };
        self.client.remove(&self.dir, &name)?;
        self.answered();
        self.files.remove(&name);
        Ok(())
    }

    fn read_back(&mut self) -> Result<(), CallError> {
        let Some(name) = self.any_file() else { return Ok(()) };
        self.verify(&name)
    }

    fn verify(&mut self, name: &str) -> Result<(), CallError> {
        let (file, expected) = self.files[name].clone();
        let read = self.client.read(&file, 0, expected.len() as u32);
        let problem = match read {
            Ok(data) if data.data[..] == expected[..] => None,
            Ok(data) => Some(format!("{name}: {} bytes read differ from the {} acknowledged", data.data.len(), expected.len())),
            Err(error) if error.refusal() == Some(FileError::NotFound) || error.refusal() == Some(FileError::Stale) => {
                Some(format!("{name}: {error}"))
            }
            Err(error) => return Err(error),
        };
        self.answered();
        lock(self.seen).lost.extend(problem);
        Ok(())
    }

    /// The directory holds exactly what was acknowledged, and every file its acknowledged bytes.
    fn verify_all(&mut self) -> Result<(), CallError> {
        let listed = self.client.readdirplus(&self.dir)?;
        self.answered();
        let names: Vec<String> = listed.iter().map(|entry| String::from_utf8_lossy(&entry.name).into_owned()).collect();
        let found: Vec<&String> = names.iter().filter(|name| *name != "." && *name != "..").collect();
        for name in self.files.keys().filter(|name| !found.contains(name)) {
            lock(self.seen).lost.push(format!("{name}: acknowledged, and not in the directory"));
        }
        for name in found.iter().filter(|name| !self.files.contains_key(**name)) {
            lock(self.seen).lost.push(format!("{name}: in the directory, although its removal was acknowledged"));
        }
        for name in self.files.keys().cloned().collect::<Vec<_>>() {
            self.verify(&name)?;
        }
        Ok(())
    }

    fn content(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.draw(u64::MAX).to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}
