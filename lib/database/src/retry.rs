//! How often and how late contended work is tried again.
//!
//! Pure: randomness is a parameter. Invariant: the tries are bounded.

use std::time::Duration;

/// Tries of one unit of work, the first included.
pub(crate) const MAX_TRIES: u32 = 5;
const FIRST_CEILING: Duration = Duration::from_millis(10);
const LAST_CEILING: Duration = Duration::from_millis(200);

/// The wait before the try after `tries` failed ones: uniform between nothing and a ceiling that
/// doubles, so that those who collided do not collide again. `jitter` is any uniform number.
pub(crate) fn delay(tries: u32, jitter: u64) -> Duration {
    let doubled = FIRST_CEILING.saturating_mul(1 << tries.saturating_sub(1).min(16));
    let ceiling = doubled.min(LAST_CEILING);
    ceiling.mul_f64((jitter >> 32) as f64 / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_doubles_and_is_bounded() {
        assert_eq!(delay(1, u64::MAX), FIRST_CEILING);
        assert_eq!(delay(2, u64::MAX), FIRST_CEILING * 2);
        assert_eq!(delay(40, u64::MAX), LAST_CEILING);
    }

    #[test]
    fn the_jitter_spreads_the_wait_down_to_nothing() {
        assert_eq!(delay(3, 0), Duration::ZERO);
        let half = delay(1, u64::MAX / 2);
        assert!(
            half > FIRST_CEILING / 3 && half < FIRST_CEILING * 2 / 3,
            "{half:?}"
        );
    }
}
