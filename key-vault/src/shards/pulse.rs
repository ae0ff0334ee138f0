//! Who lives: counted from beats that move or stand still.
//!
//! Pure over elapsed time. A pause of our own (a stopped process, a database that failed over) counts for one beat at most: who
//! could not look must not take silence for death.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How often a vault moves its beat.
pub(crate) const BEAT: Duration = Duration::from_secs(2);
/// How long a beat stands still until its vault counts as dead.
pub(crate) const TTL: Duration = Duration::from_secs(6);
/// How long until the row of a dead vault is deleted.
const FORGOTTEN: Duration = Duration::from_secs(3600);

/// A vault's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// Random: which process of that name.
    pub(crate) incarnation: u64,
    pub(crate) beat: u64,
}

/// What was heard of each vault.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pulse(BTreeMap<String, Heard>);

#[derive(Clone, Debug)]
struct Heard {
    last: Member,
    silent: Duration,
}

impl Pulse {
    /// Takes in what the table says, `elapsed` after it was read last; `me` lives in any case.
    pub(crate) fn hear(&mut self, me: &str, members: &[Member], elapsed: Duration) {
        let looked = elapsed.min(2 * BEAT);
        self.0
            .retain(|name, _| members.iter().any(|member| member.name == *name));
        for member in members {
            let silent = match self.0.get(&member.name) {
                Some(heard) if heard.last == *member && member.name != me => heard.silent + looked,
                _ => Duration::ZERO,
            };
            let heard = Heard {
                last: member.clone(),
                silent,
            };
            self.0.insert(member.name.clone(), heard);
        }
    }

    /// Those that live.
    pub(crate) fn living(&self) -> BTreeSet<String> {
        let living = self.0.iter().filter(|(_, heard)| heard.silent < TTL);
        living.map(|(name, _)| name.clone()).collect()
    }

    /// Those that have been dead for long.
    pub(crate) fn forgotten(&self) -> impl Iterator<Item = &Member> {
        let gone = self.0.values().filter(|heard| heard.silent >= FORGOTTEN);
        gone.map(|heard| &heard.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, beat: u64) -> Member {
        Member {
            name: name.to_owned(),
            incarnation: 1,
            beat,
        }
    }

    fn lives(pulse: &Pulse, name: &str) -> bool {
        pulse.living().contains(name)
    }

    #[test]
    fn a_beat_that_stands_still_is_a_death_and_one_that_moves_again_is_none() {
        let mut pulse = Pulse::default();
        for round in 0..4 {
            pulse.hear("me", &[member("me", round), member("other", 7)], BEAT);
            assert_eq!(lives(&pulse, "other"), round < 3, "round {round}");
            assert!(lives(&pulse, "me"));
        }
        pulse.hear("me", &[member("me", 9), member("other", 8)], BEAT);
        assert!(lives(&pulse, "other"));
        pulse.hear("me", &[member("me", 10)], BEAT);
        assert!(!lives(&pulse, "other"), "its row is gone");
    }

    #[test]
    fn a_pause_of_the_watcher_is_no_proof_of_death() {
        let mut pulse = Pulse::default();
        let both = [member("me", 1), member("other", 7)];
        pulse.hear("me", &both, BEAT);
        pulse.hear("me", &both, Duration::from_secs(600));
        assert!(lives(&pulse, "other"));
    }

    #[test]
    fn a_dead_vaults_row_is_forgotten_after_an_hour() {
        let mut pulse = Pulse::default();
        let both = [member("me", 1), member("other", 7)];
        for _ in 0..1802 {
            pulse.hear("me", &both, BEAT);
        }
        let names: Vec<_> = pulse.forgotten().map(|member| &member.name[..]).collect();
        assert_eq!(names, ["other"]);
    }
}
