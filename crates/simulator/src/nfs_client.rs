//! A client's and a server's NFS wire, back to back: requests go through the client's codec, record marking and the server's
//! front, and results come back the same way. What the wire loses or bends, the file system's model notices.

use crate::world::{CLUSTER, VOLUME};
use bytes::Bytes;
use mainstay_nfs::client::{self, Answer, Handle, Request};
use mainstay_nfs::rpc::Credential;
use mainstay_nfs::{Access, Call, ClientRule, Context, Export, Front, HandleKey, Network, RecordReader, Squash};
use mainstay_protocol::file::DirectoryEntry;
use mainstay_protocol::{Attributes, ClientRequest, FileError, FileFailure, FileId, FileOk, FileRequest, FileResult};
use std::net::{IpAddr, Ipv4Addr};

/// The wire of one export, the same on every server of the cluster.
pub struct Wire {
    front: Front,
}

impl Default for Wire {
    fn default() -> Self {
        let mut export = Export::new("/files", VOLUME);
        export.squash = Squash::None;
        export.clients = vec![ClientRule { network: Network::ALL_V4, access: Access::ReadWrite }];
        let front = Front::new(CLUSTER, HandleKey([7; 16]), vec![export], 2049).expect("a lawful export");
        Wire { front }
    }
}

/// One record, without its mark, from the parts that go onto a socket.
fn record(parts: Vec<Bytes>) -> Bytes {
    let mut reader = RecordReader::new();
    parts.iter().for_each(|part| reader.push(part));
    reader.next_record().ok().flatten().expect("what was sent is one record")
}

impl Wire {
    /// What the server's front makes of a client's request.
    pub fn request(&self, client: Ipv4Addr, xid: u32, request: &FileRequest) -> (ClientRequest, Context) {
        let credential = Credential::Sys { uid: 0, gid: 0, groups: vec![] };
        let parts = client::encode(xid, &credential, &self.encode(request));
        match self.front.call(IpAddr::V4(client), record(parts)) {
            Call::File { request, context, .. } => (request, context),
            other => panic!("{request:?} became {other:?} on the wire"),
        }
    }

    fn handle(&self, file: FileId) -> Handle {
        Handle::new(&self.front.handles().encode(VOLUME, file)).expect("ours are short enough")
    }

    fn file(&self, handle: &Handle) -> Option<FileId> {
        self.front.handles().decode(handle.bytes()).map(|(_, file)| file)
    }

    fn encode(&self, request: &FileRequest) -> Request {
        use FileRequest as F;
        match request.clone() {
            F::GetAttributes { file } => Request::GetAttributes { file: self.handle(file) },
            F::SetAttributes { file, set, guard_ctime } => Request::SetAttributes { file: self.handle(file), set, guard_ctime },
            F::Lookup { dir, name } => Request::Lookup { dir: self.handle(dir), name },
            F::Access { file, mask } => Request::Access { file: self.handle(file), mask },
            F::ReadLink { file } => Request::ReadLink { file: self.handle(file) },
            F::Read { file, offset, count } => Request::Read { file: self.handle(file), offset, count },
            F::Write { file, offset, data, stability } => Request::Write { file: self.handle(file), offset, data, stability },
            F::FileSystemStat { file } => Request::FileSystemStat { file: self.handle(file) },
            F::Commit { file, offset, count } => Request::Commit { file: self.handle(file), offset, count },
            other => self.encode_names(other),
        }
    }

    fn encode_names(&self, request: FileRequest) -> Request {
        use FileRequest as F;
        match request {
            F::Create { dir, name, how } => Request::Create { dir: self.handle(dir), name, how },
            F::MakeDirectory { dir, name, set } => Request::MakeDirectory { dir: self.handle(dir), name, set },
            F::MakeSymlink { dir, name, target, set } => Request::MakeSymlink { dir: self.handle(dir), name, target, set },
            F::MakeNode { dir, name, kind, set } => Request::MakeNode { dir: self.handle(dir), name, kind, set },
            F::Remove { dir, name } => Request::Remove { dir: self.handle(dir), name },
            F::RemoveDirectory { dir, name } => Request::RemoveDirectory { dir: self.handle(dir), name },
            F::Rename { from_dir, from_name, to_dir, to_name } => {
                Request::Rename { from_dir: self.handle(from_dir), from_name, to_dir: self.handle(to_dir), to_name }
            }
            F::Link { file, dir, name } => Request::Link { file: self.handle(file), dir: self.handle(dir), name },
            F::ReadDirectory { dir, cookie, bytes_max, with_attributes: false } => {
                Request::ReadDirectory { dir: self.handle(dir), cookie, verifier: [0; 8], count: bytes_max }
            }
            F::ReadDirectory { dir, cookie, bytes_max, with_attributes: true } => {
                let dir = self.handle(dir);
                Request::ReadDirectoryPlus { dir, cookie, verifier: [0; 8], names_max: bytes_max, bytes_max }
            }
            other => unreachable!("{other:?} is encoded by `encode`"),
        }
    }

    /// What the client makes of the server's reply.
    pub fn result(&self, context: Context, request: &FileRequest, result: FileResult) -> FileResult {
        let parts = self.front.reply(context, result);
        let reply = client::decode(context.procedure(), record(parts)).expect("our own replies decode");
        assert_eq!(reply.xid, context.xid());
        reply.result.and_then(|answer| self.decode(request, answer).ok_or_else(missing))
    }

    /// Back to the volume's words. `None`: something is left out that our server never leaves out.
    fn decode(&self, request: &FileRequest, answer: Answer) -> Option<FileOk> {
        let of = |attributes: Attributes| Attributes { file: about(request), ..attributes };
        Some(match answer {
            Answer::Attributes(attributes) => FileOk::Attributes(of(attributes)),
            Answer::AttributesSet(mut wcc) => {
                wcc.after = wcc.after.map(of);
                FileOk::AttributesSet(wcc)
            }
            Answer::Found { handle, attributes, dir } => {
                FileOk::Found { attributes: Attributes { file: self.file(&handle)?, ..attributes? }, dir }
            }
            Answer::Target { target, attributes } => FileOk::Target { target, attributes: of(attributes?) },
            Answer::Data { data, eof, attributes } => {
                FileOk::Data { count: data.len() as u32, pieces: vec![data], eof, attributes: of(attributes?) }
            }
            Answer::Written { count, stability, mut file, verifier } => {
                file.after = file.after.map(of);
                FileOk::Written { count, stability, file, verifier }
            }
            Answer::Made { handle, attributes, dir } => {
                FileOk::Made { attributes: Attributes { file: self.file(&handle?)?, ..attributes? }, dir }
            }
            Answer::Removed { dir } => FileOk::Removed { dir },
            Answer::Renamed { from, to } => FileOk::Renamed { from, to },
            Answer::Linked { attributes, dir } => FileOk::Linked { attributes: of(attributes?), dir },
            Answer::Committed { file, verifier } => FileOk::Committed { file, verifier },
            Answer::Entries { entries, eof, dir, .. } => {
                let entries = entries.into_iter().map(|entry| self.entry(entry)).collect();
                FileOk::Entries { entries, eof, dir: of(dir?) }
            }
            _ => return None,
        })
    }

    fn entry(&self, entry: client::Entry) -> DirectoryEntry {
        let file = entry.handle.as_ref().and_then(|handle| self.file(handle));
        let attributes = entry.attributes.zip(file).map(|(attributes, file)| Attributes { file, ..attributes });
        DirectoryEntry { inode: entry.inode, name: entry.name, cookie: entry.cookie, attributes }
    }
}

fn missing() -> FileFailure {
    FileError::ServerFault.into()
}

/// The file that a request is about: the wire's attributes carry no generation.
fn about(request: &FileRequest) -> FileId {
    use FileRequest as F;
    match request {
        F::GetAttributes { file } | F::SetAttributes { file, .. } | F::ReadLink { file } | F::Read { file, .. } => *file,
        F::Write { file, .. } | F::Link { file, .. } | F::Commit { file, .. } => *file,
        F::ReadDirectory { dir, .. } => *dir,
        _ => FileId::default(),
    }
}
