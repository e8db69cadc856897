//! Each node's two clocks as functions of simulated time: they start anywhere, drift, and the wall clock jumps.

use crate::queue::{SECOND, Time};
use crate::rng::Rng;
use mainstay_protocol::{Mono, Now, Timestamp};

/// Fastest and slowest oscillator that the lease's margin must bear, in parts per million. Crystals stay under 100.
pub const DRIFT_PPM_MAX: i64 = 200;
/// Longest life of a process, nanoseconds: more than a year, so that drift can be reckoned in 64 bits.
const PASSED_MAX: i64 = 1 << 55;
const _: () = assert!(PASSED_MAX.checked_mul(DRIFT_PPM_MAX).is_some());
/// Wall-clock time when every run begins: 2030-01-01.
const EPOCH_SECONDS: i64 = 1_893_456_000;

/// One boot of one node's clocks. The monotonic one never goes back and never jumps (`CLOCK_BOOTTIME`, rule R13); it begins
/// anew at every boot, so that nothing can rest on comparing it across boots.
#[derive(Clone, Debug)]
pub struct Clock {
    mono_base: u64,
    since: Time,
    drift_ppm: i64,
    wall_offset_ns: i128,
}

impl Clock {
    pub fn boot(rng: &mut Rng, now: Time, drift_ppm: i64, wall_offset_ns: i128) -> Clock {
        // Small and large bases: some machines have been up for years.
        let mono_base = rng.log_range(SECOND, 1 << 57);
        Clock { mono_base, since: now, drift_ppm, wall_offset_ns }
    }

    pub fn drift(rng: &mut Rng) -> i64 {
        rng.range(0, 2 * DRIFT_PPM_MAX as u64) as i64 - DRIFT_PPM_MAX
    }

    pub fn now(&self, now: Time) -> Now {
        Now { mono: self.mono(now), wall: self.wall(now) }
    }

    fn mono(&self, now: Time) -> Mono {
        let passed = (now - self.since) as i64;
        assert!(passed < PASSED_MAX);
        Mono(self.mono_base.wrapping_add_signed(passed + passed * self.drift_ppm / 1_000_000))
    }

    fn wall(&self, now: Time) -> Timestamp {
        // In 128 bits this is one of the dearest things that a quiet simulation does.
        match i64::try_from(self.wall_offset_ns).ok().and_then(|offset| offset.checked_add(now as i64)) {
            Some(since) => Timestamp {
                seconds: EPOCH_SECONDS + since.div_euclid(SECOND as i64),
                nanos: since.rem_euclid(SECOND as i64) as u32,
            },
            None => Timestamp::from_nanos(EPOCH_SECONDS as i128 * SECOND as i128 + now as i128 + self.wall_offset_ns),
        }
    }

    /// First simulated time at which this clock shows `mono` or more.
    pub fn when(&self, mono: Mono) -> Time {
        let Some(ahead) = mono.0.checked_sub(self.mono_base) else { return self.since };
        // Division rounds down twice; one microsecond more makes up for it.
        let passed = match ahead.checked_mul(1_000_000) {
            Some(product) => product / (1_000_000 + self.drift_ppm) as u64 + 1_000,
            None => (ahead as i128 * 1_000_000 / (1_000_000 + self.drift_ppm as i128) + 1_000).min(u64::MAX as i128 / 2) as u64,
        };
        self.since.saturating_add(passed)
    }

    /// The oscillator runs at another rate from now on.
    pub fn set_drift(&mut self, now: Time, drift_ppm: i64) {
        self.mono_base = self.mono(now).0;
        self.since = now;
        self.drift_ppm = drift_ppm;
    }

    pub fn wall_offset_ns(&self) -> i128 {
        self.wall_offset_ns
    }

    /// NTP sets the wall clock right.
    pub fn set_right(&mut self) {
        self.wall_offset_ns %= SECOND as i128;
    }

    /// An operator or a bad time source sets the wall clock.
    pub fn jump_wall(&mut self, by_ns: i128) {
        self.wall_offset_ns += by_ns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drifting_clock_reaches_what_it_announced() {
        let mut rng = Rng::new(1);
        for _ in 0..1000 {
            let drift = Clock::drift(&mut rng);
            let start = rng.below(100 * SECOND);
            let clock = Clock::boot(&mut rng, start, drift, 0);
            let target = clock.now(start).mono.after_ms(rng.range(1, 100_000));
            let at = clock.when(target);
            assert!(clock.now(at).mono >= target);
            assert!(clock.now(at - 10_000).mono < target);
        }
        let mut clock = Clock::boot(&mut rng, 0, 0, 0);
        let shown = clock.now(7).mono;
        clock.set_drift(7, -10_000);
        assert_eq!(clock.now(7).mono, shown);
        assert_eq!(clock.now(7 + 1_000).mono.0, shown.0 + 990);
        let mut clock = Clock::boot(&mut rng, 0, 0, 0);
        let before = clock.now(5).mono;
        clock.jump_wall(-10 * SECOND as i128);
        assert_eq!(clock.now(5).mono, before);
        assert_eq!(clock.now(0).wall.seconds, EPOCH_SECONDS - 10);
    }
}
