//! CREATE, MKDIR, SYMLINK, MKNOD, LINK.

use super::access::{EXECUTE, SET_GID, WRITE, check_name, in_group, is_dots, is_root};
use super::{DIRECTORY_BYTES, ENTRY_BYTES_FREE, Planner, Step, Steps, Stop, attributes, record, wcc};
use crate::view::Entry;
use bytes::Bytes;
use mainstay_protocol::file::{CreateHow, FileOk, SetAttributes};
use mainstay_protocol::limits::{FILE_BYTES_MAX, LINKS_MAX, SYMLINK_BYTES_MAX};
use mainstay_protocol::record::{COOKIE_BASE, Change};
use mainstay_protocol::{FileError, FileId, FileKind, InodeRow, OpKind};

impl Planner<'_> {
    pub(super) fn create(&mut self, dir: FileId, name: &Bytes, how: &CreateHow) -> Steps {
        let dir = self.directory(dir)?;
        let existing = self.look_for(&dir, name)?;
        let (set, exclusive) = match (how, existing) {
            (CreateHow::Unchecked(set), Some(entry)) => return self.open_existing(&dir, entry, set),
            (CreateHow::Guarded(_), Some(_)) => return Err(FileError::Exists.into()),
            (CreateHow::Exclusive(verifier), Some(entry)) => return self.made_already(&dir, entry, verifier),
            (CreateHow::Unchecked(set) | CreateHow::Guarded(set), None) => (*set, None),
            // The client sets the attributes afterwards (RFC 1813 3.3.8); until then nobody but the owner has a use for it.
            (CreateHow::Exclusive(verifier), None) => (SetAttributes { mode: Some(0), ..Default::default() }, Some(*verifier)),
        };
        if set.size.is_some_and(|size| size > FILE_BYTES_MAX) {
            return Err(FileError::TooLarge.into());
        }
        let mut row = self.new_row(&dir, FileKind::Regular, &set);
        row.size = set.size.unwrap_or(0);
        row.exclusive = exclusive;
        self.make(OpKind::Create, &dir, name, row)
    }

    /// UNCHECKED meets a file: only its size may be set.
    fn open_existing(&mut self, dir: &InodeRow, entry: Entry, set: &SetAttributes) -> Steps {
        let old = self.entry_row(entry.file)?;
        if old.kind != FileKind::Regular {
            return Err(FileError::Exists.into());
        }
        let Some(size) = set.size else {
            return Ok(Step::Reply(FileOk::Made { attributes: attributes(&old), dir: wcc(dir, dir) }));
        };
        self.need_open_file(&old, WRITE)?;
        if size > FILE_BYTES_MAX {
            return Err(FileError::TooLarge.into());
        }
        let mut new = self.touched(&old);
        self.resize(&mut new, size)?;
        self.put(new.clone());
        record(OpKind::Create, FileOk::Made { attributes: attributes(&new), dir: wcc(dir, dir) })
    }

    /// EXCLUSIVE meets a file: its own earlier success, if the verifier is the same.
    fn made_already(&mut self, dir: &InodeRow, entry: Entry, verifier: &[u8; 8]) -> Steps {
        let row = self.entry_row(entry.file)?;
        if row.exclusive != Some(*verifier) {
            return Err(FileError::Exists.into());
        }
        Ok(Step::Reply(FileOk::Made { attributes: attributes(&row), dir: wcc(dir, dir) }))
    }

    pub(super) fn make_directory(&mut self, dir: FileId, name: &Bytes, set: &SetAttributes) -> Steps {
        let dir = self.directory(dir)?;
        self.need_new(&dir, name)?;
        if dir.links >= LINKS_MAX {
            return Err(FileError::TooManyLinks.into());
        }
        let mut row = self.new_row(&dir, FileKind::Directory, set);
        (row.links, row.size, row.parent) = (2, DIRECTORY_BYTES, dir.file.inode);
        row.mode |= dir.mode & SET_GID;
        self.make(OpKind::MakeDirectory, &dir, name, row)
    }

    pub(super) fn make_symlink(&mut self, dir: FileId, name: &Bytes, target: &Bytes, set: &SetAttributes) -> Steps {
        let dir = self.directory(dir)?;
        self.need_new(&dir, name)?;
        match target.len() {
            0 => return Err(FileError::Invalid.into()),
            len if len > SYMLINK_BYTES_MAX => return Err(FileError::NameTooLong.into()),
            _ if target.contains(&0) => return Err(FileError::Invalid.into()),
            _ => {}
        }
        let mut row = self.new_row(&dir, FileKind::Symlink, set);
        (row.size, row.mode) = (target.len() as u64, 0o777);
        self.changes.push(Change::PutTarget { inode: row.file.inode, target: target.clone() });
        self.make(OpKind::MakeSymlink, &dir, name, row)
    }

    pub(super) fn make_node(&mut self, dir: FileId, name: &Bytes, kind: FileKind, set: &SetAttributes) -> Steps {
        let dir = self.directory(dir)?;
        match kind {
            FileKind::Fifo | FileKind::Socket => {}
            // As mknod(2): devices are root's.
            FileKind::BlockDevice { .. } | FileKind::CharDevice { .. } if is_root(self.caller) => {}
            FileKind::BlockDevice { .. } | FileKind::CharDevice { .. } => return Err(FileError::NotOwner.into()),
            FileKind::Regular | FileKind::Directory | FileKind::Symlink => return Err(FileError::BadType.into()),
        }
        self.need_new(&dir, name)?;
        let row = self.new_row(&dir, kind, set);
        self.make(OpKind::MakeNode, &dir, name, row)
    }

    pub(super) fn link(&mut self, file: FileId, dir: FileId, name: &Bytes) -> Steps {
        let old = self.file(file)?;
        let dir = self.second_directory(dir)?;
        if old.kind == FileKind::Directory {
            return Err(FileError::NotOwner.into());
        }
        self.need_new(&dir, name)?;
        if old.links >= LINKS_MAX {
            return Err(FileError::TooManyLinks.into());
        }
        let new = InodeRow { links: old.links + 1, ..self.touched(&old) };
        let new_dir = self.add_entry(&dir, name, new.file);
        self.put(new.clone());
        self.put(new_dir.clone());
        record(OpKind::Link, FileOk::Linked { attributes: attributes(&new), dir: wcc(&dir, &new_dir) })
    }

    /// The other directory of a request with two files.
    pub(super) fn second_directory(&mut self, dir: FileId) -> Result<InodeRow, Stop> {
        let row = self.row(dir)?;
        self.second = Some(row.clone());
        if row.kind == FileKind::Directory { Ok(row) } else { Err(FileError::NotDirectory.into()) }
    }

    /// The entry of a name that is to be made, if there is one. Search permission comes first, as in a path walk.
    pub(super) fn look_for(&mut self, dir: &InodeRow, name: &Bytes) -> Result<Option<Entry>, Stop> {
        self.need(dir, EXECUTE)?;
        check_name(name)?;
        if is_dots(name) {
            return Err(FileError::Exists.into());
        }
        match self.view.entry(dir.file.inode, name)? {
            Some(entry) => Ok(Some(entry)),
            None => {
                self.need(dir, WRITE | EXECUTE)?;
                self.need_space(ENTRY_BYTES_FREE)?;
                Ok(None)
            }
        }
    }

    /// That the name is free, and the caller may make it.
    fn need_new(&mut self, dir: &InodeRow, name: &Bytes) -> Result<(), Stop> {
        if self.look_for(dir, name)?.is_some() { Err(FileError::Exists.into()) } else { Ok(()) }
    }

    /// A new inode with the attributes that its maker asks for and may give.
    fn new_row(&self, dir: &InodeRow, kind: FileKind, set: &SetAttributes) -> InodeRow {
        let position = self.context.position;
        let inherited = if dir.mode & SET_GID != 0 { dir.gid } else { self.caller.gid };
        let root = is_root(self.caller);
        let mut row = InodeRow {
            file: FileId { inode: position.0, generation: self.context.epoch.0 },
            kind,
            mode: set.mode.unwrap_or(if kind == FileKind::Directory { 0o755 } else { 0o644 }) & 0o7777,
            links: 1,
            uid: set.uid.filter(|_| root).unwrap_or(self.caller.uid),
            gid: set.gid.filter(|gid| root || in_group(self.caller, *gid)).unwrap_or(inherited),
            size: 0,
            used: 0,
            atime: self.now,
            mtime: self.now,
            ctime: self.now,
            parent: 0,
            exclusive: None,
            changed_at: position,
        };
        if !root && !in_group(self.caller, row.gid) && kind != FileKind::Directory {
            row.mode &= !SET_GID;
        }
        self.set_times(&mut row, set);
        row
    }

    fn make(&mut self, kind: OpKind, dir: &InodeRow, name: &Bytes, row: InodeRow) -> Steps {
        let mut new_dir = self.add_entry(dir, name, row.file);
        new_dir.links += u32::from(row.kind == FileKind::Directory);
        let ok = FileOk::Made { attributes: attributes(&row), dir: wcc(dir, &new_dir) };
        self.put(row);
        self.put(new_dir);
        record(kind, ok)
    }

    /// The entry's change, and the directory with one entry more.
    pub(super) fn add_entry(&mut self, dir: &InodeRow, name: &Bytes, target: FileId) -> InodeRow {
        let cookie = self.context.position.0 + COOKIE_BASE;
        self.changes.push(Change::PutEntry { dir: dir.file.inode, name: name.clone(), target, cookie });
        InodeRow { used: dir.used + 1, ..self.changed_directory(dir) }
    }
}
