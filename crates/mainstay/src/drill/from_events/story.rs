//! From events to acts: what happened to the machines and what people did. What the cluster decided by itself is left to the
//! rules, which decide again; of a machine's absence the log tells only the consequences, so its beginning is inferred.

use super::cast::Cast;
use mainstay_cluster::{Actor, AuditEvent, Event};
use mainstay_protocol::NodeId;
use mainstay_simulator::disk::Crash;
use mainstay_simulator::scenario::{A, Action, Approvals, B};
use std::collections::{BTreeMap, BTreeSet};

pub type Time = u64;

const MILLISECOND: Time = 1_000_000;
const SECOND: Time = 1_000 * MILLISECOND;
/// When the first event of the story happens: the cluster has settled by then.
pub const FIRST_AT: Time = 15 * SECOND;
/// A boot takes about so long until the cluster records it.
const BOOT: Time = 300 * MILLISECOND;
/// How long before its boot a node went of which nothing else is told.
const GONE_BEFORE: Time = 3 * SECOND;
/// From the moment that a link is whole until the copy behind it is in sync, with little to catch up.
const BACK_BEFORE: Time = 2 * SECOND;
/// People had so long to approve what they approved.
const APPROVING: Time = 60 * SECOND;
/// Maintenance of which no end is told.
const HOUR: Time = 3_600 * SECOND;

/// One thing to do, and the event that tells of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Act {
    pub at: Time,
    pub action: Action,
    pub number: u64,
}

/// What cannot be done again, and why.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Leftover {
    pub number: u64,
    pub why: String,
}

#[derive(Default)]
pub struct Story {
    pub acts: Vec<Act>,
    pub left: Vec<Leftover>,
    /// The cluster's own decisions, by kind.
    pub decisions: BTreeMap<&'static str, u64>,
    /// What was decided, as notes in the timeline to compare with.
    pub notes: Vec<(Time, String)>,
    pub primary: Option<NodeId>,
    /// When the last event happens.
    pub last_at: Time,
}

struct Telling<'a> {
    events: &'a [(Time, &'a AuditEvent)],
    cast: &'a Cast,
    /// How long a node is not heard before the others act on it.
    missing_after: Time,
    story: Story,
    /// Shrinks and proposals that an absence has explained.
    explained: BTreeSet<usize>,
}

/// `events` in their order; `missing_after`: the settings that they happened under, nanoseconds.
pub fn tell(events: &[&AuditEvent], cast: &Cast, missing_after: Time) -> Story {
    let first = events.first().map_or(0, |event| event.at.as_nanos());
    let mut last = FIRST_AT;
    // Wall clocks of several nodes: the order is that of the numbers.
    let placed = |event: &&'_ AuditEvent| {
        let after = u64::try_from(event.at.as_nanos() - first).unwrap_or(0);
        // Whole milliseconds read better.
        last = last.max(FIRST_AT.saturating_add(after - after % MILLISECOND));
        last
    };
    let times: Vec<Time> = events.iter().map(placed).collect();
    let events: Vec<(Time, &AuditEvent)> = times.into_iter().zip(events.iter().copied()).collect();
    let mut telling = Telling { events: &events, cast, missing_after, story: Story::default(), explained: BTreeSet::new() };
    telling.story.last_at = last;
    telling.story.primary = telling.first_primary();
    telling.boots();
    telling.silences();
    telling.people();
    let mut story = telling.story;
    story.acts.sort_by_key(|act| act.at);
    story
}

impl Telling<'_> {
    fn act(&mut self, at: Time, action: Action, index: usize) {
        let number = self.events[index].1.number;
        self.story.acts.push(Act { at, action, number });
    }

    fn leave(&mut self, index: usize, why: impl Into<String>) {
        let number = self.events[index].1.number;
        self.story.left.push(Leftover { number, why: why.into() });
    }

    /// Who reigned as the story began, by the first event that tells.
    fn first_primary(&self) -> Option<NodeId> {
        self.events.iter().find_map(|(_, event)| match (&event.event, &event.actor) {
            (Event::InSyncShrunk { .. } | Event::InSyncGrown { .. }, Actor::Node(node)) => Some(self.cast.node(*node)),
            (Event::ReignEnded { node, .. } | Event::Serving { primary: node, .. }, _) => Some(self.cast.node(*node)),
            (Event::VolumeCreated { primary: node }, _) => Some(self.cast.node(*node)),
            (
                Event::Granted { primary: node, .. }
                | Event::Proposed { candidate: node, .. }
                | Event::SwitchoverBegun { candidate: node, .. },
                _,
            ) => Some(if self.cast.node(*node) == A { B } else { A }),
            _ => None,
        })
    }

    // ---- absences ------------------------------------------------------------------------------------------------------------

    fn lives(&self, index: usize, node: NodeId) -> bool {
        let event = self.events[index].1;
        let by_itself = event.actor == Actor::Node(node) && !matches!(event.event, Event::ReignEnded { .. });
        by_itself || matches!(event.event, Event::InSyncGrown { added, .. } if added == node)
    }

    /// Whether others noticed here that `node` is away.
    fn misses(&self, index: usize, node: NodeId) -> bool {
        match self.events[index].1.event {
            Event::InSyncShrunk { removed } => removed == node,
            // Its own next boot says so: that is no absence.
            Event::ReignEnded { node: ended, .. } => {
                ended == node && !restarted(self.events[index].1) && !handed_over(self.events[index].1)
            }
            Event::Proposed { candidate, .. } => {
                candidate != node && self.cast.node(node) != mainstay_simulator::scenario::W && self.reigns(index, node)
            }
            _ => false,
        }
    }

    /// Whether `node` was the primary just before this event.
    fn reigns(&self, index: usize, node: NodeId) -> bool {
        let before = self.events[..index].iter().rev().find_map(|(_, event)| match event.event {
            Event::Granted { primary, .. } => Some(self.cast.node(primary)),
            Event::ReignEnded { node, .. } => Some(self.cast.node(node)),
            _ => None,
        });
        before.or(self.story.primary) == Some(self.cast.node(node))
    }

    fn maintained(&self, index: usize, node: NodeId) -> bool {
        self.events[..=index]
            .iter()
            .rev()
            .find_map(|(_, event)| match event.event {
                Event::MaintenanceBegun { node: maintained, .. } if maintained == node => Some(true),
                Event::MaintenanceClosed { node: maintained, .. } if maintained == node => Some(false),
                _ => None,
            })
            .unwrap_or(false)
    }

    /// A node that booted was gone before; since when, the others' reactions tell.
    fn boots(&mut self) {
        for index in 0..self.events.len() {
            let Event::NodeBooted { node, .. } = self.events[index].1.event else { continue };
            let alive = (0..index).rev().find(|before| self.lives(*before, node));
            let noticed = (alive.map_or(0, |alive| alive + 1)..index).find(|at| self.misses(*at, node));
            let (gone, clean) = match noticed {
                None => (self.events[index].0.saturating_sub(GONE_BEFORE), false),
                Some(at) => self.gone(at, node),
            };
            let earliest = alive.map_or(0, |alive| self.events[alive].0 + MILLISECOND);
            let gone = gone.max(earliest).min(self.events[index].0.saturating_sub(2 * BOOT)).max(SECOND);
            let started = self.events[index].0.saturating_sub(BOOT).max(gone + MILLISECOND);
            let planned = clean || self.maintained(index, node);
            let node = self.cast.node(node);
            let leaves = if planned { Action::Stop(node) } else { Action::Crash(node, Crash::Process) };
            self.act(gone, leaves, noticed.unwrap_or(index));
            self.act(started, Action::Start(node), index);
            self.explained.extend(noticed);
            self.explain_between(noticed, index);
        }
    }

    /// Further shrinks and proposals during the same absence need no cause of their own.
    fn explain_between(&mut self, from: Option<usize>, to: usize) {
        let Some(from) = from else { return };
        let Event::NodeBooted { node, .. } = self.events[to].1.event else { return };
        let more: Vec<usize> = (from..to).filter(|at| self.misses(*at, node)).collect();
        self.explained.extend(more);
    }

    /// Since when it is gone that others noticed here, and whether it left of its own will.
    fn gone(&self, index: usize, node: NodeId) -> (Time, bool) {
        let at = self.events[index].0;
        match self.events[index].1.event {
            Event::ReignEnded { .. } => (at.saturating_sub(100 * MILLISECOND), true),
            _ if asked_to_stop(self.events[index].1) => (at.saturating_sub(100 * MILLISECOND), true),
            _ => (at.saturating_sub(self.silent(index)), self.maintained(index, node)),
        }
    }

    /// How long somebody had not been heard: the primary says so, of others it is the settings' time.
    fn silent(&self, index: usize) -> Time {
        let text = &self.events[index].1.text;
        let said = text.rsplit_once("silent for ").and_then(|(_, rest)| rest.strip_suffix(" ms")?.parse::<Time>().ok());
        said.map_or(self.missing_after, |ms| ms.saturating_mul(MILLISECOND))
    }

    /// Who left and never booted was cut off, or never came back.
    fn silences(&mut self) {
        for index in 0..self.events.len() {
            if self.explained.contains(&index) {
                continue;
            }
            let (at, event) = self.events[index];
            let lost = match (&event.event, &event.actor) {
                (Event::InSyncShrunk { removed }, Actor::Node(by)) => Some((*removed, Some(*by))),
                (Event::Proposed { candidate, .. }, Actor::Node(_)) => {
                    self.reigning_other(index, *candidate).map(|node| (node, None))
                }
                (Event::ReignEnded { node, .. }, _) => {
                    self.ended(index, *node);
                    None
                }
                _ => None,
            };
            if let Some((node, by)) = lost {
                self.silence(index, at.saturating_sub(self.silent(index)).max(SECOND), node, by);
            }
        }
    }

    /// The other file server, if it reigned as this was proposed.
    fn reigning_other(&self, index: usize, candidate: NodeId) -> Option<NodeId> {
        let nodes = self.events.iter().filter_map(|(_, event)| match &event.actor {
            Actor::Node(node) => Some(*node),
            _ => None,
        });
        let ended = self.events[..index].iter().rev().find_map(|(_, event)| match event.event {
            Event::ReignEnded { .. } => Some(true),
            Event::Serving { .. } | Event::Granted { .. } => Some(false),
            _ => None,
        });
        let mut others = nodes.filter(|node| *node != candidate && self.reigns(index, *node));
        if ended == Some(true) { None } else { others.next() }
    }

    fn silence(&mut self, index: usize, from: Time, node: NodeId, by: Option<NodeId>) {
        let back = (index + 1..self.events.len()).find(|at| self.lives(*at, node));
        let until = back.map(|back| self.events[back].0.saturating_sub(BACK_BEFORE).max(from + SECOND));
        let again: Vec<usize> = (index..back.unwrap_or(self.events.len())).filter(|at| self.misses(*at, node)).collect();
        self.explained.extend(again);
        let (here, there) = (self.cast.node(node), by.map(|by| self.cast.node(by)));
        match (until, there) {
            (None, _) if asked_to_stop(self.events[index].1) => self.act(from, Action::Stop(here), index),
            (None, _) => self.act(from, Action::Crash(here, Crash::Process), index),
            (Some(until), Some(there)) => {
                self.act(from, Action::CutBoth(there, here), index);
                self.act(until, Action::HealLink(there, here), index);
            }
            (Some(until), None) => {
                self.act(from, Action::Isolate(here), index);
                self.act(until, Action::HealLinks, index);
            }
        }
    }

    /// It gave up its reign and did not boot afterwards.
    fn ended(&mut self, index: usize, node: NodeId) {
        let (at, event) = self.events[index];
        let on = (index + 1..self.events.len()).any(|later| self.lives(later, node));
        if restarted(event) || handed_over(event) {
            // Its boot tells this, or who asked for the switchover.
        } else if on {
            let name = self.cast.names.of(self.cast.node(node)).to_string();
            self.leave(index, format!("{name} gave up its reign and ran on; why is not in the log"));
        } else {
            let node = self.cast.node(node);
            self.act(at.saturating_sub(100 * MILLISECOND), Action::Stop(node), index);
        }
    }

    // ---- people ------------------------------------------------------------------------------------------------------------

    fn people(&mut self) {
        for index in 0..self.events.len() {
            let (at, event) = self.events[index];
            self.story.notes.push((at, format!("event {}: {}", event.number, event.text)));
            match &event.event {
                Event::MaintenanceBegun { maintenance, node } => {
                    let end = self.events[index..].iter().find(|(_, later)| {
                        matches!(&later.event, Event::MaintenanceEnding { maintenance: ended, .. } if ended == maintenance)
                    });
                    let lasts = end.map_or(HOUR, |(ended, _)| (ended - at).next_multiple_of(SECOND) + SECOND);
                    self.act(at, Action::PlanMaintenance { node: self.cast.node(*node), lasts, confirmed: true }, index);
                }
                Event::MaintenanceEnding { node, .. } => self.end_maintenance(index, at, *node),
                Event::Proposed { candidate, .. } if matches!(event.actor, Actor::Person(_)) => {
                    self.act(at, Action::Promote(self.cast.node(*candidate)), index);
                }
                Event::Approved { .. } => {
                    self.act(at, Action::Approvals(Approvals::After(0, 50 * MILLISECOND)), index);
                    let next = self.events[index + 1..].iter().find(|(_, later)| matches!(later.event, Event::Proposed { .. }));
                    let until = next.map_or(Time::MAX, |(next, _)| next.saturating_sub(MILLISECOND)).min(at + APPROVING);
                    self.act(until.max(at + MILLISECOND), Action::Approvals(Approvals::None), index);
                }
                Event::SwitchoverBegun { candidate, .. } => {
                    self.act(at, Action::Switchover(self.cast.node(*candidate)), index);
                }
                Event::BreakerReset => self.act(at, Action::ResetBreaker, index),
                Event::Note => self.act(at, Action::Note(event.text.clone()), index),
                _ => self.remainder(index, event),
            }
        }
    }

    /// Of a maintenance that stood already, too.
    fn end_maintenance(&mut self, index: usize, at: Time, node: NodeId) {
        let begun = self.events[..index]
            .iter()
            .any(|(_, event)| matches!(event.event, Event::MaintenanceBegun { node: maintained, .. } if maintained == node));
        let here = self.cast.node(node);
        if !begun {
            self.act(FIRST_AT / 3, Action::PlanMaintenance { node: here, lasts: at + SECOND, confirmed: true }, index);
        }
        self.act(at, Action::EndMaintenance(here), index);
    }

    fn remainder(&mut self, index: usize, event: &AuditEvent) {
        match &event.event {
            Event::Denied { .. } => self.leave(index, "a denial: in the simulation the proposal stays undecided"),
            Event::ClusterCreated | Event::NodeAdded { .. } | Event::VolumeCreated { .. } => {
                self.leave(
                    index,
                    "the making of the cluster: the simulated one has two file servers, a witness and a volume already",
                );
            }
            Event::TokenMinted { .. } | Event::TokenUsed { .. } => self.leave(index, "a join token"),
            _ => self.decided(event),
        }
    }

    fn decided(&mut self, event: &AuditEvent) {
        *self.story.decisions.entry(kind(&event.event)).or_default() += 1;
    }
}

/// It ended its reign because somebody asked it to hand over.
fn handed_over(event: &AuditEvent) -> bool {
    matches!(event.event, Event::ReignEnded { .. }) && event.text.contains(": it hands over to ")
}

/// The log has the reason in its line for people only.
fn asked_to_stop(event: &AuditEvent) -> bool {
    event.text.ends_with("it was asked to stop")
}

fn restarted(event: &AuditEvent) -> bool {
    event.text.ends_with("it restarted")
}

/// What people call it.
pub fn kind(event: &Event) -> &'static str {
    match event {
        Event::NodeBooted { .. } => "boots",
        Event::InSyncShrunk { .. } => "copies out of sync",
        Event::InSyncGrown { .. } => "copies back in sync",
        Event::Proposed { .. } => "proposals",
        Event::Voided { .. } => "void proposals",
        Event::Expired { .. } => "expired proposals",
        Event::PromiseLapsed { .. } => "lapsed promises",
        Event::Granted { .. } => "promotions",
        Event::Serving { .. } => "primaries serving",
        Event::PromotionFailed { .. } => "failed promotions",
        Event::BreakerOpened => "breaker opened",
        Event::ReignEnded { .. } => "reigns ended",
        Event::LossEpochRaised { .. } => "losses told to clients",
        Event::MaintenanceClosed { .. } => "maintenances closed",
        Event::Refused { .. } => "refusals",
        _ => "others",
    }
}
