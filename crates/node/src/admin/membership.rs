//! Who is in the cluster and who holds what, as people change it.

use super::api::{ApiError, ClusterStatus, NewReplica, NodeStatus, RemoveReplica, Set, VolumeDetails};
use super::change::{decide, person};
use super::{policy, view};
use crate::clock;
use crate::shell::App;
use mainstay_cluster::Command;
use mainstay_protocol::NodeId;
use std::sync::Arc;

/// The first node of a cluster, which keeps its authority's key.
const FOUNDER: NodeId = NodeId(1);

pub async fn add_replica(app: &Arc<App>, who: &str, volume: &str, new: &NewReplica) -> Result<VolumeDetails, ApiError> {
    let state = app.state();
    let (id, known) = view::find_volume(&state, volume)?;
    let node = view::find_node(&state, &new.node)?;
    holds(&view::cluster_status(app).await, volume, &new.node)?;
    let (expected, reason) = (known.members.version, new.reason.clone());
    decide(app, Command::AddReplica { volume: id, node, expected, reason, actor: person(who), at: clock::wall() }).await?;
    view::volume(&app.state(), volume)
}

/// A copy for which there is no room would fill its disk, leave the in-sync set, and be no redundancy. Who does not answer is not judged.
fn holds(status: &ClusterStatus, volume: &str, node: &str) -> Result<(), ApiError> {
    let needed = status.live_bytes(volume);
    let free = status.nodes.iter().find(|known| known.name == node).and_then(|known| known.free_bytes);
    room(volume, needed, node, free).map_err(ApiError::input)
}

/// Whether a copy fits, by bytes that the volume holds and that the node has free; what nobody knows stands in nobody's way.
///
/// # Errors
/// Why not, and what to do.
pub fn room(volume: &str, needed: Option<u64>, node: &str, free: Option<u64>) -> Result<(), String> {
    match (needed, free) {
        (Some(needed), Some(free)) if free < needed => Err(format!(
            "{volume} holds {needed} bytes, and {node} has room for {free}: give {node} a larger disk, or choose another node"
        )),
        _ => Ok(()),
    }
}

pub async fn remove_replica(app: &App, who: &str, volume: &str, node: &str, remove: &RemoveReplica) -> Result<Set, ApiError> {
    let state = app.state();
    let (volume, known) = view::find_volume(&state, volume)?;
    let node = view::find_node(&state, node)?;
    let (expected, reason, accept_single) = (known.members.version, remove.reason.clone(), remove.accept_single);
    let (actor, at) = (person(who), clock::wall());
    policy::asked(app, who, Command::RemoveReplica { volume, node, expected, accept_single, reason, actor, at }).await
}

/// Who answers is found out now, by this node; the cluster judges whether it is enough.
pub async fn remove_node(app: &Arc<App>, who: &str, name: &str, reason: &str) -> Result<(), ApiError> {
    let node = view::find_node(&app.state(), name)?;
    let status = view::cluster_status(app).await;
    let up = |known: &NodeStatus| known.state == "up";
    let founder_up = status.nodes.iter().any(|known| known.id == FOUNDER.0 && up(known));
    if node == FOUNDER && founder_up && (app.me() == FOUNDER || app.authority.is_none()) {
        return Err(ApiError::input(format!(
            "{name} keeps the authority's key: without it nobody can join or get credentials any more. Copy keys/authority.key \
             from its directory to keys/ of another node and restart that one, ask there, and keep the old key safe or destroy it"
        )));
    }
    let answering = status.nodes.iter().filter(|known| up(known)).map(|known| NodeId(known.id)).collect();
    let (reason, actor, at) = (reason.to_string(), person(who), clock::wall());
    decide(app, Command::RemoveNode { node, answering, reason, actor, at }).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_goes_only_where_there_is_room_for_it() {
        assert_eq!(room("files", Some(10), "b", Some(10)), Ok(()));
        let refused = room("files", Some(11), "b", Some(10)).unwrap_err();
        assert!(refused.contains("files holds 11 bytes, and b has room for 10"), "{refused}");
        assert_eq!(room("files", None, "b", Some(10)), Ok(()), "nobody knows how large it is");
        assert_eq!(room("files", Some(11), "b", None), Ok(()), "b does not answer");
    }
}
