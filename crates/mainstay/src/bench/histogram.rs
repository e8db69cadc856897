//! Latencies in constant memory, to within 1.6 %.

use std::time::Duration;

/// Buckets per doubling: 2^6 of them bound the error to 1/64.
const SUB_BITS: u32 = 6;
const SUBS: usize = 1 << SUB_BITS;
/// Enough for every 64-bit number of nanoseconds.
const BUCKETS: usize = (64 - SUB_BITS as usize + 1) * SUBS;

#[derive(Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max_ns: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: vec![0; BUCKETS], total: 0, max_ns: 0 }
    }
}

impl Histogram {
    pub fn record(&mut self, latency: Duration) {
        let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(ns)] += 1;
        self.total += 1;
        self.max_ns = self.max_ns.max(ns);
    }

    pub fn merge(&mut self, other: &Histogram) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(own, other)| *own += other);
        self.total += other.total;
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    pub fn total(&self) -> u64 {
        self.total
    }

    pub fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// The least latency that `percent` of the operations did not exceed, nanoseconds; zero when there were none.
    pub fn percentile_ns(&self, percent: f64) -> u64 {
        let rank = (self.total as f64 * percent / 100.0).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper(index).min(self.max_ns);
            }
        }
        self.max_ns
    }
}

/// Numbers below [`SUBS`] have a bucket each; above, the leading bit and the [`SUB_BITS`] after it choose one.
fn bucket(ns: u64) -> usize {
    let exponent = u64::BITS - ns.leading_zeros();
    let shift = exponent.saturating_sub(SUB_BITS + 1);
    (shift as usize) * SUBS + (ns >> shift) as usize
}

/// The largest number in a bucket.
fn upper(bucket: usize) -> u64 {
    let shift = (bucket / SUBS).saturating_sub(1);
    let lead = (bucket - shift * SUBS) as u128;
    u64::try_from(((lead + 1) << shift) - 1).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_in_order_and_narrow() {
        let large = (10..64).flat_map(|bit| [(1u64 << bit) - 1, 1 << bit, (1 << bit) + (1 << (bit - 3))]);
        for ns in (0..10_000).chain(large) {
            let index = bucket(ns);
            assert!(index < BUCKETS && upper(index) >= ns, "{ns}");
            assert!(upper(index) - ns <= ns / 64, "{ns} is said to be {}", upper(index));
            assert!(ns == 0 || bucket(ns - 1) <= index, "{ns} is before its predecessor");
        }
        assert!(bucket(u64::MAX) < BUCKETS);
    }

    #[test]
    fn percentiles_of_known_latencies() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile_ns(50.0), 0);
        let (mut left, mut right) = (Histogram::default(), Histogram::default());
        for us in 1..=1000u64 {
            let half = if us % 2 == 0 { &mut left } else { &mut right };
            half.record(Duration::from_micros(us));
        }
        histogram.merge(&left);
        histogram.merge(&right);
        assert_eq!((histogram.total(), histogram.max_ns()), (1000, 1_000_000));
        for (percent, expected) in [(50.0, 500_000u64), (95.0, 950_000), (99.0, 990_000), (100.0, 1_000_000)] {
            let found = histogram.percentile_ns(percent);
            assert!(found >= expected && found <= expected + expected / 32, "p{percent}: {found}");
        }
    }
}
