//! What stands in the gaps of a form: nodes, numbers, qualities.

use super::ast::NodeRef;
use super::error::{Fault, nearest};
use super::lex::Kind;
use super::pattern::Cursor;
use super::statements::Names;
use super::value::{Draw, Span, Unit};
use crate::disk::DiskFaults;
use crate::network::Quality;
use crate::queue::Time;
use crate::rng::Rng;
use mainstay_protocol::NodeId;

/// As written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    Node(NodeRef),
    Number(Draw),
    /// Stays a range in the plan.
    Range(Time, Time),
    Text(String),
    /// Pairs of a field's index and its value; what is not named is good.
    Quality(Vec<(usize, Draw)>),
    Faults(Vec<(usize, Draw)>),
}

/// As drawn.
#[derive(Clone, Debug)]
pub enum Value {
    Node(NodeId),
    Number(i64),
    Range(Time, Time),
    Text(String),
    Quality(Quality),
    Faults(DiskFaults),
}

/// The values of one form, in the order of its gaps. A form that asks for what its pattern does not have is a mistake in its
/// table, which the test that builds them all finds.
pub struct Values(Vec<Value>);

impl Values {
    pub fn draw(arguments: &[Argument], rng: &mut Rng, nodes: &[NodeId]) -> Values {
        let draw = |argument: &Argument| match argument {
            Argument::Node(node) => Value::Node(node.resolve(nodes)),
            Argument::Number(draw) => Value::Number(draw.draw(rng)),
            Argument::Range(low, high) => Value::Range(*low, *high),
            Argument::Text(text) => Value::Text(text.clone()),
            Argument::Quality(fields) => Value::Quality(quality(fields, rng)),
            Argument::Faults(fields) => Value::Faults(faults(fields, rng)),
        };
        Values(arguments.iter().map(draw).collect())
    }

    pub fn node(&self, index: usize) -> NodeId {
        match &self.0[index] {
            Value::Node(node) => *node,
            other => unreachable!("{other:?} is no node"),
        }
    }
    pub fn signed(&self, index: usize) -> i64 {
        match &self.0[index] {
            Value::Number(number) => *number,
            other => unreachable!("{other:?} is no number"),
        }
    }
    pub fn number(&self, index: usize) -> u64 {
        self.signed(index).max(0) as u64
    }
    pub fn range(&self, index: usize) -> (Time, Time) {
        match &self.0[index] {
            Value::Range(low, high) => (*low, *high),
            other => unreachable!("{other:?} is no range"),
        }
    }
    pub fn text(&self, index: usize) -> String {
        match &self.0[index] {
            Value::Text(text) => text.clone(),
            other => unreachable!("{other:?} is no text"),
        }
    }
    pub fn quality(&self, index: usize) -> Quality {
        match &self.0[index] {
            Value::Quality(quality) => *quality,
            other => unreachable!("{other:?} is no quality"),
        }
    }
    pub fn faults(&self, index: usize) -> DiskFaults {
        match &self.0[index] {
            Value::Faults(faults) => *faults,
            other => unreachable!("{other:?} are no faults"),
        }
    }
}

/// Fields of a [`Quality`], in the order of its printing.
pub const QUALITY_FIELDS: [(&str, Unit); 7] = [
    ("delay", Unit::Time),
    ("jitter", Unit::Time),
    ("loss", Unit::Share),
    ("duplicate", Unit::Share),
    ("reorder", Unit::Share),
    ("rate", Unit::Rate),
    ("mtu", Unit::Bytes),
];

pub const FAULT_FIELDS: [(&str, Unit); 5] =
    [("read", Unit::Share), ("write", Unit::Share), ("sync", Unit::Share), ("lies", Unit::Share), ("misdirect", Unit::Share)];

fn quality(fields: &[(usize, Draw)], rng: &mut Rng) -> Quality {
    let mut quality = Quality::GOOD;
    for (field, draw) in fields {
        let value = draw.draw(rng) as u64;
        match field {
            0 => quality.delay = value,
            1 => quality.jitter = value,
            2 => quality.loss_ppm = value as u32,
            3 => quality.duplicate_ppm = value as u32,
            4 => quality.reorder_ppm = value as u32,
            5 => quality.bytes_per_second = value,
            _ => quality.mtu_bytes = value,
        }
    }
    quality
}

fn faults(fields: &[(usize, Draw)], rng: &mut Rng) -> DiskFaults {
    let mut faults = DiskFaults::default();
    for (field, draw) in fields {
        let value = draw.draw(rng) as u32;
        match field {
            0 => faults.read_error_ppm = value,
            1 => faults.write_error_ppm = value,
            2 => faults.sync_error_ppm = value,
            3 => faults.lie_ppm = value,
            _ => faults.misdirect_ppm = value,
        }
    }
    faults
}

/// Numbers of one meaning: unit, lowest, highest.
#[derive(Clone, Copy)]
pub struct Bounds {
    pub unit: Unit,
    pub low: i64,
    pub high: i64,
}

const MS: i64 = 1_000_000;
/// No run is longer, so that sums of times never overflow.
const TIME_MAX: i64 = 366 * 24 * 3600 * 1000 * MS;

pub const TIME: Bounds = Bounds { unit: Unit::Time, low: 0, high: TIME_MAX };
pub const COUNT: Bounds = Bounds { unit: Unit::Count, low: 0, high: 10_000 };
pub const PERCENT: Bounds = Bounds { unit: Unit::Percent, low: 0, high: 100 };
const SHARE: Bounds = Bounds { unit: Unit::Share, low: 0, high: 1_000_000 };
const BYTES: Bounds = Bounds { unit: Unit::Bytes, low: 0, high: 1 << 30 };
const RATE: Bounds = Bounds { unit: Unit::Rate, low: 0, high: i64::MAX };

enum Read {
    Node { server: bool },
    Number(Bounds),
    Range,
    Text,
    Quality,
    Faults,
}

/// One kind of gap, by its name in patterns.
pub struct Gap {
    pub name: &'static str,
    read: Read,
}

const fn number(name: &'static str, unit: Unit, low: i64, high: i64) -> Gap {
    Gap { name, read: Read::Number(Bounds { unit, low, high }) }
}

/// Every kind of gap.
pub const GAPS: &[Gap] = &[
    Gap { name: "NODE", read: Read::Node { server: false } },
    Gap { name: "SERVER", read: Read::Node { server: true } },
    Gap { name: "RANGE", read: Read::Range },
    Gap { name: "TEXT", read: Read::Text },
    Gap { name: "QUALITY", read: Read::Quality },
    Gap { name: "FAULTS", read: Read::Faults },
    Gap { name: "TIME", read: Read::Number(TIME) },
    Gap { name: "PERCENT", read: Read::Number(PERCENT) },
    number("COUNT", Unit::Count, 0, 200),
    number("FACTOR", Unit::Count, 1, 100_000),
    Gap { name: "BYTES", read: Read::Number(BYTES) },
    // Bounds of the cluster's own settings.
    number("LEASE", Unit::Time, 100 * MS, 60_000 * MS),
    number("THROTTLE", Unit::Rate, 64 << 10, 1 << 50),
    number("LIFE", Unit::Time, 1_000 * MS, 24 * 3600 * 1_000 * MS),
    number("PATIENCE", Unit::Time, 100 * MS, 600_000 * MS),
    // Of a cluster that is rehearsed by size and rate.
    number("SIZE", Unit::Bytes, 1, 1 << 60),
    number("SPEED", Unit::Rate, 1, 1 << 50),
    // Clocks that nobody keeps can be off by years.
    number("JUMP", Unit::Time, -TIME_MAX, TIME_MAX),
    // What a lease's margin must bear between two clocks is 5 %.
    number("DRIFT", Unit::Share, -20_000, 20_000),
];

impl Gap {
    pub fn parse(&self, cursor: &mut Cursor, names: &Names) -> Result<Argument, Fault> {
        match self.read {
            Read::Node { server } => node(cursor, names, server).map(Argument::Node),
            Read::Number(bounds) => draw(cursor, bounds).map(Argument::Number),
            Read::Range => range(cursor).map(|(low, high)| Argument::Range(low, high)),
            Read::Text => match cursor.peek().kind {
                Kind::Text => Ok(Argument::Text(cursor.advance().text.clone())),
                _ => Err(cursor.expected("text in quotation marks")),
            },
            Read::Quality => fields(cursor, &QUALITY_FIELDS).map(Argument::Quality),
            Read::Faults => fields(cursor, &FAULT_FIELDS).map(Argument::Faults),
        }
    }
}

/// `good`, or pairs of a field and its value.
fn fields(cursor: &mut Cursor, known: &[(&str, Unit)]) -> Result<Vec<(usize, Draw)>, Fault> {
    if cursor.take("good") {
        return Ok(vec![]);
    }
    let mut found = Vec::new();
    while let Some(index) = known.iter().position(|(name, _)| cursor.is(name)) {
        cursor.advance();
        let bounds = match known[index].1 {
            Unit::Time => TIME,
            Unit::Rate => RATE,
            Unit::Bytes => BYTES,
            _ => SHARE,
        };
        found.push((index, draw(cursor, bounds)?));
    }
    if !found.is_empty() {
        return Ok(found);
    }
    let names: Vec<String> = known.iter().map(|(name, _)| format!("`{name}`")).collect();
    Err(cursor.expected(format!("`good`, {}", names.join(", "))))
}

pub fn node(cursor: &mut Cursor, names: &Names, server: bool) -> Result<NodeRef, Fault> {
    let what = if server { "a file server (`a`, `b`)" } else { "a node (`a`, `b`, `w`)" };
    let (at, token) = (cursor.at(), cursor.peek());
    let other = cursor.is("other") && cursor.tokens.get(1).is_some_and(|next| next.text == "of");
    if other {
        cursor.advance();
        cursor.advance();
    }
    let token = if other { cursor.peek() } else { token };
    let found = match token.kind {
        Kind::Word => names.node(&token.text),
        _ => None,
    };
    let Some((node, servers_only)) = found else {
        let fault = cursor.expected(what);
        let known = names.all_nodes();
        return Err(match nearest(&token.text, known.iter().map(String::as_str)).filter(|_| token.text.len() > 1) {
            Some(known) => fault.hint(format!("did you mean `{known}`?")),
            None => fault.hint("a name of your own comes from a line such as `let victim = a | b`"),
        });
    };
    cursor.advance();
    if (server || other) && !servers_only {
        return Err(
            Fault::new(at, format!("expected {what}, found `{}`", token.text)).hint("the witness has no copy of the volume")
        );
    }
    match (other, node) {
        (false, node) => Ok(node),
        (true, NodeRef::Slot(slot)) => Ok(NodeRef::Other(slot)),
        (true, _) => Err(Fault::new(at, "`other of` is for names that `let` gives")),
    }
}

/// A number that the seed decides.
pub fn draw(cursor: &mut Cursor, bounds: Bounds) -> Result<Draw, Fault> {
    let mut spans = vec![span(cursor, bounds)?];
    while cursor.is("|") && begins_number(&cursor.tokens[1..]) {
        cursor.advance();
        spans.push(span(cursor, bounds)?);
    }
    Ok(Draw(spans))
}

fn begins_number(tokens: &[super::lex::Token]) -> bool {
    let quantity = |at: usize| tokens.get(at).is_some_and(|token| token.kind == Kind::Quantity);
    quantity(0) || (tokens.first().is_some_and(|token| ["+", "-"].contains(&token.text.as_str())) && quantity(1))
}

fn span(cursor: &mut Cursor, bounds: Bounds) -> Result<Span, Fault> {
    let at = cursor.at();
    let low = quantity(cursor, bounds)?;
    let high = if cursor.take("..") { quantity(cursor, bounds)? } else { low };
    if low > high {
        return Err(Fault::new(at, "the range ends before it begins"));
    }
    let log = cursor.take("log");
    if log && low <= 0 {
        return Err(Fault::new(at, "a range with `log` must begin above zero"));
    }
    Ok(Span { low, high, log })
}

/// A range that stays one.
fn range(cursor: &mut Cursor) -> Result<(Time, Time), Fault> {
    let Span { low, high, log } = span(cursor, TIME)?;
    if log { Err(cursor.expected("a range without `log`")) } else { Ok((low as u64, high as u64)) }
}

fn quantity(cursor: &mut Cursor, bounds: Bounds) -> Result<i64, Fault> {
    let at = cursor.at();
    let negative = bounds.low < 0 && cursor.is("-");
    if negative || (bounds.low < 0 && cursor.is("+")) {
        cursor.advance();
    }
    let token = cursor.peek();
    if token.kind != Kind::Quantity {
        return Err(cursor.expected(example(bounds.unit)));
    }
    let value = bounds.unit.parse(&token.text).map_err(|message| Fault::new((at.0, token.column), message))?;
    cursor.advance();
    let value = if negative { -value } else { value };
    if (bounds.low..=bounds.high).contains(&value) {
        return Ok(value);
    }
    let text = |value: i64| format!("{}{}", if value < 0 { "-" } else { "" }, bounds.unit.print(value.unsigned_abs()));
    Err(Fault::new(at, format!("`{}` is outside of {} to {}", token.text, text(bounds.low), text(bounds.high))))
}

fn example(unit: Unit) -> &'static str {
    match unit {
        Unit::Time => "a time such as `500ms`, `2s` or `1s..3s`",
        Unit::Share => "a share such as `0.1%` or `500ppm`",
        Unit::Percent => "a percentage such as `40%`",
        Unit::Bytes => "a size such as `4MiB`",
        Unit::Rate => "a rate such as `1MB/s` or `1Gbit/s`",
        Unit::Count => "a number",
    }
}
