//! Both copies of the volume as they lie on disk, opened without their nodes, compared file by file and byte by byte. It asks the
//! volume what a client would ask, so it sees what a client of either copy would see.

use mainstay_protocol::file::{Attributes, DirectoryEntry, FileKind, FileOk};
use mainstay_protocol::{
    Caller, ClientRequest, ClusterId, Epoch, FileFailure, FileId, FileRequest, FileResult, Timestamp, VolumeId,
};
use mainstay_volume::{Disk, FileDisk, OpenError, Options, Outcome, Volume, VolumeEvent, perform};
use std::path::Path;
use std::sync::Arc;

const READ_BYTES: u32 = 1 << 20;
const LIST_BYTES: u32 = 1 << 20;

/// What was found equal, and what was not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    pub files: u64,
    pub bytes: u64,
    /// Paths with what differs; the first ones of many.
    pub differences: Vec<String>,
}

const DIFFERENCES_MAX: usize = 10;

#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("{0}")]
    Disk(#[from] std::io::Error),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("{path}: {}", .failure.error)]
    Refused { path: String, failure: Box<FileFailure> },
    #[error("{0}: the answer is of another kind than the request")]
    Confused(String),
    #[error("a read ended without an answer")]
    NoAnswer,
}

/// A volume without a replica around it.
struct Copy {
    disk: Arc<dyn Disk>,
    volume: Volume,
}

impl Copy {
    fn open(directory: &Path, (cluster, volume): (ClusterId, VolumeId)) -> Result<Copy, CopyError> {
        let disk: Arc<dyn Disk> = Arc::new(FileDisk::open(directory)?);
        let volume = Volume::open(disk.clone(), cluster, volume, Options::default())?;
        Ok(Copy { disk, volume })
    }

    fn ask(&mut self, path: &str, request: FileRequest) -> Result<FileOk, CopyError> {
        let request = ClientRequest { caller: Caller { uid: 0, gid: 0, groups: vec![] }, identity: None, request };
        let epoch = Epoch(u64::MAX);
        let result = match self.volume.execute(Timestamp::default(), epoch, &request) {
            Outcome::Done { result, .. } => result,
            Outcome::Read { ticket, .. } => self.wait(ticket)?,
        };
        result.map_err(|failure| CopyError::Refused { path: path.into(), failure: failure.into() })
    }

    /// Does the volume's disk work until the read is there.
    fn wait(&mut self, ticket: u64) -> Result<FileResult, CopyError> {
        while let Some(effect) = self.volume.poll_effect() {
            let event = perform(effect, &*self.disk);
            self.volume.handle(event);
            while let Some(event) = self.volume.poll_event() {
                match event {
                    VolumeEvent::Read { ticket: done, result } if done == ticket => return Ok(result),
                    // Damaged, and there is nobody to ask.
                    VolumeEvent::RepairWanted { ticket, .. } => self.volume.repair(ticket, None),
                    _ => {}
                }
            }
        }
        Err(CopyError::NoAnswer)
    }

    fn attributes(&mut self, path: &str, file: FileId) -> Result<Attributes, CopyError> {
        match self.ask(path, FileRequest::GetAttributes { file })? {
            FileOk::Attributes(attributes) => Ok(attributes),
            _ => Err(CopyError::Confused(path.into())),
        }
    }

    fn list(&mut self, path: &str, dir: FileId) -> Result<Vec<DirectoryEntry>, CopyError> {
        let mut all = Vec::new();
        loop {
            let cookie = all.last().map_or(0, |entry: &DirectoryEntry| entry.cookie);
            let request = FileRequest::ReadDirectory { dir, cookie, bytes_max: LIST_BYTES, with_attributes: true };
            let FileOk::Entries { entries, eof, .. } = self.ask(path, request)? else {
                return Err(CopyError::Confused(path.into()));
            };
            let none = entries.is_empty();
            all.extend(entries);
            if eof || none {
                return Ok(all);
            }
        }
    }

    /// A piece of a file's content, or a link's target.
    fn content(&mut self, path: &str, at: &Attributes, offset: u64) -> Result<Vec<u8>, CopyError> {
        let request = match at.kind {
            FileKind::Symlink => FileRequest::ReadLink { file: at.file },
            _ => FileRequest::Read { file: at.file, offset, count: READ_BYTES },
        };
        match self.ask(path, request)? {
            FileOk::Data { pieces, .. } => Ok(pieces.concat()),
            FileOk::Target { target, .. } => Ok(target.to_vec()),
            _ => Err(CopyError::Confused(path.into())),
        }
    }
}

/// Compares the copies in two directories of nodes that do not run. Nothing is changed but what opening a volume recovers.
pub fn compare(first: &Path, second: &Path, volume: (ClusterId, VolumeId)) -> Result<Compared, CopyError> {
    let mut pair = Pair { one: Copy::open(first, volume)?, two: Copy::open(second, volume)?, found: Compared::default() };
    let mut waiting = vec![(String::new(), FileId::ROOT)];
    while let Some((path, file)) = waiting.pop() {
        waiting.extend(pair.file(&path, file)?);
        if pair.found.differences.len() >= DIFFERENCES_MAX {
            break;
        }
    }
    Ok(pair.found)
}

struct Pair {
    one: Copy,
    two: Copy,
    found: Compared,
}

impl Pair {
    /// Compares one file and returns what is in it, if it is a directory.
    fn file(&mut self, path: &str, file: FileId) -> Result<Vec<(String, FileId)>, CopyError> {
        let (one, two) = (self.one.attributes(path, file)?, self.two.attributes(path, file)?);
        self.found.files += 1;
        if one != two {
            self.differ(path, &format!("{one:?} and {two:?}"));
            return Ok(vec![]);
        }
        match one.kind {
            FileKind::Directory => self.directory(path, file),
            FileKind::Regular | FileKind::Symlink => self.content(path, &one).map(|()| vec![]),
            _ => Ok(vec![]),
        }
    }

    fn directory(&mut self, path: &str, dir: FileId) -> Result<Vec<(String, FileId)>, CopyError> {
        let (one, two) = (self.one.list(path, dir)?, self.two.list(path, dir)?);
        if one != two {
            self.differ(path, "not the same entries");
            return Ok(vec![]);
        }
        let inside = one.into_iter().filter(|entry| entry.name != b"."[..] && entry.name != b".."[..]);
        let named = inside.filter_map(|entry| {
            let file = entry.attributes?.file;
            Some((format!("{path}/{}", String::from_utf8_lossy(&entry.name)), file))
        });
        Ok(named.collect())
    }

    fn content(&mut self, path: &str, at: &Attributes) -> Result<(), CopyError> {
        let mut offset = 0;
        while offset < at.size {
            let (one, two) = (self.one.content(path, at, offset)?, self.two.content(path, at, offset)?);
            if one != two || one.is_empty() {
                self.differ(path, &format!("the bytes from {offset} on"));
                return Ok(());
            }
            offset += one.len() as u64;
            self.found.bytes += one.len() as u64;
        }
        Ok(())
    }

    fn differ(&mut self, path: &str, what: &str) {
        self.found.differences.push(format!("/{}: {what}", path.trim_start_matches('/')));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use mainstay_protocol::file::{CreateHow, SetAttributes};
    use mainstay_protocol::{RequestId, Stability};

    const IDS: (ClusterId, VolumeId) = (ClusterId([5; 16]), VolumeId(1));

    /// A copy with one directory and one file in it, closed again.
    fn make(directory: &Path, name: &str, data: &'static [u8]) {
        let disk: Arc<dyn Disk> = Arc::new(FileDisk::open(directory).unwrap());
        Volume::create(disk, IDS.0, IDS.1, Options { segment_bytes: 2 << 20, ..Options::default() }).unwrap();
        let mut copy = Copy::open(directory, IDS).unwrap();
        let run = |copy: &mut Copy| {
            copy.volume.want_sync(copy.volume.last().position);
            while let Some(effect) = copy.volume.poll_effect() {
                copy.volume.handle(perform(effect, &*copy.disk));
            }
        };
        run(&mut copy);
        let wall = Timestamp::new(1_000, 0);
        copy.volume.start_epoch(wall, Epoch(1), 0).unwrap();
        let mut xid = 0;
        let mut change = |copy: &mut Copy, request: FileRequest| {
            xid += 1;
            let identity = Some(RequestId { client: [0; 16], xid, procedure: 0, checksum: 0 });
            let request = ClientRequest { caller: Caller { uid: 0, gid: 0, groups: vec![] }, identity, request };
            match copy.volume.execute(wall, Epoch(1), &request) {
                Outcome::Done { result: Ok(done), .. } => done,
                other => panic!("{other:?}"),
            }
        };
        let name = Bytes::copy_from_slice(name.as_bytes());
        let request = FileRequest::MakeDirectory { dir: FileId::ROOT, name: "dir".into(), set: SetAttributes::default() };
        let FileOk::Made { attributes: dir, .. } = change(&mut copy, request) else { panic!() };
        let request = FileRequest::Create { dir: dir.file, name, how: CreateHow::Unchecked(SetAttributes::default()) };
        let FileOk::Made { attributes: file, .. } = change(&mut copy, request) else { panic!() };
        let stability = Stability::FileSync;
        change(&mut copy, FileRequest::Write { file: file.file, offset: 3 << 20, data: data.into(), stability });
        run(&mut copy);
    }

    #[test]
    fn equal_copies_are_equal_and_one_byte_or_name_is_noticed() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        make(&at("one"), "file", b"the same bytes");
        make(&at("two"), "file", b"the same bytes");
        make(&at("byte"), "file", b"the same bytez");
        make(&at("name"), "elif", b"the same bytes");
        let equal = compare(&at("one"), &at("two"), IDS).unwrap();
        assert_eq!(equal, Compared { files: 3, bytes: (3 << 20) + 14, differences: vec![] });
        let byte = compare(&at("one"), &at("byte"), IDS).unwrap();
        assert_eq!(byte.differences, ["/dir/file: the bytes from 3145728 on"]);
        let name = compare(&at("one"), &at("name"), IDS).unwrap();
        assert_eq!(name.differences, ["/dir: not the same entries"]);
        assert!(compare(&at("one"), &at("missing"), IDS).is_err());
    }
}
