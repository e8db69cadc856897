//! Who may use an export, and as whom.

mod common;

use bytes::Bytes;
use common::*;
use mainstay_nfs::client::{self, Answer, Handle, Request};
use mainstay_nfs::rpc::Credential;
use mainstay_nfs::{Access, Call, Export, ExportError, Front, HandleKey, Network, Squash};
use mainstay_protocol::file::{SetAttributes, access};
use mainstay_protocol::{Caller, FileError, FileOk, VolumeId};
use std::net::IpAddr;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn exported_to(clients: &[(&str, Access)]) -> Export {
    Export { clients: clients.iter().map(|(network, access)| rule(network, *access)).collect(), ..export() }
}

/// The refusal that `request` of `client` meets before any volume.
fn refused(front: &Front, client: IpAddr, request: &Request) -> Option<FileError> {
    match front.call(client, record(1, request)) {
        Call::File { .. } => None,
        Call::Reply(parts) => Some(client::decode(request.procedure(), unmarked(&parts)).unwrap().result.unwrap_err().error),
        Call::Close => panic!("closed"),
    }
}

#[test]
fn networks_are_read_and_shown() {
    for text in ["10.0.0.0/8", "0.0.0.0/0", "192.168.1.7/32", "fd00:1::/64", "::/0", "::1/128", "10.128.0.0/9"] {
        assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
    }
    assert_eq!("10.1.2.3".parse::<Network>().unwrap().to_string(), "10.1.2.3/32");
    assert_eq!("::1".parse::<Network>().unwrap().prefix(), 128);
    for text in ["", "/", "10.0.0.0/", "10.0.0/8", "10.0.0.0/33", "::/129", "10.0.0.0/+8", "10.0.0.0/8/8", "*", "host", "::/-1"] {
        assert_eq!(text.parse::<Network>(), Err(ExportError::Network(text.to_owned())), "{text:?}");
    }
    let error = "10.1.2.3/8".parse::<Network>().unwrap_err();
    assert_eq!(error.to_string(), "client network 10.1.2.3/8: bits below the prefix are set; did you mean 10.0.0.0/8?");
}

#[test]
fn networks_contain_what_they_say() {
    let network = |text: &str| text.parse::<Network>().unwrap();
    assert!(network("10.128.0.0/9").contains(ip("10.255.1.1")) && !network("10.128.0.0/9").contains(ip("10.127.255.255")));
    assert!(network("10.1.2.3/32").contains(ip("10.1.2.3")) && !network("10.1.2.3/32").contains(ip("10.1.2.2")));
    assert!(network("fd00:1::/64").contains(ip("fd00:1::ffff")) && !network("fd00:1::/64").contains(ip("fd00:1:0:1::")));
    assert!(Network::ALL_V4.contains(ip("255.255.255.255")) && !Network::ALL_V4.contains(ip("::1")));
    assert!(Network::ALL_V6.contains(ip("::1")) && !Network::ALL_V6.contains(ip("127.0.0.1")));
    // On a socket for both families, IPv4 clients look like this.
    assert!(network("10.0.0.0/8").contains(ip("::ffff:10.1.2.3")) && !Network::ALL_V6.contains(ip("::ffff:10.1.2.3")));
}

#[test]
fn the_longest_prefix_decides_and_the_stricter_of_equals() {
    use Access::*;
    let export =
        exported_to(&[("0.0.0.0/0", ReadOnly), ("10.0.0.0/8", ReadWrite), ("10.9.0.0/16", ReadOnly), ("10.9.9.9", ReadWrite)]);
    let cases = [("1.2.3.4", ReadOnly), ("10.1.1.1", ReadWrite), ("10.9.1.1", ReadOnly), ("10.9.9.9", ReadWrite)];
    cases.iter().for_each(|(client, access)| assert_eq!(export.access(ip(client)), Some(*access), "{client}"));
    assert_eq!(export.access(ip("::1")), None);
    for clients in [[("10.0.0.0/8", ReadOnly), ("10.0.0.0/8", ReadWrite)], [("10.0.0.0/8", ReadWrite), ("10.0.0.0/8", ReadOnly)]] {
        assert_eq!(exported_to(&clients).access(ip("10.1.1.1")), Some(ReadOnly));
    }
    let read_only = Export { read_only: true, ..export };
    assert_eq!(read_only.access(ip("10.1.1.1")), Some(ReadOnly));
}

#[test]
fn clients_that_are_not_allowed_are_closed_whatever_they_say() {
    let front = front_of(vec![exported_to(&[("10.1.0.0/16", Access::ReadWrite)])]);
    let stranger = ip("10.2.0.1");
    assert!(front.allows(CLIENT) && !front.allows(stranger) && !front.allows(ip("::1")));
    assert!(front.allows(ip("::ffff:10.1.2.3")));
    for request in requests(&front).iter().chain([&Request::Null]) {
        assert!(matches!(front.call(stranger, record(1, request)), Call::Close));
    }
    assert!(matches!(front.call(stranger, Bytes::from_static(b"garbage")), Call::Close));
    let nobody = front_of(vec![Export::new("/files", VOLUME)]);
    assert!(!nobody.allows(CLIENT), "an export allows nobody until it says whom");
}

#[test]
fn a_genuine_handle_of_a_volume_that_is_not_for_the_client_is_refused() {
    let other = Export { path: "/other".into(), volume: VolumeId(8), ..exported_to(&[("10.2.0.0/16", Access::ReadWrite)]) };
    let front = front_of(vec![exported_to(&[("10.1.0.0/16", Access::ReadWrite)]), other]);
    let handle_of = |volume| Handle::new(&front.handles().encode(VolumeId(volume), file(1))).unwrap();
    let get = |volume| Request::GetAttributes { file: handle_of(volume) };
    assert_eq!(refused(&front, CLIENT, &get(7)), None);
    assert_eq!(refused(&front, CLIENT, &get(8)), Some(FileError::AccessDenied));
    assert_eq!(refused(&front, CLIENT, &get(9)), Some(FileError::AccessDenied), "a volume that is not exported");
    assert_eq!(refused(&front, ip("10.2.0.1"), &get(8)), None);
    let rename = Request::Rename {
        from_dir: handle_of(7),
        from_name: Bytes::from_static(b"a"),
        to_dir: handle_of(8),
        to_name: Bytes::from_static(b"b"),
    };
    assert_eq!(refused(&front, CLIENT, &rename), Some(FileError::CrossDevice));
    let link = Request::Link { file: handle_of(8), dir: handle_of(7), name: Bytes::from_static(b"b") };
    assert_eq!(refused(&front, CLIENT, &link), Some(FileError::CrossDevice));
}

#[test]
fn forged_handles_are_bad_handles() {
    let front = front();
    let good = handle(&front, 20);
    let mut random = Random(3);
    for _ in 0..20_000 {
        let mut bytes = good.bytes().to_vec();
        for _ in 0..=random.below(3) {
            let at = random.below(40) as usize;
            bytes[at] = random.next() as u8;
        }
        if bytes != good.bytes() {
            let request = Request::GetAttributes { file: Handle::new(&bytes).unwrap() };
            assert_eq!(refused(&front, CLIENT, &request), Some(FileError::BadHandle));
        }
    }
    let other_key = Front::new(CLUSTER, HandleKey([1; 16]), vec![export()], 1).unwrap();
    assert_eq!(refused(&other_key, CLIENT, &Request::GetAttributes { file: good }), Some(FileError::BadHandle));
}

#[test]
fn read_only_clients_change_nothing_and_are_told_so_by_access() {
    let read_only_export = Export { read_only: true, ..export() };
    for front in [front_of(vec![read_only_export]), front_of(vec![exported_to(&[("10.0.0.0/8", Access::ReadOnly)])])] {
        for request in requests(&front) {
            let expected = request.procedure().needs_identity().then_some(FileError::ReadOnly);
            assert_eq!(refused(&front, CLIENT, &request), expected, "{request:?}");
        }
        let (_, context) = file_call(&front, 1, &Request::Access { file: handle(&front, 20), mask: 0x3f });
        let parts = front.reply(context, Ok(FileOk::Access { granted: 0x3f, attributes: attributes(20) }));
        let reply = client::decode(context.procedure(), unmarked(&parts)).unwrap();
        let Ok(Answer::Access { granted, .. }) = reply.result else { panic!("{reply:?}") };
        assert_eq!(granted, access::READ | access::LOOKUP | access::EXECUTE);
    }
}

#[test]
fn callers_are_squashed_as_the_export_says() {
    let who = |squash, credential: Credential| {
        let export = Export { squash, anonymous_uid: 99, anonymous_gid: 98, ..export() };
        let front = front_of(vec![export]);
        let request = Request::MakeDirectory { dir: handle(&front, 30), name: Bytes::new(), set: SetAttributes::default() };
        match front.call(CLIENT, unmarked(&client::encode(1, &credential, &request))) {
            Call::File { request, .. } => request.caller,
            other => panic!("{other:?}"),
        }
    };
    let root = Credential::Sys { uid: 0, gid: 0, groups: vec![0, 5] };
    let staff = Credential::Sys { uid: 5, gid: 6, groups: vec![7, 0] };
    let caller = |uid, gid, groups: &[u32]| Caller { uid, gid, groups: groups.to_vec() };
    assert_eq!(who(Squash::None, root.clone()), caller(0, 0, &[0, 5]));
    assert_eq!(who(Squash::Root, root.clone()), caller(99, 98, &[98, 5]));
    assert_eq!(who(Squash::All, root), caller(99, 98, &[]));
    assert_eq!(who(Squash::Root, staff.clone()), caller(5, 6, &[7, 98]));
    assert_eq!(who(Squash::All, staff), caller(99, 98, &[]));
    for squash in [Squash::None, Squash::Root, Squash::All] {
        assert_eq!(who(squash, Credential::None), caller(99, 98, &[]), "no credential is nobody");
    }
    assert_eq!(Export::new("/files", VOLUME).squash, Squash::Root, "the default");
}

#[test]
fn configurations_that_make_no_sense_are_refused() {
    let new = |exports| Front::new(CLUSTER, KEY, exports, 1).map(|_| ());
    for path in ["", "files", "/files/", "//files", "/a/../b", "/./a", "/a\0b", &format!("/{}", "x".repeat(1024))] {
        assert_eq!(new(vec![Export::new(path, VOLUME)]), Err(ExportError::Path(path.to_owned())), "{path:?}");
    }
    for path in ["/", "/files", "/srv/data", "/ü"] {
        assert_eq!(new(vec![Export::new(path, VOLUME)]), Ok(()));
    }
    let twice = vec![Export::new("/a", VolumeId(1)), Export::new("/a", VolumeId(2))];
    assert_eq!(new(twice), Err(ExportError::SamePath("/a".into())));
    let twice = vec![Export::new("/a", VolumeId(1)), Export::new("/b", VolumeId(1))];
    assert_eq!(new(twice), Err(ExportError::SameVolume(VolumeId(1))));
}
