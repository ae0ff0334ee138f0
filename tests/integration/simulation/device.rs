//! The consumer's end of a conversation: a device that comes, goes and crashes, and notes whatever it is shown.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use sealpost_consumer::content_v1::Content;
use sealpost_consumer::{Client, EventKind, MessageId, PhoneNumber, PhoneNumberId, Relay, State};
use sealpost_runtime::Clock;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::log::Log;
use super::trace::Entry;
use super::words::words;

/// How long a step of the device may take while services are away.
const PATIENCE: Duration = Duration::from_secs(120);
const AGAIN: Duration = Duration::from_millis(50);

/// What a device needs to come online.
#[derive(Clone)]
pub struct Place {
    /// E.164 digits.
    pub phone: String,
    /// Its state file.
    pub state: PathBuf,
    /// The relay, `host:port`.
    pub relay: String,
    /// The authority, PEM.
    pub ca: PathBuf,
    /// The suite's.
    pub clock: Clock,
}

/// A device in a conversation with one number.
pub struct Device {
    place: Place,
    number: PhoneNumberId,
    business: PhoneNumber,
    log: Arc<Log>,
    online: Option<Online>,
}

struct Online {
    client: Arc<Client>,
    reading: JoinHandle<()>,
}

impl Device {
    /// Online, in a conversation with the number of that id and phone number.
    pub async fn online(
        place: Place,
        (number, business): (&str, &str),
        log: Arc<Log>,
    ) -> anyhow::Result<Self> {
        let mut device = Self {
            place,
            number: number.parse()?,
            business: business.parse()?,
            log,
            online: None,
        };
        device.connect().await?;
        Ok(device)
    }

    pub fn is_online(&self) -> bool {
        self.online.is_some()
    }

    /// Comes back, unless it is there.
    pub async fn come(&mut self) -> anyhow::Result<()> {
        if self.online.is_none() {
            self.log.push(Entry::Came);
            self.connect().await?;
        }
        Ok(())
    }

    /// Goes offline in order.
    pub async fn leave(&mut self) -> anyhow::Result<()> {
        if let Some(client) = self.disconnect().await {
            client?.close().await?;
            self.log.push(Entry::Left);
        }
        Ok(())
    }

    /// Ends as a process does that is killed: nothing is confirmed any more.
    pub async fn crash(&mut self) -> anyhow::Result<()> {
        if let Some(client) = self.disconnect().await {
            drop(client?);
            self.log.push(Entry::Crashed);
        }
        Ok(())
    }

    /// Writes; answers the message's id, or none when it is offline.
    pub async fn write(&self, content: &Content) -> anyhow::Result<Option<MessageId>> {
        let Some(online) = &self.online else {
            return Ok(None);
        };
        self.log.push(Entry::Writes {
            content: words(content),
        });
        let begun = Instant::now();
        loop {
            // A first message needs the relay; later ones are durable at once, whatever is down.
            match online.client.send(self.business.clone(), content).await {
                Ok(id) => return Ok(Some(id)),
                Err(error) if begun.elapsed() > PATIENCE => return Err(error.into()),
                Err(_) => sleep(AGAIN).await,
            }
        }
    }

    /// Reads a message, when it is online.
    pub async fn read(&self, id: [u8; 16]) -> anyhow::Result<()> {
        if let Some(online) = &self.online {
            self.log.push(Entry::Reads { id });
            let message = MessageId::from_slice(&id)?;
            online.client.mark_read(&self.number, message).await?;
        }
        Ok(())
    }

    async fn connect(&mut self) -> anyhow::Result<()> {
        let address = self.place.relay.parse();
        let address = address.map_err(|reason| anyhow::anyhow!("the relay's address: {reason}"))?;
        let relay = Relay::connect(&address, &self.place.ca)?;
        let begun = Instant::now();
        let state = loop {
            match State::open(&self.place.state) {
                Ok(state) => break state,
                Err(error) if begun.elapsed() > PATIENCE => return Err(error.into()),
                // What a crashed device wrote last is about to let go of the file.
                Err(_) => sleep(AGAIN).await,
            }
        };
        let client = Arc::new(Client::connect(relay, state, self.place.clock.clone())?);
        let reading = read(client.clone(), self.number.clone(), self.log.clone());
        self.online = Some(Online {
            client,
            reading: tokio::spawn(reading),
        });
        Ok(())
    }

    async fn disconnect(&mut self) -> Option<anyhow::Result<Client>> {
        let online = self.online.take()?;
        online.reading.abort();
        let _ = online.reading.await;
        Some(Arc::into_inner(online.client).context("somebody still uses the device"))
    }
}

async fn read(client: Arc<Client>, number: PhoneNumberId, log: Arc<Log>) {
    while let Ok(event) = client.receive().await {
        log.push(match &event.kind {
            EventKind::Message(message) if message.phone_number_id == number => Entry::Shown {
                id: message.message_id.0,
                content: words(&message.content),
                again: event.redelivered,
            },
            other => Entry::Surprised {
                by: format!("the device was told {other:?}"),
            },
        });
        client.confirm(&event);
    }
}
