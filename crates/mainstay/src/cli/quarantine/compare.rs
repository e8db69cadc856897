//! `quarantine diff`: per file, what the tail would have made of it against what the volume holds now. Clients repeat what they
//! got no answer for, so most of a tail is usually there by now.

use super::super::args::Format;
use super::super::output::{show, table};
use super::super::{CliError, exit};
use super::{Held, Whole, find};
use mainstay_cluster::Digest;
use mainstay_node::admin::api::{Look, Looked};
use mainstay_node::admin::client::AdminClient;
use mainstay_protocol::limits::PAYLOAD_BYTES_MAX;
use mainstay_protocol::{FileKind, Position};
use mainstay_volume::StoredExtent;
use mainstay_volume::quarantine::{FileImage, Part, Path, decode_record, path_text};
use serde::Serialize;

/// Ranges that are asked for at once.
const RANGES_AT_ONCE: usize = 64;
/// Ranges of one file in the table; JSON has all of them.
const RANGES_SHOWN: usize = 4;

#[derive(Debug, Serialize)]
struct Diff {
    id: String,
    volume: String,
    /// Whose copy it was compared with.
    compared_with: String,
    files: Vec<FileDiff>,
    /// Why there may be more.
    problem: Option<String>,
}

#[derive(Debug, Serialize)]
struct FileDiff {
    /// Where the file would be.
    path: Option<String>,
    inode: u64,
    /// `same`: the volume holds it as the tail would have left it; `differs`; `gone`: there is no such file now; `removed`: the
    /// tail would have removed it; `still-there`: so, and it exists now; `not-known`
    verdict: &'static str,
    /// In words.
    text: String,
    size: u64,
    size_now: Option<u64>,
    /// (offset, length) of what the tail wrote and the volume holds otherwise.
    differs: Vec<(u64, u64)>,
    /// (offset, length) of what could not be compared.
    not_known: Vec<(u64, u64)>,
}

/// 0 when all that the tail wrote is in the volume, 2 when something is not, 5 when it cannot be said.
pub async fn diff(client: &AdminClient, id: &str, format: Format) -> Result<u8, CliError> {
    let held = find(client, id).await?;
    let whole = held.image().await?;
    whole.warn();
    let mut files = Vec::new();
    for file in whole.image.files.values().filter(|file| matters(file)) {
        files.push(compare(&held, &whole, file).await?);
    }
    let (volume, compared_with) = (held.one.volume.clone(), held.one.node.clone());
    let diff = Diff { id: id.into(), volume, compared_with, files, problem: whole.problem };
    show(format, &diff, text);
    let any = |verdicts: &[&str]| diff.files.iter().any(|file| verdicts.contains(&file.verdict));
    Ok(match any(&["differs", "gone", "still-there"]) {
        true => exit::VIOLATED,
        false if any(&["not-known"]) || diff.problem.is_some() => exit::INDETERMINATE,
        false => exit::OK,
    })
}

/// A directory whose times alone changed is nobody's concern.
fn matters(file: &FileImage) -> bool {
    let directory = file.row.as_ref().is_some_and(|row| row.kind == FileKind::Directory);
    !directory || file.made || file.removed || !file.names.is_empty()
}

fn text(diff: &Diff) -> String {
    let mut text =
        format!("quarantine {} of volume {} against what the copy on {} holds now\n", diff.id, diff.volume, diff.compared_with);
    if diff.files.is_empty() {
        return text + "no file is touched by it\n";
    }
    let row = |file: &FileDiff| {
        let path = file.path.clone().unwrap_or_else(|| format!("inode {} (path not known)", file.inode));
        vec![file.verdict.into(), path, file.text.clone()]
    };
    let rows: Vec<Vec<String>> = diff.files.iter().map(row).collect();
    text += &table(&["VERDICT", "FILE", "WHAT"], &rows, "");
    text
}

async fn compare(held: &Held, whole: &Whole, file: &FileImage) -> Result<FileDiff, CliError> {
    let path = whole.path(file.inode);
    let mut diff = FileDiff {
        path: path.as_deref().map(path_text),
        inode: file.inode,
        verdict: "not-known",
        text: String::new(),
        size: file.size(),
        size_now: None,
        differs: Vec::new(),
        not_known: Vec::new(),
    };
    let Some(look) = wanted(file, path) else {
        diff.text = "the tail does not say where it would be".into();
        return Ok(diff);
    };
    let now = held.node.look(&held.one.volume, &look).await?;
    diff.size_now = now.file.map(|found| found.size);
    match (file.removed, now.file) {
        (true, None) => (diff.verdict, diff.text) = ("removed", "the tail removes it, and there is no such file now".into()),
        (true, Some(_)) => (diff.verdict, diff.text) = ("still-there", "the tail removes it; it exists now".into()),
        (false, None) => (diff.verdict, diff.text) = ("gone", missing(file)),
        (false, Some(_)) => {
            ranges(held, whole, file, &look, &mut diff).await?;
            judge(file, &now, &mut diff);
        }
    }
    Ok(diff)
}

/// A file that the tail made is looked for by its name: its number may be another file's now.
fn wanted(file: &FileImage, path: Option<Path>) -> Option<Look> {
    match file.made {
        true => path.map(|path| Look { inode: None, path: Some(path), ranges: vec![] }),
        false => Some(Look { inode: Some(file.inode), path: None, ranges: vec![] }),
    }
}

fn missing(file: &FileImage) -> String {
    match file.tail_bytes() {
        0 => "it would be there, without data of its own; there is no such file now".into(),
        bytes => format!("{bytes} bytes of it are in the quarantine; there is no such file now"),
    }
}

fn judge(file: &FileImage, now: &Looked, diff: &mut FileDiff) {
    let size_now = now.file.map_or(0, |found| found.size);
    let resized = file.regular() && size_now != file.size();
    let bytes = |ranges: &[(u64, u64)]| ranges.iter().map(|(_, len)| len).sum::<u64>();
    (diff.verdict, diff.text) = if !diff.differs.is_empty() {
        let shown = diff.differs.iter().take(RANGES_SHOWN).map(|(at, len)| format!("{at}+{len}")).collect::<Vec<_>>().join(" ");
        let more = if diff.differs.len() > RANGES_SHOWN { " …" } else { "" };
        let text = format!("{} of {} bytes differ, at {shown}{more}", bytes(&diff.differs), file.tail_bytes());
        ("differs", text)
    } else if resized {
        ("differs", format!("it would have {} bytes, it has {size_now}", file.size()))
    } else if !diff.not_known.is_empty() {
        ("not-known", format!("{} bytes could not be compared", bytes(&diff.not_known)))
    } else {
        ("same", format!("all {} bytes that the tail wrote are there", file.tail_bytes()))
    };
}

/// Compares what the tail wrote, some ranges at a time.
async fn ranges(held: &Held, whole: &Whole, file: &FileImage, look: &Look, diff: &mut FileDiff) -> Result<(), CliError> {
    let runs: Vec<(u64, StoredExtent)> = whole
        .image
        .parts(file)
        .into_iter()
        .filter_map(|part| match part {
            Part::Tail { at, extent } => Some((at, extent)),
            Part::Zeros(_) | Part::Before(_) => None,
        })
        .collect();
    for group in runs.chunks(RANGES_AT_ONCE) {
        let ranges = group.iter().map(|(_, run)| (run.offset, run.len)).collect();
        let now = held.node.look(&held.one.volume, &Look { ranges, ..look.clone() }).await?;
        let size = now.file.map_or(0, |found| found.size);
        for ((at, run), digest) in group.iter().zip(now.digests) {
            let range = (run.offset, u64::from(run.len));
            match (held.data(*at, run).await?, digest) {
                (Some(kept), Some(there)) if Digest::of(&kept) == there => {}
                (Some(_), Some(_)) => note(&mut diff.differs, range),
                (Some(_), None) if range.0 + range.1 > size => note(&mut diff.differs, range),
                _ => note(&mut diff.not_known, range),
            }
        }
    }
    Ok(())
}

/// Neighbours become one.
fn note(ranges: &mut Vec<(u64, u64)>, (offset, len): (u64, u64)) {
    match ranges.last_mut() {
        Some(last) if last.0 + last.1 == offset => last.1 += len,
        _ => ranges.push((offset, len)),
    }
}

impl Held {
    /// Data of a run, checked here; `None` where it is damaged.
    pub(super) async fn data(&self, at: u64, run: &StoredExtent) -> Result<Option<bytes::Bytes>, CliError> {
        assert!(run.len as usize <= PAYLOAD_BYTES_MAX, "a run lies in one record");
        let stored = self.node.quarantine_record(self.id(), at).await?;
        let Ok(record) = decode_record(stored, Position(run.position.0)) else { return Ok(None) };
        let (from, to) = (run.payload_offset as usize, run.payload_offset as usize + run.len as usize);
        Ok((to <= record.payload.len()).then(|| record.payload.slice(from..to)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_ranges_become_one() {
        let mut ranges = vec![];
        [(0, 10), (10, 5), (20, 1), (21, 4), (30, 2)].into_iter().for_each(|range| note(&mut ranges, range));
        assert_eq!(ranges, [(0, 15), (20, 5), (30, 2)]);
    }
}
