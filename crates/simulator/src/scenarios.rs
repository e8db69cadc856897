//! The scenario library, by the names of SCENARIOS.md. Seeds vary the schedule, the story stays.

mod random_mix;

use crate::scenario::Scenario;

pub use random_mix::RANDOM_MIX;

/// All of them.
pub const ALL: &[Scenario] = &[RANDOM_MIX];

pub fn named(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name || scenario.name.split(' ').next() == Some(name))
}
