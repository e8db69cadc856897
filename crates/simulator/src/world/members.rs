//! Machines that join and leave, and copies that come and go: what the daemon and people do about it.

use super::node::{NodeState, Process};
use super::operators::OPERATOR_TICKET;
use super::shell::{die_in_the_middle, open_volume};
use super::{Event, VOLUME, World, person, volume_options};
use crate::disk::{Crash, lock};
use crate::queue::SECOND;
use crate::trace::Trace;
use mainstay_cluster::{ClusterState, Command, ForcedQuorum, NodeKind};
use mainstay_protocol::{Incarnation, Mono, NodeId};
use mainstay_replica::{Event as ReplicaEvent, Replica, Settings};
use std::collections::BTreeSet;

/// A node that was removed may vote, and be shown decisions, for so long: coordination drops it after the decision.
const DEPART_WITHIN: u64 = 3 * SECOND;

impl World {
    /// Every machine, member or not.
    pub(super) fn machines(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    /// A machine that is no member has nothing to run.
    pub(super) fn may_run(&self, id: NodeId) -> bool {
        self.decided().nodes.contains_key(&id)
    }

    // ---- people --------------------------------------------------------------------------------------------------------

    pub(super) fn join(&mut self) {
        let Some(through) = self.anybody() else { return };
        let id = NodeId(self.decided().last_node.0 + 1);
        let name = crate::script::letter(id);
        if !self.nodes.contains_key(&id) {
            return;
        }
        let (peer_address, admin_address) = (format!("{name}:7300"), format!("{name}:7400"));
        let (kind, actor, at) = (NodeKind::FileServer, self.operators.olga(), self.wall_of(through));
        self.propose(through, OPERATOR_TICKET, Command::AddNode { name, kind, peer_address, admin_address, actor, at });
    }

    fn replicas_version(&self, through: NodeId) -> u64 {
        self.model.view(through).volumes.get(&VOLUME).map_or(0, |volume| volume.members.version)
    }

    pub(super) fn add_replica(&mut self, node: NodeId) {
        let Some(through) = self.anybody() else { return };
        let (expected, actor, at) = (self.replicas_version(through), self.operators.olga(), self.wall_of(through));
        let command = Command::AddReplica { volume: VOLUME, node, expected, reason: "one more copy".into(), actor, at };
        self.propose(through, OPERATOR_TICKET, command);
    }

    pub(super) fn remove_replica(&mut self, node: NodeId, accept_single: bool) {
        let Some(through) = self.anybody() else { return };
        let (expected, actor, at) = (self.replicas_version(through), self.operators.olga(), self.wall_of(through));
        let reason = "that machine is old".into();
        let command = Command::RemoveReplica { volume: VOLUME, node, expected, accept_single, reason, actor, at };
        self.propose(through, OPERATOR_TICKET, command);
    }

    /// Who answers is what the asked node has seen, which may be wrong a moment later.
    pub(super) fn remove_node(&mut self, node: NodeId) {
        let Some(through) = self.anybody() else { return };
        let answering = self.nodes.values().filter(|known| known.up()).map(|known| known.id).collect();
        let (reason, actor, at) = ("that machine is old".into(), self.operators.olga(), self.wall_of(through));
        self.propose(through, OPERATOR_TICKET, Command::RemoveNode { node, answering, reason, actor, at });
    }

    /// What is on its disk is what goes on. Where the lost nodes had decided without it that it is no member of the in-sync set, what they
    /// acknowledged since is given up; where they had not, nothing that was acknowledged may be missing, whatever it was told (R4).
    pub(super) fn force_quorum(&mut self, survivor: NodeId) {
        let lost_run = self.nodes.values().any(|node| node.id != survivor && node.state != NodeState::Off);
        let whole = self.volume_state().is_some_and(|volume| volume.in_sync.contains_key(&survivor));
        if lost_run || !self.decided().nodes.contains_key(&survivor) {
            return self.trace(Trace::Brief, || "-- one of the others answers: no quorum is forced".into());
        }
        self.crash(survivor, Crash::Process);
        if !self.nodes[&survivor].usable {
            self.start(survivor);
            return self.trace(Trace::Brief, || "-- its copy is of no use: no quorum is forced".into());
        }
        let mut state = ClusterState::clone(&self.model.view(survivor));
        let knows_that_it_lacks = state.volumes.get(&VOLUME).is_some_and(|volume| !volume.in_sync.contains_key(&survivor));
        let by = (self.operators.olga(), person("peter"));
        let (without, reason, at) = (BTreeSet::new(), "the others burnt".into(), self.wall_of(survivor));
        if let Err(refusal) = state.force_quorum(&ForcedQuorum { survivor, without, by, reason, at }) {
            return self.trace(Trace::Brief, || format!("-- no quorum is forced: {refusal}"));
        }
        self.trace(Trace::Brief, || format!("-- {survivor} goes on alone, {}", if whole { "in sync" } else { "with a loss" }));
        self.model.go_on_alone(Mono(self.queue.now()), survivor, state);
        // The judges go on from there: what the lost nodes had decided is no history of this cluster.
        self.decided = self.model.newest();
        self.forced_loss = !whole;
        let found = self.checkers.forced(&self.decided.clone(), whole, knows_that_it_lacks);
        self.record(found);
        self.schedule_coordination();
        self.start(survivor);
    }

    // ---- what follows from a decision ------------------------------------------------------------------------------------

    pub(super) fn follow_members(&mut self, before: &ClusterState, after: &ClusterState) {
        let ids = |state: &ClusterState| state.nodes.keys().copied().collect::<BTreeSet<NodeId>>();
        let (old, new) = (ids(before), ids(after));
        let machines: BTreeSet<NodeId> = self.nodes.keys().copied().collect();
        for id in new.difference(&old).copied().filter(|id| machines.contains(id)) {
            self.model.add_node(Mono(self.queue.now()), id);
            self.start(id);
        }
        for id in old.difference(&new).copied().filter(|id| machines.contains(id)) {
            let within = if self.healing { 1 } else { DEPART_WITHIN };
            let delay = self.rng.below(within);
            self.queue.after(delay, Event::Depart(id));
        }
    }

    /// It may run on for a while without hearing of it, as a machine that nobody reaches does.
    pub(super) fn depart(&mut self, id: NodeId) {
        self.model.remove_node(Mono(self.queue.now()), id);
        if self.healing {
            self.crash(id, Crash::Process);
        }
        self.schedule_coordination();
    }

    /// The faults end, and with them whoever was removed and did not hear of it.
    pub(super) fn end_removed(&mut self) {
        let members = self.decided().nodes.clone();
        for id in self.machines().into_iter().filter(|id| !members.contains_key(id)) {
            self.crash(id, Crash::Process);
        }
    }

    /// Whether this state says that the node was removed, and whether it is younger than everything that this boot was told.
    pub(super) fn place_of(&self, id: NodeId, view: &ClusterState) -> (bool, bool) {
        let known = view.nodes.get(&id).map(|node| node.incarnation);
        let gone = known.is_none() && id <= view.last_node;
        (gone, known == Some(Incarnation(self.nodes[&id].incarnation)))
    }

    /// As the daemon does it: the copy is set aside, or an empty one begun, and the volume's part of the process starts anew in the same
    /// boot.
    pub(super) fn place_copy(&mut self, id: NodeId) {
        let misplaced = self.nodes[&id].process.as_ref().is_some_and(|process| process.replica.misplaced());
        if !misplaced || self.nodes[&id].state != NodeState::Running {
            return;
        }
        let (now, options) = (self.queue.now(), volume_options(&self.plan));
        let view = self.model.view(id);
        let holds = view.volumes.get(&VOLUME).is_some_and(|volume| volume.replicas.contains(&id));
        self.trace(Trace::Brief, || format!("-- {id} {}", if holds { "begins a copy" } else { "sets its copy aside" }));
        self.end_part(id);
        let node = self.nodes.get_mut(&id).expect("nodes never vanish");
        if let Some(platter) = node.platter.as_ref() {
            lock(platter).wipe();
        }
        self.checkers.kept.rebuilt(id);
        self.checkers.p6.booted(id);
        let volume = match self.nodes[&id].disk().filter(|_| holds).map(|disk| open_volume(disk, options)).transpose() {
            Ok(volume) => volume,
            // A disk that fails: the copy is opened at the next boot.
            Err(_) => return self.crash(id, Crash::Process),
        };
        self.model.restart(Mono(now), id);
        let view = self.model.view(id);
        let node = self.nodes.get_mut(&id).expect("nodes never vanish");
        let settings = Settings { node: id, incarnation: Incarnation(node.incarnation), volume: VOLUME };
        let replica = Replica::new(settings, volume, node.promise, view, node.clock.now(now));
        node.process = Some(Box::new(Process::new(replica)));
        self.schedule_coordination();
        self.step(id, ReplicaEvent::Tick);
    }

    /// The volume's threads end; the machine and its promises go on.
    fn end_part(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).expect("nodes never vanish");
        node.boot += 1;
        // Another thread writes them, and is not stopped.
        if let Some(promise) = std::mem::take(&mut node.promises_writing).pop() {
            node.promise = promise;
        }
        let (process, disk) = (node.process.take(), node.disk());
        let Some(mut process) = process else { return };
        die_in_the_middle(&mut process, disk, &mut node.rng);
        if let Some(platter) = node.platter.as_ref() {
            lock(platter).crash(Crash::Process);
        }
        let callers = std::mem::take(&mut process.callers);
        drop(process);
        callers.into_values().for_each(|caller| self.reset_connection(id, caller));
    }
}
