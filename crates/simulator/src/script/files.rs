//! Scenarios that users keep in files of their own.

use super::error::{Error, Fault};
use super::parse::{FILE_BYTES_MAX, parse};
use crate::scenario::Scenario;
use std::io::Read;
use std::path::Path;

/// Most files of one directory.
const FILES_MAX: usize = 1_000;

fn whole(path: &Path, message: String) -> Error {
    Fault::new((0, 0), message).in_file(&path.display().to_string(), "")
}

/// One scenario from a file.
///
/// # Errors
/// It cannot be read, or the first mistake in it.
pub fn load_file(path: &Path) -> Result<Scenario, Error> {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes));
    read.map_err(|error| whole(path, format!("cannot be read: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|_| whole(path, "is not text (UTF-8)".into()))?;
    parse(&path.display().to_string(), &text).map(Scenario::from)
}

/// Every `*.scenario` of a directory, by file name.
///
/// # Errors
/// All files' mistakes, one for each; also two files with one name, and a directory that cannot be read.
pub fn load_dir(path: &Path) -> Result<Vec<Scenario>, Vec<Error>> {
    let entries = std::fs::read_dir(path).map_err(|error| vec![whole(path, format!("cannot be read: {error}"))])?;
    let mut files: Vec<_> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "scenario")).collect();
    files.sort();
    if files.len() > FILES_MAX {
        return Err(vec![whole(path, format!("holds {} scenarios; at most {FILES_MAX} are read", files.len()))]);
    }
    let (mut found, mut errors) = (Vec::<Scenario>::new(), Vec::new());
    for file in &files {
        match load_file(file) {
            Ok(scenario) if found.iter().any(|known| known.name == scenario.name) => {
                errors.push(whole(file, format!("there is a scenario `{}` already", scenario.name)))
            }
            Ok(scenario) => found.push(scenario),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(found) } else { Err(errors) }
}
