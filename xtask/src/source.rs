//! Rules about the text of the source: what the core must not use, and how large files and functions may grow.

use crate::{Problems, files_below};
use std::path::Path;

/// A source file, with its tests cut off for the checks that concern only shipped code.
pub struct File {
    /// Relative to the root, with `/`.
    pub path: String,
    pub text: String,
}

impl File {
    /// Everything before the test module; files of tests have none.
    pub fn shipped(&self) -> &str {
        if self.is_test() { "" } else { self.text.split("#[cfg(test)]\nmod").next().unwrap_or_default() }
    }
    pub fn is_test(&self) -> bool {
        ["/tests/", "/examples/", "/benches/", "tests.rs", "_test.rs"].iter().any(|part| self.path.contains(part))
    }
    fn in_core(&self) -> bool {
        ["protocol", "cluster", "volume", "replica"].iter().any(|name| self.path.starts_with(&format!("crates/{name}/src")))
    }
}

pub fn load(root: &Path) -> Vec<File> {
    let paths = ["crates", "xtask"].iter().flat_map(|dir| files_below(&root.join(dir), ".rs"));
    let read = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let path = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        File { path, text }
    };
    paths.map(read).collect()
}

/// What would let two runs of one seed differ, with what to use instead.
const BANNED: &[(&str, &str)] = &[
    ("SystemTime", "take a `Now`"),
    ("Instant::now", "take a `Now`"),
    ("thread::", "hand out an effect"),
    ("HashMap", "BTreeMap: its order is the same in every run"),
    ("HashSet", "BTreeSet: its order is the same in every run"),
    ("TcpStream", "the shell owns sockets"),
    ("TcpListener", "the shell owns sockets"),
    ("UdpSocket", "the shell owns sockets"),
    ("std::env", "take a setting"),
    ("tokio", "the core has no async"),
    ("async fn", "the core has no async"),
    ("rand::", "take entropy as input"),
];

/// The one place of the core that is the outside: a real directory.
const OUTSIDE: &[&str] = &["crates/volume/src/file_disk.rs"];

pub fn check_banned(files: &[File], problems: &mut Problems) {
    for file in files.iter().filter(|file| file.in_core() && !OUTSIDE.contains(&file.path.as_str())) {
        for (number, line) in file.shipped().lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for (word, instead) in BANNED.iter().filter(|(word, _)| code.contains(word)) {
                problems.add(format!("{}:{}: `{word}` in the core; {instead}", file.path, number + 1));
            }
        }
    }
    for file in files.iter().filter(|file| !file.path.starts_with("xtask")) {
        for (number, line) in file.text.lines().enumerate() {
            if ["todo!(", "unimplemented!(", "dbg!("].iter().any(|word| line.contains(word)) {
                problems.add(format!("{}:{}: unfinished code", file.path, number + 1));
            }
        }
    }
}

const FILE_LINES_MAX: usize = 1200;
const FUNCTION_LINES_MAX: usize = 70;

pub fn check_sizes(files: &[File], problems: &mut Problems) {
    let mut lengths = Vec::new();
    for file in files {
        let lines = file.text.lines().count();
        if lines > FILE_LINES_MAX {
            problems.add(format!("{}: {lines} lines; split it by responsibility (at most {FILE_LINES_MAX})", file.path));
        }
        for function in functions(file.shipped()) {
            lengths.push(function.lines);
            if function.lines > FUNCTION_LINES_MAX && !function.excused {
                problems.add(format!(
                    "{}:{}: fn {} has {} lines (at most {FUNCTION_LINES_MAX}, or a comment `// long: why` above it)",
                    file.path, function.at, function.name, function.lines
                ));
            }
        }
    }
    lengths.sort_unstable();
    let at = |share: usize| lengths.get(lengths.len() * share / 100).copied().unwrap_or_default();
    println!(
        "tidy: {} functions; lines at the median {}, at 90 % {}, longest {}",
        lengths.len(),
        at(50),
        at(90),
        lengths.last().unwrap_or(&0)
    );
}

struct Function {
    name: String,
    at: usize,
    lines: usize,
    excused: bool,
}

/// Functions by indentation, which rustfmt guarantees: one ends at the closing brace in its own column.
fn functions(text: &str) -> Vec<Function> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indent = line.len() - line.trim_start().len();
        let close = format!("{}}}", " ".repeat(indent));
        let length = match line.trim_end() {
            one if one.ends_with('}') => Some(0),
            // A signature without a body.
            declared if declared.ends_with(';') => None,
            _ => lines[index..].iter().position(|line| *line == close),
        };
        let Some(length) = length else { continue };
        let excused = lines[index.saturating_sub(6)..index].iter().any(|line| line.trim_start().starts_with("// long:"));
        found.push(Function { name, at: index + 1, lines: length + 1, excused });
    }
    found
}

fn function_name(line: &str) -> Option<String> {
    let code = line.trim_start();
    let before = code.find("fn ")?;
    let starts = code[..before]
        .split_whitespace()
        .all(|word| ["pub", "pub(crate)", "pub(super)", "async", "const", "unsafe"].contains(&word));
    let rest = &code[before + 3..];
    let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (starts && !name.is_empty()).then_some(name)
}
