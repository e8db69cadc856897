//! Lines, their indentation, and the words in them.

use super::error::Fault;

/// Deepest nesting of blocks.
const DEPTH_MAX: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Word,
    /// A number with the unit that follows it at once.
    Quantity,
    /// Punctuation.
    Mark,
    /// In quotation marks, which are taken off.
    Text,
    /// What stands after the last token.
    End,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub kind: Kind,
    pub text: String,
    /// In characters, from 1.
    pub column: u32,
}

/// A line and what is indented below it.
#[derive(Debug)]
pub struct Line {
    pub number: u32,
    pub indent: usize,
    /// The last one is an `End`.
    pub tokens: Vec<Token>,
    pub children: Vec<Line>,
    /// Of lines whose rest is prose (`story`): that prose, with the lines that continue it.
    pub prose: Option<String>,
}

/// Lines whose rest is prose.
const PROSE: [&str; 2] = ["story", "unchecked"];

/// The lines of a file as a tree.
pub fn lines(text: &str) -> Result<Vec<Line>, Fault> {
    let mut flat: Vec<Line> = Vec::new();
    let mut in_prose = false;
    for (index, source) in text.lines().enumerate() {
        let number = index as u32 + 1;
        let indent = source.len() - source.trim_start_matches(' ').len();
        if source.trim().is_empty() {
            continue;
        }
        if in_prose && indent > 0 {
            continue_prose(flat.last_mut(), source.trim());
            continue;
        }
        in_prose = indent == 0 && PROSE.contains(&source.split_whitespace().next().unwrap_or_default());
        if in_prose {
            let (word, rest) = source.split_once(char::is_whitespace).unwrap_or((source, ""));
            let tokens = vec![token(Kind::Word, word, 1), token(Kind::End, "", 1 + word.len() as u32)];
            flat.push(Line { number, indent, tokens, children: vec![], prose: Some(rest.trim().into()) });
            continue;
        }
        let tokens = tokens(number, source)?;
        if tokens.len() > 1 {
            flat.push(Line { number, indent, tokens, children: vec![], prose: None });
        }
    }
    let mut flat = flat.into_iter().peekable();
    let tree = siblings(&mut flat, 0, 0)?;
    match flat.next() {
        Some(line) => Err(misplaced(&line)),
        None => Ok(tree),
    }
}

fn continue_prose(line: Option<&mut Line>, more: &str) {
    if let Some(prose) = line.and_then(|line| line.prose.as_mut()) {
        if !prose.is_empty() {
            prose.push(' ');
        }
        prose.push_str(more);
    }
}

fn misplaced(line: &Line) -> Fault {
    Fault::new((line.number, line.indent as u32 + 1), "this indentation belongs to no block")
        .hint("begin it where the other lines of its block begin, or two spaces further in than the line it belongs to")
}

type Flat = std::iter::Peekable<std::vec::IntoIter<Line>>;

fn siblings(flat: &mut Flat, indent: usize, depth: usize) -> Result<Vec<Line>, Fault> {
    let mut found: Vec<Line> = Vec::new();
    while let Some(line) = flat.peek() {
        if line.indent == indent {
            found.extend(flat.next());
        } else if line.indent > indent {
            let Some(parent) = found.last_mut().filter(|parent| parent.children.is_empty()) else { return Err(misplaced(line)) };
            if depth == DEPTH_MAX {
                return Err(Fault::new(
                    (line.number, line.indent as u32 + 1),
                    format!("more than {DEPTH_MAX} blocks inside each other"),
                ));
            }
            let inner = line.indent;
            parent.children = siblings(flat, inner, depth + 1)?;
        } else {
            break;
        }
    }
    Ok(found)
}

fn token(kind: Kind, text: &str, column: u32) -> Token {
    Token { kind, text: text.into(), column }
}

fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

/// One line's tokens, without its comment.
fn tokens(number: u32, source: &str) -> Result<Vec<Token>, Fault> {
    let text: Vec<char> = source.chars().collect();
    let (mut at, mut found) = (0, Vec::new());
    while at < text.len() {
        let column = at as u32 + 1;
        let (kind, end) = match text[at] {
            ' ' => {
                at += 1;
                continue;
            }
            '#' => break,
            '\t' => return Err(Fault::new((number, column), "a tab").hint("indent and separate with spaces")),
            '"' => {
                let (text, end) =
                    quoted(&text, at).ok_or_else(|| Fault::new((number, column), "this quotation mark is never closed"))?;
                found.push(Token { kind: Kind::Text, text, column });
                at = end;
                continue;
            }
            '0'..='9' => (Kind::Quantity, quantity_end(&text, at)),
            first if is_word(first) => (Kind::Word, word_end(&text, at)),
            _ => (Kind::Mark, mark_end(&text, at).ok_or_else(|| stray(number, column, text[at]))?),
        };
        found.push(Token { kind, text: text[at..end].iter().collect(), column });
        at = end;
    }
    let end = found.last().map_or(1, |last| last.column + last.text.chars().count() as u32);
    found.push(token(Kind::End, "", end));
    Ok(found)
}

fn stray(number: u32, column: u32, character: char) -> Fault {
    Fault::new((number, column), format!("`{character}` has no meaning here"))
}

/// The text and where it ends. `\"`, `\\` and `\n` stand for what cannot be written.
fn quoted(text: &[char], start: usize) -> Option<(String, usize)> {
    let (mut at, mut found) = (start + 1, String::new());
    loop {
        match text.get(at)? {
            '"' => return Some((found, at + 1)),
            '\\' => {
                at += 1;
                found.push(if *text.get(at)? == 'n' { '\n' } else { text[at] });
            }
            other => found.push(*other),
        }
        at += 1;
    }
}

/// Digits, a fraction, a unit. A range's dots are not a fraction's.
fn quantity_end(text: &[char], start: usize) -> usize {
    let digit = |at: usize| text.get(at).is_some_and(|character| character.is_ascii_digit());
    let mut at = start;
    while digit(at) || (text.get(at) == Some(&'.') && digit(at + 1)) {
        at += 1;
    }
    let unit = |at: usize| {
        let slash = |at: usize| text.get(at) == Some(&'/') && text.get(at + 1).is_some_and(char::is_ascii_alphabetic);
        text.get(at).is_some_and(|character| is_word(*character) || *character == '%') || slash(at)
    };
    while unit(at) {
        at += 1;
    }
    at
}

/// Words may have hyphens inside.
fn word_end(text: &[char], start: usize) -> usize {
    let word = |at: usize| text.get(at).is_some_and(|character| is_word(*character));
    let mut at = start;
    while word(at) || (text.get(at) == Some(&'-') && word(at + 1)) {
        at += 1;
    }
    at
}

fn mark_end(text: &[char], start: usize) -> Option<usize> {
    let two: String = text[start..].iter().take(2).collect();
    match two.as_str() {
        "->" | ".." => Some(start + 2),
        _ if "|,;:+-=".contains(text[start]) => Some(start + 1),
        _ => None,
    }
}
