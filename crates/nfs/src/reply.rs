//! File results to NFSv3 replies, procedure by procedure (RFC 1813 section 3.3).

use crate::arguments::DATA_BYTES_MAX;
use crate::directory::{self, Listing};
use crate::front::{Context, Front};
use crate::procedure::{Procedure, status};
use crate::rpc;
use crate::xdr::Writer;
use bytes::Bytes;
use mainstay_protocol::file::{DirectoryEntry, Wcc, access};
use mainstay_protocol::limits::{FILE_BYTES_MAX, LINKS_MAX, NAME_BYTES_MAX};
use mainstay_protocol::{Attributes, FileError, FileFailure, FileId, FileOk, FileResult, VolumeId};

const NFS3_OK: u32 = 0;
/// `rtmult`, `wtmult`: what reads and writes are best a multiple of, bytes.
const MULTIPLE_BYTES: u32 = 4096;
/// `dtpref`: a few hundred entries with attributes per READDIRPLUS, bytes.
const DIRECTORY_BYTES_PREFERRED: u32 = 64 << 10;
/// FSF3_LINK, FSF3_SYMLINK, FSF3_HOMOGENEOUS, FSF3_CANSETTIME (RFC 1813 section 3.3.19).
const PROPERTIES: u32 = 0x01 | 0x02 | 0x08 | 0x10;

const _: () = assert!(DIRECTORY_BYTES_PREFERRED <= crate::arguments::DIRECTORY_BYTES_MAX);

impl Front {
    /// The reply to the call of `context`, record mark first; file data by reference.
    ///
    /// Total: a result of another procedure's kind (a bug of ours) becomes NFS3ERR_SERVERFAULT.
    pub fn reply(&self, context: Context, result: FileResult) -> Vec<Bytes> {
        let reply = Reply::new(self, context);
        match result.map(|ok| reply.success(ok)) {
            Ok(Ok(writer)) => writer.finish(),
            Ok(Err(failure)) => reply.failure(&failure),
            Err(failure) => reply.failure(&failure),
        }
    }

    /// A refusal before a volume was asked: no attributes.
    pub(crate) fn refuse(&self, xid: u32, procedure: Procedure, error: FileError) -> Vec<Bytes> {
        let context = Context { xid, procedure, volume: VolumeId::default(), limits: Default::default(), read_only: false };
        self.reply(context, Err(error.into()))
    }
}

struct Reply<'a> {
    front: &'a Front,
    context: Context,
    fsid: u64,
}

impl<'a> Reply<'a> {
    fn new(front: &'a Front, context: Context) -> Reply<'a> {
        Reply { front, context, fsid: front.handles.fsid(context.volume) }
    }

    fn ok(&self) -> Writer {
        let mut w = rpc::write_success(self.context.xid);
        w.u32(NFS3_OK);
        w
    }

    /// An OK reply that starts with `post_op_attr`.
    fn ok_after(&self, attributes: &Attributes) -> Writer {
        let mut w = self.ok();
        w.after(Some(attributes), self.fsid);
        w
    }

    fn handle(&self, w: &mut Writer, file: FileId) {
        w.opaque(&self.front.handles.encode(self.context.volume, file));
    }

    fn success(&self, ok: FileOk) -> Result<Writer, Box<FileFailure>> {
        use Procedure::*;
        match (self.context.procedure, ok) {
            (GetAttr, FileOk::Attributes(a)) => Ok(self.attributes(&a)),
            (FsInfo, FileOk::Attributes(a)) => Ok(self.fs_info(&a)),
            (PathConf, FileOk::Attributes(a)) => Ok(self.path_conf(&a)),
            (SetAttr, FileOk::AttributesSet(wcc)) => Ok(self.changed(&[wcc])),
            (Lookup, FileOk::Found { attributes, dir }) => Ok(self.found(&attributes, dir.as_ref())),
            (Access, FileOk::Access { granted, attributes }) => Ok(self.access(granted, &attributes)),
            (ReadLink, FileOk::Target { target, attributes }) => Ok(self.target(&target, &attributes)),
            (Read, FileOk::Data { pieces, eof, attributes, .. }) => Ok(self.data(pieces, eof, &attributes)),
            (Create | MkDir | Symlink | MkNod, FileOk::Made { attributes, dir }) => Ok(self.made(&attributes, &dir)),
            (Remove | RmDir, FileOk::Removed { dir }) => Ok(self.changed(&[dir])),
            (Rename, FileOk::Renamed { from, to }) => Ok(self.changed(&[from, to])),
            (Link, FileOk::Linked { attributes, dir }) => Ok(self.linked(&attributes, &dir)),
            (ReadDir | ReadDirPlus, FileOk::Entries { entries, eof, dir }) => self.entries(&entries, eof, &dir),
            (FsStat, FileOk::Space { space, attributes }) => {
                let mut w = self.ok_after(&attributes);
                w.space(&space);
                // `invarsec`: what is free may change at any moment.
                w.u32(0);
                Ok(w)
            }
            (Write, FileOk::Written { count, stability, file, verifier }) => {
                let mut w = self.changed(&[file]);
                w.u32(count);
                w.stability(stability);
                w.fixed(&verifier);
                Ok(w)
            }
            (Commit, FileOk::Committed { file, verifier }) => {
                let mut w = self.changed(&[file]);
                w.fixed(&verifier);
                Ok(w)
            }
            _ => Err(Box::new(FileError::ServerFault.into())),
        }
    }

    /// 3.3.1
    fn attributes(&self, attributes: &Attributes) -> Writer {
        let mut w = self.ok();
        w.attributes(attributes, self.fsid);
        w
    }

    /// 3.3.2, 3.3.12, 3.3.13, 3.3.14, and the start of 3.3.7 and 3.3.21
    fn changed(&self, sides: &[Wcc]) -> Writer {
        let mut w = self.ok();
        sides.iter().for_each(|wcc| w.wcc(wcc, self.fsid));
        w
    }

    /// 3.3.3
    fn found(&self, attributes: &Attributes, dir: Option<&Attributes>) -> Writer {
        let mut w = self.ok();
        self.handle(&mut w, attributes.file);
        w.after(Some(attributes), self.fsid);
        w.after(dir, self.fsid);
        w
    }

    /// 3.3.4
    fn access(&self, granted: u32, attributes: &Attributes) -> Writer {
        const CHANGES: u32 = access::MODIFY | access::EXTEND | access::DELETE;
        let mut w = self.ok_after(attributes);
        w.u32(if self.context.read_only { granted & !CHANGES } else { granted });
        w
    }

    /// 3.3.5
    fn target(&self, target: &[u8], attributes: &Attributes) -> Writer {
        let mut w = self.ok_after(attributes);
        w.opaque(target);
        w
    }

    /// 3.3.6. The count is taken from the pieces, so that it cannot contradict the data.
    fn data(&self, pieces: Vec<Bytes>, eof: bool, attributes: &Attributes) -> Writer {
        let mut w = self.ok_after(attributes);
        w.u32(pieces.iter().map(Bytes::len).sum::<usize>() as u32);
        w.bool(eof);
        w.opaque_by_reference(pieces);
        w
    }

    /// 3.3.8 to 3.3.11
    fn made(&self, attributes: &Attributes, dir: &Wcc) -> Writer {
        let mut w = self.ok();
        w.bool(true);
        self.handle(&mut w, attributes.file);
        w.after(Some(attributes), self.fsid);
        w.wcc(dir, self.fsid);
        w
    }

    /// 3.3.15
    fn linked(&self, attributes: &Attributes, dir: &Wcc) -> Writer {
        let mut w = self.ok_after(attributes);
        w.wcc(dir, self.fsid);
        w
    }

    /// 3.3.16 and 3.3.17
    fn entries(&self, entries: &[DirectoryEntry], eof: bool, dir: &Attributes) -> Result<Writer, Box<FileFailure>> {
        let plus = self.context.procedure == Procedure::ReadDirPlus;
        let Some(fitting) = directory::entries_fitting(entries, plus, self.context.limits) else {
            let first = Wcc { before: None, after: Some(*dir) };
            return Err(Box::new(FileFailure { error: FileError::TooSmall, first, second: Wcc::default() }));
        };
        let mut w = self.ok();
        let listing = Listing { handles: &self.front.handles, volume: self.context.volume, plus };
        listing.write(&mut w, dir, &entries[..fitting], eof && fitting == entries.len());
        Ok(w)
    }

    /// 3.3.19
    fn fs_info(&self, attributes: &Attributes) -> Writer {
        let mut w = self.ok_after(attributes);
        for word in [DATA_BYTES_MAX, DATA_BYTES_MAX, MULTIPLE_BYTES, DATA_BYTES_MAX, DATA_BYTES_MAX, MULTIPLE_BYTES] {
            w.u32(word);
        }
        w.u32(DIRECTORY_BYTES_PREFERRED);
        w.u64(FILE_BYTES_MAX);
        // `time_delta`: times are kept to the nanosecond.
        w.u32(0);
        w.u32(1);
        w.u32(PROPERTIES);
        w
    }

    /// 3.3.20: `linkmax`, `name_max`, then `no_trunc`, `chown_restricted`, `case_insensitive`, `case_preserving`.
    fn path_conf(&self, attributes: &Attributes) -> Writer {
        let mut w = self.ok_after(attributes);
        w.u32(LINKS_MAX);
        w.u32(NAME_BYTES_MAX as u32);
        [true, true, false, true].into_iter().for_each(|flag| w.bool(flag));
        w
    }

    /// The `resfail` arm of every procedure.
    fn failure(&self, failure: &FileFailure) -> Vec<Bytes> {
        use Procedure::*;
        let FileFailure { error, first, second } = failure;
        let mut w = rpc::write_success(self.context.xid);
        w.u32(status(*error));
        match self.context.procedure {
            Null | GetAttr => {}
            Lookup | Access | ReadLink | Read | ReadDir | ReadDirPlus | FsStat | FsInfo | PathConf => {
                w.after(first.after.as_ref(), self.fsid);
            }
            SetAttr | Write | Create | MkDir | Symlink | MkNod | Remove | RmDir | Commit => w.wcc(first, self.fsid),
            Rename => [first, second].into_iter().for_each(|wcc| w.wcc(wcc, self.fsid)),
            Link => {
                w.after(first.after.as_ref(), self.fsid);
                w.wcc(second, self.fsid);
            }
        }
        w.finish()
    }
}
