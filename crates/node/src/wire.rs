//! Moving byte slices into a stream without copying them together first.

use bytes::Bytes;
use std::io::{self, IoSlice};
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// Slices given to one `writev`; Linux takes at most 1024 (`IOV_MAX`), and TLS cuts earlier.
const SLICES_MAX: usize = 64;

/// Writes everything, in order.
pub async fn write_all<W: AsyncWrite + Unpin>(stream: &mut W, slices: &[Bytes]) -> io::Result<()> {
    for group in slices.chunks(SLICES_MAX) {
        let mut parts: Vec<IoSlice<'_>> = group.iter().filter(|part| !part.is_empty()).map(|part| IoSlice::new(part)).collect();
        let mut parts = &mut parts[..];
        while !parts.is_empty() {
            match stream.write_vectored(parts).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => IoSlice::advance_slices(&mut parts, written),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn many_small_and_empty_slices_arrive_in_order() {
        let (mut near, mut far) = tokio::io::duplex(7);
        let slices: Vec<Bytes> = (0..200u32).map(|n| Bytes::from(vec![n as u8; n as usize % 5])).collect();
        let want: Vec<u8> = slices.concat();
        let write = async move {
            write_all(&mut near, &slices).await.unwrap();
        };
        let mut got = Vec::new();
        let (_, read) = tokio::join!(write, far.read_to_end(&mut got));
        read.unwrap();
        assert_eq!(got, want);
    }
}
