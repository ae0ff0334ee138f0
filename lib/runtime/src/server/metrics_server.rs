//! Prometheus text at `/metrics` and a sign of life at `/healthz`, over plain HTTP.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    time::{interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::ServerError;
use crate::config::MetricsConfig;

/// From a tenth of a millisecond to half a minute.
const SECONDS: &[f64] = &[
    0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0,
];
const ITEMS: &[f64] = &[
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0,
];
const CONNECTIONS: usize = 32;
const CONNECTION_LIFE: Duration = Duration::from_secs(60);

static RECORDER: Mutex<Option<PrometheusHandle>> = Mutex::new(None);

/// Installs the process's recorder of metrics, once; later calls answer the same one.
///
/// # Errors
/// When another recorder stands already.
pub fn record_metrics() -> Result<PrometheusHandle, ServerError> {
    let mut installed = RECORDER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = &*installed {
        return Ok(handle.clone());
    }
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)
        .and_then(|builder| {
            builder.set_buckets_for_metric(Matcher::Suffix("_items".to_owned()), ITEMS)
        })
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(|_| ServerError::Metrics)?;
    *installed = Some(handle.clone());
    Ok(handle)
}

/// The metrics face, bound and not yet serving.
pub struct MetricsServer {
    listener: TcpListener,
    address: SocketAddr,
    handle: PrometheusHandle,
}

impl MetricsServer {
    /// Installs the recorder and binds the address.
    ///
    /// # Errors
    /// When either cannot be done.
    pub async fn bind(config: &MetricsConfig) -> Result<Self, ServerError> {
        let handle = record_metrics()?;
        let listener = TcpListener::bind(config.listen).await?;
        let address = listener.local_addr()?;
        Ok(Self {
            listener,
            address,
            handle,
        })
    }

    /// The address that is really bound.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`.
    pub async fn serve(self, shutdown: CancellationToken) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut upkeep = interval(Duration::from_secs(5));
        loop {
            let tcp = tokio::select! {
                () = shutdown.cancelled() => return,
                _ = upkeep.tick() => {
                    self.handle.run_upkeep();
                    continue;
                }
                accepted = self.listener.accept() => accepted,
            };
            let Ok((tcp, _)) = tcp else {
                sleep(Duration::from_millis(100)).await;
                continue;
            };
            // More scrapers than that are a mistake: they are turned away.
            let Ok(place) = places.clone().try_acquire_owned() else {
                continue;
            };
            let handle = self.handle.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let response = answer(&handle, &request);
                    async move { Ok::<_, Infallible>(response) }
                });
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(Duration::from_secs(5))
                    .serve_connection(TokioIo::new(tcp), service);
                // A scraper that went away is its own business.
                let _ = timeout(CONNECTION_LIFE, connection).await;
                drop(place);
            });
        }
    }
}

fn answer(handle: &PrometheusHandle, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let (status, kind, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => (
            StatusCode::OK,
            "text/plain; version=0.0.4",
            Bytes::from(handle.render()),
        ),
        (&Method::GET, "/healthz") => (StatusCode::OK, "text/plain", Bytes::from_static(b"ok\n")),
        _ => (
            StatusCode::NOT_FOUND,
            "text/plain",
            Bytes::from_static(b"not found\n"),
        ),
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;

    async fn fetch(address: SocketAddr, path: &str) -> String {
        let mut tcp = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn metrics_and_a_sign_of_life_are_served_and_nothing_else() {
        let config = MetricsConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            allow_remote: false,
        };
        let server = MetricsServer::bind(&config).await.unwrap();
        let address = server.local_addr();
        let stop = CancellationToken::new();
        let served = tokio::spawn(server.serve(stop.clone()));
        metrics::counter!("sealpost_test_total").increment(3);

        assert!(
            fetch(address, "/metrics")
                .await
                .contains("sealpost_test_total 3")
        );
        assert!(fetch(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        assert!(fetch(address, "/").await.starts_with("HTTP/1.1 404"));
        stop.cancel();
        served.await.unwrap();
    }
}
