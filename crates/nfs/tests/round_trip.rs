//! Every procedure: client codec → front → the file request that was meant; a file result → front → what the client reads.

mod common;

use bytes::Bytes;
use common::*;
use mainstay_nfs::client::{self, Answer, Entry, FileSystemInfo, Handle, PathInfo, Request, Session, SessionError};
use mainstay_nfs::{Call, Context, Front, Procedure};
use mainstay_protocol::file::{CreateHow, DirectoryEntry, SetAttributes, SpaceStat, Wcc};
use mainstay_protocol::{FileError, FileFailure, FileKind, FileOk, FileRequest, FileResult, Stability, Timestamp};

/// What `request` must become, written down apart from the decoder.
fn expected(request: Request) -> FileRequest {
    let (f, d) = (file(20), file(30));
    match request {
        Request::Null => unreachable!("NULL is no file request"),
        Request::GetAttributes { .. } => FileRequest::GetAttributes { file: f },
        Request::FileSystemInfo { .. } | Request::PathInfo { .. } => FileRequest::GetAttributes { file: d },
        Request::SetAttributes { set, guard_ctime, .. } => FileRequest::SetAttributes { file: f, set, guard_ctime },
        Request::Lookup { name, .. } => FileRequest::Lookup { dir: d, name },
        Request::Access { mask, .. } => FileRequest::Access { file: f, mask },
        Request::ReadLink { .. } => FileRequest::ReadLink { file: f },
        Request::Read { offset, count, .. } => FileRequest::Read { file: f, offset, count },
        Request::Write { offset, data, stability, .. } => FileRequest::Write { file: f, offset, data, stability },
        Request::Create { name, how, .. } => FileRequest::Create { dir: d, name, how },
        Request::MakeDirectory { name, set, .. } => FileRequest::MakeDirectory { dir: d, name, set },
        Request::MakeSymlink { name, target, set, .. } => FileRequest::MakeSymlink { dir: d, name, target, set },
        Request::MakeNode { name, kind, set, .. } => FileRequest::MakeNode { dir: d, name, kind, set },
        Request::Remove { name, .. } => FileRequest::Remove { dir: d, name },
        Request::RemoveDirectory { name, .. } => FileRequest::RemoveDirectory { dir: d, name },
        Request::Rename { from_name, to_name, .. } => FileRequest::Rename { from_dir: d, from_name, to_dir: file(31), to_name },
        Request::Link { name, .. } => FileRequest::Link { file: f, dir: d, name },
        Request::ReadDirectory { cookie, count, .. } => {
            FileRequest::ReadDirectory { dir: d, cookie, bytes_max: count, with_attributes: false }
        }
        Request::ReadDirectoryPlus { cookie, bytes_max, .. } => {
            FileRequest::ReadDirectory { dir: d, cookie, bytes_max, with_attributes: true }
        }
        Request::FileSystemStat { .. } => FileRequest::FileSystemStat { file: d },
        Request::Commit { offset, count, .. } => FileRequest::Commit { file: f, offset, count },
    }
}

#[test]
fn every_request_arrives_as_it_was_meant() {
    let front = front();
    let requests = requests(&front);
    let mut covered: Vec<Procedure> = requests.iter().map(Request::procedure).chain([Procedure::Null]).collect();
    covered.sort();
    covered.dedup();
    assert_eq!(covered, Procedure::ALL, "a sample of every procedure");
    for (xid, request) in (77..).zip(requests) {
        let (arrived, context) = file_call(&front, xid, &request);
        assert_eq!((context.xid(), context.procedure(), context.volume()), (xid, request.procedure(), VOLUME));
        assert_eq!((arrived.caller.uid, arrived.caller.gid, &arrived.caller.groups[..]), (1000, 100, &[100, 4, 27][..]));
        assert_eq!(arrived.request, expected(request));
    }
}

#[test]
fn null_is_answered_at_once() {
    let reply = reply_record(front().call(CLIENT, record(5, &Request::Null)));
    assert_eq!(client::decode(Procedure::Null, reply).unwrap(), client::Reply { xid: 5, result: Ok(Answer::Null) });
}

fn entry(inode: u64, name: &'static str, cookie: u64, with_attributes: bool) -> DirectoryEntry {
    let name = Bytes::from_static(name.as_bytes());
    DirectoryEntry { inode, name, cookie, attributes: with_attributes.then(|| attributes(inode)) }
}

/// A good result for `procedure`, and what a client must read.
fn sample(front: &Front, procedure: Procedure) -> (FileOk, Answer) {
    use Procedure::*;
    let (a, b) = (attributes(20), attributes(30));
    let (w, x) = (wcc(20), wcc(30));
    let verifier = *b"verified";
    let some = Some(seen(a));
    match procedure {
        Null => unreachable!("NULL has no result"),
        GetAttr => (FileOk::Attributes(a), Answer::Attributes(seen(a))),
        FsInfo => (FileOk::Attributes(a), Answer::Information { information: information(), attributes: some }),
        PathConf => (FileOk::Attributes(a), Answer::Path { path: path(), attributes: some }),
        SetAttr => (FileOk::AttributesSet(w), Answer::AttributesSet(seen_wcc(w))),
        Lookup => (
            FileOk::Found { attributes: a, dir: Some(b) },
            Answer::Found { handle: handle(front, 20), attributes: some, dir: Some(seen(b)) },
        ),
        Access => (FileOk::Access { granted: 0x1f, attributes: a }, Answer::Access { granted: 0x1f, attributes: some }),
        ReadLink => {
            let target = Bytes::from_static(b"../elsewhere");
            (FileOk::Target { target: target.clone(), attributes: a }, Answer::Target { target, attributes: some })
        }
        Read => {
            let pieces = vec![Bytes::from_static(b"one "), Bytes::new(), Bytes::from_static(b"two")];
            let data = Bytes::from_static(b"one two");
            (FileOk::Data { pieces, count: 7, eof: true, attributes: a }, Answer::Data { data, eof: true, attributes: some })
        }
        Write => (
            FileOk::Written { count: 5, stability: Stability::DataSync, file: w, verifier },
            Answer::Written { count: 5, stability: Stability::DataSync, file: seen_wcc(w), verifier },
        ),
        Create | MkDir | Symlink | MkNod => (
            FileOk::Made { attributes: a, dir: x },
            Answer::Made { handle: Some(handle(front, 20)), attributes: some, dir: seen_wcc(x) },
        ),
        Remove | RmDir => (FileOk::Removed { dir: x }, Answer::Removed { dir: seen_wcc(x) }),
        Rename => (FileOk::Renamed { from: w, to: x }, Answer::Renamed { from: seen_wcc(w), to: seen_wcc(x) }),
        Link => (FileOk::Linked { attributes: a, dir: x }, Answer::Linked { attributes: some, dir: seen_wcc(x) }),
        ReadDir | ReadDirPlus => listing(front, procedure == ReadDirPlus),
        FsStat => {
            let space = SpaceStat {
                total_bytes: 1 << 40,
                free_bytes: 2,
                available_bytes: 3,
                total_files: 4,
                free_files: 5,
                available_files: 6,
            };
            (FileOk::Space { space, attributes: a }, Answer::Space { space, attributes: some })
        }
        Commit => (FileOk::Committed { file: w, verifier }, Answer::Committed { file: seen_wcc(w), verifier }),
    }
}

fn listing(front: &Front, plus: bool) -> (FileOk, Answer) {
    // The last one's file is gone by now: an entry without attributes and so without a handle.
    let entries = vec![entry(30, ".", 1, plus), entry(1, "..", 2, plus), entry(20, "file", 19, plus), entry(40, "gone", 44, false)];
    let read = |e: &DirectoryEntry| Entry {
        inode: e.inode,
        name: e.name.clone(),
        cookie: e.cookie,
        attributes: e.attributes.map(seen),
        handle: e.attributes.map(|a| handle(front, a.file.inode)),
    };
    let dir = attributes(30);
    let answer = Answer::Entries { entries: entries.iter().map(read).collect(), verifier: [0; 8], eof: true, dir: Some(seen(dir)) };
    (FileOk::Entries { entries, eof: true, dir }, answer)
}

/// RFC 1813 3.3.19 and 3.3.20 with the figures of DESIGN.
fn information() -> FileSystemInfo {
    FileSystemInfo {
        read_max: 1 << 20,
        read_preferred: 1 << 20,
        read_multiple: 4096,
        write_max: 1 << 20,
        write_preferred: 1 << 20,
        write_multiple: 4096,
        directory_preferred: 65_536,
        file_bytes_max: i64::MAX as u64,
        time_delta: Timestamp::new(0, 1),
        properties: 0x1b,
    }
}

fn path() -> PathInfo {
    PathInfo {
        links_max: 65_000,
        name_bytes_max: 255,
        no_truncation: true,
        chown_restricted: true,
        case_insensitive: false,
        case_preserving: true,
    }
}

#[expect(clippy::result_large_err, reason = "a test compares it whole")]
fn answered(front: &Front, context: Context, result: FileResult) -> Result<Answer, FileFailure> {
    let reply = client::decode(context.procedure(), unmarked(&front.reply(context, result))).unwrap();
    assert_eq!(reply.xid, context.xid());
    reply.result
}

#[test]
fn every_result_is_read_back() {
    let front = front();
    for (xid, request) in (1..).zip(requests(&front)) {
        let (_, context) = file_call(&front, xid, &request);
        let (ok, answer) = sample(&front, context.procedure());
        assert_eq!(answered(&front, context, Ok(ok)), Ok(answer), "{request:?}");
    }
}

#[test]
fn every_refusal_is_read_back_with_its_attributes() {
    use FileError::*;
    #[rustfmt::skip]
    let errors = [
        NotOwner, NotFound, Io, AccessDenied, Exists, CrossDevice, NotDirectory, IsDirectory, Invalid, TooLarge, NoSpace, ReadOnly,
        TooManyLinks, NameTooLong, NotEmpty, Stale, BadHandle, NotSync, BadCookie, NotSupported, TooSmall, ServerFault, BadType,
        TryLater,
    ];
    let front = front();
    for request in requests(&front) {
        let (_, context) = file_call(&front, 1, &request);
        for error in errors {
            let failure = FileFailure { error, first: wcc(20), second: wcc(30) };
            let (full, after) = (seen_wcc(wcc(20)), Wcc { before: None, after: Some(seen(attributes(20))) });
            let second = seen_wcc(wcc(30));
            use Procedure::*;
            let (first, second) = match context.procedure() {
                GetAttr => (Wcc::default(), Wcc::default()),
                Rename => (full, second),
                Link => (after, second),
                SetAttr | Write | Create | MkDir | Symlink | MkNod | Remove | RmDir | Commit => (full, Wcc::default()),
                _ => (after, Wcc::default()),
            };
            assert_eq!(answered(&front, context, Err(failure)), Err(FileFailure { error, first, second }), "{request:?}");
            let bare = answered(&front, context, Err(error.into()));
            assert_eq!(bare, Err(error.into()), "without attributes");
        }
    }
}

#[test]
fn a_result_of_another_kind_is_a_server_fault() {
    let front = front();
    for request in requests(&front) {
        let (_, context) = file_call(&front, 1, &request);
        for other in Procedure::ALL.iter().skip(1) {
            let (ok, _) = sample(&front, *other);
            match answered(&front, context, Ok(ok.clone())) {
                Ok(_) => assert_eq!(std::mem::discriminant(&ok), std::mem::discriminant(&sample(&front, context.procedure()).0)),
                Err(failure) => assert_eq!(failure, FileError::ServerFault.into()),
            }
        }
    }
}

#[test]
fn read_data_is_not_copied() {
    let front = front();
    let (_, context) = file_call(&front, 1, &Request::Read { file: handle(&front, 20), offset: 0, count: 1 << 20 });
    let pieces: Vec<Bytes> = (0..64).map(|byte| Bytes::from(vec![byte; 16 << 10])).collect();
    let ok = FileOk::Data { pieces: pieces.clone(), count: 1 << 20, eof: false, attributes: attributes(20) };
    let parts = front.reply(context, Ok(ok));
    let places: Vec<_> = parts[1..].iter().map(|part| part.as_ptr()).collect();
    assert_eq!(places, pieces.iter().map(|piece| piece.as_ptr()).collect::<Vec<_>>());
    // The other way: a large WRITE's data is a slice of its record.
    let write =
        Request::Write { file: handle(&front, 20), offset: 0, data: Bytes::from(vec![1; 1 << 20]), stability: Stability::Unstable };
    let record = record(2, &write);
    let range = record.as_ptr_range();
    let Call::File { request, .. } = front.call(CLIENT, record.clone()) else { panic!("a file request") };
    let FileRequest::Write { data, .. } = request.request else { panic!("a write") };
    assert!(range.contains(&data.as_ptr()));
}

#[test]
fn counts_beyond_the_maximum_are_cut() {
    let front = front();
    let h = handle(&front, 20);
    let cut = |request| file_call(&front, 1, &request).0.request;
    let read = cut(Request::Read { file: h.clone(), offset: 0, count: u32::MAX });
    assert_eq!(read, FileRequest::Read { file: file(20), offset: 0, count: 1 << 20 });
    let data = Bytes::from(vec![1; (1 << 20) + 5]);
    let FileRequest::Write { data, .. } = cut(Request::Write { file: h.clone(), offset: 0, data, stability: Stability::Unstable })
    else {
        panic!("a write")
    };
    assert_eq!(data.len(), 1 << 20);
    let list = cut(Request::ReadDirectoryPlus { dir: h, cookie: 0, verifier: [0; 8], names_max: 1, bytes_max: u32::MAX });
    let FileRequest::ReadDirectory { bytes_max, .. } = list else { panic!("a listing") };
    assert_eq!(bytes_max, 256 << 10);
}

/// The status that `request` is answered with before any volume is asked.
fn refused(front: &Front, request: &Request) -> FileError {
    let reply = reply_record(front.call(CLIENT, record(1, request)));
    client::decode(request.procedure(), reply).unwrap().result.unwrap_err().error
}

#[test]
fn what_needs_no_volume_is_refused_before_it() {
    let front = front();
    let d = handle(&front, 30);
    let lookup = |len: usize| Request::Lookup { dir: d.clone(), name: Bytes::from(vec![b'x'; len]) };
    assert!(matches!(front.call(CLIENT, record(1, &lookup(255))), Call::File { .. }));
    assert_eq!(refused(&front, &lookup(256)), FileError::NameTooLong);
    let symlink = |len: usize| Request::MakeSymlink {
        dir: d.clone(),
        name: Bytes::from_static(b"l"),
        target: Bytes::from(vec![b'x'; len]),
        set: SetAttributes::default(),
    };
    assert!(matches!(front.call(CLIENT, record(1, &symlink(4096))), Call::File { .. }));
    assert_eq!(refused(&front, &symlink(4097)), FileError::NameTooLong);
    let regular = Request::MakeNode { dir: d.clone(), name: Bytes::new(), kind: FileKind::Regular, set: set() };
    assert_eq!(refused(&front, &regular), FileError::BadType);
    let forged = Request::GetAttributes { file: Handle::new(&[9; 40]).unwrap() };
    assert_eq!(refused(&front, &forged), FileError::BadHandle);
    let foreign = Request::GetAttributes { file: Handle::new(b"another server's").unwrap() };
    assert_eq!(refused(&front, &foreign), FileError::BadHandle);
    let time = SetAttributes { mtime: mainstay_protocol::file::SetTime::Client(Timestamp::new(1, 1_000_000_000)), ..set() };
    assert_eq!(refused(&front, &Request::SetAttributes { file: d, set: time, guard_ctime: None }), FileError::Invalid);
}

#[test]
fn identities_follow_the_arguments_and_not_the_connection() {
    let front = front();
    let with_identity = |request: &Request| file_call(&front, 9, request).0.identity;
    for request in requests(&front) {
        let identity = with_identity(&request);
        assert_eq!(identity.is_some(), request.procedure().needs_identity(), "{request:?}");
        assert_eq!(identity.is_some(), file_call(&front, 9, &request).0.request.changes(), "what changes has an identity");
        assert_eq!(identity, with_identity(&request), "a retry has the same one");
        if let Some(identity) = identity {
            assert_eq!(identity.client, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 2, 3]);
            assert_eq!((identity.xid, identity.procedure), (9, 100_003 << 8 | request.procedure().number()));
        }
    }
    let create = |name: &'static str, credential| {
        let how = CreateHow::Unchecked(SetAttributes::default());
        let request = Request::Create { dir: handle(&front, 30), name: Bytes::from_static(name.as_bytes()), how };
        let record = unmarked(&client::encode(9, &credential, &request));
        let Call::File { request, .. } = front.call(CLIENT, record) else { panic!("a file request") };
        request.identity.unwrap()
    };
    assert_ne!(create("a", sys()).checksum, create("b", sys()).checksum);
    assert_eq!(create("a", sys()), create("a", mainstay_nfs::rpc::Credential::None), "credentials are stamped anew");
}

#[test]
fn a_session_matches_replies_in_any_order() {
    let front = front();
    let mut session = Session::new(sys(), u32::MAX);
    let requests = requests(&front);
    let mut replies: Vec<(u32, Procedure, Bytes)> = requests
        .iter()
        .map(|request| {
            let (xid, parts) = session.call(request);
            let Call::File { context, .. } = front.call(CLIENT, unmarked(&parts)) else { panic!("a file request") };
            (xid, request.procedure(), unmarked(&front.reply(context, Ok(sample(&front, request.procedure()).0))))
        })
        .collect();
    assert_eq!(session.pending(), requests.len());
    replies.reverse();
    for (xid, procedure, reply) in replies {
        let read = session.reply(reply.clone()).unwrap();
        assert_eq!((read.xid, read.result), (xid, Ok(sample(&front, procedure).1)));
        assert_eq!(session.reply(reply), Err(SessionError::Unknown(xid)), "a late duplicate");
    }
    assert_eq!(session.pending(), 0);
    assert_eq!(session.reply(Bytes::from_static(b"abc")), Err(SessionError::Short));
}
