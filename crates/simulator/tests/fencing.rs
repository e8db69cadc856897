//! What a fencing hook is worth: the wait for a long lease, when it works, and nothing at all when it does not.

use mainstay_simulator::queue::{MILLISECOND, SECOND};
use mainstay_simulator::scenario::{A, Action, Approvals, B, Hook, W};
use mainstay_simulator::timeline::MarkKind;
use mainstay_simulator::{Options, Plan, run_plan};

const LOST: u64 = 5 * SECOND;
const LEASE: u64 = 10 * SECOND;
/// What of the lease may be over when the primary is lost: requests for it go out eight times as often as it lasts.
const RENEWED: u64 = LEASE / 8 + SECOND / 2;
const SEEDS: u64 = 6;

/// A is cut off from everybody but its clients; somebody asks for B, early in the lease, and B may have A switched off.
fn plan(hook: Hook) -> Plan {
    let mut plan = Plan::calm(40 * SECOND);
    plan.lease_ms = LEASE / MILLISECOND;
    plan.cluster.contact_lost_ms = Some(2_000);
    plan.cluster.hook = hook;
    plan.approvals = Approvals::After(100 * MILLISECOND, 200 * MILLISECOND);
    plan.at(LOST, Action::CutBoth(A, B)).at(LOST, Action::CutBoth(A, W));
    // Some are asked through A, which nobody hears.
    for attempt in 0..8 {
        plan.at(LOST + 2_500 * MILLISECOND + attempt * 300 * MILLISECOND, Action::Promote(B));
    }
    plan.at(30 * SECOND, Action::HealLinks);
    plan
}

/// How long after the loss B was granted the volume, shortest first.
fn granted(hook: Hook) -> Vec<u64> {
    let options = Options { timeline: true, ..Options::default() };
    let mut took: Vec<u64> = (0..SEEDS)
        .map(|seed| {
            let mut outcome = run_plan(seed, "fencing", plan(hook), options);
            assert!(outcome.ok(), "{}", outcome.report());
            let timeline = outcome.timeline.take().expect("it was asked for");
            let granted = timeline.marks(MarkKind::Epoch).map(|mark| mark.at_ns).find(|at| *at > LOST);
            granted.expect("B is granted the volume in the end") - LOST
        })
        .collect();
    took.sort_unstable();
    took
}

#[test]
fn a_confirmed_fence_shortens_the_wait() {
    let took = granted(Hook::Works);
    // A hook takes up to six seconds itself; the usual one is done in less than one.
    assert!(took[SEEDS as usize / 2] + 2 * SECOND < LEASE - RENEWED, "{took:?}");
}

#[test]
fn a_fence_that_fails_hangs_or_lies_shortens_nothing() {
    for hook in [Hook::Absent, Hook::Fails, Hook::Hangs, Hook::Lies] {
        let took = granted(hook);
        assert!(took[0] >= LEASE - RENEWED, "{hook:?}: {took:?}");
    }
}
