//! Appending records.
//!
//! Outbound: the first record of a (number, message id) stays until its epoch is over; its digest tells a retry from a
//! conflict. Inbound: the first record of a (number, tag, message id) stays, and every ciphertext is remembered.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use sealpost_database::{DatabaseError, Tx};
use sealpost_runtime::Timestamp;

use super::{Datastore, HEADS, gate::Gate};
use crate::{
    error::StoreError,
    ids::{CiphertextDigest, ContentDigest, Owner, PhoneNumberId},
    progress::Status,
    record::{Direction, Record},
    tables::{
        changes::{Change, change_next},
        departures::departures,
        envelopes::{envelope_find, envelope_insert},
        event_heads::{event_head_mark, event_head_next},
        events::{About, EventKind, event_insert, events_delete_record},
        inbound::{inbound_delete, inbound_find, inbound_insert},
        outbound::{outbound_delete, outbound_find, outbound_insert},
        outbound_leases::conversation_elsewhere,
    },
};

/// How long an appended record is its gateway's, which has it in hand already: so long does one wait whose gateway died.
pub const OUTBOUND_LEASE: Duration = Duration::from_secs(30);

/// An outbound record to keep.
#[derive(Clone, Debug)]
pub struct OutboundItem {
    /// As the vault made it.
    pub record: Record,
    /// The vault's digest of what was said to whom.
    pub digest: ContentDigest,
    /// The gateway that will dispatch it.
    pub lease_owner: Owner,
}

/// What became of an outbound record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutboundOutcome {
    /// Kept at this time, and whose it is to dispatch.
    Appended(Timestamp, Hands),
    /// Kept before with the same digest, and this far since.
    Repeated(Timestamp, Status, Hands),
    /// Kept before with another digest.
    Conflict,
    /// The epoch takes no new records.
    EpochClosed,
    /// The number's records are kept elsewhere.
    NumberDeparted,
}

/// Who dispatches a record that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hands {
    /// Who appended it.
    Appender,
    /// Not yet known: another owner has records of its conversation before it.
    Other,
}

/// An inbound record to keep.
#[derive(Clone, Debug)]
pub struct InboundItem {
    /// As the vault made it.
    pub record: Record,
    /// The envelope it came in.
    pub ciphertext: CiphertextDigest,
    /// The consumer's identity key is another than before.
    pub identity_changed: bool,
}

/// What became of an inbound record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InboundOutcome {
    /// Kept, first at this time.
    Appended(Timestamp),
    /// The epoch's key is gone.
    EpochClosed,
    /// The number's records are kept elsewhere.
    NumberDeparted,
}

impl Datastore {
    /// Keeps a batch of outbound records; outcomes in their order.
    ///
    /// # Errors
    /// When the database fails; nothing was then kept, unless the outcome is unknown.
    pub async fn append_outbound(
        &self,
        items: Vec<OutboundItem>,
        now: Timestamp,
    ) -> Result<Vec<OutboundOutcome>, StoreError> {
        let items = Arc::new(items);
        self.database
            .run_tx("append_outbound", move |tx| {
                let items = items.clone();
                Box::pin(async move {
                    let mut gate = Gate::new(now);
                    let departed = departures(tx).await?;
                    let mut outcomes = Vec::with_capacity(items.len());
                    for item in items.iter() {
                        if departed.contains(item.record.number.as_str()) {
                            outcomes.push(OutboundOutcome::NumberDeparted);
                            continue;
                        }
                        outcomes.push(append_one_outbound(tx, &mut gate, item, now).await?);
                    }
                    Ok(outcomes)
                })
            })
            .await
    }

    /// Keeps a batch of inbound records and their events; outcomes in their order.
    ///
    /// # Errors
    /// When the database fails; nothing was then kept, unless the outcome is unknown.
    pub async fn append_inbound(
        &self,
        items: Vec<InboundItem>,
        now: Timestamp,
    ) -> Result<Vec<InboundOutcome>, StoreError> {
        let items = Arc::new(items);
        self.database
            .run_tx("append_inbound", move |tx| {
                let items = items.clone();
                Box::pin(async move {
                    let mut gate = Gate::new(now);
                    let mut heads = MovedHeads::default();
                    let departed = departures(tx).await?;
                    let mut outcomes = Vec::with_capacity(items.len());
                    for item in items.iter() {
                        if departed.contains(item.record.number.as_str()) {
                            outcomes.push(InboundOutcome::NumberDeparted);
                            continue;
                        }
                        let outcome =
                            append_one_inbound(tx, &mut gate, &mut heads, item, now).await?;
                        outcomes.push(outcome);
                    }
                    heads.note(tx).await?;
                    Ok(outcomes)
                })
            })
            .await
    }
}

async fn append_one_outbound(
    tx: &mut Tx,
    gate: &mut Gate,
    item: &OutboundItem,
    now: Timestamp,
) -> Result<OutboundOutcome, DatabaseError> {
    let record = &item.record;
    let kept = outbound_find(tx, &record.number, record.message_id).await?;
    if let Some(kept) = &kept
        && !gate.is_over(tx, kept.epoch).await?
    {
        if kept.digest != item.digest {
            return Ok(OutboundOutcome::Conflict);
        }
        let hands = hands(tx, item).await?;
        return Ok(OutboundOutcome::Repeated(
            kept.appended_at,
            kept.status,
            hands,
        ));
    }
    if !gate.takes_outbound(tx, record.epoch).await? {
        return Ok(OutboundOutcome::EpochClosed);
    }
    if let Some(kept) = kept {
        // Its epoch is over and nobody has deleted it yet: it is as good as gone.
        let (number, id) = (&record.number, record.message_id);
        events_delete_record(tx, number, kept.tag, id, Direction::Outbound).await?;
        outbound_delete(tx, number, id).await?;
    }
    gate.admit(tx, record.epoch).await?;
    let hands = hands(tx, item).await?;
    let (owner, lease_until) = match hands {
        Hands::Appender => (item.lease_owner.as_str(), now + OUTBOUND_LEASE),
        Hands::Other => ("", Timestamp::from_millis(0)),
    };
    outbound_insert(tx, record, item.digest, owner, lease_until, now).await?;
    Ok(OutboundOutcome::Appended(now, hands))
}

/// A conversation's records leave through one owner at a time, or a later one could overtake.
async fn hands(tx: &mut Tx, item: &OutboundItem) -> Result<Hands, DatabaseError> {
    let elsewhere = conversation_elsewhere(tx, &item.record, &item.lease_owner).await?;
    Ok(if elsewhere {
        Hands::Other
    } else {
        Hands::Appender
    })
}

async fn append_one_inbound(
    tx: &mut Tx,
    gate: &mut Gate,
    heads: &mut MovedHeads,
    item: &InboundItem,
    now: Timestamp,
) -> Result<InboundOutcome, DatabaseError> {
    let record = &item.record;
    if let Some(first) = envelope_find(tx, &record.number, item.ciphertext).await? {
        return Ok(InboundOutcome::Appended(first));
    }
    if !gate.takes_inbound(tx, record.epoch).await? {
        return Ok(InboundOutcome::EpochClosed);
    }
    gate.admit(tx, record.epoch).await?;
    envelope_insert(tx, record, item.ciphertext, now).await?;
    if item.identity_changed {
        record_event(tx, heads, record.into(), EventKind::IdentityChanged, now).await?;
    }

    if let Some((epoch, first)) = inbound_find(tx, record).await? {
        if !gate.is_over(tx, epoch).await? {
            return Ok(InboundOutcome::Appended(first));
        }
        let (number, id, tag) = (&record.number, record.message_id, record.tag);
        inbound_delete(tx, number, id, tag).await?;
    }
    inbound_insert(tx, record, now).await?;
    record_event(tx, heads, record.into(), EventKind::Message, now).await?;
    Ok(InboundOutcome::Appended(now))
}

/// The numbers whose heads one transaction moved.
#[derive(Default)]
pub(super) struct MovedHeads(BTreeSet<PhoneNumberId>);

impl MovedHeads {
    pub(super) fn add(&mut self, number: PhoneNumberId) {
        self.0.insert(number);
    }

    /// Notes the transaction's count at each, the last thing before its commit, and tells every replica.
    pub(super) async fn note(self, tx: &mut Tx) -> Result<(), DatabaseError> {
        let Self(numbers) = self;
        if numbers.is_empty() {
            return Ok(());
        }
        let changed = change_next(tx, Change::EventHeads, 0).await?;
        for number in &numbers {
            event_head_mark(tx, number, changed).await?;
        }
        tx.notify(HEADS);
        Ok(())
    }
}

/// Adds an event under the number's next cursor and notes the new head.
pub(super) async fn record_event(
    tx: &mut Tx,
    heads: &mut MovedHeads,
    about: About<'_>,
    kind: EventKind,
    at: Timestamp,
) -> Result<(), DatabaseError> {
    let cursor = event_head_next(tx, about.number).await?;
    event_insert(tx, cursor, about, kind, at).await?;
    heads.add(about.number.clone());
    Ok(())
}
