//! Planning: what a request means, decided once by the primary (RFC 1813 semantics over POSIX rules, as the Linux server has
//! them where the RFC leaves room). Reads the view, changes nothing; the outcome is an answer, a read, or the changes of one
//! record. Replicas apply those without judgement.

mod access;
mod attributes;
mod create;
mod data;
mod directory;
mod remove;
mod rename;

pub use data::write_verifier;

use crate::extents::Piece;
use crate::view::{View, ViewError};
use bytes::Bytes;
use mainstay_protocol::file::{Before, FileOk, SpaceStat, Wcc};
use mainstay_protocol::planted::{Bug, planted};
use mainstay_protocol::record::Change;
use mainstay_protocol::{
    Attributes, Caller, ClientRequest, ClusterId, Epoch, FileError, FileFailure, FileId, FileKind, FileRequest, FileResult,
    InodeRow, OpKind, Position, RecordBody, RequestId, Timestamp, VolumeId,
};

/// Size that directories show: real ones have none that means anything.
pub const DIRECTORY_BYTES: u64 = 4096;
/// Bytes that must be free for a request that adds a name, besides its data: its record and its rows.
pub const ENTRY_BYTES_FREE: u64 = 16 << 10;

/// What a plan needs besides the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanContext {
    pub wall: Timestamp,
    pub epoch: Epoch,
    /// That the record will have, if one is made: the view's next.
    pub position: Position,
    pub cluster: ClusterId,
    pub volume: VolumeId,
    /// Requests that need room are refused when `available_bytes` has none; removals are not.
    pub space: SpaceStat,
}

/// What a request comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Planned {
    /// Append this record and reply when it is committed (durably if `stable`).
    Record(PlannedRecord),
    /// Nothing to change. Reply when everything up to `at` is committed, durably if `durable`.
    Reply { result: FileResult, at: Position, durable: bool },
    /// Fetch the pieces, then reply as above.
    Read(PlannedRead),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedRecord {
    pub kind: OpKind,
    /// The record's stamp.
    pub time: Timestamp,
    pub changes: Vec<Change>,
    pub payload: Bytes,
    pub stable: bool,
    pub result: FileResult,
}

impl PlannedRecord {
    /// The record's body; a request with an identity leaves its answer in it.
    pub fn body(&self, identity: Option<RequestId>) -> RecordBody {
        RecordBody { kind: self.kind, changes: self.changes.clone(), reply: identity.map(|id| (id, self.result.clone())) }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedRead {
    pub file: FileId,
    /// In file order, `count` bytes together.
    pub pieces: Vec<Piece>,
    pub count: u32,
    pub eof: bool,
    pub attributes: Attributes,
    pub at: Position,
}

impl PlannedRead {
    /// The answer, once the data of the pieces is there.
    #[expect(clippy::result_large_err, reason = "results are made once per request and moved")]
    pub fn result(&self, pieces: Vec<Bytes>) -> FileResult {
        Ok(FileOk::Data { pieces, count: self.count, eof: self.eof, attributes: self.attributes })
    }
}

/// The root directory as the format record makes it.
pub fn root_row(time: Timestamp) -> InodeRow {
    InodeRow {
        file: FileId::ROOT,
        kind: FileKind::Directory,
        mode: 0o755,
        links: 2,
        uid: 0,
        gid: 0,
        size: DIRECTORY_BYTES,
        used: 0,
        atime: time,
        mtime: time,
        ctime: time,
        parent: FileId::ROOT.inode,
        exclusive: None,
        changed_at: Position(FileId::ROOT.inode),
    }
}

/// What NFS shows of a row.
pub fn attributes(row: &InodeRow) -> Attributes {
    let used = match row.kind {
        FileKind::Regular => row.used,
        FileKind::Directory => DIRECTORY_BYTES,
        _ => 0,
    };
    Attributes {
        file: row.file,
        kind: row.kind,
        mode: row.mode,
        links: row.links,
        uid: row.uid,
        gid: row.gid,
        size: row.size,
        used,
        atime: row.atime,
        mtime: row.mtime,
        ctime: row.ctime,
    }
}

/// Decides one request. An error is the view's, never the client's: the volume must stop.
pub fn plan(view: &View, context: &PlanContext, request: &ClientRequest) -> Result<Planned, ViewError> {
    let mut planner = Planner {
        view,
        context,
        caller: &request.caller,
        now: view.next_time(context.wall),
        seen: Position(0),
        first: None,
        second: None,
        changes: Vec::new(),
    };
    let step = planner.dispatch(&request.request);
    planner.finish(step, request.request.changes())
}

/// Why an operation goes no further.
enum Stop {
    Refuse(FileError),
    View(ViewError),
}

impl From<FileError> for Stop {
    fn from(error: FileError) -> Stop {
        Stop::Refuse(error)
    }
}
impl From<ViewError> for Stop {
    fn from(error: ViewError) -> Stop {
        Stop::View(error)
    }
}

/// What an operation comes to; its changes are in the planner.
enum Step {
    Reply(FileOk),
    Record { kind: OpKind, payload: Bytes, stable: bool, ok: FileOk },
    Read(PlannedRead),
}

type Steps = Result<Step, Stop>;

/// A metadata record: always stable (RFC 1813, 4.7: only WRITE may be otherwise).
fn record(kind: OpKind, ok: FileOk) -> Steps {
    Ok(Step::Record { kind, payload: Bytes::new(), stable: true, ok })
}

/// One request being planned.
struct Planner<'a> {
    view: &'a View,
    context: &'a PlanContext,
    caller: &'a Caller,
    /// Stamp of everything that changes.
    now: Timestamp,
    /// The newest record that the answer depends on.
    seen: Position,
    /// File or directory of the request, and the second directory, as they are: for the attributes beside a refusal.
    first: Option<InodeRow>,
    second: Option<InodeRow>,
    changes: Vec<Change>,
}

impl Planner<'_> {
    fn dispatch(&mut self, request: &FileRequest) -> Steps {
        use FileRequest::*;
        match request {
            GetAttributes { file } => self.get_attributes(*file),
            SetAttributes { file, set, guard_ctime } => self.set_attributes(*file, set, *guard_ctime),
            Lookup { dir, name } => self.lookup(*dir, name),
            Access { file, mask } => self.access(*file, *mask),
            ReadLink { file } => self.read_link(*file),
            Read { file, offset, count } => self.read(*file, *offset, *count),
            Write { file, offset, data, stability } => self.write(*file, *offset, data, *stability),
            Create { dir, name, how } => self.create(*dir, name, how),
            MakeDirectory { dir, name, set } => self.make_directory(*dir, name, set),
            MakeSymlink { dir, name, target, set } => self.make_symlink(*dir, name, target, set),
            MakeNode { dir, name, kind, set } => self.make_node(*dir, name, *kind, set),
            Remove { dir, name } => self.remove(*dir, name),
            RemoveDirectory { dir, name } => self.remove_directory(*dir, name),
            Rename { from_dir, from_name, to_dir, to_name } => self.rename((*from_dir, from_name), (*to_dir, to_name)),
            Link { file, dir, name } => self.link(*file, *dir, name),
            ReadDirectory { dir, cookie, bytes_max, with_attributes } => {
                self.read_directory(*dir, *cookie, *bytes_max, *with_attributes)
            }
            FileSystemStat { file } => self.file_system_stat(*file),
            Commit { file, .. } => self.commit(*file),
        }
    }

    fn finish(self, step: Steps, changes: bool) -> Result<Planned, ViewError> {
        match step {
            Ok(Step::Record { kind, payload, stable, ok }) => {
                Ok(Planned::Record(PlannedRecord { kind, time: self.now, changes: self.changes, payload, stable, result: Ok(ok) }))
            }
            Ok(Step::Read(read)) => Ok(Planned::Read(PlannedRead { at: self.seen, ..read })),
            Ok(Step::Reply(ok)) => {
                // A request to change that finds nothing to do vouches for the change that was made before it.
                let durable = changes || (matches!(ok, FileOk::Committed { .. }) && !planted(Bug::CommitLies));
                Ok(Planned::Reply { result: Ok(ok), at: self.seen, durable })
            }
            Err(Stop::Refuse(error)) => {
                let failure = FileFailure { error, first: unchanged(&self.first), second: unchanged(&self.second) };
                Ok(Planned::Reply { result: Err(failure), at: self.seen, durable: false })
            }
            Err(Stop::View(error)) => Err(error),
        }
    }

    /// The row behind a handle. A handle whose file is gone is stale, which the whole history up to now says.
    fn row(&mut self, file: FileId) -> Result<InodeRow, Stop> {
        match self.view.inode(file.inode)? {
            Some(row) if row.file == file => {
                self.seen = self.seen.max(row.changed_at);
                Ok(row)
            }
            _ => {
                self.seen = self.view.point().position;
                Err(FileError::Stale.into())
            }
        }
    }

    /// The file of the request; its attributes go beside a refusal.
    fn file(&mut self, file: FileId) -> Result<InodeRow, Stop> {
        let row = self.row(file)?;
        self.first = Some(row.clone());
        Ok(row)
    }

    /// The directory of the request.
    fn directory(&mut self, dir: FileId) -> Result<InodeRow, Stop> {
        let row = self.file(dir)?;
        if row.kind == FileKind::Directory { Ok(row) } else { Err(FileError::NotDirectory.into()) }
    }

    /// The row that an entry points at: it must be there.
    fn entry_row(&mut self, file: FileId) -> Result<InodeRow, Stop> {
        match self.view.inode(file.inode)? {
            Some(row) if row.file == file => {
                self.seen = self.seen.max(row.changed_at);
                Ok(row)
            }
            // While a copy is mended by resync an entry may come before its file.
            _ if !self.view.complete() => Err(FileError::TryLater.into()),
            _ => Err(ViewError::Damaged(format!("an entry points at inode {}, which is not there", file.inode)).into()),
        }
    }

    /// The row as this record leaves it; its ctime tells that it changed.
    fn touched(&self, row: &InodeRow) -> InodeRow {
        InodeRow { ctime: self.now, changed_at: self.context.position, ..row.clone() }
    }

    /// A directory whose entries changed.
    fn changed_directory(&self, dir: &InodeRow) -> InodeRow {
        InodeRow { mtime: self.now, ..self.touched(dir) }
    }

    fn put(&mut self, row: InodeRow) {
        self.changes.push(Change::PutInode(row));
    }

    fn need_space(&self, bytes: u64) -> Result<(), Stop> {
        if self.context.space.available_bytes < bytes { Err(FileError::NoSpace.into()) } else { Ok(()) }
    }
}

fn before(row: &InodeRow) -> Before {
    Before { size: row.size, mtime: row.mtime, ctime: row.ctime }
}

fn wcc(old: &InodeRow, new: &InodeRow) -> Wcc {
    Wcc { before: Some(before(old)), after: Some(attributes(new)) }
}

fn unchanged(row: &Option<InodeRow>) -> Wcc {
    row.as_ref().map_or(Wcc::default(), |row| wcc(row, row))
}
