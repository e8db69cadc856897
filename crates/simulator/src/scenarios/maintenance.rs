//! S01, S18, S20: a secondary that leaves and comes back.

use crate::disk::Crash;
use crate::network::Quality;
use crate::queue::{MILLISECOND, SECOND};
use crate::rng::Rng;
use crate::scenario::{A, Action, Approvals, B, Expect, Plan, Scenario, W};

pub const THE_INCIDENT: Scenario = Scenario {
    name: "S01 the-incident",
    story: "B leaves for planned maintenance and comes back minutes later; clients write more meanwhile than any time-out could \
            copy. At B's return something stirs: A and W lose sight of each other for a moment, maintenance is cleared at boot, B \
            boots again, coordination changes its leader or B's view of it is stale. A stays the primary, no client notices, and B \
            receives only what changed.",
    plan: the_incident,
};

fn the_incident(rng: &mut Rng) -> Plan {
    let mut plan = Plan::calm(70 * SECOND);
    plan.large_writes = true;
    plan.think = (2 * MILLISECOND, 30 * MILLISECOND);
    plan.soft_percent = 0;
    plan.approvals = Approvals::After(SECOND, 2 * SECOND);
    plan.expect =
        Expect { no_role_change: true, answered_within: Some(4 * SECOND), moves_only_changes: Some(B), ..Expect::default() };
    let away = 5 * SECOND + rng.below(3 * SECOND);
    let back = away + rng.range(20 * SECOND, 35 * SECOND);
    plan.at(away - SECOND, Action::BeginMaintenance(B));
    match rng.below(3) {
        0 => plan.at(away, Action::Stop(B)),
        1 => plan.at(away, Action::Crash(B, Crash::Process)),
        _ => plan.at(away, Action::Crash(B, Crash::Power)),
    };
    plan.at(back, Action::Start(B));
    let soon = back + rng.below(4 * SECOND);
    // Shorter than the lease, as blips are.
    let blip_end = soon + plan.lease_ms * MILLISECOND / 3;
    match rng.below(6) {
        0 => plan.at(soon, Action::CutBoth(A, W)).at(blip_end, Action::HealLinks),
        1 => plan.at(back, Action::EndMaintenance(B)),
        2 => plan.at(soon, Action::Crash(B, Crash::Process)).at(soon + SECOND, Action::Start(B)),
        3 => plan.at(soon, Action::DeposeLeader),
        4 => plan.at(back, Action::StallCoordination(B, 8 * SECOND)),
        _ => plan.at(soon, Action::Note("nothing else")),
    };
    plan.at(back + 20 * SECOND, Action::EndMaintenance(B));
    plan
}

pub const SYNC_INTERRUPTED: Scenario = Scenario {
    name: "S20 sync-interrupted",
    story: "B has been away for so long that the log it needs is gone. While it catches up by what changed it crashes five times, \
            killed or by loss of power. It resumes each time where it was, and all of it moves little more than what changed.",
    plan: sync_interrupted,
};

fn sync_interrupted(rng: &mut Rng) -> Plan {
    let mut plan = Plan::calm(70 * SECOND);
    plan.large_writes = true;
    plan.think = (2 * MILLISECOND, 25 * MILLISECOND);
    plan.soft_percent = 0;
    plan.resync_bytes_per_second = 2_000_000;
    plan.expect = Expect { no_role_change: true, moves_only_changes: Some(B), ..Expect::default() };
    let kind = |rng: &mut Rng| if rng.percent(50) { Crash::Process } else { Crash::Power };
    let away = 4 * SECOND + rng.below(2 * SECOND);
    plan.at(away, Action::Crash(B, kind(rng)));
    let mut at = away + rng.range(25 * SECOND, 35 * SECOND);
    plan.at(at, Action::Start(B));
    // From here on little is written: what is left to move is the resync.
    plan.at(at, Action::Think(200 * MILLISECOND, SECOND));
    for _ in 0..5 {
        at += SECOND + rng.below(2 * SECOND);
        plan.at(at, Action::Crash(B, kind(rng)));
        at += rng.range(10 * MILLISECOND, SECOND);
        plan.at(at, Action::Start(B));
    }
    plan
}

pub const SLOW_BUT_MOVING: Scenario = Scenario {
    name: "S18 slow-but-moving",
    story: "B comes back behind a link of one megabyte per second, with tens of megabytes to catch up on. It takes as long as it takes; \
            nothing gives up, and nothing is sent twice because it is slow.",
    plan: slow_but_moving,
};

fn slow_but_moving(rng: &mut Rng) -> Plan {
    let mut plan = Plan::calm(70 * SECOND);
    plan.large_writes = true;
    plan.think = (2 * MILLISECOND, 30 * MILLISECOND);
    plan.soft_percent = 0;
    plan.expect = Expect { no_role_change: true, moves_only_changes: Some(B), ..Expect::default() };
    let away = 4 * SECOND + rng.below(2 * SECOND);
    plan.at(away, Action::Crash(B, Crash::Process));
    // Long enough for a resync by change, or short enough for the log to be there still.
    let back = away + *rng.pick(&[1500 * MILLISECOND, 3 * SECOND, 25 * SECOND]);
    plan.at(back, Action::LinkQuality(A, B, Quality { bytes_per_second: 1_000_000, ..Quality::GOOD }));
    plan.at(back, Action::Think(500 * MILLISECOND, 2 * SECOND));
    plan.at(back, Action::Start(B));
    plan
}
