//! What the tests of the view and the planner share: a log in memory with a view over it, and randomness from a seed.
#![allow(dead_code)]

use bytes::Bytes;
use mainstay_protocol::file::SpaceStat;
use mainstay_protocol::record::Change;
use mainstay_protocol::{
    Caller, ClientRequest, ClusterId, Epoch, FileRequest, FileResult, LogPoint, OpKind, Position, Record, RecordBody, RequestId,
    Timestamp, VolumeId,
};
use mainstay_volume::extents::Piece;
use mainstay_volume::plan::{PlanContext, Planned, plan, root_row};
use mainstay_volume::view::{View, ViewOptions};
use mainstay_volume::{Place, SegmentId, StoredExtent, ViewDigest};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

pub const CLUSTER: ClusterId = ClusterId([7; 16]);
pub const VOLUME: VolumeId = VolumeId(3);
/// Records that share a segment in these tests.
const RECORDS_PER_SEGMENT: u64 = 50;

/// splitmix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }
    pub fn bytes(&mut self, len: usize) -> Bytes {
        (0..len).map(|_| self.next() as u8).collect::<Vec<_>>().into()
    }
}

/// A redb backend whose bytes outlive it, so that a view can be opened again.
#[derive(Clone, Debug, Default)]
pub struct MemStore(pub Arc<Mutex<Vec<u8>>>);

impl redb::StorageBackend for MemStore {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.0.lock().unwrap();
        let from = offset as usize;
        let found = bytes.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.lock().unwrap().resize(len as usize, 0);
        Ok(())
    }
    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut bytes = self.0.lock().unwrap();
        let end = offset as usize + data.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[offset as usize..end].copy_from_slice(data);
        Ok(())
    }
}

/// One replica without disks: records in a vector, a view over them. Fragments that a resync brought have places of their own.
pub struct Host {
    pub view: View,
    pub store: MemStore,
    pub options: ViewOptions,
    /// Every record, from position 1 on; a target of a resync has only those after its base.
    pub log: BTreeMap<u64, Record>,
    /// Data of fragments, by place; their payload starts at the run's own offset in the record.
    pub fragments: BTreeMap<Place, (u32, Bytes)>,
    pub epoch: Epoch,
    pub wall: Timestamp,
}

pub fn place_of(position: Position) -> Place {
    Place { segment: SegmentId((position.0 / RECORDS_PER_SEGMENT) as u32), offset: (position.0 % RECORDS_PER_SEGMENT) as u32 * 64 }
}

impl Host {
    /// An empty log.
    pub fn empty(options: ViewOptions) -> Host {
        let store = MemStore::default();
        let view = View::create(Box::new(store.clone()), CLUSTER, VOLUME, options).unwrap();
        let (log, fragments) = Default::default();
        Host { view, store, options, log, fragments, epoch: Epoch(1), wall: Timestamp::new(1_000_000, 0) }
    }

    /// With the format record.
    pub fn new(options: ViewOptions) -> Host {
        let mut host = Host::empty(options);
        let root = root_row(host.wall);
        host.append(OpKind::Format, host.wall, vec![Change::PutInode(root)], Bytes::new(), None);
        host
    }

    pub fn append(
        &mut self,
        kind: OpKind,
        time: Timestamp,
        changes: Vec<Change>,
        payload: Bytes,
        reply: Option<(RequestId, FileResult)>,
    ) -> Record {
        let body = RecordBody { kind, changes, reply };
        let record = Record::encode(VOLUME, self.view.point(), self.epoch, time, true, &body, payload);
        self.take(record.clone());
        record
    }

    /// Applies a record, as the bytes on the wire say it.
    pub fn take(&mut self, record: Record) {
        let body = record.body().unwrap();
        self.view.apply(&record.header, &body, place_of(record.header.position)).unwrap();
        self.log.insert(record.header.position.0, record);
    }

    pub fn context(&self) -> PlanContext {
        let free = 1 << 40;
        let space = SpaceStat { total_bytes: free, free_bytes: free, available_bytes: free, ..SpaceStat::default() };
        let position = self.view.point().position.next();
        PlanContext { wall: self.wall, epoch: self.epoch, position, cluster: CLUSTER, volume: VOLUME, space }
    }

    /// Plans, applies, reads: what a volume does with a request, without its disks.
    pub fn execute(&mut self, caller: &Caller, identity: Option<RequestId>, request: FileRequest) -> FileResult {
        self.wall = self.wall.next();
        let request = ClientRequest { caller: caller.clone(), identity, request };
        match plan(&self.view, &self.context(), &request).unwrap() {
            Planned::Record(planned) => {
                assert!(planned.time > self.view.clock());
                let reply = identity.map(|id| (id, planned.result.clone()));
                let result = planned.result.clone();
                self.append(planned.kind, planned.time, planned.changes, planned.payload, reply);
                result
            }
            Planned::Reply { result, at, .. } => {
                assert!(at <= self.view.point().position);
                result
            }
            Planned::Read(read) => {
                let pieces: Vec<Bytes> = read.pieces.iter().map(|piece| self.piece(piece)).collect();
                assert_eq!(pieces.iter().map(Bytes::len).sum::<usize>(), read.count as usize);
                read.result(pieces)
            }
        }
    }

    fn piece(&self, piece: &Piece) -> Bytes {
        match piece {
            Piece::Hole(len) => Bytes::from(vec![0; *len as usize]),
            Piece::Data(run) => self.data(run),
        }
    }

    pub fn data(&self, run: &StoredExtent) -> Bytes {
        let (start, payload) = match self.fragments.get(&run.place) {
            Some((start, bytes)) => (run.payload_offset - start, bytes),
            None => (run.payload_offset, &self.log[&run.position.0].payload),
        };
        payload.slice(start as usize..(start + run.len) as usize)
    }

    /// Freezes, writes and takes a checkpoint in one go.
    pub fn checkpoint(&mut self) {
        if self.view.frozen().is_none() {
            assert!(self.view.freeze(self.view.point()));
        }
        self.finish_checkpoint();
    }

    pub fn finish_checkpoint(&mut self) {
        let job = self.view.checkpoint_job().expect("nobody else writes it");
        let done = job.run().unwrap().done().expect("there is room");
        drop(self.view.checkpoint_done(done));
    }

    /// As after a crash: everything since the last checkpoint comes from the log again.
    pub fn reopen(&mut self) {
        let parked = View::create(Box::new(MemStore::default()), CLUSTER, VOLUME, self.options).unwrap();
        drop(std::mem::replace(&mut self.view, parked));
        self.view = View::open(Box::new(self.store.clone()), CLUSTER, VOLUME, self.options).unwrap();
        if self.view.resync_cursor().is_some() {
            return;
        }
        let from = self.view.point().position.0 + 1;
        let records: Vec<Record> = self.log.range(from..).map(|(_, record)| record.clone()).collect();
        records.into_iter().for_each(|record| self.take(record));
    }

    /// The digest of everything up to here.
    pub fn digest(&mut self) -> (LogPoint, ViewDigest) {
        while self.view.base().point != self.view.point() || self.view.overlay_rows() > 0 || !self.base_is_current() {
            self.checkpoint();
        }
        let mut job = self.view.digest_job().expect("the copy is complete");
        loop {
            if let Some(digest) = job.step(97).unwrap() {
                return (job.point(), digest);
            }
        }
    }

    fn base_is_current(&self) -> bool {
        self.view.base().resync.as_ref() == self.view.resync()
    }

    /// Live bytes of segments, counted from the runs of all files.
    pub fn check_live_bytes(&mut self) {
        while self.view.reclaim(1000).unwrap() {}
        let mut counted: BTreeMap<SegmentId, u64> = BTreeMap::new();
        let inodes: Vec<_> = self.view.inodes_after(0).unwrap().map(Result::unwrap).collect();
        assert_eq!(inodes.len() as u64, self.view.inodes());
        for row in &inodes {
            let mut end = 0;
            for run in self.view.extents_after(row.file.inode, 0).unwrap() {
                let run = run.unwrap();
                assert!(run.offset >= end && run.end() <= row.size, "runs overlap or pass the size");
                end = run.end();
                *counted.entry(run.place.segment).or_default() += run.len as u64;
            }
        }
        assert_eq!(&counted, self.view.segments());
    }
}

/// `MAINSTAY_SEEDS=N` tries N of them, for a long look.
pub fn seeds(usual: std::ops::Range<u64>) -> std::ops::Range<u64> {
    match std::env::var("MAINSTAY_SEEDS").ok().and_then(|seeds| seeds.parse::<u64>().ok()) {
        Some(seeds) => 1_000..1_000 + seeds,
        None => usual,
    }
}
