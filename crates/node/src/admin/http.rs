//! HTTP/1.1 over TLS for the admin API: one request per connection on the client's side, bounded everywhere.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
pub use hyper::Method;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Longest body of a request, bytes.
pub const REQUEST_BYTES_MAX: usize = 256 << 10;
/// Longest body of an answer, bytes: the audit log in full is the largest.
pub const ANSWER_BYTES_MAX: usize = 16 << 20;
/// For connecting and the handshake.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(3);

/// How a call ended when no answer came.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The request never left: another endpoint may be asked.
    #[error("{address}: {message}")]
    NotSent { address: SocketAddr, message: String },
    /// It may have been done.
    #[error("{address}: {message}")]
    Lost { address: SocketAddr, message: String },
}

/// One call. `limit` is for the answer, once the request is on its way.
pub async fn call(
    tls: Arc<ClientConfig>,
    name: ServerName<'static>,
    address: SocketAddr,
    (method, path, body): (Method, &str, Vec<u8>),
    limit: Duration,
) -> Result<(StatusCode, Bytes), HttpError> {
    let not_sent = |message: String| HttpError::NotSent { address, message };
    let lost = |message: String| HttpError::Lost { address, message };
    let connect = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        TlsConnector::from(tls).connect(name, stream).await
    };
    let stream = tokio::time::timeout(CONNECT_TIME_MAX, connect)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(|error| not_sent(error.to_string()))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| not_sent(error.to_string()))?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", address.to_string())
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| not_sent(error.to_string()))?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(|error| error.to_string())?;
        Ok::<_, String>((status, body.to_bytes()))
    };
    let driven = async {
        tokio::select! {
            answer = exchange => answer,
            // The connection ended first; `exchange` cannot be told apart from it here.
            ended = drive(connection) => Err(ended),
        }
    };
    match tokio::time::timeout(limit, driven).await {
        Ok(answer) => answer.map_err(lost),
        Err(_) => Err(lost(format!("no answer within {} s", limit.as_secs()))),
    }
}

/// Keeps the connection going; only ever ends with an error, so that the answer wins the race.
async fn drive<C: Future<Output = Result<(), hyper::Error>>>(connection: C) -> String {
    match connection.await {
        Ok(()) => std::future::pending().await,
        Err(error) => error.to_string(),
    }
}
