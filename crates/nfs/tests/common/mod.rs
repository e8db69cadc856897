//! What the tests of this crate share: a cluster with one export, samples of every value, a seeded generator.
#![allow(dead_code)]

use bytes::Bytes;
use mainstay_nfs::client::{self, Handle, Request};
use mainstay_nfs::rpc::Credential;
use mainstay_nfs::{Access, Call, ClientRule, Context, Export, Front, HandleKey, Network, Squash};
use mainstay_protocol::file::{Before, CreateHow, SetAttributes, SetTime, Wcc};
use mainstay_protocol::{Attributes, ClientRequest, ClusterId, FileId, FileKind, Stability, Timestamp, VolumeId};
use std::net::{IpAddr, Ipv4Addr};

pub const VOLUME: VolumeId = VolumeId(7);
pub const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3));
pub const CLUSTER: ClusterId = ClusterId([0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0, 0, 0, 0, 0, 0, 0, 0]);
pub const KEY: HandleKey = HandleKey([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
/// `fsid` of [`VOLUME`].
pub const FSID: u64 = 0xc0c1_c2c3_0000_0007;

pub fn rule(network: &str, access: Access) -> ClientRule {
    ClientRule { network: network.parse().unwrap(), access }
}

pub fn export() -> Export {
    let clients = vec![ClientRule { network: Network::ALL_V4, access: Access::ReadWrite }];
    Export { clients, squash: Squash::None, ..Export::new("/files", VOLUME) }
}

pub fn front_of(exports: Vec<Export>) -> Front {
    Front::new(CLUSTER, KEY, exports, 12049).unwrap()
}

pub fn front() -> Front {
    front_of(vec![export()])
}

pub fn file(inode: u64) -> FileId {
    FileId { inode, generation: inode / 2 + 1 }
}

pub fn handle(front: &Front, inode: u64) -> Handle {
    Handle::new(&front.handles().encode(VOLUME, file(inode))).unwrap()
}

pub fn sys() -> Credential {
    Credential::Sys { uid: 1000, gid: 100, groups: vec![100, 4, 27] }
}

pub fn attributes(inode: u64) -> Attributes {
    Attributes {
        file: file(inode),
        kind: FileKind::Regular,
        mode: 0o644,
        links: 2,
        uid: 1000,
        gid: 100,
        size: 5_000_000_000,
        used: 4096,
        atime: Timestamp::new(1, 2),
        mtime: Timestamp::new(3, 4),
        ctime: Timestamp::new(5, 999_999_999),
    }
}

/// As a client sees them: the wire has no generation.
pub fn seen(attributes: Attributes) -> Attributes {
    Attributes { file: FileId { generation: 0, ..attributes.file }, ..attributes }
}

pub fn seen_wcc(wcc: Wcc) -> Wcc {
    Wcc { after: wcc.after.map(seen), ..wcc }
}

pub fn wcc(inode: u64) -> Wcc {
    let before = Before { size: 10, mtime: Timestamp::new(1, 1), ctime: Timestamp::new(2, 2) };
    Wcc { before: Some(before), after: Some(attributes(inode)) }
}

pub fn set() -> SetAttributes {
    SetAttributes {
        mode: Some(0o4755),
        uid: None,
        gid: Some(100),
        size: Some(1 << 40),
        atime: SetTime::Server,
        mtime: SetTime::Client(Timestamp::new(9, 8)),
    }
}

fn name(text: &'static [u8]) -> Bytes {
    Bytes::from_static(text)
}

/// At least one call of every procedure but NULL.
pub fn requests(front: &Front) -> Vec<Request> {
    let (f, d) = (handle(front, 20), handle(front, 30));
    let none = SetAttributes::default();
    vec![
        Request::GetAttributes { file: f.clone() },
        Request::SetAttributes { file: f.clone(), set: set(), guard_ctime: Some(Timestamp::new(5, 6)) },
        Request::SetAttributes { file: f.clone(), set: none, guard_ctime: None },
        Request::Lookup { dir: d.clone(), name: name(b"\xff\xfe not utf-8") },
        Request::Access { file: f.clone(), mask: 0x3f },
        Request::ReadLink { file: f.clone() },
        Request::Read { file: f.clone(), offset: 1 << 33, count: 4096 },
        Request::Write { file: f.clone(), offset: 1 << 33, data: name(b"hello"), stability: Stability::Unstable },
        Request::Write { file: f.clone(), offset: 0, data: Bytes::from(vec![3; 20_000]), stability: Stability::FileSync },
        Request::Write { file: f.clone(), offset: 0, data: Bytes::new(), stability: Stability::DataSync },
        Request::Create { dir: d.clone(), name: name(b"a"), how: CreateHow::Unchecked(set()) },
        Request::Create { dir: d.clone(), name: name(b"ab"), how: CreateHow::Guarded(none) },
        Request::Create { dir: d.clone(), name: name(b"abc"), how: CreateHow::Exclusive(*b"verifier") },
        Request::MakeDirectory { dir: d.clone(), name: name(b"abcd"), set: set() },
        Request::MakeSymlink { dir: d.clone(), name: name(b"l"), target: name(b"../t"), set: none },
        Request::MakeNode { dir: d.clone(), name: name(b"n"), kind: FileKind::CharDevice { major: 1, minor: 3 }, set: set() },
        Request::MakeNode { dir: d.clone(), name: name(b"n"), kind: FileKind::BlockDevice { major: 8, minor: 1 }, set: none },
        Request::MakeNode { dir: d.clone(), name: name(b"n"), kind: FileKind::Fifo, set: none },
        Request::MakeNode { dir: d.clone(), name: name(b"n"), kind: FileKind::Socket, set: set() },
        Request::Remove { dir: d.clone(), name: name(b"a") },
        Request::RemoveDirectory { dir: d.clone(), name: name(b"b") },
        Request::Rename { from_dir: d.clone(), from_name: name(b"a"), to_dir: handle(front, 31), to_name: name(b"bb") },
        Request::Link { file: f.clone(), dir: d.clone(), name: name(b"hard") },
        Request::ReadDirectory { dir: d.clone(), cookie: 5, verifier: [0; 8], count: 4096 },
        Request::ReadDirectoryPlus { dir: d.clone(), cookie: 0, verifier: [0; 8], names_max: 1024, bytes_max: 8192 },
        Request::FileSystemStat { file: d.clone() },
        Request::FileSystemInfo { file: d.clone() },
        Request::PathInfo { file: d },
        Request::Commit { file: f, offset: 4096, count: 0 },
    ]
}

/// The record that a server sees, without its mark.
pub fn unmarked(parts: &[Bytes]) -> Bytes {
    let mut wire = Bytes::from(parts.concat());
    let mark = wire.split_to(4);
    assert_eq!(mark[..], (wire.len() as u32 | 1 << 31).to_be_bytes(), "one last fragment of the right length");
    wire
}

pub fn record(xid: u32, request: &Request) -> Bytes {
    unmarked(&client::encode(xid, &sys(), request))
}

/// The file call that `request` becomes; anything else fails the test.
pub fn file_call(front: &Front, xid: u32, request: &Request) -> (ClientRequest, Context) {
    match front.call(CLIENT, record(xid, request)) {
        Call::File { volume: VOLUME, request, context } => (request, context),
        other => panic!("{request:?} became {other:?}"),
    }
}

pub fn reply_record(call: Call) -> Bytes {
    match call {
        Call::Reply(parts) => unmarked(&parts),
        other => panic!("{other:?} where a reply was expected"),
    }
}

/// Seeded generator (splitmix64).
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
        self.next() % bound.max(1)
    }
}
