//! Follows changes of members: which volumes this node holds, whether it is still part of the cluster, and who votes in the consensus
//! group. What may change is decided in `cluster`; here it is carried out.

use crate::clock;
use crate::directory::Directory;
use crate::shell::App;
use mainstay_cluster::{Actor, ClusterState, Command, Event};
use mainstay_coordination::{Health, ProposeError, Raft, Role};
use mainstay_protocol::{NodeId, VolumeId};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long one change of the consensus group may take.
const CHANGE_TIME_MAX: Duration = Duration::from_secs(5);
/// Pause between two looks at whether all members vote.
const MEMBERS_PAUSE: Duration = Duration::from_millis(250);
/// How long another node may take to say who is in the cluster.
const ASK_TIME_MAX: Duration = Duration::from_secs(3);
/// Copies of one volume that one boot can set aside; more would be a defect.
const ASIDE_MAX: u32 = 100;

/// Whether the state says that this node was removed: its number was given out, and nobody has it.
pub fn removed(state: &ClusterState, me: NodeId) -> bool {
    state.initialised() && me <= state.last_node && !state.nodes.contains_key(&me)
}

/// What the person who removed it said, for the last line that this node writes.
pub fn farewell(state: &ClusterState, me: NodeId) -> String {
    let event = state.audit.events.iter().rev().find(|event| event.event == Event::NodeRemoved { node: me });
    let said = event.map_or_else(|| "this node was removed from the cluster".to_string(), |event| event.text.clone());
    format!(
        "{said}. It takes part in nothing any more and ends here; its directory is as it was. \
         To bring this machine back, join it with a new token and an empty directory"
    )
}

/// A node that nobody talks to any more may have been removed while it was away: the others say so. `None`: they do not, or none
/// of them answers.
pub async fn removed_meanwhile(app: &App) -> Option<String> {
    let state = app.state();
    for node in state.nodes.iter().filter(|(id, _)| **id != app.me()).map(|(_, node)| node) {
        let Ok(address) = node.admin_address.parse() else { continue };
        let client = app.colleague.at(vec![address]);
        if let Ok(Ok(status)) = tokio::time::timeout(ASK_TIME_MAX, client.status()).await
            && status.id == state.id.to_string()
            && status.quorum
            && status.nodes.iter().all(|known| known.id != app.me().0)
        {
            return Some(format!("{} says that this node is no member of cluster {} any more", status.answered_by, status.cluster));
        }
    }
    None
}

/// Only a state that shows this very boot is younger than everything that this node ever held: an older one, from before a copy was
/// added, would have it set aside.
pub fn shows_this_boot(app: &App, state: &ClusterState) -> bool {
    state.nodes.get(&app.me()).is_some_and(|node| node.incarnation == app.incarnation)
}

/// Where removed copies go, and whence.
pub struct Aside {
    removed: PathBuf,
    volumes: PathBuf,
}

impl Aside {
    pub fn new(directory: &Directory) -> Aside {
        Aside { removed: directory.removed(), volumes: directory.root().join("volumes") }
    }

    /// Never deletes: the copy gets a name of its own. `Ok(None)`: there is none.
    pub fn set(&self, volume: VolumeId, boot: u64) -> std::io::Result<Option<PathBuf>> {
        let copy = self.volumes.join(volume.to_string());
        if !copy.exists() {
            return Ok(None);
        }
        std::fs::create_dir_all(&self.removed)?;
        let name = |number: u32| self.removed.join(format!("{volume}-boot-{boot}-{number}"));
        let free = (1..=ASIDE_MAX).map(name).find(|place| !place.exists());
        let place = free.ok_or_else(|| std::io::Error::other("too many copies are set aside already"))?;
        std::fs::rename(&copy, &place)?;
        for directory in [&self.volumes, &self.removed] {
            sync_directory(directory)?;
        }
        Ok(Some(place))
    }
}

fn sync_directory(path: &Path) -> std::io::Result<()> {
    std::fs::File::open(path)?.sync_all()
}

/// For the audit log, where people look first.
pub fn tell_aside(app: &App, volume: VolumeId, name: &str, place: &Path) {
    let text = format!("{} set its copy of {name} aside, whole: {}", app.identity.name, place.display());
    tracing::info!(volume = name, place = %place.display(), "this node holds the volume no longer; its copy is set aside");
    let told = Command::Note { volume: Some(volume), text, actor: Actor::Node(app.me()), at: clock::wall() };
    let raft = app.raft.clone();
    tokio::spawn(async move { drop(raft.propose(told, CHANGE_TIME_MAX).await) });
}

/// The consensus group's leader gives a vote to every member of the cluster that is there to take it, and takes it from who is none.
pub async fn keep_voting(raft: Raft) {
    let mut failed = false;
    loop {
        tokio::time::sleep(MEMBERS_PAUSE).await;
        let health = raft.health();
        if let (Some(reason), false) = (&health.failed, failed) {
            tracing::error!(reason, "coordination stopped on this node: look at its disk, then restart it");
            failed = true;
        }
        if health.role != Role::Leader {
            continue;
        }
        let state = raft.state();
        // One change at a time, and nobody new before the old are gone: fewer have to answer then.
        match leaves(&state, &health) {
            Some(node) => match raft.remove(node, CHANGE_TIME_MAX).await {
                Ok(()) => tracing::info!(%node, "votes no longer: it was removed from the cluster"),
                Err(error) => tracing::debug!(%node, %error, "still votes"),
            },
            None => add_voters(&raft, &state, &health).await,
        }
    }
}

/// Has it decided, and so told to people, that a node lacks what it had confirmed (R13).
pub async fn tell_of_set_back(raft: Raft, me: NodeId) {
    loop {
        let node = raft.set_back().await;
        tracing::error!(%node, "lacks decisions that it had confirmed to hold: its directory was set back, or its disk lost synced data");
        let told = Command::SetBack { node, by: me, at: clock::wall() };
        // It may be this very node that is needed to decide it.
        loop {
            match raft.propose(told.clone(), CHANGE_TIME_MAX).await {
                Ok(_) | Err(ProposeError::Refused(_)) => break,
                Err(error) => tracing::warn!(%node, %error, "it is not on record yet"),
            }
            tokio::time::sleep(MEMBERS_PAUSE).await;
        }
    }
}

async fn add_voters(raft: &Raft, state: &ClusterState, health: &Health) {
    for node in state.nodes.keys().filter(|node| !health.voters.contains(node)) {
        match raft.add_voter(*node, CHANGE_TIME_MAX).await {
            Ok(()) => tracing::info!(%node, "votes from now on"),
            Err(error) => tracing::debug!(%node, %error, "cannot vote yet"),
        }
    }
}

/// Whoever was removed from the cluster and still belongs to the group, if a majority of those that stay answers: without it the
/// removal could never be undone.
fn leaves(state: &ClusterState, health: &Health) -> Option<NodeId> {
    let gone = health.voters.iter().chain(&health.learners).find(|node| removed(state, **node)).copied()?;
    let stay: BTreeSet<NodeId> = health.voters.iter().copied().filter(|node| *node != gone).collect();
    let answering = stay.intersection(&health.answering).count();
    (answering > stay.len() / 2).then_some(gone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_dir::TestDir;

    fn health(voters: &[u16], answering: &[u16]) -> Health {
        let set = |ids: &[u16]| ids.iter().copied().map(NodeId).collect();
        Health {
            role: Role::Leader,
            leader: Some(NodeId(1)),
            quorum: true,
            term: 1,
            voters: set(voters),
            learners: BTreeSet::new(),
            answering: set(answering),
            first_log: 0,
            last_log: 0,
            applied: 0,
            version: 0,
            failed: None,
        }
    }

    fn state(nodes: &[u16], last: u16) -> ClusterState {
        let mut state = ClusterState { last_node: NodeId(last), ..ClusterState::default() };
        for id in nodes {
            let node = mainstay_cluster::Node {
                name: format!("n{id}"),
                kind: mainstay_cluster::NodeKind::FileServer,
                peer_address: String::new(),
                admin_address: String::new(),
                incarnation: mainstay_protocol::Incarnation(1),
                joined_at: Default::default(),
                booted_at: Default::default(),
                left: None,
                off_asked: None,
                software: String::new(),
                set_back: None,
            };
            state.nodes.insert(NodeId(*id), node);
        }
        state
    }

    #[test]
    fn only_who_was_removed_loses_its_vote_and_only_while_a_majority_of_the_rest_answers() {
        assert_eq!(leaves(&state(&[1, 3, 4], 4), &health(&[1, 2, 3, 4], &[1, 3, 4])), Some(NodeId(2)));
        assert_eq!(leaves(&state(&[1, 3, 4], 4), &health(&[1, 2, 3, 4], &[1])), None, "it would be the end of the group");
        assert_eq!(leaves(&state(&[1, 2, 3], 3), &health(&[1, 2, 3, 4], &[1, 2, 3])), None, "this state does not know of it yet");
        assert_eq!(leaves(&state(&[1, 2, 3], 3), &health(&[1, 2, 3], &[1, 2, 3])), None);
    }

    #[test]
    fn a_copy_that_is_set_aside_is_whole_and_never_overwritten() {
        let dir = TestDir::new("aside");
        let aside = Aside { removed: dir.path().join("removed"), volumes: dir.path().join("volumes") };
        assert!(aside.set(VolumeId(1), 7).unwrap().is_none());
        for content in ["first", "second"] {
            std::fs::create_dir_all(dir.path().join("volumes/v1")).unwrap();
            std::fs::write(dir.path().join("volumes/v1/segment"), content).unwrap();
            let place = aside.set(VolumeId(1), 7).unwrap().unwrap();
            assert_eq!(std::fs::read_to_string(place.join("segment")).unwrap(), content);
        }
        assert_eq!(std::fs::read_dir(dir.path().join("removed")).unwrap().count(), 2);
    }
}
