//! Names that people and their programs see.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sealpost_envelope::{EnvelopeError, MessageId, OsEntropy, Secret};
use sealpost_proto::gateway::v1 as pb;

use crate::SdkError;

const PREFIX: &str = "wamid.";
const MAX_IDEMPOTENCY_KEY_LEN: usize = 512;

/// A message id as text: `wamid.` and base64url of its 16 bytes, without padding.
#[must_use]
pub fn wamid(id: MessageId) -> String {
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(id.as_bytes()))
}

/// Reads what [`wamid`] wrote.
///
/// # Errors
/// [`EnvelopeError::Malformed`].
pub fn parse_wamid(text: &str) -> Result<MessageId, EnvelopeError> {
    let bytes = text
        .strip_prefix(PREFIX)
        .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
        .ok_or(EnvelopeError::Malformed("message id"))?;
    MessageId::try_from(bytes.as_slice())
}

/// Makes sends of one message one message: the same key for the same number gives the same message id.
#[derive(Clone, PartialEq, Eq)]
pub struct IdempotencyKey(Box<[u8]>);

impl IdempotencyKey {
    /// The caller's own key, 1 to 512 bytes.
    ///
    /// # Errors
    /// [`SdkError::IdempotencyKey`] for another length.
    pub fn new(key: impl AsRef<[u8]>) -> Result<Self, SdkError> {
        let key = key.as_ref();
        if (1..=MAX_IDEMPOTENCY_KEY_LEN).contains(&key.len()) {
            Ok(Self(key.into()))
        } else {
            Err(SdkError::IdempotencyKey)
        }
    }

    /// One that nothing else has.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn random() -> Result<Self, SdkError> {
        let random = Secret::<32>::generate(&mut OsEntropy)?;
        Ok(Self(random.expose().as_slice().into()))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IdempotencyKey(…)")
    }
}

/// How far a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeliveryStatus {
    /// Durable.
    Accepted,
    /// Handed to the transport.
    Sent,
    /// On a device of the consumer.
    Delivered,
    /// Read by the consumer.
    Read,
    /// It will not be delivered.
    Failed,
}

impl DeliveryStatus {
    /// None for a value that this version does not know.
    pub(crate) fn from_wire(status: i32) -> Option<Self> {
        match pb::Status::try_from(status).ok()? {
            pb::Status::Unspecified => None,
            pb::Status::Accepted => Some(Self::Accepted),
            pb::Status::Sent => Some(Self::Sent),
            pb::Status::Delivered => Some(Self::Delivered),
            pb::Status::Read => Some(Self::Read),
            pb::Status::Failed => Some(Self::Failed),
        }
    }

    /// As the Cloud API writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Failed => "failed",
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_message_id_survives_its_text() {
        let id = MessageId::from_bytes([0xfb; 16]);
        let text = wamid(id);
        assert_eq!(text, "wamid.-_v7-_v7-_v7-_v7-_v7-w");
        assert_eq!(parse_wamid(&text).unwrap(), id);
    }

    #[test]
    fn other_texts_are_no_message_ids() {
        for text in [
            "",
            "wamid.",
            "-_v7-_v7-_v7-_v7-_v7-w",
            "wamid.AAAA",
            "wamid.HBgL==",
        ] {
            assert!(parse_wamid(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_idempotency_key_is_neither_empty_nor_endless() {
        assert!(IdempotencyKey::new("").is_err());
        assert!(IdempotencyKey::new([1; 513]).is_err());
        assert!(IdempotencyKey::new([1; 512]).is_ok());
        assert_ne!(
            IdempotencyKey::random().unwrap(),
            IdempotencyKey::random().unwrap()
        );
    }
}
