//! Wraps that must be refused, each with the reason.

use sealpost_envelope::EnvelopeError as E;

use super::document::{Hex, RefusedWrap, WrapCase};
use super::edit::{OTHER_NUMBER, SKEW, edit, resign_wrap};
use super::make::{BEGIN, HOUR, NOW, NUMBER, signing};

pub(crate) fn wraps(cases: &[WrapCase]) -> Vec<RefusedWrap> {
    let good = &cases[0];
    let wire = good.wire.bytes();
    let business = signing("business signing");
    // Offsets into the wire; the context begins at 2.
    let (version, suite, direction, number) = (2 + 17, 2 + 20, 2 + 28, 2 + 31);
    let sender = number + 15 + 2;
    let recipient = sender + 18;
    let not_before = recipient + 18;
    let not_after = not_before + 10;
    let nonce = not_after + 10;
    let enc = nonce + 16;
    let (ct, signature) = (enc + 1120, enc + 1168);

    let flip = |at: usize| edit(&wire, at, &[wire[at] ^ 1]);
    let edited = |at: usize, with: &[u8]| resign_wrap(edit(&wire, at, with), &business);
    let before = |at: u64| edited(not_after, &at.to_be_bytes());
    let mut out = Vec::new();
    let mut add = |name: &str, wire: Vec<u8>, error: E| {
        out.push(refused_wrap(name, good, (NUMBER, 1, NOW), &wire, error));
    };
    add("empty", Vec::new(), E::Malformed(""));
    add(
        "cut short",
        wire[..wire.len() - 1].to_vec(),
        E::Malformed(""),
    );
    add(
        "one byte more",
        [&wire[..], &[0]].concat(),
        E::Malformed(""),
    );
    add("another domain", edited(4, b"S"), E::Malformed(""));
    add("version 2", edited(version, &[2]), E::UnsupportedVersion);
    add("AES-128", edited(suite + 5, &[1]), E::UnsupportedSuite);
    add("direction 3", edited(direction, &[3]), E::Malformed(""));
    add(
        "a letter in the number",
        edited(number, b"x"),
        E::Malformed(""),
    );
    add(
        "validity of two hours and a millisecond",
        before(BEGIN + 2 * HOUR + 1),
        E::InvalidValidity,
    );
    add("empty validity", before(BEGIN), E::InvalidValidity);
    add("another sender key", flip(sender), E::WrongSender);
    add("flipped nonce", flip(nonce), E::BadSignature);
    add("flipped enc", flip(enc), E::BadSignature);
    add("flipped ct", flip(ct), E::BadSignature);
    add("flipped signature", flip(signature), E::BadSignature);
    add(
        "signed by another",
        resign_wrap(wire.clone(), &signing("stranger")),
        E::BadSignature,
    );
    add(
        "another recipient key",
        edited(recipient, &[wire[recipient] ^ 1]),
        E::WrongRecipient,
    );
    add(
        "flipped nonce, signed again",
        edited(nonce, &[wire[nonce] ^ 1]),
        E::Undecryptable,
    );
    add(
        "flipped enc, signed again",
        edited(enc, &[wire[enc] ^ 1]),
        E::Undecryptable,
    );
    add(
        "flipped ct, signed again",
        edited(ct, &[wire[ct] ^ 1]),
        E::Undecryptable,
    );
    add(
        "enc of low order, signed again",
        edited(enc + 1088, &[0; 32]),
        E::Undecryptable,
    );

    let early = BEGIN - SKEW - 1;
    let mut add = |name: &str, number: &str, direction: u8, now: u64, error: E| {
        out.push(refused_wrap(
            name,
            good,
            (number, direction, now),
            &wire,
            error,
        ));
    };
    add(
        "read for another number",
        OTHER_NUMBER,
        1,
        NOW,
        E::WrongNumber,
    );
    add(
        "read for the other direction",
        NUMBER,
        2,
        NOW,
        E::WrongDirection,
    );
    add("too early", NUMBER, 1, early, E::KeyNotYetValid);
    add("too late", NUMBER, 1, BEGIN + HOUR + 1, E::KeyExpired);
    out
}

fn refused_wrap(
    name: &str,
    good: &WrapCase,
    (number, direction, now): (&str, u8, u64),
    wire: &[u8],
    error: E,
) -> RefusedWrap {
    RefusedWrap {
        name: name.to_owned(),
        wrap: good.name.clone(),
        number: number.to_owned(),
        direction,
        now,
        wire: Hex::new(wire),
        error: error.reason().to_owned(),
    }
}
