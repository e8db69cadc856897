//! Part of P4: nobody is promoted over a primary that is there (R13). Seen from outside: who has received what from whom.

use super::Finding;
use crate::queue::{MILLISECOND, Time};
use crate::world::VOLUME;
use mainstay_cluster::{ClusterState, Command, Digest, Rule};
use mainstay_protocol::NodeId;
use std::collections::{BTreeMap, VecDeque};

/// Plans of which it is not known yet whether they are accepted; older ones are forgotten.
const ASKED_MAX: usize = 64;

/// Since when one node hears another without a gap, and when it did last.
#[derive(Clone, Copy)]
struct Heard {
    since: Time,
    last: Time,
}

#[derive(Default)]
pub struct LivePrimary {
    /// By listener and speaker.
    heard: BTreeMap<(NodeId, NodeId), Heard>,
    /// Plans that were made although the primary was heard: by the hash of their evidence, what makes them wrong.
    wrong: VecDeque<(Digest, String)>,
}

impl LivePrimary {
    /// `lost_ms`: after so long a primary is missing. Who was silent for a good part of it is not heard without a gap: what was told of
    /// it last, before it spoke again, is then as old.
    pub fn heard(&mut self, now: Time, by: NodeId, from: NodeId, lost_ms: u64) {
        let heard = self.heard.entry((by, from)).or_insert(Heard { since: now, last: now });
        if now - heard.last >= lost_ms * MILLISECOND / 4 {
            heard.since = now;
        }
        heard.last = now;
    }

    /// A node that begins anew knows of nobody.
    pub fn booted(&mut self, node: NodeId) {
        self.heard.retain(|(by, _), _| *by != node);
    }

    /// What the maker of a plan must know when it makes it: what it heard itself, and, when it has had the time to tell, what the
    /// others did.
    pub fn asked(&mut self, now: Time, command: &Command, decided: &ClusterState) {
        let Command::Propose { evidence, .. } = command else { return };
        let (by, lost) = (evidence.observed.by, decided.settings.contact_lost_ms * MILLISECOND);
        let Some(primary) = decided.volumes.get(&VOLUME).and_then(|volume| volume.reign).map(|reign| reign.node) else { return };
        let ago = |observer: NodeId| Some(now - self.heard.get(&(observer, primary))?.last);
        let steady = |by, from| self.steady(now, by, from, decided.settings.contact_lost_ms);
        let told = |observer: NodeId| observer == by || (steady(observer, primary) && steady(by, observer));
        let observers = decided.nodes.keys().copied().filter(|node| *node != primary && told(*node));
        // Clocks run a little apart, and events of one moment come in any order.
        let heard = observers.filter_map(|node| Some((ago(node)?, node))).filter(|(ago, _)| *ago < lost - lost / 8).min();
        if let Some((ago, observer)) = heard {
            let (observer, primary) = (decided.node_name(observer), decided.node_name(primary));
            let text = format!("although {observer} had heard {primary}, the primary, {} ms before", ago / MILLISECOND);
            self.wrong.push_back((evidence.hash(), text));
            if self.wrong.len() > ASKED_MAX {
                self.wrong.pop_front();
            }
        }
    }

    /// Whether `by` has heard `from` without a gap for a while, and a moment ago.
    pub fn steady(&self, now: Time, by: NodeId, from: NodeId, lost_ms: u64) -> bool {
        let lost = lost_ms * MILLISECOND;
        self.heard.get(&(by, from)).is_some_and(|heard| heard.since + 2 * lost < now && now - heard.last < lost / 4)
    }

    /// Whether such a plan was accepted.
    pub fn decided(&mut self, before: &ClusterState, after: &ClusterState) -> Option<Finding> {
        let (id, proposal) = after.proposals.iter().next_back().filter(|(id, _)| !before.proposals.contains_key(id))?;
        let volume = before.volumes.get(&VOLUME)?;
        let (_, text) = self.wrong.iter().find(|(hash, _)| *hash == proposal.evidence_hash)?;
        let candidate = after.node_name(proposal.candidate);
        (volume.reign.is_some() && !volume.fenced)
            .then(|| (Rule::R13, format!("{id}, to promote {candidate}, was accepted {text}")))
    }
}
