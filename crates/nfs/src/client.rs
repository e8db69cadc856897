//! The other side of the wire: NFSv3 and MOUNT calls to bytes, and replies to values. Sans-IO, and good for any NFSv3 server:
//! handles are opaque, attributes that a server may leave out are optional.
//!
//! [`encode`] and [`decode`] are plain functions; [`Session`] adds the transaction numbers. After a broken connection the caller
//! sends the same bytes again: the same transaction number is what makes the server answer the first result.

mod answer;
mod mount;

pub use answer::{Answer, Entry, FileSystemInfo, PathInfo, Reply, decode};
pub use mount::{ExportEntry, MountAnswer, MountEntry, MountError, MountReply, MountRequest, decode_mount, encode_mount};

use crate::procedure::{NFS_PROGRAM, NFS_VERSION, Procedure};
use crate::rpc::{self, Credential, ReplyError};
use crate::wire::HANDLE_BYTES_MAX;
use crate::xdr::{Reader, Writer, XdrError};
use bytes::Bytes;
use mainstay_protocol::file::{CreateHow, SetAttributes};
use mainstay_protocol::{FileKind, Stability, Timestamp};
use std::collections::BTreeMap;

/// The machine name in AUTH_SYS: nobody judges by it.
const MACHINE: &str = "mainstay";

/// A file handle as the server made it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(Bytes);

impl Handle {
    /// `None` when it is longer than a handle can be (RFC 1813 section 2.5: 64 bytes).
    pub fn new(bytes: &[u8]) -> Option<Handle> {
        (bytes.len() <= HANDLE_BYTES_MAX).then(|| Handle(Bytes::copy_from_slice(bytes)))
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Copied, so that a handle kept for long does not keep its reply alive.
    fn read(reader: &mut Reader) -> Result<Handle, XdrError> {
        Ok(Handle(Bytes::copy_from_slice(&reader.handle_bytes()?)))
    }

    fn write(&self, writer: &mut Writer) {
        writer.opaque(&self.0);
    }
}

/// One call of the NFS program (RFC 1813 section 3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    Null,
    GetAttributes {
        file: Handle,
    },
    SetAttributes {
        file: Handle,
        set: SetAttributes,
        guard_ctime: Option<Timestamp>,
    },
    Lookup {
        dir: Handle,
        name: Bytes,
    },
    Access {
        file: Handle,
        mask: u32,
    },
    ReadLink {
        file: Handle,
    },
    Read {
        file: Handle,
        offset: u64,
        count: u32,
    },
    Write {
        file: Handle,
        offset: u64,
        data: Bytes,
        stability: Stability,
    },
    Create {
        dir: Handle,
        name: Bytes,
        how: CreateHow,
    },
    MakeDirectory {
        dir: Handle,
        name: Bytes,
        set: SetAttributes,
    },
    MakeSymlink {
        dir: Handle,
        name: Bytes,
        target: Bytes,
        set: SetAttributes,
    },
    /// FIFO, socket or device; other kinds are answered with NFS3ERR_BADTYPE.
    MakeNode {
        dir: Handle,
        name: Bytes,
        kind: FileKind,
        set: SetAttributes,
    },
    Remove {
        dir: Handle,
        name: Bytes,
    },
    RemoveDirectory {
        dir: Handle,
        name: Bytes,
    },
    Rename {
        from_dir: Handle,
        from_name: Bytes,
        to_dir: Handle,
        to_name: Bytes,
    },
    Link {
        file: Handle,
        dir: Handle,
        name: Bytes,
    },
    /// `verifier` is zero with cookie zero, then that of the last answer. `count` bounds the result, bytes.
    ReadDirectory {
        dir: Handle,
        cookie: u64,
        verifier: [u8; 8],
        count: u32,
    },
    /// `names_max` (`dircount`) bounds the names, `bytes_max` (`maxcount`) the whole result, bytes.
    ReadDirectoryPlus {
        dir: Handle,
        cookie: u64,
        verifier: [u8; 8],
        names_max: u32,
        bytes_max: u32,
    },
    FileSystemStat {
        file: Handle,
    },
    FileSystemInfo {
        file: Handle,
    },
    PathInfo {
        file: Handle,
    },
    Commit {
        file: Handle,
        offset: u64,
        count: u32,
    },
}

impl Request {
    pub fn procedure(&self) -> Procedure {
        match self {
            Request::Null => Procedure::Null,
            Request::GetAttributes { .. } => Procedure::GetAttr,
            Request::SetAttributes { .. } => Procedure::SetAttr,
            Request::Lookup { .. } => Procedure::Lookup,
            Request::Access { .. } => Procedure::Access,
            Request::ReadLink { .. } => Procedure::ReadLink,
            Request::Read { .. } => Procedure::Read,
            Request::Write { .. } => Procedure::Write,
            Request::Create { .. } => Procedure::Create,
            Request::MakeDirectory { .. } => Procedure::MkDir,
            Request::MakeSymlink { .. } => Procedure::Symlink,
            Request::MakeNode { .. } => Procedure::MkNod,
            Request::Remove { .. } => Procedure::Remove,
            Request::RemoveDirectory { .. } => Procedure::RmDir,
            Request::Rename { .. } => Procedure::Rename,
            Request::Link { .. } => Procedure::Link,
            Request::ReadDirectory { .. } => Procedure::ReadDir,
            Request::ReadDirectoryPlus { .. } => Procedure::ReadDirPlus,
            Request::FileSystemStat { .. } => Procedure::FsStat,
            Request::FileSystemInfo { .. } => Procedure::FsInfo,
            Request::PathInfo { .. } => Procedure::PathConf,
            Request::Commit { .. } => Procedure::Commit,
        }
    }

    fn write(&self, w: &mut Writer) {
        match self {
            Request::Null => {}
            Request::GetAttributes { file }
            | Request::ReadLink { file }
            | Request::FileSystemStat { file }
            | Request::FileSystemInfo { file }
            | Request::PathInfo { file } => file.write(w),
            Request::Access { file, mask } => {
                file.write(w);
                w.u32(*mask);
            }
            Request::Read { file, offset, count } | Request::Commit { file, offset, count } => {
                file.write(w);
                w.u64(*offset);
                w.u32(*count);
            }
            Request::Lookup { dir, name } | Request::Remove { dir, name } | Request::RemoveDirectory { dir, name } => {
                write_name(w, dir, name);
            }
            Request::Rename { from_dir, from_name, to_dir, to_name } => {
                write_name(w, from_dir, from_name);
                write_name(w, to_dir, to_name);
            }
            Request::Link { file, dir, name } => {
                file.write(w);
                write_name(w, dir, name);
            }
            Request::SetAttributes { .. } | Request::Write { .. } => self.write_change(w),
            Request::ReadDirectory { .. } | Request::ReadDirectoryPlus { .. } => self.write_listing(w),
            Request::Create { .. } | Request::MakeDirectory { .. } | Request::MakeSymlink { .. } | Request::MakeNode { .. } => {
                self.write_making(w);
            }
        }
    }

    fn write_change(&self, w: &mut Writer) {
        match self {
            Request::SetAttributes { file, set, guard_ctime } => {
                file.write(w);
                w.set_attributes(set);
                w.bool(guard_ctime.is_some());
                if let Some(ctime) = guard_ctime {
                    w.time(*ctime);
                }
            }
            Request::Write { file, offset, data, stability } => {
                file.write(w);
                w.u64(*offset);
                w.u32(data.len() as u32);
                w.stability(*stability);
                w.opaque_by_reference([data.clone()]);
            }
            _ => {}
        }
    }

    fn write_listing(&self, w: &mut Writer) {
        let (Request::ReadDirectory { dir, cookie, verifier, .. } | Request::ReadDirectoryPlus { dir, cookie, verifier, .. }) =
            self
        else {
            return;
        };
        dir.write(w);
        w.u64(*cookie);
        w.fixed(verifier);
        match self {
            Request::ReadDirectory { count, .. } => w.u32(*count),
            Request::ReadDirectoryPlus { names_max, bytes_max, .. } => [*names_max, *bytes_max].into_iter().for_each(|n| w.u32(n)),
            _ => {}
        }
    }

    fn write_making(&self, w: &mut Writer) {
        match self {
            Request::Create { dir, name, how } => {
                write_name(w, dir, name);
                w.create_how(how);
            }
            Request::MakeDirectory { dir, name, set } => {
                write_name(w, dir, name);
                w.set_attributes(set);
            }
            Request::MakeSymlink { dir, name, target, set } => {
                write_name(w, dir, name);
                w.set_attributes(set);
                w.opaque(target);
            }
            Request::MakeNode { dir, name, kind, set } => {
                write_name(w, dir, name);
                write_node(w, *kind, set);
            }
            _ => {}
        }
    }
}

/// `diropargs3`.
fn write_name(w: &mut Writer, dir: &Handle, name: &[u8]) {
    dir.write(w);
    w.opaque(name);
}

/// `mknoddata3` (RFC 1813 section 3.3.11).
fn write_node(w: &mut Writer, kind: FileKind, set: &SetAttributes) {
    w.kind(kind);
    match kind {
        FileKind::BlockDevice { .. } | FileKind::CharDevice { .. } => {
            w.set_attributes(set);
            w.device(kind);
        }
        FileKind::Socket | FileKind::Fifo => w.set_attributes(set),
        FileKind::Regular | FileKind::Directory | FileKind::Symlink => {}
    }
}

/// The record of a call, its mark first; the data of a WRITE by reference.
pub fn encode(xid: u32, credential: &Credential, request: &Request) -> Vec<Bytes> {
    let procedure = request.procedure().number();
    let mut writer = rpc::write_call(xid, NFS_PROGRAM, NFS_VERSION, procedure, credential, MACHINE);
    request.write(&mut writer);
    writer.finish()
}

/// Why a record is no answer to a call of this session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// Late duplicates look like this after a retry; they may be ignored.
    #[error("a reply to no call of this session (transaction {0})")]
    Unknown(u32),
    #[error("{error} (transaction {xid})")]
    Reply { xid: u32, error: ReplyError },
    #[error("a record too short for a reply")]
    Short,
}

/// Gives out transaction numbers and remembers which procedure each stands for. One per client, not per connection: numbers must
/// not start again after a reconnect, or the server would take a new request for a repeated one.
#[derive(Clone, Debug)]
pub struct Session {
    credential: Credential,
    next_xid: u32,
    pending: BTreeMap<u32, Procedure>,
}

impl Session {
    /// `first_xid` should differ from run to run of a client on one address.
    pub fn new(credential: Credential, first_xid: u32) -> Session {
        Session { credential, next_xid: first_xid, pending: BTreeMap::new() }
    }

    /// Calls without an answer yet.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// A new call's transaction number and record. To retry it, send the same record again.
    pub fn call(&mut self, request: &Request) -> (u32, Vec<Bytes>) {
        let xid = self.next_xid;
        self.next_xid = self.next_xid.wrapping_add(1);
        self.pending.insert(xid, request.procedure());
        (xid, encode(xid, &self.credential, request))
    }

    /// The answer in `record`; its call is then no longer pending.
    pub fn reply(&mut self, record: Bytes) -> Result<Reply, SessionError> {
        let xid = rpc::xid(&record).ok_or(SessionError::Short)?;
        let procedure = self.pending.remove(&xid).ok_or(SessionError::Unknown(xid))?;
        decode(procedure, record).map_err(|error| SessionError::Reply { xid, error })
    }

    /// Gives up on a call.
    pub fn forget(&mut self, xid: u32) {
        self.pending.remove(&xid);
    }
}
