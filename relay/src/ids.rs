//! The relay's names for numbers, consumers, devices and messages.
//!
//! Invariant: what a consumer's number is in has neither `Display` nor a telling `Debug`.

use std::fmt;

use crate::RelayError;

/// `N` bytes from the system's generator.
///
/// # Errors
/// When the system gives none.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], RelayError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| RelayError::Randomness)?;
    Ok(bytes)
}

/// A phone number: 7 to 15 digits in E.164 form without the plus, the first not zero.
#[derive(Clone, PartialEq, Eq, Hash)]
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

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PhoneNumber(..)")
    }
}

/// Names a business number: 1 to 32 decimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PhoneNumberId(String);

impl PhoneNumberId {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let fits = (1..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        fits.then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a number and one consumer have with each other; without a consumer, what is about the number itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Conversation {
    pub(crate) number: PhoneNumberId,
    pub(crate) peer: Option<PhoneNumber>,
}

impl Conversation {
    /// The consumer as the tables keep it: empty for nobody.
    pub(crate) fn peer_column(&self) -> &str {
        self.peer.as_ref().map_or("", PhoneNumber::as_str)
    }
}

/// A gateway that collects: 1 to 64 printable ASCII characters without blanks, the same over its restarts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CollectorName(String);

impl CollectorName {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let fits =
            (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Names one stream of a collector; random.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamToken(pub(crate) i64);

impl StreamToken {
    pub(crate) fn random() -> Result<Self, RelayError> {
        Ok(Self(i64::from_be_bytes(random()?)))
    }
}

/// How long anything of a number lives at most: an hour to thirty days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Retention(u32);

impl Retention {
    pub(crate) const LONGEST: Self = Self(30 * 24 * 3600);

    pub(crate) fn from_seconds(seconds: u32) -> Option<Self> {
        (3600..=Self::LONGEST.0)
            .contains(&seconds)
            .then_some(Self(seconds))
    }

    pub(crate) fn seconds(self) -> u32 {
        self.0
    }

    /// When something ends that begins at `now`, both milliseconds since the Unix epoch.
    pub(crate) fn ends(self, now: i64) -> i64 {
        now + i64::from(self.0) * 1000
    }
}

/// A row of `holders`: one registration of a device, or a number's present identity. Never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct HolderId(pub(crate) i64);

/// Names a message of a number: 16 bytes, chosen by an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct MessageId([u8; 16]);

impl MessageId {
    pub(crate) fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A device's authenticated name, found by its token.
#[derive(Clone, Debug)]
pub(crate) struct DeviceIdentity {
    pub(crate) holder: HolderId,
    pub(crate) phone_number: PhoneNumber,
    /// 1 to 127.
    pub(crate) device_id: u32,
}

/// The device id after `last`: from 1, up to 127, and then again from 1.
pub(crate) fn next_device_id(last: Option<u32>) -> u32 {
    last.map_or(1, |last| last % 127 + 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn device_ids_grow_and_wrap_within_their_range() {
        let mut id = next_device_id(None);
        for expected in (1..=127).chain(1..=3) {
            assert_eq!(id, expected);
            id = next_device_id(Some(id));
        }
    }

    #[test]
    fn a_retention_is_an_hour_to_thirty_days() {
        assert_eq!(Retention::from_seconds(3599), None);
        assert_eq!(Retention::from_seconds(3600).unwrap().ends(5), 3_600_005);
        assert_eq!(Retention::from_seconds(2_592_000), Some(Retention::LONGEST));
        assert_eq!(Retention::from_seconds(2_592_001), None);
    }

    #[test]
    fn a_phone_number_is_never_printed() {
        let number = PhoneNumber::parse("4915112345678").unwrap();
        let identity = DeviceIdentity {
            holder: HolderId(1),
            phone_number: number,
            device_id: 1,
        };
        let conversation = Conversation {
            number: PhoneNumberId::parse("1").unwrap(),
            peer: Some(identity.phone_number.clone()),
        };
        assert!(!format!("{conversation:?}").contains("4915112345678"));
        assert!(!format!("{identity:?}").contains("4915112345678"));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in [
            "",
            "123456",
            "1234567890123456",
            "0123456789",
            "+4915112345",
            "٤٩١٥١١٢٣٤",
        ] {
            assert_eq!(PhoneNumber::parse(text), None, "{text}");
        }
        assert_eq!(PhoneNumberId::parse(&"1".repeat(33)), None);
        assert_eq!(PhoneNumberId::parse("1a"), None);
    }
}
