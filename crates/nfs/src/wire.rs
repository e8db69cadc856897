//! The structures that NFSv3 calls and replies share (RFC 1813 sections 2.5 and 2.6), both ways: the server writes what the
//! client reads and the other way round.

use crate::xdr::{Reader, Writer, XdrError};
use bytes::Bytes;
use mainstay_protocol::file::{Before, CreateHow, SetAttributes, SetTime, SpaceStat, Wcc};
use mainstay_protocol::{Attributes, FileId, FileKind, Stability, Timestamp};

/// NFS3_FHSIZE.
pub(crate) const HANDLE_BYTES_MAX: usize = 64;
/// Bytes of a `fattr3`.
pub(crate) const ATTRIBUTES_BYTES: usize = 84;
const NANOS: u32 = 1_000_000_000;

impl Writer {
    /// `nfstime3` has unsigned 32-bit seconds: times before 1970 and after 2106 are shown as the nearest one it can hold.
    pub(crate) fn time(&mut self, time: Timestamp) {
        self.u32(time.seconds.clamp(0, u32::MAX as i64) as u32);
        self.u32(time.nanos);
    }

    pub(crate) fn kind(&mut self, kind: FileKind) {
        self.u32(match kind {
            FileKind::Regular => 1,
            FileKind::Directory => 2,
            FileKind::BlockDevice { .. } => 3,
            FileKind::CharDevice { .. } => 4,
            FileKind::Symlink => 5,
            FileKind::Socket => 6,
            FileKind::Fifo => 7,
        });
    }

    /// `specdata3`; zeros for what is no device.
    pub(crate) fn device(&mut self, kind: FileKind) {
        let (major, minor) = match kind {
            FileKind::BlockDevice { major, minor } | FileKind::CharDevice { major, minor } => (major, minor),
            _ => (0, 0),
        };
        self.u32(major);
        self.u32(minor);
    }

    /// `fattr3`.
    pub(crate) fn attributes(&mut self, a: &Attributes, fsid: u64) {
        self.kind(a.kind);
        for word in [a.mode as u32, a.links, a.uid, a.gid] {
            self.u32(word);
        }
        self.u64(a.size);
        self.u64(a.used);
        self.device(a.kind);
        self.u64(fsid);
        self.u64(a.file.inode);
        for time in [a.atime, a.mtime, a.ctime] {
            self.time(time);
        }
    }

    /// `post_op_attr`.
    pub(crate) fn after(&mut self, attributes: Option<&Attributes>, fsid: u64) {
        self.bool(attributes.is_some());
        if let Some(attributes) = attributes {
            self.attributes(attributes, fsid);
        }
    }

    /// `wcc_data`.
    pub(crate) fn wcc(&mut self, wcc: &Wcc, fsid: u64) {
        self.bool(wcc.before.is_some());
        if let Some(before) = &wcc.before {
            self.u64(before.size);
            self.time(before.mtime);
            self.time(before.ctime);
        }
        self.after(wcc.after.as_ref(), fsid);
    }

    fn optional_u32(&mut self, value: Option<u32>) {
        self.bool(value.is_some());
        if let Some(value) = value {
            self.u32(value);
        }
    }

    fn set_time(&mut self, set: SetTime) {
        match set {
            SetTime::Keep => self.u32(0),
            SetTime::Server => self.u32(1),
            SetTime::Client(time) => {
                self.u32(2);
                self.time(time);
            }
        }
    }

    /// `sattr3`.
    pub(crate) fn set_attributes(&mut self, set: &SetAttributes) {
        self.optional_u32(set.mode.map(u32::from));
        self.optional_u32(set.uid);
        self.optional_u32(set.gid);
        self.bool(set.size.is_some());
        if let Some(size) = set.size {
            self.u64(size);
        }
        self.set_time(set.atime);
        self.set_time(set.mtime);
    }

    pub(crate) fn stability(&mut self, stability: Stability) {
        self.u32(match stability {
            Stability::Unstable => 0,
            Stability::DataSync => 1,
            Stability::FileSync => 2,
        });
    }

    /// `createhow3`.
    pub(crate) fn create_how(&mut self, how: &CreateHow) {
        match how {
            CreateHow::Unchecked(set) | CreateHow::Guarded(set) => {
                self.u32(matches!(how, CreateHow::Guarded(_)) as u32);
                self.set_attributes(set);
            }
            CreateHow::Exclusive(verifier) => {
                self.u32(2);
                self.fixed(verifier);
            }
        }
    }

    /// The middle of `FSSTAT3resok`.
    pub(crate) fn space(&mut self, s: &SpaceStat) {
        for value in [s.total_bytes, s.free_bytes, s.available_bytes, s.total_files, s.free_files, s.available_files] {
            self.u64(value);
        }
    }
}

impl Reader {
    pub(crate) fn time(&mut self) -> Result<Timestamp, XdrError> {
        let seconds = self.u32()?;
        let nanos = self.u32()?;
        if nanos < NANOS { Ok(Timestamp::new(seconds as i64, nanos)) } else { Err(XdrError::Nanoseconds(nanos)) }
    }

    fn kind_and_device(value: u32, major: u32, minor: u32) -> Result<FileKind, XdrError> {
        match value {
            1 => Ok(FileKind::Regular),
            2 => Ok(FileKind::Directory),
            3 => Ok(FileKind::BlockDevice { major, minor }),
            4 => Ok(FileKind::CharDevice { major, minor }),
            5 => Ok(FileKind::Symlink),
            6 => Ok(FileKind::Socket),
            7 => Ok(FileKind::Fifo),
            _ => Err(XdrError::NotOf { value, of: "ftype3" }),
        }
    }

    /// `fattr3`. The wire has no generation: it is zero here.
    pub(crate) fn attributes(&mut self) -> Result<Attributes, XdrError> {
        let kind = self.u32()?;
        let mode = (self.u32()? & 0o7777) as u16;
        let (links, uid, gid) = (self.u32()?, self.u32()?, self.u32()?);
        let (size, used) = (self.u64()?, self.u64()?);
        let (major, minor) = (self.u32()?, self.u32()?);
        let _fsid = self.u64()?;
        let file = FileId { inode: self.u64()?, generation: 0 };
        let (atime, mtime, ctime) = (self.time()?, self.time()?, self.time()?);
        let kind = Self::kind_and_device(kind, major, minor)?;
        Ok(Attributes { file, kind, mode, links, uid, gid, size, used, atime, mtime, ctime })
    }

    /// `post_op_attr`.
    pub(crate) fn after(&mut self) -> Result<Option<Attributes>, XdrError> {
        self.option(Reader::attributes)
    }

    /// `wcc_data`.
    pub(crate) fn wcc(&mut self) -> Result<Wcc, XdrError> {
        let before = self.option(|r| Ok(Before { size: r.u64()?, mtime: r.time()?, ctime: r.time()? }))?;
        Ok(Wcc { before, after: self.after()? })
    }

    fn set_time(&mut self) -> Result<SetTime, XdrError> {
        match self.u32()? {
            0 => Ok(SetTime::Keep),
            1 => Ok(SetTime::Server),
            2 => Ok(SetTime::Client(self.time()?)),
            value => Err(XdrError::NotOf { value, of: "time_how" }),
        }
    }

    /// `sattr3`. Mode bits beyond the permission bits mean nothing in NFS and are dropped.
    pub(crate) fn set_attributes(&mut self) -> Result<SetAttributes, XdrError> {
        Ok(SetAttributes {
            mode: self.option(Reader::u32)?.map(|mode| (mode & 0o7777) as u16),
            uid: self.option(Reader::u32)?,
            gid: self.option(Reader::u32)?,
            size: self.option(Reader::u64)?,
            atime: self.set_time()?,
            mtime: self.set_time()?,
        })
    }

    pub(crate) fn stability(&mut self) -> Result<Stability, XdrError> {
        match self.u32()? {
            0 => Ok(Stability::Unstable),
            1 => Ok(Stability::DataSync),
            2 => Ok(Stability::FileSync),
            value => Err(XdrError::NotOf { value, of: "stable_how" }),
        }
    }

    /// `createhow3`.
    pub(crate) fn create_how(&mut self) -> Result<CreateHow, XdrError> {
        match self.u32()? {
            0 => Ok(CreateHow::Unchecked(self.set_attributes()?)),
            1 => Ok(CreateHow::Guarded(self.set_attributes()?)),
            2 => Ok(CreateHow::Exclusive(self.fixed()?)),
            value => Err(XdrError::NotOf { value, of: "createmode3" }),
        }
    }

    /// `mknoddata3`; `None` for the types that MKNOD does not make.
    pub(crate) fn node(&mut self) -> Result<Option<(FileKind, SetAttributes)>, XdrError> {
        let kind = self.u32()?;
        match kind {
            3 | 4 => {
                let set = self.set_attributes()?;
                let (major, minor) = (self.u32()?, self.u32()?);
                Ok(Some((Self::kind_and_device(kind, major, minor)?, set)))
            }
            6 | 7 => Ok(Some((Self::kind_and_device(kind, 0, 0)?, self.set_attributes()?))),
            _ => Ok(None),
        }
    }

    pub(crate) fn handle_bytes(&mut self) -> Result<Bytes, XdrError> {
        self.opaque(HANDLE_BYTES_MAX)
    }

    /// The middle of `FSSTAT3resok`.
    pub(crate) fn space(&mut self) -> Result<SpaceStat, XdrError> {
        Ok(SpaceStat {
            total_bytes: self.u64()?,
            free_bytes: self.u64()?,
            available_bytes: self.u64()?,
            total_files: self.u64()?,
            free_files: self.u64()?,
            available_files: self.u64()?,
        })
    }
}
