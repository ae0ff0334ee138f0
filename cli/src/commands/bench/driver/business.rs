//! The business: sends through the SDK, and takes its events in, statuses too, as any business does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::ensure;
use sealpost_connector_sdk::content::Body;
use sealpost_connector_sdk::{
    Category, Client, DeliveryStatus, EventStream, IdempotencyKey, Incoming, NumberId, Outbound,
    Peer, SdkError, Subscription, content,
};
use tokio::sync::Notify;

use super::nuisance::Nuisance;
use super::source::{Source, send_off};
use super::{Desk, link};
use crate::business::{advise, client};
use crate::commands::bench::header::Header;
use crate::commands::bench::time;
use crate::running::Running;

/// How long a message may take to be accepted.
const WITHIN: Duration = Duration::from_secs(60);
/// Events that are taken at a time.
const EVENTS: usize = 256;
/// Events that may be out unacknowledged.
const UNACKNOWLEDGED: u32 = 1024;

/// Numbers of one stream of events, at most.
const SUBSCRIBED: usize = 1000;

/// The business, connected.
pub struct Business {
    player: Arc<Player>,
}

struct Player {
    desk: Desk,
    client: Client,
    numbers: Vec<NumberId>,
    peers: Vec<Peer>,
    beside: Option<Nuisance>,
    /// Of the consumers' messages that do not count.
    answered: AtomicUsize,
    one_answered: Notify,
}

impl Business {
    /// Subscribes, and answers the first messages of each conversation.
    pub async fn prepare(desk: &Desk) -> anyhow::Result<Self> {
        let plan = &desk.plan;
        let stream = link::listen(&plan.link).await?;
        tokio::spawn(link::run(
            stream,
            desk.released.clone(),
            desk.window.clone(),
        ));
        let suite = Running::open(&plan.dir)?;
        let numbers = suite.run.numbers.iter().take(plan.numbers);
        let numbers: Vec<NumberId> = numbers
            .map(|number| number.phone_number_id.parse())
            .collect::<Result<_, _>>()?;
        let peers = (0..plan.consumers).map(|consumer| Peer::new(&plan.phone(consumer)));
        let player = Arc::new(Player {
            desk: desk.clone(),
            client: client(&suite)?,
            peers: peers.collect::<Result<_, _>>()?,
            numbers: numbers.clone(),
            beside: Nuisance::prepare(desk, &suite)?,
            answered: AtomicUsize::new(0),
            one_answered: Notify::new(),
        });
        for (turn, numbers) in numbers.chunks(SUBSCRIBED).enumerate() {
            let subscription = Subscription::new(format!("bench-{:x}-{turn}", plan.run))?
                .numbers(numbers.to_vec())
                .max_unacknowledged(UNACKNOWLEDGED);
            let events = player.client.subscribe(subscription).map_err(advise)?;
            tokio::spawn(player.clone().listen(events));
        }
        if plan.is_primed() {
            let all = plan.conversations() * plan.turns as usize;
            while player.answered.load(Ordering::SeqCst) < all {
                player.one_answered.notified().await;
                let progress = desk.tally.progress();
                ensure!(
                    progress.refused == 0,
                    "{}",
                    desk.tally.outcome().refusals.join("; ")
                );
            }
        }
        Ok(Self { player })
    }

    /// Sends until no more shall leave.
    pub fn go(&self, desk: &Desk) {
        let mut source = Source::new(
            &desk.plan,
            desk.window.clone(),
            desk.tally.clone(),
            desk.stop.clone(),
        );
        let player = self.player.clone();
        if let Some(nuisance) = &player.beside {
            nuisance.go();
        }
        tokio::spawn(async move {
            while let Some(header) = source.next().await {
                send_off(Box::pin(player.clone().send(header))).await;
            }
            player.desk.tally.has_sent_all();
        });
    }
}

impl Player {
    async fn send(self: Arc<Self>, header: Header) {
        let tally = &self.desk.tally;
        match self.call(&header).await {
            Ok(()) => tally.accepted(header.intended),
            Err(error) if self.desk.plan.counts_refusals => {
                tally.turned_away(header.intended, code_of(&error));
            }
            Err(error) => {
                tally.refused(format!("a message was not accepted: {error}"));
                self.desk.window.add_permits(1);
            }
        }
    }

    async fn prime(self: Arc<Self>, conversation: u32) {
        let header = Header {
            run: self.desk.plan.run,
            conversation,
            sequence: 0,
            intended: time::now(),
        };
        match self.call(&header).await {
            Ok(()) => {
                self.answered.fetch_add(1, Ordering::SeqCst);
            }
            Err(error) => self
                .desk
                .tally
                .refused(format!("a message was not accepted: {error}")),
        }
        self.one_answered.notify_one();
    }

    async fn call(&self, header: &Header) -> Result<(), SdkError> {
        let plan = &self.desk.plan;
        let conversation = header.conversation as usize;
        let mut key = format!("{:x}-{conversation:x}-{:x}", plan.run, header.sequence);
        if header.sequence == 0 {
            // One of several that do not count.
            key = format!("{key}-{:x}", header.intended);
        }
        let outbound = Outbound {
            phone_number_id: self.numbers[plan.number(conversation)].clone(),
            to: self.peers[plan.consumer(conversation)].clone(),
            category: Category::Utility,
            content: content::text(header.text(plan.size)),
            idempotency_key: IdempotencyKey::new(key)?,
        };
        self.client.send(outbound, WITHIN).await.map(drop)
    }

    async fn listen(self: Arc<Self>, mut events: EventStream) {
        loop {
            let batch = events.next_batch(EVENTS).await;
            if batch.is_empty() {
                return;
            }
            let mut released = 0;
            for delivery in batch {
                released += u32::from(self.take(&delivery.incoming));
                delivery.ack.done();
            }
            self.desk.released.add(released);
        }
    }

    /// Answers whether it is a message that counts.
    fn take(self: &Arc<Self>, incoming: &Incoming) -> bool {
        let tally = &self.desk.tally;
        match incoming {
            Incoming::Message(message) => {
                let Some(Body::Text(text)) = &message.content.body else {
                    return false;
                };
                match Header::of(&text.body) {
                    Some(header) if header.sequence > 0 => return tally.received(&header),
                    Some(header) if header.run == self.desk.plan.run => {
                        tokio::spawn(self.clone().prime(header.conversation));
                    }
                    _ => {}
                }
            }
            Incoming::Status(update) if update.status == DeliveryStatus::Failed => {
                tally.refused(format!("a message failed with code {}", update.error_code));
                self.desk.window.add_permits(1);
            }
            Incoming::Status(_) => tally.status(),
            Incoming::Warning(warning) => tally.refused(warning.refusal.to_string()),
            _ => {}
        }
        false
    }
}

/// The gRPC code that the gateway's refusal has or would have.
fn code_of(error: &SdkError) -> &'static str {
    match error {
        SdkError::Overloaded { .. } | SdkError::RateLimited { .. } => "RESOURCE_EXHAUSTED",
        SdkError::Deadline { .. } => "DEADLINE_EXCEEDED",
        SdkError::Unavailable(_) => "UNAVAILABLE",
        _ => "OTHER",
    }
}
