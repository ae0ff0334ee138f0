//! Which vault signing key and HPKE key of a number to believe. Pure: answers of the gateway in, a verdict out.
//!
//! Invariant: every key held here is vouched for by the pinned fingerprint, directly or by a chain of rotations each signed
//! by the key before it; and no HPKE key follows one of a higher sequence.

use sealpost_envelope::{
    EnvelopeError, Fingerprint, NumberId, PublishedKey, SigningKeyRotation, UnixMillis,
    VaultKeyCheck, VaultKeyStatement, VerifyingKey,
};
use sealpost_proto::envelope::v1::PublishedVaultKey;
use thiserror::Error;

/// Why a published vault key is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TrustError {
    /// The vault signing key is neither the pinned one nor does a rotation lead to it from one that was trusted. Ask the operator
    /// for the fingerprint anew, by another way than the gateway.
    #[error("the vault signing key does not match the pinned fingerprint")]
    PinMismatch,
    /// The signed statement was refused.
    #[error("{0}")]
    Statement(EnvelopeError),
    /// The answer carries no key.
    #[error("the answer carries no key")]
    Missing,
}

impl TrustError {
    /// Whether the key is merely out of its time, as one from a cache may be: another may come.
    #[must_use]
    pub fn is_transient(self) -> bool {
        use EnvelopeError::{KeyExpired, KeyNotYetValid, StaleSequence};
        matches!(
            self,
            Self::Statement(KeyExpired | KeyNotYetValid | StaleSequence)
        )
    }
}

/// What is believed of one number.
pub(crate) struct Trust {
    number: NumberId,
    pin: Fingerprint,
    signer: Option<VerifyingKey>,
    highest_sequence: u64,
    published: Option<PublishedKey>,
}

impl Trust {
    pub(crate) fn new(number: NumberId, pin: Fingerprint) -> Self {
        Self {
            number,
            pin,
            signer: None,
            highest_sequence: 0,
            published: None,
        }
    }

    /// The vault signing key, once one was believed.
    pub(crate) fn signer(&self) -> Option<&VerifyingKey> {
        self.signer.as_ref()
    }

    /// The newest HPKE key, if it may be wrapped for at `now`.
    pub(crate) fn published(&self, now: UnixMillis) -> Option<&PublishedKey> {
        self.published
            .as_ref()
            .filter(|key| key.validity().check(now).is_ok())
    }

    /// Takes the gateway's answer in; a refusal changes nothing.
    pub(crate) fn learn(
        &mut self,
        answer: &PublishedVaultKey,
        now: UnixMillis,
    ) -> Result<(), TrustError> {
        let signer = self.believe_signer(answer)?;
        let check = VaultKeyCheck {
            number: &self.number,
            signer: &signer,
            highest_sequence: self.highest_sequence,
        };
        let published = VaultKeyStatement::verify(&answer.statement, &check, now)
            .map_err(TrustError::Statement)?;
        self.highest_sequence = published.sequence();
        self.signer = Some(signer);
        self.published = Some(published);
        Ok(())
    }

    fn believe_signer(&self, answer: &PublishedVaultKey) -> Result<VerifyingKey, TrustError> {
        let present: &[u8; 32] = answer
            .signing_key
            .as_ref()
            .try_into()
            .map_err(|_| TrustError::Missing)?;
        let present = VerifyingKey::from_bytes(present).map_err(TrustError::Statement)?;
        let is_believed = match &self.signer {
            Some(known) => self.follow(*known, &answer.signing_key_rotations) == present,
            None => present.fingerprint() == self.pin,
        };
        is_believed
            .then_some(present)
            .ok_or(TrustError::PinMismatch)
    }

    /// Where the rotations lead from `known`. Those that lead up to it were signed by older keys and are passed over.
    fn follow<B: AsRef<[u8]>>(&self, known: VerifyingKey, rotations: &[B]) -> VerifyingKey {
        rotations.iter().fold(known, |key, rotation| {
            SigningKeyRotation::verify(rotation.as_ref(), &self.number, &key).unwrap_or(key)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use sealpost_envelope::{HpkeSecretKey, OsEntropy, SigningKey, Validity};

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
    const HOUR: u64 = 3_600_000;

    fn number() -> NumberId {
        "106540352242922".parse().unwrap()
    }

    fn key() -> SigningKey {
        SigningKey::generate(&mut OsEntropy).unwrap()
    }

    struct Answer<'a> {
        signer: &'a SigningKey,
        rotations: Vec<Vec<u8>>,
        sequence: u64,
        number: NumberId,
    }

    impl<'a> Answer<'a> {
        fn of(signer: &'a SigningKey, sequence: u64) -> Self {
            Self {
                signer,
                rotations: Vec::new(),
                sequence,
                number: number(),
            }
        }

        fn wire(self) -> PublishedVaultKey {
            let statement = VaultKeyStatement {
                number: self.number,
                sequence: self.sequence,
                validity: Validity::new(NOW, UnixMillis(NOW.0 + HOUR)).unwrap(),
                public_key: HpkeSecretKey::generate(&mut OsEntropy)
                    .unwrap()
                    .public_key()
                    .clone(),
            };
            PublishedVaultKey {
                statement: statement.sign(self.signer).into(),
                signing_key_rotations: self.rotations.into_iter().map(Into::into).collect(),
                signing_key: self.signer.verifying_key().as_bytes().to_vec().into(),
            }
        }
    }

    fn rotation(old: &SigningKey, new: &SigningKey) -> Vec<u8> {
        SigningKeyRotation {
            number: number(),
            new_key: new.verifying_key(),
        }
        .sign(old)
    }

    fn pinned(key: &SigningKey) -> Trust {
        Trust::new(number(), key.verifying_key().fingerprint())
    }

    #[test]
    fn the_pinned_key_is_believed() {
        let vault = key();
        let mut trust = pinned(&vault);
        trust.learn(&Answer::of(&vault, 4).wire(), NOW).unwrap();
        assert_eq!(trust.signer(), Some(&vault.verifying_key()));
        assert_eq!(trust.published(NOW).unwrap().sequence(), 4);
        assert!(trust.published(UnixMillis(NOW.0 + HOUR + 1)).is_none());
    }

    #[test]
    fn a_gateway_with_a_key_of_its_own_is_refused() {
        let mut trust = pinned(&key());
        let refused = trust.learn(&Answer::of(&key(), 1).wire(), NOW);
        assert_eq!(refused, Err(TrustError::PinMismatch));
        assert!(trust.signer().is_none());
    }

    #[test]
    fn the_pinned_key_beside_a_foreign_statement_is_refused() {
        let vault = key();
        let foreign = key();
        let mut answer = Answer::of(&foreign, 1).wire();
        answer.signing_key = vault.verifying_key().as_bytes().to_vec().into();
        assert_eq!(
            pinned(&vault).learn(&answer, NOW),
            Err(TrustError::Statement(EnvelopeError::BadSignature))
        );
    }

    #[test]
    fn another_numbers_key_of_the_same_vault_is_refused() {
        let vault = key();
        let mut answer = Answer::of(&vault, 1);
        answer.number = "2".parse().unwrap();
        assert_eq!(
            pinned(&vault).learn(&answer.wire(), NOW),
            Err(TrustError::Statement(EnvelopeError::WrongNumber))
        );
    }

    #[test]
    fn the_sequence_never_goes_back() {
        let vault = key();
        let mut trust = pinned(&vault);
        trust.learn(&Answer::of(&vault, 5).wire(), NOW).unwrap();
        assert_eq!(
            trust.learn(&Answer::of(&vault, 4).wire(), NOW),
            Err(TrustError::Statement(EnvelopeError::StaleSequence))
        );
        assert_eq!(trust.published(NOW).unwrap().sequence(), 5);
    }

    #[test]
    fn a_key_out_of_its_time_is_refused_but_may_be_followed_by_another() {
        let vault = key();
        let answer = Answer::of(&vault, 1).wire();
        for moment in [NOW.0 + HOUR + 1, NOW.0 - HOUR] {
            let refused = pinned(&vault).learn(&answer, UnixMillis(moment));
            assert!(refused.unwrap_err().is_transient());
        }
        assert!(!TrustError::PinMismatch.is_transient());
    }

    #[test]
    fn rotations_lead_from_the_known_key_to_the_present_one() {
        let (first, second, third, fourth) = (key(), key(), key(), key());
        let mut trust = pinned(&second);
        trust.learn(&Answer::of(&second, 1).wire(), NOW).unwrap();
        let mut answer = Answer::of(&fourth, 2);
        answer.rotations = vec![
            rotation(&first, &second),
            rotation(&second, &third),
            rotation(&third, &fourth),
        ];
        trust.learn(&answer.wire(), NOW).unwrap();
        assert_eq!(trust.signer(), Some(&fourth.verifying_key()));
    }

    #[test]
    fn a_rotation_that_the_known_key_did_not_sign_is_refused() {
        let (known, foreign) = (key(), key());
        let mut trust = pinned(&known);
        trust.learn(&Answer::of(&known, 1).wire(), NOW).unwrap();
        let mut answer = Answer::of(&foreign, 2);
        answer.rotations = vec![rotation(&foreign, &foreign)];
        assert_eq!(
            trust.learn(&answer.wire(), NOW),
            Err(TrustError::PinMismatch)
        );
    }

    #[test]
    fn an_old_signing_key_is_refused_after_a_rotation() {
        let (old, new) = (key(), key());
        let mut trust = pinned(&old);
        trust.learn(&Answer::of(&old, 1).wire(), NOW).unwrap();
        let mut answer = Answer::of(&new, 2);
        answer.rotations = vec![rotation(&old, &new)];
        trust.learn(&answer.wire(), NOW).unwrap();
        assert_eq!(
            trust.learn(&Answer::of(&old, 3).wire(), NOW),
            Err(TrustError::PinMismatch)
        );
    }
}
