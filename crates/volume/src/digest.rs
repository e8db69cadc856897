//! One number for a replica's whole state, to compare replicas by (`mainstay verify`): over one checkpoint's snapshot, in
//! bounded steps, away from the volume's thread. Places are left out: they are each replica's own. File data is vouched for by
//! positions (equal histories, R1) and by the scrub.

use crate::place::ViewDigest;
use crate::view::tables::{Rows, Snapshot, decode_pair, decode_run};
use crate::view::{View, ViewError};
use mainstay_protocol::LogPoint;
use std::ops::Bound;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Members of different tables hash differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Inodes = 1,
    Entries = 2,
    Extents = 3,
    Targets = 4,
}

impl Stage {
    fn next(self) -> Option<Stage> {
        match self {
            Stage::Inodes => Some(Stage::Entries),
            Stage::Entries => Some(Stage::Extents),
            Stage::Extents => Some(Stage::Targets),
            Stage::Targets => None,
        }
    }
}

/// A digest being computed. Send: it runs on a background thread, as many steps at a time as that likes.
pub struct DigestJob {
    snapshot: Arc<Snapshot>,
    stage: Stage,
    after: Option<Vec<u8>>,
    /// The inode whose runs were looked at last, and whether it is there: removed files leave theirs behind for a while.
    owner: Option<(u64, bool)>,
    digest: ViewDigest,
}

impl std::fmt::Debug for DigestJob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DigestJob({}, {:?})", self.point(), self.stage)
    }
}

impl View {
    /// The digest of what the last checkpoint wrote, which stands at [`View::base`]; `None` while the copy is no prefix.
    pub fn digest_job(&self) -> Option<DigestJob> {
        let snapshot = self.snapshot();
        if snapshot.base.resync.is_some() {
            return None;
        }
        Some(DigestJob { snapshot, stage: Stage::Inodes, after: None, owner: None, digest: ViewDigest::default() })
    }
}

impl DigestJob {
    /// Where the state stands that is digested.
    pub fn point(&self) -> LogPoint {
        self.snapshot.base.point
    }

    /// Looks at up to `rows_max` rows; the digest when that was all.
    pub fn step(&mut self, rows_max: usize) -> Result<Option<ViewDigest>, ViewError> {
        let mut left = rows_max.max(1);
        while left > 0 {
            let seen = self.rows(left)?;
            left -= seen;
            if left > 0 {
                self.after = None;
                match self.stage.next() {
                    Some(next) => self.stage = next,
                    None => return Ok(Some(self.digest)),
                }
            }
        }
        Ok(None)
    }

    fn table(&self) -> &Rows {
        match self.stage {
            Stage::Inodes => &self.snapshot.inodes,
            Stage::Entries => &self.snapshot.entries,
            Stage::Extents => &self.snapshot.extents,
            Stage::Targets => &self.snapshot.targets,
        }
    }

    fn rows(&mut self, max: usize) -> Result<usize, ViewError> {
        let from = self.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let rows = self.table().range::<&[u8]>((from, Bound::Unbounded))?;
        let mut seen = 0;
        for row in rows.take(max) {
            let (key, value) = row?;
            self.member(key.value(), value.value())?;
            self.after = Some(key.value().to_vec());
            seen += 1;
        }
        Ok(seen)
    }

    fn member(&mut self, key: &[u8], value: &[u8]) -> Result<(), ViewError> {
        let mut bytes = key.to_vec();
        match self.stage {
            Stage::Inodes => self.digest.inodes += 1,
            Stage::Entries => self.digest.entries += 1,
            Stage::Targets => {}
            Stage::Extents => {
                let (inode, end) = decode_pair(key)?;
                if !self.exists(inode)? {
                    return Ok(());
                }
                let run = decode_run(end, value)?;
                self.digest.extents += 1;
                bytes.extend_from_slice(&run.len.to_le_bytes());
                bytes.extend_from_slice(&run.position.0.to_le_bytes());
            }
        }
        if self.stage != Stage::Extents {
            bytes.extend_from_slice(value);
        }
        self.digest.xor ^= xxh3_64_with_seed(&bytes, self.stage as u64);
        Ok(())
    }

    fn exists(&mut self, inode: u64) -> Result<bool, ViewError> {
        if let Some((owner, exists)) = self.owner
            && owner == inode
        {
            return Ok(exists);
        }
        let exists = self.snapshot.inodes.get(&inode.to_be_bytes()[..])?.is_some();
        self.owner = Some((inode, exists));
        Ok(exists)
    }
}
