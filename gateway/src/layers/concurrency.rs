//! Bounds the calls under way; further ones are turned away at once instead of queueing (load shed).

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Status, body::Body};
use tower::{Layer, Service};

use super::is_stream;
use crate::{meters, status::Error};

/// Unary calls and streams have places of their own, so that neither starves the other. A call keeps its place until the
/// last byte of its answer.
#[derive(Clone)]
pub struct Concurrency {
    calls: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

impl Concurrency {
    /// So many at one time.
    #[must_use]
    pub fn new(calls: usize, streams: usize) -> Self {
        Self {
            calls: Arc::new(Semaphore::new(calls)),
            streams: Arc::new(Semaphore::new(streams)),
        }
    }

    fn place(&self, path: &str) -> Option<OwnedSemaphorePermit> {
        let (places, kind) = if is_stream(path) {
            (&self.streams, "stream")
        } else {
            (&self.calls, "call")
        };
        let place = places.clone().try_acquire_owned().ok();
        if place.is_none() {
            meters::shed(kind);
        }
        place
    }
}

impl<S> Layer<S> for Concurrency {
    type Service = Bounded<S>;

    fn layer(&self, inner: S) -> Bounded<S> {
        Bounded {
            places: self.clone(),
            inner,
        }
    }
}

/// [`Concurrency`] around a service.
#[derive(Clone)]
pub struct Bounded<S> {
    places: Concurrency,
    inner: S,
}

impl<S> Service<Request<Body>> for Bounded<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Some(place) = self.places.place(request.uri().path()) else {
            return Box::pin(async { Ok(Status::from(Error::Overloaded).into_http()) });
        };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let response = answer.await?;
            Ok(response.map(|inner| {
                Body::new(Held {
                    inner,
                    _place: place,
                })
            }))
        })
    }
}

/// An answer that keeps its call's place.
struct Held {
    inner: Body,
    _place: OwnedSemaphorePermit,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::convert::Infallible;

    use http_body_util::{BodyExt, Full};
    use sealpost_runtime::status::{reason_of, retry_delay_of};
    use tower::{ServiceExt, service_fn};

    use super::*;

    #[tokio::test]
    async fn a_call_beyond_the_bound_is_shed_until_an_answer_is_done() {
        let answer = async |_: Request<Body>| {
            let body =
                Body::new(Full::new(Bytes::from_static(b"answer")).map_err(|never| match never {}));
            Ok::<_, Infallible>(Response::new(body))
        };
        let service = Concurrency::new(1, 1).layer(service_fn(answer));
        let call = |path: &'static str| {
            let request = Request::builder().uri(path).body(Body::empty()).unwrap();
            service.clone().oneshot(request)
        };
        let first = call("/a.A/One").await.unwrap();
        let shed = call("/a.A/One").await.unwrap();
        let status = Status::from_header_map(shed.headers()).unwrap();
        assert_eq!(reason_of(&status).as_deref(), Some("OVERLOADED"));
        assert!(retry_delay_of(&status).is_some());
        // Streams have places of their own.
        let stream = call("/sealpost.gateway.v1.GatewayService/SendStream")
            .await
            .unwrap();
        assert!(Status::from_header_map(stream.headers()).is_none());
        drop(first);
        let again = call("/a.A/One").await.unwrap();
        assert!(Status::from_header_map(again.headers()).is_none());
    }
}
