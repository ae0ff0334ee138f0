//! What is disturbed, how, when and for how long: as the seed says.
//!
//! Pure: the same seed, services and choices make the same plan.

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};

/// How a service is disturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Kind {
    /// Killed at once (SIGKILL), away for a while, started again
    Kill,
    /// Stopped in mid-step (SIGSTOP) and let go on: a peer that hangs
    Pause,
    /// Stopped in order and started again
    Restart,
    /// Every clock jumps forward (only where they follow the clock file)
    Clock,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Restart => "restart",
            Self::Clock => "clock",
        })
    }
}

/// One disturbance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disturbance {
    /// How long the suite is left alone before it.
    pub after: Duration,
    /// How.
    pub kind: Kind,
    /// Who: one service or two at once; nobody for the clock.
    pub who: Vec<String>,
    /// How long a killed service is away, a paused one stands still, or by how much clocks jump.
    pub lasting: Duration,
}

impl fmt::Display for Disturbance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, lasting) = (self.kind, self.lasting.as_secs_f32());
        match kind {
            Kind::Kill | Kind::Pause => {
                write!(f, "{kind} {} for {lasting:.1} s", self.who.join(" and "))
            }
            Kind::Restart => write!(f, "{kind} {}", self.who.join(" and ")),
            Kind::Clock => write!(f, "{kind} forward by {lasting:.0} s"),
        }
    }
}

/// Disturbances without end.
pub struct Plan {
    rng: StdRng,
    services: Vec<String>,
    kinds: Vec<Kind>,
    pause: Duration,
}

impl Plan {
    /// Of these services, in these ways, `pause` apart on average.
    pub fn new(seed: u64, services: Vec<String>, kinds: Vec<Kind>, pause: Duration) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            services,
            kinds,
            pause,
        }
    }
}

impl Iterator for Plan {
    type Item = Disturbance;

    fn next(&mut self) -> Option<Disturbance> {
        let kind = *self.kinds.choose(&mut self.rng)?;
        let longest = u64::try_from(self.pause.as_millis()).unwrap_or(u64::MAX / 2) * 2;
        let after = Duration::from_millis(self.rng.random_range(0..=longest));
        let mut who = Vec::new();
        if kind != Kind::Clock {
            let together = self.rng.random_range(1..=2);
            self.services.shuffle(&mut self.rng);
            who.extend(self.services.iter().take(together).cloned());
        }
        let lasting = Duration::from_millis(match kind {
            Kind::Kill => self.rng.random_range(0..3_000),
            // Past the shortest deadline that a caller has.
            Kind::Pause => self.rng.random_range(100..12_000),
            Kind::Restart => 0,
            Kind::Clock => 1_000 * self.rng.random_range(30..1_200),
        });
        Some(Disturbance {
            after,
            kind,
            who,
            lasting,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;

    fn plan(seed: u64) -> Vec<Disturbance> {
        let services = ["gateway", "store", "relay"].map(str::to_owned).to_vec();
        let kinds = vec![Kind::Kill, Kind::Pause, Kind::Restart, Kind::Clock];
        Plan::new(seed, services, kinds, Duration::from_secs(1))
            .take(200)
            .collect()
    }

    #[test]
    fn a_seed_makes_the_same_plan_again_and_another_seed_another() {
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
    }

    #[test]
    fn every_kind_and_every_service_alone_and_in_pairs_gets_its_turn() {
        let plan = plan(7);
        let kinds: BTreeSet<_> = plan.iter().map(|one| one.kind).collect();
        assert_eq!(kinds.len(), 4);
        let alone: BTreeSet<_> = plan.iter().filter(|one| one.who.len() == 1).collect_who();
        let pairs: BTreeSet<_> = plan.iter().filter(|one| one.who.len() == 2).collect_who();
        assert_eq!((alone.len(), pairs.len()), (3, 3));
        for one in &plan {
            assert!(one.after <= Duration::from_secs(2));
            assert_eq!(one.who.is_empty(), one.kind == Kind::Clock);
            assert_ne!(one.who.first(), one.who.get(1).or(Some(&String::new())));
        }
    }

    trait Who {
        fn collect_who(self) -> BTreeSet<String>;
    }

    impl<'a, I: Iterator<Item = &'a Disturbance>> Who for I {
        fn collect_who(self) -> BTreeSet<String> {
            self.flat_map(|one| one.who.clone()).collect()
        }
    }

    #[test]
    fn nothing_to_do_is_an_empty_plan() {
        let mut plan = Plan::new(1, Vec::new(), Vec::new(), Duration::ZERO);
        assert_eq!(plan.next(), None);
    }
}
