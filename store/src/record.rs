//! Records as the store passes them on: ids in the clear, everything else sealed.
//!
//! Owns the reading of wire records, nothing of what is sealed in them. Invariant: a [`Record`] has every field in shape.

use bytes::Bytes;
use sealpost_proto::record::v1 as wire;
use sealpost_runtime::Timestamp;

use crate::{
    epoch::Epoch,
    error::Malformed,
    ids::{MessageId, PhoneNumberId, Tag},
};

/// The longest sealed part, in bytes: 64 KiB of content with padding and header fit in well.
pub const MAX_SEALED_BYTES: usize = 128 * 1024;

/// How far a record's epoch may start after our clock, in seconds: more is a mistake, and nobody would ever delete it.
const MAX_AHEAD_SECONDS: u64 = 24 * 3600;

const RETENTION_SECONDS: std::ops::RangeInclusive<u32> = 3_600..=2_592_000;

/// Which way a message goes. The numbers are those of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the business to a consumer.
    Outbound = 1,
    /// From a consumer to the business.
    Inbound = 2,
}

impl Direction {
    /// Reads the table's number.
    #[must_use]
    pub fn from_column(column: i64) -> Option<Self> {
        [Self::Outbound, Self::Inbound]
            .into_iter()
            .find(|direction| direction.column() == column)
    }

    /// The table's number.
    #[must_use]
    pub fn column(self) -> i64 {
        self as i64
    }

    /// Reads a direction off the wire.
    ///
    /// # Errors
    /// When it is neither way.
    pub fn parse(value: i32) -> Result<Self, Malformed> {
        match wire::Direction::try_from(value) {
            Ok(wire::Direction::Outbound) => Ok(Self::Outbound),
            Ok(wire::Direction::Inbound) => Ok(Self::Inbound),
            _ => Err(Malformed::new(
                "direction",
                "is neither outbound nor inbound",
            )),
        }
    }

    fn to_wire(self) -> wire::Direction {
        match self {
            Self::Outbound => wire::Direction::Outbound,
            Self::Inbound => wire::Direction::Inbound,
        }
    }
}

/// One message as the store keeps it.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// The business's number.
    pub number: PhoneNumberId,
    /// The subject's blind tag.
    pub tag: Tag,
    /// The message.
    pub message_id: MessageId,
    /// Which way it goes.
    pub direction: Direction,
    /// The epoch whose key it is sealed under.
    pub epoch: Epoch,
    /// Place in the conversation, from 1.
    pub sequence: u64,
    /// Only the key vault opens it.
    pub sealed: Bytes,
}

impl Record {
    /// Reads a record that goes `direction` off the wire.
    ///
    /// # Errors
    /// The first field that is not in shape.
    pub fn parse(
        record: Option<wire::Record>,
        direction: Direction,
        now: Timestamp,
    ) -> Result<Self, Malformed> {
        let record = record.ok_or_else(|| Malformed::new("record", "is missing"))?;
        Self::parse_fields(record, direction, now).map_err(|error| error.within("record"))
    }

    fn parse_fields(
        record: wire::Record,
        direction: Direction,
        now: Timestamp,
    ) -> Result<Self, Malformed> {
        if Direction::parse(record.direction)? != direction {
            return Err(Malformed::new("direction", "is the other way"));
        }
        if record.sequence == 0 || i64::try_from(record.sequence).is_err() {
            return Err(Malformed::new("sequence", "is out of range"));
        }
        if record.sealed.is_empty() || record.sealed.len() > MAX_SEALED_BYTES {
            return Err(Malformed::new("sealed", "has not 1 to 131072 bytes"));
        }
        let epoch = parse_epoch(record.epoch.as_ref())?;
        if epoch.start_seconds > now.as_secs().saturating_add(MAX_AHEAD_SECONDS) {
            return Err(Malformed::new("epoch.start_seconds", "lies in the future"));
        }
        Ok(Self {
            number: parse_number(&record.phone_number_id)?,
            tag: parse_tag(&record.tag)?,
            message_id: parse_message_id(&record.message_id)?,
            direction,
            epoch,
            sequence: record.sequence,
            sealed: record.sealed,
        })
    }

    /// As it was sent in.
    #[must_use]
    pub fn into_wire(self) -> wire::Record {
        wire::Record {
            phone_number_id: self.number.as_str().to_owned(),
            tag: Bytes::copy_from_slice(self.tag.as_slice()),
            message_id: Bytes::copy_from_slice(self.message_id.as_slice()),
            direction: self.direction.to_wire().into(),
            epoch: Some(wire::EpochId {
                retention_seconds: self.epoch.retention_seconds,
                start_seconds: self.epoch.start_seconds,
            }),
            sequence: self.sequence,
            sealed: self.sealed,
        }
    }
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record")
            .field("message_id", &self.message_id)
            .field("direction", &self.direction)
            .field("epoch", &self.epoch)
            .field("sequence", &self.sequence)
            .finish_non_exhaustive()
    }
}

/// Reads an epoch off the wire.
///
/// # Errors
/// When it is missing or its retention class cannot be.
pub fn parse_epoch(epoch: Option<&wire::EpochId>) -> Result<Epoch, Malformed> {
    let epoch = epoch.ok_or_else(|| Malformed::new("epoch", "is missing"))?;
    if !RETENTION_SECONDS.contains(&epoch.retention_seconds) {
        return Err(Malformed::new(
            "epoch.retention_seconds",
            "is not 3600 to 2592000",
        ));
    }
    // The table's and the clock's arithmetic in milliseconds must stay in range.
    if epoch.start_seconds > i64::MAX as u64 / 2_000 {
        return Err(Malformed::new("epoch.start_seconds", "is out of range"));
    }
    Ok(Epoch {
        retention_seconds: epoch.retention_seconds,
        start_seconds: epoch.start_seconds,
    })
}

/// Reads a number's id off the wire.
///
/// # Errors
/// When it is not 1 to 32 digits.
pub fn parse_number(text: &str) -> Result<PhoneNumberId, Malformed> {
    PhoneNumberId::parse(text)
        .ok_or_else(|| Malformed::new("phone_number_id", "is not 1 to 32 decimal digits"))
}

/// Reads a tag off the wire.
///
/// # Errors
/// When it has not 16 bytes.
pub fn parse_tag(bytes: &[u8]) -> Result<Tag, Malformed> {
    Tag::from_slice(bytes).ok_or_else(|| Malformed::new("tag", "has not 16 bytes"))
}

/// Reads a message id off the wire.
///
/// # Errors
/// When it has not 16 bytes.
pub fn parse_message_id(bytes: &[u8]) -> Result<MessageId, Malformed> {
    MessageId::from_slice(bytes).ok_or_else(|| Malformed::new("message_id", "has not 16 bytes"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn record() -> wire::Record {
        wire::Record {
            phone_number_id: "1234567890".into(),
            tag: Bytes::from_static(&[1; 16]),
            message_id: Bytes::from_static(&[2; 16]),
            direction: wire::Direction::Outbound.into(),
            epoch: Some(wire::EpochId {
                retention_seconds: 3_600,
                start_seconds: NOW.as_secs(),
            }),
            sequence: 1,
            sealed: Bytes::from_static(b"sealed"),
        }
    }

    #[test]
    fn a_record_comes_back_as_it_was_sent() {
        let parsed = Record::parse(Some(record()), Direction::Outbound, NOW).unwrap();
        assert_eq!(parsed.into_wire(), record());
    }

    #[test]
    fn each_field_out_of_shape_is_named() {
        type Spoil = fn(&mut wire::Record);
        let spoils: [(Spoil, &str); 10] = [
            (
                |r| r.phone_number_id = "+4915".into(),
                "record.phone_number_id",
            ),
            (|r| r.tag = Bytes::new(), "record.tag"),
            (
                |r| r.message_id = Bytes::from_static(&[0; 17]),
                "record.message_id",
            ),
            (
                |r| r.direction = wire::Direction::Inbound.into(),
                "record.direction",
            ),
            (|r| r.direction = 9, "record.direction"),
            (|r| r.epoch = None, "record.epoch"),
            (
                |r| r.epoch.as_mut().unwrap().retention_seconds = 3_599,
                "record.epoch.retention_seconds",
            ),
            (
                |r| r.epoch.as_mut().unwrap().start_seconds += 90_000,
                "record.epoch.start_seconds",
            ),
            (|r| r.sequence = 0, "record.sequence"),
            (
                |r| r.sealed = Bytes::from(vec![0; MAX_SEALED_BYTES + 1]),
                "record.sealed",
            ),
        ];
        for (spoil, field) in spoils {
            let mut spoilt = record();
            spoil(&mut spoilt);
            let error = Record::parse(Some(spoilt), Direction::Outbound, NOW).unwrap_err();
            assert_eq!(error.field, field);
        }
        let error = Record::parse(None, Direction::Outbound, NOW).unwrap_err();
        assert_eq!(error.field, "record");
    }

    #[test]
    fn debug_shows_nothing_sealed() {
        let parsed = Record::parse(Some(record()), Direction::Outbound, NOW).unwrap();
        assert!(!format!("{parsed:?}").contains("sealed"));
    }
}
