//! Clients as kernel NFS clients are: a connection that breaks, retries with the same identity, a new identity after "try again
//! later", and another node when the address has moved.

use super::node::{Caller, NodeEvent, NodeState};
use super::{Event, Node, VOLUME, World};
use crate::network::{Class, End};
use crate::nfs_client::Wire;
use crate::queue::{MILLISECOND, SECOND, Time};
use crate::rng::Rng;
use crate::scenario::{A, B, Plan};
use crate::trace::Trace;
use crate::units;
use crate::workload::{BulkWorker, FileWorker, RegisterOp, RegisterWorker};
use mainstay_nfs::Context;
use mainstay_protocol::{Caller as Credential, ClientRequest, FileError, FileRequest, FileResult, NodeId, RequestId};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::rc::Rc;

/// Registers that all register workers share.
pub const REGISTERS: usize = 3;
/// The client that walks the tree at the end.
pub const AUDITOR: u32 = 0;
/// First patience for an answer; doubles up to the last.
const PATIENCE: (Time, Time) = (400 * MILLISECOND, 4 * SECOND);

pub enum ClientEvent {
    /// `current`: presented as current; otherwise marked as read without a primary (R15).
    Answer { caller: Caller, result: Box<FileResult>, current: bool },
    /// The connection is gone.
    Reset { connection: u64 },
    /// A slot's own timer: time for an operation, or out of patience.
    Timer { slot: usize, timer: u64 },
}

pub enum Job {
    Files(Box<FileWorker>),
    Registers(RegisterWorker),
    /// Of a run that stands for a larger one.
    Bulk(BulkWorker),
    /// Asks what it is told to, for the final walk.
    Audit(Option<FileRequest>, Option<FileResult>),
}

struct Outstanding {
    request: ClientRequest,
    /// Of clients that speak NFS: how the answer travels.
    context: Option<Context>,
    invoked: Time,
    tries: u32,
    give_up_at: Time,
    leaves_a_record: bool,
    /// The timer means: send now. Otherwise it means that patience is over.
    to_send: bool,
}

pub struct Slot {
    pub job: Job,
    outstanding: Option<Outstanding>,
    /// Counts identities: each request, and each one again after "try again later".
    sequence: u64,
    /// Counts timers; only the newest is alive.
    timer: u64,
    /// The job had nothing more to do when the clients were closing.
    finished: bool,
}

pub struct Client {
    id: u32,
    rng: Rng,
    xid: u32,
    connection: u64,
    target: Option<NodeId>,
    pub slots: Vec<Slot>,
    /// Gives up on an operation after a while (soft mount).
    soft: bool,
    /// Speaks NFS; the others hand their requests over as they are.
    wire: Option<Rc<Wire>>,
    /// Identities that were answered with "try again later": copies of them that are still under way must not be executed.
    void: BTreeSet<(usize, u64)>,
}

impl Client {
    fn new(id: u32, mut rng: Rng, soft: bool, wire: Option<Rc<Wire>>, jobs: Vec<Job>) -> Client {
        let slots = jobs.into_iter().map(|job| Slot { job, outstanding: None, sequence: 0, timer: 0, finished: false }).collect();
        let xid = rng.next() as u32;
        Client { id, rng, xid, connection: 1, target: None, slots, soft, wire, void: BTreeSet::new() }
    }

    /// A request under the next transaction number.
    fn identify(&mut self, request: FileRequest) -> (ClientRequest, Option<Context>) {
        self.xid = self.xid.wrapping_add(1);
        let address = Ipv4Addr::from_bits(0x0a00_0000 | self.id);
        if let Some(wire) = &self.wire {
            let (request, context) = wire.request(address, self.xid, &request);
            return (request, Some(context));
        }
        let identity = RequestId {
            client: address.to_ipv6_mapped().octets(),
            xid: self.xid,
            procedure: 100_003 << 8 | procedure(&request),
            checksum: (self.xid as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        };
        let identity = request.changes().then_some(identity);
        (ClientRequest { caller: Credential::default(), identity, request }, None)
    }

    /// Whether what is answered here is a change, or a COMMIT of some.
    pub(super) fn asks_now(&self, caller: &Caller) -> bool {
        let slot = &self.slots[caller.slot];
        let outstanding = slot.outstanding.as_ref().filter(|_| slot.sequence == caller.sequence);
        outstanding.is_some_and(|one| one.request.request.changes() || matches!(one.request.request, FileRequest::Commit { .. }))
    }

    pub(super) fn asks_for_change(&self, slot: usize) -> bool {
        self.slots[slot].outstanding.as_ref().is_some_and(|outstanding| outstanding.request.request.changes())
    }

    /// Operations that have no answer yet.
    pub fn waiting(&self) -> usize {
        self.slots.iter().filter(|slot| slot.outstanding.is_some()).count()
    }

    /// The node that it talks to.
    pub fn target(&self) -> Option<NodeId> {
        self.target
    }

    /// Everything asked is answered, and there is nothing more to ask.
    pub fn finished(&self) -> bool {
        self.id == AUDITOR || self.slots.iter().all(|slot| slot.outstanding.is_none() && slot.finished)
    }
}

/// RFC 1813's procedure numbers.
fn procedure(request: &FileRequest) -> u32 {
    match request {
        FileRequest::SetAttributes { .. } => 2,
        FileRequest::Write { .. } => 7,
        FileRequest::Create { .. } => 8,
        FileRequest::MakeDirectory { .. } => 9,
        FileRequest::MakeSymlink { .. } => 10,
        FileRequest::MakeNode { .. } => 11,
        FileRequest::Remove { .. } => 12,
        FileRequest::RemoveDirectory { .. } => 13,
        FileRequest::Rename { .. } => 14,
        FileRequest::Link { .. } => 15,
        _ => 0,
    }
}

impl World {
    pub(super) fn add_clients(&mut self) {
        let plan = self.plan.clone();
        let wire = Rc::new(Wire::default());
        // The final walk goes over the wire, as a mount's would.
        let auditor = Client::new(AUDITOR, self.rng.fork(), false, Some(wire.clone()), vec![Job::Audit(None, None)]);
        self.clients.push(auditor);
        for id in 1..=plan.clients {
            let mut rng = self.rng.fork();
            let mut jobs: Vec<Job> = (0..plan.workers_per_client)
                .map(|worker| Job::Files(Box::new(file_worker(rng.fork(), format!("c{id}w{worker}"), &plan))))
                .collect();
            if id <= plan.register_workers {
                jobs.push(Job::Registers(RegisterWorker::new(rng.fork(), id as u64, REGISTERS)));
            }
            let soft = rng.percent(plan.soft_percent);
            let wire = rng.percent(plan.nfs_percent).then(|| wire.clone());
            self.clients.push(Client::new(id, rng, soft, wire, jobs));
            for slot in 0..self.clients[id as usize].slots.len() {
                let delay = SECOND / 2 + self.rng.below(SECOND);
                self.set_client_timer(id, slot, delay);
            }
        }
        self.add_bulk_client();
    }

    /// What writes the change of a run that stands for a larger one.
    fn add_bulk_client(&mut self) {
        let Some(bulk) = self.plan.sized.map(|sized| sized.bulk) else { return };
        let (id, rng) = (self.clients.len() as u32, self.rng.fork());
        self.clients.push(Client::new(id, rng, false, None, vec![Job::Bulk(BulkWorker::new(bulk))]));
        self.set_client_timer(id, 0, bulk.begins);
    }

    fn set_client_timer(&mut self, client: u32, slot: usize, delay: Time) {
        let state = &mut self.clients[client as usize].slots[slot];
        state.timer += 1;
        let event = ClientEvent::Timer { slot, timer: state.timer };
        self.queue.after(delay, Event::Client { client, event });
    }

    pub(super) fn client_event(&mut self, client: u32, event: ClientEvent) {
        match event {
            ClientEvent::Timer { slot, timer } => {
                let state = &self.clients[client as usize].slots[slot];
                if state.timer != timer {
                } else if state.outstanding.is_some() {
                    self.out_of_patience(client, slot);
                } else {
                    self.next_operation(client, slot);
                }
            }
            ClientEvent::Reset { connection } => self.connection_lost(client, connection),
            ClientEvent::Answer { caller, result, current } => self.client_answered(caller, *result, current),
        }
    }

    // ---- asking ----------------------------------------------------------------------------------------------------------

    pub(super) fn next_operation(&mut self, client: u32, slot: usize) {
        let now = self.queue.now();
        let closing = self.closing;
        let (healing, soft) = (self.healing, self.clients[client as usize].soft);
        let state = &mut self.clients[client as usize];
        let (request, leaves_a_record) = match &mut state.slots[slot].job {
            Job::Files(worker) => (worker.next(closing), worker.leaves_a_record()),
            Job::Registers(worker) => (worker.next(closing), worker.current().1.is_some()),
            Job::Bulk(worker) => (worker.next(closing), false),
            Job::Audit(request, _) => (request.take(), false),
        };
        let Some(request) = request else {
            state.slots[slot].finished = true;
            return;
        };
        let patience = if soft && !healing { state.rng.range(2 * SECOND, 10 * SECOND) } else { Time::MAX - now };
        self.checkers.p6.asked(&request);
        if client != AUDITOR {
            self.note_question(&request);
        }
        let state = &mut self.clients[client as usize];
        let (request, context) = state.identify(request);
        self.trace(Trace::Full, || format!("client {client}.{slot} asks {}", request_text(&request)));
        let state = &mut self.clients[client as usize];
        state.slots[slot].sequence += 1;
        state.slots[slot].outstanding = Some(Outstanding {
            request,
            context,
            invoked: now,
            tries: 0,
            give_up_at: now + patience,
            leaves_a_record,
            to_send: true,
        });
        self.transmit(client, slot);
    }

    /// Sends what is outstanding, first or again, to whoever has the address.
    fn transmit(&mut self, client: u32, slot: usize) {
        let now = self.queue.now();
        let target = self.target_of(client);
        let state = &mut self.clients[client as usize];
        let Some(outstanding) = state.slots[slot].outstanding.as_mut() else { return };
        outstanding.tries += 1;
        outstanding.to_send = false;
        let patience = (PATIENCE.0 << outstanding.tries.min(6)).min(PATIENCE.1);
        let delay = patience / 2 + state.rng.below(patience);
        let delay = delay.min(outstanding.give_up_at.saturating_sub(now)).max(MILLISECOND);
        let request = outstanding.request.clone();
        let caller = Caller { client, connection: state.connection, slot, sequence: state.slots[slot].sequence };
        if outstanding_retries(state, slot) {
            self.stats.retries += 1;
            self.note_retry(client, slot);
        }
        self.set_client_timer(client, slot, delay);
        let bytes = 200 + write_bytes(&request.request);
        let arrivals = self.network.send(now, (End::Client(client), End::Node(target)), Class::Control, bytes);
        if let Some(at) = arrivals.first {
            self.queue.at(at, Event::Node { node: target, boot: 0, event: NodeEvent::Call { caller, request: Box::new(request) } });
        }
    }

    /// The connection's node; without a connection, whoever answers for the address, by ARP's word.
    fn target_of(&mut self, client: u32) -> NodeId {
        if let Some(target) = self.clients[client as usize].target {
            return target;
        }
        let nodes = |which: fn(&Node) -> bool| -> Vec<NodeId> {
            self.nodes.values().filter(|node| which(node)).map(|node| node.id).collect()
        };
        let holders = nodes(|node| node.state != NodeState::Off && node.serves());
        let had = nodes(|node| node.had_address);
        let rng = &mut self.clients[client as usize].rng;
        // Now and then an old entry leads to a node that has it no more.
        let target = match rng.one_in(16) {
            true if !had.is_empty() => *rng.pick(&had),
            _ if holders.is_empty() => *rng.pick(&[A, B]),
            _ => *rng.pick(&holders),
        };
        self.clients[client as usize].target = Some(target);
        target
    }

    fn reconnect(&mut self, client: u32) {
        let state = &mut self.clients[client as usize];
        state.connection += 1;
        state.target = None;
    }

    fn out_of_patience(&mut self, client: u32, slot: usize) {
        let now = self.queue.now();
        let state = &mut self.clients[client as usize];
        let give_up = state.slots[slot].outstanding.as_ref().is_some_and(|outstanding| now >= outstanding.give_up_at);
        if give_up && !self.healing {
            return self.give_up(client, slot);
        }
        // A retransmission on the same connection, or a new one with everything that is outstanding.
        let to_send = state.slots[slot].outstanding.as_ref().is_some_and(|outstanding| outstanding.to_send);
        if to_send || state.rng.percent(30) {
            return self.transmit(client, slot);
        }
        self.reconnect(client);
        self.transmit_all(client);
    }

    fn transmit_all(&mut self, client: u32) {
        for slot in 0..self.clients[client as usize].slots.len() {
            self.transmit(client, slot);
        }
    }

    fn connection_lost(&mut self, client: u32, connection: u64) {
        let state = &mut self.clients[client as usize];
        if state.connection != connection {
            return;
        }
        self.reconnect(client);
        for slot in 0..self.clients[client as usize].slots.len() {
            self.send_later(client, slot, 20 * MILLISECOND, 300 * MILLISECOND);
        }
    }

    fn send_later(&mut self, client: u32, slot: usize, low: Time, high: Time) {
        let state = &mut self.clients[client as usize];
        let Some(outstanding) = state.slots[slot].outstanding.as_mut() else { return };
        outstanding.to_send = true;
        let delay = state.rng.range(low, high);
        self.set_client_timer(client, slot, delay);
    }

    /// A worker that waits for its next operation begins it now.
    pub(super) fn hurry(&mut self, client: u32, slot: usize) {
        if self.clients[client as usize].slots[slot].outstanding.is_none() {
            self.set_client_timer(client, slot, 0);
        }
    }

    fn give_up(&mut self, client: u32, slot: usize) {
        self.stats.given_up += 1;
        self.trace(Trace::Full, || format!("client {client}.{slot} gives up"));
        let state = &mut self.clients[client as usize].slots[slot];
        let Some(outstanding) = state.outstanding.take() else { return };
        let writes = outstanding.request.request.changes();
        match &mut state.job {
            Job::Files(worker) => worker.give_up(),
            Job::Registers(worker) => {
                if let (register, Some(RegisterOp::Write(value))) = worker.current() {
                    self.checkers.registers[register].write(value, outstanding.invoked, None);
                }
            }
            Job::Bulk(_) | Job::Audit(..) => unreachable!("these never give up"),
        }
        self.note_given_up(client, slot, writes);
        self.late(outstanding.invoked);
        self.think(client, slot);
    }

    /// Two people gave up acknowledged writes: what each client knew may be so no more. Applications would be restarted on what there is.
    pub(super) fn forget_what_was_given_up(&mut self) {
        let mut pending = vec![Vec::new(); REGISTERS];
        for client in (0..self.clients.len() as u32).filter(|client| *client != AUDITOR) {
            self.reconnect(client);
            for slot in 0..self.clients[client as usize].slots.len() {
                let state = &mut self.clients[client as usize].slots[slot];
                state.sequence += 1;
                let invoked = state.outstanding.take().map(|outstanding| outstanding.invoked);
                match &mut state.job {
                    Job::Files(worker) => worker.forget(),
                    Job::Registers(worker) => {
                        let current = worker.current();
                        worker.forget();
                        if let ((register, Some(RegisterOp::Write(value))), Some(invoked)) = (current, invoked) {
                            pending[register].push((value, invoked));
                        }
                    }
                    Job::Bulk(_) | Job::Audit(..) => {}
                }
                if !self.clients[client as usize].slots[slot].finished {
                    self.think(client, slot);
                }
            }
        }
        let losses = std::mem::take(&mut self.checkers.losses);
        for (register, pending) in pending.iter().enumerate() {
            // Nobody was told, but somebody may have read it: it was written, or would have been.
            for (value, invoked) in pending {
                self.checkers.registers[register].write(*value, *invoked, None);
            }
            if let Err(text) = self.checkers.registers[register].check(&losses) {
                self.violate("P2", None, format!("register {register}, before the named loss: {text}"));
            }
            self.checkers.registers[register].forget(pending);
        }
    }

    /// Who sleeps longer than the new pause is woken within it: a rush begins at once.
    pub(super) fn set_think(&mut self, think: (Time, Time)) {
        let sooner = think.1 < self.plan.think.1;
        self.plan.think = think;
        let idle = |client: &Client, slot: usize| client.slots[slot].outstanding.is_none() && !client.slots[slot].finished;
        for client in (0..self.clients.len() as u32).filter(|client| sooner && *client != AUDITOR) {
            for slot in 0..self.clients[client as usize].slots.len() {
                if idle(&self.clients[client as usize], slot) {
                    self.think(client, slot);
                }
            }
        }
    }

    fn think(&mut self, client: u32, slot: usize) {
        let (low, high) = match &self.clients[client as usize].slots[slot].job {
            Job::Bulk(worker) => (worker.interval(), worker.interval()),
            _ => self.plan.think,
        };
        let delay = if self.closing { MILLISECOND } else { self.clients[client as usize].rng.range(low, high.max(low)) };
        self.set_client_timer(client, slot, delay);
    }

    // ---- being answered ----------------------------------------------------------------------------------------------------

    /// Whether a node should still execute a request that has arrived: its connection is open, or it is a late copy that was
    /// read from the socket before the connection went, and that the duplicate request cache must recognise.
    pub(super) fn still_wanted(&mut self, caller: &Caller) -> bool {
        let client = &mut self.clients[caller.client as usize];
        let slot = &client.slots[caller.slot];
        if client.connection == caller.connection {
            return true;
        }
        let current = slot.sequence == caller.sequence;
        let harmless = slot.outstanding.as_ref().is_some_and(|outstanding| current && outstanding.leaves_a_record);
        let void = client.void.contains(&(caller.slot, caller.sequence));
        self.plan.late_copies && harmless && !void && client.rng.percent(50)
    }

    fn client_answered(&mut self, caller: Caller, result: FileResult, current: bool) {
        let Caller { client, connection, slot, sequence } = caller;
        let state = &mut self.clients[client as usize];
        if state.connection != connection || state.slots[slot].sequence != sequence || state.slots[slot].outstanding.is_none() {
            return;
        }
        match &result {
            Err(failure) if failure.error == FileError::TryLater => self.try_later(client, slot),
            // A disk with read errors, and a peer that cannot repair them now. Whether a change happened is not known: the same again.
            Err(failure) if failure.error == FileError::Io && !self.checkers.faulty_disks.is_empty() => {
                self.send_later(client, slot, 50 * MILLISECOND, 500 * MILLISECOND)
            }
            // What rotted cannot be mended before the other copy is back.
            Err(failure) if failure.error == FileError::Io && self.rotten_alone() => {
                self.tally.failed();
                self.send_later(client, slot, 50 * MILLISECOND, 500 * MILLISECOND)
            }
            // A full disk refuses and loses nothing: the application deletes something, or tries again when there is room.
            Err(failure) if failure.error == FileError::NoSpace && self.checkers.disk_was_full => {
                self.tally.failed();
                self.try_later(client, slot)
            }
            // Marked as read without a primary: no promise that it is current.
            _ if !current => {
                self.note_old_answer(client, slot);
                self.send_later(client, slot, 50 * MILLISECOND, 300 * MILLISECOND)
            }
            _ => self.accept(client, slot, result),
        }
    }

    /// The primary's disk rotted, and no other copy that holds everything is up.
    fn rotten_alone(&self) -> bool {
        let Some(volume) = self.decided.volumes.get(&VOLUME) else { return false };
        let rotten = volume.primary().filter(|primary| self.checkers.rotten_disks.contains(primary));
        rotten.is_some_and(|primary| volume.in_sync.keys().all(|node| *node == primary || !self.nodes[node].up()))
    }

    /// A kernel client asks again under a new transaction number, so the server must be sure that the old one neither was nor
    /// will be executed.
    fn try_later(&mut self, client: u32, slot: usize) {
        let state = &mut self.clients[client as usize];
        let sequence = state.slots[slot].sequence;
        state.void.insert((slot, sequence));
        let Some(outstanding) = state.slots[slot].outstanding.take() else { return };
        let (request, context) = state.identify(outstanding.request.request.clone());
        state.slots[slot].sequence += 1;
        state.slots[slot].outstanding = Some(Outstanding { request, context, ..outstanding });
        self.send_later(client, slot, 50 * MILLISECOND, 500 * MILLISECOND);
    }

    fn accept(&mut self, client: u32, slot: usize, result: FileResult) {
        let now = self.queue.now();
        self.stats.ops += 1;
        let wire = self.clients[client as usize].wire.clone();
        let state = &mut self.clients[client as usize].slots[slot];
        let Some(outstanding) = state.outstanding.take() else { return };
        let result = match wire.zip(outstanding.context) {
            Some((wire, context)) => wire.result(context, &outstanding.request.request, result),
            None => result,
        };
        let judged = match &mut state.job {
            Job::Files(worker) => worker.answered(&result),
            Job::Registers(worker) => worker.answered(&result).map(|read| match worker.current() {
                (register, Some(RegisterOp::Write(value))) => {
                    self.checkers.registers[register].write(value, outstanding.invoked, Some(now))
                }
                (register, Some(RegisterOp::Read)) => {
                    self.checkers.registers[register].read(read.unwrap_or(0), outstanding.invoked, now)
                }
                (_, None) => {}
            }),
            Job::Bulk(worker) => worker.answered(&result),
            Job::Audit(_, answer) => {
                *answer = Some(result);
                Ok(())
            }
        };
        if let Err(text) = judged {
            // Its model is wrong from here on, so it asks for nothing more.
            state.finished = true;
            let (began, tries) = (units::instant(outstanding.invoked), units::times(outstanding.tries));
            return self.violate("P2", None, format!("client {client} asked at {began} ({tries}): {text}"));
        }
        if client != AUDITOR {
            self.note_answer(client, slot, outstanding.request.request.changes());
        }
        self.late(outstanding.invoked);
        self.think(client, slot);
    }

    fn late(&mut self, invoked: Time) {
        let waited = self.queue.now() - invoked;
        if let Some(limit) = self.plan.expect.answered_within.filter(|limit| waited > *limit && !self.healing) {
            let (waited, limit) = (units::length(waited), units::length(limit));
            self.violate("P7", None, format!("a client waited {waited}, at most {limit} are allowed in this scenario"));
        }
    }

    /// The faults end: who waits now has waited for so long.
    pub(super) fn late_at_the_end(&mut self) {
        let invoked = self.clients.iter().flat_map(|client| &client.slots).filter_map(|slot| slot.outstanding.as_ref());
        if let Some(longest) = invoked.map(|outstanding| outstanding.invoked).min() {
            self.late(longest);
        }
    }

    /// One request of the auditor, run to its answer.
    pub fn ask(&mut self, request: FileRequest, until: Time) -> Option<FileResult> {
        self.clients[AUDITOR as usize].slots[0].job = Job::Audit(Some(request), None);
        self.set_client_timer(AUDITOR, 0, 0);
        let answered = |world: &World| matches!(world.clients[AUDITOR as usize].slots[0].job, Job::Audit(_, Some(_)));
        self.run_while(until, answered);
        match &mut self.clients[AUDITOR as usize].slots[0].job {
            Job::Audit(_, answer) => answer.take(),
            _ => None,
        }
    }

    pub fn volume_state(&self) -> Option<&mainstay_cluster::VolumeState> {
        self.decided().volumes.get(&VOLUME)
    }
}

fn file_worker(rng: Rng, label: String, plan: &Plan) -> FileWorker {
    let mut worker = FileWorker::new(rng, label, plan.large_writes);
    worker.mass_changes = plan.mass_changes;
    worker
}

fn outstanding_retries(client: &Client, slot: usize) -> bool {
    client.slots[slot].outstanding.as_ref().is_some_and(|outstanding| outstanding.tries > 1)
}

fn write_bytes(request: &FileRequest) -> usize {
    match request {
        FileRequest::Write { data, .. } => data.len(),
        _ => 0,
    }
}

fn request_text(request: &ClientRequest) -> String {
    let text = match &request.request {
        FileRequest::Write { file, offset, data, stability } => {
            format!("Write {file:?} {offset}+{} {stability:?}", data.len())
        }
        other => format!("{other:?}"),
    };
    match request.identity {
        Some(identity) => format!("{text} xid {:08x}", identity.xid),
        None => text,
    }
}
