//! Whatever peers send: no panic, no wrong acceptance, and no memory beyond what their bytes justify. More than a million seeded
//! cases; the fuzz target in `fuzz/` goes on from here.

mod common;

use bytes::Bytes;
use common::*;
use mainstay_nfs::client::{self, Request};
use mainstay_nfs::{Call, Front, MountProcedure, Procedure, RECORD_BYTES_MAX, RecordReader};
use mainstay_protocol::file::{DirectoryEntry, SpaceStat};
use mainstay_protocol::{FileError, FileOk, Stability};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

/// Counts the bytes that each thread asks for.
struct Counting;

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATED.try_with(|bytes| bytes.set(bytes.get() + layout.size()));
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let _ = ALLOCATED.try_with(|bytes| bytes.set(bytes.get() + size));
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `case` and fails when it asked for more than `bound` bytes altogether.
#[track_caller]
fn bounded<T>(bound: usize, case: impl FnOnce() -> T) -> T {
    let before = ALLOCATED.get();
    let result = case();
    let bytes = ALLOCATED.get() - before;
    assert!(bytes <= bound, "{bytes} bytes allocated, at most {bound} expected");
    result
}

/// A call needs its groups, its name and a short reply; never a copy of its data.
const CALL_BYTES: usize = 8 << 10;
/// A decoded directory entry is larger than its 24 bytes on the wire, and a growing list is copied a few times.
const DECODED_PER_BYTE: usize = 64;

fn serve(front: &Front, record: Bytes) -> Call {
    bounded(CALL_BYTES, || front.call(CLIENT, record))
}

fn read_reply(procedure: Procedure, record: Bytes) -> bool {
    let bound = DECODED_PER_BYTE * record.len() + 1024;
    bounded(bound, || client::decode(procedure, record)).is_ok()
}

/// Good replies of every procedure, and refusals.
fn replies(front: &Front) -> Vec<(Procedure, Bytes)> {
    let (a, w, verifier) = (attributes(20), wcc(20), *b"verified");
    let entry = |n: u64| DirectoryEntry { inode: n, name: Bytes::from_static(b"name"), cookie: n, attributes: Some(attributes(n)) };
    let mut replies = Vec::new();
    for request in requests(front) {
        use Procedure::*;
        let (_, context) = file_call(front, 1, &request);
        let ok = match context.procedure() {
            Null => continue,
            GetAttr | FsInfo | PathConf => FileOk::Attributes(a),
            SetAttr => FileOk::AttributesSet(w),
            Lookup => FileOk::Found { attributes: a, dir: Some(a) },
            Access => FileOk::Access { granted: 1, attributes: a },
            ReadLink => FileOk::Target { target: Bytes::from_static(b"target"), attributes: a },
            Read => FileOk::Data { pieces: vec![Bytes::from(vec![1; 333])], count: 333, eof: true, attributes: a },
            Write => FileOk::Written { count: 5, stability: Stability::FileSync, file: w, verifier },
            Create | MkDir | Symlink | MkNod => FileOk::Made { attributes: a, dir: w },
            Remove | RmDir => FileOk::Removed { dir: w },
            Rename => FileOk::Renamed { from: w, to: w },
            Link => FileOk::Linked { attributes: a, dir: w },
            ReadDir | ReadDirPlus => FileOk::Entries { entries: (1..9).map(entry).collect(), eof: true, dir: a },
            FsStat => FileOk::Space { space: SpaceStat::default(), attributes: a },
            Commit => FileOk::Committed { file: w, verifier },
        };
        let failure = mainstay_protocol::FileFailure { error: FileError::TryLater, first: w, second: w };
        for result in [Ok(ok), Err(failure)] {
            replies.push((context.procedure(), unmarked(&front.reply(context, result))));
        }
    }
    replies
}

fn flip(random: &mut Random, good: &[u8]) -> Bytes {
    let mut bad = good.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bad.len() as u64) as usize;
        match random.below(3) {
            0 => bad[at] ^= 1 << random.below(8),
            1 => bad[at] = random.next() as u8,
            // Lengths and counts become enormous or zero.
            _ => {
                let fill = if random.below(2) == 0 { 0xff } else { 0 };
                let word = at & !3;
                let end = bad.len().min(word + 4);
                bad[word..end].fill(fill);
            }
        }
    }
    Bytes::from(bad)
}

fn noise(random: &mut Random, len: usize) -> Vec<u8> {
    // Small words are more interesting than random ones: they pass as booleans, enums and lengths.
    let mut words = Vec::with_capacity(len + 4);
    while words.len() < len {
        let below = [1 << 32, 8, 8, 3, 3, 3, 3, 3][random.below(8) as usize];
        let word = random.below(below) as u32;
        words.extend_from_slice(&word.to_be_bytes());
    }
    words.truncate(len);
    words
}

#[test]
fn a_call_cut_anywhere_is_never_served() {
    let front = front();
    for request in requests(&front) {
        let whole = record(1, &request);
        for len in 0..whole.len() {
            let call = serve(&front, whole.slice(..len));
            assert!(!matches!(call, Call::File { .. }), "{:?} cut to {len} of {}", request.procedure(), whole.len());
        }
    }
}

#[test]
fn a_reply_cut_anywhere_is_never_read() {
    let front = front();
    for (procedure, whole) in replies(&front) {
        for len in 0..whole.len() {
            assert!(!read_reply(procedure, whole.slice(..len)), "{procedure:?} cut to {len} of {}", whole.len());
        }
        assert!(read_reply(procedure, whole));
    }
}

#[test]
fn flipped_calls_are_bounded_and_answered() {
    let front = front();
    let good: Vec<Bytes> = requests(&front).iter().map(|request| record(1, request)).filter(|r| r.len() < 1000).collect();
    let mut random = Random(1);
    let mut served = 0;
    for case in 0..400_000 {
        if let Call::File { context, .. } = serve(&front, flip(&mut random, &good[case % good.len()])) {
            served += 1;
            front.reply(context, Err(FileError::TryLater.into()));
        }
    }
    assert!(served > 10_000, "the flips must also reach past the decoder: {served}");
}

#[test]
fn noise_behind_a_good_handle_is_bounded() {
    let front = front();
    let handle = handle(&front, 20);
    let mut random = Random(2);
    let mut served = [0u32; 22];
    for case in 0..300_000usize {
        let procedure = Procedure::ALL[case % 22];
        let mut bytes = record(1, &Request::GetAttributes { file: handle.clone() }).to_vec();
        bytes[20..24].copy_from_slice(&procedure.number().to_be_bytes());
        let len = random.below(120) as usize;
        bytes.extend(noise(&mut random, len));
        if random.below(2) == 0 {
            bytes.extend_from_slice(&40u32.to_be_bytes());
            bytes.extend_from_slice(handle.bytes());
            bytes.extend(noise(&mut random, 40));
        }
        if let Call::File { context, .. } = serve(&front, Bytes::from(bytes)) {
            served[context.procedure().number() as usize] += 1;
        }
    }
    for procedure in Procedure::ALL.iter().skip(1) {
        assert!(served[procedure.number() as usize] > 0, "{procedure:?} was never reached");
    }
}

#[test]
fn flipped_and_random_replies_are_bounded() {
    let good = replies(&front());
    let mut random = Random(3);
    let mut read = 0;
    for case in 0..300_000 {
        let (procedure, record) = &good[case % good.len()];
        read += u32::from(read_reply(*procedure, flip(&mut random, record)));
    }
    assert!(read > 10_000, "{read}");
    for case in 0..150_000 {
        let mut bytes = good[0].1[..24].to_vec();
        let len = random.below(300) as usize;
        bytes.extend(noise(&mut random, len));
        let record = Bytes::from(bytes);
        read_reply(Procedure::ALL[case % 22], record.clone());
        let bound = DECODED_PER_BYTE * record.len() + 1024;
        let _ = bounded(bound, || client::decode_mount(MountProcedure::ALL[case % 6], record));
    }
}

#[test]
fn pure_noise_is_bounded() {
    let front = front();
    let mut random = Random(4);
    for _ in 0..100_000 {
        let len = random.below(200) as usize;
        let record = Bytes::from(noise(&mut random, len));
        assert!(!matches!(serve(&front, record), Call::File { .. }), "no handle can be guessed");
    }
}

#[test]
fn a_stream_of_noise_holds_no_more_than_it_sent() {
    let mut random = Random(5);
    let mut refused = 0;
    for _ in 0..2_000 {
        let mut reader = RecordReader::new();
        for _ in 0..random.below(20) {
            let len = 1 + random.below(60) as usize;
            // At most one growth to 64 KiB a time: a mark alone is not believed.
            bounded(256 << 10, || {
                let space = reader.space();
                let room = space.capacity() - space.len();
                space.extend_from_slice(&noise(&mut random, len.min(room)));
            });
            let result = bounded(64 << 10, || {
                loop {
                    match reader.next_record() {
                        Ok(Some(_)) => continue,
                        Ok(None) => break true,
                        Err(_) => break false,
                    }
                }
            });
            if !result {
                refused += 1;
                break;
            }
        }
        assert!(reader.buffered() <= 20 * 61);
    }
    assert!(refused > 100);
}

#[test]
fn memory_of_a_slow_large_record_follows_what_arrived() {
    let mut reader = RecordReader::new();
    reader.push(&(1u32 << 31 | RECORD_BYTES_MAX as u32).to_be_bytes());
    let mut arrived = 4;
    while arrived < 4 + RECORD_BYTES_MAX {
        let space = reader.space();
        let (room, capacity) = (space.capacity() - space.len(), space.capacity());
        let bound = if arrived < 64 << 10 { 192 << 10 } else { RECORD_BYTES_MAX + (64 << 10) };
        assert!(capacity <= bound, "{capacity} bytes held where {arrived} arrived");
        space.extend_from_slice(&vec![7; room.min(1000)]);
        arrived += room.min(1000);
        if let Some(record) = reader.next_record().unwrap() {
            assert_eq!((record.len(), arrived), (RECORD_BYTES_MAX, 4 + RECORD_BYTES_MAX));
        }
    }
    assert_eq!(reader.buffered(), 0);
}
