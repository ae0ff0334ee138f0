//! The vault's statement that an HPKE key is a number's, signed by the number's vault signing key; and the form that
//! every signed statement has: `FIELD(statement) ‖ signature`.
//!
//! Invariant: a [`PublishedKey`] was signed, was valid when checked, and was no older than any seen before.

use crate::field::{Reader, put_field};
use crate::{
    EnvelopeError, HpkePublicKey, KeyId, NumberId, SIGNATURE_LEN, SigningKey, UnixMillis, Validity,
    VerifyingKey,
};

const DOMAIN: &[u8] = b"sealpost/vault-key";

/// What the vault says of one of its HPKE keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultKeyStatement {
    /// The number that the key serves.
    pub number: NumberId,
    /// Grows with each new key of the number.
    pub sequence: u64,
    /// When a sender may wrap for the key.
    pub validity: Validity,
    /// The key.
    pub public_key: HpkePublicKey,
}

/// What a reader of a statement already knows.
#[derive(Clone, Copy, Debug)]
pub struct VaultKeyCheck<'a> {
    /// The number it asked about.
    pub number: &'a NumberId,
    /// The pinned vault signing key of that number.
    pub signer: &'a VerifyingKey,
    /// The highest sequence seen for the number; 0 at first.
    pub highest_sequence: u64,
}

/// A vault HPKE key that passed every check: fit to wrap for.
#[derive(Clone, Debug)]
pub struct PublishedKey(VaultKeyStatement);

impl VaultKeyStatement {
    /// The signed wire form.
    #[must_use]
    pub fn sign(&self, signer: &SigningKey) -> Vec<u8> {
        sign_statement(&self.encode(), signer)
    }

    /// Checks a signed statement.
    ///
    /// # Errors
    /// In this order: [`EnvelopeError::Malformed`], [`EnvelopeError::BadSignature`], the statement's own format
    /// ([`EnvelopeError::UnsupportedVersion`], [`EnvelopeError::WrongKeyId`], [`EnvelopeError::InvalidKey`],
    /// [`EnvelopeError::InvalidValidity`]), [`EnvelopeError::WrongNumber`], [`EnvelopeError::KeyNotYetValid`] or
    /// [`EnvelopeError::KeyExpired`], [`EnvelopeError::StaleSequence`].
    pub fn verify(
        wire: &[u8],
        check: &VaultKeyCheck<'_>,
        now: UnixMillis,
    ) -> Result<PublishedKey, EnvelopeError> {
        let statement = Self::parse(verify_statement(wire, check.signer)?)?;
        if statement.number != *check.number {
            return Err(EnvelopeError::WrongNumber);
        }
        statement.validity.check(now)?;
        if statement.sequence < check.highest_sequence {
            return Err(EnvelopeError::StaleSequence);
        }
        Ok(PublishedKey(statement))
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1344);
        put_field(&mut out, DOMAIN);
        put_field(&mut out, &[1]);
        put_field(&mut out, self.number.as_str().as_bytes());
        put_field(&mut out, self.public_key.key_id().as_bytes());
        put_field(&mut out, &self.sequence.to_be_bytes());
        put_field(&mut out, &self.validity.not_before().0.to_be_bytes());
        put_field(&mut out, &self.validity.not_after().0.to_be_bytes());
        put_field(&mut out, &self.public_key.to_bytes());
        out
    }

    fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let mut reader = Reader::new(bytes, "vault key statement");
        reader.domain(DOMAIN)?;
        reader.version()?;
        let number = NumberId::from_ascii(reader.field()?)?;
        let key_id = KeyId::from_bytes(reader.array_field()?);
        let sequence = reader.u64_field()?;
        let not_before = UnixMillis(reader.u64_field()?);
        let not_after = UnixMillis(reader.u64_field()?);
        let public_key = reader.field()?;
        if public_key.len() != crate::HPKE_PUBLIC_KEY_LEN {
            return Err(reader.malformed());
        }
        reader.finish()?;
        let public_key = HpkePublicKey::from_bytes(public_key)?;
        if public_key.key_id() != key_id {
            return Err(EnvelopeError::WrongKeyId);
        }
        Ok(Self {
            number,
            sequence,
            validity: Validity::new(not_before, not_after)?,
            public_key,
        })
    }
}

impl PublishedKey {
    /// The key to wrap for.
    #[must_use]
    pub fn public_key(&self) -> &HpkePublicKey {
        &self.0.public_key
    }

    /// The number it serves.
    #[must_use]
    pub fn number(&self) -> &NumberId {
        &self.0.number
    }

    /// To be remembered as the highest seen.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.0.sequence
    }

    /// When it may be wrapped for.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.0.validity
    }
}

/// `FIELD(statement) ‖ signature`.
pub(crate) fn sign_statement(statement: &[u8], signer: &SigningKey) -> Vec<u8> {
    let mut wire = Vec::with_capacity(2 + statement.len() + SIGNATURE_LEN);
    put_field(&mut wire, statement);
    wire.extend_from_slice(&signer.sign(statement));
    wire
}

/// The statement, if `signer` signed it.
pub(crate) fn verify_statement<'a>(
    wire: &'a [u8],
    signer: &VerifyingKey,
) -> Result<&'a [u8], EnvelopeError> {
    let mut reader = Reader::new(wire, "signed statement");
    let statement = reader.field()?;
    let signature = reader.array()?;
    reader.finish()?;
    signer.verify(statement, &signature)?;
    Ok(statement)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{HpkeSecretKey, OsEntropy};

    #[test]
    fn a_statement_verifies_and_no_lower_sequence_any_other_number_or_time_does() {
        let signer = SigningKey::generate(&mut OsEntropy).unwrap();
        let hpke = HpkeSecretKey::generate(&mut OsEntropy).unwrap();
        let number = NumberId::new("15550001").unwrap();
        let statement = VaultKeyStatement {
            number: number.clone(),
            sequence: 7,
            validity: Validity::new(UnixMillis(1_000_000), UnixMillis(4_600_000)).unwrap(),
            public_key: hpke.public_key().clone(),
        };
        let wire = statement.sign(&signer);
        let public = signer.verifying_key();
        let verify = |number: &NumberId, highest_sequence, now| {
            let check = VaultKeyCheck {
                number,
                signer: &public,
                highest_sequence,
            };
            VaultKeyStatement::verify(&wire, &check, UnixMillis(now)).map(|key| key.sequence())
        };
        assert_eq!(verify(&number, 0, 1_000_000), Ok(7));
        assert_eq!(verify(&number, 7, 4_600_000), Ok(7));
        assert_eq!(
            verify(&number, 8, 1_000_000),
            Err(EnvelopeError::StaleSequence)
        );
        assert_eq!(
            verify(&number, 7, 4_600_001),
            Err(EnvelopeError::KeyExpired)
        );
        assert_eq!(
            verify(&number, 7, 699_999),
            Err(EnvelopeError::KeyNotYetValid)
        );
        assert_eq!(
            verify(&NumberId::new("15550002").unwrap(), 7, 1_000_000),
            Err(EnvelopeError::WrongNumber)
        );
    }

    #[test]
    fn every_flipped_byte_and_every_other_length_is_refused() {
        let signer = SigningKey::generate(&mut OsEntropy).unwrap();
        let number = NumberId::new("1").unwrap();
        let statement = VaultKeyStatement {
            number: number.clone(),
            sequence: 1,
            validity: Validity::new(UnixMillis(0), UnixMillis(1)).unwrap(),
            public_key: HpkeSecretKey::generate(&mut OsEntropy)
                .unwrap()
                .public_key()
                .clone(),
        };
        let wire = statement.sign(&signer);
        let public = signer.verifying_key();
        let check = VaultKeyCheck {
            number: &number,
            signer: &public,
            highest_sequence: 0,
        };
        let refused = |wire: &[u8]| VaultKeyStatement::verify(wire, &check, UnixMillis(0)).is_err();
        assert!(!refused(&wire));
        for at in 0..wire.len() {
            let mut bad = wire.clone();
            bad[at] ^= 1 << (at % 8);
            assert!(refused(&bad) && refused(&wire[..at]), "{at}");
        }
        assert!(refused(&[&wire[..], &[0]].concat()));
    }
}
