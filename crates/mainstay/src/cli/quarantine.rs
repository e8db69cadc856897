//! `mainstay quarantine`: what was set aside when a divergent tail was rolled back (R9), for the person who decides whether
//! anything of it is wanted. Every node lists its own; all of them are asked here.

mod compare;
mod export;
mod restore;

use super::args::{Format, Quarantine as Command};
use super::output::{bytes, print, show, table};
use super::{CliError, exit};
use mainstay_node::admin::api::{Quarantine, RecordsPage};
use mainstay_node::admin::client::{AdminClient, ClientError};
use mainstay_protocol::record::Change;
use mainstay_protocol::{FileId, Timestamp};
use mainstay_volume::quarantine::{Image, Names, Path, TailRecord, sentence};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, IsTerminal};
use std::net::SocketAddr;

/// Inodes whose paths are asked for with one request.
const INODES_AT_ONCE: usize = 5_000;

pub async fn run(client: &AdminClient, command: Command, format: Format) -> Result<u8, CliError> {
    match command {
        Command::List => list(client, format).await,
        Command::Show { id } => show_tail(client, &id, format).await,
        Command::Diff { id } => compare::diff(client, &id, format).await,
        Command::Export { id, out } => export::export(client, &id, &out, format).await,
        Command::Restore { id, path, new } => restore::restore(client, &id, &path, &new, format).await,
        Command::Drop { id, reason, yes } => remove(client, &id, &reason, yes).await,
    }
}

/// What all nodes hold. A node that does not answer is named: what it holds is not known.
#[derive(Debug, Default, Serialize)]
pub(super) struct Seen {
    pub quarantines: Vec<Quarantine>,
    pub bytes: u64,
    /// Who could not be asked, or could not read its own directory, and why.
    pub not_known: Vec<String>,
    #[serde(skip)]
    pub at: BTreeMap<String, SocketAddr>,
}

pub(super) async fn gather(client: &AdminClient) -> Seen {
    let mut seen = Seen::default();
    for endpoint in client.endpoints() {
        match client.at(vec![*endpoint]).quarantines().await {
            Ok(answer) => {
                seen.at.insert(answer.node.clone(), *endpoint);
                seen.quarantines.extend(answer.listed);
                seen.not_known.extend(answer.unread);
            }
            Err(error) => seen.not_known.push(format!("the node at {endpoint}: {error}")),
        }
    }
    seen.bytes = seen.quarantines.iter().map(|one| one.summary.bytes).sum();
    seen
}

async fn list(client: &AdminClient, format: Format) -> Result<u8, CliError> {
    let seen = gather(client).await;
    show(format, &seen, list_text);
    seen.not_known.iter().for_each(|what| eprintln!("mainstay: not known: {what}"));
    Ok(if seen.not_known.is_empty() { exit::OK } else { exit::INDETERMINATE })
}

fn list_text(seen: &Seen) -> String {
    if seen.quarantines.is_empty() {
        return "nothing is set aside on the nodes that answered\n".into();
    }
    let rows: Vec<Vec<String>> = seen.quarantines.iter().map(row).collect();
    let mut text = table(&["ID", "VOLUME", "NODE", "EPOCH", "FIRST", "LAST", "RECORDS", "SIZE", "SET ASIDE", "WHY"], &rows, "");
    text += &format!("{} set aside in all; it takes its room on the nodes' disks until it is dropped\n", bytes(seen.bytes));
    text
}

fn row(one: &Quarantine) -> Vec<String> {
    let summary = &one.summary;
    let numbers = [summary.epoch, summary.first, summary.last, summary.records()].map(|number| number.to_string());
    let mut row = vec![summary.id.clone(), one.volume.clone(), one.node.clone()];
    row.extend(numbers);
    row.push(bytes(summary.bytes));
    row.push(one.set_aside_at.map_or_else(|| "-".into(), |at| instant(Timestamp::new(at, 0))));
    row.push(match &summary.damage {
        Some(damage) => format!("DAMAGED: {damage}"),
        None => why(one),
    });
    row
}

fn why(one: &Quarantine) -> String {
    let Quarantine { node, summary, .. } = one;
    format!("only {node} had them: the others went on from position {} without", summary.base.position.0)
}

pub(super) fn instant(at: Timestamp) -> String {
    mainstay_cluster::refusal::instant(at)
}

/// One quarantine and the node that holds it.
struct Held {
    one: Quarantine,
    node: AdminClient,
}

async fn find(client: &AdminClient, id: &str) -> Result<Held, CliError> {
    let seen = gather(client).await;
    let Some(one) = seen.quarantines.into_iter().find(|one| one.summary.id == id) else {
        let unknown = seen.not_known.iter().map(|what| format!("\nnot known: {what}")).collect::<String>();
        return Err(CliError::Failed(format!(
            "no node that answers holds quarantine {id:?}; see `mainstay quarantine list`{unknown}"
        )));
    };
    let node = client.at(seen.at.get(&one.node).copied().into_iter().collect());
    Ok(Held { one, node })
}

impl Held {
    fn id(&self) -> &str {
        &self.one.summary.id
    }

    async fn page(&self, from: u64) -> Result<RecordsPage, ClientError> {
        self.node.quarantine_records(self.id(), from).await
    }

    /// Where inodes are in the tree of the node that holds the quarantine, now.
    async fn paths(&self, inodes: BTreeSet<u64>) -> Result<(BTreeMap<FileId, Path>, bool), CliError> {
        let (inodes, mut found, mut complete): (Vec<u64>, BTreeMap<FileId, Path>, _) =
            (inodes.into_iter().collect(), BTreeMap::new(), true);
        for some in inodes.chunks(INODES_AT_ONCE) {
            let paths = self.node.paths(&self.one.volume, some.to_vec()).await?;
            found.extend(paths.found);
            complete &= paths.complete;
        }
        Ok((found, complete))
    }

    /// The whole tail, without its data.
    async fn image(&self) -> Result<Whole, CliError> {
        let (mut image, mut from, mut problem) = (Image::default(), Some(0), None);
        while let Some(at) = from {
            let page = self.page(at).await?;
            page.records.iter().try_for_each(|record| image.apply(record)).map_err(|error| CliError::Failed(error.to_string()))?;
            (from, problem) = (page.next, page.problem);
        }
        let wanted = image.files.values().flat_map(|file| file.names.iter().map(|(dir, _)| *dir).chain([file.inode]));
        let wanted = wanted.chain(image.unlinked.iter().map(|(dir, _)| *dir)).collect();
        let (before, searched) = self.paths(wanted).await?;
        Ok(Whole { image, before: before.into_iter().map(|(file, path)| (file.inode, path)).collect(), searched, problem })
    }
}

/// A tail put together.
struct Whole {
    image: Image,
    /// Where inodes are now that were there before the tail.
    before: BTreeMap<u64, Path>,
    searched: bool,
    /// Why the tail is not whole.
    problem: Option<String>,
}

impl Whole {
    /// Where a file would be; a new file's number may have been given to another one since, so only its own names count.
    fn path(&self, inode: u64) -> Option<Path> {
        let made = |inode: u64| self.image.files.get(&inode).is_some_and(|file| file.made);
        self.image.path(inode, &|inode| if made(inode) { None } else { self.before.get(&inode).cloned() })
    }

    fn warn(&self) {
        if let Some(problem) = &self.problem {
            eprintln!("mainstay: the rest of the quarantine cannot be read: {problem}");
        }
        if !self.searched {
            eprintln!("mainstay: the volume is large; paths were looked for in a part of it only");
        }
    }
}

// ---- show --------------------------------------------------------------------------------------------------------------------

/// JSON: one object per record, so that a long tail can be read as it comes.
#[derive(Serialize)]
struct Line<'a> {
    position: u64,
    epoch: u64,
    time: String,
    stable: bool,
    text: &'a str,
    record: &'a TailRecord,
}

async fn show_tail(client: &AdminClient, id: &str, format: Format) -> Result<u8, CliError> {
    let held = find(client, id).await?;
    if format != Format::Json {
        print(&head(&held.one));
    }
    let (mut names, mut from) = (Names::default(), Some(0));
    while let Some(at) = from {
        let page = held.page(at).await?;
        learn(&held, &page, &mut names).await?;
        page.records.iter().for_each(|record| {
            names.learn(record);
            print(&line(record, &names, format));
        });
        if let Some(problem) = page.problem {
            eprintln!("mainstay: {problem}");
            return Ok(exit::VIOLATED);
        }
        from = page.next;
    }
    Ok(exit::OK)
}

fn head(one: &Quarantine) -> String {
    format!(
        "quarantine {} of volume {} on {}: positions {} to {}, epoch {}\n{}\n\n",
        one.summary.id,
        one.volume,
        one.node,
        one.summary.first,
        one.summary.last,
        one.summary.epoch,
        why(one)
    )
}

fn line(record: &TailRecord, names: &Names, format: Format) -> String {
    let (text, time) = (sentence(record, names), instant(record.time));
    let TailRecord { position, epoch, stable, .. } = *record;
    match format {
        Format::Json => {
            let line = Line { position, epoch, time, stable, text: &text, record };
            serde_json::to_string(&line).unwrap_or_default() + "\n"
        }
        Format::Table | Format::Html => format!("{position:>8}  {time}  {text}\n"),
    }
}

/// Asks for the paths that this page needs and nobody told yet.
async fn learn(held: &Held, page: &RecordsPage, names: &mut Names) -> Result<(), CliError> {
    let made: BTreeSet<u64> = page.records.iter().map(|record| record.position).collect();
    let of = |change: &Change| match change {
        Change::PutEntry { dir, target, .. } => vec![*dir, target.inode],
        other => other.owner().into_iter().collect(),
    };
    let touched = page.records.iter().flat_map(|record| &record.body.changes).flat_map(of);
    let unknown: BTreeSet<u64> = touched.filter(|inode| !names.known.contains_key(inode) && !made.contains(inode)).collect();
    if !unknown.is_empty() {
        names.known.extend(held.paths(unknown).await?.0.into_iter().map(|(file, path)| (file.inode, path)));
    }
    Ok(())
}

// ---- drop --------------------------------------------------------------------------------------------------------------------

async fn remove(client: &AdminClient, id: &str, reason: &str, yes: bool) -> Result<u8, CliError> {
    if reason.trim().is_empty() {
        return Err(CliError::Usage("--reason is empty: say what was looked at, and why nothing of it is wanted".into()));
    }
    let held = find(client, id).await?;
    if !yes {
        confirm(&held.one)?;
    }
    held.node.drop_quarantine(held.id(), reason).await?;
    eprintln!("quarantine {id} is dropped; the reason is in `mainstay events`");
    Ok(exit::OK)
}

fn confirm(one: &Quarantine) -> Result<(), CliError> {
    let id = &one.summary.id;
    if !std::io::stdin().is_terminal() {
        return Err(CliError::Usage(format!(
            "look at `mainstay quarantine diff {id}` and keep what is wanted with `mainstay quarantine export {id} --out DIR`, then give --yes"
        )));
    }
    eprint!("{}These records exist nowhere else. Type the id to delete them for good: ", head(one));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(|error| CliError::Failed(error.to_string()))?;
    if answer.trim() == id { Ok(()) } else { Err(CliError::Failed("that is not the id; nothing was dropped".into())) }
}
