//! The simulator is tested itself: each of these bugs, planted in every replica, must be found within a bounded number of seeds.
//! The same seeds are clean without it (`scenarios.rs`, `random_mix.rs`).

mod common;

use common::{named, run_all};
use mainstay_simulator::{Bug, Options, Outcome};

fn must_be_found(bug: Bug, scenario: &str, within_seeds: u64) -> Outcome {
    let outcomes = run_all(&[named(scenario)], 0..within_seeds, Options { bugs: bug.into(), ..Options::default() });
    let found = outcomes.into_iter().find(|outcome| !outcome.ok());
    found.unwrap_or_else(|| panic!("{bug:?} was not found in {within_seeds} seeds of {scenario}"))
}

#[test]
fn acknowledging_before_sync_is_found() {
    let outcome = must_be_found(Bug::AckBeforeSync, "S27", 12);
    assert_eq!(outcome.violations[0].property, "P2");
}

#[test]
fn going_on_without_a_member_before_the_shrink_is_found() {
    must_be_found(Bug::SkipInSyncShrink, "unheard-member", 24);
}

#[test]
fn taking_records_of_an_older_epoch_is_found() {
    let outcome = must_be_found(Bug::IgnoreEpochOnReceive, "backlog", 32);
    assert_eq!(outcome.violations[0].property, "P1");
}

#[test]
fn keeping_the_verifier_after_a_loss_is_found() {
    let outcome = must_be_found(Bug::KeepVerifierAfterLoss, "S27", 24);
    assert_eq!(outcome.violations[0].property, "P2");
}

#[test]
fn forgetting_the_duplicate_request_cache_is_found() {
    let outcome = must_be_found(Bug::ForgetDuplicateCache, "S04:cut-off", 8);
    assert_eq!(outcome.violations[0].property, "P2");
}

#[test]
fn checkpointing_past_the_commit_point_is_found() {
    must_be_found(Bug::CheckpointPastCommit, "hanging-disk", 8);
}

/// Each has a test of its own above.
const ALONE: [Bug; 6] = [
    Bug::AckBeforeSync,
    Bug::SkipInSyncShrink,
    Bug::IgnoreEpochOnReceive,
    Bug::KeepVerifierAfterLoss,
    Bug::ForgetDuplicateCache,
    Bug::CheckpointPastCommit,
];

/// Found by the random mix, in a few seeds each.
const IN_THE_MIX: [Bug; 11] = [
    Bug::ServeAfterLease,
    Bug::TryLaterToRepeated,
    Bug::PromoteOnReturn,
    Bug::SyncDeadline,
    Bug::RetryForever,
    Bug::ApproveUnseen,
    Bug::SkipSync,
    Bug::RecycleLive,
    Bug::TruncateKeepsTail,
    Bug::ResyncForgetsRemovals,
    Bug::ListingSkipsEntry,
];

/// Nothing has been shown to find these yet: a debt, and no proof that they would go unnoticed.
const NOT_SHOWN: [Bug; 13] = [
    Bug::LateRollBack,
    Bug::GrowEarly,
    Bug::JoinUncounted,
    Bug::PromiseInMemory,
    Bug::NoQuietTime,
    Bug::IgnoreMaintenance,
    Bug::GrantWithoutMajority,
    Bug::PromoteOverLivePrimary,
    Bug::TrustCacheAfterFailedSync,
    Bug::UnverifiedReads,
    Bug::DurableDuringHold,
    Bug::ResyncFromZero,
    Bug::CommitLies,
];

#[test]
fn the_random_mix_finds_its_share() {
    for bug in IN_THE_MIX {
        must_be_found(bug, "random_mix", 24);
    }
}

#[test]
fn every_bug_has_its_test_or_is_named_as_a_debt() {
    let mut listed: Vec<Bug> = ALONE.into_iter().chain(IN_THE_MIX).chain(NOT_SHOWN).collect();
    listed.sort_unstable();
    assert_eq!(listed, Bug::ALL);
}
