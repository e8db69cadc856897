//! `mainstay drill`: rehearsals in the simulator, which runs the same core as the daemon. A scenario, an audit log and the live
//! cluster's state are ways to make a plan; everything after the plan is shared.

pub mod args;
mod fork;
mod from_events;
mod fuzz;
mod given;
mod html;
mod journal;
mod library;
mod one;
mod out;
mod pool;
pub mod preflight;
mod progress;
mod record;
mod replay;
mod report;
mod run;
mod spec;
mod step;
mod table;
pub mod units;
mod what_if;

#[cfg(test)]
mod tests;

use crate::cli::args::Format;
use crate::cli::{CliError, exit, output};
use args::Drill;
use std::path::Path;

/// As shells report an interrupt.
const INTERRUPTED: u8 = 130;

/// Exit code 0 when every property held, 2 when one was violated. `config`: only if it was given on the command line; `admin`:
/// where an admin.toml is otherwise.
///
/// # Errors
/// Bad input, and output that cannot be written.
pub fn main(drill: &Drill, config: Option<&Path>, admin: &Path, format: Format) -> Result<u8, CliError> {
    let page = matches!(drill, Drill::Run(_) | Drill::Replay(_)) || matches!(drill, Drill::FromEvents(args) if args.run);
    if format == Format::Html && !page {
        return Err(CliError::Usage("-o html: only `drill run`, `drill replay` and `drill from-events --run` make a page".into()));
    }
    match drill {
        Drill::List => list(format),
        Drill::Run(args) => run::run(args, config, format),
        Drill::Fuzz(args) => fuzz::fuzz(args, format),
        Drill::Replay(args) => replay::replay(args, format),
        Drill::Minimise(args) => replay::minimise(args),
        Drill::FromEvents(args) => from_events::from_events(args, config, format),
        Drill::WhatIf(args) => what_if::what_if(args, admin, format),
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
