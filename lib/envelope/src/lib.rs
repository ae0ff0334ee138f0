//! Sealed content between a business and the key vault: the bytes of `docs/wire-format.md`.
//!
//! Owns the formats (wrap, header, body, padding, signed statements), the keys they need and the order in which they
//! are checked. Knows nothing of gRPC, clocks, storage or Signal: time and randomness come in as parameters.
//!
//! Invariant: what an `Unverified…` type shows is a claim, fit for looking up a key and nothing else. [`ContentKey`],
//! [`Header`], [`OpenedMessage`] and [`PublishedKey`] exist only after every check has passed.
//!
//! ```text
//! seal_wrap ──wire──▶ UnverifiedWrap::parse ─open─▶ ContentKey          once per sender process and hour
//! ContentKey::seal ──header, body──▶ UnverifiedHeader::parse (which key?) ─▶ ContentKey::open ─▶ OpenedMessage
//! ```

pub mod aead;
pub mod kdf;

mod content_key;
mod context;
mod entropy;
mod error;
mod export;
mod field;
mod header;
mod hpke_keys;
mod ids;
mod low_order;
mod padding;
mod rotation;
mod secret;
mod signing;
mod statement;
mod time;
mod wrap;

pub use content_key::{ContentKey, OpenedMessage, OpenedPadded, SealedMessage};
pub use context::{MAX_WRAP_VALIDITY_MS, WrapDirection, WrapTerms};
pub use entropy::{Entropy, OsEntropy};
pub use error::EnvelopeError;
pub use header::{Category, Direction, Header, HeaderFields, UnverifiedHeader};
pub use hpke_keys::{HPKE_PUBLIC_KEY_LEN, HpkePublicKey, HpkeSecretKey};
pub use ids::{ContentKeyId, KeyId, MessageId, MessageIdKey, NumberId, Peer};
pub use padding::{Content, MAX_CONTENT_LEN, PaddedContent, pad, padded_len, unpad};
pub use rotation::SigningKeyRotation;
pub use secret::Secret;
pub use signing::{Fingerprint, SIGNATURE_LEN, SigningKey, VerifyingKey};
pub use statement::{PublishedKey, VaultKeyCheck, VaultKeyStatement};
pub use time::{CLOCK_SKEW_MS, UnixMillis, Validity};
pub use wrap::{Opener, UnverifiedWrap, seal_wrap};
