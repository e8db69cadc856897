//! Every bound that more than one crate must agree on. Units are in the names.

/// Largest file data in one record, and so the largest NFS read or write (`rtmax`, `wtmax`).
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// Payload bytes that share one checksum: a read verifies whole blocks of this size (counted from the payload's start).
pub const BLOCK_BYTES: usize = 16 << 10;
/// Longest encoded body of one record (changes plus the first reply).
pub const BODY_BYTES_MAX: usize = 64 << 10;
/// Longest name of a directory entry (as Linux `NAME_MAX`).
pub const NAME_BYTES_MAX: usize = 255;
/// Longest target of a symbolic link (as Linux `PATH_MAX`).
pub const SYMLINK_BYTES_MAX: usize = 4096;
/// Supplementary groups a caller may bring (AUTH_SYS carries 16, RFC 5531 appendix A).
pub const GROUPS_MAX: usize = 16;
/// Largest file: offsets are signed 64-bit in every client that matters.
pub const FILE_BYTES_MAX: u64 = i64::MAX as u64;
/// Hard links to one file.
pub const LINKS_MAX: u32 = 65_000;
/// Encoded postcard body of one peer frame.
pub const FRAME_BODY_BYTES_MAX: usize = 4 << 20;
/// Raw payload of one peer frame: a batch of records or file data.
pub const FRAME_PAYLOAD_BYTES_MAX: usize = 8 << 20;
/// Name of a node or a volume.
pub const LABEL_BYTES_MAX: usize = 63;

const _: () = assert!(PAYLOAD_BYTES_MAX.is_multiple_of(BLOCK_BYTES));
const _: () = assert!(PAYLOAD_BYTES_MAX + BODY_BYTES_MAX < FRAME_PAYLOAD_BYTES_MAX);
