//! The business's app on its way out: JSON over REST to the connector, as for the Cloud API.

use std::sync::Once;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::Suite;

/// Names a request, so that a repeat of it is the same message.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// A REST client with the suite's token.
#[derive(Clone)]
pub struct Rest {
    http: reqwest::Client,
    url: String,
    token: String,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// JSON; null when the body is none.
    pub body: Value,
}

impl Answer {
    /// The id of the message that was accepted.
    ///
    /// # Errors
    /// When none was.
    pub fn message_id(&self) -> anyhow::Result<String> {
        ensure!(
            self.status == 200,
            "the connector answered {}: {}",
            self.status,
            self.body
        );
        let id = self.body["messages"][0]["id"].as_str();
        Ok(id
            .with_context(|| format!("no id in {}", self.body))?
            .to_owned())
    }
}

impl Rest {
    /// The suite's REST face.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn of(suite: &Suite) -> anyhow::Result<Self> {
        let connector = &suite.facts().connector;
        Self::new(&connector.url, &connector.token)
    }

    /// A REST face at `url`, with this token.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(url: &str, token: &str) -> anyhow::Result<Self> {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            // Somebody else may have chosen it; it is the only one in the tree.
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(40))
            .build()?;
        Ok(Self {
            http,
            url: url.trim_end_matches('/').to_owned(),
            token: token.to_owned(),
        })
    }

    /// Posts a message object, once.
    ///
    /// # Errors
    /// When nothing comes back.
    pub async fn post(
        &self,
        number: &str,
        key: Option<&str>,
        message: &Value,
    ) -> anyhow::Result<Answer> {
        let mut request = self
            .http
            .post(format!("{}/v23.0/{number}/messages", self.url))
            .header("content-type", "application/json")
            .body(serde_json::to_vec(message)?);
        if !self.token.is_empty() {
            request = request.header("authorization", format!("Bearer {}", self.token));
        }
        if let Some(key) = key {
            request = request.header(IDEMPOTENCY_KEY, key);
        }
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        let body = serde_json::from_slice(&answer.bytes().await?).unwrap_or(Value::Null);
        Ok(Answer { status, body })
    }

    /// Sends a text under `key` until it is accepted, as an app does whose connection may break: same key, same text.
    ///
    /// # Errors
    /// When it is refused for good, or `limit` passes.
    pub async fn text_until_accepted(
        &self,
        number: &str,
        to: &str,
        text: &str,
        key: &str,
        limit: Duration,
    ) -> anyhow::Result<String> {
        let start = Instant::now();
        let mut pause = Duration::from_millis(50);
        loop {
            match self.post(number, Some(key), &self::text(to, text)).await {
                Ok(answer) if answer.status == 200 => return answer.message_id(),
                Ok(answer) if answer.status < 500 && answer.status != 429 => {
                    bail!(
                        "the connector refused with {}: {}",
                        answer.status,
                        answer.body
                    );
                }
                outcome if start.elapsed() > limit => {
                    let last = outcome.map(|answer| format!("{} {}", answer.status, answer.body));
                    bail!("not accepted within {limit:?}; at last: {last:?}");
                }
                _ => sleep(pause).await,
            }
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    /// Sends a message object that must be accepted at once. Answers its id.
    ///
    /// # Errors
    /// When it is not.
    pub async fn send(&self, number: &str, message: &Value) -> anyhow::Result<String> {
        self.post(number, None, message).await?.message_id()
    }
}

/// A text message object.
#[must_use]
pub fn text(to: &str, body: &str) -> Value {
    json!({"messaging_product": "whatsapp", "to": to, "type": "text", "text": {"body": body}})
}
