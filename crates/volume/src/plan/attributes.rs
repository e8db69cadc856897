//! GETATTR, SETATTR, ACCESS.

use super::access::{EXECUTE, READ, SET_GID, SET_UID, WRITE, allows, in_group, is_root, without_set_id};
use super::{Planner, Step, Steps, Stop, attributes, record, wcc};
use mainstay_protocol::file::{FileOk, SetAttributes, SetTime, access};
use mainstay_protocol::limits::FILE_BYTES_MAX;
use mainstay_protocol::record::Change;
use mainstay_protocol::{FileError, FileId, FileKind, InodeRow, OpKind, Timestamp};

impl Planner<'_> {
    pub(super) fn get_attributes(&mut self, file: FileId) -> Steps {
        let row = self.file(file)?;
        Ok(Step::Reply(FileOk::Attributes(attributes(&row))))
    }

    /// RFC 1813 3.3.4; the bits that each kind of file has, answered from the mode alone (no owner's override: the client
    /// decides an open by this).
    pub(super) fn access(&mut self, file: FileId, mask: u32) -> Steps {
        let row = self.file(file)?;
        let directory = row.kind == FileKind::Directory;
        let bits = [
            (access::READ, READ, true),
            (access::LOOKUP, EXECUTE, directory),
            (access::MODIFY, if directory { WRITE | EXECUTE } else { WRITE }, true),
            (access::EXTEND, if directory { WRITE | EXECUTE } else { WRITE }, true),
            (access::DELETE, WRITE | EXECUTE, directory),
            (access::EXECUTE, EXECUTE, !directory),
        ];
        let granted = bits
            .iter()
            .filter(|(bit, want, applies)| mask & bit != 0 && *applies && allows(&row, self.caller, *want))
            .fold(0, |granted, (bit, _, _)| granted | bit);
        Ok(Step::Reply(FileOk::Access { granted, attributes: attributes(&row) }))
    }

    pub(super) fn set_attributes(&mut self, file: FileId, set: &SetAttributes, guard_ctime: Option<Timestamp>) -> Steps {
        let old = self.file(file)?;
        self.may_set(&old, set)?;
        if guard_ctime.is_some_and(|guard| guard != old.ctime) {
            return Err(FileError::NotSync.into());
        }
        if *set == SetAttributes::default() {
            return Ok(Step::Reply(FileOk::AttributesSet(wcc(&old, &old))));
        }
        let mut new = self.touched(&old);
        new.exclusive = None;
        if let Some(size) = set.size {
            self.resize(&mut new, size)?;
        }
        self.set_owner(&mut new, set);
        self.set_mode(&mut new, &old, set);
        self.set_times(&mut new, set);
        self.put(new.clone());
        record(OpKind::SetAttributes, FileOk::AttributesSet(wcc(&old, &new)))
    }

    /// POSIX chown, chmod, utimensat and truncate rules.
    fn may_set(&self, row: &InodeRow, set: &SetAttributes) -> Result<(), Stop> {
        let (root, owner) = (is_root(self.caller), self.caller.uid == row.uid);
        let explicit = [set.atime, set.mtime].iter().any(|time| matches!(time, SetTime::Client(_)));
        let foreign_uid = set.uid.is_some_and(|uid| !owner || uid != row.uid);
        let foreign_gid = set.gid.is_some_and(|gid| !owner || (gid != row.gid && !in_group(self.caller, gid)));
        if !root && (foreign_uid || foreign_gid || ((set.mode.is_some() || explicit) && !owner)) {
            return Err(FileError::NotOwner.into());
        }
        let server = [set.atime, set.mtime].contains(&SetTime::Server);
        if set.size.is_some() || server {
            self.need_open_file(row, WRITE)?;
        }
        match (set.size, row.kind) {
            (None, _) => Ok(()),
            (Some(size), FileKind::Regular) if size <= FILE_BYTES_MAX => Ok(()),
            (Some(_), FileKind::Regular) => Err(FileError::TooLarge.into()),
            (Some(_), FileKind::Directory) => Err(FileError::IsDirectory.into()),
            (Some(_), _) => Err(FileError::Invalid.into()),
        }
    }

    /// Cuts or extends by a hole; counts the data that stays.
    pub(super) fn resize(&mut self, row: &mut InodeRow, size: u64) -> Result<(), Stop> {
        if size < row.size && row.used > 0 {
            let lost: u64 = {
                let mut lost = 0;
                for run in self.view.extents_after(row.file.inode, size)? {
                    lost += run?.part(size..u64::MAX).map_or(0, |part| part.len as u64);
                }
                lost
            };
            row.used = row.used.saturating_sub(lost);
            self.changes.push(Change::Truncate { inode: row.file.inode, size });
        }
        row.size = size;
        row.mtime = self.now;
        if !is_root(self.caller) {
            row.mode = without_set_id(row.mode);
        }
        Ok(())
    }

    /// A new owner or group ends set-id execution, whoever gives it.
    fn set_owner(&self, new: &mut InodeRow, set: &SetAttributes) {
        if set.uid.is_none() && set.gid.is_none() {
            return;
        }
        new.uid = set.uid.unwrap_or(new.uid);
        new.gid = set.gid.unwrap_or(new.gid);
        if new.kind != FileKind::Directory {
            new.mode = without_set_id(new.mode);
        }
    }

    fn set_mode(&self, new: &mut InodeRow, old: &InodeRow, set: &SetAttributes) {
        let Some(mode) = set.mode else { return };
        new.mode = mode & 0o7777;
        if new.kind != FileKind::Directory && (set.uid, set.gid) != (None, None) && (new.uid, new.gid) != (old.uid, old.gid) {
            new.mode = without_set_id(new.mode);
        }
        // POSIX chmod: set-group-id only for members of the group.
        if !is_root(self.caller) && !in_group(self.caller, new.gid) {
            new.mode &= !SET_GID;
        }
        debug_assert!(new.mode & !(0o1777 | SET_UID | SET_GID) == 0);
    }

    pub(super) fn set_times(&self, row: &mut InodeRow, set: &SetAttributes) {
        let pick = |set: SetTime, old: Timestamp| match set {
            SetTime::Keep => old,
            SetTime::Server => self.now,
            SetTime::Client(time) => time,
        };
        row.atime = pick(set.atime, row.atime);
        row.mtime = pick(set.mtime, row.mtime);
    }
}
