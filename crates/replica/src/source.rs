//! The primary's side of resync by change (R11): answers the secondary's requests for what changed, at a bounded rate.
//!
//! A batch leaves only when everything that it shows is committed durably: otherwise a secondary could keep something that no
//! successor has, and it writes its view's checkpoint at the end of the walk on the strength of this.

use crate::core::Core;
use mainstay_protocol::peer::{ChangeBatch, ListQuery, ResyncCursor};
use mainstay_protocol::{Epoch, Mono, NodeId, Now, PeerMessage, Position};
use std::collections::BTreeMap;

use bytes::Bytes;

/// File data in one batch; one batch per secondary is under way at a time.
pub const BATCH_BYTES_MAX: u32 = 1 << 20;
/// Items in one list.
pub const LIST_ITEMS_MAX: usize = 4096;

#[derive(Debug, Default)]
pub struct Source {
    /// Batches being read, by the volume's ticket.
    reading: BTreeMap<u64, NodeId>,
    /// Read, waiting for their commit and for the throttle.
    ready: Vec<Ready>,
    /// Lists, waiting likewise: what they do not name any more must really be gone.
    lists: Vec<(NodeId, Position, PeerMessage)>,
    /// The next batch may leave then.
    not_before: Mono,
}

#[derive(Debug)]
struct Ready {
    to: NodeId,
    batch: ChangeBatch,
    payload: Bytes,
}

impl Source {
    pub fn request(&mut self, core: &mut Core, from: NodeId, cursor: ResyncCursor, bytes_max: u32) {
        // A repeated request for what is under way or ready would only read it twice.
        if self.reading.values().any(|node| *node == from) || self.ready.iter().any(|ready| ready.to == from) {
            return;
        }
        if let Some(volume) = core.volume.as_mut() {
            let ticket = volume.changes(cursor, bytes_max.min(BATCH_BYTES_MAX) as usize);
            self.reading.insert(ticket, from);
        }
    }

    pub fn changes_read(&mut self, ticket: u64, batch: ChangeBatch, payload: Bytes) {
        if let Some(to) = self.reading.remove(&ticket) {
            self.ready.push(Ready { to, batch, payload });
        }
    }

    pub fn failed(&mut self, ticket: u64) {
        self.reading.remove(&ticket);
    }

    /// What must be durable everywhere before the next batch may leave.
    pub fn waits_for(&self) -> Option<Position> {
        let lists = self.lists.iter().map(|(_, at, _)| *at);
        self.ready.iter().map(|ready| ready.batch.at).chain(lists).min()
    }

    pub fn release(&mut self, core: &mut Core, commit: Position, now: Now) {
        let rate = core.view.settings.resync_bytes_per_second.max(1);
        for (to, at, message) in std::mem::take(&mut self.lists) {
            match at <= commit {
                true => core.send(to, message),
                false => self.lists.push((to, at, message)),
            }
        }
        while now.mono >= self.not_before {
            let Some(index) = self.ready.iter().position(|ready| ready.batch.at <= commit) else { return };
            let Ready { to, batch, payload } = self.ready.swap_remove(index);
            let bytes = payload.len() as u64;
            self.not_before = Mono(now.mono.0 + bytes.saturating_mul(1_000_000_000) / rate);
            let epoch = core.view_epoch();
            let payload = if payload.is_empty() { vec![] } else { vec![payload] };
            core.send_with(to, PeerMessage::Changes { epoch, batch }, payload);
        }
    }

    /// When a batch that is ready may leave, if the throttle holds one back.
    pub fn next_timer(&self) -> Option<Mono> {
        (!self.ready.is_empty()).then_some(self.not_before)
    }

    pub fn list(&mut self, core: &Core, from: NodeId, epoch: Epoch, query: ListQuery) {
        let Some(volume) = core.volume.as_ref() else { return };
        // One list per secondary is under way; a repeated question is answered by the one that waits.
        if let Ok((items, done)) = volume.list(query, LIST_ITEMS_MAX)
            && !self.lists.iter().any(|(to, _, _)| *to == from)
        {
            self.lists.push((from, volume.last().position, PeerMessage::List { epoch, query, items, done }));
        }
    }
}
