//! One method per procedure (RFC 1813 section 3.3), for callers that do one thing after the other.

use super::{Answer, CallError, Client, Handle, Request};
use bytes::Bytes;
use mainstay_nfs::client::{Entry, FileSystemInfo};
use mainstay_protocol::file::{CreateHow, SetAttributes, SpaceStat, WriteVerifier};
use mainstay_protocol::{Attributes, FileKind, Stability, Timestamp};

/// READDIRPLUS: bytes of names and of the whole answer asked for at once.
const LISTING_BYTES: u32 = 64 << 10;

/// A WRITE's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Bytes, maybe fewer than given.
    pub count: u32,
    pub stability: Stability,
    /// When COMMIT's differs, everything unstable must be written again.
    pub verifier: WriteVerifier,
}

/// A READ's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    pub data: Bytes,
    pub eof: bool,
}

/// Calls, and takes the answer apart. The codec decodes a procedure's answer into that procedure's variant and no other.
macro_rules! answer {
    ($client:expr, $request:expr, $pattern:pat => $value:expr) => {
        match $client.call($request)? {
            $pattern => Ok($value),
            other => unreachable!("the codec answered {other:?}"),
        }
    };
}

impl Client {
    pub fn null(&mut self) -> Result<(), CallError> {
        answer!(self, Request::Null, Answer::Null => ())
    }

    pub fn getattr(&mut self, file: &Handle) -> Result<Attributes, CallError> {
        answer!(self, Request::GetAttributes { file: file.clone() }, Answer::Attributes(attributes) => attributes)
    }

    pub fn setattr(&mut self, file: &Handle, set: SetAttributes) -> Result<(), CallError> {
        let request = Request::SetAttributes { file: file.clone(), set, guard_ctime: None };
        answer!(self, request, Answer::AttributesSet(_) => ())
    }

    /// As `setattr`, refused with NOT_SYNC when the file's ctime is another.
    pub fn setattr_guarded(&mut self, file: &Handle, set: SetAttributes, ctime: Timestamp) -> Result<(), CallError> {
        let request = Request::SetAttributes { file: file.clone(), set, guard_ctime: Some(ctime) };
        answer!(self, request, Answer::AttributesSet(_) => ())
    }

    pub fn lookup(&mut self, dir: &Handle, name: &str) -> Result<Handle, CallError> {
        answer!(self, Request::Lookup { dir: dir.clone(), name: bytes(name) }, Answer::Found { handle, .. } => handle)
    }

    /// The granted part of `mask` (`mainstay_protocol::file::access`).
    pub fn access(&mut self, file: &Handle, mask: u32) -> Result<u32, CallError> {
        answer!(self, Request::Access { file: file.clone(), mask }, Answer::Access { granted, .. } => granted)
    }

    pub fn readlink(&mut self, file: &Handle) -> Result<Bytes, CallError> {
        answer!(self, Request::ReadLink { file: file.clone() }, Answer::Target { target, .. } => target)
    }

    pub fn read(&mut self, file: &Handle, offset: u64, count: u32) -> Result<Data, CallError> {
        let request = Request::Read { file: file.clone(), offset, count };
        answer!(self, request, Answer::Data { data, eof, .. } => Data { data, eof })
    }

    pub fn write(&mut self, file: &Handle, offset: u64, data: Bytes, stability: Stability) -> Result<Written, CallError> {
        let request = Request::Write { file: file.clone(), offset, data, stability };
        answer!(self, request, Answer::Written { count, stability, verifier, .. } => Written { count, stability, verifier })
    }

    /// Everything of the file, whatever is unstable of it.
    pub fn commit(&mut self, file: &Handle) -> Result<WriteVerifier, CallError> {
        let request = Request::Commit { file: file.clone(), offset: 0, count: 0 };
        answer!(self, request, Answer::Committed { verifier, .. } => verifier)
    }

    pub fn create(&mut self, dir: &Handle, name: &str, how: CreateHow) -> Result<Handle, CallError> {
        let made =
            answer!(self, Request::Create { dir: dir.clone(), name: bytes(name), how }, Answer::Made { handle, .. } => handle);
        self.made(dir, name, made?)
    }

    pub fn mkdir(&mut self, dir: &Handle, name: &str, set: SetAttributes) -> Result<Handle, CallError> {
        let request = Request::MakeDirectory { dir: dir.clone(), name: bytes(name), set };
        let made = answer!(self, request, Answer::Made { handle, .. } => handle);
        self.made(dir, name, made?)
    }

    pub fn symlink(&mut self, dir: &Handle, name: &str, target: &str) -> Result<Handle, CallError> {
        let (dir_handle, target) = (dir.clone(), bytes(target));
        let request = Request::MakeSymlink { dir: dir_handle, name: bytes(name), target, set: SetAttributes::default() };
        let made = answer!(self, request, Answer::Made { handle, .. } => handle);
        self.made(dir, name, made?)
    }

    /// FIFO, socket or device.
    pub fn mknod(&mut self, dir: &Handle, name: &str, kind: FileKind, set: SetAttributes) -> Result<Handle, CallError> {
        let request = Request::MakeNode { dir: dir.clone(), name: bytes(name), kind, set };
        let made = answer!(self, request, Answer::Made { handle, .. } => handle);
        self.made(dir, name, made?)
    }

    /// A server may leave the new handle out (`post_op_fh3`); then it is looked up.
    fn made(&mut self, dir: &Handle, name: &str, handle: Option<Handle>) -> Result<Handle, CallError> {
        handle.map_or_else(|| self.lookup(dir, name), Ok)
    }

    pub fn remove(&mut self, dir: &Handle, name: &str) -> Result<(), CallError> {
        answer!(self, Request::Remove { dir: dir.clone(), name: bytes(name) }, Answer::Removed { .. } => ())
    }

    pub fn rmdir(&mut self, dir: &Handle, name: &str) -> Result<(), CallError> {
        answer!(self, Request::RemoveDirectory { dir: dir.clone(), name: bytes(name) }, Answer::Removed { .. } => ())
    }

    pub fn rename(&mut self, from_dir: &Handle, from: &str, to_dir: &Handle, to: &str) -> Result<(), CallError> {
        let (from_dir, to_dir) = (from_dir.clone(), to_dir.clone());
        let request = Request::Rename { from_dir, from_name: bytes(from), to_dir, to_name: bytes(to) };
        answer!(self, request, Answer::Renamed { .. } => ())
    }

    pub fn link(&mut self, file: &Handle, dir: &Handle, name: &str) -> Result<(), CallError> {
        let request = Request::Link { file: file.clone(), dir: dir.clone(), name: bytes(name) };
        answer!(self, request, Answer::Linked { .. } => ())
    }

    /// The whole directory, page by page, `.` and `..` included where the server lists them.
    pub fn readdirplus(&mut self, dir: &Handle) -> Result<Vec<Entry>, CallError> {
        let (mut all, mut cookie, mut verifier) = (Vec::new(), 0, [0; 8]);
        loop {
            let (names_max, bytes_max) = (LISTING_BYTES, LISTING_BYTES);
            let request = Request::ReadDirectoryPlus { dir: dir.clone(), cookie, verifier, names_max, bytes_max };
            let (entries, next, eof) =
                answer!(self, request, Answer::Entries { entries, verifier, eof, .. } => (entries, verifier, eof))?;
            verifier = next;
            // A page without entries that is not the end would be asked for again for ever.
            let end = eof || entries.is_empty();
            cookie = entries.last().map_or(cookie, |entry| entry.cookie);
            all.extend(entries);
            if end {
                return Ok(all);
            }
        }
    }

    pub fn fsstat(&mut self, file: &Handle) -> Result<SpaceStat, CallError> {
        answer!(self, Request::FileSystemStat { file: file.clone() }, Answer::Space { space, .. } => space)
    }

    pub fn fsinfo(&mut self, file: &Handle) -> Result<FileSystemInfo, CallError> {
        answer!(self, Request::FileSystemInfo { file: file.clone() }, Answer::Information { information, .. } => information)
    }
}

fn bytes(name: &str) -> Bytes {
    Bytes::copy_from_slice(name.as_bytes())
}
