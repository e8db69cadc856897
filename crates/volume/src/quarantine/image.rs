//! What the files would be, had the records that were set aside stayed. Only what the records themselves say: of an older file
//! that they change in part, the other bytes are known to be "as before", and no more.

use super::TailRecord;
use crate::extents::Edit;
use crate::place::{Place, StoredExtent};
use bytes::Bytes;
use mainstay_protocol::record::Change;
use mainstay_protocol::{FileId, FileKind, InodeRow, Position, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Runs and names kept in memory, about 100 bytes each.
const ITEMS_MAX: usize = 2_000_000;
/// Deeper directories are shown from there on.
const DEPTH_MAX: usize = 256;

/// Names from the volume's root down; empty is the root itself.
pub type Path = Vec<Bytes>;

/// As people read it: what is not printable is escaped, so that a name cannot play tricks with a terminal.
pub fn path_text(path: &[Bytes]) -> String {
    let name = |name: &Bytes| -> String {
        String::from_utf8_lossy(name)
            .chars()
            .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
            .collect()
    };
    format!("/{}", path.iter().map(name).collect::<Vec<_>>().join("/"))
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the tail holds more than {ITEMS_MAX} runs of data and names, which are not compared at once; `mainstay quarantine show` lists them page by page"
)]
pub struct TooLarge;

/// One inode that the tail touches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileImage {
    pub inode: u64,
    /// As the tail's last record has it; `None` where it says nothing of it.
    pub row: Option<InodeRow>,
    /// It did not exist before the tail.
    pub made: bool,
    pub removed: bool,
    /// Names that the tail gave it and did not take away again.
    pub names: BTreeSet<(u64, Bytes)>,
    pub target: Option<Bytes>,
    /// When the tail's first and last record about it were made.
    pub from: Timestamp,
    pub to: Timestamp,
    /// Smallest size it was cut to: what lies behind and is in no run is zeros, not the older file's.
    cut: u64,
    /// By their ends; no two share a byte.
    runs: BTreeMap<u64, StoredExtent>,
}

/// A part of a file's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// In the tail: of the record at `at` of the quarantine file.
    Tail {
        at: u64,
        extent: StoredExtent,
    },
    Zeros(Range<u64>),
    /// The file's older content, which the tail does not hold.
    Before(Range<u64>),
}

impl FileImage {
    fn new(inode: u64, time: Timestamp) -> FileImage {
        FileImage {
            inode,
            row: None,
            made: false,
            removed: false,
            names: BTreeSet::new(),
            target: None,
            from: time,
            to: time,
            cut: u64::MAX,
            runs: BTreeMap::new(),
        }
    }

    pub fn file(&self) -> Option<FileId> {
        self.row.as_ref().map(|row| row.file)
    }

    pub fn regular(&self) -> bool {
        self.row.as_ref().is_some_and(|row| row.kind == FileKind::Regular)
    }

    pub fn size(&self) -> u64 {
        self.row.as_ref().map_or(0, |row| row.size)
    }

    /// Bytes that the tail holds.
    pub fn tail_bytes(&self) -> u64 {
        self.runs.values().map(|run| u64::from(run.len)).sum()
    }

    fn overlapping(&self, range: &Range<u64>) -> Vec<StoredExtent> {
        let from = self.runs.range(range.start.saturating_add(1)..).map(|(_, run)| *run);
        from.take_while(|run| run.offset < range.end).collect()
    }

    fn edit(&mut self, edit: &Edit) {
        for run in &edit.remove {
            self.runs.remove(&run.end());
        }
        self.runs.extend(edit.put.iter().map(|run| (run.end(), *run)));
    }

    fn put(&mut self, run: StoredExtent) {
        let edit = Edit::overlay(&self.overlapping(&(run.offset..run.end())), run);
        self.edit(&edit);
    }

    fn truncate(&mut self, size: u64) {
        let edit = Edit::truncate(&self.overlapping(&(size..u64::MAX)), size);
        self.edit(&edit);
        self.cut = self.cut.min(size);
    }
}

/// See the module's text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    pub files: BTreeMap<u64, FileImage>,
    /// Names of before the tail that it takes away.
    pub unlinked: BTreeSet<(u64, Bytes)>,
    /// Whose name the tail's names are.
    named: BTreeMap<(u64, Bytes), u64>,
    /// Where the record of each position begins in the quarantine file.
    places: BTreeMap<u64, u64>,
    /// Data that is damaged in the quarantine.
    pub damaged: BTreeSet<u64>,
    items: usize,
}

impl Image {
    /// Records in their order.
    pub fn apply(&mut self, record: &TailRecord) -> Result<(), TooLarge> {
        if record.payload_bytes > 0 {
            self.places.insert(record.position, record.at);
        }
        if record.damage.is_some() {
            self.damaged.insert(record.position);
        }
        self.items += record.body.changes.len();
        if self.items > ITEMS_MAX {
            return Err(TooLarge);
        }
        record.body.changes.iter().for_each(|change| self.change(record, change));
        Ok(())
    }

    fn at(&mut self, inode: u64, time: Timestamp) -> &mut FileImage {
        let file = self.files.entry(inode).or_insert_with(|| FileImage::new(inode, time));
        file.to = time;
        file
    }

    fn change(&mut self, record: &TailRecord, change: &Change) {
        let time = record.time;
        match change {
            Change::PutInode(row) => {
                // A new inode has its record's position for a number.
                let made = row.file.inode == record.position;
                let file = self.at(row.file.inode, time);
                file.row = Some(row.clone());
                if made {
                    (file.made, file.cut) = (true, 0);
                }
            }
            Change::RemoveInode { file } => {
                let file = self.at(file.inode, time);
                file.removed = true;
                file.runs.clear();
            }
            Change::PutEntry { dir, name, target, .. } => {
                self.at(target.inode, time).names.insert((*dir, name.clone()));
                self.named.insert((*dir, name.clone()), target.inode);
            }
            Change::RemoveEntry { dir, name, .. } => self.unlink(*dir, name),
            Change::PutExtent { inode, extent } if extent.len > 0 => {
                let (position, place) = (Position(record.position), Place::default());
                let run =
                    StoredExtent { offset: extent.offset, len: extent.len, position, place, payload_offset: extent.payload_offset };
                self.at(*inode, time).put(run);
            }
            Change::PutExtent { .. } | Change::SetLossEpoch(_) => {}
            Change::Truncate { inode, size } => self.at(*inode, time).truncate(*size),
            Change::PutTarget { inode, target } => self.at(*inode, time).target = Some(target.clone()),
        }
    }

    fn unlink(&mut self, dir: u64, name: &Bytes) {
        let key = (dir, name.clone());
        match self.named.remove(&key).and_then(|inode| self.files.get_mut(&inode)) {
            Some(file) => file.names.remove(&key),
            None => self.unlinked.insert(key),
        };
    }

    /// Where the file would be: by the tail's own names, else where `before` says that it was.
    pub fn path(&self, inode: u64, before: &dyn Fn(u64) -> Option<Path>) -> Option<Path> {
        self.path_within(inode, before, DEPTH_MAX)
    }

    fn path_within(&self, inode: u64, before: &dyn Fn(u64) -> Option<Path>, depth: usize) -> Option<Path> {
        let named = self.files.get(&inode).and_then(|file| file.names.first());
        let Some((dir, name)) = named.filter(|_| depth > 0) else { return before(inode) };
        let mut path = self.path_within(*dir, before, depth - 1)?;
        path.push(name.clone());
        Some(path)
    }

    /// The whole content in file order.
    pub fn parts(&self, file: &FileImage) -> Vec<Part> {
        let (size, mut parts, mut from) = (file.size(), Vec::new(), 0);
        for run in file.runs.values().filter_map(|run| run.part(0..size)) {
            between(file, from..run.offset, &mut parts);
            from = run.end();
            // Every run came with its record, which has data.
            let at = self.places.get(&run.position.0).copied().unwrap_or_default();
            parts.push(Part::Tail { at, extent: run });
        }
        between(file, from..size, &mut parts);
        parts
    }
}

/// A hole of the tail: the older content up to where the file was cut, zeros behind.
fn between(file: &FileImage, hole: Range<u64>, parts: &mut Vec<Part>) {
    let before = hole.start..hole.end.min(file.cut);
    if before.start < before.end {
        parts.push(Part::Before(before));
    }
    let zeros = hole.start.max(file.cut)..hole.end;
    if zeros.start < zeros.end {
        parts.push(Part::Zeros(zeros));
    }
}
