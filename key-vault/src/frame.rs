//! The frame: the plaintext of every Signal message between a number and a consumer.
//!
//! Owns its bytes. Signal's sessions do not bind phone numbers; the frame does. The content inside is padded by its
//! author and is not looked into. Layout, integers big-endian, nothing after the content:
//!
//! ```text
//! version u8 = 1 ‖ message id 16 ‖ FIELD8(from) ‖ FIELD8(to) ‖ time u64 ms ‖ category u8 ‖ u32 length ‖ padded content
//! ```

use sealpost_envelope::{Category, MessageId, PaddedContent};
use sealpost_runtime::Timestamp;
use zeroize::Zeroizing;

use crate::layout::{Reader, put_field8};

const VERSION: u8 = 1;

/// What a frame says. A business is its phone_number_id, a consumer its E.164 digits.
#[derive(Clone, Copy)]
pub(crate) struct FrameFields<'a> {
    pub(crate) message_id: MessageId,
    pub(crate) from: &'a str,
    pub(crate) to: &'a str,
    pub(crate) time: Timestamp,
    pub(crate) category: Category,
}

/// A frame that is well formed and whose two ends are as expected.
pub(crate) struct Frame {
    pub(crate) message_id: MessageId,
    pub(crate) time: Timestamp,
    pub(crate) category: Category,
    pub(crate) content: PaddedContent,
}

/// Writes a frame.
pub(crate) fn encode(fields: &FrameFields<'_>, content: &PaddedContent) -> Zeroizing<Vec<u8>> {
    let content = content.as_bytes();
    // Sized once: growing would leave a copy of the content in freed memory.
    let len = 32 + fields.from.len() + fields.to.len() + content.len();
    let mut out = Zeroizing::new(Vec::with_capacity(len));
    out.push(VERSION);
    out.extend_from_slice(fields.message_id.as_bytes());
    put_field8(&mut out, fields.from.as_bytes());
    put_field8(&mut out, fields.to.as_bytes());
    out.extend_from_slice(&fields.time.as_millis().to_be_bytes());
    out.push(fields.category as u8);
    #[allow(
        clippy::cast_possible_truncation,
        reason = "padded content is below 70,000 bytes"
    )]
    out.extend_from_slice(&(content.len() as u32).to_be_bytes());
    out.extend_from_slice(content);
    out
}

/// Reads a frame that must go from `from` to `to`. None for any fault: the reader has no use for which.
pub(crate) fn decode(bytes: &[u8], from: &str, to: &str) -> Option<Frame> {
    let mut reader = Reader::new(bytes);
    if reader.byte()? != VERSION {
        return None;
    }
    let message_id = MessageId::from_bytes(reader.array()?);
    if reader.field8()? != from.as_bytes() || reader.field8()? != to.as_bytes() {
        return None;
    }
    let time = Timestamp::from_millis(reader.u64()?);
    let category = Category::try_from(reader.byte()?).ok()?;
    let len = reader.u32()?;
    let content = reader.rest();
    if usize::try_from(len) != Ok(content.len()) {
        return None;
    }
    let content = PaddedContent::from_bytes(Zeroizing::new(content.to_vec())).ok()?;
    Some(Frame {
        message_id,
        time,
        category,
        content,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn fields() -> FrameFields<'static> {
        FrameFields {
            message_id: MessageId::from_bytes([0xab; 16]),
            from: "106540352242922",
            to: "15551234567",
            time: Timestamp::from_millis(0x0102_0304_0506),
            category: Category::Utility,
        }
    }

    #[test]
    fn the_bytes_are_these_and_no_others() {
        let bytes = encode(&fields(), &sealpost_envelope::pad(b"hi").unwrap());
        let head = concat!(
            "01",
            "abababababababababababababababab",
            "0f313036353430333532323432393232",
            "0b3135353531323334353637",
            "0000010203040506",
            "02",
            "00000100",
        );
        let expected = format!("{head}686980{}", "00".repeat(253));
        assert_eq!(hex::encode(&*bytes), expected);
    }

    #[test]
    fn a_frame_reads_back_and_no_other_length_does() {
        let bytes = encode(&fields(), &sealpost_envelope::pad(b"hi").unwrap());
        let frame = decode(&bytes, "106540352242922", "15551234567").unwrap();
        assert_eq!(frame.message_id, fields().message_id);
        assert_eq!(
            (frame.time, frame.category),
            (fields().time, Category::Utility)
        );
        assert_eq!(
            frame.content.as_bytes(),
            sealpost_envelope::pad(b"hi").unwrap().as_bytes()
        );
        for end in 0..bytes.len() {
            assert!(
                decode(&bytes[..end], "106540352242922", "15551234567").is_none(),
                "{end}"
            );
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(decode(&longer, "106540352242922", "15551234567").is_none());
    }

    #[test]
    fn another_version_sender_or_receiver_is_refused() {
        let bytes = encode(&fields(), &sealpost_envelope::pad(b"hi").unwrap());
        assert!(decode(&bytes, "106540352242923", "15551234567").is_none());
        assert!(decode(&bytes, "106540352242922", "15551234568").is_none());
        let mut newer = bytes.to_vec();
        newer[0] = 2;
        assert!(decode(&newer, "106540352242922", "15551234567").is_none());
        let mut category = bytes.to_vec();
        category[53] = 9;
        assert!(decode(&category, "106540352242922", "15551234567").is_none());
    }
}
