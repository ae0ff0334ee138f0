//! Moving statuses forward.

use std::sync::Arc;

use sealpost_database::{DatabaseError, Tx};
use sealpost_runtime::Timestamp;

use super::{
    Datastore,
    append::{MovedHeads, record_event},
};
use crate::{
    error::StoreError,
    ids::{MessageId, PhoneNumberId},
    progress::{Status, advance},
    record::Direction,
    tables::{
        departures::departures,
        events::{About, EventKind},
        outbound::{outbound_advance, outbound_find, outbound_raise_attempt},
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
            .run_tx("advance_status", move |tx| {
                let items = items.clone();
                Box::pin(async move {
                    let mut heads = MovedHeads::default();
                    let departed = departures(tx).await?;
                    let mut moved = Vec::with_capacity(items.len());
                    for item in items.iter() {
                        moved.push(if departed.contains(item.number.as_str()) {
                            Progress::NumberDeparted
                        } else if advance_one(tx, &mut heads, item).await? {
                            Progress::Moved
                        } else {
                            Progress::Stays
                        });
                    }
                    heads.note(tx).await?;
                    Ok(moved)
                })
            })
            .await
    }
}

pub(super) async fn advance_one(
    tx: &mut Tx,
    heads: &mut MovedHeads,
    item: &ProgressItem,
) -> Result<bool, DatabaseError> {
    let (number, message_id) = (&item.number, item.message_id);
    let Some(kept) = outbound_find(tx, number, message_id).await? else {
        return Ok(false);
    };
    if item.attempt > kept.attempt {
        outbound_raise_attempt(tx, number, message_id, item.attempt).await?;
    }
    let Some(status) = advance(kept.status, item.status) else {
        return Ok(false);
    };
    outbound_advance(tx, number, message_id, status, item.at, item.error_code).await?;
    let about = About {
        number,
        direction: Direction::Outbound,
        message_id,
        tag: kept.tag,
        epoch: kept.epoch,
    };
    let kind = EventKind::Status(status, item.error_code);
    record_event(tx, heads, about, kind, item.at).await?;
    Ok(true)
}
