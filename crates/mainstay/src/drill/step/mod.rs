//! `drill replay --step`: one run, event by event, in the terminal.
//!
//! The world is only looked at, never changed, so that the steps are those of every other replay of the seed. Going back is
//! running again up to an earlier event.

mod screen;
mod view;

use super::library::Card;
use super::one;
use super::report::Setting;
use super::verdict_code;
use crate::cli::CliError;
use mainstay_simulator::world::{Event, NodeEvent};
use mainstay_simulator::{Plan, Trace, World, drive};
use screen::{Key, Screen};
use std::cell::RefCell;
use std::rc::Rc;

const SECOND: u64 = 1_000_000_000;

/// Where the next look is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    /// The event with this number, the first being 1.
    Event(u64),
    Time(u64),
    Message,
    Fault,
    Decision,
    End,
}

/// What is known between two looks.
struct Walk {
    event: u64,
    until: Until,
    /// Version of the cluster's state at the last look.
    version: u64,
    /// Events at which somebody looked, in order.
    looks: Vec<u64>,
    /// Run again up to this event.
    again: Option<u64>,
}

impl Walk {
    fn new(event: u64, looks: Vec<u64>) -> Walk {
        Walk { event: 0, until: Until::Event(event), version: 0, looks, again: None }
    }

    fn is_there(&self, world: &World, event: &Event) -> bool {
        match self.until {
            Until::Event(number) => self.event >= number,
            Until::Time(at) => world.now() >= at,
            Until::Message => matches!(event, Event::Node { event: NodeEvent::Peer(_), .. }),
            Until::Fault => matches!(event, Event::Script(_)) && !world.healing,
            Until::Decision => world.decided().version != self.version,
            Until::End => false,
        }
    }

    /// False: the run ends here.
    fn follow(&mut self, key: Key, now: u64) -> bool {
        self.until = match key {
            Key::Next => Until::Event(self.event + 1),
            Key::Second => Until::Time(now + SECOND),
            Key::Message => Until::Message,
            Key::Fault => Until::Fault,
            Key::Decision => Until::Decision,
            Key::End => Until::End,
            Key::Back => {
                self.looks.pop();
                self.again = Some(self.looks.pop().unwrap_or(1));
                return false;
            }
            Key::Quit => return false,
        };
        true
    }
}

/// Walks through a run until the user leaves.
///
/// # Errors
/// Standard input or output is no terminal.
pub fn walk(card: &Card, seed: u64, setting: Setting) -> Result<u8, CliError> {
    let screen = Rc::new(RefCell::new(Screen::open()?));
    let mut walk = Walk::new(1, Vec::new());
    loop {
        let (again, held) = once(card, seed, setting, walk, &screen)?;
        let Some((event, looks)) = again else { return Ok(verdict_code(held, false)) };
        walk = Walk::new(event, looks);
    }
}

/// The very plan that a replay without `--step` runs.
fn sized(card: &Card, seed: u64, setting: Setting) -> Plan {
    let plan = one::plan(seed, &card.scenario, &setting.rules);
    match setting.sizing.or(plan.sizing) {
        Some(sizing) => sizing.fit(plan),
        None => plan,
    }
}

type Again = Option<(u64, Vec<u64>)>;

/// Runs once; where to run to again, if the user went back, and whether nothing was violated.
fn once(card: &Card, seed: u64, setting: Setting, walk: Walk, screen: &Rc<RefCell<Screen>>) -> Result<(Again, bool), CliError> {
    let title = format!("{} {}, seed {seed}", card.id, card.name);
    let plan = sized(card, seed, setting);
    let mut world = World::new(seed, |_| plan, Trace::Off, setting.bugs);
    let walk = Rc::new(RefCell::new(walk));
    let (walker, shown, name) = (walk.clone(), screen.clone(), title.clone());
    world.watch(Box::new(move |world, event| look(&mut walker.borrow_mut(), world, event, &name, &mut shown.borrow_mut())));
    drive(&mut world);
    let mut walk = walk.borrow_mut();
    let held = world.was_stopped() || world.violations.is_empty();
    if !world.was_stopped() {
        end(&mut walk, &world, &title, &mut screen.borrow_mut());
    }
    Ok((walk.again.take().map(|event| (event, std::mem::take(&mut walk.looks))), held))
}

fn look(walk: &mut Walk, world: &World, event: &Event, title: &str, screen: &mut Screen) -> bool {
    walk.event += 1;
    if !walk.is_there(world, event) {
        return true;
    }
    walk.version = world.decided().version;
    walk.looks.push(walk.event);
    let key = screen.ask(|size| view::world(world, title, walk.event, Some(event), size));
    walk.follow(key, world.now())
}

/// The run is over; only back and quit are left.
fn end(walk: &mut Walk, world: &World, title: &str, screen: &mut Screen) {
    walk.looks.push(walk.event);
    loop {
        let key = screen.ask(|size| view::world(world, title, walk.event, None, size));
        if matches!(key, Key::Back | Key::Quit) {
            walk.follow(key, world.now());
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::library;
    use super::*;
    use mainstay_simulator::Bugs;

    /// What a user would see who presses `keys`, without a terminal.
    fn seen(keys: Vec<Key>) -> Vec<String> {
        let card = library::one("the-incident").unwrap();
        let mut world = World::new(0, |rng| card.scenario.plan(rng), Trace::Off, Bugs::NONE);
        let pages = Rc::new(RefCell::new(Vec::new()));
        let (shown, mut keys, mut walk) = (pages.clone(), keys.into_iter(), Walk::new(1, Vec::new()));
        world.watch(Box::new(move |world, event| {
            walk.event += 1;
            if !walk.is_there(world, event) {
                return true;
            }
            walk.version = world.decided().version;
            shown.borrow_mut().push(view::world(world, "title", walk.event, Some(event), (100, 40)).join("\n"));
            walk.follow(keys.next().unwrap_or(Key::Quit), world.now())
        }));
        drive(&mut world);
        assert!(world.was_stopped());
        pages.take()
    }

    #[test]
    fn steps_stop_where_they_say() {
        let pages = seen(vec![Key::Next, Key::Second, Key::Message, Key::Fault, Key::Decision]);
        assert_eq!(pages.len(), 6);
        assert!(pages[0].contains("event 1 ") && pages[1].contains("event 2 "), "{}", pages[1]);
        assert!(pages[2].contains("  1.0") || pages[2].contains("  1.1"), "{}", pages[2]);
        assert!(pages[3].contains("next: message"), "{}", pages[3]);
        assert!(pages[4].contains("next: fault"), "{}", pages[4]);
    }

    #[test]
    fn a_page_shows_nodes_messages_disks_clients_and_clocks() {
        let pages = seen(vec![Key::Second, Key::Second, Key::Message]);
        for part in ["NODE", "IN FLIGHT", "DISK", "CLIENT", "CLOCK", "primary", "secondary", "voter", "space next"] {
            assert!(pages[3].contains(part), "{part} is missing in\n{}", pages[3]);
        }
        assert!(pages[3].lines().count() <= 40);
        assert!(pages[3].lines().all(|line| line.chars().count() <= 100));
    }

    #[test]
    fn going_back_runs_again_to_the_look_before() {
        let mut walk = Walk { event: 9, ..Walk::new(1, vec![2, 5, 9]) };
        assert!(!walk.follow(Key::Back, 0));
        assert_eq!((walk.again, walk.looks), (Some(5), vec![2]));
    }
}
