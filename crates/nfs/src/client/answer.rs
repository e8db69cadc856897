//! Replies of the NFS program (RFC 1813 section 3.3) to values.

use super::Handle;
use crate::procedure::{Procedure, refusal};
use crate::rpc::{self, ReplyError};
use crate::xdr::{Reader, XdrError};
use bytes::Bytes;
use mainstay_protocol::file::{SpaceStat, Wcc, WriteVerifier};
use mainstay_protocol::limits::SYMLINK_BYTES_MAX;
use mainstay_protocol::{Attributes, FileError, FileFailure, Stability, Timestamp};

const NFS3_OK: u32 = 0;

/// One decoded reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub xid: u32,
    pub result: Result<Answer, FileFailure>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub inode: u64,
    /// A slice of the reply.
    pub name: Bytes,
    pub cookie: u64,
    /// READDIRPLUS only.
    pub attributes: Option<Attributes>,
    pub handle: Option<Handle>,
}

/// FSINFO (3.3.19); sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSystemInfo {
    pub read_max: u32,
    pub read_preferred: u32,
    pub read_multiple: u32,
    pub write_max: u32,
    pub write_preferred: u32,
    pub write_multiple: u32,
    pub directory_preferred: u32,
    pub file_bytes_max: u64,
    pub time_delta: Timestamp,
    pub properties: u32,
}

/// PATHCONF (3.3.20).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathInfo {
    pub links_max: u32,
    pub name_bytes_max: u32,
    pub no_truncation: bool,
    pub chown_restricted: bool,
    pub case_insensitive: bool,
    pub case_preserving: bool,
}

/// What a call brought. The same words as [`mainstay_protocol::FileOk`], with handles in place of file ids, and optional
/// where a server may leave something out. Attributes' generations are zero: the wire has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Null,
    Attributes(Attributes),
    AttributesSet(Wcc),
    Found { handle: Handle, attributes: Option<Attributes>, dir: Option<Attributes> },
    Access { granted: u32, attributes: Option<Attributes> },
    Target { target: Bytes, attributes: Option<Attributes> },
    Data { data: Bytes, eof: bool, attributes: Option<Attributes> },
    Written { count: u32, stability: Stability, file: Wcc, verifier: WriteVerifier },
    Made { handle: Option<Handle>, attributes: Option<Attributes>, dir: Wcc },
    Removed { dir: Wcc },
    Renamed { from: Wcc, to: Wcc },
    Linked { attributes: Option<Attributes>, dir: Wcc },
    Entries { entries: Vec<Entry>, verifier: [u8; 8], eof: bool, dir: Option<Attributes> },
    Space { space: SpaceStat, attributes: Option<Attributes> },
    Information { information: FileSystemInfo, attributes: Option<Attributes> },
    Path { path: PathInfo, attributes: Option<Attributes> },
    Committed { file: Wcc, verifier: WriteVerifier },
}

/// Decodes the reply to a call of `procedure`. Data, names and symlink targets are slices of `record`.
pub fn decode(procedure: Procedure, record: Bytes) -> Result<Reply, ReplyError> {
    let (xid, mut reader) = rpc::read_reply(record)?;
    if procedure == Procedure::Null {
        return Ok(Reply { xid, result: Ok(Answer::Null) });
    }
    let status = reader.u32()?;
    let result = if status == NFS3_OK {
        Ok(answer(procedure, &mut reader)?)
    } else {
        let error = refusal(status).ok_or(XdrError::NotOf { value: status, of: "nfsstat3" })?;
        Err(failure(procedure, error, &mut reader)?)
    };
    Ok(Reply { xid, result })
}

fn answer(procedure: Procedure, r: &mut Reader) -> Result<Answer, XdrError> {
    use Procedure::*;
    Ok(match procedure {
        Null => Answer::Null,
        GetAttr => Answer::Attributes(r.attributes()?),
        SetAttr => Answer::AttributesSet(r.wcc()?),
        Lookup => Answer::Found { handle: Handle::read(r)?, attributes: r.after()?, dir: r.after()? },
        Create | MkDir | Symlink | MkNod => Answer::Made { handle: r.option(Handle::read)?, attributes: r.after()?, dir: r.wcc()? },
        Remove | RmDir => Answer::Removed { dir: r.wcc()? },
        Rename => Answer::Renamed { from: r.wcc()?, to: r.wcc()? },
        Link => Answer::Linked { attributes: r.after()?, dir: r.wcc()? },
        Write => written(r)?,
        Commit => Answer::Committed { file: r.wcc()?, verifier: r.fixed()? },
        ReadDir => entries(r, false)?,
        ReadDirPlus => entries(r, true)?,
        Access | ReadLink | Read | FsStat | FsInfo | PathConf => {
            let attributes = r.after()?;
            about_file(procedure, attributes, r)?
        }
    })
}

/// The procedures whose results start with the file's attributes.
fn about_file(procedure: Procedure, attributes: Option<Attributes>, r: &mut Reader) -> Result<Answer, XdrError> {
    Ok(match procedure {
        Procedure::Access => Answer::Access { granted: r.u32()?, attributes },
        Procedure::ReadLink => Answer::Target { target: r.opaque(SYMLINK_BYTES_MAX)?, attributes },
        Procedure::Read => data(r, attributes)?,
        Procedure::FsStat => {
            let space = r.space()?;
            let _seconds_valid = r.u32()?;
            Answer::Space { space, attributes }
        }
        Procedure::FsInfo => Answer::Information { information: information(r)?, attributes },
        _ => Answer::Path { path: path(r)?, attributes },
    })
}

/// 3.3.6: the count must be the length of the data.
fn data(r: &mut Reader, attributes: Option<Attributes>) -> Result<Answer, XdrError> {
    let count = r.u32()? as usize;
    let eof = r.bool()?;
    let data = r.opaque(count)?;
    if data.len() < count {
        return Err(XdrError::Short { need: count, have: data.len() });
    }
    Ok(Answer::Data { data, eof, attributes })
}

/// 3.3.7
fn written(r: &mut Reader) -> Result<Answer, XdrError> {
    let file = r.wcc()?;
    Ok(Answer::Written { file, count: r.u32()?, stability: r.stability()?, verifier: r.fixed()? })
}

/// 3.3.16 and 3.3.17. Every entry takes bytes of the record, so the list is bounded by it.
fn entries(r: &mut Reader, plus: bool) -> Result<Answer, XdrError> {
    let dir = r.after()?;
    let verifier = r.fixed()?;
    let mut entries = Vec::new();
    while r.bool()? {
        let (inode, name, cookie) = (r.u64()?, r.opaque(usize::MAX)?, r.u64()?);
        let (attributes, handle) = if plus { (r.after()?, r.option(Handle::read)?) } else { (None, None) };
        entries.push(Entry { inode, name, cookie, attributes, handle });
    }
    Ok(Answer::Entries { entries, verifier, eof: r.bool()?, dir })
}

fn information(r: &mut Reader) -> Result<FileSystemInfo, XdrError> {
    Ok(FileSystemInfo {
        read_max: r.u32()?,
        read_preferred: r.u32()?,
        read_multiple: r.u32()?,
        write_max: r.u32()?,
        write_preferred: r.u32()?,
        write_multiple: r.u32()?,
        directory_preferred: r.u32()?,
        file_bytes_max: r.u64()?,
        // A whole second of granularity is legal here and written as (1, 0), so this is a time like any other.
        time_delta: r.time()?,
        properties: r.u32()?,
    })
}

fn path(r: &mut Reader) -> Result<PathInfo, XdrError> {
    Ok(PathInfo {
        links_max: r.u32()?,
        name_bytes_max: r.u32()?,
        no_truncation: r.bool()?,
        chown_restricted: r.bool()?,
        case_insensitive: r.bool()?,
        case_preserving: r.bool()?,
    })
}

/// The `resfail` arms.
fn failure(procedure: Procedure, error: FileError, r: &mut Reader) -> Result<FileFailure, XdrError> {
    use Procedure::*;
    let (first, second) = match procedure {
        Null | GetAttr => (Wcc::default(), Wcc::default()),
        Lookup | Access | ReadLink | Read | ReadDir | ReadDirPlus | FsStat | FsInfo | PathConf => {
            (Wcc { before: None, after: r.after()? }, Wcc::default())
        }
        SetAttr | Write | Create | MkDir | Symlink | MkNod | Remove | RmDir | Commit => (r.wcc()?, Wcc::default()),
        Rename => (r.wcc()?, r.wcc()?),
        Link => (Wcc { before: None, after: r.after()? }, r.wcc()?),
    };
    Ok(FileFailure { error, first, second })
}
