//! Who should hold what: the changes that one vault makes in one round.
//!
//! Pure. A vault takes what is nobody's up to its share and hands on what it has beyond it; it takes nothing from one that lives.
//! So where all see the same vaults living, each round of each brings the shares closer, and they stay once they are fair.

use std::collections::{BTreeMap, BTreeSet};

use super::{Holdings, SHARDS, Shard};

/// A shard gets another holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Move {
    pub(crate) shard: Shard,
    pub(crate) to: String,
}

/// What `me`, one of the `living`, changes now.
pub(crate) fn settle(me: &str, living: &BTreeSet<String>, holdings: &Holdings) -> Vec<Move> {
    let mut held = count(living, holdings);
    let mut moves = Vec::new();
    let mut give = |held: &mut BTreeMap<&str, usize>, shard, to: &str| {
        if let Some(count) = held.get_mut(to) {
            *count += 1;
        }
        moves.push(Move {
            shard,
            to: to.to_owned(),
        });
    };
    for (shard, lease) in holdings.all() {
        if !living.contains(&lease.holder) && held[me] < share(me, living) {
            give(&mut held, shard, me);
        }
    }
    for (shard, lease) in holdings.all().rev() {
        if lease.holder != me || held[me] <= share(me, living) {
            continue;
        }
        let needy = living
            .iter()
            .find(|name| held[name.as_str()] < share(name, living));
        if let Some(needy) = needy {
            give(&mut held, shard, needy);
            if let Some(count) = held.get_mut(me) {
                *count -= 1;
            }
        }
    }
    moves
}

/// What `me` hands on when it goes: all it has, evenly to the others that live. Without others it keeps its name on them, and finds
/// them again when it comes back.
pub(crate) fn leave(me: &str, living: &BTreeSet<String>, holdings: &Holdings) -> Vec<Move> {
    let others: BTreeSet<String> = living.iter().filter(|name| *name != me).cloned().collect();
    let mut held = count(&others, holdings);
    let mine = holdings.all().filter(|(_, lease)| lease.holder == me);
    let mut moves = Vec::new();
    for (shard, _) in mine {
        let Some(least) = others.iter().min_by_key(|name| held[name.as_str()]) else {
            break;
        };
        if let Some(count) = held.get_mut(least.as_str()) {
            *count += 1;
        }
        moves.push(Move {
            shard,
            to: least.clone(),
        });
    }
    moves
}

/// A vault's fair share: the shares of all make up the shards, and differ by one at most.
fn share(name: &str, living: &BTreeSet<String>) -> usize {
    let (all, rank) = (
        living.len().max(1),
        living.iter().take_while(|other| *other != name).count(),
    );
    let shards = usize::from(SHARDS);
    shards / all + usize::from(rank < shards % all)
}

fn count<'a>(living: &'a BTreeSet<String>, holdings: &Holdings) -> BTreeMap<&'a str, usize> {
    let mut held: BTreeMap<&str, usize> = living.iter().map(|name| (name.as_str(), 0)).collect();
    for (_, lease) in holdings.all() {
        if let Some(count) = held.get_mut(lease.holder.as_str()) {
            *count += 1;
        }
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;

    fn living(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn held(holdings: &Holdings, name: &str) -> usize {
        holdings
            .all()
            .filter(|(_, lease)| lease.holder == name)
            .count()
    }

    /// What one vault does, and how much it is.
    fn turn(
        holdings: &mut Holdings,
        plan: impl Fn(&str, &BTreeSet<String>, &Holdings) -> Vec<Move>,
        (me, all): (&str, &[&str]),
    ) -> usize {
        let moves = plan(me, &living(all), holdings);
        for change in &moves {
            holdings.apply(change);
        }
        moves.len()
    }

    #[test]
    fn one_vault_takes_all_and_hands_half_to_a_second_that_comes() {
        let mut holdings = Holdings::default();
        turn(&mut holdings, settle, ("a", &["a"]));
        assert_eq!(held(&holdings, "a"), 64);
        let both = ["a", "b"];
        assert_eq!(
            turn(&mut holdings, settle, ("b", &both)),
            0,
            "taken from one that lives"
        );
        assert_eq!(turn(&mut holdings, settle, ("a", &both)), 32);
        assert_eq!((held(&holdings, "a"), held(&holdings, "b")), (32, 32));
    }

    #[test]
    fn who_leaves_hands_on_all_it_has_and_who_is_alone_keeps_its_name_on_it() {
        let mut holdings = Holdings::default();
        let three = ["a", "b", "c"];
        for name in three {
            turn(&mut holdings, settle, (name, &three));
        }
        assert_eq!(turn(&mut holdings, leave, ("b", &three)), 21);
        assert_eq!((held(&holdings, "a"), held(&holdings, "c")), (32, 32));
        assert_eq!(turn(&mut holdings, leave, ("a", &["a"])), 0);
    }

    #[test]
    fn a_change_of_holder_moves_the_token_on() {
        let mut holdings = Holdings::default();
        let shard = Shard(7);
        for (to, token) in [("a", 1), ("b", 2), ("a", 3)] {
            holdings.apply(&Move {
                shard,
                to: to.to_owned(),
            });
            assert_eq!(holdings.of(shard).token, token);
        }
    }
}
