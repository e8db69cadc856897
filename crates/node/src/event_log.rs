//! All audit events, on this node's own disk: the cluster state keeps the newest few hundred, and what happened last month is asked
//! about too. Append-only files of JSON lines, the very lines that `mainstay events -o json` prints, so that a copy of the directory
//! can be verified anywhere.
//!
//! Nothing is synced: what a power failure takes is in the cluster state still, and is appended again at the next start. A node
//! that was away for longer than the state remembers has a gap, which the events' numbers show and another node can fill.

use mainstay_cluster::AuditEvent;
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Of the lines of `mainstay events -o json`: rises when a program that reads them must be changed.
pub const EVENTS_VERSION: u32 = 1;
/// A file is full; the next begins.
const FILE_BYTES_MAX: u64 = 8 << 20;
/// Files kept; the oldest goes first. Together 128 MiB, about 300,000 events.
const FILES_MAX: usize = 16;
const PREFIX: &str = "events-";
const SUFFIX: &str = ".jsonl";

/// One line.
#[derive(Debug, Serialize, Deserialize)]
pub struct Line {
    pub version: u32,
    #[serde(flatten)]
    pub event: Arc<AuditEvent>,
}

/// Writes; there is one per node.
#[derive(Debug)]
pub struct EventLog {
    dir: PathBuf,
    file: Option<(File, u64)>,
    /// Number of the newest event written.
    last: u64,
    file_bytes_max: u64,
}

/// First event number and path of each file, oldest first.
fn files(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok());
        found.extend(number.map(|number: u64| (number, entry.path())));
    }
    found.sort();
    Ok(found)
}

/// Where the whole lines of a file end, and the newest event's number. A line that was cut off, or that is none, ends the file.
fn sound_part(path: &Path) -> io::Result<(u64, Option<u64>)> {
    let (mut reader, mut line) = (BufReader::new(File::open(path)?), Vec::new());
    let (mut end, mut last) = (0, None);
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)?;
        let event = serde_json::from_slice::<Line>(&line).ok().filter(|_| line.ends_with(b"\n"));
        let Some(event) = event else { return Ok((end, last)) };
        end += read as u64;
        last = Some(event.event.number);
    }
}

impl EventLog {
    /// Makes the directory when it is missing; a last line that was cut off is taken back.
    pub fn open(dir: PathBuf) -> io::Result<EventLog> {
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        let mut log = EventLog { dir, file: None, last: 0, file_bytes_max: FILE_BYTES_MAX };
        let Some((first, path)) = files(&log.dir)?.pop() else { return Ok(log) };
        let (end, last) = sound_part(&path)?;
        let file = OpenOptions::new().append(true).open(&path)?;
        file.set_len(end)?;
        log.last = last.unwrap_or(first.saturating_sub(1));
        log.file = Some((file, end));
        Ok(log)
    }

    pub fn last(&self) -> u64 {
        self.last
    }

    /// Appends those that are newer than what is there. What fails is tried again with the next events.
    pub fn append<'a>(&mut self, events: impl Iterator<Item = &'a Arc<AuditEvent>>) -> io::Result<()> {
        for event in events {
            if event.number > self.last {
                self.append_one(event)?;
            }
        }
        Ok(())
    }

    fn append_one(&mut self, event: &Arc<AuditEvent>) -> io::Result<()> {
        let mut line = serde_json::to_vec(&Line { version: EVENTS_VERSION, event: event.clone() })?;
        line.push(b'\n');
        if self.file.as_ref().is_none_or(|(_, bytes)| *bytes >= self.file_bytes_max) {
            self.file = Some((self.begin(event.number)?, 0));
        }
        let Some((file, bytes)) = &mut self.file else { return Ok(()) };
        if let Err(error) = file.write_all(&line) {
            // A part of the line may be there: it is cut off, or the file is given up for another.
            if file.set_len(*bytes).is_err() {
                self.file = None;
            }
            return Err(error);
        }
        *bytes += line.len() as u64;
        self.last = event.number;
        Ok(())
    }

    /// A new file for events from `number` on; the oldest makes room for it.
    fn begin(&self, number: u64) -> io::Result<File> {
        let kept = files(&self.dir)?;
        for (_, path) in kept.iter().take((kept.len() + 1).saturating_sub(FILES_MAX)) {
            fs::remove_file(path)?;
        }
        let path = self.dir.join(format!("{PREFIX}{number:016}{SUFFIX}"));
        OpenOptions::new().create(true).append(true).mode(0o600).open(path)
    }
}

/// Events above `after` in the order of their numbers: no more than `events_max`, and about `bytes_max` of them.
pub fn read(dir: &Path, after: u64, events_max: usize, bytes_max: usize) -> io::Result<Vec<Arc<AuditEvent>>> {
    let files = files(dir)?;
    // The last file that begins at or before the first event wanted, and all behind it.
    let from = files.iter().rposition(|(first, _)| *first <= after + 1).unwrap_or(0);
    let (mut found, mut bytes) = (Vec::new(), 0);
    for (_, path) in &files[from.min(files.len())..] {
        let mut reader = BufReader::new(File::open(path)?);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            // A line that is being written, or damaged: the events' numbers show that one is missing.
            if let Ok(Line { event, .. }) = serde_json::from_slice::<Line>(&line)
                && event.number > found.last().map_or(after, |last: &Arc<AuditEvent>| last.number)
            {
                bytes += line.len();
                found.push(event);
            }
            if found.len() >= events_max || bytes >= bytes_max {
                return Ok(found);
            }
            line.clear();
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_dir::TestDir;
    use mainstay_cluster::{Actor, Digest, Event};
    use mainstay_protocol::Timestamp;

    fn events(numbers: std::ops::RangeInclusive<u64>) -> Vec<Arc<AuditEvent>> {
        let one = |number| AuditEvent {
            number,
            at: Timestamp::new(number as i64, 0),
            actor: Actor::Person("ann".into()),
            volume: None,
            event: Event::Note,
            text: format!("note {number}"),
            hash: Digest::of(&number.to_le_bytes()),
        };
        numbers.map(|number| Arc::new(one(number))).collect()
    }

    fn numbers(events: &[Arc<AuditEvent>]) -> Vec<u64> {
        events.iter().map(|event| event.number).collect()
    }

    #[test]
    fn events_are_kept_once_over_restarts_and_read_page_by_page() {
        let dir = TestDir::new("event-log");
        let path = dir.path().join("events");
        let mut log = EventLog::open(path.clone()).unwrap();
        log.append(events(1..=10).iter()).unwrap();
        log.append(events(5..=12).iter()).unwrap();
        let mut log = EventLog::open(path.clone()).unwrap();
        assert_eq!(log.last(), 12);
        // The node was away: what the state no longer holds is missing, and that shows.
        log.append(events(20..=22).iter()).unwrap();
        assert_eq!(read(&path, 10, 100, 1 << 20).unwrap(), [events(11..=12), events(20..=22)].concat());
        assert_eq!(numbers(&read(&path, 0, 4, 1 << 20).unwrap()), [1, 2, 3, 4]);
        assert_eq!(numbers(&read(&path, 4, 100, 1).unwrap()), [5], "a page holds at least one");
        assert!(read(&path, 22, 100, 1 << 20).unwrap().is_empty());
        assert!(read(&path, u64::MAX - 1, 100, 1 << 20).unwrap().is_empty());
    }

    #[test]
    fn a_line_that_was_cut_off_is_written_again() {
        let dir = TestDir::new("event-log");
        let path = dir.path().join("events");
        EventLog::open(path.clone()).unwrap().append(events(1..=3).iter()).unwrap();
        let file = files(&path).unwrap().pop().unwrap().1;
        let len = fs::metadata(&file).unwrap().len();
        OpenOptions::new().write(true).open(&file).unwrap().set_len(len - 7).unwrap();
        let mut log = EventLog::open(path.clone()).unwrap();
        assert_eq!(log.last(), 2);
        log.append(events(1..=4).iter()).unwrap();
        assert_eq!(read(&path, 0, 100, 1 << 20).unwrap(), events(1..=4));
    }

    #[test]
    fn files_are_bounded_and_the_oldest_go_first() {
        let dir = TestDir::new("event-log");
        let path = dir.path().join("events");
        let mut log = EventLog { file_bytes_max: 1, ..EventLog::open(path.clone()).unwrap() };
        log.append(events(1..=40).iter()).unwrap();
        assert_eq!(files(&path).unwrap().len(), FILES_MAX);
        assert_eq!(numbers(&read(&path, 0, 100, 1 << 20).unwrap()), (25..=40).collect::<Vec<_>>());
        assert_eq!(numbers(&read(&path, 30, 3, 1 << 20).unwrap()), [31, 32, 33]);
        assert_eq!(EventLog::open(path).unwrap().last(), 40);
    }
}
