//! What a node tells of itself and of the clock, whatever its role: that it leaves in order, and that a maintenance runs over.

use crate::core::{Core, Purpose};
use mainstay_cluster::{Command, MaintenanceState, StopCause};
use mainstay_protocol::marks::mark;
use mainstay_protocol::planted::{Bug, planted};
use mainstay_protocol::{Mono, Now};

#[derive(Debug, Default)]
pub struct Presence {
    stop: Option<(StopCause, Mono)>,
}

impl Presence {
    pub fn stop(&mut self, cause: StopCause, now: Mono) {
        self.stop.get_or_insert((cause, now));
    }

    pub fn poll(&mut self, core: &mut Core, now: Now) {
        match self.stop {
            Some((cause, _)) if !left(core) => say_leaving(core, cause, now),
            Some(_) => {}
            None => say_overdue(core, now),
        }
    }

    /// The cluster knows that this boot leaves in order, or did not hear it in half a lease: nobody waits longer for that, least of
    /// all a machine that is shutting down.
    pub fn told(&self, core: &Core, now: Mono) -> bool {
        let Some((_, since)) = self.stop else { return true };
        let waited = now.ms_since(since) >= core.timing.shrink_ms;
        if waited && !left(core) {
            mark("presence: leaves without being heard");
        }
        left(core) || waited
    }
}

fn left(core: &Core) -> bool {
    core.view.nodes.get(&core.me.node).is_some_and(|node| node.incarnation == core.me.incarnation && node.left.is_some())
}

fn say_leaving(core: &mut Core, cause: StopCause, now: Now) {
    let known = core.view.nodes.get(&core.me.node).map(|node| node.incarnation);
    // A boot that the cluster does not know of has nothing to leave.
    if known == Some(core.me.incarnation) {
        let command = Command::Leaving { node: core.me.node, incarnation: core.me.incarnation, cause, at: now.wall };
        core.propose(Purpose::Leaving, now, command);
    }
}

/// Every node says it, because any of them may be the one that is left; it is on record once (R10).
fn say_overdue(core: &mut Core, now: Now) {
    let over = core.view.maintenance.iter().find(|(_, maintenance)| {
        maintenance.state == MaintenanceState::Active && !maintenance.overdue && now.wall >= maintenance.ends_at
    });
    if let Some(maintenance) = over.map(|(id, _)| *id).filter(|_| !planted(Bug::SilentOverrun)) {
        mark("presence: a maintenance is overdue");
        core.propose(Purpose::Overdue, now, Command::MaintenanceOverdue { maintenance, by: core.me.node, at: now.wall });
    }
}
