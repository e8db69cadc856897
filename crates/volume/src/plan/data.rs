//! READ, WRITE, COMMIT.

use super::access::{READ, WRITE, is_root, without_set_id};
use super::{PlannedRead, Planner, Step, Steps, Stop, attributes, wcc};
use crate::extents::{data_bytes, read_plan};
use bytes::Bytes;
use mainstay_protocol::file::{FileOk, WriteVerifier};
use mainstay_protocol::limits::{FILE_BYTES_MAX, PAYLOAD_BYTES_MAX};
use mainstay_protocol::record::Change;
use mainstay_protocol::{ClusterId, Extent, FileError, FileId, FileKind, InodeRow, OpKind, Position, Stability, VolumeId};

/// One value per (cluster, volume, loss epoch): it changes exactly when something acknowledged may be missing (NFS.md, "write
/// verifier"), so it stays the same over a failover without loss.
pub fn write_verifier(cluster: ClusterId, volume: VolumeId, loss_epoch: u64) -> WriteVerifier {
    let mut words = [0; 28];
    words[..16].copy_from_slice(&cluster.0);
    words[16..20].copy_from_slice(&volume.0.to_le_bytes());
    words[20..].copy_from_slice(&loss_epoch.to_le_bytes());
    xxhash_rust::xxh3::xxh3_64(&words).to_le_bytes()
}

impl Planner<'_> {
    pub(super) fn read(&mut self, file: FileId, offset: u64, count: u32) -> Steps {
        let row = self.file(file)?;
        need_data(&row)?;
        self.need_open_file(&row, READ)?;
        let count = (count.min(PAYLOAD_BYTES_MAX as u32) as u64).min(row.size.saturating_sub(offset)) as u32;
        let pieces = match count {
            0 => Vec::new(),
            _ => read_plan(&self.view.extents_in(file.inode, offset, offset + count as u64)?, offset, count),
        };
        let eof = offset.saturating_add(count as u64) >= row.size;
        Ok(Step::Read(PlannedRead { file, pieces, count, eof, attributes: attributes(&row), at: self.seen }))
    }

    pub(super) fn write(&mut self, file: FileId, offset: u64, data: &Bytes, stability: Stability) -> Steps {
        let old = self.file(file)?;
        need_data(&old)?;
        self.need_open_file(&old, WRITE)?;
        let Some(end) = offset.checked_add(data.len() as u64).filter(|end| *end <= FILE_BYTES_MAX) else {
            return Err(FileError::TooLarge.into());
        };
        if data.len() > PAYLOAD_BYTES_MAX {
            return Err(FileError::Invalid.into());
        }
        if data.is_empty() {
            return Ok(Step::Reply(self.written(0, Stability::FileSync, &old, &old)));
        }
        self.need_space(data.len() as u64)?;
        let new = self.row_after_write(&old, offset, end)?;
        let extent = Extent { offset, len: data.len() as u32, payload_offset: 0 };
        self.changes.push(Change::PutExtent { inode: file.inode, extent });
        self.put(new.clone());
        let stable = stability != Stability::Unstable;
        let answered = if stable { Stability::FileSync } else { Stability::Unstable };
        let ok = self.written(data.len() as u32, answered, &old, &new);
        Ok(Step::Record { kind: OpKind::Write, payload: data.clone(), stable, ok })
    }

    fn row_after_write(&self, old: &InodeRow, offset: u64, end: u64) -> Result<InodeRow, Stop> {
        let mut new = self.changed_directory(old);
        let covered = match offset < old.size && old.used > 0 {
            true => data_bytes(&self.view.extents_in(old.file.inode, offset, end)?, offset, end),
            false => 0,
        };
        new.used = old.used.saturating_sub(covered) + (end - offset);
        new.size = old.size.max(end);
        if !is_root(self.caller) {
            new.mode = without_set_id(new.mode);
        }
        Ok(new)
    }

    fn written(&self, count: u32, stability: Stability, old: &InodeRow, new: &InodeRow) -> FileOk {
        FileOk::Written { count, stability, file: wcc(old, new), verifier: self.verifier() }
    }

    /// Everything written so far is in records up to the file's newest: that one durable makes the answer true.
    pub(super) fn commit(&mut self, file: FileId) -> Steps {
        let row = self.file(file)?;
        need_data(&row)?;
        self.need_open_file(&row, WRITE)?;
        debug_assert!(self.seen > Position(0));
        Ok(Step::Reply(FileOk::Committed { file: wcc(&row, &row), verifier: self.verifier() }))
    }

    fn verifier(&self) -> WriteVerifier {
        write_verifier(self.context.cluster, self.context.volume, self.view.loss_epoch())
    }
}

fn need_data(row: &InodeRow) -> Result<(), Stop> {
    match row.kind {
        FileKind::Regular => Ok(()),
        FileKind::Directory => Err(FileError::IsDirectory.into()),
        _ => Err(FileError::Invalid.into()),
    }
}
