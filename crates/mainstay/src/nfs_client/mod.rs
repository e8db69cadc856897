//! A blocking NFSv3 client over TCP for any server: the codec is `mainstay_nfs::client`, this adds sockets, time and retries.
//!
//! One [`Client`] belongs to one thread and keeps any number of calls in flight: [`Client::submit`] and [`Client::complete`] for
//! many at once, typed methods ([`Client::read`], [`Client::rename`], …) for one at a time. It behaves as the Linux client does on
//! a mount that is not `soft`: after a broken connection it connects again and sends every unanswered call with the *same*
//! transaction number, so that the server's duplicate request cache can answer the first result; NFS3ERR_JUKEBOX is asked again
//! later under a new number; a call is given up only when its own deadline has passed.
//!
//! Architecture invariant: no thread, no background work. Nothing is sent or received outside of a method call.

mod calls;
mod connection;
mod driver;
mod error;
mod mount;
mod target;
mod typed;

#[cfg(test)]
pub mod fake_server;
#[cfg(test)]
mod tests;

pub use driver::{Client, Completion, Stats, Ticket};
pub use error::{CallError, ConnectError};
pub use mainstay_nfs::client::{Answer, Handle, Request};
pub use target::{Target, TargetError};
pub use typed::{Data, Written};

use mainstay_nfs::rpc::Credential;
use std::time::Duration;

/// How a client behaves. The defaults suit a client on a local network that shall survive a failover.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where MOUNT is served; the NFS port when not said (Mainstay serves both on one).
    pub mount_port: Option<u16>,
    pub credential: Credential,
    /// TCP connections that the calls are spread over (`nconnect` of the Linux client).
    pub connections: usize,
    /// One attempt to connect, and the whole of MOUNT.
    pub connect_timeout: Duration,
    /// From submitting a call until it is given up, all retries included.
    pub call_timeout: Duration,
    /// A connection that owes answers and has said nothing for so long is given up, and its calls are sent over a new one.
    pub silence: Duration,
    /// Between an answer "try later" (NFS3ERR_JUKEBOX) and the next try. Linux waits 5 s, which would hide a takeover's real time.
    pub jukebox_delay: Duration,
    /// Longest pause between two attempts to connect; the first follows at once.
    pub reconnect_delay_max: Duration,
    /// Come from a port below 1024, which servers with the option `secure` ask for. Needs root.
    pub reserved_port: bool,
    /// First transaction number; drawn at random when not said. Must differ from run to run on one address, or the server may
    /// take a new call for a repeated one.
    pub first_xid: Option<u32>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            mount_port: None,
            credential: own_credential(),
            connections: 1,
            connect_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_secs(60),
            silence: Duration::from_secs(10),
            jukebox_delay: Duration::from_millis(100),
            reconnect_delay_max: Duration::from_millis(500),
            reserved_port: false,
            first_xid: None,
        }
    }
}

/// This process's user and group.
fn own_credential() -> Credential {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    Credential::Sys { uid, gid, groups: Vec::new() }
}
