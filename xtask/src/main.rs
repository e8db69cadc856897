//! `cargo xtask tidy`: what the compiler does not check about this tree.

mod crates;
mod rules;
mod source;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("tidy") => tidy(),
        _ => {
            eprintln!("usage: cargo xtask tidy");
            ExitCode::from(64)
        }
    }
}

fn tidy() -> ExitCode {
    // At run time: a build directory may serve several checkouts.
    let here = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").into());
    let root = Path::new(&here).parent().expect("xtask lies in the workspace").to_path_buf();
    let mut problems = Problems::default();
    let files = source::load(&root);
    crates::check(&root, &mut problems);
    source::check_banned(&files, &mut problems);
    source::check_sizes(&files, &mut problems);
    rules::check(&root, &files, &mut problems);
    problems.list.iter().for_each(|problem| eprintln!("tidy: {problem}"));
    println!("tidy: {} files, {} problems", files.len(), problems.list.len());
    if problems.list.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[derive(Default)]
pub struct Problems {
    list: Vec<String>,
}

impl Problems {
    pub fn add(&mut self, problem: impl Into<String>) {
        self.list.push(problem.into());
    }
}

/// Every file below `dir` whose name ends with `ending`, sorted.
pub fn files_below(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return vec![] };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let below = |path: PathBuf| match path.is_dir() {
        true if path.ends_with("target") => vec![],
        true => files_below(&path, ending),
        false if path.to_string_lossy().ends_with(ending) => vec![path],
        false => vec![],
    };
    paths.into_iter().flat_map(below).collect()
}
