//! Sending: what is sent, what comes back, and the way in between.

mod hop;
mod outcome;
mod turns;

use std::{sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use sealpost_envelope::{Category, Direction, HeaderFields, MessageId, NumberId, Peer, UnixMillis};
use sealpost_runtime::batch::{BatchLane, LaneError, LaneSettings};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::{
    Content, DeliveryStatus, IdempotencyKey, SdkError, content::Encoded, gateway::Gateway,
    sealing::Sealer,
};

use hop::{SendHop, Wrapped};
use outcome::{Next, Trouble, after_outcome, after_silence};
use turns::Turns;

/// Batches on their way at one time: the gateway admits one while the vault and the store have others.
const BATCHES: usize = 8;

/// Messages of one client that may be on their way in: some seconds' worth of a busy gateway. One more would only wait, and what
/// waits longer than its reader does is work for nobody.
const WAITING: usize = 4096;

/// When it is worth another try while so many wait.
const FULL: Duration = Duration::from_secs(1);

/// A message to send.
#[derive(Clone)]
pub struct Outbound {
    /// The number that it is sent from.
    pub phone_number_id: NumberId,
    /// The consumer.
    pub to: Peer,
    /// Why it is sent.
    pub category: Category,
    /// What it says.
    pub content: Content,
    /// Makes a repeated send the same message.
    pub idempotency_key: IdempotencyKey,
}

/// A message that is durable at the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its id.
    pub message_id: MessageId,
    /// When it was first accepted.
    pub accepted_at: UnixMillis,
    /// Whether it had been accepted before.
    pub is_repeated: bool,
    /// How far it is.
    pub status: DeliveryStatus,
}

/// Seals, sends and sends again. Invariants: messages of one conversation are accepted in the order in which they were sent; no
/// more than [`WAITING`] are on their way.
pub(crate) struct Sender {
    sealer: Sealer,
    lane: BatchLane<SendHop>,
    wrapped: Arc<Wrapped>,
    turns: Turns,
    places: Semaphore,
}

impl Sender {
    pub(crate) fn new(gateway: Gateway, sealer: Sealer) -> Self {
        let wrapped = Arc::new(Wrapped::default());
        let hop = SendHop::new(gateway, wrapped.clone());
        let settings = LaneSettings {
            in_flight: BATCHES,
            ..LaneSettings::new("connector_send")
        };
        Self {
            sealer,
            // Ends with the last clone of the client.
            lane: BatchLane::start(hop, settings, CancellationToken::new()),
            wrapped,
            turns: Turns::default(),
            places: Semaphore::new(WAITING),
        }
    }

    pub(crate) async fn send(
        &self,
        message_id: MessageId,
        outbound: Outbound,
        now: UnixMillis,
        within: Duration,
    ) -> Result<Accepted, SdkError> {
        let Ok(_place) = self.places.try_acquire() else {
            return Err(SdkError::Overloaded { retry_after: FULL });
        };
        let content = Encoded::of(&outbound.content)?;
        let fields = HeaderFields {
            direction: Direction::Outbound,
            peer: outbound.to.clone(),
            message_id,
            category: outbound.category,
            time: now,
        };
        let mut attempt = Attempt {
            sender: self,
            number: outbound.phone_number_id.clone(),
            fields,
            content,
            trouble: Trouble::default(),
            delays: delays(),
        };
        let until = Instant::now() + within;
        let turn = self.turns.take(outbound.phone_number_id, outbound.to);
        // The turn ends with this future, whether it is finished or dropped.
        let sent = timeout_at(until, async {
            let _turn = turn.await;
            attempt.run(until).await
        })
        .await;
        sent.unwrap_or_else(|_| Err(attempt.trouble.error()))
    }
}

/// One message until it is accepted, refused or late.
struct Attempt<'a> {
    sender: &'a Sender,
    number: NumberId,
    fields: HeaderFields,
    content: Encoded,
    trouble: Trouble,
    delays: ExponentialBackoff,
}

impl Attempt<'_> {
    async fn run(&mut self, until: Instant) -> Result<Accepted, SdkError> {
        loop {
            let delay = match self.once().await {
                Next::Done(result) => return result,
                Next::AtOnce => Duration::ZERO,
                Next::After(asked) => asked.max(self.next_delay()),
            };
            if delay.is_zero() {
                continue;
            }
            let again = Instant::now() + delay;
            if again >= until {
                return Err(self.trouble.error());
            }
            sleep_until(again).await;
        }
    }

    async fn once(&mut self) -> Next {
        let sender = self.sender;
        let sealed = sender
            .sealer
            .seal(&self.number, &self.fields, &self.content);
        let sealed = match sealed.await {
            Ok(sealed) => sealed,
            Err(SdkError::Unavailable(code)) => return self.trouble.unreachable(code),
            // A vault key out of its time: the gateway will have another.
            Err(error) if error.is_transient() => {
                return self.trouble.unreachable(Code::Unavailable);
            }
            Err(error) => return Next::Done(Err(error)),
        };
        let key = sealed.content_key;
        // Until it is answered, it may have been accepted.
        self.trouble.is_outcome_unknown = true;
        let answer = sender.lane.call(sealed).await;
        self.trouble.is_outcome_unknown = answer.as_ref().is_err_and(LaneError::is_outcome_unknown);
        let next = match answer {
            Ok(outcome) => after_outcome(outcome, self.fields.message_id, &mut self.trouble),
            Err(error) => after_silence(&error, &mut self.trouble),
        };
        if self.trouble.take_unknown_key() {
            sender.wrapped.forget(key);
        }
        if self.trouble.take_spent_key() {
            sender.sealer.renew(&self.number, key).await;
        }
        next
    }

    fn next_delay(&mut self) -> Duration {
        self.delays.next().unwrap_or_default()
    }
}

fn delays() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(5))
        .with_jitter()
        .without_max_times()
        .build()
}
