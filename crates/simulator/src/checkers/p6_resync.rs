//! P6: resync moves no more than what changed. Counted where the bytes are: on the wire.

use mainstay_protocol::peer::Envelope;
use mainstay_protocol::{FileRequest, NodeId, PeerMessage};
use std::collections::BTreeMap;

/// What was under way when a node died or was cut off is sent again: a batch of a resync, or some records.
const AGAIN_BYTES: u64 = 1_500_000;
/// Record of a change without data.
const RECORD_BYTES: u64 = 1024;

/// Payload bytes sent to one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Records.
    pub stream: u64,
    /// Resync by change.
    pub changes: u64,
}

#[derive(Default)]
pub struct Resync {
    moved: BTreeMap<NodeId, Moved>,
    /// Boots of each node.
    boots: BTreeMap<NodeId, u64>,
    /// Bytes that clients asked to be written, every identity once.
    changed: u64,
}

impl Resync {
    pub fn asked(&mut self, request: &FileRequest) {
        self.changed += match request {
            FileRequest::Write { data, .. } => RECORD_BYTES + data.len() as u64,
            request if request.changes() => RECORD_BYTES,
            _ => 0,
        };
    }

    pub fn booted(&mut self, node: NodeId) {
        *self.boots.entry(node).or_default() += 1;
    }

    pub fn sent(&mut self, to: NodeId, envelope: &Envelope) {
        let bytes = envelope.payload_len() as u64;
        match envelope.message {
            PeerMessage::Append { .. } => self.moved.entry(to).or_default().stream += bytes,
            PeerMessage::Changes { .. } => self.moved.entry(to).or_default().changes += bytes,
            _ => {}
        }
    }

    pub fn moved(&self, to: NodeId) -> Moved {
        self.moved.get(&to).copied().unwrap_or_default()
    }

    /// Everything that ever moved to `node` is what changed, once, and what each interruption cost.
    pub fn check(&self, node: NodeId) -> Result<(), String> {
        let (moved, boots) = (self.moved(node), self.boots.get(&node).copied().unwrap_or(0));
        let allowed = self.changed + boots * AGAIN_BYTES;
        if moved.stream + moved.changes <= allowed {
            return Ok(());
        }
        Err(format!("{moved:?} bytes moved to {node}; {} changed, and it booted {boots} times", self.changed))
    }
}
