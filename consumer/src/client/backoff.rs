//! How long to wait before trying again: twice as long each time, with jitter, up to a limit.

use std::time::Duration;

use rand::Rng;

const FIRST: Duration = Duration::from_millis(100);
const LIMIT: Duration = Duration::from_secs(5);

/// Successive pauses.
pub(crate) struct Backoff {
    ceiling: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { ceiling: FIRST }
    }

    /// After a success: begin small again.
    pub(crate) fn reset(&mut self) {
        self.ceiling = FIRST;
    }

    /// The next pause, between half the ceiling and all of it, so that devices do not come back in step.
    pub(crate) fn pause(&mut self, rng: &mut impl Rng) -> Duration {
        let pause = self.ceiling.mul_f64(rng.random_range(0.5..=1.0));
        self.ceiling = (self.ceiling * 2).min(LIMIT);
        pause
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn pauses_grow_to_the_limit_and_begin_small_after_a_success() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut backoff = Backoff::new();
        let pauses: Vec<_> = (0..20).map(|_| backoff.pause(&mut rng)).collect();
        assert!(pauses[0] <= FIRST && pauses[0] >= FIRST / 2);
        assert!(pauses[19] <= LIMIT && pauses[19] >= LIMIT / 2);
        backoff.reset();
        assert!(backoff.pause(&mut rng) <= FIRST);
    }
}
