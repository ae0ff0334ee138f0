//! The message header: who, to whom, what kind, under which key. Its exact bytes are the body's associated data.
//!
//! Invariant: a [`Header`] was authenticated; an [`UnverifiedHeader`] only says which content key to try.

use crate::context::WrapDirection;
use crate::field::{Reader, put_field8};
use crate::{ContentKeyId, EnvelopeError, MessageId, NumberId, Peer, UnixMillis};

const VERSION: u8 = 1;

/// Which way a message goes, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Direction {
    /// The business to a consumer; sealed to the vault.
    Outbound = 1,
    /// A consumer to the business; sealed by the vault.
    Inbound = 2,
    /// Names the peer of an outbound message to the business, for status events; without content.
    Status = 3,
}

impl Direction {
    /// The direction of the wrap whose content key serves such a message.
    #[must_use]
    pub const fn wrap(self) -> WrapDirection {
        match self {
            Self::Outbound => WrapDirection::Outbound,
            Self::Inbound | Self::Status => WrapDirection::Inbound,
        }
    }
}

impl TryFrom<u8> for Direction {
    type Error = EnvelopeError;

    fn try_from(byte: u8) -> Result<Self, EnvelopeError> {
        match byte {
            1 => Ok(Self::Outbound),
            2 => Ok(Self::Inbound),
            3 => Ok(Self::Status),
            _ => Err(EnvelopeError::Malformed("direction")),
        }
    }
}

/// Why a message is sent; what billing and limits look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Category {
    /// An answer within a conversation that the consumer began.
    Service = 1,
    /// About something already agreed: an order, an appointment.
    Utility = 2,
    /// A one-time code.
    Authentication = 3,
    /// Everything else.
    Marketing = 4,
}

impl TryFrom<u8> for Category {
    type Error = EnvelopeError;

    fn try_from(byte: u8) -> Result<Self, EnvelopeError> {
        match byte {
            1 => Ok(Self::Service),
            2 => Ok(Self::Utility),
            3 => Ok(Self::Authentication),
            4 => Ok(Self::Marketing),
            _ => Err(EnvelopeError::Malformed("category")),
        }
    }
}

/// What a sender says of a message; number and content key come from the key that seals it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderFields {
    /// Which way.
    pub direction: Direction,
    /// The consumer.
    pub peer: Peer,
    /// The same for every sealing of one message.
    pub message_id: MessageId,
    /// Why.
    pub category: Category,
    /// When it was sent.
    pub time: UnixMillis,
}

/// An authenticated header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    direction: Direction,
    number: NumberId,
    peer: Peer,
    message_id: MessageId,
    category: Category,
    content_key_id: ContentKeyId,
    time: UnixMillis,
}

impl Header {
    pub(crate) fn new(
        fields: &HeaderFields,
        number: &NumberId,
        content_key_id: ContentKeyId,
    ) -> Self {
        Self {
            direction: fields.direction,
            number: number.clone(),
            peer: fields.peer.clone(),
            message_id: fields.message_id,
            category: fields.category,
            content_key_id,
            time: fields.time,
        }
    }

    /// Which way.
    #[must_use]
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// The business's number.
    #[must_use]
    pub fn number(&self) -> &NumberId {
        &self.number
    }

    /// The consumer.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The message.
    #[must_use]
    pub fn message_id(&self) -> MessageId {
        self.message_id
    }

    /// Why it is sent.
    #[must_use]
    pub fn category(&self) -> Category {
        self.category
    }

    /// The key that sealed the body.
    #[must_use]
    pub fn content_key_id(&self) -> ContentKeyId {
        self.content_key_id
    }

    /// When it was sent.
    #[must_use]
    pub fn time(&self) -> UnixMillis {
        self.time
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96);
        out.extend_from_slice(&[VERSION, self.direction as u8]);
        put_field8(&mut out, self.number.as_str().as_bytes());
        put_field8(&mut out, self.peer.expose().as_bytes());
        out.extend_from_slice(self.message_id.as_bytes());
        out.push(self.category as u8);
        out.extend_from_slice(self.content_key_id.as_bytes());
        out.extend_from_slice(&self.time.0.to_be_bytes());
        out
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let mut reader = Reader::new(bytes, "header");
        if reader.byte()? != VERSION {
            return Err(EnvelopeError::UnsupportedVersion);
        }
        let header = Self {
            direction: reader.byte()?.try_into()?,
            number: NumberId::from_ascii(reader.field8()?)?,
            peer: Peer::from_ascii(reader.field8()?)?,
            message_id: MessageId::from_bytes(reader.array()?),
            category: reader.byte()?.try_into()?,
            content_key_id: ContentKeyId::from_bytes(reader.array()?),
            time: UnixMillis(u64::from_be_bytes(reader.array()?)),
        };
        reader.finish()?;
        Ok(header)
    }
}

/// A well-formed header that nothing vouches for yet.
#[derive(Clone, Debug)]
pub struct UnverifiedHeader(Header);

impl UnverifiedHeader {
    /// Reads the bytes strictly.
    ///
    /// # Errors
    /// [`EnvelopeError::Malformed`], [`EnvelopeError::UnsupportedVersion`].
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        Header::parse(bytes).map(Self)
    }

    /// The content key to try.
    #[must_use]
    pub fn content_key_id(&self) -> ContentKeyId {
        self.0.content_key_id
    }

    /// The number it claims.
    #[must_use]
    pub fn number(&self) -> &NumberId {
        &self.0.number
    }

    /// The consumer it claims to be to or from.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.0.peer
    }

    /// The direction it claims.
    #[must_use]
    pub fn direction(&self) -> Direction {
        self.0.direction
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn any_header() -> impl Strategy<Value = Header> {
        (
            1u8..=3,
            "[0-9]{1,32}",
            "[1-9][0-9]{6,14}",
            any::<[u8; 16]>(),
            1u8..=4,
            any::<[u8; 16]>(),
            any::<u64>(),
        )
            .prop_map(
                |(direction, number, peer, message_id, category, key, time)| Header {
                    direction: direction.try_into().unwrap(),
                    number: NumberId::new(&number).unwrap(),
                    peer: Peer::new(&peer).unwrap(),
                    message_id: MessageId::from_bytes(message_id),
                    category: category.try_into().unwrap(),
                    content_key_id: ContentKeyId::from_bytes(key),
                    time: UnixMillis(time),
                },
            )
    }

    proptest! {
        #[test]
        fn a_header_reads_back_and_no_other_length_does(header in any_header(), extra in any::<u8>()) {
            let mut bytes = header.encode();
            prop_assert_eq!(Header::parse(&bytes).unwrap(), header);
            for end in 0..bytes.len() {
                prop_assert!(Header::parse(&bytes[..end]).is_err());
            }
            bytes.push(extra);
            prop_assert!(Header::parse(&bytes).is_err());
        }

        #[test]
        fn whatever_parses_encodes_to_the_same_bytes(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            if let Ok(header) = Header::parse(&bytes) {
                prop_assert_eq!(header.encode(), bytes);
            }
        }

        #[test]
        fn a_changed_byte_gives_an_error_or_another_header(header in any_header(), at in any::<prop::sample::Index>(), flip in 1u8..) {
            let mut bytes = header.encode();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            if let Ok(other) = Header::parse(&bytes) {
                prop_assert_ne!(&other, &header);
                prop_assert_eq!(other.encode(), bytes);
            }
        }
    }
}
