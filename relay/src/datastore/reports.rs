//! What devices say about messages they were sent: receipts and retry requests.
//!
//! Invariant: a device speaks only of messages that were handed over for it.

use std::sync::Arc;

use sealpost_database::{DatabaseError, Tx};
use sealpost_proto::relay::v1::{InboundReceipt, InboundRetry, inbound::Item};

use super::{
    Datastore,
    inbound::inbound_insert,
    numbers::{Number, number_find},
    submissions::{submission_ask_retry, submission_receipt, submission_set_receipt},
};
use crate::{
    RelayError,
    ids::{Conversation, DeviceIdentity, PhoneNumber, PhoneNumberId},
    validate::{Receipt, Retry},
};

impl Datastore {
    /// Passes receipts on, all or none; a repeat or a step back is dropped.
    ///
    /// # Errors
    /// `MessageUnknown` when the device was not sent one of the messages; `QueueFull`.
    pub(crate) async fn pass_receipts(
        &self,
        device: DeviceIdentity,
        receipts: Vec<Receipt>,
        depth: u64,
        now: i64,
    ) -> Result<(), RelayError> {
        let receipts = Arc::new(receipts);
        self.database
            .run_tx("send_receipts", move |tx| {
                let (device, receipts) = (device.clone(), receipts.clone());
                Box::pin(async move {
                    for receipt in receipts.iter() {
                        pass_receipt(tx, &device, receipt, depth, now).await?;
                    }
                    Ok(())
                })
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

async fn pass_receipt(
    tx: &mut Tx,
    device: &DeviceIdentity,
    receipt: &Receipt,
    depth: u64,
    now: i64,
) -> Result<(), RelayError> {
    let Receipt {
        number,
        message,
        kind,
        time_ms,
    } = receipt;
    let (peer, holder) = (&device.phone_number, device.holder);
    let furthest = submission_receipt(tx, number, peer, *message, holder, now)
        .await?
        .ok_or(RelayError::MessageUnknown)?;
    let step = i64::from(*kind as i32);
    if step <= furthest {
        return Ok(());
    }
    let number = with_room(tx, number, depth).await?;
    submission_set_receipt(tx, &number.id, peer, *message, holder, step).await?;
    let item = Item::Receipt(InboundReceipt {
        peer: peer.as_str().to_owned(),
        message_id: message.as_bytes().to_vec().into(),
        kind: *kind as i32,
        time_ms: *time_ms,
    });
    pass_on(tx, number, peer, item, now).await?;
    Ok(())
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
    inbound_insert(tx, &conversation, item, expires_at).await?;
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
