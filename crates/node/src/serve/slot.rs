//! The place of a request that waits for its answer.

use super::Counters;
use super::connection::{CurrentFront, current};
use crate::outlet::{Item, Outlet};
use bytes::Bytes;
use mainstay_nfs::Context;
use mainstay_protocol::FileResult;
use mainstay_protocol::file::FileOk;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::OwnedSemaphorePermit;

/// Replies up to this, together, are written by the volume's own thread when they all go to one connection.
const DIRECT_BYTES_MAX: usize = 64 << 10;
/// About what a directory entry with its attributes takes in a reply.
const ENTRY_BYTES: usize = 256;

/// Memory that a request holds until its reply is with the kernel.
#[derive(Debug)]
pub(super) struct Held {
    pub _window: OwnedSemaphorePermit,
    pub _bytes: OwnedSemaphorePermit,
    pub _total: OwnedSemaphorePermit,
}

/// What the connection's writer gets.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly every answer is the large variant, and it is moved once")]
pub(super) enum Answer {
    Result { context: Context, result: FileResult, held: Held },
    Parts { parts: Vec<Bytes>, held: Held },
}

/// Bounded by the window that every request holds a part of.
pub(super) type Answers = Outlet<Answer>;

impl Item for Answer {
    type With = Arc<CurrentFront>;
    type Held = Held;

    fn bytes(&self) -> usize {
        match self {
            Answer::Result { result, .. } => reply_bytes(result),
            Answer::Parts { parts, .. } => parts.iter().map(Bytes::len).sum(),
        }
    }

    fn encode(self, front: &Arc<CurrentFront>, slices: &mut Vec<Bytes>) -> Held {
        match self {
            Answer::Result { context, result, held } => {
                slices.extend(current(front).reply(context, result));
                held
            }
            Answer::Parts { parts, held } => {
                slices.extend(parts);
                held
            }
        }
    }
}

/// About what the reply's data will be, the rest being small.
fn reply_bytes(result: &FileResult) -> usize {
    match result {
        Ok(FileOk::Data { count, .. }) => *count as usize,
        Ok(FileOk::Entries { entries, .. }) => entries.len() * ENTRY_BYTES,
        Ok(_) | Err(_) => 0,
    }
}

/// Answered once.
pub struct Slot {
    pub(super) answers: Arc<Answers>,
    pub(super) context: Context,
    pub(super) held: Held,
    pub(super) begun: Instant,
    pub(super) counters: Arc<Counters>,
}

impl Slot {
    pub fn reply(self, result: FileResult) {
        let answers = self.answers.clone();
        self.put(result);
        answers.wake();
    }

    fn put(self, result: FileResult) {
        if let Some(histogram) = self.counters.requests.get(self.context.procedure().number() as usize) {
            histogram.observe(self.begun.elapsed());
        }
        // The client may have gone.
        self.answers.push(Answer::Result { context: self.context, result, held: self.held });
    }

    /// No answer may be given: the connection ends, and the client asks again elsewhere.
    pub fn abandon(self) {
        self.answers.cut();
    }
}

/// Answers what became ready together. A few small replies to one connection are written at once; more are left to the
/// connections' own tasks, so that one thread does not work for all of them.
pub fn reply_all(replies: &mut Vec<(Slot, FileResult)>) {
    let Some(answers) = replies.first().map(|(slot, _)| slot.answers.clone()) else { return };
    let lone = replies.iter().all(|(slot, _)| Arc::ptr_eq(&slot.answers, &answers));
    if lone && replies.iter().map(|(_, result)| reply_bytes(result)).sum::<usize>() <= DIRECT_BYTES_MAX {
        replies.drain(..).for_each(|(slot, result)| slot.put(result));
        answers.write_now();
    } else {
        replies.drain(..).for_each(|(slot, result)| slot.reply(result));
    }
}
