//! Members and copies that come and go under faults: who holds the volume and who counts changes all the time, in any order, while
//! machines die, are cut off, and come back.

use crate::disk::Crash;
use crate::queue::{MILLISECOND, SECOND, Time};
use crate::rng::Rng;
use crate::scenario::{A, Action, Approvals, B, D, E, Plan, Scenario, W};
use mainstay_cluster::Alone;
use mainstay_protocol::NodeId;

/// More than any schedule here has.
const ROLE_CHANGES_MAX: u32 = 30;

pub fn all() -> [Scenario; 2] {
    [members_hunt(), moving_hunt()]
}

fn members_hunt() -> Scenario {
    let story = "People add and remove copies and nodes, in any order and often wrongly, while machines crash and links break. A majority that \
            a lease rests on meets every majority that grants, nothing acknowledged is lost with a copy that goes, and in the end all \
            that holds a copy is in sync.";
    Scenario::function("R4 members", story, members)
}

fn servers(rng: &mut Rng) -> NodeId {
    *rng.pick(&[A, B, D, E])
}

fn members(rng: &mut Rng) -> Plan {
    let mut plan = base(rng);
    joins(rng, &mut plan);
    two_down(rng, &mut plan);
    let mut at = 4 * SECOND;
    while at < plan.faults_end {
        wish(rng, &mut plan, at);
        if rng.one_in(3) {
            fault(rng, &mut plan, at);
        }
        at += rng.range(300 * MILLISECOND, 4 * SECOND);
    }
    plan
}

/// Both at once, and people who cannot wait; now and then with a member away, so that the lease hangs on who has just joined.
fn joins(rng: &mut Rng, plan: &mut Plan) {
    if rng.percent(50) {
        plan.at(SECOND / 2, Action::Isolate(W)).at(7 * SECOND / 2, Action::HealLinks);
    }
    let second = SECOND + rng.below(300 * MILLISECOND);
    plan.at(SECOND, Action::Join).at(second, Action::Join);
    for _ in 0..rng.below(8) {
        let (at, node) = (SECOND + rng.below(2 * SECOND), *rng.pick(&[W, D, E]));
        plan.at(at, Action::RemoveNode(node));
    }
}

/// With two of five away, none of the others may leave.
fn two_down(rng: &mut Rng, plan: &mut Plan) {
    let at = rng.range(4 * SECOND, 30 * SECOND);
    plan.at(at, Action::Crash(D, Crash::Process)).at(at, Action::Crash(E, Crash::Process));
    let (asked, back) = (at + SECOND / 2, at + 3 * SECOND);
    plan.at(asked, Action::RemoveNode(W)).at(back, Action::Start(D)).at(back, Action::Start(E));
}

fn base(rng: &mut Rng) -> Plan {
    let mut plan = Plan::calm(70 * SECOND);
    plan.cluster.spares = 2;
    plan.cluster.role_changes_max = ROLE_CHANGES_MAX;
    plan.rough_coordination = rng.percent(50);
    plan.lease_ms = *rng.pick(&[500, 1_000, 2_000]);
    plan.approvals = Approvals::After(50 * MILLISECOND, 2 * SECOND);
    plan.think = (MILLISECOND, 30 * MILLISECOND);
    plan.soft_percent = 0;
    plan
}

fn wish(rng: &mut Rng, plan: &mut Plan, at: Time) {
    let node = servers(rng);
    plan.at(
        at,
        match rng.below(12) {
            0..=3 => Action::AddReplica(node),
            4..=7 => Action::RemoveReplica { node, accept_single: rng.one_in(8) },
            8 => Action::RemoveNode(node),
            9 if rng.one_in(4) => Action::RemoveNode(W),
            9 => Action::Join,
            10 if rng.one_in(2) => Action::SetAlone(*rng.pick(&[Alone::Serve, Alone::ReadOnly])),
            10 => Action::Switchover(node),
            _ => Action::Echo,
        },
    );
}

fn fault(rng: &mut Rng, plan: &mut Plan, at: Time) {
    let (node, other) = (*rng.pick(&[A, B, D, E, W]), *rng.pick(&[A, B, D, E, W]));
    let end = at + rng.log_range(50 * MILLISECOND, 8 * SECOND);
    match rng.below(6) {
        0 => plan.at(at, Action::CrashPrimary(Crash::Power)),
        1 => plan.at(at, Action::Crash(node, if rng.percent(50) { Crash::Process } else { Crash::Power })),
        2 => plan.at(at, Action::Isolate(node)),
        3 if node != other => plan.at(at, Action::CutBoth(node, other)),
        4 => plan.at(at, Action::Pause(node)),
        _ => plan.at(at, Action::StallCoordination(node, end - at)),
    };
    plan.at(end, Action::HealLinks).at(end, Action::Resume(node));
    for node in [A, B, D, E, W] {
        // Stopping may take longer than that.
        plan.at(end, Action::Start(node)).at(end + 10 * SECOND, Action::Start(node));
    }
}

fn moving_hunt() -> Scenario {
    let story = "The copy on B moves to D, and B leaves; then A's to E, after a switchover. In the middle of it, whenever that is, somebody dies \
            or is cut off. Whoever is promoted has what was acknowledged, and a grant has a majority of those who count then.";
    Scenario::function("R13 moving", story, moving)
}

fn moving(rng: &mut Rng) -> Plan {
    let mut plan = base(rng);
    plan.at(SECOND, Action::Join);
    let steps: [(u64, Action); 8] = [
        (3, Action::AddReplica(D)),
        (6, Action::RemoveReplica { node: B, accept_single: false }),
        (8, Action::Join),
        (10, Action::RemoveNode(B)),
        (13, Action::AddReplica(E)),
        (17, Action::Switchover(D)),
        (20, Action::RemoveReplica { node: A, accept_single: false }),
        (23, Action::RemoveNode(A)),
    ];
    let late = rng.below(20) * SECOND;
    for (second, action) in steps {
        // Asked again: the first time it may be too early, or somebody is away.
        for again in 0..3 {
            let at = second * SECOND + late + again * 15 * SECOND + rng.below(SECOND);
            plan.at(at, action.clone());
        }
    }
    for _ in 0..4 {
        let at = rng.range(3 * SECOND, 60 * SECOND);
        fault(rng, &mut plan, at);
    }
    plan
}
