//! A consensus group of one, made of what one node of a lost group knows (docs/decisions/0014-forced-quorum.md). Nothing runs meanwhile.

use super::disk::{Change, Disk, OpenError, Storage, encode, key};
use super::types::{Entry, LogId, SnapshotMeta, StoredMembership, Vote};
use bytes::Bytes;
use mainstay_cluster::ClusterState;
use mainstay_protocol::{ClusterId, NodeId};
use openraft::{EntryPayload, Membership};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What a node that does not run knows of the cluster.
pub struct Remains {
    /// With every entry of its log: one that it was never told is final may have been decided, and is taken for it.
    pub state: ClusterState,
    /// Entries among them of which this node does not know that a majority had them.
    pub unconfirmed: u64,
    last: LogId,
    vote: Option<Vote>,
}

impl Remains {
    /// Raft's term and index of the newest entry. Of two nodes, the one that is greater in this order knows more.
    pub fn reach(&self) -> (u64, u64) {
        (self.last.leader_id.term, self.last.index)
    }
}

/// Reads `coordination.redb` in `directory`. Blocking; changes nothing in it.
///
/// # Errors
/// Another node's or cluster's file, a damaged or newer one, one in use, or one that knows nothing.
pub fn remains(directory: &Path, cluster: ClusterId, node: NodeId) -> Result<Remains, OpenError> {
    let contents = Disk::read(directory, cluster, node)?;
    let damaged = |what: &str, error: &dyn std::fmt::Display| OpenError::Damaged(format!("{what}: {error}"));
    let snapshot: Option<(SnapshotMeta, Bytes)> = contents.get(key::SNAPSHOT)?;
    let mut last = None;
    let mut state = ClusterState::default();
    if let Some((meta, bytes)) = snapshot {
        state = ClusterState::decode(&bytes).map_err(|error| damaged("snapshot", &error))?;
        last = meta.last_log_id;
    }
    let committed: Option<LogId> = contents.get(key::COMMITTED)?;
    let mut unconfirmed = 0;
    for (index, bytes) in &contents.log {
        let entry: Entry = postcard::from_bytes(bytes).map_err(|error| damaged("log entry", &error))?;
        match last {
            Some(known) if *index <= known.index => continue,
            Some(known) if *index != known.index + 1 => {
                return Err(OpenError::Damaged(format!("entries are missing before {index}")));
            }
            _ => {}
        }
        unconfirmed += u64::from(committed.is_none_or(|committed| *index > committed.index));
        last = Some(entry.log_id);
        if let EntryPayload::Normal(decision) = entry.payload {
            // A refusal is an outcome as well.
            let _ = state.apply(&decision.0);
        }
    }
    let last = last.filter(|_| state.initialised());
    let last = last.ok_or_else(|| OpenError::Damaged("it knows of no cluster: this node never was a member".into()))?;
    Ok(Remains { state, unconfirmed, last, vote: contents.get(key::VOTE)? })
}

/// Writes the file of a group whose only voter is `node`, which agreed on `state`. `directory` must not exist; the group has an id of
/// its own, so that no message of the lost one is ever taken for one of this.
///
/// # Errors
/// The directory exists, or the disk fails. What is there then is of no use, and nothing refers to it.
pub fn found_anew(
    directory: &Path,
    group: ClusterId,
    node: NodeId,
    state: &ClusterState,
    remains: &Remains,
) -> Result<(), OpenError> {
    let failed = |source| OpenError::Directory { path: directory.to_owned(), source };
    std::fs::create_dir(directory).map_err(failed)?;
    let id = u64::from(node.0);
    let voters = Membership::new_with_defaults(vec![BTreeSet::from([id])], []);
    let last_membership = StoredMembership::new(Some(remains.last), voters);
    let meta = SnapshotMeta { last_log_id: Some(remains.last), last_membership };
    let mut changes = vec![
        Change::Set(key::SNAPSHOT, encode(&(&meta, Bytes::from(state.encode()))).map_err(failed)?),
        Change::Set(key::PURGED, encode(&remains.last).map_err(failed)?),
        Change::Set(key::COMMITTED, encode(&remains.last).map_err(failed)?),
    ];
    if let Some(vote) = &remains.vote {
        changes.push(Change::Set(key::VOTE, encode(vote).map_err(failed)?));
    }
    write(directory.to_owned(), group, node, changes)
}

fn write(directory: PathBuf, group: ClusterId, node: NodeId, changes: Vec<Change>) -> Result<(), OpenError> {
    let failed = |source| OpenError::Directory { path: directory.clone(), source };
    let (disk, _, writer) = Disk::open(Storage::Directory(directory.clone()), group, node)?;
    let (told, fate) = std::sync::mpsc::channel();
    disk.write(changes, Box::new(move |result| drop(told.send(result))));
    let written = fate.recv().unwrap_or_else(|_| Err(std::io::Error::other("the writer is gone")));
    disk.close();
    let _ = writer.join();
    written.map_err(failed)?;
    let parent = directory.parent().unwrap_or(Path::new("."));
    std::fs::File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed)
}

#[cfg(test)]
#[path = "anew_tests.rs"]
mod tests;
