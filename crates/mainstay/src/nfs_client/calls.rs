//! The calls that have no answer yet, and when something has to be done about them.

use super::Ticket;
use bytes::Bytes;
use mainstay_nfs::client::Request;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub struct Call {
    pub ticket: Ticket,
    pub request: Request,
    /// The call's bytes, sent again as they are after a broken connection.
    pub record: Vec<Bytes>,
    /// Which connection it is bound to: a retry takes the same one.
    pub connection: usize,
    pub submitted: Instant,
    /// When it was last given to a connection.
    pub sent: Option<Instant>,
    pub deadline: Instant,
    /// Times that it was sent again under its number.
    pub resent: u32,
    /// Times that the server said "try later".
    pub delayed: u32,
}

#[derive(Default)]
pub struct Calls {
    /// Owed by the server, by transaction number.
    sent: BTreeMap<u32, Call>,
    /// Put off by the server, by when they are due.
    delayed: BTreeMap<(Instant, Ticket), Call>,
}

impl Calls {
    pub fn len(&self) -> usize {
        self.sent.len() + self.delayed.len()
    }

    pub fn insert(&mut self, xid: u32, call: Call) {
        self.sent.insert(xid, call);
    }

    pub fn remove(&mut self, xid: u32) -> Option<Call> {
        self.sent.remove(&xid)
    }

    pub fn delay(&mut self, due: Instant, call: Call) {
        self.delayed.insert((due, call.ticket), call);
    }

    /// Calls whose delay is over.
    pub fn take_due(&mut self, now: Instant) -> Vec<Call> {
        let later = self.delayed.split_off(&(now, Ticket::MAX));
        std::mem::replace(&mut self.delayed, later).into_values().collect()
    }

    /// Calls past their deadline; the number where one still stands for the call.
    pub fn take_expired(&mut self, now: Instant) -> Vec<(Option<u32>, Call)> {
        let sent = self.sent.extract_if(.., |_, call| call.deadline <= now).map(|(xid, call)| (Some(xid), call));
        let delayed = self.delayed.extract_if(.., |_, call| call.deadline <= now).map(|(_, call)| (None, call));
        sent.chain(delayed).collect()
    }

    pub fn on_connection(&mut self, connection: usize) -> impl Iterator<Item = &mut Call> {
        self.sent.values_mut().filter(move |call| call.connection == connection)
    }

    /// Since when the server owes an answer on that connection.
    pub fn owed_since(&self, connection: usize) -> Option<Instant> {
        self.sent.values().filter(|call| call.connection == connection).filter_map(|call| call.sent).min()
    }

    pub fn is_owed(&self, connection: usize) -> bool {
        self.sent.values().any(|call| call.connection == connection)
    }

    /// The next deadline or end of a delay.
    pub fn next_timer(&self) -> Option<Instant> {
        let deadlines = self.sent.values().chain(self.delayed.values()).map(|call| call.deadline);
        deadlines.chain(self.delayed.keys().map(|(due, _)| *due)).min()
    }
}

/// `now + wait`, or so late that other timers come first.
pub fn later(now: Instant, wait: Duration) -> Instant {
    /// Longer waits than this are the same as forever here.
    const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);
    now + wait.min(FOREVER)
}
