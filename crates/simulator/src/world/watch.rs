//! Looking at a run event by event, for `mainstay drill replay --step`.

use super::{Event, World};

/// Sees the world and what is about to happen in it; false ends the run. It changes nothing, so that the trace is the same.
pub type Watch = Box<dyn FnMut(&World, &Event) -> bool>;

impl World {
    pub fn watch(&mut self, watch: Watch) {
        self.watch = Some(watch);
    }

    /// Whether the run was ended by whoever watched it: then nothing can be said about its end.
    pub fn was_stopped(&self) -> bool {
        self.stopped
    }

    /// Shows the event to whoever watches. False: the run is over, and the event does not happen.
    pub(super) fn shown(&mut self, event: &Event) -> bool {
        // Taken out while it looks: it borrows the world that owns it.
        let Some(mut watch) = self.watch.take() else { return true };
        self.stopped = !watch(self, event);
        self.watch = Some(watch);
        !self.stopped
    }
}
