//! S06, S07, S08: links that fail.

use crate::queue::{MILLISECOND, SECOND};
use crate::rng::Rng;
use crate::scenario::{A, Action, Approvals, B, Plan, Scenario, W};

pub const PEER_LINK_CUT: Scenario = Scenario {
    name: "S06 peer-link-cut",
    story: "A and B lose sight of each other while W sees both. A goes on, after the in-sync set has shrunk; B stays what it is.",
    plan: peer_link_cut,
};

fn peer_link_cut(rng: &mut Rng) -> Plan {
    let mut plan = Plan::calm(40 * SECOND);
    plan.approvals = Approvals::After(100 * MILLISECOND, 2 * SECOND);
    let mut at = 4 * SECOND;
    while at < 30 * SECOND {
        plan.at(at, Action::CutBoth(A, B));
        let end = at + rng.log_range(200 * MILLISECOND, 12 * SECOND);
        plan.at(end, Action::HealLinks);
        at = end + rng.range(2 * SECOND, 5 * SECOND);
    }
    plan
}

pub const ISOLATED_PRIMARY: Scenario = Scenario {
    name: "S07 isolated-primary",
    story: "A is cut off from B and W, but not from its clients. Its lease ends before B can be granted anything; it answers nothing \
            from then on.",
    plan: isolated_primary,
};

fn isolated_primary(rng: &mut Rng) -> Plan {
    let mut plan = Plan::calm(50 * SECOND);
    plan.approvals = Approvals::After(50 * MILLISECOND, SECOND);
    plan.think = (MILLISECOND, 20 * MILLISECOND);
    plan.lease_ms = *rng.pick(&[500, 1_000, 2_000]);
    let mut at = 4 * SECOND;
    for victim in [A, B] {
        let other = if victim == A { B } else { A };
        plan.at(at, Action::CutBoth(victim, other)).at(at + rng.below(300 * MILLISECOND), Action::CutBoth(victim, W));
        let end = at + rng.range(3 * SECOND, 12 * SECOND);
        plan.at(end, Action::HealLinks);
        at = end + 6 * SECOND;
    }
    plan
}

pub const ONE_WAY: Scenario = Scenario {
    name: "S08 one-way",
    story: "What A sends to W is lost; everything else arrives. Leases do not alternate: the primary changes only if somebody \
            approves it.",
    plan: one_way,
};

fn one_way(rng: &mut Rng) -> Plan {
    let mut plan = Plan::calm(45 * SECOND);
    plan.approvals = if rng.percent(50) { Approvals::None } else { Approvals::After(500 * MILLISECOND, 2 * SECOND) };
    plan.expect.no_role_change = plan.approvals == Approvals::None;
    let pairs = [(A, W), (W, A), (A, B), (B, A), (B, W), (W, B)];
    let mut at = 4 * SECOND;
    while at < 35 * SECOND {
        // The drill's own direction first, then any.
        let (from, to) = if at == 4 * SECOND { (A, W) } else { *rng.pick(&pairs) };
        plan.at(at, Action::Cut(from, to));
        let end = at + rng.range(2 * SECOND, 10 * SECOND);
        plan.at(end, Action::HealLinks);
        at = end + rng.range(SECOND, 3 * SECOND);
    }
    plan
}
