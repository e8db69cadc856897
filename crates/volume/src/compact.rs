//! Compaction: segments below the retention of which little is live are emptied, so that their files can be used again.
//!
//! A segment's own records (or fragments) say which extents it may hold; the view says which of them are live. Those are read
//! with their checks, appended to a fragment segment, and the view is pointed there. The old file is recycled once a
//! checkpoint holds the new places: before that a restart would look for the data in the old one.

use crate::disk::{Disk, DiskFile};
use crate::error::DiskError;
use crate::log::scan::{Found, Scanner};
use crate::place::{Place, SegmentId, StoredExtent};
use crate::segment::{self, FRAGMENT_HEADER_BYTES, FragmentHeader, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentKind, SegmentUse};
use mainstay_protocol::Record;
use mainstay_protocol::record::Change;
use std::collections::VecDeque;

/// Data copied at a time.
pub(crate) const COPY_BYTES: u64 = 1 << 20;
/// Extents looked up in the view at a time, so that no step takes long.
pub(crate) const LOOKUPS_MAX: usize = 512;

/// An extent that a segment may hold for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub inode: u64,
    pub extent: StoredExtent,
}

/// Finds what a segment may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListJob {
    pub(crate) segment: SegmentId,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub(crate) segment: SegmentId,
    pub(crate) result: Result<VecDeque<Candidate>, DiskError>,
}

impl ListJob {
    pub(crate) fn run(self, disk: &dyn Disk) -> Listed {
        Listed { segment: self.segment, result: self.list(disk) }
    }

    fn list(&self, disk: &dyn Disk) -> Result<VecDeque<Candidate>, DiskError> {
        let name = segment::file_name(self.segment);
        let failed = |error| DiskError::new("read", &name, &error);
        let file = disk.open(&name).map_err(failed)?;
        let mut head = vec![0; SEGMENT_HEADER_BYTES];
        file.read_at(0, &mut head).map_err(failed)?;
        match SegmentHeader::decode(&name, &head) {
            Ok(SegmentUse::Used(header)) if header.kind == SegmentKind::Fragments => {
                fragments(&*file, self.segment).map_err(failed)
            }
            _ => records(&*file, self.segment).map_err(failed),
        }
    }
}

/// Behind the segment's end there may be records of an earlier life: the view knows nothing of them, so they do no harm.
fn records(file: &dyn DiskFile, segment: SegmentId) -> std::io::Result<VecDeque<Candidate>> {
    let mut scanner = Scanner::new(file, Place { segment, offset: SEGMENT_HEADER_BYTES as u32 })?;
    let mut candidates = VecDeque::new();
    loop {
        match scanner.next()? {
            Found::Record(record, place) | Found::BadPayload(record, place, _) => candidates.extend(extents_of(&record, place)),
            Found::Mark(_) => {}
            Found::End(..) => return Ok(candidates),
        }
    }
}

fn extents_of(record: &Record, place: Place) -> Vec<Candidate> {
    if record.payload.is_empty() {
        return Vec::new();
    }
    let position = record.header.position;
    let extent = |change: &Change| match change {
        Change::PutExtent { inode, extent } => Some(Candidate {
            inode: *inode,
            extent: StoredExtent { offset: extent.offset, len: extent.len, position, place, payload_offset: extent.payload_offset },
        }),
        _ => None,
    };
    record.body().map(|body| body.changes.iter().filter_map(extent).collect()).unwrap_or_default()
}

fn fragments(file: &dyn DiskFile, segment: SegmentId) -> std::io::Result<VecDeque<Candidate>> {
    let (mut at, end) = (SEGMENT_HEADER_BYTES as u64, file.len()?);
    let mut candidates = VecDeque::new();
    while at + (FRAGMENT_HEADER_BYTES as u64) <= end {
        let mut head = [0; FRAGMENT_HEADER_BYTES];
        file.read_at(at, &mut head)?;
        let Some(header) = FragmentHeader::decode(&head).filter(|header| header.segment == segment) else { break };
        let extent = StoredExtent {
            offset: header.file_offset,
            len: header.len,
            position: header.position,
            place: Place { segment, offset: at as u32 },
            payload_offset: header.payload_start,
        };
        candidates.push_back(Candidate { inode: header.inode, extent });
        at += header.total_len() as u64;
    }
    Ok(candidates)
}

/// The segment being emptied.
#[derive(Debug)]
pub(crate) enum Compaction {
    Idle,
    /// Its contents are being listed.
    Listing(SegmentId),
    /// Candidates that were not looked at yet; `reading` while a copy is on its way.
    Copying {
        segment: SegmentId,
        left: VecDeque<Candidate>,
        reading: bool,
    },
}

impl Compaction {
    pub fn segment(&self) -> Option<SegmentId> {
        match self {
            Compaction::Idle => None,
            Compaction::Listing(segment) | Compaction::Copying { segment, .. } => Some(*segment),
        }
    }
}

/// The segment to empty next: the one with the smallest live share, if that is below `percent`. `closed` gives (id, file
/// bytes, used bytes), `live` its live bytes; wholly dead ones are recycled without compaction.
pub(crate) fn choose(
    closed: impl Iterator<Item = (SegmentId, u64, u64)>,
    live: impl Fn(SegmentId) -> u64,
    percent: u32,
) -> Option<SegmentId> {
    let share = |(id, bytes, _): (SegmentId, u64, u64)| (live(id) * 1000 / bytes.max(1), id);
    let worst = closed.map(share).filter(|(_, id)| live(*id) > 0).min()?;
    (worst.0 < percent as u64 * 10).then_some(worst.1)
}

/// Bytes that may be used, at a rate, with what is left over carried for at most a second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Budget {
    bytes_per_s: u64,
    left: u64,
}

impl Budget {
    pub fn new(bytes_per_s: u64) -> Budget {
        Budget { bytes_per_s, left: 0 }
    }
    pub fn pass(&mut self, ms: u64) {
        let most = self.bytes_per_s.max(COPY_BYTES);
        self.left = (self.left + self.bytes_per_s.saturating_mul(ms) / 1000).min(most);
    }
    /// Enough for one more piece of work, which may overdraw a little.
    pub fn ready(&self) -> bool {
        self.left >= COPY_BYTES.min(self.bytes_per_s.max(1))
    }
    pub fn spend(&mut self, bytes: u64) {
        self.left = self.left.saturating_sub(bytes);
    }
}
