//! Whether the other side of a handshake is who we expect.
//!
//! Chains, purposes and lists are webpki's; ours is that the name is a SPIFFE identity of our trust domain, and on the
//! way out of the expected role, instead of a DNS name.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use thiserror::Error;
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, RevocationOptionsBuilder,
};

use crate::identity::{PeerIdentity, Role, TrustDomain};

/// A verified chain with the wrong name on it.
#[derive(Debug, Error)]
enum WrongPeer {
    #[error("the certificate carries no usable identity")]
    Unnamed,
    #[error("the certificate is of another trust domain")]
    Domain,
    #[error("the certificate is of another role")]
    Role,
    #[error("the certificate carries another name")]
    Name,
}

impl From<WrongPeer> for Error {
    fn from(wrong: WrongPeer) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(wrong))))
    }
}

/// Servers see: webpki's verdict on the client's chain, then its identity.
#[derive(Debug)]
pub(super) struct PeerClientVerifier {
    pub(super) chain: Arc<dyn ClientCertVerifier>,
    pub(super) trust_domain: TrustDomain,
}

impl ClientCertVerifier for PeerClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verdict = self
            .chain
            .verify_client_cert(end_entity, intermediates, now)?;
        identity_in(end_entity, &self.trust_domain)?;
        Ok(verdict)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(tls12_is_not_spoken())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Clients see: the server's chain, its purpose, the lists, and the identity expected there.
#[derive(Debug)]
pub(super) struct PeerServerVerifier {
    pub(super) roots: Arc<RootCertStore>,
    pub(super) lists: Arc<Vec<CertRevocationList<'static>>>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
    pub(super) trust_domain: TrustDomain,
    pub(super) role: Role,
    pub(super) name: Option<String>,
}

impl PeerServerVerifier {
    fn verify_chain(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        let leaf = EndEntityCert::try_from(end_entity)?;
        let lists: Vec<&CertRevocationList<'_>> = self.lists.iter().collect();
        // The defaults check the whole chain and refuse an unknown status. Without lists there is nothing to check.
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
            options
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build()
        });
        leaf.verify_for_usage(
            self.algorithms.all,
            &self.roots.roots,
            intermediates,
            now,
            KeyUsage::server_auth(),
            revocation,
            None,
        )
        .map(drop)
    }
}

impl ServerCertVerifier for PeerServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify_chain(end_entity, intermediates, now)
            .map_err(certificate_error)?;
        let peer = identity_in(end_entity, &self.trust_domain)?;
        if peer.role != self.role {
            return Err(WrongPeer::Role.into());
        }
        if self.name.is_some() && peer.name != self.name {
            return Err(WrongPeer::Name.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(tls12_is_not_spoken())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn identity_in(
    certificate: &CertificateDer<'_>,
    expected: &TrustDomain,
) -> Result<PeerIdentity, Error> {
    let peer =
        PeerIdentity::from_certificate(certificate.as_ref()).map_err(|_| WrongPeer::Unnamed)?;
    if peer.trust_domain != *expected {
        return Err(WrongPeer::Domain.into());
    }
    Ok(peer)
}

/// Both sides offer TLS 1.3 alone, so rustls never asks for this.
fn tls12_is_not_spoken() -> Error {
    Error::General("TLS 1.2 is not spoken".to_owned())
}

/// The alert that a peer gets should tell an operator what to renew.
fn certificate_error(error: webpki::Error) -> Error {
    let error = match error {
        webpki::Error::CertExpired { .. } => CertificateError::Expired,
        webpki::Error::CertNotValidYet { .. } => CertificateError::NotValidYet,
        webpki::Error::CertRevoked => CertificateError::Revoked,
        webpki::Error::UnknownRevocationStatus => CertificateError::UnknownRevocationStatus,
        webpki::Error::CrlExpired { .. } => CertificateError::ExpiredRevocationList,
        webpki::Error::UnknownIssuer => CertificateError::UnknownIssuer,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    };
    Error::InvalidCertificate(error)
}
