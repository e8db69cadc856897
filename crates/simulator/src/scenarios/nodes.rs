//! S12, S27, S28: nodes that stop, lose power and tear what they were writing.

use crate::disk::Crash;
use crate::queue::{MILLISECOND, SECOND};
use crate::rng::Rng;
use crate::scenario::{A, Action, Approvals, B, Plan, Scenario};

pub const PAUSE: Scenario = Scenario {
    name: "S12 pause",
    story: "A is stopped past its lease and resumed, with everything that had arrived for it still in its sockets. Meanwhile B may \
            have been promoted. No late answer, no late record is taken.",
    plan: pause,
};

fn pause(rng: &mut Rng) -> Plan {
    let mut plan = Plan::calm(60 * SECOND);
    plan.approvals = Approvals::After(50 * MILLISECOND, SECOND);
    plan.think = (MILLISECOND, 20 * MILLISECOND);
    plan.lease_ms = *rng.pick(&[500, 1_000, 2_000]);
    let mut at = 4 * SECOND;
    while at < 50 * SECOND {
        let node = *rng.pick(&[A, A, B]);
        plan.at(at, Action::Pause(node));
        let end = at + rng.log_range(plan.lease_ms * MILLISECOND / 2, 10 * SECOND);
        plan.at(end, Action::Resume(node));
        at = end + rng.range(SECOND, 4 * SECOND);
    }
    plan
}

pub const LYING_FSYNC: Scenario = Scenario {
    name: "S27 lying-fsync",
    story: "Power fails, on one node or on both at once, and everything that was not synced is lost, kept, torn or reordered, sector by \
            sector. What was acknowledged as stable is there; of the rest the write verifier tells.",
    plan: lying_fsync,
};

fn lying_fsync(rng: &mut Rng) -> Plan {
    let mut plan = Plan::calm(60 * SECOND);
    plan.approvals = Approvals::After(50 * MILLISECOND, SECOND);
    plan.think = (MILLISECOND, 15 * MILLISECOND);
    plan.lease_ms = 500;
    let mut at = 4 * SECOND;
    while at < 50 * SECOND {
        match rng.below(3) {
            0 => {
                plan.at(at, Action::Crash(A, Crash::Power)).at(at, Action::Crash(B, Crash::Power));
            }
            1 => {
                let gap = rng.log_range(MILLISECOND, 4 * SECOND);
                plan.at(at, Action::Crash(A, Crash::Power)).at(at + gap, Action::Crash(B, Crash::Power));
            }
            _ => {
                plan.at(at, Action::Crash(*rng.pick(&[A, B]), Crash::Power));
            }
        }
        let (a, b) = (at + rng.range(SECOND, 6 * SECOND), at + rng.range(SECOND, 6 * SECOND));
        plan.at(a, Action::Start(A)).at(b, Action::Start(B));
        at += rng.range(7 * SECOND, 12 * SECOND);
    }
    plan
}

pub const TORN_LOG: Scenario = Scenario {
    name: "S28 torn-log",
    story: "Processes and machines die all the time, in the middle of whatever they write: records, checkpoints, new segments, \
            compaction. Every start finds a whole prefix, and nothing that was never written.",
    plan: torn_log,
};

fn torn_log(rng: &mut Rng) -> Plan {
    let mut plan = Plan::calm(60 * SECOND);
    plan.approvals = Approvals::After(50 * MILLISECOND, 500 * MILLISECOND);
    plan.think = (MILLISECOND, 10 * MILLISECOND);
    plan.large_writes = rng.percent(50);
    plan.lease_ms = 500;
    let mut at = 3 * SECOND;
    while at < 55 * SECOND {
        let node = *rng.pick(&[A, B]);
        let kind = if rng.percent(70) { Crash::Power } else { Crash::Process };
        plan.at(at, Action::Crash(node, kind));
        let back = at + rng.log_range(10 * MILLISECOND, 3 * SECOND);
        plan.at(back, Action::Start(node));
        // Sometimes it dies again while it recovers or catches up.
        if rng.percent(40) {
            let again = back + rng.range(MILLISECOND, 1500 * MILLISECOND);
            plan.at(again, Action::Crash(node, kind)).at(again + SECOND, Action::Start(node));
        }
        at += rng.range(2 * SECOND, 5 * SECOND);
    }
    plan
}
