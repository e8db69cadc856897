//! One record in, one reply or one file request out.

use crate::arguments::{self, Decoded, Fault, ReplyLimits};
use crate::export::{self, Access, Export, ExportError};
use crate::handle::{HandleKey, Handles};
use crate::procedure::{
    MOUNT_PROGRAM, MOUNT_VERSION, MountProcedure, NFS_PROGRAM, NFS_VERSION, PORTMAP_PROGRAM, PORTMAP_VERSION, Procedure,
};
use crate::rpc::{self, BadCall, CallHeader, Refusal};
use bytes::Bytes;
use mainstay_protocol::{ClientRequest, ClusterId, FileError, RequestId, VolumeId};
use std::net::IpAddr;

/// What becomes of a record.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly every call is the large variant, and it is moved once")]
pub enum Call {
    /// Answered without a volume: NULL, MOUNT, portmap, refusals. Send the parts one after the other.
    Reply(Vec<Bytes>),
    /// A volume answers; its result goes to [`Front::reply`] with the context.
    File { volume: VolumeId, request: ClientRequest, context: Context },
    /// A client that is not allowed, or a peer that does not speak RPC: close the connection.
    Close,
}

/// What a reply needs to know of its call. A few words: one per request in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    pub(crate) xid: u32,
    pub(crate) procedure: Procedure,
    pub(crate) volume: VolumeId,
    pub(crate) limits: ReplyLimits,
    /// The export or the client's rule allows no changes: ACCESS must not promise them.
    pub(crate) read_only: bool,
}

impl Context {
    pub fn xid(&self) -> u32 {
        self.xid
    }
    pub fn procedure(&self) -> Procedure {
        self.procedure
    }
    pub fn volume(&self) -> VolumeId {
        self.volume
    }
}

/// The NFS server's wire side for the exports of one cluster. Immutable: changed exports are a new `Front`, and replies to calls
/// of the old one may be made by the new one.
#[derive(Clone, Debug)]
pub struct Front {
    pub(crate) handles: Handles,
    pub(crate) exports: Vec<Export>,
    pub(crate) port: u16,
}

impl Front {
    /// `key` is the cluster's secret for file handles; `port` is where NFS and MOUNT are served, for portmap's answers.
    pub fn new(cluster: ClusterId, key: HandleKey, exports: Vec<Export>, port: u16) -> Result<Front, ExportError> {
        export::check(&exports)?;
        Ok(Front { handles: Handles::new(cluster, key), exports, port })
    }

    pub fn exports(&self) -> &[Export] {
        &self.exports
    }

    /// The handles of this cluster's files.
    pub fn handles(&self) -> &Handles {
        &self.handles
    }

    /// Whether any export is for `client`. Ask it when a connection comes in, before giving it memory.
    pub fn allows(&self, client: IpAddr) -> bool {
        self.exports.iter().any(|export| export.access(client).is_some())
    }

    /// Answers `record` of `client` or says what to ask a volume. All three programs are served on one port.
    pub fn call(&self, client: IpAddr, record: Bytes) -> Call {
        // Asked again for each call: exports may have changed since the connection came in.
        if !self.allows(client) {
            return Call::Close;
        }
        let call = match CallHeader::decode(record) {
            Ok(call) => call,
            Err(BadCall::Garbage) => return Call::Close,
            Err(BadCall::Refused { xid, refusal }) => return Call::Reply(rpc::write_refusal(xid, refusal)),
        };
        let xid = call.xid;
        self.program(client, call).unwrap_or_else(|refusal| Call::Reply(rpc::write_refusal(xid, refusal)))
    }

    fn program(&self, client: IpAddr, call: CallHeader) -> Result<Call, Refusal> {
        let served = match call.program {
            NFS_PROGRAM => NFS_VERSION,
            MOUNT_PROGRAM => MOUNT_VERSION,
            PORTMAP_PROGRAM => PORTMAP_VERSION,
            _ => return Err(Refusal::ProgramUnavailable),
        };
        if call.version != served {
            return Err(Refusal::ProgramMismatch { low: served, high: served });
        }
        match call.program {
            NFS_PROGRAM => {
                let procedure = Procedure::from_number(call.procedure).ok_or(Refusal::ProcedureUnavailable)?;
                self.nfs(client, procedure, call)
            }
            MOUNT_PROGRAM => {
                let procedure = MountProcedure::from_number(call.procedure).ok_or(Refusal::ProcedureUnavailable)?;
                Ok(Call::Reply(self.mount(client, procedure, call.xid, call.arguments)?))
            }
            _ => Ok(Call::Reply(self.portmap(call)?)),
        }
    }

    /// RFC 1813 section 3.3.
    fn nfs(&self, client: IpAddr, procedure: Procedure, call: CallHeader) -> Result<Call, Refusal> {
        if procedure == Procedure::Null {
            return Ok(Call::Reply(rpc::write_success(call.xid).finish()));
        }
        let xid = call.xid;
        match self.file_call(client, procedure, call) {
            Ok(file) => Ok(file),
            Err(Fault::Garbage) => Err(Refusal::GarbageArguments),
            Err(Fault::Refused(error)) => Ok(Call::Reply(self.refuse(xid, procedure, error))),
        }
    }

    fn file_call(&self, client: IpAddr, procedure: Procedure, call: CallHeader) -> Result<Call, Fault> {
        let identity = procedure.needs_identity().then(|| identity(client, &call));
        let decoded = arguments::decode(procedure, call.arguments, &self.handles)?;
        // A genuine handle is no permission: it may have been made for another client, or before the export changed. ACCES and
        // not STALE, because a node may learn of an export late, and clients never recover from STALE.
        let export = self.exports.iter().find(|export| export.volume == decoded.volume);
        let (export, access) =
            export.and_then(|export| Some((export, export.access(client)?))).ok_or(Fault::Refused(FileError::AccessDenied))?;
        let read_only = access == Access::ReadOnly;
        if read_only && procedure.needs_identity() {
            return Err(Fault::Refused(FileError::ReadOnly));
        }
        let Decoded { volume, request, limits } = decoded;
        let request = ClientRequest { caller: export.caller(call.credential), identity, request };
        Ok(Call::File { volume, request, context: Context { xid: call.xid, procedure, volume, limits, read_only } })
    }
}

/// The identity under which the first result is kept (NFS.md, "duplicate request cache"). The port is not part of it: a client
/// retries from a new connection. Neither is the credential: clients stamp it anew.
fn identity(client: IpAddr, call: &CallHeader) -> RequestId {
    let client = match client {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    RequestId {
        client: client.octets(),
        xid: call.xid,
        procedure: call.program << 8 | call.procedure,
        checksum: xxhash_rust::xxh3::xxh3_64(&call.arguments),
    }
}
