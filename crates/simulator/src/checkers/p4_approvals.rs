//! P4: no role change that no person approved; none of, or because of, a node in maintenance.

use super::Grant;
use mainstay_cluster::{ClusterState, Digest};
use mainstay_protocol::ProposalId;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub struct Approvals {
    /// What operators have approved, in their own hand.
    approved: BTreeMap<ProposalId, BTreeSet<Digest>>,
    used: BTreeSet<ProposalId>,
}

impl Approvals {
    pub fn approved(&mut self, proposal: ProposalId, evidence: Digest) {
        self.approved.entry(proposal).or_default().insert(evidence);
    }

    pub fn granted(&mut self, grant: &Grant, before: &ClusterState, after: &ClusterState) -> Result<(), String> {
        let epoch = grant.after.epoch;
        let Some((id, proposal)) = after.proposals.iter().find(|(_, proposal)| proposal.granted == Some(epoch)) else {
            return Err(format!("{epoch} was granted without a proposal"));
        };
        if !self.approved.get(id).is_some_and(|evidence| evidence.contains(&proposal.evidence_hash)) {
            return Err(format!("{epoch} was granted for {id}, which nobody approved with its evidence"));
        }
        if !self.used.insert(*id) {
            return Err(format!("the approval of {id} was used twice"));
        }
        if before.maintenance_of(grant.node).is_some() {
            return Err(format!("{epoch} was granted to {}, which is in maintenance", grant.node));
        }
        match grant.before.and_then(|volume| volume.last_primary).and_then(|old| before.maintenance_of(old)) {
            Some((maintenance, _)) => Err(format!("{epoch} was granted because of a node in maintenance {maintenance}")),
            None => Ok(()),
        }
    }
}
