//! Which members the primary counts its lease with (R13). They change by one at a time, and a primary goes over to the next ones when
//! its lease holds with them too: a node that has just joined must not cost it the lease, and until it has said that it went over
//! nobody may change them further.

use crate::core::{Core, Purpose};
use crate::primary::Primary;
use mainstay_cluster::Command;
use mainstay_protocol::marks::mark;
use mainstay_protocol::{NodeId, Now};
use std::collections::BTreeSet;

/// Members of the cluster under the number that they have there.
#[derive(Clone, Debug)]
pub struct Counted {
    pub number: u64,
    pub members: BTreeSet<NodeId>,
}

impl Counted {
    pub fn now(core: &Core) -> Counted {
        Counted { number: core.view.membership.number, members: core.voters() }
    }
}

impl Primary {
    pub fn follow_members(&mut self, core: &mut Core, now: Now) {
        if core.view.membership.number > self.counted.number {
            let next = Counted::now(core);
            if self.bears(core, &next, now) {
                mark("primary: goes over to other members");
                self.counted = next;
                self.measure_lease(core);
            }
        }
        let known = core.state().map_or(u64::MAX, |state| state.members.known);
        if self.counted.number > known {
            let (volume, epoch, members) = (core.me.volume, self.epoch, self.counted.number);
            let (node, incarnation, at) = (core.me.node, core.me.incarnation, now.wall);
            core.propose(Purpose::Members, now, Command::MembersKnown { volume, epoch, node, incarnation, members, at });
        }
    }

    /// For half a lease at least: promises of those that are counted anew may come late once more.
    fn bears(&self, core: &Core, next: &Counted, now: Now) -> bool {
        let until = self.lease_with(core, &next.members, &self.members(core));
        let bears =
            next.members == self.counted.members || until.is_some_and(|until| now.mono.after_ms(core.timing.lease_ms / 2) < until);
        if !bears {
            mark("primary: its lease does not hold with other members yet");
        }
        bears
    }
}
