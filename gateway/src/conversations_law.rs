//! The law of the queues, against random histories: relays that answer late or never, leases that list what is under way,
//! and crashes.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap, HashSet};

use proptest::{collection::vec, prelude::*};

use super::*;

/// A conversation and a message's place in it.
type Id = (u8, u64);

#[derive(Clone, Debug)]
enum Step {
    /// A message is accepted; its own answer may be lost, so that only recovery brings it.
    Accept {
        conversation: u8,
        answer_lost: bool,
    },
    /// The relay is asked about the n-th turn under way; it may have taken the message though the answer is lost.
    Submit {
        nth: usize,
        taken: bool,
        answered: bool,
    },
    /// A lease is read, and added after some submissions went on.
    Recall {
        meanwhile: Vec<usize>,
    },
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..4_u8, prop::bool::weighted(0.1))
            .prop_map(|(conversation, answer_lost)| Step::Accept { conversation, answer_lost }),
        8 => (0..8_usize, any::<bool>(), any::<bool>())
            .prop_map(|(nth, taken, answered)| Step::Submit { nth, taken, answered }),
        2 => vec(0..8_usize, 0..4).prop_map(|meanwhile| Step::Recall { meanwhile }),
        1 => Just(Step::Crash),
    ];
    vec(step, 0..120)
}

#[derive(Default)]
struct World {
    queues: Conversations<u8, Id, ()>,
    under_way: BTreeMap<u8, Id>,
    /// Accepted and not known to be sent: what the store would lease.
    waiting: BTreeMap<u8, Vec<u64>>,
    next_place: HashMap<u8, u64>,
    /// In the order in which the relay first took them.
    taken: HashMap<u8, Vec<u64>>,
    /// What the store knows to be sent.
    sent: HashSet<Id>,
}

impl World {
    fn add(&mut self, (key, place): Id) {
        if let Added::Starts(turn) = self.queues.add(key, (key, place), place, ()) {
            let before = self.under_way.insert(key, turn.id);
            assert_eq!(before, None, "two of a conversation are under way");
        }
    }

    fn submit(&mut self, nth: usize, taken: bool, answered: bool) {
        let Some((&key, &id)) = self.under_way.iter().nth(nth) else {
            return;
        };
        assert!(!self.sent.contains(&id), "sent and submitted again");
        if taken {
            let order = self.taken.entry(key).or_default();
            if !order.contains(&id.1) {
                order.push(id.1);
            }
        }
        if taken && answered {
            self.sent.insert(id);
            self.waiting
                .entry(key)
                .or_default()
                .retain(|place| *place != id.1);
            self.under_way.remove(&key);
            if let Some(turn) = self.queues.finish(&key, &id) {
                self.under_way.insert(key, turn.id);
            }
        }
    }

    fn recall(&mut self, meanwhile: &[usize]) {
        self.queues.begin_recall();
        let listed: Vec<Id> = self
            .waiting
            .iter()
            .flat_map(|(key, places)| places.iter().map(|place| (*key, *place)))
            .collect();
        for nth in meanwhile {
            self.submit(*nth, true, true);
        }
        for id in listed {
            self.add(id);
        }
        self.queues.end_recall();
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Accept {
                conversation,
                answer_lost,
            } => {
                let place = self.next_place.entry(*conversation).or_default();
                *place += 1;
                let id = (*conversation, *place);
                self.waiting.entry(*conversation).or_default().push(id.1);
                if *answer_lost {
                    // The gateway notices the broken lane and takes its leases back before it goes on.
                    self.recall(&[]);
                } else {
                    self.add(id);
                }
            }
            Step::Submit {
                nth,
                taken,
                answered,
            } => self.submit(*nth, *taken, *answered),
            Step::Recall { meanwhile } => self.recall(meanwhile),
            Step::Crash => {
                self.queues = Conversations::default();
                self.under_way.clear();
                self.recall(&[]);
            }
        }
    }
}

proptest! {
    #[test]
    fn every_accepted_message_is_sent_once_and_in_order(steps in steps()) {
        let mut world = World::default();
        for step in &steps {
            world.run(step);
        }
        // Everything answers in the end.
        while !world.under_way.is_empty() {
            world.submit(0, true, true);
        }
        prop_assert!(world.queues.is_empty());
        for (key, last) in &world.next_place {
            let expected: Vec<u64> = (1..=*last).collect();
            prop_assert_eq!(&world.taken[key], &expected);
        }
    }
}
