//! REMOVE and RMDIR.

use super::access::{EXECUTE, check_name};
use super::{Planner, Steps, Stop, record, wcc};
use crate::view::Entry;
use bytes::Bytes;
use mainstay_protocol::file::FileOk;
use mainstay_protocol::record::Change;
use mainstay_protocol::{FileError, FileId, FileKind, InodeRow, OpKind};

impl Planner<'_> {
    pub(super) fn remove(&mut self, dir: FileId, name: &Bytes) -> Steps {
        let dir = self.directory(dir)?;
        if matches!(&name[..], b"." | b"..") {
            return Err(FileError::IsDirectory.into());
        }
        let (entry, victim) = self.find(&dir, name)?;
        self.need_removal(&dir, &victim)?;
        if victim.kind == FileKind::Directory {
            return Err(FileError::IsDirectory.into());
        }
        let new_dir = self.drop_entry(&dir, name, entry);
        self.drop_link(&victim);
        self.put(new_dir.clone());
        record(OpKind::Remove, FileOk::Removed { dir: wcc(&dir, &new_dir) })
    }

    pub(super) fn remove_directory(&mut self, dir: FileId, name: &Bytes) -> Steps {
        let dir = self.directory(dir)?;
        match &name[..] {
            // RFC 1813 3.3.13.
            b"." => return Err(FileError::Invalid.into()),
            b".." => return Err(FileError::Exists.into()),
            _ => {}
        }
        let (entry, victim) = self.find(&dir, name)?;
        self.need_removal(&dir, &victim)?;
        if victim.kind != FileKind::Directory {
            return Err(FileError::NotDirectory.into());
        }
        if victim.used > 0 {
            return Err(FileError::NotEmpty.into());
        }
        let mut new_dir = self.drop_entry(&dir, name, entry);
        new_dir.links -= 1;
        self.changes.push(Change::RemoveInode { file: victim.file });
        self.put(new_dir.clone());
        record(OpKind::RemoveDirectory, FileOk::Removed { dir: wcc(&dir, &new_dir) })
    }

    /// An entry that must be there, and its file.
    pub(super) fn find(&mut self, dir: &InodeRow, name: &Bytes) -> Result<(Entry, InodeRow), Stop> {
        self.need(dir, EXECUTE)?;
        check_name(name)?;
        let entry = self.view.entry(dir.file.inode, name)?.ok_or(FileError::NotFound)?;
        let row = self.entry_row(entry.file)?;
        Ok((entry, row))
    }

    /// The entry's removal, and the directory with one entry less.
    pub(super) fn drop_entry(&mut self, dir: &InodeRow, name: &Bytes, entry: Entry) -> InodeRow {
        self.changes.push(Change::RemoveEntry { dir: dir.file.inode, name: name.clone(), cookie: entry.cookie });
        InodeRow { used: dir.used.saturating_sub(1), ..self.changed_directory(dir) }
    }

    /// One name less for a file that is not a directory; the last one takes the file along.
    pub(super) fn drop_link(&mut self, victim: &InodeRow) {
        if victim.links <= 1 {
            self.changes.push(Change::RemoveInode { file: victim.file });
        } else {
            let left = InodeRow { links: victim.links - 1, ..self.touched(victim) };
            self.put(left);
        }
    }
}
