//! Going back to what the file holds, in place: for the roll-back of a divergent tail.

use crate::place::SegmentId;
use crate::resync::Walk;
use crate::view::error::ViewError;
use crate::view::overlay::Layer;
use crate::view::replies::Replies;
use crate::view::{View, checkpoint};
use mainstay_protocol::{LogPoint, Position};
use std::collections::BTreeMap;
use std::sync::Arc;

impl View {
    /// Whether the frozen overlay was handed out to be written: it cannot be taken back any more.
    pub fn writing(&self) -> Option<LogPoint> {
        self.frozen().filter(|_| self.writing)
    }

    /// Forgets everything in memory behind the newest state that stands at or below `to`: the frozen overlay where that is,
    /// else the file. Returns where the view stands now; records are applied again from there.
    pub fn rewind(&mut self, to: Position) -> Result<LogPoint, ViewError> {
        if self.writing().is_some_and(|point| point.position > to) || self.base().point.position > to {
            return Err(ViewError::Order { last: self.base().point.position, found: to });
        }
        self.frozen = self.frozen.take().filter(|layer| layer.base.point.position <= to);
        self.now = self.frozen.as_ref().map_or(&self.snapshot.base, |layer| &layer.base).clone();
        self.below = self.now.inode_max;
        self.overlay = Layer::default();
        self.walk = Walk::default();
        self.segments = checkpoint::read_segments(&self.snapshot)?;
        self.reclaim = checkpoint::read_numbers(&self.snapshot.reclaim)?;
        self.replies = Replies::load(&self.snapshot)?;
        if let Some(layer) = self.frozen.clone() {
            self.count_frozen(&layer)?;
        }
        Ok(self.now.point)
    }

    /// Brings what is kept in memory besides the rows up to the frozen overlay.
    fn count_frozen(&mut self, layer: &Arc<Layer>) -> Result<(), ViewError> {
        put_all(&mut self.segments, &layer.segments);
        for (inode, row) in &layer.reclaim {
            match row {
                Some(()) => self.reclaim.insert(*inode),
                None => self.reclaim.remove(inode),
            };
        }
        self.replies.overlay(&layer.replies);
        Ok(())
    }
}

fn put_all(segments: &mut BTreeMap<SegmentId, u64>, changed: &BTreeMap<SegmentId, Option<u64>>) {
    for (segment, live) in changed {
        match live {
            Some(live) => segments.insert(*segment, *live),
            None => segments.remove(segment),
        };
    }
}
