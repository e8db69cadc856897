//! `mainstay status`, to be read at three in the morning: first what is wrong and what to do, then everything else.

use super::output::{Style, bytes, table};
use mainstay_node::admin::api::{ClusterStatus, MaintenanceStatus, NodeStatus, ProposalStatus, VolumeStatus};

/// What a person should look at, most urgent first.
pub fn concerns(status: &ClusterStatus) -> Vec<String> {
    let mut list = Vec::new();
    if !status.quorum {
        list.push(format!("{} sees no quorum: nothing can be decided, so nothing can be promoted", status.answered_by));
    }
    list.extend(
        status.hold.iter().map(|by| format!("the cluster is ON HOLD ({by}): nothing is promoted, not even what is approved")),
    );
    list.extend(status.volumes.iter().flat_map(volume_concerns));
    list.extend(status.proposals.iter().map(|proposal| format!("{}: {}", proposal_title(proposal), proposal.next)));
    list.extend(status.changes.iter().map(|change| format!("change c{} ({}): {}", change.id, change.what, change.next)));
    let away = status.nodes.iter().filter(|node| node.state != "up");
    list.extend(away.map(|node| {
        let why = node.left.as_ref().map_or(String::new(), |left| format!(": {left}"));
        format!("node {} is {}{why}{}", node.name, node.state, maintained(status, node))
    }));
    let problems = status.nodes.iter().flat_map(|node| node.problems.iter().map(move |problem| (node, problem)));
    list.extend(problems.map(|(node, problem)| format!("node {}: {problem}", node.name)));
    let set_back = status.nodes.iter().filter_map(|node| Some((&node.name, node.set_back.as_ref()?)));
    list.extend(set_back.map(|(node, at)| format!("node {node}: LACKS DECISIONS that it had confirmed to hold, seen {at}")));
    list.extend(status.maintenance.iter().filter(|one| one.overdue && one.state == "active").map(|one| {
        format!(
            "maintenance m{} of {} is over its time: {} ends it (`mainstay maintenance end {1}`) or extends it (`mainstay maintenance extend {1} --for …`)",
            one.id, one.node, one.owner
        )
    }));
    list
}

fn maintained(status: &ClusterStatus, node: &NodeStatus) -> &'static str {
    if status.maintenance.iter().any(|maintenance| maintenance.node == node.name) { " (it is in maintenance)" } else { "" }
}

fn volume_concerns(volume: &VolumeStatus) -> Vec<String> {
    let mut list = Vec::new();
    let name = &volume.name;
    match volume.state.as_str() {
        "serving" => {}
        "catching-up" => list.push(format!("volume {name}: the new primary is about to serve")),
        "read-only" => list.push(format!("volume {name} has no primary: reads are served, writes are not")),
        "no-lease" => list.push(format!("volume {name}: its primary has no lease and serves nothing")),
        "closed" => list.push(format!("volume {name} has no primary: nothing is served")),
        _ => list.push(format!("volume {name}: its primary does not answer the node that was asked")),
    }
    if volume.breaker_open {
        let why = volume.breaker_reason.as_ref().map_or(String::new(), |why| format!(" ({why})"));
        list.push(format!(
            "volume {name}: the breaker is open{why}; mend the cause, then `mainstay volume reset-breaker {name} --reason …`"
        ));
    }
    if let Some(by) = &volume.hold {
        list.push(format!("volume {name} is ON HOLD ({by}): nothing is promoted, not even what is approved"));
    }
    if volume.waits_for_second_copy {
        list.push(format!("volume {name} wants two copies and has one in sync: changes wait, reads go on"));
    }
    for replica in &volume.replicas {
        match (&replica.failure, replica.state.as_str()) {
            (Some(failure), _) => list.push(format!("volume {name}: the copy on {} failed: {failure}", replica.node)),
            (None, "primary" | "in-sync") => {}
            (None, state) => list.push(format!("volume {name}: the copy on {} is {state}", replica.node)),
        }
        if replica.waits_for_space {
            list.push(format!(
                "volume {name}: the disk under the copy on {} is full; make room and it goes on by itself, nothing is lost",
                replica.node
            ));
        }
    }
    list
}

fn proposal_title(proposal: &ProposalStatus) -> String {
    format!("proposal {} ({} for {}, {})", proposal.id, proposal.candidate, proposal.volume, proposal.state)
}

pub fn render(status: &ClusterStatus, style: Style) -> String {
    let mut text = format!(
        "cluster {}   asked {}   quorum {}   state version {}\n",
        style.bold(&status.cluster),
        status.answered_by,
        if status.quorum { style.good("yes") } else { style.alarm("NO") },
        status.version
    );
    let concerns = concerns(status);
    match concerns.as_slice() {
        [] => text += &format!("{}\n", style.good("all is as it should be")),
        list => list.iter().for_each(|concern| text += &format!("{} {concern}\n", style.alarm("!"))),
    }
    text += "\n";
    text += &nodes(&status.nodes);
    for volume in &status.volumes {
        text += "\n";
        text += &volume_text(volume, style);
    }
    if !status.proposals.is_empty() {
        text += "\n";
        text += &proposals(&status.proposals);
    }
    if !status.maintenance.is_empty() {
        text += "\n";
        text += &maintenance(&status.maintenance);
    }
    text
}

fn nodes(nodes: &[NodeStatus]) -> String {
    let row = |node: &NodeStatus| {
        let coordination = node.coordination.clone().unwrap_or_else(|| "-".into());
        vec![
            node.name.clone(),
            node.kind.clone(),
            node.state.clone(),
            coordination,
            node.incarnation.to_string(),
            node.admin_address.clone(),
        ]
    };
    let rows: Vec<Vec<String>> = nodes.iter().map(row).collect();
    table(&["NODE", "KIND", "STATE", "CONSENSUS", "BOOT", "ADMIN"], &rows, "")
}

fn volume_text(volume: &VolumeStatus, style: Style) -> String {
    let primary = volume.primary.as_deref().unwrap_or("none");
    let state = if volume.state == "serving" { style.good(&volume.state) } else { style.alarm(&volume.state) };
    let mut text = format!(
        "volume {}   primary {}   {state}   epoch {}   commit {}   in sync {}   at {}\n",
        style.bold(&volume.name),
        style.bold(primary),
        volume.epoch,
        volume.commit,
        volume.in_sync.join(" "),
        volume.service_address,
    );
    text += &policy_line(volume);
    let rows: Vec<Vec<String>> = volume
        .replicas
        .iter()
        .map(|replica| {
            let resync = replica.resync.map(|resync| format!("{} moved, inode {}", bytes(resync.bytes_done), resync.inode));
            let lag = replica.lag_bytes.map_or_else(|| "-".into(), bytes);
            let [position, durable, applied] =
                [replica.position, replica.durable, replica.applied].map(|number| number.to_string());
            vec![replica.node.clone(), replica.state.clone(), position, durable, applied, lag, resync.unwrap_or_else(|| "-".into())]
        })
        .collect();
    text += &table(&["REPLICA", "STATE", "POSITION", "DURABLE", "APPLIED", "LAG", "RESYNC"], &rows, "  ");
    text
}

/// Nothing where the node is older than these fields.
fn policy_line(volume: &VolumeStatus) -> String {
    if volume.policy.is_empty() {
        return String::new();
    }
    let breaker = if volume.breaker_open { "OPEN" } else { "closed" };
    let alone = if volume.alone.is_empty() { String::new() } else { format!("   alone {}", volume.alone) };
    format!("  policy {}   breaker {breaker}   without primary {}{alone}\n", volume.policy, volume.without_primary)
}

pub fn proposals(proposals: &[ProposalStatus]) -> String {
    let row = |proposal: &ProposalStatus| {
        let evidence = proposal.evidence_hash.get(..12).unwrap_or(&proposal.evidence_hash).to_string();
        let reason = proposal.reason.clone().unwrap_or_else(|| "-".into());
        vec![proposal.id.to_string(), proposal.volume.clone(), proposal.candidate.clone(), proposal.state.clone(), evidence, reason]
    };
    let rows: Vec<Vec<String>> = proposals.iter().map(row).collect();
    table(&["PROPOSAL", "VOLUME", "CANDIDATE", "STATE", "EVIDENCE", "REASON"], &rows, "")
}

pub fn maintenance(list: &[MaintenanceStatus]) -> String {
    let row = |one: &MaintenanceStatus| {
        let until = mainstay_cluster::refusal::instant(mainstay_protocol::Timestamp::new(one.ends_at, 0));
        let state = if one.overdue { format!("{}, OVERDUE", one.state) } else { one.state.clone() };
        vec![format!("m{}", one.id), one.node.clone(), state, one.owner.clone(), until, one.reason.clone()]
    };
    let rows: Vec<Vec<String>> = list.iter().map(row).collect();
    table(&["MAINTENANCE", "NODE", "STATE", "OWNER", "UNTIL", "REASON"], &rows, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_node::admin::api::ReplicaStatus;

    fn status() -> ClusterStatus {
        let replica =
            |node: &str, state: &str| ReplicaStatus { node: node.into(), state: state.into(), ..ReplicaStatus::default() };
        let node = |name: &str| NodeStatus {
            name: name.into(),
            id: 1,
            kind: "file-server".into(),
            state: "up".into(),
            incarnation: 9,
            peer_address: "127.0.0.1:1".into(),
            admin_address: "127.0.0.1:2".into(),
            coordination: Some("leader".into()),
            left: None,
            problems: vec![],
            free_bytes: None,
            software: "0.1.0".into(),
            set_back: None,
        };
        let volume = VolumeStatus {
            name: "files".into(),
            id: 1,
            epoch: 2,
            primary: Some("a".into()),
            state: "serving".into(),
            in_sync: vec!["a".into(), "b".into()],
            replicas: vec![replica("a", "primary"), replica("b", "in-sync")],
            commit: 12,
            commit_durable: 12,
            lease_ms: 1_900,
            service_address: "127.0.0.10:2049".into(),
            breaker_open: false,
            policy: "manual".into(),
            without_primary: "serve-reads".into(),
            alone: "serve".into(),
            waits_for_second_copy: false,
            hold: None,
            breaker_reason: None,
        };
        ClusterStatus {
            cluster: "shop".into(),
            id: "0".into(),
            version: 3,
            answered_by: "a".into(),
            quorum: true,
            nodes: vec![node("a"), node("b")],
            volumes: vec![volume],
            proposals: vec![],
            maintenance: vec![],
            settings: None,
            hold: None,
            changes: vec![],
        }
    }

    #[test]
    fn a_healthy_cluster_raises_no_concern_and_a_sick_one_names_all() {
        let mut status = status();
        assert_eq!(concerns(&status), Vec::<String>::new());
        assert!(render(&status, Style { colour: false }).contains("all is as it should be"));
        status.nodes[1].state = "unreachable".into();
        status.volumes[0].state = "read-only".into();
        status.volumes[0].replicas[1].state = "unreachable".into();
        status.quorum = false;
        let text = render(&status, Style { colour: false });
        for part in ["no quorum", "has no primary", "copy on b is unreachable", "node b is unreachable"] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        assert!(!text.contains('\x1b'));
    }
}
