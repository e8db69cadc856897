//! The place of a request that waits for its answer.

use super::Counters;
use bytes::Bytes;
use mainstay_nfs::Context;
use mainstay_protocol::FileResult;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::UnboundedSender;

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
    Result {
        context: Context,
        result: FileResult,
        held: Held,
    },
    Parts {
        parts: Vec<Bytes>,
        held: Held,
    },
    /// No answer may be given: the connection ends, and the client asks again elsewhere.
    Abandon,
}

/// Answered once. The queue behind it is bounded by the window that the request holds a part of.
pub struct Slot {
    pub(super) answers: UnboundedSender<Answer>,
    pub(super) context: Context,
    pub(super) held: Held,
    pub(super) begun: Instant,
    pub(super) counters: Arc<Counters>,
}

impl Slot {
    pub fn reply(self, result: FileResult) {
        if let Some(histogram) = self.counters.requests.get(self.context.procedure().number() as usize) {
            histogram.observe(self.begun.elapsed());
        }
        // The client may have gone.
        let _ = self.answers.send(Answer::Result { context: self.context, result, held: self.held });
    }

    pub fn abandon(self) {
        let _ = self.answers.send(Answer::Abandon);
    }
}
