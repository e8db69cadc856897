//! `mainstay switchover`: hands a volume to another file server while both are alive, and shows how it goes.

use super::args::{Format, Switchover};
use super::output::{bytes, show};
use super::{CliError, exit};
use crate::drill::{preflight, units};
use mainstay_cluster::FencingProof;
use mainstay_node::admin::api::{ApiError, ClusterStatus, ErrorKind, ProposalDetails, ReplicaStatus, VolumeStatus};
use mainstay_node::admin::client::{AdminClient, ClientError};
use std::time::{Duration, Instant};

/// Between two looks at a switchover that is under way.
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// Between two looks at a copy that is not in sync yet; also what a rate is measured over.
const WAIT_PAUSE: Duration = Duration::from_secs(1);
/// It is through or called off long before; beyond this nobody knows what became of it.
const OUTCOME_TIME_MAX: Duration = Duration::from_secs(60);

pub async fn switchover(client: &AdminClient, wish: &Switchover, format: Format) -> Result<u8, CliError> {
    if let Some(limit) = wish.wait {
        wait_in_sync(client, wish, limit.map(Duration::from_nanos)).await?;
    }
    if !wish.no_preflight {
        preflight::switchover(client, &wish.volume, &wish.to, wish.yes).await?;
    }
    let done = hand_over(client, &wish.volume, &wish.to).await?;
    show(format, &done, |done| format!("{} is the primary of {} now\n", done.candidate, done.volume));
    Ok(exit::OK)
}

/// Begins it and follows it to its end.
pub async fn hand_over(client: &AdminClient, volume: &str, to: &str) -> Result<ProposalDetails, CliError> {
    let begun = Instant::now();
    let proposal = match client.switchover(volume, to).await {
        Err(ClientError::Answer(error)) if matches!(error.rule.as_deref(), Some("R5" | "R11")) => {
            // The refusal stands; how far the copy is tells when to come again.
            if let Ok(text) = progress(client, volume, to).await {
                eprintln!("mainstay: {text}; --wait waits for it");
            }
            return Err(ClientError::Answer(error).into());
        }
        other => other?,
    };
    eprintln!("mainstay: switchover of {volume} to {to} has begun, as proposal {}", proposal.id);
    let mut last = String::new();
    while begun.elapsed() < OUTCOME_TIME_MAX {
        // A node that stops answering for a moment says nothing about the switchover.
        if let Ok(details) = client.proposal(proposal.id).await {
            if details.state != last {
                eprintln!("mainstay: {:>5} ms  {}", begun.elapsed().as_millis(), sentence(&details));
                last = details.state.clone();
            }
            if !details.proposal.state.open() {
                return ended(client, details).await;
            }
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    let id = proposal.id;
    let message =
        format!("proposal {id} is not through after {} s; see `mainstay proposals show {id}`", OUTCOME_TIME_MAX.as_secs());
    Err(ClientError::Lost(message).into())
}

fn sentence(details: &ProposalDetails) -> String {
    match details.state.as_str() {
        "draining" => "what is under way ends; new requests wait".into(),
        "fencing" => "the primary has stopped; the nodes promise the new epoch".into(),
        "catching-up" => format!("{} is granted the volume", details.candidate),
        "serving" => format!("{} serves", details.candidate),
        other => other.to_string(),
    }
}

async fn ended(client: &AdminClient, details: ProposalDetails) -> Result<ProposalDetails, CliError> {
    if details.state == "serving" {
        return Ok(details);
    }
    let reason = details.reason.as_deref().unwrap_or("it took too long");
    let back = match way_back(client, details.id).await {
        Some(back) => format!("proposal {} gives the volume back to {}: {}", back.id, back.candidate, back.state),
        None if details.state == "failed" => "see `mainstay status`".into(),
        None => "the primary serves on, unless `mainstay status` says otherwise".into(),
    };
    Err(CliError::Failed(format!("the switchover came to nothing, {} ({reason}); {back}", details.state)))
}

async fn way_back(client: &AdminClient, of: u64) -> Option<ProposalDetails> {
    let all: Vec<ProposalDetails> = client.get("/v1/proposals").await.ok()?;
    let back = |fencing| matches!(fencing, FencingProof::GivenBack { of: first } if first.0 == of);
    all.into_iter().find(|one| back(one.proposal.evidence.fencing))
}

// ---- how far the target is -------------------------------------------------------------------------------------------------------

fn find<'a>(status: &'a ClusterStatus, volume: &str, to: &str) -> Result<(&'a VolumeStatus, &'a ReplicaStatus), CliError> {
    let unknown = |what: String| CliError::Client(ClientError::Answer(ApiError::new(ErrorKind::NotFound, what)));
    let found = status.volumes.iter().find(|known| known.name == volume);
    let known = found.ok_or_else(|| unknown(format!("there is no volume {volume}; `mainstay volume list` lists them")))?;
    let replica = known.replicas.iter().find(|replica| replica.node == to);
    Ok((known, replica.ok_or_else(|| unknown(format!("{to} is no replica of {volume}")))?))
}

/// Two looks, [`WAIT_PAUSE`] apart.
pub async fn progress(client: &AdminClient, volume: &str, to: &str) -> Result<String, CliError> {
    let before = client.status().await?;
    tokio::time::sleep(WAIT_PAUSE).await;
    let now = client.status().await?;
    let (known, replica) = find(&now, volume, to)?;
    Ok(how_far(known, replica, find(&before, volume, to).ok().map(|(_, replica)| replica), WAIT_PAUSE))
}

fn ready(volume: &VolumeStatus, replica: &ReplicaStatus) -> bool {
    replica.state == "primary" || (replica.state == "in-sync" && volume.in_sync.contains(&replica.node))
}

async fn wait_in_sync(client: &AdminClient, wish: &Switchover, limit: Option<Duration>) -> Result<(), CliError> {
    let begun = Instant::now();
    let (mut earlier, mut said) = (None::<ReplicaStatus>, String::new());
    loop {
        let status = client.status().await?;
        let (volume, replica) = find(&status, &wish.volume, &wish.to)?;
        if ready(volume, replica) {
            return Ok(());
        }
        let text = how_far(volume, replica, earlier.as_ref(), WAIT_PAUSE);
        if text != said {
            eprintln!("mainstay: waiting, {text}");
            said.clone_from(&text);
        }
        if limit.is_some_and(|limit| begun.elapsed() >= limit) {
            return Err(CliError::Failed(format!("not switched over: {text}, and the time to wait is over")));
        }
        earlier = Some(replica.clone());
        tokio::time::sleep(WAIT_PAUSE).await;
    }
}

/// What the target lacks and, from two looks at it, when it will have it.
fn how_far(volume: &VolumeStatus, replica: &ReplicaStatus, earlier: Option<&ReplicaStatus>, apart: Duration) -> String {
    let name = &replica.node;
    let left = |missing: u64, gained: u64| match (missing, gained) {
        (0, _) => ", in a moment".to_string(),
        (_, 0) => String::new(),
        (missing, gained) => {
            let ns = u128::from(missing) * apart.as_nanos() / u128::from(gained);
            format!(", about {}", units::show_time(u64::try_from(ns).unwrap_or(u64::MAX)))
        }
    };
    if let Some(resync) = replica.resync {
        let before = earlier.and_then(|earlier| earlier.resync).map_or(resync.inode, |before| before.inode);
        let time = left(resync.inodes_total.saturating_sub(resync.inode), resync.inode.saturating_sub(before));
        let (done, total) = (resync.inode, resync.inodes_total);
        return format!("{name} is in resync: {done} of {total} inodes looked at, {} copied{time}", bytes(resync.bytes_done));
    }
    if !["catching-up", "in-sync", "rolling-back", "resyncing"].contains(&replica.state.as_str()) {
        return format!("{name} is {}", replica.state);
    }
    let records = volume.commit.saturating_sub(replica.position);
    let gained = earlier.map_or(0, |earlier| replica.position.saturating_sub(earlier.position));
    let lag = replica.lag_bytes.map_or(String::new(), |lag| format!(" ({} under way)", bytes(lag)));
    format!("{name} is {}: {records} records behind{lag}{}", replica.state, left(records, gained))
}

// ---- before maintenance -------------------------------------------------------------------------------------------------------------

/// Hands every volume over that `node` is the primary of. The first one that cannot be ends it: the ones before stay where they are
/// then, which harms nobody, and it is said how each comes back.
pub async fn away_from(client: &AdminClient, node: &str) -> Result<Vec<String>, CliError> {
    let status = client.status().await?;
    let mut moved = Vec::new();
    for volume in status.volumes.iter().filter(|volume| volume.primary.as_deref() == Some(node)) {
        let handed = match best_target(&status, volume, node) {
            Some(to) => hand_over(client, &volume.name, &to).await.map(drop),
            None => Err(no_target(&volume.name, node)),
        };
        if let Err(error) = handed {
            say_way_back(&moved, node);
            return Err(error);
        }
        moved.push(volume.name.clone());
    }
    Ok(moved)
}

/// Says what was handed over before something else failed, and how it comes back.
pub fn say_way_back(moved: &[String], node: &str) {
    for volume in moved {
        eprintln!(
            "mainstay: {volume} was handed over before that and stays where it is; back: mainstay switchover {volume} --to {node}"
        );
    }
}

/// Of the members that are up and not in maintenance themselves, the one that lags least.
fn best_target(status: &ClusterStatus, volume: &VolumeStatus, node: &str) -> Option<String> {
    let maintained = |name: &str| status.maintenance.iter().any(|one| one.node == name && one.state == "active");
    let fit = |replica: &&ReplicaStatus| replica.node != node && replica.state == "in-sync" && !maintained(&replica.node);
    let members = volume.replicas.iter().filter(|replica| volume.in_sync.contains(&replica.node)).filter(fit);
    members.min_by_key(|replica| replica.lag_bytes.unwrap_or(0)).map(|replica| replica.node.clone())
}

fn no_target(volume: &str, node: &str) -> CliError {
    let message = format!(
        "maintenance of {node} refused by R5: no other file server is in sync and out of maintenance for volume {volume}, so it \
         cannot be handed over. Bring one back and let it catch up first"
    );
    ClientError::Answer(ApiError { error: ErrorKind::Refused, rule: Some("R5".into()), message }).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_node::admin::api::ResyncProgress;

    fn status() -> ClusterStatus {
        serde_json::from_str(include_str!("../drill/fixtures/status.json")).unwrap()
    }

    #[test]
    fn how_far_a_copy_is_says_when_it_will_be_there() {
        let status = status();
        let volume = &status.volumes[0];
        let at = |position| ReplicaStatus { node: "b".into(), state: "catching-up".into(), position, ..Default::default() };
        let behind = how_far(&VolumeStatus { commit: 1_000, ..volume.clone() }, &at(900), Some(&at(850)), WAIT_PAUSE);
        assert_eq!(behind, "b is catching-up: 100 records behind, about 2.0 s");
        let resync = |inode| ResyncProgress { since: 0, base: 0, inode, inodes_total: 400, bytes_done: 0 };
        let in_resync = |inode| ReplicaStatus { resync: Some(resync(inode)), ..at(0) };
        let text = how_far(volume, &in_resync(100), Some(&in_resync(90)), WAIT_PAUSE);
        assert!(text.starts_with("b is in resync: 100 of 400 inodes") && text.ends_with(", about 30.0 s"), "{text}");
        let away = ReplicaStatus { state: "unreachable".into(), ..at(0) };
        assert_eq!(how_far(volume, &away, None, WAIT_PAUSE), "b is unreachable");
    }

    #[test]
    fn the_target_before_maintenance_is_a_member_that_is_up_and_not_in_maintenance() {
        let mut status = status();
        let volume = status.volumes[0].clone();
        let primary = volume.primary.clone().unwrap();
        let other = volume.in_sync.iter().find(|name| **name != primary).cloned();
        assert_eq!(best_target(&status, &volume, &primary), other);
        let alone = VolumeStatus { in_sync: vec![primary.clone()], ..volume.clone() };
        assert_eq!(best_target(&status, &alone, &primary), None);
        let maintenance = serde_json::from_value(serde_json::json!({
            "id": 1, "node": other.unwrap(), "owner": "x", "reason": "x", "state": "active", "began_at": 0, "ends_at": 0
        }));
        status.maintenance.push(maintenance.unwrap());
        assert_eq!(best_target(&status, &volume, &primary), None);
    }
}
