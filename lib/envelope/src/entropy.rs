//! Where randomness comes from: a parameter of whatever needs it, so that vectors can be made again byte for byte.

use crate::EnvelopeError;

/// A source of unpredictable bytes. Only a generator of test vectors, or a measurement, may implement it over anything predictable.
pub trait Entropy {
    /// Fills `bytes`.
    ///
    /// # Errors
    /// [`EnvelopeError::NoRandomness`] when the source has none; `bytes` must then not be used.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EnvelopeError>;
}

/// The operating system's generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EnvelopeError> {
        getrandom::fill(bytes).map_err(|_| EnvelopeError::NoRandomness)
    }
}

pub(crate) fn draw<const N: usize>(entropy: &mut dyn Entropy) -> Result<[u8; N], EnvelopeError> {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes)?;
    Ok(bytes)
}
