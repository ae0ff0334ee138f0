//! X25519 inputs that multiply to zero (RFC 7748, 6.1): refused wherever an X-Wing key or `enc` comes in.
//!
//! The HPKE library computes on with them; other languages' libraries fail. Refusing makes all agree.

/// The u-coordinates of order 1, 2, 4 and 8, little-endian, and the two non-canonical forms below 2^255.
const LOW_ORDER: [[u8; 32]; 7] = [
    [0; 32],
    small(1),
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
        0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f,
        0x11, 0x57,
    ],
    near_p(0xec),
    near_p(0xed),
    near_p(0xee),
];

/// Whether the last 32 bytes, the X25519 half of an X-Wing key or ciphertext, are of low order. Public data.
pub(crate) fn has_low_order_x25519(bytes: &[u8]) -> bool {
    let Some(x25519) = bytes.last_chunk::<32>() else {
        return true;
    };
    let mut u = *x25519;
    u[31] &= 0x7f; // X25519 ignores the top bit.
    LOW_ORDER.contains(&u)
}

const fn small(u: u8) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[0] = u;
    bytes
}

/// 2^255 − 19 − 0xed + `first`.
const fn near_p(first: u8) -> [u8; 32] {
    let mut bytes = [0xff; 32];
    bytes[0] = first;
    bytes[31] = 0x7f;
    bytes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ring::{agreement, rand::SystemRandom};

    fn ring_refuses(u: &[u8; 32]) -> bool {
        let key =
            agreement::EphemeralPrivateKey::generate(&agreement::X25519, &SystemRandom::new())
                .unwrap();
        let peer = agreement::UnparsedPublicKey::new(&agreement::X25519, u);
        agreement::agree_ephemeral(key, &peer, |_| ()).is_err()
    }

    #[test]
    fn every_listed_point_gives_zero_with_and_without_the_top_bit() {
        for point in LOW_ORDER {
            let mut high = point;
            high[31] |= 0x80;
            for u in [point, high] {
                assert!(has_low_order_x25519(&u));
                assert!(ring_refuses(&u), "{u:02x?}");
            }
        }
    }

    #[test]
    fn neighbours_of_listed_points_pass() {
        for point in [small(2), small(9), near_p(0xeb), near_p(0xef)] {
            assert!(!has_low_order_x25519(&point));
            assert!(!ring_refuses(&point));
        }
    }
}
