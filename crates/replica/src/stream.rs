//! The primary's account of one secondary: how far the stream of records has gone out and come back.

use mainstay_protocol::{Incarnation, LogPoint, Mono, Position};
use std::collections::VecDeque;

/// Bytes of records that may be out to one secondary without an acknowledgement.
pub const WINDOW_BYTES_MAX: u64 = 16 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No Hello in this epoch yet.
    Unknown,
    /// Told to go back to a common point; its next Hello says that it did.
    RollingBack,
    /// Past the retained log: it fetches by change.
    Resyncing,
    /// Records flow.
    Streaming,
}

/// On its way into the in-sync set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joining {
    No,
    /// Counted for every commit from here on; asked to be added once it holds `from` durably.
    Counted {
        from: Position,
    },
}

#[derive(Debug)]
pub struct Peer {
    /// When this reign began to count on hearing from it.
    pub since: Mono,
    pub state: State,
    pub incarnation: Option<Incarnation>,
    /// End of what was sent.
    pub sent: LogPoint,
    pub received: Position,
    pub durable: Position,
    pub applied: Position,
    pub joining: Joining,
    /// A growth was proposed on this version of the in-sync set. Until the set is seen to have moved on, that growth may still
    /// be decided, so the peer counts for every commit whatever becomes of its stream.
    pub growth_asked: Option<u64>,
    /// Records are being read from disk for it under this ticket.
    pub loading: Option<u64>,
    /// Send even without records: a heartbeat, or news of the commit point or of a wanted sync.
    pub poke: bool,
    pub last_sent: Mono,
    /// (end position, bytes) of each Append that is not acknowledged.
    flight: VecDeque<(Position, u64)>,
    flight_bytes: u64,
    pub reported_in_step: bool,
}

impl Peer {
    pub fn new(now: Mono) -> Peer {
        Peer {
            since: now,
            state: State::Unknown,
            incarnation: None,
            sent: LogPoint::default(),
            received: Position(0),
            durable: Position(0),
            applied: Position(0),
            joining: Joining::No,
            growth_asked: None,
            loading: None,
            poke: false,
            last_sent: Mono::ZERO,
            flight: VecDeque::new(),
            flight_bytes: 0,
            reported_in_step: false,
        }
    }

    /// Starts (again) behind `from`, which the secondary holds in memory, `durable` of it on disk.
    pub fn start(&mut self, from: LogPoint, durable: Position, incarnation: Incarnation) {
        self.restart(State::Streaming, incarnation);
        self.sent = from;
        self.received = from.position;
        self.durable = durable.min(from.position);
        self.poke = true;
    }

    /// Not streaming: what it held counts for nothing until it says Hello again.
    pub fn restart(&mut self, state: State, incarnation: Incarnation) {
        let growth_asked = self.growth_asked;
        *self = Peer { state, incarnation: Some(incarnation), last_sent: self.last_sent, growth_asked, ..Peer::new(self.since) };
    }

    /// Whether commits wait for it although it may not be in the set.
    pub fn counts(&self) -> bool {
        self.joining != Joining::No || self.growth_asked.is_some()
    }

    pub fn flew(&mut self, to: LogPoint, bytes: u64, now: Mono) {
        if to.position > self.sent.position {
            self.flight.push_back((to.position, bytes));
            self.flight_bytes += bytes;
        }
        self.sent = to;
        self.poke = false;
        self.last_sent = now;
    }

    pub fn acknowledged(&mut self, received: Position, durable: Position, applied: Position) {
        // What was never sent cannot have been received: a wrong acknowledgement must not commit anything.
        let received = received.min(self.sent.position);
        self.received = self.received.max(received);
        self.durable = self.durable.max(durable.min(received));
        self.applied = self.applied.max(applied.min(received));
        while self.flight.front().is_some_and(|(end, _)| *end <= self.received) {
            let (_, bytes) = self.flight.pop_front().expect("just seen");
            self.flight_bytes -= bytes;
        }
    }

    pub fn room(&self) -> bool {
        self.state == State::Streaming && self.loading.is_none() && self.flight_bytes < WINDOW_BYTES_MAX
    }

    pub fn flight_bytes(&self) -> u64 {
        self.flight_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_protocol::{Chain, Epoch};

    fn point(position: u64) -> LogPoint {
        LogPoint { epoch: Epoch(1), position: Position(position), chain: Chain(position as u128) }
    }

    #[test]
    fn an_acknowledgement_of_what_was_never_sent_counts_for_nothing() {
        let mut peer = Peer::new(Mono(0));
        peer.start(point(10), Position(99), Incarnation(1));
        assert_eq!(peer.durable, Position(10));
        peer.flew(point(12), 100, Mono(1));
        peer.acknowledged(Position(50), Position(50), Position(50));
        assert_eq!((peer.received, peer.durable), (Position(12), Position(12)));
        assert_eq!(peer.flight_bytes(), 0);
    }

    #[test]
    fn the_window_closes_and_opens() {
        let mut peer = Peer::new(Mono(0));
        assert!(!peer.room());
        peer.start(point(0), Position(0), Incarnation(1));
        peer.flew(point(1), WINDOW_BYTES_MAX, Mono(1));
        assert!(!peer.room());
        peer.acknowledged(Position(1), Position(0), Position(1));
        assert!(peer.room());
    }
}
