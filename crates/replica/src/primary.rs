//! The primary: executes clients' requests, replicates the records, commits, and keeps the in-sync set true.

use crate::core::{Core, Purpose};
use crate::drain::Drain;
use crate::event::{Effect, Note, PeerStatus, ServeMode};
use crate::lease::Lease;
use crate::members::Counted;
use crate::secondary::Inherited;
use crate::source::Source;
use crate::stream::{Joining, Peer, State};
use crate::waiting::{Answer, Waiting};
use mainstay_cluster::{Command, ReignState};
use mainstay_protocol::marks::mark;
use mainstay_protocol::peer::{EpochStart, ResyncCursor, StreamId};
use mainstay_protocol::planted::{Bug, planted};
use mainstay_protocol::{
    ClientRequest, Epoch, FileError, FileRequest, FileResult, LogPoint, Mono, NodeId, Now, PeerMessage, Position, Record,
};
use mainstay_volume::{Outcome, RecordsAfter};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Requests that may wait for the lease, for room in the window, or for the volume; more are let go without an answer.
pub const HELD_MAX: usize = 4096;
/// Answers that may wait for their commit.
pub const WAITING_MAX: usize = 16_384;
/// Records' bytes in one Append.
pub const APPEND_BYTES_MAX: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The epoch's first record is not committed, or the lease is not held, for the first time.
    Starting,
    Serving,
    /// The lease ran out; the service address is released. Serving again needs the lease, not a new grant.
    LeaseLost,
    /// Asked to stop: finishes what it has, takes nothing new.
    Stopping,
    /// Gave its word in a switchover: serves nothing until the cluster has decided what became of it.
    HandedOver,
}

pub struct Primary {
    pub epoch: Epoch,
    pub(crate) stage: Stage,
    lease: Lease,
    lease_until: Mono,
    pub(crate) counted: Counted,
    pub(crate) peers: BTreeMap<NodeId, Peer>,
    started_at: Position,
    pub commit: Position,
    pub commit_durable: Position,
    /// Some client waits for everything up to here to be durable.
    sync_to: Position,
    /// As `commit` and `commit_durable`, but only while the volume had as many copies in sync as it wants.
    acknowledged: (Position, Position),
    waiting: Waiting,
    /// Answers to changes: those wait for `acknowledged`.
    changes: Waiting,
    held: VecDeque<(u64, ClientRequest)>,
    /// Reads under way in the volume: its ticket → the client's ticket and the position that the answer depends on.
    pub(crate) reading: BTreeMap<u64, (u64, Position)>,
    /// Records being read from disk for a secondary that is far behind.
    loading: BTreeMap<u64, NodeId>,
    /// Records could not be read for these: they are asked for again then.
    resting: BTreeMap<NodeId, Mono>,
    /// Damage that keeps a secondary from being resynced, as it was noted last.
    damage_noted: Position,
    pub source: Source,
    stop_by: Option<Mono>,
    stepped_down: bool,
    /// A switchover: no request is begun meanwhile.
    pub(crate) drain: Option<Drain>,
}

impl Primary {
    /// Takes up a grant: makes the epoch's first record. Nothing is served before that is committed and the lease is held.
    /// `None`: not yet (the volume is busy for a moment) or not at all (it failed, and says so in `core`).
    pub fn take_up(core: &mut Core, epoch: Epoch, loss_epoch: u64, now: Now) -> Option<Primary> {
        core.store_promise(epoch);
        let keep = planted(Bug::KeepVerifierAfterLoss);
        let volume = core.volume.as_mut()?;
        let loss_epoch = if keep { volume.loss_epoch() } else { loss_epoch };
        // A first record that was made before, in this boot, is not made again.
        let first = match volume.last() {
            last if last.epoch == epoch => last.position,
            _ => {
                let started = volume.start_epoch(now.wall, epoch, loss_epoch);
                core.trust_unless_busy(started)?.header.position
            }
        };
        core.note(Note::Role { epoch, role: "primary" });
        core.volume.as_mut()?.want_sync(first);
        let mut primary = Primary {
            epoch,
            stage: Stage::Starting,
            lease: Lease::default(),
            lease_until: Mono::ZERO,
            counted: Counted::now(core),
            peers: BTreeMap::new(),
            started_at: first,
            commit: Position(0),
            commit_durable: Position(0),
            sync_to: first,
            acknowledged: (Position(0), Position(0)),
            waiting: Waiting::default(),
            changes: Waiting::default(),
            held: VecDeque::new(),
            reading: BTreeMap::new(),
            loading: BTreeMap::new(),
            resting: BTreeMap::new(),
            damage_noted: Position(0),
            source: Source::default(),
            stop_by: None,
            stepped_down: false,
            drain: None,
        };
        primary.follow_view(core, now.mono);
        primary.renew(core, now);
        Some(primary)
    }

    /// Takes over what clients were waiting for while this node served reads only.
    pub fn inherit(&mut self, inherited: Inherited) {
        self.reading.extend(inherited.reading.into_iter().map(|(read, ticket)| (read, (ticket, self.started_at))));
        self.held.extend(inherited.held);
    }

    /// The set of replicas follows the cluster state; a member that was added is no longer "joining".
    pub fn follow_view(&mut self, core: &Core, now: Mono) {
        let Some(state) = core.state() else { return };
        for node in state.replicas.iter().filter(|node| **node != core.me.node) {
            let peer = self.peers.entry(*node).or_insert_with(|| Peer::new(now));
            if peer.growth_asked.is_some_and(|version| state.in_sync_version > version) {
                peer.growth_asked = None;
            }
            if state.in_sync.contains_key(node) && state.in_sync.get(node) == peer.incarnation.as_ref() {
                peer.joining = Joining::No;
            }
        }
        self.peers.retain(|node, _| state.replicas.contains(node));
        self.measure_lease(core);
        self.follow_drain(core, now);
    }

    // ---- lease -------------------------------------------------------------------------------------------------------

    /// Asks every node for the lease, and with it tells secondaries how far the commit is.
    fn renew(&mut self, core: &mut Core, now: Now) {
        self.lease.sent(now.mono);
        for node in core.others() {
            core.send(node, PeerMessage::LeaseRequest { epoch: self.epoch, sent: now.mono });
        }
        self.peers.values_mut().for_each(|peer| peer.poke = true);
        // The only member has nobody's promise to wait for.
        self.measure_lease(core);
    }

    pub fn on_promise(&mut self, core: &Core, from: NodeId, epoch: Epoch, sent: Mono, now: Now) {
        if epoch == self.epoch {
            self.lease.promise(from, sent, now.mono);
            self.measure_lease(core);
        }
    }

    /// When the lease ends that a majority of `counted` and all of `in_sync` bear.
    pub(crate) fn lease_with(&self, core: &Core, counted: &BTreeSet<NodeId>, in_sync: &BTreeSet<NodeId>) -> Option<Mono> {
        self.lease.until(core.me.node, counted, in_sync, core.timing.lease_ms)
    }

    /// Every in-sync member counts, those about to be added too: none of them may be granted anything while we serve.
    pub(crate) fn measure_lease(&mut self, core: &Core) {
        let until = self.lease_with(core, &self.counted.members, &self.members(core));
        self.lease_until = until.unwrap_or(Mono::ZERO);
    }

    /// Whether a lease that is held stays so when `node` has to promise, too: for half a lease, at least. Its newest promise may be of
    /// the boot before, and the way to this one not open yet.
    fn lease_bears(&self, core: &Core, node: NodeId, now: Now) -> bool {
        let mut members = self.members(core);
        members.insert(node);
        let until = self.lease_with(core, &self.counted.members, &members);
        !self.holds_lease(now) || until.is_some_and(|until| now.mono.after_ms(core.timing.lease_ms / 2) < until)
    }

    fn holds_lease(&self, now: Now) -> bool {
        now.mono < self.lease_until || planted(Bug::ServeAfterLease)
    }

    /// Whether clients were ever answered in this reign.
    pub fn has_served(&self) -> bool {
        self.stage != Stage::Starting
    }

    pub fn lease_ms(&self, now: Now) -> u64 {
        self.lease_until.ms_since(now.mono)
    }

    fn watch_lease(&mut self, core: &mut Core, now: Now) {
        if self.stage == Stage::Serving && !self.holds_lease(now) {
            mark("primary: lease lost");
            self.stage = Stage::LeaseLost;
            core.serve(ServeMode::Closed);
            core.note(Note::LeaseLost { epoch: self.epoch });
        }
        if self.stage == Stage::LeaseLost && self.holds_lease(now) {
            mark("primary: lease held again");
            self.stage = Stage::Serving;
            core.serve(ServeMode::ReadWrite);
            core.note(Note::LeaseHeld { epoch: self.epoch });
        }
        if self.stage == Stage::Starting && self.holds_lease(now) && self.commit_durable >= self.started_at {
            mark("primary: serving begins");
            self.stage = Stage::Serving;
            core.serve(ServeMode::ReadWrite);
        }
        self.report_serving(core, now);
    }

    fn report_serving(&mut self, core: &mut Core, now: Now) {
        let reported = core.state().and_then(|state| state.reign.as_ref()).is_none_or(|reign| reign.state == ReignState::Serving);
        if self.stage == Stage::Serving && !reported {
            let command = Command::Serving {
                volume: core.me.volume,
                epoch: self.epoch,
                node: core.me.node,
                incarnation: core.me.incarnation,
                at: now.wall,
            };
            core.propose(Purpose::Serving, now, command);
        }
    }

    // ---- clients -----------------------------------------------------------------------------------------------------

    pub fn on_client(&mut self, core: &mut Core, ticket: u64, request: ClientRequest, now: Now) {
        // "Try later" has clients come again under another number, under which a request that was executed before would not be
        // known again: whoever cannot be served here is let go without an answer instead.
        if self.stage == Stage::Stopping {
            mark("primary: request while stopping");
            core.out.push(Effect::Abandon { ticket });
        } else if self.may_execute(core, now) && self.held.is_empty() {
            self.execute(core, ticket, &request, now);
        } else if self.held.len() < HELD_MAX {
            self.held.push_back((ticket, request));
        } else {
            core.out.push(Effect::Abandon { ticket });
        }
    }

    /// Back-pressure: nothing new while an in-sync secondary has a full window or too many answers wait.
    fn may_execute(&self, core: &Core, now: Now) -> bool {
        let (in_sync, last) = (core.state().map(|state| &state.in_sync), core.last_position());
        let full = self.peers.iter().any(|(node, peer)| peer.is_behind(last) && in_sync.is_some_and(|set| set.contains_key(node)));
        let drains = self.drain.is_some_and(|drain| !drain.forgotten(core));
        self.stage == Stage::Serving && !drains && self.holds_lease(now) && !full && self.answers_waiting() < WAITING_MAX
    }

    fn run_held(&mut self, core: &mut Core, now: Now) {
        while !self.held.is_empty() && self.may_execute(core, now) {
            let (ticket, request) = self.held.pop_front().expect("checked");
            self.execute(core, ticket, &request, now);
        }
    }

    fn execute(&mut self, core: &mut Core, ticket: u64, request: &ClientRequest, now: Now) {
        let forgetful = ClientRequest { identity: None, ..request.clone() };
        let request = if planted(Bug::ForgetDuplicateCache) { &forgetful } else { request };
        let change = request.request.changes() || matches!(request.request, FileRequest::Commit { .. });
        let alone = waits_for_second_copy(core);
        let Some(volume) = core.volume.as_mut() else { return };
        // Nothing new begins that could not be acknowledged. "Try later" is for what was not executed: what was waits for its answer.
        if change && alone && volume.remembers(request) == Some(false) {
            mark("primary: alone, a change is put off");
            core.out.push(Effect::Reply { ticket, result: Err(FileError::TryLater.into()) });
            return;
        }
        match volume.execute(now.wall, self.epoch, request) {
            Outcome::Done { result, at, durable, record: _ } => {
                let durable = durable && !planted(Bug::AckBeforeSync);
                self.answer_when_committed(core, Answer { ticket, result }, at, (durable, change), now);
            }
            Outcome::Read { ticket: read, at } => {
                self.reading.insert(read, (ticket, at));
            }
        }
    }

    fn answer_when_committed(&mut self, core: &mut Core, answer: Answer, at: Position, (durable, change): (bool, bool), now: Now) {
        let (received, synced) = if change { self.acknowledged } else { (self.commit, self.commit_durable) };
        let reached = if durable { synced } else { received };
        // It may depend on nothing, such as a name that is taken already; while alone, that too is an answer to a change.
        let reached = if change && waits_for_second_copy(core) { Position(0) } else { reached };
        // Data that comes back from the disk after the lease's end waits like everything else (R13).
        if at <= reached && self.may_answer(now) {
            core.out.push(Effect::Reply { ticket: answer.ticket, result: answer.result });
            return;
        }
        if at <= reached {
            mark("primary: committed, but no lease to answer under");
        }
        if durable && at > self.sync_to {
            self.want_durable(core, at);
        }
        let queue = if change { &mut self.changes } else { &mut self.waiting };
        queue.add(at, durable, answer);
    }

    pub fn on_read(&mut self, core: &mut Core, read: u64, result: FileResult, now: Now) {
        if let Some((ticket, at)) = self.reading.remove(&read) {
            self.answer_when_committed(core, Answer { ticket, result }, at, (false, false), now);
        }
    }

    pub fn mark(&mut self, core: &mut Core, now: Now) -> Option<Position> {
        // Behind its word no record may follow.
        if self.stage == Stage::HandedOver {
            return None;
        }
        let marked = core.volume.as_mut()?.mark(now.wall, self.epoch);
        let at = core.trust_unless_busy(marked)?.header.position;
        self.want_durable(core, at);
        Some(at)
    }

    // ---- replication ---------------------------------------------------------------------------------------------------

    pub fn on_hello(
        &mut self,
        core: &mut Core,
        from: NodeId,
        stream: StreamId,
        (last, durable): (LogPoint, Position),
        lineage: &[EpochStart],
        resync: Option<ResyncCursor>,
    ) {
        let Some(volume) = core.volume.as_ref() else { return };
        let Some(peer) = self.peers.get_mut(&from) else { return };
        // Said again because the stream is slow to arrive: what is under way must not be sent twice (R11). If it was lost, the next
        // heartbeat shows the gap, and a new number comes.
        if stream < peer.stream || (stream == peer.stream && peer.state == State::Streaming) {
            mark("primary: repeated Hello");
            return;
        }
        let common = common_position(volume.lineage(), volume.last().position, lineage, last);
        if let Some(cursor) = resync {
            // It goes on from its cursor if the log is still kept from its base on; the volume there judges whether it can.
            let kept = cursor.base.position.next() >= volume.log_start() && volume.point(cursor.base.position) == Some(cursor.base);
            mark(if kept { "primary: resync goes on from its base" } else { "primary: resync goes on from a newer base" });
            let base = if kept { cursor.base } else { volume.resync_base() };
            peer.restart(State::Resyncing, stream);
            core.send(from, PeerMessage::ResyncByChange { epoch: self.epoch, base, lineage: volume.lineage().to_vec() });
        } else if common < last.position || !same_history(volume.point(common), last, common) {
            mark("primary: told to roll back");
            peer.restart(State::RollingBack, stream);
            let to = volume.point(common).unwrap_or(LogPoint {
                epoch: volume.written_in(common),
                position: common,
                ..LogPoint::default()
            });
            core.send(from, PeerMessage::RollBack { epoch: self.epoch, answers: last, to });
        } else if common.next() < volume.log_start() {
            mark("primary: past the retained log");
            self.offer_resync(core, from, stream, last.position);
        } else {
            peer.start(last, durable, stream);
        }
    }

    /// To a secondary whose copy is whole up to `last` (R11). Not while only damage stands between it and the log: the walk could not read
    /// that either, and would leave a copy that is not whole for as long as the damage lasts. Its next Hello asks again.
    fn offer_resync(&mut self, core: &mut Core, node: NodeId, stream: StreamId, last: Position) {
        let (Some(peer), Some(volume)) = (self.peers.get_mut(&node), core.volume.as_ref()) else { return };
        peer.restart(State::Resyncing, stream);
        match volume.damage_in_the_way(last) {
            Some(position) if position == self.damage_noted => {}
            Some(position) => {
                self.damage_noted = position;
                core.note(Note::Damage { position, repaired: false });
            }
            None => {
                let (base, lineage) = (volume.resync_base(), volume.lineage().to_vec());
                core.send(node, PeerMessage::ResyncByChange { epoch: self.epoch, base, lineage });
            }
        }
    }

    pub fn on_acknowledge(&mut self, from: NodeId, stream: StreamId, held: (Position, Position, Position), now: Now) {
        // Of another run it tells nothing about this one; after a restart what the node holds is not known until its Hello.
        if let Some(peer) = self.peers.get_mut(&from)
            && peer.state == State::Streaming
            && peer.stream == stream
        {
            peer.acknowledged(held, now.mono);
        } else {
            mark("primary: acknowledgement of another run");
        }
    }

    fn feed_peers(&mut self, core: &mut Core, now: Now) {
        let nodes: Vec<NodeId> = self.peers.keys().copied().collect();
        for node in nodes {
            // Bounded: each turn sends at least one record or stops.
            while self.feed(core, node, now) {}
        }
    }

    /// Sends one Append if there is something to say and room for it. True when there may be more.
    fn feed(&mut self, core: &mut Core, node: NodeId, now: Now) -> bool {
        let (Some(peer), Some(volume)) = (self.peers.get_mut(&node), core.volume.as_mut()) else { return false };
        if peer.state != State::Streaming {
            return false;
        }
        let room_bytes = peer.room_bytes().min(APPEND_BYTES_MAX as u64) as usize;
        let rests = self.resting.get(&node).is_some_and(|until| now.mono < *until);
        if peer.sent.position >= volume.last().position || room_bytes == 0 || rests {
            if peer.poke {
                self.append(core, node, &[], now);
            }
            return false;
        }
        match volume.records_after(peer.sent.position, room_bytes) {
            RecordsAfter::Ready(records) => {
                let more = !records.is_empty();
                self.append(core, node, &records, now);
                more
            }
            RecordsAfter::Later(ticket) => {
                mark("primary: records read from disk");
                peer.loading = Some(ticket);
                self.loading.insert(ticket, node);
                false
            }
            RecordsAfter::Gone => {
                mark("primary: log given up under a secondary");
                let (stream, sent) = (peer.stream, peer.sent.position);
                self.offer_resync(core, node, stream, sent);
                false
            }
        }
    }

    fn append(&mut self, core: &mut Core, node: NodeId, records: &[Record], now: Now) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let message = PeerMessage::Append {
            epoch: self.epoch,
            stream: peer.stream,
            after: peer.sent,
            count: records.len() as u32,
            commit: self.commit,
            commit_durable: self.commit_durable,
            sync_to: self.sync_to,
        };
        let bytes: usize = records.iter().map(Record::total_len).sum();
        let parts = records.iter().flat_map(|record| [record.head.clone(), record.payload.clone()]);
        let payload = parts.filter(|part| !part.is_empty()).collect();
        let end = records.last().map_or(peer.sent, Record::point);
        peer.flew(end, bytes as u64, now.mono);
        core.send_with(node, message, payload);
    }

    pub fn on_records(&mut self, core: &mut Core, ticket: u64, records: Vec<Record>, now: Now) {
        let Some(node) = self.loading.remove(&ticket) else { return };
        let Some(peer) = self.peers.get_mut(&node) else { return };
        if peer.loading != Some(ticket) {
            return;
        }
        peer.loading = None;
        if records.is_empty() {
            // Without the pause a disk that fails would be asked again at every turn.
            self.resting.insert(node, now.mono.after_ms(core.timing.retry_ms));
        }
        // The stream may have been restarted elsewhere while the disk was read.
        if records.first().is_some_and(|first| first.check_follows(peer.sent).is_ok()) {
            self.append(core, node, &records, now);
        }
    }

    // ---- commit --------------------------------------------------------------------------------------------------------

    /// Who must hold a record before it counts: the in-sync set, and those on their way into it.
    pub(crate) fn members(&self, core: &Core) -> BTreeSet<NodeId> {
        self.other_members(core).chain([core.me.node]).collect()
    }

    /// Those of [`Primary::members`] that are not this node, in no order.
    fn other_members<'a>(&'a self, core: &'a Core) -> impl Iterator<Item = NodeId> + 'a {
        let in_sync = core.state().map(|state| &state.in_sync);
        let agreed = in_sync.into_iter().flat_map(|set| set.keys()).filter(|node| **node != core.me.node);
        let joining = self.peers.iter().filter(move |(node, peer)| {
            peer.counts() && !planted(Bug::JoinUncounted) && !in_sync.is_some_and(|set| set.contains_key(node))
        });
        let streams = |node: &NodeId| self.peers.get(node).is_none_or(|peer| peer.state == State::Streaming);
        agreed.chain(joining.map(|(node, _)| node)).copied().filter(move |node| !planted(Bug::SkipInSyncShrink) || streams(node))
    }

    fn advance_commit(&mut self, core: &mut Core) {
        let Some(volume) = core.volume.as_ref() else { return };
        let (mut received, mut durable) = (volume.last().position, volume.durable());
        for node in self.other_members(core) {
            let held = self.peers.get(&node).filter(|peer| peer.state == State::Streaming);
            received = received.min(held.map_or(Position(0), |peer| peer.received));
            durable = durable.min(held.map_or(Position(0), |peer| peer.durable));
        }
        // What was committed stays committed: a member that restarts is sent again what its memory lost.
        self.commit = self.commit.max(received);
        if durable > self.commit_durable {
            self.commit_durable = durable;
            if let Some(volume) = core.volume.as_mut() {
                volume.set_committed(durable);
            }
            // Secondaries checkpoint at committed positions: news when they have fallen silent, not per commit.
        }
        if !waits_for_second_copy(core) {
            self.acknowledged = (self.commit, self.commit_durable);
        }
    }

    fn may_answer(&self, now: Now) -> bool {
        self.holds_lease(now) && matches!(self.stage, Stage::Serving | Stage::Stopping)
    }

    fn release(&mut self, core: &mut Core, now: Now) {
        if self.may_answer(now) {
            let alone = waits_for_second_copy(core);
            let out = &mut core.out;
            let mut reply = |answer: Answer| out.push(Effect::Reply { ticket: answer.ticket, result: answer.result });
            self.waiting.release(self.commit, self.commit_durable, &mut reply);
            if !alone {
                self.changes.release(self.acknowledged.0, self.acknowledged.1, &mut reply);
            }
        }
    }

    // ---- the in-sync set (R4) ------------------------------------------------------------------------------------------

    fn tend_in_sync_set(&mut self, core: &mut Core, now: Now) {
        let view = Arc::clone(&core.view);
        let Some(state) = view.volumes.get(&core.me.volume).filter(|state| state.epoch == self.epoch) else { return };
        let (last, sync_to) = (core.last_position(), self.sync_to);
        for node in state.replicas.iter().copied() {
            // This node itself is no peer.
            let Some(peer) = self.peers.get_mut(&node) else { continue };
            // A node that was never heard gets the same patience, counted from the reign's beginning.
            let silent_ms = core.contacts.silent_ms(node, now.mono).unwrap_or(now.mono.ms_since(peer.since));
            let stalled_ms = peer.stalled_ms((last, sync_to), silent_ms < core.timing.shrink_ms, now.mono);
            let leaving = core.contacts.leaving(node);
            let member = state.in_sync.get(&node).copied();
            let counted = member.is_some() || peer.counts();
            let lost = if leaving {
                mark("primary: member says goodbye");
                Some((Note::PeerLost { node, silent_ms }, "it was asked to stop".into()))
            } else if silent_ms >= core.timing.shrink_ms {
                Some((Note::PeerLost { node, silent_ms }, format!("silent for {silent_ms} ms")))
            } else if counted && stalled_ms >= core.timing.stall_ms {
                mark("primary: member stalls");
                let reason = format!("it is heard, but confirmed nothing for {stalled_ms} ms");
                Some((Note::PeerStalled { node, stalled_ms }, reason))
            } else {
                None
            };
            match lost {
                // A set that changes would make a switchover void that is over in a moment.
                None if self.drain.is_some() => {}
                None if member.is_none() || member != peer.incarnation => self.grow(core, node, state.in_sync_version, now),
                None => {}
                Some((note, reason)) if member.is_some() || peer.growth_asked.is_some() => {
                    self.shrink(core, node, state.in_sync_version, (note, reason), now)
                }
                Some((note, _)) => self.stop_counting(core, node, note, now),
            }
        }
    }

    /// It was lost on its way into the set, and was not proposed yet: commits need not wait for it.
    fn stop_counting(&mut self, core: &Core, node: NodeId, note: Note, now: Now) {
        if let Some(peer) = self.peers.get_mut(&node).filter(|peer| peer.joining != Joining::No) {
            mark("primary: lost on its way into the set");
            peer.joining = Joining::No;
            if matches!(note, Note::PeerStalled { .. }) {
                peer.stalled(self.sync_to, core.timing.stall_ms, now.mono);
            }
            self.measure_lease(core);
        }
    }

    fn shrink(&mut self, core: &mut Core, remove: NodeId, expected: u64, (note, reason): (Note, String), now: Now) {
        let command = Command::ShrinkInSync {
            volume: core.me.volume,
            epoch: self.epoch,
            node: core.me.node,
            incarnation: core.me.incarnation,
            remove,
            expected,
            reason,
            at: now.wall,
        };
        if core.propose(Purpose::Shrink(remove), now, command) {
            mark("primary: shrink proposed");
            let stalled = matches!(note, Note::PeerStalled { .. });
            core.note(note);
            if let Some(peer) = self.peers.get_mut(&remove).filter(|_| stalled) {
                peer.stalled(self.sync_to, core.timing.stall_ms, now.mono);
            }
        }
    }

    /// Growth in two steps, so that no moment exists in which a member could miss an acknowledged record: first it is counted
    /// for every commit, then, once it holds everything from before, it is added.
    fn grow(&mut self, core: &mut Core, node: NodeId, expected: u64, now: Now) {
        let bearable = self.lease_bears(core, node, now);
        let (Some(peer), Some(volume)) = (self.peers.get_mut(&node), core.volume.as_ref()) else { return };
        let Some(incarnation) = peer.incarnation.filter(|_| peer.state == State::Streaming) else { return };
        match peer.joining {
            // Its word for the lease is under way: without it the lease would end here and now, and clients would notice.
            Joining::No if !bearable => {}
            Joining::No
                if peer.flight_bytes() < APPEND_BYTES_MAX as u64 && peer.sent == volume.last() && peer.may_join(now.mono) =>
            {
                let from = volume.last().position;
                mark("primary: secondary counted");
                peer.join(from, now.mono);
                self.want_durable(core, from);
                self.measure_lease(core);
            }
            Joining::Counted { from } if peer.durable >= from || planted(Bug::GrowEarly) => {
                let command = Command::GrowInSync {
                    volume: core.me.volume,
                    epoch: self.epoch,
                    node: core.me.node,
                    incarnation: core.me.incarnation,
                    add: node,
                    added_incarnation: incarnation,
                    position: from,
                    expected,
                    at: now.wall,
                };
                if core.propose(Purpose::Grow(node), now, command) {
                    mark("primary: growth proposed");
                    peer.growth_asked = Some(expected);
                }
            }
            _ => {}
        }
    }

    /// Somebody waits for everything up to `at` to be durable on every member.
    pub(crate) fn want_durable(&mut self, core: &mut Core, at: Position) {
        if at > self.sync_to {
            self.sync_to = at;
            self.peers.values_mut().for_each(|peer| peer.poke = true);
        }
        if let Some(volume) = core.volume.as_mut().filter(|volume| volume.durable() < at) {
            volume.want_sync(at);
        }
    }

    // ---- time, end of the reign ------------------------------------------------------------------------------------------

    pub fn tick(&mut self, core: &mut Core, now: Now) {
        let due = self.lease.last_sent().is_none_or(|sent| now.mono.ms_since(sent) >= core.timing.heartbeat_ms);
        if due {
            self.renew(core, now);
        }
        self.tend_in_sync_set(core, now);
        self.follow_members(core, now);
    }

    pub fn poll(&mut self, core: &mut Core, now: Now) {
        self.watch_lease(core, now);
        self.run_held(core, now);
        self.feed_peers(core, now);
        self.advance_commit(core);
        self.release(core, now);
        if let Some(at) = self.source.waits_for() {
            self.want_durable(core, at);
        }
        self.source.release(core, self.commit_durable, now);
        self.note_in_step(core);
        self.tend_drain(core, now);
        self.finish_stop(core, now);
        self.check_invariants(core);
    }

    fn note_in_step(&mut self, core: &mut Core) {
        let last = core.last_position();
        for (node, peer) in self.peers.iter_mut().filter(|(_, peer)| !peer.reported_in_step) {
            if peer.state == State::Streaming && peer.received >= last {
                peer.reported_in_step = true;
                core.out.push(Effect::Note(Note::PeerInStep { node: *node, position: peer.received }));
            }
        }
    }

    pub fn stop(&mut self, core: &mut Core, now: Now) {
        self.stage = Stage::Stopping;
        self.stop_by = Some(now.mono.after_ms(core.timing.lease_ms));
        for (ticket, _) in self.held.drain(..) {
            core.out.push(Effect::Abandon { ticket });
        }
        self.want_durable(core, core.last_position());
    }

    /// Everything durable everywhere, or out of patience: release the address first, then hand the epoch back.
    fn finish_stop(&mut self, core: &mut Core, now: Now) {
        let Some(stop_by) = self.stop_by else { return };
        let settled = self.answers_waiting() == 0 && self.commit_durable >= self.sync_to;
        if self.stepped_down || !(settled || now.mono >= stop_by) {
            return;
        }
        mark(if settled { "primary: stops settled" } else { "primary: stops out of patience" });
        self.stepped_down = true;
        core.serve(ServeMode::Closed);
        let command = Command::StepDown {
            volume: core.me.volume,
            epoch: self.epoch,
            node: core.me.node,
            incarnation: core.me.incarnation,
            at: now.wall,
        };
        core.propose(Purpose::StepDown, now, command);
    }

    pub fn stopped(&self, core: &Core) -> bool {
        self.stepped_down && !core.is_asked(Purpose::StepDown)
    }

    /// The reign is over. Nothing that is not committed may be answered: the successor decides what became of it.
    pub fn abdicate(mut self, core: &mut Core) {
        core.serve(ServeMode::Closed);
        let waiting = self.waiting.drain().chain(self.changes.drain()).map(|answer| answer.ticket);
        let reading = std::mem::take(&mut self.reading).into_values().map(|(ticket, _)| ticket);
        let held = std::mem::take(&mut self.held).into_iter().map(|(ticket, _)| ticket);
        let tickets: Vec<u64> = waiting.chain(reading).chain(held).collect();
        core.out.extend(tickets.into_iter().map(|ticket| Effect::Abandon { ticket }));
    }

    pub(crate) fn answers_waiting(&self) -> usize {
        self.waiting.len() + self.changes.len()
    }

    pub fn clients_waiting(&self) -> usize {
        self.answers_waiting() + self.held.len() + self.reading.len()
    }

    pub fn next_timer(&self, core: &Core, now: Now) -> Mono {
        let renew = self.lease.last_sent().unwrap_or(Mono::ZERO).after_ms(core.timing.heartbeat_ms);
        let expiry = if self.stage == Stage::Serving { self.lease_until } else { renew };
        let drain = self.drain.map_or(renew, |drain| drain.until);
        // Clients wait for a member that has fallen silent: it is to leave the set in time, not a heartbeat later.
        let silent = |node: &NodeId| Some(core.contacts.get(*node)?.heard.after_ms(core.timing.shrink_ms));
        let silent = self.peers.keys().filter_map(silent).filter(|at| *at > now.mono).min().unwrap_or(renew);
        renew.min(expiry).min(drain).min(silent).min(self.stop_by.filter(|_| !self.stepped_down).unwrap_or(renew))
    }

    pub fn peer_status(&self, core: &Core) -> BTreeMap<NodeId, PeerStatus> {
        let in_sync = core.state().map(|state| &state.in_sync);
        let last = core.last_position();
        let status = |(node, peer): (&NodeId, &Peer)| {
            let state = match peer.state {
                State::Unknown => "unknown",
                State::RollingBack => "rolling-back",
                State::Resyncing => "resyncing",
                State::Streaming if peer.received < last => "catching-up",
                State::Streaming => "in-step",
            };
            let in_sync = in_sync.is_some_and(|set| set.contains_key(node));
            let (received, durable, applied) = (peer.received, peer.durable, peer.applied);
            (*node, PeerStatus { state, in_sync, received, durable, applied, lag_bytes: peer.flight_bytes() })
        };
        self.peers.iter().map(status).collect()
    }

    fn check_invariants(&self, core: &Core) {
        assert!(self.commit_durable <= self.commit, "{} > {}", self.commit_durable, self.commit);
        assert!(self.commit <= core.last_position());
        assert!(self.acknowledged.0 <= self.commit && self.acknowledged.1 <= self.commit_durable);
        assert!(core.serve != ServeMode::ReadWrite || matches!(self.stage, Stage::Serving | Stage::Stopping));
    }
}

/// Whether the volume wants two copies and the agreed in-sync set has one: then no change is acknowledged, and reads go on.
pub(crate) fn waits_for_second_copy(core: &Core) -> bool {
    let waits = core.state().is_some_and(|state| state.waits_for_second_copy()) && !planted(Bug::AckAlone);
    if waits {
        mark("primary: alone, and the volume wants two copies");
    }
    waits
}

/// Up to where two histories are the same. Within one epoch only one node ever wrote (R1), so where both have an epoch that
/// began at the same position, they agree until the earlier of its two ends.
fn common_position(ours: &[EpochStart], our_last: Position, theirs: &[EpochStart], their_last: LogPoint) -> Position {
    let end = |lineage: &[EpochStart], index: usize, last: Position| {
        lineage.get(index + 1).map_or(last, |next| Position(next.first.0.saturating_sub(1)))
    };
    for (index, start) in theirs.iter().enumerate().rev() {
        if let Some(our_index) = ours.iter().position(|our| our == start) {
            return end(ours, our_index, our_last).min(end(theirs, index, their_last.position));
        }
    }
    Position(0)
}

/// Where both chains are known at the same position they must agree; a difference is damage, healed like a divergence.
fn same_history(ours: Option<LogPoint>, theirs: LogPoint, at: Position) -> bool {
    at != theirs.position || ours.is_none_or(|ours| ours == theirs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Settings;
    use mainstay_protocol::{ClusterId, Incarnation, Timestamp, VolumeId};
    use mainstay_volume::{MemDisk, Options, Volume};

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);

    /// Counts of records in the Appends since it was asked last.
    fn appended(core: &mut Core) -> Vec<u32> {
        let count = |effect: Effect| match effect {
            Effect::Send { envelope, .. } => match envelope.message {
                PeerMessage::Append { count, .. } => Some(count),
                _ => None,
            },
            _ => None,
        };
        core.out.drain(..).filter_map(count).collect()
    }

    #[test]
    fn what_could_not_be_read_for_a_secondary_is_read_again_after_a_pause() {
        let now = |ms| Now { mono: Mono::ZERO.after_ms(ms), wall: Timestamp::new(1_700_000_000, 0) };
        let (disk, volume) = (Arc::new(MemDisk::new()), VolumeId(1));
        let options = Options { segment_bytes: 4 << 20, reserve_bytes: 8 << 20, tail_cache_bytes: 1 << 20, ..Options::default() };
        Volume::create(disk.clone(), ClusterId([7; 16]), volume, options.clone()).expect("an empty disk");
        let copy = Volume::open(disk, ClusterId([7; 16]), volume, options).expect("what was made");
        let me = Settings { node: A, incarnation: Incarnation(1), volume };
        let mut core = Core::new(me, Some(copy), Default::default(), Arc::default(), now(0));
        let mut primary = Primary::take_up(&mut core, Epoch(1), 1, now(0)).expect("an empty volume");
        let mut peer = Peer::new(now(0).mono);
        peer.start(LogPoint::default(), Position(0), StreamId::default());
        peer.loading = Some(7);
        primary.peers.insert(B, peer);
        primary.loading.insert(7, B);
        core.out.clear();
        primary.on_records(&mut core, 7, Vec::new(), now(0));
        assert!(!primary.feed(&mut core, B, now(1)));
        assert_eq!(appended(&mut core), [0], "a heartbeat and no record");
        let later = now(core.timing.retry_ms);
        assert!(primary.feed(&mut core, B, later));
        assert_eq!(appended(&mut core), [1]);
    }

    fn lineage(starts: &[(u64, u64)]) -> Vec<EpochStart> {
        starts.iter().map(|(epoch, first)| EpochStart { epoch: Epoch(*epoch), first: Position(*first) }).collect()
    }

    fn common(ours: &[(u64, u64)], our_last: u64, theirs: &[(u64, u64)], their_last: u64) -> u64 {
        let last = LogPoint { position: Position(their_last), ..LogPoint::default() };
        common_position(&lineage(ours), Position(our_last), &lineage(theirs), last).0
    }

    #[test]
    fn histories_are_compared_by_epoch_and_position() {
        assert_eq!(common(&[(1, 1)], 50, &[(1, 1)], 30), 30, "a prefix");
        assert_eq!(common(&[(1, 1), (2, 41)], 50, &[(1, 1)], 45), 40, "a tail that the new epoch does not have");
        assert_eq!(common(&[(1, 1), (2, 41)], 50, &[(1, 1)], 40), 40);
        assert_eq!(common(&[(1, 1), (3, 41)], 50, &[(1, 1), (2, 31)], 60), 30, "an epoch that we never had");
        assert_eq!(common(&[(1, 1)], 50, &[], 0), 0, "an empty copy");
    }
}
