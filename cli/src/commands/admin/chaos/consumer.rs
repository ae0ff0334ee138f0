//! A consumer at the other end: shown every text, it answers each.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use sealpost_consumer::content_v1::content::Body;
use sealpost_consumer::{Client, EventKind, Incoming, Relay, State, content};
use sealpost_runtime::Clock;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::tally::Tally;
use crate::running::{Running, host_ports};

/// Between two tries to write an answer.
const AGAIN: Duration = Duration::from_millis(200);

/// An online consumer.
pub struct Consumer {
    /// E.164 digits.
    pub phone: String,
    client: Arc<Client>,
    reading: JoinHandle<()>,
}

impl Consumer {
    /// Opens its state and connects.
    pub fn online(
        suite: &Running,
        phone: &str,
        state: &Path,
        clock: Clock,
        tally: Arc<Tally>,
    ) -> anyhow::Result<Self> {
        let address = host_ports(&suite.run.relay.urls)
            .parse()
            .map_err(|reason| anyhow!("the relay's URL in run.json: {reason}"))?;
        let relay = Relay::connect(&address, &suite.run.tls.ca)?;
        let state = State::open(state)
            .with_context(|| format!("the state of consumer {phone}: is a chat with it open?"))?;
        let client = Arc::new(Client::connect(relay, state, clock)?);
        let reading = tokio::spawn(read(client.clone(), phone.to_owned(), tally));
        Ok(Self {
            phone: phone.to_owned(),
            client,
            reading,
        })
    }

    /// Leaves in order: what it wrote stays in its state.
    pub async fn leave(self) -> anyhow::Result<()> {
        self.reading.abort();
        let _ = self.reading.await;
        let client = Arc::into_inner(self.client).context("the consumer is still in use")?;
        client.close().await?;
        Ok(())
    }
}

async fn read(client: Arc<Client>, phone: String, tally: Arc<Tally>) {
    while let Ok(event) = client.receive().await {
        if let EventKind::Message(message) = &event.kind
            && let Some(Body::Text(text)) = &message.content.body
        {
            tally.delivered(&phone, text.body.clone());
            if let Some(answer) = tally.answer(&text.body) {
                write(&client, message, &answer).await;
                tally.answered(&phone, answer);
            }
        }
        client.confirm(&event);
    }
}

/// Until the device keeps it: a first answer may need the relay.
async fn write(client: &Client, message: &Incoming, answer: &str) {
    let content = content::text(answer);
    while client
        .send(message.phone_number_id.clone(), &content)
        .await
        .is_err()
    {
        sleep(AGAIN).await;
    }
}
