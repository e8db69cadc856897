//! Schedules that aim at one rule: each makes the few moments frequent in which breaking it would do harm.

use crate::disk::Crash;
use crate::network::Quality;
use crate::queue::{MILLISECOND, SECOND};
use crate::rng::Rng;
use crate::scenario::{A, Action, Approvals, B, Plan, Scenario};

pub const UNHEARD_MEMBER: Scenario = Scenario {
    name: "R4 unheard-member",
    story: "A new primary does not hear the other member of its in-sync set, and dies before the set could shrink. Had it answered \
            anybody on its own word, the answer would be lost with it.",
    plan: unheard_member,
};

fn unheard_member(rng: &mut Rng) -> Plan {
    let mut plan = Plan::calm(70 * SECOND);
    plan.think = (MILLISECOND, 10 * MILLISECOND);
    plan.soft_percent = 0;
    plan.approvals = Approvals::After(1200 * MILLISECOND, 1600 * MILLISECOND);
    let mut at = 4 * SECOND;
    while at < 60 * SECOND {
        // The one that stopped is back, and votes, but the two do not hear each other any more.
        plan.at(at, Action::StopPrimary).at(at + SECOND, Action::Start(A)).at(at + SECOND, Action::Start(B));
        let cut = at + 2 * SECOND + rng.below(1200 * MILLISECOND);
        plan.at(cut, Action::CutBoth(A, B));
        let dies = cut + rng.range(100 * MILLISECOND, 2500 * MILLISECOND);
        plan.at(dies, Action::CrashPrimary(Crash::Power));
        plan.at(dies + 500 * MILLISECOND, Action::HealLinks);
        let back = dies + 7 * SECOND;
        plan.at(back, Action::Start(A)).at(back, Action::Start(B));
        at = back + 5 * SECOND;
    }
    plan
}

pub const BACKLOG: Scenario = Scenario {
    name: "R2 backlog",
    story: "The link between the copies is slow and holds seconds of records. The primary stops and hands the epoch back; the other has \
            promised the next one while the old one's records still come in.",
    plan: backlog,
};

fn backlog(rng: &mut Rng) -> Plan {
    let mut plan = Plan::calm(60 * SECOND);
    plan.think = (MILLISECOND, 10 * MILLISECOND);
    plan.large_writes = true;
    plan.soft_percent = 0;
    plan.lease_ms = 1_000;
    plan.approvals = Approvals::After(10 * MILLISECOND, 200 * MILLISECOND);
    let mut at = 4 * SECOND;
    while at < 50 * SECOND {
        let slow = Quality { bytes_per_second: rng.range(50_000, 400_000), ..Quality::GOOD };
        plan.at(at, Action::LinkQuality(A, B, slow));
        let stop = at + rng.range(100 * MILLISECOND, 1500 * MILLISECOND);
        plan.at(stop, Action::StopPrimary);
        let end = stop + rng.range(4 * SECOND, 6 * SECOND);
        plan.at(end, Action::LinkQuality(A, B, Quality::GOOD)).at(end, Action::Start(A)).at(end, Action::Start(B));
        at = end + 6 * SECOND;
    }
    plan
}

pub const HANGING_DISK: Scenario = Scenario {
    name: "R9 hanging-disk",
    story: "The primary's disk hangs while its records go to the other copy, which writes them down. Then both die, and the primary, which \
            has lost them, is promoted again. The other copy must be able to go back behind all that was not committed.",
    plan: hanging_disk,
};

fn hanging_disk(rng: &mut Rng) -> Plan {
    let mut plan = Plan::calm(70 * SECOND);
    plan.think = (MILLISECOND, 10 * MILLISECOND);
    plan.large_writes = rng.percent(50);
    plan.clients = 6;
    plan.lease_ms = 1_000;
    plan.approvals = Approvals::After(50 * MILLISECOND, 500 * MILLISECOND);
    let mut at = 4 * SECOND;
    while at < 50 * SECOND {
        let hang = rng.range(4 * SECOND, 6 * SECOND);
        plan.at(at, Action::DiskHang(A, hang));
        let die = at + hang - rng.range(10 * MILLISECOND, 500 * MILLISECOND);
        plan.at(die, Action::Crash(A, Crash::Power)).at(die, Action::Crash(B, Crash::Process));
        plan.at(die + 200 * MILLISECOND, Action::Start(A));
        let back = die + 6 * SECOND;
        plan.at(back, Action::Start(B));
        at = back + 6 * SECOND;
    }
    plan
}
