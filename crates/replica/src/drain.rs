//! The primary's part in a switchover: nothing new begins, what is under way commits, and when the successor holds everything this
//! node stops serving and gives its word. Whether it is the primary's turn at all is decided in `cluster`.

use crate::core::{Core, Purpose};
use crate::event::ServeMode;
use crate::primary::{Primary, Stage};
use mainstay_cluster::limits::DRAIN_MS_MAX;
use mainstay_cluster::{Command, EvidenceField, ProposalState};
use mainstay_protocol::marks::mark;
use mainstay_protocol::planted::{Bug, planted};
use mainstay_protocol::{Mono, NodeId, Now, ProposalId};

/// A switchover that this primary has seen, and that was not called off.
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    pub proposal: ProposalId,
    to: NodeId,
    /// By then it is through or called off: clients wait for it. Counted here, because the wall clocks of two nodes differ.
    pub until: Mono,
}

impl Drain {
    /// The planted bug: once the word is on its way, requests are served as if nothing were.
    pub fn forgotten(&self, core: &Core) -> bool {
        planted(Bug::ServeAfterWord) && core.is_asked(Purpose::Drained(self.proposal))
    }

    /// What the view says that this reign has to hand over.
    fn wanted(core: &Core, now: Mono) -> Option<Drain> {
        let (proposal, open) = core.view.open_proposal(core.me.volume)?;
        let mine = open.state == ProposalState::Draining && open.hand_over() == Some((core.me.node, core.me.incarnation));
        mine.then(|| Drain { proposal, to: open.candidate, until: now.after_ms(DRAIN_MS_MAX) })
    }
}

impl Primary {
    /// Begins, goes on with, or ends a drain. One that is called off before its word was decided has never happened: the word names
    /// its proposal, and is refused now (R8).
    pub fn follow_drain(&mut self, core: &Core, now: Mono) {
        let wanted = Drain::wanted(core, now);
        if self.drain.map(|drain| drain.proposal) == wanted.map(|drain| drain.proposal) {
            return;
        }
        let begins = wanted.is_some();
        mark(if begins { "primary: drain begins" } else { "primary: drain called off" });
        self.drain = wanted;
        if self.stage == Stage::HandedOver {
            mark("primary: serves on after its word was refused");
            self.stage = Stage::LeaseLost;
        }
    }

    pub fn tend_drain(&mut self, core: &mut Core, now: Now) {
        let Some(drain) = self.drain else { return };
        if self.stage == Stage::HandedOver {
            return self.give_word(core, drain, now);
        }
        let last = core.last_position();
        self.want_durable(core, last);
        if self.stage == Stage::Serving && self.drained(core, drain) {
            mark("primary: drained");
            if !planted(Bug::ServeAfterWord) {
                self.stage = Stage::HandedOver;
                // The address first: after the word somebody else may take it.
                core.serve(ServeMode::Closed);
            }
            self.give_word(core, drain, now);
        } else if now.mono >= drain.until {
            mark("primary: drain out of patience");
            let seen = format!("what was under way did not end within {} s", DRAIN_MS_MAX / 1_000);
            let (proposal, field) = (drain.proposal, EvidenceField::Drain);
            core.propose(Purpose::Void, now, Command::Void { proposal, field, seen, by: core.me.node, at: now.wall });
        }
    }

    /// Everybody has been answered, and the successor has everything on its disk.
    fn drained(&self, core: &Core, drain: Drain) -> bool {
        let last = core.last_position();
        let answered = self.answers_waiting() == 0 && self.reading.is_empty();
        let confirmed = self.commit_durable >= last && self.peers.get(&drain.to).is_some_and(|peer| peer.durable >= last);
        planted(Bug::DrainUnconfirmed) || (answered && confirmed)
    }

    /// Said again while its outcome is unknown: this node serves nothing before it knows that the word does not count.
    fn give_word(&mut self, core: &mut Core, drain: Drain, now: Now) {
        let Some(last) = core.volume.as_ref().map(|volume| volume.last()) else { return };
        let (node, incarnation) = (core.me.node, core.me.incarnation);
        let command = Command::Drained { proposal: drain.proposal, node, incarnation, last, at: now.wall };
        core.propose(Purpose::Drained(drain.proposal), now, command);
    }
}
