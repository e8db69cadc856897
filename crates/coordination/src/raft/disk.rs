//! The one redb file below Raft, and the one thread that writes it.
//!
//! All writes are serialized through this thread, as openraft demands of votes and log entries alike. Whatever has queued up
//! while a commit was being synced goes into the next commit together, so the cost of a sync is shared. After the first
//! failure nothing is written any more: a log with a hole is worse than a node that stopped.

use redb::{Database, Durability, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use mainstay_protocol::{ClusterId, NodeId};

/// Name of the file in the coordination directory.
pub const FILE_NAME: &str = "coordination.redb";
/// Version of the tables below. A newer file is refused, never guessed at.
pub const FORMAT: u32 = 1;
/// Jobs merged into one commit; bounds the time that the first of them waits.
const JOBS_PER_COMMIT_MAX: usize = 256;
/// redb's page cache. The log is mirrored in memory anyway, so the file is read once, at opening.
const CACHE_BYTES: usize = 4 << 20;
/// Bytes of xxh3-64 in front of every value.
const SUM_BYTES: usize = 8;

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");

/// Keys of the table `meta`.
pub mod key {
    pub const IDENTITY: &str = "identity";
    pub const VOTE: &str = "vote";
    pub const COMMITTED: &str = "committed";
    pub const PURGED: &str = "purged";
    pub const SNAPSHOT: &str = "snapshot";
}

/// Where the Raft state lives.
pub enum Storage {
    /// `coordination.redb` in this directory, made when it is missing.
    Directory(PathBuf),
    /// Any redb backend, e.g. memory or a simulated disk.
    Backend(Box<dyn StorageBackend>),
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{path}: {source}")]
    Directory { path: PathBuf, source: io::Error },
    #[error("the coordination file is in use by another process")]
    Locked,
    #[error("the coordination file belongs to cluster {found}, not {expected}")]
    OtherCluster { found: ClusterId, expected: ClusterId },
    #[error("the coordination file belongs to node {found}, not {expected}")]
    OtherNode { found: NodeId, expected: NodeId },
    #[error("the coordination file has format {found}, this version reads up to {FORMAT}: use the newer version")]
    NewerFormat { found: u32 },
    #[error("the coordination file is damaged: {0}")]
    Damaged(String),
    #[error("the coordination file cannot be opened: {0}")]
    Store(String),
}

/// Whose file this is; checked at every opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    cluster: ClusterId,
    node: NodeId,
}

/// One change of the file. Changes of one job, and jobs in their order, land atomically.
#[derive(Debug)]
pub enum Change {
    Set(&'static str, Vec<u8>),
    Clear(&'static str),
    Put(u64, Vec<u8>),
    /// Drop the entries at and after this index (a tail that another leader overruled).
    RemoveFrom(u64),
    /// Drop the entries up to and including this index (they are in the snapshot).
    RemoveTo(u64),
}

/// Told the fate of one job, on the writer's thread.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

enum Job {
    Write(Vec<Change>, Done),
    Close,
}

/// What the file held when it was opened, in encoded form.
pub struct Contents {
    pub meta: Vec<(String, Vec<u8>)>,
    /// Consecutive, ascending.
    pub log: Vec<(u64, Vec<u8>)>,
}

impl Contents {
    /// The decoded value of a key, if it was ever set.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, OpenError> {
        let found = self.meta.iter().find(|(name, _)| name == key);
        found.map(|(_, bytes)| postcard::from_bytes(bytes).map_err(|e| OpenError::Damaged(format!("{key}: {e}")))).transpose()
    }
}

/// Hands jobs to the writer thread. Cheap to clone; the file closes at [`Disk::close`] or with the last clone.
#[derive(Clone)]
pub struct Disk {
    jobs: Sender<Job>,
}

impl Disk {
    /// Opens or makes the file, checks that it is this node's, reads it whole, and starts the writer. Blocking.
    pub fn open(storage: Storage, cluster: ClusterId, node: NodeId) -> Result<(Disk, Contents, JoinHandle<()>), OpenError> {
        let database = open_database(storage)?;
        check_identity(&database, Identity { cluster, node })?;
        let contents = read_contents(&database)?;
        let (jobs, queue) = channel();
        let writer = std::thread::Builder::new().name("coordination".into());
        let thread = writer.spawn(move || write_until_closed(&database, &queue)).map_err(|e| OpenError::Store(e.to_string()))?;
        Ok((Disk { jobs }, contents, thread))
    }

    /// Reads the file of a node that does not run. Blocking; changes nothing in it.
    ///
    /// # Errors
    /// As [`Disk::open`]; and there must be a file.
    pub fn read(directory: &Path, cluster: ClusterId, node: NodeId) -> Result<Contents, OpenError> {
        let file = directory.join(FILE_NAME);
        std::fs::metadata(&file).map_err(|source| OpenError::Directory { path: file, source })?;
        let database = open_database(Storage::Directory(directory.to_owned()))?;
        check_identity(&database, Identity { cluster, node })?;
        read_contents(&database)
    }

    /// Queues a job. `done` is called exactly once, also when the writer is gone.
    pub fn write(&self, changes: Vec<Change>, done: Done) {
        if let Err(unsent) = self.jobs.send(Job::Write(changes, done))
            && let Job::Write(_, done) = unsent.0
        {
            done(Err(closed()));
        }
    }

    /// Queues a job and waits until it is durable.
    pub async fn write_and_wait(&self, changes: Vec<Change>) -> io::Result<()> {
        let (answer, fate) = tokio::sync::oneshot::channel();
        self.write(changes, Box::new(move |result| drop(answer.send(result))));
        fate.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Lets the writer finish what is queued and close the file; later jobs fail.
    pub fn close(&self) {
        let _ = self.jobs.send(Job::Close);
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the coordination file is closed")
}

/// A value as it lies in the file: its xxh3-64, then its postcard encoding.
pub fn encode<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let body = postcard::to_stdvec(value).map_err(io::Error::other)?;
    Ok(seal(&body))
}

/// Puts the checksum in front.
pub fn seal(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(SUM_BYTES + body.len());
    out.extend_from_slice(&xxhash_rust::xxh3::xxh3_64(body).to_le_bytes());
    out.extend_from_slice(body);
    out
}

fn unseal(value: &[u8]) -> Result<&[u8], OpenError> {
    let (sum, body) = value.split_at_checked(SUM_BYTES).ok_or_else(|| OpenError::Damaged("a value is cut off".into()))?;
    if xxhash_rust::xxh3::xxh3_64(body).to_le_bytes() != sum {
        return Err(OpenError::Damaged("a checksum does not match".into()));
    }
    Ok(body)
}

/// The file as the medium holds it: after a failed sync the kernel's cache shows what the medium never got, and calls it clean. A
/// sync that fails here is one that failed before.
fn reread(path: &Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::Directory { path: path.to_owned(), source };
    match std::fs::File::options().read(true).write(true).open(path) {
        Ok(file) => {
            let _ = file.sync_data();
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).map_err(|error| failed(error.into()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

fn open_database(storage: Storage) -> Result<Database, OpenError> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    let opened = match storage {
        Storage::Directory(path) => {
            std::fs::create_dir_all(&path).map_err(|source| OpenError::Directory { path: path.clone(), source })?;
            reread(&path.join(FILE_NAME))?;
            let database = builder.create(path.join(FILE_NAME));
            sync_directory(&path)?;
            database
        }
        Storage::Backend(backend) => builder.create_with_backend(Boxed(backend)),
    };
    opened.map_err(|error| match error {
        redb::DatabaseError::DatabaseAlreadyOpen => OpenError::Locked,
        redb::DatabaseError::Storage(redb::StorageError::Corrupted(what)) => OpenError::Damaged(what),
        other => OpenError::Store(other.to_string()),
    })
}

/// Makes the file's name durable; a vote that is forgotten with its file could be given twice.
fn sync_directory(path: &Path) -> Result<(), OpenError> {
    let sync = || std::fs::File::open(path)?.sync_all();
    sync().map_err(|source| OpenError::Directory { path: path.to_path_buf(), source })
}

/// Compares the file's owner with us, or signs a new file.
fn check_identity(database: &Database, own: Identity) -> Result<(), OpenError> {
    let transaction = database.begin_write().map_err(store)?;
    {
        let mut meta = transaction.open_table(META).map_err(store)?;
        transaction.open_table(LOG).map_err(store)?;
        let found = meta.get(key::IDENTITY).map_err(store)?.map(|value| value.value().to_vec());
        match found {
            Some(value) => compare_identity(unseal(&value)?, own)?,
            None => {
                let value = encode(&(FORMAT, own)).map_err(|e| OpenError::Store(e.to_string()))?;
                meta.insert(key::IDENTITY, value.as_slice()).map_err(store)?;
            }
        }
    }
    transaction.commit().map_err(store)
}

fn compare_identity(body: &[u8], own: Identity) -> Result<(), OpenError> {
    let damaged = |e: postcard::Error| OpenError::Damaged(format!("identity: {e}"));
    // The format number stands first and alone, so that it can be read whatever a newer version put behind it.
    let (format, rest) = postcard::take_from_bytes::<u32>(body).map_err(damaged)?;
    if format > FORMAT {
        return Err(OpenError::NewerFormat { found: format });
    }
    let found: Identity = postcard::from_bytes(rest).map_err(damaged)?;
    if found.cluster != own.cluster {
        return Err(OpenError::OtherCluster { found: found.cluster, expected: own.cluster });
    }
    if found.node != own.node {
        return Err(OpenError::OtherNode { found: found.node, expected: own.node });
    }
    Ok(())
}

fn read_contents(database: &Database) -> Result<Contents, OpenError> {
    let transaction = database.begin_read().map_err(store)?;
    let mut contents = Contents { meta: Vec::new(), log: Vec::new() };
    for item in transaction.open_table(META).map_err(store)?.iter().map_err(store)? {
        let (name, value) = item.map_err(store)?;
        contents.meta.push((name.value().to_owned(), unseal(value.value())?.to_vec()));
    }
    for item in transaction.open_table(LOG).map_err(store)?.iter().map_err(store)? {
        let (index, value) = item.map_err(store)?;
        if contents.log.last().is_some_and(|(last, _)| last + 1 != index.value()) {
            return Err(OpenError::Damaged(format!("entries are missing before {}", index.value())));
        }
        contents.log.push((index.value(), unseal(value.value())?.to_vec()));
    }
    Ok(contents)
}

fn store(error: impl Into<redb::Error>) -> OpenError {
    match error.into() {
        redb::Error::Corrupted(what) => OpenError::Damaged(what),
        other => OpenError::Store(other.to_string()),
    }
}

/// The writer thread: takes what has queued up, commits it once, tells everybody.
fn write_until_closed(database: &Database, queue: &Receiver<Job>) {
    let mut failure: Option<io::Error> = None;
    let mut open = true;
    while open && let Ok(first) = queue.recv() {
        let mut changes = Vec::new();
        let mut waiting = Vec::new();
        let mut next = Some(first);
        while let Some(job) = next {
            match job {
                Job::Write(more, done) => {
                    changes.extend(more);
                    waiting.push(done);
                }
                Job::Close => {
                    open = false;
                    break;
                }
            }
            next = if waiting.len() < JOBS_PER_COMMIT_MAX { queue.try_recv().ok() } else { None };
        }
        if failure.is_none() && !changes.is_empty() {
            failure = commit(database, &changes).err().map(|e| io::Error::other(e.to_string()));
        }
        let fate = || failure.as_ref().map_or(Ok(()), |e| Err(io::Error::other(e.to_string())));
        waiting.into_iter().for_each(|done| done(fate()));
    }
}

/// One durable transaction.
fn commit(database: &Database, changes: &[Change]) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    {
        let mut meta = transaction.open_table(META)?;
        let mut log = transaction.open_table(LOG)?;
        for change in changes {
            match change {
                Change::Set(name, value) => drop(meta.insert(*name, value.as_slice())?),
                Change::Clear(name) => drop(meta.remove(*name)?),
                Change::Put(index, value) => drop(log.insert(*index, value.as_slice())?),
                Change::RemoveFrom(index) => log.retain_in(*index.., |_, _| false)?,
                Change::RemoveTo(index) => log.retain_in(..=*index, |_, _| false)?,
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

/// redb takes a concrete backend; ours is chosen at run time.
#[derive(Debug)]
struct Boxed(Box<dyn StorageBackend>);

impl StorageBackend for Boxed {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
    fn close(&self) -> io::Result<()> {
        self.0.close()
    }
}
