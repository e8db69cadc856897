//! Arguments of the NFSv3 procedures (RFC 1813 section 3.3) to file requests.

use crate::handle::Handles;
use crate::procedure::Procedure;
use crate::xdr::{Reader, XdrError};
use bytes::Bytes;
use mainstay_protocol::file::SetAttributes;
use mainstay_protocol::limits::{NAME_BYTES_MAX, PAYLOAD_BYTES_MAX, SYMLINK_BYTES_MAX};
use mainstay_protocol::{FileError, FileId, FileKind, FileRequest, VolumeId};

/// Most that one READDIR or READDIRPLUS returns, whatever the client allows: it bounds what one request costs the volume.
pub(crate) const DIRECTORY_BYTES_MAX: u32 = 256 << 10;
/// Largest data of one READ or WRITE: `rtmax` and `wtmax` (RFC 1813 section 3.3.19).
pub(crate) const DATA_BYTES_MAX: u32 = PAYLOAD_BYTES_MAX as u32;

/// Why arguments make no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Not what the procedure's XDR says: GARBAGE_ARGS.
    Garbage,
    /// Well-formed, but refused before the volume is asked.
    Refused(FileError),
}

impl From<XdrError> for Fault {
    fn from(error: XdrError) -> Fault {
        match error {
            // The XDR is sound, the time is none.
            XdrError::Nanoseconds(_) => Fault::Refused(FileError::Invalid),
            _ => Fault::Garbage,
        }
    }
}

/// What the client's reply buffer holds (READDIR, READDIRPLUS), bytes of XDR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReplyLimits {
    /// `dircount`: entries without attributes and handles.
    pub names: u32,
    /// `count` or `maxcount`: the whole result.
    pub whole: u32,
}

#[derive(Debug)]
pub(crate) struct Decoded {
    pub volume: VolumeId,
    pub request: FileRequest,
    pub limits: ReplyLimits,
}

/// Decodes the arguments of any procedure but NULL. Bytes after them are ignored, as other servers do.
pub(crate) fn decode(procedure: Procedure, arguments: Bytes, handles: &Handles) -> Result<Decoded, Fault> {
    let mut decoder = Decoder { handles, reader: Reader::new(arguments), volume: None, limits: ReplyLimits::default() };
    let request = decoder.request(procedure)?;
    let volume = decoder.volume.ok_or(Fault::Garbage)?;
    Ok(Decoded { volume, request, limits: decoder.limits })
}

struct Decoder<'a> {
    handles: &'a Handles,
    reader: Reader,
    volume: Option<VolumeId>,
    limits: ReplyLimits,
}

impl Decoder<'_> {
    fn request(&mut self, procedure: Procedure) -> Result<FileRequest, Fault> {
        use Procedure::*;
        match procedure {
            Null => Err(Fault::Garbage),
            // FSINFO and PATHCONF return constants beside the file's attributes (3.3.19, 3.3.20).
            GetAttr | FsInfo | PathConf => Ok(FileRequest::GetAttributes { file: self.file()? }),
            SetAttr => self.set_attributes(),
            Lookup => self.in_dir(|dir, name| FileRequest::Lookup { dir, name }),
            Access => Ok(FileRequest::Access { file: self.file()?, mask: self.reader.u32()? }),
            ReadLink => Ok(FileRequest::ReadLink { file: self.file()? }),
            Read => self.read(),
            Write => self.write(),
            Create => self.create(),
            MkDir => self.make_directory(),
            Symlink => self.make_symlink(),
            MkNod => self.make_node(),
            Remove => self.in_dir(|dir, name| FileRequest::Remove { dir, name }),
            RmDir => self.in_dir(|dir, name| FileRequest::RemoveDirectory { dir, name }),
            Rename => self.rename(),
            Link => self.link(),
            ReadDir => self.read_directory(false),
            ReadDirPlus => self.read_directory(true),
            FsStat => Ok(FileRequest::FileSystemStat { file: self.file()? }),
            Commit => self.commit(),
        }
    }

    /// `nfs_fh3`. Files of two volumes in one call are two file systems (NFS3ERR_XDEV).
    fn file(&mut self) -> Result<FileId, Fault> {
        let handle = self.reader.handle_bytes()?;
        let (volume, file) = self.handles.decode(&handle).ok_or(Fault::Refused(FileError::BadHandle))?;
        if self.volume.is_some_and(|other| other != volume) {
            return Err(Fault::Refused(FileError::CrossDevice));
        }
        self.volume = Some(volume);
        Ok(file)
    }

    /// Text that the volume may keep: copied, so that it does not keep the whole record alive.
    fn text(&mut self, max: usize) -> Result<Bytes, Fault> {
        let text = self.reader.opaque(usize::MAX)?;
        if text.len() > max {
            return Err(Fault::Refused(FileError::NameTooLong));
        }
        Ok(Bytes::copy_from_slice(&text))
    }

    /// `diropargs3`. Names are bytes; which of them are refused is the volume's to say.
    fn dir_and_name(&mut self) -> Result<(FileId, Bytes), Fault> {
        Ok((self.file()?, self.text(NAME_BYTES_MAX)?))
    }

    fn in_dir(&mut self, make: impl FnOnce(FileId, Bytes) -> FileRequest) -> Result<FileRequest, Fault> {
        let (dir, name) = self.dir_and_name()?;
        Ok(make(dir, name))
    }

    fn set(&mut self) -> Result<SetAttributes, Fault> {
        Ok(self.reader.set_attributes()?)
    }

    /// 3.3.2
    fn set_attributes(&mut self) -> Result<FileRequest, Fault> {
        Ok(FileRequest::SetAttributes { file: self.file()?, set: self.set()?, guard_ctime: self.reader.option(Reader::time)? })
    }

    /// 3.3.6: a count beyond `rtmax` is a short read, not an error.
    fn read(&mut self) -> Result<FileRequest, Fault> {
        let (file, offset, count) = (self.file()?, self.reader.u64()?, self.reader.u32()?);
        Ok(FileRequest::Read { file, offset, count: count.min(DATA_BYTES_MAX) })
    }

    /// 3.3.7: `count` must be the length of the data. Data beyond `wtmax` is a short write: the client sends the rest again.
    fn write(&mut self) -> Result<FileRequest, Fault> {
        let (file, offset, count) = (self.file()?, self.reader.u64()?, self.reader.u32()?);
        let stability = self.reader.stability()?;
        let mut data = self.reader.opaque(usize::MAX)?;
        if data.len() != count as usize {
            return Err(Fault::Garbage);
        }
        data.truncate(DATA_BYTES_MAX as usize);
        Ok(FileRequest::Write { file, offset, data, stability })
    }

    /// 3.3.8
    fn create(&mut self) -> Result<FileRequest, Fault> {
        let (dir, name) = self.dir_and_name()?;
        Ok(FileRequest::Create { dir, name, how: self.reader.create_how()? })
    }

    /// 3.3.9
    fn make_directory(&mut self) -> Result<FileRequest, Fault> {
        let (dir, name) = self.dir_and_name()?;
        Ok(FileRequest::MakeDirectory { dir, name, set: self.set()? })
    }

    /// 3.3.10
    fn make_symlink(&mut self) -> Result<FileRequest, Fault> {
        let (dir, name) = self.dir_and_name()?;
        let set = self.set()?;
        Ok(FileRequest::MakeSymlink { dir, name, target: self.text(SYMLINK_BYTES_MAX)?, set })
    }

    /// 3.3.11
    fn make_node(&mut self) -> Result<FileRequest, Fault> {
        let (dir, name) = self.dir_and_name()?;
        let (kind, set): (FileKind, _) = self.reader.node()?.ok_or(Fault::Refused(FileError::BadType))?;
        Ok(FileRequest::MakeNode { dir, name, kind, set })
    }

    /// 3.3.14
    fn rename(&mut self) -> Result<FileRequest, Fault> {
        let (from_dir, from_name) = self.dir_and_name()?;
        let (to_dir, to_name) = self.dir_and_name()?;
        Ok(FileRequest::Rename { from_dir, from_name, to_dir, to_name })
    }

    /// 3.3.15
    fn link(&mut self) -> Result<FileRequest, Fault> {
        let file = self.file()?;
        self.in_dir(|dir, name| FileRequest::Link { file, dir, name })
    }

    /// 3.3.16 and 3.3.17. The client's cookie verifier is not looked at: cookies are good for ever (see [`crate::directory`]).
    fn read_directory(&mut self, plus: bool) -> Result<FileRequest, Fault> {
        let (dir, cookie) = (self.file()?, self.reader.u64()?);
        let _verifier: [u8; 8] = self.reader.fixed()?;
        let names = if plus { self.reader.u32()? } else { u32::MAX };
        let whole = self.reader.u32()?.min(DIRECTORY_BYTES_MAX);
        self.limits = ReplyLimits { names, whole };
        Ok(FileRequest::ReadDirectory { dir, cookie, bytes_max: whole, with_attributes: plus })
    }

    /// 3.3.21
    fn commit(&mut self) -> Result<FileRequest, Fault> {
        Ok(FileRequest::Commit { file: self.file()?, offset: self.reader.u64()?, count: self.reader.u32()? })
    }
}
