//! Brings back what the store keeps as accepted and no queue here holds: after a start, after a broken lane, after another
//! gateway's lease ran out.

use std::{sync::Arc, time::Duration};

use sealpost_proto::store::v1::{LeaseDispatchRequest, LeasedRecord};
use sealpost_runtime::Timestamp;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{Accepted, Dispatcher};
use crate::{
    backoff::{Backoff, Patience},
    meters,
    peers::{CallError, Store, called},
    readiness::Readiness,
    record::Outbound,
};

/// Records in one page: few enough that a page of the largest fits into one answer.
const PAGE: u32 = 128;

/// How long a record is this gateway's alone. A gateway that dies and does not come back under its name leaves its records for so
/// long; one that has a record in hand for longer may share it with another: both send in order, and the relay drops the second.
const LEASE: Duration = Duration::from_secs(30);

/// How often leases that ran out are looked for.
const INTERVAL: Duration = Duration::from_secs(5);

/// How long after a broken lane our own leases are looked through: what it carried may be kept a little later.
const AFTERMATH: Duration = Duration::from_secs(15);

/// The least time between two rounds, however often it is nudged.
const LEAST: Duration = Duration::from_millis(200);

/// How long a message that another gateway's conversation kept back is looked for so often.
const EAGER: Duration = Duration::from_secs(3);

/// The recovery from one store.
pub struct Recovery {
    /// The store.
    pub store: Arc<Store>,
    /// Where records go.
    pub dispatcher: Dispatcher,
    /// The gateway's name in leases.
    pub owner: String,
    /// Told once, when all that was left of the last run is back.
    pub readiness: Readiness,
}

/// How a round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    /// Nothing is left.
    Complete,
    /// There is no room for more.
    Full,
}

impl Recovery {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut patience = Patience::new(Backoff::LINK);
        let mut first = true;
        // A round that did not come to its end leaves records leased that nobody has: the next one must take them over, or
        // later ones of their conversations would overtake them.
        let mut owed = true;
        let mut aftermath = Instant::now();
        let mut eager = aftermath;
        loop {
            let takeover = owed || Instant::now() < aftermath;
            let round = self.round(takeover).await;
            owed = round != Ok(Round::Complete);
            let wait = match round {
                Ok(Round::Complete) => {
                    patience.reset();
                    if first {
                        first = false;
                        self.readiness.one_more();
                    }
                    if Instant::now() < eager {
                        LEAST
                    } else {
                        INTERVAL
                    }
                }
                Ok(Round::Full) => INTERVAL,
                Err(_) => patience.next_delay(),
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(wait) => {}
                () = self.store.handed_on.heard() => {
                    eager = Instant::now() + EAGER;
                    sleep(LEAST).await;
                }
                () = self.store.nudge.heard() => {
                    aftermath = Instant::now() + AFTERMATH;
                    sleep(LEAST).await;
                }
            }
        }
    }

    /// Takes page after page. A takeover frees all that was leased to this gateway; the pages after it lease it anew.
    async fn round(&self, mut takeover: bool) -> Result<Round, CallError> {
        loop {
            let request = LeaseDispatchRequest {
                owner: self.owner.clone(),
                limit: PAGE,
                lease_ms: u32::try_from(LEASE.as_millis()).unwrap_or(u32::MAX),
                takeover,
            };
            let _recall = self.dispatcher.recall();
            let page = called(self.store.client.clone().lease_dispatch(request)).await?;
            if page.records.is_empty() {
                return Ok(Round::Complete);
            }
            let mut taken = 0;
            for leased in page.records {
                match self.take(leased) {
                    Some(new) => taken += u64::from(new),
                    None => return Ok(Round::Full),
                }
            }
            meters::recovered(taken);
            takeover = false;
        }
    }

    /// Whether the record was new here; none when there is no room.
    fn take(&self, leased: LeasedRecord) -> Option<bool> {
        let Some(Ok(outbound)) = leased.record.map(Outbound::parse) else {
            tracing::error!(
                reason = "RECORD_MALFORMED",
                "a leased record cannot be read"
            );
            return Some(false);
        };
        if self.dispatcher.knows(&outbound.key()) {
            return Some(false);
        }
        let place = self.dispatcher.places().take()?;
        Some(self.dispatcher.take(Accepted {
            outbound,
            store: self.store.clone(),
            attempt: leased.attempt,
            accepted_at: Timestamp::from_millis(leased.appended_at_ms),
            addressed: None,
            place,
        }))
    }
}
