//! Channels of a caller who cares for nothing: it takes any server and shows any certificate, or none. What refuses it then is
//! the server.

use std::io;
use std::sync::Arc;

use anyhow::Context;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use crate::identity::Certificate;

/// A channel to `address` (`host:port`) that shows this certificate.
///
/// # Errors
/// When its files do not read.
pub fn channel(address: &str, shown: Option<&Certificate>) -> anyhow::Result<Channel> {
    let config = Arc::new(client_config(shown)?);
    let target = address.to_owned();
    let connector = service_fn(move |_| {
        let (config, target) = (config.clone(), target.clone());
        async move { Ok::<_, io::Error>(TokioIo::new(handshake(&target, config).await?)) }
    });
    Ok(Endpoint::from_shared(format!("http://{address}"))?.connect_with_connector_lazy(connector))
}

/// Shakes hands showing this certificate and reads what the server says first: the TLS alert, when it refuses.
///
/// # Errors
/// When the server cannot be reached.
pub async fn refusal(address: &str, shown: Option<&Certificate>) -> anyhow::Result<Option<String>> {
    let mut stream = match handshake(address, Arc::new(client_config(shown)?)).await {
        Ok(stream) => stream,
        Err(error) => return Ok(Some(error.to_string())),
    };
    // In TLS 1.3 the client is done before the server has looked at its certificate.
    let mut first = [0; 9];
    Ok(stream
        .read(&mut first)
        .await
        .err()
        .map(|error| error.to_string()))
}

async fn handshake(
    address: &str,
    config: Arc<ClientConfig>,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    TlsConnector::from(config).connect(name, tcp).await
}

fn client_config(shown: Option<&Certificate>) -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)));
    let mut config = match shown {
        Some(shown) => {
            let chain = CertificateDer::pem_file_iter(&shown.certificate)?
                .collect::<Result<Vec<_>, _>>()?;
            let key = PrivateKeyDer::from_pem_file(&shown.private_key).context("a private key")?;
            builder.with_client_auth_cert(chain, key)?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.enable_sni = false;
    Ok(config)
}

#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
