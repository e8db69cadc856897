//! P6: resync moves no more than what changed, and goes on where it was. Counted where the bytes are: on the wire.

use mainstay_protocol::peer::{Envelope, ResyncCursor};
use mainstay_protocol::{FileRequest, NodeId, PeerMessage, Position};
use std::collections::BTreeMap;

/// What was under way when a node died or was cut off is sent again: a batch of a resync, or some records.
const AGAIN_BYTES: u64 = 1_500_000;
/// A walk that is under way is made durable about as often. Seconds.
const CHECKPOINT_S: u64 = 1;
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

/// One walk over what changed, with all its interruptions.
#[derive(Clone, Copy, Debug)]
struct Walk {
    /// From the same copy to the same state it is the same walk.
    since: Position,
    base: Position,
    /// How far it has been: inode, and within it.
    reached: (u64, u64),
    /// Boots of the node when it began.
    boots: u64,
    /// Bytes of what had been sent before.
    again: u64,
}

#[derive(Default)]
pub struct Resync {
    moved: BTreeMap<NodeId, Moved>,
    walks: BTreeMap<NodeId, Walk>,
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
            PeerMessage::Changes { ref batch, .. } => {
                self.moved.entry(to).or_default().changes += bytes;
                self.walked(to, &batch.next, bytes);
            }
            _ => {}
        }
    }

    fn walked(&mut self, to: NodeId, next: &ResyncCursor, bytes: u64) {
        let boots = self.boots.get(&to).copied().unwrap_or(0);
        let (since, base, reached) = (next.since, next.base.position, (next.inode, next.within));
        let walk = self.walks.entry(to).or_insert(Walk { since, base, reached: (0, 0), boots, again: 0 });
        if (walk.since, walk.base) != (since, base) {
            *walk = Walk { since, base, reached, boots, again: 0 };
        } else if reached <= walk.reached {
            walk.again += bytes;
        } else {
            walk.reached = reached;
        }
    }

    pub fn moved(&self, to: NodeId) -> Moved {
        self.moved.get(&to).copied().unwrap_or_default()
    }

    /// Everything that ever moved to `node` is what changed, once, and what each interruption cost: what was under way, and, of a walk,
    /// what came after its last checkpoint.
    pub fn check(&self, node: NodeId, bytes_per_second: u64) -> Result<(), String> {
        let (moved, boots) = (self.moved(node), self.boots.get(&node).copied().unwrap_or(0));
        let (all, allowed) = (moved.stream + moved.changes, self.changed + boots * AGAIN_BYTES);
        if all > allowed {
            let changed = self.changed;
            return Err(format!(
                "{all} bytes moved to {node}, but only {changed} changed, and it was interrupted {boots} times at most"
            ));
        }
        match self.walks.get(&node) {
            Some(walk) if walk.again > (boots - walk.boots + 1) * (AGAIN_BYTES + CHECKPOINT_S * bytes_per_second) => {
                let interrupted = boots - walk.boots;
                Err(format!(
                    "{} bytes of the resync of {node} were sent again, for {interrupted} interruptions: it does not resume",
                    walk.again
                ))
            }
            _ => Ok(()),
        }
    }
}
