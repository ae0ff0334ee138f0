//! Instants and stretches of time on the wire. Reads no clock: `now` is always a parameter.

use std::fmt;

use crate::EnvelopeError;

/// How far ahead of ours another's clock may be: five minutes.
pub const CLOCK_SKEW_MS: u64 = 5 * 60 * 1000;

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub u64);

impl fmt::Display for UnixMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

/// When a key may be used: from `not_before` to `not_after`, both included, never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    not_before: UnixMillis,
    not_after: UnixMillis,
}

impl Validity {
    /// From one instant to a later one.
    ///
    /// # Errors
    /// [`EnvelopeError::InvalidValidity`] unless `not_before < not_after`.
    pub fn new(not_before: UnixMillis, not_after: UnixMillis) -> Result<Self, EnvelopeError> {
        if not_before >= not_after {
            return Err(EnvelopeError::InvalidValidity);
        }
        Ok(Self {
            not_before,
            not_after,
        })
    }

    /// The first instant.
    #[must_use]
    pub fn not_before(&self) -> UnixMillis {
        self.not_before
    }

    /// The last instant.
    #[must_use]
    pub fn not_after(&self) -> UnixMillis {
        self.not_after
    }

    pub(crate) fn length_ms(&self) -> u64 {
        self.not_after.0 - self.not_before.0
    }

    /// Whether `now` lies within, the beginning stretched by [`CLOCK_SKEW_MS`].
    ///
    /// # Errors
    /// [`EnvelopeError::KeyNotYetValid`] or [`EnvelopeError::KeyExpired`].
    pub fn check(&self, now: UnixMillis) -> Result<(), EnvelopeError> {
        if now.0 < self.not_before.0.saturating_sub(CLOCK_SKEW_MS) {
            return Err(EnvelopeError::KeyNotYetValid);
        }
        if now > self.not_after {
            return Err(EnvelopeError::KeyExpired);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn both_ends_are_included_and_only_the_beginning_has_skew() {
        let begin = 10 * CLOCK_SKEW_MS;
        let validity = Validity::new(UnixMillis(begin), UnixMillis(begin + 1)).unwrap();
        let early = begin - CLOCK_SKEW_MS;
        assert_eq!(
            validity.check(UnixMillis(early - 1)),
            Err(EnvelopeError::KeyNotYetValid)
        );
        assert_eq!(validity.check(UnixMillis(early)), Ok(()));
        assert_eq!(validity.check(UnixMillis(begin + 1)), Ok(()));
        assert_eq!(
            validity.check(UnixMillis(begin + 2)),
            Err(EnvelopeError::KeyExpired)
        );
    }

    #[test]
    fn an_empty_validity_is_refused() {
        assert_eq!(
            Validity::new(UnixMillis(5), UnixMillis(5)),
            Err(EnvelopeError::InvalidValidity)
        );
    }
}
