//! READDIR and READDIRPLUS results are trimmed exactly to what the client has room for (RFC 1813 sections 3.3.16, 3.3.17).

mod common;

use bytes::Bytes;
use common::*;
use mainstay_nfs::client::{self, Answer, Request};
use mainstay_nfs::{Front, Procedure};
use mainstay_protocol::file::DirectoryEntry;
use mainstay_protocol::{FileError, FileOk};

/// RPC header of an accepted reply and the status word: what `count` does not cover.
const HEADER: usize = 24 + 4;

fn entries(random: &mut Random, count: u64) -> Vec<DirectoryEntry> {
    (0..count)
        .map(|n| DirectoryEntry {
            inode: 100 + n,
            name: Bytes::from(vec![b'n'; 1 + random.below(255) as usize]),
            cookie: 3 + n * 7,
            attributes: (random.below(4) > 0).then(|| attributes(100 + n)),
        })
        .collect()
}

fn list(front: &Front, plus: bool, names_max: u32, bytes_max: u32, all: &[DirectoryEntry], eof: bool) -> Bytes {
    let (dir, verifier) = (handle(front, 30), [0; 8]);
    let request = match plus {
        true => Request::ReadDirectoryPlus { dir, cookie: 0, verifier, names_max, bytes_max },
        false => Request::ReadDirectory { dir, cookie: 0, verifier, count: bytes_max },
    };
    let (_, context) = file_call(front, 1, &request);
    unmarked(&front.reply(context, Ok(FileOk::Entries { entries: all.to_vec(), eof, dir: attributes(30) })))
}

/// Names returned and whether the end was reached; or the refusal.
fn read(plus: bool, record: Bytes) -> Result<(usize, bool), FileError> {
    let procedure = if plus { Procedure::ReadDirPlus } else { Procedure::ReadDir };
    match client::decode(procedure, record).unwrap().result {
        Ok(Answer::Entries { entries, eof, .. }) => Ok((entries.len(), eof)),
        Ok(other) => panic!("{other:?}"),
        Err(failure) => {
            assert!(failure.first.after.is_some(), "the directory's attributes come with the refusal");
            Err(failure.error)
        }
    }
}

/// The longest prefix that fits, found by trying: each prefix is encoded alone with unlimited room.
fn longest(front: &Front, plus: bool, names_max: u32, bytes_max: u32, all: &[DirectoryEntry]) -> usize {
    let names = |n: usize| all[..n].iter().map(|e| 24 + e.name.len().next_multiple_of(4)).sum::<usize>();
    (0..=all.len())
        .rev()
        .find(|n| {
            let whole = list(front, plus, u32::MAX, 256 << 10, &all[..*n], false).len() - HEADER;
            whole <= bytes_max as usize && (!plus || *n <= 1 || names(*n) <= names_max as usize)
        })
        .unwrap_or(0)
}

#[test]
fn results_are_as_long_as_fits_and_no_longer() {
    let front = front();
    let mut random = Random(11);
    for case in 0..400 {
        let count = random.below(40);
        let all = entries(&mut random, count);
        let plus = case % 2 == 0;
        let (names_max, bytes_max) = (random.below(5000) as u32, random.below(9000) as u32);
        let at_end = random.below(2) == 0;
        let record = list(&front, plus, names_max, bytes_max, &all, at_end);
        let fitting = longest(&front, plus, names_max, bytes_max, &all);
        match read(plus, record.clone()) {
            Ok((returned, eof)) => {
                assert_eq!(returned, fitting);
                assert_eq!(eof, at_end && returned == all.len());
                assert!(record.len() - HEADER <= bytes_max as usize);
                assert!(returned > 0 || all.is_empty(), "an empty result that is not the end would be asked for for ever");
            }
            Err(error) => {
                assert_eq!(error, FileError::TooSmall);
                assert!(fitting == 0 && (!all.is_empty() || bytes_max < 104));
            }
        }
    }
}

#[test]
fn the_exact_room_for_two_entries_holds_two() {
    let front = front();
    let all: Vec<DirectoryEntry> = (0..3)
        .map(|n| DirectoryEntry { inode: n, name: Bytes::from_static(b"abcde"), cookie: n + 3, attributes: Some(attributes(n)) })
        .collect();
    // attributes 88, verifier 8, end 4, eof 4; entry 4 + 8 + (4 + 8) + 8 = 32; attributes 88 and handle 4 + 4 + 40 more.
    assert_eq!(read(false, list(&front, false, 0, 104 + 64, &all, true)), Ok((2, false)));
    assert_eq!(read(false, list(&front, false, 0, 104 + 63, &all, true)), Ok((1, false)));
    assert_eq!(read(false, list(&front, false, 0, 104 + 31, &all, true)), Err(FileError::TooSmall));
    assert_eq!(read(true, list(&front, true, 1000, 104 + 2 * 168, &all, true)), Ok((2, false)));
    assert_eq!(read(true, list(&front, true, 1000, 104 + 2 * 168 - 1, &all, true)), Ok((1, false)));
    assert_eq!(read(true, list(&front, true, 64, 4096, &all, true)), Ok((2, false)), "dircount");
    assert_eq!(read(true, list(&front, true, 63, 4096, &all, true)), Ok((1, false)));
    assert_eq!(read(true, list(&front, true, 0, 4096, &all, true)), Ok((1, false)), "the first name always passes dircount");
    assert_eq!(read(true, list(&front, true, 96, 4096, &all, true)), Ok((3, true)));
    assert_eq!(read(false, list(&front, false, 0, 104, &[], true)), Ok((0, true)));
    assert_eq!(read(false, list(&front, false, 0, 103, &[], true)), Err(FileError::TooSmall));
}

#[test]
fn walking_by_cookie_meets_every_entry_once() {
    let front = front();
    let mut random = Random(5);
    let all = entries(&mut random, 500);
    let (mut met, mut cookie) = (Vec::new(), 0);
    loop {
        // A volume gives entries after the cookie; here all of them, so that every trimming is the front's.
        let after: Vec<DirectoryEntry> = all.iter().filter(|e| e.cookie > cookie).cloned().collect();
        let record = list(&front, true, 2000, 4000, &after, true);
        let Ok(Answer::Entries { entries, eof, .. }) = client::decode(Procedure::ReadDirPlus, record).unwrap().result else {
            panic!("entries")
        };
        cookie = entries.last().unwrap().cookie;
        met.extend(entries.into_iter().map(|e| e.inode));
        if eof {
            break;
        }
    }
    assert_eq!(met, all.iter().map(|e| e.inode).collect::<Vec<_>>());
}
