//! Requests, read strictly: what comes out of here is well-formed.
//!
//! Pure. Errors name the field by its path in the request and repeat nothing of it.

use std::collections::HashSet;

use bytes::Bytes;
use sealpost_proto::{
    relay::v1 as wire,
    signal::v1::{CiphertextType, DeviceAddress, DeviceCiphertext},
};

use crate::{
    RelayError,
    ids::{CollectorName, MessageId, PhoneNumber, PhoneNumberId, Retention},
    upload::MAX_REGISTRATION_ID,
};

/// Items in one batch of any kind.
pub(crate) const MAX_ITEMS: usize = 256;
/// Ids in one acknowledgement; as many as may be unacknowledged, several times over.
pub(crate) const MAX_ACKNOWLEDGED: usize = 1024;
/// One ciphertext, bytes.
const MAX_CIPHERTEXT: usize = 128 * 1024;
const MAX_DEVICE_ID: u32 = 127;
/// The fifth repetition is the last. That it failed as well may be said: then the message has failed.
pub(crate) const MAX_ATTEMPT: u32 = 5;
const MAX_DISPLAY_NAME: usize = 256;

type Result<T> = std::result::Result<T, RelayError>;

pub(crate) fn phone_number(field: impl Into<String>, text: &str) -> Result<PhoneNumber> {
    PhoneNumber::parse(text)
        .ok_or_else(|| RelayError::malformed(field, "must be 7 to 15 E.164 digits without a plus"))
}

pub(crate) fn phone_number_id(field: impl Into<String>, text: &str) -> Result<PhoneNumberId> {
    PhoneNumberId::parse(text)
        .ok_or_else(|| RelayError::malformed(field, "must be 1 to 32 decimal digits"))
}

pub(crate) fn display_name(text: String) -> Result<String> {
    if text.chars().count() > MAX_DISPLAY_NAME || text.chars().any(char::is_control) {
        return Err(RelayError::malformed(
            "display_name",
            "must be at most 256 characters, none of them control characters",
        ));
    }
    Ok(text)
}

pub(crate) fn collector(text: &str) -> Result<CollectorName> {
    CollectorName::parse(text).ok_or_else(|| {
        RelayError::malformed(
            "collector",
            "must be 1 to 64 printable ASCII characters without blanks, in the first message",
        )
    })
}

pub(crate) fn retention(field: &'static str, seconds: u32) -> Result<Retention> {
    Retention::from_seconds(seconds)
        .ok_or_else(|| RelayError::malformed(field, "must be 3,600 to 2,592,000"))
}

pub(crate) fn at_most(field: &'static str, count: usize) -> Result<()> {
    if count > MAX_ITEMS {
        return Err(RelayError::malformed(field, "must be at most 256"));
    }
    Ok(())
}

/// Queue ids as the tables keep them.
pub(crate) fn acknowledged(ids: Vec<u64>) -> Result<Vec<i64>> {
    if ids.len() > MAX_ACKNOWLEDGED {
        return Err(RelayError::malformed(
            "acknowledge",
            "must be at most 1,024",
        ));
    }
    let kept = ids
        .into_iter()
        .map(i64::try_from)
        .collect::<std::result::Result<_, _>>();
    kept.map_err(|_| RelayError::malformed("acknowledge", "names no queue id"))
}

/// A message for a business.
#[derive(Clone, Debug)]
pub(crate) struct FromDevice {
    pub(crate) envelope_id: MessageId,
    pub(crate) number: PhoneNumberId,
    pub(crate) kind: i32,
    pub(crate) ciphertext: Bytes,
    pub(crate) attempt: u32,
}

pub(crate) fn device_message(index: usize, wire: wire::DeviceMessage) -> Result<FromDevice> {
    let at = |name: &str| format!("messages[{index}].{name}");
    Ok(FromDevice {
        envelope_id: message_id(at("envelope_id"), &wire.envelope_id)?,
        number: phone_number_id(at("phone_number_id"), &wire.phone_number_id)?,
        kind: ciphertext_type(wire.r#type)
            .ok_or_else(|| RelayError::malformed(at("type"), "is unknown"))?,
        ciphertext: ciphertext(wire.ciphertext)
            .ok_or_else(|| RelayError::malformed(at("ciphertext"), "must be 1 byte to 128 KiB"))?,
        attempt: attempt(at("attempt"), wire.attempt)?,
    })
}

/// A receipt.
#[derive(Clone, Debug)]
pub(crate) struct Receipt {
    pub(crate) number: PhoneNumberId,
    pub(crate) message: MessageId,
    pub(crate) kind: wire::ReceiptKind,
    /// As the device says, milliseconds since the Unix epoch.
    pub(crate) time_ms: u64,
}

pub(crate) fn receipts(wire: &[wire::DeviceReceipt]) -> Result<Vec<Receipt>> {
    at_most("receipts", wire.len())?;
    let receipts = wire.iter().enumerate();
    receipts.map(|(index, wire)| receipt(index, wire)).collect()
}

fn receipt(index: usize, wire: &wire::DeviceReceipt) -> Result<Receipt> {
    let at = |name: &str| format!("receipts[{index}].{name}");
    let kind = match wire.kind() {
        wire::ReceiptKind::Unspecified => {
            return Err(RelayError::malformed(at("kind"), "is unknown"));
        }
        kind => kind,
    };
    Ok(Receipt {
        number: phone_number_id(at("phone_number_id"), &wire.phone_number_id)?,
        message: message_id(at("message_id"), &wire.message_id)?,
        kind,
        time_ms: wire.time_ms,
    })
}

/// A request for a message again.
#[derive(Clone, Debug)]
pub(crate) struct Retry {
    pub(crate) number: PhoneNumberId,
    pub(crate) message: MessageId,
    pub(crate) failed_attempt: u32,
}

pub(crate) fn retry(wire: &wire::RequestRetryRequest) -> Result<Retry> {
    Ok(Retry {
        failed_attempt: attempt("failed_attempt", wire.failed_attempt)?,
        number: phone_number_id("phone_number_id", &wire.phone_number_id)?,
        message: message_id("message_id", &wire.message_id)?,
    })
}

/// A request for a device's message again.
#[derive(Clone, Debug)]
pub(crate) struct EnvelopeRequest {
    pub(crate) number: PhoneNumberId,
    pub(crate) peer: PhoneNumber,
    pub(crate) device_id: u32,
    pub(crate) envelope: MessageId,
    pub(crate) failed_attempt: u32,
}

pub(crate) fn envelope_request(wire: &wire::RequestEnvelopeRequest) -> Result<EnvelopeRequest> {
    if !(1..=MAX_DEVICE_ID).contains(&wire.device_id) {
        return Err(RelayError::malformed("device_id", "must be 1 to 127"));
    }
    Ok(EnvelopeRequest {
        number: phone_number_id("phone_number_id", &wire.phone_number_id)?,
        peer: phone_number("peer", &wire.peer)?,
        device_id: wire.device_id,
        envelope: message_id("envelope_id", &wire.envelope_id)?,
        failed_attempt: attempt("failed_attempt", wire.failed_attempt)?,
    })
}

pub(crate) fn envelope_ids(ids: &[Bytes]) -> Result<Vec<MessageId>> {
    at_most("envelope_ids", ids.len())?;
    let id = |(index, id): (usize, &Bytes)| message_id(format!("envelope_ids[{index}]"), id);
    ids.iter().enumerate().map(id).collect()
}

fn attempt(field: impl Into<String>, attempt: u32) -> Result<u32> {
    if attempt > MAX_ATTEMPT {
        return Err(RelayError::malformed(field, "must be 0 to 5"));
    }
    Ok(attempt)
}

pub(crate) fn known_devices(devices: &[DeviceAddress]) -> Result<()> {
    if devices.len() > MAX_DEVICE_ID as usize {
        return Err(RelayError::malformed(
            "known_devices",
            "must be at most 127",
        ));
    }
    for (index, device) in devices.iter().enumerate() {
        if !is_address(device) {
            return Err(RelayError::malformed(
                format!("known_devices[{index}]"),
                "is no device",
            ));
        }
    }
    Ok(())
}

/// A message for a consumer.
#[derive(Clone, Debug)]
pub(crate) struct ForPeer {
    pub(crate) number: PhoneNumberId,
    pub(crate) peer: PhoneNumber,
    pub(crate) message: MessageId,
    pub(crate) attempt: u32,
    pub(crate) category: u32,
    /// One for each device, each device once.
    pub(crate) ciphertexts: Vec<(DeviceAddress, i32, Bytes)>,
    /// Milliseconds since the Unix epoch, at most 30 days away.
    pub(crate) expires_at: i64,
    pub(crate) one_device: bool,
}

/// `None` when the item is malformed or over at `now` (milliseconds since the Unix epoch).
pub(crate) fn submit_item(wire: wire::SubmitItem, now: i64) -> Option<ForPeer> {
    let expires_at = i64::try_from(wire.expires_at_ms)
        .unwrap_or(i64::MAX)
        .min(Retention::LONGEST.ends(now));
    let count = wire.ciphertexts.len();
    let fits = expires_at > now
        && (1..=4).contains(&wire.category)
        && wire.attempt <= MAX_ATTEMPT
        && if wire.one_device {
            count == 1
        } else {
            (1..=MAX_DEVICE_ID as usize).contains(&count)
        };
    if !fits {
        return None;
    }
    let mut seen = HashSet::new();
    let ciphertexts = wire
        .ciphertexts
        .into_iter()
        .map(|one| device_ciphertext(one).filter(|(device, ..)| seen.insert(device.device_id)))
        .collect::<Option<Vec<_>>>()?;
    Some(ForPeer {
        number: PhoneNumberId::parse(&wire.phone_number_id)?,
        peer: PhoneNumber::parse(&wire.peer)?,
        message: MessageId::from_slice(&wire.message_id)?,
        attempt: wire.attempt,
        category: wire.category,
        ciphertexts,
        expires_at,
        one_device: wire.one_device,
    })
}

fn device_ciphertext(wire: DeviceCiphertext) -> Option<(DeviceAddress, i32, Bytes)> {
    let device = wire.device.filter(is_address)?;
    Some((
        device,
        ciphertext_type(wire.r#type)?,
        ciphertext(wire.ciphertext)?,
    ))
}

fn is_address(device: &DeviceAddress) -> bool {
    (1..=MAX_DEVICE_ID).contains(&device.device_id)
        && (1..=MAX_REGISTRATION_ID).contains(&device.registration_id)
}

fn ciphertext_type(number: i32) -> Option<i32> {
    let kind = CiphertextType::try_from(number).ok()?;
    (kind != CiphertextType::Unspecified).then_some(number)
}

fn ciphertext(bytes: Bytes) -> Option<Bytes> {
    (1..=MAX_CIPHERTEXT).contains(&bytes.len()).then_some(bytes)
}

fn message_id(field: impl Into<String>, bytes: &[u8]) -> Result<MessageId> {
    MessageId::from_slice(bytes).ok_or_else(|| RelayError::malformed(field, "must be 16 bytes"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::testing;

    const NOW: i64 = 1_800_000_000_000;

    #[test]
    fn a_submitted_item_is_taken_whole_or_not_at_all() {
        let good = testing::submit_item("4915112345678", [1; 16], &[(1, 7)], NOW);
        assert!(submit_item(good.clone(), NOW).is_some());
        type Spoil = fn(&mut wire::SubmitItem);
        let cases: [(&str, Spoil); 14] = [
            ("number", |i| i.phone_number_id = "x".into()),
            ("peer", |i| i.peer = "+4915112345678".into()),
            ("message id", |i| i.message_id = vec![1; 15].into()),
            ("attempt", |i| i.attempt = 6),
            ("category 0", |i| i.category = 0),
            ("category 5", |i| i.category = 5),
            ("no ciphertext", |i| i.ciphertexts.clear()),
            ("a device twice", |i| {
                i.ciphertexts.push(i.ciphertexts[0].clone());
            }),
            ("no device", |i| i.ciphertexts[0].device = None),
            ("device 128", |i| {
                i.ciphertexts[0].device.as_mut().unwrap().device_id = 128;
            }),
            ("type", |i| i.ciphertexts[0].r#type = 1),
            ("empty", |i| i.ciphertexts[0].ciphertext = Bytes::new()),
            ("too long", |i| {
                i.ciphertexts[0].ciphertext = vec![0; MAX_CIPHERTEXT + 1].into();
            }),
            ("over", |i| i.expires_at_ms = u64::try_from(NOW).unwrap()),
        ];
        for (name, spoil) in cases {
            let mut item = good.clone();
            spoil(&mut item);
            assert!(submit_item(item, NOW).is_none(), "{name}");
        }
    }

    #[test]
    fn nothing_is_kept_longer_than_thirty_days() {
        let mut item = testing::submit_item("4915112345678", [1; 16], &[(1, 7)], NOW);
        item.expires_at_ms = u64::MAX;
        assert_eq!(
            submit_item(item, NOW).unwrap().expires_at,
            Retention::LONGEST.ends(NOW)
        );
    }

    #[test]
    fn a_message_for_one_device_has_one_ciphertext() {
        let mut item = testing::submit_item("4915112345678", [1; 16], &[(1, 7), (2, 8)], NOW);
        item.one_device = true;
        assert!(submit_item(item, NOW).is_none());
    }

    #[test]
    fn acknowledgements_are_bounded() {
        assert_eq!(acknowledged(vec![1, 2]).unwrap(), [1, 2]);
        assert!(acknowledged(vec![1; MAX_ACKNOWLEDGED + 1]).is_err());
        assert!(acknowledged(vec![u64::MAX]).is_err());
    }
}
