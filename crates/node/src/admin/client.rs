//! The typed admin client: for the command line, the demo, and nodes among themselves.

use super::api::*;
use super::http::{self, HttpError};
use crate::directory::parse_cluster_id;
use crate::pki::{Credentials, any_node_server_name};
use crate::tls::{TlsError, TlsIdentity, server_name};
use hyper::{Method, StatusCode};
use mainstay_protocol::ClusterId;
use rustls::ClientConfig;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// For an ordinary answer; long polls and `verify` add their own time.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(15);
/// For a fencing hook that is tried out.
const FENCE_TIME_MAX: Duration = Duration::from_secs(60);

/// `admin.toml`: where the nodes are and who asks. Certificates and keys are PEM, or the path of a file that holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminConfig {
    /// The cluster's id, hexadecimal.
    pub cluster: String,
    /// Admin addresses of all nodes, asked in turn.
    pub endpoints: Vec<SocketAddr>,
    pub authority: String,
    pub certificate: String,
    pub key: String,
}

#[derive(Debug, thiserror::Error)]
pub enum AdminConfigError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: std::io::Error },
    #[error("{path}: {message}")]
    Invalid { path: PathBuf, message: String },
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl AdminConfig {
    pub fn load(path: &Path) -> Result<AdminConfig, AdminConfigError> {
        let read =
            |path: &Path| std::fs::read_to_string(path).map_err(|source| AdminConfigError::Read { path: path.into(), source });
        let invalid = |message: String| AdminConfigError::Invalid { path: path.into(), message };
        let text = read(path)?;
        let mut config: AdminConfig = toml::from_str(&text).map_err(|error| invalid(mistake(&text, &error)))?;
        if config.endpoints.is_empty() {
            return Err(invalid("endpoints is empty; give the admin addresses of the nodes".into()));
        }
        for pem in [&mut config.authority, &mut config.certificate, &mut config.key] {
            if !pem.contains("-----BEGIN") {
                *pem = read(&path.parent().unwrap_or(Path::new(".")).join(&*pem))?;
            }
        }
        Ok(config)
    }

    /// Mode 0600: it holds a key.
    pub fn save(&self, path: &Path) -> Result<(), AdminConfigError> {
        let text = toml::to_string(self).expect("plain text always encodes");
        let written = crate::directory::write_atomically(path, text.as_bytes());
        written.map_err(|source| AdminConfigError::Write { path: path.into(), source })
    }
}

/// Where and what, without the line itself: it may be part of a key.
fn mistake(text: &str, error: &toml::de::Error) -> String {
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else { return error.message().into() };
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line {}, column {column}: {}", before.matches('\n').count() + 1, error.message())
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The cluster answered.
    #[error(transparent)]
    Answer(#[from] ApiError),
    /// No node could be asked.
    #[error("no node answers: {0}")]
    Unreachable(String),
    /// The request was sent and no answer came: it may have been done.
    #[error("no answer, the request may have been carried out: {0}")]
    Lost(String),
    #[error("the answer cannot be understood: {0}")]
    Bad(String),
}

#[derive(Clone)]
pub struct AdminClient {
    cluster: ClusterId,
    tls: Arc<ClientConfig>,
    endpoints: Vec<SocketAddr>,
}

impl AdminClient {
    pub fn new(config: &AdminConfig) -> Result<AdminClient, AdminConfigError> {
        let cluster = parse_cluster_id(&config.cluster).ok_or_else(|| AdminConfigError::Invalid {
            path: "admin.toml".into(),
            message: "cluster is not a cluster's id (32 hexadecimal digits)".into(),
        })?;
        let own = Credentials { certificate: config.certificate.clone(), key: config.key.clone() };
        let tls = TlsIdentity::new(cluster, &config.authority, Some(&own))?;
        Ok(AdminClient { cluster, tls: tls.admin_client()?, endpoints: config.endpoints.clone() })
    }

    pub fn from_tls(tls: &TlsIdentity, endpoints: Vec<SocketAddr>) -> Result<AdminClient, TlsError> {
        Ok(AdminClient { cluster: tls.cluster, tls: tls.admin_client()?, endpoints })
    }

    /// The same identity, asking these nodes.
    pub fn at(&self, endpoints: Vec<SocketAddr>) -> AdminClient {
        AdminClient { endpoints, ..self.clone() }
    }

    pub fn endpoints(&self) -> &[SocketAddr] {
        &self.endpoints
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::GET, path, vec![], ANSWER_TIME_MAX).await
    }

    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| ClientError::Bad(error.to_string()))?;
        self.call(Method::POST, path, body, ANSWER_TIME_MAX).await
    }

    /// Asks the endpoints in turn. A request that only reads goes on to the next one after any failure; one that changes
    /// something only while it surely was not carried out.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        limit: Duration,
    ) -> Result<T, ClientError> {
        let mut last = ClientError::Unreachable("there are no endpoints".into());
        for endpoint in &self.endpoints {
            match self.once(*endpoint, (method.clone(), path, body.clone()), limit).await {
                Ok((status, answer)) => match decode(status, &answer) {
                    Err(ClientError::Answer(error)) if passes_on(&error) => last = prefer(last, error.into()),
                    other => return other,
                },
                Err(HttpError::Lost { message, .. }) if method != Method::GET => return Err(ClientError::Lost(message)),
                Err(error) => last = prefer(last, ClientError::Unreachable(error.to_string())),
            }
        }
        Err(last)
    }

    async fn once(
        &self,
        endpoint: SocketAddr,
        request: (Method, &str, Vec<u8>),
        limit: Duration,
    ) -> Result<(StatusCode, bytes::Bytes), HttpError> {
        let bad = |error: TlsError| HttpError::NotSent { address: endpoint, message: error.to_string() };
        let name = server_name(any_node_server_name(self.cluster)).map_err(bad)?;
        http::call(self.tls.clone(), name, endpoint, request, limit).await
    }

    /// An answer that is no JSON, of the first endpoint.
    async fn bytes(&self, path: &str) -> Result<bytes::Bytes, ClientError> {
        let endpoint = *self.endpoints.first().ok_or_else(|| ClientError::Unreachable("there are no endpoints".into()))?;
        let answered = self.once(endpoint, (Method::GET, path, vec![]), ANSWER_TIME_MAX).await;
        let (status, answer) = answered.map_err(|error| ClientError::Unreachable(error.to_string()))?;
        if status.is_success() { Ok(answer) } else { decode::<Done>(status, &answer).map(|_| bytes::Bytes::new()) }
    }

    /// Of the first endpoint, as Prometheus reads them.
    pub async fn metrics(&self) -> Result<String, ClientError> {
        Ok(String::from_utf8_lossy(&self.bytes("/metrics").await?).into_owned())
    }

    // What a node has set aside: each is asked of that node ([`AdminClient::at`]).

    pub async fn quarantines(&self) -> Result<Quarantines, ClientError> {
        self.get("/v1/quarantine").await
    }

    pub async fn quarantine_records(&self, id: &str, from: u64) -> Result<RecordsPage, ClientError> {
        self.get(&format!("/v1/quarantine/{}/records?from={from}", escape(id))).await
    }

    pub async fn quarantine_record(&self, id: &str, at: u64) -> Result<bytes::Bytes, ClientError> {
        self.bytes(&format!("/v1/quarantine/{}/record?at={at}", escape(id))).await
    }

    pub async fn drop_quarantine(&self, id: &str, reason: &str) -> Result<Done, ClientError> {
        self.post(&format!("/v1/quarantine/{}/drop", escape(id)), &Reason { reason: reason.into() }).await
    }

    pub async fn paths(&self, volume: &str, inodes: Vec<u64>) -> Result<Paths, ClientError> {
        self.post(&format!("/v1/volumes/{}/paths", escape(volume)), &PathsWanted { inodes }).await
    }

    pub async fn look(&self, volume: &str, look: &Look) -> Result<Looked, ClientError> {
        self.post(&format!("/v1/volumes/{}/look", escape(volume)), look).await
    }

    pub async fn status(&self) -> Result<ClusterStatus, ClientError> {
        self.get("/v1/status").await
    }

    pub async fn local(&self) -> Result<LocalStatus, ClientError> {
        self.call(Method::GET, "/v1/local", vec![], Duration::from_secs(3)).await
    }

    pub async fn volumes(&self) -> Result<Vec<VolumeDetails>, ClientError> {
        self.get("/v1/volumes").await
    }

    pub async fn volume(&self, name: &str) -> Result<VolumeDetails, ClientError> {
        self.get(&format!("/v1/volumes/{}", escape(name))).await
    }

    pub async fn create_volume(&self, volume: &NewVolume) -> Result<VolumeDetails, ClientError> {
        self.post("/v1/volumes", volume).await
    }

    pub async fn revoked(&self) -> Result<Vec<RevokedPerson>, ClientError> {
        self.get("/v1/people/revoked").await
    }

    pub async fn revoke(&self, name: &str, reason: &str) -> Result<Done, ClientError> {
        self.post(&format!("/v1/people/{}/revoke", escape(name)), &Reason { reason: reason.into() }).await
    }

    pub async fn reset_breaker(&self, volume: &str, reason: &str) -> Result<Done, ClientError> {
        self.post(&format!("/v1/volumes/{}/reset-breaker", escape(volume)), &Reason { reason: reason.into() }).await
    }

    /// Compares the replicas; may take as long as they need to reach the mark.
    pub async fn verify(&self, volume: &str) -> Result<Verification, ClientError> {
        let path = format!("/v1/volumes/{}/verify", escape(volume));
        self.call(Method::POST, &path, b"{}".to_vec(), super::VERIFY_TIME_MAX + ANSWER_TIME_MAX).await
    }

    pub async fn digest(&self, volume: &str, position: u64) -> Result<DigestReply, ClientError> {
        self.get(&format!("/v1/volumes/{}/digest?position={position}", escape(volume))).await
    }

    pub async fn proposals(&self) -> Result<Vec<ProposalDetails>, ClientError> {
        self.get("/v1/proposals").await
    }

    pub async fn proposal(&self, id: u64) -> Result<ProposalDetails, ClientError> {
        self.get(&format!("/v1/proposals/{id}")).await
    }

    pub async fn approve(&self, id: u64, evidence_hash: &str) -> Result<ProposalStatus, ClientError> {
        self.post(&format!("/v1/proposals/{id}/approve"), &Approve { evidence_hash: evidence_hash.into() }).await
    }

    pub async fn deny(&self, id: u64, reason: &str) -> Result<ProposalStatus, ClientError> {
        self.post(&format!("/v1/proposals/{id}/deny"), &Reason { reason: reason.into() }).await
    }

    pub async fn switchover(&self, volume: &str, to: &str) -> Result<ProposalStatus, ClientError> {
        self.post(&format!("/v1/volumes/{}/switchover", escape(volume)), &NewSwitchover { to: to.into() }).await
    }

    pub async fn add_replica(&self, volume: &str, node: &str, reason: &str) -> Result<VolumeDetails, ClientError> {
        let new = NewReplica { node: node.into(), reason: reason.into() };
        self.post(&format!("/v1/volumes/{}/replicas", escape(volume)), &new).await
    }

    pub async fn remove_replica(&self, volume: &str, node: &str, remove: &RemoveReplica) -> Result<Set, ClientError> {
        self.post(&format!("/v1/volumes/{}/replicas/{}/remove", escape(volume), escape(node)), remove).await
    }

    pub async fn remove_node(&self, node: &str, reason: &str) -> Result<Done, ClientError> {
        self.post(&format!("/v1/nodes/{}/remove", escape(node)), &Reason { reason: reason.into() }).await
    }

    pub async fn explain_promote(&self, node: &str, volume: &str) -> Result<Explained, ClientError> {
        self.get(&format!("/v1/explain/promote?node={}&volume={}", escape(node), escape(volume))).await
    }

    pub async fn maintenance(&self) -> Result<Vec<MaintenanceStatus>, ClientError> {
        self.get("/v1/maintenance").await
    }

    pub async fn fence(&self, node: &str, wish: &FenceWish) -> Result<FenceTried, ClientError> {
        // A dry run waits for the verify command, which may take its time.
        let body = serde_json::to_vec(wish).map_err(|error| ClientError::Bad(error.to_string()))?;
        self.call(Method::POST, &format!("/v1/nodes/{}/fence", escape(node)), body, FENCE_TIME_MAX).await
    }

    pub async fn begin_maintenance(&self, maintenance: &NewMaintenance) -> Result<MaintenanceStatus, ClientError> {
        self.post("/v1/maintenance", maintenance).await
    }

    pub async fn explain_demote(&self, node: &str, volume: &str) -> Result<ExplainedOutlook, ClientError> {
        self.get(&format!("/v1/explain/demote?node={}&volume={}", escape(node), escape(volume))).await
    }
    pub async fn explain_resync(&self, node: &str, volume: &str) -> Result<ExplainedOutlook, ClientError> {
        self.get(&format!("/v1/explain/resync?node={}&volume={}", escape(node), escape(volume))).await
    }
    pub async fn explain_maintenance(&self, node: &str) -> Result<ExplainedOutlook, ClientError> {
        self.get(&format!("/v1/explain/maintenance?node={}", escape(node))).await
    }

    pub async fn extend_maintenance(&self, id: u64, seconds: u64) -> Result<Done, ClientError> {
        self.post(&format!("/v1/maintenance/{id}/extend"), &Extension { seconds }).await
    }

    pub async fn end_maintenance(&self, id: u64) -> Result<Done, ClientError> {
        self.post(&format!("/v1/maintenance/{id}/end"), &Done {}).await
    }

    pub async fn set_volume(&self, volume: &str, set: &SetVolume) -> Result<Set, ClientError> {
        self.post(&format!("/v1/volumes/{}/settings", escape(volume)), set).await
    }

    pub async fn set_hold(&self, on: bool, reason: &str) -> Result<Set, ClientError> {
        self.post("/v1/hold", &SetHold { on, reason: reason.into() }).await
    }

    pub async fn changes(&self) -> Result<Vec<ChangeStatus>, ClientError> {
        self.get("/v1/changes").await
    }

    pub async fn approve_change(&self, id: u64, digest: &str) -> Result<ChangeStatus, ClientError> {
        self.post(&format!("/v1/changes/{id}/approve"), &ApproveChange { digest: digest.into() }).await
    }

    pub async fn deny_change(&self, id: u64, reason: &str) -> Result<ChangeStatus, ClientError> {
        self.post(&format!("/v1/changes/{id}/deny"), &Reason { reason: reason.into() }).await
    }

    pub async fn propose(&self, volume: &str, new: &NewProposal) -> Result<ProposalStatus, ClientError> {
        self.post(&format!("/v1/volumes/{}/propose", escape(volume)), new).await
    }

    pub async fn held(&self, volume: &str, after: u64) -> Result<Held, ClientError> {
        self.get(&format!("/v1/volumes/{}/held?after={after}", escape(volume))).await
    }

    /// Asks the node itself, so give its own endpoint.
    pub async fn set_aside(&self, volume: &str, reason: &str) -> Result<Done, ClientError> {
        self.post(&format!("/v1/volumes/{}/set-aside", escape(volume)), &Reason { reason: reason.into() }).await
    }

    pub async fn record_drill(&self, volume: &str, drill: &PassedDrill) -> Result<Done, ClientError> {
        self.post(&format!("/v1/volumes/{}/drill", escape(volume)), drill).await
    }

    /// Events after number `after`; waits up to `wait` for the first.
    pub async fn events(&self, after: u64, wait: Duration) -> Result<Events, ClientError> {
        let path = format!("/v1/events?after={after}&wait_ms={}", wait.as_millis());
        self.call(Method::GET, &path, vec![], ANSWER_TIME_MAX + wait).await
    }

    pub async fn token(&self, minutes: u32) -> Result<TokenReply, ClientError> {
        self.post("/v1/tokens", &NewToken { minutes }).await
    }
}

/// Another node may be able to: this one has no quorum, or is not the right one.
fn passes_on(error: &ApiError) -> bool {
    matches!(error.error, ErrorKind::Elsewhere | ErrorKind::Unavailable)
}

/// What a node said is worth more than that another did not answer.
fn prefer(last: ClientError, new: ClientError) -> ClientError {
    match (&last, &new) {
        (ClientError::Answer(_), ClientError::Unreachable(_)) => last,
        _ => new,
    }
}

fn decode<T: DeserializeOwned>(status: StatusCode, answer: &[u8]) -> Result<T, ClientError> {
    if status.is_success() {
        return serde_json::from_slice(answer).map_err(|error| ClientError::Bad(error.to_string()));
    }
    match serde_json::from_slice::<ApiError>(answer) {
        Ok(error) => Err(error.into()),
        Err(_) => Err(ClientError::Bad(format!("HTTP status {status}"))),
    }
}

/// Percent-encodes what is not unreserved (RFC 3986 section 2.3).
pub fn escape(text: &str) -> String {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if fine(byte) { (byte as char).to_string() } else { format!("%{byte:02X}") }).collect()
}
