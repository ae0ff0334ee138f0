//! Opens wraps and events. Pure: the verification key and the time come in.
//!
//! Invariant: an event is taken for what its authenticated header says, never for what the gateway says around it; where the
//! two differ it is refused.

use std::collections::HashMap;

use prost::Message as _;
use sealpost_envelope::{
    ContentKey, ContentKeyId, Direction, EnvelopeError, Header, HpkeSecretKey, MessageId, NumberId,
    OpenedMessage, Opener, UnixMillis, UnverifiedHeader, UnverifiedWrap, VerifyingKey,
    WrapDirection,
};
use sealpost_proto::{
    envelope::v1::SealedMessage,
    gateway::v1::{self as pb, event::Event as Kind},
};

use super::{IdentityChange, Incoming, Message, Refusal, StatusUpdate};
use crate::{Content, DeliveryStatus};

/// Content keys held at a time: far more than vault replicas make in two hours. Past it all are dropped, and come again.
const MOST_KEYS: usize = 8192;

/// The content keys of inbound events.
#[derive(Default)]
pub(super) struct Keyring {
    keys: HashMap<ContentKeyId, Result<ContentKey, EnvelopeError>>,
}

impl Keyring {
    /// Opens a wrap for `number` and keeps its content key, or why there is none.
    ///
    /// # Errors
    /// When the wrap was refused.
    pub(super) fn take(
        &mut self,
        wrap: UnverifiedWrap,
        number: &NumberId,
        signer: &VerifyingKey,
        recipient: &HpkeSecretKey,
        now: UnixMillis,
    ) -> Result<(), EnvelopeError> {
        self.drop_expired(now);
        let id = wrap.content_key_id();
        let opener = Opener {
            number,
            direction: WrapDirection::Inbound,
            sender: signer,
            recipient,
        };
        let opened = wrap.open(&opener, now);
        let answer = opened.as_ref().map(|_| ()).map_err(|error| *error);
        // A refusal never displaces a key: the id covers the whole wrap, so its key was opened from these very bytes.
        if answer.is_ok() || !matches!(self.keys.get(&id), Some(Ok(_))) {
            self.keys.insert(id, opened);
        }
        answer
    }

    /// Opens an event of one of our numbers.
    ///
    /// # Errors
    /// When it is not what it is said to be.
    pub(super) fn open(
        &self,
        number: &NumberId,
        event: &pb::Event,
        now: UnixMillis,
    ) -> Result<Incoming, Refusal> {
        let time = UnixMillis(event.time_ms);
        match event.event.as_ref().ok_or(Refusal::Malformed)? {
            Kind::Message(message) => self.message(number, message, now),
            Kind::Status(change) => self.status(number, change, time, now),
            Kind::IdentityChange(change) => {
                let header = self.header(number, change.header.as_ref(), now)?;
                Ok(Incoming::IdentityChange(IdentityChange {
                    phone_number_id: number.clone(),
                    message_id: header.as_ref().map(Header::message_id),
                    peer: header.map(|header| header.peer().clone()),
                    time,
                }))
            }
        }
    }

    fn message(
        &self,
        number: &NumberId,
        message: &pb::InboundMessage,
        now: UnixMillis,
    ) -> Result<Incoming, Refusal> {
        let sealed = message.message.as_ref().ok_or(Refusal::Malformed)?;
        let opened = self.unseal(number, Direction::Inbound, sealed, now)?;
        let header = opened.header;
        Ok(Incoming::Message(Box::new(Message {
            phone_number_id: number.clone(),
            peer: header.peer().clone(),
            message_id: header.message_id(),
            time: header.time(),
            category: header.category(),
            // It is authentic; that its author writes what we cannot read is no reason to lose it.
            content: Content::decode(opened.content.as_bytes()).unwrap_or_default(),
        })))
    }

    fn status(
        &self,
        number: &NumberId,
        change: &pb::StatusChange,
        time: UnixMillis,
        now: UnixMillis,
    ) -> Result<Incoming, Refusal> {
        let message_id =
            MessageId::try_from(change.message_id.as_ref()).map_err(|_| Refusal::Malformed)?;
        let status = DeliveryStatus::from_wire(change.status).ok_or(Refusal::Malformed)?;
        let header = self.header(number, change.header.as_ref(), now)?;
        if header
            .as_ref()
            .is_some_and(|header| header.message_id() != message_id)
        {
            return Err(Refusal::WrongMessage);
        }
        Ok(Incoming::Status(StatusUpdate {
            phone_number_id: number.clone(),
            message_id,
            peer: header.map(|header| header.peer().clone()),
            status,
            error_code: change.error_code,
            time,
        }))
    }

    fn header(
        &self,
        number: &NumberId,
        sealed: Option<&SealedMessage>,
        now: UnixMillis,
    ) -> Result<Option<Header>, Refusal> {
        sealed
            .map(|sealed| {
                self.unseal(number, Direction::Status, sealed, now)
                    .map(|opened| opened.header)
            })
            .transpose()
    }

    fn unseal(
        &self,
        number: &NumberId,
        direction: Direction,
        sealed: &SealedMessage,
        now: UnixMillis,
    ) -> Result<OpenedMessage, Refusal> {
        let claimed = UnverifiedHeader::parse(&sealed.header).map_err(Refusal::Message)?;
        let key = match self.keys.get(&claimed.content_key_id()) {
            Some(Ok(key)) => key,
            Some(Err(error)) => return Err(Refusal::Wrap(*error)),
            None => return Err(Refusal::UnknownContentKey),
        };
        // The key is of the number whose vault signed its wrap; the event must be of the same.
        if key.number() != number {
            return Err(Refusal::Message(EnvelopeError::WrongNumber));
        }
        let opened = key
            .open(&sealed.header, &sealed.body, now)
            .map_err(Refusal::Message)?;
        // One content key serves messages and statuses: only the authenticated header tells them apart.
        if opened.header.direction() != direction {
            return Err(Refusal::Message(EnvelopeError::WrongDirection));
        }
        Ok(opened)
    }

    fn drop_expired(&mut self, now: UnixMillis) {
        self.keys.retain(|_, key| {
            key.as_ref()
                .is_ok_and(|key| key.validity().check(now) != Err(EnvelopeError::KeyExpired))
                || key.is_err()
        });
        if self.keys.len() >= MOST_KEYS {
            self.keys.clear();
        }
    }
}
