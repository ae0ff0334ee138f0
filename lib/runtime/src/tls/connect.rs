//! Channels: lazy gRPC connections over our own TLS.
//!
//! A channel connects on its first call and again after it broke; certificates are those of that moment. One towards replicas
//! holds one connection, and begins each new one with the replica after the last: a replica that hangs is not met twice in a row.

use std::{
    future::Future,
    hash::{BuildHasher, RandomState},
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, client::Resumption, pki_types::ServerName, version::TLS13};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::{ALPN_H2, Guarded, HANDSHAKE_TIMEOUT, Leash, ServiceTls, TlsError, material, provider};
use crate::{
    config::{HostPort, HostPorts, PeerConfig, Replicas},
    identity::PeerIdentity,
};

/// How long a connection may be silent before its peer is asked for a sign of life, and how long that may take.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// The same, and the time for a handshake, where another replica could be asked meanwhile.
const KEEPALIVE_OF_REPLICAS: Duration = Duration::from_secs(5);
const STREAM_WINDOW: u32 = 2 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;

/// A server caps the age of its connections; a client only cares that its peer still stands.
const NO_AGE: Duration = Duration::from_secs(365 * 24 * 3600);

/// A channel to a service, or to whichever of its replicas answers: nothing is sent unless its certificate names the configured
/// role in our trust domain.
///
/// # Errors
/// When an address cannot be used.
pub fn connect(peers: impl Into<Replicas>, tls: &ServiceTls) -> Result<Channel, TlsError> {
    let peers: Replicas = peers.into();
    for peer in peers.all() {
        endpoint(&peer.address, KEEPALIVE)?;
    }
    let endpoint = endpoint(&peers.all()[0].address, patience(peers.all().len()))?;
    let turns = Arc::new(Turns::new(peers.all().to_vec()));
    let tls = tls.clone();
    let connector = service_fn(move |_| {
        let (tls, turns) = (tls.clone(), turns.clone());
        async move { turns.first(|peer| connect_to(peer, &tls)).await }
    });
    Ok(endpoint.connect_with_connector_lazy(connector))
}

/// Replicas, and whose turn it is.
struct Turns<T> {
    replicas: Vec<T>,
    next: AtomicUsize,
}

impl<T> Turns<T> {
    fn new(replicas: Vec<T>) -> Self {
        // Callers spread over the replicas: std's hash seed differs between processes.
        let first = RandomState::new().hash_one(()) as usize % replicas.len().max(1);
        Self {
            replicas,
            next: AtomicUsize::new(first),
        }
    }

    /// The first connection that stands.
    async fn first<'a, S, F>(&'a self, connect: impl Fn(&'a T) -> F) -> io::Result<S>
    where
        F: Future<Output = io::Result<S>>,
    {
        let several = self.replicas.len() > 1;
        let mut failed = io::ErrorKind::NotConnected.into();
        for _ in &self.replicas {
            let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.replicas.len();
            let connecting = connect(&self.replicas[turn]);
            let connected = if several {
                timeout(KEEPALIVE_OF_REPLICAS, connecting)
                    .await
                    .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            } else {
                connecting.await
            };
            match connected {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }
}

async fn connect_to(
    peer: &PeerConfig,
    tls: &ServiceTls,
) -> io::Result<TokioIo<Guarded<TlsStream<TcpStream>>>> {
    let config = tls
        .client_config(peer.role, peer.name.as_deref())
        .map_err(io::Error::other)?;
    let stream = handshake(&peer.address, config).await?;
    let identity = server_identity(&stream)?;
    let leash = Leash::under(&CancellationToken::new());
    tokio::spawn(
        leash
            .clone()
            .watch(Some((tls.clone(), identity)), NO_AGE, KEEPALIVE),
    );
    Ok(TokioIo::new(Guarded::new(stream, leash)))
}

/// A channel to a public face, or to whichever of several answers. The certificate must be signed by the authority in the PEM file
/// `ca` and carry the host's DNS name or IP address.
///
/// # Errors
/// When an address or the file cannot be used.
pub fn connect_public(addresses: &HostPorts, ca: &Path) -> Result<Channel, TlsError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(material::roots(ca)?)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    config.resumption = Resumption::disabled();
    let config = Arc::new(config);

    for address in addresses.all() {
        endpoint(address, KEEPALIVE)?;
    }
    let endpoint = endpoint(&addresses.all()[0], patience(addresses.all().len()))?;
    let turns = Arc::new(Turns::new(addresses.all().to_vec()));
    let connector = service_fn(move |_| {
        let (config, turns) = (config.clone(), turns.clone());
        async move {
            let stream = turns
                .first(|address| handshake(address, config.clone()))
                .await?;
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    });
    Ok(endpoint.connect_with_connector_lazy(connector))
}

fn patience(replicas: usize) -> Duration {
    if replicas > 1 {
        KEEPALIVE_OF_REPLICAS
    } else {
        KEEPALIVE
    }
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
fn endpoint(address: &HostPort, keepalive: Duration) -> Result<Endpoint, TlsError> {
    let endpoint =
        Endpoint::from_shared(format!("http://{address}")).map_err(|_| TlsError::Address)?;
    Ok(endpoint
        .http2_keep_alive_interval(keepalive)
        .keep_alive_timeout(keepalive)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW))
}
