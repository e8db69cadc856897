//! File handles (RFC 1813 section 2.5, `nfs_fh3`): the file's identity, authenticated, and nothing that differs between nodes or
//! boots. So a handle is good on every replica for ever.
//!
//! ```text
//!  0  version     u8       1
//!  1  reserved    3 bytes  zero
//!  4  volume      u32 BE
//!  8  cluster     8 bytes  the first half of the cluster's id
//! 16  inode       u64 BE
//! 24  generation  u64 BE
//! 32  mac         u64 BE   SipHash-2-4 of bytes 0..32 under the cluster's handle key
//! ```

use mainstay_protocol::{ClusterId, FileId, VolumeId};
use siphasher::sip::SipHasher24;
use std::fmt;

/// Length of every handle; NFSv3 allows 64.
pub const HANDLE_BYTES: usize = 40;
const VERSION: u8 = 1;
const SEALED: usize = 32;

const _: () = assert!(HANDLE_BYTES == SEALED + 8 && HANDLE_BYTES <= crate::wire::HANDLE_BYTES_MAX);

/// The cluster's secret for handles, made from entropy at `init`, equal on every node for the cluster's whole life: changing it
/// makes every mounted client's handles invalid.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HandleKey(pub [u8; 16]);

impl fmt::Debug for HandleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandleKey(secret)")
    }
}

/// Makes and checks the handles of one cluster.
#[derive(Clone, Debug)]
pub struct Handles {
    cluster: [u8; 8],
    key: HandleKey,
}

impl Handles {
    pub fn new(cluster: ClusterId, key: HandleKey) -> Handles {
        let mut half = [0; 8];
        half.copy_from_slice(&cluster.0[..8]);
        Handles { cluster: half, key }
    }

    pub fn encode(&self, volume: VolumeId, file: FileId) -> [u8; HANDLE_BYTES] {
        let mut out = [0; HANDLE_BYTES];
        out[0] = VERSION;
        out[4..8].copy_from_slice(&volume.0.to_be_bytes());
        out[8..16].copy_from_slice(&self.cluster);
        out[16..24].copy_from_slice(&file.inode.to_be_bytes());
        out[24..32].copy_from_slice(&file.generation.to_be_bytes());
        let mac = self.mac(&out[..SEALED]);
        out[SEALED..].copy_from_slice(&mac.to_be_bytes());
        out
    }

    /// The file that a handle names, or `None` when this cluster never made it (NFS3ERR_BADHANDLE). Whether the file still
    /// exists is the volume's to say.
    pub fn decode(&self, handle: &[u8]) -> Option<(VolumeId, FileId)> {
        let handle: &[u8; HANDLE_BYTES] = handle.try_into().ok()?;
        // One comparison of whole words: how long it takes says nothing about how many bytes were right.
        if self.mac(&handle[..SEALED]) != u64_at(handle, SEALED) {
            return None;
        }
        if handle[..4] != [VERSION, 0, 0, 0] || handle[8..16] != self.cluster {
            return None;
        }
        let volume = (u64_at(handle, 0) & u32::MAX as u64) as u32;
        Some((VolumeId(volume), FileId { inode: u64_at(handle, 16), generation: u64_at(handle, 24) }))
    }

    /// `fsid` of a volume's attributes (RFC 1813 section 2.5, `fattr3`): equal on every node, different between the volumes of a
    /// cluster and, as far as four bytes of its id go, between clusters.
    pub fn fsid(&self, volume: VolumeId) -> u64 {
        let [a, b, c, d, ..] = self.cluster;
        (u32::from_be_bytes([a, b, c, d]) as u64) << 32 | volume.0 as u64
    }

    fn mac(&self, sealed: &[u8]) -> u64 {
        SipHasher24::new_with_key(&self.key.0).hash(sealed)
    }
}

fn u64_at(handle: &[u8; HANDLE_BYTES], at: usize) -> u64 {
    handle[at..at + 8].iter().fold(0, |value, byte| value << 8 | *byte as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handles(key: u8) -> Handles {
        Handles::new(ClusterId([3; 16]), HandleKey([key; 16]))
    }

    #[test]
    fn a_handle_comes_back_and_no_forged_one_does() {
        let made = handles(1);
        let file = FileId { inode: 0x0102_0304_0506_0708, generation: 9 };
        let handle = made.encode(VolumeId(0xa1b2_c3d4), file);
        assert_eq!(made.decode(&handle), Some((VolumeId(0xa1b2_c3d4), file)));
        for bit in 0..HANDLE_BYTES * 8 {
            let mut forged = handle;
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(made.decode(&forged), None, "bit {bit}");
        }
        (0..HANDLE_BYTES).for_each(|len| assert_eq!(made.decode(&handle[..len]), None));
        assert_eq!(made.decode(&[&handle[..], &[0]].concat()), None);
        assert_eq!(handles(2).decode(&handle), None, "another cluster's key");
        let other = Handles::new(ClusterId([4; 16]), HandleKey([1; 16]));
        assert_eq!(other.decode(&handle), None, "another cluster");
    }

    #[test]
    fn the_layout_is_what_the_comment_says() {
        let handle = handles(1).encode(VolumeId(7), FileId { inode: 8, generation: 9 });
        let mut expected = [0u8; 32];
        expected[0] = 1;
        expected[7] = 7;
        expected[8..16].fill(3);
        expected[23] = 8;
        expected[31] = 9;
        assert_eq!(handle[..32], expected);
        assert_eq!(handles(1).fsid(VolumeId(7)), 0x0303_0303_0000_0007);
    }

    #[test]
    fn the_key_is_not_shown() {
        assert!(!format!("{:?}", handles(77)).contains("77"));
    }
}
