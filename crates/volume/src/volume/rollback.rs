//! Going back to an earlier point of the history (R9).

use super::{RolledBack, Volume};
use crate::error::VolumeError;
use mainstay_protocol::LogPoint;

/// What [`Volume::keep_tail`] has copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptTail {
    pub records: u64,
    pub file: String,
}

impl Volume {
    /// Drops every record behind `to`, after copying them into a quarantine file. Blocks. `to` must be in this copy's history,
    /// at or above the view's base (which is committed, so nothing that must stay is lost), and above a checkpoint that is
    /// being written.
    pub fn roll_back(&mut self, to: LogPoint, label: &str) -> Result<RolledBack, VolumeError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let from = self.last();
        if self.walking() {
            return Err(VolumeError::Incomplete);
        }
        if self.point(to.position) != Some(to) {
            return Err(VolumeError::NotInHistory { to });
        }
        let base = self.view.writing().unwrap_or(self.view.base().point);
        if to.position < base.position {
            return Err(VolumeError::BelowBase { to, base });
        }
        if to == from {
            return Ok(RolledBack { from, to, records: 0, bytes: 0, file: None });
        }
        // Refused before anything is done: a half-made roll-back would stop the volume.
        if !self.log.can_cut() {
            return Err(match self.log.segments.pressed() {
                true => VolumeError::NoSpace("no prepared segment to go on in"),
                false => VolumeError::Busy("a segment is being prepared"),
            });
        }
        let disk = self.disk.clone();
        let kept = self.log.quarantine(&*disk, to, label).map_err(no_room)?;
        self.log.cut(&*disk, to).and_then(|()| self.apply_again(to)).inspect_err(|error| self.fail(error.clone()))?;
        self.upkeep.forget_frozen(&self.view);
        self.upkeep.quarantined_bytes += kept.bytes;
        self.reported = self.reported.min(to.position);
        Ok(RolledBack { from, to, records: kept.records, bytes: kept.bytes, file: Some(kept.file) })
    }

    /// Copies the records behind `to` into a quarantine file, and takes none of them back: for a copy that has to be set aside whole.
    /// Blocks. None when the log does not reach back that far any more, or when an earlier boot has done it.
    pub fn keep_tail(&mut self, to: LogPoint, label: &str) -> Result<Option<KeptTail>, VolumeError> {
        let retained = self.log.log_start() <= to.position.next() && to.position < self.last().position;
        if !retained || self.point(to.position) != Some(to) || self.log.has_quarantine(&*self.disk, to, label)? {
            return Ok(None);
        }
        let kept = self.log.quarantine(&*self.disk, to, label).map_err(no_room)?;
        self.upkeep.quarantined_bytes += kept.bytes;
        Ok(Some(KeptTail { records: kept.records, file: kept.file }))
    }

    /// Brings the view to the log's new end.
    fn apply_again(&mut self, to: LogPoint) -> Result<(), VolumeError> {
        let view = &mut self.view;
        let stands = view.rewind(to.position).map_err(|error| VolumeError::View(error.to_string()))?;
        self.log.each_record(&*self.disk, stands.position, to.position, &mut |record, place| {
            view.apply(&record.header, &record.body()?, place).map_err(|error| VolumeError::View(error.to_string()))
        })
    }
}

/// A full disk is no damage: it is tried again.
fn no_room(error: VolumeError) -> VolumeError {
    match error {
        VolumeError::Disk(error) if error.is_full() => VolumeError::NoSpace("no room for the quarantine file"),
        other => other,
    }
}
