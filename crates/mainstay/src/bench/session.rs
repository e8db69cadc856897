//! One target through all of its phases: what must be there before, what must be there after.

use super::BenchError;
use super::content::Content;
use super::engine::{Engine, Sample};
use super::operation::{CHUNK_BYTES, FILE_BYTES, Operation};
use super::phase::{File, Ground, Large, Limit, Phase};
use super::progress::{Progress, Watch};
use super::report::Figures;
use bytes::Bytes;

/// Depth of what is done outside of the measured time.
const UNTIMED_DEPTH: u64 = 8;
/// Files that reads, getattrs and renames go round over, when fewer were created.
const FILES_MIN: u64 = 256;
/// Files to remove when none were created.
const REMOVALS: u64 = 2000;
/// Pieces of the large file, MiB, when it was not written.
const CHUNKS: u64 = 64;
/// Files and pieces looked at to check a phase.
const CHECKS_MAX: usize = 256;

pub struct Session<'a> {
    engine: Box<dyn Engine>,
    limit: Limit,
    content: &'a Content,
    ground: Ground,
}

impl Session<'_> {
    pub fn new(engine: Box<dyn Engine>, limit: Limit, content: &Content) -> Session<'_> {
        Session { engine, limit, content, ground: Ground::default() }
    }

    /// One measured phase with its preparation and its check.
    pub fn phase(
        &mut self,
        operation: Operation,
        depth: u64,
        watch: &mut Watch,
        progress: &Progress,
    ) -> Result<Figures, BenchError> {
        self.prepare(operation, depth, progress)?;
        let sample = self.run(operation, depth, self.limit, watch)?;
        Ok(Figures::of(&sample))
    }

    fn run(&mut self, operation: Operation, depth: u64, limit: Limit, watch: &mut Watch) -> Result<Sample, BenchError> {
        if operation == Operation::SeqWrite {
            self.renew_large()?;
        }
        let phase = Phase::new(operation, depth, limit, &self.ground);
        watch.restart();
        let sample = self.engine.run(&phase, &self.ground, self.content, watch)?;
        let before = self.ground.files.clone();
        self.ground.apply(&phase, &sample.done);
        self.check(operation, &before)?;
        Ok(sample)
    }

    fn untimed(&mut self, operation: Operation, operations: u64, progress: &Progress) -> Result<(), BenchError> {
        let mut watch = progress.watch("preparing".into(), (0, 1), |_, _| 0.0);
        self.run(operation, UNTIMED_DEPTH, Limit::Operations(operations), &mut watch).map(drop)
    }

    /// Makes what the operation needs and earlier ones did not leave.
    fn prepare(&mut self, operation: Operation, depth: u64, progress: &Progress) -> Result<(), BenchError> {
        let wanted = match (operation, self.limit) {
            (Operation::Remove, Limit::Operations(operations)) => operations,
            (Operation::Remove, Limit::Time(_)) if self.ground.files.is_empty() => REMOVALS,
            _ => FILES_MIN.max(depth),
        };
        let have = self.ground.files.len() as u64;
        if operation.needs_files() && have < wanted {
            self.untimed(Operation::Create, wanted - have, progress)?;
        }
        if operation.needs_large_file() && self.ground.large.chunks == 0 {
            self.untimed(Operation::SeqWrite, CHUNKS, progress)?;
        }
        Ok(())
    }

    fn renew_large(&mut self) -> Result<(), BenchError> {
        let (old, new) = (self.ground.large.generation, self.ground.generations + 1);
        self.ground.generations = new;
        self.engine.renew_large(old, new)?;
        self.ground.large = Large { generation: new, ..Large::default() };
        Ok(())
    }

    /// An empty stage for the next depth: no files, and an empty large file.
    pub fn clear(&mut self, progress: &Progress) -> Result<(), BenchError> {
        let files = self.ground.files.len() as u64;
        if files > 0 {
            self.untimed(Operation::Remove, files, progress)?;
        }
        if self.ground.large.generation > 0 {
            self.renew_large()?;
        }
        Ok(())
    }

    pub fn note(&self) -> Option<String> {
        self.engine.note()
    }

    /// Removes everything; also after errors.
    pub fn finish(mut self) -> Result<(), BenchError> {
        self.engine.sweep()
    }

    /// Looks whether the phase did what it said. A sample of the files, all of the random writes.
    fn check(&mut self, operation: Operation, before: &[File]) -> Result<(), BenchError> {
        match operation {
            Operation::Create => {
                let made = before.len()..self.ground.files.len();
                sampled(made).try_for_each(|at| self.check_file(self.ground.files[at]))
            }
            Operation::Rename => sampled(0..self.ground.files.len()).try_for_each(|at| {
                self.check_file(self.ground.files[at])?;
                self.check_gone(self.ground.files[at].after(1), "still has the name that it had before it was renamed")
            }),
            Operation::Remove => {
                // What is left keeps its order, so what is missing is found by walking both.
                let mut left = self.ground.files.iter().peekable();
                let gone: Vec<File> = before.iter().filter(|file| left.next_if_eq(file).is_none()).copied().collect();
                sampled(0..gone.len()).try_for_each(|at| self.check_gone(gone[at], "is still there after it was removed"))
            }
            Operation::SeqWrite => {
                let chunks = self.ground.large.chunks as usize;
                sampled(0..chunks).try_for_each(|chunk| self.check_chunk(chunk as u64))
            }
            Operation::RandWrite => (0..self.ground.large.chunks).try_for_each(|chunk| self.check_overwritten(chunk)),
            Operation::Read | Operation::Getattr | Operation::SeqRead => Ok(()),
        }
    }

    fn check_file(&mut self, file: File) -> Result<(), BenchError> {
        // One byte more, to notice a file that is too long.
        let found = self.engine.read_file(&file, FILE_BYTES as u32 + 1)?;
        let right = found.as_ref() == Some(&self.content.file(file.id));
        let what = if found.is_some() { "has not what was written" } else { "is missing" };
        if right { Ok(()) } else { Err(self.wrong(format!("{} {what}", file.name()))) }
    }

    fn check_gone(&mut self, file: File, what: &str) -> Result<(), BenchError> {
        match self.engine.read_file(&file, 1)? {
            None => Ok(()),
            Some(_) => Err(self.wrong(format!("{} {what}", file.name()))),
        }
    }

    fn read_chunk(&mut self, chunk: u64) -> Result<Bytes, BenchError> {
        self.engine.read_large(self.ground.large.generation, chunk * CHUNK_BYTES as u64, CHUNK_BYTES as u32)
    }

    fn check_chunk(&mut self, chunk: u64) -> Result<(), BenchError> {
        let right = self.read_chunk(chunk)? == self.content.chunk(self.ground.large.generation, chunk);
        if right { Ok(()) } else { Err(self.wrong(format!("the large file differs in its MiB {chunk}"))) }
    }

    /// Every block of a piece whose blocks were overwritten.
    fn check_overwritten(&mut self, chunk: u64) -> Result<(), BenchError> {
        use super::operation::BLOCK_BYTES;
        let first = chunk * (CHUNK_BYTES / BLOCK_BYTES) as u64;
        let versions = &self.ground.large.versions[first as usize..][..CHUNK_BYTES / BLOCK_BYTES];
        if versions.iter().all(|version| *version == 0) {
            return Ok(());
        }
        let found = self.read_chunk(chunk)?;
        let large = &self.ground.large;
        let expected = |block: u64| self.content.block(large.generation, block, large.versions[block as usize]);
        let wrong = (first..).zip(found.chunks(BLOCK_BYTES)).find(|(block, data)| *data != expected(*block));
        match (wrong, found.len()) {
            (None, CHUNK_BYTES) => Ok(()),
            (None, len) => Err(self.wrong(format!("{len} bytes of the large file's MiB {chunk}"))),
            (Some((block, _)), _) => Err(self.wrong(format!("block {block} of the large file has not what was last written"))),
        }
    }

    fn wrong(&self, what: String) -> BenchError {
        BenchError::WrongData { target: self.engine.name(), what }
    }
}

/// At most [`CHECKS_MAX`] of a range, evenly, its last among them.
fn sampled(range: std::ops::Range<usize>) -> impl Iterator<Item = usize> {
    let step = range.len().div_ceil(CHECKS_MAX).max(1);
    range.rev().step_by(step)
}
