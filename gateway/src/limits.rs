//! How many messages a second each number may send, with bursts of one second's worth.
//!
//! Generic over the time source, so that tests bring their own.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock, Reference},
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};

use crate::ids::PhoneNumberId;

/// Limiters of numbers, beyond which all are forgotten: each then starts again with a full second's worth.
const REMEMBERED: usize = 100_000;

type Limiter<C> = RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// The pace of every number.
pub struct SendLimits<C: Clock = DefaultClock> {
    /// For numbers without a value of their own; 0 means no limit.
    usual: u32,
    clock: C,
    numbers: Mutex<HashMap<PhoneNumberId, (u32, Limiter<C>)>>,
}

impl SendLimits {
    /// `usual` messages a second for numbers without a value of their own; 0 means no limit.
    #[must_use]
    pub fn new(usual: u32) -> Self {
        Self::with_clock(usual, DefaultClock::default())
    }
}

impl<C: Clock + Clone> SendLimits<C> {
    /// With a time source of the caller's.
    #[must_use]
    pub fn with_clock(usual: u32, clock: C) -> Self {
        Self {
            usual,
            clock,
            numbers: Mutex::default(),
        }
    }

    /// Takes one message's worth. `own` is the number's value in the directory; 0 means that it has none.
    ///
    /// # Errors
    /// How long to wait, when the number has none left.
    pub fn take(&self, number: &PhoneNumberId, own: u32) -> Result<(), Duration> {
        let Some(rate) = NonZeroU32::new(if own == 0 { self.usual } else { own }) else {
            return Ok(());
        };
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        if numbers.len() >= REMEMBERED && !numbers.contains_key(number) {
            numbers.clear();
        }
        let fresh = || {
            let quota = Quota::per_second(rate);
            (
                rate.get(),
                RateLimiter::direct_with_clock(quota, self.clock.clone()),
            )
        };
        let entry = numbers.entry(number.clone()).or_insert_with(fresh);
        if entry.0 != rate.get() {
            *entry = fresh();
        }
        entry.1.check().map_err(|until| {
            until
                .earliest_possible()
                .duration_since(self.clock.now())
                .into()
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use governor::clock::FakeRelativeClock;

    use super::*;

    fn number(text: &str) -> PhoneNumberId {
        PhoneNumberId::parse(text).unwrap()
    }

    #[test]
    fn a_number_may_burst_one_second_and_then_waits() {
        let clock = FakeRelativeClock::default();
        let limits = SendLimits::with_clock(80, clock.clone());
        for _ in 0..80 {
            limits.take(&number("1"), 0).unwrap();
        }
        let wait = limits.take(&number("1"), 0).unwrap_err();
        assert!(
            wait > Duration::ZERO && wait <= Duration::from_millis(13),
            "{wait:?}"
        );
        clock.advance(wait);
        limits.take(&number("1"), 0).unwrap();
        assert!(limits.take(&number("1"), 0).is_err());
    }

    #[test]
    fn numbers_do_not_share_their_pace() {
        let limits = SendLimits::with_clock(1, FakeRelativeClock::default());
        limits.take(&number("1"), 0).unwrap();
        limits.take(&number("2"), 0).unwrap();
        assert!(limits.take(&number("1"), 0).is_err());
    }

    #[test]
    fn a_numbers_own_value_wins_and_zero_is_no_limit() {
        let limits = SendLimits::with_clock(0, FakeRelativeClock::default());
        for _ in 0..1000 {
            limits.take(&number("1"), 0).unwrap();
        }
        limits.take(&number("2"), 1).unwrap();
        assert!(limits.take(&number("2"), 1).is_err());
        // The directory raised it.
        limits.take(&number("2"), 2).unwrap();
    }
}
