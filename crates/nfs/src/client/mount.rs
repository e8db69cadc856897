//! Calls and replies of the MOUNT program (RFC 1813 section 5.2).

use super::{Handle, MACHINE};
use crate::export::{MACHINE_BYTES_MAX, PATH_BYTES_MAX};
use crate::procedure::{MOUNT_PROGRAM, MOUNT_VERSION, MountProcedure};
use crate::rpc::{self, Credential, ReplyError};
use crate::xdr::{Reader, XdrError};
use bytes::Bytes;

/// Longest list of authentication flavours that is worth reading.
const FLAVOURS_MAX: u32 = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountRequest {
    Null,
    Mount { path: String },
    Mounts,
    Unmount { path: String },
    UnmountAll,
    Exports,
}

impl MountRequest {
    pub fn procedure(&self) -> MountProcedure {
        match self {
            MountRequest::Null => MountProcedure::Null,
            MountRequest::Mount { .. } => MountProcedure::Mnt,
            MountRequest::Mounts => MountProcedure::Dump,
            MountRequest::Unmount { .. } => MountProcedure::Umnt,
            MountRequest::UnmountAll => MountProcedure::UmntAll,
            MountRequest::Exports => MountProcedure::Export,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountEntry {
    pub client: Bytes,
    pub path: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportEntry {
    pub path: Bytes,
    pub clients: Vec<Bytes>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountAnswer {
    /// NULL, UMNT, UMNTALL.
    Done,
    Mounted {
        root: Handle,
        /// RPC authentication flavours that the export takes; 1 is AUTH_SYS.
        flavours: Vec<u32>,
    },
    Mounts(Vec<MountEntry>),
    Exports(Vec<ExportEntry>),
}

/// `mountstat3` (RFC 1813 section 5.1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MountError {
    #[error("the server exports no such path (MNT3ERR_NOENT)")]
    NotFound,
    #[error("the server does not allow this client to mount that path (MNT3ERR_ACCES)")]
    AccessDenied,
    #[error("the server refuses the mount (mountstat3 {0})")]
    Other(u32),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountReply {
    pub xid: u32,
    pub result: Result<MountAnswer, MountError>,
}

/// The record of a call, its mark first.
pub fn encode_mount(xid: u32, credential: &Credential, request: &MountRequest) -> Vec<Bytes> {
    let procedure = request.procedure().number();
    let mut w = rpc::write_call(xid, MOUNT_PROGRAM, MOUNT_VERSION, procedure, credential, MACHINE);
    if let MountRequest::Mount { path } | MountRequest::Unmount { path } = request {
        w.opaque(path.as_bytes());
    }
    w.finish()
}

/// Decodes the reply to a call of `procedure`.
pub fn decode_mount(procedure: MountProcedure, record: Bytes) -> Result<MountReply, ReplyError> {
    let (xid, mut r) = rpc::read_reply(record)?;
    let result = match procedure {
        MountProcedure::Null | MountProcedure::Umnt | MountProcedure::UmntAll => Ok(MountAnswer::Done),
        MountProcedure::Mnt => mounted(&mut r)?,
        MountProcedure::Dump => Ok(MountAnswer::Mounts(list(&mut r, mount_entry)?)),
        MountProcedure::Export => Ok(MountAnswer::Exports(list(&mut r, export_entry)?)),
    };
    Ok(MountReply { xid, result })
}

fn mounted(r: &mut Reader) -> Result<Result<MountAnswer, MountError>, XdrError> {
    Ok(match r.u32()? {
        0 => {
            let root = Handle::read(r)?;
            let count = r.u32()?;
            if count > FLAVOURS_MAX {
                return Err(XdrError::TooMany { max: FLAVOURS_MAX as usize });
            }
            let flavours = (0..count).map(|_| r.u32()).collect::<Result<_, _>>()?;
            Ok(MountAnswer::Mounted { root, flavours })
        }
        2 => Err(MountError::NotFound),
        13 => Err(MountError::AccessDenied),
        other => Err(MountError::Other(other)),
    })
}

/// A linked list; every item takes bytes of the record, so the list is bounded by it.
fn list<T>(r: &mut Reader, item: fn(&mut Reader) -> Result<T, XdrError>) -> Result<Vec<T>, XdrError> {
    let mut items = Vec::new();
    while r.bool()? {
        items.push(item(r)?);
    }
    Ok(items)
}

fn mount_entry(r: &mut Reader) -> Result<MountEntry, XdrError> {
    Ok(MountEntry { client: r.opaque(MACHINE_BYTES_MAX)?, path: r.opaque(PATH_BYTES_MAX)? })
}

fn export_entry(r: &mut Reader) -> Result<ExportEntry, XdrError> {
    Ok(ExportEntry { path: r.opaque(PATH_BYTES_MAX)?, clients: list(r, |r| r.opaque(MACHINE_BYTES_MAX))? })
}
