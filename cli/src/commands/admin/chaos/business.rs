//! The business's end: texts out over REST and over gRPC, in order in each conversation and each until it is accepted; answers
//! in over a subscription.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use hyper::StatusCode;
use sealpost_connector_sdk::content::Body;
use sealpost_connector_sdk::{
    Category, Client, DeliveryStatus, EventStream, IdempotencyKey, Incoming, MessageId, NumberId,
    Outbound, Peer, SdkError, Subscription, content, parse_wamid,
};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::{interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::tally::Tally;
use crate::http::Http;
use crate::running::Running;

/// How long one try may take; the next is the same message.
const TRY: Duration = Duration::from_secs(20);
/// Between two tries.
const AGAIN: Duration = Duration::from_millis(100);

/// Sends and listens.
pub struct Business {
    number: NumberId,
    client: Client,
    http: Http,
    url: String,
    token: String,
    tally: Arc<Tally>,
    /// Which text an accepted message was, to name those that fail later.
    names: Mutex<HashMap<MessageId, String>>,
}

/// Over which interface a conversation's texts go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    /// The connector's Cloud-API-compatible one.
    Rest,
    /// The gateway's, by the SDK.
    Grpc,
}

/// What became of one try.
enum Tried {
    Accepted(Option<MessageId>),
    Refused(String),
    Again,
}

impl Business {
    /// Of a number of a suite.
    pub fn new(suite: &Running, client: Client, number: NumberId, tally: Arc<Tally>) -> Self {
        let connector = &suite.run.connector;
        Self {
            client,
            http: Http::new(),
            url: format!("{}/{number}/messages", connector.url.trim_end_matches('/')),
            number,
            token: connector.token.clone(),
            tally,
            names: Mutex::default(),
        }
    }

    /// Texts to a consumer, one each `pace`, until `stop`; the last is then brought to its end within `patience`.
    pub async fn write(
        &self,
        consumer: &str,
        face: Face,
        pace: Duration,
        stop: &CancellationToken,
        patience: Duration,
    ) -> anyhow::Result<()> {
        let mut pace = interval(pace);
        for index in 0.. {
            tokio::select! {
                _ = pace.tick() => {}
                () = stop.cancelled() => break,
            }
            let text = self.tally.text(index, consumer);
            self.tally.sends(&text);
            let late = async {
                stop.cancelled().await;
                sleep(patience).await;
            };
            tokio::select! {
                sent = self.until_settled(consumer, face, &text) => sent?,
                () = late => break,
            }
        }
        Ok(())
    }

    async fn until_settled(&self, consumer: &str, face: Face, text: &str) -> anyhow::Result<()> {
        loop {
            let tried = match face {
                Face::Rest => self.post(consumer, text).await,
                Face::Grpc => self.call(consumer, text).await?,
            };
            match tried {
                Tried::Accepted(id) => {
                    if let Some(id) = id {
                        self.names.lock().await.insert(id, text.to_owned());
                    }
                    self.tally
                        .accepted(consumer, text.to_owned(), Instant::now());
                    return Ok(());
                }
                Tried::Refused(why) => {
                    self.tally.refused(text, &why);
                    return Ok(());
                }
                Tried::Again => sleep(AGAIN).await,
            }
        }
    }

    async fn post(&self, consumer: &str, text: &str) -> Tried {
        let message = json!({
            "messaging_product": "whatsapp",
            "to": consumer,
            "type": "text",
            "text": {"body": text},
        });
        let key = text.replace(' ', "-");
        let post = self.http.post_under(&self.url, &self.token, &key, &message);
        let Ok(Ok((status, body))) = timeout(TRY, post).await else {
            return Tried::Again;
        };
        if status == StatusCode::OK {
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            let id = body["messages"][0]["id"].as_str();
            return Tried::Accepted(id.and_then(|id| parse_wamid(id).ok()));
        }
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Tried::Again;
        }
        Tried::Refused(format!("HTTP {status}: {}", String::from_utf8_lossy(&body)))
    }

    async fn call(&self, consumer: &str, text: &str) -> anyhow::Result<Tried> {
        let outbound = Outbound {
            phone_number_id: self.number.clone(),
            to: Peer::new(consumer).context("a consumer's phone number")?,
            category: Category::Utility,
            content: content::text(text),
            idempotency_key: IdempotencyKey::new(text)?,
        };
        Ok(match self.client.send(outbound, TRY).await {
            Ok(accepted) => Tried::Accepted(Some(accepted.message_id)),
            Err(error) if error.is_transient() => Tried::Again,
            Err(error) => Tried::Refused(error.to_string()),
        })
    }

    /// A subscription of this run's own.
    pub fn subscribe(&self, name: &str) -> Result<EventStream, SdkError> {
        let subscription = Subscription::new(name)?.numbers(vec![self.number.clone()]);
        self.client.subscribe(subscription)
    }

    /// Takes events in until dropped.
    pub async fn listen(&self, mut events: EventStream) {
        while let Some(delivery) = events.next().await {
            match &delivery.incoming {
                Incoming::Message(message) => {
                    if let Some(Body::Text(text)) = &message.content.body {
                        self.tally.replied(message.peer.expose(), text.body.clone());
                    }
                }
                Incoming::Status(update) if update.status == DeliveryStatus::Failed => {
                    if let Some(text) = self.names.lock().await.get(&update.message_id) {
                        let why = format!("failed with code {}", update.error_code);
                        self.tally.refused(text, &why);
                    }
                }
                _ => {}
            }
            delivery.ack.done();
        }
    }
}
