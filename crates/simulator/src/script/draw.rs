//! From a script and a seed's chance to a plan.

use super::arguments::Values;
use super::ast::{Item, Moment, NodeRef, Repeat, Script, Slot, Spacing, Term};
use crate::queue::{SECOND, Time};
use crate::rng::Rng;
use crate::scenario::{A, B, Plan};
use mainstay_protocol::NodeId;

/// Longest plan, in actions and rounds; a repeat that would pass it ends. No run of use comes near it.
pub const STEPS_MAX: usize = 100_000;
/// Length of a run that does not say.
const LASTS: Time = 60 * SECOND;

impl Script {
    /// One schedule out of all that the file allows.
    pub fn plan(&self, rng: &mut Rng) -> Plan {
        let variant = match (self.variant, self.variants.len()) {
            (Some(variant), _) => variant,
            (None, 0) => 0,
            (None, several) => rng.below(several as u64) as usize,
        };
        let (times, nodes) = (vec![0; self.times], vec![A; self.nodes]);
        let mut drawer = Drawer { rng, plan: Plan::calm(LASTS), times, nodes, variant, now: 0, steps: 0 };
        drawer.items(&self.body);
        drawer.plan
    }
}

struct Drawer<'a> {
    rng: &'a mut Rng,
    plan: Plan,
    times: Vec<Time>,
    nodes: Vec<NodeId>,
    variant: usize,
    /// The time of the block.
    now: Time,
    steps: usize,
}

impl Drawer<'_> {
    fn items(&mut self, items: &[Item]) {
        items.iter().for_each(|item| self.item(item));
    }

    fn item(&mut self, item: &Item) {
        match item {
            Item::Set(form, arguments) => {
                let values = Values::draw(arguments, self.rng, &self.nodes);
                (form.apply)(&mut self.plan, &values);
            }
            Item::Act { form, arguments, after } => {
                let values = Values::draw(arguments, self.rng, &self.nodes);
                let delay = after.as_ref().map_or(0, |after| after.draw(self.rng));
                if self.step() {
                    self.plan.at(self.now.saturating_add_signed(delay), (form.build)(&values));
                }
            }
            Item::Wait { time, name } => {
                self.now = self.now.saturating_add_signed(time.draw(self.rng));
                self.name(*name, self.now);
            }
            Item::Let { slot, among } => {
                let node = if among.len() == 1 { &among[0] } else { self.rng.pick(among) };
                self.nodes[*slot] = node.resolve(&self.nodes);
            }
            Item::At { moment, name, body } => {
                let at = self.moment(moment);
                self.name(*name, at);
                self.elsewhere(at, |drawer| drawer.items(body));
            }
            Item::Repeat(repeat) => self.repeat(repeat),
            Item::OneOf(alternatives) => {
                let chosen = self.rng.pick(alternatives);
                self.items(chosen);
            }
            Item::Maybe { percent, body, otherwise } => {
                let chosen = if self.rng.percent(*percent) { body } else { otherwise };
                self.items(chosen);
            }
            Item::Variant { index, body } if *index == self.variant => self.items(body),
            Item::Variant { .. } => {}
        }
    }

    /// Counts; false when there are too many.
    fn step(&mut self) -> bool {
        self.steps += 1;
        self.steps <= STEPS_MAX
    }

    fn name(&mut self, name: Option<Slot>, at: Time) {
        if let Some(slot) = name {
            self.times[slot] = at;
        }
    }

    /// The block's own time is as before, afterwards.
    fn elsewhere(&mut self, at: Time, within: impl FnOnce(&mut Self)) {
        let before = std::mem::replace(&mut self.now, at);
        within(self);
        self.now = before;
    }

    fn moment(&mut self, moment: &Moment) -> Time {
        moment.0.iter().fold(0, |at: Time, term| match term {
            Term::Named(slot) => at.saturating_add(self.times[*slot]),
            Term::End => at.saturating_add(self.plan.faults_end),
            Term::Plus(draw) => at.saturating_add_signed(draw.draw(self.rng)),
            Term::Minus(draw) => at.saturating_add_signed(-draw.draw(self.rng)),
        })
    }

    /// Beside what else the block says, if it has a time of its own; otherwise the block goes on when it is over.
    fn repeat(&mut self, repeat: &Repeat) {
        match &repeat.from {
            Some(from) => {
                let from = self.moment(from);
                self.elsewhere(from, |drawer| drawer.rounds(repeat));
            }
            None => self.rounds(repeat),
        }
    }

    fn rounds(&mut self, repeat: &Repeat) {
        let times = repeat.times.as_ref().map(|times| times.draw(self.rng));
        let until = repeat.until.as_ref().map(|until| self.moment(until));
        // With neither, until the faults end.
        let until = until.unwrap_or(if times.is_some() { Time::MAX } else { self.plan.faults_end });
        let mut left = times.unwrap_or(i64::MAX);
        while left > 0 && self.now < until && self.step() {
            let began = self.now;
            self.items(&repeat.body);
            self.now = match &repeat.spacing {
                Spacing::Every(draw) => began.saturating_add_signed(draw.draw(self.rng)),
                Spacing::Pause(draw) => self.now.saturating_add_signed(draw.draw(self.rng)),
            };
            left -= 1;
        }
    }
}

impl NodeRef {
    pub fn resolve(&self, nodes: &[NodeId]) -> NodeId {
        match self {
            NodeRef::Literal(node) => *node,
            NodeRef::Slot(slot) => nodes[*slot],
            NodeRef::Other(slot) => {
                if nodes[*slot] == A {
                    B
                } else {
                    A
                }
            }
        }
    }
}
