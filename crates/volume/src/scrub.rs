//! Scrub: everything live is read again at a bounded rate, so that damage is found while the other replica can still repair
//! it. It walks the view in the order of inodes and offsets; what is written meanwhile behind the cursor was just written.

use crate::compact::Budget;
use crate::options::Options;
use crate::place::StoredExtent;
use crate::view::{View, ViewError};
use mainstay_protocol::{FileKind, Mono};

/// Data read at a time.
pub(crate) const SCRUB_BYTES: u64 = 1 << 20;
/// The first pass begins at most this long after opening: a restart is a moment when disks are suspect.
const FIRST_PASS_MS: u64 = 600_000;
/// Rows looked at per step, so that no step takes long.
const ROWS_MAX: usize = 512;

#[derive(Debug)]
pub(crate) struct Scrub {
    budget: Budget,
    off: bool,
    pause_ms: u64,
    /// Everything up to this inode, and this offset in the next one, was read in this pass.
    inode: u64,
    offset: u64,
    /// While a read is on its way.
    pub reading: bool,
    not_before: Option<Mono>,
    pub passes: u64,
    pub bytes: u64,
}

/// Extents to read, with the inode of each.
pub(crate) type Portion = Vec<(u64, StoredExtent)>;

impl Scrub {
    pub fn new(options: &Options) -> Scrub {
        Scrub {
            budget: Budget::new(options.scrub_bytes_per_s),
            off: options.scrub_bytes_per_s == 0,
            pause_ms: options.scrub_pause_ms,
            inode: 0,
            offset: 0,
            reading: false,
            not_before: None,
            passes: 0,
            bytes: 0,
        }
    }

    /// Starts the next pass at once.
    pub fn start_now(&mut self) {
        self.not_before = Some(Mono::ZERO);
    }

    /// What to read next, when it is time.
    pub fn next(&mut self, view: &View, now: Mono, elapsed_ms: u64) -> Result<Option<Portion>, ViewError> {
        self.budget.pass(elapsed_ms);
        let not_before = *self.not_before.get_or_insert(now.after_ms(self.pause_ms.min(FIRST_PASS_MS)));
        if self.off || self.reading || now < not_before || !self.budget.ready() {
            return Ok(None);
        }
        let portion = self.portion(view)?;
        let bytes: u64 = portion.iter().map(|(_, extent)| extent.len as u64).sum();
        self.budget.spend(bytes.max(4096));
        self.bytes += bytes;
        if portion.is_empty() && self.inode == u64::MAX {
            (self.inode, self.offset) = (0, 0);
            self.passes += 1;
            self.not_before = Some(now.after_ms(self.pause_ms));
        }
        self.reading = !portion.is_empty();
        Ok((!portion.is_empty()).then_some(portion))
    }

    /// Advances the cursor over up to a portion's worth of extents.
    fn portion(&mut self, view: &View) -> Result<Portion, ViewError> {
        let (mut portion, mut bytes, mut rows) = (Portion::new(), 0, 0);
        for row in view.inodes_after(self.inode)? {
            let row = row?;
            let inode = row.file.inode;
            if row.kind == FileKind::Regular {
                for extent in view.extents_after(inode, self.offset)? {
                    let extent = extent?;
                    self.offset = extent.end();
                    bytes += extent.len as u64;
                    rows += 1;
                    portion.push((inode, extent));
                    if bytes >= SCRUB_BYTES || rows >= ROWS_MAX {
                        return Ok(portion);
                    }
                }
            }
            (self.inode, self.offset) = (inode, 0);
            rows += 1;
            if rows >= ROWS_MAX {
                return Ok(portion);
            }
        }
        self.inode = u64::MAX;
        Ok(portion)
    }

    /// Time is worth nothing while a pass is paused.
    pub fn active(&self, now: Mono) -> bool {
        !self.off && self.not_before.is_none_or(|not_before| now >= not_before)
    }
}
