//! A person tries this node's fencing hooks out, or has a machine switched off. It is on record before the command runs, bound to the boot
//! that was seen, and proves nothing: leases run out by themselves.

use super::api::{ApiError, ErrorKind, FenceTried, FenceWish};
use super::{change, view};
use crate::clock;
use crate::hooks::fence::About;
use crate::hooks::run::Stop;
use crate::shell::App;
use mainstay_cluster::limits::FENCE_UNDER_WAY_MS_MAX;
use mainstay_cluster::{Actor, ClusterState, Command, FenceOutcome};
use mainstay_protocol::{NodeId, Timestamp};
use mainstay_replica::FenceResult;
use std::sync::Arc;
use std::time::Duration;

/// How long a person waits for the outcome; a hook that takes longer goes on, and the audit log tells.
const WAIT_MAX: Duration = Duration::from_secs(15);
/// How far apart, and for how long, an outcome is said that nobody decides.
const TELL_PAUSE: Duration = Duration::from_secs(5);
const FORGOTTEN_AFTER: Duration = Duration::from_millis(FENCE_UNDER_WAY_MS_MAX as u64);
/// A wish whose fate is unknown and that is not on record after so long is taken for lost.
const DECIDED_WITHIN: Duration = Duration::from_secs(24 * 3_600);

/// Whom to switch off, and when that was asked: no two are the same.
type Wish = (NodeId, Timestamp);

pub async fn fence(app: &Arc<App>, who: &str, name: &str, wish: &FenceWish) -> Result<FenceTried, ApiError> {
    let state = app.state();
    let target = view::find_node(&state, name)?;
    let target_incarnation = state.nodes.get(&target).map_or_else(Default::default, |node| node.incarnation);
    let about = About { target: name.into(), incarnation: target_incarnation.0, epoch: 0, proposal: "by hand".into() };
    let Some((command, verify)) = app.fences.shown(&about) else {
        let text = format!("{} cannot switch {name} off: its node.toml has no [[fence]] for it", app.config.name);
        return Err(ApiError::new(ErrorKind::Elsewhere, text));
    };
    let at = clock::wall();
    let asked = Command::FenceAsked {
        node: app.me(),
        target,
        target_incarnation,
        allow_primary: wish.allow_primary,
        reason: wish.reason.clone(),
        actor: Actor::Person(who.into()),
        at,
    };
    let through = app.config.name.clone();
    if wish.dry_run {
        let refused = refusal(&state, &asked);
        let looked = look(app, about).await?;
        return Ok(FenceTried { through, command, verify, refused, looked: Some(looked), outcome: None });
    }
    // On its own: whoever asked may hang up, and what was decided must be done, or said to be over.
    let done = tokio::spawn(decide_and_switch_off(app.clone(), asked, about, (target, at))).await;
    let outcome = done.map_err(|error| ApiError::new(ErrorKind::Unknown, error.to_string()))??;
    Ok(FenceTried { through, command, verify, refused: None, looked: None, outcome })
}

async fn decide_and_switch_off(app: Arc<App>, asked: Command, about: About, wish: Wish) -> Result<Option<String>, ApiError> {
    match change::decide(&app, asked).await {
        Ok(()) => Ok(switch_off(&app, about, wish).await),
        Err(error) => {
            // It may be decided yet, and would keep the target from being promoted for as long as a command may run.
            if error.error == ErrorKind::Unknown {
                tokio::spawn(tell_not_run(app, wish));
            }
            Err(error)
        }
    }
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
async fn switch_off(app: &Arc<App>, about: About, wish: Wish) -> Option<String> {
    let app = app.clone();
    let work = tokio::spawn(async move {
        let fences = app.fences.clone();
        let done = tokio::task::spawn_blocking(move || fences.perform(&about, &Stop::default())).await;
        let outcome = match done {
            Ok(FenceResult::Confirmed) => FenceOutcome::Confirmed,
            Ok(FenceResult::Failed(why)) => FenceOutcome::Failed(why),
            Err(error) => FenceOutcome::Failed(error.to_string()),
        };
        tell(&app, wish, &outcome).await;
        outcome.to_string()
    });
    tokio::time::timeout(WAIT_MAX, work).await.ok()?.ok()
}

/// Of a wish whose fate is not known: nothing was run for it. Said when it is on record, which may be when a majority comes back within
/// the day; before that there is nothing to say.
async fn tell_not_run(app: Arc<App>, wish: Wish) {
    let outcome = FenceOutcome::Failed("the command was not run: whether the wish was on record was not known".into());
    let (me, (target, at)) = (app.me(), wish);
    let mut view = app.raft.watch();
    let on_record = view.wait_for(|state| {
        let asked = state.nodes.get(&target).and_then(|known| known.off_asked);
        asked.is_some_and(|asked| (asked.by, asked.at) == (me, at))
    });
    if matches!(tokio::time::timeout(DECIDED_WITHIN, on_record).await, Ok(Ok(_))) {
        tell(&app, wish, &outcome).await;
    }
}

fn ended(app: &App, (target, asked_at): Wish, outcome: &FenceOutcome) -> Command {
    Command::FenceEnded { node: app.me(), target, asked_at, outcome: outcome.clone(), at: clock::wall() }
}

/// What came of it. Nobody promotes the target before that is decided, so it is said again for a while.
async fn tell(app: &App, wish: Wish, outcome: &FenceOutcome) {
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < FORGOTTEN_AFTER {
        match change::decide(app, ended(app, wish, outcome)).await {
            Err(error) if error.error != ErrorKind::Refused => tokio::time::sleep(TELL_PAUSE).await,
            _ => return,
        }
    }
    tracing::warn!(%outcome, "what came of a fencing hook is not on record");
}
