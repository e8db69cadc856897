//! A record as a sentence, for a person who decides what to keep.

use super::TailRecord;
use super::image::{Path, path_text};
use bytes::Bytes;
use mainstay_protocol::record::Change;
use mainstay_protocol::{FileKind, InodeRow, OpKind};
use std::collections::BTreeMap;

/// Where inodes are, as far as it is known.
#[derive(Clone, Debug, Default)]
pub struct Names {
    pub known: BTreeMap<u64, Path>,
}

impl Names {
    fn of(&self, inode: u64) -> String {
        self.known.get(&inode).map_or_else(|| format!("inode {inode} (path not known)"), |path| path_text(path))
    }

    fn entry(&self, dir: u64, name: &Bytes) -> String {
        match self.known.get(&dir) {
            Some(path) => path_text(&[&path[..], std::slice::from_ref(name)].concat()),
            None => format!("{} in directory inode {dir}", path_text(std::slice::from_ref(name)).trim_start_matches('/')),
        }
    }

    /// What a record tells about names, for the records after it.
    pub fn learn(&mut self, record: &TailRecord) {
        for change in &record.body.changes {
            if let Change::PutEntry { dir, name, target, .. } = change
                && let Some(dir) = self.known.get(dir)
            {
                let path = [&dir[..], std::slice::from_ref(name)].concat();
                self.known.insert(target.inode, path);
            }
        }
    }
}

/// One line: what was done to which file.
pub fn sentence(record: &TailRecord, names: &Names) -> String {
    let added = changes(record, |change| match change {
        Change::PutEntry { dir, name, .. } => Some(names.entry(*dir, name)),
        _ => None,
    });
    let taken = changes(record, |change| match change {
        Change::RemoveEntry { dir, name, .. } => Some(names.entry(*dir, name)),
        _ => None,
    });
    let damaged = if record.damage.is_some() { "; ITS DATA IS DAMAGED" } else { "" };
    let said = match record.body.kind {
        OpKind::Format => "make the volume's root directory".into(),
        OpKind::EpochStart => format!("the primary of epoch {} begins", record.epoch),
        OpKind::Mark => "a mark of `mainstay verify`; changes nothing".into(),
        OpKind::Write => written(record, names),
        OpKind::SetAttributes => attributes(record, names),
        OpKind::Create => format!("create file {added}"),
        OpKind::MakeDirectory => format!("make directory {added}"),
        OpKind::MakeSymlink => format!("make symbolic link {added}"),
        OpKind::MakeNode => format!("make special file {added}"),
        OpKind::Remove => format!("remove {taken}"),
        OpKind::RemoveDirectory => format!("remove directory {taken}"),
        OpKind::Rename => format!("rename {taken} to {added}"),
        OpKind::Link => format!("link {added}"),
    };
    format!("{said}{damaged}")
}

fn changes(record: &TailRecord, text: impl Fn(&Change) -> Option<String>) -> String {
    record.body.changes.iter().filter_map(text).collect::<Vec<_>>().join(", ")
}

fn written(record: &TailRecord, names: &Names) -> String {
    changes(record, |change| match change {
        Change::PutExtent { inode, extent } => {
            Some(format!("write {} bytes at {} of {}", extent.len, extent.offset, names.of(*inode)))
        }
        _ => None,
    })
}

fn attributes(record: &TailRecord, names: &Names) -> String {
    changes(record, |change| match change {
        Change::PutInode(row) => Some(format!("set attributes of {}: {}", names.of(row.file.inode), row_text(row))),
        _ => None,
    })
}

fn row_text(row: &InodeRow) -> String {
    let size = if row.kind == FileKind::Regular { format!(", {} bytes", row.size) } else { String::new() };
    format!("mode {:04o}, owner {}:{}{size}", row.mode, row.uid, row.gid)
}
