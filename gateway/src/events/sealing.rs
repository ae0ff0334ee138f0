//! Makes a stored event ready for the business: its content or header sealed, and the content key it needs.

use bytes::Bytes;
use sealpost_proto::{
    envelope::v1::SealedMessage,
    gateway::v1::{Event, IdentityChange, InboundMessage, StatusChange, event},
    record::v1::Record,
    store::v1::{EventKind, StoredEvent},
    vault::v1::{DeliverItem, Delivered, Refusal, deliver_outcome::Outcome},
};

use super::{Contents, StatusHeaders, Wraps};
use crate::{
    ids::{ContentKeyId, MessageId, PhoneNumberId},
    meters,
    record::status_of,
    vault::Vault,
};

/// An event and the wrap of the content key that it needs, if any.
pub(super) struct SealedEvent {
    pub(super) event: Event,
    pub(super) wrap: Option<(ContentKeyId, Bytes)>,
}

/// The vault does not answer, or not now.
pub(super) struct NotNow;

/// What seals.
pub(super) struct Sealer<'a> {
    pub(super) vault: &'a Vault,
    pub(super) contents: &'a Contents,
    pub(super) wraps: &'a Wraps,
    pub(super) headers: &'a StatusHeaders,
}

/// Something sealed and its wrap.
type Sealed = (SealedMessage, (ContentKeyId, Bytes));

impl Sealer<'_> {
    /// An event whose sealed part is in memory; or none, once it is known that there is nothing to tell. Nothing: the vault must be
    /// asked.
    pub(super) fn at_hand(
        &self,
        number: &PhoneNumberId,
        stored: &StoredEvent,
    ) -> Option<Option<SealedEvent>> {
        if stored.message_id.is_empty() {
            meters::event_skipped();
            return Some(None);
        }
        let message_id = MessageId::parse(&stored.message_id).ok()?;
        let message = (number.clone(), message_id);
        let (wrap, event) = match stored.kind() {
            EventKind::Message => {
                let (key, sealed) = self.contents.take(&message)?;
                let wrap = (key, self.wraps.find(&key)?);
                meters::content(true);
                let message = InboundMessage {
                    message: Some(sealed),
                };
                (wrap, event::Event::Message(message))
            }
            EventKind::Status => {
                let (key, header) = self.headers.give(&message, stored.status())?;
                let wrap = (key, self.wraps.find(&key)?);
                let change = StatusChange {
                    message_id: stored.message_id.clone(),
                    status: status_of(stored.status()).into(),
                    error_code: stored.error_code,
                    header: Some(header),
                };
                (wrap, event::Event::Status(change))
            }
            EventKind::IdentityChanged | EventKind::Unspecified => return None,
        };
        Some(Some(SealedEvent {
            event: Event {
                phone_number_id: number.into(),
                cursor: stored.cursor,
                time_ms: stored.time_ms,
                event: Some(event),
            },
            wrap: Some(wrap),
        }))
    }

    /// None: the record is past its time, or its person was erased, and without it there is nothing to tell.
    pub(super) async fn seal(
        &self,
        number: &PhoneNumberId,
        stored: StoredEvent,
    ) -> Result<Option<SealedEvent>, NotNow> {
        let kind = stored.kind();
        let status = stored.status();
        let Some(record) = stored.record else {
            return Ok(None);
        };
        let message_id = record.message_id.clone();
        let (event, wrap) = match kind {
            EventKind::Message => {
                meters::content(false);
                let Some((message, wrap)) = self.deliver(record, false).await? else {
                    return Ok(None);
                };
                let message = InboundMessage {
                    message: Some(message),
                };
                (event::Event::Message(message), Some(wrap))
            }
            EventKind::Status => {
                let (header, wrap) = self.deliver(record, true).await?.unzip();
                let change = StatusChange {
                    message_id,
                    status: status_of(status).into(),
                    error_code: stored.error_code,
                    header,
                };
                (event::Event::Status(change), wrap)
            }
            EventKind::IdentityChanged => {
                let (header, wrap) = self.deliver(record, true).await?.unzip();
                (
                    event::Event::IdentityChange(IdentityChange { header }),
                    wrap,
                )
            }
            EventKind::Unspecified => return Ok(None),
        };
        let event = Event {
            phone_number_id: number.into(),
            cursor: stored.cursor,
            time_ms: stored.time_ms,
            event: Some(event),
        };
        Ok(Some(SealedEvent { event, wrap }))
    }

    /// None: the vault cannot open the record any more.
    async fn deliver(&self, record: Record, header_only: bool) -> Result<Option<Sealed>, NotNow> {
        let mut with_wrap = false;
        // The second time with the wrap, should the first answer need one that nobody here has.
        for _ in 0..2 {
            let item = DeliverItem {
                record: Some(record.clone()),
                header_only,
                with_wrap,
            };
            let answer = self.vault.deliver.call(item).await.map_err(|_| NotNow)?;
            let delivered = match answer.outcome {
                Some(Outcome::Delivered(delivered)) => delivered,
                Some(Outcome::Refused(refusal)) => {
                    return gone(Refusal::try_from(refusal).unwrap_or_default());
                }
                None => return Err(NotNow),
            };
            if let Some(sealed) = self.with_wrap(delivered)? {
                return Ok(Some(sealed));
            }
            with_wrap = true;
        }
        Err(NotNow)
    }

    fn with_wrap(&self, delivered: Delivered) -> Result<Option<Sealed>, NotNow> {
        let key = ContentKeyId::parse(&delivered.content_key_id).map_err(|_| NotNow)?;
        let message = delivered.message.ok_or(NotNow)?;
        self.wraps.keep(key, delivered.wrap);
        Ok(self.wraps.find(&key).map(|wrap| (message, (key, wrap))))
    }
}

/// Whether a refusal is for ever.
fn gone<T>(refusal: Refusal) -> Result<Option<T>, NotNow> {
    match refusal {
        Refusal::EpochExpired
        | Refusal::SubjectErased
        | Refusal::Undecryptable
        | Refusal::Malformed => Ok(None),
        Refusal::NumberUnknown
        | Refusal::UnknownContentKey
        | Refusal::KeyExpired
        | Refusal::BundleInvalid
        | Refusal::IdentityUnacknowledged
        | Refusal::Duplicate
        | Refusal::Contention
        | Refusal::ShardElsewhere
        | Refusal::BusinessKeysMissing
        | Refusal::ClockUnconfirmed
        | Refusal::SenderUnverified
        | Refusal::Unspecified => Err(NotNow),
    }
}
