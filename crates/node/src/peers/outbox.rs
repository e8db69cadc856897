//! A bounded queue of frames to one peer. When it is full the newest frame is dropped: the core tolerates loss and repeats
//! what matters, and a frame that waited long is worth no less than the one behind it, whose position it must precede.

use super::frame::Outgoing;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use tokio::sync::Notify;

#[derive(Debug)]
pub struct Outbox {
    bytes_max: usize,
    state: Mutex<State>,
    ready: Notify,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Outgoing>,
    bytes: usize,
    /// Closed while there is no connection: what waits for one is stale when it comes.
    open: bool,
}

impl Outbox {
    pub fn new(bytes_max: usize) -> Outbox {
        Outbox { bytes_max, state: Mutex::default(), ready: Notify::new() }
    }

    /// False when the frame was dropped.
    pub fn push(&self, frame: Outgoing) -> bool {
        let mut state = self.lock();
        // An empty queue takes any frame, so the bound can never stop a large one for good.
        let fits = state.frames.is_empty() || state.bytes + frame.bytes <= self.bytes_max;
        if !state.open || !fits {
            return false;
        }
        state.bytes += frame.bytes;
        state.frames.push_back(frame);
        drop(state);
        self.ready.notify_one();
        true
    }

    /// Waits for frames and takes about `bytes_max` bytes of them.
    pub async fn take(&self, bytes_max: usize) -> Vec<Outgoing> {
        loop {
            let taken = self.try_take(bytes_max);
            if !taken.is_empty() {
                return taken;
            }
            self.ready.notified().await;
        }
    }

    fn try_take(&self, bytes_max: usize) -> Vec<Outgoing> {
        let mut state = self.lock();
        let mut taken = Vec::new();
        let mut bytes = 0;
        while bytes < bytes_max {
            let Some(frame) = state.frames.pop_front() else { break };
            bytes += frame.bytes;
            taken.push(frame);
        }
        state.bytes -= bytes;
        taken
    }

    pub fn open(&self) {
        self.lock().open = true;
    }

    pub fn close(&self) {
        *self.lock() = State::default();
    }

    pub fn is_open(&self) -> bool {
        self.lock().open
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_protocol::peer::FrameKind;

    fn frame(id: u64, body: usize) -> Outgoing {
        Outgoing::new(FrameKind::Peer, id, &vec![0; body], vec![]).unwrap()
    }

    #[tokio::test]
    async fn the_bound_holds_and_nothing_waits_for_a_dead_connection() {
        let outbox = Outbox::new(1_000);
        assert!(!outbox.push(frame(1, 10)), "no connection yet");
        outbox.open();
        assert!(outbox.push(frame(1, 5_000)), "an empty queue takes any frame");
        assert!(!outbox.push(frame(2, 10)));
        assert_eq!(outbox.take(1).await.len(), 1);
        for _ in 0..5 {
            assert!(outbox.push(frame(3, 176)));
        }
        assert!(!outbox.push(frame(4, 0)), "1000 of 1000 bytes are used");
        assert_eq!(outbox.take(400).await.len(), 2);
        outbox.close();
        outbox.open();
        assert!(outbox.push(frame(5, 1_000)), "closing forgot the rest");
        assert_eq!(outbox.take(usize::MAX).await.len(), 1);
    }
}
