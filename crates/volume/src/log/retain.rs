//! What of the log is kept for secondaries that come back, and which files are given back.

use super::Log;
use super::segments::Use;
use crate::place::SegmentId;
use mainstay_protocol::Position;

impl Log {
    /// Lets go of the oldest segments of the log beyond `retain_bytes`: they are kept for their file data only. Nothing above
    /// `checkpoint` goes, for a restart applies it again, nor anything not written down durably.
    pub fn retire(&mut self, retain_bytes: u64, checkpoint: Position) {
        let keep_from = checkpoint.min(self.durable);
        let mut bytes: u64 = self.log_segments().map(|(_, bytes, _)| bytes).sum();
        // Nearly always: it is asked at every turn.
        if bytes <= retain_bytes {
            return;
        }
        let candidates: Vec<(SegmentId, u64, Position)> = self.log_segments().collect();
        for (id, size, last) in candidates {
            if bytes <= retain_bytes || last > keep_from || id == self.active.segment {
                break;
            }
            bytes -= size;
            self.retire_segment(id);
        }
    }

    /// Its file may be used again once it is synced as far as it was written: until then batches speak of it, under its name. So
    /// a sync is asked for; there is one per segment at most.
    pub(super) fn retire_segment(&mut self, id: SegmentId) {
        self.want_sync_of(self.writer.queued);
        if let Some(segment) = self.segments.all.get_mut(&id) {
            segment.used_as = Use::Retired { after: self.writer.queued };
        }
        self.index.retain(|_, place| place.segment != id);
        if id == self.oldest {
            let next = self.log_segments().map(|(id, _, _)| id).next();
            self.oldest = next.unwrap_or(self.active.segment);
        }
    }

    /// The log's segments, oldest first: (id, bytes, last record).
    fn log_segments(&self) -> impl Iterator<Item = (SegmentId, u64, Position)> {
        self.segments.all.range(self.oldest..).filter_map(|(id, segment)| match segment.used_as {
            Use::Log { last, .. } => Some((*id, segment.bytes, last)),
            _ => None,
        })
    }

    /// Segments that hold nothing but, perhaps, file data: (id, bytes of the file, bytes used in it).
    pub fn closed(&self) -> impl Iterator<Item = (SegmentId, u64, u64)> {
        let closed = |used_as| match used_as {
            Use::Retired { after } | Use::Fragments { after } => self.writer.durable >= after,
            _ => false,
        };
        let all = self.segments.all.iter().filter(move |(id, segment)| closed(segment.used_as) && !self.is_open(**id));
        all.map(|(id, segment)| (*id, segment.bytes, segment.end as u64))
    }
}
