//! A lane to each vault, and the way to the holder of a shard.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sealpost_runtime::batch::{Hop, LaneError};
use tokio::time::{Instant, sleep};
use tonic::Status;

use super::{
    holders::{Hold, Holders},
    shard::Shard,
};
use crate::{
    backoff::{Backoff, Patience},
    lanes::Lane,
};

/// How long an item is asked again of whoever holds its shard by then: longer than the shards of a vault that died take to find
/// another holder, and shorter than a business waits.
pub(super) const PATIENCE: Duration = Duration::from_secs(12);

/// The waits between two times.
pub(super) const WAITS: Backoff = Backoff {
    first: Duration::from_millis(20),
    last: Duration::from_secs(1),
};

/// Whom to ask.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked {
    /// The holder of a shard.
    Holder(Shard),
    /// Anybody: the answer names the shard.
    Anybody,
}

/// The lanes of one hop; clones share them.
pub(super) struct Routed<H: Hop> {
    lanes: Arc<BTreeMap<String, Lane<H>>>,
    pub(super) holders: Arc<Holders>,
}

impl<H: Hop> Clone for Routed<H> {
    fn clone(&self) -> Self {
        Self {
            lanes: self.lanes.clone(),
            holders: self.holders.clone(),
        }
    }
}

impl<H: Hop> Routed<H> {
    pub(super) fn new(lanes: BTreeMap<String, Lane<H>>, holders: Arc<Holders>) -> Self {
        Self {
            lanes: Arc::new(lanes),
            holders,
        }
    }

    /// The lane to a holder; the only one, when there is no other.
    pub(super) fn lane(&self, hold: &Hold) -> Option<&Lane<H>> {
        let only = self.lanes.values().next().filter(|_| self.lanes.len() == 1);
        self.lanes.get(&*hold.vault).or(only)
    }

    /// Asks until it is answered by whoever may, but not for ever. `elsewhere` reads the shard out of an answer that says only that
    /// another vault holds it.
    ///
    /// # Errors
    /// What went wrong last, or that nobody holds the shard.
    pub(super) async fn call(
        &self,
        asked: Asked,
        item: H::Item,
        elsewhere: impl Fn(&H::Outcome) -> Option<Shard>,
    ) -> Result<H::Outcome, LaneError> {
        let until = Instant::now() + PATIENCE;
        let mut patience = Patience::new(WAITS);
        // Who does not know the shard asks the holder of one that somebody holds: a vault that lives.
        let mut shard = match asked {
            Asked::Holder(shard) => shard,
            Asked::Anybody => self.some_shard(),
        };
        loop {
            let hold = self.holders.of(shard);
            let answer = match self.lane(&hold) {
                Some(lane) => tokio::select! {
                    answer = lane.call(item.clone()) => Some(answer),
                    () = self.holders.changed(shard, &hold) => None,
                },
                None => Some(Err(LaneError::Unavailable(Status::unavailable(
                    "nobody holds the shard",
                )))),
            };
            match &answer {
                // Whatever the holder before may still have done, the one there is now knows of it.
                None => continue,
                Some(Ok(outcome)) => match elsewhere(outcome) {
                    None => {}
                    Some(named) if named != shard => {
                        shard = named;
                        continue;
                    }
                    Some(_) if Instant::now() < until => {
                        self.wait(shard, &hold, &mut patience).await;
                        continue;
                    }
                    Some(_) => {}
                },
                Some(Err(LaneError::Closed)) => {}
                Some(Err(_)) if Instant::now() < until => {
                    self.wait(shard, &hold, &mut patience).await;
                    continue;
                }
                Some(Err(_)) => {}
            }
            if let Some(answer) = answer {
                return answer;
            }
        }
    }

    /// Waits for another holder, but not for long.
    pub(super) async fn wait(&self, shard: Shard, hold: &Hold, patience: &mut Patience) {
        tokio::select! {
            () = self.holders.changed(shard, hold) => {}
            () = sleep(patience.next_delay()) => {}
        }
    }

    fn some_shard(&self) -> Shard {
        let held = Shard::all().find(|shard| self.lane(&self.holders.of(*shard)).is_some());
        held.unwrap_or_else(|| Shard::of("", ""))
    }
}
