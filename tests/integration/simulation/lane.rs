//! One conversation that goes through histories, step by step.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use sealpost_connector_sdk::{Client, Content, content};
use sealpost_tests::Suite;
use tokio::time::sleep;

use super::device::{Device, Place};
use super::history::{History, Step};
use super::log::Log;
use super::program::Program;
use super::trace::{Entry, Id};
use super::words::reaction;

/// How long everything may take to arrive: services come back, retries back off, the machine is busy.
const SETTLE: Duration = Duration::from_secs(60);
/// How often an erasure is tried while services are away.
const ERASURES: usize = 60;

/// A conversation of a number and a consumer of a suite.
pub struct Lane<'a> {
    suite: &'a Suite,
    number: String,
    phone: String,
    label: String,
    device: Device,
    program: Program,
    log: Arc<Log>,
    /// What was sent in this life of the conversation, and can be named by later steps.
    sent: Vec<Sent>,
    written: Vec<Id>,
    count: usize,
}

struct Sent {
    key: String,
    content: Content,
    id: Id,
}

impl<'a> Lane<'a> {
    /// Both ends online, nothing said, on the number at that place. `label` makes keys and texts unique; the number keeps
    /// messages for `retention` seconds.
    pub async fn open(
        suite: &'a Suite,
        client: &Client,
        number: usize,
        place: Place,
        retention: u64,
        label: String,
    ) -> anyhow::Result<Self> {
        let log = Arc::new(Log::new(&label, retention));
        let phone = place.phone.clone();
        let facts = &suite.facts().numbers[number];
        let number = facts.phone_number_id.as_str();
        let both = (number, facts.phone_number.as_str());
        Ok(Self {
            suite,
            number: number.to_owned(),
            device: Device::online(place, both, log.clone()).await?,
            program: Program::start(client.clone(), number, &phone, log.clone())?,
            phone,
            label,
            log,
            sent: Vec::new(),
            written: Vec::new(),
            count: 0,
        })
    }

    /// Takes these steps.
    pub async fn run(&mut self, history: &History) -> anyhow::Result<()> {
        for step in history {
            self.step(*step)
                .await
                .with_context(|| format!("{step:?}"))?;
        }
        Ok(())
    }

    /// Waits for everything to arrive, with whoever is there.
    pub async fn settle(&self) {
        self.log.settle(SETTLE).await;
    }

    /// Clocks moved forward by `seconds`. What can be named from now on is what is said from now on.
    pub async fn advanced(&mut self, seconds: u64) -> anyhow::Result<()> {
        self.log.push(Entry::Advanced { seconds });
        self.ask_of_the_past().await
    }

    /// Brings both ends back, waits for everything, and says which rule was broken, if one was.
    pub async fn close(mut self) -> anyhow::Result<Result<(), String>> {
        self.device.come().await?;
        self.program.reconnect().await?;
        self.settle().await;
        self.device.leave().await?;
        self.program.stop().await;
        Ok(self.log.verdict())
    }

    async fn step(&mut self, step: Step) -> anyhow::Result<()> {
        match step {
            Step::Send => {
                let content = content::text(self.fresh("out"));
                self.send(content).await
            }
            Step::React(back) => match nth_last(&self.written, back) {
                Some(&to) => {
                    self.count += 1;
                    self.send(reaction(to, self.count)).await
                }
                None => Ok(()),
            },
            Step::Repeat(back) => match nth_last(&self.sent, back) {
                Some(sent) => self.program.send(&sent.key, &sent.content).await.map(drop),
                None => Ok(()),
            },
            Step::Misuse(back) => {
                let other = content::text(self.fresh("misused"));
                match nth_last(&self.sent, back) {
                    Some(sent) => self.program.send(&sent.key, &other).await.map(drop),
                    None => Ok(()),
                }
            }
            Step::Ask(back) => match nth_last(&self.sent, back) {
                Some(sent) => self.program.ask(sent.id).await,
                None => Ok(()),
            },
            Step::Reply => {
                let content = content::text(self.fresh("in"));
                self.write(&content).await
            }
            Step::ReactBack(back) => match nth_last(&self.sent, back).map(|sent| sent.id) {
                Some(to) => {
                    self.count += 1;
                    self.write(&reaction(to, self.count)).await
                }
                None => Ok(()),
            },
            Step::Read(back) => match nth_last(&self.sent, back).map(|sent| sent.id) {
                Some(id) => {
                    // A person reads what was shown.
                    if self.device.is_online() {
                        self.settle().await;
                    }
                    self.device.read(id).await
                }
                None => Ok(()),
            },
            Step::Leave => self.device.leave().await,
            Step::Crash => self.device.crash().await,
            Step::Come => self.device.come().await,
            Step::Hold => {
                self.program.hold();
                Ok(())
            }
            Step::Reconnect => self.program.reconnect().await,
            Step::Erase => self.erase().await,
            Step::Settle => {
                self.settle().await;
                Ok(())
            }
        }
    }

    async fn send(&mut self, content: Content) -> anyhow::Result<()> {
        let key = self.fresh("key");
        if let Some(id) = self.program.send(&key, &content).await? {
            self.sent.push(Sent { key, content, id });
        }
        Ok(())
    }

    async fn write(&mut self, content: &Content) -> anyhow::Result<()> {
        if let Some(id) = self.device.write(content).await? {
            self.written.push(id.0);
        }
        Ok(())
    }

    /// As an operator does: again until it is done, going on where it was left.
    async fn erase(&mut self) -> anyhow::Result<()> {
        // What is on its way at that moment may arrive or not: nothing is.
        self.settle().await;
        let mut receipt = None;
        for _ in 0..ERASURES {
            let mut words = vec![
                "admin",
                "erase",
                "--number",
                &self.number,
                "--peer",
                &self.phone,
            ];
            words.extend(
                receipt
                    .iter()
                    .flat_map(|receipt: &String| ["--receipt", receipt]),
            );
            match self.suite.sealpost(&words).await {
                Ok(_) => {
                    self.log.push(Entry::Erased);
                    return self.ask_of_the_past().await;
                }
                Err(error) => {
                    let said = error.to_string();
                    let named = said.split("--receipt ").nth(1);
                    let named = named.and_then(|rest| rest.split_whitespace().next());
                    receipt = named.map(str::to_owned).or(receipt);
                    sleep(Duration::from_millis(500)).await;
                }
            }
        }
        anyhow::bail!("the person could not be erased")
    }

    async fn ask_of_the_past(&mut self) -> anyhow::Result<()> {
        let last = self.sent.last().map(|sent| sent.id);
        self.sent.clear();
        self.written.clear();
        match last {
            Some(id) => self.program.ask(id).await,
            None => Ok(()),
        }
    }

    fn fresh(&mut self, what: &str) -> String {
        self.count += 1;
        format!("{} {what} {}", self.label, self.count)
    }
}

fn nth_last<T>(all: &[T], back: usize) -> Option<&T> {
    all.iter().rev().nth(back)
}
