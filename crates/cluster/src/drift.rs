//! How far nodes have drifted apart, as the evidence of a promotion tells it: the programs that they run, and their wall clocks.

use crate::evidence::Observed;
use crate::limits::CLOCK_DRIFT_MS_MAX;
use crate::state::ClusterState;
use mainstay_protocol::NodeId;
use std::collections::{BTreeMap, BTreeSet};

pub(crate) struct Drift {
    /// For people.
    pub text: String,
    /// Enough that a person has to look.
    pub matters: bool,
}

/// Capitals where somebody tired must not read over it.
pub(crate) fn software(state: &ClusterState, versions: &BTreeMap<NodeId, String>) -> Drift {
    let mut by_version: BTreeMap<&str, BTreeSet<_>> = BTreeMap::new();
    for (node, version) in versions.iter().filter(|(_, version)| !version.is_empty()) {
        by_version.entry(version).or_default().insert(*node);
    }
    match by_version.len() {
        0 => Drift { text: "UNKNOWN".into(), matters: true },
        1 => Drift { text: format!("{} on all", by_version.keys().next().unwrap_or(&"")), matters: false },
        _ => {
            let each = by_version.iter().map(|(version, nodes)| format!("{version} on {}", state.names(nodes.iter())));
            Drift { text: format!("DIFFER: {}", each.collect::<Vec<_>>().join(", ")), matters: true }
        }
    }
}

/// Of the nodes that are heard: whoever is not has other lines.
pub(crate) fn clocks(state: &ClusterState, observed: &Observed) -> Drift {
    let by = state.node_name(observed.by);
    let far: Vec<String> = observed
        .clocks
        .iter()
        .filter(|(_, ahead_ms)| ahead_ms.unsigned_abs() > CLOCK_DRIFT_MS_MAX)
        .map(|(node, ahead_ms)| {
            let side = if *ahead_ms < 0 { "behind" } else { "ahead of" };
            format!("{} is {} s {side} {by}", state.node_name(*node), ahead_ms.unsigned_abs() / 1000)
        })
        .collect();
    match far.is_empty() {
        // Unknown is never good (R6): in a cluster of more than one somebody else was to be heard.
        true if observed.clocks.is_empty() && state.nodes.len() > 1 => {
            Drift { text: "UNKNOWN: nobody else was heard".into(), matters: true }
        }
        true => Drift { text: format!("within {} s of {by}'s", CLOCK_DRIFT_MS_MAX / 1000), matters: false },
        false => Drift { text: format!("DIFFER: {}", far.join(", ")), matters: true },
    }
}
