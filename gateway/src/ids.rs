//! The names of things: numbers, messages, tags, content keys.
//!
//! Each is made only from bytes of the right shape. A consumer's phone number is [`Peer`], which prints as nothing.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use thiserror::Error;

/// A name is not of its shape.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{0} is not of its shape")]
pub struct WrongShape(pub &'static str);

/// A business's number: 1 to 32 decimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhoneNumberId(Arc<str>);

impl PhoneNumberId {
    /// Reads one.
    ///
    /// # Errors
    /// When it is not 1 to 32 decimal digits.
    pub fn parse(text: &str) -> Result<Self, WrongShape> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits || text.is_empty() || text.len() > 32 {
            return Err(WrongShape("phone_number_id"));
        }
        Ok(Self(text.into()))
    }

    /// Its digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PhoneNumberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&PhoneNumberId> for String {
    fn from(id: &PhoneNumberId) -> Self {
        id.as_str().to_owned()
    }
}

/// A consumer's phone number in E.164 digits. In memory only; its `Debug` says nothing.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Peer(Arc<str>);

impl Peer {
    /// Reads one.
    ///
    /// # Errors
    /// When it is not 7 to 15 digits, the first of them not 0.
    pub fn parse(text: &str) -> Result<Self, WrongShape> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits || !(7..=15).contains(&text.len()) || text.starts_with('0') {
            return Err(WrongShape("peer"));
        }
        Ok(Self(text.into()))
    }

    /// Its digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Peer(..)")
    }
}

macro_rules! sixteen_bytes {
    ($(#[$doc:meta])* $name:ident, $word:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// From its bytes.
            #[must_use]
            pub const fn new(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// Reads one.
            ///
            /// # Errors
            /// When it is not 16 bytes.
            pub fn parse(bytes: &[u8]) -> Result<Self, WrongShape> {
                bytes.try_into().map(Self).map_err(|_| WrongShape($word))
            }

            /// As the protos carry it.
            #[must_use]
            pub fn to_bytes(self) -> Bytes {
                Bytes::copy_from_slice(&self.0)
            }
        }
    };
}

sixteen_bytes!(
    /// A message, unique per number and direction.
    MessageId,
    "message_id"
);
sixteen_bytes!(
    /// A consumer of a number, blind: equality is all that it tells.
    Tag,
    "tag"
);
sixteen_bytes!(
    /// A content key, by the hash of its wrap.
    ContentKeyId,
    "content_key_id"
);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_number_is_digits_and_not_too_many() {
        for good in ["1", "012345678901234", &"9".repeat(32)] {
            assert_eq!(PhoneNumberId::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "12a", "+49", " 1", &"9".repeat(33)] {
            assert!(PhoneNumberId::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_consumer_prints_as_nothing() {
        let peer = Peer::parse("4915112345678").unwrap();
        assert_eq!(format!("{peer:?}"), "Peer(..)");
        for bad in ["", "0491511234", "123456", "1234567890123456", "49-1511234"] {
            assert!(Peer::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_message_id_is_sixteen_bytes() {
        assert!(MessageId::parse(&[1; 16]).is_ok());
        assert_eq!(MessageId::parse(&[1; 15]), Err(WrongShape("message_id")));
    }
}
