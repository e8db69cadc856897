//! Reading a log segment from a place on, record after record.

use crate::disk::DiskFile;
use crate::options::RECORD_BYTES_MAX;
use crate::place::{Place, SegmentId};
use crate::segment::{MARK_BYTES, MARK_MAGIC, Mark, u32_at};
use bytes::Bytes;
use mainstay_protocol::record::{HEADER_BYTES, RecordError};
use mainstay_protocol::{Position, Record, RecordHeader};
use std::io;

/// Read at a time while scanning; more than the largest record.
const WINDOW_BYTES: usize = 4 << 20;
const _: () = assert!(WINDOW_BYTES > 2 * RECORD_BYTES_MAX);

/// What lies at the scanner's place.
#[derive(Debug)]
pub(crate) enum Found {
    Record(Record, Place),
    /// Head whole, so the history goes on behind it; a block of its payload is damaged.
    BadPayload(Record, Place, RecordError),
    Mark(Mark),
    /// Nothing that is whole.
    End(RecordError),
}

/// See the module's text. Checks what can be checked without knowing the history: the caller checks the chain.
pub(crate) struct Scanner<'a> {
    file: &'a dyn DiskFile,
    segment: SegmentId,
    at: u64,
    end: u64,
    window: Bytes,
    window_bytes: usize,
}

impl<'a> Scanner<'a> {
    pub fn new(file: &'a dyn DiskFile, start: Place) -> io::Result<Scanner<'a>> {
        Scanner::with_window(file, start, WINDOW_BYTES)
    }

    /// With a smaller first read, for looking at a few records.
    pub fn with_window(file: &'a dyn DiskFile, start: Place, window_bytes: usize) -> io::Result<Scanner<'a>> {
        let end = file.len()?;
        let window_bytes = window_bytes.clamp(4096, WINDOW_BYTES);
        Ok(Scanner { file, segment: start.segment, at: start.offset as u64, end, window: Bytes::new(), window_bytes })
    }

    /// Where the next thing starts.
    pub fn place(&self) -> Place {
        Place { segment: self.segment, offset: self.at as u32 }
    }

    pub fn next(&mut self) -> io::Result<Found> {
        self.fill(HEADER_BYTES)?;
        if self.window.len() >= MARK_BYTES && u32_at(&self.window, 0) == MARK_MAGIC {
            return Ok(self.mark());
        }
        let header = match RecordHeader::decode(&self.window) {
            Ok(header) => header,
            Err(error) => return Ok(Found::End(error)),
        };
        self.fill(header.total_len())?;
        Ok(self.record(header))
    }

    fn mark(&mut self) -> Found {
        match Mark::decode(&self.window) {
            Some(mark) if mark.segment == self.segment => {
                self.skip(MARK_BYTES);
                Found::Mark(mark)
            }
            _ => Found::End(RecordError::Magic(MARK_MAGIC)),
        }
    }

    fn record(&mut self, header: RecordHeader) -> Found {
        let place = self.place();
        let mut rest = self.window.clone();
        match Record::decode(&mut rest) {
            Ok(record) => {
                self.skip(header.total_len());
                Found::Record(record, place)
            }
            Err(error @ RecordError::BlockChecksum(..)) => {
                let head = self.window.slice(..header.head_len());
                let payload = self.window.slice(header.head_len()..header.total_len());
                self.skip(header.total_len());
                Found::BadPayload(Record { header, head, payload }, place, error)
            }
            Err(error) => Found::End(error),
        }
    }

    fn skip(&mut self, bytes: usize) {
        self.at += bytes as u64;
        self.window = self.window.slice(bytes..);
    }

    /// Makes the window hold `need` bytes, or what is left of the file.
    fn fill(&mut self, need: usize) -> io::Result<()> {
        let left = (self.end - self.at.min(self.end)) as usize;
        if self.window.len() >= need.min(left) {
            return Ok(());
        }
        let mut window = vec![0; need.max(self.window_bytes).min(left)];
        self.file.read_at(self.at, &mut window)?;
        self.window = Bytes::from(window);
        Ok(())
    }
}

/// Pieces that are looked through only when they are not all zeros.
const PIECE_BYTES: usize = 4096;

/// Looks behind `from` for a mark proving that the record at `position` was once synced in the segment with this mark key.
pub(crate) fn find_proof(file: &dyn DiskFile, from: Place, key: u64, position: Position) -> io::Result<Option<Mark>> {
    let (mut at, end) = (from.offset as u64, file.len()?);
    let mut window = vec![0; WINDOW_BYTES.min((end - at.min(end)) as usize)];
    while at + (MARK_BYTES as u64) <= end {
        let len = window.len().min((end - at) as usize);
        file.read_at(at, &mut window[..len])?;
        let proof = |mark: &Mark| mark.key == key && mark.durable >= position;
        if let Some(mark) = marks(&window[..len]).find(proof) {
            return Ok(Some(mark));
        }
        // Windows overlap, so that a mark across their border is seen.
        at += (len - (MARK_BYTES - 1)) as u64;
    }
    Ok(None)
}

/// Everything in `window` that decodes as a mark, at any byte.
fn marks(window: &[u8]) -> impl Iterator<Item = Mark> + '_ {
    let magic = MARK_MAGIC.to_le_bytes();
    let pieces =
        (0..window.len()).step_by(PIECE_BYTES).filter(|start| !is_zero(&window[*start..window.len().min(start + PIECE_BYTES)]));
    pieces.flat_map(move |start| {
        let end = window.len().min(start + PIECE_BYTES + magic.len() - 1);
        let places = window[start..end].windows(magic.len()).enumerate().filter(move |(_, four)| *four == magic);
        places.filter_map(move |(index, _)| Mark::decode(&window[start + index..]))
    })
}

fn is_zero(bytes: &[u8]) -> bool {
    static ZEROS: [u8; ERASE_BYTES] = [0; ERASE_BYTES];
    bytes.chunks(ERASE_BYTES).all(|piece| piece == &ZEROS[..piece.len()])
}

/// Zeros are written in pieces of this size, and only where something else was.
const ERASE_BYTES: usize = 64 << 10;

/// Zeros everything from `from` on that is not zero, and syncs: what a crash left behind an unsynced tail must not be met
/// again by a later recovery. Returns the bytes written.
pub(crate) fn erase_behind(file: &dyn DiskFile, from: u64) -> io::Result<u64> {
    let end = file.len()?;
    let (mut at, mut erased) = (from, 0);
    let mut window = vec![0; WINDOW_BYTES.min((end - at.min(end)) as usize)];
    let zeros = vec![0; ERASE_BYTES];
    while at < end {
        let len = window.len().min((end - at) as usize);
        file.read_at(at, &mut window[..len])?;
        for (index, piece) in window[..len].chunks(ERASE_BYTES).enumerate().filter(|(_, piece)| !is_zero(piece)) {
            file.write_at(at + (index * ERASE_BYTES) as u64, &[&zeros[..piece.len()]])?;
            erased += piece.len() as u64;
        }
        at += len as u64;
    }
    if erased > 0 {
        file.sync()?;
    }
    Ok(erased)
}
