//! Commands that work on this machine's files: init, join, node, credentials.

use super::args::{Credentials, Format, Init, Join, NodeFlags, RoleName};
use super::output::show;
use super::{CliError, exit};
use mainstay_node::config::{HooksConfig, NodeConfig};
use mainstay_node::directory::Kind;
use mainstay_node::founding::{self, FoundingError};
use mainstay_node::pki::{JoinToken, Role};
use mainstay_node::{daemon, logging};
use serde::Serialize;
use std::path::Path;

/// What `init` and `join` made.
#[derive(Serialize)]
struct Made {
    cluster: String,
    node: String,
    id: u16,
    config: String,
    directory: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    admin_config: Option<String>,
}

fn failed(error: impl std::fmt::Display) -> CliError {
    CliError::Failed(error.to_string())
}

impl From<FoundingError> for CliError {
    fn from(error: FoundingError) -> CliError {
        match error {
            FoundingError::Answer(answer) => CliError::Client(answer.into()),
            FoundingError::Lost(_) => CliError::Client(mainstay_node::admin::client::ClientError::Lost(error.to_string())),
            FoundingError::Input(message) => CliError::Usage(message),
            other => failed(other),
        }
    }
}

/// node.toml as it is, or as the flags say when there is none yet.
fn node_config(path: &Path, flags: &NodeFlags) -> Result<NodeConfig, CliError> {
    let NodeFlags { name, directory, peer_address, admin_address, .. } = flags;
    match (path.exists(), name, directory, peer_address, admin_address) {
        (true, None, None, None, None) => NodeConfig::load(path).map_err(failed),
        (true, ..) => Err(CliError::Usage(format!("{} exists; leave --name, --directory and the addresses out", path.display()))),
        (false, Some(name), Some(directory), Some(peer_address), Some(admin_address)) => {
            let config = NodeConfig {
                name: name.clone(),
                directory: std::path::absolute(directory).map_err(failed)?,
                peer_address: *peer_address,
                admin_address: *admin_address,
                service: None,
                hooks: HooksConfig::default(),
                fence: vec![],
            };
            config.check().map_err(CliError::Usage)?;
            Ok(config)
        }
        _ => Err(CliError::Usage(format!(
            "{} does not exist; write it, or give --name, --directory, --peer-address and --admin-address",
            path.display()
        ))),
    }
}

fn keep_config(path: &Path, config: &NodeConfig) -> Result<(), CliError> {
    if path.exists() { Ok(()) } else { config.save(path).map_err(failed) }
}

fn kind(flags: &NodeFlags) -> Kind {
    if flags.witness { Kind::Witness } else { Kind::FileServer }
}

fn report(made: &Made, format: Format) {
    show(format, made, |made| {
        let mut text = format!("node {} ({}) of cluster {} is ready in {}\n", made.node, made.id, made.cluster, made.directory);
        text += &format!("start it:  mainstay node --config {}\n", made.config);
        if let Some(admin) = &made.admin_config {
            text += &format!("then ask:  mainstay status --config {admin}\n");
            text += &format!(
                "keep a copy of {}/keys/authority.key off this machine: without it nobody can join, and no credentials are made\n",
                made.directory
            );
            text += "some decisions take two people: `mainstay credentials` makes the second one's admin.toml\n";
        }
        text
    });
}

pub fn init(path: &Path, init: &Init, format: Format) -> Result<u8, CliError> {
    if init.admin_config.exists() {
        return Err(failed(format!("{} exists; it may hold the keys of another cluster", init.admin_config.display())));
    }
    let config = node_config(path, &init.node)?;
    let admin = founding::init(&config, &init.cluster, kind(&init.node), &init.admin)?;
    keep_config(path, &config)?;
    admin.save(&init.admin_config)?;
    let made = Made {
        cluster: init.cluster.clone(),
        node: config.name,
        id: 1,
        config: path.display().to_string(),
        directory: config.directory.display().to_string(),
        admin_config: Some(init.admin_config.display().to_string()),
    };
    report(&made, format);
    Ok(exit::OK)
}

pub fn join(path: &Path, join: &Join, format: Format) -> Result<u8, CliError> {
    let token: JoinToken =
        join.token.parse().map_err(|error: mainstay_node::pki::TokenError| CliError::Usage(error.to_string()))?;
    let config = node_config(path, &join.node)?;
    let identity = super::runtime()?.block_on(founding::join(&config, &token, kind(&join.node)))?;
    keep_config(path, &config)?;
    let made = Made {
        cluster: identity.cluster_name,
        node: config.name,
        id: identity.node,
        config: path.display().to_string(),
        directory: config.directory.display().to_string(),
        admin_config: None,
    };
    report(&made, format);
    Ok(exit::OK)
}

pub fn node(path: &Path, segment_mib: u64) -> Result<u8, CliError> {
    let config = NodeConfig::load(path).map_err(failed)?;
    logging::start();
    let mut options = mainstay_volume::Options { segment_bytes: segment_mib << 20, ..mainstay_volume::Options::default() };
    // The reserve is a number of segments in effect; with small segments a small one does.
    options.reserve_bytes = options.reserve_bytes.min(4 * options.segment_bytes);
    daemon::fail_stop();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(failed)?;
    let ended = runtime.block_on(daemon::run(config, options));
    // Volume threads are not waited for: they have stopped, or are given up.
    runtime.shutdown_background();
    ended.map_err(failed)?;
    Ok(exit::OK)
}

pub fn credentials(path: &Path, credentials: &Credentials) -> Result<u8, CliError> {
    let config = NodeConfig::load(path).map_err(failed)?;
    let roles: Vec<Role> = credentials.roles.iter().map(|role| role_of(*role)).collect();
    let admin = founding::issue(&config, &credentials.name, &roles, credentials.endpoints.clone())?;
    admin.save(&credentials.out)?;
    eprintln!("credentials of {} are in {}", credentials.name, credentials.out.display());
    Ok(exit::OK)
}

fn role_of(name: RoleName) -> Role {
    match name {
        RoleName::Viewer => Role::Viewer,
        RoleName::Operator => Role::Operator,
        RoleName::Approver => Role::Approver,
        RoleName::Admin => Role::Admin,
    }
}
