//! The processes that a bench drives a suite with: the business with its SDK, and all consumers with their devices.
//!
//! Each is `sealpost bench-driver`, told by the coordinator what to do, one JSON line at a time. The path of a message is kept
//! light here, since it takes time from the suite on the same machine.

mod business;
mod consumers;
mod link;
mod nuisance;
mod registering;
mod source;
mod tally;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use sealpost_runtime::process;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Stdout, stdin, stdout};
use tokio::sync::Semaphore;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use self::business::Business;
use self::consumers::Consumers;
use self::link::Released;
use self::tally::Tally;
use super::plan::{Flow, Plan};
use super::talk::{Order, Report};

/// Between two reports about how far it is.
const PROGRESS: Duration = Duration::from_millis(50);

/// Drive a suite for `sealpost bench`, which starts it
#[derive(Args)]
pub struct BenchDriver {
    /// Whom to play
    #[arg(value_enum)]
    part: Part,
}

/// Who a driver is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// The business.
    Business,
    /// Every consumer.
    Consumers,
}

impl Part {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Business => "business",
            Self::Consumers => "consumers",
        }
    }
}

/// What both parts have.
#[derive(Clone)]
struct Desk {
    plan: Arc<Plan>,
    tally: Arc<Tally>,
    /// Room for messages that this process sends.
    window: Arc<Semaphore>,
    /// What this process decrypted.
    released: Arc<Released>,
    /// No more shall leave.
    stop: CancellationToken,
}

enum Player {
    Business(Business),
    Consumers(Consumers),
}

impl BenchDriver {
    /// Plays its part until it is told to finish, or whoever told it is gone.
    pub async fn run(self) -> anyhow::Result<()> {
        process::harden()?;
        let mut orders = BufReader::new(stdin()).lines();
        let line = orders.next_line().await?.context("no plan was told")?;
        let plan: Plan = serde_json::from_str(&line).context("the plan")?;
        let desk = Desk {
            tally: Arc::new(Tally::new(&plan)?),
            window: Arc::new(Semaphore::new(plan.in_flight)),
            released: Arc::default(),
            stop: CancellationToken::new(),
            plan: Arc::new(plan),
        };
        let mut out = stdout();
        let player = tokio::select! {
            player = self.prepare(&desk) => player?,
            // Nothing is ordered before it is ready: the coordinator is gone.
            _ = orders.next_line() => return Ok(()),
        };
        say(&mut out, &Report::Ready).await?;

        let mut ticks = interval(PROGRESS);
        loop {
            let line = tokio::select! {
                line = orders.next_line() => line?,
                _ = ticks.tick() => {
                    say(&mut out, &Report::Progress(desk.tally.progress())).await?;
                    continue;
                }
            };
            let Some(line) = line else { return Ok(()) };
            match serde_json::from_str(&line).context("an order")? {
                Order::Go { from, until, end } => {
                    desk.tally.stretch(from, until);
                    desk.tally.ends_at(end);
                    player.go(&desk);
                }
                Order::Stop => desk.stop.cancel(),
                Order::Finish => {
                    let outcome = Box::new(desk.tally.outcome());
                    return say(&mut out, &Report::Done(outcome)).await;
                }
            }
        }
    }

    async fn prepare(&self, desk: &Desk) -> anyhow::Result<Player> {
        Ok(match self.part {
            Part::Business => Player::Business(Business::prepare(desk).await?),
            Part::Consumers => Player::Consumers(Consumers::prepare(desk).await?),
        })
    }
}

impl Player {
    /// Begins to send, if its direction is asked for.
    fn go(&self, desk: &Desk) {
        match self {
            Self::Business(business) if desk.plan.has(Flow::Out) => business.go(desk),
            Self::Consumers(consumers) if desk.plan.has(Flow::In) => consumers.go(desk),
            _ => desk.tally.has_sent_all(),
        }
    }
}

async fn say(out: &mut Stdout, report: &Report) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    out.write_all(&line).await?;
    Ok(out.flush().await?)
}
