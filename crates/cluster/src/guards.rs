//! The guards of the policy `guarded`: when all of them hold, the cluster itself gives the approval that a person would give, by the
//! same function and with the same consequences (R7). When one does not, the proposal waits for a person.
//!
//! Every promotion passes the checks of [`crate::checks`] first; a guard asks for more than those do.

use crate::checks::{Check, Plan, Verdict, silent_ms};
use crate::drift::Drift;
use crate::evidence::{FencingProof, Known, Loss};
use crate::explain::health_line;
use crate::policy::drill_until;
use crate::refusal::{Rule, instant};
use mainstay_protocol::planted::{Bug, planted};
use mainstay_protocol::{NodeId, Timestamp};
use std::collections::BTreeSet;

/// The value seen; `Err`: it does not hold.
type Guarded = Result<String, String>;

/// `at`: when it is judged, where somebody knows.
type GuardFunction = fn(&Plan, Option<Timestamp>) -> Guarded;

const GUARDS: &[(&str, GuardFunction)] = &[
    ("nothing that was acknowledged is lost", nothing_lost),
    ("the old primary is fenced, by no person's word", fenced),
    ("a majority is heard", majority_heard),
    ("nothing is in maintenance", nothing_maintained),
    ("the candidate has room, and nothing on it is damaged", sound),
    ("the breaker is closed", breaker_closed),
    ("every node is known, and remembers what it said", nodes_known),
    ("all nodes run the same program", same_software),
    ("the clocks agree", same_time),
    ("no person denied this plan", not_denied),
    ("a drill of this configuration passed", drilled),
];

impl Plan<'_> {
    /// Each guard with its value.
    pub(crate) fn guards(&self, at: Option<Timestamp>) -> Vec<Check> {
        GUARDS.iter().map(|(claim, judge)| guard(claim, judge(self, at))).collect()
    }

    /// The first guard that does not hold, in a sentence.
    pub(crate) fn unguarded(&self, at: Timestamp) -> Option<String> {
        let failing = self.guards(Some(at)).into_iter().find(|check| check.verdict != Verdict::Holds)?;
        Some(format!("{}: {}", failing.claim, failing.value))
    }
}

fn guard(claim: &str, judged: Guarded) -> Check {
    let (verdict, value, clears) = match judged {
        Ok(value) => (Verdict::Holds, value, ""),
        Err(value) => (Verdict::Fails, value, "A person decides: approve or deny the proposal"),
    };
    Check { rule: Rule::R7, claim: claim.into(), verdict, value, clears: clears.into() }
}

/// In sync, in the boot that is known to hold everything.
fn nothing_lost(plan: &Plan, _: Option<Timestamp>) -> Guarded {
    let basis = &plan.evidence.basis;
    match basis.loss {
        _ if plan.evidence.loss.is_some() => Err("acknowledged writes would be given up".into()),
        _ if plan.volume.forced.is_some() => Err("the quorum was forced: what the lost nodes knew is unknown".into()),
        Loss::None => Ok(format!("{} is in sync since boot {}", plan.node.name, basis.candidate_incarnation)),
        loss => Err(loss.to_string()),
    }
}

/// Named one by one: a proof that is a person's word must not slip in here when there is one.
fn fenced(plan: &Plan, _: Option<Timestamp>) -> Guarded {
    match plan.evidence.fencing {
        FencingProof::LeaseLapse { wait_ms } => Ok(format!("every node waits out the lease, {wait_ms} ms")),
        FencingProof::OwnDemotion => Ok("it stepped down or restarted".into()),
        FencingProof::ExternalFence { by } => Ok(format!("external fence confirmed ({by})")),
        FencingProof::HandOver { .. } | FencingProof::GivenBack { .. } => Err("a person switches over".into()),
        FencingProof::Forced => Err("two people said that its machine is gone".into()),
    }
}

/// Nodes that said something of late, to whoever gathered the evidence.
fn majority_heard(plan: &Plan, _: Option<Timestamp>) -> Guarded {
    let observed = &plan.evidence.observed;
    let limit_ms = plan.state.settings.contact_lost_ms;
    let told = observed.contacts.iter().filter(|(_, contact)| silent_ms(**contact).is_some()).map(|(node, _)| *node);
    let copies = observed.copies.iter().filter_map(|(node, copy)| match copy {
        Known::Known(copy) if copy.age_ms < limit_ms => Some(*node),
        _ => None,
    });
    let heard: BTreeSet<NodeId> = told.chain(copies).filter(|node| plan.state.nodes.contains_key(node)).collect();
    let text = format!("{} of {} nodes", heard.len(), plan.state.voters().count());
    if heard.len() >= plan.state.majority() { Ok(text) } else { Err(text) }
}

/// Of any node, the witness too, and until it is verified back in sync: whoever works on the cluster may have caused this.
fn nothing_maintained(plan: &Plan, _: Option<Timestamp>) -> Guarded {
    match plan.state.maintenance.iter().next() {
        Some(_) if planted(Bug::GuardedInMaintenance) => Ok("not looked at".into()),
        None => Ok("none".into()),
        Some((id, m)) => Err(format!("{id} of {} is open, {} answers for it", plan.state.node_name(m.node), m.owner)),
    }
}

/// Promoting it would help nobody, or bring a damage into the light that another copy might not have.
fn sound(plan: &Plan, _: Option<Timestamp>) -> Guarded {
    let Some(copy) = plan.copy() else { return Err("UNKNOWN".into()) };
    let text = health_line(&copy.health);
    let good = !copy.health.failed && !copy.health.full && copy.health.free_bytes > 0 && copy.health.damaged == 0;
    if good { Ok(text) } else { Err(text) }
}

fn breaker_closed(plan: &Plan, _: Option<Timestamp>) -> Guarded {
    if plan.volume.breaker.open { Err("it is open".into()) } else { Ok("closed".into()) }
}

/// A node that never booted was never seen to work, and one that was set back may have promised what it does not know any more.
fn nodes_known(plan: &Plan, _: Option<Timestamp>) -> Guarded {
    let mut nodes = plan.state.nodes.values();
    let strange = nodes.find_map(|node| match (node.incarnation.0, node.set_back) {
        (0, _) => Some(format!("{} has never booted", node.name)),
        (_, Some(_)) if planted(Bug::GuardedInDrift) => None,
        (_, Some(at)) => Some(format!("{} lacks what it had confirmed, seen {}", node.name, instant(at))),
        _ => None,
    });
    strange.map_or_else(|| Ok(format!("{} nodes", plan.state.nodes.len())), Err)
}

/// In the middle of an upgrade somebody is at work, and two programs may not see everything alike.
fn same_software(plan: &Plan, _: Option<Timestamp>) -> Guarded {
    drift(crate::drift::software(plan.state, &plan.evidence.basis.software))
}

/// Approvals and leases do not rest on wall clocks, but what people are told of times does; and a clock that is far off is the mark of
/// a machine that was suspended or set back.
fn same_time(plan: &Plan, _: Option<Timestamp>) -> Guarded {
    drift(crate::drift::clocks(plan.state, &plan.evidence.observed))
}

fn drift(found: Drift) -> Guarded {
    match found.matters {
        true if planted(Bug::GuardedInDrift) => Ok("not looked at".into()),
        true => Err(found.text),
        false => Ok(found.text),
    }
}

/// Whoever asks for it again: after a person's no, a person says yes.
fn not_denied(plan: &Plan, at: Option<Timestamp>) -> Guarded {
    // Without a time, an old denial counts as well: it shows more than it hides.
    let denied = plan.state.denied_before(plan.id, plan.candidate, at.unwrap_or_default());
    denied.map_or_else(|| Ok("none did".into()), |kind| Err(kind.to_string()))
}

fn drilled(plan: &Plan, at: Option<Timestamp>) -> Guarded {
    let days = plan.volume.rules.drill_days;
    if days == 0 {
        return Ok("not required".into());
    }
    let Some(drill) = &plan.volume.rules.drill else { return Err("none is on record".into()) };
    if drill.config != plan.state.drill_digest(plan.volume) {
        return Err(format!("{} passed, but with another configuration", drill.scenario));
    }
    let until = drill_until(drill, days);
    let text = format!("{} passed on {}, good until {}", drill.scenario, instant(drill.at), instant(until));
    if at.is_some_and(|at| at >= until) { Err(text) } else { Ok(text) }
}
