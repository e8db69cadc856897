//! openraft's state machine: the cluster state, changed only by `ClusterState::apply`.
//!
//! The state itself is in memory; on disk are the newest snapshot, the log behind it and the committed index, from which
//! openraft rebuilds it at a start. Other tasks see it through a watch channel, never half applied.

use super::disk::{Change, Contents, Disk, OpenError, encode, key};
use super::types::{Entry, LogId, Outcome, SnapshotMeta, StoredMembership, Types};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use mainstay_cluster::ClusterState;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

pub type Snapshot = openraft::type_config::alias::SnapshotOf<Types, Bytes>;
type Kept = Arc<Mutex<Option<Snapshot>>>;

pub struct Machine {
    state: watch::Sender<Arc<ClusterState>>,
    applied: Option<LogId>,
    membership: StoredMembership,
    snapshot: Kept,
    disk: Disk,
}

impl Machine {
    /// Starts empty; openraft installs the snapshot and applies the log behind it. The receiver sees every state from then on.
    ///
    /// # Errors
    /// [`OpenError::Damaged`] when the stored snapshot cannot be decoded.
    pub fn new(disk: Disk, contents: &Contents) -> Result<(Machine, watch::Receiver<Arc<ClusterState>>), OpenError> {
        let stored: Option<(SnapshotMeta, Bytes)> = contents.get(key::SNAPSHOT)?;
        if let Some((_, bytes)) = &stored {
            ClusterState::decode(bytes).map_err(|e| OpenError::Damaged(format!("snapshot: {e}")))?;
        }
        let snapshot = stored.map(|(meta, snapshot)| Snapshot { meta, snapshot });
        let (state, watch) = watch::channel(Arc::new(ClusterState::default()));
        let machine = Machine {
            state,
            applied: None,
            membership: StoredMembership::default(),
            snapshot: Arc::new(Mutex::new(snapshot)),
            disk,
        };
        Ok((machine, watch))
    }

    /// Applies one entry and says what came of it. Total: a refused command is an outcome, not an error.
    fn apply_entry(&mut self, entry: Entry) -> Outcome {
        let mut refused = None;
        match entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Normal(decision) => {
                // Others may hold the current state; they keep theirs.
                let mut next = ClusterState::clone(&self.state.borrow());
                refused = next.apply(&decision.0).err();
                self.state.send_replace(Arc::new(next));
            }
            EntryPayload::Membership(membership) => self.membership = StoredMembership::new(Some(entry.log_id), membership),
        }
        self.applied = Some(entry.log_id);
        Outcome { version: self.state.borrow().version, refused }
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = Bytes;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            let outcome = self.apply_entry(entry);
            if let Some(responder) = responder {
                responder.send(outcome);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            state: self.state.borrow().clone(),
            meta: SnapshotMeta { last_log_id: self.applied, last_membership: self.membership.clone() },
            kept: self.snapshot.clone(),
            disk: self.disk.clone(),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Bytes) -> io::Result<()> {
        let state = ClusterState::decode(&snapshot).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
        keep(&self.disk, &self.snapshot, Snapshot { meta: meta.clone(), snapshot }).await?;
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.state.send_replace(Arc::new(state));
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        Ok(self.snapshot.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// Encodes one moment's state beside the running machine.
pub struct Builder {
    state: Arc<ClusterState>,
    meta: SnapshotMeta,
    kept: Kept,
    disk: Disk,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let snapshot = Snapshot { meta: self.meta.clone(), snapshot: self.state.encode().into() };
        keep(&self.disk, &self.kept, snapshot.clone()).await?;
        Ok(snapshot)
    }
}

/// Makes a snapshot durable, then the current one. Never steps back to an older one than is kept.
async fn keep(disk: &Disk, kept: &Kept, snapshot: Snapshot) -> io::Result<()> {
    let older = |kept: &Option<Snapshot>| kept.as_ref().is_some_and(|kept| kept.meta.last_log_id > snapshot.meta.last_log_id);
    if older(&kept.lock().unwrap_or_else(PoisonError::into_inner)) {
        return Ok(());
    }
    disk.write_and_wait(vec![Change::Set(key::SNAPSHOT, encode(&(&snapshot.meta, &snapshot.snapshot))?)]).await?;
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    if !older(&kept) {
        *kept = Some(snapshot);
    }
    Ok(())
}
