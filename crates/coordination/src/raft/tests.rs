//! The storage below openraft, by openraft's own suite and by what that suite does not ask: other people's files, damage, a
//! power cut, and messages that are garbage.

use super::disk::{Change, Disk, OpenError, Storage, encode, key};
use super::log::LogStore;
use super::machine::Machine;
use super::types::{Decision, Entry, LogId, Types, Vote};
use super::wire::{self, Reply, Request, WireError};
use bytes::Bytes;
use mainstay_cluster::{Actor, ClusterState, Command};
use mainstay_protocol::{ClusterId, NodeId, Timestamp};
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::TypeConfigExt;
use openraft::vote::RaftLeaderId;
use openraft::{EntryPayload, StorageError};
use redb::StorageBackend;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

const CLUSTER: ClusterId = ClusterId([3; 16]);
const NODE: NodeId = NodeId(1);

/// A disk that forgets what was not synced when the power fails. Handles of before the failure reach it no more.
#[derive(Clone, Debug, Default)]
struct PowerCut {
    sectors: Arc<Mutex<Sectors>>,
    generation: u64,
}

#[derive(Debug, Default)]
struct Sectors {
    current: Vec<u8>,
    synced: Vec<u8>,
    generation: u64,
    /// Writes that still succeed; then the disk is broken.
    writes_left: Option<u64>,
}

impl PowerCut {
    fn cut(&mut self) {
        let mut sectors = self.sectors.lock().unwrap();
        sectors.current = sectors.synced.clone();
        sectors.generation += 1;
        self.generation = sectors.generation;
    }
    fn break_after(&self, writes: u64) {
        self.sectors.lock().unwrap().writes_left = Some(writes);
    }
    fn storage(&self) -> Storage {
        Storage::Backend(Box::new(self.clone()))
    }
    fn powered(&self) -> io::Result<MutexGuard<'_, Sectors>> {
        let sectors = self.sectors.lock().unwrap();
        if sectors.generation == self.generation { Ok(sectors) } else { Err(io::Error::other("no power")) }
    }
}

impl StorageBackend for PowerCut {
    fn len(&self) -> io::Result<u64> {
        Ok(self.powered()?.current.len() as u64)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let sectors = self.powered()?;
        let from = sectors.current.get(offset as usize..offset as usize + out.len());
        out.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.powered()?.current.resize(len as usize, 0);
        Ok(())
    }
    fn sync_data(&self) -> io::Result<()> {
        let mut sectors = self.powered()?;
        sectors.synced = sectors.current.clone();
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut sectors = self.powered()?;
        if let Some(left) = sectors.writes_left.as_mut() {
            *left = left.checked_sub(1).ok_or_else(|| io::Error::other("the disk is broken"))?;
        }
        sectors.current[offset as usize..offset as usize + data.len()].copy_from_slice(data);
        Ok(())
    }
}

/// An opened store, closed when dropped so that it can be opened again.
struct Opened {
    disk: Disk,
    log: LogStore,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.disk.close();
        self.thread.take().map(|thread| thread.join());
    }
}

fn open(storage: Storage) -> Result<Opened, OpenError> {
    let (disk, contents, thread) = Disk::open(storage, CLUSTER, NODE)?;
    let log = LogStore::new(disk.clone(), &contents);
    let machine = Machine::new(disk.clone(), &contents);
    match (log, machine) {
        (Ok(log), Ok(_)) => Ok(Opened { disk, log, thread: Some(thread) }),
        (log, machine) => {
            disk.close();
            let _ = thread.join();
            Err(log.err().or(machine.err()).expect("one of them failed"))
        }
    }
}

fn id(term: u64, index: u64) -> LogId {
    LogId::new(openraft::impls::leader_id_adv::LeaderId::new(term, 1).to_committed(), index)
}

fn note(text: &str) -> Command {
    Command::Note { volume: None, text: text.into(), actor: Actor::Node(NODE), at: Timestamp::default() }
}

fn entry(index: u64, text: &str) -> Entry {
    Entry { log_id: id(1, index), payload: EntryPayload::Normal(Decision(note(text))) }
}

async fn append(log: &mut LogStore, entries: Vec<Entry>) -> io::Result<()> {
    let (done, flushed) = Types::oneshot();
    log.append(entries, IOFlushed::signal(done)).await?;
    flushed.await.expect("the writer always answers")
}

struct Builder;

impl StoreBuilder<Types, LogStore, Machine, Opened> for Builder {
    async fn build(&self) -> Result<(Opened, LogStore, Machine), StorageError<Types>> {
        let storage = Storage::Backend(Box::new(redb::backends::InMemoryBackend::new()));
        let (disk, contents, thread) = Disk::open(storage, CLUSTER, NODE).expect("memory opens");
        let log = LogStore::new(disk.clone(), &contents).expect("an empty file");
        let (machine, _) = Machine::new(disk.clone(), &contents).expect("an empty file");
        Ok((Opened { disk, log: log.clone(), thread: Some(thread) }, log, machine))
    }
}

#[tokio::test]
async fn the_storage_passes_openrafts_own_suite() {
    Suite::<Types, LogStore, Machine, Builder, Opened>::test_all(Builder).await.unwrap();
}

/// Everything that was reported durable is there after the power failed, in whatever order it was written.
#[tokio::test]
async fn what_was_reported_durable_survives_a_power_cut() {
    let mut power = PowerCut::default();
    let mut vote = Vote::new(0, 1);
    let (mut last, mut purged, mut unawaited_survived) = (0, 0, 0);
    for round in 1..40_u64 {
        let mut opened = open(power.storage()).unwrap();
        let state = opened.log.get_log_state().await.unwrap();
        // The entry that nobody waited for may be there or not.
        let found = state.last_log_id.map_or(0, |id| id.index);
        assert!(found == last || found == last + 1, "round {round}: {found}, not {last}");
        unawaited_survived += found - last;
        last = found;
        assert_eq!(state.last_purged_log_id.map_or(0, |id| id.index), purged);
        if round > 1 {
            assert_eq!(opened.log.read_vote().await.unwrap(), Some(vote));
        }
        let kept = opened.log.try_get_log_entries(..).await.unwrap();
        assert!(kept.iter().all(|kept| *kept == entry(kept.log_id.index, &format!("{}", kept.log_id.index))));
        vote = Vote::new(round, 1);
        opened.log.save_vote(&vote).await.unwrap();
        append(&mut opened.log, (last + 1..=last + round).map(|at| entry(at, &format!("{at}"))).collect()).await.unwrap();
        last += round;
        if round % 5 == 0 {
            last -= 2;
            opened.log.truncate_after(Some(id(1, last))).await.unwrap();
        }
        if round % 7 == 0 {
            purged = last - 3;
            opened.log.purge(id(1, purged)).await.unwrap();
        }
        let unawaited = entry(last + 1, &format!("{}", last + 1));
        opened.log.append([unawaited], IOFlushed::noop()).await.unwrap();
        power.cut();
    }
    println!("{unawaited_survived} of 39 entries that nobody waited for survived");
}

/// A disk that fails once is not trusted again: no later write is reported durable, though the disk might take it.
#[tokio::test]
async fn after_a_failed_write_nothing_is_reported_durable() {
    let power = PowerCut::default();
    let mut opened = open(power.storage()).unwrap();
    append(&mut opened.log, vec![entry(1, "1")]).await.unwrap();
    power.break_after(1);
    assert!(append(&mut opened.log, vec![entry(2, "2")]).await.is_err());
    power.break_after(u64::MAX);
    assert!(append(&mut opened.log, vec![entry(3, "3")]).await.is_err());
    assert!(opened.log.save_vote(&Vote::new(9, 1)).await.is_err());
    opened.disk.close();
    assert!(opened.log.save_vote(&Vote::new(9, 1)).await.is_err(), "closed");
}

#[test]
fn a_file_of_somebody_else_or_of_a_newer_version_is_refused() {
    let power = PowerCut::default();
    drop(open(power.storage()).unwrap());
    let other_cluster = Disk::open(power.storage(), ClusterId([4; 16]), NODE);
    assert!(matches!(other_cluster, Err(OpenError::OtherCluster { .. })));
    let other_node = Disk::open(power.storage(), CLUSTER, NodeId(2));
    assert!(matches!(other_node, Err(OpenError::OtherNode { found: NODE, .. })));

    let opened = open(power.storage()).unwrap();
    let (done, fate) = std::sync::mpsc::channel();
    let newer = Change::Set(key::IDENTITY, encode(&(2_u32, "whatever comes then")).unwrap());
    opened.disk.write(vec![newer], Box::new(move |result| done.send(result).unwrap()));
    fate.recv().unwrap().unwrap();
    drop(opened);
    assert!(matches!(open(power.storage()), Err(OpenError::NewerFormat { found: 2 })));
}

#[test]
fn a_file_in_use_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(Storage::Directory(directory.path().to_owned())).unwrap();
    assert!(matches!(open(Storage::Directory(directory.path().to_owned())), Err(OpenError::Locked)));
    drop(opened);
    drop(open(Storage::Directory(directory.path().to_owned())).unwrap());
}

/// A flipped bit anywhere is found or harmless; it never becomes another vote or entry, and never a panic of ours.
#[tokio::test]
async fn flipped_bits_and_cut_files_are_found() {
    let power = PowerCut::default();
    {
        let mut opened = open(power.storage()).unwrap();
        opened.log.save_vote(&Vote::new(5, 1)).await.unwrap();
        append(&mut opened.log, (1..=20).map(|at| entry(at, "some text to hit")).collect()).await.unwrap();
    }
    let sound = power.sectors.lock().unwrap().current.clone();
    let mut found = 0;
    let text = b"some text to hit";
    let places: Vec<usize> = sound.windows(text.len()).enumerate().filter(|(_, at)| at == text).map(|(at, _)| at).collect();
    for at in places {
        power.sectors.lock().unwrap().current = sound.clone();
        power.sectors.lock().unwrap().current[at] ^= 1;
        match open(power.storage()) {
            Err(OpenError::Damaged(_)) => found += 1,
            Err(other) => panic!("{other}"),
            // An old copy of a page that nothing refers to any more.
            Ok(mut opened) => {
                let entries = opened.log.try_get_log_entries(..).await.unwrap();
                assert!(entries.iter().all(|kept| *kept == entry(kept.log_id.index, "some text to hit")));
            }
        }
    }
    assert!(found >= 20, "{found} of 20 entries were hit");
}

#[test]
fn messages_survive_and_garbage_does_not_hurt() {
    let request = Request::Propose { decision: Decision(note("hello")), wait_ms: 10 };
    let bytes = wire::encode(CLUSTER, &request);
    assert!(matches!(
        wire::decode::<Request>(CLUSTER, &bytes),
        Ok(Request::Propose { decision, wait_ms: 10 }) if decision.0 == note("hello")
    ));
    assert_eq!(wire::decode::<Request>(ClusterId([9; 16]), &bytes).err(), Some(WireError::Cluster(CLUSTER)));
    assert_eq!(wire::decode::<Request>(CLUSTER, &bytes[..10]).err(), Some(WireError::Damaged));
    let mut newer = bytes.to_vec();
    newer[0] = 9;
    assert_eq!(wire::decode::<Request>(CLUSTER, &newer).err(), Some(WireError::Version(9)));
    let long = vec![1; wire::MESSAGE_BYTES_MAX + 1];
    assert_eq!(wire::decode::<Request>(CLUSTER, &long).err(), Some(WireError::Length(long.len())));

    let mut seed = 1_u64;
    for _ in 0..20_000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut broken = bytes.to_vec();
        let at = 17 + (seed >> 33) as usize % (broken.len() - 17);
        broken[at] = (seed >> 20) as u8;
        broken.truncate(broken.len() - (seed >> 50) as usize % 4);
        let _ = wire::decode::<Request>(CLUSTER, &broken);
        let _ = wire::decode::<Reply>(CLUSTER, &broken);
    }
}

/// Written with version 1 of the formats; must be readable for ever, whatever openraft version is below.
#[test]
fn stored_values_of_version_1_are_still_read() {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let vote = postcard::to_stdvec(&Vote::new_committed(7, 2)).unwrap();
    assert_eq!(hex(&vote), "070201");
    let log_id = postcard::to_stdvec(&id(300, 5)).unwrap();
    assert_eq!(hex(&log_id), "ac020105");
    let blank = postcard::to_stdvec(&Entry { log_id: id(1, 2), payload: EntryPayload::Blank }).unwrap();
    assert_eq!(hex(&blank), "01010200");
    let normal = postcard::to_stdvec(&entry(3, "x")).unwrap();
    assert_eq!(normal[..4], [1, 1, 3, 1]);
    assert_eq!(normal[5..], note("x").encode());
    let meta = super::types::SnapshotMeta { last_log_id: Some(id(1, 9)), ..Default::default() };
    let snapshot = postcard::to_stdvec(&(meta, Bytes::from_static(b"state"))).unwrap();
    assert_eq!(hex(&snapshot), "0101010900000000057374617465");
    assert!(ClusterState::decode(&ClusterState::default().encode()).is_ok(), "a snapshot may come before the first command");
}
