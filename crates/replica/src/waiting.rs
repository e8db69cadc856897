//! Answers that wait until what they depend on is committed.

use mainstay_protocol::{FileResult, Position};
use std::collections::BTreeMap;

/// Two queues ordered by position: one waits for *received by every in-sync replica*, one for *durable on every one*.
#[derive(Debug, Default)]
pub struct Waiting {
    received: BTreeMap<(Position, u64), Answer>,
    durable: BTreeMap<(Position, u64), Answer>,
    sequence: u64,
}

#[derive(Debug)]
pub struct Answer {
    pub ticket: u64,
    pub result: FileResult,
}

impl Waiting {
    pub fn add(&mut self, at: Position, durable: bool, answer: Answer) {
        self.sequence += 1;
        let queue = if durable { &mut self.durable } else { &mut self.received };
        queue.insert((at, self.sequence), answer);
    }

    pub fn len(&self) -> usize {
        self.received.len() + self.durable.len()
    }

    /// Takes every answer whose condition holds now.
    pub fn release(&mut self, commit: Position, commit_durable: Position, mut reply: impl FnMut(Answer)) {
        for (queue, reached) in [(&mut self.received, commit), (&mut self.durable, commit_durable)] {
            while let Some(entry) = queue.first_entry() {
                if entry.key().0 > reached {
                    break;
                }
                reply(entry.remove());
            }
        }
    }

    pub fn drain(&mut self) -> impl Iterator<Item = Answer> + use<> {
        let received = std::mem::take(&mut self.received);
        let durable = std::mem::take(&mut self.durable);
        received.into_values().chain(durable.into_values())
    }
}
