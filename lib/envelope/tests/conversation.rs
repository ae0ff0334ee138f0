//! A business and a vault: wraps and messages there and back, and every tampered bit refused.
#![allow(clippy::unwrap_used)]

use std::sync::LazyLock;

use proptest::prelude::*;
use sealpost_envelope::{
    Category, ContentKey, Direction, EnvelopeError, HeaderFields, HpkeSecretKey, MessageId,
    NumberId, Opener, OsEntropy, Peer, SealedMessage, SigningKey, UnixMillis, UnverifiedHeader,
    UnverifiedWrap, Validity, VerifyingKey, WrapDirection, WrapTerms, seal_wrap,
};

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
const HOUR: u64 = 3_600_000;

struct Parties {
    number: NumberId,
    business: SigningKey,
    vault: HpkeSecretKey,
}

static PARTIES: LazyLock<Parties> = LazyLock::new(|| Parties {
    number: NumberId::new("106540352242922").unwrap(),
    business: SigningKey::generate(&mut OsEntropy).unwrap(),
    vault: HpkeSecretKey::generate(&mut OsEntropy).unwrap(),
});

impl Parties {
    fn wrap(&self, direction: WrapDirection) -> (ContentKey, Vec<u8>) {
        let validity = Validity::new(NOW, UnixMillis(NOW.0 + HOUR)).unwrap();
        let terms = WrapTerms::new(self.number.clone(), direction, validity).unwrap();
        seal_wrap(
            &terms,
            &self.business,
            self.vault.public_key(),
            &mut OsEntropy,
        )
        .unwrap()
    }

    fn open(&self, wire: &[u8], direction: WrapDirection) -> Result<ContentKey, EnvelopeError> {
        self.open_as(
            wire,
            &self.number,
            &self.business.verifying_key(),
            &self.vault,
            direction,
            NOW,
        )
    }

    fn open_as(
        &self,
        wire: &[u8],
        number: &NumberId,
        sender: &VerifyingKey,
        recipient: &HpkeSecretKey,
        direction: WrapDirection,
        now: UnixMillis,
    ) -> Result<ContentKey, EnvelopeError> {
        let opener = Opener {
            number,
            direction,
            sender,
            recipient,
        };
        UnverifiedWrap::parse(wire)?.open(&opener, now)
    }
}

fn fields(direction: Direction) -> HeaderFields {
    HeaderFields {
        direction,
        peer: Peer::new("15551234567").unwrap(),
        message_id: MessageId::generate(&mut OsEntropy).unwrap(),
        category: Category::Service,
        time: NOW,
    }
}

fn seal(key: &ContentKey, direction: Direction, content: &[u8]) -> SealedMessage {
    key.seal(&fields(direction), content, &mut OsEntropy)
        .unwrap()
}

#[test]
fn a_message_reaches_the_other_side_as_it_was_written() {
    let (ours, wire) = PARTIES.wrap(WrapDirection::Outbound);
    let theirs = PARTIES.open(&wire, WrapDirection::Outbound).unwrap();
    assert_eq!(ours.id(), theirs.id());
    let sealed = seal(&ours, Direction::Outbound, b"hello");
    let claimed = UnverifiedHeader::parse(&sealed.header).unwrap();
    assert_eq!(claimed.content_key_id(), theirs.id());
    let opened = theirs.open(&sealed.header, &sealed.body, NOW).unwrap();
    assert_eq!(opened.content.as_bytes(), b"hello");
    assert_eq!(opened.header.number(), &PARTIES.number);
}

#[test]
fn padded_content_is_sealed_anew_without_being_looked_into() {
    let (outbound, _) = PARTIES.wrap(WrapDirection::Outbound);
    let (inbound, _) = PARTIES.wrap(WrapDirection::Inbound);
    let first = seal(&outbound, Direction::Outbound, b"hello");
    let padded = outbound
        .open_padded(&first.header, &first.body, NOW)
        .unwrap()
        .content;
    let second = inbound
        .seal_padded(&fields(Direction::Inbound), &padded, &mut OsEntropy)
        .unwrap();
    let opened = inbound.open(&second.header, &second.body, NOW).unwrap();
    assert_eq!(opened.content.as_bytes(), b"hello");
}

#[test]
fn an_inbound_key_serves_statuses_and_an_outbound_key_only_outbound() {
    let (outbound, _) = PARTIES.wrap(WrapDirection::Outbound);
    let (inbound, _) = PARTIES.wrap(WrapDirection::Inbound);
    let status = seal(&inbound, Direction::Status, b"");
    assert!(
        inbound
            .open(&status.header, &status.body, NOW)
            .unwrap()
            .content
            .as_bytes()
            .is_empty()
    );
    for (key, direction) in [
        (&outbound, Direction::Inbound),
        (&outbound, Direction::Status),
        (&inbound, Direction::Outbound),
    ] {
        let refused = key.seal(&fields(direction), b"", &mut OsEntropy);
        assert_eq!(refused, Err(EnvelopeError::WrongDirection));
    }
    let refused = inbound.seal(&fields(Direction::Status), b"x", &mut OsEntropy);
    assert_eq!(refused, Err(EnvelopeError::StatusWithContent));
}

#[test]
fn every_flipped_bit_of_header_and_body_is_refused() {
    let (key, _) = PARTIES.wrap(WrapDirection::Outbound);
    let sealed = seal(&key, Direction::Outbound, b"hello");
    let refused = |header: &[u8], body: &[u8]| key.open(header, body, NOW).is_err();
    assert!(!refused(&sealed.header, &sealed.body));
    for bit in 0..sealed.header.len() * 8 {
        assert!(
            refused(&flipped(&sealed.header, bit), &sealed.body),
            "header bit {bit}"
        );
    }
    for bit in 0..sealed.body.len() * 8 {
        assert!(
            refused(&sealed.header, &flipped(&sealed.body, bit)),
            "body bit {bit}"
        );
    }
    for end in 0..sealed.body.len() {
        assert!(refused(&sealed.header, &sealed.body[..end]));
    }
}

#[test]
fn every_flipped_bit_and_every_other_length_of_a_wrap_is_refused() {
    let (_, wire) = PARTIES.wrap(WrapDirection::Outbound);
    let refused = |wire: &[u8]| PARTIES.open(wire, WrapDirection::Outbound).is_err();
    assert!(!refused(&wire));
    for bit in 0..wire.len() * 8 {
        assert!(refused(&flipped(&wire, bit)), "bit {bit}");
    }
    for end in 0..wire.len() {
        assert!(refused(&wire[..end]));
    }
    assert!(refused(&[&wire[..], &[0]].concat()));
}

#[test]
fn a_wrap_opens_only_for_its_number_direction_keys_and_time() {
    let (_, wire) = PARTIES.wrap(WrapDirection::Outbound);
    let (number, sender) = (&PARTIES.number, &PARTIES.business.verifying_key());
    let other_number = NumberId::new("1").unwrap();
    let other_sender = SigningKey::generate(&mut OsEntropy)
        .unwrap()
        .verifying_key();
    let other_vault = HpkeSecretKey::generate(&mut OsEntropy).unwrap();
    let (out, vault) = (WrapDirection::Outbound, &PARTIES.vault);
    let late = UnixMillis(NOW.0 + HOUR + 1);
    let early = UnixMillis(NOW.0 - 300_001);
    let cases = [
        (
            &other_number,
            sender,
            vault,
            out,
            NOW,
            EnvelopeError::WrongNumber,
        ),
        (
            number,
            sender,
            vault,
            WrapDirection::Inbound,
            NOW,
            EnvelopeError::WrongDirection,
        ),
        (
            number,
            &other_sender,
            vault,
            out,
            NOW,
            EnvelopeError::WrongSender,
        ),
        (
            number,
            sender,
            &other_vault,
            out,
            NOW,
            EnvelopeError::WrongRecipient,
        ),
        (number, sender, vault, out, late, EnvelopeError::KeyExpired),
        (
            number,
            sender,
            vault,
            out,
            early,
            EnvelopeError::KeyNotYetValid,
        ),
    ];
    for (number, sender, recipient, direction, now, error) in cases {
        let opened = PARTIES.open_as(&wire, number, sender, recipient, direction, now);
        assert_eq!(opened.err(), Some(error));
    }
}

#[test]
fn a_message_opens_only_under_its_own_key_and_while_that_is_valid() {
    let (key, _) = PARTIES.wrap(WrapDirection::Outbound);
    let (other, _) = PARTIES.wrap(WrapDirection::Outbound);
    let sealed = seal(&key, Direction::Outbound, b"hello");
    let open = |key: &ContentKey, now| key.open(&sealed.header, &sealed.body, now).err();
    assert_eq!(open(&other, NOW), Some(EnvelopeError::WrongContentKey));
    assert_eq!(open(&key, UnixMillis(NOW.0 + HOUR)), None);
    assert_eq!(
        open(&key, UnixMillis(NOW.0 + HOUR + 1)),
        Some(EnvelopeError::KeyExpired)
    );
    assert_eq!(
        open(&key, UnixMillis(NOW.0 - 300_001)),
        Some(EnvelopeError::KeyNotYetValid)
    );
}

#[test]
fn sealing_twice_gives_other_bytes_and_the_same_message_id() {
    let (key, _) = PARTIES.wrap(WrapDirection::Outbound);
    let fields = fields(Direction::Outbound);
    let first = key.seal(&fields, b"hello", &mut OsEntropy).unwrap();
    let second = key.seal(&fields, b"hello", &mut OsEntropy).unwrap();
    assert_eq!(first.header, second.header);
    assert_ne!(first.body, second.body);
}

#[test]
fn nothing_that_prints_shows_peer_or_content() {
    let (key, _) = PARTIES.wrap(WrapDirection::Outbound);
    let sealed = seal(&key, Direction::Outbound, b"hello");
    let opened = key.open(&sealed.header, &sealed.body, NOW).unwrap();
    let shown = format!(
        "{opened:?} {:?}",
        UnverifiedHeader::parse(&sealed.header).unwrap()
    );
    assert!(
        !shown.contains("5551234567") && !shown.contains("hello") && !shown.contains("104, 101")
    );
}

proptest! {
    #[test]
    fn any_content_up_to_the_limit_arrives(content in prop::collection::vec(any::<u8>(), 0..2000)) {
        let (key, _) = &*SHARED;
        let sealed = seal(key, Direction::Outbound, &content);
        prop_assert_eq!(Ok(sealed.body.len()), SealedMessage::body_len(content.len()));
        let opened = key.open(&sealed.header, &sealed.body, NOW).unwrap();
        prop_assert_eq!(opened.content.as_bytes(), &content[..]);
    }

    #[test]
    fn garbage_is_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..1600)) {
        prop_assert!(PARTIES.open(&bytes, WrapDirection::Outbound).is_err());
        prop_assert!(SHARED.0.open(&bytes, &bytes, NOW).is_err());
    }
}

static SHARED: LazyLock<(ContentKey, Vec<u8>)> =
    LazyLock::new(|| PARTIES.wrap(WrapDirection::Outbound));

#[test]
fn the_largest_content_arrives_and_one_byte_more_is_refused() {
    let (key, _) = &*SHARED;
    let content = vec![7; sealpost_envelope::MAX_CONTENT_LEN];
    let sealed = seal(key, Direction::Outbound, &content);
    assert_eq!(
        key.open(&sealed.header, &sealed.body, NOW)
            .unwrap()
            .content
            .as_bytes(),
        content
    );
    let longer = vec![7; content.len() + 1];
    let refused = key.seal(&fields(Direction::Outbound), &longer, &mut OsEntropy);
    assert_eq!(refused, Err(EnvelopeError::ContentTooLong));
}

fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes
}
