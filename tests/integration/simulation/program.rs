//! The business's end of a conversation: sends, asks, and listens over a subscription whose acknowledgements it can hold back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sealpost_connector_sdk::{
    Category, Client, Content, EventStream, IdempotencyKey, Incoming, MessageId, NumberId,
    Outbound, Peer, SdkError, Subscription,
};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::log::Log;
use super::trace::{Answer, Entry, Id};
use super::words::words;

/// How long something may take to be accepted or answered while services are away.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long one try may take.
const TRY: Duration = Duration::from_secs(15);
const AGAIN: Duration = Duration::from_millis(100);

/// A program in a conversation with one consumer.
pub struct Program {
    client: Client,
    number: NumberId,
    consumer: Peer,
    log: Arc<Log>,
    holding: Arc<AtomicBool>,
    listening: JoinHandle<()>,
}

impl Program {
    /// Subscribes to the number's events.
    pub fn start(
        client: Client,
        number: &str,
        consumer: &str,
        log: Arc<Log>,
    ) -> anyhow::Result<Self> {
        let number: NumberId = number.parse()?;
        let consumer = Peer::new(consumer)?;
        let holding = Arc::new(AtomicBool::new(false));
        let events = subscribe(&client, &number)?;
        let listening = tokio::spawn(listen(
            events,
            consumer.clone(),
            log.clone(),
            holding.clone(),
        ));
        Ok(Self {
            client,
            number,
            consumer,
            log,
            holding,
            listening,
        })
    }

    /// Sends content under a key until it is decided. Answers its id when it was accepted.
    pub async fn send(&self, key: &str, content: &Content) -> anyhow::Result<Option<Id>> {
        let idempotency_key = IdempotencyKey::new(key)?;
        let id = *self
            .client
            .message_id(&self.number, &idempotency_key)
            .as_bytes();
        let (key, said) = (key.to_owned(), words(content));
        self.log.push(Entry::Sends {
            key: key.clone(),
            id,
            content: said.clone(),
        });
        let outbound = Outbound {
            phone_number_id: self.number.clone(),
            to: self.consumer.clone(),
            category: Category::Utility,
            content: content.clone(),
            idempotency_key,
        };
        let begun = Instant::now();
        loop {
            match self.client.send(outbound.clone(), TRY).await {
                Ok(accepted) => {
                    self.log.push(Entry::Accepted {
                        key,
                        id: *accepted.message_id.as_bytes(),
                        content: said,
                        repeated: accepted.is_repeated,
                    });
                    return Ok(Some(id));
                }
                Err(SdkError::Conflict) => {
                    self.log.push(Entry::Conflicted { key, content: said });
                    return Ok(None);
                }
                Err(error) if error.is_transient() && begun.elapsed() < PATIENCE => {}
                Err(error) => {
                    let why = error.to_string();
                    self.log.push(Entry::Refused { key, why });
                    return Ok(None);
                }
            }
        }
    }

    /// Asks how far a message is.
    pub async fn ask(&self, id: Id) -> anyhow::Result<()> {
        let begun = Instant::now();
        self.log.push(Entry::Asks { id });
        let answer = loop {
            match self
                .client
                .status(&self.number, MessageId::from_bytes(id))
                .await
            {
                Ok(progress) => break Answer::At(progress.status),
                Err(SdkError::NotFound | SdkError::Expired) => break Answer::Gone,
                Err(error) if error.is_transient() && begun.elapsed() < PATIENCE => {
                    sleep(AGAIN).await;
                }
                Err(error) => return Err(error.into()),
            }
        };
        self.log.push(Entry::Asked { id, answer });
        Ok(())
    }

    /// Acknowledges nothing any more.
    pub fn hold(&self) {
        self.holding.store(true, Ordering::SeqCst);
    }

    /// Ends, and begins again where it last acknowledged.
    pub async fn reconnect(&mut self) -> anyhow::Result<()> {
        self.stop().await;
        self.log.push(Entry::Reconnected);
        self.holding.store(false, Ordering::SeqCst);
        let events = subscribe(&self.client, &self.number)?;
        self.listening = tokio::spawn(listen(
            events,
            self.consumer.clone(),
            self.log.clone(),
            self.holding.clone(),
        ));
        Ok(())
    }

    /// Ends.
    pub async fn stop(&mut self) {
        self.listening.abort();
        // It was just told to end.
        let _ = (&mut self.listening).await;
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// A name belongs to one stream at a time: each number has its own.
fn subscribe(client: &Client, number: &NumberId) -> Result<EventStream, SdkError> {
    let name = format!("simulation-{number}");
    client.subscribe(Subscription::new(name)?.numbers(vec![number.clone()]))
}

async fn listen(mut events: EventStream, consumer: Peer, log: Arc<Log>, holding: Arc<AtomicBool>) {
    while let Some(delivery) = events.next().await {
        if let Some(entry) = entry(&delivery.incoming, &consumer) {
            log.push(entry);
        }
        if !holding.load(Ordering::SeqCst) {
            delivery.ack.done();
        }
    }
}

/// What it tells of this conversation; the number has had others.
fn entry(incoming: &Incoming, consumer: &Peer) -> Option<Entry> {
    match incoming {
        Incoming::Message(message) => (message.peer == *consumer).then(|| Entry::Heard {
            content: words(&message.content),
        }),
        Incoming::Status(update) => {
            let ours = update.peer.as_ref() == Some(consumer);
            ours.then(|| Entry::Told {
                id: *update.message_id.as_bytes(),
                status: update.status,
            })
        }
        Incoming::IdentityChange(change) => {
            let ours = change.peer.as_ref() == Some(consumer);
            ours.then(|| surprised(&"a changed identity key"))
        }
        Incoming::Warning(warning) => Some(surprised(&warning.refusal)),
    }
}

fn surprised(by: &impl ToString) -> Entry {
    Entry::Surprised { by: by.to_string() }
}
