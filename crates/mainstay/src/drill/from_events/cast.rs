//! Who is who in a log: two file servers, a witness, one volume.

use super::super::fork::Names;
use mainstay_cluster::{Actor, AuditEvent, Event};
use mainstay_protocol::{NodeId, VolumeId};
use mainstay_simulator::scenario::{A, B, W};
use std::collections::{BTreeMap, BTreeSet};

pub struct Cast {
    /// In the log and in the simulator.
    nodes: BTreeMap<NodeId, NodeId>,
    pub names: Names,
    pub volume: Option<VolumeId>,
}

/// Nodes that an event names, and whether it takes a file server to be in that place.
fn named(event: &AuditEvent) -> Vec<(NodeId, bool)> {
    let mut found = match &event.event {
        Event::NodeAdded { node }
        | Event::NodeBooted { node, .. }
        | Event::PromiseLapsed { node, .. }
        | Event::MaintenanceBegun { node, .. }
        | Event::MaintenanceEnding { node, .. }
        | Event::MaintenanceClosed { node, .. } => vec![(*node, event.text.starts_with("file server "))],
        Event::VolumeCreated { primary } | Event::Granted { primary, .. } | Event::Serving { primary, .. } => {
            vec![(*primary, true)]
        }
        Event::InSyncShrunk { removed } => vec![(*removed, true)],
        Event::InSyncGrown { added, .. } => vec![(*added, true)],
        Event::Proposed { candidate, .. } | Event::PromotionFailed { candidate, .. } => vec![(*candidate, true)],
        Event::ReignEnded { node, .. } => vec![(*node, true)],
        _ => vec![],
    };
    if let Actor::Node(node) = event.actor {
        let as_primary = matches!(event.event, Event::InSyncShrunk { .. } | Event::InSyncGrown { .. });
        found.push((node, as_primary));
    }
    found
}

/// What an event's line for people calls its node.
fn name(event: &AuditEvent) -> Option<(NodeId, String)> {
    let words = || event.text.split(' ');
    let (node, name) = match &event.event {
        Event::NodeAdded { node } => {
            let skip = if event.text.starts_with("file server ") { 2 } else { 1 };
            (node, words().nth(skip)?)
        }
        Event::NodeBooted { node, .. } => (node, words().next()?),
        Event::MaintenanceClosed { node, .. } | Event::MaintenanceBegun { node, .. } => (node, words().nth(3)?),
        _ => return None,
    };
    Some((*node, name.trim_end_matches([',', ';', ':']).to_string()))
}

impl Cast {
    /// # Errors
    /// More nodes than the simulator has, or more file servers.
    pub fn of(events: &[AuditEvent], volume: Option<VolumeId>) -> Result<Cast, String> {
        let mut servers: BTreeSet<NodeId> = BTreeSet::new();
        let mut all: BTreeSet<NodeId> = BTreeSet::new();
        let mut witnesses: BTreeSet<NodeId> = BTreeSet::new();
        for event in events {
            for (node, server) in named(event) {
                all.insert(node);
                if server {
                    servers.insert(node);
                }
            }
            if let (Event::NodeAdded { node }, true) = (&event.event, event.text.starts_with("witness ")) {
                witnesses.insert(*node);
            }
        }
        let called: BTreeMap<NodeId, String> = events.iter().filter_map(name).collect();
        let label = |node: &NodeId| called.get(node).cloned().unwrap_or_else(|| node.to_string());
        if all.len() > 3 || servers.len() > 2 || witnesses.len() > 1 {
            let list: Vec<String> = all.iter().map(label).collect();
            return Err(format!(
                "it tells of {} nodes ({}), {} of them file servers; two file servers and a witness can be rehearsed",
                all.len(),
                list.join(", "),
                servers.len()
            ));
        }
        // Who did nothing that tells: a file server while one is missing, the lower number first.
        for node in &all {
            if servers.len() < 2 && !witnesses.contains(node) {
                servers.insert(*node);
            }
        }
        let mut nodes: BTreeMap<NodeId, NodeId> = servers.iter().copied().zip([A, B]).collect();
        nodes.extend(all.iter().find(|node| !servers.contains(node)).map(|node| (*node, W)));
        let name_of = |role: NodeId, usual: &str| {
            nodes.iter().find(|(_, known)| **known == role).map_or_else(|| usual.to_string(), |(node, _)| label(node))
        };
        let names = Names::new(&name_of(A, "a"), &name_of(B, "b"), &name_of(W, "w"));
        Ok(Cast { volume: volume.or_else(|| busiest(events)), nodes, names })
    }

    pub fn node(&self, node: NodeId) -> NodeId {
        // Everybody who is named was given a part.
        self.nodes.get(&node).copied().unwrap_or(W)
    }

    /// Of another volume than the one that is rehearsed.
    pub fn is_foreign(&self, event: &AuditEvent) -> bool {
        event.volume.is_some() && event.volume != self.volume
    }
}

/// The volume that most is told of.
fn busiest(events: &[AuditEvent]) -> Option<VolumeId> {
    let mut counts: BTreeMap<VolumeId, usize> = BTreeMap::new();
    events.iter().filter_map(|event| event.volume).for_each(|volume| *counts.entry(volume).or_default() += 1);
    counts.into_iter().rev().max_by_key(|(_, count)| *count).map(|(volume, _)| volume)
}
