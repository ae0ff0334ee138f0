//! Texts flowing both ways at once between the business and several consumers, as an app and people would send them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use futures::future;
use sealpost_cli::ledger::{Conversation, Fault, Ledger, Way};
use tokio::time::sleep;

use crate::Suite;
use crate::consumer::Consumer;
use crate::program::Program;
use crate::rest::Rest;

/// How long one text may take to be accepted while a service is away.
const ACCEPT_TIME: Duration = Duration::from_secs(120);
/// How long nothing more may come before what came is final: late repeats show within it.
const QUIET: Duration = Duration::from_millis(1500);

/// The business's end.
enum Business<'a> {
    /// Its app: REST out, webhooks in.
    App(Rest),
    /// A program over gRPC.
    Program(&'a Program),
}

/// Traffic on one number of a suite.
pub struct Traffic<'a> {
    suite: &'a Suite,
    business: Business<'a>,
    number: String,
    consumers: &'a [Consumer],
    label: String,
    /// Texts accepted so far, both ways.
    pub accepted: Arc<AtomicUsize>,
    /// Of these, the business's.
    pub accepted_out: Arc<AtomicUsize>,
}

impl<'a> Traffic<'a> {
    /// Between the business's app and consumers, on the suite's first number; `label` makes the texts unique.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(suite: &'a Suite, consumers: &'a [Consumer], label: &str) -> anyhow::Result<Self> {
        Ok(Self::between(
            suite,
            Business::App(Rest::of(suite)?),
            consumers,
            label,
        ))
    }

    /// The same between a program and consumers.
    #[must_use]
    pub fn of_program(
        suite: &'a Suite,
        program: &'a Program,
        consumers: &'a [Consumer],
        label: &str,
    ) -> Self {
        Self::between(suite, Business::Program(program), consumers, label)
    }

    fn between(
        suite: &'a Suite,
        business: Business<'a>,
        consumers: &'a [Consumer],
        label: &str,
    ) -> Self {
        Self {
            suite,
            business,
            number: suite.number(0).to_owned(),
            consumers,
            label: label.to_owned(),
            accepted: Arc::default(),
            accepted_out: Arc::default(),
        }
    }

    /// Sends `each` texts out and `each` in per consumer, all conversations at once, each in order; `pause` lies between two
    /// texts of a conversation. Answers what was accepted.
    ///
    /// # Errors
    /// When a text is refused, or not accepted in time.
    pub async fn send(&self, each: usize, pause: Duration) -> anyhow::Result<Ledger> {
        self.send_while(|index| index < each, pause).await
    }

    /// The same for as long as `more` says so of the next text's place in its conversation.
    ///
    /// # Errors
    /// As [`Traffic::send`].
    pub async fn send_while(
        &self,
        more: impl Fn(usize) -> bool,
        pause: Duration,
    ) -> anyhow::Result<Ledger> {
        let more = &more;
        let out = future::try_join_all(
            self.consumers
                .iter()
                .map(|consumer| self.send_out(consumer, more, pause)),
        );
        let into = future::try_join_all(
            self.consumers
                .iter()
                .map(|consumer| self.send_in(consumer, more, pause)),
        );
        let (out, into) = future::try_join(out, into).await?;
        let mut ledger = Ledger::default();
        for (way, sent) in [(Way::Out, out), (Way::In, into)] {
            for (consumer, texts) in self.consumers.iter().zip(sent) {
                for text in texts {
                    ledger.add(self.conversation(way, consumer), text);
                }
            }
        }
        Ok(ledger)
    }

    async fn send_out(
        &self,
        to: &Consumer,
        more: impl Fn(usize) -> bool,
        pause: Duration,
    ) -> anyhow::Result<Vec<String>> {
        let mut texts = Vec::new();
        for index in (0..).take_while(|index| more(*index)) {
            let text = format!("{} out {index} to {}", self.label, to.phone);
            let key = text.replace(' ', "-");
            let (number, to) = (self.number.as_str(), to.phone.as_str());
            match &self.business {
                Business::App(rest) => {
                    rest.text_until_accepted(number, to, &text, &key, ACCEPT_TIME)
                        .await?;
                }
                Business::Program(program) => {
                    program
                        .text_until_accepted(number, to, &text, &key, ACCEPT_TIME)
                        .await?;
                }
            }
            self.accepted.fetch_add(1, Ordering::SeqCst);
            self.accepted_out.fetch_add(1, Ordering::SeqCst);
            texts.push(text);
            sleep(pause).await;
        }
        Ok(texts)
    }

    async fn send_in(
        &self,
        from: &Consumer,
        more: impl Fn(usize) -> bool,
        pause: Duration,
    ) -> anyhow::Result<Vec<String>> {
        let mut texts = Vec::new();
        for index in (0..).take_while(|index| more(*index)) {
            let text = format!("{} in {index} from {}", self.label, from.phone);
            // A first text needs the relay for the business's keys; later ones are durable at once, whatever is down.
            let start = Instant::now();
            while let Err(error) = from.text(self.suite, 0, &text).await {
                if start.elapsed() > ACCEPT_TIME {
                    return Err(error);
                }
                sleep(Duration::from_millis(100)).await;
            }
            self.accepted.fetch_add(1, Ordering::SeqCst);
            texts.push(text);
            sleep(pause).await;
        }
        Ok(texts)
    }

    /// Waits until this many texts were accepted.
    pub async fn until_accepted(&self, count: usize) {
        while self.accepted.load(Ordering::SeqCst) < count {
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Texts accepted so far, both ways.
    #[must_use]
    pub fn count(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Waits until as many have arrived as are accepted now.
    ///
    /// # Errors
    /// When `limit` passes.
    pub async fn caught_up(&self, limit: Duration) -> anyhow::Result<()> {
        let (start, due) = (Instant::now(), self.count());
        while self.delivered().len() < due {
            if start.elapsed() > limit {
                let arrived = self.delivered().len();
                bail!("{arrived} of {due} texts arrived within {limit:?}");
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Waits until everything accepted has arrived and nothing more comes, and checks it.
    ///
    /// # Errors
    /// What was lost, doubled, out of order or never sent.
    pub async fn check(&self, accepted: &Ledger, limit: Duration) -> anyhow::Result<()> {
        let start = Instant::now();
        while self.delivered().len() < accepted.len() && start.elapsed() < limit {
            sleep(Duration::from_millis(50)).await;
        }
        let mut count = self.delivered().len();
        loop {
            sleep(QUIET).await;
            let now = self.delivered().len();
            if now == count {
                break;
            }
            count = now;
        }
        let faults = accepted.faults(&self.delivered());
        if !faults.is_empty() {
            let shown: Vec<_> = faults.iter().take(20).map(Fault::to_string).collect();
            bail!(
                "{} faults in {} texts:\n{}",
                faults.len(),
                accepted.len(),
                shown.join("\n")
            );
        }
        Ok(())
    }

    /// What arrived, of this traffic.
    #[must_use]
    pub fn delivered(&self) -> Ledger {
        let mut ledger = Ledger::default();
        for consumer in self.consumers {
            let out = consumer.texts_from(&self.number);
            let into = self.heard_from(&consumer.phone);
            for (way, texts) in [(Way::Out, out), (Way::In, into)] {
                for text in texts
                    .into_iter()
                    .filter(|text| text.starts_with(&format!("{} ", self.label)))
                {
                    ledger.add(self.conversation(way, consumer), text);
                }
            }
        }
        ledger
    }

    fn heard_from(&self, consumer: &str) -> Vec<String> {
        if let Business::Program(program) = &self.business {
            return program.texts_from(&self.number, consumer);
        }
        let heard = self.suite.webhook.messages_from(consumer);
        let heard = heard.iter().filter(|message| message.number == self.number);
        heard
            .filter_map(|message| message.object["text"]["body"].as_str().map(str::to_owned))
            .collect()
    }

    fn conversation(&self, way: Way, consumer: &Consumer) -> Conversation {
        Conversation {
            way,
            number: self.number.clone(),
            consumer: consumer.phone.clone(),
        }
    }
}
