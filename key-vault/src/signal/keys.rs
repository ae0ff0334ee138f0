//! Public keys from outside.
//!
//! libsignal 0.85.3 computes on with public keys of low order, whose agreement is zero whatever the private key. An honest
//! key is a multiple of the base point in its only encoding, so everything else is refused here: low order, mixed order,
//! on the twist, not reduced.

use libsignal_protocol::{IdentityKey, PublicKey, kem};

use super::SignalError;
use crate::subject::PUBLIC_KEY_LEN;

const KYBER_1024_LEN: usize = 1_569;

/// Reads a Curve25519 public key.
///
/// # Errors
/// [`SignalError::Malformed`].
pub(crate) fn public_key(bytes: &[u8]) -> Result<PublicKey, SignalError> {
    if bytes.len() != PUBLIC_KEY_LEN {
        return Err(SignalError::Malformed);
    }
    let key = PublicKey::deserialize(bytes).map_err(|_| SignalError::Malformed)?;
    check(&key)?;
    Ok(key)
}

/// Reads an identity key.
///
/// # Errors
/// [`SignalError::Malformed`].
pub(crate) fn identity_key(bytes: &[u8]) -> Result<IdentityKey, SignalError> {
    public_key(bytes).map(IdentityKey::new)
}

/// Reads an identity key that was checked when it was pinned or loaded. The check is dearer than encrypting a message.
///
/// # Errors
/// [`SignalError::State`].
pub(crate) fn pinned_identity_key(
    bytes: &[u8; PUBLIC_KEY_LEN],
) -> Result<IdentityKey, SignalError> {
    IdentityKey::decode(bytes).map_err(|_| SignalError::State)
}

/// Reads a Kyber-1024 public key.
///
/// # Errors
/// [`SignalError::Malformed`].
pub(crate) fn kem_key(bytes: &[u8]) -> Result<kem::PublicKey, SignalError> {
    let key = kem::PublicKey::deserialize(bytes).map_err(|_| SignalError::Malformed)?;
    if bytes.len() != KYBER_1024_LEN || key.key_type() != kem::KeyType::Kyber1024 {
        return Err(SignalError::Malformed);
    }
    Ok(key)
}

/// Refuses a key that libsignal has parsed out of a message.
///
/// # Errors
/// [`SignalError::Malformed`].
pub(super) fn check(key: &PublicKey) -> Result<(), SignalError> {
    if key.is_canonical() {
        Ok(())
    } else {
        Err(SignalError::Malformed)
    }
}

/// Keys that no honest party makes, each with what is wrong with it.
#[cfg(test)]
pub(crate) fn bad_keys() -> Vec<(&'static str, [u8; 32])> {
    let small = |first| {
        let mut bytes = [0; 32];
        bytes[0] = first;
        bytes
    };
    let near_p = |first| {
        let mut bytes = [0xff; 32];
        bytes[0] = first;
        bytes[31] = 0x7f;
        bytes
    };
    let order_8 = |text: &str| {
        <[u8; 32]>::try_from(hex::decode(text).unwrap_or_default()).unwrap_or_default()
    };
    let mut list = vec![
        ("zero, order 2", small(0)),
        ("one, order 4", small(1)),
        (
            "order 8",
            order_8("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
        ),
        (
            "order 8",
            order_8("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
        ),
        ("p - 1, on the twist", near_p(0xec)),
        ("p, zero again", near_p(0xed)),
        ("p + 1, one again", near_p(0xee)),
        ("p + 9, the base point again", near_p(0xf6)),
        ("two, on the twist", small(2)),
    ];
    let mut high = small(9);
    high[31] = 0x80;
    list.push(("the base point with the top bit set", high));
    for at in 0..4 {
        let (_, mut bytes) = list[at];
        bytes[31] |= 0x80;
        list.push(("low order with the top bit set", bytes));
    }
    list
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use libsignal_protocol::KeyPair;
    use rand::{TryRngCore, rngs::OsRng};

    use super::*;

    #[test]
    fn keys_of_low_order_on_the_twist_or_not_reduced_are_refused() {
        for (what, bytes) in bad_keys() {
            let serialised = [&[5][..], &bytes].concat();
            assert_eq!(
                public_key(&serialised).err(),
                Some(SignalError::Malformed),
                "{what}"
            );
        }
    }

    #[test]
    fn honest_keys_pass() {
        for _ in 0..50 {
            let key = KeyPair::generate(&mut OsRng.unwrap_err()).public_key;
            assert_eq!(public_key(&key.serialize()).unwrap(), key);
        }
    }

    #[test]
    fn a_key_of_another_type_or_length_is_refused() {
        let key = KeyPair::generate(&mut OsRng.unwrap_err())
            .public_key
            .serialize();
        assert!(public_key(&key[..32]).is_err());
        assert!(public_key(&[&key[..], &[0]].concat()).is_err());
        assert!(public_key(&[&[6], &key[1..]].concat()).is_err());
        assert!(kem_key(&[8; 1568]).is_err());
        let good = kem::KeyPair::generate(kem::KeyType::Kyber1024, &mut OsRng.unwrap_err())
            .public_key
            .serialize();
        assert!(kem_key(&good).is_ok());
        assert!(kem_key(&[&[7], &good[1..]].concat()).is_err());
        assert!(kem_key(&[&good[..], &[0]].concat()).is_err());
    }
}
