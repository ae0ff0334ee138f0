//! Names of numbers, peers, messages and keys. Owns their shapes; a peer's phone number never prints.

use std::fmt;
use std::str::FromStr;

use crate::kdf::{first_16, hmac_sha256};
use crate::{Entropy, EnvelopeError, Secret};

/// A business number's `phone_number_id`: 1 to 32 ASCII digits. An opaque id, not a phone number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NumberId(Box<str>);

impl NumberId {
    /// # Errors
    /// [`EnvelopeError::Malformed`] unless 1 to 32 ASCII digits.
    pub fn new(digits: &str) -> Result<Self, EnvelopeError> {
        Self::from_ascii(digits.as_bytes())
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn from_ascii(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        digits(bytes, 1..=32)
            .map(Self)
            .ok_or(EnvelopeError::Malformed("number"))
    }
}

impl fmt::Display for NumberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for NumberId {
    type Err = EnvelopeError;

    fn from_str(digits: &str) -> Result<Self, EnvelopeError> {
        Self::new(digits)
    }
}

/// A consumer's phone number: E.164 digits without the plus, 7 to 15, the first not 0. Prints as `Peer(…)`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer(Box<str>);

impl Peer {
    /// # Errors
    /// [`EnvelopeError::Malformed`] unless 7 to 15 ASCII digits, the first not 0.
    pub fn new(digits: &str) -> Result<Self, EnvelopeError> {
        Self::from_ascii(digits.as_bytes())
    }

    /// The digits, for the one place that needs them.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub(crate) fn from_ascii(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let peer = digits(bytes, 7..=15).ok_or(EnvelopeError::Malformed("peer"))?;
        if peer.starts_with('0') {
            return Err(EnvelopeError::Malformed("peer"));
        }
        Ok(Self(peer))
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Peer(…)")
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Peer(…)")
    }
}

fn digits(bytes: &[u8], len: std::ops::RangeInclusive<usize>) -> Option<Box<str>> {
    let well_formed = len.contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_digit);
    well_formed
        .then(|| std::str::from_utf8(bytes).ok().map(Box::from))
        .flatten()
}

macro_rules! id16 {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// The id of these bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = EnvelopeError;

            fn try_from(bytes: &[u8]) -> Result<Self, EnvelopeError> {
                bytes.try_into().map(Self).map_err(|_| EnvelopeError::Malformed($what))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = EnvelopeError;

            fn from_str(text: &str) -> Result<Self, EnvelopeError> {
                let mut bytes = [0; 16];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| EnvelopeError::Malformed($what))?;
                Ok(Self(bytes))
            }
        }
    };
}

id16! {
    /// Names a public key: the first 16 bytes of SHA-256 over its raw bytes (Ed25519 32, X-Wing 1216).
    KeyId, "key id"
}

id16! {
    /// Names a content key: the first 16 bytes of SHA-256 over its signed wrap. Recomputed, never taken on trust.
    ContentKeyId, "content-key id"
}

id16! {
    /// Names a message between a number and a peer; stays the same when the message is sealed anew.
    MessageId, "message id"
}

impl MessageId {
    /// The id of an outbound message: HMAC(key, number ‖ 0x00 ‖ idempotency key), so that a retry has the same.
    #[must_use]
    pub fn derive(key: &MessageIdKey, number: &NumberId, idempotency_key: &[u8]) -> Self {
        let mac = hmac_sha256(&key.0, &[number.as_str().as_bytes(), &[0], idempotency_key]);
        Self(first_16(&mac))
    }

    /// A random id.
    ///
    /// # Errors
    /// [`EnvelopeError::NoRandomness`].
    pub fn generate(entropy: &mut dyn Entropy) -> Result<Self, EnvelopeError> {
        crate::entropy::draw(entropy).map(Self)
    }
}

/// A connector's own key for deriving message ids; nobody else has it.
pub struct MessageIdKey(Secret<32>);

impl MessageIdKey {
    /// The key of these bytes.
    #[must_use]
    pub fn new(secret: Secret<32>) -> Self {
        Self(secret)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_peer_is_seven_to_fifteen_digits_not_led_by_zero() {
        for good in ["1234567", "15551234567", "123456789012345"] {
            assert_eq!(Peer::new(good).unwrap().expose(), good);
        }
        for bad in [
            "",
            "123456",
            "1234567890123456",
            "01234567",
            "+15551234567",
            "1555123456x",
            "1555123456７",
        ] {
            assert!(Peer::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_peer_never_prints() {
        let peer = Peer::new("15551234567").unwrap();
        assert_eq!(
            format!("{peer} {peer:?} {peer:#?}"),
            "Peer(…) Peer(…) Peer(…)"
        );
    }

    #[test]
    fn a_number_is_one_to_thirty_two_digits() {
        assert!(NumberId::new("1").is_ok());
        assert!(NumberId::new(&"9".repeat(32)).is_ok());
        assert!(NumberId::new("").is_err());
        assert!(NumberId::new(&"9".repeat(33)).is_err());
        assert!(NumberId::new("12a").is_err());
    }

    #[test]
    fn an_id_prints_as_hex_and_reads_back() {
        let id = MessageId::from_bytes([0xab; 16]);
        assert_eq!(id.to_string(), "ab".repeat(16));
        assert_eq!(id.to_string().parse::<MessageId>().unwrap(), id);
        assert!("ab".parse::<MessageId>().is_err());
    }

    #[test]
    fn a_message_id_depends_on_key_number_and_idempotency_key() {
        let key = MessageIdKey::new(Secret::from_bytes([1; 32]));
        let number = NumberId::new("12").unwrap();
        let id = MessageId::derive(&key, &number, b"3");
        assert_eq!(id, MessageId::derive(&key, &number, b"3"));
        assert_ne!(id, MessageId::derive(&key, &number, b"4"));
        assert_ne!(
            id,
            MessageId::derive(&key, &NumberId::new("1").unwrap(), b"23")
        );
        assert_ne!(
            id,
            MessageId::derive(
                &MessageIdKey::new(Secret::from_bytes([2; 32])),
                &number,
                b"3"
            )
        );
    }
}
