//! What clients do: workers on their own trees, and workers that share registers.

use crate::files::content::Content;
use crate::files::op::{How, Op};
use crate::files::tree::{Key, Learned, Object, Tree};
use crate::queue::Time;
use crate::rng::Rng;
use crate::sizing::{Bulk, FILE_BYTES};
use bytes::Bytes;
use mainstay_protocol::file::{CreateHow, SetAttributes};
use mainstay_protocol::{FileId, FileOk, FileRequest, FileResult, Stability};
use std::collections::VecDeque;

/// Names in one directory: few, so that operations meet.
const NAMES: u64 = 7;
/// Live objects of one tree.
const OBJECTS_MAX: usize = 40;
const DEPTH_MAX: usize = 4;
const FILE_BYTES_MAX: u64 = 96 << 10;
/// With large writes.
const LARGE_FILE_BYTES_MAX: u64 = 600 << 10;
/// Removed objects whose stale handles are still tried.
const GHOSTS_MAX: usize = 3;

/// A tree whose worker gave up on an operation: it may or may not have happened.
#[derive(Clone, Debug)]
pub struct Retired {
    pub name: Bytes,
    /// None: making its root was what was given up.
    pub tree: Option<Tree>,
    pub pending: Option<Op>,
    /// Two people gave up acknowledged writes, perhaps of this tree: nothing can be said about it any more.
    pub given_up: bool,
}

/// One worker with one operation in flight, on a tree of its own.
pub struct FileWorker {
    rng: Rng,
    label: String,
    generation: u32,
    tree: Option<Tree>,
    /// Operations that come before chance decides: data to be sent again, the next page, a flush.
    queue: VecDeque<Op>,
    current: Option<Op>,
    pub retired: Vec<Retired>,
    pub large_writes: bool,
    /// Mostly creates, renames and removes.
    pub mass_changes: bool,
}

impl FileWorker {
    pub fn new(rng: Rng, label: String, large_writes: bool) -> FileWorker {
        FileWorker {
            rng,
            label,
            generation: 0,
            tree: None,
            queue: VecDeque::new(),
            current: None,
            retired: Vec::new(),
            large_writes,
            mass_changes: false,
        }
    }

    fn root_name(&self) -> Bytes {
        Bytes::from(format!("{}-{}", self.label, self.generation))
    }

    /// The next request; `None` when the worker is `closing` and has flushed everything.
    pub fn next(&mut self, closing: bool) -> Option<FileRequest> {
        let Some(tree) = self.tree.as_ref() else {
            let set = SetAttributes { mode: Some(0o755), ..SetAttributes::default() };
            return (!closing).then(|| FileRequest::MakeDirectory { dir: FileId::ROOT, name: self.root_name(), set });
        };
        let op = match self.queue.pop_front() {
            Some(op) => op,
            None if closing => Op::Commit { file: uncertain_files(tree).next()? },
            None if self.mass_changes && self.rng.percent(80) => mass_op(tree, &mut self.rng),
            None => random_op(tree, &mut self.rng, self.large_writes, &mut self.queue),
        };
        let request = tree.request(&op);
        self.current = Some(op);
        Some(request)
    }

    /// Whether a late copy of the request in flight is harmless: it leaves a record, which the duplicate request cache finds.
    /// A request that changes nothing leaves none, and no NFS server can tell its late copy from a new one.
    pub fn leaves_a_record(&self) -> bool {
        match (self.tree.as_ref(), self.current.as_ref()) {
            (None, _) => true,
            (Some(_), Some(Op::Create { how: How::Unchecked { .. }, .. } | Op::Rename { .. })) => false,
            (Some(tree), Some(op)) => !op.changes() || tree.expected_errors(op).is_empty(),
            (Some(_), None) => false,
        }
    }

    /// Judges the answer; an error is a P2 violation.
    pub fn answered(&mut self, result: &FileResult) -> Result<(), String> {
        let Some(tree) = self.tree.as_mut() else { return self.root_made(result) };
        let op = self.current.take().expect("an answer follows a request");
        let learned = match tree.answered(&op, result) {
            Ok(learned) => learned,
            Err(error) => return Err(format!("{} (in {}-{}): {error}", op.text(tree), self.label, self.generation)),
        };
        self.queue_learned(learned);
        self.prune();
        Ok(())
    }

    fn root_made(&mut self, result: &FileResult) -> Result<(), String> {
        match result {
            Ok(FileOk::Made { attributes, .. }) => {
                self.tree = Some(Tree::new(Some(attributes.file), 0o755));
                Ok(())
            }
            other => {
                let why = other.as_ref().err().map_or("another answer".into(), |failure| format!("\"{}\"", failure.error));
                Err(format!("make its own directory {}-{}: {why}", self.label, self.generation))
            }
        }
    }

    /// What was learned comes before everything else: a size is set only after the flush before it has succeeded.
    fn queue_learned(&mut self, learned: Learned) {
        let mut files: Vec<Key> = learned.again.iter().map(|(file, _, _)| *file).collect();
        files.dedup();
        let again = learned.again.into_iter().map(|(file, offset, data)| {
            let data = Bytes::from(data);
            Op::Write { file, offset, data, stability: Stability::FileSync }
        });
        let first = again.chain(files.into_iter().map(|file| Op::Commit { file })).chain(learned.next);
        self.queue = first.chain(std::mem::take(&mut self.queue)).collect();
    }

    /// Only a few removed objects are remembered.
    fn prune(&mut self) {
        let Some(tree) = self.tree.as_mut().filter(|_| self.queue.is_empty()) else { return };
        let ghosts: Vec<Key> = tree.items.iter().filter(|(_, item)| item.names == 0).map(|(key, _)| *key).collect();
        ghosts.iter().rev().skip(GHOSTS_MAX).for_each(|key| _ = tree.items.remove(key));
    }

    /// The operation in flight gets no answer any more. What it changed is unknown, so the tree is left as it is.
    pub fn give_up(&mut self) {
        let name = self.root_name();
        let pending = self.current.take();
        match (self.tree.take(), pending) {
            (Some(tree), Some(op)) if !op.changes() => {
                self.tree = Some(tree);
                // It may have been the flush that a new size waits for.
                self.queue.retain(|op| !matches!(op, Op::SetSize { .. }));
            }
            (tree, pending) => {
                self.retired.push(Retired { name, tree, pending, given_up: false });
                self.queue.clear();
                self.generation += 1;
            }
        }
    }

    /// What was acknowledged may be gone, by two people's decision: it begins anew, in a tree of another name.
    pub fn forget(&mut self) {
        let name = self.root_name();
        let (tree, pending) = (self.tree.take(), self.current.take());
        self.retired.push(Retired { name, tree, pending, given_up: true });
        self.retired.iter_mut().for_each(|tree| tree.given_up = true);
        self.queue.clear();
        self.generation += 1;
    }

    /// Every tree there may be, for the final comparison: (name, tree, operation that may have happened).
    pub fn trees(&self) -> impl Iterator<Item = Retired> + '_ {
        let own = self.tree.clone().map(|tree| {
            let (name, pending) = (self.root_name(), self.current.clone());
            Retired { name, tree: Some(tree), pending, given_up: false }
        });
        self.retired.iter().cloned().chain(own)
    }
}

fn uncertain_files(tree: &Tree) -> impl Iterator<Item = Key> + '_ {
    tree.items.iter().filter(|(_, item)| item.names > 0 && is_uncertain(&item.object)).map(|(key, _)| *key)
}

fn is_uncertain(object: &Object) -> bool {
    matches!(object, Object::File(content) if Content::uncertain(content))
}

fn live(tree: &Tree, wanted: impl Fn(&Object) -> bool) -> Vec<Key> {
    tree.items.iter().filter(|(_, item)| item.names > 0 && wanted(&item.object)).map(|(key, _)| *key).collect()
}

fn is_directory(object: &Object) -> bool {
    matches!(object, Object::Directory { .. })
}

fn depth(tree: &Tree, key: Key) -> usize {
    let mut depth = 0;
    let mut at = key;
    while let Object::Directory { parent: Some(parent), .. } = &tree.items[&at].object {
        (at, depth) = (*parent, depth + 1);
    }
    depth
}

fn name(rng: &mut Rng) -> Bytes {
    // A long one now and then, so that entries do not all fit one page.
    match rng.below(NAMES) {
        0 => Bytes::from_static(b"a-rather-long-name-that-takes-its-share-of-a-page-of-the-listing-0000000000000000000000000"),
        n => Bytes::from(format!("n{n}")),
    }
}

/// Bytes that nobody else writes.
pub fn random_bytes(rng: &mut Rng, len: usize) -> Bytes {
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&rng.next().to_le_bytes());
    }
    bytes.truncate(len);
    Bytes::from(bytes)
}

fn random_op(tree: &Tree, rng: &mut Rng, large: bool, queue: &mut VecDeque<Op>) -> Op {
    let files = live(tree, |object| matches!(object, Object::File(_)));
    let dirs = live(tree, is_directory);
    let dir = *rng.pick(&dirs);
    let full = tree.items.len() >= OBJECTS_MAX;
    match rng.below(100) {
        0..45 if !files.is_empty() => {
            let file = *rng.pick(&files);
            data_op(tree, rng, file, large, queue)
        }
        45..60 => look_op(tree, rng, dir),
        60..66 => list_op(rng, dir),
        66..78 if !full => make_op(tree, rng, dir),
        78..84 => Op::Remove { dir, name: name(rng) },
        84..87 => Op::RemoveDirectory { dir, name: name(rng) },
        87..93 => Op::Rename { from: dir, from_name: name(rng), to: *rng.pick(&dirs), to_name: name(rng) },
        93..97 if !files.is_empty() => Op::Link { file: *rng.pick(&files), dir, name: name(rng) },
        97..100 => Op::SetMode { item: *rng.pick(&dirs), mode: rng.range(0o700, 0o777) as u16 },
        _ if full => Op::Remove { dir, name: name(rng) },
        _ => Op::Create { dir, name: name(rng), how: how(rng) },
    }
}

/// What tidies, builds and unpacks do: many small changes of names.
fn mass_op(tree: &Tree, rng: &mut Rng) -> Op {
    let dirs = live(tree, is_directory);
    let dir = *rng.pick(&dirs);
    match rng.below(10) {
        0..4 => Op::Rename { from: dir, from_name: name(rng), to: *rng.pick(&dirs), to_name: name(rng) },
        4..7 => Op::Remove { dir, name: name(rng) },
        7 => Op::RemoveDirectory { dir, name: name(rng) },
        _ if tree.items.len() >= OBJECTS_MAX => Op::Remove { dir, name: name(rng) },
        _ => make_op(tree, rng, dir),
    }
}

fn how(rng: &mut Rng) -> How {
    let mode = rng.range(0o600, 0o777) as u16;
    match rng.below(3) {
        0 => How::Unchecked { mode },
        1 => How::Guarded { mode },
        _ => How::Exclusive(rng.next().to_le_bytes()),
    }
}

fn make_op(tree: &Tree, rng: &mut Rng, dir: Key) -> Op {
    let name = name(rng);
    match rng.below(10) {
        0..2 if depth(tree, dir) < DEPTH_MAX => Op::MakeDirectory { dir, name, mode: rng.range(0o700, 0o777) as u16 },
        2 => {
            let len = rng.log_range(1, 300) as usize;
            let target = random_bytes(rng, len).iter().map(|byte| b'a' + byte % 26).collect();
            Op::MakeSymlink { dir, name, target }
        }
        3 => Op::MakeFifo { dir, name },
        _ => Op::Create { dir, name, how: how(rng) },
    }
}

fn list_op(rng: &mut Rng, dir: Key) -> Op {
    Op::List { dir, cookie: 0, bytes_max: *rng.pick(&[1024, 4096, 65536]), seen: vec![] }
}

fn look_op(tree: &Tree, rng: &mut Rng, dir: Key) -> Op {
    let keys: Vec<Key> = tree.items.keys().copied().collect();
    let item = *rng.pick(&keys);
    match (&tree.items[&item].object, rng.below(3)) {
        (Object::Symlink { .. }, 0..2) => Op::ReadLink { item },
        (_, 0) => Op::Lookup { dir, name: name(rng) },
        _ => Op::GetAttributes { item },
    }
}

fn data_op(tree: &Tree, rng: &mut Rng, file: Key, large: bool, queue: &mut VecDeque<Op>) -> Op {
    let Object::File(content) = &tree.items[&file].object else { unreachable!("picked from the files") };
    let size = content.latest().len() as u64;
    let size_max = if large { LARGE_FILE_BYTES_MAX } else { FILE_BYTES_MAX };
    match rng.below(10) {
        0..5 => {
            let len = match rng.below(20) {
                0..7 if large => rng.log_range(8 << 10, 200 << 10),
                0 => rng.log_range(4096, 40 << 10),
                _ => rng.log_range(1, 4096),
            };
            let reach = if rng.one_in(2) { size } else { rng.below(size + 5000) };
            let offset = reach.min(size_max - len);
            let stability = *rng.pick(&[Stability::Unstable, Stability::Unstable, Stability::DataSync, Stability::FileSync]);
            Op::Write { file, offset, data: random_bytes(rng, len as usize), stability }
        }
        5..8 => {
            let offset = if rng.one_in(2) { 0 } else { rng.below(size + 100) };
            Op::Read { file, offset, count: rng.range(1, size_max) as u32 }
        }
        8 => Op::Commit { file },
        // As kernel clients do: dirty data goes out before the size is set.
        _ => {
            queue.push_back(Op::SetSize { file, size: rng.below((size + 2000).min(size_max)) });
            Op::Commit { file }
        }
    }
}

/// Writes what changes in a run that stands for a larger one: one stretch of files, each byte once.
pub struct BulkWorker {
    bulk: Bulk,
    asked: u64,
    file: Option<FileId>,
}

impl BulkWorker {
    pub const DIRECTORY_NAMES: &str = "bulk-";

    pub fn new(bulk: Bulk) -> BulkWorker {
        BulkWorker { bulk, asked: 0, file: None }
    }

    /// Pause between two writes.
    pub fn interval(&self) -> Time {
        self.bulk.interval
    }

    pub fn next(&mut self, closing: bool) -> Option<FileRequest> {
        if closing || self.asked >= self.bulk.bytes {
            return None;
        }
        let offset = self.asked % FILE_BYTES;
        let Some(file) = self.file else {
            let name = Bytes::from(format!("{}{}", Self::DIRECTORY_NAMES, self.asked / FILE_BYTES));
            let how = CreateHow::Unchecked(SetAttributes { mode: Some(0o666), ..SetAttributes::default() });
            return Some(FileRequest::Create { dir: FileId::ROOT, name, how });
        };
        let len = self.bulk.chunk_bytes.min(self.bulk.bytes - self.asked).min(FILE_BYTES - offset);
        let data = Bytes::from(vec![(self.asked >> 13) as u8 | 1; len as usize]);
        Some(FileRequest::Write { file, offset, data, stability: Stability::Unstable })
    }

    pub fn answered(&mut self, result: &FileResult) -> Result<(), String> {
        match result {
            Ok(FileOk::Made { attributes, .. }) => self.file = Some(attributes.file),
            Ok(FileOk::Written { count, .. }) => {
                self.asked += *count as u64;
                self.file = self.file.filter(|_| !self.asked.is_multiple_of(FILE_BYTES));
            }
            Err(failure) => return Err(format!("write what changes: it was refused with \"{}\"", failure.error)),
            Ok(_) => return Err("write what changes: the answer is one to another question".into()),
        }
        Ok(())
    }
}

/// What a register worker learnt, for the checker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterOp {
    Write(u64),
    Read,
}

/// Workers of all clients write and read the same few registers: 8 bytes at the start of a shared file.
pub struct RegisterWorker {
    rng: Rng,
    /// Makes written values unique in the run.
    id: u64,
    sequence: u64,
    registers: u64,
    handles: Vec<Option<FileId>>,
    current: (usize, Option<RegisterOp>),
}

impl RegisterWorker {
    pub fn new(rng: Rng, id: u64, registers: usize) -> RegisterWorker {
        RegisterWorker { rng, id, sequence: 0, registers: registers as u64, handles: vec![None; registers], current: (0, None) }
    }

    pub fn file_name(register: usize) -> Bytes {
        Bytes::from(format!("register-{register}"))
    }

    pub fn next(&mut self, closing: bool) -> Option<FileRequest> {
        if closing {
            return None;
        }
        let register = self.rng.below(self.registers) as usize;
        let Some(file) = self.handles[register] else {
            self.current = (register, None);
            let how =
                mainstay_protocol::file::CreateHow::Unchecked(SetAttributes { mode: Some(0o666), ..SetAttributes::default() });
            return Some(FileRequest::Create { dir: FileId::ROOT, name: Self::file_name(register), how });
        };
        if self.rng.percent(40) {
            self.sequence += 1;
            let value = self.id << 32 | self.sequence;
            self.current = (register, Some(RegisterOp::Write(value)));
            let data = Bytes::copy_from_slice(&value.to_le_bytes());
            Some(FileRequest::Write { file, offset: 0, data, stability: Stability::FileSync })
        } else {
            self.current = (register, Some(RegisterOp::Read));
            Some(FileRequest::Read { file, offset: 0, count: 8 })
        }
    }

    /// Its files may be gone, too.
    pub fn forget(&mut self) {
        self.handles.iter_mut().for_each(|handle| *handle = None);
    }

    /// What is in flight: the register and, unless it is being opened, the operation.
    pub fn current(&self) -> (usize, Option<RegisterOp>) {
        self.current
    }

    /// The value that a read returned (0: never written).
    pub fn answered(&mut self, result: &FileResult) -> Result<Option<u64>, String> {
        match (self.current, result) {
            ((register, None), Ok(FileOk::Made { attributes, .. })) => {
                self.handles[register] = Some(attributes.file);
                Ok(None)
            }
            ((_, Some(RegisterOp::Write(_))), Ok(FileOk::Written { count: 8, stability: Stability::FileSync, .. })) => Ok(None),
            ((_, Some(RegisterOp::Read)), Ok(FileOk::Data { pieces, .. })) => match <[u8; 8]>::try_from(pieces.concat()) {
                Ok(bytes) => Ok(Some(u64::from_le_bytes(bytes))),
                Err(bytes) if bytes.is_empty() => Ok(Some(0)),
                Err(bytes) => Err(format!("read register {}: it holds {} bytes instead of 8", self.current.0, bytes.len())),
            },
            ((register, op), result) => {
                let what = match op {
                    None => "open",
                    Some(RegisterOp::Read) => "read",
                    Some(RegisterOp::Write(_)) => "write",
                };
                let answer =
                    result.as_ref().err().map_or("an answer to another question".into(), |failure| failure.error.to_string());
                Err(format!("{what} register {register}: {answer}"))
            }
        }
    }
}
