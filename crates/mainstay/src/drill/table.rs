//! The report for a terminal.

use super::library::Card;
use super::report::{Drill, Report};
use super::units;
use crate::cli::output::{Style, bytes, table};

pub fn list(cards: &[Card]) -> String {
    let row = |card: &Card| vec![card.id.clone(), card.name.clone(), card.properties.join(" "), card.rules.join(" ")];
    let rows: Vec<Vec<String>> = cards.iter().map(row).collect();
    let table = table(&["ID", "NAME", "PROPERTIES", "RULES"], &rows, "");
    let mut lines = table.lines();
    let mut text = format!("{}\n", lines.next().unwrap_or_default());
    for (line, card) in lines.zip(cards) {
        text += &format!("{line}\n      {}\n", card.sentence());
    }
    text
}

pub fn render(report: &Report, style: Style) -> String {
    let mut text = match report.drills.as_slice() {
        [one] => single(one, style),
        many => several(many, style),
    };
    for note in &report.meta.notes {
        text += &format!("note: {note}\n");
    }
    for drill in &report.drills {
        if let Some(unchecked) = &drill.unchecked {
            text += &format!("{} does not check yet: {unchecked}\n", drill.title());
        }
    }
    if report.meta.status == "interrupted" {
        text += "interrupted: this is what had been run by then\n";
    }
    text
}

fn seeds(drill: &Drill) -> String {
    match (drill.seeds.first(), drill.seeds.last()) {
        (Some(first), Some(last)) if first.seed != last.seed => format!("seeds {}–{}", first.seed, last.seed),
        (Some(only), _) => format!("seed {}", only.seed),
        _ => "no seed".into(),
    }
}

fn word(held: bool, style: Style) -> String {
    if held { style.good("held") } else { style.alarm("VIOLATED") }
}

fn single(drill: &Drill, style: Style) -> String {
    let mut text = format!("{}   {}   {}\n", style.bold(&drill.title()), seeds(drill), word(drill.held(), style));
    text += &format!("{}\n\n", drill.story);
    let verdict = |held: bool| if held { "held" } else { "VIOLATED" };
    let rows: Vec<Vec<String>> =
        drill.verdicts.iter().map(|one| vec![one.property.clone(), verdict(one.held).into(), one.meaning.clone()]).collect();
    text += &table(&["PROPERTY", "VERDICT", "MEANING"], &rows, "");
    text += "\n";
    let rows: Vec<Vec<String>> = drill.figures().into_iter().map(|(name, value)| vec![name.into(), value]).collect();
    text += &table(&["NUMBER", "WORST OF ALL SEEDS"], &rows, "");
    text += "\n";
    text += &explanation(drill, style);
    text += &format!("see it again:  {}\n", drill.replay);
    text
}

/// Why a verdict is bad; nothing when none is.
pub fn explanation(drill: &Drill, style: Style) -> String {
    let mut text = String::new();
    for verdict in drill.broken() {
        for finding in &verdict.findings {
            let when = units::show_time(finding.at_ns);
            let name =
                finding.rule.as_ref().map_or_else(|| verdict.property.clone(), |rule| format!("{} ({rule})", verdict.property));
            let again = if finding.times > 1 { format!(" ({} times)", finding.times) } else { String::new() };
            text += &format!(
                "{} {when} into seed {}: {}{again}\n",
                style.alarm(&format!("{name} is violated")),
                finding.seed,
                finding.text
            );
        }
    }
    let broken = drill.broken_rules();
    if !broken.is_empty() {
        text += &format!("rules that were broken: {} (docs/SAFETY.md)\n", style.alarm(&broken.join(", ")));
    } else if !text.is_empty() && !drill.rules.is_empty() {
        text += &format!("rules that this drill is about: {} (docs/SAFETY.md)\n", drill.rules.join(", "));
    }
    text
}

fn several(drills: &[Drill], style: Style) -> String {
    let row = |drill: &Drill| {
        let numbers = &drill.numbers;
        vec![
            drill.id.clone(),
            drill.name.clone(),
            if drill.held() { "held".into() } else { "VIOLATED".into() },
            units::show_outage(numbers),
            units::show_time(numbers.without_redundancy_ns),
            bytes(numbers.bytes_moved),
            if numbers.in_sync_after_ns > 0 { units::show_time(numbers.in_sync_after_ns) } else { "-".into() },
            numbers.role_changes.to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = drills.iter().map(row).collect();
    let head = ["ID", "NAME", "VERDICT", "OUTAGE", "NOT REDUNDANT", "MOVED", "IN SYNC AFTER", "ROLE CHANGES"];
    let mut text = table(&head, &rows, "");
    text += "\n";
    for drill in drills.iter().filter(|drill| !drill.held()) {
        text += &format!("{}\n{}see it again:  {}\n\n", style.bold(&drill.title()), explanation(drill, style), drill.replay);
    }
    let (runs, bad) =
        (drills.iter().map(|drill| drill.seeds.len()).sum::<usize>(), drills.iter().filter(|drill| !drill.held()).count());
    let verdict = if bad == 0 { style.good("every property held") } else { style.alarm(&format!("{bad} scenarios are violated")) };
    text + &format!("{} scenarios, {runs} runs: {verdict}\n", drills.len())
}
