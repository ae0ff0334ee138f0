//! Admit: a business's sealed messages become records, and ciphertexts where nothing stands in the way.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

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
    deliver::seal_to_business,
    records::{Numbers, SealingKeys, number_of},
    rng,
    settling::Work,
    working_set::{Key, WorkingSet},
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
    shards::Shard,
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
    message_id: MessageId,
    body: RecordBody,
    digest: [u8; 32],
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
        let (len, items) = (items.len(), Arc::new(items));
        batch::run(len, |indices| self.admit_once(items.clone(), indices, now)).await
    }

    async fn admit_once(
        &self,
        items: Arc<Vec<AdmitItem>>,
        indices: Vec<usize>,
        now: Now,
    ) -> Result<Vec<Outcome<Admitted>>, VaultError> {
        let claims: Vec<Outcome<Claim>> =
            indices.iter().map(|at| Claim::parse(&items[*at])).collect();
        let ids = claims.iter().flatten().map(|claim| claim.number.clone());
        let numbers = self.numbers_at_hand(ids.collect()).await?;
        let hpke_keys = self.hpke_keys_for(&claims).await?;
        let classes = numbers
            .values()
            .flatten()
            .map(|number| number.facts.retention);
        let sealing = self.sealing_keys(classes.collect(), now).await?;

        let mut keys: BTreeMap<Key, Arc<Number>> = BTreeMap::new();
        for claim in claims.iter().flatten() {
            // Only the holder of its shard can say more of it.
            if self.expects(claim.shard)
                && let Ok(number) = number_of(&numbers, &claim.number)
            {
                keys.insert(claim.key(&number), number);
            }
        }
        let gathered = self.gather_all(keys).await?;
        failpoint!("admit.loaded");
        let vault = self.clone();
        let step = move || {
            let step = Step {
                vault: &vault,
                items: &items,
                numbers: &numbers,
                hpke_keys: &hpke_keys,
                sealing: &sealing,
                now,
            };
            let mut working_set = gathered.open()?;
            let mut outcomes = Vec::with_capacity(indices.len());
            for (claim, at) in claims.into_iter().zip(indices) {
                outcomes.push(step.one(&mut working_set, claim, at)?);
            }
            let writes = working_set.seal()?;
            Ok::<_, VaultError>((outcomes, working_set, writes, numbers))
        };
        let (outcomes, working_set, writes, numbers) = blocking(step).await??;
        let work = Work {
            name: "admit",
            view: working_set.view().clone(),
            numbers,
            writes,
            pending: Vec::new(),
            now,
        };
        let settled = self.settle(work).await?;
        working_set.keep(&settled);
        let settle = |(outcome, place): (Outcome<Admitted>, Option<(Key, Shard)>)| {
            if let Some((key, shard)) = place {
                settled.check(&key, shard)?;
            }
            outcome
        };
        Ok(outcomes.into_iter().map(settle).collect())
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
}

/// The whole batch, in memory.
struct Step<'a> {
    vault: &'a Vault,
    items: &'a [AdmitItem],
    numbers: &'a Numbers,
    hpke_keys: &'a [(NumberId, HpkeKeyRow)],
    sealing: &'a SealingKeys,
    now: Now,
}

/// An outcome, and whose it is, when it rests on a conversation.
type Placed = (Outcome<Admitted>, Option<(Key, Shard)>);

impl Step<'_> {
    fn one(
        &self,
        working_set: &mut WorkingSet,
        claim: Outcome<Claim>,
        at: usize,
    ) -> Result<Placed, VaultError> {
        let claim = match claim {
            Ok(claim) if !working_set.view().holds(claim.shard) => {
                return Ok((Err(Refusal::ShardElsewhere), None));
            }
            Ok(claim) => claim,
            Err(refusal) => return Ok((Err(refusal), None)),
        };
        let shard = claim.shard;
        let item = match self.open(claim, &self.items[at]) {
            Ok(item) => item,
            Err(refusal) => return Ok((Err(refusal), None)),
        };
        let key = (item.number.id.clone(), item.subject);
        let outcome = match working_set.conversation(&key, shard) {
            Ok(conversation) => Ok(self.admit(conversation, &item)?),
            Err(refusal) => Err(refusal),
        };
        Ok((outcome, Some((key, shard))))
    }

    fn admit(
        &self,
        conversation: &mut Conversation,
        item: &Opened,
    ) -> Result<Admitted, VaultError> {
        let number = conversation.number().clone();
        let (epoch, epoch_key) = self
            .sealing
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
                now: self.now.timestamp(),
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
        let status = seal_to_business(
            self.vault,
            &number,
            item.message_id,
            Direction::Outbound,
            &item.body,
            true,
            self.now,
        )?;
        let (status_content_key_id, status_header) = status
            .ok()
            .map(|sealed| (sealed.key_id(), sealed.message))
            .unzip();
        Ok(Admitted {
            record: Some(record),
            digest: Bytes::copy_from_slice(&item.digest),
            peer: item.body.peer.expose().to_owned(),
            category: item.body.category as u32,
            time_ms: item.body.time.as_millis(),
            ciphertexts,
            status_header,
            status_content_key_id: status_content_key_id.unwrap_or_default(),
        })
    }

    fn open(&self, claim: Claim, item: &AdmitItem) -> Outcome<Opened> {
        let (vault, now) = (self.vault, self.now);
        let number = number_of(self.numbers, &claim.number)?;
        let business = number
            .facts
            .business
            .as_ref()
            .ok_or(Refusal::BusinessKeysMissing)?;
        let sender = business.signing.key_id();
        let wanted = claim.header.content_key_id();
        let mut key = vault.0.connector_keys.find(&number.id, wanted, sender);
        if let (None, Some(wrap)) = (&key, claim.wrap) {
            let opened = Arc::new(open_wrap(&number, business, wrap, self.hpke_keys, now)?);
            vault.0.connector_keys.keep(opened.clone(), sender);
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
    /// The conversation that it claims to be of; what it opens to must say the same, and does, or it does not open.
    fn key(&self, number: &Number) -> Key {
        (self.number.clone(), number.subject_id(self.header.peer()))
    }

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
