//! Two real nodes on loopback, and strangers at the door.

use super::*;
use crate::pki::{Authority, Credentials, Role, node_request};
use mainstay_protocol::{Epoch, Incarnation, Mono, PeerMessage, VolumeId};
use std::collections::BTreeSet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

const CLUSTER: ClusterId = ClusterId([5; 16]);
const PATIENCE: Duration = Duration::from_secs(10);

struct Recorder {
    members: BTreeSet<NodeId>,
    heard: mpsc::UnboundedSender<Envelope>,
}

impl Inbound for Recorder {
    fn member(&self, node: NodeId) -> bool {
        self.members.contains(&node)
    }
    fn peer(&self, envelope: Envelope) -> bool {
        self.heard.send(envelope).is_ok()
    }
    fn coordination(&self, from: NodeId, request: Bytes) -> Pin<Box<dyn Future<Output = Bytes> + Send>> {
        Box::pin(async move { [from.to_string().as_bytes(), &request].concat().into() })
    }
}

fn identity(authority: &Authority, id: u16) -> TlsIdentity {
    let (key, request) = node_request("x").unwrap();
    let certificate = authority.sign_node(&request, NodeId(id), "x", &[]).unwrap();
    TlsIdentity::new(CLUSTER, authority.certificate(), Some(&Credentials { certificate, key })).unwrap()
}

struct Server {
    peers: Peers,
    address: SocketAddr,
    heard: mpsc::UnboundedReceiver<Envelope>,
}

/// Node 1, listening; it knows nodes 2 and 3.
async fn server(authority: &Authority) -> Server {
    let peers = Peers::new(NodeId(1), &identity(authority, 1)).unwrap();
    let (sender, heard) = mpsc::unbounded_channel();
    let recorder = Recorder { members: [NodeId(2), NodeId(3)].into(), heard: sender };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(accept::run(peers.clone(), listener, Arc::new(recorder)));
    Server { peers, address, heard }
}

async fn client(tls: &TlsIdentity, me: u16, server: &Server) -> Peers {
    let peers = Peers::new(NodeId(me), tls).unwrap();
    peers.set_members(&[(NodeId(1), server.address), (NodeId(me), "127.0.0.1:1".parse().unwrap())].into());
    peers
}

async fn until(mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("it happens in time");
}

fn message(from: u16, message: PeerMessage, payload: usize) -> Envelope {
    let payload = if payload == 0 { vec![] } else { vec![Bytes::from(vec![7; payload])] };
    Envelope { volume: VolumeId(1), from: NodeId(from), incarnation: Incarnation(1), message, payload }
}

fn lease() -> PeerMessage {
    PeerMessage::LeaseRequest { epoch: Epoch(1), sent: Mono(1) }
}

#[tokio::test]
async fn messages_and_coordination_cross_and_come_back() {
    let (authority, _) = Authority::generate(CLUSTER, "t").unwrap();
    let mut server = server(&authority).await;
    let peers = client(&identity(&authority, 2), 2, &server).await;
    until(|| peers.connected(NodeId(1))).await;
    let sent = message(2, PeerMessage::Repair { epoch: Epoch(1), ticket: 4, boot: Incarnation(1) }, 3 << 20);
    peers.send(NodeId(1), sent.clone());
    assert_eq!(server.heard.recv().await, Some(sent));
    let calls = (0..200u64).map(|n| peers.call(NodeId(1), Bytes::from(n.to_string())));
    for (n, call) in calls.enumerate() {
        assert_eq!(call.await.unwrap(), format!("n2{n}"));
    }
    assert_eq!(peers.call(NodeId(9), Bytes::new()).await, Err(CallError::NotConnected));
    peers.stop();
    assert_eq!(peers.call(NodeId(1), Bytes::new()).await, Err(CallError::NotConnected));
}

#[tokio::test]
async fn a_peer_that_returns_is_found_again() {
    let (authority, _) = Authority::generate(CLUSTER, "t").unwrap();
    let reserved = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = reserved.local_addr().unwrap();
    drop(reserved);
    let tls = identity(&authority, 2);
    let peers = Peers::new(NodeId(2), &tls).unwrap();
    peers.set_members(&[(NodeId(1), address)].into());
    let away = Peers::new(NodeId(1), &identity(&authority, 1)).unwrap();
    for _ in 0..2 {
        let (heard, _keep) = mpsc::unbounded_channel();
        let task = away.listen(address, Arc::new(Recorder { members: [NodeId(2)].into(), heard })).await.unwrap();
        until(|| peers.connected(NodeId(1))).await;
        task.abort();
        until(|| !peers.connected(NodeId(1))).await;
    }
}

#[tokio::test]
async fn strangers_people_and_former_members_are_refused() {
    let (authority, _) = Authority::generate(CLUSTER, "t").unwrap();
    let (other, _) = Authority::generate(CLUSTER, "t").unwrap();
    let server = server(&authority).await;
    let person = authority.issue_person("ann", &[Role::Admin]).unwrap();
    let person = TlsIdentity::new(CLUSTER, authority.certificate(), Some(&person)).unwrap();
    for (count, tls) in [identity(&other, 2), person, identity(&authority, 9)].iter().enumerate() {
        let peers = client(tls, 2, &server).await;
        let counters = server.peers.counters();
        until(|| counters.refused.load(Ordering::Relaxed) > 2 * count as u64).await;
        peers.send(NodeId(1), message(2, lease(), 0));
        peers.stop();
    }
    let counters = server.peers.counters();
    assert_eq!(counters.frames_received.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn speaking_for_another_node_cuts_the_connection() {
    let (authority, _) = Authority::generate(CLUSTER, "t").unwrap();
    let mut server = server(&authority).await;
    let peers = client(&identity(&authority, 2), 2, &server).await;
    until(|| peers.connected(NodeId(1))).await;
    peers.send(NodeId(1), message(3, lease(), 0));
    let counters = peers.counters();
    until(|| counters.connects.load(Ordering::Relaxed) >= 3).await; // control came a second time
    until(|| peers.connected(NodeId(1))).await;
    peers.send(NodeId(1), message(2, lease(), 0));
    assert_eq!(server.heard.recv().await.map(|heard| heard.from), Some(NodeId(2)), "the forged one never arrived");
}

#[tokio::test]
async fn garbage_on_the_port_is_cut_and_the_others_go_on() {
    let (authority, _) = Authority::generate(CLUSTER, "t").unwrap();
    let mut server = server(&authority).await;
    for junk in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 4096], &[]] {
        let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
        stream.write_all(junk).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the server hangs up");
    }
    // Authenticated, but with a frame that is over the bounds: the connection is cut, the node may come again.
    let tls = identity(&authority, 3);
    let stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let name = crate::tls::server_name(crate::pki::node_server_name(CLUSTER, NodeId(1))).unwrap();
    let mut stream = TlsConnector::from(tls.peer_client().unwrap()).connect(name, stream).await.unwrap();
    let mut header = Outgoing::new(FrameKind::Peer, 0, b"", vec![]).unwrap().head.to_vec();
    header[12..16].fill(0xff);
    stream.write_all(&header).await.unwrap();
    stream.flush().await.unwrap();
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the server hangs up");
    assert!(rest.is_empty());
    let peers = client(&tls, 3, &server).await;
    until(|| peers.connected(NodeId(1))).await;
    peers.send(NodeId(1), message(3, lease(), 0));
    assert!(server.heard.recv().await.is_some());
}

#[tokio::test]
async fn a_taken_port_is_said_at_once() {
    let (authority, _) = Authority::generate(CLUSTER, "t").unwrap();
    let server = server(&authority).await;
    let peers = Peers::new(NodeId(2), &identity(&authority, 2)).unwrap();
    let (heard, _keep) = mpsc::unbounded_channel();
    let error = peers.listen(server.address, Arc::new(Recorder { members: BTreeSet::new(), heard })).await.unwrap_err();
    assert!(error.to_string().contains(&server.address.to_string()), "{error}");
}
