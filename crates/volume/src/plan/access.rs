//! Permissions: mode bits against uid, gid and groups, the owner's override that file servers need, sticky directories, and
//! which names there may be.

use super::{Planner, Stop};
use mainstay_protocol::limits::NAME_BYTES_MAX;
use mainstay_protocol::{Caller, FileError, FileKind, InodeRow};

pub(super) const READ: u16 = 4;
pub(super) const WRITE: u16 = 2;
pub(super) const EXECUTE: u16 = 1;

pub(super) const SET_UID: u16 = 0o4000;
pub(super) const SET_GID: u16 = 0o2000;
pub(super) const STICKY: u16 = 0o1000;
const GROUP_EXECUTE: u16 = 0o010;

pub(super) fn is_root(caller: &Caller) -> bool {
    caller.uid == 0
}

pub(super) fn in_group(caller: &Caller, gid: u32) -> bool {
    caller.gid == gid || caller.groups.contains(&gid)
}

/// Whether the mode gives all of `want` (bits of READ, WRITE, EXECUTE). Exactly one class counts: owner, else group, else
/// others. Root may everything, but executes only what somebody may execute.
pub(super) fn allows(row: &InodeRow, caller: &Caller, want: u16) -> bool {
    if is_root(caller) {
        return want & EXECUTE == 0 || row.kind == FileKind::Directory || row.mode & 0o111 != 0;
    }
    let shift = if caller.uid == row.uid {
        6
    } else if in_group(caller, row.gid) {
        3
    } else {
        0
    };
    (row.mode >> shift) & want == want
}

/// For READ and WRITE: an owner always may, because a client checks permission once, at open, and the file may have become
/// read-only since (RFC 1813, 4.4). Who may execute may read, because a client must read what it executes.
pub(super) fn allows_open_file(row: &InodeRow, caller: &Caller, want: u16) -> bool {
    caller.uid == row.uid || allows(row, caller, want) || (want == READ && allows(row, caller, EXECUTE))
}

/// Mode after somebody who is not root changed a file's data (POSIX write: set-user-id goes, set-group-id where it means
/// execution).
pub(super) fn without_set_id(mode: u16) -> u16 {
    let mode = mode & !SET_UID;
    if mode & GROUP_EXECUTE != 0 { mode & !SET_GID } else { mode }
}

impl Planner<'_> {
    pub(super) fn need(&self, row: &InodeRow, want: u16) -> Result<(), Stop> {
        if allows(row, self.caller, want) { Ok(()) } else { Err(FileError::AccessDenied.into()) }
    }

    pub(super) fn need_open_file(&self, row: &InodeRow, want: u16) -> Result<(), Stop> {
        if allows_open_file(row, self.caller, want) { Ok(()) } else { Err(FileError::AccessDenied.into()) }
    }

    /// To take `victim`'s name out of `dir`: write and search; in a sticky directory only the owner of either.
    pub(super) fn need_removal(&self, dir: &InodeRow, victim: &InodeRow) -> Result<(), Stop> {
        self.need(dir, WRITE | EXECUTE)?;
        let uid = self.caller.uid;
        let owns = is_root(self.caller) || uid == victim.uid || uid == dir.uid;
        if dir.mode & STICKY != 0 && !owns { Err(FileError::NotOwner.into()) } else { Ok(()) }
    }
}

/// Whether there may be a file of this name.
pub(super) fn check_name(name: &[u8]) -> Result<(), FileError> {
    match name {
        [] => Err(FileError::Invalid),
        _ if name.len() > NAME_BYTES_MAX => Err(FileError::NameTooLong),
        _ if name.iter().any(|byte| matches!(byte, b'/' | 0)) => Err(FileError::Invalid),
        _ => Ok(()),
    }
}

pub(super) fn is_dots(name: &[u8]) -> bool {
    matches!(name, b"." | b"..")
}
