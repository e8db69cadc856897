//! People whose word counts no more.
//!
//! By name, and for good: which certificates somebody holds the cluster does not know, and what was made under a name once is good as long
//! as its key is. Who goes on working gets credentials under another name.

use super::Applied;
use crate::audit::Event;
use crate::command::Actor;
use crate::input;
use crate::limits::REVOKED_MAX;
use crate::policy::Revoked;
use crate::refusal::RefusalKind;
use crate::state::{ClusterState, Proposal};
use mainstay_protocol::Timestamp;
use mainstay_protocol::planted::{Bug, planted};

impl ClusterState {
    /// One person does it: it lets less happen, and it is needed at once.
    pub(super) fn revoke(&mut self, name: &str, reason: &str, actor: &Actor, at: Timestamp) -> Applied {
        input::person(actor)?;
        input::person(&Actor::Person(name.into()))?;
        input::text("reason", reason)?;
        if self.control.revoked.contains_key(name) {
            return Ok(());
        }
        if self.control.revoked.len() >= REVOKED_MAX {
            return Err(RefusalKind::LimitReached { what: "names that are revoked".into(), max: REVOKED_MAX });
        }
        let revoked = Revoked { by: actor.clone(), at, reason: reason.into() };
        self.control.revoked.insert(name.into(), revoked);
        // A node lets itself in with a token: whoever has the laptop may have kept one. Those that were used keep their nodes.
        self.tokens.retain(|_, token| token.used_for.is_some() || token.minted_by != Actor::Person(name.into()));
        self.record(at, actor, None, Event::Revoked { name: name.into() }, format!("{actor} revoked {name}: {reason}"));
        Ok(())
    }

    /// Judged where commands are decided, so that no node that learned of it late lets anything through.
    pub fn not_revoked(&self, actor: &Actor) -> Result<(), RefusalKind> {
        let Actor::Person(name) = actor else { return Ok(()) };
        match self.control.revoked.get(name) {
            Some(Revoked { by, at, reason }) if !planted(Bug::RevokedApproves) => {
                Err(RefusalKind::Revoked { name: name.clone(), by: by.clone(), at: *at, reason: reason.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Whose word an open proposal rests on, and does no more.
    pub(super) fn spoken_for_in_vain(&self, proposal: &Proposal) -> Option<RefusalKind> {
        let approver = proposal.approval.as_ref().map(|approval| &approval.actor);
        approver.into_iter().chain([&proposal.proposer]).find_map(|actor| self.not_revoked(actor).err())
    }
}
