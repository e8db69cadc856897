//! POSIX in the simplest words that will do: the tests compare the planner and the view with this. Independent of them on
//! purpose; nothing here is shared with the code under test.
#![allow(dead_code)]

use bytes::Bytes;
use mainstay_protocol::file::{CreateHow, SetAttributes, SetTime, access};
use mainstay_protocol::{Attributes, Caller, FileError, FileId, FileKind, FileRequest, Timestamp};
use std::collections::BTreeMap;

#[derive(Clone)]
pub struct Node {
    pub attributes: Attributes,
    /// Name, child and the position at which the name was made, in that order of making.
    pub names: Vec<(Bytes, FileId, u64)>,
    pub parent: FileId,
    pub data: Vec<u8>,
    pub written: Vec<bool>,
    pub target: Bytes,
    pub verifier: Option<[u8; 8]>,
}

pub struct Model {
    pub nodes: BTreeMap<FileId, Node>,
    pub now: Timestamp,
    pub position: u64,
    pub epoch: u64,
}

/// What a request answers beyond attributes.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    Nothing,
    File(FileId),
    Granted(u32),
    Data(Vec<u8>, bool),
    Target(Bytes),
}

type Answered = Result<Answer, FileError>;

fn class_bits(a: &Attributes, who: &Caller) -> u16 {
    let all: Vec<u32> = std::iter::once(who.gid).chain(who.groups.iter().copied()).collect();
    match () {
        _ if a.uid == who.uid => (a.mode / 64) % 8,
        _ if all.contains(&a.gid) => (a.mode / 8) % 8,
        _ => a.mode % 8,
    }
}

fn can(a: &Attributes, who: &Caller, letter: char) -> bool {
    let bits = class_bits(a, who);
    match letter {
        'r' => who.uid == 0 || bits >= 4,
        'w' => who.uid == 0 || bits % 4 >= 2,
        'x' if who.uid == 0 => a.kind == FileKind::Directory || a.mode % 8 % 2 + a.mode / 8 % 2 + a.mode / 64 % 2 > 0,
        _ => bits % 2 == 1,
    }
}

fn member(who: &Caller, gid: u32) -> bool {
    who.gid == gid || who.groups.contains(&gid)
}

fn strip(mode: u16) -> u16 {
    let mode = if mode / 0o4000 % 2 == 1 { mode - 0o4000 } else { mode };
    if mode / 0o2000 % 2 == 1 && mode / 8 % 2 == 1 { mode - 0o2000 } else { mode }
}

impl Model {
    pub fn new(now: Timestamp) -> Model {
        let file = FileId { inode: 1, generation: 1 };
        let attributes = Attributes {
            file,
            kind: FileKind::Directory,
            mode: 0o755,
            links: 2,
            uid: 0,
            gid: 0,
            size: 4096,
            used: 4096,
            atime: now,
            mtime: now,
            ctime: now,
        };
        let mut model = Model { nodes: BTreeMap::new(), now, position: 1, epoch: 1 };
        model.nodes.insert(file, Node::new(attributes, file));
        model
    }

    fn get(&self, file: FileId) -> Result<Node, FileError> {
        self.nodes.get(&file).cloned().ok_or(FileError::Stale)
    }
    fn dir(&self, file: FileId) -> Result<Node, FileError> {
        let node = self.get(file)?;
        if node.attributes.kind == FileKind::Directory { Ok(node) } else { Err(FileError::NotDirectory) }
    }
    fn child(&self, dir: &Node, name: &Bytes) -> Option<FileId> {
        dir.names.iter().find(|(found, _, _)| found == name).map(|(_, file, _)| *file)
    }
    fn change(&mut self, file: FileId, change: impl FnOnce(&mut Node)) {
        let now = self.now;
        let node = self.nodes.get_mut(&file).unwrap();
        change(node);
        node.attributes.ctime = now;
    }
    fn add_name(&mut self, dir: FileId, name: &Bytes, file: FileId) {
        let (now, position) = (self.now, self.position);
        self.change(dir, |node| {
            node.names.push((name.clone(), file, position));
            node.attributes.mtime = now;
        });
    }
    fn drop_name(&mut self, dir: FileId, name: &Bytes) {
        let now = self.now;
        self.change(dir, |node| {
            node.names.retain(|(found, _, _)| found != name);
            node.attributes.mtime = now;
        });
    }
    fn unlink(&mut self, file: FileId) {
        if self.nodes[&file].attributes.kind == FileKind::Directory {
            let parent = self.nodes.remove(&file).unwrap().parent;
            self.change(parent, |node| node.attributes.links -= 1);
        } else if self.nodes[&file].attributes.links == 1 {
            self.nodes.remove(&file);
        } else {
            self.change(file, |node| node.attributes.links -= 1);
        }
    }

    fn bad_name(name: &Bytes) -> Option<FileError> {
        if name.is_empty() || name.contains(&b'/') || name.contains(&0) && name.len() <= 255 {
            return Some(if name.len() > 255 { FileError::NameTooLong } else { FileError::Invalid });
        }
        (name.len() > 255).then_some(FileError::NameTooLong)
    }

    pub fn run(&mut self, who: &Caller, request: &FileRequest) -> Answered {
        use FileRequest::*;
        match request {
            GetAttributes { file } | FileSystemStat { file } => self.get(*file).map(|_| Answer::Nothing),
            Access { file, mask } => self.access(who, *file, *mask),
            SetAttributes { file, set, guard_ctime } => self.set(who, *file, set, *guard_ctime),
            Lookup { dir, name } => self.lookup(who, *dir, name),
            ReadLink { file } => match self.get(*file)? {
                node if node.attributes.kind == FileKind::Symlink => Ok(Answer::Target(node.target)),
                _ => Err(FileError::Invalid),
            },
            Read { file, offset, count } => self.read(who, *file, *offset, *count),
            Write { file, offset, data, .. } => self.write(who, *file, *offset, data),
            Commit { file, .. } => self.may_data(who, *file, 'w').map(|_| Answer::Nothing),
            Create { dir, name, how } => self.create(who, *dir, name, how),
            MakeDirectory { dir, name, set } => {
                let parent = self.dir(*dir)?;
                self.free_name(who, &parent, name)?;
                let file = self.make(who, &parent, name, FileKind::Directory, set);
                self.change(*dir, |node| node.attributes.links += 1);
                Ok(Answer::File(file))
            }
            MakeSymlink { dir, name, target, set } => {
                let parent = self.dir(*dir)?;
                self.free_name(who, &parent, name)?;
                if target.is_empty() || target.len() <= 4096 && target.contains(&0) {
                    return Err(FileError::Invalid);
                }
                if target.len() > 4096 {
                    return Err(FileError::NameTooLong);
                }
                let file = self.make(who, &parent, name, FileKind::Symlink, set);
                let node = self.nodes.get_mut(&file).unwrap();
                (node.target, node.attributes.size, node.attributes.mode) = (target.clone(), target.len() as u64, 0o777);
                Ok(Answer::File(file))
            }
            MakeNode { dir, name, kind, set } => {
                let parent = self.dir(*dir)?;
                match kind {
                    FileKind::Fifo | FileKind::Socket => {}
                    FileKind::BlockDevice { .. } | FileKind::CharDevice { .. } if who.uid == 0 => {}
                    FileKind::BlockDevice { .. } | FileKind::CharDevice { .. } => return Err(FileError::NotOwner),
                    _ => return Err(FileError::BadType),
                }
                self.free_name(who, &parent, name)?;
                Ok(Answer::File(self.make(who, &parent, name, *kind, set)))
            }
            Remove { dir, name } => self.remove(who, *dir, name, false),
            RemoveDirectory { dir, name } => self.remove(who, *dir, name, true),
            Rename { from_dir, from_name, to_dir, to_name } => self.rename(who, *from_dir, from_name, *to_dir, to_name),
            Link { file, dir, name } => {
                let node = self.get(*file)?;
                let parent = self.dir(*dir)?;
                if node.attributes.kind == FileKind::Directory {
                    return Err(FileError::NotOwner);
                }
                self.free_name(who, &parent, name)?;
                self.add_name(*dir, name, *file);
                self.change(*file, |node| node.attributes.links += 1);
                Ok(Answer::File(*file))
            }
            ReadDirectory { dir, .. } => {
                let node = self.dir(*dir)?;
                if can(&node.attributes, who, 'r') { Ok(Answer::Nothing) } else { Err(FileError::AccessDenied) }
            }
        }
    }

    fn access(&self, who: &Caller, file: FileId, mask: u32) -> Answered {
        let a = self.get(file)?.attributes;
        let is_dir = a.kind == FileKind::Directory;
        let (r, w, x) = (can(&a, who, 'r'), can(&a, who, 'w'), can(&a, who, 'x'));
        let change = if is_dir { w && x } else { w };
        let mut granted = 0;
        for (bit, yes) in [
            (access::READ, r),
            (access::LOOKUP, is_dir && x),
            (access::MODIFY, change),
            (access::EXTEND, change),
            (access::DELETE, is_dir && change),
            (access::EXECUTE, !is_dir && x),
        ] {
            granted |= if yes { bit & mask } else { 0 };
        }
        Ok(Answer::Granted(granted))
    }

    fn lookup(&self, who: &Caller, dir: FileId, name: &Bytes) -> Answered {
        let node = self.dir(dir)?;
        if !can(&node.attributes, who, 'x') {
            return Err(FileError::AccessDenied);
        }
        if let Some(error) = Model::bad_name(name) {
            return Err(error);
        }
        match &name[..] {
            b"." => Ok(Answer::File(dir)),
            b".." => Ok(Answer::File(node.parent)),
            _ => self.child(&node, name).map(Answer::File).ok_or(FileError::NotFound),
        }
    }

    fn may_data(&self, who: &Caller, file: FileId, letter: char) -> Result<Node, FileError> {
        let node = self.get(file)?;
        match node.attributes.kind {
            FileKind::Regular => {}
            FileKind::Directory => return Err(FileError::IsDirectory),
            _ => return Err(FileError::Invalid),
        }
        let a = &node.attributes;
        let ok = a.uid == who.uid || can(a, who, letter) || letter == 'r' && can(a, who, 'x');
        if ok { Ok(node) } else { Err(FileError::AccessDenied) }
    }

    fn read(&self, who: &Caller, file: FileId, offset: u64, count: u32) -> Answered {
        let node = self.may_data(who, file, 'r')?;
        let size = node.attributes.size;
        let end = offset.saturating_add(count as u64).min(size).max(offset.min(size));
        let data = (offset.min(end)..end).map(|at| node.data.get(at as usize).copied().unwrap_or(0)).collect();
        Ok(Answer::Data(data, offset.saturating_add(count as u64) >= size))
    }

    fn write(&mut self, who: &Caller, file: FileId, offset: u64, data: &Bytes) -> Answered {
        self.may_data(who, file, 'w')?;
        if offset as u128 + data.len() as u128 > i64::MAX as u128 {
            return Err(FileError::TooLarge);
        }
        if data.is_empty() {
            return Ok(Answer::Nothing);
        }
        let now = self.now;
        self.change(file, |node| {
            let end = offset as usize + data.len();
            node.grow(end.max(node.data.len()));
            node.data[offset as usize..end].copy_from_slice(data);
            node.written[offset as usize..end].fill(true);
            let a = &mut node.attributes;
            a.size = a.size.max(end as u64);
            a.mtime = now;
            a.mode = if who.uid == 0 { a.mode } else { strip(a.mode) };
            node.count();
        });
        Ok(Answer::Nothing)
    }

    fn resize(node: &mut Node, who: &Caller, size: u64, now: Timestamp) {
        node.data.truncate(size as usize);
        node.written.truncate(size as usize);
        node.attributes.size = size;
        node.attributes.mtime = now;
        if who.uid != 0 {
            node.attributes.mode = strip(node.attributes.mode);
        }
        node.count();
    }

    fn set(&mut self, who: &Caller, file: FileId, set: &SetAttributes, guard: Option<Timestamp>) -> Answered {
        let a = self.get(file)?.attributes;
        let owner = who.uid == 0 || who.uid == a.uid;
        let timed = matches!(set.atime, SetTime::Client(_)) || matches!(set.mtime, SetTime::Client(_));
        let mut refused = !owner && (set.mode.is_some() || timed || set.uid.is_some() || set.gid.is_some());
        if who.uid != 0 {
            refused |= set.uid.is_some_and(|uid| uid != a.uid);
            refused |= set.gid.is_some_and(|gid| gid != a.gid && !member(who, gid));
        }
        if refused {
            return Err(FileError::NotOwner);
        }
        let touches = set.size.is_some() || set.atime == SetTime::Server || set.mtime == SetTime::Server;
        if touches && !(who.uid == a.uid || can(&a, who, 'w')) {
            return Err(FileError::AccessDenied);
        }
        if let Some(size) = set.size {
            match a.kind {
                FileKind::Regular if size <= i64::MAX as u64 => {}
                FileKind::Regular => return Err(FileError::TooLarge),
                FileKind::Directory => return Err(FileError::IsDirectory),
                _ => return Err(FileError::Invalid),
            }
        }
        if guard.is_some_and(|guard| guard != a.ctime) {
            return Err(FileError::NotSync);
        }
        if *set == SetAttributes::default() {
            return Ok(Answer::Nothing);
        }
        let now = self.now;
        self.change(file, |node| {
            node.verifier = None;
            if let Some(size) = set.size {
                Model::resize(node, who, size, now);
            }
            let n = &mut node.attributes;
            n.uid = set.uid.unwrap_or(n.uid);
            n.gid = set.gid.unwrap_or(n.gid);
            let plain = n.kind != FileKind::Directory;
            if plain && (set.uid.is_some() || set.gid.is_some()) {
                n.mode = strip(n.mode);
            }
            if let Some(mode) = set.mode {
                n.mode = mode & 0o7777;
                if plain && (n.uid != a.uid || n.gid != a.gid) {
                    n.mode = strip(n.mode);
                }
                if who.uid != 0 && !member(who, n.gid) {
                    n.mode &= 0o5777;
                }
            }
            n.set_times(set, now);
        });
        Ok(Answer::Nothing)
    }

    /// That the name may be made here and is free.
    fn free_name(&self, who: &Caller, dir: &Node, name: &Bytes) -> Result<(), FileError> {
        match self.name_for(who, dir, name)? {
            Some(_) => Err(FileError::Exists),
            None => Ok(()),
        }
    }
    fn name_for(&self, who: &Caller, dir: &Node, name: &Bytes) -> Result<Option<FileId>, FileError> {
        if !can(&dir.attributes, who, 'x') {
            return Err(FileError::AccessDenied);
        }
        if let Some(error) = Model::bad_name(name) {
            return Err(error);
        }
        if &name[..] == b"." || &name[..] == b".." {
            return Err(FileError::Exists);
        }
        let found = self.child(dir, name);
        if found.is_none() && !can(&dir.attributes, who, 'w') {
            return Err(FileError::AccessDenied);
        }
        Ok(found)
    }

    fn make(&mut self, who: &Caller, dir: &Node, name: &Bytes, kind: FileKind, set: &SetAttributes) -> FileId {
        let file = FileId { inode: self.position, generation: self.epoch };
        let is_dir = kind == FileKind::Directory;
        let dir_sets = dir.attributes.mode & 0o2000 != 0;
        let mut gid = if dir_sets { dir.attributes.gid } else { who.gid };
        if let Some(wanted) = set.gid.filter(|wanted| who.uid == 0 || member(who, *wanted)) {
            gid = wanted;
        }
        let mut mode = set.mode.map_or(if is_dir { 0o755 } else { 0o644 }, |mode| mode & 0o7777);
        if !is_dir && who.uid != 0 && !member(who, gid) {
            mode &= 0o5777;
        }
        if is_dir && dir_sets {
            mode |= 0o2000;
        }
        let (now, uid) = (self.now, if who.uid == 0 { set.uid.unwrap_or(0) } else { who.uid });
        let size = if is_dir { 4096 } else { 0 };
        let links = if is_dir { 2 } else { 1 };
        let mut attributes = Attributes { file, kind, mode, links, uid, gid, size, used: size, atime: now, mtime: now, ctime: now };
        attributes.set_times(set, now);
        self.nodes.insert(file, Node::new(attributes, dir.attributes.file));
        self.add_name(dir.attributes.file, name, file);
        file
    }

    fn create(&mut self, who: &Caller, dir: FileId, name: &Bytes, how: &CreateHow) -> Answered {
        let parent = self.dir(dir)?;
        let found = self.name_for(who, &parent, name)?;
        let set = match (how, found) {
            (CreateHow::Unchecked(set), Some(file)) => {
                let a = self.nodes[&file].attributes;
                if a.kind != FileKind::Regular {
                    return Err(FileError::Exists);
                }
                let Some(size) = set.size else { return Ok(Answer::File(file)) };
                if !(a.uid == who.uid || can(&a, who, 'w')) {
                    return Err(FileError::AccessDenied);
                }
                if size > i64::MAX as u64 {
                    return Err(FileError::TooLarge);
                }
                let now = self.now;
                self.change(file, |node| Model::resize(node, who, size, now));
                return Ok(Answer::File(file));
            }
            (CreateHow::Guarded(_), Some(_)) => return Err(FileError::Exists),
            (CreateHow::Exclusive(verifier), Some(file)) => {
                let same = self.nodes[&file].verifier == Some(*verifier);
                return if same { Ok(Answer::File(file)) } else { Err(FileError::Exists) };
            }
            (CreateHow::Exclusive(_), None) => SetAttributes { mode: Some(0), ..Default::default() },
            (CreateHow::Unchecked(set) | CreateHow::Guarded(set), None) => *set,
        };
        if set.size.is_some_and(|size| size > i64::MAX as u64) {
            return Err(FileError::TooLarge);
        }
        let file = self.make(who, &parent, name, FileKind::Regular, &set);
        let node = self.nodes.get_mut(&file).unwrap();
        node.attributes.size = set.size.unwrap_or(0);
        node.verifier = if let CreateHow::Exclusive(verifier) = how { Some(*verifier) } else { None };
        Ok(Answer::File(file))
    }

    fn may_take(&self, who: &Caller, dir: &Node, file: FileId) -> Result<(), FileError> {
        let (d, f) = (&dir.attributes, &self.nodes[&file].attributes);
        if !(can(d, who, 'w') && can(d, who, 'x')) {
            return Err(FileError::AccessDenied);
        }
        let sticky = d.mode & 0o1000 != 0;
        if sticky && ![0, d.uid, f.uid].contains(&who.uid) { Err(FileError::NotOwner) } else { Ok(()) }
    }

    fn remove(&mut self, who: &Caller, dir: FileId, name: &Bytes, directory: bool) -> Answered {
        let parent = self.dir(dir)?;
        match (&name[..], directory) {
            (b"." | b"..", false) => return Err(FileError::IsDirectory),
            (b".", true) => return Err(FileError::Invalid),
            (b"..", true) => return Err(FileError::Exists),
            _ => {}
        }
        let Answer::File(file) = self.lookup(who, dir, name)? else { unreachable!() };
        self.may_take(who, &parent, file)?;
        let victim = &self.nodes[&file];
        match (victim.attributes.kind == FileKind::Directory, directory) {
            (true, false) => return Err(FileError::IsDirectory),
            (false, true) => return Err(FileError::NotDirectory),
            (true, true) if !victim.names.is_empty() => return Err(FileError::NotEmpty),
            _ => {}
        }
        self.drop_name(dir, name);
        self.unlink(file);
        Ok(Answer::Nothing)
    }

    fn rename(&mut self, who: &Caller, from: FileId, from_name: &Bytes, to: FileId, to_name: &Bytes) -> Answered {
        let (from_dir, to_dir) = (self.dir(from)?, self.dir(to)?);
        let dots = |name: &Bytes| &name[..] == b"." || &name[..] == b"..";
        if dots(from_name) || dots(to_name) {
            return Err(FileError::Invalid);
        }
        let Answer::File(file) = self.lookup(who, from, from_name)? else { unreachable!() };
        let target = match self.lookup(who, to, to_name) {
            Ok(Answer::File(target)) => Some(target),
            Ok(_) => unreachable!(),
            Err(FileError::NotFound) => None,
            Err(error) => return Err(error),
        };
        let is_dir = self.nodes[&file].attributes.kind == FileKind::Directory;
        let mut above = to;
        while is_dir && above != self.nodes[&above].parent {
            if above == file {
                return Err(FileError::Invalid);
            }
            above = self.nodes[&above].parent;
        }
        if target == Some(file) {
            return Ok(Answer::Nothing);
        }
        self.may_take(who, &from_dir, file)?;
        match target {
            None if !(can(&to_dir.attributes, who, 'w') && can(&to_dir.attributes, who, 'x')) => {
                return Err(FileError::AccessDenied);
            }
            None => {}
            Some(target) => {
                self.may_take(who, &to_dir, target)?;
                let victim = &self.nodes[&target];
                match (is_dir, victim.attributes.kind == FileKind::Directory) {
                    (true, false) => return Err(FileError::NotDirectory),
                    (false, true) => return Err(FileError::IsDirectory),
                    (true, true) if !victim.names.is_empty() => return Err(FileError::NotEmpty),
                    _ => {}
                }
            }
        }
        if is_dir && from != to && !can(&self.nodes[&file].attributes, who, 'w') {
            return Err(FileError::AccessDenied);
        }
        if let Some(target) = target {
            self.drop_name(to, to_name);
            self.unlink(target);
        }
        self.drop_name(from, from_name);
        self.add_name(to, to_name, file);
        self.change(file, |_| ());
        if is_dir {
            self.change(from, |node| node.attributes.links -= 1);
            self.change(to, |node| node.attributes.links += 1);
            self.nodes.get_mut(&file).unwrap().parent = to;
        }
        Ok(Answer::Nothing)
    }
}

impl Node {
    fn new(attributes: Attributes, parent: FileId) -> Node {
        let (names, data, written) = Default::default();
        Node { attributes, names, parent, data, written, target: Bytes::new(), verifier: None }
    }
    fn grow(&mut self, len: usize) {
        self.data.resize(len, 0);
        self.written.resize(len, false);
    }
    fn count(&mut self) {
        self.attributes.used = self.written.iter().filter(|w| **w).count() as u64;
    }
}

trait SetTimes {
    fn set_times(&mut self, set: &SetAttributes, now: Timestamp);
}

impl SetTimes for Attributes {
    fn set_times(&mut self, set: &SetAttributes, now: Timestamp) {
        for (time, how) in [(&mut self.atime, set.atime), (&mut self.mtime, set.mtime)] {
            match how {
                SetTime::Keep => {}
                SetTime::Server => *time = now,
                SetTime::Client(given) => *time = given,
            }
        }
    }
}
