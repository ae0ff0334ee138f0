//! Who writes no more: subject, sessions and identity pin end some time after the last message, as if they had never been.
//!
//! Invariant: a subject ends only when no record of it can be alive: thirty days, the longest class that its number can have had,
//! after the last message, and the number's class on top. It is no erasure that somebody asked for, so it leaves no receipt and no entry
//! in the journal: a backup that brings such a subject back brings nothing that opens, and it lapses again. Whoever writes after
//! all is a stranger.

use std::time::Duration;

use sealpost_runtime::Timestamp;

use super::{FORGOTTEN, Vault};
use crate::{
    VaultError,
    custody::Now,
    datastore,
    epoch::{MAX_RETENTION, MIN_RETENTION},
};

/// How long beyond the class.
const GRACE: Duration = Duration::from_secs(MAX_RETENTION as u64);
/// How often somebody idle is looked for.
const EVERY: Duration = Duration::from_secs(3_600);
const DAY: u64 = 86_400;

/// The day of a message, counted from 1970.
pub(super) fn day(time: Timestamp) -> u64 {
    time.as_secs() / DAY
}

/// Whoever was last heard of before this day has been idle for too long, in a class of so many seconds.
fn lapsed_before(now: Timestamp, class: u32) -> u64 {
    day(now - GRACE - Duration::from_secs(class.into()))
}

impl Vault {
    /// Ends whoever has been idle for too long, when the last look was a while ago.
    ///
    /// # Errors
    /// When the database fails; the next round goes on.
    pub(super) async fn lapse_idle(&self, now: Now) -> Result<(), VaultError> {
        let now = now.timestamp();
        let mut looked = self.0.looked_for_idle.lock().await;
        if looked.is_some_and(|at| now.since(at) < EVERY) {
            return Ok(());
        }
        self.date_subjects(now).await?;
        let mut lapsed = 0;
        let mut after = String::new();
        loop {
            let numbers = self.numbers_idle(after, now).await?;
            let Some(last) = numbers.last() else { break };
            after = last.clone();
            for number in numbers {
                lapsed += self.lapse_of(number, now).await?;
            }
        }
        *looked = Some(now);
        if lapsed > 0 {
            // The log still has the rows' old pages. A reader in the way delays that to a later checkpoint.
            let _ = self.0.database.checkpoint().await?;
            metrics::counter!("sealpost_vault_subjects_lapsed_total").increment(lapsed);
            tracing::info!(count = lapsed, "consumers who were long idle are forgotten");
        }
        Ok(())
    }

    /// Subjects from before their day was noted get all their time.
    async fn date_subjects(&self, now: Timestamp) -> Result<(), VaultError> {
        let date = || {
            self.0.database.run_tx("subjects_date", move |tx| {
                Box::pin(async move { datastore::subjects_date(tx, day(now)).await })
            })
        };
        while date().await.map_err(VaultError::Database)? {}
        Ok(())
    }

    async fn numbers_idle(&self, after: String, now: Timestamp) -> Result<Vec<String>, VaultError> {
        let latest = lapsed_before(now, MIN_RETENTION);
        self.0
            .database
            .read("numbers_idle", move |db| {
                Box::pin(async move { datastore::numbers_idle(db, &after, latest).await })
            })
            .await
            .map_err(VaultError::Database)
    }

    /// By the number's class; answers how many.
    async fn lapse_of(&self, id: String, now: Timestamp) -> Result<u64, VaultError> {
        let class = match self.number(&id).await {
            Ok(number) => number.facts.retention.seconds(),
            // Removed meanwhile, or damaged: then nothing tells its class.
            Err(VaultError::NumberUnknown | VaultError::Number(_)) => return Ok(0),
            Err(error) => return Err(error),
        };
        let before = lapsed_before(now, class);
        let mut lapsed = 0;
        loop {
            let id = id.clone();
            let some = self
                .0
                .database
                .run_tx("subjects_lapse", move |tx| {
                    let id = id.clone();
                    Box::pin(async move {
                        tx.notify(FORGOTTEN);
                        datastore::subjects_lapse(tx, &id, before).await
                    })
                })
                .await
                .map_err(VaultError::Database)?;
            self.forget_at_hand();
            if some == 0 {
                return Ok(lapsed);
            }
            lapsed += some;
        }
    }
}
