//! Content keys of outbound messages: one for each number, made anew each hour, and sealing under them.
//!
//! Invariant: a content key is only ever wrapped for a vault key that [`VaultKeys`] believed at that moment.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use sealpost_envelope::{
    ContentKey, ContentKeyId, HeaderFields, MAX_WRAP_VALIDITY_MS, NumberId, OsEntropy,
    PublishedKey, UnixMillis, Validity, WrapDirection, WrapTerms, seal_wrap,
};
use sealpost_proto::envelope::v1::SealedMessage;
use tokio::sync::Mutex;

use crate::{BusinessKeys, SdkError, content::Encoded, vault_keys::VaultKeys};

/// A content key serves new messages for this long.
const SERVES_MS: u64 = 3_600_000;
/// It is not used in the last of its validity, so that a message under way does not meet its end.
const MARGIN_MS: u64 = 5 * 60_000;

pub(crate) struct Sealer {
    keys: Arc<BusinessKeys>,
    vaults: Arc<VaultKeys>,
    numbers: BTreeMap<NumberId, Mutex<Option<Arc<Current>>>>,
}

/// A content key in use.
pub(crate) struct Current {
    key: ContentKey,
    wrap: Bytes,
    renew_at: UnixMillis,
}

/// A message ready to travel.
#[derive(Clone)]
pub(crate) struct Sealed {
    pub(crate) number: NumberId,
    pub(crate) content_key: ContentKeyId,
    pub(crate) message: SealedMessage,
    pub(crate) wrap: Bytes,
}

impl Sealer {
    pub(crate) fn new(keys: Arc<BusinessKeys>, vaults: Arc<VaultKeys>) -> Self {
        let numbers = vaults
            .numbers()
            .map(|number| (number.clone(), Mutex::default()))
            .collect();
        Self {
            keys,
            vaults,
            numbers,
        }
    }

    /// Seals under the number's content key, making one when none is fit.
    pub(crate) async fn seal(
        &self,
        number: &NumberId,
        fields: &HeaderFields,
        content: &Encoded,
    ) -> Result<Sealed, SdkError> {
        let current = self.current(number).await?;
        let message = current
            .key
            .seal(fields, content.as_bytes(), &mut OsEntropy)?;
        Ok(Sealed {
            number: number.clone(),
            content_key: current.key.id(),
            message: SealedMessage {
                header: message.header,
                body: message.body,
            },
            wrap: current.wrap.clone(),
        })
    }

    /// The vault no longer takes `spent`: the next message is sealed under another.
    pub(crate) async fn renew(&self, number: &NumberId, spent: ContentKeyId) {
        if let Some(slot) = self.numbers.get(number) {
            let mut slot = slot.lock().await;
            if slot
                .as_ref()
                .is_some_and(|current| current.key.id() == spent)
            {
                *slot = None;
            }
        }
    }

    async fn current(&self, number: &NumberId) -> Result<Arc<Current>, SdkError> {
        let slot = self.numbers.get(number).ok_or(SdkError::UnknownNumber)?;
        // Held while a key is made: others of the number wait for the same one.
        let mut slot = slot.lock().await;
        let now = self.vaults.now();
        if let Some(current) = slot.as_ref().filter(|current| now < current.renew_at) {
            return Ok(current.clone());
        }
        let vault_key = self.vaults.fresh(number).await?;
        let current = Arc::new(make(&self.keys, &vault_key, self.vaults.now())?);
        *slot = Some(current.clone());
        Ok(current)
    }
}

fn make(
    keys: &BusinessKeys,
    vault_key: &PublishedKey,
    now: UnixMillis,
) -> Result<Current, SdkError> {
    let (validity, renew_at) = stretch(now, vault_key.validity())?;
    let terms = WrapTerms::new(
        vault_key.number().clone(),
        WrapDirection::Outbound,
        validity,
    )?;
    let (key, wrap) = seal_wrap(
        &terms,
        &keys.signing,
        vault_key.public_key(),
        &mut OsEntropy,
    )?;
    Ok(Current {
        key,
        wrap: wrap.into(),
        renew_at,
    })
}

/// How long a content key made at `now` holds, and when to stop using it. It never outlives the vault's key.
fn stretch(now: UnixMillis, vault_key: Validity) -> Result<(Validity, UnixMillis), SdkError> {
    let end = vault_key.not_after().0.min(now.0 + MAX_WRAP_VALIDITY_MS);
    let validity = Validity::new(now, UnixMillis(end))?;
    // What is left of a vault key near its end is used up to its half rather than not at all.
    let margin = MARGIN_MS.min((end - now.0) / 2);
    Ok((validity, UnixMillis((now.0 + SERVES_MS).min(end - margin))))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const NOW: u64 = 1_800_000_000_000;
    const MINUTE: u64 = 60_000;

    fn stretch_of(ends_in: u64) -> (u64, u64) {
        let vault_key =
            Validity::new(UnixMillis(NOW - 60 * MINUTE), UnixMillis(NOW + ends_in)).unwrap();
        let (validity, renew_at) = stretch(UnixMillis(NOW), vault_key).unwrap();
        (validity.not_after().0 - NOW, renew_at.0 - NOW)
    }

    #[test]
    fn a_content_key_serves_an_hour_and_holds_two_at_most() {
        assert_eq!(stretch_of(180 * MINUTE), (120 * MINUTE, 60 * MINUTE));
        assert_eq!(stretch_of(120 * MINUTE), (120 * MINUTE, 60 * MINUTE));
    }

    #[test]
    fn a_content_key_never_outlives_the_vaults() {
        assert_eq!(stretch_of(62 * MINUTE), (62 * MINUTE, 57 * MINUTE));
        assert_eq!(stretch_of(4 * MINUTE), (4 * MINUTE, 2 * MINUTE));
    }
}
