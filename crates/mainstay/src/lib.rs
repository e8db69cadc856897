//! The command line, and what the demo and the tests need to run a cluster of real processes.

pub mod bench;
pub mod cli;
pub mod demo;
pub mod drill;
pub mod launch;
pub mod names;
pub mod nfs_client;
pub mod plan;
