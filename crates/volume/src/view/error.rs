//! What can be wrong with a view.

use mainstay_protocol::{ClusterId, Position, VolumeId};

/// Why the view refuses. After any of these but [`ViewError::Resync`] the volume stops: what it holds in memory cannot be
/// trusted to match its file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    #[error("there is nothing in it")]
    Missing,
    #[error("it holds a view already")]
    Exists,
    #[error("it belongs to cluster {found}, this node to {expected}")]
    OtherCluster { found: ClusterId, expected: ClusterId },
    #[error("it belongs to volume {found}, not to {expected}")]
    OtherVolume { found: VolumeId, expected: VolumeId },
    #[error("it has format version {found}, this program knows {known}: upgrade the program")]
    NewerFormat { found: u32, known: u32 },
    /// The file's bytes are not what was written: only a copy from the other replica helps.
    #[error("it is damaged ({0})")]
    Damaged(String),
    #[error("there is no space left on the disk to make it")]
    NoRoom,
    #[error("{0}")]
    Storage(String),
    #[error("record {found} was applied after {last}")]
    Order { last: Position, found: Position },
    #[error("record {position} cannot be right: {what}")]
    Malformed { position: Position, what: &'static str },
    /// The peer's part of a resync makes no sense here; the resync is begun again.
    #[error("resync: {0}")]
    Resync(String),
}

impl ViewError {
    pub(crate) fn damaged(what: impl ToString) -> ViewError {
        ViewError::Damaged(what.to_string())
    }
}

/// redb's errors, told apart only as far as a person must act differently.
fn from_redb(error: redb::Error) -> ViewError {
    match error {
        redb::Error::Corrupted(what) => ViewError::Damaged(what),
        // What [`super::checked`] says of a page that is not what was written.
        redb::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => ViewError::Damaged(error.to_string()),
        redb::Error::TableDoesNotExist(name) => ViewError::Damaged(format!("table {name} is missing")),
        other => ViewError::Storage(other.to_string()),
    }
}

impl From<std::io::Error> for ViewError {
    fn from(error: std::io::Error) -> ViewError {
        from_redb(redb::Error::Io(error))
    }
}

macro_rules! from {
    ($($error:ident),*) => {
        $(impl From<redb::$error> for ViewError {
            fn from(error: redb::$error) -> ViewError {
                from_redb(error.into())
            }
        })*
    };
}
from!(StorageError, TableError, TransactionError, CommitError, DatabaseError, SetDurabilityError);
