//! Where things lie in the segments: the words that the log half and the view half of this crate share.

use mainstay_protocol::Position;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A segment file of one volume on one node. Local: replicas lay out their segments differently. Given out rising and never
/// reused, also when the file itself is recycled under a new id.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SegmentId(pub u32);

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}
impl fmt::Debug for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{:08x}", self.0)
    }
}

/// Where a record or a fragment starts: byte `offset` of the segment's file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    pub segment: SegmentId,
    pub offset: u32,
}

/// A run of a file's data and where it is kept: bytes `payload_offset..payload_offset + len` of the payload of the record at
/// `position`, found at `place` (the record itself, or a fragment that holds at least this part of its payload).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StoredExtent {
    /// In the file.
    pub offset: u64,
    pub len: u32,
    /// The record that wrote the data: what replicas agree on.
    pub position: Position,
    pub place: Place,
    /// In the payload of the record at `position`, also when `place` is a fragment.
    pub payload_offset: u32,
}

/// Compaction or repair copied the data of `extent` (which named the old place) to `to`. Applied only where the file still
/// points at exactly that extent's record and old place, for the part of it that is still live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    pub inode: u64,
    pub extent: StoredExtent,
    pub to: Place,
}

/// A replica's whole state at one position as one number: equal on every replica that holds the same files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ViewDigest {
    pub inodes: u64,
    pub entries: u64,
    pub extents: u64,
    /// xor of the members' xxh3-64, as `SetDigest` does it.
    pub xor: u64,
}
