//! Many replicas and clients on a fake clock, network and disk, from one seed; checkers; the scenario library.

pub mod clock;
pub mod disk;
pub mod network;
pub mod queue;
pub mod rng;
