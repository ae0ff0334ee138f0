//! CLOCK_MONOTONIC in nanoseconds: processes of one machine share it, so that one's stamp can be another's latency.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of a second.
pub const SECOND: u64 = 1_000_000_000;

/// Now.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    // The kernel's clock counts from the boot: neither part is ever negative.
    time.tv_sec.unsigned_abs() * SECOND + time.tv_nsec.unsigned_abs()
}

/// Sleeps until then; at once when that is over.
pub async fn sleep_until(then: u64) {
    let left = then.saturating_sub(now());
    if left > 0 {
        tokio::time::sleep(std::time::Duration::from_nanos(left)).await;
    }
}
