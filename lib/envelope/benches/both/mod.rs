//! A business and a vault with fixed keys, and one message between them: what is timed and what is counted.

#![allow(clippy::unwrap_used, reason = "a measurement that fails stops")]

use sealpost_envelope::{
    Category, ContentKey, Direction, Entropy, EnvelopeError, HeaderFields, HpkeSecretKey,
    MessageId, NumberId, Opener, Peer, SealedMessage, SigningKey, UnixMillis, UnverifiedWrap,
    Validity, WrapDirection, WrapTerms, seal_wrap,
};

/// Bytes of a message's content.
pub const CONTENT: usize = 1024;
const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

/// Bytes that are the same each time: SplitMix64.
pub struct Fixed(pub u64);

impl Entropy for Fixed {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EnvelopeError> {
        for piece in bytes.chunks_mut(8) {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = self.0;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^= word >> 31;
            piece.copy_from_slice(&word.to_le_bytes()[..piece.len()]);
        }
        Ok(())
    }
}

/// Both ends.
pub struct Ends {
    sender: SigningKey,
    recipient: HpkeSecretKey,
    terms: WrapTerms,
    fields: HeaderFields,
    content: Vec<u8>,
    entropy: Fixed,
}

impl Ends {
    pub fn new() -> Self {
        let mut entropy = Fixed(1);
        let validity = Validity::new(NOW, UnixMillis(1_700_003_600_000)).unwrap();
        let number = NumberId::new("106540352242922").unwrap();
        Self {
            sender: SigningKey::generate(&mut entropy).unwrap(),
            recipient: HpkeSecretKey::generate(&mut entropy).unwrap(),
            terms: WrapTerms::new(number, WrapDirection::Outbound, validity).unwrap(),
            fields: HeaderFields {
                direction: Direction::Outbound,
                peer: Peer::new("15551234567").unwrap(),
                message_id: MessageId::from_bytes([7; 16]),
                category: Category::Utility,
                time: NOW,
            },
            content: vec![b'a'; CONTENT],
            entropy,
        }
    }

    pub fn wrap(&mut self) -> (ContentKey, Vec<u8>) {
        let recipient = self.recipient.public_key();
        seal_wrap(&self.terms, &self.sender, recipient, &mut self.entropy).unwrap()
    }

    pub fn unwrap(&self, wire: &[u8]) -> ContentKey {
        let opener = Opener {
            number: self.terms.number(),
            direction: self.terms.direction(),
            sender: &self.sender.verifying_key(),
            recipient: &self.recipient,
        };
        UnverifiedWrap::parse(wire)
            .unwrap()
            .open(&opener, NOW)
            .unwrap()
    }

    pub fn seal(&mut self, key: &ContentKey) -> SealedMessage {
        key.seal(&self.fields, &self.content, &mut self.entropy)
            .unwrap()
    }

    pub fn open(&self, key: &ContentKey, message: &SealedMessage) -> usize {
        let opened = key.open(&message.header, &message.body, NOW).unwrap();
        opened.content.as_bytes().len()
    }
}
