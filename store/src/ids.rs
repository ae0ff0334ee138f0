//! Names of things: a business's number, a message, a conversation, an envelope.
//!
//! Owns their shapes. None of them is a consumer's phone number, nor can be turned into one here.

use std::fmt;

/// A business number's id: 1 to 32 decimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PhoneNumberId(String);

impl PhoneNumberId {
    /// Takes `text` when it has the shape.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let shaped = (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        shaped.then(|| Self(text.to_owned()))
    }

    /// Its digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A subscription: `<business id>/<name>`, 1 to 128 of `[A-Za-z0-9._/-]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subscription(String);

impl Subscription {
    /// Takes `text` when it has the shape.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'/' | b'-');
        let shaped = (1..=128).contains(&text.len()) && text.bytes().all(allowed);
        shaped.then(|| Self(text.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Who dispatches: a gateway's name, 1 to 128 printable ASCII characters without blanks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner(String);

impl Owner {
    /// Takes `text` when it has the shape.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let shaped = (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        shaped.then(|| Self(text.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! fixed_bytes {
    ($(#[$doc:meta])* $name:ident, $length:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; $length]);

        impl $name {
            /// Takes `bytes` when they have the right length.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// The bytes.
            #[must_use]
            pub fn as_slice(&self) -> &[u8] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), hex::encode(self.0))
            }
        }
    };
}

fixed_bytes!(
    /// A message: 16 bytes. Outbound ids are the connector's, inbound ones the consumer's own choice.
    MessageId,
    16
);
fixed_bytes!(
    /// A subject's blind tag: 16 bytes. With the number it names a conversation.
    Tag,
    16
);
fixed_bytes!(
    /// The vault's keyed digest of what was said to whom: 32 bytes.
    ContentDigest,
    32
);
fixed_bytes!(
    /// SHA-256 of a Signal ciphertext: 32 bytes.
    CiphertextDigest,
    32
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_digits_of_bounded_length() {
        assert!(PhoneNumberId::parse("123456789012345").is_some());
        for text in ["", "+49", "12 3", "١٢٣", &"1".repeat(33)] {
            assert!(PhoneNumberId::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_subscription_carries_the_business_and_no_blanks() {
        assert!(Subscription::parse("biz_1/default").is_some());
        for text in ["", "a b", "a\n", &"a".repeat(129)] {
            assert!(Subscription::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn fixed_bytes_have_one_length() {
        assert!(MessageId::from_slice(&[0; 16]).is_some());
        assert!(MessageId::from_slice(&[0; 15]).is_none());
        assert!(CiphertextDigest::from_slice(&[0; 33]).is_none());
    }
}
