//! Part of P4: no policy promotes while nodes run different programs, or while their wall clocks are far apart (the guards of R7).
//! Seen from outside: what really runs where, and what the clocks really show.

use super::p4_live_primary::LivePrimary;
use super::{Finding, Grant, Nodes};
use crate::queue::{SECOND, Time};
use mainstay_cluster::{ClusterState, Command, Digest, Proposal, Rule};
use std::collections::VecDeque;

/// Plans of which it is not known yet what becomes of them; older ones are forgotten.
const ASKED_MAX: usize = 64;
/// Clocks that differ by more are far apart, whatever a message took.
const FAR_MS: u64 = 12_000;
/// After so long everybody who hears a node has been told of its clock.
const TOLD: Time = 10 * SECOND;

#[derive(Default)]
pub struct Drift {
    /// Plans that were made in spite of it: by the hash of their evidence, what makes them wrong.
    wrong: VecDeque<(Digest, String)>,
}

impl Drift {
    pub fn asked(&mut self, now: Time, command: &Command, decided: &ClusterState, live: &LivePrimary, nodes: &Nodes) {
        let Command::Propose { evidence, .. } = command else { return };
        let by = evidence.observed.by;
        let Some(gatherer) = nodes.get(&by).filter(|node| node.up()) else { return };
        let lost_ms = decided.settings.contact_lost_ms;
        let heard = || nodes.values().filter(|node| node.id != by && live.steady(now, by, node.id, lost_ms));
        let other = heard().find(|node| {
            // Its boot has been decided, so that everybody can know.
            let known = decided.nodes.get(&node.id).is_some_and(|known| known.incarnation.0 == node.incarnation);
            known && node.runs_next != gatherer.runs_next
        });
        let settled = |set: Time| set + TOLD < now;
        let far = heard().find(|node| {
            let (here, there) = (gatherer.clock.now(now).wall.as_millis(), node.clock.now(now).wall.as_millis());
            settled(node.clock_set) && settled(gatherer.clock_set) && here.abs_diff(there) > FAR_MS
        });
        let name = |node: &crate::world::Node| decided.node_name(node.id);
        let text = match (other, far) {
            (Some(node), _) => format!("{} ran another program than {}", name(node), decided.node_name(by)),
            (_, Some(node)) => format!("the clocks of {} and {} were far apart", name(node), decided.node_name(by)),
            _ => return,
        };
        self.wrong.push_back((evidence.hash(), text));
        if self.wrong.len() > ASKED_MAX {
            self.wrong.pop_front();
        }
    }

    /// Whether such a plan was granted without a person.
    pub fn granted(&self, grant: &Grant, proposal: Option<&Proposal>) -> Option<Finding> {
        let proposal = proposal.filter(|known| known.approval.as_ref().is_some_and(|approval| approval.allowed_by.is_some()))?;
        let (_, text) = self.wrong.iter().find(|(hash, _)| *hash == proposal.evidence_hash)?;
        Some((Rule::R7, format!("{} was granted to {} without a person, although {text}", grant.after.epoch, grant.name)))
    }
}
