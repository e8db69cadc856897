//! One frame off a stream and onto one: header, body, payload (see `protocol::peer`).

use crate::outlet::Item;
use bytes::{Bytes, BytesMut};
use mainstay_protocol::peer::{Envelope, FRAME_HEADER_BYTES, FrameError, FrameHeader, FrameKind};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};

/// A frame that has begun must go on within this: a peer that stalls in its middle is cut off, and its memory freed. However slow it
/// is, as long as it moves it may finish (R11).
pub const STALL_TIME_MAX: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("connection lost: {0}")]
    Io(#[from] io::Error),
    #[error("a frame stalled for {} s", STALL_TIME_MAX.as_secs())]
    Slow,
}

/// A frame as it arrived.
#[derive(Debug, PartialEq, Eq)]
pub struct Received {
    pub header: FrameHeader,
    pub body: Bytes,
    pub payload: Bytes,
}

/// A frame ready to go: header and body in one piece, the payload by reference.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub head: Bytes,
    pub payload: Vec<Bytes>,
    pub bytes: usize,
}

impl Outgoing {
    /// `None` when the message is over the frame's bounds: sending it would only get the connection cut.
    pub fn new(kind: FrameKind, id: u64, body: &[u8], payload: Vec<Bytes>) -> Option<Outgoing> {
        let payload_len = payload.iter().map(Bytes::len).sum::<usize>();
        let header = FrameHeader { kind, body_len: body.len() as u32, payload_len: payload_len as u32, id };
        if body.len() > u32::MAX as usize || payload_len > u32::MAX as usize {
            return None;
        }
        let encoded = header.encode();
        FrameHeader::decode(&encoded).ok()?;
        let mut head = Vec::with_capacity(FRAME_HEADER_BYTES + body.len());
        head.extend_from_slice(&encoded);
        head.extend_from_slice(body);
        Some(Outgoing { bytes: head.len() + payload_len, head: head.into(), payload })
    }

    /// A peer message with its payload, which is taken out of it.
    pub fn envelope(envelope: &mut Envelope) -> Option<Outgoing> {
        let payload = std::mem::take(&mut envelope.payload);
        Outgoing::new(FrameKind::Peer, 0, &envelope.encode_body(), payload)
    }
}

impl Item for Outgoing {
    type With = ();
    type Held = ();

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn encode(self, (): &(), slices: &mut Vec<Bytes>) {
        slices.push(self.head);
        slices.extend(self.payload);
    }
}

/// `None` at a clean end. The header's lengths are checked before memory is given for them.
pub async fn read_frame<R: AsyncRead + Unpin>(stream: &mut R) -> Result<Option<Received>, ReadError> {
    let mut header = [0; FRAME_HEADER_BYTES];
    match stream.read(&mut header[..1]).await? {
        0 => Ok(None),
        _ => read_rest(stream, header).await.map(Some),
    }
}

async fn read_rest<R: AsyncRead + Unpin>(stream: &mut R, mut header: [u8; FRAME_HEADER_BYTES]) -> Result<Received, ReadError> {
    moving(stream.read_exact(&mut header[1..])).await?;
    let header = FrameHeader::decode(&header)?;
    let body = read_bytes(stream, header.body_len as usize).await?;
    let payload = read_bytes(stream, header.payload_len as usize).await?;
    Ok(Received { header, body, payload })
}

async fn moving<T>(read: impl Future<Output = io::Result<T>>) -> Result<T, ReadError> {
    Ok(tokio::time::timeout(STALL_TIME_MAX, read).await.map_err(|_| ReadError::Slow)??)
}

/// Reads into memory that is not zeroed first.
async fn read_bytes<R: AsyncRead + Unpin>(stream: &mut R, len: usize) -> Result<Bytes, ReadError> {
    if len == 0 {
        return Ok(Bytes::new());
    }
    let mut bytes = BytesMut::with_capacity(len);
    let mut limited = stream.take(len as u64);
    while bytes.len() < len {
        if moving(limited.read_buf(&mut bytes)).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
    Ok(bytes.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_protocol::limits::{FRAME_BODY_BYTES_MAX, FRAME_PAYLOAD_BYTES_MAX};
    use tokio::io::AsyncWriteExt;

    fn wire(frame: &Outgoing) -> Vec<u8> {
        [&frame.head[..], &frame.payload.concat()].concat()
    }

    async fn read(bytes: &[u8]) -> Result<Option<Received>, ReadError> {
        let mut stream = bytes;
        read_frame(&mut stream).await
    }

    #[tokio::test]
    async fn frames_survive_and_every_cut_is_noticed() {
        let payload = vec![Bytes::from_static(b"pay"), Bytes::from_static(b"load")];
        let frame = Outgoing::new(FrameKind::CoordinationRequest, 77, b"body", payload).unwrap();
        let bytes = wire(&frame);
        assert_eq!(bytes.len(), frame.bytes);
        let received = read(&bytes).await.unwrap().unwrap();
        assert_eq!((received.header.id, &received.body[..], &received.payload[..]), (77, &b"body"[..], &b"payload"[..]));
        assert_eq!(read(b"").await.unwrap(), None);
        for len in 1..bytes.len() {
            assert!(matches!(read(&bytes[..len]).await, Err(ReadError::Io(_))), "cut at {len}");
        }
    }

    #[tokio::test]
    async fn oversized_and_foreign_frames_are_refused_by_their_header() {
        let mut bytes = wire(&Outgoing::new(FrameKind::Peer, 0, b"", vec![]).unwrap());
        bytes[8..12].copy_from_slice(&(FRAME_BODY_BYTES_MAX as u32 + 1).to_le_bytes());
        assert!(matches!(read(&bytes).await, Err(ReadError::Frame(FrameError::Length { .. }))));
        assert!(matches!(read(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await, Err(ReadError::Frame(FrameError::Magic(_)))));
        let long = Bytes::from(vec![0; FRAME_PAYLOAD_BYTES_MAX]);
        assert!(Outgoing::new(FrameKind::Peer, 0, b"", vec![long.clone()]).is_some());
        assert!(Outgoing::new(FrameKind::Peer, 0, b"", vec![long, Bytes::from_static(b"!")]).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_stalls_is_given_up() {
        let (mut near, mut far) = tokio::io::duplex(64);
        let frame = Outgoing::new(FrameKind::Peer, 0, b"body", vec![]).unwrap();
        near.write_all(&frame.head[..10]).await.unwrap();
        assert!(matches!(read_frame(&mut far).await, Err(ReadError::Slow)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_moves_may_take_as_long_as_it_takes() {
        let (mut near, mut far) = tokio::io::duplex(64);
        let frame = Outgoing::new(FrameKind::Peer, 0, b"body", vec![Bytes::from(vec![7; 100])]).unwrap();
        let slowly = async {
            near.write_all(&frame.head).await.unwrap();
            for byte in [7; 100] {
                tokio::time::sleep(STALL_TIME_MAX / 2).await;
                near.write_all(&[byte]).await.unwrap();
            }
        };
        let (received, ()) = tokio::join!(read_frame(&mut far), slowly);
        assert_eq!(received.unwrap().unwrap().payload.len(), 100);
    }
}
