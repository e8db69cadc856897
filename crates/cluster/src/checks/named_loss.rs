//! What has to hold when two people give up acknowledged writes (R5): everything that has to hold otherwise, but that the candidate is
//! in sync. In its place: the loss is named as it is, and nobody who can be heard holds more.

use super::*;
use crate::refusal::Rule;

/// In the place of membership.
pub(super) const CHECKS: &[Row] = &[
    (Rule::R5, "the loss is named as it is", named_as_it_is),
    (Rule::R5, "nobody that is heard holds more than the candidate", nobody_holds_more),
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

/// Of all replicas: what is on one that is out of sync too would be given up for nothing.
fn nobody_holds_more(plan: &Plan) -> Judgement {
    let Some(copy) = plan.copy() else { return Err(plan.missing_copy()) };
    longest_of(plan, copy.last, plan.volume.replicas.iter())
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
