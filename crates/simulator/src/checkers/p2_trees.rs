//! The whole tree at the end (P2): everything that was acknowledged is there, and nothing that nobody made.
//!
//! Asks what it wants to know through a closure, so it judges simulated servers and real ones alike.

use crate::files::Dump;
use crate::files::dump::needs_data;
use crate::workload::Retired;
use bytes::Bytes;
use mainstay_protocol::{Attributes, FileId, FileKind, FileOk, FileRequest};

/// Bytes of one read of a walk, where nothing speaks for less.
pub const READ_BYTES: u32 = 256 << 10;
/// A page of the walk's listings.
const LIST_BYTES: u32 = 32 << 10;

/// Everything that the server shows, from the root down, with at most so many bytes to a read.
pub fn walk(read_bytes: u32, ask: &mut impl FnMut(FileRequest) -> Result<FileOk, String>) -> Result<Dump, String> {
    match ask(FileRequest::GetAttributes { file: FileId::ROOT })? {
        FileOk::Attributes(attributes) => walk_below(read_bytes, ask, attributes),
        other => Err(format!("the root is {other:?}")),
    }
}

fn walk_below(
    read_bytes: u32,
    ask: &mut impl FnMut(FileRequest) -> Result<FileOk, String>,
    attributes: Attributes,
) -> Result<Dump, String> {
    let mut dump = Dump::new(attributes);
    match attributes.kind {
        FileKind::Directory => {
            for (name, attributes) in list(ask, attributes.file)? {
                let below = walk_below(read_bytes, ask, attributes)?;
                dump.entries.insert(name, below);
            }
        }
        FileKind::Symlink => {
            let FileOk::Target { target, .. } = ask(FileRequest::ReadLink { file: attributes.file })? else {
                return Err("a symbolic link without a target".into());
            };
            dump.data = target;
        }
        _ if needs_data(&attributes) => dump.data = read_all(read_bytes, ask, &attributes)?,
        _ => {}
    }
    Ok(dump)
}

fn list(ask: &mut impl FnMut(FileRequest) -> Result<FileOk, String>, dir: FileId) -> Result<Vec<(Bytes, Attributes)>, String> {
    let (mut cookie, mut found) = (0, Vec::new());
    loop {
        let request = FileRequest::ReadDirectory { dir, cookie, bytes_max: LIST_BYTES, with_attributes: true };
        let FileOk::Entries { entries, eof, .. } = ask(request)? else { return Err("no listing".into()) };
        cookie = entries.last().map_or(cookie, |entry| entry.cookie);
        for entry in entries.into_iter().filter(|entry| entry.name != "." && entry.name != "..") {
            let attributes = entry.attributes.ok_or_else(|| format!("{:?} is listed without attributes", entry.name))?;
            found.push((entry.name, attributes));
        }
        if eof {
            return Ok(found);
        }
    }
}

fn read_all(
    read_bytes: u32,
    ask: &mut impl FnMut(FileRequest) -> Result<FileOk, String>,
    attributes: &Attributes,
) -> Result<Bytes, String> {
    let mut data = Vec::with_capacity(attributes.size as usize);
    while (data.len() as u64) < attributes.size {
        let request = FileRequest::Read { file: attributes.file, offset: data.len() as u64, count: read_bytes };
        let FileOk::Data { pieces, count, .. } = ask(request)? else { return Err("no data".into()) };
        if count == 0 {
            return Err(format!("{:?} ends at {} of {}", attributes.file, data.len(), attributes.size));
        }
        pieces.iter().for_each(|piece| data.extend_from_slice(piece));
    }
    Ok(Bytes::from(data))
}

/// Compares what the server shows with every worker's trees. `others` says which names in the root belong to somebody else.
pub fn check(root: &Dump, trees: impl Iterator<Item = Retired>, others: impl Fn(&Bytes) -> bool) -> Result<(), String> {
    let mut left = root.entries.clone();
    left.retain(|name, _| !others(name));
    for tree in trees {
        let found = left.remove(&tree.name);
        if !tree.given_up {
            check_tree(tree, found.as_ref())?;
        }
    }
    if left.is_empty() { Ok(()) } else { Err(format!("nobody made {:?}", left.keys().collect::<Vec<_>>())) }
}

/// One tree, with and without the operation that may have happened.
fn check_tree(retired: Retired, found: Option<&Dump>) -> Result<(), String> {
    let name = String::from_utf8_lossy(&retired.name).into_owned();
    let Some(tree) = retired.tree else {
        // Its root may have been made, and nothing in it.
        return match found {
            Some(dump) if dump.objects() > 1 => Err(format!("{name} was never used, but holds something")),
            _ => Ok(()),
        };
    };
    let found = found.ok_or_else(|| format!("{name} is missing"))?;
    let Some(pending) = retired.pending.filter(|op| tree.expected_errors(op).is_empty()) else {
        let mut tree = tree;
        return tree.check_dump(found).map_err(|error| format!("{name}: {error}"));
    };
    let without = tree.clone().check_dump(found).map_err(|error| format!("{name}: {error}"));
    if without.is_ok() {
        return without;
    }
    let mut tree = tree;
    let asked = pending.text(&tree);
    tree.happened(&pending)?;
    let neither =
        |error| format!("{name}, which may or may not have seen \"{asked}\": {error}; without it: {}", without.unwrap_err());
    tree.check_dump(found).map_err(neither)
}
