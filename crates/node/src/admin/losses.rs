//! Promotions that people ask for, and among them those that give up what only a lost copy had (R5): what would be lost is looked for
//! wherever a copy can still be read. And copies that nobody can use any more are set aside.

use super::api::*;
use super::change::decide;
use super::{quarantine, view};
use crate::clock;
use crate::host::{Host, aside};
use crate::shell::App;
use mainstay_cluster::limits::{LOST_FILES_MAX, LOST_PATH_BYTES_MAX, LOST_PATHS_BYTES_MAX};
use mainstay_cluster::{Actor, Command, Evidence, Known, LostFile, LostFiles, Observed};
use mainstay_protocol::record::Change;
use mainstay_protocol::{NodeId, Position, Timestamp, VolumeId};
use mainstay_volume::quarantine::path_text;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Records read in one turn of the volume's own thread, and how long all turns may take.
const TURN_RECORDS_MAX: u64 = 64;
const READ_TIME_MAX: Duration = Duration::from_secs(5);

fn person(who: &str) -> Actor {
    Actor::Person(who.into())
}

/// The evidence is what this node has seen; one that holds no copy has seen too little, and another is asked.
pub async fn propose(app: &Arc<App>, who: &str, name: &str, new: &NewProposal) -> Result<ProposalStatus, ApiError> {
    let state = app.state();
    let (volume, known) = view::find_volume(&state, name)?;
    let candidate = view::find_node(&state, &new.candidate)?;
    let elsewhere = || ApiError::new(ErrorKind::Elsewhere, format!("this node watches no copy of {name}; ask a file server"));
    let host = app.hosts.get(volume).ok_or_else(elsewhere)?;
    let observed = host.inspect(|replica, now| replica.observed(now)).await.ok_or_else(elsewhere)?;
    let evidence = match &new.give_up {
        None => state.evidence(candidate, volume, &observed),
        Some(why) => with_loss(app, (name, volume, candidate), &observed, why).await,
    };
    let not_known =
        || ApiError::new(ErrorKind::Unavailable, format!("nobody knows where the copy of {name} on {} ends", new.candidate));
    let evidence = Box::new(evidence.ok_or_else(not_known)?);
    let (parent_epoch, proposer) = (known.epoch, person(who));
    decide(app, Command::Propose { volume, candidate, parent_epoch, evidence, proposer, at: clock::wall() }).await?;
    let state = app.state();
    let newest = state.proposals.iter().rev().find(|(_, proposal)| proposal.volume == volume);
    let id = newest.map_or(0, |(id, _)| id.0);
    view::proposal_status_of(&state, id)
}

async fn with_loss(
    app: &Arc<App>,
    (name, volume, candidate): (&str, VolumeId, NodeId),
    observed: &Observed,
    why: &str,
) -> Option<Evidence> {
    let state = app.state();
    let Some(Known::Known(copy)) = observed.copies.get(&candidate) else { return None };
    let after = copy.last.position;
    let kept = held_by(app, name, candidate, after).await.ok();
    let mut asked = Vec::new();
    let mut files = None;
    for node in state.volumes.get(&volume)?.replicas.iter().filter(|node| **node != candidate) {
        match held_by(app, name, *node, after).await {
            Ok(held) if held.last > after.0 && files.is_none() => {
                files = Some(LostFiles::Known { files: held.files, more: held.more })
            }
            Ok(_) => asked.push(format!("{} holds no more", state.node_name(*node))),
            Err(error) => asked.push(format!("{}: {}", state.node_name(*node), error.message)),
        }
    }
    let files = files.unwrap_or_else(|| LostFiles::Unknown(asked.join("; ")));
    let newest = kept.map(|kept| kept.newest);
    // What was asked took a while: the candidate may have received more.
    state.evidence_with_loss(candidate, volume, observed, (newest, files, why.to_string()))
}

async fn held_by(app: &Arc<App>, name: &str, node: NodeId, after: Position) -> Result<Held, ApiError> {
    if node == app.me() {
        return held(app, name, after).await;
    }
    let unreachable = |message: String| ApiError::new(ErrorKind::Unavailable, message);
    let client = view::colleague(app, &app.state(), node).ok_or_else(|| unreachable("its address is not known".into()))?;
    client.held(name, after.0).await.map_err(|error| unreachable(error.to_string()))
}

/// What was written to one file.
struct Touched {
    bytes: u64,
    first: Timestamp,
    last: Timestamp,
}

/// What this node's copy holds behind `after`, file by file. A copy that failed may still be read.
pub async fn held(app: &Arc<App>, name: &str, after: Position) -> Result<Held, ApiError> {
    let host = quarantine::copy_of(app, name)?;
    let (last, newest) = quarantine::ask(&host, name, |volume| Ok((volume.last().position, volume.newest_change()))).await?;
    let mut touched: BTreeMap<u64, Touched> = BTreeMap::new();
    let whole = last <= after || read_behind(&host, name, (after, last), &mut touched).await;
    let listed: Vec<u64> = touched.keys().copied().take(LOST_FILES_MAX).collect();
    let mut more = (touched.len() - listed.len()) as u64 + u64::from(!whole);
    let paths =
        if listed.is_empty() { vec![] } else { quarantine::paths(app, name, &PathsWanted { inodes: listed.clone() }).await?.found };
    let named: BTreeMap<u64, String> = paths.into_iter().map(|(file, path)| (file.inode, path_text(&path))).collect();
    let (mut files, mut room) = (Vec::new(), LOST_PATHS_BYTES_MAX);
    for inode in listed {
        let path = named.get(&inode).cloned().unwrap_or_else(|| format!("(file {inode}, removed or of no name)"));
        let Touched { bytes, first, last } = touched[&inode];
        if path.len() > LOST_PATH_BYTES_MAX.min(room) {
            more += 1;
            continue;
        }
        room -= path.len();
        files.push(LostFile { path, bytes, first, last });
    }
    Ok(Held { last: last.0, newest, files, more })
}

/// In short turns, so that the volume's own work goes on. False when not all could be read.
async fn read_behind(host: &Host, name: &str, (after, last): (Position, Position), touched: &mut BTreeMap<u64, Touched>) -> bool {
    let (mut at, begun) = (after, Instant::now());
    while at < last && begun.elapsed() < READ_TIME_MAX {
        let Ok((records, to)) = quarantine::ask(host, name, move |volume| volume.records_behind(at, TURN_RECORDS_MAX)).await else {
            return false;
        };
        for (header, body) in &records {
            body.changes.iter().for_each(|change| touch(touched, change, header.time));
        }
        if to <= at {
            return false;
        }
        at = to;
    }
    at >= last
}

fn touch(touched: &mut BTreeMap<u64, Touched>, change: &Change, at: Timestamp) {
    let Some(inode) = change.owner() else { return };
    let bytes = if let Change::PutExtent { extent, .. } = change { u64::from(extent.len) } else { 0 };
    let file = touched.entry(inode).or_insert(Touched { bytes: 0, first: at, last: at });
    (file.bytes, file.last) = (file.bytes + bytes, at);
}

/// Only a copy that failed here, or could not be opened: such a one can never come into sync in this boot, so nobody relies on it while it
/// waits for the next start.
pub async fn set_aside(app: &Arc<App>, who: &str, name: &str, reason: &str) -> Result<(), ApiError> {
    let host = quarantine::copy_of(app, name)?;
    let node = &app.identity.name;
    let failed = host.unopened().is_some() || host.inspect(|replica, _| replica.failed()).await.unwrap_or(false);
    if !failed {
        let message = format!(
            "the copy of {name} on {node} is sound: it follows the primary by itself, and nothing is gained by making it again"
        );
        return Err(ApiError::new(ErrorKind::Refused, message));
    }
    let Some(place) = host.copy().cloned() else { return Err(ApiError::not_found(format!("{node} holds no copy of {name}"))) };
    let (volume, actor, at) = (host.volume, person(who), clock::wall());
    decide(app, Command::SetAsideCopy { volume, node: app.me(), reason: reason.into(), actor, at }).await?;
    let asked = move || aside::ask_for(&place.directory, at.seconds);
    quarantine::blocking(asked)
        .await?
        .map_err(|error| ApiError::new(ErrorKind::Unavailable, format!("cannot write the order: {error}")))
}
