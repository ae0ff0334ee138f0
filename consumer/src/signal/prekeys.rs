//! This device's own prekeys: made, renewed, uploaded, forgotten.
//!
//! Invariant: a private half is durable before its public half leaves; an id is never taken twice.

use libsignal_protocol::{
    GenericSignedPreKey, IdentityKeyPair, KeyPair, KyberPreKeyRecord, PreKeyRecord,
    SignedPreKeyRecord, Timestamp as SignalTime, kem,
};
use rand::{CryptoRng, Rng};
use sealpost_proto::signal::v1::{KemPrekey, OneTimePrekey, PrekeyUpload, SignedPrekey};
use sealpost_runtime::Timestamp;

use crate::{
    SignalFault,
    state::{Change, Model, OwnIdentity, PrekeyKind},
};

/// One-time prekeys that the relay is given. Each first contact of a business spends one, so this is how many new businesses may
/// write before the device connects again.
const ONE_TIME_PREKEYS: u32 = 100;
/// One-time KEM prekeys that the relay is given. Each weighs 1.6 kB at the relay and 4.8 kB in the state, forty times an X25519
/// one, and when they run out the last-resort one keeps PQXDH going; so fewer.
const KEM_PREKEYS: u32 = 40;
/// With fewer than this many left, of either kind, the relay is given more.
const PREKEYS_LOW: u32 = 20;

const ID_MAX: u32 = 0xFF_FFFF;
const REGISTRATION_ID_MAX: u32 = 0x3FFF;
const DAY_MS: u64 = 24 * 3600 * 1000;
/// The signed prekey and the last-resort KEM prekey are renewed after a week.
const RENEW_AFTER_MS: u64 = 7 * DAY_MS;
/// A renewed prekey still opens messages for this long: longer than any message waits.
const KEEP_FOR_MS: u64 = 35 * DAY_MS;

/// The first keys of a device.
pub(crate) fn first_keys(
    now: Timestamp,
    rng: &mut (impl Rng + CryptoRng),
) -> Result<Vec<Change>, SignalFault> {
    let pair = IdentityKeyPair::generate(rng);
    let own = OwnIdentity {
        key_pair: pair.serialize().into_vec(),
        registration_id: rng.random_range(1..=REGISTRATION_ID_MAX),
    };
    let empty = Model::default();
    let mut changes = vec![Change::Identity {
        key_pair: own.key_pair,
        registration_id: own.registration_id,
    }];
    changes.extend(one_time(&empty, ONE_TIME_PREKEYS, rng)?);
    changes.push(signed(&empty, &pair, now, rng)?);
    let kems = kem_prekeys(&empty, &pair, KEM_PREKEYS, now, rng)?;
    // The last-resort prekey counts in the same row of ids.
    let last = PrekeyKind::LastResortKem;
    changes.push(kem_prekey(
        last,
        empty.next_prekey(last) + KEM_PREKEYS,
        &pair,
        now,
        rng,
    )?);
    changes.extend(kems);
    Ok(changes)
}

/// More one-time prekeys, when the relay has too few left.
pub(crate) fn refill(
    model: &Model,
    pair: &IdentityKeyPair,
    (one_time_left, kem_left): (u32, u32),
    now: Timestamp,
    rng: &mut (impl Rng + CryptoRng),
) -> Result<Vec<Change>, SignalFault> {
    let mut changes = Vec::new();
    let waiting = |kind| u32::try_from(not_uploaded(model, kind).count()).unwrap_or(u32::MAX);
    let one_time_left = one_time_left.saturating_add(waiting(PrekeyKind::OneTime));
    if one_time_left < PREKEYS_LOW {
        changes.extend(one_time(model, ONE_TIME_PREKEYS - one_time_left, rng)?);
    }
    let kem_left = kem_left.saturating_add(waiting(PrekeyKind::Kem));
    if kem_left < PREKEYS_LOW {
        changes.extend(kem_prekeys(model, pair, KEM_PREKEYS - kem_left, now, rng)?);
    }
    Ok(changes)
}

/// A new signed prekey and last-resort KEM prekey when the present ones are a week old, and the end of long-renewed ones.
pub(crate) fn renewals(
    model: &Model,
    pair: &IdentityKeyPair,
    now: Timestamp,
    rng: &mut (impl Rng + CryptoRng),
) -> Result<Vec<Change>, SignalFault> {
    let mut changes = Vec::new();
    for kind in [PrekeyKind::Signed, PrekeyKind::LastResortKem] {
        let made = made_at(model, kind)?;
        let age = |at: u64| now.as_millis().saturating_sub(at);
        if made.last().is_some_and(|(_, at)| age(*at) > RENEW_AFTER_MS) {
            changes.push(match kind {
                PrekeyKind::Signed => signed(model, pair, now, rng)?,
                _ => kem_prekey(kind, model.next_prekey(kind), pair, now, rng)?,
            });
        }
        // A prekey was current until the next one was made.
        for ((id, _), (_, replaced_at)) in made.iter().zip(made.iter().skip(1)) {
            if age(*replaced_at) > KEEP_FOR_MS {
                changes.push(Change::PrekeySpent { kind, id: *id });
            }
        }
    }
    Ok(changes)
}

/// The public halves that the relay does not have yet, and the changes to make once it has. Nothing when it has them all.
pub(crate) fn upload(model: &Model) -> Result<Option<(PrekeyUpload, Vec<Change>)>, SignalFault> {
    let own = model.identity.as_ref().ok_or(SignalFault::OwnKeys)?;
    let pair = IdentityKeyPair::try_from(own.key_pair.as_slice())?;
    let mut upload = PrekeyUpload {
        identity_key: pair.identity_key().serialize().into_vec().into(),
        registration_id: own.registration_id,
        ..PrekeyUpload::default()
    };
    for (id, record) in not_uploaded(model, PrekeyKind::OneTime) {
        let public_key = PreKeyRecord::deserialize(record)?.public_key()?.serialize();
        upload.one_time_prekeys.push(OneTimePrekey {
            id,
            public_key: public_key.into_vec().into(),
        });
    }
    for (_, record) in not_uploaded(model, PrekeyKind::Signed) {
        let record = SignedPreKeyRecord::deserialize(record)?;
        upload.signed_prekey = Some(SignedPrekey {
            id: record.id()?.into(),
            public_key: record.public_key()?.serialize().into_vec().into(),
            signature: record.signature()?.into(),
        });
    }
    for (_, record) in not_uploaded(model, PrekeyKind::Kem) {
        upload.kem_prekeys.push(kem_public(record)?);
    }
    for (_, record) in not_uploaded(model, PrekeyKind::LastResortKem) {
        upload.last_resort_kem_prekey = Some(kem_public(record)?);
    }
    let mut done = Vec::new();
    for kind in [
        PrekeyKind::OneTime,
        PrekeyKind::Signed,
        PrekeyKind::Kem,
        PrekeyKind::LastResortKem,
    ] {
        if let Some((through, _)) = not_uploaded(model, kind).last() {
            done.push(Change::PrekeysUploaded { kind, through });
        }
    }
    Ok((!done.is_empty()).then_some((upload, done)))
}

fn not_uploaded(model: &Model, kind: PrekeyKind) -> impl Iterator<Item = (u32, &[u8])> {
    let through = model.uploaded.get(&kind).copied().unwrap_or(0);
    model.prekeys_of(kind).filter(move |(id, _)| *id > through)
}

fn made_at(model: &Model, kind: PrekeyKind) -> Result<Vec<(u32, u64)>, SignalFault> {
    model
        .prekeys_of(kind)
        .map(|(id, record)| {
            let made = match kind {
                PrekeyKind::Signed => SignedPreKeyRecord::deserialize(record)?.timestamp()?,
                _ => KyberPreKeyRecord::deserialize(record)?.timestamp()?,
            };
            Ok((id, made.epoch_millis()))
        })
        .collect()
}

fn one_time(
    model: &Model,
    count: u32,
    rng: &mut (impl Rng + CryptoRng),
) -> Result<Vec<Change>, SignalFault> {
    let first = model.next_prekey(PrekeyKind::OneTime);
    (first..first.saturating_add(count))
        .filter(|id| *id <= ID_MAX)
        .map(|id| {
            let record = PreKeyRecord::new(id.into(), &KeyPair::generate(rng)).serialize()?;
            Ok(Change::Prekey {
                kind: PrekeyKind::OneTime,
                id,
                record,
            })
        })
        .collect()
}

fn signed(
    model: &Model,
    pair: &IdentityKeyPair,
    now: Timestamp,
    rng: &mut (impl Rng + CryptoRng),
) -> Result<Change, SignalFault> {
    let id = model.next_prekey(PrekeyKind::Signed);
    let key = KeyPair::generate(rng);
    let signature = pair
        .private_key()
        .calculate_signature(&key.public_key.serialize(), rng)
        .map_err(|_| SignalFault::OwnKeys)?;
    let record =
        SignedPreKeyRecord::new(id.into(), signal_time(now), &key, &signature).serialize()?;
    Ok(Change::Prekey {
        kind: PrekeyKind::Signed,
        id,
        record,
    })
}

fn kem_prekeys(
    model: &Model,
    pair: &IdentityKeyPair,
    count: u32,
    now: Timestamp,
    rng: &mut (impl Rng + CryptoRng),
) -> Result<Vec<Change>, SignalFault> {
    let first = model.next_prekey(PrekeyKind::Kem);
    (first..first.saturating_add(count))
        .filter(|id| *id <= ID_MAX)
        .map(|id| kem_prekey(PrekeyKind::Kem, id, pair, now, rng))
        .collect()
}

fn kem_prekey(
    kind: PrekeyKind,
    id: u32,
    pair: &IdentityKeyPair,
    now: Timestamp,
    rng: &mut (impl Rng + CryptoRng),
) -> Result<Change, SignalFault> {
    let key = kem::KeyPair::generate(kem::KeyType::Kyber1024, rng);
    let signature = pair
        .private_key()
        .calculate_signature(&key.public_key.serialize(), rng)
        .map_err(|_| SignalFault::OwnKeys)?;
    let record =
        KyberPreKeyRecord::new(id.into(), signal_time(now), &key, &signature).serialize()?;
    Ok(Change::Prekey { kind, id, record })
}

fn kem_public(record: &[u8]) -> Result<KemPrekey, SignalFault> {
    let record = KyberPreKeyRecord::deserialize(record)?;
    Ok(KemPrekey {
        id: record.id()?.into(),
        public_key: record.public_key()?.serialize().into_vec().into(),
        signature: record.signature()?.into(),
    })
}

fn signal_time(now: Timestamp) -> SignalTime {
    SignalTime::from_epoch_millis(now.as_millis())
}
