//! Tables and JSON for standard output; messages go to standard error.

use super::args::Format;
use serde::Serialize;
use std::io::{IsTerminal, Write};

/// Writes to standard output; a reader that went away (`| head`) is no error.
pub fn print(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

pub fn show<T: Serialize>(format: Format, value: &T, table: impl FnOnce(&T) -> String) {
    match format {
        Format::Json => print(&json(value)),
        // Only drills make pages, and they make their own.
        Format::Table | Format::Html => print(&table(value)),
    }
}

pub fn json<T: Serialize>(value: &T) -> String {
    // Plain data with text keys: encoding it cannot fail.
    serde_json::to_string_pretty(value).map_or_else(|error| format!("{{\"error\": \"{error}\"}}\n"), |text| text + "\n")
}

/// Emphasis for a terminal; plain text elsewhere and under NO_COLOR.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    pub colour: bool,
}

impl Style {
    pub fn detect() -> Style {
        Style::of(&std::io::stdout())
    }

    /// For one stream.
    pub fn of(stream: &impl IsTerminal) -> Style {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Style { colour: stream.is_terminal() && !plain }
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.into() }
    }

    pub fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    pub fn alarm(self, text: &str) -> String {
        self.wrap("1;31", text)
    }

    pub fn good(self, text: &str) -> String {
        self.wrap("32", text)
    }
}

/// Columns as wide as their widest cell; cells that are all digits are right-aligned.
pub fn table(head: &[&str], rows: &[Vec<String>], indent: &str) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let numeric = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let columns_right: Vec<bool> = (0..head.len())
        .map(|column| !rows.is_empty() && rows.iter().all(|row| row.get(column).is_some_and(|cell| numeric(cell))))
        .collect();
    let line = |cells: Vec<&str>| {
        let padded = cells
            .iter()
            .zip(&widths)
            .zip(&columns_right)
            .map(|((cell, width), right)| if *right { format!("{cell:>width$}") } else { format!("{cell:<width$}") });
        format!("{indent}{}", padded.collect::<Vec<_>>().join("  ")).trim_end().to_string() + "\n"
    };
    let mut text = line(head.to_vec());
    rows.iter().for_each(|row| text += &line(row.iter().map(String::as_str).collect()));
    text
}

/// Binary units with one digit, for people.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_numbers_are_right() {
        let rows = vec![vec!["a".into(), "7".into()], vec!["long".into(), "1234".into()]];
        assert_eq!(table(&["NODE", "POSITION"], &rows, " "), " NODE  POSITION\n a            7\n long      1234\n");
        assert_eq!(table(&["NODE"], &[], ""), "NODE\n");
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!([0, 1023, 1024, 1_572_864, u64::MAX].map(bytes), ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "16777216.0 TiB"]);
    }
}
