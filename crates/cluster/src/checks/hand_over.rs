//! The checks of a switchover: the primary is alive and gives its own word, so nobody has to have missed it, and nobody's account of
//! the copies is needed: a member of the in-sync set in the boot that it is a member in holds everything that was acknowledged.

use super::{
    Judgement, Plan, Row, breaker, follows_epoch, holds_data, not_failed_before, not_primary, policy, single, stays, up_to_date,
};
use crate::policy::not_held;
use crate::refusal::{RefusalKind, Rule};
use crate::state::ReignState;

/// As in the list of a promotion: the most telling reason first.
pub const CHECKS: &[Row] = &[
    (Rule::R12, "the target is a file server that holds the volume", holds_data),
    (Rule::R1, "the new epoch follows the present one", follows_epoch),
    (Rule::R1, "the target is not the primary already", not_primary),
    (Rule::R13, "the primary is there to give its own word", primary_hands_over),
    (Rule::R5, "the target is in the in-sync set, in its present boot", member_in_this_boot),
    (Rule::R7, "nothing is on hold", not_held),
    (Rule::R10, "the target is not in maintenance", target_not_in_maintenance),
    (Rule::R8, "no other promotion of the volume is under way", single),
    (Rule::R8, "this very plan did not fail before", not_failed_before),
    (Rule::R8, "the breaker is closed", breaker),
    (Rule::R14, "the evidence is of the present state", up_to_date),
    (Rule::R7, "a person decides, by asking", policy),
];

/// Back to where it was served a moment ago: who is in maintenance there was so before, and a hold keeps roles where they were.
pub const WAY_BACK: &[Row] = &[
    (Rule::R1, "the new epoch follows the present one", follows_epoch),
    (Rule::R1, "nobody else was granted the volume", not_primary),
    (Rule::R5, "the old primary is in the in-sync set, in its present boot", member_in_this_boot),
    (Rule::R8, "no other promotion of the volume is under way", single),
    (Rule::R8, "the breaker is closed", breaker),
    (Rule::R14, "the evidence is of the present state", up_to_date),
    (Rule::R7, "a person decided, by asking for the switchover", policy),
];

/// Until its word it serves, in the boot that the evidence names; after it, nothing is needed of it any more.
fn primary_hands_over(plan: &Plan) -> Judgement {
    let drained = plan.own.and_then(|id| plan.state.proposals.get(&id)).and_then(|proposal| proposal.drained);
    if let Some(last) = drained {
        return Ok(format!("it gave its word, at {last}"));
    }
    match plan.volume.reign.filter(|reign| reign.state == ReignState::Serving) {
        Some(reign) => Ok(format!("{} serves, in boot {}", plan.state.node_name(reign.node), reign.incarnation)),
        None => Err(RefusalKind::NothingToHandOver(plan.volume.name.clone())),
    }
}

/// A member that restarted may lack what was in memory only, and its primary has not verified this boot yet.
fn member_in_this_boot(plan: &Plan) -> Judgement {
    let (node, current) = (plan.node.name.clone(), plan.node.incarnation);
    let in_sync = plan.state.names(plan.volume.in_sync.keys());
    stays(plan)?;
    match plan.volume.in_sync.get(&plan.candidate).copied() {
        None => Err(RefusalKind::NotInSync { node, in_sync }),
        Some(member) if member != current => Err(RefusalKind::RestartedSince { node, member, current }),
        Some(_) => Ok(format!("{node} is in {in_sync}, in boot {current}")),
    }
}

/// The old primary's own maintenance is what most switchovers are for.
fn target_not_in_maintenance(plan: &Plan) -> Judgement {
    plan.state.not_maintained(plan.candidate)
}
