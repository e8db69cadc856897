use super::fake_server::{EXPORT, FakeServer, Faults, quick};
use super::*;
use bytes::Bytes;
use mainstay_nfs::client::MountError;
use mainstay_protocol::file::{CreateHow, SetAttributes};
use mainstay_protocol::{FileError, FileKind, Stability};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

const UNCHECKED: CreateHow = CreateHow::Unchecked(SetAttributes {
    mode: Some(0o644),
    uid: None,
    gid: None,
    size: None,
    atime: mainstay_protocol::file::SetTime::Keep,
    mtime: mainstay_protocol::file::SetTime::Keep,
});

fn client(server: &FakeServer) -> Client {
    Client::connect(server.address, EXPORT, quick()).unwrap()
}

fn refused(error: CallError) -> FileError {
    error.refusal().unwrap_or_else(|| panic!("{error}"))
}

#[test]
fn one_thing_after_the_other() {
    let server = FakeServer::start(Faults::default());
    let mut client = client(&server);
    let root = client.root();
    client.null().unwrap();
    assert_eq!(client.getattr(&root).unwrap().kind, FileKind::Directory);
    let dir = client.mkdir(&root, "dir", SetAttributes::default()).unwrap();
    let file = client.create(&dir, "file", UNCHECKED).unwrap();
    let written = client.write(&file, 3, Bytes::from_static(b"hello"), Stability::Unstable).unwrap();
    assert_eq!((written.count, written.verifier), (5, client.commit(&file).unwrap()));
    let read = client.read(&file, 0, 100).unwrap();
    assert_eq!((&read.data[..], read.eof), (&b"\0\0\0hello"[..], true));
    client.rename(&dir, "file", &root, "moved").unwrap();
    assert_eq!(client.lookup(&root, "moved").unwrap(), file);
    assert_eq!(refused(client.lookup(&dir, "file").unwrap_err()), FileError::NotFound);
    let names: Vec<Bytes> = client.readdirplus(&root).unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["dir", "moved"]);
    client.remove(&root, "moved").unwrap();
    client.rmdir(&root, "dir").unwrap();
    assert_eq!(server.inodes(), 0);
    assert_eq!(client.fsinfo(&root).unwrap().write_max, 1 << 20);
    assert_eq!((client.stats().reconnects, client.stats().resent, client.in_flight()), (0, 0, 0));
}

/// Creates `count` files with up to `depth` calls in flight and checks that each was made exactly once.
fn create_many(server: &FakeServer, client: &mut Client, count: usize, depth: usize) {
    let root = client.root();
    let (mut next, mut answered) = (0, 0);
    while answered < count {
        while next < count && client.in_flight() < depth {
            let how = CreateHow::Guarded(SetAttributes::default());
            client.submit(Request::Create { dir: root.clone(), name: Bytes::from(format!("f{next}")), how });
            next += 1;
        }
        let completion = client.complete(Duration::from_secs(30)).expect("an answer");
        // GUARDED: a second execution would be refused with EXIST.
        completion.result.unwrap();
        answered += 1;
    }
    assert_eq!(client.in_flight(), 0);
    assert_eq!(server.root_names().len(), count);
}

#[test]
fn many_in_flight_over_several_connections() {
    let server = FakeServer::start(Faults::default());
    let mut client = Client::connect(server.address, EXPORT, Options { connections: 4, ..quick() }).unwrap();
    create_many(&server, &mut client, 2000, 32);
    // One for MOUNT, four for NFS.
    assert_eq!(server.with(|state| state.connections), 5);
    assert_eq!(client.stats().reconnects, 0);
}

#[test]
fn a_lost_reply_is_asked_for_again_under_the_same_number() {
    let server = FakeServer::start(Faults { lose_reply_every: 37, ..Faults::default() });
    let mut client = Client::connect(server.address, EXPORT, Options { connections: 2, ..quick() }).unwrap();
    create_many(&server, &mut client, 1000, 16);
    let (stats, repeated) = (client.stats(), server.with(|state| state.repeated));
    assert!(stats.reconnects > 20 && stats.resent >= stats.reconnects, "{stats:?}");
    assert!(repeated > 20, "the server's duplicate request cache answered {repeated} times");
}

#[test]
fn a_silent_server_is_given_up_and_asked_again() {
    let server = FakeServer::start(Faults { swallow_reply_every: 40, ..Faults::default() });
    let mut client = client(&server);
    create_many(&server, &mut client, 100, 4);
    assert!(client.stats().reconnects >= 1 && client.stats().resent >= 2, "{:?}", client.stats());
}

#[test]
fn one_lost_answer_is_noticed_on_a_busy_connection() {
    let server = FakeServer::start(Faults { swallow_reply_every: 10, ..Faults::default() });
    let mut client = Client::connect(server.address, EXPORT, Options { silence: Duration::from_millis(100), ..quick() }).unwrap();
    let root = client.root();
    let started = Instant::now();
    for _ in 0..9 {
        client.getattr(&root).unwrap();
    }
    let lost = client.submit(Request::GetAttributes { file: root.clone() });
    client.complete(Duration::ZERO);
    while server.with(|state| state.calls) < 10 {
        std::thread::yield_now();
    }
    server.with(|state| state.faults.swallow_reply_every = 0);
    // Always something answered within the time that would count as silence.
    while client.stats().reconnects == 0 {
        client.getattr(&root).unwrap();
        assert!(started.elapsed() < Duration::from_secs(20));
    }
    assert_eq!(client.complete(Duration::from_secs(20)).expect("an answer").ticket, lost);
}

#[test]
fn try_later_is_tried_later_under_a_new_number() {
    let server = FakeServer::start(Faults { try_later_every: 3, ..Faults::default() });
    let mut client = client(&server);
    create_many(&server, &mut client, 200, 8);
    let stats = client.stats();
    assert!(stats.delayed >= 60 && stats.resent == 0, "{stats:?}");
    assert_eq!(server.with(|state| state.repeated), 0);
}

#[test]
fn completions_of_others_wait_while_one_call_is_waited_for() {
    let server = FakeServer::start(Faults::default());
    let mut client = client(&server);
    let root = client.root();
    let tickets: Vec<Ticket> = (0..10).map(|_| client.submit(Request::GetAttributes { file: root.clone() })).collect();
    client.mkdir(&root, "between", SetAttributes::default()).unwrap();
    let mut seen: Vec<Ticket> = std::iter::from_fn(|| client.complete(Duration::from_secs(20))).map(|c| c.ticket).collect();
    seen.sort();
    assert_eq!(seen, tickets);
}

/// A port that nobody listens on: it was free a moment ago.
fn closed_port() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

#[test]
fn a_call_ends_with_its_deadline_and_says_why() {
    let server = FakeServer::start(Faults::default());
    let root = client(&server).root();
    let options = Options { call_timeout: Duration::from_millis(200), ..quick() };
    let mut client = Client::with_root(closed_port(), root.clone(), options.clone());
    let started = Instant::now();
    let error = client.getattr(&root).unwrap_err();
    assert!(started.elapsed() >= Duration::from_millis(200));
    assert!(error.to_string().contains("refused"), "{error}");
    assert_eq!(client.stats().timed_out, 1);

    server.with(|state| state.faults.try_later_every = 1);
    let mut client = Client::with_root(server.address, root.clone(), options);
    let error = client.getattr(&root).unwrap_err();
    assert!(error.to_string().contains("try again later"), "{error}");
    assert_eq!(client.in_flight(), 0);
}

/// The server process dies, and another takes over its address while calls are in flight.
#[test]
fn a_server_that_returns_at_its_address_is_found_again() {
    let server = FakeServer::start(Faults::default());
    let root = client(&server).root();
    let address = closed_port();
    let mut client = Client::with_root(address, root.clone(), quick());
    client.submit(Request::GetAttributes { file: root });
    assert!(client.complete(Duration::from_millis(100)).is_none());
    let listener = TcpListener::bind(address).unwrap();
    let backend = server.address;
    std::thread::spawn(move || {
        let (mut near, mut far) = (listener.accept().unwrap().0, std::net::TcpStream::connect(backend).unwrap());
        let (mut near_in, mut far_out) = (near.try_clone().unwrap(), far.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut near_in, &mut far_out));
        std::io::copy(&mut far, &mut near)
    });
    client.complete(Duration::from_secs(20)).expect("an answer").result.unwrap();
}

#[test]
fn what_cannot_be_mounted_is_explained() {
    let server = FakeServer::start(Faults::default());
    let error = Client::connect(server.address, "/other", quick()).err().unwrap();
    assert!(matches!(&error, ConnectError::Mount { error: MountError::NotFound, offered, .. } if offered == &[EXPORT]), "{error}");
    assert!(error.to_string().contains("it exports /files"), "{error}");
    let error = Client::connect(closed_port(), EXPORT, quick()).err().unwrap();
    assert!(matches!(error, ConnectError::Unreachable { what: "MOUNT", .. }), "{error}");
    let options = Options { mount_port: Some(server.address.port()), ..quick() };
    let error = Client::connect(closed_port(), EXPORT, options).err().unwrap();
    assert!(matches!(error, ConnectError::Unreachable { what: "NFS", .. }), "{error}");
    let target: Target = "nfs://no-such-host.invalid:1/files".parse().unwrap();
    assert!(matches!(Client::open(&target, quick()).err().unwrap(), ConnectError::Resolve { .. }));
}

#[test]
fn a_server_that_wants_reserved_ports_gets_them_when_we_may() {
    let server = FakeServer::start(Faults { reserved_ports_only: true, ..Faults::default() });
    let connected = Client::connect(server.address, EXPORT, quick());
    if rustix::process::geteuid().is_root() {
        connected.unwrap().null().unwrap();
    } else {
        assert!(matches!(connected.err().unwrap(), ConnectError::Mount { error: MountError::AccessDenied, .. }));
    }
}

#[test]
fn a_target_opens_with_its_own_options() {
    let server = FakeServer::start(Faults::default());
    let port = server.address.port();
    let target: Target = format!("nfs://localhost:{port}/files?nconnect=3&mountport={port}").parse().unwrap();
    let mut client = Client::open(&target, quick()).unwrap();
    create_many(&server, &mut client, 100, 9);
    assert_eq!(server.with(|state| state.connections), 4);
}
