//! The frame: what a Signal ciphertext between a business number and a consumer holds.
//!
//! Pure. Signal sessions do not bind phone numbers or message ids; the frame does, and the receiver checks it. Integers are
//! big-endian: version u8 = 1, message id 16, from (u8 length, digits), to (likewise), time u64 milliseconds, category u8,
//! padded content (u32 length, bytes), and then the end.

use sealpost_runtime::Timestamp;
use zeroize::Zeroizing;

use crate::{
    SignalFault,
    ids::{Category, MessageId},
};

const VERSION: u8 = 1;

/// One frame. A business is named by its phone number id, a consumer by its E.164 digits.
#[derive(PartialEq, Eq)]
pub struct Frame {
    /// The message.
    pub message_id: MessageId,
    /// Who sent it.
    pub from: String,
    /// Whom it is for.
    pub to: String,
    /// When it was sent.
    pub time: Timestamp,
    /// What it is for.
    pub category: Category,
    /// Content with its padding ([`crate::padding`]).
    pub padded: Zeroizing<Vec<u8>>,
}

impl Frame {
    /// The frame's bytes: the plaintext for Signal.
    ///
    /// # Errors
    /// When a name is longer than 255 bytes.
    pub fn encode(&self) -> Result<Zeroizing<Vec<u8>>, SignalFault> {
        let fixed = 1 + 16 + 1 + 1 + 8 + 1 + 4;
        let mut out = Zeroizing::new(Vec::with_capacity(
            fixed + self.from.len() + self.to.len() + self.padded.len(),
        ));
        out.push(VERSION);
        out.extend_from_slice(&self.message_id.0);
        for name in [&self.from, &self.to] {
            out.push(u8::try_from(name.len()).map_err(|_| SignalFault::Frame)?);
            out.extend_from_slice(name.as_bytes());
        }
        out.extend_from_slice(&self.time.as_millis().to_be_bytes());
        out.push(self.category as u8);
        let length = u32::try_from(self.padded.len()).map_err(|_| SignalFault::Frame)?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&self.padded);
        Ok(out)
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// [`SignalFault::Frame`] for anything that [`Frame::encode`] does not make.
    pub fn decode(bytes: &[u8]) -> Result<Self, SignalFault> {
        Self::read(bytes).ok_or(SignalFault::Frame)
    }

    fn read(mut rest: &[u8]) -> Option<Self> {
        let [version] = take(&mut rest)?;
        if version != VERSION {
            return None;
        }
        let message_id = MessageId(take(&mut rest)?);
        let from = name(&mut rest)?;
        let to = name(&mut rest)?;
        let time = Timestamp::from_millis(u64::from_be_bytes(take(&mut rest)?));
        let [category] = take(&mut rest)?;
        let category = Category::from_wire(category)?;
        let length = usize::try_from(u32::from_be_bytes(take(&mut rest)?)).ok()?;
        (rest.len() == length).then(|| Self {
            message_id,
            from,
            to,
            time,
            category,
            padded: Zeroizing::new(rest.to_vec()),
        })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

fn name(rest: &mut &[u8]) -> Option<String> {
    let [length] = take(rest)?;
    let (name, tail) = rest.split_at_checked(usize::from(length))?;
    *rest = tail;
    String::from_utf8(name.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use prost::Message;
    use sealpost_proto::content::v1::{Content, Text, content::Body};

    use super::*;
    use crate::padding;

    fn hi() -> Frame {
        let content = Content {
            body: Some(Body::Text(Text {
                body: "hi".into(),
                preview_url: false,
            })),
            context: None,
        };
        Frame {
            message_id: MessageId([0x11; 16]),
            from: "106540352242922".into(),
            to: "15550001111".into(),
            time: Timestamp::from_millis(1_700_000_000_000),
            category: Category::Service,
            padded: padding::pad(&content.encode_to_vec()).unwrap(),
        }
    }

    /// Written by hand from the specification; the vault pins the same bytes.
    fn hi_hex() -> String {
        let parts = [
            "01",
            "11111111111111111111111111111111",
            "0f313036353430333532323432393232",
            "0b3135353530303031313131",
            "0000018bcfe56800",
            "01",
            "00000100",
            "0a040a026869",
            "80",
        ];
        parts.concat() + &"00".repeat(256 - 7)
    }

    #[test]
    fn a_frame_has_the_bytes_of_the_specification() {
        assert_eq!(hex::encode(&*hi().encode().unwrap()), hi_hex());
        assert!(Frame::decode(&hex::decode(hi_hex()).unwrap()).unwrap() == hi());
    }

    /// The vector that the vault's own test pins.
    #[test]
    fn a_frame_of_the_vault_reads_and_writes_the_same() {
        let head = "01abababababababababababababababab0f3130363534303335323234323932320b3135353531323334353637\
                    00000102030405060200000100686980";
        let bytes = hex::decode(head.to_owned() + &"00".repeat(253)).unwrap();
        let frame = Frame::decode(&bytes).unwrap();
        assert_eq!(
            (&*frame.from, &*frame.to),
            ("106540352242922", "15551234567")
        );
        assert_eq!(frame.category, Category::Utility);
        assert_eq!(padding::unpad(&frame.padded).unwrap(), b"hi");
        assert_eq!(*frame.encode().unwrap(), bytes);
    }

    #[test]
    fn a_frame_ends_exactly_and_has_a_known_version_and_category() {
        let bytes = hi().encode().unwrap();
        for end in 0..bytes.len() {
            assert!(Frame::decode(&bytes[..end]).is_err(), "{end}");
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert!(Frame::decode(&longer).is_err());
        for (place, byte) in [(0, 2), (53, 0), (53, 5)] {
            let mut changed = bytes.to_vec();
            changed[place] = byte;
            assert!(Frame::decode(&changed).is_err(), "{place}");
        }
    }
}
