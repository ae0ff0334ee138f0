//! How long to wait before trying again.
//!
//! Pure: exponential, with full jitter from a random number that the caller brings.

use std::time::Duration;

/// A growing delay.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// The most that the first wait may be.
    pub first: Duration,
    /// The most that any wait may be.
    pub last: Duration,
}

impl Backoff {
    /// For a conversation whose message could not be handed over.
    pub const CONVERSATION: Self = Self {
        first: Duration::from_millis(100),
        last: Duration::from_secs(30),
    };

    /// For a stream or a call that this process alone makes.
    pub const LINK: Self = Self {
        first: Duration::from_millis(100),
        last: Duration::from_secs(5),
    };

    /// The wait after `failures` failures in a row: between half of the bound and the bound, where `random` says.
    #[must_use]
    pub fn delay(self, failures: u32, random: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(20);
        let bound = self.first.saturating_mul(1 << doublings).min(self.last);
        let half = bound / 2;
        half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

/// Counts failures in a row and waits in between.
#[derive(Debug)]
pub struct Patience {
    backoff: Backoff,
    failures: u32,
}

impl Patience {
    /// No failure yet.
    #[must_use]
    pub fn new(backoff: Backoff) -> Self {
        Self {
            backoff,
            failures: 0,
        }
    }

    /// It went well.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// It failed: how long to wait now.
    pub fn next_delay(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.backoff.delay(self.failures, random())
    }
}

/// Spread is all that is asked of it: without entropy the waits are merely equal.
fn random() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_bound() {
        let backoff = Backoff::CONVERSATION;
        let longest = |failures| backoff.delay(failures, u32::MAX);
        assert_eq!(longest(1), Duration::from_millis(100));
        assert_eq!(longest(2), Duration::from_millis(200));
        assert_eq!(longest(4), Duration::from_millis(800));
        assert_eq!(longest(u32::MAX), Duration::from_secs(30));
    }

    #[test]
    fn jitter_takes_away_half_at_most() {
        for failures in [1, 3, 30] {
            let bound = Backoff::LINK.delay(failures, u32::MAX);
            assert_eq!(Backoff::LINK.delay(failures, 0), bound / 2);
            let middle = Backoff::LINK.delay(failures, u32::MAX / 2);
            assert!(bound / 2 < middle && middle < bound);
        }
    }
}
