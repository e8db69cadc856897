//! The thread that owns a replica: inputs in, one poll per batch, effects out.

use super::aside;
use super::lanes::Lanes;
use super::{CopyPlace, DIGESTS_MAX, Input, Outside, Settings, Shared, lock, notes};
use crate::clock;
use crate::serve::{Slot, reply_all};
use mainstay_cluster::{Actor, ClusterState, Command};
use mainstay_protocol::{FileResult, Position};
use mainstay_replica::{Effect, Event, Note, Replica, ServeMode, StoredPromise};
use mainstay_volume::{Disk, FileDisk, OpenError, Volume};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;
use tokio::sync::oneshot;

/// Inputs between two polls: bounds the latency of the first under load.
const BATCH_MAX: usize = 512;

pub(super) struct Start {
    pub settings: Settings,
    pub view: Arc<ClusterState>,
    pub outside: Arc<dyn Outside>,
    pub queue: Sender<Input>,
    pub shared: Arc<Shared>,
}

impl Start {
    /// The thread's whole life.
    pub fn run(self, inputs: Receiver<Input>) {
        let (volume, lanes) = match self.open() {
            Ok((volume, lanes)) => (volume, lanes),
            Err(reason) => {
                tracing::error!(volume = %self.settings.name, reason, "cannot open this node's copy; the node votes only until this is mended");
                *lock(&self.shared.unopened) = Some(reason);
                (None, None)
            }
        };
        let settings = &self.settings;
        let me = mainstay_replica::Settings { node: settings.node, incarnation: settings.incarnation, volume: settings.volume };
        let replica = Replica::new(me, volume, settings.promised, self.view.clone(), clock::now());
        let core = Core {
            replica,
            lanes,
            start: self,
            slots: HashMap::new(),
            marks: HashMap::new(),
            next_ticket: 0,
            effects: Vec::new(),
            replies: Vec::new(),
            role: "none",
            retired: None,
        };
        core.run(&inputs);
    }

    fn open(&self) -> Result<(Option<Volume>, Option<Lanes>), String> {
        let Some(directory) = &self.settings.directory else { return Ok((None, None)) };
        let aside = aside::follow_order(directory).map_err(|error| format!("cannot set the copy aside: {error}"))?;
        if let Some(aside) = aside {
            tracing::warn!(volume = %self.settings.name, directory = %aside.display(), "the copy was set aside as it was ordered; another is made");
        }
        let disk: Arc<dyn Disk> = Arc::new(FileDisk::open(directory).map_err(|error| format!("{}: {error}", directory.display()))?);
        // Before the copy itself is opened: what was set aside can be looked at also when that fails.
        let _ = self.shared.copy.set(CopyPlace { disk: disk.clone(), directory: directory.clone() });
        let volume = self.open_volume(&disk).map_err(|error| format!("{}: {error}", directory.display()))?;
        let lanes =
            Lanes::start(&self.settings.name, disk, &self.queue, self.shared.syncs.clone()).map_err(|error| error.to_string())?;
        Ok((Some(volume), Some(lanes)))
    }

    /// A missing copy is begun empty: it is filled by resync.
    fn open_volume(&self, disk: &Arc<dyn Disk>) -> Result<Volume, OpenError> {
        let Settings { cluster, volume, options, .. } = &self.settings;
        match Volume::open(disk.clone(), *cluster, *volume, options.clone()) {
            Err(OpenError::Missing) => {
                tracing::info!(volume = %self.settings.name, "no copy here yet, beginning an empty one");
                Volume::create(disk.clone(), *cluster, *volume, options.clone())?;
                Volume::open(disk.clone(), *cluster, *volume, options.clone())
            }
            other => other,
        }
    }
}

struct Core {
    replica: Replica,
    lanes: Option<Lanes>,
    start: Start,
    /// Requests that wait for their answer.
    slots: HashMap<u64, Slot>,
    marks: HashMap<u64, oneshot::Sender<Option<Position>>>,
    next_ticket: u64,
    /// Kept between polls for their memory.
    effects: Vec<Effect>,
    replies: Vec<(Slot, FileResult)>,
    role: &'static str,
    /// Somebody waits for this thread's end.
    retired: Option<oneshot::Sender<()>>,
}

impl Core {
    fn run(mut self, inputs: &Receiver<Input>) {
        self.replica.step(clock::now(), Event::FenceHooks(self.start.outside.fence_hooks()));
        self.poll();
        loop {
            let now = clock::now();
            let wait = self.replica.next_timer(now).0.saturating_sub(now.mono.0);
            match inputs.recv_timeout(Duration::from_nanos(wait)) {
                Ok(input) => self.take(input),
                Err(RecvTimeoutError::Timeout) => self.replica.step(clock::now(), Event::Tick),
                // Not reached while the thread holds a sender for its disk threads; the process ends it.
                Err(RecvTimeoutError::Disconnected) => return,
            }
            for input in inputs.try_iter().take(BATCH_MAX) {
                self.take(input);
            }
            self.poll();
            // Not while a promise is on its way to the disk: who takes over must know what is there.
            if let (Some(promised), true) = (self.replica.promised(), self.retired.is_some()) {
                return self.end(promised);
            }
        }
    }

    /// The copy is closed before anybody hears of it. Nobody is told an outcome that is not known: connections are reset.
    fn end(mut self, promised: StoredPromise) {
        let retired = self.retired.take();
        self.slots.drain().for_each(|(_, slot)| slot.abandon());
        self.start.outside.serve(self.start.settings.volume, ServeMode::Closed);
        drop(self.lanes.take());
        drop(self.replica);
        let _ = self.start.shared.retired.set(promised);
        if let Some(answer) = retired {
            let _ = answer.send(());
        }
    }

    fn ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }

    fn take(&mut self, input: Input) {
        let now = clock::now();
        match input {
            Input::Event(event) => self.replica.step(now, event),
            Input::Peer(envelope, bytes) => {
                self.start.shared.peer_bytes_waiting.fetch_sub(bytes, Ordering::Relaxed);
                self.replica.step(now, Event::Peer(envelope));
            }
            Input::Client(request, slot) => {
                let ticket = self.ticket();
                self.slots.insert(ticket, slot);
                self.replica.step(now, Event::Client { ticket, request });
            }
            Input::Mark(answer) => {
                let ticket = self.ticket();
                self.marks.insert(ticket, answer);
                self.replica.step(now, Event::Mark { ticket });
            }
            Input::Inspect(ask) => ask(&self.replica, now),
            Input::Retire(answer) => self.retired = Some(answer),
        }
    }

    fn poll(&mut self) {
        let now = clock::now();
        let mut effects = std::mem::take(&mut self.effects);
        self.replica.poll(now, &mut effects);
        for effect in effects.drain(..) {
            self.perform(effect);
        }
        self.effects = effects;
        reply_all(&mut self.replies);
    }

    fn perform(&mut self, effect: Effect) {
        let settings = &self.start.settings;
        match effect {
            Effect::Send { to, envelope } => self.start.outside.send(to, envelope),
            Effect::Reply { ticket, result } => {
                if let Some(slot) = self.slots.remove(&ticket) {
                    self.replies.push((slot, result));
                }
            }
            Effect::Abandon { ticket } => {
                if let Some(slot) = self.slots.remove(&ticket) {
                    slot.abandon();
                }
            }
            Effect::Disk(effect) => {
                if let Some(lanes) = &self.lanes {
                    lanes.run(effect);
                }
            }
            Effect::StorePromise(promise) => {
                let queue = self.start.queue.clone();
                let done = Box::new(move || drop(queue.send(Input::Event(Event::PromiseStored(promise)))));
                self.start.outside.store_promise(settings.volume, promise, done);
            }
            Effect::Propose { ticket, command } => {
                let queue = self.start.queue.clone();
                let done = Box::new(move |result| drop(queue.send(Input::Event(Event::Proposed { ticket, result }))));
                self.start.outside.propose(command, done);
            }
            Effect::Serve(mode) => self.start.outside.serve(settings.volume, mode),
            Effect::Marked { ticket, position } => {
                if let Some(answer) = self.marks.remove(&ticket) {
                    let _ = answer.send(position);
                }
            }
            Effect::Digest { position, digest } => {
                let mut digests = lock(&self.start.shared.digests);
                digests.push_back((position, digest));
                let surplus = digests.len().saturating_sub(DIGESTS_MAX);
                digests.drain(..surplus);
            }
            Effect::Note(note) => {
                notes::log(&settings.name, &note);
                match note {
                    Note::Role { role, .. } => self.count_role(role),
                    Note::RolledBack { records, quarantine, .. } => self.tell_set_aside(records, &quarantine),
                    Note::Superseded { records, quarantine: Some(file) } => self.tell_set_aside(records, &file),
                    _ => {}
                }
            }
            Effect::Stopped => self.start.shared.stopped.notify_one(),
            Effect::Fence(order) => {
                let (queue, proposal) = (self.start.queue.clone(), order.proposal);
                let done = Box::new(move |result| drop(queue.send(Input::Event(Event::Fenced { proposal, result }))));
                self.start.outside.fence(settings.volume, order, done);
            }
            Effect::StopFence(proposal) => self.start.outside.stop_fence(settings.volume, proposal),
        }
    }

    /// For the audit log, where people look first. Best effort: the file itself is what counts, and `quarantine list` shows it.
    fn tell_set_aside(&self, records: u64, file: &str) {
        let Settings { node, volume, name, .. } = &self.start.settings;
        let id = mainstay_volume::quarantine::id_of(*volume, file).unwrap_or_else(|| file.to_string());
        let text = format!(
            "node {node} set aside {records} records of {name} that the cluster does not have: `mainstay quarantine show {id}`"
        );
        let (actor, at) = (Actor::Node(*node), clock::wall());
        let told = Command::Note { volume: Some(*volume), text, actor, at };
        self.start.outside.propose(told, Box::new(|_| {}));
    }

    /// Counts changes of role, for `role_transitions_total`.
    fn count_role(&mut self, role: &'static str) {
        *lock(&self.start.shared.role_transitions).entry((self.role, role)).or_default() += 1;
        self.role = role;
    }
}
