//! Blocks and the statements in them.

use super::arguments::{COUNT, PERCENT, TIME, draw, node};
use super::ast::{Item, Moment, NodeRef, Repeat, Slot, Spacing, Term};
use super::error::{Fault, nearest};
use super::forms::{ACTIONS, ActionForm};
use super::lex::{Kind, Line};
use super::pattern::{Cursor, find};
use super::settings::{DEMANDS, SETTINGS, SettingForm};
use super::value::{Draw, Span};
use crate::scenario::{A, B, D, E, W};
use std::sync::Arc;

/// Words that begin what is not an action, and so cannot name a moment.
const RESERVED: [&str; 18] = [
    "at",
    "as",
    "one",
    "of",
    "maybe",
    "otherwise",
    "repeat",
    "from",
    "until",
    "every",
    "pause",
    "let",
    "wait",
    "after",
    "variant",
    "end",
    "log",
    "times",
];
/// Rounds without a count must take time.
const ROUND_MIN: i64 = 1_000_000;

/// What can be referred to, by name; later ones hide earlier ones.
#[derive(Default)]
pub struct Names {
    moments: Vec<(String, Slot)>,
    nodes: Vec<(String, Slot, bool)>,
    pub variants: Vec<Arc<str>>,
    /// Slots given out so far.
    pub moment_slots: usize,
    pub node_slots: usize,
}

impl Names {
    /// The node and whether it is a file server for sure.
    pub fn node(&self, name: &str) -> Option<(NodeRef, bool)> {
        match name {
            "a" => Some((NodeRef::Literal(A), true)),
            "b" => Some((NodeRef::Literal(B), true)),
            "w" => Some((NodeRef::Literal(W), false)),
            "d" => Some((NodeRef::Literal(D), true)),
            "e" => Some((NodeRef::Literal(E), true)),
            _ => {
                let found = self.nodes.iter().rev().find(|(known, ..)| known == name);
                found.map(|(_, slot, server)| (NodeRef::Slot(*slot), *server))
            }
        }
    }

    pub fn all_nodes(&self) -> Vec<String> {
        self.nodes.iter().map(|(name, ..)| name.clone()).collect()
    }

    fn moment(&self, name: &str) -> Option<Slot> {
        self.moments.iter().rev().find(|(known, _)| known == name).map(|(_, slot)| *slot)
    }

    fn add_moment(&mut self, name: &str) -> Slot {
        self.moment_slots += 1;
        self.moments.push((name.into(), self.moment_slots - 1));
        self.moment_slots - 1
    }

    /// What is named inside is not known outside.
    fn scope<T>(&mut self, within: impl FnOnce(&mut Names) -> T) -> T {
        let (moments, nodes) = (self.moments.len(), self.nodes.len());
        let result = within(self);
        self.moments.truncate(moments);
        self.nodes.truncate(nodes);
        result
    }
}

/// Where a statement stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Top,
    /// Inside a top-level choice: settings and moments.
    Choice,
    /// The block has a time: actions.
    Timed,
}

impl Place {
    fn inside(self) -> Place {
        if self == Place::Top { Place::Choice } else { self }
    }
}

pub fn block(lines: &[Line], names: &mut Names, place: Place) -> Result<Vec<Item>, Fault> {
    let mut items: Vec<Item> = Vec::new();
    for line in lines {
        let mut cursor = Cursor { tokens: &line.tokens, line: line.number };
        if cursor.take("otherwise") {
            let body = body(cursor, line, names, place)?;
            match items.last_mut() {
                Some(Item::Maybe { otherwise, .. }) if otherwise.is_empty() => *otherwise = body,
                _ => return Err(Fault::new((line.number, line.indent as u32 + 1), "`otherwise` must follow a `maybe`")),
            }
        } else {
            statement(cursor, line, names, place, &mut items)?;
        }
    }
    Ok(items)
}

fn statement(mut cursor: Cursor, line: &Line, names: &mut Names, place: Place, items: &mut Vec<Item>) -> Result<(), Fault> {
    let start = cursor.at();
    if cursor.take("variant") {
        items.push(variant(cursor, line, names, place).map_err(|fault| fault.or_at(start))?);
    } else if cursor.take("at") {
        items.push(at(cursor, line, names)?);
    } else if cursor.take("repeat") {
        items.push(repeat(cursor, line, names)?);
    } else if cursor.is("one") {
        items.push(choice(cursor, line, names, place)?);
    } else if cursor.take("maybe") {
        let percent = draw(&mut cursor, PERCENT)?;
        let Draw(spans) = &percent;
        let [Span { low, high, .. }] = spans.as_slice() else { return Err(Fault::new(start, "a chance is one percentage")) };
        if low != high {
            return Err(Fault::new(start, "a chance is one percentage, not a range"));
        }
        let percent = *low as u64;
        items.push(Item::Maybe { percent, body: body(cursor, line, names, place)?, otherwise: vec![] });
    } else {
        if let Some(child) = line.children.first() {
            let at = (child.number, child.indent as u32 + 1);
            return Err(Fault::new(at, "nothing can be indented below this line")
                .hint("blocks follow `at`, `repeat`, `maybe`, `one of`, `variant`"));
        }
        items.extend(sequence(&mut cursor, names, place)?);
        cursor.must_end()?;
    }
    Ok(())
}

/// What follows a colon, or what is indented below.
fn body(cursor: Cursor, line: &Line, names: &mut Names, place: Place) -> Result<Vec<Item>, Fault> {
    names.scope(|names| open_body(cursor, line, names, place.inside()))
}

/// The same, but what is named in it stays known: it happens for sure.
fn open_body(mut cursor: Cursor, line: &Line, names: &mut Names, place: Place) -> Result<Vec<Item>, Fault> {
    let colon = cursor.take(":");
    let end = cursor.at();
    if colon && cursor.is("one") {
        return Ok(vec![choice(cursor, line, names, place)?]);
    }
    let mut items = Vec::new();
    if colon && !cursor.ended() {
        items = sequence(&mut cursor, names, place)?;
    }
    cursor.must_end()?;
    items.extend(block(&line.children, names, place)?);
    if items.is_empty() {
        return Err(Fault::new(end, "nothing happens here").hint("put it after a colon, or indented on the next lines"));
    }
    Ok(items)
}

fn variant(mut cursor: Cursor, line: &Line, names: &mut Names, place: Place) -> Result<Item, Fault> {
    if place != Place::Top {
        return Err(Fault::new((0, 0), "a variant must not be inside of something else"));
    }
    let at = cursor.at();
    let name = cursor.word("the variant's name")?;
    if names.variants.iter().any(|known| &**known == name) {
        return Err(Fault::new(at, format!("there is a variant `{name}` already")));
    }
    names.variants.push(name.into());
    let index = names.variants.len() - 1;
    Ok(Item::Variant { index, body: body(cursor, line, names, Place::Choice)? })
}

fn at(mut cursor: Cursor, line: &Line, names: &mut Names) -> Result<Item, Fault> {
    let moment = moment(&mut cursor, names)?;
    // The name is known in the block and after it.
    let name = named(&mut cursor, names)?;
    // A moment may be there only to be named.
    if name.is_some() && cursor.ended() && line.children.is_empty() {
        return Ok(Item::At { moment, name, body: vec![] });
    }
    Ok(Item::At { moment, name, body: open_body(cursor, line, names, Place::Timed)? })
}

fn named(cursor: &mut Cursor, names: &mut Names) -> Result<Option<Slot>, Fault> {
    if !cursor.take("as") {
        return Ok(None);
    }
    let at = cursor.at();
    match cursor.word("a name for this moment")? {
        word if RESERVED.contains(&word) => Err(Fault::new(at, format!("`{word}` has another meaning; take another name"))),
        word => Ok(Some(names.add_moment(word))),
    }
}

fn moment(cursor: &mut Cursor, names: &Names) -> Result<Moment, Fault> {
    let mut terms = vec![term(cursor, names, false)?];
    loop {
        let minus = cursor.is("-");
        if !minus && !cursor.is("+") {
            return Ok(Moment(terms));
        }
        cursor.advance();
        terms.push(term(cursor, names, minus)?);
    }
}

fn term(cursor: &mut Cursor, names: &Names, minus: bool) -> Result<Term, Fault> {
    let token = cursor.peek();
    if token.kind != Kind::Word {
        let time = draw(cursor, TIME)?;
        return Ok(if minus { Term::Minus(time) } else { Term::Plus(time) });
    }
    let known = if token.text == "end" { Some(Term::End) } else { names.moment(&token.text).map(Term::Named) };
    match known {
        Some(_) if minus => Err(cursor.expected("a time to take away")),
        Some(term) => {
            cursor.advance();
            Ok(term)
        }
        None => {
            let fault = Fault::new(cursor.at(), format!("no moment is called `{}` here", token.text));
            let names = names.moments.iter().map(|(name, _)| name.as_str());
            Err(match nearest(&token.text, names) {
                Some(name) => fault.hint(format!("did you mean `{name}`?")),
                None => fault.hint("a moment is named where it is set, `at 5s as away`, and known only in that block"),
            })
        }
    }
}

fn repeat(mut cursor: Cursor, line: &Line, names: &mut Names) -> Result<Item, Fault> {
    let start = cursor.at();
    let (mut times, mut from, mut until, mut spacing) = (None, None, None, None);
    while !cursor.ended() && !cursor.is(":") {
        if cursor.take("from") {
            from = Some(moment(&mut cursor, names)?);
        } else if cursor.take("until") {
            until = Some(moment(&mut cursor, names)?);
        } else if cursor.take("every") {
            spacing = Some(Spacing::Every(draw(&mut cursor, TIME)?));
        } else if cursor.take("pause") {
            spacing = Some(Spacing::Pause(draw(&mut cursor, TIME)?));
        } else if cursor.peek().kind == Kind::Quantity {
            times = Some(draw(&mut cursor, COUNT)?);
            if !cursor.take("times") {
                return Err(cursor.expected("`times`"));
            }
        } else if !cursor.take(",") {
            return Err(cursor.expected("`N times`, `from`, `until`, `every` or `pause`"));
        }
    }
    let spacing = spacing.unwrap_or(Spacing::Pause(Draw(vec![Span { low: 0, high: 0, log: false }])));
    let (Spacing::Every(gap) | Spacing::Pause(gap)) = &spacing;
    if times.is_none() && gap.low() < ROUND_MIN {
        return Err(
            Fault::new(start, "this repeat would never end").hint("say `5 times`, or `every 2s`, or `pause 1s..3s` (at least 1ms)")
        );
    }
    let body = body(cursor, line, names, Place::Timed)?;
    Ok(Item::Repeat(Box::new(Repeat { times, from, until, spacing, body })))
}

/// `one of`: alternatives on the line, separated by bars, and on the lines below.
fn choice(mut cursor: Cursor, line: &Line, names: &mut Names, place: Place) -> Result<Item, Fault> {
    let place = place.inside();
    cursor.advance();
    if !cursor.take("of") {
        return Err(cursor.expected("`of`"));
    }
    let end = cursor.at();
    let mut found = Vec::new();
    if !cursor.ended() {
        alternatives(&mut cursor, names, place, &mut found)?;
    }
    for child in &line.children {
        let mut cursor = Cursor { tokens: &child.tokens, line: child.number };
        if cursor.take("all") {
            if !cursor.take("of") {
                return Err(cursor.expected("`of`"));
            }
            found.push(body(cursor, child, names, place)?);
        } else if ["at", "repeat", "maybe", "one"].iter().any(|word| cursor.is(word)) {
            found.push(names.scope(|names| block(std::slice::from_ref(child), names, place))?);
        } else {
            if let Some(below) = child.children.first() {
                let at = (below.number, below.indent as u32 + 1);
                return Err(Fault::new(at, "nothing can be indented below this line")
                    .hint("an alternative of several lines begins with `all of`"));
            }
            alternatives(&mut cursor, names, place, &mut found)?;
        }
    }
    if found.len() < 2 {
        return Err(
            Fault::new(end, "a choice needs two alternatives").hint("write them on lines of their own, or with `|` between them")
        );
    }
    Ok(Item::OneOf(found))
}

fn alternatives(cursor: &mut Cursor, names: &mut Names, place: Place, found: &mut Vec<Vec<Item>>) -> Result<(), Fault> {
    loop {
        found.push(names.scope(|names| sequence(cursor, names, place))?);
        if !cursor.take("|") {
            return cursor.must_end();
        }
    }
}

/// Settings or actions with commas or semicolons between them.
fn sequence(cursor: &mut Cursor, names: &mut Names, place: Place) -> Result<Vec<Item>, Fault> {
    let mut items = Vec::new();
    let demands = place != Place::Timed && cursor.take("expect");
    loop {
        if !cursor.take("nothing") {
            items.push(match place {
                _ if cursor.is("let") => assignment(cursor, names)?,
                Place::Timed if cursor.is("wait") => wait(cursor, names)?,
                Place::Timed => action(cursor, names)?,
                _ if demands => setting(cursor, names, DEMANDS, "a demand")?,
                _ => setting(cursor, names, SETTINGS, "a setting")?,
            });
        }
        if !cursor.take(",") && !cursor.take(";") {
            return Ok(items);
        }
    }
}

fn action(cursor: &mut Cursor, names: &Names) -> Result<Item, Fault> {
    let start = *cursor;
    let pattern = |form: &ActionForm| form.pattern;
    let (form, arguments) = find(cursor, names, ACTIONS, pattern, "an action").map_err(|fault| {
        let setting = find(&mut { start }, names, SETTINGS, |form: &SettingForm| form.pattern, "");
        if setting.is_ok() || start.is("expect") {
            fault.hint("a setting stands at the beginning of a line, before the first `at`")
        } else {
            fault
        }
    })?;
    let after = if cursor.take("after") { Some(draw(cursor, TIME)?) } else { None };
    Ok(Item::Act { form, arguments, after })
}

fn setting(cursor: &mut Cursor, names: &Names, forms: &'static [SettingForm], what: &str) -> Result<Item, Fault> {
    let start = *cursor;
    let (form, arguments) = find(cursor, names, forms, |form| form.pattern, what).map_err(|fault| {
        let action = find(&mut { start }, names, ACTIONS, |form: &ActionForm| form.pattern, "");
        if action.is_ok() || start.is("wait") {
            fault.hint("an action needs its time: `at 5s`, and the action indented below")
        } else {
            fault
        }
    })?;
    Ok(Item::Set(form, arguments))
}

fn wait(cursor: &mut Cursor, names: &mut Names) -> Result<Item, Fault> {
    cursor.advance();
    let time = draw(cursor, TIME)?;
    Ok(Item::Wait { time, name: named(cursor, names)? })
}

/// `let victim = a | b`.
fn assignment(cursor: &mut Cursor, names: &mut Names) -> Result<Item, Fault> {
    cursor.advance();
    let at = cursor.at();
    let name = cursor.word("a name for a node")?.to_string();
    if ["a", "b", "w", "primary", "clients", "other"].contains(&name.as_str()) {
        return Err(Fault::new(at, format!("`{name}` has another meaning; take another name")));
    }
    if !cursor.take("=") {
        return Err(cursor.expected("`=`"));
    }
    let mut among = vec![node(cursor, names, false)?];
    while cursor.take("|") {
        among.push(node(cursor, names, false)?);
    }
    let server = |node: &NodeRef| match node {
        NodeRef::Literal(node) => *node != W,
        NodeRef::Slot(slot) => names.nodes.iter().any(|(_, known, server)| known == slot && *server),
        NodeRef::Other(_) => true,
    };
    let servers = among.iter().all(server);
    let slot = names.node_slots;
    names.node_slots += 1;
    names.nodes.push((name, slot, servers));
    Ok(Item::Let { slot, among })
}
