//! Many replicas and clients on a fake clock, network and disk, from one seed; checkers; the scenario library.
//!
//! ```no_run
//! let scenario = mainstay_simulator::scenarios::named("random_mix").expect("it is in the library");
//! let outcome = mainstay_simulator::run(7, &scenario, Default::default());
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
pub mod planted;
pub mod queue;
pub mod rng;
pub mod run;
pub mod scenario;
pub mod scenarios;
pub mod script;
pub mod sizing;
pub mod timeline;
pub mod trace;
pub mod units;
pub mod workload;
pub mod world;

pub use mainstay_protocol::planted::{AVAILABLE as CAN_PLANT_BUGS, Bug, Bugs};
pub use minimise::{Minimised, minimise};
pub use numbers::Numbers;
pub use run::{Options, Outcome, drive, plan, run, run_plan};
pub use scenario::{Plan, Scenario, Source};
pub use script::Script;
pub use sizing::Sizing;
pub use timeline::Timeline;
pub use trace::Trace;
pub use world::{Stats, Violation, World};
