//! The daemon: the only crate with an async runtime for serving. Sockets, disks, threads, timers; it performs effects.
//!
//! Architecture invariant: nothing here decides a role or what a request does. An `if` about roles belongs into `replica` or
//! `cluster`.

pub mod admin;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod directory;
pub mod event_log;
pub mod forced;
pub mod founding;
pub mod hex;
pub mod hooks;
pub mod host;
pub mod logging;
mod members;
pub mod metrics;
mod outlet;
pub mod peers;
pub mod pki;
pub mod recover;
pub mod serve;
pub mod shell;
pub mod systemd;
pub mod tls;
mod wire;

#[cfg(test)]
mod test_dir;
