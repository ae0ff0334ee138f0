//! Signed statements that must be refused, each with the reason.

use sealpost_envelope::EnvelopeError as E;

use super::document::{Hex, RefusedRotation, RefusedVaultKey, RotationCase, VaultKeyCase};
use super::edit::{OTHER_NUMBER, SKEW, edit, resign_statement};
use super::make::{BEGIN, HOUR, NOW, NUMBER, signing};

pub(crate) fn vault_keys(good: &VaultKeyCase) -> Vec<RefusedVaultKey> {
    let wire = good.wire.bytes();
    let signer = signing("vault signing");
    // Offsets into the wire; the statement begins at 2.
    let (version, number) = (2 + 22, 2 + 25);
    let key_id = number + 15 + 2;
    let not_after = key_id + 16 + 10 + 10 + 2;
    let public_key = not_after + 8 + 2;
    let edited = |at: usize, with: &[u8]| resign_statement(&edit(&wire, at, with), &signer);
    let flip = |at: usize| [wire[at] ^ 1];

    let mut out = Vec::new();
    let mut add =
        |name: &str, wire: Vec<u8>, (number, now, highest): (&str, u64, u64), error: E| {
            out.push(RefusedVaultKey {
                name: name.to_owned(),
                number: number.to_owned(),
                signer_public_key: good.signer_public_key.clone(),
                now,
                highest_sequence: highest,
                wire: Hex::new(wire),
                error: error.reason().to_owned(),
            });
        };
    let known = (NUMBER, NOW, 258);
    add(
        "cut short",
        wire[..wire.len() - 1].to_vec(),
        known,
        E::Malformed(""),
    );
    add(
        "one byte more",
        [&wire[..], &[0]].concat(),
        known,
        E::Malformed(""),
    );
    add(
        "flipped public key",
        edit(&wire, public_key, &flip(public_key)),
        known,
        E::BadSignature,
    );
    add(
        "signed by another",
        resign_statement(&wire, &signing("stranger")),
        known,
        E::BadSignature,
    );
    add("another domain", edited(4, b"S"), known, E::Malformed(""));
    add(
        "version 2",
        edited(version, &[2]),
        known,
        E::UnsupportedVersion,
    );
    add(
        "key id of another key",
        edited(key_id, &flip(key_id)),
        known,
        E::WrongKeyId,
    );
    add(
        "X25519 half of low order",
        edited(public_key + 1184, &[0; 32]),
        known,
        E::InvalidKey,
    );
    add(
        "ML-KEM half out of range",
        edited(public_key, &[0xff; 3]),
        known,
        E::InvalidKey,
    );
    add(
        "empty validity",
        edited(not_after, &BEGIN.to_be_bytes()),
        known,
        E::InvalidValidity,
    );
    add(
        "another number",
        wire.clone(),
        (OTHER_NUMBER, NOW, 258),
        E::WrongNumber,
    );
    add(
        "too early",
        wire.clone(),
        (NUMBER, BEGIN - SKEW - 1, 258),
        E::KeyNotYetValid,
    );
    add(
        "too late",
        wire.clone(),
        (NUMBER, BEGIN + HOUR + 1, 258),
        E::KeyExpired,
    );
    add(
        "a higher sequence was seen",
        wire.clone(),
        (NUMBER, NOW, 259),
        E::StaleSequence,
    );
    out
}

pub(crate) fn rotations(good: &RotationCase) -> Vec<RefusedRotation> {
    let wire = good.wire.bytes();
    let old = signing("vault signing");
    // Offsets into the wire; the statement begins at 2.
    let key_id = 2 + 33 + 15 + 2;
    let new_key = key_id + 16 + 2;
    let edited = |at: usize, with: &[u8]| resign_statement(&edit(&wire, at, with), &old);
    let mut out = Vec::new();
    let mut add = |name: &str, number: &str, wire: Vec<u8>, error: E| {
        out.push(RefusedRotation {
            name: name.to_owned(),
            number: number.to_owned(),
            pinned_public_key: good.old_public_key.clone(),
            wire: Hex::new(wire),
            error: error.reason().to_owned(),
        });
    };
    let point = |first: u8, rest: u8, last: u8| {
        let mut y = [rest; 32];
        (y[0], y[31]) = (first, last);
        y
    };
    let signed_by_new = resign_statement(&wire, &signing("next vault signing"));
    add(
        "one byte more",
        NUMBER,
        [&wire[..], &[0]].concat(),
        E::Malformed(""),
    );
    add(
        "flipped new key",
        NUMBER,
        edit(&wire, new_key, &[wire[new_key] ^ 1]),
        E::BadSignature,
    );
    add(
        "signed by the new key",
        NUMBER,
        signed_by_new,
        E::BadSignature,
    );
    for (name, y) in [
        ("new key of low order", point(1, 0, 0)),
        ("new key off the curve", point(2, 0, 0)),
        ("new key not canonical", point(0xed + 3, 0xff, 0x7f)),
    ] {
        add(name, NUMBER, edited(new_key, &y), E::InvalidKey);
    }
    add("another number", OTHER_NUMBER, wire.clone(), E::WrongNumber);
    add(
        "another old key",
        NUMBER,
        edited(key_id, &[wire[key_id] ^ 1]),
        E::WrongKeyId,
    );
    out
}
