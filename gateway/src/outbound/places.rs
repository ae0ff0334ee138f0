//! Room for accepted messages in memory, and how fast it fills.
//!
//! Two bounds. The hard one is memory's. The soft one holds senders back while messages are accepted faster than they leave: taking
//! in costs what sending on needs, so a queue that grows makes itself grow faster. It is as many messages as left in the last
//! [`SPAN`], so that a new one waits about that long at most; nobody is held back when few wait, nor when nothing leaves at all,
//! which is an outage and no overload: then messages are kept until the hard bound.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

/// How long what waits may take to leave before senders are held back.
const SPAN: Duration = Duration::from_secs(1);

/// How often the pace is taken.
const WINDOW: Duration = Duration::from_millis(500);

/// So many wait without anybody being held back.
const FREE: usize = 1024;

/// How long a sender is held back before its message is refused.
const PATIENCE: Duration = Duration::from_secs(1);

/// All places; clones share them.
#[derive(Clone)]
pub struct Places {
    inner: Arc<Inner>,
}

struct Inner {
    hard: usize,
    state: Mutex<State>,
    freed: Notify,
}

struct State {
    taken: usize,
    pace: Pace,
}

/// Room for one accepted message.
pub struct Place {
    inner: Arc<Inner>,
}

impl Places {
    /// At most `hard` at one time.
    #[must_use]
    pub fn new(hard: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                hard,
                state: Mutex::new(State {
                    taken: 0,
                    pace: Pace::starting(Instant::now()),
                }),
                freed: Notify::new(),
            }),
        }
    }

    /// A place for a message that is new: waits its turn while messages come faster than they leave. None: there is no room, or not
    /// soon enough.
    pub async fn take_in_turn(&self) -> Option<Place> {
        let until = Instant::now() + PATIENCE;
        let mut waited = false;
        loop {
            let freed = self.inner.freed.notified();
            let bound = {
                let mut state = self.inner.lock();
                let soft = state.pace.bound(Instant::now());
                let bound = soft.map_or(self.inner.hard, |soft| soft.min(self.inner.hard));
                if state.taken < bound {
                    state.taken += 1;
                    // Two that became free at once may have woken one alone.
                    if waited && state.taken < bound {
                        self.inner.freed.notify_one();
                    }
                    return Some(self.place());
                }
                bound
            };
            // Memory's bound does not move soon.
            if bound == self.inner.hard || timeout_at(until, freed).await.is_err() {
                return None;
            }
            waited = true;
        }
    }

    /// A place for a message that is kept already, if there is one.
    #[must_use]
    pub fn take(&self) -> Option<Place> {
        let mut state = self.inner.lock();
        (state.taken < self.inner.hard).then(|| {
            state.taken += 1;
            self.place()
        })
    }

    /// A message has left.
    pub fn left(&self) {
        self.inner.lock().pace.left(Instant::now());
    }

    fn place(&self) -> Place {
        Place {
            inner: self.inner.clone(),
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.inner.lock().taken -= 1;
        self.inner.freed.notify_one();
    }
}

/// How many messages leave.
struct Pace {
    since: Instant,
    left: usize,
    /// Of the window before, by the second.
    rate: f64,
}

impl Pace {
    const fn starting(now: Instant) -> Self {
        Self {
            since: now,
            left: 0,
            rate: 0.0,
        }
    }

    fn left(&mut self, now: Instant) {
        self.roll(now);
        self.left += 1;
    }

    /// How many may wait; none: as many as there is room for.
    fn bound(&mut self, now: Instant) -> Option<usize> {
        self.roll(now);
        let span = self.rate * SPAN.as_secs_f64();
        (span > 0.0).then(|| FREE.max(span as usize))
    }

    fn roll(&mut self, now: Instant) {
        let elapsed = now.duration_since(self.since);
        if elapsed >= WINDOW {
            self.rate = self.left as f64 / elapsed.as_secs_f64();
            self.since = now;
            self.left = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::time::sleep;

    use super::*;

    const HARD: usize = 5_000;

    /// As many as can be had at once.
    async fn fill(places: &Places) -> Vec<Place> {
        let mut all = Vec::new();
        while let Ok(Some(place)) = timeout_at(Instant::now(), places.take_in_turn()).await {
            all.push(place);
        }
        all
    }

    /// Full as far as the soft bound goes, while something leaves.
    async fn full() -> (Places, Vec<Place>) {
        let places = Places::new(HARD);
        places.left();
        sleep(WINDOW).await;
        let all = fill(&places).await;
        assert_eq!(all.len(), FREE);
        (places, all)
    }

    #[test]
    fn as_many_may_wait_as_left_in_a_second() {
        let start = Instant::now();
        let mut pace = Pace::starting(start);
        assert_eq!(pace.bound(start), None);
        for _ in 0..1_000 {
            pace.left(start);
        }
        assert_eq!(pace.bound(start), None);
        assert_eq!(pace.bound(start + WINDOW), Some(2_000));
        // A slow service and a quiet hour hold nobody back.
        pace.left(start + WINDOW);
        assert_eq!(pace.bound(start + 2 * WINDOW), Some(FREE));
        assert_eq!(pace.bound(start + 3 * WINDOW), None);
    }

    #[tokio::test]
    async fn while_nothing_leaves_there_is_room_until_memorys_bound() {
        let places = Places::new(HARD);
        let all = fill(&places).await;
        assert_eq!(all.len(), HARD);
        assert!(places.take_in_turn().await.is_none());
        assert!(places.take().is_none());
        drop(all);
        assert_eq!(fill(&places).await.len(), HARD);
    }

    #[tokio::test]
    async fn who_is_held_back_gets_the_place_that_becomes_free() {
        let (places, mut all) = full().await;
        let waiting = tokio::spawn({
            let places = places.clone();
            async move { places.take_in_turn().await.is_some() }
        });
        sleep(Duration::from_millis(20)).await;
        assert!(!waiting.is_finished());
        places.left();
        all.pop();
        assert!(waiting.await.unwrap());
    }

    #[tokio::test]
    async fn who_is_held_back_for_long_is_refused_and_what_is_kept_never_waits() {
        let (places, _all) = full().await;
        // Something leaves in each window, yet nothing becomes free.
        let leaving = tokio::spawn({
            let places = places.clone();
            async move {
                loop {
                    places.left();
                    sleep(WINDOW / 10).await;
                }
            }
        });
        let begun = Instant::now();
        assert!(places.take_in_turn().await.is_none());
        assert!(begun.elapsed() >= PATIENCE);
        assert!(places.take().is_some());
        leaving.abort();
    }

    #[tokio::test]
    async fn an_outage_lets_in_who_was_held_back() {
        let (places, _all) = full().await;
        sleep(WINDOW).await;
        assert!(places.take_in_turn().await.is_some());
    }
}
