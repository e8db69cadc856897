//! Arithmetic of runs of file data: overlaying writes, truncation, what a read must fetch. Pure; runs stay exact (never merged),
//! so that replicas that applied the same history hold the same runs.

use crate::place::StoredExtent;
use std::ops::Range;

impl StoredExtent {
    /// First byte of the file behind the run.
    pub fn end(&self) -> u64 {
        self.offset + self.len as u64
    }

    /// The part of the run inside `range`; `None` when they share no byte.
    pub fn part(&self, range: Range<u64>) -> Option<StoredExtent> {
        let (start, end) = (self.offset.max(range.start), self.end().min(range.end));
        (start < end).then(|| StoredExtent {
            offset: start,
            len: (end - start) as u32,
            payload_offset: self.payload_offset + (start - self.offset) as u32,
            ..*self
        })
    }

    /// What is left of the run on both sides of `range`.
    pub fn outside(&self, range: Range<u64>) -> impl Iterator<Item = StoredExtent> {
        [self.part(0..range.start), self.part(range.end..u64::MAX)].into_iter().flatten()
    }
}

/// Rows to take out and to put in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edit {
    pub remove: Vec<StoredExtent>,
    pub put: Vec<StoredExtent>,
}

impl Edit {
    /// `new` over `existing` (the runs that overlap it, in order): whatever it covers is gone.
    pub fn overlay(existing: &[StoredExtent], new: StoredExtent) -> Edit {
        let range = new.offset..new.end();
        let mut edit = Edit { remove: existing.to_vec(), put: vec![new] };
        existing.iter().for_each(|old| edit.put.extend(old.outside(range.clone())));
        edit
    }

    /// As [`Edit::overlay`], but existing runs of newer records stay and `new` fills only what lies between them. Runs of the
    /// same record are replaced: the data is the same, and one whole run is what the other replica has.
    pub fn underlay(existing: &[StoredExtent], new: StoredExtent) -> Edit {
        let mut edit = Edit::default();
        let mut from = new.offset;
        for newer in existing.iter().filter(|old| old.position > new.position) {
            edit.put.extend(new.part(from..newer.offset));
            from = newer.end();
        }
        edit.put.extend(new.part(from..u64::MAX));
        for old in existing.iter().filter(|old| old.position <= new.position) {
            edit.remove.push(*old);
            edit.put.extend(old.outside(new.offset..new.end()));
        }
        edit
    }

    /// No data from `size` on.
    pub fn truncate(existing: &[StoredExtent], size: u64) -> Edit {
        let mut edit = Edit::default();
        for old in existing.iter().filter(|old| old.end() > size) {
            edit.remove.push(*old);
            edit.put.extend(old.part(0..size));
        }
        edit
    }
}

/// A piece of a read, in file order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    Data(StoredExtent),
    /// This many bytes of zeros.
    Hole(u32),
}

/// Pieces that make up `count` bytes from `offset` on, given the runs there; `count` fits `u32` as every read does.
pub fn read_plan(existing: &[StoredExtent], offset: u64, count: u32) -> Vec<Piece> {
    let end = offset + count as u64;
    let mut pieces = Vec::with_capacity(existing.len() * 2 + 1);
    let mut from = offset;
    for part in existing.iter().filter_map(|run| run.part(offset..end)) {
        if part.offset > from {
            pieces.push(Piece::Hole((part.offset - from) as u32));
        }
        from = part.end();
        pieces.push(Piece::Data(part));
    }
    if from < end {
        pieces.push(Piece::Hole((end - from) as u32));
    }
    pieces
}

/// Bytes of `offset..end` that hold data.
pub fn data_bytes(existing: &[StoredExtent], offset: u64, end: u64) -> u64 {
    existing.iter().filter_map(|run| run.part(offset..end)).map(|run| run.len as u64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Place;
    use mainstay_protocol::Position;
    use std::collections::BTreeMap;

    const FILE_BYTES: u64 = 300;

    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % bound
        }
    }

    /// Runs by their end, as the view keeps them, beside who wrote each byte.
    struct Pair {
        runs: BTreeMap<u64, StoredExtent>,
        bytes: Vec<u64>,
    }

    impl Pair {
        fn overlapping(&self, from: u64, to: u64) -> Vec<StoredExtent> {
            self.runs.range(from + 1..).map(|(_, run)| *run).take_while(|run| run.offset < to).collect()
        }

        fn edit(&mut self, edit: Edit) {
            edit.remove.iter().for_each(|run| assert_eq!(self.runs.remove(&run.end()).as_ref(), Some(run)));
            edit.put.iter().for_each(|run| assert_eq!(self.runs.insert(run.end(), *run), None));
        }

        fn check(&self) {
            let mut end = 0;
            let mut found = vec![0; self.bytes.len()];
            for run in self.runs.values() {
                assert!(run.len > 0 && run.offset >= end, "{run:?}");
                end = run.end();
                // A record's data starts at the offset that its position tells, in these tests.
                assert_eq!(run.payload_offset as u64, run.offset - run.place.offset as u64);
                found[run.offset as usize..end as usize].fill(run.position.0);
            }
            assert_eq!(found, self.bytes);
        }

        fn check_read(&self, offset: u64, count: u32) {
            let mut at = offset;
            for piece in read_plan(&self.overlapping(offset, offset + count as u64), offset, count) {
                let (len, position) = match piece {
                    Piece::Hole(len) => (len, 0),
                    Piece::Data(run) => {
                        assert_eq!(run.offset, at);
                        (run.len, run.position.0)
                    }
                };
                assert!(len > 0 && self.bytes[at as usize..at as usize + len as usize].iter().all(|byte| *byte == position));
                at += len as u64;
            }
            assert_eq!(at, offset + count as u64);
        }
    }

    fn written(random: &mut Random, position: u64) -> StoredExtent {
        let offset = random.below(FILE_BYTES - 60);
        let (len, place) = (1 + random.below(60) as u32, Place { offset: offset as u32, ..Place::default() });
        StoredExtent { offset, len, position: Position(position), place, payload_offset: 0 }
    }

    #[test]
    fn runs_say_what_an_array_of_bytes_says() {
        for seed in 0..40 {
            let mut random = Random(seed);
            let mut pair = Pair { runs: BTreeMap::new(), bytes: vec![0; FILE_BYTES as usize] };
            for position in 1..200 {
                if random.below(8) == 0 {
                    let size = random.below(FILE_BYTES);
                    pair.edit(Edit::truncate(&pair.overlapping(size, u64::MAX), size));
                    pair.bytes[size as usize..].fill(0);
                } else {
                    let new = written(&mut random, position);
                    pair.edit(Edit::overlay(&pair.overlapping(new.offset, new.end()), new));
                    pair.bytes[new.offset as usize..new.end() as usize].fill(position);
                }
                pair.check();
                let (offset, count) = (random.below(FILE_BYTES - 50), random.below(50) as u32);
                pair.check_read(offset, count);
                let held = pair.bytes[offset as usize..][..count as usize].iter().filter(|byte| **byte > 0).count() as u64;
                let end = offset + count as u64;
                assert_eq!(data_bytes(&pair.overlapping(offset, end), offset, end), held);
            }
        }
    }

    #[test]
    fn in_whatever_order_records_come_the_newest_wins() {
        for seed in 0..200 {
            let mut random = Random(seed);
            let mut records: Vec<StoredExtent> = (1..30).map(|position| written(&mut random, position)).collect();
            let mut pair = Pair { runs: BTreeMap::new(), bytes: vec![0; FILE_BYTES as usize] };
            for new in &records {
                pair.edit(Edit::overlay(&pair.overlapping(new.offset, new.end()), *new));
            }
            let in_order = std::mem::take(&mut pair.runs);
            for _ in 0..records.len() * 2 {
                let index = random.below(records.len() as u64) as usize;
                let new = if random.below(3) == 0 { records[index] } else { records.swap_remove(index) };
                pair.edit(Edit::underlay(&pair.overlapping(new.offset, new.end()), new));
                if records.is_empty() {
                    break;
                }
            }
            for new in records {
                pair.edit(Edit::underlay(&pair.overlapping(new.offset, new.end()), new));
            }
            let bytes = |runs: &BTreeMap<u64, StoredExtent>| {
                let mut bytes = vec![0; FILE_BYTES as usize];
                runs.values().for_each(|run| bytes[run.offset as usize..run.end() as usize].fill(run.position.0));
                bytes
            };
            assert_eq!(bytes(&in_order), bytes(&pair.runs));
        }
    }
}
