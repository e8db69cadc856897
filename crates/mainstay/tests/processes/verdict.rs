//! How every scenario ends: the faults are over, all is whole again, and everything that was seen is judged.

use super::cluster::{Cluster, Setup, VOLUME, volume};
use super::network::{A, At, B, Network, W};
use mainstay::demo::copies;
use mainstay_cluster::{Actor, AuditEvent, Event};
use mainstay_node::admin::api::Verification;
use mainstay_node::admin::client::{AdminClient, ClientError};
use mainstay_node::admin::http::Method;
use mainstay_node::directory::parse_cluster_id;
use mainstay_protocol::VolumeId;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant, SystemTime};

/// Six processes and a dozen clients keep two cores busy; more would only be slower.
const AT_ONCE_MAX: usize = 2;
/// Answers that clients get from the healed cluster before they end.
const AFTERWARDS: u64 = 60;

/// Digests of so small a volume take no time: who has not answered by then was busy at the mark.
const VERIFY_TIME_MAX: Duration = Duration::from_secs(8);
const VERIFY_TRIES: u32 = 5;

static RUNNING: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

/// A scenario's turn.
struct Turn;

impl Turn {
    fn wait() -> Turn {
        let (running, changed) = &RUNNING;
        let mut count = super::clients::lock(running);
        while *count >= AT_ONCE_MAX {
            count = changed.wait(count).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        *count += 1;
        Turn
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *super::clients::lock(&RUNNING.0) -= 1;
        RUNNING.1.notify_one();
    }
}

/// What must have come of a scenario.
#[derive(Clone, Copy, Debug)]
pub struct Ending {
    /// Who serves when all is whole.
    pub primary: At,
    /// Promotions, besides the first primary's.
    pub promotions: u64,
}

/// All stays as it was.
pub const NOTHING_CHANGED: Ending = Ending { primary: A, promotions: 0 };
/// B was promoted once, and still serves.
pub const B_PROMOTED: Ending = Ending { primary: B, promotions: 1 };

/// Plays a scenario in a network of its own and judges it. Where that is impossible, says why and does nothing, unless
/// MAINSTAY_REQUIRE_ALL=1 asks for everything.
pub fn play(setup: Setup, scenario: impl FnOnce(&mut Cluster) -> Ending + Send + 'static) {
    let problems = judged(setup, scenario).unwrap_or_default();
    assert!(problems.is_empty(), "{} problems:\n  {}", problems.len(), problems.join("\n  "));
}

/// What the judges say; `None` when it cannot be played here.
pub fn judged(setup: Setup, scenario: impl FnOnce(&mut Cluster) -> Ending + Send + 'static) -> Option<Vec<String>> {
    let _turn = Turn::wait();
    // Its own thread, because the thread does not come back from the namespaces that it enters.
    let played = std::thread::spawn(move || match Network::enter() {
        Ok(network) => {
            let mut cluster = Cluster::start(network, &setup);
            let ending = scenario(&mut cluster);
            Some(verdict(cluster, ending))
        }
        Err(why) if required() => panic!("{why}"),
        Err(why) => {
            eprintln!("not run: {why}");
            None
        }
    });
    match played.join() {
        Ok(problems) => problems,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn required() -> bool {
    std::env::var_os("MAINSTAY_REQUIRE_ALL").is_some_and(|value| value == "1")
}

fn verdict(mut cluster: Cluster, ending: Ending) -> Vec<String> {
    cluster.note("the faults are over");
    cluster.end_faults();
    cluster.until_whole(ending.primary);
    cluster.answered(AFTERWARDS);
    let events = events(&cluster);
    let clients = cluster.clients.take().expect("they work until now");
    let summary = clients.summary();
    let mut problems = clients.finish(&losses(&events));
    cluster.note(&summary);
    problems.extend(cluster.watch.take().expect("it looks on until now").finish());
    problems.extend(judge_promotions(&events, ending.promotions, cluster.approved));
    problems.extend(compare_copies(&mut cluster, ending.primary));
    if !problems.is_empty() {
        eprintln!("{summary}\n{}", cluster.describe());
    }
    problems
}

fn events(cluster: &Cluster) -> Vec<Arc<AuditEvent>> {
    let events = cluster.try_once(|admin| async move { admin.events(0, Duration::ZERO).await }).expect("the cluster is whole");
    assert_eq!(events.forgotten, 0, "the audit log still has everything");
    events.events
}

/// When the loss epoch rose, on this process's clock.
fn losses(events: &[Arc<AuditEvent>]) -> Vec<Instant> {
    let (now, wall) = (Instant::now(), SystemTime::now());
    let at = |event: &AuditEvent| {
        let since_epoch = Duration::new(event.at.seconds.max(0) as u64, event.at.nanos);
        let ago = wall.duration_since(SystemTime::UNIX_EPOCH + since_epoch).unwrap_or_default();
        now.checked_sub(ago).unwrap_or(now)
    };
    events.iter().filter(|event| matches!(event.event, Event::LossEpochRaised { .. })).map(|event| at(event)).collect()
}

/// P4: nothing is granted that a person did not approve, by its evidence; P5: as often as the scenario says; R1: epochs only rise.
pub fn judge_promotions(events: &[Arc<AuditEvent>], expected: u64, approved: u64) -> Vec<String> {
    let mut problems = Vec::new();
    let (mut last_epoch, mut granted) = (1, 0);
    let mut approvals = Vec::new();
    for event in events {
        match &event.event {
            Event::Approved { proposal, evidence_hash } if matches!(event.actor, Actor::Person(_)) => {
                approvals.push((*proposal, *evidence_hash))
            }
            Event::Denied { proposal } => approvals.retain(|(approved, _)| approved != proposal),
            Event::Granted { proposal, epoch, evidence_hash, primary } => {
                granted += 1;
                if !approvals.contains(&(*proposal, *evidence_hash)) {
                    problems.push(format!("P4: {primary} was granted {epoch} by {proposal}, which nobody approved"));
                }
                if epoch.0 != last_epoch + 1 {
                    problems.push(format!("R1: {epoch} was granted after epoch {last_epoch}"));
                }
                last_epoch = epoch.0;
            }
            _ => {}
        }
    }
    if granted != expected || granted > approved {
        problems.push(format!("P5: {granted} promotions, {approved} approved by the operators, {expected} expected"));
    }
    problems
}

async fn verify(admin: AdminClient) -> Result<Verification, ClientError> {
    let path = format!("/v1/volumes/{VOLUME}/verify");
    admin.call(Method::POST, &path, b"{}".to_vec(), VERIFY_TIME_MAX).await
}

/// `mainstay verify`. A replica that is writing a checkpoint cannot digest that mark, but the next.
fn compare_digests(cluster: &Cluster) -> Result<(), String> {
    let mut last = String::new();
    for _ in 0..VERIFY_TRIES {
        match cluster.try_once(verify) {
            Ok(Verification { equal: true, .. }) => return Ok(()),
            Ok(verified) if verified.replicas.iter().all(|replica| replica.digest.is_some()) => {
                return Err(format!("P7: the replicas' digests differ: {verified:?}"));
            }
            other => last = format!("{other:?}"),
        }
    }
    Err(format!("P7: the replicas could not be compared: {last}"))
}

/// P7: the replicas' digests, while they run; then, stopped, everything in both copies, byte by byte.
fn compare_copies(cluster: &mut Cluster, primary: At) -> Vec<String> {
    let mut problems: Vec<String> = compare_digests(cluster).err().into_iter().collect();
    let status = cluster.status().expect("it is whole");
    let ids = parse_cluster_id(&status.id).zip(volume(&status).map(|volume| VolumeId(volume.id))).expect("a volume");
    // The primary first, while the others can still decide that it stepped down.
    let other = if primary == A { B } else { A };
    [primary, other, W].into_iter().for_each(|node| cluster.stop(node));
    let copy = |node| cluster.data(node).join("volumes").join(ids.1.to_string());
    match copies::compare(&copy(A), &copy(B), ids) {
        Ok(compared) if compared.differences.is_empty() && compared.files > 1 => {
            cluster.note(&format!("{} files with {} bytes are equal in both copies", compared.files, compared.bytes));
        }
        Ok(compared) => problems.push(format!("P7: the copies on the disks: {compared:?}")),
        Err(error) => problems.push(format!("P7: the copies on the disks cannot be compared: {error}")),
    }
    problems
}
