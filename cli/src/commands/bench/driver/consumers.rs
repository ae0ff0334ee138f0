//! Every consumer: its device decrypts what comes, and writes to the business.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sealpost_consumer::content_v1::content::Body;
use sealpost_consumer::{
    Business, Client, ConsumerError, EventKind, PhoneNumber, PhoneNumberId, content,
};
use tokio::sync::{Notify, Semaphore};
use tokio::time::sleep;
use tonic::Code;

use super::source::{Source, send_off};
use super::{Desk, link, registering};
use crate::commands::bench::header::Header;
use crate::commands::bench::plan::Beside;
use crate::commands::bench::time;
use crate::running::Running;

/// Events that a device hands over at a time.
const EVENTS: usize = 64;
/// Conversations that are primed at one time.
const PRIMING: usize = 256;
/// How long a device waits that asked for too much.
const RATE_LIMITED: Duration = Duration::from_millis(200);

/// All of them, connected.
pub struct Consumers {
    player: Arc<Player>,
}

struct Player {
    desk: Desk,
    clients: Vec<Client>,
    numbers: Vec<(PhoneNumber, PhoneNumberId)>,
    /// Turns that each conversation still has before it counts.
    turns: Vec<AtomicU32>,
    priming: Semaphore,
    primed: Semaphore,
    failed: Notify,
}

impl Consumers {
    /// Registers them, connects them, and begins each conversation.
    pub async fn prepare(desk: &Desk) -> anyhow::Result<Self> {
        let plan = &desk.plan;
        let stream = link::connect(&plan.link).await;
        tokio::spawn(link::run(
            stream,
            desk.released.clone(),
            desk.window.clone(),
        ));
        let suite = Running::open(&plan.dir)?;
        let numbers = suite.run.numbers.iter().take(plan.numbers);
        let numbers = numbers.map(|number| {
            Ok((
                number.phone_number.parse()?,
                number.phone_number_id.parse()?,
            ))
        });
        let player = Arc::new(Player {
            desk: desk.clone(),
            numbers: numbers.collect::<Result<_, ConsumerError>>()?,
            clients: registering::consumers(&suite, plan).await?,
            turns: (0..plan.conversations())
                .map(|_| AtomicU32::new(plan.turns))
                .collect(),
            priming: Semaphore::new(PRIMING),
            primed: Semaphore::new(0),
            failed: Notify::new(),
        });
        // Who floods has a consumer that reads; a stuck one never does.
        let readers = match plan.beside {
            Beside::Stuck => plan.consumers,
            _ => plan.everybody(),
        };
        for consumer in 0..readers {
            tokio::spawn(player.clone().read(consumer));
        }
        if plan.is_primed() {
            player.prime().await?;
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
        tokio::spawn(async move {
            while let Some(header) = source.next().await {
                send_off(Box::pin(player.clone().send(header))).await;
            }
            player.desk.tally.has_sent_all();
        });
    }
}

impl Player {
    /// Begins each conversation and waits until all have had their turns.
    async fn prime(&self) -> anyhow::Result<()> {
        let conversations = self.desk.plan.conversations();
        for conversation in 0..conversations {
            self.priming.acquire().await?.forget();
            let first = self.uncounted(u32::try_from(conversation)?);
            // Who begins with many numbers at once asks for more bundles than a device may.
            while let Err(error) = self.write(&first, true).await {
                match error {
                    ConsumerError::Relay {
                        code: Code::ResourceExhausted,
                        ..
                    } => sleep(RATE_LIMITED).await,
                    error => return Err(error.into()),
                }
            }
        }
        let all = u32::try_from(conversations)?;
        tokio::select! {
            primed = self.primed.acquire_many(all) => primed?.forget(),
            () = self.failed.notified() => {
                anyhow::bail!("{}", self.desk.tally.outcome().refusals.join("; "));
            }
        }
        Ok(())
    }

    fn uncounted(&self, conversation: u32) -> Header {
        Header {
            run: self.desk.plan.run,
            conversation,
            sequence: 0,
            intended: time::now(),
        }
    }

    /// The business has answered: the conversation's next turn, or it is ready.
    async fn turn(self: Arc<Self>, conversation: u32) {
        let left = &self.turns[conversation as usize];
        if left.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.priming.add_permits(1);
            self.primed.add_permits(1);
            return;
        }
        if let Err(error) = self.write(&self.uncounted(conversation), false).await {
            self.desk.tally.refused(error.to_string());
            self.failed.notify_one();
        }
    }

    /// Counts it as accepted once the relay has all that its device sent: the library tells no less.
    async fn send(self: Arc<Self>, header: Header) {
        let tally = &self.desk.tally;
        let is_first = !self.desk.plan.is_primed();
        let consumer = self.desk.plan.consumer(header.conversation as usize);
        let sent = match self.write(&header, is_first).await {
            Ok(()) => self.clients[consumer].flush().await,
            Err(error) => Err(error),
        };
        match sent {
            Ok(()) => tally.accepted(header.intended),
            Err(error) => {
                tally.refused(error.to_string());
                self.desk.window.add_permits(1);
            }
        }
    }

    async fn write(&self, header: &Header, is_first: bool) -> Result<(), ConsumerError> {
        let plan = &self.desk.plan;
        let conversation = header.conversation as usize;
        let (phone, id) = &self.numbers[plan.number(conversation)];
        let to = if is_first {
            Business::Phone(phone.clone())
        } else {
            Business::Id(id.clone())
        };
        let content = content::text(header.text(plan.size));
        let client = &self.clients[plan.consumer(conversation)];
        client.send(to, &content).await.map(drop)
    }

    async fn read(self: Arc<Self>, consumer: usize) {
        let client = &self.clients[consumer];
        while let Ok(events) = client.receive_many(EVENTS).await {
            let released = events.iter().filter(|event| self.take(&event.kind)).count();
            if let Some(last) = events.last() {
                client.confirm(last);
            }
            self.desk
                .released
                .add(u32::try_from(released).unwrap_or(u32::MAX));
        }
    }

    /// Answers whether it is a message that counts.
    fn take(self: &Arc<Self>, event: &EventKind) -> bool {
        let tally = &self.desk.tally;
        match event {
            EventKind::Message(message) => {
                let Some(Body::Text(text)) = &message.content.body else {
                    return false;
                };
                match Header::of(&text.body) {
                    Some(header) if header.sequence > 0 => return tally.received(&header),
                    Some(header) if header.run == self.desk.plan.run => {
                        tokio::spawn(self.clone().turn(header.conversation));
                    }
                    _ => {}
                }
            }
            EventKind::SendFailed { .. } => {
                tally.refused("a consumer's message will not arrive".to_owned());
                self.desk.window.add_permits(1);
                self.failed.notify_one();
            }
            EventKind::Undecryptable { .. } | EventKind::Unreadable { .. } => {
                tally.refused("a consumer could not read a message".to_owned());
                self.failed.notify_one();
            }
            EventKind::IdentityChanged { .. } => {}
        }
        false
    }
}
