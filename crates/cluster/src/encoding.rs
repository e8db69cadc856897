//! Bytes for the raft log and its snapshots: one version byte, then postcard.

use crate::command::Command;
use crate::limits::{COMMAND_BYTES_MAX, STATE_BYTES_MAX};
use crate::state::ClusterState;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Version of both encodings. Raised when a change is not an appended variant.
pub const ENCODING_VERSION: u8 = 1;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("empty where a {0} is expected")]
    Empty(&'static str),
    #[error("{what} is of format {found}, this program knows {ENCODING_VERSION}: upgrade it")]
    Version { what: &'static str, found: u8 },
    #[error("{what} of {bytes} bytes is over the bound of {max}")]
    Length { what: &'static str, bytes: usize, max: usize },
    #[error("{0} cannot be decoded")]
    Damaged(&'static str),
    #[error("{0} contradicts itself: {1}")]
    Invariant(&'static str, String),
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_extend(value, vec![ENCODING_VERSION]).expect("plain data always encodes")
}

fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8], max: usize) -> Result<T, DecodeError> {
    if bytes.len() > max {
        return Err(DecodeError::Length { what, bytes: bytes.len(), max });
    }
    match bytes.split_first() {
        None => Err(DecodeError::Empty(what)),
        Some((&ENCODING_VERSION, rest)) => match postcard::take_from_bytes(rest) {
            Ok((value, [])) => Ok(value),
            _ => Err(DecodeError::Damaged(what)),
        },
        Some((&found, _)) => Err(DecodeError::Version { what, found }),
    }
}

impl Command {
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }
    pub fn decode(bytes: &[u8]) -> Result<Command, DecodeError> {
        decode("command", bytes, COMMAND_BYTES_MAX)
    }
}

impl ClusterState {
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }
    /// Also follows the audit chain and checks what must always hold.
    pub fn decode(bytes: &[u8]) -> Result<ClusterState, DecodeError> {
        let state: ClusterState = decode("cluster state", bytes, STATE_BYTES_MAX)?;
        state.validate().map_err(|why| DecodeError::Invariant("cluster state", why))?;
        Ok(state)
    }
}
