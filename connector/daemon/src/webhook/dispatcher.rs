//! Takes due deliveries from the queue to the app.
//!
//! Invariant: a delivery leaves the queue only after the app answered 2xx, or after seven days of failing. A crash between the two
//! sends it again: webhooks come at least once, each with the same message id.

use std::{collections::HashSet, sync::Arc, time::Duration};

use sealpost_connector_sdk::Secret;
use sealpost_envelope::OsEntropy;
use sealpost_failpoints::failpoint;
use sealpost_runtime::{Clock, Timestamp};
use tokio::{sync::Notify, task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{App, retry};
use crate::queue::{Due, Queue, QueueError, Settled};

/// Requests to the app at a time.
const AT_ONCE: usize = 32;
/// No sleep is longer: the clock may be moved in development.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);
/// After trouble with the database.
const TROUBLE: Duration = Duration::from_secs(1);

/// The task between queue and app.
pub struct Dispatcher {
    queue: Queue,
    app: Arc<App>,
    clock: Clock,
    wake: Arc<Notify>,
    under_way: HashSet<Vec<u8>>,
    attempts: JoinSet<Attempt>,
}

/// How one attempt went.
struct Attempt {
    due: Due,
    outcome: Outcome,
}

enum Outcome {
    Taken,
    Failed,
    /// The row does not open under this queue key; no later try will change that.
    Unreadable,
}

impl Dispatcher {
    /// `wake` is notified when something was queued.
    #[must_use]
    pub fn new(queue: Queue, app: Arc<App>, clock: Clock, wake: Arc<Notify>) -> Self {
        Self {
            queue,
            app,
            clock,
            wake,
            under_way: HashSet::new(),
            attempts: JoinSet::new(),
        }
    }

    /// Delivers until `stop`, then ends what is under way.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let pause = match self.begin().await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::error!(%error, "the webhook queue cannot be read");
                    TROUBLE
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                ended = self.attempts.join_next(), if !self.attempts.is_empty() => {
                    self.settle(ended.and_then(Result::ok)).await;
                }
                () = self.wake.notified() => {}
                () = sleep(pause) => {}
            }
        }
        while let Some(ended) = self.attempts.join_next().await {
            self.settle(ended.ok()).await;
        }
    }

    /// Begins as many attempts as there is room for; answers how long nothing more will be due.
    async fn begin(&mut self) -> Result<Duration, QueueError> {
        let room = AT_ONCE - self.under_way.len().min(AT_ONCE);
        if room == 0 {
            return Ok(LONGEST_SLEEP);
        }
        let now = self.clock.now();
        // Those under way are still due, so they are asked for too.
        let due = self.queue.due(AT_ONCE + room, now).await?;
        let fresh = due
            .into_iter()
            .filter(|due| !self.under_way.contains(&due.id))
            .take(room)
            .collect::<Vec<_>>();
        for due in fresh {
            self.under_way.insert(due.id.clone());
            let (queue, app) = (self.queue.clone(), self.app.clone());
            self.attempts.spawn(async move {
                let outcome = match queue.body(&due) {
                    Ok(body) if app.post(&body).await => Outcome::Taken,
                    Ok(_) => Outcome::Failed,
                    Err(_) => Outcome::Unreadable,
                };
                failpoint!("webhook.posted");
                Attempt { due, outcome }
            });
        }
        let next = self.queue.next_due(now).await?;
        Ok(next.map_or(LONGEST_SLEEP, |at| at.since(now).min(LONGEST_SLEEP)))
    }

    /// Notes what has ended, all in one transaction.
    async fn settle(&mut self, first: Option<Attempt>) {
        let now = self.clock.now();
        let mut ended: Vec<Attempt> = first.into_iter().collect();
        while let Some(more) = self.attempts.try_join_next() {
            ended.extend(more.ok());
        }
        let settled: Vec<Settled> = ended
            .iter()
            .map(|attempt| Settled {
                id: attempt.due.id.clone(),
                again_at: attempt.again_at(now),
            })
            .collect();
        let mut tries = 0;
        while let Err(error) = self.queue.settle(settled.clone(), now).await {
            tracing::error!(%error, "the webhook queue cannot be written");
            tries += 1;
            if tries == 3 {
                // Still due: they are sent again, which at least once allows.
                break;
            }
            sleep(TROUBLE).await;
        }
        for attempt in ended {
            self.under_way.remove(&attempt.due.id);
        }
    }
}

impl Attempt {
    fn again_at(&self, now: Timestamp) -> Option<Timestamp> {
        let (outcome, again_at) = match self.outcome {
            Outcome::Taken => ("taken", None),
            Outcome::Failed => {
                let failures = self.due.attempts.saturating_add(1);
                let again_at = retry::again_at(self.due.queued_at, failures, now, jitter());
                if again_at.is_none() {
                    tracing::error!("a webhook failed for seven days and is given up");
                } else if failures == 1 {
                    tracing::warn!("a webhook was not taken; it will be sent again");
                }
                (
                    if again_at.is_some() {
                        "failed"
                    } else {
                        "given_up"
                    },
                    again_at,
                )
            }
            Outcome::Unreadable => {
                tracing::error!(
                    "a queued webhook does not open under the queue key and is dropped"
                );
                ("unreadable", None)
            }
        };
        metrics::counter!("sealpost_connector_webhooks_total", "outcome" => outcome).increment(1);
        again_at
    }
}

/// Without randomness everything is tried at the same moment, which is no harm worth failing for.
fn jitter() -> u32 {
    Secret::<4>::generate(&mut OsEntropy).map_or(0, |random| u32::from_be_bytes(*random.expose()))
}
