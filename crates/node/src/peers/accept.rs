//! The accepting side: authenticates the peer and hands on what it sends.

use super::dial::Socket;
use super::frame::{Outgoing, Received, read_frame};
use super::{CONNECT_TIME_MAX, Inbound, Peers, REQUESTS_MAX, dial};
use crate::pki::Identity;
use crate::wire;
use mainstay_protocol::NodeId;
use mainstay_protocol::peer::{Envelope, FrameKind};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::server::TlsStream;

/// Connections whose other end is not known yet; more wait in the listen queue. Bounds what strangers can make us hold.
const HANDSHAKES_MAX: usize = 64;
/// All connections: two per peer, and room for those that the kernel has not given up yet.
const CONNECTIONS_MAX: usize = 256;

#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("the handshake failed: {0}")]
    Handshake(io::Error),
    #[error("the handshake took longer than {} s", CONNECT_TIME_MAX.as_secs())]
    Slow,
    #[error("no certificate of a node: {0}")]
    NotANode(String),
    #[error("{0} is not a member of the cluster")]
    NotAMember(NodeId),
}

/// Accepts until it is aborted; its connections end with it.
pub async fn run(peers: Peers, listener: TcpListener, inbound: Arc<dyn Inbound>) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= CONNECTIONS_MAX {
            connections.join_next().await;
        }
        let Ok(turn) = handshakes.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, address)) => {
                let (peers, inbound) = (peers.clone(), inbound.clone());
                connections.spawn(async move {
                    let welcomed = welcome(&peers, &*inbound, stream).await;
                    drop(turn);
                    match welcomed {
                        Ok((node, stream)) => serve(&peers, inbound, node, stream).await,
                        Err(refused) => refuse(&peers, address, &refused),
                    }
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely: waiting helps, spinning does not.
                tracing::warn!(%error, "cannot accept a peer's connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn refuse(peers: &Peers, address: SocketAddr, refused: &Refused) {
    peers.0.counters.refused.fetch_add(1, Ordering::Relaxed);
    tracing::warn!(from = %address, reason = %refused, "refused a connection on the peer port");
}

async fn welcome(peers: &Peers, inbound: &dyn Inbound, stream: TcpStream) -> Result<(NodeId, TlsStream<Socket>), Refused> {
    dial::prepare(&stream).map_err(Refused::Handshake)?;
    let handshake = tokio::time::timeout(CONNECT_TIME_MAX, peers.0.acceptor.accept(dial::buffered(stream)));
    let stream = handshake.await.map_err(|_| Refused::Slow)?.map_err(Refused::Handshake)?;
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let certificate = certificate.ok_or_else(|| Refused::NotANode("none given".into()))?;
    match Identity::read(certificate).map_err(|error| Refused::NotANode(error.to_string()))? {
        Identity::Node { node, .. } if inbound.member(node) => Ok((node, stream)),
        Identity::Node { node, .. } => Err(Refused::NotAMember(node)),
        Identity::Person { name, .. } => Err(Refused::NotANode(format!("it belongs to {name}"))),
    }
}

async fn serve(peers: &Peers, inbound: Arc<dyn Inbound>, node: NodeId, stream: TlsStream<Socket>) {
    let (mut reader, writer) = tokio::io::split(stream);
    let (answers, queue) = mpsc::channel(REQUESTS_MAX);
    let turns = Arc::new(Semaphore::new(REQUESTS_MAX));
    let receive = async {
        loop {
            match read_frame(&mut reader).await {
                Ok(Some(frame)) => {
                    if let Err(reason) = handle(peers, &inbound, node, frame, &answers, &turns).await {
                        break tracing::warn!(peer = %node, reason, "cut a peer's connection");
                    }
                }
                Ok(None) => break tracing::debug!(peer = %node, "peer closed its connection"),
                Err(error) => break tracing::info!(peer = %node, %error, "lost a peer's connection"),
            }
        }
    };
    tokio::select! {
        () = receive => {}
        () = answer(queue, writer) => {}
    }
}

/// An error is the peer's fault and ends its connection.
async fn handle(
    peers: &Peers,
    inbound: &Arc<dyn Inbound>,
    node: NodeId,
    frame: Received,
    answers: &mpsc::Sender<Outgoing>,
    turns: &Arc<Semaphore>,
) -> Result<(), &'static str> {
    let counters = &peers.0.counters;
    counters.frames_received.fetch_add(1, Ordering::Relaxed);
    counters.bytes_received.fetch_add((frame.body.len() + frame.payload.len()) as u64, Ordering::Relaxed);
    match frame.header.kind {
        FrameKind::Peer => {
            let envelope = Envelope::decode(&frame.body, frame.payload).map_err(|_| "a frame's body cannot be decoded")?;
            if envelope.from != node {
                return Err("it speaks for another node than its certificate names");
            }
            if !inbound.peer(envelope) {
                counters.frames_dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
        FrameKind::CoordinationRequest => {
            let Ok(turn) = turns.clone().acquire_owned().await else { return Err("stopping") };
            let work = inbound.coordination(node, frame.payload);
            let (answers, id) = (answers.clone(), frame.header.id);
            tokio::spawn(async move {
                if let Some(answer) = Outgoing::new(FrameKind::CoordinationReply, id, b"", vec![work.await]) {
                    let _ = answers.send(answer).await; // the connection may be gone
                }
                drop(turn);
            });
        }
        FrameKind::CoordinationReply => return Err("an answer that nobody asked for"),
    }
    Ok(())
}

async fn answer<W: AsyncWrite + Unpin>(mut queue: mpsc::Receiver<Outgoing>, mut stream: W) {
    while let Some(frame) = queue.recv().await {
        let slices: Vec<_> = std::iter::once(frame.head).chain(frame.payload).collect();
        if wire::write_all(&mut stream, &slices).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}
