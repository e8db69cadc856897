//! Every rule R1–R15 is cited by code, by a test and by docs/SAFETY.md, so that none is only a promise.

use crate::source::File;
use crate::{Problems, files_below};
use std::path::Path;

const RULES: usize = 15;

pub fn check(root: &Path, files: &[File], problems: &mut Problems) {
    let safety = std::fs::read_to_string(root.join("docs/SAFETY.md")).unwrap_or_default();
    let transcripts: String = files_below(&root.join("crates/cluster/tests"), ".txt")
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .collect();
    for number in 1..=RULES {
        let rule = format!("R{number}");
        let in_code = files.iter().any(|file| !file.path.starts_with("xtask") && cites(file.shipped(), &rule));
        let tested = |file: &File| cites(file.text.strip_prefix(file.shipped()).unwrap_or(&file.text), &rule);
        if !in_code {
            problems.add(format!("{rule}: no code cites it"));
        }
        if !cites(&transcripts, &rule) && !files.iter().any(tested) {
            problems.add(format!("{rule}: no test cites it"));
        }
        if !cites(&safety, &rule) {
            problems.add(format!("{rule}: not in docs/SAFETY.md"));
        }
    }
}

/// The rule's id as a word of its own: `R1` is not cited by `R12`.
fn cites(text: &str, rule: &str) -> bool {
    text.match_indices(rule).any(|(at, _)| {
        let after = text[at + rule.len()..].chars().next();
        let before = text[..at].chars().next_back();
        !after.is_some_and(|c| c.is_alphanumeric() || c == '_') && !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}
