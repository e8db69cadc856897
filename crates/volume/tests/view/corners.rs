//! Corners of the requests that random ones do not reach.

use crate::support::Host;
use crate::{Root, made};
use bytes::Bytes;
use mainstay_protocol::file::{CreateHow, FileOk, SetAttributes, SpaceStat};
use mainstay_protocol::limits::{FILE_BYTES_MAX, LINKS_MAX};
use mainstay_protocol::record::Change;
use mainstay_protocol::{Caller, ClientRequest, FileError, FileId, FileRequest, OpKind, Stability, Timestamp};
use mainstay_volume::plan::{PlanContext, Planned, plan, write_verifier};
use mainstay_volume::view::ViewOptions;

fn list(root: &mut Root, dir: FileId, cookie: u64, bytes_max: u32, plus: bool) -> (Vec<(String, u64)>, bool) {
    match root.run(FileRequest::ReadDirectory { dir, cookie, bytes_max, with_attributes: plus }) {
        Ok(FileOk::Entries { entries, eof, .. }) => {
            let name = |name: &Bytes| String::from_utf8(name.to_vec()).unwrap();
            (entries.iter().map(|entry| (name(&entry.name), entry.cookie)).collect(), eof)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_directory_is_read_page_by_page_while_it_changes() {
    let mut root = Root::fresh();
    let dir = root.make_directory(FileId::ROOT, "dir");
    (0..200).for_each(|file| _ = root.create(dir, &format!("file{file}")));
    let (mut cookie, mut seen, mut pages) = (0, Vec::new(), 0);
    loop {
        let (entries, eof) = list(&mut root, dir, cookie, 900, pages % 2 == 1);
        pages += 1;
        cookie = entries.last().map_or(cookie, |(_, cookie)| *cookie);
        seen.extend(entries.iter().map(|(name, _)| name.clone()));
        // What was listed last goes, and so does something that is listed much later; a new one comes.
        if let Some((name, _)) = entries.last() {
            root.remove(dir, name).ok();
        }
        if pages == 2 {
            root.remove(dir, "file150").unwrap();
            root.create(dir, "late");
            root.host.checkpoint();
        }
        if pages == 3 {
            root.host.reopen();
        }
        if eof {
            break;
        }
    }
    let mut expected: Vec<String> = vec![".".into(), "..".into()];
    expected.extend((0..200).filter(|file| *file != 150).map(|file| format!("file{file}")));
    expected.push("late".into());
    assert_eq!(seen, expected);
    assert!(pages > 10);
    assert_eq!(list(&mut root, dir, u64::MAX, 900, false), (vec![], true));
}

#[test]
fn a_listing_keeps_to_its_bytes() {
    let mut root = Root::fresh();
    let dir = root.make_directory(FileId::ROOT, "dir");
    (0..100).for_each(|file| _ = root.create(dir, &format!("{file:0>100}")));
    let request = |bytes_max| FileRequest::ReadDirectory { dir, cookie: 2, bytes_max, with_attributes: false };
    assert_eq!(root.refused(request(200)), FileError::TooSmall);
    assert_eq!(root.refused(request(0)), FileError::TooSmall);
    // Each entry is 24 bytes and its name.
    let (entries, eof) = list(&mut root, dir, 2, 108 + 124 * 10, false);
    assert_eq!((entries.len(), eof), (10, false));
    let (entries, eof) = list(&mut root, dir, 2, u32::MAX, false);
    assert_eq!((entries.len(), eof), (100, true));
}

#[test]
fn sizes_go_up_to_the_largest_file() {
    let mut root = Root::fresh();
    let file = root.create(FileId::ROOT, "file");
    let write = |offset, len| FileRequest::Write { file, offset, data: Bytes::from(vec![1; len]), stability: Stability::FileSync };
    assert!(root.run(write(FILE_BYTES_MAX - 4, 4)).is_ok());
    assert_eq!(root.refused(write(FILE_BYTES_MAX - 4, 5)), FileError::TooLarge);
    assert_eq!(root.refused(write(u64::MAX, 1)), FileError::TooLarge);
    assert_eq!(root.read(file, FILE_BYTES_MAX - 6, 100), [0, 0, 1, 1, 1, 1]);
    assert!(root.read(file, u64::MAX - 3, 100).is_empty());
    let size = |size| FileRequest::SetAttributes {
        file,
        set: SetAttributes { size: Some(size), ..Default::default() },
        guard_ctime: None,
    };
    assert_eq!(root.refused(size(FILE_BYTES_MAX + 1)), FileError::TooLarge);
    root.run(size(FILE_BYTES_MAX - 5)).unwrap();
    root.run(size(FILE_BYTES_MAX)).unwrap();
    assert_eq!(root.read(file, FILE_BYTES_MAX - 6, 100), [0; 6]);
    root.host.check_live_bytes();
}

#[test]
fn an_exclusive_create_succeeds_again_for_its_own_client_only() {
    let mut root = Root::fresh();
    let create = |verifier: u8| FileRequest::Create {
        dir: FileId::ROOT,
        name: Bytes::from_static(b"file"),
        how: CreateHow::Exclusive([verifier; 8]),
    };
    let file = made(root.run(create(1)));
    root.host.checkpoint();
    root.host.reopen();
    let point = root.host.view.point();
    assert_eq!(made(root.run(create(1))), file);
    assert_eq!(point, root.host.view.point(), "the retry made a record");
    assert_eq!(root.refused(create(2)), FileError::Exists);
    let set = SetAttributes { mode: Some(0o600), ..Default::default() };
    root.run(FileRequest::SetAttributes { file, set, guard_ctime: None }).unwrap();
    assert_eq!(root.refused(create(1)), FileError::Exists, "after SETATTR the verifier is gone");
}

#[test]
fn links_are_counted_to_their_bound() {
    let mut root = Root::fresh();
    let file = root.create(FileId::ROOT, "file");
    let dir = root.make_directory(FileId::ROOT, "dir");
    for inode in [file, dir] {
        let row = root.host.view.inode(inode.inode).unwrap().unwrap();
        let full = mainstay_protocol::InodeRow { links: LINKS_MAX, ..row };
        let time = root.host.view.next_time(root.host.wall);
        root.host.append(OpKind::SetAttributes, time, vec![Change::PutInode(full)], Bytes::new(), None);
    }
    let name = Bytes::from_static(b"name");
    assert_eq!(root.refused(FileRequest::Link { file, dir, name: name.clone() }), FileError::TooManyLinks);
    let set = SetAttributes::default();
    assert_eq!(root.refused(FileRequest::MakeDirectory { dir, name: name.clone(), set }), FileError::TooManyLinks);
    root.make_directory(FileId::ROOT, "other");
    let (from_dir, from_name) = (FileId::ROOT, Bytes::from_static(b"other"));
    let rename = FileRequest::Rename { from_dir, from_name, to_dir: dir, to_name: name };
    assert_eq!(root.refused(rename), FileError::TooManyLinks);
}

#[test]
fn stamps_never_stand_still_or_go_back() {
    let mut root = Root::fresh();
    root.create(FileId::ROOT, "first");
    let clock = root.host.view.clock();
    root.host.wall = Timestamp::new(5, 0);
    let file = root.create(FileId::ROOT, "second");
    let row = root.host.view.inode(file.inode).unwrap().unwrap();
    assert_eq!(row.ctime, clock.next());
}

#[test]
fn the_verifier_changes_with_the_loss_epoch_and_only_then() {
    let mut root = Root::fresh();
    let file = root.create(FileId::ROOT, "file");
    let verifier = |root: &mut Root| match root.run(FileRequest::Commit { file, offset: 0, count: 0 }) {
        Ok(FileOk::Committed { verifier, .. }) => verifier,
        other => panic!("{other:?}"),
    };
    let first = verifier(&mut root);
    root.host.checkpoint();
    root.host.reopen();
    assert_eq!(first, verifier(&mut root));
    let time = root.host.view.next_time(root.host.wall);
    root.host.append(OpKind::EpochStart, time, vec![Change::SetLossEpoch(7)], Bytes::new(), None);
    let context = root.host.context();
    assert_eq!(verifier(&mut root), write_verifier(context.cluster, context.volume, 7));
    assert_ne!(first, verifier(&mut root));
}

fn planned(host: &Host, space: SpaceStat, request: FileRequest) -> Planned {
    let context = PlanContext { space, ..host.context() };
    plan(&host.view, &context, &ClientRequest { caller: Caller::default(), identity: None, request }).unwrap()
}

fn error_of(planned: Planned) -> Option<FileError> {
    match planned {
        Planned::Reply { result: Err(failure), .. } => Some(failure.error),
        _ => None,
    }
}

#[test]
fn a_full_volume_refuses_what_needs_room_and_lets_the_rest_pass() {
    let mut root = Root::fresh();
    let file = root.create(FileId::ROOT, "file");
    root.write(file, 0, &[1; 100]);
    let none = SpaceStat::default();
    let name = Bytes::from_static(b"new");
    let write = FileRequest::Write { file, offset: 0, data: Bytes::from_static(b"x"), stability: Stability::Unstable };
    let needs_room = [
        write,
        FileRequest::Create { dir: FileId::ROOT, name: name.clone(), how: CreateHow::Guarded(SetAttributes::default()) },
        FileRequest::MakeDirectory { dir: FileId::ROOT, name: name.clone(), set: SetAttributes::default() },
        FileRequest::Link { file, dir: FileId::ROOT, name: name.clone() },
    ];
    for request in needs_room {
        assert_eq!(error_of(planned(&root.host, none, request)), Some(FileError::NoSpace));
    }
    let set = SetAttributes { size: Some(0), ..Default::default() };
    let old = Bytes::from_static(b"file");
    let (from_dir, to_dir) = (FileId::ROOT, FileId::ROOT);
    let passes = [
        FileRequest::SetAttributes { file, set, guard_ctime: None },
        FileRequest::Rename { from_dir, from_name: old.clone(), to_dir, to_name: name },
        FileRequest::Remove { dir: FileId::ROOT, name: old },
    ];
    for request in passes {
        assert!(matches!(planned(&root.host, none, request), Planned::Record(_)));
    }
}

#[test]
fn answers_wait_for_what_they_saw() {
    let mut root = Root::fresh();
    let dir = root.make_directory(FileId::ROOT, "dir");
    let made_at = root.host.view.point().position;
    let file = root.create(FileId::ROOT, "file");
    root.write(file, 0, b"data");
    let last = root.host.view.point().position;
    let free = root.host.context().space;
    let at = |request| match planned(&root.host, free, request) {
        Planned::Reply { at, durable, .. } => (at, durable),
        Planned::Read(read) => (read.at, false),
        Planned::Record(_) => panic!("nothing is to be changed"),
    };
    let name = Bytes::from_static(b"nothing");
    assert_eq!(at(FileRequest::GetAttributes { file: dir }), (made_at, false));
    assert_eq!(at(FileRequest::Lookup { dir, name: name.clone() }), (made_at, false));
    assert_eq!(at(FileRequest::Remove { dir, name }), (made_at, false), "a refusal waits as well");
    assert_eq!(at(FileRequest::Read { file, offset: 0, count: 9 }), (last, false));
    assert_eq!(at(FileRequest::Commit { file, offset: 0, count: 0 }), (last, true), "COMMIT waits for the disks");
    let gone = FileId { inode: 3, generation: 9 };
    assert_eq!(at(FileRequest::GetAttributes { file: gone }), (last, false), "stale depends on everything");
    let entries = FileRequest::ReadDirectory { dir: FileId::ROOT, cookie: 0, bytes_max: 5000, with_attributes: true };
    assert_eq!(at(entries), (last, false), "attributes of entries count");
}

#[test]
fn a_truncated_tail_does_not_come_back() {
    let mut root = Root { host: Host::new(ViewOptions::default()) };
    let file = root.create(FileId::ROOT, "file");
    root.write(file, 0, &[7; 5000]);
    for (size, checkpoint) in [(100, true), (5000, false)] {
        let set = SetAttributes { size: Some(size), ..Default::default() };
        root.run(FileRequest::SetAttributes { file, set, guard_ctime: None }).unwrap();
        if checkpoint {
            root.host.checkpoint();
        }
    }
    assert_eq!(root.read(file, 0, 5000), [vec![7; 100], vec![0; 4900]].concat());
    let row = root.host.view.inode(file.inode).unwrap().unwrap();
    assert_eq!((row.size, row.used), (5000, 100));
}
