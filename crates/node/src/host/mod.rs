//! One volume on this node: a thread that owns its [`Replica`], and the threads that do its disk work.
//!
//! The queue into the thread has no bound of its own, because everybody who may put something in is bounded: clients by the
//! request budget, disk events by the effects that caused them, peers by [`PEER_BYTES_MAX`]. The thread therefore never
//! blocks on anything but its queue.

pub mod aside;
mod core;
mod lanes;
mod notes;

use crate::metrics::Histogram;
use crate::serve::Slot;
use mainstay_cluster::{ClusterState, Command, StopCause};
use mainstay_protocol::peer::Envelope;
use mainstay_protocol::{ClientRequest, ClusterId, FileError, Incarnation, NodeId, Now, Position, ProposalId, VolumeId};
use mainstay_replica::{Event, FenceOrder, FenceResult, ProposeResult, Replica, ServeMode, StoredPromise};
use mainstay_volume::{Disk, Options, ViewDigest};
use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;
use tokio::sync::oneshot;

/// Bytes of peers' messages that may wait for one volume; what comes on top is dropped, and repeated by its sender.
pub const PEER_BYTES_MAX: usize = 128 << 20;
/// Digests of marks that are kept for `verify`.
const DIGESTS_MAX: usize = 32;
/// A volume's thread that does not answer a question within this is reported as hanging.
const INSPECT_TIME_MAX: Duration = Duration::from_secs(2);
/// A volume's thread that is to end, and does not within this, is asked again later.
const RETIRE_TIME_MAX: Duration = Duration::from_secs(5);

/// What a volume's thread needs done elsewhere. None of these block.
pub trait Outside: Send + Sync + 'static {
    fn send(&self, to: NodeId, envelope: Envelope);
    fn propose(&self, command: Command, done: Box<dyn FnOnce(ProposeResult) + Send>);
    /// Stored in the order of the calls; `done` is called when it is durable.
    fn store_promise(&self, volume: VolumeId, promise: StoredPromise, done: Box<dyn FnOnce() + Send>);
    fn serve(&self, volume: VolumeId, mode: ServeMode);
    /// Names of the nodes that this one can switch off.
    fn fence_hooks(&self) -> BTreeSet<String> {
        BTreeSet::new()
    }
    /// `done` is called when nothing of it is left, whatever came of it.
    fn fence(&self, _volume: VolumeId, _order: FenceOrder, done: Box<dyn FnOnce(FenceResult) + Send>) {
        done(FenceResult::Failed("no fencing hook is set up here".into()));
    }
    fn stop_fence(&self, _volume: VolumeId, _proposal: ProposalId) {}
}

/// Who and where a host is.
#[derive(Clone, Debug)]
pub struct Settings {
    pub node: NodeId,
    pub incarnation: Incarnation,
    pub cluster: ClusterId,
    pub volume: VolumeId,
    /// For thread names and logs.
    pub name: String,
    /// `None`: this node only votes.
    pub directory: Option<PathBuf>,
    pub options: Options,
    pub promised: StoredPromise,
}

type Inspection = Box<dyn FnOnce(&Replica, Now) + Send>;

/// What goes into the thread.
enum Input {
    Event(Event),
    Peer(Envelope, usize),
    Client(ClientRequest, Slot),
    Mark(oneshot::Sender<Option<Position>>),
    Inspect(Inspection),
    /// End the thread; answered when it has ended.
    Retire(oneshot::Sender<()>),
}

/// Counters and small results that others read without asking the thread.
#[derive(Default)]
pub struct Shared {
    pub syncs: Arc<Histogram>,
    pub peer_bytes_waiting: AtomicUsize,
    pub peer_messages_dropped: AtomicU64,
    pub role_transitions: Mutex<std::collections::BTreeMap<(&'static str, &'static str), u64>>,
    pub stopped: tokio::sync::Notify,
    digests: Mutex<VecDeque<(Position, ViewDigest)>>,
    /// Why the copy could not be opened: the node then only votes for this volume.
    unopened: Mutex<Option<String>>,
    /// Where the copy lies, also when it could not be opened.
    copy: OnceLock<CopyPlace>,
    /// The thread has ended because it was to, and this is what the node has promised.
    retired: OnceLock<StoredPromise>,
}

/// The directory of a copy, for what people look at beside the volume's own work.
#[derive(Clone)]
pub struct CopyPlace {
    pub disk: Arc<dyn Disk>,
    pub directory: PathBuf,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Handle to a volume's thread; cheap to clone.
#[derive(Clone)]
pub struct Host {
    pub volume: VolumeId,
    /// It was started with a copy; without, it only votes.
    pub holds: bool,
    queue: Sender<Input>,
    pub shared: Arc<Shared>,
}

impl Host {
    /// Opens the copy (on the new thread: recovery may take a while) and starts. The state must know the volume.
    pub fn start(settings: Settings, view: Arc<ClusterState>, outside: Arc<dyn Outside>) -> std::io::Result<Host> {
        let (queue, inputs) = std::sync::mpsc::channel();
        let holds = settings.directory.is_some();
        let host = Host { volume: settings.volume, holds, queue, shared: Arc::default() };
        let thread = core::Start { settings, view, outside, queue: host.queue.clone(), shared: host.shared.clone() };
        std::thread::Builder::new().name(thread.settings.name.clone()).spawn(move || thread.run(inputs))?;
        Ok(host)
    }

    /// False when the message was dropped.
    pub fn peer(&self, envelope: Envelope) -> bool {
        let bytes = envelope.payload_len();
        let waiting = &self.shared.peer_bytes_waiting;
        if waiting.fetch_add(bytes, Ordering::Relaxed) + bytes > PEER_BYTES_MAX {
            waiting.fetch_sub(bytes, Ordering::Relaxed);
            self.shared.peer_messages_dropped.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        self.queue.send(Input::Peer(envelope, bytes)).is_ok()
    }

    /// Ends the thread without a word to the cluster, because this node's part in the volume is another from now on. Its copy is
    /// closed when the answer comes. `None`: it hangs; ask again.
    pub async fn retire(&self) -> Option<StoredPromise> {
        let (sender, answer) = oneshot::channel();
        if self.queue.send(Input::Retire(sender)).is_ok() {
            let _ = tokio::time::timeout(RETIRE_TIME_MAX, answer).await;
        }
        // Or it ended a while after it was asked before.
        self.shared.retired.get().copied()
    }

    /// The slot is answered exactly once, unless the process ends.
    pub fn client(&self, request: ClientRequest, slot: Slot) {
        if let Err(std::sync::mpsc::SendError(Input::Client(_, slot))) = self.queue.send(Input::Client(request, slot)) {
            slot.reply(Err(FileError::TryLater.into()));
        }
    }

    pub fn decided(&self, view: Arc<ClusterState>) {
        let _ = self.queue.send(Input::Event(Event::Decided(view)));
    }

    pub fn stop(&self, cause: StopCause) {
        let _ = self.queue.send(Input::Event(Event::Stop(cause)));
    }

    /// Appends a mark. `None` when this node is not the primary or the thread hangs.
    pub async fn mark(&self) -> Option<Position> {
        let (sender, answer) = oneshot::channel();
        self.queue.send(Input::Mark(sender)).ok()?;
        tokio::time::timeout(INSPECT_TIME_MAX, answer).await.ok()?.ok()?
    }

    /// Asks the replica something. `None` when the thread hangs, in recovery most likely, or ended.
    pub async fn inspect<T: Send + 'static>(&self, ask: impl FnOnce(&Replica, Now) -> T + Send + 'static) -> Option<T> {
        let (sender, answer) = oneshot::channel();
        let inspection: Inspection = Box::new(move |replica, now| drop(sender.send(ask(replica, now))));
        self.queue.send(Input::Inspect(inspection)).ok()?;
        tokio::time::timeout(INSPECT_TIME_MAX, answer).await.ok()?.ok()
    }

    /// The digest that this copy had right after the mark at `position`.
    pub fn digest(&self, position: Position) -> Option<ViewDigest> {
        lock(&self.shared.digests).iter().find(|(at, _)| *at == position).map(|(_, digest)| *digest)
    }

    /// `None` on a node that only votes for the volume, and before the directory was opened.
    pub fn copy(&self) -> Option<&CopyPlace> {
        self.shared.copy.get()
    }

    pub fn unopened(&self) -> Option<String> {
        lock(&self.shared.unopened).clone()
    }
}

#[cfg(test)]
#[path = "tests.rs"]
pub mod tests;
