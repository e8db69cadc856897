//! The script's actions.

use super::node::NodeState;
use super::{Event, World};
use crate::disk::{Crash, DiskFaults, lock};
use crate::network::{End, Quality};
use crate::queue::{MILLISECOND, SECOND, Time};
use crate::scenario::{A, Action, B};
use crate::timeline::MarkKind;
use crate::trace::Trace;
use mainstay_cluster::{StopCause, VolumeWish};
use mainstay_protocol::{Mono, NodeId};
use mainstay_replica::{Event as ReplicaEvent, ServeMode};

/// How long maintenance is meant to last when nobody says.
const HOUR: Time = 3_600 * SECOND;

impl World {
    pub(super) fn act(&mut self, action: Action) {
        self.trace(Trace::Brief, || format!("-- {action:?}"));
        match action {
            Action::Crash(node, crash) => self.crash(node, crash),
            Action::CrashPrimary(crash) => {
                if let Some(node) = self.serving() {
                    self.crash(node, crash);
                }
            }
            Action::StopPrimary => {
                if let Some(node) = self.serving() {
                    self.stop(node);
                }
            }
            Action::Start(node) => self.start(node),
            Action::Stop(node) => self.stop(node),
            Action::Pause(node) => self.pause(node),
            Action::Suspend(node) => self.suspend(node),
            Action::Resume(node) => self.resume(node),
            Action::Cut(from, to) => self.cut(from, to),
            Action::CutBoth(a, b) => {
                self.cut(a, b);
                self.cut(b, a);
            }
            Action::CutClients(node) => self.cut_clients(node),
            Action::Isolate(node) => self.isolate(node),
            Action::HealLinks => self.heal_links(),
            Action::HealLink(a, b) => self.heal_link(a, b),
            Action::Quality(quality) => self.network.set_all(quality),
            Action::LinkQuality(a, b, quality) => {
                self.network.set_quality(End::Node(a), End::Node(b), quality);
                self.network.set_quality(End::Node(b), End::Node(a), quality);
            }
            Action::LinkQualityTo(from, to, quality) => self.network.set_quality(End::Node(from), End::Node(to), quality),
            Action::JumpWall(node, ms) => {
                self.checkers.p5.clocks_were_set = true;
                let now = self.queue.now();
                let node = self.node_mut(node);
                node.clock_set = now;
                node.clock.jump_wall(ms as i128 * MILLISECOND as i128)
            }
            Action::Drift(node, ppm) => self.drift(node, ppm),
            Action::Think(low, high) => self.set_think((low, high)),
            Action::DeposeLeader => {
                self.model.depose(Mono(self.queue.now()));
                self.schedule_coordination();
            }
            Action::StallCoordination(node, time) => self.model.stall(node, Mono(self.queue.now() + time)),
            Action::Remember(node) => {
                let node = self.node_mut(node);
                node.remembered = Some(node.promise);
            }
            Action::Restore(node) => self.restore(node),
            Action::Upgrade { node, next } => self.node_mut(node).upgraded = next,
            Action::Measure => self.measure(),
            Action::Note(text) => self.mark_operators(MarkKind::Note, || text),
            other => self.act_as_person(other),
        }
    }

    fn act_as_person(&mut self, action: Action) {
        match action {
            Action::BeginMaintenance(node) => self.begin_maintenance(node, HOUR, true),
            Action::PlanMaintenance { node, lasts, confirmed } => self.begin_maintenance(node, lasts, confirmed),
            Action::EndMaintenance(node) => self.end_maintenance(node),
            Action::ExtendMaintenance { node, lasts } => self.extend_maintenance(node, lasts),
            Action::Promote(node) => self.ask_to_promote(node),
            Action::GiveUp(node) => self.give_up_for(node),
            Action::Switchover(node) => self.switch_over(node),
            Action::SwitchoverAway => self.switch_away(),
            Action::CallOff => self.call_off(),
            Action::Join => self.join(),
            Action::AddReplica(node) => self.add_replica(node),
            Action::RemoveReplica { node, accept_single } => self.remove_replica(node, accept_single),
            Action::RemoveNode(node) => self.remove_node(node),
            Action::Steal => self.steal(),
            Action::Fence { node, as_primary } => self.fence_by_hand(node, as_primary),
            Action::ForceQuorum(node) => self.force_quorum(node),
            Action::Echo => self.echo(),
            Action::ResetBreaker => self.reset_breaker("somebody has looked at it"),
            Action::SetPolicy(policy) => self.ask_to_set(VolumeWish { policy: Some(policy), ..VolumeWish::default() }),
            Action::SetAlone(alone) => self.ask_to_set(VolumeWish { alone: Some(alone), ..VolumeWish::default() }),
            Action::Hold(on) => self.hold(on),
            Action::Approvals(approvals) => self.operators.approvals = approvals,
            other => self.act_on_disk(other),
        }
    }

    fn act_on_disk(&mut self, action: Action) {
        let now = self.queue.now();
        let node = match action {
            Action::DiskFaults(node, _) | Action::DiskHang(node, _) | Action::DiskFull(node, _) => node,
            Action::DiskSlow(node, factor) => {
                self.node_mut(node).slow = factor.max(1);
                return;
            }
            Action::DiskRoom(node) | Action::DiskNew(node) | Action::Rot(node) => node,
            _ => return,
        };
        let Some(platter) = self.nodes[&node].platter.clone() else { return };
        match action {
            Action::DiskFaults(_, faults) => {
                self.checkers.faulty_disks.insert(node);
                if faults.lie_ppm > 0 || faults.misdirect_ppm > 0 {
                    self.checkers.rotten_disks.insert(node);
                }
                lock(&platter).faults = faults;
            }
            Action::DiskHang(_, time) => self.node_mut(node).hang_until = now + time,
            Action::DiskFull(_, free) => {
                self.checkers.disk_was_full = true;
                let mut platter = lock(&platter);
                let (capacity, available) = platter.space();
                platter.capacity_bytes = capacity - available + free;
            }
            Action::DiskRoom(_) => lock(&platter).capacity_bytes = super::disk_bytes(&self.plan),
            // Nobody takes the disk out of a machine that runs.
            Action::DiskNew(_) if self.nodes[&node].state == NodeState::Off => {
                self.checkers.new_disks.insert(node);
                lock(&platter).wipe();
            }
            Action::Rot(_) => {
                self.checkers.rotten_disks.insert(node);
                let rotten = lock(&platter).rot(|name| name.ends_with(".seg"));
                self.trace(Trace::Brief, || format!("{node} rots at {rotten:?}"));
            }
            _ => {}
        }
    }

    /// Links between the file servers are what the sizing says, also when everything else is good.
    pub(super) fn set_sized_links(&mut self) {
        let Some(link) = self.plan.sized.map(|sized| sized.link) else { return };
        let delays = Quality { bytes_per_second: 0, ..link };
        self.network.set_all(delays);
        self.network.set_quality(End::Node(A), End::Node(B), link);
        self.network.set_quality(End::Node(B), End::Node(A), link);
    }

    fn node_mut(&mut self, id: NodeId) -> &mut super::Node {
        self.nodes.get_mut(&id).expect("nodes never vanish")
    }

    pub(super) fn serving(&self) -> Option<NodeId> {
        let serves = |node: &&super::Node| node.process.as_ref().is_some_and(|process| process.mode == ServeMode::ReadWrite);
        self.nodes.values().find(serves).map(|node| node.id)
    }

    pub(super) fn start(&mut self, id: NodeId) {
        let boot = self.nodes[&id].boot;
        if self.nodes[&id].state == NodeState::Off && self.may_run(id) {
            self.node_mut(id).state = NodeState::Booting;
            let delay = self.rng.range(50 * MILLISECOND, SECOND);
            self.queue.after(delay, Event::Boot { node: id, boot });
        }
    }

    fn stop(&mut self, id: NodeId) {
        if self.nodes[&id].state == NodeState::Running {
            self.node_mut(id).leaving = true;
            self.step(id, ReplicaEvent::Stop(StopCause::Asked));
        }
    }

    fn pause(&mut self, id: NodeId) {
        if self.nodes[&id].state == NodeState::Running {
            // Steps and their poll are one turn. An answer that was decided under the lease and leaves a paused process later is
            // linearizable all the same (its request was open all the time), but P1's judge could not tell it from a stale one.
            self.finish_turn(id);
            self.node_mut(id).state = NodeState::Paused;
            // Its part in the cluster's decisions stands still as well.
            self.link_coordination(id);
        }
    }

    fn suspend(&mut self, id: NodeId) {
        if self.nodes[&id].state == NodeState::Running {
            self.pause(id);
            self.node_mut(id).asleep = true;
        }
    }

    /// What the oscillator showed so far stays; timers that were set by the old rate fire a little early or late, and look again.
    fn drift(&mut self, id: NodeId, ppm: i64) {
        let now = self.queue.now();
        let node = self.node_mut(id);
        node.drift_ppm = ppm;
        node.clock.set_drift(now, ppm);
        if node.state == NodeState::Running {
            self.step(id, ReplicaEvent::Tick);
        }
    }

    /// The machine comes up with an old disk.
    fn restore(&mut self, id: NodeId) {
        self.crash(id, Crash::Power);
        let node = self.node_mut(id);
        node.promise = node.remembered.unwrap_or_default();
        node.set_back = true;
        self.checkers.promises.set_back.insert(id);
    }

    pub(super) fn resume(&mut self, id: NodeId) {
        if self.nodes[&id].state != NodeState::Paused {
            return;
        }
        self.node_mut(id).asleep = false;
        self.node_mut(id).state = NodeState::Running;
        self.tally.returned(self.queue.now(), id);
        self.link_coordination(id);
        // Timers and sockets are noticed in any order.
        if self.rng.percent(50) {
            self.step(id, ReplicaEvent::Tick);
        }
        let waiting: Vec<_> = self.node_mut(id).inbox.drain(..).collect();
        for (boot, event) in waiting {
            self.queue.after(0, Event::Node { node: id, boot, event });
        }
    }

    fn cut(&mut self, from: NodeId, to: NodeId) {
        self.network.cut(End::Node(from), End::Node(to), true);
        self.link_coordination(from);
    }

    /// Coordination's links follow the network's; a paused node has none.
    fn link_coordination(&mut self, id: NodeId) {
        let paused = |node: NodeId| self.nodes[&node].state == NodeState::Paused;
        let now = Mono(self.queue.now());
        for other in self.machines().into_iter().filter(|other| *other != id) {
            for (from, to) in [(id, other), (other, id)] {
                let open = !self.network.is_cut(End::Node(from), End::Node(to)) && !paused(from) && !paused(to);
                self.model.set_link(now, from, to, open);
            }
        }
        self.schedule_coordination();
    }

    fn isolate(&mut self, id: NodeId) {
        for other in self.machines().into_iter().filter(|other| *other != id) {
            self.cut(id, other);
            self.cut(other, id);
        }
        self.cut_clients(id);
    }

    fn cut_clients(&mut self, id: NodeId) {
        for client in 0..self.clients.len() as u32 {
            self.network.cut(End::Node(id), End::Client(client), true);
            self.network.cut(End::Client(client), End::Node(id), true);
        }
    }

    fn heal_link(&mut self, a: NodeId, b: NodeId) {
        self.network.cut(End::Node(a), End::Node(b), false);
        self.network.cut(End::Node(b), End::Node(a), false);
        self.link_coordination(a);
    }

    fn heal_links(&mut self) {
        let cut = |from: NodeId, to: NodeId| self.network.is_cut(End::Node(from), End::Node(to));
        let all = self.machines();
        let reached = |id: &NodeId| all.iter().all(|other| !cut(*id, *other) && !cut(*other, *id));
        let unreached: Vec<(NodeId, bool)> = all.iter().map(|id| (*id, !reached(id))).collect();
        for from in all.iter().copied() {
            for to in all.iter().copied() {
                self.network.cut(End::Node(from), End::Node(to), false);
            }
            for client in 0..self.clients.len() as u32 {
                self.network.cut(End::Node(from), End::Client(client), false);
                self.network.cut(End::Client(client), End::Node(from), false);
            }
        }
        let now = self.queue.now();
        for (id, unreached) in unreached {
            if unreached {
                self.tally.returned(now, id);
            }
            self.link_coordination(id);
        }
    }

    /// A process that gave up its copy (a failed write or sync) is started again, as its supervisor or an operator would.
    pub(super) fn restart_failed(&mut self) {
        for id in self.machines() {
            let now = self.nodes[&id].clock.now(self.queue.now());
            let process = self.nodes[&id].process.as_ref();
            if process.is_some_and(|process| process.replica.status(now).failure.is_some()) {
                self.crash(id, Crash::Process);
            }
            self.start(id);
        }
    }

    /// Every fault ends.
    pub(super) fn end_faults(&mut self) {
        self.heal_links();
        self.network.set_all(Quality::GOOD);
        self.set_sized_links();
        let (now, disk_bytes) = (self.queue.now(), super::disk_bytes(&self.plan));
        for id in self.machines() {
            if let Some(platter) = self.nodes[&id].platter.as_ref() {
                let mut platter = lock(platter);
                platter.faults = DiskFaults::default();
                platter.capacity_bytes = disk_bytes;
            }
            self.node_mut(id).hang_until = 0;
            self.node_mut(id).slow = 1;
            self.node_mut(id).clock.set_right();
            self.node_mut(id).clock_set = now;
            self.resume(id);
            self.start(id);
        }
    }
}
