//! Walks through an NFSv3 server with the client codec and checks every answer: mount, create, write, read, list, rename, remove.
//!
//! `cargo run -p mainstay-nfs --example probe -- HOST:NFS_PORT HOST:MOUNT_PORT /EXPORT`
//!
//! It is how the codec is tried against servers that are not ours.

use bytes::Bytes;
use mainstay_nfs::RecordReader;
use mainstay_nfs::client::{self, Answer, Entry, Handle, MountAnswer, MountRequest, Request, Session};
use mainstay_nfs::rpc::Credential;
use mainstay_protocol::file::{CreateHow, SetAttributes, access};
use mainstay_protocol::{FileError, FileFailure, FileKind, Stability};
use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{SystemTime, UNIX_EPOCH};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// One blocking connection.
struct Wire {
    stream: TcpStream,
    reader: RecordReader,
}

impl Wire {
    fn connect(address: &str) -> Outcome<Wire> {
        Ok(Wire { stream: TcpStream::connect(address)?, reader: RecordReader::new() })
    }

    fn exchange(&mut self, record: Vec<Bytes>) -> Outcome<Bytes> {
        self.stream.write_all(&record.concat())?;
        let mut chunk = vec![0; 64 << 10];
        loop {
            if let Some(record) = self.reader.next_record()? {
                return Ok(record);
            }
            match self.stream.read(&mut chunk)? {
                0 => return Err("the server closed the connection".into()),
                len => self.reader.push(&chunk[..len]),
            }
        }
    }
}

struct Probe {
    wire: Wire,
    session: Session,
}

impl Probe {
    fn result(&mut self, request: Request) -> Outcome<Result<Answer, FileFailure>> {
        let (xid, record) = self.session.call(&request);
        let reply = self.wire.exchange(record)?;
        let reply = self.session.reply(reply)?;
        assert_eq!(reply.xid, xid);
        let said = match &reply.result {
            Ok(answer) => format!("{answer:?}").chars().take(150).collect(),
            Err(failure) => format!("refused: {}", failure.error),
        };
        println!("{:<12} {said}", request.procedure().name());
        Ok(reply.result)
    }

    fn ask(&mut self, request: Request) -> Outcome<Answer> {
        self.result(request)?.map_err(|failure| failure.error.into())
    }

    fn made(&mut self, request: Request) -> Outcome<Handle> {
        match self.ask(request)? {
            Answer::Made { handle: Some(handle), .. } => Ok(handle),
            other => Err(format!("{other:?} where a handle was expected").into()),
        }
    }

    fn found(&mut self, dir: &Handle, name: &str) -> Outcome<Handle> {
        match self.ask(Request::Lookup { dir: dir.clone(), name: bytes(name) })? {
            Answer::Found { handle, .. } => Ok(handle),
            other => Err(format!("{other:?}").into()),
        }
    }

    fn refused(&mut self, request: Request, expected: FileError) -> Outcome<()> {
        match self.result(request)? {
            Err(failure) if failure.error == expected => Ok(()),
            other => Err(format!("{other:?} where {expected} was expected").into()),
        }
    }
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn mount(address: &str, credential: &Credential, path: &str) -> Outcome<Handle> {
    let mut wire = Wire::connect(address)?;
    for request in [MountRequest::Null, MountRequest::Exports, MountRequest::Mounts] {
        let reply = wire.exchange(client::encode_mount(1, credential, &request))?;
        println!("{:<12} {:?}", request.procedure().name(), client::decode_mount(request.procedure(), reply)?.result?);
    }
    let request = MountRequest::Mount { path: path.to_owned() };
    let reply = wire.exchange(client::encode_mount(2, credential, &request))?;
    match client::decode_mount(request.procedure(), reply)?.result? {
        MountAnswer::Mounted { root, .. } => Ok(root),
        other => Err(format!("{other:?}").into()),
    }
}

fn files(probe: &mut Probe, dir: &Handle) -> Outcome<()> {
    let set = SetAttributes { mode: Some(0o640), ..SetAttributes::default() };
    let create = |how| Request::Create { dir: dir.clone(), name: bytes("file"), how };
    let file = probe.made(create(CreateHow::Exclusive(*b"verifier")))?;
    assert_eq!(probe.made(create(CreateHow::Exclusive(*b"verifier")))?, file, "an exclusive CREATE may be repeated");
    probe.refused(create(CreateHow::Guarded(set)), FileError::Exists)?;
    probe.ask(Request::SetAttributes { file: file.clone(), set, guard_ctime: None })?;
    let data: Bytes = (0..300_001u32).map(|n| (n % 251) as u8).collect::<Vec<u8>>().into();
    let write = Request::Write { file: file.clone(), offset: 5, data: data.clone(), stability: Stability::Unstable };
    let Answer::Written { count, verifier: written, .. } = probe.ask(write)? else { return Err("no WRITE answer".into()) };
    assert_eq!(count as usize, data.len());
    let commit = Request::Commit { file: file.clone(), offset: 0, count: 0 };
    let Answer::Committed { verifier, .. } = probe.ask(commit)? else { return Err("no COMMIT answer".into()) };
    assert_eq!(written, verifier);
    let read = Request::Read { file: file.clone(), offset: 0, count: 1 << 20 };
    let Answer::Data { data: read, eof, attributes } = probe.ask(read)? else { return Err("no READ answer".into()) };
    assert!(eof && read[..5] == [0; 5] && read[5..] == data[..], "what was written is read");
    let attributes = attributes.ok_or("READ without attributes")?;
    assert_eq!((attributes.kind, attributes.mode, attributes.size), (FileKind::Regular, 0o640, 300_006));
    probe.ask(Request::Access { file: file.clone(), mask: access::READ | access::MODIFY | access::EXECUTE })?;
    probe.ask(Request::Link { file, dir: dir.clone(), name: bytes("hard") })?;
    Ok(())
}

fn other_kinds(probe: &mut Probe, dir: &Handle) -> Outcome<()> {
    let set = SetAttributes { mode: Some(0o700), ..SetAttributes::default() };
    let (name, target) = (bytes("soft"), bytes("../elsewhere"));
    let link =
        probe.made(Request::MakeSymlink { dir: dir.clone(), name, target: target.clone(), set: SetAttributes::default() })?;
    let Answer::Target { target: read, .. } = probe.ask(Request::ReadLink { file: link })? else { return Err("no target".into()) };
    assert_eq!(read, target);
    let kinds = [("fifo", FileKind::Fifo), ("socket", FileKind::Socket), ("null", FileKind::CharDevice { major: 1, minor: 3 })];
    for (name, kind) in kinds {
        let node = probe.made(Request::MakeNode { dir: dir.clone(), name: bytes(name), kind, set })?;
        let Answer::Attributes(attributes) = probe.ask(Request::GetAttributes { file: node })? else {
            return Err("no kind".into());
        };
        assert_eq!(attributes.kind, kind);
    }
    probe.made(Request::MakeDirectory { dir: dir.clone(), name: bytes("sub"), set })?;
    Ok(())
}

/// Every name in `dir`, asked for in small pieces so that cookies are used.
fn list(probe: &mut Probe, dir: &Handle, plus: bool) -> Outcome<Vec<Entry>> {
    let (mut all, mut cookie, mut verifier): (Vec<Entry>, u64, [u8; 8]) = (Vec::new(), 0, [0; 8]);
    loop {
        let request = if plus {
            Request::ReadDirectoryPlus { dir: dir.clone(), cookie, verifier, names_max: 256, bytes_max: 1024 }
        } else {
            Request::ReadDirectory { dir: dir.clone(), cookie, verifier, count: 512 }
        };
        let Answer::Entries { entries, eof, verifier: next, .. } = probe.ask(request)? else { return Err("no entries".into()) };
        (cookie, verifier) = (entries.last().map_or(cookie, |entry| entry.cookie), next);
        all.extend(entries);
        if eof {
            return Ok(all);
        }
    }
}

fn names(entries: &[Entry]) -> Vec<String> {
    let mut names: Vec<String> = entries.iter().map(|entry| String::from_utf8_lossy(&entry.name).into_owned()).collect();
    names.sort();
    names
}

fn clean(probe: &mut Probe, root: &Handle, dir: &Handle, dir_name: &str) -> Outcome<()> {
    let (from_dir, to_dir) = (dir.clone(), dir.clone());
    probe.ask(Request::Rename { from_dir, from_name: bytes("file"), to_dir, to_name: bytes("renamed") })?;
    probe.found(dir, "renamed")?;
    probe.refused(Request::Lookup { dir: dir.clone(), name: bytes("file") }, FileError::NotFound)?;
    probe.refused(Request::RemoveDirectory { dir: root.clone(), name: bytes(dir_name) }, FileError::NotEmpty)?;
    for name in ["renamed", "hard", "soft", "fifo", "socket", "null"] {
        probe.ask(Request::Remove { dir: dir.clone(), name: bytes(name) })?;
    }
    probe.ask(Request::RemoveDirectory { dir: dir.clone(), name: bytes("sub") })?;
    probe.ask(Request::RemoveDirectory { dir: root.clone(), name: bytes(dir_name) })?;
    Ok(())
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [nfs, mount_at, path] = &arguments[..] else {
        return Err("usage: probe HOST:NFS_PORT HOST:MOUNT_PORT /EXPORT".into());
    };
    let credential = Credential::Sys { uid: 0, gid: 0, groups: vec![0] };
    let root = mount(mount_at, &credential, path)?;
    // Differs from run to run, so that a server's duplicate request cache takes nothing for a retry.
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let mut probe = Probe { wire: Wire::connect(nfs)?, session: Session::new(credential, since.as_millis() as u32) };
    probe.ask(Request::Null)?;
    for request in [
        Request::GetAttributes { file: root.clone() },
        Request::FileSystemStat { file: root.clone() },
        Request::FileSystemInfo { file: root.clone() },
        Request::PathInfo { file: root.clone() },
    ] {
        probe.ask(request)?;
    }
    let dir_name = format!("probe-{}", since.as_millis());
    let set = SetAttributes { mode: Some(0o755), ..SetAttributes::default() };
    let dir = probe.made(Request::MakeDirectory { dir: root.clone(), name: bytes(&dir_name), set })?;
    files(&mut probe, &dir)?;
    other_kinds(&mut probe, &dir)?;
    let expected = [".", "..", "fifo", "file", "hard", "null", "socket", "soft", "sub"];
    for plus in [false, true] {
        assert_eq!(names(&list(&mut probe, &dir, plus)?), expected);
    }
    clean(&mut probe, &root, &dir, &dir_name)?;
    println!("all as expected");
    Ok(())
}
