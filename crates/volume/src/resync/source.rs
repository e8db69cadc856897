//! The source's side: stateless, everything is in the cursor.

use crate::place::StoredExtent;
use crate::view::{View, ViewError};
use mainstay_protocol::peer::{ChangeBatch, ChangedInode, ListItem, ListQuery, ResyncCursor, SetDigest};
use mainstay_protocol::record::COOKIE_BASE;
use mainstay_protocol::{Extent, FileKind, InodeRow};

/// Rows that one batch or list may look at, changed or not: bounds the time that clients wait for it.
const ROWS_MAX: usize = 4096;
/// Encoded bytes that a changed inode takes in a batch, without entries and runs.
const INODE_BYTES: usize = 160;
/// Encoded bytes of an entry besides its name, and of a run besides its data.
const ITEM_BYTES: usize = 32;
/// Of a batch without its data: well inside a frame's body.
const BODY_BYTES_MAX: usize = 1 << 20;

/// A batch, and where the data of its runs lies, in the order in which it follows the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    pub batch: ChangeBatch,
    pub data: Vec<StoredExtent>,
}

impl View {
    /// What changed after `cursor`, with at most about `bytes_max` bytes of file data, and of the rest. Looks at [`ROWS_MAX`] rows
    /// at most, fewer for a small budget, and always goes forward.
    pub fn changes(&self, cursor: ResyncCursor, bytes_max: usize) -> Result<Changes, ViewError> {
        let mut batch = Batch {
            view: self,
            cursor,
            next: ResyncCursor { within: 0, ..cursor },
            items: Vec::new(),
            data: Vec::new(),
            existing: SetDigest::default(),
            rows_left: ROWS_MAX.min(bytes_max / ITEM_BYTES + 1),
            body_left: BODY_BYTES_MAX.min(bytes_max),
            data_left: bytes_max,
        };
        let done = batch.walk()?;
        let (at, inodes_total) = (self.point().position, self.inodes());
        let Batch { items, next, existing, data, .. } = batch;
        Ok(Changes { batch: ChangeBatch { items, next, existing, done, at, inodes_total }, data })
    }

    /// What there is, for a target whose digest differs. True: the list goes to its end.
    pub fn list(&self, query: ListQuery, items_max: usize) -> Result<(Vec<ListItem>, bool), ViewError> {
        let max = items_max.clamp(1, ROWS_MAX);
        match query {
            ListQuery::Inodes { after, to } => {
                page(self.inodes_after(after)?.take_while(|row| !matches!(row, Ok(row) if row.file.inode > to)), max, |row| {
                    ListItem::Inode(row.file)
                })
            }
            ListQuery::Entries { dir, after } => page(self.entries_after(dir, after)?, max, |entry| ListItem::Entry(entry.cookie)),
            ListQuery::Extents { inode, after } => page(self.extents_after(inode, after)?, max, |run| {
                ListItem::Extent(Extent { offset: run.offset, len: run.len, payload_offset: run.payload_offset }, run.position)
            }),
        }
    }
}

/// The first `max` rows as items, and whether those are all.
fn page<T>(
    rows: impl Iterator<Item = Result<T, ViewError>>,
    max: usize,
    item: impl Fn(T) -> ListItem,
) -> Result<(Vec<ListItem>, bool), ViewError> {
    let mut items = rows.take(max + 1).map(|row| row.map(&item)).collect::<Result<Vec<_>, _>>()?;
    let done = items.len() <= max;
    items.truncate(max);
    Ok((items, done))
}

struct Batch<'a> {
    view: &'a View,
    cursor: ResyncCursor,
    next: ResyncCursor,
    items: Vec<ChangedInode>,
    data: Vec<StoredExtent>,
    existing: SetDigest,
    rows_left: usize,
    body_left: usize,
    data_left: usize,
}

impl Batch<'_> {
    /// True when the walk is at its end: inodes above the base are made by records that the target applies anyway.
    fn walk(&mut self) -> Result<bool, ViewError> {
        let view = self.view;
        let last = self.cursor.base.position.0;
        for row in view.inodes_after(self.cursor.inode)? {
            let row = row?;
            if row.file.inode > last {
                break;
            }
            if self.full() {
                self.next.inode = row.file.inode - 1;
                return Ok(false);
            }
            self.rows_left = self.rows_left.saturating_sub(1);
            if row.changed_at > self.cursor.since && !self.part(&row)? {
                return Ok(false);
            }
            self.existing.add(&[row.file.inode, row.file.generation]);
            self.next.inode = row.file.inode;
        }
        self.next.inode = self.next.inode.max(last);
        Ok(true)
    }

    fn full(&self) -> bool {
        self.rows_left == 0 || self.body_left == 0 || self.data_left == 0
    }

    /// One changed inode, as far as there is room. False when there is more of it: the cursor then says where.
    fn part(&mut self, row: &InodeRow) -> Result<bool, ViewError> {
        let inode = row.file.inode;
        let continues = self.cursor.within > 0 && inode == self.cursor.inode + 1;
        let within = if continues { self.cursor.within } else { 0 };
        self.spend(INODE_BYTES, 0);
        let mut item = ChangedInode {
            row: row.clone(),
            target: None,
            entries: Vec::new(),
            extents: Vec::new(),
            whole: Some(SetDigest::default()),
        };
        let stopped = match row.kind {
            FileKind::Directory => self.entries(&mut item, within)?,
            FileKind::Regular => self.extents(&mut item, within)?,
            FileKind::Symlink => {
                item.target = self.view.target(inode)?;
                None
            }
            _ => None,
        };
        self.items.push(item);
        if let Some(within) = stopped {
            (self.next.inode, self.next.within) = (inode - 1, within);
        }
        Ok(stopped.is_none())
    }

    /// Entries after the cookie `within`: newer ones are sent, all are counted. Where it stopped, if it did.
    fn entries(&mut self, item: &mut ChangedInode, within: u64) -> Result<Option<u64>, ViewError> {
        let view = self.view;
        let mut at = within;
        for entry in view.entries_after(item.row.file.inode, within)? {
            let entry = entry?;
            if self.full() && at > within {
                return Ok(Some(at));
            }
            at = entry.cookie;
            self.spend(0, 0);
            item.whole.get_or_insert_default().add(&[entry.cookie]);
            if entry.cookie > self.cursor.since.0 + COOKIE_BASE {
                self.spend(ITEM_BYTES + entry.name.len(), 0);
                item.entries.push((entry.name, entry.file, entry.cookie));
            }
        }
        Ok(None)
    }

    /// Runs that end after `within`, in the same way.
    fn extents(&mut self, item: &mut ChangedInode, within: u64) -> Result<Option<u64>, ViewError> {
        let view = self.view;
        let mut at = within;
        for run in view.extents_after(item.row.file.inode, within)? {
            let run = run?;
            if self.full() && at > within {
                return Ok(Some(at));
            }
            at = run.end();
            self.spend(0, 0);
            item.whole.get_or_insert_default().add(&[run.offset, run.len as u64, run.position.0]);
            if run.position > self.cursor.since {
                self.spend(ITEM_BYTES, run.len as usize);
                let extent = Extent { offset: run.offset, len: run.len, payload_offset: run.payload_offset };
                item.extents.push((extent, run.position));
                self.data.push(run);
            }
        }
        Ok(None)
    }

    fn spend(&mut self, body: usize, data: usize) {
        self.rows_left = self.rows_left.saturating_sub(1);
        self.body_left = self.body_left.saturating_sub(body);
        self.data_left = self.data_left.saturating_sub(data);
    }
}
