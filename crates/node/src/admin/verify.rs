//! `mainstay verify`: a mark goes into the log, and every replica says what it held right after it.

use super::VERIFY_TIME_MAX;
use super::api::*;
use super::view;
use crate::host::Host;
use crate::shell::App;
use mainstay_cluster::ClusterState;
use mainstay_protocol::{NodeId, Position, VolumeId};
use mainstay_volume::ViewDigest;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Pause between two rounds of asking.
const ASK_PAUSE: Duration = Duration::from_millis(100);
/// After this without an answer of all, another mark is set: at most a dozen of them, fewer than the digests that a host keeps.
const MARK_PAUSE: Duration = Duration::from_secs(5);

/// `handed_on`: another node asked, and believes that this one is the primary; it is not sent on again.
pub async fn verify(app: &Arc<App>, name: &str, handed_on: bool) -> Result<Verification, ApiError> {
    let state = app.state();
    let (id, volume) = view::find_volume(&state, name)?;
    let no_primary = || ApiError::new(ErrorKind::Unavailable, format!("volume {name} has no primary that could set the mark"));
    let primary = volume.primary().ok_or_else(no_primary)?;
    if primary != app.me() && handed_on {
        return Err(no_primary());
    }
    if primary != app.me() {
        return hand_on(app, &state, primary, name).await;
    }
    let host = app.hosts.get(id).ok_or_else(no_primary)?;
    let (position, digests) = gather(app, &state, id, name, &host).await.ok_or_else(no_primary)?;
    let replica = |node: &NodeId| VerifiedReplica { node: state.node_name(*node), digest: digests.get(node).copied() };
    let replicas: Vec<VerifiedReplica> = volume.replicas.iter().map(replica).collect();
    // A replica that did not answer is unknown, and unknown is not equal (R6).
    let first = replicas.first().and_then(|replica| replica.digest);
    let equal = first.is_some() && replicas.iter().all(|replica| replica.digest == first);
    Ok(Verification { volume: name.into(), position: position.0, equal, replicas })
}

/// The primary does it; its answer is passed back as it is.
async fn hand_on(app: &App, state: &ClusterState, primary: NodeId, name: &str) -> Result<Verification, ApiError> {
    let client = view::colleague(app, state, primary).ok_or_else(|| {
        ApiError::new(ErrorKind::Unavailable, format!("the address of {} is not usable", state.node_name(primary)))
    })?;
    client.verify(name).await.map_err(|error| match error {
        super::client::ClientError::Answer(answer) => answer,
        other => ApiError::new(ErrorKind::Unavailable, format!("the primary {}: {other}", state.node_name(primary))),
    })
}

/// What each replica held at one mark.
type Digests = BTreeMap<NodeId, ViewDigest>;

/// Sets a mark and asks every replica until each has answered for one and the same mark, or the time is up; then the newest mark
/// that most have answered for. A replica that was writing a checkpoint when it came to a mark has no digest of it, hence more
/// marks. `None`: there is no primary that could set one.
async fn gather(app: &Arc<App>, state: &ClusterState, id: VolumeId, name: &str, host: &Host) -> Option<(Position, Digests)> {
    let replicas = state.volumes.get(&id).map(|volume| volume.replicas.clone()).unwrap_or_default();
    let begun = Instant::now();
    let mut marks: Vec<(Position, Digests)> = vec![(host.mark().await?, Digests::new())];
    let mut marked = begun;
    while begun.elapsed() < VERIFY_TIME_MAX {
        for (position, digests) in &mut marks {
            for node in &replicas {
                if !digests.contains_key(node)
                    && let Some(digest) = ask(app, state, *node, id, name, *position).await
                {
                    digests.insert(*node, digest);
                }
            }
            if digests.len() == replicas.len() {
                return Some((*position, std::mem::take(digests)));
            }
        }
        tokio::time::sleep(ASK_PAUSE).await;
        if marked.elapsed() >= MARK_PAUSE {
            marked = Instant::now();
            marks.extend(host.mark().await.map(|position| (position, Digests::new())));
        }
    }
    marks.into_iter().max_by_key(|(position, digests)| (digests.len(), *position))
}

async fn ask(app: &App, state: &ClusterState, node: NodeId, id: VolumeId, name: &str, position: Position) -> Option<ViewDigest> {
    if node == app.me() {
        return app.hosts.get(id)?.digest(position);
    }
    view::colleague(app, state, node)?.digest(name, position.0).await.ok()?.digest
}
