//! An outbound record on its way, checked once when it comes in.
//!
//! The gateway carries records unread; it knows their number, conversation, place and end of life.

use std::time::Duration;

use sealpost_proto::{
    gateway::v1::Status,
    record::v1::{Direction, Record},
    store::v1::MessageStatus,
};
use sealpost_runtime::Timestamp;

use crate::ids::{MessageId, PhoneNumberId, Tag, WrongShape};

/// A conversation: one consumer of one number, known by its blind tag.
pub type Conversation = (PhoneNumberId, Tag);

/// A message of a number.
pub type MessageKey = (PhoneNumberId, MessageId);

/// An outbound record and what it says in the clear.
#[derive(Clone, Debug)]
pub struct Outbound {
    /// As the vault made it.
    pub record: Record,
    /// The number.
    pub number: PhoneNumberId,
    /// The consumer's tag.
    pub tag: Tag,
    /// The message.
    pub message_id: MessageId,
    /// When its epoch's key dies.
    pub expires_at: Timestamp,
}

impl Outbound {
    /// Checks the shapes.
    ///
    /// # Errors
    /// When a field is missing or is not of its shape.
    pub fn parse(record: Record) -> Result<Self, WrongShape> {
        if record.direction() != Direction::Outbound {
            return Err(WrongShape("direction"));
        }
        let epoch = record.epoch.as_ref().ok_or(WrongShape("epoch"))?;
        let expires_at = Timestamp::from_secs(epoch.start_seconds)
            + Duration::from_secs(epoch.retention_seconds.into());
        Ok(Self {
            number: PhoneNumberId::parse(&record.phone_number_id)?,
            tag: Tag::parse(&record.tag)?,
            message_id: MessageId::parse(&record.message_id)?,
            expires_at,
            record,
        })
    }

    /// Which conversation it belongs to.
    #[must_use]
    pub fn conversation(&self) -> Conversation {
        (self.number.clone(), self.tag)
    }

    /// Its name.
    #[must_use]
    pub fn key(&self) -> MessageKey {
        (self.number.clone(), self.message_id)
    }
}

/// The store's word for how far a message is, as the business is told.
#[must_use]
pub fn status_of(status: MessageStatus) -> Status {
    match status {
        MessageStatus::Unspecified => Status::Unspecified,
        MessageStatus::Accepted => Status::Accepted,
        MessageStatus::Sent => Status::Sent,
        MessageStatus::Delivered => Status::Delivered,
        MessageStatus::Read => Status::Read,
        MessageStatus::Failed => Status::Failed,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bytes::Bytes;
    use sealpost_proto::record::v1::EpochId;

    use super::*;

    fn record() -> Record {
        Record {
            phone_number_id: "10".into(),
            tag: Bytes::from_static(&[1; 16]),
            message_id: Bytes::from_static(&[2; 16]),
            direction: Direction::Outbound.into(),
            epoch: Some(EpochId {
                retention_seconds: 3600,
                start_seconds: 7200,
            }),
            sequence: 1,
            sealed: Bytes::new(),
        }
    }

    #[test]
    fn a_record_lives_until_its_epochs_key_dies() {
        let outbound = Outbound::parse(record()).unwrap();
        assert_eq!(outbound.expires_at, Timestamp::from_secs(10_800));
    }

    #[test]
    fn a_record_without_epoch_or_of_the_other_direction_is_refused() {
        let inbound = Record {
            direction: Direction::Inbound.into(),
            ..record()
        };
        assert_eq!(
            Outbound::parse(inbound).unwrap_err(),
            WrongShape("direction")
        );
        let timeless = Record {
            epoch: None,
            ..record()
        };
        assert_eq!(Outbound::parse(timeless).unwrap_err(), WrongShape("epoch"));
        let untagged = Record {
            tag: Bytes::new(),
            ..record()
        };
        assert!(Outbound::parse(untagged).is_err());
    }
}
