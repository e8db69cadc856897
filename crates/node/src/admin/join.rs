//! How a node becomes a member: a single-use token, a name that nobody has, a certificate.

use super::api::*;
use super::change::decide;
use crate::clock;
use crate::hex;
use crate::pki::{self, Authority, JoinToken};
use crate::shell::App;
use mainstay_cluster::{Actor, Command, Digest, NodeKind};
use mainstay_protocol::Timestamp;
use std::net::SocketAddr;

/// The node that can sign is the one whose `init` made the cluster.
fn authority(app: &App) -> Result<&Authority, ApiError> {
    app.authority.as_ref().ok_or_else(|| {
        let holder =
            app.state().nodes.first_key_value().map_or_else(|| "the first node".to_string(), |(_, node)| node.name.clone());
        let name = &app.identity.name;
        // Where the first node was replaced, nobody knows who has it.
        let holder = if holder == *name { "the node that has it".into() } else { holder };
        let text = format!(
            "{name} does not hold the authority's key; ask {holder}. Where {holder} is lost: put your copy of its keys/authority.key into \
             keys/ of {name}'s directory, and restart {name} (the primary: after a switchover)"
        );
        ApiError::new(ErrorKind::Elsewhere, text)
    })
}

pub async fn mint(app: &App, who: &str, new: &NewToken) -> Result<TokenReply, ApiError> {
    authority(app)?;
    let secret = pki::entropy::<16>();
    let at = clock::wall();
    let expires_at = Timestamp::new(at.seconds + 60 * i64::from(new.minutes), at.nanos);
    let token = Digest(JoinToken::secret_hash(&secret));
    decide(app, Command::MintToken { token, expires_at, actor: Actor::Person(who.into()), at }).await?;
    let token = JoinToken {
        address: app.config.admin_address,
        cluster: app.front_key.cluster,
        fingerprint: app.authority_fingerprint,
        secret,
    };
    Ok(TokenReply { token: token.to_string(), expires_at: expires_at.seconds })
}

pub async fn admit(app: &App, request: &JoinRequest) -> Result<JoinReply, ApiError> {
    let authority = authority(app)?;
    let secret = hex::decode(&request.secret).and_then(|secret| secret.try_into().ok());
    let secret: [u8; 16] = secret.ok_or_else(|| ApiError::input("the token's secret is not one"))?;
    crate::config::check_label("the node's name", &request.name).map_err(ApiError::input)?;
    let addresses = [address("peer", &request.peer_address)?, address("admin", &request.admin_address)?];
    // Before the token is spent: a request that cannot be signed must not cost it.
    pki::check_request(&request.certificate_request).map_err(|error| ApiError::input(error.to_string()))?;

    let (token, name) = (Digest(JoinToken::secret_hash(&secret)), request.name.clone());
    decide(app, Command::UseToken { token, name, at: clock::wall() }).await?;
    let command = Command::AddNode {
        name: request.name.clone(),
        kind: if request.witness { NodeKind::Witness } else { NodeKind::FileServer },
        peer_address: request.peer_address.clone(),
        admin_address: request.admin_address.clone(),
        actor: Actor::Node(app.me()),
        at: clock::wall(),
    };
    decide(app, command).await?;
    let state = app.state();
    let (node, _) = state
        .node_named(&request.name)
        .ok_or_else(|| ApiError::new(ErrorKind::Unknown, "the node is admitted, but not seen here yet"))?;
    let ips = addresses.map(|address| address.ip());
    let certificate = authority.sign_node(&request.certificate_request, node, &request.name, &ips);
    tracing::info!(%node, name = request.name, "admitted a node");
    Ok(JoinReply {
        cluster: app.identity.cluster.clone(),
        cluster_name: app.identity.cluster_name.clone(),
        node: node.0,
        certificate: certificate.map_err(|error| ApiError::new(ErrorKind::Unknown, error.to_string()))?,
        authority: authority.certificate().to_string(),
        handle_key: hex::encode(&app.front_key.key.0),
        group: app.identity.group.clone(),
    })
}

fn address(what: &str, text: &str) -> Result<SocketAddr, ApiError> {
    text.parse().map_err(|_| ApiError::input(format!("the {what} address {text:?} is not ADDRESS:PORT")))
}
