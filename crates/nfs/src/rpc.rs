//! ONC RPC version 2 (RFC 5531): call and reply headers, AUTH_NONE and AUTH_SYS.

use crate::xdr::{Reader, Writer, XdrError};
use bytes::Bytes;
use mainstay_protocol::limits::GROUPS_MAX;

const CALL: u32 = 0;
const REPLY: u32 = 1;
const RPC_VERSION: u32 = 2;
/// Longest body of a credential or verifier (RFC 5531 section 8.2).
const AUTH_BYTES_MAX: usize = 400;
/// Longest machine name in AUTH_SYS (RFC 5531 appendix A).
const MACHINE_BYTES_MAX: usize = 255;
const AUTH_NONE: u32 = 0;
pub(crate) const AUTH_SYS: u32 = 1;

/// `auth_stat` (RFC 5531 section 9): why a credential is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthRefusal {
    /// The seal is broken: it does not decode.
    BadCredential,
    /// A flavour that this server does not speak. Linux clients turn TOOWEAK into one clear EACCES; on REJECTEDCRED they would
    /// try again with fresh credentials.
    TooWeak,
    /// Any other number, as a client may see from other servers.
    Other(u32),
}

impl AuthRefusal {
    const fn number(self) -> u32 {
        match self {
            AuthRefusal::BadCredential => 1,
            AuthRefusal::TooWeak => 5,
            AuthRefusal::Other(number) => number,
        }
    }
    const fn from_number(number: u32) -> AuthRefusal {
        match number {
            1 => AuthRefusal::BadCredential,
            5 => AuthRefusal::TooWeak,
            other => AuthRefusal::Other(other),
        }
    }
}

/// Everything that an RPC layer answers instead of the program (RFC 5531 section 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the program is not served here (PROG_UNAVAIL)")]
    ProgramUnavailable,
    #[error("versions {low} to {high} of the program are served (PROG_MISMATCH)")]
    ProgramMismatch { low: u32, high: u32 },
    #[error("the program has no such procedure (PROC_UNAVAIL)")]
    ProcedureUnavailable,
    #[error("the arguments cannot be decoded (GARBAGE_ARGS)")]
    GarbageArguments,
    #[error("the server failed (SYSTEM_ERR)")]
    SystemError,
    #[error("RPC versions {low} to {high} are served (RPC_MISMATCH)")]
    RpcMismatch { low: u32, high: u32 },
    #[error("the credential is refused ({0:?})")]
    Auth(AuthRefusal),
}

/// Who calls, as the wire says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    None,
    /// RFC 5531 appendix A. At most [`GROUPS_MAX`] groups.
    Sys {
        uid: u32,
        gid: u32,
        groups: Vec<u32>,
    },
}

/// A decoded call, its arguments not yet looked at.
#[derive(Clone, Debug)]
pub struct CallHeader {
    pub xid: u32,
    pub program: u32,
    pub version: u32,
    pub procedure: u32,
    pub credential: Credential,
    pub arguments: Bytes,
}

/// Why a record is not a call that can be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadCall {
    /// Not an RPC call: nothing can be answered.
    Garbage,
    Refused {
        xid: u32,
        refusal: Refusal,
    },
}

impl From<XdrError> for BadCall {
    fn from(_: XdrError) -> BadCall {
        BadCall::Garbage
    }
}

impl CallHeader {
    /// Decodes `rpc_msg` with a `call_body` (RFC 5531 section 9).
    pub fn decode(record: Bytes) -> Result<CallHeader, BadCall> {
        let mut reader = Reader::new(record);
        let xid = reader.u32()?;
        if reader.u32()? != CALL {
            return Err(BadCall::Garbage);
        }
        let refused = |refusal| BadCall::Refused { xid, refusal };
        if reader.u32()? != RPC_VERSION {
            return Err(refused(Refusal::RpcMismatch { low: RPC_VERSION, high: RPC_VERSION }));
        }
        let (program, version, procedure) = (reader.u32()?, reader.u32()?, reader.u32()?);
        let flavour = reader.u32()?;
        let body = reader.opaque(AUTH_BYTES_MAX)?;
        let _verifier_flavour = reader.u32()?;
        let _verifier = reader.opaque(AUTH_BYTES_MAX)?;
        let credential = credential(flavour, body).map_err(|why| refused(Refusal::Auth(why)))?;
        Ok(CallHeader { xid, program, version, procedure, credential, arguments: reader.rest().clone() })
    }
}

fn credential(flavour: u32, body: Bytes) -> Result<Credential, AuthRefusal> {
    match flavour {
        AUTH_NONE => Ok(Credential::None),
        AUTH_SYS => auth_sys(body).map_err(|_| AuthRefusal::BadCredential),
        _ => Err(AuthRefusal::TooWeak),
    }
}

/// `authsys_parms` (RFC 5531 appendix A).
fn auth_sys(body: Bytes) -> Result<Credential, XdrError> {
    let mut reader = Reader::new(body);
    let _stamp = reader.u32()?;
    let _machine = reader.opaque(MACHINE_BYTES_MAX)?;
    let (uid, gid) = (reader.u32()?, reader.u32()?);
    let count = reader.u32()? as usize;
    if count > GROUPS_MAX {
        return Err(XdrError::TooMany { max: GROUPS_MAX });
    }
    let groups = (0..count).map(|_| reader.u32()).collect::<Result<Vec<u32>, XdrError>>()?;
    Ok(Credential::Sys { uid, gid, groups })
}

/// A call's header up to its arguments. `machine` is cut to what AUTH_SYS carries, `groups` likewise.
pub fn write_call(xid: u32, program: u32, version: u32, procedure: u32, credential: &Credential, machine: &str) -> Writer {
    let mut writer = Writer::new();
    for word in [xid, CALL, RPC_VERSION, program, version, procedure] {
        writer.u32(word);
    }
    match credential {
        Credential::None => [AUTH_NONE, 0].into_iter().for_each(|word| writer.u32(word)),
        Credential::Sys { uid, gid, groups } => {
            let machine = &machine.as_bytes()[..machine.len().min(MACHINE_BYTES_MAX)];
            let groups = &groups[..groups.len().min(GROUPS_MAX)];
            writer.u32(AUTH_SYS);
            writer.u32((16 + crate::xdr::opaque_len(machine.len()) + 4 * groups.len()) as u32);
            writer.u32(0);
            writer.opaque(machine);
            [*uid, *gid, groups.len() as u32].iter().chain(groups).for_each(|word| writer.u32(*word));
        }
    }
    [AUTH_NONE, 0].into_iter().for_each(|word| writer.u32(word));
    writer
}

/// The header of an accepted reply, up to its results.
pub fn write_success(xid: u32) -> Writer {
    let mut writer = Writer::new();
    for word in [xid, REPLY, 0, AUTH_NONE, 0, 0] {
        writer.u32(word);
    }
    writer
}

/// A whole reply that says why there is none from the program.
pub fn write_refusal(xid: u32, refusal: Refusal) -> Vec<Bytes> {
    let mut writer = Writer::new();
    let accepted = |stat: u32| vec![0, AUTH_NONE, 0, stat];
    let words = match refusal {
        Refusal::ProgramUnavailable => accepted(1),
        Refusal::ProgramMismatch { low, high } => vec![0, AUTH_NONE, 0, 2, low, high],
        Refusal::ProcedureUnavailable => accepted(3),
        Refusal::GarbageArguments => accepted(4),
        Refusal::SystemError => accepted(5),
        Refusal::RpcMismatch { low, high } => vec![1, 0, low, high],
        Refusal::Auth(why) => vec![1, 1, why.number()],
    };
    [xid, REPLY].into_iter().chain(words).for_each(|word| writer.u32(word));
    writer.finish()
}

/// Why a record is no usable reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    #[error("not a reply that RFC 5531 knows: {0}")]
    Malformed(#[from] XdrError),
    #[error("a call where a reply was expected")]
    NotAReply,
    #[error("{0}")]
    Refused(Refusal),
}

/// The transaction number of a record, whatever else it holds.
pub fn xid(record: &[u8]) -> Option<u32> {
    record.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// Decodes a reply's header (RFC 5531 section 9); the reader stands at the results.
pub fn read_reply(record: Bytes) -> Result<(u32, Reader), ReplyError> {
    let mut reader = Reader::new(record);
    let xid = reader.u32()?;
    if reader.u32()? != REPLY {
        return Err(ReplyError::NotAReply);
    }
    match reader.u32()? {
        0 => {}
        1 => return Err(ReplyError::Refused(denied(&mut reader)?)),
        value => return Err(XdrError::NotOf { value, of: "reply_stat" }.into()),
    }
    let _verifier_flavour = reader.u32()?;
    let _verifier = reader.opaque(AUTH_BYTES_MAX)?;
    let refusal = match reader.u32()? {
        0 => return Ok((xid, reader)),
        1 => Refusal::ProgramUnavailable,
        2 => Refusal::ProgramMismatch { low: reader.u32()?, high: reader.u32()? },
        3 => Refusal::ProcedureUnavailable,
        4 => Refusal::GarbageArguments,
        5 => Refusal::SystemError,
        value => return Err(XdrError::NotOf { value, of: "accept_stat" }.into()),
    };
    Err(ReplyError::Refused(refusal))
}

fn denied(reader: &mut Reader) -> Result<Refusal, XdrError> {
    match reader.u32()? {
        0 => Ok(Refusal::RpcMismatch { low: reader.u32()?, high: reader.u32()? }),
        1 => Ok(Refusal::Auth(AuthRefusal::from_number(reader.u32()?))),
        value => Err(XdrError::NotOf { value, of: "reject_stat" }),
    }
}
