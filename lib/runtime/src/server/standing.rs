//! Whether the caller's certificate still stands, asked at each call and not only at the handshake.

use std::task::{Context, Poll};

use futures::future::{Either, Ready, ready};
use http::{Request, Response};
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};

use super::connection::{Connection, Peer, no_certificate};
use crate::{status::reason_status, tls::ServiceTls};

#[derive(Clone)]
pub(super) struct StandingLayer {
    tls: ServiceTls,
}

impl StandingLayer {
    pub(super) fn new(tls: ServiceTls) -> Self {
        Self { tls }
    }
}

impl<S> Layer<S> for StandingLayer {
    type Service = Standing<S>;

    fn layer(&self, inner: S) -> Standing<S> {
        Standing {
            tls: self.tls.clone(),
            inner,
        }
    }
}

#[derive(Clone)]
pub(super) struct Standing<S> {
    tls: ServiceTls,
    inner: S,
}

impl<S> Standing<S> {
    fn check(&self, request: &Request<Body>) -> Result<(), Status> {
        let Some(Connection {
            peer: Peer::Known(peer),
            ..
        }) = request.extensions().get::<Connection>()
        else {
            return Err(no_certificate());
        };
        self.tls.check(peer).map_err(|refusal| {
            reason_status(
                Code::Unauthenticated,
                refusal.reason(),
                "the client certificate no longer stands",
            )
        })
    }
}

impl<S> Service<Request<Body>> for Standing<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<Ready<Result<Response<Body>, S::Error>>, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match self.check(&request) {
            Ok(()) => Either::Right(self.inner.call(request)),
            Err(status) => Either::Left(ready(Ok(status.into_http()))),
        }
    }
}
