//! Clusters of real processes on one machine: for the demo and the tests.

use mainstay_node::admin::client::{AdminClient, AdminConfig, AdminConfigError, ClientError};
use mainstay_node::config::{ConfigError, HooksConfig, NodeConfig};
use mainstay_node::directory::Kind;
use mainstay_node::founding::{self, FoundingError};
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const POLL_PAUSE: Duration = Duration::from_millis(20);
/// For a node to answer after its start; recovery of its volumes is not waited for.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// For a token of the cluster's own first minutes.
const TOKEN_MINUTES: u32 = 10;

/// One node to be.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    pub name: String,
    pub kind: Kind,
    pub peer_address: SocketAddr,
    pub admin_address: SocketAddr,
}

/// How the processes are started.
#[derive(Clone, Debug)]
pub struct Launcher {
    /// The `mainstay` program.
    pub program: PathBuf,
    pub segment_mib: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    AdminConfig(#[from] AdminConfigError),
    #[error(transparent)]
    Founding(#[from] FoundingError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    /// Its last line of log.
    #[error("node {name} ended ({status}): {line}")]
    Ended { name: String, status: ExitStatus, line: String },
    #[error("node {0} does not answer")]
    Silent(String),
}

/// Where a node of the cluster in `dir` keeps what: `dir/NAME/node.toml`, `dir/NAME/data`, `dir/NAME/log`.
#[derive(Clone, Debug)]
pub struct Place {
    pub config: PathBuf,
    pub data: PathBuf,
    pub log: PathBuf,
}

impl Place {
    pub fn of(dir: &Path, name: &str) -> Place {
        let home = dir.join(name);
        Place { config: home.join("node.toml"), data: home.join("data"), log: home.join("log") }
    }
}

/// Where the administrator's credentials of the cluster in `dir` are.
pub fn admin_path(dir: &Path) -> PathBuf {
    dir.join("admin.toml")
}

/// A running node. Killed when dropped, so that nothing is left behind whatever happens.
#[derive(Debug)]
pub struct NodeProcess {
    pub name: String,
    pub place: Place,
    child: Child,
}

impl NodeProcess {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL; returns when it is gone.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, then SIGKILL after `limit`. True when it ended by itself.
    pub fn stop(mut self, limit: Duration) -> bool {
        self.signal(rustix::process::Signal::TERM);
        let begun = Instant::now();
        while begun.elapsed() < limit {
            if let Ok(Some(_)) = self.child.try_wait() {
                return true;
            }
            std::thread::sleep(POLL_PAUSE);
        }
        false
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// The exit status, once it ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    fn check_running(&mut self) -> Result<(), LaunchError> {
        match self.ended() {
            None => Ok(()),
            Some(status) => Err(LaunchError::Ended { name: self.name.clone(), status, line: last_line(&self.place.log) }),
        }
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The node runs in a process group of its own, so that Ctrl-C reaches only who started it and the nodes can be stopped in a good
/// order; and it is killed when its parent is gone, so that a killed demo leaves nothing behind.
fn end_with_parent(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    let parent = std::process::id();
    command.process_group(0);
    // SAFETY: only system calls that are safe between fork and exec.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
            let alive = rustix::process::getppid().is_some_and(|pid| pid.as_raw_nonzero().get().cast_unsigned() == parent);
            if alive { Ok(()) } else { Err(std::io::ErrorKind::NotFound.into()) }
        });
    }
}

fn last_line(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("its log is empty").to_string()
}

impl Launcher {
    /// This very program, for the demo.
    pub fn this_program(segment_mib: u64) -> std::io::Result<Launcher> {
        Ok(Launcher { program: std::env::current_exe()?, segment_mib })
    }

    /// Starts the node whose node.toml lies in its place in `dir`. Its log is appended to `dir/NAME/log`.
    pub fn spawn(&self, dir: &Path, name: &str) -> Result<NodeProcess, LaunchError> {
        let place = Place::of(dir, name);
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| LaunchError::Io { path, source }
        };
        let log = File::options().create(true).append(true).open(&place.log).map_err(io(&place.log))?;
        let mut command = Command::new(&self.program);
        end_with_parent(&mut command);
        let child = command
            .args(["node", "--segment-mib", &self.segment_mib.to_string(), "--config"])
            .arg(&place.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(io(&self.program))?;
        Ok(NodeProcess { name: name.into(), place, child })
    }

    /// Makes a cluster in `dir` (which must be empty or missing): the first of `specs` founds it, the others join. All are
    /// running, answer and are known to the cluster as booted when this returns.
    pub async fn found(
        &self,
        dir: &Path,
        cluster: &str,
        specs: &[NodeSpec],
    ) -> Result<(Vec<NodeProcess>, AdminConfig), LaunchError> {
        let mut nodes = Vec::new();
        let mut admin: Option<(AdminConfig, AdminClient)> = None;
        for spec in specs {
            let config = write_config(dir, spec)?;
            match &admin {
                None => {
                    let made = founding::init(&config, cluster, spec.kind, "admin")?;
                    nodes.push(self.spawn(dir, &spec.name)?);
                    admin = Some((made.clone(), AdminClient::new(&made)?));
                }
                Some((_, client)) => {
                    let token = token(client, nodes.first_mut()).await?;
                    founding::join(&config, &token, spec.kind).await?;
                    nodes.push(self.spawn(dir, &spec.name)?);
                }
            }
        }
        let (mut config, client) = admin.ok_or_else(|| LaunchError::Silent("there are none".into()))?;
        config.endpoints = specs.iter().map(|spec| spec.admin_address).collect();
        config.save(&admin_path(dir))?;
        for (node, spec) in nodes.iter_mut().zip(specs) {
            wait_answer(&client.at(vec![spec.admin_address]), node).await?;
        }
        wait_booted(&AdminClient::new(&config)?, &mut nodes).await?;
        Ok((nodes, config))
    }

    /// One more node for the cluster in `dir`; it answers and is counted when this returns.
    pub async fn join(&self, dir: &Path, client: &AdminClient, spec: &NodeSpec) -> Result<NodeProcess, LaunchError> {
        let config = write_config(dir, spec)?;
        founding::join(&config, &token(client, None).await?, spec.kind).await?;
        let mut nodes = [self.spawn(dir, &spec.name)?];
        wait_booted(client, &mut nodes).await?;
        let [node] = nodes;
        Ok(node)
    }
}

fn write_config(dir: &Path, spec: &NodeSpec) -> Result<NodeConfig, LaunchError> {
    let place = Place::of(dir, &spec.name);
    let home = place.config.parent().unwrap_or(dir).to_owned();
    std::fs::create_dir_all(&home).map_err(|source| LaunchError::Io { path: home, source })?;
    let config = NodeConfig {
        name: spec.name.clone(),
        directory: place.data,
        peer_address: spec.peer_address,
        admin_address: spec.admin_address,
        service: None,
        hooks: HooksConfig::default(),
        fence: vec![],
    };
    config.save(&place.config)?;
    Ok(config)
}

/// The first node needs a moment until it can decide.
async fn token(client: &AdminClient, first: Option<&mut NodeProcess>) -> Result<mainstay_node::pki::JoinToken, LaunchError> {
    let begun = Instant::now();
    let mut first = first;
    loop {
        match client.token(TOKEN_MINUTES).await {
            Ok(reply) => {
                let bad = |_| LaunchError::Client(ClientError::Bad("the token cannot be read".into()));
                return reply.token.parse().map_err(bad);
            }
            Err(error) if begun.elapsed() > ANSWER_TIME_MAX => return Err(error.into()),
            Err(_) => {}
        }
        if let Some(node) = &mut first {
            node.check_running()?;
        }
        tokio::time::sleep(POLL_PAUSE).await;
    }
}

/// Until the node answers on its admin address and sees a quorum.
pub async fn wait_answer(client: &AdminClient, node: &mut NodeProcess) -> Result<(), LaunchError> {
    let begun = Instant::now();
    while begun.elapsed() < ANSWER_TIME_MAX {
        node.check_running()?;
        if client.local().await.is_ok_and(|local| local.quorum) {
            return Ok(());
        }
        tokio::time::sleep(POLL_PAUSE).await;
    }
    Err(LaunchError::Silent(node.name.clone()))
}

/// Until the cluster state has a boot of every one of these nodes: before that a volume on it is refused (R6).
async fn wait_booted(client: &AdminClient, nodes: &mut [NodeProcess]) -> Result<(), LaunchError> {
    let begun = Instant::now();
    let waited: Vec<String> = nodes.iter().map(|node| node.name.clone()).collect();
    loop {
        let missing = match client.status().await {
            Ok(status) => {
                status.nodes.iter().find(|node| waited.contains(&node.name) && node.state != "up").map(|node| node.name.clone())
            }
            Err(_) => nodes.first().map(|node| node.name.clone()),
        };
        let Some(missing) = missing else { return Ok(()) };
        for node in nodes.iter_mut() {
            node.check_running()?;
        }
        if begun.elapsed() > ANSWER_TIME_MAX {
            return Err(LaunchError::Silent(missing));
        }
        tokio::time::sleep(POLL_PAUSE).await;
    }
}
