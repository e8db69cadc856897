//! A planned hand-over, as a person asks for it.

use super::api::{ApiError, NewSwitchover, ProposalStatus};
use super::{change, view};
use crate::clock;
use crate::shell::App;
use mainstay_cluster::{Actor, Command, FencingProof, Proposal, ProposalState};

/// Begins it; the proposal tells what becomes of it.
pub async fn begin(app: &App, who: &str, volume: &str, new: &NewSwitchover) -> Result<ProposalStatus, ApiError> {
    let state = app.state();
    let (volume, known) = view::find_volume(&state, volume)?;
    let to = view::find_node(&state, &new.to)?;
    let (parent_epoch, after) = (known.epoch, state.last_proposal);
    let command = Command::Switchover { volume, to, parent_epoch, after, actor: Actor::Person(who.into()), at: clock::wall() };
    change::decide(app, command).await?;
    // It was accepted as the next one, or it was refused.
    view::proposal_status_of(&app.state(), after.0 + 1)
}

/// What happens next, for people; of another proposal nothing.
pub fn next_step(proposal: &Proposal, id: u64) -> Option<String> {
    let call_off = format!("`mainstay deny {id}` calls it off");
    match (&proposal.state, proposal.evidence.fencing) {
        (ProposalState::Draining, _) => {
            Some(format!("the primary lets nothing new begin until the target has everything; {call_off}"))
        }
        (ProposalState::Fencing, FencingProof::HandOver { .. }) => {
            Some(format!("the primary has stopped; the nodes promise the new epoch; {call_off}, and the volume goes back"))
        }
        (ProposalState::Fencing, FencingProof::GivenBack { of }) => {
            Some(format!("{of} was called off after the primary had stopped; the volume goes back to it"))
        }
        _ => None,
    }
}
