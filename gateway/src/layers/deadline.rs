//! Ends unary calls that take too long. What such a call began, a message on its way in, goes on without it.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use http::{Request, Response};
use tokio::time::timeout;
use tonic::{Status, body::Body};
use tower::{Layer, Service};

use super::is_stream;
use crate::status::Error;

/// How long a unary call may take; a caller's own shorter `grpc-timeout` is the transport's business.
#[derive(Clone, Copy)]
pub struct Deadline(pub Duration);

impl<S> Layer<S> for Deadline {
    type Service = Timed<S>;

    fn layer(&self, inner: S) -> Timed<S> {
        Timed {
            deadline: self.0,
            inner,
        }
    }
}

/// [`Deadline`] around a service.
#[derive(Clone)]
pub struct Timed<S> {
    deadline: Duration,
    inner: S,
}

impl<S> Service<Request<Body>> for Timed<S>
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
        let streams = is_stream(request.uri().path());
        let answer = self.inner.call(request);
        if streams {
            return Box::pin(answer);
        }
        let deadline = self.deadline;
        Box::pin(async move {
            match timeout(deadline, answer).await {
                Ok(answer) => answer,
                Err(_) => Ok(Status::from(Error::Deadline).into_http()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{convert::Infallible, future::pending};

    use tonic::Code;
    use tower::{ServiceExt, service_fn};

    use super::*;

    #[tokio::test]
    async fn a_unary_call_ends_at_its_deadline_and_a_stream_does_not() {
        let service =
            Deadline(Duration::from_millis(50)).layer(service_fn(async |_: Request<Body>| {
                pending::<Result<Response<Body>, Infallible>>().await
            }));
        let call = |path: &'static str| {
            let request = Request::builder().uri(path).body(Body::empty()).unwrap();
            service.clone().oneshot(request)
        };
        let answer = call("/sealpost.gateway.v1.GatewayService/Send")
            .await
            .unwrap();
        let status = Status::from_header_map(answer.headers()).unwrap();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        let stream = call("/sealpost.gateway.v1.GatewayService/SendStream");
        assert!(timeout(Duration::from_millis(200), stream).await.is_err());
    }
}
