//! What is written, so that it can be compared when it is read. Every piece is a slice of one random buffer at its own place:
//! two pieces are equal once in a million, none can be compressed, and neither writing nor comparing costs more than passing over
//! it once.

use super::operation::{BLOCK_BYTES, CHUNK_BYTES, FILE_BYTES};
use bytes::Bytes;

/// Places that a piece can start at.
const PLACES: usize = 1 << 20;

pub struct Content {
    base: Bytes,
}

impl Content {
    /// `seed` should differ from run to run: what an earlier run left in a server must not pass for this one's.
    pub fn new(seed: u64) -> Content {
        let words = (PLACES + CHUNK_BYTES) / 8;
        let base: Vec<u8> = (0..words as u64).flat_map(|at| mix(seed, at).to_le_bytes()).collect();
        Content { base: Bytes::from(base) }
    }

    fn piece(&self, kind: u64, number: u64, version: u64, len: usize) -> Bytes {
        let place = mix(mix(kind, number), version) as usize % PLACES;
        self.base.slice(place..place + len)
    }

    pub fn file(&self, id: u64) -> Bytes {
        self.piece(1, id, 0, FILE_BYTES)
    }

    /// 1 MiB of a large file as it is first written.
    pub fn chunk(&self, generation: u64, chunk: u64) -> Bytes {
        self.piece(2, generation, chunk, CHUNK_BYTES)
    }

    /// A block of a large file after its `version`th overwrite; version zero is that of its chunk.
    pub fn block(&self, generation: u64, block: u64, version: u64) -> Bytes {
        if version > 0 {
            return self.piece(3 + version, generation, block, BLOCK_BYTES);
        }
        let per_chunk = (CHUNK_BYTES / BLOCK_BYTES) as u64;
        let at = (block % per_chunk) as usize * BLOCK_BYTES;
        self.chunk(generation, block / per_chunk).slice(at..at + BLOCK_BYTES)
    }
}

/// splitmix64's output function over a pair.
pub fn mix(a: u64, b: u64) -> u64 {
    let mut z = (a ^ b.rotate_left(32)).wrapping_add(0x9e37_79b9_7f4a_7c15u64.wrapping_mul(b.wrapping_add(1)));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn pieces_repeat_for_themselves_and_differ_from_others() {
        let (content, again, other) = (Content::new(5), Content::new(5), Content::new(6));
        let files: BTreeSet<Bytes> = (0..300).map(|id| content.file(id)).collect();
        assert!(files.len() >= 298, "{}", files.len());
        assert_eq!(content.file(7), again.file(7));
        assert_ne!(content.file(7), other.file(7));
        let block = content.block(3, 257, 0);
        assert_eq!(block, content.chunk(3, 1).slice(BLOCK_BYTES..2 * BLOCK_BYTES));
        assert_ne!(block, content.block(3, 257, 1));
        assert_ne!(content.block(3, 257, 1), content.block(3, 257, 2));
        assert_ne!(content.chunk(3, 0), content.chunk(4, 0));
    }
}
