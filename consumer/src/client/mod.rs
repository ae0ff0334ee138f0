//! A connected device: sends, receives, reports.
//!
//! Five tasks share the state: the sender seals what the application hands over, the receiver takes envelopes in, the resender
//! seals anew what a business could not decrypt, the courier brings to the relay whatever waits there, and the keeper forgets
//! what has arrived. Every effect is committed before it leaves: a ciphertext before it is
//! submitted, a message before it is acknowledged.

mod backoff;
mod calls;
mod courier;
mod keeper;
mod receiver;
mod resender;
mod sender;
mod shared;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use sealpost_proto::{content::v1::Content, relay::v1::FetchBusinessBundleRequest};
use sealpost_runtime::Clock;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};

use self::{sender::Letter, shared::Shared};
use crate::{
    ConsumerError, Relay, StateError,
    event::Event,
    ids::{Business, MessageId, PhoneNumber, PhoneNumberId},
    relay::Session,
    state::{Change, ReceiptMark, Registration, State},
};

/// Events that may wait unconfirmed; past that, nothing more is taken from the relay.
pub const MAX_UNCONFIRMED: usize = 1024;

/// Letters that may wait for the sender before [`Client::send`] waits.
const SEND_QUEUE: usize = 256;

/// Whether the relay is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// It is being called, now or after a pause.
    Connecting,
    /// Messages arrive.
    Connected,
    /// The relay no longer accepts this device's token: the number was registered anew elsewhere.
    Refused,
    /// The state file cannot be written any more: close, and open it anew.
    Broken,
}

/// A business as the relay describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusinessInfo {
    /// Its number's id.
    pub phone_number_id: PhoneNumberId,
    /// Its name.
    pub display_name: String,
}

/// A connected device. Dropping it stops it; [`Client::close`] stops it and gives the state back.
pub struct Client {
    shared: Arc<Shared>,
    registration: Registration,
    letters: mpsc::Sender<Letter>,
    tasks: JoinSet<()>,
}

impl Client {
    /// Connects a registered device; returns at once and connects in the background.
    ///
    /// # Errors
    /// [`ConsumerError::NotRegistered`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn connect(relay: Relay, state: State, clock: Clock) -> Result<Self, ConsumerError> {
        let registration = state.registration().ok_or(ConsumerError::NotRegistered)?;
        let token = state
            .model()
            .device
            .as_ref()
            .map(|device| device.token.clone())
            .unwrap_or_default();
        let session = Session::new(relay, &token)?;
        let shared = Arc::new(Shared::new(
            session,
            state,
            clock,
            registration.phone.clone(),
        ));
        let (letters, waiting) = mpsc::channel(SEND_QUEUE);
        let mut tasks = JoinSet::new();
        tasks.spawn(receiver::run(shared.clone()));
        tasks.spawn(courier::run(shared.clone()));
        tasks.spawn(sender::run(shared.clone(), waiting));
        tasks.spawn(resender::run(shared.clone()));
        tasks.spawn(keeper::run(shared.clone()));
        Ok(Self {
            shared,
            registration,
            letters,
            tasks,
        })
    }

    /// Who this device is.
    #[must_use]
    pub fn registration(&self) -> &Registration {
        &self.registration
    }

    /// Sends one message: answers its id once it is sealed and durable here. It reaches the relay as soon as the relay is
    /// reached, even after a restart; [`Client::flush`] waits for that.
    ///
    /// # Errors
    /// When the content is too long, the business unknown, its first bundle not to be had, or the state not to be written.
    pub async fn send(
        &self,
        to: impl Into<Business>,
        content: &Content,
    ) -> Result<MessageId, ConsumerError> {
        let ids = self.send_many(to, std::slice::from_ref(content)).await?;
        ids.first().copied().ok_or(ConsumerError::Closed)
    }

    /// Sends several messages in order, in one commit: all of them or none.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn send_many(
        &self,
        to: impl Into<Business>,
        contents: &[Content],
    ) -> Result<Vec<MessageId>, ConsumerError> {
        let (reply, answer) = oneshot::channel();
        let letter = Letter::new(to.into(), contents, reply)?;
        self.letters
            .send(letter)
            .await
            .map_err(|_| ConsumerError::Closed)?;
        answer.await.map_err(|_| ConsumerError::Closed)?
    }

    /// The next event, oldest first. Nothing is forgotten until it is confirmed.
    ///
    /// # Errors
    /// [`ConsumerError::Closed`] when nothing waits and nothing more can come: the relay refuses the device, or its state broke.
    pub async fn receive(&self) -> Result<Event, ConsumerError> {
        loop {
            let mut events = self.receive_many(1).await?;
            if let Some(event) = events.pop() {
                return Ok(event);
            }
        }
    }

    /// The next events, at least one and at most `limit`, oldest first.
    ///
    /// # Errors
    /// As [`Client::receive`].
    pub async fn receive_many(&self, limit: usize) -> Result<Vec<Event>, ConsumerError> {
        loop {
            let arrived = self.shared.arrived.notified();
            let over = matches!(self.connection(), Connection::Refused | Connection::Broken);
            let events = self.shared.take_events(limit).await;
            if !events.is_empty() {
                return Ok(events);
            }
            if over {
                self.shared.arrived.notify_one();
                return Err(ConsumerError::Closed);
            }
            arrived.await;
        }
    }

    /// Says that this event and every earlier one is dealt with: it will not come again. Made durable in the background, at the
    /// latest by [`Client::close`].
    pub fn confirm(&self, event: &Event) {
        self.shared
            .confirmed
            .fetch_max(event.sequence, Ordering::SeqCst);
        self.shared.courier.notify_one();
    }

    /// Tells the business that the person has seen a message of its.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub async fn mark_read(
        &self,
        number: &PhoneNumberId,
        message: MessageId,
    ) -> Result<(), ConsumerError> {
        let time = self.shared.clock.now();
        let receipt = Change::Receipt {
            key: (number.clone(), message),
            mark: ReceiptMark::Read,
            time,
        };
        self.shared
            .with_state(move |state| state.commit(vec![receipt]))
            .await?;
        self.shared.courier.notify_one();
        Ok(())
    }

    /// Asks the relay who has this phone number. No prekey is spent.
    ///
    /// # Errors
    /// When the relay knows no such business, or does not answer.
    pub async fn find_business(&self, phone: &PhoneNumber) -> Result<BusinessInfo, ConsumerError> {
        let request = FetchBusinessBundleRequest {
            phone_number: phone.as_str().to_owned(),
            without_prekeys: true,
        };
        let session = &self.shared.session;
        let found = session
            .device()
            .fetch_business_bundle(session.request(request))
            .await?
            .into_inner();
        let info = BusinessInfo {
            phone_number_id: found.phone_number_id.parse()?,
            display_name: found.display_name,
        };
        let known = Change::Business {
            number: info.phone_number_id.clone(),
            phone: phone.clone(),
            display_name: info.display_name.clone(),
        };
        self.shared
            .with_state(move |state| state.commit(vec![known]))
            .await?;
        Ok(info)
    }

    /// Waits until the relay has every message, receipt and retry request of this device.
    ///
    /// # Errors
    /// [`ConsumerError::Closed`] when that cannot be any more.
    pub async fn flush(&self) -> Result<(), ConsumerError> {
        let mut pending = self.shared.pending.subscribe();
        let mut connection = self.shared.connection.subscribe();
        let over =
            connection.wait_for(|now| matches!(now, Connection::Refused | Connection::Broken));
        tokio::select! {
            biased;
            _ = pending.wait_for(|pending| *pending == 0) => Ok(()),
            _ = over => Err(ConsumerError::Closed),
        }
    }

    /// Whether the relay is reached now.
    #[must_use]
    pub fn connection(&self) -> Connection {
        *self.shared.connection.borrow()
    }

    /// Follows [`Client::connection`].
    #[must_use]
    pub fn watch_connection(&self) -> watch::Receiver<Connection> {
        self.shared.connection.subscribe()
    }

    /// The identity key pinned for a business number, 33 bytes.
    pub async fn pinned_identity(&self, number: &PhoneNumberId) -> Option<[u8; 33]> {
        self.shared.state.lock().await.pinned_identity(number)
    }

    /// Stops, makes confirmations durable, and gives the state back.
    ///
    /// # Errors
    /// When the last commit fails.
    pub async fn close(mut self) -> Result<State, ConsumerError> {
        self.shared.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
        let shared = self.shared.clone();
        drop(self);
        let confirmed = shared.confirmations().await;
        shared.with_state(|state| state.commit(confirmed)).await?;
        let mut state = Arc::into_inner(shared).ok_or(ConsumerError::Closed)?.state;
        loop {
            match Arc::try_unwrap(state) {
                Ok(state) => return Ok(state.into_inner()),
                // Work on the disk that a task no longer waits for is about to let go.
                Err(shared) => state = shared,
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

/// A failed commit ends the client: what the disk holds is not known.
fn broken(shared: &Shared, error: &StateError) {
    tracing::error!(%error, "the state cannot be written");
    shared.over(Connection::Broken);
}
