//! What the volume costs: durable 16 KiB appends against a bare group-commit loop on the same disk, and metadata operations
//! without durability on one core.
//!
//! ```text
//! cargo run --release -p mainstay-volume --example volume_bench -- [DIR] [SECONDS]
//! ```
//! DIR should be on the disk that is to be measured; a directory is made in it and removed again.

use bytes::Bytes;
use mainstay_protocol::file::{CreateHow, SetAttributes};
use mainstay_protocol::{
    Caller, ClientRequest, ClusterId, Epoch, FileId, FileOk, FileRequest, Mono, Now, Position, RequestId, Stability, Timestamp,
    VolumeId,
};
use mainstay_volume::{Disk, DiskEffect, DiskEvent, FileDisk, Lane, MemDisk, Options, Outcome, Volume, perform};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const BLOCK_BYTES: usize = 16 << 10;
const FILE_BYTES: u64 = 64 << 20;
const DEPTHS: [usize; 3] = [1, 8, 32];
/// Made before the clock starts.
const SEGMENTS: u32 = 32;
/// Rounds of the comparison: both loops take turns, because a disk's speed changes from one minute to the next.
const ROUNDS: usize = 3;

fn now(start: Instant) -> Now {
    let nanos = start.elapsed().as_nanos() as u64;
    Now { mono: Mono(nanos), wall: Timestamp::from_nanos(1_700_000_000_000_000_000 + nanos as i128) }
}

/// The threads that a node has: one flusher, one for the rest.
struct Threads {
    log: Sender<DiskEffect>,
    rest: Sender<DiskEffect>,
    events: Receiver<DiskEvent>,
    handles: Vec<JoinHandle<()>>,
}

impl Threads {
    fn start(disk: Arc<dyn Disk>) -> Threads {
        let (events_in, events) = channel();
        let (log, log_queue) = channel::<DiskEffect>();
        let (rest, rest_queue) = channel::<DiskEffect>();
        let (flusher_disk, flusher_events) = (disk.clone(), events_in.clone());
        let flusher = std::thread::spawn(move || flush(&log_queue, &flusher_events, &*flusher_disk));
        let worker = std::thread::spawn(move || {
            for effect in rest_queue {
                let _ = events_in.send(perform(effect, &*disk));
            }
        });
        Threads { log, rest, events, handles: vec![flusher, worker] }
    }

    fn hand_out(&self, volume: &mut Volume) {
        while let Some(effect) = volume.poll_effect() {
            let queue = if effect.lane() == Lane::Log { &self.log } else { &self.rest };
            queue.send(effect).expect("the threads run");
        }
    }

    fn stop(self) {
        drop((self.log, self.rest));
        self.handles.into_iter().for_each(|handle| handle.join().expect("no thread panicked"));
    }
}

/// Everything that waits goes to the disk as one group.
fn flush(queue: &Receiver<DiskEffect>, events: &Sender<DiskEvent>, disk: &dyn Disk) {
    while let Ok(DiskEffect::Log(mut batch)) = queue.recv() {
        while let Ok(DiskEffect::Log(next)) = queue.try_recv() {
            batch.merge(next);
        }
        let _ = events.send(perform(DiskEffect::Log(batch), disk));
    }
}

fn request(n: u64, request: FileRequest) -> ClientRequest {
    let identity = RequestId { client: [1; 16], xid: n as u32, procedure: 7, checksum: n };
    let identity = request.changes().then_some(identity);
    ClientRequest { caller: Caller { uid: 0, gid: 0, groups: Vec::new() }, identity, request }
}

fn open(disk: Arc<dyn Disk>, options: Options) -> Volume {
    let (cluster, id) = (ClusterId([7; 16]), VolumeId(1));
    Volume::create(disk.clone(), cluster, id, options.clone()).expect("create");
    let mut volume = Volume::open(disk, cluster, id, options).expect("open");
    volume.start_epoch(Timestamp::new(1_700_000_000, 0), Epoch(1), 1).expect("the first epoch");
    volume
}

fn make(volume: &mut Volume, wall: Timestamp, n: u64) -> FileId {
    let how = CreateHow::Unchecked(SetAttributes::default());
    let name = format!("f{n}");
    let create = request(1 << 40 | n, FileRequest::Create { dir: FileId::ROOT, name: Bytes::from(name), how });
    match volume.execute(wall, Epoch(1), &create) {
        Outcome::Done { result: Ok(FileOk::Made { attributes, .. }), .. } => attributes.file,
        other => panic!("create: {other:?}"),
    }
}

/// A volume with segments for the whole run, as one that has run for a while recycles its own: otherwise the disk would be
/// shared with the zeros of new ones.
fn prepared(disk: Arc<dyn Disk>, start: Instant) -> Volume {
    let mut volume = open(disk.clone(), Options { prepared_segments: SEGMENTS, ..Options::default() });
    while volume.stats().segments_prepared < SEGMENTS as u64 {
        volume.want_sync(volume.last().position);
        volume.tick(now(start));
        while let Some(effect) = volume.poll_effect() {
            let done = perform(effect, &*disk);
            volume.handle(done);
        }
    }
    drop(volume);
    Volume::open(disk, ClusterId([7; 16]), VolumeId(1), Options::default()).expect("open again")
}

/// Durable 16 KiB writes per second through the whole volume, `depth` of them on their way.
fn durable_writes(root: &Path, depth: usize, time: Duration) -> f64 {
    let disk: Arc<dyn Disk> = Arc::new(FileDisk::open(root.join("volume")).expect("directory"));
    let start = Instant::now();
    let mut volume = prepared(disk.clone(), start);
    let threads = Threads::start(disk);
    let file = make(&mut volume, now(start).wall, 0);
    let data = Bytes::from(vec![0x5a; BLOCK_BYTES]);
    let (mut sent, mut done, mut waiting) = (0u64, 0u64, VecDeque::<Position>::new());
    let begin = Instant::now();
    let mut ticked = begin;
    while begin.elapsed() < time {
        while waiting.len() < depth {
            let offset = (sent * BLOCK_BYTES as u64) % FILE_BYTES;
            let write = FileRequest::Write { file, offset, data: data.clone(), stability: Stability::FileSync };
            match volume.execute(now(start).wall, Epoch(1), &request(sent + 1, write)) {
                Outcome::Done { result: Ok(_), at, .. } => waiting.push_back(at),
                // A segment is being prepared: what is on its way must end first.
                _ => break,
            }
            sent += 1;
        }
        volume.want_sync(volume.last().position);
        threads.hand_out(&mut volume);
        volume.handle(threads.events.recv().expect("events"));
        while let Ok(event) = threads.events.try_recv() {
            volume.handle(event);
        }
        volume.set_committed(volume.durable());
        while waiting.front().is_some_and(|at| *at <= volume.durable()) {
            waiting.pop_front();
            done += 1;
        }
        while volume.poll_event().is_some() {}
        if ticked.elapsed() > Duration::from_millis(50) {
            ticked = Instant::now();
            volume.tick(now(start));
        }
    }
    let rate = done as f64 / begin.elapsed().as_secs_f64();
    assert!(volume.failure().is_none());
    threads.stop();
    drop(volume);
    std::fs::remove_dir_all(root.join("volume")).expect("clean up");
    rate
}

/// The same number of 16 KiB blocks per group, written to pre-zeroed files with one pwritev and one fdatasync per group, by a
/// thread of its own: what the disk gives.
fn bare_group_commit(root: &Path, depth: usize, time: Duration) -> f64 {
    let disk = FileDisk::open(root.join("bare")).expect("directory");
    let segment = Options::default().segment_bytes;
    let files: Vec<_> = (0..SEGMENTS).map(|n| disk.create(&format!("{n}"), segment).expect("zeros")).collect();
    let (groups, queue) = channel::<usize>();
    let (done_in, done) = channel::<usize>();
    let flusher = std::thread::spawn(move || {
        let block = vec![0x5a; BLOCK_BYTES];
        let (mut file, mut at) = (0, 0u64);
        while let Ok(mut count) = queue.recv() {
            while let Ok(more) = queue.try_recv() {
                count += more;
            }
            if at + (count * BLOCK_BYTES) as u64 > segment {
                (file, at) = ((file + 1) % files.len(), 0);
            }
            files[file].write_at(at, &vec![&block[..]; count]).expect("write");
            files[file].sync().expect("sync");
            at += (count * BLOCK_BYTES) as u64;
            let _ = done_in.send(count);
        }
    });
    let (mut waiting, mut total) = (0, 0u64);
    let begin = Instant::now();
    while begin.elapsed() < time {
        if waiting < depth {
            groups.send(depth - waiting).expect("the flusher runs");
            waiting = depth;
        }
        let count = done.recv().expect("done");
        waiting -= count;
        total += count as u64;
    }
    let rate = total as f64 / begin.elapsed().as_secs_f64();
    drop(groups);
    flusher.join().expect("no panic");
    std::fs::remove_dir_all(root.join("bare")).expect("clean up");
    rate
}

/// Metadata operations per second on one thread, disk effects included, against a disk in memory.
fn metadata(kind: &str, time: Duration) -> f64 {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
    let mut volume = open(disk.clone(), Options { prepared_segments: 8, checkpoint_bytes: 1 << 40, ..Options::default() });
    let start = Instant::now();
    let files: Vec<FileId> = (0..1000).map(|n| make(&mut volume, now(start).wall, n)).collect();
    let run = |volume: &mut Volume| {
        while let Some(effect) = volume.poll_effect() {
            let done = perform(effect, &*disk);
            volume.handle(done);
        }
        while volume.poll_event().is_some() {}
    };
    run(&mut volume);
    let (mut n, begin) = (0u64, Instant::now());
    while begin.elapsed() < time {
        let wall = now(start).wall;
        for _ in 0..64 {
            n += 1;
            let file = files[n as usize % files.len()];
            let asked = match kind {
                "create" => {
                    let how = CreateHow::Unchecked(SetAttributes::default());
                    FileRequest::Create { dir: FileId::ROOT, name: Bytes::from(format!("n{n}")), how }
                }
                "setattr" => {
                    let set = SetAttributes { mode: Some((n % 0o777) as u16), ..SetAttributes::default() };
                    FileRequest::SetAttributes { file, set, guard_ctime: None }
                }
                "lookup" => FileRequest::Lookup { dir: FileId::ROOT, name: Bytes::from(format!("f{}", n % 1000)) },
                _ => FileRequest::GetAttributes { file },
            };
            match volume.execute(wall, Epoch(1), &request(n, asked)) {
                Outcome::Done { result: Ok(_), .. } => {}
                other => panic!("{kind}: {other:?}"),
            }
        }
        run(&mut volume);
        if n % 4096 == 0 {
            volume.tick(now(start));
        }
    }
    n as f64 / begin.elapsed().as_secs_f64()
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let parent = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let seconds: u64 = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(3);
    let time = Duration::from_secs(seconds);
    let root = parent.join(format!("mainstay-volume-bench-{}", std::process::id()));
    println!("16 KiB durable appends in {}, best of {ROUNDS} rounds of {seconds} s each", parent.display());
    println!("{:>6} {:>14} {:>14} {:>7}", "depth", "volume /s", "bare loop /s", "ratio");
    for depth in DEPTHS {
        let (mut volume, mut bare) = (0.0f64, 0.0f64);
        for _ in 0..ROUNDS {
            bare = bare.max(bare_group_commit(&root, depth, time));
            volume = volume.max(durable_writes(&root, depth, time));
        }
        println!("{depth:>6} {volume:>14.0} {bare:>14.0} {:>6.0}%", 100.0 * volume / bare);
    }
    println!("\nmetadata operations, not durable, one core");
    println!("{:>10} {:>14}", "operation", "per second");
    for kind in ["create", "setattr", "lookup", "getattr"] {
        println!("{kind:>10} {:>14.0}", metadata(kind, time));
    }
    let _ = std::fs::remove_dir_all(&root);
}
