//! Which segment files there are and what each is for; room, reserve, and files prepared ahead of need.

use crate::disk::{Disk, Space};
use crate::error::DiskError;
use crate::place::SegmentId;
use crate::segment::{self, SEGMENT_HEADER_BYTES, SegmentHeader};
use mainstay_protocol::{LogPoint, Position};
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;

/// What a segment file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Header zero, ready to be written to.
    Prepared,
    /// Part of the history that can be read: its records are `base.next()..=last`.
    Log { base: LogPoint, last: Position },
    /// Kept for file data only: log below the retention, or rolled back. Until the log is synced through write number `after`,
    /// batches on their way may write to it or sync it.
    Retired { after: u64 },
    /// `after` as above; while it is being filled, the number of nothing yet.
    Fragments { after: u64 },
    /// Being made into a prepared one.
    Recycling,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub used_as: Use,
    pub bytes: u64,
    /// Bytes written, header included.
    pub end: u32,
}

/// Who asks for room decides how deep into the reserve it may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Clients' changes that add something.
    Ordinary,
    /// Removals, an epoch's first record, and whatever the primary has decided already.
    Privileged,
    /// Compaction and repair: they give back more than they take.
    Upkeep,
}

/// The last prepared segment is given up for the view and for nothing else: without a checkpoint no segment comes back.
pub(crate) const VIEW_SEGMENTS: usize = 1;
/// Prepared segments that stay when everything else is used: the view's, and one for compaction.
pub(crate) const UPKEEP_SEGMENTS: usize = VIEW_SEGMENTS + 1;

#[derive(Debug)]
pub(crate) struct Segments {
    pub all: BTreeMap<SegmentId, Segment>,
    /// Those of them that are prepared, and the bytes of all: asked often, and a volume may have very many.
    prepared: BTreeSet<SegmentId>,
    total_bytes: u64,
    next_id: u32,
    segment_bytes: u64,
    capacity_bytes: Option<u64>,
    reserve: usize,
    /// Prepared segments wanted, reserve included.
    target: usize,
    preparing: bool,
    giving_up: bool,
    /// The view's file waits for room: it comes first.
    view_waits: bool,
    /// The last attempt failed: not tried again before the disk's room was looked at, which happens at a calm pace.
    blocked: bool,
    /// As of the last effect that told; `None`: the last attempt met a full disk.
    space: Option<Space>,
}

impl Segments {
    pub fn new(options: &crate::Options, space: Space) -> Segments {
        Segments {
            all: BTreeMap::new(),
            prepared: BTreeSet::new(),
            total_bytes: 0,
            next_id: 1,
            segment_bytes: options.segment_bytes,
            capacity_bytes: options.capacity_bytes,
            reserve: options.reserve_segments(),
            target: options.reserve_segments() + options.prepared_segments as usize,
            preparing: false,
            giving_up: false,
            view_waits: false,
            blocked: false,
            space: Some(space),
        }
    }

    pub fn insert(&mut self, id: SegmentId, segment: Segment) {
        self.remove(id);
        self.next_id = self.next_id.max(id.0 + 1);
        self.total_bytes += segment.bytes;
        if segment.used_as == Use::Prepared {
            self.prepared.insert(id);
        }
        self.all.insert(id, segment);
    }

    pub fn remove(&mut self, id: SegmentId) {
        self.prepared.remove(&id);
        self.total_bytes -= self.all.remove(&id).map_or(0, |segment| segment.bytes);
    }

    pub fn take_id(&mut self) -> SegmentId {
        self.next_id += 1;
        SegmentId(self.next_id - 1)
    }

    pub fn get(&self, id: SegmentId) -> Option<&Segment> {
        self.all.get(&id)
    }

    pub fn count(&self, stats: &mut crate::Stats) {
        for segment in self.all.values() {
            stats.segment_bytes += segment.bytes;
            match segment.used_as {
                Use::Prepared | Use::Recycling => stats.segments_prepared += 1,
                Use::Log { .. } | Use::Retired { .. } => stats.segments_log += 1,
                Use::Fragments { .. } => stats.segments_fragments += 1,
            }
        }
    }

    pub fn prepared(&self) -> usize {
        self.prepared.len()
    }

    pub fn bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Takes the oldest prepared segment into use. Ids rise, so the log's order is the ids' order.
    pub fn activate(&mut self, used_as: Use) -> Option<(SegmentId, u64)> {
        let id = self.prepared.pop_first()?;
        let segment = self.all.get_mut(&id)?;
        segment.used_as = used_as;
        segment.end = SEGMENT_HEADER_BYTES as u32;
        Some((id, segment.bytes))
    }

    /// Whether a new segment may be taken for this need.
    pub fn may_take(&self, need: Need) -> bool {
        let kept = match need {
            Need::Ordinary => self.reserve,
            Need::Privileged => UPKEEP_SEGMENTS,
            Need::Upkeep => VIEW_SEGMENTS,
        };
        self.prepared() > kept
    }

    /// Whether another file could be made.
    fn can_grow(&self) -> bool {
        let within = self.capacity_bytes.is_none_or(|capacity| self.bytes() + self.segment_bytes <= capacity);
        // The view's file grows too: as much as the reserve stays free for it.
        let slack = self.reserve as u64 * self.segment_bytes;
        within && !self.view_waits && self.space.is_some_and(|space| space.free_bytes >= self.segment_bytes + slack)
    }

    /// More segments are wanted and none can be made: retention gives way, and compaction hurries.
    pub fn pressed(&self) -> bool {
        !self.preparing && (self.blocked || !self.can_grow()) && self.prepared() < self.target
    }

    pub fn preparing(&self) -> bool {
        self.preparing
    }

    pub fn wants_more(&self) -> bool {
        !self.preparing && !self.blocked && self.prepared() < self.target
    }

    /// Starts making one prepared segment, from `recycle` or else as a new file.
    pub fn prepare(&mut self, recycle: Option<SegmentId>) -> Option<PrepareJob> {
        if self.preparing || (recycle.is_none() && (self.prepared() >= self.target || !self.can_grow())) {
            return None;
        }
        if let Some(segment) = recycle.and_then(|id| self.all.get_mut(&id)) {
            segment.used_as = Use::Recycling;
        }
        self.preparing = true;
        Some(PrepareJob { id: self.take_id(), bytes: self.segment_bytes, recycle })
    }

    pub fn view_waits(&mut self, waits: bool) {
        self.view_waits = waits;
    }

    /// Takes a prepared segment away so that the view's file can grow.
    pub fn give_up(&mut self) -> Option<GiveUpJob> {
        if self.giving_up {
            return None;
        }
        let segment = self.prepared.pop_last()?;
        self.all.get_mut(&segment)?.used_as = Use::Recycling;
        self.giving_up = true;
        Some(GiveUpJob { segment })
    }

    /// Also when it failed: what is left of the file is prepared again at the next opening.
    pub fn given_up(&mut self, done: &GiveUpDone) {
        self.giving_up = false;
        self.remove(done.segment);
        self.space = done.space;
    }

    /// The error is for the log; what failed is tried again when space was looked at.
    pub fn prepared_one(&mut self, done: &PrepareDone) {
        self.preparing = false;
        self.space = done.space;
        match &done.result {
            Ok(()) => {
                if let Some(old) = done.recycled {
                    self.remove(old);
                }
                self.insert(done.id, Segment { used_as: Use::Prepared, bytes: done.bytes, end: 0 });
            }
            // A recycled file stays what it was, if it is still there: out of use, tried again.
            Err(error) => {
                self.blocked = true;
                match done.recycled {
                    Some(old) if done.lost => self.remove(old),
                    Some(old) => self.insert_again(old),
                    None => {}
                }
                if error.is_full() {
                    self.space = None;
                }
            }
        }
    }

    fn insert_again(&mut self, id: SegmentId) {
        if let Some(segment) = self.all.get_mut(&id) {
            segment.used_as = Use::Retired { after: 0 };
        }
    }

    pub fn looked_at_space(&mut self, space: Space) {
        self.blocked = false;
        self.space = Some(space);
    }

    /// Bytes that segments can hold in all: what there is and what can be made.
    pub fn capacity(&self) -> u64 {
        let slack = self.reserve as u64 * self.segment_bytes;
        let free = self.space.map_or(0, |space| space.free_bytes.saturating_sub(slack));
        let possible = self.bytes() + free / self.segment_bytes * self.segment_bytes;
        let capacity = self.capacity_bytes.map_or(possible, |capacity| capacity.min(possible).max(self.bytes()));
        capacity.saturating_sub(self.target as u64 * self.segment_bytes)
    }
}

/// Makes one prepared segment: recycles a file that nothing lives in, or fills a new one with zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrepareJob {
    pub(crate) id: SegmentId,
    pub(crate) bytes: u64,
    pub(crate) recycle: Option<SegmentId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrepareDone {
    pub(crate) id: SegmentId,
    pub(crate) bytes: u64,
    pub(crate) recycled: Option<SegmentId>,
    /// The file to be recycled is gone, and no other could be made.
    pub(crate) lost: bool,
    pub(crate) result: Result<(), DiskError>,
    pub(crate) space: Option<Space>,
}

/// Removes a prepared segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GiveUpJob {
    pub(crate) segment: SegmentId,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GiveUpDone {
    pub(crate) segment: SegmentId,
    pub(crate) space: Option<Space>,
}

impl GiveUpJob {
    /// An error of the disk shows in the space that did not come back.
    pub(crate) fn run(self, disk: &dyn Disk) -> GiveUpDone {
        let _ = disk.remove(&segment::file_name(self.segment));
        GiveUpDone { segment: self.segment, space: disk.space().ok() }
    }
}

impl PrepareJob {
    pub(crate) fn run(self, disk: &dyn Disk) -> PrepareDone {
        let result = match self.recycle {
            Some(old) => recycle(disk, old, self.id, self.bytes),
            None => create(disk, self.id, self.bytes),
        };
        let missing = |old| matches!(disk.open(&segment::file_name(old)), Err(error) if error.kind() == ErrorKind::NotFound);
        let lost = result.is_err() && self.recycle.is_some_and(missing);
        PrepareDone { id: self.id, bytes: self.bytes, recycled: self.recycle, lost, result, space: disk.space().ok() }
    }
}

pub(crate) fn create(disk: &dyn Disk, id: SegmentId, bytes: u64) -> Result<(), DiskError> {
    let name = segment::file_name(id);
    disk.create(&name, bytes).map(|_| ()).map_err(|error| DiskError::new("create", &name, &error))
}

/// First the header is zero on disk, then the file has its new name: a crash in between leaves a prepared segment.
pub(crate) fn recycle(disk: &dyn Disk, old: SegmentId, id: SegmentId, bytes: u64) -> Result<(), DiskError> {
    let (from, to) = (segment::file_name(old), segment::file_name(id));
    let failed = |operation: &'static str| {
        let from = from.clone();
        move |error: std::io::Error| DiskError::new(operation, from, &error)
    };
    let file = disk.open(&from).map_err(failed("open"))?;
    if file.len().map_err(failed("measure"))? != bytes {
        // Made when segments had another size.
        disk.remove(&from).map_err(failed("remove"))?;
        return create(disk, id, bytes);
    }
    file.write_at(0, &[&[0; SEGMENT_HEADER_BYTES]]).map_err(failed("clear"))?;
    file.sync().map_err(failed("sync"))?;
    drop(file);
    disk.rename(&from, &to).map_err(failed("rename"))
}

/// Writes a segment's header at once and syncs it: only where the caller may block.
pub(crate) fn write_header(disk: &dyn Disk, header: &SegmentHeader) -> Result<(), DiskError> {
    let name = segment::file_name(header.segment);
    let file = disk.open(&name).map_err(|error| DiskError::new("open", &name, &error))?;
    let written = file.write_at(0, &[&header.encode()]).and_then(|()| file.sync());
    written.map_err(|error| DiskError::new("write header of", &name, &error))
}
