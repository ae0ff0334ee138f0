//! A number's vault signing key hands over to the next: a statement signed by the old key, which is then pinned no more.

use crate::field::{Reader, put_field};
use crate::statement::{sign_statement, verify_statement};
use crate::{EnvelopeError, KeyId, NumberId, SigningKey, VerifyingKey};

const DOMAIN: &[u8] = b"sealpost/vault-signing-key";

/// The next vault signing key of a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningKeyRotation {
    /// The number.
    pub number: NumberId,
    /// The key that takes over.
    pub new_key: VerifyingKey,
}

impl SigningKeyRotation {
    /// The signed wire form.
    #[must_use]
    pub fn sign(&self, old_key: &SigningKey) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        put_field(&mut out, DOMAIN);
        put_field(&mut out, &[1]);
        put_field(&mut out, self.number.as_str().as_bytes());
        put_field(&mut out, old_key.key_id().as_bytes());
        put_field(&mut out, self.new_key.as_bytes());
        sign_statement(&out, old_key)
    }

    /// Checks a rotation against the pinned key and returns the key to pin instead.
    ///
    /// # Errors
    /// In this order: [`EnvelopeError::Malformed`], [`EnvelopeError::BadSignature`], the statement's own format
    /// ([`EnvelopeError::UnsupportedVersion`], [`EnvelopeError::InvalidKey`]), [`EnvelopeError::WrongNumber`],
    /// [`EnvelopeError::WrongKeyId`].
    pub fn verify(
        wire: &[u8],
        number: &NumberId,
        pinned: &VerifyingKey,
    ) -> Result<VerifyingKey, EnvelopeError> {
        let mut reader = Reader::new(verify_statement(wire, pinned)?, "signing key statement");
        reader.domain(DOMAIN)?;
        reader.version()?;
        let stated_number = NumberId::from_ascii(reader.field()?)?;
        let old_id = KeyId::from_bytes(reader.array_field()?);
        let new_key = reader.array_field()?;
        reader.finish()?;
        let new_key = VerifyingKey::from_bytes(&new_key)?;
        if stated_number != *number {
            return Err(EnvelopeError::WrongNumber);
        }
        if old_id != pinned.key_id() {
            return Err(EnvelopeError::WrongKeyId);
        }
        Ok(new_key)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::OsEntropy;

    #[test]
    fn only_the_pinned_key_of_the_same_number_can_name_the_next() {
        let old = SigningKey::generate(&mut OsEntropy).unwrap();
        let new = SigningKey::generate(&mut OsEntropy).unwrap();
        let number = NumberId::new("42").unwrap();
        let wire = SigningKeyRotation {
            number: number.clone(),
            new_key: new.verifying_key(),
        }
        .sign(&old);
        let pinned = old.verifying_key();
        assert_eq!(
            SigningKeyRotation::verify(&wire, &number, &pinned),
            Ok(new.verifying_key())
        );
        assert_eq!(
            SigningKeyRotation::verify(&wire, &number, &new.verifying_key()),
            Err(EnvelopeError::BadSignature)
        );
        let other = NumberId::new("43").unwrap();
        assert_eq!(
            SigningKeyRotation::verify(&wire, &other, &pinned),
            Err(EnvelopeError::WrongNumber)
        );
        for at in 0..wire.len() {
            let mut bad = wire.clone();
            bad[at] ^= 0x10;
            assert!(SigningKeyRotation::verify(&bad, &number, &pinned).is_err());
            assert!(SigningKeyRotation::verify(&wire[..at], &number, &pinned).is_err());
        }
    }

    #[test]
    fn a_rotation_is_no_vault_key_statement() {
        let old = SigningKey::generate(&mut OsEntropy).unwrap();
        let number = NumberId::new("42").unwrap();
        let wire = SigningKeyRotation {
            number: number.clone(),
            new_key: old.verifying_key(),
        }
        .sign(&old);
        let signer = old.verifying_key();
        let check = crate::VaultKeyCheck {
            number: &number,
            signer: &signer,
            highest_sequence: 0,
        };
        let refused = crate::VaultKeyStatement::verify(&wire, &check, crate::UnixMillis(0));
        assert_eq!(
            refused.err(),
            Some(EnvelopeError::Malformed("vault key statement"))
        );
    }
}
