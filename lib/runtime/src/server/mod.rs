//! Serving gRPC: listeners, who may call what, health, reflection, metrics and the end of it all.
//!
//! Owns everything around a service's routes. Its invariant: on a face between services no call reaches a service
//! unless the caller's certificate stands at that moment and the [`AccessTable`] lists its role for that very method.

mod accept;
mod access;
mod connection;
mod metrics_server;
mod rpc_metrics;
mod services;
mod standing;

use std::{io, time::Duration};

use http::{Request, Response};
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tower::{BoxError, Layer, Service, ServiceExt, util::BoxCloneService};

use crate::{
    config::ServerConfig,
    tls::{PublicTls, ServiceTls, TlsError},
};

pub use accept::Listener;
pub use access::{AccessRow, AccessTable, USUAL_ROWS};
pub use connection::{Connection, Peer, draining, peer_of};
pub use metrics_server::{MetricsServer, record_metrics};
pub use services::{Health, Services};

use accept::{Face, Limits};
use access::AccessLayer;
use rpc_metrics::RpcMetricsLayer;
use standing::StandingLayer;

const KEEPALIVE: Duration = Duration::from_secs(10);
const STREAM_WINDOW: u32 = 2 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;
const STREAMS_PER_CONNECTION: u32 = 1024;
const HEADER_BYTES: u32 = 16 * 1024;

/// All of a face's services behind one door.
pub type RpcService = BoxCloneService<Request<Body>, Response<Body>, BoxError>;

/// One face of a process, bound and not yet serving.
///
/// ```no_run
/// # async fn example(
/// #     config: sealpost_runtime::config::ServerConfig, descriptors: &'static [u8],
/// #     shutdown: tokio_util::sync::CancellationToken,
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// use sealpost_runtime::{server::{AccessTable, Listener, Server, Services, USUAL_ROWS}, tls::ServiceTls};
///
/// static ACCESS: AccessTable = AccessTable::new(&[USUAL_ROWS]);
/// let tls = ServiceTls::load(&config.tls)?;
/// let services = Services::new(descriptors)?; // .add(VaultServer::new(..))
/// let listener = Listener::bind(config.listen).await?;
/// Server::mutual(listener, services, &config, tls, &ACCESS).serve(shutdown).await?;
/// # Ok(()) }
/// ```
pub struct Server {
    listener: Listener,
    face: Face,
    limits: Limits,
    health: Health,
    metrics: RpcMetricsLayer,
    service: RpcService,
    access: Option<&'static AccessTable>,
}

impl Server {
    /// A face between services: certificates on both sides, roles by `access`.
    #[must_use]
    pub fn mutual(
        listener: Listener,
        services: Services,
        config: &ServerConfig,
        tls: ServiceTls,
        access: &'static AccessTable,
    ) -> Self {
        let mut server = Self::new(listener, services, config, Face::Mutual(tls));
        server.access = Some(access);
        server
    }

    /// A face towards the public: every caller is [`Peer::Anonymous`], and what it may do is the service's own layer's
    /// business, health and reflection included.
    #[must_use]
    pub fn public<T>(
        listener: Listener,
        services: Services,
        config: &ServerConfig<T>,
        tls: PublicTls,
    ) -> Self {
        Self::new(listener, services, config, Face::Public(tls))
    }

    fn new<T>(
        listener: Listener,
        services: Services,
        config: &ServerConfig<T>,
        face: Face,
    ) -> Self {
        let (routes, health, methods) = services.into_parts();
        Self {
            listener,
            face,
            limits: Limits {
                connections: config.max_connections,
                age: config.max_connection_age(),
                drain: config.drain(),
            },
            health,
            metrics: RpcMetricsLayer::new(methods),
            service: BoxCloneService::new(ServiceExt::<Request<Body>>::map_err(routes, Into::into)),
            access: None,
        }
    }

    /// Wraps the services in a layer; a later one goes around an earlier one, and the face's own checks around all.
    #[must_use]
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<RpcService>,
        L::Service: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
        <L::Service as Service<Request<Body>>>::Error: Into<BoxError>,
        <L::Service as Service<Request<Body>>>::Future: Send + 'static,
    {
        self.service = BoxCloneService::new(layer.layer(self.service).map_err(Into::into));
        self
    }

    /// Serves until `shutdown`, then lets calls end for the configured time. Health says SERVING in between.
    ///
    /// # Errors
    /// When the transport fails as a whole.
    pub async fn serve(self, shutdown: CancellationToken) -> Result<(), ServerError> {
        let mut server = self;
        if let Face::Mutual(tls) = &server.face {
            let tls = tls.clone();
            let table = server.access.unwrap_or(&access::NOTHING);
            server = server
                .layer(AccessLayer::new(table))
                .layer(StandingLayer::new(tls));
        }
        let metrics = server.metrics.clone();
        let Self {
            listener,
            face,
            limits,
            health,
            service,
            ..
        } = server.layer(metrics);

        let incoming = accept::connections(listener, face, limits, shutdown.clone());
        health.set(true).await;
        let stopping = async {
            shutdown.cancelled().await;
            health.set(false).await;
        };
        tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(STREAMS_PER_CONNECTION)
            .http2_max_header_list_size(HEADER_BYTES)
            .max_connection_age(limits.age)
            .serve_with_incoming_shutdown(service, incoming, stopping)
            .await
            .map_err(ServerError::Transport)
    }
}

/// Why a face cannot be served.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("cannot listen: {0}")]
    Listen(#[from] io::Error),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The file descriptor set is not well formed.
    #[error("the file descriptor set is not well formed")]
    Descriptors,
    /// The metrics recorder cannot be installed.
    #[error("the metrics recorder cannot be installed")]
    Metrics,
    /// The transport failed.
    #[error("transport: {0}")]
    Transport(#[source] tonic::transport::Error),
}

#[cfg(test)]
mod tests;
