//! The scenarios and properties as people see them.

use super::one;
use crate::cli::CliError;
use mainstay_simulator::{Scenario, scenarios};
use serde::Serialize;
use std::path::Path;

/// How the names of scenario files end.
const FILE: &str = ".scenario";

/// What `fuzz` runs, and what a bare seed is for.
pub const RANDOM: &str = "random_mix";

/// One scenario, for lists and reports.
#[derive(Clone, Serialize)]
pub struct Card {
    /// As in SCENARIOS.md; empty for those that have none.
    pub id: String,
    pub name: String,
    /// What happens, in one or a few sentences.
    pub story: String,
    pub properties: Vec<String>,
    pub rules: Vec<String>,
    /// What it does not check yet.
    pub unchecked: Option<String>,
    #[serde(skip)]
    pub scenario: Scenario,
    /// Where it was read from, if it is none of the library.
    #[serde(skip)]
    pub file: Option<String>,
}

impl Card {
    pub fn of(scenario: &Scenario) -> Card {
        let (id, name) = scenario.name.split_once(' ').unwrap_or(("", &scenario.name));
        let always = || ALWAYS.iter().map(|id| id.to_string()).collect();
        Card {
            id: id.into(),
            name: name.into(),
            story: scenario.story.to_string(),
            properties: if scenario.checks.is_empty() { always() } else { scenario.checks.clone() },
            rules: scenario.rules.clone(),
            unchecked: scenario.unchecked.as_deref().map(str::to_string),
            scenario: scenario.clone(),
            file: None,
        }
    }

    /// What a command line can call it by, in one word.
    pub fn handle(&self) -> &str {
        self.file.as_deref().unwrap_or(&self.name)
    }

    /// A scenario of somebody's own; with the seed that its comment names, or zero.
    ///
    /// # Errors
    /// It cannot be read, or the first mistake in it.
    pub fn load(path: &Path) -> Result<(Card, u64), CliError> {
        let (scenario, seed) = one::load(path)?;
        Ok((Card { file: Some(path.display().to_string()), ..Card::of(&scenario) }, seed))
    }

    /// The story's first sentence.
    pub fn sentence(&self) -> &str {
        self.story.find(". ").map_or(self.story.as_str(), |end| &self.story[..=end])
    }

    fn is_called(&self, name: &str) -> bool {
        let full = format!("{} {}", self.id, self.name);
        [&self.id, &self.name, &full].iter().any(|known| !known.is_empty() && known.eq_ignore_ascii_case(name))
    }
}

pub fn all() -> Vec<Card> {
    scenarios::all().iter().map(Card::of).collect()
}

/// By id, name or both, in any case; `all` for the whole library; or a file.
///
/// # Errors
/// A usage error that names what comes near, or what is wrong with the file.
pub fn named(name: &str) -> Result<Vec<Card>, CliError> {
    if name.ends_with(FILE) {
        return Card::load(Path::new(name)).map(|(card, _)| vec![card]);
    }
    let cards = all();
    if name == "all" {
        return Ok(cards);
    }
    let found: Vec<Card> = cards.iter().filter(|card| card.is_called(name)).cloned().collect();
    if found.is_empty() { Err(CliError::Usage(unknown(name, &cards))) } else { Ok(found) }
}

/// Exactly one.
///
/// # Errors
/// As [`named`]; `all` is none.
pub fn one(name: &str) -> Result<Card, CliError> {
    match named(name)?.as_slice() {
        [card] => Ok(card.clone()),
        _ => Err(CliError::Usage(format!("{name}: one scenario is expected here"))),
    }
}

fn unknown(name: &str, cards: &[Card]) -> String {
    const NEAR: usize = 3;
    let wanted = name.to_lowercase();
    let distance = |card: &Card| distance(&wanted, &card.name).min(distance(&wanted, &card.id.to_lowercase()));
    let near: Vec<&str> = cards
        .iter()
        .filter(|card| card.name.contains(&wanted) || wanted.contains(&card.name) || distance(card) <= NEAR.min(wanted.len() / 2))
        .map(Card::handle)
        .take(NEAR)
        .collect();
    match near.as_slice() {
        [] => format!("no scenario is called {name}; `mainstay drill list` shows all"),
        near => format!("no scenario is called {name}; did you mean {}? `mainstay drill list` shows all", near.join(" or ")),
    }
}

/// How many letters must change to make one word the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, other) in b.iter().enumerate() {
            let cost = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// What every run checks, for scenarios that aim at nothing in particular.
const ALWAYS: &[&str] = &["P1", "P2", "P3", "P4", "P6", "P7"];

/// What each property demands, in a few words.
const PROPERTIES: &[(&str, &str)] = &[
    ("P1", "at most one writer, and no answer from a fenced one"),
    ("P2", "no acknowledged write is lost, nothing is read that was never written"),
    ("P3", "only verified copies are promoted"),
    ("P4", "no role change that no person approved"),
    ("P5", "a bounded number of role changes, then none until a person acts"),
    ("P6", "resync goes by progress, resumes, and moves no more than what changed"),
    ("P7", "after the faults everything comes together again: in sync, equal, serving"),
    ("P8", "the right alert within 30 s, and none that is not true"),
    ("P9", "unknown is never treated as healthy"),
];

pub fn property(id: &str) -> &'static str {
    let known = PROPERTIES.iter().find(|(known, _)| *known == id).map(|(_, text)| *text);
    known.unwrap_or(if id == "panic" { "no part of the program stops on its own error" } else { "a rule of docs/SAFETY.md" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_has_several_names_and_a_typo_is_helped() {
        for name in ["S01", "s01", "the-incident", "S01 the-incident", "The-Incident"] {
            assert_eq!(one(name).unwrap().id, "S01", "{name}");
        }
        assert!(named("all").unwrap().len() >= 16);
        let error = |name| named(name).err().unwrap().to_string();
        assert!(error("the-incidnt").contains("did you mean the-incident?"), "{}", error("the-incidnt"));
        assert!(error("incident").contains("did you mean the-incident?"));
        assert_eq!(error("S99x-nothing"), "no scenario is called S99x-nothing; `mainstay drill list` shows all");
        assert!(one("all").is_err());
    }

    #[test]
    fn every_property_has_its_words() {
        for card in all() {
            card.properties.iter().for_each(|id| assert_ne!(property(id), property("nothing"), "{id}"));
        }
    }
}
