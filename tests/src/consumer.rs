//! A consumer in this process: the reference client over its state file from `run.json`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use sealpost_consumer::content_v1::{Content, content::Body};
use sealpost_consumer::{
    Client, EventKind, Incoming, MessageId, PhoneNumber, Relay, State, content,
};
use tokio::task::JoinHandle;

use crate::Suite;
use crate::journal::Journal;

/// An online consumer. It confirms whatever it is shown.
pub struct Consumer {
    /// E.164 digits.
    pub phone: String,
    client: Arc<Client>,
    inbox: Arc<Journal<EventKind>>,
    reading: JoinHandle<()>,
}

impl Consumer {
    /// Opens the state of the consumer at `index` and connects.
    ///
    /// # Errors
    /// When its state does not open.
    pub fn online(suite: &Suite, index: usize) -> anyhow::Result<Self> {
        Self::again(suite, index, Arc::default())
    }

    /// The same by way of `relay` (`host:port`) instead of the relay's own address.
    ///
    /// # Errors
    /// When its state does not open.
    pub fn through(suite: &Suite, index: usize, relay: &str) -> anyhow::Result<Self> {
        Self::connect(suite, index, relay, Arc::default())
    }

    /// As [`Consumer::online`], with the inbox of an earlier time online.
    ///
    /// # Errors
    /// When its state does not open.
    pub fn again(
        suite: &Suite,
        index: usize,
        inbox: Arc<Journal<EventKind>>,
    ) -> anyhow::Result<Self> {
        let relay = suite.facts().relay.addresses();
        Self::connect(suite, index, &relay, inbox)
    }

    fn connect(
        suite: &Suite,
        index: usize,
        address: &str,
        inbox: Arc<Journal<EventKind>>,
    ) -> anyhow::Result<Self> {
        let run = suite.facts();
        let consumer = &run.consumers[index];
        let address = address
            .parse()
            .map_err(|reason| anyhow::anyhow!("the relay's address: {reason}"))?;
        let relay = Relay::connect(&address, &run.tls.ca)?;
        let state = State::open(&consumer.state).context("a consumer's state")?;
        let client = Arc::new(Client::connect(relay, state, suite.clock())?);
        let reading = tokio::spawn(read(client.clone(), inbox.clone()));
        Ok(Self {
            phone: consumer.phone_number.clone(),
            client,
            inbox,
            reading,
        })
    }

    /// Everything that it was shown.
    #[must_use]
    pub fn inbox(&self) -> &Arc<Journal<EventKind>> {
        &self.inbox
    }

    /// The client itself.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Sends content to a number of the suite's business, by its phone number as a person would.
    ///
    /// # Errors
    /// When it cannot be sealed.
    pub async fn send(
        &self,
        suite: &Suite,
        number: usize,
        content: &Content,
    ) -> anyhow::Result<MessageId> {
        let business: PhoneNumber = suite.facts().numbers[number].phone_number.parse()?;
        Ok(self.client.send(business, content).await?)
    }

    /// Sends words.
    ///
    /// # Errors
    /// When they cannot be sealed.
    pub async fn text(
        &self,
        suite: &Suite,
        number: usize,
        body: &str,
    ) -> anyhow::Result<MessageId> {
        self.send(suite, number, &content::text(body)).await
    }

    /// Waits for `count` messages, and answers all that came.
    ///
    /// # Errors
    /// When `limit` passes.
    pub async fn wait_for(&self, count: usize, limit: Duration) -> anyhow::Result<Vec<Incoming>> {
        self.inbox
            .at_least(count, "messages at the consumer", limit, message)
            .await
    }

    /// The texts that came so far, in order, from one number.
    #[must_use]
    pub fn texts_from(&self, number: &str) -> Vec<String> {
        texts_from(&self.inbox, number)
    }

    /// Goes offline in order: what it was shown is confirmed, what it sent stays in its state.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub async fn offline(self) -> anyhow::Result<Arc<Journal<EventKind>>> {
        self.reading.abort();
        let _ = self.reading.await;
        let client =
            Arc::into_inner(self.client).context("somebody still uses the consumer's client")?;
        drop(client.close().await?);
        Ok(self.inbox)
    }
}

/// The texts in an inbox, in order, from one number.
#[must_use]
pub fn texts_from(inbox: &Journal<EventKind>, number: &str) -> Vec<String> {
    inbox.pick(|event| {
        let message = message(event)?;
        match message.content.body {
            Some(Body::Text(text)) if message.phone_number_id.as_str() == number => Some(text.body),
            _ => None,
        }
    })
}

fn message(event: &EventKind) -> Option<Incoming> {
    match event {
        EventKind::Message(message) => Some((**message).clone()),
        _ => None,
    }
}

async fn read(client: Arc<Client>, inbox: Arc<Journal<EventKind>>) {
    while let Ok(event) = client.receive().await {
        inbox.push(event.kind.clone());
        client.confirm(&event);
    }
}
