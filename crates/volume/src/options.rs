//! Settings of one volume, with their bounds, and the figures it reports.

use crate::error::OpenError;
use mainstay_protocol::limits::{BLOCK_BYTES, BODY_BYTES_MAX, PAYLOAD_BYTES_MAX};
use mainstay_protocol::record::HEADER_BYTES;
use mainstay_protocol::{LogPoint, Position};

/// Smallest segment: one record of the largest size, the header, a mark, and as much again.
pub const SEGMENT_BYTES_MIN: u64 = 2 << 20;
/// Largest segment: offsets in it are 32 bits wide.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// Largest record on disk.
pub const RECORD_BYTES_MAX: usize = HEADER_BYTES + BODY_BYTES_MAX + 4 * (PAYLOAD_BYTES_MAX / BLOCK_BYTES) + PAYLOAD_BYTES_MAX;
/// One each for removals, compaction and the view.
const RESERVE_SEGMENTS_MIN: usize = 1 + crate::log::segments::UPKEEP_SEGMENTS;
const _: () = assert!(RECORD_BYTES_MAX as u64 + crate::segment::SEGMENT_HEADER_BYTES as u64 + 4096 < SEGMENT_BYTES_MIN);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Size of every segment file made from now on; existing ones keep theirs.
    pub segment_bytes: u64,
    /// Segment bytes of log kept for secondaries that come back.
    pub retain_bytes: u64,
    /// Most bytes of segments; `None`: what the disk gives.
    pub capacity_bytes: Option<u64>,
    /// Kept for the view, compaction, removals and the first record of an epoch, so that a full volume can be emptied. At least
    /// three segments are kept whatever is set.
    pub reserve_bytes: u64,
    /// Segments prepared ahead of need, beyond the reserve.
    pub prepared_segments: u32,
    /// Newest records kept in memory.
    pub tail_cache_bytes: u64,
    /// How long first answers to requests are kept (NFS.md, "duplicate request cache").
    pub reply_keep_ms: u64,
    pub reply_bytes_max: u64,
    /// Pages of the view's file kept in memory.
    pub view_cache_bytes: u64,
    /// A checkpoint begins when this many bytes of log lie above the last one…
    pub checkpoint_bytes: u64,
    /// …or this much time passed and there is anything.
    pub checkpoint_ms: u64,
    /// A segment below the retention is compacted when less than this many percent of it are live.
    pub compact_below_percent: u32,
    /// Rate of compaction's copying.
    pub compact_bytes_per_s: u64,
    /// Rate of the scrub's reading; zero: off.
    pub scrub_bytes_per_s: u64,
    /// Pause between two scrubs of everything.
    pub scrub_pause_ms: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            segment_bytes: 64 << 20,
            retain_bytes: 1 << 30,
            capacity_bytes: None,
            reserve_bytes: 128 << 20,
            prepared_segments: 2,
            tail_cache_bytes: 64 << 20,
            reply_keep_ms: 150_000,
            reply_bytes_max: 64 << 20,
            view_cache_bytes: 64 << 20,
            checkpoint_bytes: 64 << 20,
            checkpoint_ms: 5_000,
            compact_below_percent: 60,
            compact_bytes_per_s: 32 << 20,
            scrub_bytes_per_s: 16 << 20,
            scrub_pause_ms: 24 * 3_600_000,
        }
    }
}

impl Options {
    /// Refuses what could not work, naming the setting.
    pub fn check(&self) -> Result<(), OpenError> {
        let refuse = |text: String| Err(OpenError::Options(text));
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes) || !self.segment_bytes.is_multiple_of(4096) {
            return refuse(format!(
                "segment_bytes is {}, must be a multiple of 4096 from {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX}",
                self.segment_bytes
            ));
        }
        if self.compact_below_percent > 95 {
            return refuse(format!("compact_below_percent is {}, must be at most 95", self.compact_below_percent));
        }
        match self.capacity_bytes {
            Some(capacity) if capacity < (self.reserve_segments() as u64 + 2) * self.segment_bytes => refuse(format!(
                "capacity_bytes is {capacity}, must hold the reserve and two more segments ({})",
                (self.reserve_segments() as u64 + 2) * self.segment_bytes
            )),
            _ => Ok(()),
        }
    }

    /// Prepared segments that ordinary changes never take.
    pub fn reserve_segments(&self) -> usize {
        (self.reserve_bytes.div_ceil(self.segment_bytes)).max(RESERVE_SEGMENTS_MIN as u64) as usize
    }
}

/// Figures of one volume for status and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub last: LogPoint,
    pub durable: Position,
    pub checkpoint: Position,
    pub log_start: Position,
    pub complete: bool,
    /// Segment files by use.
    pub segments_log: u64,
    pub segments_fragments: u64,
    pub segments_prepared: u64,
    /// Bytes of all segment files.
    pub segment_bytes: u64,
    /// File data that is part of a file now.
    pub live_bytes: u64,
    /// What clients may still write.
    pub free_bytes: u64,
    pub total_bytes: u64,
    pub inodes: u64,
    /// Appended to the log since opening: on a primary, what clients changed.
    pub appended_bytes: u64,
    /// Bytes queued for the disk and not written yet.
    pub unwritten_bytes: u64,
    /// Rows of the view that no checkpoint has written yet.
    pub overlay_rows: u64,
    pub checkpoints: u64,
    /// The disk is so full that the view's file cannot grow; checkpoints go on when there is room.
    pub view_waits_for_space: bool,
    pub checksum_errors: u64,
    pub repaired: u64,
    pub unrepaired: u64,
    pub compacted_bytes: u64,
    pub scrubbed_bytes: u64,
    /// Whole passes over all live data.
    pub scrubs: u64,
    /// Copied into quarantine files since opening.
    pub quarantined_bytes: u64,
    /// Of an unsynced tail that recovery found.
    pub erased_bytes: u64,
}
