//! One operation at one depth: which slot does what, and what is there afterwards.

use super::content::mix;
use super::operation::{BLOCK_BYTES, CHUNK_BYTES, Operation};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Pieces of the large file: 512 MiB.
const CHUNKS_MAX: u64 = 512;
/// Blocks that random writes spread over: 64 MiB.
const BLOCKS_MAX: u64 = (64 << 20) / BLOCK_BYTES as u64;
/// Files of one phase, however fast the server is: 1.6 GB.
const FILES_MAX: u64 = 100_000;
/// Directories that the files are spread over.
pub const DIRECTORIES: u64 = 16;

/// When a phase ends, besides running out of things to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    Time(Duration),
    Operations(u64),
}

/// What a slot does next: a unit (file, chunk, block) and how many times it has been done in this phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub unit: u64,
    pub lap: u64,
}

/// Units are dealt to slots: slot `s` of `depth` has the units `s`, `s + depth`, … So no unit is ever in flight twice, whatever
/// order the answers come in, and what was done follows from one count per slot.
#[derive(Clone, Debug)]
pub struct Phase {
    pub operation: Operation,
    pub depth: u64,
    pub limit: Limit,
    units: u64,
    /// Units are done again and again until the limit.
    laps: bool,
    /// Where random writes go: a block for each unit.
    order: Vec<u64>,
}

impl Phase {
    pub fn new(operation: Operation, depth: u64, limit: Limit, ground: &Ground) -> Phase {
        let files = ground.files.len() as u64;
        let (units, laps) = match operation {
            Operation::Create => (FILES_MAX.max(limit.operations()), false),
            Operation::Remove => (files, false),
            Operation::Read | Operation::Getattr | Operation::Rename => (files, true),
            Operation::SeqWrite => (CHUNKS_MAX, false),
            Operation::SeqRead => (ground.large.chunks, true),
            Operation::RandWrite => (ground.large.blocks().min(BLOCKS_MAX), true),
        };
        let order = if operation == Operation::RandWrite { shuffled(units, ground.large.generation) } else { Vec::new() };
        Phase { operation, depth, limit, units, laps, order }
    }

    /// The `n`th thing that `slot` does; `None` when there is nothing left for it.
    pub fn place(&self, slot: u64, n: u64) -> Option<Place> {
        let own = (self.units + self.depth).saturating_sub(slot + 1) / self.depth;
        let share = (self.limit.operations() + self.depth).saturating_sub(slot + 1) / self.depth;
        if own == 0 || (!self.laps && n >= own) || (self.limit.is_count() && n >= share) {
            return None;
        }
        Some(Place { unit: slot + n % own * self.depth, lap: n / own })
    }

    /// The block of the large file that a unit of random writes stands for.
    pub fn block(&self, unit: u64) -> u64 {
        self.order[unit as usize]
    }

    /// Whether nothing new shall be started.
    pub fn is_over(&self, started: Instant, now: Instant) -> bool {
        matches!(self.limit, Limit::Time(time) if now.duration_since(started) >= time)
    }

    /// Everything that was done, given how much each slot did.
    fn places<'a>(&'a self, done: &'a [u64]) -> impl Iterator<Item = Place> + 'a {
        done.iter().enumerate().flat_map(move |(slot, n)| (0..*n).filter_map(move |n| self.place(slot as u64, n)))
    }
}

impl Limit {
    fn is_count(self) -> bool {
        matches!(self, Limit::Operations(_))
    }
    fn operations(self) -> u64 {
        match self {
            Limit::Time(_) => 0,
            Limit::Operations(operations) => operations,
        }
    }
}

/// A permutation of `0..len` (Fisher–Yates), the same for the same seed.
fn shuffled(len: u64, seed: u64) -> Vec<u64> {
    let mut order: Vec<u64> = (0..len).collect();
    for at in (1..len).rev() {
        order.swap(at as usize, (mix(seed, at) % (at + 1)) as usize);
    }
    order
}

/// A small file that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File {
    pub id: u64,
    pub renames: u64,
}

impl File {
    pub fn directory(&self) -> usize {
        (self.id % DIRECTORIES) as usize
    }
    pub fn name(&self) -> String {
        self.after(0).own_name()
    }
    /// The file after so many more renames.
    pub fn after(&self, renames: u64) -> File {
        File { renames: self.renames + renames, ..*self }
    }
    /// A file has two names, which take turns.
    fn own_name(&self) -> String {
        format!("{}{:08}", if self.renames.is_multiple_of(2) { 'f' } else { 'g' }, self.id)
    }
}

/// The large file; generation zero is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Large {
    pub generation: u64,
    /// Whole pieces from its start on.
    pub chunks: u64,
    /// Overwrites of each block.
    pub versions: Vec<u64>,
}

impl Large {
    pub fn name(generation: u64) -> String {
        format!("large{generation}")
    }
    fn blocks(&self) -> u64 {
        self.chunks * (CHUNK_BYTES / BLOCK_BYTES) as u64
    }
}

/// What a target holds, by the benchmark's own bookkeeping.
#[derive(Clone, Debug, Default)]
pub struct Ground {
    pub files: Vec<File>,
    /// Identity of the next file.
    pub next_id: u64,
    pub large: Large,
    /// Large files made so far.
    pub generations: u64,
}

impl Ground {
    /// The file that a unit of `phase` stands for.
    pub fn file(&self, operation: Operation, place: Place) -> File {
        match operation {
            Operation::Create => File { id: self.next_id + place.unit, renames: 0 },
            _ => self.files[place.unit as usize],
        }
    }

    /// Writes down what a phase did.
    pub fn apply(&mut self, phase: &Phase, done: &[u64]) {
        match phase.operation {
            Operation::Create => {
                let base = self.next_id;
                self.files.extend(phase.places(done).map(|place| File { id: base + place.unit, renames: 0 }));
                self.next_id += phase.units;
            }
            Operation::Rename => phase.places(done).for_each(|place| self.files[place.unit as usize].renames += 1),
            Operation::Remove => {
                let gone: BTreeSet<u64> = phase.places(done).map(|place| self.files[place.unit as usize].id).collect();
                self.files.retain(|file| !gone.contains(&file.id));
            }
            Operation::SeqWrite => {
                let written: BTreeSet<u64> = phase.places(done).map(|place| place.unit).collect();
                self.large.chunks = (0..).take_while(|chunk| written.contains(chunk)).count() as u64;
                self.large.versions = vec![0; self.large.blocks() as usize];
            }
            Operation::RandWrite => {
                phase.places(done).for_each(|place| self.large.versions[phase.block(place.unit) as usize] += 1);
            }
            Operation::Read | Operation::Getattr | Operation::SeqRead => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ground(files: u64, chunks: u64) -> Ground {
        let files = (0..files).map(|id| File { id, renames: 0 }).collect();
        let mut ground = Ground { files, next_id: 1000, ..Ground::default() };
        ground.large = Large { generation: 1, chunks, versions: Vec::new() };
        ground.large.versions = vec![0; ground.large.blocks() as usize];
        ground
    }

    #[test]
    fn every_unit_is_dealt_to_one_slot() {
        for (files, depth) in [(1, 1), (5, 8), (100, 7), (64, 32)] {
            let ground = ground(files, 1);
            let phase = Phase::new(Operation::Remove, depth, Limit::Time(Duration::from_secs(1)), &ground);
            let mut units: Vec<u64> =
                (0..depth).flat_map(|slot| (0..).map_while(|n| phase.place(slot, n)).map(|p| p.unit).collect::<Vec<_>>()).collect();
            units.sort();
            assert_eq!(units, (0..files).collect::<Vec<_>>(), "{files} files, {depth} slots");
        }
    }

    #[test]
    fn a_count_is_kept_exactly_and_laps_go_round() {
        for operations in [0, 1, 7, 8, 1001] {
            let phase = Phase::new(Operation::Read, 8, Limit::Operations(operations), &ground(20, 1));
            let places: Vec<Place> =
                (0..8).flat_map(|slot| (0..).map_while(|n| phase.place(slot, n)).collect::<Vec<_>>()).collect();
            assert_eq!(places.len() as u64, operations);
            assert!(places.iter().all(|place| place.unit < 20));
            if operations == 1001 {
                assert!(places.iter().any(|place| place.lap > 10));
            }
        }
    }

    #[test]
    fn the_books_say_what_was_done() {
        let mut ground = ground(10, 2);
        let limit = Limit::Time(Duration::from_secs(1));
        let phase = Phase::new(Operation::Rename, 3, limit, &ground);
        // Slot 0 has the files 0, 3, 6, 9 and went round once and one further.
        ground.apply(&phase, &[5, 1, 0]);
        let renames: Vec<u64> = ground.files.iter().map(|file| file.renames).collect();
        assert_eq!(renames, [2, 1, 0, 1, 0, 0, 1, 0, 0, 1]);
        let phase = Phase::new(Operation::Create, 2, limit, &ground);
        ground.apply(&phase, &[2, 1]);
        assert_eq!(ground.files.iter().map(|file| file.id).skip(10).collect::<Vec<_>>(), [1000, 1002, 1001]);
        let phase = Phase::new(Operation::Remove, 1, limit, &ground);
        ground.apply(&phase, &[12]);
        assert_eq!(ground.files.len(), 1);
        let phase = Phase::new(Operation::SeqWrite, 2, limit, &ground);
        ground.apply(&phase, &[3, 1]);
        assert_eq!(ground.large.chunks, 3);
        let phase = Phase::new(Operation::RandWrite, 1, limit, &ground);
        ground.apply(&phase, &[768 + 5]);
        assert_eq!(ground.large.versions.iter().sum::<u64>(), 773);
        assert!(ground.large.versions.iter().all(|version| (1..=2).contains(version)));
        assert_eq!((0..768).map(|unit| phase.block(unit)).collect::<BTreeSet<_>>().len(), 768);
    }
}
