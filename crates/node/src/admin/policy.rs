//! Policies, holds, changes that two people make, and proposals that a person asks for.

use super::api::*;
use super::change::{decide, person, whole_hash};
use super::view;
use crate::clock;
use crate::shell::App;
use mainstay_cluster::{Change, ChangeId, ChangeState, ClusterState, Command, Digest, VolumeState};
use mainstay_protocol::Timestamp;

pub async fn set_volume(app: &App, who: &str, name: &str, set: &SetVolume) -> Result<Set, ApiError> {
    let (volume, _) = view::find_volume(&app.state(), name)?;
    let (wish, reason) = (set.wish, set.reason.clone());
    asked(app, who, Command::SetVolume { volume, wish, reason, actor: person(who), at: clock::wall() }).await
}

pub async fn set_hold(app: &App, who: &str, set: &SetHold) -> Result<Set, ApiError> {
    asked(app, who, Command::SetHold { on: set.on, reason: set.reason.clone(), actor: person(who), at: clock::wall() }).await
}

/// What is laxer is now a change of this person that waits; what is not is done.
async fn asked(app: &App, who: &str, command: Command) -> Result<Set, ApiError> {
    let wanted = command.clone();
    decide(app, command).await?;
    let state = app.state();
    let mine = state
        .control
        .changes
        .iter()
        .rev()
        .find(|(_, change)| change.state == ChangeState::Pending && change.asked_by == person(who) && is_for(&wanted, change));
    Ok(Set { waits: mine.map(|(id, change)| status(&state, *id, change)) })
}

fn is_for(command: &Command, change: &Change) -> bool {
    use mainstay_cluster::Wish;
    match (command, &change.wish) {
        (Command::SetVolume { volume, wish, .. }, Wish::Volume { volume: of, from, to }) => {
            volume == of && wish.applied_to(*from) == *to
        }
        (Command::SetHold { on: false, .. }, Wish::LiftHold { .. }) => true,
        _ => false,
    }
}

pub fn changes(state: &ClusterState) -> Vec<ChangeStatus> {
    state.control.changes.iter().map(|(id, change)| status(state, *id, change)).collect()
}

/// Those that wait for a person now.
pub fn pending(state: &ClusterState) -> Vec<ChangeStatus> {
    changes(state).into_iter().filter(|change| change.state == "pending").collect()
}

fn status(state: &ClusterState, id: ChangeId, change: &Change) -> ChangeStatus {
    // Nobody has to say that it is too late: by this node's own clock it is.
    let over = change.state == ChangeState::Pending && clock::wall() >= change.expires_at;
    let shown = if over { &ChangeState::Expired } else { &change.state };
    let name = match shown {
        ChangeState::Pending => "pending",
        ChangeState::Done { .. } => "done",
        ChangeState::Denied { .. } => "denied",
        ChangeState::Expired => "expired",
        ChangeState::Void => "void",
    };
    let next = match shown {
        ChangeState::Pending => format!(
            "another approver than {} decides: `mainstay approve {id} --evidence {}` or `mainstay deny {id} --reason …`",
            change.asked_by,
            change.digest.short()
        ),
        ChangeState::Done { .. } => "done".into(),
        _ => "closed; ask again if it is still wanted".into(),
    };
    ChangeStatus {
        id: id.0,
        what: state.wish_text(&change.wish),
        reason: change.reason.clone(),
        asked_by: change.asked_by.to_string(),
        state: name.into(),
        text: shown.to_string(),
        digest: change.digest.to_string(),
        expires_at: change.expires_at.seconds,
        next,
    }
}

fn find(state: &ClusterState, id: u64) -> Result<(ChangeId, &Change), ApiError> {
    let found = state.control.changes.get_key_value(&ChangeId(id)).map(|(id, change)| (*id, change));
    found.ok_or_else(|| ApiError::not_found(format!("there is no change c{id}; `mainstay changes` lists them")))
}

pub async fn approve_change(app: &App, who: &str, id: u64, approve: &ApproveChange) -> Result<ChangeStatus, ApiError> {
    let digest = whole_hash(&approve.digest, find(&app.state(), id)?.1.digest)?;
    decide(app, Command::ApproveChange { change: ChangeId(id), digest, actor: person(who), at: clock::wall() }).await?;
    find(&app.state(), id).map(|(id, change)| status(&app.state(), id, change))
}

pub async fn deny_change(app: &App, who: &str, id: u64, reason: &Reason) -> Result<ChangeStatus, ApiError> {
    let reason = reason.reason.clone();
    decide(app, Command::DenyChange { change: ChangeId(id), reason, actor: person(who), at: clock::wall() }).await?;
    find(&app.state(), id).map(|(id, change)| status(&app.state(), id, change))
}

pub async fn record_drill(app: &App, who: &str, name: &str, drill: &PassedDrill) -> Result<(), ApiError> {
    let (volume, _) = view::find_volume(&app.state(), name)?;
    let config: Digest =
        drill.config.parse().map_err(|_| ApiError::input("the drill names no configuration; `mainstay volume show` prints it"))?;
    let scenario = drill.scenario.clone();
    decide(app, Command::DrillPassed { volume, config, scenario, actor: person(who), at: clock::wall() }).await
}

/// Who holds the whole cluster, and why.
pub fn cluster_hold(state: &ClusterState) -> Option<String> {
    state.control.hold.as_ref().map(|hold| format!("{}: {}", hold.by, hold.reason))
}

pub fn volume_hold(volume: &VolumeState) -> Option<String> {
    let set = volume.rules.policy_set.as_ref().map_or("nobody is known".into(), |set| format!("{}: {}", set.by, set.reason));
    (volume.policy == mainstay_cluster::Policy::Hold).then_some(set)
}

pub fn breaker_reason(volume: &VolumeState) -> Option<String> {
    let breaker = &volume.breaker;
    let failed = || breaker.failed.last().map(|failed| format!("promotion {} failed: {}", failed.proposal, failed.reason));
    let many = breaker.too_many.map(|many| format!("{} role changes within {} min", many.changes, many.window_ms / 60_000));
    many.or_else(failed).filter(|_| breaker.open)
}

pub fn drill(volume: &VolumeState, state: &ClusterState) -> Option<String> {
    let drill = volume.rules.drill.as_ref()?;
    let same = if drill.config == state.drill_digest(volume) { "this configuration" } else { "ANOTHER configuration" };
    Some(format!("{} passed for {same}, recorded by {} on {}", drill.scenario, drill.by, instant(drill.at)))
}

fn instant(at: Timestamp) -> String {
    mainstay_cluster::refusal::instant(at)
}
