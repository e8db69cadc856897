//! Counters and histograms that the threads feed, and the Prometheus text format (version 0.0.4).

use std::fmt::{Display, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds, microseconds: a sync takes 100 to 300 µs on a good disk and a second on a sick one.
const BUCKETS_US: [u64; 14] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 1_000_000, 5_000_000];

/// A histogram of durations; lock-free.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS_US.len()],
    count: AtomicU64,
    sum_us: AtomicU64,
}

impl Histogram {
    pub fn observe(&self, duration: Duration) {
        let us = duration.as_micros() as u64;
        if let Some(bucket) = BUCKETS_US.iter().position(|bound| us <= *bound) {
            self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

/// Builds one answer to a scrape.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

/// Label names and values of one series.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

impl Exposition {
    /// Starts a family; its series follow.
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.text, "# HELP mainstay_{name} {help}\n# TYPE mainstay_{name} {kind}\n");
    }

    pub fn series(&mut self, name: &str, labels: Labels<'_>, value: impl Display) {
        let _ = write!(self.text, "mainstay_{name}");
        self.labels(labels);
        let _ = writeln!(self.text, " {value}");
    }

    /// Every value of an enumeration, one of them 1: alerts can then tell "0" from "not exported".
    pub fn one_hot(&mut self, name: &str, labels: Labels<'_>, label: &str, all: &[&str], current: &str) {
        for value in all {
            let with: Vec<(&str, &str)> = labels.iter().copied().chain([(label, *value)]).collect();
            self.series(name, &with, u8::from(*value == current));
        }
    }

    pub fn histogram(&mut self, name: &str, labels: Labels<'_>, histogram: &Histogram) {
        let mut sum = 0;
        for (bound, bucket) in BUCKETS_US.iter().zip(&histogram.buckets) {
            sum += bucket.load(Ordering::Relaxed);
            self.bucket(name, labels, &(*bound as f64 / 1e6).to_string(), sum);
        }
        // The buckets were read first, so the total can only be newer.
        let count = histogram.count().max(sum);
        self.bucket(name, labels, "+Inf", count);
        self.series(&format!("{name}_sum"), labels, histogram.sum_us.load(Ordering::Relaxed) as f64 / 1e6);
        self.series(&format!("{name}_count"), labels, count);
    }

    fn bucket(&mut self, name: &str, labels: Labels<'_>, bound: &str, count: u64) {
        let with: Vec<(&str, &str)> = labels.iter().copied().chain([("le", bound)]).collect();
        self.series(&format!("{name}_bucket"), &with, count);
    }

    fn labels(&mut self, labels: Labels<'_>) {
        if labels.is_empty() {
            return;
        }
        let escape = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
        let _ = write!(self.text, "{{{}}}", pairs.join(","));
    }

    pub fn finish(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_reads_as_prometheus_wants_it() {
        let histogram = Histogram::default();
        histogram.observe(Duration::from_micros(90));
        histogram.observe(Duration::from_secs(60));
        let mut text = Exposition::default();
        text.family("role", "gauge", "What the node is.");
        text.one_hot("role", &[("volume", "a\"b\\c")], "role", &["primary", "secondary"], "secondary");
        text.family("fsync_duration_seconds", "histogram", "h");
        text.histogram("fsync_duration_seconds", &[], &histogram);
        let text = text.finish();
        for line in [
            "# TYPE mainstay_role gauge",
            "mainstay_role{volume=\"a\\\"b\\\\c\",role=\"primary\"} 0",
            "mainstay_role{volume=\"a\\\"b\\\\c\",role=\"secondary\"} 1",
            "mainstay_fsync_duration_seconds_bucket{le=\"0.00005\"} 0",
            "mainstay_fsync_duration_seconds_bucket{le=\"0.0001\"} 1",
            "mainstay_fsync_duration_seconds_bucket{le=\"5\"} 1",
            "mainstay_fsync_duration_seconds_bucket{le=\"+Inf\"} 2",
            "mainstay_fsync_duration_seconds_count 2",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is missing in\n{text}");
        }
    }
}
