//! Encrypt: outbound records become ciphertexts for devices, with the relay's bundle where one is needed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sealpost_envelope::NumberId;
use sealpost_failpoints::failpoint;
use sealpost_proto::signal::v1::SignedBundle;
use sealpost_proto::vault::v1::{
    EncryptItem, EncryptOutcome, EncryptRequest, EncryptResponse, Encrypted, Refusal,
    SessionRequired, encrypt_outcome,
};

use super::{
    Vault,
    batch::{self, Outcome},
    blocking,
    records::{Numbers, OpeningKeys, key_of, number_of, tagged},
    rng,
    working_set::{Key, Loaded, WorkingSet, Write, write_all},
};
use crate::{
    VaultError, bundle,
    conversation::{EncryptOrder, Encryption},
    custody::Now,
    frame,
    record::{ClosedRecord, Direction},
    shards::{Fence, Shard},
    subject::Tag,
};

/// Retry requests that are answered at most.
const MAX_ATTEMPT: u32 = 5;

/// As the contract says it.
fn outcome(outcome: Outcome<Done>) -> EncryptOutcome {
    let mut shard = 0;
    let outcome = match outcome {
        Ok(Done::Encrypted(encrypted)) => encrypt_outcome::Outcome::Encrypted(encrypted),
        Ok(Done::SessionRequired(required)) => encrypt_outcome::Outcome::SessionRequired(required),
        Ok(Done::Elsewhere(its)) => {
            shard = its.number();
            encrypt_outcome::Outcome::Refused(Refusal::ShardElsewhere.into())
        }
        Err(refusal) => encrypt_outcome::Outcome::Refused(refusal.into()),
    };
    EncryptOutcome {
        outcome: Some(outcome),
        shard,
    }
}

/// A well-formed item.
struct Order {
    record: ClosedRecord,
    bundle: Option<SignedBundle>,
    renew: bool,
    only: Option<u8>,
}

/// What becomes of an item that is not refused.
enum Done {
    Encrypted(Encrypted),
    SessionRequired(SessionRequired),
    /// Refused, with what the caller must know of it.
    Elsewhere(Shard),
}

/// Subject rows found for the items, by number and tag.
type Subjects = BTreeMap<(NumberId, Tag), Result<Key, Refusal>>;

impl Vault {
    /// Encrypts a batch.
    ///
    /// # Errors
    /// What failed the whole batch.
    pub async fn encrypt(&self, request: EncryptRequest) -> Result<EncryptResponse, VaultError> {
        let EncryptRequest { batch_id, items } = request;
        batch::check_len(items.len())?;
        let outcomes = match self.0.time.now() {
            Ok(now) => self.encrypt_items(items, now).await?,
            Err(_) => batch::all(items.len(), Refusal::ClockUnconfirmed),
        };
        batch::count("encrypt", &outcomes);
        let outcomes = outcomes.into_iter().map(outcome).collect();
        Ok(EncryptResponse { batch_id, outcomes })
    }

    async fn encrypt_items(
        &self,
        items: Vec<EncryptItem>,
        now: Now,
    ) -> Result<Vec<Outcome<Done>>, VaultError> {
        let len = items.len();
        let orders: Arc<Vec<Outcome<Order>>> =
            Arc::new(items.into_iter().map(Order::parse).collect());
        let ids = orders.iter().flatten().map(|order| &order.record.id);
        let (numbers, epochs) = ids.map(|id| (id.number.clone(), id.epoch)).unzip();
        let numbers = Arc::new(self.numbers(numbers).await?);
        let keys = Arc::new(self.opening_keys(epochs, now).await?);
        batch::run(len, |indices| {
            self.encrypt_once(orders.clone(), numbers.clone(), keys.clone(), indices, now)
        })
        .await
    }

    async fn encrypt_once(
        &self,
        orders: Arc<Vec<Outcome<Order>>>,
        numbers: Arc<Numbers>,
        keys: Arc<OpeningKeys>,
        indices: Vec<usize>,
        now: Now,
    ) -> Result<Vec<Outcome<Done>>, VaultError> {
        let vault = self.clone();
        self.0
            .database
            .run_tx("encrypt", move |tx| {
                let (vault, orders, indices) = (vault.clone(), orders.clone(), indices.clone());
                let (numbers, keys) = (numbers.clone(), keys.clone());
                Box::pin(async move {
                    let fence = vault.fence(tx).await?;
                    let wanted = indices.iter().filter_map(|at| orders[*at].as_ref().ok());
                    let tags: BTreeSet<(NumberId, Tag)> = wanted.map(Order::tag).collect();
                    let mut subjects = Subjects::new();
                    let mut loaded = Vec::new();
                    for (tag, rows) in tagged(tx, &tags, true).await? {
                        let found = rows.and_then(|rows| Ok((number_of(&numbers, &tag.0)?, rows)));
                        let key = found.map(|(number, rows)| {
                            let id = rows.subject.id;
                            loaded.push(Loaded {
                                number,
                                id,
                                rows: Some(rows),
                            });
                            (tag.0.clone(), id)
                        });
                        subjects.insert(tag, key);
                    }
                    failpoint!("encrypt.loaded");
                    let step = move || {
                        let step = Step {
                            vault: &vault,
                            fence: &fence,
                            orders: &orders,
                            numbers: &numbers,
                            keys: &keys,
                            now,
                        };
                        step.run(loaded, &subjects, &indices)
                    };
                    let (mut outcomes, writes) = blocking(step).await??;
                    let contended = write_all(tx, &writes, now).await?;
                    Ok(outcomes
                        .drain(..)
                        .map(|outcome| outcome.settle(&contended))
                        .collect())
                })
            })
            .await
    }
}

impl Order {
    fn parse(item: EncryptItem) -> Outcome<Self> {
        let record = ClosedRecord::parse(item.record.as_ref().ok_or(Refusal::Malformed)?)?;
        let only = match item.only_device_id {
            0 => None,
            id => Some(bundle::device_id(id).ok_or(Refusal::Malformed)?),
        };
        if record.id.direction != Direction::Outbound || item.attempt > MAX_ATTEMPT {
            return Err(Refusal::Malformed);
        }
        Ok(Self {
            record,
            bundle: item.bundle,
            renew: item.attempt >= 2,
            only,
        })
    }

    fn tag(&self) -> (NumberId, Tag) {
        (self.record.id.number.clone(), self.record.id.tag)
    }
}

/// An outcome, and the conversation that it came of, until the rows are written.
struct Unsettled {
    key: Option<Key>,
    outcome: Outcome<Done>,
}

impl Unsettled {
    fn settle(self, contended: &BTreeSet<Key>) -> Outcome<Done> {
        if self.key.is_some_and(|key| contended.contains(&key)) {
            Err(Refusal::Contention)
        } else {
            self.outcome
        }
    }
}

/// The whole batch on rows in memory.
struct Step<'a> {
    vault: &'a Vault,
    fence: &'a Fence,
    orders: &'a [Outcome<Order>],
    numbers: &'a Numbers,
    keys: &'a OpeningKeys,
    now: Now,
}

impl Step<'_> {
    fn run(
        &self,
        loaded: Vec<Loaded>,
        subjects: &Subjects,
        indices: &[usize],
    ) -> Result<(Vec<Unsettled>, Vec<Write>), VaultError> {
        let mut working_set = WorkingSet::open(loaded)?;
        let outcomes = indices
            .iter()
            .map(|at| {
                let order = match &self.orders[*at] {
                    Ok(order) => order,
                    Err(refusal) => {
                        return Unsettled {
                            key: None,
                            outcome: Err(*refusal),
                        };
                    }
                };
                let key = subjects
                    .get(&order.tag())
                    .cloned()
                    .unwrap_or(Err(Refusal::Undecryptable));
                match number_of(self.numbers, &order.record.id.number).and(key) {
                    Ok(key) => {
                        let outcome = self.one(&mut working_set, &key, order);
                        Unsettled {
                            key: Some(key),
                            outcome,
                        }
                    }
                    Err(refusal) => Unsettled {
                        key: None,
                        outcome: Err(refusal),
                    },
                }
            })
            .collect();
        Ok((outcomes, working_set.seal()?))
    }

    fn one(&self, working_set: &mut WorkingSet, key: &Key, order: &Order) -> Outcome<Done> {
        let id = &order.record.id;
        let epoch_key = key_of(self.keys, id.epoch)?;
        let conversation = working_set.conversation(key)?;
        let number = conversation.number().clone();
        let body = order.record.open(&epoch_key, &conversation.subject().key)?;
        if number.subject_id(&body.peer) != conversation.id() {
            return Err(Refusal::Undecryptable);
        }
        let shard = Shard::of(&number.id, &body.peer);
        if self.fence.admit(shard).is_err() {
            return Ok(Done::Elsewhere(shard));
        }
        let now = self.now.timestamp();
        let verified = match &order.bundle {
            Some(signed) => {
                let relay_keys = &self.vault.0.relay_keys;
                let verified = bundle::verify(signed, relay_keys, &number.id, &body.peer, now);
                Some(verified.ok_or(Refusal::BundleInvalid)?)
            }
            None => None,
        };
        let frame = frame::encode(&body.frame(&number.id, id.message_id), &body.content);
        let how = EncryptOrder {
            frame: &frame,
            bundle: verified.as_ref(),
            renew: order.renew,
            only: order.only,
            now,
        };
        let peer = body.peer.expose().to_owned();
        Ok(match conversation.encrypt(&how, &mut rng())? {
            Encryption::SessionRequired(known_devices) => Done::SessionRequired(SessionRequired {
                peer,
                known_devices,
            }),
            Encryption::Done {
                ciphertexts,
                identity_changed,
            } => {
                conversation.encrypted_through(order.record.sequence);
                Done::Encrypted(Encrypted {
                    peer,
                    category: body.category as u32,
                    time_ms: body.time.as_millis(),
                    ciphertexts,
                    identity_changed,
                })
            }
        })
    }
}
