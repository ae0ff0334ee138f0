//! Consumers' receipts move statuses.

use sealpost_proto::{
    relay::v1::{InboundReceipt, ReceiptKind},
    store::v1::{AdvanceStatusItem, MessageStatus},
};

use super::{Context, Handled};
use crate::ids::{MessageId, PhoneNumberId};

pub(super) async fn handle(
    context: &Context,
    number: &PhoneNumberId,
    receipt: &InboundReceipt,
) -> Handled {
    let status = match receipt.kind() {
        ReceiptKind::Delivered => MessageStatus::Delivered,
        ReceiptKind::Read => MessageStatus::Read,
        ReceiptKind::Unspecified => return Handled::Done("malformed"),
    };
    if MessageId::parse(&receipt.message_id).is_err() {
        return Handled::Done("malformed");
    }
    let Ok(store) = context.regions.store_of(number).await else {
        return Handled::Again("directory");
    };
    let item = AdvanceStatusItem {
        phone_number_id: number.into(),
        message_id: receipt.message_id.clone(),
        status: status.into(),
        // A device's clock may be anywhere; a status is never in the future, and has a time.
        time_ms: receipt.time_ms.min(context.clock.now().as_millis()).max(1),
        error_code: 0,
        attempt: 0,
    };
    match store.advance_status.call(item).await {
        Ok(outcome) if outcome.number_departed => Handled::Again("moving"),
        Ok(outcome) if outcome.moved => Handled::Done("moved"),
        Ok(_) => Handled::Done("unmoved"),
        Err(_) => Handled::Again("store"),
    }
}
