//! Decrypt: consumers' ciphertexts become pending records and content sealed to the business.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use prost::Message;
use sealpost_envelope::{NumberId, Peer, kdf::sha256};
use sealpost_failpoints::failpoint;
use sealpost_proto::{
    record::v1::Record,
    signal::v1::{CiphertextType, SignedBundle},
    vault::v1::{
        DecryptItem, DecryptOutcome, DecryptRequest, DecryptResponse, Decrypted, Refusal,
        decrypt_outcome,
    },
};

use super::{
    StreamState, Vault,
    batch::{self, Outcome},
    blocking,
    decrypt_step::{Held, Ready, Step, Stepped},
    records::{Numbers, SealingKeys, number_of},
    working_set::{Key, Loaded, write_all},
};
use crate::{
    VaultError, bundle::device_id, custody::Now, datastore, number::Number, prekey_shelf::Shelf,
    record::ClosedRecord, shards::Shard, signal::InboundMessage,
};

/// The longest ciphertext.
const MAX_CIPHERTEXT: usize = 128 * 1024;

/// SHA-256 of a ciphertext: what names it.
pub(super) type Digest = [u8; 32];

/// A well-formed item.
pub(super) struct Arrival {
    pub(super) number: Arc<Number>,
    pub(super) peer: Peer,
    pub(super) device: u8,
    pub(super) message: InboundMessage,
    /// What the relay says of the peer, unverified.
    pub(super) bundle: Option<SignedBundle>,
    pub(super) key: Key,
    pub(super) shard: Shard,
}

/// A batch's items, beside the digests that name their ciphertexts.
pub(super) struct Arrivals {
    pub(super) items: Vec<Outcome<Arrival>>,
    pub(super) digests: Vec<Digest>,
}

impl Vault {
    /// Decrypts a batch of one stream.
    ///
    /// # Errors
    /// What failed the whole batch.
    pub async fn decrypt(
        &self,
        stream: &StreamState,
        request: DecryptRequest,
    ) -> Result<DecryptResponse, VaultError> {
        let DecryptRequest { batch_id, items } = request;
        batch::check_len(items.len())?;
        let digests: Vec<Digest> = items
            .iter()
            .map(|item| sha256(&[&item.ciphertext]))
            .collect();
        let outcomes = match self.0.time.now() {
            Ok(now) => self.decrypt_items(items, digests.clone(), now).await?,
            Err(_) => batch::all(items.len(), Refusal::ClockUnconfirmed),
        };
        batch::count("decrypt", &outcomes);
        let outcome = |outcome: Outcome<Ready>| match outcome {
            Ok(Ready { held, sealed }) => decrypt_outcome::Outcome::Decrypted(Decrypted {
                record: Some(held.record),
                wrap: stream.wrap(&sealed.key, false),
                content_key_id: sealed.key_id(),
                message: Some(sealed.message),
                identity_changed: held.identity_changed,
            }),
            Err(refusal) => decrypt_outcome::Outcome::Refused(refusal.into()),
        };
        let outcomes = outcomes
            .into_iter()
            .zip(digests)
            .map(|(item, digest)| DecryptOutcome {
                outcome: Some(outcome(item)),
                ciphertext_sha256: Bytes::copy_from_slice(&digest),
            });
        Ok(DecryptResponse {
            batch_id,
            outcomes: outcomes.collect(),
        })
    }

    async fn decrypt_items(
        &self,
        items: Vec<DecryptItem>,
        digests: Vec<Digest>,
        now: Now,
    ) -> Result<Vec<Outcome<Ready>>, VaultError> {
        let len = items.len();
        let ids = items
            .iter()
            .filter_map(|item| NumberId::new(&item.phone_number_id).ok())
            .collect();
        let numbers = Arc::new(self.numbers(ids).await?);
        let classes = numbers
            .values()
            .flatten()
            .map(|number| number.facts.retention)
            .collect();
        let sealing = Arc::new(self.sealing_keys(classes, now).await?);
        let arrivals = {
            let numbers = numbers.clone();
            let vault = self.clone();
            let parse = move || {
                items
                    .iter()
                    .map(|item| Arrival::parse(item, &vault, &numbers))
                    .collect()
            };
            Arc::new(Arrivals {
                items: blocking(parse).await?,
                digests,
            })
        };
        batch::run(len, |indices| {
            self.decrypt_once(arrivals.clone(), sealing.clone(), indices, now)
        })
        .await
    }

    async fn decrypt_once(
        &self,
        arrivals: Arc<Arrivals>,
        sealing: Arc<SealingKeys>,
        indices: Vec<usize>,
        now: Now,
    ) -> Result<Vec<Outcome<Ready>>, VaultError> {
        let vault = self.clone();
        self.0
            .database
            .run_tx("decrypt", move |tx| {
                let (vault, arrivals) = (vault.clone(), arrivals.clone());
                let (sealing, indices) = (sealing.clone(), indices.clone());
                Box::pin(async move {
                    let fence = vault.fence(tx).await?;
                    let mut numbers: BTreeMap<NumberId, Vec<usize>> = BTreeMap::new();
                    let mut keys: BTreeMap<Key, Arc<Number>> = BTreeMap::new();
                    let mut pending = BTreeMap::new();
                    let mut epochs = BTreeSet::new();
                    for at in &indices {
                        let arrival = match &arrivals.items[*at] {
                            Ok(arrival) if fence.admit(arrival.shard).is_ok() => arrival,
                            _ => continue,
                        };
                        let number = arrival.number.id.as_str();
                        if let Some((record, identity_changed)) =
                            datastore::pending_find(tx, number, &arrivals.digests[*at]).await?
                        {
                            let record = Record::decode(&record[..]).unwrap_or_default();
                            epochs
                                .extend(ClosedRecord::parse(&record).map(|closed| closed.id.epoch));
                            pending.insert(
                                arrivals.digests[*at],
                                Held {
                                    record,
                                    identity_changed,
                                },
                            );
                        }
                        numbers
                            .entry(arrival.number.id.clone())
                            .or_default()
                            .push(*at);
                        keys.insert(arrival.key.clone(), arrival.number.clone());
                    }
                    let mut shelves = BTreeMap::new();
                    for (number, items) in numbers {
                        let messages = items
                            .iter()
                            .filter_map(|at| arrivals.items[*at].as_ref().ok());
                        let messages = messages.map(|arrival| &arrival.message);
                        let shelf = Shelf::load(tx, number.as_str(), messages).await?;
                        shelves.insert(number, shelf);
                    }
                    let mut loaded = Vec::with_capacity(keys.len());
                    for ((_, id), number) in keys {
                        let rows =
                            datastore::conversation_by_id(tx, number.id.as_str(), id, true).await?;
                        loaded.push(Loaded { number, id, rows });
                    }
                    failpoint!("decrypt.loaded");
                    let opening = vault.opening_keys(epochs, now).await?;
                    let step = Step {
                        vault,
                        fence,
                        arrivals: arrivals.clone(),
                        sealing,
                        opening,
                        shelves,
                        pending,
                        now,
                    };
                    let at = indices.clone();
                    let Stepped {
                        mut outcomes,
                        writes,
                        records,
                    } = blocking(move || step.run(loaded, &at)).await??;

                    let contended = write_all(tx, &writes, now).await?;
                    for (key, row) in &records {
                        if !contended.contains(key) {
                            datastore::pending_insert(tx, row).await?;
                        }
                    }
                    for (outcome, at) in outcomes.iter_mut().zip(&indices) {
                        if let Ok(arrival) = &arrivals.items[*at]
                            && contended.contains(&arrival.key)
                        {
                            *outcome = Err(Refusal::Contention);
                        }
                    }
                    Ok(outcomes)
                })
            })
            .await
    }
}

impl Arrival {
    fn parse(item: &DecryptItem, vault: &Vault, numbers: &Numbers) -> Outcome<Self> {
        let id = NumberId::new(&item.phone_number_id).map_err(|_| Refusal::Malformed)?;
        let peer = Peer::new(&item.peer).map_err(|_| Refusal::Malformed)?;
        let shard = Shard::of(&id, &peer);
        if !vault.expects(shard) {
            return Err(Refusal::ShardElsewhere);
        }
        let device = device_id(item.device_id).ok_or(Refusal::Malformed)?;
        if item.ciphertext.len() > MAX_CIPHERTEXT {
            return Err(Refusal::Malformed);
        }
        let kind = CiphertextType::try_from(item.r#type).map_err(|_| Refusal::Malformed)?;
        let number = number_of(numbers, &id)?;
        if number.facts.business.is_none() {
            return Err(Refusal::BusinessKeysMissing);
        }
        let message =
            InboundMessage::parse(kind, &item.ciphertext).map_err(|_| Refusal::Malformed)?;
        let key = (id, number.subject_id(&peer));
        Ok(Self {
            number,
            peer,
            device,
            message,
            bundle: item.bundle.clone(),
            key,
            shard,
        })
    }
}
