//! One node's whole brain for one volume: the copy, replication, resync, the lease, and its part in promotions, as one
//! `step(now, event)` and one `poll` for the effects. The daemon and the simulator run exactly this.
//!
//! Architecture invariant: no clock, thread, socket, randomness or hash map is used here. Two replicas with the same inputs
//! give the same effects.
//!
//! Architecture invariant: the only way to serve writes is `Replica::follow_view` seeing a grant to this node in this
//! incarnation (R3). No timer, error or recovery leads there.

mod contacts;
mod core;
mod drain;
mod event;
mod fencing;
mod gate;
mod lease;
mod members;
mod presence;
mod primary;
mod repair;
mod replica;
mod secondary;
mod source;
mod stream;
mod waiting;

pub use event::{
    Effect, Event, FenceOrder, FenceResult, Note, PeerStatus, ProposeResult, ResyncStatus, ServeMode, Settings, Status,
    StoredPromise,
};
pub use primary::{APPEND_BYTES_MAX, HELD_MAX, WAITING_MAX};
pub use replica::Replica;
pub use stream::WINDOW_BYTES_MAX;
