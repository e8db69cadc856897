//! `mainstay events export` and `events verify`: the audit log taken away, and proven anywhere.

use super::args::Format;
use super::output::{print, show};
use super::show::event_line;
use super::{CliError, EVENTS_VERSION, exit};
use mainstay_cluster::{AuditEvent, ChainCheck};
use mainstay_node::admin::client::AdminClient;
use serde::Serialize;
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A longer line is no event.
const LINE_BYTES_MAX: u64 = 1 << 20;

fn failed(path: &Path) -> impl Fn(std::io::Error) -> CliError + use<> {
    let path = path.to_owned();
    move |error| CliError::Failed(format!("{}: {error}", path.display()))
}

// ---- from the nodes ----------------------------------------------------------------------------------------------------------

/// The next events in a row above `after`, from whichever node has them; empty at the end.
async fn next(client: &AdminClient, after: u64) -> Result<Vec<Arc<AuditEvent>>, CliError> {
    let (mut best, mut error): (Vec<Arc<AuditEvent>>, _) = (Vec::new(), None);
    let mut answered = false;
    for endpoint in client.endpoints() {
        match client.at(vec![*endpoint]).events(after, Duration::ZERO).await {
            Ok(page) => {
                answered = true;
                let row = in_a_row(page.events);
                let earlier = |row: &[Arc<AuditEvent>]| row.first().map_or(u64::MAX, |first| first.number);
                if (earlier(&row), best.len()) < (earlier(&best), row.len()) {
                    best = row;
                }
            }
            Err(failed) => error = Some(failed),
        }
    }
    match error.filter(|_| !answered) {
        Some(error) => Err(error.into()),
        None => Ok(best),
    }
}

/// Up to the first gap: behind it another node may have more.
fn in_a_row(mut events: Vec<Arc<AuditEvent>>) -> Vec<Arc<AuditEvent>> {
    let gap = events.windows(2).position(|pair| pair[1].number != pair[0].number + 1);
    events.truncate(gap.map_or(events.len(), |at| at + 1));
    events
}

pub async fn export(client: &AdminClient, mut after: u64, out: Option<&Path>) -> Result<u8, CliError> {
    let mut file = out.map(|path| OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed(path)));
    let mut check = ChainCheck::default();
    loop {
        let events = next(client, after).await?;
        let Some(last) = events.last() else { break };
        after = last.number;
        events.iter().for_each(|event| check.take(event));
        let text: String = events.iter().map(|event| event_line(event, Format::Json)).collect();
        match (&mut file, out) {
            (Some(Ok(file)), Some(path)) => file.write_all(text.as_bytes()).map_err(failed(path))?,
            (Some(Err(_)), _) => break,
            _ => print(&text),
        }
    }
    if let Some(file) = file {
        file?.sync_all().map_err(|error| CliError::Failed(error.to_string()))?;
    }
    let report = Report::of(&check, None);
    report.lines.iter().for_each(|line| eprintln!("{line}"));
    Ok(report.code())
}

pub async fn verify_cluster(client: &AdminClient, mut after: u64, format: Format) -> Result<u8, CliError> {
    let mut check = ChainCheck::default();
    loop {
        let events = next(client, after).await?;
        let Some(last) = events.last() else { break };
        after = last.number;
        events.iter().for_each(|event| check.take(event));
    }
    Ok(told(&Report::of(&check, None), format))
}

// ---- from a file -------------------------------------------------------------------------------------------------------------

pub fn verify_file(path: &Path, format: Format) -> Result<u8, CliError> {
    let mut reader = BufReader::new(File::open(path).map_err(failed(path))?);
    let (mut check, mut number, mut line, mut problem) = (ChainCheck::default(), 0_u64, Vec::new(), None);
    loop {
        line.clear();
        let mut bounded = std::io::Read::take(&mut reader, LINE_BYTES_MAX);
        if bounded.read_until(b'\n', &mut line).map_err(failed(path))? == 0 {
            break;
        }
        number += 1;
        match event(&line) {
            Ok(Some(event)) => check.take(&event),
            Ok(None) => {}
            Err(what) => {
                problem = Some(format!("line {number}: {what}"));
                break;
            }
        }
    }
    if number == 0 {
        return Err(CliError::Failed(format!("{} is empty; `mainstay events export` writes what is expected", path.display())));
    }
    Ok(told(&Report::of(&check, problem), format))
}

/// `None` for an empty line.
fn event(line: &[u8]) -> Result<Option<AuditEvent>, String> {
    if line.trim_ascii().is_empty() {
        return Ok(None);
    }
    let value: Value = serde_json::from_slice(line).map_err(|error| match line.ends_with(b"\n") {
        true => format!("no event ({error})"),
        false => "it ends in the middle of an event; the file was cut off".into(),
    })?;
    match value.get("version").and_then(Value::as_u64) {
        Some(version) if version > u64::from(EVENTS_VERSION) => {
            Err(format!("events of version {version}; this program knows them up to {EVENTS_VERSION}: use the newer mainstay"))
        }
        _ => serde_json::from_value(value).map(Some).map_err(|error| format!("no event that this program knows ({error})")),
    }
}

// ---- the verdict -------------------------------------------------------------------------------------------------------------

#[derive(Debug, Serialize)]
struct Report {
    holds: bool,
    first: Option<u64>,
    last: Option<u64>,
    /// Hash of the last event: what a later export must continue.
    head: Option<String>,
    proven: u64,
    from_beginning: bool,
    gaps: Vec<(u64, u64)>,
    fault: Option<String>,
    /// Why reading ended early.
    unreadable: Option<String>,
    /// All of this in words.
    lines: Vec<String>,
}

impl Report {
    fn of(check: &ChainCheck, unreadable: Option<String>) -> Report {
        let mut report = Report {
            holds: check.holds() && unreadable.is_none(),
            first: check.first,
            last: check.last.map(|(number, _)| number),
            head: check.last.map(|(_, hash)| hash.to_string()),
            proven: check.proven,
            from_beginning: check.from_beginning,
            gaps: check.gaps.clone(),
            fault: check.fault.map(|fault| fault.to_string()),
            unreadable,
            lines: Vec::new(),
        };
        report.lines = report.words(check);
        report
    }

    fn words(&self, check: &ChainCheck) -> Vec<String> {
        let (Some(first), Some(last)) = (self.first, self.last) else {
            return self.unreadable.iter().cloned().chain(["there is no event in it; nothing is proven".into()]).collect();
        };
        let mut lines = Vec::new();
        lines.extend(self.fault.as_ref().map(|fault| format!("NOT SOUND: {fault}; nothing behind it is proven")));
        lines.extend(self.gaps.iter().map(|(from, to)| match from == to {
            true => format!("MISSING: event {from}"),
            false => format!("MISSING: events {from} to {to}"),
        }));
        let more = check.gaps_count.saturating_sub(self.gaps.len() as u64);
        lines.extend((more > 0).then(|| format!("MISSING: {more} more gaps")));
        lines.extend(self.unreadable.as_ref().map(|what| format!("UNREADABLE: {what}")));
        lines.push(match self.holds {
            true => format!("events {first} to {last}: every one follows from the one before it"),
            false => format!("looked at events {first} to {last}: {} follow from the one before them", self.proven),
        });
        lines.push(match self.from_beginning {
            true => "the first one is the cluster's first: nothing rests on trust but the hash of the last".into(),
            false => format!(
                "event {first} itself is taken as it is: the hash that it follows is that of event {}, which is not in here",
                first.saturating_sub(1)
            ),
        });
        lines.extend(self.head.as_ref().map(|head| format!("hash of event {last}: {head}")));
        lines
    }

    fn code(&self) -> u8 {
        if self.holds { exit::OK } else { exit::VIOLATED }
    }
}

fn told(report: &Report, format: Format) -> u8 {
    show(format, report, |report| report.lines.join("\n") + "\n");
    report.code()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(numbers: &[u64]) -> Vec<Arc<AuditEvent>> {
        let event = |number: &u64| {
            let text = format!(
                r#"{{"number":{number},"at":{{"seconds":1,"nanos":0}},"actor":"Cluster","volume":null,"event":"Note","text":"x","hash":"{}"}}"#,
                "0".repeat(64)
            );
            Arc::new(serde_json::from_str(&text).unwrap())
        };
        numbers.iter().map(event).collect()
    }

    #[test]
    fn a_row_ends_at_the_first_gap() {
        let numbers = |events: Vec<Arc<AuditEvent>>| events.iter().map(|event| event.number).collect::<Vec<_>>();
        assert_eq!(numbers(in_a_row(numbered(&[3, 4, 5, 9, 10]))), [3, 4, 5]);
        assert_eq!(numbers(in_a_row(numbered(&[3]))), [3]);
        assert!(in_a_row(vec![]).is_empty());
    }

    #[test]
    fn bad_files_are_told_apart() {
        let verify = |text: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            verify_file(file.path(), Format::Json)
        };
        assert!(verify("").unwrap_err().to_string().contains("is empty"));
        assert_eq!(verify("hello\n").unwrap(), exit::VIOLATED);
        assert!(event(b"{\"version\":2}\n").unwrap_err().contains("version 2"));
        assert!(event(b"{\"version\":1,\"numb").unwrap_err().contains("cut off"));
        assert_eq!(event(b"\n").unwrap(), None);
        let report = Report::of(&ChainCheck::default(), None);
        assert!(report.lines[0].contains("nothing is proven") && report.code() == exit::VIOLATED);
    }
}
