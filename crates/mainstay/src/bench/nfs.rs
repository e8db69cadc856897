//! An NFS server as target: one thread, `depth` operations in flight over the pipelined client.

use super::BenchError;
use super::content::Content;
use super::engine::{Engine, Sample};
use super::operation::{BLOCK_BYTES, CHUNK_BYTES, FILE_BYTES, Operation};
use super::phase::{DIRECTORIES, File, Ground, Large, Phase, Place};
use super::progress::{TICK, Watch};
use crate::nfs_client::{Answer, CallError, Client, Completion, Handle, Options, Request, Stats, Target, Ticket};
use bytes::Bytes;
use mainstay_protocol::file::{CreateHow, SetAttributes, WriteVerifier};
use mainstay_protocol::{FileError, FileKind, Stability};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Removals in flight while everything is taken away.
const SWEEP_DEPTH: usize = 32;

pub struct NfsEngine {
    target: String,
    client: Client,
    /// The one directory that holds everything, its name and its subdirectories.
    home: Handle,
    home_name: String,
    directories: Vec<Handle>,
    /// Small files by their identity.
    handles: BTreeMap<u64, Handle>,
    large: Option<Handle>,
}

/// One operation in flight.
struct Slot {
    n: u64,
    place: Place,
    began: Instant,
    /// CREATE's handle, then WRITE's verifier.
    made: Option<Handle>,
    verifier: Option<WriteVerifier>,
}

/// A phase in progress.
struct Run<'a> {
    phase: &'a Phase,
    ground: &'a Ground,
    content: &'a Content,
    started: Instant,
    slots: Vec<Slot>,
    tickets: BTreeMap<Ticket, usize>,
    sample: Sample,
    /// Verifiers of unstable writes that a COMMIT at the end must confirm.
    unstable: Option<WriteVerifier>,
}

/// What an answer means for its slot.
enum Step {
    Again(Request),
    Complete,
}

impl NfsEngine {
    pub fn open(target: &Target, options: Options, home_name: String) -> Result<NfsEngine, BenchError> {
        let mut client = Client::open(target, options)?;
        let target = target.to_string();
        let failed = |doing: &'static str| {
            let target = target.clone();
            move |source| BenchError::Call { target, doing: doing.to_owned(), source }
        };
        let root = client.root();
        let info = client.fsinfo(&root).map_err(failed("asking for its limits"))?;
        let most = info.read_max.min(info.write_max);
        if (most as usize) < CHUNK_BYTES {
            return Err(BenchError::SmallTransfers { target, need: CHUNK_BYTES, most });
        }
        let home = client.mkdir(&root, &home_name, directory_mode()).map_err(failed("making a directory to work in"))?;
        let (directories, handles) = (Vec::new(), BTreeMap::new());
        let mut engine = NfsEngine { target, client, home, home_name, directories, handles, large: None };
        match engine.make_directories() {
            Ok(()) => Ok(engine),
            Err(error) => engine.sweep().and(Err(error)),
        }
    }

    fn make_directories(&mut self) -> Result<(), BenchError> {
        for number in 0..DIRECTORIES {
            let made = self.client.mkdir(&self.home, &format!("d{number:02}"), directory_mode());
            self.directories.push(made.map_err(|source| self.failed("making directories", source))?);
        }
        Ok(())
    }

    fn failed(&self, doing: impl Into<String>, source: CallError) -> BenchError {
        BenchError::Call { target: self.target.clone(), doing: doing.into(), source }
    }

    fn wrong(&self, what: String) -> BenchError {
        BenchError::WrongData { target: self.target.clone(), what }
    }

    fn large(&self) -> Handle {
        self.large.clone().expect("phases that need the large file run after it was made")
    }

    fn handle(&self, file: &File) -> Handle {
        self.handles[&file.id].clone()
    }

    fn directory(&self, file: &File) -> Handle {
        self.directories[file.directory()].clone()
    }

    /// Starts the slot's next operation, when there is one and time is left.
    fn begin(&mut self, run: &mut Run, slot: usize, now: Instant) {
        let Some(place) = run.phase.place(slot as u64, run.slots[slot].n) else { return };
        if run.phase.is_over(run.started, now) {
            return;
        }
        run.slots[slot] = Slot { place, began: now, made: None, verifier: None, n: run.slots[slot].n };
        let request = self.first_request(run, place);
        run.tickets.insert(self.client.submit(request), slot);
    }

    fn first_request(&self, run: &Run, place: Place) -> Request {
        let operation = run.phase.operation;
        match operation {
            Operation::SeqWrite | Operation::SeqRead | Operation::RandWrite => return self.large_request(run, place),
            Operation::Create | Operation::Read | Operation::Getattr | Operation::Rename | Operation::Remove => {}
        }
        let file = run.ground.file(operation, place);
        let dir = self.directory(&file);
        let name = Bytes::from(file.after(place.lap).name());
        match operation {
            Operation::Create => Request::Create { dir, name, how: CreateHow::Guarded(file_mode()) },
            Operation::Read => Request::Read { file: self.handle(&file), offset: 0, count: FILE_BYTES as u32 },
            Operation::Getattr => Request::GetAttributes { file: self.handle(&file) },
            Operation::Rename => {
                let to_name = Bytes::from(file.after(place.lap + 1).name());
                Request::Rename { from_dir: dir.clone(), from_name: name, to_dir: dir, to_name }
            }
            _ => Request::Remove { dir, name },
        }
    }

    fn large_request(&self, run: &Run, place: Place) -> Request {
        let (file, generation) = (self.large(), run.ground.large.generation);
        let offset = place.unit * CHUNK_BYTES as u64;
        match run.phase.operation {
            Operation::SeqRead => Request::Read { file, offset, count: CHUNK_BYTES as u32 },
            Operation::SeqWrite => {
                let data = run.content.chunk(generation, place.unit);
                Request::Write { file, offset, data, stability: Stability::Unstable }
            }
            _ => {
                let block = run.phase.block(place.unit);
                let version = run.ground.large.versions[block as usize] + place.lap + 1;
                let data = run.content.block(generation, block, version);
                Request::Write { file, offset: block * BLOCK_BYTES as u64, data, stability: Stability::FileSync }
            }
        }
    }

    fn take(&mut self, run: &mut Run, completion: Completion) -> Result<(), BenchError> {
        // Every call in flight belongs to the phase: preparation and checks wait for theirs.
        let Some(slot) = run.tickets.remove(&completion.ticket) else { return Ok(()) };
        let title = run.phase.operation.title();
        let answer = completion.result.map_err(|source| self.failed(title, source))?;
        match self.step(run, slot, answer)? {
            Step::Again(request) => {
                run.tickets.insert(self.client.submit(request), slot);
            }
            Step::Complete => {
                let now = Instant::now();
                run.sample.latency.record(now.duration_since(run.slots[slot].began));
                run.sample.done[slot] += 1;
                run.slots[slot].n += 1;
                self.begin(run, slot, now);
            }
        }
        Ok(())
    }

    fn step(&mut self, run: &mut Run, slot: usize, answer: Answer) -> Result<Step, BenchError> {
        let operation = run.phase.operation;
        let place = run.slots[slot].place;
        match (operation, answer) {
            (Operation::Create, answer) => return self.step_create(run, slot, answer),
            (Operation::Read, Answer::Data { data, .. }) => {
                let file = run.ground.file(operation, place);
                self.compare(&data, &run.content.file(file.id), || format!("{} has not what was written", file.name()))?;
            }
            (Operation::SeqRead, Answer::Data { data, .. }) => {
                let expected = run.content.chunk(run.ground.large.generation, place.unit);
                self.compare(&data, &expected, || format!("the large file differs in its MiB {}", place.unit))?;
            }
            (Operation::Getattr, Answer::Attributes(attributes)) if attributes.size != FILE_BYTES as u64 => {
                let name = run.ground.file(operation, place).name();
                return Err(self.wrong(format!("{name} is said to have {} bytes, not {FILE_BYTES}", attributes.size)));
            }
            // One verifier for all of them, or some were lost and COMMIT would not tell (RFC 1813 section 4.8).
            (Operation::SeqWrite, Answer::Written { count, verifier, .. }) => {
                self.whole(count, CHUNK_BYTES)?;
                if *run.unstable.get_or_insert(verifier) != verifier {
                    return Err(BenchError::LostWrites { target: self.target.clone(), operation });
                }
            }
            (Operation::RandWrite, Answer::Written { count, stability, .. }) => {
                self.whole(count, BLOCK_BYTES)?;
                if stability != Stability::FileSync {
                    return Err(self.wrong("a write that was asked to be durable is answered as not durable".into()));
                }
            }
            _ => {}
        }
        Ok(Step::Complete)
    }

    /// CREATE, WRITE, COMMIT; WRITE again when the server lost it in between (RFC 1813 section 4.8).
    fn step_create(&mut self, run: &mut Run, slot: usize, answer: Answer) -> Result<Step, BenchError> {
        let place = run.slots[slot].place;
        let file = run.ground.file(Operation::Create, place);
        match answer {
            // A server may leave the handle out (`post_op_fh3`).
            Answer::Made { handle: None, .. } => {
                return Ok(Step::Again(Request::Lookup { dir: self.directory(&file), name: Bytes::from(file.name()) }));
            }
            Answer::Made { handle: Some(handle), .. } | Answer::Found { handle, .. } => {
                self.handles.insert(file.id, handle.clone());
                run.slots[slot].made = Some(handle);
            }
            Answer::Written { count, verifier, .. } => {
                self.whole(count, FILE_BYTES)?;
                run.slots[slot].verifier = Some(verifier);
                return Ok(Step::Again(Request::Commit { file: self.handle(&file), offset: 0, count: 0 }));
            }
            Answer::Committed { verifier, .. } if run.slots[slot].verifier == Some(verifier) => return Ok(Step::Complete),
            _ => {}
        }
        let (data, stability) = (run.content.file(file.id), Stability::Unstable);
        Ok(Step::Again(Request::Write { file: self.handle(&file), offset: 0, data, stability }))
    }

    fn compare(&self, found: &[u8], expected: &[u8], what: impl Fn() -> String) -> Result<(), BenchError> {
        if found == expected {
            return Ok(());
        }
        let same = found.iter().zip(expected).take_while(|(found, expected)| found == expected).count();
        Err(self.wrong(format!("{} ({} of {} bytes, different from byte {same} on)", what(), found.len(), expected.len())))
    }

    /// A server may write less than it is given; then the figures would not be of whole operations.
    fn whole(&self, count: u32, need: usize) -> Result<(), BenchError> {
        if count as usize == need {
            return Ok(());
        }
        Err(BenchError::SmallTransfers { target: self.target.clone(), need, most: count })
    }

    /// Makes the sequential writes durable, which belongs to their time.
    fn commit(&mut self, run: &Run) -> Result<(), BenchError> {
        let Some(verifier) = run.unstable else { return Ok(()) };
        let committed = self.client.commit(&self.large()).map_err(|source| self.failed("COMMIT of the large file", source))?;
        if committed == verifier {
            return Ok(());
        }
        Err(BenchError::LostWrites { target: self.target.clone(), operation: run.phase.operation })
    }

    /// Waits for every call in flight: a CREATE that the server executes later would be left behind.
    fn drain(&mut self) {
        while self.client.in_flight() > 0 {
            self.client.complete(Duration::MAX);
        }
    }

    /// Empties a directory, whatever is in it.
    fn empty(&mut self, dir: &Handle) -> Result<(), CallError> {
        loop {
            let entries = self.client.readdirplus(dir)?;
            let names: Vec<Bytes> =
                entries.into_iter().map(|entry| entry.name).filter(|name| name != "." && name != "..").collect();
            if names.is_empty() {
                return Ok(());
            }
            for batch in names.chunks(SWEEP_DEPTH) {
                self.remove_all(dir, batch)?;
            }
        }
    }

    fn remove_all(&mut self, dir: &Handle, names: &[Bytes]) -> Result<(), CallError> {
        for name in names {
            self.client.submit(Request::Remove { dir: dir.clone(), name: name.clone() });
        }
        let mut result = Ok(());
        while let Some(completion) = self.client.complete(Duration::MAX) {
            match completion.result {
                // Gone is what it shall be; a retried REMOVE says so where the server keeps no duplicate request cache.
                Ok(_) => {}
                Err(error) if error.refusal() == Some(FileError::NotFound) => {}
                Err(error) => result = Err(error),
            }
        }
        result
    }

    fn remove_everything(&mut self) -> Result<(), CallError> {
        for entry in self.client.readdirplus(&self.home.clone())? {
            let name = String::from_utf8_lossy(&entry.name).into_owned();
            if name == "." || name == ".." {
                continue;
            }
            let handle = self.client.lookup(&self.home, &name)?;
            if self.client.getattr(&handle)?.kind == FileKind::Directory {
                self.empty(&handle)?;
                self.client.rmdir(&self.home, &name)?;
            } else {
                self.client.remove(&self.home, &name)?;
            }
        }
        let root = self.client.root();
        self.client.rmdir(&root, &self.home_name)
    }
}

impl Engine for NfsEngine {
    fn name(&self) -> String {
        self.target.clone()
    }

    fn note(&self) -> Option<String> {
        let Stats { reconnects, resent, delayed, .. } = self.client.stats();
        (reconnects + delayed > 0).then(|| {
            format!("{}: {reconnects} connections broke, {resent} calls were sent again, {delayed} were put off", self.target)
        })
    }

    fn run(&mut self, phase: &Phase, ground: &Ground, content: &Content, watch: &mut Watch) -> Result<Sample, BenchError> {
        let started = Instant::now();
        let nothing = Place { unit: 0, lap: 0 };
        let slots = (0..phase.depth).map(|_| Slot { n: 0, place: nothing, began: started, made: None, verifier: None }).collect();
        let sample = Sample { done: vec![0; phase.depth as usize], ..Sample::default() };
        let mut run = Run { phase, ground, content, started, slots, tickets: BTreeMap::new(), sample, unstable: None };
        for slot in 0..phase.depth as usize {
            self.begin(&mut run, slot, started);
        }
        while !run.tickets.is_empty() {
            if let Some(completion) = self.client.complete(TICK) {
                self.take(&mut run, completion)?;
            }
            watch.tick(Instant::now(), run.sample.latency.total())?;
        }
        self.commit(&run)?;
        let Run { mut sample, .. } = run;
        sample.elapsed = started.elapsed();
        Ok(sample)
    }

    fn renew_large(&mut self, old: u64, new: u64) -> Result<(), BenchError> {
        let home = self.home.clone();
        if self.large.take().is_some() {
            let removed = self.client.remove(&home, &Large::name(old));
            removed.map_err(|source| self.failed("removing the large file", source))?;
        }
        let how = CreateHow::Guarded(file_mode());
        let made = self.client.create(&home, &Large::name(new), how);
        self.large = Some(made.map_err(|source| self.failed("making a large file", source))?);
        Ok(())
    }

    fn read_file(&mut self, file: &File, len: u32) -> Result<Option<Bytes>, BenchError> {
        let handle = match self.client.lookup(&self.directory(file), &file.name()) {
            Ok(handle) => handle,
            Err(error) if error.refusal() == Some(FileError::NotFound) => return Ok(None),
            Err(error) => return Err(self.failed("checking", error)),
        };
        let read = self.client.read(&handle, 0, len);
        Ok(Some(read.map_err(|source| self.failed("checking", source))?.data))
    }

    fn read_large(&mut self, _generation: u64, offset: u64, len: u32) -> Result<Bytes, BenchError> {
        let read = self.client.read(&self.large(), offset, len);
        Ok(read.map_err(|source| self.failed("checking", source))?.data)
    }

    fn sweep(&mut self) -> Result<(), BenchError> {
        self.drain();
        let doing = format!("removing {}, which may be left behind", self.home_name);
        self.remove_everything().map_err(|source| self.failed(doing, source))
    }
}

fn file_mode() -> SetAttributes {
    SetAttributes { mode: Some(0o644), ..SetAttributes::default() }
}

fn directory_mode() -> SetAttributes {
    SetAttributes { mode: Some(0o755), ..SetAttributes::default() }
}
