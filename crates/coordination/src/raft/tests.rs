//! The storage below openraft, by openraft's own suite and by what that suite does not ask: other people's files, damage, a
//! power cut, and messages that are garbage.

use super::disk::{Change, Disk, OpenError, Storage, encode, key};
use super::log::LogStore;
use super::machine::{Machine, Snapshot};
use super::network::{Caller, Confirmed, Links};
use super::types::{Decision, Entry, LogId, SnapshotMeta, StoredMembership, Types, Vote};
use super::wire::{self, CHUNK_BYTES_MAX, Chunk, ChunkReply, Reply, Request, WireError};
use super::{Config, ProposeError, Raft, Role, StartError, Transport, TransportError, TransportFuture};
use bytes::Bytes;
use mainstay_cluster::limits::COMMAND_BYTES_MAX;
use mainstay_cluster::{Actor, ClusterState, Command};
use mainstay_protocol::{ClusterId, NodeId, Timestamp};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{AppendEntriesRequest, SnapshotResponse, VoteRequest};
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::TypeConfigExt;
use openraft::vote::RaftLeaderId;
use openraft::{EmptyNode, EntryPayload, Membership, StorageError};
use redb::StorageBackend;
use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

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
    /// Nothing is written or read until the sender is dropped.
    fn hang(&self) -> std::sync::mpsc::Sender<()> {
        let (sectors, (release, released)) = (self.sectors.clone(), std::sync::mpsc::channel::<()>());
        let (hanging, hangs) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let _held = sectors.lock().unwrap();
            hanging.send(()).unwrap();
            let _ = released.recv();
        });
        hangs.recv().unwrap();
        release
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

    let append = AppendEntriesRequest {
        vote: Vote::new_committed(3, 1),
        prev_log_id: Some(id(1, 1)),
        entries: vec![entry(2, "a"), entry(3, "b")],
        leader_commit: None,
    };
    let vote = Request::Vote(VoteRequest::new(Vote::new(4, 2), Some(id(1, 3))));
    let messages = [request, Request::Append(append), vote, Request::Snapshot(chunks(b"a whole snapshot", 4).remove(1))];
    let mut random = 1_u64;
    for message in messages {
        let bytes = wire::encode(CLUSTER, &message);
        for _ in 0..10_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let mut broken = bytes.to_vec();
            let at = 17 + (random >> 33) as usize % (broken.len() - 17);
            broken[at] = (random >> 20) as u8;
            broken.truncate(broken.len() - (random >> 50) as usize % 4);
            let _ = wire::decode::<Request>(CLUSTER, &broken);
            let _ = wire::decode::<Reply>(CLUSTER, &broken);
        }
    }
}

/// Reaches nobody.
struct Nowhere;

impl Transport for Nowhere {
    fn call(&self, to: NodeId, _request: Bytes) -> TransportFuture<'_> {
        Box::pin(async move { Err(TransportError::NotSent(format!("no way to {to}"))) })
    }
}

async fn start(storage: Storage) -> Raft {
    Raft::start(Config::new(NODE, CLUSTER, storage), Arc::new(Nowhere)).await.unwrap()
}

const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_node_whose_disk_fails_stops_says_so_and_acknowledges_nothing() {
    let power = PowerCut::default();
    let raft = start(power.storage()).await;
    raft.initialize().await.unwrap();
    // Refused, since there is no cluster yet, but decided: the disk took it.
    assert!(matches!(raft.propose(note("1"), LIMIT).await, Err(ProposeError::Refused(_))));
    power.break_after(0);
    let told = raft.propose(note("2"), LIMIT).await;
    assert!(matches!(told, Err(ProposeError::Unknown(_) | ProposeError::Unavailable(_))), "{told:?}");
    let why = raft.failed().await;
    assert!(why.contains("disk is broken"), "{why}");
    let health = raft.health();
    assert_eq!((health.role, health.quorum, health.failed), (Role::Stopped, false, Some(why)));
    raft.stop().await;
}

/// Were it present for those who ask and not for appends, leadership would be moved for its sake again and again.
#[tokio::test]
async fn a_node_is_present_when_its_disk_is() {
    let power = PowerCut::default();
    let raft = start(power.storage()).await;
    raft.initialize().await.unwrap();
    let present = async || matches!(raft.shared.serve(Request::Present).await, Reply::Present);
    assert!(present().await);
    let hanging = power.hang();
    let proposing = raft.clone();
    let proposal = tokio::spawn(async move { proposing.propose(note("slow"), LIMIT).await });
    let mut asked = 0;
    while present().await {
        asked += 1;
        assert!(asked < 10_000, "its disk hangs, and it is still present");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(hanging);
    assert!(matches!(proposal.await.unwrap(), Err(ProposeError::Refused(_))), "it was only slow");
    assert!(present().await);
    power.break_after(0);
    let _ = raft.propose(note("never"), LIMIT).await;
    raft.failed().await;
    assert!(!present().await);
    raft.stop().await;
}

#[test]
fn leadership_moves_away_only_from_who_has_led_for_a_while_and_not_often() {
    use super::reach::{PAUSE_ELECTIONS, Pace, SETTLED_ELECTIONS};
    let election = Duration::from_millis(800);
    let begin = tokio::time::Instant::now();
    let at = |elections: u32| begin + election * elections;
    let mut metrics = super::Metrics::new_initial(1);
    let mut pace = Pace::new(election);
    assert!(!pace.allows(&metrics, at(100)), "it does not lead");
    metrics.state = openraft::ServerState::Leader;
    metrics.current_term = 5;
    assert!(!pace.allows(&metrics, at(100)), "it leads only now");
    assert!(!pace.allows(&metrics, at(99 + SETTLED_ELECTIONS)));
    assert!(pace.allows(&metrics, at(100 + SETTLED_ELECTIONS)));
    metrics.current_term = 6;
    assert!(!pace.allows(&metrics, at(100 + SETTLED_ELECTIONS)), "in between it did not lead");
    assert!(pace.allows(&metrics, at(100 + 2 * SETTLED_ELECTIONS)));
    pace.moved(at(110));
    assert!(!pace.allows(&metrics, at(109 + PAUSE_ELECTIONS)), "it moved leadership not long ago");
    assert!(pace.allows(&metrics, at(110 + PAUSE_ELECTIONS)));
}

#[tokio::test]
async fn settings_that_contradict_each_other_are_refused() {
    let mut config = Config::new(NODE, CLUSTER, PowerCut::default().storage());
    config.timing.election_ms_min = config.timing.heartbeat_ms;
    assert!(matches!(Raft::start(config, Arc::new(Nowhere)).await, Err(StartError::Config(_))));
}

#[tokio::test]
async fn requests_to_a_node_without_members_are_answered_and_wait_in_bounds() {
    let raft = start(PowerCut::default().storage()).await;
    let told = raft.propose(note("nobody leads"), Duration::from_millis(200)).await;
    assert!(matches!(told, Err(ProposeError::Unavailable(_))), "{told:?}");
    assert!(raft.read(Duration::from_millis(200)).await.is_err());
    assert!(raft.add_voter(NodeId(2), Duration::from_millis(200)).await.is_err());
    let long =
        Command::Note { volume: None, text: "x".repeat(COMMAND_BYTES_MAX), actor: Actor::Node(NODE), at: Timestamp::default() };
    assert!(matches!(raft.propose(long, LIMIT).await, Err(ProposeError::Unavailable(_))));
    let reply = raft.handle(b"garbage").await;
    assert!(matches!(wire::decode::<Reply>(CLUSTER, &reply), Ok(Reply::Failed(_))));
    raft.stop().await;
}

/// A snapshot in pieces, as a leader of term 7 sends it.
fn chunks(whole: &[u8], bytes: usize) -> Vec<Chunk> {
    let membership = StoredMembership::new(Some(id(1, 1)), Membership::new_with_defaults(vec![BTreeSet::from([1, 2])], []));
    let meta = SnapshotMeta { last_log_id: Some(id(1, 9)), last_membership: membership };
    let chunk = |(nth, data): (usize, &[u8])| Chunk {
        vote: Vote::new_committed(7, 2),
        meta: meta.clone(),
        total_bytes: whole.len() as u64,
        sum: xxhash_rust::xxh3::xxh3_64(whole),
        offset: (nth * bytes) as u64,
        data: Bytes::copy_from_slice(data),
    };
    whole.chunks(bytes).enumerate().map(chunk).collect()
}

fn copy(chunk: &Chunk) -> Chunk {
    Chunk { meta: chunk.meta.clone(), data: chunk.data.clone(), ..*chunk }
}

#[tokio::test]
async fn a_snapshot_arrives_in_pieces_whatever_is_lost_repeated_or_broken() {
    let raft = start(PowerCut::default().storage()).await;
    let receive = async |chunk: Chunk| raft.shared.serve(Request::Snapshot(chunk)).await;
    let next = |reply: Reply| if let Reply::Chunk(ChunkReply::Next(next)) = reply { Some(next) } else { None };
    let mut state = ClusterState::default();
    let _ = state.apply(&note("refused, and audited"));
    let whole = state.encode();
    let pieces = chunks(&whole, 10);

    assert_eq!(next(receive(copy(&pieces[1])).await), Some(0), "the beginning is missing");
    assert_eq!(next(receive(copy(&pieces[0])).await), Some(10));
    assert_eq!(next(receive(copy(&pieces[2])).await), Some(10), "a piece is missing");
    assert_eq!(next(receive(copy(&pieces[1])).await), Some(20));
    assert_eq!(next(receive(copy(&pieces[1])).await), Some(20), "a repeated piece is not taken twice");
    let other_leader = Chunk { vote: Vote::new_committed(8, 1), ..copy(&pieces[2]) };
    assert_eq!(next(receive(other_leader).await), Some(0), "another transfer begins at its beginning");

    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for (piece, sound) in chunks(&flipped, 10).into_iter().zip(&pieces) {
        let reply = receive(Chunk { sum: sound.sum, ..piece }).await;
        assert!(next(reply).is_some(), "a damaged snapshot is not installed");
    }
    assert!(matches!(receive(chunks(b"not a cluster state", 100).remove(0)).await, Reply::Failed(_)));
    let huge = Chunk { total_bytes: wire::SNAPSHOT_BYTES_MAX + 1, ..copy(&pieces[0]) };
    assert!(matches!(receive(huge).await, Reply::Failed(_)));
    let beyond = Chunk { total_bytes: 5, ..copy(&pieces[0]) };
    assert!(matches!(receive(beyond).await, Reply::Failed(_)));
    assert_eq!(raft.state().version, 0, "nothing of that was installed");

    let mut last = Reply::Failed(String::new());
    for piece in pieces {
        last = receive(piece).await;
    }
    assert!(matches!(last, Reply::Chunk(ChunkReply::Installed(_))));
    assert_eq!(*raft.state(), state);
    assert!(raft.health().failed.is_none());
    raft.stop().await;
}

/// A receiver that loses what it had once, then takes everything.
#[derive(Default)]
struct Forgetful {
    got: Mutex<(Vec<u8>, bool)>,
}

impl Transport for Forgetful {
    fn call(&self, _to: NodeId, request: Bytes) -> TransportFuture<'_> {
        Box::pin(async move {
            assert!(request.len() <= wire::MESSAGE_BYTES_MAX);
            let Ok(Request::Snapshot(chunk)) = wire::decode(CLUSTER, &request) else { panic!("only chunks are sent") };
            let mut got = self.got.lock().unwrap();
            if got.0.len() as u64 == chunk.offset {
                got.0.extend_from_slice(&chunk.data);
            }
            if got.0.len() > 2 * CHUNK_BYTES_MAX && !got.1 {
                *got = (Vec::new(), true);
            }
            let done = got.0.len() as u64 == chunk.total_bytes;
            let reply =
                if done { ChunkReply::Installed(SnapshotResponse::new(chunk.vote)) } else { ChunkReply::Next(got.0.len() as u64) };
            Ok(wire::encode(CLUSTER, &Reply::Chunk(reply)))
        })
    }
}

#[tokio::test]
async fn a_large_snapshot_is_sent_in_bounded_pieces_and_again_where_the_receiver_lost_it() {
    let whole: Bytes = (0..7 * CHUNK_BYTES_MAX / 2).map(|at| (at % 251) as u8).collect();
    let receiver = Arc::new(Forgetful::default());
    let caller = Caller { cluster: CLUSTER, transport: receiver.clone() };
    let mut links = Links { caller, append_limit: LIMIT, confirmed: Arc::new(Confirmed::new().0) };
    let mut link = links.new_client(2, &EmptyNode {}).await;
    let snapshot = Snapshot { meta: SnapshotMeta::default(), snapshot: whole.clone() };
    let sent = link.full_snapshot(Vote::new_committed(1, 1), snapshot, std::future::pending(), RPCOption::new(LIMIT)).await;
    assert!(sent.is_ok(), "{sent:?}");
    let got = receiver.got.lock().unwrap();
    assert!(got.1 && got.0 == whole);
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
    let meta = SnapshotMeta { last_log_id: Some(id(1, 9)), ..Default::default() };
    let snapshot = postcard::to_stdvec(&(meta, Bytes::from_static(b"state"))).unwrap();
    assert_eq!(hex(&snapshot), "0101010900000000057374617465");
    assert!(ClusterState::decode(&ClusterState::default().encode()).is_ok(), "a snapshot may come before the first command");
}
