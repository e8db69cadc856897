//! RENAME: the operation with the most ways to be wrong.

use super::access::{EXECUTE, WRITE, check_name, is_dots};
use super::{Planner, Step, Steps, Stop, record, wcc};
use crate::view::Entry;
use bytes::Bytes;
use mainstay_protocol::file::FileOk;
use mainstay_protocol::limits::LINKS_MAX;
use mainstay_protocol::record::Change;
use mainstay_protocol::{FileError, FileId, FileKind, InodeRow, OpKind};

/// Directories above a directory that are looked at; a tree deeper than this has a loop, which only damage can make.
const DEPTH_MAX: usize = 1 << 20;

/// What is where, once found.
struct Found {
    from: InodeRow,
    to: InodeRow,
    source: (Entry, InodeRow),
    target: Option<(Entry, InodeRow)>,
}

impl Found {
    fn same_directory(&self) -> bool {
        self.from.file == self.to.file
    }
    fn moves_directory(&self) -> bool {
        self.source.1.kind == FileKind::Directory
    }
}

impl Planner<'_> {
    pub(super) fn rename(&mut self, from: (FileId, &Bytes), to: (FileId, &Bytes)) -> Steps {
        let found = self.find_both(from, to)?;
        if found.moves_directory() {
            self.refuse_loop(found.source.1.file.inode, &found.to)?;
        }
        let same_file = found.target.as_ref().is_some_and(|(_, target)| target.file == found.source.1.file);
        if same_file {
            let (from, to) = (wcc(&found.from, &found.from), wcc(&found.to, &found.to));
            return Ok(Step::Reply(FileOk::Renamed { from, to }));
        }
        self.may_rename(&found)?;
        self.rename_changes(&found, from.1, to.1)
    }

    fn find_both(&mut self, from: (FileId, &Bytes), to: (FileId, &Bytes)) -> Result<Found, Stop> {
        let from_dir = self.directory(from.0)?;
        let to_dir = self.second_directory(to.0)?;
        if is_dots(from.1) || is_dots(to.1) {
            return Err(FileError::Invalid.into());
        }
        let source = self.find(&from_dir, from.1)?;
        self.need(&to_dir, EXECUTE)?;
        check_name(to.1)?;
        let target = match self.view.entry(to_dir.file.inode, to.1)? {
            Some(entry) => Some((entry, self.entry_row(entry.file)?)),
            None => None,
        };
        Ok(Found { from: from_dir, to: to_dir, source, target })
    }

    /// A directory cannot move below itself.
    fn refuse_loop(&mut self, moved: u64, to: &InodeRow) -> Result<(), Stop> {
        let mut above = to.clone();
        for _ in 0..DEPTH_MAX {
            if above.file.inode == moved {
                return Err(FileError::Invalid.into());
            }
            if above.parent == above.file.inode {
                return Ok(());
            }
            let Some(parent) = self.view.inode(above.parent)? else { return Err(FileError::Io.into()) };
            self.seen = self.seen.max(parent.changed_at);
            above = parent;
        }
        Err(FileError::Io.into())
    }

    fn may_rename(&self, found: &Found) -> Result<(), Stop> {
        let (source, moves_directory) = (&found.source.1, found.moves_directory());
        self.need_removal(&found.from, source)?;
        match &found.target {
            None => self.need(&found.to, WRITE | EXECUTE)?,
            Some((_, target)) => {
                self.need_removal(&found.to, target)?;
                match (moves_directory, target.kind == FileKind::Directory) {
                    (true, false) => return Err(FileError::NotDirectory.into()),
                    (false, true) => return Err(FileError::IsDirectory.into()),
                    (true, true) if target.used > 0 => return Err(FileError::NotEmpty.into()),
                    _ => {}
                }
            }
        }
        if moves_directory && !found.same_directory() {
            // Its ".." is written.
            self.need(source, WRITE)?;
            if found.target.is_none() && found.to.links >= LINKS_MAX {
                return Err(FileError::TooManyLinks.into());
            }
        }
        Ok(())
    }

    fn rename_changes(&mut self, found: &Found, from_name: &Bytes, to_name: &Bytes) -> Steps {
        let to = match &found.target {
            Some(target) => self.drop_target(&found.to, to_name, target),
            None => found.to.clone(),
        };
        let (entry, source) = &found.source;
        let (from, to) = if found.same_directory() {
            // One row: neither change may be lost.
            let dir = self.drop_entry(&to, from_name, *entry);
            let dir = self.add_entry(&dir, to_name, source.file);
            (dir.clone(), dir)
        } else {
            let mut from = self.drop_entry(&found.from, from_name, *entry);
            let mut to = self.add_entry(&to, to_name, source.file);
            from.links -= u32::from(found.moves_directory());
            to.links += u32::from(found.moves_directory());
            self.put(from.clone());
            (from, to)
        };
        let parent = if found.moves_directory() { to.file.inode } else { 0 };
        let source = InodeRow { parent, ..self.touched(source) };
        self.put(source);
        self.put(to.clone());
        record(OpKind::Rename, FileOk::Renamed { from: wcc(&found.from, &from), to: wcc(&found.to, &to) })
    }

    /// What the new name stood for goes away.
    fn drop_target(&mut self, to: &InodeRow, name: &Bytes, (entry, target): &(Entry, InodeRow)) -> InodeRow {
        let mut dir = self.drop_entry(to, name, *entry);
        if target.kind == FileKind::Directory {
            dir.links -= 1;
            self.changes.push(Change::RemoveInode { file: target.file });
        } else {
            self.drop_link(target);
        }
        dir
    }
}
