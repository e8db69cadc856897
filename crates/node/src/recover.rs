//! `mainstay recover`: a guide for every state that has no safe automatic way out. Pure: what was seen goes in, findings come out,
//! the most urgent first. It decides nothing and changes nothing; every choice is a command that a person types, and the rules judge
//! that command as they judge any other.
//!
//! A finding says what is known, what is not, and each way out with what it may cost. What a person will look for and this version
//! does not have is said as well, so that nobody searches for it at night.

mod cluster;
mod copies;
mod settings;
mod text;
mod volumes;

pub use text::render;

use crate::admin::api::{ClusterStatus, Explained, NodeStatus, ProposalDetails, Quarantine, ReplicaStatus, VolumeStatus};
use serde::Serialize;

/// All that could be learned.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Of a node with a quorum if there is one; else of the one that knows the newest decision. `None`: nobody answers.
    pub status: Option<ClusterStatus>,
    /// A look some seconds before, to see what moves.
    pub earlier: Option<ClusterStatus>,
    /// Addresses that did not answer, and why.
    pub silent: Vec<(String, String)>,
    pub proposals: Vec<ProposalDetails>,
    /// Of volumes that are not served.
    pub explained: Vec<Explained>,
    pub quarantines: Vec<Quarantine>,
    /// Unix time, seconds.
    pub now: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// For programs and the runbook: `docs/OPERATIONS.md` has a section of this name.
    pub state: &'static str,
    /// In one line, what is the matter.
    pub title: String,
    pub known: Vec<String>,
    pub unknown: Vec<String>,
    pub choices: Vec<Choice>,
    pub not_offered: Vec<String>,
    pub do_not: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Choice {
    pub what: String,
    /// What may be gone afterwards.
    pub loss: String,
    /// Where to type it; `None`: anywhere with admin.toml.
    pub on: Option<String>,
    /// Complete; capitals stand for what only the person knows.
    pub command: String,
}

/// Everything that needs a person; empty when nothing does.
pub fn findings(seen: &Seen) -> Vec<Finding> {
    let Some(status) = &seen.status else { return vec![cluster::nobody_answers(seen)] };
    let mut found: Vec<Finding> = cluster::quorum_lost(status).into_iter().collect();
    // A copy that must not be lost comes before the question who serves.
    let copies = status.volumes.iter().flat_map(|volume| copies::of(seen, status, volume));
    let (last, other): (Vec<Finding>, Vec<Finding>) = copies.partition(|finding| finding.state == copies::LAST_COPY_FAILED);
    found.extend(last);
    found.extend(status.volumes.iter().flat_map(|volume| volumes::of(seen, status, volume)));
    found.extend(other);
    found.extend(copies::set_aside(&seen.quarantines));
    found.extend(cluster::away(status));
    found.extend(cluster::overdue(status, seen.now));
    found.extend(cluster::unbound(status));
    found.extend(cluster::set_back(status));
    found.extend(status.volumes.iter().filter(|volume| volume.breaker_open && volume.state == "serving").map(volumes::breaker));
    found.extend(status.changes.iter().map(settings::change));
    found
}

/// What is not as ever and needs nobody now, because somebody meant it.
pub fn meant(seen: &Seen) -> Vec<String> {
    seen.status.as_ref().map_or_else(Vec::new, |status| cluster::in_maintenance(status, seen.now))
}

impl Finding {
    fn new(state: &'static str, title: impl Into<String>) -> Finding {
        let (known, unknown, choices, not_offered, do_not) = Default::default();
        Finding { state, title: title.into(), known, unknown, choices, not_offered, do_not }
    }

    fn known(mut self, what: impl Into<String>) -> Finding {
        self.known.push(what.into());
        self
    }

    fn unknown(mut self, what: impl Into<String>) -> Finding {
        self.unknown.push(what.into());
        self
    }

    fn choice(mut self, what: impl Into<String>, loss: impl Into<String>, command: impl Into<String>) -> Finding {
        self.choices.push(Choice { what: what.into(), loss: loss.into(), on: None, command: command.into() });
        self
    }

    fn choice_on(mut self, node: &str, what: impl Into<String>, loss: impl Into<String>, command: impl Into<String>) -> Finding {
        let on = Some(node.to_string());
        self.choices.push(Choice { what: what.into(), loss: loss.into(), on, command: command.into() });
        self
    }

    /// Starting a node loses nothing, whatever it holds: it comes back as a secondary (R3, R9).
    fn start(self, node: &str, what: impl Into<String>) -> Finding {
        self.choice_on(node, what, NOTHING, START)
    }

    fn not_offered(mut self, what: impl Into<String>) -> Finding {
        self.not_offered.push(what.into());
        self
    }

    fn do_not(mut self, what: impl Into<String>) -> Finding {
        self.do_not.push(what.into());
        self
    }
}

const NOTHING: &str = "nothing";
const START: &str = "mainstay node";
/// Wherever a node's directory could be taken for what is in the way.
const KEEP_DIRECTORIES: &str = "delete, empty or copy back any node's directory: it may hold the only copy of acknowledged writes";

fn replica<'a>(volume: &'a VolumeStatus, node: &str) -> Option<&'a ReplicaStatus> {
    volume.replicas.iter().find(|replica| replica.node == node)
}

fn answers(replica: &ReplicaStatus) -> bool {
    replica.state != "unreachable"
}

fn up(node: &NodeStatus) -> bool {
    matches!(node.state.as_str(), "up" | "starting")
}

fn list(names: &[&str]) -> String {
    names.join(" and ")
}

/// One line about a copy, as last seen.
fn copy_line(volume: &VolumeStatus, replica: &ReplicaStatus) -> String {
    let member = if volume.in_sync.contains(&replica.node) { "in the in-sync set" } else { "NOT in the in-sync set" };
    match answers(replica) {
        true => format!("{} answers; its copy is {}, up to position {}, {member}", replica.node, replica.state, replica.position),
        false => format!("{} does not answer; it is {member}", replica.node),
    }
}

fn reads(volume: &VolumeStatus) -> &'static str {
    match volume.state.as_str() {
        "read-only" => "reads are served, from a copy that may be old; writes wait",
        _ => "nothing is served; clients wait",
    }
}
