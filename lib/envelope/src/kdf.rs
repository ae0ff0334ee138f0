//! HKDF-SHA256 (RFC 5869), HMAC-SHA256 (RFC 2104) and SHA-256, from ring, over secrets.
//!
//! ring does not wipe its HMAC states: like the AEAD's, they live for one call.

use ring::{digest, hkdf, hmac};

use crate::{EnvelopeError, Secret};

/// `N` bytes of HKDF-SHA256; `info` is the concatenation of its parts.
///
/// # Errors
/// [`EnvelopeError::Malformed`] when `N` is over RFC 5869's limit of 8,160.
pub fn hkdf_sha256<const N: usize>(
    salt: &[u8],
    ikm: &[u8],
    info: &[&[u8]],
) -> Result<Secret<N>, EnvelopeError> {
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(ikm);
    let okm = prk
        .expand(info, OutputLen(N))
        .map_err(|_| EnvelopeError::Malformed("HKDF output length"))?;
    Secret::try_fill(|bytes| {
        okm.fill(bytes)
            .map_err(|_| EnvelopeError::Malformed("HKDF output length"))
    })
}

/// HMAC-SHA256 over the concatenation of `parts`.
#[must_use]
pub fn hmac_sha256(key: &Secret<32>, parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key.expose()));
    for part in parts {
        context.update(part);
    }
    array(context.sign().as_ref())
}

/// SHA-256 over the concatenation of `parts`.
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    array(context.finish().as_ref())
}

/// The first 16 bytes of SHA-256: how this format names keys.
pub(crate) fn short_sha256(parts: &[&[u8]]) -> [u8; 16] {
    first_16(&sha256(parts))
}

pub(crate) fn first_16(bytes: &[u8; 32]) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&bytes[..16]);
    short
}

fn array(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(bytes);
    out
}

struct OutputLen(usize);

impl hkdf::KeyType for OutputLen {
    fn len(&self) -> usize {
        self.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn hkdf_is_that_of_rfc_5869_case_3_with_empty_salt() {
        let okm: Secret<42> = hkdf_sha256(b"", &[0x0b; 22], &[]).unwrap();
        let expected =
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8";
        assert_eq!(hex::encode(okm.expose()), expected);
    }

    #[test]
    fn parts_are_concatenated() {
        let key = Secret::from_bytes([1; 32]);
        assert_eq!(
            hmac_sha256(&key, &[b"ab", b"c"]),
            hmac_sha256(&key, &[b"abc"])
        );
        assert_eq!(sha256(&[b"ab", b"", b"c"]), sha256(&[b"abc"]));
    }
}
