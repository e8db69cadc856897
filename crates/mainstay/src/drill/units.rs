//! Sizes, rates and times as people write them: `4TiB`, `1Gbit`, `200MB/s`, `0.5ms`.

const BYTES: &[(&str, f64)] = &[
    ("B", 1.0),
    ("kB", 1e3),
    ("KB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
    ("TB", 1e12),
    ("PB", 1e15),
    ("KiB", 1024.0),
    ("MiB", 1_048_576.0),
    ("GiB", 1_073_741_824.0),
    ("TiB", 1_099_511_627_776.0),
    ("PiB", 1_125_899_906_842_624.0),
];
/// In bytes.
const BITS: &[(&str, f64)] = &[("bit", 0.125), ("kbit", 125.0), ("Mbit", 125e3), ("Gbit", 125e6), ("Tbit", 125e9)];
const NANOSECONDS: &[(&str, f64)] = &[("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];

/// More than any disk, link or patience that exists; sums of a few such values still fit.
const VALUE_MAX: f64 = (1u64 << 60) as f64;

/// Bytes.
pub fn size(text: &str) -> Result<u64, String> {
    parse(text, &[BYTES], "a size such as 200GiB or 4TiB", "B, kB, MB, GB, TB, PB, KiB, MiB, GiB, TiB, PiB")
}

/// Bytes per second, from bits or bytes per second.
pub fn rate(text: &str) -> Result<u64, String> {
    const UNITS: &str = "kbit, Mbit, Gbit, Tbit, kB/s, MB/s, GB/s, MiB/s, GiB/s";
    let bare = text.strip_suffix("/s").unwrap_or(text);
    // `bit` alone means per second, as everywhere; bytes without `/s` would be an amount.
    let tables: &[Table] = if bare.len() < text.len() { &[BITS, BYTES] } else { &[BITS] };
    let value = parse(bare, tables, "a rate such as 1Gbit or 200MB/s", UNITS).map_err(|error| error.replacen(bare, text, 1))?;
    if value == 0 { Err(format!("{text}: nothing would ever arrive; a rate above 0 is expected")) } else { Ok(value) }
}

/// Nanoseconds.
pub fn time(text: &str) -> Result<u64, String> {
    parse(text, &[NANOSECONDS], "a time such as 0.5ms, 30s or 10m", "ns, us, ms, s, m, h")
}

type Table = &'static [(&'static str, f64)];

fn parse(text: &str, tables: &[Table], example: &str, units: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..digits], text[digits..].trim());
    let wrong = |why: &str| format!("{text}: {why}; {example} is expected (units: {units})");
    let number: f64 = number.parse().map_err(|_| wrong("it does not begin with a number"))?;
    let factor = tables.iter().flat_map(|table| table.iter()).find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    let factor = factor.ok_or_else(|| wrong(if unit.is_empty() { "the unit is missing" } else { "this unit is not known" }))?;
    let value = number * factor;
    if value > VALUE_MAX { Err(wrong("that is more than can be simulated")) } else { Ok(value.round() as u64) }
}

/// Nanoseconds for people, with three digits or so.
pub fn show_time(ns: u64) -> String {
    match ns as f64 / 1e9 {
        0.0 => "0 s".into(),
        s if s < 1e-3 => format!("{:.0} µs", s * 1e6),
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s if s < 100.0 => format!("{s:.1} s"),
        s if s < 3600.0 => two((s as u64 / 60, "min"), (s as u64 % 60, "s")),
        s => two((s as u64 / 3600, "h"), (s as u64 % 3600 / 60, "min")),
    }
}

/// What of the silences of writes is an outage.
pub fn show_outage(numbers: &mainstay_simulator::Numbers) -> String {
    match numbers.outage() {
        0 => "none".into(),
        time => show_time(time),
    }
}

fn two((large, unit): (u64, &str), (small, below): (u64, &str)) -> String {
    if small == 0 { format!("{large} {unit}") } else { format!("{large} {unit} {small} {below}") }
}

/// Bytes per second for people: decimal, as links and disks are sold.
pub fn show_rate(bytes_per_second: u64) -> String {
    const UNITS: [&str; 5] = ["B/s", "kB/s", "MB/s", "GB/s", "TB/s"];
    let mut value = bytes_per_second as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = usize::from(value < 100.0 && value.fract() >= 0.05);
    format!("{value:.digits$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_what_they_say() {
        assert_eq!(size("4TiB"), Ok(4 << 40));
        assert_eq!(size("1.5 GB"), Ok(1_500_000_000));
        assert_eq!(rate("1Gbit"), Ok(125_000_000));
        assert_eq!(rate("1Gbit/s"), Ok(125_000_000));
        assert_eq!(rate("200MB/s"), Ok(200_000_000));
        assert_eq!(time("0.5ms"), Ok(500_000));
        assert_eq!(time("10m"), Ok(600_000_000_000));
    }

    #[test]
    fn what_is_wrong_is_said_with_what_is_accepted() {
        let error = |result: Result<u64, String>| result.unwrap_err();
        assert_eq!(
            error(size("4Tb")),
            "4Tb: this unit is not known; a size such as 200GiB or 4TiB is expected (units: B, kB, MB, GB, TB, PB, KiB, MiB, GiB, \
             TiB, PiB)"
        );
        assert!(error(size("12")).starts_with("12: the unit is missing"));
        assert!(error(size("-1GB")).starts_with("-1GB: it does not begin with a number"));
        assert!(error(size("1.2.3GB")).contains("number"));
        assert!(error(size("9999999PiB")).contains("more than can be simulated"));
        assert!(error(rate("200MB")).starts_with("200MB: this unit is not known"));
        assert!(error(rate("fast/s")).starts_with("fast/s: "));
        assert!(error(rate("0Gbit")).contains("above 0"));
        assert!(error(time("10")).contains("unit is missing"));
    }

    #[test]
    fn times_are_short() {
        let shown = [0, 900, 5_000_000, 2_340_000_000, 125_000_000_000, 7_260_000_000_000].map(show_time);
        assert_eq!([1_800_000_000_000, 7_200_000_000_000].map(show_time), ["30 min", "2 h"]);
        assert_eq!(
            [0, 950, 125_000_000, 1_500_000, 2_000_000_000].map(show_rate),
            ["0 B/s", "950 B/s", "125 MB/s", "1.5 MB/s", "2 GB/s"]
        );
        assert_eq!(shown, ["0 s", "1 µs", "5 ms", "2.3 s", "2 min 5 s", "2 h 1 min"]);
    }
}
