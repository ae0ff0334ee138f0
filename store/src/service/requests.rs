//! Reading requests: every bound is checked here, and a refusal names its field.

use sealpost_proto::{
    record::v1::EpochId,
    store::v1::{AdvanceStatusItem, AppendInboundItem, AppendOutboundItem, MessageStatus},
};
use sealpost_runtime::Timestamp;

use crate::{
    datastore::{InboundItem, OutboundItem, ProgressItem},
    epoch::Epoch,
    error::Malformed,
    ids::{CiphertextDigest, ContentDigest, MessageId, Owner, Subscription},
    progress::Status,
    record::{Direction, Record, parse_epoch, parse_message_id, parse_number},
};

/// Items in one batch.
const MAX_ITEMS: usize = 256;
/// Epochs in one request.
const MAX_EPOCHS: usize = 1_000;
/// The last retry attempt.
const MAX_ATTEMPT: u32 = 5;

/// Reads every item of a batch.
pub(super) fn parse_all<W, T>(
    items: Vec<W>,
    parse: impl Fn(W) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    if items.len() > MAX_ITEMS {
        return Err(Malformed::new("items", "are more than 256"));
    }
    let numbered = items.into_iter().enumerate();
    numbered
        .map(|(i, item)| parse(item).map_err(|error| error.within(&format!("items[{i}]"))))
        .collect()
}

/// A number from 1 to `most`.
pub(super) fn bounded(field: &str, value: u32, most: u32) -> Result<u64, Malformed> {
    if (1..=most).contains(&value) {
        Ok(value.into())
    } else {
        Err(Malformed::new(field, "is out of range"))
    }
}

pub(super) fn outbound(
    item: AppendOutboundItem,
    now: Timestamp,
) -> Result<OutboundItem, Malformed> {
    Ok(OutboundItem {
        record: Record::parse(item.record, Direction::Outbound, now)?,
        digest: ContentDigest::from_slice(&item.digest)
            .ok_or_else(|| Malformed::new("digest", "has not 32 bytes"))?,
        lease_owner: owner("lease_owner", &item.lease_owner)?,
    })
}

pub(super) fn inbound(item: AppendInboundItem, now: Timestamp) -> Result<InboundItem, Malformed> {
    Ok(InboundItem {
        record: Record::parse(item.record, Direction::Inbound, now)?,
        ciphertext: ciphertext(&item.ciphertext_sha256)?,
        identity_changed: item.identity_changed,
    })
}

pub(super) fn progress(item: &AdvanceStatusItem) -> Result<ProgressItem, Malformed> {
    let status = status(item.status)?;
    if (status == Status::Failed) != (item.error_code != 0) {
        return Err(Malformed::new(
            "error_code",
            "goes with FAILED, and only with it",
        ));
    }
    if item.attempt > MAX_ATTEMPT {
        return Err(Malformed::new("attempt", "is not 0 to 5"));
    }
    if item.time_ms == 0 || i64::try_from(item.time_ms).is_err() {
        return Err(Malformed::new("time_ms", "is out of range"));
    }
    Ok(ProgressItem {
        number: parse_number(&item.phone_number_id)?,
        message_id: parse_message_id(&item.message_id)?,
        status,
        at: Timestamp::from_millis(item.time_ms),
        error_code: item.error_code,
        attempt: item.attempt,
    })
}

fn status(value: i32) -> Result<Status, Malformed> {
    match MessageStatus::try_from(value) {
        Ok(MessageStatus::Accepted) => Ok(Status::Accepted),
        Ok(MessageStatus::Sent) => Ok(Status::Sent),
        Ok(MessageStatus::Delivered) => Ok(Status::Delivered),
        Ok(MessageStatus::Read) => Ok(Status::Read),
        Ok(MessageStatus::Failed) => Ok(Status::Failed),
        Ok(MessageStatus::Unspecified) | Err(_) => Err(Malformed::new("status", "is unknown")),
    }
}

pub(super) fn owner(field: &str, text: &str) -> Result<Owner, Malformed> {
    Owner::parse(text)
        .ok_or_else(|| Malformed::new(field, "is not 1 to 128 printable characters without blanks"))
}

pub(super) fn subscription(text: &str) -> Result<Subscription, Malformed> {
    Subscription::parse(text)
        .ok_or_else(|| Malformed::new("subscription", "is not 1 to 128 of [A-Za-z0-9._/-]"))
}

pub(super) fn ciphertext(bytes: &[u8]) -> Result<CiphertextDigest, Malformed> {
    CiphertextDigest::from_slice(bytes)
        .ok_or_else(|| Malformed::new("ciphertext_sha256", "has not 32 bytes"))
}

pub(super) fn after(bytes: &[u8]) -> Result<MessageId, Malformed> {
    MessageId::from_slice(bytes).ok_or_else(|| Malformed::new("after", "has not 16 bytes"))
}

pub(super) fn epochs(epochs: &[EpochId]) -> Result<Vec<Epoch>, Malformed> {
    if epochs.is_empty() || epochs.len() > MAX_EPOCHS {
        return Err(Malformed::new("epochs", "are not 1 to 1000"));
    }
    let numbered = epochs.iter().enumerate();
    numbered
        .map(|(i, epoch)| {
            parse_epoch(Some(epoch)).map_err(|error| error.within(&format!("epochs[{i}]")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bytes::Bytes;

    use super::*;

    fn item() -> AdvanceStatusItem {
        AdvanceStatusItem {
            phone_number_id: "1".into(),
            message_id: Bytes::from_static(&[0; 16]),
            status: MessageStatus::Sent.into(),
            time_ms: 1,
            error_code: 0,
            attempt: 0,
        }
    }

    #[test]
    fn a_refusal_names_the_item_and_its_field() {
        let mut bad = item();
        bad.message_id = Bytes::new();
        let error = parse_all(vec![item(), bad], |item| progress(&item)).unwrap_err();
        assert_eq!(error.field, "items[1].message_id");
    }

    #[test]
    fn an_error_code_goes_with_a_failure_and_only_with_it() {
        let mut sent = item();
        sent.error_code = 131_036;
        assert_eq!(progress(&sent).unwrap_err().field, "error_code");
        let mut failed = item();
        failed.status = MessageStatus::Failed.into();
        assert_eq!(progress(&failed).unwrap_err().field, "error_code");
        failed.error_code = 131_036;
        assert!(progress(&failed).is_ok());
    }

    #[test]
    fn bounds_hold() {
        assert!(bounded("limit", 0, 256).is_err());
        assert_eq!(bounded("limit", 256, 256), Ok(256));
        assert!(bounded("limit", 257, 256).is_err());
        assert_eq!(
            parse_all(vec![item(); 257], |item| progress(&item))
                .unwrap_err()
                .field,
            "items"
        );
        assert!(epochs(&[]).is_err());
        let mut late = item();
        late.attempt = 6;
        assert_eq!(progress(&late).unwrap_err().field, "attempt");
        let mut unset = item();
        unset.status = 0;
        assert_eq!(progress(&unset).unwrap_err().field, "status");
    }
}
