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
    /// From then on nothing is begun to send it: a business must hear of a failure while the record still opens.
    pub last_call: Timestamp,
}

/// The last call comes at least this long before the end. The store reckons the same way and fails what no gateway has.
const LEAST_NOTICE: Duration = Duration::from_secs(120);
/// And this fraction of the class before it: an hour of thirty days.
const NOTICE_FRACTION: u64 = 720;

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
        let share = u64::from(epoch.retention_seconds) * 1000 / NOTICE_FRACTION;
        let last_call = expires_at - LEAST_NOTICE.max(Duration::from_millis(share));
        Ok(Self {
            number: PhoneNumberId::parse(&record.phone_number_id)?,
            tag: Tag::parse(&record.tag)?,
            message_id: MessageId::parse(&record.message_id)?,
            expires_at,
            last_call,
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
    fn the_last_call_comes_two_minutes_or_a_part_of_the_class_before_the_end() {
        let last_call = |retention_seconds| {
            let epoch = EpochId {
                retention_seconds,
                start_seconds: 7200,
            };
            let record = Record {
                epoch: Some(epoch),
                ..record()
            };
            Outbound::parse(record).unwrap().last_call
        };
        assert_eq!(last_call(3600), Timestamp::from_secs(7200 + 3480));
        assert_eq!(last_call(86_400), Timestamp::from_secs(7200 + 86_280));
        assert_eq!(last_call(2_592_000), Timestamp::from_secs(7200 + 2_588_400));
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
