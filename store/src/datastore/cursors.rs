//! Subscriptions: cursors, who has them open, and which there are.
//!
//! Invariant: a cursor never goes back. Of two openings of a subscription on a number the older one is told so at its next
//! acknowledgement; that still counts, since whoever acknowledges has the events.

use std::time::Duration;

use sealpost_runtime::Timestamp;

use super::{Datastore, Erased, OPENINGS, reading::refuse_departed};
use crate::{
    error::StoreError,
    ids::{PhoneNumberId, Subscription},
    tables::{
        changes::{Change, change_next},
        cursors::{
            Subscribed, cursor_advance, cursor_find, cursor_open, cursors_forget,
            subscription_delete, subscriptions_list,
        },
    },
};

/// How long a cursor that tells nothing any more is kept after its last use.
const UNUSED: Duration = Duration::from_secs(24 * 3600);

impl Datastore {
    /// The last event that the subscription acknowledged; 0 when none was.
    ///
    /// # Errors
    /// [`StoreError::NumberDeparted`]; when the database fails.
    pub async fn cursor(
        &self,
        subscription: Subscription,
        number: PhoneNumberId,
    ) -> Result<u64, StoreError> {
        self.database
            .read("cursor", move |db| {
                Box::pin(async move {
                    refuse_departed(db, &number).await?;
                    let found = cursor_find(db, &subscription, &number).await?;
                    Ok(found.map_or(0, |(cursor, _)| cursor))
                })
            })
            .await
    }

    /// Opens the subscription on a number: its cursor, and the number of this opening, which all older ones give way to.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn open_cursor(
        &self,
        subscription: Subscription,
        number: PhoneNumberId,
        now: Timestamp,
    ) -> Result<(u64, u64), StoreError> {
        self.database
            .run_tx("open_cursor", move |tx| {
                let (subscription, number) = (subscription.clone(), number.clone());
                Box::pin(async move {
                    refuse_departed(tx, &number).await?;
                    // From the clock, so that it also grows from the store of one region to that of another.
                    let opening = change_next(tx, Change::Openings, now.as_millis()).await?;
                    cursor_open(tx, &subscription, &number, opening, now).await?;
                    let found = cursor_find(tx, &subscription, &number).await?;
                    let cursor = found.map_or(0, |(cursor, _)| cursor);
                    tx.notify(OPENINGS);
                    Ok((cursor, opening))
                })
            })
            .await
    }

    /// Moves the cursor forward, to the number's newest event at most.
    ///
    /// # Errors
    /// [`StoreError::NumberDeparted`]; [`StoreError::SubscriptionReplaced`] when there is a newer opening: the cursor has moved all the
    /// same. Or the database fails.
    pub async fn advance_cursor(
        &self,
        subscription: Subscription,
        number: PhoneNumberId,
        cursor: u64,
        opening: u64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let replaced = self
            .database
            .run_tx_soon("advance_cursor", move |tx| {
                let (subscription, number) = (subscription.clone(), number.clone());
                Box::pin(async move {
                    refuse_departed(tx, &number).await?;
                    let found = cursor_find(tx, &subscription, &number).await?;
                    cursor_advance(tx, &subscription, &number, cursor, opening, now).await?;
                    Ok::<_, StoreError>(found.is_some_and(|(_, newest)| newest > opening))
                })
            })
            .await?;
        if replaced {
            return Err(StoreError::SubscriptionReplaced);
        }
        Ok(())
    }

    /// At most `limit` subscriptions after `after`, by name and number.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_subscriptions(
        &self,
        after: Option<(Subscription, PhoneNumberId)>,
        limit: u64,
    ) -> Result<Vec<Subscribed>, StoreError> {
        self.database
            .read("list_subscriptions", move |db| {
                Box::pin(async move { Ok(subscriptions_list(db, after.as_ref(), limit).await?) })
            })
            .await
    }

    /// Deletes a subscription on one number, or on at most `limit` of its numbers. A program that still has it open brings it back.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_subscription(
        &self,
        subscription: Subscription,
        number: Option<PhoneNumberId>,
        limit: u64,
    ) -> Result<Erased, StoreError> {
        self.database
            .run_tx("delete_subscription", move |tx| {
                let (subscription, number) = (subscription.clone(), number.clone());
                Box::pin(async move {
                    let deleted =
                        subscription_delete(tx, &subscription, number.as_ref(), limit).await?;
                    let mut erased = Erased::default();
                    erased.add("cursors", deleted);
                    erased.more = deleted == limit;
                    Ok(erased)
                })
            })
            .await
    }

    /// Deletes at most `limit` cursors that were not used for a day and behind which no event is left.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_cursors(&self, limit: u64, now: Timestamp) -> Result<u64, StoreError> {
        let unused_since = now - UNUSED;
        self.database
            .run_tx("forget_cursors", move |tx| {
                Box::pin(async move { Ok(cursors_forget(tx, unused_since, limit).await?) })
            })
            .await
    }
}
