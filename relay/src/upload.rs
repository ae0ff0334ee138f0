//! Uploads of public keys, read strictly.
//!
//! Pure. Checks shapes only: whether a signature is the identity key's is for the endpoints, which alone have the Signal
//! code to tell and which must not believe the relay anyway.

use std::collections::HashSet;

use bytes::Bytes;
use sealpost_proto::signal::v1::{KemPrekey, OneTimePrekey, PrekeyUpload, SignedPrekey};

use crate::RelayError;

/// Largest prekey id.
const MAX_PREKEY_ID: u32 = 0x00FF_FFFF;
/// Largest registration id.
pub(crate) const MAX_REGISTRATION_ID: u32 = 0x3FFF;
/// Type byte 0x05 and a Montgomery point.
const CURVE_KEY: (usize, u8) = (33, 0x05);
/// Type byte 0x08 and a Kyber-1024 public key.
const KEM_KEY: (usize, u8) = (1569, 0x08);
/// One-time prekeys of a kind in one upload.
const MAX_ONE_TIME: usize = 200;

type Result<T> = std::result::Result<T, RelayError>;

/// An upload whose shape was checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Upload {
    pub(crate) identity_key: Bytes,
    pub(crate) registration_id: u32,
    pub(crate) signed_prekey: Option<SignedPrekey>,
    pub(crate) last_resort: Option<KemPrekey>,
    pub(crate) one_time: Vec<OneTimePrekey>,
    pub(crate) kem: Vec<KemPrekey>,
}

/// An upload that can stand for a holder alone: it has a signed and a last-resort prekey.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FullUpload {
    pub(crate) upload: Upload,
    pub(crate) signed_prekey: SignedPrekey,
    pub(crate) last_resort: KemPrekey,
}

impl Upload {
    /// Reads a refill.
    ///
    /// # Errors
    /// The first field that is malformed, by its path under `upload`.
    pub(crate) fn refill(wire: Option<PrekeyUpload>) -> Result<Self> {
        let wire = wire.ok_or_else(|| RelayError::malformed("upload", "is missing"))?;
        check_key("upload.identity_key", &wire.identity_key, CURVE_KEY)?;
        if !(1..=MAX_REGISTRATION_ID).contains(&wire.registration_id) {
            return Err(RelayError::malformed(
                "upload.registration_id",
                "must be 1 to 0x3FFF",
            ));
        }
        if let Some(signed) = &wire.signed_prekey {
            check_prekey(
                "upload.signed_prekey",
                signed.id,
                &signed.public_key,
                CURVE_KEY,
            )?;
            check_signature("upload.signed_prekey", &signed.signature)?;
        }
        if let Some(kem) = &wire.last_resort_kem_prekey {
            check_kem("upload.last_resort_kem_prekey", kem)?;
        }
        check_many(
            "upload.one_time_prekeys",
            &wire.one_time_prekeys,
            |path, prekey| {
                check_prekey(path, prekey.id, &prekey.public_key, CURVE_KEY)?;
                Ok(prekey.id)
            },
        )?;
        check_many("upload.kem_prekeys", &wire.kem_prekeys, |path, prekey| {
            check_kem(path, prekey)?;
            Ok(prekey.id)
        })?;
        Ok(Self {
            identity_key: wire.identity_key,
            registration_id: wire.registration_id,
            signed_prekey: wire.signed_prekey,
            last_resort: wire.last_resort_kem_prekey,
            one_time: wire.one_time_prekeys,
            kem: wire.kem_prekeys,
        })
    }
}

impl FullUpload {
    /// Reads an upload of a new holder.
    ///
    /// # Errors
    /// As [`Upload::refill`], and when the signed or the last-resort prekey is missing.
    pub(crate) fn read(wire: Option<PrekeyUpload>) -> Result<Self> {
        let upload = Upload::refill(wire)?;
        let missing = |field| move || RelayError::malformed(field, "is missing");
        Ok(Self {
            signed_prekey: upload
                .signed_prekey
                .clone()
                .ok_or_else(missing("upload.signed_prekey"))?,
            last_resort: upload
                .last_resort
                .clone()
                .ok_or_else(missing("upload.last_resort_kem_prekey"))?,
            upload,
        })
    }
}

fn check_many<T>(path: &str, prekeys: &[T], check: impl Fn(&str, &T) -> Result<u32>) -> Result<()> {
    if prekeys.len() > MAX_ONE_TIME {
        return Err(RelayError::malformed(path, "must be at most 200"));
    }
    let mut ids = HashSet::new();
    for (index, prekey) in prekeys.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if !ids.insert(check(&path, prekey)?) {
            return Err(RelayError::malformed(
                format!("{path}.id"),
                "is there twice",
            ));
        }
    }
    Ok(())
}

fn check_kem(path: &str, prekey: &KemPrekey) -> Result<()> {
    check_prekey(path, prekey.id, &prekey.public_key, KEM_KEY)?;
    check_signature(path, &prekey.signature)
}

fn check_prekey(path: &str, id: u32, key: &[u8], shape: (usize, u8)) -> Result<()> {
    if !(1..=MAX_PREKEY_ID).contains(&id) {
        return Err(RelayError::malformed(
            format!("{path}.id"),
            "must be 1 to 0xFFFFFF",
        ));
    }
    check_key(&format!("{path}.public_key"), key, shape)
}

fn check_key(path: &str, key: &[u8], (length, kind): (usize, u8)) -> Result<()> {
    if key.len() != length || key[0] != kind {
        return Err(RelayError::malformed(
            path,
            "is no serialised public key of its kind",
        ));
    }
    Ok(())
}

fn check_signature(path: &str, signature: &[u8]) -> Result<()> {
    if signature.len() != 64 {
        return Err(RelayError::malformed(
            format!("{path}.signature"),
            "must be 64 bytes",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::testing;

    fn field_of<T: std::fmt::Debug>(answer: Result<T>) -> String {
        match answer.unwrap_err() {
            RelayError::Malformed { field, .. } => field,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_malformed_upload_is_refused_by_the_name_of_its_field() {
        type Spoil = fn(&mut PrekeyUpload);
        let cases: [(&str, Spoil); 14] = [
            ("upload.identity_key", |u| {
                u.identity_key = vec![5; 32].into();
            }),
            ("upload.identity_key", |u| {
                u.identity_key = vec![6; 33].into();
            }),
            ("upload.registration_id", |u| u.registration_id = 0),
            ("upload.registration_id", |u| u.registration_id = 0x4000),
            ("upload.signed_prekey", |u| u.signed_prekey = None),
            ("upload.signed_prekey.id", |u| {
                u.signed_prekey.as_mut().unwrap().id = 0;
            }),
            ("upload.signed_prekey.signature", |u| {
                u.signed_prekey.as_mut().unwrap().signature = vec![1; 63].into();
            }),
            ("upload.last_resort_kem_prekey", |u| {
                u.last_resort_kem_prekey = None;
            }),
            ("upload.last_resort_kem_prekey.public_key", |u| {
                u.last_resort_kem_prekey.as_mut().unwrap().public_key = vec![8; 33].into();
            }),
            ("upload.one_time_prekeys[1].id", |u| {
                u.one_time_prekeys[1].id = 0x0100_0000;
            }),
            ("upload.one_time_prekeys[2].id", |u| {
                u.one_time_prekeys[2].id = 1;
            }),
            ("upload.one_time_prekeys[0].public_key", |u| {
                u.one_time_prekeys[0].public_key = Bytes::new();
            }),
            ("upload.kem_prekeys[1].signature", |u| {
                u.kem_prekeys[1].signature = Bytes::new();
            }),
            ("upload.one_time_prekeys", |u| {
                let prekey = u.one_time_prekeys[0].clone();
                u.one_time_prekeys = vec![prekey; 201];
            }),
        ];
        for (field, spoil) in cases {
            let mut upload = testing::upload(1, 3, 3);
            spoil(&mut upload);
            assert_eq!(field_of(FullUpload::read(Some(upload))), field);
        }
        assert_eq!(field_of(FullUpload::read(None)), "upload");
        FullUpload::read(Some(testing::upload(1, 200, 200))).unwrap();
    }

    #[test]
    fn a_refill_may_leave_the_signed_and_last_resort_prekeys_as_they_are() {
        let mut upload = testing::upload(1, 3, 0);
        upload.signed_prekey = None;
        upload.last_resort_kem_prekey = None;
        assert_eq!(Upload::refill(Some(upload)).unwrap().one_time.len(), 3);
    }
}
