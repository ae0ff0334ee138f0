//! Nothing but the health service is reached without a valid token.

use std::{
    mem,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use http::{Request, Response, header::AUTHORIZATION};
use tonic::{Status, body::Body};
use tower::{Layer, Service};

use crate::authentication::{Session, TokenDigest, Tokens};

const HEALTH: &str = "/grpc.health.v1.Health/";

/// Puts the caller's [`Session`] into the request's extensions, or answers UNAUTHENTICATED.
#[derive(Clone)]
pub struct Authenticate {
    tokens: Tokens,
}

impl Authenticate {
    /// Asks `tokens`.
    #[must_use]
    pub fn new(tokens: Tokens) -> Self {
        Self { tokens }
    }
}

impl<S> Layer<S> for Authenticate {
    type Service = Authenticated<S>;

    fn layer(&self, inner: S) -> Authenticated<S> {
        Authenticated {
            tokens: self.tokens.clone(),
            inner,
        }
    }
}

/// [`Authenticate`] around a service.
#[derive(Clone)]
pub struct Authenticated<S> {
    tokens: Tokens,
    inner: S,
}

impl<S> Service<Request<Body>> for Authenticated<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if request.uri().path().starts_with(HEALTH) {
            return Box::pin(self.inner.call(request));
        }
        // The text of the token goes no further than here.
        let header = request.headers_mut().remove(AUTHORIZATION);
        let token = TokenDigest::from_header(header.as_ref());
        let tokens = self.tokens.clone();
        // The service that was asked to be ready is the one to call.
        let fresh = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, fresh);
        Box::pin(async move {
            let session = match token {
                Ok(token) => Session::open(tokens, token).await,
                Err(error) => Err(error),
            };
            match session {
                Ok(session) => {
                    request.extensions_mut().insert(session);
                    inner.call(request).await
                }
                Err(error) => Ok(Status::from(error).into_http()),
            }
        })
    }
}
