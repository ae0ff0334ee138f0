//! Subscriptions' cursors.

use sealpost_runtime::Timestamp;

use super::{Datastore, reading::refuse_departed};
use crate::{
    error::StoreError,
    ids::{PhoneNumberId, Subscription},
    tables::cursors::{cursor_advance, cursor_find},
};

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
                    Ok(cursor_find(db, &subscription, &number).await?)
                })
            })
            .await
    }

    /// Moves the cursor forward, to the number's newest event at most.
    ///
    /// # Errors
    /// [`StoreError::NumberDeparted`]; when the database fails.
    pub async fn advance_cursor(
        &self,
        subscription: Subscription,
        number: PhoneNumberId,
        cursor: u64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.database
            .run_tx("advance_cursor", move |tx| {
                let (subscription, number) = (subscription.clone(), number.clone());
                Box::pin(async move {
                    refuse_departed(tx, &number).await?;
                    Ok(cursor_advance(tx, &subscription, &number, cursor, now).await?)
                })
            })
            .await
    }
}
