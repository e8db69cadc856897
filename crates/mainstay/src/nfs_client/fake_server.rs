//! An NFS server in this process for the tests: the project's own front over plain memory, with faults on demand. Files and
//! directories only, no permissions.

use bytes::Bytes;
use mainstay_nfs::{Access, Call, ClientRule, Export, Front, HandleKey, Network, RecordReader, Squash};
use mainstay_protocol::file::{DirectoryEntry, SpaceStat, Wcc};
use mainstay_protocol::{
    Attributes, ClientRequest, ClusterId, FileError, FileId, FileKind, FileOk, FileRequest, RequestId, Timestamp, VolumeId,
};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub const EXPORT: &str = "/files";
const VOLUME: VolumeId = VolumeId(1);

/// What goes wrong. Counted over all connections; zero is never.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Every n-th file call is executed, but the connection is closed instead of answering.
    pub lose_reply_every: u64,
    /// As before, but the answer is just never sent.
    pub swallow_reply_every: u64,
    /// Every n-th file call is answered with "try later" and not executed.
    pub try_later_every: u64,
    /// Data of reads have one bit flipped.
    pub corrupt_reads: bool,
    /// Writes are answered and forgotten.
    pub forget_writes: bool,
    /// Removes are answered and not done.
    pub forget_removes: bool,
    /// Data bytes after which writes are refused with NOSPC.
    pub space_bytes: Option<u64>,
    /// Every n-th COMMIT has another verifier, from then on.
    pub new_verifier_every: u64,
    /// MOUNT refuses ports from 1024 up.
    pub reserved_ports_only: bool,
    /// The export is for nobody that writes.
    pub read_only: bool,
}

#[derive(Default)]
struct Node {
    data: Vec<u8>,
    /// `Some` for directories.
    entries: Option<BTreeMap<Bytes, u64>>,
}

/// What the server holds and what happened to it.
#[derive(Default)]
pub struct State {
    nodes: BTreeMap<u64, Node>,
    replies: BTreeMap<RequestId, Result<FileOk, FileError>>,
    next_inode: u64,
    commits: u64,
    written: u64,
    pub verifier: u64,
    pub calls: u64,
    /// Answered from the duplicate request cache.
    pub repeated: u64,
    pub connections: u64,
    pub faults: Faults,
}

pub struct FakeServer {
    pub address: SocketAddr,
    pub state: Arc<Mutex<State>>,
}

impl FakeServer {
    /// Serves until the process ends; its threads sleep in `accept` and `read`.
    pub fn start(faults: Faults) -> FakeServer {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let root = Node { entries: Some(BTreeMap::new()), ..Node::default() };
        let state = State { nodes: BTreeMap::from([(1, root)]), next_inode: 2, faults, ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let access = if faults.read_only { Access::ReadOnly } else { Access::ReadWrite };
        let clients = vec![ClientRule { network: Network::ALL_V4, access }];
        let export = Export { clients, squash: Squash::None, ..Export::new(EXPORT, VOLUME) };
        let front = Arc::new(Front::new(ClusterId([7; 16]), HandleKey([9; 16]), vec![export], address.port()).unwrap());
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (front, state) = (front.clone(), shared.clone());
                std::thread::spawn(move || serve(stream.unwrap(), &front, &state));
            }
        });
        FakeServer { address, state }
    }

    pub fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap())
    }

    /// Names in the root directory.
    pub fn root_names(&self) -> Vec<String> {
        let names = |state: &mut State| state.nodes[&1].entries.as_ref().unwrap().keys().cloned().collect::<Vec<_>>();
        self.with(names).iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
    }

    /// Inodes besides the root.
    pub fn inodes(&self) -> usize {
        self.with(|state| state.nodes.len() - 1)
    }
}

/// One connection, until it or a fault ends it.
fn serve(mut stream: TcpStream, front: &Front, state: &Mutex<State>) {
    state.lock().unwrap().connections += 1;
    stream.set_nodelay(true).unwrap();
    let peer = stream.peer_addr().unwrap();
    let (mut reader, mut buffer) = (RecordReader::new(), vec![0; 64 << 10]);
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        reader.push(&buffer[..read]);
        while let Some(record) = reader.next_record().unwrap() {
            let reply = match refused_mount(peer, state) {
                true => Some(refusal_of_mount(&record)),
                false => answer(peer, front, state, record),
            };
            let Some(reply) = reply else { return };
            if stream.write_all(&reply).is_err() {
                return;
            }
        }
    }
}

fn refused_mount(peer: SocketAddr, state: &Mutex<State>) -> bool {
    state.lock().unwrap().faults.reserved_ports_only && peer.port() >= 1024
}

/// MNT3ERR_ACCES.
fn refusal_of_mount(record: &[u8]) -> Vec<u8> {
    let mut reply = mainstay_nfs::rpc::write_success(mainstay_nfs::rpc::xid(record).unwrap());
    reply.u32(13);
    reply.finish().concat()
}

/// Bytes to send (none for an answer that is swallowed); `None` closes the connection.
fn answer(peer: SocketAddr, front: &Front, state: &Mutex<State>, record: Bytes) -> Option<Vec<u8>> {
    let (request, context) = match front.call(peer.ip(), record) {
        Call::Reply(parts) => return Some(parts.concat()),
        Call::Close => return None,
        Call::File { request, context, .. } => (request, context),
    };
    let mut state = state.lock().unwrap();
    state.calls += 1;
    let (calls, faults) = (state.calls, state.faults);
    let now = |every: u64| every > 0 && calls % every == 0;
    // Never to a repeated call that was executed: the client would ask again under a new number, and do it twice.
    if now(faults.try_later_every) && !request.identity.is_some_and(|identity| state.replies.contains_key(&identity)) {
        return Some(front.reply(context, Err(FileError::TryLater.into())).concat());
    }
    let result = state.execute_once(&request);
    drop(state);
    if now(faults.lose_reply_every) {
        return None;
    }
    if now(faults.swallow_reply_every) {
        return Some(Vec::new());
    }
    Some(front.reply(context, result.map_err(Into::into)).concat())
}

impl State {
    fn execute_once(&mut self, request: &ClientRequest) -> Result<FileOk, FileError> {
        if let Some(first) = request.identity.and_then(|identity| self.replies.get(&identity)) {
            self.repeated += 1;
            return first.clone();
        }
        let result = self.execute(&request.request);
        if let Some(identity) = request.identity {
            self.replies.insert(identity, result.clone());
        }
        result
    }

    fn execute(&mut self, request: &FileRequest) -> Result<FileOk, FileError> {
        let wcc = Wcc::default();
        match request {
            FileRequest::GetAttributes { file } => Ok(FileOk::Attributes(self.attributes(file.inode)?)),
            FileRequest::Lookup { dir, name } => {
                let inode = *self.entries(dir)?.get(name).ok_or(FileError::NotFound)?;
                Ok(FileOk::Found { attributes: self.attributes(inode)?, dir: None })
            }
            FileRequest::Read { file, offset, count } => self.read(file, *offset, *count),
            FileRequest::Write { file, offset, data, stability } => {
                self.write(file, *offset as usize, data)?;
                let verifier = self.verifier.to_be_bytes();
                Ok(FileOk::Written { count: data.len() as u32, stability: *stability, file: wcc, verifier })
            }
            FileRequest::Commit { .. } => Ok(self.commit()),
            FileRequest::Create { dir, name, .. } => self.make(dir, name, None),
            FileRequest::MakeDirectory { dir, name, .. } => self.make(dir, name, Some(BTreeMap::new())),
            FileRequest::Remove { dir, name } | FileRequest::RemoveDirectory { dir, name } => self.remove(dir, name),
            FileRequest::Rename { from_dir, from_name, to_dir, to_name } => {
                let inode = self.entries(from_dir)?.remove(from_name).ok_or(FileError::NotFound)?;
                self.entries(to_dir)?.insert(to_name.clone(), inode);
                Ok(FileOk::Renamed { from: wcc, to: wcc })
            }
            FileRequest::ReadDirectory { dir, cookie, .. } => self.list(dir, *cookie),
            FileRequest::FileSystemStat { file } => Ok(FileOk::Space {
                space: SpaceStat { total_bytes: 1 << 40, ..SpaceStat::default() },
                attributes: self.attributes(file.inode)?,
            }),
            _ => Err(FileError::NotSupported),
        }
    }

    fn node(&mut self, file: &FileId) -> Result<&mut Node, FileError> {
        self.nodes.get_mut(&file.inode).ok_or(FileError::Stale)
    }

    fn entries(&mut self, dir: &FileId) -> Result<&mut BTreeMap<Bytes, u64>, FileError> {
        self.node(dir)?.entries.as_mut().ok_or(FileError::NotDirectory)
    }

    fn attributes(&self, inode: u64) -> Result<Attributes, FileError> {
        let node = self.nodes.get(&inode).ok_or(FileError::Stale)?;
        let time = Timestamp::new(1, 0);
        Ok(Attributes {
            file: FileId { inode, generation: 1 },
            kind: if node.entries.is_some() { FileKind::Directory } else { FileKind::Regular },
            mode: 0o755,
            links: 1,
            uid: 0,
            gid: 0,
            size: node.data.len() as u64,
            used: node.data.len() as u64,
            atime: time,
            mtime: time,
            ctime: time,
        })
    }

    fn read(&mut self, file: &FileId, offset: u64, count: u32) -> Result<FileOk, FileError> {
        let corrupt = self.faults.corrupt_reads;
        let node = self.node(file)?;
        let start = node.data.len().min(offset as usize);
        let end = node.data.len().min(start + count as usize);
        let mut data = node.data[start..end].to_vec();
        let eof = end == node.data.len();
        if let Some(last) = data.last_mut().filter(|_| corrupt) {
            *last ^= 1;
        }
        let count = data.len() as u32;
        Ok(FileOk::Data { pieces: vec![Bytes::from(data)], count, eof, attributes: self.attributes(file.inode)? })
    }

    fn write(&mut self, file: &FileId, offset: usize, data: &[u8]) -> Result<(), FileError> {
        self.written += data.len() as u64;
        if self.faults.space_bytes.is_some_and(|space| self.written > space) {
            return Err(FileError::NoSpace);
        }
        let forget = self.faults.forget_writes;
        let node = self.node(file)?;
        node.data.resize(node.data.len().max(offset + data.len()), 0);
        if !forget {
            node.data[offset..offset + data.len()].copy_from_slice(data);
        }
        Ok(())
    }

    fn commit(&mut self) -> FileOk {
        self.commits += 1;
        if self.faults.new_verifier_every > 0 && self.commits.is_multiple_of(self.faults.new_verifier_every) {
            self.verifier += 1;
        }
        FileOk::Committed { file: Wcc::default(), verifier: self.verifier.to_be_bytes() }
    }

    fn make(&mut self, dir: &FileId, name: &Bytes, entries: Option<BTreeMap<Bytes, u64>>) -> Result<FileOk, FileError> {
        if self.entries(dir)?.contains_key(name) {
            return Err(FileError::Exists);
        }
        let inode = self.next_inode;
        self.next_inode += 1;
        self.nodes.insert(inode, Node { data: Vec::new(), entries });
        self.entries(dir)?.insert(name.clone(), inode);
        Ok(FileOk::Made { attributes: self.attributes(inode)?, dir: Wcc::default() })
    }

    fn remove(&mut self, dir: &FileId, name: &Bytes) -> Result<FileOk, FileError> {
        let inode = *self.entries(dir)?.get(name).ok_or(FileError::NotFound)?;
        if self.nodes[&inode].entries.as_ref().is_some_and(|entries| !entries.is_empty()) {
            return Err(FileError::NotEmpty);
        }
        if !self.faults.forget_removes {
            self.entries(dir)?.remove(name);
            self.nodes.remove(&inode);
        }
        Ok(FileOk::Removed { dir: Wcc::default() })
    }

    /// The inode's number is the entry's cookie.
    fn list(&mut self, dir: &FileId, cookie: u64) -> Result<FileOk, FileError> {
        let mut entries: Vec<(u64, Bytes)> = self.entries(dir)?.iter().map(|(name, inode)| (*inode, name.clone())).collect();
        entries.sort();
        let entries = entries.into_iter().filter(|(inode, _)| *inode > cookie).map(|(inode, name)| DirectoryEntry {
            inode,
            name,
            cookie: inode,
            attributes: self.attributes(inode).ok(),
        });
        let entries = entries.collect();
        Ok(FileOk::Entries { entries, eof: true, dir: self.attributes(dir.inode)? })
    }
}

/// Short enough for a test, long enough for a loaded machine.
pub fn quick() -> super::Options {
    super::Options {
        call_timeout: Duration::from_secs(20),
        jukebox_delay: Duration::from_millis(2),
        silence: Duration::from_millis(300),
        ..super::Options::default()
    }
}
