//! The wrap's context: everything a content key is bound to. Its bytes are HPKE's `info` and the head of what is signed.

use crate::field::{Reader, put_field};
use crate::hpke_keys::SUITE;
use crate::{EnvelopeError, KeyId, NumberId, UnixMillis, Validity};

/// No wrap is valid for longer: two hours.
pub const MAX_WRAP_VALIDITY_MS: u64 = 2 * 60 * 60 * 1000;
const DOMAIN: &[u8] = b"sealpost/wrap";

/// Which way a content key serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum WrapDirection {
    /// The business seals to the vault.
    Outbound = 1,
    /// The vault seals to the business: messages of direction inbound and status.
    Inbound = 2,
    /// The vault seals a person's messages to the business, for a file.
    Export = 4,
}

impl TryFrom<u8> for WrapDirection {
    type Error = EnvelopeError;

    fn try_from(byte: u8) -> Result<Self, EnvelopeError> {
        match byte {
            1 => Ok(Self::Outbound),
            2 => Ok(Self::Inbound),
            4 => Ok(Self::Export),
            _ => Err(EnvelopeError::Malformed("wrap direction")),
        }
    }
}

/// What a sender asks of a new content key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrapTerms {
    number: NumberId,
    direction: WrapDirection,
    validity: Validity,
}

impl WrapTerms {
    /// A key for one number and direction, valid for at most [`MAX_WRAP_VALIDITY_MS`].
    ///
    /// # Errors
    /// [`EnvelopeError::InvalidValidity`].
    pub fn new(
        number: NumberId,
        direction: WrapDirection,
        validity: Validity,
    ) -> Result<Self, EnvelopeError> {
        if validity.length_ms() > MAX_WRAP_VALIDITY_MS {
            return Err(EnvelopeError::InvalidValidity);
        }
        Ok(Self {
            number,
            direction,
            validity,
        })
    }

    /// The number.
    #[must_use]
    pub fn number(&self) -> &NumberId {
        &self.number
    }

    /// Which way.
    #[must_use]
    pub fn direction(&self) -> WrapDirection {
        self.direction
    }

    /// From when until when.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.validity
    }
}

/// The whole context, as it stands on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WrapContext {
    pub(crate) terms: WrapTerms,
    pub(crate) sender: KeyId,
    pub(crate) recipient: KeyId,
    pub(crate) nonce: [u8; 16],
}

impl WrapContext {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let validity = self.terms.validity;
        let mut out = Vec::with_capacity(137);
        put_field(&mut out, DOMAIN);
        put_field(&mut out, &[1]);
        put_field(&mut out, &SUITE);
        put_field(&mut out, &[self.terms.direction as u8]);
        put_field(&mut out, self.terms.number.as_str().as_bytes());
        put_field(&mut out, self.sender.as_bytes());
        put_field(&mut out, self.recipient.as_bytes());
        put_field(&mut out, &validity.not_before().0.to_be_bytes());
        put_field(&mut out, &validity.not_after().0.to_be_bytes());
        put_field(&mut out, &self.nonce);
        out
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let mut reader = Reader::new(bytes, "wrap context");
        reader.domain(DOMAIN)?;
        reader.version()?;
        if reader.array_field()? != SUITE {
            return Err(EnvelopeError::UnsupportedSuite);
        }
        let [direction] = reader.array_field()?;
        let direction = direction.try_into()?;
        let number = NumberId::from_ascii(reader.field()?)?;
        let sender = KeyId::from_bytes(reader.array_field()?);
        let recipient = KeyId::from_bytes(reader.array_field()?);
        let not_before = UnixMillis(reader.u64_field()?);
        let not_after = UnixMillis(reader.u64_field()?);
        let nonce = reader.array_field()?;
        reader.finish()?;
        let terms = WrapTerms::new(number, direction, Validity::new(not_before, not_after)?)?;
        Ok(Self {
            terms,
            sender,
            recipient,
            nonce,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_context_reads_back_and_no_other_length_does(
            number in "[0-9]{1,32}", direction in prop::sample::select(vec![1u8, 2, 4]), ids in any::<[[u8; 16]; 3]>(),
            begin in 0u64..=u64::MAX - MAX_WRAP_VALIDITY_MS, length in 1u64..=MAX_WRAP_VALIDITY_MS,
        ) {
            let validity = Validity::new(UnixMillis(begin), UnixMillis(begin + length)).unwrap();
            let terms = WrapTerms::new(NumberId::new(&number).unwrap(), direction.try_into().unwrap(), validity).unwrap();
            let context = WrapContext {
                terms, sender: KeyId::from_bytes(ids[0]), recipient: KeyId::from_bytes(ids[1]), nonce: ids[2],
            };
            let mut bytes = context.encode();
            prop_assert_eq!(bytes.len(), 105 + number.len());
            prop_assert_eq!(WrapContext::parse(&bytes).unwrap(), context);
            for end in 0..bytes.len() {
                prop_assert!(WrapContext::parse(&bytes[..end]).is_err());
            }
            bytes.push(0);
            prop_assert!(WrapContext::parse(&bytes).is_err());
        }
    }

    #[test]
    fn a_validity_over_two_hours_is_refused() {
        let terms = |length| {
            let validity = Validity::new(UnixMillis(1), UnixMillis(1 + length)).unwrap();
            WrapTerms::new(
                NumberId::new("1").unwrap(),
                WrapDirection::Inbound,
                validity,
            )
        };
        assert!(terms(MAX_WRAP_VALIDITY_MS).is_ok());
        assert_eq!(
            terms(MAX_WRAP_VALIDITY_MS + 1),
            Err(EnvelopeError::InvalidValidity)
        );
    }
}
