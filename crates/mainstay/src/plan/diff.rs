//! From what is and what should be to the steps between, in an order that is safe at every point: copies are added before any is
//! removed, what is removed has been replaced and is in sync, and nodes go last. Nothing is remembered: whoever applies the first step
//! and asks again goes on where it stopped.

use super::file::{Desired, DesiredVolume, Export, Kind};
use mainstay_cluster::{ExportSettings, VolumeSettings, VolumeWish};
use mainstay_node::admin::membership;
use std::collections::{BTreeMap, BTreeSet};

/// Copies in sync below which one person alone removes none (R4).
const COPIES_MIN: usize = 2;

/// What is, as far as a plan needs it.
#[derive(Clone, Debug, Default)]
pub struct Live {
    pub cluster: String,
    pub nodes: BTreeMap<String, LiveNode>,
    pub volumes: BTreeMap<String, LiveVolume>,
}

#[derive(Clone, Copy, Debug)]
pub struct LiveNode {
    pub kind: Kind,
    pub up: bool,
    pub booted: bool,
    /// Bytes free where its copies lie, where it says so.
    pub free_bytes: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub struct LiveVolume {
    pub replicas: BTreeSet<String>,
    pub in_sync: BTreeSet<String>,
    pub primary: Option<String>,
    pub serving: bool,
    /// File data in it, as far as a copy says.
    pub live_bytes: Option<u64>,
    pub settings: VolumeSettings,
    pub export: ExportSettings,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Only a person at that machine can.
    Join {
        node: String,
        kind: Kind,
    },
    /// It joined, and was never started.
    Start {
        node: String,
    },
    Create {
        volume: String,
    },
    Set {
        volume: String,
        wish: VolumeWish,
        text: String,
    },
    AddReplica {
        volume: String,
        node: String,
    },
    WaitInSync {
        volume: String,
        node: String,
    },
    Switchover {
        volume: String,
        to: String,
    },
    RemoveReplica {
        volume: String,
        node: String,
    },
    RemoveNode {
        node: String,
    },
    /// What no order of steps makes safe, and what a person can do about it.
    Blocked {
        what: String,
        why: String,
    },
}

impl Step {
    pub fn text(&self) -> String {
        match self {
            Step::Join { node, kind } => format!("join {node} ({}): a person, at that machine", kind.name()),
            Step::Start { node } => format!("start {node}: it joined, and never ran"),
            Step::Create { volume } => format!("make volume {volume}"),
            Step::Set { volume, text, .. } => format!("set {volume}: {text}"),
            Step::AddReplica { volume, node } => format!("add a replica of {volume} on {node}"),
            Step::WaitInSync { volume, node } => format!("wait until {node} is in sync for {volume}"),
            Step::Switchover { volume, to } => format!("hand {volume} over to {to} (switchover)"),
            Step::RemoveReplica { volume, node } => {
                format!("remove the replica of {volume} on {node}; its copy is set aside there")
            }
            Step::RemoveNode { node } => format!("remove {node} from the cluster"),
            Step::Blocked { what, why } => format!("cannot {what}: {why}"),
        }
    }
}

/// What differs, what is to be done, and what a person should know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub differences: Vec<String>,
    pub steps: Vec<Step>,
    pub notes: Vec<String>,
    /// What holds up nothing else: behind all other steps.
    late: Vec<Step>,
}

impl Plan {
    pub fn same(&self) -> bool {
        self.differences.is_empty()
    }
}

/// # Errors
/// The file is of another cluster, or contradicts what cannot be changed.
pub fn plan(live: &Live, desired: &Desired) -> Result<Plan, String> {
    if let Some(name) = desired.cluster.as_ref().filter(|name| **name != live.cluster) {
        return Err(format!("the file is for cluster {name:?}, and this is {:?}", live.cluster));
    }
    let mut plan = Plan::default();
    nodes_that_come(live, desired, &mut plan)?;
    for (name, wanted) in &desired.volumes {
        match live.volumes.get(name) {
            Some(volume) => volume_changes(live, name, volume, wanted, &mut plan),
            None => volume_made(live, name, wanted, &mut plan),
        }
    }
    for name in live.volumes.keys().filter(|name| !desired.volumes.contains_key(*name)) {
        plan.notes.push(format!("volume {name} is not in the file: it stays as it is; nothing here deletes a volume"));
    }
    // Copies go when every volume has its new ones, and nodes when nothing is on them.
    for (name, wanted) in &desired.volumes {
        if let Some(volume) = live.volumes.get(name) {
            copies_that_go(name, volume, wanted, &mut plan);
        }
    }
    nodes_that_go(live, desired, &mut plan);
    plan.steps.append(&mut plan.late);
    if desired.nodes.len().is_multiple_of(2) {
        let (count, majority) = (desired.nodes.len(), desired.nodes.len() / 2 + 1);
        plan.notes
            .push(format!("{count} nodes vote, {majority} must answer: one node fewer, or one more, would bear as much or more"));
    }
    Ok(plan)
}

fn nodes_that_come(live: &Live, desired: &Desired, plan: &mut Plan) -> Result<(), String> {
    for (name, kind) in &desired.nodes {
        match live.nodes.get(name) {
            Some(node) if node.kind != *kind => {
                return Err(format!(
                    "{name} is a {}, not a {}: a node's kind does not change; remove it and join it anew",
                    node.kind.name(),
                    kind.name()
                ));
            }
            Some(node) if !node.booted => {
                plan.differences.push(format!("~ node {name}: joined, never started"));
                plan.steps.push(Step::Start { node: name.clone() });
            }
            Some(_) => {}
            None => {
                plan.differences.push(format!("+ node {name} ({})", kind.name()));
                plan.steps.push(Step::Join { node: name.clone(), kind: *kind });
            }
        }
    }
    Ok(())
}

fn volume_made(live: &Live, name: &str, wanted: &DesiredVolume, plan: &mut Plan) {
    plan.differences.push(format!("+ volume {name} on {}", wanted.replicas.join(", ")));
    let missing: Vec<&str> = wanted.replicas.iter().filter(|node| !live.nodes.contains_key(*node)).map(String::as_str).collect();
    let why = match (&wanted.export, missing.as_slice()) {
        (Some(_), []) => return plan.steps.push(Step::Create { volume: name.into() }),
        (None, _) => format!("the file gives no [volumes.{name}.export] with its service_address"),
        (Some(_), missing) => format!("{} must join first", missing.join(" and ")),
    };
    plan.late.push(Step::Blocked { what: format!("make volume {name}"), why });
}

fn volume_changes(live: &Live, name: &str, volume: &LiveVolume, wanted: &DesiredVolume, plan: &mut Plan) {
    let to = wanted.wish.applied_to(volume.settings);
    if to != volume.settings {
        let text = volume.settings.difference(&to);
        plan.differences.push(format!("~ volume {name}: {text}"));
        plan.steps.push(Step::Set { volume: name.into(), wish: wanted.wish, text });
    }
    if wanted.export.as_ref().is_some_and(|export| *export != Export::of(&volume.export)) {
        plan.differences.push(format!("~ volume {name}: export"));
        let why = "this version sets an export when a volume is made, and does not change it later".into();
        plan.late.push(Step::Blocked { what: format!("change the export of {name}"), why });
    }
    for node in wanted.replicas.iter().filter(|node| !volume.replicas.contains(*node)) {
        plan.differences.push(format!("+ replica of {name} on {node}"));
        let why = match live.nodes.get(node).filter(|known| known.booted) {
            None => Err(format!("{node} must have joined and started first")),
            // The server looks again when it comes to that.
            Some(known) => membership::room(name, volume.live_bytes, node, known.free_bytes),
        };
        plan.steps.push(match why {
            Ok(()) => Step::AddReplica { volume: name.into(), node: node.clone() },
            Err(why) => Step::Blocked { what: format!("add a replica of {name} yet"), why },
        });
    }
    for node in volume.replicas.iter().filter(|node| !wanted.replicas.contains(node)) {
        plan.differences.push(format!("- replica of {name} on {node}"));
    }
}

fn copies_that_go(name: &str, volume: &LiveVolume, wanted: &DesiredVolume, plan: &mut Plan) {
    let go: Vec<&String> = volume.replicas.iter().filter(|node| !wanted.replicas.contains(node)).collect();
    if go.is_empty() {
        return;
    }
    if wanted.replicas.len() < COPIES_MIN {
        let why = "fewer than two copies would stay in sync (R4). If that is meant: `mainstay volume remove-replica \
                   VOLUME NODE --accept-single --reason …`, which another person approves";
        return plan.steps.push(Step::Blocked { what: format!("take {name} down to one copy"), why: why.into() });
    }
    for node in wanted.replicas.iter().filter(|node| !volume.in_sync.contains(*node)) {
        plan.steps.push(Step::WaitInSync { volume: name.into(), node: node.clone() });
    }
    if !volume.serving {
        let why = "it has no primary that serves; who serves it is decided first: `mainstay recover`".into();
        return plan.steps.push(Step::Blocked { what: format!("remove a replica of {name}"), why });
    }
    // The primary's copy goes last: it hands over to one that stays.
    for node in go.iter().filter(|node| volume.primary.as_ref() != Some(**node)) {
        plan.steps.push(Step::RemoveReplica { volume: name.into(), node: node.to_string() });
    }
    if let Some(primary) = volume.primary.as_ref().filter(|primary| go.contains(primary)) {
        let to = wanted.replicas.iter().find(|node| volume.in_sync.contains(*node)).unwrap_or(&wanted.replicas[0]);
        plan.steps.push(Step::Switchover { volume: name.into(), to: to.clone() });
        plan.steps.push(Step::RemoveReplica { volume: name.into(), node: primary.clone() });
    }
}

fn nodes_that_go(live: &Live, desired: &Desired, plan: &mut Plan) {
    let go: Vec<&String> = live.nodes.keys().filter(|name| !desired.nodes.contains_key(*name)).collect();
    let mut stay: BTreeMap<&String, bool> =
        live.nodes.iter().filter(|(_, node)| node.booted).map(|(name, node)| (name, node.up)).collect();
    for name in go {
        plan.differences.push(format!("- node {name}"));
        let unnamed =
            live.volumes.iter().find(|(volume, known)| known.replicas.contains(name) && !desired.volumes.contains_key(*volume));
        stay.remove(name);
        let (up, needed) = (stay.values().filter(|up| **up).count(), stay.len() / 2 + 1);
        plan.steps.push(match unnamed {
            Some((volume, _)) => {
                let why = format!("it holds volume {volume}, which the file does not name; say there where its copies are to be");
                Step::Blocked { what: format!("remove {name}"), why }
            }
            None if up < needed => {
                let why = format!("of the {} nodes that stay only {up} answer, and {needed} must (R13)", stay.len());
                Step::Blocked { what: format!("remove {name}"), why }
            }
            None => Step::RemoveNode { node: name.clone() },
        });
    }
}

/// The file that this cluster is like already.
pub fn export(live: &Live) -> Desired {
    let volume = |volume: &LiveVolume| {
        let settings = volume.settings;
        let first = volume.primary.iter().filter(|primary| volume.replicas.contains(*primary));
        let others = volume.replicas.iter().filter(|node| volume.primary.as_ref() != Some(*node));
        DesiredVolume {
            replicas: first.chain(others).cloned().collect(),
            wish: VolumeWish {
                policy: Some(settings.policy),
                without_primary: Some(settings.without_primary),
                alone: Some(settings.alone),
                role_changes_max: Some(settings.role_changes_max),
                role_changes_window_ms: Some(settings.role_changes_window_ms),
                drill_days: Some(settings.drill_days),
            },
            export: Some(Export::of(&volume.export)),
        }
    };
    Desired {
        cluster: Some(live.cluster.clone()),
        nodes: live.nodes.iter().map(|(name, node)| (name.clone(), node.kind)).collect(),
        volumes: live.volumes.iter().map(|(name, known)| (name.clone(), volume(known))).collect(),
    }
}

/// As TOML, for people to edit.
pub fn to_text(desired: &Desired) -> String {
    let mut text = String::from(
        "# What this cluster should be like. `mainstay plan FILE` shows what would change, `mainstay apply FILE` does it.\n",
    );
    if let Some(name) = &desired.cluster {
        text += &format!("cluster = {name:?}\n");
    }
    for (name, kind) in &desired.nodes {
        text += &format!("\n[nodes.{}]\nkind = {:?}\n", key(name), kind.name());
    }
    for (name, volume) in &desired.volumes {
        let wish = &volume.wish;
        text += &format!("\n[volumes.{}]\nreplicas = {:?}\n", key(name), volume.replicas);
        let fields = [
            ("policy", wish.policy.map(|policy| format!("\"{policy}\""))),
            ("without_primary", wish.without_primary.map(|without| format!("\"{without}\""))),
            ("alone", wish.alone.map(|alone| format!("\"{alone}\""))),
            ("role_changes_max", wish.role_changes_max.map(|max| max.to_string())),
            ("role_changes_window_minutes", wish.role_changes_window_ms.map(|ms| (ms / 60_000).to_string())),
            ("drill_days", wish.drill_days.map(|days| days.to_string())),
        ];
        for (field, value) in fields.into_iter().filter_map(|(field, value)| Some((field, value?))) {
            text += &format!("{field} = {value}\n");
        }
        if let Some(export) = volume.export.as_ref().and_then(|export| toml::to_string(export).ok()) {
            let tables = export.replace("[[clients]]", &format!("[[volumes.{}.export.clients]]", key(name)));
            text += &format!("[volumes.{}.export]\n{tables}", key(name));
        }
    }
    text
}

/// A name may hold dots, which a bare key may not.
fn key(name: &str) -> String {
    if name.contains('.') { format!("{name:?}") } else { name.into() }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
