//! Accepts connections and shakes hands with each in a task of its own.
//!
//! Nobody can hold up others: a handshake has a deadline, and handshakes and connections have caps.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::connection::{Accepted, Connection, Peer};
use crate::{
    identity::PeerIdentity,
    tls::{Guarded, HANDSHAKE_TIMEOUT, Leash, PublicTls, ServiceTls},
};

/// Handshakes under way at one time; each costs public-key work.
const CONCURRENT_HANDSHAKES: usize = 128;

/// A bound address that does not accept yet.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds `address`; port 0 lets the system pick one.
    ///
    /// # Errors
    /// When it cannot be listened on.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    /// The address that is really bound.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

/// Whom a listener speaks to.
#[derive(Clone)]
pub(super) enum Face {
    Mutual(ServiceTls),
    Public(PublicTls),
}

/// Bounds of a listener.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) connections: usize,
    pub(super) age: Duration,
    pub(super) drain: Duration,
}

/// Connections whose handshake passed, until `shutdown`, which also drains those that stand.
pub(super) fn connections(
    listener: Listener,
    face: Face,
    limits: Limits,
    shutdown: CancellationToken,
) -> ReceiverStream<Result<Accepted, Infallible>> {
    let (ready, stream) = mpsc::channel(16);
    tokio::spawn(accept_all(listener.socket, face, limits, shutdown, ready));
    ReceiverStream::new(stream)
}

async fn accept_all(
    listener: TcpListener,
    face: Face,
    limits: Limits,
    shutdown: CancellationToken,
    ready: mpsc::Sender<Result<Accepted, Infallible>>,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let handshakes = Arc::new(Semaphore::new(CONCURRENT_HANDSHAKES));
    let next = async || {
        // Neither semaphore is ever closed.
        let place = places.clone().acquire_owned().await.ok()?;
        let turn = handshakes.clone().acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((tcp, remote)) => return Some((place, turn, tcp, remote)),
                Err(_) => {
                    // Out of descriptors, most likely: others have to end first.
                    metrics::counter!("sealpost_accept_errors_total").increment(1);
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    };
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = next() => accepted,
        };
        let Some((place, turn, tcp, remote)) = accepted else {
            return;
        };
        let (face, ready) = (face.clone(), ready.clone());
        let leash = Leash::under(&shutdown);
        tokio::spawn(async move {
            let shaken = timeout(HANDSHAKE_TIMEOUT, handshake(&face, tcp)).await;
            drop(turn);
            let Ok(Ok((stream, identity))) = shaken else {
                metrics::counter!("sealpost_handshakes_refused_total").increment(1);
                return;
            };
            let watched = match (&face, &identity) {
                (Face::Mutual(tls), Some(identity)) => Some((tls.clone(), identity.clone())),
                _ => None,
            };
            tokio::spawn(leash.clone().watch(watched, limits.age, limits.drain));
            let info = Connection {
                peer: identity.map_or(Peer::Anonymous, |known| Peer::Known(Arc::new(known))),
                remote,
                draining: leash.drain.clone(),
            };
            let accepted = Accepted {
                stream: Guarded::new(stream, leash),
                info,
                _place: place,
            };
            // Nobody listens once the server has ended.
            let _ = ready.send(Ok(accepted)).await;
        });
    }
}

async fn handshake(
    face: &Face,
    tcp: TcpStream,
) -> io::Result<(TlsStream<TcpStream>, Option<PeerIdentity>)> {
    tcp.set_nodelay(true)?;
    let config = match face {
        Face::Mutual(tls) => tls.server_config(),
        Face::Public(tls) => tls.server_config(),
    };
    let stream = TlsAcceptor::from(config).accept(tcp).await?;
    let session = stream.get_ref().1;
    if session.alpn_protocol() != Some(b"h2") {
        return Err(io::Error::other("the peer does not speak HTTP/2"));
    }
    let identity = match face {
        Face::Public(_) => None,
        Face::Mutual(_) => {
            let leaf = session
                .peer_certificates()
                .and_then(<[_]>::first)
                .ok_or_else(|| io::Error::other("the peer presented no certificate"))?;
            Some(PeerIdentity::from_certificate(leaf).map_err(io::Error::other)?)
        }
    };
    Ok((stream, identity))
}
