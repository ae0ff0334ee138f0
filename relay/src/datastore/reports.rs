//! What devices say about messages they were sent: receipts and retry requests.
//!
//! Invariant: a device speaks only of messages that were handed over for it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use sealpost_database::{DatabaseError, Tx};
use sealpost_proto::relay::v1::{
    InboundReceipt, InboundRetry, ReceiptKind, ReceiptOutcome, inbound::Item,
};

use super::{
    Called, Datastore, Offered,
    device_queue::waiting_delete,
    devices::devices_gone,
    inbound::{Coming, inbound_insert, inbound_put},
    numbers::{Number, number_find, numbers_find},
    submissions::{Spoken, submission_ask_retry, submission_receipts, submissions_set_receipt},
};
use crate::{
    RelayError,
    ids::{Conversation, DeviceIdentity, PhoneNumber, PhoneNumberId},
    validate::{Receipt, Retry},
};

/// What one device says in one call.
#[derive(Debug)]
pub(crate) struct Said {
    device: DeviceIdentity,
    /// Places in its queue that are safely kept.
    kept: Vec<i64>,
    receipts: Vec<Receipt>,
    /// The receipts are taken all or none.
    whole: bool,
}

impl Said {
    /// On its stream: each receipt has an outcome of its own.
    pub(crate) fn on_stream(
        device: DeviceIdentity,
        kept: Vec<i64>,
        receipts: Vec<Receipt>,
    ) -> Self {
        Self {
            device,
            kept,
            receipts,
            whole: false,
        }
    }

    /// Receipts that are taken all or none.
    pub(crate) fn receipts(device: DeviceIdentity, receipts: Vec<Receipt>) -> Self {
        Self {
            device,
            kept: Vec::new(),
            receipts,
            whole: true,
        }
    }

    /// How many items may come of it for the gateways.
    pub(crate) fn items(&self) -> usize {
        self.receipts.len()
    }
}

impl Datastore {
    /// Forgets what devices keep, ids of others' queues passed over, and passes their receipts on, a repeat or a step back dropped:
    /// many calls in one transaction, an outcome for each receipt of each.
    ///
    /// # Errors
    /// When nothing was done. A call's own are `DeviceUnknown`, when it has receipts and the device is no more, and where receipts are
    /// taken all or none `MessageUnknown` and `QueueFull`.
    pub(crate) async fn hear_devices(
        &self,
        calls: Vec<Said>,
        offered: Option<Offered>,
        depth: u64,
        now: i64,
    ) -> Result<Called<Vec<ReceiptOutcome>>, RelayError> {
        let calls = Arc::new(calls);
        self.database
            .run_tx_soon("receive_acknowledge", move |tx| {
                let (calls, offered) = (calls.clone(), offered.clone());
                Box::pin(async move { hear(tx, &calls, offered.as_ref(), depth, now).await })
            })
            .await
    }

    /// Asks for a message again; nothing more when that was asked before.
    ///
    /// # Errors
    /// `MessageUnknown` when the device was not sent that attempt; `QueueFull`.
    pub(crate) async fn ask_retry(
        &self,
        device: DeviceIdentity,
        retry: Retry,
        depth: u64,
        now: i64,
    ) -> Result<(), RelayError> {
        self.database
            .run_tx("request_retry", move |tx| {
                let (device, retry) = (device.clone(), retry.clone());
                Box::pin(async move {
                    let peer = &device.phone_number;
                    let Retry {
                        number,
                        message,
                        failed_attempt,
                    } = retry;
                    let asked = submission_ask_retry(
                        tx,
                        &number,
                        peer,
                        message,
                        device.holder,
                        failed_attempt,
                        now,
                    );
                    let first = asked.await?.ok_or(RelayError::MessageUnknown)?;
                    if first {
                        let number = with_room(tx, &number, depth).await?;
                        let item = Item::Retry(InboundRetry {
                            peer: peer.as_str().to_owned(),
                            device_id: device.device_id,
                            message_id: message.as_bytes().to_vec().into(),
                            failed_attempt,
                        });
                        pass_on(tx, number, peer, item, now).await?;
                    }
                    Ok(())
                })
            })
            .await
    }
}

async fn hear(
    tx: &mut Tx,
    calls: &[Said],
    offered: Option<&Offered>,
    depth: u64,
    now: i64,
) -> Result<Called<Vec<ReceiptOutcome>>, RelayError> {
    let kept = calls.iter().flat_map(|call| {
        let holder = call.device.holder;
        call.kept.iter().map(move |id| (*id, holder))
    });
    waiting_delete(tx, &kept.collect::<Vec<_>>()).await?;
    let speakers = calls.iter().filter(|call| !call.receipts.is_empty());
    let speakers: Vec<_> = speakers.map(|call| call.device.holder).collect();
    if speakers.is_empty() {
        let nothing = calls.iter().map(|_| Ok(Vec::new()));
        return Ok((nothing.collect(), Vec::new()));
    }

    let gone = devices_gone(tx, &speakers).await?;
    let spoken: HashSet<_> = calls
        .iter()
        .flat_map(|call| call.receipts.iter().map(|receipt| spoken(call, receipt)))
        .collect();
    let spoken: Vec<_> = spoken.into_iter().collect();
    let furthest = submission_receipts(tx, &spoken, now).await?;
    let mut batch = Batch {
        depth,
        now,
        numbers: numbers_find(tx, spoken.iter().map(|(number, ..)| *number)).await?,
        furthest: spoken
            .iter()
            .copied()
            .zip(furthest)
            .filter_map(|(of, furthest)| Some((of, furthest?)))
            .collect(),
        stepped: HashMap::new(),
        coming: Vec::new(),
    };
    let outcomes = calls.iter().map(|call| {
        if gone.contains(&call.device.holder) {
            Err(RelayError::DeviceUnknown)
        } else if call.whole {
            batch.take_whole(call)
        } else {
            let receipts = call.receipts.iter();
            Ok(receipts.map(|receipt| batch.take(call, receipt)).collect())
        }
    });
    let outcomes = outcomes.collect();

    for step in [ReceiptKind::Delivered, ReceiptKind::Read].map(step_of) {
        let stepped = batch.stepped.iter().filter(|(_, to)| **to == step);
        let stepped: Vec<_> = stepped.map(|(of, _)| *of).collect();
        submissions_set_receipt(tx, &stepped, step).await?;
    }
    let (_, given) = inbound_put(tx, batch.coming, offered, now).await?;
    Ok((outcomes, given))
}

fn step_of(kind: ReceiptKind) -> i64 {
    i64::from(kind as i32)
}

fn spoken<'s>(call: &'s Said, receipt: &'s Receipt) -> Spoken<'s> {
    let device = &call.device;
    (
        &receipt.number,
        &device.phone_number,
        receipt.message,
        device.holder,
    )
}

/// What one transaction knows, and what it is to write.
struct Batch<'s> {
    /// Items that may wait for one number.
    depth: u64,
    now: i64,
    numbers: HashMap<PhoneNumberId, Number>,
    /// The furthest receipt given for each message that its device was sent.
    furthest: HashMap<Spoken<'s>, i64>,
    /// Where that changed.
    stepped: HashMap<Spoken<'s>, i64>,
    coming: Vec<Coming>,
}

impl<'s> Batch<'s> {
    /// Takes the receipts of a call, all or none.
    fn take_whole(&mut self, call: &'s Said) -> Result<Vec<ReceiptOutcome>, RelayError> {
        let receipts = call.receipts.iter();
        if receipts
            .clone()
            .any(|receipt| !self.furthest.contains_key(&spoken(call, receipt)))
        {
            return Err(RelayError::MessageUnknown);
        }
        // How many go to each number, were there room.
        let mut coming: HashMap<_, u64> = HashMap::new();
        for receipt in receipts.clone() {
            if self.furthest.get(&spoken(call, receipt)) < Some(&step_of(receipt.kind)) {
                *coming.entry(&receipt.number).or_default() += 1;
            }
        }
        for (number, items) in coming {
            let number = self.numbers.get(number).ok_or(RelayError::NumberUnknown)?;
            if number.queued.saturating_add(items) > self.depth {
                return Err(RelayError::QueueFull);
            }
        }
        Ok(receipts.map(|receipt| self.take(call, receipt)).collect())
    }

    fn take(&mut self, call: &'s Said, receipt: &'s Receipt) -> ReceiptOutcome {
        let of = spoken(call, receipt);
        let step = step_of(receipt.kind);
        match self.furthest.get(&of) {
            None => return ReceiptOutcome::MessageUnknown,
            Some(furthest) if step <= *furthest => return ReceiptOutcome::Taken,
            Some(_) => {}
        }
        let Some(number) = self.numbers.get_mut(&receipt.number) else {
            return ReceiptOutcome::MessageUnknown;
        };
        if number.queued >= self.depth {
            return ReceiptOutcome::QueueFull;
        }
        number.queued += 1;
        self.furthest.insert(of, step);
        self.stepped.insert(of, step);
        let peer = &call.device.phone_number;
        self.coming.push(Coming {
            conversation: Conversation {
                number: receipt.number.clone(),
                peer: Some(peer.clone()),
            },
            item: Item::Receipt(InboundReceipt {
                peer: peer.as_str().to_owned(),
                message_id: receipt.message.as_bytes().to_vec().into(),
                kind: receipt.kind as i32,
                time_ms: receipt.time_ms,
            }),
            expires_at: number.retention.ends(self.now),
        });
        ReceiptOutcome::Taken
    }
}

async fn pass_on(
    tx: &mut Tx,
    number: Number,
    peer: &PhoneNumber,
    item: Item,
    now: i64,
) -> Result<(), DatabaseError> {
    let expires_at = number.retention.ends(now);
    let conversation = Conversation {
        number: number.id,
        peer: Some(peer.clone()),
    };
    let coming = Coming {
        conversation,
        item,
        expires_at,
    };
    inbound_insert(tx, coming, now).await?;
    Ok(())
}

/// The number, when its queue has room.
async fn with_room(tx: &mut Tx, number: &PhoneNumberId, depth: u64) -> Result<Number, RelayError> {
    let number = number_find(tx, number)
        .await?
        .ok_or(RelayError::NumberUnknown)?;
    if number.queued >= depth {
        Err(RelayError::QueueFull)
    } else {
        Ok(number)
    }
}
