//! What people ask the cluster to change: requests become commands, refusals become answers.

use super::api::*;
use super::view;
use crate::clock;
use crate::shell::App;
use mainstay_cluster::{Actor, ClusterState, Command, Digest, MaintenanceId, NodeKind, Refusal, Rule, WithoutPrimary};
use mainstay_coordination::ProposeError;
use mainstay_protocol::{NodeId, ProposalId, Timestamp};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How long a person's request may take to be decided.
const DECIDE_TIME_MAX: Duration = Duration::from_secs(8);
/// Digits of an evidence hash that a person must give.
const HASH_DIGITS_MIN: usize = 8;

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> ApiError {
        match refusal.rule {
            Rule::Input => ApiError::input(refusal.message),
            rule => ApiError { error: ErrorKind::Refused, rule: Some(rule.to_string()), message: refusal.message },
        }
    }
}

impl From<ProposeError> for ApiError {
    fn from(error: ProposeError) -> ApiError {
        match error {
            ProposeError::Refused(refusal) => refusal.into(),
            ProposeError::Unavailable(_) => ApiError::new(ErrorKind::Unavailable, error.to_string()),
            ProposeError::Unknown(_) => ApiError::new(ErrorKind::Unknown, error.to_string()),
        }
    }
}

/// Decides, and waits until this node's own view shows it, so that what is read next is not older.
pub async fn decide(app: &App, command: Command) -> Result<(), ApiError> {
    let version = app.raft.propose(command, DECIDE_TIME_MAX).await?;
    let mut view = app.raft.watch();
    // The decision stands even when this node lags behind; then the answer is just older.
    let _ = tokio::time::timeout(DECIDE_TIME_MAX, view.wait_for(|state| state.version >= version)).await;
    Ok(())
}

pub(super) fn person(name: &str) -> Actor {
    Actor::Person(name.into())
}

pub async fn create_volume(app: &Arc<App>, who: &str, new: &NewVolume) -> Result<VolumeDetails, ApiError> {
    crate::config::check_label("the volume's name", &new.name).map_err(ApiError::input)?;
    let state = app.state();
    let mut replicas = BTreeSet::new();
    for name in &new.replicas {
        replicas.insert(view::find_node(&state, name)?);
    }
    if new.replicas.is_empty() {
        replicas.extend(state.nodes.iter().filter(|(_, node)| node.kind == NodeKind::FileServer).map(|(id, _)| *id));
    }
    let primary = match (new.primary.as_str(), replicas.first()) {
        ("", Some(first)) => new.replicas.first().map_or(Ok(*first), |name| view::find_node(&state, name))?,
        ("", None) => return Err(ApiError::input("there is no file server to hold the volume; join one")),
        (name, _) => view::find_node(&state, name)?,
    };
    let without_primary = if new.serve_reads { WithoutPrimary::ServeReads } else { WithoutPrimary::Close };
    let mut export = new.export.clone();
    // The cluster takes the first network that matches, the NFS front the longest: in this order both say the same.
    export.clients.sort_by_key(|client| std::cmp::Reverse(prefix(&client.network)));
    let command = Command::CreateVolume {
        name: new.name.clone(),
        replicas,
        primary,
        policy: new.policy,
        without_primary,
        export,
        actor: person(who),
        at: clock::wall(),
    };
    decide(app, command).await?;
    view::volume(&app.state(), &new.name)
}

/// Bits of a client network; a single address has them all.
fn prefix(network: &str) -> u8 {
    network.parse::<mainstay_nfs::Network>().map_or(0, |network| network.prefix())
}

pub async fn reset_breaker(app: &App, who: &str, volume: &str, reason: &Reason) -> Result<(), ApiError> {
    let (volume, _) = view::find_volume(&app.state(), volume)?;
    decide(app, Command::ResetBreaker { volume, reason: reason.reason.clone(), actor: person(who), at: clock::wall() }).await
}

pub async fn revoke(app: &App, who: &str, name: &str, reason: &Reason) -> Result<(), ApiError> {
    let (name, reason) = (name.to_string(), reason.reason.clone());
    decide(app, Command::Revoke { name, reason, actor: person(who), at: clock::wall() }).await
}

pub async fn approve(app: &App, who: &str, id: u64, approve: &Approve) -> Result<ProposalStatus, ApiError> {
    let state = app.state();
    let proposal = ProposalId(id);
    let known = state.proposals.get(&proposal).ok_or_else(|| ApiError::not_found(format!("there is no proposal {id}")))?;
    let evidence_hash = whole_hash(&approve.evidence_hash, known.evidence_hash)?;
    let (volume, actor) = (known.volume, person(who));
    let waited_ms = match app.hosts.get(volume) {
        // Of one that hangs nobody knows; then the candidate's own word, which a grant needs, is what counts.
        Some(host) => host.inspect(move |replica, now| replica.known_ms(proposal, now)).await.unwrap_or_default(),
        None => 0,
    };
    decide(app, Command::Approve { proposal, evidence_hash, actor, waited_ms, at: clock::wall() }).await?;
    view::proposal_status_of(&app.state(), id)
}

/// A hash whose first digits were given. Others than the proposal's go to the cluster as they are, which refuses them (R14).
pub(super) fn whole_hash(given: &str, known: Digest) -> Result<Digest, ApiError> {
    if given.len() >= HASH_DIGITS_MIN && known.to_string().starts_with(&given.to_lowercase()) {
        return Ok(known);
    }
    let padded = format!("{given:0<64}");
    padded.parse().map_err(|_| ApiError::input(format!("{given:?} is not an evidence hash; `mainstay proposals show` prints it")))
}

pub async fn deny(app: &App, who: &str, id: u64, reason: &Reason) -> Result<ProposalStatus, ApiError> {
    let command = Command::Deny { proposal: ProposalId(id), reason: reason.reason.clone(), actor: person(who), at: clock::wall() };
    decide(app, command).await?;
    view::proposal_status_of(&app.state(), id)
}

pub async fn begin_maintenance(app: &App, who: &str, new: &NewMaintenance) -> Result<MaintenanceStatus, ApiError> {
    let node: NodeId = view::find_node(&app.state(), &new.node)?;
    let at = clock::wall();
    let command = Command::BeginMaintenance {
        node,
        owner: if new.owner.is_empty() { who.into() } else { new.owner.clone() },
        reason: new.reason.clone(),
        ends_at: later(at, new.seconds),
        allow_primary: new.allow_primary,
        actor: person(who),
        at,
    };
    let after = if new.dry_run {
        let mut tried = ClusterState::clone(&app.state());
        tried.apply(&command)?;
        Arc::new(tried)
    } else {
        decide(app, command).await?;
        app.state()
    };
    let newest = view::maintenance(&after).into_iter().rfind(|status| status.node == new.node);
    newest.ok_or_else(|| ApiError::new(ErrorKind::Unknown, "the maintenance is decided, but not seen on this node yet"))
}

/// Saturates: what is too far away is refused by the cluster, which says how far is allowed.
fn later(at: Timestamp, seconds: u64) -> Timestamp {
    Timestamp::new(at.seconds.saturating_add(i64::try_from(seconds).unwrap_or(i64::MAX)), at.nanos)
}

pub async fn extend_maintenance(app: &App, who: &str, id: u64, by: Extension) -> Result<(), ApiError> {
    let at = clock::wall();
    let (maintenance, ends_at) = (MaintenanceId(id), later(at, by.seconds));
    decide(app, Command::ExtendMaintenance { maintenance, ends_at, actor: person(who), at }).await
}

pub async fn end_maintenance(app: &Arc<App>, who: &str, id: u64) -> Result<(), ApiError> {
    let maintenance = MaintenanceId(id);
    let node = app.state().maintenance.get(&maintenance).map(|known| known.node);
    let status = view::cluster_status(app).await;
    let answers = status.nodes.iter().any(|known| Some(NodeId(known.id)) == node && known.state == "up");
    decide(app, Command::EndMaintenance { maintenance, answers, actor: person(who), at: clock::wall() }).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_may_be_given_by_its_first_digits_but_not_by_too_few() {
        let known = Digest([0xab; 32]);
        assert_eq!(whole_hash("ABABABAB", known), Ok(known));
        assert_ne!(whole_hash("abab", known), Ok(known), "four digits could be a slip");
        assert_ne!(whole_hash("abababac", known), Ok(known));
        assert_eq!(whole_hash("hello", known).unwrap_err().error, ErrorKind::Input);
    }

    #[test]
    fn longer_prefixes_come_first() {
        assert!(prefix("10.0.0.1") > prefix("10.0.0.0/8") && prefix("10.0.0.0/8") > prefix("0.0.0.0/0"));
    }
}
