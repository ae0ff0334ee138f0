//! The step of Decrypt: a batch of arrivals on rows in memory.

use std::{collections::BTreeMap, sync::Arc};

use prost::Message;
use sealpost_envelope::{NumberId, OsEntropy};
use sealpost_proto::{record::v1::Record, vault::v1::Refusal};

use super::{
    Vault,
    batch::Outcome,
    decrypt::{Arrival, Digest},
    deliver::{SealedToBusiness, seal_to_business},
    records::{OpeningKeys, SealingKeys, key_of},
    rng,
    settling::Write,
    working_set::{Gathered, Key, WorkingSet},
};
use crate::{
    VaultError, bundle,
    conversation::Conversation,
    custody::Now,
    datastore::PendingRow,
    epoch::EpochId,
    frame,
    prekey_shelf::Shelf,
    record::{ClosedRecord, Direction, RecordBody, RecordId},
};

/// A record that was made, or found pending, before it is sealed to the business.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) record: Record,
    pub(super) identity_changed: bool,
}

/// A decrypted item, before its wrap is decided.
pub(super) struct Ready {
    pub(super) held: Held,
    pub(super) sealed: SealedToBusiness,
}

/// What a step leaves.
pub(super) struct Stepped {
    pub(super) outcomes: Vec<Outcome<Ready>>,
    pub(super) working_set: WorkingSet,
    pub(super) writes: Vec<Write>,
    /// New pending rows, each with the conversation that it stands or falls with.
    pub(super) records: Vec<(Key, PendingRow)>,
}

/// The whole batch, in memory.
pub(super) struct Step {
    pub(super) vault: Vault,
    pub(super) arrivals: Arc<Vec<Outcome<Arrival>>>,
    pub(super) sealing: SealingKeys,
    pub(super) opening: OpeningKeys,
    pub(super) shelves: BTreeMap<NumberId, Shelf>,
    pub(super) pending: BTreeMap<Digest, Held>,
    pub(super) now: Now,
}

impl Step {
    /// Runs the batch.
    ///
    /// # Errors
    /// When there is no randomness.
    pub(super) fn run(mut self, gathered: Gathered) -> Result<Stepped, VaultError> {
        let arrivals = self.arrivals.clone();
        let mut working_set = gathered.open()?;
        let mut records = Vec::new();
        let mut outcomes = Vec::with_capacity(arrivals.len());
        for arrival in arrivals.iter() {
            let outcome = match arrival {
                Err(refusal) => Err(*refusal),
                Ok(arrival) => match working_set.conversation(&arrival.key, arrival.shard) {
                    Err(refusal) => Err(refusal),
                    Ok(conversation) => self.one(conversation, arrival, &mut records)?,
                },
            };
            outcomes.push(outcome);
        }
        Ok(Stepped {
            outcomes,
            writes: working_set.seal()?,
            working_set,
            records,
        })
    }

    fn one(
        &mut self,
        conversation: &mut Conversation,
        arrival: &Arrival,
        records: &mut Vec<(Key, PendingRow)>,
    ) -> Result<Outcome<Ready>, VaultError> {
        let digest = arrival.digest;
        let (held, body) = match self.pending.get(&digest).cloned() {
            Some(held) => match self.reopen(conversation, arrival, &held) {
                Ok(body) => (held, body),
                Err(refusal) => return Ok(Err(refusal)),
            },
            None => match self.decrypt(conversation, arrival)? {
                Ok((held, epoch, body)) => {
                    self.pending.insert(digest, held.clone());
                    let row = PendingRow {
                        ciphertext_sha256: digest,
                        number: arrival.number.id.as_str().to_owned(),
                        tag: conversation.tag(),
                        epoch,
                        created_at_ms: self.now.timestamp().as_millis(),
                        identity_changed: held.identity_changed,
                        record: held.record.encode_to_vec(),
                    };
                    records.push((arrival.key.clone(), row));
                    (held, body)
                }
                Err(refusal) => return Ok(Err(refusal)),
            },
        };
        let message_id = ClosedRecord::parse(&held.record).map(|closed| closed.id.message_id);
        let sealed = match message_id {
            Ok(id) => seal_to_business(
                &self.vault,
                &arrival.number,
                id,
                Direction::Inbound,
                &body,
                false,
                self.now,
            )?,
            Err(refusal) => Err(refusal),
        };
        Ok(sealed.map(|sealed| Ready { held, sealed }))
    }

    /// Opens a pending record again. It must be of the peer that is named now.
    fn reopen(
        &self,
        conversation: &Conversation,
        arrival: &Arrival,
        held: &Held,
    ) -> Outcome<RecordBody> {
        let closed = ClosedRecord::parse(&held.record).map_err(|_| Refusal::Undecryptable)?;
        // Its own seal says which direction it is of, not that it belongs here: the row is the database's word.
        if closed.id.direction != Direction::Inbound {
            return Err(Refusal::Undecryptable);
        }
        let epoch = closed.id.epoch;
        // One that this very batch made lies under an epoch that is open.
        let made_here = self
            .sealing
            .values()
            .find(|(open, _)| *open == epoch)
            .map(|(_, key)| key.clone());
        let key = made_here.map_or_else(|| key_of(&self.opening, epoch), Ok)?;
        let body = closed.open(&key, &conversation.subject().key)?;
        if body.peer == arrival.peer {
            Ok(body)
        } else {
            Err(Refusal::Undecryptable)
        }
    }

    /// Decrypts, checks the frame, and makes the record.
    #[allow(clippy::type_complexity, reason = "read once, above")]
    fn decrypt(
        &mut self,
        conversation: &mut Conversation,
        arrival: &Arrival,
    ) -> Result<Outcome<(Held, EpochId, RecordBody)>, VaultError> {
        let number = &arrival.number;
        // Verified only where it is needed.
        let voucher = match &arrival.bundle {
            Some(signed) if conversation.is_strange(&arrival.message) => {
                let relay_keys = &self.vault.0.relay_keys;
                let now = self.now.timestamp();
                match bundle::verify(signed, relay_keys, &number.id, &arrival.peer, now) {
                    Some(verified) => Some(verified),
                    None => return Ok(Err(Refusal::BundleInvalid)),
                }
            }
            _ => None,
        };
        let shelf = self.shelves.entry(number.id.clone()).or_default();
        let decrypted = match conversation.decrypt(
            arrival.device,
            &arrival.message,
            voucher.as_ref(),
            shelf,
            &mut rng(),
        ) {
            Ok(decrypted) => decrypted,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let Some(frame) = frame::decode(
            &decrypted.plaintext,
            arrival.peer.expose(),
            number.id.as_str(),
        ) else {
            return Ok(Err(Refusal::Undecryptable));
        };
        let identity_changed = decrypted.identity_changed;
        conversation.commit(decrypted, shelf);
        let sequence = conversation.receive();

        let (epoch, epoch_key) = self
            .sealing
            .get(&number.facts.retention)
            .ok_or(VaultError::Contention)?;
        let id = RecordId {
            number: number.id.clone(),
            tag: conversation.tag(),
            message_id: frame.message_id,
            direction: Direction::Inbound,
            epoch: *epoch,
        };
        let body = RecordBody {
            peer: arrival.peer.clone(),
            category: frame.category,
            time: frame.time,
            content: frame.content,
        };
        let record = id.seal(
            sequence,
            &body,
            epoch_key,
            &conversation.subject().key,
            &mut OsEntropy,
        )?;
        Ok(Ok((
            Held {
                record,
                identity_changed,
            },
            *epoch,
            body,
        )))
    }
}
