//! The suite that all conversations share, and what befalls it while they go on.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use sealpost_connector_sdk::Client;
use sealpost_runtime::Clock;
use sealpost_tests::binaries::SERVICES;
use sealpost_tests::program::settings;
use sealpost_tests::{Options, Suite};
use tokio::time::sleep;

use super::device::Place;
use super::proxy::Proxy;

/// Numbers, and as many consumers: as many conversations go on at once.
pub const LANES: usize = 24;
/// What numbers keep messages for, in turn: seconds.
const RETENTIONS: [u64; 2] = [3_600, 30 * 86_400];
/// By how much clocks move: past the shorter retention, far from the longer one.
pub const JUMP: u64 = 7_200;

/// What befalls a suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A service is killed and comes back after so many milliseconds.
    Kill(&'static str, u64),
    /// A service is stopped in order and started.
    Restart(&'static str),
    /// Every connection between the business and the gateway breaks.
    CutBusiness,
    /// Every connection between consumers and the relay breaks.
    CutConsumers,
    /// Retention runs.
    Retention,
}

/// The faults of a phase, each with the milliseconds before it.
pub fn faults(seed: u64) -> Vec<(u64, Fault)> {
    let mut rng = StdRng::seed_from_u64(seed);
    let count = rng.random_range(0..=3);
    let fault = |rng: &mut StdRng| {
        let service = SERVICES.choose(rng).copied().unwrap_or("gateway");
        match rng.random_range(0..8) {
            0..=2 => Fault::Kill(service, rng.random_range(0..1_000)),
            3 => Fault::Restart(service),
            4..=5 => Fault::CutBusiness,
            6 => Fault::CutConsumers,
            _ => Fault::Retention,
        }
    };
    (0..count)
        .map(|_| (rng.random_range(0..1_500), fault(&mut rng)))
        .collect()
}

/// A suite, and the ways to it.
pub struct World {
    /// Where everything runs.
    pub suite: Suite,
    /// The business's client, for all conversations.
    pub client: Client,
    to_gateway: Proxy,
    to_relay: Proxy,
}

impl World {
    pub async fn boot() -> anyhow::Result<Self> {
        let suite = Suite::up(Options {
            numbers: LANES,
            consumers: LANES,
            clock_file: true,
            ..Options::default()
        })
        .await?;
        for index in 0..LANES {
            let days = format!("{}s", Self::retention(index));
            let number = suite.number(index).to_owned();
            suite
                .sealpost(&["admin", "number", "set-retention", &number, &days])
                .await?;
        }
        let to_gateway = Proxy::to(suite.facts().public("gateway")?).await?;
        let to_relay = Proxy::to(suite.facts().public("relay")?).await?;
        let mut settings = settings(&suite, to_gateway.address())?;
        settings.clock = clock(&suite);
        Ok(Self {
            client: Client::connect(settings)?,
            suite,
            to_gateway,
            to_relay,
        })
    }

    /// How long the number at `index` keeps messages, seconds.
    pub fn retention(index: usize) -> u64 {
        RETENTIONS[index % RETENTIONS.len()]
    }

    /// Where the consumer at `index` is.
    pub fn place(&self, index: usize) -> Place {
        let facts = self.suite.facts();
        let consumer = &facts.consumers[index];
        Place {
            phone: consumer.phone_number.clone(),
            state: consumer.state.clone(),
            relay: self.to_relay.address().to_owned(),
            ca: facts.tls.ca.clone(),
            clock: clock(&self.suite),
        }
    }

    /// Lets these befall the suite, one after the other. Afterwards everything serves.
    pub async fn befall(&self, faults: &[(u64, Fault)]) -> anyhow::Result<()> {
        for (after, fault) in faults {
            sleep(Duration::from_millis(*after)).await;
            match *fault {
                Fault::Kill(service, away) => {
                    self.suite.kill9(service).await?;
                    sleep(Duration::from_millis(away)).await;
                    self.suite.start(service).await?;
                }
                Fault::Restart(service) => self.suite.restart(service).await?,
                Fault::CutBusiness => self.to_gateway.cut(),
                Fault::CutConsumers => self.to_relay.cut(),
                Fault::Retention => self.run_retention().await?,
            }
        }
        Ok(())
    }

    /// Moves every clock, and lets retention do what is due.
    pub async fn jump(&self) -> anyhow::Result<()> {
        let by = format!("{JUMP}s");
        self.suite
            .sealpost(&["admin", "clock", "advance", &by])
            .await?;
        self.run_retention().await
    }

    async fn run_retention(&self) -> anyhow::Result<()> {
        let run = ["admin", "retention", "run"];
        self.suite.sealpost(&run).await.map(drop)
    }
}

fn clock(suite: &Suite) -> Clock {
    Clock::with_offset_file(suite.dir().join("clock"))
}
