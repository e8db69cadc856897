//! What happens next: a heap ordered by simulated time, then by the order in which things were scheduled.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Nanoseconds since the run began: the time that no node can see.
pub type Time = u64;

pub const MICROSECOND: Time = 1_000;
pub const MILLISECOND: Time = 1_000_000;
pub const SECOND: Time = 1_000_000_000;

/// The simulated clock and everything that is going to happen.
///
/// The heap holds times and places only: what happens lies still in its slot, whatever the heap does to stay ordered.
pub struct Queue<E> {
    now: Time,
    sequence: u64,
    /// Time, order of scheduling, slot; the heap gives its greatest first, the simulation wants the earliest.
    heap: BinaryHeap<Reverse<(Time, u64, u32)>>,
    slots: Vec<Option<E>>,
    free: Vec<u32>,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Queue { now: 0, sequence: 0, heap: BinaryHeap::new(), slots: Vec::new(), free: Vec::new() }
    }
}

impl<E> Queue<E> {
    pub fn now(&self) -> Time {
        self.now
    }

    /// Schedules `event`; a time that has passed means now.
    pub fn at(&mut self, at: Time, event: E) {
        self.sequence += 1;
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(event);
                slot
            }
            None => {
                self.slots.push(Some(event));
                u32::try_from(self.slots.len() - 1).expect("memory ends before")
            }
        };
        self.heap.push(Reverse((at.max(self.now), self.sequence, slot)));
    }

    pub fn after(&mut self, delay: Time, event: E) {
        self.at(self.now + delay, event);
    }

    /// The next event, unless it lies after `until`; the clock moves to it.
    pub fn pop(&mut self, until: Time) -> Option<E> {
        if self.heap.peek()?.0.0 > until {
            return None;
        }
        let Reverse((at, _, slot)) = self.heap.pop()?;
        assert!(at >= self.now, "time went back");
        self.now = at;
        self.free.push(slot);
        self.slots[slot as usize].take()
    }

    /// Everything that waits, with its time, in no order.
    pub fn waiting(&self) -> impl Iterator<Item = (Time, &E)> {
        self.heap.iter().filter_map(|Reverse((at, _, slot))| Some((*at, self.slots[*slot as usize].as_ref()?)))
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
