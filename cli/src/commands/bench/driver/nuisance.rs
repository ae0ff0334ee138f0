//! Who misbehaves while others are measured: sends to a consumer that never reads, or as much as one number is let.
//!
//! Nothing of it counts: its messages are of a run of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use sealpost_connector_sdk::{Category, Client, IdempotencyKey, NumberId, Outbound, Peer, content};
use tokio::time::sleep;

use super::Desk;
use crate::business::client;
use crate::commands::bench::header::Header;
use crate::commands::bench::plan::Beside;
use crate::commands::bench::time;
use crate::running::Running;

/// Messages under way at one time.
const AT_ONCE: usize = 512;
const WITHIN: Duration = Duration::from_secs(10);
/// After a refusal.
const PAUSE: Duration = Duration::from_millis(20);

/// One that is ready to begin.
pub struct Nuisance {
    sender: Arc<Sender>,
}

struct Sender {
    desk: Desk,
    client: Client,
    number: NumberId,
    peers: Vec<Peer>,
    next: AtomicU64,
}

impl Nuisance {
    /// With a connection of its own; none when nobody misbehaves.
    pub fn prepare(desk: &Desk, suite: &Running) -> anyhow::Result<Option<Self>> {
        let plan = &desk.plan;
        let number = match plan.beside {
            Beside::Nobody => return Ok(None),
            Beside::Stuck => 0,
            Beside::Flood => plan.numbers,
        };
        let number = suite.run.numbers.get(number).context("one number more")?;
        let others = plan.consumers..plan.everybody();
        let peers = others.map(|consumer| Peer::new(&plan.phone(consumer)));
        let sender = Sender {
            desk: desk.clone(),
            client: client(suite)?,
            number: number.phone_number_id.parse()?,
            peers: peers.collect::<Result<_, _>>()?,
            next: AtomicU64::new(0),
        };
        Ok(Some(Self {
            sender: Arc::new(sender),
        }))
    }

    /// Begins, until no more shall leave.
    pub fn go(&self) {
        for _ in 0..AT_ONCE {
            let sender = self.sender.clone();
            tokio::spawn(async move {
                while !sender.desk.stop.is_cancelled() {
                    if sender.send().await.is_err() {
                        sleep(PAUSE).await;
                    }
                }
            });
        }
    }
}

impl Sender {
    async fn send(&self) -> anyhow::Result<()> {
        let plan = &self.desk.plan;
        let header = Header {
            run: !plan.run,
            conversation: 0,
            sequence: 0,
            intended: time::now(),
        };
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let outbound = Outbound {
            phone_number_id: self.number.clone(),
            to: self.peers[turn as usize % self.peers.len()].clone(),
            category: Category::Utility,
            content: content::text(header.text(plan.size)),
            idempotency_key: IdempotencyKey::new(format!("{:x}-beside-{turn:x}", plan.run))?,
        };
        self.client.send(outbound, WITHIN).await?;
        Ok(())
    }
}
