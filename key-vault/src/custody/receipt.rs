//! The receipt key: signs what was destroyed, so that retention and auditors need not take its word.

use sealpost_envelope::{Entropy, EnvelopeError, Secret, SigningKey};
use sealpost_proto::vault::v1::{
    ErasedPerson, ErasedSubject, Receipt, ReceiptStatement, RemovedNumber,
    receipt_statement::Destroyed,
};
use sealpost_runtime::Timestamp;

use super::{Place, RootKey};
use crate::{epoch::EpochId, subject::Tag};

const DOMAIN: &str = "sealpost/receipt/v1";
const PLACE: Place<'static> = Place {
    table: "vault_keys",
    column: "sealed",
    row: b"receipt",
    number: "",
    key_version: 1,
    row_version: 1,
};

/// Signs receipts.
pub(crate) struct ReceiptKey(SigningKey);

impl ReceiptKey {
    /// A fresh key and its sealed seed.
    ///
    /// # Errors
    /// [`EnvelopeError::NoRandomness`].
    pub(crate) fn create(
        root: &RootKey,
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<u8>, EnvelopeError> {
        let seed = Secret::<32>::generate(entropy)?;
        root.seal(&PLACE, seed.expose(), entropy)
    }

    /// Opens a sealed seed. That it opens also proves that root key and database belong together.
    ///
    /// # Errors
    /// [`EnvelopeError::Undecryptable`].
    pub(crate) fn open(root: &RootKey, sealed: &[u8]) -> Result<Self, EnvelopeError> {
        let seed = Secret::from_slice(&root.open(&PLACE, sealed)?)?;
        Ok(Self(SigningKey::from_seed(&seed)))
    }

    /// Says that an epoch's key is gone.
    pub(crate) fn epoch_destroyed(&self, epoch: EpochId, at: Timestamp) -> Receipt {
        self.sign(Destroyed::Epoch(epoch.to_proto()), at)
    }

    /// Says that a subject's key is gone.
    pub(crate) fn subject_erased(&self, number: &str, tag: Tag, at: Timestamp) -> Receipt {
        let subject = ErasedSubject {
            phone_number_id: number.to_owned(),
            tag: tag.0.to_vec().into(),
        };
        self.sign(Destroyed::Subject(subject), at)
    }

    /// Says at which numbers a person's subject keys are gone.
    pub(crate) fn person_erased(&self, person: ErasedPerson, at: Timestamp) -> Receipt {
        self.sign(Destroyed::Person(person), at)
    }

    /// Says that a number's keys are gone.
    pub(crate) fn number_removed(
        &self,
        number: &str,
        fingerprint: [u8; 32],
        at: Timestamp,
    ) -> Receipt {
        let number = RemovedNumber {
            phone_number_id: number.to_owned(),
            fingerprint: fingerprint.to_vec().into(),
        };
        self.sign(Destroyed::Number(number), at)
    }

    /// What would be said of an epoch, unsigned.
    pub(crate) fn epoch_draft(&self, epoch: EpochId, at: Timestamp) -> Receipt {
        let signed = self.epoch_destroyed(epoch, at);
        Receipt {
            signature: bytes::Bytes::new(),
            ..signed
        }
    }

    /// Puts a kept statement and signature together again.
    pub(crate) fn receipt(&self, statement: Vec<u8>, signature: Vec<u8>) -> Receipt {
        Receipt {
            statement: statement.into(),
            signature: signature.into(),
            verification_key: self.0.verifying_key().as_bytes().to_vec().into(),
        }
    }

    fn sign(&self, destroyed: Destroyed, at: Timestamp) -> Receipt {
        let statement = ReceiptStatement {
            domain: DOMAIN.to_owned(),
            destroyed: Some(destroyed),
            destroyed_at_ms: at.as_millis(),
        };
        let statement = prost::Message::encode_to_vec(&statement);
        let signature = self.0.sign(&statement).to_vec();
        self.receipt(statement, signature)
    }
}
