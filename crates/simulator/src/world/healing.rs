//! The second half of every run: the faults end, and everything must come together again (P7).

use super::clients::{AUDITOR, Job};
use super::node::NodeState;
use super::{VOLUME, World};
use crate::disk::Crash;
use crate::files::Dump;
use crate::files::dump::needs_data;
use crate::queue::{SECOND, Time};
use crate::scenario::{A, B};
use crate::trace::Trace;
use crate::workload::{BulkWorker, RegisterWorker};
use bytes::Bytes;
use mainstay_cluster::{ReignState, Rule};
use mainstay_protocol::{Attributes, FileId, FileKind, FileOk, FileRequest, Incarnation, NodeId, Position};
use mainstay_replica::{Event as ReplicaEvent, ServeMode};
use mainstay_volume::ViewDigest;
use std::collections::BTreeMap;

/// Bytes of one read of the final walk.
const READ_BYTES: u32 = 256 << 10;
/// A page of the final walk's listings.
const LIST_BYTES: u32 = 32 << 10;

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
    /// Both digests, when both are there.
    fn pair(&self) -> Option<(ViewDigest, ViewDigest)> {
        let position = self.position??;
        Some((*self.digests.get(&(A, position))?, *self.digests.get(&(B, position))?))
    }
}

impl World {
    /// Ends the faults and checks that all is well. Violations are left in `violations`.
    pub fn heal(&mut self) {
        self.healing = true;
        // Of a cluster that does not heal there is nothing more to see.
        self.keep_going = false;
        self.trace(Trace::Brief, || "-- the faults end".into());
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

    /// A serving primary, and both copies in sync in their present incarnations.
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
        let patience = until.max(self.now() + 30 * SECOND);
        // A replica that is writing a checkpoint cannot digest this mark, but the next.
        while self.goes_on() && self.marks.pair().is_none() && self.now() < patience {
            self.marks.position = None;
            self.step(primary, ReplicaEvent::Mark { ticket: 1 });
            let next = self.now() + 3 * SECOND;
            self.run_while(next, |world| world.marks.pair().is_some());
        }
        match self.marks.pair() {
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
        self.trace(Trace::Brief, || format!("-- the other copy must hold the same: {primary} stops"));
        let other = if primary == A { B } else { A };
        match self.rng.below(3) {
            0 => self.step(primary, ReplicaEvent::Stop),
            1 => self.crash(primary, Crash::Process),
            _ => self.crash(primary, Crash::Power),
        }
        let until = self.now() + self.plan.heal_within;
        if !self.run_while(until, |world| world.primary() == Some(other) && world.serves_all(other)) {
            return self.not_healed("serving from the other copy");
        }
        self.compare_trees("on the other copy");
    }

    // ---- the walk ----------------------------------------------------------------------------------------------------------

    fn compare_trees(&mut self, place: &str) {
        if !self.violations.is_empty() {
            return;
        }
        match self.walk().and_then(|dump| self.compare(&dump)) {
            Ok(()) => {}
            Err(_) if !self.violations.is_empty() => {}
            Err(text) => self.violate("P2", None, format!("the whole tree {place}: {text}")),
        }
    }

    fn compare(&self, root: &Dump) -> Result<(), String> {
        let mut left = root.entries.clone();
        for register in 0..super::clients::REGISTERS {
            left.remove(&RegisterWorker::file_name(register));
        }
        left.retain(|name, _| !name.starts_with(BulkWorker::DIRECTORY_NAMES.as_bytes()));
        for worker in self.clients.iter().flat_map(|client| &client.slots) {
            let Job::Files(worker) = &worker.job else { continue };
            for tree in worker.trees() {
                let found = left.remove(&tree.name);
                compare_tree(tree, found.as_ref())?;
            }
        }
        if left.is_empty() { Ok(()) } else { Err(format!("nobody made {:?}", left.keys().collect::<Vec<_>>())) }
    }

    /// Everything that the server shows.
    fn walk(&mut self) -> Result<Dump, String> {
        match self.question(FileRequest::GetAttributes { file: FileId::ROOT })? {
            FileOk::Attributes(attributes) => self.walk_below(attributes),
            other => Err(format!("the root is {other:?}")),
        }
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

    fn walk_below(&mut self, attributes: Attributes) -> Result<Dump, String> {
        let mut dump = Dump::new(attributes);
        match attributes.kind {
            FileKind::Directory => {
                for (name, attributes) in self.list(attributes.file)? {
                    let below = self.walk_below(attributes)?;
                    dump.entries.insert(name, below);
                }
            }
            FileKind::Symlink => {
                let FileOk::Target { target, .. } = self.question(FileRequest::ReadLink { file: attributes.file })? else {
                    return Err("a symbolic link without a target".into());
                };
                dump.data = target;
            }
            _ if needs_data(&attributes) => dump.data = self.read_all(&attributes)?,
            _ => {}
        }
        Ok(dump)
    }

    fn list(&mut self, dir: FileId) -> Result<Vec<(Bytes, Attributes)>, String> {
        let (mut cookie, mut found) = (0, Vec::new());
        loop {
            let request = FileRequest::ReadDirectory { dir, cookie, bytes_max: LIST_BYTES, with_attributes: true };
            let FileOk::Entries { entries, eof, .. } = self.question(request)? else { return Err("no listing".into()) };
            cookie = entries.last().map_or(cookie, |entry| entry.cookie);
            for entry in entries.into_iter().filter(|entry| entry.name != "." && entry.name != "..") {
                let attributes = entry.attributes.ok_or_else(|| format!("{:?} is listed without attributes", entry.name))?;
                found.push((entry.name, attributes));
            }
            if eof {
                return Ok(found);
            }
        }
    }

    fn read_all(&mut self, attributes: &Attributes) -> Result<Bytes, String> {
        let mut data = Vec::with_capacity(attributes.size as usize);
        while (data.len() as u64) < attributes.size {
            let request = FileRequest::Read { file: attributes.file, offset: data.len() as u64, count: READ_BYTES };
            let FileOk::Data { pieces, count, .. } = self.question(request)? else { return Err("no data".into()) };
            if count == 0 {
                return Err(format!("{:?} ends at {} of {}", attributes.file, data.len(), attributes.size));
            }
            pieces.iter().for_each(|piece| data.extend_from_slice(piece));
        }
        Ok(Bytes::from(data))
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

/// One tree, with and without the operation that may have happened.
fn compare_tree(retired: crate::workload::Retired, found: Option<&Dump>) -> Result<(), String> {
    let name = String::from_utf8_lossy(&retired.name).into_owned();
    let Some(tree) = retired.tree else {
        // Its root may have been made, and nothing in it.
        return match found {
            Some(dump) if dump.objects() > 1 => Err(format!("{name} was never used, but holds something")),
            _ => Ok(()),
        };
    };
    let found = found.ok_or_else(|| format!("{name} is missing"))?;
    let Some(pending) = retired.pending.filter(|op| tree.expected_errors(op).is_empty()) else {
        let mut tree = tree;
        return tree.check_dump(found).map_err(|error| format!("{name}: {error}"));
    };
    let without = tree.clone().check_dump(found).map_err(|error| format!("{name}: {error}"));
    if without.is_ok() {
        return without;
    }
    let mut tree = tree;
    let asked = pending.text(&tree);
    tree.happened(&pending)?;
    let neither =
        |error| format!("{name}, which may or may not have seen \"{asked}\": {error}; without it: {}", without.unwrap_err());
    tree.check_dump(found).map_err(neither)
}
