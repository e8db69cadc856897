//! LOOKUP, READLINK, READDIR(PLUS), FSSTAT.

use super::access::{EXECUTE, READ, check_name};
use super::{Planner, Step, Steps, Stop, attributes};
use crate::view::CookieEntry;
use bytes::Bytes;
use mainstay_protocol::file::{DirectoryEntry, FileOk};
use mainstay_protocol::planted::{Bug, planted};
use mainstay_protocol::{FileError, FileId, FileKind, InodeRow};

/// XDR bytes of a READDIR reply besides its entries: status, attributes, verifier, end marks (RFC 1813 3.3.16).
const REPLY_BYTES: usize = 4 + 88 + 8 + 4 + 4;
/// An entry besides its name: follows, fileid, name length, cookie.
const ENTRY_BYTES: usize = 4 + 8 + 4 + 8;
/// READDIRPLUS adds attributes and a handle of the longest kind (RFC 1813 3.3.17).
const PLUS_BYTES: usize = 4 + 84 + 4 + 4 + 64;
/// Most bytes of entries in one reply, whatever the client would take: no other request waits longer than this takes.
pub(super) const LISTING_BYTES_MAX: usize = 128 << 10;

const DOT: u64 = 1;
const DOT_DOT: u64 = 2;

impl Planner<'_> {
    pub(super) fn lookup(&mut self, dir: FileId, name: &Bytes) -> Steps {
        let dir = self.directory(dir)?;
        self.need(&dir, EXECUTE)?;
        check_name(name)?;
        let row = match &name[..] {
            b"." => dir.clone(),
            b".." => self.parent_of(&dir)?,
            _ => {
                let entry = self.view.entry(dir.file.inode, name)?.ok_or(FileError::NotFound)?;
                self.entry_row(entry.file)?
            }
        };
        Ok(Step::Reply(FileOk::Found { attributes: attributes(&row), dir: Some(attributes(&dir)) }))
    }

    /// The row of `..`; the root is its own parent.
    fn parent_of(&mut self, dir: &InodeRow) -> Result<InodeRow, Stop> {
        match self.view.inode(dir.parent)? {
            Some(parent) => self.entry_row(parent.file),
            None => self.entry_row(FileId { inode: dir.parent, generation: 0 }),
        }
    }

    pub(super) fn read_link(&mut self, file: FileId) -> Steps {
        let row = self.file(file)?;
        if row.kind != FileKind::Symlink {
            return Err(FileError::Invalid.into());
        }
        let target = self.view.target(file.inode)?.ok_or(FileError::Io)?;
        Ok(Step::Reply(FileOk::Target { target, attributes: attributes(&row) }))
    }

    pub(super) fn file_system_stat(&mut self, file: FileId) -> Steps {
        let row = self.file(file)?;
        Ok(Step::Reply(FileOk::Space { space: self.context.space, attributes: attributes(&row) }))
    }

    /// Entries in the order of their cookies, which is the order of their making: whoever goes on after a cookie, its entry
    /// removed or not, misses none that stayed and sees none twice.
    pub(super) fn read_directory(&mut self, dir: FileId, cookie: u64, bytes_max: u32, with_attributes: bool) -> Steps {
        let dir = self.directory(dir)?;
        self.need(&dir, READ)?;
        let mut listing = Listing {
            entries: Vec::new(),
            left: (bytes_max as usize).min(LISTING_BYTES_MAX).saturating_sub(REPLY_BYTES),
            with_attributes,
        };
        let whole = self.list(&dir, cookie, &mut listing)?;
        if listing.entries.is_empty() && !whole {
            return Err(FileError::TooSmall.into());
        }
        Ok(Step::Reply(FileOk::Entries { entries: listing.entries, eof: whole, dir: attributes(&dir) }))
    }

    /// True when everything after `cookie` found room.
    fn list(&mut self, dir: &InodeRow, cookie: u64, listing: &mut Listing) -> Result<bool, Stop> {
        let dots = [(DOT, &b"."[..], dir.file.inode), (DOT_DOT, b"..", dir.parent)];
        for (at, name, inode) in dots.into_iter().filter(|(at, _, _)| *at > cookie) {
            if !listing.reserve(name) {
                return Ok(false);
            }
            let row = if at == DOT { dir.clone() } else { self.parent_of(dir)? };
            listing.push(inode, Bytes::from_static(name), at, Some(&row));
        }
        let view = self.view;
        let skip = usize::from(planted(Bug::ListingSkipsEntry) && cookie > DOT_DOT);
        for entry in view.entries_after(dir.file.inode, cookie.max(DOT_DOT))?.skip(skip) {
            let CookieEntry { cookie, name, file } = entry?;
            if !listing.reserve(&name) {
                return Ok(false);
            }
            let row = if listing.with_attributes { Some(self.entry_row(file)?) } else { None };
            listing.push(file.inode, name, cookie, row.as_ref());
        }
        Ok(true)
    }
}

struct Listing {
    entries: Vec<DirectoryEntry>,
    left: usize,
    with_attributes: bool,
}

impl Listing {
    /// Takes an entry's bytes off the budget; false when they are not there.
    fn reserve(&mut self, name: &[u8]) -> bool {
        let bytes = ENTRY_BYTES + name.len().next_multiple_of(4) + if self.with_attributes { PLUS_BYTES } else { 0 };
        let fits = bytes <= self.left;
        self.left = self.left.saturating_sub(bytes);
        fits
    }

    fn push(&mut self, inode: u64, name: Bytes, cookie: u64, row: Option<&InodeRow>) {
        let attributes = row.filter(|_| self.with_attributes).map(attributes);
        self.entries.push(DirectoryEntry { inode, name, cookie, attributes });
    }
}
