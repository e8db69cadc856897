//! The flags of `mainstay drill`.

use super::given::{self, Rules};
use super::one::Sizing;
use super::units;
use crate::cli::CliError;
use clap::{Args, Subcommand};
use mainstay_cluster::WithoutPrimary;
use mainstay_simulator::Bugs;
use std::path::PathBuf;

/// Most seeds of one command: days of work on any machine.
const SEEDS_MAX: u64 = 100_000_000;

#[derive(Debug, Subcommand)]
pub enum Drill {
    /// The scenarios, with what each rehearses and checks
    List,
    /// Rehearse a scenario, or all of them
    Run(Run),
    /// Random faults, random operators, random schedules, until something is found
    Fuzz(Fuzz),
    /// See one run again, as a transcript or step by step
    Replay(Replay),
    /// Make the schedule of a violated run as small as it can be
    Minimise(Minimise),
    /// Turn a cluster's audit log into a scenario: rehearse yesterday's incident
    FromEvents(FromEvents),
    /// What one step would do to the live cluster, such as "maintenance b 30m"
    WhatIf(WhatIf),
}

#[derive(Clone, Debug, Default, Args)]
pub struct SizingFlags {
    /// Size of the volume, such as 4TiB; simulated by size and rate, not stored
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    pub volume_size: Option<u64>,
    /// How much of it changes while a node is away, such as 200GiB
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    pub changed: Option<u64>,
    /// The link between the nodes, such as 1Gbit
    #[arg(long, value_name = "RATE", value_parser = units::rate)]
    pub link: Option<u64>,
    /// What a disk writes, such as 200MB/s
    #[arg(long, value_name = "RATE", value_parser = units::rate)]
    pub disk: Option<u64>,
    /// Round trip between the nodes, such as 0.5ms
    #[arg(long, value_name = "TIME", value_parser = units::time)]
    pub rtt: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, Args)]
pub struct RuleFlags {
    /// The cluster's lease, such as 2s
    #[arg(long, value_name = "TIME", value_parser = given::lease, hide_short_help = true)]
    pub lease: Option<u64>,
    /// How long a proposal and an approval are good, such as 15m
    #[arg(long, value_name = "TIME", value_parser = given::approval, hide_short_help = true)]
    pub approval: Option<u64>,
    /// When a primary that is not heard is missing [default: the lease]
    #[arg(long, value_name = "TIME", value_parser = given::missing_after, hide_short_help = true)]
    pub missing_after: Option<u64>,
    /// Most that a resync moves, such as 200MB/s
    #[arg(long, value_name = "RATE", value_parser = given::throttle, hide_short_help = true)]
    pub resync: Option<u64>,
    /// What replicas do while there is no primary: serve-reads or close
    #[arg(long, value_name = "WHAT", value_parser = given::without_primary, hide_short_help = true)]
    pub without_primary: Option<WithoutPrimary>,
}

impl RuleFlags {
    pub fn rules(&self) -> Rules {
        Rules {
            lease_ms: self.lease,
            approval_ms: self.approval,
            contact_lost_ms: self.missing_after,
            resync_bytes_per_second: self.resync,
            without_primary: self.without_primary,
        }
    }
}

impl SizingFlags {
    /// What flags say wins over what `below` says. `None`: nobody says anything. Fails when the sizes contradict each other.
    pub fn over(&self, below: Sizing) -> Result<Option<Sizing>, String> {
        let given = Sizing {
            volume_bytes: self.volume_size,
            changed_bytes: self.changed,
            link_bytes_per_second: self.link,
            disk_bytes_per_second: self.disk,
            rtt_ns: self.rtt,
        };
        let sizing = given.over(below);
        match (sizing.volume_bytes, sizing.changed_bytes) {
            (Some(0), _) => Err("a volume of no bytes cannot be rehearsed".into()),
            (Some(volume), Some(changed)) if changed > volume => {
                Err(format!("{changed} bytes cannot change on a volume of {volume} bytes"))
            }
            _ => Ok((sizing != Sizing::default()).then_some(sizing)),
        }
    }
}

/// Empty in every build that is shipped.
#[derive(Clone, Debug, Default, Args)]
pub struct Plant {
    /// Known bugs in every replica, to see what a drill makes of them: names with commas between them
    #[cfg(feature = "planted-bugs")]
    #[arg(long, value_name = "BUG,…", value_delimiter = ',')]
    pub plant: Vec<String>,
}

impl Plant {
    #[cfg(feature = "planted-bugs")]
    pub fn bugs(&self) -> Result<Bugs, CliError> {
        let known = || mainstay_simulator::Bug::ALL.iter().map(|bug| bug.name()).collect::<Vec<_>>().join(", ");
        let unknown = |name: &String| CliError::Usage(format!("--plant {name}: no such bug; there are {}", known()));
        self.plant.iter().map(|name| mainstay_simulator::Bug::named(name).ok_or_else(|| unknown(name))).collect()
    }

    #[cfg(not(feature = "planted-bugs"))]
    pub fn bugs(&self) -> Result<Bugs, CliError> {
        Ok(Bugs::NONE)
    }
}

#[derive(Debug, Args)]
pub struct Run {
    /// A scenario's id or name, as `drill list` shows them, `all`, or a file that ends in .scenario
    pub name: String,
    /// Cluster description (TOML) with sizes and rates; flags win over it
    #[arg(long, value_name = "FILE")]
    pub spec: Option<PathBuf>,
    /// First seed; alone, the only one [default: 0]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// How many seeds of each scenario [default: 3, or 1 with --seed]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=SEEDS_MAX))]
    pub seeds: Option<u64>,
    /// Runs at a time [default: one per core]
    #[arg(long, value_name = "N")]
    pub jobs: Option<usize>,
    /// Keep report.html and journal.json in this directory
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// End a run at its first violation, instead of going on to see what comes of it
    #[arg(long)]
    pub stop_at_first: bool,
    /// When every property held, record on the cluster of --config that this drill passed for this volume: policy `guarded` can ask for
    /// that. Only of the cluster as it is, so with no settings but its own
    #[arg(long, value_name = "VOLUME", conflicts_with = "spec")]
    pub record: Option<String>,
    #[command(flatten)]
    pub sizing: SizingFlags,
    #[command(flatten)]
    pub rules: RuleFlags,
    #[command(flatten)]
    pub plant: Plant,
}

#[derive(Debug, Args)]
pub struct Fuzz {
    /// How many seeds
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=SEEDS_MAX), conflicts_with = "time")]
    pub seeds: Option<u64>,
    /// For how long, such as 10m [default: 1m, unless --seeds is given]
    #[arg(long = "for", id = "time", value_name = "TIME", value_parser = units::time)]
    pub time: Option<u64>,
    /// First seed
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Runs at a time [default: one per core]
    #[arg(long, value_name = "N")]
    pub jobs: Option<usize>,
    /// Where the schedule of a violated run is kept
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub out: PathBuf,
    #[command(flatten)]
    pub plant: Plant,
}

#[derive(Debug, Args)]
pub struct Replay {
    /// A seed, or a file that `fuzz` or `minimise` wrote
    #[arg(value_name = "SEED|FILE")]
    pub what: String,
    /// The scenario that the seed is for
    #[arg(long, value_name = "NAME", default_value = super::library::RANDOM)]
    pub scenario: String,
    /// Walk through it in the terminal
    #[arg(long)]
    pub step: bool,
    /// Also every message and every client operation
    #[arg(long)]
    pub full: bool,
    /// Go on after a violation until the faults end, as `drill run` does
    #[arg(long, conflicts_with = "step")]
    pub keep_going: bool,
    #[command(flatten)]
    pub sizing: SizingFlags,
    #[command(flatten)]
    pub rules: RuleFlags,
    #[command(flatten)]
    pub plant: Plant,
}

#[derive(Debug, Args)]
pub struct Minimise {
    /// What `fuzz` wrote
    pub file: PathBuf,
    /// Where the smaller one goes [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub sizing: SizingFlags,
    #[command(flatten)]
    pub rules: RuleFlags,
    #[command(flatten)]
    pub plant: Plant,
}

#[derive(Debug, Args)]
pub struct FromEvents {
    /// What `mainstay events -o json` printed; `-` reads standard input
    pub file: PathBuf,
    /// Only events after this number
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub after: u64,
    /// Only events up to this number
    #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
    pub until: u64,
    /// Number of the volume, when the log tells of several [default: the one with most events]
    #[arg(long, value_name = "N")]
    pub volume: Option<u32>,
    /// Where the scenario goes; with --run also report.html and journal.json, beside it [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Also run it
    #[arg(long)]
    pub run: bool,
    /// With --run: cluster description (TOML) with sizes, rates and settings; flags win over it
    #[arg(long, value_name = "FILE", requires = "run")]
    pub spec: Option<PathBuf>,
    /// With --run: first seed
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// With --run: how many seeds
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=SEEDS_MAX))]
    pub seeds: u64,
    #[command(flatten)]
    pub sizing: SizingFlags,
    #[command(flatten)]
    pub rules: RuleFlags,
}

#[derive(Debug, Args)]
pub struct WhatIf {
    /// "maintenance NODE TIME", "stop NODE [TIME]", "crash NODE [TIME]", "cut NODE NODE [TIME]", "promote NODE"
    #[arg(required = true, num_args = 1.., value_name = "STEP")]
    pub step: Vec<String>,
    /// The volume [default: the one that depends most on the node]
    #[arg(long, value_name = "NAME")]
    pub volume: Option<String>,
    /// Instead of asking the cluster: what `mainstay status -o json` printed
    #[arg(long, value_name = "FILE")]
    pub status: Option<PathBuf>,
    /// Cluster description (TOML) with sizes, rates and settings; flags win over it
    #[arg(long, value_name = "FILE")]
    pub spec: Option<PathBuf>,
    /// What clients change, such as 2MB/s [default: the primary's average since it started]
    #[arg(long, value_name = "RATE", value_parser = units::rate)]
    pub change_rate: Option<u64>,
    /// How long a person takes to approve a promotion
    #[arg(long, value_name = "TIME", value_parser = units::time, default_value = "5m")]
    pub approve_after: u64,
    /// First seed
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// How many seeds
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub seeds: u64,
    /// Keep what-if.scenario, report.html and journal.json in this directory
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub sizing: SizingFlags,
    #[command(flatten)]
    pub rules: RuleFlags,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_spec_and_contradictions_are_refused() {
        let spec = Sizing { volume_bytes: Some(100), changed_bytes: Some(50), ..Sizing::default() };
        let flags = SizingFlags { volume_size: Some(40), ..SizingFlags::default() };
        assert_eq!(flags.over(spec), Err("50 bytes cannot change on a volume of 40 bytes".into()));
        let flags = SizingFlags { changed: Some(7), ..SizingFlags::default() };
        assert_eq!(flags.over(spec).unwrap().map(|sizing| sizing.changed_bytes), Some(Some(7)));
        assert_eq!(SizingFlags::default().over(Sizing::default()), Ok(None));
    }
}
