//! `drill replay` and `drill minimise`: one run that is known, again.

use super::args;
use super::library::{self, Card};
use super::one::{self, Options, Sizing};
use super::out::{self, Clock, Out};
use super::report::{self, Drill, Report, Setting};
use super::{step, verdict_code};
use crate::cli::args::Format;
use crate::cli::{CliError, exit, output};
use mainstay_simulator::Trace;
use std::path::Path;

/// # Errors
/// Neither a seed nor a file that can be read.
pub fn replay(args: &args::Replay, format: Format) -> Result<u8, CliError> {
    let clock = Clock::start();
    let (card, seed) = what(&args.what, &args.scenario)?;
    let sizing = args.sizing.over(Sizing::default()).map_err(CliError::Usage)?.map(Sizing::whole).transpose()?;
    let setting = Setting { sizing, rules: args.rules.rules(), bugs: args.plant.bugs()?, keep_going: args.keep_going };
    if args.step && format != Format::Table {
        return Err(CliError::Usage("--step is for a terminal; -o does not go with it".into()));
    }
    if args.step {
        return step::walk(&card, seed, setting);
    }
    let out = Out::new(None, format)?;
    let trace = match (format, args.full) {
        (Format::Table, false) => Trace::Brief,
        (Format::Table, true) => Trace::Full,
        // The transcript would stand in the middle of the document.
        _ => Trace::Off,
    };
    let options = Options { trace, timeline: out.wants_timelines(), ..setting.options() };
    let run = one::run(seed, &card.scenario, &setting.rules, options);
    let hash = run.outcome.trace_hash;
    let drill = Drill::of(&card, vec![run], setting);
    let mut meta = clock.meta(false);
    meta.notes = vec![format!("trace hash {hash:016x}: equal for every replay on the same version")];
    meta.sizing = report::sizing_flags(sizing);
    let report = Report { version: report::VERSION, meta, drills: vec![drill] };
    if format == Format::Table {
        output::print("\n");
    }
    out.write(&report)?;
    Ok(verdict_code(report.held(), false))
}

fn what(what: &str, scenario: &str) -> Result<(Card, u64), CliError> {
    match what.parse() {
        Ok(seed) => Ok((library::one(scenario)?, seed)),
        Err(_) => Card::load(Path::new(what)),
    }
}

/// # Errors
/// A file that cannot be read, is none of ours, or whose run violates nothing.
pub fn minimise(args: &args::Minimise) -> Result<u8, CliError> {
    let (card, seed) = Card::load(&args.file)?;
    let sizing = args.sizing.over(Sizing::default()).map_err(CliError::Usage)?.map(Sizing::whole).transpose()?;
    let setting = Setting { sizing, rules: args.rules.rules(), bugs: args.plant.bugs()?, ..Setting::default() };
    let smaller = one::smaller(seed, &card.scenario, setting).ok_or_else(|| {
        CliError::Failed(format!("{}: this run violates nothing, so there is nothing to keep", args.file.display()))
    })?;
    match &args.out {
        Some(path) => out::keep(path, &smaller)?,
        None => output::print(&smaller),
    }
    Ok(exit::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(text: &str) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Card::load(file.path()).err().unwrap().to_string()
    }

    #[test]
    fn what_is_replayed_is_a_seed_or_a_file() {
        assert_eq!(what("17", "S01").unwrap().1, 17);
        let plan = mainstay_simulator::plan(3, &library::one("S01").unwrap().scenario);
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = format!("# seed 9\n{}", mainstay_simulator::script::print(&plan));
        std::fs::write(file.path(), text).unwrap();
        let (loaded, seed) = what(&file.path().to_string_lossy(), "S03").unwrap();
        assert_eq!((mainstay_simulator::plan(seed, &loaded.scenario).script, seed), (plan.script, 9));
        let error = what("-3", "S01").err().unwrap().to_string();
        assert!(error.contains("neither a seed nor a file"), "{error}");
        assert!(what("3", "nothing-like-it").is_err());
    }

    #[test]
    fn a_mistake_in_a_file_is_shown_where_it_is() {
        let error = failure("scenario S01 mine\nsede 4\n");
        assert!(error.contains(":2:1"), "{error}");
        assert!(failure("# seed four\nscenario S01 mine\n").contains("not a whole number"));
    }
}
