//! Log records: the same bytes on the wire and in the segments of every replica.
//!
//! A record is a *head* (fixed header, body, block checksums) and a *payload* (file data, stored nowhere else):
//!
//! ```text
//!  0  magic        u32 LE  "MSR1"
//!  4  header_crc   u32     CRC-32C of bytes 8..80
//!  8  position     u64
//! 16  epoch        u64
//! 24  seconds      i64     the primary's wall clock; never goes back within a volume
//! 32  nanos        u32
//! 36  flags        u32     bit 0: the client asked for stable storage
//! 40  body_len     u32
//! 44  payload_len  u32
//! 48  body_crc     u32     CRC-32C of the body
//! 52  table_crc    u32     CRC-32C of the block checksum table
//! 56  volume       u32
//! 60  reserved     u32     zero
//! 64  chain        u128    history up to and including this record
//! 80  body         postcard RecordBody
//!  …  table        u32 per 16 KiB of payload: CRC-32C of that block
//!  …  payload
//! ```
//!
//! The body holds *changes*, not an operation to be performed again: absolute puts and removals that the primary decided
//! once. Replicas apply them without judgement, which is why handles, cookies and times are equal everywhere, and why a
//! change can be applied to a copy that is already newer without harm (resync relies on this).

use crate::file::{FileKind, FileResult, RequestId};
use crate::ids::{Chain, Epoch, FileId, LogPoint, Position, VolumeId};
use crate::limits::{BLOCK_BYTES, BODY_BYTES_MAX, PAYLOAD_BYTES_MAX};
use crate::time::Timestamp;
use bytes::{Buf, Bytes};
use serde::{Deserialize, Serialize};

pub const RECORD_MAGIC: u32 = u32::from_le_bytes(*b"MSR1");
pub const HEADER_BYTES: usize = 80;
/// The client asked for stable storage, so the reply waits for sync on every in-sync replica.
pub const FLAG_STABLE: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InodeRow {
    pub file: FileId,
    pub kind: FileKind,
    pub mode: u16,
    pub links: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    /// Data bytes held (extents); for directories the number of entries, `.` and `..` not counted.
    pub used: u64,
    pub atime: Timestamp,
    pub mtime: Timestamp,
    pub ctime: Timestamp,
    /// Directories: the inode of `..`. Others: zero.
    pub parent: u64,
    /// Verifier of an exclusive CREATE, until the first SETATTR.
    pub exclusive: Option<[u8; 8]>,
    /// Position of the last record that touched the inode, its extents or its entries.
    pub changed_at: Position,
}

/// A run of file data inside a record's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    pub offset: u64,
    pub len: u32,
    /// Where in the record's payload the run starts.
    pub payload_offset: u32,
}

/// One absolute change. Append variants only: postcard is positional.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// The whole row, new or replaced.
    PutInode(InodeRow),
    /// The inode, its extents, its symlink target. Its entries are gone already.
    RemoveInode {
        file: FileId,
    },
    /// Cookies are the position of the record that made the entry plus [`COOKIE_BASE`]: persistent, never reused in a
    /// directory, ordered by age.
    PutEntry {
        dir: u64,
        name: Bytes,
        target: FileId,
        cookie: u64,
    },
    RemoveEntry {
        dir: u64,
        name: Bytes,
        cookie: u64,
    },
    /// File data: `extent` of this record's payload now backs the file there, over whatever was there before.
    PutExtent {
        inode: u64,
        extent: Extent,
    },
    /// No data from `size` on.
    Truncate {
        inode: u64,
        size: u64,
    },
    PutTarget {
        inode: u64,
        target: Bytes,
    },
    /// The write verifier changes, because something acknowledged as unstable may be missing (NFS.md, "write verifier").
    SetLossEpoch(u64),
}

/// Cookies 1 and 2 are `.` and `..`.
pub const COOKIE_BASE: u64 = 2;

impl Change {
    /// The inode whose `changed_at` guards this change when it is applied to a copy that may be newer.
    pub fn owner(&self) -> Option<u64> {
        match self {
            Change::PutInode(row) => Some(row.file.inode),
            Change::RemoveInode { file } => Some(file.inode),
            Change::PutEntry { dir, .. } | Change::RemoveEntry { dir, .. } => Some(*dir),
            Change::PutExtent { inode, .. } | Change::Truncate { inode, .. } | Change::PutTarget { inode, .. } => Some(*inode),
            Change::SetLossEpoch(_) => None,
        }
    }
}

/// What the record was, for people and metrics. Append variants only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum OpKind {
    /// Position 1: makes the root directory.
    Format,
    /// First record of every later epoch, made by its primary before it serves.
    EpochStart,
    Write,
    SetAttributes,
    Create,
    MakeDirectory,
    MakeSymlink,
    MakeNode,
    Remove,
    RemoveDirectory,
    Rename,
    Link,
    /// Changes nothing; replicas compute a digest of their state right after it (`mainstay verify`).
    Mark,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordBody {
    pub kind: OpKind,
    pub changes: Vec<Change>,
    /// The first answer to a request that must not happen twice, in the same record as its effect.
    pub reply: Option<(RequestId, FileResult)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    pub position: Position,
    pub epoch: Epoch,
    pub time: Timestamp,
    pub flags: u32,
    pub body_len: u32,
    pub payload_len: u32,
    pub body_crc: u32,
    pub table_crc: u32,
    pub volume: VolumeId,
    pub chain: Chain,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("record is cut short: {have} of {need} bytes")]
    Short { have: usize, need: usize },
    #[error("not a record (magic {0:#010x})")]
    Magic(u32),
    #[error("record header is damaged (checksum)")]
    HeaderChecksum,
    #[error("record {0} claims an impossible length (body {1}, payload {2})")]
    Length(Position, u32, u32),
    #[error("body of record {0} is damaged (checksum)")]
    BodyChecksum(Position),
    #[error("block {1} of record {0} is damaged (checksum)")]
    BlockChecksum(Position, u32),
    #[error("body of record {0} cannot be decoded")]
    Body(Position),
    #[error("record {found} does not continue the history after {after}: chain differs")]
    Chain { after: LogPoint, found: Position },
}

pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// Blocks of a payload of `len` bytes.
pub const fn block_count(len: usize) -> usize {
    len.div_ceil(BLOCK_BYTES)
}

impl RecordHeader {
    /// Length of header, body and table together.
    pub fn head_len(&self) -> usize {
        HEADER_BYTES + self.body_len as usize + 4 * block_count(self.payload_len as usize)
    }
    pub fn total_len(&self) -> usize {
        self.head_len() + self.payload_len as usize
    }
    /// Where the block checksum table starts.
    pub fn table_offset(&self) -> usize {
        HEADER_BYTES + self.body_len as usize
    }
    pub fn stable(&self) -> bool {
        self.flags & FLAG_STABLE != 0
    }
    pub fn point(&self) -> LogPoint {
        LogPoint { epoch: self.epoch, position: self.position, chain: self.chain }
    }

    fn encode(&self, out: &mut [u8; HEADER_BYTES]) {
        out[0..4].copy_from_slice(&RECORD_MAGIC.to_le_bytes());
        out[8..16].copy_from_slice(&self.position.0.to_le_bytes());
        out[16..24].copy_from_slice(&self.epoch.0.to_le_bytes());
        out[24..32].copy_from_slice(&self.time.seconds.to_le_bytes());
        out[32..36].copy_from_slice(&self.time.nanos.to_le_bytes());
        out[36..40].copy_from_slice(&self.flags.to_le_bytes());
        out[40..44].copy_from_slice(&self.body_len.to_le_bytes());
        out[44..48].copy_from_slice(&self.payload_len.to_le_bytes());
        out[48..52].copy_from_slice(&self.body_crc.to_le_bytes());
        out[52..56].copy_from_slice(&self.table_crc.to_le_bytes());
        out[56..60].copy_from_slice(&self.volume.0.to_le_bytes());
        out[60..64].fill(0);
        out[64..80].copy_from_slice(&self.chain.0.to_le_bytes());
        let crc = crc32c(&out[8..HEADER_BYTES]);
        out[4..8].copy_from_slice(&crc.to_le_bytes());
    }

    /// Decodes and checks a header alone; bounds its lengths.
    pub fn decode(bytes: &[u8]) -> Result<RecordHeader, RecordError> {
        let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(RecordError::Short { have: bytes.len(), need: HEADER_BYTES });
        };
        let u32_at = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let u64_at = |at: usize| u64_le(&head[at..at + 8]);
        if u32_at(0) != RECORD_MAGIC {
            return Err(RecordError::Magic(u32_at(0)));
        }
        if u32_at(4) != crc32c(&head[8..]) {
            return Err(RecordError::HeaderChecksum);
        }
        let header = RecordHeader {
            position: Position(u64_at(8)),
            epoch: Epoch(u64_at(16)),
            time: Timestamp { seconds: u64_at(24) as i64, nanos: u32_at(32) },
            flags: u32_at(36),
            body_len: u32_at(40),
            payload_len: u32_at(44),
            body_crc: u32_at(48),
            table_crc: u32_at(52),
            volume: VolumeId(u32_at(56)),
            chain: Chain(u64_at(64) as u128 | (u64_at(72) as u128) << 64),
        };
        if header.body_len as usize > BODY_BYTES_MAX || header.payload_len as usize > PAYLOAD_BYTES_MAX {
            return Err(RecordError::Length(header.position, header.body_len, header.payload_len));
        }
        Ok(header)
    }

    /// The chain that a record with these fields must have after `previous`.
    fn chain_after(&self, previous: Chain) -> Chain {
        let mut encoded = [0u8; HEADER_BYTES];
        let unchained = RecordHeader { chain: Chain(0), ..*self };
        unchained.encode(&mut encoded);
        let mut input = [0u8; 16 + 56];
        input[..16].copy_from_slice(&previous.0.to_le_bytes());
        input[16..].copy_from_slice(&encoded[8..64]);
        Chain(xxhash_rust::xxh3::xxh3_128(&input))
    }
}

fn u64_le(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | *byte as u64)
}

/// A record ready for disk and wire: encoded once by the primary, cloned by reference from there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub header: RecordHeader,
    /// Header, body and block checksums as they are stored.
    pub head: Bytes,
    pub payload: Bytes,
}

impl Record {
    /// Encodes a record that follows `previous`. `payload` must not pass [`PAYLOAD_BYTES_MAX`], the body not
    /// [`BODY_BYTES_MAX`]: the primary's planner bounds both.
    pub fn encode(
        volume: VolumeId,
        previous: LogPoint,
        epoch: Epoch,
        time: Timestamp,
        stable: bool,
        body: &RecordBody,
        payload: Bytes,
    ) -> Record {
        assert!(payload.len() <= PAYLOAD_BYTES_MAX && epoch >= previous.epoch);
        let mut head = Vec::with_capacity(HEADER_BYTES + 256 + 4 * block_count(payload.len()));
        head.resize(HEADER_BYTES, 0);
        let mut head = postcard::to_extend(body, head).expect("a record body always encodes");
        let body_len = head.len() - HEADER_BYTES;
        assert!(body_len <= BODY_BYTES_MAX);
        payload.chunks(BLOCK_BYTES).for_each(|block| head.extend_from_slice(&crc32c(block).to_le_bytes()));
        let mut header = RecordHeader {
            position: previous.position.next(),
            epoch,
            time,
            flags: if stable { FLAG_STABLE } else { 0 },
            body_len: body_len as u32,
            payload_len: payload.len() as u32,
            body_crc: crc32c(&head[HEADER_BYTES..HEADER_BYTES + body_len]),
            table_crc: crc32c(&head[HEADER_BYTES + body_len..]),
            volume,
            chain: Chain(0),
        };
        header.chain = header.chain_after(previous.chain);
        let fixed: &mut [u8; HEADER_BYTES] = (&mut head[..HEADER_BYTES]).try_into().expect("the header's own length");
        header.encode(fixed);
        Record { header, head: Bytes::from(head), payload }
    }

    /// Takes one record off the front of `bytes` and checks everything but its place in the history.
    pub fn decode(bytes: &mut Bytes) -> Result<Record, RecordError> {
        let header = RecordHeader::decode(bytes)?;
        if bytes.len() < header.total_len() {
            return Err(RecordError::Short { have: bytes.len(), need: header.total_len() });
        }
        let head = bytes.split_to(header.head_len());
        let payload = bytes.split_to(header.payload_len as usize);
        let record = Record { header, head, payload };
        record.check_head()?;
        record.check_payload()?;
        Ok(record)
    }

    fn check_head(&self) -> Result<(), RecordError> {
        let table = self.header.table_offset();
        let whole =
            crc32c(&self.head[HEADER_BYTES..table]) == self.header.body_crc && crc32c(&self.head[table..]) == self.header.table_crc;
        if whole { Ok(()) } else { Err(RecordError::BodyChecksum(self.header.position)) }
    }

    fn check_payload(&self) -> Result<(), RecordError> {
        let mut table = &self.head[self.header.table_offset()..];
        for (index, block) in self.payload.chunks(BLOCK_BYTES).enumerate() {
            if table.get_u32_le() != crc32c(block) {
                return Err(RecordError::BlockChecksum(self.header.position, index as u32));
            }
        }
        Ok(())
    }

    /// Whether this record continues the history that ends at `previous`.
    pub fn check_follows(&self, previous: LogPoint) -> Result<(), RecordError> {
        let follows = self.header.position == previous.position.next()
            && self.header.epoch >= previous.epoch
            && self.header.chain == self.header.chain_after(previous.chain);
        if follows { Ok(()) } else { Err(RecordError::Chain { after: previous, found: self.header.position }) }
    }

    pub fn body(&self) -> Result<RecordBody, RecordError> {
        postcard::from_bytes(&self.head[HEADER_BYTES..self.header.table_offset()])
            .map_err(|_| RecordError::Body(self.header.position))
    }

    pub fn point(&self) -> LogPoint {
        self.header.point()
    }
    pub fn total_len(&self) -> usize {
        self.head.len() + self.payload.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(previous: LogPoint, payload: usize) -> Record {
        let body = RecordBody { kind: OpKind::Write, changes: vec![Change::Truncate { inode: 7, size: 9 }], reply: None };
        Record::encode(VolumeId(3), previous, Epoch(2), Timestamp::new(5, 6), true, &body, Bytes::from(vec![0xab; payload]))
    }

    fn wire(record: &Record) -> Vec<u8> {
        [&record.head[..], &record.payload[..]].concat()
    }

    #[test]
    fn a_record_survives_the_wire() {
        let first = sample(LogPoint::default(), 40_000);
        let second = sample(first.point(), 0);
        let mut bytes = Bytes::from([wire(&first), wire(&second)].concat());
        assert_eq!(Record::decode(&mut bytes).unwrap(), first);
        let decoded = Record::decode(&mut bytes).unwrap();
        assert_eq!(decoded, second);
        assert!(bytes.is_empty());
        decoded.check_follows(first.point()).unwrap();
        assert!(decoded.check_follows(LogPoint::default()).is_err());
        assert_eq!(decoded.body().unwrap().changes.len(), 1);
    }

    #[test]
    fn every_flipped_byte_is_noticed() {
        let record = sample(LogPoint::default(), 20_000);
        let good = wire(&record);
        for at in (0..good.len()).filter(|at| *at < 200 || at % 97 == 0) {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert!(Record::decode(&mut Bytes::from(bad)).is_err(), "flip at {at} went unnoticed");
        }
        for len in (0..good.len()).step_by(61) {
            assert!(Record::decode(&mut Bytes::copy_from_slice(&good[..len])).is_err(), "cut at {len} went unnoticed");
        }
    }
}
