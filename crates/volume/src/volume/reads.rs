//! Reads on their way, and repairs that they wait for.
//!
//! A piece whose checksum does not match is not an answer yet: the replica is asked to fetch it from the peer
//! ([`VolumeEvent::RepairWanted`]). What comes back completes the read and is written again as a fragment. Only without a
//! second good copy does the client see an I/O error.

use super::{Volume, VolumeEvent, extent_of};
use crate::compact::Compaction;
use crate::damage::{Damaged, Run};
use crate::effects::{BackgroundJob, DiskEffect};
use crate::error::VolumeError;
use crate::extents;
use crate::log::Log;
use crate::log::read::{Damage, Piece, ReadDone, ReadJob, RecordsError};
use crate::options::Stats;
use crate::place::{Move, Place, SegmentId, StoredExtent};
use crate::plan::PlannedRead;
use crate::segment::FragmentHeader;
use crate::view::{View, ViewError};
use bytes::{Bytes, BytesMut};
use mainstay_protocol::limits::PAYLOAD_BYTES_MAX;
use mainstay_protocol::peer::ChangeBatch;
use mainstay_protocol::{Change, Extent, FileError, FileId, FileResult, Mono, Position, Record, VolumeId};
use std::collections::BTreeMap;

/// What holes are read as: pieces of this, by reference.
static ZEROS: [u8; PAYLOAD_BYTES_MAX] = [0; PAYLOAD_BYTES_MAX];

/// What a read is for.
pub(super) enum Purpose {
    Client(PlannedRead),
    /// A peer's damaged block.
    Peer,
    Changes(ChangeBatch),
    Scrub,
    Compact,
    /// A whole run of which a part was found damaged: read so that it is repaired whole.
    Mend,
}

/// A read on its way.
struct Pending {
    purpose: Purpose,
    /// The inode of every piece; one for all when there is one.
    inodes: Vec<u64>,
    /// What each stored piece is.
    stored: Vec<Option<StoredExtent>>,
    pieces: Vec<Option<Bytes>>,
    /// Repairs that are still awaited.
    waiting: usize,
    failed: bool,
    segments: Vec<SegmentId>,
}

impl Pending {
    fn inode(&self, index: usize) -> u64 {
        self.inodes.get(index).or(self.inodes.first()).copied().unwrap_or(0)
    }
}

/// A damaged piece that the peer is asked for.
struct Repair {
    read: u64,
    index: usize,
    inode: u64,
    damage: Damage,
}

#[derive(Default)]
pub(super) struct Reads {
    pending: BTreeMap<u64, Pending>,
    repairs: BTreeMap<u64, Repair>,
    /// Reads under way per segment: its file must not be recycled beneath them.
    busy: BTreeMap<SegmentId, u32>,
    pub damaged: Damaged,
    pub checksum_errors: u64,
    repaired: u64,
    pub unrepaired: u64,
}

#[allow(clippy::large_enum_variant)] // moved once, at once
pub(super) enum Started {
    Ready(FileResult),
    Job(ReadJob),
}

impl Reads {
    /// Knows what of the records that recovery found damaged is part of a file now.
    pub fn new(damaged_records: &[(Record, Place)], view: &View) -> Result<Reads, ViewError> {
        let mut reads = Reads { checksum_errors: damaged_records.len() as u64, ..Reads::default() };
        for (record, place) in damaged_records {
            live_runs(record, *place, view)?.into_iter().for_each(|run| reads.damaged.remember(run));
        }
        Ok(reads)
    }

    pub fn count(&self, stats: &mut Stats) {
        stats.checksum_errors = self.checksum_errors;
        stats.repaired = self.repaired;
        stats.unrepaired = self.unrepaired;
    }

    pub fn is_busy(&self, segment: SegmentId) -> bool {
        self.busy.contains_key(&segment)
    }

    /// A client's read: at once when all of it is in memory.
    pub fn client(&mut self, log: &Log, volume: VolumeId, planned: PlannedRead, tickets: &mut u64) -> Started {
        let pieces: Vec<Piece> = planned.pieces.iter().map(|piece| piece_of(log, piece)).collect();
        if pieces.iter().all(|piece| matches!(piece, Piece::Ready(_))) {
            let ready = pieces.into_iter().filter_map(|piece| match piece {
                Piece::Ready(bytes) => Some(bytes),
                Piece::Stored(_) => None,
            });
            return Started::Ready(planned.result(ready.collect()));
        }
        *tickets += 1;
        let inodes = vec![planned.file.inode];
        Started::Job(self.start(*tickets, volume, Purpose::Client(planned), inodes, pieces))
    }

    pub fn start(&mut self, ticket: u64, volume: VolumeId, purpose: Purpose, inodes: Vec<u64>, pieces: Vec<Piece>) -> ReadJob {
        let stored = |piece: &Piece| match piece {
            Piece::Stored(extent) => Some(*extent),
            Piece::Ready(_) => None,
        };
        let stored: Vec<Option<StoredExtent>> = pieces.iter().map(stored).collect();
        let segments: Vec<SegmentId> = stored.iter().flatten().map(|extent| extent.place.segment).collect();
        segments.iter().for_each(|segment| *self.busy.entry(*segment).or_default() += 1);
        let waiting = Pending { purpose, inodes, stored, pieces: Vec::new(), waiting: 0, failed: false, segments };
        self.pending.insert(ticket, waiting);
        ReadJob { ticket, volume, pieces }
    }

    fn release(&mut self, segments: &[SegmentId]) {
        for segment in segments {
            if let Some(count) = self.busy.get_mut(segment) {
                *count -= 1;
                if *count == 0 {
                    self.busy.remove(segment);
                }
            }
        }
    }
}

/// What of a record's data, where the log has it, is part of a file now.
fn live_runs(record: &Record, place: Place, view: &View) -> Result<Vec<Run>, ViewError> {
    let body = record.body().map_err(|error| ViewError::Damaged(error.to_string()))?;
    let mut live = Vec::new();
    for change in &body.changes {
        let Change::PutExtent { inode, extent } = change else { continue };
        let runs = view.extents_in(*inode, extent.offset, extent.offset.saturating_add(extent.len as u64))?;
        live.extend(runs.into_iter().filter(|run| run.place == place).map(|run| (*inode, run)));
    }
    Ok(live)
}

pub(super) fn piece_of(log: &Log, piece: &extents::Piece) -> Piece {
    match piece {
        extents::Piece::Hole(len) => Piece::Ready(Bytes::from_static(&ZEROS[..*len as usize])),
        extents::Piece::Data(extent) => log.cached(extent).map_or(Piece::Stored(*extent), Piece::Ready),
    }
}

impl Volume {
    /// Reads extents in the background or for a peer: the pieces in the given order.
    pub(super) fn read_stored(&mut self, purpose: Purpose, extents: &[(u64, StoredExtent)]) -> u64 {
        let ticket = self.take_ticket();
        let background = matches!(purpose, Purpose::Scrub | Purpose::Compact | Purpose::Mend);
        let piece = |(_, extent): &(u64, StoredExtent)| match self.log.cached(extent) {
            // The scrub wants the disk's bytes, but what is not written yet is not there.
            Some(data) if !background || extent.position > self.log.written() => Piece::Ready(data),
            _ => Piece::Stored(*extent),
        };
        let pieces = extents.iter().map(piece).collect();
        let inodes = extents.iter().map(|(inode, _)| *inode).collect();
        let job = self.reads.start(ticket, self.id, purpose, inodes, pieces);
        self.effects.push_back(match background {
            true => DiskEffect::Background(BackgroundJob::Read(job)),
            false => DiskEffect::Read(job),
        });
        ticket
    }

    pub(super) fn read_done(&mut self, done: ReadDone) {
        let ticket = done.ticket;
        let Some(mut pending) = self.reads.pending.remove(&ticket) else { return };
        self.reads.release(&std::mem::take(&mut pending.segments));
        for (index, piece) in done.pieces.into_iter().enumerate() {
            match piece {
                Ok(data) => pending.pieces.push(Some(data)),
                Err(damage) => {
                    pending.pieces.push(None);
                    self.damaged(ticket, &mut pending, index, damage);
                }
            }
        }
        self.settle(ticket, pending);
    }

    /// Asks the peer, unless this was asked by a peer itself.
    fn damaged(&mut self, read: u64, pending: &mut Pending, index: usize, damage: Damage) {
        self.reads.checksum_errors += 1;
        let inode = pending.inode(index);
        let row = match self.view.inode(inode) {
            Ok(row) => row,
            Err(error) => return drop(self.fail_view(&error)),
        };
        let Some(row) = row else {
            pending.failed = true;
            return;
        };
        if matches!(pending.purpose, Purpose::Peer) {
            pending.failed = true;
            return self.reads.damaged.remember((inode, damage.extent));
        }
        let ticket = self.take_ticket();
        let (extent, position) = (extent_of(&damage.extent), damage.extent.position);
        pending.waiting += 1;
        self.reads.repairs.insert(ticket, Repair { read, index, inode, damage });
        self.events.push_back(VolumeEvent::RepairWanted { ticket, file: row.file, extent, position });
    }

    /// The peer's answer to [`VolumeEvent::RepairWanted`]; `None` when it cannot help.
    pub fn repair(&mut self, ticket: u64, data: Option<Bytes>) {
        let Some(repair) = self.reads.repairs.remove(&ticket) else { return };
        let Some(mut pending) = self.reads.pending.remove(&repair.read) else { return };
        pending.waiting -= 1;
        match data.filter(|data| repair.damage.accepts(data)) {
            Some(data) => {
                self.reads.repaired += 1;
                self.mend(repair.inode, repair.damage.extent, data.clone());
                // Compaction has nothing left to do with a piece that was just written again.
                pending.stored[repair.index] = None;
                pending.pieces[repair.index] = Some(data);
            }
            None => {
                self.reads.unrepaired += 1;
                self.reads.damaged.remember((repair.inode, repair.damage.extent));
                pending.failed = true;
            }
        }
        self.settle(repair.read, pending);
    }

    /// Puts good data in the damaged one's place. Runs are moved whole, because replicas compare them: a part is only a reason
    /// to read, and so to repair, the run that it belongs to.
    fn mend(&mut self, inode: u64, part: StoredExtent, data: Bytes) {
        let runs = match self.view.extents_in(inode, part.offset, part.end()) {
            Ok(runs) => runs,
            Err(error) => return drop(self.fail_view(&error)),
        };
        for run in runs.into_iter().filter(|run| run.place == part.place && run.position == part.position) {
            if run != part {
                self.read_stored(Purpose::Mend, &[(inode, run)]);
            } else if self.rewrite(inode, run, data.clone()) {
                self.reads.damaged.forget(&run);
            } else {
                self.reads.damaged.remember((inode, run));
            }
        }
    }

    /// The record that a secondary needs first could not be read. One whose payload is damaged is not tried again and again: who needs it
    /// gets the files' present state instead (resync by change), once what is live of it is mended. Where nobody can tell what else is
    /// damaged, because the disk or the record's head does not say, it is tried again: a walk might meet what it cannot read, and what
    /// was a whole copy would be none for as long as that lasts.
    pub(super) fn record_unread(&mut self, wanted: Position, error: &RecordsError) {
        self.reads.checksum_errors += u64::from(matches!(error, RecordsError::Damaged { .. }));
        let RecordsError::Damaged { found: Some(found), .. } = error else { return };
        // A roll-back may have taken it away while it was being read.
        if wanted <= self.log.last().position {
            self.log.unreadable = self.log.unreadable.max(wanted);
        }
        match live_runs(&found.0, found.1, &self.view) {
            Ok(runs) => runs.into_iter().for_each(|run| self.suspect(run)),
            Err(error) => drop(self.fail_view(&error)),
        }
    }

    /// Counts as damaged until it was read well, or is mended.
    fn suspect(&mut self, run: Run) {
        self.reads.damaged.remember(run);
        self.read_stored(Purpose::Mend, &[run]);
    }

    /// Tries again what is known to be damaged: the other copy may be there now. What is not part of a file any more is forgotten.
    pub(super) fn mend_again(&mut self, now: Mono) -> Result<(), ViewError> {
        for (inode, damaged) in self.reads.damaged.due(now) {
            let runs = self.view.extents_in(inode, damaged.offset, damaged.end())?;
            // First, for what is left of it may begin elsewhere.
            self.reads.damaged.forget(&damaged);
            let live = runs.into_iter().filter(|run| run.place == damaged.place && run.position == damaged.position);
            live.for_each(|run| self.suspect((inode, run)));
        }
        Ok(())
    }

    /// Writes good data as a fragment and points the view there. False without room: the old place stays, to be repaired again.
    pub(super) fn rewrite(&mut self, inode: u64, extent: StoredExtent, data: Bytes) -> bool {
        if self.failed.is_some() {
            return false;
        }
        let header = FragmentHeader {
            segment: SegmentId::default(),
            volume: self.id,
            position: extent.position,
            inode,
            file_offset: extent.offset,
            payload_start: extent.payload_offset,
            len: extent.len,
            table_crc: 0,
        };
        let Ok(to) = self.log.append_fragment(header, data) else {
            self.upkeep.found_no_room = true;
            return false;
        };
        let moved = self.view.relocate(&[Move { inode, extent, to }]);
        moved.map_err(|error| self.fail_view(&error)).is_ok()
    }

    /// Finishes a read when nothing is awaited any more.
    fn settle(&mut self, ticket: u64, pending: Pending) {
        if pending.waiting > 0 {
            self.reads.pending.insert(ticket, pending);
            return;
        }
        let Pending { purpose, inodes, stored, pieces, failed, .. } = pending;
        match purpose {
            Purpose::Client(planned) => {
                let pieces: Option<Vec<Bytes>> = if failed { None } else { pieces.into_iter().collect() };
                let result = match pieces {
                    Some(pieces) => planned.result(pieces),
                    None => Err(FileError::Io.into()),
                };
                self.events.push_back(VolumeEvent::Read { ticket, result });
            }
            Purpose::Peer => {
                let data = if failed { None } else { join(pieces) };
                self.events.push_back(VolumeEvent::RepairData { ticket, data });
            }
            Purpose::Changes(batch) => {
                let data = if failed { None } else { join(pieces) };
                let damaged = || VolumeError::Unreadable("file data is damaged on both replicas".into());
                let result = data.map(|data| (batch, data)).ok_or_else(damaged);
                self.events.push_back(VolumeEvent::Changes { ticket, result });
            }
            Purpose::Mend if failed => {}
            // What is still here was read well this time; what was mended has another place.
            Purpose::Mend => stored.iter().flatten().for_each(|extent| self.reads.damaged.forget(extent)),
            Purpose::Scrub => self.upkeep.scrub.reading = false,
            Purpose::Compact => {
                let copies = inodes.into_iter().zip(stored).zip(pieces);
                for ((inode, extent), data) in copies {
                    if let (Some(extent), Some(data)) = (extent, data) {
                        self.upkeep.compacted_bytes += data.len() as u64;
                        self.rewrite(inode, extent, data);
                    }
                }
                if let Compaction::Copying { reading, .. } = &mut self.upkeep.compaction {
                    *reading = false;
                }
            }
        }
    }

    /// A peer's block is damaged: the same data from this copy, when it still has it.
    pub fn read_for_repair(&mut self, file: FileId, extent: Extent, position: Position) -> u64 {
        match self.find_for_repair(file, extent, position) {
            Ok(Some(extents)) => self.read_stored(Purpose::Peer, &extents),
            Ok(None) => self.no_repair(),
            Err(error) => {
                self.fail_view(&error);
                self.no_repair()
            }
        }
    }

    fn no_repair(&mut self) -> u64 {
        let ticket = self.take_ticket();
        self.events.push_back(VolumeEvent::RepairData { ticket, data: None });
        ticket
    }

    /// The stored parts that make up exactly the peer's extent of that record.
    fn find_for_repair(
        &self,
        file: FileId,
        extent: Extent,
        position: Position,
    ) -> Result<Option<Vec<(u64, StoredExtent)>>, ViewError> {
        let Some(end) = extent.offset.checked_add(extent.len as u64) else { return Ok(None) };
        if self.failed.is_some() || self.view.inode(file.inode)?.is_none_or(|row| row.file != file) {
            return Ok(None);
        }
        let (mut at, mut parts) = (extent.offset, Vec::new());
        for part in self.view.extents_in(file.inode, extent.offset, end)?.iter().filter_map(|run| run.part(extent.offset..end)) {
            let same_data = part.position == position
                && part.payload_offset.checked_sub(extent.payload_offset).map(u64::from) == Some(part.offset - extent.offset);
            if part.offset != at || !same_data {
                return Ok(None);
            }
            at = part.end();
            parts.push((file.inode, part));
        }
        Ok((at == end).then_some(parts))
    }
}

/// Pieces as one run of bytes; by reference where there is but one.
fn join(mut pieces: Vec<Option<Bytes>>) -> Option<Bytes> {
    if pieces.len() == 1 {
        return pieces.pop().flatten();
    }
    let pieces: Vec<Bytes> = pieces.into_iter().collect::<Option<_>>()?;
    let mut all = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
    pieces.iter().for_each(|piece| all.extend_from_slice(piece));
    Some(all.freeze())
}
