//! What holds in every state, whatever the commands: asserted after each, checked when a snapshot is read.

use crate::state::{ClusterState, NodeKind, Proposal, ProposalState, VolumeState};
use mainstay_protocol::{ProposalId, VolumeId};

type Broken = Result<(), String>;

fn must(holds: bool, what: impl FnOnce() -> String) -> Broken {
    if holds { Ok(()) } else { Err(what()) }
}

impl ClusterState {
    /// The first thing that does not hold, the audit chain included.
    pub fn validate(&self) -> Broken {
        self.audit.verify().map_err(|broken| broken.to_string())?;
        self.check_invariants()
    }

    pub(crate) fn assert_invariants(&self) {
        if let Err(broken) = self.check_invariants() {
            panic!("cluster state {} contradicts itself: {broken}", self.version);
        }
    }

    fn check_invariants(&self) -> Broken {
        must(self.nodes.keys().all(|id| *id <= self.last_node), || "a node's id was never given out".into())?;
        self.check_members()?;
        self.volumes.iter().try_for_each(|(id, volume)| self.check_volume(*id, volume))?;
        self.proposals.iter().try_for_each(|(id, proposal)| self.check_proposal(*id, proposal))
    }

    fn check_members(&self) -> Broken {
        let counted = &self.membership.counted;
        let newest = counted.last_key_value().map_or(0, |(number, _)| *number);
        must(newest == self.membership.number, || "R13: the present members have no number".into())?;
        let now = self.voters().collect();
        must(counted.last_key_value().is_none_or(|(_, set)| *set == now), || "R13: the members are others than counted".into())?;
        let known = self.volumes.values().all(|volume| volume.members.known <= self.membership.number);
        must(known, || "R13: a primary counts with members that never were".into())
    }

    fn check_volume(&self, id: VolumeId, volume: &VolumeState) -> Broken {
        must(id <= self.last_volume && volume.epoch.0 >= 1, || format!("{id} was never made"))?;
        must(!volume.in_sync.is_empty() || volume.forced.is_some(), || format!("{id} has nobody in sync"))?;
        let server = |node| self.nodes.get(node).is_some_and(|known| known.kind == NodeKind::FileServer);
        must(volume.replicas.iter().all(server), || format!("R12: {id} has a replica that is no file server"))?;
        must(volume.in_sync.keys().all(|node| volume.replicas.contains(node)), || format!("{id} has a stranger in sync"))?;
        if let Some(reign) = volume.reign {
            let boot = self.nodes.get(&reign.node).map(|node| node.incarnation);
            must(boot == Some(reign.incarnation), || format!("R3: {id} is granted to an older boot"))?;
            must(volume.in_sync.contains_key(&reign.node), || format!("R5: the primary of {id} is not in sync"))?;
            must(!volume.fenced && volume.last_primary == Some(reign.node), || format!("R13: {id} has a fenced primary"))?;
        }
        must(volume.served_epoch <= volume.epoch, || format!("R1: {id} served an epoch that was never granted"))?;
        let open = volume.open_proposal.map(|proposal| self.proposals.get(&proposal));
        must(open.is_none_or(|open| open.is_some_and(|p| p.volume == id && p.state.open())), || {
            format!("R8: {id} waits for nothing")
        })
    }

    fn check_proposal(&self, id: ProposalId, proposal: &Proposal) -> Broken {
        must(id <= self.last_proposal, || format!("{id} was never made"))?;
        let place = self.volumes.get(&proposal.volume).and_then(|volume| volume.open_proposal);
        must(!proposal.state.open() || place == Some(id), || format!("R8: {id} is open beside {place:?}"))?;
        let approved = proposal.approval.as_ref().is_some_and(|approval| approval.evidence_hash == proposal.evidence_hash);
        let needs = proposal.state == ProposalState::Draining;
        let needs = needs || matches!(proposal.state, ProposalState::Fencing | ProposalState::CatchingUp | ProposalState::Serving);
        must(approved || !(needs || proposal.granted.is_some()), || format!("R7: {id} went on without an approval"))?;
        let next = proposal.parent_epoch.next();
        must(proposal.granted.is_none_or(|granted| granted == next), || format!("R1: {id} skipped an epoch"))
    }
}
