//! `init` and `join`: how a data directory comes to be.

use crate::admin::api::{ApiError, JoinReply, JoinRequest};
use crate::admin::client::AdminConfig;
use crate::admin::http::{self, HttpError};
use crate::config::{NodeConfig, check_label};
use crate::directory::{DIRECTORY_FORMAT, Directory, DirectoryError, Identity, Kind, parse_cluster_id};
use crate::hex;
use crate::pki::{
    self, AUTHORITY_CERTIFICATE, AUTHORITY_KEY, Authority, Credentials, JoinToken, NODE_CERTIFICATE, NODE_KEY, PkiError, Role,
};
use crate::tls::{self, TlsError};
use hyper::Method;
use mainstay_protocol::{ClusterId, NodeId};
use std::time::Duration;

/// File under `keys/` with the cluster's secret for file handles.
pub const HANDLE_KEY: &str = "handle.key";
/// The first node of every cluster.
const FIRST: NodeId = NodeId(1);
/// For the cluster to decide on an admission.
const JOIN_TIME_MAX: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum FoundingError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("{0}")]
    Input(String),
    #[error("cannot reach the cluster: {0}")]
    Unreachable(String),
    #[error("no answer came; the token may be spent and the node admitted: look at `mainstay status` ({0})")]
    Lost(String),
    /// The cluster's own answer.
    #[error(transparent)]
    Answer(ApiError),
}

/// Makes a cluster's authority and its first node. Returns the credentials of the first administrator, who has every role.
pub fn init(config: &NodeConfig, cluster_name: &str, kind: Kind, admin_name: &str) -> Result<AdminConfig, FoundingError> {
    config.check().map_err(FoundingError::Input)?;
    check_label("the cluster's name", cluster_name).map_err(FoundingError::Input)?;
    check_label("the administrator's name", admin_name).map_err(FoundingError::Input)?;
    Directory::check_vacant(&config.directory)?;
    let cluster = ClusterId(pki::entropy());
    let (authority, root) = Authority::generate(cluster, cluster_name)?;
    let (key, request) = pki::node_request(&config.name)?;
    let ips = [config.peer_address.ip(), config.admin_address.ip()];
    let certificate = authority.sign_node(&request, FIRST, &config.name, &ips)?;
    let person = authority.issue_person(admin_name, &Role::ALL)?;
    let identity = Identity {
        format: DIRECTORY_FORMAT,
        cluster: cluster.to_string(),
        cluster_name: cluster_name.into(),
        node: FIRST.0,
        name: config.name.clone(),
        kind,
        founder: true,
        group: None,
    };
    let handle_key = hex::encode(&pki::entropy::<16>());
    let keys = [
        (AUTHORITY_CERTIFICATE, root.certificate.as_str()),
        (AUTHORITY_KEY, &root.key),
        (NODE_CERTIFICATE, &certificate),
        (NODE_KEY, &key),
        (HANDLE_KEY, &handle_key),
    ];
    Directory::create(&config.directory, &identity, &keys)?;
    Ok(AdminConfig {
        cluster: identity.cluster,
        endpoints: vec![config.admin_address],
        authority: root.certificate,
        certificate: person.certificate,
        key: person.key,
    })
}

/// Asks the cluster to admit this node, and writes its directory. The node's key never leaves it.
pub async fn join(config: &NodeConfig, token: &JoinToken, kind: Kind) -> Result<Identity, FoundingError> {
    config.check().map_err(FoundingError::Input)?;
    Directory::check_vacant(&config.directory)?;
    let (key, certificate_request) = pki::node_request(&config.name)?;
    let request = JoinRequest {
        secret: hex::encode(&token.secret),
        name: config.name.clone(),
        witness: kind == Kind::Witness,
        peer_address: config.peer_address.to_string(),
        admin_address: config.admin_address.to_string(),
        certificate_request,
    };
    let reply = ask(token, &request).await?;
    let identity = Identity {
        format: DIRECTORY_FORMAT,
        cluster: reply.cluster.clone(),
        cluster_name: reply.cluster_name.clone(),
        node: reply.node,
        name: config.name.clone(),
        kind,
        founder: false,
        group: reply.group.clone(),
    };
    let keys = [
        (AUTHORITY_CERTIFICATE, reply.authority.as_str()),
        (NODE_CERTIFICATE, &reply.certificate),
        (NODE_KEY, &key),
        (HANDLE_KEY, &reply.handle_key),
    ];
    Directory::create(&config.directory, &identity, &keys)?;
    Ok(identity)
}

async fn ask(token: &JoinToken, request: &JoinRequest) -> Result<JoinReply, FoundingError> {
    let name = tls::server_name(pki::any_node_server_name(token.cluster))?;
    let body = serde_json::to_vec(request).map_err(|error| FoundingError::Input(error.to_string()))?;
    let call = (Method::POST, "/v1/join", body);
    let answer = http::call(tls::join_client(token.fingerprint)?, name, token.address, call, JOIN_TIME_MAX).await;
    let (status, answer) = answer.map_err(|error| match error {
        HttpError::NotSent { .. } => FoundingError::Unreachable(error.to_string()),
        HttpError::Lost { .. } => FoundingError::Lost(error.to_string()),
    })?;
    if !status.is_success() {
        let error = serde_json::from_slice(&answer).map_err(|_| FoundingError::Unreachable(format!("HTTP status {status}")))?;
        return Err(FoundingError::Answer(error));
    }
    let reply: JoinReply = serde_json::from_slice(&answer).map_err(|error| FoundingError::Lost(error.to_string()))?;
    if parse_cluster_id(&reply.cluster) != Some(token.cluster) {
        return Err(FoundingError::Lost("the answer is of another cluster than the token".into()));
    }
    Ok(reply)
}

/// Credentials of one more person. Works offline, on the node that holds the authority's key.
pub fn issue(
    config: &NodeConfig,
    name: &str,
    roles: &[Role],
    endpoints: Vec<std::net::SocketAddr>,
) -> Result<AdminConfig, FoundingError> {
    check_label("the person's name", name).map_err(FoundingError::Input)?;
    let identity = Directory::read(&config.directory)?;
    let cluster = identity.cluster_id().unwrap_or_default();
    let read = |file: &str| {
        let path = config.directory.join("keys").join(file);
        std::fs::read_to_string(&path).map_err(|source| DirectoryError::Io { path, source })
    };
    let keys = config.directory.join("keys");
    // What may not be looked at is said by the read below.
    if keys.join(AUTHORITY_KEY).try_exists().is_ok_and(|there| !there) {
        return Err(FoundingError::Input(format!(
            "{} has no {AUTHORITY_KEY}: the first node keeps it. Run this there; where that node is lost, put your copy of the file into {} first",
            config.name,
            keys.display()
        )));
    }
    let root = Credentials { certificate: read(AUTHORITY_CERTIFICATE)?, key: read(AUTHORITY_KEY)? };
    let person = Authority::load(cluster, &root)?.issue_person(name, roles)?;
    Ok(AdminConfig {
        cluster: identity.cluster,
        endpoints,
        authority: root.certificate,
        certificate: person.certificate,
        key: person.key,
    })
}
