//! The cluster's own certificate authority, made at `init` and kept on the first node.
//!
//! Certificates have no practical end: a cluster must not stop because a date passed unnoticed. A node is shut out by
//! removing it from the cluster (the peer port asks the cluster state), not by waiting for a date.
//!
//! | holder | subject | names | usage |
//! |---|---|---|---|
//! | authority | CN cluster name, O cluster id | – | signs |
//! | node | CN node name, O cluster id, OU `node` | `nN.CLUSTER.mainstay`, `node.CLUSTER.mainstay`, its addresses | server and client |
//! | person | CN name, O cluster id, OU role, … | – | client |

use crate::hex;
use mainstay_protocol::{ClusterId, NodeId};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use x509_parser::extensions::GeneralName;

/// File names under `keys/` of a node's directory.
pub const AUTHORITY_CERTIFICATE: &str = "authority.pem";
pub const AUTHORITY_KEY: &str = "authority.key";
pub const NODE_CERTIFICATE: &str = "node.pem";
pub const NODE_KEY: &str = "node.key";

const NODE_UNIT: &str = "node";

/// What a person may do. Approving is apart from administering, so that the two-person rule has two kinds of keys to hand out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sees everything, changes nothing. Every certificate includes it.
    Viewer,
    /// Maintenance.
    Operator,
    /// Approves and denies promotions.
    Approver,
    /// Volumes, tokens, nodes; includes operator.
    Admin,
}

impl Role {
    pub const ALL: [Role; 4] = [Role::Viewer, Role::Operator, Role::Approver, Role::Admin];

    pub fn name(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Approver => "approver",
            Role::Admin => "admin",
        }
    }

    pub fn parse(text: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.name() == text)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    #[error("certificate cannot be made: {0}")]
    Make(#[from] rcgen::Error),
    #[error("{0} is not a certificate in PEM")]
    Pem(&'static str),
    #[error("certificate cannot be read: {0}")]
    Read(String),
    #[error("certificate is not one that Mainstay issues: {0}")]
    Foreign(String),
}

/// Certificate and key in PEM, as they are stored.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub certificate: String,
    pub key: String,
}

/// The holder of the authority's key: signs nodes and people.
pub struct Authority {
    cluster: ClusterId,
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn generate(cluster: ClusterId, name: &str) -> Result<(Authority, Credentials), PkiError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = subject(name, cluster, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let credentials = Credentials { certificate: params.self_signed(&key)?.pem(), key: key.serialize_pem() };
        let authority = Authority { cluster, certificate: credentials.certificate.clone(), issuer: Issuer::new(params, key) };
        Ok((authority, credentials))
    }

    pub fn load(cluster: ClusterId, credentials: &Credentials) -> Result<Authority, PkiError> {
        let key = KeyPair::from_pem(&credentials.key)?;
        let issuer = Issuer::from_ca_cert_pem(&credentials.certificate, key)?;
        Ok(Authority { cluster, certificate: credentials.certificate.clone(), issuer })
    }

    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Signs the key of a joining node. Only the key is taken from the request: names and rights are what the cluster gave out.
    pub fn sign_node(&self, request: &str, node: NodeId, name: &str, addresses: &[IpAddr]) -> Result<String, PkiError> {
        let mut request = CertificateSigningRequestParams::from_pem(request)?;
        request.params = node_params(self.cluster, node, name, addresses)?;
        Ok(request.signed_by(&self.issuer)?.pem())
    }

    pub fn issue_person(&self, name: &str, roles: &[Role]) -> Result<Credentials, PkiError> {
        let key = KeyPair::generate()?;
        let units: Vec<&str> = roles.iter().map(|role| role.name()).collect();
        let mut params = CertificateParams::default();
        params.distinguished_name = subject(name, self.cluster, &units);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        Ok(Credentials { certificate: params.signed_by(&key, &self.issuer)?.pem(), key: key.serialize_pem() })
    }
}

/// Whether the authority could sign it: well-formed, and made with the key that it names.
pub fn check_request(request: &str) -> Result<(), PkiError> {
    CertificateSigningRequestParams::from_pem(request)?;
    Ok(())
}

/// A node's own new key, and the request that goes to the authority. The key never leaves the node.
pub fn node_request(name: &str) -> Result<(String, String), PkiError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    Ok((key.serialize_pem(), params.serialize_request(&key)?.pem()?))
}

fn subject(name: &str, cluster: ClusterId, units: &[&str]) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject.push(DnType::OrganizationName, cluster.to_string());
    if !units.is_empty() {
        // One attribute with all roles: a distinguished name holds each type once in rcgen.
        subject.push(DnType::OrganizationalUnitName, units.join("+"));
    }
    subject
}

fn node_params(cluster: ClusterId, node: NodeId, name: &str, addresses: &[IpAddr]) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::new(vec![node_server_name(cluster, node), any_node_server_name(cluster)])?;
    params.subject_alt_names.extend(addresses.iter().collect::<BTreeSet<_>>().into_iter().map(|ip| SanType::IpAddress(*ip)));
    params.distinguished_name = subject(name, cluster, &[NODE_UNIT]);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

/// The TLS name under which peers expect exactly this node.
pub fn node_server_name(cluster: ClusterId, node: NodeId) -> String {
    format!("{node}.{cluster}.mainstay")
}

/// The TLS name that every node of the cluster answers to; what admin clients expect.
pub fn any_node_server_name(cluster: ClusterId) -> String {
    format!("node.{cluster}.mainstay")
}

/// Who is at the other end of a connection, by its verified certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    Node { node: NodeId, name: String },
    Person { name: String, roles: BTreeSet<Role> },
}

impl Identity {
    /// Reads a certificate whose chain has been verified already.
    pub fn read(certificate: &CertificateDer<'_>) -> Result<Identity, PkiError> {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(|error| PkiError::Read(error.to_string()))?;
        let text = |attribute: Option<&x509_parser::x509::AttributeTypeAndValue<'_>>| {
            attribute.and_then(|value| value.as_str().ok()).map(str::to_owned)
        };
        let name = text(parsed.subject().iter_common_name().next()).ok_or_else(|| PkiError::Foreign("no common name".into()))?;
        let units = text(parsed.subject().iter_organizational_unit().next()).unwrap_or_default();
        if units == NODE_UNIT {
            return Ok(Identity::Node { node: node_of(&parsed)?, name });
        }
        let roles: Option<BTreeSet<Role>> = units.split('+').map(Role::parse).collect();
        roles.map(|roles| Identity::Person { name, roles }).ok_or_else(|| PkiError::Foreign(format!("unknown role in {units:?}")))
    }

    pub fn name(&self) -> &str {
        match self {
            Identity::Node { name, .. } | Identity::Person { name, .. } => name,
        }
    }

    pub fn may(&self, role: Role) -> bool {
        match self {
            Identity::Node { .. } => role == Role::Viewer,
            Identity::Person { roles, .. } => {
                role == Role::Viewer || roles.contains(&role) || (role == Role::Operator && roles.contains(&Role::Admin))
            }
        }
    }
}

fn node_of(certificate: &x509_parser::certificate::X509Certificate<'_>) -> Result<NodeId, PkiError> {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.iter().flat_map(|names| &names.value.general_names);
    let mut ids = names.filter_map(|name| match name {
        GeneralName::DNSName(name) => name.split('.').next()?.strip_prefix('n')?.parse().ok().map(NodeId),
        _ => None,
    });
    ids.next().ok_or_else(|| PkiError::Foreign("a node's certificate without its number".into()))
}

pub fn certificate_der(pem: &str, what: &'static str) -> Result<CertificateDer<'static>, PkiError> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| PkiError::Pem(what))
}

/// SHA-256 of the certificate, as people compare it and as a token pins it.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> [u8; 32] {
    Sha256::digest(certificate.as_ref()).into()
}

/// `N` bytes from the system's entropy.
pub fn entropy<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let random = rustls::crypto::ring::default_provider().secure_random;
    random.fill(&mut bytes).expect("the system's entropy source works");
    bytes
}

/// What `mainstay token` prints: everything a new node needs to find the cluster and to know that it is the right one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinToken {
    /// Admin address of a node that can sign.
    pub address: std::net::SocketAddr,
    pub cluster: ClusterId,
    /// Of the authority's certificate.
    pub fingerprint: [u8; 32],
    /// Single use; the cluster keeps its hash only.
    pub secret: [u8; 16],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a join token: paste the whole line that `mainstay token` printed")]
pub struct TokenError;

impl JoinToken {
    /// What the cluster state keeps of the secret.
    pub fn secret_hash(secret: &[u8; 16]) -> [u8; 32] {
        Sha256::digest(secret).into()
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [cluster, print, secret] = [&self.cluster.0[..], &self.fingerprint[..], &self.secret[..]].map(hex::encode);
        write!(f, "mainstay1/{}/{cluster}/{print}/{secret}", self.address)
    }
}

impl std::str::FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let parts: Vec<&str> = text.trim().split('/').collect();
        let ["mainstay1", address, cluster, print, secret] = parts[..] else { return Err(TokenError) };
        Ok(JoinToken {
            address: address.parse().map_err(|_| TokenError)?,
            cluster: ClusterId(fixed(cluster)?),
            fingerprint: fixed(print)?,
            secret: fixed(secret)?,
        })
    }
}

fn fixed<const N: usize>(text: &str) -> Result<[u8; N], TokenError> {
    hex::decode(text).and_then(|bytes| bytes.try_into().ok()).ok_or(TokenError)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: ClusterId = ClusterId([9; 16]);

    fn read(pem: &str) -> Identity {
        Identity::read(&certificate_der(pem, "test").unwrap()).unwrap()
    }

    #[test]
    fn the_authority_signs_nodes_and_people_also_after_a_reload() {
        let (_, credentials) = Authority::generate(CLUSTER, "shop").unwrap();
        let authority = Authority::load(CLUSTER, &credentials).unwrap();
        let (_, request) = node_request("claims-to-be-admin").unwrap();
        let node = authority.sign_node(&request, NodeId(2), "b", &["127.0.0.12".parse().unwrap()]).unwrap();
        assert_eq!(read(&node), Identity::Node { node: NodeId(2), name: "b".into() });
        let person = authority.issue_person("ann", &[Role::Viewer, Role::Approver]).unwrap();
        let ann = read(&person.certificate);
        assert!(ann.may(Role::Approver) && ann.may(Role::Viewer));
        assert!(!ann.may(Role::Admin) && !ann.may(Role::Operator));
        assert!(!read(&node).may(Role::Operator), "a node's certificate is no person's");
        let root = read(&authority.issue_person("root", &[Role::Admin]).unwrap().certificate);
        assert!(root.may(Role::Operator) && !root.may(Role::Approver));
    }

    #[test]
    fn a_request_that_is_not_one_is_refused() {
        let (authority, credentials) = Authority::generate(CLUSTER, "shop").unwrap();
        for bad in ["", "junk", &credentials.certificate] {
            assert!(authority.sign_node(bad, NodeId(2), "b", &[]).is_err());
        }
    }

    #[test]
    fn a_token_survives_being_pasted() {
        let token =
            JoinToken { address: "127.0.0.11:7400".parse().unwrap(), cluster: CLUSTER, fingerprint: [3; 32], secret: entropy() };
        assert_eq!(format!(" {token}\n").parse(), Ok(token.clone()));
        let text = token.to_string();
        for bad in [&text[..text.len() - 1], &text[1..], "", "mainstay1////"] {
            assert_eq!(bad.parse::<JoinToken>(), Err(TokenError));
        }
    }
}
