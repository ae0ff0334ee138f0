//! The gateway's batches: ciphertexts for consumers' devices.
//!
//! What a batch needs to know is read at once, decided item by item in memory, and written at once: a few statements, however many
//! items. The transaction has the one writer, so nothing that was read changes before it ends.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use sealpost_database::Tx;
use sealpost_proto::{relay::v1::SubmitOutcome, signal::v1::DeviceAddress};

use super::{
    Datastore, Waiting,
    device_queue::{Fresh, waiting_insert},
    devices::{Device, devices_of_many},
    numbers::{Number, numbers_find},
    statistics::messages_add,
    submissions::{Attempt, submissions_of, submissions_put},
};
use crate::{
    RelayError,
    ids::{HolderId, MessageId, PhoneNumber, PhoneNumberId},
    validate::ForPeer,
};

/// A message that was queued for a device.
#[derive(Clone, Debug)]
pub(crate) struct Queued {
    pub(crate) holder: HolderId,
    /// The newest place in the device's queue before it; 0 when nothing waited.
    pub(crate) after: i64,
    pub(crate) waiting: Waiting,
}

impl Datastore {
    /// Takes a batch in one transaction; `None` items were malformed. Answers one outcome for each, and what was queued, by place.
    pub(crate) async fn submit(
        &self,
        items: Vec<Option<ForPeer>>,
        depth: u64,
        now: i64,
    ) -> Result<(Vec<SubmitOutcome>, Vec<Queued>), RelayError> {
        let items = Arc::new(items);
        self.database
            .run_tx("submit", move |tx| {
                let items = items.clone();
                Box::pin(async move { take(tx, &items, depth, now).await })
            })
            .await
    }
}

async fn take(
    tx: &mut Tx,
    items: &[Option<ForPeer>],
    depth: u64,
    now: i64,
) -> Result<(Vec<SubmitOutcome>, Vec<Queued>), RelayError> {
    let read: Vec<_> = items.iter().flatten().collect();
    let peers: HashSet<_> = read.iter().map(|item| &item.peer).collect();
    let peers: Vec<_> = peers.into_iter().collect();
    let mut batch = Batch {
        depth,
        now,
        numbers: numbers_find(tx, read.iter().map(|item| &item.number)).await?,
        devices: devices_of_many(tx, &peers).await?,
        known: HashMap::new(),
        attempts: Vec::new(),
        fresh: Vec::new(),
        billed: HashMap::new(),
    };
    for (item, known) in read.iter().zip(submissions_of(tx, &read, now).await?) {
        batch.known.entry(key(item)).or_insert(known);
    }
    let outcomes = items.iter().map(|item| match item {
        Some(item) => batch.take(item),
        None => SubmitOutcome::Malformed,
    });
    let outcomes = outcomes.collect();

    submissions_put(tx, &batch.attempts).await?;
    let places = waiting_insert(tx, &batch.fresh).await?;
    let billed = batch.billed.iter();
    let billed: Vec<_> = billed
        .map(|((number, category), messages)| (*number, *category, *messages))
        .collect();
    messages_add(tx, &billed, now).await?;
    Ok((outcomes, queued(&batch, places)))
}

/// What was queued, with the place before each in its queue.
fn queued(batch: &Batch<'_>, places: Vec<i64>) -> Vec<Queued> {
    if places.len() != batch.fresh.len() {
        // Somebody else's trigger kept rows out: which place is whose is not known, and the streams read what is there.
        return Vec::new();
    }
    let devices = batch.devices.values().flatten();
    let mut newest: HashMap<_, _> = devices
        .map(|device| (device.holder, device.newest))
        .collect();
    let placed = batch.fresh.iter().zip(places);
    let queued = placed.map(|(fresh, queue_id)| Queued {
        holder: fresh.holder,
        after: newest.insert(fresh.holder, queue_id).unwrap_or_default(),
        waiting: Waiting {
            queue_id,
            number: fresh.item.number.clone(),
            message: fresh.item.message,
            attempt: fresh.item.attempt,
            category: fresh.item.category,
            kind: fresh.kind,
            ciphertext: fresh.ciphertext.clone(),
            received_at: fresh.received_at,
        },
    });
    queued.collect()
}

/// A message, whatever its attempt.
type Key<'i> = (&'i PhoneNumberId, &'i PhoneNumber, MessageId);

fn key(item: &ForPeer) -> Key<'_> {
    (&item.number, &item.peer, item.message)
}

/// What one transaction knows, and what it is to write.
struct Batch<'i> {
    /// Messages that may wait for one device.
    depth: u64,
    now: i64,
    numbers: HashMap<PhoneNumberId, Number>,
    devices: HashMap<PhoneNumber, Vec<Device>>,
    /// Which attempts were handed over for which devices, by items of this batch as well.
    known: HashMap<Key<'i>, Vec<(HolderId, u32)>>,
    attempts: Vec<Attempt<'i>>,
    fresh: Vec<Fresh<'i>>,
    billed: HashMap<(&'i PhoneNumberId, u32), i64>,
}

impl<'i> Batch<'i> {
    fn take(&mut self, item: &'i ForPeer) -> SubmitOutcome {
        let Some(number) = self.numbers.get(&item.number) else {
            return SubmitOutcome::Malformed;
        };
        let expires_at = item.expires_at.min(number.retention.ends(self.now));
        let Some(devices) = self.devices.get_mut(&item.peer) else {
            return SubmitOutcome::UnknownPeer;
        };
        let complete = item.one_device || devices.len() == item.ciphertexts.len();
        let current = item
            .ciphertexts
            .iter()
            .all(|(device, ..)| position(devices, device).is_some());
        if !complete || !current {
            return SubmitOutcome::StaleDevices;
        }

        let known = self.known.entry(key(item)).or_default();
        let has = |known: &[(HolderId, u32)], holder| known.contains(&(holder, item.attempt));
        for device in devices.iter().filter(|device| device.queued >= self.depth) {
            let addressed = item
                .ciphertexts
                .iter()
                .any(|(address, ..)| is(device, address));
            if addressed && !has(known, device.holder) {
                return SubmitOutcome::QueueFull;
            }
        }
        if item.attempt == 0 && known.is_empty() {
            *self
                .billed
                .entry((&item.number, item.category))
                .or_default() += 1;
        }
        for (address, kind, ciphertext) in &item.ciphertexts {
            let Some(device) = position(devices, address).map(|index| &mut devices[index]) else {
                continue;
            };
            // A repeat is dropped; the first one's place in the queue stays.
            if has(known, device.holder) {
                continue;
            }
            known.push((device.holder, item.attempt));
            self.attempts.push(Attempt {
                item,
                holder: device.holder,
                expires_at,
            });
            self.fresh.push(Fresh {
                item,
                holder: device.holder,
                kind: *kind,
                ciphertext,
                received_at: self.now,
                expires_at,
            });
            device.queued += 1;
        }
        SubmitOutcome::Accepted
    }
}

fn position(devices: &[Device], address: &DeviceAddress) -> Option<usize> {
    devices.iter().position(|device| is(device, address))
}

fn is(device: &Device, address: &DeviceAddress) -> bool {
    device.device_id == address.device_id && device.registration_id == address.registration_id
}
