//! P1, from its other end: while a node's promise of a lease runs, it takes part in no newer grant (R13). A promise is seen where it
//! is sent, and it binds the node, not the process: a restart does not end it.

use super::Finding;
use crate::queue::{MILLISECOND, Time};
use crate::world::VOLUME;
use mainstay_cluster::{ClusterState, Command, Rule};
use mainstay_protocol::peer::Envelope;
use mainstay_protocol::{Epoch, NodeId, PeerMessage};
use std::collections::BTreeMap;

/// When each node last promised the lease of an epoch.
#[derive(Default)]
pub struct Leases {
    promised: BTreeMap<NodeId, (Epoch, Time)>,
}

impl Leases {
    pub fn sent(&mut self, now: Time, envelope: &Envelope) {
        if let PeerMessage::LeasePromise { epoch, .. } = envelope.message {
            self.promised.insert(envelope.from, (epoch, now));
        }
    }

    /// "The old epoch is over for me": not before the time that was promised, unless the old primary gave up by itself. Two clocks
    /// may run apart by the margin, and this judge has neither of them.
    pub fn asked(&self, now: Time, command: &Command, decided: &ClusterState) -> Option<Finding> {
        let Command::Lapsed { node, promised, .. } = command else { return None };
        let (epoch, at) = self.promised.get(node).filter(|(epoch, _)| epoch < promised)?;
        let fenced = decided.volumes.get(&VOLUME).is_some_and(|volume| volume.fenced || volume.epoch >= *promised);
        let lease_ms = decided.settings.lease_ms;
        let elapsed_ms = (now - at) / MILLISECOND;
        (!fenced && elapsed_ms < lease_ms).then(|| {
            let name = decided.node_name(*node);
            let text = format!(
                "{name} gave its word for {promised} {elapsed_ms} ms after it had promised the primary of {epoch} a lease of {lease_ms} ms"
            );
            (Rule::R13, text)
        })
    }
}
