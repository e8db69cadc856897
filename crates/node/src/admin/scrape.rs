//! `/metrics`: the names that `docs/` and the alert rules use, as far as their parts exist. Cluster-level series come from every
//! node, the witness too, so that they outlive any one of them.

use super::view;
use crate::host::Host;
use crate::metrics::Exposition;
use crate::shell::App;
use mainstay_cluster::{ClusterState, Explanation, Observed, ProposalState};
use mainstay_coordination::Role;
use mainstay_nfs::Procedure;
use mainstay_replica::{Replica, ServeMode, Status};
use mainstay_volume::Stats;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

const ROLES: [&str; 7] = ["primary", "secondary", "catching-up", "resyncing", "voter", "failed", "recovering"];
const PEER_STATES: [&str; 5] = ["unknown", "rolling-back", "resyncing", "catching-up", "in-step"];

/// R1 to R15.
const RULES: u32 = 15;

/// Name, help, and where the value is.
type Figure<T> = (&'static str, &'static str, fn(&T) -> u64);

/// One volume's figures, gathered before the text is written family by family.
struct Sample {
    name: String,
    host: Host,
    status: Option<Status>,
    stats: Option<Stats>,
    observed: Observed,
}

impl Sample {
    fn role(&self) -> &'static str {
        match &self.status {
            None => "recovering",
            Some(status) if status.role == "in-sync-no-primary" => "secondary",
            Some(status) => status.role,
        }
    }

    /// A figure of the status; zero while the volume recovers.
    fn value(&self, get: impl Fn(&Status) -> u64) -> u64 {
        self.status.as_ref().map_or(0, get)
    }
}

pub async fn text(app: &Arc<App>) -> String {
    let state = app.state();
    let mut samples = Vec::new();
    for host in app.hosts.all() {
        let name = state.volumes.get(&host.volume).map_or_else(|| host.volume.to_string(), |volume| volume.name.clone());
        let ask = |replica: &Replica, now| {
            (Some(replica.status(now)), replica.volume().map(|volume| volume.stats()), replica.observed(now))
        };
        let (status, stats, observed) = host.inspect(ask).await.unwrap_or_default();
        samples.push(Sample { name, host, status, stats, observed });
    }
    let mut out = Exposition::default();
    node_families(&mut out, app, &state);
    cluster_families(&mut out, &state);
    policy_families(&mut out, app, &state);
    role_families(&mut out, &samples);
    promotion_families(&mut out, &state, &samples);
    replication_families(&mut out, &state, &samples);
    storage_families(&mut out, &samples);
    service_families(&mut out, app);
    peer_families(&mut out, app, &state);
    out.finish()
}

fn node_families(out: &mut Exposition, app: &App, state: &ClusterState) {
    out.family("build_info", "gauge", "Always 1; the labels say what runs.");
    out.series("build_info", &[("version", env!("CARGO_PKG_VERSION")), ("node", &app.identity.name)], 1);
    let health = app.raft.health();
    out.family("quorum", "gauge", "Whether decisions can be made, as this node sees it.");
    out.series("quorum", &[], u8::from(health.quorum));
    out.family("coordination_role", "gauge", "This node's part in the consensus group; says nothing about volumes.");
    let all = [Role::Leader, Role::Follower, Role::Candidate, Role::Learner, Role::Stopped].map(view::role_name);
    out.one_hot("coordination_role", &[], "role", &all, view::role_name(health.role));
    out.family("maintenance", "gauge", "Whether a node is in maintenance.");
    for (id, node) in &state.nodes {
        out.series("maintenance", &[("node", &node.name)], u8::from(state.maintenance_of(*id).is_some()));
    }
}

fn cluster_families(out: &mut Exposition, state: &ClusterState) {
    out.family("epoch", "gauge", "The volume's epoch.");
    for volume in state.volumes.values() {
        out.series("epoch", &[("volume", &volume.name)], volume.epoch.0);
    }
    out.family("in_sync", "gauge", "Whether a replica is in the volume's in-sync set.");
    for volume in state.volumes.values() {
        for node in &volume.replicas {
            let labels = [("volume", volume.name.as_str()), ("node", &state.node_name(*node))];
            out.series("in_sync", &labels, u8::from(volume.in_sync.contains_key(node)));
        }
    }
    out.family("has_primary", "gauge", "Whether the volume has a primary.");
    for volume in state.volumes.values() {
        out.series("has_primary", &[("volume", &volume.name)], u8::from(volume.reign.is_some()));
    }
    out.family("breaker_open", "gauge", "Whether promotions are latched off until a person acts.");
    for volume in state.volumes.values() {
        out.series("breaker_open", &[("volume", &volume.name)], u8::from(volume.breaker.open));
    }
    out.family("approvals_pending", "gauge", "Proposals that wait for a person.");
    let pending = state.proposals.values().filter(|proposal| proposal.state == ProposalState::Pending);
    out.series("approvals_pending", &[], pending.count());
}

/// Who decides, and what stands still until somebody does.
fn policy_families(out: &mut Exposition, app: &App, state: &ClusterState) {
    out.family("volume_policy", "gauge", "Who decides promotions of the volume.");
    for volume in state.volumes.values() {
        let policy = volume.policy.to_string();
        out.one_hot("volume_policy", &[("volume", &volume.name)], "policy", &["manual", "guarded", "hold"], &policy);
    }
    out.family("hold", "gauge", "Whether the whole cluster is on hold: nothing is promoted.");
    out.series("hold", &[], u8::from(state.control.hold.is_some()));
    out.family("waits_for_second_copy", "gauge", "Whether one copy is in sync, two are wanted, and so no change is acknowledged.");
    for volume in state.volumes.values() {
        out.series("waits_for_second_copy", &[("volume", &volume.name)], u8::from(volume.waits_for_second_copy()));
    }
    out.family("volume_alone", "gauge", "What a primary does while its copy is the only one in sync.");
    for volume in state.volumes.values() {
        let alone = volume.rules.alone.to_string();
        out.one_hot("volume_alone", &[("volume", &volume.name)], "alone", &["serve", "read-only"], &alone);
    }
    out.family("volume_without_primary", "gauge", "What replicas do while there is no primary.");
    for volume in state.volumes.values() {
        let without = volume.without_primary.to_string();
        out.one_hot("volume_without_primary", &[("volume", &volume.name)], "without_primary", &["serve-reads", "close"], &without);
    }
    out.family("role_changes_counted", "gauge", "Role changes that count towards the breaker.");
    for volume in state.volumes.values() {
        let counted = volume.role_changes_counted(crate::clock::wall());
        out.series("role_changes_counted", &[("volume", &volume.name)], counted);
    }
    out.family("changes_pending", "gauge", "Changes that wait for a second person.");
    out.series("changes_pending", &[], super::policy::pending(state).len());
    let refused = app.refused.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
    out.family("promotions_refused_total", "counter", "Promotions and words on them that a rule refused since this node started.");
    for (rule, count) in refused {
        out.series("promotions_refused_total", &[("rule", &rule.to_string())], count);
    }
}

fn role_families(out: &mut Exposition, samples: &[Sample]) {
    out.family("role", "gauge", "What this node is for the volume.");
    for sample in samples {
        out.one_hot("role", &[("volume", &sample.name)], "role", &ROLES, sample.role());
    }
    out.family("writable", "gauge", "Whether this node serves writes.");
    for sample in samples {
        out.series("writable", &[("volume", &sample.name)], sample.value(|status| (status.serve == ServeMode::ReadWrite).into()));
    }
    out.family("lease_remaining_seconds", "gauge", "What remains of this node's lease as primary.");
    for sample in samples {
        out.series("lease_remaining_seconds", &[("volume", &sample.name)], sample.value(|status| status.lease_ms) as f64 / 1e3);
    }
    out.family("role_transitions_total", "counter", "Changes of this node's role since it started.");
    for sample in samples {
        let transitions = sample.host.shared.role_transitions.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        for ((from, to), count) in transitions {
            out.series("role_transitions_total", &[("volume", &sample.name), ("from", from), ("to", to)], count);
        }
    }
    out.family("fenced_requests_total", "counter", "Messages of an older epoch that were refused.");
    for sample in samples {
        out.series("fenced_requests_total", &[("volume", &sample.name)], sample.value(|status| status.requests_fenced));
    }
}

/// As this node would explain it: the rules with what it has heard.
fn promotion_families(out: &mut Exposition, state: &ClusterState, samples: &[Sample]) {
    let explained: Vec<_> = samples.iter().flat_map(|sample| explanations(state, sample)).collect();
    out.family("promotable", "gauge", "Whether a replica could be proposed as primary now.");
    for explanation in &explained {
        let labels = [("volume", explanation.volume_name.as_str()), ("candidate", &explanation.candidate_name)];
        out.series("promotable", &labels, u8::from(explanation.promotable()));
    }
    out.family("promotion_blocker", "gauge", "Whether a rule stands in the way of that.");
    for explanation in &explained {
        let blocking: BTreeSet<String> = explanation.blockers().map(|check| check.rule.to_string()).collect();
        for rule in (1..=RULES).map(|number| format!("R{number}")) {
            let labels =
                [("volume", explanation.volume_name.as_str()), ("candidate", &explanation.candidate_name), ("rule", &rule)];
            out.series("promotion_blocker", &labels, u8::from(blocking.contains(&rule)));
        }
    }
}

fn explanations(state: &ClusterState, sample: &Sample) -> Vec<Explanation> {
    let Some(volume) = state.volumes.get(&sample.host.volume) else { return Vec::new() };
    let others = volume.replicas.iter().filter(|node| volume.primary() != Some(**node));
    others.map(|node| state.explain_promote(*node, sample.host.volume, &sample.observed)).collect()
}

fn replication_families(out: &mut Exposition, state: &ClusterState, samples: &[Sample]) {
    let figures: [Figure<Status>; 6] = [
        ("position", "Newest record in memory.", |status| status.position.0),
        ("durable_position", "Newest record on this node's disk.", |status| status.durable.0),
        ("commit_position", "Commit point.", |status| status.commit.0),
        ("replication_sent_bytes_total", "Bytes sent to other replicas.", |status| status.bytes_sent),
        ("replication_received_bytes_total", "Bytes received from other replicas.", |status| status.bytes_received),
        ("resync_done_bytes", "Bytes that the present resync has moved.", |status| {
            status.resync.map_or(0, |resync| resync.bytes_done)
        }),
    ];
    for (name, help, get) in figures {
        out.family(name, if name.ends_with("_total") { "counter" } else { "gauge" }, help);
        for sample in samples {
            out.series(name, &[("volume", &sample.name)], sample.value(get));
        }
    }
    out.family("replica_state", "gauge", "How a secondary stands, as its primary sees it.");
    for (sample, status) in samples.iter().filter_map(|sample| Some((sample, sample.status.as_ref()?))) {
        for (node, peer) in &status.peers {
            let labels = [("volume", sample.name.as_str()), ("peer", &state.node_name(*node))];
            out.one_hot("replica_state", &labels, "state", &PEER_STATES, peer.state);
        }
    }
    out.family("replication_lag_bytes", "gauge", "Log bytes that a secondary has not received yet.");
    for (sample, status) in samples.iter().filter_map(|sample| Some((sample, sample.status.as_ref()?))) {
        for (node, peer) in &status.peers {
            out.series("replication_lag_bytes", &[("volume", &sample.name), ("peer", &state.node_name(*node))], peer.lag_bytes);
        }
    }
}

fn storage_families(out: &mut Exposition, samples: &[Sample]) {
    let figures: [Figure<Stats>; 10] = [
        ("filesystem_free_bytes", "What clients may still write.", |stats| stats.free_bytes),
        ("filesystem_size_bytes", "Size of the volume as clients see it.", |stats| stats.total_bytes),
        ("segment_bytes", "Bytes of all segment files.", |stats| stats.segment_bytes),
        ("live_bytes", "File data that is part of a file now.", |stats| stats.live_bytes),
        ("inodes", "Files, directories and other inodes.", |stats| stats.inodes),
        ("checkpoint_position", "Position of the last durable view.", |stats| stats.checkpoint.0),
        ("checksum_mismatches_total", "Blocks whose checksum was wrong.", |stats| stats.checksum_errors),
        ("repaired_blocks_total", "Blocks repaired from another replica.", |stats| stats.repaired),
        ("view_waits_for_space", "Whether the disk is too full for the view's file to grow.", |stats| {
            stats.view_waits_for_space.into()
        }),
        ("scrubbed_bytes_total", "Bytes that the scrub has read.", |stats| stats.scrubbed_bytes),
    ];
    for (name, help, get) in figures {
        out.family(name, if name.ends_with("_total") { "counter" } else { "gauge" }, help);
        for (sample, stats) in samples.iter().filter_map(|sample| Some((sample, sample.stats.as_ref()?))) {
            out.series(name, &[("volume", &sample.name)], get(stats));
        }
    }
    out.family("fsync_duration_seconds", "histogram", "Group writes to the log with their sync.");
    for sample in samples {
        out.histogram("fsync_duration_seconds", &[("volume", &sample.name)], &sample.host.shared.syncs);
    }
}

fn service_families(out: &mut Exposition, app: &App) {
    let counters = &app.common.counters;
    out.family("request_duration_seconds", "histogram", "NFS requests from their arrival to their reply.");
    for (procedure, histogram) in Procedure::ALL.iter().zip(&counters.requests) {
        out.histogram("request_duration_seconds", &[("op", &procedure.name().to_lowercase())], histogram);
    }
    out.family("client_connections", "gauge", "NFS connections.");
    out.series("client_connections", &[], counters.connections.load(Ordering::Relaxed));
    out.family("client_connections_refused_total", "counter", "NFS connections of clients that are not allowed or too many.");
    out.series("client_connections_refused_total", &[], counters.connections_refused.load(Ordering::Relaxed));
    out.family("client_bad_records_total", "counter", "NFS records that could not be understood.");
    out.series("client_bad_records_total", &[], counters.bad_records.load(Ordering::Relaxed));
    out.family("service_address_bound", "gauge", "Whether the service address is bound, while this node should serve on it.");
    for (address, bound) in app.bindings.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).iter() {
        out.series("service_address_bound", &[("address", &address.to_string())], u8::from(bound.is_ok()));
    }
}

fn peer_families(out: &mut Exposition, app: &App, state: &ClusterState) {
    out.family("peer_up", "gauge", "Whether this node is connected to a peer.");
    for (id, node) in state.nodes.iter().filter(|(id, _)| **id != app.me()) {
        let labels = [("peer", node.name.as_str()), ("observer", &app.identity.name)];
        out.series("peer_up", &labels, u8::from(app.peers.connected(*id)));
    }
    let counters = app.peers.counters();
    let figures = [
        ("peer_sent_bytes_total", "Bytes sent to peers.", &counters.bytes_sent),
        ("peer_received_bytes_total", "Bytes received from peers.", &counters.bytes_received),
        (
            "peer_frames_dropped_total",
            "Frames that were dropped because a queue was full or the peer away.",
            &counters.frames_dropped,
        ),
        ("peer_connections_refused_total", "Connections on the peer port that were refused.", &counters.refused),
    ];
    for (name, help, counter) in figures {
        out.family(name, "counter", help);
        out.series(name, &[], counter.load(Ordering::Relaxed));
    }
}
