//! The log: segments that are written, kept, read and given back.
//!
//! One writer: every byte that goes into a segment passes through [`Log::poll`]'s batches, in order. Each write has a number;
//! "synced through number n" is the one durability fact that everything else (durable position, checkpoints, moves) rests on.

pub(crate) mod quarantine;
pub(crate) mod read;
pub(crate) mod recover;
pub(crate) mod retain;
pub(crate) mod scan;
pub(crate) mod segments;
pub(crate) mod tail;
pub mod write;

use crate::disk::Disk;
use crate::options::Options;
use crate::place::{Place, SegmentId, StoredExtent};
use crate::segment::{FragmentHeader, MARK_BYTES, Mark, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentKind};
use bytes::Bytes;
use mainstay_protocol::{ClusterId, LogPoint, Position, Record, VolumeId};
use read::{RecordsDone, RecordsJob, RecordsRead};
use segments::{Need, Segment, Segments, Use};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use tail::Tail;
use write::{LogBatch, LogDone, Step};

/// A record's place is remembered about every so many bytes, so that a search reads at most this much.
const INDEX_BYTES: u32 = 256 << 10;
/// The log refuses clients while more than this times the tail cache waits for the disk.
const UNWRITTEN_FACTOR: u64 = 2;

/// A segment being filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Open {
    segment: SegmentId,
    bytes: u64,
    at: u32,
}

impl Open {
    fn fits(&self, bytes: usize) -> bool {
        self.at as u64 + bytes as u64 + MARK_BYTES as u64 <= self.bytes
    }
    fn take(&mut self, bytes: usize) -> Place {
        let place = Place { segment: self.segment, offset: self.at };
        self.at += bytes as u32;
        place
    }
}

/// Why there is no room right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// A segment is being prepared, or the disk is behind.
    Busy,
    Full,
}

#[derive(Debug)]
pub(crate) struct Log {
    cluster: ClusterId,
    volume: VolumeId,
    tail_cache_bytes: u64,
    pub segments: Segments,
    /// First segment of the log; what lies before it is kept for its data only.
    oldest: SegmentId,
    active: Open,
    /// Mark key of the active segment.
    key: u64,
    fragments: Option<Open>,
    last: LogPoint,
    tail: Tail,
    /// The newest record that is known to be unreadable: the log serves nobody who needs it or anything before it.
    pub unreadable: Position,
    /// Records appended since opening.
    appended_bytes: u64,
    writer: Writer,
    written: Position,
    durable: Position,
    /// Durable position that the newest mark tells.
    marked: Position,
    index: BTreeMap<Position, Place>,
    indexed: Place,
    /// Data of fragments that are not written yet, by place.
    unwritten_fragments: BTreeMap<Place, (u32, Bytes)>,
}

/// Numbers of writes and what became of them.
#[derive(Debug, Default)]
struct Writer {
    batch: LogBatch,
    dirty: BTreeSet<SegmentId>,
    queued: u64,
    wanted: u64,
    covered: u64,
    written: u64,
    durable: u64,
    /// (number of the batch's last write, last record then, bytes in the batch).
    in_flight: VecDeque<(u64, Position, u64)>,
    /// (number, place, bytes) of marks on their way.
    marks: VecDeque<(u64, Place, Bytes)>,
    /// (number, place) of fragments on their way.
    fragments: VecDeque<(u64, Place)>,
    batch_bytes: u64,
    in_flight_bytes: u64,
    failed: write::Failed,
}

impl Log {
    pub fn last(&self) -> LogPoint {
        self.last
    }
    pub fn written(&self) -> Position {
        self.written
    }
    pub fn durable(&self) -> Position {
        self.durable
    }
    pub fn unwritten_bytes(&self) -> u64 {
        self.writer.batch_bytes + self.writer.in_flight_bytes
    }
    /// Number of the newest write that was queued.
    pub fn queued(&self) -> u64 {
        self.writer.queued
    }
    pub fn synced_through(&self) -> u64 {
        self.writer.durable
    }

    /// First record that can be read.
    pub fn log_start(&self) -> Position {
        match self.segments.get(self.oldest).map(|segment| segment.used_as) {
            Some(Use::Log { base, .. }) => base.position.next(),
            _ => self.last.position.next(),
        }
    }

    /// Whether a record of up to `bytes` can be taken.
    pub fn room(&self, bytes: usize, need: Need) -> Result<(), NoRoom> {
        if need == Need::Ordinary && self.unwritten_bytes() > UNWRITTEN_FACTOR * self.tail_cache_bytes {
            return Err(NoRoom::Busy);
        }
        if self.active.fits(bytes) || self.segments.may_take(need) {
            return Ok(());
        }
        Err(if self.segments.preparing() || !self.segments.pressed() { NoRoom::Busy } else { NoRoom::Full })
    }

    /// Takes a record whose room was checked. The caller checked the chain, too.
    pub fn append(&mut self, record: Record) -> Place {
        assert_eq!(record.header.position, self.last.position.next(), "records are appended in order");
        let bytes = record.total_len();
        if !self.active.fits(bytes) {
            let rolled = self.roll(self.last, self.active.segment);
            assert!(rolled, "room was checked before");
        }
        if self.writer.batch.is_empty() {
            self.push_mark();
        }
        self.appended_bytes += bytes as u64;
        let place = self.active.take(bytes);
        self.writer.push(place, bytes, [record.head.clone(), record.payload.clone()]);
        self.last = record.point();
        self.remember(place);
        self.tail.push(record, place);
        place
    }

    fn remember(&mut self, place: Place) {
        if place.segment != self.indexed.segment || place.offset - self.indexed.offset >= INDEX_BYTES {
            self.index.insert(self.last.position, place);
            self.indexed = place;
        }
    }

    /// Takes the next prepared segment into use for the log; false when there is none.
    fn roll(&mut self, base: LogPoint, previous: SegmentId) -> bool {
        self.close_active();
        let Some((segment, bytes)) = self.segments.activate(Use::Log { base, last: base.position }) else { return false };
        let header = self.header(SegmentKind::Log, segment, bytes, base, previous);
        self.writer.batch.push(Step::Sync(self.active.segment));
        self.key = header.key();
        self.active = Open { segment, bytes, at: SEGMENT_HEADER_BYTES as u32 };
        self.writer.push(Place { segment, offset: 0 }, SEGMENT_HEADER_BYTES, [Bytes::from(header.encode())]);
        // The header's base says as much as a mark.
        self.marked = self.marked.max(base.position.min(self.durable));
        true
    }

    /// Notes in the table what the active segment holds.
    fn close_active(&mut self) {
        if let Some(segment) = self.segments.all.get_mut(&self.active.segment) {
            segment.end = self.active.at;
            if let Use::Log { last, .. } = &mut segment.used_as {
                *last = self.last.position;
            }
        }
    }

    fn header(&self, kind: SegmentKind, segment: SegmentId, bytes: u64, base: LogPoint, previous: SegmentId) -> SegmentHeader {
        SegmentHeader { kind, cluster: self.cluster, volume: self.volume, segment, bytes, base, previous }
    }

    /// Writes down how far the log is synced, between records, when that is news.
    fn push_mark(&mut self) {
        if self.durable > self.marked && self.active.fits(0) {
            let mark = Mark { segment: self.active.segment, durable: self.durable, key: self.key };
            let place = self.active.take(MARK_BYTES);
            let mark = Bytes::copy_from_slice(&mark.encode());
            self.writer.push(place, MARK_BYTES, [mark.clone()]);
            self.writer.marks.push_back((self.writer.queued, place, mark));
            self.marked = self.durable;
        }
    }

    /// When nothing moves: the last synced records get their mark, too.
    pub fn mark_when_idle(&mut self) {
        if self.writer.batch.is_empty() && self.writer.in_flight.is_empty() && self.durable == self.last.position {
            self.push_mark();
        }
    }

    pub fn appended_bytes(&self) -> u64 {
        self.appended_bytes
    }

    /// Queues a part of a payload as a fragment. Its data can be read at once.
    pub fn append_fragment(&mut self, header: FragmentHeader, data: Bytes) -> Result<Place, NoRoom> {
        let bytes = FragmentHeader::bytes_for(data.len());
        let mut open = match self.fragments {
            Some(open) if open.fits(bytes) => open,
            _ => self.open_fragments()?,
        };
        let place = open.take(bytes);
        self.fragments = Some(open);
        let head = FragmentHeader { segment: place.segment, volume: self.volume, ..header }.encode(&data);
        self.writer.push(place, bytes, [Bytes::from(head), data.clone()]);
        self.writer.fragments.push_back((self.writer.queued, place));
        self.unwritten_fragments.insert(place, (header.payload_start, data));
        Ok(place)
    }

    fn open_fragments(&mut self) -> Result<Open, NoRoom> {
        if let Some(segment) = self.fragments.take().and_then(|open| self.segments.all.get_mut(&open.segment)) {
            segment.end = segment.bytes as u32;
            segment.used_as = Use::Fragments { after: self.writer.queued };
            self.want_sync_of(self.writer.queued);
        }
        let busy = if self.segments.pressed() { NoRoom::Full } else { NoRoom::Busy };
        let taken = if self.segments.may_take(Need::Upkeep) { self.segments.activate(Use::Fragments { after: 0 }) } else { None };
        let (segment, bytes) = taken.ok_or(busy)?;
        let header = self.header(SegmentKind::Fragments, segment, bytes, LogPoint::default(), SegmentId(0));
        self.writer.push(Place { segment, offset: 0 }, SEGMENT_HEADER_BYTES, [Bytes::from(header.encode())]);
        Ok(Open { segment, bytes, at: SEGMENT_HEADER_BYTES as u32 })
    }

    /// Whether `bytes` of fragments can be taken.
    pub fn fragment_room(&self, bytes: usize) -> bool {
        self.fragments.is_some_and(|open| open.fits(bytes)) || self.segments.may_take(Need::Upkeep)
    }

    /// Segments that are being filled.
    pub fn is_open(&self, segment: SegmentId) -> bool {
        segment == self.active.segment || self.fragments.is_some_and(|open| open.segment == segment)
    }

    pub fn want_sync(&mut self, up_to: Position) {
        if up_to > self.durable {
            self.want_sync_of(self.writer.queued);
        }
    }
    pub fn want_sync_of(&mut self, through: u64) {
        self.writer.wanted = self.writer.wanted.max(through.min(self.writer.queued));
    }

    /// What was queued since the last call, as one batch.
    pub fn poll(&mut self) -> Option<LogBatch> {
        self.writer.poll(self.last.position)
    }

    /// The flusher is done with a batch that went well.
    pub fn done(&mut self, done: &LogDone) {
        self.writer.written = self.writer.written.max(done.through);
        while let Some((through, last, bytes)) = self.writer.in_flight.front().copied()
            && through <= done.through
        {
            self.writer.in_flight.pop_front();
            self.writer.in_flight_bytes -= bytes;
            self.written = self.written.max(last);
        }
        while self.writer.marks.pop_front_if(|(through, _, _)| *through <= done.through).is_some() {}
        while let Some((through, place)) = self.writer.fragments.front().copied()
            && through <= done.through
        {
            self.writer.fragments.pop_front();
            self.unwritten_fragments.remove(&place);
        }
        if done.synced {
            self.writer.durable = self.writer.durable.max(done.through);
            self.durable = self.durable.max(self.written);
        }
        self.tail.evict(self.tail_cache_bytes, self.written);
    }

    /// Data of an extent that is in memory.
    pub fn cached(&self, extent: &StoredExtent) -> Option<Bytes> {
        if let Some(data) = self.tail.data(extent) {
            return Some(data);
        }
        let (start, data) = self.unwritten_fragments.get(&extent.place)?;
        let from = extent.payload_offset.checked_sub(*start)? as usize;
        (from + extent.len as usize <= data.len()).then(|| data.slice(from..from + extent.len as usize))
    }

    pub fn tail_after(&self, after: Position, bytes_max: usize) -> Option<Vec<Record>> {
        self.tail.after(after, bytes_max)
    }

    /// A job that reads records after `after` from disk; `None` when they are not kept.
    pub fn records_job(&self, ticket: u64, after: Position, to: Position, bytes_max: usize) -> Option<RecordsJob> {
        if after.next() < self.log_start() || after >= self.last.position {
            return None;
        }
        let mut runs = Vec::new();
        for (id, segment) in self.segments.all.range(self.oldest..) {
            let Use::Log { base, last } = segment.used_as else { continue };
            let last = if *id == self.active.segment { self.last.position } else { last };
            if last > after && base.position < to {
                runs.push((self.nearest(*id, base.position, after.next()), last));
            }
        }
        Some(RecordsJob { ticket, after, to, bytes_max, runs, damaged: false })
    }

    /// The nearest known record's place at or before `position` in a segment of the log.
    fn nearest(&self, segment: SegmentId, base: Position, position: Position) -> Place {
        let known = self.index.range(base.next()..=position.max(base.next())).next_back().map(|(_, place)| *place);
        known.filter(|place| place.segment == segment).unwrap_or(Place { segment, offset: SEGMENT_HEADER_BYTES as u32 })
    }

    /// What a records job found out about places serves the next one.
    pub fn learn(&mut self, done: &RecordsDone) {
        let Ok(RecordsRead { next: Some((position, place)), .. }) = &done.result else { return };
        let kept = match self.segments.get(place.segment).map(|segment| segment.used_as) {
            Some(Use::Log { last, .. }) => *position <= last,
            _ => false,
        };
        if kept {
            self.index.insert(*position, *place);
        }
    }

    /// The point at a position, from memory or by reading a little.
    pub fn point(&self, at: Position, disk: &dyn Disk) -> Option<LogPoint> {
        if at == Position(0) {
            return Some(LogPoint::default());
        }
        if at == self.last.position {
            return Some(self.last);
        }
        if let Some((record, _)) = self.tail.get(at) {
            return Some(record.point());
        }
        let base = |segment: &Segment| match segment.used_as {
            Use::Log { base, .. } if base.position == at => Some(base),
            _ => None,
        };
        self.segments.all.range(self.oldest..).find_map(|(_, segment)| base(segment)).or_else(|| self.read_point(at, disk))
    }

    fn read_point(&self, at: Position, disk: &dyn Disk) -> Option<LogPoint> {
        let before = Position(at.0.checked_sub(1)?);
        let job = self.records_job(0, before, at, INDEX_BYTES as usize)?;
        let read = RecordsJob { damaged: true, ..job }.read(disk).ok()?;
        read.records.first().map(|(record, _)| record.point()).filter(|point| point.position == at)
    }

    pub fn check_invariants(&self) {
        assert!(self.durable <= self.written && self.written <= self.last.position, "durable <= written <= last");
        assert!(self.writer.durable <= self.writer.written && self.writer.written <= self.writer.queued);
        assert!(self.active.at as u64 <= self.active.bytes);
        assert!(self.tail.first().is_none_or(|first| first <= self.written.next()), "what is unwritten is in memory");
        let mut end: Option<Position> = None;
        assert!(matches!(self.segments.get(self.oldest), Some(Segment { used_as: Use::Log { .. }, .. })), "the log has a start");
        for (id, segment) in &self.segments.all {
            if let Use::Log { base, last } = segment.used_as {
                assert!(end.is_none_or(|end| end == base.position), "the log's segments follow each other");
                end = Some(if *id == self.active.segment { self.last.position } else { last });
            }
        }
        assert_eq!(end, Some(self.last.position), "the active segment is the log's last");
    }
}

impl Writer {
    fn push<const N: usize>(&mut self, place: Place, bytes: usize, parts: [Bytes; N]) {
        self.queued += 1;
        self.batch_bytes += bytes as u64;
        self.dirty.insert(place.segment);
        self.batch.write(place, bytes as u32, parts);
    }

    fn poll(&mut self, last: Position) -> Option<LogBatch> {
        let sync = self.wanted > self.covered;
        if self.batch.is_empty() && !sync {
            return None;
        }
        let mut batch = std::mem::take(&mut self.batch);
        batch.through = self.queued;
        batch.failed = self.failed.clone();
        batch.sync = sync;
        if sync {
            self.covered = self.queued;
            batch.dirty = std::mem::take(&mut self.dirty);
        } else {
            batch.dirty = self.dirty.clone();
        }
        self.in_flight.push_back((self.queued, last, self.batch_bytes));
        self.in_flight_bytes += std::mem::take(&mut self.batch_bytes);
        Some(batch)
    }
}

impl Log {
    /// A log over segments that are in the table, ending at `last` in the active one.
    pub(crate) fn assemble(
        cluster: ClusterId,
        volume: VolumeId,
        options: &Options,
        segments: Segments,
        active: (SegmentHeader, u32),
        last: LogPoint,
    ) -> Log {
        let (header, at) = active;
        let in_log = |(_, segment): &(&SegmentId, &Segment)| matches!(segment.used_as, Use::Log { .. });
        let oldest = segments.all.iter().find(in_log).map_or(header.segment, |(id, _)| *id);
        Log {
            oldest,
            cluster,
            volume,
            tail_cache_bytes: options.tail_cache_bytes,
            segments,
            active: Open { segment: header.segment, bytes: header.bytes, at },
            key: header.key(),
            fragments: None,
            last,
            tail: Tail::default(),
            unreadable: Position(0),
            appended_bytes: 0,
            writer: Writer::default(),
            written: last.position,
            durable: last.position,
            marked: Position(0),
            index: BTreeMap::new(),
            indexed: Place::default(),
            unwritten_fragments: BTreeMap::new(),
        }
    }
}
