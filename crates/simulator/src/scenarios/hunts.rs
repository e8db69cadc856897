//! Schedules that aim at one rule: each makes the few moments frequent in which breaking it would do harm.

use crate::disk::{Crash, DiskFaults};
use crate::network::Quality;
use crate::queue::{MILLISECOND, SECOND};
use crate::rng::Rng;
use crate::scenario::{A, Action, Approvals, B, Plan, Scenario, W};

/// More than any schedule here has.
const ROLE_CHANGES_MAX: u32 = 30;

/// All of them.
pub fn all() -> [Scenario; 5] {
    [unheard_member_hunt(), backlog_hunt(), hanging_disk_hunt(), on_the_way_out_hunt(), failed_write_hunt()]
}

fn failed_write_hunt() -> Scenario {
    let story = "A disk is slow, so writes queue up behind each other, and one of them fails. Had those behind it been done, a segment that \
            is known to be whole would have a hole, and the copy could not be opened again.";
    Scenario::function("R4 failed-write", story, failed_write)
}

fn failed_write(rng: &mut Rng) -> Plan {
    let mut plan = Plan::calm(16 * SECOND);
    plan.think = (MILLISECOND, 5 * MILLISECOND);
    plan.large_writes = true;
    plan.clients = 6;
    plan.soft_percent = 0;
    plan.approvals = Approvals::After(50 * MILLISECOND, 500 * MILLISECOND);
    for at in [2 * SECOND, 9 * SECOND] {
        let server = if rng.percent(50) { A } else { B };
        let faults = DiskFaults { write_error_ppm: 20_000, ..DiskFaults::default() };
        plan.at(at, Action::DiskSlow(server, rng.range(20, 200))).at(at + rng.below(SECOND), Action::DiskFaults(server, faults));
        let good = at + 3 * SECOND;
        plan.at(good, Action::DiskFaults(server, DiskFaults::default())).at(good, Action::DiskSlow(server, 1));
        plan.at(good + rng.below(SECOND), Action::Crash(server, Crash::Process));
        plan.at(good + 2 * SECOND, Action::Start(server));
    }
    plan
}

fn on_the_way_out_hunt() -> Scenario {
    let story = "The primary is asked to stop, and its word that it leaves is lost, so its process lingers and is heard. Somebody approves \
            whatever is proposed, at once. What is granted to a boot that ends has nobody else in sync when it is gone.";
    Scenario::function("R3 on-the-way-out", story, on_the_way_out)
}

fn on_the_way_out(rng: &mut Rng) -> Plan {
    let mut plan = Plan::calm(100 * SECOND);
    // Many failovers, one after the other, and nobody in between who would reset it.
    plan.cluster.role_changes_max = ROLE_CHANGES_MAX;
    plan.think = (10 * MILLISECOND, 100 * MILLISECOND);
    // A node waits for half a lease until its word is heard.
    plan.lease_ms = 8_000;
    plan.rough_coordination = true;
    plan.approvals = Approvals::After(0, 50 * MILLISECOND);
    let mut at = 4 * SECOND;
    while at < 90 * SECOND {
        plan.at(at, Action::StopPrimary);
        let back = at + rng.range(5 * SECOND, 7 * SECOND);
        plan.at(back, Action::Start(A)).at(back, Action::Start(B));
        at = back + rng.range(SECOND, 3 * SECOND);
    }
    plan
}

fn unheard_member_hunt() -> Scenario {
    let story = "A new primary does not hear the other member of its in-sync set, and dies before the set could shrink. Had it answered \
            anybody on its own word, the answer would be lost with it.";
    Scenario::function("R4 unheard-member", story, unheard_member)
}

fn unheard_member(rng: &mut Rng) -> Plan {
    let mut plan = Plan::calm(60 * SECOND);
    // Many failovers, one after the other, and nobody in between who would reset it.
    plan.cluster.role_changes_max = ROLE_CHANGES_MAX;
    plan.think = (MILLISECOND, 10 * MILLISECOND);
    plan.soft_percent = 0;
    plan.approvals = Approvals::None;
    for at in (4..50).step_by(14).map(|second| second * SECOND) {
        plan.at(at, Action::StopPrimary).at(at + SECOND, Action::Start(A)).at(at + SECOND, Action::Start(B));
        // With W late, the majority that grants is the two of them, so both are in the set.
        let approve = at + 3 * SECOND;
        plan.at(approve - SECOND, Action::StallCoordination(W, 4 * SECOND));
        plan.at(approve, Action::Approvals(Approvals::After(0, MILLISECOND)));
        // Operators look every quarter of a second. Just after the approval the two lose each other.
        let cut = approve + 251 * MILLISECOND + rng.below(12 * MILLISECOND);
        plan.at(cut, Action::CutBoth(A, B));
        // Whoever was granted dies soon after it begins to serve, whenever that is.
        for _ in 0..6 {
            let dies = cut + rng.below(1500 * MILLISECOND);
            plan.at(dies, Action::CrashPrimary(Crash::Power));
        }
        plan.at(cut + 2 * SECOND, Action::HealLinks);
        plan.at(at + 10 * SECOND, Action::Start(A)).at(at + 10 * SECOND, Action::Start(B));
        plan.at(at + 13 * SECOND, Action::Approvals(Approvals::None));
    }
    plan
}

fn backlog_hunt() -> Scenario {
    let story = "The link between the copies is slow and holds seconds of records. The primary stops and hands the epoch back; the other has \
            promised the next one while the old one's records still come in.";
    Scenario::function("R2 backlog", story, backlog)
}

fn backlog(rng: &mut Rng) -> Plan {
    let mut plan = Plan::calm(60 * SECOND);
    // Many failovers, one after the other, and nobody in between who would reset it.
    plan.cluster.role_changes_max = ROLE_CHANGES_MAX;
    // Each waits for one answer at a time, so many are needed to fill the link.
    (plan.clients, plan.workers_per_client) = (8, 5);
    plan.think = (5 * MILLISECOND, 150 * MILLISECOND);
    plan.soft_percent = 0;
    plan.lease_ms = 1_000;
    // Decisions take their time, and so does the moment between the promise and the grant.
    plan.rough_coordination = true;
    plan.approvals = Approvals::After(10 * MILLISECOND, 200 * MILLISECOND);
    let mut at = 4 * SECOND;
    while at < 50 * SECOND {
        let slow = Quality { bytes_per_second: rng.range(15_000, 50_000), ..Quality::GOOD };
        plan.at(at, Action::LinkQuality(A, B, slow));
        let stop = at + rng.range(100 * MILLISECOND, 1500 * MILLISECOND);
        plan.at(stop, Action::StopPrimary);
        let end = stop + rng.range(3 * SECOND, 5 * SECOND);
        plan.at(end, Action::LinkQuality(A, B, Quality::GOOD)).at(end, Action::Start(A)).at(end, Action::Start(B));
        at = end + 4 * SECOND;
    }
    plan
}

fn hanging_disk_hunt() -> Scenario {
    let story = "The primary's disk hangs while its records go to the other copy, which writes them down. Then both die, and the primary, which \
            has lost them, is promoted again. The other copy must be able to go back behind all that was not committed.";
    Scenario::function("R9 hanging-disk", story, hanging_disk)
}

fn hanging_disk(rng: &mut Rng) -> Plan {
    let mut plan = Plan::calm(70 * SECOND);
    // Many failovers, one after the other, and nobody in between who would reset it.
    plan.cluster.role_changes_max = ROLE_CHANGES_MAX;
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
