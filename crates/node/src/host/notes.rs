//! What a replica has to say, as lines for people. ERROR means that somebody must look.

use mainstay_replica::Note;
use tracing::{error, info, warn};

pub(super) fn log(volume: &str, note: &Note) {
    match note {
        Note::Role { epoch, role } => info!(volume, %epoch, role, "role"),
        Note::LeaseLost { epoch } => warn!(volume, %epoch, "lost the lease: nothing is served until it is back"),
        Note::LeaseHeld { epoch } => info!(volume, %epoch, "holds the lease"),
        Note::Fenced { by, promised } => warn!(volume, %by, %promised, "fenced: a newer epoch is promised"),
        Note::RefusedOld { from, epoch } => warn!(volume, %from, %epoch, "refused a message of an older epoch"),
        Note::PeerLost { node, silent_ms } => warn!(volume, peer = %node, silent_ms, "peer is silent"),
        Note::PeerStalled { node, stalled_ms } => {
            warn!(volume, peer = %node, stalled_ms, "peer is heard, but confirms nothing: its disk or the way to it is stuck")
        }
        Note::PeerInStep { node, position } => info!(volume, peer = %node, %position, "peer is in step"),
        Note::RolledBack { to, records, quarantine } => {
            warn!(volume, %to, records, quarantine, "rolled back records that the cluster does not have; they are kept in quarantine")
        }
        Note::Superseded { records, quarantine } => {
            let quarantine = quarantine.as_deref().unwrap_or("none");
            error!(volume, records, quarantine, "the cluster went another way: this copy must be set aside and made again")
        }
        Note::ResyncByChange { since } => info!(volume, %since, "resync by change begins"),
        Note::ResyncDone { position, bytes } => info!(volume, %position, bytes, "resync done"),
        Note::BadPeer { from, reason } => error!(volume, %from, reason, "a peer sent what it must not"),
        Note::VolumeFailed { reason } => error!(volume, reason, "this copy failed and serves nothing more"),
        Note::Damage { position, repaired: true } => {
            warn!(volume, %position, "found a damaged block and repaired it from the peer")
        }
        Note::Damage { position, repaired: false } => error!(volume, %position, "found a damaged block that no peer could repair"),
        Note::ProposeRefused { reason } => warn!(volume, reason, "the cluster refused a proposal of this node"),
    }
}
