//! Admit: a business's sealed messages become records, and ciphertexts where nothing stands in the way.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use sealpost_envelope::{
    ContentKey, EnvelopeError, HpkeSecretKey, MessageId, NumberId, Opener, OsEntropy, Secret,
    UnverifiedHeader, UnverifiedWrap, WrapDirection,
};
use sealpost_failpoints::failpoint;
use sealpost_proto::vault::v1::{
    AdmitItem, AdmitOutcome, AdmitRequest, AdmitResponse, Admitted, Refusal, admit_outcome,
};
use sealpost_runtime::Timestamp;

use super::{
    Vault,
    batch::{self, Outcome},
    blocking,
    records::{Numbers, SealingKeys, number_of},
    rng,
    working_set::{Key, Loaded, WorkingSet, Write, write_all},
};
use crate::{
    VaultError,
    conversation::{Conversation, EncryptOrder, Encryption},
    custody::Now,
    datastore::{self, HpkeKeyRow},
    frame,
    number::Number,
    number_facts::BusinessKeys,
    record::{Direction, RecordBody, RecordId},
    service::keys::HPKE_TABLE,
    shards::{Fence, Shard},
    subject::SubjectId,
};

/// An item as it claims to be.
struct Claim {
    number: NumberId,
    shard: Shard,
    header: UnverifiedHeader,
    wrap: Option<UnverifiedWrap>,
}

/// An item that opened.
struct Opened {
    number: Arc<Number>,
    subject: SubjectId,
    shard: Shard,
    message_id: MessageId,
    body: RecordBody,
    digest: [u8; 32],
}

impl Opened {
    fn key(&self) -> Key {
        (self.number.id.clone(), self.subject)
    }
}

impl Vault {
    /// Admits a batch.
    ///
    /// # Errors
    /// What failed the whole batch.
    pub async fn admit(&self, request: AdmitRequest) -> Result<AdmitResponse, VaultError> {
        let AdmitRequest { batch_id, items } = request;
        batch::check_len(items.len())?;
        let outcomes = match self.0.time.now() {
            Ok(now) => self.admit_items(items, now).await?,
            Err(_) => batch::all(items.len(), Refusal::ClockUnconfirmed),
        };
        batch::count("admit", &outcomes);
        let outcome = |outcome: Outcome<Admitted>| match outcome {
            Ok(admitted) => admit_outcome::Outcome::Admitted(admitted),
            Err(refusal) => admit_outcome::Outcome::Refused(refusal.into()),
        };
        let outcomes = outcomes
            .into_iter()
            .map(|item| AdmitOutcome {
                outcome: Some(outcome(item)),
            })
            .collect();
        Ok(AdmitResponse { batch_id, outcomes })
    }

    async fn admit_items(
        &self,
        items: Vec<AdmitItem>,
        now: Now,
    ) -> Result<Vec<Outcome<Admitted>>, VaultError> {
        let len = items.len();
        let claims: Vec<Outcome<Claim>> = items.iter().map(Claim::parse).collect();
        let numbers = self
            .numbers(
                claims
                    .iter()
                    .flatten()
                    .map(|claim| claim.number.clone())
                    .collect(),
            )
            .await?;
        let hpke_keys = self.hpke_keys_for(&claims).await?;

        let classes = numbers
            .values()
            .flatten()
            .map(|number| number.facts.retention)
            .collect();
        let sealing = Arc::new(self.sealing_keys(classes, now).await?);
        let vault = self.clone();
        let opened: Arc<Vec<Outcome<Opened>>> = blocking(move || {
            let open = |(claim, item)| vault.open_item(claim?, item, &numbers, &hpke_keys, now);
            Arc::new(claims.into_iter().zip(&items).map(open).collect())
        })
        .await?;
        batch::run(len, |indices| {
            self.admit_once(opened.clone(), sealing.clone(), indices, now)
        })
        .await
    }

    async fn admit_once(
        &self,
        opened: Arc<Vec<Outcome<Opened>>>,
        sealing: Arc<SealingKeys>,
        indices: Vec<usize>,
        now: Now,
    ) -> Result<Vec<Outcome<Admitted>>, VaultError> {
        let vault = self.clone();
        self.0
            .database
            .run_tx("admit", move |tx| {
                let (opened, sealing, indices) = (opened.clone(), sealing.clone(), indices.clone());
                let vault = vault.clone();
                Box::pin(async move {
                    let fence = vault.fence(tx).await?;
                    let wanted = indices.iter().filter_map(|at| opened[*at].as_ref().ok());
                    let wanted = wanted.filter(|item| fence.admit(item.shard).is_ok());
                    let wanted: std::collections::BTreeMap<Key, Arc<Number>> = wanted
                        .map(|item| (item.key(), item.number.clone()))
                        .collect();
                    let mut loaded = Vec::with_capacity(wanted.len());
                    for ((_, id), number) in wanted {
                        let rows =
                            datastore::conversation_by_id(tx, number.id.as_str(), id, true).await?;
                        loaded.push(Loaded { number, id, rows });
                    }
                    failpoint!("admit.loaded");
                    let items = opened.clone();
                    let at = indices.clone();
                    let (mut outcomes, writes) = blocking(move || {
                        step(loaded, &items, &at, &fence, &sealing, now.timestamp())
                    })
                    .await??;
                    let contended = write_all(tx, &writes, now).await?;
                    mark_contended(&mut outcomes, &indices, &opened, &contended);
                    Ok(outcomes)
                })
            })
            .await
    }

    /// The rows of the HPKE keys that wraps in the batch name.
    async fn hpke_keys_for(
        &self,
        claims: &[Outcome<Claim>],
    ) -> Result<Vec<(NumberId, HpkeKeyRow)>, VaultError> {
        let wanted: BTreeSet<(NumberId, [u8; 16])> = claims
            .iter()
            .flatten()
            .filter_map(|claim| {
                let recipient = *claim.wrap.as_ref()?.recipient_key_id().as_bytes();
                Some((claim.number.clone(), recipient))
            })
            .collect();
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        self.0
            .database
            .read("hpke_keys", move |db| {
                Box::pin(async move {
                    let mut rows = Vec::new();
                    for (number, key_id) in wanted {
                        if let Some(row) =
                            datastore::hpke_key_by_id(db, number.as_str(), &key_id).await?
                        {
                            rows.push((number, row));
                        }
                    }
                    Ok(rows)
                })
            })
            .await
    }

    fn open_item(
        &self,
        claim: Claim,
        item: &AdmitItem,
        numbers: &Numbers,
        hpke_keys: &[(NumberId, HpkeKeyRow)],
        now: Now,
    ) -> Outcome<Opened> {
        // Before anything else: only the holder of its shard can say more of it.
        if !self.expects(claim.shard) {
            return Err(Refusal::ShardElsewhere);
        }
        let number = number_of(numbers, &claim.number)?;
        let business = number
            .facts
            .business
            .as_ref()
            .ok_or(Refusal::BusinessKeysMissing)?;
        let sender = business.signing.key_id();
        let wanted = claim.header.content_key_id();
        let mut key = self.0.connector_keys.find(&number.id, wanted, sender);
        if let (None, Some(wrap)) = (&key, claim.wrap) {
            let opened = Arc::new(open_wrap(&number, business, wrap, hpke_keys, now)?);
            self.0.connector_keys.keep(opened.clone(), sender);
            key = (opened.id() == wanted).then_some(opened);
        }
        let key = key.ok_or(Refusal::UnknownContentKey)?;
        let message = item.message.as_ref().ok_or(Refusal::Malformed)?;
        let opened = key
            .open_padded(&message.header, &message.body, now.unix_millis())
            .map_err(refusal)?;

        let (header, content) = (opened.header, opened.content);
        let digest = number.message_digest(
            Direction::Outbound,
            header.peer(),
            header.message_id(),
            header.category(),
            &content,
        );
        Ok(Opened {
            subject: number.subject_id(header.peer()),
            shard: Shard::of(&number.id, header.peer()),
            message_id: header.message_id(),
            body: RecordBody {
                peer: header.peer().clone(),
                category: header.category(),
                time: Timestamp::from_millis(header.time().0),
                content,
            },
            digest,
            number,
        })
    }
}

impl Claim {
    fn parse(item: &AdmitItem) -> Outcome<Self> {
        let number = NumberId::new(&item.phone_number_id).map_err(|_| Refusal::Malformed)?;
        let message = item.message.as_ref().ok_or(Refusal::Malformed)?;
        let header = UnverifiedHeader::parse(&message.header).map_err(|_| Refusal::Malformed)?;
        let wrap = match &item.wrap[..] {
            [] => None,
            wrap => Some(UnverifiedWrap::parse(wrap).map_err(|_| Refusal::Malformed)?),
        };
        Ok(Self {
            shard: Shard::of(&number, header.peer()),
            number,
            header,
            wrap,
        })
    }
}

/// Opens a wrap with the number's key that it names, under the business's registered signing key.
fn open_wrap(
    number: &Number,
    business: &BusinessKeys,
    wrap: UnverifiedWrap,
    hpke_keys: &[(NumberId, HpkeKeyRow)],
    now: Now,
) -> Outcome<ContentKey> {
    let recipient = *wrap.recipient_key_id().as_bytes();
    let row = hpke_keys
        .iter()
        .find(|(owner, row)| *owner == number.id && row.key_id == recipient);
    // A key that is gone and one that never was look the same; either way a fresh one helps.
    let (_, row) = row
        .filter(|(_, row)| now.unix_millis().0 < row.not_after_ms)
        .ok_or(Refusal::KeyExpired)?;
    let seed = number
        .open_row(HPKE_TABLE, &row.place(), 1, &row.sealed_seed)
        .and_then(|seed| Secret::from_slice(&seed))
        .map_err(|_| Refusal::Undecryptable)?;
    let recipient = HpkeSecretKey::from_seed(&seed).map_err(|_| Refusal::Undecryptable)?;
    let opener = Opener {
        number: &number.id,
        direction: WrapDirection::Outbound,
        sender: &business.signing,
        recipient: &recipient,
    };
    wrap.open(&opener, now.unix_millis()).map_err(refusal)
}

/// One refusal for every failed authentication; the others say what the sender can do.
fn refusal(error: EnvelopeError) -> Refusal {
    match error {
        EnvelopeError::KeyExpired => Refusal::KeyExpired,
        EnvelopeError::Malformed(_)
        | EnvelopeError::UnsupportedVersion
        | EnvelopeError::UnsupportedSuite => Refusal::Malformed,
        _ => Refusal::Undecryptable,
    }
}

/// The whole batch on rows in memory.
fn step(
    loaded: Vec<Loaded>,
    opened: &[Outcome<Opened>],
    indices: &[usize],
    fence: &Fence,
    sealing: &SealingKeys,
    now: Timestamp,
) -> Result<(Vec<Outcome<Admitted>>, Vec<Write>), VaultError> {
    let mut working_set = WorkingSet::open(loaded)?;
    let mut outcomes = Vec::with_capacity(indices.len());
    for at in indices {
        let outcome = match &opened[*at] {
            Err(refusal) => Err(*refusal),
            Ok(item) => match fence
                .admit(item.shard)
                .and_then(|()| working_set.conversation(&item.key()))
            {
                Err(refusal) => Err(refusal),
                Ok(conversation) => Ok(admit_one(conversation, item, sealing, now)?),
            },
        };
        outcomes.push(outcome);
    }
    Ok((outcomes, working_set.seal()?))
}

fn admit_one(
    conversation: &mut Conversation,
    item: &Opened,
    sealing: &SealingKeys,
    now: Timestamp,
) -> Result<Admitted, VaultError> {
    let number = conversation.number().clone();
    let (epoch, epoch_key) = sealing
        .get(&number.facts.retention)
        .ok_or(VaultError::Contention)?;
    let (sequence, nothing_waits) = conversation.accept();
    let id = RecordId {
        number: number.id.clone(),
        tag: conversation.tag(),
        message_id: item.message_id,
        direction: Direction::Outbound,
        epoch: *epoch,
    };
    let record = id.seal(
        sequence,
        &item.body,
        epoch_key,
        &conversation.subject().key,
        &mut OsEntropy,
    )?;
    let mut ciphertexts = Vec::new();
    if nothing_waits {
        let frame = frame::encode(
            &item.body.frame(&number.id, item.message_id),
            &item.body.content,
        );
        let order = EncryptOrder {
            frame: &frame,
            bundle: None,
            renew: false,
            only: None,
            now,
        };
        // Whatever stands in the way, Encrypt will meet it again and say so.
        if let Ok(Encryption::Done {
            ciphertexts: made, ..
        }) = conversation.encrypt(&order, &mut rng())
        {
            conversation.encrypted_through(sequence);
            ciphertexts = made;
        }
    }
    Ok(Admitted {
        record: Some(record),
        digest: Bytes::copy_from_slice(&item.digest),
        peer: item.body.peer.expose().to_owned(),
        category: item.body.category as u32,
        time_ms: item.body.time.as_millis(),
        ciphertexts,
    })
}

fn mark_contended(
    outcomes: &mut [Outcome<Admitted>],
    indices: &[usize],
    opened: &[Outcome<Opened>],
    contended: &BTreeSet<Key>,
) {
    for (outcome, at) in outcomes.iter_mut().zip(indices) {
        if let Ok(item) = &opened[*at]
            && outcome.is_ok()
            && contended.contains(&item.key())
        {
            *outcome = Err(Refusal::Contention);
        }
    }
}
