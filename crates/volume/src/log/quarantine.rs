//! Dropping a divergent tail (R9): copied into a quarantine file first, then cut off by one header.
//!
//! The cut is the header of a new segment whose base is the point to go back to: from that write on the older segment ends
//! there, whatever lies behind in its file. Before it the log is as it was, after it the tail is gone; there is no between.

use super::read::RecordsJob;
use super::segments::{Need, Segment, Use, write_header};
use super::{Log, Open};
use crate::disk::Disk;
use crate::error::{DiskError, VolumeError};
use crate::place::{Place, SegmentId};
use crate::segment::{self, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentKind};
use mainstay_protocol::{LogPoint, Position, Record};

/// Longest part of the caller's label in a file name.
const LABEL_BYTES_MAX: usize = 40;
/// Records read at a time while copying and while applying again.
const READ_BYTES: usize = 8 << 20;

/// The file that keeps a dropped tail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Quarantined {
    pub file: String,
    pub records: u64,
    pub bytes: u64,
}

impl Log {
    /// Copies the records behind `to` into a quarantine file, synced when this returns.
    pub fn quarantine(&self, disk: &dyn Disk, to: LogPoint, label: &str) -> Result<Quarantined, VolumeError> {
        let from = to.position.next();
        let (mut bytes, mut records) = (SEGMENT_HEADER_BYTES as u64, 0);
        self.each_record(disk, to.position, self.last.position, &mut |record, _| {
            bytes += record.total_len() as u64;
            records += 1;
            Ok(())
        })?;
        let name = self.quarantine_name(disk, label, from)?;
        let failed = |operation| {
            let name = name.clone();
            move |error: std::io::Error| DiskError::new(operation, name, &error)
        };
        let file = disk.create(&name, bytes).map_err(failed("create"))?;
        let header = SegmentHeader {
            kind: SegmentKind::Quarantine,
            cluster: self.cluster,
            volume: self.volume,
            segment: SegmentId(0),
            bytes,
            base: to,
            previous: SegmentId(0),
        };
        file.write_at(0, &[&header.encode()]).map_err(failed("write"))?;
        let mut at = SEGMENT_HEADER_BYTES as u64;
        self.each_record(disk, to.position, self.last.position, &mut |record, _| {
            file.write_at(at, &[&record.head, &record.payload]).map_err(failed("write"))?;
            at += record.total_len() as u64;
            Ok(())
        })?;
        file.sync().map_err(failed("sync"))?;
        Ok(Quarantined { file: name, records, bytes })
    }

    /// Whether these very positions were copied under this label before.
    pub fn has_quarantine(&self, disk: &dyn Disk, to: LogPoint, label: &str) -> Result<bool, VolumeError> {
        let taken = disk.list().map_err(|error| DiskError::new("list", "the volume's directory", &error))?;
        Ok(taken.binary_search(&self.nth_name(label, to.position.next(), 0)).is_ok())
    }

    fn nth_name(&self, label: &str, from: Position, n: u32) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
        let label: String = label.chars().map(plain).take(LABEL_BYTES_MAX).collect();
        let again = if n == 0 { String::new() } else { format!("-{n}") };
        format!("quarantine-{label}-{}-{}{again}.log", from.0, self.last.position.0)
    }

    /// A name that is not taken: the same positions can be dropped more than once, from different histories.
    fn quarantine_name(&self, disk: &dyn Disk, label: &str, from: Position) -> Result<String, VolumeError> {
        let taken = disk.list().map_err(|error| DiskError::new("list", "the volume's directory", &error))?;
        let name = |n: u32| self.nth_name(label, from, n);
        let free = (0..).map(name).find(|name| taken.binary_search(name).is_err());
        Ok(free.expect("a directory holds finitely many names"))
    }

    /// Every record in `(after, to]` in order, from memory or disk; one with a damaged payload as it is, which its checksums tell to
    /// every reader. Blocks.
    pub fn each_record(
        &self,
        disk: &dyn Disk,
        after: Position,
        to: Position,
        each: &mut dyn FnMut(&Record, Place) -> Result<(), VolumeError>,
    ) -> Result<(), VolumeError> {
        let mut at = after;
        let in_memory = self.tail.first().map_or(self.last.position, |first| Position(first.0 - 1));
        while at < to.min(in_memory) {
            let gone = VolumeError::Gone { from: at.next() };
            let job: RecordsJob = self.records_job(0, at, to.min(in_memory), READ_BYTES).ok_or(gone.clone())?;
            let read = RecordsJob { damaged: true, ..job }.read(disk).map_err(|error| VolumeError::Failed(error.to_string()))?;
            for (record, place) in &read.records {
                each(record, *place)?;
                at = record.header.position;
            }
            if read.records.is_empty() {
                return Err(gone);
            }
        }
        for (record, place) in self.tail.all_after(at).take_while(|(record, _)| record.header.position <= to) {
            each(record, *place)?;
        }
        Ok(())
    }

    /// Cuts the log behind `to`. Blocks; everything up to `to` is durable when it returns.
    pub fn cut(&mut self, disk: &dyn Disk, to: LogPoint) -> Result<(), VolumeError> {
        self.close_active();
        self.write_through(disk, to.position)?;
        let used_as = Use::Log { base: to, last: to.position };
        let (segment, bytes) =
            self.segments.activate(used_as).ok_or(VolumeError::NoSpace("no prepared segment to cut the log with"))?;
        let holder = self.holder(to.position);
        let header = self.header(SegmentKind::Log, segment, bytes, to, holder.unwrap_or_default());
        write_header(disk, &header)?;
        self.forget_behind(to, segment, holder);
        self.begin_at(to, &header);
        Ok(())
    }

    /// Whether there is a segment to go on in after a cut.
    pub fn can_cut(&self) -> bool {
        self.segments.may_take(Need::Upkeep)
    }

    /// The log begins anew at `base`, of which it has no record: after a resync by change. What it held is kept for its data
    /// only. False when no segment is prepared; then nothing was changed.
    pub fn restart(&mut self, base: LogPoint) -> bool {
        if !self.can_cut() {
            return false;
        }
        let old = self.active.segment;
        let rolled = self.roll(base, SegmentId(0));
        assert!(rolled, "a prepared segment was seen");
        let behind: Vec<SegmentId> = self.log_ids().filter(|id| *id != self.active.segment).collect();
        debug_assert!(behind.contains(&old));
        behind.into_iter().for_each(|id| self.retire_segment(id));
        self.last = base;
        self.tail.clear();
        self.index.clear();
        self.indexed = Place::default();
        self.written = base.position;
        self.durable = base.position;
        self.marked = base.position;
        self.unreadable = self.unreadable.min(base.position);
        true
    }

    fn log_ids(&self) -> impl Iterator<Item = SegmentId> {
        let all = self.segments.all.range(self.oldest..);
        all.filter(|(_, segment)| matches!(segment.used_as, Use::Log { .. })).map(|(id, _)| *id)
    }

    /// The log goes on at `to` in a new segment.
    fn begin_at(&mut self, to: LogPoint, header: &SegmentHeader) {
        self.active = Open { segment: header.segment, bytes: header.bytes, at: SEGMENT_HEADER_BYTES as u32 };
        self.key = header.key();
        self.last = to;
        self.written = to.position;
        self.durable = to.position;
        self.marked = to.position;
        self.indexed = Place::default();
        for (_, last, _) in &mut self.writer.in_flight {
            *last = (*last).min(to.position);
        }
    }

    fn forget_behind(&mut self, to: LogPoint, keep: SegmentId, holder: Option<SegmentId>) {
        let behind = |(id, segment): (&SegmentId, &Segment)| match segment.used_as {
            Use::Log { .. } if *id == keep || Some(*id) == holder => None,
            Use::Log { base, .. } if base.position >= to.position => Some(*id),
            _ => None,
        };
        let behind: Vec<SegmentId> = self.segments.all.range(self.oldest..).filter_map(behind).collect();
        behind.into_iter().for_each(|id| self.retire_segment(id));
        if let Some(Use::Log { last, .. }) = holder.and_then(|id| self.segments.all.get_mut(&id)).map(|found| &mut found.used_as) {
            *last = to.position;
        }
        self.index.retain(|position, _| *position <= to.position);
        self.tail.truncate(to.position);
        self.unreadable = self.unreadable.min(to.position);
    }

    /// The segment with the record at `position`.
    fn holder(&self, position: Position) -> Option<SegmentId> {
        let holds = |used_as| matches!(used_as, Use::Log { base, last } if base.position < position && position <= last);
        self.segments.all.range(self.oldest..).find(|(_, segment)| holds(segment.used_as)).map(|(id, _)| *id)
    }

    /// Writes what is on its way up to `to` here and now, and syncs it. The flusher may write the same records to the same
    /// places once more; that changes nothing, for they are the same bytes: even a torn second write leaves them whole.
    fn write_through(&self, disk: &dyn Disk, to: Position) -> Result<(), VolumeError> {
        let mut segment = self.tail.get(self.written).map(|(_, place)| place.segment);
        for (record, place) in self.tail.all_after(self.written).take_while(|(record, _)| record.header.position <= to) {
            if segment != Some(place.segment) {
                self.write_start(disk, place.segment)?;
                segment = Some(place.segment);
            }
            write_at(disk, *place, &[&record.head, &record.payload])?;
        }
        for (_, place, mark) in &self.writer.marks {
            write_at(disk, *place, &[mark])?;
        }
        let unsynced = |(id, segment): (&SegmentId, &Segment)| match segment.used_as {
            Use::Log { base, last } if last >= self.durable && base.position <= to => Some(*id),
            _ => None,
        };
        for id in self.segments.all.range(self.oldest..).filter_map(unsynced) {
            let name = segment::file_name(id);
            disk.open(&name).and_then(|file| file.sync()).map_err(|error| DiskError::new("sync", &name, &error))?;
        }
        Ok(())
    }

    /// The header of a segment that was taken into use but may not be written yet.
    fn write_start(&self, disk: &dyn Disk, segment: SegmentId) -> Result<(), VolumeError> {
        if let Some(header) = self.header_of(segment) {
            write_at(disk, Place { segment, offset: 0 }, &[&header.encode()])?;
        }
        Ok(())
    }

    fn header_of(&self, segment: SegmentId) -> Option<SegmentHeader> {
        let found = self.segments.get(segment)?;
        let Use::Log { base, .. } = found.used_as else { return None };
        let before = self.segments.all.range(self.oldest..).take_while(|(id, _)| **id < segment);
        let previous = before.filter(|(_, found)| matches!(found.used_as, Use::Log { .. })).map(|(id, _)| *id).last();
        Some(self.header(SegmentKind::Log, segment, found.bytes, base, previous.unwrap_or_default()))
    }
}

fn write_at(disk: &dyn Disk, place: Place, parts: &[&[u8]]) -> Result<(), DiskError> {
    let name = segment::file_name(place.segment);
    let file = disk.open(&name).map_err(|error| DiskError::new("open", &name, &error))?;
    file.write_at(place.offset as u64, parts).map_err(|error| DiskError::new("write", &name, &error))
}
