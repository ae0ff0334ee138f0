//! Calls of many devices, done together: one transaction for all that came while the last one was committed.
//!
//! Owns which calls share a transaction and how each learns its own outcome. Invariants: a call that is refused fails alone, and
//! what came in goes into a collector's hands only once it is committed.

use std::{future::Future, sync::Arc};

use sealpost_proto::relay::v1::{ReceiptOutcome, SubmitMessageOutcome};
use sealpost_runtime::{Clock, batch::Gather};

use crate::{
    Datastore, RelayError,
    datastore::{Called, Handing, Offered, Said},
    hub::Hub,
};

/// Calls in one transaction.
const MOST: usize = 128;

type Outcome<T> = Result<Vec<T>, RelayError>;

/// The two queues before the writer.
pub(crate) struct Together {
    said: Gather<Said, Outcome<ReceiptOutcome>>,
    handed: Gather<Handing, Outcome<SubmitMessageOutcome>>,
}

impl Together {
    /// `depth` is how many items may wait for one number.
    pub(crate) fn start(datastore: &Datastore, hub: &Arc<Hub>, clock: &Clock, depth: u64) -> Self {
        let now = {
            let clock = clock.clone();
            move || i64::try_from(clock.now().as_millis()).unwrap_or(i64::MAX)
        };
        let (hears, hub_hears, now_hears) = (datastore.clone(), hub.clone(), now.clone());
        let said = Gather::start(MOST, move |calls: Vec<Said>| {
            let (datastore, hub, now) = (hears.clone(), hub_hears.clone(), now_hears());
            async move {
                let (count, items) = (calls.len(), calls.iter().map(Said::items).sum());
                let work = |offered| datastore.hear_devices(calls, offered, depth, now);
                committed(&hub, count, items, work).await
            }
        });
        let (takes, hub_takes) = (datastore.clone(), hub.clone());
        let handed = Gather::start(MOST, move |calls: Vec<Handing>| {
            let (datastore, hub, now) = (takes.clone(), hub_takes.clone(), now());
            async move {
                let (count, items) = (calls.len(), calls.iter().map(|c| c.messages.len()).sum());
                let work = |offered| datastore.hand_over(calls, offered, depth, now);
                committed(&hub, count, items, work).await
            }
        });
        Self { said, handed }
    }

    pub(crate) async fn hear(&self, said: Said) -> Outcome<ReceiptOutcome> {
        let outcome = self.said.call(said).await;
        outcome.unwrap_or(Err(RelayError::Lost))
    }

    pub(crate) async fn hand_over(&self, handing: Handing) -> Outcome<SubmitMessageOutcome> {
        let outcome = self.handed.call(handing).await;
        outcome.unwrap_or(Err(RelayError::Lost))
    }
}

/// Does the work of `calls` with room for `items` at a collector, and hands on what was committed into its hands.
async fn committed<T, F>(
    hub: &Hub,
    calls: usize,
    items: usize,
    work: impl FnOnce(Option<Offered>) -> F,
) -> Vec<Result<T, RelayError>>
where
    F: Future<Output = Result<Called<T>, RelayError>>,
{
    let offer = hub.offer(items);
    match work(offer.as_ref().map(|offer| offer.offered.clone())).await {
        Ok((outcomes, given)) => {
            if let Some(offer) = offer {
                offer.hand(given);
            }
            outcomes
        }
        Err(error) => {
            if let (Some(offer), true) = (offer, error.is_unknown_outcome()) {
                offer.lose();
            }
            let error = Arc::new(error);
            let each = || Err(RelayError::Together(error.clone()));
            std::iter::repeat_with(each).take(calls).collect()
        }
    }
}
