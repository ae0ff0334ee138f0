//! Appending inbound records: the first of a (number, tag, message id) stays, and every ciphertext is remembered.
//!
//! As with outbound ones, a batch goes at once, but for what needs a closer look.

use std::{collections::HashSet, sync::Arc};

use sealpost_database::{DatabaseError, Tx};
use sealpost_runtime::Timestamp;

use super::{Datastore, gate::Gate, new_events::NewEvents};
use crate::{
    error::StoreError,
    ids::CiphertextDigest,
    record::Record,
    tables::{
        departures::departures,
        envelopes::{envelopes_find, envelopes_insert},
        events::EventKind,
        inbound::{InboundKey, inbound_delete, inbound_find, inbound_insert},
    },
};

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
                Box::pin(async move { Ok(append_all(tx, &items, now).await?) })
            })
            .await
    }
}

async fn append_all(
    tx: &mut Tx,
    items: &[InboundItem],
    now: Timestamp,
) -> Result<Vec<InboundOutcome>, DatabaseError> {
    let mut gate = Gate::new(now);
    let mut events = NewEvents::default();
    let departed = departures(tx).await?;
    let here = |item: &&InboundItem| !departed.contains(item.record.number.as_str());
    let envelopes = items.iter().filter(here);
    let envelopes: Vec<_> = envelopes
        .map(|item| (&item.record.number, item.ciphertext))
        .collect();
    let envelopes = envelopes_find(tx, &envelopes).await?;
    let records = items.iter().filter(here);
    let records: Vec<_> = records.map(|item| &item.record).collect();
    let records = inbound_find(tx, &records).await?;

    let mut outcomes = vec![InboundOutcome::NumberDeparted; items.len()];
    let (mut met_envelopes, mut met_records) = (HashSet::new(), HashSet::new());
    let mut fresh = Vec::with_capacity(items.len());
    for (place, item) in items.iter().enumerate() {
        if !here(&item) {
            continue;
        }
        let record = &item.record;
        let envelope = (record.number.clone(), item.ciphertext);
        if let Some(first) = envelopes.get(&envelope) {
            outcomes[place] = InboundOutcome::Appended(*first);
            continue;
        }
        // Both are noted, whichever tells.
        let new_envelope = met_envelopes.insert(envelope);
        let new_record = met_records.insert(key(record)) && !records.contains_key(&key(record));
        if !(new_envelope && new_record) {
            append_fresh(tx, std::mem::take(&mut fresh), now).await?;
            outcomes[place] = append_one(tx, &mut gate, &mut events, item, now).await?;
        } else if gate.takes_inbound(tx, record.epoch).await? {
            gate.admit(tx, record.epoch).await?;
            add_events(&mut events, item, now);
            fresh.push(item);
            outcomes[place] = InboundOutcome::Appended(now);
        } else {
            outcomes[place] = InboundOutcome::EpochClosed;
        }
    }
    append_fresh(tx, fresh, now).await?;
    events.write(tx).await?;
    Ok(outcomes)
}

fn key(record: &Record) -> InboundKey {
    (record.number.clone(), record.message_id, record.tag)
}

fn add_events<'a>(events: &mut NewEvents<'a>, item: &'a InboundItem, now: Timestamp) {
    if item.identity_changed {
        events.add((&item.record).into(), EventKind::IdentityChanged, now);
    }
    events.add((&item.record).into(), EventKind::Message, now);
}

/// Keeps items of which none is kept, and no two are of one envelope or message.
async fn append_fresh(
    tx: &mut Tx,
    fresh: Vec<&InboundItem>,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    let envelopes: Vec<_> = fresh
        .iter()
        .map(|item| (&item.record, &item.ciphertext))
        .collect();
    envelopes_insert(tx, &envelopes, now).await?;
    let records: Vec<_> = fresh.iter().map(|item| &item.record).collect();
    inbound_insert(tx, &records, now).await
}

async fn append_one<'a>(
    tx: &mut Tx,
    gate: &mut Gate,
    events: &mut NewEvents<'a>,
    item: &'a InboundItem,
    now: Timestamp,
) -> Result<InboundOutcome, DatabaseError> {
    let record = &item.record;
    let envelopes = envelopes_find(tx, &[(&record.number, item.ciphertext)]).await?;
    if let Some(first) = envelopes.into_values().next() {
        return Ok(InboundOutcome::Appended(first));
    }
    if !gate.takes_inbound(tx, record.epoch).await? {
        return Ok(InboundOutcome::EpochClosed);
    }
    gate.admit(tx, record.epoch).await?;
    envelopes_insert(tx, &[(record, &item.ciphertext)], now).await?;

    let kept = inbound_find(tx, &[record]).await?.into_values().next();
    if let Some((epoch, first)) = kept {
        if !gate.is_over(tx, epoch).await? {
            if item.identity_changed {
                events.add(record.into(), EventKind::IdentityChanged, now);
            }
            return Ok(InboundOutcome::Appended(first));
        }
        let (number, id, tag) = (&record.number, record.message_id, record.tag);
        inbound_delete(tx, number, id, tag).await?;
    }
    inbound_insert(tx, &[record], now).await?;
    add_events(events, item, now);
    Ok(InboundOutcome::Appended(now))
}
