//! Receipts: what the vault says it has destroyed, and whether it really was the vault that said so.
//!
//! Pure. Invariant: a [`Verified`] receipt was signed by the key it was checked against, over exactly the bytes kept.

use bytes::Bytes;
use prost::Message;
use ring::signature::{ED25519, UnparsedPublicKey};
use sealpost_proto::{
    record::v1::EpochId,
    vault::v1::{ErasedSubject, Receipt, ReceiptStatement, receipt_statement},
};
use sealpost_runtime::Timestamp;

/// What every statement begins with, so that no other signed bytes pass for one.
const DOMAIN: &str = "sealpost/receipt/v1";
/// No statement is longer, in bytes.
const MAX_STATEMENT: usize = 256;

/// The vault's public receipt key: 32 bytes of Ed25519.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiptKey([u8; 32]);

impl ReceiptKey {
    /// Takes `bytes` when they are 32.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

/// A stretch of time within a retention class, whose key is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch {
    /// How long anything lived, in seconds.
    pub retention_seconds: u32,
    /// Its start, in seconds since the Unix epoch.
    pub start_seconds: u64,
}

impl Epoch {
    pub(crate) fn to_wire(self) -> EpochId {
        EpochId {
            retention_seconds: self.retention_seconds,
            start_seconds: self.start_seconds,
        }
    }
}

/// A person, as blindly as can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The business's number, 1 to 32 digits.
    pub phone_number_id: String,
    /// The blind tag.
    pub tag: [u8; 16],
}

/// What was destroyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destroyed {
    /// An epoch's key.
    Epoch(Epoch),
    /// A subject's key.
    Subject(Subject),
    /// A number's keys: its id, 1 to 32 digits.
    Number(String),
}

/// A statement that could be read. Nobody has vouched for it yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// What was destroyed.
    pub destroyed: Destroyed,
    /// When.
    pub at: Timestamp,
}

/// A receipt whose signature holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    statement: Statement,
    receipt: Receipt,
}

/// Why a receipt is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// The statement cannot be read.
    #[error("the receipt's statement cannot be read")]
    Statement,
    /// It is signed, if at all, by another key than the vault's.
    #[error("the receipt names another key than the vault's")]
    Key,
    /// The signature does not hold.
    #[error("the receipt's signature does not hold")]
    Signature,
}

impl Statement {
    /// Reads a serialised statement.
    ///
    /// # Errors
    /// When it is none of ours or names nothing that can be.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReceiptError> {
        if bytes.len() > MAX_STATEMENT {
            return Err(ReceiptError::Statement);
        }
        let statement = ReceiptStatement::decode(bytes).map_err(|_| ReceiptError::Statement)?;
        if statement.domain != DOMAIN || i64::try_from(statement.destroyed_at_ms).is_err() {
            return Err(ReceiptError::Statement);
        }
        let destroyed = match &statement.destroyed {
            Some(receipt_statement::Destroyed::Epoch(epoch)) => parse_epoch(epoch),
            Some(receipt_statement::Destroyed::Subject(subject)) => parse_subject(subject),
            Some(receipt_statement::Destroyed::Number(number)) => {
                parse_number(&number.phone_number_id).map(Destroyed::Number)
            }
            // What links a person's tags is the operator's alone; rows go by the receipt of each.
            Some(receipt_statement::Destroyed::Person(_)) | None => None,
        };
        Ok(Self {
            destroyed: destroyed.ok_or(ReceiptError::Statement)?,
            at: Timestamp::from_millis(statement.destroyed_at_ms),
        })
    }
}

fn parse_epoch(epoch: &EpochId) -> Option<Destroyed> {
    let possible = (3_600..=2_592_000).contains(&epoch.retention_seconds)
        && epoch.start_seconds <= i64::MAX as u64 / 2_000;
    possible.then_some(Destroyed::Epoch(Epoch {
        retention_seconds: epoch.retention_seconds,
        start_seconds: epoch.start_seconds,
    }))
}

fn parse_subject(subject: &ErasedSubject) -> Option<Destroyed> {
    Some(Destroyed::Subject(Subject {
        phone_number_id: parse_number(&subject.phone_number_id)?,
        tag: subject.tag.as_ref().try_into().ok()?,
    }))
}

fn parse_number(number: &str) -> Option<String> {
    let digits =
        (1..=32).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| number.to_owned())
}

impl Verified {
    /// Checks `receipt` against the vault's `key` (RFC 8032 over the statement as serialised).
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn check(receipt: Receipt, key: ReceiptKey) -> Result<Self, ReceiptError> {
        if receipt.verification_key.as_ref() != key.as_slice() {
            return Err(ReceiptError::Key);
        }
        UnparsedPublicKey::new(&ED25519, key.as_slice())
            .verify(&receipt.statement, &receipt.signature)
            .map_err(|_| ReceiptError::Signature)?;
        let statement = Statement::parse(&receipt.statement)?;
        Ok(Self { statement, receipt })
    }

    /// What was destroyed.
    #[must_use]
    pub fn destroyed(&self) -> &Destroyed {
        &self.statement.destroyed
    }

    /// When.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.statement.at
    }

    /// As the vault signed it.
    #[must_use]
    pub fn receipt(&self) -> &Receipt {
        &self.receipt
    }
}

/// A receipt as it is kept.
pub(crate) fn receipt(statement: Vec<u8>, signature: Vec<u8>, key: Vec<u8>) -> Receipt {
    Receipt {
        statement: Bytes::from(statement),
        signature: Bytes::from(signature),
        verification_key: Bytes::from(key),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use ring::signature::{Ed25519KeyPair, KeyPair};

    use super::*;

    fn signer(seed: u8) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
    }

    fn key(signer: &Ed25519KeyPair) -> ReceiptKey {
        ReceiptKey::from_slice(signer.public_key().as_ref()).unwrap()
    }

    fn statement() -> ReceiptStatement {
        ReceiptStatement {
            domain: DOMAIN.into(),
            destroyed: Some(receipt_statement::Destroyed::Epoch(EpochId {
                retention_seconds: 3_600,
                start_seconds: 7_200,
            })),
            destroyed_at_ms: 1,
        }
    }

    fn signed(statement: &ReceiptStatement, signer: &Ed25519KeyPair) -> Receipt {
        let statement = statement.encode_to_vec();
        let signature = signer.sign(&statement).as_ref().to_vec();
        receipt(statement, signature, key(signer).as_slice().to_vec())
    }

    #[test]
    fn a_signed_receipt_is_believed_and_kept_as_signed() {
        let vault = signer(1);
        let receipt = signed(&statement(), &vault);
        let verified = Verified::check(receipt.clone(), key(&vault)).unwrap();
        assert_eq!(verified.receipt(), &receipt);
        let epoch = Epoch {
            retention_seconds: 3_600,
            start_seconds: 7_200,
        };
        assert_eq!(verified.destroyed(), &Destroyed::Epoch(epoch));
    }

    #[test]
    fn another_key_or_a_changed_byte_is_not_believed() {
        let (vault, other) = (signer(1), signer(2));
        let receipt = signed(&statement(), &other);
        assert_eq!(
            Verified::check(receipt.clone(), key(&vault)),
            Err(ReceiptError::Key)
        );

        let mut claimed = receipt;
        claimed.verification_key = Bytes::copy_from_slice(key(&vault).as_slice());
        assert_eq!(
            Verified::check(claimed, key(&vault)),
            Err(ReceiptError::Signature)
        );

        let mut unsigned = signed(&statement(), &vault);
        unsigned.signature = Bytes::new();
        assert_eq!(
            Verified::check(unsigned, key(&vault)),
            Err(ReceiptError::Signature)
        );
    }

    #[test]
    fn a_signed_statement_that_names_nothing_is_not_believed() {
        let vault = signer(1);
        type Spoil = fn(&mut ReceiptStatement);
        let spoils: [Spoil; 4] = [
            |s| s.domain = "sealpost/bundle/v1".into(),
            |s| s.destroyed = None,
            |s| {
                s.destroyed = Some(receipt_statement::Destroyed::Epoch(EpochId {
                    retention_seconds: 1,
                    start_seconds: 0,
                }));
            },
            |s| {
                s.destroyed = Some(receipt_statement::Destroyed::Subject(ErasedSubject {
                    phone_number_id: "+49151".into(),
                    tag: Bytes::from_static(&[1; 16]),
                }));
            },
        ];
        for spoil in spoils {
            let mut spoilt = statement();
            spoil(&mut spoilt);
            assert_eq!(
                Verified::check(signed(&spoilt, &vault), key(&vault)),
                Err(ReceiptError::Statement)
            );
        }
    }
}
