//! TLS between services: both sides present a certificate of our authority.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::Resumption,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    version::TLS13,
};
use tokio::sync::watch;
use webpki::{CertRevocationList, OwnedCertRevocationList};

use super::{
    ALPN_H2, Refusal, Revocations, TlsError, material, provider,
    reload::{self, Reload},
    revocation::real_now,
    verify::{PeerClientVerifier, PeerServerVerifier},
};
use crate::{
    config::TlsConfig,
    identity::{PeerIdentity, Role},
};

/// A service's certificates as they now are; clones share them.
///
/// While one lives, a task reads the files again when they change. Files that cannot be used change nothing and
/// count in `sealpost_tls_reloads_total{outcome="refused"}`.
#[derive(Clone)]
pub struct ServiceTls {
    inner: Arc<Inner>,
}

struct Inner {
    config: TlsConfig,
    current: ArcSwap<Material>,
    reloaded: watch::Sender<u64>,
}

struct Material {
    identity: PeerIdentity,
    server: Arc<ServerConfig>,
    chain: Vec<CertificateDer<'static>>,
    private_key: PrivateKeyDer<'static>,
    roots: Arc<RootCertStore>,
    lists: Arc<Vec<CertRevocationList<'static>>>,
    revocations: Revocations,
}

impl ServiceTls {
    /// Reads the files and starts watching them.
    ///
    /// # Errors
    /// When they cannot be read or do not fit together.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn load(config: &TlsConfig) -> Result<Self, TlsError> {
        let inner = Arc::new(Inner {
            config: config.clone(),
            current: ArcSwap::from_pointee(Material::load(config)?),
            reloaded: watch::Sender::new(0),
        });
        reload::watch(&inner);
        Ok(Self { inner })
    }

    /// Reads the files again now.
    ///
    /// # Errors
    /// When they cannot be used; the old ones then stay.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.inner.reload()
    }

    /// Who we are.
    #[must_use]
    pub fn identity(&self) -> PeerIdentity {
        self.inner.current.load().identity.clone()
    }

    /// Whether `peer`, whose handshake once passed, still stands.
    ///
    /// # Errors
    /// Why it does not.
    pub fn check(&self, peer: &PeerIdentity) -> Result<(), Refusal> {
        self.inner
            .current
            .load()
            .revocations
            .check(peer, real_now())
    }

    /// For the accepting side of a handshake.
    #[must_use]
    pub fn server_config(&self) -> Arc<ServerConfig> {
        self.inner.current.load().server.clone()
    }

    /// For the calling side of a handshake with a peer of `role` (and `name`, when given).
    ///
    /// # Errors
    /// When rustls refuses the material.
    pub fn client_config(
        &self,
        role: Role,
        name: Option<&str>,
    ) -> Result<Arc<ClientConfig>, TlsError> {
        self.inner.current.load().client_config(role, name)
    }

    /// Changes whenever the files were read again.
    pub(crate) fn reloads(&self) -> watch::Receiver<u64> {
        self.inner.reloaded.subscribe()
    }
}

impl Reload for Inner {
    fn files(&self) -> Vec<std::path::PathBuf> {
        let TlsConfig {
            certificate,
            private_key,
            ca,
            crl,
        } = &self.config;
        let mut files = vec![certificate.clone(), private_key.clone(), ca.clone()];
        files.extend(crl.clone());
        files
    }

    fn reload(&self) -> Result<(), TlsError> {
        let fresh = Material::load(&self.config)?;
        self.current.store(Arc::new(fresh));
        self.reloaded.send_modify(|count| *count += 1);
        Ok(())
    }
}

impl Material {
    fn load(config: &TlsConfig) -> Result<Self, TlsError> {
        let chain = material::certificates(&config.certificate)?;
        let private_key = material::private_key(&config.private_key)?;
        let roots = Arc::new(material::roots(&config.ca)?);
        let ders = match &config.crl {
            Some(path) => material::revocation_lists(path)?,
            None => Vec::new(),
        };
        let identity = PeerIdentity::from_certificate(&chain[0])?;

        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider())
            .with_crls(ders.iter().cloned())
            .enforce_revocation_expiration()
            .build()?;
        let verifier = PeerClientVerifier {
            chain: clients,
            trust_domain: identity.trust_domain.clone(),
        };
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_single_cert(chain.clone(), private_key.clone_key())?;
        refuse_resumption(&mut server);

        let lists = ders
            .iter()
            .map(|der| OwnedCertRevocationList::from_der(der.as_ref()).map(Into::into))
            .collect::<Result<_, _>>()
            .map_err(|_| TlsError::Revocations)?;
        Ok(Self {
            identity,
            server: Arc::new(server),
            chain,
            private_key,
            roots,
            lists: Arc::new(lists),
            revocations: Revocations::from_lists(&ders)?,
        })
    }

    fn client_config(&self, role: Role, name: Option<&str>) -> Result<Arc<ClientConfig>, TlsError> {
        let provider = provider();
        let verifier = PeerServerVerifier {
            roots: self.roots.clone(),
            lists: self.lists.clone(),
            algorithms: provider.signature_verification_algorithms,
            trust_domain: self.identity.trust_domain.clone(),
            role,
            name: name.map(ToOwned::to_owned),
        };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(self.chain.clone(), self.private_key.clone_key())?;
        config.alpn_protocols = vec![ALPN_H2.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        Ok(Arc::new(config))
    }
}

/// A resumed session would skip the certificates, and with them revocation.
pub(super) fn refuse_resumption(server: &mut ServerConfig) {
    server.alpn_protocols = vec![ALPN_H2.to_vec()];
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
}
