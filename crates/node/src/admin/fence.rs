//! A person tries this node's fencing hooks out, or has a machine switched off. It is on record before the command runs, bound to the boot
//! that was seen, and proves nothing: leases run out by themselves.

use super::api::{ApiError, ErrorKind, FenceTried, FenceWish};
use super::{change, view};
use crate::clock;
use crate::hooks::fence::About;
use crate::hooks::run::Stop;
use crate::shell::App;
use mainstay_cluster::{Actor, ClusterState, Command, FenceOutcome};
use mainstay_protocol::{Incarnation, NodeId};
use mainstay_replica::FenceResult;
use std::sync::Arc;
use std::time::Duration;

/// How long a person waits for the outcome; a hook that takes longer goes on, and the audit log tells.
const WAIT_MAX: Duration = Duration::from_secs(15);
/// How often, and how far apart, an outcome is said that nobody decides.
const TELL_TIMES: u32 = 30;
const TELL_PAUSE: Duration = Duration::from_secs(5);

pub async fn fence(app: &Arc<App>, who: &str, name: &str, wish: &FenceWish) -> Result<FenceTried, ApiError> {
    let state = app.state();
    let target = view::find_node(&state, name)?;
    let target_incarnation = state.nodes.get(&target).map_or_else(Default::default, |node| node.incarnation);
    let about = About { target: name.into(), incarnation: target_incarnation.0, epoch: 0, proposal: "by hand".into() };
    let Some((command, verify)) = app.fences.shown(&about) else {
        let text = format!("{} cannot switch {name} off: its node.toml has no [[fence]] for it", app.config.name);
        return Err(ApiError::new(ErrorKind::Elsewhere, text));
    };
    let asked = Command::FenceAsked {
        node: app.me(),
        target,
        target_incarnation,
        allow_primary: wish.allow_primary,
        reason: wish.reason.clone(),
        actor: Actor::Person(who.into()),
        at: clock::wall(),
    };
    let through = app.config.name.clone();
    if wish.dry_run {
        let refused = refusal(&state, &asked);
        let looked = look(app, about).await?;
        return Ok(FenceTried { through, command, verify, refused, looked: Some(looked), outcome: None });
    }
    change::decide(app, asked).await?;
    let outcome = switch_off(app, about, (target, target_incarnation)).await;
    Ok(FenceTried { through, command, verify, refused: None, looked: None, outcome })
}

/// What the cluster would say to it now.
fn refusal(state: &ClusterState, asked: &Command) -> Option<String> {
    state.clone().apply(asked).err().map(|refusal| refusal.message)
}

/// The verify command asks, and changes nothing.
async fn look(app: &Arc<App>, about: About) -> Result<String, ApiError> {
    let fences = app.fences.clone();
    let looked = tokio::task::spawn_blocking(move || fences.look(&about)).await.ok().flatten();
    let looked = looked.ok_or_else(|| ApiError::new(ErrorKind::Unavailable, "the verify command was not run"))?;
    let says = if looked.succeeded() { "says that it is OFF" } else { "does not say that it is off" };
    Ok(format!("{says}: {}", looked.text()))
}

/// None: it still runs.
async fn switch_off(app: &Arc<App>, about: About, target: (NodeId, Incarnation)) -> Option<String> {
    let app = app.clone();
    let work = tokio::spawn(async move {
        let fences = app.fences.clone();
        let done = tokio::task::spawn_blocking(move || fences.perform(&about, &Stop::default())).await;
        let outcome = match done {
            Ok(FenceResult::Confirmed) => FenceOutcome::Confirmed,
            Ok(FenceResult::Failed(why)) => FenceOutcome::Failed(why),
            Err(error) => FenceOutcome::Failed(error.to_string()),
        };
        tell(&app, target, &outcome).await;
        outcome.to_string()
    });
    tokio::time::timeout(WAIT_MAX, work).await.ok()?.ok()
}

/// What came of it. Nobody promotes the target before that is decided, so it is said again for a while.
async fn tell(app: &App, (target, target_incarnation): (NodeId, Incarnation), outcome: &FenceOutcome) {
    for _ in 0..TELL_TIMES {
        let (node, outcome) = (app.me(), outcome.clone());
        let ended = Command::FenceEnded { node, target, target_incarnation, outcome, at: clock::wall() };
        match change::decide(app, ended).await {
            Err(error) if error.error != ErrorKind::Refused => tokio::time::sleep(TELL_PAUSE).await,
            _ => return,
        }
    }
    tracing::warn!(%outcome, "what came of a fencing hook is not on record");
}
