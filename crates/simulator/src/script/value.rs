//! Numbers with units, and how they are drawn.

use crate::rng::Rng;

/// What a number means; its base unit in brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// [ns]
    Time,
    /// [parts per million]
    Share,
    /// [percent]
    Percent,
    Bytes,
    /// [bytes per second]
    Rate,
    /// Has no unit.
    Count,
}

impl Unit {
    /// Suffixes with what they are worth, the greatest first. Printing uses the first that fits.
    fn suffixes(self) -> &'static [(&'static str, i64)] {
        match self {
            Unit::Time => &[
                ("h", 3_600_000_000_000),
                ("min", 60_000_000_000),
                ("s", 1_000_000_000),
                ("ms", 1_000_000),
                ("us", 1_000),
                ("ns", 1),
            ],
            Unit::Share => &[("%", 10_000), ("ppm", 1)],
            Unit::Percent => &[("%", 1)],
            Unit::Bytes => &[
                ("PiB", 1 << 50),
                ("PB", 1_000_000_000_000_000),
                ("TiB", 1 << 40),
                ("TB", 1_000_000_000_000),
                ("GiB", 1 << 30),
                ("GB", 1_000_000_000),
                ("MiB", 1 << 20),
                ("MB", 1_000_000),
                ("KiB", 1 << 10),
                ("kB", 1_000),
                ("B", 1),
            ],
            Unit::Rate => &[
                ("GB/s", 1_000_000_000),
                ("Gbit/s", 125_000_000),
                ("MiB/s", 1 << 20),
                ("MB/s", 1_000_000),
                ("Mbit/s", 125_000),
                ("KiB/s", 1 << 10),
                ("kB/s", 1_000),
                ("kbit/s", 125),
                ("B/s", 1),
            ],
            Unit::Count => &[("", 1)],
        }
    }

    fn names(self) -> String {
        self.suffixes().iter().map(|(suffix, _)| *suffix).collect::<Vec<_>>().join(", ")
    }

    /// The number of base units, or what is wrong.
    pub fn parse(self, text: &str) -> Result<i64, String> {
        let digits = text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
        let (number, suffix) = text.split_at(digits);
        let worth = self.suffixes().iter().find(|(known, _)| *known == suffix).map(|(_, worth)| *worth);
        let Some(worth) = worth else { return Err(self.wrong_suffix(suffix)) };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        exact(whole, fraction, worth).ok_or_else(|| format!("`{text}` is too large or too fine"))
    }

    fn wrong_suffix(self, suffix: &str) -> String {
        match (self, suffix) {
            (Unit::Count, _) => format!("a number without a unit was expected, not `{suffix}`"),
            (_, "") => format!("a unit is missing: one of {}", self.names()),
            _ => format!("`{suffix}` is not a unit here: one of {}", self.names()),
        }
    }

    /// As it would be written: exactly.
    pub fn print(self, value: u64) -> String {
        let fits = |(_, worth): &&(&str, i64)| value.is_multiple_of(*worth as u64);
        let exact = self.suffixes().iter().find(fits).expect("the last one always fits");
        let decimal = [("s", 1_000_000_000), ("ms", 1_000_000)].into_iter().find(|(_, worth)| value >= *worth);
        match (self, decimal) {
            (_, _) if value == 0 => format!("0{}", self.suffixes()[self.zero()].0),
            // 4.2s reads better than 4200ms, and 90s is nobody's 1.5min.
            (Unit::Time, Some((suffix, worth))) if value < 60_000_000_000 || exact.1 <= 1_000_000_000 => {
                let fraction = format!("{:09}", (value % worth) * (1_000_000_000 / worth));
                let fraction = fraction.trim_end_matches('0');
                let dot = if fraction.is_empty() { "" } else { "." };
                format!("{}{dot}{fraction}{suffix}", value / worth)
            }
            _ => format!("{}{}", value / exact.1 as u64, exact.0),
        }
    }

    /// Index of the suffix of nothing.
    fn zero(self) -> usize {
        match self {
            Unit::Time => 2,
            Unit::Share => 0,
            _ => self.suffixes().len() - 1,
        }
    }
}

/// `whole.fraction × worth`, if that is a whole number in range.
fn exact(whole: &str, fraction: &str, worth: i64) -> Option<i64> {
    let scale = 10i128.checked_pow(fraction.len() as u32)?;
    let whole: i128 = whole.parse().ok()?;
    let part: i128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let scaled = whole.checked_mul(scale)?.checked_add(part)?.checked_mul(worth as i128)?;
    (scaled % scale == 0).then(|| i64::try_from(scaled / scale).ok()).flatten()
}

/// One alternative of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub low: i64,
    pub high: i64,
    /// Size classes are even, see [`Rng::log_range`].
    pub log: bool,
}

/// A number that the seed decides: `2s`, `1s..3s`, `10ms..3s log`, `1 | 2 | 5..9`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draw(pub Vec<Span>);

impl Draw {
    pub fn low(&self) -> i64 {
        self.0.iter().map(|span| span.low).min().unwrap_or(0)
    }

    /// What is certain takes no chance from the seed.
    pub fn draw(&self, rng: &mut Rng) -> i64 {
        let span = match self.0.as_slice() {
            [only] => *only,
            several => *rng.pick(several),
        };
        let width = (span.high - span.low) as u64;
        match span {
            _ if width == 0 => span.low,
            Span { log: true, .. } => rng.log_range(span.low as u64, span.high as u64) as i64,
            _ => span.low + rng.range(0, width) as i64,
        }
    }
}
