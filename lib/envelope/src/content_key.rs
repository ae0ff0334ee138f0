//! A content key seals and opens messages of one number and direction. Owns the body's format and the agreement of
//! header and wrap; public-key work is behind it, so a message costs one HKDF and one GCM.
//!
//! body = nonce 12 ‖ ciphertext ‖ tag 16; key = HKDF-SHA256(content key, info = "sealpost/message" ‖ message id);
//! associated data = the header's exact bytes.

use bytes::Bytes;

use crate::aead::{AeadKey, NONCE_LEN, TAG_LEN};
use crate::header::Header;
use crate::kdf::hkdf_sha256;
use crate::{
    Content, ContentKeyId, Direction, Entropy, EnvelopeError, HeaderFields, MessageId, NumberId,
    PaddedContent, Secret, UnixMillis, Validity, WrapDirection, WrapTerms, pad, padded_len, unpad,
};

const MESSAGE_INFO: &[u8] = b"sealpost/message";

/// An unwrapped (or self-made) content key: proof that its wrap passed every check.
pub struct ContentKey {
    secret: Secret<32>,
    id: ContentKeyId,
    terms: WrapTerms,
}

/// What goes over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedMessage {
    /// The header; authenticated, not encrypted.
    pub header: Bytes,
    /// nonce ‖ ciphertext ‖ tag.
    pub body: Bytes,
}

/// An authenticated message, content as its author wrote it.
#[derive(Debug)]
pub struct OpenedMessage {
    /// The authenticated header.
    pub header: Header,
    /// The content.
    pub content: Content,
}

/// An authenticated message, content still padded: all that the vault needs.
#[derive(Debug)]
pub struct OpenedPadded {
    /// The authenticated header.
    pub header: Header,
    /// The content, not looked into.
    pub content: PaddedContent,
}

impl ContentKey {
    pub(crate) fn new(secret: Secret<32>, id: ContentKeyId, terms: WrapTerms) -> Self {
        Self { secret, id, terms }
    }

    pub(crate) fn secret(&self) -> &Secret<32> {
        &self.secret
    }

    /// Its name in headers.
    #[must_use]
    pub fn id(&self) -> ContentKeyId {
        self.id
    }

    /// The number it serves.
    #[must_use]
    pub fn number(&self) -> &NumberId {
        self.terms.number()
    }

    /// The direction it serves.
    #[must_use]
    pub fn direction(&self) -> WrapDirection {
        self.terms.direction()
    }

    /// When it may be used; a sender makes a new one well before the end.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.terms.validity()
    }

    /// Pads and seals `content`.
    ///
    /// # Errors
    /// [`EnvelopeError::WrongDirection`] for a direction that the key does not serve, [`EnvelopeError::ContentTooLong`],
    /// [`EnvelopeError::StatusWithContent`], [`EnvelopeError::NoRandomness`].
    pub fn seal(
        &self,
        fields: &HeaderFields,
        content: &[u8],
        entropy: &mut dyn Entropy,
    ) -> Result<SealedMessage, EnvelopeError> {
        if fields.direction == Direction::Status && !content.is_empty() {
            return Err(EnvelopeError::StatusWithContent);
        }
        self.seal_padded(fields, &pad(content)?, entropy)
    }

    /// Seals content that is padded already, without looking into it.
    ///
    /// # Errors
    /// [`EnvelopeError::WrongDirection`], [`EnvelopeError::StatusWithContent`] for a status of more than the least
    /// padded length, [`EnvelopeError::NoRandomness`].
    pub fn seal_padded(
        &self,
        fields: &HeaderFields,
        content: &PaddedContent,
        entropy: &mut dyn Entropy,
    ) -> Result<SealedMessage, EnvelopeError> {
        if fields.direction.wrap() != self.direction() {
            return Err(EnvelopeError::WrongDirection);
        }
        check_status_len(fields.direction, content)?;
        let header = Header::new(fields, self.number(), self.id).encode();
        let body =
            self.message_key(fields.message_id)?
                .seal(entropy, &header, content.as_bytes())?;
        Ok(SealedMessage {
            header: header.into(),
            body: body.into(),
        })
    }

    /// Opens a message and takes its padding off.
    ///
    /// # Errors
    /// Those of [`ContentKey::open_padded`], then [`EnvelopeError::BadPadding`] and [`EnvelopeError::StatusWithContent`].
    pub fn open(
        &self,
        header: &[u8],
        body: &[u8],
        now: UnixMillis,
    ) -> Result<OpenedMessage, EnvelopeError> {
        let OpenedPadded { header, content } = self.open_padded(header, body, now)?;
        let content = unpad(&content)?;
        if header.direction() == Direction::Status && !content.as_bytes().is_empty() {
            return Err(EnvelopeError::StatusWithContent);
        }
        Ok(OpenedMessage { header, content })
    }

    /// Opens a message and leaves its padding on; `header` must be the bytes as they came.
    ///
    /// # Errors
    /// In this order: [`EnvelopeError::Malformed`] or [`EnvelopeError::UnsupportedVersion`] of the header,
    /// [`EnvelopeError::WrongContentKey`], [`EnvelopeError::WrongNumber`], [`EnvelopeError::WrongDirection`],
    /// [`EnvelopeError::KeyNotYetValid`] or [`EnvelopeError::KeyExpired`], [`EnvelopeError::Undecryptable`],
    /// [`EnvelopeError::BadPadding`] for a length that padding never gives, [`EnvelopeError::StatusWithContent`].
    pub fn open_padded(
        &self,
        header: &[u8],
        body: &[u8],
        now: UnixMillis,
    ) -> Result<OpenedPadded, EnvelopeError> {
        let claimed = Header::parse(header)?;
        if claimed.content_key_id() != self.id {
            return Err(EnvelopeError::WrongContentKey);
        }
        if claimed.number() != self.number() {
            return Err(EnvelopeError::WrongNumber);
        }
        if claimed.direction().wrap() != self.direction() {
            return Err(EnvelopeError::WrongDirection);
        }
        self.validity().check(now)?;
        let plaintext = self.message_key(claimed.message_id())?.open(header, body)?;
        let content = PaddedContent::from_bytes(plaintext)?;
        check_status_len(claimed.direction(), &content)?;
        Ok(OpenedPadded {
            header: claimed,
            content,
        })
    }

    fn message_key(&self, message_id: MessageId) -> Result<AeadKey, EnvelopeError> {
        hkdf_sha256(
            b"",
            self.secret.expose(),
            &[MESSAGE_INFO, message_id.as_bytes()],
        )
        .map(AeadKey::new)
    }
}

impl SealedMessage {
    /// Bytes of a body whose content has `content_len`.
    ///
    /// # Errors
    /// [`EnvelopeError::ContentTooLong`].
    pub fn body_len(content_len: usize) -> Result<usize, EnvelopeError> {
        padded_len(content_len).map(|len| NONCE_LEN + len + TAG_LEN)
    }
}

/// A status is empty, so it has the least padded length; what is inside, only an endpoint looks at.
fn check_status_len(direction: Direction, content: &PaddedContent) -> Result<(), EnvelopeError> {
    if direction == Direction::Status && padded_len(0) != Ok(content.as_bytes().len()) {
        return Err(EnvelopeError::StatusWithContent);
    }
    Ok(())
}
