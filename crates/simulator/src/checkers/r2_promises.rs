//! Part of P1: what a node has durably promised to reject, it rejects (R2). Seen from outside: a message of an older epoch arrives,
//! and afterwards the copy is longer.

use mainstay_protocol::{Epoch, LogPoint, PeerMessage};
use mainstay_replica::{Replica, StoredPromise};

/// A message with records of an older epoch than the node's promise, and where the copy ended before it.
#[derive(Clone, Copy, Debug)]
pub struct Stale {
    epoch: Epoch,
    promised: Epoch,
    last: LogPoint,
}

fn last(replica: &Replica) -> Option<LogPoint> {
    replica.volume().map(|volume| volume.last())
}

/// Whether a message must be rejected; looked at before it is handed to the replica.
pub fn before(message: &PeerMessage, promise: StoredPromise, replica: &Replica) -> Option<Stale> {
    match message {
        PeerMessage::Append { epoch, count: 1.., .. } if *epoch < promise.epoch => {
            Some(Stale { epoch: *epoch, promised: promise.epoch, last: last(replica)? })
        }
        _ => None,
    }
}

/// Whether it was rejected.
pub fn after(stale: Stale, replica: &Replica) -> Result<(), String> {
    match last(replica) {
        Some(now) if now.position > stale.last.position => Err(format!(
            "records of {} were taken after {} was promised: the copy grew from {} to {now}",
            stale.epoch, stale.promised, stale.last
        )),
        _ => Ok(()),
    }
}
