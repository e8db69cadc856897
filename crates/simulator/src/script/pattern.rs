//! Finds the form that a piece of a line has, or says what would have fitted.

use super::arguments::{Argument, GAPS};
use super::error::{Fault, nearest};
use super::lex::{Kind, Token};
use super::statements::Names;

/// A place in a line.
#[derive(Clone, Copy)]
pub struct Cursor<'a> {
    pub tokens: &'a [Token],
    pub line: u32,
}

impl<'a> Cursor<'a> {
    pub fn peek(&self) -> &'a Token {
        &self.tokens[0]
    }

    /// The end stays where it is.
    pub fn advance(&mut self) -> &'a Token {
        let token = self.peek();
        if token.kind != Kind::End {
            self.tokens = &self.tokens[1..];
        }
        token
    }

    pub fn at(&self) -> (u32, u32) {
        (self.line, self.peek().column)
    }

    pub fn is(&self, text: &str) -> bool {
        let token = self.peek();
        token.text == text && matches!(token.kind, Kind::Word | Kind::Mark)
    }

    /// Whether that was next; it is passed.
    pub fn take(&mut self, text: &str) -> bool {
        let found = self.is(text);
        if found {
            self.advance();
        }
        found
    }

    pub fn ended(&self) -> bool {
        self.peek().kind == Kind::End
    }

    pub fn expected(&self, what: impl std::fmt::Display) -> Fault {
        Fault::new(self.at(), format!("expected {what}, found {}", self.found()))
    }

    pub fn found(&self) -> String {
        match self.peek() {
            Token { kind: Kind::End, .. } => "the end of the line".into(),
            token => format!("`{}`", token.text),
        }
    }

    /// Nothing may follow.
    pub fn must_end(&self) -> Result<(), Fault> {
        if self.ended() { Ok(()) } else { Err(self.expected("the end of the line")) }
    }

    pub fn word(&mut self, what: &str) -> Result<&'a str, Fault> {
        match self.peek().kind {
            Kind::Word => Ok(&self.advance().text),
            _ => Err(self.expected(what)),
        }
    }
}

/// How far a form got before it did not fit.
enum Miss {
    Expected(u32, String),
    /// The form fits, what stands in its gap does not.
    Fault(Fault),
}

impl Miss {
    fn column(&self) -> u32 {
        match self {
            Miss::Expected(column, _) => *column,
            Miss::Fault(fault) => fault.column,
        }
    }
}

/// The pattern that takes in most of what is there, and what stands in its gaps. `what` names the kind of thing for the reader.
pub fn find<'f, F>(
    cursor: &mut Cursor,
    names: &Names,
    forms: &'f [F],
    pattern: fn(&F) -> &'static str,
    what: &str,
) -> Result<(&'f F, Vec<Argument>), Fault> {
    let mut best: Option<(usize, Cursor, &F, Vec<Argument>)> = None;
    let mut misses = Vec::new();
    for form in forms {
        let mut ahead = *cursor;
        match fill(&mut ahead, names, pattern(form)) {
            Ok(arguments) => {
                let left = ahead.tokens.len();
                if best.as_ref().is_none_or(|(least, ..)| left < *least) {
                    best = Some((left, ahead, form, arguments));
                }
            }
            Err(miss) => misses.push(miss),
        }
    }
    match best {
        Some((_, ahead, form, arguments)) => {
            *cursor = ahead;
            Ok((form, arguments))
        }
        None => Err(explain(cursor, misses, forms.iter().map(pattern), what)),
    }
}

fn fill(cursor: &mut Cursor, names: &Names, pattern: &str) -> Result<Vec<Argument>, Miss> {
    let mut arguments = Vec::new();
    for part in pattern.split_whitespace() {
        match GAPS.iter().find(|gap| gap.name == part) {
            Some(gap) => arguments.push(gap.parse(cursor, names).map_err(Miss::Fault)?),
            None if cursor.take(part) => {}
            None => return Err(Miss::Expected(cursor.peek().column, format!("`{part}`"))),
        }
    }
    Ok(arguments)
}

/// The forms that got furthest say what they miss.
fn explain<'p>(cursor: &Cursor, misses: Vec<Miss>, patterns: impl Iterator<Item = &'p str>, what: &str) -> Fault {
    let furthest = misses.iter().map(Miss::column).max().unwrap_or(0);
    if furthest <= cursor.peek().column {
        let firsts = patterns.filter_map(|pattern| pattern.split(' ').next());
        let fault = cursor.expected(what);
        return match nearest(&cursor.peek().text, firsts) {
            Some(known) => fault.hint(format!("did you mean `{known}`?")),
            None => fault.hint("docs/SCENARIO-FORMAT.md lists them"),
        };
    }
    let mut wanted: Vec<String> = Vec::new();
    let mut hint = None;
    for miss in misses.into_iter().filter(|miss| miss.column() == furthest) {
        let text = match miss {
            Miss::Expected(_, text) => text,
            // A gap says what it expects in the same words; anything else is said as it is.
            Miss::Fault(fault) => match fault.message.strip_prefix("expected ").and_then(|text| text.split_once(", found ")) {
                Some((text, _)) => {
                    hint = hint.or(fault.hint);
                    text.to_string()
                }
                None => return fault,
            },
        };
        if !wanted.contains(&text) {
            wanted.push(text);
        }
    }
    let found = cursor.tokens.iter().find(|token| token.column >= furthest);
    let found =
        found.filter(|token| token.kind != Kind::End).map_or("the end of the line".into(), |token| format!("`{}`", token.text));
    let mut fault = Fault::new((cursor.line, furthest), format!("expected {}, found {found}", one_of(&wanted)));
    fault.hint = hint;
    fault
}

fn one_of(wanted: &[String]) -> String {
    match wanted {
        [] => "something else".into(),
        [only] => only.clone(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}
