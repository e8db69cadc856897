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
pub mod network;
pub mod nfs_client;
pub mod queue;
pub mod rng;
pub mod run;
pub mod scenario;
pub mod scenarios;
pub mod trace;
pub mod workload;
pub mod world;

pub use mainstay_replica::Bug;
pub use run::{Options, Outcome, drive, run};
pub use scenario::{Plan, Scenario};
pub use trace::Trace;
pub use world::{Stats, Violation, World};

/// Whether this build can plant bugs: the feature `planted-bugs`, which nothing that is shipped switches on.
pub const CAN_PLANT_BUGS: bool = cfg!(feature = "planted-bugs");

/// Every bug that can be planted.
pub const BUGS: [Bug; 6] = [
    Bug::AckBeforeSync,
    Bug::SkipInSyncShrink,
    Bug::IgnoreEpochOnReceive,
    Bug::KeepVerifierAfterLoss,
    Bug::ForgetDuplicateCache,
    Bug::CheckpointPastCommit,
];
