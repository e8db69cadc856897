//! `mainstay demo`: a whole cluster on one machine, to be mounted, broken and looked at; and its unattended plays.

pub mod cluster;
pub mod copies;
mod handovers;
mod live;
mod play;
pub mod workload;

use crate::cli::exit;
use cluster::{Cluster, DemoError};
use std::path::PathBuf;

#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// Keep the cluster here and go on from here the next time; without it a temporary directory is used and removed
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// A node that died stays down until you start it: for trying `mainstay recover`
    #[arg(long, conflicts_with = "play")]
    pub no_restart: bool,
    /// Play a story unattended and exit 0 only when its verdict is good
    #[arg(long, value_name = "STORY")]
    pub play: Option<Play>,
    /// Kills in `--play kills`, hand-overs in `--play switchover`
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub cycles: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Play {
    /// The primary is killed, the promotion approved, the dead node returns
    Failover,
    /// The day of the outage: maintenance of the secondary, its stop and its return
    Incident,
    /// A random node is killed (SIGKILL), again and again, each time approved if need be and brought back
    Kills,
    /// The volume is handed from a to b and back, again and again, and what clients felt of it is told
    Switchover,
}

/// As shells report an interrupt.
const INTERRUPTED: u8 = 130;

/// Exit code 0 when all went well, 2 when a play's verdict is bad, 1 when there was no verdict.
pub fn run(args: DemoArgs) -> u8 {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&DemoError::Setup(error.to_string())),
    };
    runtime.block_on(async {
        let started = tokio::select! {
            started = Cluster::start(args.dir, |step| eprintln!("demo: {step}")) => started,
            _ = tokio::signal::ctrl_c() => return INTERRUPTED,
        };
        let cluster = match started {
            Ok(cluster) => cluster,
            Err(error) => return failed(&error),
        };
        match args.play {
            None => live::run(cluster, !args.no_restart).await,
            Some(story) => tokio::select! {
                ended = play::run(cluster, story, args.cycles) => ended.unwrap_or_else(|error| failed(&error)),
                _ = tokio::signal::ctrl_c() => INTERRUPTED,
            },
        }
    })
}

fn failed(error: &DemoError) -> u8 {
    eprintln!("demo: {error}");
    exit::ERROR
}
