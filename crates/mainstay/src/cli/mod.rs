//! `mainstay`: data on standard output, messages on standard error, exit codes as in [`exit`].

pub(crate) mod args;
mod change;
mod events;
pub mod exit;
mod fence;
mod force;
mod local;
mod losses;
pub(crate) mod membership;
pub(crate) mod output;
mod policy;
mod quarantine;
mod recover;
mod show;
mod status;
pub(crate) mod switchover;

use args::{Cli, Command, CopyCommand, Events, Explain, Maintenance, Proposals, Switch, Ticket, Volume, WitnessCommand};
use clap::Parser;
use clap::error::ErrorKind as ClapError;
use mainstay_node::admin::api::{ApiError, ErrorKind};
use mainstay_node::admin::client::{AdminClient, AdminConfig, AdminConfigError, ClientError};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where configuration is looked for when nobody says.
const CONFIG_DIRECTORY: &str = "/etc/mainstay";
const CONFIG_VARIABLE: &str = "MAINSTAY_CONFIG";

/// Of the lines of `mainstay events -o json`: rises when a program that reads them must be changed.
pub(crate) const EVENTS_VERSION: u32 = mainstay_node::event_log::EVENTS_VERSION;

/// What goes wrong, each with its exit code.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Failed(String),
    /// A rehearsal showed what nobody has said to want.
    #[error("{0}")]
    Preflight(String),
    #[error(transparent)]
    Config(#[from] AdminConfigError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Bench(#[from] crate::bench::BenchError),
}

impl CliError {
    fn code(&self) -> u8 {
        match self {
            CliError::Usage(_) => exit::USAGE,
            CliError::Preflight(_) => exit::VIOLATED,
            CliError::Bench(error) => error.exit_code(),
            CliError::Client(ClientError::Answer(ApiError { error, .. })) => match error {
                ErrorKind::Refused => exit::REFUSED,
                ErrorKind::Unknown => exit::INDETERMINATE,
                _ => exit::ERROR,
            },
            CliError::Client(ClientError::Lost(_)) => exit::INDETERMINATE,
            _ => exit::ERROR,
        }
    }
}

/// The whole program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            let asked = matches!(error.kind(), ClapError::DisplayHelp | ClapError::DisplayVersion);
            return ExitCode::from(if asked { exit::OK } else { exit::USAGE });
        }
    };
    match run(cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("mainstay: {error}");
            ExitCode::from(error.code())
        }
    }
}

fn run(cli: Cli) -> Result<u8, CliError> {
    let config = |name: &str| config_path(cli.config.as_deref(), name);
    let format = cli.output;
    if format == args::Format::Html && !matches!(cli.command, Command::Drill(_)) {
        return Err(CliError::Usage("-o html: only drills make a page".into()));
    }
    match cli.command {
        Command::Init(init) => local::init(&config("node.toml"), &init, format),
        Command::Join(join) => local::join(&config("node.toml"), &join, format),
        Command::Node(args::Node { command: None, segment_mib }) => local::node(&config("node.toml"), segment_mib),
        Command::Bench(bench) => {
            crate::bench::run(&bench, format == args::Format::Json)?;
            Ok(exit::OK)
        }
        Command::Credentials(credentials) => local::credentials(&config("node.toml"), &credentials),
        Command::ForceQuorum(wish) => force::force_quorum(&config("node.toml"), &wish, format),
        Command::Demo(demo) => Ok(crate::demo::run(demo)),
        Command::Events { command: Some(Events::Verify { file: Some(file) }), .. } => events::verify_file(&file, format),
        Command::Drill(drill) => crate::drill::main(&drill, cli.config.as_deref(), &config("admin.toml"), format),
        remote => {
            let client = AdminClient::new(&AdminConfig::load(&config("admin.toml"))?)?;
            runtime()?.block_on(ask(&client, remote, format))
        }
    }
}

fn config_path(given: Option<&Path>, name: &str) -> PathBuf {
    let variable = || std::env::var_os(CONFIG_VARIABLE).map(PathBuf::from);
    given.map(Path::to_owned).or_else(variable).unwrap_or_else(|| Path::new(CONFIG_DIRECTORY).join(name))
}

/// For commands that only ask; the daemon has its own.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| CliError::Failed(format!("cannot start: {error}")))
}

async fn ask(client: &AdminClient, command: Command, format: args::Format) -> Result<u8, CliError> {
    match command {
        Command::Status => show::status(client, format).await,
        Command::Volume(Volume::List) => show::volumes(client, format).await,
        Command::Volume(Volume::Show { name }) => show::volume(client, &name, format).await,
        Command::Proposals { command: None } => show::proposals(client, format).await,
        Command::Proposals { command: Some(Proposals::Show { id }) } => show::proposal(client, id, format).await,
        Command::Explain(Explain::Promote { node, volume }) => show::explain(client, &node, &volume, format).await,
        Command::Explain(Explain::Demote { node, volume }) => {
            Ok(show::outlook(&client.explain_demote(&node, &volume).await?, format))
        }
        Command::Explain(Explain::Resync { node, volume }) => {
            let outlook = client.explain_resync(&node, &volume).await?;
            if !outlook.allowed
                && let Ok(text) = switchover::progress(client, &volume, &node).await
            {
                eprintln!("mainstay: {text}");
            }
            Ok(show::outlook(&outlook, format))
        }
        Command::Explain(Explain::Maintenance { node }) => Ok(show::outlook(&client.explain_maintenance(&node).await?, format)),
        Command::Maintenance(command) => maintenance(client, command, format).await,
        Command::Events { command: None, follow, after } => show::events(client, after, follow, format).await,
        Command::Events { command: Some(Events::Export { out }), after, .. } => events::export(client, after, out.as_deref()).await,
        Command::Events { command: Some(Events::Verify { .. }), after, .. } => events::verify_cluster(client, after, format).await,
        Command::Verify { volume } => show::verify(client, &volume, format).await,
        Command::Token { minutes } => change::token(client, minutes, format).await,
        Command::Volume(Volume::Create(new)) => change::create_volume(client, &new, format).await,
        Command::Revoke { name: Some(name), reason: Some(reason) } => change::revoke(client, &name, &reason).await,
        Command::Revoke { .. } => change::revoked(client, format).await,
        Command::Volume(Volume::ResetBreaker { name, reason }) => change::reset_breaker(client, &name, &reason).await,
        Command::Approve { id: Ticket::Proposal(id), evidence } => change::approve(client, id, evidence.as_deref(), format).await,
        Command::Approve { id: Ticket::Change(id), evidence } => policy::approve(client, id, evidence.as_deref(), format).await,
        Command::Deny { id: Ticket::Proposal(id), reason } => change::deny(client, id, &reason, format).await,
        Command::Deny { id: Ticket::Change(id), reason } => policy::deny(client, id, &reason, format).await,
        Command::Switchover(wish) => switchover::switchover(client, &wish, format).await,
        Command::Volume(Volume::Set(set)) => policy::set_volume(client, &set, format).await,
        Command::Hold { switch, reason } => policy::hold(client, switch == Switch::On, &reason, format).await,
        Command::Changes => policy::changes(client, format).await,
        Command::Propose { volume, candidate, give_up } => losses::propose(client, &volume, &candidate, give_up, format).await,
        Command::Copy(CopyCommand::SetAside { volume, node, reason }) => {
            losses::set_aside(client, &volume, &node, &reason, format).await
        }
        Command::Fence(wish) => fence::fence(client, &wish, format).await,
        Command::Recover => recover::recover(client, format).await,
        Command::Volume(Volume::AddReplica { volume, node, reason }) => {
            membership::add_replica(client, &volume, &node, &reason, format).await
        }
        Command::Volume(Volume::RemoveReplica(remove)) => membership::remove_replica(client, &remove, format).await,
        Command::Node(args::Node { command: Some(command), .. }) => membership::node(client, command, format).await,
        Command::Witness(WitnessCommand::Reseed { old, with, reason }) => {
            membership::reseed(client, &old, &with, &reason, format).await
        }
        Command::Plan(wish) => crate::plan::plan(client, &wish, format).await,
        Command::Apply(wish) => crate::plan::apply(client, &wish, format).await,
        Command::Quarantine(command) => quarantine::run(client, command, format).await,
        Command::Init(_)
        | Command::Join(_)
        | Command::Node(args::Node { command: None, .. })
        | Command::Credentials(_)
        | Command::ForceQuorum(_)
        | Command::Demo(_)
        | Command::Drill(_)
        | Command::Bench(_) => {
            unreachable!("`run` has handled what needs no cluster")
        }
    }
}

async fn maintenance(client: &AdminClient, command: Maintenance, format: args::Format) -> Result<u8, CliError> {
    match command {
        Maintenance::List => show::maintenance(client, format).await,
        Maintenance::Begin(begin) => change::begin_maintenance(client, begin, format).await,
        Maintenance::Extend { which, lasts } => change::extend_maintenance(client, &which, lasts).await,
        Maintenance::End { which } => change::end_maintenance(client, &which).await,
    }
}
