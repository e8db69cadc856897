//! Commands that ask the cluster to decide something.

use super::args::{BeginMaintenance, CreateVolume, Format};
use super::output::{print, show, table};
use super::show::{proposal_text, volume_text};
use super::{CliError, exit};
use crate::drill::{preflight, units};
use mainstay_cluster::{Access, ExportClient, ExportSettings, Squash};
use mainstay_node::admin::api::{NewMaintenance, NewVolume, ProposalStatus, RevokedPerson};
use mainstay_node::admin::client::AdminClient;
use std::io::{BufRead, IsTerminal};
use std::time::{Duration, Instant};

/// How long `volume create` waits until the volume is served.
const SERVE_TIME_MAX: Duration = Duration::from_secs(30);
/// Nanoseconds.
const SECOND: u64 = 1_000_000_000;
const POLL_PAUSE: Duration = Duration::from_millis(50);

pub async fn token(client: &AdminClient, minutes: u32, format: Format) -> Result<u8, CliError> {
    let reply = client.token(minutes).await?;
    show(format, &reply, |reply| format!("{}\n", reply.token));
    Ok(exit::OK)
}

pub async fn create_volume(client: &AdminClient, new: &CreateVolume, format: Format) -> Result<u8, CliError> {
    let clients = new.clients.iter().map(|client| export_client(client, new.squash.into())).collect::<Result<Vec<_>, _>>()?;
    if clients.is_empty() {
        eprintln!("mainstay: no --client was given, so nobody may mount the volume");
    }
    let export =
        ExportSettings { service_address: new.service_address.to_string(), port: new.port, clients, ..ExportSettings::default() };
    let request = NewVolume {
        name: new.name.clone(),
        replicas: new.replicas.clone(),
        primary: new.primary.clone(),
        export,
        serve_reads: true,
        policy: new.policy.into(),
    };
    let mut volume = client.create_volume(&request).await?;
    if !new.no_wait {
        volume = wait_served(client, &new.name).await?;
    }
    show(format, &volume, volume_text);
    Ok(exit::OK)
}

/// Until a primary has its lease; the volume exists whatever becomes of the waiting.
async fn wait_served(client: &AdminClient, name: &str) -> Result<mainstay_node::admin::api::VolumeDetails, CliError> {
    let begun = Instant::now();
    loop {
        let volume = client.volume(name).await?;
        if volume.serving {
            return Ok(volume);
        }
        if begun.elapsed() > SERVE_TIME_MAX {
            let message =
                format!("volume {name} was made, but is not served after {} s: see `mainstay status`", SERVE_TIME_MAX.as_secs());
            return Err(CliError::Failed(message));
        }
        tokio::time::sleep(POLL_PAUSE).await;
    }
}

/// `NETWORK`, `NETWORK:ro` or `NETWORK:rw`; IPv6 networks hold colons themselves.
fn export_client(text: &str, squash: Squash) -> Result<ExportClient, CliError> {
    let (network, access) = match text.rsplit_once(':') {
        Some((network, "ro")) => (network, Access::ReadOnly),
        Some((network, "rw")) => (network, Access::ReadWrite),
        _ => (text, Access::ReadWrite),
    };
    network.parse::<mainstay_nfs::Network>().map_err(|error| CliError::Usage(error.to_string()))?;
    Ok(ExportClient { network: network.into(), access, squash })
}

pub async fn revoke(client: &AdminClient, name: &str, reason: &str) -> Result<u8, CliError> {
    client.revoke(name, reason).await?;
    eprintln!("whatever {name} says from now on counts for nothing, and what {name} approved and was not granted is void");
    eprintln!("to work on under another name: `mainstay credentials`, on the node that ran `init`");
    Ok(exit::OK)
}

pub async fn revoked(client: &AdminClient, format: Format) -> Result<u8, CliError> {
    let list = client.revoked().await?;
    let row = |person: &RevokedPerson| vec![person.name.clone(), person.at.clone(), person.by.clone(), person.reason.clone()];
    show(format, &list, |list| match list.is_empty() {
        true => "nobody is revoked\n".into(),
        false => table(&["REVOKED", "SINCE", "BY", "REASON"], &list.iter().map(row).collect::<Vec<_>>(), ""),
    });
    Ok(exit::OK)
}

pub async fn reset_breaker(client: &AdminClient, volume: &str, reason: &str) -> Result<u8, CliError> {
    client.reset_breaker(volume, reason).await?;
    eprintln!("the breaker of {volume} is closed");
    Ok(exit::OK)
}

/// An approval is for exactly the evidence that the person saw; without a hash it is shown here first.
pub async fn approve(client: &AdminClient, id: u64, evidence: Option<&str>, format: Format) -> Result<u8, CliError> {
    let hash = match evidence {
        Some(hash) => hash.to_string(),
        None => confirm(client, id).await?,
    };
    let status = client.approve(id, &hash).await?;
    report(&status, format);
    // A proposal that is still pending needs another person.
    Ok(if status.state == "pending" { exit::APPROVAL_PENDING } else { exit::OK })
}

async fn confirm(client: &AdminClient, id: u64) -> Result<String, CliError> {
    let details = client.proposal(id).await?;
    if !std::io::stdin().is_terminal() {
        let message = format!("look at `mainstay proposals show {id}`, then give --evidence with the hash that it prints");
        return Err(CliError::Usage(message));
    }
    eprint!("{}\nApprove this? Type yes: ", proposal_text(&details));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(|error| CliError::Failed(error.to_string()))?;
    if answer.trim() == "yes" { Ok(details.evidence_hash) } else { Err(CliError::Failed("not approved".into())) }
}

pub async fn deny(client: &AdminClient, id: u64, reason: &str, format: Format) -> Result<u8, CliError> {
    report(&client.deny(id, reason).await?, format);
    Ok(exit::OK)
}

fn report(status: &ProposalStatus, format: Format) {
    show(format, status, |status| format!("proposal {} is {}: {}\n", status.id, status.state, status.next));
}

pub async fn begin_maintenance(client: &AdminClient, begin: BeginMaintenance, format: Format) -> Result<u8, CliError> {
    let BeginMaintenance { node, reason, lasts, owner, allow_primary, switchover, no_preflight, yes } = begin;
    let new = NewMaintenance { node, reason, owner, seconds: lasts.div_ceil(SECOND), allow_primary, dry_run: false };
    let mut moved = Vec::new();
    if switchover {
        // What is refused anyway is refused before a volume moves. That the node is a primary still is what the switchover is for.
        client.begin_maintenance(&NewMaintenance { dry_run: true, allow_primary: true, ..new.clone() }).await?;
        moved = super::switchover::away_from(client, &new.node).await?;
    }
    if !no_preflight {
        let wish = preflight::Wish { node: &new.node, lasts, allow_primary, yes };
        let answer = preflight::maintenance(client, wish).await;
        if answer.is_err() {
            super::switchover::say_way_back(&moved, &new.node);
        }
        answer?;
    }
    let status = client.begin_maintenance(&new).await?;
    show(format, &status, |status| {
        format!("maintenance m{} of {} has begun; end it with `mainstay maintenance end {1}`\n", status.id, status.node)
    });
    Ok(exit::OK)
}

/// By its number, `m3` or `3`, or by the name of its node.
async fn find_maintenance(client: &AdminClient, which: &str) -> Result<u64, CliError> {
    let list = client.maintenance().await?;
    if let Some(one) = list.iter().find(|one| one.node == which) {
        return Ok(one.id);
    }
    let number = which.strip_prefix('m').unwrap_or(which).parse();
    number.map_err(|_| match list.as_slice() {
        [] => CliError::Usage(format!("{which}: no maintenance is open")),
        list => {
            let known: Vec<String> = list.iter().map(|one| format!("m{} of {}", one.id, one.node)).collect();
            CliError::Usage(format!("{which} is neither a maintenance nor a node in maintenance; open are {}", known.join(", ")))
        }
    })
}

pub async fn extend_maintenance(client: &AdminClient, which: &str, lasts: u64) -> Result<u8, CliError> {
    let id = find_maintenance(client, which).await?;
    client.extend_maintenance(id, lasts.div_ceil(SECOND)).await?;
    eprintln!("maintenance m{id} now ends in {}", units::show_time(lasts));
    Ok(exit::OK)
}

pub async fn end_maintenance(client: &AdminClient, which: &str) -> Result<u8, CliError> {
    let id = find_maintenance(client, which).await?;
    client.end_maintenance(id).await?;
    print("");
    eprintln!("maintenance m{id} has ended; its record closes when the node is in sync");
    Ok(exit::OK)
}

/// Kept apart for the tests' sake: which exit code a client's error has.
#[cfg(test)]
fn code(error: mainstay_node::admin::client::ClientError) -> u8 {
    CliError::from(error).code()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_node::admin::api::{ApiError, ErrorKind};
    use mainstay_node::admin::client::ClientError;

    #[test]
    fn clients_are_networks_with_an_access() {
        let read_only = export_client("fd00::/8:ro", Squash::Root).unwrap();
        assert_eq!((read_only.network.as_str(), read_only.access), ("fd00::/8", Access::ReadOnly));
        assert_eq!(export_client("fd00::/8", Squash::Root).unwrap().network, "fd00::/8");
        assert_eq!(export_client("10.0.0.0/8:rw", Squash::All).unwrap().access, Access::ReadWrite);
        assert!(export_client("10.0.0.1/8", Squash::Root).is_err(), "host bits are set");
        assert!(export_client("everybody", Squash::Root).is_err());
    }

    #[test]
    fn exit_codes_tell_refusals_from_failures() {
        let answer = |error| ClientError::Answer(ApiError::new(error, "x"));
        assert_eq!(code(answer(ErrorKind::Refused)), exit::REFUSED);
        assert_eq!(code(answer(ErrorKind::Unknown)), exit::INDETERMINATE);
        assert_eq!(code(answer(ErrorKind::Forbidden)), exit::ERROR);
        assert_eq!(code(ClientError::Lost("x".into())), exit::INDETERMINATE);
        assert_eq!(code(ClientError::Unreachable("x".into())), exit::ERROR);
    }
}
