//! Bytes assembled by hand from RFC 1813, RFC 1833 and RFC 5531, so that two wrongs in our encoder and decoder cannot agree.

mod common;

use bytes::Bytes;
use common::*;
use mainstay_nfs::client::{self, MountAnswer, MountError, MountRequest, Request};
use mainstay_nfs::rpc::Credential;
use mainstay_nfs::{Access, Call, Export, MountProcedure};
use mainstay_protocol::file::{CreateHow, DirectoryEntry, SetAttributes, SetTime};
use mainstay_protocol::{Caller, FileError, FileFailure, FileOk, FileRequest, Stability, VolumeId};

/// Hexadecimal digits to bytes; spaces, line ends and what follows `;` on a line are for people.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> =
        text.lines().flat_map(|line| line.split(';').next().unwrap().chars().filter_map(|c| c.to_digit(16))).collect();
    assert!(digits.len().is_multiple_of(2));
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

fn show(bytes: &[u8]) -> String {
    bytes.chunks(4).map(|word| word.iter().map(|b| format!("{b:02x}")).collect::<String>()).collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn assert_bytes(actual: &[u8], expected: &str) {
    assert_eq!(show(actual), show(&hex(expected)));
}

/// The handle of inode 20 (generation 11).
const HANDLE: &str = "00000028 ; 40 bytes
    01000000 00000007 ; version, volume
    c0c1c2c3 c4c5c6c7 ; cluster
    00000000 00000014 00000000 0000000b ; inode, generation
    MAC";

fn with_handle(text: &str) -> String {
    let mac = front().handles().encode(VOLUME, file(20))[32..].iter().map(|b| format!("{b:02x}")).collect::<String>();
    text.replace("HANDLE", &format!("{HANDLE}\n")).replace("MAC", &mac)
}

/// `fattr3` of `common::attributes(20)`.
const ATTRIBUTES: &str = "00000001 000001a4 00000002 000003e8 00000064 ; NF3REG 0644 nlink uid gid
    00000001 2a05f200 00000000 00001000 ; size 5_000_000_000, used
    00000000 00000000 ; rdev
    c0c1c2c3 00000007 00000000 00000014 ; fsid, fileid
    00000001 00000002 00000003 00000004 00000005 3b9ac9ff ; atime, mtime, ctime";

/// `wcc_data` of `common::wcc(20)`.
const WCC: &str = "00000001 00000000 0000000a 00000001 00000001 00000002 00000002 00000001 ATTRIBUTES";

/// xid 1, REPLY, MSG_ACCEPTED, AUTH_NONE of no bytes, SUCCESS.
const ACCEPTED: &str = "00000001 00000001 00000000 00000000 00000000 00000000";

/// A call's header: xid 1, CALL, RPC 2, program, version, procedure; AUTH_SYS with stamp 9, machine "pc", uid 1000, gid 100, groups
/// 4 and 27; AUTH_NONE.
fn call(program: u32, version: u32, procedure: u32, arguments: &str) -> Bytes {
    let head = format!(
        "00000001 00000000 00000002 {program:08x} {version:08x} {procedure:08x}
         00000001 00000020 00000009 00000002 70630000 000003e8 00000064 00000002 00000004 0000001b
         00000000 00000000 "
    );
    Bytes::from(hex(&with_handle(&(head + arguments))))
}

fn reply(text: &str) -> String {
    with_handle(&format!("{ACCEPTED} {text}").replace("WCC", WCC).replace("ATTRIBUTES", &format!("{ATTRIBUTES}\n")))
}

#[track_caller]
fn assert_file_call(record: Bytes, expected: FileRequest, reply_with: FileOk, expected_reply: &str) {
    let front = front();
    let Call::File { volume, request, context } = front.call(CLIENT, record) else { panic!("a file request") };
    assert_eq!(volume, VOLUME);
    assert_eq!(request.caller, Caller { uid: 1000, gid: 100, groups: vec![4, 27] });
    assert_eq!(request.request, expected);
    assert_bytes(&unmarked(&front.reply(context, Ok(reply_with))), &reply(expected_reply));
}

/// Clients keep handles for as long as they like. The MAC was computed with another implementation of SipHash-2-4.
#[test]
fn a_handle_of_the_first_release_is_good_for_ever() {
    let pinned = hex("01000000 00000007 c0c1c2c3 c4c5c6c7 00000000 00000014 00000000 0000000b 46f43f41 f5a9f120");
    assert_eq!(front().handles().decode(&pinned), Some((VOLUME, file(20))));
}

#[test]
fn getattr() {
    let ok = FileOk::Attributes(attributes(20));
    assert_file_call(call(100_003, 3, 1, "HANDLE"), FileRequest::GetAttributes { file: file(20) }, ok, "00000000 ATTRIBUTES");
}

#[test]
fn setattr_with_guard() {
    let arguments = "HANDLE
        00000001 000009ed ; mode 04755
        00000000 ; uid
        00000001 00000064 ; gid
        00000001 00000100 00000000 ; size 1 << 40
        00000001 ; SET_TO_SERVER_TIME
        00000002 00000009 00000008 ; SET_TO_CLIENT_TIME
        00000001 00000005 00000006 ; guard";
    let guard_ctime = Some(mainstay_protocol::Timestamp::new(5, 6));
    let expected = FileRequest::SetAttributes { file: file(20), set: set(), guard_ctime };
    assert_file_call(call(100_003, 3, 2, arguments), expected, FileOk::AttributesSet(wcc(20)), "00000000 WCC");
}

#[test]
fn read() {
    let expected = FileRequest::Read { file: file(20), offset: 1 << 32, count: 6 };
    let pieces = vec![Bytes::from_static(b"ab"), Bytes::from_static(b"cdef")];
    let ok = FileOk::Data { pieces, count: 6, eof: true, attributes: attributes(20) };
    let reply = "00000000 00000001 ATTRIBUTES 00000006 00000001 00000006 61626364 65660000";
    assert_file_call(call(100_003, 3, 6, "HANDLE 00000001 00000000 00000006"), expected, ok, reply);
}

#[test]
fn write() {
    let arguments = "HANDLE 00000000 00000003 00000005 00000002 00000005 68656c6c 6f000000";
    let data = Bytes::from_static(b"hello");
    let expected = FileRequest::Write { file: file(20), offset: 3, data, stability: Stability::FileSync };
    let ok = FileOk::Written { count: 5, stability: Stability::FileSync, file: wcc(20), verifier: *b"verified" };
    let reply = "00000000 WCC 00000005 00000002 76657269 66696564";
    assert_file_call(call(100_003, 3, 7, arguments), expected, ok, reply);
}

#[test]
fn exclusive_create() {
    let arguments = "HANDLE 00000003 61fe6300 00000002 01020304 05060708";
    let how = CreateHow::Exclusive([1, 2, 3, 4, 5, 6, 7, 8]);
    let expected = FileRequest::Create { dir: file(20), name: Bytes::from_static(b"a\xfec"), how };
    let ok = FileOk::Made { attributes: attributes(20), dir: wcc(20) };
    assert_file_call(call(100_003, 3, 8, arguments), expected, ok, "00000000 00000001 HANDLE 00000001 ATTRIBUTES WCC");
}

#[test]
fn readdirplus() {
    let arguments = "HANDLE 00000000 00000005 00000000 00000000 00000400 00002000";
    let expected = FileRequest::ReadDirectory { dir: file(20), cookie: 5, bytes_max: 8192, with_attributes: true };
    let entries = vec![
        DirectoryEntry { inode: 20, name: Bytes::from_static(b"name5"), cookie: 6, attributes: Some(attributes(20)) },
        DirectoryEntry { inode: 21, name: Bytes::from_static(b"x"), cookie: 9, attributes: None },
    ];
    let ok = FileOk::Entries { entries, eof: true, dir: attributes(20) };
    let reply = "00000000 00000001 ATTRIBUTES 00000000 00000000 ; dir_attributes, cookieverf
        00000001 00000000 00000014 00000005 6e616d65 35000000 00000000 00000006 00000001 ATTRIBUTES
        00000001 HANDLE
        00000001 00000000 00000015 00000001 78000000 00000000 00000009 00000000 00000000
        00000000 00000001 ; end of the list, eof";
    assert_file_call(call(100_003, 3, 17, arguments), expected, ok, reply);
}

#[test]
fn a_lookup_that_finds_nothing() {
    let front = front();
    let record = call(100_003, 3, 3, "HANDLE 00000004 6e6f6e65");
    let Call::File { context, .. } = front.call(CLIENT, record) else { panic!("a file request") };
    let failure = FileFailure { error: FileError::NotFound, first: wcc(20), second: Default::default() };
    let parts = front.reply(context, Err(failure));
    assert_bytes(&unmarked(&parts), &reply("00000002 00000001 ATTRIBUTES"));
    let parts = front.reply(context, Err(FileError::TryLater.into()));
    assert_bytes(&unmarked(&parts), &reply("00002718 00000000 ; NFS3ERR_JUKEBOX"));
}

/// What the RPC layer answers itself (RFC 5531 section 9).
#[test]
fn calls_that_are_refused() {
    let refused = |record: Bytes| reply_record(front().call(CLIENT, record));
    let accepted = |rest: &str| format!("00000001 00000001 00000000 00000000 00000000 {rest}");
    assert_bytes(&refused(call(100_003, 4, 1, "")), &accepted("00000002 00000003 00000003 ; PROG_MISMATCH"));
    assert_bytes(&refused(call(100_227, 3, 0, "")), &accepted("00000001 ; PROG_UNAVAIL"));
    assert_bytes(&refused(call(100_003, 3, 22, "")), &accepted("00000003 ; PROC_UNAVAIL"));
    assert_bytes(&refused(call(100_005, 3, 6, "")), &accepted("00000003"));
    assert_bytes(&refused(call(100_003, 3, 1, "00000041")), &accepted("00000004 ; GARBAGE_ARGS"));
    let mismatch = "HANDLE 00000000 00000003 00000004 00000002 00000005 68656c6c 6f000000";
    assert_bytes(&refused(call(100_003, 3, 7, mismatch)), &accepted("00000004 ; WRITE: count is not the length"));
    let mut version = call(100_003, 3, 0, "").to_vec();
    version[11] = 3;
    assert_bytes(&refused(version.into()), "00000001 00000001 00000001 00000000 00000002 00000002 ; RPC_MISMATCH");
    let credential = |flavour: &str| {
        let text = format!("00000001 00000000 00000002 000186a3 00000003 00000001 {flavour} 00000000 00000000");
        refused(Bytes::from(hex(&text)))
    };
    assert_bytes(&credential("00000006 00000000"), "00000001 00000001 00000001 00000001 00000005 ; AUTH_TOOWEAK");
    assert_bytes(&credential("00000001 00000004 00000000"), "00000001 00000001 00000001 00000001 00000001 ; AUTH_BADCRED");
    let groups = "00000001 00000058 00000000 00000000 00000000 00000000 00000011".to_owned() + &"00000000".repeat(17);
    assert_bytes(&credential(&groups), "00000001 00000001 00000001 00000001 00000001 ; 17 groups");
}

#[test]
fn what_is_no_call_closes_the_connection() {
    let reply = Bytes::from(hex("00000001 00000001 00000000 00000000 00000000 00000000"));
    for record in [Bytes::new(), Bytes::from_static(b"GET / HTTP/1.1\r\n\r\n"), reply] {
        assert!(matches!(front().call(CLIENT, record), Call::Close));
    }
}

#[test]
fn mount_programs() {
    let other = Export { clients: vec![rule("192.168.0.0/16", Access::ReadWrite)], ..Export::new("/other", VolumeId(8)) };
    let front = front_of(vec![export(), other]);
    let answer = |procedure: u32, arguments: &str| reply_record(front.call(CLIENT, call(100_005, 3, procedure, arguments)));
    assert_bytes(&answer(0, ""), ACCEPTED);
    let root = front.handles().encode(VOLUME, mainstay_protocol::FileId::ROOT);
    let mounted = format!("{ACCEPTED} 00000000 00000028 {} 00000001 00000001 ; one flavour, AUTH_SYS", show(&root));
    assert_bytes(&answer(1, "00000006 2f66696c 65730000 ; /files"), &mounted);
    assert_bytes(&answer(1, "00000007 2f66696c 65732f00 ; /files/"), &mounted);
    assert_bytes(&answer(1, "0000000a 2f66696c 65732f73 75620000 ; /files/sub"), &format!("{ACCEPTED} 00000002"));
    assert_bytes(&answer(1, "00000000"), &format!("{ACCEPTED} 00000002"));
    assert_bytes(&answer(1, "00000001 2f000000"), &format!("{ACCEPTED} 00000002"));
    assert_bytes(&answer(1, "00000006 2f6f7468 65720000 ; /other"), &format!("{ACCEPTED} 0000000d"));
    assert_bytes(&answer(2, ""), &format!("{ACCEPTED} 00000000"));
    assert_bytes(&answer(3, "00000006 2f66696c 65730000"), ACCEPTED);
    assert_bytes(&answer(4, ""), ACCEPTED);
    let exports = "00000001 00000006 2f66696c 65730000 00000001 00000009 302e302e 302e302f 30000000 00000000 00000000";
    assert_bytes(&answer(5, ""), &format!("{ACCEPTED} {exports} ; /files to 0.0.0.0/0, and not /other"));
    let too_long = format!("00000401 {}", "61".repeat(1028));
    assert_eq!(answer(1, &too_long)[20..], [0, 0, 0, 4], "GARBAGE_ARGS");
}

#[test]
fn the_mount_client_reads_what_the_server_writes() {
    let front = front();
    let ask = |request: MountRequest| {
        let record = unmarked(&client::encode_mount(3, &Credential::None, &request));
        let reply = client::decode_mount(request.procedure(), reply_record(front.call(CLIENT, record))).unwrap();
        assert_eq!(reply.xid, 3);
        reply.result
    };
    let root = client::Handle::new(&front.handles().encode(VOLUME, mainstay_protocol::FileId::ROOT)).unwrap();
    assert_eq!(ask(MountRequest::Mount { path: "/files".into() }), Ok(MountAnswer::Mounted { root, flavours: vec![1] }));
    assert_eq!(ask(MountRequest::Mount { path: "/none".into() }), Err(MountError::NotFound));
    assert_eq!(ask(MountRequest::Mounts), Ok(MountAnswer::Mounts(vec![])));
    let exports = vec![client::ExportEntry { path: "/files".into(), clients: vec!["0.0.0.0/0".into()] }];
    assert_eq!(ask(MountRequest::Exports), Ok(MountAnswer::Exports(exports)));
    for request in [MountRequest::Null, MountRequest::UnmountAll, MountRequest::Unmount { path: "/files".into() }] {
        assert_eq!(ask(request), Ok(MountAnswer::Done));
    }
    // Another server's list of mounts (5.2.2).
    let list = hex(&format!("{ACCEPTED} 00000001 00000002 70630000 00000001 2f000000 00000000"));
    let expected = MountAnswer::Mounts(vec![client::MountEntry { client: "pc".into(), path: "/".into() }]);
    assert_eq!(client::decode_mount(MountProcedure::Dump, list.into()).unwrap().result, Ok(expected));
}

#[test]
fn portmap() {
    let answer = |procedure: u32, arguments: &str| reply_record(front().call(CLIENT, call(100_000, 2, procedure, arguments)));
    assert_bytes(&answer(0, ""), ACCEPTED);
    assert_bytes(&answer(3, "000186a3 00000003 00000006 00000000"), &format!("{ACCEPTED} 00002f11 ; NFS 3, TCP: 12049"));
    assert_bytes(&answer(3, "000186a5 00000003 00000006 00000000"), &format!("{ACCEPTED} 00002f11 ; MOUNT 3"));
    assert_bytes(&answer(3, "000186a3 00000003 00000011 00000000"), &format!("{ACCEPTED} 00000000 ; UDP"));
    assert_bytes(&answer(3, "000186a3 00000004 00000006 00000000"), &format!("{ACCEPTED} 00000000 ; NFS 4"));
    let dump = "00000001 000186a3 00000003 00000006 00002f11 00000001 000186a5 00000003 00000006 00002f11 00000000";
    assert_bytes(&answer(4, ""), &format!("{ACCEPTED} {dump}"));
    assert_eq!(answer(1, "")[20..], [0, 0, 0, 3], "SET is refused with PROC_UNAVAIL");
    assert_eq!(answer(3, "000186a3")[20..], [0, 0, 0, 4], "GARBAGE_ARGS");
}

#[test]
fn the_clients_calls() {
    let handle = handle(&front(), 20);
    let head = |procedure: u32| {
        format!(
            "00000002 00000000 00000002 000186a3 00000003 {procedure:08x}
             00000001 00000028 00000000 00000008 6d61696e 73746179 ; AUTH_SYS, stamp, machine mainstay
             000003e8 00000064 00000003 00000064 00000004 0000001b 00000000 00000000 "
        )
    };
    let set = SetAttributes { mode: Some(0o600), atime: SetTime::Server, ..SetAttributes::default() };
    let create = Request::Create { dir: handle.clone(), name: Bytes::from_static(b"new"), how: CreateHow::Guarded(set) };
    let expected = head(8) + "HANDLE 00000003 6e657700 00000001 00000001 00000180 00000000 00000000 00000000 00000001 00000000";
    assert_bytes(&record(2, &create), &with_handle(&expected));
    let write = Request::Write { file: handle, offset: 3, data: Bytes::from_static(b"hello"), stability: Stability::Unstable };
    let expected = head(7) + "HANDLE 00000000 00000003 00000005 00000000 00000005 68656c6c 6f000000";
    assert_bytes(&record(2, &write), &with_handle(&expected));
}
