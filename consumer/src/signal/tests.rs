#![allow(clippy::unwrap_used)]
use libsignal_protocol::{
    GenericSignedPreKey, IdentityKeyPair, KeyPair, KyberPreKeyRecord, PreKeySignalMessage,
    PublicKey, SignalMessage, kem,
};
use prost::Message;
use rand::{SeedableRng, rngs::StdRng};
use sealpost_proto::signal::v1::{BundleStatement, DeviceBundle, PrekeyUpload, SignedBundle};
use sealpost_runtime::Timestamp;

use super::*;
use crate::{
    SignalFault,
    ids::{PhoneNumber, PhoneNumberId},
    state::{Change, PrekeyKind, State},
};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn device(seed: u64) -> (State, StdRng) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut state = State::in_memory();
    state.commit(first_keys(NOW, &mut rng).unwrap()).unwrap();
    (state, rng)
}

fn alice() -> PhoneNumberId {
    "1".parse().unwrap()
}

fn public_half(state: &State) -> PrekeyUpload {
    upload(state.model()).unwrap().unwrap().0
}

fn bundle(keys: &PrekeyUpload, last_resort: bool) -> Bundle {
    let asker: PhoneNumber = "15550001111".parse().unwrap();
    let kem = if last_resort {
        keys.last_resort_kem_prekey.clone()
    } else {
        keys.kem_prekeys.first().cloned()
    };
    let statement = BundleStatement {
        domain: "sealpost/prekey-bundle/v1".into(),
        requester: asker.as_str().into(),
        peer: "1".into(),
        identity_key: keys.identity_key.clone(),
        devices: vec![DeviceBundle {
            device_id: 1,
            registration_id: keys.registration_id,
            signed_prekey: keys.signed_prekey.clone(),
            one_time_prekey: if last_resort {
                None
            } else {
                keys.one_time_prekeys.first().cloned()
            },
            kem_prekey: kem,
        }],
        issued_at_ms: NOW.as_millis(),
        expires_at_ms: NOW.as_millis() + 1,
    };
    let signed = SignedBundle {
        statement: statement.encode_to_vec().into(),
        signature: vec![0; 64].into(),
    };
    Bundle::read(&signed, &asker, &alice(), NOW).unwrap()
}

/// A prekey message from one device to the other, as bytes.
fn first_message(
    from: &mut State,
    rng: &mut StdRng,
    to: &PrekeyUpload,
    last_resort: bool,
) -> Vec<u8> {
    let mut draft = Draft::of(from.model());
    let effects = establish(&draft, &alice(), &bundle(to, last_resort), NOW, rng).unwrap();
    draft.absorb(&alice(), effects);
    let (kind, ciphertext, effects) = encrypt(&draft, &alice(), b"hello", NOW, rng).unwrap();
    draft.absorb(&alice(), effects);
    let changes = draft.finish();
    from.commit(changes).unwrap();
    assert_eq!(kind, 3);
    ciphertext
}

fn open(
    state: &mut State,
    rng: &mut StdRng,
    kind: u8,
    ciphertext: &[u8],
) -> Result<Vec<u8>, SignalFault> {
    let mut draft = Draft::of(state.model());
    let (plain, effects) = decrypt(&draft, &alice(), kind, ciphertext, rng)?;
    draft.absorb(&alice(), effects);
    let changes = draft.finish();
    state.commit(changes).unwrap();
    Ok(plain.to_vec())
}

fn low() -> PublicKey {
    PublicKey::from_djb_public_key_bytes(&[0; 32]).unwrap()
}

#[test]
fn messages_with_a_key_of_low_order_are_refused() {
    let (mut sender, mut rng) = device(1);
    let (mut receiver, _) = device(2);
    let keys = public_half(&receiver);
    let ciphertext = first_message(&mut sender, &mut rng, &keys, false);
    let good = PreKeySignalMessage::try_from(&*ciphertext).unwrap();
    let inner = good.message();
    let key = KeyPair::generate(&mut rng).public_key;
    let identity = IdentityKeyPair::generate(&mut rng);

    let with = |base_key: PublicKey, identity_key: PublicKey, message: SignalMessage| {
        let kem = libsignal_protocol::KyberPayload::new(
            good.kyber_pre_key_id().unwrap(),
            good.kyber_ciphertext().unwrap().clone(),
        );
        PreKeySignalMessage::new(
            good.message_version(),
            good.registration_id(),
            good.pre_key_id(),
            good.signed_pre_key_id(),
            Some(kem),
            base_key,
            identity_key.into(),
            message,
        )
        .unwrap()
    };
    let low_ratchet = SignalMessage::new(
        inner.message_version(),
        &[0; 32],
        low(),
        0,
        0,
        inner.body(),
        identity.identity_key(),
        identity.identity_key(),
        inner.pq_ratchet(),
    )
    .unwrap();
    let own = *good.identity_key().public_key();
    for spoiled in [
        with(low(), own, inner.clone()),
        with(*good.base_key(), low(), inner.clone()),
        with(*good.base_key(), own, low_ratchet.clone()),
    ] {
        let refused = open(&mut receiver, &mut rng, 3, spoiled.serialized());
        assert_eq!(refused, Err(SignalFault::LowOrderKey));
    }
    assert_eq!(
        open(&mut receiver, &mut rng, 2, low_ratchet.serialized()),
        Err(SignalFault::LowOrderKey)
    );
    // Another key is refused for another reason, and the good message still opens.
    let other = with(key, own, inner.clone());
    assert_eq!(
        open(&mut receiver, &mut rng, 3, other.serialized()),
        Err(SignalFault::Undecryptable)
    );
    assert_eq!(
        open(&mut receiver, &mut rng, 3, &ciphertext).unwrap(),
        b"hello"
    );
}

#[test]
fn one_time_prekeys_are_spent_by_their_use_and_a_repeat_is_a_duplicate() {
    let (mut sender, mut rng) = device(1);
    let (mut receiver, _) = device(2);
    let keys = public_half(&receiver);
    let ciphertext = first_message(&mut sender, &mut rng, &keys, false);
    let ids = |kind| receiver_ids(&receiver, kind);
    assert_eq!((ids(PrekeyKind::OneTime), ids(PrekeyKind::Kem)), (100, 40));
    open(&mut receiver, &mut rng, 3, &ciphertext).unwrap();
    let ids = |kind| receiver_ids(&receiver, kind);
    assert_eq!((ids(PrekeyKind::OneTime), ids(PrekeyKind::Kem)), (99, 39));
    assert_eq!(
        open(&mut receiver, &mut rng, 3, &ciphertext),
        Err(SignalFault::Duplicate)
    );

    let (mut other, mut rng) = device(3);
    let reused = first_message(&mut other, &mut rng, &keys, false);
    assert_eq!(
        open(&mut receiver, &mut rng, 3, &reused),
        Err(SignalFault::UnknownPrekey)
    );
}

fn receiver_ids(state: &State, kind: PrekeyKind) -> usize {
    state.model().prekeys_of(kind).count()
}

#[test]
fn a_base_key_opens_the_last_resort_prekey_once() {
    let (mut sender, mut rng) = device(1);
    let (mut receiver, _) = device(2);
    let keys = public_half(&receiver);
    let ciphertext = first_message(&mut sender, &mut rng, &keys, true);
    open(&mut receiver, &mut rng, 3, &ciphertext).unwrap();
    // Though the session is gone, the same handshake does not make another.
    receiver
        .commit(vec![Change::SessionDropped { number: alice() }])
        .unwrap();
    assert_eq!(
        open(&mut receiver, &mut rng, 3, &ciphertext),
        Err(SignalFault::Undecryptable)
    );
    let (mut other, mut rng) = device(3);
    receiver
        .commit(vec![Change::SessionDropped { number: alice() }])
        .unwrap();
    let fresh = first_message(&mut other, &mut rng, &keys, true);
    assert_eq!(open(&mut receiver, &mut rng, 3, &fresh).unwrap(), b"hello");
}

#[test]
fn uploads_have_the_shapes_of_the_contract() {
    let (state, _) = device(1);
    let keys = public_half(&state);
    let identity = PublicKey::deserialize(&keys.identity_key).unwrap();
    assert!((1..=0x3FFF).contains(&keys.registration_id));
    assert_eq!(
        (keys.one_time_prekeys.len(), keys.kem_prekeys.len()),
        (100, 40)
    );
    let signed = keys.signed_prekey.unwrap();
    assert_eq!((signed.public_key.len(), signed.signature.len()), (33, 64));
    assert!(identity.verify_signature(&signed.public_key, &signed.signature));
    for kem in keys.kem_prekeys.iter().chain(&keys.last_resort_kem_prekey) {
        assert_eq!((kem.public_key.len(), kem.public_key[0]), (1569, 8));
        assert!(identity.verify_signature(&kem.public_key, &kem.signature));
        let key = kem::PublicKey::deserialize(&kem.public_key).unwrap();
        assert!(key.key_type() == kem::KeyType::Kyber1024);
    }
    assert!(
        keys.one_time_prekeys
            .iter()
            .all(|prekey| prekey.public_key.len() == 33 && prekey.id >= 1)
    );
}

#[test]
fn long_renewed_prekeys_are_forgotten() {
    let (mut state, mut rng) = device(1);
    let week = std::time::Duration::from_secs(8 * 24 * 3600);
    let mut now = NOW;
    for _ in 0..7 {
        now = now + week;
        let (pair, _) = Draft::of(state.model()).own().unwrap();
        let renewed = renewals(state.model(), &pair, now, &mut rng).unwrap();
        state.commit(renewed).unwrap();
    }
    let made: Vec<_> = state
        .model()
        .prekeys_of(PrekeyKind::LastResortKem)
        .map(|(_, record)| {
            KyberPreKeyRecord::deserialize(record)
                .unwrap()
                .timestamp()
                .unwrap()
                .epoch_millis()
        })
        .collect();
    // Made on days 0, 8, …, 56. On day 56 the two that were replaced by day 21 are past their 35 days.
    assert_eq!(made.len(), 6);
    assert_eq!(receiver_ids(&state, PrekeyKind::Signed), 6);
    assert_eq!(*made.last().unwrap(), now.as_millis());
    let again = renewals(
        state.model(),
        &Draft::of(state.model()).own().unwrap().0,
        now,
        &mut rng,
    )
    .unwrap();
    assert!(again.is_empty());
}

#[test]
fn a_ciphertext_of_another_kind_than_it_says_is_refused() {
    let (mut sender, mut rng) = device(1);
    let (mut receiver, _) = device(2);
    let keys = public_half(&receiver);
    let ciphertext = first_message(&mut sender, &mut rng, &keys, false);
    for kind in [0, 1, 2, 4, 7, 8, 255] {
        assert!(
            open(&mut receiver, &mut rng, kind, &ciphertext).is_err(),
            "{kind}"
        );
    }
    assert_eq!(
        open(&mut receiver, &mut rng, 3, &ciphertext).unwrap(),
        b"hello"
    );
}
