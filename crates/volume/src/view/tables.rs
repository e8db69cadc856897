//! The tables of the view's file: names, keys, values (docs/FORMAT.md, "The view"), and a read snapshot over them.
//!
//! Keys are big-endian, so that their bytes sort as their numbers do; values are postcard or fixed little-endian.

use crate::place::{Place, SegmentId, StoredExtent};
use crate::view::error::ViewError;
use bytes::Bytes;
use mainstay_protocol::peer::{EpochStart, ResyncCursor};
use mainstay_protocol::{ClusterId, Epoch, FileId, FileResult, InodeRow, LogPoint, Position, RequestId, Timestamp, VolumeId};
use redb::{Database, ReadOnlyTable, ReadableDatabase, TableDefinition};
use serde::{Deserialize, Serialize};

/// Raised when a key or value changes its layout.
pub const VIEW_FORMAT: u32 = 1;

pub(crate) type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;
pub(crate) type Rows = ReadOnlyTable<&'static [u8], &'static [u8]>;

pub(crate) const BASE: Definition = TableDefinition::new("base");
pub(crate) const INODES: Definition = TableDefinition::new("inodes");
pub(crate) const ENTRIES: Definition = TableDefinition::new("entries");
pub(crate) const COOKIES: Definition = TableDefinition::new("cookies");
pub(crate) const EXTENTS: Definition = TableDefinition::new("extents");
pub(crate) const TARGETS: Definition = TableDefinition::new("targets");
pub(crate) const REPLIES: Definition = TableDefinition::new("replies");
pub(crate) const RECLAIM: Definition = TableDefinition::new("reclaim");
pub(crate) const SEGMENTS: Definition = TableDefinition::new("segments");
pub(crate) const ALL: [Definition; 9] = [BASE, INODES, ENTRIES, COOKIES, EXTENTS, TARGETS, REPLIES, RECLAIM, SEGMENTS];

/// Keys in [`BASE`]: whose file this is, written once, and what it holds, written by every checkpoint.
pub(crate) const FILE_KEY: &[u8] = b"file";
pub(crate) const BASE_KEY: &[u8] = b"base";

/// What the view stands at, besides its rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// Every record up to here is in the rows. During a resync by change: the point that the copy had when it began.
    pub point: LogPoint,
    pub lineage: Vec<EpochStart>,
    pub loss_epoch: u64,
    /// Time of the newest record: stamps are later than this.
    pub clock: Timestamp,
    pub resync: Option<ResyncState>,
    pub inodes: u64,
    /// Data bytes of all files; holes count nothing.
    pub bytes_used: u64,
    /// No row anywhere is keyed by a higher inode number, so a look-up above it need not search.
    pub inode_max: u64,
}

/// A resync by change that is not finished (docs/ARCHITECTURE.md, "Resync").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResyncState {
    /// Fetching changed inodes.
    Walking {
        cursor: ResyncCursor,
        /// Becomes the view's when the walk ends.
        lineage: Vec<EpochStart>,
        /// The source's last position as of the newest batch: the copy is whole again from there.
        at: Position,
    },
    /// The log is applied from the walk's base; changes that the walk saw already are skipped.
    Replaying {
        until: Position,
        /// Of the record at `until`, in the source's history.
        epoch: Epoch,
    },
}

/// Whose file this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileMark {
    pub format: u32,
    pub cluster: ClusterId,
    pub volume: VolumeId,
}

impl FileMark {
    pub fn encode(&self) -> [u8; 24] {
        let mut out = [0; 24];
        out[..4].copy_from_slice(&self.format.to_le_bytes());
        out[4..20].copy_from_slice(&self.cluster.0);
        out[20..].copy_from_slice(&self.volume.0.to_le_bytes());
        out
    }
    pub fn decode(bytes: &[u8]) -> Option<FileMark> {
        let bytes: &[u8; 24] = bytes.try_into().ok()?;
        Some(FileMark {
            format: u32_le(bytes, 0),
            cluster: ClusterId(bytes[4..20].try_into().ok()?),
            volume: VolumeId(u32_le(bytes, 20)),
        })
    }
    /// Refuses a file of another cluster, volume or a newer program.
    pub fn check(&self, expected: &FileMark) -> Result<(), ViewError> {
        if self.format != expected.format {
            return Err(ViewError::NewerFormat { found: self.format, known: expected.format });
        }
        if self.cluster != expected.cluster {
            return Err(ViewError::OtherCluster { found: self.cluster, expected: expected.cluster });
        }
        if self.volume != expected.volume {
            return Err(ViewError::OtherVolume { found: self.volume, expected: expected.volume });
        }
        Ok(())
    }
}

/// What a directory entry points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub file: FileId,
    pub cookie: u64,
}

/// The first answer to a request, encoded, with the time of its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReplyRow {
    pub time_ms: i64,
    pub id: RequestId,
    /// postcard `FileResult`.
    pub result: Box<[u8]>,
}

/// The value of an extent row; its key holds the inode and where the run *ends*. Runs do not overlap, so the order of ends is
/// the order of starts, and "the first run that reaches past an offset" is one forward search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub len: u32,
    pub position: Position,
    pub place: Place,
    pub payload_offset: u32,
}

impl Run {
    pub fn of(extent: &StoredExtent) -> Run {
        Run { len: extent.len, position: extent.position, place: extent.place, payload_offset: extent.payload_offset }
    }
    pub fn ending_at(self, end: u64) -> StoredExtent {
        StoredExtent {
            offset: end - self.len as u64,
            len: self.len,
            position: self.position,
            place: self.place,
            payload_offset: self.payload_offset,
        }
    }
}

fn u32_le(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}
fn u64_le(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
fn u64_be(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

pub(crate) fn pair_key(first: u64, second: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&first.to_be_bytes());
    key[8..].copy_from_slice(&second.to_be_bytes());
    key
}
pub(crate) fn entry_key(dir: u64, name: &[u8]) -> Vec<u8> {
    [&dir.to_be_bytes()[..], name].concat()
}
pub(crate) fn decode_pair(key: &[u8]) -> Result<(u64, u64), ViewError> {
    if key.len() == 16 { Ok((u64_be(key, 0), u64_be(key, 8))) } else { Err(ViewError::damaged("a key has a wrong length")) }
}
pub(crate) fn decode_number(key: &[u8]) -> Result<u64, ViewError> {
    if key.len() == 8 { Ok(u64_be(key, 0)) } else { Err(ViewError::damaged("a key has a wrong length")) }
}

pub(crate) fn encode_row(row: &InodeRow) -> Vec<u8> {
    postcard::to_stdvec(row).expect("a row always encodes")
}
pub(crate) fn decode_row(bytes: &[u8]) -> Result<InodeRow, ViewError> {
    postcard::from_bytes(bytes).map_err(|_| ViewError::damaged("an inode row cannot be decoded"))
}

pub(crate) fn encode_entry(entry: &Entry) -> [u8; 24] {
    let mut out = [0; 24];
    out[..8].copy_from_slice(&entry.file.inode.to_le_bytes());
    out[8..16].copy_from_slice(&entry.file.generation.to_le_bytes());
    out[16..].copy_from_slice(&entry.cookie.to_le_bytes());
    out
}
pub(crate) fn decode_entry(bytes: &[u8]) -> Result<Entry, ViewError> {
    if bytes.len() != 24 {
        return Err(ViewError::damaged("an entry has a wrong length"));
    }
    let file = FileId { inode: u64_le(bytes, 0), generation: u64_le(bytes, 8) };
    Ok(Entry { file, cookie: u64_le(bytes, 16) })
}

pub(crate) fn encode_cookie(name: &[u8], file: FileId) -> Vec<u8> {
    [&file.inode.to_le_bytes()[..], &file.generation.to_le_bytes(), name].concat()
}
pub(crate) fn decode_cookie(bytes: &[u8]) -> Result<(Bytes, FileId), ViewError> {
    if bytes.len() < 17 {
        return Err(ViewError::damaged("a cookie row is too short"));
    }
    let file = FileId { inode: u64_le(bytes, 0), generation: u64_le(bytes, 8) };
    Ok((Bytes::copy_from_slice(&bytes[16..]), file))
}

pub(crate) fn encode_run(run: &Run) -> [u8; 24] {
    let mut out = [0; 24];
    out[..8].copy_from_slice(&run.position.0.to_le_bytes());
    out[8..12].copy_from_slice(&run.len.to_le_bytes());
    out[12..16].copy_from_slice(&run.place.segment.0.to_le_bytes());
    out[16..20].copy_from_slice(&run.place.offset.to_le_bytes());
    out[20..].copy_from_slice(&run.payload_offset.to_le_bytes());
    out
}
pub(crate) fn decode_run(end: u64, bytes: &[u8]) -> Result<Run, ViewError> {
    if bytes.len() != 24 || u32_le(bytes, 8) as u64 > end {
        return Err(ViewError::damaged("an extent row is not possible"));
    }
    Ok(Run {
        position: Position(u64_le(bytes, 0)),
        len: u32_le(bytes, 8),
        place: Place { segment: SegmentId(u32_le(bytes, 12)), offset: u32_le(bytes, 16) },
        payload_offset: u32_le(bytes, 20),
    })
}

pub(crate) fn encode_reply(row: &ReplyRow) -> Vec<u8> {
    let head = row.time_ms.to_le_bytes().to_vec();
    let mut out = postcard::to_extend(&row.id, head).expect("a request identity always encodes");
    out.extend_from_slice(&row.result);
    out
}
pub(crate) fn decode_reply(bytes: &[u8]) -> Result<ReplyRow, ViewError> {
    let damaged = || ViewError::damaged("a reply row cannot be decoded");
    let (time, rest) = bytes.split_first_chunk::<8>().ok_or_else(damaged)?;
    let (id, result) = postcard::take_from_bytes(rest).map_err(|_| damaged())?;
    Ok(ReplyRow { time_ms: i64::from_le_bytes(*time), id, result: result.into() })
}
pub(crate) fn decode_result(bytes: &[u8]) -> Result<FileResult, ViewError> {
    postcard::from_bytes(bytes).map_err(|_| ViewError::damaged("a kept reply cannot be decoded"))
}

pub(crate) fn encode_base(base: &Base) -> Vec<u8> {
    postcard::to_stdvec(base).expect("the base always encodes")
}

/// The file's tables as one committed checkpoint left them; opened once per checkpoint, not per look-up.
pub(crate) struct Snapshot {
    pub base: Base,
    pub inodes: Rows,
    pub entries: Rows,
    pub cookies: Rows,
    pub extents: Rows,
    pub targets: Rows,
    pub replies: Rows,
    pub reclaim: Rows,
    pub segments: Rows,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Snapshot({})", self.base.point)
    }
}

impl Snapshot {
    pub fn open(database: &Database) -> Result<Snapshot, ViewError> {
        let read = database.begin_read()?;
        let base = read.open_table(BASE)?;
        let row = base.get(BASE_KEY)?.ok_or_else(|| ViewError::damaged("it says not what it holds"))?;
        Ok(Snapshot {
            base: postcard::from_bytes(row.value()).map_err(|_| ViewError::damaged("its base cannot be decoded"))?,
            inodes: read.open_table(INODES)?,
            entries: read.open_table(ENTRIES)?,
            cookies: read.open_table(COOKIES)?,
            extents: read.open_table(EXTENTS)?,
            targets: read.open_table(TARGETS)?,
            replies: read.open_table(REPLIES)?,
            reclaim: read.open_table(RECLAIM)?,
            segments: read.open_table(SEGMENTS)?,
        })
    }

    pub fn inode(&self, inode: u64) -> Result<Option<InodeRow>, ViewError> {
        self.inodes.get(&inode.to_be_bytes()[..])?.map(|row| decode_row(row.value())).transpose()
    }
    pub fn entry(&self, dir: u64, name: &[u8]) -> Result<Option<Entry>, ViewError> {
        self.entries.get(&entry_key(dir, name)[..])?.map(|row| decode_entry(row.value())).transpose()
    }
    pub fn target(&self, inode: u64) -> Result<Option<Bytes>, ViewError> {
        Ok(self.targets.get(&inode.to_be_bytes()[..])?.map(|row| Bytes::copy_from_slice(row.value())))
    }
    pub fn reply(&self, position: u64) -> Result<Option<ReplyRow>, ViewError> {
        self.replies.get(&position.to_be_bytes()[..])?.map(|row| decode_reply(row.value())).transpose()
    }

    /// Entries of `dir` in the order of their cookies, those above `after`.
    pub fn cookies_after(&self, dir: u64, after: u64) -> Result<impl Iterator<Item = CookieItem> + use<>, ViewError> {
        let (from, to) = (pair_key(dir, after.saturating_add(1)), pair_key(dir, u64::MAX));
        let rows = self.cookies.range::<&[u8]>(&from[..]..=&to[..])?;
        Ok(rows.map(|row| {
            let (key, value) = row?;
            Ok((decode_pair(key.value())?, decode_cookie(value.value())?))
        }))
    }

    /// Runs of `inode` that end after `after`.
    pub fn runs_after(&self, inode: u64, after: u64) -> Result<impl Iterator<Item = RunItem> + use<>, ViewError> {
        let (from, to) = (pair_key(inode, after.saturating_add(1)), pair_key(inode, u64::MAX));
        let rows = self.extents.range::<&[u8]>(&from[..]..=&to[..])?;
        Ok(rows.map(|row| {
            let (key, value) = row?;
            let key = decode_pair(key.value())?;
            Ok((key, decode_run(key.1, value.value())?))
        }))
    }

    pub fn inodes_after(&self, after: u64) -> Result<impl Iterator<Item = Result<(u64, InodeRow), ViewError>> + use<>, ViewError> {
        let from = after.saturating_add(1).to_be_bytes();
        Ok(self.inodes.range::<&[u8]>(&from[..]..)?.map(|row| {
            let (key, value) = row?;
            Ok((decode_number(key.value())?, decode_row(value.value())?))
        }))
    }
}

pub(crate) type CookieItem = Result<((u64, u64), (Bytes, FileId)), ViewError>;
pub(crate) type RunItem = Result<((u64, u64), Run), ViewError>;

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_protocol::{FileError, FileKind};

    /// The bytes of docs/FORMAT.md, "The view": what is asserted here may change with [`VIEW_FORMAT`] only.
    #[test]
    fn rows_have_the_bytes_that_the_format_says() {
        let file = FileId { inode: 0x0102, generation: 3 };
        assert_eq!(pair_key(1, 0x0203), [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 2, 3]);
        assert_eq!(entry_key(5, b"name"), b"\0\0\0\0\0\0\0\x05name");
        assert_eq!(encode_entry(&Entry { file, cookie: 9 })[..9], [2, 1, 0, 0, 0, 0, 0, 0, 3]);
        assert_eq!(encode_cookie(b"n", file), [2, 1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, b'n']);
        let place = Place { segment: SegmentId(0x0a0b), offset: 0x0c };
        let run = Run { len: 0x0d, position: Position(0x0e), place, payload_offset: 0x0f };
        let bytes = [0x0e, 0, 0, 0, 0, 0, 0, 0, 0x0d, 0, 0, 0, 0x0b, 0x0a, 0, 0, 0x0c, 0, 0, 0, 0x0f, 0, 0, 0];
        assert_eq!(encode_run(&run), bytes);
        let row =
            ReplyRow { time_ms: 258, id: RequestId { client: [1; 16], xid: 2, procedure: 3, checksum: 4 }, result: [7].into() };
        let bytes = [[2, 1, 0, 0, 0, 0, 0, 0].to_vec(), vec![1; 16], vec![2, 3, 4, 7]].concat();
        assert_eq!(encode_reply(&row), bytes);
        let mark = FileMark { format: 1, cluster: ClusterId([6; 16]), volume: VolumeId(5) };
        assert_eq!(mark.encode()[..], [vec![1, 0, 0, 0], vec![6; 16], vec![5, 0, 0, 0]].concat());
        let refused: FileResult = Err(FileError::Exists.into());
        assert_eq!(postcard::to_stdvec(&refused).unwrap(), [1, 4, 0, 0, 0, 0]);
    }

    #[test]
    fn rows_survive_and_wrong_ones_are_refused() {
        let row = crate::plan::root_row(Timestamp::new(-5, 7));
        assert_eq!(decode_row(&encode_row(&row)), Ok(row.clone()));
        let node = InodeRow { kind: FileKind::BlockDevice { major: 8, minor: 1 }, exclusive: Some([1; 8]), ..row };
        assert_eq!(decode_row(&encode_row(&node)), Ok(node));
        for len in 0..16 {
            assert!(decode_pair(&[0; 15][..len.min(15)]).is_err() && decode_cookie(&[0; 16][..len]).is_err());
            assert!(decode_entry(&[0; 23]).is_err() && decode_run(9, &[0; 23]).is_err() && decode_reply(&[0; 16][..len]).is_err());
        }
        assert!(decode_run(9, &[1; 24]).is_err(), "a run cannot be longer than where it ends");
        assert!(decode_row(&[0xff; 40]).is_err());
    }
}
