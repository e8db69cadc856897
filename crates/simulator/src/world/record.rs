//! Hooks of the timeline and of the numbers. Without a recorder they cost a comparison.

use super::node::NodeState;
use super::{VOLUME, Violation, World};
use crate::disk::{Crash, DiskFaults, lock};
use crate::network::End;
use crate::numbers::{Numbers, OUTAGE_MIN, Standing};
use crate::queue::{MILLISECOND, SECOND, Time};
use crate::scenario::{A, B};
use crate::sizing::Scaled;
use crate::timeline::{LaneId, LaneKind, MarkKind, Recorder, SpanKind, Timeline};
use mainstay_cluster::{ClusterState, MaintenanceState, NodeKind, ProposalState};
use mainstay_protocol::peer::Envelope;
use mainstay_protocol::{Epoch, FileRequest, Incarnation, NodeId, PeerMessage};
use mainstay_replica::ServeMode;
use std::fmt::Write as _;

/// How often the progress of a resync is looked at.
const SAMPLE: Time = 250 * MILLISECOND;

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Role {
    #[default]
    None,
    Primary(Epoch),
    Secondary,
    Voter,
}

/// What can be seen of a node.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Facts {
    role: Role,
    down: bool,
    paused: bool,
    lease: bool,
    in_sync: bool,
    resync_percent: Option<u64>,
    /// One bit for each direction to each other node.
    cut: u16,
    hangs: bool,
    faulty: bool,
    full: bool,
}

/// The recorder, and what it saw last of each node.
pub(super) struct Recording {
    pub recorder: Recorder,
    seen: Vec<Facts>,
    sampled_at: Time,
}

fn lane(node: NodeId) -> LaneId {
    LaneId(node.0 as usize - 1)
}

/// A machine that has not joined yet is called what it will be.
fn spare_name(state: &ClusterState, node: NodeId) -> String {
    if state.nodes.contains_key(&node) { state.node_name(node) } else { crate::script::letter(node) }
}

fn name(state: &ClusterState, node: NodeId) -> String {
    state.node_name(node)
}

impl World {
    pub fn record_timeline(&mut self) {
        let nodes = self.machines();
        let recorder = Recorder::new(nodes.iter().map(|node| spare_name(&self.decided, *node)));
        let seen = vec![Facts::default(); nodes.len()];
        self.recording = Some(Box::new(Recording { recorder, seen, sampled_at: 0 }));
    }

    /// The text is made only when somebody records.
    pub(super) fn mark(&mut self, node: NodeId, kind: MarkKind, text: impl FnOnce() -> String) {
        self.mark_lane(Some(node), LaneKind::Node, kind, text);
    }

    pub(super) fn mark_operators(&mut self, kind: MarkKind, text: impl FnOnce() -> String) {
        self.mark_lane(None, LaneKind::Operators, kind, text);
    }

    fn mark_lane(&mut self, node: Option<NodeId>, kind_of_lane: LaneKind, kind: MarkKind, text: impl FnOnce() -> String) {
        let Some(recording) = self.recording.as_mut() else { return };
        let lane = node.map_or_else(|| recording.recorder.of(kind_of_lane), lane);
        recording.recorder.mark(self.queue.now(), lane, kind, text());
    }

    pub(super) fn mark_crash(&mut self, node: NodeId, crash: Crash, asked: bool) {
        let (kind, text) = match crash {
            Crash::Process if asked => (MarkKind::Stop, "stopped, as it was asked to"),
            Crash::Process => (MarkKind::Crash, "the process is gone"),
            Crash::Power => (MarkKind::PowerLoss, "the power is gone"),
        };
        self.mark(node, kind, || text.into());
    }

    pub(super) fn mark_message(&mut self, to: NodeId, envelope: &Envelope) {
        if self.recording.is_none() {
            return;
        }
        let what = match &envelope.message {
            PeerMessage::Hello { epoch, last, .. } => format!("Hello in {epoch}, my copy ends at {last}"),
            PeerMessage::RollBack { to, .. } => format!("go back to {to}"),
            PeerMessage::ResyncByChange { base, .. } => format!("take what changed, then the log from {base}"),
            PeerMessage::Fenced { promised } => format!("refused: {promised} is promised"),
            _ => return,
        };
        let (from, to) = (name(&self.decided, envelope.from), name(&self.decided, to));
        self.mark_lane(None, LaneKind::Network, MarkKind::Message, || format!("{from} to {to}: {what}"));
    }

    // ---- decisions -------------------------------------------------------------------------------------------------------

    /// After every decision: figures always, marks when somebody records.
    pub(super) fn note_decision(&mut self, before: &ClusterState, after: &ClusterState) {
        let (Some(old), Some(new)) = (before.volumes.get(&VOLUME), after.volumes.get(&VOLUME)) else { return };
        if old.epoch != new.epoch {
            self.tally.granted();
        }
        if old.primary() != new.primary() {
            self.tally.primary_changed();
        }
        self.weigh_copies();
        if self.recording.is_none() {
            return;
        }
        if let (true, Some(primary)) = (old.epoch != new.epoch, new.primary()) {
            let (epoch, who) = (new.epoch, name(after, primary));
            self.mark(primary, MarkKind::Epoch, || format!("{epoch} is granted to {who}"));
        }
        for node in old.in_sync.keys().filter(|node| !new.in_sync.contains_key(node)) {
            self.mark(*node, MarkKind::Shrink, || "no longer in the in-sync set".into());
        }
        for node in new.in_sync.keys().filter(|node| !old.in_sync.contains_key(node)) {
            self.mark(*node, MarkKind::Grow, || "in the in-sync set".into());
        }
        self.mark_proposals(before, after);
        self.mark_maintenance(before, after);
    }

    fn mark_proposals(&mut self, before: &ClusterState, after: &ClusterState) {
        for (id, proposal) in &after.proposals {
            let old = before.proposals.get(id);
            let candidate = name(after, proposal.candidate);
            if old.is_none() {
                self.mark_operators(MarkKind::Proposal, || format!("{id}: promote {candidate}"));
            }
            if let Some(approval) = proposal.approval.as_ref().filter(|_| old.is_none_or(|old| old.approval.is_none())) {
                self.mark_operators(MarkKind::Approval, || format!("{id}: promote {candidate}, signed by {}", approval.actor));
            }
            if let (ProposalState::Failed { reason }, true) = (&proposal.state, old.is_some_and(|old| old.state.open())) {
                self.mark(proposal.candidate, MarkKind::Failure, || format!("promotion {id} failed: {reason}"));
            }
            if let ProposalState::Denied { reason, .. } = &proposal.state
                && old.is_none_or(|old| old.state != proposal.state)
            {
                self.mark_operators(MarkKind::Denial, || format!("{id}: {reason}"));
            }
        }
    }

    fn mark_maintenance(&mut self, before: &ClusterState, after: &ClusterState) {
        let active = |state: &ClusterState, id| {
            state.maintenance.get(id).filter(|one| one.state == MaintenanceState::Active).map(|one| one.node)
        };
        let ids = before.maintenance.keys().chain(after.maintenance.keys()).collect::<std::collections::BTreeSet<_>>();
        for id in ids {
            match (active(before, id), active(after, id)) {
                (None, Some(node)) => self.mark_operators(MarkKind::MaintenanceBegin, || format!("{id} of {}", name(after, node))),
                (Some(node), None) => self.mark_operators(MarkKind::MaintenanceEnd, || format!("{id} of {}", name(after, node))),
                _ => {}
            }
        }
    }

    /// How many copies hold everything.
    pub(super) fn weigh_copies(&mut self) {
        let standing = [A, B].map(|node| Standing { node, in_sync: self.in_sync(node) && self.nodes[&node].up() });
        self.tally.copies(self.queue.now(), standing);
    }

    fn in_sync(&self, node: NodeId) -> bool {
        let known = self.decided.volumes.get(&VOLUME).and_then(|volume| volume.in_sync.get(&node));
        // A cluster that believes what is not so counts for nothing here.
        let node = &self.nodes[&node];
        let volume = node.process.as_ref().and_then(|process| process.replica.volume());
        known == Some(&Incarnation(node.incarnation)) && volume.is_none_or(|volume| volume.complete())
    }

    // ---- clients ---------------------------------------------------------------------------------------------------------

    /// A client other than the auditor asks for something.
    pub(super) fn note_question(&mut self, request: &FileRequest) {
        let bytes = match request {
            FileRequest::Write { data, .. } => {
                let sized = self.plan.sized.as_ref();
                sized.map_or(data.len() as u64, |sized| sized.real(data.len() as u64, Scaled::bulk([data])))
            }
            _ => 0,
        };
        self.tally.asked(self.queue.now(), request.changes(), bytes);
    }

    pub(super) fn note_answer(&mut self, client: u32, slot: usize, writes: bool) {
        let now = self.queue.now();
        let silence = self.tally.answered(now, writes);
        let Some(recording) = self.recording.as_mut() else { return };
        recording.recorder.waits_no_more(now, client, slot);
        if let Some((from, to)) = silence.filter(|(from, to)| writes && to - from >= OUTAGE_MIN) {
            let lane = recording.recorder.of(LaneKind::Clients);
            recording.recorder.span(lane, SpanKind::Outage, (from, to), "no write was answered".into());
        }
    }

    pub(super) fn note_given_up(&mut self, client: u32, slot: usize, writes: bool) {
        self.tally.given_up(writes);
        let now = self.queue.now();
        if let Some(recording) = self.recording.as_mut() {
            recording.recorder.waits_no_more(now, client, slot);
        }
    }

    /// A read without a primary was answered. The client asks on, but somebody could read.
    pub(super) fn note_old_answer(&mut self, client: u32, slot: usize) {
        if !self.clients[client as usize].asks_for_change(slot) {
            self.tally.answered_old(self.queue.now());
        }
    }

    pub(super) fn note_retry(&mut self, client: u32, slot: usize) {
        let now = self.queue.now();
        if let Some(recording) = self.recording.as_mut() {
            recording.recorder.waits(now, client, slot);
        }
    }

    // ---- what can be seen of the nodes -----------------------------------------------------------------------------------

    /// After every event, when somebody records: spans begin and end where what can be seen has changed.
    pub(super) fn observe(&mut self) {
        let Some(mut recording) = self.recording.take() else { return };
        let now = self.queue.now();
        let samples = now >= recording.sampled_at + SAMPLE;
        if samples {
            recording.sampled_at = now;
        }
        for (index, node) in self.machines().into_iter().enumerate() {
            let seen = recording.seen[index];
            let facts = self.facts(node, seen.resync_percent, samples);
            if facts != seen {
                self.tell(&mut recording.recorder, node, facts);
                recording.seen[index] = facts;
            }
        }
        self.recording = Some(recording);
    }

    fn facts(&self, id: NodeId, percent_before: Option<u64>, samples: bool) -> Facts {
        let (now, node) = (self.queue.now(), &self.nodes[&id]);
        let resyncs =
            node.process.as_ref().is_some_and(|process| process.replica.volume().is_some_and(|volume| !volume.complete()));
        let resync_percent = match (resyncs, samples || percent_before.is_none()) {
            (false, _) => None,
            (true, false) => percent_before,
            (true, true) => Some(self.resync_percent(id)),
        };
        let others = self.machines().into_iter().filter(|other| *other != id).flat_map(|other| [(id, other), (other, id)]);
        let cut = others.fold(0, |bits, (from, to)| bits << 1 | u16::from(self.network.is_cut(End::Node(from), End::Node(to))));
        let platter = node.platter.as_ref().map(lock);
        Facts {
            role: self.role(id),
            down: !node.up(),
            paused: node.state == NodeState::Paused,
            lease: node.process.as_ref().is_some_and(|process| process.mode == ServeMode::ReadWrite),
            in_sync: node.up() && node.platter.is_some() && self.in_sync(id),
            resync_percent,
            cut,
            hangs: node.hang_until > now,
            faulty: platter.as_ref().is_some_and(|platter| platter.faults != DiskFaults::default()),
            full: platter.is_some_and(|platter| platter.capacity_bytes != super::disk_bytes(&self.plan)),
        }
    }

    fn role(&self, id: NodeId) -> Role {
        let node = &self.nodes[&id];
        let reign = self.volume_state().and_then(|volume| Some((volume.epoch, volume.reign?)));
        let kind = self.decided.nodes.get(&id).map(|node| node.kind);
        match reign {
            _ if !node.up() => Role::None,
            Some((epoch, reign)) if reign.node == id && reign.incarnation.0 == node.incarnation => Role::Primary(epoch),
            _ if kind == Some(NodeKind::Witness) => Role::Voter,
            _ => Role::Secondary,
        }
    }

    fn resync_percent(&self, id: NodeId) -> u64 {
        let node = &self.nodes[&id];
        let status = node.process.as_ref().map(|process| process.replica.status(node.clock.now(self.queue.now())));
        let resync = status.and_then(|status| status.resync);
        resync.map_or(0, |resync| (100 * resync.inode.min(resync.inodes_total)).checked_div(resync.inodes_total).unwrap_or(0))
    }

    fn tell(&self, recorder: &mut Recorder, id: NodeId, facts: Facts) {
        let (now, lane) = (self.queue.now(), lane(id));
        let mut set = |kind, text: Option<String>| recorder.set(now, lane, kind, text);
        let simply = |is: bool, text: &str| is.then(|| text.to_string());
        set(
            SpanKind::Role,
            match facts.role {
                Role::None => None,
                Role::Primary(epoch) => Some(format!("primary of {epoch}")),
                Role::Secondary => Some("secondary".into()),
                Role::Voter => Some("voter".into()),
            },
        );
        set(SpanKind::Down, simply(facts.down, "down"));
        set(SpanKind::Paused, simply(facts.paused, "paused"));
        set(SpanKind::Lease, simply(facts.lease, "serves under its lease"));
        set(SpanKind::InSync, simply(facts.in_sync, "in sync"));
        set(SpanKind::Resync, facts.resync_percent.map(|percent| format!("resync {percent} %")));
        set(SpanKind::Cut, (facts.cut != 0).then(|| self.cut_text(id)));
        let troubles = [(facts.hangs, "hangs"), (facts.faulty, "fails now and then"), (facts.full, "has no room")];
        let troubles: Vec<&str> = troubles.iter().filter(|(is, _)| *is).map(|(_, text)| *text).collect();
        set(SpanKind::Disk, (!troubles.is_empty()).then(|| troubles.join(", ")));
    }

    fn cut_text(&self, id: NodeId) -> String {
        let mut text = String::new();
        for other in self.machines().into_iter().filter(|other| *other != id) {
            let cut = |from, to| self.network.is_cut(End::Node(from), End::Node(to));
            let way = match (cut(id, other), cut(other, id)) {
                (false, false) => continue,
                (true, true) => "to and from",
                (true, false) => "to",
                (false, true) => "from",
            };
            let comma = if text.is_empty() { "nothing" } else { ", nothing" };
            let _ = write!(text, "{comma} {way} {}", name(&self.decided, other));
        }
        text
    }

    // ---- the end ---------------------------------------------------------------------------------------------------------

    /// File data between nodes so far, in real bytes.
    fn moved(&self) -> u64 {
        let moved = self.stats.bytes_moved;
        self.plan.sized.map_or(moved, |sized| sized.real(moved, self.bulk_moved))
    }

    /// Figures count from here.
    pub(super) fn measure(&mut self) {
        self.tally.restart(self.queue.now(), self.moved());
        self.weigh_copies();
        self.mark_operators(MarkKind::Note, || "figures count from here".into());
    }

    /// Everything is whole again, or something was violated: figures and spans end here.
    pub(super) fn end_story(&mut self) {
        let now = self.queue.now();
        let silent_since = self.tally.writes_unanswered_since();
        self.tally.end(now, self.moved());
        if let Some(recording) = self.recording.as_mut() {
            if let Some(from) = silent_since.filter(|from| now - from >= OUTAGE_MIN) {
                let lane = recording.recorder.of(LaneKind::Clients);
                recording.recorder.span(lane, SpanKind::Outage, (from, now), "no write was answered until the end".into());
            }
            recording.recorder.end(now);
        }
    }

    pub fn take_numbers(&mut self) -> Numbers {
        self.end_story();
        std::mem::take(&mut self.tally.numbers)
    }

    pub fn take_timeline(&mut self) -> Option<Timeline> {
        let now = self.queue.now();
        self.recording.take().map(|recording| recording.recorder.finish(now))
    }

    pub(super) fn mark_violation(&mut self, violation: &Violation) {
        let seconds = self.queue.now() as f64 / SECOND as f64;
        self.mark_operators(MarkKind::Violation, || format!("{} violated at {seconds:.3} s: {}", violation.name(), violation.text));
    }
}
