//! Clients of the real processes: the simulator's workers and models, behind real sockets. Each worker is a thread with one
//! operation in flight; what it was told is judged at once by its model, and kept for the report.

use super::network::{At, service};
use bytes::Bytes;
use mainstay::nfs_client::{Answer, CallError, Client, Handle, Options};
use mainstay_protocol::{FileError, FileId, FileOk, FileRequest, FileResult, Stability};
use mainstay_simulator::checkers::{p2_trees, registers};
use mainstay_simulator::nfs_client::codec::{self, Handles};
use mainstay_simulator::queue::Time;
use mainstay_simulator::rng::Rng;
use mainstay_simulator::workload::{FileWorker, RegisterOp, RegisterWorker, Retired};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Shared files of eight bytes that all register workers write and read.
pub const REGISTERS: usize = 3;
pub const EXPORT: &str = "/files";
/// A hard mount waits for ever. A test does not: no operation may take longer.
const HARD_TIME_MAX: Duration = Duration::from_secs(90);
/// A soft mount gives up, and does not know what became of its operation.
const SOFT_TIME_MAX: Duration = Duration::from_secs(2);
/// Between a refusal for want of room and the next try.
const NO_SPACE_PAUSE: Duration = Duration::from_millis(100);
/// Calls of each worker that a report shows.
const HISTORY_SHOWN: usize = 12;

/// How the clients are made.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// Workers on trees of their own, on a hard mount.
    pub files: u32,
    /// The same, on a soft mount.
    pub soft: u32,
    /// Workers that share the registers.
    pub registers: u32,
    /// Longest pause between two operations, milliseconds.
    pub think_ms_max: u64,
    pub large_writes: bool,
    pub mass_changes: bool,
}

impl Default for Crowd {
    fn default() -> Crowd {
        Crowd { files: 3, soft: 1, registers: 2, think_ms_max: 10, large_writes: false, mass_changes: false }
    }
}

/// What a lying server would do, to show that the checkers notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// A stable write is acknowledged, and other bytes are stored.
    OtherBytes,
    /// An acknowledged removal does not happen.
    ForgetRemoval,
    /// A read of a register gives what it held a while ago.
    StaleRead,
    /// One bit of what is read is another.
    FlippedBit,
}

/// One operation in a worker's history.
#[derive(Clone, Debug)]
struct Call {
    request: FileRequest,
    invoked: Time,
    /// `None`: never answered, it may or may not have happened.
    answered: Option<Time>,
    refused: Option<FileError>,
}

/// What all workers share.
pub struct Shared {
    began: Instant,
    stop: AtomicBool,
    think_ms_max: AtomicU64,
    pub answered: AtomicU64,
    /// Calls sent again, or asked again because the server said "later".
    pub retried: AtomicU64,
    pub given_up: AtomicU64,
    /// Refused because a disk is full.
    pub no_space: AtomicU64,
    /// A full disk is part of the scenario: such refusals are waited out.
    pub disk_may_be_full: AtomicBool,
    /// Nanoseconds since `began`.
    last_answer: AtomicU64,
    longest_gap: AtomicU64,
    bytes_written: AtomicU64,
    handles: Table,
    registers: Mutex<[registers::History; REGISTERS]>,
    pub problems: Mutex<Vec<String>>,
    /// Lies still to be told; the first one that fits each call is.
    lies: Mutex<Vec<Lie>>,
    xid: AtomicU32,
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Shared {
    fn now(&self) -> Time {
        self.began.elapsed().as_nanos() as Time
    }

    fn note_answer(&self, now: Time) {
        let gap = now.saturating_sub(self.last_answer.fetch_max(now, Ordering::Relaxed));
        self.longest_gap.fetch_max(gap, Ordering::Relaxed);
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    fn complain(&self, text: String) {
        lock(&self.problems).push(text);
    }

    /// Takes a lie that fits, so that each is told once.
    fn lie_for(&self, fits: impl Fn(Lie) -> bool) -> Option<Lie> {
        let mut lies = lock(&self.lies);
        let at = lies.iter().position(|lie| fits(*lie))?;
        Some(lies.remove(at))
    }
}

/// The server's handles, numbered as they come: a client sees bytes only.
#[derive(Default)]
struct Table {
    root: Mutex<Option<Handle>>,
    known: Mutex<BTreeMap<FileId, Handle>>,
}

impl Handles for Table {
    fn handle(&self, file: FileId) -> Handle {
        match file {
            FileId::ROOT => lock(&self.root).clone().expect("it was mounted"),
            other => lock(&self.known)[&other].clone(),
        }
    }

    /// A second handle with the same inode number is another object.
    fn file(&self, handle: &Handle, inode: u64) -> Option<FileId> {
        let mut known = lock(&self.known);
        let of_inode = known.range(FileId { inode, generation: 0 }..=FileId { inode, generation: u64::MAX });
        let (mut count, mut found) = (0, None);
        for (file, other) in of_inode {
            count += 1;
            found = found.or((other == handle).then_some(*file));
        }
        let file = found.unwrap_or(FileId { inode, generation: count });
        known.entry(file).or_insert_with(|| handle.clone());
        Some(file)
    }
}

enum Job {
    Files(Box<FileWorker>),
    Registers(RegisterWorker),
}

/// What a worker leaves: its trees, for the comparison at the end.
struct Left {
    trees: Vec<Retired>,
}

pub struct Clients {
    pub shared: Arc<Shared>,
    workers: Vec<JoinHandle<Left>>,
}

impl Clients {
    /// Mounts and begins. `seed` decides what the workers do; when things happen is the machine's matter.
    pub fn start(crowd: Crowd, seed: u64, lies: Vec<Lie>) -> Clients {
        let shared = Arc::new(Shared {
            began: Instant::now(),
            stop: AtomicBool::new(false),
            think_ms_max: AtomicU64::new(crowd.think_ms_max),
            answered: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
            no_space: AtomicU64::new(0),
            disk_may_be_full: AtomicBool::new(false),
            last_answer: AtomicU64::new(0),
            longest_gap: AtomicU64::new(0),
            bytes_written: AtomicU64::new(0),
            handles: Table::default(),
            registers: Mutex::default(),
            problems: Mutex::default(),
            lies: Mutex::new(lies),
            xid: AtomicU32::new(seed as u32),
        });
        let mut rng = Rng::new(seed);
        let mut workers = Vec::new();
        for number in 0..crowd.files + crowd.soft {
            let mut worker = FileWorker::new(rng.fork(), format!("c{number}"), crowd.large_writes);
            worker.mass_changes = crowd.mass_changes;
            let limit = if number < crowd.files { HARD_TIME_MAX } else { SOFT_TIME_MAX };
            workers.push(spawn(&shared, format!("c{number}"), Job::Files(Box::new(worker)), rng.fork(), limit));
        }
        for number in 0..crowd.registers {
            let worker = RegisterWorker::new(rng.fork(), u64::from(number) + 1, REGISTERS);
            workers.push(spawn(&shared, format!("r{number}"), Job::Registers(worker), rng.fork(), HARD_TIME_MAX));
        }
        Clients { shared, workers }
    }

    pub fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    pub fn set_think(&self, ms_max: u64) {
        self.shared.think_ms_max.store(ms_max, Ordering::Relaxed);
    }

    /// The longest time in which no client got an answer, up to now.
    pub fn longest_wait(&self) -> Duration {
        let since_last = self.shared.now().saturating_sub(self.shared.last_answer.load(Ordering::Relaxed));
        Duration::from_nanos(since_last.max(self.shared.longest_gap.load(Ordering::Relaxed)))
    }

    pub fn bytes_written(&self) -> u64 {
        self.shared.bytes_written.load(Ordering::Relaxed)
    }

    /// One line for reports.
    pub fn summary(&self) -> String {
        let shared = &self.shared;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        format!(
            "{} operations answered, {} asked again, {} given up, {} without room, longest wait {:.1} s",
            count(&shared.answered),
            count(&shared.retried),
            count(&shared.given_up),
            count(&shared.no_space),
            self.longest_wait().as_secs_f64()
        )
    }

    /// Workers flush and end; then the whole tree is read and judged. `losses`: when the loss epoch rose.
    pub fn finish(mut self, losses: &[Instant]) -> Vec<String> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut trees = Vec::new();
        for worker in std::mem::take(&mut self.workers) {
            match worker.join() {
                Ok(left) => trees.extend(left.trees),
                Err(_) => self.shared.complain("a worker ended by a panic".into()),
            }
        }
        if let Err(text) = self.audit(trees) {
            self.shared.complain(format!("P2: the whole tree: {text}"));
        }
        let losses: Vec<Time> =
            losses.iter().map(|at| at.saturating_duration_since(self.shared.began).as_nanos() as Time).collect();
        for (number, history) in lock(&self.shared.registers).iter().enumerate() {
            if let Err(text) = history.check(&losses) {
                self.shared.complain(format!("P2: register {number}: {text}"));
            }
        }
        std::mem::take(&mut *lock(&self.shared.problems))
    }

    fn audit(&self, trees: Vec<Retired>) -> Result<(), String> {
        let mut wire = Wire::mount(self.shared.clone(), HARD_TIME_MAX)?;
        let dump = p2_trees::walk(p2_trees::READ_BYTES, &mut |request| match wire.ask(&request) {
            Ok(Ok(ok)) => Ok(ok),
            Ok(Err(failure)) => Err(format!("{request:?} was refused: {}", failure.error)),
            Err(error) => Err(error.to_string()),
        })?;
        let registers: Vec<Bytes> = (0..REGISTERS).map(RegisterWorker::file_name).collect();
        p2_trees::check(&dump, trees.into_iter(), |name| registers.contains(name))
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        // Not waited for: after a failed scenario their calls may take long.
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

/// One mount, and what the server's answers mean.
struct Wire {
    shared: Arc<Shared>,
    client: Client,
    retried: u64,
    /// What registers held, for the lie about them.
    held: BTreeMap<FileId, Bytes>,
}

impl Wire {
    fn mount(shared: Arc<Shared>, call_timeout: Duration) -> Result<Wire, String> {
        // Far apart, so that no two mounts of one run ever use the same number for different calls.
        let first_xid = Some(shared.xid.fetch_add(1 << 24, Ordering::Relaxed));
        let options = Options { call_timeout, first_xid, ..Options::default() };
        let client = Client::connect(service(), EXPORT, options).map_err(|error| error.to_string())?;
        *lock(&shared.handles.root) = Some(client.root());
        Ok(Wire { shared, client, retried: 0, held: BTreeMap::new() })
    }

    /// The server's answer, whatever it is. `Err`: there was none, or none that can be understood.
    fn ask(&mut self, request: &FileRequest) -> Result<FileResult, CallError> {
        if let Some(answer) = self.forget(request) {
            return Ok(Ok(answer));
        }
        let answer = self.client.call(codec::encode(&self.shared.handles, &self.distort(request)));
        let stats = self.client.stats();
        let retried = stats.resent + stats.delayed;
        self.shared.retried.fetch_add(retried - std::mem::replace(&mut self.retried, retried), Ordering::Relaxed);
        match answer {
            Ok(answer) => Ok(self.understand(request, answer)),
            Err(CallError::Refused { error, .. }) => Ok(Err(error.into())),
            Err(error) => Err(error),
        }
    }

    fn understand(&mut self, request: &FileRequest, answer: Answer) -> FileResult {
        let understood = codec::decode(&self.shared.handles, request, answer);
        self.bend(request, understood.ok_or(FileError::ServerFault)?)
    }

    // ---- lies, in the tests of the checkers ---------------------------------------------------------------------------

    fn distort(&self, request: &FileRequest) -> FileRequest {
        let mut sent = request.clone();
        if let FileRequest::Write { data, stability: Stability::FileSync, .. } = &mut sent
            && data.len() > 8
            && self.shared.lie_for(|lie| lie == Lie::OtherBytes).is_some()
        {
            *data = data.iter().map(|byte| !byte).collect();
        }
        sent
    }

    fn forget(&mut self, request: &FileRequest) -> Option<FileOk> {
        let FileRequest::Remove { dir, name } = request else { return None };
        if !lock(&self.shared.lies).contains(&Lie::ForgetRemoval) {
            return None;
        }
        // Only of what is there can the removal be forgotten.
        let found = FileRequest::Lookup { dir: *dir, name: name.clone() };
        self.client.call(codec::encode(&self.shared.handles, &found)).ok()?;
        self.shared.lie_for(|lie| lie == Lie::ForgetRemoval)?;
        Some(FileOk::Removed { dir: Default::default() })
    }

    fn bend(&mut self, request: &FileRequest, ok: FileOk) -> FileResult {
        match (request, ok) {
            (FileRequest::Read { file, count: 8, .. }, FileOk::Data { pieces, count: 8, eof, attributes }) => {
                let now = Bytes::from(pieces.concat());
                let before = self.held.insert(*file, now.clone()).filter(|before| *before != now);
                let stale = before.and_then(|before| self.shared.lie_for(|lie| lie == Lie::StaleRead).map(|_| before));
                Ok(FileOk::Data { pieces: vec![stale.unwrap_or(now)], count: 8, eof, attributes })
            }
            (FileRequest::Read { .. }, FileOk::Data { pieces, count, eof, attributes }) if count > 8 => {
                let mut bytes = pieces.concat();
                if self.shared.lie_for(|lie| lie == Lie::FlippedBit).is_some() {
                    bytes[count as usize / 2] ^= 1;
                }
                Ok(FileOk::Data { pieces: vec![bytes.into()], count, eof, attributes })
            }
            (_, ok) => Ok(ok),
        }
    }
}

struct Worker {
    name: String,
    wire: Wire,
    job: Job,
    rng: Rng,
    history: VecDeque<Call>,
}

fn spawn(shared: &Arc<Shared>, name: String, job: Job, rng: Rng, limit: Duration) -> JoinHandle<Left> {
    let shared = shared.clone();
    std::thread::spawn(move || {
        let trees = |job: &Job| match job {
            Job::Files(worker) => worker.trees().collect(),
            Job::Registers(_) => Vec::new(),
        };
        match Wire::mount(shared.clone(), limit) {
            Err(error) => {
                shared.complain(format!("{name} cannot mount: {error}"));
                Left { trees: trees(&job) }
            }
            Ok(wire) => {
                let mut worker = Worker { name, wire, job, rng, history: VecDeque::new() };
                worker.run();
                Left { trees: trees(&worker.job) }
            }
        }
    })
}

impl Worker {
    /// Until it is told to stop and has nothing left to flush, or something is wrong.
    fn run(&mut self) {
        loop {
            let closing = self.wire.shared.stop.load(Ordering::Relaxed);
            let request = match &mut self.job {
                Job::Files(worker) => worker.next(closing),
                Job::Registers(worker) => worker.next(closing),
            };
            let Some(request) = request else { return };
            if let Err(text) = self.operation(request) {
                let shown: Vec<String> = self.history.iter().map(Call::text).collect();
                self.wire.shared.complain(format!("P2: {}: {text}\n    before it:\n      {}", self.name, shown.join("\n      ")));
                return;
            }
            let think = self.rng.below(1 + self.wire.shared.think_ms_max.load(Ordering::Relaxed));
            std::thread::sleep(Duration::from_millis(think));
        }
    }

    fn operation(&mut self, request: FileRequest) -> Result<(), String> {
        let invoked = self.wire.shared.now();
        let answer = self.persist(&request);
        let now = self.wire.shared.now();
        let mut call = Call { request, invoked, answered: Some(now), refused: None };
        let judged = match answer {
            Ok(result) => {
                self.wire.shared.note_answer(now);
                call.refused = result.as_ref().err().map(|failure| failure.error);
                self.judge(&call, &result)
            }
            Err(CallError::TimedOut { .. }) => {
                call.answered = None;
                self.give_up(invoked)
            }
            Err(error) => Err(error.to_string()),
        };
        if judged.is_err() {
            self.remember(call.clone());
        }
        judged.inspect(|()| self.remember(call))
    }

    fn remember(&mut self, call: Call) {
        if self.history.len() == HISTORY_SHOWN {
            self.history.pop_front();
        }
        self.history.push_back(call);
    }

    /// A full disk refuses and loses nothing: the application tries again when there is room.
    fn persist(&mut self, request: &FileRequest) -> Result<FileResult, CallError> {
        loop {
            let answer = self.wire.ask(request)?;
            let full = matches!(&answer, Err(failure) if failure.error == FileError::NoSpace);
            if !full || !self.wire.shared.disk_may_be_full.load(Ordering::Relaxed) {
                return Ok(answer);
            }
            self.wire.shared.no_space.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(NO_SPACE_PAUSE);
        }
    }

    fn judge(&mut self, call: &Call, result: &FileResult) -> Result<(), String> {
        let shared = &self.wire.shared;
        match &mut self.job {
            Job::Files(worker) => worker.answered(result)?,
            Job::Registers(worker) => {
                let read = worker.answered(result)?;
                let answered = call.answered.expect("it was answered");
                match worker.current() {
                    (register, Some(RegisterOp::Write(value))) => {
                        lock(&shared.registers)[register].write(value, call.invoked, Some(answered))
                    }
                    (register, Some(RegisterOp::Read)) => {
                        lock(&shared.registers)[register].read(read.unwrap_or(0), call.invoked, answered)
                    }
                    (_, None) => {}
                }
            }
        }
        if let FileRequest::Write { data, .. } = &call.request {
            shared.bytes_written.fetch_add(data.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Hard mounts never give up: that no answer came at all is itself wrong.
    fn give_up(&mut self, invoked: Time) -> Result<(), String> {
        let shared = &self.wire.shared;
        let waited = Duration::from_nanos(shared.now() - invoked);
        if waited >= HARD_TIME_MAX {
            return Err(format!("no answer within {} s", waited.as_secs()));
        }
        shared.given_up.fetch_add(1, Ordering::Relaxed);
        match &mut self.job {
            Job::Files(worker) => worker.give_up(),
            Job::Registers(worker) => {
                if let (register, Some(RegisterOp::Write(value))) = worker.current() {
                    lock(&shared.registers)[register].write(value, invoked, None);
                }
            }
        }
        Ok(())
    }
}

impl Call {
    fn text(&self) -> String {
        let what = match &self.request {
            FileRequest::Write { file, offset, data, stability } => {
                format!("Write {file:?}, {} bytes at {offset}, {stability:?}", data.len())
            }
            other => format!("{other:?}"),
        };
        let seconds = |at: Time| at as f64 / 1e9;
        match (self.answered, self.refused) {
            (None, _) => format!("{:.3} s: {what}: never answered", seconds(self.invoked)),
            (Some(at), None) => format!("{:.3} s to {:.3} s: {what}", seconds(self.invoked), seconds(at)),
            (Some(at), Some(error)) => format!("{:.3} s to {:.3} s: {what}: {error}", seconds(self.invoked), seconds(at)),
        }
    }
}

/// Whether somebody listens at the volume's address on that very node, as a client would find out.
pub fn listens(node: At, patience: Duration) -> bool {
    let attempt = || -> std::io::Result<()> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.bind_device(Some(node.cable().as_bytes()))?;
        socket.set_linger(Some(Duration::ZERO))?;
        socket.connect_timeout(&service().into(), patience)
    };
    attempt().is_ok()
}
