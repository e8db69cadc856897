//! What the daemon does around a replica: executes its effects, later, and brings back what came of them.

use super::clients::ClientEvent;
use super::node::{Caller, Lane, Node, NodeEvent, NodeState, Process};
use super::{CLUSTER, Event, VOLUME, Violation, World, volume_options};
use crate::checkers::{p1_promises, p2_empty, p2_kept_records};
use crate::disk::{Crash, SimDisk, lock};
use crate::network::{Class, End};
use crate::queue::{MICROSECOND, MILLISECOND, SECOND, Time};
use crate::rng::Rng;
use crate::sizing::{BULK_BYTES_MIN, Scaled};
use crate::timeline::MarkKind;
use crate::trace::Trace;
use mainstay_cluster::{Command, Rule};
use mainstay_protocol::peer::Envelope;
use mainstay_protocol::{FileResult, Incarnation, Mono, NodeId, PeerMessage};
use mainstay_replica::{Effect, Event as ReplicaEvent, Note, Replica, ServeMode, Settings, StoredPromise};
use mainstay_volume::{DiskEffect, Lane as DiskLane, OpenError, Options, Volume, perform};
use std::sync::Arc;

/// Tickets of the shell's own proposals; a replica counts its own from below.
pub const ANNOUNCE_TICKET: u64 = u64::MAX;
/// From here on up to it: of persons who wait for it at this node, one each.
pub const BY_HAND_TICKETS: u64 = u64::MAX - (1 << 32);
/// One message of so many goes through the wire's encoding; encoding all would only cost time.
const ENCODE_ONE_IN: u64 = 16;
/// Bytes of a message besides its payload, roughly.
const MESSAGE_BYTES: usize = 100;

impl World {
    pub(super) fn node_event(&mut self, id: NodeId, boot: u64, event: NodeEvent) {
        let node = self.nodes.get_mut(&id).expect("nodes never vanish");
        if boot != 0 && boot != node.boot {
            return;
        }
        match node.state {
            NodeState::Off | NodeState::Booting => self.nobody_home(id, event),
            // A machine that sleeps hears nothing; what its own process waits for is still there when it wakes.
            NodeState::Paused if node.asleep && matches!(event, NodeEvent::Peer(_) | NodeEvent::Call { .. }) => {}
            NodeState::Paused => node.inbox.push_back((boot, event)),
            NodeState::Running => self.deliver(id, event),
        }
    }

    /// A message to a machine that is off vanishes; one to a machine without the process is refused.
    fn nobody_home(&mut self, id: NodeId, event: NodeEvent) {
        if let NodeEvent::Call { caller, .. } = event
            && self.nodes[&id].state == NodeState::Booting
        {
            self.reset_connection(id, caller);
        }
    }

    fn deliver(&mut self, id: NodeId, event: NodeEvent) {
        match event {
            NodeEvent::Peer(envelope) => {
                self.hash.mix(envelope_word(&envelope));
                self.peer(id, *envelope)
            }
            NodeEvent::Call { caller, request } => self.call(id, caller, *request),
            NodeEvent::Poll => self.poll(id),
            NodeEvent::Wake(at) => {
                let process = self.process(id);
                if process.wake_at == at {
                    process.wake_at = Time::MAX;
                    self.step(id, ReplicaEvent::Tick);
                }
            }
            NodeEvent::DiskRun(effect) => self.disk_run(id, effect),
            NodeEvent::DiskDone { id: effect, event } => {
                self.disk_finished(id, effect);
                self.step(id, ReplicaEvent::Disk(*event));
            }
            NodeEvent::PromiseStored(promise) => {
                let node = self.nodes.get_mut(&id).expect("nodes never vanish");
                node.promise = promise;
                node.promises_writing.retain(|writing| *writing != promise);
                self.step(id, ReplicaEvent::PromiseStored(promise));
            }
            NodeEvent::Decided(view) => {
                self.hash.mix(view.version);
                let (gone, current) = self.place_of(id, &view);
                if gone {
                    return self.stopped(id);
                }
                self.step(id, ReplicaEvent::Decided(view));
                if current {
                    self.place_copy(id);
                }
            }
            NodeEvent::Proposed { ticket: ANNOUNCE_TICKET, .. } => {}
            NodeEvent::Proposed { ticket: ticket @ BY_HAND_TICKETS.., result } => self.by_hand_decided(id, ticket, &result),
            NodeEvent::Proposed { ticket, result } => self.step(id, ReplicaEvent::Proposed { ticket, result: *result }),
            NodeEvent::Announce => self.announce(id),
            NodeEvent::SwitchOff(order) => self.switch_off(id, &order),
            NodeEvent::SwitchOffByHand { epoch } => self.switch_off_by_hand(id, epoch),
            NodeEvent::FenceByHandNotRun { asked_at } => self.fence_by_hand_not_run(id, asked_at),
            NodeEvent::FenceByHandEnds { asked_at, verifies } => self.fence_by_hand_ends(id, asked_at, verifies),
            NodeEvent::FenceEnds { proposal, verifies } => self.fence_ends(id, proposal, verifies),
        }
    }

    fn peer(&mut self, id: NodeId, envelope: Envelope) {
        let (promise, now, lost_ms) = (self.nodes[&id].promise, self.queue.now(), self.decided.settings.contact_lost_ms);
        self.checkers.live.heard(now, id, envelope.from, lost_ms);
        let replica = &self.process(id).replica;
        let stale = p1_promises::before(&envelope.message, promise, replica);
        let last = p2_kept_records::before(&envelope.message, replica);
        self.step(id, ReplicaEvent::Peer(envelope));
        let replica = &self.nodes[&id].process.as_ref().expect("a step ends no process").replica;
        let taken = stale.and_then(|stale| p1_promises::after(stale, replica, &self.decided.node_name(id)));
        let gone = last.and_then(|last| p2_kept_records::after(last, id, &self.decided, &self.nodes));
        let judged = |property, found: Option<(Rule, String)>| found.map(|(rule, text)| Violation::new(property, Some(rule), text));
        self.record(judged("P1", taken).into_iter().chain(judged("P2", gone)));
    }

    pub(super) fn process(&mut self, id: NodeId) -> &mut Process {
        let node = self.nodes.get_mut(&id).expect("nodes never vanish");
        node.process.as_mut().expect("a running node has a process")
    }

    fn later(&mut self, id: NodeId, delay: Time, event: NodeEvent) {
        let boot = self.nodes[&id].boot;
        self.queue.after(delay, Event::Node { node: id, boot, event });
    }

    /// One input; the poll follows a little later, so that inputs of the same moment share it.
    pub(super) fn step(&mut self, id: NodeId, event: ReplicaEvent) {
        let now = self.queue.now();
        let node = self.nodes.get_mut(&id).expect("nodes never vanish");
        let at = node.clock.now(now);
        let process = node.process.as_mut().expect("a running node has a process");
        let alone = process.replica.view().volumes.get(&VOLUME).is_some_and(|volume| volume.waits_for_second_copy());
        process.replica.step(at, event);
        if !process.polling {
            process.polling = true;
            process.began_alone = alone;
            let delay = node.rng.below(30 * MICROSECOND);
            self.later(id, delay, NodeEvent::Poll);
        }
    }

    fn poll(&mut self, id: NodeId) {
        let now = self.queue.now();
        let node = self.nodes.get_mut(&id).expect("nodes never vanish");
        let at = node.clock.now(now);
        let process = node.process.as_mut().expect("a running node has a process");
        // The turn may have been finished early.
        if !std::mem::take(&mut process.polling) {
            return;
        }
        let mut effects = std::mem::take(&mut self.effects);
        process.replica.poll(at, &mut effects);
        for effect in effects.drain(..) {
            // The last one may have been that it stops.
            if self.nodes[&id].process.is_some() {
                self.execute(id, effect);
            }
        }
        self.effects = effects;
        self.set_timer(id);
    }

    /// Polls now if a poll is due.
    pub(super) fn finish_turn(&mut self, id: NodeId) {
        if self.process(id).polling {
            self.poll(id);
        }
    }

    fn set_timer(&mut self, id: NodeId) {
        let now = self.queue.now();
        let node = self.nodes.get_mut(&id).expect("nodes never vanish");
        let Some(process) = node.process.as_mut() else { return };
        let due = process.replica.next_timer(node.clock.now(now));
        let at = node.clock.when(due).max(now);
        if at < process.wake_at {
            process.wake_at = at;
            self.later(id, at - now, NodeEvent::Wake(at));
        }
    }

    fn execute(&mut self, id: NodeId, effect: Effect) {
        match effect {
            Effect::Send { to, envelope } => self.send(id, to, envelope),
            Effect::Reply { ticket, result } => self.reply(id, ticket, result),
            Effect::Abandon { ticket } => {
                if let Some(caller) = self.process(id).callers.remove(&ticket) {
                    self.reset_connection(id, caller);
                }
            }
            Effect::Disk(effect) => self.disk_effect(id, effect),
            Effect::StorePromise(promise) => self.store_promise(id, promise),
            Effect::Propose { ticket, command } => self.propose(id, ticket, command),
            Effect::Serve(mode) => self.serve(id, mode),
            Effect::Marked { ticket, position } => self.marks.marked(ticket, position),
            Effect::Digest { position, digest } => self.marks.digest(id, position, digest),
            Effect::Note(note) => self.note(id, note),
            Effect::Stopped => self.stopped(id),
            Effect::Fence(order) => self.fence(id, order),
            Effect::StopFence(proposal) => self.stop_fence(id, proposal),
        }
    }

    fn note(&mut self, id: NodeId, note: Note) {
        match &note {
            Note::ResyncByChange { .. } => self.stats.resyncs_by_change += 1,
            Note::RolledBack { to, records, .. } => {
                self.stats.roll_backs += 1;
                self.mark(id, MarkKind::RollBack, || format!("{records} records above {to} are in quarantine"));
            }
            _ => {}
        }
        // Nothing else leaves a copy behind that holds what is committed.
        if let (Note::Superseded { records, .. }, true) = (&note, self.given_up) {
            self.superseded.insert(id);
            self.mark(id, MarkKind::RollBack, || format!("{records} records are in quarantine; the copy is of no use any more"));
        }
        self.trace(Trace::Brief, || format!("{id} notes {note:?}"));
        self.checkers.kept.noted(id, &note);
        let allowed = self.plan.expect.damage || self.disk_was_faulty(id) || self.superseded.contains(&id);
        if let Note::VolumeFailed { reason } = note
            && !allowed
        {
            self.violate("P7", None, format!("{id} gave up its copy without a fault of the disk: {reason}"));
        }
    }

    // ---- peers ---------------------------------------------------------------------------------------------------------

    fn send(&mut self, from: NodeId, to: NodeId, mut envelope: Envelope) {
        // Somebody was let in whose machine never comes.
        if !self.nodes.contains_key(&to) {
            return;
        }
        if let Some(sized) = &self.plan.sized {
            scale_request(&mut envelope, sized);
        }
        self.stats.messages += 1;
        let now = self.queue.now();
        let found = self.checkers.sent(now, to, &envelope, &self.decided, &self.nodes);
        self.record(found);
        self.trace(Trace::Full, || format!("{from} -> {to} {}", envelope_text(&envelope)));
        self.mark_message(to, &envelope);
        let bytes = self.weigh_message(to, &envelope);
        let class = if envelope.message.is_control() { Class::Control } else { Class::Bulk };
        let arrivals = self.network.send(now, (End::Node(from), End::Node(to)), class, bytes);
        let envelope = Box::new(if self.rng.one_in(ENCODE_ONE_IN) { through_the_wire(envelope) } else { envelope });
        if let Some(at) = arrivals.second {
            self.queue.at(at, Event::Node { node: to, boot: 0, event: NodeEvent::Peer(envelope.clone()) });
        }
        if let Some(at) = arrivals.first {
            self.queue.at(at, Event::Node { node: to, boot: 0, event: NodeEvent::Peer(envelope) });
        }
    }

    /// Bytes that a message takes on the wire, after counting them. Where nobody runs there is no connection: nothing moves.
    fn weigh_message(&mut self, to: NodeId, envelope: &Envelope) -> usize {
        let payload = envelope.payload_len();
        let bulk = self.plan.sized.map(|_| Scaled::bulk(&envelope.payload));
        if !self.nodes[&to].up() {
            return if bulk.is_some() { 0 } else { MESSAGE_BYTES + payload };
        }
        self.stats.bytes_moved += payload as u64;
        self.checkers.p6.sent(to, envelope);
        self.bulk_moved += bulk.unwrap_or(0);
        bulk.map_or(MESSAGE_BYTES + payload, |bulk| bulk as usize)
    }

    // ---- clients' side of the node ---------------------------------------------------------------------------------------

    fn call(&mut self, id: NodeId, caller: Caller, request: mainstay_protocol::ClientRequest) {
        if self.process(id).mode == ServeMode::Closed {
            // The address is not here: nobody listens.
            return self.reset_connection(id, caller);
        }
        if !self.still_wanted(&caller) {
            return;
        }
        let process = self.process(id);
        process.ticket_last += 1;
        let ticket = process.ticket_last;
        process.callers.insert(ticket, caller);
        self.step(id, ReplicaEvent::Client { ticket, request });
    }

    fn reply(&mut self, id: NodeId, ticket: u64, result: FileResult) {
        let incarnation = Incarnation(self.nodes[&id].incarnation);
        let process = self.process(id);
        let mode = process.mode;
        let Some(caller) = process.callers.remove(&ticket) else { return };
        let found = self.checkers.replied((id, incarnation), mode, &result, &self.decided);
        self.record(found);
        let change = self.clients[caller.client as usize].asks_now(&caller);
        if let Some(text) = self.checkers.alone.replied(&self.nodes[&id], change && result.is_ok()) {
            self.violate("P2", None, text);
        }
        self.trace(Trace::Full, || format!("{id} answers client {} {}", caller.client, result_text(&result)));
        let event = ClientEvent::Answer { caller, result: Box::new(result), current: mode == ServeMode::ReadWrite };
        self.to_client(id, caller.client, event);
    }

    pub(super) fn reset_connection(&mut self, id: NodeId, caller: Caller) {
        self.to_client(id, caller.client, ClientEvent::Reset { connection: caller.connection });
    }

    #[allow(clippy::wrong_self_convention, reason = "sends to a client, converts nothing")]
    fn to_client(&mut self, from: NodeId, client: u32, event: ClientEvent) {
        let now = self.queue.now();
        let arrivals = self.network.send(now, (End::Node(from), End::Client(client)), Class::Control, MESSAGE_BYTES);
        if let Some(at) = arrivals.first {
            self.queue.at(at, Event::Client { client, event });
        }
    }

    fn serve(&mut self, id: NodeId, mode: ServeMode) {
        self.trace(Trace::Brief, || format!("{id} serves {mode:?}"));
        let process = self.process(id);
        process.mode = mode;
        let last = process.replica.volume().map(|volume| volume.last().position);
        let found = last.and_then(|last| p2_empty::shown(mode, last));
        self.record(found.map(|text| Violation::new("P2", Some(Rule::R15), format!("{id}: {text}"))));
        let process = self.process(id);
        if mode == ServeMode::Closed {
            // The address is gone and with it its connections.
            let callers = std::mem::take(&mut process.callers);
            callers.into_values().for_each(|caller| self.reset_connection(id, caller));
        } else {
            self.nodes.get_mut(&id).expect("nodes never vanish").had_address = true;
        }
    }

    // ---- disk ----------------------------------------------------------------------------------------------------------

    fn store_promise(&mut self, id: NodeId, promise: StoredPromise) {
        let node = self.nodes.get_mut(&id).expect("nodes never vanish");
        node.promises_writing.push(promise);
        // One file, written in order: equal delays keep the order.
        let delay = MILLISECOND + node.hang_until.saturating_sub(self.queue.now());
        self.later(id, delay, NodeEvent::PromiseStored(promise));
    }

    fn disk_effect(&mut self, id: NodeId, effect: DiskEffect) {
        let process = self.process(id);
        match effect.lane() {
            DiskLane::Log => process.log.queue.push_back(effect),
            DiskLane::Background => process.background.queue.push_back(effect),
            DiskLane::Read => {
                process.effect_last += 1;
                let effect_id = process.effect_last;
                process.reads.insert(effect_id, effect);
                let delay = self.disk_delay(id, 20 * MICROSECOND, 500 * MICROSECOND);
                return self.later(id, delay, NodeEvent::DiskRun(effect_id));
            }
        }
        self.start_lanes(id);
    }

    fn disk_delay(&mut self, id: NodeId, low: Time, high: Time) -> Time {
        let now = self.queue.now();
        let node = self.nodes.get_mut(&id).expect("nodes never vanish");
        let slow = if node.rng.one_in(200) { 40 } else { 1 };
        node.hang_until.saturating_sub(now) + slow * node.slow * node.rng.log_range(low, high)
    }

    fn start_lanes(&mut self, id: NodeId) {
        let merges = self.rng.percent(60);
        let process = self.process(id);
        let mut started = [None, None];
        for (lane, started) in [&mut process.log, &mut process.background].into_iter().zip(&mut started) {
            if lane.running.is_none()
                && lane.finishing.is_none()
                && let Some(effect) = next_of(lane, merges)
            {
                process.effect_last += 1;
                lane.running = Some((process.effect_last, effect));
                *started = Some(process.effect_last);
            }
        }
        if let Some(effect) = started[0] {
            let delay = self.disk_delay(id, 30 * MICROSECOND, MILLISECOND);
            self.later(id, delay, NodeEvent::DiskRun(effect));
        }
        if let Some(effect) = started[1] {
            let delay = self.disk_delay(id, 200 * MICROSECOND, 8 * MILLISECOND);
            self.later(id, delay, NodeEvent::DiskRun(effect));
        }
    }

    fn disk_run(&mut self, id: NodeId, effect_id: u64) {
        let disk = self.nodes[&id].disk().expect("only file servers have disk effects");
        let process = self.process(id);
        let mut effect = process.reads.remove(&effect_id);
        for lane in [&mut process.log, &mut process.background] {
            if lane.running.as_ref().is_some_and(|(running, _)| *running == effect_id) {
                effect = lane.running.take().map(|(_, effect)| effect);
                lane.finishing = Some(effect_id);
            }
        }
        let effect = effect.expect("it was scheduled");
        let (read, appends, wrote) = (read_bytes(&effect), matches!(effect, DiskEffect::Log(_)), disk.bulk_written());
        let event = Box::new(perform(effect, &disk));
        // A segment that is prepared is of simulated bytes: it stands for nothing.
        let wrote = if appends { disk.bulk_written() - wrote } else { 0 };
        let busy = self.plan.sized.as_ref().map_or(0, |sized| sized.disk_time(read + wrote));
        let delay = busy + self.rng.below(40 * MICROSECOND);
        self.later(id, delay, NodeEvent::DiskDone { id: effect_id, event });
    }

    fn disk_finished(&mut self, id: NodeId, effect_id: u64) {
        let process = self.process(id);
        for lane in [&mut process.log, &mut process.background] {
            if lane.finishing == Some(effect_id) {
                lane.finishing = None;
            }
        }
        self.start_lanes(id);
    }

    // ---- life and death --------------------------------------------------------------------------------------------------

    /// A process starts: next incarnation, recovery, and word of it to the cluster.
    pub(super) fn boot(&mut self, id: NodeId, boot: u64) {
        let now = self.queue.now();
        let node = self.nodes.get_mut(&id).expect("nodes never vanish");
        if node.boot != boot || node.state != NodeState::Booting {
            return;
        }
        node.incarnation += 1;
        node.runs_next = node.upgraded;
        node.restart_clock(now);
        let options = volume_options(&self.plan);
        let view = self.model.view(id);
        let holds = view.volumes.get(&VOLUME).is_some_and(|volume| volume.replicas.contains(&id));
        let volume = match node.disk().filter(|_| holds).map(|disk| open_volume(disk, options)).transpose() {
            Ok(volume) => volume,
            Err(error) => return self.open_failed(id, error.to_string()),
        };
        self.stats.boots += 1;
        self.checkers.live.booted(id);
        if let Some(volume) = &volume {
            let found = self.checkers.kept.opened(id, &self.decided.node_name(id), volume);
            let lost = self.checkers.rotten_disks.contains(&id) || self.checkers.new_disks.contains(&id);
            let found = found.filter(|_| !lost);
            self.record(found.map(|(rule, text)| Violation::new("P2", Some(rule), text)));
        }
        self.checkers.p6.booted(id);
        self.model.start(Mono(now), id);
        let view = self.model.view(id);
        let node = self.nodes.get_mut(&id).expect("nodes never vanish");
        let settings = Settings { node: id, incarnation: Incarnation(node.incarnation), volume: VOLUME };
        let replica = Replica::new(settings, volume, node.promise, view, node.clock.now(now));
        let process = Box::new(Process::new(replica));
        let node = self.nodes.get_mut(&id).expect("nodes never vanish");
        node.process = Some(process);
        node.state = NodeState::Running;
        let incarnation = node.incarnation;
        self.trace(Trace::Brief, || format!("{id} boots as i{incarnation}"));
        self.mark(id, MarkKind::Boot, || format!("boot {incarnation}"));
        self.tally.returned(now, id);
        self.weigh_copies();
        self.schedule_coordination();
        self.step(id, ReplicaEvent::Tick);
        self.set_hooks(id);
        self.announce(id);
        self.notice_set_back(id);
    }

    /// Whoever leads the coordination sees what the node lacks as soon as it asks it to go on. Here: any other that runs.
    fn notice_set_back(&mut self, id: NodeId) {
        let now = self.queue.now();
        let Some(by) = self.nodes.values().find(|node| node.id != id && node.state == NodeState::Running).map(|node| node.id)
        else {
            return;
        };
        let node = self.nodes.get_mut(&id).expect("nodes never vanish");
        if std::mem::take(&mut node.set_back) {
            let at = self.nodes[&by].clock.now(now).wall;
            self.propose(by, ANNOUNCE_TICKET, Command::SetBack { node: id, by, at });
        }
    }

    fn open_failed(&mut self, id: NodeId, error: String) {
        self.trace(Trace::Brief, || format!("{id} cannot open its copy: {error}"));
        if !self.plan.expect.damage && !self.disk_was_faulty(id) {
            return self.violate("P7", None, format!("{id} refuses to start: {error}"));
        }
        // What a person does with a copy that says that it is damaged, once the other one serves: its disk is emptied, and all comes
        // from there. Before, the supervisor tries again.
        if self.healing && self.plan.expect.damage && self.decided_primary().is_some_and(|primary| primary != id) {
            self.rebuild(id);
        }
        let boot = self.nodes[&id].boot;
        self.queue.after(5 * SECOND, Event::Boot { node: id, boot });
    }

    fn decided_primary(&self) -> Option<NodeId> {
        self.decided().volumes.get(&VOLUME)?.primary()
    }

    pub(super) fn rebuild(&mut self, id: NodeId) {
        self.trace(Trace::Brief, || format!("-- the copy of {id} is rebuilt from nothing"));
        self.checkers.kept.rebuilt(id);
        let Some(platter) = self.nodes[&id].platter.clone() else { return };
        lock(&platter).wipe();
    }

    /// Whether this disk was told to fail: only then a copy may be given up.
    fn disk_was_faulty(&self, id: NodeId) -> bool {
        self.checkers.faulty_disks.contains(&id)
    }

    fn announce(&mut self, id: NodeId) {
        let now = self.queue.now();
        let incarnation = Incarnation(self.nodes[&id].incarnation);
        if self.model.view(id).nodes.get(&id).is_some_and(|node| node.incarnation >= incarnation) {
            return;
        }
        let at = self.nodes[&id].clock.now(now).wall;
        let software = software(self.nodes[&id].runs_next).to_string();
        self.propose(id, ANNOUNCE_TICKET, Command::Booted { node: id, incarnation, software, at });
        self.later(id, SECOND, NodeEvent::Announce);
    }

    fn stopped(&mut self, id: NodeId) {
        self.trace(Trace::Brief, || format!("{id} has stopped"));
        self.end_process(id, Crash::Process, true);
    }

    pub(super) fn crash(&mut self, id: NodeId, crash: Crash) {
        self.end_process(id, crash, false);
    }

    /// The process is gone. What the disk was in the middle of is done in part.
    fn end_process(&mut self, id: NodeId, crash: Crash, asked: bool) {
        let now = self.queue.now();
        let node = self.nodes.get_mut(&id).expect("nodes never vanish");
        if node.state == NodeState::Off {
            return;
        }
        node.boot += 1;
        node.state = NodeState::Off;
        node.inbox.clear();
        (node.asleep, node.leaving) = (false, false);
        keep_some_promises(node);
        let process = node.process.take();
        if let Some(process) = &process {
            let complete = process.replica.volume().is_some_and(|volume| volume.complete());
            node.usable = complete && process.replica.status(node.clock.now(now)).failure.is_none();
        }
        let rng = &mut node.rng;
        if let (Some(mut process), Some(platter)) = (process, node.platter.as_ref()) {
            die_in_the_middle(&mut process, node.platter.as_ref().map(crate::disk::SimDisk::boot), rng);
            // Handles die before the volume is dropped, so that nothing is tidied up on the way out.
            crate::disk::lock(platter).crash(crash);
            let callers = std::mem::take(&mut process.callers);
            drop(process);
            if crash == Crash::Process {
                // The kernel closes the sockets of a dead process; of a dead machine nobody hears anything.
                callers.into_values().for_each(|caller| self.reset_connection(id, caller));
            }
        } else if let Some(platter) = node.platter.as_ref() {
            crate::disk::lock(platter).crash(crash);
        }
        self.model.stop(Mono(now), id);
        self.schedule_coordination();
        self.mark_crash(id, crash, asked);
        self.weigh_copies();
    }
}

/// What a node says that it runs.
pub(super) fn software(next: bool) -> &'static str {
    if next { "next" } else { "present" }
}

fn next_of(lane: &mut Lane, merges: bool) -> Option<DiskEffect> {
    let mut first = lane.queue.pop_front()?;
    if let (DiskEffect::Log(batch), true) = (&mut first, merges) {
        for next in lane.queue.drain(..) {
            let DiskEffect::Log(next) = next else { unreachable!("the log's lane holds log batches") };
            batch.merge(next);
        }
    }
    Some(first)
}

/// A promise that was being written may have reached the disk.
fn keep_some_promises(node: &mut Node) {
    for promise in std::mem::take(&mut node.promises_writing) {
        if !node.rng.percent(50) {
            break;
        }
        node.promise = promise;
    }
}

/// Effects that the disk had not got to are done up to some operation, or not at all.
pub(super) fn die_in_the_middle(process: &mut Process, disk: Option<crate::disk::SimDisk>, rng: &mut Rng) {
    let Some(disk) = disk else { return };
    for lane in [&mut process.log, &mut process.background] {
        if let Some((_, effect)) = lane.running.take().filter(|_| rng.percent(70)) {
            let operations = rng.log_range(1, 64) - 1;
            disk.die_after(operations);
            let _ = perform(effect, &disk);
        }
    }
}

/// One simulated byte stands for many, so what is asked for at a time is less by as much.
fn scale_request(envelope: &mut Envelope, sized: &Scaled) {
    if let PeerMessage::ChangesRequest { bytes_max, .. } = &mut envelope.message {
        *bytes_max = (*bytes_max).min(sized.batch_bytes);
    }
}

/// File data that an effect reads, if it is part of what is scaled.
fn read_bytes(effect: &DiskEffect) -> u64 {
    match effect {
        DiskEffect::Read(job) if job.bytes() >= BULK_BYTES_MIN as u64 => job.bytes(),
        _ => 0,
    }
}

/// As the daemon does it: a missing copy is begun empty, and filled by resync.
pub(super) fn open_volume(disk: SimDisk, options: Options) -> Result<Volume, OpenError> {
    let disk = Arc::new(disk);
    match Volume::open(disk.clone(), CLUSTER, VOLUME, options.clone()) {
        Err(OpenError::Missing) => {
            Volume::create(disk.clone(), CLUSTER, VOLUME, options.clone())?;
            Volume::open(disk, CLUSTER, VOLUME, options)
        }
        other => other,
    }
}

fn through_the_wire(envelope: Envelope) -> Envelope {
    let payload = bytes::Bytes::from(envelope.payload.concat());
    Envelope::decode(&envelope.encode_body(), payload).expect("what was encoded decodes")
}

fn envelope_word(envelope: &Envelope) -> u64 {
    match &envelope.message {
        PeerMessage::Append { after, count, commit, .. } => after.chain.0 as u64 ^ (*count as u64) << 32 ^ commit.0,
        PeerMessage::Acknowledge { received, durable, .. } => received.0 << 32 | durable.0,
        _ => envelope.from.0 as u64,
    }
}

pub(super) fn envelope_text(envelope: &Envelope) -> String {
    match &envelope.message {
        PeerMessage::Contact { .. } => "Contact".into(),
        PeerMessage::Changes { batch, .. } => {
            format!(
                "Changes {} items to {:?} done {} at {} ({} B)",
                batch.items.len(),
                batch.next,
                batch.done,
                batch.at,
                envelope.payload_len()
            )
        }
        message => format!("{message:?} ({} B)", envelope.payload_len()),
    }
}

pub(super) fn result_text(result: &FileResult) -> String {
    match result {
        Ok(ok) => format!("{ok:?}").chars().take(160).collect(),
        Err(failure) => format!("{:?}", failure.error),
    }
}
