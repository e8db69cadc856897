//! `mainstay drill`: rehearsals in the simulator, which runs the same core as the daemon. `from-events` and `what-if` will be
//! further ways to make a plan; everything after the plan is shared.

pub mod args;
mod fuzz;
mod html;
mod journal;
mod library;
mod one;
mod out;
mod pool;
mod progress;
mod replay;
mod report;
mod run;
mod spec;
mod step;
mod table;
mod units;

#[cfg(test)]
mod tests;

use crate::cli::args::Format;
use crate::cli::{CliError, exit, output};
use args::Drill;
use std::path::Path;

/// As shells report an interrupt.
const INTERRUPTED: u8 = 130;

/// Exit code 0 when every property held, 2 when one was violated. `config`: only if it was given on the command line.
///
/// # Errors
/// Bad input, and output that cannot be written.
pub fn main(drill: &Drill, config: Option<&Path>, format: Format) -> Result<u8, CliError> {
    let page = matches!(drill, Drill::Run(_) | Drill::Replay(_));
    if format == Format::Html && !page {
        return Err(CliError::Usage("-o html: only `drill run` and `drill replay` make a page".into()));
    }
    match drill {
        Drill::List => list(format),
        Drill::Run(args) => run::run(args, config, format),
        Drill::Fuzz(args) => fuzz::fuzz(args, format),
        Drill::Replay(args) => replay::replay(args, format),
        Drill::Minimise(args) => replay::minimise(args),
    }
}

fn list(format: Format) -> Result<u8, CliError> {
    output::show(format, &library::all(), |cards| table::list(cards));
    Ok(exit::OK)
}

fn verdict_code(held: bool, interrupted: bool) -> u8 {
    match (held, interrupted) {
        (false, _) => exit::VIOLATED,
        (true, true) => INTERRUPTED,
        (true, false) => exit::OK,
    }
}
