//! A volume with its disk, driven to rest after every step.

use bytes::Bytes;
use mainstay_protocol::file::{CreateHow, SetAttributes};
use mainstay_protocol::{
    Caller, ClientRequest, ClusterId, Epoch, FileError, FileId, FileOk, FileRequest, FileResult, Mono, Now, Position, Record,
    RequestId, Stability, Timestamp, VolumeId,
};
use mainstay_volume::{Disk, DiskEffect, Lane, OpenError, Options, Outcome, Volume, VolumeEvent, perform};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

pub const CLUSTER: ClusterId = ClusterId([0xc1; 16]);
pub const VOLUME: VolumeId = VolumeId(7);

/// Small segments, so that few bytes fill many of them.
pub fn options() -> Options {
    Options {
        segment_bytes: 2 << 20,
        retain_bytes: 8 << 20,
        reserve_bytes: 4 << 20,
        prepared_segments: 2,
        tail_cache_bytes: 1 << 20,
        checkpoint_bytes: 4 << 20,
        checkpoint_ms: 1_000,
        compact_bytes_per_s: 1 << 30,
        scrub_bytes_per_s: 0,
        view_cache_bytes: 1 << 20,
        ..Options::default()
    }
}

/// splitmix64
#[derive(Clone)]
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
    /// Bytes that tell writes apart, made cheaply: a stamp in every sector.
    pub fn bytes(&mut self, len: usize) -> Bytes {
        let stamp = self.next();
        let mut out = vec![stamp as u8; len];
        for (index, sector) in out.chunks_mut(512).enumerate() {
            let stamp = (stamp ^ index as u64).to_le_bytes();
            let short = sector.len().min(stamp.len());
            sector[..short].copy_from_slice(&stamp[..short]);
        }
        Bytes::from(out)
    }
}

/// How a peer answers a repair.
pub type Peer = Box<dyn FnMut(FileId, mainstay_protocol::Extent, Position) -> Option<Bytes>>;

pub struct Rig {
    pub disk: Arc<dyn Disk>,
    pub volume: Volume,
    pub now: Now,
    pub epoch: Epoch,
    pub xid: u32,
    pub events: VecDeque<VolumeEvent>,
    pub peer: Option<Peer>,
    /// Effects that wait for their thread, by lane.
    queues: BTreeMap<Lane, VecDeque<DiskEffect>>,
    /// Without, nothing becomes committed: the primary is silent.
    pub commits: bool,
    /// With this, threads are slow: some effects are run, lanes in any order, and the flusher merges what waits.
    pub lazy: Option<Rng>,
}

impl Rig {
    /// A new volume whose first epoch has begun.
    pub fn new(disk: Arc<dyn Disk>, options: Options) -> Rig {
        Volume::create(disk.clone(), CLUSTER, VOLUME, options.clone()).unwrap();
        let mut rig = Rig::open(disk, options).unwrap();
        rig.epoch = Epoch(1);
        rig.volume.start_epoch(rig.now.wall, rig.epoch, 1).unwrap();
        rig.settle();
        rig
    }

    pub fn open(disk: Arc<dyn Disk>, options: Options) -> Result<Rig, OpenError> {
        let volume = Volume::open(disk.clone(), CLUSTER, VOLUME, options)?;
        let now = Now { mono: Mono(1_000_000_000), wall: Timestamp::new(1_700_000_000, 0) };
        let epoch = volume.last().epoch;
        // Identities are not used again after a restart, as clients do not.
        let xid = volume.last().position.0 as u32 * 1000;
        Ok(Rig {
            disk,
            volume,
            now,
            epoch,
            xid,
            events: VecDeque::new(),
            peer: None,
            queues: BTreeMap::new(),
            commits: true,
            lazy: None,
        })
    }

    /// Runs every effect that is asked for, and answers repairs.
    pub fn pump(&mut self) {
        loop {
            while let Some(event) = self.volume.poll_event() {
                match event {
                    VolumeEvent::RepairWanted { ticket, file, extent, position } => {
                        let data = self.peer.as_mut().and_then(|peer| peer(file, extent, position));
                        self.volume.repair(ticket, data);
                    }
                    other => self.events.push_back(other),
                }
            }
            while let Some(effect) = self.volume.poll_effect() {
                self.queues.entry(effect.lane()).or_default().push_back(effect);
            }
            let Some(effect) = self.next_effect() else { break };
            let done = perform(effect, &*self.disk);
            self.volume.handle(done);
        }
        if self.volume.failure().is_none() {
            self.volume.check_invariants();
        }
    }

    /// What some thread does next; lazily, nothing at times.
    fn next_effect(&mut self) -> Option<DiskEffect> {
        let Some(rng) = &mut self.lazy else { return self.queues.values_mut().find_map(VecDeque::pop_front) };
        if rng.below(5) == 0 {
            return None;
        }
        let waiting = self.queues.values_mut().filter(|queue| !queue.is_empty());
        let mut waiting: Vec<_> = waiting.collect();
        let index = rng.below(waiting.len().max(1) as u64) as usize;
        let queue = waiting.get_mut(index)?;
        let effect = queue.pop_front()?;
        let DiskEffect::Log(mut batch) = effect else { return Some(effect) };
        while rng.below(3) > 0
            && let Some(DiskEffect::Log(next)) = queue.pop_front()
        {
            batch.merge(next);
        }
        Some(DiskEffect::Log(batch))
    }

    /// Everything synced, committed, and one tick.
    pub fn settle(&mut self) {
        self.volume.want_sync(self.volume.last().position);
        self.pump();
        if self.commits {
            self.volume.set_committed(self.volume.durable());
        }
        self.tick(100);
    }

    pub fn tick(&mut self, ms: u64) {
        self.now.mono = self.now.mono.after_ms(ms);
        self.now.wall = Timestamp::from_nanos(self.now.wall.as_nanos() + ms as i128 * 1_000_000);
        self.volume.tick(self.now);
        self.pump();
    }

    /// Ticks until nothing is left to do: checkpoints, compaction.
    pub fn rest(&mut self) {
        for _ in 0..200 {
            self.settle();
        }
    }

    pub fn request(&mut self, request: FileRequest) -> ClientRequest {
        self.xid += 1;
        let identity = RequestId { client: [1; 16], xid: self.xid, procedure: 0, checksum: self.xid as u64 };
        let identity = request.changes().then_some(identity);
        ClientRequest { caller: Caller { uid: 0, gid: 0, groups: vec![] }, identity, request }
    }

    /// Executes and waits for the answer; `TryLater` is tried again after a tick, as clients do.
    pub fn ask(&mut self, request: FileRequest) -> FileResult {
        let request = self.request(request);
        for _ in 0..50 {
            let result = self.ask_once(&request);
            match result {
                Err(failure) if failure.error == FileError::TryLater => self.settle(),
                other => return other,
            }
        }
        Err(FileError::TryLater.into())
    }

    pub fn ask_once(&mut self, request: &ClientRequest) -> FileResult {
        match self.volume.execute(self.now.wall, self.epoch, request) {
            Outcome::Done { result, .. } => result,
            Outcome::Read { ticket, .. } => {
                for _ in 0..1000 {
                    self.pump();
                    let of = |event: &VolumeEvent| matches!(event, VolumeEvent::Read { ticket: of, .. } if *of == ticket);
                    let found = self.events.iter().position(of);
                    if let Some(VolumeEvent::Read { result, .. }) = found.and_then(|index| self.events.remove(index)) {
                        return result;
                    }
                    if self.volume.failure().is_some() {
                        return Err(FileError::Io.into());
                    }
                }
                panic!("a read was not answered")
            }
        }
    }

    pub fn create(&mut self, name: &str) -> FileId {
        let name = Bytes::copy_from_slice(name.as_bytes());
        match self.ask(FileRequest::Create { dir: FileId::ROOT, name, how: CreateHow::Unchecked(SetAttributes::default()) }) {
            Ok(FileOk::Made { attributes, .. }) => attributes.file,
            other => panic!("create: {other:?}"),
        }
    }

    pub fn write(&mut self, file: FileId, offset: u64, data: Bytes) -> FileResult {
        self.ask(FileRequest::Write { file, offset, data, stability: Stability::Unstable })
    }

    pub fn remove(&mut self, name: &str) -> FileResult {
        self.ask(FileRequest::Remove { dir: FileId::ROOT, name: Bytes::copy_from_slice(name.as_bytes()) })
    }

    /// The whole file.
    pub fn read(&mut self, file: FileId) -> Result<Vec<u8>, FileError> {
        let mut all = Vec::new();
        loop {
            match self.ask(FileRequest::Read { file, offset: all.len() as u64, count: 1 << 20 }) {
                Ok(FileOk::Data { pieces, eof, count, .. }) => {
                    pieces.iter().for_each(|piece| all.extend_from_slice(piece));
                    if eof || count == 0 {
                        return Ok(all);
                    }
                }
                Ok(other) => panic!("read: {other:?}"),
                Err(failure) => return Err(failure.error),
            }
        }
    }

    /// Up to 1 MiB from `offset` on.
    pub fn read_at(&mut self, file: FileId, offset: u64, count: u32) -> Result<Vec<u8>, FileError> {
        match self.ask(FileRequest::Read { file, offset, count }) {
            Ok(FileOk::Data { pieces, .. }) => Ok(pieces.concat()),
            Ok(other) => panic!("read: {other:?}"),
            Err(failure) => Err(failure.error),
        }
    }

    /// All records after a position, however they are kept.
    pub fn records_after(&mut self, after: Position) -> Option<Vec<Record>> {
        let mut all: Vec<Record> = Vec::new();
        loop {
            let from = all.last().map_or(after, |record| record.header.position);
            let records = match self.volume.records_after(from, 300_000) {
                mainstay_volume::RecordsAfter::Gone => return None,
                mainstay_volume::RecordsAfter::Ready(records) => records,
                mainstay_volume::RecordsAfter::Later(ticket) => {
                    self.pump();
                    let found = self
                        .events
                        .iter()
                        .position(|event| matches!(event, VolumeEvent::Records { ticket: of, .. } if *of == ticket));
                    match found.and_then(|index| self.events.remove(index)) {
                        Some(VolumeEvent::Records { result, .. }) => result.expect("retained records can be read"),
                        _ => panic!("records were not answered"),
                    }
                }
            };
            if records.is_empty() {
                return Some(all);
            }
            all.extend(records);
        }
    }

    /// Effects that are asked for, not run.
    pub fn effects(&mut self) -> Vec<DiskEffect> {
        std::iter::from_fn(|| self.volume.poll_effect()).collect()
    }
}
