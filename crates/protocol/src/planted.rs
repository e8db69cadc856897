//! Bugs that the simulator plants to prove that it would find them.
//!
//! Without the feature `planted-bugs`, which nothing that is shipped switches on, [`planted`] is a constant and its branches are
//! gone. With it, bugs are planted per thread: a simulated run uses one.

use std::fmt;

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
    /// Answers although the lease has run out (against R13).
    ServeAfterLease,
    /// Obeys a roll-back that answers an older Hello: what was acknowledged since is taken back (against R9).
    LateRollBack,
    /// Says "try later" to a request that the previous primary may have executed: the client asks anew, and it happens twice.
    TryLaterToRepeated,
    /// Adds a secondary to the in-sync set before it holds everything from before (against R4).
    GrowEarly,
    /// Does not wait for a secondary on its way into the in-sync set (against R4).
    JoinUncounted,

    // ---- promises and leases ----
    /// Calls a promise durable before it is stored (against R2).
    PromiseInMemory,
    /// A node that restarted says at once that no lease it promised can be alive (against R13).
    NoQuietTime,

    // ---- rules ----
    /// A node that comes back is promoted without anybody's approval, whatever its copy and the primary are like (against R3, R5, R7, R13).
    PromoteOnReturn,
    /// A new primary that lacks something waits for it, and gives its promotion up after a fixed time (against R11).
    SyncDeadline,
    /// A promotion that failed is tried again, the same, for ever (against R8).
    RetryForever,
    /// Maintenance does not hold promotions (against R10).
    IgnoreMaintenance,
    /// The evidence may change between its approval and the grant: nothing makes it void, and nothing compares it again (against R14).
    ApproveUnseen,
    /// Grants an epoch on the candidate's promise alone (against R2).
    GrantWithoutMajority,
    /// The old primary being heard does not stand in the way (against R13).
    PromoteOverLivePrimary,

    // ---- storage ----
    /// Calls the log durable without syncing it.
    SkipSync,
    /// Opening a volume believes what a failed sync left in the page cache.
    TrustCacheAfterFailedSync,
    /// Serves blocks whose checksum does not match.
    UnverifiedReads,
    /// Calls records durable that a crash behind a resync would throw away.
    DurableDuringHold,
    /// Uses a segment again that the view's file still needs.
    RecycleLive,
    /// A file that was cut and grows again shows its old bytes.
    TruncateKeepsTail,

    // ---- resync ----
    /// What was removed while a replica was away stays on it.
    ResyncForgetsRemovals,
    /// A resync that was interrupted begins from the start (against R11).
    ResyncFromZero,

    // ---- NFS ----
    /// A listing that goes on behind a cookie leaves out the next entry.
    ListingSkipsEntry,
    /// COMMIT answers before the data is on any disk.
    CommitLies,

    // ---- policies ----
    /// A promotion is approved by policy although a node is in maintenance (against the guards of R7).
    GuardedInMaintenance,
    /// Or although nodes run different programs, their clocks differ, or one was set back.
    GuardedInDrift,
    /// A hold does not reach what was approved before it (against R7).
    HoldKeepsApproved,
    /// A primary that is alone acknowledges changes although the volume wants two copies.
    AckAlone,
    /// Nobody is told that a maintenance runs over its time (against R10).
    SilentOverrun,

    /// Reads are served without a primary from a copy that holds nothing, as if there were no files (against R15).
    ServeEmpty,

    // ---- switchover ----
    /// The primary gives its word before the other copy has everything, and nobody compares where they end (against R5).
    DrainUnconfirmed,
    /// The primary goes on serving after its word, until it sees the successor (against R13).
    ServeAfterWord,

    // ---- promotion with a loss ----
    /// Who proposes to give acknowledged writes up may approve it alone (against R5).
    LossByOne,
    // ---- membership ----
    /// Removes replicas until the primary's copy is the only one, and asks nobody else (against R4).
    RemoveLastCopies,
    /// Grants an epoch on a majority of the members as they were before one joined (against R13).
    OldMajority,
    // ---- fencing hooks ----
    /// A fencing hook that failed counts as proof that the old primary is off (against R6, R13).
    CountFailedFence,

    // ---- people ----
    /// The word of somebody whose credentials were revoked still counts (against R7).
    RevokedApproves,

    // ---- forced quorums ----
    /// A forced quorum takes the copy that is left for whole, whatever is known of it (against R5).
    ForcedIsWhole,

    // ---- stopping in order ----
    /// A node that was asked to stop is promoted on its way out (against R3).
    PromoteLeaver,

    // ---- disks ----
    /// Goes on writing the log behind a write that failed.
    WriteAfterFailure,
    /// Leaves it to a member whose disk failed to propose for all.
    WaitForFailed,

    // ---- approvals ----
    /// Counts no time for proposals and approvals: they are good for ever.
    OldApproval,
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
        Bug::ServeAfterLease,
        Bug::LateRollBack,
        Bug::TryLaterToRepeated,
        Bug::GrowEarly,
        Bug::JoinUncounted,
        Bug::PromiseInMemory,
        Bug::NoQuietTime,
        Bug::PromoteOnReturn,
        Bug::SyncDeadline,
        Bug::RetryForever,
        Bug::IgnoreMaintenance,
        Bug::ApproveUnseen,
        Bug::GrantWithoutMajority,
        Bug::PromoteOverLivePrimary,
        Bug::SkipSync,
        Bug::TrustCacheAfterFailedSync,
        Bug::UnverifiedReads,
        Bug::DurableDuringHold,
        Bug::RecycleLive,
        Bug::TruncateKeepsTail,
        Bug::ResyncForgetsRemovals,
        Bug::ResyncFromZero,
        Bug::ListingSkipsEntry,
        Bug::CommitLies,
        Bug::GuardedInMaintenance,
        Bug::GuardedInDrift,
        Bug::HoldKeepsApproved,
        Bug::AckAlone,
        Bug::SilentOverrun,
        Bug::ServeEmpty,
        Bug::DrainUnconfirmed,
        Bug::ServeAfterWord,
        Bug::LossByOne,
        Bug::RemoveLastCopies,
        Bug::OldMajority,
        Bug::CountFailedFence,
        Bug::RevokedApproves,
        Bug::ForcedIsWhole,
        Bug::PromoteLeaver,
        Bug::WriteAfterFailure,
        Bug::WaitForFailed,
        Bug::OldApproval,
    ];
}

/// Several bugs at once: the real outage took three.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Bugs(u64);

// One bit for each.
const _: () = assert!(Bug::ALL.len() <= u64::BITS as usize);

impl Bugs {
    pub const NONE: Bugs = Bugs(0);

    pub fn contains(self, bug: Bug) -> bool {
        self.0 & bug.bit() != 0
    }

    pub fn is_empty(self) -> bool {
        self == Bugs::NONE
    }

    pub fn iter(self) -> impl Iterator<Item = Bug> {
        Bug::ALL.iter().copied().filter(move |bug| self.contains(*bug))
    }
}

impl From<Bug> for Bugs {
    fn from(bug: Bug) -> Bugs {
        Bugs(bug.bit())
    }
}

impl FromIterator<Bug> for Bugs {
    fn from_iter<I: IntoIterator<Item = Bug>>(bugs: I) -> Bugs {
        Bugs(bugs.into_iter().fold(0, |set, bug| set | bug.bit()))
    }
}

/// Their names, as a command line takes them.
impl fmt::Display for Bugs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.iter().map(Bug::name).collect::<Vec<_>>().join(","))
    }
}

impl fmt::Debug for Bugs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

impl Bug {
    fn bit(self) -> u64 {
        1 << self as u64
    }

    /// As a command line has it: `promote-on-return`.
    pub fn name(self) -> String {
        let mut name = String::new();
        for letter in format!("{self:?}").chars() {
            if letter.is_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.push(letter.to_ascii_lowercase());
        }
        name
    }

    /// By its name, in any case, with or without the dashes.
    pub fn named(name: &str) -> Option<Bug> {
        let plain = |text: &str| text.replace('-', "").to_ascii_lowercase();
        Bug::ALL.iter().copied().find(|bug| plain(&bug.name()) == plain(name))
    }
}

/// Whether this build can have bugs planted.
pub const AVAILABLE: bool = cfg!(feature = "planted-bugs");

#[cfg(feature = "planted-bugs")]
thread_local! {
    static PLANTED: std::cell::Cell<Bugs> = const { std::cell::Cell::new(Bugs::NONE) };
}

/// Whether the bug is planted in what this thread runs.
#[inline]
pub fn planted(_bug: Bug) -> bool {
    #[cfg(feature = "planted-bugs")]
    return PLANTED.get().contains(_bug);
    #[cfg(not(feature = "planted-bugs"))]
    false
}

/// From now on exactly these are planted in what this thread runs. Does nothing in a build without them ([`AVAILABLE`]).
pub fn plant(_bugs: Bugs) {
    #[cfg(feature = "planted-bugs")]
    PLANTED.set(_bugs);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planting_is_exact_and_impossible_in_a_normal_build() {
        plant([Bug::SkipInSyncShrink, Bug::CheckpointPastCommit].into_iter().collect());
        let found: Vec<Bug> = Bug::ALL.iter().copied().filter(|bug| planted(*bug)).collect();
        assert_eq!(found.len(), if AVAILABLE { 2 } else { 0 });
        assert!(std::thread::spawn(|| Bug::ALL.iter().all(|bug| !planted(*bug))).join().unwrap(), "another thread has none");
        plant(Bugs::NONE);
        assert!(Bug::ALL.iter().all(|bug| !planted(*bug)));
    }

    #[test]
    fn every_bug_is_found_by_its_name() {
        for bug in Bug::ALL {
            assert_eq!(Bug::named(&bug.name()), Some(*bug));
            assert_eq!(Bug::named(&format!("{bug:?}")), Some(*bug));
        }
        assert_eq!(Bug::named("promote-on-return"), Some(Bug::PromoteOnReturn));
        assert_eq!(Bug::named("promote-on-leaving"), None);
        let three: Bugs = [Bug::RetryForever, Bug::PromoteOnReturn, Bug::SyncDeadline].into_iter().collect();
        assert_eq!(three.to_string(), "promote-on-return,sync-deadline,retry-forever");
    }
}
