//! Makes the cases that must open. Every key, nonce and random draw is SHA-256 of a label, so the file never changes
//! unless the format does.

use sealpost_envelope::{
    Category, ContentKey, Direction, Entropy, EnvelopeError, HeaderFields, HpkeSecretKey,
    MessageId, MessageIdKey, NumberId, Peer, Secret, SigningKey, SigningKeyRotation, UnixMillis,
    Validity, VaultKeyStatement, WrapDirection, WrapTerms, kdf, pad, padded_len, seal_wrap,
};

use super::document::{
    Document, Hex, MessageCase, MessageIdCase, PaddingCase, RotationCase, VaultKeyCase, WrapCase,
};
use super::{refused_messages, refused_statements, refused_wraps};

pub(crate) const NUMBER: &str = "106540352242922";
pub(crate) const PEER: &str = "15551234567";
pub(crate) const BEGIN: u64 = 1_767_225_600_000;
pub(crate) const HOUR: u64 = 3_600_000;
pub(crate) const NOW: u64 = BEGIN + HOUR / 2;

const ABOUT: &str = "Vectors of docs/wire-format.md. Bytes are lowercase hex, times Unix milliseconds. \
    The seeds are public: never use them.";

/// Replays the bytes that were put in, in order; refuses more.
pub(crate) struct Script(Vec<u8>);

impl Script {
    pub(crate) fn new(parts: &[&[u8]]) -> Self {
        Self(parts.concat())
    }
}

impl Entropy for Script {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EnvelopeError> {
        if bytes.len() > self.0.len() {
            return Err(EnvelopeError::NoRandomness);
        }
        let rest = self.0.split_off(bytes.len());
        bytes.copy_from_slice(&self.0);
        self.0 = rest;
        Ok(())
    }
}

/// 32 bytes that only the label decides.
pub(crate) fn bytes(label: &str) -> [u8; 32] {
    kdf::sha256(&[b"sealpost vector ", label.as_bytes()])
}

pub(crate) fn secret(label: &str) -> Secret<32> {
    Secret::from_bytes(bytes(label))
}

pub(crate) fn signing(label: &str) -> SigningKey {
    SigningKey::from_seed(&secret(label))
}

pub(crate) fn hpke(label: &str) -> HpkeSecretKey {
    must(HpkeSecretKey::from_seed(&secret(label)))
}

pub(crate) fn number(digits: &str) -> NumberId {
    must(NumberId::new(digits))
}

/// A vector that cannot be made is a broken generator.
pub(crate) fn must<T>(made: Result<T, EnvelopeError>) -> T {
    match made {
        Ok(made) => made,
        Err(error) => panic!("cannot make a vector: {error}"),
    }
}

pub(crate) fn document() -> Document {
    let wraps = wraps();
    let (cases, keys): (Vec<_>, Vec<_>) = wraps.into_iter().unzip();
    let messages = messages(&cases, &keys);
    let vault_keys = vec![vault_key()];
    let rotations = vec![rotation()];
    Document {
        about: ABOUT.to_owned(),
        message_ids: message_ids(),
        padding: padding(),
        refused_wraps: refused_wraps::wraps(&cases),
        refused_messages: refused_messages::messages(&cases, &messages),
        refused_vault_keys: refused_statements::vault_keys(&vault_keys[0]),
        refused_rotations: refused_statements::rotations(&rotations[0]),
        wraps: cases,
        messages,
        vault_keys,
        rotations,
    }
}

fn message_ids() -> Vec<MessageIdCase> {
    let cases: [(&str, &[u8]); 4] = [
        (NUMBER, b"order-4711"),
        (NUMBER, b""),
        ("1", b"23"),
        ("12", b"3"),
    ];
    cases
        .map(|(digits, idempotency_key)| MessageIdCase {
            key: Hex::new(bytes("message-id key")),
            number: digits.to_owned(),
            idempotency_key: Hex::new(idempotency_key),
            message_id: Hex::new(message_id(digits, idempotency_key).as_bytes()),
        })
        .into()
}

fn message_id(digits: &str, idempotency_key: &[u8]) -> MessageId {
    let key = MessageIdKey::new(secret("message-id key"));
    MessageId::derive(&key, &number(digits), idempotency_key)
}

fn padding() -> Vec<PaddingCase> {
    [
        0, 1, 255, 256, 271, 272, 511, 512, 1000, 4096, 10_000, 65_535, 65_536,
    ]
    .map(|content_length| PaddingCase {
        content_length,
        padded_length: must(padded_len(content_length)),
    })
    .into()
}

fn wraps() -> Vec<(WrapCase, ContentKey)> {
    let longest = "9".repeat(32);
    vec![
        wrap("outbound", NUMBER, WrapDirection::Outbound, HOUR),
        wrap("inbound", NUMBER, WrapDirection::Inbound, HOUR),
        wrap(
            "longest number and validity",
            &longest,
            WrapDirection::Outbound,
            2 * HOUR,
        ),
        wrap("shortest number", "1", WrapDirection::Inbound, HOUR),
    ]
}

fn wrap(name: &str, digits: &str, direction: WrapDirection, length: u64) -> (WrapCase, ContentKey) {
    let (sender, recipient) = match direction {
        WrapDirection::Outbound => ("business signing", "vault hpke"),
        WrapDirection::Inbound | WrapDirection::Export => ("vault signing", "business hpke"),
    };
    let (sender_key, recipient_key) = (signing(sender), hpke(recipient));
    let nonce = &bytes(&format!("{name}: context nonce"))[..16];
    let content_key = bytes(&format!("{name}: content key"));
    let encapsulation = [
        bytes(&format!("{name}: ML-KEM")),
        bytes(&format!("{name}: X25519")),
    ]
    .concat();
    let validity = must(Validity::new(UnixMillis(BEGIN), UnixMillis(BEGIN + length)));
    let terms = must(WrapTerms::new(number(digits), direction, validity));
    let mut script = Script::new(&[nonce, &content_key, &encapsulation]);
    let (key, wire) = must(seal_wrap(
        &terms,
        &sender_key,
        recipient_key.public_key(),
        &mut script,
    ));

    let (context, rest) = wire[2..].split_at(105 + digits.len());
    let case = WrapCase {
        name: name.to_owned(),
        number: digits.to_owned(),
        direction: direction as u8,
        not_before: BEGIN,
        not_after: BEGIN + length,
        nonce: Hex::new(nonce),
        sender_seed: Hex::new(bytes(sender)),
        sender_public_key: Hex::new(sender_key.verifying_key().as_bytes()),
        sender_key_id: Hex::new(sender_key.key_id().as_bytes()),
        recipient_seed: Hex::new(bytes(recipient)),
        recipient_public_key: Hex::new(recipient_key.public_key().to_bytes()),
        recipient_key_id: Hex::new(recipient_key.key_id().as_bytes()),
        encapsulation_randomness: Hex::new(encapsulation),
        context: Hex::new(context),
        enc: Hex::new(&rest[..1120]),
        ct: Hex::new(&rest[1120..1168]),
        signature: Hex::new(&rest[1168..]),
        wire: Hex::new(&wire),
        now: NOW,
        content_key: Hex::new(content_key),
        content_key_id: Hex::new(key.id().as_bytes()),
    };
    (case, key)
}

fn messages(wraps: &[WrapCase], keys: &[ContentKey]) -> Vec<MessageCase> {
    let text = "Your parcel is at the door. 📦".as_bytes();
    let long: Vec<u8> = (0..1000u32).map(|i| i.to_be_bytes()[3]).collect();
    let out = Direction::Outbound;
    type Row<'a> = (&'a str, usize, Direction, &'a str, Category, &'a [u8]);
    let cases: [Row<'_>; 9] = [
        ("text", 0, out, PEER, Category::Utility, text),
        ("empty", 0, out, PEER, Category::Service, b""),
        (
            "fills the least length",
            0,
            out,
            PEER,
            Category::Marketing,
            &[b'x'; 255],
        ),
        (
            "one byte over the least length",
            0,
            out,
            PEER,
            Category::Service,
            &[b'x'; 256],
        ),
        (
            "ends in 0x80 and zeros",
            0,
            out,
            "1234567",
            Category::Authentication,
            b"\x80\x80\0\0",
        ),
        (
            "inbound, a thousand bytes",
            1,
            Direction::Inbound,
            PEER,
            Category::Service,
            &long,
        ),
        ("status", 1, Direction::Status, PEER, Category::Utility, b""),
        (
            "longest number and peer",
            2,
            out,
            "123456789012345",
            Category::Service,
            text,
        ),
        (
            "shortest number",
            3,
            Direction::Inbound,
            "1234567",
            Category::Service,
            text,
        ),
    ];
    cases
        .map(|(name, wrap, direction, peer, category, content)| {
            let fields = HeaderFields {
                direction,
                peer: must(Peer::new(peer)),
                message_id: message_id(&wraps[wrap].number, name.as_bytes()),
                category,
                time: UnixMillis(NOW - 1),
            };
            message(name, &wraps[wrap], &keys[wrap], &fields, content)
        })
        .into()
}

fn message(
    name: &str,
    wrap: &WrapCase,
    key: &ContentKey,
    fields: &HeaderFields,
    content: &[u8],
) -> MessageCase {
    let mut script = Script::new(&[&bytes(&format!("{name}: body nonce"))[..12]]);
    let sealed = must(key.seal(fields, content, &mut script));
    MessageCase {
        name: name.to_owned(),
        wrap: wrap.name.clone(),
        direction: fields.direction as u8,
        peer: fields.peer.expose().to_owned(),
        message_id: Hex::new(fields.message_id.as_bytes()),
        category: fields.category as u8,
        time: fields.time.0,
        message_key: Hex::new(message_key(wrap, fields.message_id).expose()),
        header: Hex::new(&sealed.header),
        body: Hex::new(&sealed.body),
        now: NOW,
        padded: Hex::new(must(pad(content)).as_bytes()),
        content: Hex::new(content),
    }
}

/// Derived here a second time, from the page and not from the crate's own path.
pub(crate) fn message_key(wrap: &WrapCase, id: MessageId) -> Secret<32> {
    let info = [b"sealpost/message".as_slice(), id.as_bytes()];
    must(kdf::hkdf_sha256(b"", &wrap.content_key.bytes(), &info))
}

fn vault_key() -> VaultKeyCase {
    let signer = signing("vault signing");
    let recipient = hpke("vault hpke");
    let statement = VaultKeyStatement {
        number: number(NUMBER),
        sequence: 258,
        validity: must(Validity::new(UnixMillis(BEGIN), UnixMillis(BEGIN + HOUR))),
        public_key: recipient.public_key().clone(),
    };
    let wire = statement.sign(&signer);
    VaultKeyCase {
        name: "vault key".to_owned(),
        number: NUMBER.to_owned(),
        sequence: 258,
        not_before: BEGIN,
        not_after: BEGIN + HOUR,
        public_key: Hex::new(recipient.public_key().to_bytes()),
        key_id: Hex::new(recipient.key_id().as_bytes()),
        signer_seed: Hex::new(bytes("vault signing")),
        signer_public_key: Hex::new(signer.verifying_key().as_bytes()),
        signer_fingerprint: signer.verifying_key().fingerprint().to_string(),
        statement: Hex::new(&wire[2..wire.len() - 64]),
        wire: Hex::new(&wire),
        now: NOW,
        highest_sequence: 258,
    }
}

fn rotation() -> RotationCase {
    let (old, new) = (
        signing("vault signing"),
        signing("next vault signing").verifying_key(),
    );
    let wire = SigningKeyRotation {
        number: number(NUMBER),
        new_key: new,
    }
    .sign(&old);
    RotationCase {
        name: "vault signing key".to_owned(),
        number: NUMBER.to_owned(),
        old_seed: Hex::new(bytes("vault signing")),
        old_public_key: Hex::new(old.verifying_key().as_bytes()),
        old_key_id: Hex::new(old.key_id().as_bytes()),
        new_public_key: Hex::new(new.as_bytes()),
        new_fingerprint: new.fingerprint().to_string(),
        statement: Hex::new(&wire[2..wire.len() - 64]),
        wire: Hex::new(&wire),
    }
}
