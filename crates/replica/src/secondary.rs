//! The secondary: follows the primary's log, or catches up by what changed; serves reads when there is no primary (R15).

use crate::core::Core;
use crate::event::{Effect, Note, ServeMode};
use crate::primary::{APPEND_BYTES_MAX, HELD_MAX};
use crate::source::BATCH_BYTES_MAX;
use crate::stream::WINDOW_BYTES_MAX;
use bytes::Bytes;
use mainstay_cluster::WithoutPrimary;
use mainstay_protocol::marks::mark;
use mainstay_protocol::peer::{ChangeBatch, EpochStart, ListItem, ListQuery, ResyncCursor, StreamId};
use mainstay_protocol::planted::{Bug, planted};
use mainstay_protocol::{
    ClientRequest, Epoch, FileError, FileRequest, FileResult, LogPoint, Mono, NodeId, Now, PeerMessage, Position, Record,
};
use mainstay_volume::{AppendError, KeptTail, Outcome, VolumeError};
use std::collections::{BTreeMap, VecDeque};

/// Lists that one resync may have outstanding; more are asked for later, in the next walk.
const LISTS_MAX: usize = 1 << 16;
/// File data in the first batch of a resync, and in each over the slowest wire, bytes.
const BATCH_BYTES_START: u32 = 256 << 10;
const BATCH_BYTES_MIN: u32 = 64 << 10;
/// The longest wait before an unanswered question of a resync is repeated, milliseconds.
const PATIENCE_MS_MAX: u64 = 60_000;
/// Bytes of records that wait here for the volume: what a primary's window and its last Append may hold.
const PENDING_BYTES_MAX: usize = WINDOW_BYTES_MAX as usize + 2 * APPEND_BYTES_MAX;

#[derive(Debug, Default)]
pub struct Secondary {
    /// Newest epoch whose records were accepted; older ones are refused even before the view knows (R2).
    pub epoch: Epoch,
    /// How many runs of the stream this boot has asked for (see [`StreamId`]).
    streams: u32,
    /// No Append of the present run was seen: the primary must be told where this copy ends.
    needs_hello: bool,
    hello_at: Option<Mono>,
    /// Received in order, but the volume has no room yet: sent once, kept here, and neither acknowledged nor asked for again (R11).
    pending: VecDeque<Record>,
    pending_bytes: usize,
    /// Newest epoch whose primary asked for its lease here.
    heard_epoch: Epoch,
    appended_at: Option<Mono>,
    acknowledge: Option<NodeId>,
    pub commit: Position,
    pub commit_durable: Position,
    resync: Option<Resync>,
    reading: BTreeMap<u64, u64>,
    /// Requests that only a primary may answer, while this node serves reads: it may be the next one.
    held: VecDeque<(u64, ClientRequest)>,
}

/// What clients still wait for when a secondary becomes the primary: reads under way (the volume's ticket → the client's), and
/// requests that were held.
#[derive(Debug, Default)]
pub struct Inherited {
    pub reading: BTreeMap<u64, u64>,
    pub held: VecDeque<(u64, ClientRequest)>,
}

/// A resync by change under way.
#[derive(Debug)]
struct Resync {
    from: NodeId,
    lists: VecDeque<ListQuery>,
    /// A batch that came, for which the volume has no room yet: a hanging disk must not have it sent again and again (R11).
    waiting: Option<(ResyncCursor, ChangeBatch, Bytes)>,
    asked_at: Option<Mono>,
    /// Bytes of the next batch.
    batch_bytes: u32,
    /// How long an answer may take before the question is repeated.
    patience_ms: u64,
    bytes: u64,
    inodes_total: u64,
    since: Position,
}

impl Resync {
    /// Batches are as large as the wire carries within one repetition of other questions, so that an interruption costs little.
    fn measure(&mut self, now: Now, quick_ms: u64) {
        let Some(asked_at) = self.asked_at else { return };
        let elapsed_ms = now.mono.ms_since(asked_at);
        self.patience_ms = (4 * elapsed_ms).min(PATIENCE_MS_MAX);
        self.batch_bytes = match elapsed_ms {
            elapsed_ms if elapsed_ms > 4 * quick_ms => (self.batch_bytes / 2).max(BATCH_BYTES_MIN),
            elapsed_ms if elapsed_ms < quick_ms => (self.batch_bytes * 2).min(BATCH_BYTES_MAX),
            _ => self.batch_bytes,
        };
    }
}

impl Secondary {
    pub fn new(epoch: Epoch) -> Secondary {
        Secondary { epoch, streams: 1, needs_hello: true, ..Secondary::default() }
    }

    /// Where the records come from, by this node's view.
    fn primary(core: &Core) -> Option<NodeId> {
        core.state()?.reign.as_ref().map(|reign| reign.node).filter(|node| *node != core.me.node)
    }

    pub fn reign_changed(&mut self) {
        self.restart_stream();
        self.hello_at = None;
        self.resync = None;
    }

    /// What is under way to this copy is no use to it: the primary is to begin anew behind its end.
    fn restart_stream(&mut self) {
        self.streams += 1;
        self.needs_hello = true;
        self.pending.clear();
        self.pending_bytes = 0;
    }

    fn stream(&self, core: &Core) -> StreamId {
        StreamId { incarnation: core.me.incarnation, number: self.streams }
    }

    /// The primary of `epoch` asks for its lease, so it is up: a Hello that came before it knew of its own reign was lost.
    pub fn primary_speaks(&mut self, epoch: Epoch) {
        if epoch > self.heard_epoch {
            self.heard_epoch = epoch;
            self.hello_at = None;
        }
    }

    // ---- following the log -----------------------------------------------------------------------------------------------

    /// Judges the epoch of anything a primary sends: an older one is told that it is fenced (R2).
    pub fn admits(&mut self, core: &mut Core, from: NodeId, epoch: Epoch) -> bool {
        let floor = core.promise.floor().max(self.epoch).max(core.view_epoch());
        if epoch < floor && !planted(Bug::IgnoreEpochOnReceive) {
            mark("secondary: fences an older epoch");
            core.counters.requests_fenced += 1;
            core.note(Note::RefusedOld { from, epoch });
            core.send(from, PeerMessage::Fenced { promised: floor });
            return false;
        }
        self.epoch = self.epoch.max(epoch);
        true
    }

    pub fn on_append(&mut self, core: &mut Core, from: NodeId, append: Append, payload: Vec<Bytes>, now: Now) {
        if !self.admits(core, from, append.epoch) {
            return;
        }
        let Some(volume) = core.volume.as_ref() else { return };
        if volume.resync_cursor().is_some() {
            return;
        }
        let end = self.pending.back().map_or(volume.last(), Record::point);
        let known =
            append.after.position < end.position && volume.point(append.after.position).is_none_or(|ours| ours == append.after);
        if append.after != end && !known {
            // In the present run something before it was lost. Of an older run it was to be expected: the new one is on its way.
            let lost = append.stream == self.stream(core);
            mark(if lost { "secondary: gap in the present run" } else { "secondary: gap in an older run" });
            if lost {
                self.restart_stream();
            }
            return;
        }
        match decode_records(payload, append.count) {
            Some(records) => self.take(core, from, append, records, now),
            None => core.note(Note::BadPeer { from, reason: "an Append with damaged records".into() }),
        }
    }

    fn take(&mut self, core: &mut Core, from: NodeId, append: Append, records: Vec<Record>, now: Now) {
        // Also when the records are not taken: what the volume waits for may be this.
        if let Some(volume) = core.volume.as_mut() {
            volume.set_committed(append.commit_durable.min(volume.last().position));
        }
        // Stable records are acknowledged once, when they are durable; others, and heartbeats, at once.
        let at_once = records.is_empty() || records.iter().any(|record| !record.header.stable());
        for record in records {
            let Some(volume) = core.volume.as_ref() else { return };
            core.counters.bytes_received += record.total_len() as u64;
            let end = self.pending.back().map_or(volume.last(), Record::point);
            if record.header.position > end.position {
                self.pending_bytes += record.total_len();
                self.pending.push_back(record);
            } else if volume.point(record.header.position).is_some_and(|ours| ours != record.point()) {
                return self.restart_stream();
            }
        }
        if !self.take_pending(core, from) {
            return;
        }
        self.caught(core, append, now);
        if at_once {
            self.acknowledge = Some(from);
        }
    }

    /// Hands the volume what it has room for. False when the stream has to begin anew, or cannot go on at all.
    fn take_pending(&mut self, core: &mut Core, from: NodeId) -> bool {
        while let Some(record) = self.pending.front() {
            let Some(volume) = core.volume.as_mut() else { return false };
            let (position, stable, bytes) = (record.header.position, record.header.stable(), record.total_len());
            match volume.append(record.clone()) {
                Ok(()) if stable => volume.want_sync(position),
                Ok(()) => {}
                Err(AppendError::Busy | AppendError::NoSpace) if self.pending_bytes <= PENDING_BYTES_MAX => {
                    mark("secondary: records wait for room");
                    return true;
                }
                Err(AppendError::Busy | AppendError::NoSpace | AppendError::Resync | AppendError::Record(_)) => {
                    self.restart_stream();
                    return false;
                }
                Err(error @ AppendError::OtherVolume { .. }) => {
                    self.restart_stream();
                    core.note(Note::BadPeer { from, reason: error.to_string() });
                    return false;
                }
                Err(AppendError::Failed(reason)) => {
                    core.fail(reason);
                    return false;
                }
            }
            self.pending_bytes -= bytes;
            self.pending.pop_front();
        }
        true
    }

    /// The volume may have room again for what waits.
    fn retry_pending(&mut self, core: &mut Core) {
        let (Some(from), Some(waiting)) = (Self::primary(core), self.pending.len().checked_sub(1)) else { return };
        if self.take_pending(core, from) && self.pending.len() <= waiting {
            self.acknowledge = Some(from);
        }
    }

    fn caught(&mut self, core: &mut Core, append: Append, now: Now) {
        let Some(volume) = core.volume.as_mut() else { return };
        let last = volume.last().position;
        if append.sync_to > volume.durable() {
            volume.want_sync(append.sync_to.min(last));
        }
        let past = if planted(Bug::CheckpointPastCommit) { last } else { append.commit_durable.min(last) };
        let Some(volume) = core.volume.as_mut() else { return };
        volume.set_committed(past);
        self.commit = self.commit.max(append.commit.min(last));
        self.commit_durable = self.commit_durable.max(append.commit_durable.min(last));
        self.appended_at = Some(now.mono);
        // The primary must have heard the last Hello: it may be streaming to the boot before, or not know of a gap.
        if append.stream == self.stream(core) {
            self.needs_hello = false;
        }
    }

    /// More became durable: the primary's commit may hang on it.
    pub fn on_durable(&mut self, core: &Core) {
        self.acknowledge = self.acknowledge.or_else(|| Self::primary(core).filter(|_| self.appended_at.is_some()));
    }

    fn send_acknowledgement(&mut self, core: &mut Core) {
        let (Some(to), Some(volume)) = (self.acknowledge.take(), core.volume.as_ref()) else { return };
        if volume.resync_cursor().is_some() || self.needs_hello {
            return;
        }
        let received = volume.last().position;
        let durable = if planted(Bug::AckBeforeSync) { received } else { volume.durable() };
        // A copy with holes from a resync acknowledges nothing as applied, but holds and syncs what it is sent.
        let applied = if volume.complete() { received } else { Position(0) };
        core.send(to, PeerMessage::Acknowledge { epoch: self.epoch, stream: self.stream(core), received, durable, applied });
    }

    fn say_hello(&mut self, core: &mut Core, now: Now) {
        let (Some(to), Some(volume)) = (Self::primary(core), core.volume.as_ref()) else { return };
        let silent = self.appended_at.is_none_or(|at| now.mono.ms_since(at) >= core.timing.shrink_ms);
        let resyncing = self.resync.is_some();
        let soon = self.hello_at.is_some_and(|at| now.mono.ms_since(at) < core.timing.retry_ms);
        if soon || resyncing || !(self.needs_hello || silent) {
            return;
        }
        if !self.needs_hello {
            mark("secondary: Hello after silence");
        }
        self.hello_at = Some(now.mono);
        let epoch = self.epoch.max(core.view_epoch());
        let (last, durable) = (volume.last(), volume.durable());
        let (lineage, resync) = (volume.lineage().to_vec(), volume.resync_cursor());
        core.send(to, PeerMessage::Hello { epoch, stream: self.stream(core), last, durable, lineage, resync });
    }

    // ---- going back --------------------------------------------------------------------------------------------------------

    /// Quarantines the tail that the cluster does not have, and goes back (R9). Only on the word of the node that this node's
    /// own view knows to reign, and never below what is known to be committed.
    pub fn on_roll_back(&mut self, core: &mut Core, from: NodeId, epoch: Epoch, (answers, to): (LogPoint, LogPoint)) {
        if !self.admits(core, from, epoch) || Self::primary(core) != Some(from) || epoch != core.view_epoch() {
            return;
        }
        let node = core.me.node;
        let Some(volume) = core.volume.as_mut() else { return };
        let last = volume.last();
        // It answers a Hello. A late one must not take back what was taken, acknowledged and committed since.
        if answers != last && !planted(Bug::LateRollBack) {
            mark("secondary: late roll-back refused");
            return;
        }
        if to.position >= last.position {
            if to.position == last.position && to.chain.0 != 0 && to.chain != last.chain {
                core.fail(format!("this copy's history differs from the primary's at {last} although the same epoch wrote it: rebuild this replica"));
            }
            return;
        }
        let target = volume.point(to.position).filter(|ours| ours.epoch == to.epoch && (to.chain.0 == 0 || ours.chain == to.chain));
        let label = format!("{node}-{}", last.epoch);
        let Some(target) = target else { return Self::superseded(core, to, None) };
        let rolled = volume.roll_back(target, &label);
        self.restart_stream();
        if let Err(VolumeError::BelowBase { .. }) = rolled {
            return Self::keep_and_stop(core, target, &label);
        }
        // Without room for the quarantine file the tail stays: asked for again in a while.
        if let Some(rolled) = core.trust_unless_busy(rolled) {
            let (records, quarantine) = (rolled.records, rolled.file.unwrap_or_default());
            mark("secondary: rolled back");
            core.note(Note::RolledBack { to: target.position, records, quarantine });
            self.hello_at = None;
        }
    }

    /// Two people gave up what this copy holds behind `to` (R5), and it has been made durable here: nothing takes that back but making
    /// the copy again. What only it has is kept first (R9); without room for that it is asked again, as for every roll-back.
    fn keep_and_stop(core: &mut Core, to: LogPoint, label: &str) {
        let Some(volume) = core.volume.as_mut() else { return };
        let kept = volume.keep_tail(to, label);
        if let Some(kept) = core.trust_unless_busy(kept) {
            Self::superseded(core, to, kept);
        }
    }

    fn superseded(core: &mut Core, to: LogPoint, kept: Option<KeptTail>) {
        let (records, quarantine) = kept.map_or((0, None), |kept| (kept.records, Some(kept.file)));
        mark("secondary: superseded");
        core.note(Note::Superseded { records, quarantine });
        core.fail(format!(
            "the cluster went another way after {to}, and this copy cannot go back there: have it set aside and made again"
        ));
    }

    // ---- resync by change -----------------------------------------------------------------------------------------------------

    pub fn on_resync_offer(&mut self, core: &mut Core, from: NodeId, epoch: Epoch, base: LogPoint, lineage: Vec<EpochStart>) {
        if !self.admits(core, from, epoch) || Self::primary(core) != Some(from) || self.resync.is_some() {
            return;
        }
        let Some(volume) = core.volume.as_mut() else { return };
        let fresh = volume.resync_cursor().is_none();
        // Also when one is under way already: the volume judges whether its cursor still fits this base and history.
        let begun = volume.begin_resync(base, lineage);
        let Some(cursor) = core.trust_unless_busy(begun) else { return };
        mark(if fresh { "secondary: resync begins" } else { "secondary: resync goes on" });
        if fresh {
            core.note(Note::ResyncByChange { since: cursor.since });
        }
        self.resume_resync(from, cursor);
    }

    fn resume_resync(&mut self, from: NodeId, cursor: ResyncCursor) {
        self.needs_hello = false;
        self.pending.clear();
        self.pending_bytes = 0;
        self.resync = Some(Resync {
            from,
            lists: VecDeque::new(),
            waiting: None,
            asked_at: None,
            batch_bytes: BATCH_BYTES_START,
            patience_ms: 0,
            bytes: 0,
            inodes_total: 0,
            since: cursor.since,
        });
    }

    /// One question is under way at a time; an unanswered one is asked again. There is no deadline (R11).
    fn drive_resync(&mut self, core: &mut Core, now: Now) {
        if let Some((cursor, batch, payload)) = self.resync.as_mut().and_then(|resync| resync.waiting.take()) {
            self.take_batch(core, cursor, batch, payload);
        }
        let Some(resync) = self.resync.as_mut().filter(|resync| resync.waiting.is_none()) else { return };
        if core.contacts.silent_ms(resync.from, now.mono).is_none_or(|ms| ms >= core.timing.shrink_ms) {
            // What was asked is lost, and nothing is on its way.
            resync.patience_ms = 0;
        }
        let patience_ms = resync.patience_ms.max(4 * core.timing.retry_ms);
        if resync.asked_at.is_some_and(|at| now.mono.ms_since(at) < patience_ms) {
            return;
        }
        let Some(cursor) = core.volume.as_ref().and_then(|volume| volume.resync_cursor()) else { return };
        if resync.asked_at.is_some() {
            mark("secondary: resync asks again");
            // It may be lost, or still on its way over a slow wire: then each question more has the same sent again (R11).
            resync.patience_ms = (2 * patience_ms).min(PATIENCE_MS_MAX);
        }
        resync.asked_at = Some(now.mono);
        let (epoch, to) = (self.epoch.max(core.view_epoch()), resync.from);
        let message = match resync.lists.front() {
            Some(query) => PeerMessage::ListRequest { epoch, query: *query },
            None => PeerMessage::ChangesRequest { epoch, cursor, bytes_max: resync.batch_bytes },
        };
        core.send(to, message);
    }

    pub fn on_changes(&mut self, core: &mut Core, from: NodeId, epoch: Epoch, (batch, payload): (ChangeBatch, Bytes), now: Now) {
        if !self.admits(core, from, epoch) {
            return;
        }
        let (Some(resync), Some(volume)) = (self.resync.as_mut(), core.volume.as_mut()) else { return };
        let expected = resync.from == from && resync.lists.is_empty() && resync.waiting.is_none();
        let Some(cursor) = volume.resync_cursor().filter(|_| expected) else { return };
        resync.measure(now, core.timing.retry_ms);
        resync.bytes += payload.len() as u64;
        resync.inodes_total = batch.inodes_total;
        core.counters.bytes_received += payload.len() as u64;
        self.take_batch(core, cursor, batch, payload);
    }

    fn take_batch(&mut self, core: &mut Core, cursor: ResyncCursor, batch: ChangeBatch, payload: Bytes) {
        let (Some(resync), Some(volume)) = (self.resync.as_mut(), core.volume.as_mut()) else { return };
        let from = resync.from;
        match volume.install(cursor, batch.clone(), payload.clone()) {
            Ok(lists) => self.installed(core, lists),
            Err(error) if matches!(error, VolumeError::Resync(_)) => core.note(Note::BadPeer { from, reason: error.to_string() }),
            // No room, or a segment in preparation.
            Err(VolumeError::Busy(_) | VolumeError::NoSpace(_)) => {
                mark("secondary: a batch waits for room");
                resync.waiting = Some((cursor, batch, payload));
            }
            Err(error) => core.fail(error.to_string()),
        }
    }

    pub fn on_list(&mut self, core: &mut Core, from: NodeId, query: ListQuery, items: Vec<ListItem>, done: bool) {
        let (Some(resync), Some(volume)) = (self.resync.as_mut(), core.volume.as_mut()) else { return };
        if resync.from != from || resync.lists.front() != Some(&query) {
            return;
        }
        resync.lists.pop_front();
        match volume.install_list(query, items, done) {
            Ok(lists) => self.installed(core, lists),
            Err(error) if matches!(error, VolumeError::Resync(_)) => core.note(Note::BadPeer { from, reason: error.to_string() }),
            // Asked for again in a while: a segment is being prepared, or space must come back first.
            Err(VolumeError::Busy(_) | VolumeError::NoSpace(_)) => resync.lists.push_front(query),
            Err(error) => core.fail(error.to_string()),
        }
    }

    fn installed(&mut self, core: &mut Core, lists: Vec<ListQuery>) {
        let (Some(resync), Some(volume)) = (self.resync.as_mut(), core.volume.as_ref()) else { return };
        resync.asked_at = None;
        let room = LISTS_MAX.saturating_sub(resync.lists.len());
        resync.lists.extend(lists.into_iter().take(room));
        if volume.resync_cursor().is_none() && resync.lists.is_empty() {
            let (position, bytes) = (volume.last().position, resync.bytes);
            mark("secondary: resync done");
            self.resync = None;
            self.restart_stream();
            self.hello_at = None;
            core.note(Note::ResyncDone { position, bytes });
        }
    }

    pub fn resync_status(&self, core: &Core) -> Option<crate::event::ResyncStatus> {
        let resync = self.resync.as_ref()?;
        let cursor = core.volume.as_ref()?.resync_cursor()?;
        Some(crate::event::ResyncStatus {
            since: resync.since,
            base: cursor.base.position,
            inode: cursor.inode,
            inodes_total: resync.inodes_total,
            bytes_done: resync.bytes,
        })
    }

    // ---- reads without a primary (R15) --------------------------------------------------------------------------------------------

    /// Reads are served, marked as such, when no primary can be alive: this node's own promise has lapsed, a majority says the
    /// same within the last few heartbeats, and this copy is a complete prefix that was in sync. An empty one, or one that ends
    /// before the epoch that was last served, is of another disk: it would say of files that they do not exist, and clients would
    /// throw their handles away.
    fn decide_read_only(&mut self, core: &mut Core, now: Now) {
        let allowed = core.state().is_some_and(|state| {
            state.without_primary == WithoutPrimary::ServeReads
                && state.in_sync.contains_key(&core.me.node)
                && first_in_line(core, now)
        });
        let served = core.state().map_or(Epoch(0), |state| state.served_epoch);
        let holds = |volume: &mainstay_volume::Volume| {
            let last = volume.last();
            last.position > Position(0) && last.epoch >= served || planted(Bug::ServeEmpty)
        };
        let prefix = |volume: &mainstay_volume::Volume| volume.complete() && volume.resync_cursor().is_none() && holds(volume);
        let prefix = core.volume.as_ref().is_some_and(prefix);
        let mode = if allowed && prefix && no_primary_can_serve(core, now) { ServeMode::ReadOnly } else { ServeMode::Closed };
        core.serve(mode);
        if mode == ServeMode::Closed {
            self.abandon(core);
        }
    }

    pub fn on_client(&mut self, core: &mut Core, ticket: u64, request: ClientRequest, now: Now) {
        let reads = !request.request.changes() && !matches!(request.request, FileRequest::Commit { .. });
        let (ServeMode::ReadOnly, Some(volume)) = (core.serve, core.volume.as_mut()) else {
            core.out.push(Effect::Reply { ticket, result: Err(FileError::TryLater.into()) });
            return;
        };
        mark(if reads { "secondary: read without a primary" } else { "secondary: write without a primary waits" });
        if !reads {
            return self.hold(core, ticket, request);
        }
        match volume.execute(now.wall, self.epoch, &request) {
            Outcome::Done { result, .. } => core.out.push(Effect::Reply { ticket, result }),
            Outcome::Read { ticket: read, .. } => {
                self.reading.insert(read, ticket);
            }
        }
    }

    pub fn on_read(&mut self, core: &mut Core, read: u64, result: FileResult) {
        if let Some(ticket) = self.reading.remove(&read) {
            core.out.push(Effect::Reply { ticket, result });
        }
    }

    /// "Try later" would be wrong: the client asks again under another number, and if the old primary did execute this request,
    /// the duplicate request cache could not know it again. So it waits, or the connection is reset and the same number comes
    /// again.
    fn hold(&mut self, core: &mut Core, ticket: u64, request: ClientRequest) {
        if planted(Bug::TryLaterToRepeated) {
            core.out.push(Effect::Reply { ticket, result: Err(FileError::TryLater.into()) });
        } else if self.held.len() < HELD_MAX {
            self.held.push_back((ticket, request));
        } else {
            core.out.push(Effect::Abandon { ticket });
        }
    }

    pub fn abandon(&mut self, core: &mut Core) {
        let reading = std::mem::take(&mut self.reading).into_values();
        let held = std::mem::take(&mut self.held).into_iter().map(|(ticket, _)| ticket);
        core.out.extend(reading.chain(held).map(|ticket| Effect::Abandon { ticket }));
    }

    pub fn hand_over(&mut self) -> Inherited {
        if !self.held.is_empty() {
            mark("secondary: what waits is handed over");
        }
        Inherited { reading: std::mem::take(&mut self.reading), held: std::mem::take(&mut self.held) }
    }

    // ---- time ------------------------------------------------------------------------------------------------------------------------

    pub fn poll(&mut self, core: &mut Core, now: Now) {
        if core.failed.is_some() {
            return;
        }
        self.retry_pending(core);
        self.send_acknowledgement(core);
        self.say_hello(core, now);
        self.drive_resync(core, now);
        self.decide_read_only(core, now);
    }

    pub fn next_timer(&self, core: &Core, now: Now) -> Mono {
        now.mono.after_ms(core.timing.retry_ms)
    }
}

/// The fields of [`PeerMessage::Append`].
#[derive(Clone, Copy, Debug)]
pub struct Append {
    pub epoch: Epoch,
    pub stream: StreamId,
    pub after: LogPoint,
    pub count: u32,
    pub commit: Position,
    pub commit_durable: Position,
    pub sync_to: Position,
}

fn decode_records(payload: Vec<Bytes>, count: u32) -> Option<Vec<Record>> {
    let mut bytes = match <[Bytes; 1]>::try_from(payload) {
        Ok([one]) => one,
        // In the simulator the parts arrive as they were sent.
        Err(parts) => Bytes::from(parts.concat()),
    };
    let mut records = Vec::new();
    for _ in 0..count {
        records.push(Record::decode(&mut bytes).ok()?);
    }
    bytes.is_empty().then_some(records)
}

/// Of the in-sync members that are heard and hold a whole copy, the one with the lowest id acts for all: proposes, and serves reads.
pub fn first_in_line(core: &Core, now: Now) -> bool {
    let Some(state) = core.state() else { return false };
    let reigning = state.reign.as_ref().map(|reign| reign.node);
    let before_me = state.in_sync.keys().filter(|node| **node < core.me.node && Some(**node) != reigning);
    let heard = |node: &NodeId| core.contacts.silent_ms(*node, now.mono).is_some_and(|ms| ms < core.timing.lease_ms);
    // One that stops acts for nobody any more, however long its process lingers; nor does one whose disk failed, which lives on as a
    // voter.
    !before_me.into_iter().any(|node| heard(node) && !core.leaves(*node) && !says_unfit(core, *node))
}

/// By its own last word its copy is of no use: its disk failed, or was lost, or the copy is being made again.
fn says_unfit(core: &Core, node: NodeId) -> bool {
    let served = core.state().map_or(Epoch(0), |state| state.served_epoch);
    let unfit = core
        .contacts
        .get(node)
        .and_then(|contact| contact.said.as_ref())
        .is_some_and(|said| said.health.failed || !said.complete || said.last.epoch < served);
    if unfit {
        mark("secondary: a member without a whole copy is passed over");
    }
    unfit && !planted(Bug::WaitForFailed)
}

/// This node and enough others to make a majority hold no live promise to any primary.
pub fn no_primary_can_serve(core: &Core, now: Now) -> bool {
    let fresh_ms = 3 * core.timing.heartbeat_ms;
    let idle = |node: &NodeId| {
        let said = core.contacts.get(*node).and_then(|contact| contact.said.as_ref());
        // One that knows a newer epoch shows that this view is old.
        said.is_some_and(|said| said.idle && said.epoch <= core.view_epoch() && now.mono.ms_since(said.at) < fresh_ms)
    };
    let others = core.view.voters().filter(|node| *node != core.me.node && idle(node)).count();
    core.promise.lapsed(now.mono) && others + 1 >= core.view.majority()
}
