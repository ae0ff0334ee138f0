//! How large a message is under each of its seals: made with throwaway keys by the same code that the real ends use, so the
//! numbers are exact for that content though no process was asked.

use prost::Message as _;
use sealpost_connector_sdk::content;
use sealpost_envelope::{
    Category, Direction, HeaderFields, HpkeSecretKey, MessageId, NumberId, OsEntropy, Peer,
    SigningKey, UnixMillis, Validity, WrapDirection, WrapTerms, seal_wrap,
};
use serde_json::{Value, json};

/// Fixed parts of a frame, the Signal plaintext: version, message id, two length bytes, time, category, content length.
const FRAME_FIXED: usize = 1 + 16 + 1 + 1 + 8 + 1 + 4;
/// Nonce and tag of a sealed body.
const SEAL: usize = 12 + 16;

/// Sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// The serialised content.
    pub content: usize,
    /// The header that travels beside the sealed body.
    pub header: usize,
    /// Nonce, ciphertext of the padded content, tag.
    pub body: usize,
    /// The wrap of the content key, once an hour.
    pub wrap: usize,
    /// The frame that Signal encrypts; its ciphertext is larger still.
    pub frame: usize,
}

impl Sizes {
    /// Of a text from `number` to `peer`.
    pub fn of(text: &str, number: &str, peer: &str) -> anyhow::Result<Self> {
        let content = content::text(text).encode_to_vec();
        let recipient = HpkeSecretKey::generate(&mut OsEntropy)?;
        let sender = SigningKey::generate(&mut OsEntropy)?;
        let validity = Validity::new(UnixMillis(0), UnixMillis(1))?;
        let number_id = NumberId::new(number)?;
        let terms = WrapTerms::new(number_id, WrapDirection::Outbound, validity)?;
        let (key, wrap) = seal_wrap(&terms, &sender, recipient.public_key(), &mut OsEntropy)?;
        let fields = HeaderFields {
            direction: Direction::Outbound,
            peer: Peer::new(peer)?,
            message_id: MessageId::generate(&mut OsEntropy)?,
            category: Category::Service,
            time: UnixMillis(0),
        };
        let sealed = key.seal(&fields, &content, &mut OsEntropy)?;
        let padded = sealed.body.len() - SEAL;
        Ok(Self {
            content: content.len(),
            header: sealed.header.len(),
            body: sealed.body.len(),
            wrap: wrap.len(),
            frame: FRAME_FIXED + number.len() + peer.len() + padded,
        })
    }

    /// For machines.
    pub fn json(&self) -> Value {
        json!({
            "content": self.content,
            "header": self.header,
            "sealed_body": self.body,
            "wrap": self.wrap,
            "signal_frame": self.frame,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use sealpost_consumer::content as consumer_content;
    use sealpost_envelope::padded_len;

    use super::*;

    #[test]
    fn a_short_text_fills_the_least_padded_length() {
        let sizes = Sizes::of("hello", "106540352242922", "15550200000").unwrap();
        assert_eq!(sizes.body, 256 + SEAL);
        assert_eq!(sizes.frame, FRAME_FIXED + 15 + 11 + 256);
        assert_eq!(sizes.content, consumer_content::text("hello").encoded_len());
    }

    #[test]
    fn a_long_text_grows_by_whole_steps() {
        let text = "x".repeat(1_000);
        let sizes = Sizes::of(&text, "1", "15550200000").unwrap();
        assert_eq!(sizes.body, padded_len(sizes.content).unwrap() + SEAL);
        assert_eq!(
            Sizes::of(&text, "1", "15550200000").unwrap().header,
            sizes.header
        );
    }
}
