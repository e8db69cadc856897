//! Identities and positions.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($int:ty), $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $int);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

number!(
    /// A node of the cluster, given out once at join and never reused.
    NodeId(u16), "n");
number!(
    /// A volume, given out once and never reused.
    VolumeId(u32), "v");
number!(
    /// One reign of one primary of one volume. Zero is "never had a primary". Never reused (R1).
    Epoch(u64), "e");
number!(
    /// A record's place in the volume's log: 1, 2, 3, … without gaps. Zero is the empty log.
    Position(u64), "p");
number!(
    /// One boot of a node: rises at every boot, also after its disk was lost.
    Incarnation(u64), "i");
number!(
    /// A proposal, unique in the cluster's life.
    ProposalId(u64), "#");

impl Position {
    pub const fn next(self) -> Position {
        Position(self.0 + 1)
    }
}
impl Epoch {
    pub const fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }
}

/// The cluster's identity, made at `init` from entropy.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClusterId(#[serde(with = "hex_bytes")] pub [u8; 16]);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}
impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A file for ever: `inode` is the position of the record that made it, `generation` that record's epoch. A position can be
/// taken again after a divergent tail is rolled back, but then under a higher epoch, so the pair is never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FileId {
    pub inode: u64,
    pub generation: u64,
}

impl FileId {
    /// The root directory of every volume, made by the format record at position 1 in epoch 1.
    pub const ROOT: FileId = FileId { inode: 1, generation: 1 };
}

/// Running hash of the whole history up to a record (xxh3-128 of the previous chain and the record's own header fields).
/// Two logs with the same chain at the same position hold the same records. It guards against accident, not forgery: peers
/// are authenticated.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Chain(#[serde(with = "hex_number")] pub u128);

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A point in a volume's history. Equal points mean equal histories up to there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LogPoint {
    /// Epoch of the record at `position` (zero for the empty log).
    pub epoch: Epoch,
    pub position: Position,
    pub chain: Chain,
}

impl fmt::Display for LogPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.epoch, self.position)
    }
}

/// 128 bits as 32 hexadecimal digits in formats for people (JSON numbers end at 64 bits), as they are in all others.
mod hex_number {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub fn serialize<S: Serializer>(value: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(&format_args!("{value:032x}"))
        } else {
            value.serialize(serializer)
        }
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
        if deserializer.is_human_readable() {
            u128::from_str_radix(&String::deserialize(deserializer)?, 16).map_err(D::Error::custom)
        } else {
            u128::deserialize(deserializer)
        }
    }
}

/// As [`hex_number`], for 16 bytes.
mod hex_bytes {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(value: &[u8; 16], serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            super::hex_number::serialize(&u128::from_be_bytes(*value), serializer)
        } else {
            value.serialize(serializer)
        }
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 16], D::Error> {
        if deserializer.is_human_readable() {
            super::hex_number::deserialize(deserializer).map(u128::to_be_bytes)
        } else {
            <[u8; 16]>::deserialize(deserializer)
        }
    }
}
