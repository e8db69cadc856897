//! Runs each planted bug until it is found, and prints the table of docs/PLANTED-BUGS.md.
//!
//! ```text
//! cargo run --release -p mainstay-simulator --example planted_table
//! ```

use mainstay_simulator::planted::{SHOWN, Shown};
use mainstay_simulator::{Outcome, Violation, units};

fn main() {
    println!("| bug | what it does | breaks | found by | seeds | what the drill says of it |");
    println!("|---|---|---|---|---|---|");
    let mut missed = 0;
    for shown in SHOWN {
        let found = shown.first();
        missed += u32::from(found.is_none());
        println!("{}", row(shown, found));
    }
    assert_eq!(missed, 0, "bugs that nothing finds");
}

fn row(shown: &Shown, found: Option<Outcome>) -> String {
    let (seeds, said) = match found {
        None => ("none".into(), "nothing".into()),
        Some(outcome) => {
            // Of several that came at once, the one that names the rule.
            let named = |violation: &&Violation| {
                violation.rule.is_some_and(|rule| shown.breaks.split([' ', ',', ':']).any(|word| word == rule.to_string()))
            };
            let first = outcome.violations.iter().find(named).unwrap_or(&outcome.violations[0]);
            // A bar would end the cell.
            let text = first.text.replace('|', "/").lines().collect::<Vec<_>>().join(" ");
            ((outcome.seed + 1).to_string(), format!("{} at {}: {}", first.name(), units::instant(first.at), clipped(&text)))
        }
    };
    let Shown { bug, does, breaks, scenario, .. } = shown;
    format!("| `{}` | {does} | {breaks} | `{scenario}` | {seeds} | {said} |", bug.name())
}

/// Of a sentence that tells the state of everything, its beginning.
fn clipped(text: &str) -> String {
    const MAX: usize = 220;
    if text.chars().count() <= MAX { text.to_string() } else { text.chars().take(MAX).chain(['…']).collect() }
}
