//! Who a device is: the layer before the device face.
//!
//! Owns the list of what may be called without a token. Everything else, reflection included, needs one that the database
//! knows at that moment, or knew a moment ago (`tokens`). A token is 32 random bytes, so a plain SHA-256 is all that is kept of it.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use futures::future::BoxFuture;
use http::{Request, Response, header::AUTHORIZATION};
use ring::digest::{SHA256, digest};
use tonic::{Status, body::Body};
use tower::{Layer, Service};

use crate::{Relay, RelayError, ids::DeviceIdentity};

/// Methods that a caller without a token may call.
pub(crate) const OPEN: &[&str] = &[
    "/sealpost.relay.v1.DeviceService/RequestCode",
    "/sealpost.relay.v1.DeviceService/Register",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
];

/// A device token's text. It has no `Debug` and no `Display`.
pub(crate) struct TokenText(String);

impl TokenText {
    /// `sd_` and 43 characters of base64url.
    pub(crate) fn from_random(bytes: [u8; 32]) -> Self {
        Self(format!("sd_{}", BASE64_URL_SAFE_NO_PAD.encode(bytes)))
    }

    pub(crate) fn digest(&self) -> TokenDigest {
        TokenDigest::of(&self.0)
    }

    /// For the answer to the device that registered.
    pub(crate) fn reveal(self) -> String {
        self.0
    }
}

/// SHA-256 of a token's text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TokenDigest([u8; 32]);

impl TokenDigest {
    pub(crate) fn of(text: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        Self(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest(..)")
    }
}

/// The device behind a request that passed the layer.
///
/// # Errors
/// `DeviceUnknown` when it did not pass.
pub(crate) fn device_of<T>(request: &tonic::Request<T>) -> Result<DeviceIdentity, RelayError> {
    request
        .extensions()
        .get()
        .cloned()
        .ok_or(RelayError::DeviceUnknown)
}

/// Puts the check before the services of a face.
#[derive(Clone)]
pub(crate) struct TokenLayer {
    relay: Arc<Relay>,
}

impl TokenLayer {
    pub(crate) fn new(relay: Arc<Relay>) -> Self {
        Self { relay }
    }
}

impl<S> Layer<S> for TokenLayer {
    type Service = TokenCheck<S>;

    fn layer(&self, inner: S) -> TokenCheck<S> {
        TokenCheck {
            relay: self.relay.clone(),
            inner,
        }
    }
}

/// The check around a service.
#[derive(Clone)]
pub(crate) struct TokenCheck<S> {
    relay: Arc<Relay>,
    inner: S,
}

impl<S> Service<Request<Body>> for TokenCheck<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // The clone has not been polled ready; the one that was goes with the call.
        let fresh = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, fresh);
        let relay = self.relay.clone();
        Box::pin(async move {
            if !OPEN.contains(&request.uri().path()) {
                let known = match bearer(&request) {
                    Some(token) => relay.authenticate(token).await,
                    None => Err(RelayError::DeviceUnknown),
                };
                match known {
                    Ok(device) => request.extensions_mut().insert(device),
                    Err(error) => return Ok(Status::from(error).into_http()),
                };
            }
            inner.call(request).await
        })
    }
}

fn bearer(request: &Request<Body>) -> Option<&str> {
    let (scheme, token) = request
        .headers()
        .get(AUTHORIZATION)?
        .to_str()
        .ok()?
        .split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use prost::Message;
    use prost_types::FileDescriptorSet;
    use tower::{ServiceExt, service_fn};

    use super::*;
    use crate::testing::{Fixture, PEER};

    /// What a call at `path` with `authorization` is answered: its gRPC status, and whom the service saw.
    async fn call(
        fixture: &Fixture,
        path: &str,
        authorization: Option<&str>,
    ) -> (String, Option<u32>) {
        let inner = service_fn(|request: Request<Body>| async move {
            let device = request.extensions().get::<DeviceIdentity>();
            let mut response = Response::new(Body::empty());
            response
                .headers_mut()
                .insert("grpc-status", "0".parse().unwrap());
            response
                .extensions_mut()
                .insert(device.map(|device| device.device_id));
            Ok::<_, std::convert::Infallible>(response)
        });
        let mut request = Request::builder().uri(path);
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        let layer = TokenLayer::new(fixture.relay.clone());
        let request = request.body(Body::empty()).unwrap();
        let response = layer.layer(inner).oneshot(request).await.unwrap();
        let status = response.headers()["grpc-status"]
            .to_str()
            .unwrap()
            .to_owned();
        (
            status,
            response
                .extensions()
                .get::<Option<u32>>()
                .copied()
                .flatten(),
        )
    }

    #[tokio::test]
    async fn every_method_but_the_open_ones_needs_a_token_that_is_known() {
        let fixture = Fixture::new().await;
        let set = FileDescriptorSet::decode(sealpost_proto::FILE_DESCRIPTOR_SET).unwrap();
        let mut paths =
            vec!["/grpc.reflection.v1.ServerReflection/ServerReflectionInfo".to_owned()];
        for service in set.file.iter().flat_map(|file| &file.service) {
            for method in &service.method {
                paths.push(format!(
                    "/sealpost.relay.v1.{}/{}",
                    service.name(),
                    method.name()
                ));
            }
        }
        assert!(
            paths
                .iter()
                .any(|path| path.ends_with("DeviceService/Receive"))
        );
        for path in &paths {
            let open = path.ends_with("/RequestCode") || path.ends_with("/Register");
            for wrong in [
                None,
                Some("Bearer sd_wrong"),
                Some("Basic x"),
                Some("Bearer"),
                Some(""),
            ] {
                let (status, _) = call(&fixture, path, wrong).await;
                assert_eq!(status, if open { "0" } else { "16" }, "{path} {wrong:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_token_names_its_device_until_the_number_registers_anew() {
        let fixture = Fixture::new().await;
        let token = fixture.register_for_token(PEER, 1).await;
        let path = "/sealpost.relay.v1.DeviceService/Receive";
        let authorization = format!("Bearer {token}");
        assert_eq!(
            call(&fixture, path, Some(&authorization)).await,
            ("0".into(), Some(1))
        );
        fixture.register(PEER, 2, 1).await;
        assert_eq!(
            call(&fixture, path, Some(&authorization)).await,
            ("16".into(), None)
        );
    }
}
