//! What the volume does by itself: checkpoints, segments prepared and recycled, retention, compaction, scrub.

use super::reads::Purpose;
use super::{Volume, VolumeEvent};
use crate::compact::{Budget, COPY_BYTES, Candidate, Compaction, LOOKUPS_MAX, ListJob, Listed, choose};
use crate::disk::Space;
use crate::effects::{BackgroundJob, Digested, DiskEffect};
use crate::log::NoRoom;
use crate::log::segments::{GiveUpDone, Need, Segments};
use crate::options::{Options, Stats};
use crate::place::{SegmentId, StoredExtent};
use crate::scrub::Scrub;
use crate::view::{CheckpointDone, CheckpointJob, View, ViewError};
use mainstay_protocol::planted::{Bug, planted};
use mainstay_protocol::{LogPoint, Mono, Now, Position};
use std::collections::{BTreeSet, VecDeque};

/// Between ticks while there is work in portions.
const BUSY_TICK_MS: u64 = 50;
/// Between ticks otherwise.
const IDLE_TICK_MS: u64 = 500;
/// How often a full disk is looked at again.
const SPACE_RETRY_MS: u64 = 1_000;
/// A checkpoint begins at this many rows in memory, however few bytes of log they are.
const CHECKPOINT_ROWS_MAX: usize = 250_000;
/// Rows in memory from which on changes that add something are refused while the view's file waits for room.
const WAITING_ROWS_MAX: usize = 50_000;
/// Runs of removed files taken out of the view per tick.
const RECLAIM_RUNS: usize = 1_024;
/// How often all segments are looked through for one to compact, when there was none.
const CHOOSE_MS: u64 = 2_000;
/// Live share below which segments are compacted when there is no room otherwise, in percent.
const PRESSED_PERCENT: u32 = 97;

/// The overlay that was set aside.
struct Frozen {
    point: LogPoint,
    /// It may be written when the log is synced through this write, which everything in it points at or before.
    through: u64,
    /// Set aside during a walk of a resync by change.
    walking: bool,
    /// Segments that hold live data in it.
    live: BTreeSet<SegmentId>,
}

pub(super) struct Upkeep {
    now: Mono,
    started: bool,
    frozen: Option<Frozen>,
    bytes_since: u64,
    checkpoint_at: Mono,
    /// The view's file needs more room than there is: the checkpoint is tried again then.
    view_full_until: Option<Mono>,
    /// Segments with live data in the view's file: a restart needs them.
    checkpointed_live: BTreeSet<SegmentId>,
    /// Position whose digest is wanted when the checkpoint of exactly that point is written.
    digest_at: Option<Position>,
    pub compaction: Compaction,
    chosen_at: Mono,
    /// There is no room, but compaction is making some.
    pub giving_back: bool,
    budget: Budget,
    /// A copy could not be put anywhere.
    pub found_no_room: bool,
    /// Segments that could not be emptied: not tried again until the volume is opened again.
    skipped: BTreeSet<SegmentId>,
    pub scrub: Scrub,
    reclaiming: bool,
    space_looked_at: Mono,
    looking_at_space: bool,
    pub capacity_bytes: u64,
    pub compacted_bytes: u64,
    pub quarantined_bytes: u64,
    pub erased_bytes: u64,
    checkpoints: u64,
    pub opened_at: Position,
}

impl Upkeep {
    pub fn new(options: &Options, opened_at: Position, checkpointed_live: BTreeSet<SegmentId>) -> Upkeep {
        Upkeep {
            now: Mono::ZERO,
            started: false,
            frozen: None,
            bytes_since: 0,
            checkpoint_at: Mono::ZERO,
            view_full_until: None,
            checkpointed_live,
            digest_at: None,
            compaction: Compaction::Idle,
            chosen_at: Mono::ZERO,
            giving_back: false,
            budget: Budget::new(options.compact_bytes_per_s),
            found_no_room: false,
            skipped: BTreeSet::new(),
            scrub: Scrub::new(options),
            reclaiming: true,
            space_looked_at: Mono::ZERO,
            looking_at_space: false,
            capacity_bytes: 0,
            compacted_bytes: 0,
            quarantined_bytes: 0,
            erased_bytes: 0,
            checkpoints: 0,
            opened_at,
        }
    }

    pub fn appended(&mut self, bytes: u64) {
        self.bytes_since += bytes;
    }

    /// Whether the overlay that is set aside is the end of the walk: `base`, where the log begins anew.
    pub fn set_aside_at(&self, base: LogPoint) -> bool {
        self.frozen.as_ref().is_some_and(|frozen| !frozen.walking && frozen.point == base)
    }

    pub fn checkpoint_due(&self, options: &Options, rows: usize) -> bool {
        self.bytes_since >= options.checkpoint_bytes || rows >= CHECKPOINT_ROWS_MAX
    }

    /// The capacity is looked up with every request, so it is kept.
    pub fn look_at(&mut self, segments: &Segments) {
        self.capacity_bytes = segments.capacity();
    }

    /// After a roll-back: what was set aside may be gone.
    pub fn forget_frozen(&mut self, view: &View) {
        self.frozen = self.frozen.take().filter(|frozen| view.frozen() == Some(frozen.point));
        self.digest_at = self.digest_at.filter(|at| view.frozen().is_some_and(|point| point.position == *at));
    }

    /// The disk is so full that the view's file cannot grow.
    pub fn view_waits(&self) -> bool {
        self.view_full_until.is_some()
    }

    pub fn count(&self, stats: &mut Stats) {
        stats.checkpoints = self.checkpoints;
        stats.view_waits_for_space = self.view_waits();
        stats.compacted_bytes = self.compacted_bytes;
        stats.scrubbed_bytes = self.scrub.bytes;
        stats.scrubs = self.scrub.passes;
        stats.quarantined_bytes = self.quarantined_bytes;
        stats.erased_bytes = self.erased_bytes;
    }
}

impl Volume {
    /// Time passes: whatever is due.
    pub fn tick(&mut self, now: Now) {
        let elapsed_ms = if self.upkeep.started { now.mono.ms_since(self.upkeep.now) } else { 0 };
        if !self.upkeep.started {
            (self.upkeep.started, self.upkeep.checkpoint_at) = (true, now.mono);
        }
        self.upkeep.now = now.mono;
        if self.failed.is_some() {
            return;
        }
        if let Err(error) = self.upkeep_step(elapsed_ms) {
            self.fail_view(&error);
        }
    }

    fn upkeep_step(&mut self, elapsed_ms: u64) -> Result<(), ViewError> {
        let now = self.upkeep.now;
        if now.ms_since(self.upkeep.checkpoint_at) >= self.options.checkpoint_ms {
            self.freeze();
        }
        self.write_checkpoint();
        if !self.walking() {
            self.log_continues();
        }
        self.log.mark_when_idle();
        self.upkeep.reclaiming = self.view.reclaim(RECLAIM_RUNS)?;
        self.look_for_space();
        self.log.retire(self.retention(), self.view.base().point.position);
        self.prepare();
        self.upkeep.look_at(&self.log.segments);
        self.compact(elapsed_ms)?;
        if let Some(portion) = self.upkeep.scrub.next(&self.view, now, elapsed_ms)? {
            self.read_stored(Purpose::Scrub, &portion);
        }
        self.mend_again(now)
    }

    /// When [`Volume::tick`] is wanted next, at the latest.
    pub fn next_timer(&self) -> Mono {
        if self.failed.is_some() {
            return Mono(u64::MAX);
        }
        let upkeep = &self.upkeep;
        let busy = upkeep.reclaiming || upkeep.compaction.segment().is_some() || upkeep.scrub.active(upkeep.now);
        upkeep.now.after_ms(if busy { BUSY_TICK_MS } else { IDLE_TICK_MS.min(self.options.checkpoint_ms.max(1)) })
    }

    /// Reads everything live again, from now on rather than when the pause is over.
    pub fn scrub_now(&mut self) {
        self.upkeep.scrub.start_now();
    }

    // ---- checkpoints -----------------------------------------------------------------------------------------------------

    /// Sets the overlay aside, when there is anything in it.
    pub(super) fn freeze(&mut self) -> bool {
        self.upkeep.checkpoint_at = self.upkeep.now;
        let base = self.view.base();
        let stands = self.view.point() == base.point && self.view.resync() == base.resync.as_ref();
        let changed = self.view.overlay_rows() > 0 || !stands || self.walking();
        if self.view.frozen().is_some() || !changed || !self.view.freeze(self.view.point()) {
            return false;
        }
        let through = self.log.queued();
        self.log.want_sync_of(through);
        self.upkeep.bytes_since = 0;
        let live = self.view.segments().keys().copied().collect();
        self.upkeep.frozen = Some(Frozen { point: self.view.point(), through, live, walking: self.walking() });
        self.write_checkpoint();
        true
    }

    /// A digest is of exactly one position, so the overlay is set aside right there. When one is set aside already there is no
    /// digest: whoever asked asks again.
    pub(super) fn freeze_for_digest(&mut self, position: Position) {
        if self.freeze() {
            self.upkeep.digest_at = Some(position);
        }
    }

    /// Writes the frozen overlay once everything in it is committed, and on the local disk what it points at.
    pub(super) fn write_checkpoint(&mut self) {
        let Some(frozen) = &self.upkeep.frozen else { return };
        if self.upkeep.view_full_until.is_some_and(|until| self.upkeep.now < until) {
            return;
        }
        // During a walk the copy is no prefix, and all that comes in is committed where it comes from.
        let committed = frozen.walking || frozen.point.position <= self.committed;
        let ready = committed && frozen.through <= self.log.synced_through();
        if ready && let Some(job) = self.view.checkpoint_job() {
            self.effects.push_back(DiskEffect::Checkpoint(job));
        }
    }

    /// The disk is full: the file stands at the checkpoint before, and this one is tried again. A segment prepared ahead is
    /// given up for it, for nothing else gives room back before the checkpoint is written.
    pub(super) fn checkpoint_postponed(&mut self, job: CheckpointJob) {
        self.view.checkpoint_postponed(job);
        self.upkeep.view_full_until = Some(self.upkeep.now.after_ms(SPACE_RETRY_MS));
        self.log.segments.view_waits(true);
        if let Some(job) = self.log.segments.give_up() {
            self.effects.push_back(DiskEffect::Background(BackgroundJob::GiveUp(job)));
        }
    }

    pub(super) fn given_up(&mut self, done: GiveUpDone) {
        self.log.segments.given_up(&done);
        self.upkeep.look_at(&self.log.segments);
        if self.upkeep.view_full_until.is_some() {
            self.upkeep.view_full_until = Some(self.upkeep.now);
            self.write_checkpoint();
        }
    }

    /// What no checkpoint can take stays in memory, so while the view's file waits for room only so much of it is accepted.
    pub(super) fn view_room(&self, need: Need) -> Result<(), NoRoom> {
        let rows_max = match need {
            _ if self.upkeep.view_full_until.is_none() => return Ok(()),
            Need::Ordinary => WAITING_ROWS_MAX,
            Need::Privileged | Need::Upkeep => 4 * WAITING_ROWS_MAX,
        };
        if self.view.overlay_rows() < rows_max { Ok(()) } else { Err(NoRoom::Full) }
    }

    pub(super) fn checkpoint_done(&mut self, done: CheckpointDone) {
        let point = done.point();
        self.upkeep.view_full_until = None;
        self.log.segments.view_waits(false);
        let garbage = self.view.checkpoint_done(done);
        self.effects.push_back(DiskEffect::Background(BackgroundJob::Free(garbage)));
        if let Some(frozen) = self.upkeep.frozen.take() {
            self.upkeep.checkpointed_live = frozen.live;
        }
        self.upkeep.checkpoints += 1;
        self.release_hold(point);
        // The one that was on its way when a walk ended kept the walk's end from being set aside.
        if self.hold.is_some() && !self.walking() && self.log_continues() {
            self.base_set_aside();
        }
        self.events.push_back(VolumeEvent::Checkpointed(point.position));
        if self.upkeep.digest_at.take_if(|at| *at == point.position).is_some() {
            self.start_digest(point.position);
        }
        self.log.retire(self.retention(), point.position);
        self.prepare();
    }

    fn start_digest(&mut self, position: Position) {
        if let Some(job) = self.view.digest_job() {
            debug_assert_eq!(job.point().position, position);
            self.effects.push_back(DiskEffect::Background(BackgroundJob::Digest(job)));
        }
    }

    pub(super) fn digest_done(&mut self, result: Result<Digested, ViewError>) {
        match result {
            Ok(Digested::More(job)) => self.effects.push_back(DiskEffect::Background(BackgroundJob::Digest(job))),
            Ok(Digested::Done(position, digest)) => self.events.push_back(VolumeEvent::Digest { position, digest }),
            Err(error) => drop(self.fail_view(&error)),
        }
    }

    // ---- segments --------------------------------------------------------------------------------------------------------

    /// When no more segments can be made, the log is kept only as long as the volume itself needs it.
    fn retention(&self) -> u64 {
        if self.log.segments.pressed() { 0 } else { self.options.retain_bytes }
    }

    /// Makes the next prepared segment, if one is wanted: out of a dead one, or else a new file.
    pub(super) fn prepare(&mut self) {
        if !self.log.segments.wants_more() {
            return;
        }
        let dead = self.dead_segment();
        if let Some(job) = self.log.segments.prepare(dead) {
            self.effects.push_back(DiskEffect::Background(BackgroundJob::Prepare(job)));
        }
    }

    /// A segment that holds nothing: neither in memory nor in the view's file, and no read is under way in it.
    fn dead_segment(&self) -> Option<SegmentId> {
        if self.hold.is_some() {
            return None;
        }
        let dead = |id: &SegmentId| {
            self.view.live_bytes(*id) == 0
                && (!self.upkeep.checkpointed_live.contains(id) || planted(Bug::RecycleLive))
                && !self.upkeep.frozen.as_ref().is_some_and(|frozen| frozen.live.contains(id))
                && !self.reads.is_busy(*id)
                && self.upkeep.compaction.segment() != Some(*id)
        };
        self.log.closed().map(|(id, _, _)| id).find(dead)
    }

    fn look_for_space(&mut self) {
        let due = self.upkeep.now.ms_since(self.upkeep.space_looked_at) >= SPACE_RETRY_MS;
        if due && self.log.segments.pressed() && !self.upkeep.looking_at_space {
            self.upkeep.looking_at_space = true;
            self.upkeep.space_looked_at = self.upkeep.now;
            self.effects.push_back(DiskEffect::Background(BackgroundJob::LookAtSpace));
        }
    }

    pub(super) fn space_seen(&mut self, space: Option<Space>) {
        self.upkeep.looking_at_space = false;
        if let Some(space) = space {
            self.log.segments.looked_at_space(space);
            self.upkeep.look_at(&self.log.segments);
            self.prepare();
        }
    }

    // ---- compaction ------------------------------------------------------------------------------------------------------

    fn compact(&mut self, elapsed_ms: u64) -> Result<(), ViewError> {
        self.upkeep.budget.pass(elapsed_ms);
        match &mut self.upkeep.compaction {
            Compaction::Listing(_) | Compaction::Copying { reading: true, .. } => Ok(()),
            Compaction::Idle => {
                let due = self.upkeep.now.ms_since(self.upkeep.chosen_at) >= CHOOSE_MS || self.log.segments.pressed();
                if due {
                    self.choose_segment();
                }
                Ok(())
            }
            Compaction::Copying { segment, left, .. } => {
                // Under pressure clients wait for what compaction gives back: then it is not held back.
                if !self.upkeep.budget.ready() && !self.log.segments.pressed() {
                    return Ok(());
                }
                let (segment, mut left) = (*segment, std::mem::take(left));
                let portion = self.live_portion(segment, &mut left)?;
                self.copy(segment, left, portion);
                Ok(())
            }
        }
    }

    /// Whether packing nearly full segments gives back one at least. The ends of segments stay empty, because runs are moved
    /// whole: without this, the same data would be moved round and round, and clients told to come later for ever.
    fn worth_packing(&self) -> bool {
        let dead: u64 = self.log.closed().map(|(id, bytes, _)| bytes.saturating_sub(self.view.live_bytes(id))).sum();
        dead >= 2 * self.options.segment_bytes
    }

    /// Whether all that lives in a segment can be moved, with some to spare: half of it moved would give nothing back. While the
    /// view waits for room its checkpoint comes first, for without one no emptied segment can be used again.
    fn can_empty(&self, segment: SegmentId) -> bool {
        let live = self.view.live_bytes(segment);
        self.upkeep.view_full_until.is_none() && self.log.fragment_room((live + live / 16 + COPY_BYTES) as usize)
    }

    fn choose_segment(&mut self) {
        self.upkeep.chosen_at = self.upkeep.now;
        let pressed = self.log.segments.pressed();
        // One after the other when there is no room: what was emptied counts only with the next checkpoint.
        self.upkeep.giving_back = pressed && self.awaits_checkpoint() && self.upkeep.view_full_until.is_none();
        if self.upkeep.giving_back {
            self.freeze();
            return;
        }
        if self.walking() {
            return;
        }
        let percent = if pressed && self.worth_packing() { PRESSED_PERCENT } else { self.options.compact_below_percent };
        let closed = self.log.closed().filter(|(id, _, _)| !self.upkeep.skipped.contains(id));
        let chosen = choose(closed, |id| self.view.live_bytes(id), percent).filter(|segment| self.can_empty(*segment));
        if let Some(segment) = chosen {
            // When this one is done, the next is looked for at once.
            self.upkeep.chosen_at = Mono::ZERO;
            self.upkeep.giving_back = pressed;
            self.upkeep.compaction = Compaction::Listing(segment);
            self.effects.push_back(DiskEffect::Background(BackgroundJob::List(ListJob { segment })));
        }
    }

    /// Whether a segment holds nothing any more, but a restart would still look into it.
    fn awaits_checkpoint(&self) -> bool {
        self.log.closed().any(|(id, _, _)| self.view.live_bytes(id) == 0 && self.upkeep.checkpointed_live.contains(&id))
    }

    pub(super) fn listed(&mut self, listed: Listed) {
        let segment = listed.segment;
        self.upkeep.compaction = match listed.result {
            Ok(left) => Compaction::Copying { segment, left, reading: false },
            // The scrub finds and repairs what is wrong with it, block by block.
            Err(_) => {
                self.upkeep.skipped.insert(segment);
                Compaction::Idle
            }
        };
    }

    /// The next candidates that are live, about [`COPY_BYTES`] of them.
    fn live_portion(&self, segment: SegmentId, left: &mut VecDeque<Candidate>) -> Result<Vec<(u64, StoredExtent)>, ViewError> {
        let (mut portion, mut bytes) = (Vec::new(), 0);
        for _ in 0..LOOKUPS_MAX {
            let Some(Candidate { inode, extent }) = left.pop_front() else { break };
            for run in self.view.extents_in(inode, extent.offset, extent.end())? {
                let live = run.place == extent.place && run.position == extent.position;
                // A run lies whole inside the extent that it came from, so runs are moved whole: replicas compare them.
                if live && run.offset >= extent.offset && run.end() <= extent.end() {
                    bytes += run.len as u64;
                    portion.push((inode, run));
                }
            }
            if bytes >= COPY_BYTES {
                break;
            }
        }
        debug_assert!(portion.iter().all(|(_, part)| part.place.segment == segment));
        Ok(portion)
    }

    fn copy(&mut self, segment: SegmentId, left: VecDeque<Candidate>, portion: Vec<(u64, StoredExtent)>) {
        if !portion.is_empty() {
            self.upkeep.budget.spend(portion.iter().map(|(_, part)| part.len as u64).sum());
            self.upkeep.compaction = Compaction::Copying { segment, left, reading: true };
            self.read_stored(Purpose::Compact, &portion);
            return;
        }
        if !left.is_empty() {
            self.upkeep.compaction = Compaction::Copying { segment, left, reading: false };
            return;
        }
        self.upkeep.compaction = Compaction::Idle;
        // For want of room is no reason to leave it for ever.
        if !std::mem::take(&mut self.upkeep.found_no_room) && self.view.live_bytes(segment) > 0 {
            self.upkeep.skipped.insert(segment);
        }
    }
}
