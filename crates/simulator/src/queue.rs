//! What happens next: a heap ordered by simulated time, then by the order in which things were scheduled.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Nanoseconds since the run began: the time that no node can see.
pub type Time = u64;

pub const MICROSECOND: Time = 1_000;
pub const MILLISECOND: Time = 1_000_000;
pub const SECOND: Time = 1_000_000_000;

struct Entry<E> {
    at: Time,
    sequence: u64,
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl<E> Eq for Entry<E> {}
impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<E> Ord for Entry<E> {
    // Reversed: the heap gives its greatest first, the simulation wants the earliest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

/// The simulated clock and everything that is going to happen.
pub struct Queue<E> {
    now: Time,
    sequence: u64,
    heap: BinaryHeap<Entry<E>>,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Queue { now: 0, sequence: 0, heap: BinaryHeap::new() }
    }
}

impl<E> Queue<E> {
    pub fn now(&self) -> Time {
        self.now
    }

    /// Schedules `event`; a time that has passed means now.
    pub fn at(&mut self, at: Time, event: E) {
        self.sequence += 1;
        self.heap.push(Entry { at: at.max(self.now), sequence: self.sequence, event });
    }

    pub fn after(&mut self, delay: Time, event: E) {
        self.at(self.now + delay, event);
    }

    /// The next event, unless it lies after `until`; the clock moves to it.
    pub fn pop(&mut self, until: Time) -> Option<E> {
        if self.heap.peek()?.at > until {
            return None;
        }
        let entry = self.heap.pop()?;
        assert!(entry.at >= self.now, "time went back");
        self.now = entry.at;
        Some(entry.event)
    }

    /// Everything that waits, with its time, in no order.
    pub fn waiting(&self) -> impl Iterator<Item = (Time, &E)> {
        self.heap.iter().map(|entry| (entry.at, &entry.event))
    }

    pub fn len(&self) -> usize {
        self.heap.len()
    }
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_then_by_order_of_scheduling() {
        let mut queue = Queue::default();
        queue.at(5, 'b');
        queue.at(3, 'a');
        queue.at(5, 'c');
        assert_eq!(queue.pop(4), Some('a'));
        assert_eq!((queue.pop(4), queue.now()), (None, 3));
        queue.at(1, 'n');
        assert_eq!([queue.pop(9), queue.pop(9), queue.pop(9), queue.pop(9)], [Some('n'), Some('b'), Some('c'), None]);
        assert_eq!(queue.now(), 5);
    }
}
