//! The scenario library, by the names of SCENARIOS.md: files, and what is easier said in code. Seeds vary the schedule, the story
//! stays.

mod hunt_members;
mod hunts;
mod library;
mod random_mix;

use crate::scenario::Scenario;
use crate::script;
use std::sync::OnceLock;

/// All of them, the files first.
pub fn all() -> &'static [Scenario] {
    static ALL: OnceLock<Vec<Scenario>> = OnceLock::new();
    ALL.get_or_init(|| {
        let parsed = |(file, text): &(&str, &str)| match script::parse(file, text) {
            Ok(script) => Scenario::from(script),
            Err(error) => unreachable!("a scenario of the library is wrong: {error}"),
        };
        let written = library::FILES.iter().chain(library::HUNTS).map(parsed);
        written.chain(hunts::all()).chain(hunt_members::all()).chain([random_mix::random_mix()]).collect()
    })
}

/// By full name, by id (`S20`) or by the name after it; `the-incident:witness-blip` is one variant.
pub fn named(name: &str) -> Option<Scenario> {
    named_in(all(), name)
}

/// The same among some scenarios, such as those of a directory.
pub fn named_in(scenarios: &[Scenario], name: &str) -> Option<Scenario> {
    let (name, variant) = name.split_once(':').map_or((name, None), |(name, variant)| (name, Some(variant)));
    let scenario = scenarios.iter().find(|scenario| scenario.is_called(name))?;
    match variant {
        Some(variant) => scenario.with_variant(variant),
        None => Some(scenario.clone()),
    }
}
