//! The unattended plays. Each judges itself from what clients were told, and says why when the verdict is bad.

use super::Play;
use super::cluster::{Cluster, DemoError, SERVICE, VOLUME, volume};
use super::copies::{self, Compared};
use super::handovers;
use super::workload::{Seen, Workload};
use crate::cli::exit;
use mainstay_node::admin::api::{ClusterStatus, NewMaintenance, Verification};
use mainstay_node::directory::parse_cluster_id;
use mainstay_protocol::VolumeId;
use std::time::{Duration, Instant};

const CLIENTS: usize = 4;
/// How long clients work before and after each act.
const ACT: Duration = Duration::from_secs(3);
const PROPOSAL_TIME_MAX: Duration = Duration::from_secs(30);
/// Log bytes per byte of file data, at most, for what a returning node may be sent: heads, renames, removals.
const MOVED_PER_CHANGED_MAX: f64 = 2.0;
/// What may be moved besides, bytes: records that were in flight when the node was lost, and its last ones sent twice.
const MOVED_SLACK_BYTES: u64 = 8 << 20;

pub async fn run(cluster: Cluster, story: Play, cycles: u32) -> Result<u8, DemoError> {
    let mut stage = Stage::open(cluster);
    match story {
        Play::Failover => failover(&mut stage).await?,
        Play::Incident => incident(&mut stage).await?,
        Play::Kills => kills(&mut stage, cycles).await?,
        Play::Switchover => handovers::play(&mut stage, cycles).await?,
    }
    stage.verdict().await
}

/// A running play: the cluster, its clients, the timeline and the complaints.
pub(super) struct Stage {
    pub cluster: Cluster,
    workload: Option<Workload>,
    began: Instant,
    problems: Vec<String>,
}

impl Stage {
    fn open(cluster: Cluster) -> Stage {
        let workload = Workload::start(SERVICE.parse().expect("an address"), &format!("/{VOLUME}"), CLIENTS);
        let stage = Stage { cluster, workload: Some(workload), began: Instant::now(), problems: Vec::new() };
        stage.note(&format!("{CLIENTS} clients begin to write and read back"));
        stage
    }

    pub fn note(&self, text: &str) {
        println!("{:>8.3} s  {text}", self.began.elapsed().as_secs_f64());
    }

    pub fn check(&mut self, holds: bool, problem: impl Into<String>) {
        if !holds {
            let problem = problem.into();
            self.note(&format!("WRONG: {problem}"));
            self.problems.push(problem);
        }
    }

    pub fn forget_waits(&self) {
        self.workload.as_ref().expect("clients run until the verdict").seen().waited = Duration::ZERO;
    }

    pub fn seen<T>(&self, read: impl Fn(&Seen) -> T) -> T {
        read(&self.workload.as_ref().expect("clients run until the verdict").seen())
    }

    pub async fn act(&mut self) {
        tokio::time::sleep(ACT).await;
        let errors = self.seen(|seen| seen.errors.clone());
        self.check(errors.is_empty(), format!("clients got errors: {errors:?}"));
    }

    async fn serving(&mut self, what: &str) -> Result<ClusterStatus, DemoError> {
        self.cluster.until(what, |status| volume(status).is_some_and(|volume| volume.state == "serving")).await
    }

    /// Waits for the first answer that any client gets after `since`.
    async fn first_reply(&mut self, since: Instant) -> Result<Instant, DemoError> {
        loop {
            let reply = self.seen(|seen| seen.last_reply.filter(|at| *at > since));
            match reply {
                Some(at) => return Ok(at),
                None if since.elapsed() > PROPOSAL_TIME_MAX => {
                    return Err(DemoError::Late { what: "a client's next answer".into(), last: "none".into() });
                }
                None => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
    }

    /// The named node is a secondary in sync again, having received no more than what changed meanwhile.
    async fn returned(&mut self, name: &str, changed_bytes: u64) -> Result<(), DemoError> {
        let began = Instant::now();
        let status = self.cluster.until(&format!("{name} is in sync"), |status| in_sync(status, name)).await?;
        let received = volume(&status)
            .and_then(|volume| volume.replicas.iter().find(|replica| replica.node == name).map(|r| r.bytes_received));
        let moved = received.unwrap_or(0);
        let while_syncing = self.seen(|seen| seen.bytes_written);
        let changed = while_syncing.saturating_sub(changed_bytes);
        self.note(&format!(
            "{name} is in sync after {:.3} s: {:.1} MB moved, {:.1} MB of file data changed meanwhile",
            began.elapsed().as_secs_f64(),
            moved as f64 / 1e6,
            changed as f64 / 1e6
        ));
        let most = (changed as f64 * MOVED_PER_CHANGED_MAX) as u64 + MOVED_SLACK_BYTES;
        self.check(moved <= most, format!("{name} was sent {moved} bytes although {changed} changed"));
        Ok(())
    }

    /// Clients read everything back, both copies are compared, then the counts and the judgement.
    async fn verdict(mut self) -> Result<u8, DemoError> {
        self.note("clients stop and read back everything that was acknowledged");
        let workload = self.workload.take().expect("once");
        let seen = tokio::task::spawn_blocking(move || workload.finish()).await.map_err(setup)?;
        let verified = self.verify().await;
        self.judge_copies(verified);
        self.compare_stopped().await?;
        println!();
        println!("  operations answered   {}", seen.operations);
        println!("  asked again           {}", seen.retried);
        println!("  errors                {}", seen.errors.len());
        println!("  longest wait          {:.3} s", seen.longest_gap.as_secs_f64());
        println!("  file data written     {:.1} MB", seen.bytes_written as f64 / 1e6);
        println!("  acknowledged and lost {}", seen.lost.len());
        self.check(seen.errors.is_empty(), format!("clients got errors: {:?}", seen.errors));
        self.check(seen.lost.is_empty(), format!("lost: {:?}", seen.lost));
        self.check(seen.operations > 100, "too few operations to say anything");
        match self.problems.is_empty() {
            true => println!("\nverdict: good"),
            false => println!("\nverdict: BAD\n  {}", self.problems.join("\n  ")),
        }
        Ok(if self.problems.is_empty() { exit::OK } else { exit::VIOLATED })
    }

    /// Stops the nodes and compares what lies on their disks, byte by byte.
    async fn compare_stopped(&mut self) -> Result<(), DemoError> {
        let status = self.cluster.status().await.map_err(setup)?;
        let cluster = parse_cluster_id(&status.id).ok_or_else(|| setup("the cluster's id cannot be read"))?;
        let id = volume(&status).map(|volume| VolumeId(volume.id)).ok_or_else(|| setup("the volume is gone"))?;
        self.cluster.stop().await;
        let (a, b) = (self.cluster.copy("a", id), self.cluster.copy("b", id));
        let compared = tokio::task::spawn_blocking(move || copies::compare(&a, &b, (cluster, id))).await.map_err(setup)?;
        match compared {
            Ok(Compared { files, bytes, differences }) => {
                self.note(&format!(
                    "nodes stopped; {files} files with {:.1} MB compared byte by byte on both disks",
                    bytes as f64 / 1e6
                ));
                self.check(differences.is_empty(), format!("the copies differ: {differences:?}"));
                self.check(files > 1, "nothing was there to compare");
            }
            Err(error) => self.check(false, format!("the copies could not be compared: {error}")),
        }
        Ok(())
    }

    async fn verify(&mut self) -> Result<Verification, String> {
        let mut last = String::new();
        for _ in 0..5 {
            match self.cluster.admin.verify(VOLUME).await {
                Ok(verified) => return Ok(verified),
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        Err(last)
    }

    fn judge_copies(&mut self, verified: Result<Verification, String>) {
        match verified {
            Ok(verified) => {
                let answered = verified.replicas.iter().filter(|replica| replica.digest.is_some()).count();
                self.note(&format!(
                    "{answered} copies compared at position {}: {}",
                    verified.position,
                    if verified.equal { "equal" } else { "DIFFERENT" }
                ));
                self.check(verified.equal && answered == 2, format!("the copies are not proven equal: {:?}", verified.replicas));
            }
            Err(error) => self.check(false, format!("the copies could not be compared: {error}")),
        }
    }
}

pub(super) fn setup(error: impl std::fmt::Display) -> DemoError {
    DemoError::Setup(error.to_string())
}

pub(super) fn in_sync(status: &ClusterStatus, name: &str) -> bool {
    let incarnation_up = status.nodes.iter().any(|node| node.name == name && node.state == "up");
    volume(status).is_some_and(|volume| {
        let replica = volume.replicas.iter().find(|replica| replica.node == name);
        volume.in_sync.iter().any(|member| member == name)
            && replica.is_some_and(|replica| replica.state == "in-sync")
            && incarnation_up
    })
}

async fn failover(stage: &mut Stage) -> Result<(), DemoError> {
    stage.act().await;
    stage.note("a, the primary, is killed (SIGKILL)");
    let (killed, written) = (Instant::now(), stage.seen(|seen| seen.bytes_written));
    stage.cluster.kill("a");
    let missed = stage.cluster.until("b notices", |status| volume(status).is_some_and(|volume| volume.state != "serving")).await?;
    stage.note(&format!("detected: the volume is {}", volume(&missed).map_or("gone", |volume| volume.state.as_str())));
    let proposal = stage.cluster.proposal(PROPOSAL_TIME_MAX).await?;
    stage.note(&format!("proposed: {} for {}, evidence {}", proposal.candidate, proposal.volume, &proposal.evidence_hash[..12]));
    proposal.evidence.iter().for_each(|line| println!("              {}: {}", line.name, line.value));
    stage.check(proposal.candidate == "b", "the candidate should be b");
    let approved = Instant::now();
    stage.cluster.admin.approve(proposal.id, &proposal.evidence_hash).await.map_err(setup)?;
    stage.note("approved");
    let reply = stage.first_reply(approved).await?;
    stage.note(&format!(
        "first reply: {:.3} s after the approval, {:.3} s after the kill",
        (reply - approved).as_secs_f64(),
        (reply - killed).as_secs_f64()
    ));
    stage.serving("b serves").await?;
    stage.act().await;
    stage.note("a is started again");
    stage.cluster.spawn("a")?;
    stage.returned("a", written).await?;
    stage.act().await;
    let status = stage.serving("b still serves").await?;
    let primary = volume(&status).and_then(|volume| volume.primary.clone());
    stage.check(primary.as_deref() == Some("b"), format!("b should still be the primary, not {primary:?}"));
    stage.check(volume(&status).is_some_and(|volume| volume.epoch == 2), "exactly one promotion should have happened");
    Ok(())
}

/// The outage of the story in docs/SAFETY.md, as it reads with Mainstay: nothing happens.
async fn incident(stage: &mut Stage) -> Result<(), DemoError> {
    stage.act().await;
    let maintenance = NewMaintenance {
        node: "b".into(),
        reason: "planned work by the provider".into(),
        owner: String::new(),
        seconds: 3_600,
        allow_primary: false,
        dry_run: false,
    };
    let begun = stage.cluster.admin.begin_maintenance(&maintenance).await.map_err(setup)?;
    stage.note("maintenance of b begins; b is shut down by its provider");
    stage.cluster.terminate("b").await;
    let written = stage.seen(|seen| seen.bytes_written);
    stage.act().await;
    stage.act().await;
    stage.note("b comes back");
    stage.cluster.spawn("b")?;
    stage.returned("b", written).await?;
    stage.cluster.admin.end_maintenance(begun.id).await.map_err(setup)?;
    stage.note("maintenance ended: b is verified in sync");
    stage.act().await;
    let status = stage.serving("a still serves").await?;
    let (primary, epoch) = volume(&status).map(|volume| (volume.primary.clone(), volume.epoch)).unwrap_or_default();
    stage.check(
        primary.as_deref() == Some("a") && epoch == 1,
        format!("a should be the primary in epoch 1, not {primary:?} in {epoch}"),
    );
    stage.check(status.proposals.is_empty(), "nothing should have been proposed");
    let retried = stage.seen(|seen| seen.retried);
    stage.check(retried == 0, format!("no client should have had to ask again, {retried} did"));
    Ok(())
}

/// Every kill is of one random node, while clients write; the next one comes when everything is in sync again.
async fn kills(stage: &mut Stage, cycles: u32) -> Result<(), DemoError> {
    let mut random = u64::from(std::process::id()) | 1;
    let mut promotions = 0;
    for cycle in 1..=cycles {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        tokio::time::sleep(Duration::from_millis(100 + random % 900)).await;
        let name = ["a", "b", "w"][(random >> 20) as usize % 3];
        let status = stage.serving("the volume serves").await?;
        let was_primary = volume(&status).is_some_and(|volume| volume.primary.as_deref() == Some(name));
        stage.cluster.kill(name);
        if was_primary {
            let proposal = stage.cluster.proposal(PROPOSAL_TIME_MAX).await?;
            stage.cluster.admin.approve(proposal.id, &proposal.evidence_hash).await.map_err(setup)?;
            promotions += 1;
        }
        stage.serving("the volume serves again").await?;
        stage.cluster.spawn(name)?;
        let whole = |status: &ClusterStatus| {
            status.nodes.iter().all(|node| node.state == "up")
                && ["a", "b"].iter().all(|name| in_sync(status, name) || is_primary(status, name))
        };
        let status = stage.cluster.until("everything is in sync again", whole).await?;
        if volume(&status).is_some_and(|volume| volume.breaker_open) {
            // More role changes than half an hour may have: the one who makes them knows why.
            stage.cluster.admin.reset_breaker(VOLUME, "this play kills its nodes on purpose").await.map_err(setup)?;
        }
        let (operations, lost, errors) = stage.seen(|seen| (seen.operations, seen.lost.len(), seen.errors.len()));
        let role = if was_primary { "the primary" } else { "not the primary" };
        stage.note(&format!("{cycle}/{cycles}: {name} killed ({role}); {operations} operations, {lost} lost, {errors} errors"));
        if lost + errors > 0 {
            break;
        }
    }
    stage.note(&format!("{cycles} kills, {promotions} of them of the primary"));
    Ok(())
}

fn is_primary(status: &ClusterStatus, name: &str) -> bool {
    volume(status).is_some_and(|volume| volume.primary.as_deref() == Some(name))
}
