//! When the jobs run: at the start, and from then on at an interval, never two at a time.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::jobs::Jobs;

/// Runs the jobs until `stop`; a run that was begun is finished first.
pub async fn keep(jobs: Jobs, every: Duration, stop: CancellationToken) {
    let mut ticks = interval(every);
    // A run that took longer than the interval is not followed by a burst.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if let Err(error) = jobs.run(false).await {
            tracing::error!(error = %error, "a run could not be recorded");
        }
    }
}
