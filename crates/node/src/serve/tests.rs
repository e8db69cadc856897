//! Clients that are good, greedy, slow, mute and confused.

use super::connection::{CurrentFront, Ended, run};
use super::*;
use bytes::Bytes;
use mainstay_nfs::client::{MountAnswer, MountRequest};
use mainstay_nfs::client::{MountReply, Reply, Request, Session, decode_mount, encode_mount};
use mainstay_nfs::rpc::Credential;
use mainstay_nfs::{Front, MountProcedure, Network, RecordReader};
use mainstay_protocol::{ClusterId, FileError, Stability};
use std::net::IpAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 2, 3));
const FILES: VolumeId = VolumeId(1);

fn front(network: Network) -> Arc<CurrentFront> {
    let rule = ClientRule { network, access: mainstay_nfs::Access::ReadWrite };
    let export = Export { clients: vec![rule], squash: mainstay_nfs::Squash::None, ..Export::new("/files", FILES) };
    Arc::new(RwLock::new(Arc::new(Front::new(ClusterId([1; 16]), HandleKey([2; 16]), vec![export], 2049).unwrap())))
}

struct Client {
    stream: DuplexStream,
    records: RecordReader,
    session: Session,
}

fn credential() -> Credential {
    Credential::Sys { uid: 1000, gid: 1000, groups: vec![] }
}

/// A client on an in-memory connection with `pipe` bytes of buffer each way.
fn connect(common: &Arc<Common>, pipe: usize) -> (Client, JoinHandle<Ended>) {
    let (near, far) = tokio::io::duplex(pipe);
    let (reader, writer) = tokio::io::split(far);
    let task = tokio::spawn(run(reader, writer, CLIENT, front(Network::ALL_V4), common.clone()));
    (Client { stream: near, records: RecordReader::new(), session: Session::new(credential(), 100) }, task)
}

impl Client {
    async fn send(&mut self, request: &Request) -> u32 {
        let (xid, parts) = self.session.call(request);
        self.stream.write_all(&parts.concat()).await.unwrap();
        xid
    }

    async fn record(&mut self) -> Bytes {
        loop {
            if let Some(record) = self.records.next_record().unwrap() {
                return record;
            }
            assert!(self.stream.read_buf(self.records.space()).await.unwrap() > 0, "the server hung up");
        }
    }

    async fn reply(&mut self) -> Reply {
        let record = self.record().await;
        self.session.reply(record).unwrap()
    }

    async fn mount(&mut self) -> mainstay_nfs::client::Handle {
        let call = encode_mount(7, &credential(), &MountRequest::Mount { path: "/files".into() });
        self.stream.write_all(&call.concat()).await.unwrap();
        let MountReply { result, .. } = decode_mount(MountProcedure::Mnt, self.record().await).unwrap();
        match result {
            Ok(MountAnswer::Mounted { root, .. }) => root,
            other => panic!("not mounted: {other:?}"),
        }
    }
}

fn common() -> Arc<Common> {
    Arc::new(Common::new(Arc::default()))
}

fn all_free(common: &Common) -> bool {
    common.budget.available_permits() == TOTAL_BYTES_MAX / UNIT
}

#[tokio::test]
async fn many_requests_at_once_are_all_answered() {
    let common = common();
    let (mut client, _task) = connect(&common, 1 << 20);
    let mut asked: Vec<u32> = Vec::new();
    for _ in 0..1_000 {
        asked.push(client.send(&Request::Null).await);
    }
    let mut answered = Vec::new();
    for _ in 0..1_000 {
        answered.push(client.reply().await.xid);
    }
    answered.sort_unstable();
    assert_eq!(answered, asked);
}

#[tokio::test]
async fn a_volume_that_is_not_here_yet_is_later_and_not_stale() {
    let common = common();
    let (mut client, _task) = connect(&common, 1 << 16);
    let root = client.mount().await;
    client.send(&Request::GetAttributes { file: root }).await;
    let reply = client.reply().await;
    assert_eq!(reply.result.unwrap_err().error, FileError::TryLater);
}

#[tokio::test]
async fn writes_and_reads_go_through_a_real_volume() {
    let dir = crate::test_dir::TestDir::new("serve");
    let (host, _alone, modes) = crate::host::tests::start(&dir, true);
    crate::host::tests::wait_for(&modes, mainstay_replica::ServeMode::ReadWrite);
    let hosts = Arc::new(Hosts::default());
    hosts.insert(host);
    let common = Arc::new(Common::new(hosts));
    let (mut client, task) = connect(&common, 1 << 16);
    client.session = Session::new(Credential::Sys { uid: 0, gid: 0, groups: vec![] }, 1);
    let root = client.mount().await;
    let how = mainstay_protocol::file::CreateHow::Unchecked(Default::default());
    client.send(&Request::Create { dir: root, name: Bytes::from_static(b"f"), how }).await;
    let file = match client.reply().await.result.unwrap() {
        mainstay_nfs::client::Answer::Made { handle: Some(file), .. } => file,
        other => panic!("not made: {other:?}"),
    };
    let data = Bytes::from((0..1 << 20).map(|n: u32| (n % 251) as u8).collect::<Vec<u8>>());
    client.send(&Request::Write { file: file.clone(), offset: 0, data: data.clone(), stability: Stability::FileSync }).await;
    client.reply().await.result.unwrap();
    client.send(&Request::Read { file, offset: 0, count: 1 << 20 }).await;
    match client.reply().await.result.unwrap() {
        mainstay_nfs::client::Answer::Data { data: read, .. } => assert_eq!(read, data),
        other => panic!("not read: {other:?}"),
    }
    assert!(common.counters.requests.iter().map(Histogram::count).sum::<u64>() >= 3);
    drop(client);
    assert!(matches!(task.await.unwrap(), Ended::Closed | Ended::Io(_)));
    assert!(all_free(&common), "every byte of the budget came back");
}

#[tokio::test]
async fn garbage_and_oversized_records_end_the_connection() {
    for junk in [&[0x80, 0, 0, 4, 1, 2, 3, 4][..], &[0xff; 64], b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let common = common();
        let (mut client, task) = connect(&common, 1 << 16);
        client.stream.write_all(junk).await.unwrap();
        let ended = task.await.unwrap();
        assert!(matches!(ended, Ended::Framing(_) | Ended::Refused), "{ended}");
        assert!(all_free(&common));
    }
}

#[tokio::test]
async fn who_is_not_allowed_gets_nothing() {
    let common = common();
    let (near, far) = tokio::io::duplex(1 << 16);
    let (reader, writer) = tokio::io::split(far);
    let task = tokio::spawn(run(reader, writer, CLIENT, front("192.168.0.0/16".parse().unwrap()), common));
    let (_, call) = Session::new(credential(), 1).call(&Request::Null);
    let mut near = near;
    near.write_all(&call.concat()).await.unwrap();
    assert!(matches!(task.await.unwrap(), Ended::Refused));
}

#[tokio::test(start_paused = true)]
async fn a_record_that_stalls_is_given_up_and_an_idle_connection_is_not() {
    let common = common();
    let (mut idle, idle_task) = connect(&common, 1 << 16);
    let (mut client, task) = connect(&common, 1 << 21);
    // A megabyte is announced and a part of it sent: its memory is taken from the budget, and given back.
    client.stream.write_all(&[0x80, 0x10, 0, 0]).await.unwrap();
    client.stream.write_all(&vec![0; 200_000]).await.unwrap();
    assert!(matches!(task.await.unwrap(), Ended::SlowSender));
    assert!(all_free(&common));
    tokio::time::sleep(RECORD_TIME_MAX * 10).await;
    assert!(!idle_task.is_finished());
    idle.send(&Request::Null).await;
    idle.reply().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_stops_itself_only() {
    let common = common();
    let (mut mute, task) = connect(&common, 4 << 10);
    let flood = tokio::spawn(async move {
        let (_, call) = mute.session.call(&Request::Null);
        let call = call.concat();
        let mut sent = 0;
        while mute.stream.write_all(&call).await.is_ok() {
            sent += 1;
        }
        sent
    });
    let (mut good, _good_task) = connect(&common, 1 << 16);
    good.send(&Request::Null).await;
    good.reply().await;
    assert!(matches!(task.await.unwrap(), Ended::SlowReader));
    let sent: usize = flood.await.unwrap();
    assert!(sent < 2 * CONNECTION_REQUESTS_MAX, "{sent} requests were taken from a client that reads nothing");
    good.send(&Request::Null).await;
    good.reply().await;
    assert!(all_free(&common));
}

mod service {
    use super::super::listener;
    use super::*;
    use mainstay_cluster::{Access, ClusterState, ExportClient};
    use mainstay_replica::ServeMode;
    use std::net::SocketAddr;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::{mpsc, watch};

    const PATIENCE: Duration = Duration::from_secs(10);

    fn state_at(address: SocketAddr) -> ClusterState {
        let mut state = crate::host::tests::cluster_of_one();
        let volume = state.volumes.get_mut(&FILES).unwrap();
        volume.export.service_address = address.ip().to_string();
        volume.export.port = address.port();
        let network = "127.0.0.0/8".into();
        volume.export.clients = vec![ExportClient { network, access: Access::ReadWrite, squash: Squash::None }];
        state
    }

    async fn until(holds: impl Fn() -> bool) {
        let poll = async {
            while !holds() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, poll).await.expect("it does not come to hold");
    }

    /// Only once it is known to be bound: a process that another test starts has a copy of every socket of this one, the
    /// listener that was dropped too, until it executes its program, and who connects meanwhile is reset then.
    async fn connects(address: SocketAddr) -> TcpStream {
        TcpStream::connect(address).await.expect("the address is served")
    }

    /// Tried again for the same copies.
    async fn is_free(address: SocketAddr) {
        let bind = async {
            while TcpListener::bind(address).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, bind).await.expect("the address is free");
    }

    /// No interface to look after, and nobody to tell.
    fn around(bindings: &listener::Bindings) -> listener::Around {
        let addresses = crate::serve::address::Addresses::new(None);
        listener::Around { bindings: bindings.clone(), addresses, tell: Box::new(|_, _, _| {}) }
    }

    #[tokio::test]
    async fn the_address_is_bound_while_served_and_reset_when_not() {
        // An address of this test's own: what is free between the two listeners, another test would be given.
        let reserved = TcpListener::bind("127.0.71.33:0").await.unwrap();
        let address = reserved.local_addr().unwrap();
        let (_states, state) = watch::channel(Arc::new(state_at(address)));
        let (modes, queue) = mpsc::unbounded_channel();
        let (stop, stopping) = watch::channel(false);
        let bindings = listener::Bindings::default();
        let key = FrontKey { cluster: ClusterId([1; 16]), key: HandleKey([2; 16]) };
        let service = tokio::spawn(listener::run(key, common(), state, queue, around(&bindings), stopping));
        let bound = || bindings.lock().unwrap().get(&address).cloned();

        // Somebody else has the address at first, as the previous primary may.
        modes.send((FILES, ServeMode::ReadWrite)).unwrap();
        until(|| bound().is_some()).await;
        assert!(bound().unwrap().is_err());
        drop(reserved);
        until(|| bound() == Some(Ok(()))).await;
        let mut stream = connects(address).await;
        stream.write_all(&Session::new(credential(), 1).call(&Request::Null).1.concat()).await.unwrap();
        let mut byte = [0; 1];
        stream.read_exact(&mut byte).await.unwrap();

        modes.send((FILES, ServeMode::Closed)).unwrap();
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the connection is cut");
        assert!(ended.is_err() || rest.len() < 100);
        until(|| bound().is_none()).await;
        is_free(address).await;

        modes.send((FILES, ServeMode::ReadOnly)).unwrap();
        until(|| bound() == Some(Ok(()))).await;
        connects(address).await;
        stop.send(true).unwrap();
        service.await.unwrap();
        is_free(address).await;
    }
}
