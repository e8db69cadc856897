//! P1: at most one writer per epoch, and no reply, write or read presented as current, from a fenced one.
//!
//! Judged by true time: what the cluster has decided counts from that instant, whether or not any node knows it yet.

use super::Grant;
use crate::world::VOLUME;
use mainstay_cluster::ClusterState;
use mainstay_protocol::peer::Envelope;
use mainstay_protocol::{Epoch, FileError, FileResult, Incarnation, NodeId, PeerMessage};
use mainstay_replica::ServeMode;
use std::collections::BTreeMap;

#[derive(Default)]
pub struct OneWriter {
    granted: BTreeMap<Epoch, (NodeId, Incarnation)>,
}

impl OneWriter {
    pub fn granted(&mut self, grant: &Grant) -> Result<(), String> {
        let writer = (grant.node, grant.incarnation);
        let newest = self.granted.last_key_value().map_or(Epoch(0), |(epoch, _)| *epoch);
        if grant.after.epoch != newest.next() {
            return Err(format!("granted {} after {newest}", grant.after.epoch));
        }
        self.granted.insert(grant.after.epoch, writer);
        Ok(())
    }

    /// Records of an epoch come from the one process that it was granted to.
    pub fn sent(&self, envelope: &Envelope) -> Result<(), String> {
        let PeerMessage::Append { epoch, count: 1.., .. } = envelope.message else { return Ok(()) };
        let writer = (envelope.from, envelope.incarnation);
        match self.granted.get(&epoch) {
            Some(granted) if *granted == writer => Ok(()),
            granted => Err(format!("{writer:?} writes in {epoch}, which was granted to {granted:?}")),
        }
    }

    pub fn replied(
        &self,
        from: (NodeId, Incarnation),
        mode: ServeMode,
        result: &FileResult,
        decided: &ClusterState,
    ) -> Result<(), String> {
        let refused = matches!(result, Err(failure) if failure.error == FileError::TryLater);
        let volume = &decided.volumes[&VOLUME];
        match mode {
            _ if refused => Ok(()),
            ServeMode::ReadWrite if volume.reigns(from.0, from.1) => Ok(()),
            ServeMode::ReadWrite => {
                Err(format!("{from:?} answers as the primary, but {} was granted to {:?}", volume.epoch, volume.reign))
            }
            // Marked as read without a primary: old, but only while there is none.
            ServeMode::ReadOnly => Ok(()),
            ServeMode::Closed => Err(format!("{from:?} answers although it has released the address")),
        }
    }
}
