//! S03, S04, S30: who is the primary, and who was.

use crate::disk::Crash;
use crate::queue::{MILLISECOND, SECOND};
use crate::rng::Rng;
use crate::scenario::{A, Action, Approvals, B, Plan, Scenario, W};

fn kind(rng: &mut Rng) -> Crash {
    if rng.percent(50) { Crash::Process } else { Crash::Power }
}

pub const SEE_SAW: Scenario = Scenario {
    name: "S03 see-saw",
    story: "B goes down, A is written to alone, A goes down, B comes back first: its copy is old and must not be promoted. Then A \
            comes back, and nothing is lost. Several rounds.",
    plan: see_saw,
};

fn see_saw(rng: &mut Rng) -> Plan {
    let mut plan = Plan::calm(60 * SECOND);
    // Everything proposed is approved, at once: what protects is that an old copy is never proposed, and refused if it is.
    plan.approvals = Approvals::After(200 * MILLISECOND, SECOND);
    plan.lease_ms = 1_000;
    let (mut first, mut second) = (A, B);
    let mut at = 3 * SECOND;
    for _ in 0..3 {
        plan.at(at, Action::Crash(second, kind(rng)));
        let alone = at + rng.range(3 * SECOND, 6 * SECOND);
        plan.at(alone, Action::Crash(first, kind(rng)));
        let back = alone + rng.range(100 * MILLISECOND, 2 * SECOND);
        plan.at(back, Action::Start(second));
        let both = back + rng.range(4 * SECOND, 7 * SECOND);
        plan.at(both, Action::Start(first));
        at = both + rng.range(4 * SECOND, 6 * SECOND);
        if rng.percent(50) {
            std::mem::swap(&mut first, &mut second);
        }
    }
    plan
}

pub const ZOMBIE_PRIMARY: Scenario = Scenario {
    name: "S04 zombie-primary",
    story: "A dies under load, B is promoted by approval, and A returns: from a crash, from a pause, or from behind a partition, \
            with clients that still hold connections to it. It answers nothing and becomes a secondary.",
    plan: zombie_primary,
};

fn zombie_primary(rng: &mut Rng) -> Plan {
    let mut plan = Plan::calm(45 * SECOND);
    plan.approvals = Approvals::After(100 * MILLISECOND, SECOND);
    plan.think = (MILLISECOND, 15 * MILLISECOND);
    let dies = 5 * SECOND + rng.below(SECOND);
    let returns = dies + rng.range(6 * SECOND, 15 * SECOND);
    match rng.below(4) {
        0 => plan.at(dies, Action::Crash(A, Crash::Process)).at(returns, Action::Start(A)),
        1 => plan.at(dies, Action::Crash(A, Crash::Power)).at(returns, Action::Start(A)),
        2 => plan.at(dies, Action::Pause(A)).at(returns, Action::Resume(A)),
        // Its clients stay with it.
        _ => plan.at(dies, Action::CutBoth(A, B)).at(dies, Action::CutBoth(A, W)).at(returns, Action::HealLinks),
    };
    plan
}

pub const DIVERGED: Scenario = Scenario {
    name: "S30 diverged",
    story: "A takes writes that reach nobody, and is cut off; B is promoted and takes others. When they meet, the records that only \
            A has are kept in quarantine before they are rolled back, and no acknowledged operation is missing.",
    plan: diverged,
};

fn diverged(rng: &mut Rng) -> Plan {
    let mut plan = Plan::calm(50 * SECOND);
    plan.approvals = Approvals::After(100 * MILLISECOND, SECOND);
    plan.think = (MILLISECOND, 10 * MILLISECOND);
    let mut at = 4 * SECOND;
    for _ in 0..2 {
        // A goes on executing what its clients send until its lease ends; none of it can be committed.
        at += rng.below(SECOND);
        plan.at(at, Action::CutBoth(A, B));
        let isolated = at + rng.range(MILLISECOND, 300 * MILLISECOND);
        plan.at(isolated, Action::CutBoth(A, W));
        let meet = isolated + rng.range(7 * SECOND, 10 * SECOND);
        if rng.percent(40) {
            let crash = isolated + rng.below(3 * SECOND);
            plan.at(crash, Action::Crash(A, kind(rng))).at(meet - SECOND, Action::Start(A));
        }
        plan.at(meet, Action::HealLinks);
        // Back to A, so that the second round is like the first.
        let swap = meet + 5 * SECOND;
        plan.at(swap, Action::Stop(B)).at(swap + 4 * SECOND, Action::Start(B));
        at = swap + 8 * SECOND;
    }
    plan
}
