//! The gateway's batches: ciphertexts for consumers' devices.

use std::{collections::HashMap, sync::Arc};

use sealpost_database::Tx;
use sealpost_proto::{relay::v1::SubmitOutcome, signal::v1::DeviceAddress};

use super::{
    Datastore,
    device_queue::{Fresh, waiting_insert},
    devices::{Device, devices_of},
    numbers::number_find,
    statistics::messages_add,
    submissions::{submission_exists, submission_insert, submission_is_known},
};
use crate::{
    RelayError,
    ids::{PhoneNumber, PhoneNumberId, Retention},
    validate::ForPeer,
};

impl Datastore {
    /// Takes a batch in one transaction; `None` items were malformed. Answers one outcome for each.
    pub(crate) async fn submit(
        &self,
        items: Vec<Option<ForPeer>>,
        depth: u64,
        now: i64,
    ) -> Result<Vec<SubmitOutcome>, RelayError> {
        let items = Arc::new(items);
        self.database
            .run_tx("submit", move |tx| {
                let items = items.clone();
                Box::pin(async move {
                    let mut batch = Batch::new(depth, now);
                    let mut outcomes = Vec::with_capacity(items.len());
                    for item in items.iter() {
                        outcomes.push(match item {
                            Some(item) => batch.take(tx, item).await?,
                            None => SubmitOutcome::Malformed,
                        });
                    }
                    for ((number, category), messages) in &batch.billed {
                        messages_add(tx, number, *category, *messages, now).await?;
                    }
                    Ok(outcomes)
                })
            })
            .await
    }
}

/// What one transaction learned and did so far.
struct Batch {
    /// Messages that may wait for one device.
    depth: u64,
    now: i64,
    /// `None`: no such number.
    numbers: HashMap<PhoneNumberId, Option<Retention>>,
    devices: HashMap<PhoneNumber, Vec<Device>>,
    billed: HashMap<(PhoneNumberId, u32), i64>,
}

impl Batch {
    fn new(depth: u64, now: i64) -> Self {
        Self {
            depth,
            now,
            numbers: HashMap::new(),
            devices: HashMap::new(),
            billed: HashMap::new(),
        }
    }

    async fn take(&mut self, tx: &mut Tx, item: &ForPeer) -> Result<SubmitOutcome, RelayError> {
        let Some(retention) = self.retention(tx, &item.number).await? else {
            return Ok(SubmitOutcome::Malformed);
        };
        let expires_at = item.expires_at.min(retention.ends(self.now));
        if !self.devices.contains_key(&item.peer) {
            self.devices
                .insert(item.peer.clone(), devices_of(tx, &item.peer).await?);
        }
        // Looked up just now, when it was not there.
        let devices = self
            .devices
            .get_mut(&item.peer)
            .map(Vec::as_mut_slice)
            .unwrap_or_default();
        if devices.is_empty() {
            return Ok(SubmitOutcome::UnknownPeer);
        }
        let complete = item.one_device || devices.len() == item.ciphertexts.len();
        let current = item
            .ciphertexts
            .iter()
            .all(|(device, ..)| position(devices, device).is_some());
        if !complete || !current {
            return Ok(SubmitOutcome::StaleDevices);
        }

        let first = item.attempt == 0 && !submission_is_known(tx, item, self.now).await?;
        for device in devices.iter().filter(|device| device.queued >= self.depth) {
            let addressed = item
                .ciphertexts
                .iter()
                .any(|(address, ..)| is(device, address));
            if addressed && !submission_exists(tx, item, device.holder, self.now).await? {
                return Ok(SubmitOutcome::QueueFull);
            }
        }
        for (address, kind, ciphertext) in &item.ciphertexts {
            let Some(device) = position(devices, address).map(|index| &mut devices[index]) else {
                continue;
            };
            // A repeat is dropped; the first one's place in the queue stays.
            if submission_insert(tx, item, device.holder, expires_at, self.now).await? {
                let waiting = Fresh {
                    holder: device.holder,
                    kind: *kind,
                    ciphertext,
                    received_at: self.now,
                    expires_at,
                };
                waiting_insert(tx, item, waiting).await?;
                device.queued += 1;
            }
        }
        if first {
            *self
                .billed
                .entry((item.number.clone(), item.category))
                .or_default() += 1;
        }
        Ok(SubmitOutcome::Accepted)
    }

    async fn retention(
        &mut self,
        tx: &mut Tx,
        number: &PhoneNumberId,
    ) -> Result<Option<Retention>, RelayError> {
        if let Some(known) = self.numbers.get(number) {
            return Ok(*known);
        }
        let found = number_find(tx, number)
            .await?
            .map(|number| number.retention);
        self.numbers.insert(number.clone(), found);
        Ok(found)
    }
}

fn position(devices: &[Device], address: &DeviceAddress) -> Option<usize> {
    devices.iter().position(|device| is(device, address))
}

fn is(device: &Device, address: &DeviceAddress) -> bool {
    device.device_id == address.device_id && device.registration_id == address.registration_id
}
