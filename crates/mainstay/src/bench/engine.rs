//! What a target must be able to do, whatever it is.

use super::BenchError;
use super::content::Content;
use super::histogram::Histogram;
use super::phase::{File, Ground, Phase};
use super::progress::Watch;
use bytes::Bytes;
use std::time::Duration;

/// What a phase brought.
#[derive(Default)]
pub struct Sample {
    /// Operations that each slot completed.
    pub done: Vec<u64>,
    /// From the first start to the last completion.
    pub elapsed: Duration,
    pub latency: Histogram,
}

/// Everything that a target makes lies in one directory of its own.
pub trait Engine {
    /// For messages.
    fn name(&self) -> String;

    /// Anything about the run that makes its figures questionable.
    fn note(&self) -> Option<String> {
        None
    }

    /// Runs a phase to its limit. Every answer is checked, data read is compared.
    fn run(&mut self, phase: &Phase, ground: &Ground, content: &Content, watch: &mut Watch) -> Result<Sample, BenchError>;

    /// An empty large file; the last one is removed.
    fn renew_large(&mut self, old: u64, new: u64) -> Result<(), BenchError>;

    /// Up to `len` bytes of a small file, from its start, looked up by its name; `None` when there is no such name.
    fn read_file(&mut self, file: &File, len: u32) -> Result<Option<Bytes>, BenchError>;

    /// A piece of the large file.
    fn read_large(&mut self, generation: u64, offset: u64, len: u32) -> Result<Bytes, BenchError>;

    /// Removes the directory and everything in it, by what is found there. Also after errors.
    fn sweep(&mut self) -> Result<(), BenchError>;
}
