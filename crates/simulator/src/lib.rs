//! Many replicas and clients on a fake clock, network and disk, from one seed; checkers; the scenario library.
//!
//! ```no_run
//! let outcome = mainstay_simulator::run(7, &mainstay_simulator::scenarios::RANDOM_MIX, Default::default());
//! assert!(outcome.violations.is_empty(), "{}", outcome.report());
//! ```
//!
//! Everything above raw I/O is the code that the daemon runs: `Replica`, `Volume` with `perform`, `ClusterState::apply`. Fakes
//! are the clock, the network, the disk, and coordination's model; the shell around them ([`world`]) only carries effects.
//!
//! Architecture invariant: a run uses one thread and no other source of chance than its seed; the same seed gives the same
//! trace hash, for ever, until the code under test changes.

pub mod checkers;
pub mod clock;
pub mod disk;
pub mod files;
pub mod minimise;
pub mod network;
pub mod nfs_client;
pub mod numbers;
pub mod queue;
pub mod rng;
pub mod run;
pub mod scenario;
pub mod scenarios;
pub mod sizing;
pub mod timeline;
pub mod trace;
pub mod workload;
pub mod world;

pub use mainstay_replica::Bug;
pub use minimise::{Minimised, minimise};
pub use numbers::Numbers;
pub use run::{Options, Outcome, plan, run, run_plan};
pub use scenario::{Plan, Scenario};
pub use sizing::Sizing;
pub use timeline::Timeline;
pub use trace::Trace;
pub use world::{Stats, Violation, World};

/// Every bug that can be planted.
pub const BUGS: [Bug; 6] = [
    Bug::AckBeforeSync,
    Bug::SkipInSyncShrink,
    Bug::IgnoreEpochOnReceive,
    Bug::KeepVerifierAfterLoss,
    Bug::ForgetDuplicateCache,
    Bug::CheckpointPastCommit,
];
