//! Repair of damaged blocks from another replica: the reader waits for a bounded time, then gets an I/O error.

use crate::core::Core;
use crate::event::Note;
use bytes::Bytes;
use mainstay_protocol::marks::mark;
use mainstay_protocol::{Epoch, Extent, FileId, Mono, NodeId, Now, PeerMessage, Position};
use std::collections::BTreeMap;

/// The volume's ticket and what is damaged.
pub type Wanted = (u64, FileId, Extent, Position);

/// Repairs under way at one time; more wait for the next scrub or read.
const REPAIRS_MAX: usize = 256;

#[derive(Debug, Default)]
pub struct Repairs {
    /// Asked of a peer, by the volume's ticket.
    asked: BTreeMap<u64, Asked>,
    /// Being read here for a peer: the volume's ticket → who asked, under which ticket of theirs.
    helping: BTreeMap<u64, (NodeId, u64)>,
}

#[derive(Debug)]
struct Asked {
    give_up_at: Mono,
    position: Position,
}

impl Repairs {
    pub fn wanted(&mut self, core: &mut Core, (ticket, file, extent, position): Wanted, epoch: Epoch, now: Now) {
        let helper = core.state().and_then(|state| {
            let live = |node: &&NodeId| core.contacts.silent_ms(**node, now.mono).is_some_and(|ms| ms < core.timing.lease_ms);
            state.replicas.iter().filter(|node| **node != core.me.node).find(live).copied()
        });
        match helper {
            Some(to) if self.asked.len() < REPAIRS_MAX => {
                let give_up_at = now.mono.after_ms(core.timing.lease_ms);
                self.asked.insert(ticket, Asked { give_up_at, position });
                core.send(to, PeerMessage::RepairRequest { epoch, ticket, file, extent, position });
            }
            _ => self.finish(core, ticket, position, None),
        }
    }

    pub fn requested(&mut self, core: &mut Core, from: NodeId, ticket: u64, file: FileId, extent: Extent, position: Position) {
        if self.helping.len() >= REPAIRS_MAX {
            return;
        }
        if let Some(volume) = core.volume.as_mut() {
            let ours = volume.read_for_repair(file, extent, position);
            self.helping.insert(ours, (from, ticket));
        }
    }

    pub fn read(&mut self, core: &mut Core, ours: u64, data: Option<Bytes>, epoch: Epoch) {
        if let Some((to, ticket)) = self.helping.remove(&ours) {
            core.send_with(to, PeerMessage::Repair { epoch, ticket }, data.into_iter().collect());
        }
    }

    pub fn answered(&mut self, core: &mut Core, ticket: u64, data: Bytes) {
        if let Some(asked) = self.asked.remove(&ticket) {
            self.finish(core, ticket, asked.position, (!data.is_empty()).then_some(data));
        }
    }

    pub fn tick(&mut self, core: &mut Core, now: Now) {
        let late: Vec<u64> =
            self.asked.iter().filter(|(_, asked)| now.mono >= asked.give_up_at).map(|(ticket, _)| *ticket).collect();
        for ticket in late {
            if let Some(asked) = self.asked.remove(&ticket) {
                self.finish(core, ticket, asked.position, None);
            }
        }
    }

    fn finish(&mut self, core: &mut Core, ticket: u64, position: Position, data: Option<Bytes>) {
        mark(if data.is_some() { "repair: healed" } else { "repair: nobody can help" });
        core.note(Note::Damage { position, repaired: data.is_some() });
        if let Some(volume) = core.volume.as_mut() {
            volume.repair(ticket, data);
        }
    }

    pub fn next_timer(&self) -> Option<Mono> {
        self.asked.values().map(|asked| asked.give_up_at).min()
    }
}
