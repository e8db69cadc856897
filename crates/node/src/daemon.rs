//! The daemon's life: open, start, follow the cluster, stop.

use crate::admin;
use crate::admin::client::AdminClient;
use crate::clock;
use crate::config::NodeConfig;
use crate::directory::{Directory, DirectoryError, Kind, Promises};
use crate::event_log::EventLog;
use crate::founding::HANDLE_KEY;
use crate::hex;
use crate::hooks::fence::Fences;
use crate::hooks::roles::RoleHooks;
use crate::host::{self, Host};
use crate::members::{self, Aside};
use crate::peers::{Peers, PeersError};
use crate::pki::{self, AUTHORITY_CERTIFICATE, AUTHORITY_KEY, Authority, Credentials, NODE_CERTIFICATE, NODE_KEY, PkiError};
use crate::serve::address::Addresses;
use crate::serve::listener::{self, Bindings};
use crate::serve::{Common, FrontKey};
use crate::shell::{App, PeerTransport, Reception, Shell, write_promises};
use crate::systemd;
use crate::tls::{TlsError, TlsIdentity};
use mainstay_cluster::{Actor, ClusterState, Command, Event, NodeKind, RefusalKind, Settings, StopCause};
use mainstay_coordination::{Config, ProposeError, Raft, StartError, Storage};
use mainstay_nfs::HandleKey;
use mainstay_protocol::{ClusterId, Incarnation, NodeId, VolumeId};
use mainstay_replica::{ServeMode, StoredPromise};
use mainstay_volume::Options;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;

/// Longest graceful stop: stepping down needs a decision and a sync. Then the process ends anyway; the lease protects the data.
const STOP_TIME_MAX: Duration = Duration::from_secs(15);
/// How long one attempt to have something decided may take.
const DECIDE_TIME_MAX: Duration = Duration::from_secs(5);
/// A boot that nobody wants to know of for so long asks whether this node is still a member.
const UNHEARD_TIME_MAX: Duration = Duration::from_secs(10);
const RETRY_PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Peers(#[from] PeersError),
    #[error("cannot listen on admin_address {address}: {source}")]
    Admin { address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Coordination(#[from] StartError),
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Other(String),
}

/// Runs until SIGTERM or SIGINT.
pub async fn run(config: NodeConfig, options: Options) -> Result<(), NodeError> {
    let mut stop = Signals::new()?;
    let daemon = Daemon::start(config, options).await?;
    systemd::notify("READY=1\nSTATUS=running");
    tokio::spawn(systemd::feed_watchdog());
    let ended = tokio::select! {
        () = stop.wait() => Ok(()),
        fatal = daemon.booted() => fatal,
    };
    systemd::notify(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={}", STOP_TIME_MAX.as_micros()));
    let cause = tokio::task::spawn_blocking(systemd::stop_cause).await.unwrap_or(StopCause::Asked);
    daemon.stop(cause).await;
    ended
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Signals, NodeError> {
        let of = |kind| signal(kind).map_err(|error| NodeError::Other(format!("cannot wait for signals: {error}")));
        Ok(Signals { terminate: of(SignalKind::terminate())?, interrupt: of(SignalKind::interrupt())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// A running node.
pub struct Daemon {
    app: Arc<App>,
    kind: Kind,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    service: tokio::task::JoinHandle<()>,
    stop_service: watch::Sender<bool>,
    hooks: RoleHooks,
    /// Held for its lock.
    _directory: Directory,
}

/// What is read from the directory before anything is started.
struct Opened {
    directory: Directory,
    incarnation: Incarnation,
    cluster: ClusterId,
    tls: TlsIdentity,
    authority: Option<Authority>,
    handle_key: HandleKey,
}

fn open(config: &NodeConfig) -> Result<Opened, NodeError> {
    let directory = Directory::open(&config.directory, &config.name)?;
    let incarnation = directory.raise_incarnation(clock::wall().as_millis())?;
    let cluster = directory.identity.cluster_id().unwrap_or_default();
    let root = directory.read_key(AUTHORITY_CERTIFICATE)?;
    let own = Credentials { certificate: directory.read_key(NODE_CERTIFICATE)?, key: directory.read_key(NODE_KEY)? };
    let tls = TlsIdentity::new(cluster, &root, Some(&own))?;
    let authority = match directory.key_path(AUTHORITY_KEY).exists() {
        true => Some(Authority::load(cluster, &Credentials { certificate: root, key: directory.read_key(AUTHORITY_KEY)? })?),
        false => None,
    };
    let handle_key = hex::decode(directory.read_key(HANDLE_KEY)?.trim()).and_then(|key| key.try_into().ok());
    let damaged = || DirectoryError::Damaged { path: directory.key_path(HANDLE_KEY), message: "not a key".into() };
    let handle_key = HandleKey(handle_key.ok_or_else(damaged)?);
    Ok(Opened { directory, incarnation, cluster, tls, authority, handle_key })
}

impl Daemon {
    pub async fn start(config: NodeConfig, options: Options) -> Result<Daemon, NodeError> {
        let opened = open(&config)?;
        let (directory, incarnation) = (opened.directory, opened.incarnation);
        let identity = directory.identity.clone();
        let me = identity.node_id();
        tracing::info!(name = config.name, node = %me, %incarnation, cluster = identity.cluster_name, version = env!("CARGO_PKG_VERSION"), "starting");

        // Ports first: one that is taken is said before anything else happens.
        let peers = Peers::new(me, &opened.tls)?;
        let reception = Arc::new(Reception { me, raft: OnceLock::new(), hosts: Arc::default() });
        let accepting = peers.listen(config.peer_address, reception.clone()).await?;
        let address = config.admin_address;
        let admin_listener = TcpListener::bind(address).await.map_err(|source| NodeError::Admin { address, source })?;

        let storage = Storage::Directory(directory.coordination());
        let group = identity.group_id().unwrap_or(opened.cluster);
        let raft = Raft::start(Config::new(me, group, storage), Arc::new(PeerTransport(peers.clone()))).await?;
        // Only now can requests of peers be answered.
        let _ = reception.raft.set(raft.clone());

        let common = Arc::new(Common::new(reception.hosts.clone()));
        let bindings = Bindings::default();
        let app = Arc::new(App {
            authority_fingerprint: pki::fingerprint(opened.tls.authority()),
            colleague: AdminClient::from_tls(&opened.tls, vec![])?,
            front_key: FrontKey { cluster: opened.cluster, key: opened.handle_key },
            hosts: reception.hosts.clone(),
            authority: opened.authority,
            started: Instant::now(),
            refused: Default::default(),
            common: common.clone(),
            bindings: bindings.clone(),
            fences: Fences::new(&config.fence),
            incarnation,
            identity,
            config,
            raft,
            peers,
        });
        let (modes, mode_queue) = mpsc::unbounded_channel();
        let (stop_service, stopping) = watch::channel(false);
        let hooks = role_hooks(&app);
        let around =
            listener::Around { bindings, addresses: Addresses::new(app.config.service.clone()), tell: tell_hooks(hooks.clone()) };
        let service = tokio::spawn(listener::run(app.front_key, common, app.raft.watch(), mode_queue, around, stopping));
        let follower = Follower::new(app.clone(), directory.promises()?, options, &directory, modes)?;
        let admin_tls = TlsAcceptor::from(opened.tls.admin_server()?);
        let tasks = vec![
            accepting,
            tokio::spawn(admin::run(admin_listener, admin_tls, app.clone())),
            tokio::spawn(follower.run()),
            tokio::spawn(members::keep_voting(app.raft.clone())),
            tokio::spawn(members::tell_of_set_back(app.raft.clone(), app.me())),
        ];
        let kind = app.identity.kind;
        Ok(Daemon { app, kind, tasks, service, stop_service, hooks, _directory: directory })
    }

    /// Founds the cluster if that is this node's part, says that it booted, then waits for ever. Returns only when the cluster
    /// says that this node must not run.
    async fn booted(&self) -> Result<(), NodeError> {
        if self.app.identity.founder {
            self.found().await?;
        }
        let mut heard = Instant::now();
        loop {
            let command = Command::Booted {
                node: self.app.me(),
                incarnation: self.app.incarnation,
                software: env!("CARGO_PKG_VERSION").into(),
                at: clock::wall(),
            };
            match self.app.raft.propose(command, DECIDE_TIME_MAX).await {
                Ok(_) => break,
                Err(ProposeError::Refused(refusal)) if matches!(*refusal.kind, RefusalKind::UnknownNode(_)) => {
                    tracing::debug!("this node is not known yet where it asked");
                }
                // Another node joined or left a moment ago, and a primary has not gone over yet: one at a time (R13).
                Err(ProposeError::Refused(refusal)) if matches!(*refusal.kind, RefusalKind::MembersUnsettled { .. }) => {
                    tracing::info!("waits to be counted: {}", refusal.message);
                    tokio::time::sleep(DECIDE_TIME_MAX / 10).await;
                }
                Err(ProposeError::Refused(refusal)) => return Err(NodeError::Refused(refusal.message)),
                Err(error) => tracing::debug!(%error, "the cluster does not know of this boot yet"),
            }
            if heard.elapsed() >= UNHEARD_TIME_MAX {
                if let Some(told) = members::removed_meanwhile(&self.app).await {
                    return Err(NodeError::Refused(format!("{told}. {}", members::farewell(&self.app.state(), self.app.me()))));
                }
                heard = Instant::now();
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        tracing::info!("the cluster knows of this boot");
        let mut view = self.app.raft.watch();
        let me = self.app.me();
        match view.wait_for(|state| members::removed(state, me)).await {
            Ok(state) => Err(NodeError::Refused(members::farewell(&state, me))),
            Err(_) => std::future::pending().await,
        }
    }

    /// Harmless when it was done before: a cluster is initialised once.
    async fn found(&self) -> Result<(), NodeError> {
        let app = &self.app;
        app.raft.initialize().await.map_err(|error| NodeError::Other(error.to_string()))?;
        while !app.state().initialised() {
            let command = Command::Init {
                cluster: app.front_key.cluster,
                name: app.identity.cluster_name.clone(),
                settings: Settings::default(),
                node: app.identity.name.clone(),
                kind: match self.kind {
                    Kind::FileServer => NodeKind::FileServer,
                    Kind::Witness => NodeKind::Witness,
                },
                peer_address: app.config.peer_address.to_string(),
                admin_address: app.config.admin_address.to_string(),
                actor: Actor::Person("init".into()),
                at: clock::wall(),
            };
            match app.raft.propose(command, DECIDE_TIME_MAX).await {
                Err(ProposeError::Refused(refusal)) if !matches!(*refusal.kind, RefusalKind::AlreadyInitialised(_)) => {
                    return Err(NodeError::Refused(refusal.message));
                }
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        Ok(())
    }

    /// Volumes first, while decisions can still be made: a primary hands its epoch back.
    pub async fn stop(self, cause: StopCause) {
        tracing::info!("stopping: {cause}");
        let hosts = self.app.hosts.all();
        hosts.iter().for_each(|host| host.stop(cause));
        let all = async {
            for host in &hosts {
                host.shared.stopped.notified().await;
            }
        };
        if tokio::time::timeout(STOP_TIME_MAX, all).await.is_err() {
            tracing::warn!("not everything stopped in time; leases protect what is left");
        }
        let _ = self.stop_service.send(true);
        let _ = self.service.await;
        if tokio::time::timeout(STOP_TIME_MAX, self.hooks.idle()).await.is_err() {
            tracing::warn!("a hook still runs; it ends with this process");
        }
        if tokio::time::timeout(STOP_TIME_MAX, self.app.raft.shutdown()).await.is_err() {
            tracing::warn!("coordination did not stop in time");
        }
        self.tasks.iter().for_each(|task| task.abort());
        self.app.peers.stop();
        tracing::info!("stopped");
    }
}

/// `on_promoted` and `on_demoted`; a failure goes into the audit log, if the cluster can be told.
fn role_hooks(app: &Arc<App>) -> RoleHooks {
    let (raft, me, runtime) = (app.raft.clone(), app.me(), tokio::runtime::Handle::current());
    RoleHooks::new(&app.config.name, app.config.hooks.clone(), move |volume, text| {
        let raft = raft.clone();
        let note = Command::Note { volume: Some(volume), text, actor: Actor::Node(me), at: clock::wall() };
        runtime.spawn(async move {
            if let Err(error) = raft.propose(note, DECIDE_TIME_MAX).await {
                tracing::debug!(%error, "the failure of a hook did not get into the audit log");
            }
        });
    })
}

fn tell_hooks(hooks: RoleHooks) -> listener::Tell {
    Box::new(move |volume, mode, state| {
        if let Some(known) = state.volumes.get(&volume) {
            hooks.serves(volume, &known.name, mode, known.epoch);
        }
    })
}

/// Follows the cluster state: who the peers are, which volumes there are, what is news.
struct Follower {
    app: Arc<App>,
    shell: Arc<Shell>,
    options: Options,
    volumes: std::path::PathBuf,
    aside: Aside,
    promised: BTreeMap<VolumeId, StoredPromise>,
    /// Number of the last audit event that was logged.
    logged: Option<u64>,
    /// `None`: it could not be opened; the state's own events are all there is.
    kept: Option<EventLog>,
}

impl Follower {
    fn new(
        app: Arc<App>,
        promises: Promises,
        options: Options,
        directory: &Directory,
        modes: mpsc::UnboundedSender<(VolumeId, ServeMode)>,
    ) -> Result<Follower, NodeError> {
        let (jobs, queue) = std::sync::mpsc::channel();
        let promised = promises.all();
        std::thread::Builder::new()
            .name("promises".into())
            .spawn(move || write_promises(promises, &queue))
            .map_err(|error| NodeError::Other(format!("cannot start a thread: {error}")))?;
        let shell = Shell {
            peers: app.peers.clone(),
            raft: app.raft.clone(),
            runtime: tokio::runtime::Handle::current(),
            promises: jobs,
            modes,
            fences: app.fences.clone(),
        };
        let volumes = directory.root().join("volumes");
        let aside = Aside::new(directory);
        let kept = EventLog::open(directory.events())
            .inspect_err(|error| tracing::error!(%error, "cannot open the log of events: only the newest few hundred are kept"));
        Ok(Follower { app, shell: Arc::new(shell), options, volumes, aside, promised, logged: None, kept: kept.ok() })
    }

    async fn run(mut self) {
        let mut view = self.app.raft.watch();
        loop {
            let state = view.borrow_and_update().clone();
            self.follow(&state).await;
            if view.changed().await.is_err() {
                return;
            }
        }
    }

    async fn follow(&mut self, state: &Arc<ClusterState>) {
        self.app.peers.set_members(&peer_addresses(state));
        for host in self.app.hosts.all() {
            host.decided(state.clone());
        }
        let missing: Vec<VolumeId> =
            state.volumes.keys().filter(|volume| self.app.hosts.get(**volume).is_none()).copied().collect();
        for volume in missing {
            self.start(volume, state);
        }
        self.log_events(state);
        if members::shows_this_boot(&self.app, state) {
            self.place_copies(state).await;
        }
    }

    /// Begins an empty copy where one was added, and sets aside what was removed. The thread of the volume begins anew for it; what this
    /// node has promised goes over, and as after a restart it waits one lease before its word counts (R13).
    async fn place_copies(&mut self, state: &Arc<ClusterState>) {
        for (id, volume) in &state.volumes {
            let Some(host) = self.app.hosts.get(*id) else { continue };
            let holds = volume.replicas.contains(&self.app.me());
            if host.holds != holds {
                let Some(promised) = host.retire().await else {
                    tracing::error!(volume = volume.name, "its thread does not end: look at the disk; it is asked again");
                    continue;
                };
                self.app.hosts.remove(*id);
                self.promised.insert(*id, promised);
            }
            if !holds {
                match self.aside.set(*id, self.app.incarnation.0) {
                    Ok(None) => {}
                    Ok(Some(place)) => members::tell_aside(&self.app, *id, &volume.name, &place),
                    Err(error) => tracing::error!(volume = volume.name, %error, "cannot set the removed copy aside"),
                }
            }
            if host.holds != holds {
                self.start(*id, state);
            }
        }
    }

    fn start(&self, id: VolumeId, state: &Arc<ClusterState>) {
        let Some(volume) = state.volumes.get(&id) else { return };
        let holds = volume.replicas.contains(&self.app.me());
        let settings = host::Settings {
            node: self.app.me(),
            incarnation: self.app.incarnation,
            cluster: state.id,
            volume: id,
            name: volume.name.clone(),
            directory: holds.then(|| self.volumes.join(id.to_string())),
            options: self.options.clone(),
            promised: self.promised.get(&id).copied().unwrap_or_default(),
        };
        match Host::start(settings, state.clone(), self.shell.clone()) {
            Ok(host) => self.app.hosts.insert(host),
            Err(error) => tracing::error!(volume = volume.name, %error, "cannot start the volume's thread"),
        }
    }

    /// The audit log, as lines. What was decided before this process started is in its predecessors' logs.
    fn log_events(&mut self, state: &ClusterState) {
        let logged = self.logged.unwrap_or(if state.initialised() { state.audit.count } else { 0 });
        for event in state.audit.events.iter().filter(|event| event.number > logged) {
            tracing::info!(number = event.number, by = %event.actor, hash = event.hash.short(), "{}", event.text);
            if let Event::Refused { rule, command } = &event.event
                && matches!(command.as_str(), "Propose" | "Approve" | "Deny")
            {
                *self.app.refused.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).entry(*rule).or_default() += 1;
            }
        }
        if state.initialised() {
            self.logged = Some(state.audit.count);
        }
        self.keep_events(state);
    }

    /// Fewer and smaller writes than a line of the process's log.
    fn keep_events(&mut self, state: &ClusterState) {
        if let Some(kept) = self.kept.as_mut().filter(|kept| kept.last() < state.audit.count)
            && let Err(error) = kept.append(state.audit.events.iter())
        {
            tracing::error!(%error, "cannot write the log of events; it is tried again with the next one");
        }
    }
}

fn peer_addresses(state: &ClusterState) -> BTreeMap<NodeId, SocketAddr> {
    // The cluster checked the form of addresses; one that is a host name is a limit of this version, and is skipped.
    state.nodes.iter().filter_map(|(id, node)| Some((*id, node.peer_address.parse().ok()?))).collect()
}

/// From here on a panic anywhere ends the process: it is an error of this program, and a node that went on with half of its
/// threads could be trusted with nothing. It returns as a secondary.
pub fn fail_stop() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tracing::error!(%panic, "this program has a defect and ends itself; please report it");
        report(panic);
        std::process::abort();
    }));
}
