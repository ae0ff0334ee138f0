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
    settling::{Settled, Work},
    working_set::{Key, WorkingSet},
};
use crate::{
    VaultError, bundle,
    conversation::{EncryptOrder, Encryption},
    custody::Now,
    frame,
    record::{ClosedRecord, Direction},
    shards::Shard,
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
        let epochs = orders.iter().flatten().map(|order| order.record.id.epoch);
        let keys = Arc::new(self.opening_keys(epochs.collect(), now).await?);
        batch::run(len, |indices| {
            self.encrypt_once(orders.clone(), keys.clone(), indices, now)
        })
        .await
    }

    async fn encrypt_once(
        &self,
        orders: Arc<Vec<Outcome<Order>>>,
        keys: Arc<OpeningKeys>,
        indices: Vec<usize>,
        now: Now,
    ) -> Result<Vec<Outcome<Done>>, VaultError> {
        let wanted = || indices.iter().filter_map(|at| orders[*at].as_ref().ok());
        let ids = wanted().map(|order| order.record.id.number.clone());
        let numbers = self.numbers_at_hand(ids.collect()).await?;
        let tags: BTreeSet<(NumberId, Tag)> = wanted().map(Order::tag).collect();
        let tagged = self.0.database.read("subjects", move |db| {
            Box::pin(async move { tagged(db, &tags).await })
        });
        let mut subjects = Subjects::new();
        let mut conversations = BTreeMap::new();
        for (tag, rows) in tagged.await.map_err(VaultError::Database)? {
            let found = rows.and_then(|rows| Ok((number_of(&numbers, &tag.0)?, rows.subject.id)));
            let key = found.map(|(number, id)| {
                let key = (tag.0.clone(), id);
                conversations.insert(key.clone(), number);
                key
            });
            subjects.insert(tag, key);
        }
        let gathered = self.gather_all(conversations).await?;
        failpoint!("encrypt.loaded");
        let vault = self.clone();
        let step = move || {
            let step = Step {
                vault: &vault,
                orders: &orders,
                numbers: &numbers,
                subjects: &subjects,
                keys: &keys,
                now,
            };
            let mut working_set = gathered.open()?;
            let outcomes: Vec<Unsettled> = indices
                .iter()
                .map(|at| step.one(&mut working_set, *at))
                .collect();
            let writes = working_set.seal()?;
            Ok::<_, VaultError>((outcomes, working_set, writes, numbers))
        };
        let (outcomes, working_set, writes, numbers) = blocking(step).await??;
        let work = Work {
            name: "encrypt",
            view: working_set.view().clone(),
            numbers,
            writes,
            pending: Vec::new(),
            now,
        };
        let settled = self.settle(work).await?;
        working_set.keep(&settled);
        let outcomes = outcomes.into_iter();
        Ok(outcomes.map(|outcome| outcome.settle(&settled)).collect())
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
    place: Option<(Key, Shard)>,
    outcome: Outcome<Done>,
}

impl Unsettled {
    fn settle(self, settled: &Settled) -> Outcome<Done> {
        let Some((key, shard)) = self.place else {
            return self.outcome;
        };
        match settled.check(&key, shard) {
            Ok(()) => self.outcome,
            Err(Refusal::ShardElsewhere) => Ok(Done::Elsewhere(shard)),
            Err(refusal) => Err(refusal),
        }
    }
}

/// The whole batch, in memory.
struct Step<'a> {
    vault: &'a Vault,
    orders: &'a [Outcome<Order>],
    numbers: &'a Numbers,
    subjects: &'a Subjects,
    keys: &'a OpeningKeys,
    now: Now,
}

impl Step<'_> {
    fn one(&self, working_set: &mut WorkingSet, at: usize) -> Unsettled {
        let mut place = None;
        let outcome = match &self.orders[at] {
            Ok(order) => self.encrypt(working_set, order, &mut place),
            Err(refusal) => Err(*refusal),
        };
        Unsettled { place, outcome }
    }

    /// Says in `place` whose the outcome is, as soon as that is known.
    fn encrypt(
        &self,
        working_set: &mut WorkingSet,
        order: &Order,
        place: &mut Option<(Key, Shard)>,
    ) -> Outcome<Done> {
        let id = &order.record.id;
        let number = number_of(self.numbers, &id.number)?;
        let key = self.subjects.get(&order.tag());
        let key = key.cloned().unwrap_or(Err(Refusal::Undecryptable))?;
        let epoch_key = key_of(self.keys, id.epoch)?;
        let subject = working_set.look(&key)?.subject();
        let body = order.record.open(&epoch_key, &subject.key)?;
        if number.subject_id(&body.peer) != key.1 {
            return Err(Refusal::Undecryptable);
        }
        let shard = Shard::of(&number.id, &body.peer);
        let conversation = match working_set.conversation(&key, shard) {
            Err(Refusal::ShardElsewhere) => return Ok(Done::Elsewhere(shard)),
            found => found?,
        };
        *place = Some((key, shard));
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
