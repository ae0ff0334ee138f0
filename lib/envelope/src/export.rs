//! Exported messages: what a business gets of a person in a file, sealed to the business by the vault.
//!
//! sealed = nonce 12 ‖ ciphertext ‖ tag 16; key = HKDF-SHA256(content key, info = "sealpost/export"); associated data = the
//! content-key id; plaintext = `FIELD(header)` ‖ padded content. The header is inside, so that the file names no peer. Invariant: a
//! key of an event never opens an export, nor the other way round.

use bytes::Bytes;
use zeroize::Zeroizing;

use crate::aead::AeadKey;
use crate::field::{Reader, put_field};
use crate::header::Header;
use crate::kdf::hkdf_sha256;
use crate::{
    ContentKey, Direction, Entropy, EnvelopeError, HeaderFields, OpenedMessage, PaddedContent,
    WrapDirection, unpad,
};

const INFO: &[u8] = b"sealpost/export";

impl ContentKey {
    /// Seals a message of either direction for a file.
    ///
    /// # Errors
    /// [`EnvelopeError::WrongDirection`] for a key that is not an export's and for a status, [`EnvelopeError::NoRandomness`].
    pub fn seal_export(
        &self,
        fields: &HeaderFields,
        content: &PaddedContent,
        entropy: &mut dyn Entropy,
    ) -> Result<Bytes, EnvelopeError> {
        self.check_export(fields.direction)?;
        let header = Header::new(fields, self.number(), self.id()).encode();
        let content = content.as_bytes();
        let mut plaintext = Zeroizing::new(Vec::with_capacity(2 + header.len() + content.len()));
        put_field(&mut plaintext, &header);
        plaintext.extend_from_slice(content);
        let sealed = self
            .export_key()?
            .seal(entropy, self.id().as_bytes(), &plaintext)?;
        Ok(sealed.into())
    }

    /// Opens what [`ContentKey::seal_export`] made, at any time.
    ///
    /// # Errors
    /// [`EnvelopeError::WrongDirection`], [`EnvelopeError::Undecryptable`], then what is wrong inside, though the vault sealed it.
    pub fn open_export(&self, sealed: &[u8]) -> Result<OpenedMessage, EnvelopeError> {
        self.check_export(Direction::Inbound)?;
        let plaintext = self.export_key()?.open(self.id().as_bytes(), sealed)?;
        let mut reader = Reader::new(&plaintext, "export");
        let header = Header::parse(reader.field()?)?;
        let content = Zeroizing::new(reader.rest().to_vec());
        self.check_export(header.direction())?;
        if header.content_key_id() != self.id() {
            return Err(EnvelopeError::WrongContentKey);
        }
        if header.number() != self.number() {
            return Err(EnvelopeError::WrongNumber);
        }
        let content = unpad(&PaddedContent::from_bytes(content)?)?;
        Ok(OpenedMessage { header, content })
    }

    fn check_export(&self, direction: Direction) -> Result<(), EnvelopeError> {
        if self.direction() != WrapDirection::Export || direction == Direction::Status {
            return Err(EnvelopeError::WrongDirection);
        }
        Ok(())
    }

    fn export_key(&self) -> Result<AeadKey, EnvelopeError> {
        hkdf_sha256(b"", self.secret().expose(), &[INFO]).map(AeadKey::new)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{
        Category, HpkeSecretKey, MessageId, NumberId, Opener, OsEntropy, Peer, SigningKey,
        UnixMillis, UnverifiedWrap, Validity, WrapTerms, pad, seal_wrap,
    };

    const MADE: UnixMillis = UnixMillis(1_700_000_000_000);

    struct Ends {
        number: NumberId,
        vault: SigningKey,
        business: HpkeSecretKey,
    }

    impl Ends {
        fn new() -> Self {
            Self {
                number: NumberId::new("106540352242922").unwrap(),
                vault: SigningKey::generate(&mut OsEntropy).unwrap(),
                business: HpkeSecretKey::generate(&mut OsEntropy).unwrap(),
            }
        }

        fn key(&self, direction: WrapDirection) -> (ContentKey, Vec<u8>) {
            let validity = Validity::new(MADE, UnixMillis(MADE.0 + 1)).unwrap();
            let terms = WrapTerms::new(self.number.clone(), direction, validity).unwrap();
            seal_wrap(
                &terms,
                &self.vault,
                self.business.public_key(),
                &mut OsEntropy,
            )
            .unwrap()
        }

        fn open(
            &self,
            wrap: &[u8],
            direction: WrapDirection,
            now: u64,
        ) -> Result<ContentKey, EnvelopeError> {
            let opener = Opener {
                number: &self.number,
                direction,
                sender: &self.vault.verifying_key(),
                recipient: &self.business,
            };
            UnverifiedWrap::parse(wrap)?.open(&opener, UnixMillis(now))
        }
    }

    fn fields(direction: Direction) -> HeaderFields {
        HeaderFields {
            direction,
            peer: Peer::new("15551234567").unwrap(),
            message_id: MessageId::from_bytes([7; 16]),
            category: Category::Utility,
            time: MADE,
        }
    }

    #[test]
    fn an_export_opens_years_later_to_what_went_either_way_and_names_nobody_outside() {
        let ends = Ends::new();
        let (key, wrap) = ends.key(WrapDirection::Export);
        for direction in [Direction::Outbound, Direction::Inbound] {
            let content = pad(b"said").unwrap();
            let sealed = key
                .seal_export(&fields(direction), &content, &mut OsEntropy)
                .unwrap();
            assert!(!sealed.windows(11).any(|window| window == b"15551234567"));
            let later = MADE.0 + 10 * 365 * 86_400_000;
            let key = ends.open(&wrap, WrapDirection::Export, later).unwrap();
            let opened = key.open_export(&sealed).unwrap();
            assert_eq!(opened.content.as_bytes(), b"said");
            assert_eq!(opened.header.direction(), direction);
            assert_eq!(opened.header.peer().expose(), "15551234567");
            let mut changed = sealed.to_vec();
            changed[20] ^= 1;
            assert_eq!(
                key.open_export(&changed).err(),
                Some(EnvelopeError::Undecryptable)
            );
        }
    }

    #[test]
    fn keys_of_events_and_of_exports_never_serve_for_each_other() {
        let ends = Ends::new();
        let (export, wrap) = ends.key(WrapDirection::Export);
        let (event, _) = ends.key(WrapDirection::Inbound);
        assert_eq!(
            ends.open(&wrap, WrapDirection::Inbound, MADE.0).err(),
            Some(EnvelopeError::WrongDirection)
        );
        let (inbound, wrong) = (
            fields(Direction::Inbound),
            Some(EnvelopeError::WrongDirection),
        );
        let content = pad(b"said").unwrap();
        assert_eq!(export.seal(&inbound, b"said", &mut OsEntropy).err(), wrong);
        assert_eq!(
            event.seal_export(&inbound, &content, &mut OsEntropy).err(),
            wrong
        );
        assert_eq!(event.open_export(&[0; 300]).err(), wrong);
        let status = fields(Direction::Status);
        assert_eq!(
            export.seal_export(&status, &content, &mut OsEntropy).err(),
            wrong
        );
    }
}
