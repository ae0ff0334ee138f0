//! Moving statuses forward.

use std::{collections::HashMap, sync::Arc};

use sealpost_database::{DatabaseError, Tx};
use sealpost_runtime::Timestamp;

use super::{Datastore, new_events::NewEvents};
use crate::{
    error::StoreError,
    ids::{MessageId, PhoneNumberId},
    progress::{Status, advance},
    record::Direction,
    tables::{
        departures::departures,
        events::{About, EventKind},
        outbound::{Kept, Moved, outbound_advance, outbound_find, outbound_raise_attempt},
    },
};

/// A status that was heard of.
#[derive(Clone, Debug)]
pub struct ProgressItem {
    /// The number.
    pub number: PhoneNumberId,
    /// The outbound message.
    pub message_id: MessageId,
    /// Where it is now.
    pub status: Status,
    /// When that happened.
    pub at: Timestamp,
    /// With `Failed`: the code that the business is shown, else 0.
    pub error_code: u32,
    /// The retry attempt under way; never lowered.
    pub attempt: u32,
}

/// What became of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It moved.
    Moved,
    /// It stood there or further on, or the message is unknown.
    Stays,
    /// The number's records are kept elsewhere.
    NumberDeparted,
}

impl Datastore {
    /// Moves a batch of statuses, each with its event; answers what became of each, in their order.
    ///
    /// # Errors
    /// When the database fails; nothing then moved, unless the outcome is unknown.
    pub async fn advance_status(
        &self,
        items: Vec<ProgressItem>,
    ) -> Result<Vec<Progress>, StoreError> {
        let items = Arc::new(items);
        self.database
            .run_tx_soon("advance_status", move |tx| {
                let items = items.clone();
                Box::pin(async move { Ok(advance_all(tx, &items).await?) })
            })
            .await
    }
}

/// How far a message of the batch is.
struct Known {
    kept: Kept,
    /// When it moved last, if any item moved it, and with which code.
    moved: Option<(Timestamp, u32)>,
    raised: bool,
}

/// Moves statuses in the order of the items; answers what became of each.
pub(super) async fn advance_all(
    tx: &mut Tx,
    items: &[ProgressItem],
) -> Result<Vec<Progress>, DatabaseError> {
    let departed = departures(tx).await?;
    let here = |item: &&ProgressItem| !departed.contains(item.number.as_str());
    let mut keys: Vec<_> = items.iter().filter(here).map(key).collect();
    keys.sort_unstable();
    keys.dedup();
    let mut known: HashMap<_, _> = outbound_find(tx, &keys)
        .await?
        .into_iter()
        .map(|(key, kept)| (key, Known::from(kept)))
        .collect();

    let mut outcomes = Vec::with_capacity(items.len());
    let mut events = NewEvents::default();
    for item in items {
        outcomes.push(if !here(&item) {
            Progress::NumberDeparted
        } else if let Some(known) = known.get_mut(&(item.number.clone(), item.message_id))
            && let Some(kind) = known.hear(item)
        {
            events.add(known.about(item), kind, item.at);
            Progress::Moved
        } else {
            Progress::Stays
        });
    }
    write(tx, &known).await?;
    events.write(tx).await?;
    Ok(outcomes)
}

fn key(item: &ProgressItem) -> (&PhoneNumberId, MessageId) {
    (&item.number, item.message_id)
}

/// Writes what has changed of the messages.
async fn write(
    tx: &mut Tx,
    known: &HashMap<(PhoneNumberId, MessageId), Known>,
) -> Result<(), DatabaseError> {
    let (mut moved, mut raised) = (Vec::new(), Vec::new());
    for ((number, message_id), known) in known {
        let attempt = known.kept.attempt;
        if let Some((at, error_code)) = known.moved {
            moved.push(Moved {
                number,
                message_id,
                status: known.kept.status,
                at,
                error_code,
                attempt,
            });
        } else if known.raised {
            raised.push((number, message_id, attempt));
        }
    }
    outbound_advance(tx, &moved).await?;
    outbound_raise_attempt(tx, &raised).await
}

impl From<Kept> for Known {
    fn from(kept: Kept) -> Self {
        Self {
            kept,
            moved: None,
            raised: false,
        }
    }
}

impl Known {
    /// Takes in what was heard; answers what the business learns of it.
    fn hear(&mut self, item: &ProgressItem) -> Option<EventKind> {
        if item.attempt > self.kept.attempt {
            self.kept.attempt = item.attempt;
            self.raised = true;
        }
        let status = advance(self.kept.status, item.status)?;
        self.kept.status = status;
        self.moved = Some((item.at, item.error_code));
        Some(EventKind::Status(status, item.error_code))
    }

    fn about<'a>(&self, item: &'a ProgressItem) -> About<'a> {
        About {
            number: &item.number,
            direction: Direction::Outbound,
            message_id: item.message_id,
            tag: self.kept.tag,
            epoch: self.kept.epoch,
        }
    }
}
