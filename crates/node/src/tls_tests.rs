//! Who gets through a handshake and who does not.

use super::*;
use crate::pki::{Authority, Identity, Role, any_node_server_name, node_request, node_server_name};

const CLUSTER: ClusterId = ClusterId([1; 16]);

fn node(authority: &Authority, id: u16) -> TlsIdentity {
    let (key, request) = node_request("x").unwrap();
    let certificate = authority.sign_node(&request, NodeId(id), "x", &[]).unwrap();
    TlsIdentity::new(CLUSTER, authority.certificate(), Some(&Credentials { certificate, key })).unwrap()
}

fn person(authority: &Authority) -> TlsIdentity {
    let credentials = authority.issue_person("ann", &[Role::Viewer]).unwrap();
    TlsIdentity::new(CLUSTER, authority.certificate(), Some(&credentials)).unwrap()
}

/// Runs both sides until a byte has crossed, because TLS 1.3 clients learn of a refusal only when they read.
async fn meet(server: Arc<ServerConfig>, client: Arc<ClientConfig>, name: String) -> Result<Option<Identity>, String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (near, far) = tokio::io::duplex(1 << 16);
    let serve = async {
        let mut stream = TlsAcceptor::from(server).accept(far).await.map_err(|error| error.to_string())?;
        stream.write_all(b"!").await.map_err(|error| error.to_string())?;
        stream.flush().await.map_err(|error| error.to_string())?;
        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        Ok::<_, String>(certificate.map(|certificate| Identity::read(certificate).unwrap()))
    };
    let connect = async {
        let name = server_name(name).unwrap();
        let mut stream = TlsConnector::from(client).connect(name, near).await.map_err(|error| error.to_string())?;
        stream.read_u8().await.map_err(|error| error.to_string())
    };
    let (served, connected) = tokio::join!(serve, connect);
    connected.and(served)
}

#[tokio::test]
async fn nodes_of_one_cluster_meet_and_know_each_other() {
    let (authority, _) = Authority::generate(CLUSTER, "shop").unwrap();
    let (a, b) = (node(&authority, 1), node(&authority, 2));
    let met = meet(a.peer_server().unwrap(), b.peer_client().unwrap(), node_server_name(CLUSTER, NodeId(1))).await;
    assert_eq!(met, Ok(Some(Identity::Node { node: NodeId(2), name: "x".into() })));
}

#[tokio::test]
async fn a_node_that_answers_for_another_is_refused() {
    let (authority, _) = Authority::generate(CLUSTER, "shop").unwrap();
    let (a, b) = (node(&authority, 1), node(&authority, 2));
    let met = meet(a.peer_server().unwrap(), b.peer_client().unwrap(), node_server_name(CLUSTER, NodeId(3))).await;
    assert!(met.unwrap_err().contains("certificate"));
}

#[tokio::test]
async fn certificates_of_another_authority_are_refused_both_ways() {
    let (ours, _) = Authority::generate(CLUSTER, "shop").unwrap();
    let (theirs, _) = Authority::generate(CLUSTER, "shop").unwrap();
    let (a, stranger) = (node(&ours, 1), node(&theirs, 2));
    let name = || node_server_name(CLUSTER, NodeId(1));
    assert!(meet(a.peer_server().unwrap(), stranger.peer_client().unwrap(), name()).await.is_err());
    assert!(meet(stranger.peer_server().unwrap(), a.peer_client().unwrap(), name()).await.is_err());
    assert!(meet(a.admin_server().unwrap(), stranger.admin_client().unwrap(), any_node_server_name(CLUSTER)).await.is_err());
}

#[tokio::test]
async fn the_peer_port_wants_a_certificate_and_the_admin_port_takes_none() {
    let (authority, _) = Authority::generate(CLUSTER, "shop").unwrap();
    let a = node(&authority, 1);
    let nobody = TlsIdentity::new(CLUSTER, authority.certificate(), None).unwrap();
    let name = || any_node_server_name(CLUSTER);
    assert!(meet(a.peer_server().unwrap(), nobody.peer_client().unwrap(), name()).await.is_err());
    assert_eq!(meet(a.admin_server().unwrap(), nobody.admin_client().unwrap(), name()).await, Ok(None));
    let met = meet(a.admin_server().unwrap(), person(&authority).admin_client().unwrap(), name()).await;
    assert_eq!(met.unwrap().unwrap().name(), "ann");
    // An admin client does not speak the peers' protocol.
    assert!(
        meet(a.peer_server().unwrap(), person(&authority).peer_client().unwrap(), name()).await.is_ok(),
        "the handler refuses it"
    );
}

#[tokio::test]
async fn a_joining_node_trusts_the_fingerprint_alone() {
    let (authority, _) = Authority::generate(CLUSTER, "shop").unwrap();
    let a = node(&authority, 1);
    let right = pki::fingerprint(a.authority());
    let name = || any_node_server_name(CLUSTER);
    assert_eq!(meet(a.admin_server().unwrap(), join_client(right).unwrap(), name()).await, Ok(None));
    let wrong = meet(a.admin_server().unwrap(), join_client([0; 32]).unwrap(), name()).await.unwrap_err();
    assert!(wrong.contains("not of the cluster"), "{wrong}");
    let elsewhere = any_node_server_name(ClusterId([2; 16]));
    assert!(meet(a.admin_server().unwrap(), join_client(right).unwrap(), elsewhere).await.is_err());
}
