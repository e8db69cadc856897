//! The admin API: HTTPS on the admin address.
//!
//! A client certificate of the cluster's authority says who asks and with which roles. Without one, only `/healthz`,
//! `/metrics` (they change nothing, and monitoring should not need a key) and `/v1/join` (which needs a token) answer.

pub mod api;
mod change;

pub mod client;
mod evidence;
mod fence;
pub mod http;
mod join;
mod losses;
pub mod membership;
mod policy;
mod quarantine;
mod routes;
mod scrape;
mod switchover;
mod verify;
pub mod view;

use crate::pki::Identity;
use crate::shell::App;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// Connections at once; more wait in the listen queue.
const CONNECTIONS_MAX: usize = 128;
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(5);
/// A request's head must arrive within this, also on a connection that is kept open.
const HEAD_TIME_MAX: Duration = Duration::from_secs(30);
/// Longest that `verify` waits for a replica to reach the mark.
pub const VERIFY_TIME_MAX: Duration = Duration::from_secs(60);
/// Longest that `events` holds a request open.
pub const EVENTS_WAIT_MAX: Duration = Duration::from_secs(30);

/// Answers until it is aborted.
pub async fn run(listener: TcpListener, tls: TlsAcceptor, app: Arc<App>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= CONNECTIONS_MAX {
            connections.join_next().await;
        }
        match listener.accept().await {
            Ok((stream, from)) => {
                connections.spawn(serve(stream, from, tls.clone(), app.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept an admin connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, from: SocketAddr, tls: TlsAcceptor, app: Arc<App>) {
    let _ = stream.set_nodelay(true);
    let handshake = tokio::time::timeout(HANDSHAKE_TIME_MAX, tls.accept(stream));
    let stream = match handshake.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!(%from, %error, "refused an admin connection"),
    };
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let identity = match certificate.map(|certificate| Identity::read(certificate)).transpose() {
        Ok(identity) => identity,
        Err(error) => return tracing::warn!(%from, %error, "refused an admin connection"),
    };
    let answer = service_fn(move |request: Request<Incoming>| {
        let (app, identity) = (app.clone(), identity.clone());
        async move { Ok::<Response<Full<Bytes>>, Infallible>(routes::answer(&app, identity.as_ref(), request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .serve_connection(TokioIo::new(stream), answer);
    if let Err(error) = connection.await {
        tracing::debug!(%from, %error, "an admin connection ended");
    }
}
