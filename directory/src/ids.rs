//! The names that the directory hands out and checks.
//!
//! Pure but for [`random`], its one source of randomness.

use std::fmt;

use crate::DirectoryError;

/// `N` bytes from the system's generator.
///
/// # Errors
/// When the system gives none.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], DirectoryError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| DirectoryError::Randomness)?;
    Ok(bytes)
}

/// Names a business or a token: a version 4 UUID (RFC 9562, section 5.4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Uuid([u8; 16]);

impl Uuid {
    /// Sets version and variant over random bytes.
    pub(crate) fn from_random(mut bytes: [u8; 16]) -> Self {
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Self(bytes)
    }

    pub(crate) fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Reads lower-case text with its hyphens, and nothing else, so that one business has one name.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text.replace('-', ""), &mut bytes).ok()?;
        let uuid = Self(bytes);
        (uuid.to_string() == text).then_some(uuid)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// Names a number: 1 to 32 decimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct PhoneNumberId(String);

impl PhoneNumberId {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let fits = (1..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        fits.then(|| Self(text.to_owned()))
    }

    /// 15 digits, the first not zero, from 16 random bytes; the remainder's bias is below 2⁻⁷⁸.
    pub(crate) fn from_random(bytes: [u8; 16]) -> Self {
        const LEAST: u128 = 100_000_000_000_000;
        Self((LEAST + u128::from_be_bytes(bytes) % (9 * LEAST)).to_string())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A business's own phone number: 7 to 15 digits in E.164 form without the plus, the first not zero.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PhoneNumber(String);

impl PhoneNumber {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let fits = (7..=15).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && !text.starts_with('0');
        fits.then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where a number's records are kept: 1 to 16 of `[a-z0-9-]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Region(String);

impl Region {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let fits = (1..=16).contains(&text.len()) && text.bytes().all(allowed);
        fits.then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_uuid_has_version_four_and_reads_back() {
        for bytes in [[0; 16], [0xff; 16], *b"0123456789abcdef"] {
            let uuid = Uuid::from_random(bytes);
            let text = uuid.to_string();
            assert_eq!((text.len(), text.as_bytes()[14]), (36, b'4'));
            assert!(b"89ab".contains(&text.as_bytes()[19]), "{text}");
            assert_eq!(Uuid::parse(&text), Some(uuid));
        }
    }

    #[test]
    fn a_uuid_has_one_spelling() {
        let text = Uuid::from_random([0xab; 16]).to_string();
        assert_eq!(Uuid::parse(&text.to_uppercase()), None);
        assert_eq!(Uuid::parse(&text.replace('-', "")), None);
        assert_eq!(Uuid::parse(""), None);
    }

    #[test]
    fn a_made_number_id_has_fifteen_digits_and_no_leading_zero() {
        for bytes in [[0; 16], [0xff; 16], *b"0123456789abcdef"] {
            let id = PhoneNumberId::from_random(bytes);
            assert_eq!(id.as_str().len(), 15);
            assert!(!id.as_str().starts_with('0'));
            assert_eq!(PhoneNumberId::parse(id.as_str()), Some(id));
        }
    }

    #[test]
    fn what_is_no_phone_number_is_refused() {
        for text in [
            "",
            "123456",
            "1234567890123456",
            "0123456789",
            "+4915112345",
            "49 15112345",
        ] {
            assert_eq!(PhoneNumber::parse(text), None, "{text}");
        }
        assert!(PhoneNumber::parse("4915112345678").is_some());
    }

    #[test]
    fn what_is_no_region_is_refused() {
        for text in ["", "EU", "eu_1", "12345678901234567"] {
            assert_eq!(Region::parse(text), None, "{text}");
        }
        assert!(Region::parse("eu-1").is_some());
    }
}
