//! Reading: file data with its checks, and retained records for a secondary that lags. Jobs own what they need; [`run`]
//! happens on another thread.
//!
//! [`run`]: ReadJob::run

use super::scan::{Found, Scanner};
use crate::disk::{Disk, DiskFile};
use crate::error::DiskError;
use crate::place::{Place, StoredExtent};
use crate::segment::{self, FRAGMENT_HEADER_BYTES, FRAGMENT_MAGIC, FragmentHeader, u32_at};
use bytes::Bytes;
use mainstay_protocol::limits::BLOCK_BYTES;
use mainstay_protocol::planted::{Bug, planted};
use mainstay_protocol::record::{HEADER_BYTES, block_count, crc32c};
use mainstay_protocol::{Position, Record, RecordHeader, VolumeId};
use std::io;
use std::sync::Arc;

/// Head bytes read together with the data: most heads are shorter, so one read does for both.
const HEAD_GUESS_BYTES: usize = 1024;
/// Data that begins further behind the record's start is read apart from the head.
const SINGLE_READ_BYTES: usize = 256 << 10;

/// One piece of a read, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// In memory already: the tail cache, or zeros of a hole.
    Ready(Bytes),
    Stored(StoredExtent),
}

/// Reads pieces of file data and verifies every block that it returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadJob {
    pub(crate) ticket: u64,
    pub(crate) volume: VolumeId,
    pub(crate) pieces: Vec<Piece>,
}

/// Data, or what is wrong with it.
pub(crate) type PieceResult = Result<Bytes, Damage>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadDone {
    pub(crate) ticket: u64,
    pub(crate) pieces: Vec<PieceResult>,
}

/// A stored piece that cannot be returned as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    pub extent: StoredExtent,
    pub problem: String,
    /// Where the block checksums are still good: what a repair's data must match. Only blocks that the piece covers whole.
    pub expected: Vec<BlockSum>,
}

/// Bytes `start..start + len` of the piece have this CRC-32C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockSum {
    pub start: usize,
    pub len: usize,
    pub crc: u32,
}

impl Damage {
    /// Whether `data` can stand in for what is damaged.
    pub fn accepts(&self, data: &[u8]) -> bool {
        data.len() == self.extent.len as usize
            && self.expected.iter().all(|sum| crc32c(&data[sum.start..sum.start + sum.len]) == sum.crc)
    }
}

impl ReadJob {
    /// Bytes that it will return.
    pub fn bytes(&self) -> u64 {
        let len = |piece: &Piece| match piece {
            Piece::Ready(bytes) => bytes.len() as u64,
            Piece::Stored(extent) => extent.len as u64,
        };
        self.pieces.iter().map(len).sum()
    }

    pub(crate) fn run(self, disk: &dyn Disk) -> ReadDone {
        let volume = self.volume;
        let read = |piece: Piece| match piece {
            Piece::Ready(bytes) => Ok(bytes),
            Piece::Stored(extent) => read_extent(disk, volume, extent),
        };
        ReadDone { ticket: self.ticket, pieces: self.pieces.into_iter().map(read).collect() }
    }
}

/// Reads one extent and verifies the blocks that it lies in.
pub(crate) fn read_extent(disk: &dyn Disk, volume: VolumeId, extent: StoredExtent) -> PieceResult {
    let damage = |problem: String| Damage { extent, problem, expected: Vec::new() };
    let name = segment::file_name(extent.place.segment);
    let file = disk.open(&name).map_err(|error| damage(DiskError::new("open", &name, &error).to_string()))?;
    let mut source = Source::read(file, extent).map_err(|error| damage(format!("{name}: {error}")))?;
    let layout = source.layout(volume, extent).map_err(|error| damage(format!("{name}: {error}")))?;
    let data = source.range(layout.data_from, layout.data_to).map_err(|problem| Damage {
        extent,
        problem: format!("{name}: {problem}"),
        expected: layout.expected(extent.len as usize),
    })?;
    layout.verify(&data).map_err(|block| Damage {
        extent,
        problem: format!("{name}: block {block} of record {} does not match its checksum", extent.position),
        expected: layout.expected(extent.len as usize),
    })?;
    Ok(data.slice(layout.skip..layout.skip + extent.len as usize))
}

/// The file from the record's start on, as far as it was read.
struct Source {
    file: Arc<dyn DiskFile>,
    start: u64,
    file_len: u64,
    front: Bytes,
}

impl Source {
    fn read(file: Arc<dyn DiskFile>, extent: StoredExtent) -> Result<Source, String> {
        let file_len = file.len().map_err(|error| error.to_string())?;
        let mut source = Source { file, start: extent.place.offset as u64, file_len, front: Bytes::new() };
        let behind = (extent.payload_offset as usize + extent.len as usize).next_multiple_of(BLOCK_BYTES);
        let guess = HEAD_GUESS_BYTES + if behind <= SINGLE_READ_BYTES { behind } else { 0 };
        let len = guess.min(file_len.saturating_sub(source.start) as usize);
        source.front = source.read_range(0, len)?;
        Ok(source)
    }

    /// Bytes `from..to` counted from the record's start; by reference where they were read already.
    fn range(&mut self, from: usize, to: usize) -> Result<Bytes, String> {
        if to <= self.front.len() { Ok(self.front.slice(from..to)) } else { self.read_range(from, to) }
    }

    fn read_range(&self, from: usize, to: usize) -> Result<Bytes, String> {
        if self.start + to as u64 > self.file_len {
            return Err(format!("ends before byte {}", self.start + to as u64));
        }
        let mut buf = vec![0; to - from];
        self.file.read_at(self.start + from as u64, &mut buf).map_err(|error| format!("read: {error}"))?;
        Ok(Bytes::from(buf))
    }

    fn layout(&mut self, volume: VolumeId, extent: StoredExtent) -> Result<Layout, String> {
        let fragment = self.front.len() >= 4 && u32_at(&self.front, 0) == FRAGMENT_MAGIC;
        let whole = if fragment { self.fragment(volume, extent)? } else { self.record(volume, extent)? };
        let (first, last) = (whole.start / BLOCK_BYTES, (whole.start + extent.len as usize).div_ceil(BLOCK_BYTES));
        let table = self.range(whole.table_at, whole.table_at + 4 * block_count(whole.payload_len))?;
        if crc32c(&table) != whole.table_crc {
            return Err(format!("block checksums of record {} are damaged", extent.position));
        }
        let payload_at = whole.table_at + table.len();
        Ok(Layout {
            data_from: payload_at + first * BLOCK_BYTES,
            data_to: payload_at + (last * BLOCK_BYTES).min(whole.payload_len),
            skip: whole.start - first * BLOCK_BYTES,
            first_block: first,
            sums: table[4 * first..4 * last].chunks_exact(4).map(|sum| u32_at(sum, 0)).collect(),
        })
    }

    fn record(&mut self, volume: VolumeId, extent: StoredExtent) -> Result<Whole, String> {
        let header = RecordHeader::decode(&self.front).map_err(|error| error.to_string())?;
        check_identity(header.position, header.volume, volume, extent)?;
        let start = extent.payload_offset as usize;
        check_inside(start, extent, header.payload_len as usize)?;
        let (table_at, table_crc) = (header.table_offset(), header.table_crc);
        debug_assert!(table_at >= HEADER_BYTES);
        Ok(Whole { start, table_at, table_crc, payload_len: header.payload_len as usize })
    }

    fn fragment(&mut self, volume: VolumeId, extent: StoredExtent) -> Result<Whole, String> {
        let header = FragmentHeader::decode(&self.front).ok_or("fragment header is damaged")?;
        check_identity(header.position, header.volume, volume, extent)?;
        if header.segment != extent.place.segment {
            return Err(format!("fragment is of segment {}", header.segment));
        }
        let start = extent.payload_offset.checked_sub(header.payload_start).ok_or("fragment starts behind the data")? as usize;
        check_inside(start, extent, header.len as usize)?;
        Ok(Whole { start, table_at: FRAGMENT_HEADER_BYTES, table_crc: header.table_crc, payload_len: header.len as usize })
    }
}

fn check_identity(found: Position, of: VolumeId, volume: VolumeId, extent: StoredExtent) -> Result<(), String> {
    if found == extent.position && of == volume {
        return Ok(());
    }
    Err(format!("holds record {found} of {of} at byte {}, not {}", extent.place.offset, extent.position))
}

fn check_inside(start: usize, extent: StoredExtent, payload_len: usize) -> Result<(), String> {
    if start + extent.len as usize <= payload_len {
        return Ok(());
    }
    Err(format!("record {} has {payload_len} bytes of data, {}+{} were expected", extent.position, start, extent.len))
}

/// A record or fragment around the data.
struct Whole {
    /// Where the wanted data starts in this payload.
    start: usize,
    table_at: usize,
    table_crc: u32,
    payload_len: usize,
}

/// The whole blocks around the wanted data, counted from the record's start, with their checksums.
struct Layout {
    data_from: usize,
    data_to: usize,
    /// Bytes of the first block before the wanted data.
    skip: usize,
    first_block: usize,
    sums: Vec<u32>,
}

impl Layout {
    /// The number of the first block that does not match.
    fn verify(&self, data: &[u8]) -> Result<(), usize> {
        let mut blocks = data.chunks(BLOCK_BYTES).zip(&self.sums).enumerate();
        match blocks.find(|(_, (block, sum))| crc32c(block) != **sum) {
            Some(_) if planted(Bug::UnverifiedReads) => Ok(()),
            Some((index, _)) => Err(self.first_block + index),
            None => Ok(()),
        }
    }

    /// Checksums of the blocks that lie whole inside the `len` wanted bytes.
    fn expected(&self, len: usize) -> Vec<BlockSum> {
        let total = self.data_to - self.data_from;
        let block = |(index, crc): (usize, &u32)| {
            let (from, to) = (index * BLOCK_BYTES, ((index + 1) * BLOCK_BYTES).min(total));
            (from >= self.skip && to <= self.skip + len).then(|| BlockSum { start: from - self.skip, len: to - from, crc: *crc })
        };
        self.sums.iter().enumerate().filter_map(block).collect()
    }
}

/// Where to look for records: places to start at, in order, each good until the next one's base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordsJob {
    pub(crate) ticket: u64,
    /// The point before the first record wanted, as far as it is known: the caller checks the chain of what comes.
    pub(crate) after: Position,
    /// Last record to return.
    pub(crate) to: Position,
    pub(crate) bytes_max: usize,
    /// (start, position of the last record of this run).
    pub(crate) runs: Vec<(Place, Position)>,
    /// Records whose payload is damaged are returned, too: for who wants the history, or keeps what there is as it is.
    pub(crate) damaged: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordsDone {
    pub(crate) ticket: u64,
    pub(crate) after: Position,
    pub(crate) result: Result<RecordsRead, RecordsError>,
}

/// Why the first of the records that were wanted did not come.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordsError {
    /// It is not where it can be found, as it was written. `found`: its head is whole, a block of its payload is not.
    #[error("{problem}")]
    Damaged { problem: String, found: Option<Box<(Record, Place)>> },
    /// The disk or the system did not answer, which says nothing of the record.
    #[error("{0}")]
    Disk(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordsRead {
    pub records: Vec<(Record, Place)>,
    /// Where the next record starts, when that is known: the next read begins there.
    pub next: Option<(Position, Place)>,
}

impl RecordsJob {
    pub(crate) fn run(self, disk: &dyn Disk) -> RecordsDone {
        RecordsDone { ticket: self.ticket, after: self.after, result: self.read(disk) }
    }

    pub(crate) fn read(&self, disk: &dyn Disk) -> Result<RecordsRead, RecordsError> {
        let mut read = RecordsRead { records: Vec::new(), next: None };
        let mut bytes = 0;
        for (start, end) in &self.runs {
            let end = (*end).min(self.to);
            if read.last_or(self.after) >= end {
                continue;
            }
            match self.read_run(disk, *start, end, &mut bytes, &mut read) {
                Ok(true) => break,
                Ok(false) => {}
                // The next request begins with the one that cannot be read.
                Err(_) if !read.records.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    /// True when enough was read.
    fn read_run(
        &self,
        disk: &dyn Disk,
        start: Place,
        end: Position,
        bytes: &mut usize,
        read: &mut RecordsRead,
    ) -> Result<bool, RecordsError> {
        let name = &segment::file_name(start.segment);
        let failed = |operation| move |error: io::Error| RecordsError::Disk(format!("{operation} {name}: {error}"));
        let damaged = |problem: String, found| RecordsError::Damaged { problem: format!("{name}: {problem}"), found };
        let file = disk.open(name).map_err(failed("open"))?;
        let mut scanner = Scanner::with_window(&*file, start, self.bytes_max).map_err(failed("measure"))?;
        while read.last_or(self.after) < end {
            let (record, place) = match scanner.next().map_err(failed("read"))? {
                Found::Mark(_) => continue,
                Found::Record(record, place) => (record, place),
                Found::BadPayload(record, place, _) if self.damaged || record.header.position <= self.after => (record, place),
                Found::BadPayload(record, place, error) => {
                    return Err(damaged(error.to_string(), Some(Box::new((record, place)))));
                }
                // Before the wanted one, too: there is no other way to it.
                Found::End(error) => return Err(damaged(error.to_string(), None)),
            };
            if record.header.position <= self.after {
                continue;
            }
            let wanted = read.last_or(self.after).next();
            if record.header.position != wanted {
                return Err(damaged(format!("record {} where {wanted} belongs", record.header.position), None));
            }
            *bytes += record.total_len();
            read.records.push((record, place));
            read.next = Some((read.last_or(self.after).next(), scanner.place()));
            if *bytes >= self.bytes_max {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl RecordsRead {
    fn last_or(&self, after: Position) -> Position {
        self.records.last().map_or(after, |(record, _)| record.header.position)
    }
}
