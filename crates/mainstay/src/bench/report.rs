//! Figures of all rounds: medians, ratios, a table for people and JSON for programs.

use super::engine::Sample;
use super::operation::Operation;
use serde_json::{Value, json};
use std::fmt::Write;

/// Changes when a field changes its meaning; fields may be added without.
const JSON_VERSION: u32 = 1;

/// One target, one operation, one depth, one round.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    pub operations: u64,
    pub per_second: f64,
    pub p50_ns: u64,
    pub p95_ns: u64,
    pub p99_ns: u64,
    pub max_ns: u64,
}

impl Figures {
    pub fn of(sample: &Sample) -> Figures {
        let latency = &sample.latency;
        Figures {
            operations: latency.total(),
            per_second: latency.total() as f64 / sample.elapsed.as_secs_f64().max(1e-9),
            p50_ns: latency.percentile_ns(50.0),
            p95_ns: latency.percentile_ns(95.0),
            p99_ns: latency.percentile_ns(99.0),
            max_ns: latency.max_ns(),
        }
    }

    /// The median of each figure over the rounds, except that the worst stays the worst.
    fn median(rounds: &[Figures]) -> Figures {
        let whole = |figure: fn(&Figures) -> u64| median(rounds.iter().map(|f| figure(f) as f64).collect()) as u64;
        Figures {
            operations: rounds.iter().map(|figures| figures.operations).sum(),
            per_second: median(rounds.iter().map(|figures| figures.per_second).collect()),
            p50_ns: whole(|f| f.p50_ns),
            p95_ns: whole(|f| f.p95_ns),
            p99_ns: whole(|f| f.p99_ns),
            max_ns: rounds.iter().map(|figures| figures.max_ns).max().unwrap_or(0),
        }
    }

    fn json(&self, operation: Operation) -> Value {
        let us = |ns: u64| ns as f64 / 1000.0;
        json!({
            "operations": self.operations,
            "operations_per_second": self.per_second,
            "bytes_per_second": self.per_second * operation.bytes() as f64,
            "latency_us": { "p50": us(self.p50_ns), "p95": us(self.p95_ns), "p99": us(self.p99_ns), "max": us(self.max_ns) },
        })
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        len if len % 2 == 1 => values[len / 2],
        len => (values[len / 2 - 1] + values[len / 2]) / 2.0,
    }
}

/// One operation at one depth.
pub struct Row {
    pub operation: Operation,
    pub depth: u64,
    /// For each target, its rounds.
    pub targets: Vec<Vec<Figures>>,
}

impl Row {
    /// First target to second: the ratio of the medians, and the least and greatest of one round.
    fn ratio(&self) -> Option<(f64, f64, f64)> {
        let [first, second] = &self.targets[..] else { return None };
        let of = |a: f64, b: f64| if b > 0.0 { a / b } else { f64::NAN };
        let rounds: Vec<f64> = first.iter().zip(second).map(|(a, b)| of(a.per_second, b.per_second)).collect();
        let whole = of(Figures::median(first).per_second, Figures::median(second).per_second);
        let (low, high) = rounds.iter().fold((f64::MAX, f64::MIN), |(low, high), r| (low.min(*r), high.max(*r)));
        whole.is_finite().then_some((whole, low, high))
    }
}

pub struct Report {
    /// As the user named them; one, or two that are compared.
    pub targets: Vec<String>,
    /// What each phase was limited to, for people.
    pub limit: String,
    pub rounds: usize,
    pub rows: Vec<Row>,
    /// What a reader should know before trusting the figures.
    pub notes: Vec<String>,
}

impl Report {
    pub fn add(&mut self, operation: Operation, depth: u64, target: usize, figures: Figures) {
        let found = self.rows.iter().position(|row| (row.operation, row.depth) == (operation, depth));
        let at = found.unwrap_or_else(|| {
            self.rows.push(Row { operation, depth, targets: vec![Vec::new(); self.targets.len()] });
            self.rows.len() - 1
        });
        self.rows[at].targets[target].push(figures);
    }

    /// By operation, then by depth.
    pub fn sort(&mut self) {
        self.rows.sort_by_key(|row| (row.operation, row.depth));
    }

    pub fn json(&self) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(json_row).collect();
        json!({
            "version": JSON_VERSION,
            "targets": self.targets,
            "limit": self.limit,
            "rounds": self.rounds,
            "notes": self.notes,
            "results": rows,
        })
    }

    pub fn table(&self) -> String {
        let mut out = String::new();
        for (index, target) in self.targets.iter().enumerate() {
            let _ = writeln!(out, "{}  {target}", letter(index));
        }
        let _ = writeln!(out, "{} per phase, medians of {} round(s), max over all rounds\n", self.limit, self.rounds);
        out.push_str(&format!("{:26} {:>4}", "operation", "in"));
        for index in 0..self.targets.len() {
            let rate = if self.targets.len() > 1 { format!("{} ops/s", letter(index)) } else { "ops/s".to_owned() };
            let _ = write!(out, "  {rate:>9} {:>7} {:>8} {:>8} {:>8} {:>8}", "MB/s", "p50", "p95", "p99", "max");
        }
        let ratio = if self.targets.len() == 2 { "    A/B (of one round)" } else { "" };
        let _ = writeln!(out, "{ratio}");
        self.rows.iter().for_each(|row| table_row(&mut out, row));
        out
    }
}

fn letter(index: usize) -> char {
    char::from(b'A' + index as u8)
}

fn json_row(row: &Row) -> Value {
    let target = |rounds: &Vec<Figures>| {
        let mut value = Figures::median(rounds).json(row.operation);
        value["rounds"] = rounds.iter().map(|figures| figures.json(row.operation)).collect();
        value
    };
    let mut value = json!({
        "operation": row.operation.name(),
        "in_flight": row.depth,
        "bytes": row.operation.bytes(),
        "targets": row.targets.iter().map(target).collect::<Vec<_>>(),
    });
    if let Some((ratio, low, high)) = row.ratio() {
        value["ratio"] = json!({ "medians": ratio, "min": low, "max": high });
    }
    value
}

fn table_row(out: &mut String, row: &Row) {
    let _ = write!(out, "{:26} {:>4}", row.operation.title(), row.depth);
    for rounds in &row.targets {
        let f = Figures::median(rounds);
        let bytes = f.per_second * row.operation.bytes() as f64;
        let megabytes = if bytes > 0.0 { format!("{:.1}", bytes / 1e6) } else { "-".to_owned() };
        let _ = write!(out, "  {:>9} {megabytes:>7}", rate(f.per_second));
        [f.p50_ns, f.p95_ns, f.p99_ns, f.max_ns].iter().for_each(|ns| {
            let _ = write!(out, " {:>8}", time(*ns));
        });
    }
    if let Some((ratio, low, high)) = row.ratio() {
        let _ = write!(out, "  {ratio:>5.2} ({low:.2}–{high:.2})");
    }
    out.push('\n');
}

fn rate(per_second: f64) -> String {
    if per_second < 1000.0 { format!("{per_second:.1}") } else { format!("{per_second:.0}") }
}

/// Three digits are as much as a measurement is worth.
fn time(ns: u64) -> String {
    let us = ns as f64 / 1000.0;
    match us {
        us if us < 100.0 => format!("{us:.1} µs"),
        us if us < 1000.0 => format!("{us:.0} µs"),
        us if us < 100_000.0 => format!("{:.2} ms", us / 1000.0),
        us if us < 1_000_000.0 => format!("{:.0} ms", us / 1000.0),
        us => format!("{:.2} s", us / 1_000_000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(per_second: f64, p50_ns: u64, max_ns: u64) -> Figures {
        Figures { operations: 10, per_second, p50_ns, p95_ns: p50_ns, p99_ns: p50_ns, max_ns }
    }

    fn report() -> Report {
        let (targets, limit) = (vec!["nfs://a/f".to_owned(), "/tmp".to_owned()], "1 s".to_owned());
        let mut report = Report { targets, limit, rounds: 3, rows: Vec::new(), notes: Vec::new() };
        for (a, b) in [(100.0, 50.0), (300.0, 100.0), (200.0, 200.0)] {
            report.add(Operation::Create, 8, 0, figures(a, 1_500_000, 9_000_000));
            report.add(Operation::Create, 8, 1, figures(b, 20_000, 2_000_000_000));
        }
        report
    }

    #[test]
    fn medians_and_ratios() {
        let json = report().json();
        let row = &json["results"][0];
        assert_eq!((&row["operation"], &row["in_flight"]), (&json!("create"), &json!(8)));
        assert_eq!(row["targets"][0]["operations_per_second"], 200.0);
        assert_eq!(row["targets"][0]["bytes_per_second"], 200.0 * 16384.0);
        assert_eq!(row["targets"][1]["latency_us"]["max"], 2_000_000.0);
        assert_eq!(row["targets"][1]["rounds"].as_array().unwrap().len(), 3);
        assert_eq!(row["ratio"], json!({ "medians": 2.0, "min": 1.0, "max": 3.0 }));
        assert_eq!(median(vec![4.0, 1.0]), 2.5);
    }

    #[test]
    fn the_table_has_a_line_for_each() {
        let table = report().table();
        let line = table.lines().find(|line| line.starts_with("create")).unwrap();
        for part in ["200.0", "3.3", "1.50 ms", "20.0 µs", "2.00 s", "2.00 (1.00–3.00)"] {
            assert!(line.contains(part), "{part} is missing in {line}");
        }
    }
}
