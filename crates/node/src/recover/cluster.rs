//! States of the cluster as a whole: quorum, nodes, maintenance.

use super::{Finding, KEEP_DIRECTORIES, NOTHING, Seen, list, up};
use crate::admin::api::{ClusterStatus, MaintenanceStatus, NodeStatus, ReplicaStatus, VolumeStatus};

pub fn nobody_answers(seen: &Seen) -> Finding {
    let finding = Finding::new("no-answer", "no node answers this machine")
        .unknown("everything: whether the nodes are down, or only the way to them")
        .choice("look at the nodes themselves, on their own consoles", NOTHING, "mainstay status")
        .do_not(KEEP_DIRECTORIES)
        .do_not("run `mainstay init` again: that is another cluster, which knows nothing of this one's files");
    let silent = seen.silent.iter().fold(finding, |finding, (address, why)| finding.known(format!("{address}: {why}")));
    silent.start("every node that is down", "start the nodes; the order does not matter")
}

fn names(nodes: &[&NodeStatus]) -> Vec<String> {
    nodes.iter().map(|node| node.name.clone()).collect()
}

pub fn quorum_lost(status: &ClusterStatus) -> Option<Finding> {
    if status.quorum {
        return None;
    }
    let (there, gone): (Vec<&NodeStatus>, Vec<&NodeStatus>) = status.nodes.iter().partition(|node| up(node));
    let majority = status.nodes.len() / 2 + 1;
    let missing = majority.saturating_sub(there.len());
    let title =
        format!("no quorum: {} reaches {} of {} nodes, {majority} are needed", status.answered_by, there.len(), status.nodes.len());
    let gone_names = names(&gone);
    let gone_list = list(&gone_names.iter().map(String::as_str).collect::<Vec<_>>());
    let finding = Finding::new("quorum-lost", title)
        .known(format!("{} was asked; it knows the decisions up to version {}", status.answered_by, status.version))
        .known(format!("away: {}", if gone.is_empty() { "nobody; the nodes are finding each other".into() } else { gone_list }))
        .known("nothing can be decided: no promotion, no change of an in-sync set, no maintenance; a primary stops with its lease")
        .unknown("what a majority decided that this node did not hear; the nodes that are away may know more")
        .do_not(KEEP_DIRECTORIES)
        .do_not("bring a node back with an older copy of its directory: a decision could be lost by it");
    let finding = status.volumes.iter().fold(finding, |finding, volume| {
        let holders: Vec<&str> = volume.in_sync.iter().map(String::as_str).collect();
        finding.known(format!(
            "volume {}: as far as {} knows, everything acknowledged is on {}",
            volume.name,
            status.answered_by,
            list(&holders)
        ))
    });
    let what = if missing > 1 { format!("start it; {missing} of those that are away are needed") } else { "start it".into() };
    let finding = gone.iter().fold(finding, |finding, node| finding.start(&node.name, what.clone()));
    Some(match there.iter().find(|node| node.kind == "file-server") {
        Some(left) if !gone.is_empty() => finding.choice_on(
            &left.name,
            format!(
                "nobody else ever comes back: stop {} and go on with it alone. Shows what it knows; two people then do it",
                left.name
            ),
            "WHAT THE LOST NODES DECIDED AND ACKNOWLEDGED BY THEMSELVES: nobody can say how much that is",
            "mainstay force-quorum",
        ),
        _ => finding,
    })
}

/// Nodes that are away while the cluster can decide.
pub fn away(status: &ClusterStatus) -> Vec<Finding> {
    if !status.quorum {
        return vec![];
    }
    let gone = status.nodes.iter().filter(|node| !up(node));
    gone.filter_map(|node| match maintenance(status, node) {
        Some(one) if one.state == "active" => None,
        // What to do about its copy is said with the volume.
        _ if unserved(status, node) => None,
        _ if node.kind == "witness" => Some(witness(status, node)),
        _ => Some(file_server(status, node)),
    })
    .collect()
}

/// A node that is away on purpose needs nobody, and is away all the same.
pub fn in_maintenance(status: &ClusterStatus, now: i64) -> Vec<String> {
    let (mut lines, mut names) = (Vec::new(), Vec::new());
    for node in &status.nodes {
        // What is over its time is a finding of its own.
        let Some(one) = maintenance(status, node).filter(|one| one.ends_at >= now && one.state == "active") else { continue };
        names.push(&node.name);
        let until = mainstay_cluster::refusal::instant(mainstay_protocol::Timestamp::new(one.ends_at, 0));
        let there = if up(node) { "answers" } else { "does not answer" };
        lines.push(format!(
            "{} is in maintenance m{} of {} until {until} ({}); it {there}",
            node.name, one.id, one.owner, one.reason
        ));
    }
    let lacks = |volume: &&VolumeStatus| {
        let meant = |replica: &ReplicaStatus| names.contains(&&replica.node) && !volume.in_sync.contains(&replica.node);
        volume.state == "serving" && volume.in_sync.len() == 1 && volume.replicas.iter().any(meant)
    };
    let alone = status.volumes.iter().filter(lacks);
    lines.extend(
        alone.map(|volume| format!("volume {}: only {} is in sync, so it must not fail now", volume.name, volume.in_sync[0])),
    );
    lines
}

fn unserved(status: &ClusterStatus, node: &NodeStatus) -> bool {
    let waits = status.volumes.iter().filter(|volume| volume.state != "serving");
    waits.flat_map(|volume| &volume.replicas).any(|replica| replica.node == node.name)
}

fn maintenance<'a>(status: &'a ClusterStatus, node: &NodeStatus) -> Option<&'a MaintenanceStatus> {
    status.maintenance.iter().find(|one| one.node == node.name)
}

fn next_loss(status: &ClusterStatus) -> String {
    let there = status.nodes.iter().filter(|node| up(node)).count();
    let spare = there.saturating_sub(status.nodes.len() / 2 + 1);
    match spare {
        0 => "one node more that fails takes the quorum, and with it every volume's writes".into(),
        spare => format!("{spare} more may fail before the quorum is gone"),
    }
}

/// A node that said that it stops is told apart from one that is just not heard any more.
fn gone(state: &'static str, kind: &str, node: &NodeStatus) -> Finding {
    match &node.left {
        Some(left) => {
            Finding::new(state, format!("the {kind} {} has stopped", node.name)).known(format!("it stopped in order: {left}"))
        }
        None => Finding::new(state, format!("the {kind} {} does not answer", node.name))
            .unknown("whether it is down, or only cut off, and whether its disk is whole"),
    }
}

const REPLACE: &str =
    "it is lost for good: join another machine under another name (`mainstay token`, `mainstay join`), which takes its place";

fn replace(node: &str) -> String {
    format!("mainstay node replace {node} --with NAME --reason \"WHAT HAPPENED\"")
}

fn witness(status: &ClusterStatus, node: &NodeStatus) -> Finding {
    gone("witness-away", "witness", node)
        .known("it holds no data: nothing is lost, and everything that is served goes on (R12)")
        .known(next_loss(status))
        .start(&node.name, "start it; with its own directory it goes on where it was")
        .choice(
            "its disk is lost for good: another witness, under another name, takes its place",
            NOTHING,
            format!("mainstay witness reseed {} --with NAME --reason \"WHAT HAPPENED\"", node.name),
        )
        .do_not("start it from an older copy of its disk while a file server is down: a decision could be lost by it")
}

fn file_server(status: &ClusterStatus, node: &NodeStatus) -> Finding {
    let serving = status.volumes.iter().filter(|volume| volume.state == "serving");
    let alone: Vec<&str> = serving.filter(|volume| volume.in_sync.len() == 1).map(|volume| volume.name.as_str()).collect();
    let finding = gone("file-server-away", "file server", node).known(next_loss(status));
    let finding = match alone.is_empty() {
        true => finding,
        false => finding.known(format!("only one copy of {} is in sync: it must not fail now", list(&alone))),
    };
    finding
        .start(&node.name, "start it; it comes back as a secondary and receives what it missed (R9, R11)")
        .choice(
            "it is being worked on: say so, and nothing is promoted to it or because of it",
            NOTHING,
            format!("mainstay maintenance begin {} --for TIME --reason \"WHAT IS DONE\"", node.name),
        )
        .choice(REPLACE, "nothing; what only its own disk holds stays there", replace(&node.name))
        .do_not(KEEP_DIRECTORIES)
}

/// Nothing resumes by itself (R10): somebody must say that the work is over.
pub fn overdue(status: &ClusterStatus, now: i64) -> Vec<Finding> {
    let late = status.maintenance.iter().filter(|one| one.ends_at < now);
    late.map(|one| {
        let finding = Finding::new("maintenance-overdue", format!("maintenance {} of {} should have ended", one.id, one.node))
            .known(format!("{} began it: {}; it is {} min over", one.owner, one.reason, (now - one.ends_at) / 60))
            .known("nothing is promoted to that node or because of it until somebody ends it (R10)")
            .unknown(format!("whether the work is done: ask {}", one.owner));
        let away = status.nodes.iter().any(|node| node.name == one.node && !up(node));
        let finding =
            if away { finding.start(&one.node, "the work is done and the node is still down: start it") } else { finding };
        match one.state.as_str() {
            "returning" => {
                finding.known("it was ended, and stands in no promotion's way; the record closes when the node is in sync again")
            }
            _ => finding
                .choice(
                    "the work is done: end it; the record closes when the node is in sync again",
                    NOTHING,
                    format!("mainstay maintenance end {}", one.id),
                )
                .choice(
                    "the work goes on: give it another end",
                    NOTHING,
                    format!("mainstay maintenance extend {} --for TIME", one.id),
                ),
        }
    })
    .collect()
}

/// It has everything again, as far as the others knew it; what it forgot meanwhile may have counted.
pub fn set_back(status: &ClusterStatus) -> Vec<Finding> {
    let found = status.nodes.iter().filter_map(|node| Some((node, node.set_back.as_ref()?)));
    found.map(|(node, at)| {
        let name = &node.name;
        let other = match node.kind.as_str() {
            "witness" => format!("mainstay witness reseed {name} --with NAME --reason \"WHAT HAPPENED\""),
            _ => replace(name),
        };
        let serves = status.volumes.iter().any(|volume| volume.primary.as_deref() == Some(name));
        let switchover = if serves { " --switchover" } else { "" };
        let (on_record, command) = match maintenance(status, node) {
            // One that began before does not count: who began it did not know.
            Some(open) => {
                ("end the maintenance that is open, and begin another".to_string(), format!("mainstay maintenance end {}", open.id))
            }
            None => (
                format!("put that on record, and then `mainstay maintenance end {name}`"),
                format!("mainstay maintenance begin {name}{switchover} --for 10m --reason \"WHAT HAPPENED\""),
            ),
        };
        Finding::new("node-set-back", format!("{name} lacked decisions that it had confirmed to hold"))
            .known(format!("seen {at}, when the leader gave them to it again"))
            .known("what was decided while it and the others were up is whole; policy guarded promotes nothing until somebody has looked")
            .unknown("whether its directory was set back (an old backup, a snapshot of the machine), or its disk loses what it calls synced")
            .unknown("whether something was decided with its vote while another node was down: compare the time with `mainstay events`")
            .choice(format!("its directory was set back, and its disk is good: {on_record}"), NOTHING, command)
            .choice("its disk is not to be trusted: another machine takes its place", NOTHING, other)
            .do_not("set a node's directory back, ever: one that is lost is replaced")
    })
    .collect()
}

/// The volume is served, and nobody finds the way.
pub fn unbound(status: &ClusterStatus) -> Vec<Finding> {
    let problems = status.nodes.iter().flat_map(|node| node.problems.iter().map(move |problem| (node, problem)));
    let found = problems.map(|(node, problem)| {
        let name = &node.name;
        Finding::new("address-unbound", format!("{name} serves, and clients do not find it"))
            .known(problem)
            .known("nothing is lost; mounts wait, and go on as soon as the address is there")
            .unknown("whether another machine of the network still has the address")
            .choice_on(name, "look which addresses this machine has", NOTHING, "ip address show")
            .choice_on(
                name,
                "the address is missing: add it; it is bound within a second. Or let Mainstay do it: `[service]` in node.toml",
                NOTHING,
                "ip address add ADDRESS/PREFIX dev INTERFACE",
            )
    });
    found.collect()
}
