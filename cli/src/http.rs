//! Plain HTTP calls to this machine: what `curl` would do. It holds no TLS.

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode, Uri};
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
        let (status, answer) = self.ask(url, token, None, body).await?;
        succeeded(status, &answer)?;
        serde_json::from_slice(&answer).context("the connector answers no JSON")
    }

    /// Posts JSON once under an idempotency key. Answers the status, whatever it is, and what came with it.
    pub async fn post_under(
        &self,
        url: &str,
        token: &str,
        key: &str,
        body: &Value,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        self.ask(url, token, Some(key), body).await
    }

    /// Gets a page.
    pub async fn get(&self, url: &str) -> anyhow::Result<Bytes> {
        let request = Request::builder()
            .uri(url.parse::<Uri>()?)
            .body(Full::default())?;
        let (status, body) = self.call(request).await?;
        succeeded(status, &body)?;
        Ok(body)
    }

    async fn ask(
        &self,
        url: &str,
        token: &str,
        key: Option<&str>,
        body: &Value,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(url.parse::<Uri>()?)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let request = request.body(Full::from(body.to_string()))?;
        self.call(request).await.context("the connector")
    }

    async fn call(&self, request: Request<Full<Bytes>>) -> anyhow::Result<(StatusCode, Bytes)> {
        let response: Response<Incoming> = self.client.request(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }
}

fn succeeded(status: StatusCode, body: &Bytes) -> anyhow::Result<()> {
    ensure!(
        status.is_success(),
        "HTTP {status}: {}",
        String::from_utf8_lossy(body)
    );
    Ok(())
}
