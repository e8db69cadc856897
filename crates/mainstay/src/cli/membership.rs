//! Members and replicas: `volume add-replica`, `volume remove-replica`, `node remove`, `node replace`, `witness reseed`.

use super::args::{Format, NodeCommand, RemoveReplica};
use super::output::{bytes, show};
use super::{CliError, exit};
use mainstay_node::admin::api::{self, ApiError, Done, ErrorKind};
use mainstay_node::admin::client::{AdminClient, ClientError};
use std::time::{Duration, Instant};

/// Between two looks at a copy that is not in sync yet.
const LOOK_PAUSE: Duration = Duration::from_millis(200);
/// Between two lines about it.
const SAY_PAUSE: Duration = Duration::from_secs(5);
/// Time to get a machine to join.
const TOKEN_MINUTES: u32 = 60;
/// A refusal that passes by itself (a primary has not gone over to other members yet) is asked again for so long.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(30);

pub async fn add_replica(client: &AdminClient, volume: &str, node: &str, reason: &str, format: Format) -> Result<u8, CliError> {
    let details = client.add_replica(volume, node, reason).await?;
    show(format, &details, |_| {
        format!("{node} holds {volume} from now on; it begins empty, and `mainstay status` shows how far it is\n")
    });
    Ok(exit::OK)
}

pub async fn remove_replica(client: &AdminClient, remove: &RemoveReplica, format: Format) -> Result<u8, CliError> {
    let wish = api::RemoveReplica { reason: remove.reason.clone(), accept_single: remove.accept_single };
    let set = client.remove_replica(&remove.volume, &remove.node, &wish).await?;
    let (volume, node) = (&remove.volume, &remove.node);
    show(format, &set, |set| match &set.waits {
        None => format!("{node} holds {volume} no longer; its copy is set aside there, under removed/\n"),
        Some(change) => format!("not done yet. c{}: {}\n{}\n", change.id, change.what, change.next),
    });
    Ok(if set.waits.is_some() { exit::APPROVAL_PENDING } else { exit::OK })
}

pub async fn node(client: &AdminClient, command: NodeCommand, format: Format) -> Result<u8, CliError> {
    match command {
        NodeCommand::Remove { node, reason } => {
            remove_node(client, &node, &reason).await?;
            show(format, &Done {}, |_| format!("{node} is no member of the cluster any more\n"));
        }
        NodeCommand::Replace { old, with, reason } => {
            replace(client, &old, &with, &reason).await?;
            show(format, &Done {}, |_| format!("{with} has taken the place of {old}, which is no member any more\n"));
        }
    }
    Ok(exit::OK)
}

// ---- single acts, for `apply` and `replace` too ------------------------------------------------------------------------------------

/// Whether the same may be allowed in a moment: another change has just been made, and not everybody has seen it.
fn passes(error: &ClientError) -> bool {
    let ClientError::Answer(ApiError { error: ErrorKind::Refused, rule: Some(rule), message }) = error else { return false };
    (rule == "R13" && message.contains("may still count its lease"))
        || (rule == "R4" && message.contains("it was decided on version"))
}

pub async fn add(client: &AdminClient, volume: &str, node: &str, reason: &str) -> Result<(), CliError> {
    let begun = Instant::now();
    loop {
        match client.add_replica(volume, node, reason).await {
            Err(error) if passes(&error) && begun.elapsed() < SETTLE_TIME_MAX => tokio::time::sleep(LOOK_PAUSE).await,
            other => {
                other?;
                return Ok(());
            }
        }
    }
}

pub async fn remove(client: &AdminClient, volume: &str, node: &str, reason: &str) -> Result<(), CliError> {
    let begun = Instant::now();
    let wish = api::RemoveReplica { reason: reason.into(), accept_single: false };
    loop {
        match client.remove_replica(volume, node, &wish).await {
            Err(error) if passes(&error) && begun.elapsed() < SETTLE_TIME_MAX => tokio::time::sleep(LOOK_PAUSE).await,
            other => {
                other?;
                return Ok(());
            }
        }
    }
}

pub async fn remove_node(client: &AdminClient, node: &str, reason: &str) -> Result<(), CliError> {
    let begun = Instant::now();
    loop {
        match client.remove_node(node, reason).await {
            Err(error) if passes(&error) && begun.elapsed() < SETTLE_TIME_MAX => tokio::time::sleep(LOOK_PAUSE).await,
            other => {
                other?;
                return Ok(());
            }
        }
    }
}

/// Resync has no deadline (R11), and neither has this: interrupt it and come again, nothing is lost.
pub async fn wait_in_sync(client: &AdminClient, volume: &str, node: &str) -> Result<(), CliError> {
    let mut said: Option<Instant> = None;
    loop {
        // A node that does not answer for a moment says nothing about the copy.
        if let Ok(status) = client.status().await {
            let known = status.volumes.iter().find(|known| known.name == volume);
            let known = known.ok_or_else(|| CliError::Failed(format!("volume {volume} is gone")))?;
            if known.in_sync.iter().any(|member| member == node) {
                return Ok(());
            }
            let replica = known.replicas.iter().find(|replica| replica.node == node);
            let replica = replica.ok_or_else(|| CliError::Failed(format!("{node} is no replica of {volume} any more")))?;
            if said.is_none_or(|at| at.elapsed() >= SAY_PAUSE) {
                eprintln!("mainstay: {node} is {} for {volume}{}", replica.state, how_far(replica));
                said = Some(Instant::now());
            }
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

fn how_far(replica: &api::ReplicaStatus) -> String {
    match (&replica.resync, replica.lag_bytes) {
        (Some(resync), _) => {
            format!(", {} received, at {} of {} files", bytes(resync.bytes_done), resync.inode, resync.inodes_total)
        }
        (None, Some(lag)) if lag > 0 => format!(", {} under way", bytes(lag)),
        _ => String::new(),
    }
}

// ---- replace -----------------------------------------------------------------------------------------------------------------------

/// What is next on the way from one node to the other.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Next {
    Add(String),
    Wait(String),
    Remove(String),
    Leave,
    Done,
}

/// Only ever from what is: interrupted anywhere, it goes on there.
fn next(status: &api::ClusterStatus, old: &str, with: &str) -> Result<Next, String> {
    let of = |name: &str| status.nodes.iter().find(|node| node.name == name);
    let new = of(with).ok_or_else(|| {
        format!(
            "{with} has not joined: `mainstay token` here, then on it `mainstay join TOKEN --name {with} …` and `mainstay node`"
        )
    })?;
    let Some(gone) = of(old) else { return Ok(Next::Done) };
    if gone.kind != new.kind {
        return Err(format!("{old} is a {}, and {with} is a {}: one takes the place of its like", gone.kind, new.kind));
    }
    if new.state != "up" {
        return Err(format!("{with} is {}: start it first", new.state));
    }
    let held = || status.volumes.iter().filter(|volume| volume.replicas.iter().any(|replica| replica.node == old));
    for volume in held() {
        if volume.primary.as_deref() == Some(old) {
            let name = &volume.name;
            return Err(format!(
                "{old} is the primary of {name}. If it runs: `mainstay switchover {name} --to NODE`; if it is dead, who serves {name} is \
                 decided first: `mainstay proposals`"
            ));
        }
    }
    let lacks = held().find(|volume| volume.replicas.iter().all(|replica| replica.node != with));
    let waits = held().find(|volume| !volume.in_sync.iter().any(|node| node == with));
    Ok(match (lacks, waits, held().next()) {
        (Some(volume), _, _) => Next::Add(volume.name.clone()),
        (None, Some(volume), _) => Next::Wait(volume.name.clone()),
        (None, None, Some(volume)) => Next::Remove(volume.name.clone()),
        (None, None, None) => Next::Leave,
    })
}

async fn replace(client: &AdminClient, old: &str, with: &str, reason: &str) -> Result<(), CliError> {
    loop {
        let status = client.status().await?;
        match next(&status, old, with).map_err(CliError::Failed)? {
            Next::Add(volume) => {
                eprintln!("mainstay: {with} begins a copy of {volume}");
                add(client, &volume, with, reason).await?;
            }
            Next::Wait(volume) => wait_in_sync(client, &volume, with).await?,
            Next::Remove(volume) => {
                eprintln!("mainstay: {with} is in sync for {volume}; the replica on {old} goes");
                remove(client, &volume, old, reason).await?;
            }
            Next::Leave => {
                eprintln!("mainstay: nothing is on {old} any more; it leaves the cluster");
                remove_node(client, old, reason).await?;
            }
            Next::Done => return Ok(()),
        }
    }
}

// ---- a witness that lost its disk ---------------------------------------------------------------------------------------------------

/// A witness that begins empty under its old name would not know what it promised, and two epochs could be granted in its name (R2,
/// R12). So the new one is another node, and the lost one leaves: as `replace`, with the joining in between.
pub async fn reseed(client: &AdminClient, old: &str, with: &str, reason: &str, format: Format) -> Result<u8, CliError> {
    if !stands(&client.status().await?, old, with).map_err(CliError::Failed)? {
        let token = client.token(TOKEN_MINUTES).await?.token;
        eprintln!(
            "mainstay: on the new machine, within {TOKEN_MINUTES} min:\n\n  mainstay join {token} --name {with} --witness \
             --peer-address ADDRESS:PORT --admin-address ADDRESS:PORT\n  mainstay node\n\nmainstay: waiting for {with}"
        );
        wait_until_up(client, old, with).await?;
    }
    replace(client, old, with, reason).await?;
    show(format, &Done {}, |_| format!("{with} is the witness now, and {old} is no member any more\n"));
    Ok(exit::OK)
}

/// Whether the new one has joined and runs. A person may take as long as a person takes: interrupt it and come again.
async fn wait_until_up(client: &AdminClient, old: &str, with: &str) -> Result<(), CliError> {
    loop {
        if let Ok(status) = client.status().await
            && stands(&status, old, with).map_err(CliError::Failed)?
        {
            return Ok(());
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

fn stands(status: &api::ClusterStatus, old: &str, with: &str) -> Result<bool, String> {
    let of = |name: &str| status.nodes.iter().find(|node| node.name == name);
    let new = of(with);
    if let Some(wrong) = new.filter(|node| node.kind != "witness") {
        return Err(format!("{with} is a {}, and a witness takes the place of a witness", wrong.kind));
    }
    match (of(old), new) {
        // Interrupted after the last step.
        (None, Some(_)) => return Ok(true),
        (None, None) => return Err(format!("{old} is no node of this cluster: `mainstay status` lists them")),
        (Some(gone), _) if gone.kind != "witness" => {
            return Err(format!("{old} is a {}: `mainstay node replace` copies what it holds first", gone.kind));
        }
        (Some(gone), None) if gone.state == "up" => {
            return Err(format!(
                "{old} answers, so its disk is there. To change the machine all the same: `mainstay node replace`"
            ));
        }
        (Some(_), _) => {}
    }
    Ok(new.is_some_and(|node| node.state == "up"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(primary: &str, replicas: &[&str], in_sync: &[&str], nodes: &[&str]) -> api::ClusterStatus {
        let node = |name: &&str| {
            format!(
                r#"{{"name":"{name}","id":1,"kind":"{}","state":"up","incarnation":1,"peer_address":"","admin_address":"","coordination":null}}"#,
                if *name == "w" { "witness" } else { "file-server" }
            )
        };
        let nodes: Vec<String> = nodes.iter().map(node).collect();
        let volume = api::VolumeStatus {
            name: "files".into(),
            primary: Some(primary.into()),
            in_sync: in_sync.iter().map(|name| name.to_string()).collect(),
            replicas: replicas.iter().map(|name| api::ReplicaStatus { node: name.to_string(), ..Default::default() }).collect(),
            ..serde_json::from_str(
                r#"{"name":"","id":1,"epoch":1,"primary":null,"state":"serving","in_sync":[],"replicas":[],"commit":0,
                "commit_durable":0,"lease_ms":0,"service_address":"","breaker_open":false}"#,
            )
            .unwrap()
        };
        let volumes = serde_json::to_string(&[volume]).unwrap();
        let text = format!(
            r#"{{"cluster":"c","id":"","version":1,"answered_by":"a","quorum":true,"nodes":[{}],"volumes":{volumes},
            "proposals":[],"maintenance":[]}}"#,
            nodes.join(",")
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_witness_is_made_anew_only_when_it_is_lost() {
        let with = |nodes: &[&str], up: &[&str]| {
            let mut status = status("a", &["a", "b"], &["a", "b"], nodes);
            let down = |node: &&mut api::NodeStatus| !up.contains(&node.name.as_str());
            status.nodes.iter_mut().filter(down).for_each(|node| node.state = "unreachable".into());
            status.nodes.iter_mut().filter(|node| node.name == "v").for_each(|node| node.kind = "witness".into());
            status
        };
        let lost = with(&["a", "b", "w"], &["a", "b"]);
        assert_eq!(stands(&lost, "w", "v"), Ok(false), "it has to join");
        assert_eq!(stands(&with(&["a", "b", "w", "v"], &["a", "b"]), "w", "v"), Ok(false), "it has joined and does not run");
        assert_eq!(stands(&with(&["a", "b", "w", "v"], &["a", "b", "v"]), "w", "v"), Ok(true));
        assert_eq!(stands(&with(&["a", "b", "v"], &["a", "b", "v"]), "w", "v"), Ok(true), "it was done before");
        assert!(stands(&with(&["a", "b", "w"], &["a", "b", "w"]), "w", "v").unwrap_err().contains("answers"));
        assert!(stands(&lost, "b", "v").unwrap_err().contains("node replace"));
        assert!(stands(&lost, "w", "a").unwrap_err().contains("a is a file-server"));
        assert!(stands(&lost, "x", "v").unwrap_err().contains("no node of this cluster"));
    }

    #[test]
    fn a_node_is_replaced_step_by_step_from_wherever_it_stopped() {
        let all = ["a", "b", "w", "d"];
        let next = |replicas: &[&str], in_sync: &[&str]| next(&status("a", replicas, in_sync, &all), "b", "d").unwrap();
        assert_eq!(next(&["a", "b"], &["a"]), Next::Add("files".into()));
        assert_eq!(next(&["a", "b", "d"], &["a"]), Next::Wait("files".into()));
        assert_eq!(next(&["a", "b", "d"], &["a", "d"]), Next::Remove("files".into()));
        assert_eq!(next(&["a", "d"], &["a", "d"]), Next::Leave);
        let left = status("a", &["a", "d"], &["a", "d"], &["a", "w", "d"]);
        assert_eq!(super::next(&left, "b", "d"), Ok(Next::Done));
    }

    #[test]
    fn what_stands_in_the_way_is_said_with_what_to_do() {
        let of = |primary: &str, nodes: &[&str], old: &str, with: &str| {
            next(&status(primary, &["a", "b"], &["a", "b"], nodes), old, with).unwrap_err()
        };
        assert!(of("a", &["a", "b", "w"], "b", "d").contains("d has not joined"));
        assert!(of("b", &["a", "b", "w", "d"], "b", "d").contains("mainstay switchover files --to NODE"));
        assert!(of("a", &["a", "b", "w", "d"], "w", "d").contains("one takes the place of its like"));
    }
}
