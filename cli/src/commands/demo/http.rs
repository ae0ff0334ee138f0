//! The demo's plain HTTP calls to this machine: what `curl` would do. It holds no TLS.

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// Calls loopback URLs.
pub struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Http {
    /// Connects when first used.
    pub fn new() -> Self {
        Self {
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    /// Posts JSON with a bearer token. Answers the JSON of a success.
    pub async fn post(&self, url: &str, token: &str, body: &Value) -> anyhow::Result<Value> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(url.parse::<Uri>()?)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .body(Full::from(body.to_string()))?;
        let answer = self.call(request).await.context("the connector")?;
        serde_json::from_slice(&answer).context("the connector answers no JSON")
    }

    /// Gets a page.
    pub async fn get(&self, url: &str) -> anyhow::Result<Bytes> {
        let request = Request::builder()
            .uri(url.parse::<Uri>()?)
            .body(Full::default())?;
        self.call(request).await
    }

    async fn call(&self, request: Request<Full<Bytes>>) -> anyhow::Result<Bytes> {
        let response: Response<Incoming> = self.client.request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        ensure!(
            status.is_success(),
            "HTTP {status}: {}",
            String::from_utf8_lossy(&body)
        );
        Ok(body)
    }
}
