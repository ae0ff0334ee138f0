//! Public keys that agree on nothing: points of small order, for which every X25519 agreement gives zero.
//!
//! libsignal 0.85.3 computes on with them, so they are refused at the door: in bundles and in messages (RFC 7748, section 6.1).

use libsignal_protocol::{CiphertextMessage, PreKeySignalMessage, PublicKey, SignalMessage};

use crate::SignalFault;

/// The u-coordinates of order 1, 2, 4 and 8 and their forms above the prime, as hex of 32 little-endian bytes.
const LOW_ORDER: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

/// Refuses a key of low order.
///
/// # Errors
/// [`SignalFault::LowOrderKey`].
pub(crate) fn refuse(key: &PublicKey) -> Result<(), SignalFault> {
    let mut u = key.public_key_bytes().to_vec();
    if let Some(last) = u.last_mut() {
        *last &= 0x7f; // X25519 ignores the top bit.
    }
    if LOW_ORDER.contains(&hex::encode(u).as_str()) {
        Err(SignalFault::LowOrderKey)
    } else {
        Ok(())
    }
}

/// Refuses a message with such a key in it.
///
/// # Errors
/// [`SignalFault::LowOrderKey`].
pub(crate) fn refuse_in(message: &CiphertextMessage) -> Result<(), SignalFault> {
    match message {
        CiphertextMessage::SignalMessage(message) => in_message(message),
        CiphertextMessage::PreKeySignalMessage(message) => in_prekey_message(message),
        _ => Err(SignalFault::Undecryptable),
    }
}

fn in_prekey_message(message: &PreKeySignalMessage) -> Result<(), SignalFault> {
    refuse(message.base_key())?;
    refuse(message.identity_key().public_key())?;
    in_message(message.message())
}

fn in_message(message: &SignalMessage) -> Result<(), SignalFault> {
    refuse(message.sender_ratchet_key())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use libsignal_protocol::PrivateKey;

    use super::*;

    fn agreement(key: &PublicKey) -> Box<[u8]> {
        PrivateKey::deserialize(&[0x42; 32])
            .unwrap()
            .calculate_agreement(key)
            .unwrap()
    }

    #[test]
    fn exactly_the_listed_keys_agree_on_zero_in_libsignal() {
        for point in LOW_ORDER {
            for top_bit in [0, 0x80] {
                let mut bytes = hex::decode(point).unwrap();
                bytes[31] |= top_bit;
                let key = PublicKey::from_djb_public_key_bytes(&bytes).unwrap();
                assert!(agreement(&key).iter().all(|byte| *byte == 0), "{point}");
                assert_eq!(refuse(&key), Err(SignalFault::LowOrderKey));
            }
        }
        for first in [2, 9, 0xeb, 0xef] {
            let mut bytes = if first < 10 { [0; 32] } else { [0xff; 32] };
            bytes[0] = first;
            bytes[31] &= 0x7f;
            let key = PublicKey::from_djb_public_key_bytes(&bytes).unwrap();
            assert!(agreement(&key).iter().any(|byte| *byte != 0), "{first}");
            assert_eq!(refuse(&key), Ok(()));
        }
    }
}
