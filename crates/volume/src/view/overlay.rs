//! Recent changes that the view's file does not hold yet, and how three layers read as one.

use crate::place::SegmentId;
use crate::view::error::ViewError;
use crate::view::tables::{Base, Entry, ReplyRow, Run};
use bytes::Bytes;
use mainstay_protocol::{FileId, InodeRow};
use std::collections::BTreeMap;
use std::collections::btree_map::Range;
use std::iter::Peekable;

/// Puts (`Some`) and removals (`None`) over the layers below.
#[derive(Debug, Default)]
pub(crate) struct Layer {
    /// Set when the layer is frozen: what the rows stand at with this layer.
    pub base: Base,
    pub inodes: BTreeMap<u64, Option<InodeRow>>,
    pub entries: BTreeMap<(u64, Bytes), Option<Entry>>,
    pub cookies: BTreeMap<(u64, u64), Option<(Bytes, FileId)>>,
    /// (inode, end of the run).
    pub runs: BTreeMap<(u64, u64), Option<Run>>,
    pub targets: BTreeMap<u64, Option<Bytes>>,
    pub replies: BTreeMap<u64, Option<ReplyRow>>,
    /// Removed files whose runs are still there.
    pub reclaim: BTreeMap<u64, Option<()>>,
    /// Live bytes of the segments whose figure changed.
    pub segments: BTreeMap<SegmentId, Option<u64>>,
}

impl Layer {
    /// Rows held, the measure of its memory.
    pub fn rows(&self) -> usize {
        self.inodes.len() + self.entries.len() + self.cookies.len() + self.runs.len() + self.targets.len() + self.replies.len()
    }
}

/// Ordered union of overlay, frozen overlay and file: the upper layer's word counts, removals are left out.
pub(crate) struct Merged<'a, K, V, F: Iterator<Item = Result<(K, V), ViewError>>> {
    pub overlay: Peekable<Range<'a, K, Option<V>>>,
    pub frozen: Option<Peekable<Range<'a, K, Option<V>>>>,
    pub file: Option<Peekable<F>>,
}

impl<K: Ord + Copy, V: Clone, F: Iterator<Item = Result<(K, V), ViewError>>> Merged<'_, K, V, F> {
    fn lowest(&mut self) -> Result<Option<K>, ViewError> {
        let overlay = self.overlay.peek().map(|(key, _)| **key);
        let frozen = self.frozen.as_mut().and_then(|rows| rows.peek().map(|(key, _)| **key));
        let file = match self.file.as_mut().and_then(Peekable::peek) {
            Some(Err(error)) => return Err(error.clone()),
            Some(Ok((key, _))) => Some(*key),
            None => None,
        };
        Ok([overlay, frozen, file].into_iter().flatten().min())
    }

    /// Takes `key` off every layer; the uppermost that has it decides.
    fn take(&mut self, key: K) -> Option<V> {
        let overlay = self.overlay.next_if(|(found, _)| **found == key).map(|(_, value)| value.clone());
        let frozen = self.frozen.as_mut().and_then(|rows| rows.next_if(|(found, _)| **found == key));
        let file = self.file.as_mut().and_then(|rows| rows.next_if(|row| matches!(row, Ok((found, _)) if *found == key)));
        match (overlay, frozen) {
            (Some(value), _) => value,
            (None, Some((_, value))) => value.clone(),
            (None, None) => file.and_then(Result::ok).map(|(_, value)| value),
        }
    }
}

impl<K: Ord + Copy, V: Clone, F: Iterator<Item = Result<(K, V), ViewError>>> Iterator for Merged<'_, K, V, F> {
    type Item = Result<(K, V), ViewError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let key = match self.lowest() {
                Ok(key) => key?,
                Err(error) => return Some(Err(error)),
            };
            if let Some(value) = self.take(key) {
                return Some(Ok((key, value)));
            }
        }
    }
}
