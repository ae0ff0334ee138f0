//! Codes and the registration of devices.

use super::{
    Datastore,
    codes::{Sent, code_count_guess, code_delete, code_find, code_put},
    devices::{device_insert, devices_of},
    holders::{holder_delete, holder_insert},
    numbers::number_is_none,
    prekeys::prekeys_add,
};
use crate::{
    RelayError,
    auth::TokenDigest,
    codes::{ATTEMPTS, Code, CodeDigests},
    ids::{DeviceIdentity, HolderId, PhoneNumber, next_device_id},
    upload::FullUpload,
};

/// A device was registered.
#[derive(Clone, Debug)]
pub(crate) struct Registered {
    pub(crate) device_id: u32,
    /// The devices that it replaced.
    pub(crate) replaced: Vec<HolderId>,
}

impl Datastore {
    /// Keeps the digest of a code; an earlier code of that number ends.
    ///
    /// # Errors
    /// `NumberIsBusiness` when no consumer can have that number.
    pub(crate) async fn keep_code(
        &self,
        number: PhoneNumber,
        digest: Vec<u8>,
        expires_at: i64,
    ) -> Result<(), RelayError> {
        self.database
            .run_tx("request_code", move |tx| {
                let (number, digest) = (number.clone(), digest.clone());
                Box::pin(async move {
                    number_is_none(tx, &number).await?;
                    let sent = Sent {
                        digest,
                        attempts_left: ATTEMPTS,
                        expires_at,
                    };
                    Ok(code_put(tx, &number, &sent).await?)
                })
            })
            .await
    }

    /// Spends the code and puts a new device in the place of all that the number had.
    ///
    /// # Errors
    /// `CodeRefused`, with the guess counted; `NumberIsBusiness` when no consumer can have that number.
    pub(crate) async fn register(
        &self,
        number: PhoneNumber,
        code: Code,
        digests: CodeDigests,
        keys: FullUpload,
        token: TokenDigest,
        now: i64,
    ) -> Result<Registered, RelayError> {
        let answer = self
            .database
            .run_tx("register", move |tx| {
                let (number, code) = (number.clone(), code.clone());
                let (digests, keys) = (digests.clone(), keys.clone());
                Box::pin(async move {
                    number_is_none(tx, &number).await?;
                    let Some(sent) = code_find(tx, &number).await? else {
                        return Ok(None);
                    };
                    if sent.expires_at <= now {
                        code_delete(tx, &number).await?;
                        return Ok(None);
                    }
                    if !digests.matches(&number, &code, &sent.digest) {
                        code_count_guess(tx, &number, sent.attempts_left).await?;
                        return Ok(None);
                    }
                    code_delete(tx, &number).await?;

                    let before = devices_of(tx, &number).await?;
                    let device_id = next_device_id(before.last().map(|last| last.device_id));
                    for device in &before {
                        holder_delete(tx, device.holder).await?;
                    }
                    let holder = holder_insert(tx, &keys).await?;
                    let device = DeviceIdentity {
                        holder,
                        phone_number: number,
                        device_id,
                    };
                    device_insert(tx, &device, token, now).await?;
                    prekeys_add(tx, holder, &keys.upload).await?;
                    let replaced = before.iter().map(|device| device.holder).collect();
                    Ok::<_, RelayError>(Some(Registered {
                        device_id,
                        replaced,
                    }))
                })
            })
            .await?;
        // A refusal is no error to the transaction: the counted guess must be committed.
        answer.ok_or(RelayError::CodeRefused)
    }
}
