//! Bytes for the raft log and its snapshots: one version byte, then postcard.

use crate::command::Command;
use crate::limits::{COMMAND_BYTES_MAX, STATE_BYTES_MAX};
use crate::state::ClusterState;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Versions of the encodings. Raised when a change is not an appended variant: commands in old logs are read for ever.
/// 2: evidence says how copies fare, and of forced quorums. 3: time that has passed in words and expiries. 4: and in approvals; who answers
/// when a maintenance ends; versions of programs, clocks; whose wish to switch a machine off is over.
pub const COMMAND_VERSION: u8 = 4;
/// 2: policies, holds and changes. 3: forced quorums. 4: how copies fare. 5: machines that are switched off by hand.
/// 6: how far copies know the log to be committed; versions of programs, clocks, nodes that were set back.
pub const STATE_VERSION: u8 = 6;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("empty where a {0} is expected")]
    Empty(&'static str),
    #[error("{what} is of format {found}, this program knows {known}: use the program that wrote it, or upgrade this one")]
    Version { what: &'static str, found: u8, known: u8 },
    #[error("{what} of {bytes} bytes is over the bound of {max}")]
    Length { what: &'static str, bytes: usize, max: usize },
    #[error("{0} cannot be decoded")]
    Damaged(&'static str),
    #[error("{0} contradicts itself: {1}")]
    Invariant(&'static str, String),
}

fn encode<T: Serialize>(version: u8, value: &T) -> Vec<u8> {
    postcard::to_extend(value, vec![version]).expect("plain data always encodes")
}

fn decode<T: DeserializeOwned>(what: &'static str, known: u8, bytes: &[u8], max: usize) -> Result<T, DecodeError> {
    if bytes.len() > max {
        return Err(DecodeError::Length { what, bytes: bytes.len(), max });
    }
    match bytes.split_first() {
        None => Err(DecodeError::Empty(what)),
        Some((version, rest)) if *version == known => match postcard::take_from_bytes(rest) {
            Ok((value, [])) => Ok(value),
            _ => Err(DecodeError::Damaged(what)),
        },
        Some((&found, _)) => Err(DecodeError::Version { what, found, known }),
    }
}

impl Command {
    pub fn encode(&self) -> Vec<u8> {
        encode(COMMAND_VERSION, self)
    }
    pub fn decode(bytes: &[u8]) -> Result<Command, DecodeError> {
        decode("command", COMMAND_VERSION, bytes, COMMAND_BYTES_MAX)
    }
}

impl ClusterState {
    pub fn encode(&self) -> Vec<u8> {
        encode(STATE_VERSION, self)
    }
    /// Also follows the audit chain and checks what must always hold.
    pub fn decode(bytes: &[u8]) -> Result<ClusterState, DecodeError> {
        let state: ClusterState = decode("cluster state", STATE_VERSION, bytes, STATE_BYTES_MAX)?;
        state.validate().map_err(|why| DecodeError::Invariant("cluster state", why))?;
        Ok(state)
    }
}
