//! The table `statistics`: messages of a number by category and day, for billing. Names no consumer.

use sealpost_database::{DatabaseError, Many, Tx};

use crate::ids::PhoneNumberId;

const DAY_MS: i64 = 24 * 3600 * 1000;

/// Adds to what numbers are billed for: messages by number and category, each named once.
pub(super) async fn messages_add(
    tx: &mut Tx,
    billed: &[(&PhoneNumberId, u32, i64)],
    now: i64,
) -> Result<(), DatabaseError> {
    const ADD: Many = Many::new(
        "INSERT INTO statistics (phone_number_id, category, day, messages) VALUES {rows}
         ON CONFLICT (phone_number_id, category, day)
         DO UPDATE SET messages = statistics.messages + excluded.messages",
    );
    let day = now / DAY_MS;
    ADD.execute(tx, &[], billed, |(number, category, messages)| {
        [
            number.as_str().into(),
            i64::from(*category).into(),
            day.into(),
            (*messages).into(),
        ]
    })
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use sealpost_database::sqlx::{Row as _, query};

    use super::*;
    use crate::{Datastore, RelayError};

    impl Datastore {
        /// What a number is billed for on the day of `now`: categories and their messages.
        pub(crate) async fn billed(&self, number: &'static str, now: i64) -> Vec<(i64, i64)> {
            let read = self.database.read("billed", move |db| {
                Box::pin(async move {
                    let rows = query(
                        "SELECT category, messages FROM statistics
                         WHERE phone_number_id = $1 AND day = $2 ORDER BY category",
                    )
                    .bind(number)
                    .bind(now / DAY_MS)
                    .fetch_all(&mut **db)
                    .await
                    .map_err(DatabaseError::from)?;
                    let row =
                        |row: &sealpost_database::Row| (row.get("category"), row.get("messages"));
                    Ok::<_, RelayError>(rows.iter().map(row).collect())
                })
            });
            read.await.unwrap()
        }
    }
}
