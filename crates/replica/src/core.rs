//! What every role shares: identity, the view of the cluster, the copy of the volume, and the way out for effects.

use crate::contacts::Contacts;
use crate::event::{Effect, Note, ProposeResult, ServeMode, Settings, StoredPromise};
use crate::lease::Promise;
use bytes::Bytes;
use mainstay_cluster::{ClusterState, Command, VolumeState};
use mainstay_protocol::peer::{CopyHealth, Envelope};
use mainstay_protocol::planted::{Bug, planted};
use mainstay_protocol::{Epoch, Mono, NodeId, Now, PeerMessage, Position, ProposalId};
use mainstay_volume::{Volume, VolumeError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Intervals, all derived from the lease so that one setting moves them together. Milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    pub lease_ms: u64,
    /// What a voter waits before its promise has lapsed: longer than what the primary uses, so that clocks that run apart by
    /// up to margin/lease stay safe.
    pub lapse_ms: u64,
    /// Lease requests, empty Appends and Contacts.
    pub heartbeat_ms: u64,
    /// An in-sync secondary that is silent for so long is taken out of the set, so that clients do not wait for it.
    pub shrink_ms: u64,
    /// A member that is heard, but confirms nothing of what waits for it for so long, is taken out as well: a secondary whose disk
    /// hangs, or to which only small messages pass, must not stop the clients.
    pub stall_ms: u64,
    /// A primary that is silent for so long is missing.
    pub missing_ms: u64,
    /// How long one unanswered step (Hello, resync request, repair) waits before it is repeated.
    pub retry_ms: u64,
}

impl Timing {
    pub fn of(view: &ClusterState) -> Timing {
        let lease_ms = view.settings.lease_ms.max(40);
        Timing {
            lease_ms,
            lapse_ms: lease_ms + view.settings.margin_ms,
            heartbeat_ms: (lease_ms / 8).max(5),
            shrink_ms: lease_ms / 2,
            stall_ms: lease_ms * 5 / 2,
            missing_ms: view.settings.contact_lost_ms.max(lease_ms),
            retry_ms: (lease_ms / 4).max(10),
        }
    }
}

/// Why a command was proposed, kept until its result comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    Shrink(NodeId),
    Grow(NodeId),
    /// Of one proposal: the word for the next one does not wait until a moment after that for the last.
    Lapsed(ProposalId),
    Promotion,
    Void,
    Serving,
    StepDown,
    GrantFailed,
    Leaving,
    Overdue,
    Drained(ProposalId),
    Members,
    FenceBegun(ProposalId),
    Fenced(ProposalId),
}

/// A proposed command whose result has not come.
#[derive(Debug)]
struct Asked {
    purpose: Purpose,
    at: Mono,
}

#[derive(Debug, Default, Clone, Copy)]
pub struct Counters {
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub requests_fenced: u64,
}

pub struct Core {
    pub me: Settings,
    pub view: Arc<ClusterState>,
    pub volume: Option<Volume>,
    pub timing: Timing,
    pub promise: Promise,
    pub contacts: Contacts,
    pub serve: ServeMode,
    pub counters: Counters,
    pub failed: Option<String>,
    pub out: Vec<Effect>,
    asked: BTreeMap<u64, Asked>,
    /// When a purpose may be proposed again after a refusal or an unknown result.
    not_before: BTreeMap<Purpose, Mono>,
    next_ticket: u64,
}

impl Core {
    pub fn new(me: Settings, volume: Option<Volume>, promised: StoredPromise, view: Arc<ClusterState>, now: Now) -> Core {
        let timing = Timing::of(&view);
        Core {
            me,
            volume,
            timing,
            promise: Promise::new(promised, now.mono, timing.lapse_ms),
            contacts: Contacts::new(now.mono),
            serve: ServeMode::Closed,
            counters: Counters::default(),
            failed: None,
            out: Vec::new(),
            asked: BTreeMap::new(),
            not_before: BTreeMap::new(),
            next_ticket: 1,
            view,
        }
    }

    pub fn state(&self) -> Option<&VolumeState> {
        self.view.volumes.get(&self.me.volume)
    }

    /// The epoch as this node's view has it, zero before the volume is known.
    pub fn view_epoch(&self) -> Epoch {
        self.state().map_or(Epoch(0), |state| state.epoch)
    }

    pub fn others(&self) -> Vec<NodeId> {
        self.view.nodes.keys().copied().filter(|node| *node != self.me.node).collect()
    }

    pub fn voters(&self) -> BTreeSet<NodeId> {
        self.view.voters().collect()
    }

    /// A majority of the nodes, this one counted, was heard within the lease.
    pub fn hears_majority(&self, now: Mono) -> bool {
        let heard = |node: &NodeId| {
            *node == self.me.node || self.contacts.silent_ms(*node, now).is_some_and(|ms| ms < self.timing.lease_ms)
        };
        self.view.voters().filter(heard).count() >= self.view.majority()
    }

    /// Of this node's own copy.
    pub fn health(&self) -> CopyHealth {
        let health = self.volume.as_ref().map_or_else(CopyHealth::default, |volume| volume.health());
        CopyHealth { failed: self.failed.is_some(), ..health }
    }

    /// It was asked to stop: by its own word, or as decided.
    pub fn leaves(&self, node: NodeId) -> bool {
        self.contacts.leaving(node) || self.view.nodes.get(&node).is_some_and(|known| known.left.is_some())
    }

    pub fn send(&mut self, to: NodeId, message: PeerMessage) {
        self.send_with(to, message, Vec::new());
    }

    pub fn send_with(&mut self, to: NodeId, message: PeerMessage, payload: Vec<Bytes>) {
        let envelope = Envelope { volume: self.me.volume, from: self.me.node, incarnation: self.me.incarnation, message, payload };
        self.counters.bytes_sent += envelope.payload_len() as u64;
        self.out.push(Effect::Send { to, envelope });
    }

    pub fn note(&mut self, note: Note) {
        self.out.push(Effect::Note(note));
    }

    pub fn serve(&mut self, mode: ServeMode) {
        if self.serve != mode {
            self.serve = mode;
            self.out.push(Effect::Serve(mode));
        }
    }

    /// Proposes unless the same purpose is under way or was turned down a moment ago. True when it was proposed.
    pub fn propose(&mut self, purpose: Purpose, now: Now, command: Command) -> bool {
        let soon = self.not_before.get(&purpose).is_some_and(|at| now.mono < *at);
        if soon || self.asked.values().any(|asked| asked.purpose == purpose) {
            return false;
        }
        let ticket = self.ticket();
        self.asked.insert(ticket, Asked { purpose, at: now.mono });
        self.out.push(Effect::Propose { ticket, command });
        true
    }

    pub fn is_asked(&self, purpose: Purpose) -> bool {
        self.asked.values().any(|asked| asked.purpose == purpose)
    }

    /// An answer to nothing is ignored.
    pub fn proposed(&mut self, ticket: u64, result: &ProposeResult, now: Mono) {
        let Some(Asked { purpose, .. }) = self.asked.remove(&ticket) else { return };
        match result {
            // Decided, but this node's own view may take a moment to show it.
            ProposeResult::Accepted => self.wait_before(purpose, now.after_ms(self.timing.heartbeat_ms)),
            ProposeResult::Unknown => self.wait_before(purpose, now.after_ms(self.timing.retry_ms)),
            ProposeResult::Refused(refusal) => {
                self.wait_before(purpose, now.after_ms(self.timing.lease_ms));
                self.note(Note::ProposeRefused { reason: refusal.to_string() });
            }
        }
    }

    fn wait_before(&mut self, purpose: Purpose, until: Mono) {
        self.not_before.insert(purpose, until);
    }

    /// Forgets proposals that the shell never answered, so that they can be made again (every command is safe to repeat).
    pub fn forget_stale_proposals(&mut self, now: Mono) {
        let patience_ms = 4 * self.timing.lease_ms;
        self.asked.retain(|_, asked| now.ms_since(asked.at) < patience_ms);
        self.not_before.retain(|_, at| *at > now);
    }

    pub fn ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }

    pub fn store_promise(&mut self, epoch: Epoch) {
        if let Some(promise) = self.promise.raise(epoch, self.view.version) {
            if planted(Bug::PromiseInMemory) {
                return self.promise.stored(promise);
            }
            self.out.push(Effect::StorePromise(promise));
        }
    }

    /// Stops trusting the copy: this node serves nothing and takes part in nothing until a person looks.
    pub fn fail(&mut self, reason: String) {
        if self.failed.is_none() {
            self.serve(ServeMode::Closed);
            self.note(Note::VolumeFailed { reason: reason.clone() });
            self.failed = Some(reason);
        }
    }

    /// Unwraps a result of the volume; an error there is fail-stop.
    pub fn trust<T>(&mut self, result: Result<T, VolumeError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.fail(error.to_string());
                None
            }
        }
    }

    /// As [`Core::trust`], but "busy" and "no space" are not damage: `None`, to be tried again.
    pub fn trust_unless_busy<T>(&mut self, result: Result<T, VolumeError>) -> Option<T> {
        match result {
            Err(VolumeError::Busy(_) | VolumeError::NoSpace(_)) => None,
            other => self.trust(other),
        }
    }

    pub fn last_position(&self) -> Position {
        self.volume.as_ref().map_or(Position(0), |volume| volume.last().position)
    }
}
