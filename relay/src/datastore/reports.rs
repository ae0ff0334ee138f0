//! What devices say about messages they were sent: receipts and retry requests.
//!
//! Invariant: a device speaks only of messages that were handed over for it.

use std::sync::Arc;

use sealpost_database::Tx;
use sealpost_proto::relay::v1::{InboundReceipt, InboundRetry, inbound::Item};

use super::{
    Datastore,
    inbound::inbound_insert,
    numbers::number_find,
    submissions::{submission_ask_retry, submission_receipt, submission_set_receipt},
};
use crate::{
    RelayError,
    ids::{DeviceIdentity, PhoneNumberId},
    validate::{Receipt, Retry},
};

impl Datastore {
    /// Passes receipts on, all or none; a repeat or a step back is dropped. Whether there was any to pass on.
    ///
    /// # Errors
    /// `MessageUnknown` when the device was not sent one of the messages; `QueueFull`.
    pub(crate) async fn pass_receipts(
        &self,
        device: DeviceIdentity,
        receipts: Vec<Receipt>,
        depth: u64,
        now: i64,
    ) -> Result<bool, RelayError> {
        let receipts = Arc::new(receipts);
        self.database
            .run_tx("send_receipts", move |tx| {
                let (device, receipts) = (device.clone(), receipts.clone());
                Box::pin(async move {
                    let mut any = false;
                    for receipt in receipts.iter() {
                        any |= pass_receipt(tx, &device, receipt, depth, now).await?;
                    }
                    Ok(any)
                })
            })
            .await
    }

    /// Asks for a message again; false when that was asked before.
    ///
    /// # Errors
    /// `MessageUnknown` when the device was not sent that attempt; `QueueFull`.
    pub(crate) async fn ask_retry(
        &self,
        device: DeviceIdentity,
        retry: Retry,
        depth: u64,
        now: i64,
    ) -> Result<bool, RelayError> {
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
                    );
                    let first = asked.await?.ok_or(RelayError::MessageUnknown)?;
                    if first {
                        check_room(tx, &number, depth).await?;
                        let item = Item::Retry(InboundRetry {
                            peer: peer.as_str().to_owned(),
                            device_id: device.device_id,
                            message_id: message.as_bytes().to_vec().into(),
                            failed_attempt,
                        });
                        inbound_insert(tx, &number, Some(peer), item, now).await?;
                    }
                    Ok(first)
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
) -> Result<bool, RelayError> {
    let Receipt {
        number,
        message,
        kind,
        time_ms,
    } = receipt;
    let (peer, holder) = (&device.phone_number, device.holder);
    let furthest = submission_receipt(tx, number, peer, *message, holder)
        .await?
        .ok_or(RelayError::MessageUnknown)?;
    let step = i64::from(*kind as i32);
    if step <= furthest {
        return Ok(false);
    }
    check_room(tx, number, depth).await?;
    submission_set_receipt(tx, number, peer, *message, holder, step).await?;
    let item = Item::Receipt(InboundReceipt {
        peer: peer.as_str().to_owned(),
        message_id: message.as_bytes().to_vec().into(),
        kind: *kind as i32,
        time_ms: *time_ms,
    });
    inbound_insert(tx, number, Some(peer), item, now).await?;
    Ok(true)
}

async fn check_room(tx: &mut Tx, number: &PhoneNumberId, depth: u64) -> Result<(), RelayError> {
    let number = number_find(tx, number)
        .await?
        .ok_or(RelayError::NumberUnknown)?;
    if number.queued >= depth {
        Err(RelayError::QueueFull)
    } else {
        Ok(())
    }
}
