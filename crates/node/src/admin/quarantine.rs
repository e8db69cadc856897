//! What this node has set aside (R9), for people: listed, read record by record, dropped. And looks at this node's own copy, to
//! compare with. Every answer is bounded; more is asked for page by page.

use super::api::*;
use super::change::decide;
use super::view;
use crate::clock;
use crate::host::{CopyPlace, Host};
use crate::shell::App;
use mainstay_cluster::{Actor, Command, Digest};
use mainstay_protocol::limits::PAYLOAD_BYTES_MAX;
use mainstay_protocol::{FileId, VolumeId};
use mainstay_replica::Replica;
use mainstay_volume::quarantine::{self, FILES_MAX, Path, QuarantineError, Reader, Summary};
use mainstay_volume::volume::{Named, peek};
use mainstay_volume::{Volume, VolumeError};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

/// Records of one page, and bytes of the quarantine file that are read for it.
const PAGE_RECORDS_MAX: usize = 500;
const PAGE_BYTES_MAX: u64 = 64 << 20;
/// Changes of one page: names and rows are the larger part of an answer.
const PAGE_CHANGES_MAX: usize = 10_000;
/// Inodes whose paths are asked for at once.
const INODES_MAX: usize = 10_000;
/// Entries looked at between two turns of the volume's own work, in all, and the time it may take.
const WALK_STEP: usize = 2_000;
const WALK_ENTRIES_MAX: usize = 5_000_000;
const WALK_TIME_MAX: Duration = Duration::from_secs(10);
/// Ranges of one look; each is at most a record's data.
const RANGES_MAX: usize = 64;
const ROOT: u64 = FileId::ROOT.inode;

impl From<QuarantineError> for ApiError {
    fn from(error: QuarantineError) -> ApiError {
        ApiError::new(ErrorKind::Unavailable, error.to_string())
    }
}

fn hanging(name: &str) -> ApiError {
    ApiError::new(ErrorKind::Unavailable, format!("the copy of {name} on this node does not answer: it is being opened, or hangs"))
}

/// Runs what may wait for the disk elsewhere than among the sockets.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| ApiError::new(ErrorKind::Unavailable, error.to_string()))
}

pub async fn list(app: &Arc<App>) -> Result<Quarantines, ApiError> {
    let mut all = Quarantines { node: app.identity.name.clone(), listed: Vec::new(), unread: Vec::new() };
    for host in app.hosts.all() {
        let Some(place) = host.copy().cloned() else { continue };
        let volume = name_of(app, host.volume);
        match of_volume(app, host.volume, volume.clone(), place).await? {
            Ok(listed) => {
                if listed.len() == FILES_MAX {
                    all.unread.push(format!("volume {volume} on {}: there may be more than these {FILES_MAX}", all.node));
                }
                all.listed.extend(listed);
            }
            Err(error) => all.unread.push(format!("volume {volume} on {}: {error}", all.node)),
        }
    }
    Ok(all)
}

fn name_of(app: &App, volume: VolumeId) -> String {
    app.state().volumes.get(&volume).map_or_else(|| volume.to_string(), |known| known.name.clone())
}

async fn of_volume(
    app: &App,
    id: VolumeId,
    volume: String,
    place: CopyPlace,
) -> Result<Result<Vec<Quarantine>, QuarantineError>, ApiError> {
    let node = app.identity.name.clone();
    blocking(move || {
        let full = |summary: Summary| Quarantine {
            node: node.clone(),
            volume: volume.clone(),
            set_aside_at: modified(&place, &summary.file),
            summary,
        };
        Ok(quarantine::list(&*place.disk, id)?.into_iter().map(full).collect())
    })
    .await
}

fn modified(place: &CopyPlace, file: &str) -> Option<i64> {
    let at = std::fs::metadata(place.directory.join(file)).ok()?.modified().ok()?;
    i64::try_from(at.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()
}

/// The file of an id, and whose it is.
struct Found {
    host: Host,
    place: CopyPlace,
    file: String,
}

async fn find(app: &Arc<App>, id: &str) -> Result<Found, ApiError> {
    for host in app.hosts.all() {
        let Some(place) = host.copy().cloned() else { continue };
        let (volume, disk, wanted) = (host.volume, place.disk.clone(), id.to_string());
        if let Some(file) = blocking(move || quarantine::file_of(&*disk, volume, &wanted)).await?? {
            return Ok(Found { host, place, file });
        }
    }
    let message = format!("{} holds no quarantine {id:?}; `mainstay quarantine list` shows all", app.identity.name);
    Err(ApiError::not_found(message))
}

pub async fn records(app: &Arc<App>, id: &str, from: u64) -> Result<RecordsPage, ApiError> {
    let Found { host, place, file } = find(app, id).await?;
    blocking(move || {
        let mut reader = Reader::open(&*place.disk, host.volume, &file)?;
        reader.skip_to(from.max(reader.at()));
        Ok(page(&mut reader))
    })
    .await?
}

fn page(reader: &mut Reader) -> RecordsPage {
    let (begun, mut changes) = (reader.at(), 0);
    let mut page = RecordsPage { records: Vec::new(), next: None, problem: None };
    while let Some(read) = reader.take_record() {
        match read {
            Ok(record) => {
                changes += record.body.changes.len();
                page.records.push(record);
            }
            Err(error) => {
                page.problem = Some(error.to_string());
                return page;
            }
        }
        if page.records.len() >= PAGE_RECORDS_MAX || changes >= PAGE_CHANGES_MAX || reader.at() - begun >= PAGE_BYTES_MAX {
            page.next = Some(reader.at());
            return page;
        }
    }
    page
}

/// One record as it is stored: who asked for it checks it again.
pub async fn record(app: &Arc<App>, id: &str, at: u64) -> Result<Vec<u8>, ApiError> {
    let Found { host, place, file } = find(app, id).await?;
    blocking(move || {
        let mut reader = Reader::open(&*place.disk, host.volume, &file)?;
        reader.skip_to(at);
        let end = || ApiError::not_found(format!("the quarantine ends before byte {at}"));
        let (record, _) = reader.take().ok_or_else(end)??;
        Ok([&record.head[..], &record.payload[..]].concat())
    })
    .await?
}

/// Recorded first: what cannot be undone is on record before it is done.
pub async fn remove(app: &Arc<App>, who: &str, id: &str, reason: &str) -> Result<(), ApiError> {
    if reason.trim().is_empty() {
        return Err(ApiError::input("a reason is needed: what was looked at, and why nothing of it is wanted"));
    }
    let Found { host, place, file } = find(app, id).await?;
    let (disk, kept) = (place.disk.clone(), file.clone());
    let summary = blocking(move || quarantine::summary_of(&*disk, host.volume, &kept)).await?;
    let (first, bytes) = summary.map_or((0, 0), |summary| (summary.first, summary.bytes));
    let (volume, node) = (name_of(app, host.volume), &app.identity.name);
    let text = format!("{who} dropped quarantine {id} of {volume} on {node} ({bytes} bytes, positions from {first} on): {reason}");
    decide(app, Command::Note { volume: Some(host.volume), text, actor: Actor::Person(who.into()), at: clock::wall() }).await?;
    let failed = |error: std::io::Error| {
        ApiError::new(ErrorKind::Unknown, format!("{id}: {error}; it is on record as dropped, but still there: drop it again"))
    };
    blocking(move || place.disk.remove(&file)).await?.map_err(failed)
}

// ---- this node's own copy ---------------------------------------------------------------------------------------------------

/// Asks the volume something. It is a turn of the volume's own thread, so it must be short.
pub(super) async fn ask<T: Send + 'static>(
    host: &Host,
    name: &str,
    question: impl FnOnce(&Volume) -> Result<T, VolumeError> + Send + 'static,
) -> Result<T, ApiError> {
    let answer = host.inspect(|replica: &Replica, _| replica.volume().map(question)).await.flatten();
    let answer = answer.ok_or_else(|| hanging(name))?;
    answer.map_err(|error| ApiError::new(ErrorKind::Unavailable, error.to_string()))
}

pub(super) fn copy_of(app: &App, name: &str) -> Result<Host, ApiError> {
    let (id, _) = view::find_volume(&app.state(), name)?;
    app.hosts
        .get(id)
        .filter(|host| host.copy().is_some())
        .ok_or_else(|| ApiError::new(ErrorKind::Elsewhere, format!("{} holds no copy of {name}", app.identity.name)))
}

/// Where inodes are in the tree of this copy, now. Rows do not name their directory, so the tree is walked, in short turns.
pub async fn paths(app: &Arc<App>, name: &str, wanted: &PathsWanted) -> Result<Paths, ApiError> {
    if wanted.inodes.len() > INODES_MAX {
        return Err(ApiError::input(format!("more than {INODES_MAX} inodes at once")));
    }
    let host = copy_of(app, name)?;
    let mut missing = BTreeMap::new();
    let mut found = Vec::new();
    for inode in &wanted.inodes {
        let inode = *inode;
        if let Some(row) = ask(&host, name, move |volume| volume.row(inode)).await? {
            missing.insert(inode, row.file);
        }
    }
    let mut walk = Walk::default();
    let begun = Instant::now();
    while !missing.is_empty() && !walk.dirs.is_empty() && walk.seen < WALK_ENTRIES_MAX && begun.elapsed() < WALK_TIME_MAX {
        for (inode, path) in walk.step(&host, name).await? {
            found.extend(missing.remove(&inode).map(|file| (file, path)));
        }
    }
    Ok(Paths { found, complete: missing.is_empty() || walk.dirs.is_empty() })
}

/// Breadth first, from the root.
struct Walk {
    dirs: VecDeque<(u64, Path)>,
    cookie: u64,
    seen: usize,
    begun: bool,
}

impl Default for Walk {
    fn default() -> Walk {
        Walk { dirs: VecDeque::from([(ROOT, vec![])]), cookie: 0, seen: 0, begun: false }
    }
}

impl Walk {
    /// Some entries of the directory that is looked at.
    async fn step(&mut self, host: &Host, name: &str) -> Result<Vec<(u64, Path)>, ApiError> {
        let Some((dir, path)) = self.dirs.front().cloned() else { return Ok(vec![]) };
        let cookie = self.cookie;
        let entries: Vec<Named> = ask(host, name, move |volume| volume.names_after(dir, cookie, WALK_STEP)).await?;
        let mut found = if self.begun { vec![] } else { vec![(ROOT, vec![])] };
        self.begun = true;
        self.seen += entries.len();
        match entries.last() {
            Some(last) if entries.len() == WALK_STEP => self.cookie = last.cookie,
            _ => {
                self.dirs.pop_front();
                self.cookie = 0;
            }
        }
        for entry in entries {
            let below = [&path[..], &[entry.name]].concat();
            if entry.directory {
                self.dirs.push_back((entry.inode, below.clone()));
            }
            found.push((entry.inode, below));
        }
        Ok(found)
    }
}

/// Digests of parts of a file as this copy has it now.
pub async fn look(app: &Arc<App>, name: &str, look: &Look) -> Result<Looked, ApiError> {
    if look.ranges.len() > RANGES_MAX || look.ranges.iter().any(|(_, len)| *len as usize > PAYLOAD_BYTES_MAX) {
        return Err(ApiError::input(format!("at most {RANGES_MAX} ranges of at most {PAYLOAD_BYTES_MAX} bytes")));
    }
    let host = copy_of(app, name)?;
    let wanted = look.clone();
    let row = ask(&host, name, move |volume| match (wanted.inode, &wanted.path) {
        (Some(inode), _) => volume.row(inode),
        (None, Some(path)) => by_path(volume, path),
        (None, None) => Ok(None),
    });
    let Some(row) = row.await? else { return Ok(Looked { file: None, digests: vec![None; look.ranges.len()] }) };
    let file = LookedFile { file: row.file, kind: row.kind, size: row.size };
    let mut digests = Vec::new();
    for (offset, len) in look.ranges.iter().copied() {
        digests.push(match offset.checked_add(u64::from(len)).filter(|end| *end <= row.size) {
            Some(end) => digest(&host, name, row.file.inode, offset..end).await?,
            None => None,
        });
    }
    Ok(Looked { file: Some(file), digests })
}

fn by_path(volume: &Volume, path: &Path) -> Result<Option<mainstay_protocol::InodeRow>, VolumeError> {
    let mut inode = ROOT;
    for name in path {
        match volume.entry(inode, name)? {
            Some(below) => inode = below,
            None => return Ok(None),
        }
    }
    volume.row(inode)
}

async fn digest(host: &Host, name: &str, inode: u64, range: std::ops::Range<u64>) -> Result<Option<Digest>, ApiError> {
    let job = ask(host, name, move |volume| volume.peek(inode, range)).await?;
    let Some(place) = host.copy().cloned() else { return Ok(None) };
    let read = blocking(move || peek(job, &*place.disk)).await?;
    Ok(read.ok().map(|pieces| Digest::of(&pieces.concat())))
}
