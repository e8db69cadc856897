//! What came of it: figures, the story of the worst seed, and who would be told.

use super::super::fork::Fork;
use super::super::one::{Numbers, Run};
use super::super::units::show_time;
use super::step::{Kind, Step};
use super::world::SECOND;
use mainstay_protocol::NodeId;
use mainstay_simulator::Timeline;
use mainstay_simulator::scenario::NODES;
use mainstay_simulator::timeline::{LaneKind, Mark, MarkKind, SpanKind};
use serde::Serialize;

/// A mount rides out less than this without anybody noticing: a failover of the copy itself takes a lease.
pub const OUTAGE_SEEN: u64 = 5 * SECOND;
/// Shorter waits are not part of the story.
const WAIT_TOLD: u64 = SECOND;
/// Lines of the story; what comes after is in the report.
const MOMENTS_MAX: usize = 24;

/// Of the simulated time, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub begins: u64,
    /// When everything that is still away is brought back.
    pub ends: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moment {
    /// Since the step began.
    pub at_ns: u64,
    pub text: String,
}

/// What of a run matters here.
#[derive(Clone, Debug, Serialize)]
pub struct Told {
    /// Nobody would notice anything, and every property held.
    pub good: bool,
    /// Why it is not good.
    pub reasons: Vec<String>,
    /// Whose story it is.
    pub seed: u64,
    pub seeds: u64,
    /// Until the story ends and everything is mended.
    pub promotions: u64,
    /// The worst of all seeds, each by itself, until everything was mended.
    pub numbers: Numbers,
    pub story: Vec<Moment>,
    /// What a person would have to hear of.
    pub pages: Vec<String>,
}

/// Of at least one run, each with its timeline.
pub fn tell(fork: &Fork, step: &Step, span: Span, mut runs: Vec<Run>, worst: Numbers) -> Told {
    let weight = |run: &Run| {
        let n = &run.numbers;
        (!run.outcome.ok(), n.outage_ns.max(n.read_outage_ns), n.without_redundancy_ns, std::cmp::Reverse(run.outcome.seed))
    };
    let seeds = runs.len() as u64;
    runs.sort_by_key(weight);
    let promotions = runs.iter().filter_map(|run| run.timeline.as_ref()).map(|timeline| grants(timeline, span)).max().unwrap_or(0);
    let Some(shown) = runs.pop() else {
        return Told {
            good: false,
            reasons: vec!["nothing was run".into()],
            seed: 0,
            seeds,
            promotions,
            numbers: worst,
            story: vec![],
            pages: vec![],
        };
    };
    let mut reasons: Vec<String> = shown
        .outcome
        .violations
        .iter()
        .map(|violation| format!("{} would be violated: {}", violation.name(), violation.text))
        .collect();
    let already = if fork.has_primary { "" } else { " (it has no primary now)" };
    for (what, time) in [("written", worst.outage_ns), ("read", worst.read_outage_ns)] {
        // What nobody ended by then was ended by the end of the story.
        if time >= span.ends.saturating_sub(span.begins + OUTAGE_SEEN) {
            reasons.push(format!("nothing could be {what} any more, as long as was simulated ({}){already}", show_time(time)));
        } else if time >= OUTAGE_SEEN {
            reasons.push(format!("for {} nothing could be {what}{already}", show_time(time)));
        }
    }
    let empty = Timeline::default();
    let timeline = shown.timeline.as_ref().unwrap_or(&empty);
    let story = story(fork, step, span, timeline);
    let pages = pages(fork, step, span, timeline, &worst);
    Told { good: reasons.is_empty(), reasons, seed: shown.outcome.seed, seeds, promotions, numbers: worst, story, pages }
}

fn grants(timeline: &Timeline, span: Span) -> u64 {
    let within = |mark: &&Mark| (span.begins..span.ends).contains(&mark.at_ns);
    timeline.marks(MarkKind::Epoch).filter(within).count() as u64
}

// ---- the story ---------------------------------------------------------------------------------------------------------------

fn story(fork: &Fork, step: &Step, span: Span, timeline: &Timeline) -> Vec<Moment> {
    let mut found: Vec<(u64, String)> = Vec::new();
    if let Kind::Cut(one, other) = step.kind {
        let (one, other) = (fork.names.of(one), fork.names.of(other));
        found.push((span.begins, format!("{one} and {other} no longer hear each other")));
        found.push((span.begins + step.lasts, format!("{one} and {other} hear each other again")));
    }
    if let Kind::Maintenance(node) = step.kind
        && fork.maintained(node)
    {
        found.push((span.begins, format!("{} is in maintenance already", fork.names.of(node))));
    }
    for (index, lane) in timeline.lanes.iter().enumerate() {
        let node = NODES.get(index).copied().filter(|_| lane.kind == LaneKind::Node);
        let told = lane.marks.iter().filter(|mark| within(mark, span));
        found.extend(told.filter_map(|mark| Some((mark.at_ns, moment(fork, node, mark)?))));
    }
    for (from, to) in waits(timeline, span) {
        found.push((from, format!("no write is answered for {}", show_time(to - from))));
    }
    found.sort();
    let mut seen = std::collections::BTreeSet::new();
    // What a rule refuses is tried again and again.
    found.retain(|(_, text)| !text.starts_with("refused") || seen.insert(text.clone()));
    let moments = found.into_iter().map(|(at, text)| Moment { at_ns: at.saturating_sub(span.begins), text });
    moments.take(MOMENTS_MAX).collect()
}

/// After its end only the way back into the in-sync set belongs to it.
fn within(mark: &Mark, span: Span) -> bool {
    mark.at_ns >= span.begins && (mark.at_ns < span.ends || mark.kind == MarkKind::Grow)
}

fn waits(timeline: &Timeline, span: Span) -> Vec<(u64, u64)> {
    let lanes = timeline.lanes.iter().filter(|lane| lane.kind == LaneKind::Clients);
    let spans = lanes.flat_map(|lane| lane.spans(SpanKind::Outage));
    let after = spans.map(|one| (one.from_ns.max(span.begins), one.to_ns));
    after.filter(|(from, to)| *from < span.ends && *to >= from.saturating_add(WAIT_TOLD)).collect()
}

/// The name of the node that a mark's text ends with, as the live cluster calls it; who signed it comes after a comma.
fn last_word<'a>(fork: &'a Fork, text: &'a str) -> &'a str {
    let text = text.split(',').next().unwrap_or(text);
    let letter = text.rsplit(' ').next().unwrap_or(text);
    let node = super::super::fork::Names::default().find(letter);
    node.map_or(letter, |node| fork.names.of(node))
}

fn moment(fork: &Fork, node: Option<NodeId>, mark: &Mark) -> Option<String> {
    let name = node.map_or("", |node| fork.names.of(node));
    let about = || last_word(fork, &mark.text);
    Some(match mark.kind {
        MarkKind::Stop => format!("{name} has stopped"),
        MarkKind::Crash | MarkKind::PowerLoss => format!("{name} is gone"),
        MarkKind::Boot => format!("{name} starts"),
        MarkKind::Shrink => format!("{name} leaves the in-sync set"),
        MarkKind::Grow => format!("{name} is in sync"),
        MarkKind::RollBack => format!("{name} rolls back what only it has, and keeps it in quarantine"),
        MarkKind::Failure => format!("the promotion of {name} comes to nothing"),
        MarkKind::Epoch => format!("{name} becomes the primary"),
        MarkKind::Proposal => format!("{} could be promoted: this waits for a person", about()),
        MarkKind::Approval => format!("a person approves {} as primary", about()),
        MarkKind::Denial => format!("a person denies: {}", mark.text),
        MarkKind::MaintenanceBegin => format!("maintenance of {} begins", about()),
        MarkKind::MaintenanceEnd => format!("maintenance of {} ends", about()),
        // What a node tried and may not is its own affair; what a person asks for is part of the story.
        MarkKind::Refusal if mark.text.starts_with("promise of ") => return None,
        MarkKind::Refusal => format!("refused: {}", mark.text),
        MarkKind::Violation => mark.text.clone(),
        MarkKind::Message | MarkKind::Note => return None,
    })
}

// ---- who would be told ----------------------------------------------------------------------------------------------------------

/// What `status` would show as a concern and no maintenance explains.
fn pages(fork: &Fork, step: &Step, span: Span, timeline: &Timeline, worst: &Numbers) -> Vec<String> {
    let mut list = Vec::new();
    let names = &fork.names;
    if worst.outage_ns >= OUTAGE_SEEN {
        list.push(format!("volume {}: writes are not answered", fork.volume));
    }
    if fork.breaker_open {
        list.push(format!("volume {}: the breaker is open, so nothing is promoted before a person resets it", fork.volume));
    }
    // Who asks for a switchover has decided.
    let asks = !matches!(step.kind, Kind::Switchover(_));
    let proposals = timeline.marks(MarkKind::Proposal).filter(|mark| asks && mark.at_ns < span.ends);
    for mark in proposals.take(1) {
        let after = mark.at_ns.saturating_sub(span.begins);
        list.push(format!("a promotion of {} waits for approval, after {}", last_word(fork, &mark.text), show_time(after)));
    }
    let covered = |node: NodeId| matches!(step.kind, Kind::Maintenance(maintained) if maintained == node) || fork.maintained(node);
    if let Some(node) = step.absent().filter(|node| !covered(*node)) {
        list.push(format!("node {} is unreachable", names.of(node)));
    }
    list.extend(fork.away.iter().filter(|node| !covered(**node)).map(|node| format!("node {} is unreachable", names.of(*node))));
    if let Kind::Cut(one, two) = step.kind {
        list.push(format!("{} and {} do not hear each other", names.of(one), names.of(two)));
    }
    // What the step itself ends is overdue only when it takes longer than was planned.
    let until = |node: NodeId| if step.absent() == Some(node) { step.lasts } else { span.ends - span.begins };
    let overdue = fork.maintenance.iter().filter(|(node, left)| *left < until(*node));
    list.extend(overdue.map(|(node, left)| {
        format!("the maintenance of {} that stands now is still open at its end, in {}", names.of(*node), show_time(*left))
    }));
    let shrinks = timeline.marks(MarkKind::Shrink).any(|mark| (span.begins..span.ends).contains(&mark.at_ns));
    let by_step = step.absent().is_some_and(covered);
    if shrinks && !by_step {
        list.push(format!("volume {}: there is one copy only", fork.volume));
    }
    list
}

/// One copy only: for how long, and why it is so already.
pub fn redundancy(fork: &Fork, step: &Step, numbers: &Numbers) -> String {
    let gone: Vec<NodeId> = fork.away.iter().chain(&fork.behind).copied().filter(|node| fork.replica(*node)).collect();
    let lost = gone.iter().find(|node| step.absent() != Some(**node) && fork.away.contains(node));
    match (lost, gone.first()) {
        (Some(node), _) => format!("the whole time: {} is away now, and this does not bring it back", fork.names.of(*node)),
        (None, Some(node)) => {
            format!("{}, as {} is not in sync now", show_time(numbers.without_redundancy_ns), fork.names.of(*node))
        }
        (None, None) if numbers.without_redundancy_ns == 0 => "never: both copies stay in sync".into(),
        (None, None) => show_time(numbers.without_redundancy_ns),
    }
}

pub fn roles(fork: &Fork, told: &Told) -> String {
    let primary = fork.names.of(fork.primary);
    let becomes = told.story.iter().rev().find(|moment| moment.text.ends_with("becomes the primary"));
    match (told.promotions, becomes) {
        (0, _) if !fork.has_primary => "none now, and nobody is promoted".into(),
        (0, _) if told.numbers.role_changes == 0 => format!("{primary} stays the primary"),
        (0, _) => format!("{primary} ends its reign, and nobody is promoted"),
        (1, Some(moment)) => format!("{}, {} after the beginning", moment.text, show_time(moment.at_ns)),
        (several, Some(moment)) => format!("changes {several} times; in the end {}", moment.text),
        (several, None) => format!("changes {several} times"),
    }
}
