//! A client's and a server's NFS wire, back to back: requests go through the client's codec, record marking and the server's
//! front, and results come back the same way. What the wire loses or bends, the file system's model notices.

pub mod codec;

use crate::world::{CLUSTER, VOLUME};
use bytes::Bytes;
use codec::Handles;
use mainstay_nfs::client::{self, Handle};
use mainstay_nfs::rpc::Credential;
use mainstay_nfs::{Access, Call, ClientRule, Context, Export, Front, HandleKey, Network, RecordReader, Squash};
use mainstay_protocol::{ClientRequest, FileError, FileFailure, FileId, FileRequest, FileResult};
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
        let parts = client::encode(xid, &credential, &codec::encode(self, request));
        match self.front.call(IpAddr::V4(client), record(parts)) {
            Call::File { request, context, .. } => (request, context),
            other => panic!("{request:?} became {other:?} on the wire"),
        }
    }

    /// What the client makes of the server's reply.
    pub fn result(&self, context: Context, request: &FileRequest, result: FileResult) -> FileResult {
        let parts = self.front.reply(context, result);
        let reply = client::decode(context.procedure(), record(parts)).expect("our own replies decode");
        assert_eq!(reply.xid, context.xid());
        reply.result.and_then(|answer| codec::decode(self, request, answer).ok_or_else(missing))
    }
}

impl Handles for Wire {
    fn handle(&self, file: FileId) -> Handle {
        Handle::new(&self.front.handles().encode(VOLUME, file)).expect("ours are short enough")
    }

    fn file(&self, handle: &Handle, _inode: u64) -> Option<FileId> {
        self.front.handles().decode(handle.bytes()).map(|(_, file)| file)
    }
}

fn missing() -> FileFailure {
    FileError::ServerFault.into()
}
