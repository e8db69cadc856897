//! The simulator's coordination: the promises of the real one, and every freedom that it takes.
//!
//! Commands get one total order. Every node sees decisions late, in that order, at its own pace, and may miss states in
//! between. A proposal is answered, or its answer is lost and it happened anyway, or it never happened; which one, the proposer
//! cannot tell. Minorities see nothing new and decide nothing. Leaders change, and what the old one had not finished is lost or
//! kept, by chance. Leadership moves to whom most members reach, after a while. Nodes and everything stall.
//!
//! Plain data and a seeded generator: the same calls give the same deliveries, for ever.

use mainstay_cluster::{ClusterState, Command, Refusal};
use mainstay_protocol::{Mono, NodeId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Decided states kept for nodes that lag; a node further behind continues with the oldest kept, as after a snapshot.
const KEPT_STATES_MAX: usize = 1024;

/// A range of times to draw from, microseconds, ends included.
pub type Range = (u64, u64);

/// How slow and how unlucky this coordination is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// From one node to another, and for a majority to confirm.
    pub delay_us: Range,
    /// From a decision to a node's next look at it.
    pub pace_us: Range,
    /// From the loss of a leader to the next one.
    pub election_us: Range,
    /// A proposer's pause before it looks for the leader again.
    pub retry_us: u64,
    /// A proposer gives up after this and reports [`ProposeResult::Unknown`].
    pub patience_us: u64,
    /// Proposals lost on their way, of a thousand.
    pub lost_per_mille: u32,
    /// Answers lost on their way back, of a thousand.
    pub unanswered_per_mille: u32,
    /// Accepted proposals that are decided a second time a little later, of a thousand. Embedded Raft never does this; a
    /// backend whose client retries by itself does.
    pub repeated_per_mille: u32,
    /// Looks in which a node jumps to the newest decision instead of the next, of a thousand.
    pub skipped_per_mille: u32,
}

impl Settings {
    /// No bad luck, only distance.
    pub const CALM: Settings = Settings {
        delay_us: (200, 2_000),
        pace_us: (200, 5_000),
        election_us: (800_000, 1_600_000),
        retry_us: 50_000,
        patience_us: 5_000_000,
        lost_per_mille: 0,
        unanswered_per_mille: 0,
        repeated_per_mille: 0,
        skipped_per_mille: 0,
    };
    /// Everything that can happen, happens soon.
    pub const ROUGH: Settings = Settings {
        delay_us: (100, 50_000),
        pace_us: (100, 300_000),
        lost_per_mille: 30,
        unanswered_per_mille: 30,
        repeated_per_mille: 20,
        skipped_per_mille: 200,
        ..Settings::CALM
    };
}

/// What a proposer learns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProposeResult {
    /// Decided; the version of the state that it made.
    Accepted(u64),
    Refused(Refusal),
    /// It may have happened, may happen yet, or never. Also where embedded Raft knows that it never will.
    Unknown,
}

#[derive(Clone, Debug)]
pub enum DeliveryKind {
    Decided(Arc<ClusterState>),
    Proposed { ticket: u64, result: ProposeResult },
}

/// Something for one node.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub node: NodeId,
    pub kind: DeliveryKind,
}

/// One node's side.
#[derive(Clone, Debug, Default)]
struct Member {
    up: bool,
    /// Counts starts, so that answers to an earlier boot find nobody.
    boot: u64,
    /// Number of the newest decision that it was shown.
    seen: u64,
    stalled_until: Mono,
    /// A look is on its way.
    looking: bool,
}

#[derive(Clone, Debug)]
struct Proposal {
    from: NodeId,
    boot: u64,
    ticket: u64,
    command: Command,
    /// The proposer still waits.
    open: bool,
}

#[derive(Clone, Debug)]
enum Event {
    /// Has reached whom the proposer takes for the leader.
    Arrive(u64),
    /// A majority has confirmed it, if this leader still leads.
    Confirm {
        id: u64,
        leader: NodeId,
        term: u64,
        repeat: bool,
    },
    Answer {
        id: u64,
        result: ProposeResult,
    },
    GiveUp(u64),
    Look(NodeId),
    Elect {
        term: u64,
    },
    /// Leadership moves to a member that reaches more, if the links are still those of this question.
    Move {
        question: u64,
    },
}

/// The coordination of a simulated cluster.
pub struct Model {
    settings: Settings,
    random: SplitMix64,
    members: BTreeMap<NodeId, Member>,
    /// Directed links that carry nothing.
    cut: BTreeSet<(NodeId, NodeId)>,
    leader: Option<NodeId>,
    term: u64,
    /// A member that reaches more than the leader has been there since this question, which is still open.
    moving: Option<u64>,
    /// Decisions `first..first + states.len()`; the last is the newest.
    states: VecDeque<Arc<ClusterState>>,
    first: u64,
    proposals: BTreeMap<u64, Proposal>,
    events: BTreeMap<(Mono, u64), Event>,
    /// Numbers proposals, and events of one instant.
    sequence: u64,
    out: Vec<Delivery>,
}

impl Model {
    /// All `nodes` are up, linked, and know `state`; the first of them leads.
    pub fn new(seed: u64, settings: Settings, nodes: &[NodeId], state: ClusterState) -> Model {
        let member = Member { up: true, ..Member::default() };
        let members: BTreeMap<_, _> = nodes.iter().map(|node| (*node, member.clone())).collect();
        Model {
            settings,
            random: SplitMix64(seed),
            leader: members.keys().next().copied(),
            members,
            cut: BTreeSet::new(),
            term: 1,
            moving: None,
            states: VecDeque::from([Arc::new(state)]),
            first: 0,
            proposals: BTreeMap::new(),
            events: BTreeMap::new(),
            sequence: 0,
            out: Vec::new(),
        }
    }

    // -- getters ------------------------------------------------------------------------------------------------------

    /// The state that this node was shown last; what a process that starts on it begins with. Unknown nodes see the oldest.
    pub fn view(&self, node: NodeId) -> Arc<ClusterState> {
        let seen = self.members.get(&node).map_or(0, |member| member.seen);
        self.state_at(seen.max(self.first))
    }

    /// The newest decided state, which perhaps no node knows yet. For checkers.
    pub fn newest(&self) -> Arc<ClusterState> {
        self.state_at(self.last())
    }

    pub fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// When [`Model::take`] has something to do next.
    pub fn next_event(&self) -> Option<Mono> {
        self.events.first_key_value().map(|((at, _), _)| *at)
    }

    // -- inputs -------------------------------------------------------------------------------------------------------

    /// `from` proposes. Exactly one answer with this ticket comes, unless the node stops first.
    pub fn propose(&mut self, now: Mono, from: NodeId, ticket: u64, command: Command) {
        let Some(member) = self.members.get(&from).filter(|member| member.up) else { return };
        let proposal = Proposal { from, boot: member.boot, ticket, command, open: true };
        self.sequence += 1;
        let id = self.sequence;
        self.proposals.insert(id, proposal);
        self.at(after(now, self.settings.patience_us), Event::GiveUp(id));
        if !self.random.chance(self.settings.lost_per_mille) {
            let arrives = self.delayed(now);
            self.at(arrives, Event::Arrive(id));
        }
    }

    /// The process on this node is gone, with its proposals; what it had proposed may happen nevertheless.
    pub fn stop(&mut self, now: Mono, node: NodeId) {
        let Some(member) = self.members.get_mut(&node) else { return };
        member.up = false;
        for proposal in self.proposals.values_mut().filter(|proposal| proposal.from == node) {
            proposal.open = false;
        }
        if self.leader == Some(node) {
            self.leader = None;
        }
        self.reconsider(now);
    }

    /// A new process on this node. It begins with [`Model::view`].
    pub fn start(&mut self, now: Mono, node: NodeId) {
        let first = self.first;
        let Some(member) = self.members.get_mut(&node) else { return };
        member.up = true;
        member.boot += 1;
        member.stalled_until = Mono::ZERO;
        // A look that an earlier process still had before it may be far off.
        member.looking = false;
        member.seen = member.seen.max(first);
        self.reconsider(now);
    }

    pub fn restart(&mut self, now: Mono, node: NodeId) {
        self.stop(now, node);
        self.start(now, node);
    }

    /// A further member, up. It begins with [`Model::view`], which is the oldest state that is kept.
    pub fn add_node(&mut self, now: Mono, node: NodeId) {
        let seen = self.first;
        self.members.entry(node).or_insert_with(|| Member { up: true, seen, ..Member::default() });
        self.reconsider(now);
    }

    /// This member is none any more: it counts for nothing, is shown nothing, and what it proposes vanishes.
    pub fn remove_node(&mut self, now: Mono, node: NodeId) {
        self.stop(now, node);
        self.members.remove(&node);
        self.reconsider(now);
    }

    /// Every other member is lost for good, and this one, which is down, is a group of its own from now on: with this state, and nothing
    /// of what was under way. It begins when it is started.
    pub fn go_on_alone(&mut self, now: Mono, node: NodeId, state: ClusterState) {
        let first = self.last() + 1;
        let boot = self.members.get(&node).map_or(0, |member| member.boot);
        (self.states, self.first) = (VecDeque::from([Arc::new(state)]), first);
        self.members = BTreeMap::from([(node, Member { boot, seen: first, ..Member::default() })]);
        self.proposals.clear();
        self.events.clear();
        (self.leader, self.moving) = (None, None);
        self.term += 1;
        self.reconsider(now);
    }

    /// Opens or closes one direction between two nodes.
    pub fn set_link(&mut self, now: Mono, from: NodeId, to: NodeId, open: bool) {
        if open {
            self.cut.remove(&(from, to))
        } else {
            self.cut.insert((from, to))
        };
        self.reconsider(now);
    }

    /// Both directions are open exactly between nodes that are both in `together` or both outside.
    pub fn partition(&mut self, now: Mono, together: &BTreeSet<NodeId>) {
        let split = |a: &NodeId, b: &NodeId| together.contains(a) != together.contains(b);
        let nodes: Vec<NodeId> = self.members.keys().copied().collect();
        self.cut = nodes.iter().flat_map(|a| nodes.iter().filter(|b| split(a, b)).map(|b| (*a, *b))).collect();
        self.reconsider(now);
    }

    /// Everything reaches everything again.
    pub fn heal(&mut self, now: Mono) {
        self.cut.clear();
        self.reconsider(now);
    }

    /// This node is shown nothing and proposes nothing until then (its disk hangs, its process is paused).
    pub fn stall(&mut self, node: NodeId, until: Mono) {
        if let Some(member) = self.members.get_mut(&node) {
            member.stalled_until = member.stalled_until.max(until);
        }
    }

    /// The leader is gone, though perhaps healthy; another is elected after the usual time.
    pub fn depose(&mut self, now: Mono) {
        self.leader = None;
        self.reconsider(now);
    }

    // -- outputs ------------------------------------------------------------------------------------------------------

    /// Does everything that is due, and gives what came of it, in order.
    pub fn take(&mut self, now: Mono) -> Vec<Delivery> {
        while let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= now) {
            let ((at, _), event) = entry.remove_entry();
            match event {
                Event::Arrive(id) => self.arrive(at, id),
                Event::Confirm { id, leader, term, repeat } => self.confirm(at, id, leader, term, repeat),
                Event::Answer { id, result } => self.answer(id, result),
                Event::GiveUp(id) => self.answer(id, ProposeResult::Unknown),
                Event::Look(node) => self.look(at, node),
                Event::Elect { term } => self.elect(at, term),
                Event::Move { question } => self.move_leadership(at, question),
            }
        }
        std::mem::take(&mut self.out)
    }

    // -- proposals ----------------------------------------------------------------------------------------------------

    /// A proposer whose leader cannot be reached looks again until its patience ends. One that gave up does not, but what it
    /// had sent may still arrive.
    fn arrive(&mut self, now: Mono, id: u64) {
        let Some(proposal) = self.proposals.get(&id) else { return };
        let (from, open) = (proposal.from, proposal.open);
        let stalled = self.stalled(now, from);
        match self.leader.filter(|leader| stalled.is_none() && self.linked(from, *leader)) {
            Some(leader) => {
                let confirmed = self.delayed(now);
                self.at(confirmed, Event::Confirm { id, leader, term: self.term, repeat: false });
            }
            None if open => {
                let again = after(now, self.settings.retry_us).max(stalled.unwrap_or(Mono::ZERO));
                self.at(again, Event::Arrive(id));
            }
            None => drop(self.proposals.remove(&id)),
        }
    }

    fn confirm(&mut self, now: Mono, id: u64, leader: NodeId, term: u64, repeat: bool) {
        let leads = self.leader == Some(leader) && self.term == term;
        if leads && self.has_majority(leader) {
            return self.decide(now, id, leader, repeat);
        }
        if leads || self.leader.is_none() {
            // In a log without a majority: its fate is open.
            let again = after(now, self.settings.retry_us);
            return self.at(again, Event::Confirm { id, leader, term, repeat });
        }
        // Another leads: either it had this entry in its log, or it overrules it.
        if let Some(heir) = self.leader.filter(|_| self.random.chance(500)) {
            let again = self.delayed(now);
            self.at(again, Event::Confirm { id, leader: heir, term: self.term, repeat });
        } else {
            // The old leader tells its proposer that it cannot tell, if it still can.
            let told = self.delayed(now);
            self.at(told, Event::Answer { id, result: ProposeResult::Unknown });
        }
    }

    /// The one place where the state changes.
    fn decide(&mut self, now: Mono, id: u64, leader: NodeId, repeat: bool) {
        let Some(proposal) = self.proposals.get(&id) else { return };
        let (from, mut next) = (proposal.from, ClusterState::clone(&self.newest()));
        let result = match next.apply(&proposal.command) {
            Ok(_) => ProposeResult::Accepted(next.version),
            Err(refusal) => ProposeResult::Refused(refusal),
        };
        self.states.push_back(Arc::new(next));
        self.everybody_looks(now);
        if !repeat && self.random.chance(self.settings.repeated_per_mille) {
            let again = self.delayed(now);
            self.at(again, Event::Confirm { id, leader, term: self.term, repeat: true });
        }
        let answered = self.linked(leader, from) && !self.random.chance(self.settings.unanswered_per_mille);
        if answered && !repeat {
            let arrives = self.delayed(now);
            self.at(arrives, Event::Answer { id, result });
        }
        self.drop_unneeded(id);
    }

    fn drop_unneeded(&mut self, id: u64) {
        if !self.events.values().any(|event| event.needs(id)) {
            self.proposals.remove(&id);
        }
    }

    /// The first answer counts, and only for the boot that asked. The proposal itself stays as long as an event may need it.
    fn answer(&mut self, id: u64, result: ProposeResult) {
        let Some(proposal) = self.proposals.get_mut(&id) else { return };
        let open = std::mem::replace(&mut proposal.open, false);
        let (node, ticket, boot) = (proposal.from, proposal.ticket, proposal.boot);
        self.drop_unneeded(id);
        if open && self.members.get(&node).is_some_and(|member| member.up && member.boot == boot) {
            self.out.push(Delivery { node, kind: DeliveryKind::Proposed { ticket, result } });
        }
    }

    // -- views --------------------------------------------------------------------------------------------------------

    fn everybody_looks(&mut self, now: Mono) {
        let nodes: Vec<NodeId> = self.members.keys().copied().collect();
        nodes.into_iter().for_each(|node| self.look_later(now, node));
    }

    fn look_later(&mut self, now: Mono, node: NodeId) {
        let last = self.last();
        let Some(member) = self.members.get_mut(&node) else { return };
        if member.looking || !member.up || member.seen >= last {
            return;
        }
        member.looking = true;
        let at = after(now, self.random.within(self.settings.pace_us)).max(member.stalled_until);
        self.at(at, Event::Look(node));
    }

    /// Shows a node the next decision, or the newest. A node that the leader does not reach looks again when that changes.
    fn look(&mut self, now: Mono, node: NodeId) {
        let stalled = self.stalled(now, node).is_some();
        let reached = self.leader.is_some_and(|leader| self.linked(leader, node));
        let (first, last) = (self.first, self.last());
        let skips = self.random.chance(self.settings.skipped_per_mille);
        let Some(member) = self.members.get_mut(&node) else { return };
        member.looking = false;
        if member.up && !stalled && reached && member.seen < last {
            member.seen = if skips { last } else { (member.seen + 1).max(first) };
            let state = self.state_at(self.members[&node].seen);
            self.out.push(Delivery { node, kind: DeliveryKind::Decided(state) });
            self.forget();
        }
        if stalled || reached {
            self.look_later(now, node);
        }
    }

    /// Drops states that everybody has passed, and those past the bound.
    fn forget(&mut self) {
        let slowest = self.members.values().map(|member| member.seen).min().unwrap_or(0);
        while self.states.len() > 1 && (self.first < slowest || self.states.len() > KEPT_STATES_MAX) {
            self.states.pop_front();
            self.first += 1;
        }
    }

    // -- leaders ------------------------------------------------------------------------------------------------------

    /// After any change of who reaches whom.
    fn reconsider(&mut self, now: Mono) {
        if !self.leader.is_some_and(|leader| self.has_majority(leader)) {
            let at = after(now, self.random.within(self.settings.election_us));
            self.at(at, Event::Elect { term: self.term });
        }
        self.consider_moving(now);
        self.everybody_looks(now);
    }

    /// One of those that reach a majority leads from now on, unless that question was answered meanwhile. Without any, the
    /// next change of who reaches whom asks again.
    fn elect(&mut self, now: Mono, term: u64) {
        if term != self.term || self.leader.is_some_and(|leader| self.has_majority(leader)) {
            return;
        }
        let able: Vec<NodeId> = self.members.keys().copied().filter(|node| self.has_majority(*node)).collect();
        if able.is_empty() {
            return;
        }
        self.lead(now, &able);
    }

    /// One of these leads from now on.
    fn lead(&mut self, now: Mono, able: &[NodeId]) {
        self.leader = Some(able[self.random.below(able.len() as u64) as usize]);
        self.term += 1;
        self.moving = None;
        self.consider_moving(now);
        self.everybody_looks(now);
    }

    /// Embedded Raft's leader hands leadership to a member that reaches more than itself. It takes a leader about an election
    /// time to notice and to ask, and a new leader another one before it judges.
    fn consider_moving(&mut self, now: Mono) {
        if self.better_leaders().is_empty() {
            self.moving = None;
        } else if self.moving.is_none() {
            let election = self.settings.election_us;
            let wait = self.random.within(election) + self.random.within(election);
            // The number of the event that is made next.
            let question = self.sequence + 1;
            self.moving = Some(question);
            self.at(after(now, wait), Event::Move { question });
        }
    }

    fn move_leadership(&mut self, now: Mono, question: u64) {
        if self.moving == Some(question) {
            let better = self.better_leaders();
            self.lead(now, &better);
        }
    }

    /// Members linked with the leader that reach strictly more members. None while there is no leader with a majority: then
    /// there is an election.
    fn better_leaders(&self) -> Vec<NodeId> {
        let Some(leader) = self.leader.filter(|leader| self.has_majority(*leader)) else { return Vec::new() };
        let reached = self.reached(leader);
        let better = |node: &NodeId| self.linked_both(leader, *node) && self.reached(*node) > reached;
        self.members.keys().copied().filter(better).collect()
    }

    fn has_majority(&self, node: NodeId) -> bool {
        self.reached(node) > self.members.len() / 2
    }

    /// Members that this one reaches and hears, itself among them.
    fn reached(&self, node: NodeId) -> usize {
        self.members.keys().filter(|other| self.linked_both(node, **other)).count()
    }

    fn linked_both(&self, one: NodeId, other: NodeId) -> bool {
        self.linked(one, other) && self.linked(other, one)
    }

    /// Whether something sent now by one running node would reach the other.
    fn linked(&self, from: NodeId, to: NodeId) -> bool {
        let up = |node| self.members.get(&node).is_some_and(|member: &Member| member.up);
        up(from) && up(to) && !self.cut.contains(&(from, to))
    }

    // -- helpers ------------------------------------------------------------------------------------------------------

    fn last(&self) -> u64 {
        self.first + self.states.len() as u64 - 1
    }

    fn state_at(&self, number: u64) -> Arc<ClusterState> {
        self.states[(number - self.first) as usize].clone()
    }

    fn stalled(&self, now: Mono, node: NodeId) -> Option<Mono> {
        self.members.get(&node).map(|member| member.stalled_until).filter(|until| *until > now)
    }

    fn delayed(&mut self, now: Mono) -> Mono {
        after(now, self.random.within(self.settings.delay_us))
    }

    fn at(&mut self, at: Mono, event: Event) {
        self.sequence += 1;
        self.events.insert((at, self.sequence), event);
    }
}

impl Event {
    fn needs(&self, proposal: u64) -> bool {
        matches!(self, Event::Arrive(id) | Event::GiveUp(id) | Event::Confirm { id, .. } | Event::Answer { id, .. }
            if *id == proposal)
    }
}

fn after(now: Mono, us: u64) -> Mono {
    Mono(now.0.saturating_add(us.saturating_mul(1_000)))
}

/// Steele, Lea, Flood: "Fast splittable pseudorandom number generators" (2014). Small, seedable, the same everywhere.
#[derive(Clone, Debug)]
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// 0..bound; 0 for 0.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
    fn within(&mut self, (min, max): Range) -> u64 {
        min + self.below(max.saturating_sub(min) + 1)
    }
    fn chance(&mut self, per_mille: u32) -> bool {
        self.below(1_000) < u64::from(per_mille)
    }
}
