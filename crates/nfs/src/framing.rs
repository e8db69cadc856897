//! Record marking on a byte stream (RFC 5531 section 11): fragments are put together under a bound, and memory follows what has
//! arrived, not what a mark promises.

use bytes::{Buf, Bytes, BytesMut};
use mainstay_protocol::limits::PAYLOAD_BYTES_MAX;

/// Longest record of either side: the largest read or write and generous room for everything around it.
pub const RECORD_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + (64 << 10);
/// Shorter records are copied out of the input buffer, exactly as long as they are. Otherwise one small write kept in a cache
/// would pin a whole buffer of requests that came with it.
const COPY_BYTES: usize = 16 << 10;
/// Room for one read while only short records are seen: what an idle connection costs.
const INPUT_BYTES: usize = 16 << 10;
/// A record's whole length is only given memory once this much of it has arrived.
const TRUST_BYTES: usize = 64 << 10;
/// With less room than this left (and needed) the buffer is made larger before the next read.
const READ_BYTES_MIN: usize = 4 << 10;

const LAST_FRAGMENT: u32 = 1 << 31;

/// The stream cannot be understood any more: close the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    #[error("a record of at least {bytes} bytes, longer than {max}")]
    TooLong { bytes: usize, max: usize },
}

/// Puts records together from the bytes of one connection.
///
/// The loop is: read into [`RecordReader::space`], then take [`RecordReader::next_record`] until it is `None`. Memory is at most
/// twice the longest record (a fragment that arrives, and those before it).
#[derive(Debug)]
pub struct RecordReader {
    /// Bytes as they came.
    input: BytesMut,
    /// Earlier fragments of the record that is coming in.
    fragments: BytesMut,
    bytes_max: usize,
}

impl Default for RecordReader {
    fn default() -> Self {
        RecordReader::with_limit(RECORD_BYTES_MAX)
    }
}

impl RecordReader {
    pub fn new() -> RecordReader {
        RecordReader::default()
    }

    /// Records longer than `bytes_max` are refused.
    pub fn with_limit(bytes_max: usize) -> RecordReader {
        RecordReader { input: BytesMut::new(), fragments: BytesMut::new(), bytes_max }
    }

    /// Bytes held for records that are not complete.
    pub fn buffered(&self) -> usize {
        self.input.len() + self.fragments.len()
    }

    /// The input buffer, with spare capacity for the next read. Large writes are given exactly what they still need, so the
    /// record can be split off without copying and holds no bytes of its successor.
    pub fn space(&mut self) -> &mut BytesMut {
        let missing = self.missing();
        let (spare, enough) = match missing {
            0 => (INPUT_BYTES, READ_BYTES_MIN),
            1..=INPUT_BYTES => (INPUT_BYTES, missing.min(READ_BYTES_MIN)),
            _ if self.input.len() < TRUST_BYTES => (missing.min(TRUST_BYTES), READ_BYTES_MIN),
            _ => (missing, READ_BYTES_MIN),
        };
        if self.input.capacity() - self.input.len() < enough && !self.input.try_reclaim(spare) {
            let mut fresh = BytesMut::with_capacity(self.input.len() + spare);
            fresh.extend_from_slice(&self.input);
            self.input = fresh;
        }
        &mut self.input
    }

    /// Bytes that the fragment in the input buffer still lacks, never more than the bound; zero when its mark is not there.
    fn missing(&self) -> usize {
        let Some(mark) = self.input.first_chunk::<4>() else { return 0 };
        let len = (u32::from_be_bytes(*mark) & !LAST_FRAGMENT) as usize;
        len.min(self.bytes_max).saturating_sub(self.input.len() - 4)
    }

    /// For callers that have the bytes already (tests, the simulator).
    pub fn push(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// The next whole record, without marks; `None` when more bytes are needed.
    pub fn next_record(&mut self) -> Result<Option<Bytes>, FramingError> {
        while let Some(mark) = self.input.first_chunk::<4>() {
            let mark = u32::from_be_bytes(*mark);
            let len = (mark & !LAST_FRAGMENT) as usize;
            let bytes = len.saturating_add(self.fragments.len());
            if bytes > self.bytes_max {
                return Err(FramingError::TooLong { bytes, max: self.bytes_max });
            }
            if self.input.len() < 4 + len {
                return Ok(None);
            }
            self.input.advance(4);
            if let Some(record) = self.take_fragment(len, mark & LAST_FRAGMENT != 0) {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    fn take_fragment(&mut self, len: usize, last: bool) -> Option<Bytes> {
        if !last || !self.fragments.is_empty() {
            self.fragments.extend_from_slice(&self.input[..len]);
            self.input.advance(len);
            return last.then(|| std::mem::take(&mut self.fragments).freeze());
        }
        if len < COPY_BYTES {
            let record = Bytes::copy_from_slice(&self.input[..len]);
            self.input.advance(len);
            return Some(record);
        }
        Some(self.input.split_to(len).freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragment(last: bool, data: &[u8]) -> Vec<u8> {
        let mark = data.len() as u32 | if last { LAST_FRAGMENT } else { 0 };
        [&mark.to_be_bytes()[..], data].concat()
    }

    /// Feeds `stream` through `space` in reads of at most `step` bytes, as a socket would.
    fn read_all(reader: &mut RecordReader, mut stream: &[u8], step: usize) -> Result<Vec<Bytes>, FramingError> {
        let mut records = Vec::new();
        while !stream.is_empty() {
            let space = reader.space();
            let room = space.capacity() - space.len();
            assert!(room > 0, "a read without room would look like the end of the stream");
            let (now, later) = stream.split_at(step.min(room).min(stream.len()));
            space.extend_from_slice(now);
            stream = later;
            while let Some(record) = reader.next_record()? {
                records.push(record);
            }
        }
        Ok(records)
    }

    #[test]
    fn records_are_the_same_however_they_are_cut() {
        let bodies: Vec<Vec<u8>> = [0usize, 1, 100, 16 << 10, 70_000, 3, 1 << 20, 5]
            .iter()
            .map(|len| (0..*len).map(|at| (at % 251) as u8).collect())
            .collect();
        let whole: Vec<u8> = bodies.iter().flat_map(|body| fragment(true, body)).collect();
        let split: Vec<u8> = bodies
            .iter()
            .flat_map(|body| {
                let (left, right) = body.split_at(body.len() / 3);
                [fragment(false, left), fragment(false, &[]), fragment(true, right)].concat()
            })
            .collect();
        for stream in [&whole, &split] {
            for step in [1usize, 3, 1000, 65_536, usize::MAX] {
                if step < 1000 && stream.len() > 100_000 && cfg!(miri) {
                    continue;
                }
                let mut reader = RecordReader::new();
                let records = read_all(&mut reader, stream, step).unwrap();
                assert!(records.iter().map(|r| &r[..]).eq(bodies.iter().map(|b| &b[..])), "step {step}");
                assert_eq!(reader.buffered(), 0);
            }
        }
    }

    #[test]
    fn a_promise_alone_gets_no_memory() {
        let mut reader = RecordReader::new();
        reader.push(&(LAST_FRAGMENT | RECORD_BYTES_MAX as u32).to_be_bytes());
        assert_eq!(reader.next_record(), Ok(None));
        assert!(reader.space().capacity() <= TRUST_BYTES + 4);
    }

    #[test]
    fn the_bound_holds_over_fragments_too() {
        let mut reader = RecordReader::with_limit(10);
        assert!(read_all(&mut reader, &fragment(true, &[0; 10]), 99).is_ok());
        assert_eq!(read_all(&mut reader, &fragment(true, &[0; 11]), 99), Err(FramingError::TooLong { bytes: 11, max: 10 }));
        let mut reader = RecordReader::with_limit(10);
        let stream = [fragment(false, &[0; 6]), fragment(true, &[0; 5])].concat();
        assert_eq!(read_all(&mut reader, &stream, 3), Err(FramingError::TooLong { bytes: 11, max: 10 }));
    }

    #[test]
    fn small_records_do_not_pin_the_buffer_and_large_ones_are_not_copied() {
        let mut reader = RecordReader::new();
        let space = reader.space();
        space.extend_from_slice(&fragment(true, &[7; 100]));
        let at = space.as_ptr() as usize;
        let record = reader.next_record().unwrap().unwrap();
        assert!(!(at..at + INPUT_BYTES).contains(&(record.as_ptr() as usize)));
        let stream = fragment(true, &vec![9; 1 << 20]);
        reader.push(&stream);
        let at = reader.input.as_ptr() as usize + 4;
        assert_eq!(reader.next_record().unwrap().unwrap().as_ptr() as usize, at);
    }
}
