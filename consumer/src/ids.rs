//! The names of things: phone numbers, business numbers, messages.
//!
//! Invariant: a value of these types is well formed. A [`PhoneNumber`] never prints itself.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::Rng;

use crate::ConsumerError;

/// A phone number: 7 to 15 E.164 digits without a plus, the first 1 to 9.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PhoneNumber(String);

impl PhoneNumber {
    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PhoneNumber {
    type Err = ConsumerError;

    /// Takes the digits with or without a leading plus.
    fn from_str(text: &str) -> Result<Self, ConsumerError> {
        let digits = text.strip_prefix('+').unwrap_or(text);
        if is_number(digits, 7, 15) {
            Ok(Self(digits.to_owned()))
        } else {
            Err(ConsumerError::Malformed("a phone number is 7 to 15 digits"))
        }
    }
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PhoneNumber(…)")
    }
}

/// A business number's id: 1 to 32 decimal digits. Not a phone number.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PhoneNumberId(String);

impl PhoneNumberId {
    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PhoneNumberId {
    type Err = ConsumerError;

    fn from_str(text: &str) -> Result<Self, ConsumerError> {
        if (1..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ConsumerError::Malformed(
                "a phone number id is 1 to 32 digits",
            ))
        }
    }
}

impl fmt::Display for PhoneNumberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A message's id: 16 bytes; in text "wamid." and their base64url without padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(pub [u8; 16]);

impl MessageId {
    /// A fresh random id.
    pub fn random(rng: &mut impl Rng) -> Self {
        Self(rng.random())
    }

    /// From the wire.
    ///
    /// # Errors
    /// When these are not 16 bytes.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, ConsumerError> {
        bytes
            .try_into()
            .map(Self)
            .map_err(|_| ConsumerError::Malformed("a message id is 16 bytes"))
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wamid.{}", URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl FromStr for MessageId {
    type Err = ConsumerError;

    fn from_str(text: &str) -> Result<Self, ConsumerError> {
        let bytes = text
            .strip_prefix("wamid.")
            .and_then(|id| URL_SAFE_NO_PAD.decode(id).ok())
            .ok_or(ConsumerError::Malformed("a message id starts with wamid."))?;
        Self::from_slice(&bytes)
    }
}

/// Whom to write to: a business by its phone number, or by its number's id once it is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Business {
    /// By phone number: what a first contact needs.
    Phone(PhoneNumber),
    /// By id, as messages name it.
    Id(PhoneNumberId),
}

impl From<PhoneNumber> for Business {
    fn from(phone: PhoneNumber) -> Self {
        Self::Phone(phone)
    }
}

impl From<PhoneNumberId> for Business {
    fn from(id: PhoneNumberId) -> Self {
        Self::Id(id)
    }
}

/// What a message is for, as the business declared it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Category {
    /// Within a conversation that the consumer began; also everything a consumer sends.
    Service = 1,
    /// About something the consumer agreed to.
    Utility = 2,
    /// A one-time code.
    Authentication = 3,
    /// An offer.
    Marketing = 4,
}

impl Category {
    /// From the wire.
    #[must_use]
    pub fn from_wire(byte: u8) -> Option<Self> {
        [
            Self::Service,
            Self::Utility,
            Self::Authentication,
            Self::Marketing,
        ]
        .into_iter()
        .find(|category| *category as u8 == byte)
    }

    /// Lower-case name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Utility => "utility",
            Self::Authentication => "authentication",
            Self::Marketing => "marketing",
        }
    }
}

fn is_number(digits: &str, least: usize, most: usize) -> bool {
    (least..=most).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && !digits.starts_with('0')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_plus_is_taken_off_and_everything_but_digits_refused() {
        assert_eq!(
            "+15550001111".parse::<PhoneNumber>().unwrap().as_str(),
            "15550001111"
        );
        for text in [
            "",
            "+",
            "012345678",
            "123456",
            "1234567890123456",
            "1555 000",
            "++15550001111",
        ] {
            assert!(text.parse::<PhoneNumber>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_phone_number_does_not_print_itself() {
        let phone: PhoneNumber = "15550001111".parse().unwrap();
        let business = Business::from(phone.clone());
        assert!(!format!("{phone:?}{business:?}").contains("555"));
    }

    #[test]
    fn a_message_id_reads_back_from_its_text() {
        let id = MessageId([0x11; 16]);
        assert_eq!(id.to_string(), "wamid.EREREREREREREREREREREQ");
        assert_eq!(id.to_string().parse::<MessageId>().unwrap(), id);
        assert!("EREREREREREREREREREREQ".parse::<MessageId>().is_err());
        assert!("wamid.ERER".parse::<MessageId>().is_err());
    }
}
