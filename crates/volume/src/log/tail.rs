//! The newest records in memory, by reference: they feed the secondaries, and reads of data that is not on disk yet.

use crate::place::{Place, StoredExtent};
use bytes::Bytes;
use mainstay_protocol::{Position, Record};
use std::collections::VecDeque;

/// Consecutive records up to the last one.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    records: VecDeque<(Record, Place)>,
    bytes: u64,
}

impl Tail {
    pub fn push(&mut self, record: Record, place: Place) {
        debug_assert!(self.records.back().is_none_or(|(last, _)| last.header.position.next() == record.header.position));
        self.bytes += record.total_len() as u64;
        self.records.push_back((record, place));
    }

    /// Drops the oldest records until `bytes_max` are held, but not the one at `written` nor any behind it: those
    /// may be nowhere else.
    pub fn evict(&mut self, bytes_max: u64, written: Position) {
        while self.bytes > bytes_max
            && let Some((oldest, _)) = self.records.front()
            && oldest.header.position < written
        {
            self.bytes -= oldest.total_len() as u64;
            self.records.pop_front();
        }
    }

    /// Forgets the records behind `to`.
    pub fn truncate(&mut self, to: Position) {
        while let Some((newest, _)) = self.records.back()
            && newest.header.position > to
        {
            self.bytes -= newest.total_len() as u64;
            self.records.pop_back();
        }
    }

    pub fn clear(&mut self) {
        *self = Tail::default();
    }

    pub fn first(&self) -> Option<Position> {
        self.records.front().map(|(record, _)| record.header.position)
    }

    fn index(&self, position: Position) -> Option<usize> {
        let index = position.0.checked_sub(self.first()?.0)? as usize;
        (index < self.records.len()).then_some(index)
    }

    pub fn get(&self, position: Position) -> Option<&(Record, Place)> {
        self.records.get(self.index(position)?)
    }

    /// Records after `after`, at least one, about `bytes_max` bytes; `None` when the first of them is not here.
    pub fn after(&self, after: Position, bytes_max: usize) -> Option<Vec<Record>> {
        let start = self.index(after.next())?;
        let mut bytes = 0;
        let wanted = self.records.range(start..).take_while(|(record, _)| {
            let take = bytes == 0 || bytes + record.total_len() <= bytes_max;
            bytes += record.total_len();
            take
        });
        Some(wanted.map(|(record, _)| record.clone()).collect())
    }

    /// Everything after `after` that is here.
    pub fn all_after(&self, after: Position) -> impl Iterator<Item = &(Record, Place)> {
        self.records.iter().skip_while(move |(record, _)| record.header.position <= after)
    }

    /// The extent's data, if the record that it names (at that very place) is here.
    pub fn data(&self, extent: &StoredExtent) -> Option<Bytes> {
        let (record, place) = self.get(extent.position)?;
        let (from, to) = (extent.payload_offset as usize, extent.payload_offset as usize + extent.len as usize);
        (*place == extent.place && to <= record.payload.len()).then(|| record.payload.slice(from..to))
    }
}
