//! A relay and a business for the tests: the relay keeps queues and can be made to misbehave, the business speaks Signal through
//! libsignal directly.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

pub mod business;
pub mod relay;

use std::time::Duration;

use sealpost_consumer::{Client, Event, EventKind, Incoming, PhoneNumber, Relay, State, register};
use sealpost_runtime::{Clock, Timestamp};

use self::{business::Business, relay::RelayDouble};

pub const CONSUMER: &str = "15550001111";
pub const BUSINESS: &str = "15559990000";
pub const NUMBER: &str = "106540352242922";
pub const CODE: &str = "123456";

/// A relay with one business, and a clock.
pub struct World {
    pub relay: RelayDouble,
    pub business: Business,
    pub clock: Clock,
}

impl World {
    pub async fn new() -> Self {
        let business = Business::new(1);
        let relay = RelayDouble::start(business.bundles()).await;
        let clock = Clock::manual(Timestamp::from_millis(1_700_000_000_000));
        Self {
            relay,
            business,
            clock,
        }
    }

    pub fn way(&self) -> Relay {
        self.relay.way()
    }

    pub async fn registered(&self, mut state: State) -> State {
        let phone: PhoneNumber = CONSUMER.parse().unwrap();
        let code = async |_| CODE.parse();
        register(&self.way(), &mut state, &self.clock, &phone, code)
            .await
            .unwrap();
        state
    }

    pub fn connect(&self, state: State) -> Client {
        Client::connect(self.way(), state, self.clock.clone()).unwrap()
    }

    /// A registered, connected device whose state is in memory.
    pub async fn device(&self) -> Client {
        self.connect(self.registered(State::in_memory()).await)
    }

    /// Everything that consumers sent so far and the business has not read, as text.
    pub async fn heard(&mut self, count: usize) -> Vec<String> {
        let messages = self.relay.take_inbound(count).await;
        messages
            .iter()
            .map(|message| self.business.read_text(message))
            .collect()
    }

    /// The business writes over its session.
    pub fn say(&mut self, id: u8, text: &str) {
        let envelope = self.business.write_text(id, text);
        self.relay.enqueue(envelope);
    }

    /// The business starts a session of its own from the device's prekeys, and writes.
    pub fn say_first(&mut self, id: u8, text: &str) {
        let upload = self.relay.take_bundle();
        self.business.start(&upload);
        self.say(id, text);
    }
}

pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what)
        .await
        .expect("in time")
}

pub async fn event(client: &Client) -> Event {
    let event = soon(client.receive()).await.unwrap();
    client.confirm(&event);
    event
}

pub async fn message(client: &Client) -> Incoming {
    match event(client).await.kind {
        EventKind::Message(message) => *message,
        other => panic!("{other:?}"),
    }
}

pub fn text_of(message: &Incoming) -> String {
    use sealpost_consumer::content_v1::content::Body;
    match &message.content.body {
        Some(Body::Text(text)) => text.body.clone(),
        other => panic!("{other:?}"),
    }
}

pub async fn text(client: &Client) -> String {
    text_of(&message(client).await)
}
