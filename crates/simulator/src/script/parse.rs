//! A whole file: its head, then what happens.

use super::ast::Script;
use super::error::{Error, Fault};
use super::lex::{Kind, Line, lines};
use super::pattern::Cursor;
use super::statements::{Names, Place, block};
use std::sync::Arc;

/// Longest file, in bytes.
pub const FILE_BYTES_MAX: usize = 256 << 10;
/// P1 to P9, R1 to R15.
const PROPERTIES: u32 = 9;
const RULES: u32 = 15;

/// Reads a scenario. `file` is the name that errors give.
///
/// # Errors
/// The first mistake, with its line and column.
pub fn parse(file: &str, text: &str) -> Result<Script, Error> {
    if text.len() > FILE_BYTES_MAX {
        return Err(Fault::new((0, 0), format!("larger than {} KiB", FILE_BYTES_MAX >> 10)).in_file(file, text));
    }
    script(text).map_err(|fault| fault.in_file(file, text))
}

#[derive(Default)]
struct Head {
    name: Option<Arc<str>>,
    story: Option<Arc<str>>,
    unchecked: Option<Arc<str>>,
    checks: Vec<String>,
    rules: Vec<String>,
}

fn script(text: &str) -> Result<Script, Fault> {
    let mut head = Head::default();
    let mut rest = Vec::new();
    for line in lines(text)? {
        if !head.take(&line)? {
            rest.push(line);
        }
    }
    let Some(name) = head.name else {
        return Err(Fault::new((1, 1), "a scenario begins with its name").hint("`scenario my-drill` on the first line"));
    };
    let mut names = Names::default();
    let body = block(&rest, &mut names, Place::Top)?;
    Ok(Script {
        name,
        story: head.story.unwrap_or_else(|| "".into()),
        checks: head.checks,
        rules: head.rules,
        unchecked: head.unchecked,
        variants: names.variants,
        variant: None,
        body: body.into(),
        times: names.moment_slots,
        nodes: names.node_slots,
    })
}

impl Head {
    /// Whether this line is one of the head.
    fn take(&mut self, line: &Line) -> Result<bool, Fault> {
        let mut cursor = Cursor { tokens: &line.tokens, line: line.number };
        let (at, first) = (cursor.at(), cursor.advance());
        match first.text.as_str() {
            "scenario" => set(&mut self.name, name(&mut cursor)?, at)?,
            _ if self.name.is_none() => {
                return Err(Fault::new(at, "expected `scenario` and a name before anything else")
                    .hint("`scenario my-drill` on the first line"));
            }
            "story" => set(&mut self.story, prose(line)?, at)?,
            "unchecked" => set(&mut self.unchecked, prose(line)?, at)?,
            "checks" => self.checks = list(&mut cursor, 'P', PROPERTIES)?,
            "rules" => self.rules = list(&mut cursor, 'R', RULES)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn set(place: &mut Option<Arc<str>>, value: Arc<str>, at: (u32, u32)) -> Result<(), Fault> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Fault::new(at, "this was said before")),
    }
}

/// An id and a name, or only a name.
fn name(cursor: &mut Cursor) -> Result<Arc<str>, Fault> {
    let first = cursor.word("a name, such as `my-drill`")?;
    let second = if cursor.peek().kind == Kind::Word { Some(cursor.word("a name")?) } else { None };
    cursor.must_end()?;
    Ok(match second {
        Some(second) => format!("{first} {second}").into(),
        None => first.into(),
    })
}

fn prose(line: &Line) -> Result<Arc<str>, Fault> {
    match line.prose.as_deref().unwrap_or_default() {
        "" => Err(Fault::new((line.number, 1), "this says nothing")),
        text => Ok(text.into()),
    }
}

/// Such as `P1 P2`.
fn list(cursor: &mut Cursor, letter: char, last: u32) -> Result<Vec<String>, Fault> {
    let mut found = Vec::new();
    while !cursor.ended() {
        let text = &cursor.peek().text;
        let number = text.strip_prefix(letter).and_then(|number| number.parse::<u32>().ok());
        if !number.is_some_and(|number| (1..=last).contains(&number)) {
            return Err(cursor.expected(format!("{letter}1 to {letter}{last}")));
        }
        found.push(text.clone());
        cursor.advance();
        cursor.take(",");
    }
    Ok(found)
}
