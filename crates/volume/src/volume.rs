//! One volume on one node: the log and its view behind one face. Everything here is a quick step in memory; disk work comes
//! out of [`Volume::poll_effect`] and goes back in through [`Volume::handle`].
//!
//! Fail-stop: after a failed write or sync, or when the view contradicts itself, the volume refuses everything and hands out
//! no more effects ([`VolumeEvent::Failed`]). Only opening it again, which reads what the disk really holds, helps.

mod look;
mod open;
mod reads;
mod resync;
mod rollback;
mod upkeep;

pub use look::{Named, peek};
pub use rollback::KeptTail;

use crate::disk::Disk;
use crate::effects::{BackgroundDone, DiskEffect, DiskEvent};
use crate::error::{AppendError, VolumeError};
use crate::log::Log;
use crate::log::NoRoom;
use crate::log::segments::Need;
use crate::options::{Options, RECORD_BYTES_MAX, Stats};
use crate::place::{StoredExtent, ViewDigest};
use crate::plan::{PlanContext, Planned, PlannedRead, PlannedRecord, plan, root_row, write_verifier};
use crate::view::{View, ViewError, Written};
use bytes::Bytes;
use mainstay_protocol::file::{SpaceStat, WriteVerifier};
use mainstay_protocol::limits::PAYLOAD_BYTES_MAX;
use mainstay_protocol::peer::{ChangeBatch, CopyHealth, EpochStart};
use mainstay_protocol::record::Change;
use mainstay_protocol::{
    ClientRequest, ClusterId, Epoch, Extent, FileError, FileId, FileRequest, FileResult, LogPoint, OpKind, Position, Record,
    RecordBody, Timestamp, VolumeId,
};
use reads::Reads;
use std::collections::VecDeque;
use std::sync::Arc;
use upkeep::Upkeep;

/// What became of a client's request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)] // one per request, taken apart at once
pub enum Outcome {
    /// Reply `result` once `at` is committed, durably if `durable`. A record that the request made is `record`, at
    /// [`Volume::last`].
    Done { result: FileResult, at: Position, durable: bool, record: Option<Record> },
    /// Data is being read: [`VolumeEvent::Read`] brings the result; reply then once `at` is committed in memory.
    Read { ticket: u64, at: Position },
}

/// Where the records after a position are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordsAfter {
    /// At least one record, unless there is none after the position.
    Ready(Vec<Record>),
    /// Being read from disk: [`VolumeEvent::Records`] brings them.
    Later(u64),
    /// Not kept any more, or not in this history: resync by change.
    Gone,
}

/// What a roll-back took away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolledBack {
    pub from: LogPoint,
    pub to: LogPoint,
    pub records: u64,
    pub bytes: u64,
    /// The quarantine file that keeps them; `None` when there was nothing to keep.
    pub file: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeEvent {
    /// Everything up to here is synced on the local disk.
    Durable(Position),
    Read {
        ticket: u64,
        result: FileResult,
    },
    Records {
        ticket: u64,
        result: Result<Vec<Record>, VolumeError>,
    },
    /// The bytes of the batch's extents in order.
    Changes {
        ticket: u64,
        result: Result<(ChangeBatch, Bytes), VolumeError>,
    },
    /// A block of this copy is damaged: ask the peer, then call [`Volume::repair`], also when nothing came.
    RepairWanted {
        ticket: u64,
        file: FileId,
        extent: Extent,
        position: Position,
    },
    RepairData {
        ticket: u64,
        data: Option<Bytes>,
    },
    Digest {
        position: Position,
        digest: ViewDigest,
    },
    Checkpointed(Position),
    /// Fail-stop: the volume refuses everything from here on.
    Failed(VolumeError),
}

/// See [`Volume::durable`].
#[derive(Clone, Copy, Debug)]
struct Hold {
    /// What was durable when the walk ended.
    durable: Position,
    /// Where the log begins anew: only a checkpoint of exactly this point ends the hold. One that was set aside before the walk may
    /// still be on its way to the disk, and says nothing of it.
    base: LogPoint,
}

/// See the module's text.
pub struct Volume {
    disk: Arc<dyn Disk>,
    cluster: ClusterId,
    id: VolumeId,
    options: Options,
    log: Log,
    view: View,
    /// Committed durably by every in-sync replica: checkpoints may be made up to here.
    committed: Position,
    /// After a resync by change: until the view's file holds the new base, no newer record counts as durable, because a crash
    /// would throw it away.
    hold: Option<Hold>,
    failed: Option<VolumeError>,
    effects: VecDeque<DiskEffect>,
    events: VecDeque<VolumeEvent>,
    tickets: u64,
    reads: Reads,
    upkeep: Upkeep,
    reported: Position,
}

impl Volume {
    // ---- history ---------------------------------------------------------------------------------------------------------

    /// Newest record applied in memory.
    pub fn last(&self) -> LogPoint {
        self.view.point()
    }
    /// Synced on the local disk.
    pub fn durable(&self) -> Position {
        self.hold.map_or(self.log.durable(), |hold| hold.durable)
    }
    /// First record that can still be read, as far as is known: `log_start()..=last()`; one behind the last when none can.
    pub fn log_start(&self) -> Position {
        self.log.log_start().max(self.log.unreadable.next()).min(self.log.last().position.next())
    }
    /// The newest damage behind `last` that keeps a copy that ends there from being resynced by change, which it needs for an unreadable
    /// record alone: the log is kept from there on, and the walk would come to data that cannot be read either.
    pub fn damage_in_the_way(&self, last: Position) -> Option<Position> {
        let kept = last.next() >= self.log.log_start() && last.next() < self.log_start();
        self.reads.damaged.newest_behind(last).filter(|_| kept)
    }
    /// The point at a position; `None` when it is not retained. May read a little from the disk.
    pub fn point(&self, at: Position) -> Option<LogPoint> {
        let base = self.view.base().point;
        if at == base.position { Some(base) } else { self.log.point(at, &*self.disk) }
    }
    /// Where a resync by change that begins now should go over to the log: before the oldest answer that is still kept for
    /// retries, so that the log brings the answers along, if that is retained with room to spare; else here.
    pub fn resync_base(&self) -> LogPoint {
        let before = self.view.oldest_reply().map_or(Position(0), |oldest| Position(oldest.0.saturating_sub(1)));
        let spare = (self.last().position.0 - self.log_start().0.min(self.last().position.0)) / 4;
        match before.0 >= self.log_start().0 + spare {
            true => self.point(before).unwrap_or(self.last()),
            false => self.last(),
        }
    }
    pub fn lineage(&self) -> &[EpochStart] {
        self.view.lineage()
    }
    /// The epoch of the record at `position` in this copy's history.
    pub fn written_in(&self, position: Position) -> Epoch {
        crate::resync::epoch_at(self.lineage(), position)
    }
    pub fn loss_epoch(&self) -> u64 {
        self.view.loss_epoch()
    }
    /// As clients see it (RFC 1813, 3.3.7).
    pub fn write_verifier(&self) -> WriteVerifier {
        write_verifier(self.cluster, self.id, self.view.loss_epoch())
    }
    /// False while the copy is not a prefix of the history (resync by change).
    pub fn complete(&self) -> bool {
        self.view.complete()
    }

    // ---- primary ---------------------------------------------------------------------------------------------------------

    /// Plans and, when it changes something, appends and applies a client's request. `epoch` is the caller's own.
    pub fn execute(&mut self, wall: Timestamp, epoch: Epoch, request: &ClientRequest) -> Outcome {
        if self.failed.is_some() {
            return self.refuse(FileError::Io);
        }
        if !self.view.complete() || epoch < self.last().epoch {
            return self.refuse(FileError::TryLater);
        }
        self.try_execute(wall, epoch, request).unwrap_or_else(|error| {
            self.fail_view(&error);
            self.refuse(FileError::Io)
        })
    }

    /// Whether the first answer to this request is kept, because it was executed; None when the view cannot tell.
    pub fn remembers(&self, request: &ClientRequest) -> Option<bool> {
        let kept = request.identity.as_ref().map(|identity| self.view.reply(identity));
        kept.transpose().ok().map(|kept| kept.flatten().is_some())
    }

    fn refuse(&self, error: FileError) -> Outcome {
        Outcome::Done { result: Err(error.into()), at: Position(0), durable: false, record: None }
    }

    fn try_execute(&mut self, wall: Timestamp, epoch: Epoch, request: &ClientRequest) -> Result<Outcome, ViewError> {
        if let Some(identity) = &request.identity
            && let Some(kept) = self.view.reply(identity)?
        {
            return Ok(Outcome::Done { result: kept.result, at: kept.position, durable: kept.durable, record: None });
        }
        if request.request.changes()
            && let Err(no_room) =
                self.room(RECORD_BYTES_MAX - PAYLOAD_BYTES_MAX + data_len(&request.request), need(&request.request))
        {
            return Ok(self.refuse(if no_room == NoRoom::Busy { FileError::TryLater } else { FileError::NoSpace }));
        }
        match plan(&self.view, &self.context(wall, epoch), request)? {
            Planned::Record(planned) => self.commit_plan(epoch, planned, request),
            Planned::Reply { result, at, durable } => Ok(Outcome::Done { result, at, durable, record: None }),
            Planned::Read(read) => Ok(self.read(read)),
        }
    }

    fn context(&self, wall: Timestamp, epoch: Epoch) -> PlanContext {
        let position = self.last().position.next();
        PlanContext { wall, epoch, position, cluster: self.cluster, volume: self.id, space: self.space() }
    }

    /// What clients see of the room. Records' heads take a little more than the data that is counted.
    fn space(&self) -> SpaceStat {
        let total_bytes = self.upkeep.capacity_bytes;
        let free_bytes = total_bytes.saturating_sub(self.view.bytes_used());
        // Inodes cost rows in the view only; one per 4 KiB that is free is what people expect to see.
        let free_files = free_bytes / 4096;
        let total_files = free_files + self.view.inodes();
        SpaceStat { total_bytes, free_bytes, available_bytes: free_bytes, total_files, free_files, available_files: free_files }
    }

    fn commit_plan(&mut self, epoch: Epoch, planned: PlannedRecord, request: &ClientRequest) -> Result<Outcome, ViewError> {
        let PlannedRecord { kind, time, changes, payload, stable, result } = planned;
        let body = RecordBody { kind, changes, reply: request.identity.map(|identity| (identity, result.clone())) };
        let record = Record::encode(self.id, self.last(), epoch, time, stable, &body, payload);
        self.take(record.clone(), &body)?;
        Ok(Outcome::Done { result, at: record.header.position, durable: stable, record: Some(record) })
    }

    /// Data that is in memory is answered at once, the rest read by a job.
    fn read(&mut self, planned: PlannedRead) -> Outcome {
        let at = planned.at;
        match self.reads.client(&self.log, self.id, planned, &mut self.tickets) {
            reads::Started::Ready(result) => Outcome::Done { result, at, durable: false, record: None },
            reads::Started::Job(job) => {
                let ticket = job.ticket;
                self.effects.push_back(DiskEffect::Read(job));
                Outcome::Read { ticket, at }
            }
        }
    }

    /// The epoch's first record: `Format` at position 1, else `EpochStart`; with the loss epoch when it differs.
    pub fn start_epoch(&mut self, wall: Timestamp, epoch: Epoch, loss_epoch: u64) -> Result<Record, VolumeError> {
        let last = self.last();
        if epoch <= last.epoch {
            return Err(VolumeError::OldEpoch { asked: epoch, last: last.epoch });
        }
        let first = last.position == Position(0);
        let time = self.view.next_time(wall);
        let mut changes = Vec::new();
        if first {
            changes.push(Change::PutInode(root_row(time)));
        }
        if loss_epoch != self.view.loss_epoch() {
            changes.push(Change::SetLossEpoch(loss_epoch));
        }
        self.make(epoch, time, if first { OpKind::Format } else { OpKind::EpochStart }, changes)
    }

    /// A record that changes nothing: every replica computes the digest of its state right after it
    /// ([`VolumeEvent::Digest`]). `Busy` while a checkpoint is being written: the digest needs the next one.
    pub fn mark(&mut self, wall: Timestamp, epoch: Epoch) -> Result<Record, VolumeError> {
        if self.view.frozen().is_some() {
            return Err(VolumeError::Busy("a checkpoint is being written"));
        }
        let time = self.view.next_time(wall);
        self.make(epoch, time, OpKind::Mark, Vec::new())
    }

    fn make(&mut self, epoch: Epoch, time: Timestamp, kind: OpKind, changes: Vec<Change>) -> Result<Record, VolumeError> {
        self.check_usable()?;
        if epoch < self.last().epoch {
            return Err(VolumeError::OldEpoch { asked: epoch, last: self.last().epoch });
        }
        self.room(RECORD_BYTES_MAX - PAYLOAD_BYTES_MAX, Need::Privileged).map_err(|no_room| match no_room {
            NoRoom::Busy => VolumeError::Busy("a segment is being prepared"),
            NoRoom::Full => VolumeError::NoSpace("the reserve is used up"),
        })?;
        let body = RecordBody { kind, changes, reply: None };
        let record = Record::encode(self.id, self.last(), epoch, time, true, &body, Bytes::new());
        self.take(record.clone(), &body).map_err(|error| self.fail_view(&error))?;
        Ok(record)
    }

    /// Whether a record fits. While compaction is giving back space, a full volume is only busy.
    fn room(&self, bytes: usize, need: Need) -> Result<(), NoRoom> {
        let busy = self.upkeep.giving_back;
        self.view_room(need)?;
        self.log.room(bytes, need).map_err(|no_room| if busy { NoRoom::Busy } else { no_room })
    }

    fn check_usable(&self) -> Result<(), VolumeError> {
        match &self.failed {
            Some(error) => Err(error.clone()),
            None if !self.view.complete() => Err(VolumeError::Incomplete),
            None => Ok(()),
        }
    }

    // ---- secondary -------------------------------------------------------------------------------------------------------

    /// A record from the primary: checked against this copy's history, applied, queued for the disk.
    pub fn append(&mut self, record: Record) -> Result<(), AppendError> {
        if let Some(error) = &self.failed {
            return Err(AppendError::Failed(error.to_string()));
        }
        if record.header.volume != self.id {
            return Err(AppendError::OtherVolume { found: record.header.volume, expected: self.id });
        }
        if self.walking() {
            return Err(AppendError::Resync);
        }
        if !self.log_continues() || !self.base_set_aside() {
            return Err(AppendError::Busy);
        }
        record.check_follows(self.last())?;
        let body = record.body()?;
        self.room(record.total_len(), Need::Privileged).map_err(|no_room| match no_room {
            NoRoom::Busy => AppendError::Busy,
            NoRoom::Full => AppendError::NoSpace,
        })?;
        self.take(record, &body).map_err(|error| AppendError::Failed(self.fail_view(&error).to_string()))
    }

    // ---- both ------------------------------------------------------------------------------------------------------------

    /// Appends and applies a record that continues the history and has room.
    fn take(&mut self, record: Record, body: &RecordBody) -> Result<(), ViewError> {
        let (header, bytes) = (record.header, record.total_len() as u64);
        let place = self.log.append(record);
        self.view.apply(&header, body, place)?;
        self.upkeep.appended(bytes);
        if body.kind == OpKind::Mark {
            self.freeze_for_digest(header.position);
        } else if self.upkeep.checkpoint_due(&self.options, self.view.overlay_rows()) {
            self.freeze();
        }
        Ok(())
    }

    /// Asks that everything up to here becomes durable.
    pub fn want_sync(&mut self, up_to: Position) {
        self.log.want_sync(up_to);
    }

    /// Everything up to here is known to be durable on every in-sync copy; more may be.
    pub fn committed(&self) -> Position {
        self.committed
    }

    /// Everything up to here is durable on every in-sync replica: checkpoints may be made at or below it.
    pub fn set_committed(&mut self, durable_commit: Position) {
        if durable_commit > self.committed {
            self.committed = durable_commit;
            self.write_checkpoint();
        }
    }

    /// The records after a position, about `bytes_max` bytes of them, at least one.
    pub fn records_after(&mut self, after: Position, bytes_max: usize) -> RecordsAfter {
        if self.failed.is_some() || after > self.last().position {
            return RecordsAfter::Gone;
        }
        if after == self.last().position {
            return RecordsAfter::Ready(Vec::new());
        }
        if let Some(records) = self.log.tail_after(after, bytes_max) {
            return RecordsAfter::Ready(records);
        }
        if after.next() < self.log_start() {
            return RecordsAfter::Gone;
        }
        let ticket = self.take_ticket();
        match self.log.records_job(ticket, after, self.log.written(), bytes_max) {
            Some(job) => {
                self.effects.push_back(DiskEffect::ReadRecords(job));
                RecordsAfter::Later(ticket)
            }
            None => RecordsAfter::Gone,
        }
    }

    pub fn handle(&mut self, event: DiskEvent) {
        if self.failed.is_some() {
            return;
        }
        match event {
            DiskEvent::LogDone(done) => match &done.result {
                Ok(()) => self.log_done(&done),
                Err(error) => self.fail(VolumeError::Disk(error.clone())),
            },
            DiskEvent::ReadDone(done) => self.read_done(done),
            DiskEvent::RecordsRead(done) => self.records_read(done),
            DiskEvent::CheckpointDone(Ok(Written::Done(done))) => self.checkpoint_done(done),
            DiskEvent::CheckpointDone(Ok(Written::NoRoom(job))) => self.checkpoint_postponed(job),
            DiskEvent::CheckpointDone(Err(error)) => drop(self.fail_view(&error)),
            DiskEvent::BackgroundDone(done) => self.background_done(done),
        }
    }

    fn log_done(&mut self, done: &crate::log::write::LogDone) {
        self.log.done(done);
        self.report_durable();
        self.write_checkpoint();
    }

    fn report_durable(&mut self) {
        let durable = self.durable();
        if durable > self.reported {
            self.reported = durable;
            self.events.push_back(VolumeEvent::Durable(durable));
        }
    }

    fn records_read(&mut self, done: crate::log::read::RecordsDone) {
        self.log.learn(&done);
        let wanted = done.after.next();
        let result = match done.result {
            Ok(read) => Ok(read.records.into_iter().map(|(record, _)| record).collect()),
            // The files were given back while they were being read.
            Err(_) if wanted < self.log.log_start() => Err(VolumeError::Gone { from: wanted }),
            Err(error) => {
                self.record_unread(wanted, &error);
                Err(VolumeError::Unreadable(error.to_string()))
            }
        };
        self.events.push_back(VolumeEvent::Records { ticket: done.ticket, result });
    }

    fn background_done(&mut self, done: BackgroundDone) {
        match done {
            BackgroundDone::Prepared(done) => {
                self.log.segments.prepared_one(&done);
                self.upkeep.look_at(&self.log.segments);
                self.prepare();
            }
            BackgroundDone::GivenUp(done) => self.given_up(done),
            BackgroundDone::Listed(listed) => self.listed(listed),
            BackgroundDone::Freed => {}
            BackgroundDone::Digest(result) => self.digest_done(result),
            BackgroundDone::Space(space) => self.space_seen(space),
        }
    }

    pub fn poll_effect(&mut self) -> Option<DiskEffect> {
        if self.failed.is_some() {
            return None;
        }
        self.log.poll().map(DiskEffect::Log).or_else(|| self.effects.pop_front())
    }

    pub fn poll_event(&mut self) -> Option<VolumeEvent> {
        self.events.pop_front()
    }

    fn take_ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    /// Stops the volume for good.
    fn fail(&mut self, error: VolumeError) {
        if self.failed.is_none() {
            self.failed = Some(VolumeError::Failed(error.to_string()));
            self.effects.clear();
            self.events.push_back(VolumeEvent::Failed(error));
        }
    }

    fn fail_view(&mut self, error: &ViewError) -> VolumeError {
        let error = VolumeError::View(error.to_string());
        self.fail(error.clone());
        error
    }

    /// Why the volume stopped.
    pub fn failure(&self) -> Option<&VolumeError> {
        self.failed.as_ref()
    }

    /// Said to everybody many times a second, so it costs no more than these few numbers.
    pub fn health(&self) -> CopyHealth {
        CopyHealth {
            failed: self.failed.is_some(),
            full: self.upkeep.view_waits(),
            free_bytes: self.space().free_bytes,
            damaged: self.reads.damaged.len() as u64,
        }
    }

    pub fn stats(&self) -> Stats {
        let mut stats = Stats {
            last: self.last(),
            durable: self.durable(),
            checkpoint: self.view.base().point.position,
            log_start: self.log_start(),
            complete: self.complete(),
            live_bytes: self.view.bytes_used(),
            free_bytes: self.space().free_bytes,
            total_bytes: self.space().total_bytes,
            inodes: self.view.inodes(),
            appended_bytes: self.log.appended_bytes(),
            unwritten_bytes: self.log.unwritten_bytes(),
            overlay_rows: self.view.overlay_rows() as u64,
            ..Stats::default()
        };
        self.log.segments.count(&mut stats);
        self.reads.count(&mut stats);
        self.upkeep.count(&mut stats);
        stats
    }

    pub fn check_invariants(&self) {
        self.log.check_invariants();
        assert!(self.failed.is_some() || self.view.point() == self.log.last() || self.hold.is_some(), "view and log end together");
        assert!(self.view.base().point.position <= self.committed.max(self.upkeep.opened_at), "checkpoints are committed");
    }
}

/// File data that a request brings.
fn data_len(request: &FileRequest) -> usize {
    match request {
        FileRequest::Write { data, .. } => data.len(),
        _ => 0,
    }
}

/// Removals and truncations may use the reserve: they are how a full volume is emptied.
fn need(request: &FileRequest) -> Need {
    match request {
        FileRequest::Remove { .. } | FileRequest::RemoveDirectory { .. } | FileRequest::SetAttributes { .. } => Need::Privileged,
        _ => Need::Ordinary,
    }
}

/// The part of an extent that peers talk about.
fn extent_of(stored: &StoredExtent) -> Extent {
    Extent { offset: stored.offset, len: stored.len, payload_offset: stored.payload_offset }
}
