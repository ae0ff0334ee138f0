//! Reading records, envelopes and events.

use sealpost_database::Connection;
use sealpost_runtime::Timestamp;

use super::Datastore;
use crate::{
    announce::Heads,
    epoch::Epoch,
    error::StoreError,
    ids::{CiphertextDigest, MessageId, PhoneNumberId},
    record::Record,
    tables::{
        changes::{Change, change_last},
        cursors::{Opening, openings_after},
        departures::has_departed,
        envelopes::envelopes_find,
        epochs::epoch_find,
        event_heads::{Changed, event_heads_changed, event_heads_list},
        events::{Event, events_list},
        inbound::inbound_load,
        outbound::{OutboundRecord, outbound_load},
    },
};

impl Datastore {
    /// An outbound record and how far it is.
    ///
    /// # Errors
    /// When it is not there, its epoch is over, its number has departed, or the database fails.
    pub async fn outbound_record(
        &self,
        number: PhoneNumberId,
        message_id: MessageId,
        now: Timestamp,
    ) -> Result<OutboundRecord, StoreError> {
        self.database
            .read("outbound_record", move |db| {
                Box::pin(async move {
                    refuse_departed(db, &number).await?;
                    let found = outbound_load(db, &number, message_id).await?;
                    let found = found.ok_or(StoreError::RecordUnknown)?;
                    refuse_over(db, found.record.epoch, now).await?;
                    Ok(found)
                })
            })
            .await
    }

    /// An inbound record; of several consumers' that share the message id, the first that was kept.
    ///
    /// # Errors
    /// When it is not there, its epoch is over, its number has departed, or the database fails.
    pub async fn inbound_record(
        &self,
        number: PhoneNumberId,
        message_id: MessageId,
        now: Timestamp,
    ) -> Result<Record, StoreError> {
        self.database
            .read("inbound_record", move |db| {
                Box::pin(async move {
                    refuse_departed(db, &number).await?;
                    let found = inbound_load(db, &number, message_id).await?;
                    let found = found.ok_or(StoreError::RecordUnknown)?;
                    refuse_over(db, found.epoch, now).await?;
                    Ok(found)
                })
            })
            .await
    }

    /// Whether a record was made of that envelope and kept.
    ///
    /// # Errors
    /// When the number has departed, or the database fails.
    pub async fn has_envelope(
        &self,
        number: PhoneNumberId,
        ciphertext: CiphertextDigest,
    ) -> Result<bool, StoreError> {
        self.database
            .read("has_envelope", move |db| {
                Box::pin(async move {
                    refuse_departed(db, &number).await?;
                    let kept = envelopes_find(db, &[(&number, ciphertext)]).await?;
                    Ok(!kept.is_empty())
                })
            })
            .await
    }

    /// A number's events after a cursor, at most `limit` and no more than fit into an answer.
    ///
    /// # Errors
    /// When the number has departed, or the database fails.
    pub async fn list_events(
        &self,
        number: PhoneNumberId,
        after: u64,
        limit: u64,
        with_records: bool,
        now: Timestamp,
    ) -> Result<Vec<Event>, StoreError> {
        self.database
            .read("list_events", move |db| {
                Box::pin(async move {
                    refuse_departed(db, &number).await?;
                    Ok(events_list(db, &number, after, limit, with_records, now).await?)
                })
            })
            .await
    }

    /// The newest cursors of at most `limit` numbers after `after`, by number.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn event_heads(
        &self,
        after: Option<PhoneNumberId>,
        limit: u64,
    ) -> Result<Heads, StoreError> {
        self.database
            .read("event_heads", move |db| {
                Box::pin(async move {
                    let heads = event_heads_list(db, after.as_ref(), limit).await?;
                    Ok(heads.into_iter().collect())
                })
            })
            .await
    }
}

impl Datastore {
    /// Heads that any replica moved after `after`, in order.
    pub(crate) async fn heads_after(
        &self,
        after: u64,
        limit: u64,
    ) -> Result<Vec<Changed>, StoreError> {
        self.database
            .read("heads_after", move |db| {
                Box::pin(async move { Ok(event_heads_changed(db, after, limit).await?) })
            })
            .await
    }

    /// Openings at any replica after `after`, in order.
    pub(crate) async fn openings_after(
        &self,
        after: u64,
        limit: u64,
    ) -> Result<Vec<Opening>, StoreError> {
        self.database
            .read("openings_after", move |db| {
                Box::pin(async move { Ok(openings_after(db, after, limit).await?) })
            })
            .await
    }

    /// How far heads and openings were counted.
    pub(crate) async fn last_changes(&self) -> Result<(u64, u64), StoreError> {
        self.database
            .read("last_changes", move |db| {
                Box::pin(async move {
                    let heads = change_last(db, Change::EventHeads).await?;
                    Ok((heads, change_last(db, Change::Openings).await?))
                })
            })
            .await
    }
}

/// While a number's rows are deleted here, what is left of them is not the whole.
pub(super) async fn refuse_departed(
    db: &mut Connection,
    number: &PhoneNumberId,
) -> Result<(), StoreError> {
    if has_departed(db, number).await? {
        return Err(StoreError::NumberDeparted);
    }
    Ok(())
}

async fn refuse_over(db: &mut Connection, epoch: Epoch, now: Timestamp) -> Result<(), StoreError> {
    if epoch.is_over(epoch_find(db, epoch).await?, now) {
        return Err(StoreError::EpochExpired);
    }
    Ok(())
}
