//! Secret bytes of a fixed length. Owns their wiping; knows nothing of what they are for.
//!
//! Invariant: no trait of [`Secret`] copies, prints, serialises or compares the bytes in variable time.

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::{Entropy, EnvelopeError};

/// `N` secret bytes, wiped on drop. They lie on the heap, so that moving the value leaves no copy behind.
pub struct Secret<const N: usize>(Box<[u8; N]>);

impl<const N: usize> Secret<N> {
    /// Fresh random bytes.
    ///
    /// # Errors
    /// [`EnvelopeError::NoRandomness`].
    pub fn generate(entropy: &mut dyn Entropy) -> Result<Self, EnvelopeError> {
        Self::try_fill(|bytes| entropy.fill(bytes))
    }

    /// Takes the bytes over; the array that came in is wiped.
    #[must_use]
    pub fn from_bytes(bytes: [u8; N]) -> Self {
        let bytes = Zeroizing::new(bytes);
        let mut secret = Box::new([0; N]);
        secret.copy_from_slice(bytes.as_slice());
        Self(secret)
    }

    /// Copies from a slice of exactly `N` bytes; wiping the slice stays with its owner.
    ///
    /// # Errors
    /// [`EnvelopeError::Malformed`] for another length.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        if bytes.len() != N {
            return Err(EnvelopeError::Malformed("secret"));
        }
        let mut secret = Box::new([0; N]);
        secret.copy_from_slice(bytes);
        Ok(Self(secret))
    }

    /// The bytes, for the one call that needs them.
    #[must_use]
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }

    /// Equality in constant time.
    #[must_use]
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }

    /// Lets `fill` write straight into the place that will be wiped.
    pub(crate) fn try_fill(
        fill: impl FnOnce(&mut [u8; N]) -> Result<(), EnvelopeError>,
    ) -> Result<Self, EnvelopeError> {
        let mut secret = Self(Box::new([0; N]));
        fill(&mut secret.0)?;
        Ok(secret)
    }
}

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<const N: usize> zeroize::ZeroizeOnDrop for Secret<N> {}

/// Fails to compile when the type implements the trait: the inherent choice of `A` becomes ambiguous.
#[cfg(test)]
macro_rules! assert_not_impl {
    ($type:ty: $($bound:path),+) => {$(
        const _: fn() = || {
            trait Refuses<A> { fn check() {} }
            impl<T: ?Sized> Refuses<()> for T {}
            impl<T: ?Sized + $bound> Refuses<u8> for T {}
            let _ = <$type as Refuses<_>>::check;
        };
    )+};
}
#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    assert_not_impl!(Secret<32>: Clone, std::fmt::Debug, std::fmt::Display, PartialEq, AsRef<[u8]>);
    assert_not_impl!(crate::HpkeSecretKey: Clone, std::fmt::Debug, PartialEq);
    assert_not_impl!(crate::SigningKey: Clone, std::fmt::Debug, PartialEq);
    assert_not_impl!(crate::ContentKey: Clone, std::fmt::Debug, PartialEq);
    assert_not_impl!(crate::aead::AeadKey: Clone, std::fmt::Debug, PartialEq);
    assert_not_impl!(crate::MessageIdKey: Clone, std::fmt::Debug, PartialEq);
    assert_not_impl!(crate::Content: Clone, std::fmt::Display, PartialEq);
    assert_not_impl!(crate::PaddedContent: Clone, std::fmt::Display, PartialEq);

    #[test]
    fn equal_secrets_are_equal_and_one_changed_bit_is_seen() {
        let secret = Secret::from_bytes([7; 32]);
        assert!(secret.ct_eq(&Secret::from_slice(&[7; 32]).unwrap()));
        let mut other = [7; 32];
        other[31] ^= 1;
        assert!(!secret.ct_eq(&Secret::from_bytes(other)));
    }

    #[test]
    fn a_slice_of_another_length_is_refused() {
        assert!(Secret::<32>::from_slice(&[0; 31]).is_err());
        assert!(Secret::<32>::from_slice(&[0; 33]).is_err());
    }

    #[test]
    fn two_generated_secrets_differ() {
        let mut entropy = crate::OsEntropy;
        let first = Secret::<32>::generate(&mut entropy).unwrap();
        assert!(!first.ct_eq(&Secret::generate(&mut entropy).unwrap()));
    }
}
