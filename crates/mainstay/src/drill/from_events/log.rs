//! Reading an audit log: what `mainstay events -o json` prints, one object a line; also as one list, or as the admin API gives it.

use mainstay_cluster::{AuditEvent, Event, audit};
use serde::Deserialize;
use serde_json::Value;

/// Of one line of `mainstay events -o json`. Absent in what was printed before lines had it.
use crate::cli::EVENTS_VERSION as VERSION;
/// More than any cluster keeps; far more than a story can be made of.
pub const FILE_BYTES_MAX: usize = 64 << 20;

/// A kind of event that this program does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    pub number: u64,
    pub kind: String,
    pub text: String,
}

#[derive(Clone, Debug, Default)]
pub struct Log {
    /// By their numbers.
    pub events: Vec<AuditEvent>,
    pub unknown: Vec<Unknown>,
    /// What is odd about the file and stops nobody.
    pub warnings: Vec<String>,
}

/// Where in the text a value begins.
struct Place<'a> {
    text: &'a str,
}

impl Place<'_> {
    /// Line and column, from 1, of the first letter from `offset` on that is no space.
    fn of(&self, offset: usize) -> (usize, usize) {
        let rest = &self.text[offset.min(self.text.len())..];
        let at = offset + (rest.len() - rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',').len());
        let before = &self.text[..at.min(self.text.len())];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

const WANTED: &str = "what `mainstay events -o json` prints is expected";

/// # Errors
/// What is wrong, with line and column where there is one.
pub fn parse(text: &str) -> Result<Log, String> {
    if text.len() > FILE_BYTES_MAX {
        return Err(format!("larger than {} MiB; --after of `mainstay events` prints less", FILE_BYTES_MAX >> 20));
    }
    let (mut log, place) = (Log::default(), Place { text });
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let mut offset = 0;
    while let Some(value) = values.next() {
        let (line, column) = place.of(offset);
        let value = value.map_err(|error| broken(&error))?;
        take(&mut log, value).map_err(|what| format!("line {line}, column {column}: {what}"))?;
        offset = values.byte_offset();
    }
    if log.events.is_empty() && log.unknown.is_empty() {
        return Err(format!("there is no event in it; {WANTED}"));
    }
    order(&mut log)?;
    check_chain(&mut log);
    Ok(log)
}

fn broken(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    match error.is_eof() {
        true => format!("line {line}, column {column}: it ends in the middle of an event; the file was cut off"),
        // serde_json names the place itself, at the end.
        false => format!("line {line}, column {column}: no JSON ({error}); {WANTED}"),
    }
}

fn take(log: &mut Log, value: Value) -> Result<(), String> {
    check_version(&value)?;
    match value {
        Value::Array(list) => list.into_iter().try_for_each(|value| take(log, value)),
        Value::Object(mut object) => match object.remove("events") {
            Some(Value::Array(list)) => list.into_iter().try_for_each(|value| take(log, value)),
            _ => one(log, Value::Object(object)),
        },
        _ => Err(format!("no event; {WANTED}")),
    }
}

fn check_version(value: &Value) -> Result<(), String> {
    match value.get("version").map(Value::as_u64) {
        None => Ok(()),
        Some(Some(version)) if version <= VERSION as u64 => Ok(()),
        Some(Some(version)) => Err(format!(
            "events of version {version}; this program knows them up to version {VERSION}: use the mainstay that printed them, or a newer one"
        )),
        Some(None) => Err("its version is no number".into()),
    }
}

/// What every event has, of whatever kind.
#[derive(Deserialize)]
struct Outline {
    number: u64,
    event: Value,
    #[serde(default)]
    text: String,
}

fn one(log: &mut Log, value: Value) -> Result<(), String> {
    let outline = Outline::deserialize(&value).map_err(|error| format!("no audit event ({error}); {WANTED}"))?;
    let kind = match &outline.event {
        Value::String(kind) => Some(kind),
        Value::Object(map) => map.keys().next(),
        _ => None,
    };
    let kind = kind.ok_or_else(|| format!("event {} does not say what happened", outline.number))?;
    if let Err(error) = Event::deserialize(&outline.event) {
        if !error.to_string().starts_with("unknown variant") {
            return Err(format!("event {}, {kind}: {error}", outline.number));
        }
        log.unknown.push(Unknown { number: outline.number, kind: kind.clone(), text: outline.text });
        return Ok(());
    }
    let number = outline.number;
    log.events.push(AuditEvent::deserialize(&value).map_err(|error| format!("event {number}: {error}"))?);
    Ok(())
}

/// By number; an event that was printed twice counts once.
fn order(log: &mut Log) -> Result<(), String> {
    log.events.sort_by_key(|event| event.number);
    for pair in log.events.windows(2) {
        if pair[0].number == pair[1].number && pair[0] != pair[1] {
            return Err(format!("two different events have number {}: are these logs of different clusters?", pair[0].number));
        }
    }
    log.events.dedup_by_key(|event| event.number);
    Ok(())
}

/// A log that was changed is still a story, but its reader should know.
fn check_chain(log: &mut Log) {
    for pair in log.events.windows(2).filter(|pair| pair[0].number + 1 == pair[1].number) {
        if audit::verify_chain(pair[0].hash, std::iter::once(&pair[1])).is_err() {
            let number = pair[1].number;
            log.warnings.push(format!("event {number} was changed, or one before it: its hash does not follow"));
        }
    }
}
