//! Records: one message as the store keeps it.
//!
//! Owns how a record is sealed and what it is bound to. Knows neither files nor rows. Invariant: a record opens only
//! with its epoch's key and its subject's key, under the very number, tag, message id, direction and epoch it was made
//! for.
//!
//! ```text
//! sealed     = version u8 = 1 ‖ nonce 12 ‖ AES-256-GCM
//! key        = HKDF-SHA256(ikm = epoch key, salt = subject key, info = "sealpost/record")
//! associated = FIELD8(domain) ‖ FIELD8(number) ‖ tag 16 ‖ message id 16 ‖ direction u8 ‖ retention u32 ‖ start u64
//! plaintext  = FIELD8(peer) ‖ category u8 ‖ time u64 ms ‖ padded content
//! ```

use bytes::Bytes;
use sealpost_envelope::{
    Category, Entropy, EnvelopeError, MessageId, NumberId, PaddedContent, Peer, Secret,
    aead::AeadKey, kdf::hkdf_sha256,
};
use sealpost_proto::{record::v1 as proto, vault::v1::Refusal};
use sealpost_runtime::Timestamp;
use zeroize::Zeroizing;

use crate::{
    custody::EpochKey,
    epoch::EpochId,
    frame::FrameFields,
    layout::{Reader, put_field8},
    subject::Tag,
};

const VERSION: u8 = 1;
const DOMAIN: &[u8] = b"sealpost/record/v1";
const INFO: &[u8] = b"sealpost/record";
/// Version, nonce and tag, the facts, and the longest padded content.
const MAX_SEALED: usize = 70_000;

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Outbound = 1,
    Inbound = 2,
}

/// What a record is bound to.
#[derive(Clone, Debug)]
pub(crate) struct RecordId {
    pub(crate) number: NumberId,
    pub(crate) tag: Tag,
    pub(crate) message_id: MessageId,
    pub(crate) direction: Direction,
    pub(crate) epoch: EpochId,
}

/// What is inside.
pub(crate) struct RecordBody {
    pub(crate) peer: Peer,
    pub(crate) category: Category,
    pub(crate) time: Timestamp,
    pub(crate) content: PaddedContent,
}

/// A record as someone gave it, well formed and nothing more.
#[derive(Clone, Debug)]
pub(crate) struct ClosedRecord {
    pub(crate) id: RecordId,
    /// Not authenticated: a hint for order.
    pub(crate) sequence: u64,
    sealed: Bytes,
}

impl ClosedRecord {
    /// Reads a record's outside.
    ///
    /// # Errors
    /// [`Refusal::Malformed`].
    pub(crate) fn parse(record: &proto::Record) -> Result<Self, Refusal> {
        Self::read(record).ok_or(Refusal::Malformed)
    }

    fn read(record: &proto::Record) -> Option<Self> {
        let direction = match proto::Direction::try_from(record.direction).ok()? {
            proto::Direction::Outbound => Direction::Outbound,
            proto::Direction::Inbound => Direction::Inbound,
            proto::Direction::Unspecified => return None,
        };
        let id = RecordId {
            number: NumberId::new(&record.phone_number_id).ok()?,
            tag: Tag::from_slice(&record.tag)?,
            message_id: MessageId::try_from(&record.message_id[..]).ok()?,
            direction,
            epoch: EpochId::from_proto(record.epoch.as_ref()?)?,
        };
        let well_formed = record.sealed.len() <= MAX_SEALED && record.sequence > 0;
        well_formed.then(|| Self {
            id,
            sequence: record.sequence,
            sealed: record.sealed.clone(),
        })
    }

    /// Opens it.
    ///
    /// # Errors
    /// [`Refusal::Undecryptable`], whatever the cause.
    pub(crate) fn open(
        &self,
        epoch_key: &EpochKey,
        subject_key: &Secret<32>,
    ) -> Result<RecordBody, Refusal> {
        let (version, sealed) = self.sealed.split_first().ok_or(Refusal::Undecryptable)?;
        if *version != VERSION {
            return Err(Refusal::Undecryptable);
        }
        let plaintext = record_key(epoch_key, subject_key)
            .and_then(|key| key.open(&self.id.associated(), sealed))
            .map_err(|_| Refusal::Undecryptable)?;
        RecordBody::decode(&plaintext).ok_or(Refusal::Undecryptable)
    }
}

impl RecordId {
    /// Seals `body` as the record of this id.
    ///
    /// # Errors
    /// [`EnvelopeError::NoRandomness`].
    pub(crate) fn seal(
        &self,
        sequence: u64,
        body: &RecordBody,
        epoch_key: &EpochKey,
        subject_key: &Secret<32>,
        entropy: &mut dyn Entropy,
    ) -> Result<proto::Record, EnvelopeError> {
        let key = record_key(epoch_key, subject_key)?;
        let mut sealed = key.seal(entropy, &self.associated(), &body.encode())?;
        sealed.insert(0, VERSION);
        Ok(proto::Record {
            phone_number_id: self.number.as_str().to_owned(),
            tag: Bytes::copy_from_slice(&self.tag.0),
            message_id: Bytes::copy_from_slice(self.message_id.as_bytes()),
            direction: self.direction as i32,
            epoch: Some(self.epoch.to_proto()),
            sequence,
            sealed: sealed.into(),
        })
    }

    fn associated(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(112);
        put_field8(&mut out, DOMAIN);
        put_field8(&mut out, self.number.as_str().as_bytes());
        out.extend_from_slice(&self.tag.0);
        out.extend_from_slice(self.message_id.as_bytes());
        out.push(self.direction as u8);
        out.extend_from_slice(&self.epoch.retention().seconds().to_be_bytes());
        out.extend_from_slice(&self.epoch.start_seconds().to_be_bytes());
        out
    }
}

impl RecordBody {
    /// The frame of an outbound message.
    pub(crate) fn frame<'a>(
        &'a self,
        number: &'a NumberId,
        message_id: MessageId,
    ) -> FrameFields<'a> {
        FrameFields {
            message_id,
            from: number.as_str(),
            to: self.peer.expose(),
            time: self.time,
            category: self.category,
        }
    }

    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let content = self.content.as_bytes();
        let mut out = Zeroizing::new(Vec::with_capacity(32 + content.len()));
        put_field8(&mut out, self.peer.expose().as_bytes());
        out.push(self.category as u8);
        out.extend_from_slice(&self.time.as_millis().to_be_bytes());
        out.extend_from_slice(content);
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let peer = Peer::new(std::str::from_utf8(reader.field8()?).ok()?).ok()?;
        let category = Category::try_from(reader.byte()?).ok()?;
        let time = Timestamp::from_millis(reader.u64()?);
        let content = PaddedContent::from_bytes(Zeroizing::new(reader.rest().to_vec())).ok()?;
        Some(Self {
            peer,
            category,
            time,
            content,
        })
    }
}

fn record_key(epoch_key: &EpochKey, subject_key: &Secret<32>) -> Result<AeadKey, EnvelopeError> {
    hkdf_sha256(subject_key.expose(), epoch_key.expose(), &[INFO]).map(AeadKey::new)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use sealpost_envelope::{OsEntropy, pad};

    use super::*;

    fn sealed(epoch_key: &EpochKey, subject_key: &Secret<32>) -> proto::Record {
        let id = RecordId {
            number: NumberId::new("1065").unwrap(),
            tag: Tag([7; 16]),
            message_id: MessageId::from_bytes([8; 16]),
            direction: Direction::Outbound,
            epoch: EpochId::from_parts(3600, 3600).unwrap(),
        };
        let body = RecordBody {
            peer: Peer::new("15551234567").unwrap(),
            category: Category::Marketing,
            time: Timestamp::from_millis(9),
            content: pad(b"content").unwrap(),
        };
        id.seal(1, &body, epoch_key, subject_key, &mut OsEntropy)
            .unwrap()
    }

    #[test]
    fn a_record_opens_with_its_two_keys_and_with_no_other() {
        let (epoch_key, subject_key) = (EpochKey::from_bytes([1; 32]), Secret::from_bytes([2; 32]));
        let record = ClosedRecord::parse(&sealed(&epoch_key, &subject_key)).unwrap();
        let body = record.open(&epoch_key, &subject_key).unwrap();
        assert_eq!(body.peer.expose(), "15551234567");
        assert_eq!(body.content.as_bytes(), pad(b"content").unwrap().as_bytes());
        for (epoch, subject) in [([3; 32], [2; 32]), ([1; 32], [3; 32]), ([2; 32], [1; 32])] {
            let refused = record.open(&EpochKey::from_bytes(epoch), &Secret::from_bytes(subject));
            assert_eq!(refused.err(), Some(Refusal::Undecryptable));
        }
    }

    #[test]
    fn a_record_with_any_changed_name_does_not_open() {
        let (epoch_key, subject_key) = (EpochKey::from_bytes([1; 32]), Secret::from_bytes([2; 32]));
        let good = sealed(&epoch_key, &subject_key);
        let epoch = |retention_seconds, start_seconds| {
            Some(proto::EpochId {
                retention_seconds,
                start_seconds,
            })
        };
        let changes: [fn(&mut proto::Record); 5] = [
            |record| record.phone_number_id = "1066".to_owned(),
            |record| record.tag = Bytes::from_static(&[6; 16]),
            |record| record.message_id = Bytes::from_static(&[9; 16]),
            |record| record.direction = 2,
            |record| record.sealed = Bytes::new(),
        ];
        let mut changed: Vec<_> = changes
            .iter()
            .map(|change| {
                let mut record = good.clone();
                change(&mut record);
                record
            })
            .collect();
        changed.push(proto::Record {
            epoch: epoch(3600, 7200),
            ..good.clone()
        });
        changed.push(proto::Record {
            epoch: epoch(7200, 3600),
            ..good.clone()
        });
        for at in 0..good.sealed.len() {
            let mut sealed = good.sealed.to_vec();
            sealed[at] ^= 1;
            changed.push(proto::Record {
                sealed: sealed.into(),
                ..good.clone()
            });
        }
        for record in &changed {
            let refused = ClosedRecord::parse(record)
                .unwrap()
                .open(&epoch_key, &subject_key);
            assert_eq!(refused.err(), Some(Refusal::Undecryptable), "{record:?}");
        }
    }

    #[test]
    fn what_is_no_record_is_malformed() {
        let good = sealed(&EpochKey::from_bytes([1; 32]), &Secret::from_bytes([2; 32]));
        for bad in [
            proto::Record::default(),
            proto::Record {
                phone_number_id: "x".to_owned(),
                ..good.clone()
            },
            proto::Record {
                tag: Bytes::from_static(&[1; 15]),
                ..good.clone()
            },
            proto::Record {
                direction: 3,
                ..good.clone()
            },
            proto::Record {
                epoch: None,
                ..good.clone()
            },
            proto::Record {
                sequence: 0,
                ..good.clone()
            },
            proto::Record {
                sealed: vec![0; MAX_SEALED + 1].into(),
                ..good.clone()
            },
        ] {
            assert_eq!(ClosedRecord::parse(&bad).err(), Some(Refusal::Malformed));
        }
    }
}
