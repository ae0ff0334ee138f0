//! When the jobs run: at the start, and from then on at an interval, never two at a time.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::jobs::Jobs;

/// How long a run that is under way may take to end once we are to stop. What it leaves is taken up after the next start.
const GRACE: Duration = Duration::from_secs(5);

/// Runs the jobs until `stop`.
pub async fn keep(jobs: Jobs, every: Duration, stop: CancellationToken) {
    let mut ticks = interval(every);
    // A run that took longer than the interval is not followed by a burst.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        tokio::select! {
            run = jobs.run(false) => if let Err(error) = run {
                tracing::error!(error = %error, "a run could not be recorded");
            },
            () = grace(&stop) => return,
        }
    }
}

async fn grace(stop: &CancellationToken) {
    stop.cancelled().await;
    sleep(GRACE).await;
}
