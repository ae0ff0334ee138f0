//! Access tokens.
//!
//! Owns their text and what is kept of it. A token is 32 random bytes, so a plain SHA-256 is all that is needed at
//! rest: there is nothing to guess and nothing that a salt or a slow hash would slow down.

use std::fmt;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};
use sealpost_proto::directory::v1::Scope;

/// A token's text. It has no `Debug` and no `Display`, so it goes nowhere but into its one answer.
pub(crate) struct TokenText(String);

impl TokenText {
    /// `sp_` and 43 characters of base64url.
    pub(crate) fn from_random(bytes: [u8; 32]) -> Self {
        Self(format!("sp_{}", BASE64_URL_SAFE_NO_PAD.encode(bytes)))
    }

    pub(crate) fn digest(&self) -> TokenDigest {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, self.0.as_bytes()).as_ref());
        TokenDigest(bytes)
    }

    /// For the answer to the operator who asked for it.
    pub(crate) fn reveal(self) -> String {
        self.0
    }
}

/// SHA-256 of a token's text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct TokenDigest([u8; 32]);

impl TokenDigest {
    pub(crate) fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest(..)")
    }
}

/// What a token may do; bit n is scope n of the contract.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Scopes(i64);

impl Scopes {
    const ALL: [Scope; 3] = [Scope::Send, Scope::Receive, Scope::ReadNumbers];

    /// From the contract's numbers; `None` when one of them is none of ours.
    pub(crate) fn from_wire(scopes: &[i32]) -> Option<Self> {
        scopes.iter().try_fold(Self(0), |bits, number| {
            let known = Self::ALL.iter().any(|scope| *scope as i32 == *number);
            // Lazily: a shift by an unknown number may overflow.
            known.then(|| Self(bits.0 | (1 << number)))
        })
    }

    pub(crate) fn from_bits(bits: i64) -> Self {
        Self(bits)
    }

    pub(crate) fn bits(self) -> i64 {
        self.0
    }

    pub(crate) fn to_wire(self) -> Vec<i32> {
        let ours = Self::ALL.map(|scope| scope as i32);
        ours.into_iter()
            .filter(|number| self.0 & (1 << number) != 0)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_token_is_its_prefix_and_256_bits() {
        let text = TokenText::from_random([0xff; 32]).reveal();
        assert_eq!(text, format!("sp_{}8", "_".repeat(42)));
    }

    #[test]
    fn the_digest_is_sha256_of_the_whole_text() {
        let token = TokenText::from_random([7; 32]);
        let kept = token.digest();
        let expected = digest(&SHA256, token.reveal().as_bytes());
        assert_eq!(kept.as_bytes(), expected.as_ref());
    }

    #[test]
    fn scopes_read_back_and_unknown_ones_are_refused() {
        let scopes = Scopes::from_wire(&[3, 1, 1]).unwrap();
        assert_eq!(scopes.to_wire(), [1, 3]);
        assert_eq!(Scopes::from_bits(scopes.bits()), scopes);
        for wrong in [0, 4, -1, 64, i32::MIN] {
            assert_eq!(Scopes::from_wire(&[wrong]), None, "{wrong}");
        }
    }
}
