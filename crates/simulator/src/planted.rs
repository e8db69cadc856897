//! Where each planted bug shows: what the tests run, and what the table in docs/PLANTED-BUGS.md is made of
//! (`cargo run --release -p mainstay-simulator --example planted_table`).

use crate::run::{Options, Outcome, run};
use crate::scenarios;
use mainstay_protocol::planted::Bug;

/// No bug may take more seeds than this.
pub const SEEDS_MAX: u64 = 5_000;

/// One bug, and the scenario that finds it.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    pub bug: Bug,
    /// What it does.
    pub does: &'static str,
    /// Rule or promise that it breaks.
    pub breaks: &'static str,
    pub scenario: &'static str,
    /// The property that the first violation names; some show in one way or another.
    pub property: &'static str,
    /// It must be found within so many seeds; measured ones with some room, because every change of the core draws new schedules.
    pub within_seeds: u64,
}

impl Shown {
    /// The first seed that shows it, with what it shows.
    pub fn first(&self) -> Option<Outcome> {
        let scenario = scenarios::named(self.scenario)?;
        let options = Options { bugs: self.bug.into(), ..Options::default() };
        (0..SEEDS_MAX).map(|seed| run(seed, &scenario, options)).find(|outcome| !outcome.ok())
    }
}

const fn shown(
    bug: Bug,
    (does, breaks): (&'static str, &'static str),
    scenario: &'static str,
    (property, within_seeds): (&'static str, u64),
) -> Shown {
    Shown { bug, does, breaks, scenario, property, within_seeds }
}

/// Every bug, in the order of [`Bug::ALL`].
pub const SHOWN: &[Shown] = &[
    shown(
        Bug::AckBeforeSync,
        ("answers stable requests when records are only in memory", "R4: what is acknowledged is on every member's disk"),
        "S27",
        ("P2", 24),
    ),
    shown(
        Bug::SkipInSyncShrink,
        ("goes on without a silent member before the shrink is decided", "R4"),
        "unheard-member",
        ("P2", 12),
    ),
    shown(Bug::IgnoreEpochOnReceive, ("takes records of an older epoch", "R2"), "backlog", ("P1", 48)),
    shown(
        Bug::KeepVerifierAfterLoss,
        ("keeps the write verifier although unsynced data may be lost", "the write verifier's promise (RFC 1813)"),
        "S27",
        ("P2", 48),
    ),
    shown(Bug::ForgetDuplicateCache, ("executes a repeated request again", "exactly once"), "S04:cut-off", ("P2", 48)),
    shown(
        Bug::CheckpointPastCommit,
        ("checkpoints the view past the commit point", "R9: what is not committed can be rolled back"),
        "hanging-disk",
        ("P2 P7", 24),
    ),
    shown(Bug::ServeAfterLease, ("answers although the lease has run out", "R13"), "S12", ("P1 P2", 24)),
    shown(Bug::LateRollBack, ("obeys an order to go back that answers an older Hello", "R9"), "late-roll-back", ("P2 P7", 48)),
    shown(
        Bug::TryLaterToRepeated,
        ("says \"try later\" to a request that may have been executed", "exactly once"),
        "S36",
        ("P2", 24),
    ),
    shown(Bug::GrowEarly, ("adds a secondary to the in-sync set before it holds everything from before", "R4"), "S20", ("P2", 24)),
    shown(
        Bug::JoinUncounted,
        ("does not wait for a secondary on its way into the in-sync set", "R4"),
        "S22:the-secondary",
        ("P2", 24),
    ),
    shown(Bug::PromiseInMemory, ("calls a promise durable before it is stored", "R2"), "S04", ("P1", 12)),
    shown(
        Bug::NoQuietTime,
        ("says after a restart that no lease it promised can be alive", "R13"),
        "forgotten-promise",
        ("P1", 48),
    ),
    shown(
        Bug::PromoteOnReturn,
        ("promotes a node that comes back, unasked, whatever its copy and the primary are like", "R5, R7, R9, R10, R13"),
        "S01",
        ("P3 P4", 8),
    ),
    shown(
        Bug::SyncDeadline,
        ("gives a promotion up when what it lacks has not come within a fixed time", "R11"),
        "S43",
        ("P6", 72),
    ),
    shown(Bug::RetryForever, ("tries a promotion that failed again, the same, for ever", "R8"), "failed-promotion", ("P4 P5", 12)),
    shown(Bug::IgnoreMaintenance, ("promotes because of a node in maintenance", "R10"), "S33:the-primary", ("P4", 8)),
    shown(Bug::ApproveUnseen, ("lets the evidence change after its approval", "R14"), "S36", ("P4 P7", 96)),
    shown(Bug::GrantWithoutMajority, ("grants an epoch on the candidate's promise alone", "R2"), "S04", ("P1", 12)),
    shown(Bug::PromoteOverLivePrimary, ("does not mind that the primary is heard", "R13"), "S05", ("P4", 12)),
    shown(Bug::SkipSync, ("calls the log durable without syncing it", "R4"), "S27", ("P2 P7", 12)),
    shown(
        Bug::TrustCacheAfterFailedSync,
        ("believes at a start what a failed sync left in the page cache", "R4"),
        "failed-sync",
        ("P2 P7", 24),
    ),
    shown(
        Bug::UnverifiedReads,
        ("serves blocks whose checksum does not match", "R6: what cannot be verified is not served"),
        "rotten-primary",
        ("P2", 12),
    ),
    shown(Bug::DurableDuringHold, ("calls records durable that a crash behind a resync throws away", "R4"), "S20", ("P2 P7", 60)),
    shown(
        Bug::RecycleLive,
        ("uses a segment again that the view's file still needs", "recovery to a whole prefix"),
        "random_mix",
        ("P2 P7", 200),
    ),
    shown(
        Bug::TruncateKeepsTail,
        ("shows a file's old bytes when it was cut and grows again", "never read what was not written"),
        "S22",
        ("P2", 8),
    ),
    shown(
        Bug::ResyncForgetsRemovals,
        ("leaves on a replica what was removed while it was away", "R11: copies are equal after a resync"),
        "S01",
        ("P2 P7", 24),
    ),
    shown(Bug::ResyncFromZero, ("begins an interrupted resync from the start", "R11"), "long-resync", ("P6", 8)),
    shown(
        Bug::ListingSkipsEntry,
        ("leaves the next entry out of a listing that goes on", "what is there is listed"),
        "S01",
        ("P2", 8),
    ),
    shown(
        Bug::CommitLies,
        ("answers COMMIT before the data is on any disk", "COMMIT's promise (RFC 1813)"),
        "commit-then-dark",
        ("P2", 500),
    ),
    shown(
        Bug::GuardedInMaintenance,
        ("approves by policy although a node is in maintenance", "R7: the guards"),
        "maintenance-begins",
        ("P4", 12),
    ),
    shown(Bug::GuardedInDrift, ("approves by policy although programs or clocks differ", "R7: the guards"), "S34", ("P4", 24)),
    shown(Bug::HoldKeepsApproved, ("lets a hold not reach what was approved before it", "R7"), "on-hold", ("P4", 24)),
    shown(
        Bug::AckAlone,
        ("acknowledges changes alone although the volume wants two copies", "`alone read-only`"),
        "two-copies",
        ("P2", 12),
    ),
    shown(Bug::SilentOverrun, ("tells nobody that a maintenance runs over its time", "R10"), "S33", ("P8", 4)),
    shown(
        Bug::ServeEmpty,
        ("serves reads without a primary from a copy that holds nothing", "R15: what is shown was there"),
        "empty-disk",
        ("P2", 12),
    ),
    shown(
        Bug::DrainUnconfirmed,
        ("hands over before the other copy has everything, and does not compare where they end", "R5: nothing is left behind"),
        "switchover:far",
        ("P3", 12),
    ),
    shown(Bug::ServeAfterWord, ("goes on serving after it has given its word to hand over", "R13"), "switchover", ("P1 P3", 12)),
    shown(
        Bug::LossByOne,
        ("lets who proposes to give acknowledged writes up approve it alone", "R5: two people"),
        "given-up",
        ("P3", 24),
    ),
    shown(Bug::RemoveLastCopies, ("takes copies away until one is left, and asks no second person", "R4"), "members", ("P2", 24)),
    shown(
        Bug::OldMajority,
        ("grants on a majority of the members as they were before one joined", "R13: majorities meet"),
        "members",
        ("P1", 48),
    ),
    shown(
        Bug::CountFailedFence,
        ("counts a fencing hook that failed as proof that a machine is off", "R6, R13"),
        "S14",
        ("P9", 24),
    ),
    shown(Bug::RevokedApproves, ("lets somebody approve whose credentials were revoked", "R7"), "S36", ("P4", 48)),
    shown(
        Bug::ForcedIsWhole,
        ("takes the copy that is left for whole when a quorum is forced", "R5: the loss is named, by two people"),
        "S44",
        ("P3", 24),
    ),
    shown(
        Bug::PromoteLeaver,
        ("promotes a node that was asked to stop, on its way out", "R3: a reign belongs to a boot"),
        "R3 on-the-way-out",
        ("P3", 48),
    ),
    shown(
        Bug::WriteAfterFailure,
        ("goes on writing the log behind a write that failed", "what is acknowledged can be opened again"),
        "R4 failed-write",
        ("P7", 24),
    ),
    shown(
        Bug::WaitForFailed,
        ("leaves it to a member whose disk failed to propose for all", "R5: any whole member can be promoted"),
        "failed-primary",
        ("P7", 8),
    ),
    shown(Bug::OldApproval, ("counts no time for proposals and approvals", "R14: an approval expires"), "expires", ("P4", 48)),
];
