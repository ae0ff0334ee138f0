//! Appending outbound records: the first of a (number, message id) stays until its epoch is over; its digest tells a retry from a
//! conflict.
//!
//! A batch is searched for what is kept in one statement and kept in one. What needs a closer look (a message that is kept already,
//! or that comes twice) goes by itself, in its turn.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use sealpost_database::{DatabaseError, Tx};
use sealpost_runtime::Timestamp;

use super::{Datastore, gate::Gate};
use crate::{
    error::StoreError,
    ids::{ContentDigest, MessageId, Owner, PhoneNumberId, Tag},
    progress::Status,
    record::{Direction, Record},
    tables::{
        departures::departures,
        events::{About, events_delete_record},
        outbound::{NewOutbound, outbound_delete, outbound_find, outbound_insert},
        outbound_leases::conversations_elsewhere,
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
                Box::pin(async move { Ok(append_all(tx, &items, now).await?) })
            })
            .await
    }
}

async fn append_all(
    tx: &mut Tx,
    items: &[OutboundItem],
    now: Timestamp,
) -> Result<Vec<OutboundOutcome>, DatabaseError> {
    let mut gate = Gate::new(now);
    let departed = departures(tx).await?;
    let here = |item: &&OutboundItem| !departed.contains(item.record.number.as_str());
    let keys: Vec<_> = items.iter().filter(here).map(key).collect();
    let kept = outbound_find(tx, &keys).await?;

    let mut outcomes = vec![OutboundOutcome::NumberDeparted; items.len()];
    let mut met = HashSet::with_capacity(items.len());
    let mut fresh = Vec::with_capacity(items.len());
    for (place, item) in items.iter().enumerate() {
        if !here(&item) {
            continue;
        }
        let (number, id) = key(item);
        if !met.insert((number, id)) || kept.contains_key(&(number.clone(), id)) {
            append_fresh(tx, std::mem::take(&mut fresh), &mut outcomes, now).await?;
            outcomes[place] = append_one(tx, &mut gate, item, now).await?;
        } else if gate.takes_outbound(tx, item.record.epoch).await? {
            gate.admit(tx, item.record.epoch).await?;
            fresh.push((place, item));
        } else {
            outcomes[place] = OutboundOutcome::EpochClosed;
        }
    }
    append_fresh(tx, fresh, &mut outcomes, now).await?;
    Ok(outcomes)
}

fn key(item: &OutboundItem) -> (&PhoneNumberId, MessageId) {
    (&item.record.number, item.record.message_id)
}

/// Keeps items of which none is kept, and no two are of one message; each is told at its place.
async fn append_fresh(
    tx: &mut Tx,
    fresh: Vec<(usize, &OutboundItem)>,
    outcomes: &mut [OutboundOutcome],
    now: Timestamp,
) -> Result<(), DatabaseError> {
    if fresh.is_empty() {
        return Ok(());
    }
    let conversations: Vec<_> = fresh
        .iter()
        .map(|(_, item)| (&item.record.number, &item.record.tag, &item.lease_owner))
        .collect();
    let elsewhere = conversations_elsewhere(tx, &conversations).await?;

    // Who has the last record of a conversation before, of these: nobody's stay nobody's.
    let mut last: HashMap<(&PhoneNumberId, Tag), Option<&Owner>> = HashMap::new();
    let mut records = Vec::with_capacity(fresh.len());
    for (i, (place, item)) in fresh.into_iter().enumerate() {
        let conversation = (&item.record.number, item.record.tag);
        let before = last.get(&conversation);
        let alone = before.is_none_or(|owner| *owner == Some(&item.lease_owner));
        let hands = if alone && !elsewhere.contains(&i) {
            Hands::Appender
        } else {
            Hands::Other
        };
        let record = leased(item, hands, now);
        let owner = (hands == Hands::Appender).then_some(&item.lease_owner);
        last.insert(conversation, owner);
        records.push(record);
        outcomes[place] = OutboundOutcome::Appended(now, hands);
    }
    outbound_insert(tx, &records, now).await
}

fn leased(item: &OutboundItem, hands: Hands, now: Timestamp) -> NewOutbound<'_> {
    let (owner, lease_until) = match hands {
        Hands::Appender => (item.lease_owner.as_str(), now + OUTBOUND_LEASE),
        Hands::Other => ("", Timestamp::from_millis(0)),
    };
    NewOutbound {
        record: &item.record,
        digest: &item.digest,
        owner,
        lease_until,
    }
}

async fn append_one(
    tx: &mut Tx,
    gate: &mut Gate,
    item: &OutboundItem,
    now: Timestamp,
) -> Result<OutboundOutcome, DatabaseError> {
    let (record, key) = (&item.record, key(item));
    let kept = outbound_find(tx, &[key]).await?.into_values().next();
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
        let (number, message_id) = key;
        let about = About {
            number,
            direction: Direction::Outbound,
            message_id,
            tag: kept.tag,
            epoch: kept.epoch,
        };
        events_delete_record(tx, about).await?;
        outbound_delete(tx, number, message_id).await?;
    }
    gate.admit(tx, record.epoch).await?;
    let hands = hands(tx, item).await?;
    outbound_insert(tx, &[leased(item, hands, now)], now).await?;
    Ok(OutboundOutcome::Appended(now, hands))
}

/// A conversation's records leave through one owner at a time, or a later one could overtake.
async fn hands(tx: &mut Tx, item: &OutboundItem) -> Result<Hands, DatabaseError> {
    let conversation = (&item.record.number, &item.record.tag, &item.lease_owner);
    let elsewhere = conversations_elsewhere(tx, &[conversation]).await?;
    Ok(if elsewhere.is_empty() {
        Hands::Appender
    } else {
        Hands::Other
    })
}
