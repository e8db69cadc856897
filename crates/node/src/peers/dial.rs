//! The dialling side: keeps one connection of one class to one peer.

use super::frame::{Outgoing, Received, read_frame};
use super::{CONNECT_TIME_MAX, Link, Peers, SILENCE_MAX, lock};
use crate::outlet::Outlet;
use crate::pki::node_server_name;
use crate::tls::server_name;
use mainstay_protocol::NodeId;
use mainstay_protocol::peer::FrameKind;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncRead, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// Pauses between attempts, milliseconds: a node that restarts is found again within the lease.
const RETRY_MS_MIN: u64 = 50;
const RETRY_MS_MAX: u64 = 1_000;
/// Bytes read off a socket at once: TLS alone would ask for 4 KiB at a time.
const READ_BYTES: usize = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Control,
    Bulk,
}

impl Class {
    fn outlet(self, link: &Link) -> &Outlet<Outgoing> {
        match self {
            Class::Control => &link.control,
            Class::Bulk => &link.bulk,
        }
    }
}

/// Runs until it is aborted.
pub async fn run(peers: Peers, node: NodeId, link: Arc<Link>, class: Class) {
    let mut retry_ms = RETRY_MS_MIN;
    // Said once per change: a peer that is away for a day is one line, not a million.
    let mut said = String::new();
    loop {
        let ended = match connect(&peers, node, link.address).await {
            Ok(stream) => {
                tracing::info!(peer = %node, address = %link.address, ?class, "connected");
                peers.0.counters.connects.fetch_add(1, Ordering::Relaxed);
                retry_ms = RETRY_MS_MIN;
                converse(&link, class, stream).await
            }
            Err(error) => error,
        };
        let message = ended.to_string();
        if message != said {
            tracing::warn!(peer = %node, address = %link.address, ?class, reason = %message, "no connection");
            said = message;
        }
        tokio::time::sleep(Duration::from_millis(retry_ms)).await;
        retry_ms = (retry_ms * 2).min(RETRY_MS_MAX);
    }
}

async fn connect(peers: &Peers, node: NodeId, address: SocketAddr) -> io::Result<TlsStream<Socket>> {
    let attempt = async {
        let stream = TcpStream::connect(address).await?;
        prepare(&stream)?;
        let name = server_name(node_server_name(peers.0.cluster, node)).map_err(io::Error::other)?;
        peers.0.connector.connect(name, buffered(stream)).await
    };
    tokio::time::timeout(CONNECT_TIME_MAX, attempt).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// A connection between nodes, under TLS.
pub type Socket = BufReader<TcpStream>;

pub fn buffered(stream: TcpStream) -> Socket {
    BufReader::with_capacity(READ_BYTES, stream)
}

/// Options that both sides set on their end.
pub fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = socket2::SockRef::from(stream);
    socket.set_tcp_user_timeout(Some(SILENCE_MAX))?;
    socket.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(SILENCE_MAX).with_interval(Duration::from_secs(1)))
}

/// Uses the connection until it breaks; says why.
async fn converse(link: &Link, class: Class, stream: TlsStream<Socket>) -> io::Error {
    let outlet = class.outlet(link);
    let (reader, writer) = tokio::io::split(stream);
    outlet.open(writer);
    let error = tokio::select! {
        error = send(outlet) => error,
        error = receive(link, reader) => error,
    };
    outlet.close();
    if class == Class::Control {
        lock(&link.pending).clear(); // their callers learn that the connection broke
    }
    error
}

async fn send(outlet: &Outlet<Outgoing>) -> io::Error {
    loop {
        match outlet.write_batch().await {
            Ok(true) => {}
            Ok(false) => drop(outlet.ready().await),
            Err(error) => return error,
        }
    }
}

/// Only answers come back on a dialled connection.
async fn receive<R: AsyncRead + Unpin>(link: &Link, mut stream: R) -> io::Error {
    loop {
        match read_frame(&mut stream).await {
            Ok(Some(Received { header, payload, .. })) if header.kind == FrameKind::CoordinationReply => {
                if let Some(waiting) = lock(&link.pending).remove(&header.id) {
                    let _ = waiting.send(payload); // the caller may have given up
                }
            }
            Ok(Some(received)) => return io::Error::other(format!("unexpected frame {:?}", received.header.kind)),
            Ok(None) => return io::ErrorKind::ConnectionReset.into(),
            Err(error) => return io::Error::other(error),
        }
    }
}
