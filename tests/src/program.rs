//! The business as a program of its own over gRPC: the SDK, without the connector.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use sealpost_connector_sdk::{
    Accepted, BusinessKeys, Category, Client, Content, IdempotencyKey, Incoming, KeyFiles,
    Outbound, Peer, Pins, SdkError, Settings, StatusUpdate, Subscription, Token, Warning, content,
};
use sealpost_proto::content::v1::content::Body;
use sealpost_runtime::Clock;
use tokio::task::JoinHandle;

use crate::Suite;
use crate::journal::Journal;

/// How long one try may take before the program tries again.
const TRY: Duration = Duration::from_secs(5);

/// What the program was told.
#[derive(Clone, Debug)]
pub enum Heard {
    /// A consumer's message.
    Message {
        /// To which number.
        number: String,
        /// From whom, E.164 digits.
        from: String,
        /// What.
        content: Box<Content>,
    },
    /// A status.
    Status(StatusUpdate),
    /// A consumer's identity key changed.
    IdentityChange,
    /// An event that the SDK did not accept.
    Warning(Warning),
}

/// A running program.
pub struct Program {
    client: Client,
    heard: Arc<Journal<Heard>>,
    reading: JoinHandle<()>,
}

impl Program {
    /// Connects with the suite's token and keys, and subscribes under `name`.
    ///
    /// # Errors
    /// When a key does not read.
    pub fn start(suite: &Suite, name: &str) -> anyhow::Result<Self> {
        let client = Client::connect(settings(suite, suite.facts().public("gateway")?)?)?;
        let mut events = client.subscribe(Subscription::new(name)?)?;
        let heard = Arc::<Journal<Heard>>::default();
        let journal = heard.clone();
        let reading = tokio::spawn(async move {
            while let Some(delivery) = events.next().await {
                journal.push(match delivery.incoming {
                    Incoming::Message(message) => Heard::Message {
                        number: message.phone_number_id.to_string(),
                        from: message.peer.expose().to_owned(),
                        content: Box::new(message.content),
                    },
                    Incoming::Status(status) => Heard::Status(status),
                    Incoming::IdentityChange(_) => Heard::IdentityChange,
                    Incoming::Warning(warning) => Heard::Warning(warning),
                });
                delivery.ack.done();
            }
        });
        Ok(Self {
            client,
            heard,
            reading,
        })
    }

    /// Everything that it was told.
    #[must_use]
    pub fn heard(&self) -> &Journal<Heard> {
        &self.heard
    }

    /// The SDK's client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Texts of one consumer to one number so far, in order.
    #[must_use]
    pub fn texts_from(&self, number: &str, consumer: &str) -> Vec<String> {
        self.heard.pick(|heard| match heard {
            Heard::Message {
                number: to,
                from,
                content,
            } if to == number && from == consumer => match &content.body {
                Some(Body::Text(text)) => Some(text.body.clone()),
                _ => None,
            },
            _ => None,
        })
    }

    /// Sends words once.
    ///
    /// # Errors
    /// As the SDK's.
    pub async fn text(
        &self,
        number: &str,
        to: &str,
        words: &str,
        key: &str,
    ) -> Result<Accepted, SdkError> {
        let outbound = Outbound {
            phone_number_id: number.parse()?,
            to: Peer::new(to)?,
            category: Category::Utility,
            content: content::text(words),
            idempotency_key: IdempotencyKey::new(key)?,
        };
        self.client.send(outbound, TRY).await
    }

    /// Sends words under `key` until they are accepted.
    ///
    /// # Errors
    /// When they are refused for good, or `limit` passes.
    pub async fn text_until_accepted(
        &self,
        number: &str,
        to: &str,
        words: &str,
        key: &str,
        limit: Duration,
    ) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            match self.text(number, to, words, key).await {
                Ok(_) => return Ok(()),
                Err(error) if !error.is_transient() || start.elapsed() > limit => {
                    return Err(error.into());
                }
                Err(_) => {}
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

/// What an SDK client needs to act for the suite's business at a gateway on `address`.
///
/// # Errors
/// When a key does not read.
pub fn settings(suite: &Suite, address: &str) -> anyhow::Result<Settings> {
    let facts = suite.facts();
    let mut pins = Pins::new();
    for number in &facts.numbers {
        pins.insert(
            number.phone_number_id.parse()?,
            number.vault_fingerprint.parse()?,
        );
    }
    let folder = facts
        .business
        .hpke_private_key
        .parent()
        .context("a key lies in a folder")?;
    Ok(Settings {
        address: address
            .parse()
            .map_err(|reason| anyhow::anyhow!("{address}: {reason}"))?,
        ca: facts.tls.ca.clone(),
        token: Token::new(facts.gateway.token.clone()),
        keys: BusinessKeys::read(&KeyFiles {
            hpke_key: facts.business.hpke_private_key.clone(),
            signing_key: facts.business.signing_private_key.clone(),
            message_id_key: folder.join("message-id-of-a-program.key"),
        })?,
        pins,
        clock: Clock::system(),
    })
}
