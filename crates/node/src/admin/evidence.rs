//! What the person who approves at three in the morning reads: the evidence, and what has become of the proposal.

use super::api::EvidenceLine;
use mainstay_cluster::{ClusterState, Fence, FenceOutcome, Policy, Proposal, ProposalState};

pub fn lines(state: &ClusterState, proposal: &Proposal) -> Vec<EvidenceLine> {
    let evidence = proposal.evidence.lines(state).into_iter();
    let mut lines: Vec<EvidenceLine> = evidence.map(|(name, value)| EvidenceLine { name: name.into(), value }).collect();
    let mut line = |name: &str, value: String| lines.push(EvidenceLine { name: name.into(), value });
    if let Some(fence) = &proposal.fence {
        line("switching off", fence_text(state, fence));
    }
    if let Some(by) = proposal.approval.as_ref().and_then(|approval| approval.allowed_by.as_ref()) {
        line("approved", format!("without a person, by {by}"));
    }
    if proposal.state == ProposalState::Pending {
        line("needs", approvals(state, proposal));
    }
    lines
}

/// Who has to say yes, and why it was not done without a person.
fn approvals(state: &ClusterState, proposal: &Proposal) -> String {
    let policy = state.volumes.get(&proposal.volume).map(|volume| volume.policy);
    match (&proposal.evidence.loss, &proposal.by_hand, policy) {
        (Some(_), ..) => {
            let proposer = &proposal.proposer;
            format!("another approver than {proposer}, with credentials of their own: two people decide a loss (R5)")
        }
        (None, Some(why), _) => format!("one approver; not automatic, although the policy is guarded: {why}"),
        (None, None, Some(Policy::Hold)) => "the hold lifted, then one approver".into(),
        (None, None, _) => "one approver (policy manual)".into(),
    }
}

/// What became of switching the old primary off.
fn fence_text(state: &ClusterState, fence: &Fence) -> String {
    let (target, by) = (state.node_name(fence.target), state.node_name(fence.by));
    let outcome = match &fence.outcome {
        None => "under way; nobody waits for it".into(),
        Some(FenceOutcome::Confirmed) => "external fence confirmed: it is off".to_string(),
        Some(FenceOutcome::Failed(why)) => format!("FAILED, so it proves nothing and the lease decides: {why}"),
    };
    format!("{target} (boot {}), by {by}: {outcome}", fence.target_incarnation)
}
