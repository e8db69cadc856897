//! What is wrong with a file, and where.

use std::fmt;

/// One mistake in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// As it was given to the parser.
    pub file: String,
    /// From 1; 0: the file as a whole.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
    /// What is wrong or what was expected instead.
    pub message: String,
    /// What would mend it.
    pub hint: Option<String>,
    /// The line itself.
    pub source: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Error { file, line, column, message, hint, source } = self;
        if *line == 0 {
            write!(f, "{file}: {message}")?;
        } else {
            write!(
                f,
                "{file}:{line}:{column}: {message}\n  {line:>4} | {source}\n       | {:>width$}",
                '^',
                width = *column as usize
            )?;
        }
        match hint {
            Some(hint) => write!(f, "\n       hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// A mistake before its file and its line's text are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub line: u32,
    pub column: u32,
    pub message: String,
    pub hint: Option<String>,
}

impl Fault {
    pub fn new(at: (u32, u32), message: impl Into<String>) -> Fault {
        Fault { line: at.0, column: at.1, message: message.into(), hint: None }
    }

    pub fn hint(self, hint: impl Into<String>) -> Fault {
        Fault { hint: Some(hint.into()), ..self }
    }

    /// There, unless it has a place of its own.
    pub fn or_at(self, at: (u32, u32)) -> Fault {
        if self.line == 0 { Fault { line: at.0, column: at.1, ..self } } else { self }
    }

    pub fn in_file(self, file: &str, text: &str) -> Error {
        let Fault { line, column, message, hint } = self;
        let source = text.lines().nth((line as usize).saturating_sub(1)).unwrap_or_default();
        // A tab would move the mark away from what it points at.
        Error { file: file.into(), line, column, message, hint, source: source.replace('\t', " ") }
    }
}

/// The known word that was probably meant.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let close = known.into_iter().map(|other| (distance(word, other), other));
    close.filter(|(distance, other)| *distance <= 1 + other.len() / 4).min().map(|(_, other)| other)
}

/// Letters to insert, remove or replace; at most as long as the words of this format are.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().take(64).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
