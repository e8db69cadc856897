//! Segment files: names, and what is in them byte by byte (docs/FORMAT.md). Pure: encodes and decodes.
//!
//! Why a stale record is never taken for a new one. A segment file is used again under a new id without being zeroed, so old
//! records may lie behind the newest one. A record counts only when it is reached from the segment's header, which names
//! cluster, volume, segment and the history's point before its first record, through records that each continue the chain of
//! the one before. Chains are hashes over the whole history, so a record of an earlier life, or of a history that was rolled
//! back, does not continue a newer one. Marks and fragments name their segment, and ids are never used twice.

use crate::error::OpenError;
use crate::place::SegmentId;
use mainstay_protocol::limits::{BLOCK_BYTES, PAYLOAD_BYTES_MAX};
use mainstay_protocol::record::{block_count, crc32c};
use mainstay_protocol::{Chain, ClusterId, Epoch, LogPoint, Position, VolumeId};

/// Records or fragments start after this many bytes.
pub const SEGMENT_HEADER_BYTES: usize = 4096;
/// Part of the header that its checksum covers; the rest is zero.
const CHECKED_BYTES: usize = 128;
pub const SEGMENT_MAGIC: u32 = u32::from_le_bytes(*b"MSS1");
/// Format of segments, fragments and quarantine files.
pub const FORMAT_VERSION: u32 = 1;
pub const MARK_MAGIC: u32 = u32::from_le_bytes(*b"MSY1");
pub const MARK_BYTES: usize = 32;
pub const FRAGMENT_MAGIC: u32 = u32::from_le_bytes(*b"MSG1");
pub const FRAGMENT_HEADER_BYTES: usize = 64;

const PREFIX: &str = "log-";
const SUFFIX: &str = ".seg";

pub fn file_name(segment: SegmentId) -> String {
    format!("{PREFIX}{segment}{SUFFIX}")
}

/// The id in a segment's file name; `None` for other files.
pub fn parse_name(name: &str) -> Option<SegmentId> {
    let digits = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let id = u32::from_str_radix(digits, 16).ok()?;
    (file_name(SegmentId(id)) == name).then_some(SegmentId(id))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentKind {
    /// Records, and marks between them.
    Log,
    /// Copies of parts of payloads, made by compaction, repair and resync by change.
    Fragments,
    /// Like `Log`; the file holds records that were rolled back.
    Quarantine,
}

impl SegmentKind {
    fn code(self) -> u32 {
        match self {
            SegmentKind::Log => 1,
            SegmentKind::Fragments => 2,
            SegmentKind::Quarantine => 3,
        }
    }
    fn from_code(code: u32) -> Option<SegmentKind> {
        [SegmentKind::Log, SegmentKind::Fragments, SegmentKind::Quarantine].into_iter().find(|kind| kind.code() == code)
    }
}

/// First bytes of every segment that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    pub kind: SegmentKind,
    pub cluster: ClusterId,
    pub volume: VolumeId,
    pub segment: SegmentId,
    /// Size of the whole file.
    pub bytes: u64,
    /// Log: the history's point before the first record here. Also where the segment before ends, whatever lies behind that
    /// point in its file: this is how a roll-back cuts the log in one write.
    pub base: LogPoint,
    /// Log: the segment before, in which `base` lies; zero when there is none (the first, or after a resync by change).
    pub previous: SegmentId,
}

/// What the first bytes of a segment file say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SegmentUse {
    /// All zeros: prepared, not in use yet.
    Prepared,
    Used(SegmentHeader),
    /// Neither: torn while it was taken into use, or damaged.
    Unreadable(String),
}

impl SegmentHeader {
    /// Whether the log began anew here, at the end of a resync by change.
    pub fn began_after_walk(&self) -> bool {
        self.kind == SegmentKind::Log && self.previous == SegmentId(0) && self.base.position > Position(0)
    }

    /// What marks in this segment carry: a hash over things that no client can choose or see.
    pub fn key(&self) -> u64 {
        let mut input = [0; 36];
        input[..16].copy_from_slice(&self.cluster.0);
        input[16..32].copy_from_slice(&self.base.chain.0.to_le_bytes());
        input[32..].copy_from_slice(&self.segment.0.to_le_bytes());
        xxhash_rust::xxh3::xxh3_64(&input)
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; SEGMENT_HEADER_BYTES];
        out[0..4].copy_from_slice(&SEGMENT_MAGIC.to_le_bytes());
        out[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&self.kind.code().to_le_bytes());
        out[16..32].copy_from_slice(&self.cluster.0);
        out[32..36].copy_from_slice(&self.volume.0.to_le_bytes());
        out[36..40].copy_from_slice(&self.segment.0.to_le_bytes());
        out[40..48].copy_from_slice(&self.bytes.to_le_bytes());
        out[48..56].copy_from_slice(&self.base.epoch.0.to_le_bytes());
        out[56..64].copy_from_slice(&self.base.position.0.to_le_bytes());
        out[64..80].copy_from_slice(&self.base.chain.0.to_le_bytes());
        out[80..84].copy_from_slice(&self.previous.0.to_le_bytes());
        seal(&mut out[..CHECKED_BYTES]);
        out
    }

    /// Reads a segment's first bytes. Errors only for a format of a newer release.
    pub fn decode(file: &str, bytes: &[u8]) -> Result<SegmentUse, OpenError> {
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(SegmentUse::Prepared);
        }
        let Some(head) = bytes.get(..CHECKED_BYTES) else {
            return Ok(SegmentUse::Unreadable(format!("header cut short at {} bytes", bytes.len())));
        };
        if u32_at(head, 0) != SEGMENT_MAGIC {
            return Ok(SegmentUse::Unreadable(format!("not a segment (magic {:#010x})", u32_at(head, 0))));
        }
        if !sealed(head) {
            return Ok(SegmentUse::Unreadable("header checksum differs".into()));
        }
        let (found, known) = (u32_at(head, 8), FORMAT_VERSION);
        if found > known {
            return Err(OpenError::NewerFormat { file: file.into(), found, known });
        }
        let Some(kind) = SegmentKind::from_code(u32_at(head, 12)) else {
            return Ok(SegmentUse::Unreadable(format!("unknown kind of segment {}", u32_at(head, 12))));
        };
        let mut cluster = ClusterId::default();
        cluster.0.copy_from_slice(&head[16..32]);
        let base = LogPoint { epoch: Epoch(u64_at(head, 48)), position: Position(u64_at(head, 56)), chain: chain_at(head, 64) };
        let (volume, segment) = (VolumeId(u32_at(head, 32)), SegmentId(u32_at(head, 36)));
        let previous = SegmentId(u32_at(head, 80));
        Ok(SegmentUse::Used(SegmentHeader { kind, cluster, volume, segment, bytes: u64_at(head, 40), base, previous }))
    }
}

/// Proof, between records, that the disk had synced everything up to `durable` before it was written. Without such proof a
/// record that cannot be read is an unsynced tail; with it, it is damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub segment: SegmentId,
    pub durable: Position,
    /// [`SegmentHeader::key`]: recovery also looks for marks where file data may lie, and data must not pass for one.
    pub key: u64,
}

impl Mark {
    pub fn encode(&self) -> [u8; MARK_BYTES] {
        let mut out = [0; MARK_BYTES];
        out[0..4].copy_from_slice(&MARK_MAGIC.to_le_bytes());
        out[8..12].copy_from_slice(&self.segment.0.to_le_bytes());
        out[16..24].copy_from_slice(&self.durable.0.to_le_bytes());
        out[24..32].copy_from_slice(&self.key.to_le_bytes());
        seal(&mut out);
        out
    }
    pub fn decode(bytes: &[u8]) -> Option<Mark> {
        let bytes = bytes.first_chunk::<MARK_BYTES>()?;
        let good = u32_at(bytes, 0) == MARK_MAGIC && sealed(bytes);
        good.then(|| Mark { segment: SegmentId(u32_at(bytes, 8)), durable: Position(u64_at(bytes, 16)), key: u64_at(bytes, 24) })
    }
}

/// A part of a record's payload, kept apart from it. Then come the block checksums and the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentHeader {
    pub segment: SegmentId,
    pub volume: VolumeId,
    /// The record that wrote the data.
    pub position: Position,
    /// Where the data belonged when the fragment was made: lets compaction find the extents of a fragment segment.
    pub inode: u64,
    pub file_offset: u64,
    /// The data is bytes `payload_start..payload_start + len` of that record's payload.
    pub payload_start: u32,
    pub len: u32,
    /// CRC-32C of the table of block checksums (blocks of 16 KiB counted from the fragment's own first byte).
    pub table_crc: u32,
}

impl FragmentHeader {
    pub fn head_len(&self) -> usize {
        FRAGMENT_HEADER_BYTES + 4 * block_count(self.len as usize)
    }
    pub fn total_len(&self) -> usize {
        self.head_len() + self.len as usize
    }
    /// Bytes that `len` bytes of data take as a fragment.
    pub fn bytes_for(len: usize) -> usize {
        FRAGMENT_HEADER_BYTES + 4 * block_count(len) + len
    }

    /// Header and table for `data`; `table_crc` and `len` are filled in here.
    pub fn encode(mut self, data: &[u8]) -> Vec<u8> {
        assert!(data.len() <= PAYLOAD_BYTES_MAX);
        let mut out = Vec::with_capacity(FRAGMENT_HEADER_BYTES + 4 * block_count(data.len()));
        out.resize(FRAGMENT_HEADER_BYTES, 0);
        data.chunks(BLOCK_BYTES).for_each(|block| out.extend_from_slice(&crc32c(block).to_le_bytes()));
        self.len = data.len() as u32;
        self.table_crc = crc32c(&out[FRAGMENT_HEADER_BYTES..]);
        out[0..4].copy_from_slice(&FRAGMENT_MAGIC.to_le_bytes());
        out[8..12].copy_from_slice(&self.segment.0.to_le_bytes());
        out[12..16].copy_from_slice(&self.volume.0.to_le_bytes());
        out[16..24].copy_from_slice(&self.position.0.to_le_bytes());
        out[24..32].copy_from_slice(&self.inode.to_le_bytes());
        out[32..40].copy_from_slice(&self.file_offset.to_le_bytes());
        out[40..44].copy_from_slice(&self.payload_start.to_le_bytes());
        out[44..48].copy_from_slice(&self.len.to_le_bytes());
        out[48..52].copy_from_slice(&self.table_crc.to_le_bytes());
        seal(&mut out[..FRAGMENT_HEADER_BYTES]);
        out
    }

    pub fn decode(bytes: &[u8]) -> Option<FragmentHeader> {
        let head = bytes.first_chunk::<FRAGMENT_HEADER_BYTES>()?;
        let good = u32_at(head, 0) == FRAGMENT_MAGIC && sealed(head) && u32_at(head, 44) as usize <= PAYLOAD_BYTES_MAX;
        good.then(|| FragmentHeader {
            segment: SegmentId(u32_at(head, 8)),
            volume: VolumeId(u32_at(head, 12)),
            position: Position(u64_at(head, 16)),
            inode: u64_at(head, 24),
            file_offset: u64_at(head, 32),
            payload_start: u32_at(head, 40),
            len: u32_at(head, 44),
            table_crc: u32_at(head, 48),
        })
    }
}

/// All headers here: magic, checksum of everything behind the checksum, fields.
fn seal(bytes: &mut [u8]) {
    let crc = crc32c(&bytes[8..]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
}

fn sealed(bytes: &[u8]) -> bool {
    u32_at(bytes, 4) == crc32c(&bytes[8..])
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().rev().fold(0, |value, byte| value << 8 | *byte as u32)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u32_at(bytes, at) as u64 | (u32_at(bytes, at + 4) as u64) << 32
}

fn chain_at(bytes: &[u8], at: usize) -> Chain {
    Chain(u64_at(bytes, at) as u128 | (u64_at(bytes, at + 8) as u128) << 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        let base = LogPoint { epoch: Epoch(3), position: Position(77), chain: Chain(u128::MAX - 5) };
        SegmentHeader {
            kind: SegmentKind::Log,
            cluster: ClusterId([7; 16]),
            volume: VolumeId(4),
            segment: SegmentId(0xab),
            bytes: 1 << 26,
            base,
            previous: SegmentId(0xaa),
        }
    }

    #[test]
    fn names_are_told_from_other_files() {
        assert_eq!(file_name(SegmentId(0xab)), "log-000000ab.seg");
        assert_eq!(parse_name("log-000000ab.seg"), Some(SegmentId(0xab)));
        for other in ["log-ab.seg", "log-000000AB.seg", "log-000000ab.seg.unfinished", "view.redb", "log-+00000ab.seg"] {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }

    #[test]
    fn a_header_survives_and_every_flip_is_noticed() {
        let good = header().encode();
        assert_eq!(SegmentHeader::decode("x", &good), Ok(SegmentUse::Used(header())));
        assert_eq!(SegmentHeader::decode("x", &[0; SEGMENT_HEADER_BYTES]), Ok(SegmentUse::Prepared));
        for at in 0..CHECKED_BYTES {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(matches!(SegmentHeader::decode("x", &bad), Ok(SegmentUse::Unreadable(_))), "flip at {at}");
        }
        assert!(matches!(SegmentHeader::decode("x", &good[..100]), Ok(SegmentUse::Unreadable(_))));
    }

    #[test]
    fn a_newer_format_is_named() {
        let mut newer = header().encode();
        newer[8] = 9;
        seal(&mut newer[..CHECKED_BYTES]);
        let error = SegmentHeader::decode("log-1.seg", &newer).unwrap_err();
        assert!(error.to_string().contains("format version 9"), "{error}");
    }

    #[test]
    fn marks_and_fragments_survive() {
        let mark = Mark { segment: SegmentId(9), durable: Position(1 << 40), key: header().key() };
        assert_eq!(Mark::decode(&mark.encode()), Some(mark));
        let mut bad = mark.encode();
        bad[17] ^= 4;
        assert_eq!(Mark::decode(&bad), None);
        let data = vec![3; 40_000];
        let fragment = FragmentHeader {
            segment: SegmentId(2),
            volume: VolumeId(1),
            position: Position(5),
            inode: 6,
            file_offset: 7,
            payload_start: 8,
            len: 0,
            table_crc: 0,
        };
        let head = fragment.encode(&data);
        let decoded = FragmentHeader::decode(&head).unwrap();
        assert_eq!((decoded.len, decoded.head_len(), decoded.inode), (40_000, head.len(), 6));
        assert_eq!(decoded.table_crc, crc32c(&head[FRAGMENT_HEADER_BYTES..]));
        assert_eq!(decoded.total_len(), FragmentHeader::bytes_for(40_000));
    }
}
