//! Why something was refused. Owns the reasons and their stable names; never carries a byte of what was refused.

use thiserror::Error;

/// A refusal. Every failed decryption is the one [`EnvelopeError::Undecryptable`], so that none is an oracle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EnvelopeError {
    /// The bytes are not of the format; the text names the field.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// A version byte other than 1.
    #[error("unsupported version")]
    UnsupportedVersion,
    /// An HPKE suite other than X-Wing, HKDF-SHA256, AES-256-GCM.
    #[error("unsupported suite")]
    UnsupportedSuite,
    /// A public key that no honest party makes: off the curve, of low order, not canonical, or out of range.
    #[error("invalid public key")]
    InvalidKey,
    /// The validity is empty, or a wrap's is longer than two hours.
    #[error("validity empty or too long")]
    InvalidValidity,
    /// The Ed25519 signature does not verify.
    #[error("signature does not verify")]
    BadSignature,
    /// Names another number than the authenticated one.
    #[error("another number")]
    WrongNumber,
    /// A direction that the key or the reader does not serve.
    #[error("another direction")]
    WrongDirection,
    /// Names a sender key other than the one registered for the number.
    #[error("another sender key")]
    WrongSender,
    /// Wrapped for another recipient key.
    #[error("another recipient key")]
    WrongRecipient,
    /// The header names another content key.
    #[error("another content key")]
    WrongContentKey,
    /// A statement's key id is not that of the key it speaks of.
    #[error("key id does not match the key")]
    WrongKeyId,
    /// Before the validity begins, clock skew allowed for.
    #[error("key is not valid yet")]
    KeyNotYetValid,
    /// After the validity's end: seal anew under a fresh key.
    #[error("key has expired")]
    KeyExpired,
    /// A vault key older than one already seen.
    #[error("sequence is older than one already seen")]
    StaleSequence,
    /// HPKE or AES-GCM refused, whatever the cause.
    #[error("undecryptable")]
    Undecryptable,
    /// Decrypted, but the padding is not the one that the content must have.
    #[error("bad padding")]
    BadPadding,
    /// More than 64 KiB of content.
    #[error("content is longer than 64 KiB")]
    ContentTooLong,
    /// A status message must be empty.
    #[error("a status carries content")]
    StatusWithContent,
    /// The system gave no randomness.
    #[error("no randomness")]
    NoRandomness,
}

impl EnvelopeError {
    /// The stable name of the reason, as in `docs/wire-format.md` and the vectors.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Malformed(_) => "MALFORMED",
            Self::UnsupportedVersion => "UNSUPPORTED_VERSION",
            Self::UnsupportedSuite => "UNSUPPORTED_SUITE",
            Self::InvalidKey => "INVALID_KEY",
            Self::InvalidValidity => "INVALID_VALIDITY",
            Self::BadSignature => "BAD_SIGNATURE",
            Self::WrongNumber => "WRONG_NUMBER",
            Self::WrongDirection => "WRONG_DIRECTION",
            Self::WrongSender => "WRONG_SENDER",
            Self::WrongRecipient => "WRONG_RECIPIENT",
            Self::WrongContentKey => "WRONG_CONTENT_KEY",
            Self::WrongKeyId => "WRONG_KEY_ID",
            Self::KeyNotYetValid => "KEY_NOT_YET_VALID",
            Self::KeyExpired => "KEY_EXPIRED",
            Self::StaleSequence => "STALE_SEQUENCE",
            Self::Undecryptable => "UNDECRYPTABLE",
            Self::BadPadding => "BAD_PADDING",
            Self::ContentTooLong => "CONTENT_TOO_LONG",
            Self::StatusWithContent => "STATUS_WITH_CONTENT",
            Self::NoRandomness => "NO_RANDOMNESS",
        }
    }
}
