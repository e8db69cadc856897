//! Resync by change, where it meets the log: the data of what changed, and a log that begins anew behind it.

use super::reads::Purpose;
use super::{Hold, Volume, VolumeEvent};
use crate::error::VolumeError;
use crate::place::{Place, SegmentId};
use crate::segment::FragmentHeader;
use crate::view::{ResyncState, ViewError};
use bytes::Bytes;
use mainstay_protocol::LogPoint;
use mainstay_protocol::peer::{ChangeBatch, EpochStart, ListItem, ListQuery, ResyncCursor};
use mainstay_protocol::planted::{Bug, planted};

impl Volume {
    // ---- source ----------------------------------------------------------------------------------------------------------

    /// What changed after the cursor, with about `bytes_max` bytes of data: [`VolumeEvent::Changes`] with this ticket.
    pub fn changes(&mut self, cursor: ResyncCursor, bytes_max: usize) -> u64 {
        let changes = match self.check_usable().and_then(|()| self.view.changes(cursor, bytes_max).map_err(refused)) {
            Ok(changes) => changes,
            Err(error) => {
                let ticket = self.take_ticket();
                self.events.push_back(VolumeEvent::Changes { ticket, result: Err(error) });
                return ticket;
            }
        };
        let runs = changes.batch.items.iter().flat_map(|item| item.extents.iter().map(|_| item.row.file.inode));
        let extents: Vec<_> = runs.zip(changes.data).collect();
        self.read_stored(Purpose::Changes(changes.batch), &extents)
    }

    /// What there is, for a target whose digest differs.
    pub fn list(&self, query: ListQuery, items_max: usize) -> Result<(Vec<ListItem>, bool), VolumeError> {
        self.check_usable()?;
        self.view.list(query, items_max).map_err(refused)
    }

    // ---- target ----------------------------------------------------------------------------------------------------------

    /// While the walk goes on: its records are not this copy's history yet.
    pub(super) fn walking(&self) -> bool {
        matches!(self.view.resync(), Some(ResyncState::Walking { .. }))
    }

    /// Begins, or goes on with, a resync by change from a primary whose log is kept from `base` on.
    pub fn begin_resync(&mut self, base: LogPoint, lineage: Vec<EpochStart>) -> Result<ResyncCursor, VolumeError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let cursor = self.view.begin_resync(base, lineage).map_err(refused)?;
        self.freeze();
        Ok(cursor)
    }

    /// What to ask for next; after a crash, what the last checkpoint knew.
    pub fn resync_cursor(&self) -> Option<ResyncCursor> {
        self.view.resync_cursor()
    }

    /// Takes a batch that answers the request `from`, its data in `payload`. Returns the lists that are wanted.
    pub fn install(&mut self, from: ResyncCursor, batch: ChangeBatch, payload: Bytes) -> Result<Vec<ListQuery>, VolumeError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if self.resync_cursor() != Some(from) {
            return Ok(Vec::new());
        }
        let bytes: u64 = batch.items.iter().flat_map(|item| &item.extents).map(|(extent, _)| extent.len as u64).sum();
        if bytes != payload.len() as u64 {
            return Err(VolumeError::Resync(format!("{} bytes of data came where {bytes} belong", payload.len())));
        }
        // A batch may spread over more than one segment; the reserve is for this, too.
        let overhead: usize = batch.items.iter().map(|item| item.extents.len() * FragmentHeader::bytes_for(0)).sum();
        if !self.log.fragment_room(payload.len() + overhead + payload.len() / 1024) {
            return Err(match self.log.segments.pressed() {
                true => VolumeError::NoSpace("this replica's disk is full"),
                false => VolumeError::Busy("a segment is being prepared"),
            });
        }
        let places = self.store_fragments(&batch, payload)?;
        let lists = self.view.install(from, &batch, &places).map_err(|error| self.view_refused(error))?;
        self.upkeep.appended(bytes + batch.items.len() as u64);
        self.end_walk();
        Ok(lists)
    }

    fn store_fragments(&mut self, batch: &ChangeBatch, mut payload: Bytes) -> Result<Vec<Place>, VolumeError> {
        let mut places = Vec::new();
        for item in &batch.items {
            for (extent, position) in &item.extents {
                let header = FragmentHeader {
                    segment: SegmentId::default(),
                    volume: self.id,
                    position: *position,
                    inode: item.row.file.inode,
                    file_offset: extent.offset,
                    payload_start: extent.payload_offset,
                    len: extent.len,
                    table_crc: 0,
                };
                let data = payload.split_to(extent.len as usize);
                let place = self.log.append_fragment(header, data);
                places.push(place.map_err(|_| VolumeError::Busy("a segment is being prepared"))?);
            }
        }
        Ok(places)
    }

    /// Takes a list that was wanted. Returns further ones.
    pub fn install_list(&mut self, query: ListQuery, items: Vec<ListItem>, done: bool) -> Result<Vec<ListQuery>, VolumeError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let lists = self.view.install_list(query, &items, done).map_err(|error| self.view_refused(error))?;
        self.end_walk();
        Ok(lists)
    }

    /// After the last batch the view stands at the walk's base: the log begins anew there. Nothing behind it counts as durable
    /// until the view's file stands there, too.
    fn end_walk(&mut self) {
        let held = match self.hold {
            Some(hold) => hold.base == self.view.point(),
            None => self.view.point() == self.log.last(),
        };
        if self.walking() || held {
            if self.upkeep.checkpoint_due(&self.options, self.view.overlay_rows()) {
                self.freeze();
            }
            return;
        }
        let hold = Hold { durable: self.durable(), base: self.view.point() };
        self.hold = Some(hold).filter(|_| !planted(Bug::DurableDuringHold));
        self.log_continues();
    }

    /// Whether the log goes on where the view stands: after a walk it begins anew there, as soon as a segment is prepared.
    pub(super) fn log_continues(&mut self) -> bool {
        if self.view.point() == self.log.last() {
            return true;
        }
        let restarted = self.log.restart(self.view.point());
        if restarted {
            self.freeze();
        }
        restarted
    }

    /// After a walk no record is taken before the overlay is set aside at the new base exactly. Set aside later it would hold records
    /// that may be committed only once this copy is durable, which it is only once the overlay is written: neither would move.
    pub(super) fn base_set_aside(&mut self) -> bool {
        let Some(hold) = self.hold else { return true };
        let set_aside = |volume: &Volume| volume.upkeep.set_aside_at(hold.base);
        if set_aside(self) || (self.freeze() && set_aside(self)) {
            return true;
        }
        // A walk that found nothing new: the file stands at its end already.
        if self.view.frozen().is_none() {
            self.release_hold(self.view.base().point);
        }
        self.hold.is_none()
    }

    /// A checkpoint was written: if it is the walk's end, records are durable as usual from here on.
    pub(super) fn release_hold(&mut self, point: LogPoint) {
        if self.hold.is_some_and(|hold| hold.base == point) && !self.walking() {
            self.hold = None;
            self.report_durable();
        }
    }

    fn view_refused(&mut self, error: ViewError) -> VolumeError {
        match error {
            // The peer's part made no sense; nothing was changed.
            ViewError::Resync(problem) => VolumeError::Resync(problem),
            other => self.fail_view(&other),
        }
    }
}

fn refused(error: ViewError) -> VolumeError {
    match error {
        ViewError::Resync(problem) => VolumeError::Resync(problem),
        other => VolumeError::View(other.to_string()),
    }
}
