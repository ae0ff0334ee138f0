//! The business's app of the demo: receives webhooks on loopback, answers the subscription's handshake, and checks
//! `X-Hub-Signature-256` over the exact bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use bytes::Bytes;
use ring::hmac;
use serde::Deserialize;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

const PATH: &str = "/webhook";

/// A webhook whose signature was good.
pub struct Hook {
    /// When it arrived.
    pub at: Instant,
    /// What it said.
    pub body: Value,
}

/// Webhooks in the order in which they arrive.
pub type Hooks = mpsc::UnboundedReceiver<Hook>;

/// A webhook receiver; it serves until the process ends.
pub struct Receiver {
    address: SocketAddr,
    app: Arc<App>,
}

struct App {
    verify_token: String,
    key: hmac::Key,
    hooks: mpsc::UnboundedSender<Hook>,
    handshaken: AtomicBool,
    good: AtomicU64,
    bad: AtomicU64,
}

impl Receiver {
    /// Listens on a free port.
    pub async fn start(verify_token: String, app_secret: String) -> anyhow::Result<(Self, Hooks)> {
        let (sender, hooks) = mpsc::unbounded_channel();
        let app = Arc::new(App {
            verify_token,
            key: hmac::Key::new(hmac::HMAC_SHA256, app_secret.as_bytes()),
            hooks: sender,
            handshaken: AtomicBool::new(false),
            good: AtomicU64::new(0),
            bad: AtomicU64::new(0),
        });
        let router = Router::new()
            .route(PATH, get(handshake).post(receive))
            .with_state(app.clone());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok((Self { address, app }, hooks))
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}{PATH}", self.address)
    }

    /// Whether the connector asked for the subscription's proof and got it.
    pub fn was_verified(&self) -> bool {
        self.app.handshaken.load(Ordering::SeqCst)
    }

    /// Webhooks with a good signature.
    pub fn good(&self) -> u64 {
        self.app.good.load(Ordering::SeqCst)
    }

    /// Webhooks with a bad signature or none.
    pub fn bad(&self) -> u64 {
        self.app.bad.load(Ordering::SeqCst)
    }
}

#[derive(Deserialize)]
struct Handshake {
    #[serde(rename = "hub.mode")]
    mode: String,
    #[serde(rename = "hub.verify_token")]
    verify_token: String,
    #[serde(rename = "hub.challenge")]
    challenge: String,
}

async fn handshake(
    State(app): State<Arc<App>>,
    Query(asked): Query<Handshake>,
) -> Result<String, StatusCode> {
    if asked.mode == "subscribe" && asked.verify_token == app.verify_token {
        app.handshaken.store(true, Ordering::SeqCst);
        Ok(asked.challenge)
    } else {
        Err(StatusCode::FORBIDDEN)
    }
}

async fn receive(State(app): State<Arc<App>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let at = Instant::now();
    let signature = headers
        .get("x-hub-signature-256")
        .and_then(|value| value.to_str().ok());
    if !is_signed(&app.key, signature, &body) {
        app.bad.fetch_add(1, Ordering::SeqCst);
        return StatusCode::UNAUTHORIZED;
    }
    app.good.fetch_add(1, Ordering::SeqCst);
    match serde_json::from_slice(&body) {
        Ok(body) => {
            // When the demo is over nobody reads them any more.
            let _ = app.hooks.send(Hook { at, body });
            StatusCode::OK
        }
        Err(_) => StatusCode::BAD_REQUEST,
    }
}

/// Whether `signature` is `sha256=` and the hex of HMAC-SHA256 over `body`, compared in constant time.
fn is_signed(key: &hmac::Key, signature: Option<&str>, body: &[u8]) -> bool {
    signature
        .and_then(|text| text.strip_prefix("sha256="))
        .and_then(|digits| hex::decode(digits).ok())
        .is_some_and(|tag| hmac::verify(key, body, &tag).is_ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::http::Http;

    #[test]
    fn only_the_hmac_of_the_exact_bytes_is_a_signature() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
        let good = format!("sha256={}", hex::encode(hmac::sign(&key, b"body")));
        assert!(is_signed(&key, Some(&good), b"body"));
        assert!(!is_signed(&key, Some(&good), b"body "));
        assert!(!is_signed(
            &key,
            Some(good.trim_start_matches("sha256=")),
            b"body"
        ));
        assert!(!is_signed(&key, Some("sha256=zz"), b"body"));
        assert!(!is_signed(&key, None, b"body"));
    }

    #[tokio::test]
    async fn the_handshake_answers_the_challenge_for_the_right_token_only() {
        let (receiver, _hooks) = Receiver::start("token".into(), "secret".into())
            .await
            .unwrap();
        let ask = |token: &str| {
            format!(
                "{}?hub.mode=subscribe&hub.verify_token={token}&hub.challenge=1158201444",
                receiver.url()
            )
        };
        assert!(Http::new().get(&ask("wrong")).await.is_err());
        assert!(!receiver.was_verified());
        assert_eq!(Http::new().get(&ask("token")).await.unwrap(), "1158201444");
        assert!(receiver.was_verified());
    }

    #[tokio::test]
    async fn a_webhook_without_a_signature_is_refused_and_counted() {
        let (receiver, mut hooks) = Receiver::start("token".into(), "secret".into())
            .await
            .unwrap();
        let posted = Http::new()
            .post(&receiver.url(), "none", &Value::Null)
            .await;
        assert!(posted.is_err());
        assert_eq!((receiver.good(), receiver.bad()), (0, 1));
        assert!(hooks.try_recv().is_err());
    }
}
