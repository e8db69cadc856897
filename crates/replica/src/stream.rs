//! The primary's account of one secondary: how far the stream of records has gone out and come back.

use mainstay_protocol::peer::StreamId;
use mainstay_protocol::{Incarnation, LogPoint, Mono, Position};
use std::collections::VecDeque;

/// Bytes of records that may be out to one secondary without an acknowledgement, at most.
pub const WINDOW_BYTES_MAX: u64 = 16 << 20;
/// The window of a stream that begins, bytes. It doubles with every round trip while that is what holds it back.
pub const WINDOW_BYTES_START: u64 = 1 << 20;
/// The window of the slowest wire, bytes.
pub const WINDOW_BYTES_MIN: u64 = 64 << 10;
/// Records should not be under way for longer than this, milliseconds: what is in flight when a wire breaks is moved in vain (R11),
/// and what clients wait for queues behind it.
pub const FLIGHT_MS_MAX: u64 = 1_000;
/// The longest wait before a secondary that stalled again and again is counted again, milliseconds.
const REJOIN_MS_MAX: u64 = 60_000;
/// A secondary that did not stall for so long after it could join begins with the shortest wait again, milliseconds.
const FORGIVE_MS: u64 = 600_000;

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

/// It was taken out of the in-sync set, or kept from it, because it stalled.
#[derive(Clone, Copy, Debug, Default)]
struct Stall {
    /// What it must hold durably before it is counted again: what it was stuck at.
    holds: Position,
    not_before: Mono,
    times: u32,
}

/// An Append under way.
#[derive(Clone, Copy, Debug)]
struct Flying {
    end: Position,
    bytes: u64,
    at: Mono,
    /// Bytes under way when it left, itself included.
    ahead_bytes: u64,
}

#[derive(Debug)]
pub struct Peer {
    /// When this reign began to count on hearing from it.
    pub since: Mono,
    pub state: State,
    pub incarnation: Option<Incarnation>,
    /// The run of the stream that its last Hello began.
    pub stream: StreamId,
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
    /// Appends that are not acknowledged.
    flight: VecDeque<Flying>,
    flight_bytes: u64,
    window_bytes: u64,
    pub reported_in_step: bool,
    /// When it last confirmed something new, or last had nothing to confirm: in memory, and on disk.
    progress_at: (Mono, Mono),
    stall: Stall,
}

impl Peer {
    pub fn new(now: Mono) -> Peer {
        Peer {
            since: now,
            state: State::Unknown,
            incarnation: None,
            stream: StreamId::default(),
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
            window_bytes: WINDOW_BYTES_START,
            reported_in_step: false,
            progress_at: (now, now),
            stall: Stall::default(),
        }
    }

    /// Starts (again) behind `from`, which the secondary holds in memory, `durable` of it on disk.
    pub fn start(&mut self, from: LogPoint, durable: Position, stream: StreamId) {
        self.restart(State::Streaming, stream);
        self.sent = from;
        self.received = from.position;
        self.durable = durable.min(from.position);
        self.poke = true;
    }

    /// Not streaming: what it held counts for nothing until it says Hello again.
    pub fn restart(&mut self, state: State, stream: StreamId) {
        let &mut Peer { since, last_sent, growth_asked, progress_at, stall, .. } = self;
        let incarnation = Some(stream.incarnation);
        *self = Peer { state, incarnation, stream, last_sent, growth_asked, progress_at, stall, ..Peer::new(since) };
    }

    /// Milliseconds since it confirmed anything of what it has to: records up to `last` in memory, up to `sync_to` on disk. Who is
    /// silent does not stall: its time begins when it is heard again.
    pub fn stalled_ms(&mut self, (last, sync_to): (Position, Position), heard: bool, now: Mono) -> u64 {
        if !heard {
            self.progress_at = (now, now);
        }
        let streaming = self.state == State::Streaming;
        if streaming && self.received >= last {
            self.progress_at.0 = now;
        }
        if streaming && self.durable >= sync_to {
            self.progress_at.1 = now;
        }
        now.ms_since(self.progress_at.0.min(self.progress_at.1))
    }

    /// Not counted again before it holds on disk what it was stuck at; each time the wait doubles, so that a disk that hangs every
    /// few seconds does not stop the clients as often.
    pub fn stalled(&mut self, at: Position, stall_ms: u64, now: Mono) {
        self.stall.holds = at;
        if now < self.stall.not_before {
            return;
        }
        if now.ms_since(self.stall.not_before) > FORGIVE_MS {
            self.stall.times = 0;
        }
        let wait_ms = stall_ms.saturating_mul(1 << self.stall.times.min(16)).min(REJOIN_MS_MAX);
        self.stall.not_before = now.after_ms(wait_ms);
        self.stall.times += 1;
    }

    pub fn may_join(&self, now: Mono) -> bool {
        now >= self.stall.not_before && self.durable >= self.stall.holds
    }

    /// From here on it is counted for every commit: what it has to confirm begins now.
    pub fn join(&mut self, from: Position, now: Mono) {
        self.joining = Joining::Counted { from };
        self.poke = true;
        self.progress_at = (now, now);
    }

    /// Whether commits wait for it although it may not be in the set.
    pub fn counts(&self) -> bool {
        self.joining != Joining::No || self.growth_asked.is_some()
    }

    pub fn flew(&mut self, to: LogPoint, bytes: u64, now: Mono) {
        if to.position > self.sent.position {
            self.flight_bytes += bytes;
            self.flight.push_back(Flying { end: to.position, bytes, at: now, ahead_bytes: self.flight_bytes });
        }
        self.sent = to;
        self.poke = false;
        self.last_sent = now;
    }

    pub fn acknowledged(&mut self, (received, durable, applied): (Position, Position, Position), now: Mono) {
        // What was never sent cannot have been received: a wrong acknowledgement must not commit anything.
        let received = received.min(self.sent.position);
        if received > self.received {
            self.progress_at.0 = now;
        }
        if durable.min(received) > self.durable {
            self.progress_at.1 = now;
        }
        self.received = self.received.max(received);
        self.durable = self.durable.max(durable.min(received));
        self.applied = self.applied.max(applied.min(received));
        let (mut landed_bytes, mut newest) = (0, None);
        while let Some(flying) = self.flight.pop_front_if(|flying| flying.end <= self.received) {
            landed_bytes += flying.bytes;
            newest = Some(flying);
        }
        self.flight_bytes -= landed_bytes;
        if let Some(newest) = newest {
            self.measure_window(newest, landed_bytes, now);
        }
    }

    /// The window holds what the way to the secondary's memory and back carries within [`FLIGHT_MS_MAX`].
    fn measure_window(&mut self, landed: Flying, landed_bytes: u64, now: Mono) {
        let flight_ms = now.ms_since(landed.at);
        self.window_bytes = if flight_ms > FLIGHT_MS_MAX {
            self.window_bytes.min((landed.ahead_bytes * FLIGHT_MS_MAX / flight_ms).max(WINDOW_BYTES_MIN))
        } else if 2 * landed.ahead_bytes >= self.window_bytes {
            (self.window_bytes + landed_bytes).min(WINDOW_BYTES_MAX)
        } else {
            self.window_bytes
        };
    }

    /// Bytes of records that may leave now. One record may always leave when nothing is under way.
    pub fn room_bytes(&self) -> u64 {
        match self.state == State::Streaming && self.loading.is_none() {
            true => self.window_bytes.saturating_sub(self.flight_bytes),
            false => 0,
        }
    }

    /// There are records that it was not sent, because it has too many already that it did not acknowledge.
    pub fn is_behind(&self, last: Position) -> bool {
        self.state == State::Streaming && self.sent.position < last && self.flight_bytes >= self.window_bytes
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
        peer.start(point(10), Position(99), StreamId::default());
        assert_eq!(peer.durable, Position(10));
        peer.flew(point(12), 100, Mono(1));
        peer.acknowledged((Position(50), Position(50), Position(50)), Mono(2));
        assert_eq!((peer.received, peer.durable), (Position(12), Position(12)));
        assert_eq!(peer.flight_bytes(), 0);
    }

    #[test]
    fn the_window_closes_and_opens() {
        let mut peer = Peer::new(Mono(0));
        assert_eq!(peer.room_bytes(), 0);
        peer.start(point(0), Position(0), StreamId::default());
        peer.flew(point(1), WINDOW_BYTES_START, Mono(1));
        assert_eq!(peer.room_bytes(), 0);
        peer.acknowledged((Position(1), Position(0), Position(1)), Mono(2));
        assert_eq!(peer.room_bytes(), 2 * WINDOW_BYTES_START, "a quick answer doubles it");
    }

    #[test]
    fn a_stalled_one_is_counted_again_later_each_time_and_only_when_it_holds_what_it_was_stuck_at() {
        let mut peer = Peer::new(Mono(0));
        peer.start(point(0), Position(0), StreamId::default());
        peer.flew(point(9), 100, Mono(0));
        let at = |ms| Mono(0).after_ms(ms);
        assert_eq!(peer.stalled_ms((Position(9), Position(9)), true, at(5_000)), 5_000);
        peer.stalled(Position(9), 5_000, at(5_000));
        peer.acknowledged((Position(9), Position(8), Position(9)), at(6_000));
        assert_eq!(peer.stalled_ms((Position(9), Position(9)), true, at(7_000)), 1_000, "something came");
        assert!(!peer.may_join(at(20_000)), "not all that it was stuck at is on its disk");
        peer.acknowledged((Position(9), Position(9), Position(9)), at(8_000));
        assert_eq!(peer.stalled_ms((Position(9), Position(9)), true, at(99_000)), 0, "nothing waits");
        assert!(!peer.may_join(at(9_999)) && peer.may_join(at(10_000)));
        peer.stalled(Position(9), 5_000, at(20_000));
        assert!(!peer.may_join(at(29_999)) && peer.may_join(at(30_000)), "the second time twice as long");
        peer.stalled(Position(9), 5_000, at(2_000_000));
        assert!(peer.may_join(at(2_005_000)), "long ago is forgiven");
    }

    /// A wire of 100 kB/s: what is under way is soon no more than it carries in a second, and grows again when it is quick again.
    #[test]
    fn the_window_is_what_the_wire_carries() {
        let mut peer = Peer::new(Mono(0));
        peer.start(point(0), Position(0), StreamId::default());
        let (mut now, mut position) = (Mono(0), 0);
        let mut exchange = |peer: &mut Peer, bytes_per_second: u64| {
            let bytes = peer.room_bytes();
            position += 1;
            peer.flew(point(position), bytes, now);
            now = now.after_ms(bytes * 1_000 / bytes_per_second);
            peer.acknowledged((Position(position), Position(0), Position(0)), now);
            bytes
        };
        assert_eq!(exchange(&mut peer, 100_000), WINDOW_BYTES_START);
        assert!((90_000..=110_000).contains(&exchange(&mut peer, 100_000)));
        for _ in 0..20 {
            assert!(exchange(&mut peer, 100_000) <= 220_000);
        }
        for _ in 0..10 {
            exchange(&mut peer, 1 << 30);
        }
        assert_eq!(exchange(&mut peer, 1 << 30), WINDOW_BYTES_MAX);
        for _ in 0..2 {
            exchange(&mut peer, 1);
        }
        assert_eq!(peer.room_bytes(), WINDOW_BYTES_MIN, "never less");
    }
}
