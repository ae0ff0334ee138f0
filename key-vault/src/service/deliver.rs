//! Deliver: stored records sealed to the business's present key.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use sealpost_envelope::{self as envelope, HeaderFields, MessageId, OsEntropy, UnixMillis};
use sealpost_proto::{
    envelope::v1::SealedMessage,
    vault::v1::{
        DeliverItem, DeliverOutcome, DeliverRequest, DeliverResponse, Delivered, Refusal,
        deliver_outcome,
    },
};

use super::{
    StreamState, Vault,
    batch::{self, Outcome},
    blocking,
    records::{Numbers, OpeningKeys, Tagged, key_of, number_of, tagged},
};
use crate::{
    VaultError,
    conversation::Conversation,
    custody::Now,
    number::Number,
    own_keys::OwnKey,
    record::{ClosedRecord, Direction, RecordBody},
};

/// A message sealed to the business, and the key that sealed it.
pub(super) struct SealedToBusiness {
    pub(super) key: Arc<OwnKey>,
    pub(super) message: SealedMessage,
}

impl SealedToBusiness {
    pub(super) fn key_id(&self) -> Bytes {
        Bytes::copy_from_slice(self.key.key.id().as_bytes())
    }
}

/// A well-formed item.
#[derive(Clone)]
struct Order {
    record: ClosedRecord,
    header_only: bool,
}

/// What the records of a batch are opened with.
pub(super) struct Openers {
    pub(super) numbers: Numbers,
    pub(super) keys: OpeningKeys,
    pub(super) subjects: Tagged,
}

impl Vault {
    /// Seals a batch to businesses, on one stream.
    ///
    /// # Errors
    /// What failed the whole batch.
    pub async fn deliver(
        &self,
        stream: &StreamState,
        request: DeliverRequest,
    ) -> Result<DeliverResponse, VaultError> {
        let DeliverRequest { batch_id, items } = request;
        batch::check_len(items.len())?;
        let orders: Vec<Outcome<Order>> = items.iter().map(Order::parse).collect();
        let with_wrap: Vec<bool> = items.iter().map(|item| item.with_wrap).collect();
        let outcomes = match self.0.time.now() {
            Ok(now) => self.deliver_items(orders, now).await?,
            Err(_) => batch::all(items.len(), Refusal::ClockUnconfirmed),
        };
        batch::count("deliver", &outcomes);
        let outcome = |outcome: Outcome<SealedToBusiness>, asked| match outcome {
            Ok(sealed) => deliver_outcome::Outcome::Delivered(Delivered {
                wrap: stream.wrap(&sealed.key, asked),
                content_key_id: sealed.key_id(),
                message: Some(sealed.message),
            }),
            Err(refusal) => deliver_outcome::Outcome::Refused(refusal.into()),
        };
        let outcomes = outcomes.into_iter().zip(with_wrap);
        let outcomes = outcomes.map(|(item, asked)| DeliverOutcome {
            outcome: Some(outcome(item, asked)),
        });
        Ok(DeliverResponse {
            batch_id,
            outcomes: outcomes.collect(),
        })
    }

    async fn deliver_items(
        &self,
        orders: Vec<Outcome<Order>>,
        now: Now,
    ) -> Result<Vec<Outcome<SealedToBusiness>>, VaultError> {
        let records = orders
            .iter()
            .flatten()
            .map(|order| order.record.clone())
            .collect();
        let openers = self.openers(records, now).await?;
        let vault = self.clone();
        blocking(move || {
            let one = |order: Outcome<Order>| {
                let opened = order.and_then(|order| Ok((openers.open(&order.record)?, order)));
                match opened {
                    Ok(((number, body), order)) => {
                        let id = order.record.id;
                        let (message, direction) = (id.message_id, id.direction);
                        seal_to_business(
                            &vault,
                            &number,
                            message,
                            direction,
                            &body,
                            order.header_only,
                            now,
                        )
                    }
                    Err(refusal) => Ok(Err(refusal)),
                }
            };
            orders.into_iter().map(one).collect()
        })
        .await?
    }

    /// Fetches what a batch of records is opened with: numbers, epoch keys, subjects.
    ///
    /// # Errors
    /// When the database or the keyring fails.
    pub(super) async fn openers(
        &self,
        records: Vec<ClosedRecord>,
        now: Now,
    ) -> Result<Openers, VaultError> {
        let numbers = self
            .numbers(
                records
                    .iter()
                    .map(|record| record.id.number.clone())
                    .collect(),
            )
            .await?;
        let keys = self
            .opening_keys(records.iter().map(|record| record.id.epoch).collect(), now)
            .await?;
        let tags: BTreeSet<_> = records
            .iter()
            .map(|record| (record.id.number.clone(), record.id.tag))
            .collect();
        let subjects = self
            .0
            .database
            .read("subjects", move |db| {
                Box::pin(async move { tagged(db, &tags).await })
            })
            .await
            .map_err(VaultError::Database)?;
        Ok(Openers {
            numbers,
            keys,
            subjects,
        })
    }
}

impl Order {
    fn parse(item: &DeliverItem) -> Outcome<Self> {
        let record = ClosedRecord::parse(item.record.as_ref().ok_or(Refusal::Malformed)?)?;
        // What the business itself wrote is not sent back to it; only whom it went to.
        if record.id.direction == Direction::Outbound && !item.header_only {
            return Err(Refusal::Malformed);
        }
        Ok(Self {
            record,
            header_only: item.header_only,
        })
    }
}

impl Openers {
    /// Opens one record.
    ///
    /// # Errors
    /// Why it does not open.
    pub(super) fn open(&self, record: &ClosedRecord) -> Outcome<(Arc<Number>, RecordBody)> {
        let key = key_of(&self.keys, record.id.epoch);
        let (number, conversation) = match (self.conversation(record), &key) {
            // Of a subject that lapsed there is nothing but what is past its time.
            (Err(Refusal::Undecryptable), Err(past)) => return Err(*past),
            (found, _) => found?,
        };
        let body = record.open(&*key?, &conversation.subject().key)?;
        Ok((number, body))
    }

    /// The number and the subject of a record.
    ///
    /// # Errors
    /// Why they are not there.
    pub(super) fn conversation(
        &self,
        record: &ClosedRecord,
    ) -> Outcome<(Arc<Number>, Conversation)> {
        let number = number_of(&self.numbers, &record.id.number)?;
        let rows = self
            .subjects
            .get(&(record.id.number.clone(), record.id.tag));
        let rows = rows
            .ok_or(Refusal::Undecryptable)?
            .as_ref()
            .map_err(|refusal| *refusal)?;
        let conversation = Conversation::open(number.clone(), rows).map_err(|_| {
            metrics::counter!("sealpost_vault_rows_refused_total").increment(1);
            Refusal::Undecryptable
        })?;
        Ok((number, conversation))
    }
}

/// Seals a record's body to the number's business; with `header_only` its header alone.
///
/// # Errors
/// When there is no randomness.
pub(super) fn seal_to_business(
    vault: &Vault,
    number: &Number,
    message_id: MessageId,
    direction: Direction,
    body: &RecordBody,
    header_only: bool,
    now: Now,
) -> Result<Outcome<SealedToBusiness>, VaultError> {
    let Some(key) = vault.0.own_keys.current(number, now, &mut OsEntropy)? else {
        return Ok(Err(Refusal::BusinessKeysMissing));
    };
    let direction = match (header_only, direction) {
        (true, _) => envelope::Direction::Status,
        (false, Direction::Inbound) => envelope::Direction::Inbound,
        (false, Direction::Outbound) => return Ok(Err(Refusal::Malformed)),
    };
    let fields = HeaderFields {
        direction,
        peer: body.peer.clone(),
        message_id,
        category: body.category,
        time: UnixMillis(body.time.as_millis()),
    };
    let sealed = if header_only {
        key.key.seal(&fields, b"", &mut OsEntropy)?
    } else {
        key.key
            .seal_padded(&fields, &body.content, &mut OsEntropy)?
    };
    let message = SealedMessage {
        header: sealed.header,
        body: sealed.body,
    };
    Ok(Ok(SealedToBusiness { key, message }))
}
