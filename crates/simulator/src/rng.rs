//! The one source of chance: xoshiro256** seeded by splitmix64. Small, fast, and the same on every machine.

/// A stream of random numbers. Independent parts of a run each take their own stream ([`Rng::fork`]), so that a change in how
/// much chance one part uses does not shift all others.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

fn splitmix(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Rng {
    pub fn new(mut seed: u64) -> Rng {
        Rng { state: std::array::from_fn(|_| splitmix(&mut seed)) }
    }

    #[allow(clippy::should_implement_trait, reason = "it never ends, so it is no iterator")]
    pub fn next(&mut self) -> u64 {
        let result = self.state[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = self.state[1] << 17;
        self.state[2] ^= self.state[0];
        self.state[3] ^= self.state[1];
        self.state[1] ^= self.state[2];
        self.state[0] ^= self.state[3];
        self.state[2] ^= shifted;
        self.state[3] = self.state[3].rotate_left(45);
        result
    }

    /// 0..`end`, without the bias that a modulo would bring for large ranges. `end` must not be zero.
    pub fn below(&mut self, end: u64) -> u64 {
        assert!(end > 0, "an empty range has no member");
        ((self.next() as u128 * end as u128) >> 64) as u64
    }

    /// `low..=high`.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True `parts` times in a million.
    pub fn ppm(&mut self, parts: u32) -> bool {
        parts > 0 && self.below(1_000_000) < parts as u64
    }

    /// True one time in `n`.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// True `percent` times in a hundred.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }

    /// A value whose size class is even (as many 10s as 1000s): good for delays, where the interesting ones are rare and long.
    pub fn log_range(&mut self, low: u64, high: u64) -> u64 {
        assert!(0 < low && low <= high);
        let classes = (high / low).max(1).ilog2() as u64;
        let floor = low << self.below(classes + 1);
        self.range(floor, (2 * floor).min(high).max(floor))
    }

    /// A new stream that depends on this one's past but not on its future.
    pub fn fork(&mut self) -> Rng {
        Rng::new(self.next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_gives_the_same_numbers_and_ranges_hold() {
        let (mut a, mut b) = (Rng::new(7), Rng::new(7));
        assert!((0..1000).all(|_| a.next() == b.next()));
        assert_ne!(Rng::new(7).next(), Rng::new(8).next());
        let mut seen = [0u32; 10];
        (0..10_000).for_each(|_| seen[a.below(10) as usize] += 1);
        assert!(seen.iter().all(|count| (800..1200).contains(count)), "{seen:?}");
        assert!((0..10_000).map(|_| a.log_range(10, 1000)).all(|value| (10..=1000).contains(&value)));
        assert!((0..1000).map(|_| a.range(3, 5)).all(|value| (3..=5).contains(&value)));
        assert!(!a.ppm(0) && a.ppm(1_000_000));
    }
}
