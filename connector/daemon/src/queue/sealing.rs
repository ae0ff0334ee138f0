//! The queue key: seals rows and names things without telling what they are.
//!
//! Two keys are derived from the 32 bytes of the file, one for each use. A sealed row is AES-256-GCM with its table and its id
//! as associated data, so that rows cannot be swapped or moved.

use sealpost_connector_sdk::{DeliveryStatus, MessageId, NumberId, Peer, ReplayKey, Secret};
use sealpost_envelope::{
    Entropy, EnvelopeError, OsEntropy,
    aead::AeadKey,
    kdf::{hkdf_sha256, hmac_sha256},
};
use zeroize::Zeroizing;

/// A keyed digest; unlike what it is made from, it may lie on the disk.
pub type Digest = [u8; 32];

/// The keys derived from the queue key's file.
pub struct QueueKey {
    sealing: AeadKey,
    naming: Secret<32>,
}

/// The table that a sealed value is in.
#[derive(Clone, Copy)]
pub(super) enum Room {
    Deliveries,
    Notes,
}

impl Room {
    fn name(self) -> &'static [u8] {
        match self {
            Self::Deliveries => b"deliveries",
            Self::Notes => b"notes",
        }
    }
}

impl QueueKey {
    /// Derives the keys.
    ///
    /// # Errors
    /// Never for lengths this small; the derivation's own error.
    pub fn new(secret: &Secret<32>) -> Result<Self, EnvelopeError> {
        let derive = |info: &[u8]| hkdf_sha256(b"", secret.expose(), &[info]);
        Ok(Self {
            sealing: AeadKey::new(derive(b"sealpost/connector/queue-sealing")?),
            naming: derive(b"sealpost/connector/queue-naming")?,
        })
    }

    pub(super) fn seal(
        &self,
        room: Room,
        id: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, EnvelopeError> {
        self.sealing
            .seal(&mut OsEntropy, &associated(room, id), plaintext)
    }

    pub(super) fn open(
        &self,
        room: Room,
        id: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
        self.sealing.open(&associated(room, id), sealed)
    }

    /// Recognises a message that comes again.
    #[must_use]
    pub fn message(&self, key: &ReplayKey) -> Digest {
        self.name(&[
            b"message",
            key.number.as_str().as_bytes(),
            key.peer.expose().as_bytes(),
            &[key.direction as u8],
            key.message_id.as_bytes(),
        ])
    }

    /// Recognises a status that comes again.
    #[must_use]
    pub fn status(&self, number: &NumberId, id: MessageId, status: DeliveryStatus) -> Digest {
        let status = status.as_str().as_bytes();
        self.name(&[b"status", number.as_str().as_bytes(), id.as_bytes(), status])
    }

    /// Who sent a message.
    #[must_use]
    pub fn sender(&self, number: &NumberId, id: MessageId) -> Digest {
        self.name(&[b"sender", number.as_str().as_bytes(), id.as_bytes()])
    }

    /// The app's own data of a message.
    #[must_use]
    pub fn callback(&self, number: &NumberId, id: MessageId) -> Digest {
        self.name(&[b"callback", number.as_str().as_bytes(), id.as_bytes()])
    }

    /// A conversation; of an event whose peer is not known any more, its message alone.
    #[must_use]
    pub fn conversation(
        &self,
        number: &NumberId,
        peer: Option<&Peer>,
        id: Option<MessageId>,
    ) -> Digest {
        let number = number.as_str().as_bytes();
        match (peer, id) {
            (Some(peer), _) => self.name(&[b"peer", number, peer.expose().as_bytes()]),
            (None, Some(id)) => self.name(&[b"peerless", number, id.as_bytes()]),
            (None, None) => self.name(&[b"nameless", number]),
        }
    }

    fn name(&self, parts: &[&[u8]]) -> Digest {
        let mut framed = Vec::new();
        for part in parts {
            // No part is longer than a phone number, an id or a word.
            framed.push(part.len() as u8);
            framed.extend_from_slice(part);
        }
        hmac_sha256(&self.naming, &[&framed])
    }
}

impl std::fmt::Debug for QueueKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("QueueKey(…)")
    }
}

/// A random id for a delivery.
pub(super) fn fresh_id() -> Result<[u8; 16], EnvelopeError> {
    let mut id = [0; 16];
    OsEntropy.fill(&mut id)?;
    Ok(id)
}

fn associated(room: Room, id: &[u8]) -> Vec<u8> {
    let mut bytes = b"sealpost/connector/row\0".to_vec();
    bytes.extend_from_slice(room.name());
    bytes.push(0);
    bytes.extend_from_slice(id);
    bytes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn key() -> QueueKey {
        QueueKey::new(&Secret::from_bytes([5; 32])).unwrap()
    }

    #[test]
    fn a_row_opens_only_in_its_place() {
        let key = key();
        let sealed = key.seal(Room::Deliveries, b"one", b"hello").unwrap();
        let open = |room, id| key.open(room, id, &sealed).map(|bytes| bytes.to_vec());
        assert_eq!(open(Room::Deliveries, b"one").unwrap(), b"hello");
        assert!(open(Room::Deliveries, b"two").is_err());
        assert!(open(Room::Notes, b"one").is_err());
        let other = QueueKey::new(&Secret::from_bytes([6; 32])).unwrap();
        assert!(other.open(Room::Deliveries, b"one", &sealed).is_err());
    }

    #[test]
    fn names_of_different_things_differ() {
        let key = key();
        let number: NumberId = "1".parse().unwrap();
        let id = MessageId::from_bytes([1; 16]);
        let peer = Peer::new("15551234567").unwrap();
        let names = [
            key.sender(&number, id),
            key.callback(&number, id),
            key.conversation(&number, Some(&peer), None),
            key.conversation(&number, None, Some(id)),
            key.conversation(&number, None, None),
            key.status(&number, id, DeliveryStatus::Read),
            key.status(&number, id, DeliveryStatus::Sent),
        ];
        for (index, name) in names.iter().enumerate() {
            assert!(!names[..index].contains(name));
        }
        assert_ne!(
            key.sender(&number, id),
            QueueKey::new(&Secret::from_bytes([6; 32]))
                .unwrap()
                .sender(&number, id)
        );
    }
}
