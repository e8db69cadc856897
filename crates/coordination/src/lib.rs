//! Makes cluster decisions agreed and durable.
//!
//! Every backend does the same thing: it puts commands of all nodes into one order and lets every node apply them, through
//! `ClusterState::apply`, in that order. [`raft`] does it with embedded Raft, [`model`] does it inside the simulator. Both pass
//! one conformance suite (`tests/conformance`), so what holds for one may be relied upon with the other.
//!
//! What may be relied upon: accepted commands are seen by every node, in one order, sooner or later. What may not: that a view
//! is fresh, that every state in between is seen, or that a proposal without an answer did not happen.
//!
//! Architecture invariant: nothing here decides anything about roles; Raft's leader is not a volume's primary, and a change of
//! the one never touches the other.

pub mod model;
pub mod raft;

pub use raft::{
    Config, Health, MemberError, OpenError, ProposeError, Raft, ReadError, Remains, Role, StartError, Storage, Timing, Transport,
    TransportError, TransportFuture, found_anew, remains,
};
