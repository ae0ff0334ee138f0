//! Reading a person's records, by tag.

use sealpost_runtime::Timestamp;

use super::Datastore;
use crate::{
    error::StoreError,
    ids::{MessageId, PhoneNumberId, Tag},
    progress::Status,
    record::{Direction, Record},
    tables::{inbound::inbound_of_person, outbound::outbound_of_person},
};

/// A record of a person's, and what the store knows of it.
#[derive(Clone, Debug)]
pub struct PersonRecord {
    /// The record.
    pub record: Record,
    /// Of an outbound one.
    pub status: Option<Status>,
    /// When it was kept.
    pub appended_at: Timestamp,
}

impl Datastore {
    /// A person's records of one direction after a message id, at most `limit`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn person_records(
        &self,
        number: PhoneNumberId,
        tag: Tag,
        direction: Direction,
        after: Option<MessageId>,
        limit: u64,
    ) -> Result<Vec<PersonRecord>, StoreError> {
        self.database
            .read("person_records", move |db| {
                Box::pin(async move {
                    let after = after.as_ref().map_or(&[][..], MessageId::as_slice);
                    Ok(match direction {
                        Direction::Outbound => {
                            let found = outbound_of_person(db, &number, tag, after, limit).await?;
                            let kept = |(record, status, appended_at)| PersonRecord {
                                record,
                                status: Some(status),
                                appended_at,
                            };
                            found.into_iter().map(kept).collect()
                        }
                        Direction::Inbound => {
                            let found = inbound_of_person(db, &number, tag, after, limit).await?;
                            let kept = |(record, appended_at)| PersonRecord {
                                record,
                                status: None,
                                appended_at,
                            };
                            found.into_iter().map(kept).collect()
                        }
                    })
                })
            })
            .await
    }
}
