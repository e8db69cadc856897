//! People who set policies and holds, and the second person that what is laxer needs.

use super::operators::OPERATOR_TICKET;
use super::{VOLUME, World, person};
use crate::queue::{SECOND, Time};
use crate::scenario::Approvals;
use crate::trace::Trace;
use mainstay_cluster::{ChangeState, ClusterState, Command, Policy, VolumeState, VolumeWish};
use mainstay_protocol::NodeId;

/// A change that was decided on is looked at again after this.
const AGAIN: Time = 10 * SECOND;

impl World {
    /// What is looked at beside proposals: changes that wait, a breaker that opened because roles changed often, a plan that somebody denied.
    pub(super) fn tend_policies(&mut self, through: NodeId, view: &ClusterState) {
        if self.operators.approvals == Approvals::None {
            return;
        }
        self.decide_change(through, view);
        let Some(volume) = view.volumes.get(&VOLUME) else { return };
        if volume.breaker.too_many.is_some() && self.operators.rng.one_in(6) {
            self.reset_breaker("every one of these promotions was looked at");
        }
        let free = view.open_proposal(VOLUME).is_none() && !volume.in_sync.is_empty();
        let stands = free && !volume.rules.denied.is_empty();
        let unlikely = if self.healing { 4 } else { 40 };
        if stands && !self.primary_is_up(volume) && self.operators.rng.one_in(unlikely) {
            let members: Vec<NodeId> = volume.in_sync.keys().copied().collect();
            let candidate = *self.operators.rng.pick(&members);
            self.ask_to_promote(candidate);
        }
    }

    fn primary_is_up(&self, volume: &VolumeState) -> bool {
        volume.primary().is_some_and(|node| self.nodes[&node].process.is_some())
    }

    /// A second person; erratic ones say no, or are the first person.
    fn decide_change(&mut self, through: NodeId, view: &ClusterState) {
        let pending = view.control.changes.iter().find(|(_, change)| change.state == ChangeState::Pending);
        let Some((id, change)) = pending.map(|(id, change)| (*id, change.clone())) else { return };
        let now = self.queue.now();
        let due = match self.operators.changes.get(&id) {
            Some(due) => *due,
            None => {
                let Some(patience) = self.operators.patience() else { return };
                self.operators.changes.insert(id, now + patience);
                return;
            }
        };
        if now < due {
            return;
        }
        self.operators.changes.insert(id, now + AGAIN);
        let at = self.wall_of(through);
        let erratic = matches!(self.operators.approvals, Approvals::Erratic(..));
        let (digest, other) = (change.digest, mainstay_cluster::Digest::of_value("another change", &id));
        let command = match self.operators.rng.below(10) {
            0 if erratic => Command::DenyChange { change: id, reason: "not convinced".into(), actor: person("bert"), at },
            1 | 3 if erratic => Command::ApproveChange { change: id, digest, actor: change.asked_by, at },
            2 if erratic => Command::ApproveChange { change: id, digest: other, actor: person("bert"), at },
            _ => Command::ApproveChange { change: id, digest, actor: person("bert"), at },
        };
        self.trace(Trace::Brief, || format!("{} decides on {id} through {through}", command.actor()));
        self.propose(through, OPERATOR_TICKET, command);
    }

    pub(super) fn ask_to_set(&mut self, wish: VolumeWish) {
        let Some(through) = self.anybody() else { return };
        let (at, reason) = (self.wall_of(through), "as was agreed".to_string());
        self.propose(
            through,
            OPERATOR_TICKET,
            Command::SetVolume { volume: VOLUME, wish, reason, actor: self.operators.olga(), at },
        );
    }

    pub(super) fn hold(&mut self, on: bool) {
        let Some(through) = self.anybody() else { return };
        let (at, reason) = (self.wall_of(through), "as was agreed".to_string());
        self.propose(through, OPERATOR_TICKET, Command::SetHold { on, reason, actor: self.operators.olga(), at });
    }

    /// While healing: what holds promotions is lifted, the usual way.
    pub(super) fn lift_holds(&mut self, view: &ClusterState) {
        let asked = view.control.changes.values().any(|change| change.state == ChangeState::Pending);
        if asked || !self.operators.rng.one_in(4) {
            return;
        }
        if view.control.hold.is_some() {
            self.hold(false);
        } else if view.volumes.get(&VOLUME).is_some_and(|volume| volume.policy == Policy::Hold) {
            self.ask_to_set(VolumeWish { policy: Some(Policy::Manual), ..VolumeWish::default() });
        }
    }
}
