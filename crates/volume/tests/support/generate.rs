//! Random requests over whatever files there are.
#![allow(dead_code)]

use crate::support::Random;
use bytes::Bytes;
use mainstay_protocol::file::{CreateHow, SetAttributes, SetTime};
use mainstay_protocol::{Caller, FileId, FileKind, FileRequest, Stability, Timestamp};

/// Names are few, so that requests meet each other's files.
const NAMES: u64 = 6;
/// Offsets and sizes stay small, so that a model may hold every byte.
const FILE_BYTES: u64 = 12_000;

pub struct Generator {
    /// Directories and others that exist, and some that did.
    pub dirs: Vec<FileId>,
    pub files: Vec<FileId>,
    /// Fewer refusals: only root asks, names are good.
    pub tame: bool,
}

pub fn callers() -> Vec<Caller> {
    let caller = |uid, gid, groups: &[u32]| Caller { uid, gid, groups: groups.to_vec() };
    vec![caller(0, 0, &[]), caller(1000, 100, &[200, 300]), caller(2000, 100, &[]), caller(3000, 300, &[200])]
}

impl Generator {
    pub fn new(tame: bool) -> Generator {
        Generator { dirs: vec![FileId::ROOT], files: Vec::new(), tame }
    }

    pub fn caller(&self, random: &mut Random) -> Caller {
        if self.tame || random.chance(40) { callers()[0].clone() } else { random.pick(&callers()).clone() }
    }

    /// A file that a request made.
    pub fn made(&mut self, file: FileId, kind: FileKind) {
        let list = if kind == FileKind::Directory { &mut self.dirs } else { &mut self.files };
        if !list.contains(&file) {
            list.push(file);
        }
        if list.len() > 24 {
            list.remove(1);
        }
    }

    fn name(&self, random: &mut Random) -> Bytes {
        if !self.tame && random.chance(2) {
            let odd: [&'static [u8]; 7] = [b"", b".", b"..", b"a/b", b"a\0b", &[b'x'; 255], &[b'x'; 256]];
            return Bytes::from_static(odd[random.below(odd.len() as u64) as usize]);
        }
        Bytes::from(format!("name{}", random.below(NAMES)))
    }
    fn dir(&self, random: &mut Random) -> FileId {
        if random.chance(2) && !self.files.is_empty() && !self.tame { *random.pick(&self.files) } else { *random.pick(&self.dirs) }
    }
    fn file(&self, random: &mut Random) -> FileId {
        if self.files.is_empty() || random.chance(3) { *random.pick(&self.dirs) } else { *random.pick(&self.files) }
    }

    fn set(&self, random: &mut Random, with_size: bool) -> SetAttributes {
        let time = |random: &mut Random| match random.below(4) {
            0 => SetTime::Server,
            1 => SetTime::Client(Timestamp::new(random.below(2_000_000) as i64, random.below(1_000_000_000) as u32)),
            _ => SetTime::Keep,
        };
        let modes = [0o644, 0o755, 0o777, 0o700, 0o4755, 0o2775, 0o1777, 0o6711, 0o2644, 0o000, 0o444, 0o111, 0o3777];
        SetAttributes {
            mode: random.chance(60).then(|| *random.pick(&modes)),
            uid: random.chance(15).then(|| *random.pick(&[0, 1000, 2000, 3000])),
            gid: random.chance(15).then(|| *random.pick(&[0, 100, 200, 300])),
            size: (with_size && random.chance(30)).then(|| random.below(FILE_BYTES)),
            atime: time(random),
            mtime: time(random),
        }
    }

    fn how(&self, random: &mut Random) -> CreateHow {
        match random.below(10) {
            0..=5 => CreateHow::Unchecked(self.set(random, true)),
            6..=7 => CreateHow::Guarded(self.set(random, true)),
            _ => CreateHow::Exclusive([random.below(3) as u8; 8]),
        }
    }

    pub fn request(&mut self, random: &mut Random) -> FileRequest {
        use FileRequest::*;
        let dir = self.dir(random);
        match random.below(100) {
            0..=19 => self.write(random),
            20..=33 => Create { dir, name: self.name(random), how: self.how(random) },
            34..=40 => MakeDirectory { dir, name: self.name(random), set: self.set(random, false) },
            41..=43 => MakeSymlink { dir, name: self.name(random), target: self.target(random), set: self.set(random, false) },
            44..=45 => MakeNode { dir, name: self.name(random), kind: self.node_kind(random), set: self.set(random, false) },
            46..=52 => Remove { dir, name: self.name(random) },
            53..=56 => RemoveDirectory { dir, name: self.name(random) },
            57..=68 => Rename { from_dir: dir, from_name: self.name(random), to_dir: self.dir(random), to_name: self.name(random) },
            69..=72 => Link { file: self.file(random), dir, name: self.name(random) },
            73..=80 => {
                let guard_ctime = random.chance(5).then(|| Timestamp::new(1, 1));
                SetAttributes { file: self.file(random), set: self.set(random, true), guard_ctime }
            }
            _ => self.reading(random, dir),
        }
    }

    fn reading(&mut self, random: &mut Random, dir: FileId) -> FileRequest {
        use FileRequest::*;
        let file = self.file(random);
        match random.below(20) {
            0..=2 => GetAttributes { file },
            3..=5 => Lookup { dir, name: self.name(random) },
            6..=7 => Access { file: if random.chance(50) { file } else { dir }, mask: random.below(64) as u32 },
            8 => ReadLink { file },
            9..=15 => Read { file, offset: random.below(FILE_BYTES), count: random.below(FILE_BYTES) as u32 },
            16..=17 => ReadDirectory { dir, cookie: 0, bytes_max: 100_000, with_attributes: random.chance(50) },
            18 => FileSystemStat { file },
            _ => Commit { file, offset: 0, count: 0 },
        }
    }

    fn write(&mut self, random: &mut Random) -> FileRequest {
        let len = if random.chance(5) { 0 } else { 1 + random.below(3000) };
        let offset = if random.chance(1) { u64::MAX - random.below(4000) } else { random.below(FILE_BYTES - 3000) };
        let stability = *random.pick(&[Stability::Unstable, Stability::DataSync, Stability::FileSync]);
        FileRequest::Write { file: self.file(random), offset, data: random.bytes(len as usize), stability }
    }
    fn target(&self, random: &mut Random) -> Bytes {
        match random.below(if self.tame { 1 } else { 20 }) {
            1 => Bytes::new(),
            2 => Bytes::from(vec![b'y'; 4097]),
            3 => Bytes::from_static(b"nul\0inside"),
            _ => random.bytes(20).iter().map(|byte| byte | 1).collect(),
        }
    }
    fn node_kind(&self, random: &mut Random) -> FileKind {
        *random.pick(&[
            FileKind::Fifo,
            FileKind::Socket,
            FileKind::BlockDevice { major: 8, minor: 1 },
            FileKind::CharDevice { major: 1, minor: 3 },
            if self.tame { FileKind::Fifo } else { FileKind::Regular },
        ])
    }
}
