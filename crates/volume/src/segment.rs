//! Segment files: names and what is in them byte by byte (docs/FORMAT.md).

use crate::place::SegmentId;

/// Records or fragments start after this many bytes.
pub const SEGMENT_HEADER_BYTES: usize = 4096;

pub fn file_name(segment: SegmentId) -> String {
    format!("log-{segment}.seg")
}
