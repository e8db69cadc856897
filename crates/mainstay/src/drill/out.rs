//! Where a report goes, and what it says about its own making.

use super::report::{Meta, Report};
use super::{html, journal, table};
use crate::cli::args::Format;
use crate::cli::{CliError, output};
use mainstay_protocol::Timestamp;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Files of `--out`.
pub const PAGE: &str = "report.html";
pub const JOURNAL: &str = "journal.json";

/// A place that can be written, found out before any work.
pub struct Out {
    directory: Option<PathBuf>,
    format: Format,
}

impl Out {
    /// # Errors
    /// A directory that cannot be made or written, or a page that would go to a terminal.
    pub fn new(directory: Option<&Path>, format: Format) -> Result<Out, CliError> {
        if format == Format::Html && directory.is_none() && std::io::stdout().is_terminal() {
            return Err(CliError::Usage("-o html: a page is no use in a terminal; add --out DIR, or redirect it to a file".into()));
        }
        directory.map_or(Ok(()), writable)?;
        Ok(Out { directory: directory.map(Path::to_owned), format })
    }

    pub fn wants_timelines(&self) -> bool {
        self.format == Format::Html || self.directory.is_some()
    }

    /// # Errors
    /// What the disk says.
    pub fn write(&self, report: &Report) -> Result<(), CliError> {
        if let Some(directory) = &self.directory {
            keep(&directory.join(PAGE), &html::page(report))?;
            keep(&directory.join(JOURNAL), &output::json(&journal::journal(report)))?;
            eprintln!("mainstay: {} and {JOURNAL} are in {}", PAGE, directory.display());
        }
        match (self.format, &self.directory) {
            (Format::Table, _) => output::print(&table::render(report, output::Style::detect())),
            (Format::Json, _) => output::print(&output::json(&journal::journal(report))),
            (Format::Html, None) => output::print(&html::page(report)),
            (Format::Html, Some(directory)) => output::print(&format!("{}\n", directory.join(PAGE).display())),
        }
        Ok(())
    }
}

/// Makes the directory if need be, and tries it with a file of our own.
///
/// # Errors
/// Why nothing can be kept there.
pub fn writable(directory: &Path) -> Result<(), CliError> {
    let failed = |error: std::io::Error| CliError::Failed(format!("--out {}: cannot be written: {error}", directory.display()));
    std::fs::create_dir_all(directory).map_err(failed)?;
    let probe = directory.join(format!(".mainstay-{}", std::process::id()));
    std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe)).map_err(failed)
}

/// # Errors
/// What the disk says.
pub fn keep(path: &Path, text: &str) -> Result<(), CliError> {
    std::fs::write(path, text).map_err(|error| CliError::Failed(format!("{}: {error}", path.display())))
}

/// From the beginning of a command to its end.
pub struct Clock {
    started: String,
    since: Instant,
}

impl Clock {
    pub fn start() -> Clock {
        Clock { started: now(), since: Instant::now() }
    }

    pub fn meta(&self, interrupted: bool) -> Meta {
        Meta {
            status: if interrupted { "interrupted" } else { "completed" },
            command: command(),
            program: format!("mainstay {}", env!("CARGO_PKG_VERSION")),
            started: self.started.clone(),
            ended: now(),
            took_ms: self.since.elapsed().as_millis() as u64,
            ..Meta::default()
        }
    }
}

/// Seconds.
pub fn unix_now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

fn now() -> String {
    rfc3339(Timestamp::new(unix_now(), 0))
}

/// As machines read it; people get it with a space and `UTC`.
fn rfc3339(at: Timestamp) -> String {
    mainstay_cluster::refusal::instant(at).replace(" UTC", "Z").replace(' ', "T")
}

/// What was typed, with the program's name without its directory.
fn command() -> String {
    let quote =
        |word: String| if word.contains([' ', '"', '\'', '$', '*']) { format!("'{}'", word.replace('\'', "'\\''")) } else { word };
    let words = std::env::args_os().skip(1).map(|word| quote(word.to_string_lossy().into_owned()));
    std::iter::once("mainstay".to_string()).chain(words).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(rfc3339(Timestamp::new(1_700_000_000, 0)), "2023-11-14T22:13:20Z");
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_said_before_any_work() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = writable(&file.path().join("below")).unwrap_err().to_string();
        assert!(error.contains("--out") && error.contains("cannot be written"), "{error}");
        let directory = tempfile::tempdir().unwrap();
        writable(&directory.path().join("new/one")).unwrap();
        assert_eq!(std::fs::read_dir(directory.path().join("new/one")).unwrap().count(), 0, "the probe is left behind");
    }
}
