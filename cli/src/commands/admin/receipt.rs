//! The vault's signed receipts of destruction, in words and as JSON.

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use sealpost_envelope::VerifyingKey;
use sealpost_proto::vault::v1::receipt_statement::Destroyed;
use sealpost_proto::vault::v1::{ErasedSubject, Receipt, ReceiptStatement};
use serde_json::{Value, json};

const DOMAIN: &str = "sealpost/receipt/v1";

/// A receipt that was looked into.
pub struct ReadReceipt<'a> {
    receipt: &'a Receipt,
    statement: ReceiptStatement,
    signed: bool,
}

impl<'a> ReadReceipt<'a> {
    /// Reads the statement and checks the signature under the key that stands beside it: whether that key is the vault's, its
    /// fingerprint says.
    pub fn new(receipt: &'a Receipt) -> anyhow::Result<Self> {
        let statement = ReceiptStatement::decode(receipt.statement.clone())
            .context("the receipt cannot be read")?;
        anyhow::ensure!(
            statement.domain == DOMAIN,
            "this is no receipt that this version knows"
        );
        let key = <&[u8; 32]>::try_from(&*receipt.verification_key)
            .ok()
            .and_then(|key| VerifyingKey::from_bytes(key).ok());
        let signature = <&[u8; 64]>::try_from(&*receipt.signature).ok();
        let signed = match (key, signature) {
            (Some(key), Some(signature)) => key.verify(&receipt.statement, signature).is_ok(),
            _ => false,
        };
        Ok(Self {
            receipt,
            statement,
            signed,
        })
    }

    /// Whether its signature is good.
    pub fn is_signed(&self) -> bool {
        self.signed
    }

    /// What was destroyed.
    pub fn what(&self) -> String {
        match &self.statement.destroyed {
            Some(Destroyed::Epoch(epoch)) => format!(
                "epoch {} of class {} s",
                epoch.start_seconds, epoch.retention_seconds
            ),
            Some(Destroyed::Subject(subject)) => format!(
                "subject {} of number {}",
                hex::encode(&subject.tag),
                subject.phone_number_id
            ),
            Some(Destroyed::Number(number)) => format!("number {}", number.phone_number_id),
            Some(Destroyed::Person(person)) => format!(
                "a person at {} of {} numbers",
                person.subjects.len(),
                person.subjects.len() + person.unknown_at.len()
            ),
            None => "nothing".to_owned(),
        }
    }

    /// When, milliseconds since the Unix epoch.
    pub fn destroyed_at_ms(&self) -> u64 {
        self.statement.destroyed_at_ms
    }

    /// Everything, with the signed bytes in base64.
    pub fn json(&self) -> Value {
        let destroyed = match &self.statement.destroyed {
            Some(Destroyed::Epoch(epoch)) => json!({"epoch": {
                "retention_seconds": epoch.retention_seconds,
                "start_seconds": epoch.start_seconds,
            }}),
            Some(Destroyed::Subject(subject)) => json!({"subject": describe(subject)}),
            Some(Destroyed::Number(number)) => json!({"number": {
                "phone_number_id": number.phone_number_id,
                "vault_fingerprint": hex::encode(&number.fingerprint),
            }}),
            Some(Destroyed::Person(person)) => json!({"person": {
                "subjects": person.subjects.iter().map(describe).collect::<Vec<_>>(),
                "unknown_at": person.unknown_at,
            }}),
            None => Value::Null,
        };
        json!({
            "destroyed": destroyed,
            "destroyed_at_ms": self.statement.destroyed_at_ms,
            "statement": STANDARD.encode(&self.receipt.statement),
            "signature": STANDARD.encode(&self.receipt.signature),
            "verification_key": hex::encode(&self.receipt.verification_key),
            "signature_is_good": self.signed,
        })
    }
}

fn describe(subject: &ErasedSubject) -> Value {
    json!({
        "phone_number_id": subject.phone_number_id,
        "tag": hex::encode(&subject.tag),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use sealpost_envelope::{OsEntropy, SigningKey};

    use super::*;

    fn receipt(domain: &str) -> Receipt {
        let key = SigningKey::generate(&mut OsEntropy).unwrap();
        let statement = ReceiptStatement {
            domain: domain.to_owned(),
            destroyed: Some(Destroyed::Subject(ErasedSubject {
                phone_number_id: "12".to_owned(),
                tag: vec![0xab; 16].into(),
            })),
            destroyed_at_ms: 5,
        }
        .encode_to_vec();
        Receipt {
            signature: key.sign(&statement).to_vec().into(),
            statement: statement.into(),
            verification_key: key.verifying_key().as_bytes().to_vec().into(),
        }
    }

    #[test]
    fn a_receipt_says_what_was_destroyed_and_whether_its_signature_is_good() {
        let good = receipt(DOMAIN);
        let read = ReadReceipt::new(&good).unwrap();
        assert!(read.is_signed());
        assert_eq!(
            read.what(),
            format!("subject {} of number 12", "ab".repeat(16))
        );
        assert_eq!(read.json()["destroyed"]["subject"]["tag"], "ab".repeat(16));
        assert_eq!(read.destroyed_at_ms(), 5);
    }

    #[test]
    fn a_receipt_with_a_foreign_or_missing_signature_is_not_called_signed() {
        let mut swapped = receipt(DOMAIN);
        swapped.signature = receipt(DOMAIN).signature;
        assert!(!ReadReceipt::new(&swapped).unwrap().is_signed());
        swapped.signature = Vec::new().into();
        assert!(!ReadReceipt::new(&swapped).unwrap().is_signed());
    }

    #[test]
    fn a_statement_of_another_domain_is_no_receipt() {
        assert!(ReadReceipt::new(&receipt("sealpost/other")).is_err());
    }
}
