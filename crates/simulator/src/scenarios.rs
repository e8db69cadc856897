//! The scenario library, by the names of SCENARIOS.md. Seeds vary the schedule, the story stays.

mod hunts;
mod links;
mod maintenance;
mod nodes;
mod random_mix;
mod roles;

use crate::scenario::Scenario;

pub use hunts::{BACKLOG, HANGING_DISK, UNHEARD_MEMBER};
pub use links::{ISOLATED_PRIMARY, ONE_WAY, PEER_LINK_CUT};
pub use maintenance::{SLOW_BUT_MOVING, SYNC_INTERRUPTED, THE_INCIDENT};
pub use nodes::{LYING_FSYNC, PAUSE, TORN_LOG};
pub use random_mix::RANDOM_MIX;
pub use roles::{DIVERGED, SEE_SAW, ZOMBIE_PRIMARY};

/// All of them.
pub const ALL: &[Scenario] = &[
    THE_INCIDENT,
    SEE_SAW,
    ZOMBIE_PRIMARY,
    PEER_LINK_CUT,
    ISOLATED_PRIMARY,
    ONE_WAY,
    PAUSE,
    SLOW_BUT_MOVING,
    SYNC_INTERRUPTED,
    LYING_FSYNC,
    TORN_LOG,
    DIVERGED,
    UNHEARD_MEMBER,
    BACKLOG,
    HANGING_DISK,
    RANDOM_MIX,
];

/// By full name or by id (`S20`).
pub fn named(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name || scenario.name.split(' ').next() == Some(name))
}
