//! Every rule R1–R15 is more than a promise: code cites it, a refusal carries it, a transcript shows that refusal, a scenario rehearses it,
//! a drill is known to come through it (coverage mark), and docs/SAFETY.md has its row.

use crate::source::File;
use crate::{Problems, files_below};
use std::path::Path;

const RULES: usize = 15;

/// A mark belongs to a rule that is cited so many lines above it at most.
const MARK_LINES_MAX: usize = 40;

/// What speaks for a rule.
struct Sources<'a> {
    files: &'a [File],
    safety: String,
    transcripts: String,
    scenarios: Vec<String>,
    /// Which refusal carries which rule, and those that no drill comes through.
    refusals: Vec<(String, String)>,
    not_drilled: String,
}

pub fn check(root: &Path, files: &[File], problems: &mut Problems) {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
    let all = |dir: &str, ending: &str| -> Vec<String> {
        files_below(&root.join(dir), ending).iter().filter_map(|path| std::fs::read_to_string(path).ok()).collect()
    };
    let sources = Sources {
        files,
        safety: read("docs/SAFETY.md"),
        transcripts: all("crates/cluster/tests", ".txt").concat(),
        scenarios: all("crates/simulator/scenarios", ".scenario"),
        refusals: refusals(&read("crates/cluster/src/refusal.rs")),
        not_drilled: between(&read("crates/simulator/tests/coverage_marks.rs"), "NOBODY_SAYS: &[&str] = &[", "];").to_string(),
    };
    for number in 1..=RULES {
        let rule = format!("R{number}");
        sources.lacks(&rule).into_iter().for_each(|lack| problems.add(format!("{rule}: {lack}")));
    }
}

impl Sources<'_> {
    fn lacks(&self, rule: &str) -> Vec<&'static str> {
        let own: Vec<&str> = self.refusals.iter().filter(|(_, of)| of == rule).map(|(name, _)| name.as_str()).collect();
        let drilled = own.iter().any(|name| !self.not_drilled.contains(&format!("\"{name}\""))) || self.marked(rule);
        let code = self.files.iter().any(|file| !file.path.starts_with("xtask") && cites(file.shipped(), rule));
        let rehearsed = self.scenarios.iter().any(|text| text.lines().any(|line| line.starts_with("rules ") && cites(line, rule)));
        let held = [
            (code, "no code cites it"),
            (!own.is_empty(), "no refusal carries it (RefusalKind::rule)"),
            (self.transcripts.contains(&format!("refused by {rule}:")), "no transcript shows a refusal by it"),
            (rehearsed, "no scenario rehearses it (its line `rules`)"),
            (drilled, "no coverage mark proves that a drill comes through it"),
            (self.safety.contains(&format!("| {rule} |")), "it has no row in docs/SAFETY.md"),
        ];
        held.into_iter().filter(|(holds, _)| !holds).map(|(_, lack)| lack).collect()
    }

    /// Some refusals only a broken node would see; then what the replica does about the rule carries the mark.
    fn marked(&self, rule: &str) -> bool {
        let replica = self.files.iter().filter(|file| file.path.starts_with("crates/replica/src"));
        replica.map(File::shipped).any(|text| {
            let lines: Vec<&str> = text.lines().collect();
            let near = |at: usize| lines[at..lines.len().min(at + MARK_LINES_MAX)].iter().any(|line| line.contains("mark("));
            (0..lines.len()).any(|at| cites(lines[at], rule) && near(at))
        })
    }
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    let rest = text.split_once(begin).map_or("", |(_, rest)| rest);
    rest.split_once(end).map_or(rest, |(inside, _)| inside)
}

/// From the arms of `RefusalKind::rule`: `A { .. } | B(_) => Rule::R1,`.
fn refusals(source: &str) -> Vec<(String, String)> {
    let arms = between(source, "pub fn rule(&self) -> Rule {", "\n    }\n");
    let mut found = Vec::new();
    for arm in arms.split(',').filter(|arm| arm.contains("=> Rule::")) {
        let Some((names, rule)) = arm.split_once("=> Rule::") else { continue };
        let words = names.split('|').filter_map(|name| name.split(|c: char| !c.is_alphanumeric()).rfind(|word| is_variant(word)));
        found.extend(words.map(|name| (name.to_string(), rule.trim().to_string())));
    }
    found
}

fn is_variant(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_uppercase())
}

/// The rule's id as a word of its own: `R1` is not cited by `R12`.
fn cites(text: &str, rule: &str) -> bool {
    text.match_indices(rule).any(|(at, _)| {
        let after = text[at + rule.len()..].chars().next();
        let before = text[..at].chars().next_back();
        !after.is_some_and(|c| c.is_alphanumeric() || c == '_') && !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}
