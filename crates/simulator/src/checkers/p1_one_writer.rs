//! P1: at most one writer per epoch, and no reply, write or read presented as current, from a fenced one.
//!
//! Judged by true time: what the cluster has decided counts from that instant, whether or not any node knows it yet.

use super::{Finding, Grant};
use crate::world::VOLUME;
use mainstay_cluster::{ClusterState, Rule};
use mainstay_protocol::peer::Envelope;
use mainstay_protocol::{Epoch, FileError, FileResult, Incarnation, NodeId, PeerMessage};
use mainstay_replica::ServeMode;
use std::collections::BTreeMap;

#[derive(Default)]
pub struct OneWriter {
    granted: BTreeMap<Epoch, (NodeId, Incarnation)>,
    /// Epochs up to here were skipped when a quorum was forced.
    skipped: Epoch,
}

impl OneWriter {
    pub fn granted(&mut self, grant: &Grant) -> Option<Finding> {
        let writer = (grant.node, grant.incarnation);
        let newest = self.newest().max(self.skipped);
        let found =
            (grant.after.epoch != newest.next()).then(|| (Rule::R1, format!("{} was granted after {newest}", grant.after.epoch)));
        self.granted.insert(grant.after.epoch, writer);
        found
    }

    fn newest(&self) -> Epoch {
        self.granted.last_key_value().map_or(Epoch(0), |(epoch, _)| *epoch)
    }

    /// Whatever the lost nodes granted each other unseen must lie below.
    pub fn forced(&mut self, epoch: Epoch) -> Option<Finding> {
        self.skipped = epoch;
        let newest = self.newest();
        (epoch <= newest).then(|| (Rule::R1, format!("a quorum was forced at {epoch}, and {newest} was granted already")))
    }

    /// Records of an epoch come from the one process that it was granted to.
    pub fn sent(&self, envelope: &Envelope) -> Option<Finding> {
        let PeerMessage::Append { epoch, count: 1.., .. } = envelope.message else { return None };
        let writer = (envelope.from, envelope.incarnation);
        match self.granted.get(&epoch) {
            Some(granted) if *granted == writer => None,
            granted => {
                let holder = granted.map_or("nobody".into(), |holder| boot(*holder));
                Some((Rule::R1, format!("{} writes in {epoch}, which was granted to {holder}", boot(writer))))
            }
        }
    }

    pub fn replied(
        &self,
        from: (NodeId, Incarnation),
        mode: ServeMode,
        result: &FileResult,
        decided: &ClusterState,
    ) -> Option<Finding> {
        let refused = matches!(result, Err(failure) if failure.error == FileError::TryLater);
        let volume = &decided.volumes[&VOLUME];
        let name = boot(from);
        match mode {
            _ if refused => None,
            ServeMode::ReadWrite if volume.reigns(from.0, from.1) => None,
            // Its lease must have run out before the epoch that is not its own was granted.
            ServeMode::ReadWrite => {
                let holder = volume.reign.map_or("nobody".into(), |reign| boot((reign.node, reign.incarnation)));
                Some((Rule::R13, format!("{name} answers as the primary, but {} belongs to {holder}", volume.epoch)))
            }
            // Marked as read without a primary: old, but only while there is none.
            ServeMode::ReadOnly => None,
            ServeMode::Closed => Some((Rule::R13, format!("{name} answers although it has released the address"))),
        }
    }
}

fn boot((node, incarnation): (NodeId, Incarnation)) -> String {
    format!("{node} in boot {incarnation}")
}
