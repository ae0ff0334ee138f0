//! Registers the bench's consumers: in memory, and over as few connections as the relay takes them on.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use sealpost_consumer::{Client, PhoneNumber, Relay, State, register};
use sealpost_runtime::Clock;
use sealpost_runtime::config::HostPorts;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::commands::bench::plan::Plan;
use crate::running::{Running, host_ports};
use crate::suite::codes::NewCodes;

/// Devices that share a connection: each has a stream open all the time and makes calls beside it, of the 1,024 that a
/// connection to the relay may have.
const ON_A_CONNECTION: usize = 250;
/// Registrations under way at one time.
const AT_ONCE: usize = 16;

/// Every consumer of the plan, registered and connected, in their order.
pub async fn consumers(suite: &Running, plan: &Plan) -> anyhow::Result<Vec<Client>> {
    let desk = Arc::new(Registry {
        address: host_ports(&suite.run.relay.urls)
            .parse()
            .map_err(|reason| anyhow!("the relay's URL in run.json: {reason}"))?,
        ca: suite.run.tls.ca.clone(),
        codes: NewCodes::of(&suite.run.relay.codes_file),
        clock: suite.clock()?,
        turns: Semaphore::new(AT_ONCE),
    });
    let mut registering = JoinSet::new();
    let mut relay = None;
    for consumer in 0..plan.everybody() {
        if consumer % ON_A_CONNECTION == 0 {
            relay = Some(Relay::connect(&desk.address, &desk.ca)?);
        }
        let relay = relay.clone().context("a connection")?;
        let (desk, phone) = (desk.clone(), plan.phone(consumer));
        registering.spawn(async move { Ok((consumer, desk.register(relay, &phone).await?)) });
    }
    let mut registered = Vec::with_capacity(plan.everybody());
    while let Some(one) = registering.join_next().await {
        let one: anyhow::Result<(usize, Client)> = one?;
        registered.push(one?);
    }
    registered.sort_by_key(|(consumer, _)| *consumer);
    Ok(registered.into_iter().map(|(_, client)| client).collect())
}

struct Registry {
    address: HostPorts,
    ca: PathBuf,
    codes: NewCodes,
    clock: Clock,
    turns: Semaphore,
}

impl Registry {
    async fn register(&self, relay: Relay, phone: &str) -> anyhow::Result<Client> {
        let _turn = self.turns.acquire().await?;
        let mut state = State::in_memory();
        let number: PhoneNumber = phone.parse()?;
        register(&relay, &mut state, &self.clock, &number, async |_expires| {
            self.codes.wait_for(phone).await
        })
        .await
        .context("a consumer could not be registered")?;
        Ok(Client::connect(relay, state, self.clock.clone())?)
    }
}
