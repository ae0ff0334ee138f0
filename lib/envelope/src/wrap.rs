//! A wrap carries a content key from a sender to one recipient: `FIELD(context) ‖ enc ‖ ct ‖ signature`.
//!
//! Owns the order of checks: format, number, direction, sender key, signature, recipient key, time, HPKE. The verification
//! key is the one registered for the number that the channel authenticated; ids in the wrap are only compared with it.

use crate::context::WrapContext;
use crate::entropy::draw;
use crate::field::{Reader, put_field};
use crate::hpke_keys::{CT_LEN, ENC_LEN};
use crate::kdf::short_sha256;
use crate::{
    ContentKey, ContentKeyId, Entropy, EnvelopeError, HpkePublicKey, HpkeSecretKey, KeyId,
    NumberId, SIGNATURE_LEN, Secret, SigningKey, UnixMillis, VerifyingKey, WrapDirection,
    WrapTerms,
};

/// Makes a content key and wraps it for `recipient`. Randomness is drawn in this order: context nonce 16, content key
/// 32, encapsulation 64.
///
/// # Errors
/// [`EnvelopeError::NoRandomness`].
pub fn seal_wrap(
    terms: &WrapTerms,
    sender: &SigningKey,
    recipient: &HpkePublicKey,
    entropy: &mut dyn Entropy,
) -> Result<(ContentKey, Vec<u8>), EnvelopeError> {
    let context = WrapContext {
        terms: terms.clone(),
        sender: sender.key_id(),
        recipient: recipient.key_id(),
        nonce: draw(entropy)?,
    }
    .encode();
    let secret = Secret::generate(entropy)?;
    let sealed = recipient.seal(&context, &secret, entropy)?;

    let mut wire = Vec::with_capacity(2 + context.len() + ENC_LEN + CT_LEN + SIGNATURE_LEN);
    put_field(&mut wire, &context);
    wire.extend_from_slice(&sealed);
    let signature = sender.sign(&wire[2..]);
    wire.extend_from_slice(&signature);
    let id = ContentKeyId::from_bytes(short_sha256(&[&wire[2..]]));
    Ok((ContentKey::new(secret, id, terms.clone()), wire))
}

/// A well-formed wrap that nothing vouches for yet.
#[derive(Clone, Debug)]
pub struct UnverifiedWrap {
    context: WrapContext,
    /// context ‖ enc ‖ ct
    signed: Box<[u8]>,
    signature: [u8; SIGNATURE_LEN],
}

/// Who opens, and from whom a wrap is expected.
#[derive(Clone, Copy)]
pub struct Opener<'a> {
    /// The number that the channel authenticated, or that the reader serves.
    pub number: &'a NumberId,
    /// What the reader takes: the vault outbound, a business inbound, or export from a file.
    pub direction: WrapDirection,
    /// The verification key registered for that number.
    pub sender: &'a VerifyingKey,
    /// The reader's own key.
    pub recipient: &'a HpkeSecretKey,
}

impl UnverifiedWrap {
    /// Reads the wire strictly.
    ///
    /// # Errors
    /// [`EnvelopeError::Malformed`], [`EnvelopeError::UnsupportedVersion`], [`EnvelopeError::UnsupportedSuite`],
    /// [`EnvelopeError::InvalidValidity`].
    pub fn parse(wire: &[u8]) -> Result<Self, EnvelopeError> {
        let mut reader = Reader::new(wire, "wrap");
        let context = reader.field()?;
        reader.take(ENC_LEN + CT_LEN)?;
        let signed = &wire[2..2 + context.len() + ENC_LEN + CT_LEN];
        let signature = reader.array()?;
        reader.finish()?;
        Ok(Self {
            context: WrapContext::parse(context)?,
            signed: signed.into(),
            signature,
        })
    }

    /// The number it claims.
    #[must_use]
    pub fn number(&self) -> &NumberId {
        self.context.terms.number()
    }

    /// The direction it claims.
    #[must_use]
    pub fn direction(&self) -> WrapDirection {
        self.context.terms.direction()
    }

    /// The sender's key it claims.
    #[must_use]
    pub fn sender_key_id(&self) -> KeyId {
        self.context.sender
    }

    /// The recipient's key it claims: which private key to open with.
    #[must_use]
    pub fn recipient_key_id(&self) -> KeyId {
        self.context.recipient
    }

    /// The id that its content key has if the wrap opens.
    #[must_use]
    pub fn content_key_id(&self) -> ContentKeyId {
        ContentKeyId::from_bytes(short_sha256(&[&self.signed, &self.signature]))
    }

    /// Checks everything and unwraps the content key. An export's is good at any time.
    ///
    /// # Errors
    /// In this order: [`EnvelopeError::WrongNumber`], [`EnvelopeError::WrongDirection`], [`EnvelopeError::WrongSender`],
    /// [`EnvelopeError::BadSignature`], [`EnvelopeError::WrongRecipient`], [`EnvelopeError::KeyNotYetValid`] or
    /// [`EnvelopeError::KeyExpired`], [`EnvelopeError::Undecryptable`].
    pub fn open(self, opener: &Opener<'_>, now: UnixMillis) -> Result<ContentKey, EnvelopeError> {
        if self.number() != opener.number {
            return Err(EnvelopeError::WrongNumber);
        }
        if self.direction() != opener.direction {
            return Err(EnvelopeError::WrongDirection);
        }
        if self.context.sender != opener.sender.key_id() {
            return Err(EnvelopeError::WrongSender);
        }
        opener.sender.verify(&self.signed, &self.signature)?;
        if self.context.recipient != opener.recipient.key_id() {
            return Err(EnvelopeError::WrongRecipient);
        }
        // An export lies in a file for as long as it is wanted: its validity says when it was made.
        if self.direction() != WrapDirection::Export {
            self.context.terms.validity().check(now)?;
        }

        let (context, sealed) = self.signed.split_at(self.signed.len() - ENC_LEN - CT_LEN);
        let (enc, ct) = sealed.split_at(ENC_LEN);
        let secret = opener.recipient.open(context, enc, ct)?;
        let id = self.content_key_id();
        Ok(ContentKey::new(secret, id, self.context.terms))
    }
}
