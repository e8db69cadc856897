//! The figures of a run that an operator asks for. Counted in every run.

use crate::queue::{SECOND, Time};
use mainstay_cluster::Rule;
use mainstay_protocol::NodeId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Silences from this length on are outages. A shorter one is how long an operation took: a stock client tells nobody of it.
pub const OUTAGE_MIN: Time = SECOND;

/// What a run cost, from its beginning to the moment when everything was whole again (or something was violated). The final
/// examination, in which the primary is stopped to read the other copy, is not part of it. Times are simulated nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers {
    /// Longest time in which clients wanted to write and none was answered.
    pub outage_ns: Time,
    /// The same for reads; answers that are marked as possibly old count as answers.
    pub read_outage_ns: Time,
    /// Sum of the times in which fewer than two running copies held everything acknowledged.
    pub without_redundancy_ns: Time,
    /// File data between nodes, of every kind and direction.
    pub bytes_moved: u64,
    /// File data that clients asked to be written, every request once.
    pub bytes_changed: u64,
    /// From the last return of a replica (its boot, or its way back into reach) to its being in sync. Zero: none was away.
    pub in_sync_after_ns: Time,
    /// Times that the primary became another, or none.
    pub role_changes: u64,
    /// Grants: epochs after the first.
    pub promotions: u64,
    /// Operations that an application saw fail: given up, or refused by a disk without room.
    pub client_errors: u64,
    /// Operations answered.
    pub operations: u64,
    pub simulated_ns: Time,
    /// Always zero: alerts are not simulated yet.
    pub alerts: u64,
    /// Commands refused, by the rule that refused them.
    pub refusals: BTreeMap<Rule, u64>,
}

impl Numbers {
    /// The longest outage of writes; zero: every silence was shorter than [`OUTAGE_MIN`].
    pub fn outage(&self) -> Time {
        if self.outage_ns >= OUTAGE_MIN { self.outage_ns } else { 0 }
    }
}

/// The longest time in which somebody asked and nobody was answered.
#[derive(Default)]
struct Silence {
    outstanding: u64,
    since: Option<Time>,
    longest: Time,
}

impl Silence {
    fn asked(&mut self, now: Time) {
        self.outstanding += 1;
        self.since.get_or_insert(now);
    }

    /// Some answer came, perhaps one that the client cannot use yet.
    fn broken(&mut self, now: Time) -> Option<(Time, Time)> {
        let from = self.since.take()?;
        self.longest = self.longest.max(now - from);
        self.since = (self.outstanding > 0).then_some(now);
        Some((from, now))
    }

    fn answered(&mut self, now: Time) -> Option<(Time, Time)> {
        self.outstanding = self.outstanding.saturating_sub(1);
        self.broken(now)
    }

    /// Nobody was helped by it: the silence goes on, also when nobody else waits.
    fn given_up(&mut self) {
        self.outstanding = self.outstanding.saturating_sub(1);
    }
}

/// How one replica stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub node: NodeId,
    /// Runs, and holds everything in this boot.
    pub in_sync: bool,
}

#[derive(Default)]
pub(crate) struct Tally {
    pub numbers: Numbers,
    writes: Silence,
    reads: Silence,
    /// Fewer than two copies since then.
    alone_since: Option<Time>,
    /// Since when each replica is not in sync.
    out: BTreeMap<NodeId, Time>,
    /// When each replica could last be reached again.
    returned: BTreeMap<NodeId, Time>,
    /// Both copies have been in sync: before that nothing is missing.
    begun: bool,
    /// What had been moved when the figures began.
    moved_before: u64,
    ended: bool,
}

impl Tally {
    fn silence(&mut self, writes: bool) -> &mut Silence {
        if writes { &mut self.writes } else { &mut self.reads }
    }

    pub fn asked(&mut self, now: Time, writes: bool, bytes: u64) {
        if !self.ended {
            self.numbers.bytes_changed += bytes;
            self.silence(writes).asked(now);
        }
    }

    /// The silence that this answer ended.
    pub fn answered(&mut self, now: Time, writes: bool) -> Option<(Time, Time)> {
        if self.ended {
            return None;
        }
        self.numbers.operations += 1;
        self.silence(writes).answered(now)
    }

    /// A read was answered, marked as possibly old: the client goes on asking.
    pub fn answered_old(&mut self, now: Time) {
        if !self.ended {
            self.reads.broken(now);
        }
    }

    pub fn given_up(&mut self, writes: bool) {
        if !self.ended {
            self.numbers.client_errors += 1;
            self.silence(writes).given_up();
        }
    }

    pub fn refused(&mut self, rule: Rule) {
        if !self.ended {
            *self.numbers.refusals.entry(rule).or_default() += 1;
        }
    }

    pub fn failed(&mut self) {
        self.numbers.client_errors += u64::from(!self.ended);
    }

    pub fn granted(&mut self) {
        self.numbers.promotions += u64::from(!self.ended);
    }

    pub fn primary_changed(&mut self) {
        self.numbers.role_changes += u64::from(!self.ended);
    }

    pub fn returned(&mut self, now: Time, node: NodeId) {
        self.returned.insert(node, now);
    }

    /// Looks at the copies after anything that may have changed them.
    pub fn copies(&mut self, now: Time, standing: [Standing; 2]) {
        let redundant = standing.iter().all(|replica| replica.in_sync);
        self.begun |= redundant;
        if !self.begun || self.ended {
            return;
        }
        if redundant {
            self.numbers.without_redundancy_ns += self.alone_since.take().map_or(0, |since| now - since);
        } else {
            self.alone_since.get_or_insert(now);
        }
        for Standing { node, in_sync } in standing {
            if !in_sync {
                self.out.entry(node).or_insert(now);
            } else if let Some(out) = self.out.remove(&node) {
                let returned = self.returned.get(&node).copied().unwrap_or(0);
                self.numbers.in_sync_after_ns = now - returned.max(out);
            }
        }
    }

    /// Forgets the figures so far. What is still unanswered or missing now counts from now on.
    pub fn restart(&mut self, now: Time, bytes_moved: u64) {
        if self.ended {
            return;
        }
        let refusals = std::mem::take(&mut self.numbers.refusals);
        self.numbers = Numbers { refusals, ..Numbers::default() };
        for silence in [&mut self.writes, &mut self.reads] {
            *silence = Silence { since: (silence.outstanding > 0).then_some(now), longest: 0, outstanding: silence.outstanding };
        }
        self.alone_since = self.alone_since.map(|_| now);
        self.begun = true;
        self.moved_before = bytes_moved;
    }

    /// Since when writes have been asked for and none was answered, if that is so now.
    pub fn writes_unanswered_since(&self) -> Option<Time> {
        self.writes.since.filter(|_| !self.ended)
    }

    /// The story is over; what comes is the final examination.
    pub fn end(&mut self, now: Time, bytes_moved: u64) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let open = |silence: &Silence| silence.longest.max(silence.since.map_or(0, |since| now - since));
        let numbers = &mut self.numbers;
        (numbers.outage_ns, numbers.read_outage_ns) = (open(&self.writes), open(&self.reads));
        numbers.without_redundancy_ns += self.alone_since.take().map_or(0, |since| now - since);
        numbers.bytes_moved = bytes_moved.saturating_sub(self.moved_before);
        numbers.simulated_ns = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_lasts_from_the_first_question_to_the_next_answer() {
        let mut tally = Tally::default();
        tally.asked(10, true, 5);
        tally.asked(12, true, 5);
        assert_eq!(tally.answered(15, true), Some((10, 15)));
        tally.given_up(true);
        // Whoever gave up was not helped.
        tally.asked(40, true, 0);
        assert_eq!(tally.answered(50, true), Some((15, 50)));
        // Nobody asks: that is quiet, no outage.
        tally.asked(1_000, true, 0);
        tally.asked(1_000, false, 0);
        tally.answered_old(1_010);
        tally.end(1_020, 7);
        let Numbers { outage_ns, read_outage_ns, bytes_changed, client_errors, operations, .. } = tally.numbers;
        assert_eq!((outage_ns, read_outage_ns, bytes_changed, client_errors, operations), (35, 10, 10, 1, 2));
    }

    #[test]
    fn figures_that_begin_later_hold_nothing_of_before() {
        let both = |b_in| [Standing { node: NodeId(1), in_sync: true }, Standing { node: NodeId(2), in_sync: b_in }];
        let mut tally = Tally::default();
        tally.copies(0, both(true));
        tally.copies(10, both(false));
        tally.asked(20, true, 5);
        tally.granted();
        tally.restart(100, 40);
        tally.answered(103, true);
        tally.returned(120, NodeId(2));
        tally.copies(130, both(true));
        tally.end(200, 47);
        let Numbers { outage_ns, without_redundancy_ns, in_sync_after_ns, bytes_moved, bytes_changed, promotions, .. } =
            tally.numbers;
        assert_eq!((outage_ns, without_redundancy_ns, in_sync_after_ns), (3, 30, 10));
        assert_eq!((bytes_moved, bytes_changed, promotions), (7, 0, 0));
    }

    #[test]
    fn a_copy_is_missing_from_its_loss_to_its_being_in_sync() {
        let (a, b) = (NodeId(1), NodeId(2));
        let both = |a_in, b_in| [Standing { node: a, in_sync: a_in }, Standing { node: b, in_sync: b_in }];
        let mut tally = Tally::default();
        tally.copies(5, both(false, false));
        tally.copies(10, both(true, true));
        tally.copies(20, both(true, false));
        tally.returned(50, b);
        tally.copies(50, both(true, false));
        tally.copies(60, both(true, true));
        tally.copies(90, both(false, true));
        tally.end(100, 0);
        assert_eq!((tally.numbers.without_redundancy_ns, tally.numbers.in_sync_after_ns), (50, 10));
    }
}
