//! First answers to requests that must not happen twice (NFS.md, "duplicate request cache"). The answers are rows as all
//! others; which request has one, and which is the oldest, is kept in memory.

use crate::view::View;
use crate::view::error::ViewError;
use crate::view::tables::{ReplyRow, Snapshot, decode_number, decode_reply, decode_result};
use mainstay_protocol::file::FileOk;
use mainstay_protocol::{FileResult, Position, RecordHeader, RequestId, Stability};
use redb::ReadableTable;
use std::collections::{BTreeMap, VecDeque};

/// What a kept reply costs beyond its encoded result: its identity, twice, and the index.
const REPLY_OVERHEAD_BYTES: u64 = 160;
/// Replies that one record's application may forget, so that none takes long; more than one, so that they never pile up.
const EXPIRE_PER_RECORD: usize = 4;

/// So many of the newest replies are kept whatever their age: age is told by the wall clocks of successive primaries, and one that
/// is set forward, or is ahead of the last one's, must not forget what clients still repeat.
pub const REPLIES_KEPT_MIN: usize = 4096;

struct Kept {
    position: u64,
    time_ms: i64,
    bytes: u64,
    id: RequestId,
}

/// In memory: the index and the order of age.
#[derive(Default)]
pub(crate) struct Replies {
    positions: BTreeMap<RequestId, u64>,
    by_age: VecDeque<Kept>,
    bytes: u64,
}

impl Replies {
    pub fn load(snapshot: &Snapshot) -> Result<Replies, ViewError> {
        let mut replies = Replies::default();
        for row in snapshot.replies.iter()? {
            let (key, value) = row?;
            replies.add(decode_number(key.value())?, &decode_reply(value.value())?);
        }
        Ok(replies)
    }

    /// Brings the index up to a layer's rows. Answers expire in order, so what is gone is the oldest.
    pub fn overlay(&mut self, rows: &BTreeMap<u64, Option<ReplyRow>>) {
        for (position, row) in rows {
            match row {
                Some(row) => self.add(*position, row),
                None => self.forget_up_to(*position),
            }
        }
    }

    fn forget_up_to(&mut self, position: u64) {
        while let Some(oldest) = self.by_age.pop_front_if(|kept| kept.position <= position) {
            self.bytes -= oldest.bytes;
            if self.positions.get(&oldest.id) == Some(&oldest.position) {
                self.positions.remove(&oldest.id);
            }
        }
    }

    fn add(&mut self, position: u64, row: &ReplyRow) {
        let bytes = row.result.len() as u64 + REPLY_OVERHEAD_BYTES;
        self.bytes += bytes;
        self.positions.insert(row.id, position);
        self.by_age.push_back(Kept { position, time_ms: row.time_ms, bytes, id: row.id });
    }

    /// Takes the oldest away when it is too old or there are too many bytes.
    fn expire(&mut self, now_ms: i64, (keep_ms, keep_min): (u64, usize), bytes_max: u64) -> Option<u64> {
        let oldest = self.by_age.front()?;
        let old = now_ms.saturating_sub(oldest.time_ms) > keep_ms.min(i64::MAX as u64) as i64;
        let old = old && self.by_age.len() > keep_min;
        if !old && self.bytes <= bytes_max {
            return None;
        }
        let oldest = self.by_age.pop_front()?;
        self.bytes -= oldest.bytes;
        // A client may have used the identity again since; then the younger answer counts.
        if self.positions.get(&oldest.id) == Some(&oldest.position) {
            self.positions.remove(&oldest.id);
        }
        Some(oldest.position)
    }
}

/// A first answer that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptReply {
    /// The record that holds the request's effect.
    pub position: Position,
    pub result: FileResult,
    /// Whether that record must be durable everywhere before the answer goes out.
    pub durable: bool,
}

impl View {
    /// The first answer to a request, while it is kept.
    pub fn reply(&self, id: &RequestId) -> Result<Option<KeptReply>, ViewError> {
        let Some(position) = self.replies.positions.get(id) else { return Ok(None) };
        let Some(row) = self.reply_row(*position)? else { return Ok(None) };
        let result = decode_result(&row.result)?;
        let durable = !matches!(result, Ok(FileOk::Written { stability: Stability::Unstable, .. }));
        Ok(Some(KeptReply { position: Position(*position), result, durable }))
    }

    /// Position of the oldest kept answer: a copy that applies the log from before it knows them all.
    pub fn oldest_reply(&self) -> Option<Position> {
        self.replies.by_age.front().map(|kept| Position(kept.position))
    }
    pub fn reply_bytes(&self) -> u64 {
        self.replies.bytes
    }

    fn reply_row(&self, position: u64) -> Result<Option<ReplyRow>, ViewError> {
        if let Some(row) = self.overlay.replies.get(&position) {
            return Ok(row.clone());
        }
        match self.frozen.as_ref().and_then(|layer| layer.replies.get(&position)) {
            Some(row) => Ok(row.clone()),
            None => self.snapshot.reply(position),
        }
    }

    pub(super) fn keep_reply(&mut self, header: &RecordHeader, reply: &Option<(RequestId, FileResult)>) {
        if let Some((id, result)) = reply {
            let result = postcard::to_stdvec(result).expect("a result always encodes").into_boxed_slice();
            let row = ReplyRow { time_ms: header.time.as_millis(), id: *id, result };
            self.replies.add(header.position.0, &row);
            self.overlay.replies.insert(header.position.0, Some(row));
        }
        let keep = (self.options.reply_keep_ms, self.options.reply_keep_min);
        for _ in 0..EXPIRE_PER_RECORD {
            let now_ms = header.time.as_millis();
            match self.replies.expire(now_ms, keep, self.options.reply_bytes_max) {
                Some(position) => drop(self.overlay.replies.insert(position, None)),
                None => break,
            }
        }
    }
}
