//! Who holds which shard, put together from what each vault says.
//!
//! Vaults learn of a change one after another; of two holders the one with the greater token is the later. Who has gone silent is
//! not believed any more once somebody else speaks, so that tokens of a database that was put back to an earlier state do not stay.

use std::{collections::BTreeMap, sync::Arc};

use sealpost_proto::vault::v1::ShardHolder;
use tokio::sync::watch;

use super::shard::{SHARDS, Shard};

/// A vault's hold on a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hold {
    /// The vault's name; empty when nobody is known.
    pub(super) vault: Arc<str>,
    pub(super) token: u64,
}

/// What one vault said.
type Told = [Hold; SHARDS as usize];

/// What all said, and what follows.
#[derive(Clone)]
struct Views {
    told: BTreeMap<String, Told>,
    now: Told,
}

impl Default for Views {
    fn default() -> Self {
        Self {
            told: BTreeMap::new(),
            now: nobody(),
        }
    }
}

fn nobody() -> Told {
    std::array::from_fn(|_| Hold::default())
}

impl Views {
    fn tell(&mut self, by: &str, anew: bool, news: &[ShardHolder]) {
        let told = self.told.entry(by.to_owned()).or_insert_with(nobody);
        if anew {
            *told = nobody();
        }
        for one in news {
            if let Some(shard) = Shard::new(one.shard) {
                told[shard.index()] = Hold {
                    vault: one.holder.as_str().into(),
                    token: one.token,
                };
            }
        }
        self.conclude();
    }

    fn silence(&mut self, by: &str) {
        if self.told.len() > 1 && self.told.remove(by).is_some() {
            self.conclude();
        }
    }

    fn conclude(&mut self) {
        let latest = |shard: usize| {
            self.told
                .values()
                .map(move |told| &told[shard])
                .max_by_key(|hold| hold.token)
        };
        self.now = std::array::from_fn(|shard| latest(shard).cloned().unwrap_or_default());
    }
}

/// The holders of all shards, as known at each moment.
#[derive(Default)]
pub(super) struct Holders(watch::Sender<Views>);

impl Holders {
    /// Takes in what a vault says: all of it at first (`anew`), then changes.
    pub(super) fn tell(&self, by: &str, anew: bool, news: &[ShardHolder]) {
        self.0.send_modify(|views| views.tell(by, anew, news));
    }

    /// A vault says nothing any more.
    pub(super) fn silence(&self, by: &str) {
        self.0.send_modify(|views| views.silence(by));
    }

    /// Who holds a shard.
    pub(super) fn of(&self, shard: Shard) -> Hold {
        self.0.borrow().now[shard.index()].clone()
    }

    /// Waits until a shard is held otherwise than so.
    pub(super) async fn changed(&self, shard: Shard, known: &Hold) {
        let mut views = self.0.subscribe();
        // The sender is ours: it does not go while we wait.
        let _ = views
            .wait_for(|views| views.now[shard.index()] != *known)
            .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(shard: u32, holder: &str, token: u64) -> ShardHolder {
        ShardHolder {
            shard,
            holder: holder.to_owned(),
            token,
        }
    }

    fn now(views: &Views, shard: usize) -> (&str, u64) {
        (&views.now[shard].vault, views.now[shard].token)
    }

    #[test]
    fn the_greater_token_wins_whoever_says_it_and_whenever_it_comes() {
        let mut views = Views::default();
        assert_eq!(now(&views, 3), ("", 0));
        views.tell("a", true, &[hold(3, "b", 7), hold(4, "a", 1)]);
        views.tell("b", true, &[hold(3, "a", 6), hold(4, "a", 1)]);
        assert_eq!((now(&views, 3), now(&views, 4)), (("b", 7), ("a", 1)));
        views.tell("b", false, &[hold(3, "c", 8), hold(64, "c", 9)]);
        assert_eq!(now(&views, 3), ("c", 8));
    }

    #[test]
    fn a_database_put_back_is_believed_once_its_vaults_have_begun_anew() {
        let mut views = Views::default();
        views.tell("a", true, &[hold(3, "a", 70)]);
        views.tell("b", true, &[hold(3, "a", 70)]);
        views.silence("b");
        views.silence("a");
        assert_eq!(
            now(&views, 3),
            ("a", 70),
            "the last word stands while nobody speaks"
        );
        views.tell("a", true, &[hold(3, "b", 5)]);
        assert_eq!(now(&views, 3), ("b", 5));
    }

    #[tokio::test]
    async fn who_waits_for_a_change_is_told_of_that_shard_alone() {
        let holders = Holders::default();
        let shard = Shard::new(3).into_iter().next();
        let Some(shard) = shard else { return };
        let known = holders.of(shard);
        let (hold_now, ()) = tokio::join!(
            async {
                holders.changed(shard, &known).await;
                holders.of(shard)
            },
            async {
                holders.tell("a", true, &[hold(4, "a", 1)]);
                holders.tell("a", false, &[hold(3, "a", 2)]);
            }
        );
        assert_eq!((&*hold_now.vault, hold_now.token), ("a", 2));
    }
}
