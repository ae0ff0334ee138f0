//! Channels: lazy gRPC connections over our own TLS.
//!
//! A channel connects on its first call and again after it broke; certificates are those of that moment.

use std::{io, path::Path, sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, client::Resumption, pki_types::ServerName, version::TLS13};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::{ALPN_H2, Guarded, HANDSHAKE_TIMEOUT, Leash, ServiceTls, TlsError, material, provider};
use crate::{
    config::{HostPort, PeerConfig},
    identity::PeerIdentity,
};

const KEEPALIVE: Duration = Duration::from_secs(10);
const STREAM_WINDOW: u32 = 2 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;

/// A server caps the age of its connections; a client only cares that its peer still stands.
const NO_AGE: Duration = Duration::from_secs(365 * 24 * 3600);

/// A channel to a service: nothing is sent unless its certificate names the configured role in our trust domain.
///
/// # Errors
/// When the address cannot be used.
pub fn connect(peer: &PeerConfig, tls: &ServiceTls) -> Result<Channel, TlsError> {
    let (tls, peer) = (tls.clone(), peer.clone());
    let endpoint = endpoint(&peer.address)?;
    let connector = service_fn(move |_| {
        let (tls, peer) = (tls.clone(), peer.clone());
        async move {
            let config = tls
                .client_config(peer.role, peer.name.as_deref())
                .map_err(io::Error::other)?;
            let stream = handshake(&peer.address, config).await?;
            let identity = server_identity(&stream)?;
            let leash = Leash::under(&CancellationToken::new());
            tokio::spawn(
                leash
                    .clone()
                    .watch(Some((tls, identity)), NO_AGE, KEEPALIVE),
            );
            Ok::<_, io::Error>(TokioIo::new(Guarded::new(stream, leash)))
        }
    });
    Ok(endpoint.connect_with_connector_lazy(connector))
}

/// A channel to a public face, whose certificate must be signed by the authority in the PEM file `ca` and carry the
/// host's DNS name or IP address.
///
/// # Errors
/// When the address or the file cannot be used.
pub fn connect_public(address: &HostPort, ca: &Path) -> Result<Channel, TlsError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(material::roots(ca)?)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    config.resumption = Resumption::disabled();
    let config = Arc::new(config);

    let endpoint = endpoint(address)?;
    let address = address.clone();
    let connector = service_fn(move |_| {
        let (config, address) = (config.clone(), address.clone());
        async move { handshake(&address, config).await.map(TokioIo::new) }
    });
    Ok(endpoint.connect_with_connector_lazy(connector))
}

async fn handshake(
    address: &HostPort,
    config: Arc<ClientConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(address.host().to_owned()).map_err(io::Error::other)?;
    let stream = timeout(HANDSHAKE_TIMEOUT, async {
        let tcp = TcpStream::connect((address.host(), address.port())).await?;
        tcp.set_nodelay(true)?;
        TlsConnector::from(config).connect(name, tcp).await
    })
    .await
    .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    if stream.get_ref().1.alpn_protocol() != Some(ALPN_H2) {
        return Err(io::Error::other("the peer does not speak HTTP/2"));
    }
    Ok(stream)
}

fn server_identity(stream: &TlsStream<TcpStream>) -> io::Result<PeerIdentity> {
    let leaf = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(<[_]>::first)
        .ok_or_else(|| io::Error::other("the peer presented no certificate"))?;
    PeerIdentity::from_certificate(leaf).map_err(io::Error::other)
}

/// The scheme is plain because TLS is our connector's: tonic would refuse `https` without its own.
fn endpoint(address: &HostPort) -> Result<Endpoint, TlsError> {
    let endpoint =
        Endpoint::from_shared(format!("http://{address}")).map_err(|_| TlsError::Address)?;
    Ok(endpoint
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW))
}
