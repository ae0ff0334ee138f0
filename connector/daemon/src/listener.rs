//! The REST face's listening socket: plain HTTP, or HTTPS with our own TLS.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, serve};
use sealpost_runtime::{
    config::PublicTlsConfig,
    tls::{PublicTls, TlsError},
};
use thiserror::Error;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

use crate::config::HttpConfig;

const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes that are done and not yet served.
const BACKLOG: usize = 64;

/// Why there is nothing to listen on.
#[derive(Debug, Error)]
pub enum ListenError {
    /// The address cannot be bound.
    #[error("cannot listen: {0}")]
    Bind(#[from] io::Error),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Bound, and not yet serving.
pub(crate) struct Listener {
    tcp: TcpListener,
    address: SocketAddr,
    tls: Option<PublicTls>,
}

impl Listener {
    pub(crate) async fn bind(config: &HttpConfig) -> Result<Self, ListenError> {
        let tls = config.tls.as_ref();
        let tls = tls
            .map(|files: &PublicTlsConfig| PublicTls::load(files))
            .transpose()?;
        let tcp = TcpListener::bind(config.listen).await?;
        Ok(Self {
            address: tcp.local_addr()?,
            tcp,
            tls,
        })
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`, then lets requests end for `drain`.
    pub(crate) async fn serve(
        self,
        router: Router,
        stop: CancellationToken,
        drain: Duration,
    ) -> io::Result<()> {
        let stopped = stop.clone().cancelled_owned();
        let over = async {
            stop.cancelled().await;
            sleep(drain).await;
        };
        let serving = async {
            match self.tls {
                None => {
                    serve(self.tcp, router)
                        .with_graceful_shutdown(stopped)
                        .await
                }
                Some(tls) => {
                    let listener = TlsListener::start(self.tcp, tls, self.address);
                    serve(listener, router)
                        .with_graceful_shutdown(stopped)
                        .await
                }
            }
        };
        tokio::select! {
            served = serving => served,
            () = over => Ok(()),
        }
    }
}

/// Shakes hands with many at a time, so that a slow client holds nobody up.
struct TlsListener {
    accepted: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    address: SocketAddr,
}

impl TlsListener {
    fn start(tcp: TcpListener, tls: PublicTls, address: SocketAddr) -> Self {
        let (ready, accepted) = mpsc::channel(BACKLOG);
        tokio::spawn(accept(tcp, tls, ready));
        Self { accepted, address }
    }
}

impl serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.accepted.recv().await {
            Some(accepted) => accepted,
            // The accepting task only ends with this value.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

async fn accept(
    tcp: TcpListener,
    tls: PublicTls,
    ready: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) {
    loop {
        // A place first: who cannot be served is left in the kernel's queue.
        let Ok(place) = ready.clone().reserve_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            () = ready.closed() => return,
            accepted = tcp.accept() => accepted,
        };
        let Ok((stream, address)) = accepted else {
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let acceptor = acceptor(&tls);
        tokio::spawn(async move {
            // A client that breaks off is its own business.
            if let Ok(Ok(stream)) = timeout(HANDSHAKE, acceptor.accept(stream)).await {
                place.send((stream, address));
            }
        });
    }
}

/// With the certificate as it now is, for HTTP/1.1.
fn acceptor(tls: &PublicTls) -> TlsAcceptor {
    let mut config = rustls::ServerConfig::clone(&tls.server_config());
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}
