//! Certificates for this crate's own tests.

#![allow(clippy::unwrap_used)]

use std::{fs, io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SanType, SerialNumber,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tempfile::TempDir;
use tokio::{io::AsyncReadExt, net::TcpStream};
use tokio_rustls::TlsConnector;

use crate::config::TlsConfig;

pub(crate) const BOTH: &[ExtendedKeyUsagePurpose] = &[
    ExtendedKeyUsagePurpose::ServerAuth,
    ExtendedKeyUsagePurpose::ClientAuth,
];

/// A certificate authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: Certificate,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    /// The DER of a leaf with these URI names.
    pub(crate) fn leaf_with_uris(&self, uris: &[&str]) -> Vec<u8> {
        self.leaf(uris, 1, BOTH).0.der().to_vec()
    }

    fn leaf(
        &self,
        uris: &[&str],
        serial: u64,
        usages: &[ExtendedKeyUsagePurpose],
    ) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        for uri in uris {
            params
                .subject_alt_names
                .push(SanType::URI((*uri).try_into().unwrap()));
        }
        params.serial_number = Some(SerialNumber::from(serial));
        params.extended_key_usages = usages.to_vec();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate, key)
    }

    /// A folder with everything a service named `uri` needs, and a current list that revokes `revoked`.
    pub(crate) fn service(&self, uri: &str, serial: u64) -> (TempDir, TlsConfig) {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let config = TlsConfig {
            certificate: path("cert.pem"),
            private_key: path("key.pem"),
            ca: path("ca.pem"),
            crl: Some(path("crl.pem")),
        };
        self.write_leaf(&config, uri, serial, BOTH);
        fs::write(&config.ca, self.certificate.pem()).unwrap();
        self.write_list(&config, &[], 3600);
        (folder, config)
    }

    pub(crate) fn write_leaf(
        &self,
        config: &TlsConfig,
        uri: &str,
        serial: u64,
        usages: &[ExtendedKeyUsagePurpose],
    ) {
        let (certificate, key) = self.leaf(&[uri], serial, usages);
        fs::write(&config.certificate, certificate.pem()).unwrap();
        fs::write(&config.private_key, key.serialize_pem()).unwrap();
    }

    /// Writes a list that stands for `seconds` from now, or did until then.
    pub(crate) fn write_list(&self, config: &TlsConfig, revoked: &[u64], seconds: i64) {
        let now = time::OffsetDateTime::from_unix_timestamp(
            i64::try_from(crate::Clock::system().now().as_secs()).unwrap(),
        )
        .unwrap();
        let before = now - Duration::from_secs(7200);
        let params = CertificateRevocationListParams {
            this_update: before,
            next_update: now + time::Duration::seconds(seconds),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked
                .iter()
                .map(|serial| RevokedCertParams {
                    serial_number: SerialNumber::from(*serial),
                    revocation_time: before,
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer).unwrap();
        fs::write(config.crl.as_ref().unwrap(), list.pem().unwrap()).unwrap();
    }

    pub(crate) fn write_certificate(&self, path: &Path) {
        fs::write(path, self.certificate.pem()).unwrap();
    }

    /// Shakes hands as `caller` without looking at who answers, and reads what the server says first.
    pub(crate) async fn first_bytes(
        &self,
        address: SocketAddr,
        caller: &TlsConfig,
    ) -> io::Result<usize> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = CertificateDer::from_pem_file(&caller.certificate).unwrap();
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![chain],
                PrivateKeyDer::from_pem_file(&caller.private_key).unwrap(),
            )
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let tcp = TcpStream::connect(address).await?;
        let name = "localhost".try_into().unwrap();
        let mut tls = TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await?;
        tls.read(&mut [0; 64]).await
    }
}
