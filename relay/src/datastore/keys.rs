//! Public keys: taking them in, and handing them out.

use sealpost_database::{DatabaseError, Tx};
use sealpost_proto::{
    relay::v1::{PrekeysLow, inbound::Item},
    signal::v1::{DeviceAddress, DeviceBundle, KemPrekey, OneTimePrekey},
};

use super::{
    Datastore, damaged,
    devices::devices_of,
    holders::{
        Holder, holder_delete, holder_find, holder_insert, holder_set_last_resort,
        holder_set_signed_prekey,
    },
    inbound::{Coming, inbound_insert},
    numbers::{
        Number, number_by_phone, number_find, number_put, number_set_prekeys_low,
        number_set_retention,
    },
    prekeys::{Kind, prekey_count, prekey_take, prekeys_add, prekeys_clear},
};
use crate::{
    RelayError,
    bundle::PeerKeys,
    ids::{Conversation, HolderId, PhoneNumber, PhoneNumberId, Retention},
    upload::{FullUpload, Upload},
};

/// A number with fewer one-time prekeys of either kind gets an item in its queue.
const LOW_WATER: u32 = 25;
/// It gets another one only after an upload or so long, milliseconds.
const ASK_AGAIN_MS: i64 = 3600 * 1000;
/// A business is one Signal device.
const BUSINESS_DEVICE: u32 = 1;

/// A business number's keys.
#[derive(Clone, Debug)]
pub(crate) struct BusinessKeys {
    pub(crate) number: PhoneNumberId,
    pub(crate) display_name: String,
    pub(crate) keys: PeerKeys,
}

/// Which of a consumer's devices are handed out with fresh prekeys.
#[derive(Clone, Debug)]
pub(crate) enum Prekeys {
    /// None: the asker wants to know who they are.
    None,
    /// All but these.
    Unless(Vec<DeviceAddress>),
}

impl Prekeys {
    fn are_for(&self, device_id: u32, registration_id: u32) -> bool {
        match self {
            Self::None => false,
            Self::Unless(known) => !known.iter().any(|known| {
                known.device_id == device_id && known.registration_id == registration_id
            }),
        }
    }
}

impl Datastore {
    /// Makes a number known, or changes it. Its one-time prekeys are those of `keys` afterwards; without a `retention` it keeps
    /// the one that it has.
    ///
    /// # Errors
    /// `PhoneNumberTaken` or `NumberIsConsumer` when the phone number is another's.
    pub(crate) async fn register_number(
        &self,
        id: PhoneNumberId,
        phone_number: PhoneNumber,
        display_name: String,
        retention: Option<Retention>,
        keys: FullUpload,
    ) -> Result<(), RelayError> {
        self.database
            .run_tx("register_number", move |tx| {
                let (id, phone_number) = (id.clone(), phone_number.clone());
                let (display_name, keys) = (display_name.clone(), keys.clone());
                Box::pin(async move {
                    check_free(tx, &id, &phone_number).await?;
                    let before = number_find(tx, &id).await?;
                    let holder = hold(tx, before.as_ref(), &keys).await?;
                    let retention = retention
                        .or_else(|| Some(before.as_ref()?.retention))
                        .unwrap_or(Retention::LONGEST);
                    number_put(tx, &id, &phone_number, &display_name, holder, retention).await?;
                    if let Some(before) = before.filter(|before| before.holder != holder) {
                        holder_delete(tx, before.holder).await?;
                    }
                    Ok(number_set_prekeys_low(tx, &id, None).await?)
                })
            })
            .await
    }

    /// Bounds what comes from now on.
    ///
    /// # Errors
    /// `NumberUnknown`.
    pub(crate) async fn set_retention(
        &self,
        id: PhoneNumberId,
        retention: Retention,
    ) -> Result<(), RelayError> {
        self.database
            .run_tx("set_number_retention", move |tx| {
                let id = id.clone();
                Box::pin(async move {
                    if number_set_retention(tx, &id, retention).await? {
                        Ok(())
                    } else {
                        Err(RelayError::NumberUnknown)
                    }
                })
            })
            .await
    }

    /// # Errors
    /// `NumberUnknown`.
    pub(crate) async fn retention(&self, id: PhoneNumberId) -> Result<Retention, RelayError> {
        self.database
            .read("get_number", move |db| {
                Box::pin(async move {
                    let number = number_find(db, &id).await?;
                    Ok(number.ok_or(RelayError::NumberUnknown)?.retention)
                })
            })
            .await
    }

    /// # Errors
    /// `NumberUnknown`, `IdentityDiffers` or `PrekeysFull`.
    pub(crate) async fn upload_for_number(
        &self,
        id: PhoneNumberId,
        upload: Upload,
    ) -> Result<(), RelayError> {
        self.database
            .run_tx("upload_number_prekeys", move |tx| {
                let (id, upload) = (id.clone(), upload.clone());
                Box::pin(async move {
                    let number = number_find(tx, &id)
                        .await?
                        .ok_or(RelayError::NumberUnknown)?;
                    refill(tx, number.holder, &upload).await?;
                    Ok(number_set_prekeys_low(tx, &id, None).await?)
                })
            })
            .await
    }

    /// # Errors
    /// `DeviceUnknown`, `IdentityDiffers` or `PrekeysFull`.
    pub(crate) async fn upload_for_device(
        &self,
        holder: HolderId,
        upload: Upload,
    ) -> Result<(), RelayError> {
        self.database
            .run_tx("upload_prekeys", move |tx| {
                let upload = upload.clone();
                Box::pin(async move { refill(tx, holder, &upload).await })
            })
            .await
    }

    /// One-time prekeys and one-time KEM prekeys that are left.
    pub(crate) async fn prekey_counts(&self, holder: HolderId) -> Result<(u32, u32), RelayError> {
        self.database
            .read("get_prekey_count", move |db| {
                Box::pin(async move {
                    let curve = prekey_count(db, holder, Kind::Curve).await?;
                    Ok((curve, prekey_count(db, holder, Kind::Kem).await?))
                })
            })
            .await
    }

    /// The keys of all of a consumer's devices, with fresh prekeys for those that `prekeys` says.
    ///
    /// # Errors
    /// `NumberUnknown` when nobody of that name may ask; `PeerUnknown`.
    pub(crate) async fn peer_keys(
        &self,
        requester: PhoneNumberId,
        peer: PhoneNumber,
        prekeys: Prekeys,
        now: i64,
    ) -> Result<PeerKeys, RelayError> {
        self.database
            .run_tx("fetch_bundle", move |tx| {
                let (requester, peer, prekeys) = (requester.clone(), peer.clone(), prekeys.clone());
                Box::pin(async move {
                    number_find(tx, &requester)
                        .await?
                        .ok_or(RelayError::NumberUnknown)?;
                    let mut identity_key = None;
                    let mut devices = Vec::new();
                    for device in devices_of(tx, &peer).await? {
                        let fresh = prekeys.are_for(device.device_id, device.registration_id);
                        let holder = stored(tx, device.holder).await?;
                        devices.push(
                            bundle(tx, device.device_id, device.holder, &holder, fresh, now)
                                .await?,
                        );
                        identity_key = Some(holder.identity_key);
                    }
                    let identity_key = identity_key.ok_or(RelayError::PeerUnknown)?;
                    Ok(PeerKeys {
                        identity_key,
                        devices,
                    })
                })
            })
            .await
    }

    /// The keys of the business number that is reached by `phone_number`; fresh prekeys when asked for.
    ///
    /// # Errors
    /// `NumberUnknown`.
    pub(crate) async fn business_keys(
        &self,
        phone_number: PhoneNumber,
        with_prekeys: bool,
        now: i64,
    ) -> Result<BusinessKeys, RelayError> {
        self.database
            .run_tx("fetch_business_bundle", move |tx| {
                let phone_number = phone_number.clone();
                Box::pin(async move {
                    let number = number_by_phone(tx, &phone_number)
                        .await?
                        .ok_or(RelayError::NumberUnknown)?;
                    let holder = stored(tx, number.holder).await?;
                    let device = bundle(
                        tx,
                        BUSINESS_DEVICE,
                        number.holder,
                        &holder,
                        with_prekeys,
                        now,
                    )
                    .await?;
                    if with_prekeys {
                        ask_for_more(tx, &number, now).await?;
                    }
                    Ok(BusinessKeys {
                        number: number.id,
                        display_name: number.display_name,
                        keys: PeerKeys {
                            identity_key: holder.identity_key,
                            devices: vec![device],
                        },
                    })
                })
            })
            .await
    }
}

/// Whether a number may have this phone number.
async fn check_free(
    tx: &mut Tx,
    id: &PhoneNumberId,
    phone_number: &PhoneNumber,
) -> Result<(), RelayError> {
    if number_by_phone(tx, phone_number)
        .await?
        .is_some_and(|other| other.id != *id)
    {
        return Err(RelayError::PhoneNumberTaken);
    }
    let mut consumers = vec![phone_number.clone()];
    consumers.extend(PhoneNumber::parse(id.as_str()));
    for consumer in consumers {
        if !devices_of(tx, &consumer).await?.is_empty() {
            return Err(RelayError::NumberIsConsumer);
        }
    }
    Ok(())
}

/// The holder of a number's keys: the same for the same identity and registration, so that what was handed out stays spent.
async fn hold(
    tx: &mut Tx,
    before: Option<&Number>,
    keys: &FullUpload,
) -> Result<HolderId, RelayError> {
    if let Some(before) = before
        && stored(tx, before.holder).await?.made(&keys.upload)
    {
        prekeys_clear(tx, before.holder).await?;
        refill(tx, before.holder, &keys.upload).await?;
        return Ok(before.holder);
    }
    let holder = holder_insert(tx, keys).await?;
    prekeys_add(tx, holder, &keys.upload).await?;
    Ok(holder)
}

async fn refill(tx: &mut Tx, id: HolderId, upload: &Upload) -> Result<(), RelayError> {
    let holder = holder_find(tx, id)
        .await?
        .ok_or(RelayError::DeviceUnknown)?;
    if !holder.made(upload) {
        return Err(RelayError::IdentityDiffers);
    }
    if let Some(prekey) = &upload.signed_prekey {
        holder_set_signed_prekey(tx, id, prekey).await?;
    }
    if let Some(prekey) = &upload.last_resort {
        holder_set_last_resort(tx, id, prekey).await?;
    }
    prekeys_add(tx, id, upload).await
}

async fn stored(tx: &mut Tx, id: HolderId) -> Result<Holder, DatabaseError> {
    damaged(holder_find(tx, id).await?)
}

async fn bundle(
    tx: &mut Tx,
    device_id: u32,
    id: HolderId,
    holder: &Holder,
    with_prekeys: bool,
    now: i64,
) -> Result<DeviceBundle, DatabaseError> {
    let mut bundle = DeviceBundle {
        device_id,
        registration_id: holder.registration_id,
        ..Default::default()
    };
    if with_prekeys {
        let curve = prekey_take(tx, id, Kind::Curve, now).await?;
        let kem = prekey_take(tx, id, Kind::Kem, now).await?;
        bundle.signed_prekey = Some(holder.signed_prekey.clone());
        bundle.one_time_prekey = curve.map(|prekey| OneTimePrekey {
            id: prekey.id,
            public_key: prekey.public_key,
        });
        bundle.kem_prekey = Some(match kem {
            Some(prekey) => KemPrekey {
                id: prekey.id,
                public_key: prekey.public_key,
                signature: damaged(prekey.signature)?,
            },
            None => holder.last_resort.clone(),
        });
    }
    Ok(bundle)
}

/// Puts one item into the gateways' queue when a number's prekeys run out.
async fn ask_for_more(tx: &mut Tx, number: &Number, now: i64) -> Result<(), DatabaseError> {
    if number
        .prekeys_low_at
        .is_some_and(|at| now - at < ASK_AGAIN_MS)
    {
        return Ok(());
    }
    let low = PrekeysLow {
        one_time_prekeys: prekey_count(tx, number.holder, Kind::Curve).await?,
        kem_prekeys: prekey_count(tx, number.holder, Kind::Kem).await?,
    };
    if low.one_time_prekeys.min(low.kem_prekeys) >= LOW_WATER {
        return Ok(());
    }
    number_set_prekeys_low(tx, &number.id, Some(now)).await?;
    let about = Conversation {
        number: number.id.clone(),
        peer: None,
    };
    let expires_at = number.retention.ends(now);
    let coming = Coming {
        conversation: about,
        item: Item::PrekeysLow(low),
        expires_at,
    };
    inbound_insert(tx, coming, now).await?;
    Ok(())
}
