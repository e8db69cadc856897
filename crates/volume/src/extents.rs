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

    /// No data from `size` on, of records up to which `older` says so.
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
