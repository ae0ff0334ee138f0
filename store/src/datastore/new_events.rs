//! The events that a transaction adds.
//!
//! Invariant: a number's cursors have no gaps, and replicas are told of a head in the transaction that moves it.

use std::collections::BTreeMap;

use sealpost_database::{DatabaseError, Tx};
use sealpost_runtime::Timestamp;

use super::HEADS;
use crate::{
    ids::PhoneNumberId,
    tables::{
        changes::{Change, change_next},
        event_heads::{event_head_mark, event_heads_next},
        events::{About, EventKind, NewEvent, events_insert},
    },
};

/// Events in the order in which the business learns them.
#[derive(Default)]
pub(super) struct NewEvents<'a>(Vec<NewEvent<'a>>);

impl<'a> NewEvents<'a> {
    pub(super) fn add(&mut self, about: About<'a>, kind: EventKind, happened_at: Timestamp) {
        self.0.push(NewEvent {
            about,
            kind,
            happened_at,
        });
    }

    /// Gives each the next cursor of its number, keeps them, and tells every replica.
    pub(super) async fn write(self, tx: &mut Tx) -> Result<(), DatabaseError> {
        let Self(events) = self;
        if events.is_empty() {
            return Ok(());
        }
        let mut counts: BTreeMap<&PhoneNumberId, u64> = BTreeMap::new();
        for event in &events {
            *counts.entry(event.about.number).or_default() += 1;
        }
        let changed = change_next(tx, Change::EventHeads, 0).await?;
        let mut next = event_heads_next(tx, &counts, changed).await?;
        let numbered = events.iter().map(|event| {
            let next = next.entry(event.about.number.clone()).or_default();
            let cursor = *next;
            *next += 1;
            (cursor, event)
        });
        let numbered: Vec<_> = numbered.collect();
        events_insert(tx, &numbered).await?;
        tx.notify(HEADS);
        Ok(())
    }
}

/// Tells every replica that a head moved otherwise.
pub(super) async fn head_moved(tx: &mut Tx, number: &PhoneNumberId) -> Result<(), DatabaseError> {
    let changed = change_next(tx, Change::EventHeads, 0).await?;
    event_head_mark(tx, number, changed).await?;
    tx.notify(HEADS);
    Ok(())
}
