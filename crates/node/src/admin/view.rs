//! What the cluster looks like: from the agreed state, and from what every node says of itself.

use super::api::*;
use super::client::AdminClient;
use crate::event_log;
use crate::serve::service_address;
use crate::shell::App;
use mainstay_cluster::refusal::instant;
use mainstay_cluster::{
    AuditEvent, ClusterState, MaintenanceId, MaintenanceState, Node, NodeKind, Observed, Outlook, Proposal, ProposalState,
    ReignState, VolumeState, steps,
};
use mainstay_coordination::Role;
use mainstay_protocol::{NodeId, ProposalId, VolumeId};
use mainstay_replica::{Replica, ServeMode, Status};
use mainstay_volume::Stats;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long the status waits for another node's account.
const COLLEAGUE_TIME_MAX: Duration = Duration::from_millis(1_500);
/// Events of one answer, and about how many bytes of them.
const EVENTS_PAGE_MAX: usize = 1_000;
const EVENTS_PAGE_BYTES: usize = 4 << 20;

pub fn find_node(state: &ClusterState, name: &str) -> Result<NodeId, ApiError> {
    let known = || state.nodes.values().map(|node| node.name.as_str()).collect::<Vec<_>>().join(", ");
    let found = state.node_named(name).map(|(id, _)| id);
    found.ok_or_else(|| ApiError::not_found(format!("there is no node {name:?}; the nodes are {}", known())))
}

pub fn find_volume<'a>(state: &'a ClusterState, name: &str) -> Result<(VolumeId, &'a VolumeState), ApiError> {
    let known = || state.volumes.values().map(|volume| volume.name.as_str()).collect::<Vec<_>>().join(", ");
    state.volume_named(name).ok_or_else(|| {
        let hint = if state.volumes.is_empty() { "there are none yet".into() } else { format!("the volumes are {}", known()) };
        ApiError::not_found(format!("there is no volume {name:?}; {hint}"))
    })
}

/// A client for another node's admin address, in this node's name.
pub fn colleague(app: &App, state: &ClusterState, node: NodeId) -> Option<AdminClient> {
    let address = state.nodes.get(&node)?.admin_address.parse().ok()?;
    Some(app.colleague.at(vec![address]))
}

// ---- this node ---------------------------------------------------------------------------------------------------------------

pub async fn local_status(app: &Arc<App>) -> LocalStatus {
    let health = app.raft.health();
    let mut volumes = BTreeMap::new();
    for host in app.hosts.all() {
        let ask = |replica: &Replica, now| (replica.status(now), replica.volume().map(|volume| volume.stats()));
        let mut local = match host.inspect(ask).await {
            Some((status, stats)) => LocalVolume { storage: stats.map(|stats| storage(&stats, app)), ..local_volume(status) },
            None => recovering(),
        };
        local.failure = local.failure.or_else(|| host.unopened());
        volumes.insert(host.volume.0, local);
    }
    LocalStatus {
        node: app.me().0,
        incarnation: app.incarnation.0,
        coordination: role_name(health.role).into(),
        quorum: health.quorum,
        volumes,
        free_bytes: rustix::fs::statvfs(&app.config.directory).ok().map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize)),
        problems: problems(app),
    }
}

/// Service addresses that should be bound here and are not.
fn problems(app: &App) -> Vec<String> {
    let bindings = app.bindings.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let unbound = bindings.iter().filter_map(|(address, bound)| Some((address, bound.as_ref().err()?)));
    unbound.map(|(address, why)| format!("clients cannot come to {address}: {why}")).collect()
}

pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::Leader => "leader",
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Learner => "learner",
        Role::Stopped => "stopped",
    }
}

fn storage(stats: &Stats, app: &App) -> Storage {
    Storage {
        total_bytes: stats.total_bytes,
        live_bytes: stats.live_bytes,
        inodes: stats.inodes,
        appended_bytes: stats.appended_bytes,
        running_ms: app.started.elapsed().as_millis() as u64,
    }
}

fn recovering() -> LocalVolume {
    LocalVolume { role: "recovering".into(), serve: "closed".into(), ..LocalVolume::default() }
}

fn local_volume(status: Status) -> LocalVolume {
    let peer = |peer: mainstay_replica::PeerStatus| LocalPeer {
        state: peer.state.into(),
        in_sync: peer.in_sync,
        lag_bytes: peer.lag_bytes,
    };
    LocalVolume {
        role: status.role.into(),
        epoch: status.epoch.0,
        promised: status.promised.0,
        serve: mode_name(status.serve).into(),
        position: status.position.0,
        durable: status.durable.0,
        applied: status.applied.0,
        commit: status.commit.0,
        commit_durable: status.commit_durable.0,
        lease_ms: status.lease_ms,
        clients_waiting: status.clients_waiting,
        peers: status.peers.into_iter().map(|(node, status)| (node.0, peer(status))).collect(),
        resync: status.resync.map(|resync| ResyncProgress {
            since: resync.since.0,
            base: resync.base.0,
            inode: resync.inode,
            inodes_total: resync.inodes_total,
            bytes_done: resync.bytes_done,
        }),
        bytes_sent: status.bytes_sent,
        bytes_received: status.bytes_received,
        waits_for_space: status.waits_for_space,
        failure: status.failure,
        storage: None,
    }
}

pub fn mode_name(mode: ServeMode) -> &'static str {
    match mode {
        ServeMode::Closed => "closed",
        ServeMode::ReadOnly => "read-only",
        ServeMode::ReadWrite => "read-write",
    }
}

// ---- the whole cluster -------------------------------------------------------------------------------------------------------

/// For finding out whether the state is the present one.
const FRESH_TIME_MAX: Duration = Duration::from_millis(500);

/// Every node is asked at the same time; one that does not answer is shown as unreachable, never as healthy (R6).
pub async fn cluster_status(app: &Arc<App>) -> ClusterStatus {
    // A node that has just started knows yesterday's state; with a quorum the present one can be had. Without, this node says what
    // it knows, and `quorum` says so.
    let state = app.raft.read(FRESH_TIME_MAX).await.unwrap_or_else(|_| app.state());
    let mut asked = tokio::task::JoinSet::new();
    for node in state.nodes.keys().filter(|node| **node != app.me()) {
        let (node, client) = (*node, colleague(app, &state, *node));
        asked.spawn(async move {
            let answer = tokio::time::timeout(COLLEAGUE_TIME_MAX, client?.local()).await.ok()?.ok()?;
            // Somebody else may answer at that address.
            (answer.node == node.0).then_some((node, answer))
        });
    }
    let mut locals = BTreeMap::from([(app.me(), local_status(app).await)]);
    while let Some(answer) = asked.join_next().await {
        locals.extend(answer.ok().flatten());
    }
    ClusterStatus {
        cluster: state.name.clone(),
        id: state.id.to_string(),
        version: state.version,
        answered_by: app.identity.name.clone(),
        quorum: app.raft.health().quorum,
        nodes: state.nodes.iter().map(|(id, node)| node_status(*id, node, locals.get(id))).collect(),
        volumes: state.volumes.iter().map(|(id, volume)| volume_status(&state, *id, volume, &locals)).collect(),
        proposals: open_proposals(&state),
        maintenance: maintenance(&state),
        settings: Some(state.settings.clone()),
        hold: super::policy::cluster_hold(&state),
        changes: super::policy::pending(&state),
    }
}

fn node_status(id: NodeId, node: &Node, local: Option<&LocalStatus>) -> NodeStatus {
    let state = match local {
        Some(local) if local.incarnation == node.incarnation.0 => "up",
        Some(_) => "starting",
        None if node.incarnation.0 == 0 => "never-started",
        None if node.left.is_some() => "stopped",
        None => "unreachable",
    };
    NodeStatus {
        name: node.name.clone(),
        id: id.0,
        kind: kind_name(node.kind).into(),
        state: state.into(),
        incarnation: local.map_or(node.incarnation.0, |local| local.incarnation),
        peer_address: node.peer_address.clone(),
        admin_address: node.admin_address.clone(),
        coordination: local.map(|local| local.coordination.clone()),
        left: node.left.filter(|_| local.is_none()).map(|left| format!("{} at {}", left.cause, instant(left.at))),
        problems: local.map(|local| local.problems.clone()).unwrap_or_default(),
        free_bytes: local.and_then(|local| local.free_bytes),
        software: node.software.clone(),
        set_back: node.set_back.map(instant),
    }
}

pub fn kind_name(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::FileServer => "file-server",
        NodeKind::Witness => "witness",
    }
}

fn names(state: &ClusterState, nodes: impl IntoIterator<Item = NodeId>) -> Vec<String> {
    nodes.into_iter().map(|node| state.node_name(node)).collect()
}

fn volume_status(state: &ClusterState, id: VolumeId, volume: &VolumeState, locals: &BTreeMap<NodeId, LocalStatus>) -> VolumeStatus {
    let of = |node: &NodeId| locals.get(node).and_then(|local| local.volumes.get(&id.0));
    let primary = volume.primary();
    let reigning = primary.as_ref().and_then(of).filter(|local| local.role == "primary" && local.epoch == volume.epoch.0);
    let commit = |get: fn(&LocalVolume) -> u64| match reigning {
        Some(local) => get(local),
        None => volume.replicas.iter().filter_map(of).map(get).max().unwrap_or(0),
    };
    let replica = |node: &NodeId| {
        let known = reigning.and_then(|local| local.peers.get(&node.0));
        let mut status =
            replica_status(state.node_name(*node), Some(*node) == primary, volume.in_sync.contains_key(node), of(node), known);
        // Every member had the first record of a reign that came to serve: its disk was lost, and it is a member in name only.
        if status.state == "in-sync" && status.position == 0 && volume.served_epoch.0 > 0 {
            status.state = "empty".into();
        }
        status
    };
    VolumeStatus {
        name: volume.name.clone(),
        id: id.0,
        epoch: volume.epoch.0,
        primary: primary.map(|node| state.node_name(node)),
        state: service_state(volume, reigning, volume.replicas.iter().filter_map(of)).into(),
        in_sync: names(state, volume.in_sync.keys().copied()),
        replicas: volume.replicas.iter().map(replica).collect(),
        commit: commit(|local| local.commit),
        commit_durable: commit(|local| local.commit_durable),
        lease_ms: reigning.map_or(0, |local| local.lease_ms),
        service_address: service_address(&volume.export).map_or_else(String::new, |address| address.to_string()),
        breaker_open: volume.breaker.open,
        policy: volume.policy.to_string(),
        without_primary: volume.without_primary.to_string(),
        alone: volume.rules.alone.to_string(),
        waits_for_second_copy: volume.waits_for_second_copy(),
        hold: super::policy::volume_hold(volume),
        breaker_reason: super::policy::breaker_reason(volume),
    }
}

fn service_state<'a>(
    volume: &VolumeState,
    reigning: Option<&LocalVolume>,
    mut replicas: impl Iterator<Item = &'a LocalVolume>,
) -> &'static str {
    match (volume.reign, reigning) {
        (Some(reign), Some(local)) => match (reign.state, local.serve.as_str()) {
            (ReignState::CatchingUp, _) => "catching-up",
            (ReignState::Serving, "read-write") => "serving",
            (ReignState::Serving, _) => "no-lease",
        },
        (_, None) if replicas.any(|local| local.serve == "read-only") => "read-only",
        (Some(_), None) => "unknown",
        (None, _) => "closed",
    }
}

fn replica_status(
    node: String,
    primary: bool,
    in_sync: bool,
    local: Option<&LocalVolume>,
    known: Option<&LocalPeer>,
) -> ReplicaStatus {
    let Some(local) = local else {
        let lag_bytes = known.map(|peer| peer.lag_bytes);
        return ReplicaStatus { node, state: "unreachable".into(), lag_bytes, ..ReplicaStatus::default() };
    };
    let state = match local.role.as_str() {
        _ if local.failure.is_some() => "failed",
        "primary" if primary => "primary",
        "recovering" => "recovering",
        "resyncing" => "resyncing",
        _ if known.is_some_and(|peer| peer.state == "rolling-back") => "rolling-back",
        _ if in_sync => "in-sync",
        _ => "catching-up",
    };
    ReplicaStatus {
        node,
        state: state.into(),
        position: local.position,
        durable: local.durable,
        applied: local.applied,
        lag_bytes: known.map(|peer| peer.lag_bytes),
        resync: local.resync,
        bytes_sent: local.bytes_sent,
        bytes_received: local.bytes_received,
        waits_for_space: local.waits_for_space,
        failure: local.failure.clone(),
        storage: local.storage,
    }
}

// ---- volumes, proposals, maintenance, from the state alone --------------------------------------------------------------------

pub fn volumes(state: &ClusterState) -> Vec<VolumeDetails> {
    state.volumes.iter().map(|(id, volume)| volume_details(state, *id, volume)).collect()
}

pub fn volume(state: &ClusterState, name: &str) -> Result<VolumeDetails, ApiError> {
    find_volume(state, name).map(|(id, volume)| volume_details(state, id, volume))
}

fn volume_details(state: &ClusterState, id: VolumeId, volume: &VolumeState) -> VolumeDetails {
    VolumeDetails {
        name: volume.name.clone(),
        id: id.0,
        epoch: volume.epoch.0,
        loss_epoch: volume.loss_epoch,
        primary: volume.primary().map(|node| state.node_name(node)),
        serving: volume.reign.is_some_and(|reign| reign.state == ReignState::Serving),
        in_sync: names(state, volume.in_sync.keys().copied()),
        replicas: names(state, volume.replicas.iter().copied()),
        policy: volume.policy.to_string(),
        without_primary: volume.without_primary.to_string(),
        export: volume.export.clone(),
        breaker_open: volume.breaker.open,
        settings: Some(volume.settings()),
        hold: super::policy::volume_hold(volume),
        breaker_reason: super::policy::breaker_reason(volume),
        role_changes: volume.role_changes_counted(crate::clock::wall()),
        drill_digest: state.drill_digest(volume).to_string(),
        drill: super::policy::drill(volume, state),
    }
}

fn open_proposals(state: &ClusterState) -> Vec<ProposalStatus> {
    let open = state.proposals.iter().filter(|(_, proposal)| proposal.state.open());
    open.map(|(id, proposal)| proposal_status(state, *id, proposal)).collect()
}

pub fn proposals(state: &ClusterState) -> Vec<ProposalDetails> {
    state.proposals.iter().map(|(id, proposal)| details(state, *id, proposal)).collect()
}

pub fn proposal(state: &ClusterState, id: u64) -> Result<ProposalDetails, ApiError> {
    find_proposal(state, id).map(|(id, proposal)| details(state, id, proposal))
}

pub fn proposal_status_of(state: &ClusterState, id: u64) -> Result<ProposalStatus, ApiError> {
    find_proposal(state, id).map(|(id, proposal)| proposal_status(state, id, proposal))
}

fn find_proposal(state: &ClusterState, id: u64) -> Result<(ProposalId, &Proposal), ApiError> {
    let found = state.proposals.get_key_value(&ProposalId(id)).map(|(id, proposal)| (*id, proposal));
    found.ok_or_else(|| ApiError::not_found(format!("there is no proposal {id}; `mainstay proposals` lists them")))
}

fn details(state: &ClusterState, id: ProposalId, proposal: &Proposal) -> ProposalDetails {
    let ProposalStatus { id, volume, candidate, state: state_name, evidence_hash, reason, next } =
        proposal_status(state, id, proposal);
    let evidence = super::evidence::lines(state, proposal);
    ProposalDetails { id, volume, candidate, state: state_name, evidence_hash, reason, next, proposal: proposal.clone(), evidence }
}

fn proposal_status(state: &ClusterState, id: ProposalId, proposal: &Proposal) -> ProposalStatus {
    let volume = state.volumes.get(&proposal.volume).map_or_else(|| proposal.volume.to_string(), |volume| volume.name.clone());
    let (name, reason) = proposal_state(&proposal.state);
    ProposalStatus {
        next: next_step(id, proposal, &volume),
        id: id.0,
        volume,
        candidate: state.node_name(proposal.candidate),
        state: name.into(),
        evidence_hash: proposal.evidence_hash.to_string(),
        reason,
    }
}

fn proposal_state(state: &ProposalState) -> (&'static str, Option<String>) {
    match state {
        ProposalState::Pending => ("pending", None),
        ProposalState::Fencing => ("fencing", None),
        ProposalState::CatchingUp => ("catching-up", None),
        ProposalState::Serving => ("serving", None),
        ProposalState::Failed { reason } => ("failed", Some(reason.clone())),
        ProposalState::Denied { by, reason } => ("denied", Some(format!("{by}: {reason}"))),
        ProposalState::Expired => ("expired", None),
        ProposalState::Draining => ("draining", None),
        ProposalState::Void { field, seen } => ("void", Some(format!("{field:?} changed: {seen}"))),
    }
}

fn next_step(id: ProposalId, proposal: &Proposal, volume: &str) -> String {
    if let Some(step) = super::switchover::next_step(proposal, id.0) {
        return step;
    }
    match proposal.state {
        ProposalState::Pending => format!(
            "look at it with `mainstay proposals show {0}`, then `mainstay approve {0} --evidence {1}` or `mainstay deny {0} --reason …`",
            id.0,
            proposal.evidence_hash.short()
        ),
        ProposalState::Fencing => "approved; waiting until a majority's promises to the old epoch have lapsed".into(),
        ProposalState::CatchingUp => "granted; the candidate is about to serve".into(),
        ProposalState::Serving => "done".into(),
        ProposalState::Failed { .. } => format!("mend the cause, then `mainstay volume reset-breaker {volume} --reason …`"),
        _ => "closed; a new one is made when it is needed".into(),
    }
}

pub fn maintenance(state: &ClusterState) -> Vec<MaintenanceStatus> {
    let one = |(id, maintenance): (&MaintenanceId, &mainstay_cluster::Maintenance)| MaintenanceStatus {
        id: id.0,
        node: state.node_name(maintenance.node),
        owner: maintenance.owner.clone(),
        reason: maintenance.reason.clone(),
        state: match maintenance.state {
            MaintenanceState::Active => "active".into(),
            MaintenanceState::Returning => "returning".into(),
        },
        began_at: maintenance.began_at.seconds,
        ends_at: maintenance.ends_at.seconds,
        overdue: maintenance.overdue,
    };
    state.maintenance.iter().map(one).collect()
}

pub fn revoked(state: &ClusterState) -> Vec<RevokedPerson> {
    let one = |(name, revoked): (&String, &mainstay_cluster::Revoked)| RevokedPerson {
        name: name.clone(),
        by: revoked.by.to_string(),
        at: mainstay_cluster::instant(revoked.at),
        reason: revoked.reason.clone(),
    };
    state.control.revoked.iter().map(one).collect()
}

// ---- explain, events ----------------------------------------------------------------------------------------------------------

/// With what this node observes; a node that cannot say anything explains with nothing, which refuses (R6).
pub async fn explain(app: &App, node: &str, volume: &str) -> Result<Explained, ApiError> {
    let state = app.state();
    let (candidate, (id, _)) = (find_node(&state, node)?, find_volume(&state, volume)?);
    let explanation = state.explain_promote(candidate, id, &observed(app, id).await);
    let steps = steps(&explanation.checks);
    Ok(Explained { node: node.into(), volume: volume.into(), promotable: explanation.promotable(), explanation, steps })
}

async fn observed(app: &App, volume: VolumeId) -> Observed {
    match app.hosts.get(volume) {
        Some(host) => host.inspect(|replica, now| replica.observed(now)).await.unwrap_or_default(),
        None => Observed::default(),
    }
}

fn outlook_of(outlook: Outlook) -> ExplainedOutlook {
    ExplainedOutlook { allowed: outlook.allowed(), steps: steps(&outlook.checks), outlook }
}

/// As for a promotion, with what this node observes.
pub async fn explain_resync(app: &App, node: &str, volume: &str) -> Result<ExplainedOutlook, ApiError> {
    let state = app.state();
    let (node, (id, _)) = (find_node(&state, node)?, find_volume(&state, volume)?);
    let outlook = state.explain_resync(node, id, &observed(app, id).await);
    Ok(outlook_of(outlook))
}

pub fn explain_demote(state: &ClusterState, node: &str, volume: &str) -> Result<ExplainedOutlook, ApiError> {
    let outlook = state.explain_demote(find_node(state, node)?, find_volume(state, volume)?.0);
    Ok(outlook_of(outlook))
}

pub fn explain_maintenance(state: &ClusterState, node: &str) -> Result<ExplainedOutlook, ApiError> {
    let outlook = state.explain_maintenance(find_node(state, node)?);
    Ok(outlook_of(outlook))
}

pub async fn events(app: &App, after: u64, wait: Duration) -> Events {
    let mut view = app.raft.watch();
    // An unknown number, from another cluster say, would wait for ever: the time bounds it.
    let _ = tokio::time::timeout(wait, view.wait_for(|state| state.audit.count > after)).await;
    let state = app.state();
    let mut events = kept_events(app, &state, after).await;
    // A page from the log is a page: what follows it may be in the log too.
    if events.is_empty() {
        events.extend(state.audit.after(after).take(EVENTS_PAGE_MAX).cloned());
    }
    let last = events.last().map_or(after, |event| event.number);
    let forgotten = (last - after).saturating_sub(events.len() as u64);
    Events { last, forgotten, more: last < state.audit.count && !events.is_empty(), events }
}

/// Those that the state no longer holds, from this node's own log.
async fn kept_events(app: &App, state: &ClusterState, after: u64) -> Vec<Arc<AuditEvent>> {
    let in_state = state.audit.events.front().map_or(0, |first| first.number);
    if after + 1 >= in_state {
        return vec![];
    }
    let dir = app.config.directory.join(crate::directory::EVENTS);
    let read = tokio::task::spawn_blocking(move || event_log::read(&dir, after, EVENTS_PAGE_MAX, EVENTS_PAGE_BYTES));
    let kept = match read.await {
        Ok(Ok(kept)) => kept,
        Ok(Err(error)) => {
            tracing::warn!(%error, "cannot read the log of events");
            vec![]
        }
        Err(_) => vec![],
    };
    kept.into_iter().filter(|event| event.number < in_state).collect()
}
