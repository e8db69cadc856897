//! What has to hold when two people give up acknowledged writes (R5): everything that has to hold otherwise, but that the candidate is
//! in sync. In its place: the loss is named as it is, and nobody who can be heard holds more.

use super::*;
use crate::refusal::Rule;

pub(super) const CHECKS: &[(Rule, &str, CheckFunction)] = &[
    (Rule::R12, "the candidate is a file server that holds the volume", holds_data),
    (Rule::R1, "the new epoch follows the present one, and no copy is of a later one", follows_epoch),
    (Rule::R1, "the candidate is not the primary already", not_primary),
    (Rule::R9, "the candidate holds nothing that the cluster does not have", not_diverged),
    (Rule::R11, "the candidate's copy is a complete prefix", not_in_resync),
    (Rule::R6, "the candidate's copy can be trusted", copy_trusted),
    (Rule::R5, "the loss is named as it is", named_as_it_is),
    (Rule::R5, "nobody that is heard holds more than the candidate", nobody_holds_more),
    (Rule::R7, "nothing is on hold", not_held),
    (Rule::R10, "neither the candidate nor the missing primary is in maintenance", no_maintenance),
    (Rule::R8, "no other promotion of the volume is under way", single),
    (Rule::R8, "this very plan did not fail before", not_failed_before),
    (Rule::R8, "the breaker is closed", breaker),
    (Rule::R3, "the candidate is booted, and its copy was reported by this boot", booted),
    (Rule::R13, "the old primary cannot serve any more, or its lease will lapse", fencing),
    (Rule::R6, "everything that decides is known", all_known),
    (Rule::R14, "the evidence is of the present state", up_to_date),
    (Rule::R2, "the nodes promise the new epoch durably before it is granted", promise_comes),
    (Rule::R15, "what replicas do meanwhile", meanwhile),
];

/// The end of the candidate's copy, and since when it is not waited for. An empty copy keeps nothing, so there is nothing to decide for.
fn named_as_it_is(plan: &Plan) -> Judgement {
    let Some(copy) = plan.copy() else { return Err(plan.missing_copy()) };
    let Some(loss) = &plan.evidence.loss else { return Err(plan.missing_copy()) };
    let left = plan.volume.left_in_sync.get(&plan.candidate).map(|left| left.at);
    if copy.last.position == Position(0) {
        return Err(RefusalKind::EmptyCopy(plan.node.name.clone()));
    }
    if loss.after != copy.last || loss.left != left {
        return Err(RefusalKind::LossMisnamed { node: plan.node.name.clone(), last: copy.last.to_string() });
    }
    Ok(format!("everything acknowledged after {} is given up", loss.after))
}

/// A copy that was only heard of long ago does not count: it is what is given up.
fn nobody_holds_more(plan: &Plan) -> Judgement {
    let Some(copy) = plan.copy() else { return Err(plan.missing_copy()) };
    let limit_ms = plan.state.settings.contact_lost_ms;
    let others = plan.volume.replicas.iter().filter(|node| **node != plan.candidate);
    let heard = others.filter_map(|node| Some((*node, known_copy(&plan.evidence.observed, *node)?)));
    let mut usable = heard.filter(|(_, other)| other.age_ms < limit_ms && other.state == CopyState::Complete);
    match usable.find(|(_, other)| reach(other.last) > reach(copy.last)) {
        Some((node, other)) => Err(plan.state.longer_copy(plan.candidate, copy.last, node, other.last)),
        None => Ok(format!("{} is the longest copy that is heard", copy.last)),
    }
}

impl ClusterState {
    /// The evidence for promoting `candidate` in spite of what it lacks. None when node or volume is unknown, or nobody knows where
    /// the candidate's copy ends.
    pub fn evidence_with_loss(
        &self,
        candidate: NodeId,
        volume: VolumeId,
        observed: &Observed,
        (newest_kept, files, reason): (Option<Timestamp>, LostFiles, String),
    ) -> Option<Evidence> {
        let evidence = self.evidence(candidate, volume, observed)?;
        let after = known_copy(observed, candidate)?.last;
        let left = self.volumes.get(&volume)?.left_in_sync.get(&candidate).map(|left| left.at);
        Some(Evidence { loss: Some(NamedLoss { after, newest_kept, left, files, reason }), ..evidence })
    }
}
