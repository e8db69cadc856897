//! File requests and their results: POSIX as NFSv3 can express it (RFC 1813), without NFS's encoding.

use crate::ids::FileId;
use crate::time::Timestamp;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Who asks, after squashing by the front.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    pub uid: u32,
    pub gid: u32,
    /// At most [`crate::limits::GROUPS_MAX`].
    pub groups: Vec<u32>,
}

/// Identity of a request that must not happen twice (NFS.md, "duplicate request cache"): the client's address without its
/// port, its transaction number, the procedure, and a checksum of the arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId {
    /// IPv6 address, IPv4-mapped where the client speaks IPv4.
    pub client: [u8; 16],
    pub xid: u32,
    /// program << 8 | procedure, for the log's reader.
    pub procedure: u32,
    pub checksum: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientRequest {
    pub caller: Caller,
    /// Present for every request that changes something.
    pub identity: Option<RequestId>,
    pub request: FileRequest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FileKind {
    Regular,
    Directory,
    Symlink,
    Fifo,
    Socket,
    BlockDevice { major: u32, minor: u32 },
    CharDevice { major: u32, minor: u32 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    pub file: FileId,
    pub kind: FileKind,
    /// Permission bits with set-id and sticky: 0..=0o7777.
    pub mode: u16,
    pub links: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    /// Bytes that the file's data takes (holes take none).
    pub used: u64,
    pub atime: Timestamp,
    pub mtime: Timestamp,
    pub ctime: Timestamp,
}

/// How a time is set (RFC 1813 `set_atime`, `set_mtime`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SetTime {
    #[default]
    Keep,
    /// The primary's clock.
    Server,
    Client(Timestamp),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAttributes {
    pub mode: Option<u16>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub atime: SetTime,
    pub mtime: SetTime,
}

/// `stable_how` (RFC 1813 3.3.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Stability {
    /// In memory of every in-sync replica.
    Unstable,
    DataSync,
    /// Synced on every in-sync replica.
    FileSync,
}

/// How CREATE treats an existing name (RFC 1813 3.3.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CreateHow {
    Unchecked(SetAttributes),
    Guarded(SetAttributes),
    /// The verifier is kept with the inode, so that a retry after a failover succeeds.
    Exclusive([u8; 8]),
}

/// ACCESS bits (RFC 1813 3.3.4).
pub mod access {
    pub const READ: u32 = 0x01;
    pub const LOOKUP: u32 = 0x02;
    pub const MODIFY: u32 = 0x04;
    pub const EXTEND: u32 = 0x08;
    pub const DELETE: u32 = 0x10;
    pub const EXECUTE: u32 = 0x20;
}

/// Names are bytes without `/` and NUL, 1..=255 long; the volume refuses others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileRequest {
    GetAttributes {
        file: FileId,
    },
    SetAttributes {
        file: FileId,
        set: SetAttributes,
        guard_ctime: Option<Timestamp>,
    },
    Lookup {
        dir: FileId,
        name: Bytes,
    },
    Access {
        file: FileId,
        mask: u32,
    },
    ReadLink {
        file: FileId,
    },
    Read {
        file: FileId,
        offset: u64,
        count: u32,
    },
    Write {
        file: FileId,
        offset: u64,
        data: Bytes,
        stability: Stability,
    },
    Create {
        dir: FileId,
        name: Bytes,
        how: CreateHow,
    },
    MakeDirectory {
        dir: FileId,
        name: Bytes,
        set: SetAttributes,
    },
    MakeSymlink {
        dir: FileId,
        name: Bytes,
        target: Bytes,
        set: SetAttributes,
    },
    /// FIFO, socket or device.
    MakeNode {
        dir: FileId,
        name: Bytes,
        kind: FileKind,
        set: SetAttributes,
    },
    Remove {
        dir: FileId,
        name: Bytes,
    },
    RemoveDirectory {
        dir: FileId,
        name: Bytes,
    },
    Rename {
        from_dir: FileId,
        from_name: Bytes,
        to_dir: FileId,
        to_name: Bytes,
    },
    Link {
        file: FileId,
        dir: FileId,
        name: Bytes,
    },
    /// Entries after `cookie` (0 = from the start, `.` and `..` included) until about `bytes_max` bytes of XDR.
    ReadDirectory {
        dir: FileId,
        cookie: u64,
        bytes_max: u32,
        with_attributes: bool,
    },
    FileSystemStat {
        file: FileId,
    },
    /// Everything written to the file so far, made stable.
    Commit {
        file: FileId,
        offset: u64,
        count: u32,
    },
}

impl FileRequest {
    /// Whether the request, when it succeeds, appends a record.
    pub fn changes(&self) -> bool {
        use FileRequest::*;
        !matches!(
            self,
            GetAttributes { .. }
                | Lookup { .. }
                | Access { .. }
                | ReadLink { .. }
                | Read { .. }
                | ReadDirectory { .. }
                | FileSystemStat { .. }
                | Commit { .. }
        )
    }
}

/// Attributes before an operation (RFC 1813 `wcc_attr`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    pub size: u64,
    pub mtime: Timestamp,
    pub ctime: Timestamp,
}

/// Weak cache consistency data; atomic with the operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wcc {
    pub before: Option<Before>,
    pub after: Option<Attributes>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryEntry {
    pub inode: u64,
    pub name: Bytes,
    pub cookie: u64,
    pub attributes: Option<Attributes>,
}

/// What FSSTAT tells (RFC 1813 3.3.18), bytes and files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpaceStat {
    pub total_bytes: u64,
    pub free_bytes: u64,
    pub available_bytes: u64,
    pub total_files: u64,
    pub free_files: u64,
    pub available_files: u64,
}

/// The write verifier (RFC 1813 3.3.7): one per (cluster, loss epoch), so it changes exactly when something acknowledged may
/// be missing.
pub type WriteVerifier = [u8; 8];

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileOk {
    Attributes(Attributes),
    AttributesSet(Wcc),
    Found {
        attributes: Attributes,
        dir: Option<Attributes>,
    },
    Access {
        granted: u32,
        attributes: Attributes,
    },
    Target {
        target: Bytes,
        attributes: Attributes,
    },
    /// Pieces in file order; holes are pieces of zeros.
    Data {
        pieces: Vec<Bytes>,
        count: u32,
        eof: bool,
        attributes: Attributes,
    },
    Written {
        count: u32,
        stability: Stability,
        file: Wcc,
        verifier: WriteVerifier,
    },
    /// CREATE, MKDIR, SYMLINK, MKNOD.
    Made {
        attributes: Attributes,
        dir: Wcc,
    },
    /// REMOVE, RMDIR.
    Removed {
        dir: Wcc,
    },
    Renamed {
        from: Wcc,
        to: Wcc,
    },
    Linked {
        attributes: Attributes,
        dir: Wcc,
    },
    Entries {
        entries: Vec<DirectoryEntry>,
        eof: bool,
        dir: Attributes,
    },
    Space {
        space: SpaceStat,
        attributes: Attributes,
    },
    Committed {
        file: Wcc,
        verifier: WriteVerifier,
    },
}

/// Why a request was refused; one to one with `nfsstat3` (RFC 1813 2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, thiserror::Error)]
pub enum FileError {
    #[error("operation not permitted")]
    NotOwner,
    #[error("no such file or directory")]
    NotFound,
    #[error("input/output error")]
    Io,
    #[error("permission denied")]
    AccessDenied,
    #[error("file exists")]
    Exists,
    #[error("cross-device link")]
    CrossDevice,
    #[error("not a directory")]
    NotDirectory,
    #[error("is a directory")]
    IsDirectory,
    #[error("invalid argument")]
    Invalid,
    #[error("file too large")]
    TooLarge,
    #[error("no space left on the volume")]
    NoSpace,
    #[error("read-only: this volume has no primary, or the export is read-only")]
    ReadOnly,
    #[error("too many links")]
    TooManyLinks,
    #[error("name too long")]
    NameTooLong,
    #[error("directory not empty")]
    NotEmpty,
    #[error("stale file handle")]
    Stale,
    #[error("not a file handle of this cluster")]
    BadHandle,
    #[error("guard does not match (NOT_SYNC)")]
    NotSync,
    #[error("bad directory cookie")]
    BadCookie,
    #[error("not supported")]
    NotSupported,
    #[error("reply would not fit the client's limit")]
    TooSmall,
    #[error("server fault")]
    ServerFault,
    #[error("unsupported file type")]
    BadType,
    /// The client shall try again later (NFS3ERR_JUKEBOX): takeover, resync, back-pressure.
    #[error("try again later")]
    TryLater,
}

/// A refusal with the attributes that NFS returns beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFailure {
    pub error: FileError,
    /// The file or (first) directory of the request, where it is known.
    pub first: Wcc,
    /// The target directory of a rename or link.
    pub second: Wcc,
}

impl From<FileError> for FileFailure {
    fn from(error: FileError) -> Self {
        FileFailure { error, first: Wcc::default(), second: Wcc::default() }
    }
}

pub type FileResult = Result<FileOk, FileFailure>;
