//! Why a client has no connection, or a call no answer. Each is one clear line for a person.

use mainstay_nfs::client::MountError;
use mainstay_nfs::rpc::ReplyError;
use mainstay_protocol::FileError;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("{host}: no such host: {source}")]
    Resolve { host: String, source: io::Error },
    #[error("{address} cannot be reached for {what}: {source}")]
    Unreachable { address: SocketAddr, what: &'static str, source: io::Error },
    #[error("{address} does not serve {what}: {error}{}", port_hint(.what))]
    NotServed { address: SocketAddr, what: &'static str, error: ReplyError },
    #[error("{address} answers {what} with something else")]
    Garbled { address: SocketAddr, what: &'static str },
    #[error("the portmapper of {address} knows no {what} version 3 over TCP")]
    NotRegistered { address: SocketAddr, what: &'static str },
    #[error("{export} cannot be mounted from {address}: {error}{}", offered_text(.offered))]
    Mount { address: SocketAddr, export: String, error: MountError, offered: Vec<String> },
}

/// The usual reason is that MOUNT is on another port than NFS.
fn port_hint(what: &str) -> &'static str {
    if what == "MOUNT" { " (its port can be given: nfs://HOST:PORT/EXPORT?mountport=N)" } else { "" }
}

fn offered_text(offered: &[String]) -> String {
    if offered.is_empty() { String::new() } else { format!("; it exports {}", offered.join(", ")) }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The server answered, with a refusal.
    #[error("{procedure}: {error}")]
    Refused { procedure: &'static str, error: FileError },
    /// Whether the call was executed is not known.
    #[error("{procedure}: no answer within {} s{}", .after.as_secs_f32(), last_text(.last))]
    TimedOut { procedure: &'static str, after: Duration, last: Option<String> },
    /// The server's RPC layer refused, or the reply cannot be decoded.
    #[error("{procedure}: {error}")]
    Rpc { procedure: &'static str, error: ReplyError },
}

fn last_text(last: &Option<String>) -> String {
    last.as_ref().map(|last| format!(" (last: {last})")).unwrap_or_default()
}

impl CallError {
    /// The server's own word, when there is one.
    pub fn refusal(&self) -> Option<FileError> {
        match self {
            CallError::Refused { error, .. } => Some(*error),
            CallError::TimedOut { .. } | CallError::Rpc { .. } => None,
        }
    }
}
