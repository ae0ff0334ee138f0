//! The seals: of a record as the store keeps it, and of a row of the vault's own.

use std::sync::Arc;

use sealpost_envelope::{Category, MessageId, NumberId, Peer, Secret, pad};
use sealpost_proto::record::v1::Record;
use zeroize::Zeroizing;

use super::{NOW, NUMBER, PEER, Seeded, number};
use crate::{
    custody::EpochKey,
    epoch::{EpochId, Retention},
    number::Number,
    record::{ClosedRecord, Direction, RecordBody, RecordId},
    subject::Tag,
};

const TABLE: &str = "sessions";
const ROW: &[u8] = &[4; 17];

/// A message to seal as a record, and a number to seal rows of.
pub struct Records {
    id: RecordId,
    body: RecordBody,
    epoch_key: EpochKey,
    subject_key: Secret<32>,
    number: Arc<Number>,
    random: Seeded,
}

impl Records {
    /// A message of `content` bytes, before padding.
    ///
    /// # Panics
    /// When there is too much of it.
    #[must_use]
    pub fn new(content: usize) -> Self {
        let mut random = Seeded::new(4);
        let id = RecordId {
            number: NumberId::new(NUMBER).unwrap(),
            tag: Tag([5; 16]),
            message_id: MessageId::from_bytes([6; 16]),
            direction: Direction::Outbound,
            epoch: EpochId::at(Retention::new(86_400).unwrap(), NOW),
        };
        let body = RecordBody {
            peer: Peer::new(PEER).unwrap(),
            category: Category::Utility,
            time: NOW,
            content: pad(&vec![b'a'; content]).unwrap(),
        };
        Self {
            id,
            body,
            epoch_key: EpochKey::from_bytes([8; 32]),
            subject_key: Secret::from_bytes([9; 32]),
            number: Arc::new(number(&mut random)),
            random,
        }
    }

    /// Seals the record.
    ///
    /// # Panics
    /// Never.
    pub fn seal(&mut self) -> Record {
        let Self {
            id,
            body,
            epoch_key,
            subject_key,
            random,
            ..
        } = self;
        id.seal(1, body, epoch_key, subject_key, random).unwrap()
    }

    /// Parses and opens a record that [`Records::seal`] made; answers the bytes of its padded content.
    ///
    /// # Panics
    /// When it is another.
    #[must_use]
    pub fn open(&self, record: &Record) -> usize {
        let closed = ClosedRecord::parse(record).ok().unwrap();
        let body = closed
            .open(&self.epoch_key, &self.subject_key)
            .ok()
            .unwrap();
        body.content.as_bytes().len()
    }

    /// Seals a row.
    ///
    /// # Panics
    /// Never.
    pub fn seal_row(&mut self, plaintext: &[u8]) -> Vec<u8> {
        let sealed = self
            .number
            .seal_row(TABLE, ROW, 1, plaintext, &mut self.random);
        sealed.unwrap()
    }

    /// Opens a row that [`Records::seal_row`] made.
    ///
    /// # Panics
    /// When it is another.
    #[must_use]
    pub fn open_row(&self, sealed: &[u8]) -> Zeroizing<Vec<u8>> {
        self.number.open_row(TABLE, ROW, 1, sealed).unwrap()
    }
}
