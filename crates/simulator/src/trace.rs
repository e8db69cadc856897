//! What happened, as one number (always) and as text (when a seed is replayed).

/// A hash over everything that happened: two runs of one seed must agree in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceHash(u64);

impl Default for TraceHash {
    fn default() -> Self {
        TraceHash(0x9e37_79b9_7f4a_7c15)
    }
}

impl TraceHash {
    pub fn mix(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd).rotate_left(31);
    }
    pub fn value(&self) -> u64 {
        self.0
    }
}

/// Where the text goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trace {
    #[default]
    Off,
    /// Roles, faults, decisions and violations.
    Brief,
    /// Also every message and every client operation.
    Full,
}
