//! Makes a [`Timeline`] while a run goes on.

use super::{Lane, LaneKind, Mark, MarkKind, Span, SpanKind, Timeline};
use crate::queue::{SECOND, Time};
use std::collections::{BTreeMap, BTreeSet};

/// Most marks of one lane: a run of days with a flapping link must still give a page that opens.
const MARKS_MAX: usize = 10_000;
/// The same mark is not set again before this has passed: messages are repeated until they are answered.
const AGAIN: Time = SECOND;

/// Position of a lane in [`Timeline::lanes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LaneId(pub usize);

pub(crate) struct Recorder {
    timeline: Timeline,
    open: BTreeMap<(LaneId, SpanKind), (Time, String)>,
    /// Clients' slots whose operation was sent more than once.
    waiting: BTreeSet<(u32, usize)>,
    /// The run's story is over: what comes is the last examination of the copies.
    ended: bool,
}

impl Recorder {
    /// Lanes of `nodes`, then those of everybody else.
    pub fn new(nodes: impl Iterator<Item = String>) -> Recorder {
        let lane = |name: String, kind| Lane { name, kind, spans: Vec::new(), marks: Vec::new() };
        let others = [("clients", LaneKind::Clients), ("operators", LaneKind::Operators), ("network", LaneKind::Network)];
        let lanes = nodes.map(|name| lane(name, LaneKind::Node)).chain(others.map(|(name, kind)| lane(name.into(), kind)));
        let timeline = Timeline { end_ns: 0, lanes: lanes.collect() };
        Recorder { timeline, open: BTreeMap::new(), waiting: BTreeSet::new(), ended: false }
    }

    pub fn of(&self, kind: LaneKind) -> LaneId {
        LaneId(self.timeline.lanes.iter().position(|lane| lane.kind == kind).expect("every kind has a lane"))
    }

    pub fn mark(&mut self, now: Time, lane: LaneId, kind: MarkKind, text: String) {
        let marks = &mut self.timeline.lanes[lane.0].marks;
        let said =
            marks.iter().rev().take_while(|mark| mark.at_ns + AGAIN > now).any(|mark| mark.kind == kind && mark.text == text);
        if (self.ended && kind != MarkKind::Violation) || said || marks.len() >= MARKS_MAX {
            return;
        }
        marks.push(Mark { at_ns: now, kind, text });
    }

    /// What is so from now on: `None` ends the span, the same text lets it go on.
    pub fn set(&mut self, now: Time, lane: LaneId, kind: SpanKind, text: Option<String>) {
        let key = (lane, kind);
        if self.ended || self.open.get(&key).map(|(_, text)| text) == text.as_ref() {
            return;
        }
        if let Some((from, text)) = self.open.remove(&key) {
            self.span(lane, kind, (from, now), text);
        }
        if let Some(text) = text {
            self.open.insert(key, (now, text));
        }
    }

    /// A span that is known only at its end.
    pub fn span(&mut self, lane: LaneId, kind: SpanKind, (from_ns, to_ns): (Time, Time), text: String) {
        if from_ns < to_ns && !self.ended {
            self.timeline.lanes[lane.0].spans.push(Span { from_ns, to_ns, kind, text });
        }
    }

    pub fn waits(&mut self, now: Time, client: u32, slot: usize) {
        self.waiting.insert((client, slot));
        self.tell_waiting(now);
    }

    pub fn waits_no_more(&mut self, now: Time, client: u32, slot: usize) {
        if self.waiting.remove(&(client, slot)) {
            self.tell_waiting(now);
        }
    }

    fn tell_waiting(&mut self, now: Time) {
        let text = (!self.waiting.is_empty()).then(|| "operations are sent again".to_string());
        self.set(now, self.of(LaneKind::Clients), SpanKind::Waiting, text);
    }

    /// Ends the story; violations can still be marked.
    pub fn end(&mut self, now: Time) {
        for ((lane, kind), (from, text)) in std::mem::take(&mut self.open) {
            self.span(lane, kind, (from, now), text);
        }
        self.ended = true;
    }

    pub fn finish(mut self, now: Time) -> Timeline {
        if !self.ended {
            self.end(now);
        }
        let mut timeline = self.timeline;
        let spans = timeline.lanes.iter().flat_map(|lane| lane.spans.iter().map(|span| span.to_ns));
        let marks = timeline.lanes.iter().flat_map(|lane| lane.marks.iter().map(|mark| mark.at_ns));
        timeline.end_ns = spans.chain(marks).max().unwrap_or(0);
        timeline.lanes.iter_mut().for_each(|lane| lane.spans.sort_by_key(|span| (span.from_ns, span.kind)));
        timeline
    }
}
