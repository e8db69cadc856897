//! TLS 1.3 only, with the cluster's authority as the only root.

use crate::pki::{self, Credentials, PkiError};
use mainstay_protocol::{ClusterId, NodeId};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use std::sync::Arc;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Keeps a peer connection from being taken for an admin one and the other way round.
const PEER_PROTOCOL: &[u8] = b"mainstay-peer/1";

/// Both sides of a handshake in memory are a few kilobytes.
const HANDSHAKE_BYTES: usize = 64 << 10;

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error("key is not in PEM")]
    Key,
    #[error("certificate and key cannot be used: {0}")]
    Config(#[from] rustls::Error),
    #[error("they are not accepted: {0}")]
    Refused(String),
    #[error("certificates cannot be checked: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// Certificates of this process: its own and the authority's.
pub struct TlsIdentity {
    pub cluster: ClusterId,
    authority: CertificateDer<'static>,
    own: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

impl TlsIdentity {
    pub fn new(cluster: ClusterId, authority: &str, own: Option<&Credentials>) -> Result<TlsIdentity, TlsError> {
        let authority = pki::certificate_der(authority, "the authority's certificate")?;
        let own = own.map(|own| -> Result<_, TlsError> {
            let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).map_err(|_| TlsError::Key)?;
            Ok((pki::certificate_der(&own.certificate, "the certificate")?, key))
        });
        Ok(TlsIdentity { cluster, authority, own: own.transpose()? })
    }

    pub fn authority(&self) -> &CertificateDer<'static> {
        &self.authority
    }

    fn roots(&self) -> Result<Arc<RootCertStore>, TlsError> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone())?;
        Ok(Arc::new(roots))
    }

    fn own(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let (certificate, key) = self.own.as_ref().ok_or(TlsError::Key)?;
        // The authority travels along: a joining node knows its fingerprint only.
        Ok((vec![certificate.clone(), self.authority.clone()], key.clone_key()))
    }

    /// `required`: the peer port, where only nodes are welcome. Otherwise a certificate may be left out (joining, monitoring).
    fn server(&self, required: bool) -> Result<ServerConfig, TlsError> {
        let mut verifier = WebPkiClientVerifier::builder_with_provider(self.roots()?, provider());
        if !required {
            verifier = verifier.allow_unauthenticated();
        }
        let (chain, key) = self.own()?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier.build()?)
            .with_single_cert(chain, key)?;
        config.send_tls13_tickets = 0; // connections last; resumption would skip the certificate
        Ok(config)
    }

    pub fn peer_server(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let mut config = self.server(true)?;
        config.alpn_protocols = vec![PEER_PROTOCOL.to_vec()];
        Ok(Arc::new(config))
    }

    pub fn admin_server(&self) -> Result<Arc<ServerConfig>, TlsError> {
        Ok(Arc::new(self.server(false)?))
    }

    /// For admin clients; the certificate is optional here too.
    pub fn admin_client(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(self.roots()?);
        let config = match &self.own {
            Some(_) => {
                let (chain, key) = self.own()?;
                builder.with_client_auth_cert(chain, key)?
            }
            None => builder.with_no_client_auth(),
        };
        Ok(Arc::new(config))
    }

    pub fn peer_client(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let mut config = ClientConfig::clone(&*self.admin_client()?);
        config.alpn_protocols = vec![PEER_PROTOCOL.to_vec()];
        Ok(Arc::new(config))
    }
}

/// Whose credentials these are, as this node's admin port would see it: a whole handshake, in memory. So the chain is checked, the dates,
/// and that the key fits.
///
/// # Errors
/// They would not get through.
pub async fn holder(node: &TlsIdentity, id: NodeId, theirs: &TlsIdentity) -> Result<pki::Identity, TlsError> {
    let refused = |error: std::io::Error| TlsError::Refused(error.to_string());
    let (near, far) = tokio::io::duplex(HANDSHAKE_BYTES);
    let (server, client) = (node.admin_server()?, theirs.admin_client()?);
    let name = server_name(pki::node_server_name(node.cluster, id))?;
    let connecting = async { TlsConnector::from(client).connect(name, near).await.map_err(refused) };
    let accepting = async { TlsAcceptor::from(server).accept(far).await.map_err(refused) };
    let (connected, accepted) = tokio::join!(connecting, accepting);
    let (_connected, accepted) = (connected?, accepted?);
    let certificate = accepted.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let certificate = certificate.ok_or_else(|| TlsError::Refused("no certificate".into()))?;
    Ok(pki::Identity::read(certificate)?)
}

/// For `join`: trusts the authority with exactly this fingerprint, and whatever it signed for the expected name.
pub fn join_client(fingerprint: [u8; 32]) -> Result<Arc<ClientConfig>, TlsError> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinnedAuthority { fingerprint, provider: provider() }))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct PinnedAuthority {
    fingerprint: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl PinnedAuthority {
    fn refused(message: &str) -> rustls::Error {
        rustls::Error::General(message.into())
    }
}

impl ServerCertVerifier for PinnedAuthority {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let authority = chain.iter().find(|certificate| pki::fingerprint(certificate) == self.fingerprint);
        let authority = authority.ok_or_else(|| Self::refused("the server is not of the cluster that gave this token"))?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
            .build()
            .map_err(|error| Self::refused(&error.to_string()))?;
        verifier.verify_server_cert(leaf, chain, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(Self::refused("TLS 1.2 is not spoken here"))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

pub fn server_name(name: String) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name).map_err(|_| TlsError::Pki(PkiError::Foreign("not a TLS name".into())))
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
