//! P6: resync moves no more than what changed. Counted where the bytes are: on the wire.

use mainstay_protocol::peer::Envelope;
use mainstay_protocol::{NodeId, PeerMessage};
use std::collections::BTreeMap;

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
}

impl Resync {
    pub fn sent(&mut self, _from: NodeId, to: NodeId, envelope: &Envelope) {
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
}
