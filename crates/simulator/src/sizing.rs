//! Rehearsing volumes of many terabytes without storing them.
//!
//! One simulated byte of what changes stands for `scale` real ones, chosen so that all of it fits [`STORED_BYTES`]. Everything
//! that moves such bytes is slower by the same factor (link, disk, throttle, the size of one batch), times stay what they are: so
//! the code under test takes the same decisions, waits as long and reports the same progress. What did not change is not stored
//! at all: nothing ever reads it, which is what is rehearsed. The clients that measure how long somebody waits write a few bytes
//! each, which are what they are and cost nothing; so do messages and metadata. What is scaled is told by its size
//! ([`BULK_BYTES_MIN`]).
//!
//! A real disk or link has somebody's small write done between two pieces of a large one. Here a piece is one of [`CHUNK_BYTES`] times
//! `scale` real bytes, and who comes behind it waits for all of it: that is the grain of a run ([`GRAIN`], twice that behind a
//! batch of a resync), and the most by which a wait in it may be too long. What would be coarser than [`GRAIN_MAX`] is refused, because its verdict would be of the grain.
//!
//! What this cannot see: the walk over the inodes that did not change, compaction and the scrub.

use crate::disk::Crash;
use crate::network::Quality;
use crate::queue::{MILLISECOND, SECOND, Time};
use crate::scenario::{A, Action, B, Plan};
use bytes::Bytes;
use mainstay_protocol::NodeId;
use std::fmt;

/// Simulated bytes that what changes becomes, at least and at most; more for a finer grain.
pub const STORED_BYTES: (u64, u64) = (64 << 20, 512 << 20);
/// Pieces are smaller than the largest when one would keep the disk or the link longer than this.
const GRAIN_FINE: Time = 20 * MILLISECOND;
/// More is stored, so that one byte stands for fewer, when the smallest piece would keep them longer than this; the last batch of a
/// resync is two of them.
pub const GRAIN: Time = 200 * MILLISECOND;
/// A rehearsal is refused when a piece or a batch would keep them longer than this.
pub const GRAIN_MAX: Time = SECOND;
/// Largest volume that can be rehearsed: an exbibyte.
pub const VOLUME_BYTES_MAX: u64 = 1 << 60;
/// Longest time that one part of a rehearsal may take: writing the change, or moving it.
pub const LONGEST: Time = 30 * 24 * 3_600 * SECOND;
/// Most that a story gets longer so that the resync is part of it.
const WATCHED_MAX: Time = 1_800 * SECOND;
/// One write of what changes, at least and at most: large ones are written sooner, by a client that asks one after the other.
const CHUNK_BYTES: (u64, u64) = (1 << 10, 8 << 10);
/// Pieces of data from this length on are part of what changes.
pub const BULK_BYTES_MIN: usize = CHUNK_BYTES.0 as usize / 2;
/// Of one file of what changes.
pub const FILE_BYTES: u64 = 1 << 20;
/// Smallest batch of a resync. Who writes behind the last one, when the copy is in sync, waits for it.
const BATCH_BYTES_MIN: u64 = 2 << 10;
/// Of one read of who looks at everything in the end.
const READ_BYTES_MAX: u64 = 256 << 10;
/// The disk is kept this busy by the change, in percent.
const BUSY_PERCENT: u64 = 50;

/// Sizes and rates of a real cluster, as measured or as planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizing {
    pub volume_bytes: u64,
    /// What clients write while a node is away.
    pub changed_bytes: u64,
    /// Between the two file servers.
    pub link_bytes_per_s: u64,
    /// Of each file server.
    pub disk_bytes_per_s: u64,
    /// Between any two machines.
    pub rtt_ns: Time,
}

/// Why something cannot be rehearsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizingError {
    VolumeTooLarge,
    ChangedMoreThanVolume,
    NothingChanged,
    NoLink,
    NoDisk,
    /// It would take longer than [`LONGEST`].
    TooSlow,
    /// One piece would keep the disk or the link longer than [`GRAIN_MAX`].
    TooCoarse,
}

impl fmt::Display for SizingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SizingError::VolumeTooLarge => "the volume is larger than 1 EiB",
            SizingError::ChangedMoreThanVolume => "more changes than the volume holds",
            SizingError::NothingChanged => "nothing changes",
            SizingError::NoLink => "the link carries nothing",
            SizingError::NoDisk => "the disk writes nothing",
            SizingError::TooSlow => "writing or moving what changes would take more than 30 days",
            SizingError::TooCoarse => {
                "so much changes on so slow a disk or link that waits could not be told any more: give less change, or faster ones"
            }
        })
    }
}

impl std::error::Error for SizingError {}

/// A plan's share of a [`Sizing`], in simulated bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scaled {
    /// Real bytes of one simulated byte.
    pub scale: u64,
    pub link: Quality,
    pub disk_bytes_per_s: u64,
    /// Most file data in one batch of a resync.
    pub batch_bytes: u32,
    /// Most log kept for a secondary that comes back.
    pub retain_bytes: u64,
    /// Most that is read at a time by who looks at everything in the end: what the disk has in a quarter of a second.
    pub read_bytes: u32,
    pub bulk: Bulk,
}

/// What writes the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bulk {
    pub begins: Time,
    /// Between two writes.
    pub interval: Time,
    pub bytes: u64,
    pub chunk_bytes: u64,
}

fn time_of(bytes: u64, per_second: u64) -> Time {
    let ns = bytes as u128 * SECOND as u128 / per_second.max(1) as u128;
    Time::try_from(ns).unwrap_or(Time::MAX)
}

/// What moves in so long.
fn bytes_in(time: Time, per_second: u64) -> u64 {
    let bytes = per_second as u128 * time as u128 / SECOND as u128;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

impl Sizing {
    /// Refuses what cannot be rehearsed; to be called before [`Sizing::fit`].
    pub fn check(&self) -> Result<(), SizingError> {
        let slowest = self.slowest(u64::MAX).min(self.disk_bytes_per_s / 100 * BUSY_PERCENT);
        match self {
            _ if self.volume_bytes > VOLUME_BYTES_MAX => Err(SizingError::VolumeTooLarge),
            _ if self.changed_bytes > self.volume_bytes => Err(SizingError::ChangedMoreThanVolume),
            _ if self.changed_bytes == 0 => Err(SizingError::NothingChanged),
            _ if self.link_bytes_per_s == 0 => Err(SizingError::NoLink),
            _ if self.disk_bytes_per_s == 0 => Err(SizingError::NoDisk),
            _ if time_of(self.changed_bytes, slowest) > LONGEST => Err(SizingError::TooSlow),
            _ if self.grain() > GRAIN_MAX => Err(SizingError::TooCoarse),
            _ => Ok(()),
        }
    }

    /// Real bytes that one simulated byte stands for.
    pub fn scale(&self) -> u64 {
        let (least, most) = STORED_BYTES;
        let fine = bytes_in(GRAIN, self.slowest(u64::MAX)) / CHUNK_BYTES.0;
        fine.clamp(self.changed_bytes.div_ceil(most).max(1), self.changed_bytes.div_ceil(least).max(1))
    }

    /// Simulated bytes of one write of what changes.
    fn chunk_bytes(&self) -> u64 {
        let (least, most) = CHUNK_BYTES;
        (bytes_in(GRAIN_FINE, self.slowest(u64::MAX)) / self.scale()).clamp(least, most)
    }

    /// How long one piece of what changes, or the last batch of a resync, keeps the disk or the link.
    fn grain(&self) -> Time {
        let bytes = self.scale().saturating_mul(self.chunk_bytes().max(BATCH_BYTES_MIN));
        time_of(bytes.min(self.changed_bytes), self.slowest(u64::MAX))
    }

    fn slowest(&self, throttle: u64) -> u64 {
        self.link_bytes_per_s.min(self.disk_bytes_per_s).min(throttle).max(1)
    }

    /// How long moving the change takes at least, nanoseconds.
    pub fn moves_within(&self, throttle_bytes_per_s: u64) -> Time {
        time_of(self.changed_bytes, self.slowest(throttle_bytes_per_s))
    }

    /// The plan at this size. A node that is away stays away until the change is written, and everything after its return comes
    /// as much later; a plan in which nobody leaves gets the change in its first half.
    pub fn fit(&self, mut plan: Plan) -> Plan {
        let (scale, chunk_bytes) = (self.scale(), self.chunk_bytes());
        let writes = (self.changed_bytes / scale).div_ceil(chunk_bytes).max(1);
        let busy = (self.disk_bytes_per_s / 100).saturating_mul(BUSY_PERCENT).max(1);
        let needed = time_of(self.changed_bytes, busy).min(LONGEST);
        let (from, to) = away(&plan).unwrap_or((SECOND, plan.faults_end / 2));
        let to = stretch(&mut plan, from, to, needed);
        let begins = from + (to - from) / 20;
        let interval = (to - begins) * 9 / 10 / writes;
        // What else clients do is to measure with.
        (plan.workers_per_client, plan.register_workers) = (0, plan.clients);
        plan.think = (plan.think.0.max(200 * MILLISECOND), plan.think.1.max(SECOND));
        plan.script.retain(|(_, action)| !matches!(action, Action::Think(..)));
        let moving = self.moves_within(plan.resync_bytes_per_second).min(LONGEST);
        // What happens while a copy catches up is part of the story, as far as anybody would watch it.
        plan.faults_end = plan.faults_end.saturating_add(moving.min(WATCHED_MAX));
        plan.heal_within = plan.heal_within.saturating_add(moving * 3);
        plan.resync_bytes_per_second = (plan.resync_bytes_per_second / scale).max(1);
        plan.sized = Some(Scaled {
            scale,
            link: Quality {
                delay: self.rtt_ns / 2,
                jitter: self.rtt_ns / 10,
                bytes_per_second: (self.link_bytes_per_s / scale).max(1),
                ..Quality::GOOD
            },
            disk_bytes_per_s: (self.disk_bytes_per_s / scale).max(1),
            batch_bytes: ((1 << 20) / scale).max(BATCH_BYTES_MIN) as u32,
            retain_bytes: (1 << 30) / scale,
            read_bytes: (self.disk_bytes_per_s / scale / 4).clamp(chunk_bytes, READ_BYTES_MAX) as u32,
            bulk: Bulk { begins, interval, bytes: self.changed_bytes / scale, chunk_bytes },
        });
        plan
    }
}

impl Scaled {
    /// Bytes of these pieces that stand for more.
    pub fn bulk<'a>(pieces: impl IntoIterator<Item = &'a Bytes>) -> u64 {
        pieces.into_iter().map(Bytes::len).filter(|len| *len >= BULK_BYTES_MIN).map(|len| len as u64).sum()
    }

    /// Real bytes of so many simulated ones, of which `bulk` stand for more.
    pub fn real(&self, bytes: u64, bulk: u64) -> u64 {
        bytes.saturating_sub(bulk).saturating_add(bulk.saturating_mul(self.scale))
    }

    /// How long the disk is busy with so many simulated bytes.
    pub fn disk_time(&self, bytes: u64) -> Time {
        time_of(bytes, self.disk_bytes_per_s)
    }
}

/// The first absence of a file server that ends by its start; if there is none, the first time in which the two are cut apart.
fn away(plan: &Plan) -> Option<(Time, Time)> {
    let leaves = |action: &Action| match action {
        Action::Stop(node) | Action::Crash(node, Crash::Process | Crash::Power) if [A, B].contains(node) => Some(*node),
        _ => None,
    };
    let Some((from, node)) = plan.script.iter().find_map(|(at, action)| Some((*at, leaves(action)?))) else { return apart(plan) };
    let back = |node: NodeId| plan.script.iter().find(|(at, action)| *at > from && *action == Action::Start(node));
    Some((from, back(node)?.0))
}

fn apart(plan: &Plan) -> Option<(Time, Time)> {
    let servers = |one: NodeId, other: NodeId| one != other && [A, B].contains(&one) && [A, B].contains(&other);
    let cut = |action: &Action| matches!(action, Action::CutBoth(one, other) if servers(*one, *other));
    let heals = |action: &Action| match action {
        Action::HealLink(one, other) => servers(*one, *other),
        other => *other == Action::HealLinks,
    };
    let (from, _) = plan.script.iter().find(|(_, action)| cut(action))?;
    let (to, _) = plan.script.iter().find(|(at, action)| at > from && heals(action))?;
    Some((*from, *to))
}

/// Makes `from..to` at least `needed` long; what comes at its end or later comes as much later. Returns the new end.
fn stretch(plan: &mut Plan, from: Time, to: Time, needed: Time) -> Time {
    let more = (needed + 2 * SECOND).saturating_sub(to - from).next_multiple_of(MILLISECOND);
    plan.script.iter_mut().filter(|(at, _)| *at >= to).for_each(|(at, _)| *at += more);
    plan.faults_end += more;
    to + more
}
