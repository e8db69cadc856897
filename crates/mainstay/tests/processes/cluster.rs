//! A cluster of real processes, and the verbs of the scenarios: what breaks, what is mended, what operators do, what is waited for.

use super::clients::{Clients, Crowd, Lie};
use super::disks::SmallDisk;
use super::network::{A, At, B, NODES, Network, W, run, service};
use super::router::Router;
use super::watch::Watch;
use mainstay::launch::{Launcher, NodeProcess, Place, wait_answer};
use mainstay_cluster::{Access, ExportClient, ExportSettings, Policy, Squash};
use mainstay_node::admin::api::{
    ClusterStatus, MaintenanceStatus, NewMaintenance, NewProposal, NewVolume, ProposalDetails, VolumeStatus,
};
use mainstay_node::admin::client::{AdminClient, ClientError};
use mainstay_node::config::{HooksConfig, NodeConfig};
use mainstay_node::directory::Kind;
use mainstay_node::founding;
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

pub const VOLUME: &str = "files";
/// The cluster's default lease: what a pause or a cut must outlast to matter.
pub const LEASE: Duration = Duration::from_secs(2);
/// For anything that must happen. On two busy cores it is a bound against hanging, not a measure.
const PATIENCE: Duration = Duration::from_secs(60);
const STOP_TIME_MAX: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(50);
/// Small, so that a log has many segments and a small disk has room for some.
const SEGMENT_MIB: u64 = 2;
/// Lines of each node's log in a report.
const LOG_SHOWN: usize = 25;

/// What a scenario starts with.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    pub crowd: Crowd,
    /// A's disk is a small one of so many mebibytes.
    pub small_disk_mib: Option<u64>,
    pub seed: u64,
    pub lies: Vec<Lie>,
}

pub struct Cluster {
    pub clients: Option<Clients>,
    pub watch: Option<Watch>,
    pub router: Router,
    pub nodes: BTreeMap<At, NodeProcess>,
    paused: BTreeSet<At>,
    /// Whom operators cannot ask just now.
    silent: BTreeSet<At>,
    /// Promotions that somebody approved; there may be no others.
    pub approved: u64,
    admin: AdminClient,
    pub runtime: tokio::runtime::Runtime,
    launcher: Launcher,
    pub network: Network,
    disk: Option<SmallDisk>,
    began: Instant,
    pub dir: tempfile::TempDir,
}

impl Cluster {
    /// Founds the cluster, makes the volume, and sends the clients in. On a thread that the network was entered with.
    pub fn start(network: Network, setup: &Setup) -> Cluster {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let dir = tempfile::tempdir().expect("a temporary directory");
        let disk = setup.small_disk_mib.map(|size| SmallDisk::mount(dir.path(), "a", size).expect("a loop device"));
        let launcher = Launcher { program: env!("CARGO_BIN_EXE_mainstay").into(), segment_mib: SEGMENT_MIB };
        let first = config(&dir, A, disk.as_ref());
        let admin = founding::init(&first, "shop", Kind::FileServer, "admin").expect("an empty directory");
        let admin = AdminClient::new(&admin).expect("its own credentials").at(NODES.map(At::admin).to_vec());
        let mut cluster = Cluster {
            clients: None,
            watch: None,
            router: Router::start(),
            nodes: BTreeMap::new(),
            paused: BTreeSet::new(),
            silent: BTreeSet::new(),
            approved: 0,
            admin,
            runtime,
            launcher,
            network,
            disk,
            began: Instant::now(),
            dir,
        };
        cluster.found();
        cluster.create_volume();
        cluster.until_whole(A);
        cluster.watch = Some(Watch::start(&cluster.admin, &[A, B]));
        cluster.clients = Some(Clients::start(setup.crowd, setup.seed, setup.lies.clone()));
        cluster.note("clients begin");
        cluster
    }

    fn found(&mut self) {
        self.start_node(A);
        for (node, kind) in [(B, Kind::FileServer), (W, Kind::Witness)] {
            let config = config(&self.dir, node, None);
            let token = self.ask("a token", |admin| async move { admin.token(10).await });
            let token = token.token.parse().expect("the cluster's own token");
            let joined = self.network.inside(node, || self.runtime.block_on(founding::join(&config, &token, kind)));
            joined.unwrap_or_else(|error| panic!("{node:?} cannot join: {error}"));
            self.start_node(node);
        }
        self.until("all nodes are up", |status| status.nodes.len() == 3 && status.nodes.iter().all(|node| node.state == "up"));
    }

    fn create_volume(&mut self) {
        let anybody = ExportClient { network: "10.77.0.0/16".into(), access: Access::ReadWrite, squash: Squash::None };
        let (service_address, port) = (service().ip().to_string(), service().port());
        let export = ExportSettings { service_address, port, clients: vec![anybody], ..ExportSettings::default() };
        // NFSv3 has no mark for old answers, so a client that judges freshness can only take those of a primary.
        let new = NewVolume {
            name: VOLUME.into(),
            replicas: vec![],
            primary: "a".into(),
            export,
            serve_reads: false,
            policy: Policy::Manual,
        };
        self.ask("the volume", |admin| {
            let new = new.clone();
            async move { admin.create_volume(&new).await }
        });
    }

    pub fn note(&self, text: &str) {
        eprintln!("{:>8.3} s  {text}", self.began.elapsed().as_secs_f64());
    }

    pub fn clients(&self) -> &Clients {
        self.clients.as_ref().expect("they work until the verdict")
    }

    // ---- processes ---------------------------------------------------------------------------------------------------

    /// The process starts, and is not waited for.
    pub fn start_node(&mut self, node: At) {
        self.note(&format!("{} starts", node.name()));
        let spawned = self.network.inside(node, || self.launcher.spawn(self.dir.path(), node.name()));
        self.nodes.insert(node, spawned.expect("the program can be started"));
        self.silent.remove(&node);
    }

    /// Starts it and waits until it answers.
    pub fn boot(&mut self, node: At) {
        self.start_node(node);
        let process = self.nodes.get_mut(&node).expect("just started");
        let answered = self.runtime.block_on(wait_answer(&self.admin.at(vec![node.admin()]), process));
        answered.unwrap_or_else(|error| panic!("{node:?} does not come up: {error}"));
    }

    fn take(&mut self, node: At) -> NodeProcess {
        self.silent.insert(node);
        self.nodes.remove(&node).unwrap_or_else(|| panic!("{node:?} should be running"))
    }

    /// SIGKILL.
    pub fn kill(&mut self, node: At) {
        self.take(node).kill();
        self.note(&format!("{} is killed", node.name()));
    }

    /// SIGTERM; it must end by itself.
    pub fn stop(&mut self, node: At) {
        let ended = self.take(node).stop(STOP_TIME_MAX);
        assert!(ended, "{node:?} did not stop within {} s of being asked to", STOP_TIME_MAX.as_secs());
        self.note(&format!("{} has stopped", node.name()));
    }

    /// SIGSTOP.
    pub fn pause(&mut self, node: At) {
        self.nodes[&node].signal(Signal::STOP);
        self.paused.insert(node);
        self.silent.insert(node);
        self.note(&format!("{} is paused", node.name()));
    }

    /// SIGCONT.
    pub fn resume(&mut self, node: At) {
        self.nodes[&node].signal(Signal::CONT);
        self.paused.remove(&node);
        self.silent.remove(&node);
        self.note(&format!("{} goes on", node.name()));
    }

    /// Keeps what is on a stopped node's disk, to be put back later.
    pub fn keep_data(&self, node: At) {
        copy(&self.data(node), &self.kept(node));
    }

    /// What has happened to a stopped node's disk since it was kept is undone.
    pub fn set_back_data(&self, node: At) {
        std::fs::remove_dir_all(self.data(node)).expect("the node does not run");
        copy(&self.kept(node), &self.data(node));
        self.note(&format!("{}'s disk holds what it held before", node.name()));
    }

    fn kept(&self, node: At) -> PathBuf {
        self.dir.path().join(format!("{}.kept", node.name()))
    }

    // ---- the network, the disk -----------------------------------------------------------------------------------------

    pub fn cut(&mut self, one: At, other: At) {
        self.cut_one_way(one, other);
        self.cut_one_way(other, one);
    }

    pub fn cut_one_way(&mut self, from: At, to: At) {
        self.network.cut(from, to);
        self.note(&format!("{} to {} is cut", from.name(), to.name()));
    }

    pub fn heal(&mut self) {
        self.network.heal();
        self.note("the network is whole");
    }

    pub fn slow(&mut self, from: At, to: At, megabit: u32) {
        self.network.slow(from, to, megabit);
        self.note(&format!("{} to {} has {megabit} Mbit/s", from.name(), to.name()));
    }

    /// Takes all the room on A's disk.
    pub fn fill_disk(&mut self) {
        self.clients().shared.disk_may_be_full.store(true, Ordering::Relaxed);
        self.disk.as_ref().expect("the scenario has a small disk").fill();
        self.note("a's disk is full");
    }

    pub fn free_disk(&mut self) {
        self.disk.as_ref().expect("the scenario has a small disk").free();
        self.note("a's disk has room");
    }

    // ---- operators -------------------------------------------------------------------------------------------------------

    /// Whoever can be asked, the witness first: it is in nobody's way.
    pub fn admin(&self) -> AdminClient {
        let reachable = [W, B, A].into_iter().filter(|node| !self.silent.contains(node));
        self.admin.at(reachable.map(At::admin).collect())
    }

    /// Asks until it is done: for what may be refused for a moment while roles settle.
    fn ask<T, F: Future<Output = Result<T, ClientError>>>(&self, what: &str, work: impl Fn(AdminClient) -> F) -> T {
        let begun = Instant::now();
        loop {
            match self.runtime.block_on(work(self.admin())) {
                Ok(done) => return done,
                Err(error) => assert!(begun.elapsed() < PATIENCE, "{what}: {error}"),
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Asks once, for the answer.
    pub fn try_once<T, F: Future<Output = Result<T, ClientError>>>(
        &self,
        work: impl FnOnce(AdminClient) -> F,
    ) -> Result<T, ClientError> {
        self.runtime.block_on(work(self.admin()))
    }

    /// The pending proposal; there must be one before long.
    pub fn proposal(&self) -> ProposalDetails {
        let begun = Instant::now();
        loop {
            let proposals = self.try_once(|admin| async move { admin.proposals().await });
            if let Some(pending) = proposals.unwrap_or_default().into_iter().find(|proposal| proposal.state == "pending") {
                self.note(&format!("proposal {}: promote {}", pending.id, pending.candidate));
                return pending;
            }
            assert!(begun.elapsed() < PATIENCE, "nothing was proposed; {}", self.describe());
            std::thread::sleep(PAUSE);
        }
    }

    pub fn try_approve(&mut self, proposal: &ProposalDetails) -> Result<(), ClientError> {
        let (id, hash) = (proposal.id, proposal.evidence_hash.clone());
        self.try_once(|admin| async move { admin.approve(id, &hash).await })?;
        self.approved += 1;
        self.note(&format!("proposal {id} is approved"));
        Ok(())
    }

    /// A person asks for it, again until the rules allow it.
    pub fn propose(&self, candidate: At) {
        let begun = Instant::now();
        while let Err(refused) = self.try_once(|admin| async move {
            {
                let new = NewProposal { candidate: candidate.name().into(), give_up: None };
                admin.propose(VOLUME, &new).await
            }
        }) {
            assert!(begun.elapsed() < PATIENCE, "{candidate:?} cannot be proposed: {refused}");
            std::thread::sleep(PAUSE);
        }
        self.note(&format!("a person asks for {candidate:?}"));
    }

    /// Approves what is proposed for `candidate`, and the next one when the evidence changed in between (R14).
    pub fn approve(&mut self, candidate: At) {
        let begun = Instant::now();
        loop {
            let proposal = self.proposal();
            let fits = proposal.candidate == candidate.name();
            match fits.then(|| self.try_approve(&proposal)) {
                Some(Ok(())) => return,
                other => assert!(begun.elapsed() < PATIENCE, "{candidate:?} cannot be approved: {other:?}"),
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Approved, granted, and serving.
    pub fn promote(&mut self, candidate: At) {
        self.approve(candidate);
        self.until_serves(candidate);
    }

    pub fn begin_maintenance(&mut self, node: At) -> MaintenanceStatus {
        self.note(&format!("maintenance of {} begins", node.name()));
        let (node, reason) = (node.name().to_string(), "planned work".to_string());
        let new = NewMaintenance { node, reason, owner: String::new(), seconds: 1_800, allow_primary: false, dry_run: false };
        self.ask("maintenance", |admin| {
            let new = new.clone();
            async move { admin.begin_maintenance(&new).await }
        })
    }

    pub fn end_maintenance(&mut self, maintenance: MaintenanceStatus) {
        self.ask("the maintenance's end", |admin| async move { admin.end_maintenance(maintenance.id).await });
        self.note("maintenance is ended");
    }

    // ---- waiting ---------------------------------------------------------------------------------------------------------

    /// The status of the first node that has a quorum, or of any that answers.
    pub fn status(&self) -> Option<ClusterStatus> {
        let mut any = None;
        for endpoint in self.admin().endpoints() {
            let status = self.runtime.block_on(self.admin.at(vec![*endpoint]).status());
            match status {
                Ok(status) if status.quorum => return Some(status),
                Ok(status) => any = Some(status),
                Err(_) => {}
            }
        }
        any
    }

    pub fn until(&self, what: &str, holds: impl Fn(&ClusterStatus) -> bool) -> ClusterStatus {
        let begun = Instant::now();
        loop {
            let status = self.status();
            if let Some(status) = status.filter(|status| status.quorum && holds(status)) {
                self.note(what);
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "not in time: {what}; {}", self.describe());
            std::thread::sleep(PAUSE);
        }
    }

    pub fn until_serves(&self, primary: At) -> ClusterStatus {
        self.until(&format!("{} serves", primary.name()), |status| serves(status, primary))
    }

    /// Leads coordination, which has nothing to do with who serves.
    pub fn until_leads(&self, node: At) -> ClusterStatus {
        self.until(&format!("{} leads coordination", node.name()), |status| {
            status.nodes.iter().any(|one| one.name == node.name() && one.coordination.as_deref() == Some("leader"))
        })
    }

    /// The in-sync set is exactly these.
    pub fn until_in_sync(&self, members: &[At]) -> ClusterStatus {
        let names: Vec<&str> = members.iter().map(|node| node.name()).collect();
        self.until(&format!("in sync: {}", names.join(" and ")), |status| {
            volume(status).is_some_and(|volume| volume.in_sync == names)
        })
    }

    /// Serving, both in sync and saying so themselves, and nothing open (P7).
    pub fn until_whole(&self, primary: At) -> ClusterStatus {
        self.until(&format!("all is whole, {} serves", primary.name()), |status| serves(status, primary) && whole(status))
    }

    /// What the operators see does not change for so long, and what they see holds all the time.
    pub fn throughout(&self, what: &str, time: Duration, holds: impl Fn(&ClusterStatus) -> bool) {
        let begun = Instant::now();
        while begun.elapsed() < time {
            if let Some(status) = self.status() {
                assert!(holds(&status), "{what} should hold for {} s; {}", time.as_secs(), self.describe());
            }
            std::thread::sleep(PAUSE);
        }
        self.note(&format!("{what}, for {:.1} s", time.as_secs_f64()));
    }

    /// Clients get so many answers more.
    pub fn answered(&self, more: u64) {
        let (begun, before) = (Instant::now(), self.clients().answered());
        while self.clients().answered() < before + more {
            self.check_clients();
            let got = self.clients().answered() - before;
            assert!(begun.elapsed() < PATIENCE, "clients got {got} of {more} answers; {}", self.describe());
            std::thread::sleep(PAUSE);
        }
    }

    /// Clients change so much file data.
    pub fn written(&self, bytes: u64) {
        let (begun, before) = (Instant::now(), self.clients().bytes_written());
        while self.clients().bytes_written() < before + bytes {
            self.check_clients();
            assert!(begun.elapsed() < PATIENCE, "clients cannot write; {}", self.describe());
            std::thread::sleep(PAUSE);
        }
    }

    /// No client gets an answer for a whole lease.
    pub fn until_silent(&self) {
        let begun = Instant::now();
        loop {
            let before = self.clients().answered();
            std::thread::sleep(LEASE);
            if self.clients().answered() == before {
                return self.note("clients get no answer");
            }
            assert!(begun.elapsed() < PATIENCE, "clients still get answers; {}", self.describe());
        }
    }

    /// Clients get no answer for so long.
    pub fn silent_for(&self, time: Duration) {
        let before = self.clients().answered();
        std::thread::sleep(time);
        let answers = self.clients().answered() - before;
        assert_eq!(answers, 0, "clients got answers from somebody; {}", self.describe());
    }

    /// Clients are told that there is no room.
    pub fn until_no_space(&self) {
        let begun = Instant::now();
        while self.clients().shared.no_space.load(Ordering::Relaxed) == 0 {
            self.check_clients();
            assert!(begun.elapsed() < PATIENCE, "nobody was refused for want of room; {}", self.describe());
            std::thread::sleep(PAUSE);
        }
        self.note("clients are told that there is no room");
    }

    /// So much has come over the cable, or there is nothing left to come.
    pub fn until_moved(&self, from: At, to: At, bytes: u64) {
        let (begun, before) = (Instant::now(), self.network.carried(from, to));
        let all = || self.status().is_some_and(|status| volume(&status).is_some_and(|volume| volume.in_sync.len() == 2));
        while self.network.carried(from, to) < before + bytes && !all() {
            assert!(begun.elapsed() < PATIENCE, "nothing moves from {from:?} to {to:?}; {}", self.describe());
            std::thread::sleep(PAUSE);
        }
        let moved = self.network.carried(from, to) - before;
        self.note(&format!("{:.1} MB moved from {} to {}", moved as f64 / 1e6, from.name(), to.name()));
    }

    /// It is there and receives what it missed.
    pub fn until_catching_up(&self, node: At) {
        let catching_up = |state: &str| matches!(state, "catching-up" | "resyncing");
        self.until(&format!("{} is catching up", node.name()), |status| {
            let replicas = volume(status).map(|volume| &volume.replicas[..]).unwrap_or_default();
            replicas.iter().any(|replica| replica.node == node.name() && catching_up(&replica.state))
        });
    }

    /// A scenario that has already gone wrong is not played on.
    fn check_clients(&self) {
        let problems = super::clients::lock(&self.clients().shared.problems).clone();
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }

    /// For the reader of a failure.
    pub fn describe(&self) -> String {
        let status = self.status().map(|status| serde_json::to_string(&status).unwrap_or_default());
        let clients = self.clients.as_ref().map(Clients::summary);
        let logs: Vec<String> = NODES.iter().map(|node| format!("-- {} --\n{}", node.name(), self.log_tail(*node))).collect();
        format!(
            "clients: {}\nstatus: {}\n{}",
            clients.unwrap_or_default(),
            status.unwrap_or_else(|| "nobody answers".into()),
            logs.join("\n")
        )
    }

    fn log_tail(&self, node: At) -> String {
        let text = std::fs::read_to_string(Place::of(self.dir.path(), node.name()).log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_SHOWN)..].join("\n")
    }

    /// Ends every fault: what is paused goes on, what is cut is joined. Processes that are down are not started.
    pub fn end_faults(&mut self) {
        self.router.pin(false);
        self.network.heal();
        for node in std::mem::take(&mut self.paused) {
            self.resume(node);
        }
    }

    /// Where a node keeps its data.
    pub fn data(&self, node: At) -> PathBuf {
        directory(&self.dir, node, self.disk.as_ref())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Before the disk under one of them is unmounted.
        self.nodes.clear();
    }
}

fn copy(from: &Path, to: &Path) {
    run("cp", &["-a", &from.display().to_string(), &to.display().to_string()]).expect("there is room");
}

fn directory(dir: &tempfile::TempDir, node: At, disk: Option<&SmallDisk>) -> PathBuf {
    match disk.filter(|_| node == A) {
        Some(disk) => disk.directory(),
        None => Place::of(dir.path(), node.name()).data,
    }
}

fn config(dir: &tempfile::TempDir, node: At, disk: Option<&SmallDisk>) -> NodeConfig {
    let place = Place::of(dir.path(), node.name());
    std::fs::create_dir_all(place.config.parent().expect("in the cluster's directory")).expect("a directory");
    let config = NodeConfig {
        name: node.name().into(),
        directory: directory(dir, node, disk),
        peer_address: node.peer(),
        admin_address: node.admin(),
        service: None,
        hooks: HooksConfig::default(),
        fence: vec![],
    };
    config.save(&place.config).expect("node.toml");
    config
}

pub fn volume(status: &ClusterStatus) -> Option<&VolumeStatus> {
    status.volumes.first()
}

pub fn serves(status: &ClusterStatus, primary: At) -> bool {
    volume(status).is_some_and(|volume| volume.state == "serving" && volume.primary.as_deref() == Some(primary.name()))
}

pub fn whole(status: &ClusterStatus) -> bool {
    let calm = |state: &str| matches!(state, "primary" | "in-sync");
    let copies = volume(status).is_some_and(|volume| {
        volume.in_sync.len() == 2 && volume.replicas.iter().all(|replica| calm(&replica.state) && replica.failure.is_none())
    });
    copies && status.proposals.is_empty() && status.maintenance.is_empty() && status.nodes.iter().all(|node| node.state == "up")
}
