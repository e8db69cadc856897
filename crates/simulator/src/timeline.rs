//! What happened in a run, as swim lanes: one for each node, one each for the clients, the operators and the network. Recorded
//! only when [`crate::Options::timeline`] asks for it; made to be drawn, and to be read as JSON.

mod recorder;

pub(crate) use recorder::{LaneId, Recorder};

use crate::queue::Time;
use serde::{Deserialize, Serialize};

/// A run as it is drawn. Times are nanoseconds of simulated time since the run began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    /// Nothing lies after this.
    pub end_ns: Time,
    /// Nodes first, in the order of their numbers.
    pub lanes: Vec<Lane>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LaneKind {
    Node,
    Clients,
    Operators,
    Network,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lane {
    pub name: String,
    pub kind: LaneKind,
    /// By their beginnings; those of one kind do not overlap.
    pub spans: Vec<Span>,
    pub marks: Vec<Mark>,
}

/// What lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SpanKind {
    /// Text: `primary of e3`, `secondary` or `voter`.
    Role,
    /// May serve reads and writes.
    Lease,
    /// The cluster knows this copy, in its present boot, to hold everything acknowledged.
    InSync,
    /// Receives what changed; a new span begins with every per cent that the text tells.
    Resync,
    Down,
    Paused,
    /// Links to other nodes are cut; text: which.
    Cut,
    /// The disk hangs, fails or is full; text: which.
    Disk,
    /// Clients: some wanted to write and no write was answered.
    Outage,
    /// Clients: some operation was sent again and is still unanswered.
    Waiting,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    pub from_ns: Time,
    pub to_ns: Time,
    pub kind: SpanKind,
    pub text: String,
}

/// What happens at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MarkKind {
    Crash,
    PowerLoss,
    /// The process ended because it was asked to.
    Stop,
    Boot,
    Proposal,
    Approval,
    Denial,
    /// A promotion that was granted and came to nothing: on the lane of its candidate.
    Failure,
    /// A grant: on the lane of the node that may serve from here on.
    Epoch,
    Shrink,
    Grow,
    RollBack,
    MaintenanceBegin,
    MaintenanceEnd,
    /// A command that a rule refused.
    Refusal,
    Violation,
    /// A message that changed something.
    Message,
    /// Anything else that the script did.
    Note,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub at_ns: Time,
    pub kind: MarkKind,
    pub text: String,
}

impl Timeline {
    pub fn lane(&self, name: &str) -> Option<&Lane> {
        self.lanes.iter().find(|lane| lane.name == name)
    }

    /// Every mark of this kind, whatever its lane.
    pub fn marks(&self, kind: MarkKind) -> impl Iterator<Item = &Mark> {
        self.lanes.iter().flat_map(|lane| &lane.marks).filter(move |mark| mark.kind == kind)
    }
}

impl Lane {
    pub fn spans(&self, kind: SpanKind) -> impl Iterator<Item = &Span> {
        self.spans.iter().filter(move |span| span.kind == kind)
    }
}
