//! A node's data directory: who it is, what it has promised, and that nobody else uses it.
//!
//! ```text
//! identity.toml    format, cluster, node id, name, kind        written once, at init or join
//! lock             held (flock) by the running daemon
//! incarnation      one number, raised durably at every start
//! promises/vN      the newest epoch promised for volume N (R2)
//! keys/            certificate and key of the node, the authority's certificate; its key on the first node. 0600 in a 0700 directory
//! coordination/    the embedded consensus' log and snapshots; after a forced quorum coordination-ID/, and this one as it was
//! volumes/vN/      one volume's segments and view
//! ```

use mainstay_protocol::{ClusterId, Epoch, Incarnation, NodeId, VolumeId};
use mainstay_replica::StoredPromise;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The layout above. A directory with a higher number was written by a newer Mainstay. 2: forced quorums.
pub const DIRECTORY_FORMAT: u32 = 2;
const IDENTITY: &str = "identity.toml";

/// Whether the node holds copies of volumes, or votes only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    FileServer,
    Witness,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub format: u32,
    /// Hexadecimal.
    pub cluster: String,
    pub cluster_name: String,
    pub node: u16,
    pub name: String,
    pub kind: Kind,
    /// The node that `init` made: it founds the consensus group at its first start.
    pub founder: bool,
    /// The consensus group's id since a quorum was forced, hexadecimal. None: it is the cluster's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

impl Identity {
    pub fn node_id(&self) -> NodeId {
        NodeId(self.node)
    }

    pub fn cluster_id(&self) -> Option<ClusterId> {
        parse_cluster_id(&self.cluster)
    }

    /// What the consensus group's messages and files are marked with.
    pub fn group_id(&self) -> Option<ClusterId> {
        parse_cluster_id(self.group.as_ref().unwrap_or(&self.cluster))
    }
}

pub fn parse_cluster_id(text: &str) -> Option<ClusterId> {
    crate::hex::decode(text)?.try_into().ok().map(ClusterId)
}

#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    #[error("{path} is not a node's directory yet: run `mainstay init` for a new cluster or `mainstay join` for an existing one")]
    NotInitialised { path: PathBuf },
    #[error("{path} holds something else ({entry}): give an empty or new directory")]
    SomethingElse { path: PathBuf, entry: String },
    #[error("{path} belongs to node {name} of cluster {cluster} already")]
    Taken { path: PathBuf, name: String, cluster: String },
    #[error("{path} was written by a newer Mainstay (directory format {found}; this one knows {DIRECTORY_FORMAT})")]
    Newer { path: PathBuf, found: u32 },
    #[error("{path} belongs to node {found:?}, but node.toml says {wanted:?}")]
    OtherNode { path: PathBuf, found: String, wanted: String },
    #[error("{path} is in use by another mainstay process")]
    Locked { path: PathBuf },
    #[error("{path} is damaged: {message}")]
    Damaged { path: PathBuf, message: String },
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

impl DirectoryError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> DirectoryError + use<> {
        let path = path.to_owned();
        move |source| DirectoryError::Io { path, source }
    }
}

/// Directory of [`crate::event_log`] in a node's directory.
pub const EVENTS: &str = "events";

/// An opened and locked directory. The lock ends with the process.
#[derive(Debug)]
pub struct Directory {
    root: PathBuf,
    pub identity: Identity,
    _lock: File,
}

impl Directory {
    /// Refuses unless `root` is missing or empty, so that nothing of somebody else's is ever overwritten.
    pub fn check_vacant(root: &Path) -> Result<(), DirectoryError> {
        let entries = match fs::read_dir(root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(DirectoryError::io(root))?,
        };
        let Some(entry) = entries.flatten().next() else { return Ok(()) };
        match read_identity(root) {
            Ok(identity) => Err(DirectoryError::Taken { path: root.into(), name: identity.name, cluster: identity.cluster_name }),
            Err(newer @ DirectoryError::Newer { .. }) => Err(newer),
            Err(_) => {
                let entry = entry.file_name().to_string_lossy().into_owned();
                Err(DirectoryError::SomethingElse { path: root.into(), entry })
            }
        }
    }

    /// Makes the layout. The identity is written last, so an interrupted `init` leaves no half-made node behind that starts.
    pub fn create(root: &Path, identity: &Identity, keys: &[(&str, &str)]) -> Result<(), DirectoryError> {
        Directory::check_vacant(root)?;
        let coordination = coordination_name(identity);
        for dir in ["", "keys", "promises", &coordination, "volumes"] {
            let path = root.join(dir);
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(DirectoryError::io(&path))?;
        }
        for (name, pem) in keys {
            let path = root.join("keys").join(name);
            write_atomically(&path, pem.as_bytes()).map_err(DirectoryError::io(&path))?;
        }
        let text = toml::to_string(identity).expect("plain fields always encode");
        write_atomically(&root.join(IDENTITY), text.as_bytes()).map_err(DirectoryError::io(root))
    }

    /// Who the directory belongs to, without locking it.
    pub fn read(root: &Path) -> Result<Identity, DirectoryError> {
        read_identity(root)
    }

    pub fn open(root: &Path, name: &str) -> Result<Directory, DirectoryError> {
        let identity = read_identity(root)?;
        if identity.name != name {
            return Err(DirectoryError::OtherNode { path: root.into(), found: identity.name, wanted: name.into() });
        }
        let path = root.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(DirectoryError::io(&path))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            // Read again: who held the lock may have changed it ([`Directory::change_group`]).
            Ok(()) => Ok(Directory { root: root.into(), identity: read_identity(root)?, _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(DirectoryError::Locked { path: root.into() }),
            Err(error) => Err(DirectoryError::Io { path, source: error.into() }),
        }
    }

    /// Raises the incarnation and makes it durable before it is used (R3). The wall clock is taken in so that it also rises
    /// after the disk, and with it the stored number, was lost.
    pub fn raise_incarnation(&self, wall_ms: i64) -> Result<Incarnation, DirectoryError> {
        let path = self.root.join("incarnation");
        let stored = match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse::<u64>().map_err(|_| DirectoryError::Damaged {
                path: path.clone(),
                message: format!("{:?} is not a number; remove the file to go on from the clock", text.trim()),
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(DirectoryError::Io { path, source: error }),
        };
        let next = (stored + 1).max(wall_ms.max(0) as u64);
        write_atomically(&path, format!("{next}\n").as_bytes()).map_err(DirectoryError::io(&path))?;
        Ok(Incarnation(next))
    }

    pub fn promises(&self) -> Result<Promises, DirectoryError> {
        Promises::open(self.root.join("promises"))
    }

    pub fn key_path(&self, name: &str) -> PathBuf {
        self.root.join("keys").join(name)
    }

    pub fn read_key(&self, name: &str) -> Result<String, DirectoryError> {
        let path = self.key_path(name);
        fs::read_to_string(&path).map_err(DirectoryError::io(&path))
    }

    pub fn coordination(&self) -> PathBuf {
        self.root.join(coordination_name(&self.identity))
    }

    /// From the next start on this node belongs to another consensus group. One rename: before it the old one, after it the new.
    pub fn change_group(&mut self, group: ClusterId) -> Result<(), DirectoryError> {
        let identity = Identity { group: Some(group.to_string()), format: DIRECTORY_FORMAT, ..self.identity.clone() };
        let text = toml::to_string(&identity).expect("plain fields always encode");
        write_atomically(&self.root.join(IDENTITY), text.as_bytes()).map_err(DirectoryError::io(&self.root))?;
        self.identity = identity;
        Ok(())
    }

    pub fn volume(&self, volume: VolumeId) -> PathBuf {
        self.root.join("volumes").join(volume.to_string())
    }

    /// Copies that were removed from a volume: kept until a person deletes them.
    pub fn removed(&self) -> PathBuf {
        self.root.join("removed")
    }

    /// All audit events, kept for people ([`crate::event_log`]).
    pub fn events(&self) -> PathBuf {
        self.root.join(EVENTS)
    }

    pub fn root(&self) -> &Path {
        &self.root
    }
}

fn coordination_name(identity: &Identity) -> String {
    match &identity.group {
        None => "coordination".into(),
        Some(group) => format!("coordination-{}", group.get(..8).unwrap_or(group)),
    }
}

fn read_identity(root: &Path) -> Result<Identity, DirectoryError> {
    let path = root.join(IDENTITY);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing_identity(root)),
        other => other.map_err(DirectoryError::io(&path))?,
    };
    let damaged = |message: String| DirectoryError::Damaged { path: path.clone(), message };
    // The format first: a newer layout may have an identity that this version cannot read.
    let table: toml::Table = toml::from_str(&text).map_err(|error: toml::de::Error| damaged(error.message().into()))?;
    let found = table.get("format").and_then(toml::Value::as_integer).ok_or_else(|| damaged("no format number".into()))?;
    if found > DIRECTORY_FORMAT as i64 {
        return Err(DirectoryError::Newer { path: root.into(), found: found as u32 });
    }
    let identity: Identity = toml::from_str(&text).map_err(|error: toml::de::Error| damaged(error.message().into()))?;
    if identity.cluster_id().is_none() || identity.group_id().is_none() || identity.node == 0 {
        return Err(damaged("cluster or node is not an id".into()));
    }
    Ok(identity)
}

fn missing_identity(root: &Path) -> DirectoryError {
    let entry = fs::read_dir(root).ok().and_then(|mut entries| entries.next()).and_then(Result::ok);
    match entry {
        Some(entry) => DirectoryError::SomethingElse { path: root.into(), entry: entry.file_name().to_string_lossy().into_owned() },
        None => DirectoryError::NotInitialised { path: root.into() },
    }
}

/// Written to a temporary name, synced, renamed, and the directory synced: after a crash the old or the new content, never a mix.
/// Mode 0600.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    let temporary = dir.join(name);
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(dir)?.sync_all()
}

/// The promises of R2, one small file per volume. A file that cannot be read is an error and never a zero: an unknown promise
/// must not become a broken one.
#[derive(Debug)]
pub struct Promises {
    dir: PathBuf,
    stored: BTreeMap<VolumeId, StoredPromise>,
}

impl Promises {
    pub fn open(dir: PathBuf) -> Result<Promises, DirectoryError> {
        let mut stored = BTreeMap::new();
        for entry in fs::read_dir(&dir).map_err(DirectoryError::io(&dir))? {
            let path = entry.map_err(DirectoryError::io(&dir))?.path();
            let Some(volume) = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix('v')) else {
                continue; // a temporary file that a crash left
            };
            let damaged = |message: &str| DirectoryError::Damaged { path: path.clone(), message: message.into() };
            let volume = volume.parse().map(VolumeId).map_err(|_| damaged("not a volume's promise"))?;
            let text = fs::read_to_string(&path).map_err(DirectoryError::io(&path))?;
            stored.insert(volume, parse_promise(&text).ok_or_else(|| damaged("the promise cannot be read"))?);
        }
        let mut promises = Promises { dir, stored };
        // What was read may be in the kernel's cache only, if the sync of an earlier process failed.
        for (volume, promise) in promises.all() {
            promises.store(volume, promise).map_err(DirectoryError::io(&promises.dir))?;
        }
        Ok(promises)
    }

    pub fn get(&self, volume: VolumeId) -> StoredPromise {
        self.stored.get(&volume).copied().unwrap_or_default()
    }

    pub fn all(&self) -> BTreeMap<VolumeId, StoredPromise> {
        self.stored.clone()
    }

    /// Durable on return. The caller keeps the order in which the core asked: a promise whose promotion was called off is
    /// replaced by a lower one.
    pub fn store(&mut self, volume: VolumeId, promise: StoredPromise) -> io::Result<()> {
        write_atomically(&self.dir.join(volume.to_string()), promise_text(promise).as_bytes())?;
        self.stored.insert(volume, promise);
        Ok(())
    }
}

fn promise_text(promise: StoredPromise) -> String {
    let numbers = format!("{} {}", promise.epoch.0, promise.version);
    let crc = mainstay_protocol::record::crc32c(numbers.as_bytes());
    format!("{numbers} {crc:08x}\n")
}

fn parse_promise(text: &str) -> Option<StoredPromise> {
    let (numbers, crc) = text.trim_end().rsplit_once(' ')?;
    let sound = u32::from_str_radix(crc, 16).ok()? == mainstay_protocol::record::crc32c(numbers.as_bytes());
    let (epoch, version) = numbers.split_once(' ')?;
    sound.then(|| Some(StoredPromise { epoch: Epoch(epoch.parse().ok()?), version: version.parse().ok()? }))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_dir::TestDir;
    use std::os::unix::fs::PermissionsExt;

    fn identity() -> Identity {
        Identity {
            format: DIRECTORY_FORMAT,
            cluster: ClusterId([7; 16]).to_string(),
            cluster_name: "shop".into(),
            node: 1,
            name: "a".into(),
            kind: Kind::FileServer,
            founder: true,
            group: None,
        }
    }

    #[test]
    fn a_directory_is_made_locked_and_its_keys_are_private() {
        let dir = TestDir::new("directory");
        let root = dir.path().join("a");
        Directory::create(&root, &identity(), &[("node.key", "secret")]).unwrap();
        let open = Directory::open(&root, "a").unwrap();
        assert_eq!(open.identity, identity());
        assert_eq!(fs::metadata(open.key_path("node.key")).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(Directory::open(&root, "a"), Err(DirectoryError::Locked { .. })));
        drop(open);
        assert!(matches!(Directory::open(&root, "b"), Err(DirectoryError::OtherNode { .. })));
        assert!(matches!(Directory::create(&root, &identity(), &[]), Err(DirectoryError::Taken { .. })));
    }

    #[test]
    fn other_content_and_newer_formats_are_told_apart() {
        let dir = TestDir::new("directory");
        assert!(matches!(Directory::open(dir.path(), "a"), Err(DirectoryError::NotInitialised { .. })));
        fs::write(dir.path().join("holiday.jpg"), "x").unwrap();
        let message = Directory::open(dir.path(), "a").unwrap_err().to_string();
        assert!(message.contains("something else (holiday.jpg)"), "{message}");
        assert!(matches!(Directory::create(dir.path(), &identity(), &[]), Err(DirectoryError::SomethingElse { .. })));
        fs::write(dir.path().join(IDENTITY), "format = 9\nshape = \"unknown\"\n").unwrap();
        assert!(matches!(Directory::open(dir.path(), "a"), Err(DirectoryError::Newer { found: 9, .. })));
        assert!(matches!(Directory::create(dir.path(), &identity(), &[]), Err(DirectoryError::Newer { found: 9, .. })));
        fs::write(dir.path().join(IDENTITY), "format = 1\ncluster = \"zz\"\n").unwrap();
        assert!(matches!(Directory::open(dir.path(), "a"), Err(DirectoryError::Damaged { .. })));
    }

    #[test]
    fn the_incarnation_rises_whatever_the_clock_says() {
        let dir = TestDir::new("directory");
        let root = dir.path().join("a");
        Directory::create(&root, &identity(), &[]).unwrap();
        let open = Directory::open(&root, "a").unwrap();
        assert_eq!(open.raise_incarnation(1_000).unwrap(), Incarnation(1_000));
        assert_eq!(open.raise_incarnation(-5).unwrap(), Incarnation(1_001), "the clock jumped back");
        assert_eq!(open.raise_incarnation(5_000).unwrap(), Incarnation(5_000));
        fs::write(root.join("incarnation"), "x").unwrap();
        assert!(matches!(open.raise_incarnation(1), Err(DirectoryError::Damaged { .. })));
    }

    #[test]
    fn promises_survive_and_damage_is_no_zero() {
        let dir = TestDir::new("promises");
        let promise = |epoch, version| StoredPromise { epoch: Epoch(epoch), version };
        let mut promises = Promises::open(dir.path().into()).unwrap();
        assert_eq!(promises.get(VolumeId(3)), promise(0, 0));
        promises.store(VolumeId(3), promise(7, 40)).unwrap();
        promises.store(VolumeId(3), promise(6, 41)).unwrap();
        assert_eq!(promises.get(VolumeId(3)), promise(6, 41), "called off");
        fs::write(dir.path().join(".v3.new"), "half").unwrap();
        assert_eq!(Promises::open(dir.path().into()).unwrap().get(VolumeId(3)), promise(6, 41));
        for bad in ["", "7", "7 8", "8 9 00000000\n", "7 9 zz\n"] {
            fs::write(dir.path().join("v3"), bad).unwrap();
            assert!(matches!(Promises::open(dir.path().into()), Err(DirectoryError::Damaged { .. })), "{bad:?}");
        }
    }
}
