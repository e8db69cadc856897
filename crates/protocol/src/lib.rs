//! The nouns that nodes exchange: ids, epochs, positions, file requests, log records, peer messages, and their versioned
//! encoding. No behaviour: nothing here decides a role or touches a disk.
//!
//! Architecture invariant: every length that a peer sends is checked against a bound in [`limits`] before memory is given
//! for it, and no decoder asserts; bad bytes are a typed error.

pub mod file;
pub mod ids;
pub mod limits;
pub mod marks;
pub mod peer;
pub mod planted;
pub mod record;
pub mod time;

pub use file::{
    Attributes, Caller, ClientRequest, FileError, FileFailure, FileKind, FileOk, FileRequest, FileResult, RequestId, Stability,
};
pub use ids::{Chain, ClusterId, Epoch, FileId, Incarnation, LogPoint, NodeId, Position, ProposalId, VolumeId};
pub use peer::PeerMessage;
pub use record::{Change, Extent, InodeRow, OpKind, Record, RecordBody, RecordHeader};
pub use time::{Mono, Now, Timestamp};
