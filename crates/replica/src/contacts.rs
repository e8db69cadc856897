//! When each node was last heard, and what it last said of its copy: the observations that a proposal's evidence rests on.

use mainstay_protocol::peer::CopyHealth;
use mainstay_protocol::{Epoch, Incarnation, LogPoint, Mono, NodeId, Position};
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
pub struct Contact {
    pub heard: Mono,
    pub incarnation: Incarnation,
    pub said: Option<Said>,
}

/// The content of the last `Contact` message.
#[derive(Clone, Debug)]
pub struct Said {
    pub at: Mono,
    pub epoch: Epoch,
    pub last: LogPoint,
    pub durable: Position,
    pub committed: Position,
    pub complete: bool,
    pub health: CopyHealth,
    /// No lease promise to `epoch` was alive at the sender.
    pub idle: bool,
    /// It was asked to stop: nothing more is to be expected of this boot.
    pub leaving: bool,
    /// Milliseconds since the sender had heard each node, when it said so.
    pub seen: Vec<(NodeId, u64)>,
    /// Milliseconds since the sender had booted, when it said so.
    pub up_ms: u64,
    /// How far the sender's wall clock was ahead of this node's, milliseconds, less what the message took.
    pub clock_ms: i64,
}

#[derive(Debug)]
pub struct Contacts {
    booted: Mono,
    by_node: BTreeMap<NodeId, Contact>,
    pub last_sent: Mono,
}

impl Contacts {
    pub fn new(now: Mono) -> Contacts {
        Contacts { booted: now, by_node: BTreeMap::new(), last_sent: Mono::default() }
    }

    /// How long this node has been there to hear anybody, milliseconds.
    pub fn up_ms(&self, now: Mono) -> u64 {
        now.ms_since(self.booted)
    }

    /// Any message counts as a sign of life. False when it comes from an earlier incarnation than one already heard.
    pub fn heard(&mut self, node: NodeId, incarnation: Incarnation, now: Mono) -> bool {
        let contact = self.by_node.entry(node).or_insert(Contact { heard: now, incarnation, said: None });
        if incarnation < contact.incarnation {
            return false;
        }
        if incarnation > contact.incarnation {
            *contact = Contact { heard: now, incarnation, said: None };
        }
        contact.heard = now;
        true
    }

    pub fn said(&mut self, node: NodeId, said: Said) {
        if let Some(contact) = self.by_node.get_mut(&node) {
            contact.said = Some(said);
        }
    }

    pub fn get(&self, node: NodeId) -> Option<&Contact> {
        self.by_node.get(&node)
    }

    /// Milliseconds since `node` was heard; `None` when it never was in this node's life.
    pub fn silent_ms(&self, node: NodeId, now: Mono) -> Option<u64> {
        self.by_node.get(&node).map(|contact| now.ms_since(contact.heard))
    }

    /// The end of the longest copy that was told of.
    pub fn highest_position(&self) -> Position {
        let said = self.by_node.values().filter_map(|contact| contact.said.as_ref());
        said.map(|said| said.last.position).max().unwrap_or_default()
    }

    /// How far the wall clocks of those who were heard within `limit_ms` were ahead of this node's, milliseconds.
    pub fn clocks(&self, now: Mono, limit_ms: u64) -> impl Iterator<Item = (NodeId, i64)> {
        let heard = self.by_node.iter().filter(move |(_, contact)| now.ms_since(contact.heard) < limit_ms);
        heard.filter_map(|(node, contact)| Some((*node, contact.said.as_ref()?.clock_ms)))
    }

    pub fn leaving(&self, node: NodeId) -> bool {
        self.by_node.get(&node).and_then(|contact| contact.said.as_ref()).is_some_and(|said| said.leaving)
    }

    /// What this node tells the others, milliseconds since each was heard. Who is not named was silent since the boot.
    pub fn seen(&self, now: Mono) -> Vec<(NodeId, u64)> {
        self.by_node.iter().map(|(node, contact)| (*node, now.ms_since(contact.heard))).collect()
    }
}
