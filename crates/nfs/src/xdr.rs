//! XDR (RFC 4506): big-endian, everything in units of four bytes. [`Reader`] hands out slices of the record that it reads;
//! [`Writer`] takes file data by reference, so neither copies it.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Room for most replies without file data (an RPC header and a few attributes).
const WRITER_BYTES: usize = 320;
/// Record mark, RFC 5531 section 11: the top bit says "last fragment".
const LAST_FRAGMENT: u32 = 1 << 31;

/// Why bytes are not what the protocol says. Never a reason to panic: peers send anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XdrError {
    #[error("{need} bytes are needed where {have} are left")]
    Short { need: usize, have: usize },
    #[error("{len} bytes where at most {max} are allowed")]
    TooLong { len: usize, max: usize },
    #[error("{0} is not a boolean")]
    NotBool(u32),
    #[error("{value} is not a value of {of}")]
    NotOf { value: u32, of: &'static str },
    #[error("{0} nanoseconds are a second or more")]
    Nanoseconds(u32),
    #[error("a list of more than {max} items")]
    TooMany { max: usize },
}

/// Zero bytes that follow `len` bytes of opaque data (RFC 4506 section 4.10).
pub const fn padding(len: usize) -> usize {
    len.wrapping_neg() & 3
}

/// Bytes that variable-length opaque data of `len` bytes takes: its length word, the data, the padding.
pub const fn opaque_len(len: usize) -> usize {
    4 + len + padding(len)
}

/// Takes values off the front of a record.
#[derive(Clone, Debug)]
pub struct Reader {
    bytes: Bytes,
}

impl Reader {
    pub fn new(bytes: Bytes) -> Reader {
        Reader { bytes }
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &Bytes {
        &self.bytes
    }

    fn need(&self, need: usize) -> Result<(), XdrError> {
        if self.bytes.len() < need { Err(XdrError::Short { need, have: self.bytes.len() }) } else { Ok(()) }
    }

    pub fn u32(&mut self) -> Result<u32, XdrError> {
        self.need(4)?;
        Ok(self.bytes.get_u32())
    }

    pub fn u64(&mut self) -> Result<u64, XdrError> {
        self.need(8)?;
        Ok(self.bytes.get_u64())
    }

    pub fn bool(&mut self) -> Result<bool, XdrError> {
        match self.u32()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(XdrError::NotBool(other)),
        }
    }

    /// Fixed-length opaque data whose length is a multiple of four.
    pub fn fixed<const N: usize>(&mut self) -> Result<[u8; N], XdrError> {
        const { assert!(N.is_multiple_of(4)) };
        self.need(N)?;
        let mut out = [0; N];
        self.bytes.copy_to_slice(&mut out);
        Ok(out)
    }

    /// Variable-length opaque data or a string of at most `max` bytes, as a slice of the record. What the padding holds is not
    /// looked at: some clients leave it unset.
    pub fn opaque(&mut self, max: usize) -> Result<Bytes, XdrError> {
        let len = self.u32()? as usize;
        if len > max {
            return Err(XdrError::TooLong { len, max });
        }
        // `len` passed `max`, but on a 32-bit machine `len + padding` could still wrap: compare without adding first.
        self.need(len)?;
        self.need(len.saturating_add(padding(len)))?;
        let data = self.bytes.split_to(len);
        self.bytes.advance(padding(len));
        Ok(data)
    }

    /// An optional value or the next item of a list: a boolean, then the value when it is true.
    pub fn option<T>(&mut self, read: impl FnOnce(&mut Reader) -> Result<T, XdrError>) -> Result<Option<T>, XdrError> {
        if self.bool()? { Ok(Some(read(self)?)) } else { Ok(None) }
    }
}

/// Builds one record: the record mark, values, and file data by reference.
#[derive(Debug)]
pub struct Writer {
    /// Up to the first data taken by reference; starts with room for the record mark.
    head: BytesMut,
    /// Data taken by reference and what was written between.
    rest: Vec<Bytes>,
    /// After the last data taken by reference.
    tail: BytesMut,
    /// Bytes in `rest`.
    rest_len: usize,
}

impl Default for Writer {
    fn default() -> Self {
        Writer::new()
    }
}

impl Writer {
    pub fn new() -> Writer {
        let mut head = BytesMut::with_capacity(WRITER_BYTES);
        head.put_u32(0);
        Writer { head, rest: Vec::new(), tail: BytesMut::new(), rest_len: 0 }
    }

    fn current(&mut self) -> &mut BytesMut {
        if self.rest.is_empty() { &mut self.head } else { &mut self.tail }
    }

    /// Bytes of the record so far, without its mark.
    pub fn len(&self) -> usize {
        self.head.len() - 4 + self.rest_len + self.tail.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn u32(&mut self, value: u32) {
        self.current().put_u32(value);
    }

    pub fn u64(&mut self, value: u64) {
        self.current().put_u64(value);
    }

    pub fn bool(&mut self, value: bool) {
        self.u32(value as u32);
    }

    /// Fixed-length opaque data, padded.
    pub fn fixed(&mut self, data: &[u8]) {
        let buffer = self.current();
        buffer.put_slice(data);
        buffer.put_bytes(0, padding(data.len()));
    }

    /// Variable-length opaque data or a string, copied.
    pub fn opaque(&mut self, data: &[u8]) {
        self.u32(data.len() as u32);
        self.fixed(data);
    }

    /// Variable-length opaque data by reference: the pieces one after the other.
    pub fn opaque_by_reference(&mut self, pieces: impl IntoIterator<Item = Bytes>) {
        let mut pieces: Vec<Bytes> = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
        let len: usize = pieces.iter().map(Bytes::len).sum();
        self.u32(len as u32);
        if len == 0 {
            return;
        }
        if !self.tail.is_empty() {
            let between = self.tail.split().freeze();
            self.rest_len += between.len();
            self.rest.push(between);
        }
        self.rest.append(&mut pieces);
        self.rest_len += len;
        self.tail.put_bytes(0, padding(len));
    }

    /// The whole record behind its mark, as one fragment (RFC 5531 section 11).
    pub fn finish(mut self) -> Vec<Bytes> {
        let mark = self.len() as u32 | LAST_FRAGMENT;
        self.head[..4].copy_from_slice(&mark.to_be_bytes());
        let mut parts = Vec::with_capacity(self.rest.len() + 2);
        parts.push(self.head.freeze());
        parts.append(&mut self.rest);
        if !self.tail.is_empty() {
            parts.push(self.tail.freeze());
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_by_reference_is_framed_like_copied_data() {
        for len in 0..9usize {
            let data: Vec<u8> = (1..=len as u8).collect();
            let mut copied = Writer::new();
            copied.u32(7);
            copied.opaque(&data);
            copied.bool(true);
            let mut referred = Writer::new();
            referred.u32(7);
            let (left, right) = data.split_at(len / 2);
            referred.opaque_by_reference([Bytes::copy_from_slice(left), Bytes::copy_from_slice(right)]);
            referred.bool(true);
            assert_eq!(copied.len(), referred.len());
            assert_eq!(copied.finish().concat(), referred.finish().concat());
        }
    }

    #[test]
    fn two_pieces_by_reference_keep_their_order() {
        let mut writer = Writer::new();
        writer.opaque_by_reference([Bytes::from_static(b"abc")]);
        writer.u32(9);
        writer.opaque_by_reference([Bytes::from_static(b"defg")]);
        let wire = writer.finish().concat();
        assert_eq!(wire[..], *b"\x80\0\0\x14\0\0\0\x03abc\0\0\0\0\x09\0\0\0\x04defg");
    }

    #[test]
    fn opaque_reads_are_slices_and_bounded() {
        let bytes = Bytes::from_static(b"\0\0\0\x05hello\0\0\0\0\0\0\x01");
        let mut reader = Reader::new(bytes.clone());
        let data = reader.opaque(5).unwrap();
        assert_eq!(data.as_ptr(), bytes[4..].as_ptr());
        assert!(reader.bool().unwrap() && reader.rest().is_empty());
        assert_eq!(Reader::new(bytes.clone()).opaque(4), Err(XdrError::TooLong { len: 5, max: 4 }));
        assert_eq!(Reader::new(bytes.slice(..11)).opaque(5), Err(XdrError::Short { need: 8, have: 7 }));
        assert!(Reader::new(Bytes::from_static(b"\xff\xff\xff\xff1234")).opaque(usize::MAX).is_err());
        assert_eq!(Reader::new(Bytes::from_static(b"\0\0\0\x02")).bool(), Err(XdrError::NotBool(2)));
    }
}
