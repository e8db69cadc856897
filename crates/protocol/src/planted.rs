//! Bugs that the simulator plants to prove that it would find them.
//!
//! Without the feature `planted-bugs`, which nothing that is shipped switches on, [`planted`] is a constant and its branches are
//! gone. With it, bugs are planted per thread: a simulated run uses one.

/// What can be planted. Each names the rule or promise that it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bug {
    // ---- replication ----
    /// Answers stable requests when records are only in memory.
    AckBeforeSync,
    /// Goes on without a silent member before the shrink is decided (against R4).
    SkipInSyncShrink,
    /// Takes records of an older epoch (against R2).
    IgnoreEpochOnReceive,
    /// Keeps the write verifier although unsynced data may be lost.
    KeepVerifierAfterLoss,
    /// Executes a repeated request again.
    ForgetDuplicateCache,
    /// Lets the view be checkpointed past the commit point.
    CheckpointPastCommit,
}

impl Bug {
    /// Every one.
    pub const ALL: &[Bug] = &[
        Bug::AckBeforeSync,
        Bug::SkipInSyncShrink,
        Bug::IgnoreEpochOnReceive,
        Bug::KeepVerifierAfterLoss,
        Bug::ForgetDuplicateCache,
        Bug::CheckpointPastCommit,
    ];
}

/// Whether this build can have bugs planted.
pub const AVAILABLE: bool = cfg!(feature = "planted-bugs");

#[cfg(feature = "planted-bugs")]
thread_local! {
    static PLANTED: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Whether the bug is planted in what this thread runs.
#[inline]
pub fn planted(_bug: Bug) -> bool {
    #[cfg(feature = "planted-bugs")]
    return PLANTED.get() & (1 << _bug as u64) != 0;
    #[cfg(not(feature = "planted-bugs"))]
    false
}

/// From now on exactly these are planted in what this thread runs. Does nothing in a build without them ([`AVAILABLE`]).
pub fn plant(_bugs: &[Bug]) {
    #[cfg(feature = "planted-bugs")]
    PLANTED.set(_bugs.iter().fold(0, |set, bug| set | 1 << *bug as u64));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planting_is_exact_and_impossible_in_a_normal_build() {
        plant(&[Bug::SkipInSyncShrink, Bug::CheckpointPastCommit]);
        let found: Vec<Bug> = Bug::ALL.iter().copied().filter(|bug| planted(*bug)).collect();
        assert_eq!(found.len(), if AVAILABLE { 2 } else { 0 });
        assert!(std::thread::spawn(|| Bug::ALL.iter().all(|bug| !planted(*bug))).join().unwrap(), "another thread has none");
        plant(&[]);
        assert!(Bug::ALL.iter().all(|bug| !planted(*bug)));
    }
}
