//! `docs/vectors/envelope.json` is what this crate makes, and this crate does with it what it says.
#![allow(clippy::unwrap_used)]

#[path = "../examples/vectors/cases/mod.rs"]
mod cases;

use cases::document::{Document, Hex, WrapCase};
use sealpost_envelope::{
    ContentKey, EnvelopeError, HpkeSecretKey, MessageId, MessageIdKey, NumberId, Opener, Secret,
    SigningKey, SigningKeyRotation, UnixMillis, UnverifiedWrap, VaultKeyCheck, VaultKeyStatement,
    VerifyingKey, WrapDirection, padded_len,
};

const STORED: &str = include_str!("../../../docs/vectors/envelope.json");

fn stored() -> Document {
    serde_json::from_str(STORED).unwrap()
}

fn secret(hex: &Hex) -> Secret<32> {
    Secret::from_slice(&hex.bytes()).unwrap()
}

fn verifying(hex: &Hex) -> VerifyingKey {
    VerifyingKey::from_bytes(hex.bytes().as_slice().try_into().unwrap()).unwrap()
}

fn open_wrap(
    case: &WrapCase,
    wire: &Hex,
    (number, direction, now): (&str, u8, u64),
) -> Result<ContentKey, EnvelopeError> {
    let opener = Opener {
        number: &NumberId::new(number).unwrap(),
        direction: WrapDirection::try_from(direction).unwrap(),
        sender: &verifying(&case.sender_public_key),
        recipient: &HpkeSecretKey::from_seed(&secret(&case.recipient_seed)).unwrap(),
    };
    UnverifiedWrap::parse(&wire.bytes())?.open(&opener, UnixMillis(now))
}

fn content_key(document: &Document, wrap: &str) -> ContentKey {
    let case = document
        .wraps
        .iter()
        .find(|case| case.name == wrap)
        .unwrap();
    open_wrap(case, &case.wire, (&case.number, case.direction, case.now)).unwrap()
}

#[test]
fn the_stored_file_is_what_the_generator_makes() {
    let made = cases::document().to_json();
    assert!(
        made == STORED,
        "run: cargo run -p sealpost-envelope --example vectors"
    );
}

#[test]
fn every_stored_wrap_opens() {
    for case in stored().wraps {
        let recipient = HpkeSecretKey::from_seed(&secret(&case.recipient_seed)).unwrap();
        assert_eq!(
            Hex::new(recipient.public_key().to_bytes()),
            case.recipient_public_key
        );
        let sender = SigningKey::from_seed(&secret(&case.sender_seed));
        assert_eq!(
            Hex::new(sender.verifying_key().as_bytes()),
            case.sender_public_key
        );
        let key = open_wrap(&case, &case.wire, (&case.number, case.direction, case.now)).unwrap();
        assert_eq!(Hex::new(key.id().as_bytes()), case.content_key_id);
    }
}

#[test]
fn every_stored_message_opens_padded_and_unpadded() {
    let document = stored();
    for case in &document.messages {
        let key = content_key(&document, &case.wrap);
        let (header, body, now) = (case.header.bytes(), case.body.bytes(), UnixMillis(case.now));
        let opened = key.open(&header, &body, now).unwrap();
        assert_eq!(Hex::new(opened.content.as_bytes()), case.content);
        assert_eq!(
            Hex::new(opened.header.message_id().as_bytes()),
            case.message_id
        );
        assert_eq!(opened.header.peer().expose(), case.peer);
        assert_eq!(opened.header.category() as u8, case.category);
        assert_eq!(opened.header.direction() as u8, case.direction);
        assert_eq!(opened.header.time().0, case.time);
        let padded = key.open_padded(&header, &body, now).unwrap();
        assert_eq!(Hex::new(padded.content.as_bytes()), case.padded);
    }
}

#[test]
fn every_stored_statement_verifies() {
    let document = stored();
    for case in &document.vault_keys {
        let signer = verifying(&case.signer_public_key);
        assert_eq!(signer.fingerprint().to_string(), case.signer_fingerprint);
        let number = NumberId::new(&case.number).unwrap();
        let highest_sequence = case.highest_sequence;
        let check = VaultKeyCheck {
            number: &number,
            signer: &signer,
            highest_sequence,
        };
        let wire = case.wire.bytes();
        let key = VaultKeyStatement::verify(&wire, &check, UnixMillis(case.now)).unwrap();
        assert_eq!(Hex::new(key.public_key().to_bytes()), case.public_key);
        assert_eq!(key.sequence(), case.sequence);
    }
    for case in &document.rotations {
        let number = NumberId::new(&case.number).unwrap();
        let pinned = verifying(&case.old_public_key);
        let new = SigningKeyRotation::verify(&case.wire.bytes(), &number, &pinned).unwrap();
        assert_eq!(Hex::new(new.as_bytes()), case.new_public_key);
    }
}

#[test]
fn every_stored_message_id_and_length_comes_out() {
    let document = stored();
    for case in &document.message_ids {
        let key = MessageIdKey::new(secret(&case.key));
        let number = NumberId::new(&case.number).unwrap();
        let id = MessageId::derive(&key, &number, &case.idempotency_key.bytes());
        assert_eq!(Hex::new(id.as_bytes()), case.message_id);
    }
    for case in &document.padding {
        assert_eq!(padded_len(case.content_length), Ok(case.padded_length));
    }
}

#[test]
fn every_stored_refusal_is_refused_for_its_reason() {
    let document = stored();
    for case in &document.refused_wraps {
        let good = document
            .wraps
            .iter()
            .find(|wrap| wrap.name == case.wrap)
            .unwrap();
        let facts = (case.number.as_str(), case.direction, case.now);
        let opened = open_wrap(good, &case.wire, facts);
        assert_eq!(
            opened.err().map(EnvelopeError::reason),
            Some(case.error.as_str()),
            "{}",
            case.name
        );
    }
    for case in &document.refused_messages {
        let key = content_key(&document, &case.wrap);
        let opened = key.open(
            &case.header.bytes(),
            &case.body.bytes(),
            UnixMillis(case.now),
        );
        assert_eq!(
            opened.err().map(EnvelopeError::reason),
            Some(case.error.as_str()),
            "{}",
            case.name
        );
    }
    for case in &document.refused_vault_keys {
        let check = VaultKeyCheck {
            number: &NumberId::new(&case.number).unwrap(),
            signer: &verifying(&case.signer_public_key),
            highest_sequence: case.highest_sequence,
        };
        let verified = VaultKeyStatement::verify(&case.wire.bytes(), &check, UnixMillis(case.now));
        assert_eq!(
            verified.err().unwrap().reason(),
            case.error,
            "{}",
            case.name
        );
    }
    for case in &document.refused_rotations {
        let number = NumberId::new(&case.number).unwrap();
        let pinned = verifying(&case.pinned_public_key);
        let verified = SigningKeyRotation::verify(&case.wire.bytes(), &number, &pinned);
        assert_eq!(
            verified.err().unwrap().reason(),
            case.error,
            "{}",
            case.name
        );
    }
}
