//! When a delivery that failed is tried again. Pure.

use std::time::Duration;

use sealpost_runtime::Timestamp;

/// A delivery that failed for this long is given up.
pub(super) const PATIENCE: Duration = Duration::from_secs(7 * 24 * 3600);
const FIRST: Duration = Duration::from_secs(1);
const LAST: Duration = Duration::from_secs(3600);

/// When to try again after `failures` failed attempts (the last one included), or none when it is given up. The wait doubles up
/// to an hour; `jitter`, any uniform number, takes up to half of it away.
pub(super) fn again_at(
    queued_at: Timestamp,
    failures: u32,
    now: Timestamp,
    jitter: u32,
) -> Option<Timestamp> {
    if now.since(queued_at) >= PATIENCE {
        return None;
    }
    let doubled = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(20));
    let part = 1.0 - 0.5 * f64::from(jitter) / f64::from(u32::MAX);
    Some(now + doubled.min(LAST).mul_f64(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn wait(failures: u32, jitter: u32) -> Option<Duration> {
        again_at(START, failures, START, jitter).map(|at| at.since(START))
    }

    #[test]
    fn the_wait_doubles_up_to_an_hour() {
        assert_eq!(wait(1, 0), Some(Duration::from_secs(1)));
        assert_eq!(wait(2, 0), Some(Duration::from_secs(2)));
        assert_eq!(wait(8, 0), Some(Duration::from_secs(128)));
        assert_eq!(wait(u32::MAX, 0), Some(Duration::from_secs(3600)));
        assert_eq!(wait(1, u32::MAX), Some(Duration::from_millis(500)));
    }

    #[test]
    fn a_delivery_is_given_up_after_seven_days() {
        let last = START + PATIENCE;
        assert_eq!(again_at(START, 200, last, 0), None);
        let before = last - Duration::from_millis(1);
        assert!(again_at(START, 200, before, 0).is_some());
    }
}
