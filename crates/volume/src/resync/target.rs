//! The target's side.

use super::{Pending, Walk, entries_digest, epoch_at, extents_digest, inodes_digest};
use crate::extents::Edit;
use crate::place::{Place, StoredExtent};
use crate::view::{ResyncState, View, ViewError};
use mainstay_protocol::limits::PAYLOAD_BYTES_MAX;
use mainstay_protocol::peer::{ChangeBatch, ChangedInode, EpochStart, ListItem, ListQuery, ResyncCursor};
use mainstay_protocol::planted::{Bug, planted};
use mainstay_protocol::record::COOKIE_BASE;
use mainstay_protocol::{FileKind, LogPoint, Position};
use std::collections::BTreeSet;

/// A run that the source has: where it starts, ends, and who wrote it.
type Listed = (u64, u64, Position);

/// What stays of a run when the page from `after` to `end` lists these runs of its record: what the page does not speak of, and
/// what it lists; in pieces as long as they can be.
fn kept_parts(run: &StoredExtent, listed: &[&Listed], after: u64, end: u64) -> Vec<StoredExtent> {
    let mut kept: Vec<(u64, u64)> = Vec::new();
    let said = listed.iter().map(|(start, end, _)| (after.max(*start), *end));
    for (start, end) in std::iter::once((0, after)).chain(said).chain(std::iter::once((end, u64::MAX))) {
        match kept.last_mut() {
            Some(last) if last.1 >= start => last.1 = last.1.max(end),
            _ => kept.push((start, end)),
        }
    }
    kept.into_iter().filter_map(|(start, end)| run.part(start..end)).collect()
}

fn refuse<T>(what: impl Into<String>) -> Result<T, ViewError> {
    Err(ViewError::Resync(what.into()))
}

impl View {
    /// Starts, or goes on with, a walk of a source whose log is kept from `base` on and whose history `lineage` tells. From
    /// here until [`View::complete`] the rows are no prefix of anything.
    pub fn begin_resync(&mut self, base: LogPoint, lineage: Vec<EpochStart>) -> Result<ResyncCursor, ViewError> {
        let since = self.since(&lineage);
        if let Some(ResyncState::Walking { cursor, .. }) = &self.now.resync
            && cursor.base == base
            && cursor.since == since
            && !planted(Bug::ResyncFromZero)
        {
            return Ok(*cursor);
        }
        let cursor = ResyncCursor { since, base, inode: 0, within: 0 };
        self.walk = Walk::default();
        self.now.resync = Some(ResyncState::Walking { cursor, lineage, at: Position(0) });
        Ok(cursor)
    }

    /// Up to where this copy holds everything of the history that `lineage` tells; zero when it holds something else as well,
    /// because a walk saw records that were lost since: then nothing in it can be taken for granted.
    fn since(&self, lineage: &[EpochStart]) -> Position {
        let (since, saw, epoch) = match &self.now.resync {
            None => (self.now.point.position, self.now.point.position, self.now.point.epoch),
            Some(ResyncState::Walking { cursor, lineage, at }) => (cursor.since, *at, epoch_at(lineage, *at)),
            Some(ResyncState::Replaying { until, epoch }) => (self.now.point.position, *until, *epoch),
        };
        let known = |position: Position| epoch_at(lineage, position);
        let own = epoch_at(&self.now.lineage, since) == known(since);
        if own && (saw == Position(0) || known(saw) == epoch) { since } else { Position(0) }
    }

    /// What to ask for next; `None` when no walk is under way. After a crash: what the last checkpoint knew.
    pub fn resync_cursor(&self) -> Option<ResyncCursor> {
        match &self.now.resync {
            Some(ResyncState::Walking { cursor, .. }) => Some(*cursor),
            _ => None,
        }
    }

    /// Takes a batch that answers the request `from`; `places` says where the data of its runs was put, in order. Lists that
    /// are wanted come back: the walk goes on when they are in. A batch that is late is ignored.
    ///
    /// # Errors
    /// [`ViewError::Resync`] when the batch makes no sense; nothing was changed then.
    pub fn install(&mut self, from: ResyncCursor, batch: &ChangeBatch, places: &[Place]) -> Result<Vec<ListQuery>, ViewError> {
        if self.resync_cursor() != Some(from) {
            return Ok(Vec::new());
        }
        check_batch(&from, batch, places)?;
        if let Some(ResyncState::Walking { at, .. }) = &mut self.now.resync {
            *at = batch.at.max(*at);
        }
        let mut places = places.iter();
        let mut lists = Vec::new();
        for item in &batch.items {
            let continues = from.within > 0 && item.row.file.inode - 1 == from.inode;
            self.install_inode(item, continues, &mut places)?;
            let after = if continues { from.within } else { 0 };
            let stopped = batch.next.within > 0 && item.row.file.inode - 1 == batch.next.inode;
            let to = if stopped { batch.next.within } else { u64::MAX };
            lists.extend(self.compare(item, after, to)?.map(|query| (query, to)));
        }
        if inodes_digest(self, from.inode, batch.next.inode)? != batch.existing && !planted(Bug::ResyncForgetsRemovals) {
            lists.push((ListQuery::Inodes { after: from.inode, to: batch.next.inode }, batch.next.inode));
        }
        if lists.is_empty() {
            self.go_on(batch.next, batch.done);
            return Ok(Vec::new());
        }
        let pending = Pending { next: batch.next, lists };
        let queries = pending.queries();
        self.walk.pending = Some(pending);
        Ok(queries)
    }

    fn install_inode(
        &mut self,
        item: &ChangedInode,
        continues: bool,
        places: &mut std::slice::Iter<'_, Place>,
    ) -> Result<(), ViewError> {
        let inode = item.row.file.inode;
        let mut old = self.inode(inode)?;
        if old.as_ref().is_some_and(|old| old.file != item.row.file || old.kind != item.row.kind) {
            self.remove_whole(inode)?;
            old = None;
        }
        // The first part's row stays until the log is applied (see the module's text).
        if !(continues && old.is_some()) {
            self.now.clock = self.now.clock.max(item.row.ctime);
            self.put_inode(item.row.clone(), old.as_ref());
        }
        if let Some(target) = &item.target {
            self.put_target(inode, Some(target));
        }
        for (name, file, cookie) in &item.entries {
            self.put_entry(inode, name, *file, *cookie)?;
        }
        for ((extent, position), place) in item.extents.iter().zip(places) {
            let (offset, len, payload_offset) = (extent.offset, extent.len, extent.payload_offset);
            self.put_extent(inode, StoredExtent { offset, len, position: *position, place: *place, payload_offset })?;
        }
        Ok(())
    }

    /// The list that is wanted when what is here, in the item's range, is not what the source has.
    fn compare(&self, item: &ChangedInode, after: u64, to: u64) -> Result<Option<ListQuery>, ViewError> {
        let inode = item.row.file.inode;
        let (query, have) = match item.row.kind {
            FileKind::Directory => (ListQuery::Entries { dir: inode, after }, entries_digest(self, inode, after, to)?),
            FileKind::Regular => (ListQuery::Extents { inode, after }, extents_digest(self, inode, after, to)?),
            _ => return Ok(None),
        };
        Ok(item.whole.filter(|whole| *whole != have).map(|_| query))
    }

    /// Takes a list. What the source does not have goes; further lists that are wanted come back.
    pub fn install_list(&mut self, query: ListQuery, items: &[ListItem], done: bool) -> Result<Vec<ListQuery>, ViewError> {
        let Some(pending) = &self.walk.pending else { return Ok(Vec::new()) };
        let Some(index) = pending.lists.iter().position(|(wanted, _)| *wanted == query) else { return Ok(Vec::new()) };
        let to = pending.lists[index].1;
        let (lacks, end) = match query {
            ListQuery::Inodes { after, .. } => self.keep_inodes(after, if done { Some(to) } else { None }, items)?,
            ListQuery::Entries { dir, after } => self.keep_entries(dir, (after, to), done, items)?,
            ListQuery::Extents { inode, after } => self.keep_extents(inode, (after, to), done, items)?,
        };
        if lacks {
            self.walk_anew();
            return Ok(Vec::new());
        }
        Ok(self.list_taken(index, done || end >= to, end))
    }

    /// The copy lacks something that it should have had since long: nothing in it can be taken for granted.
    fn walk_anew(&mut self) {
        self.walk = Walk::default();
        if let Some(ResyncState::Walking { cursor, .. }) = &mut self.now.resync {
            *cursor = ResyncCursor { since: Position(0), inode: 0, within: 0, ..*cursor };
        }
    }

    fn list_taken(&mut self, index: usize, whole: bool, end: u64) -> Vec<ListQuery> {
        let Some(pending) = &mut self.walk.pending else { return Vec::new() };
        if !whole {
            let query = &mut pending.lists[index].0;
            match query {
                ListQuery::Inodes { after, .. } | ListQuery::Entries { after, .. } | ListQuery::Extents { after, .. } => {
                    *after = end
                }
            }
            return vec![*query];
        }
        pending.lists.remove(index);
        if pending.lists.is_empty() {
            let next = pending.next;
            self.walk.pending = None;
            // Even after the last batch: what the lists showed may be newer than it, so one more has to come.
            self.go_on(next, false);
        }
        Vec::new()
    }

    fn go_on(&mut self, next: ResyncCursor, done: bool) {
        let Some(ResyncState::Walking { cursor, lineage, at }) = &mut self.now.resync else { return };
        *cursor = next;
        if done {
            let (base, until, epoch) = (next.base, *at, epoch_at(lineage, *at));
            self.now.lineage = std::mem::take(lineage);
            self.now.lineage.retain(|start| start.first <= base.position);
            self.now.point = base;
            self.now.resync = (until > base.position).then_some(ResyncState::Replaying { until, epoch });
        }
    }

    // What the source has and this copy has -------------------------------------------------------------------------------

    /// Removes the inodes that the page leaves out. Answers whether this copy lacks one, and where the page ends.
    fn keep_inodes(&mut self, after: u64, end: Option<u64>, items: &[ListItem]) -> Result<(bool, u64), ViewError> {
        let listed: BTreeSet<(u64, u64)> = items
            .iter()
            .filter_map(|item| if let ListItem::Inode(file) = item { Some((file.inode, file.generation)) } else { None })
            .collect();
        let end = end.unwrap_or_else(|| listed.last().map_or(after, |(inode, _)| *inode));
        let mut held = BTreeSet::new();
        for row in self.inodes_after(after)? {
            let file = row?.file;
            if file.inode > end {
                break;
            }
            held.insert((file.inode, file.generation));
        }
        for (inode, _) in held.difference(&listed) {
            self.remove_whole(*inode)?;
        }
        Ok((listed.iter().any(|file| !held.contains(file)), end))
    }

    fn keep_entries(&mut self, dir: u64, range: (u64, u64), done: bool, items: &[ListItem]) -> Result<(bool, u64), ViewError> {
        let listed: BTreeSet<u64> =
            items.iter().filter_map(|item| if let ListItem::Entry(cookie) = item { Some(*cookie) } else { None }).collect();
        let end = if done { u64::MAX } else { listed.last().copied().unwrap_or(range.0) };
        let held = self.entries_after(dir, range.0)?.take_while(|entry| !matches!(entry, Ok(entry) if entry.cookie > end));
        let held = held.collect::<Result<Vec<_>, _>>()?;
        for entry in held.iter().filter(|entry| !listed.contains(&entry.cookie)) {
            self.remove_entry(dir, &entry.name, entry.cookie)?;
        }
        // Entries newer than the row come with the log, those behind the part with the next part.
        let newest = self.inode(dir)?.map_or(0, |row| row.changed_at.0 + COOKIE_BASE).min(range.1);
        let held: BTreeSet<u64> = held.iter().map(|entry| entry.cookie).collect();
        Ok((listed.iter().any(|cookie| *cookie <= newest && !held.contains(cookie)), end))
    }

    fn keep_extents(&mut self, inode: u64, range: (u64, u64), done: bool, items: &[ListItem]) -> Result<(bool, u64), ViewError> {
        let listed: Vec<Listed> = items
            .iter()
            .filter_map(|item| match item {
                ListItem::Extent(extent, position) => {
                    Some((extent.offset, extent.offset.saturating_add(extent.len as u64), *position))
                }
                _ => None,
            })
            .collect();
        let end = if done { u64::MAX } else { listed.last().map_or(range.0, |(_, end, _)| *end) };
        let held = self.extents_in(inode, range.0, end)?;
        // Runs newer than the row come with the log, those behind the part with the next part; the others must be here.
        let newest = self.inode(inode)?.map_or(Position(0), |row| row.changed_at);
        let due = |(_, end, position): &Listed| *position <= newest && *end <= range.1;
        let bytes = |(start, end, _): &Listed| end.saturating_sub(range.0.max(*start));
        let mut lacks: u64 = listed.iter().filter(|run| due(run)).map(bytes).sum();
        for run in &held {
            let first = listed.partition_point(|(_, end, _)| *end <= run.offset);
            let over = listed[first..].iter().take_while(|(start, _, _)| *start < run.end());
            let same: Vec<&Listed> = over.filter(|(_, _, position)| *position == run.position).collect();
            let found = |listed: &&Listed| run.part(range.0.max(listed.0)..listed.1).map_or(0, |part| part.len as u64);
            lacks = lacks.saturating_sub(same.iter().filter(|run| due(run)).map(found).sum());
            let parts = kept_parts(run, &same, range.0, end);
            if parts[..] != [*run] {
                self.edit(inode, &Edit { remove: vec![*run], put: parts });
            }
        }
        Ok((lacks > 0, end))
    }

    /// An inode with everything that hangs on it.
    fn remove_whole(&mut self, inode: u64) -> Result<(), ViewError> {
        let entries = self.entries_after(inode, 0)?.collect::<Result<Vec<_>, _>>()?;
        for entry in &entries {
            self.remove_entry(inode, &entry.name, entry.cookie)?;
        }
        self.remove_inode(inode)
    }
}

/// Whether a batch can be the answer to `from`.
fn check_batch(from: &ResyncCursor, batch: &ChangeBatch, places: &[Place]) -> Result<(), ViewError> {
    let next = &batch.next;
    if (next.since, next.base) != (from.since, from.base) || (next.inode, next.within) < (from.inode, 0) {
        return refuse("the batch's cursor does not follow the request's");
    }
    let runs = || batch.items.iter().flat_map(|item| &item.extents);
    if runs().count() != places.len() {
        return refuse("the batch's data does not fit its runs");
    }
    let fits = |offset: u64, len: u32| len as usize <= PAYLOAD_BYTES_MAX && offset.checked_add(len as u64).is_some();
    if !runs().all(|(extent, _)| fits(extent.offset, extent.len) && extent.payload_offset.checked_add(extent.len).is_some()) {
        return refuse("a run of the batch is not possible");
    }
    let last = next.inode.saturating_add(u64::from(next.within > 0));
    let within = |item: &ChangedInode| item.row.file.inode > from.inode && item.row.file.inode <= last;
    if !batch.items.iter().all(within) {
        return refuse("an inode of the batch is outside its range");
    }
    Ok(())
}
