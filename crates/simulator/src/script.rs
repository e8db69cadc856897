//! Scenario files: what happens in a run, as text that people read and write (docs/SCENARIO-FORMAT.md).
//!
//! A file becomes a [`Script`] ([`parse`]); a script and the chance of a seed give a [`Plan`](crate::Plan) ([`Script::plan`]); and
//! a plan becomes a file again, with exact times ([`print()`]), which gives that very plan whatever the seed is.
//!
//! Architecture invariant: chance comes only from the `Rng` that `plan` is given, and it is drawn in the order of the text.

mod arguments;
mod ast;
mod draw;
mod error;
mod files;
mod forms;
mod lex;
mod parse;
mod pattern;
mod print;
mod settings;
mod statements;
#[cfg(test)]
mod tests;
mod value;

pub use ast::Script;
pub use error::Error;
pub use files::{load_dir, load_file};
pub use parse::parse;
pub use print::{action_text, letter, print, print_as};

/// Every action that a file can name, as its pattern: words, and what stands in their gaps in capitals.
pub fn action_patterns() -> impl Iterator<Item = &'static str> {
    forms::ACTIONS.iter().map(|form| form.pattern)
}

/// Every setting and, after the word `expect`, every demand.
pub fn setting_patterns() -> impl Iterator<Item = &'static str> {
    settings::SETTINGS.iter().chain(settings::DEMANDS).map(|form| form.pattern)
}
