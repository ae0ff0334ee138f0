//! Decrypt: consumers' ciphertexts become pending records and content sealed to the business.

use std::{collections::BTreeMap, sync::Arc};

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
    records::{Numbers, number_of},
    settling::Work,
    working_set::{self, Gathered, Key},
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
    pub(super) digest: Digest,
    pub(super) device: u8,
    pub(super) message: InboundMessage,
    /// What the relay says of the peer, unverified.
    pub(super) bundle: Option<SignedBundle>,
    pub(super) key: Key,
    pub(super) shard: Shard,
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
        let (len, items, digests) = (items.len(), Arc::new(items), Arc::new(digests));
        batch::run(len, |indices| {
            self.decrypt_once(items.clone(), digests.clone(), indices, now)
        })
        .await
    }

    async fn decrypt_once(
        &self,
        items: Arc<Vec<DecryptItem>>,
        digests: Arc<Vec<Digest>>,
        indices: Vec<usize>,
        now: Now,
    ) -> Result<Vec<Outcome<Ready>>, VaultError> {
        let wanted = || indices.iter().map(|at| &items[*at]);
        let ids = wanted().filter_map(|item| NumberId::new(&item.phone_number_id).ok());
        let numbers = self.numbers_at_hand(ids.collect()).await?;
        let classes = numbers
            .values()
            .flatten()
            .map(|number| number.facts.retention);
        let sealing = self.sealing_keys(classes.collect(), now).await?;
        let arrivals: Vec<Outcome<Arrival>> = indices
            .iter()
            .map(|at| Arrival::parse(&items[*at], digests[*at], self, &numbers))
            .collect();
        let arrivals = Arc::new(arrivals);

        let keys = arrivals.iter().flatten();
        let keys = keys.map(|arrival| (arrival.key.clone(), arrival.number.clone()));
        let mut gathered = self.gather(keys.collect()).await;
        let (shelves, pending) = self.load(&mut gathered, &arrivals).await?;
        failpoint!("decrypt.loaded");
        let epochs = pending
            .values()
            .filter_map(|held| ClosedRecord::parse(&held.record).ok())
            .map(|closed| closed.id.epoch);
        let opening = self.opening_keys(epochs.collect(), now).await?;
        let step = Step {
            vault: self.clone(),
            arrivals: arrivals.clone(),
            sealing,
            opening,
            shelves,
            pending,
            now,
        };
        let Stepped {
            outcomes,
            working_set,
            writes,
            records,
        } = blocking(move || step.run(gathered)).await??;
        let work = Work {
            name: "decrypt",
            view: working_set.view().clone(),
            numbers,
            writes,
            pending: records,
            now,
        };
        let settled = self.settle(work).await?;
        working_set.keep(&settled);
        let settle = |(outcome, arrival): (Outcome<Ready>, &Outcome<Arrival>)| {
            if let Ok(arrival) = arrival {
                settled.check(&arrival.key, arrival.shard)?;
            }
            outcome
        };
        Ok(outcomes
            .into_iter()
            .zip(arrivals.iter())
            .map(settle)
            .collect())
    }

    /// What the batch needs beside the conversations that are at hand: rows of the others, prekeys that messages which begin sessions
    /// name, and records that repeats of messages wait in.
    async fn load(
        &self,
        gathered: &mut Gathered,
        arrivals: &Arc<Vec<Outcome<Arrival>>>,
    ) -> Result<(BTreeMap<NumberId, Shelf>, BTreeMap<Digest, Held>), VaultError> {
        let missing = gathered.missing();
        let begins = |arrival: &Arrival| {
            let known = gathered.at_hand(&arrival.key);
            !known.is_some_and(|known| known.goes_on(arrival.device, &arrival.message))
        };
        let begin: Vec<bool> = arrivals
            .iter()
            .map(|arrival| arrival.as_ref().is_ok_and(begins))
            .collect();
        let arrivals = arrivals.clone();
        let (rows, shelves, pending) = self
            .0
            .database
            .read("decrypt_load", move |db| {
                Box::pin(async move {
                    let rows = working_set::load(db, &missing).await?;
                    let mut shelves = BTreeMap::new();
                    let arrived = arrivals.iter().flatten();
                    let names: Vec<(&[u8], &str)> = arrived
                        .clone()
                        .map(|arrival| (&arrival.digest[..], arrival.number.id.as_str()))
                        .collect();
                    let mut beginning: BTreeMap<&NumberId, Vec<&InboundMessage>> = BTreeMap::new();
                    for (arrival, begins) in arrivals.iter().zip(begin) {
                        if let Ok(arrival) = arrival
                            && begins
                        {
                            let messages = beginning.entry(&arrival.number.id).or_default();
                            messages.push(&arrival.message);
                        }
                    }
                    for (number, messages) in beginning {
                        let shelf = Shelf::load(db, number.as_str(), messages.into_iter()).await?;
                        shelves.insert(number.clone(), shelf);
                    }
                    let pending = datastore::pending_find(db, &names).await?;
                    Ok::<_, VaultError>((rows, shelves, pending))
                })
            })
            .await?;
        gathered.bring(rows);
        let held = |(digest, record, identity_changed): datastore::PendingFound| {
            let record = Record::decode(&record[..]).unwrap_or_default();
            let held = Held {
                record,
                identity_changed,
            };
            Some((Digest::try_from(digest).ok()?, held))
        };
        Ok((shelves, pending.into_iter().filter_map(held).collect()))
    }
}

impl Arrival {
    fn parse(
        item: &DecryptItem,
        digest: Digest,
        vault: &Vault,
        numbers: &Numbers,
    ) -> Outcome<Self> {
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
            digest,
            device,
            message,
            bundle: item.bundle.clone(),
            key,
            shard,
        })
    }
}
