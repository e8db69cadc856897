//! What is known to be damaged on this disk and not mended yet: asked for again from time to time, for the other copy may have
//! been away, and said to everybody, so that nobody takes this copy for a sound one.

use crate::place::{Place, StoredExtent};
use mainstay_protocol::{Mono, Position};
use std::collections::BTreeMap;

/// Runs that are remembered; what is damaged beyond that is found again by reading it or by the scrub.
pub(crate) const REMEMBERED_MAX: usize = 1_024;
/// Between two tries to mend what is remembered.
const RETRY_MS: u64 = 20_000;
/// Runs per try.
const RETRIED_MAX: usize = 32;

/// A run of a file's data that could not be read as it was written.
pub(crate) type Run = (u64, StoredExtent);

#[derive(Debug, Default)]
pub(crate) struct Damaged {
    /// By where it is stored.
    runs: BTreeMap<(Place, u32), Run>,
    /// The last one that was tried.
    tried: (Place, u32),
    retry_at: Mono,
}

impl Damaged {
    pub fn remember(&mut self, run: Run) {
        if self.runs.len() < REMEMBERED_MAX {
            self.runs.insert((run.1.place, run.1.payload_offset), run);
        }
    }

    /// `extent` was read as it should be, or was written again elsewhere.
    pub fn forget(&mut self, extent: &StoredExtent) {
        let from = extent.payload_offset;
        let inside: Vec<(Place, u32)> =
            self.runs.range((extent.place, from)..(extent.place, from + extent.len)).map(|(key, _)| *key).collect();
        inside.iter().for_each(|key| {
            self.runs.remove(key);
        });
    }

    /// The newest record of which something is remembered, if it is newer than `last`.
    pub fn newest_behind(&self, last: Position) -> Option<Position> {
        self.runs.values().map(|(_, extent)| extent.position).max().filter(|newest| *newest > last)
    }

    pub fn len(&self) -> usize {
        self.runs.len()
    }

    /// Runs to try again now, a few at a time, in turn.
    pub fn due(&mut self, now: Mono) -> Vec<Run> {
        if self.runs.is_empty() || now < self.retry_at {
            return Vec::new();
        }
        self.retry_at = now.after_ms(RETRY_MS);
        let behind = self.runs.range((std::ops::Bound::Excluded(self.tried), std::ops::Bound::Unbounded));
        let due: Vec<((Place, u32), Run)> =
            behind.chain(self.runs.range(..=self.tried)).take(RETRIED_MAX).map(|(key, run)| (*key, *run)).collect();
        self.tried = due.last().map_or(self.tried, |(key, _)| *key);
        due.into_iter().map(|(_, run)| run).collect()
    }
}
