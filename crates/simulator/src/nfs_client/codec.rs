//! File requests in NFS's words, and its answers in the volume's: the same for simulated clients and for clients of real processes.

use mainstay_nfs::client::{self, Answer, Handle, Request};
use mainstay_protocol::file::DirectoryEntry;
use mainstay_protocol::{Attributes, FileId, FileOk, FileRequest};

/// What a client takes a handle for. To clients of real servers handles are opaque, so they number those that they are given.
pub trait Handles {
    fn handle(&self, file: FileId) -> Handle;
    /// `inode`: what the attributes beside the handle say.
    fn file(&self, handle: &Handle, inode: u64) -> Option<FileId>;
}

pub fn encode(handles: &impl Handles, request: &FileRequest) -> Request {
    use FileRequest as F;
    match request.clone() {
        F::GetAttributes { file } => Request::GetAttributes { file: handles.handle(file) },
        F::SetAttributes { file, set, guard_ctime } => Request::SetAttributes { file: handles.handle(file), set, guard_ctime },
        F::Lookup { dir, name } => Request::Lookup { dir: handles.handle(dir), name },
        F::Access { file, mask } => Request::Access { file: handles.handle(file), mask },
        F::ReadLink { file } => Request::ReadLink { file: handles.handle(file) },
        F::Read { file, offset, count } => Request::Read { file: handles.handle(file), offset, count },
        F::Write { file, offset, data, stability } => Request::Write { file: handles.handle(file), offset, data, stability },
        F::FileSystemStat { file } => Request::FileSystemStat { file: handles.handle(file) },
        F::Commit { file, offset, count } => Request::Commit { file: handles.handle(file), offset, count },
        other => encode_names(handles, other),
    }
}

fn encode_names(handles: &impl Handles, request: FileRequest) -> Request {
    use FileRequest as F;
    match request {
        F::Create { dir, name, how } => Request::Create { dir: handles.handle(dir), name, how },
        F::MakeDirectory { dir, name, set } => Request::MakeDirectory { dir: handles.handle(dir), name, set },
        F::MakeSymlink { dir, name, target, set } => Request::MakeSymlink { dir: handles.handle(dir), name, target, set },
        F::MakeNode { dir, name, kind, set } => Request::MakeNode { dir: handles.handle(dir), name, kind, set },
        F::Remove { dir, name } => Request::Remove { dir: handles.handle(dir), name },
        F::RemoveDirectory { dir, name } => Request::RemoveDirectory { dir: handles.handle(dir), name },
        F::Rename { from_dir, from_name, to_dir, to_name } => {
            Request::Rename { from_dir: handles.handle(from_dir), from_name, to_dir: handles.handle(to_dir), to_name }
        }
        F::Link { file, dir, name } => Request::Link { file: handles.handle(file), dir: handles.handle(dir), name },
        F::ReadDirectory { dir, cookie, bytes_max, with_attributes: false } => {
            Request::ReadDirectory { dir: handles.handle(dir), cookie, verifier: [0; 8], count: bytes_max }
        }
        F::ReadDirectory { dir, cookie, bytes_max, with_attributes: true } => {
            let dir = handles.handle(dir);
            Request::ReadDirectoryPlus { dir, cookie, verifier: [0; 8], names_max: bytes_max, bytes_max }
        }
        other => unreachable!("{other:?} is encoded by `encode`"),
    }
}

/// Back to the volume's words. `None`: something is left out that our server never leaves out.
pub fn decode(handles: &impl Handles, request: &FileRequest, answer: Answer) -> Option<FileOk> {
    let generation = about(request).generation;
    let of = |attributes: Attributes| Attributes { file: FileId { generation, ..attributes.file }, ..attributes };
    Some(match answer {
        Answer::Attributes(attributes) => FileOk::Attributes(of(attributes)),
        Answer::AttributesSet(mut wcc) => {
            wcc.after = wcc.after.map(of);
            FileOk::AttributesSet(wcc)
        }
        Answer::Found { handle, attributes, dir } => FileOk::Found { attributes: owned(handles, &handle, attributes?)?, dir },
        Answer::Target { target, attributes } => FileOk::Target { target, attributes: of(attributes?) },
        Answer::Data { data, eof, attributes } => {
            FileOk::Data { count: data.len() as u32, pieces: vec![data], eof, attributes: of(attributes?) }
        }
        Answer::Written { count, stability, mut file, verifier } => {
            file.after = file.after.map(of);
            FileOk::Written { count, stability, file, verifier }
        }
        Answer::Made { handle, attributes, dir } => FileOk::Made { attributes: owned(handles, &handle?, attributes?)?, dir },
        Answer::Removed { dir } => FileOk::Removed { dir },
        Answer::Renamed { from, to } => FileOk::Renamed { from, to },
        Answer::Linked { attributes, dir } => FileOk::Linked { attributes: of(attributes?), dir },
        Answer::Committed { file, verifier } => FileOk::Committed { file, verifier },
        Answer::Entries { entries, eof, dir, .. } => {
            let entries = entries.into_iter().map(|entry| entry_of(handles, entry)).collect();
            FileOk::Entries { entries, eof, dir: of(dir?) }
        }
        _ => return None,
    })
}

fn entry_of(handles: &impl Handles, entry: client::Entry) -> DirectoryEntry {
    let file = entry.handle.as_ref().and_then(|handle| handles.file(handle, entry.inode));
    let attributes = entry.attributes.zip(file).map(|(attributes, file)| Attributes { file, ..attributes });
    DirectoryEntry { inode: entry.inode, name: entry.name, cookie: entry.cookie, attributes }
}

/// Attributes that came beside their object's handle.
fn owned(handles: &impl Handles, handle: &Handle, attributes: Attributes) -> Option<Attributes> {
    Some(Attributes { file: handles.file(handle, attributes.file.inode)?, ..attributes })
}

/// The file that a request is about: attributes without a handle beside them are its own, and the wire has no generation in them.
fn about(request: &FileRequest) -> FileId {
    use FileRequest as F;
    match request {
        F::GetAttributes { file } | F::SetAttributes { file, .. } | F::ReadLink { file } | F::Read { file, .. } => *file,
        F::Write { file, .. } | F::Link { file, .. } | F::Commit { file, .. } => *file,
        F::ReadDirectory { dir, .. } => *dir,
        _ => FileId::default(),
    }
}
