//! The only place that reads clocks.

use mainstay_protocol::{Mono, Now, Timestamp};
use rustix::time::{ClockId, clock_gettime};

/// `CLOCK_BOOTTIME` counts suspend, so a node that slept knows that its lease is over (R13).
pub fn mono() -> Mono {
    let time = clock_gettime(ClockId::Boottime);
    Mono(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

pub fn wall() -> Timestamp {
    let time = clock_gettime(ClockId::Realtime);
    Timestamp::new(time.tv_sec, time.tv_nsec as u32)
}

pub fn now() -> Now {
    Now { mono: mono(), wall: wall() }
}
