//! Reading what was set aside when a divergent tail was rolled back (R9; written by [`crate::log::quarantine`]). Nothing here
//! changes the volume: people look at the records, compare them, copy them out, and only then let go of them.
//!
//! A file is taken record by record, so that memory is bounded by one record whatever its size; each is checked like any other
//! (header, body, every block, and that it continues the one before). What cannot be read is said with its place, and everything
//! before it stays readable.

mod image;
mod words;

pub use image::{FileImage, Image, Part, Path, TooLarge, path_text};
pub use words::{Names, sentence};

use crate::disk::{Disk, DiskFile};
use crate::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, SegmentKind, SegmentUse};
use bytes::Bytes;
use mainstay_protocol::record::{HEADER_BYTES, RecordError};
use mainstay_protocol::{LogPoint, Position, Record, RecordBody, RecordHeader, Timestamp, VolumeId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

const PREFIX: &str = "quarantine-";
const SUFFIX: &str = ".log";
/// Files listed of one volume; a tail more comes from one divergence, and there are seldom two.
pub const FILES_MAX: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuarantineError {
    #[error("{file}: {message}")]
    Disk { file: String, message: String },
    #[error("{file} is no quarantine file of this volume: {problem}")]
    Header { file: String, problem: String },
    /// The space was taken, the records were not all written.
    #[error(
        "{file} holds nothing from byte {at} on: the node stopped while it set the records aside, and did so again afterwards; look for another file with the same positions"
    )]
    Unfinished { file: String, at: u64 },
    #[error("{file}: the record at byte {at} cannot be read ({problem}); what comes before it can")]
    Record { file: String, at: u64, problem: String },
}

/// One file, as far as its name and header say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Unique in the cluster: the name holds the node that set it aside.
    pub id: String,
    pub file: String,
    pub bytes: u64,
    /// The common point that was gone back to.
    pub base: LogPoint,
    /// Epoch of the first record that was set aside.
    pub epoch: u64,
    pub first: u64,
    pub last: u64,
    /// Why nothing of it can be read.
    pub damage: Option<String>,
}

impl Summary {
    pub fn records(&self) -> u64 {
        (self.last + 1).saturating_sub(self.first)
    }
}

/// A record as it is shown: everything but its data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TailRecord {
    /// Byte of the quarantine file where it begins.
    pub at: u64,
    pub position: u64,
    pub epoch: u64,
    pub time: Timestamp,
    /// The client asked for stable storage.
    pub stable: bool,
    pub payload_bytes: u32,
    /// The answers to clients are left out.
    pub body: RecordBody,
    /// What is wrong with its data; the rest of it is sound.
    pub damage: Option<String>,
}

/// The id under which people know a quarantine file.
pub fn id_of(volume: VolumeId, file: &str) -> Option<String> {
    Some(format!("{volume}-{}", file.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?))
}

/// All quarantine files of a volume, by name; no more than [`FILES_MAX`].
pub fn list(disk: &dyn Disk, volume: VolumeId) -> Result<Vec<Summary>, QuarantineError> {
    let names = disk.list().map_err(|error| failed("the volume's directory", &error))?;
    let kept = names.into_iter().filter_map(|file| Some((id_of(volume, &file)?, file)));
    Ok(kept.take(FILES_MAX).map(|(id, file)| summary(disk, volume, id, file)).collect())
}

/// By the directory's own list, so that an id never becomes a path.
pub fn file_of(disk: &dyn Disk, volume: VolumeId, id: &str) -> Result<Option<String>, QuarantineError> {
    let names = disk.list().map_err(|error| failed("the volume's directory", &error))?;
    Ok(names.into_iter().find(|file| id_of(volume, file).as_deref() == Some(id)))
}

/// One of them by its file.
pub fn summary_of(disk: &dyn Disk, volume: VolumeId, file: &str) -> Option<Summary> {
    Some(summary(disk, volume, id_of(volume, file)?, file.into()))
}

fn failed(file: &str, error: &std::io::Error) -> QuarantineError {
    QuarantineError::Disk { file: file.into(), message: error.to_string() }
}

/// A file that cannot be read is listed all the same: nobody should believe that nothing was set aside.
fn summary(disk: &dyn Disk, volume: VolumeId, id: String, file: String) -> Summary {
    let bytes = disk.open(&file).and_then(|opened| opened.len()).unwrap_or(0);
    let mut reader = match Reader::open(disk, volume, &file) {
        Ok(reader) => reader,
        Err(error) => {
            let damage = Some(error.to_string());
            return Summary { id, file, bytes, base: LogPoint::default(), epoch: 0, first: 0, last: 0, damage };
        }
    };
    let first = reader.base.position.0 + 1;
    let last = last_in_name(&file, first).unwrap_or(first);
    let (base, next) = (reader.base, reader.take_record());
    let epoch = next.as_ref().map_or(base.epoch.0, |next| next.as_ref().map_or(base.epoch.0, |record| record.epoch));
    let damage = next.and_then(Result::err).map(|error| error.to_string());
    Summary { id, file, bytes, base, epoch, first, last, damage }
}

/// `…-FROM-TO.log` or `…-FROM-TO-N.log`; the header says what FROM is.
fn last_in_name(file: &str, first: u64) -> Option<u64> {
    let parts: Vec<&str> = file.strip_suffix(SUFFIX)?.split('-').collect();
    let at = parts.iter().rposition(|part| part.parse() == Ok(first))?;
    let last = |from: usize| parts.get(from + 1).and_then(|part| part.parse::<u64>().ok()).filter(|last| *last >= first);
    // One record alone is `…-7-7.log`: there the first of the two is the one.
    let earlier = at.checked_sub(1).filter(|before| parts[*before].parse() == Ok(first));
    earlier.and_then(last).or_else(|| last(at))
}

/// Takes a quarantine file record by record.
pub struct Reader {
    name: String,
    file: Arc<dyn DiskFile>,
    volume: VolumeId,
    len: u64,
    /// The common point.
    pub base: LogPoint,
    at: u64,
    /// What the next record must continue; unknown after [`Reader::skip_to`].
    after: Option<LogPoint>,
    ended: bool,
}

impl Reader {
    pub fn open(disk: &dyn Disk, volume: VolumeId, name: &str) -> Result<Reader, QuarantineError> {
        let file = disk.open(name).map_err(|error| failed(name, &error))?;
        let len = file.len().map_err(|error| failed(name, &error))?;
        let wrong = |problem: String| QuarantineError::Header { file: name.into(), problem };
        if len < SEGMENT_HEADER_BYTES as u64 {
            return Err(wrong(format!("it has {len} bytes, its header alone would have {SEGMENT_HEADER_BYTES}")));
        }
        let mut head = vec![0; SEGMENT_HEADER_BYTES];
        file.read_at(0, &mut head).map_err(|error| failed(name, &error))?;
        let header = match SegmentHeader::decode(name, &head).map_err(|error| wrong(error.to_string()))? {
            SegmentUse::Used(header) => header,
            SegmentUse::Prepared => return Err(QuarantineError::Unfinished { file: name.into(), at: 0 }),
            SegmentUse::Unreadable(problem) => return Err(wrong(problem)),
        };
        if header.kind != SegmentKind::Quarantine || header.volume != volume {
            return Err(wrong(format!("its header is of a {:?} file of {}", header.kind, header.volume)));
        }
        let (base, at) = (header.base, SEGMENT_HEADER_BYTES as u64);
        Ok(Reader { name: name.into(), file, volume, len, base, at, after: Some(base), ended: false })
    }

    /// Where the next record begins.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Goes on at a record whose place is known. That it continues the one before is not checked then.
    pub fn skip_to(&mut self, at: u64) {
        if at != self.at {
            (self.at, self.after, self.ended) = (at.max(SEGMENT_HEADER_BYTES as u64), None, false);
        }
    }

    /// The next record without its data; `None` at the end. After an error comes nothing.
    pub fn take_record(&mut self) -> Option<Result<TailRecord, QuarantineError>> {
        let (at, read) = (self.at, self.take()?);
        Some(read.and_then(|(record, damage)| {
            let unreadable = |error: RecordError| self.bad(at, &error.to_string());
            let body = RecordBody { reply: None, ..record.body().map_err(unreadable)? };
            let RecordHeader { position, epoch, time, payload_len, .. } = record.header;
            let (stable, damage) = (record.header.stable(), damage.map(|error| error.to_string()));
            Ok(TailRecord { at, position: position.0, epoch: epoch.0, time, stable, payload_bytes: payload_len, body, damage })
        }))
    }

    /// The next record with its data, and what is wrong with that.
    pub fn take(&mut self) -> Option<Result<(Record, Option<RecordError>), QuarantineError>> {
        if self.ended || self.at >= self.len {
            return None;
        }
        let read = self.read();
        self.ended = read.is_err();
        Some(read)
    }

    fn bad(&self, at: u64, problem: &str) -> QuarantineError {
        QuarantineError::Record { file: self.name.clone(), at, problem: problem.into() }
    }

    fn read(&mut self) -> Result<(Record, Option<RecordError>), QuarantineError> {
        let at = self.at;
        let left = usize::try_from(self.len - at).unwrap_or(usize::MAX);
        let mut head = vec![0; HEADER_BYTES.min(left)];
        self.fill(at, &mut head)?;
        if head.iter().all(|byte| *byte == 0) {
            return Err(QuarantineError::Unfinished { file: self.name.clone(), at });
        }
        let header = RecordHeader::decode(&head).map_err(|error| self.bad(at, &error.to_string()))?;
        if header.total_len() > left {
            return Err(self.bad(at, &format!("the file ends in the middle of record {}", header.position)));
        }
        let mut bytes = vec![0; header.total_len()];
        self.fill(at, &mut bytes)?;
        let (record, damage) = decode(&header, Bytes::from(bytes)).map_err(|error| self.bad(at, &error.to_string()))?;
        if header.volume != self.volume {
            return Err(self.bad(at, &format!("it is of volume {}", header.volume)));
        }
        if let Some(after) = self.after {
            record.check_follows(after).map_err(|error| self.bad(at, &error.to_string()))?;
        }
        self.after = Some(record.point());
        self.at += record.total_len() as u64;
        Ok((record, damage))
    }

    fn fill(&self, at: u64, bytes: &mut [u8]) -> Result<(), QuarantineError> {
        self.file.read_at(at, bytes).map_err(|error| failed(&self.name, &error))
    }
}

/// Damaged data leaves the record standing: what was done, and to which file, is still known.
fn decode(header: &RecordHeader, bytes: Bytes) -> Result<(Record, Option<RecordError>), RecordError> {
    match Record::decode(&mut bytes.clone()) {
        Ok(record) => Ok((record, None)),
        Err(damage @ RecordError::BlockChecksum(..)) => {
            let head = bytes.slice(..header.head_len());
            Ok((Record { header: *header, head, payload: bytes.slice(header.head_len()..) }, Some(damage)))
        }
        Err(error) => Err(error),
    }
}

/// One record's bytes as [`Reader`] checks them, for who has them from elsewhere.
pub fn decode_record(bytes: Bytes, position: Position) -> Result<Record, RecordError> {
    let record = Record::decode(&mut bytes.clone())?;
    if record.header.position == position { Ok(record) } else { Err(RecordError::Body(position)) }
}
