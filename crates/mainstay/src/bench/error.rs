//! Why a benchmark ends early: one clear line each.

use super::operation::Operation;
use crate::nfs_client::{CallError, ConnectError, TargetError};
use mainstay_protocol::FileError;
use std::io::{self, ErrorKind};

#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error("{0}")]
    Target(#[from] TargetError),
    #[error("{0:?} is neither an NFS address (nfs://HOST[:PORT]/EXPORT) nor a directory")]
    NeitherKind(String),
    #[error("{0}")]
    Arguments(String),
    #[error("{0}")]
    Connect(#[from] ConnectError),
    #[error("{target}: {doing}: {source}{}", call_hint(.source))]
    Call { target: String, doing: String, source: CallError },
    #[error("{path}: {source}{}", io_hint(.source))]
    Io { path: String, source: io::Error },
    /// The server lied: its speed means nothing.
    #[error("{target}: WRONG DATA: {what}")]
    WrongData { target: String, what: String },
    /// The write verifier changed between WRITE and COMMIT (RFC 1813 section 4.8).
    #[error("{target}: the server restarted and lost writes while {} ran", .operation.title())]
    LostWrites { target: String, operation: Operation },
    #[error("{target}: transfers of {need} bytes are measured, the server takes at most {most} at once")]
    SmallTransfers { target: String, need: usize, most: u32 },
    #[error("interrupted")]
    Interrupted,
    #[error("the result cannot be written: {0}")]
    Output(io::Error),
}

impl BenchError {
    /// COMPAT.md: 1 error, 2 a property is violated, 64 usage.
    pub fn exit_code(&self) -> u8 {
        match self {
            BenchError::Target(_) | BenchError::NeitherKind(_) | BenchError::Arguments(_) => 64,
            BenchError::WrongData { .. } => 2,
            _ => 1,
        }
    }
}

fn call_hint(error: &CallError) -> &'static str {
    match error.refusal() {
        Some(FileError::NoSpace) => " (up to 2 GiB are used at once; --ops N uses less)",
        Some(FileError::AccessDenied | FileError::NotOwner) => {
            " (who asks can be chosen: nfs://…?uid=N&gid=N; root may be squashed)"
        }
        _ => "",
    }
}

fn io_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => " (up to 2 GiB are used at once; --ops N uses less)",
        _ => "",
    }
}
