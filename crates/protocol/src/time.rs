//! Two clocks, never mixed: [`Timestamp`] is the wall clock (shown to people, stored in files), [`Mono`] is the node's own
//! clock that counts suspend (`CLOCK_BOOTTIME`, rule R13) and means nothing on another node.

use serde::{Deserialize, Serialize};

/// Wall-clock time since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp {
    pub seconds: i64,
    /// 0..1_000_000_000
    pub nanos: u32,
}

impl Timestamp {
    pub const fn new(seconds: i64, nanos: u32) -> Self {
        Timestamp { seconds, nanos }
    }
    pub const fn from_nanos(nanos: i128) -> Self {
        Timestamp { seconds: nanos.div_euclid(1_000_000_000) as i64, nanos: nanos.rem_euclid(1_000_000_000) as u32 }
    }
    pub const fn as_nanos(self) -> i128 {
        self.seconds as i128 * 1_000_000_000 + self.nanos as i128
    }
    /// Saturates: it may be what a peer says.
    pub const fn as_millis(self) -> i64 {
        self.seconds.saturating_mul(1000).saturating_add((self.nanos / 1_000_000) as i64)
    }
    pub const fn from_millis(ms: i64) -> Self {
        Timestamp { seconds: ms.div_euclid(1000), nanos: ms.rem_euclid(1000) as u32 * 1_000_000 }
    }
    /// The next representable instant; used so that a stamp never repeats or goes back (NFS.md, "attributes").
    pub const fn next(self) -> Self {
        Self::from_nanos(self.as_nanos() + 1)
    }
}

/// Nanoseconds on the node's own monotonic clock, suspend included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mono(pub u64);

impl Mono {
    pub const ZERO: Mono = Mono(0);
    pub const fn after_ms(self, ms: u64) -> Mono {
        Mono(self.0.saturating_add(ms.saturating_mul(1_000_000)))
    }
    /// Milliseconds since `earlier`, zero when it lies ahead.
    pub const fn ms_since(self, earlier: Mono) -> u64 {
        self.0.saturating_sub(earlier.0) / 1_000_000
    }
}

/// Both clocks read once, handed into every step of the core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    pub mono: Mono,
    pub wall: Timestamp,
}
