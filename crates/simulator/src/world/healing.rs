//! The second half of every run: the faults end, and everything must come together again (P7).

use super::clients::{AUDITOR, Job};
use super::node::NodeState;
use super::{VOLUME, World};
use crate::checkers::p2_trees;
use crate::disk::Crash;
use crate::files::Dump;
use crate::queue::{SECOND, Time};
use crate::trace::Trace;
use crate::workload::{BulkWorker, RegisterWorker};
use mainstay_cluster::{ReignState, Rule, StopCause};
use mainstay_protocol::{FileOk, FileRequest, Incarnation, NodeId, Position};
use mainstay_replica::{Event as ReplicaEvent, ServeMode};
use mainstay_volume::ViewDigest;
use std::collections::{BTreeMap, BTreeSet};

/// The replicas' digests at one position.
#[derive(Default)]
pub struct Marks {
    position: Option<Option<Position>>,
    digests: BTreeMap<(NodeId, Position), ViewDigest>,
}

impl Marks {
    pub fn marked(&mut self, _ticket: u64, position: Option<Position>) {
        self.position = Some(position);
    }
    pub fn digest(&mut self, node: NodeId, position: Position, digest: ViewDigest) {
        self.digests.insert((node, position), digest);
    }
    /// The digests of these copies, when all are there: the first, and one that differs from it if there is one.
    fn pair(&self, replicas: &BTreeSet<NodeId>) -> Option<(ViewDigest, ViewDigest)> {
        let position = self.position??;
        let of = |node: &NodeId| self.digests.get(&(*node, position)).copied();
        let all: Vec<ViewDigest> = replicas.iter().map(of).collect::<Option<_>>()?;
        let first = *all.first()?;
        Some((first, all.into_iter().find(|other| *other != first).unwrap_or(first)))
    }
}

impl World {
    /// Ends the faults and checks that all is well. Violations are left in `violations`.
    pub fn heal(&mut self) {
        self.healing = true;
        // Of a cluster that does not heal there is nothing more to see.
        self.keep_going = false;
        if self.plan.expect.overrun && !self.checkers.p8.seen() {
            self.violate("P8", Some(Rule::R10), "nobody was told that a maintenance runs over".into());
        }
        self.trace(Trace::Brief, || "-- the faults end".into());
        self.end_removed();
        self.end_faults();
        let until = self.now() + self.plan.heal_within;
        if !self.run_while(until, World::whole) {
            return self.not_healed("in sync and serving");
        }
        // Some work on the healed cluster, then the clients finish.
        self.run_until(self.now() + 2 * SECOND);
        self.closing = true;
        self.wake_idle_clients();
        if !self.run_while(self.now() + self.plan.heal_within, World::quiet) {
            return self.not_healed("done with all client operations");
        }
        if let Some(Err(text)) =
            self.plan.expect.moves_only_changes.map(|node| self.checkers.p6.check(node, self.plan.resync_bytes_per_second))
        {
            self.violate("P6", Some(Rule::R11), text);
        }
        self.end_story();
        self.compare_digests(until);
        self.compare_trees("on the primary");
        self.swap_primaries();
        self.check_histories();
    }

    fn not_healed(&mut self, what: &str) {
        if self.goes_on() {
            let seconds = self.plan.heal_within / SECOND;
            let state = self.describe();
            self.violate("P7", None, format!("not {what} within {seconds} s after the faults ended: {state}"));
        }
    }

    /// For the reader of a violation: where everything stands.
    fn describe(&self) -> String {
        let volume = self.volume_state();
        let nodes: Vec<String> = self.nodes.values().map(|node| self.describe_node(node)).collect();
        let name = |node: NodeId| self.decided().node_name(node);
        let proposal = self.decided().open_proposal(VOLUME);
        let proposal =
            proposal.map_or("no proposal".into(), |(id, open)| format!("{id} ({}) is {}", name(open.candidate), open.state));
        let Some(volume) = volume else { return nodes.join("; ") };
        let reign = volume.reign.map_or("nobody reigns".into(), |reign| format!("{} reigns ({:?})", name(reign.node), reign.state));
        let in_sync: Vec<String> = volume.in_sync.iter().map(|(node, boot)| format!("{} in boot {boot}", name(*node))).collect();
        let breaker = if volume.breaker.open { "open" } else { "closed" };
        let (epoch, in_sync) = (volume.epoch, in_sync.join(" and "));
        format!("in {epoch} {reign}, in sync {in_sync}, the breaker is {breaker}, {proposal}; {}", nodes.join("; "))
    }

    fn describe_node(&self, node: &super::Node) -> String {
        let name = self.decided().node_name(node.id);
        let Some(process) = node.process.as_ref() else { return format!("{name} does not run ({:?})", node.state) };
        let status = process.replica.status(node.clock.now(self.now()));
        let peers: Vec<&str> = status.peers.values().map(|peer| peer.state).collect();
        let peers = if peers.is_empty() { String::new() } else { format!(", the other {}", peers.join(" ")) };
        let failure = status.failure.map_or(String::new(), |failure| format!(", failed: {failure}"));
        format!(
            "{name} (boot {}) is {} in {}, at {} (on disk {}, committed {}), {} clients wait{peers}{failure}",
            node.incarnation, status.role, status.epoch, status.position, status.durable, status.commit, status.clients_waiting
        )
    }

    /// A serving primary, both copies in sync in their present incarnations, and nobody waits for what somebody began.
    fn whole(&self) -> bool {
        let Some(volume) = self.volume_state() else { return false };
        let serving = volume.reign.filter(|reign| reign.state == ReignState::Serving);
        let in_sync = |id: &NodeId| {
            volume.in_sync.get(id) == Some(&Incarnation(self.nodes[id].incarnation)) && self.nodes[id].state == NodeState::Running
        };
        serving.is_some_and(|reign| self.serves_all(reign.node))
            && volume.replicas.iter().all(in_sync)
            && volume.open_proposal.is_none()
            && self.decided().maintenance.is_empty()
            && !self.switching_off()
    }

    /// A node that lives has not told yet what came of a person's wish to switch a machine off.
    fn switching_off(&self) -> bool {
        let asked = self.decided().nodes.values().filter_map(|node| node.off_asked);
        asked.into_iter().any(|asked| self.nodes[&asked.by].incarnation == asked.incarnation.0)
    }

    fn serves_all(&self, id: NodeId) -> bool {
        self.nodes[&id].process.as_ref().is_some_and(|process| process.mode == ServeMode::ReadWrite)
    }

    fn quiet(&self) -> bool {
        self.whole() && self.clients.iter().all(|client| client.finished())
    }

    fn wake_idle_clients(&mut self) {
        for client in 0..self.clients.len() as u32 {
            for slot in 0..self.clients[client as usize].slots.len() {
                if client != AUDITOR {
                    self.hurry(client, slot);
                }
            }
        }
    }

    // ---- copies ----------------------------------------------------------------------------------------------------------

    fn primary(&self) -> Option<NodeId> {
        self.volume_state()?.primary()
    }

    /// Both replicas digest their whole state at one position.
    fn compare_digests(&mut self, until: Time) {
        let Some(primary) = self.primary().filter(|_| self.violations.is_empty()) else { return };
        let copies = self.volume_state().map(|volume| volume.replicas.clone()).unwrap_or_default();
        let patience = until.max(self.now() + 30 * SECOND);
        // A replica that is writing a checkpoint cannot digest this mark, but the next.
        while self.goes_on() && self.marks.pair(&copies).is_none() && self.now() < patience {
            self.marks.position = None;
            self.step(primary, ReplicaEvent::Mark { ticket: 1 });
            let next = self.now() + 3 * SECOND;
            self.run_while(next, |world| world.marks.pair(&copies).is_some());
        }
        match self.marks.pair(&copies) {
            Some((a, b)) if a != b => {
                self.violate("P7", None, format!("the copies differ: a has {}, b has {}", digest_text(&a), digest_text(&b)))
            }
            Some(_) => {}
            None => {
                let text = format!("no digests of both copies: {:?} {:?}", self.marks.position, self.marks.digests);
                self.not_healed_text(text)
            }
        }
    }

    fn not_healed_text(&mut self, text: String) {
        if self.violations.is_empty() {
            self.violate("P7", None, text);
        }
    }

    /// The other copy must serve the same bytes: a planned change of primaries, approved as ever, and the walk once more.
    fn swap_primaries(&mut self) {
        let Some(primary) = self.primary().filter(|_| self.violations.is_empty()) else { return };
        // Two people may have left it with one copy.
        // Nor is a promotion possible without a majority: of two members that is both.
        if self.volume_state().is_none_or(|volume| volume.in_sync.len() < 2) || self.decided().voters().count() < 3 {
            return;
        }
        self.trace(Trace::Brief, || format!("-- the other copy must hold the same: {primary} stops"));
        match self.rng.below(3) {
            0 => self.step(primary, ReplicaEvent::Stop(StopCause::Asked)),
            1 => self.crash(primary, Crash::Process),
            _ => self.crash(primary, Crash::Power),
        }
        let until = self.now() + self.plan.heal_within;
        if !self.run_while(until, |world| world.primary().is_some_and(|now| now != primary && world.serves_all(now))) {
            return self.not_healed("serving from the other copy");
        }
        self.compare_trees("on the other copy");
    }

    // ---- the walk ----------------------------------------------------------------------------------------------------------

    fn compare_trees(&mut self, place: &str) {
        if !self.violations.is_empty() {
            return;
        }
        let read_bytes = self.plan.sized.map_or(p2_trees::READ_BYTES, |sized| sized.read_bytes);
        match p2_trees::walk(read_bytes, &mut |request| self.question(request)).and_then(|dump| self.compare(&dump)) {
            Ok(()) => {}
            Err(_) if !self.violations.is_empty() => {}
            Err(text) => self.violate("P2", None, format!("the whole tree {place}: {text}")),
        }
    }

    fn compare(&self, root: &Dump) -> Result<(), String> {
        let workers = self.clients.iter().flat_map(|client| &client.slots).filter_map(|slot| match &slot.job {
            Job::Files(worker) => Some(worker),
            _ => None,
        });
        p2_trees::check(root, workers.flat_map(|worker| worker.trees()), |name| {
            (0..super::clients::REGISTERS).any(|register| *name == RegisterWorker::file_name(register))
                || name.starts_with(BulkWorker::DIRECTORY_NAMES.as_bytes())
        })
    }

    fn question(&mut self, request: FileRequest) -> Result<FileOk, String> {
        let until = self.now() + 60 * SECOND;
        let text = format!("{request:?}");
        match self.ask(request, until) {
            Some(Ok(ok)) => Ok(ok),
            Some(Err(failure)) => Err(format!("{text} was refused: {}", failure.error)),
            None => Err(format!("{text} was not answered")),
        }
    }

    fn check_histories(&mut self) {
        for register in 0..super::clients::REGISTERS {
            if let Err(text) = self.checkers.registers[register].check(&self.checkers.losses) {
                self.violate("P2", None, format!("register {register}: {text}"));
            }
        }
    }
}

fn digest_text(digest: &ViewDigest) -> String {
    let ViewDigest { inodes, entries, extents, xor } = digest;
    format!("{inodes} inodes, {entries} names and {extents} extents ({xor:016x})")
}
