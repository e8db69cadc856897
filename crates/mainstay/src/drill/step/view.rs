//! The world as lines of text.

use crate::cli::output::table;
use mainstay_protocol::NodeId;
use mainstay_simulator::World;
use mainstay_simulator::network::End;
use mainstay_simulator::scenario::NODES;
use mainstay_simulator::script::letter;
use mainstay_simulator::world::{Event, Node, NodeEvent, NodeState, VOLUME};

/// Messages shown before the rest is only counted.
const MESSAGES: usize = 12;

/// At most `(columns, lines)`: the run, what comes next, and everything in the world.
pub fn world(world: &World, title: &str, number: u64, next: Option<&Event>, (columns, lines): (usize, usize)) -> Vec<String> {
    let now = world.now();
    let phase = if world.healing { "the faults are over" } else { "faults may come" };
    let mut text = format!("{title}   {}   event {number} ({phase})\n", seconds(now));
    text += &format!("{}\n\n", next.map_or_else(|| over(world), |event| format!("next: {}", describe(world, event))));
    text += &nodes(world);
    text += "\n";
    text += &clients(world);
    text += "\n";
    text += &messages(world, lines);
    let mut page: Vec<String> = text.lines().map(|line| line.chars().take(columns).collect()).collect();
    page.truncate(lines.saturating_sub(1));
    page.push(KEYS.chars().take(columns).collect());
    page
}

const KEYS: &str = "space next   m message   f fault   d decision   s one second   e end   b back   q quit";

fn seconds(ns: u64) -> String {
    format!("{:>3}.{:06} s", ns / 1_000_000_000, ns % 1_000_000_000 / 1_000)
}

fn over(world: &World) -> String {
    match world.violations.first() {
        None => "the run is over: every property held".into(),
        Some(violation) => format!("the run is over: {} is violated: {}", violation.name(), violation.text),
    }
}

/// The first word of a value's debug text: the name of its variant.
fn variant(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_string()
}

fn describe(world: &World, event: &Event) -> String {
    match event {
        Event::Script(index) if !world.healing => {
            world.plan.script.get(*index).map_or_else(String::new, |(_, action)| format!("fault: {action:?}"))
        }
        Event::Script(_) => "a fault that does not happen any more".into(),
        Event::Boot { node, .. } => format!("{} boots", letter(*node)),
        Event::Coordination => "coordination delivers what it has decided".into(),
        Event::Operators => "the operators look".into(),
        Event::Depart(node) => format!("coordination drops {}, which was removed", letter(*node)),
        Event::SwitchOn(node) => format!("somebody switches {} on", letter(*node)),
        Event::Client { client, event } => {
            use mainstay_simulator::world::ClientEvent;
            let what = match event {
                ClientEvent::Answer { .. } => "gets an answer",
                ClientEvent::Reset { .. } => "loses its connection",
                ClientEvent::Timer { .. } => "does something, or is out of patience",
            };
            format!("client {client} {what}")
        }
        Event::Node { node, event, .. } => node_event(*node, event),
    }
}

fn node_event(node: NodeId, event: &NodeEvent) -> String {
    let node = letter(node);
    match event {
        NodeEvent::Peer(envelope) => format!("message {} → {node}: {}", letter(envelope.from), variant(&envelope.message)),
        NodeEvent::Call { caller, request } => format!("request client {} → {node}: {}", caller.client, variant(&request.request)),
        NodeEvent::Poll => format!("{node} sends what it has gathered"),
        NodeEvent::Wake(_) => format!("a timer of {node}"),
        NodeEvent::DiskRun(_) => format!("the disk of {node} works"),
        NodeEvent::DiskDone { event, .. } => format!("the disk of {node} is done: {}", variant(event)),
        NodeEvent::PromiseStored(_) => format!("the promise of {node} is durable"),
        NodeEvent::Decided(state) => format!("{node} learns of state {}", state.version),
        NodeEvent::Proposed { result, .. } => format!("{node} hears what came of its proposal: {}", variant(result)),
        NodeEvent::Announce => format!("{node} announces its boot"),
        NodeEvent::SwitchOff(order) => format!("{node} has {} switched off", letter(order.target)),
        NodeEvent::FenceByHandNotRun { .. } => format!("{node} looks whether a wish that it did not carry out is on record"),
        NodeEvent::FenceByHandEnds { .. } => format!("{node} tells what came of the command that a person asked for"),
        NodeEvent::SwitchOffByHand { .. } => format!("{node} has the other file server switched off, as a person asked"),
        NodeEvent::FenceEnds { .. } => format!("{node} hears what came of switching a machine off"),
    }
}

fn nodes(world: &World) -> String {
    let rows: Vec<Vec<String>> = world.nodes.values().map(|node| row(world, node)).collect();
    let head = ["NODE", "STATE", "BOOT", "ROLE", "EPOCH", "AT", "DURABLE", "COMMIT", "LEASE", "COPY", "DISK", "CLOCK", "CUT FROM"];
    table(&head, &rows, "")
}

fn row(world: &World, node: &Node) -> Vec<String> {
    let now = world.now();
    let status = node.process.as_ref().map(|process| process.replica.status(node.clock.now(now)));
    let state = match node.state {
        NodeState::Off => "off",
        NodeState::Booting => "booting",
        NodeState::Running => "running",
        NodeState::Paused => "paused",
    };
    let of = |show: &dyn Fn(&mainstay_replica::Status) -> String| status.as_ref().map_or_else(|| "-".into(), show);
    let wall = node.clock.wall_offset_ns() as f64 / 1e9;
    vec![
        letter(node.id),
        state.into(),
        node.incarnation.to_string(),
        of(&|status| status.role.into()),
        of(&|status| status.epoch.0.to_string()),
        of(&|status| status.position.0.to_string()),
        of(&|status| status.durable.0.to_string()),
        of(&|status| status.commit.0.to_string()),
        of(&|status| if status.lease_ms > 0 { format!("{} ms", status.lease_ms) } else { "-".into() }),
        copy(world, node, status.as_ref()),
        disk(node, now),
        format!("{wall:+.3} s"),
        cut_from(world, node.id),
    ]
}

fn copy(world: &World, node: &Node, status: Option<&mainstay_replica::Status>) -> String {
    if let Some(resync) = status.and_then(|status| status.resync) {
        let done = (100 * resync.inode).checked_div(resync.inodes_total).unwrap_or(0).min(100);
        return format!("resync {done} %");
    }
    let volume = world.decided().volumes.get(&VOLUME);
    let member = volume.is_some_and(|volume| volume.in_sync.contains_key(&node.id));
    if node.platter.is_none() {
        "-".into()
    } else if member {
        "in sync".into()
    } else {
        "behind".into()
    }
}

fn disk(node: &Node, now: u64) -> String {
    let Some(process) = node.process.as_ref().filter(|_| node.platter.is_some()) else { return "-".into() };
    if node.hang_until > now {
        return format!("hangs {:.1} s", (node.hang_until - now) as f64 / 1e9);
    }
    let busy = usize::from(process.log.running.is_some()) + usize::from(process.background.running.is_some());
    format!("{busy} run, {} wait", process.log.queue.len() + process.background.queue.len() + process.reads.len())
}

fn cut_from(world: &World, node: NodeId) -> String {
    let cut = |other: &&NodeId| **other != node && world.network.is_cut(End::Node(node), End::Node(**other));
    let list: Vec<String> = NODES.iter().filter(cut).map(|other| letter(*other)).collect();
    if list.is_empty() { "-".into() } else { list.join(" ") }
}

fn clients(world: &World) -> String {
    let row = |(id, client): (usize, &mainstay_simulator::world::Client)| {
        vec![id.to_string(), client.target().map_or_else(|| "-".into(), letter), client.waiting().to_string()]
    };
    // The first one only walks the tree at the end.
    let rows: Vec<Vec<String>> = world.clients.iter().enumerate().skip(1).map(row).collect();
    table(&["CLIENT", "TALKS TO", "WAITING"], &rows, "")
}

fn messages(world: &World, lines: usize) -> String {
    let mut flying: Vec<(u64, String)> = world
        .queue
        .waiting()
        .filter_map(|(at, event)| match event {
            Event::Node { node, event: event @ (NodeEvent::Peer(_) | NodeEvent::Call { .. }), .. } => {
                Some((at, node_event(*node, event)))
            }
            _ => None,
        })
        .collect();
    flying.sort();
    let mut text = format!("IN FLIGHT {}\n", flying.len());
    let shown = MESSAGES.min(lines / 3);
    for (at, message) in flying.iter().take(shown) {
        text += &format!("  in {:>9.3} ms  {message}\n", at.saturating_sub(world.now()) as f64 / 1e6);
    }
    if flying.len() > shown {
        text += &format!("  and {} more\n", flying.len() - shown);
    }
    text
}
