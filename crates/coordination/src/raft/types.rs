//! openraft's type parameters, named once. Nothing outside `raft` sees them.

use mainstay_cluster::{Command, Refusal};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

openraft::declare_raft_types!(
    /// Everything that openraft can be parametrized with, as this crate uses it.
    pub Types:
        D = Decision,
        R = Outcome,
        NodeId = u64,
        // Addresses are in the cluster state and known to the transport, not to Raft.
        Node = openraft::EmptyNode,
        AsyncRuntime = openraft_rt_tokio::TokioRuntime,
);

pub type LogId = openraft::type_config::alias::LogIdOf<Types>;
pub type Vote = openraft::type_config::alias::VoteOf<Types>;
pub type Entry = openraft::type_config::alias::EntryOf<Types>;
pub type StoredMembership = openraft::type_config::alias::StoredMembershipOf<Types>;
pub type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<Types>;

/// A command in Raft's log, in the cluster's own versioned encoding, so that a node which does not know a newer command stops
/// at it instead of reading it as something else.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision(pub Command);

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl Serialize for Decision {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0.encode())
    }
}

impl<'de> Deserialize<'de> for Decision {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Decision, D::Error> {
        let bytes = <&[u8]>::deserialize(deserializer)?;
        Command::decode(bytes).map(Decision).map_err(D::Error::custom)
    }
}

/// What applying one entry gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Version of the cluster state afterwards.
    pub version: u64,
    pub refused: Option<Refusal>,
}
