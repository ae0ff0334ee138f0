//! How often something may happen for one key.
//!
//! Pure: `now` is a parameter. The generic cell rate algorithm (ITU-T I.371): one number per key, the time at which the
//! key's allowance would be whole again. Invariant: memory is bounded; a full table refuses newcomers.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use sealpost_runtime::Timestamp;

const MAX_KEYS: usize = 100_000;

/// At most `burst` at once, and on average `burst` a period, for each key.
pub(crate) struct RateLimit<K> {
    interval: Duration,
    period: Duration,
    whole_at: Mutex<HashMap<K, Timestamp>>,
}

impl<K: Eq + Hash> RateLimit<K> {
    pub(crate) fn new(burst: u32, period: Duration) -> Self {
        Self {
            interval: period / burst.max(1),
            period,
            whole_at: Mutex::new(HashMap::new()),
        }
    }

    /// Counts one for `key`.
    ///
    /// # Errors
    /// How long to wait, when it is one too many; it is not counted then.
    pub(crate) fn take(&self, key: K, now: Timestamp) -> Result<(), Duration> {
        let mut whole_at = self.whole_at.lock().unwrap_or_else(PoisonError::into_inner);
        if whole_at.len() >= MAX_KEYS && !whole_at.contains_key(&key) {
            whole_at.retain(|_, whole| *whole > now);
            if whole_at.len() >= MAX_KEYS {
                return Err(self.interval);
            }
        }
        let start = whole_at.get(&key).copied().unwrap_or(now).max(now);
        let next = start + self.interval;
        let owed = next.since(now);
        if owed > self.period {
            return Err(owed - self.period);
        }
        whole_at.insert(key, next);
        Ok(())
    }
}

/// Where a call comes from: an IPv4 address, or an IPv6 network of 64 bits, which is what one subscriber has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Source(IpAddr);

impl Source {
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = address.to_bits() & (u128::MAX << 64);
                Self(Ipv6Addr::from_bits(network).into())
            }
            v4 @ IpAddr::V4(_) => Self(v4),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_burst_is_allowed_and_then_one_an_interval() {
        let limit = RateLimit::new(5, HOUR);
        let start = Timestamp::from_secs(1_000_000);
        for _ in 0..5 {
            limit.take("a", start).unwrap();
        }
        assert_eq!(limit.take("a", start), Err(HOUR / 5));
        assert_eq!(
            limit.take("a", start + HOUR / 5 - Duration::from_millis(1)),
            Err(Duration::from_millis(1))
        );
        limit.take("a", start + HOUR / 5).unwrap();
        assert!(limit.take("a", start + HOUR / 5).is_err());
    }

    #[test]
    fn keys_do_not_share_an_allowance() {
        let limit = RateLimit::new(1, HOUR);
        let now = Timestamp::from_secs(1_000_000);
        limit.take("a", now).unwrap();
        assert!(limit.take("a", now).is_err());
        limit.take("b", now).unwrap();
    }

    #[test]
    fn a_full_table_refuses_newcomers_until_old_keys_are_whole_again() {
        let limit = RateLimit::new(1, HOUR);
        let now = Timestamp::from_secs(1_000_000);
        for key in 0..MAX_KEYS {
            limit.take(key, now).unwrap();
        }
        assert!(limit.take(MAX_KEYS, now).is_err());
        limit.take(MAX_KEYS, now + HOUR).unwrap();
        assert_eq!(limit.whole_at.lock().unwrap().len(), 1);
    }

    #[test]
    fn an_ipv6_subscriber_is_one_source_and_a_mapped_address_is_its_ipv4_one() {
        let of = |text: &str| Source::of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:0:0:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
