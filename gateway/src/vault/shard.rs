//! Which shard a conversation is in, and what of a sealed message's header it takes to know it.

use ring::digest::{SHA256, digest};

use crate::ids::ContentKeyId;

/// How many shards there are.
pub(super) const SHARDS: u8 = 64;

/// A shard of the conversations, 0 to 63.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shard(u8);

impl Shard {
    /// The shard of a conversation, as the vault's `WatchShards` defines it. What no number or peer can be is in some shard too: its
    /// holder refuses it.
    pub(super) fn of(number: &str, peer: &str) -> Self {
        let mut named = Vec::with_capacity(2 + number.len() + peer.len());
        for part in [number, peer] {
            named.push(u8::try_from(part.len()).unwrap_or(u8::MAX));
            named.extend_from_slice(part.as_bytes());
        }
        Self(digest(&SHA256, &named).as_ref()[0] % SHARDS)
    }

    pub(super) fn new(shard: u32) -> Option<Self> {
        let shard = u8::try_from(shard).ok()?;
        (shard < SHARDS).then_some(Self(shard))
    }

    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0..SHARDS).map(Self)
    }

    pub(super) fn index(self) -> usize {
        self.0.into()
    }
}

/// What the clear header of a sealed message says (docs/wire-format.md), believed for nothing but the way to the vault.
pub(super) struct Clear {
    pub(super) shard: Shard,
    pub(super) content_key: ContentKeyId,
}

impl Clear {
    /// Reads a header; none when it is not of the shape.
    pub(super) fn read(header: &[u8]) -> Option<Self> {
        let (_version_and_direction, rest) = header.split_at_checked(2)?;
        let (number, rest) = field8(rest)?;
        let (peer, rest) = field8(rest)?;
        let (_message_id_and_category, rest) = rest.split_at_checked(17)?;
        let (content_key, time) = rest.split_at_checked(16)?;
        let content_key = ContentKeyId::parse(content_key).ok()?;
        (time.len() == 8).then_some(())?;
        Some(Self {
            shard: Shard::of(str::from_utf8(number).ok()?, str::from_utf8(peer).ok()?),
            content_key,
        })
    }
}

/// The id of the content key that a wrap carries: the hash of all that comes after the wrap's first length.
pub(super) fn content_key_of(wrap: &[u8]) -> Option<ContentKeyId> {
    let (context_length, rest) = wrap.split_at_checked(2)?;
    let _ = context_length;
    ContentKeyId::parse(&digest(&SHA256, rest).as_ref()[..16]).ok()
}

fn field8(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*len))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::Value;

    use super::*;

    /// The vault computes the same: its test has the same words.
    #[test]
    fn the_shard_of_a_conversation_is_the_one_in_the_contract() {
        let shard = |number, peer| Shard::of(number, peer).index();
        assert_eq!(shard("106540352242922", "15551234567"), 48);
        assert_eq!(shard("106540352242922", "15551234568"), 46);
        assert_eq!(shard("1", "491511234567"), 1);
        assert_eq!(Shard::new(63), Shard::all().last());
        assert_eq!(Shard::new(64), None);
    }

    #[test]
    fn header_and_wrap_are_read_as_the_wire_format_has_them() {
        let vectors = include_str!("../../../docs/vectors/envelope.json");
        let vectors: Value = serde_json::from_str(vectors).unwrap();
        let bytes = |value: &Value| {
            let text = value.as_str().unwrap();
            let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
            (0..text.len()).step_by(2).map(byte).collect::<Vec<u8>>()
        };
        let message = &vectors["messages"][0];
        let header = bytes(&message["header"]);
        let clear = Clear::read(&header).unwrap();
        assert_eq!(clear.shard, Shard::of("106540352242922", "15551234567"));
        let wrap = bytes(&vectors["wraps"][0]["wire"]);
        assert_eq!(content_key_of(&wrap), Some(clear.content_key));
        for length in 0..header.len() {
            assert!(Clear::read(&header[..length]).is_none(), "{length}");
        }
    }
}
