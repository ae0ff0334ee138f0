//! Small in-memory stand-ins for the services that the gateway calls. They keep the contracts' promises that these tests lean on,
//! and can be told to fail; the real services are tested against the gateway elsewhere, in processes of their own.

pub mod directory;
pub mod relay;
pub mod shards;
pub mod store;
pub mod vault;

use std::{
    convert::Infallible,
    sync::{Mutex, MutexGuard, PoisonError},
};

use http::{Request, Response};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    body::Body,
    server::NamedService,
    transport::{Channel, Endpoint, Server},
};
use tower::Service;

/// A service on a port of its own, and a channel to it.
pub async fn serve<S>(service: S) -> Channel
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + NamedService
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(
        Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect_lazy()
}

pub fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
