//! The handle by which the suite holds a backend.

use mainstay_cluster::{Actor, AuditEvent, ClusterState, Command, Event, NodeKind, Refusal, RefusalKind, Settings};
use mainstay_protocol::{ClusterId, NodeId, Timestamp};
use std::sync::Arc;
use std::time::Duration;

/// What a proposer was told.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    Accepted(u64),
    Refused(Refusal),
    /// Surely not decided.
    Unavailable,
    Unknown,
}

/// Several nodes and the network between them.
pub trait Cluster {
    fn nodes(&self) -> Vec<NodeId>;
    fn leader(&self) -> Option<NodeId>;
    fn view(&self, node: NodeId) -> Arc<ClusterState>;
    /// Starts a proposal; [`Cluster::answer`] gives its end.
    fn begin(&mut self, from: NodeId, command: Command) -> u64;
    fn answer(&mut self, ticket: u64) -> Option<Told>;
    fn isolate(&mut self, node: NodeId);
    /// Nothing goes from one to the other any more.
    fn cut(&mut self, from: NodeId, to: NodeId);
    fn heal(&mut self);
    fn crash(&mut self, node: NodeId);
    fn start(&mut self, node: NodeId);
    /// Brings a fresh node up and makes it a member.
    fn add(&mut self, node: NodeId);
    /// It is no member any more.
    fn remove(&mut self, node: NodeId);
    /// Lets a little time pass.
    fn run(&mut self);
    /// How much time has passed since the beginning.
    fn elapsed(&self) -> Duration;
    /// Whether far too much time has passed since the beginning.
    fn late(&self) -> bool;

    /// Lets time pass until it is so; the test fails when it never becomes so.
    fn until(&mut self, what: &str, mut so: impl FnMut(&mut Self) -> bool)
    where
        Self: Sized,
    {
        while !so(self) {
            assert!(!self.late(), "in vain: {what}");
            self.run();
        }
    }

    fn propose(&mut self, from: NodeId, command: Command) -> Told
    where
        Self: Sized,
    {
        let ticket = self.begin(from, command);
        let mut told = None;
        self.until("an answer", |cluster| {
            told = cluster.answer(ticket);
            told.is_some()
        });
        told.expect("just seen")
    }

    /// Insists until it has happened, perhaps twice.
    fn decide(&mut self, from: NodeId, command: Command)
    where
        Self: Sized,
    {
        self.until("acceptance", |cluster| match cluster.propose(from, command.clone()) {
            Told::Accepted(_) => true,
            // An answer was lost before.
            Told::Refused(refusal) => matches!(*refusal.kind, RefusalKind::AlreadyInitialised(_)),
            Told::Unavailable | Told::Unknown => false,
        });
    }

    /// Everybody shows the same state, of at least this version.
    fn agree(&mut self, version: u64)
    where
        Self: Sized,
    {
        self.until("agreement", |cluster| {
            let views: Vec<_> = cluster.nodes().into_iter().map(|node| cluster.view(node)).collect();
            views[0].version >= version && views.iter().all(|view| view.version == views[0].version)
        });
        let views: Vec<_> = self.nodes().into_iter().map(|node| self.view(node)).collect();
        views.iter().for_each(|view| assert_eq!(view, &views[0], "equal versions, different states"));
    }
}

pub fn init() -> Command {
    Command::Init {
        cluster: ClusterId([7; 16]),
        name: "test".into(),
        settings: Settings::default(),
        node: "a".into(),
        kind: NodeKind::FileServer,
        peer_address: "127.0.0.1:7401".into(),
        admin_address: "127.0.0.1:7400".into(),
        actor: Actor::Person("eve".into()),
        at: Timestamp::default(),
    }
}

/// Something that is always accepted, and found again in the audit log.
pub fn note(text: &str) -> Command {
    Command::Note { volume: None, text: text.into(), actor: Actor::Person("eve".into()), at: Timestamp::default() }
}

/// The texts of the notes in a state, in order.
pub fn notes(state: &ClusterState) -> Vec<String> {
    let is_note = |event: &&Arc<AuditEvent>| event.event == Event::Note;
    state.audit.events.iter().filter(is_note).map(|event| event.text.clone()).collect()
}
