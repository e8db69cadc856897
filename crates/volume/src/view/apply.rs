//! Applying records: dumb and total. What the changes say is put, nothing is judged; the primary's planner did that.

use crate::extents::Edit;
use crate::place::{Move, Place, SegmentId, StoredExtent};
use crate::view::View;
use crate::view::error::ViewError;
use crate::view::tables::{Entry, Run};
use bytes::Bytes;
use mainstay_protocol::peer::EpochStart;
use mainstay_protocol::planted::{Bug, planted};
use mainstay_protocol::record::Change;
use mainstay_protocol::{Extent, FileId, FileKind, InodeRow, Position, RecordBody, RecordHeader};
use std::collections::BTreeSet;

/// A removed file's runs are taken out with it up to this many; more are reclaimed in steps ([`View::reclaim`]).
const RECLAIM_AT_ONCE: usize = 16;

impl View {
    /// Applies the record after [`View::point`], whose bytes lie (or will lie) at `place`. On an error the view is not to be
    /// used any more: part of the record may have been applied.
    pub fn apply(&mut self, header: &RecordHeader, body: &RecordBody, place: Place) -> Result<(), ViewError> {
        if header.position != self.now.point.position.next() {
            return Err(ViewError::Order { last: self.now.point.position, found: header.position });
        }
        if self.resync_cursor().is_some() {
            return Err(ViewError::Resync("records are applied after the walk".into()));
        }
        let newer = self.newer_owners(header.position, &body.changes)?;
        for change in &body.changes {
            if !change.owner().is_some_and(|owner| newer.contains(&owner)) {
                self.change(header, change, place)?;
            }
        }
        self.keep_reply(header, &body.reply);
        self.advance(header);
        Ok(())
    }

    fn advance(&mut self, header: &RecordHeader) {
        if self.now.lineage.last().is_none_or(|start| start.epoch < header.epoch) {
            self.now.lineage.push(EpochStart { epoch: header.epoch, first: header.position });
        }
        self.now.clock = self.now.clock.max(header.time);
        self.now.point = header.point();
        if self.fuzzy().is_some_and(|until| until <= header.position) {
            self.now.resync = None;
        }
    }

    /// After a resync by change: the owners whose copy holds this record's effect already. Judged before any change of the
    /// record is made, because the first of them raises the owner's `changed_at`.
    fn newer_owners(&self, position: Position, changes: &[Change]) -> Result<BTreeSet<u64>, ViewError> {
        let mut newer = BTreeSet::new();
        if self.fuzzy().is_none() {
            return Ok(newer);
        }
        for owner in changes.iter().filter_map(Change::owner) {
            if self.inode(owner)?.is_some_and(|row| row.changed_at >= position) {
                newer.insert(owner);
            }
        }
        Ok(newer)
    }

    fn change(&mut self, header: &RecordHeader, change: &Change, place: Place) -> Result<(), ViewError> {
        match change {
            Change::PutInode(row) => {
                // The number of a new inode is its record's position: nothing to look up.
                let new = row.file.inode == header.position.0 && self.fuzzy().is_none();
                let old = if new { None } else { self.inode(row.file.inode)? };
                self.put_inode(row.clone(), old.as_ref());
            }
            Change::RemoveInode { file } => self.remove_inode(file.inode)?,
            Change::PutEntry { dir, name, target, cookie } => self.put_entry(*dir, name, *target, *cookie)?,
            Change::RemoveEntry { dir, name, cookie } => self.remove_entry(*dir, name, *cookie)?,
            Change::PutExtent { inode, extent } => {
                let fits = extent.payload_offset as u64 + extent.len as u64 <= header.payload_len as u64;
                if !fits || extent.offset.checked_add(extent.len as u64).is_none() {
                    let what = "it puts data that it does not hold";
                    return Err(ViewError::Malformed { position: header.position, what });
                }
                self.put_extent(*inode, stored(extent, header.position, place))?;
            }
            Change::Truncate { inode, size } => self.truncate(*inode, *size, header.position)?,
            Change::PutTarget { inode, target } => self.put_target(*inode, Some(target)),
            Change::SetLossEpoch(epoch) => self.now.loss_epoch = *epoch,
        }
        Ok(())
    }

    // Rows ----------------------------------------------------------------------------------------------------------------

    pub(crate) fn put_inode(&mut self, row: InodeRow, old: Option<&InodeRow>) {
        self.now.inodes += u64::from(old.is_none());
        self.now.bytes_used = self.now.bytes_used.saturating_sub(old.map_or(0, data_of)).saturating_add(data_of(&row));
        self.note(row.file.inode);
        self.overlay.inodes.insert(row.file.inode, Some(row));
    }

    pub(crate) fn remove_inode(&mut self, inode: u64) -> Result<(), ViewError> {
        let Some(row) = self.inode(inode)? else { return Ok(()) };
        self.now.inodes = self.now.inodes.saturating_sub(1);
        self.now.bytes_used = self.now.bytes_used.saturating_sub(data_of(&row));
        match row.kind {
            FileKind::Regular => self.remove_data(&row)?,
            FileKind::Symlink => self.put_target(inode, None),
            _ => {}
        }
        put_or_forget(&mut self.overlay.inodes, inode, inode > self.below);
        Ok(())
    }

    /// A file with little data loses it now; a large one is queued, because no operation may take long for its size.
    fn remove_data(&mut self, row: &InodeRow) -> Result<(), ViewError> {
        let inode = row.file.inode;
        if row.used == 0 && self.complete() {
            return Ok(());
        }
        let first: Vec<StoredExtent> = self.extents_after(inode, 0)?.take(RECLAIM_AT_ONCE + 1).collect::<Result<_, _>>()?;
        if first.len() > RECLAIM_AT_ONCE {
            self.reclaim.insert(inode);
            self.overlay.reclaim.insert(inode, Some(()));
        } else {
            first.iter().for_each(|extent| self.drop_run(inode, extent));
        }
        Ok(())
    }

    pub(crate) fn put_entry(&mut self, dir: u64, name: &Bytes, file: FileId, cookie: u64) -> Result<(), ViewError> {
        if !self.complete() {
            self.make_way(dir, name, cookie)?;
        }
        // A copy of its own: the name may be a slice of a large receive buffer, which would be kept alive by it.
        let name = Bytes::copy_from_slice(name);
        self.note(dir);
        self.overlay.entries.insert((dir, name.clone()), Some(Entry { file, cookie }));
        self.overlay.cookies.insert((dir, cookie), Some((name, file)));
        Ok(())
    }

    /// The planner removes what it replaces. A copy that is mended by resync may meet an older entry of the name, or, when it had
    /// seen records that were lost since, another name that took the same position.
    fn make_way(&mut self, dir: u64, name: &Bytes, cookie: u64) -> Result<(), ViewError> {
        if let Some(old) = self.entry(dir, name)?
            && old.cookie != cookie
        {
            self.remove_entry(dir, name, old.cookie)?;
        }
        let same = self.entries_after(dir, cookie.saturating_sub(1))?.next().transpose()?.filter(|other| other.cookie == cookie);
        match same {
            Some(other) if other.name != *name => self.remove_entry(dir, &other.name, cookie),
            _ => Ok(()),
        }
    }

    pub(crate) fn remove_entry(&mut self, dir: u64, name: &Bytes, cookie: u64) -> Result<(), ViewError> {
        let only_here = dir > self.below;
        put_or_forget(&mut self.overlay.cookies, (dir, cookie), only_here);
        if self.complete() || self.entry(dir, name)?.is_some_and(|entry| entry.cookie == cookie) {
            put_or_forget(&mut self.overlay.entries, (dir, Bytes::copy_from_slice(name)), only_here);
        }
        Ok(())
    }

    pub(crate) fn put_target(&mut self, inode: u64, target: Option<&Bytes>) {
        self.note(inode);
        match target {
            Some(target) => drop(self.overlay.targets.insert(inode, Some(Bytes::copy_from_slice(target)))),
            None => put_or_forget(&mut self.overlay.targets, inode, inode > self.below),
        }
    }

    // Runs of data --------------------------------------------------------------------------------------------------------

    /// Newer data wins: by order of application normally, by position while a copy is mended by resync.
    pub(crate) fn put_extent(&mut self, inode: u64, new: StoredExtent) -> Result<(), ViewError> {
        if new.len == 0 {
            return Ok(());
        }
        // No run reaches past the size, so data appended there covers nothing.
        let appended = self.complete() && self.inode(inode)?.is_some_and(|row| row.size <= new.offset);
        let existing = if appended { Vec::new() } else { self.extents_in(inode, new.offset, new.end())? };
        let edit = match (existing.is_empty(), self.complete()) {
            (true, _) => Edit { remove: Vec::new(), put: vec![new] },
            (false, true) => Edit::overlay(&existing, new),
            (false, false) => Edit::underlay(&existing, new),
        };
        self.edit(inode, &edit);
        Ok(())
    }

    fn truncate(&mut self, inode: u64, size: u64, position: Position) -> Result<(), ViewError> {
        let mut existing = self.extents_after(inode, size)?.collect::<Result<Vec<_>, _>>()?;
        if !self.complete() {
            existing.retain(|extent| extent.position < position);
        }
        if planted(Bug::TruncateKeepsTail) {
            return Ok(());
        }
        self.edit(inode, &Edit::truncate(&existing, size));
        Ok(())
    }

    pub(crate) fn edit(&mut self, inode: u64, edit: &Edit) {
        edit.remove.iter().for_each(|extent| self.drop_run(inode, extent));
        for extent in &edit.put {
            self.note(inode);
            self.count_live(extent.place.segment, extent.len as i64);
            self.overlay.runs.insert((inode, extent.end()), Some(Run::of(extent)));
        }
    }

    fn drop_run(&mut self, inode: u64, extent: &StoredExtent) {
        self.count_live(extent.place.segment, -(extent.len as i64));
        put_or_forget(&mut self.overlay.runs, (inode, extent.end()), inode > self.below);
    }

    fn count_live(&mut self, segment: SegmentId, bytes: i64) {
        let live = self.segments.entry(segment).or_default();
        *live = live.checked_add_signed(bytes).expect("a segment has no less than zero live bytes");
        let live = *live;
        if live == 0 {
            self.segments.remove(&segment);
        }
        self.overlay.segments.insert(segment, (live > 0).then_some(live));
    }

    /// Takes up to `limit` runs of removed files out. True when there may be more.
    pub fn reclaim(&mut self, limit: usize) -> Result<bool, ViewError> {
        let Some(&inode) = self.reclaim.first() else { return Ok(false) };
        // A replay after a resync may have put the file again; its removal queues it once more.
        let gone = self.inode(inode)?.is_none();
        let runs: Vec<StoredExtent> = match gone {
            true => self.extents_after(inode, 0)?.take(limit).collect::<Result<_, _>>()?,
            false => Vec::new(),
        };
        runs.iter().for_each(|extent| self.drop_run(inode, extent));
        if runs.len() < limit {
            self.reclaim.remove(&inode);
            self.overlay.reclaim.insert(inode, None);
        }
        Ok(!self.reclaim.is_empty())
    }

    /// Points runs at copies of their data (compaction, repair). Local: replicas differ in places only.
    pub fn relocate(&mut self, moves: &[Move]) -> Result<(), ViewError> {
        for Move { inode, extent, to } in moves {
            for old in self.extents_in(*inode, extent.offset, extent.end())? {
                let same = old.position == extent.position && old.place == extent.place;
                let Some(part) = old.part(extent.offset..extent.end()).filter(|_| same) else { continue };
                let mut edit = Edit { remove: vec![old], put: vec![StoredExtent { place: *to, ..part }] };
                edit.put.extend(old.outside(extent.offset..extent.end()));
                self.edit(*inode, &edit);
            }
        }
        Ok(())
    }

    fn note(&mut self, inode: u64) {
        self.now.inode_max = self.now.inode_max.max(inode);
    }
}

fn stored(extent: &Extent, position: Position, place: Place) -> StoredExtent {
    StoredExtent { offset: extent.offset, len: extent.len, position, place, payload_offset: extent.payload_offset }
}

/// Data bytes that a row answers for; a directory's `used` counts entries.
pub(crate) fn data_of(row: &InodeRow) -> u64 {
    if row.kind == FileKind::Regular { row.used } else { 0 }
}

/// A removal must be remembered over lower layers that may hold the row, otherwise it can be forgotten at once.
fn put_or_forget<K: Ord, V>(rows: &mut std::collections::BTreeMap<K, Option<V>>, key: K, only_here: bool) {
    if only_here {
        rows.remove(&key);
    } else {
        rows.insert(key, None);
    }
}
