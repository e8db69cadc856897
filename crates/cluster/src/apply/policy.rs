//! Policies, holds, and changes that two people make (R7); and what the breaker and denied plans remember (R8).

use super::Applied;
use super::membership::COPIES_MIN;
use crate::audit::Event;
use crate::command::{Actor, Command};
use crate::digest::Digest;
use crate::input;
use crate::limits::*;
use crate::policy::*;
use crate::refusal::RefusalKind;
use crate::state::{Breaker, ClusterState, Policy, Proposal};
use mainstay_protocol::{ProposalId, Timestamp, VolumeId};

impl ClusterState {
    /// Stricter at once; laxer only when another person agrees.
    pub(super) fn set_volume(&mut self, command: &Command) -> Applied {
        let Command::SetVolume { volume: id, wish, reason, actor, at } = command else { return Ok(()) };
        input::person(actor)?;
        input::text("reason", reason)?;
        let from = self.known_volume(*id)?.settings();
        let to = wish.applied_to(from);
        check_settings(&to)?;
        if to == from {
            return Ok(());
        }
        // Nothing would ever be acknowledged.
        let one = self.known_volume(*id)?.replicas.len() < COPIES_MIN;
        if to.alone == Alone::ReadOnly && from.alone != to.alone && one {
            return Err(RefusalKind::WantsTwoReplicas(self.volume_label(*id)));
        }
        if to.laxer_than(&from) {
            return self.ask(Wish::Volume { volume: *id, from, to }, reason, actor, *at);
        }
        self.set(*id, &to, PolicySet { by: actor.clone(), reason: reason.clone(), at: *at, approved: None });
        Ok(())
    }

    /// On at once, off only when another person agrees.
    pub(super) fn set_hold(&mut self, on: bool, reason: &str, actor: &Actor, at: Timestamp) -> Applied {
        input::person(actor)?;
        input::text("reason", reason)?;
        match (&self.control.hold, on) {
            (Some(_), true) | (None, false) => Ok(()),
            (Some(hold), false) => self.ask(Wish::LiftHold { since: hold.at }, reason, actor, at),
            (None, true) => {
                self.control.hold = Some(Hold { by: actor.clone(), reason: reason.into(), at });
                let text = format!("{actor} put the cluster on hold, nothing is promoted: {reason}");
                self.record(at, actor, None, Event::HoldBegan, text);
                Ok(())
            }
        }
    }

    /// The same wish again, while it waits, is nothing new.
    pub(super) fn ask(&mut self, wish: Wish, reason: &str, actor: &Actor, at: Timestamp) -> Applied {
        let open = || self.control.changes.values().filter(|change| change.state == ChangeState::Pending);
        if open().any(|change| change.wish == wish && change.asked_by == *actor) {
            return Ok(());
        }
        if open().count() >= CHANGES_OPEN_MAX {
            return Err(RefusalKind::LimitReached { what: "changes that wait for a person".into(), max: CHANGES_OPEN_MAX });
        }
        self.control.last_change = ChangeId(self.control.last_change.0 + 1);
        let id = self.control.last_change;
        let expires_at = self.after_approval_time(at);
        let digest = Digest::of_value("mainstay change 1", &(id, &wish, actor, reason, at, expires_at));
        let what = self.wish_text(&wish);
        let volume = volume_of(&wish);
        let (asked_by, reason) = (actor.clone(), reason.to_string());
        let text = format!("{actor} asks as {id}, and another person must approve: {what}: {reason}");
        let change = Change { wish, asked_by, reason, at, expires_at, digest, state: ChangeState::Pending };
        self.control.changes.insert(id, change);
        self.record(at, actor, volume, Event::ChangeAsked { change: id, digest }, text);
        Ok(())
    }

    fn open_change(&self, id: ChangeId) -> Result<&Change, RefusalKind> {
        let change = self.control.changes.get(&id).ok_or(RefusalKind::UnknownChange(id))?;
        match change.state {
            ChangeState::Pending => Ok(change),
            _ => Err(RefusalKind::ChangeClosed { change: id, state: change.state.to_string() }),
        }
    }

    /// R7, R14: another person's word for exactly this change, once, in time.
    pub(super) fn approve_change(&mut self, id: ChangeId, digest: Digest, actor: &Actor, at: Timestamp) -> Applied {
        input::person(actor)?;
        let change = self.open_change(id)?;
        if digest != change.digest {
            return Err(RefusalKind::ChangeMismatch { change: id, given: digest, current: change.digest });
        }
        if *actor == change.asked_by {
            return Err(RefusalKind::SamePerson { change: id, by: actor.clone() });
        }
        let Change { wish, asked_by, reason, .. } = change.clone();
        let text = format!("{actor} approved {id} of {asked_by}: {}", self.wish_text(&wish));
        self.close_change(id, ChangeState::Done { by: actor.clone(), at });
        self.record(at, actor, volume_of(&wish), Event::ChangeApproved { change: id, digest }, text);
        match wish {
            Wish::Volume { volume, to, .. } => {
                let approved = Some((id, actor.clone()));
                self.set(volume, &to, PolicySet { by: asked_by, reason, at, approved });
            }
            Wish::LiftHold { .. } => {
                self.control.hold = None;
                let text = format!("the hold of the cluster is lifted, as {asked_by} asked and {actor} approved");
                self.record(at, actor, None, Event::HoldLifted, text);
            }
            Wish::RemoveReplica { volume, node, .. } => {
                let by = format!("asked by {asked_by} as {id}, approved by {actor}: {reason}");
                self.drop_replica(volume, node, actor, &by, at);
            }
        }
        Ok(())
    }

    /// Anybody who may decide says no, also who asked: it changes nothing.
    pub(super) fn deny_change(&mut self, id: ChangeId, reason: &str, actor: &Actor, at: Timestamp) -> Applied {
        input::person(actor)?;
        input::text("reason", reason)?;
        let volume = volume_of(&self.open_change(id)?.wish);
        self.close_change(id, ChangeState::Denied { by: actor.clone(), reason: reason.into() });
        self.record(at, actor, volume, Event::ChangeDenied { change: id }, format!("{actor} denied {id}: {reason}"));
        Ok(())
    }

    /// Before anything is judged, so that also a refused command leaves no change behind that waits for nobody: people would be told
    /// to decide on it, and could not.
    pub(super) fn expire_changes(&mut self, at: Timestamp) {
        self.close_changes(ChangeState::Expired, at, |_, change| at >= change.expires_at);
    }

    /// What was asked for while other settings were in force means nothing any more (R14), nor what somebody asked who is revoked.
    pub(super) fn void_changes(&mut self, at: Timestamp) {
        let over =
            |state: &ClusterState, change: &Change| !state.as_asked(&change.wish) || state.not_revoked(&change.asked_by).is_err();
        self.close_changes(ChangeState::Void, at, over);
    }

    fn close_changes(&mut self, to: ChangeState, at: Timestamp, over: impl Fn(&ClusterState, &Change) -> bool) {
        let pending = self.control.changes.iter().filter(|(_, change)| change.state == ChangeState::Pending);
        let closed: Vec<_> =
            pending.filter(|(_, change)| over(self, change)).map(|(id, change)| (*id, volume_of(&change.wish))).collect();
        for (id, volume) in closed {
            let text = format!("change {id} is {to}");
            self.close_change(id, to.clone());
            self.record(at, &Actor::Cluster, volume, Event::ChangeOver { change: id }, text);
        }
    }

    fn as_asked(&self, wish: &Wish) -> bool {
        match wish {
            Wish::Volume { volume, from, .. } => self.volumes.get(volume).is_some_and(|known| known.settings() == *from),
            Wish::LiftHold { since } => self.control.hold.as_ref().is_some_and(|hold| hold.at == *since),
            Wish::RemoveReplica { volume, node, left } => self.still_removable(*volume, *node, left),
        }
    }

    fn close_change(&mut self, id: ChangeId, state: ChangeState) {
        if let Some(change) = self.control.changes.get_mut(&id) {
            assert!(change.state == ChangeState::Pending, "a closed change stays closed");
            change.state = state;
        }
        let closed = self.control.changes.iter().filter(|(_, change)| change.state != ChangeState::Pending);
        let closed: Vec<ChangeId> = closed.map(|(id, _)| *id).collect();
        let surplus = closed.len().saturating_sub(CHANGES_CLOSED_MAX);
        closed.into_iter().take(surplus).for_each(|old| drop(self.control.changes.remove(&old)));
    }

    fn set(&mut self, id: VolumeId, to: &VolumeSettings, by: PolicySet) {
        let Some(from) = self.volumes.get(&id).map(|volume| volume.settings()) else { return };
        let text = format!("{} set {}: {}: {}", by.by, self.volume_label(id), from.difference(to), by.reason);
        let (actor, at) = (by.by.clone(), by.at);
        self.with_volume(id, |volume| {
            volume.policy = to.policy;
            volume.without_primary = to.without_primary;
            volume.rules.alone = to.alone;
            volume.rules.role_changes_max = to.role_changes_max;
            volume.rules.role_changes_window_ms = to.role_changes_window_ms;
            volume.rules.drill_days = to.drill_days;
            if from.policy != to.policy {
                volume.rules.policy_set = Some(by);
            }
        });
        self.record(at, &actor, Some(id), Event::VolumeSet { to: *to }, text);
    }

    /// The policy's approval of a proposal, by the function that takes a person's; or why it waits for a person.
    pub(super) fn approve_by_policy(&mut self, id: ProposalId, at: Timestamp) {
        let Some(proposal) = self.proposals.get(&id) else { return };
        let Some(volume) = self.volumes.get(&proposal.volume).filter(|volume| volume.policy == Policy::Guarded) else { return };
        let unguarded = match self.own_plan(id, proposal) {
            Ok(plan) => plan.unguarded(at),
            Err(kind) => Some(kind.to_string()),
        };
        let (allowed_by, evidence_hash) = (volume.allowed_by(), proposal.evidence_hash);
        match unguarded {
            None => self.accept(id, evidence_hash, &Actor::Cluster, Some(allowed_by), at),
            Some(why) => {
                let text = format!("proposal {id} waits for a person in spite of policy guarded: {why}");
                let name = proposal.volume;
                self.with_proposal(id, |proposal| proposal.by_hand = Some(input::clip(&why)));
                self.record(at, &Actor::Cluster, Some(name), Event::GuardFailed { proposal: id }, text);
            }
        }
    }

    /// R7: what the policy approved is granted only while every guard holds; a person may still approve what then is proposed anew.
    pub(super) fn no_longer_guarded(&self, id: ProposalId, proposal: &Proposal, at: Timestamp) -> Option<String> {
        proposal.approval.as_ref()?.allowed_by.as_ref()?;
        self.own_plan(id, proposal).ok()?.unguarded(at).map(|why| format!("a guard holds no longer: {why}"))
    }

    /// R8: a grant is a role change, whoever it is to. Too many in a short time open the breaker, before anybody is hurt by the next.
    pub(super) fn count_role_change(&mut self, id: VolumeId, at: Timestamp) {
        let counted = self.with_volume(id, |volume| {
            volume.rules.role_changes.push(at);
            let surplus = volume.rules.role_changes.len().saturating_sub(ROLE_CHANGES_KEPT_MAX);
            volume.rules.role_changes.drain(..surplus);
            let changes = volume.role_changes_counted(at) as u32;
            (changes > volume.rules.role_changes_max).then_some((changes, volume.rules.role_changes_window_ms))
        });
        let Some((changes, window_ms)) = counted.flatten() else { return };
        self.with_volume(id, |volume| {
            volume.breaker.open = true;
            volume.breaker.too_many = Some(TooMany { changes, window_ms, at });
        });
        let text = format!("breaker of {} opened: {changes} role changes within {} min", self.volume_label(id), window_ms / 60_000);
        self.record(at, &Actor::Cluster, Some(id), Event::BreakerOpened, text);
    }

    /// R8: a person has seen to it; what was counted so far counts no more.
    pub(super) fn close_breaker(&mut self, id: VolumeId) {
        self.with_volume(id, |volume| {
            volume.breaker = Breaker::default();
            volume.rules.role_changes.clear();
        });
    }

    /// R8: nodes do not repeat what a person has denied.
    pub(super) fn remember_denial(&mut self, id: ProposalId, by: &Actor, reason: &str, at: Timestamp) {
        let Some((volume, candidate)) = self.proposals.get(&id).map(|known| (known.volume, known.candidate)) else { return };
        let plan = self.question_digest(volume, candidate);
        let denied = DeniedPlan { plan, proposal: id, by: by.clone(), reason: reason.into(), at };
        self.with_volume(volume, |volume| {
            let plans = &mut volume.rules.denied;
            plans.retain(|old| old.plan != plan);
            plans.push(denied);
            if plans.len() > DENIED_PLANS_MAX {
                plans.remove(0);
            }
        });
    }

    /// A drill counts for the configuration that was rehearsed, and for no other.
    pub(super) fn drill_passed(&mut self, command: &Command) -> Applied {
        let Command::DrillPassed { volume: id, config, scenario, actor, at } = command else { return Ok(()) };
        input::person(actor)?;
        input::text("scenario", scenario)?;
        let volume = self.known_volume(*id)?;
        let current = self.drill_digest(volume);
        if *config != current {
            return Err(RefusalKind::DrillOutdated { given: *config, current });
        }
        let text = format!("{actor} records that drill {scenario} passed for {}", volume.name);
        let drill = PassedDrill { config: *config, scenario: scenario.clone(), by: actor.clone(), at: *at };
        self.with_volume(*id, |volume| volume.rules.drill = Some(drill));
        self.record(*at, actor, Some(*id), Event::DrillRecorded, text);
        Ok(())
    }
}

fn volume_of(wish: &Wish) -> Option<VolumeId> {
    match wish {
        Wish::Volume { volume, .. } | Wish::RemoveReplica { volume, .. } => Some(*volume),
        Wish::LiftHold { .. } => None,
    }
}

fn check_settings(to: &VolumeSettings) -> Applied {
    let within = |what: &str, value: u64, min: u64, max: u64| match value {
        v if (min..=max).contains(&v) => Ok(()),
        v => Err(input::bad(what, &v.to_string(), &format!("is not within {min}..={max}"))),
    };
    within("role-changes-max", to.role_changes_max.into(), 1, ROLE_CHANGES_KEPT_MAX as u64 - 1)?;
    within("role-changes-window in ms", to.role_changes_window_ms, ROLE_CHANGES_WINDOW_MS_MIN, ROLE_CHANGES_WINDOW_MS_MAX)?;
    within("drill-days", to.drill_days.into(), 0, DRILL_DAYS_MAX.into())
}
