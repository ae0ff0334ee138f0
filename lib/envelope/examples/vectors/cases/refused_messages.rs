//! Messages that must be refused, each with the reason.

use sealpost_envelope::{EnvelopeError as E, MessageId, aead::AeadKey};

use super::document::{Hex, MessageCase, RefusedMessage, WrapCase};
use super::edit::{SKEW, edit};
use super::make::{BEGIN, HOUR, NOW, Script, bytes, message_key, must};

pub(crate) fn messages(wraps: &[WrapCase], messages: &[MessageCase]) -> Vec<RefusedMessage> {
    let good = &messages[0];
    let (header, body) = (good.header.bytes(), good.body.bytes());
    // Offsets into the header.
    let number = 3;
    let peer = number + 15 + 1;
    let id = peer + 11;
    let (category, key_id, time) = (id + 16, id + 17, id + 33);
    let flip = |bytes: &[u8], at: usize| edit(bytes, at, &[bytes[at] ^ 1]);

    let mut out = Vec::new();
    let mut add = |name: &str, header: Vec<u8>, body: Vec<u8>, now: u64, error: E| {
        out.push(refused_message(name, &wraps[0], header, body, now, error));
    };
    let mut head =
        |name: &str, header: Vec<u8>, error: E| add(name, header, body.clone(), NOW, error);
    head("header: empty", Vec::new(), E::Malformed(""));
    head(
        "header: cut short",
        header[..header.len() - 1].to_vec(),
        E::Malformed(""),
    );
    head(
        "header: one byte more",
        [&header[..], &[0]].concat(),
        E::Malformed(""),
    );
    head(
        "header: version 2",
        edit(&header, 0, &[2]),
        E::UnsupportedVersion,
    );
    head(
        "header: direction 4",
        edit(&header, 1, &[4]),
        E::Malformed(""),
    );
    head(
        "header: peer led by 0",
        edit(&header, peer, b"0"),
        E::Malformed(""),
    );
    head(
        "header: category 5",
        edit(&header, category, &[5]),
        E::Malformed(""),
    );
    head(
        "header: another content key",
        flip(&header, key_id),
        E::WrongContentKey,
    );
    head(
        "header: another number",
        edit(&header, number + 14, b"3"),
        E::WrongNumber,
    );
    head(
        "header: inbound under an outbound key",
        edit(&header, 1, &[2]),
        E::WrongDirection,
    );
    head(
        "header: another peer",
        edit(&header, peer + 10, b"8"),
        E::Undecryptable,
    );
    head(
        "header: another message id",
        flip(&header, id),
        E::Undecryptable,
    );
    head(
        "header: another category",
        edit(&header, category, &[4]),
        E::Undecryptable,
    );
    head(
        "header: another time",
        flip(&header, time + 7),
        E::Undecryptable,
    );

    add(
        "body: empty",
        header.clone(),
        Vec::new(),
        NOW,
        E::Undecryptable,
    );
    add(
        "body: cut short",
        header.clone(),
        body[..body.len() - 1].to_vec(),
        NOW,
        E::Undecryptable,
    );
    add(
        "body: flipped nonce",
        header.clone(),
        flip(&body, 0),
        NOW,
        E::Undecryptable,
    );
    add(
        "body: flipped ciphertext",
        header.clone(),
        flip(&body, 12),
        NOW,
        E::Undecryptable,
    );
    add(
        "body: flipped tag",
        header.clone(),
        flip(&body, body.len() - 1),
        NOW,
        E::Undecryptable,
    );
    let other = messages[1].body.bytes();
    add(
        "body: of another message",
        header.clone(),
        other,
        NOW,
        E::Undecryptable,
    );
    add(
        "key too early",
        header.clone(),
        body.clone(),
        BEGIN - SKEW - 1,
        E::KeyNotYetValid,
    );
    add(
        "key too late",
        header.clone(),
        body.clone(),
        BEGIN + HOUR + 1,
        E::KeyExpired,
    );

    let mut zeros_after_text = good.padded.bytes();
    zeros_after_text[good.content.bytes().len()] = 0;
    let mut mark_not_last = good.padded.bytes();
    mark_not_last[255] = 1;
    let mut too_long = good.padded.bytes();
    too_long.resize(272, 0);
    let mut odd_length = good.padded.bytes();
    odd_length.push(0);
    for (name, padded) in [
        ("padding: all zeros", vec![0; 256]),
        ("padding: no mark", zeros_after_text),
        ("padding: last byte not zero", mark_not_last),
        ("padding: longer than it must be", too_long),
        ("padding: length that Padmé never gives", odd_length),
        (
            "padding: shorter than the least",
            good.padded.bytes()[..128].to_vec(),
        ),
        ("padding: nothing at all", Vec::new()),
    ] {
        let body = reseal(&wraps[0], good, &header, &padded);
        add(name, header.clone(), body, NOW, E::BadPadding);
    }

    let status = &messages[6];
    assert_eq!((wraps[1].direction, status.direction), (2, 3));
    let body = reseal(
        &wraps[1],
        status,
        &status.header.bytes(),
        &good.padded.bytes(),
    );
    let (name, header) = ("status with content", status.header.bytes());
    out.push(refused_message(
        name,
        &wraps[1],
        header,
        body,
        NOW,
        E::StatusWithContent,
    ));
    out
}

fn refused_message(
    name: &str,
    wrap: &WrapCase,
    header: Vec<u8>,
    body: Vec<u8>,
    now: u64,
    error: E,
) -> RefusedMessage {
    RefusedMessage {
        name: name.to_owned(),
        wrap: wrap.name.clone(),
        now,
        header: Hex::new(header),
        body: Hex::new(body),
        error: error.reason().to_owned(),
    }
}

/// A body that decrypts, whatever its plaintext.
fn reseal(wrap: &WrapCase, message: &MessageCase, header: &[u8], padded: &[u8]) -> Vec<u8> {
    let mut id = [0; 16];
    id.copy_from_slice(&message.message_id.bytes());
    let key = AeadKey::new(message_key(wrap, MessageId::from_bytes(id)));
    must(key.seal(
        &mut Script::new(&[&bytes("resealed body nonce")[..12]]),
        header,
        padded,
    ))
}
