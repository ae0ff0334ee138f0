//! The courier's calls: each tells what became of every item, and none keeps anything.

use std::time::Duration;

use futures::future;
use sealpost_proto::relay::v1::{
    DeviceMessage, DeviceReceipt, RequestRetryRequest, SendReceiptsRequest, SubmitMessageOutcome,
    SubmitMessagesRequest,
};
use sealpost_runtime::Timestamp;
use tonic::Code;

use super::shared::Shared;
use crate::state::{Change, MessageKey, Outgoing, ReceiptMark};

const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// What one kind of call did.
#[derive(Default)]
pub(super) struct Round {
    /// To be kept.
    pub(super) changes: Vec<Change>,
    /// Messages that will never arrive.
    pub(super) failed: Vec<(u64, Outgoing)>,
    /// The relay has no room for some messages.
    pub(super) full: bool,
    /// A call failed, and has to be made again.
    pub(super) error: Option<tonic::Status>,
}

pub(super) async fn submit(shared: &Shared, messages: Vec<(u64, Outgoing, u32)>) -> Round {
    let mut round = Round::default();
    if messages.is_empty() {
        return round;
    }
    let request = SubmitMessagesRequest {
        messages: messages
            .iter()
            .map(|(_, message, attempt)| DeviceMessage {
                envelope_id: message.envelope_id.to_vec().into(),
                phone_number_id: message.number.as_str().to_owned(),
                r#type: i32::from(message.kind),
                ciphertext: message.ciphertext.clone().into(),
                attempt: *attempt,
            })
            .collect(),
    };
    let mut request = shared.session.request(request);
    request.set_timeout(CALL_TIMEOUT);
    let outcomes = match shared.session.device().submit_messages(request).await {
        Ok(answer) => answer.into_inner().outcomes,
        Err(status) => {
            return Round {
                error: Some(status),
                ..round
            };
        }
    };
    round.full = outcomes.len() != messages.len();
    for ((sequence, message, _), outcome) in messages.into_iter().zip(outcomes) {
        match SubmitMessageOutcome::try_from(outcome) {
            Ok(SubmitMessageOutcome::Accepted) => {
                round.changes.push(Change::OutgoingDone { sequence });
            }
            Ok(SubmitMessageOutcome::NumberUnknown) => round.failed.push((sequence, message)),
            _ => round.full = true,
        }
    }
    round
}

pub(super) async fn receipt(
    shared: &Shared,
    receipts: Vec<(MessageKey, ReceiptMark, Timestamp)>,
) -> Round {
    let mut round = Round::default();
    if receipts.is_empty() {
        return round;
    }
    match send_receipts(shared, &receipts).await {
        Err(status) if !is_final(&status) => {
            return Round {
                error: Some(status),
                ..round
            };
        }
        // All or none: one message that the relay has forgotten by now must not cost the others their receipts.
        Err(_) if receipts.len() > 1 => return one_by_one(shared, receipts).await,
        _ => {}
    }
    for (key, mark, _) in receipts {
        round.changes.push(Change::ReceiptDone { key, mark });
    }
    round
}

async fn one_by_one(shared: &Shared, receipts: Vec<(MessageKey, ReceiptMark, Timestamp)>) -> Round {
    let mut round = Round::default();
    for receipt in receipts {
        match send_receipts(shared, std::slice::from_ref(&receipt)).await {
            Err(status) if !is_final(&status) => {
                round.error = Some(status);
                break;
            }
            // Refused for good: nobody waits for this receipt any more.
            _ => round.changes.push(Change::ReceiptDone {
                key: receipt.0,
                mark: receipt.1,
            }),
        }
    }
    round
}

async fn send_receipts(
    shared: &Shared,
    receipts: &[(MessageKey, ReceiptMark, Timestamp)],
) -> Result<(), tonic::Status> {
    let receipts = receipts
        .iter()
        .map(|(key, mark, time)| device_receipt(key, *mark, *time))
        .collect();
    let mut request = shared.session.request(SendReceiptsRequest { receipts });
    request.set_timeout(CALL_TIMEOUT);
    shared.session.device().send_receipts(request).await?;
    Ok(())
}

/// A receipt as the relay reads it.
pub(super) fn device_receipt(
    (number, message_id): &MessageKey,
    mark: ReceiptMark,
    time: Timestamp,
) -> DeviceReceipt {
    DeviceReceipt {
        phone_number_id: number.as_str().to_owned(),
        message_id: message_id.0.to_vec().into(),
        kind: mark as i32,
        time_ms: time.as_millis(),
    }
}

pub(super) async fn retry(shared: &Shared, retries: Vec<(MessageKey, u32)>) -> Round {
    let asked = future::join_all(retries.into_iter().map(async |(key, failed_attempt)| {
        let request = RequestRetryRequest {
            phone_number_id: key.0.as_str().to_owned(),
            message_id: key.1.0.to_vec().into(),
            failed_attempt,
        };
        let mut request = shared.session.request(request);
        request.set_timeout(CALL_TIMEOUT);
        (
            key,
            failed_attempt,
            shared.session.device().request_retry(request).await,
        )
    }))
    .await;
    let mut round = Round::default();
    for (key, failed_attempt, answer) in asked {
        match answer {
            Err(status) if !is_final(&status) => round.error = Some(status),
            // Refused for good: the message is gone, or was asked for too often.
            _ => round.changes.push(Change::RetryDone {
                key,
                failed_attempt,
            }),
        }
    }
    round
}

/// Whether the same call would be refused again.
fn is_final(status: &tonic::Status) -> bool {
    matches!(
        status.code(),
        Code::InvalidArgument
            | Code::NotFound
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::PermissionDenied
    )
}
