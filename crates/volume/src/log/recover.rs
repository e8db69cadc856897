//! Opening: find the segments, refuse what is foreign, newer or damaged, and read the log from the view's base to its end.
//!
//! The end is the first byte from which no whole record continues the chain. Behind it there may be an unsynced tail, which is
//! erased; but if a mark, the next segment or the view proves that the missing record had been synced, it is damage, and
//! nothing is dropped silently.

use super::Log;
use super::scan::{Found, Scanner, erase_behind, find_proof};
use super::segments::{Segment, Segments, Use, create, recycle, write_header};
use crate::disk::{Disk, DiskFile, Space};
use crate::error::{DiskError, OpenError};
use crate::options::Options;
use crate::place::{Place, SegmentId};
use crate::segment::{self, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentKind, SegmentUse};
use bytes::Bytes;
use mainstay_protocol::record::RecordError;
use mainstay_protocol::{ClusterId, LogPoint, Position, Record, VolumeId};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Segments made at creation: the first of the log, and one ahead.
const CREATED_SEGMENTS: u32 = 2;

/// What the view says that the log must have.
pub(crate) struct Wanted<'a> {
    /// Records after this point are applied again.
    pub base: LogPoint,
    /// The copy is in a resync by change: the log may go on from a later point that does not count yet.
    pub walking: bool,
    /// Bytes of file data that live in a segment.
    pub live: &'a dyn Fn(SegmentId) -> u64,
    /// Segments that hold file data.
    pub segments: Vec<SegmentId>,
}

pub(crate) struct Recovered {
    pub log: Log,
    /// Whole records whose data did not match, although they were synced: reads of it ask the peer. Without their payloads.
    pub damaged: Vec<(Record, Place)>,
    /// Of an unsynced tail.
    pub erased_bytes: u64,
}

/// Segment files of a new volume. The header of the first is written last: without it there is no volume.
pub(crate) fn create_log(disk: &dyn Disk, cluster: ClusterId, volume: VolumeId, options: &Options) -> Result<(), OpenError> {
    for id in (1..=CREATED_SEGMENTS).map(SegmentId) {
        create(disk, id, options.segment_bytes)?;
    }
    write_header(disk, &first_header(cluster, volume, options.segment_bytes))?;
    Ok(())
}

fn first_header(cluster: ClusterId, volume: VolumeId, bytes: u64) -> SegmentHeader {
    let (segment, previous) = (SegmentId(1), SegmentId(0));
    SegmentHeader { kind: SegmentKind::Log, cluster, volume, segment, bytes, base: LogPoint::default(), previous }
}

/// All segment files with what their headers say. Other files are left alone.
pub(crate) struct Directory {
    pub files: BTreeMap<SegmentId, (SegmentUse, u64)>,
}

impl Directory {
    pub fn read(disk: &dyn Disk) -> Result<Directory, OpenError> {
        let names = disk.list().map_err(|error| DiskError::new("list", "the volume's directory", &error))?;
        let mut files = BTreeMap::new();
        for (name, id) in names.iter().filter_map(|name| Some((name, segment::parse_name(name)?))) {
            let (file, len) = open_file(disk, name)?;
            let mut head = vec![0; SEGMENT_HEADER_BYTES.min(len as usize)];
            file.read_at(0, &mut head).map_err(|error| DiskError::new("read", name, &error))?;
            files.insert(id, (SegmentHeader::decode(name, &head)?, len));
        }
        Ok(Directory { files })
    }

    pub fn is_used(&self) -> bool {
        self.files.values().any(|(found, _)| *found != SegmentUse::Prepared)
    }

    fn headers(&self) -> impl DoubleEndedIterator<Item = (SegmentId, &SegmentHeader)> {
        self.files.iter().filter_map(|(id, (found, _))| match found {
            SegmentUse::Used(header) => Some((*id, header)),
            _ => None,
        })
    }

    fn log_header(&self, id: SegmentId) -> Option<&SegmentHeader> {
        match self.files.get(&id) {
            Some((SegmentUse::Used(header), _)) if header.kind == SegmentKind::Log => Some(header),
            _ => None,
        }
    }

    /// Whose segments these are, and whether each file is as long as its header says.
    pub fn check(&self, cluster: ClusterId, volume: VolumeId) -> Result<(), OpenError> {
        for (id, header) in self.headers() {
            let file = segment::file_name(id);
            let len = self.files[&id].1;
            if header.cluster != cluster {
                return Err(OpenError::OtherCluster { file, found: header.cluster, expected: cluster });
            }
            if header.volume != volume {
                return Err(OpenError::OtherVolume { file, found: header.volume, expected: volume });
            }
            let problem = if header.segment != id {
                format!("holds segment {}: the file was renamed or copied over", header.segment)
            } else if header.bytes != len {
                format!("is {len} bytes long, but was made with {}: it was cut or grown", header.bytes)
            } else {
                continue;
            };
            return Err(OpenError::Damaged { file, problem });
        }
        Ok(())
    }

    /// The log's segments in order, the last one the newest, and the place in them where the scan begins. A log that begins
    /// behind the view's base does not count when it began anew after a walk: nothing of it was durable for anybody before the
    /// view's file stood at its base, and a short walk leaves no other trace there.
    fn chain(&self, wanted: &Wanted) -> Result<(Vec<SegmentHeader>, usize), OpenError> {
        let mut refused = None;
        for (_, header) in self.headers().rev().filter(|(_, header)| header.kind == SegmentKind::Log) {
            let chain = self.chain_to(header);
            match chain.iter().rposition(|header| header.base.position <= wanted.base.position) {
                Some(start) => return Ok((chain, start)),
                None if wanted.walking || chain[0].began_after_walk() => continue,
                None => {
                    let lowest = chain[0];
                    let hole = OpenError::Hole { end: wanted.base, segment: lowest.segment, base: lowest.base };
                    refused = Some(self.missing_link(&lowest, hole));
                    break;
                }
            }
        }
        Err(refused.unwrap_or(OpenError::Missing))
    }

    fn chain_to(&self, newest: &SegmentHeader) -> Vec<SegmentHeader> {
        let mut chain = vec![*newest];
        while let Some(previous) = self.log_header(chain[chain.len() - 1].previous)
            && previous.base.position <= chain[chain.len() - 1].base.position
            && previous.segment < chain[chain.len() - 1].segment
        {
            chain.push(*previous);
        }
        chain.reverse();
        chain
    }

    /// Says what is wrong with the file before `lowest`, when there is one.
    fn missing_link(&self, lowest: &SegmentHeader, hole: OpenError) -> OpenError {
        match self.files.get(&lowest.previous) {
            Some((SegmentUse::Unreadable(problem), _)) => {
                OpenError::Damaged { file: segment::file_name(lowest.previous), problem: problem.clone() }
            }
            _ => hole,
        }
    }

    fn check_live(&self, wanted: &Wanted) -> Result<(), OpenError> {
        for segment in &wanted.segments {
            let live_bytes = (wanted.live)(*segment);
            match self.files.get(segment) {
                Some((SegmentUse::Used(_), _)) => {}
                _ if live_bytes == 0 => {}
                Some((SegmentUse::Unreadable(problem), _)) => {
                    return Err(OpenError::Damaged { file: segment::file_name(*segment), problem: problem.clone() });
                }
                _ => return Err(OpenError::SegmentMissing { segment: *segment, live_bytes }),
            }
        }
        Ok(())
    }
}

fn open_file(disk: &dyn Disk, name: &str) -> Result<(Arc<dyn DiskFile>, u64), OpenError> {
    let file = disk.open(name).map_err(|error| DiskError::new("open", name, &error))?;
    let len = file.len().map_err(|error| DiskError::new("measure", name, &error))?;
    Ok((file, len))
}

/// Reads the log from the view's base on and gives every record behind it to `apply`. When this returns, all of it is durable.
pub(crate) fn recover(
    disk: &dyn Disk,
    directory: &Directory,
    identity: (ClusterId, VolumeId),
    options: &Options,
    wanted: &Wanted,
    apply: &mut dyn FnMut(&Record, Place) -> Result<(), OpenError>,
) -> Result<Recovered, OpenError> {
    directory.check_live(wanted)?;
    let (chain, start) = directory.chain(wanted)?;
    let mut scan = Scan::new(disk, wanted, chain[start].base);
    for (index, header) in chain.iter().enumerate().skip(start) {
        scan.segment(header, chain.get(index + 1).map(|next| next.base), apply)?;
    }
    let newest = chain[chain.len() - 1];
    let space = disk.space().map_err(|error| DiskError::new("measure", "the disk", &error))?;
    let table = table(space, directory, options, &chain, scan.point, scan.end);
    let mut log = Log::assemble(identity.0, identity.1, options, table, (newest, scan.end), scan.point);
    log.adopt(scan.records, scan.marked);
    log.unreadable = scan.damaged.last().map_or(Position(0), |(record, _)| record.header.position);
    settle_prepared(disk, directory, &mut log, options)?;
    Ok(Recovered { log, damaged: scan.damaged, erased_bytes: scan.erased_bytes })
}

/// The scan's state as it goes from segment to segment.
struct Scan<'a> {
    disk: &'a dyn Disk,
    wanted: &'a Wanted<'a>,
    point: LogPoint,
    end: u32,
    /// The newest records, for the tail cache.
    records: VecDeque<(Record, Place)>,
    bytes: usize,
    damaged: Vec<(Record, Place)>,
    erased_bytes: u64,
    /// What the newest mark vouches for.
    marked: Position,
}

/// A record that continues the history.
struct Read {
    record: Record,
    place: Place,
    /// All of its payload matches.
    whole: bool,
}

/// Records kept from the scan: enough for a secondary that was away for a moment.
const KEEP_BYTES: usize = 8 << 20;

impl<'a> Scan<'a> {
    fn new(disk: &'a dyn Disk, wanted: &'a Wanted<'a>, point: LogPoint) -> Scan<'a> {
        Scan {
            disk,
            wanted,
            point,
            end: 0,
            records: VecDeque::new(),
            bytes: 0,
            damaged: Vec::new(),
            erased_bytes: 0,
            marked: Position(0),
        }
    }

    /// One segment, up to where the next one begins, or to the log's end.
    fn segment(
        &mut self,
        header: &SegmentHeader,
        next: Option<LogPoint>,
        apply: &mut dyn FnMut(&Record, Place) -> Result<(), OpenError>,
    ) -> Result<(), OpenError> {
        if header.base != self.point {
            return Err(OpenError::Hole { end: self.point, segment: header.segment, base: header.base });
        }
        self.check_base()?;
        let name = segment::file_name(header.segment);
        let (file, _) = open_file(self.disk, &name)?;
        let reader = Reader { file: &*file, name: &name, key: header.key(), bounded: next.is_some() };
        let start = Place { segment: header.segment, offset: SEGMENT_HEADER_BYTES as u32 };
        let mut scanner = Scanner::new(&*file, start).map_err(|error| reader.failed(error))?;
        self.end = start.offset;
        while !self.at_end(next) {
            let Some(read) = self.next_record(&mut scanner, &reader)? else { break };
            self.take(read, apply)?;
            self.end = scanner.place().offset;
        }
        match next {
            Some(base) if base != self.point => Err(OpenError::Hole { end: self.point, segment: header.segment, base }),
            Some(_) => file.sync().map_err(|error| reader.failed(error)),
            None => self.finish(&reader),
        }
    }

    /// The newest segment: nothing may lie behind the log's end, and everything before it is durable from here on.
    fn finish(&mut self, reader: &Reader) -> Result<(), OpenError> {
        self.erased_bytes += erase_behind(reader.file, self.end as u64).map_err(|error| reader.failed(error))?;
        reader.file.sync().map_err(|error| reader.failed(error))
    }

    fn at_end(&self, next: Option<LogPoint>) -> bool {
        let position = self.point.position;
        next.is_some_and(|next| next.position <= position) || (self.wanted.walking && position >= self.wanted.base.position)
    }

    /// The next record that continues the history; `None` at an unsynced tail.
    fn next_record(&mut self, scanner: &mut Scanner, reader: &Reader) -> Result<Option<Read>, OpenError> {
        loop {
            let place = scanner.place();
            let (record, error) = match scanner.next().map_err(|error| reader.failed(error))? {
                Found::Mark(mark) if mark.key == reader.key => {
                    self.marked = self.marked.max(mark.durable);
                    continue;
                }
                Found::Mark(_) => (None, RecordError::Magic(segment::MARK_MAGIC)),
                Found::End(error) => (None, error),
                Found::Record(record, _) => match record.check_follows(self.point) {
                    Ok(()) => return Ok(Some(Read { record, place, whole: true })),
                    Err(error) => (None, error),
                },
                Found::BadPayload(record, _, error) => (record.check_follows(self.point).is_ok().then_some(record), error),
            };
            if !self.proven(reader, place)? {
                // Behind the last mark, which stays.
                self.end = place.offset;
                return Ok(None);
            }
            let Some(record) = record else { return Err(self.damaged(reader, place, &error)) };
            return Ok(Some(Read { record, place, whole: false }));
        }
    }

    /// Whether the record after the current point had been synced, though it cannot be read at `place`.
    fn proven(&self, reader: &Reader, place: Place) -> Result<bool, OpenError> {
        let missing = self.point.position.next();
        if reader.bounded || missing <= self.wanted.base.position {
            return Ok(true);
        }
        let mark = find_proof(reader.file, place, reader.key, missing).map_err(|error| reader.failed(error))?;
        Ok(mark.is_some())
    }

    fn damaged(&self, reader: &Reader, place: Place, error: &RecordError) -> OpenError {
        OpenError::DamagedRecord {
            file: reader.name.to_string(),
            offset: place.offset as u64,
            position: self.point.position.next(),
            problem: error.to_string(),
        }
    }

    fn take(&mut self, read: Read, apply: &mut dyn FnMut(&Record, Place) -> Result<(), OpenError>) -> Result<(), OpenError> {
        let Read { record, place, whole } = read;
        self.point = record.point();
        if self.point.position > self.wanted.base.position {
            apply(&record, place)?;
        }
        self.check_base()?;
        // What is in memory is served, and sent to secondaries, without another look at its checksums. The records kept are
        // consecutive, so those before a damaged one go with it; all of them are read from the disk, with its checks.
        if !whole {
            self.records.clear();
            self.bytes = 0;
            // Copied: the window of the file that it was read with need not stay.
            let head = Bytes::copy_from_slice(&record.head);
            self.damaged.push((Record { header: record.header, head, payload: Bytes::new() }, place));
            return Ok(());
        }
        self.records.push_back((record, place));
        self.bytes += self.records.back().map_or(0, |(record, _)| record.total_len());
        while self.bytes > KEEP_BYTES
            && let Some((dropped, _)) = self.records.pop_front()
        {
            self.bytes -= dropped.total_len();
        }
        Ok(())
    }

    /// The view and the log must be of one history.
    fn check_base(&self) -> Result<(), OpenError> {
        let same_place = self.point.position == self.wanted.base.position;
        if same_place && self.point != self.wanted.base {
            return Err(OpenError::ViewForeign { view: self.wanted.base });
        }
        Ok(())
    }
}

/// The file being scanned.
struct Reader<'a> {
    file: &'a dyn DiskFile,
    name: &'a str,
    key: u64,
    /// A later segment exists, so this one is whole on disk.
    bounded: bool,
}

impl Reader<'_> {
    fn failed(&self, error: std::io::Error) -> OpenError {
        DiskError::new("read", self.name, &error).into()
    }
}

/// The segment table after recovery: the chain is the log, everything else in use is kept for its data.
fn table(space: Space, directory: &Directory, options: &Options, chain: &[SegmentHeader], last: LogPoint, end: u32) -> Segments {
    let mut segments = Segments::new(options, space);
    for (id, (found, bytes)) in &directory.files {
        let used_as = match found {
            SegmentUse::Used(header) if header.kind == SegmentKind::Log => Use::Retired { after: 0 },
            SegmentUse::Used(_) => Use::Fragments { after: 0 },
            // Settled right after.
            SegmentUse::Prepared | SegmentUse::Unreadable(_) => Use::Recycling,
        };
        segments.insert(*id, Segment { used_as, bytes: *bytes, end: *bytes as u32 });
    }
    for (index, header) in chain.iter().enumerate() {
        let next = chain.get(index + 1).map_or(last, |next| next.base);
        if let Some(segment) = segments.all.get_mut(&header.segment) {
            segment.used_as = Use::Log { base: header.base, last: next.position };
            segment.end = if index + 1 == chain.len() { end } else { segment.end };
        }
    }
    segments
}

/// Files without a good header that hold nothing: they become prepared segments with ids above all that are in use, or go.
fn settle_prepared(disk: &dyn Disk, directory: &Directory, log: &mut Log, options: &Options) -> Result<(), OpenError> {
    let newest_used = directory.headers().map(|(id, _)| id).next_back().unwrap_or_default();
    for (id, (found, bytes)) in &directory.files {
        match found {
            SegmentUse::Used(_) => continue,
            SegmentUse::Prepared if *id > newest_used && *bytes == options.segment_bytes => {
                log.segments.insert(*id, Segment { used_as: Use::Prepared, bytes: *bytes, end: 0 });
                continue;
            }
            SegmentUse::Unreadable(problem) => refuse_proven(disk, log, *id, problem)?,
            SegmentUse::Prepared => {}
        }
        let fresh = log.segments.take_id();
        log.segments.remove(*id);
        match recycle(disk, *id, fresh, options.segment_bytes) {
            // It had another size, and there is no room for a new one: made when there is.
            Err(error) if error.is_full() => continue,
            made => made?,
        }
        log.segments.insert(fresh, Segment { used_as: Use::Prepared, bytes: options.segment_bytes, end: 0 });
    }
    Ok(())
}

/// A header that cannot be read is a segment that was just being taken into use, unless a mark in it proves that records of it
/// had been synced.
fn refuse_proven(disk: &dyn Disk, log: &Log, id: SegmentId, problem: &str) -> Result<(), OpenError> {
    let name = segment::file_name(id);
    let (file, bytes) = open_file(disk, &name)?;
    let previous = log.active.segment;
    let supposed = log.header(SegmentKind::Log, id, bytes, log.last, previous);
    let start = Place { segment: id, offset: SEGMENT_HEADER_BYTES as u32 };
    let proof = find_proof(&*file, start, supposed.key(), log.last.position.next());
    match proof.map_err(|error| DiskError::new("read", &name, &error))? {
        Some(mark) => {
            let problem = format!("{problem}, although records up to {} had been synced", mark.durable);
            Err(OpenError::Damaged { file: name, problem })
        }
        None => Ok(()),
    }
}

impl Log {
    /// Puts recovered records, which end at the log's end, into memory.
    fn adopt(&mut self, records: VecDeque<(Record, Place)>, marked: Position) {
        self.marked = marked.min(self.durable);
        for (record, place) in records {
            self.tail.push(record, place);
        }
        self.tail.evict(self.tail_cache_bytes, self.written);
    }
}
